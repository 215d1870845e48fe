/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw clients: tools of the host that speak TPM commands and nothing else.
 * They are not kept: an agent that dies hangs up on them. The command of one
 * that has hung up is answered all the same, to nobody.
 */
#include "agent/io/guest_in.h"

#include "agent/away/kept.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

void
ly_guest_raw_forget(struct conn *c)
{
	if (!c->buf)
		return;
	ly_wipe(c->buf, LY_TPM_MAX);
	free(c->buf);
	c->buf = NULL;
	c->have = 0;
}

void
ly_guest_raw_put(struct conn *c, const uint8_t *buf, size_t len)
{
	ssize_t n = send(c->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n == (ssize_t)len)
		return;
	ly_log(LY_WARNING, c->g->path,
	    "a client does not take its answer (%s): hung up",
	    n < 0 ? strerror(errno) : "its buffer is full");
	ly_guest_drop(c);
}

static void
run(struct conn *c, const uint8_t *cmd, size_t len)
{
	struct ly_guest *g = c->g;

	g->asker = c;
	g->asked_by = LY_ASKER_RAW;
	g->asked_raw = true;
	ly_turn_touch(g->turn);
	g->ops->on_command(g->arg, g->m.locality, cmd, len);
}

/* Uses up what is whole of `buf`, up to the first that runs: the next waits for
 * its answer, and for what came of it to be kept. Says how much. */
static size_t
commands(struct conn *c, const uint8_t *buf, size_t len)
{
	struct ly_guest *g = c->g;
	uint8_t say[LY_TPM_HEAD];
	size_t at = 0, used;

	while (at < len && !c->closing) {
		switch (ly_swtpm_command(&g->m, true, buf + at, len - at, &used,
		    say)) {
		case LY_SWTPM_MORE:
			return at;
		case LY_SWTPM_HOLD:
			ly_guest_hold(c);
			return at;
		case LY_SWTPM_RUN:
			if (at + used < len)
				ly_guest_hold(c);
			run(c, buf + at, used);
			return at + used;
		case LY_SWTPM_SAY:
			ly_guest_raw_put(c, say, sizeof(say));
			break;
		case LY_SWTPM_LOST:
			ly_guest_raw_put(c, say, sizeof(say));
			ly_guest_drop(c);
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
		ly_guest_raw_forget(c);
		uv_timer_stop(&c->timer);
		return;
	}
	if (!c->buf)
		c->buf = malloc(LY_TPM_MAX);
	if (!c->buf) {
		ly_guest_drop(c);
		return;
	}
	memmove(c->buf, buf + used, len - used);
	if (buf != c->buf)
		ly_wipe(buf, len);
	c->have = (uint32_t)(len - used);
	if (!c->held)
		uv_timer_start(&c->timer, ly_guest_on_timer, LY_GUEST_HALF_MS,
		    0);
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
	if (c->g->asker != c) {
		ly_guest_drop(c);
		return;
	}
	c->ended = true;
	ly_guest_hold(c);
}

void
ly_guest_raw_read(struct conn *c)
{
	uint8_t room[LY_TPM_MAX];
	uint8_t *buf = c->buf ? c->buf : room;
	ssize_t n;

	if (c->g->m.busy) {
		ly_guest_hold(c);
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

void
ly_guest_raw_go_on(struct conn *c)
{
	if (!c->held)
		return;
	if (c->ended && c->g->asker != c) {
		ly_guest_drop(c);
		return;
	}
	ly_guest_unhold(c);
	if (c->have > 0)
		serve(c, c->buf, c->have);
}
