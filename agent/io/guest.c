/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's two channels are streams of the owner's slot (agent/io/once.h): what
 * is read is looked at, taken, and leaves the socket after the commit; what is
 * answered is laid into an area, and sent after the commit. So each function
 * here that a callback of the loop enters is one turn, and in one turn at most
 * one request or command is taken, and at most one answer laid on a channel.
 *
 * libuv keeps our handles until their close callbacks. `open` counts them; the
 * last one frees the struct it is in, and nothing else does: a conn by its
 * poll and its timer, a guest by its two listeners and its conns.
 */
#include "agent/io/guest_in.h"

#include "agent/away/kept.h"

#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the end of things ---- */

void
ly_guest_last_out(struct ly_guest *g)
{
	void (*closed)(void *) = g->closed;
	void *arg = g->arg;

	if (g->doors_open > 0 || g->conns_n > 0)
		return;
	free(g->path);
	free(g);
	if (closed)
		closed(arg);
}

static void
on_conn_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;
	struct ly_guest *g = c->g;

	if (--c->open > 0)
		return;
	if (c->kind == RAW)
		close(c->fd);
	if (c->passed >= 0)
		close(c->passed);
	ly_guest_raw_forget(c);
	free(c);
	g->conns_n--;
	if (g->closing)
		ly_guest_last_out(g);
}

static void
unlink_conn(struct conn *c)
{
	struct conn **at = &c->g->data;

	if (c->kind == CTRL) {
		c->g->ctrl = NULL;
		return;
	}
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	if (c->kind == RAW)
		c->g->raw_n--;
}

/* The slot closes what is its own before the commit: an agent after us that
 * finds a session without its descriptors knows that it is over. */
static void
shut(struct conn *c)
{
	struct ly_guest *g = c->g;

	c->closing = true;
	unlink_conn(c);
	if (g->asker == c) {
		g->asker = NULL;
		g->asked_by = LY_ASKER_GONE;
	}
	if (c->kind == QEMU && g->asked_by == LY_ASKER_QEMU)
		g->asked_by = LY_ASKER_GONE;
	uv_close((uv_handle_t *)&c->poll, on_conn_closed);
	uv_close((uv_handle_t *)&c->timer, on_conn_closed);
	if (c->kind != RAW && !g->leaving)
		ly_slot_drop(g->slot,
		    c->kind == CTRL ? LY_SLOT_CTRL : LY_SLOT_DATA);
	if (c->kind == QEMU)
		g->have = 0;
	g->again = true;
	ly_turn_touch(g->turn);
}

static void
shut_data(struct ly_guest *g)
{
	while (g->data)
		shut(g->data);
}

/* QEMU's two channels live and die together. */
void
ly_guest_drop(struct conn *c)
{
	struct ly_guest *g = c->g;
	bool session = g->m.session && c->kind != RAW;

	if (c->closing)
		return;
	if (session && c->kind == QEMU && g->ctrl) {
		ly_guest_drop(g->ctrl);
		return;
	}
	shut(c);
	if (c->kind != CTRL)
		return;
	ly_swtpm_hung_up(&g->m);
	if (session) {
		shut_data(g);
		ly_log(LY_INFO, g->path, "QEMU has hung up");
		if (!g->closing && g->ops->on_session)
			g->ops->on_session(g->arg, false);
	}
}

/* ---- in and out ---- */

static void on_poll(uv_poll_t *poll, int status, int events);

/* Stops reading. What is sent meanwhile stays in the socket. The control
 * channel is still watched for QEMU's end. */
void
ly_guest_hold(struct conn *c)
{
	if (c->held)
		return;
	c->held = true;
	if (c->kind == CTRL)
		uv_poll_start(&c->poll, UV_DISCONNECT, on_poll);
	else
		uv_poll_stop(&c->poll);
}

void
ly_guest_unhold(struct conn *c)
{
	if (!c->held || c->closing || c->ended)
		return;
	c->held = false;
	uv_poll_start(&c->poll, UV_READABLE, on_poll);
}

/* QEMU reads an answer before it asks the next, so one that does not fit into
 * the socket's buffer is for a QEMU that does not read. */
static void
push(struct ly_guest *g, struct conn *c, unsigned which)
{
	if (!c || c->closing || !ly_once_owed(g->slot, which))
		return;
	if (ly_once_push(g->slot, which) == LY_OK)
		return;
	ly_log(LY_WARNING, g->path, "QEMU does not take an answer: hung up");
	ly_guest_drop(c);
}

static struct conn *
qemu_of(const struct ly_guest *g)
{
	return g->data && g->data->kind == QEMU ? g->data : NULL;
}

void
ly_guest_settle(struct ly_guest *g)
{
	if (g->ctrl)
		ly_once_consume(g->slot, LY_SLOT_CTRL);
	if (qemu_of(g))
		ly_once_consume(g->slot, LY_SLOT_DATA);
	push(g, g->ctrl, LY_SLOT_CTRL);
	push(g, qemu_of(g), LY_SLOT_DATA);
}

/* ---- the control channel ---- */

static bool
is_stream(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
	    type == SOCK_STREAM;
}

/* The descriptor is kept before the request that brought it is committed. One
 * without a session is dropped by an agent after us, and comes again with the
 * request, which is still there. */
static bool
take_datafd(struct conn *c)
{
	struct ly_guest *g = c->g;
	int fd = c->passed;

	if (fd < 0 || !is_stream(fd))
		return false;
	if (g->data)
		ly_log(LY_INFO, g->path, "QEMU is here: other clients go");
	shut_data(g);
	c->passed = -1;
	ly_slot_put(g->slot, LY_SLOT_DATA, fd);
	if (ly_guest_conn(g, fd, QEMU))
		return true;
	ly_slot_drop(g->slot, LY_SLOT_DATA);
	return false;
}

static void
resume(struct ly_guest *g)
{
	if (g->ops->on_resume)
		g->ops->on_resume(g->arg);
	else
		ly_guest_result(g, LY_SWTPM_OK);
}

static void
datafd(struct conn *c, struct ly_swtpm_todo *todo)
{
	struct ly_guest *g = c->g;
	bool good = take_datafd(c);

	ly_swtpm_datafd(&g->m, good, todo);
	if (good)
		uv_timer_stop(&c->timer);
	if (good && g->ops->on_session)
		g->ops->on_session(g->arg, true);
}

static void
perform(struct conn *c, struct ly_swtpm_todo *todo)
{
	struct ly_guest *g = c->g;
	const struct ly_guest_ops *ops = g->ops;
	bool good;

	switch (todo->act) {
	case LY_SWTPM_NOTHING:
	case LY_SWTPM_REPLY:
		break;
	case LY_SWTPM_CANCEL:
		if (ops->on_cancel)
			ops->on_cancel(g->arg);
		break;
	case LY_SWTPM_TAKE_BACK:
		if (ops->on_take_back)
			ops->on_take_back(g->arg);
		break;
	case LY_SWTPM_DATAFD:
		datafd(c, todo);
		break;
	case LY_SWTPM_RESTORE:
		good = ops->on_restore &&
		    ops->on_restore(g->arg, todo->body, todo->body_len);
		ly_swtpm_restored(&g->m, good, todo);
		break;
	case LY_SWTPM_OP:
		ops->on_op(g->arg, (enum ly_op)todo->op, todo->locality,
		    todo->body, todo->body_len);
		break;
	case LY_SWTPM_RESUME:
		resume(g);
		break;
	case LY_SWTPM_SAVE:
		ops->on_save(g->arg);
		break;
	}
	if (todo->reply_len > 0 && !c->closing)
		ly_once_aim(g->slot, LY_SLOT_CTRL, todo->reply,
		    todo->reply_len);
}

/* With no bytes: a request that had to wait. */
static size_t
feed(struct conn *c, const uint8_t *buf, size_t len)
{
	struct ly_guest *g = c->g;
	struct ly_swtpm_todo todo;
	size_t n = ly_swtpm_feed(&g->m, buf, len, &todo);

	if (n > 0)
		ly_once_take(g->slot, LY_SLOT_CTRL, n);
	if (n > 0 || todo.act != LY_SWTPM_NOTHING)
		ly_turn_touch(g->turn);
	if (todo.act != LY_SWTPM_NOTHING)
		ly_log(LY_DEBUG, g->path, "%s (%s)", ly_swtpm_name(g->m.code),
		    ly_guest_mode_name(g->m.mode));
	perform(c, &todo);
	return n;
}

/* No more than the machine wants, so that a descriptor is met at the request
 * it belongs to. The first that comes is kept, all others are closed. */
static void
read_ctrl(struct conn *c)
{
	uint8_t buf[512];
	size_t want = ly_min(ly_swtpm_want(&c->g->m), sizeof(buf));
	int n, fd;

	if (want == 0) {
		ly_guest_hold(c);
		return;
	}
	n = ly_once_peek(c->g->slot, LY_SLOT_CTRL, buf, want, &fd);
	if (fd >= 0 && c->passed < 0)
		c->passed = fd;
	else if (fd >= 0)
		close(fd);
	if (n == LY_ONCE_NOTHING)
		return;
	if (n == LY_ONCE_ENDED)
		ly_guest_drop(c);
	else
		feed(c, buf, (size_t)n);
}

/* The owner has answered, or a TPM command has ended. */
static void
go_on_ctrl(struct conn *c)
{
	static const uint8_t none[1];

	(void)feed(c, none, 0);
	if (!c->closing && ly_swtpm_want(&c->g->m) > 0)
		ly_guest_unhold(c);
}

/* ---- QEMU's data channel ---- */

static void
take(struct conn *c, size_t n)
{
	ly_once_take(c->g->slot, LY_SLOT_DATA, n);
	ly_turn_touch(c->g->turn);
}

static void
run(struct conn *c, const uint8_t *cmd, size_t len)
{
	struct ly_guest *g = c->g;

	g->asked_by = LY_ASKER_QEMU;
	g->asked_raw = false;
	g->ops->on_command(g->arg, g->m.locality, cmd, len);
}

/* A part of one. When it is whole the owner lays it elsewhere: until then an
 * agent after us may need the part. */
static uint8_t *
part(struct ly_guest *g)
{
	return ly_slot_area(g->slot, LY_AREA_REQUEST, LY_TPM_MAX);
}

static void
forget_part(struct conn *c)
{
	c->g->have = 0;
	uv_timer_stop(&c->timer);
}

static void
say(struct conn *c, const uint8_t answer[LY_TPM_HEAD])
{
	if (!c->closing)
		ly_once_aim(c->g->slot, LY_SLOT_DATA, answer, LY_TPM_HEAD);
}

/* `buf`: the part we had, and `n` bytes that are still in the socket. */
static void
hear(struct conn *c, const uint8_t *buf, size_t n)
{
	struct ly_guest *g = c->g;
	uint8_t answer[LY_TPM_HEAD];
	size_t had = g->have, used;

	switch (ly_swtpm_command(&g->m, false, buf, had + n, &used, answer)) {
	case LY_SWTPM_HOLD:
		ly_guest_hold(c);
		break;
	case LY_SWTPM_MORE:
		memcpy(part(g) + had, buf + had, n);
		g->have = (uint32_t)(had + n);
		take(c, n);
		uv_timer_start(&c->timer, ly_guest_on_timer, LY_GUEST_HALF_MS,
		    0);
		break;
	case LY_SWTPM_RUN:
		forget_part(c);
		take(c, used - had);
		run(c, buf, used);
		break;
	case LY_SWTPM_SAY:
	case LY_SWTPM_LOST:
		forget_part(c);
		take(c, used - had);
		say(c, answer);
		break;
	}
}

static void
read_qemu(struct conn *c)
{
	struct ly_guest *g = c->g;
	uint8_t room[LY_TPM_MAX];
	int n;

	if (g->m.busy) {
		ly_guest_hold(c);
		return;
	}
	if (g->have > 0)
		memcpy(room, part(g), g->have);
	n = ly_once_peek(g->slot, LY_SLOT_DATA, room + g->have,
	    sizeof(room) - g->have, NULL);
	if (n == LY_ONCE_NOTHING)
		return;
	if (n == LY_ONCE_ENDED) {
		ly_guest_drop(c);
		return;
	}
	hear(c, room, (size_t)n);
	ly_wipe(room, g->have + (size_t)n);
}

/* ---- connections ---- */

static void
go_on_data(struct ly_guest *g)
{
	struct conn *next;

	for (struct conn *c = g->data; c && !g->closing; c = next) {
		next = c->next;
		if (c->kind == RAW)
			ly_guest_raw_go_on(c);
		else
			ly_guest_unhold(c);
		if (c->closing && c->kind != RAW)
			break; /* and all others with it */
	}
}

bool
ly_guest_go_on(struct ly_guest *g)
{
	if (!g->again || g->closing)
		return false;
	g->again = false;
	if (g->ctrl)
		go_on_ctrl(g->ctrl);
	go_on_data(g);
	ly_guest_doors(g);
	return true;
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct conn *c = poll->data;
	struct ly_guest *g = c->g;

	ly_turn_enter(g->turn);
	if (status < 0 || (events & UV_DISCONNECT))
		ly_guest_drop(c);
	else if (c->kind == CTRL)
		read_ctrl(c);
	else if (c->kind == QEMU)
		read_qemu(c);
	else
		ly_guest_raw_read(c);
	ly_turn_leave(g->turn);
}

/* A control client that is silent, or half a TPM command. */
void
ly_guest_on_timer(uv_timer_t *timer)
{
	struct conn *c = timer->data;
	struct ly_guest *g = c->g;
	uint8_t answer[LY_TPM_HEAD];

	ly_turn_enter(g->turn);
	if (c->kind == CTRL && ly_swtpm_waiting(&g->m)) {
		uv_timer_again(timer);
	} else if (c->kind == QEMU) {
		ly_tpm_answer(LY_TPM_RC_COMMAND_SIZE, answer);
		forget_part(c);
		say(c, answer);
		ly_turn_touch(g->turn);
	} else {
		ly_log(LY_INFO, g->path, "a silent client: hung up");
		ly_guest_drop(c);
	}
	ly_turn_leave(g->turn);
}

struct conn *
ly_guest_conn(struct ly_guest *g, int fd, enum kind kind)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c || uv_poll_init(g->raw_door.poll.loop, &c->poll, fd) != 0) {
		free(c);
		return NULL;
	}
	uv_timer_init(g->raw_door.poll.loop, &c->timer);
	c->g = g;
	c->fd = fd;
	c->passed = -1;
	c->kind = (uint8_t)kind;
	c->open = 2;
	c->poll.data = c->timer.data = c;
	g->conns_n++;
	if (kind == CTRL) {
		g->ctrl = c;
		if (!g->m.session)
			uv_timer_start(&c->timer, ly_guest_on_timer,
			    LY_GUEST_PATIENCE_MS, LY_GUEST_PATIENCE_MS);
	} else {
		c->next = g->data;
		g->data = c;
		g->raw_n = (uint8_t)(g->raw_n + (kind == RAW));
	}
	uv_poll_start(&c->poll, UV_READABLE, on_poll);
	return c;
}

/* ---- for the owner ---- */

static enum ly_rc
make(const struct ly_guest_params *p, struct ly_guest **out, struct ly_why *why)
{
	struct ly_guest *g = calloc(1, sizeof(*g));
	enum ly_rc rc;

	if (g)
		g->path = strdup(p->path);
	if (!g || !g->path) {
		free(g);
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	}
	g->ops = p->ops;
	g->arg = p->arg;
	g->turn = p->turn;
	g->slot = p->slot;
	rc = ly_guest_doors_open(g, p->loop, why);
	if (rc == LY_OK)
		*out = g;
	return rc;
}

enum ly_rc
ly_guest_open(const struct ly_guest_params *p, struct ly_guest **out,
    struct ly_why *why)
{
	enum ly_rc rc = make(p, out, why);

	if (rc == LY_OK)
		ly_swtpm_init(&(*out)->m, LY_GUEST_BEFORE);
	return rc;
}

/* A session that lacks a channel is over; a channel without a session was
 * handed over by a request that is still to be heard. */
static void
wake_channels(struct ly_guest *g)
{
	int ctrl = g->slot->fd[LY_SLOT_CTRL], data = g->slot->fd[LY_SLOT_DATA];

	if (ctrl >= 0)
		(void)ly_guest_conn(g, ctrl, CTRL);
	if (data >= 0 && g->m.session)
		(void)ly_guest_conn(g, data, QEMU);
	else if (data >= 0)
		ly_slot_drop(g->slot, LY_SLOT_DATA);
	if (!g->m.session || (g->ctrl && g->data))
		return;
	if (g->ctrl) {
		ly_guest_drop(g->ctrl);
	} else {
		shut_data(g);
		ly_swtpm_hung_up(&g->m);
	}
}

/* What the owner was asked and had not answered when its agent died. */
static void
ask_again(struct ly_guest *g)
{
	if (g->m.waiting == LY_SWTPM_SAVE)
		g->ops->on_save(g->arg);
	else if (g->m.waiting == LY_SWTPM_RESUME)
		resume(g);
}

enum ly_rc
ly_guest_wake(const struct ly_guest_params *p, const struct ly_guest_kept *k,
    struct ly_guest **out, struct ly_why *why)
{
	struct ly_guest *g;
	enum ly_rc rc = make(p, &g, why);

	if (rc != LY_OK)
		return rc;
	*out = g;
	g->m = k->m;
	g->asked_by = k->asked_by == LY_ASKER_RAW ? LY_ASKER_GONE : k->asked_by;
	g->asked_raw = k->asked_raw;
	g->have = k->have;
	ly_turn_enter(g->turn);
	wake_channels(g);
	if (g->have > 0 && qemu_of(g))
		uv_timer_start(&g->data->timer, ly_guest_on_timer,
		    LY_GUEST_HALF_MS, 0);
	ask_again(g);
	g->again = true;
	ly_turn_touch(g->turn);
	ly_turn_leave(g->turn);
	return LY_OK;
}

void
ly_guest_keep(const struct ly_guest *g, struct ly_guest_kept *out)
{
	*out = (struct ly_guest_kept){ .m = g->m,
		.asked_by = g->asked_by,
		.asked_raw = g->asked_raw,
		.have = g->have };
}

static void
end(struct ly_guest *g, void (*closed)(void *arg))
{
	assert(!g->closing);
	g->closing = true;
	g->closed = closed;
	ly_guest_doors_close(g);
	if (g->ctrl)
		shut(g->ctrl);
	shut_data(g);
}

void
ly_guest_close(struct ly_guest *g, void (*closed)(void *arg))
{
	end(g, closed);
}

void
ly_guest_leave(struct ly_guest *g, void (*closed)(void *arg))
{
	g->leaving = true;
	end(g, closed);
}

void
ly_guest_answer(struct ly_guest *g, const uint8_t *rsp, size_t len)
{
	uint8_t instead[LY_TPM_HEAD];
	struct conn *c = g->asker;

	ly_turn_enter(g->turn);
	if (!ly_swtpm_answered(&g->m, g->asked_raw, len, instead)) {
		rsp = instead;
		len = sizeof(instead);
	}
	if (g->asked_by == LY_ASKER_QEMU)
		ly_once_aim(g->slot, LY_SLOT_DATA, rsp, len);
	else if (c)
		ly_guest_raw_put(c, rsp, len);
	g->asker = NULL;
	g->asked_by = LY_ASKER_NONE;
	g->again = true;
	ly_turn_touch(g->turn);
	ly_turn_leave(g->turn);
}

static void
answered(struct ly_guest *g, struct ly_swtpm_todo *todo)
{
	if (g->ctrl)
		perform(g->ctrl, todo);
	g->again = true;
	ly_turn_touch(g->turn);
}

void
ly_guest_result(struct ly_guest *g, uint32_t result)
{
	struct ly_swtpm_todo todo;

	ly_turn_enter(g->turn);
	ly_swtpm_result(&g->m, result, &todo);
	answered(g, &todo);
	ly_turn_leave(g->turn);
}

void
ly_guest_saved(struct ly_guest *g, const uint8_t *token, size_t len)
{
	struct ly_swtpm_todo todo;

	ly_turn_enter(g->turn);
	ly_swtpm_saved(&g->m, token, len, &todo);
	answered(g, &todo);
	ly_turn_leave(g->turn);
}

void
ly_guest_attach_mode(struct ly_guest *g, enum ly_guest_mode mode)
{
	ly_turn_enter(g->turn);
	ly_swtpm_mode(&g->m, mode);
	g->again = true;
	ly_turn_touch(g->turn);
	ly_turn_leave(g->turn);
}

enum ly_guest_mode
ly_guest_mode_of(const struct ly_guest *g)
{
	return (enum ly_guest_mode)g->m.mode;
}

bool
ly_guest_busy(const struct ly_guest *g)
{
	return g->m.busy || ly_swtpm_waiting(&g->m);
}

size_t
ly_guest_blobs(const struct ly_guest *g)
{
	return g->m.blobs;
}

bool
ly_guest_taken(const struct ly_guest *g)
{
	for (const struct conn *c = g->data; c; c = c->next) {
		int left = 0;

		if (ioctl(c->fd, SIOCOUTQ, &left) == 0 && left > 0)
			return false;
	}
	return true;
}

bool
ly_guest_in_session(const struct ly_guest *g)
{
	return g->m.session;
}
