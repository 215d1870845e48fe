/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv keeps our handles until their close callbacks. `open` counts them; the
 * last one frees the struct it is in, and nothing else does: a conn by its
 * poll and its timer, a guest by its two listeners and its conns.
 *
 * The owner may answer from within a callback of ours. enter() and leave()
 * bracket every way in; what an answer makes possible (the next command, a
 * request that had to wait) is done in leave(), by the outermost, so nothing
 * here is entered twice at once and no stack grows with a client's pipeline.
 */
#include "agent/io/guest.h"

#include "agent/io/unix.h"
#include "lib/base/text.h"
#include "lib/io/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64
#define BURST 16 /* control reads in one turn of the loop */

enum kind { CTRL, QEMU, RAW };

struct conn {
	struct ly_guest *g;
	struct conn *next;
	uv_poll_t poll;
	uv_timer_t timer;
	int fd;
	int passed; /* CTRL: a descriptor that came with the last bytes */
	uint8_t kind;
	uint8_t open; /* handles */
	bool closing;
	bool held;     /* not read from: see hold() */
	bool ended;    /* RAW: sends no more, still reads */
	uint32_t have; /* bytes in `buf` */
	uint8_t *buf; /* LY_TPM_MAX, or NULL: what is not a whole command yet */
};

struct door {
	uv_poll_t poll;
	int fd;
	bool shut; /* not polled: no room for another client */
};

struct ly_guest {
	struct ly_swtpm m;
	const struct ly_guest_ops *ops;
	void *arg;
	void (*closed)(void *arg);
	struct conn *ctrl, *data; /* data: QEMU's, or the raw ones */
	struct conn *asker;	  /* of the command under way; NULL: gone */
	bool asker_raw;
	bool inside, again, closing;
	uint8_t doors_open;
	uint8_t raw_n;
	unsigned conns_n; /* not yet closed altogether */
	struct door raw_door, ctrl_door;
	char *path;
};

static void serve(struct conn *c, uint8_t *buf, size_t len);
static void doors(struct ly_guest *g);

/* ---- the end of things ---- */

static void
last_out(struct ly_guest *g)
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
forget(struct conn *c)
{
	if (!c->buf)
		return;
	ly_wipe(c->buf, LY_TPM_MAX);
	free(c->buf);
	c->buf = NULL;
	c->have = 0;
}

static void
on_conn_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;
	struct ly_guest *g = c->g;

	if (--c->open > 0)
		return;
	close(c->fd);
	if (c->passed >= 0)
		close(c->passed);
	forget(c);
	free(c);
	g->conns_n--;
	if (g->closing)
		last_out(g);
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

static void
shut(struct conn *c)
{
	c->closing = true;
	unlink_conn(c);
	if (c->g->asker == c)
		c->g->asker = NULL;
	uv_close((uv_handle_t *)&c->poll, on_conn_closed);
	uv_close((uv_handle_t *)&c->timer, on_conn_closed);
	c->g->again = true;
}

static void
shut_data(struct ly_guest *g)
{
	while (g->data)
		shut(g->data);
}

/* QEMU's two channels live and die together. */
static void
drop(struct conn *c)
{
	struct ly_guest *g = c->g;
	bool session = g->m.session && c->kind != RAW;

	if (c->closing)
		return;
	if (session && c->kind == QEMU && g->ctrl) {
		drop(g->ctrl);
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

static bool
enter(struct ly_guest *g)
{
	bool outermost = !g->inside;

	g->inside = true;
	return outermost;
}

static void
put(struct conn *c, const uint8_t *buf, size_t len)
{
	ssize_t n = send(c->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n == (ssize_t)len)
		return;
	ly_log(LY_WARNING, c->g->path,
	    "a client does not take its answer (%s): hung up",
	    n < 0 ? strerror(errno) : "its buffer is full");
	drop(c);
}

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_timer(uv_timer_t *timer);

/* Stops reading. What is sent meanwhile stays in the socket. The control
 * channel is still watched for QEMU's end. */
static void
hold(struct conn *c)
{
	if (c->held)
		return;
	c->held = true;
	if (c->kind == CTRL)
		uv_poll_start(&c->poll, UV_DISCONNECT, on_poll);
	else
		uv_poll_stop(&c->poll);
}

static void
unhold(struct conn *c)
{
	if (!c->held || c->closing || c->ended)
		return;
	c->held = false;
	uv_poll_start(&c->poll, UV_READABLE, on_poll);
}

/* ---- the control channel ---- */

static struct conn *conn_new(struct ly_guest *g, int fd, enum kind kind);

static bool
is_stream(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
	    type == SOCK_STREAM;
}

static bool
take_datafd(struct conn *c)
{
	struct ly_guest *g = c->g;

	if (c->passed < 0 || !is_stream(c->passed))
		return false;
	if (g->data)
		ly_log(LY_INFO, g->path, "QEMU is here: other clients go");
	shut_data(g);
	if (!conn_new(g, c->passed, QEMU))
		return false;
	c->passed = -1;
	return true;
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
		good = take_datafd(c);
		ly_swtpm_datafd(&g->m, good, todo);
		if (good)
			uv_timer_stop(&c->timer);
		if (good && ops->on_session)
			ops->on_session(g->arg, true);
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
		if (ops->on_resume)
			ops->on_resume(g->arg);
		else
			ly_guest_result(g, LY_SWTPM_OK);
		break;
	case LY_SWTPM_SAVE:
		ops->on_save(g->arg);
		break;
	}
	if (todo->reply_len > 0 && !c->closing)
		put(c, todo->reply, todo->reply_len);
}

static void
feed(struct conn *c, const uint8_t *buf, size_t len)
{
	struct ly_swtpm_todo todo;

	do {
		size_t n = ly_swtpm_feed(&c->g->m, buf, len, &todo);

		if (todo.act != LY_SWTPM_NOTHING)
			ly_log(LY_DEBUG, c->g->path, "%s (%s)",
			    ly_swtpm_name(c->g->m.code),
			    ly_guest_mode_name(c->g->m.mode));
		perform(c, &todo);
		buf += n;
		len -= n;
	} while (!c->closing && len > 0 && ly_swtpm_want(&c->g->m) > 0);
}

/* Keeps the first descriptor that comes, closes all others. */
static void
keep_passed(struct conn *c, struct msghdr *msg)
{
	struct cmsghdr *h;

	for (h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
			if (c->passed < 0)
				c->passed = fd;
			else
				close(fd);
		}
	}
}

/* No more than the machine wants, so that nothing is left over, and a
 * descriptor is met at the request it belongs to. */
static ssize_t
receive(struct conn *c, uint8_t *buf, size_t len)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} ctrl;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctrl.room,
		.msg_controllen = CMSG_LEN(sizeof(int)) };
	ssize_t n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n >= 0)
		keep_passed(c, &msg);
	return n;
}

static void
read_ctrl(struct conn *c)
{
	uint8_t buf[512];

	for (unsigned i = 0; i < BURST && !c->closing; i++) {
		size_t want = ly_min(ly_swtpm_want(&c->g->m), sizeof(buf));
		ssize_t n;

		if (want == 0) {
			hold(c);
			return;
		}
		n = receive(c, buf, want);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			drop(c);
		else
			feed(c, buf, (size_t)n);
	}
}

/* The owner has answered, or a TPM command has ended. */
static void
go_on_ctrl(struct conn *c)
{
	static const uint8_t none[1];

	feed(c, none, 0);
	if (!c->closing && ly_swtpm_want(&c->g->m) > 0)
		unhold(c);
}

/* ---- data channels ---- */

static void
run(struct conn *c, const uint8_t *cmd, size_t len)
{
	struct ly_guest *g = c->g;

	g->asker = c;
	g->asker_raw = c->kind == RAW;
	g->ops->on_command(g->arg, g->m.locality, cmd, len);
}

/* Uses up what is whole of `buf`; says how much. */
static size_t
commands(struct conn *c, const uint8_t *buf, size_t len)
{
	struct ly_guest *g = c->g;
	uint8_t say[LY_TPM_HEAD];
	size_t at = 0, used;

	while (at < len && !c->closing) {
		switch (ly_swtpm_command(&g->m, c->kind == RAW, buf + at,
		    len - at, &used, say)) {
		case LY_SWTPM_MORE:
			return at;
		case LY_SWTPM_HOLD:
			hold(c);
			return at;
		case LY_SWTPM_RUN:
			run(c, buf + at, used);
			break;
		case LY_SWTPM_SAY:
			put(c, say, sizeof(say));
			break;
		case LY_SWTPM_LOST:
			put(c, say, sizeof(say));
			if (c->kind == RAW)
				drop(c);
			break;
		}
		at += used;
	}
	return at;
}

/* Keeps what is left of `buf` (which may be the conn's own) for later. */
static void
keep(struct conn *c, uint8_t *buf, size_t used, size_t len)
{
	if (used == len || c->closing) {
		if (buf != c->buf)
			ly_wipe(buf, len);
		forget(c);
		uv_timer_stop(&c->timer);
		return;
	}
	if (!c->buf)
		c->buf = malloc(LY_TPM_MAX);
	if (!c->buf) {
		drop(c);
		return;
	}
	memmove(c->buf, buf + used, len - used);
	if (buf != c->buf)
		ly_wipe(buf, len);
	c->have = (uint32_t)(len - used);
	if (!c->held)
		uv_timer_start(&c->timer, on_timer, LY_GUEST_HALF_MS, 0);
	else
		uv_timer_stop(&c->timer);
}

static void
serve(struct conn *c, uint8_t *buf, size_t len)
{
	size_t used = commands(c, buf, len);

	keep(c, buf, used, len);
}

/* Sends no more. Its last command, if any, is still answered. */
static void
on_end(struct conn *c)
{
	if (c->kind != RAW || c->g->asker != c) {
		drop(c);
		return;
	}
	c->ended = true;
	hold(c);
}

static void
read_data(struct conn *c)
{
	uint8_t room[LY_TPM_MAX];
	uint8_t *buf = c->buf ? c->buf : room;
	ssize_t n;

	if (c->g->m.busy) {
		hold(c);
		return;
	}
	n = recv(c->fd, buf + c->have, LY_TPM_MAX - c->have, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		on_end(c);
	else
		serve(c, buf, c->have + (size_t)n);
}

static void
go_on_data(struct conn *c)
{
	if (!c->held)
		return;
	if (c->ended && c->g->asker != c) {
		drop(c);
		return;
	}
	unhold(c);
	if (c->have > 0)
		serve(c, c->buf, c->have);
}

/* ---- connections ---- */

static void
leave(struct ly_guest *g, bool outermost)
{
	if (!outermost)
		return;
	while (g->again && !g->closing) {
		struct conn *next;

		g->again = false;
		if (g->ctrl)
			go_on_ctrl(g->ctrl);
		for (struct conn *c = g->data; c && !g->closing; c = next) {
			next = c->next;
			go_on_data(c);
			if (c->closing && c->kind != RAW)
				break; /* and all others with it */
		}
		doors(g);
	}
	g->inside = false;
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct conn *c = poll->data;
	struct ly_guest *g = c->g;
	bool outermost = enter(g);

	if (status < 0 || (events & UV_DISCONNECT))
		drop(c);
	else if (c->kind == CTRL)
		read_ctrl(c);
	else
		read_data(c);
	leave(g, outermost);
}

/* A control client that is silent, or half a TPM command. */
static void
on_timer(uv_timer_t *timer)
{
	struct conn *c = timer->data;
	struct ly_guest *g = c->g;
	bool outermost = enter(g);
	uint8_t say[LY_TPM_HEAD];

	if (c->kind == CTRL && ly_swtpm_waiting(&g->m)) {
		uv_timer_again(timer);
	} else if (c->kind == QEMU) {
		ly_tpm_answer(LY_TPM_RC_COMMAND_SIZE, say);
		forget(c);
		put(c, say, sizeof(say));
	} else {
		ly_log(LY_INFO, g->path, "a silent client: hung up");
		drop(c);
	}
	leave(g, outermost);
}

static struct conn *
conn_new(struct ly_guest *g, int fd, enum kind kind)
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
		ly_swtpm_connected(&g->m);
		uv_timer_start(&c->timer, on_timer, LY_GUEST_PATIENCE_MS,
		    LY_GUEST_PATIENCE_MS);
	} else {
		c->next = g->data;
		g->data = c;
		g->raw_n = (uint8_t)(g->raw_n + (kind == RAW));
	}
	uv_poll_start(&c->poll, UV_READABLE, on_poll);
	return c;
}

/* ---- doors ---- */

static bool
room_for(const struct ly_guest *g, const struct door *door)
{
	if (g->m.session)
		return true; /* to be refused */
	if (door == &g->raw_door)
		return g->raw_n < LY_GUEST_CLIENTS;
	return !g->ctrl && !ly_swtpm_waiting(&g->m);
}

static void
on_knock(uv_poll_t *poll, int status, int events)
{
	struct ly_guest *g = poll->data;
	struct door *door = LY_HOLDER(poll, struct door, poll);
	bool outermost;
	int fd;

	(void)status;
	(void)events;
	fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	outermost = enter(g);
	if (g->m.session) {
		ly_log(LY_INFO, g->path, "in use by QEMU: a client is refused");
		close(fd);
	} else if (!conn_new(g, fd, door == &g->raw_door ? RAW : CTRL)) {
		close(fd);
	}
	doors(g);
	leave(g, outermost);
}

static void
door_set(struct ly_guest *g, struct door *door)
{
	bool to_shut = !room_for(g, door);

	if (to_shut == door->shut)
		return;
	door->shut = to_shut;
	if (to_shut)
		uv_poll_stop(&door->poll);
	else
		uv_poll_start(&door->poll, UV_READABLE, on_knock);
}

static void
doors(struct ly_guest *g)
{
	if (g->closing)
		return;
	door_set(g, &g->raw_door);
	door_set(g, &g->ctrl_door);
}

static void
on_door_closed(uv_handle_t *handle)
{
	struct ly_guest *g = handle->data;

	g->doors_open--;
	last_out(g);
}

static void
door_close(struct door *door)
{
	uv_close((uv_handle_t *)&door->poll, on_door_closed);
	close(door->fd);
}

static bool
door_name(char *out, size_t size, const char *path, const struct door *door,
    const struct ly_guest *g)
{
	return ly_print(out, size, "%s%s", path,
	    door == &g->ctrl_door ? ".ctrl" : "");
}

static enum ly_rc
door_open(struct ly_guest *g, uv_loop_t *loop, struct door *door,
    struct ly_why *why)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	enum ly_rc rc;
	int fd;

	if (!door_name(at.sun_path, sizeof(at.sun_path), g->path, door, g))
		return ly_fail(why, LY_FULL, "%s: too long for a socket",
		    g->path);
	rc = ly_unix_listen(&at, BACKLOG, &fd, why);
	if (rc != LY_OK)
		return rc;
	if (uv_poll_init(loop, &door->poll, fd) != 0) {
		close(fd);
		return ly_fail(why, LY_OUTSIDE, "%s: cannot poll", at.sun_path);
	}
	door->fd = fd;
	door->poll.data = g;
	g->doors_open++;
	uv_poll_start(&door->poll, UV_READABLE, on_knock);
	return LY_OK;
}

/* ---- for the owner ---- */

enum ly_rc
ly_guest_open(uv_loop_t *loop, const char *path, const struct ly_guest_ops *ops,
    void *arg, struct ly_guest **out, struct ly_why *why)
{
	struct ly_guest *g = calloc(1, sizeof(*g));
	enum ly_rc rc;

	if (g)
		g->path = strdup(path);
	if (!g || !g->path) {
		free(g);
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	}
	g->ops = ops;
	g->arg = arg;
	ly_swtpm_init(&g->m, LY_GUEST_BEFORE);
	rc = door_open(g, loop, &g->raw_door, why);
	if (rc != LY_OK) {
		free(g->path);
		free(g);
		return rc;
	}
	rc = door_open(g, loop, &g->ctrl_door, why);
	if (rc != LY_OK) {
		(void)unlink(path);
		g->closing = true;
		door_close(&g->raw_door);
		return rc;
	}
	*out = g;
	return LY_OK;
}

void
ly_guest_close(struct ly_guest *g, void (*closed)(void *arg))
{
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];

	assert(!g->closing);
	g->closing = true;
	g->closed = closed;
	if (door_name(name, sizeof(name), g->path, &g->raw_door, g))
		(void)unlink(name);
	if (door_name(name, sizeof(name), g->path, &g->ctrl_door, g))
		(void)unlink(name);
	door_close(&g->raw_door);
	door_close(&g->ctrl_door);
	if (g->ctrl)
		shut(g->ctrl);
	shut_data(g);
}

void
ly_guest_answer(struct ly_guest *g, const uint8_t *rsp, size_t len)
{
	bool outermost = enter(g);
	struct conn *c = g->asker;
	uint8_t say[LY_TPM_HEAD];

	g->asker = NULL;
	if (!ly_swtpm_answered(&g->m, g->asker_raw, len, say)) {
		rsp = say;
		len = sizeof(say);
	}
	if (c)
		put(c, rsp, len);
	g->again = true;
	leave(g, outermost);
}

static void
answered(struct ly_guest *g, struct ly_swtpm_todo *todo)
{
	if (g->ctrl)
		perform(g->ctrl, todo);
	g->again = true;
}

void
ly_guest_result(struct ly_guest *g, uint32_t result)
{
	bool outermost = enter(g);
	struct ly_swtpm_todo todo;

	ly_swtpm_result(&g->m, result, &todo);
	answered(g, &todo);
	leave(g, outermost);
}

void
ly_guest_saved(struct ly_guest *g, const uint8_t *token, size_t len)
{
	bool outermost = enter(g);
	struct ly_swtpm_todo todo;

	ly_swtpm_saved(&g->m, token, len, &todo);
	answered(g, &todo);
	leave(g, outermost);
}

void
ly_guest_attach_mode(struct ly_guest *g, enum ly_guest_mode mode)
{
	bool outermost = enter(g);

	ly_swtpm_mode(&g->m, mode);
	g->again = true;
	leave(g, outermost);
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
