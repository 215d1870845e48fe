/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection with the keeper: finding one, starting one, telling it, and
 * starting another when it ends. Everything here is short and local, so it
 * waits for the keeper, PATIENCE_MS at most; one that is slower than that is
 * killed, and another started.
 */
#include "agent/io/keep_in.h"
#include "agent/io/spawn.h"
#include "agent/io/unix.h"
#include "lib/base/text.h"
#include "lib/io/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define AGAIN_MS 100 /* before a keeper is started again; doubled each time */
#define AGAIN_MOST_MS 5000
#define STEADY_MS 10000 /* one that lived so long is replaced at once */
#define BACKLOG 8

static const char *program;

void
ly_keep_program(const char *path)
{
	program = path;
}

/* ---- packets ---- */

/* False, with errno ETIMEDOUT: it took too long. */
static bool
wait_for(int conn, short events)
{
	struct pollfd p = { .fd = conn, .events = events };
	int n;

	do
		n = poll(&p, 1, PATIENCE_MS);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		errno = ETIMEDOUT;
	return n > 0;
}

static bool
say(int conn, enum ly_keeper_op op, struct key key, const char *name, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .room = { 0 } };
	struct ly_keeper_msg m = { .version = LY_KEEPER_VERSION,
		.op = op,
		.kind = key.kind,
		.index = key.index,
		.which = key.which };
	struct iovec data = { &m, sizeof(m) };
	struct msghdr h = { .msg_iov = &data, .msg_iovlen = 1 };
	ssize_t n;

	ly_copy(m.name, sizeof(m.name), name);
	if (fd >= 0) {
		h.msg_control = control.room;
		h.msg_controllen = sizeof(control.room);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	}
	do
		n = sendmsg(conn, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 &&
	    (errno == EINTR || (errno == EAGAIN && wait_for(conn, POLLOUT))));
	return n == (ssize_t)sizeof(m);
}

/* One message and its descriptor (*fd, else -1). False: it hung up, is silent,
 * or speaks another language. */
static bool
hear(int conn, struct ly_keeper_msg *m, int *fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec data = { m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room) };
	struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(conn, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 &&
	    (errno == EINTR || (errno == EAGAIN && wait_for(conn, POLLIN))));
	c = n > 0 ? CMSG_FIRSTHDR(&h) : NULL;
	*fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	if (n == (ssize_t)sizeof(*m) && m->version == LY_KEEPER_VERSION)
		return true;
	if (*fd >= 0)
		close(*fd);
	return false;
}

int
ly_keep_pid(const struct ly_keep *k)
{
	struct ucred peer = { .pid = 0 };
	socklen_t len = sizeof(peer);

	if (k->conn >= 0)
		(void)getsockopt(k->conn, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	return peer.pid;
}

/* ---- finding one, starting one ---- */

static void
address(const struct ly_keep *k, struct sockaddr_un *at)
{
	*at = (struct sockaddr_un){ .sun_family = AF_UNIX };
	ly_copy(at->sun_path, sizeof(at->sun_path), k->path);
}

/* While its backlog is full it is asked again. */
static bool
reach(const struct ly_keep *k, int fd)
{
	const struct timespec nap = { 0, 10 * 1000 * 1000 };
	struct sockaddr_un at;

	address(k, &at);
	for (int ms = 0; ms < PATIENCE_MS; ms += 10) {
		if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0)
			return true;
		if (errno != EAGAIN && errno != EINTR)
			return false;
		nanosleep(&nap, NULL);
	}
	return false;
}

static enum ly_rc
dial(struct ly_keep *k, struct ly_why *why)
{
	enum ly_rc rc = LY_OK;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
	    0);

	if (fd < 0)
		return ly_fail(why, LY_BUSY, "socket: %s", strerror(errno));
	if (reach(k, fd)) {
		k->conn = fd;
		return rc;
	}
	rc = errno == ENOENT || errno == ECONNREFUSED ? LY_UNKNOWN : LY_BUSY;
	(void)ly_fail(why, rc, "%s: %s", k->path, strerror(errno));
	close(fd);
	return rc;
}

/* It is there, but has stopped working. Whoever is connected cannot have died
 * unnoticed, so the process id is still its own. */
static void
kill_stuck(struct ly_keep *k)
{
	int pid = ly_keep_pid(k);

	if (errno == ETIMEDOUT && pid > 1 && pid != getpid())
		kill(pid, SIGKILL);
}

static bool
hear_all(struct ly_keep *k)
{
	struct ly_keeper_msg m;
	int fd;

	while (hear(k->conn, &m, &fd)) {
		if (m.op == LY_KEEPER_END)
			return true;
		if (fd >= 0 && m.op == LY_KEEPER_HELD)
			ly_keep_given(k, &m, fd);
		else if (fd >= 0)
			close(fd);
	}
	return false;
}

enum ly_rc
ly_keeper_join(struct ly_keep *k, struct ly_why *why)
{
	enum ly_rc rc = dial(k, why);

	if (rc != LY_OK)
		return rc;
	if (say(k->conn, LY_KEEPER_GET, (struct key){ 0 }, "", -1) &&
	    hear_all(k))
		return LY_OK;
	(void)ly_fail(why, LY_OUTSIDE, "%s: it does not say what it has: %s",
	    k->path, strerror(errno));
	kill_stuck(k);
	return LY_OUTSIDE;
}

/* `room` gets the directory of our own program, without a slash at its end. */
static bool
our_place(char *room, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", room, size);
	char *slash;

	if (n <= 0 || (size_t)n >= size)
		return false;
	room[n] = '\0';
	slash = strrchr(room, '/');
	if (slash)
		*slash = '\0';
	return slash != NULL;
}

/* Beside us, as in a build directory; where it is installed relative to us,
 * wherever that has been moved; where configure was told. */
static enum ly_rc
find_program(char *out, size_t size, struct ly_why *why)
{
	static const char *const places[] = { "lanyard-keeper",
		"../libexec/lanyard-keeper" };
	char place[200];

	if (program)
		return ly_copy(out, size, program) ?
		    LY_OK :
		    ly_fail(why, LY_FULL, "%s: too long", program);
	if (our_place(place, sizeof(place)))
		for (size_t i = 0; i < LY_COUNT(places); i++) {
			ly_print(out, size, "%s/%s", place, places[i]);
			if (access(out, X_OK) == 0)
				return LY_OK;
		}
	ly_copy(out, size, LY_LIBEXECDIR "/lanyard-keeper");
	if (access(out, X_OK) == 0)
		return LY_OK;
	return ly_fail(why, LY_OUTSIDE, "%s: %s", out, strerror(errno));
}

static enum ly_rc
spawn(struct ly_keep *k, int listener, struct ly_why *why)
{
	char prog[256];
	char *argv[] = { prog, k->path, NULL };
	enum ly_rc rc = find_program(prog, sizeof(prog), why);
	int pid, pidfd, null, status;

	if (rc != LY_OK)
		return rc;
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	rc = ly_spawn_with(argv, NULL, listener, null, &pid, &pidfd, why);
	close(null);
	if (rc != LY_OK)
		return rc;
	close(pidfd);
	status = ly_spawn_reap(pid); /* it goes on as a child of init's */
	return status == 0 ?
	    LY_OK :
	    ly_fail(why, LY_OUTSIDE, "%s: exit status %d", prog, status);
}

enum ly_rc
ly_keeper_start(struct ly_keep *k, struct ly_why *why)
{
	struct sockaddr_un at;
	enum ly_rc rc;
	int listener;

	address(k, &at);
	rc = ly_unix_listen_as(&at, SOCK_SEQPACKET, BACKLOG, &listener, why);
	if (rc != LY_OK)
		return rc;
	rc = spawn(k, listener, why);
	close(listener);
	if (rc == LY_OK)
		rc = dial(k, why);
	if (rc == LY_OK)
		ly_keeper_watch(k);
	return rc;
}

/* ---- losing it ---- */

static void
on_polled_out(uv_handle_t *handle)
{
	free(handle);
}

static void
hang_up(struct ly_keep *k)
{
	if (k->poll)
		uv_close((uv_handle_t *)ly_take(k->poll), on_polled_out);
	if (k->conn >= 0)
		close(k->conn);
	k->conn = -1;
}

void
ly_keeper_leave(struct ly_keep *k, bool end)
{
	if (end && k->conn >= 0) {
		(void)say(k->conn, LY_KEEPER_QUIT, (struct key){ 0 }, "", -1);
		(void)unlink(k->path);
	}
	hang_up(k);
}

static void on_again(uv_timer_t *timer);

static void
start_again(struct ly_keep *k)
{
	struct ly_why why;

	if (ly_keeper_start(k, &why) == LY_OK) {
		ly_keep_hand_over(k);
		if (k->conn < 0)
			return; /* already gone, and `again` set */
		ly_log(LY_NOTICE, "keeper",
		    "another one (process %d) has everything", ly_keep_pid(k));
		return;
	}
	ly_log_alarm("keeper",
	    "there is none, and none can be started: if this agent ends now,"
	    " the TPMs of guests here are lost: %s",
	    why.text);
	hang_up(k);
	uv_timer_start(&k->again, on_again, k->wait_ms, 0);
}

static void
on_again(uv_timer_t *timer)
{
	struct ly_keep *k = timer->data;

	k->wait_ms = k->wait_ms == 0 ?
	    AGAIN_MS :
	    (unsigned)ly_min(2 * k->wait_ms, AGAIN_MOST_MS);
	start_again(k);
}

/* From the loop: whoever noticed is in the middle of something. */
static void
lost(struct ly_keep *k, const char *how)
{
	if (k->conn < 0)
		return;
	ly_log(LY_WARNING, "keeper", "process %d %s; starting another",
	    ly_keep_pid(k), how);
	kill_stuck(k);
	ly_keeper_leave(k, true);
	if (uv_now(k->loop) - k->since_ms > STEADY_MS)
		k->wait_ms = 0;
	uv_timer_start(&k->again, on_again, k->wait_ms, 0);
}

static void
on_keeper(uv_poll_t *poll, int status, int events)
{
	struct ly_keep *k = poll->data;
	struct ly_keeper_msg m;
	int fd;

	(void)events;
	if (status < 0 || !hear(k->conn, &m, &fd)) {
		lost(k, "has ended");
		return;
	}
	if (fd >= 0)
		close(fd);
	if (m.op == LY_KEEPER_LOST)
		ly_log_alarm("keeper",
		    "no room for a descriptor of slot %u.%u: raise"
		    " LimitNOFILE=; should the agent end, that TPM is lost",
		    m.kind, m.index);
}

void
ly_keeper_watch(struct ly_keep *k)
{
	k->poll = calloc(1, sizeof(*k->poll));
	if (!k->poll || uv_poll_init(k->loop, k->poll, k->conn) != 0)
		abort();
	k->poll->data = k;
	uv_poll_start(k->poll, UV_READABLE, on_keeper);
	uv_timer_stop(&k->again);
	k->since_ms = uv_now(k->loop);
}

/* ---- telling it ---- */

void
ly_keeper_put(struct ly_keep *k, struct key key, const char *name, int fd)
{
	if (k->conn >= 0 && !say(k->conn, LY_KEEPER_PUT, key, name, fd))
		lost(k, "takes nothing more");
}

void
ly_keeper_drop(struct ly_keep *k, struct key key)
{
	if (k->conn >= 0 && !say(k->conn, LY_KEEPER_DROP, key, "", -1))
		lost(k, "takes nothing more");
}
