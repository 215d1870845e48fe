/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/link/link.h"

typedef void handler(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo);

static const struct ly_link_limits limits_of[] = {
	/*                    handshake   half  ping   dead  stall linger */
	[0] = { 10000, 5000, 1000, 3000, 10000, 1000 },
	[LY_FOR_LINK] = { 10000, 5000, 1000, 3000, 10000, 1000 },
	/* Its peer may be busy writing memory, and its reader stopped. */
	[LY_FOR_STREAM] = { 10000, 30000, 1000, 30000, 30000, 1000 },
	/* A manager has thousands of these. */
	[LY_FOR_CONTROL] = { 10000, 5000, 2000, 6000, 10000, 1000 },
	[LY_FOR_FEDERATION] = { 10000, 5000, 2000, 6000, 10000, 1000 },
};

static const char *const state_names[LY_LINK_STATES] = {
	[LY_LINK_CONNECTING] = "connecting",
	[LY_LINK_TLS] = "tls",
	[LY_LINK_GREETING] = "greeting",
	[LY_LINK_UP] = "up",
	[LY_LINK_CLOSING] = "closing",
	[LY_LINK_CLOSED] = "closed",
};

const char *
ly_link_state_name(unsigned state)
{
	return state < LY_COUNT(state_names) ? state_names[state] : "?";
}

const struct ly_link_limits *
ly_link_limits(unsigned purpose)
{
	return &limits_of[purpose < LY_COUNT(limits_of) ? purpose : 0];
}

void
ly_link_init(struct ly_link *l, bool listening, unsigned purpose,
    const struct ly_link_limits *limits, uint64_t now_ms)
{
	*l = (struct ly_link){
		.state = LY_LINK_CONNECTING,
		.listening = listening,
		.limits = limits ? *limits : *ly_link_limits(purpose),
		.fixed = limits != NULL,
		.began_ms = now_ms,
		.heard_ms = now_ms,
		.pinged_ms = now_ms,
		.took_ms = now_ms,
		.ticked_ms = now_ms,
	};
}

static void
act(struct ly_link_todo *todo, enum ly_link_act what, enum ly_rc rc,
    uint64_t stamp, const char *why)
{
	assert(todo->n < LY_COUNT(todo->item));
	todo->item[todo->n].act = what;
	todo->item[todo->n].rc = rc;
	todo->item[todo->n].stamp = stamp;
	todo->item[todo->n].why = why;
	todo->n++;
}

/* Ways to an end. `drop`: nothing more can or need be said. */
static void
drop(struct ly_link *l, struct ly_link_todo *todo, enum ly_rc rc,
    const char *why)
{
	l->state = LY_LINK_CLOSED;
	act(todo, LY_LINK_END, rc, 0, why);
	act(todo, LY_LINK_DROP, rc, 0, NULL);
}

/* TLS may have an alert to send. */
static void
shut(struct ly_link *l, struct ly_link_todo *todo, uint64_t now_ms,
    enum ly_rc rc, const char *why)
{
	l->state = LY_LINK_CLOSING;
	l->began_ms = now_ms;
	act(todo, LY_LINK_END, rc, 0, why);
	act(todo, LY_LINK_SHUT, rc, 0, NULL);
}

static void
say_bye(struct ly_link *l, struct ly_link_todo *todo, uint64_t now_ms,
    enum ly_rc rc, const char *why)
{
	act(todo, LY_LINK_SEND_BYE, rc, 0, NULL);
	shut(l, todo, now_ms, rc, why);
}

static const char *
in_seconds(struct ly_link *l, const char *what, uint32_t ms)
{
	ly_print(l->text, sizeof(l->text), "%s %u.%u s", what, ms / 1000,
	    ms % 1000 / 100);
	return l->text;
}

/* ---- events ---- */

static void
ignore(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	(void)l, (void)ev, (void)todo;
}

/* A frame where none may be, or news out of its state. */
static void
disorder(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	ly_print(l->text, sizeof(l->text), "frame out of order (%s)",
	    ly_link_state_name(l->state));
	if (l->state == LY_LINK_GREETING || l->state == LY_LINK_UP)
		say_bye(l, todo, ev->now_ms, LY_MALFORMED, l->text);
	else
		drop(l, todo, LY_MALFORMED, l->text);
}

static void
on_connected(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	(void)ev, (void)todo;
	l->state = LY_LINK_TLS;
}

static void
on_secured(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	l->state = LY_LINK_GREETING;
	l->until_s = ev->until_s;
	l->greeted_ms = ev->now_ms;
	if (!l->listening)
		act(todo, LY_LINK_SEND_HELLO, LY_OK, 0, NULL);
}

static void
on_distrust(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	say_bye(l, todo, ev->now_ms, ev->rc, ev->why);
}

static bool
same_proto(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	if (ev->proto == LY_PROTO)
		return true;
	ly_print(l->text, sizeof(l->text),
	    "the peer speaks protocol %u, we speak %u", ev->proto, LY_PROTO);
	say_bye(l, todo, ev->now_ms, LY_REFUSED, l->text);
	return false;
}

static void
on_hello(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	if (!l->listening) {
		disorder(l, ev, todo);
	} else if (!same_proto(l, ev, todo)) {
		return;
	} else if (ev->purpose < LY_FOR_LINK ||
	    ev->purpose > LY_FOR_FEDERATION) {
		say_bye(l, todo, ev->now_ms, LY_MALFORMED,
		    "HELLO for an unknown purpose");
	} else {
		if (!l->fixed)
			l->limits = *ly_link_limits(ev->purpose);
		act(todo, LY_LINK_OFFER, LY_OK, 0, NULL);
	}
}

static void
go_up(struct ly_link *l, uint64_t now_ms)
{
	l->state = LY_LINK_UP;
	l->heard_ms = now_ms;
	l->ticked_ms = now_ms;
	l->pinged_ms = now_ms;
}

static void
on_consent(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	if (l->listening)
		go_up(l, ev->now_ms);
	else
		disorder(l, ev, todo);
}

static void
on_welcome(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	if (l->listening) {
		disorder(l, ev, todo);
	} else if (same_proto(l, ev, todo)) {
		go_up(l, ev->now_ms);
		l->rtt_ms = ev->now_ms - l->greeted_ms;
		act(todo, LY_LINK_OPEN, LY_OK, 0, NULL);
	}
}

static void
on_ping(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	l->heard_ms = ev->now_ms;
	act(todo, LY_LINK_SEND_PONG, LY_OK, ev->stamp, NULL);
}

static void
on_pong(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	(void)todo;
	l->heard_ms = ev->now_ms;
	if (ev->stamp == l->pinged_ms && ev->stamp <= ev->now_ms)
		l->rtt_ms = ev->now_ms - ev->stamp;
}

/* The peer has shut its side already and waits for nothing. */
static void
on_bye(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	enum ly_rc rc = (unsigned)ev->rc < LY_RCS ? ev->rc : LY_MALFORMED;

	ly_print(l->text, sizeof(l->text), "the peer ended it: %s",
	    ly_rc_name(rc));
	drop(l, todo, rc, l->text);
}

static void
on_other(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	(void)l, (void)ev;
	act(todo, LY_LINK_DELIVER, LY_OK, 0, NULL);
}

/* A half frame ages from its own first byte, not from that of the last. */
static void
on_read(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	(void)todo;
	l->heard_ms = ev->now_ms;
	if (ev->half && (!l->half || ev->frames))
		l->half_ms = ev->now_ms;
	l->half = ev->half;
}

static void
on_wrote(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	(void)todo;
	l->pending = ev->pending;
	l->took_ms = ev->now_ms;
}

/* While held we are deaf, so no clock of hearing may run. */
static void
on_held(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	(void)todo;
	l->held = ev->held;
	l->heard_ms = ev->now_ms;
	l->half_ms = ev->now_ms;
}

/* Stopped, swapped out or suspended: what the peers sent meanwhile waits in
 * the socket, so every clock begins anew. */
static void
wake(struct ly_link *l, uint64_t now_ms)
{
	if (now_ms - l->ticked_ms > LY_LINK_SLEPT_MS) {
		l->began_ms = now_ms;
		l->heard_ms = now_ms;
		l->half_ms = now_ms;
		l->took_ms = now_ms;
	}
	l->ticked_ms = now_ms;
}

static void
tick_early(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	const char *why;

	wake(l, ev->now_ms);
	if (ev->now_ms - l->began_ms < l->limits.handshake_ms)
		return;
	why = in_seconds(l,
	    l->state == LY_LINK_CONNECTING ? "not connected in" :
					     "no greeting in",
	    l->limits.handshake_ms);
	drop(l, todo, LY_OUTSIDE, why);
}

static void
maybe_ping(struct ly_link *l, uint64_t now_ms, struct ly_link_todo *todo)
{
	uint64_t after = l->limits.ping_ms;

	if (l->listening && !l->held)
		after += after / 2;
	if (now_ms - l->pinged_ms < after ||
	    (!l->held && now_ms - l->heard_ms < after))
		return;
	l->pinged_ms = now_ms;
	act(todo, LY_LINK_SEND_PING, LY_OK, now_ms, NULL);
}

static void
tick_up(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	const struct ly_link_limits *lim = &l->limits;
	uint64_t now = ev->now_ms;

	wake(l, now);
	if (ev->wall_s >= l->until_s)
		say_bye(l, todo, now, LY_OUTSIDE, "a certificate has expired");
	else if (l->pending && now - l->took_ms >= lim->stall_ms)
		drop(l, todo, LY_OUTSIDE,
		    in_seconds(l, "the peer has read nothing for",
			lim->stall_ms));
	else if (!l->held && now - l->heard_ms >= lim->dead_ms)
		drop(l, todo, LY_OUTSIDE,
		    in_seconds(l, "nothing heard for", lim->dead_ms));
	else if (!l->held && l->half && now - l->half_ms >= lim->half_ms)
		say_bye(l, todo, now, LY_MALFORMED,
		    in_seconds(l, "half a frame for", lim->half_ms));
	else
		maybe_ping(l, now, todo);
}

static void
tick_closing(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	if (ev->now_ms - l->began_ms < l->limits.linger_ms)
		return;
	l->state = LY_LINK_CLOSED;
	act(todo, LY_LINK_DROP, LY_OK, 0, NULL);
}

static void
on_gone(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	drop(l, todo, ev->rc, ev->why);
}

static void
gone_closing(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	(void)ev;
	l->state = LY_LINK_CLOSED;
	act(todo, LY_LINK_DROP, LY_OK, 0, NULL);
}

/* TLS is not up: BYE cannot be said, but an alert may be on its way. */
static void
close_tls(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	shut(l, todo, ev->now_ms, ev->rc, ev->why);
}

static void
on_close(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	say_bye(l, todo, ev->now_ms, ev->rc, ev->why);
}

// clang-format off
static handler *const table[LY_LINK_NEWS][LY_LINK_STATES] = {
	/*		        CONNECTING    TLS          GREETING    UP           CLOSING       CLOSED */
	[LY_LINK_CONNECTED] = { on_connected, disorder,    disorder,   disorder,    ignore,       ignore },
	[LY_LINK_SECURED]   = { disorder,     on_secured,  disorder,   disorder,    ignore,       ignore },
	[LY_LINK_DISTRUST]  = { disorder,     on_distrust, disorder,   disorder,    ignore,       ignore },
	[LY_LINK_HELLO]	    = { disorder,     disorder,    on_hello,   disorder,    ignore,       ignore },
	[LY_LINK_WELCOME]   = { disorder,     disorder,    on_welcome, disorder,    ignore,       ignore },
	[LY_LINK_PING]	    = { disorder,     disorder,    disorder,   on_ping,     ignore,       ignore },
	[LY_LINK_PONG]	    = { disorder,     disorder,    disorder,   on_pong,     ignore,       ignore },
	[LY_LINK_BYE]	    = { disorder,     disorder,    on_bye,     on_bye,      ignore,       ignore },
	[LY_LINK_OTHER]	    = { disorder,     disorder,    disorder,   on_other,    ignore,       ignore },
	[LY_LINK_CONSENT]   = { disorder,     disorder,    on_consent, disorder,    ignore,       ignore },
	[LY_LINK_READ]	    = { ignore,	      ignore,      on_read,    on_read,     ignore,       ignore },
	[LY_LINK_WROTE]	    = { ignore,	      on_wrote,    on_wrote,   on_wrote,    ignore,       ignore },
	[LY_LINK_HELD]	    = { on_held,      on_held,     on_held,    on_held,     ignore,       ignore },
	[LY_LINK_TICK]	    = { tick_early,   tick_early,  tick_early, tick_up,     tick_closing, ignore },
	[LY_LINK_GONE]	    = { on_gone,      on_gone,     on_gone,    on_gone,     gone_closing, ignore },
	[LY_LINK_CLOSE]	    = { on_gone,      close_tls,   on_close,   on_close,    ignore,       ignore },
};
// clang-format on

void
ly_link_step(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo)
{
	todo->n = 0;
	assert(ev->kind < LY_LINK_NEWS && l->state < LY_LINK_STATES);
	table[ev->kind][l->state](l, ev, todo);
}
