/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell of one migration at its source. It lives until the machine has
 * said OVER and until the timer's and the connection's close callbacks have
 * come (`open`). The core is never entered twice at once: what perform() finds
 * out waits in `news`.
 */
#include "agent/io/source_shell.h"

#include "agent/io/migstat.h"
#include "lib/io/log.h"

#include <stdlib.h>
#include <time.h>

#define TICK_MS 10
#define WAIT_MS 30000 /* for the monitor, which GET_STATEBLOB may hold up */
#define NO_LIMIT UINT64_C(10000000000) /* of QEMU's own: the pump paces */
#define OWN_DOWNTIME_MS 1	       /* QEMU's own: we stop the guest */
#define LIFTED_DOWNTIME_MS 2000000

static void perform(struct ly_source *s, const struct ly_source_todo *todo);
static void finish(struct ly_source *s);

uint64_t
ly_source_wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- telling the machine ---- */

static void
put_news(struct ly_source *s, const struct ly_source_event *ev)
{
	struct news *n = &s->news[(s->news_at + s->news_n++) % NEWS_MAX];

	assert(s->news_n <= NEWS_MAX);
	n->ev = *ev;
	n->ev.now_ms = uv_now(s->loop);
	n->ev.text = NULL;
	if (ev->text) {
		ly_copy(n->text, sizeof(n->text), ev->text);
		n->ev.text = n->text;
	}
}

static void
step(struct ly_source *s)
{
	struct news n = s->news[s->news_at];
	enum ly_source_state before = s->core.state;
	struct ly_source_todos todo = { .n = 0 };
	char id[LY_ID_TEXT];

	if (n.ev.text)
		n.ev.text = n.text;
	s->news_at = (s->news_at + 1) % NEWS_MAX;
	s->news_n--;
	ly_source_step(&s->core, &n.ev, &todo);
	if (s->core.state != before)
		ly_log(LY_DEBUG, "source", "migration %s: %s -> %s",
		    ly_id_text(&s->mig, id), ly_source_state_name(before),
		    ly_source_state_name(s->core.state));
	for (unsigned i = 0; i < todo.n; i++)
		perform(s, &todo.act[i]);
}

void
ly_source_feed(struct ly_source *s, struct ly_source_event ev)
{
	if (s->over)
		return;
	put_news(s, &ev);
	if (s->feeding)
		return;
	s->feeding = true;
	while (s->news_n && !s->over)
		step(s);
	s->feeding = false;
	if (s->over)
		finish(s);
}

void
ly_source_tell(struct ly_source *s, enum ly_source_kind kind, bool ok,
    const char *text)
{
	ly_source_feed(s,
	    (struct ly_source_event){ .kind = kind, .ok = ok, .text = text });
}

/* ---- QEMU ---- */

static void
ask(struct ly_source *s, const char *command, json_t *args, ly_qmp_done *done)
{
	if (s->qemu)
		ly_qemu_ask(s->qemu, command, args, WAIT_MS, done, s);
	else
		json_decref(args);
}

static void
on_migrate(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	(void)value;
	ly_source_tell(arg, LY_SRC_SET, rc == LY_OK, why);
}

/* The machine may have given up between two steps of the setup. */
static bool
still_setting(const struct ly_source *s)
{
	return s->core.state == LY_SRC_SETUP && s->qemu && s->conn;
}

static void
on_parameters(void *arg, enum ly_rc rc, const json_t *value, const char *text)
{
	struct ly_source *s = arg;
	char path[LY_PATH_LEN + 32], uri[LY_PATH_LEN + 40];
	struct ly_why why;

	(void)value;
	if (!still_setting(s))
		return;
	ly_copy(why.text, sizeof(why.text), text);
	ly_print(path, sizeof(path), "%s/mig-out.sock", ly_qemu_dir(s->qemu));
	if (!rc)
		rc = ly_source_listen(s, path, &why);
	if (rc) {
		ly_source_tell(s, LY_SRC_SET, false, why.text);
		return;
	}
	ly_source_pace(s, s->bandwidth);
	ly_source_bound(s, false);
	ly_print(uri, sizeof(uri), "unix:%s", path);
	ask(s, "migrate", json_pack("{s:s}", "uri", uri), on_migrate);
}

static void
on_capabilities(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_source *s = arg;

	(void)value;
	if (!still_setting(s))
		return;
	if (rc) {
		ly_source_tell(s, LY_SRC_SET, false, why);
		return;
	}
	ask(s, "migrate-set-parameters",
	    json_pack("{s:i, s:I, s:i}", "downtime-limit", OWN_DOWNTIME_MS,
		"max-bandwidth", (json_int_t)NO_LIMIT,
		"throttle-trigger-threshold", 90),
	    on_parameters);
}

static void
on_status(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_source *s = arg;
	struct ly_source_event ev = { .kind = LY_SRC_STATUS };
	struct ly_why text;

	if (rc == LY_OK)
		ev.status = ly_migstat_read(value, &ev.numbers, &text);
	else
		ly_copy(text.text, sizeof(text.text), why);
	ev.text = text.text;
	/* QEMU counts what its socket took: that is not there yet. */
	ev.numbers.bytes = s->taken;
	ev.numbers.queued = ly_source_bytes(s) - s->taken;
	ev.idle = s->core.state == LY_SRC_COPY && s->ops->is_idle(s->arg);
	ev.quiet = ev.status == LY_MIG_HELD && s->ops->is_quiet(s->arg);
	ly_source_feed(s, ev);
}

static void
on_stop(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_source *s = arg;

	(void)value;
	(void)why;
	s->stop_failed = rc != LY_OK;
	if (!rc && !s->stopped_ms)
		s->stopped_ms = ly_source_wall_ms();
}

/* "paused": the guest was stopped by us, or by somebody before us; not by
 * QEMU, which would have said "finish-migrate". */
static void
on_stop_status(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_source *s = arg;

	ly_source_feed(s,
	    (struct ly_source_event){ .kind = LY_SRC_STOPPED,
		.ok = rc == LY_OK && !s->stop_failed,
		.text = why,
		.won = rc == LY_OK &&
		    strcmp(ly_qemu_status(value), "paused") == 0 });
}

static void
on_cont_status(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_source *s = arg;
	const char *status = ly_qemu_status(value);
	bool ok = rc == LY_OK && strcmp(status, "postmigrate") != 0 &&
	    strcmp(status, "finish-migrate") != 0 &&
	    (!s->cont_paused || strcmp(status, "paused") != 0);

	if (ok && !s->resumed_ms)
		s->resumed_ms = ly_source_wall_ms();
	ly_source_tell(s, LY_SRC_RESUMED, ok, rc ? why : status);
}

/* Looks first: a guest that runs needs nothing, and one that somebody else
 * stopped before us is not ours to start. */
static void
on_look(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_source *s = arg;
	const char *status = ly_qemu_status(value);

	if (rc) {
		ly_source_tell(s, LY_SRC_RESUMED, false, why);
		return;
	}
	if (strcmp(status, "postmigrate") == 0 ||
	    strcmp(status, "finish-migrate") == 0 ||
	    (strcmp(status, "paused") == 0 && s->cont_paused))
		ask(s, "cont", NULL, NULL);
	ask(s, "query-status", NULL, on_cont_status);
}

static void
on_qemu_event(void *arg, const char *name, const json_t *data)
{
	struct ly_source *s = arg;

	(void)data;
	if (strcmp(name, "STOP") == 0 && !s->stopped_ms &&
	    s->core.state >= LY_SRC_COPY && s->core.state <= LY_SRC_FINISH)
		s->stopped_ms = ly_source_wall_ms();
	if (strcmp(name, "RESUME") == 0 && s->core.state < LY_SRC_FINISH)
		s->stopped_ms = 0;
	if (strcmp(name, "MIGRATION") == 0)
		ly_source_tell(s, LY_SRC_HINT, true, NULL);
}

static void
on_qemu_exit(void *arg, const char *why)
{
	struct ly_source *s = arg;

	s->qemu = NULL;
	ly_source_tell(s, LY_SRC_GONE, false, why);
}

/* ---- doing as the machine says ---- */

static void
progress(struct ly_source *s)
{
	const struct ly_mig_numbers *n = &s->core.numbers;
	struct ly_progress p = { .vm = s->vm,
		.mig = s->mig,
		.phase = (uint8_t)s->core.phase,
		.bytes = ly_source_bytes(s),
		.total = n->total,
		.remaining = n->remaining,
		.rate = s->core.rate,
		.dirty_rate = n->dirty_rate,
		.elapsed_ms = uv_now(s->loop) - s->started_ms,
		.downtime_ms = n->downtime_ms ? n->downtime_ms :
						n->expected_ms };

	s->ops->on_progress(s->arg, &p);
}

static void
send_fin(struct ly_source *s)
{
	struct ly_fin fin = { .mig = s->mig,
		.seq = s->ops->seq(s->arg),
		.bytes = ly_source_bytes(s) };

	if (s->seal) {
		fin.statement = s->seal->statement;
		fin.evidence = s->seal->evidence;
		memcpy(fin.mac, s->seal->mac, sizeof(fin.mac));
	}
	progress(s);
	s->ops->on_fin(s->arg);
	if (s->conn)
		ly_conn_send(s->conn, LY_FIN, &fin);
}

static void
seal(struct ly_source *s)
{
	struct ly_lanes_sum sum;

	if (!s->lanes)
		return; /* they were lost, and it has been told */
	ly_lanes_sum(s->lanes, &sum);
	s->ops->seal(s->arg, &sum);
}

static void
stop(struct ly_source *s)
{
	s->ops->on_stopping(s->arg);
	ask(s, "stop", NULL, on_stop);
	ask(s, "query-status", NULL, on_stop_status);
}

static void
go_on(struct ly_source *s)
{
	ask(s, "migrate-continue",
	    json_pack("{s:s}", "state", "pre-switchover"), NULL);
}

static void
lift(struct ly_source *s)
{
	ask(s, "migrate-set-parameters",
	    json_pack("{s:i, s:I}", "downtime-limit", LIFTED_DOWNTIME_MS,
		"max-bandwidth", (json_int_t)NO_LIMIT),
	    NULL);
}

static void
perform(struct ly_source *s, const struct ly_source_todo *todo)
{
	switch (todo->act) {
	case LY_SRC_DO_SETUP:
		ask(s, "migrate-set-capabilities",
		    ly_migstat_capabilities(true), on_capabilities);
		break;
	case LY_SRC_DO_POLL:
		ask(s, "query-migrate", NULL, on_status);
		break;
	case LY_SRC_DO_STOP:
		stop(s);
		break;
	case LY_SRC_DO_CONTINUE:
		go_on(s);
		break;
	case LY_SRC_DO_LIFT:
		lift(s);
		break;
	case LY_SRC_DO_STOPPED: /* from here on every millisecond counts */
		ly_source_pace(s, 0);
		ly_source_bound(s, true);
		s->ops->on_stopped(s->arg, todo->flag);
		break;
	case LY_SRC_DO_HOOK:
		s->ops->hook(s->arg, todo->flag);
		break;
	case LY_SRC_DO_RELEASE:
		s->ops->release(s->arg);
		break;
	case LY_SRC_DO_SEAL:
		seal(s);
		break;
	case LY_SRC_DO_FIN:
		send_fin(s);
		break;
	case LY_SRC_DO_ASK:
		s->ops->query(s->arg, todo->flag);
		break;
	case LY_SRC_DO_HANGUP:
		ly_source_hang_up(s);
		break;
	case LY_SRC_DO_CANCEL:
		ask(s, "migrate_cancel", NULL, NULL);
		break;
	case LY_SRC_DO_CONT:
		s->cont_paused = todo->flag;
		ask(s, "query-status", NULL, on_look);
		break;
	case LY_SRC_DO_QUIT:
		if (s->qemu)
			ly_qemu_quit(s->qemu);
		break;
	case LY_SRC_DO_PROGRESS:
		progress(s);
		break;
	case LY_SRC_DO_ALARM:
		s->ops->on_alarm(s->arg, todo->text);
		break;
	case LY_SRC_DO_OVER:
		s->end = todo->end;
		s->over = true;
		break;
	}
}

/* ---- life ---- */

static void
on_timer(uv_timer_t *timer)
{
	struct ly_source *s = timer->data;

	if (s->pump)
		ly_pump_tick(s->pump);
	ly_source_tell(s, LY_SRC_TICK, true, NULL);
}

static void
on_timer_gone(uv_handle_t *handle)
{
	ly_source_drop(handle->data);
}

static void
release_all(struct ly_source *s)
{
	s->over = true;
	ly_source_hang_up(s);
	if (s->qemu) {
		ly_qemu_forget(s->qemu, s);
		ly_qemu_tap(s->qemu, NULL, NULL);
		s->qemu = NULL;
	}
	uv_close((uv_handle_t *)&s->timer, on_timer_gone);
}

static void
finish(struct ly_source *s)
{
	struct ly_source_result result = {
		.end = s->end,
		.rc = s->core.rc,
		.why = s->core.why,
		.won = s->core.won,
		.stopped_ms = s->stopped_ms,
		.resumed_ms = s->resumed_ms,
		.qemu_downtime_ms = s->core.numbers.downtime_ms,
		.total_ms = uv_now(s->loop) - s->started_ms,
	};

	release_all(s);
	result.bytes = s->bytes;
	s->ops->on_over(s->arg, &result);
}

void
ly_source_released(struct ly_source *s, enum ly_rc rc)
{
	ly_source_feed(s,
	    (struct ly_source_event){ .kind = LY_SRC_RELEASED, .rc = rc });
}

void
ly_source_sealed(struct ly_source *s, enum ly_rc rc, const char *why,
    const struct ly_seal *seal_)
{
	s->seal = rc == LY_OK ? seal_ : NULL;
	ly_source_feed(s,
	    (struct ly_source_event){ .kind = LY_SRC_SEALED,
		.ok = rc == LY_OK,
		.rc = rc,
		.text = why });
}

void
ly_source_fate(struct ly_source *s, enum ly_rc rc, enum ly_fate fate)
{
	ly_source_feed(s,
	    (struct ly_source_event){ .kind = LY_SRC_FATE,
		.rc = rc,
		.fate = fate });
}

void
ly_source_hooked(struct ly_source *s, bool ok, const char *why)
{
	ly_source_tell(s, LY_SRC_HOOKED, ok, why);
}

void
ly_source_fenced(struct ly_source *s)
{
	ly_source_tell(s, LY_SRC_FENCED, true, NULL);
}

void
ly_source_calloff(struct ly_source *s)
{
	ly_source_tell(s, LY_SRC_CALLOFF, true, NULL);
}

enum ly_source_state
ly_source_state(const struct ly_source *s)
{
	return s->core.state;
}

void
ly_source_close(struct ly_source *s)
{
	if (s->qemu && !s->core.asked_release)
		ly_qemu_ask(s->qemu, "migrate_cancel", NULL, 0, NULL, NULL);
	release_all(s);
}

static const struct ly_qemu_tap tap = { on_qemu_event, on_qemu_exit };

static struct ly_source *
make(const struct ly_source_params *p, const struct ly_source_ops *ops,
    void *arg)
{
	struct ly_source *s = calloc(1, sizeof(*s));

	if (!s || uv_timer_init(p->loop, &s->timer)) {
		free(s);
		return NULL;
	}
	s->timer.data = s;
	s->open = 1;
	s->ops = ops;
	s->arg = arg;
	s->loop = p->loop;
	s->qemu = p->qemu;
	s->vm = p->vm;
	s->mig = p->mig;
	s->bandwidth = p->bandwidth;
	s->started_ms = uv_now(s->loop);
	return s;
}

void
ly_source_wake(const struct ly_source_params *p,
    const struct ly_source_woken *woken, const struct ly_source_ops *ops,
    void *arg, struct ly_source **out)
{
	struct ly_source *s = make(p, ops, arg);
	struct ly_source_woken w = *woken;
	struct ly_source_todos todo = { .n = 0 };

	if (!s)
		abort();
	*out = s;
	if (s->qemu)
		ly_qemu_tap(s->qemu, &tap, s);
	uv_timer_start(&s->timer, on_timer, TICK_MS, TICK_MS);
	w.gone = !s->qemu;
	s->feeding = true; /* what is found out on the way waits in `news` */
	ly_source_woken(&s->core, &w, s->started_ms, &todo);
	for (unsigned i = 0; i < todo.n; i++)
		perform(s, &todo.act[i]);
	s->feeding = false;
	if (s->over)
		finish(s);
}

enum ly_rc
ly_source_start(const struct ly_source_params *p,
    const struct ly_source_ops *ops, void *arg, struct ly_source **out,
    struct ly_why *why)
{
	struct ly_source *s = make(p, ops, arg);
	enum ly_rc rc;

	if (!s)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	ly_source_init(&s->core, p->downtime_ms, s->started_ms);
	s->core.seals = p->lanes != NULL;
	s->open = 2; /* the timer and the connection */
	rc = ly_source_dial(s, p, why);
	if (rc) {
		s->open = 1;
		uv_close((uv_handle_t *)&s->timer, on_timer_gone);
		return rc;
	}
	ly_qemu_tap(s->qemu, &tap, s);
	uv_timer_start(&s->timer, on_timer, TICK_MS, TICK_MS);
	*out = s;
	return LY_OK;
}
