/* SPDX-License-Identifier: Apache-2.0 */
/*
 * States: WAITING for the socket (a timer tries again), GREETING until the
 * answer to qmp_capabilities, READY, then CLOSED. `open` counts libuv's
 * handles; the last close callback frees the struct, nothing else does.
 *
 * The clock of every command asked is one timer, armed for the nearest
 * deadline. A late answer finds no row and is dropped.
 */
#include "agent/io/qmp.h"

#include "agent/io/qmpline.h"
#include "lib/base/text.h"

#include <stdlib.h>

#define RETRY_MS 20
#define READ_ROOM 16384

enum state { WAITING, GREETING, READY, CLOSED };

struct asked {
	struct asked *next;
	uint64_t id;
	uint64_t until_ms;
	ly_qmp_done *done;
	void *arg;
	enum ly_rc rc; /* set: refused by us, tell from the loop */
	char command[48];
};

struct ly_qmp {
	enum state state;
	const struct ly_qmp_ops *ops;
	void *arg;
	uv_loop_t *loop;
	uv_pipe_t pipe;
	uv_timer_t timer;
	uv_connect_t connect;
	bool pipe_open, connecting, greeted, mute;
	unsigned open;
	uint64_t until_ms; /* of WAITING and GREETING */
	uint64_t last_id;
	struct asked *asked;
	unsigned asked_n;
	struct ly_lines lines;
	char path[108];
	char in[READ_ROOM];
};

struct write {
	uv_write_t req;
	char *text;
};

static void attempt(struct ly_qmp *q);

/* ---- the end ---- */

static void
on_gone(uv_handle_t *handle)
{
	struct ly_qmp *q = handle->data;

	if (--q->open)
		return;
	assert(!q->asked);
	ly_lines_fini(&q->lines);
	free(q);
}

static void
let_go(struct ly_qmp *q)
{
	if (q->pipe_open)
		uv_close((uv_handle_t *)&q->pipe, on_gone);
	q->pipe_open = false;
	if (!uv_is_closing((uv_handle_t *)&q->timer))
		uv_close((uv_handle_t *)&q->timer, on_gone);
}

/* Takes the row at `link` off the list, tells who asked, and frees it. */
static void
tell(struct ly_qmp *q, struct asked **link, enum ly_rc rc, const json_t *value,
    const char *text)
{
	struct asked *a = *link;
	char why[sizeof(((struct ly_why *)0)->text)];

	*link = a->next;
	q->asked_n--;
	ly_print(why, sizeof(why), "%s: %s", a->command, text);
	if (a->done && !q->mute)
		a->done(a->arg, rc, value, rc ? why : "");
	free(a);
}

static void
lose(struct ly_qmp *q, const char *why)
{
	if (q->state == CLOSED)
		return;
	q->state = CLOSED;
	let_go(q);
	while (q->asked)
		tell(q, &q->asked, LY_OUTSIDE, NULL, why);
	if (!q->mute && q->ops->on_close)
		q->ops->on_close(q->arg, why);
}

void
ly_qmp_close(struct ly_qmp *q)
{
	q->mute = true;
	lose(q, "closed");
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer);

static void
arm(struct ly_qmp *q)
{
	uint64_t now = uv_now(q->loop), next = UINT64_MAX;

	if (q->state == CLOSED)
		return;
	if (q->state == WAITING)
		next = now + RETRY_MS;
	if (q->state == GREETING)
		next = q->until_ms;
	for (struct asked *a = q->asked; a; a = a->next)
		if (a->until_ms < next)
			next = a->until_ms;
	if (next == UINT64_MAX)
		uv_timer_stop(&q->timer);
	else
		uv_timer_start(&q->timer, on_timer, next > now ? next - now : 0,
		    0);
}

/* One command whose time is over. Its callback may ask or close, so the list
 * is looked at anew for the next. */
static bool
expire_one(struct ly_qmp *q)
{
	for (struct asked **link = &q->asked; *link; link = &(*link)->next) {
		struct asked *a = *link;

		if (a->until_ms > uv_now(q->loop))
			continue;
		if (a->rc == LY_FULL)
			tell(q, link, LY_FULL, NULL,
			    "too many commands are asked already");
		else if (a->rc)
			tell(q, link, a->rc, NULL,
			    "QEMU's monitor is not open");
		else
			tell(q, link, LY_OUTSIDE, NULL,
			    "QEMU has not answered in time");
		return true;
	}
	return false;
}

static void
on_timer(uv_timer_t *timer)
{
	struct ly_qmp *q = timer->data;
	uint64_t now = uv_now(q->loop);

	if (q->state == WAITING && now < q->until_ms)
		attempt(q);
	else if (q->state < READY && now >= q->until_ms)
		lose(q,
		    q->state == WAITING ?
			"QEMU's monitor did not open in time" :
			q->greeted ?
			"QEMU's monitor did not negotiate in time" :
			"QEMU's monitor did not greet in time");
	while (expire_one(q))
		;
	arm(q);
}

/* ---- speaking ---- */

static void
on_written(uv_write_t *req, int status)
{
	struct write *w = LY_HOLDER(req, struct write, req);

	(void)status; /* a broken pipe is read as its end */
	free(w->text);
	free(w);
}

static bool
say(struct ly_qmp *q, const char *command, json_t *args, uint64_t id)
{
	json_t *o = json_pack("{s:s, s:I, s:o*}", "execute", command, "id",
	    (json_int_t)id, "arguments", args);
	struct write *w = calloc(1, sizeof(*w));
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	uv_buf_t buf;

	json_decref(o);
	if (text && w) {
		text[len] = '\n'; /* in the place of its NUL */
		w->text = text;
		buf = uv_buf_init(text, (unsigned)len + 1);
		if (uv_write(&w->req, (uv_stream_t *)&q->pipe, &buf, 1,
			on_written) == 0)
			return true;
	}
	free(text);
	free(w);
	return false;
}

static struct asked *
note(struct ly_qmp *q, const char *command, unsigned wait_ms, ly_qmp_done *done,
    void *arg)
{
	struct asked *a = calloc(1, sizeof(*a));

	if (!a)
		abort(); /* a callback that never comes would be worse */
	*a = (struct asked){ .id = ++q->last_id,
		.done = done,
		.arg = arg,
		.next = q->asked,
		.until_ms = uv_now(q->loop) + wait_ms };
	ly_copy(a->command, sizeof(a->command), command);
	q->asked = a;
	q->asked_n++;
	return a;
}

void
ly_qmp_ask(struct ly_qmp *q, const char *command, json_t *args,
    unsigned wait_ms, ly_qmp_done *done, void *arg)
{
	bool full = q->asked_n >= LY_QMP_ASKED_MAX;
	bool can = q->state == READY && !full;
	struct asked *a = note(q, command,
	    wait_ms ? wait_ms : LY_QMP_PATIENCE_MS, done, arg);

	if (!can)
		json_decref(args);
	if (!can || !say(q, command, args, a->id)) {
		a->rc = full ? LY_FULL : LY_OUTSIDE;
		a->until_ms = 0; /* the timer tells */
	}
	arm(q);
}

void
ly_qmp_forget(struct ly_qmp *q, const void *arg)
{
	for (struct asked *a = q->asked; a; a = a->next)
		if (a->arg == arg)
			a->done = NULL;
}

/* ---- hearing ---- */

static void
hear_answer(struct ly_qmp *q, const struct ly_qmp_said *said)
{
	struct asked **link = &q->asked;

	while (*link && (*link)->id != said->id)
		link = &(*link)->next;
	if (!*link)
		return; /* too late, or nobody's */
	if (said->kind == LY_QMP_ERROR)
		tell(q, link, LY_REFUSED, NULL, said->text);
	else
		tell(q, link, LY_OK, said->data, "");
}

static void
on_negotiated(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct ly_qmp *q = arg;

	(void)value;
	if (rc) {
		lose(q, why);
		return;
	}
	q->state = READY;
	if (q->ops->on_ready && !q->mute)
		q->ops->on_ready(q->arg);
}

static void
hear_greeting(struct ly_qmp *q)
{
	struct asked *a;

	if (q->greeted) {
		lose(q, "the monitor greeted twice");
		return;
	}
	q->greeted = true;
	a = note(q, "qmp_capabilities", 0, on_negotiated, q);
	a->until_ms = q->until_ms;
	if (!say(q, a->command, NULL, a->id))
		lose(q, "the monitor does not listen");
}

static void
hear(struct ly_qmp *q, const char *line, size_t len)
{
	struct ly_qmp_said said;
	struct ly_why why;

	if (ly_qmp_read(line, len, &said, &why)) {
		lose(q, why.text);
		return;
	}
	if (said.kind == LY_QMP_GREETING)
		hear_greeting(q);
	else if (said.kind != LY_QMP_EVENT)
		hear_answer(q, &said);
	else if (q->ops->on_event && q->state == READY && !q->mute)
		q->ops->on_event(q->arg, said.name, said.data);
	ly_qmp_said_fini(&said);
}

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct ly_qmp *q = handle->data;

	(void)suggested;
	*buf = uv_buf_init(q->in, sizeof(q->in));
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct ly_qmp *q = stream->data;
	struct ly_why why;
	const char *line;
	size_t len;

	if (n == 0)
		return;
	if (n < 0) {
		lose(q,
		    n == UV_EOF ? "QEMU has closed its monitor" :
				  uv_strerror((int)n));
		return;
	}
	if (ly_lines_add(&q->lines, buf->base, (size_t)n, &why)) {
		lose(q, why.text);
		return;
	}
	while (q->state != CLOSED && ly_lines_next(&q->lines, &line, &len))
		if (len)
			hear(q, line, len);
	arm(q);
}

/* ---- getting there ---- */

static void
on_pipe_gone(uv_handle_t *handle)
{
	struct ly_qmp *q = handle->data;

	q->connecting = false;
	on_gone(handle);
}

static void
on_connect(uv_connect_t *req, int status)
{
	struct ly_qmp *q = LY_HOLDER(req, struct ly_qmp, connect);

	if (q->state != WAITING)
		return;
	if (status < 0) { /* the timer tries again */
		q->pipe_open = false;
		uv_close((uv_handle_t *)&q->pipe, on_pipe_gone);
		return;
	}
	q->connecting = false;
	q->state = GREETING;
	if (uv_read_start((uv_stream_t *)&q->pipe, on_alloc, on_read))
		lose(q, "cannot read from the monitor");
	arm(q);
}

static void
attempt(struct ly_qmp *q)
{
	if (q->connecting)
		return;
	if (uv_pipe_init(q->loop, &q->pipe, 0))
		return;
	q->pipe.data = q;
	q->pipe_open = q->connecting = true;
	q->open++;
	uv_pipe_connect(&q->connect, &q->pipe, q->path, on_connect);
}

enum ly_rc
ly_qmp_open(uv_loop_t *loop, const char *path, unsigned patience_ms,
    const struct ly_qmp_ops *ops, void *arg, struct ly_qmp **out,
    struct ly_why *why)
{
	struct ly_qmp *q = calloc(1, sizeof(*q));
	int rc = UV_ENOMEM;

	if (!q || (rc = uv_timer_init(loop, &q->timer))) {
		free(q);
		return ly_fail(why, LY_OUTSIDE, "monitor: %s", uv_strerror(rc));
	}
	q->timer.data = q;
	q->open = 1;
	q->ops = ops;
	q->arg = arg;
	q->loop = loop;
	uv_update_time(loop);
	q->until_ms = uv_now(loop) + patience_ms;
	if (!ly_copy(q->path, sizeof(q->path), path)) {
		uv_close((uv_handle_t *)&q->timer, on_gone);
		return ly_fail(why, LY_REFUSED,
		    "%s: too long for a Unix socket (107 bytes)", path);
	}
	uv_timer_start(&q->timer, on_timer, 0, 0);
	*out = q;
	return LY_OK;
}
