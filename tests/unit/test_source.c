/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/source_scene.h"

/* ---- when to stop ---- */

TEST(the_first_pass_never_stops_the_guest)
{
	begin_copy();
	for (int i = 0; i < 50; i++)
		copy(1, 50 * MIB, MIB, 0, true);
	WANT_INT(s.state, LY_SRC_COPY);
	WANT_INT(done[LY_SRC_DO_STOP], 0);
}

TEST(the_guest_is_stopped_when_what_remains_fits_the_downtime)
{
	begin_copy();
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	copy(1, 10 * MIB, 300 * MIB, 0, true); /* 100 MiB a second */
	copy(2, 10 * MIB, 31 * MIB, MIB, true);
	WANT(!said(LY_SRC_DO_STOP));
	copy(2, 10 * MIB, 29 * MIB, MIB, true);
	WANT(said(LY_SRC_DO_STOP));
	WANT_INT(s.state, LY_SRC_STOPPING);
	WANT_INT(s.phase, LY_PHASE_GATE);
}

TEST(a_busy_tpm_postpones_the_stop_but_not_for_ever)
{
	begin_copy();
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	copy(1, 10 * MIB, 400 * MIB, 0, true);
	copy(2, 10 * MIB, MIB, MIB, false);
	WANT(!said(LY_SRC_DO_STOP));
	now += LY_SOURCE_POSTPONE_MS / 2;
	copy(2, 10 * MIB, MIB, MIB, false);
	WANT_INT(s.state, LY_SRC_COPY);
	now += LY_SOURCE_POSTPONE_MS;
	copy(2, 10 * MIB, MIB, MIB, false);
	want_undone("a TPM command of the guest does not end");
}

/* What remains stays at `times` the downtime, and the guest keeps up. */
static unsigned
stagnate(uint64_t times)
{
	unsigned pass = 1;

	begin_copy();
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	while (s.state == LY_SRC_COPY && pass < 200)
		copy(++pass, 10 * MIB, times * 30 * MIB, 200 * MIB, true);
	return pass;
}

TEST(a_guest_that_keeps_up_is_stopped_late_if_that_is_bearable)
{
	unsigned passes = stagnate(LY_SOURCE_OVERRUN - 1);

	WANT_INT(s.state, LY_SRC_STOPPING);
	WANT(passes > LY_SOURCE_STAGNANT);
	WANT(passes <= LY_SOURCE_STAGNANT + 3);
}

TEST(a_guest_that_keeps_up_is_left_alone_if_it_is_not)
{
	stagnate(LY_SOURCE_OVERRUN * 2);
	want_undone("dirties its memory faster than it can be sent");
}

TEST(a_copy_that_does_not_end_has_a_limit_of_passes)
{
	unsigned pass = 1;

	begin_copy();
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	while (s.state == LY_SRC_COPY && pass < 200)
		copy(++pass, 10 * MIB, 100 * MIB, MIB, true);
	WANT_INT(pass, LY_SOURCE_PASSES);
	WANT_INT(s.state, LY_SRC_STOPPING);
}

TEST(polls_come_closer_when_the_end_does)
{
	begin_copy();
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	copy(1, 10 * MIB, 400 * MIB, 0, true);
	tick(99);
	WANT(!said(LY_SRC_DO_POLL));
	tick(1);
	WANT(said(LY_SRC_DO_POLL));
	tick(100); /* one at a time */
	WANT(!said(LY_SRC_DO_POLL));
	copy(1, 30 * MIB, 4 * MIB, 0, true);
	tick(20);
	WANT(said(LY_SRC_DO_POLL));
}

TEST(a_stream_that_stands_still_is_undone)
{
	begin_copy();
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	for (int i = 0; i < 500 && s.state == LY_SRC_COPY; i++) {
		tick(100);
		if (s.state == LY_SRC_COPY && said(LY_SRC_DO_POLL))
			copy(1, 0, 500 * MIB, 0, true);
	}
	want_undone("the stream does not move");
}

/* ---- RELEASE ---- */

TEST(release_is_asked_at_once_when_we_stopped_the_guest_first)
{
	begin_won();
	WANT(said(LY_SRC_DO_RELEASE));
	WANT(said(LY_SRC_DO_LIFT));
	WANT(said(LY_SRC_DO_STOPPED)->flag);
}

TEST(release_waits_for_completed_when_qemu_was_first)
{
	begin_copy();
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	copy(1, 10 * MIB, 400 * MIB, 0, true);
	copy(2, 10 * MIB, 10 * MIB, MIB, true);
	step((struct ly_source_event){ .kind = LY_SRC_STOPPED, .ok = true });
	WANT(!said(LY_SRC_DO_STOPPED)->flag);
	status(LY_MIG_SWITCHING);
	tell(LY_SRC_END);
	WANT_INT(done[LY_SRC_DO_RELEASE], 0);
	status(LY_MIG_COMPLETED);
	WANT(said(LY_SRC_DO_RELEASE));
	WANT(!said(LY_SRC_DO_FIN));
	released(LY_OK);
	WANT(said(LY_SRC_DO_FIN));
}

TEST(release_waits_for_completed_when_qemu_did_not_ask_us)
{
	static const enum ly_mig ways[] = { LY_MIG_HELD, LY_MIG_SWITCHING };

	for (size_t i = 0; i < LY_COUNT(ways); i++) {
		begin_copy();
		status(ways[i]);
		WANT_INT(s.state, LY_SRC_FINISH);
		WANT(!said(LY_SRC_DO_STOPPED)->flag);
		WANT_INT(done[LY_SRC_DO_RELEASE], 0);
		status(LY_MIG_COMPLETED);
		WANT_INT(done[LY_SRC_DO_RELEASE], 1);
	}
	begin_copy();
	status(LY_MIG_COMPLETED); /* between two polls */
	WANT_INT(done[LY_SRC_DO_RELEASE], 1);
}

TEST(qemu_goes_on_only_when_the_tpm_was_quiet_twice)
{
	begin_won();
	released(LY_OK);
	status(LY_MIG_HELD);
	WANT_INT(done[LY_SRC_DO_CONTINUE], 0);
	step((struct ly_source_event){ .kind = LY_SRC_STATUS,
	    .status = LY_MIG_HELD }); /* a command came between */
	status(LY_MIG_HELD);
	WANT_INT(done[LY_SRC_DO_CONTINUE], 0);
	status(LY_MIG_HELD);
	WANT_INT(done[LY_SRC_DO_CONTINUE], 1);
	status(LY_MIG_HELD);
	WANT_INT(done[LY_SRC_DO_CONTINUE], 1);
}

TEST(fin_needs_completed_and_end_and_released_in_any_order)
{
	for (int order = 0; order < 6; order++) {
		static const int ways[6][3] = { { 0, 1, 2 }, { 0, 2, 1 },
			{ 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

		begin_won();
		for (int i = 0; i < 3; i++) {
			WANT_INT(done[LY_SRC_DO_FIN], 0);
			if (ways[order][i] == 0)
				released(LY_OK);
			else if (ways[order][i] == 1)
				status(LY_MIG_COMPLETED);
			else
				tell(LY_SRC_END);
		}
		WANT_INT(done[LY_SRC_DO_FIN], 1);
		WANT_INT(s.state, LY_SRC_WAIT);
	}
}

static void
copy_queued(uint64_t passes, uint64_t moved, uint64_t remaining,
    uint64_t queued)
{
	now += 100;
	step((struct ly_source_event){ .kind = LY_SRC_STATUS,
	    .status = LY_MIG_BUSY,
	    .idle = true,
	    .numbers = { .bytes = s.numbers.bytes + moved,
		.total = 1024 * MIB,
		.remaining = remaining,
		.queued = queued,
		.passes = passes } });
}

TEST(what_is_still_on_its_way_is_waited_for_before_the_guest_is_stopped)
{
	begin_copy();
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	copy(1, 10 * MIB, 400 * MIB, 0, true);
	for (unsigned pass = 2; pass < 3 * LY_SOURCE_PASSES; pass++) {
		copy_queued(pass, 10 * MIB, MIB, 200 * MIB);
		WANT(!said(LY_SRC_DO_STOP));
		WANT_INT(s.state, LY_SRC_COPY); /* nor is it given up */
	}
	copy_queued(3 * LY_SOURCE_PASSES, 10 * MIB, MIB, 28 * MIB);
	WANT(said(LY_SRC_DO_STOP)); /* 29 MiB at 100 a second: 290 ms */
}

/* S3, with keys. */
TEST(what_was_sent_is_signed_before_fin_in_any_order)
{
	static const int ways[4][3] = { { 0, 1, 2 }, { 1, 0, 2 }, { 1, 2, 0 },
		{ 0, 2, 1 } };

	for (size_t w = 0; w < LY_COUNT(ways); w++) {
		begin_won();
		s.seals = true;
		status(LY_MIG_COMPLETED);
		for (int i = 0; i < 3; i++) {
			WANT_INT(done[LY_SRC_DO_FIN], 0);
			if (ways[w][i] == 0)
				released(LY_OK);
			else if (ways[w][i] == 1)
				tell(LY_SRC_END);
			else
				tell(LY_SRC_SEALED);
			if (ways[w][i] == 2 && !s.ended) {
				WANT(!s.sealed); /* it was not asked for */
				break;
			}
		}
		if (!s.ended) {
			tell(LY_SRC_END);
			tell(LY_SRC_SEALED);
		}
		WANT_INT(done[LY_SRC_DO_SEAL], 1);
		WANT_INT(done[LY_SRC_DO_FIN], 1);
		WANT_INT(s.state, LY_SRC_WAIT);
	}
}

TEST(what_was_sent_is_signed_while_on_release_still_runs)
{
	begin_copy();
	slow_hooks = true;
	s.seals = true;
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	copy(1, 10 * MIB, 400 * MIB, 0, true);
	copy(2, 10 * MIB, 10 * MIB, MIB, true);
	step((struct ly_source_event){ .kind = LY_SRC_STOPPED,
	    .ok = true,
	    .won = true });
	status(LY_MIG_COMPLETED);
	tell(LY_SRC_END);
	WANT_INT(s.state, LY_SRC_LETGO);
	WANT(said(LY_SRC_DO_SEAL));
	tell(LY_SRC_SEALED);
	WANT_INT(done[LY_SRC_DO_FIN], 0);
	tell(LY_SRC_HOOKED);
	released(LY_OK);
	WANT_INT(done[LY_SRC_DO_FIN], 1);
}

TEST(what_cannot_be_signed_is_called_off_and_never_fin)
{
	begin_won();
	s.seals = true;
	released(LY_OK);
	status(LY_MIG_COMPLETED);
	tell(LY_SRC_END);
	step((struct ly_source_event){ .kind = LY_SRC_SEALED,
	    .rc = LY_OUTSIDE,
	    .text = "the TPM does not quote" });
	WANT(said(LY_SRC_DO_ASK)->flag);
	WANT_INT(done[LY_SRC_DO_FIN], 0);
	fate(LY_OK, LY_FATE_ABORTED);
	WANT(strstr(s.why, "the TPM does not quote"));

	begin_won();
	s.seals = true;
	released(LY_OK);
	status(LY_MIG_COMPLETED);
	tell(LY_SRC_END);
	tick(LY_SOURCE_FINISH_MS);
	WANT(said(LY_SRC_DO_ASK)->flag);
	WANT(strstr(s.why, "what was sent is not signed"));
}

/* ---- the end ---- */

TEST(a_vm_that_runs_at_the_destination_is_destroyed_here)
{
	begin_waiting();
	ready(LY_OK);
	WANT(!said(LY_SRC_DO_ASK)->flag);
	WANT_INT(done[LY_SRC_DO_QUIT], 0); /* the home's word, not its */
	fate(LY_OK, LY_FATE_CLAIMED);
	WANT(said(LY_SRC_DO_QUIT));
	tell(LY_SRC_GONE);
	want_over(LY_SOURCE_MOVED, "");
}

TEST(a_destination_that_refuses_gives_the_vm_back)
{
	begin_waiting();
	ready(LY_REFUSED);
	WANT(said(LY_SRC_DO_ASK)->flag);
	WANT_INT(done[LY_SRC_DO_CONT], 0); /* the home's word, not its */
	fate(LY_OK, LY_FATE_ABORTED);
	want_undone("the destination refuses the VM");
}

TEST(a_refusal_that_comes_after_the_claim_changes_nothing)
{
	begin_waiting();
	ready(LY_OUTSIDE);
	fate(LY_OK, LY_FATE_CLAIMED);
	WANT(said(LY_SRC_DO_QUIT));
	tell(LY_SRC_GONE);
	want_over(LY_SOURCE_MOVED, "");
	WANT_INT(done[LY_SRC_DO_CONT], 0);
}

TEST(a_lost_connection_after_fin_gives_the_destination_its_chance)
{
	begin_waiting();
	lost();
	WANT(!said(LY_SRC_DO_ASK)->flag);
	fate(LY_OK, LY_FATE_OPEN);
	tick(LY_SOURCE_GRACE_MS / 2);
	WANT(!said(LY_SRC_DO_ASK)->flag);
	fate(LY_OK, LY_FATE_OPEN);
	tick(LY_SOURCE_GRACE_MS);
	WANT(said(LY_SRC_DO_ASK)->flag);
	fate(LY_OK, LY_FATE_ABORTED);
	want_undone("the destination has not taken the VM");
}

TEST(a_destination_that_says_nothing_is_asked_about)
{
	begin_waiting();
	tick(LY_SOURCE_WAIT_MS - 1);
	WANT(!said(LY_SRC_DO_ASK));
	tick(1);
	WANT(!said(LY_SRC_DO_ASK)->flag);
	ready(LY_OK); /* after all */
	fate(LY_OUTSIDE, LY_FATE_UNKNOWN);
	tick(10 * LY_SOURCE_GRACE_MS);
	WANT(!said(LY_SRC_DO_ASK)->flag); /* it runs there: never abort */
}

TEST(a_home_out_of_reach_is_asked_until_it_answers)
{
	unsigned asked = 0;

	begin_waiting();
	lost();
	for (uint64_t ms = 0; ms < 60000; ms += 50) {
		if (said(LY_SRC_DO_ASK)) {
			asked++;
			fate(LY_OUTSIDE, LY_FATE_UNKNOWN);
		}
		tick(50);
	}
	WANT(asked > 25);
	WANT(asked < 60); /* backed off */
	WANT_INT(done[LY_SRC_DO_ALARM], 1);
	WANT_INT(done[LY_SRC_DO_CONT], 0);
	WANT_INT(done[LY_SRC_DO_QUIT], 0);
	WANT_INT(s.state, LY_SRC_ASK);
}

TEST(the_home_is_not_asked_twice_at_once)
{
	begin_waiting();
	lost();
	tick(60000);
	WANT_INT(done[LY_SRC_DO_ASK], 1);
	tell(LY_SRC_CALLOFF);
	WANT_INT(done[LY_SRC_DO_ASK], 1);
	fate(LY_OK, LY_FATE_OPEN);
	tick(200);
	WANT_INT(done[LY_SRC_DO_ASK], 2);
	WANT(said(LY_SRC_DO_ASK)->flag);
}

/* ---- what fails before RELEASE ---- */

TEST(what_fails_before_release_leaves_the_guest_running)
{
	begin();
	step((struct ly_source_event){ .kind = LY_SRC_SET,
	    .text = "QEMU says no" });
	want_undone("QEMU says no");

	begin();
	tick(LY_SOURCE_SETUP_MS);
	want_undone("QEMU does not begin to migrate");

	begin_copy();
	lost();
	want_undone("cable cut");

	begin_copy();
	ready(LY_REFUSED);
	want_undone("the destination refuses the VM");

	begin_copy();
	ready(LY_OK);
	want_undone("says it runs what it does not have");

	begin_copy();
	tell(LY_SRC_CALLOFF);
	want_undone("called off");

	begin_copy();
	status(LY_MIG_FAILED);
	want_undone("QEMU's own words");

	begin_copy();
	status(LY_MIG_SWITCHING);
	status(LY_MIG_FAILED);
	want_undone("QEMU's own words");
	WANT_INT(done[LY_SRC_DO_RELEASE], 0);
	WANT_INT(done[LY_SRC_DO_ASK], 0);
}

TEST(a_stop_that_fails_or_is_not_answered_is_undone_with_cont)
{
	begin_copy();
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	copy(1, 10 * MIB, 400 * MIB, 0, true);
	copy(2, 10 * MIB, MIB, 0, true);
	tick(LY_SOURCE_SETUP_MS);
	WANT_INT(s.state, LY_SRC_UNDO);
	status(LY_MIG_CANCELLED);
	WANT(said(LY_SRC_DO_CONT)->flag); /* also from "paused" */
	step((struct ly_source_event){ .kind = LY_SRC_STOPPED,
	    .ok = true,
	    .won = true }); /* too late */
	WANT_INT(done[LY_SRC_DO_RELEASE], 0);
	tell(LY_SRC_RESUMED);
	want_over(LY_SOURCE_STAYED, "QEMU does not stop the guest");
}

TEST(a_guest_that_somebody_else_stopped_is_not_started)
{
	begin_copy();
	tell(LY_SRC_CALLOFF);
	status(LY_MIG_CANCELLED);
	WANT(!said(LY_SRC_DO_CONT)->flag);
}

TEST(a_destination_that_cannot_be_reached_costs_nothing)
{
	now = 1000;
	ly_source_init(&s, 0, now);
	WANT_INT(s.downtime_ms, LY_SOURCE_DOWNTIME_MS);
	lost();
	want_over(LY_SOURCE_STAYED, "cable cut");
	ly_source_init(&s, 0, now);
	tell(LY_SRC_CALLOFF);
	want_over(LY_SOURCE_STAYED, "called off");
	ly_source_init(&s, 0, now);
	tick(LY_SOURCE_DIAL_MS);
	want_over(LY_SOURCE_STAYED, "does not answer");
}

TEST(a_qemu_that_ends_before_release_is_the_end_of_the_vm)
{
	begin_copy();
	step((struct ly_source_event){ .kind = LY_SRC_GONE, .text = "killed" });
	want_over(LY_SOURCE_DEAD, "killed");
	WANT_INT(done[LY_SRC_DO_ASK], 0);
}

TEST(a_guest_that_does_not_start_again_is_an_alarm_and_tried_again)
{
	begin_copy();
	tell(LY_SRC_CALLOFF);
	status(LY_MIG_CANCELLED);
	for (int i = 0; i < 5; i++) {
		step((struct ly_source_event){ .kind = LY_SRC_RESUMED,
		    .text = "no" });
		WANT_INT(done[LY_SRC_DO_ALARM], 1);
		tick(1000);
		WANT(said(LY_SRC_DO_CONT));
	}
	tell(LY_SRC_RESUMED);
	want_over(LY_SOURCE_STAYED, "called off");
}

TEST(a_qemu_that_does_not_cancel_is_made_to_run_in_the_end)
{
	begin_copy();
	tell(LY_SRC_CALLOFF);
	tick(LY_SOURCE_UNDO_MS);
	WANT(said(LY_SRC_DO_CONT));
}

/* ---- what fails after RELEASE was asked ---- */

static void
want_asked_to_abort(void)
{
	WANT_INT(s.state, LY_SRC_ASK);
	WANT(said(LY_SRC_DO_ASK)->flag);
	WANT_INT(done[LY_SRC_DO_CONT], 0);
	fate(LY_OK, LY_FATE_ABORTED);
	WANT_INT(s.state, LY_SRC_UNDO);
}

TEST(after_release_only_the_homes_word_starts_the_guest)
{
	begin_won();
	released(LY_REFUSED);
	want_asked_to_abort();

	begin_won();
	lost(); /* RELEASE asked, not answered: as good as answered */
	want_asked_to_abort();

	begin_won();
	ready(LY_REFUSED);
	want_asked_to_abort();

	begin_won();
	tell(LY_SRC_CALLOFF);
	want_asked_to_abort();

	begin_won();
	released(LY_OK);
	status(LY_MIG_FAILED);
	want_asked_to_abort();

	begin_won();
	tick(LY_SOURCE_FINISH_MS);
	want_asked_to_abort();

	begin_waiting();
	tell(LY_SRC_CALLOFF);
	want_asked_to_abort();
}

TEST(a_released_that_comes_too_late_changes_nothing)
{
	begin_won();
	lost();
	released(LY_OK);
	WANT_INT(s.state, LY_SRC_ASK);
	status(LY_MIG_COMPLETED);
	tell(LY_SRC_END);
	WANT_INT(done[LY_SRC_DO_FIN], 0);
}

TEST(a_qemu_that_ends_after_release_is_asked_about)
{
	begin_won();
	tell(LY_SRC_GONE);
	WANT(said(LY_SRC_DO_ASK)->flag);
	fate(LY_OK, LY_FATE_ABORTED);
	want_over(LY_SOURCE_DEAD, "outside");

	begin_waiting();
	tell(LY_SRC_GONE); /* FIN is sent: nobody needs it */
	WANT_INT(s.state, LY_SRC_WAIT);
	ready(LY_OK);
	fate(LY_OK, LY_FATE_CLAIMED);
	want_over(LY_SOURCE_MOVED, "");
}

TEST(a_destination_that_runs_what_the_home_aborted_is_an_alarm)
{
	begin_waiting();
	ready(LY_OK);
	fate(LY_OK, LY_FATE_ABORTED);
	WANT(said(LY_SRC_DO_ALARM));
	WANT_INT(s.state, LY_SRC_UNDO);
}

TEST_MAIN()
