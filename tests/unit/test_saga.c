/* SPDX-License-Identifier: Apache-2.0 */
/* manager/saga: the tables, each step's four fates, and random worlds; those
 * of attested migrations are in test_saga_attested.c. */
#include "tests/unit/saga_scene.h"

static void
no_cell_of_the_tables_is_empty(void **state)
{
	(void)state;
	assert_true(ly_saga_table_full());
	for (unsigned i = 0; i < LY_SAGA_STATES; i++)
		assert_string_not_equal(ly_saga_state_name(i), "?");
}

static void
every_state_can_be_reached_and_the_good_way_is_short(void **state)
{
	struct world w;

	(void)state;
	for (unsigned i = 0; i < LY_SAGA_STATES; i++)
		w = begun((enum ly_saga_state)i);
	w = begun(LY_SAGA_CLEANED);
	assert_int_equal(w.asks[LY_STEP_COPY], 1);
	assert_int_equal(w.asks[LY_STEP_SETTLE], 0);
	assert_int_equal(w.asks[LY_STEP_DROP], 0);
	assert_int_equal(w.s.rec.epoch, 6);
}

/* By force, before the manager asked: the source, told so, sees that it is not
 * the holder any more. */
static void
an_abort_keeps_the_epoch_the_home_told_with_it(void **state)
{
	struct world w = begun(LY_SAGA_SETTLING);

	(void)state;
	feed(&w,
	    (struct ly_saga_event){ .kind = LY_SAGA_ANSWERED,
		.step = LY_STEP_ASK,
		.fate = LY_FATE_ABORTED,
		.epoch = 9 });
	assert_int_equal(w.s.rec.state, LY_SAGA_ABORTING);
	assert_int_equal(w.s.rec.epoch, 9);
	assert_int_equal(w.asks[LY_STEP_SETTLE], 1);
}

static void
a_migration_that_is_not_attested_asks_for_no_evidence_and_no_key(void **state)
{
	struct world w = begun(LY_SAGA_CLEANED);

	(void)state;
	assert_int_equal(w.s.rec.attest, 0);
	assert_int_equal(w.appraisals, 0);
	for (unsigned i = 0; i < LY_STEPS; i++)
		if (ly_steps[i].attested)
			assert_int_equal(w.asks[i], 0);
}

static const struct cell answers[] = {
	{ LY_SAGA_PLANNED, LY_STEP_AUTHORISE, LY_OK, 0, LY_SAGA_PREPARING },
	{ LY_SAGA_PLANNED, LY_STEP_AUTHORISE, LY_REFUSED, 0, LY_SAGA_ABORTED },
	{ LY_SAGA_PLANNED, LY_STEP_AUTHORISE, LY_BUSY, 0, LY_SAGA_PLANNED },
	{ LY_SAGA_PREPARING, LY_STEP_PREPARE, LY_OK, 0, LY_SAGA_COPYING },
	{ LY_SAGA_PREPARING, LY_STEP_PREPARE, LY_FULL, 0, LY_SAGA_SETTLING },
	{ LY_SAGA_PREPARING, LY_STEP_PREPARE, LY_BUSY, 0, LY_SAGA_PREPARING },
	{ LY_SAGA_COPYING, LY_STEP_COPY, LY_OK, LY_FATE_CLAIMED,
	    LY_SAGA_COMMITTED },
	{ LY_SAGA_COPYING, LY_STEP_COPY, LY_OUTSIDE, LY_FATE_CLAIMED,
	    LY_SAGA_COMMITTED },
	{ LY_SAGA_COPYING, LY_STEP_COPY, LY_REFUSED, LY_FATE_ABORTED,
	    LY_SAGA_ABORTING },
	{ LY_SAGA_COPYING, LY_STEP_COPY, LY_UNKNOWN, LY_FATE_UNKNOWN,
	    LY_SAGA_SETTLING },
	{ LY_SAGA_COPYING, LY_STEP_COPY, LY_OUTSIDE, LY_FATE_OPEN,
	    LY_SAGA_SETTLING },
	{ LY_SAGA_COPYING, LY_STEP_COPY, LY_BUSY, LY_FATE_OPEN,
	    LY_SAGA_COPYING },
	{ LY_SAGA_SETTLING, LY_STEP_ASK, LY_OK, LY_FATE_CLAIMED,
	    LY_SAGA_COMMITTED },
	{ LY_SAGA_SETTLING, LY_STEP_ASK, LY_OK, LY_FATE_ABORTED,
	    LY_SAGA_ABORTING },
	{ LY_SAGA_SETTLING, LY_STEP_ASK, LY_UNKNOWN, LY_FATE_UNKNOWN,
	    LY_SAGA_DOUBT },
	{ LY_SAGA_SETTLING, LY_STEP_ASK, LY_BUSY, LY_FATE_OPEN,
	    LY_SAGA_SETTLING },
	/* A fate beside an error is not one. */
	{ LY_SAGA_SETTLING, LY_STEP_ASK, LY_OUTSIDE, LY_FATE_ABORTED,
	    LY_SAGA_DOUBT },
	{ LY_SAGA_DOUBT, LY_STEP_ASK, LY_OK, LY_FATE_CLAIMED,
	    LY_SAGA_COMMITTED },
	{ LY_SAGA_DOUBT, LY_STEP_ASK, LY_OK, LY_FATE_ABORTED,
	    LY_SAGA_ABORTING },
	{ LY_SAGA_DOUBT, LY_STEP_ASK, LY_OUTSIDE, LY_FATE_OPEN, LY_SAGA_DOUBT },
	{ LY_SAGA_COMMITTED, LY_STEP_RECORD, LY_OUTSIDE, 0, LY_SAGA_CLEANED },
	{ LY_SAGA_ABORTING, LY_STEP_DROP, LY_UNKNOWN, 0, LY_SAGA_ABORTED },
};

static void
each_answer_leads_where_the_table_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < LY_COUNT(answers); i++) {
		const struct cell *c = &answers[i];
		struct world w = begun(c->from);

		answer(&w, c->step, c->rc, c->fate);
		assert_int_equal(w.s.rec.state, c->to);
	}
}

/* Found by the simulator: a host whose answer to PREPARE was BUSY for ever. */
static void
a_host_that_is_busy_for_ever_is_given_up_while_there_is_a_way_back(void **state)
{
	static const struct cell busy[] = {
		{ LY_SAGA_PLANNED, LY_STEP_AUTHORISE, LY_BUSY, 0,
		    LY_SAGA_ABORTED },
		{ LY_SAGA_PREPARING, LY_STEP_PREPARE, LY_BUSY, 0,
		    LY_SAGA_SETTLING },
		{ LY_SAGA_COPYING, LY_STEP_COPY, LY_SHORT, 0,
		    LY_SAGA_SETTLING },
		{ LY_SAGA_SETTLING, LY_STEP_ASK, LY_BUSY, 0, LY_SAGA_SETTLING },
		{ LY_SAGA_ABORTING, LY_STEP_DROP, LY_BUSY, 0,
		    LY_SAGA_ABORTING },
	};

	(void)state;
	for (size_t i = 0; i < LY_COUNT(busy); i++) {
		struct world w = begun(busy[i].from);

		for (unsigned n = 1; n < LY_SAGA_PATIENCE; n++) {
			answer(&w, busy[i].step, busy[i].rc, 0);
			assert_int_equal(w.s.rec.state, busy[i].from);
			tell(&w, LY_SAGA_TICK);
		}
		answer(&w, busy[i].step, busy[i].rc, 0);
		assert_int_equal(w.s.rec.state, busy[i].to);
	}
}

static void
an_answer_that_is_lost_leads_on_in_time(void **state)
{
	static const struct cell lost[] = {
		{ LY_SAGA_PLANNED, LY_STEP_AUTHORISE, 0, 0, LY_SAGA_ABORTED },
		{ LY_SAGA_PREPARING, LY_STEP_PREPARE, 0, 0, LY_SAGA_SETTLING },
		{ LY_SAGA_COPYING, LY_STEP_COPY, 0, 0, LY_SAGA_SETTLING },
		{ LY_SAGA_SETTLING, LY_STEP_ASK, 0, 0, LY_SAGA_DOUBT },
		{ LY_SAGA_DOUBT, LY_STEP_ASK, 0, 0, LY_SAGA_DOUBT },
		{ LY_SAGA_COMMITTED, LY_STEP_RECORD, 0, 0, LY_SAGA_CLEANED },
		{ LY_SAGA_ABORTING, LY_STEP_DROP, 0, 0, LY_SAGA_ABORTING },
	};

	(void)state;
	for (size_t i = 0; i < LY_COUNT(lost); i++) {
		struct world w = begun(lost[i].from);

		late(&w, lost[i].step);
		assert_int_equal(w.s.rec.state, lost[i].to);
		if (!ly_saga_over(w.s.rec.state))
			assert_true(w.open != 0);
	}
}

static void
a_restart_asks_the_last_step_again_in_every_state(void **state)
{
	static const enum ly_step last[LY_SAGA_STATES] = {
		[LY_SAGA_PLANNED] = LY_STEP_AUTHORISE,
		[LY_SAGA_PREPARING] = LY_STEP_PREPARE,
		[LY_SAGA_COPYING] = LY_STEP_COPY,
		[LY_SAGA_SETTLING] = LY_STEP_ASK,
		[LY_SAGA_DOUBT] = LY_STEP_ASK,
		[LY_SAGA_COMMITTED] = LY_STEP_RECORD,
		[LY_SAGA_ABORTING] = LY_STEP_DROP,
		[LY_SAGA_KEYING] = LY_STEP_KEY,
	};

	(void)state;
	for (unsigned i = 0; i < LY_SAGA_STATES; i++) {
		struct world w = begun((enum ly_saga_state)i);

		restart(&w);
		assert_int_equal(w.s.rec.state, i);
		if (ly_saga_over(i))
			assert_int_equal(w.open, 0);
		else if (i == LY_SAGA_ATTESTING)
			assert_int_equal(w.open, QUOTES);
		else
			assert_int_equal(w.open, 1u << last[i]);
	}
}

static void
a_full_disk_stops_the_step_and_nothing_else(void **state)
{
	struct world w = begun(LY_SAGA_COPYING);

	(void)state;
	w.full = true;
	answer(&w, LY_STEP_COPY, LY_OK, LY_FATE_CLAIMED);
	assert_int_equal(w.s.rec.state, LY_SAGA_COPYING);
	assert_int_equal(w.open, 0);
	w.full = false;
	tell(&w, LY_SAGA_TICK);
	assert_int_equal(w.asks[LY_STEP_COPY], 2);
	answer(&w, LY_STEP_COPY, LY_OK, LY_FATE_CLAIMED);
	assert_int_equal(w.s.rec.state, LY_SAGA_COMMITTED);
}

static void
a_migration_that_cannot_be_written_down_never_begins(void **state)
{
	struct world w = { .full = true };

	(void)state;
	ly_saga_init(&w.s, false);
	tell(&w, LY_SAGA_GO);
	assert_int_equal(w.s.rec.state, LY_SAGA_ABORTED);
	assert_int_equal(w.open, 0);
}

static void
a_lost_source_is_settled_by_the_home(void **state)
{
	struct world w = begun(LY_SAGA_COPYING);

	(void)state;
	tell(&w, LY_SAGA_HOST_LOST);
	assert_int_equal(w.s.rec.state, LY_SAGA_SETTLING);
	assert_int_equal(w.open, 1u << LY_STEP_ASK);
	answer(&w, LY_STEP_ASK, LY_OK, LY_FATE_ABORTED);
	assert_int_equal(w.s.rec.lost, 1);
	assert_int_equal(w.open, 1u << LY_STEP_SETTLE | 1u << LY_STEP_DROP);
	answer(&w, LY_STEP_DROP, LY_OK, LY_FATE_UNKNOWN);
	assert_int_equal(w.s.rec.state, LY_SAGA_ABORTING);
	answer(&w, LY_STEP_SETTLE, LY_OK, LY_FATE_UNKNOWN);
	assert_int_equal(w.s.rec.state, LY_SAGA_ABORTED);
}

static void
a_lost_source_that_had_committed_leaves_the_vm_at_its_destination(void **state)
{
	struct world w = begun(LY_SAGA_COPYING);

	(void)state;
	tell(&w, LY_SAGA_HOST_LOST);
	answer(&w, LY_STEP_ASK, LY_OK, LY_FATE_CLAIMED);
	assert_int_equal(w.s.rec.state, LY_SAGA_COMMITTED);
	assert_int_equal(w.asks[LY_STEP_DROP], 0);
	late(&w, LY_STEP_SETTLE);
	assert_true(w.slow);
	answer(&w, LY_STEP_RECORD, LY_OK, LY_FATE_UNKNOWN);
	assert_int_equal(w.s.rec.state, LY_SAGA_COMMITTED);
	restart(&w);
	assert_int_equal(w.open, 1u << LY_STEP_SETTLE);
	answer(&w, LY_STEP_SETTLE, LY_UNKNOWN, LY_FATE_UNKNOWN);
	assert_int_equal(w.s.rec.state, LY_SAGA_CLEANED);
}

static void
an_answer_that_comes_after_the_source_was_given_up_is_not_heard(void **state)
{
	struct world w = begun(LY_SAGA_COPYING);

	(void)state;
	tell(&w, LY_SAGA_HOST_LOST);
	feed(&w,
	    (struct ly_saga_event){ .kind = LY_SAGA_ANSWERED,
		.step = LY_STEP_COPY,
		.fate = LY_FATE_CLAIMED });
	assert_int_equal(w.s.rec.state, LY_SAGA_SETTLING);
}

static void
a_cancel_is_obeyed_while_there_is_a_way_back(void **state)
{
	struct world w = begun(LY_SAGA_PREPARING);

	(void)state;
	tell(&w, LY_SAGA_CANCEL);
	assert_int_equal(w.s.rec.state, LY_SAGA_SETTLING);
	w = begun(LY_SAGA_COPYING);
	tell(&w, LY_SAGA_CANCEL);
	tell(&w, LY_SAGA_CANCEL);
	assert_int_equal(w.asks[LY_STEP_CALLOFF], 1);
	restart(&w);
	assert_int_equal(w.asks[LY_STEP_CALLOFF], 2);
	answer(&w, LY_STEP_CALLOFF, LY_OK, LY_FATE_UNKNOWN);
	tell(&w, LY_SAGA_TICK);
	assert_int_equal(w.asks[LY_STEP_CALLOFF], 2);
	answer(&w, LY_STEP_COPY, LY_OK, LY_FATE_CLAIMED); /* it was too late */
	assert_int_equal(w.s.rec.state, LY_SAGA_COMMITTED);
	tell(&w, LY_SAGA_CANCEL);
	assert_true(w.refused);
}

static void
a_vm_started_anew_keeps_its_old_source_from_resuming(void **state)
{
	struct world w = begun(LY_SAGA_COPYING);

	(void)state;
	tell(&w, LY_SAGA_SUPERSEDE);
	assert_true(w.refused);
	tell(&w, LY_SAGA_HOST_LOST);
	answer(&w, LY_STEP_ASK, LY_OK, LY_FATE_ABORTED);
	answer(&w, LY_STEP_DROP, LY_OK, LY_FATE_UNKNOWN);
	tell(&w, LY_SAGA_SUPERSEDE);
	assert_int_equal(w.s.rec.state, LY_SAGA_ABORTED);
	assert_int_equal(w.open, 0);
}

static void
random_worlds_keep_the_promises_and_every_migration_ends(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20000; seed++)
		run_world(seed, false);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_cell_of_the_tables_is_empty),
		cmocka_unit_test(
		    every_state_can_be_reached_and_the_good_way_is_short),
		cmocka_unit_test(
		    an_abort_keeps_the_epoch_the_home_told_with_it),
		cmocka_unit_test(
		    a_migration_that_is_not_attested_asks_for_no_evidence_and_no_key),
		cmocka_unit_test(each_answer_leads_where_the_table_says),
		cmocka_unit_test(an_answer_that_is_lost_leads_on_in_time),
		cmocka_unit_test(
		    a_host_that_is_busy_for_ever_is_given_up_while_there_is_a_way_back),
		cmocka_unit_test(
		    a_restart_asks_the_last_step_again_in_every_state),
		cmocka_unit_test(a_full_disk_stops_the_step_and_nothing_else),
		cmocka_unit_test(
		    a_migration_that_cannot_be_written_down_never_begins),
		cmocka_unit_test(a_lost_source_is_settled_by_the_home),
		cmocka_unit_test(
		    a_lost_source_that_had_committed_leaves_the_vm_at_its_destination),
		cmocka_unit_test(
		    an_answer_that_comes_after_the_source_was_given_up_is_not_heard),
		cmocka_unit_test(a_cancel_is_obeyed_while_there_is_a_way_back),
		cmocka_unit_test(
		    a_vm_started_anew_keeps_its_old_source_from_resuming),
		cmocka_unit_test(
		    random_worlds_keep_the_promises_and_every_migration_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
