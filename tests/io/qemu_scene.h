/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of migrations: two real QEMUs, migrated by our source and
 * destination over real TLS; the home is a struct in this file. The guest is a
 * firmware that counts and writes what it counts all over 384 KiB, so its
 * memory never stands still.
 */
#ifndef LY_TESTS_QEMU_SCENE_H
#define LY_TESTS_QEMU_SCENE_H

#include "agent/io/dest.h"
#include "agent/io/qemu.h"
#include "agent/io/source.h"
#include "lib/io/log.h"
#include "tests/unit/site.h"

#include <signal.h>
#include <sys/wait.h>

#define WAIT_MS 60000

/* What the home would do, and how often it was asked. */
struct home {
	bool released, claimed, aborted;
	bool refuse_release, deaf;
	unsigned releases, claims, queries;
};

struct side {
	struct ly_qemu *qemu;
	bool ready, exited;
	int status;
	char why[320];
};

static struct lab {
	uv_loop_t *loop;
	struct ly_identity *here_ids, *there_ids;
	struct ly_net *here, *there;
	struct home home;
	struct side src, dst;
	struct ly_source *source;
	struct ly_dest *dest;
	struct ly_source_result moved;
	struct ly_dest_result landed;
	char moved_why[320], landed_why[320];
	bool source_over, dest_over, listening, stopped, won, idle;
	unsigned progress_n, alarms;
	struct ly_progress progress;
	const char *status; /* of the last look */
	char seen[64];
	uv_timer_t timer;
	uint64_t until_ms;
	bool timed_out;
	/* with lanes: what FIN said, and how it is judged */
	const struct ly_lanes_params *source_lanes, *dest_lanes;
	struct ly_lanes_sum sent, came;
	bool refuse_seal, arrived;
	const char *refuse_fin;
	char alarm[200];
	void (*on_claim)(void);
	void (*on_progress)(void);
} lab;

static const struct ly_id mig = { { 7 } }, vm = { { 1, 2, 3 } };

/* ---- a loop with a limit ---- */

static void
on_time(uv_timer_t *t)
{
	(void)t;
	if (uv_now(lab.loop) > lab.until_ms)
		lab.timed_out = true;
}

/* Until `cond`, which the test wants to become true. */
#define UNTIL(cond)                                                            \
	do {                                                                   \
		uv_update_time(lab.loop);                                      \
		lab.until_ms = uv_now(lab.loop) + WAIT_MS;                     \
		while (!(cond) && !lab.timed_out)                              \
			uv_run(lab.loop, UV_RUN_ONCE);                         \
		WANT(cond);                                                    \
	} while (0)

/* ---- QEMU ---- */

static void
on_ready(void *arg)
{
	struct side *s = arg;

	s->ready = true;
}

static void
on_exit_(void *arg, int status, const char *why)
{
	struct side *s = arg;

	s->exited = true;
	s->status = status;
	s->qemu = NULL;
	ly_copy(s->why, sizeof(s->why), why);
}

static const struct ly_qemu_ops qemu_ops = { .on_ready = on_ready,
	.on_exit = on_exit_ };

/* A test that fails leaves its QEMUs; they do not outlive the program. They
 * are its children, so no pid is another's before it is waited for. */
static int pids[64];
static size_t pids_n;

static void
sweep(void)
{
	for (size_t i = 0; i < pids_n; i++)
		if (waitpid(pids[i], NULL, WNOHANG) == 0)
			kill(pids[i], SIGKILL);
}

static void
on_term(int sig)
{
	sweep();
	_exit(128 + sig);
}

static const char *
firmware(void)
{
	static const uint8_t reset[] = { 0xea, 0x00, 0x00, 0x00, 0xf0 };
	static const uint8_t code[] = {
		0xfa, 0x31, 0xdb,	/* cli; xor bx,bx */
		0xba, 0x00, 0x20,	/* again: mov dx,0x2000 */
		0x8e, 0xc2, 0x31, 0xff, /* seg: mov es,dx; xor di,di */
		0xb9, 0x00, 0x80,	/* mov cx,0x8000 */
		0x89, 0xd8, 0xf3, 0xab, /* mov ax,bx; rep stosw */
		0x81, 0xc2, 0x00, 0x10, /* add dx,0x1000 */
		0x81, 0xfa, 0x00, 0x80, /* cmp dx,0x8000 */
		0x75, 0xeb, 0x43,	/* jne seg; inc bx */
		0xeb, 0xe5,		/* jmp again */
	};
	uint8_t rom[65536] = { 0 };
	const char *path = site_path("rom,1.bin");

	memcpy(rom, code, sizeof(code));
	memcpy(rom + 0xfff0, reset, sizeof(reset)); /* jmp f000:0000 */
	SITE_OK(ly_file_write(path, rom, sizeof(rom), 0644, &why));
	return path;
}

static void
start_with(struct side *s, const char *dir, bool incoming, const char *json)
{
	struct ly_definition def;
	struct ly_qemu_params p = { .dir = site_path("%s", dir),
		.name = "web1",
		.id = vm,
		.definition = &def,
		.incoming = incoming };

	*s = (struct side){ .status = 0 };
	SITE_OK(ly_definition_check(json, strlen(json), &def, &why));
	SITE_OK(ly_qemu_start(lab.loop, &p, &qemu_ops, s, &s->qemu, &why));
	if (pids_n < LY_COUNT(pids))
		pids[pids_n++] = ly_qemu_pid(s->qemu);
}

static void
start_qemu(struct side *s, const char *dir, bool incoming)
{
	char json[512];

	ly_print(json, sizeof(json),
	    "{\"memory_mb\":64,\"accel\":\"tcg\",\"firmware\":\"%s\"}",
	    firmware());
	start_with(s, dir, incoming, json);
}

static void
on_seen(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	const char *text = json_is_string(value) ? json_string_value(value) :
						   ly_qemu_status(value);

	(void)arg;
	ly_copy(lab.seen, sizeof(lab.seen), rc ? why : text);
	lab.status = lab.seen;
}

static const char *
status_of(struct side *s)
{
	lab.status = NULL;
	ly_qemu_ask_status(s->qemu, on_seen, &lab);
	UNTIL(lab.status);
	return lab.status;
}

/* The guest's counter, as it stands in its memory. */
static unsigned long
counter_of(struct side *s)
{
	const char *at;

	lab.status = NULL;
	ly_qemu_ask(s->qemu, "human-monitor-command",
	    json_pack("{s:s}", "command-line", "xp /1hx 0x20000"), 0, on_seen,
	    &lab);
	UNTIL(lab.status);
	at = strstr(lab.status, "0x");
	return at ? strtoul(at, NULL, 16) : 0;
}

static void
want_counting(struct side *s)
{
	unsigned long first = counter_of(s);

	for (unsigned i = 0; i < 10000; i++)
		if (counter_of(s) != first)
			return;
	WANT(!"the guest stands still");
}

/* ---- the home, and the owners of both sides ---- */

static bool
is_idle(void *arg)
{
	(void)arg;
	return lab.idle;
}

static bool
is_quiet(void *arg)
{
	(void)arg;
	return lab.idle;
}

static void
hook(void *arg, bool regain)
{
	(void)arg;
	(void)regain;
	ly_source_hooked(lab.source, true, "");
}

static void
on_stopping(void *arg)
{
	(void)arg;
}

static void
on_stopped(void *arg, bool won)
{
	(void)arg;
	lab.stopped = true;
	lab.won = won;
}

static void
release(void *arg)
{
	(void)arg;
	lab.home.releases++;
	if (lab.home.refuse_release) {
		ly_source_released(lab.source, LY_REFUSED);
		return;
	}
	lab.home.released = true;
	ly_source_released(lab.source, LY_OK);
}

static void
query(void *arg, bool abort_)
{
	enum ly_fate fate = LY_FATE_OPEN;

	(void)arg;
	lab.home.queries++;
	if (lab.home.deaf) {
		ly_source_fate(lab.source, LY_OUTSIDE, LY_FATE_UNKNOWN);
		return;
	}
	if (abort_ && !lab.home.claimed)
		lab.home.aborted = true;
	if (lab.home.claimed)
		fate = LY_FATE_CLAIMED;
	if (lab.home.aborted)
		fate = LY_FATE_ABORTED;
	ly_source_fate(lab.source, LY_OK, fate);
}

static uint64_t
seq(void *arg)
{
	(void)arg;
	return 42;
}

static void
on_progress(void *arg, const struct ly_progress *p)
{
	(void)arg;
	lab.progress_n++;
	lab.progress = *p;
	if (lab.on_progress)
		lab.on_progress();
}

static void
on_alarm(void *arg, const char *text)
{
	(void)arg;
	lab.alarms++;
	ly_copy(lab.alarm, sizeof(lab.alarm), text);
	print_message("alarm: %s\n", text);
}

static void
on_source_over(void *arg, const struct ly_source_result *r)
{
	(void)arg;
	lab.source_over = true;
	lab.source = NULL;
	lab.moved = *r;
	ly_copy(lab.moved_why, sizeof(lab.moved_why), r->why);
}

static void
on_listening(void *arg)
{
	(void)arg;
	lab.listening = true;
}

static void
claim(void *arg, uint64_t n)
{
	(void)arg;
	lab.home.claims++;
	WANT_INT(n, 42);
	if (lab.on_claim) {
		lab.on_claim();
		return;
	}
	lab.home.claimed = lab.home.released && !lab.home.aborted;
	ly_dest_granted(lab.dest, lab.home.claimed ? LY_OK : LY_REFUSED, 8);
}

static void
hook_dest(void *arg)
{
	(void)arg;
	ly_dest_hooked(lab.dest, true, "");
}

static void
on_dest_over(void *arg, const struct ly_dest_result *r)
{
	(void)arg;
	lab.dest_over = true;
	lab.dest = NULL;
	lab.landed = *r;
	ly_copy(lab.landed_why, sizeof(lab.landed_why), r->why);
}

static void
on_fin(void *arg)
{
	(void)arg;
}

/* ---- what is signed: here the word "sent", and the MAC of nothing ---- */

static void
seal(void *arg, const struct ly_lanes_sum *sum)
{
	static struct ly_seal sealed = { .statement = { (const uint8_t *)"sent",
					     4 },
		.mac = { 1, 2, 3 } };

	(void)arg;
	lab.sent = *sum;
	if (lab.refuse_seal)
		ly_source_sealed(lab.source, LY_OUTSIDE, "no TPM", NULL);
	else
		ly_source_sealed(lab.source, LY_OK, NULL, &sealed);
}

static enum ly_rc
check(void *arg, const struct ly_fin *fin, const struct ly_lanes_sum *sum,
    struct ly_why *why)
{
	(void)arg;
	lab.came = *sum;
	WANT_INT(fin->statement.len, 4);
	WANT(ly_same(fin->statement.at, "sent", 4));
	WANT_INT(fin->mac[2], 3);
	WANT_INT(fin->bytes, sum->bytes);
	if (lab.refuse_fin)
		return ly_fail(why, LY_REFUSED, "%s", lab.refuse_fin);
	return LY_OK;
}

static struct ly_bytes
arrived(void *arg, const struct ly_lanes_sum *sum, uint64_t epoch)
{
	(void)arg;
	WANT_INT(epoch, 8);
	WANT(ly_same(sum->root, lab.came.root, 32));
	return (struct ly_bytes){ (const uint8_t *)"arrived", 7 };
}

static void
on_arrived(void *arg, struct ly_bytes statement)
{
	(void)arg;
	WANT_INT(statement.len, 7);
	lab.arrived = true;
}

static const struct ly_source_ops source_ops = {
	.is_idle = is_idle,
	.is_quiet = is_quiet,
	.on_stopping = on_stopping,
	.on_stopped = on_stopped,
	.hook = hook,
	.on_fin = on_fin,
	.seal = seal,
	.on_arrived = on_arrived,
	.release = release,
	.query = query,
	.seq = seq,
	.on_progress = on_progress,
	.on_alarm = on_alarm,
	.on_over = on_source_over,
};

static const struct ly_dest_ops dest_ops = {
	.on_listening = on_listening,
	.check = check,
	.arrived = arrived,
	.claim = claim,
	.hook = hook_dest,
	.on_alarm = on_alarm,
	.on_over = on_dest_over,
};

static enum ly_rc
on_stranger(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)peer;
	(void)arg;
	if (hello->purpose != LY_FOR_STREAM || !ly_id_same(&hello->mig, &mig) ||
	    !lab.dest)
		return ly_fail(why, LY_UNKNOWN, "no such migration");
	return ly_dest_stream(lab.dest, c, why);
}

static enum ly_rc
on_nothing(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	(void)c;
	(void)type;
	(void)m;
	(void)arg;
	return ly_fail(why, LY_MALFORMED, "not adopted");
}

static void
on_refused(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	(void)c;
	(void)rc;
	(void)why;
	(void)arg;
}

static const struct ly_conn_ops strangers = { .on_open = on_stranger,
	.on_frame = on_nothing,
	.on_close = on_refused };

/* ---- a whole lab ---- */

static void
begin(void)
{
	ly_log_setup("test_qemu", false,
	    getenv("VERBOSE") ? LY_DEBUG : LY_ERROR);
	signal(SIGPIPE, SIG_IGN);
	if (!pids_n)
		atexit(sweep);
	signal(SIGTERM, on_term);
	memset(&lab, 0, sizeof(lab));
	lab.idle = true;
	lab.loop = malloc(sizeof(*lab.loop)); /* a failed test leaves its own */
	WANT(lab.loop && uv_loop_init(lab.loop) == 0);
	uv_timer_init(lab.loop, &lab.timer);
	uv_timer_start(&lab.timer, on_time, 100, 100);
	lab.here_ids = site_host("a.example", "h1");
	lab.there_ids = site_host("a.example", "h2");
	SITE_OK(ly_net_new(lab.loop, lab.here_ids, "test", &lab.here, &why));
	SITE_OK(ly_net_new(lab.loop, lab.there_ids, "test", &lab.there, &why));
	SITE_OK(
	    ly_net_listen(lab.there, "127.0.0.1:0", &strangers, NULL, &why));
}

static void
end_qemu(struct side *s)
{
	if (!s->qemu)
		return;
	ly_qemu_quit(s->qemu);
	UNTIL(s->exited);
}

/* Everything goes, and nothing is left on the loop. */
static void
end(void)
{
	if (lab.source)
		ly_source_close(lab.source);
	if (lab.dest)
		ly_dest_close(lab.dest);
	end_qemu(&lab.src);
	end_qemu(&lab.dst);
	ly_net_close(lab.here);
	ly_net_close(lab.there);
	uv_close((uv_handle_t *)&lab.timer, NULL);
	uv_run(lab.loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(lab.loop), 0);
	free(lab.loop);
	ly_identity_free(lab.here_ids);
	ly_identity_free(lab.there_ids);
}

static void
listen_and_wait(const char *source_name)
{
	struct ly_dest_params p = { .loop = lab.loop, .vm = vm, .mig = mig };
	char source[LY_SPIFFE_MAX];

	UNTIL(lab.src.ready && lab.dst.ready);
	want_counting(&lab.src);
	ly_spiffe_host("a.example", source_name, source);
	p.source = source;
	p.qemu = lab.dst.qemu;
	p.lanes = lab.dest_lanes;
	p.net = lab.there;
	SITE_OK(ly_dest_start(&p, &dest_ops, &lab, &lab.dest, &why));
	UNTIL(lab.listening);
}

/* A counting guest at the source, and a destination that listens. */
static LY_UNUSED void
begin_pair(void)
{
	begin();
	start_qemu(&lab.src, "src", false);
	start_qemu(&lab.dst, "dst", true);
	listen_and_wait("h1");
}

static void
migrate(uint64_t bandwidth)
{
	char dest[LY_SPIFFE_MAX], address[LY_ADDR_MAX];
	struct ly_source_params p = { .loop = lab.loop,
		.net = lab.here,
		.qemu = lab.src.qemu,
		.vm = vm,
		.mig = mig,
		.dest = dest,
		.dest_address = address,
		.lanes = lab.source_lanes,
		.bandwidth = bandwidth,
		.downtime_ms = 3000 };

	ly_spiffe_host("a.example", "h2", dest);
	ly_print(address, sizeof(address), "127.0.0.1:%u",
	    ly_net_port(lab.there));
	SITE_OK(ly_source_start(&p, &source_ops, &lab, &lab.source, &why));
}

static LY_UNUSED void
say_times(const char *what)
{
	print_message("%s: %s won, %llu bytes, %llu ms, down %lld ms, "
		      "QEMU says %llu ms\n",
	    what, lab.moved.won ? "agent" : "QEMU",
	    (unsigned long long)lab.moved.bytes,
	    (unsigned long long)lab.moved.total_ms,
	    (long long)(lab.landed.resumed_ms - lab.moved.stopped_ms),
	    (unsigned long long)lab.moved.qemu_downtime_ms);
}

static LY_UNUSED void
want_moved(void)
{
	UNTIL(lab.source_over);
	WANT_STR(lab.moved_why, "");
	UNTIL(lab.dest_over);
	WANT_INT(lab.moved.end, LY_SOURCE_MOVED);
	WANT_INT(lab.moved.rc, LY_OK);
	WANT_INT(lab.landed.end, LY_DEST_RUNS);
	WANT_INT(lab.landed.epoch, 8);
	WANT_INT(lab.landed.bytes, lab.moved.bytes);
	UNTIL(lab.src.exited);
	WANT_STR(status_of(&lab.dst), "running");
	want_counting(&lab.dst);
	WANT_INT(lab.home.releases, 1);
	WANT_INT(lab.home.claims, 1);
	WANT_INT(lab.alarms, 0);
	WANT(lab.moved.stopped_ms > 0);
	WANT(lab.landed.resumed_ms >= lab.moved.stopped_ms);
}

/* The guest runs on at the source, and the destination's QEMU is gone. */
static LY_UNUSED void
want_stayed(void)
{
	UNTIL(lab.source_over && lab.dest_over);
	WANT_INT(lab.moved.end, LY_SOURCE_STAYED);
	WANT(lab.moved.rc != LY_OK);
	WANT(lab.moved_why[0]);
	UNTIL(lab.dst.exited);
	WANT_STR(status_of(&lab.src), "running");
	want_counting(&lab.src);
	WANT_INT(lab.alarms, 0);
}

#endif
