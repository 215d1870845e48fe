/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TPM on a Unix stream socket, all on the loop. One request goes through
 *
 *	IDLE -> [LOCALITY ->] COMMAND -> IDLE		a TPM command
 *	IDLE -> CONTROL -> IDLE				INIT, HASH_*, ...
 *	IDLE -> SOON -> IDLE				what we answer ourselves
 *
 * swtpm answers its control channel in order, but only one request of those
 * it reads at once; so the next waits until a CANCEL is answered (`cancelling`;
 * what waits is in `later`).
 *
 * libuv holds the handles until they are closed; `open` counts them.
 */
#include "agent/io/tpmsock.h"

#include "agent/io/tpm_kind.h"
#include "lib/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum state { IDLE, LOCALITY, COMMAND, CONTROL, SOON };

enum {
	CTL_INIT = 0x02,
	CTL_SET_LOCALITY = 0x05,
	CTL_HASH_START = 0x06,
	CTL_HASH_DATA = 0x07,
	CTL_HASH_END = 0x08,
	CTL_CANCEL = 0x09,
	CTL_RESET_ESTABLISHED = 0x0b,
};

#define CTL_OK 0u
#define CTL_BAD_ORDINAL 10u
#define NO_LOCALITY 0xff /* not known: set it before the next command */

struct sock {
	struct ly_tpm base;
	uv_poll_t data_poll, ctrl_poll;
	uv_timer_t soon;
	int data, ctrl; /* ctrl: -1 when there is none */
	uint8_t open;
	uint8_t state;
	uint8_t op;
	uint8_t locality, wanted;
	bool cancelling;
	uint8_t rep[4]; /* of the control channel */
	uint8_t rep_len;
	uint32_t result; /* of SOON */
	uint8_t *later;	 /* the request, when it cannot be sent at once */
	uint32_t later_len;
	uint8_t *part; /* LY_TPM_MAX: an answer that came in pieces, or NULL */
	uint32_t part_len;
};

static void
drop_buf(uint8_t **buf, size_t len)
{
	if (!*buf)
		return;
	ly_wipe(*buf, len);
	free(*buf);
	*buf = NULL;
}

static void
drop_bufs(struct sock *s)
{
	drop_buf(&s->later, s->later_len);
	drop_buf(&s->part, LY_TPM_MAX);
	s->later_len = s->part_len = 0;
}

/* The owner may have closed it from within a callback. */
static void
stop(struct sock *s)
{
	drop_bufs(s);
	s->state = IDLE;
	if (s->base.closing)
		return;
	uv_poll_stop(&s->data_poll);
	if (s->ctrl >= 0)
		uv_poll_stop(&s->ctrl_poll);
	uv_timer_stop(&s->soon);
}

#define die(s, ...)                                                            \
	do {                                                                   \
		stop(s);                                                       \
		ly_tpm_die(&(s)->base, __VA_ARGS__);                           \
	} while (0)

/* ---- asking ---- */

static void
put(struct sock *s, int fd, const uint8_t *buf, size_t len)
{
	ssize_t n = send(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n != (ssize_t)len)
		die(s, "it takes no commands: %s",
		    n < 0 ? strerror(errno) : "its socket is full");
}

/* Answers that come from here must not come from within submit(). */
static void on_soon(uv_timer_t *timer);

static void
soon(struct sock *s, uint32_t result)
{
	s->state = SOON;
	s->result = result;
	uv_timer_start(&s->soon, on_soon, 0, 0);
}

static void
on_soon(uv_timer_t *timer)
{
	struct sock *s = timer->data;

	s->state = IDLE;
	ly_tpm_result(&s->base, (enum ly_op)s->op, s->result);
}

static void
set_locality(struct sock *s)
{
	uint8_t buf[8];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_u32(&w, CTL_SET_LOCALITY);
	ly_wr_u8(&w, s->wanted);
	ly_wr_uint(&w, 0, 3);
	s->state = LOCALITY;
	put(s, s->ctrl, buf, ly_wr_len(&w));
}

static void
control(struct sock *s, const uint8_t *body, size_t len)
{
	static const uint8_t codes[LY_OPS] = {
		[LY_OP_INIT] = CTL_INIT,
		[LY_OP_HASH_START] = CTL_HASH_START,
		[LY_OP_HASH_DATA] = CTL_HASH_DATA,
		[LY_OP_HASH_END] = CTL_HASH_END,
		[LY_OP_RESET_ESTABLISHED] = CTL_RESET_ESTABLISHED,
	};
	uint8_t buf[8 + LY_TPM_MAX];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_u32(&w, codes[s->op]);
	if (s->op == LY_OP_INIT) {
		ly_wr_u32(&w, 0);
		s->locality = NO_LOCALITY;
	} else if (s->op == LY_OP_RESET_ESTABLISHED) {
		ly_wr_u8(&w, s->wanted);
		ly_wr_uint(&w, 0, 3);
	} else if (s->op == LY_OP_HASH_DATA) {
		ly_wr_u32(&w, (uint32_t)len);
		ly_wr_bytes(&w, body, len);
	}
	assert(!w.bad);
	s->state = CONTROL;
	put(s, s->ctrl, buf, ly_wr_len(&w));
}

static void
command(struct sock *s, const uint8_t *body, size_t len)
{
	s->state = COMMAND;
	put(s, s->data, body, len);
}

/* Copies the request, to send it when the control channel has answered. */
static bool
postpone(struct sock *s, const uint8_t *body, size_t len)
{
	s->later = malloc(len ? len : 1);
	if (!s->later) {
		die(s, "out of memory");
		return false;
	}
	if (len)
		memcpy(s->later, body, len);
	s->later_len = (uint32_t)len;
	return true;
}

static void
submit(struct ly_tpm *t, enum ly_op op, uint8_t locality, const uint8_t *body,
    size_t len)
{
	struct sock *s = LY_HOLDER(t, struct sock, base);

	s->op = (uint8_t)op;
	s->wanted = locality;
	if (op != LY_OP_TPM && s->ctrl < 0)
		soon(s, op == LY_OP_INIT ? CTL_OK : CTL_BAD_ORDINAL);
	else if (op == LY_OP_TPM && locality == s->locality)
		command(s, body, len);
	else if (s->ctrl < 0)
		soon(s, LY_TPM_RC_LOCALITY);
	else if (s->cancelling)
		(void)postpone(s, body, len);
	else if (op != LY_OP_TPM)
		control(s, body, len);
	else if (postpone(s, body, len))
		set_locality(s);
}

static void
cancel(struct ly_tpm *t)
{
	struct sock *s = LY_HOLDER(t, struct sock, base);
	uint8_t buf[4];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	if (s->ctrl < 0 || s->cancelling || s->state != COMMAND)
		return;
	s->cancelling = true;
	ly_wr_u32(&w, CTL_CANCEL);
	put(s, s->ctrl, buf, sizeof(buf));
}

/* ---- being answered ---- */

/* What waited for the control channel. */
static void
go_on(struct sock *s)
{
	uint8_t *body = s->later;
	size_t len = s->later_len;

	if (!body)
		return;
	if (s->op == LY_OP_TPM && s->wanted != s->locality) {
		set_locality(s);
		return;
	}
	s->later = NULL;
	s->later_len = 0;
	if (s->op == LY_OP_TPM)
		command(s, body, len);
	else
		control(s, body, len);
	drop_buf(&body, len);
}

static void
on_result(struct sock *s, uint32_t result)
{
	if (s->cancelling) {
		s->cancelling = false;
		go_on(s);
	} else if (s->state == LOCALITY && result == CTL_OK) {
		s->locality = s->wanted;
		go_on(s);
	} else if (s->state == LOCALITY) {
		s->state = IDLE;
		drop_bufs(s);
		ly_tpm_result(&s->base, LY_OP_TPM, LY_TPM_RC_LOCALITY);
	} else if (s->state == CONTROL) {
		s->state = IDLE;
		ly_tpm_result(&s->base, (enum ly_op)s->op, result);
	} else {
		die(s, "its control channel speaks unasked");
	}
}

static void
on_ctrl(uv_poll_t *poll, int status, int events)
{
	struct sock *s = poll->data;
	struct ly_rd r;
	ssize_t n;

	(void)status;
	(void)events;
	n = recv(s->ctrl, s->rep + s->rep_len, sizeof(s->rep) - s->rep_len,
	    MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		die(s, "its control channel has hung up");
		return;
	}
	s->rep_len = (uint8_t)(s->rep_len + n);
	if (s->rep_len < sizeof(s->rep))
		return;
	s->rep_len = 0;
	r = ly_rd_over(s->rep, sizeof(s->rep));
	on_result(s, ly_rd_u32(&r));
}

/* `buf` is all of an answer so far. False: there is more to come. */
static bool
on_bytes(struct sock *s, const uint8_t *buf, size_t len)
{
	size_t size = 0;
	enum ly_rc rc = ly_tpm_size(buf, len, LY_TPM_MAX, &size);

	if (s->state != COMMAND) {
		die(s, "it speaks unasked");
	} else if (rc == LY_MALFORMED || (rc == LY_OK && len > size)) {
		die(s, "%zu bytes that are no TPM answer", len);
	} else if (rc == LY_OK && len == size) {
		s->state = IDLE;
		ly_tpm_answered(&s->base, LY_OP_TPM, buf, len);
		if (s->base.dead)
			stop(s);
	} else {
		return false;
	}
	return true;
}

static void
keep(struct sock *s, uint8_t *buf, uint8_t *part, size_t len)
{
	if (!part) {
		part = malloc(LY_TPM_MAX);
		if (!part) {
			die(s, "out of memory");
			return;
		}
		memcpy(part, buf, len);
	}
	s->part = part;
	s->part_len = (uint32_t)len;
}

static void
on_data(uv_poll_t *poll, int status, int events)
{
	struct sock *s = poll->data;
	uint8_t room[LY_TPM_MAX];
	uint8_t *part = s->part;
	uint8_t *buf = part ? part : room;
	size_t len = s->part_len;
	ssize_t n;

	(void)status;
	(void)events;
	n = recv(s->data, buf + len, LY_TPM_MAX - len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		die(s, "it has hung up");
		return;
	}
	len += (size_t)n;
	s->part = NULL; /* ours for now: the owner may submit from within */
	s->part_len = 0;
	if (!on_bytes(s, buf, len)) {
		keep(s, buf, part, len);
		return;
	}
	ly_wipe(buf, len);
	free(part);
}

/* ---- opening and closing ---- */

static void
on_closed(uv_handle_t *handle)
{
	struct sock *s = handle->data;

	if (--s->open > 0)
		return;
	close(s->data);
	if (s->ctrl >= 0)
		close(s->ctrl);
	drop_bufs(s);
	ly_tpm_gone(&s->base);
}

static void
close_sock(struct ly_tpm *t)
{
	struct sock *s = LY_HOLDER(t, struct sock, base);

	uv_close((uv_handle_t *)&s->data_poll, on_closed);
	if (s->ctrl >= 0)
		uv_close((uv_handle_t *)&s->ctrl_poll, on_closed);
	uv_close((uv_handle_t *)&s->soon, on_closed);
}

static const struct ly_tpm_kind kind = { submit, cancel, close_sock };

static enum ly_rc
dial(const char *path, const char *suffix, int *out, struct ly_why *why)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd;

	if (!ly_print(at.sun_path, sizeof(at.sun_path), "%s%s", path, suffix))
		return ly_fail(why, LY_FULL, "%s: too long for a socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ly_fail(why, LY_OUTSIDE, "socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0) {
		enum ly_rc rc = errno == ENOENT ? LY_UNKNOWN : LY_OUTSIDE;

		(void)ly_fail(why, rc, "%s: no TPM there: %s", at.sun_path,
		    strerror(errno));
		close(fd);
		return rc;
	}
	*out = fd;
	return LY_OK;
}

static void
start(struct sock *s, uv_loop_t *loop, uv_poll_t *poll, int fd, uv_poll_cb cb)
{
	int rc = uv_poll_init(loop, poll, fd);

	assert(rc == 0); /* a socket of our own */
	poll->data = s;
	s->open++;
	uv_poll_start(poll, UV_READABLE, cb);
}

enum ly_rc
ly_tpmsock_open(uv_loop_t *loop, const char *path, struct ly_tpm **out,
    struct ly_why *why)
{
	int data, ctrl = -1;
	struct sock *s;
	enum ly_rc rc = dial(path, "", &data, why);

	if (rc != LY_OK)
		return rc;
	rc = dial(path, ".ctrl", &ctrl, why);
	if (rc != LY_OK && rc != LY_UNKNOWN) {
		close(data);
		return rc;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		close(data);
		if (ctrl >= 0)
			close(ctrl);
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	}
	s->base.kind = &kind;
	s->base.resets = ctrl >= 0;
	s->data = data;
	s->ctrl = ctrl;
	s->locality = ctrl >= 0 ? NO_LOCALITY : 0;
	start(s, loop, &s->data_poll, data, on_data);
	if (ctrl >= 0)
		start(s, loop, &s->ctrl_poll, ctrl, on_ctrl);
	uv_timer_init(loop, &s->soon);
	s->soon.data = s;
	s->open++;
	*out = &s->base;
	return LY_OK;
}
