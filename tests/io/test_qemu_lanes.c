/* SPDX-License-Identifier: Apache-2.0 */
/* Migrations over lanes, by keys, with the digest at both ends. */
#include "tests/io/qemu_scene.h"

static struct ly_stream_keys keys;
static struct ly_peer here, there;
static struct ly_lanes_params out = { .keys = &keys, .peer = &there };
static struct ly_lanes_params in = { .keys = &keys, .peer = &here };

static void
begin_keyed(unsigned lanes)
{
	begin();
	memset(&keys, 5, sizeof(keys));
	keys.mig = mig;
	keys.lanes = (uint8_t)lanes;
	ly_spiffe_host("a.example", "h1", keys.source);
	ly_spiffe_host("a.example", "h2", keys.dest);
	SITE_OK(ly_spiffe_parse(keys.source, &here, &why));
	SITE_OK(ly_spiffe_parse(keys.dest, &there, &why));
	lab.source_lanes = &out;
	lab.dest_lanes = &in;
	start_qemu(&lab.src, "src", false);
	start_qemu(&lab.dst, "dst", true);
	listen_and_wait("h1");
}

/* Given up before anything was claimed. */
static void
want_kept(const char *why)
{
	UNTIL(lab.source_over && lab.dest_over);
	WANT_INT(lab.moved.end, LY_SOURCE_STAYED);
	WANT_INT(lab.landed.end, LY_DEST_FAILED);
	WANT(strstr(lab.landed_why, why));
	WANT_INT(lab.home.claims, 0);
	UNTIL(lab.dst.exited);
	WANT_STR(status_of(&lab.src), "running");
	want_counting(&lab.src);
}

TEST(a_guest_moves_over_lanes_and_both_ends_have_one_digest)
{
	begin_keyed(3);
	migrate(0);
	want_moved();
	say_times("3 lanes");
	WANT_INT(lab.sent.bytes, lab.moved.bytes);
	WANT_INT(lab.came.bytes, lab.moved.bytes);
	WANT_INT(lab.sent.lanes, 3);
	WANT(ly_same(lab.sent.root, lab.came.root, 32));
	WANT(lab.arrived);
	end();
}

TEST(a_paced_guest_moves_over_one_lane)
{
	begin_keyed(1);
	migrate(500000);
	want_moved();
	say_times("1 slow lane");
	WANT(lab.moved.won);
	end();
}

TEST(a_fin_that_is_not_of_what_came_is_an_alarm_and_never_claimed)
{
	begin_keyed(2);
	lab.refuse_fin = "FIN's root is not that of what came";
	migrate(0);
	want_kept("FIN's root is not that of what came");
	WANT_STR(lab.alarm, "FIN's root is not that of what came");
	WANT_INT(lab.alarms, 1);
	WANT(lab.home.aborted); /* by the source, which had let go */
	end();
}

TEST(what_the_source_cannot_sign_never_runs_elsewhere)
{
	begin_keyed(2);
	lab.refuse_seal = true;
	migrate(0);
	want_kept("");
	WANT_STR(lab.moved_why, "no TPM");
	WANT_INT(lab.alarms, 0);
	end();
}

TEST(a_host_with_a_certificate_and_no_key_is_refused)
{
	begin_keyed(2);
	lab.source_lanes = NULL;
	migrate(0);
	UNTIL(lab.source_over);
	WANT_INT(lab.moved.end, LY_SOURCE_STAYED);
	WANT(!lab.dest_over);
	want_counting(&lab.src);
	end();
}

TEST(a_migration_called_off_midway_over_lanes_costs_nothing)
{
	begin_keyed(2);
	migrate(300000);
	UNTIL(lab.progress.bytes > 100000);
	ly_source_calloff(lab.source);
	want_kept("");
	WANT_INT(lab.alarms, 0);
	end();
}

TEST_MAIN()
