/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the handlers of source.c do to the machine: each is a step towards one
 * of its ends.
 */
#include "agent/stream/source_in.h"

#define ASK_FIRST_MS 100 /* between two ASKs; doubled by who asks again */

const char *
ly_source_state_name(unsigned state)
{
	static const char *const names[] = {
		[LY_SRC_DIAL] = "dial",
		[LY_SRC_SETUP] = "setup",
		[LY_SRC_COPY] = "copy",
		[LY_SRC_STOPPING] = "stopping",
		[LY_SRC_LETGO] = "letgo",
		[LY_SRC_FINISH] = "finish",
		[LY_SRC_WAIT] = "wait",
		[LY_SRC_ASK] = "ask",
		[LY_SRC_UNDO] = "undo",
		[LY_SRC_REGAIN] = "regain",
		[LY_SRC_RESUME] = "resume",
		[LY_SRC_QUIT] = "quit",
		[LY_SRC_OVER] = "over",
	};

	return state < LY_COUNT(names) ? names[state] : "?";
}

struct ly_source_todo *
ly_source_add(struct ly_source_todos *todo, enum ly_source_act act)
{
	assert(todo->n < LY_SOURCE_TODO_MAX);
	todo->act[todo->n] = (struct ly_source_todo){ .act = act };
	return &todo->act[todo->n++];
}

void
ly_source_go(struct ly_source_core *s, enum ly_source_state state)
{
	s->state = state;
	s->since_ms = s->now_ms;
}

uint64_t
ly_source_spent(const struct ly_source_core *s)
{
	return s->now_ms - s->since_ms;
}

void
ly_source_poll(struct ly_source_core *s, struct ly_source_todos *todo)
{
	s->again = s->polling;
	if (s->polling)
		return;
	s->polling = true;
	ly_source_add(todo, LY_SRC_DO_POLL);
}

/* ---- how it ends ---- */

/* The first reason is the one the operator needs. */
void
ly_source_blame(struct ly_source_core *s, enum ly_rc rc, const char *text)
{
	if (s->rc)
		return;
	s->rc = rc;
	ly_copy(s->why, sizeof(s->why), text ? text : ly_rc_name(rc));
}

void
ly_source_over(struct ly_source_core *s, struct ly_source_todos *todo,
    enum ly_source_end end)
{
	s->phase = LY_PHASE_OVER;
	ly_source_go(s, LY_SRC_OVER);
	ly_source_add(todo, LY_SRC_DO_HANGUP);
	ly_source_add(todo, LY_SRC_DO_OVER)->end = end;
}

/* What the home says binds both sides, so it is asked until it answers. */
void
ly_source_ask(struct ly_source_core *s, struct ly_source_todos *todo)
{
	if (s->asking)
		return; /* the tick asks again when it is answered */
	s->asking = true;
	ly_source_add(todo, LY_SRC_DO_ASK)->flag = s->abort;
}

void
ly_source_go_ask(struct ly_source_core *s, struct ly_source_todos *todo,
    bool abort)
{
	s->phase = LY_PHASE_COMMIT;
	s->abort = abort;
	s->ask_ms = s->now_ms;
	s->ask_wait_ms = ASK_FIRST_MS;
	if (s->state != LY_SRC_ASK)
		ly_source_go(s, LY_SRC_ASK);
	ly_source_ask(s, todo);
}

/* The guest stays. QEMU is told to give up what it may still be doing, and is
 * watched until it has. */
void
ly_source_undo(struct ly_source_core *s, struct ly_source_todos *todo)
{
	ly_source_add(todo, LY_SRC_DO_HANGUP);
	if (s->gone) {
		ly_source_over(s, todo, LY_SOURCE_DEAD);
		return;
	}
	ly_source_go(s, LY_SRC_UNDO);
	ly_source_add(todo, LY_SRC_DO_CANCEL);
	ly_source_poll(s, todo);
}

/* S2: the line between the two kinds of failure is the asking of RELEASE. */
void
ly_source_fail(struct ly_source_core *s, struct ly_source_todos *todo,
    enum ly_rc rc, const char *text)
{
	ly_source_blame(s, rc, text);
	if (s->asked_release)
		ly_source_go_ask(s, todo, true);
	else
		ly_source_undo(s, todo);
}

/* ---- the switch ---- */

/* The race with QEMU is lost: it has stopped the guest by itself, and would
 * start it again if its switch failed. So RELEASE waits for "completed". */
void
ly_source_lose_race(struct ly_source_core *s, struct ly_source_todos *todo)
{
	s->phase = LY_PHASE_GATE;
	ly_source_go(s, LY_SRC_FINISH);
	ly_source_add(todo, LY_SRC_DO_STOPPED);
	s->poll_ms = s->now_ms + LY_SOURCE_SOON_MS;
}

/* S5. QEMU goes on meanwhile; what it comes to is noted. */
void
ly_source_let_go(struct ly_source_core *s, struct ly_source_todos *todo)
{
	if (s->hooked)
		return;
	s->hooked = s->hooking = true;
	ly_source_go(s, LY_SRC_LETGO);
	ly_source_add(todo, LY_SRC_DO_HOOK);
}

void
ly_source_release(struct ly_source_core *s, struct ly_source_todos *todo)
{
	assert(s->won || s->completed); /* S1 */
	assert(!s->hooking && !s->asked_release);
	s->asked_release = true;
	ly_source_go(s, LY_SRC_FINISH);
	ly_source_add(todo, LY_SRC_DO_RELEASE);
}

void
ly_source_finish(struct ly_source_core *s, struct ly_source_todos *todo)
{
	if (!s->completed || !s->ended)
		return;
	if (s->seals && !s->asked_seal) {
		s->asked_seal = true;
		ly_source_add(todo, LY_SRC_DO_SEAL);
	}
	if (!s->released || (s->seals && !s->sealed)) /* S3 */
		return;
	s->phase = LY_PHASE_COMMIT;
	ly_source_go(s, LY_SRC_WAIT);
	ly_source_add(todo, LY_SRC_DO_FIN);
}

void
ly_source_complete(struct ly_source_core *s, struct ly_source_todos *todo)
{
	s->completed = true;
	ly_source_let_go(s, todo);
	ly_source_finish(s, todo);
}

/* Another host has the lease: whatever QEMU's own idea is, the guest stands
 * still, and stays so. */
void
ly_source_stay_stopped(struct ly_source_core *s, struct ly_source_todos *todo)
{
	ly_source_add(todo, LY_SRC_DO_STOP);
	ly_source_over(s, todo, LY_SOURCE_FENCED);
}

void
ly_source_regain(struct ly_source_core *s, struct ly_source_todos *todo)
{
	s->hooking = true;
	ly_source_add(todo, LY_SRC_DO_HOOK)->flag = true;
}

/* S5: not while on-release may still run, and not before on-abort. */
void
ly_source_resume(struct ly_source_core *s, struct ly_source_todos *todo)
{
	if (s->hooking)
		return;
	if (s->fenced) {
		ly_source_stay_stopped(s, todo);
	} else if (s->hooked && !s->regained) {
		ly_source_go(s, LY_SRC_REGAIN);
		ly_source_regain(s, todo);
	} else {
		ly_source_go(s, LY_SRC_RESUME);
		ly_source_add(todo, LY_SRC_DO_CONT)->flag = s->asked_stop;
	}
}
