/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/away/away.h"
#include "tests/test.h"

static const struct ly_id mig = { { 2 } };
static const uint8_t secret[LY_SECRET_LEN] = { 42 };

struct world {
	struct ly_away away;
	struct ly_away_todos todo; /* of the last step */
	uint64_t now_ms;
};

static void
tell(struct world *w, struct ly_away_event ev)
{
	w->todo.n = 0;
	ev.now_ms = w->now_ms;
	ev.secret = secret;
	ly_away_step(&w->away, &ev, &w->todo);
}

static void
happens(struct world *w, enum ly_away_kind kind)
{
	tell(w, (struct ly_away_event){ .kind = kind, .mig = mig });
}

static const struct ly_away_todo *
find(const struct world *w, enum ly_away_act act)
{
	for (unsigned i = 0; i < w->todo.n; i++)
		if (w->todo.act[i].act == act)
			return &w->todo.act[i];
	return NULL;
}

static const struct ly_away_todo *
told(const struct world *w, enum ly_away_kind what)
{
	for (unsigned i = 0; i < w->todo.n; i++)
		if (w->todo.act[i].act == LY_TELL &&
		    w->todo.act[i].what == what)
			return &w->todo.act[i];
	return NULL;
}

static void
granted(struct world *w, enum ly_rc rc, uint64_t epoch, uint64_t seq)
{
	tell(w,
	    (struct ly_away_event){ .kind = LY_AWAY_HEAR_GRANTED,
		.rc = rc,
		.epoch = epoch,
		.seq = seq });
}

static void
answer(struct world *w, uint64_t seq)
{
	tell(w,
	    (struct ly_away_event){ .kind = LY_AWAY_HEAR_ANSWER,
		.epoch = w->away.epoch,
		.seq = seq,
		.good = true });
}

static void
outcome(struct world *w, enum ly_fate fate)
{
	tell(w,
	    (struct ly_away_event){ .kind = LY_AWAY_HEAR_OUTCOME,
		.mig = mig,
		.fate = fate,
		.epoch = 3 });
}

static struct world
held(void)
{
	struct world w = { .now_ms = 1000 };

	ly_away_init(&w.away);
	happens(&w, LY_AWAY_ATTACH);
	happens(&w, LY_AWAY_UP);
	granted(&w, LY_OK, 3, 6);
	return w;
}

static struct world
released(void)
{
	struct world w = held();

	happens(&w, LY_AWAY_RELEASE);
	tell(&w,
	    (struct ly_away_event){ .kind = LY_AWAY_HEAR_RELEASED,
		.mig = mig });
	return w;
}

TEST(a_start_called_off_gives_back_what_it_is_granted)
{
	struct world w = { .now_ms = 1000 };

	ly_away_init(&w.away);
	happens(&w, LY_AWAY_UP);
	happens(&w, LY_AWAY_ATTACH);
	happens(&w, LY_AWAY_DETACH);
	WANT(!told(&w, LY_AWAY_DETACH));
	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_UP);
	WANT(find(&w, LY_SAY_ATTACH));
	granted(&w, LY_OK, 4, 6);
	WANT(!told(&w, LY_AWAY_ATTACH));
	WANT_INT(find(&w, LY_SAY_DETACH)->epoch, 4);
	tell(&w, (struct ly_away_event){ .kind = LY_AWAY_HEAR_DETACHED });
	WANT_INT(told(&w, LY_AWAY_DETACH)->rc, LY_OK);
}

TEST(a_link_lost_with_the_answer_to_DETACH_still_ends_it)
{
	struct world w = held();

	happens(&w, LY_AWAY_DETACH);
	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_UP);
	WANT(find(&w, LY_SAY_RESUME));
	granted(&w, LY_FENCED, 0, 0);
	WANT(!told(&w, LY_AWAY_HEAR_FENCE));
	WANT(told(&w, LY_AWAY_DETACH)->rc != LY_REFUSED);
	WANT_INT(w.away.state, LY_AWAY_NONE);
}

TEST(a_start_called_off_and_refused_is_over)
{
	struct world w = { .now_ms = 1000 };

	ly_away_init(&w.away);
	happens(&w, LY_AWAY_UP);
	happens(&w, LY_AWAY_ATTACH);
	happens(&w, LY_AWAY_DETACH);
	granted(&w, LY_FENCED, 0, 0);
	WANT_INT(told(&w, LY_AWAY_DETACH)->rc, LY_OK);
	WANT_INT(w.away.state, LY_AWAY_NONE);
}

TEST(a_copy_whose_lease_another_got_by_force_stays_stopped)
{
	struct world w = released();
	struct ly_away_event ev = { .kind = LY_AWAY_HEAR_OUTCOME,
		.mig = mig,
		.fate = LY_FATE_ABORTED,
		.epoch = 4 };

	for (unsigned i = 0; i < 2; i++) { /* and when it is asked again */
		happens(&w, LY_AWAY_ASK);
		tell(&w, ev);
		WANT_INT(w.away.state, LY_AWAY_DEAD);
		WANT(told(&w, LY_AWAY_ASK)->fate != LY_FATE_ABORTED);
		WANT_INT(told(&w, LY_AWAY_ASK)->rc, LY_FENCED);
	}
}

TEST(a_manager_that_says_aborted_in_a_later_epoch_wakes_no_copy)
{
	struct world w = released();

	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_ASK);
	tell(&w,
	    (struct ly_away_event){ .kind = LY_AWAY_SETTLED,
		.mig = mig,
		.fate = LY_FATE_ABORTED,
		.epoch = 4 });
	WANT_INT(w.away.state, LY_AWAY_DEAD);
	WANT(told(&w, LY_AWAY_ASK)->fate != LY_FATE_ABORTED);
	w = released();
	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_ASK);
	tell(&w,
	    (struct ly_away_event){ .kind = LY_AWAY_SETTLED,
		.mig = mig,
		.fate = LY_FATE_ABORTED,
		.epoch = 3 });
	WANT_INT(w.away.state, LY_AWAY_HELD);
	WANT_INT(told(&w, LY_AWAY_ASK)->fate, LY_FATE_ABORTED);
}

TEST(a_destination_that_gives_up_tells_the_home_if_it_can)
{
	struct world w = { .now_ms = 1000 };

	ly_away_init(&w.away);
	happens(&w, LY_AWAY_UP);
	happens(&w, LY_AWAY_STAGE);
	tell(&w, (struct ly_away_event){ .kind = LY_AWAY_HEAR_STAGED });
	happens(&w, LY_AWAY_DETACH);
	WANT(find(&w, LY_SAY_ABORT));
	WANT(ly_id_same(&find(&w, LY_SAY_ABORT)->mig, &mig));
	WANT_INT(told(&w, LY_AWAY_DETACH)->rc, LY_OK);
	ly_away_init(&w.away);
	happens(&w, LY_AWAY_STAGE);
	happens(&w, LY_AWAY_DETACH);
	WANT(!find(&w, LY_SAY_ABORT));
	WANT_INT(told(&w, LY_AWAY_DETACH)->rc, LY_OK);
}

static void
lease(struct world *w, bool lapsed)
{
	tell(w,
	    (struct ly_away_event){ .kind = LY_AWAY_LEASE, .lapsed = lapsed });
}

TEST(no_command_is_numbered_without_a_good_lease)
{
	struct world w = held();

	lease(&w, true);
	WANT_INT(told(&w, LY_AWAY_LEASE)->rc, LY_OUTSIDE);
	tell(&w,
	    (struct ly_away_event){ .kind = LY_AWAY_COMMAND, .lapsed = true });
	WANT(w.todo.n == 0);
	lease(&w, false);
	WANT_INT(find(&w, LY_SAY_COMMAND)->seq, 7);
	WANT_INT(told(&w, LY_AWAY_LEASE)->rc, LY_OK);
	lease(&w, false);
	WANT(w.todo.n == 0); /* told once */
}

TEST(a_lease_lapsed_too_long_fails_the_tpm_until_the_reset)
{
	struct world w = held();
	struct ly_away_event tick = { .kind = LY_AWAY_TICK, .lapsed = true };

	tell(&w,
	    (struct ly_away_event){ .kind = LY_AWAY_COMMAND, .lapsed = true });
	w.now_ms += LY_GRACE_MS - 1;
	tell(&w, tick);
	WANT(!find(&w, LY_GIVE_FAILURE));
	w.now_ms++;
	tell(&w, tick);
	WANT(find(&w, LY_GIVE_FAILURE) && find(&w, LY_TELL_ALARM));
	WANT_INT(told(&w, LY_AWAY_LEASE)->rc, LY_FAILED);
	lease(&w, false);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_GIVE_FAILURE)); /* the lease alone mends nothing */
	happens(&w, LY_AWAY_RESET);
	WANT(find(&w, LY_SAY_INIT));
	WANT_INT(told(&w, LY_AWAY_LEASE)->rc, LY_OK);
}

TEST(what_this_side_knows_may_be_told_only_while_the_lease_is_good)
{
	struct ly_away_event good = { .kind = LY_AWAY_COMMAND };
	struct ly_away_event lapsed = { .lapsed = true };
	struct world w = held();

	WANT(ly_away_may_answer(&w.away, &good));
	WANT(!ly_away_may_answer(&w.away, &lapsed));
	happens(&w, LY_AWAY_DOWN);
	WANT(ly_away_may_answer(&w.away, &good)); /* till the lease ends */
	w.away.broken = true;
	WANT(!ly_away_may_answer(&w.away, &good));
	w = released();
	WANT(!ly_away_may_answer(&w.away, &good));
}

TEST(a_home_that_grants_an_epoch_of_the_past_is_not_believed)
{
	struct world w = held();

	happens(&w, LY_AWAY_DETACH);
	tell(&w, (struct ly_away_event){ .kind = LY_AWAY_HEAR_DETACHED });
	happens(&w, LY_AWAY_ATTACH);
	granted(&w, LY_OK, 2, 0);
	WANT_INT(w.away.state, LY_AWAY_DEAD);
	WANT_INT(told(&w, LY_AWAY_ATTACH)->rc, LY_MALFORMED);
}

TEST(a_home_that_grants_the_last_seq_there_is_is_not_believed)
{
	struct world w = { .now_ms = 1000 };

	ly_away_init(&w.away);
	happens(&w, LY_AWAY_UP);
	happens(&w, LY_AWAY_ATTACH);
	granted(&w, LY_OK, 3, UINT64_MAX);
	WANT_INT(told(&w, LY_AWAY_ATTACH)->rc, LY_MALFORMED);
}

TEST(a_start_asks_as_soon_as_the_link_is_up)
{
	struct world w = { .now_ms = 1000 };

	ly_away_init(&w.away);
	happens(&w, LY_AWAY_ATTACH);
	WANT(w.todo.n == 0);
	happens(&w, LY_AWAY_UP);
	WANT(find(&w, LY_SAY_ATTACH));
	granted(&w, LY_OK, 3, 6);
	WANT(told(&w, LY_AWAY_ATTACH)->rc == LY_OK);
}

TEST(a_refused_start_is_told_and_forgotten)
{
	struct world w = { .now_ms = 1000 };

	ly_away_init(&w.away);
	happens(&w, LY_AWAY_UP);
	happens(&w, LY_AWAY_ATTACH);
	granted(&w, LY_FENCED, 0, 0);
	WANT(told(&w, LY_AWAY_ATTACH)->rc == LY_FENCED);
	WANT(w.away.state == LY_AWAY_NONE);
}

TEST(commands_go_on_from_the_homes_seq)
{
	struct world w = held();

	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_SAY_COMMAND)->seq == 7);
	answer(&w, 7);
	WANT(find(&w, LY_GIVE_ANSWER));
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_SAY_COMMAND)->seq == 8);
}

TEST(a_command_in_flight_is_sent_again_unchanged_after_the_link_was_lost)
{
	struct world w = held();

	happens(&w, LY_AWAY_COMMAND);
	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_UP);
	WANT(find(&w, LY_SAY_RESUME)->waiting);
	WANT(!find(&w, LY_SAY_COMMAND));
	granted(&w, LY_OK, 3, 7); /* it had arrived */
	WANT(find(&w, LY_SAY_COMMAND)->seq == 7);
	answer(&w, 7);
	WANT(find(&w, LY_GIVE_ANSWER));
}

TEST(a_command_that_comes_while_the_link_is_down_waits_for_it)
{
	struct world w = held();

	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_COMMAND);
	WANT(w.todo.n == 0);
	happens(&w, LY_AWAY_UP);
	WANT(!find(&w, LY_SAY_RESUME)->waiting);
	granted(&w, LY_OK, 3, 6);
	WANT(find(&w, LY_SAY_COMMAND)->seq == 7);
}

TEST(a_home_that_counts_otherwise_is_an_alarm_and_the_tpm_is_dead)
{
	struct world w = held();

	happens(&w, LY_AWAY_COMMAND);
	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_UP);
	granted(&w, LY_OK, 3, 5);
	WANT(find(&w, LY_TELL_ALARM) && find(&w, LY_GIVE_FAILURE));
	WANT(w.away.state == LY_AWAY_DEAD);
}

TEST(a_reset_goes_before_the_command_that_came_after_it)
{
	struct world w = held();

	happens(&w, LY_AWAY_RESET);
	WANT(find(&w, LY_SAY_INIT)->seq == 7);
	happens(&w, LY_AWAY_COMMAND);
	WANT(w.todo.n == 0);
	answer(&w, 7);
	WANT(!find(&w, LY_GIVE_ANSWER));
	WANT(find(&w, LY_SAY_COMMAND)->seq == 8);
}

TEST(an_answer_nobody_asked_for_is_an_alarm_and_goes_nowhere)
{
	struct world w = held();

	answer(&w, 6);
	WANT(find(&w, LY_TELL_ALARM) && !find(&w, LY_GIVE_ANSWER));
	happens(&w, LY_AWAY_COMMAND);
	answer(&w, 8);
	WANT(find(&w, LY_TELL_ALARM) && !find(&w, LY_GIVE_ANSWER));
}

TEST(a_home_out_of_reach_too_long_fails_the_tpm_until_the_reset)
{
	struct world w = held();

	happens(&w, LY_AWAY_COMMAND);
	happens(&w, LY_AWAY_DOWN);
	w.now_ms += LY_GRACE_MS - 1;
	happens(&w, LY_AWAY_TICK);
	WANT(w.todo.n == 0);
	w.now_ms++;
	happens(&w, LY_AWAY_TICK);
	WANT(find(&w, LY_GIVE_FAILURE));
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_GIVE_FAILURE));
	happens(&w, LY_AWAY_UP);
	granted(&w, LY_OK, 3, 7);
	WANT(find(&w, LY_SAY_COMMAND)); /* settled, its answer dropped */
	answer(&w, 7);
	WANT(!find(&w, LY_GIVE_ANSWER));
	happens(&w, LY_AWAY_RESET);
	WANT(find(&w, LY_SAY_INIT)->seq == 8);
	answer(&w, 8);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_SAY_COMMAND)->seq == 9);
}

TEST(a_guest_made_of_an_older_memory_has_no_tpm_until_its_reset)
{
	struct world w = held();

	happens(&w, LY_AWAY_STALE);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_GIVE_FAILURE));
	WANT(!find(&w, LY_SAY_COMMAND));
	happens(&w, LY_AWAY_RESET);
	WANT(find(&w, LY_SAY_INIT)->seq == 7);
	answer(&w, 7);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_SAY_COMMAND)->seq == 8);
}

TEST(a_reset_from_before_the_older_memory_does_not_count)
{
	struct world w = held();

	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_RESET); /* QEMU's own, before it loads */
	happens(&w, LY_AWAY_STALE);
	happens(&w, LY_AWAY_UP);
	granted(&w, LY_OK, 3, 6);
	WANT(find(&w, LY_SAY_INIT)->seq == 7);
	answer(&w, 7);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_GIVE_FAILURE));
	happens(&w, LY_AWAY_RESET);
	WANT(find(&w, LY_SAY_INIT)->seq == 8);
	answer(&w, 8);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_SAY_COMMAND)->seq == 9);
}

/* Found by the simulator: the reset that mended it was older than the failure. */
TEST(a_reset_that_came_before_the_failure_does_not_mend_it)
{
	struct world w = held();

	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_RESET);
	happens(&w, LY_AWAY_COMMAND);
	w.now_ms += LY_GRACE_MS;
	happens(&w, LY_AWAY_TICK);
	WANT(find(&w, LY_GIVE_FAILURE));
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_GIVE_FAILURE));
	happens(&w, LY_AWAY_UP);
	granted(&w, LY_OK, 3, 6);
	WANT(find(&w, LY_SAY_INIT)->seq == 7);
	answer(&w, 7);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_GIVE_FAILURE));
	happens(&w, LY_AWAY_RESET);
	answer(&w, 8);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_SAY_COMMAND)->seq == 9);
}

TEST(a_reset_that_waits_for_the_home_fails_nothing)
{
	struct world w = held();

	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_RESET);
	w.now_ms += LY_GRACE_MS;
	happens(&w, LY_AWAY_TICK);
	WANT(!w.away.broken && !find(&w, LY_TELL_ALARM));
}

/* A command of before the reset may still wait to be settled with the home; what
 * the guest asks after it has all its time. */
TEST(a_reset_while_the_home_is_out_of_reach_begins_the_grace_anew)
{
	struct world w = held();

	happens(&w, LY_AWAY_COMMAND);
	happens(&w, LY_AWAY_DOWN);
	w.now_ms += LY_GRACE_MS;
	happens(&w, LY_AWAY_TICK);
	WANT(find(&w, LY_GIVE_FAILURE));
	w.now_ms += 5000;
	happens(&w, LY_AWAY_RESET);
	happens(&w, LY_AWAY_COMMAND);
	w.now_ms += LY_GRACE_MS - 1;
	happens(&w, LY_AWAY_TICK);
	WANT(!w.away.broken && !find(&w, LY_GIVE_FAILURE));
	w.now_ms += 1;
	happens(&w, LY_AWAY_TICK);
	WANT(find(&w, LY_GIVE_FAILURE));
}

TEST(a_source_with_a_command_in_flight_may_not_release)
{
	struct world w = held();

	happens(&w, LY_AWAY_COMMAND);
	happens(&w, LY_AWAY_RELEASE);
	WANT(told(&w, LY_AWAY_RELEASE)->rc == LY_BUSY);
	WANT(w.away.state == LY_AWAY_HELD);
}

TEST(a_source_whose_migration_is_still_open_stays_released)
{
	struct world w = released();

	for (unsigned fate = LY_FATE_UNKNOWN; fate <= LY_FATE_OPEN; fate++) {
		tell(&w,
		    (struct ly_away_event){ .kind = LY_AWAY_ASK, .mig = mig });
		outcome(&w, (enum ly_fate)fate);
		WANT(w.away.state == LY_AWAY_RELEASED);
	}
	happens(&w, LY_AWAY_COMMAND);
	WANT(!find(&w, LY_SAY_COMMAND));
}

TEST(a_reset_and_a_command_that_both_waited_go_in_that_order)
{
	struct world w = held();

	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_RESET);
	happens(&w, LY_AWAY_COMMAND);
	happens(&w, LY_AWAY_UP);
	granted(&w, LY_OK, 3, 6);
	WANT(find(&w, LY_SAY_INIT)->seq == 7 && !find(&w, LY_SAY_COMMAND));
	answer(&w, 7);
	WANT(find(&w, LY_SAY_COMMAND)->seq == 8);
}

TEST(nothing_is_numbered_between_release_and_the_homes_word)
{
	struct world w = released();

	happens(&w, LY_AWAY_COMMAND);
	WANT(!find(&w, LY_SAY_COMMAND) && !find(&w, LY_GIVE_FAILURE));
	tell(&w,
	    (struct ly_away_event){ .kind = LY_AWAY_ASK,
		.mig = mig,
		.abort = true });
	WANT(find(&w, LY_SAY_ABORT));
	outcome(&w, LY_FATE_ABORTED);
	WANT(told(&w, LY_AWAY_ASK)->fate == LY_FATE_ABORTED);
	WANT(find(&w, LY_SAY_COMMAND)->seq == 7);
}

TEST(a_source_whose_vm_was_claimed_never_speaks_again)
{
	struct world w = released();

	tell(&w, (struct ly_away_event){ .kind = LY_AWAY_ASK, .mig = mig });
	outcome(&w, LY_FATE_CLAIMED);
	WANT(w.away.state == LY_AWAY_DEAD);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_GIVE_FAILURE));
	happens(&w, LY_AWAY_UP);
	WANT(w.todo.n == 0);
}

TEST(a_release_whose_answer_was_lost_is_asked_again_after_resume)
{
	struct world w = held();

	happens(&w, LY_AWAY_RELEASE);
	WANT(find(&w, LY_SAY_RELEASE)->seq == 6);
	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_UP);
	WANT(find(&w, LY_SAY_RESUME));
	granted(&w, LY_OK, 3, 6);
	WANT(find(&w, LY_SAY_RELEASE));
}

TEST(the_outcome_is_asked_again_when_the_link_comes_back)
{
	struct world w = released();

	happens(&w, LY_AWAY_DOWN);
	tell(&w,
	    (struct ly_away_event){ .kind = LY_AWAY_ASK,
		.mig = mig,
		.abort = true });
	WANT(w.todo.n == 0);
	happens(&w, LY_AWAY_UP);
	WANT(find(&w, LY_SAY_ABORT));
}

TEST(a_destination_claims_and_holds)
{
	struct world w = { .now_ms = 1000 };

	ly_away_init(&w.away);
	happens(&w, LY_AWAY_UP);
	happens(&w, LY_AWAY_STAGE);
	WANT(find(&w, LY_SAY_PRESTAGE));
	happens(&w, LY_AWAY_HEAR_STAGED);
	WANT(told(&w, LY_AWAY_STAGE)->rc == LY_OK);
	happens(&w, LY_AWAY_CLAIM);
	WANT(find(&w, LY_SAY_CLAIM));
	granted(&w, LY_OK, 4, 6);
	WANT(told(&w, LY_AWAY_CLAIM)->rc == LY_OK);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_SAY_COMMAND)->seq == 7);
	WANT(find(&w, LY_SAY_COMMAND)->epoch == 4);
}

TEST(a_claim_is_asked_until_it_is_answered)
{
	struct world w = { .now_ms = 1000 };

	ly_away_init(&w.away);
	happens(&w, LY_AWAY_UP);
	happens(&w, LY_AWAY_STAGE);
	happens(&w, LY_AWAY_HEAR_STAGED);
	happens(&w, LY_AWAY_CLAIM);
	granted(&w, LY_BUSY, 0, 0);
	w.now_ms += LY_RETRY_MS;
	happens(&w, LY_AWAY_TICK);
	WANT(find(&w, LY_SAY_CLAIM));
	happens(&w, LY_AWAY_DOWN);
	happens(&w, LY_AWAY_UP);
	WANT(find(&w, LY_SAY_PRESTAGE)); /* the door first */
	tell(&w,
	    (struct ly_away_event){ .kind = LY_AWAY_HEAR_STAGED,
		.rc = LY_REFUSED }); /* for it was claimed, perhaps */
	WANT(find(&w, LY_SAY_CLAIM));
	happens(&w, LY_AWAY_DETACH);
	WANT(told(&w, LY_AWAY_DETACH)->rc == LY_REFUSED);
}

TEST(a_fenced_holder_fails_its_guest_and_says_so)
{
	struct world w = held();

	happens(&w, LY_AWAY_COMMAND);
	happens(&w, LY_AWAY_HEAR_FENCE);
	WANT(find(&w, LY_GIVE_FAILURE));
	WANT(told(&w, LY_AWAY_HEAR_FENCE));
	happens(&w, LY_AWAY_RESET);
	happens(&w, LY_AWAY_COMMAND);
	WANT(find(&w, LY_GIVE_FAILURE));
}

TEST(a_vm_that_is_off_gives_its_lease_back)
{
	struct world w = held();

	happens(&w, LY_AWAY_COMMAND);
	happens(&w, LY_AWAY_DETACH);
	WANT(find(&w, LY_SAY_DETACH));
	tell(&w,
	    (struct ly_away_event){ .kind = LY_AWAY_HEAR_DETACHED,
		.rc = LY_BUSY });
	w.now_ms += LY_RETRY_MS;
	happens(&w, LY_AWAY_TICK);
	WANT(find(&w, LY_SAY_DETACH));
	happens(&w, LY_AWAY_HEAR_DETACHED);
	WANT(told(&w, LY_AWAY_DETACH)->rc == LY_OK);
}

TEST(random_events_never_number_a_command_without_the_lease)
{
	uint32_t x = 4711;

	for (unsigned round = 0; round < 300; round++) {
		struct world w = { .now_ms = 1000 };

		ly_away_init(&w.away);
		for (unsigned i = 0; i < 400; i++) {
			enum ly_away_state was = w.away.state;
			bool up = w.away.up;
			struct ly_away_event ev = { .mig = mig };
			const struct ly_away_todo *sent;

			x = x * 1664525 + 1013904223;
			ev.kind = (enum ly_away_kind)((x >> 8) % LY_AWAY_KINDS);
			ev.rc = (x >> 16) % 3 ?
			    LY_OK :
			    (enum ly_rc)((x >> 18) % LY_RCS);
			ev.epoch = w.away.epoch + (x >> 22) % 2;
			ev.seq = w.away.seq - (w.away.seq && (x >> 24) % 2);
			ev.fate = (enum ly_fate)((x >> 25) % 4);
			ev.good = x >> 31;
			if (ev.kind == LY_AWAY_COMMAND &&
			    (w.away.command || w.away.sent == LY_SENT_COMMAND))
				continue; /* the shell has one place */
			if (!w.away.linked && ev.kind > LY_AWAY_DOWN &&
			    ev.kind < LY_AWAY_TICK)
				continue;
			w.now_ms += (x >> 20) % 5000;
			tell(&w, ev);
			sent = find(&w, LY_SAY_COMMAND);
			WANT(!sent || (w.away.linked && w.away.up));
			WANT(!sent || was == LY_AWAY_HELD || !up ||
			    w.away.state == LY_AWAY_HELD);
		}
	}
}

TEST_MAIN()
