/* SPDX-License-Identifier: Apache-2.0 */
/* manager/saga of attested migrations: evidence, its appraisal, and the key. */
#include "tests/unit/saga_scene.h"

static struct world
attested(enum ly_saga_state until)
{
	return begun_as(until, true);
}

static void
every_state_can_be_reached_in_an_attested_migration(void **state)
{
	struct world w;

	(void)state;
	for (unsigned i = 0; i < LY_SAGA_STATES; i++)
		w = attested((enum ly_saga_state)i);
	w = attested(LY_SAGA_CLEANED);
	for (unsigned i = LY_STEP_QUOTE_DEST; i <= LY_STEP_COPY; i++)
		assert_int_equal(w.asks[i], 1);
	assert_int_equal(w.appraisals, 1);
}

static void
evidence_is_asked_of_all_three_at_once_and_nothing_else_before(void **state)
{
	struct world w = attested(LY_SAGA_ATTESTING);

	(void)state;
	assert_int_equal(w.open, QUOTES);
	for (unsigned i = 0; i < LY_STEPS; i++)
		if (i != LY_STEP_AUTHORISE && !(QUOTES & (1u << i)))
			assert_int_equal(w.asks[i], 0);
}

static void
the_appraisal_is_asked_for_when_all_three_have_answered(void **state)
{
	struct world w = attested(LY_SAGA_ATTESTING);

	(void)state;
	w.verdict = HELD;
	answer(&w, LY_STEP_QUOTE_HOME, LY_OK, 0);
	answer(&w, LY_STEP_QUOTE_DEST, LY_OK, 0);
	tell(&w, LY_SAGA_TICK);
	assert_int_equal(w.appraisals, 0);
	answer(&w, LY_STEP_QUOTE_SOURCE, LY_OK, 0);
	assert_int_equal(w.appraisals, 1);
	assert_int_equal(w.s.rec.state, LY_SAGA_ATTESTING);
}

/* A shell that speaks too early would let a VM go to a host nobody judged. */
static void
a_decision_before_all_the_evidence_is_not_heard(void **state)
{
	struct world w = attested(LY_SAGA_ATTESTING);

	(void)state;
	answer(&w, LY_STEP_QUOTE_DEST, LY_OK, 0);
	answer(&w, LY_STEP_QUOTE_SOURCE, LY_OK, 0);
	feed(&w, (struct ly_saga_event){ .kind = LY_SAGA_DECIDED, .ok = true });
	assert_int_equal(w.s.rec.state, LY_SAGA_ATTESTING);
	assert_int_equal(w.asks[LY_STEP_PREPARE], 0);
}

static void
evidence_that_is_not_fit_ends_it_and_nobody_is_asked_anything_more(void **state)
{
	struct world w = attested(LY_SAGA_ATTESTING);

	(void)state;
	w.verdict = UNFIT;
	answer_well(&w, LY_STEP_QUOTE_DEST, LY_STEP_QUOTE_HOME);
	assert_int_equal(w.s.rec.state, LY_SAGA_ABORTED);
	assert_int_equal(w.open, 0);
	assert_int_equal(w.asks[LY_STEP_PREPARE], 0);
	assert_int_equal(w.asks[LY_STEP_KEY], 0);
	assert_int_equal(w.asks[LY_STEP_ASK], 0);
	assert_int_equal(w.asks[LY_STEP_DROP], 0);
}

static void
one_that_gives_no_evidence_ends_it_and_the_others_are_not_waited_for(
    void **state)
{
	(void)state;
	for (unsigned i = LY_STEP_QUOTE_DEST; i <= LY_STEP_QUOTE_HOME; i++) {
		struct world w = attested(LY_SAGA_ATTESTING);

		answer(&w, (enum ly_step)i, LY_REFUSED, 0);
		assert_int_equal(w.s.rec.state, LY_SAGA_ABORTED);
		assert_int_equal(w.open, 0);
		w = attested(LY_SAGA_ATTESTING);
		late(&w, (enum ly_step)i);
		assert_int_equal(w.s.rec.state, LY_SAGA_ABORTED);
		assert_int_equal(w.open, 0);
	}
}

static void
a_decision_that_could_not_be_written_down_is_asked_for_again(void **state)
{
	struct world w = attested(LY_SAGA_ATTESTING);

	(void)state;
	w.full = true;
	answer_well(&w, LY_STEP_QUOTE_DEST, LY_STEP_QUOTE_HOME);
	assert_int_equal(w.s.rec.state, LY_SAGA_ATTESTING);
	assert_int_equal(w.asks[LY_STEP_PREPARE], 0);
	w.full = false;
	tell(&w, LY_SAGA_TICK);
	assert_int_equal(w.appraisals, 2);
	assert_int_equal(w.s.rec.state, LY_SAGA_PREPARING);
}

static void
a_restart_asks_for_all_the_evidence_again(void **state)
{
	struct world w = attested(LY_SAGA_ATTESTING);

	(void)state;
	answer(&w, LY_STEP_QUOTE_DEST, LY_OK, 0);
	answer(&w, LY_STEP_QUOTE_SOURCE, LY_OK, 0);
	restart(&w);
	assert_int_equal(w.open, QUOTES);
	answer(&w, LY_STEP_QUOTE_HOME, LY_OK, 0);
	assert_int_equal(w.appraisals, 0);
}

static void
no_memory_goes_before_the_key_is_open(void **state)
{
	struct world w = attested(LY_SAGA_KEYING);

	(void)state;
	for (unsigned i = LY_STEP_KEY; i <= LY_STEP_UNLOCK; i++) {
		assert_int_equal(w.open, 1u << i);
		tell(&w, LY_SAGA_TICK);
		assert_int_equal(w.asks[LY_STEP_COPY], 0);
		answer(&w, (enum ly_step)i, LY_OK, 0);
	}
	assert_int_equal(w.s.rec.state, LY_SAGA_COPYING);
	assert_int_equal(w.open, 1u << LY_STEP_COPY);
}

/* The home may be PREPARED by then: it decides, and the destination forgets. */
static void
a_key_that_is_not_made_taken_or_opened_is_settled_by_the_home(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		enum ly_step step = (enum ly_step)(LY_STEP_KEY + i % 3);
		struct world w = attested(LY_SAGA_KEYING);

		for (unsigned k = LY_STEP_KEY; k < step; k++)
			answer(&w, (enum ly_step)k, LY_OK, 0);
		if (i < 3)
			answer(&w, step, LY_OUTSIDE, 0);
		else
			late(&w, step);
		assert_int_equal(w.s.rec.state, LY_SAGA_SETTLING);
		assert_int_equal(w.open, 1u << LY_STEP_ASK);
		assert_int_equal(w.asks[LY_STEP_COPY], 0);
		answer(&w, LY_STEP_ASK, LY_OK, LY_FATE_ABORTED);
		answer(&w, LY_STEP_DROP, LY_OK, 0);
		assert_int_equal(w.s.rec.state, LY_SAGA_ABORTED);
		assert_int_equal(w.asks[LY_STEP_SETTLE], 0);
	}
}

static void
a_restart_while_keying_begins_again_at_key(void **state)
{
	struct world w = attested(LY_SAGA_KEYING);

	(void)state;
	answer(&w, LY_STEP_KEY, LY_OK, 0);
	answer(&w, LY_STEP_IMPORT, LY_OK, 0);
	restart(&w);
	assert_int_equal(w.open, 1u << LY_STEP_KEY);
	answer_well(&w, LY_STEP_KEY, LY_STEP_UNLOCK);
	assert_int_equal(w.s.rec.state, LY_SAGA_COPYING);
}

static void
a_full_disk_after_unlock_begins_again_at_key(void **state)
{
	struct world w = attested(LY_SAGA_KEYING);

	(void)state;
	w.full = true;
	answer_well(&w, LY_STEP_KEY, LY_STEP_UNLOCK);
	assert_int_equal(w.s.rec.state, LY_SAGA_KEYING);
	w.full = false;
	tell(&w, LY_SAGA_TICK);
	assert_int_equal(w.open, 1u << LY_STEP_KEY);
	answer_well(&w, LY_STEP_KEY, LY_STEP_UNLOCK);
	assert_int_equal(w.s.rec.state, LY_SAGA_COPYING);
}

static void
an_operator_may_call_it_off_before_the_memory_goes(void **state)
{
	struct world w = attested(LY_SAGA_ATTESTING);

	(void)state;
	tell(&w, LY_SAGA_CANCEL);
	assert_int_equal(w.s.rec.state, LY_SAGA_ABORTED);
	assert_int_equal(w.open, 0);
	for (unsigned i = 0; i < 3; i++) {
		w = attested(LY_SAGA_KEYING);
		for (unsigned k = 0; k < i; k++)
			answer(&w, (enum ly_step)(LY_STEP_KEY + k), LY_OK, 0);
		tell(&w, LY_SAGA_CANCEL);
		assert_int_equal(w.s.rec.state, LY_SAGA_SETTLING);
		assert_int_equal(w.open, 1u << LY_STEP_ASK);
	}
}

static void
answers_that_come_too_late_are_not_heard(void **state)
{
	struct world w = attested(LY_SAGA_KEYING);

	(void)state;
	answer(&w, LY_STEP_QUOTE_DEST, LY_REFUSED, 0);
	feed(&w,
	    (struct ly_saga_event){ .kind = LY_SAGA_DECIDED, .ok = false });
	assert_int_equal(w.s.rec.state, LY_SAGA_KEYING);
	answer(&w, LY_STEP_UNLOCK, LY_OK, 0); /* not asked yet */
	assert_int_equal(w.open, 1u << LY_STEP_KEY);
	tell(&w, LY_SAGA_CANCEL);
	answer(&w, LY_STEP_KEY, LY_OK, 0);
	assert_int_equal(w.s.rec.state, LY_SAGA_SETTLING);
	assert_int_equal(w.asks[LY_STEP_IMPORT], 0);
}

static void
a_lost_host_does_nothing_there_that_its_missing_answer_would_not(void **state)
{
	static const enum ly_saga_state at[] = { LY_SAGA_ATTESTING,
		LY_SAGA_KEYING };

	(void)state;
	for (size_t i = 0; i < LY_COUNT(at); i++) {
		struct world w = attested(at[i]);
		uint32_t open = w.open;

		tell(&w, LY_SAGA_HOST_LOST);
		assert_int_equal(w.s.rec.state, at[i]);
		assert_int_equal(w.open, open);
		tell(&w, LY_SAGA_SUPERSEDE);
		assert_true(w.refused);
	}
}

static void
a_host_that_is_busy_is_asked_again_and_one_that_stays_so_is_given_up(
    void **state)
{
	static const struct cell busy[] = {
		{ LY_SAGA_ATTESTING, LY_STEP_QUOTE_DEST, LY_BUSY, 0,
		    LY_SAGA_ABORTED },
		{ LY_SAGA_ATTESTING, LY_STEP_QUOTE_HOME, LY_SHORT, 0,
		    LY_SAGA_ABORTED },
		{ LY_SAGA_KEYING, LY_STEP_KEY, LY_BUSY, 0, LY_SAGA_SETTLING },
	};

	(void)state;
	for (size_t i = 0; i < LY_COUNT(busy); i++) {
		struct world w = attested(busy[i].from);

		for (unsigned n = 1; n < LY_SAGA_PATIENCE; n++) {
			answer(&w, busy[i].step, busy[i].rc, 0);
			assert_int_equal(w.s.rec.state, busy[i].from);
			tell(&w, LY_SAGA_TICK);
		}
		answer(&w, busy[i].step, busy[i].rc, 0);
		assert_int_equal(w.s.rec.state, busy[i].to);
	}
}

/* Three that are busy a while are not one that is busy for long. */
static void
the_patience_with_one_host_is_not_spent_by_another(void **state)
{
	struct world w = attested(LY_SAGA_ATTESTING);

	(void)state;
	for (unsigned n = 1; n < LY_SAGA_PATIENCE; n++) {
		for (unsigned i = LY_STEP_QUOTE_DEST; i <= LY_STEP_QUOTE_HOME;
		     i++)
			answer(&w, (enum ly_step)i, LY_BUSY, 0);
		tell(&w, LY_SAGA_TICK);
	}
	assert_int_equal(w.s.rec.state, LY_SAGA_ATTESTING);
	answer_well(&w, LY_STEP_QUOTE_DEST, LY_STEP_QUOTE_HOME);
	assert_int_equal(w.s.rec.state, LY_SAGA_PREPARING);
}

static void
it_stays_attested_over_a_restart(void **state)
{
	struct world w = attested(LY_SAGA_PREPARING);

	(void)state;
	restart(&w);
	answer(&w, LY_STEP_PREPARE, LY_OK, 0);
	assert_int_equal(w.s.rec.state, LY_SAGA_KEYING);
}

static void
random_worlds_keep_the_promises_and_every_migration_ends(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20000; seed++)
		run_world(seed, true);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    every_state_can_be_reached_in_an_attested_migration),
		cmocka_unit_test(
		    evidence_is_asked_of_all_three_at_once_and_nothing_else_before),
		cmocka_unit_test(
		    the_appraisal_is_asked_for_when_all_three_have_answered),
		cmocka_unit_test(
		    a_decision_before_all_the_evidence_is_not_heard),
		cmocka_unit_test(
		    evidence_that_is_not_fit_ends_it_and_nobody_is_asked_anything_more),
		cmocka_unit_test(
		    one_that_gives_no_evidence_ends_it_and_the_others_are_not_waited_for),
		cmocka_unit_test(
		    a_decision_that_could_not_be_written_down_is_asked_for_again),
		cmocka_unit_test(a_restart_asks_for_all_the_evidence_again),
		cmocka_unit_test(no_memory_goes_before_the_key_is_open),
		cmocka_unit_test(
		    a_key_that_is_not_made_taken_or_opened_is_settled_by_the_home),
		cmocka_unit_test(a_restart_while_keying_begins_again_at_key),
		cmocka_unit_test(a_full_disk_after_unlock_begins_again_at_key),
		cmocka_unit_test(
		    an_operator_may_call_it_off_before_the_memory_goes),
		cmocka_unit_test(answers_that_come_too_late_are_not_heard),
		cmocka_unit_test(
		    a_lost_host_does_nothing_there_that_its_missing_answer_would_not),
		cmocka_unit_test(
		    a_host_that_is_busy_is_asked_again_and_one_that_stays_so_is_given_up),
		cmocka_unit_test(
		    the_patience_with_one_host_is_not_spent_by_another),
		cmocka_unit_test(it_stays_attested_over_a_restart),
		cmocka_unit_test(
		    random_worlds_keep_the_promises_and_every_migration_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
