/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanyard-keeper: holds copies of an agent's descriptors while there is no
 * agent, and knows nothing of what they are for. One of them is the memory
 * where the agent writes down how far it is. As long as one of the two
 * processes lives, nothing is lost; so there is little here that could fail:
 * no allocation, no library but libc, one connection at a time.
 *
 *	lanyard-keeper PATH	descriptor 0 listens at PATH
 *
 * A PUT is safe once it is sent: what an agent sent before it died lies in
 * the socket's queue, and is read before the next connection is taken. A
 * second agent's connection waits in the backlog until the first one's ends.
 *
 * It leaves when told (QUIT); on SIGTERM while no agent is connected (so a
 * machine that shuts down need not wait for it, and a signal sent to all of
 * lanyard does not end both at once); and when another has taken its PATH.
 * SIGHUP and SIGINT are not for it.
 *
 * Limits: LY_KEEPER_INDEXES of a kind (more: the connection is closed), as
 * many descriptors as RLIMIT_NOFILE allows (more: LOST is said). An agent that
 * does not take what it asked for is waited for as long as it lives: its host
 * may have stood still, and what it is not given is lost to it.
 */
#include "agent/keeper/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define LISTENER 0
#define BACKLOG 8
#define LOOK_MS 60000 /* how often it looks whether PATH is still its own */
#define FDS_MAX 8     /* of one message; a good one has at most one */

/* Pages of it that are never touched take no memory. 0: none, else fd + 1. */
static int held[LY_KEEPER_KINDS][LY_KEEPER_INDEXES][LY_KEEPER_WHICHES];
static uint32_t used[LY_KEEPER_KINDS]; /* no index in use at or above */
static char names[LY_KEEPER_NAMED][LY_KEEPER_NAME];

static volatile sig_atomic_t connected;
static const char *path;
static struct stat born; /* PATH, when it was ours for certain */

static void
on_term(int number)
{
	(void)number;
	if (!connected)
		_exit(0);
}

static bool
mine(void)
{
	struct stat now;

	return stat(path, &now) == 0 && now.st_dev == born.st_dev &&
	    now.st_ino == born.st_ino;
}

/* ---- packets ---- */

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

/* `fd` -1: none. False: the other end is gone, or takes nothing. */
static bool
say(int conn, const struct ly_keeper_msg *m, int fd)
{
	union control control = { .room = { 0 } };
	struct iovec data = { (void *)m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &data, .msg_iovlen = 1 };
	ssize_t n;

	if (fd >= 0) {
		h.msg_control = control.room;
		h.msg_controllen = CMSG_SPACE(sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	}
	do
		n = sendmsg(conn, &h, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*m);
}

/* The first descriptor of a message, or -1; any other is closed. */
static int
only_one(struct msghdr *h)
{
	int fds[FDS_MAX], first = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    n > FDS_MAX)
			continue;
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		for (size_t i = 0; i < n; i++) {
			if (first < 0)
				first = fds[i];
			else
				close(fds[i]);
		}
	}
	return first;
}

/* A whole message, and *fd (-1: none). False: no more of them, or garbage. */
static bool
hear(int conn, struct ly_keeper_msg *m, int *fd)
{
	union control control;
	struct iovec data = { m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room) };
	ssize_t n;

	do
		n = recvmsg(conn, &h, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*fd = n >= 0 ? only_one(&h) : -1;
	return n == (ssize_t)sizeof(*m) && !(h.msg_flags & MSG_TRUNC) &&
	    m->version == LY_KEEPER_VERSION && m->kind < LY_KEEPER_KINDS &&
	    m->which < LY_KEEPER_WHICHES &&
	    m->index <
	    (m->kind == LY_KEEPER_NAMES ? LY_KEEPER_NAMED : LY_KEEPER_INDEXES);
}

/* ---- what it does ---- */

static void
drop(const struct ly_keeper_msg *m)
{
	int *at = &held[m->kind][m->index][m->which];

	if (*at)
		close(*at - 1);
	*at = 0;
}

static bool
put(int conn, struct ly_keeper_msg *m, int fd)
{
	drop(m);
	if (fd < 0) {
		m->op = LY_KEEPER_LOST;
		return say(conn, m, -1);
	}
	held[m->kind][m->index][m->which] = fd + 1;
	if (used[m->kind] <= m->index)
		used[m->kind] = m->index + 1;
	if (m->kind == LY_KEEPER_NAMES)
		memcpy(names[m->index], m->name, sizeof(m->name));
	return true;
}

static bool
give_all(int conn)
{
	struct ly_keeper_msg m = { .version = LY_KEEPER_VERSION,
		.op = LY_KEEPER_HELD };

	for (m.kind = 0; m.kind < LY_KEEPER_KINDS; m.kind++)
		for (m.index = 0; m.index < used[m.kind]; m.index++)
			for (m.which = 0; m.which < LY_KEEPER_WHICHES;
			     m.which++) {
				int at = held[m.kind][m.index][m.which];

				if (at && m.kind == LY_KEEPER_NAMES)
					memcpy(m.name, names[m.index],
					    sizeof(m.name));
				if (at && !say(conn, &m, at - 1))
					return false;
			}
	m = (struct ly_keeper_msg){ .version = LY_KEEPER_VERSION,
		.op = LY_KEEPER_END };
	return say(conn, &m, -1);
}

static void
quit(void)
{
	if (mine())
		unlink(path);
	_exit(0);
}

/* False: this connection has no more to say that is worth hearing. */
static bool
serve_one(int conn)
{
	struct ly_keeper_msg m;
	int fd;
	bool good = hear(conn, &m, &fd);

	if (good && m.op == LY_KEEPER_PUT)
		return put(conn, &m, fd);
	if (fd >= 0)
		close(fd);
	if (!good)
		return false;
	switch (m.op) {
	case LY_KEEPER_DROP:
		drop(&m);
		return true;
	case LY_KEEPER_GET:
		return give_all(conn);
	case LY_KEEPER_QUIT:
		quit();
		return false;
	default:
		return false;
	}
}

static void
serve(int conn)
{
	struct timeval soon = { .tv_sec = LY_KEEPER_PATIENCE_S }, never = { 0 };
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(peer);

	if (getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 ||
	    (peer.uid != geteuid() && peer.uid != 0))
		return;
	setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	if (!serve_one(conn))
		return;
	setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof(never));
	while (serve_one(conn))
		;
}

/* Its parent, the agent, need not wait for its end: init does. The agent is
 * told who listens (SO_PEERCRED: who called listen last), so it waits for
 * that. */
static bool
leave_home(void)
{
	int ready[2];
	pid_t child;
	char none;

	if (pipe(ready) != 0)
		return false;
	child = fork();
	if (child != 0) {
		close(ready[1]);
		_exit(child > 0 && read(ready[0], &none, 1) == 0 ? 0 : 1);
	}
	close(ready[0]);
	if (setsid() < 0 || listen(LISTENER, BACKLOG) != 0)
		return false;
	close(ready[1]);
	return true;
}

int
main(int argc, char **argv)
{
	struct pollfd listener = { .fd = LISTENER, .events = POLLIN };

	if (argc != 2 || stat(argv[1], &born) != 0)
		return 2;
	path = argv[1];
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_term);
	if (!leave_home())
		return 1;
	while (mine()) {
		int conn;

		if (poll(&listener, 1, LOOK_MS) <= 0)
			continue;
		conn = accept(LISTENER, NULL, NULL);
		if (conn < 0)
			continue;
		connected = 1;
		serve(conn);
		connected = 0;
		close(conn);
	}
	return 0;
}
