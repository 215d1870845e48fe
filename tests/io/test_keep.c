/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper, what is kept, and bytes that move exactly once though the
 * process that moves them is killed: a child (an agent, as far as the keeper
 * can tell) carries bytes between two sockets, in both directions, and is
 * killed after each of its instructions, one child after the other.
 */
#include "agent/io/keep_in.h"
#include "agent/io/once.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/lanyard-keep-XXXXXX";

static void
clean_up(void)
{
	char cmd[80];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	if (system(cmd) != 0)
		fprintf(stderr, "%s is left\n", dir);
}

/* One agent's life. */
struct life {
	uv_loop_t loop;
	struct ly_keep *keep;
};

static void
born(struct life *l)
{
	static char keeper[256];
	static bool ready;
	struct ly_why why = { "" };

	if (!ready) {
		snprintf(keeper, sizeof(keeper), "%s/lanyard-keeper",
		    getenv("BUILD") ? getenv("BUILD") : "build");
		ly_keep_program(keeper);
		signal(SIGPIPE, SIG_IGN);
		WANT(mkdtemp(dir));
		atexit(clean_up);
		ready = true;
	}
	uv_loop_init(&l->loop);
	if (ly_keep_open(&l->loop, dir, &l->keep, &why) != LY_OK)
		fail_msg("%s", why.text);
}

static void
dies(struct life *l, bool end)
{
	ly_keep_close(l->keep, end);
	uv_run(&l->loop, UV_RUN_DEFAULT);
	uv_loop_close(&l->loop);
}

/* The same again: everything is forgotten but what the keeper has. */
static void
reborn(struct life *l)
{
	dies(l, false);
	born(l);
}

static void
pair(int fds[2])
{
	WANT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static void
nap(long us)
{
	nanosleep(&(struct timespec){ us / 1000000, us % 1000000 * 1000 },
	    NULL);
}

/* ---- what is kept ---- */

TEST(a_slot_is_what_it_was_for_the_next_agent)
{
	struct life l;
	struct ly_slot *s;
	struct ly_bytes state;
	char got[16];
	int p[2];

	born(&l);
	WANT(!ly_keep_next(l.keep, LY_KEEP_AWAY, NULL));
	s = ly_slot_new(l.keep, LY_KEEP_AWAY);
	pair(p);
	ly_slot_put(s, LY_SLOT_DATA, p[0]);
	memcpy(ly_slot_area(s, LY_AREA_WAITING, 5), "short", 5);
	memset(ly_slot_area(s, LY_AREA_NUMBERED, 4096), 7, 4096);
	ly_slot_commit(s, "first", 5);
	ly_slot_commit(s, "second!", 7);
	reborn(&l);
	s = ly_keep_next(l.keep, LY_KEEP_AWAY, NULL);
	WANT(s && !ly_keep_next(l.keep, LY_KEEP_AWAY, s));
	WANT(!ly_keep_next(l.keep, LY_KEEP_HOME, NULL));
	state = ly_slot_state(s);
	WANT(state.len == 7 && !memcmp(state.at, "second!", 7));
	WANT(!memcmp(ly_slot_area(s, LY_AREA_WAITING, 5), "short", 5));
	WANT_INT(ly_slot_area(s, LY_AREA_NUMBERED, 4096)[4095], 7);
	WANT(s->fd[LY_SLOT_CTRL] == -1 && s->fd[LY_SLOT_DATA] >= 0);
	WANT_INT(write(s->fd[LY_SLOT_DATA], "hello", 5), 5);
	WANT_INT(read(p[1], got, sizeof(got)), 5);
	ly_slot_free(s);
	WANT_INT(read(p[1], got, sizeof(got)), 0); /* nobody has a copy */
	reborn(&l);
	WANT(!ly_keep_next(l.keep, LY_KEEP_AWAY, NULL));
	close(p[1]);
	dies(&l, true);
}

TEST(a_slot_without_a_state_is_freed_by_the_next_agent)
{
	struct life l;
	char got;
	int p[2];

	born(&l);
	pair(p);
	ly_slot_put(ly_slot_new(l.keep, LY_KEEP_HOME), LY_SLOT_CTRL, p[0]);
	reborn(&l);
	WANT(!ly_keep_next(l.keep, LY_KEEP_HOME, NULL));
	WANT_INT(read(p[1], &got, 1), 0);
	close(p[1]);
	dies(&l, true);
}

TEST(a_stream_that_was_half_handed_over_is_hung_up)
{
	struct life l;
	struct ly_slot *s;
	char got;
	int p[2];

	born(&l);
	pair(p);
	s = ly_slot_new(l.keep, LY_KEEP_HOME);
	ly_slot_put(s, LY_SLOT_CTRL, p[0]);
	ly_slot_commit(s, "x", 1);
	ly_keeper_drop(l.keep,
	    (struct key){ LY_KEEP_HOME, s->index, LY_OUT(LY_SLOT_CTRL) });
	reborn(&l);
	s = ly_keep_next(l.keep, LY_KEEP_HOME, NULL);
	WANT(s && s->fd[LY_SLOT_CTRL] < 0 && s->out[LY_SLOT_CTRL] < 0);
	WANT_INT(read(p[1], &got, 1), 0);
	close(p[1]);
	dies(&l, true);
}

TEST(a_freed_slot_is_wiped)
{
	struct life l;
	struct ly_slot *s;

	born(&l);
	s = ly_slot_new(l.keep, LY_KEEP_AWAY);
	memset(ly_slot_area(s, LY_AREA_WAITING, 100), 0x5a, 100);
	memset(ly_slot_area(s, LY_AREA_NUMBERED, 4000), 0x5a, 4000);
	ly_slot_commit(s, "secret", 6);
	ly_slot_free(s);
	s = ly_slot_new(l.keep, LY_KEEP_AWAY);
	WANT_INT(s->index, 0);
	WANT_INT(ly_slot_state(s).len, 0);
	WANT_INT(ly_slot_area(s, LY_AREA_WAITING, 100)[99], 0);
	WANT_INT(ly_slot_area(s, LY_AREA_NUMBERED, 4000)[3999], 0);
	dies(&l, true);
}

TEST(a_slot_whose_peer_has_not_read_is_not_used_again)
{
	struct life l;
	struct ly_slot *s;
	char got[8];
	int p[2];

	born(&l);
	s = ly_slot_new(l.keep, LY_KEEP_AWAY);
	pair(p);
	ly_slot_put(s, LY_SLOT_DATA, p[0]);
	ly_once_aim(s, LY_SLOT_DATA, "answer", 6);
	ly_slot_commit(s, "x", 1);
	WANT(ly_once_push(s, LY_SLOT_DATA) == LY_OK);
	WANT_INT(s->index, 0);
	ly_slot_free(s);
	reborn(&l);
	s = ly_slot_new(l.keep, LY_KEEP_AWAY);
	WANT_INT(s->index, 1);
	ly_slot_area(s, LY_AREA_OUT_DATA, 6)[0] = 'S';
	WANT_INT(read(p[1], got, sizeof(got)), 6);
	WANT_INT(got[0], 0); /* wiped: its owner is gone */
	close(p[1]);
	dies(&l, true);
}

TEST(descriptors_with_a_name_are_given_once)
{
	struct life l;
	char got[8];
	int p[2], fd;

	born(&l);
	pair(p);
	WANT_INT(ly_keep_named(l.keep, "listen"), -1);
	ly_keep_put_named(l.keep, "listen", p[0]);
	ly_keep_put_named(l.keep, "other", p[1]);
	ly_keep_put_named(l.keep, "other", -1);
	close(p[0]);
	reborn(&l);
	WANT_INT(ly_keep_named(l.keep, "other"), -1);
	fd = ly_keep_named(l.keep, "listen");
	WANT(fd >= 0);
	WANT_INT(ly_keep_named(l.keep, "listen"), -1);
	WANT_INT(write(fd, "x", 1), 1);
	WANT_INT(read(p[1], got, sizeof(got)), 1);
	close(fd);
	close(p[1]);
	dies(&l, true);
}

TEST(all_slots_of_a_kind_can_be_had_and_no_more)
{
	struct life l;

	born(&l);
	for (int i = 0; i < LY_KEEP_SLOTS; i++)
		WANT(ly_slot_new(l.keep, LY_KEEP_HOME));
	WANT(!ly_slot_new(l.keep, LY_KEEP_HOME));
	WANT(ly_slot_new(l.keep, LY_KEEP_AWAY));
	dies(&l, true);
}

TEST(memory_of_another_layout_is_refused_and_all_begins_afresh)
{
	struct life l;
	uint32_t other = 99;
	char got;
	int p[2], old;

	born(&l);
	old = ly_keep_pid(l.keep);
	pair(p);
	ly_slot_put(ly_slot_new(l.keep, LY_KEEP_AWAY), LY_SLOT_DATA, p[0]);
	ly_slot_commit(ly_keep_next(l.keep, LY_KEEP_AWAY, NULL), "x", 1);
	WANT_INT(pwrite(l.keep->memory, &other, sizeof(other), 8), 4);
	reborn(&l);
	WANT(!ly_keep_next(l.keep, LY_KEEP_AWAY, NULL));
	WANT(ly_keep_pid(l.keep) != old);
	WANT_INT(read(p[1], &got, 1), 0);
	close(p[1]);
	dies(&l, true);
}

/* ---- the keeper ---- */

/* Within a second. Dead is dead, whether or not anybody has reaped it. */
static bool
ended(int pid)
{
	char path[40], line[200], state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (int i = 0; i < 100; i++) {
		FILE *f = fopen(path, "r");

		if (!f)
			return true;
		if (!fgets(line, sizeof(line), f) ||
		    sscanf(line, "%*d (%*[^)]) %c", &state) != 1)
			state = 'Z';
		fclose(f);
		if (state == 'Z')
			return true;
		nap(10000);
	}
	return false;
}

static void
run_until_new(struct life *l, int old)
{
	for (int i = 0; i < 500; i++) {
		int pid = ly_keep_pid(l->keep);

		if (pid != 0 && pid != old)
			return;
		uv_run(&l->loop, UV_RUN_NOWAIT);
		nap(10000);
	}
	fail_msg("no other keeper");
}

TEST(a_killed_keeper_is_replaced_and_has_everything)
{
	struct life l;
	struct ly_slot *s;
	int p[2], q[2];

	born(&l);
	s = ly_slot_new(l.keep, LY_KEEP_HOME);
	pair(p);
	pair(q);
	ly_slot_put(s, LY_SLOT_CTRL, p[0]);
	ly_slot_commit(s, "before", 6);
	ly_keep_put_named(l.keep, "listen", q[0]);
	for (int i = 0; i < 3; i++) {
		int pid = ly_keep_pid(l.keep);

		WANT_INT(kill(pid, SIGKILL), 0);
		run_until_new(&l, pid);
	}
	ly_slot_commit(s, "after", 5);
	reborn(&l);
	s = ly_keep_next(l.keep, LY_KEEP_HOME, NULL);
	WANT(s && s->fd[LY_SLOT_CTRL] >= 0 && ly_slot_state(s).len == 5);
	WANT(ly_keep_named(l.keep, "listen") >= 0);
	close(p[1]);
	close(q[0]);
	close(q[1]);
	dies(&l, true);
}

TEST(a_keeper_that_stopped_is_killed_and_all_begins_afresh)
{
	struct life l;
	int old;

	born(&l);
	old = ly_keep_pid(l.keep);
	ly_slot_commit(ly_slot_new(l.keep, LY_KEEP_HOME), "x", 1);
	WANT_INT(kill(old, SIGSTOP), 0);
	reborn(&l);
	WANT(!ly_keep_next(l.keep, LY_KEEP_HOME, NULL));
	WANT(ended(old));
	dies(&l, true);
}

TEST(a_signal_to_all_of_lanyard_does_not_end_a_connected_keeper)
{
	static const int signals[] = { SIGTERM, SIGHUP, SIGINT };
	struct life l;
	int pid;

	born(&l);
	reborn(&l); /* the keeper has said what it has: it is connected */
	pid = ly_keep_pid(l.keep);
	WANT(getpgid(pid) != getpgrp() && getsid(pid) != getsid(0));
	for (size_t i = 0; i < LY_COUNT(signals); i++) {
		WANT_INT(kill(pid, signals[i]), 0);
		nap(20000);
	}
	ly_slot_commit(ly_slot_new(l.keep, LY_KEEP_HOME), "x", 1);
	reborn(&l);
	WANT_INT(ly_keep_pid(l.keep), pid);
	WANT(ly_keep_next(l.keep, LY_KEEP_HOME, NULL));
	dies(&l, false);
	nap(100000);
	WANT_INT(kill(pid, SIGTERM), 0); /* alone, it goes */
	WANT(ended(pid));
}

static int
stray(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/keeper.sock", dir);
	WANT_INT(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void
garbage(int fd, size_t len)
{
	uint8_t bytes[300];
	ssize_t n;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(rand() & (rand() % 3 ? 3 : 255));
	if (rand() % 2)
		memcpy(bytes, &(uint32_t){ LY_KEEPER_VERSION }, 4);
	bytes[4] = (uint8_t)(bytes[4] == LY_KEEPER_QUIT ? 0 : bytes[4]);
	n = send(fd, bytes, len, MSG_NOSIGNAL);
	(void)n;
}

TEST(strangers_and_garbage_do_the_keeper_no_harm)
{
	struct life l;
	int pid, fds[200];

	born(&l);
	pid = ly_keep_pid(l.keep);
	ly_slot_commit(ly_slot_new(l.keep, LY_KEEP_HOME), "x", 1);
	dies(&l, false);
	for (size_t i = 0; i < LY_COUNT(fds); i++) {
		fds[i] = stray();
		garbage(fds[i], i % 5 ? sizeof(struct ly_keeper_msg) : i);
		if (i % 2)
			garbage(fds[i], sizeof(struct ly_keeper_msg));
		close(fds[i]);
	}
	fds[0] = stray(); /* and one that says nothing */
	born(&l);
	close(fds[0]);
	WANT_INT(ly_keep_pid(l.keep), pid);
	WANT(ly_keep_next(l.keep, LY_KEEP_HOME, NULL));
	dies(&l, true);
}

static long
kib_of(int pid, const char *field)
{
	char path[40], line[128];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, field, strlen(field)) == 0)
			sscanf(line + strlen(field), ": %ld", &kib);
	if (f)
		fclose(f);
	return kib;
}

/* Two descriptors of a slot are two open files each, here and there. */
TEST(ten_thousand_slots_and_what_they_take)
{
	struct timespec t0, t1;
	struct rlimit r;
	struct life l;
	struct stat st;
	unsigned n = 0, most;
	long ms;
	int p[2];

	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	most = (unsigned)ly_min(10000, (r.rlim_max - 100) / 4);
	born(&l);
	pair(p);
	for (unsigned i = 0; i < most; i++) {
		struct ly_slot *s = ly_slot_new(l.keep, LY_KEEP_AWAY);

		ly_slot_put(s, LY_SLOT_CTRL, dup(p[0]));
		ly_slot_put(s, LY_SLOT_DATA, dup(p[0]));
		ly_slot_commit(s, &i, sizeof(i));
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	reborn(&l);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	for (struct ly_slot *s = NULL;
	     (s = ly_keep_next(l.keep, LY_KEEP_AWAY, s));)
		n += s->fd[LY_SLOT_CTRL] >= 0 && s->fd[LY_SLOT_DATA] >= 0;
	WANT_INT(n, most);
	WANT_INT(fstat(l.keep->memory, &st), 0);
	ms = (t1.tv_sec - t0.tv_sec) * 1000 +
	    (t1.tv_nsec - t0.tv_nsec) / 1000000;
	print_message("%u slots: kept memory %ld KiB, keeper %ld KiB,"
		      " inherited in %ld ms\n",
	    most, (long)st.st_blocks / 2, kib_of(ly_keep_pid(l.keep), "VmRSS"),
	    ms);
	WANT((unsigned long)st.st_blocks / 2 < most * 3UL + 64);
	WANT(kib_of(ly_keep_pid(l.keep), "VmRSS") < 4096);
	close(p[0]);
	close(p[1]);
	dies(&l, true);
}

/* ---- exactly once ---- */

TEST(what_was_looked_at_and_not_taken_comes_again)
{
	struct life l;
	struct ly_slot *s;
	char got[16];
	int p[2], q[2], fd = -1;

	born(&l);
	pair(p);
	pair(q);
	s = ly_slot_new(l.keep, LY_KEEP_HOME);
	ly_slot_put(s, LY_SLOT_CTRL, p[0]);
	WANT_INT(write(p[1], "abcdef", 6), 6);
	WANT_INT(ly_once_peek(s, LY_SLOT_CTRL, got, 4, NULL), 4);
	WANT_INT(ly_once_peek(s, LY_SLOT_CTRL, got, 16, NULL), 6);
	ly_once_take(s, LY_SLOT_CTRL, 2);
	ly_slot_commit(s, "ab", 2);
	ly_once_consume(s, LY_SLOT_CTRL);
	WANT_INT(ly_once_peek(s, LY_SLOT_CTRL, got, 16, &fd), 4);
	WANT(!memcmp(got, "cdef", 4) && fd == -1);
	reborn(&l);
	s = ly_keep_next(l.keep, LY_KEEP_HOME, NULL);
	WANT_INT(ly_once_peek(s, LY_SLOT_CTRL, got, 16, &fd), 4);
	ly_once_take(s, LY_SLOT_CTRL, 4);
	ly_slot_commit(s, "abcdef", 6);
	reborn(&l); /* died before it was consumed */
	s = ly_keep_next(l.keep, LY_KEEP_HOME, NULL);
	WANT_INT(ly_once_peek(s, LY_SLOT_CTRL, got, 16, &fd), LY_ONCE_NOTHING);
	close(p[1]);
	WANT_INT(ly_once_peek(s, LY_SLOT_CTRL, got, 16, &fd), LY_ONCE_ENDED);
	close(q[0]);
	close(q[1]);
	dies(&l, true);
}

static void
send_fd(int over, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c = { .room = { 0 } };
	struct iovec data = { (void *)"F", 1 };
	struct msghdr h = { .msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = c.room,
		.msg_controllen = sizeof(c.room) };

	c.head.cmsg_level = SOL_SOCKET;
	c.head.cmsg_type = SCM_RIGHTS;
	c.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&c.head), &fd, sizeof(fd));
	WANT_INT(sendmsg(over, &h, 0), 1);
}

TEST(a_descriptor_that_came_is_there_again_until_it_is_consumed)
{
	struct life l;
	struct ly_slot *s;
	char got[16];
	int p[2], q[2], fd;

	born(&l);
	pair(p);
	pair(q);
	s = ly_slot_new(l.keep, LY_KEEP_AWAY);
	ly_slot_put(s, LY_SLOT_CTRL, p[0]);
	ly_slot_commit(s, "0", 1);
	send_fd(p[1], q[0]);
	close(q[0]);
	WANT_INT(ly_once_peek(s, LY_SLOT_CTRL, got, 16, &fd), 1);
	WANT(fd >= 0);
	close(fd);
	reborn(&l);
	s = ly_keep_next(l.keep, LY_KEEP_AWAY, NULL);
	WANT_INT(ly_once_peek(s, LY_SLOT_CTRL, got, 16, &fd), 1);
	WANT(fd >= 0);
	ly_slot_put(s, LY_SLOT_DATA, fd);
	ly_once_take(s, LY_SLOT_CTRL, 1);
	ly_slot_commit(s, "1", 1);
	ly_once_consume(s, LY_SLOT_CTRL);
	ly_slot_drop(s, LY_SLOT_DATA);
	WANT_INT(read(q[1], got, 1), 0); /* no copy has been forgotten */
	close(p[1]);
	close(q[1]);
	dies(&l, true);
}

TEST(a_full_socket_gets_the_rest_later_from_the_next_agent_too)
{
	static uint8_t big[LY_AREA_MAX], got[LY_AREA_MAX];
	struct life l;
	struct ly_slot *s;
	size_t sent = 0, had = 0;
	ssize_t n;
	int p[2];

	born(&l);
	pair(p);
	s = ly_slot_new(l.keep, LY_KEEP_HOME);
	ly_slot_put(s, LY_SLOT_DATA, p[0]);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + i / 256);
	while ((n = send(p[0], got, 1000, MSG_DONTWAIT)) > 0)
		sent += (size_t)n;
	ly_once_aim(s, LY_SLOT_DATA, big, sizeof(big));
	ly_slot_commit(s, "x", 1);
	for (;;) {
		enum ly_rc rc = ly_once_push(s, LY_SLOT_DATA);

		if (rc == LY_OK)
			break;
		WANT_INT(rc, LY_BUSY);
		WANT(ly_once_owed(s, LY_SLOT_DATA));
		n = read(p[1], got, ly_min(sent, 700));
		WANT(n > 0 || sent == 0);
		sent -= (size_t)n;
		reborn(&l);
		s = ly_keep_next(l.keep, LY_KEEP_HOME, NULL);
	}
	while (sent > 0)
		sent -= (size_t)read(p[1], got, ly_min(sent, sizeof(got)));
	while (had < sizeof(big))
		had += (size_t)read(p[1], got + had, sizeof(big) - had);
	WANT(!memcmp(got, big, sizeof(big)));
	WANT_INT(recv(p[1], got, 1, MSG_DONTWAIT), -1);
	close(p[1]);
	WANT(ly_once_push(s, LY_SLOT_DATA) == LY_OK);
	ly_once_aim(s, LY_SLOT_DATA, "x", 1);
	ly_slot_commit(s, "y", 1);
	WANT_INT(ly_once_push(s, LY_SLOT_DATA), LY_OUTSIDE);
	WANT(!ly_once_owed(s, LY_SLOT_DATA));
	dies(&l, true);
}

/* ---- killed ---- */

/* What a carrier's state is: how many bytes it has carried from each of its
 * streams to the other. On the way each byte is changed by its number, so a
 * byte lost, repeated or out of place is seen, and so is a state that is not
 * of one moment with the streams. */
struct carried {
	uint64_t n[LY_SLOT_FDS];
};

/* The other end reads right out of the slot, so nothing is aimed there before
 * it has read what was. */
static bool
has_read(int fd)
{
	int left = 0;

	return ioctl(fd, SIOCOUTQ, &left) == 0 && left == 0;
}

/* True: there was something to do. */
static bool
carry(struct ly_slot *s, unsigned from)
{
	unsigned to = LY_SLOT_FDS - 1 - from;
	struct carried c;
	uint8_t buf[40];
	int n;

	if (ly_once_push(s, to) == LY_BUSY || !has_read(s->fd[to]))
		return false;
	n = ly_once_peek(s, from, buf, sizeof(buf), NULL);
	if (n <= 0)
		return false;
	n = n > 1 ? n - n / 7 : n; /* not always all of it */
	memcpy(&c, ly_slot_state(s).at, sizeof(c));
	ly_once_take(s, from, (size_t)n);
	for (int i = 0; i < n; i++)
		buf[i] = (uint8_t)(buf[i] + 31 * (c.n[from] + (uint64_t)i));
	c.n[from] += (uint64_t)n;
	ly_once_aim(s, to, buf, (size_t)n);
	ly_slot_commit(s, &c, sizeof(c));
	ly_once_consume(s, from);
	if (ly_once_push(s, to) == LY_OUTSIDE)
		_exit(9);
	return true;
}

/* The far ends, and how many bytes have been put in and come out. */
struct ends {
	int far[LY_SLOT_FDS];
	uint64_t in[LY_SLOT_FDS], out[LY_SLOT_FDS];
};

static uint8_t
byte(unsigned from, uint64_t i)
{
	return (uint8_t)((i * 2654435761u) >> (8 + from));
}

static void
feed(struct ends *e, unsigned from, size_t len)
{
	uint8_t buf[1000];

	for (size_t i = 0; i < len; i++)
		buf[i] = byte(from, e->in[from] + i);
	if (send(e->far[from], buf, len, MSG_DONTWAIT) == (ssize_t)len)
		e->in[from] += len; /* else nobody has read for long */
}

static void
drain(struct ends *e, unsigned at)
{
	unsigned from = LY_SLOT_FDS - 1 - at;
	uint8_t buf[4096];
	ssize_t n;

	while ((n = recv(e->far[at], buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		for (ssize_t i = 0; i < n; i++, e->out[from]++)
			WANT_INT(buf[i],
			    (uint8_t)(byte(from, e->out[from]) +
				31 * e->out[from]));
	WANT(e->out[from] <= e->in[from]);
}

static void
drain_all(struct ends *e)
{
	for (unsigned i = 0; i < LY_SLOT_FDS; i++)
		drain(e, i);
}

static void
begin(struct ends *e)
{
	struct carried none = { { 0 } };
	struct life l;
	struct ly_slot *s;
	int p[2];

	*e = (struct ends){ .in = { 0 } };
	born(&l);
	s = ly_slot_new(l.keep, LY_KEEP_HOME);
	for (unsigned i = 0; i < LY_SLOT_FDS; i++) {
		pair(p);
		ly_slot_put(s, i, p[0]);
		e->far[i] = p[1];
	}
	ly_slot_commit(s, &none, sizeof(none));
	dies(&l, false);
}

/* One that nobody kills carries the rest. */
static void
end(struct ends *e)
{
	struct carried c;
	struct life l;
	struct ly_slot *s;

	born(&l);
	s = ly_keep_next(l.keep, LY_KEEP_HOME, NULL);
	for (int round = 0; round < 3; round++)
		for (unsigned i = 0; i < LY_SLOT_FDS; i++) {
			while (carry(s, i))
				drain(e, LY_SLOT_FDS - 1 - i);
			drain(e, LY_SLOT_FDS - 1 - i);
		}
	memcpy(&c, ly_slot_state(s).at, sizeof(c));
	for (unsigned i = 0; i < LY_SLOT_FDS; i++) {
		WANT_INT(e->out[i], e->in[i]);
		WANT_INT(c.n[i], e->in[i]);
		close(e->far[i]);
	}
	dies(&l, true);
}

/* In a child. */
static void
carrier(unsigned rounds)
{
	struct life l;
	struct ly_slot *s;

	born(&l);
	s = ly_keep_next(l.keep, LY_KEEP_HOME, NULL);
	for (unsigned i = 0; i < rounds; i++)
		for (unsigned from = 0; from < LY_SLOT_FDS; from++)
			(void)carry(s, from);
	_exit(0);
}

/* A child that is traced from before its start, or from after it. */
static pid_t
traced(bool from_start, unsigned from)
{
	pid_t child = fork();
	struct ly_slot *s;
	struct life l;

	if (child != 0)
		return child;
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(8);
	if (from_start)
		raise(SIGSTOP);
	born(&l);
	if (!from_start)
		raise(SIGSTOP);
	s = ly_keep_next(l.keep, LY_KEEP_HOME, NULL);
	for (int tries = 0; tries < 1000; tries++)
		if (carry(s, from))
			_exit(0);
	_exit(7);
}

static bool
stopped(pid_t child, int *status)
{
	waitpid(child, status, 0);
	return WIFSTOPPED(*status);
}

/* One child for each `at`, killed after so many steps of that kind, until one
 * has come to its end. False: there is no tracing here. */
static bool
kill_at_each(struct ends *e, bool from_start, int step)
{
	for (unsigned at = 0;; at++) {
		unsigned from = at % LY_SLOT_FDS;
		pid_t child = traced(from_start, from);
		int status;
		bool more = stopped(child, &status);

		if (!more && WEXITSTATUS(status) == 8)
			return false;
		feed(e, from, 1 + at % 60);
		for (unsigned i = 0; more && i < at; i++) {
			ptrace(step, child, NULL, NULL);
			more = stopped(child, &status);
			if (i % 64 == 0) /* it may wait for that */
				drain_all(e);
		}
		if (!more) {
			WANT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
			print_message("%u places\n", at);
			return true;
		}
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		drain_all(e);
	}
}

TEST(killed_after_any_of_its_instructions_it_loses_and_repeats_nothing)
{
	struct ends e;

	begin(&e);
	if (!kill_at_each(&e, false, PTRACE_SINGLESTEP))
		SKIP("no ptrace here");
	WANT(e.out[0] > 1000 && e.out[1] > 1000);
	end(&e);
}

TEST(killed_at_any_system_call_from_its_start_on_nothing_is_lost)
{
	struct ends e;

	begin(&e);
	for (int i = 0; i < 10; i++)
		if (!kill_at_each(&e, true, PTRACE_SYSCALL))
			SKIP("no ptrace here");
	end(&e);
}

TEST(killed_at_random_moments_it_loses_and_repeats_nothing)
{
	struct ends e;

	begin(&e);
	for (int i = 0; i < 2000; i++) {
		pid_t child = fork();

		if (child == 0)
			carrier(1000000);
		for (unsigned from = 0; from < LY_SLOT_FDS; from++)
			for (int n = rand() % 20; n >= 0; n--)
				feed(&e, from, 1 + (size_t)rand() % 400);
		for (int us = rand() % 3000; us > 0; us -= 100) {
			nap(50);
			drain_all(&e);
		}
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		drain_all(&e);
	}
	print_message("%llu bytes\n", (unsigned long long)(e.in[0] + e.in[1]));
	end(&e);
}

/* Its host stood still, say. The keeper has more for it than a socket holds. */
TEST(an_agent_that_stands_still_while_it_inherits_gets_everything)
{
	struct life l;
	pid_t child;
	int status, p[2];

	born(&l);
	pair(p);
	for (unsigned i = 0; i < 400; i++) {
		struct ly_slot *s = ly_slot_new(l.keep, LY_KEEP_AWAY);

		ly_slot_put(s, LY_SLOT_CTRL, dup(p[0]));
		ly_slot_commit(s, &i, sizeof(i));
	}
	dies(&l, false);
	child = fork();
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
			_exit(8);
		raise(SIGSTOP);
		born(&l);
		_exit(ly_keep_next(l.keep, LY_KEEP_AWAY, NULL) ? 0 : 1);
	}
	for (int i = 0; i < 300 && stopped(child, &status); i++)
		ptrace(PTRACE_SYSCALL, child, NULL, NULL);
	if (stopped(child, &status))
		nap(1000000 * (2 * LY_KEEPER_PATIENCE_S + 1));
	ptrace(PTRACE_CONT, child, NULL, NULL);
	WANT(!stopped(child, &status));
	if (WEXITSTATUS(status) == 8)
		SKIP("no ptrace here");
	WANT_INT(status, 0);
	born(&l);
	WANT(ly_keep_next(l.keep, LY_KEEP_AWAY, NULL));
	close(p[0]);
	close(p[1]);
	dies(&l, true);
}

TEST_MAIN()
