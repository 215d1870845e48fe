/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell of one migration at its destination. It lives until the machine
 * has said OVER and until the timer's and the connection's close callbacks
 * have come (`open`). The core is never entered twice at once: what perform()
 * finds out waits in `news`.
 */
#include "agent/io/dest.h"

#include "agent/io/migstat.h"
#include "agent/io/pump.h"
#include "lib/io/log.h"

#include <stdlib.h>
#include <time.h>

#define TICK_MS 10
#define WAIT_MS 30000 /* for the monitor, which the TPM's INIT may hold up */
#define NEWS_MAX 16

struct news {
	struct ly_dest_event ev;
	char text[200];
};

struct ly_dest {
	struct ly_dest_core core;
	const struct ly_dest_ops *ops;
	void *arg;
	uv_loop_t *loop;
	struct ly_qemu *qemu; /* NULL: it has ended */
	struct ly_conn *conn; /* NULL: not yet, or gone */
	struct ly_pump *pump;
	uv_timer_t timer;
	unsigned open;
	struct ly_id mig;
	char source[LY_SPIFFE_MAX];
	uint64_t epoch, seq, resumed_ms, bytes;
	bool feeding, over;
	struct ly_dest_event polled; /* query-migrate's, until query-status */
	char polled_text[200];
	struct news news[NEWS_MAX];
	unsigned news_at, news_n;
	enum ly_dest_end end;
};

static void perform(struct ly_dest *d, const struct ly_dest_todo *todo);
static void finish(struct ly_dest *d);

static uint64_t
wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- telling the machine ---- */

static void
put_news(struct ly_dest *d, const struct ly_dest_event *ev)
{
	struct news *n = &d->news[(d->news_at + d->news_n++) % NEWS_MAX];

	assert(d->news_n <= NEWS_MAX);
	n->ev = *ev;
	n->ev.now_ms = uv_now(d->loop);
	n->ev.text = NULL;
	if (ev->text) {
		ly_copy(n->text, sizeof(n->text), ev->text);
		n->ev.text = n->text;
	}
}

static void
obey(struct ly_dest *d, const struct ly_dest_todos *todo)
{
	for (unsigned i = 0; i < todo->n; i++)
		perform(d, &todo->act[i]);
}

static void
step(struct ly_dest *d)
{
	struct news n = d->news[d->news_at];
	enum ly_dest_state before = d->core.state;
	struct ly_dest_todos todo = { .n = 0 };
	char id[LY_ID_TEXT];

	if (n.ev.text)
		n.ev.text = n.text;
	d->news_at = (d->news_at + 1) % NEWS_MAX;
	d->news_n--;
	ly_dest_step(&d->core, &n.ev, &todo);
	if (d->core.state != before)
		ly_log(LY_DEBUG, "dest", "migration %s: %s -> %s",
		    ly_id_text(&d->mig, id), ly_dest_state_name(before),
		    ly_dest_state_name(d->core.state));
	obey(d, &todo);
}

static void
feed(struct ly_dest *d, struct ly_dest_event ev)
{
	if (d->over)
		return;
	put_news(d, &ev);
	if (d->feeding)
		return;
	d->feeding = true;
	while (d->news_n && !d->over)
		step(d);
	d->feeding = false;
	if (d->over)
		finish(d);
}

static void
tell(struct ly_dest *d, enum ly_dest_kind kind, bool ok, const char *text)
{
	feed(d, (struct ly_dest_event){ .kind = kind, .ok = ok, .text = text });
}

/* ---- QEMU ---- */

static void
ask(struct ly_dest *d, const char *command, json_t *args, ly_qmp_done *done)
{
	if (d->qemu)
		ly_qemu_ask(d->qemu, command, args, WAIT_MS, done, d);
	else
		json_decref(args);
}

static void
socket_path(const struct ly_dest *d, char out[LY_PATH_LEN + 32])
{
	ly_print(out, LY_PATH_LEN + 32, "%s/mig-in.sock", ly_qemu_dir(d->qemu));
}

static void
on_incoming(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	(void)value;
	tell(arg, LY_DST_SET, rc == LY_OK, why);
}

static void
on_capabilities(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_dest *d = arg;
	char path[LY_PATH_LEN + 32], uri[LY_PATH_LEN + 40];

	(void)value;
	if (rc) {
		tell(d, LY_DST_SET, false, why);
		return;
	}
	if (d->core.state != LY_DST_OPENING || !d->qemu)
		return;
	socket_path(d, path);
	ly_print(uri, sizeof(uri), "unix:%s", path);
	ask(d, "migrate-incoming", json_pack("{s:s}", "uri", uri), on_incoming);
}

static void
on_migrate_status(void *arg, enum ly_rc rc, const json_t *value,
    const char *why)
{
	struct ly_dest *d = arg;
	struct ly_mig_numbers numbers;
	struct ly_why text;

	d->polled = (struct ly_dest_event){ .kind = LY_DST_STATUS };
	if (rc == LY_OK)
		d->polled.status = ly_migstat_read(value, &numbers, &text);
	else
		ly_copy(text.text, sizeof(text.text), why);
	ly_copy(d->polled_text, sizeof(d->polled_text), text.text);
	d->polled.text = d->polled_text;
}

static void
on_run_status(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_dest *d = arg;

	(void)why;
	if (rc)
		d->polled.status = LY_MIG_UNHEARD;
	d->polled.running = rc == LY_OK &&
	    strcmp(ly_qemu_status(value), "running") == 0;
	feed(d, d->polled);
}

static void
on_cont_status(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_dest *d = arg;
	const char *status = ly_qemu_status(value);
	bool ok = rc == LY_OK && strcmp(status, "running") == 0;

	if (ok && !d->resumed_ms)
		d->resumed_ms = wall_ms();
	tell(d, LY_DST_RESUMED, ok, rc ? why : status);
}

static void
on_qemu_event(void *arg, const char *name, const json_t *data)
{
	struct ly_dest *d = arg;

	(void)data;
	if (strcmp(name, "RESUME") == 0 && d->core.state == LY_DST_RESUMING)
		d->resumed_ms = wall_ms();
	if (strcmp(name, "MIGRATION") == 0)
		tell(d, LY_DST_HINT, true, NULL);
}

static void
on_qemu_exit(void *arg, const char *why)
{
	struct ly_dest *d = arg;

	d->qemu = NULL;
	tell(d, LY_DST_GONE, false, why);
}

static void
on_pump_end(void *arg)
{
	tell(arg, LY_DST_BROKEN, false, "QEMU has closed its socket");
}

static void
on_pump_broken(void *arg, const char *why)
{
	tell(arg, LY_DST_BROKEN, false, why);
}

/* ---- the connection ---- */

static enum ly_rc
on_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)c;
	(void)peer;
	(void)hello;
	(void)arg;
	return ly_fail(why, LY_MALFORMED, "a stream was opened twice");
}

static void
hear_fin(struct ly_dest *d, const struct ly_fin *fin)
{
	uint64_t got = d->pump ? ly_pump_got(d->pump) : 0;
	struct ly_why text;
	bool ok = fin->bytes == got;

	if (!ok)
		ly_fail(&text, LY_MALFORMED,
		    "the stream is not whole: %llu of %llu bytes",
		    (unsigned long long)got, (unsigned long long)fin->bytes);
	d->seq = fin->seq;
	tell(d, LY_DST_FIN, ok, ok ? NULL : text.text);
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	struct ly_dest *d = arg;

	(void)c;
	if (d->core.state > LY_DST_COPY)
		return LY_OK; /* whole, or given up */
	if (type == LY_DATA) {
		if (d->pump)
			ly_pump_data(d->pump, &m->data);
		return LY_OK;
	}
	if (type != LY_FIN || !ly_id_same(&m->fin.mig, &d->mig))
		return ly_fail(why, LY_MALFORMED,
		    "a stream's source sent a frame of type %#x", type);
	hear_fin(d, &m->fin);
	return LY_OK;
}

static void
on_drain(struct ly_conn *c, void *arg)
{
	struct ly_dest *d = arg;

	(void)c;
	if (d->pump)
		ly_pump_drained(d->pump);
}

static void
let_go(struct ly_dest *d)
{
	if (--d->open == 0)
		free(d);
}

static void
on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct ly_dest *d = arg;
	struct ly_why text;

	(void)c;
	if (d->conn && d->pump)
		ly_pump_detach(d->pump);
	d->conn = NULL;
	ly_fail(&text, rc, "the source's connection: %s",
	    why && *why ? why : ly_rc_name(rc));
	tell(d, LY_DST_LOST, false, text.text);
	let_go(d);
}

enum ly_rc
ly_dest_stream(struct ly_dest *d, struct ly_conn *conn, struct ly_why *why)
{
	static const struct ly_conn_ops ops = { on_open, on_frame, on_drain,
		on_close };
	static const struct ly_pump_ops pump = { on_pump_end, on_pump_broken };
	const struct ly_peer *peer = ly_conn_peer(conn);
	char path[LY_PATH_LEN + 32];
	enum ly_rc rc;

	if (strcmp(peer->id, d->source) != 0)
		return ly_fail(why, LY_REFUSED,
		    "%s may not send this VM, only %s", peer->id, d->source);
	if (d->core.state != LY_DST_LISTENING || !d->qemu)
		return ly_fail(why, LY_BUSY,
		    "the destination is not listening, but %s",
		    ly_dest_state_name(d->core.state));
	socket_path(d, path);
	rc = ly_pump_connect(d->loop, path, conn, &pump, d, &d->pump, why);
	if (rc)
		return rc;
	ly_conn_adopt(conn, &ops, d);
	d->conn = conn;
	d->open++;
	tell(d, LY_DST_STREAM, true, NULL);
	return LY_OK;
}

static void
hang_up(struct ly_dest *d)
{
	if (d->pump) {
		d->bytes = ly_pump_got(d->pump);
		ly_pump_close(ly_take(d->pump));
	}
	if (d->conn)
		ly_conn_close(ly_take(d->conn), LY_OK, "over");
}

/* ---- doing as the machine says ---- */

static void
send_ready(struct ly_dest *d, enum ly_rc rc)
{
	struct ly_ready ready = { .mig = d->mig,
		.rc = (uint8_t)rc,
		.epoch = d->epoch };

	if (d->conn)
		ly_conn_send(d->conn, LY_READY, &ready);
}

static void
perform(struct ly_dest *d, const struct ly_dest_todo *todo)
{
	switch (todo->act) {
	case LY_DST_DO_SETUP:
		ask(d, "migrate-set-capabilities",
		    ly_migstat_capabilities(false), on_capabilities);
		break;
	case LY_DST_DO_LISTENING:
		d->ops->on_listening(d->arg);
		break;
	case LY_DST_DO_POLL:
		ask(d, "query-migrate", NULL, on_migrate_status);
		ask(d, "query-status", NULL, on_run_status);
		break;
	case LY_DST_DO_CLAIM:
		d->ops->claim(d->arg, d->seq);
		break;
	case LY_DST_DO_HOOK:
		d->ops->hook(d->arg);
		break;
	case LY_DST_DO_CONT:
		ask(d, "cont", NULL, NULL);
		ask(d, "query-status", NULL, on_cont_status);
		break;
	case LY_DST_DO_STOP:
		ask(d, "stop", NULL, NULL);
		break;
	case LY_DST_DO_READY:
		send_ready(d, todo->rc);
		break;
	case LY_DST_DO_HANGUP:
		hang_up(d);
		break;
	case LY_DST_DO_QUIT:
		if (d->qemu)
			ly_qemu_quit(d->qemu);
		break;
	case LY_DST_DO_ALARM:
		d->ops->on_alarm(d->arg, todo->text);
		break;
	case LY_DST_DO_OVER:
		d->end = todo->end;
		d->over = true;
		break;
	}
}

/* ---- life ---- */

static void
on_timer(uv_timer_t *timer)
{
	tell(timer->data, LY_DST_TICK, true, NULL);
}

static void
on_timer_gone(uv_handle_t *handle)
{
	let_go(handle->data);
}

static void
release_all(struct ly_dest *d)
{
	d->over = true;
	hang_up(d);
	if (d->qemu) {
		ly_qemu_forget(d->qemu, d);
		ly_qemu_tap(d->qemu, NULL, NULL);
		d->qemu = NULL;
	}
	uv_close((uv_handle_t *)&d->timer, on_timer_gone);
}

static void
finish(struct ly_dest *d)
{
	struct ly_dest_result result = {
		.end = d->end,
		.rc = d->core.rc,
		.why = d->core.why,
		.epoch = d->epoch,
		.seq = d->seq,
		.resumed_ms = d->resumed_ms,
	};

	release_all(d);
	result.bytes = d->bytes;
	d->ops->on_over(d->arg, &result);
}

void
ly_dest_granted(struct ly_dest *d, enum ly_rc rc, uint64_t epoch)
{
	if (d->core.state == LY_DST_CLAIMING && rc == LY_OK)
		d->epoch = epoch;
	feed(d, (struct ly_dest_event){ .kind = LY_DST_GRANTED, .rc = rc });
}

void
ly_dest_hooked(struct ly_dest *d, bool ok, const char *why)
{
	tell(d, LY_DST_HOOKED, ok, why);
}

void
ly_dest_fenced(struct ly_dest *d)
{
	tell(d, LY_DST_FENCED, true, NULL);
}

void
ly_dest_drop(struct ly_dest *d)
{
	tell(d, LY_DST_DROP, true, NULL);
}

void
ly_dest_close(struct ly_dest *d)
{
	release_all(d);
}

enum ly_dest_state
ly_dest_state(const struct ly_dest *d)
{
	return d->core.state;
}

static const struct ly_qemu_tap tap = { on_qemu_event, on_qemu_exit };

static struct ly_dest *
make(const struct ly_dest_params *p, const struct ly_dest_ops *ops, void *arg)
{
	struct ly_dest *d = calloc(1, sizeof(*d));

	if (!d || uv_timer_init(p->loop, &d->timer)) {
		free(d);
		return NULL;
	}
	d->timer.data = d;
	d->open = 1;
	d->ops = ops;
	d->arg = arg;
	d->loop = p->loop;
	d->qemu = p->qemu;
	d->mig = p->mig;
	ly_copy(d->source, sizeof(d->source), p->source);
	ly_qemu_tap(d->qemu, &tap, d);
	uv_timer_start(&d->timer, on_timer, TICK_MS, TICK_MS);
	return d;
}

void
ly_dest_wake(const struct ly_dest_params *p, uint64_t epoch,
    const struct ly_dest_ops *ops, void *arg, struct ly_dest **out)
{
	struct ly_dest_todos todo = { .n = 0 };
	struct ly_dest *d = make(p, ops, arg);

	if (!d)
		abort();
	*out = d;
	d->epoch = epoch;
	ly_dest_woken(&d->core, epoch != 0, uv_now(d->loop), &todo);
	obey(d, &todo);
}

enum ly_rc
ly_dest_start(const struct ly_dest_params *p, const struct ly_dest_ops *ops,
    void *arg, struct ly_dest **out, struct ly_why *why)
{
	struct ly_dest_todos todo = { .n = 0 };
	struct ly_dest *d = make(p, ops, arg);

	if (!d)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	*out = d;
	ly_dest_init(&d->core, uv_now(d->loop), &todo);
	obey(d, &todo);
	return LY_OK;
}
