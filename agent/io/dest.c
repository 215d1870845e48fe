/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell of one migration at its destination. It lives until the machine
 * has said OVER and until the timer's and the connection's close callbacks
 * have come (`open`). The core is never entered twice at once: what perform()
 * finds out waits in `news`.
 */
#include "agent/io/dest_shell.h"

#include "agent/io/migstat.h"
#include "lib/io/log.h"

#include <stdlib.h>
#include <time.h>

#define TICK_MS 10
#define WAIT_MS 30000 /* for the monitor, which the TPM's INIT may hold up */

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

void
ly_dest_feed(struct ly_dest *d, struct ly_dest_event ev)
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

void
ly_dest_tell(struct ly_dest *d, enum ly_dest_kind kind, bool ok,
    const char *text)
{
	ly_dest_feed(d,
	    (struct ly_dest_event){ .kind = kind, .ok = ok, .text = text });
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
on_incoming(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	(void)value;
	ly_dest_tell(arg, LY_DST_SET, rc == LY_OK, why);
}

static void
on_capabilities(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_dest *d = arg;
	char path[LY_PATH_LEN + 32], uri[LY_PATH_LEN + 40];

	(void)value;
	if (rc) {
		ly_dest_tell(d, LY_DST_SET, false, why);
		return;
	}
	if (d->core.state != LY_DST_OPENING || !d->qemu)
		return;
	ly_dest_socket(d, path);
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
	ly_dest_feed(d, d->polled);
}

static void
on_cont_status(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_dest *d = arg;
	const char *status = ly_qemu_status(value);
	bool ok = rc == LY_OK && strcmp(status, "running") == 0;

	if (ok && !d->resumed_ms)
		d->resumed_ms = wall_ms();
	ly_dest_tell(d, LY_DST_RESUMED, ok, rc ? why : status);
}

static void
on_qemu_event(void *arg, const char *name, const json_t *data)
{
	struct ly_dest *d = arg;

	(void)data;
	if (strcmp(name, "RESUME") == 0 && d->core.state == LY_DST_RESUMING)
		d->resumed_ms = wall_ms();
	if (strcmp(name, "MIGRATION") == 0)
		ly_dest_tell(d, LY_DST_HINT, true, NULL);
}

static void
on_qemu_exit(void *arg, const char *why)
{
	struct ly_dest *d = arg;

	d->qemu = NULL;
	ly_dest_tell(d, LY_DST_GONE, false, why);
}

/* ---- doing as the machine says ---- */

static void
send_ready(struct ly_dest *d, enum ly_rc rc)
{
	struct ly_ready ready = { .mig = d->mig,
		.rc = (uint8_t)rc,
		.epoch = d->epoch };

	if (rc == LY_OK && d->came)
		ready.statement = d->ops->arrived(d->arg, &d->sum, d->epoch);
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
		ly_dest_hang_up(d);
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
	ly_dest_tell_bytes(timer->data);
	ly_dest_tell(timer->data, LY_DST_TICK, true, NULL);
}

static void
on_timer_gone(uv_handle_t *handle)
{
	ly_dest_let_go(handle->data);
}

static void
release_all(struct ly_dest *d)
{
	d->over = true;
	ly_dest_hang_up(d);
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
	ly_dest_feed(d,
	    (struct ly_dest_event){ .kind = LY_DST_GRANTED, .rc = rc });
}

void
ly_dest_hooked(struct ly_dest *d, bool ok, const char *why)
{
	ly_dest_tell(d, LY_DST_HOOKED, ok, why);
}

void
ly_dest_fenced(struct ly_dest *d)
{
	ly_dest_tell(d, LY_DST_FENCED, true, NULL);
}

void
ly_dest_drop(struct ly_dest *d)
{
	ly_dest_tell(d, LY_DST_DROP, true, NULL);
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
	enum ly_rc rc = LY_OK;

	if (!d)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	d->keyed = p->keyed;
	if (p->lanes)
		rc = ly_dest_keys(d, p, why);
	if (rc) {
		release_all(d);
		return rc;
	}
	*out = d;
	ly_dest_init(&d->core, uv_now(d->loop), &todo);
	obey(d, &todo);
	return LY_OK;
}
