/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/source_scene.h"

/* ---- the hooks ---- */

/* Stopped by us, and on-release runs. */
static void
begin_hook(void)
{
	begin_copy();
	slow_hooks = true;
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	copy(1, 10 * MIB, 400 * MIB, 0, true);
	copy(2, 10 * MIB, 10 * MIB, MIB, true);
	step((struct ly_source_event){ .kind = LY_SRC_STOPPED,
	    .ok = true,
	    .won = true });
	WANT_INT(s.state, LY_SRC_LETGO);
	WANT(said(LY_SRC_DO_HOOK) && !said(LY_SRC_DO_HOOK)->flag);
	WANT_INT(done[LY_SRC_DO_RELEASE], 0);
}

static void
hook_fails(void)
{
	step((struct ly_source_event){ .kind = LY_SRC_HOOKED,
	    .text = "on-release: status 1" });
}

/* on-abort has been asked for, and its good end starts the guest. */
static void
want_regained(enum ly_source_end end, const char *why)
{
	WANT_INT(s.state, LY_SRC_REGAIN);
	WANT(said(LY_SRC_DO_HOOK)->flag);
	WANT_INT(done[LY_SRC_DO_CONT], 0);
	tell(LY_SRC_HOOKED);
	WANT(said(LY_SRC_DO_CONT));
	tell(LY_SRC_RESUMED);
	want_over(end, why);
}

TEST(release_is_asked_after_the_hook_and_qemu_goes_on_meanwhile)
{
	begin_hook();
	status(LY_MIG_HELD);
	status(LY_MIG_HELD);
	WANT(said(LY_SRC_DO_CONTINUE));
	tell(LY_SRC_END);
	status(LY_MIG_COMPLETED);
	WANT_INT(s.state, LY_SRC_LETGO);
	WANT_INT(done[LY_SRC_DO_RELEASE], 0);
	tell(LY_SRC_HOOKED);
	WANT(said(LY_SRC_DO_RELEASE));
	released(LY_OK);
	WANT(said(LY_SRC_DO_FIN));
	WANT_INT(done[LY_SRC_DO_HOOK], 1);
}

TEST(a_race_lost_to_qemu_runs_the_hook_when_it_has_completed)
{
	begin_copy();
	slow_hooks = true;
	status(LY_MIG_SWITCHING);
	WANT_INT(done[LY_SRC_DO_HOOK], 0);
	status(LY_MIG_COMPLETED);
	WANT_INT(s.state, LY_SRC_LETGO);
	tell(LY_SRC_HOOKED);
	WANT(said(LY_SRC_DO_RELEASE));
}

TEST(an_on_release_that_fails_undoes_the_migration_by_way_of_on_abort)
{
	begin_hook();
	hook_fails();
	WANT_INT(s.state, LY_SRC_UNDO);
	WANT_INT(done[LY_SRC_DO_RELEASE], 0);
	status(LY_MIG_CANCELLED);
	want_regained(LY_SOURCE_STAYED, "on-release: status 1");
}

TEST(on_abort_waits_for_an_on_release_that_still_runs)
{
	begin_hook();
	lost();
	status(LY_MIG_CANCELLED);
	tick(LY_SOURCE_UNDO_MS);
	WANT_INT(s.state, LY_SRC_UNDO);
	WANT_INT(done[LY_SRC_DO_HOOK], 1);
	tell(LY_SRC_HOOKED);
	WANT_INT(done[LY_SRC_DO_RELEASE], 0); /* too late for that */
	status(LY_MIG_CANCELLED);
	want_regained(LY_SOURCE_STAYED, "cable cut");
}

TEST(on_abort_comes_after_the_homes_word_and_before_the_guest_goes_on)
{
	begin_waiting();
	slow_hooks = true;
	tell(LY_SRC_CALLOFF);
	fate(LY_OK, LY_FATE_ABORTED);
	status(LY_MIG_CANCELLED);
	want_regained(LY_SOURCE_STAYED, "called off");
}

TEST(an_on_abort_that_fails_keeps_the_guest_paused_and_is_tried_again)
{
	unsigned tries = 0;

	begin_hook();
	hook_fails();
	status(LY_MIG_CANCELLED);
	for (int i = 0; i < 8; i++) {
		hook_fails();
		WANT_INT(done[LY_SRC_DO_ALARM], 1);
		WANT_INT(s.state, LY_SRC_REGAIN);
		tick(999); /* never sooner */
		WANT(!said(LY_SRC_DO_HOOK));
		tick(i < 3 ? 8000 : 30000);
		WANT(said(LY_SRC_DO_HOOK)->flag);
		tries++;
		tick(60000); /* and never two at once */
		WANT(!said(LY_SRC_DO_HOOK));
	}
	WANT_INT(tries, 8);
	WANT_INT(done[LY_SRC_DO_CONT], 0);
	tell(LY_SRC_HOOKED);
	WANT(said(LY_SRC_DO_CONT));
}

TEST(what_fails_before_on_release_needs_no_on_abort)
{
	begin_copy();
	slow_hooks = true;
	tell(LY_SRC_CALLOFF);
	want_undone("called off");
	WANT_INT(done[LY_SRC_DO_HOOK], 0);
}

/* ---- of an agent that has died ---- */

static void
begin_woken(struct ly_source_woken w)
{
	now = 1000;
	slow_hooks = true;
	memset(done, 0, sizeof(done));
	todo.n = 0;
	ly_source_woken(&s, &w, now, &todo);
}

TEST(a_source_that_wakes_before_release_gives_the_migration_up)
{
	begin_woken((struct ly_source_woken){ .stopped = true });
	WANT_INT(s.state, LY_SRC_UNDO);
	status(LY_MIG_CANCELLED);
	WANT(said(LY_SRC_DO_CONT)->flag); /* it was our stop */
	begin_woken((struct ly_source_woken){ .hooked = true });
	status(LY_MIG_CANCELLED);
	want_regained(LY_SOURCE_STAYED, "restarted");
}

TEST(a_source_that_wakes_after_release_asks_what_became_of_it)
{
	begin_woken(
	    (struct ly_source_woken){ .released = true, .stopped = true });
	WANT(said(LY_SRC_DO_ASK)->flag); /* no FIN: nobody can have it */
	fate(LY_OK, LY_FATE_ABORTED);
	status(LY_MIG_COMPLETED);
	want_regained(LY_SOURCE_STAYED, "restarted");

	begin_woken((struct ly_source_woken){ .released = true, .fin = true });
	WANT(!said(LY_SRC_DO_ASK)->flag);
	WANT_INT(done[LY_SRC_DO_CONT], 0);
	fate(LY_OK, LY_FATE_CLAIMED);
	WANT(said(LY_SRC_DO_QUIT));
	tell(LY_SRC_GONE);
	want_over(LY_SOURCE_MOVED, "");
}

/* ---- a fence ---- */

TEST(a_source_that_is_fenced_keeps_its_guest_stopped)
{
	begin_copy();
	tell(LY_SRC_FENCED);
	WANT_INT(s.state, LY_SRC_UNDO);
	status(LY_MIG_CANCELLED);
	WANT(said(LY_SRC_DO_STOP)); /* QEMU may have started it again */
	want_over(LY_SOURCE_FENCED, "another host");
	WANT_INT(done[LY_SRC_DO_CONT], 0);

	begin_hook(); /* while on-abort fails */
	hook_fails();
	status(LY_MIG_CANCELLED);
	hook_fails();
	tell(LY_SRC_FENCED);
	want_over(LY_SOURCE_FENCED, "on-release");

	begin_copy(); /* while QEMU starts it */
	tell(LY_SRC_CALLOFF);
	status(LY_MIG_CANCELLED);
	WANT(said(LY_SRC_DO_CONT));
	tell(LY_SRC_FENCED);
	WANT(said(LY_SRC_DO_STOP));
	want_over(LY_SOURCE_FENCED, "called off");

	begin_waiting(); /* the home is asked, and says more */
	tell(LY_SRC_FENCED);
	WANT_INT(s.state, LY_SRC_WAIT);
}

/* ---- anything at any time ---- */

static uint32_t seed;

static uint32_t
dice(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* S5 and S6. */
static struct {
	bool runs, release, abort, fenced; /* release, abort: their good ends */
	bool begun;
} hook;

static struct ly_source_event
any_event(void)
{
	return (struct ly_source_event){
		.kind = hook.runs && dice(3) == 0 ?
		    LY_SRC_HOOKED :
		    (enum ly_source_kind)dice(LY_SRC_KINDS),
		.ok = dice(4) != 0,
		.won = dice(2),
		.quiet = dice(2),
		.idle = dice(4) != 0,
		.rc = dice(3) ? LY_OK : (enum ly_rc)dice(LY_RCS),
		.fate = (enum ly_fate)dice(4),
		.status = (enum ly_mig)dice(LY_MIGS),
		.numbers = { .bytes = dice(1000000),
		    .remaining = dice(2) ? dice(100000) : UINT64_MAX,
		    .dirty_rate = dice(2) ? dice(1000000) : UINT64_MAX,
		    .passes = dice(70) },
	};
}

static void
note_hook(const struct ly_source_event *ev)
{
	if (ev->kind == LY_SRC_FENCED && !s.asked_release)
		hook.fenced = true;
	if (ev->kind != LY_SRC_HOOKED || !hook.runs)
		return;
	hook.runs = false;
	hook.release |= ev->ok && s.state == LY_SRC_LETGO;
	hook.abort |= ev->ok && s.state == LY_SRC_REGAIN;
}

static void
check_hook(const struct ly_source_todo *t)
{
	if (t->act == LY_SRC_DO_HOOK) {
		WANT(!hook.runs && t->flag == hook.begun && !hook.fenced);
		hook.runs = hook.begun = true;
	} else if (t->act == LY_SRC_DO_RELEASE) {
		WANT(hook.release && !hook.fenced);
	} else if (t->act == LY_SRC_DO_CONT) {
		WANT(!hook.begun || hook.abort);
		WANT(!hook.fenced);
	}
}

/* S1 and S2, whatever comes. */
static void
check_act(const struct ly_source_todo *t, bool *may_run, bool *may_quit,
    bool *asked, bool *over)
{
	check_hook(t);
	WANT(!*over);
	switch (t->act) {
	case LY_SRC_DO_RELEASE:
		WANT(!*asked);
		WANT(s.won || s.completed);
		*asked = true;
		*may_run = false;
		break;
	case LY_SRC_DO_CONT:
		WANT(*may_run);
		break;
	case LY_SRC_DO_QUIT:
		WANT(*may_quit);
		break;
	case LY_SRC_DO_FIN:
		WANT(s.released && s.completed && s.ended);
		WANT(s.sealed || !s.seals);
		break;
	case LY_SRC_DO_OVER:
		*over = true;
		break;
	case LY_SRC_DO_SETUP:
	case LY_SRC_DO_POLL:
	case LY_SRC_DO_STOP:
	case LY_SRC_DO_CONTINUE:
	case LY_SRC_DO_LIFT:
	case LY_SRC_DO_STOPPED:
	case LY_SRC_DO_ASK:
	case LY_SRC_DO_HANGUP:
	case LY_SRC_DO_CANCEL:
	case LY_SRC_DO_PROGRESS:
	case LY_SRC_DO_ALARM:
	case LY_SRC_DO_HOOK:
	case LY_SRC_DO_SEAL:
		break;
	}
}

TEST(whatever_comes_the_guest_runs_only_where_it_may)
{
	unsigned overs = 0;

	for (uint32_t run = 1; run <= 20000; run++) {
		bool may_run = true, may_quit = false, asked = false,
		     over = false;

		seed = run;
		now = 1000;
		slow_hooks = true;
		memset(&hook, 0, sizeof(hook));
		ly_source_init(&s, dice(500), now);
		for (int i = 0; i < 200 && !over; i++) {
			struct ly_source_event ev = any_event();
			bool asks = s.state == LY_SRC_ASK &&
			    ev.kind == LY_SRC_FATE && !ev.rc;

			now += dice(3) ? dice(50) : dice(40000);
			if (asks && ev.fate == LY_FATE_ABORTED)
				may_run = true;
			if (asks && ev.fate == LY_FATE_CLAIMED)
				may_quit = true;
			note_hook(&ev);
			step(ev);
			for (unsigned k = 0; k < todo.n; k++)
				check_act(&todo.act[k], &may_run, &may_quit,
				    &asked, &over);
		}
		overs += over;
	}
	WANT(overs > 10000);
}

TEST_MAIN()
