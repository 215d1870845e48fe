/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream/source_in.h"

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

/* The race with QEMU is lost: it has stopped the guest by itself, and would
 * start it again if its switch failed. So RELEASE waits for "completed". */
static void
lose_race(struct ly_source_core *s, struct ly_source_todos *todo)
{
	s->phase = LY_PHASE_GATE;
	go(s, LY_SRC_FINISH);
	add(todo, LY_SRC_DO_STOPPED);
	s->poll_ms = s->now_ms + LY_SOURCE_SOON_MS;
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
	ly_source_measure(s, &ev->numbers);
	s->poll_ms = s->now_ms + ly_source_poll_wait(s);
	add(todo, LY_SRC_DO_PROGRESS);
	switch (ly_source_judge(s)) {
	case LY_SRC_GO_ON:
		s->fits_ms = 0;
		break;
	case LY_SRC_STOP_GUEST:
		stop(s, ev, todo);
		break;
	case LY_SRC_GIVE_UP:
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
		ly_source_measure(s, &ev->numbers);
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
	s->poll_ms = s->now_ms + LY_SOURCE_SOON_MS;
	switch (ev->status) {
	case LY_MIG_COMPLETED:
		ly_source_measure(s, &ev->numbers);
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
	s->poll_ms = s->now_ms + LY_SOURCE_SOON_MS;
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
	s->poll_ms = s->now_ms + LY_SOURCE_POLL_MS;
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
ly_source_step(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo)
{
	if (ev->now_ms > s->now_ms)
		s->now_ms = ev->now_ms;
	table[s->state][ev->kind](s, ev, todo);
	assert(!s->released || s->asked_release);
	assert(!s->asked_release || s->won || s->completed);
}
