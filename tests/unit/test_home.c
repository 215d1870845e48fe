/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/home_scene.h"

TEST(nobody_is_told_of_a_lease_before_it_is_on_disk)
{
	struct ly_record rec = { .vm = vm };
	struct world w = { .runs = 0 };

	ly_home_init(&w.home, &rec);
	ask_attach(&w, A, DOOR_A, LY_MAY_ATTACH);
	WANT(!find(&w, LY_DO_GRANT));
	disk(&w, true);
	WANT(find(&w, LY_DO_GRANT) && find(&w, LY_DO_GRANT)->rc == LY_OK);
	WANT(w.home.rec.epoch == 1);
}

TEST(a_full_disk_refuses_the_lease_and_changes_nothing)
{
	struct ly_record rec = { .vm = vm };
	struct world w = { .runs = 0 };

	ly_home_init(&w.home, &rec);
	ask_attach(&w, A, DOOR_A, LY_MAY_ATTACH);
	disk(&w, false);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OUTSIDE);
	WANT(w.home.rec.epoch == 0 && w.home.rec.state == LY_REC_DETACHED);
	WANT(w.home.door == 0);
}

TEST(a_started_vm_must_reset_its_tpm_before_anything_else)
{
	struct ly_record rec = { .vm = vm };
	struct world w = { .runs = 0 };

	ly_home_init(&w.home, &rec);
	ask_attach(&w, A, DOOR_A, LY_MAY_ATTACH);
	disk(&w, true);
	command(&w, DOOR_A, 1, 1, hash1);
	WANT(w.runs == 0);
	WANT(find(&w, LY_DO_KEEP_FAILURE) && find(&w, LY_DO_ANSWER));
}

TEST(a_command_asked_again_runs_once_and_gets_the_same_answer)
{
	struct world w = attached();

	command(&w, DOOR_A, 1, 2, hash1);
	command(&w, DOOR_A, 1, 2, hash1); /* while it runs */
	WANT(w.todo.n == 0);
	answer(&w);
	command(&w, DOOR_A, 1, 2, hash1); /* and after */
	WANT(w.runs == 1);
	WANT(find(&w, LY_DO_ANSWER)->seq == 2);
}

TEST(a_seq_used_twice_with_other_bytes_breaks_the_tpm_and_runs_nothing)
{
	struct world w = attached();

	command(&w, DOOR_A, 1, 2, hash1);
	answer(&w);
	command(&w, DOOR_A, 1, 2, hash2);
	WANT(find(&w, LY_DO_ALARM));
	WANT(find(&w, LY_DO_REFUSE)->rc == LY_MALFORMED);
	command(&w, DOOR_A, 1, 3, hash1);
	WANT(w.runs == 1);
	WANT(find(&w, LY_DO_KEEP_FAILURE));
}

TEST(other_bytes_while_it_runs_break_the_tpm_when_it_has_answered)
{
	struct world w = attached();

	command(&w, DOOR_A, 1, 2, hash1);
	command(&w, DOOR_A, 1, 2, hash2);
	answer(&w);
	command(&w, DOOR_A, 1, 3, hash1);
	WANT(w.runs == 1);
}

TEST(a_reset_mends_a_broken_tpm)
{
	struct world w = attached();

	tell(&w, (struct ly_home_event){ .kind = LY_HOME_TPM_DEAD });
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_COMMAND,
		.door = DOOR_A,
		.who = A,
		.epoch = 1,
		.seq = 2,
		.op = LY_OP_INIT,
		.hash = hash1 });
	answer(&w);
	command(&w, DOOR_A, 1, 3, hash1);
	WANT(w.runs == 2);
}

TEST(a_command_out_of_order_or_of_another_epoch_is_refused)
{
	struct world w = attached();

	command(&w, DOOR_A, 1, 4, hash1);
	WANT(find(&w, LY_DO_REFUSE)->rc == LY_MALFORMED);
	command(&w, DOOR_A, 0, 2, hash1);
	WANT(find(&w, LY_DO_REFUSE)->rc == LY_FENCED);
	command(&w, DOOR_B, 1, 2, hash1);
	WANT(find(&w, LY_DO_REFUSE)->rc == LY_FENCED);
	WANT(w.runs == 0);
}

TEST(a_second_command_before_the_first_is_answered_is_refused)
{
	struct world w = attached();

	command(&w, DOOR_A, 1, 2, hash1);
	command(&w, DOOR_A, 1, 3, hash2);
	WANT(find(&w, LY_DO_REFUSE)->rc == LY_MALFORMED);
	WANT(w.runs == 1);
}

TEST(a_tpm_that_dies_in_a_command_answers_failure_and_never_runs_it_again)
{
	struct world w = attached();

	command(&w, DOOR_A, 1, 2, hash1);
	tell(&w, (struct ly_home_event){ .kind = LY_HOME_TPM_DEAD });
	WANT(find(&w, LY_DO_ALARM) && find(&w, LY_DO_KEEP_FAILURE));
	answer(&w); /* too late */
	WANT(w.todo.n == 0);
	command(&w, DOOR_A, 1, 2, hash1);
	WANT(find(&w, LY_DO_ANSWER));
	WANT(w.runs == 1);
}

TEST(another_host_is_not_granted_a_lease_that_is_held)
{
	struct world w = attached();

	ask_attach(&w, B, DOOR_B, LY_MAY_ATTACH);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_FENCED);
	WANT(!find(&w, LY_DO_WRITE));
}

TEST(force_takes_the_lease_and_fences_the_holder)
{
	struct world w = attached();

	ask_attach(&w, B, DOOR_B, LY_MAY_ATTACH | LY_MAY_FORCE);
	disk(&w, true);
	WANT(find(&w, LY_DO_FENCE)->door == DOOR_A);
	WANT(find(&w, LY_DO_GRANT)->door == DOOR_B);
	command(&w, DOOR_A, 1, 2, hash1);
	WANT(find(&w, LY_DO_REFUSE)->rc == LY_FENCED);
	command(&w, DOOR_B, 2, 2, hash1);
	WANT(find(&w, LY_DO_KEEP_FAILURE)); /* not before a reset */
}

TEST(a_ticket_is_good_for_one_holder_one_epoch_and_its_time)
{
	struct ly_record rec = { .vm = vm, .epoch = 5 };
	struct world w = { .runs = 0 };
	struct ly_ticket good, bad[5];

	ly_home_init(&w.home, &rec);
	good = ticket(&w, A, LY_MAY_ATTACH);
	for (size_t i = 0; i < LY_COUNT(bad); i++)
		bad[i] = good;
	ly_copy(bad[0].holder, sizeof(bad[0].holder), B);
	bad[1].from_epoch = 4;
	bad[2].to_epoch = 5;
	bad[3].expires = NOW;
	bad[4].vm = mig;
	for (size_t i = 0; i < LY_COUNT(bad); i++) {
		tell(&w,
		    (struct ly_home_event){ .kind = LY_HOME_ATTACH,
			.door = DOOR_A,
			.who = A,
			.ticket = &bad[i],
			.secret = fresh });
		WANT(find(&w, LY_DO_GRANT)->rc == LY_REFUSED);
	}
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_ATTACH,
		.door = DOOR_A,
		.who = A,
		.ticket = &good,
		.secret = fresh });
	WANT(find(&w, LY_DO_WRITE));
}

TEST(a_lost_link_resumes_with_the_secret_and_only_with_it)
{
	struct world w = attached();
	const uint8_t wrong[LY_SECRET_LEN] = { 7 };
	struct ly_home_event ev = { .kind = LY_HOME_RESUME,
		.door = 33,
		.who = A,
		.epoch = 1,
		.seq = 1,
		.secret = wrong };

	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_GONE, .door = DOOR_A });
	tell(&w, ev);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_FENCED);
	WANT(find(&w, LY_DO_ALARM));
	ev.secret = fresh;
	tell(&w, ev);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OK);
	command(&w, 33, 1, 2, hash1);
	WANT(w.runs == 1);
}

/* Found by the simulator: bytes of a connection that its host had given up came
 * after those of the next, and the holder was fenced off by its own words. */
TEST(what_was_long_on_its_way_does_not_shut_the_door_in_use)
{
	struct world w = prepared();

	release(&w, 1);
	disk(&w, true);
	claim(&w, 1);
	disk(&w, true); /* by DOOR_B; it dials again, and resumes */
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_RESUME,
		.door = 33,
		.age = 2,
		.who = B,
		.epoch = 2,
		.seq = 1,
		.secret = fresh });
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OK);
	claim(&w, 1); /* said before that */
	WANT(find(&w, LY_DO_GRANT)->rc == LY_BUSY);
	WANT(!find(&w, LY_DO_FENCE));
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_RESUME,
		.door = 34,
		.age = 1,
		.who = B,
		.epoch = 2,
		.seq = 1,
		.secret = fresh });
	WANT(find(&w, LY_DO_GRANT)->rc == LY_BUSY);
	WANT(!find(&w, LY_DO_FENCE));
	WANT(w.home.door == 33);
}

TEST(an_answer_that_found_no_link_is_given_after_resume)
{
	struct world w = attached();

	command(&w, DOOR_A, 1, 2, hash1);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_GONE, .door = DOOR_A });
	answer(&w);
	WANT(!find(&w, LY_DO_ANSWER));
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_RESUME,
		.door = 33,
		.who = A,
		.epoch = 1,
		.seq = 2,
		.waiting = true,
		.secret = fresh });
	command(&w, 33, 1, 2, hash1);
	WANT(find(&w, LY_DO_ANSWER)->door == 33);
	WANT(w.runs == 1);
}

TEST(after_our_restart_a_waiting_command_is_in_doubt_and_never_run)
{
	struct world w = attached();
	struct ly_record rec = w.home.rec;

	ly_home_init(&w.home, &rec);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_RESUME,
		.door = 33,
		.who = A,
		.epoch = 1,
		.seq = 9,
		.waiting = true,
		.secret = fresh });
	WANT(find(&w, LY_DO_ALARM));
	WANT(find(&w, LY_DO_GRANT)->seq == 8);
	command(&w, 33, 1, 9, hash1);
	WANT(w.runs == 0);
	WANT(find(&w, LY_DO_KEEP_FAILURE));
}

/* A record that is written while a command runs counts it: it waits no less. */
TEST(after_our_restart_a_command_that_the_record_counts_may_still_wait)
{
	struct world w = attached();
	struct ly_record rec;

	command(&w, DOOR_A, 1, 2, hash1);
	stage(&w, B, DOOR_B);
	disk(&w, true);
	rec = w.home.rec;
	WANT(rec.seq == 2);
	ly_home_init(&w.home, &rec);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_RESUME,
		.door = 33,
		.who = A,
		.epoch = 1,
		.seq = 2,
		.waiting = true,
		.secret = fresh });
	WANT(find(&w, LY_DO_ALARM));
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OK);
	WANT(find(&w, LY_DO_GRANT)->seq == 1);
	command(&w, 33, 1, 2, hash1);
	WANT(w.runs == 1); /* before the restart */
	WANT(find(&w, LY_DO_KEEP_FAILURE));
}

TEST(a_migration_ended_by_force_tells_its_source_the_epoch_of_the_other)
{
	struct world w = prepared();

	ask_attach(&w, B, DOOR_B, LY_MAY_ATTACH | LY_MAY_FORCE);
	disk(&w, true);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_QUERY,
		.door = 33,
		.who = A,
		.mig = mig });
	WANT(find(&w, LY_DO_OUTCOME)->fate == LY_FATE_ABORTED);
	WANT(find(&w, LY_DO_OUTCOME)->epoch == 2);
}

/* Attached, and restarted: our memory of the commands since is gone. */
static struct world
restarted(void)
{
	struct world w = attached();
	struct ly_record rec = w.home.rec;

	ly_home_init(&w.home, &rec);
	return w;
}

TEST(after_our_restart_nobody_makes_the_seq_wrap)
{
	struct world w = restarted();

	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_RESUME,
		.door = 33,
		.who = A,
		.epoch = 1,
		.seq = UINT64_MAX,
		.secret = fresh });
	WANT(find(&w, LY_DO_GRANT)->rc == LY_MALFORMED);
	command(&w, 33, 1, 0, hash1);
	WANT(find(&w, LY_DO_REFUSE)->rc == LY_FENCED);
}

TEST(after_our_restart_a_lease_granted_again_is_counted_from_there)
{
	struct world w = restarted();
	struct ly_ticket t = ticket(&w, A, LY_MAY_ATTACH);
	struct ly_home_event ev = { .kind = LY_HOME_ATTACH,
		.door = 33,
		.who = A,
		.ticket = &t,
		.secret = fresh };

	t.to_epoch = 1;
	tell(&w, ev);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OK);
	WANT(find(&w, LY_DO_GRANT)->seq == 0);
	init_command(&w, 33, 1);
	WANT(w.runs == 1);
	tell(&w, ev);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_BUSY);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_RESUME,
		.door = 34,
		.who = A,
		.epoch = 1,
		.seq = 1,
		.waiting = true,
		.secret = fresh });
	WANT(w.home.tpm == LY_TPM_RUNNING); /* not in doubt: it runs */
	answer(&w);
	WANT(find(&w, LY_DO_ANSWER)->door == 34);
}

/* Its TPM may have been power-cycled, or have failed before: nobody knows. */
/* Found by the simulator: the claim was answered after the restart, commands
 * ran, and with the next RESUME one of them was forgotten and ran again. */
TEST(after_our_restart_a_claim_asked_again_ends_our_blindness)
{
	struct world w = prepared();
	struct ly_record rec;
	struct ly_home_event resume = { .kind = LY_HOME_RESUME,
		.door = 33,
		.who = B,
		.epoch = 2,
		.seq = 2,
		.waiting = true,
		.secret = fresh };

	release(&w, 1);
	disk(&w, true);
	claim(&w, 1);
	disk(&w, true);
	rec = w.home.rec;
	ly_home_init(&w.home, &rec);
	claim(&w, 1);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OK);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_COMMAND,
		.door = DOOR_B,
		.who = B,
		.epoch = 2,
		.seq = 2,
		.op = LY_OP_INIT,
		.hash = hash1 });
	answer(&w);
	WANT(w.runs == 1);
	tell(&w, resume);
	WANT(find(&w, LY_DO_GRANT)->seq == 2);
	WANT(!find(&w, LY_DO_ALARM));
	command(&w, 33, 2, 2, hash1);
	WANT(find(&w, LY_DO_ANSWER) && w.runs == 1);
}

TEST(after_a_loss_of_all_memory_an_idle_guest_has_to_reset_too)
{
	struct world w = attached();
	struct ly_record rec = w.home.rec;

	ly_home_init(&w.home, &rec);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_RESUME,
		.door = 33,
		.who = A,
		.epoch = 1,
		.seq = 9,
		.secret = fresh });
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OK);
	WANT(find(&w, LY_DO_ALARM));
	command(&w, 33, 1, 10, hash1);
	WANT(w.runs == 0 && find(&w, LY_DO_KEEP_FAILURE));
	init_command(&w, 33, 11);
	WANT(w.runs == 1);
	answer(&w);
	command(&w, 33, 1, 12, hash1);
	WANT(w.runs == 2);
}

TEST(after_a_loss_of_all_memory_a_released_vm_claims_a_tpm_that_failed)
{
	struct world w = prepared();
	struct ly_record rec;

	release(&w, 1);
	disk(&w, true);
	rec = w.home.rec;
	ly_home_init(&w.home, &rec);
	claim(&w, 1);
	disk(&w, true);
	WANT(find(&w, LY_DO_GRANT)->rc == LY_OK);
	command(&w, DOOR_B, 2, 2, hash1);
	WANT(w.runs == 0 && find(&w, LY_DO_KEEP_FAILURE));
}

static unsigned
alarms(const struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->todo.n; i++)
		n += w->todo.act[i].act == LY_DO_ALARM;
	return n;
}

/* Says it five times: refused with `rc` each time, told once, and the holder
 * does not notice. */
static void
refused_and_told_once(struct world *w, const struct ly_home_event *ev,
    enum ly_home_act act, enum ly_rc rc)
{
	unsigned told = 0, epoch = (unsigned)w->home.rec.epoch;

	for (unsigned i = 0; i < 5; i++) {
		tell(w, *ev);
		told += alarms(w);
		WANT_INT(find(w, act)->rc, rc);
		WANT(!find(w, LY_DO_FENCE) && !find(w, LY_DO_WRITE));
	}
	WANT_INT(told, 1);
	WANT_INT(w->home.rec.epoch, epoch);
	w->runs = 0;
	command(w, DOOR_A, w->home.rec.epoch, w->home.seq + 1, hash1);
	WANT_INT(w->runs, 1);
	answer(w);
}

TEST(a_ticket_shown_again_by_another_or_from_nowhere_is_refused_and_told_once)
{
	struct world w = attached();
	struct ly_ticket force = ticket(&w, A, LY_MAY_ATTACH | LY_MAY_FORCE);
	struct ly_ticket t;
	struct ly_home_event ev;

	tell(&w, shows(&force, LY_HOME_ATTACH, A));
	disk(&w, true); /* A is forced to itself: epoch 2 */
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_COMMAND,
		.door = DOOR_B,
		.who = A,
		.epoch = 2,
		.seq = 2,
		.op = LY_OP_INIT,
		.hash = hash1 });
	answer(&w);
	w.home.door = DOOR_A;
	t = ticket(&w, B, LY_MAY_ATTACH | LY_MAY_FORCE);
	t.from_epoch = 0;
	t.to_epoch = 1;
	ev = shows(&t, LY_HOME_ATTACH, B);
	refused_and_told_once(&w, &ev, LY_DO_GRANT, LY_FENCED);
	t = ticket(&w, B, LY_MAY_ATTACH | LY_MAY_FORCE);
	ev = shows(&t, LY_HOME_ATTACH, "spiffe://north/host/c");
	refused_and_told_once(&w, &ev, LY_DO_GRANT, LY_FENCED);
	ev = shows(NULL, LY_HOME_ATTACH, B);
	refused_and_told_once(&w, &ev, LY_DO_GRANT, LY_FENCED);
	t.from_epoch = 7;
	t.to_epoch = 8;
	ev = shows(&t, LY_HOME_PRESTAGE, B);
	refused_and_told_once(&w, &ev, LY_DO_STAGED, LY_REFUSED);
}

TEST(a_ticket_whose_lease_was_given_back_grants_no_second_one)
{
	struct world w = attached();
	struct ly_ticket t = { .vm = vm,
		.rights = LY_MAY_ATTACH,
		.from_epoch = 0,
		.to_epoch = 1,
		.holder = A,
		.expires = NOW + 60 };
	struct ly_home_event ev = shows(&t, LY_HOME_ATTACH, A);

	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_DETACH,
		.door = DOOR_A,
		.who = A,
		.epoch = 1 });
	disk(&w, true);
	for (unsigned i = 0; i < 3; i++) {
		tell(&w, ev);
		WANT_INT(find(&w, LY_DO_GRANT)->rc, LY_REFUSED);
		WANT_INT(alarms(&w), i == 0);
	}
}

TEST(a_ticket_that_came_too_late_is_refused_without_alarm)
{
	struct world w = attached();
	struct ly_ticket t = ticket(&w, B, LY_MAY_MOVE);
	struct ly_home_event ev = shows(&t, LY_HOME_PRESTAGE, B);

	ev.now = t.expires;
	tell(&w, ev);
	WANT_INT(find(&w, LY_DO_STAGED)->rc, LY_REFUSED);
	WANT_INT(alarms(&w), 0);
}

TEST(a_former_holder_that_comes_back_is_fenced_and_told_once)
{
	struct world w = attached();
	struct ly_home_event resume = { .kind = LY_HOME_RESUME,
		.door = 33,
		.who = B,
		.epoch = 1,
		.seq = 1,
		.secret = fresh };
	struct ly_home_event run = { .kind = LY_HOME_COMMAND,
		.door = 33,
		.who = B,
		.epoch = 1,
		.seq = 2,
		.hash = hash2 };

	refused_and_told_once(&w, &resume, LY_DO_GRANT, LY_FENCED);
	refused_and_told_once(&w, &run, LY_DO_REFUSE, LY_FENCED);
	resume.epoch = 9;
	refused_and_told_once(&w, &resume, LY_DO_GRANT, LY_FENCED);
}

/* Its RESUME crossed the CLAIM it made possible: nobody's fault. */
TEST(a_source_that_resumes_after_the_claim_is_fenced_without_alarm)
{
	struct world w = prepared();
	struct ly_home_event resume = { .kind = LY_HOME_RESUME,
		.door = 33,
		.who = A,
		.epoch = 1,
		.seq = 1,
		.secret = fresh };

	release(&w, 1);
	disk(&w, true);
	claim(&w, 1);
	disk(&w, true);
	tell(&w, resume);
	WANT_INT(find(&w, LY_DO_GRANT)->rc, LY_FENCED);
	WANT_INT(alarms(&w), 0);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_COMMAND,
		.door = 33,
		.who = A,
		.epoch = 1,
		.seq = 2,
		.hash = hash1 }); /* but this is */
	WANT_INT(find(&w, LY_DO_REFUSE)->rc, LY_FENCED);
	WANT_INT(alarms(&w), 1);
}

TEST(a_source_aborted_first_and_forced_later_hears_the_later_epoch)
{
	struct world w = prepared();

	release(&w, 1);
	disk(&w, true);
	ask_abort(&w, NULL);
	disk(&w, true);
	WANT_INT(find(&w, LY_DO_OUTCOME)->epoch, 1);
	ask_attach(&w, B, DOOR_B, LY_MAY_ATTACH | LY_MAY_FORCE);
	disk(&w, true);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_QUERY,
		.door = 33,
		.who = A,
		.mig = mig });
	WANT_INT(find(&w, LY_DO_OUTCOME)->fate, LY_FATE_ABORTED);
	WANT_INT(find(&w, LY_DO_OUTCOME)->epoch, 2);
}

TEST(a_destination_may_give_up_what_it_has_not_claimed_and_nothing_else)
{
	struct world w = prepared();

	ask_abort(&w, "spiffe://north/host/c");
	WANT_INT(find(&w, LY_DO_OUTCOME)->rc, LY_REFUSED);
	ask_abort(&w, B);
	disk(&w, true);
	WANT_INT(find(&w, LY_DO_OUTCOME)->fate, LY_FATE_ABORTED);
	WANT_INT(w.home.rec.state, LY_REC_ATTACHED);
	WANT(strcmp(w.home.rec.holder, A) == 0);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_ABORT,
		.door = DOOR_B,
		.who = B,
		.mig = mig2 });
	WANT_INT(find(&w, LY_DO_OUTCOME)->rc, LY_REFUSED);
}

/* Any events in any order: the machine asserts H5 itself; here, that no two
 * RUNs come without an answer between them, and that all is bounded. */
TEST(random_events_never_run_two_commands_at_once)
{
	static const char *const who[] = { A, B, NULL };
	uint32_t x = 12345;

	for (unsigned round = 0; round < 300; round++) {
		struct ly_record rec = { .vm = vm };
		struct world w = { .runs = 0 };
		bool running = false;

		ly_home_init(&w.home, &rec);
		for (unsigned i = 0; i < 400; i++) {
			struct ly_token tok = { .vm = vm, .mig = mig };
			struct ly_ticket t;
			struct ly_home_event ev = { .now = NOW };

			x = x * 1664525 + 1013904223;
			ev.kind = (enum ly_home_kind)((x >> 8) % LY_HOME_KINDS);
			if ((ev.kind == LY_HOME_WRITTEN) != w.home.writing &&
			    (ev.kind == LY_HOME_WRITTEN || (x >> 30) == 0))
				continue;
			ev.who = who[(x >> 16) % 3];
			if (ev.kind != LY_HOME_ABORT && !ev.who)
				ev.who = A;
			ev.door = 1 + (x >> 18) % 4;
			ev.epoch = w.home.rec.epoch - ((x >> 20) % 4 == 0);
			ev.seq = w.home.seq + (x >> 22) % 3;
			ev.mig = mig;
			ev.ok = (x >> 24) % 4 != 0;
			ev.op = (x >> 26) % 2 ? LY_OP_INIT : LY_OP_TPM;
			ev.hash = (x >> 27) % 2 ? hash1 : hash2;
			ev.secret = fresh;
			t = ticket(&w, ev.who ? ev.who : A, 7);
			ev.ticket = &t;
			tok.epoch = w.home.rec.epoch;
			tok.seq = w.home.seq;
			ev.token = &tok;
			w.runs = 0;
			tell(&w, ev);
			if (ev.kind == LY_HOME_ANSWER ||
			    ev.kind == LY_HOME_TPM_DEAD)
				running = false;
			WANT(w.runs == 0 || !running);
			running |= w.runs > 0;
		}
	}
}

TEST_MAIN()
