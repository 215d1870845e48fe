/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream/dest.h"

#define POLL_MS 100
#define POLL_SOON_MS 10
#define RESUME_AGAIN_MS 500
#define HOOK_FIRST_MS 1000 /* between two on-claims, doubled up to */
#define HOOK_MOST_MS 30000

typedef void handler(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo);

const char *
ly_dest_state_name(unsigned state)
{
	static const char *const names[] = {
		[LY_DST_OPENING] = "opening",
		[LY_DST_LISTENING] = "listening",
		[LY_DST_COPY] = "copy",
		[LY_DST_LOADING] = "loading",
		[LY_DST_CLAIMING] = "claiming",
		[LY_DST_TAKING] = "taking",
		[LY_DST_RESUMING] = "resuming",
		[LY_DST_QUITTING] = "quitting",
		[LY_DST_OVER] = "over",
	};

	return state < LY_COUNT(names) ? names[state] : "?";
}

static struct ly_dest_todo *
add(struct ly_dest_todos *todo, enum ly_dest_act act)
{
	assert(todo->n < LY_DEST_TODO_MAX);
	todo->act[todo->n] = (struct ly_dest_todo){ .act = act };
	return &todo->act[todo->n++];
}

static void
go(struct ly_dest_core *d, enum ly_dest_state state)
{
	d->state = state;
	d->since_ms = d->now_ms;
}

static uint64_t
spent(const struct ly_dest_core *d)
{
	return d->now_ms - d->since_ms;
}

static void
poll(struct ly_dest_core *d, struct ly_dest_todos *todo)
{
	d->again = d->polling;
	if (d->polling)
		return;
	d->polling = true;
	add(todo, LY_DST_DO_POLL);
}

/* The first reason is the one the operator needs. */
static void
blame(struct ly_dest_core *d, enum ly_rc rc, const char *text)
{
	if (d->rc)
		return;
	d->rc = rc;
	ly_copy(d->why, sizeof(d->why), text ? text : ly_rc_name(rc));
}

static void
over(struct ly_dest_core *d, struct ly_dest_todos *todo, enum ly_dest_end end)
{
	go(d, LY_DST_OVER);
	add(todo, LY_DST_DO_HANGUP);
	add(todo, LY_DST_DO_OVER)->end = end;
}

/* The source is told before QEMU is ended: the sooner it knows, the sooner
 * its guest runs on. */
static void
give_up(struct ly_dest_core *d, struct ly_dest_todos *todo, enum ly_rc rc,
    const char *text)
{
	blame(d, rc, text);
	add(todo, LY_DST_DO_READY)->rc = rc;
	add(todo, LY_DST_DO_HANGUP);
	go(d, LY_DST_QUITTING);
	add(todo, LY_DST_DO_QUIT);
}

/* D1 */
static void
claim(struct ly_dest_core *d, struct ly_dest_todos *todo)
{
	if (!d->whole || !d->completed)
		return;
	d->claimed = true;
	go(d, LY_DST_CLAIMING);
	add(todo, LY_DST_DO_CLAIM);
}

/* ---- QEMU ---- */

static void
on_set(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	if (!ev->ok) {
		give_up(d, todo, LY_OUTSIDE, ev->text);
		return;
	}
	go(d, LY_DST_LISTENING);
	add(todo, LY_DST_DO_LISTENING);
}

static void
status_heard(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	if (ev->running) { /* D4 */
		add(todo, LY_DST_DO_ALARM)->text =
		    "QEMU runs a guest whose home has not granted it";
		add(todo, LY_DST_DO_STOP);
		give_up(d, todo, LY_OUTSIDE, "QEMU ran the guest too early");
		return;
	}
	switch (ev->status) {
	case LY_MIG_COMPLETED:
		d->completed = true;
		claim(d, todo);
		break;
	case LY_MIG_FAILED:
	case LY_MIG_CANCELLED:
		give_up(d, todo, LY_OUTSIDE,
		    ev->text ? ev->text : "QEMU could not load the VM");
		break;
	case LY_MIG_UNHEARD:
	case LY_MIG_NONE:
	case LY_MIG_BUSY:
	case LY_MIG_HELD:
	case LY_MIG_SWITCHING:
	case LY_MIGS:
		break;
	}
}

/* Every STATUS comes through here, whatever the state. */
static void
on_status(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	bool again = d->again;

	d->polling = d->again = false;
	d->poll_ms = again ?
	    d->now_ms :
	    d->now_ms + (d->state == LY_DST_LOADING ? POLL_SOON_MS : POLL_MS);
	if (d->state == LY_DST_COPY || d->state == LY_DST_LOADING)
		status_heard(d, ev, todo);
}

static void
on_hint(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	poll(d, todo);
}

/* QEMU closes its socket when it is content, and when it is not. */
static void
on_broken(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	poll(d, todo);
}

static void
gone_early(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	blame(d, LY_OUTSIDE, ev->text);
	add(todo, LY_DST_DO_READY)->rc = LY_OUTSIDE;
	over(d, todo, LY_DEST_FAILED);
}

static void
gone_late(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	blame(d, LY_OUTSIDE, ev->text);
	add(todo, LY_DST_DO_READY)->rc = LY_OUTSIDE;
	over(d, todo, LY_DEST_DEAD);
}

static void
gone_quitting(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	over(d, todo, LY_DEST_FAILED);
}

static void
on_resumed(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	if (ev->ok) {
		add(todo, LY_DST_DO_READY)->rc = LY_OK;
		over(d, todo, LY_DEST_RUNS);
		return;
	}
	if (!d->alarmed)
		add(todo, LY_DST_DO_ALARM)->text =
		    "the VM is ours, but QEMU does not start it";
	d->alarmed = true;
	d->poll_ms = d->now_ms + RESUME_AGAIN_MS; /* the tick tries again */
}

/* ---- the source, the home, the manager ---- */

static void
on_stream(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	go(d, LY_DST_COPY);
	poll(d, todo);
}

static void
on_fin(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	if (!ev->ok && ev->forged)
		add(todo, LY_DST_DO_ALARM)->text = ev->text;
	if (!ev->ok) {
		give_up(d, todo, ev->rc ? ev->rc : LY_MALFORMED, ev->text);
		return;
	}
	d->whole = true;
	go(d, LY_DST_LOADING);
	claim(d, todo);
	if (d->state == LY_DST_LOADING)
		poll(d, todo);
}

/* While listening too: some connections of a stream have come, and one was lost
 * before all had. Their keys are used up. */
static void
lost_copying(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	give_up(d, todo, LY_OUTSIDE, ev->text);
}

static void
hook(struct ly_dest_core *d, struct ly_dest_todos *todo)
{
	d->hooking = true;
	add(todo, LY_DST_DO_HOOK);
}

static void
on_granted(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	if (ev->rc) {
		give_up(d, todo, ev->rc,
		    ev->text ? ev->text : "the home refuses the claim");
		return;
	}
	go(d, LY_DST_TAKING);
	hook(d, todo);
}

/* D5. There is no way back: the VM is ours. */
static void
on_hooked(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	if (!d->hooking)
		return;
	d->hooking = false;
	if (ev->ok) {
		d->alarmed = false;
		go(d, LY_DST_RESUMING);
		add(todo, LY_DST_DO_CONT);
		return;
	}
	if (!d->hook_wait_ms)
		add(todo, LY_DST_DO_ALARM)->text =
		    "on-claim fails: the VM is ours, and stays paused";
	d->hook_wait_ms = ly_min(ly_max(d->hook_wait_ms * 2, HOOK_FIRST_MS),
	    HOOK_MOST_MS);
	d->poll_ms = d->now_ms + d->hook_wait_ms;
}

/* D6: as a refusal of the claim, which this lease has become. */
static void
on_fenced(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	add(todo, LY_DST_DO_STOP);
	give_up(d, todo, LY_FENCED, "another host was given the lease");
}

static void
on_drop(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	give_up(d, todo, LY_REFUSED, "dropped by the manager");
}

/* ---- time ---- */

static void
tick_opening(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	if (spent(d) >= LY_DEST_OPEN_MS)
		give_up(d, todo, LY_OUTSIDE, "QEMU does not listen");
}

static void
tick_listening(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	if (spent(d) >= LY_DEST_LISTEN_MS)
		give_up(d, todo, LY_OUTSIDE, "the source sends no stream");
}

/* The connection has limits of its own for a source that sends nothing. */
static void
tick_copy(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	if (!d->polling && d->now_ms >= d->poll_ms)
		poll(d, todo);
}

static void
tick_loading(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	if (spent(d) >= LY_DEST_LOAD_MS)
		give_up(d, todo, LY_OUTSIDE, "QEMU does not finish loading");
	else
		tick_copy(d, ev, todo);
}

static void
tick_claiming(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	if (d->alarmed || spent(d) < LY_DEST_CLAIM_MS)
		return;
	d->alarmed = true;
	add(todo, LY_DST_DO_ALARM)->text =
	    "the VM stays paused: its home does not answer the claim";
}

static void
tick_taking(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	if (!d->hooking && d->now_ms >= d->poll_ms)
		hook(d, todo);
}

static void
tick_resuming(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)ev;
	if (d->alarmed && d->now_ms >= d->poll_ms) {
		d->poll_ms = UINT64_MAX; /* until it is answered */
		add(todo, LY_DST_DO_CONT);
	}
}

static void
nothing(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	(void)d;
	(void)ev;
	(void)todo;
}

/* `nothing`: too late to matter, cannot be, or told again what we know. */
static handler *const table[LY_DST_STATES][LY_DST_KINDS] = {
	[LY_DST_OPENING] = {
		[LY_DST_SET] = on_set,		[LY_DST_STREAM] = nothing,
		[LY_DST_FIN] = nothing,		[LY_DST_STATUS] = on_status,
		[LY_DST_HINT] = nothing,	[LY_DST_GRANTED] = nothing,
		[LY_DST_RESUMED] = nothing,	[LY_DST_LOST] = nothing,
		[LY_DST_BROKEN] = nothing,	[LY_DST_GONE] = gone_early,
		[LY_DST_DROP] = on_drop,	[LY_DST_TICK] = tick_opening,
		[LY_DST_HOOKED] = nothing,	[LY_DST_FENCED] = nothing,
	},
	[LY_DST_LISTENING] = {
		[LY_DST_SET] = nothing,		[LY_DST_STREAM] = on_stream,
		[LY_DST_FIN] = nothing,		[LY_DST_STATUS] = on_status,
		[LY_DST_HINT] = nothing,	[LY_DST_GRANTED] = nothing,
		[LY_DST_RESUMED] = nothing,	[LY_DST_LOST] = lost_copying,
		[LY_DST_BROKEN] = nothing,	[LY_DST_GONE] = gone_early,
		[LY_DST_DROP] = on_drop,	[LY_DST_TICK] = tick_listening,
		[LY_DST_HOOKED] = nothing,	[LY_DST_FENCED] = nothing,
	},
	[LY_DST_COPY] = {
		[LY_DST_SET] = nothing,		[LY_DST_STREAM] = nothing,
		[LY_DST_FIN] = on_fin,		[LY_DST_STATUS] = on_status,
		[LY_DST_HINT] = on_hint,	[LY_DST_GRANTED] = nothing,
		[LY_DST_RESUMED] = nothing,	[LY_DST_LOST] = lost_copying,
		[LY_DST_BROKEN] = on_broken,	[LY_DST_GONE] = gone_early,
		[LY_DST_DROP] = on_drop,	[LY_DST_TICK] = tick_copy,
		[LY_DST_HOOKED] = nothing,	[LY_DST_FENCED] = nothing,
	},
	[LY_DST_LOADING] = { /* whole: LOST does not matter any more */
		[LY_DST_SET] = nothing,		[LY_DST_STREAM] = nothing,
		[LY_DST_FIN] = nothing,		[LY_DST_STATUS] = on_status,
		[LY_DST_HINT] = on_hint,	[LY_DST_GRANTED] = nothing,
		[LY_DST_RESUMED] = nothing,	[LY_DST_LOST] = nothing,
		[LY_DST_BROKEN] = on_broken,	[LY_DST_GONE] = gone_early,
		[LY_DST_DROP] = on_drop,	[LY_DST_TICK] = tick_loading,
		[LY_DST_HOOKED] = nothing,	[LY_DST_FENCED] = nothing,
	},
	[LY_DST_CLAIMING] = { /* D3 */
		[LY_DST_SET] = nothing,		[LY_DST_STREAM] = nothing,
		[LY_DST_FIN] = nothing,		[LY_DST_STATUS] = on_status,
		[LY_DST_HINT] = nothing,	[LY_DST_GRANTED] = on_granted,
		[LY_DST_RESUMED] = nothing,	[LY_DST_LOST] = nothing,
		[LY_DST_BROKEN] = nothing,	[LY_DST_GONE] = gone_late,
		[LY_DST_DROP] = on_drop,	[LY_DST_TICK] = tick_claiming,
		[LY_DST_HOOKED] = nothing,	[LY_DST_FENCED] = on_fenced,
	},
	[LY_DST_TAKING] = { /* granted: there is no way back */
		[LY_DST_SET] = nothing,		[LY_DST_STREAM] = nothing,
		[LY_DST_FIN] = nothing,		[LY_DST_STATUS] = on_status,
		[LY_DST_HINT] = nothing,	[LY_DST_GRANTED] = nothing,
		[LY_DST_RESUMED] = nothing,	[LY_DST_LOST] = nothing,
		[LY_DST_BROKEN] = nothing,	[LY_DST_GONE] = gone_late,
		[LY_DST_DROP] = nothing,	[LY_DST_TICK] = tick_taking,
		[LY_DST_HOOKED] = on_hooked,	[LY_DST_FENCED] = on_fenced,
	},
	[LY_DST_RESUMING] = {
		[LY_DST_SET] = nothing,		[LY_DST_STREAM] = nothing,
		[LY_DST_FIN] = nothing,		[LY_DST_STATUS] = on_status,
		[LY_DST_HINT] = nothing,	[LY_DST_GRANTED] = nothing,
		[LY_DST_RESUMED] = on_resumed,	[LY_DST_LOST] = nothing,
		[LY_DST_BROKEN] = nothing,	[LY_DST_GONE] = gone_late,
		[LY_DST_DROP] = nothing,	[LY_DST_TICK] = tick_resuming,
		[LY_DST_HOOKED] = nothing,	[LY_DST_FENCED] = on_fenced,
	},
	[LY_DST_QUITTING] = {
		[LY_DST_SET] = nothing,		[LY_DST_STREAM] = nothing,
		[LY_DST_FIN] = nothing,		[LY_DST_STATUS] = on_status,
		[LY_DST_HINT] = nothing,	[LY_DST_GRANTED] = nothing,
		[LY_DST_RESUMED] = nothing,	[LY_DST_LOST] = nothing,
		[LY_DST_BROKEN] = nothing,	[LY_DST_GONE] = gone_quitting,
		[LY_DST_DROP] = nothing,	[LY_DST_TICK] = nothing,
		[LY_DST_HOOKED] = nothing,	[LY_DST_FENCED] = nothing,
	},
	[LY_DST_OVER] = {
		[LY_DST_SET] = nothing,		[LY_DST_STREAM] = nothing,
		[LY_DST_FIN] = nothing,		[LY_DST_STATUS] = nothing,
		[LY_DST_HINT] = nothing,	[LY_DST_GRANTED] = nothing,
		[LY_DST_RESUMED] = nothing,	[LY_DST_LOST] = nothing,
		[LY_DST_BROKEN] = nothing,	[LY_DST_GONE] = nothing,
		[LY_DST_DROP] = nothing,	[LY_DST_TICK] = nothing,
		[LY_DST_HOOKED] = nothing,	[LY_DST_FENCED] = nothing,
	},
};

void
ly_dest_init(struct ly_dest_core *d, uint64_t now_ms,
    struct ly_dest_todos *todo)
{
	*d = (struct ly_dest_core){ .now_ms = now_ms, .since_ms = now_ms };
	add(todo, LY_DST_DO_SETUP);
}

void
ly_dest_woken(struct ly_dest_core *d, bool granted, uint64_t now_ms,
    struct ly_dest_todos *todo)
{
	*d = (struct ly_dest_core){ .now_ms = now_ms,
		.since_ms = now_ms,
		.whole = true,
		.completed = true,
		.claimed = true };
	go(d, granted ? LY_DST_TAKING : LY_DST_CLAIMING);
	if (granted) /* perhaps once more: D5 */
		hook(d, todo);
}

void
ly_dest_step(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo)
{
	if (ev->now_ms > d->now_ms)
		d->now_ms = ev->now_ms;
	table[d->state][ev->kind](d, ev, todo);
	assert(!d->claimed || (d->whole && d->completed));
}
