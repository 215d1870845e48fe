/* SPDX-License-Identifier: Apache-2.0 */
/* timeout: 120 */
/*
 * The home side is killed, again and again, between any two of its system
 * calls and at any moment; each command is run by the TPM exactly once, in
 * order, at its locality, and answered with what came of that.
 *
 * Three processes: the TPM, a stub that counts in shared memory what it ran;
 * the home's agent (the real shell of the homes, a keeper, no TLS), one life
 * after the other; and this one, the away side of one VM, which says RESUME to
 * each and sends again what was not answered, as agent/away does. So it does
 * when only its connection is cut, at each byte of a command and of an answer.
 * Between the guest's commands the home reads the PCRs for itself; neither is
 * ever answered with what was for the other.
 */
#include "agent/io/homes.h"
#include "lib/io/log.h"
#include "lib/wire/signed.h"
#include "tests/io/kept.h"
#include "tests/io/stub_tpm.h"
#include "tests/unit/site.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

static const struct ly_id vm = { { 1 } };
static const char host_a[] = "spiffe://north/host/a";

/* ---- one life of the home's agent ---- */

struct life {
	struct ly_agent agent;
	struct ly_agent_tpm tpm;
	uv_loop_t loop;
	int listener;
	uv_poll_t door;
	uv_timer_t look;
};

struct guest {
	uv_poll_t poll;
	struct life *life;
	struct ly_visitor *visitor;
	int fd;
	uint8_t buf[16384];
	size_t have;
};

static void
write_all(int fd, const uint8_t *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* it has hung up */
		buf += n;
		len -= (size_t)n;
	}
}

static void
say(int fd, unsigned type, const void *m)
{
	uint8_t buf[LY_TPM_MAX + LY_TICKET_MAX + 1024];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_frame_put(type, m, &w);
	assert(!w.bad);
	write_all(fd, buf, ly_wr_len(&w));
}

static void
on_say(void *arg, unsigned type, const void *m)
{
	say(((struct guest *)arg)->fd, type, m);
}

static void
on_guest_closed(uv_handle_t *handle)
{
	struct guest *g = handle->data;

	close(g->fd);
	free(g);
}

/* False: it has hung up. */
static bool
hear_all(struct guest *g)
{
	ssize_t n = read(g->fd, g->buf + g->have, sizeof(g->buf) - g->have);
	struct ly_frame f;
	union ly_any m;
	struct ly_why why;
	size_t used;

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	g->have += (size_t)n;
	while (ly_frame_get(g->buf, g->have, &f, &used, &why) == LY_OK) {
		if (ly_frame_decode(&f, &m, sizeof(m), &why) != LY_OK ||
		    ly_visitor_hear(g->visitor, f.type, &m, &why) != LY_OK)
			_exit(3);
		g->have -= used;
		memmove(g->buf, g->buf + used, g->have);
	}
	return true;
}

static void
on_bytes(uv_poll_t *poll, int status, int events)
{
	struct guest *g = poll->data;

	(void)status, (void)events;
	if (hear_all(g))
		return;
	ly_visitor_free(g->visitor);
	uv_close((uv_handle_t *)poll, on_guest_closed);
}

static struct guest *
let_in(struct life *l)
{
	int fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
	struct guest *g = calloc(1, sizeof(*g));

	if (fd < 0 || !g)
		_exit(4);
	g->fd = fd;
	g->life = l;
	g->visitor = ly_visitor_new(l->agent.homes, host_a, on_say, g);
	uv_poll_init(&l->loop, &g->poll, fd);
	g->poll.data = g;
	uv_poll_start(&g->poll, UV_READABLE, on_bytes);
	return g;
}

static void
on_guest(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events;
	(void)let_in(poll->data);
}

static void
on_bound(void *arg, enum ly_rc rc, enum ly_fate fate, uint64_t epoch,
    const char *why, const char *value)
{
	(void)arg, (void)fate, (void)epoch, (void)why, (void)value;
	if (rc != LY_OK)
		_exit(5);
}

/* A VM that runs where its home is asks while the agent is still opening: its
 * RESUME and its command are heard before the loop has run. */
static bool early;

static void
hear_early(struct life *l)
{
	struct guest *g = let_in(l);
	struct pollfd p = { .fd = g->fd, .events = POLLIN };

	while (poll(&p, 1, 2) > 0 && hear_all(g))
		;
}

/* The home reads the PCRs, all the time. */
static bool looks;

static void
on_place(void *arg, enum ly_rc rc, const struct ly_home_place *place,
    const char *why)
{
	uint8_t pcrs[16][32], want[32];

	(void)arg, (void)why;
	for (unsigned i = 0; i < 16; i++)
		memset(pcrs[i], (int)i, 32);
	ly_sha256(pcrs, sizeof(pcrs), want);
	if (rc == LY_OK ? memcmp(place->vpcrs, want, 32) != 0 :
			  rc != LY_BUSY && rc != LY_FAILED)
		_exit(8);
}

static void
on_look(uv_timer_t *timer)
{
	struct life *l = timer->data;

	ly_homes_vpcrs(l->agent.homes, &vm, on_place, NULL);
}

/* Ends by being killed. */
static void
live(struct ly_identity *ids, int listener, const char *tpm)
{
	static struct life l;
	struct ly_bind bind = { .vm = vm, .name = "web" };
	struct ly_why why;

	ly_log_setup("life", false,
	    getenv("LY_TEST_LOUD") ? LY_DEBUG : LY_ERROR);
	uv_loop_init(&l.loop);
	l.agent.loop = &l.loop;
	l.agent.ids = ids;
	l.agent.self = ly_identity_self(ids);
	l.agent.keep = kept_open(&l.loop);
	l.agent.conf.tpms = &l.tpm;
	l.agent.conf.tpms_n = 1;
	ly_copy(l.agent.conf.state, sizeof(l.agent.conf.state),
	    site_path("state"));
	ly_copy(l.tpm.name, sizeof(l.tpm.name), "chip");
	ly_print(l.tpm.tcti, sizeof(l.tpm.tcti), "socket:%s", tpm);
	l.tpm.patience_s = 300;
	ly_copy(l.agent.conf.vault, sizeof(l.agent.conf.vault), "none");
	if (ly_homes_open(&l.agent, &l.agent.homes, &why) != LY_OK) {
		fprintf(stderr, "%s\n", why.text);
		_exit(6);
	}
	ly_homes_bind(l.agent.homes, &bind, on_bound, NULL);
	l.listener = listener;
	uv_poll_init(&l.loop, &l.door, listener);
	l.door.data = &l;
	if (early)
		hear_early(&l);
	uv_poll_start(&l.door, UV_READABLE, on_guest);
	uv_timer_init(&l.loop, &l.look);
	l.look.data = &l;
	if (looks)
		uv_timer_start(&l.look, on_look, 0, 1);
	uv_run(&l.loop, UV_RUN_DEFAULT);
	_exit(7);
}

/* ---- the away side ---- */

struct away {
	struct ly_identity *ids, *manager;
	struct stub_tpm stub;
	char path[108];
	int listener, conn;
	pid_t child;
	uint8_t buf[16384];
	size_t have;
	uint8_t secret[LY_SECRET_LEN];
	bool attached, up, waiting;
	bool idle; /* asks nothing by itself */
	uint64_t seq;
	/* The command with that seq. */
	uint8_t op, locality, body[64];
	size_t len;
	uint32_t serial; /* the stub runs it; 0: it never sees it */
	uint32_t serials, answered, inits;
	unsigned lives;
};

static uint32_t
chance(uint32_t below)
{
	static uint64_t x = 42;

	x = x * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(x >> 33) % below;
}

static void
begin(struct away *a)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	*a = (struct away){ .conn = -1 };
	a->ids = site_host("north", "h");
	site_certify("north-m", "north", "spiffe://north/manager/m");
	a->manager = site_load("north-m", "trust");
	SITE_OK(ly_file_mkdir(site_path("state"), 0700, &why));
	snprintf(a->path, sizeof(a->path), "%s", site_path("agent.sock"));
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", a->path);
	unlink(a->path);
	a->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	WANT_INT(bind(a->listener, (struct sockaddr *)&at, sizeof(at)), 0);
	WANT_INT(listen(a->listener, 100), 0);
	stub_tpm_start(&a->stub, site_path("tpm"));
	uv_loop_t loop; /* one keeper for all lives */
	uv_loop_init(&loop);
	ly_keep_close(kept_open(&loop), false);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
}

static void
send_attach(struct away *a)
{
	uint8_t tagged[LY_TICKET_MAX], object[LY_TICKET_MAX];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));
	struct ly_ticket t = { .vm = vm,
		.rights = LY_MAY_ATTACH,
		.to_epoch = 1,
		.expires = (uint64_t)time(NULL) + 600 };
	struct ly_attach m = { .vm = vm };
	size_t len = sizeof(object);

	ly_copy(t.home, sizeof(t.home), ly_identity_self(a->ids)->id);
	ly_copy(t.holder, sizeof(t.holder), host_a);
	ly_message_put_tagged(&ly_ticket_message, &t, &w);
	SITE_OK(ly_sign(a->manager, LY_TYPE_TICKET, tagged, ly_wr_len(&w),
	    object, &len, &why));
	m.ticket = (struct ly_bytes){ object, len };
	say(a->conn, LY_ATTACH, &m);
}

static void
send_resume(struct away *a)
{
	struct ly_resume m = { .vm = vm,
		.epoch = 1,
		.seq = a->seq,
		.waiting = a->waiting };

	memcpy(m.secret, a->secret, sizeof(m.secret));
	say(a->conn, LY_RESUME, &m);
}

static void
send_command(struct away *a)
{
	struct ly_command m = { .op = a->op,
		.locality = a->locality,
		.epoch = 1,
		.seq = a->seq,
		.body = { a->body, a->len } };
	struct ly_cancel c = { .epoch = 1, .seq = a->seq };

	say(a->conn, LY_COMMAND, &m);
	if (a->op == LY_OP_TPM && chance(8) == 0)
		say(a->conn, LY_CANCEL, &c);
}

/* TPM2_StirRandom with the serial, which the stub knows it by. */
static void
stir(struct away *a)
{
	struct ly_wr w = ly_wr_over(a->body, sizeof(a->body));

	a->serial = ++a->serials;
	a->locality = (uint8_t)(chance(4) ? 0 : chance(5));
	ly_wr_u16(&w, 0x8001);
	ly_wr_u32(&w, 16);
	ly_wr_u32(&w, 0x146);
	ly_wr_u16(&w, 4);
	ly_wr_u32(&w, a->serial);
	a->len = ly_wr_len(&w);
}

/* TPM2_Clear: the policy answers it. */
static void
denied(struct away *a)
{
	static const uint8_t clear[] = { 0x80, 2, 0, 0, 0, 27, 0, 0, 1, 0x26,
		0x40, 0, 0, 0x0a, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0 };

	memcpy(a->body, clear, sizeof(clear));
	a->len = sizeof(clear);
}

static void
next_command(struct away *a)
{
	a->seq++;
	a->waiting = true;
	a->op = LY_OP_TPM;
	a->locality = 0;
	a->serial = 0;
	a->len = 0;
	if (a->seq == 1 || chance(20) == 0) {
		a->op = LY_OP_INIT;
		a->inits++;
	} else if (chance(10) == 0) {
		denied(a);
	} else {
		stir(a);
	}
	send_command(a);
}

/* The stub's answer says how often it has run this serial, and at which
 * locality. */
static void
check_answer(struct away *a, const struct ly_answer *m)
{
	struct ly_rd r = ly_rd_over(m->body.at, m->body.len);
	uint32_t rc;

	if (!a->waiting || m->seq + 1 == a->seq)
		return; /* of before: it came twice */
	WANT_INT(m->seq, a->seq);
	if (a->op != LY_OP_TPM) {
		WANT_INT(m->body.len, 4);
		WANT_INT(ly_rd_u32(&r), 0);
	} else {
		(void)ly_rd_bytes(&r, 6);
		rc = ly_rd_u32(&r);
		WANT(a->serial ? rc == 0 : rc != 0 && rc != 0x101);
		if (a->serial) {
			WANT_INT(ly_rd_u32(&r), 1);
			WANT_INT(ly_rd_u32(&r), a->locality);
		}
	}
	WANT(!r.bad && ly_rd_left(&r) == 0);
	a->waiting = false;
	a->answered++;
}

static void
check_granted(struct away *a, const struct ly_granted *m)
{
	if (m->rc == LY_BUSY) {
		usleep(500);
		if (a->attached)
			send_resume(a);
		else
			send_attach(a);
		return;
	}
	WANT_INT(m->rc, LY_OK);
	WANT_INT(m->epoch, 1);
	WANT(m->seq == a->seq || (a->waiting && m->seq + 1 == a->seq));
	memcpy(a->secret, m->secret, sizeof(a->secret));
	a->attached = a->up = true;
	if (a->waiting)
		send_command(a);
}

static void
heard(struct away *a, unsigned type, const union ly_any *m)
{
	if (type == LY_GRANTED)
		check_granted(a, &m->granted);
	else if (type == LY_ANSWER)
		check_answer(a, &m->answer);
	else
		test_fail(__FILE__, __LINE__, "heard %s (rc %u) at life %u",
		    ly_message_of(type)->name,
		    type == LY_REFUSE ? m->refuse.rc : 0, a->lives);
	if (a->up && !a->waiting && !a->idle)
		next_command(a);
}

/* What has come, without waiting. */
static void
listen_to_it(struct away *a)
{
	ssize_t n = recv(a->conn, a->buf + a->have, sizeof(a->buf) - a->have,
	    MSG_DONTWAIT);
	struct ly_frame f;
	union ly_any m;
	struct ly_why why;
	size_t used;

	if (n <= 0)
		return;
	a->have += (size_t)n;
	while (ly_frame_get(a->buf, a->have, &f, &used, &why) == LY_OK) {
		WANT_INT(ly_frame_decode(&f, &m, sizeof(m), &why), LY_OK);
		heard(a, f.type, &m);
		a->have -= used;
		memmove(a->buf, a->buf + used, a->have);
	}
}

static void
dial(struct away *a)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", a->path);
	a->conn = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	WANT_INT(connect(a->conn, (struct sockaddr *)&at, sizeof(at)), 0);
	a->have = 0;
	a->up = false;
	if (a->attached)
		send_resume(a);
	else
		send_attach(a);
}

static void
give_birth(struct away *a, bool traced)
{
	a->lives++;
	a->child = fork();
	if (a->child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(a->conn);
		if (traced && ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
			raise(SIGSTOP);
		live(a->ids, a->listener, a->stub.path);
	}
	dial(a);
}

static void
bury(struct away *a)
{
	int status;

	kill(a->child, SIGKILL);
	while (waitpid(a->child, &status, 0) == a->child &&
	    !WIFSIGNALED(status) && !WIFEXITED(status))
		;
	WANT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	listen_to_it(a); /* its last words */
	close(a->conn);
	a->conn = -1;
}

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* It lives for `us`, or until `answered` commands have been. */
static void
live_for(struct away *a, uint64_t us, uint32_t answered)
{
	uint64_t end = now_us() + us;

	give_birth(a, false);
	while (now_us() < end && a->answered < answered) {
		struct pollfd p = { .fd = a->conn, .events = POLLIN };

		(void)poll(&p, 1, us > 2000 ? 1 : 0);
		listen_to_it(a);
	}
	bury(a);
}

/* It lives until it has come to the start or the end of a system call `stops`
 * times. */
static void
live_stops(struct away *a, unsigned stops)
{
	uint64_t end = now_us() + 20000000;
	int status;

	give_birth(a, true);
	while (stops > 0 && now_us() < end) {
		pid_t pid = waitpid(a->child, &status, WNOHANG);

		if (pid == a->child) {
			WANT(WIFSTOPPED(status));
			stops--;
			ptrace(PTRACE_SYSCALL, a->child, NULL, NULL);
		} else {
			sched_yield();
		}
		listen_to_it(a);
	}
	WANT_INT(stops, 0);
	bury(a);
}

/* All is answered; each has run once, in order. */
static void
end(struct away *a)
{
	uint32_t all = a->answered + 30;
	uv_loop_t loop;

	live_for(a, 20000000, all);
	WANT(a->answered >= all);
	WANT(!a->stub.seen->disorder);
	for (uint32_t i = 1; i < a->serials; i++)
		WANT_INT(a->stub.seen->ran[i], 1);
	WANT(a->stub.seen->inits == a->inits ||
	    a->stub.seen->inits + 1 == a->inits);
	print_message("%u lives, %u commands answered, %u cancelled,"
		      " PCRs read %u times\n",
	    a->lives, a->answered, a->stub.seen->cancels, a->stub.seen->reads);
	WANT(!looks || a->stub.seen->reads > a->lives / 4);
	looks = false;
	stub_tpm_end(&a->stub);
	uv_loop_init(&loop);
	ly_keep_close(kept_open(&loop), true);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	close(a->listener);
	unlink(a->path);
	unlink(site_path("state/home.records"));
	rmdir(site_path("state"));
	ly_identity_free(a->ids);
	ly_identity_free(a->manager);
}

/* ---- the same, but only the connection dies ---- */

static void
until(struct away *a, const bool *what, bool is)
{
	uint64_t end = now_us() + 20000000;

	while (*what != is && now_us() < end) {
		struct pollfd p = { .fd = a->conn, .events = POLLIN };

		(void)poll(&p, 1, 10);
		listen_to_it(a);
	}
	WANT_INT(*what, is);
}

static void
hang_up(struct away *a)
{
	close(a->conn);
	dial(a);
}

/* Of a command that is numbered, `sent` bytes get there before the connection
 * is cut; or all do, and `heard` bytes of the answer come back. The bytes that
 * were there to be cut in. */
static size_t
cut(struct away *a, size_t sent, size_t heard)
{
	struct ly_command m = { .epoch = 1 };
	uint8_t buf[256];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	size_t all;

	until(a, &a->up, true);
	a->seq++;
	a->waiting = true;
	a->op = LY_OP_TPM;
	stir(a);
	m.locality = a->locality;
	m.seq = a->seq;
	m.body = (struct ly_bytes){ a->body, a->len };
	ly_frame_put(LY_COMMAND, &m, &w);
	all = ly_wr_len(&w);
	write_all(a->conn, buf, ly_min(sent, all));
	if (heard)
		all = (size_t)recv(a->conn, buf, heard, MSG_WAITALL);
	hang_up(a);
	until(a, &a->waiting, false);
	return all;
}

TEST(a_connection_cut_at_any_byte_loses_no_command_and_repeats_none)
{
	struct away a;
	size_t n = 1;

	begin(&a);
	live_for(&a, 20000000, 3);
	a.idle = true;
	give_birth(&a, false);
	until(&a, &a.waiting, false);
	for (size_t i = 0; i <= n; i++)
		n = cut(&a, i, 0);
	WANT(n > 40);
	/* an ANSWER's head, and 18 bytes in it */
	for (size_t i = 1; i <= 8 + 4 + 8 + 8 + 4 + 18; i++)
		WANT_INT(cut(&a, SIZE_MAX, i), i);
	bury(&a);
	a.idle = false;
	end(&a);
}

TEST(a_home_killed_between_any_two_system_calls_runs_each_command_once)
{
	struct away a;

	begin(&a);
	live_for(&a, 20000000, 3);
	looks = true;
	for (unsigned i = 0; i < 700; i++)
		live_stops(&a, 1 + (i % 7 ? chance(900) : i));
	end(&a);
}

TEST(a_home_killed_at_any_moment_runs_each_command_once)
{
	struct away a;

	begin(&a);
	live_for(&a, 20000000, 3);
	looks = true;
	for (unsigned i = 0; i < 400; i++)
		live_for(&a, 3000 + chance(12000), UINT32_MAX);
	end(&a);
}

TEST(a_guest_at_home_may_ask_before_its_agent_has_begun_to_loop)
{
	struct away a;

	begin(&a);
	live_for(&a, 20000000, 3);
	early = true;
	for (unsigned i = 0; i < 200; i++)
		live_for(&a, 3000 + chance(12000), UINT32_MAX);
	end(&a);
	early = false;
}

TEST_MAIN()
