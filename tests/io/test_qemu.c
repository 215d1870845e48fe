/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU, and migrations over one connection. */
#include "tests/io/qemu_scene.h"

/* ---- QEMU alone ---- */

TEST(a_qemu_starts_answers_and_quits)
{
	begin();
	start_qemu(&lab.src, "alone", false);
	UNTIL(lab.src.ready);
	WANT_STR(status_of(&lab.src), "running");
	WANT(access(site_path("alone/serial.sock"), F_OK) == 0);
	ly_qemu_quit(lab.src.qemu);
	UNTIL(lab.src.exited);
	WANT_INT(lab.src.status, 0);
	WANT_STR(lab.src.why, "QEMU was told to quit");
	end();
}

TEST(a_qemu_that_does_not_start_says_why_itself)
{
	begin();
	start_with(&lab.src, "bad", false,
	    "{\"memory_mb\":64,\"accel\":\"tcg\",\"kernel\":\"/no/such,k\"}");
	UNTIL(lab.src.exited);
	WANT(!lab.src.ready);
	WANT_INT(lab.src.status, 1);
	WANT(strstr(lab.src.why, "could not open kernel file '/no/such,k'"));
	end();
}

TEST(a_program_that_is_not_there_is_an_error_at_once)
{
	struct ly_definition def;
	struct ly_qemu_params p = { .binary = "/no/such/qemu",
		.name = "web1",
		.id = vm,
		.definition = &def };
	struct ly_why text;
	const char *json = "{\"memory_mb\":64}";

	begin();
	p.dir = site_path("none");
	SITE_OK(ly_definition_check(json, strlen(json), &def, &why));
	WANT_INT(ly_qemu_start(lab.loop, &p, &qemu_ops, &lab.src, &lab.src.qemu,
		     &text),
	    LY_OUTSIDE);
	WANT(strstr(text.text, "/no/such/qemu"));
	end();
}

TEST(a_killed_qemu_is_noticed_and_named)
{
	begin();
	start_qemu(&lab.src, "killed", false);
	UNTIL(lab.src.ready);
	kill(ly_qemu_pid(lab.src.qemu), SIGKILL);
	UNTIL(lab.src.exited);
	WANT_INT(lab.src.status, 128 + SIGKILL);
	WANT_STR(lab.src.why, "QEMU was killed by signal 9");
	end();
}

TEST(a_qemu_that_does_not_answer_is_killed_in_the_end)
{
	begin();
	start_qemu(&lab.src, "stuck", false);
	UNTIL(lab.src.ready);
	kill(ly_qemu_pid(lab.src.qemu), SIGSTOP);
	ly_qemu_quit(lab.src.qemu);
	UNTIL(lab.src.exited);
	WANT_INT(lab.src.status, 128 + SIGKILL);
	end();
}

TEST(a_qemu_outlives_its_agent_and_is_found_again)
{
	struct ly_qemu_params p = { .name = "web1", .id = vm };
	struct ly_why text;

	begin();
	start_qemu(&lab.src, "kept", false);
	p.dir = site_path("kept");
	UNTIL(lab.src.ready);
	ly_qemu_leave(lab.src.qemu);
	lab.src = (struct side){ .status = 0 };
	SITE_OK(ly_qemu_adopt(lab.loop, &p, &qemu_ops, &lab.src, &lab.src.qemu,
	    &why));
	UNTIL(lab.src.ready);
	want_counting(&lab.src);
	ly_qemu_quit(lab.src.qemu);
	UNTIL(lab.src.exited);
	WANT_INT(lab.src.status, 0); /* still our child */
	WANT_INT(ly_qemu_adopt(lab.loop, &p, &qemu_ops, &lab.src, &lab.src.qemu,
		     &text),
	    LY_UNKNOWN);
	end();
}

/* ---- migrations ---- */

TEST(a_guest_moves_and_counts_on)
{
	begin_pair();
	migrate(0);
	want_moved();
	WANT(lab.progress_n > 0);
	say_times("no limit");
	end();
}

/* Slow, so that the guest dirties far more than QEMU's own 1 ms can move, and
 * less than our downtime: it is stopped by us, after the first pass. */
#define SLOW 500000

TEST(a_busy_guest_is_stopped_by_the_agent_not_by_qemu)
{
	begin_pair();
	migrate(SLOW);
	want_moved();
	say_times("slow");
	WANT(lab.moved.won);
	WANT(lab.won);
	end();
}

/* On a loaded machine QEMU may find that the rest fits and stop the guest
 * itself, which nobody can forbid it; it is held there, and nothing is let go. */
TEST(a_guest_whose_tpm_is_busy_is_not_stopped_until_it_is_idle)
{
	begin_pair();
	lab.idle = false;
	migrate(SLOW);
	UNTIL(lab.progress_n > 12 || lab.stopped);
	WANT(!lab.stopped || !lab.won);
	WANT(!lab.home.releases);
	WANT(!lab.source_over);
	lab.idle = true;
	want_moved();
	end();
}

static void
abort_first(void)
{
	lab.home.aborted = true;
	ly_dest_granted(lab.dest, LY_REFUSED, 0);
}

TEST(a_refused_claim_leaves_the_guest_running_at_the_source)
{
	begin_pair();
	lab.on_claim = abort_first;
	migrate(SLOW);
	want_stayed();
	WANT_INT(lab.landed.end, LY_DEST_FAILED);
	WANT(lab.home.aborted);
	end();
}

TEST(a_refused_release_leaves_the_guest_running_at_the_source)
{
	begin_pair();
	lab.home.refuse_release = true;
	migrate(SLOW);
	want_stayed();
	WANT(lab.home.aborted);
	WANT(!lab.home.claimed);
	end();
}

static void
kill_destination(void)
{
	if (lab.progress.bytes > 100000 && lab.dst.qemu)
		kill(ly_qemu_pid(lab.dst.qemu), SIGKILL);
}

TEST(a_destination_that_dies_midway_costs_nothing)
{
	begin_pair();
	lab.on_progress = kill_destination;
	migrate(300000);
	want_stayed();
	WANT_INT(lab.landed.end, LY_DEST_FAILED);
	WANT_INT(lab.home.releases, 0);
	WANT_INT(lab.home.claims, 0);
	end();
}

static void
call_off(void)
{
	if (lab.progress.bytes > 100000 && lab.source)
		ly_source_calloff(lab.source);
}

TEST(a_migration_called_off_midway_costs_nothing)
{
	begin_pair();
	lab.on_progress = call_off;
	migrate(300000);
	want_stayed();
	WANT_STR(lab.moved_why, "called off");
	WANT_INT(lab.home.releases, 0);
	end();
}

static void
kill_source(void)
{
	if (lab.progress.bytes > 100000 && lab.src.qemu)
		kill(ly_qemu_pid(lab.src.qemu), SIGKILL);
}

TEST(a_source_that_dies_midway_is_never_claimed)
{
	begin_pair();
	lab.on_progress = kill_source;
	migrate(300000);
	UNTIL(lab.source_over && lab.dest_over && lab.dst.exited);
	WANT_INT(lab.moved.end, LY_SOURCE_DEAD);
	WANT_INT(lab.landed.end, LY_DEST_FAILED);
	WANT_INT(lab.home.claims, 0);
	end();
}

static void
kill_before_claim(void)
{
	kill(ly_qemu_pid(lab.dst.qemu), SIGKILL);
}

/* It has been asked and will not be answered: the source asks for ABORT. */
TEST(a_destination_that_dies_before_the_commit_gives_the_guest_back)
{
	begin_pair();
	lab.on_claim = kill_before_claim;
	migrate(SLOW);
	want_stayed();
	WANT_INT(lab.landed.end, LY_DEST_DEAD);
	WANT(lab.home.aborted);
	end();
}

static void
wait_for_home(void)
{
}

TEST(a_home_out_of_reach_keeps_both_paused_until_it_answers)
{
	begin_pair();
	lab.on_claim = wait_for_home;
	lab.home.deaf = true;
	migrate(SLOW);
	UNTIL(lab.home.claims == 1);
	ly_source_calloff(lab.source); /* asks the home at once */
	UNTIL(lab.home.queries >= 3);
	WANT_STR(status_of(&lab.src), "postmigrate");
	WANT_STR(status_of(&lab.dst), "paused");
	lab.home.deaf = false;
	lab.home.claimed = true;
	ly_dest_granted(lab.dest, LY_OK, 8);
	want_moved();
	end();
}

TEST(a_vm_comes_back_to_where_it_was)
{
	begin_pair();
	migrate(SLOW);
	want_moved();
	end_qemu(&lab.dst);
	end();
	begin_pair(); /* the same directories */
	migrate(0);
	want_moved();
	end();
}

/* Its QEMU finds out in the stream; the source is told, and asks the home. */
TEST(a_destination_with_another_memory_gives_the_guest_back)
{
	begin();
	start_qemu(&lab.src, "src", false);
	start_with(&lab.dst, "dst", true,
	    "{\"memory_mb\":65,\"accel\":\"tcg\"}");
	listen_and_wait("h1");
	migrate(0);
	want_stayed();
	WANT_INT(lab.landed.end, LY_DEST_FAILED);
	WANT(strstr(lab.landed_why, "ram"));
	WANT_INT(lab.home.claims, 0);
	end();
}

TEST(a_stream_of_another_host_is_refused)
{
	begin();
	start_qemu(&lab.src, "src", false);
	start_qemu(&lab.dst, "dst", true);
	listen_and_wait("h9");
	migrate(0);
	UNTIL(lab.source_over);
	WANT_INT(lab.moved.end, LY_SOURCE_STAYED);
	WANT_STR(status_of(&lab.src), "running");
	WANT_INT(ly_dest_state(lab.dest), LY_DST_LISTENING);
	ly_dest_drop(lab.dest);
	UNTIL(lab.dest_over && lab.dst.exited);
	end();
}

TEST_MAIN()
