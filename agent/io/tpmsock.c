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
 * a TPM command that waits is aimed already, a control request lies in the
 * area of the data channel's output, which is free meanwhile).
 *
 * Both connections are streams of the slot: each step is committed before its
 * bytes move (once.h), so an agent that dies is followed by one that finds the
 * request not yet sent, sent in part, or answered, and goes on from there. An
 * answer that came in part stays in the socket until it is whole; it is looked
 * at again after LOOK_MS.
 *
 * libuv holds the handles until they are closed; `open` counts them.
 */
#include "agent/io/tpmsock.h"

#include "agent/io/once.h"
#include "agent/io/tpm_kind.h"
#include "lib/base/text.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The values are kept. */
enum phase { IDLE = 0, LOCALITY = 1, COMMAND = 2, CONTROL = 3, SOON = 4 };
_Static_assert(SOON < LY_TPM_PHASES, "a phase that cannot be kept");

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
#define CTL_REPLY 4
#define LOOK_MS 2

struct sock {
	struct ly_tpm base;
	uv_poll_t poll[LY_SLOT_FDS]; /* of CTRL only if there is one */
	uv_timer_t timer;	     /* of SOON, and of answers in part */
	uint8_t open;
	bool look[LY_SLOT_FDS]; /* an answer there is not whole */
	bool full[LY_SLOT_FDS]; /* it takes no more bytes just now */
};

static bool
has_ctrl(const struct sock *s)
{
	return s->base.slot->fd[LY_SLOT_CTRL] >= 0;
}

/* The owner may have closed it from within a callback. */
static void
stop(struct sock *s)
{
	if (s->base.closing)
		return;
	uv_poll_stop(&s->poll[LY_SLOT_DATA]);
	if (has_ctrl(s))
		uv_poll_stop(&s->poll[LY_SLOT_CTRL]);
	uv_timer_stop(&s->timer);
}

#define die(s, ...)                                                            \
	do {                                                                   \
		stop(s);                                                       \
		ly_tpm_die(&(s)->base, __VA_ARGS__);                           \
	} while (0)

/* ---- asking ---- */

static void on_timer(uv_timer_t *timer);
static void on_event(uv_poll_t *poll, int status, int events);

/* Answers that come from here must not come from within submit(). */
static void
soon(struct sock *s, uint32_t result)
{
	s->base.k.phase = SOON;
	s->base.k.result = result;
	uv_timer_start(&s->timer, on_timer, 0, 0);
}

static void
aim_ctrl(struct sock *s, const struct ly_wr *w, const uint8_t *buf)
{
	assert(!w->bad);
	ly_once_aim(s->base.slot, LY_SLOT_CTRL, buf, ly_wr_len(w));
}

static void
set_locality(struct sock *s)
{
	uint8_t buf[8];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_u32(&w, CTL_SET_LOCALITY);
	ly_wr_u8(&w, s->base.k.wanted);
	ly_wr_uint(&w, 0, 3);
	aim_ctrl(s, &w, buf);
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
	struct ly_tpm_kept *k = &s->base.k;
	uint8_t buf[8 + LY_TPM_MAX];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_u32(&w, codes[k->op]);
	if (k->op == LY_OP_INIT) {
		ly_wr_u32(&w, 0);
		k->locality = LY_TPM_NO_LOCALITY;
	} else if (k->op == LY_OP_RESET_ESTABLISHED) {
		ly_wr_u8(&w, k->wanted);
		ly_wr_uint(&w, 0, 3);
	} else if (k->op == LY_OP_HASH_DATA) {
		ly_wr_u32(&w, (uint32_t)len);
		ly_wr_bytes(&w, body, len);
	}
	aim_ctrl(s, &w, buf);
	ly_wipe(buf, ly_wr_len(&w));
}

/* One of no bytes is kept as one of a byte, which no request of its op uses. */
static void
postpone(struct sock *s, const uint8_t *body, size_t len)
{
	uint32_t n = (uint32_t)ly_max(len, 1);
	uint8_t *at = ly_slot_area(s->base.slot, LY_AREA_OUT_DATA, n);

	at[0] = 0;
	if (len)
		memcpy(at, body, len);
	s->base.k.later = n;
}

static void
submit_control(struct sock *s, const uint8_t *body, size_t len)
{
	struct ly_tpm_kept *k = &s->base.k;

	if (!has_ctrl(s)) {
		soon(s, k->op == LY_OP_INIT ? CTL_OK : CTL_BAD_ORDINAL);
		return;
	}
	k->phase = CONTROL;
	if (k->cancelling)
		postpone(s, body, len);
	else
		control(s, body, len);
}

static void
submit(struct ly_tpm *t, const uint8_t *body, size_t len)
{
	struct sock *s = LY_HOLDER(t, struct sock, base);
	struct ly_tpm_kept *k = &t->k;

	if (k->op != LY_OP_TPM) {
		submit_control(s, body, len);
	} else if (k->wanted != k->locality && !has_ctrl(s)) {
		soon(s, LY_TPM_RC_LOCALITY);
	} else {
		ly_once_aim(t->slot, LY_SLOT_DATA, body, len);
		k->phase = k->wanted == k->locality ? COMMAND : LOCALITY;
		if (k->phase == LOCALITY && !k->cancelling)
			set_locality(s);
	}
}

static void
cancel(struct ly_tpm *t)
{
	struct sock *s = LY_HOLDER(t, struct sock, base);
	uint8_t buf[4];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	if (!has_ctrl(s) || t->k.cancelling || t->k.phase != COMMAND)
		return;
	t->k.cancelling = true;
	ly_wr_u32(&w, CTL_CANCEL);
	aim_ctrl(s, &w, buf);
}

/* ---- moving bytes ---- */

static void
listen_to(struct sock *s, unsigned which)
{
	uv_poll_start(&s->poll[which],
	    UV_READABLE | (s->full[which] ? UV_WRITABLE : 0), on_event);
}

/* False: it is dead. */
static bool
push(struct sock *s, unsigned which)
{
	enum ly_rc rc;

	if (!ly_once_owed(s->base.slot, which))
		return true;
	rc = ly_once_push(s->base.slot, which);
	if (rc == LY_OUTSIDE) {
		die(s, "it takes no commands");
		return false;
	}
	if (s->full[which] != (rc == LY_BUSY)) {
		s->full[which] = !s->full[which];
		listen_to(s, which);
	}
	return true;
}

static void
settle(struct ly_tpm *t)
{
	struct sock *s = LY_HOLDER(t, struct sock, base);

	for (unsigned i = 0; i < LY_SLOT_FDS; i++)
		if (t->slot->fd[i] >= 0)
			ly_once_consume(t->slot, i);
	if (has_ctrl(s) && !push(s, LY_SLOT_CTRL))
		return;
	if (t->k.phase == COMMAND)
		(void)push(s, LY_SLOT_DATA);
}

/* ---- being answered ---- */

/* What waited for the CANCEL. */
static void
go_on(struct sock *s)
{
	struct ly_tpm_kept *k = &s->base.k;
	uint8_t body[LY_TPM_MAX];
	size_t len = k->later;

	if (k->phase == LOCALITY)
		set_locality(s);
	if (!len)
		return;
	k->later = 0;
	memcpy(body, ly_slot_area(s->base.slot, LY_AREA_OUT_DATA, len), len);
	control(s, body, len);
	ly_wipe(body, len);
}

static void
on_result(struct sock *s, uint32_t result)
{
	struct ly_tpm_kept *k = &s->base.k;

	if (k->cancelling) {
		k->cancelling = false;
		go_on(s);
		ly_tpm_step(&s->base);
	} else if (k->phase == LOCALITY && result == CTL_OK) {
		k->locality = k->wanted;
		k->phase = COMMAND;
		ly_tpm_step(&s->base);
	} else if (k->phase == LOCALITY) {
		ly_once_call_off(s->base.slot, LY_SLOT_DATA);
		ly_tpm_result(&s->base, LY_TPM_RC_LOCALITY);
	} else if (k->phase == CONTROL) {
		ly_tpm_result(&s->base, result);
	} else {
		die(s, "its control channel speaks unasked");
	}
}

/* There is an answer, but not all of it. */
static void
look_again(struct sock *s, unsigned which)
{
	struct pollfd p = { .fd = s->base.slot->fd[which],
		.events = POLLRDHUP };

	if (poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP)) {
		die(s, "it has hung up in the middle of an answer");
		return;
	}
	s->look[which] = true;
	uv_poll_stop(&s->poll[which]);
	uv_timer_start(&s->timer, on_timer, LOOK_MS, 0);
}

static void
on_ctrl(struct sock *s, const uint8_t *buf, size_t len)
{
	struct ly_rd r = ly_rd_over(buf, len);

	if (len < CTL_REPLY) {
		look_again(s, LY_SLOT_CTRL);
		return;
	}
	ly_once_take(s->base.slot, LY_SLOT_CTRL, CTL_REPLY);
	on_result(s, ly_rd_u32(&r));
}

static void
on_data(struct sock *s, const uint8_t *buf, size_t len)
{
	size_t size = 0;
	enum ly_rc rc = ly_tpm_size(buf, len, LY_TPM_MAX, &size);

	if (s->base.k.phase != COMMAND ||
	    ly_once_owed(s->base.slot, LY_SLOT_DATA)) {
		die(s, "it speaks unasked");
	} else if (rc == LY_MALFORMED || (rc == LY_OK && len > size)) {
		die(s, "%zu bytes that are no TPM answer", len);
	} else if (rc == LY_OK && len == size) {
		ly_once_take(s->base.slot, LY_SLOT_DATA, size);
		ly_tpm_answered(&s->base, buf, size);
		if (s->base.dead)
			stop(s);
	} else {
		look_again(s, LY_SLOT_DATA);
	}
}

static void
look(struct sock *s, unsigned which)
{
	size_t most = which == LY_SLOT_CTRL ? CTL_REPLY : LY_TPM_MAX;
	uint8_t buf[LY_TPM_MAX];
	int n = ly_once_peek(s->base.slot, which, buf, most, NULL);

	if (n == LY_ONCE_NOTHING)
		return;
	if (n == LY_ONCE_ENDED) {
		die(s, "%s has hung up",
		    which == LY_SLOT_CTRL ? "its control channel" : "it");
		return;
	}
	if (which == LY_SLOT_CTRL)
		on_ctrl(s, buf, (size_t)n);
	else
		on_data(s, buf, (size_t)n);
	ly_wipe(buf, (size_t)n);
}

static void
on_event(uv_poll_t *poll, int status, int events)
{
	struct sock *s = poll->data;
	unsigned which = (unsigned)(poll - s->poll);

	(void)status;
	if (events & UV_WRITABLE && !push(s, which))
		return;
	look(s, which);
}

static void
on_timer(uv_timer_t *timer)
{
	struct sock *s = timer->data;

	for (unsigned i = 0; i < LY_SLOT_FDS; i++) {
		if (!s->look[i] || s->base.dead || s->base.closing)
			continue;
		s->look[i] = false;
		listen_to(s, i);
		look(s, i);
	}
	if (s->base.k.phase == SOON && !s->base.dead && !s->base.closing)
		ly_tpm_result(&s->base, s->base.k.result);
}

/* ---- opening and closing ---- */

static void
on_closed(uv_handle_t *handle)
{
	struct sock *s = handle->data;

	if (--s->open == 0)
		ly_tpm_gone(&s->base);
}

static void
close_sock(struct ly_tpm *t)
{
	struct sock *s = LY_HOLDER(t, struct sock, base);

	uv_close((uv_handle_t *)&s->poll[LY_SLOT_DATA], on_closed);
	if (has_ctrl(s))
		uv_close((uv_handle_t *)&s->poll[LY_SLOT_CTRL], on_closed);
	uv_close((uv_handle_t *)&s->timer, on_closed);
}

static const struct ly_tpm_kind kind = { LY_TPM_SOCKET, submit, cancel, settle,
	close_sock };

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
start(struct sock *s, uv_loop_t *loop, unsigned which)
{
	int rc = uv_poll_init(loop, &s->poll[which], s->base.slot->fd[which]);

	assert(rc == 0); /* a socket of our own */
	s->poll[which].data = s;
	s->open++;
	listen_to(s, which);
}

/* The slot has its connections. */
static struct sock *
sock_new(uv_loop_t *loop, struct ly_slot *slot)
{
	struct sock *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->base.kind = &kind;
	s->base.slot = slot;
	s->base.resets = has_ctrl(s);
	s->base.k.locality = has_ctrl(s) ? LY_TPM_NO_LOCALITY : 0;
	start(s, loop, LY_SLOT_DATA);
	if (has_ctrl(s))
		start(s, loop, LY_SLOT_CTRL);
	uv_timer_init(loop, &s->timer);
	s->timer.data = s;
	s->open++;
	return s;
}

enum ly_rc
ly_tpmsock_open(uv_loop_t *loop, const char *path, struct ly_slot *slot,
    struct ly_tpm **out, struct ly_why *why)
{
	int data, ctrl = -1;
	enum ly_rc rc = dial(path, "", &data, why);

	if (rc != LY_OK)
		return rc;
	rc = dial(path, ".ctrl", &ctrl, why);
	if (rc != LY_OK && rc != LY_UNKNOWN) {
		close(data);
		return rc;
	}
	ly_slot_put(slot, LY_SLOT_DATA, data);
	if (ctrl >= 0)
		ly_slot_put(slot, LY_SLOT_CTRL, ctrl);
	*out = &sock_new(loop, slot)->base;
	return LY_OK;
}

enum ly_rc
ly_tpmsock_wake(uv_loop_t *loop, struct ly_slot *slot,
    const struct ly_tpm_kept *kept, struct ly_tpm **out, struct ly_why *why)
{
	bool needs_ctrl = kept->cancelling || kept->phase == LOCALITY ||
	    kept->phase == CONTROL;
	struct sock *s;

	if (slot->fd[LY_SLOT_DATA] < 0 ||
	    (needs_ctrl && slot->fd[LY_SLOT_CTRL] < 0))
		return ly_fail(why, LY_OUTSIDE, "its connection is lost");
	s = sock_new(loop, slot);
	if (kept->phase == SOON)
		uv_timer_start(&s->timer, on_timer, 0, 0);
	*out = &s->base;
	return LY_OK;
}
