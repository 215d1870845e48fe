/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream/source_in.h"

#define ASK_MOST_MS 2000   /* between two ASKs */
#define HOOK_FIRST_MS 1000 /* between two on-aborts, doubled up to */
#define HOOK_MOST_MS 30000
#define RESUME_AGAIN_MS 500

typedef void handler(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo);

/* ---- the copy ---- */

static void
stop(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (ev->idle) {
		s->asked_stop = true;
		s->phase = LY_PHASE_GATE;
		ly_source_go(s, LY_SRC_STOPPING);
		ly_source_add(todo, LY_SRC_DO_STOP);
	} else if (s->fits_ms == 0) {
		s->fits_ms = s->now_ms;
	} else if (s->now_ms - s->fits_ms >= LY_SOURCE_POSTPONE_MS) {
		ly_source_fail(s, todo, LY_BUSY,
		    "a TPM command of the guest does not end");
	}
}

/* ---- handlers: QEMU ---- */

static void
on_open(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	ly_source_go(s, LY_SRC_SETUP);
	s->migrating = true;
	ly_source_add(todo, LY_SRC_DO_SETUP);
}

static void
on_set(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (!ev->ok) {
		ly_source_fail(s, todo, LY_OUTSIDE, ev->text);
		return;
	}
	s->phase = LY_PHASE_COPY;
	s->moved_ms = s->now_ms;
	ly_source_go(s, LY_SRC_COPY);
	ly_source_poll(s, todo);
}

static void
copy_judged(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	ly_source_measure(s, &ev->numbers);
	s->poll_ms = s->now_ms + ly_source_poll_wait(s);
	ly_source_add(todo, LY_SRC_DO_PROGRESS);
	switch (ly_source_judge(s)) {
	case LY_SRC_GO_ON:
		s->fits_ms = 0;
		break;
	case LY_SRC_STOP_GUEST:
		stop(s, ev, todo);
		break;
	case LY_SRC_GIVE_UP:
		ly_source_fail(s, todo, LY_FULL,
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
		ly_source_add(todo, LY_SRC_DO_CONTINUE);
	} else if (ly_source_spent(s) >= LY_SOURCE_POSTPONE_MS) {
		ly_source_fail(s, todo, LY_BUSY,
		    "a TPM command of the guest does not end");
		return;
	}
	ly_source_poll(s, todo);
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
		ly_source_lose_race(s, todo);
		held(s, ev, todo);
		break;
	case LY_MIG_SWITCHING:
		ly_source_lose_race(s, todo);
		break;
	case LY_MIG_COMPLETED:
		ly_source_measure(s, &ev->numbers);
		ly_source_lose_race(s, todo);
		ly_source_complete(s, todo);
		break;
	case LY_MIG_NONE:
	case LY_MIG_FAILED:
	case LY_MIG_CANCELLED:
		ly_source_fail(s, todo, LY_OUTSIDE, ev->text);
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
	s->poll_ms = s->now_ms + LY_SOURCE_SOON_MS;
	switch (ev->status) {
	case LY_MIG_COMPLETED:
		ly_source_measure(s, &ev->numbers);
		ly_source_add(todo, LY_SRC_DO_PROGRESS);
		ly_source_complete(s, todo);
		break;
	case LY_MIG_NONE:
	case LY_MIG_FAILED:
	case LY_MIG_CANCELLED:
		ly_source_fail(s, todo, LY_OUTSIDE, ev->text);
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
status_undo(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	s->poll_ms = s->now_ms + LY_SOURCE_SOON_MS;
	if (ev->status == LY_MIG_NONE || ev->status >= LY_MIG_COMPLETED)
		ly_source_resume(s, todo);
}

static bool
finishes(const struct ly_source_core *s)
{
	return s->state == LY_SRC_FINISH || s->state == LY_SRC_LETGO;
}

/* Every STATUS comes through here, whatever the state. */
static void
on_status(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	bool again = s->again;

	s->polling = s->again = false;
	s->poll_ms = s->now_ms + LY_SOURCE_POLL_MS;
	if (s->state == LY_SRC_COPY)
		status_copy(s, ev, todo);
	else if (finishes(s) && !s->completed)
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
	ly_source_poll(s, todo);
}

static void
on_stopped(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (!ev->ok) {
		ly_source_fail(s, todo, LY_OUTSIDE, ev->text);
		return;
	}
	if (!ev->won) {
		ly_source_lose_race(s, todo);
		ly_source_poll(s, todo);
		return;
	}
	s->won = true;
	ly_source_add(todo, LY_SRC_DO_STOPPED)->flag = true;
	ly_source_add(todo, LY_SRC_DO_LIFT);
	ly_source_let_go(s, todo);
	ly_source_poll(s, todo);
}

static void
on_end(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	s->ended = true;
	if (finishes(s))
		ly_source_finish(s, todo);
	if (finishes(s) || s->state == LY_SRC_COPY)
		ly_source_poll(s, todo);
}

static void
on_resumed(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (ev->ok) {
		ly_source_over(s, todo, LY_SOURCE_STAYED);
		return;
	}
	if (!s->alarmed)
		ly_source_add(todo, LY_SRC_DO_ALARM)->text =
		    "the guest should run on here, but QEMU does not start it";
	s->alarmed = true;
	s->poll_ms = s->now_ms + RESUME_AGAIN_MS; /* the tick tries again */
}

/* ---- handlers: the hooks, and a fence ---- */

static void
hooked_letting_go(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	s->hooking = false;
	if (ev->ok)
		ly_source_release(s, todo);
	else
		ly_source_fail(s, todo, LY_OUTSIDE, ev->text);
}

/* on-release, for which the undoing had to wait. */
static void
hooked_undoing(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	(void)todo;
	s->hooking = false;
}

static void
hooked_regaining(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (!s->hooking)
		return;
	s->hooking = false;
	if (ev->ok) {
		s->regained = true;
		ly_source_resume(s, todo);
		return;
	}
	if (!s->hook_wait_ms)
		ly_source_add(todo, LY_SRC_DO_ALARM)->text =
		    "on-abort fails: the guest should run on here, and stays "
		    "paused";
	s->hook_wait_ms = ly_min(ly_max(s->hook_wait_ms * 2, HOOK_FIRST_MS),
	    HOOK_MOST_MS);
	s->poll_ms = s->now_ms + s->hook_wait_ms;
}

static void
tick_regain(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (!s->hooking && s->now_ms >= s->poll_ms)
		ly_source_regain(s, todo);
}

/* The home has given the lease to another host: this copy must not go on. */
static void
fenced_before(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (s->asked_release)
		return; /* the fate is asked, and says more */
	s->fenced = true;
	ly_source_fail(s, todo, LY_FENCED, "another host was given the lease");
}

static void
fenced_undoing(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	(void)todo;
	s->fenced = true;
	ly_source_blame(s, LY_FENCED, "another host was given the lease");
}

static void
fenced_resuming(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	fenced_undoing(s, ev, todo);
	ly_source_stay_stopped(s, todo);
}

/* ---- handlers: the destination, the home, the manager ---- */

static void
on_released(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (!s->asked_release || s->released)
		return;
	if (ev->rc) {
		ly_source_fail(s, todo, ev->rc,
		    ev->text ? ev->text : "the home does not let the VM go");
		return;
	}
	s->released = true;
	ly_source_finish(s, todo);
}

static void
on_sealed(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (!s->asked_seal || s->sealed)
		return;
	if (!ev->ok) {
		ly_source_fail(s, todo, ev->rc ? ev->rc : LY_OUTSIDE,
		    ev->text ? ev->text : "what was sent cannot be signed");
		return;
	}
	s->sealed = true;
	ly_source_finish(s, todo);
}

/* Before FIN the destination can only refuse. */
static void
ready_early(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	ly_source_fail(s, todo, ev->rc ? ev->rc : LY_MALFORMED,
	    ev->rc ? "the destination refuses the VM" :
		     "the destination says it runs what it does not have");
}

static void
on_ready(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (ev->rc)
		ly_source_blame(s, ev->rc, "the destination refuses the VM");
	s->ready = s->ready || !ev->rc;
	ly_source_go_ask(s, todo, ev->rc != LY_OK);
}

/* Whatever was whole when its connection died may be claimed: the destination
 * gets its chance first. */
static void
lost_waiting(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	ly_source_go_ask(s, todo, false);
}

static void
on_lost(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	ly_source_fail(s, todo, LY_OUTSIDE, ev->text);
}

static void
lost_dialling(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	ly_source_blame(s, LY_OUTSIDE, ev->text);
	ly_source_over(s, todo, LY_SOURCE_STAYED);
}

static void
on_calloff(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	ly_source_fail(s, todo, LY_REFUSED, "called off");
}

static void
calloff_dialling(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	ly_source_blame(s, LY_REFUSED, "called off");
	ly_source_over(s, todo, LY_SOURCE_STAYED);
}

static void
calloff_waiting(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	ly_source_blame(s, LY_REFUSED, "called off");
	ly_source_go_ask(s, todo, true);
}

static void
on_gone(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	s->gone = true;
	ly_source_fail(s, todo, LY_OUTSIDE, ev->text);
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
	ly_source_blame(s, LY_OUTSIDE, ev->text);
	ly_source_over(s, todo, LY_SOURCE_DEAD);
}

static void
gone_quitting(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	ly_source_over(s, todo, LY_SOURCE_MOVED);
}

static void
claimed(struct ly_source_core *s, struct ly_source_todos *todo)
{
	s->rc = LY_OK;
	s->why[0] = '\0';
	if (s->gone) {
		ly_source_over(s, todo, LY_SOURCE_MOVED);
		return;
	}
	ly_source_go(s, LY_SRC_QUIT);
	ly_source_add(todo, LY_SRC_DO_QUIT);
}

static void
aborted(struct ly_source_core *s, struct ly_source_todos *todo)
{
	if (s->ready)
		ly_source_add(todo, LY_SRC_DO_ALARM)->text =
		    "the destination says that "
		    "the VM runs there, but its home says it does not";
	ly_source_blame(s, LY_REFUSED,
	    "the home has recorded that it was called off");
	ly_source_undo(s, todo);
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
		ly_source_poll(s, todo);
}

static void
tick_dial(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (ly_source_spent(s) < LY_SOURCE_DIAL_MS)
		return;
	ly_source_blame(s, LY_OUTSIDE, "the destination does not answer");
	ly_source_over(s, todo, LY_SOURCE_STAYED);
}

static void
tick_setup(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (ly_source_spent(s) >= LY_SOURCE_SETUP_MS)
		ly_source_fail(s, todo, LY_OUTSIDE,
		    "QEMU does not begin to migrate");
}

static void
tick_copy(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (s->now_ms - s->moved_ms >= LY_SOURCE_STALL_MS)
		ly_source_fail(s, todo, LY_OUTSIDE, "the stream does not move");
	else
		tick_poll(s, todo);
}

static void
tick_stopping(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (ly_source_spent(s) >= LY_SOURCE_SETUP_MS)
		ly_source_fail(s, todo, LY_OUTSIDE,
		    "QEMU does not stop the guest");
}

static void
tick_letgo(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (!s->completed)
		tick_poll(s, todo);
}

static const char *
not_finished(const struct ly_source_core *s)
{
	if (!s->completed)
		return "QEMU does not finish";
	return s->released ? "what was sent is not signed" :
			     "the home has not recorded the release";
}

static void
tick_finish(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (ly_source_spent(s) >= LY_SOURCE_FINISH_MS)
		ly_source_fail(s, todo, LY_OUTSIDE, not_finished(s));
	else if (!s->completed)
		tick_poll(s, todo);
}

static void
tick_wait(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (ly_source_spent(s) >= LY_SOURCE_WAIT_MS)
		ly_source_go_ask(s, todo, false);
}

static void
tick_ask(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (!s->ready && !s->abort &&
	    ly_source_spent(s) >= LY_SOURCE_GRACE_MS) {
		ly_source_blame(s, LY_OUTSIDE,
		    "the destination has not taken the VM");
		s->abort = true;
	}
	if (!s->alarmed && ly_source_spent(s) >= LY_SOURCE_ALARM_MS) {
		s->alarmed = true;
		ly_source_add(todo, LY_SRC_DO_ALARM)->text =
		    "the VM stays paused: its "
		    "home cannot be asked what became of the migration";
	}
	if (!s->asking && s->now_ms >= s->ask_ms)
		ly_source_ask(s, todo);
}

static void
tick_undo(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	(void)ev;
	if (ly_source_spent(s) >= LY_SOURCE_UNDO_MS)
		ly_source_resume(s, todo);
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
		ly_source_add(todo, LY_SRC_DO_CONT)->flag = s->asked_stop;
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

#include "agent/stream/source_table.h"

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
ly_source_woken(struct ly_source_core *s, const struct ly_source_woken *w,
    uint64_t now_ms, struct ly_source_todos *todo)
{
	ly_source_init(s, 0, now_ms);
	s->migrating = true;
	s->asked_stop = w->stopped;
	s->asked_release = s->won = w->released; /* S1 held then */
	s->hooked = w->hooked || w->released;	 /* S5 */
	s->gone = w->gone;
	ly_source_blame(s, LY_OUTSIDE, "the source's agent was restarted");
	if (w->released)
		ly_source_go_ask(s, todo, !w->fin);
	else
		ly_source_undo(s, todo);
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
	assert(!s->asked_release || s->hooked);
	assert(!s->seals || s->sealed || s->state != LY_SRC_WAIT);
}
