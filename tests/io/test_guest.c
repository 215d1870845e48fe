/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/io/guest: the sockets, first against clients written here, then the
 * whole of it joined to a swtpm for tpm2-tools and for QEMU.
 */
#include "agent/io/guest.h"

#include "agent/io/tpm.h"
#include "agent/tpm/policy.h"
#include "lib/io/log.h"
#include "tests/io/keep_scene.h"
#include "tests/io/swtpm_proc.h"
#include "tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static const uint8_t random8[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8 };
static const uint8_t probe[] = { 0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x81 };
static const uint8_t fine[] = { 0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0 };

/* The owner answers at once, unless told to wait. */
struct owner {
	uv_loop_t own, *loop;
	struct keep_scene k;
	struct ly_guest *g;
	char dir[32], path[48], ctrl[56];
	bool waits;
	unsigned commands, ops, sessions, ended, closed;
	uint8_t locality;
};

static void
on_command(void *arg, uint8_t locality, const uint8_t *cmd, size_t len)
{
	struct owner *o = arg;

	(void)cmd;
	(void)len;
	o->commands++;
	o->locality = locality;
	if (!o->waits)
		ly_guest_answer(o->g, fine, sizeof(fine));
}

static void
on_op(void *arg, enum ly_op op, uint8_t locality, const uint8_t *body,
    size_t len)
{
	struct owner *o = arg;

	(void)op;
	(void)locality;
	(void)body;
	(void)len;
	o->ops++;
	if (!o->waits)
		ly_guest_result(o->g, LY_SWTPM_OK);
}

static void
on_save(void *arg)
{
	ly_guest_saved(((struct owner *)arg)->g, random8, 4);
}

static void
on_session(void *arg, bool up)
{
	struct owner *o = arg;

	o->sessions += up;
	o->ended += !up;
}

static void
on_closed(void *arg)
{
	((struct owner *)arg)->closed++;
}

static const struct ly_guest_ops ops = { .on_command = on_command,
	.on_op = on_op,
	.on_save = on_save,
	.on_session = on_session };

static enum ly_rc
try_open(struct owner *o, const char *path, struct ly_why *why)
{
	struct ly_guest_params p = keep_scene_params(&o->k, path, &ops, o);
	enum ly_rc rc = ly_guest_open(&p, &o->g, why);

	if (rc == LY_OK)
		o->k.g = o->g;
	return rc;
}

/* On a loop of its own, or on one of many, with the keeper of all of them. */
static void
open_guest_on(struct owner *o, uv_loop_t *loop, struct ly_keep *keep)
{
	struct ly_why why;

	memset(o, 0, sizeof(*o));
	ly_log_setup("test", false, LY_WARNING);
	snprintf(o->dir, sizeof(o->dir), "/tmp/lanyard-test-XXXXXX");
	WANT(mkdtemp(o->dir) != NULL);
	snprintf(o->path, sizeof(o->path), "%s/tpm", o->dir);
	snprintf(o->ctrl, sizeof(o->ctrl), "%s.ctrl", o->path);
	o->loop = loop ? loop : &o->own;
	if (!loop)
		uv_loop_init(o->loop);
	keep_scene_open(&o->k, o->loop, keep);
	WANT_INT(try_open(o, o->path, &why), LY_OK);
	ly_guest_attach_mode(o->g, LY_GUEST_ATTACHED);
}

static void
open_guest(struct owner *o)
{
	open_guest_on(o, NULL, NULL);
}

static void
close_guest(struct owner *o)
{
	o->k.g = NULL;
	ly_guest_close(o->g, on_closed);
	while (!o->closed)
		uv_run(o->loop, UV_RUN_ONCE);
	WANT_INT(o->closed, 1);
	ly_slot_free(o->k.slot);
	if (o->loop == &o->own) {
		keep_scene_end(&o->k);
		uv_run(o->loop, UV_RUN_DEFAULT);
		WANT_INT(uv_loop_close(o->loop), 0);
	}
	WANT(access(o->path, F_OK) != 0 && access(o->ctrl, F_OK) != 0);
	WANT_INT(rmdir(o->dir), 0);
}

static int
dial(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	WANT_INT(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* Lets the guest do all it can do now. */
static void
settle(struct owner *o)
{
	for (unsigned i = 0; i < 8; i++)
		uv_run(o->loop, UV_RUN_NOWAIT);
}

/* Bytes there to read now; -1: the other end has hung up. */
static ssize_t
heard(struct owner *o, int fd, uint8_t *buf, size_t len)
{
	ssize_t n;

	settle(o);
	n = recv(fd, buf, len, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return 0;
	return n > 0 ? n : -1;
}

static ssize_t
say(struct owner *o, int fd, const void *buf, size_t len, uint8_t out[512])
{
	WANT_INT(send(fd, buf, len, MSG_NOSIGNAL), len);
	return heard(o, fd, out, 512);
}

/* SET_DATAFD with `n` descriptors. */
static void
pass(int fd, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(8 * sizeof(int))];
	} ctrl;
	uint8_t code[4] = { 0, 0, 0, 0x10 };
	struct iovec iov = { code, sizeof(code) };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctrl.room,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *h;

	memset(&ctrl, 0, sizeof(ctrl));
	h = CMSG_FIRSTHDR(&msg);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(h), fds, n * sizeof(int));
	WANT_INT(sendmsg(fd, &msg, 0), 4);
}

struct qemu {
	int ctrl, data;
};

static void
qemu_start(struct owner *o, struct qemu *q)
{
	static const uint8_t init[] = { 0, 0, 0, 2, 0, 0, 0, 0 };
	uint8_t buf[512];
	int pair[2];

	q->ctrl = dial(o->ctrl);
	WANT_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	q->data = pair[0];
	pass(q->ctrl, &pair[1], 1);
	close(pair[1]);
	WANT_INT(heard(o, q->ctrl, buf, sizeof(buf)), 4);
	WANT_INT(say(o, q->data, probe, sizeof(probe), buf), 10);
	WANT_INT(buf[0], 0x80);
	WANT_INT(o->commands, 0);
	WANT_INT(say(o, q->ctrl, init, sizeof(init), buf), 4);
}

static void
qemu_end(struct owner *o, struct qemu *q)
{
	close(q->ctrl);
	close(q->data);
	settle(o);
}

TEST(qemu_is_served_from_its_descriptor_to_its_end)
{
	static const uint8_t locality[] = { 0, 0, 0, 5, 2, 0, 0, 0 };
	struct owner o;
	struct qemu q;
	uint8_t buf[512];

	open_guest(&o);
	for (unsigned i = 1; i < 4; i++) {
		qemu_start(&o, &q);
		WANT_INT(o.sessions, i);
		WANT(ly_guest_in_session(o.g));
		WANT_INT(say(&o, q.ctrl, locality, sizeof(locality), buf), 4);
		WANT_INT(say(&o, q.data, random8, sizeof(random8), buf), 10);
		WANT_MEM(buf, fine, sizeof(fine));
		WANT_INT(o.locality, 2);
		WANT_INT(o.commands, 1);
		o.commands = 0;
		qemu_end(&o, &q);
		WANT_INT(o.ended, i);
	}
	close_guest(&o);
}

static unsigned
descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

TEST(descriptors_nobody_asked_for_are_closed)
{
	struct owner o;
	uint8_t buf[512];
	unsigned before;
	int fds[4], c, pair[2];

	open_guest(&o);
	c = dial(o.ctrl);
	settle(&o);
	before = descriptors();
	WANT_INT(pipe(fds) + pipe(fds + 2), 0);
	pass(c, fds, 4); /* a pipe is no data channel */
	WANT_INT(heard(&o, c, buf, sizeof(buf)), 4);
	WANT_INT(buf[3], LY_SWTPM_FAIL);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
	WANT_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fds[0] = fds[1] = fds[2] = fds[3] = pair[1];
	pass(c, fds, 4);
	settle(&o);
	close(c);
	settle(&o);
	close(pair[0]);
	close(pair[1]);
	/* both ends of the connection, and where its answers are read from */
	WANT_INT(descriptors(), before - 3);
	close_guest(&o);
}

TEST(while_qemu_is_there_others_are_refused)
{
	struct owner o;
	struct qemu q;
	uint8_t buf[512];
	int early, raw, ctrl;

	open_guest(&o);
	early = dial(o.path);
	settle(&o);
	qemu_start(&o, &q);
	WANT_INT(heard(&o, early, buf, 1), -1);
	raw = dial(o.path);
	ctrl = dial(o.ctrl);
	WANT_INT(heard(&o, raw, buf, 1), -1);
	WANT_INT(heard(&o, ctrl, buf, 1), -1);
	WANT_INT(say(&o, q.data, random8, sizeof(random8), buf), 10);
	qemu_end(&o, &q);
	close(raw);
	raw = dial(o.path);
	WANT_INT(say(&o, raw, random8, sizeof(random8), buf), 10);
	close(early);
	close(raw);
	close(ctrl);
	close_guest(&o);
}

TEST(tpm2_tss_may_connect_for_every_command)
{
	static const uint8_t locality[] = { 0, 0, 0, 5, 3 };
	struct owner o;
	uint8_t buf[512];

	open_guest(&o);
	for (unsigned i = 0; i < 100; i++) {
		int c = dial(o.ctrl), d;

		WANT_INT(say(&o, c, locality, sizeof(locality), buf), 4);
		close(c);
		d = dial(o.path);
		WANT_INT(say(&o, d, random8, sizeof(random8), buf), 10);
		close(d);
	}
	WANT_INT(o.commands, 100);
	WANT_INT(o.locality, 3);
	close_guest(&o);
}

TEST(raw_clients_take_turns_and_too_many_wait)
{
	struct owner o;
	uint8_t buf[512];
	int c[LY_GUEST_CLIENTS + 4];

	open_guest(&o);
	o.waits = true;
	for (size_t i = 0; i < LY_COUNT(c); i++) {
		c[i] = dial(o.path);
		WANT_INT(say(&o, c[i], random8, sizeof(random8), buf), 0);
	}
	WANT_INT(o.commands, 1);
	for (unsigned i = 1; i <= LY_GUEST_CLIENTS; i++) {
		WANT_INT(o.commands, i);
		ly_guest_answer(o.g, fine, sizeof(fine));
		settle(&o);
	}
	WANT_INT(o.commands, LY_GUEST_CLIENTS);
	for (size_t i = 0; i < LY_COUNT(c); i++) {
		bool in = i < LY_GUEST_CLIENTS;

		WANT_INT(heard(&o, c[i], buf, sizeof(buf)), in ? 10 : 0);
	}
	close(c[0]);
	settle(&o);
	WANT_INT(o.commands, LY_GUEST_CLIENTS + 1);
	ly_guest_answer(o.g, fine, sizeof(fine));
	for (size_t i = 1; i < LY_COUNT(c); i++)
		close(c[i]);
	close_guest(&o);
}

TEST(commands_come_one_by_one_in_any_split)
{
	struct owner o;
	struct qemu q;
	uint8_t many[20 * sizeof(random8)], buf[512];
	ssize_t got = 0;

	for (unsigned i = 0; i < 20; i++)
		memcpy(many + i * sizeof(random8), random8, sizeof(random8));
	for (size_t piece = 1; piece < 40; piece++) {
		open_guest(&o);
		qemu_start(&o, &q);
		got = 0;
		for (size_t at = 0; at < sizeof(many); at += piece)
			got += say(&o, q.data, many + at,
			    ly_min(piece, sizeof(many) - at), buf);
		WANT_INT(got, 200);
		WANT_INT(o.commands, 20);
		qemu_end(&o, &q);
		close_guest(&o);
	}
}

TEST(a_second_command_waits_for_the_first_answer)
{
	struct owner o;
	struct qemu q;
	uint8_t buf[512];

	open_guest(&o);
	qemu_start(&o, &q);
	o.waits = true;
	WANT_INT(say(&o, q.data, random8, sizeof(random8), buf), 0);
	WANT_INT(say(&o, q.data, random8, sizeof(random8), buf), 0);
	WANT_INT(o.commands, 1);
	WANT(ly_guest_busy(o.g));
	ly_guest_answer(o.g, fine, sizeof(fine));
	WANT_INT(heard(&o, q.data, buf, sizeof(buf)), 10);
	WANT_INT(o.commands, 2);
	ly_guest_answer(o.g, fine, sizeof(fine));
	WANT_INT(heard(&o, q.data, buf, sizeof(buf)), 10);
	WANT(!ly_guest_busy(o.g));
	qemu_end(&o, &q);
	close_guest(&o);
}

TEST(an_answer_to_a_qemu_that_is_gone_reaches_no_other)
{
	static const uint8_t init[] = { 0, 0, 0, 2, 0, 0, 0, 0 };
	struct owner o;
	struct qemu q;
	uint8_t buf[512];

	open_guest(&o);
	qemu_start(&o, &q);
	o.waits = true;
	WANT_INT(say(&o, q.data, random8, sizeof(random8), buf), 0);
	qemu_end(&o, &q);
	o.waits = false;
	q.ctrl = dial(o.ctrl);
	WANT_INT(say(&o, q.ctrl, init, sizeof(init), buf), 0); /* it waits */
	ly_guest_answer(o.g, fine, sizeof(fine));
	WANT_INT(heard(&o, q.ctrl, buf, sizeof(buf)), 4);
	close(q.ctrl);
	close_guest(&o);
}

TEST(half_a_command_of_qemus_is_answered_in_the_end)
{
	struct owner o;
	struct qemu q;
	uint8_t buf[512];
	struct pollfd p;

	open_guest(&o);
	qemu_start(&o, &q);
	WANT_INT(say(&o, q.data, random8, 3, buf), 0);
	p = (struct pollfd){ .fd = q.data, .events = POLLIN };
	for (unsigned i = 0; i < 1000 && poll(&p, 1, 10) == 0; i++)
		uv_run(o.loop, UV_RUN_NOWAIT);
	WANT_INT(heard(&o, q.data, buf, sizeof(buf)), 10);
	WANT_INT(buf[8] << 8 | buf[9], LY_TPM_RC_COMMAND_SIZE);
	WANT_INT(say(&o, q.data, random8, sizeof(random8), buf), 10);
	WANT_MEM(buf, fine, sizeof(fine));
	qemu_end(&o, &q);
	close_guest(&o);
}

TEST(a_saved_guest_is_kept_waiting_until_it_is_known_what_became_of_it)
{
	static const uint8_t blob[] = { 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1, 0,
		0, 0, 0 };
	struct owner o;
	struct qemu q;
	uint8_t buf[512];

	open_guest(&o);
	qemu_start(&o, &q);
	WANT_INT(say(&o, q.ctrl, blob, sizeof(blob), buf), 20);
	WANT_INT(ly_guest_mode_of(o.g), LY_GUEST_SAVED);
	WANT_INT(say(&o, q.data, random8, sizeof(random8), buf), 0);
	WANT_INT(o.commands, 0);
	ly_guest_attach_mode(o.g, LY_GUEST_ATTACHED);
	WANT_INT(heard(&o, q.data, buf, sizeof(buf)), 10);
	WANT_INT(o.commands, 1);
	ly_guest_attach_mode(o.g, LY_GUEST_GONE);
	WANT_INT(say(&o, q.data, random8, sizeof(random8), buf), 10);
	WANT_INT(buf[8] << 8 | buf[9], LY_TPM_RC_FAILURE);
	WANT_INT(o.commands, 1);
	qemu_end(&o, &q);
	close_guest(&o);
}

TEST(sockets_of_the_dead_are_replaced_and_of_the_living_never)
{
	struct owner o, p;
	struct ly_why why;
	struct stat st;

	open_guest(&o);
	WANT_INT(stat(o.path, &st), 0);
	WANT_INT(st.st_mode & 0777, 0600);
	WANT_INT(stat(o.ctrl, &st), 0);
	WANT_INT(st.st_mode & 0777, 0600);
	memset(&p, 0, sizeof(p));
	p.loop = &p.own;
	uv_loop_init(p.loop);
	keep_scene_open(&p.k, p.loop, NULL);
	WANT_INT(try_open(&p, o.path, &why), LY_BUSY);
	WANT(strstr(why.text, o.path) != NULL);
	/* a dead process leaves its sockets behind */
	if (fork() == 0) {
		char path[64];

		snprintf(path, sizeof(path), "%s/dead", o.dir);
		_exit(try_open(&p, path, &why) != LY_OK);
	}
	wait(NULL);
	snprintf(p.path, sizeof(p.path), "%s/dead", o.dir);
	WANT_INT(access(p.path, F_OK), 0);
	WANT_INT(try_open(&p, p.path, &why), LY_OK);
	p.k.g = NULL;
	ly_guest_close(p.g, NULL);
	settle(&p);
	WANT_INT(mkdir(p.path, 0700), 0);
	WANT_INT(try_open(&p, p.path, &why), LY_REFUSED);
	WANT_INT(rmdir(p.path), 0);
	keep_scene_end(&p.k);
	uv_run(p.loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(p.loop), 0);
	close_guest(&o);
}

TEST(an_idle_guest_with_its_qemu_costs_at_most_two_kilobytes)
{
	enum { N = 64 };
	static struct owner o[N];
	static struct qemu q[N];
	static struct keep_scene k;
	uv_loop_t loop;
	struct mallinfo2 before, after;

	before = mallinfo2();
	if (before.uordblks == 0)
		SKIP("this malloc does not count (a sanitizer's)");
	uv_loop_init(&loop);
	keep_scene_open(&k, &loop, NULL);
	for (unsigned i = 0; i < N; i++) {
		uint8_t buf[512];

		if (i == N / 2) /* the loop's own tables have their size now */
			before = mallinfo2();
		open_guest_on(&o[i], &loop, k.keep);
		qemu_start(&o[i], &q[i]);
		WANT_INT(say(&o[i], q[i].data, random8, sizeof(random8), buf),
		    10);
	}
	after = mallinfo2();
	WANT(after.uordblks > before.uordblks);
	WANT((after.uordblks - before.uordblks) / (N / 2) <= 2048);
	for (unsigned i = 0; i < N; i++) {
		qemu_end(&o[i], &q[i]);
		close_guest(&o[i]);
	}
	keep_scene_end(&k);
	uv_run(&loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&loop), 0);
}

/* ---- joined to a TPM, in a process of its own ---- */

struct joined {
	struct ly_guest *g;
	struct ly_slot *slot; /* of the TPM */
	struct ly_tpm *t;
	struct ly_tpm_policy policy;
	enum ly_op op;
	uint32_t code;
	int news; /* each command's code goes here */
};

static void
joined_step(void *arg)
{
	struct joined *j = arg;

	ly_slot_commit(j->slot, ly_tpm_kept(j->t), sizeof(struct ly_tpm_kept));
	ly_tpm_settle(j->t);
}

static void
joined_submit(struct joined *j, enum ly_op op, uint8_t locality,
    const uint8_t *body, size_t len)
{
	ly_tpm_submit(j->t, op, locality, body, len);
	joined_step(j);
}

static void
joined_command(void *arg, uint8_t locality, const uint8_t *cmd, size_t len)
{
	struct joined *j = arg;
	struct ly_tpm_say feigned;
	struct ly_tpm_cmd c;

	if (ly_tpm_cmd_parse(cmd, len, &c) != LY_OK)
		abort();
	j->op = LY_OP_TPM;
	j->code = c.code;
	if (write(j->news, &c.code, sizeof(c.code)) < 0)
		exit(1);
	if (ly_tpm_policy_ask(&j->policy, cmd, len, &feigned) == LY_TPM_RUN)
		joined_submit(j, LY_OP_TPM, locality, cmd, len);
	else
		ly_guest_answer(j->g, feigned.at, feigned.len);
}

static void
joined_op(void *arg, enum ly_op op, uint8_t locality, const uint8_t *body,
    size_t len)
{
	struct joined *j = arg;

	j->op = op;
	joined_submit(j, op, locality, body, len);
}

static void
joined_answer(void *arg, const uint8_t *body, size_t len)
{
	struct joined *j = arg;
	struct ly_rd r = ly_rd_over(body, len);

	if (j->op == LY_OP_TPM)
		ly_guest_answer(j->g, body, len);
	else
		ly_guest_result(j->g, ly_rd_u32(&r));
	joined_step(j);
}

static void
joined_dead(void *arg, const char *why)
{
	(void)arg;
	fprintf(stderr, "the TPM died: %s\n", why);
	exit(1);
}

static char joined_run[32];

/* Its keeper lives on, as after any agent: it is told to end. */
static void
unjoin(pid_t pid)
{
	struct keep_scene k = { .loop = NULL };
	uv_loop_t loop;

	proc_end(pid);
	uv_loop_init(&loop);
	snprintf(k.run, sizeof(k.run), "%s", joined_run);
	keep_scene_open(&k, &loop, NULL);
	keep_scene_end(&k);
	uv_run(&loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&loop), 0);
}

/* A process that serves `spec` at `path`; codes of commands come from *news. */
static pid_t
join(const char *spec, const char *path, int *news)
{
	static const struct ly_guest_ops gops = { .on_command = joined_command,
		.on_op = joined_op };
	static const struct ly_tpm_ops tops = { joined_answer, joined_dead,
		joined_step };
	struct joined j = { .policy = { .resets = true } };
	struct keep_scene k = { .loop = NULL };
	struct ly_guest_params p;
	struct ly_why why = { "" };
	uv_loop_t loop;
	int fds[2];
	pid_t pid;

	WANT_INT(pipe(fds), 0);
	snprintf(joined_run, sizeof(joined_run), "/tmp/lanyard-run-XXXXXX");
	WANT(mkdtemp(joined_run) != NULL);
	snprintf(k.run, sizeof(k.run), "%s", joined_run);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[0]);
		j.news = fds[1];
		uv_loop_init(&loop);
		keep_scene_open(&k, &loop, NULL);
		p = keep_scene_params(&k, path, &gops, &j);
		j.slot = ly_slot_new(k.keep, LY_KEEP_HOME);
		if (ly_tpm_open(&loop, spec, j.slot, &tops, &j, &j.t, &why) !=
			LY_OK ||
		    ly_guest_open(&p, &j.g, &why) != LY_OK) {
			fprintf(stderr, "%s\n", why.text);
			_exit(1);
		}
		k.g = j.g;
		ly_guest_attach_mode(j.g, LY_GUEST_ATTACHED);
		uv_run(&loop, UV_RUN_DEFAULT);
		_exit(0);
	}
	close(fds[1]);
	*news = fds[0];
	for (unsigned i = 0; i < 500; i++) {
		char name[128];

		snprintf(name, sizeof(name), "%s.ctrl", path);
		if (access(name, F_OK) == 0)
			return pid;
		usleep(10000);
	}
	test_fail(__FILE__, __LINE__, "nothing listens at %s", path);
}

static const char tools[] =
    "set -e; cd \"$1\"; export TPM2TOOLS_TCTI=swtpm:path=$1/guest\n"
    "export TSS2_LOG=all+NONE; exec >/dev/null\n"
    "tpm2_startup -c; tpm2_getrandom --hex 8\n"
    "tpm2_createprimary -C o -c prim; tpm2_flushcontext -t\n"
    "tpm2_create -C prim -G ecc:ecdsa-sha256:null -u u -r r \\\n"
    " -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|"
    "sign'; tpm2_flushcontext -t\n"
    "tpm2_load -C prim -u u -r r -c ak; tpm2_flushcontext -t\n"
    "tpm2_quote -c ak -l sha256:0,1,10 -q abcd -m m -s s -o p -g sha256\n"
    "tpm2_flushcontext -t; tpm2_readpublic -c ak -f pem -o ak.pem\n"
    "tpm2_checkquote -u ak.pem -m m -s s -f p -q abcd -g sha256\n"
    "tpm2_flushcontext -t\n"
    "tpm2_nvdefine 0x1500001 -s 16 -a 'ownerread|ownerwrite'\n"
    "echo hello >hi; tpm2_nvwrite 0x1500001 -C o -i hi\n"
    "test \"$(tpm2_nvread 0x1500001 -C o -s 5)\" = hello\n"
    "tpm2_nvundefine 0x1500001 -C o\n"
    "tpm2_startauthsession -S ses; tpm2_policypcr -S ses -l sha256:16 -L pol\n"
    "tpm2_flushcontext ses; echo secret >sec\n"
    "tpm2_create -C prim -L pol -i sec -u u -r r; tpm2_flushcontext -t\n"
    "tpm2_load -C prim -u u -r r -c obj; tpm2_flushcontext -t\n"
    "tpm2_startauthsession --policy-session -S ses\n"
    "tpm2_policypcr -S ses -l sha256:16\n"
    "test \"$(tpm2_unseal -c obj -p session:ses)\" = secret\n"
    "tpm2_flushcontext ses; tpm2_flushcontext -t\n"
    "tpm2_pcrextend 16:sha256=$(printf %064d 7)\n"
    "tpm2_startauthsession --policy-session -S ses\n"
    "tpm2_policypcr -S ses -l sha256:16\n"
    "! tpm2_unseal -c obj -p session:ses 2>/dev/null\n"
    "tpm2_flushcontext ses; tpm2_flushcontext -t\n"
    "! tpm2_clear -c p 2>/dev/null; tpm2_pcrreset 16\n";

static void
use_tools(const char *way)
{
	struct swtpm_proc p;
	char spec[128], guest[96], dir[64];
	char *argv[] = { "timeout", "120", "sh", "-c", (char *)(uintptr_t)tools,
		"sh", dir, NULL };
	pid_t pid, sh;
	int status = -1, news;

	if (access("/usr/bin/tpm2_getrandom", X_OK) != 0 ||
	    !swtpm_proc_start(&p))
		SKIP("no swtpm or no tpm2-tools: make deps");
	snprintf(dir, sizeof(dir), "%s", p.dir);
	snprintf(spec, sizeof(spec), "%s%s", way, p.path);
	snprintf(guest, sizeof(guest), "%s/guest", p.dir);
	pid = join(spec, guest, &news);
	sh = fork();
	if (sh == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	waitpid(sh, &status, 0);
	unjoin(pid);
	close(news);
	swtpm_proc_end(&p);
	WANT_INT(status, 0);
}

TEST(tpm2_tools_work_through_a_guest_endpoint_and_a_tcti)
{
	use_tools("swtpm:path=");
}

TEST(tpm2_tools_work_through_a_guest_endpoint_and_a_socket)
{
	use_tools("socket:");
}

/* Waits for the firmware to say `code`; false after `ms` of silence. */
static bool
says(int news, uint32_t code, int ms)
{
	struct pollfd p = { .fd = news, .events = POLLIN };
	uint32_t got;

	while (poll(&p, 1, ms) == 1 &&
	    read(news, &got, sizeof(got)) == sizeof(got))
		if (got == code)
			return true;
	return false;
}

/* Firmware that gives the TPM up sends HierarchyControl, and never gets to
 * measure. */
static void
boots(const char *device)
{
	struct swtpm_proc p;
	char spec[128], guest[96], chardev[160], dev[64];
	char *argv[] = { "qemu-system-x86_64", "-machine", "q35,accel=tcg",
		"-m", "64", "-display", "none", "-nodefaults", "-chardev",
		chardev, "-tpmdev", "emulator,id=t,chardev=c", "-device", dev,
		NULL };
	bool measured, closed;
	pid_t pid, qemu;
	int news;

	if (access("/usr/bin/qemu-system-x86_64", X_OK) != 0 ||
	    !swtpm_proc_start(&p))
		SKIP("no QEMU or no swtpm: make deps");
	snprintf(spec, sizeof(spec), "socket:%s", p.path);
	snprintf(guest, sizeof(guest), "%s/guest", p.dir);
	snprintf(chardev, sizeof(chardev), "socket,id=c,path=%s.ctrl", guest);
	snprintf(dev, sizeof(dev), "%s,tpmdev=t", device);
	pid = join(spec, guest, &news);
	qemu = proc_start(argv);
	measured = says(news, 0x182, 60000);
	closed = says(news, LY_TPM_CC_HIERARCHY_CHANGE_AUTH, 60000);
	proc_end(qemu);
	unjoin(pid);
	close(news);
	swtpm_proc_end(&p);
	WANT(measured);
	WANT(closed);
}

TEST(stock_qemu_and_its_firmware_measure_through_tpm_crb)
{
	boots("tpm-crb");
}

TEST(stock_qemu_and_its_firmware_measure_through_tpm_tis)
{
	boots("tpm-tis");
}

TEST_MAIN()
