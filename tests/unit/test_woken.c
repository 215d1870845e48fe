/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration whose agent has died on one of its two sides: how it ends, by
 * what was known of it.
 */
#include "agent/stream/dest.h"
#include "agent/stream/source.h"
#include "tests/test.h"

static struct ly_source_core s;
static struct ly_source_todos said;
static struct ly_dest_core d;
static struct ly_dest_todos dsaid;
static uint64_t now;

static void
wake(struct ly_source_woken w)
{
	now = 1000;
	said.n = 0;
	ly_source_woken(&s, &w, now, &said);
}

static void
step(struct ly_source_event ev)
{
	said.n = 0;
	ev.now_ms = now;
	ly_source_step(&s, &ev, &said);
}

static const struct ly_source_todo *
find(enum ly_source_act act)
{
	for (unsigned i = 0; i < said.n; i++)
		if (said.act[i].act == act)
			return &said.act[i];
	return NULL;
}

static void
fate(enum ly_fate is)
{
	step((struct ly_source_event){ .kind = LY_SRC_FATE, .fate = is });
}

TEST(a_source_that_had_not_asked_for_release_stays)
{
	wake((struct ly_source_woken){ .released = false });
	WANT(find(LY_SRC_DO_CANCEL) && find(LY_SRC_DO_POLL));
	WANT(!find(LY_SRC_DO_ASK));
	step((struct ly_source_event){ .kind = LY_SRC_STATUS,
	    .status = LY_MIG_FAILED });
	WANT(!find(LY_SRC_DO_CONT)->flag); /* "paused" is not our doing */
	step((struct ly_source_event){ .kind = LY_SRC_RESUMED, .ok = true });
	WANT_INT(find(LY_SRC_DO_OVER)->end, LY_SOURCE_STAYED);
}

TEST(a_source_that_stopped_its_guest_lets_it_go_on)
{
	wake((struct ly_source_woken){ .stopped = true });
	step((struct ly_source_event){ .kind = LY_SRC_STATUS,
	    .status = LY_MIG_FAILED });
	WANT(find(LY_SRC_DO_CONT)->flag);
}

TEST(a_source_that_had_run_on_release_runs_on_abort_first)
{
	wake((struct ly_source_woken){ .stopped = true, .hooked = true });
	step((struct ly_source_event){ .kind = LY_SRC_STATUS,
	    .status = LY_MIG_FAILED });
	WANT(!find(LY_SRC_DO_CONT));
	WANT(find(LY_SRC_DO_HOOK)->flag);
	step((struct ly_source_event){ .kind = LY_SRC_HOOKED, .ok = true });
	WANT(find(LY_SRC_DO_CONT));
}

TEST(after_release_only_the_homes_word_ends_it)
{
	wake((struct ly_source_woken){ .released = true, .stopped = true });
	WANT(find(LY_SRC_DO_ASK)->flag); /* nobody can have all of it */
	WANT(!find(LY_SRC_DO_CANCEL) && !find(LY_SRC_DO_CONT));
	for (int i = 0; i < 100; i++) {
		now += 1000;
		step((struct ly_source_event){ .kind = LY_SRC_TICK });
		WANT(!find(LY_SRC_DO_CONT) && !find(LY_SRC_DO_QUIT));
	}
	fate(LY_FATE_ABORTED);
	WANT(find(LY_SRC_DO_CANCEL));

	wake((struct ly_source_woken){ .released = true, .stopped = true });
	fate(LY_FATE_CLAIMED);
	WANT(find(LY_SRC_DO_QUIT));
}

TEST(a_destination_that_may_have_all_of_it_gets_its_chance)
{
	wake((struct ly_source_woken){ .released = true, .fin = true });
	WANT(!find(LY_SRC_DO_ASK)->flag);
	fate(LY_FATE_OPEN);
	now += LY_SOURCE_GRACE_MS;
	step((struct ly_source_event){ .kind = LY_SRC_TICK });
	WANT(find(LY_SRC_DO_ASK)->flag);
}

TEST(a_source_whose_qemu_has_ended_too_asks_all_the_same)
{
	wake((struct ly_source_woken){ .gone = true });
	WANT_INT(find(LY_SRC_DO_OVER)->end, LY_SOURCE_DEAD);
	wake((struct ly_source_woken){ .gone = true, .released = true });
	WANT(find(LY_SRC_DO_ASK) && !find(LY_SRC_DO_OVER));
	fate(LY_FATE_CLAIMED);
	WANT_INT(find(LY_SRC_DO_OVER)->end, LY_SOURCE_MOVED);
}

static bool
dfind(enum ly_dest_act act)
{
	for (unsigned i = 0; i < dsaid.n; i++)
		if (dsaid.act[i].act == act)
			return true;
	return false;
}

static void
dstep(struct ly_dest_event ev)
{
	dsaid.n = 0;
	ev.now_ms = now;
	ly_dest_step(&d, &ev, &dsaid);
}

TEST(a_destination_that_had_claimed_waits_for_the_home)
{
	dsaid.n = 0;
	ly_dest_woken(&d, false, 1000, &dsaid);
	WANT_INT(dsaid.n, 0);
	dstep((struct ly_dest_event){ .kind = LY_DST_GRANTED });
	WANT(dfind(LY_DST_DO_HOOK) && !dfind(LY_DST_DO_CONT));
	dstep((struct ly_dest_event){ .kind = LY_DST_HOOKED, .ok = true });
	WANT(dfind(LY_DST_DO_CONT));
}

TEST(a_destination_that_was_granted_goes_on)
{
	dsaid.n = 0;
	ly_dest_woken(&d, true, 1000, &dsaid);
	WANT(dfind(LY_DST_DO_HOOK) && !dfind(LY_DST_DO_CONT)); /* D5 */
	dstep((struct ly_dest_event){ .kind = LY_DST_HOOKED, .ok = true });
	WANT(dfind(LY_DST_DO_CONT));
	dstep((struct ly_dest_event){ .kind = LY_DST_RESUMED, .ok = true });
	WANT(dfind(LY_DST_DO_OVER));
}

TEST_MAIN()
