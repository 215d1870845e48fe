/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream/source.h"

#define POLL_MS 100	 /* while much remains */
#define POLL_SOON_MS 10	 /* near the end, and while the guest is stopped */
#define RATE_MS 50	 /* the shortest time a rate is taken over */
#define ASK_FIRST_MS 100 /* between two ASKs, doubled up to */
#define ASK_MOST_MS 2000
#define RESUME_AGAIN_MS 500

typedef void handler(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo);

const char *
ly_source_state_name(unsigned state)
{
	static const char *const names[] = {
		[LY_SRC_DIAL] = "dial",
		[LY_SRC_SETUP] = "setup",
		[LY_SRC_COPY] = "copy",
		[LY_SRC_STOPPING] = "stopping",
		[LY_SRC_FINISH] = "finish",
		[LY_SRC_WAIT] = "wait",
		[LY_SRC_ASK] = "ask",
		[LY_SRC_UNDO] = "undo",
		[LY_SRC_RESUME] = "resume",
		[LY_SRC_QUIT] = "quit",
		[LY_SRC_OVER] = "over",
	};

	return state < LY_COUNT(names) ? names[state] : "?";
}

static struct ly_source_todo *
add(struct ly_source_todos *todo, enum ly_source_act act)
{
	assert(todo->n < LY_SOURCE_TODO_MAX);
	todo->act[todo->n] = (struct ly_source_todo){ .act = act };
	return &todo->act[todo->n++];
}

static void
go(struct ly_source_core *s, enum ly_source_state state)
{
	s->state = state;
	s->since_ms = s->now_ms;
}

static uint64_t
spent(const struct ly_source_core *s)
{
	return s->now_ms - s->since_ms;
}

static void
poll(struct ly_source_core *s, struct ly_source_todos *todo)
{
	s->again = s->polling;
	if (s->polling)
		return;
	s->polling = true;
	add(todo, LY_SRC_DO_POLL);
}

/* ---- how it ends ---- */

/* The first reason is the one the operator needs. */
static void
blame(struct ly_source_core *s, enum ly_rc rc, const char *text)
{
	if (s->rc)
		return;
	s->rc = rc;
	ly_copy(s->why, sizeof(s->why), text ? text : ly_rc_name(rc));
}

static void
over(struct ly_source_core *s, struct ly_source_todos *todo,
    enum ly_source_end end)
{
	s->phase = LY_PHASE_OVER;
	go(s, LY_SRC_OVER);
	add(todo, LY_SRC_DO_HANGUP);
	add(todo, LY_SRC_DO_OVER)->end = end;
}

/* What the home says binds both sides, so it is asked until it answers. */
static void
ask(struct ly_source_core *s, struct ly_source_todos *todo)
{
	if (s->asking)
		return; /* the tick asks again when it is answered */
	s->asking = true;
	add(todo, LY_SRC_DO_ASK)->flag = s->abort;
}

static void
go_ask(struct ly_source_core *s, struct ly_source_todos *todo, bool abort)
{
	s->phase = LY_PHASE_COMMIT;
	s->abort = abort;
	s->ask_ms = s->now_ms;
	s->ask_wait_ms = ASK_FIRST_MS;
	if (s->state != LY_SRC_ASK)
		go(s, LY_SRC_ASK);
	ask(s, todo);
}

/* The guest stays. QEMU is told to give up what it may still be doing, and is
 * watched until it has. */
static void
undo(struct ly_source_core *s, struct ly_source_todos *todo)
{
	add(todo, LY_SRC_DO_HANGUP);
	if (s->gone) {
		over(s, todo, LY_SOURCE_DEAD);
		return;
	}
	go(s, LY_SRC_UNDO);
	add(todo, LY_SRC_DO_CANCEL);
	poll(s, todo);
}

/* S2: the line between the two kinds of failure is the asking of RELEASE. */
static void
fail(struct ly_source_core *s, struct ly_source_todos *todo, enum ly_rc rc,
    const char *text)
{
	blame(s, rc, text);
	if (s->asked_release)
		go_ask(s, todo, true);
	else
		undo(s, todo);
}

/* ---- the copy ---- */

static void
measure(struct ly_source_core *s, const struct ly_mig_numbers *n)
{
	uint64_t ms = s->now_ms - s->rated_ms;

	if (n->bytes != s->numbers.bytes)
		s->moved_ms = s->now_ms;
	s->numbers = *n;
	if (n->bytes < s->rated_bytes || s->rated_ms == 0) {
		s->rated_bytes = n->bytes;
		s->rated_ms = s->now_ms;
	} else if (ms >= RATE_MS) {
		uint64_t rate = (n->bytes - s->rated_bytes) * 1000 / ms;

		s->rate = s->rate ? (s->rate + rate) / 2 : rate;
		s->rated_bytes = n->bytes;
		s->rated_ms = s->now_ms;
	}
}

/* How long it would take to move what remains. */
static uint64_t
drain_ms(const struct ly_source_core *s)
{
	if (s->numbers.remaining == 0)
		return 0;
	if (s->rate == 0 || s->numbers.remaining > UINT64_MAX / 1000)
		return UINT64_MAX;
	return s->numbers.remaining * 1000 / s->rate;
}

enum verdict { GO_ON, STOP_GUEST, GIVE_UP };

/* During the first pass nobody knows what the guest has dirtied since; what
 * remains then means nothing. */
static enum verdict
judge(struct ly_source_core *s)
{
	const struct ly_mig_numbers *n = &s->numbers;

	if (n->passes < 2)
		return GO_ON;
	if (drain_ms(s) <= s->downtime_ms)
		return STOP_GUEST;
	if (n->passes != s->pass) {
		s->pass = n->passes;
		s->stagnant = n->dirty_rate >= s->rate / 10 * 9 ?
		    s->stagnant + 1 :
		    0;
	}
	if (s->stagnant < LY_SOURCE_STAGNANT && n->passes < LY_SOURCE_PASSES)
		return GO_ON;
	return drain_ms(s) / LY_SOURCE_OVERRUN <= s->downtime_ms ? STOP_GUEST :
								   GIVE_UP;
}

static void
next_poll(struct ly_source_core *s)
{
	uint64_t wait = drain_ms(s) / 2;

	wait = wait > POLL_MS ? POLL_MS : ly_max(wait, POLL_SOON_MS);
	s->poll_ms = s->now_ms + wait;
}

/* The race with QEMU is lost: it has stopped the guest by itself, and would
 * start it again if its switch failed. So RELEASE waits for "completed". */
static void
lose_race(struct ly_source_core *s, struct ly_source_todos *todo)
{
	s->phase = LY_PHASE_GATE;
	go(s, LY_SRC_FINISH);
	add(todo, LY_SRC_DO_STOPPED);
	s->poll_ms = s->now_ms + POLL_SOON_MS;
}

static void
stop(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (ev->idle) {
		s->asked_stop = true;
		s->phase = LY_PHASE_GATE;
		go(s, LY_SRC_STOPPING);
		add(todo, LY_SRC_DO_STOP);
	} else if (s->fits_ms == 0) {
		s->fits_ms = s->now_ms;
	} else if (s->now_ms - s->fits_ms >= LY_SOURCE_POSTPONE_MS) {
		fail(s, todo, LY_BUSY,
		    "a TPM command of the guest does not end");
	}
}

static void
release(struct ly_source_core *s, struct ly_source_todos *todo)
{
	assert(s->won || s->completed); /* S1 */
	if (s->asked_release)
		return;
	s->asked_release = true;
	add(todo, LY_SRC_DO_RELEASE);
}

static void
finish(struct ly_source_core *s, struct ly_source_todos *todo)
{
	if (!s->completed || !s->ended || !s->released) /* S3 */
		return;
	s->phase = LY_PHASE_COMMIT;
	go(s, LY_SRC_WAIT);
	add(todo, LY_SRC_DO_FIN);
}

static void
complete(struct ly_source_core *s, struct ly_source_todos *todo)
{
	s->completed = true;
	release(s, todo);
	finish(s, todo);
}

/* ---- handlers: QEMU ---- */

static void
on_open(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	go(s, LY_SRC_SETUP);
	s->migrating = true;
	add(todo, LY_SRC_DO_SETUP);
}

static void
on_set(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (!ev->ok) {
		fail(s, todo, LY_OUTSIDE, ev->text);
		return;
	}
	s->phase = LY_PHASE_COPY;
	s->moved_ms = s->now_ms;
	go(s, LY_SRC_COPY);
	poll(s, todo);
}

static void
copy_judged(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	measure(s, &ev->numbers);
	next_poll(s);
	add(todo, LY_SRC_DO_PROGRESS);
	switch (judge(s)) {
	case GO_ON:
		s->fits_ms = 0;
		break;
	case STOP_GUEST:
		stop(s, ev, todo);
		break;
	case GIVE_UP:
		fail(s, todo, LY_FULL,
		    "the guest dirties its memory faster than it can be sent");
		break;
	}
}

/* S4. Quiet twice, with the monitor's round trip between: what QEMU's thread
 * had taken of an answer is in guest memory by then. */
static void
held(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (s->continued)
		return;
	s->quiet = ev->quiet ? s->quiet + 1 : 0;
	if (s->quiet >= 2) {
		s->continued = true;
		add(todo, LY_SRC_DO_CONTINUE);
	} else if (spent(s) >= LY_SOURCE_POSTPONE_MS) {
		fail(s, todo, LY_BUSY,
		    "a TPM command of the guest does not end");
		return;
	}
	poll(s, todo);
}

static void
status_copy(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	switch (ev->status) {
	case LY_MIG_BUSY:
		copy_judged(s, ev, todo);
		break;
	case LY_MIG_HELD:
		lose_race(s, todo);
		held(s, ev, todo);
		break;
	case LY_MIG_SWITCHING:
		lose_race(s, todo);
		break;
	case LY_MIG_COMPLETED:
		measure(s, &ev->numbers);
		lose_race(s, todo);
		complete(s, todo);
		break;
	case LY_MIG_NONE:
	case LY_MIG_FAILED:
	case LY_MIG_CANCELLED:
		fail(s, todo, LY_OUTSIDE, ev->text);
		break;
	case LY_MIG_UNHEARD:
	case LY_MIGS:
		break;
	}
}

static void
status_finish(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	s->poll_ms = s->now_ms + POLL_SOON_MS;
	switch (ev->status) {
	case LY_MIG_COMPLETED:
		measure(s, &ev->numbers);
		add(todo, LY_SRC_DO_PROGRESS);
		complete(s, todo);
		break;
	case LY_MIG_NONE:
	case LY_MIG_FAILED:
	case LY_MIG_CANCELLED:
		fail(s, todo, LY_OUTSIDE, ev->text);
		break;
	case LY_MIG_HELD:
		held(s, ev, todo);
		break;
	case LY_MIG_BUSY:
	case LY_MIG_SWITCHING:
	case LY_MIG_UNHEARD:
	case LY_MIGS:
		break;
	}
}

static void
resume(struct ly_source_core *s, struct ly_source_todos *todo)
{
	go(s, LY_SRC_RESUME);
	add(todo, LY_SRC_DO_CONT)->flag = s->asked_stop;
}

static void
status_undo(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	s->poll_ms = s->now_ms + POLL_SOON_MS;
	if (ev->status == LY_MIG_NONE || ev->status >= LY_MIG_COMPLETED)
		resume(s, todo);
}

/* Every STATUS comes through here, whatever the state. */
static void
on_status(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	bool again = s->again;

	s->polling = s->again = false;
	s->poll_ms = s->now_ms + POLL_MS;
	if (s->state == LY_SRC_COPY)
		status_copy(s, ev, todo);
	else if (s->state == LY_SRC_FINISH && !s->completed)
		status_finish(s, ev, todo);
	else if (s->state == LY_SRC_UNDO)
		status_undo(s, ev, todo);
	if (again)
		s->poll_ms = s->now_ms;
}

static void
on_hint(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	poll(s, todo);
}

static void
on_stopped(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (!ev->ok) {
		fail(s, todo, LY_OUTSIDE, ev->text);
		return;
	}
	if (!ev->won) {
		lose_race(s, todo);
		poll(s, todo);
		return;
	}
	s->won = true;
	go(s, LY_SRC_FINISH);
	add(todo, LY_SRC_DO_STOPPED)->flag = true;
	add(todo, LY_SRC_DO_LIFT);
	release(s, todo);
	poll(s, todo);
}

static void
on_end(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	s->ended = true;
	if (s->state == LY_SRC_FINISH)
		finish(s, todo);
	if (s->state == LY_SRC_FINISH || s->state == LY_SRC_COPY)
		poll(s, todo);
}

static void
on_resumed(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (ev->ok) {
		over(s, todo, LY_SOURCE_STAYED);
		return;
	}
	if (!s->alarmed)
		add(todo, LY_SRC_DO_ALARM)->text =
		    "the guest should run on here, but QEMU does not start it";
	s->alarmed = true;
	s->poll_ms = s->now_ms + RESUME_AGAIN_MS; /* the tick tries again */
}

/* ---- handlers: the destination, the home, the manager ---- */

static void
on_released(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (!s->asked_release || s->released)
		return;
	if (ev->rc) {
		fail(s, todo, ev->rc,
		    ev->text ? ev->text : "the home does not let the VM go");
		return;
	}
	s->released = true;
	finish(s, todo);
}

/* Before FIN the destination can only refuse. */
static void
ready_early(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	fail(s, todo, ev->rc ? ev->rc : LY_MALFORMED,
	    ev->rc ? "the destination refuses the VM" :
		     "the destination says it runs what it does not have");
}

static void
on_ready(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (ev->rc)
		blame(s, ev->rc, "the destination refuses the VM");
	s->ready = s->ready || !ev->rc;
	go_ask(s, todo, ev->rc != LY_OK);
}

/* Whatever was whole when its connection died may be claimed: the destination
 * gets its chance first. */
static void
lost_waiting(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	go_ask(s, todo, false);
}

static void
on_lost(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	fail(s, todo, LY_OUTSIDE, ev->text);
}

static void
lost_dialling(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	blame(s, LY_OUTSIDE, ev->text);
	over(s, todo, LY_SOURCE_STAYED);
}

static void
on_calloff(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	fail(s, todo, LY_REFUSED, "called off");
}

static void
calloff_dialling(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	blame(s, LY_REFUSED, "called off");
	over(s, todo, LY_SOURCE_STAYED);
}

static void
calloff_waiting(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	blame(s, LY_REFUSED, "called off");
	go_ask(s, todo, true);
}

static void
on_gone(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	s->gone = true;
	fail(s, todo, LY_OUTSIDE, ev->text);
}

/* FIN is sent, so the destination does not need our QEMU any more. */
static void
gone_waiting(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	(void)todo;
	s->gone = true;
}

static void
gone_undoing(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	s->gone = true;
	blame(s, LY_OUTSIDE, ev->text);
	over(s, todo, LY_SOURCE_DEAD);
}

static void
gone_quitting(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	over(s, todo, LY_SOURCE_MOVED);
}

static void
claimed(struct ly_source_core *s, struct ly_source_todos *todo)
{
	s->rc = LY_OK;
	s->why[0] = '\0';
	if (s->gone) {
		over(s, todo, LY_SOURCE_MOVED);
		return;
	}
	go(s, LY_SRC_QUIT);
	add(todo, LY_SRC_DO_QUIT);
}

static void
aborted(struct ly_source_core *s, struct ly_source_todos *todo)
{
	if (s->ready)
		add(todo, LY_SRC_DO_ALARM)->text =
		    "the destination says that "
		    "the VM runs there, but its home says it does not";
	blame(s, LY_REFUSED, "the home has recorded that it was called off");
	undo(s, todo);
}

static void
on_fate(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	s->asking = false;
	if (ev->rc == LY_OK && ev->fate == LY_FATE_CLAIMED) {
		claimed(s, todo);
	} else if (ev->rc == LY_OK && ev->fate == LY_FATE_ABORTED) {
		aborted(s, todo);
	} else {
		s->ask_ms = s->now_ms + s->ask_wait_ms;
		s->ask_wait_ms = s->ask_wait_ms * 2 > ASK_MOST_MS ?
		    ASK_MOST_MS :
		    s->ask_wait_ms * 2;
	}
}

/* ---- handlers: time ---- */

static void
tick_poll(struct ly_source_core *s, struct ly_source_todos *todo)
{
	if (!s->polling && s->now_ms >= s->poll_ms)
		poll(s, todo);
}

static void
tick_dial(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (spent(s) < LY_SOURCE_DIAL_MS)
		return;
	blame(s, LY_OUTSIDE, "the destination does not answer");
	over(s, todo, LY_SOURCE_STAYED);
}

static void
tick_setup(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (spent(s) >= LY_SOURCE_SETUP_MS)
		fail(s, todo, LY_OUTSIDE, "QEMU does not begin to migrate");
}

static void
tick_copy(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (s->now_ms - s->moved_ms >= LY_SOURCE_STALL_MS)
		fail(s, todo, LY_OUTSIDE, "the stream does not move");
	else
		tick_poll(s, todo);
}

static void
tick_stopping(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (spent(s) >= LY_SOURCE_SETUP_MS)
		fail(s, todo, LY_OUTSIDE, "QEMU does not stop the guest");
}

static void
tick_finish(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (spent(s) >= LY_SOURCE_FINISH_MS)
		fail(s, todo, LY_OUTSIDE,
		    s->completed ? "the home has not recorded the release" :
				   "QEMU does not finish");
	else if (!s->completed)
		tick_poll(s, todo);
}

static void
tick_wait(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (spent(s) >= LY_SOURCE_WAIT_MS)
		go_ask(s, todo, false);
}

static void
tick_ask(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (!s->ready && !s->abort && spent(s) >= LY_SOURCE_GRACE_MS) {
		blame(s, LY_OUTSIDE, "the destination has not taken the VM");
		s->abort = true;
	}
	if (!s->alarmed && spent(s) >= LY_SOURCE_ALARM_MS) {
		s->alarmed = true;
		add(todo, LY_SRC_DO_ALARM)->text =
		    "the VM stays paused: its "
		    "home cannot be asked what became of the migration";
	}
	if (!s->asking && s->now_ms >= s->ask_ms)
		ask(s, todo);
}

static void
tick_undo(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (spent(s) >= LY_SOURCE_UNDO_MS)
		resume(s, todo);
	else
		tick_poll(s, todo);
}

static void
tick_resume(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (s->alarmed && s->now_ms >= s->poll_ms) {
		s->poll_ms = UINT64_MAX; /* until it is answered */
		add(todo, LY_SRC_DO_CONT)->flag = s->asked_stop;
	}
}

static void
nothing(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)s;
	(void)ev;
	(void)todo;
}

/*
 * `nothing` means: too late to matter (an answer to what we no longer want),
 * or told again what we know. A STOPPED after its STOPPING was undone is one:
 * the monitor answers in order, so the cont that undoes it comes after.
 */
#define TOO_LATE nothing

static handler *const table[LY_SRC_STATES][LY_SRC_KINDS] = {
	[LY_SRC_DIAL] = {
		[LY_SRC_OPEN] = on_open,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = nothing,
		[LY_SRC_READY] = lost_dialling,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = lost_dialling,	[LY_SRC_GONE] = gone_undoing,
		[LY_SRC_CALLOFF] = calloff_dialling,
		[LY_SRC_TICK] = tick_dial,
	},
	[LY_SRC_SETUP] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = on_set,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = on_end,
		[LY_SRC_RELEASED] = nothing,	[LY_SRC_READY] = ready_early,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = on_lost,	[LY_SRC_GONE] = on_gone,
		[LY_SRC_CALLOFF] = on_calloff,	[LY_SRC_TICK] = tick_setup,
	},
	[LY_SRC_COPY] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = on_hint,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = on_end,
		[LY_SRC_RELEASED] = nothing,	[LY_SRC_READY] = ready_early,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = on_lost,	[LY_SRC_GONE] = on_gone,
		[LY_SRC_CALLOFF] = on_calloff,	[LY_SRC_TICK] = tick_copy,
	},
	[LY_SRC_STOPPING] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = on_stopped,	[LY_SRC_END] = on_end,
		[LY_SRC_RELEASED] = nothing,	[LY_SRC_READY] = ready_early,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = on_lost,	[LY_SRC_GONE] = on_gone,
		[LY_SRC_CALLOFF] = on_calloff,
		[LY_SRC_TICK] = tick_stopping,
	},
	[LY_SRC_FINISH] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = on_hint,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = on_end,
		[LY_SRC_RELEASED] = on_released, [LY_SRC_READY] = ready_early,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = on_lost,	[LY_SRC_GONE] = on_gone,
		[LY_SRC_CALLOFF] = on_calloff,	[LY_SRC_TICK] = tick_finish,
	},
	[LY_SRC_WAIT] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = nothing,	[LY_SRC_READY] = on_ready,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = lost_waiting,	[LY_SRC_GONE] = gone_waiting,
		[LY_SRC_CALLOFF] = calloff_waiting,
		[LY_SRC_TICK] = tick_wait,
	},
	[LY_SRC_ASK] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = on_ready,
		[LY_SRC_FATE] = on_fate,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = nothing,	[LY_SRC_GONE] = gone_waiting,
		[LY_SRC_CALLOFF] = calloff_waiting,
		[LY_SRC_TICK] = tick_ask,
	},
	[LY_SRC_UNDO] = {
		[LY_SRC_OPEN] = TOO_LATE,	[LY_SRC_SET] = TOO_LATE,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = on_hint,
		[LY_SRC_STOPPED] = TOO_LATE,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = TOO_LATE,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = nothing,	[LY_SRC_GONE] = gone_undoing,
		[LY_SRC_CALLOFF] = nothing,	[LY_SRC_TICK] = tick_undo,
	},
	[LY_SRC_RESUME] = {
		[LY_SRC_OPEN] = TOO_LATE,	[LY_SRC_SET] = TOO_LATE,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = TOO_LATE,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = TOO_LATE,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = on_resumed,
		[LY_SRC_LOST] = nothing,	[LY_SRC_GONE] = gone_undoing,
		[LY_SRC_CALLOFF] = nothing,	[LY_SRC_TICK] = tick_resume,
	},
	[LY_SRC_QUIT] = {
		[LY_SRC_OPEN] = TOO_LATE,	[LY_SRC_SET] = TOO_LATE,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = TOO_LATE,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = TOO_LATE,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = nothing,	[LY_SRC_GONE] = gone_quitting,
		[LY_SRC_CALLOFF] = TOO_LATE,	[LY_SRC_TICK] = nothing,
	},
	[LY_SRC_OVER] = {
		[LY_SRC_OPEN] = TOO_LATE,	[LY_SRC_SET] = TOO_LATE,
		[LY_SRC_STATUS] = TOO_LATE,	[LY_SRC_HINT] = TOO_LATE,
		[LY_SRC_STOPPED] = TOO_LATE,	[LY_SRC_END] = TOO_LATE,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = TOO_LATE,
		[LY_SRC_FATE] = TOO_LATE,	[LY_SRC_RESUMED] = TOO_LATE,
		[LY_SRC_LOST] = TOO_LATE,	[LY_SRC_GONE] = TOO_LATE,
		[LY_SRC_CALLOFF] = TOO_LATE,	[LY_SRC_TICK] = TOO_LATE,
	},
};

void
ly_source_init(struct ly_source_core *s, uint32_t downtime_ms, uint64_t now_ms)
{
	*s = (struct ly_source_core){
		.state = LY_SRC_DIAL,
		.phase = LY_PHASE_COPY,
		.downtime_ms = downtime_ms ? downtime_ms :
					     LY_SOURCE_DOWNTIME_MS,
		.now_ms = now_ms,
		.since_ms = now_ms,
	};
}

void
ly_source_step(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (ev->now_ms > s->now_ms)
		s->now_ms = ev->now_ms;
	table[s->state][ev->kind](s, ev, todo);
	assert(!s->released || s->asked_release);
	assert(!s->asked_release || s->won || s->completed);
}
