/* SPDX-License-Identifier: Apache-2.0 */
/* timeout: 180 */
/*
 * `lanyard evacuate` against real managers and fake agents: the plan, the run,
 * its end, and what survives of it when the manager does not.
 */
#pragma GCC diagnostic ignored "-Wunused-function" /* the scene has more */
#include "tests/io/run_shell.h"

#include <fcntl.h>

static const char *const vms[] = { "alpha", "beta", "gamma", "delta" };

static void
lanyard(const char *words)
{
	const char *build = getenv("BUILD");

	run_shell("%s/lanyard --manager %s %s 2>&1", build ? build : "build",
	    site_path("north.sock"), words);
}

/* Four VMs at home at n1; delta goes first, then beta. */
static void
four(void)
{
	static bool there;
	char line[200];

	scene();
	good_moods();
	if (there)
		return;
	there = true;
	for (size_t i = 0; i < LY_COUNT(vms); i++) {
		ly_print(line, sizeof(line),
		    "{\"do\":\"vm.add\",\"name\":\"%s\",\"home\":\"n1\","
		    "\"definition\":{\"memory_mb\":%zu}}",
		    vms[i], 100 * (i + 1));
		want_ok(NORTH, line);
		ly_print(line, sizeof(line),
		    "{\"do\":\"vm.start\",\"vm\":\"%s\"}", vms[i]);
		want_ok(NORTH, line);
	}
	want_ok(NORTH,
	    "{\"do\":\"vm.add\",\"name\":\"off\",\"home\":\"n1\","
	    "\"definition\":{\"memory_mb\":1}}");
	lanyard("vm set delta --priority 900");
	want_shell("delta has priority 900", 0);
	lanyard("vm set beta --priority 10");
}

static void
want_at(const char *at)
{
	for (size_t i = 0; i < LY_COUNT(vms); i++)
		want_vm(NORTH, vms[i], at, "running");
}

static void
all_idle(void)
{
	for (size_t i = 0; i < LY_COUNT(vms); i++)
		want_idle(NORTH, vms[i]);
}

static void
home_again(void)
{
	good_moods();
	lanyard("evacuate south --to north --quiet");
	all_idle();
	for (size_t i = 0; i < LY_COUNT(vms); i++) {
		json_t *v = vm_of(NORTH, vms[i]);
		char line[128];

		if (strcmp(text(v, "at"), "north/n1") != 0) {
			ly_print(line, sizeof(line),
			    "{\"do\":\"migrate\",\"vm\":\"%s\",\"to\":"
			    "\"north/n1\",\"wait\":true}",
			    vms[i]);
			want_ok(NORTH, line);
		}
		json_decref(v);
	}
	all_idle();
	want_at("north/n1");
}

static size_t
place_in(const char *text_, const char *word)
{
	const char *at = strstr(text_, word);

	if (!at)
		test_fail(__FILE__, __LINE__, "no %s: %s", word, text_);
	return (size_t)(at - text_);
}

TEST(a_plan_says_who_goes_where_in_which_order_and_changes_nothing)
{
	four();
	memset(fakes[S1].asked, 0, sizeof(fakes[S1].asked));
	lanyard("evacuate n1 --to south --dry-run");
	want_shell("4 of 4 VMs would be moved", 0);
	want_shell("south/s1", 0);
	WANT(!strstr(shell_out, "off"));
	WANT_INT(fakes[S1].asked[LY_PREPARE], 0);
	lanyard("evacuate n1 --to south --dry-run --json");
	want_shell("\"total\":4", 0);
	want_at("north/n1");
}

TEST(a_full_host_takes_no_more_and_the_plan_says_so)
{
	four();
	run_shell("%s/lanyard --manager %s host set s1 --capacity 3 2>&1",
	    getenv("BUILD") ? getenv("BUILD") : "build",
	    site_path("south.sock"));
	want_shell("Host s1: the inventory is changed", 0);
	for (int i = 0; i < 100; i++) {
		lanyard("evacuate n1 --to south --dry-run");
		if (strstr(shell_out, "is full"))
			break;
		turn(20);
	}
	want_shell("3 of 4 VMs would be moved", 0);
	want_shell("south/s1 is full: 3 of 3 VMs", 0);
	/* The last in order is who stays. */
	run_shell("%s/lanyard --manager %s evacuate n1 --to south --dry-run"
		  " 2>&1 | grep 'is full' | cut -d ' ' -f 1",
	    getenv("BUILD") ? getenv("BUILD") : "build",
	    site_path("north.sock"));
	WANT_STR(shell_out, "gamma\n");
	run_shell("%s/lanyard --manager %s host set s1 --capacity any 2>&1",
	    getenv("BUILD") ? getenv("BUILD") : "build",
	    site_path("south.sock"));
	for (int i = 0; i < 100; i++) {
		lanyard("evacuate n1 --to south --dry-run");
		if (!strstr(shell_out, "is full"))
			break;
		turn(20);
	}
	want_shell("4 of 4", 0);
}

TEST(all_vms_of_a_host_are_moved_high_priority_first)
{
	four();
	lanyard("evacuate n1 --to south --parallel 1");
	want_shell("all 4 VMs moved", 0);
	WANT(strstr(shell_out, "delta: copying to south/s1") ||
	    strstr(shell_out, "delta: moved to south/s1"));
	want_shell("4 of 4 VMs moved, 0 running", 0);
	all_idle();
	want_at("south/s1");
	lanyard("audit");
	want_shell("evacuation: north/n1 to site south is asked for by uid", 0);
	want_shell("is over: 4 of 4 VMs moved", 0);
	WANT(place_in(shell_out, "asks for delta") <
	    place_in(shell_out, "asks for beta"));
	WANT(place_in(shell_out, "asks for beta") <
	    place_in(shell_out, "asks for alpha"));
	WANT(place_in(shell_out, "asks for alpha") <
	    place_in(shell_out, "asks for gamma"));
}

TEST(asked_again_what_is_there_already_counts_as_moved)
{
	four();
	memset(fakes[S1].asked, 0, sizeof(fakes[S1].asked));
	lanyard("evacuate n1 --to south");
	want_shell("all 4 VMs moved", 0);
	WANT_INT(fakes[S1].asked[LY_PREPARE], 0);
}

TEST(a_whole_site_is_emptied_and_spread_over_the_other)
{
	unsigned at_n1 = 0;

	four();
	lanyard("evacuate south --to north");
	want_shell("all 4 VMs moved", 0);
	all_idle();
	for (size_t i = 0; i < LY_COUNT(vms); i++) {
		json_t *v = vm_of(NORTH, vms[i]);

		at_n1 += strcmp(text(v, "at"), "north/n1") == 0;
		json_decref(v);
	}
	WANT_INT(at_n1, 2);
	home_again();
}

TEST(a_vm_that_fails_stays_where_it_is_and_the_next_run_moves_it)
{
	four();
	fakes[S1].mood[LY_PREPARE] = FAKE_REFUSES;
	lanyard("evacuate n1 --to south");
	want_shell("0 of 4 VMs moved; 0 refused, 4 failed", 1);
	want_shell("in a bad mood", 1);
	want_shell("it is at north/n1", 1);
	all_idle();
	want_at("north/n1");
	good_moods();
	lanyard("evacuate n1 --to south --json");
	want_shell("\"moved\":4", 0);
	all_idle();
	home_again();
}

static void
in_background(const char *words)
{
	const char *build = getenv("BUILD");

	run_shell("(%s/lanyard --manager %s %s >%s 2>&1; echo \"exit $?\""
		  " >>%s) >/dev/null 2>&1 &",
	    build ? build : "build", site_path("north.sock"), words,
	    site_path("said"), site_path("said"));
}

static void
until_said(const char *what, int ms)
{
	for (int i = 0; i < ms / 20; i++) {
		run_shell("cat %s", site_path("said"));
		if (strstr(shell_out, what))
			return;
		turn(20);
	}
	test_fail(__FILE__, __LINE__, "no \"%s\": %s", what, shell_out);
}

TEST(called_off_no_new_one_is_begun_and_those_that_run_end)
{
	four();
	fakes[N1].mood[LY_COPY] = FAKE_HOLDS;
	fakes[N1].asked[LY_COPY] = 0;
	in_background("evacuate n1 --to south --parallel 1");
	until_asked(N1, LY_COPY, 1);
	lanyard("evacuate --cancel");
	want_shell("called off; 1 migrations still run", 0);
	lanyard("evacuate n1 --to south");
	want_shell("it was called off, and some migrations still run", 1);
	fake_let_go(&fakes[N1]);
	until_said("exit 1", 20000);
	want_shell("1 of 4 VMs moved; 3 refused, 0 failed; called off", 0);
	lanyard("evacuate --cancel");
	want_shell("no evacuation", 1);
	want_vm(NORTH, "delta", "south/s1", "running");
	want_vm(NORTH, "alpha", "north/n1", "running");
	all_idle();
	home_again();
}

TEST(a_manager_that_is_killed_goes_on_where_it_was)
{
	four();
	fakes[N1].mood[LY_COPY] = FAKE_HOLDS;
	fakes[N1].asked[LY_COPY] = 0;
	in_background("evacuate n1 --to south --parallel 1");
	until_asked(N1, LY_COPY, 1);
	kill_manager(NORTH);
	until_said("exit 3", 20000);
	want_shell("it goes on without us", 0);
	fakes[N1].has_held = false;
	good_moods();
	start_manager(NORTH);
	want_hosts(NORTH, 3);
	/* Watched again; nobody asked it to go on. */
	lanyard("evacuate n1 --to south");
	want_shell("all 4 VMs moved", 0);
	all_idle();
	want_at("south/s1");
	lanyard("audit");
	WANT(place_in(shell_out, "is over: 4 of 4 VMs moved"));
	home_again();
}

TEST(a_manager_that_is_killed_before_the_first_one_goes_on_too)
{
	four();
	fakes[N1].mood[LY_SHOW] = FAKE_HOLDS;
	fakes[N1].asked[LY_SHOW] = 0;
	lanyard("evacuate n1 --to south --detach");
	want_shell("4 of 4 VMs are being moved", 3);
	kill_manager(NORTH);
	fakes[N1].has_held = false;
	good_moods();
	start_manager(NORTH);
	want_hosts(NORTH, 3);
	for (int i = 0; i < 500; i++) {
		json_t *v = vm_of(NORTH, "gamma");
		bool moved = strcmp(text(v, "at"), "south/s1") == 0;

		json_decref(v);
		if (moved)
			break;
		turn(20);
	}
	want_at("south/s1");
	all_idle();
	home_again();
}

TEST(vms_of_another_site_are_not_ours_to_move)
{
	const char *build = getenv("BUILD");

	four();
	want_ok(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"alpha\",\"to\":\"south/s1\","
	    "\"wait\":true}");
	fake_report(&fakes[S1], &world.vm[0], LY_VM_RUNNING);
	turn(100);
	run_shell("%s/lanyard --manager %s evacuate s1 --to north --dry-run"
		  " 2>&1",
	    build ? build : "build", site_path("south.sock"));
	want_shell("its home is at site north, whose manager moves it", 0);
	want_shell("0 of 1 VMs would be moved", 0);
	home_again();
}

TEST(what_makes_no_sense_is_refused_with_a_reason)
{
	four();
	lanyard("evacuate n1 --to west");
	want_shell("no site \"west\"", 1);
	lanyard("evacuate north --to north");
	want_shell("to itself", 1);
	lanyard("evacuate n9 --to south");
	want_shell("n9", 1);
	lanyard("evacuate n1");
	want_shell("--to SITE is missing", 2);
	lanyard("evacuate --to south");
	want_shell("FROM is missing", 2);
	lanyard("evacuate n1 --to south --parallel 0");
	want_shell("--parallel", 2);
	lanyard("evacuate n2 --to south");
	want_shell("all 0 VMs moved", 0);
}

/* A migration that nobody evacuates is held to the same limit. */
TEST(a_full_host_refuses_a_migration)
{
	four();
	want_ok(NORTH,
	    "{\"do\":\"host.set\",\"host\":\"n2\",\"memory_mb\":250}");
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"gamma\",\"to\":\"north/n2\","
	    "\"wait\":true}",
	    "full", "0 of 250 MiB, and it needs 300");
	want_ok(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"beta\",\"to\":\"north/n2\","
	    "\"wait\":true}");
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"alpha\",\"to\":\"north/n2\","
	    "\"wait\":true}",
	    "full", "200 of 250 MiB, and it needs 100");
	want_ok(NORTH, "{\"do\":\"host.set\",\"host\":\"n2\",\"memory_mb\":0}");
}

TEST_MAIN()
