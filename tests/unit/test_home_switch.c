/* SPDX-License-Identifier: Apache-2.0 */
/* A migration as the home has it: release, claim, abort, and the fates. */
#include "tests/unit/home_scene.h"

TEST(a_migration_commits_at_the_claim_and_the_old_holder_is_fenced)
{
	struct world w = prepared();

	command(&w, DOOR_A, 1, 2, hash1); /* it runs on while PREPARED */
	answer(&w);
	release(&w, 2);
	disk(&w, true);
	WANT(find(&w, LY_DO_RELEASED)->rc == LY_OK);
	claim(&w, 2);
	WANT(!find(&w, LY_DO_GRANT));
	disk(&w, true);
	WANT(find(&w, LY_DO_GRANT)->epoch == 2);
	WANT(find(&w, LY_DO_GRANT)->seq == 2);
	WANT(find(&w, LY_DO_FENCE)->door == DOOR_A);
	command(&w, DOOR_A, 1, 3, hash1);
	WANT(find(&w, LY_DO_REFUSE)->rc == LY_FENCED);
	command(&w, DOOR_B, 2, 3, hash1);
	WANT(w.runs == 2);
}

TEST(a_command_caught_by_a_migration_is_known_again_by_its_seq)
{
	struct world w = prepared();

	command(&w, DOOR_A, 1, 2, hash1);
	answer(&w);
	release(&w, 2);
	disk(&w, true);
	claim(&w, 2);
	disk(&w, true);
	command(&w, DOOR_B, 2, 2, hash1); /* its answer never reached A */
	WANT(find(&w, LY_DO_ANSWER)->door == DOOR_B);
	WANT(w.runs == 1);
}

TEST(no_command_runs_between_release_and_the_outcome)
{
	struct world w = prepared();

	release(&w, 1);
	command(&w, DOOR_A, 1, 2, hash1); /* while it is written */
	WANT(find(&w, LY_DO_REFUSE));
	tell(&w, (struct ly_home_event){ .kind = LY_HOME_WRITTEN, .ok = true });
	command(&w, DOOR_A, 1, 2, hash1);
	WANT(find(&w, LY_DO_REFUSE));
	claim(&w, 1);
	command(&w, DOOR_A, 1, 2, hash1); /* while the claim is written */
	WANT(find(&w, LY_DO_REFUSE));
	WANT(w.runs == 0);
}

TEST(a_release_with_another_seq_or_a_running_command_is_refused)
{
	struct world w = prepared();

	release(&w, 5);
	WANT(find(&w, LY_DO_RELEASED)->rc == LY_MALFORMED);
	command(&w, DOOR_A, 1, 2, hash1);
	release(&w, 2);
	WANT(find(&w, LY_DO_RELEASED)->rc == LY_MALFORMED);
	WANT(w.home.rec.state == LY_REC_PREPARED);
}

TEST(a_claim_before_its_release_waits_for_it)
{
	struct world w = prepared();

	claim(&w, 1);
	WANT(w.todo.n == 0);
	release(&w, 1);
	disk(&w, true); /* RELEASED, and the claim is written at once */
	WANT(find(&w, LY_DO_RELEASED)->rc == LY_OK);
	disk(&w, true);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OK);
	WANT(w.home.rec.epoch == 2);
}

TEST(a_claim_that_waits_is_refused_when_the_migration_is_aborted)
{
	struct world w = prepared();

	claim(&w, 1);
	ask_abort(&w, A);
	disk(&w, true);
	WANT(find(&w, LY_DO_OUTCOME)->fate == LY_FATE_ABORTED);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_REFUSED);
}

TEST(memory_of_another_moment_cannot_claim)
{
	struct world w = prepared();

	command(&w, DOOR_A, 1, 2, hash1);
	answer(&w);
	release(&w, 2);
	disk(&w, true);
	claim(&w, 1);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_REFUSED);
	WANT(find(&w, LY_DO_ALARM));
	claim_with(&w, B, NULL); /* a MAC that did not fit */
	WANT(find(&w, LY_DO_GRANT)->rc == LY_REFUSED);
	WANT(w.home.rec.epoch == 1);
}

/* Found by the simulator: the source's agent had told its guest that the TPM
 * failed, the home knew nothing of it, and the destination even less. */
TEST(a_tpm_that_failed_at_the_source_has_failed_at_the_destination)
{
	struct world w = prepared();
	struct ly_token t = { .vm = vm,
		.mig = mig,
		.epoch = 1,
		.seq = 1,
		.failed = true };

	release(&w, 1);
	disk(&w, true);
	claim_with(&w, B, &t);
	disk(&w, true);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OK);
	command(&w, DOOR_B, 2, 2, hash1);
	WANT(find(&w, LY_DO_KEEP_FAILURE));
	WANT(w.runs == 0);
}

TEST(only_the_host_that_was_prestaged_can_claim)
{
	struct world w = prepared();
	struct ly_token t = { .vm = vm, .mig = mig, .epoch = 1, .seq = 1 };

	release(&w, 1);
	disk(&w, true);
	claim_with(&w, "spiffe://south/host/c", &t);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_REFUSED);
}

TEST(abort_wins_when_it_comes_first_and_claim_is_told_so)
{
	struct world w = prepared();

	release(&w, 1);
	disk(&w, true);
	ask_abort(&w, A);
	disk(&w, true);
	WANT(find(&w, LY_DO_OUTCOME)->fate == LY_FATE_ABORTED);
	claim(&w, 1);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_REFUSED);
	WANT(w.home.rec.epoch == 1);
	command(&w, DOOR_A, 1, 2, hash1); /* A goes on */
	WANT(w.runs == 1);
}

/* Nothing of before but the record: RELEASED was told, and then we died. */
static struct world
restarted_while_released(void)
{
	struct world w = prepared();
	struct ly_record rec;

	release(&w, 1);
	disk(&w, true);
	rec = w.home.rec;
	WANT(rec.state == LY_REC_QUIESCED);
	ly_home_init(&w.home, &rec);
	return w;
}

TEST(a_home_that_was_restarted_between_release_and_claim_still_commits)
{
	struct world w = restarted_while_released();

	stage(&w, B, DOOR_B); /* its door was ours, too */
	claim(&w, 1);
	disk(&w, true);
	WANT(find(&w, LY_DO_GRANT)->epoch == 2);
	ask_abort(&w, A);
	WANT(find(&w, LY_DO_OUTCOME)->fate == LY_FATE_CLAIMED);
	WANT(w.home.rec.epoch == 2);
}

TEST(a_home_that_was_restarted_between_release_and_abort_gives_the_vm_back)
{
	struct world w = restarted_while_released();

	command(&w, DOOR_A, 1, 2, hash1); /* before the outcome: never */
	WANT(w.runs == 0);
	ask_abort(&w, A);
	disk(&w, true);
	WANT(find(&w, LY_DO_OUTCOME)->fate == LY_FATE_ABORTED);
	stage(&w, B, DOOR_B);
	claim(&w, 1);
	WANT(find(&w, LY_DO_GRANT) == NULL ||
	    find(&w, LY_DO_GRANT)->rc != LY_OK);
	WANT(w.home.rec.epoch == 1);
}

TEST(claim_wins_when_it_comes_first_and_abort_is_told_so)
{
	struct world w = prepared();

	release(&w, 1);
	disk(&w, true);
	claim(&w, 1);
	disk(&w, true);
	ask_abort(&w, A);
	WANT(!find(&w, LY_DO_WRITE));
	WANT_INT(find(&w, LY_DO_OUTCOME)->rc, LY_OK);
	WANT(find(&w, LY_DO_OUTCOME)->fate == LY_FATE_CLAIMED);
	WANT(find(&w, LY_DO_OUTCOME)->epoch == 2);
	ask_abort(&w, NULL); /* our manager, who may abort what is open */
	WANT(!find(&w, LY_DO_WRITE));
	WANT(find(&w, LY_DO_OUTCOME)->fate == LY_FATE_CLAIMED);
}

TEST(a_claim_whose_answer_was_lost_gets_the_same_answer)
{
	struct world w = prepared();

	release(&w, 1);
	disk(&w, true);
	claim(&w, 1);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_GONE,
		.door = DOOR_B }); /* while it is written */
	tell(&w, (struct ly_home_event){ .kind = LY_HOME_WRITTEN, .ok = true });
	claim(&w, 1);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OK);
	WANT(find(&w, LY_DO_GRANT)->epoch == 2);
	WANT(w.home.door == DOOR_B);
}

TEST(a_stranger_cannot_abort)
{
	struct world w = prepared();

	ask_abort(&w, "spiffe://south/host/c");
	WANT(find(&w, LY_DO_OUTCOME)->rc == LY_REFUSED);
	WANT(!find(&w, LY_DO_WRITE));
}

TEST(a_migration_aborted_before_it_was_prepared_cannot_be_prepared)
{
	struct world w = attached();

	ask_abort(&w, NULL); /* our manager */
	disk(&w, true);
	stage(&w, B, DOOR_B);
	WANT(find(&w, LY_DO_STAGED)->rc == LY_REFUSED);
}

TEST(a_second_migration_is_refused_while_one_is_pending)
{
	struct world w = prepared();
	struct ly_ticket t = ticket(&w, B, LY_MAY_MOVE);

	t.mig = mig2;
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_PRESTAGE,
		.door = DOOR_B,
		.who = B,
		.ticket = &t,
		.mig = mig2 });
	WANT(find(&w, LY_DO_STAGED)->rc == LY_REFUSED);
	stage(&w, B, DOOR_B);
	WANT(find(&w, LY_DO_STAGED)->rc == LY_OK);
}

TEST(a_destination_that_is_gone_past_its_time_is_forgotten)
{
	struct world w = prepared();
	uint64_t epoch;

	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_TICK, .now = NOW + 1000 });
	WANT(!find(&w, LY_DO_WRITE)); /* its link is there */
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_GONE, .door = DOOR_B });
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_TICK, .now = NOW + 1000 });
	disk(&w, true);
	WANT(w.home.rec.state == LY_REC_ATTACHED);
	WANT(ly_record_fate(&w.home.rec, &mig, &epoch) == LY_FATE_ABORTED);
}

TEST(a_released_vm_waits_for_ever_rather_than_run_twice)
{
	struct world w = prepared();

	release(&w, 1);
	disk(&w, true);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_GONE, .door = DOOR_B });
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_TICK,
		.now = NOW + 1000000 });
	WANT(w.todo.n == 0);
	WANT(w.home.rec.state == LY_REC_QUIESCED);
}

TEST(fates_are_kept_newest_first_and_the_oldest_falls_out)
{
	struct world w = attached();
	uint64_t epoch;
	struct ly_id id = { { 0 } };

	for (uint8_t i = 1; i <= LY_FATES_KEPT + 1; i++) {
		id.b[0] = i;
		tell(&w,
		    (struct ly_home_event){ .kind = LY_HOME_ABORT,
			.door = DOOR_A,
			.mig = id });
		disk(&w, true);
	}
	WANT(ly_record_fate(&w.home.rec, &id, &epoch) == LY_FATE_ABORTED);
	id.b[0] = 1;
	WANT(ly_record_fate(&w.home.rec, &id, &epoch) == LY_FATE_UNKNOWN);
}

TEST_MAIN()
