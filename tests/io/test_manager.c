/* SPDX-License-Identifier: Apache-2.0 */
/* timeout: 240 */
/*
 * lanyard-manager itself, as processes on loopback, with agents that are
 * fakes: two sites, a host each and a second one in the north.
 */
#include "tests/io/manager_scene.h"

TEST(a_configuration_that_makes_no_sense_names_file_line_and_key)
{
	char *log = NULL;
	size_t len;
	pid_t pid;

	write_text(site_path("bad.conf"),
	    "[manager]\nsite = north\nlisten = 127.0.0.1:1\nslate = /x\n");
	pid = run("-t", "-c", site_path("bad.conf"), site_path("bad.log"));
	WANT(WEXITSTATUS(wait_for(pid)) == 1);
	SITE_OK(ly_file_read(site_path("bad.log"), 65536, (uint8_t **)&log,
	    &len, &why));
	WANT(strstr(log, "bad.conf:4") && strstr(log, "slate"));
	free(log);
}

TEST(a_second_manager_on_the_same_state_refuses_to_start)
{
	pid_t pid;

	scene();
	pid = run("-v", "-c", site_path("north.conf"), site_path("two.log"));
	WANT(WEXITSTATUS(wait_for(pid)) == 1);
	want_ok(NORTH, "{\"do\":\"status\"}");
}

TEST(hosts_of_both_sites_are_known_to_both_managers)
{
	json_t *a;

	scene();
	a = ask(NORTH, "{\"do\":\"host.show\",\"host\":\"s1\"}");
	WANT_STR(text(a, "site"), "south");
	WANT(json_is_true(json_object_get(a, "connected")));
	json_decref(a);
}

TEST(an_unknown_host_or_vm_says_which_exist)
{
	scene();
	want_no(NORTH, "{\"do\":\"host.show\",\"host\":\"n9\"}", "unknown",
	    "north/n1");
	want_no(NORTH, "{\"do\":\"vm.show\",\"vm\":\"web9\"}", "unknown",
	    "no VM \"web9\"");
	want_no(NORTH,
	    "{\"do\":\"vm.add\",\"name\":\"x\",\"home\":\"s1\","
	    "\"definition\":{}}",
	    "refused", "not a host of this");
}

TEST(a_line_that_is_no_request_is_answered_and_the_next_one_is_heard)
{
	char big[150000];

	scene();
	want_no(NORTH, "garbage", "usage", "not JSON");
	want_no(NORTH, "{\"do\":\"dance\"}", "usage", "host.add");
	want_no(NORTH, "{\"do\":\"vm.show\"}", "usage", "needs \"vm\"");
	want_no(NORTH, "{\"do\":\"vm.show\",\"vm\":1}", "usage", "a text");
	want_no(NORTH, "{\"do\":\"vm.list\",\"x\":1}", "usage", "no key");
	want_ok(NORTH, "{\"do\":\"vm.list\"}");
	memset(big, 'x', sizeof(big));
	WANT(write(managers[NORTH].api, big, sizeof(big)) > 0);
	json_t *a = api_final(NORTH);

	WANT_STR(text(a, "rc"), "usage");
	json_decref(a);
	WANT(!api_line(NORTH, 2000)); /* and closed */
	close(managers[NORTH].api);
	api_open(NORTH);
}

TEST(a_vm_is_added_started_and_shown_with_its_homes_record)
{
	struct fake_vm *vm = web1();
	json_t *a;

	WANT_INT(vm->epoch, 2);
	WANT_INT(vm->rights, LY_MAY_ATTACH);
	a = ask(NORTH, "{\"do\":\"vm.show\",\"vm\":\"web1\"}");
	WANT_STR(text(a, "tpm"), "tpm0");
	WANT_STR(text(json_object_get(a, "record"), "state"), "attached");
	WANT_INT(number(json_object_get(a, "definition"), "memory"), 256);
	json_decref(a);
	want_vm(NORTH, "web1", "north/n1", "running");
	want_no(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\",\"host\":\"n2\"}",
	    "refused", "runs at north/n1 already");
	want_no(NORTH,
	    "{\"do\":\"vm.add\",\"name\":\"web1\",\"home\":\"n1\","
	    "\"definition\":{}}",
	    "refused", "already");
	want_no(NORTH, "{\"do\":\"vm.remove\",\"vm\":\"web1\"}", "refused",
	    "stop it first");
}

TEST(a_dry_run_asks_nobody_and_names_what_would_not_be_asked)
{
	json_t *a, *step;
	size_t i;
	unsigned unasked = 0;

	web1();
	memset(fakes[S1].asked, 0, sizeof(fakes[S1].asked));
	a = ask(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"south/s1\""
	    ",\"dry_run\":true}");
	json_array_foreach(json_object_get(a, "steps"), i, step)
		if (strcmp(text(step, "would"), "not with attest = no") == 0)
			unasked++;
	WANT_INT(unasked, 6);
	WANT(json_is_true(json_object_get(a, "allowed")));
	WANT_INT(fakes[S1].asked[LY_PREPARE], 0);
	json_decref(a);
}

TEST(a_migration_to_another_site_and_back_moves_the_vm_and_not_its_home)
{
	struct fake_vm *vm = web1();
	json_t *a;

	a = ask(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\","
	    "\"wait\":true}");
	WANT(json_is_true(json_object_get(a, "ok")));
	WANT(json_is_true(json_object_get(a, "migrated")));
	WANT_STR(text(a, "from"), "north/n1");
	WANT_STR(text(a, "to"), "south/s1");
	WANT_STR(text(a, "home"), "north/n1");
	WANT_INT(number(a, "epoch"), 3);
	WANT_INT(number(a, "memory_bytes"), 268435456);
	WANT_INT(number(a, "downtime_ms"), 42);
	WANT_INT(number(a, "tpm_state_bytes"), 0);
	WANT_INT(number(a, "commands_after") - number(a, "commands_before"),
	    10);
	WANT(progress_seen && number(progress_seen, "percent") == 50);
	json_decref(a);
	move_here();
	want_vm(NORTH, "web1", "south/s1", "running");
	a = ask(SOUTH, "{\"do\":\"host.show\",\"host\":\"s1\"}");
	WANT_INT(json_array_size(json_object_get(a, "guests")), 1);
	json_decref(a);
	migrate("n2");
	want_vm(NORTH, "web1", "north/n2", "running");
	migrate("n1");
	want_vm(NORTH, "web1", "north/n1", "running");
	WANT_INT(vm->epoch, 5);
}

TEST(a_second_migration_is_refused_while_one_runs)
{
	json_t *a;

	web1();
	fakes[N1].mood[LY_COPY] = FAKE_HOLDS;
	fakes[N1].asked[LY_COPY] = 0;
	a = ask(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	WANT(strlen(text(a, "migration")) == 36);
	until_asked(N1, LY_COPY, 1);
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"n2\","
	    "\"wait\":true}",
	    "busy", "copying");
	want_no(NORTH, "{\"do\":\"vm.stop\",\"vm\":\"web1\"}", "busy",
	    "migrated");
	fake_let_go(&fakes[N1]);
	want_vm(NORTH, "web1", "south/s1", "running");
	want_idle(NORTH, "web1");
	json_decref(a);
	move_here();
	migrate("n1");
}

TEST(a_destination_that_refuses_leaves_the_vm_where_it_was)
{
	web1();
	fakes[S1].mood[LY_PREPARE] = FAKE_REFUSES;
	fakes[S1].asked[LY_DROP] = 0;
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\","
	    "\"wait\":true}",
	    "refused", "in a bad mood");
	WANT_INT(fakes[S1].asked[LY_DROP], 1);
	WANT_INT(world.vm[0].fate, LY_FATE_ABORTED);
	want_vm(NORTH, "web1", "north/n1", "running");
}

TEST(a_source_that_cannot_tell_is_settled_by_the_home)
{
	web1();
	fakes[N1].mood[LY_COPY] = FAKE_REFUSES; /* and says no fate */
	fakes[N1].asked[LY_SETTLE] = 0;
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\","
	    "\"wait\":true}",
	    "refused", "copy at north/n1");
	WANT_INT(fakes[N1].asked[LY_SETTLE], 1);
	WANT_INT(fakes[N1].last_flag, LY_FATE_ABORTED);
}

TEST(a_migration_to_a_dead_host_is_refused_at_once)
{
	web1();
	fake_cut(&fakes[S1]);
	want_hosts(NORTH, 2);
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\","
	    "\"wait\":true}",
	    "refused", "the destination south/s1 is not connected");
	fakes[S1].off = false;
	want_hosts(NORTH, 3);
}

TEST(a_source_that_is_cut_off_and_comes_back_is_asked_again)
{
	web1();
	fakes[N1].mood[LY_COPY] = FAKE_LOSES;
	fakes[N1].asked[LY_COPY] = 0;
	want_ok(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"n2\"}");
	until_asked(N1, LY_COPY, 1);
	good_moods();
	fake_cut(&fakes[N1]);
	want_hosts(NORTH, 2);
	fakes[N1].off = false;
	until_asked(N1, LY_COPY, 2);
	move_here();
	want_vm(NORTH, "web1", "north/n2", "running");
	want_idle(NORTH, "web1");
	migrate("n1");
}

TEST(a_source_that_is_lost_is_settled_by_the_home_and_told_on_its_return)
{
	web1();
	migrate("n2"); /* the home must not be the one that is lost */
	fakes[N2].mood[LY_COPY] = FAKE_HOLDS;
	fakes[N2].asked[LY_COPY] = fakes[N2].asked[LY_SETTLE] = 0;
	fakes[S1].asked[LY_DROP] = 0;
	want_ok(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	until_asked(N2, LY_COPY, 1);
	fake_cut(&fakes[N2]);
	until_asked(S1, LY_DROP, 1);
	WANT_INT(world.vm[0].fate, LY_FATE_ABORTED);
	want_vm(NORTH, "web1", "north/n2", "down at north/n2 (host lost)");
	fakes[N2].has_held = false;
	good_moods();
	fakes[N2].off = false;
	until_asked(N2, LY_SETTLE, 1);
	WANT_INT(fakes[N2].last_flag, LY_FATE_ABORTED);
	want_idle(NORTH, "web1");
	want_vm(NORTH, "web1", "north/n2", "running");
	migrate("n1");
}

TEST(a_vm_of_a_lost_source_starts_elsewhere_and_the_source_is_not_resumed)
{
	web1();
	migrate("n2");
	fakes[N2].mood[LY_COPY] = FAKE_HOLDS;
	fakes[N2].asked[LY_COPY] = fakes[N2].asked[LY_SETTLE] = 0;
	fakes[S1].asked[LY_DROP] = 0;
	want_ok(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	until_asked(N2, LY_COPY, 1);
	fake_cut(&fakes[N2]);
	until_asked(S1, LY_DROP, 1);
	want_vm(NORTH, "web1", "north/n2", "down at north/n2 (host lost)");
	want_ok(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\",\"force\":true}");
	fakes[N2].has_held = false;
	fakes[N2].here = NULL;
	good_moods();
	fakes[N2].off = false;
	want_hosts(NORTH, 3);
	want_vm(NORTH, "web1", "north/n1", "running");
	WANT_INT(fakes[N2].asked[LY_SETTLE], 0);
}

TEST(a_full_disk_refuses_the_step_and_status_says_so)
{
	struct rlimit was, full = { 0, 0 };
	json_t *a;

	web1();
	WANT(prlimit(managers[NORTH].pid, RLIMIT_FSIZE, NULL, &was) == 0);
	full.rlim_max = was.rlim_max;
	WANT(prlimit(managers[NORTH].pid, RLIMIT_FSIZE, &full, NULL) == 0);
	fakes[S1].asked[LY_PREPARE] = 0;
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\","
	    "\"wait\":true}",
	    "outside", "written down");
	want_no(NORTH,
	    "{\"do\":\"vm.add\",\"name\":\"web2\",\"home\":\"n1\","
	    "\"definition\":{}}",
	    "outside", "lanyard.db");
	WANT_INT(fakes[S1].asked[LY_PREPARE], 0);
	a = ask(NORTH, "{\"do\":\"status\"}");
	WANT_STR(text(a, "site"), "north");
	WANT(strcmp(text(a, "store"), "good") != 0);
	WANT_INT(json_array_size(json_object_get(a, "vms")), 1);
	WANT_INT(json_array_size(json_object_get(a, "migrations")), 0);
	json_decref(a);
	WANT(prlimit(managers[NORTH].pid, RLIMIT_FSIZE, &was, NULL) == 0);
	migrate("s1");
	a = ask(NORTH, "{\"do\":\"status\"}");
	WANT_STR(text(a, "store"), "good");
	json_decref(a);
	migrate("n1");
}

TEST(a_migration_can_be_called_off_while_it_copies)
{
	web1();
	fakes[N1].mood[LY_COPY] = FAKE_HOLDS;
	fakes[N1].asked[LY_COPY] = fakes[N1].asked[LY_CALLOFF] = 0;
	want_ok(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	until_asked(N1, LY_COPY, 1);
	want_ok(NORTH, "{\"do\":\"migrate.cancel\",\"vm\":\"web1\"}");
	until_asked(N1, LY_CALLOFF, 1);
	world.vm[0].fate = LY_FATE_ABORTED; /* the source did that */
	fakes[S1].asked[LY_DROP] = 0;
	fake_let_go(&fakes[N1]);
	until_asked(S1, LY_DROP, 1);
	want_idle(NORTH, "web1");
	want_vm(NORTH, "web1", "north/n1", "running");
}

/* ---- kill -9 between steps ---- */

static void
killed_at(int f, unsigned type)
{
	json_t *a;
	char line[128];

	web1();
	fakes[f].mood[type] = FAKE_LOSES;
	fakes[f].asked[type] = 0;
	a = ask(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	WANT(json_is_true(json_object_get(a, "ok")));
	until_asked(f, type, 1);
	kill_manager(NORTH);
	good_moods();
	turn(50);
	start_manager(NORTH);
	until_asked(f, type, 2);
	ly_print(line, sizeof(line),
	    "{\"do\":\"migrate.show\",\"migration\":\"%s\"}",
	    text(a, "migration"));
	for (int i = 0; i < 300; i++) {
		json_t *b = ask(NORTH, line);
		bool over = strcmp(text(b, "state"), "cleaned") == 0;

		json_decref(b);
		if (over)
			break;
		WANT(i < 299);
		turn(20);
	}
	json_decref(a);
	move_here();
	want_vm(NORTH, "web1", "south/s1", "running");
	migrate("n1");
}

TEST(a_manager_killed_while_the_home_is_asked_goes_on)
{
	killed_at(N1, LY_SHOW);
}

TEST(a_manager_killed_while_preparing_goes_on)
{
	killed_at(S1, LY_PREPARE);
}

TEST(a_manager_killed_while_copying_goes_on)
{
	killed_at(N1, LY_COPY);
}

TEST(another_sites_manager_killed_in_the_middle_changes_nothing)
{
	web1();
	fakes[S1].mood[LY_PREPARE] = FAKE_LOSES;
	fakes[S1].asked[LY_PREPARE] = 0;
	want_ok(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	until_asked(S1, LY_PREPARE, 1);
	kill_manager(SOUTH);
	good_moods();
	start_manager(SOUTH);
	until_asked(S1, LY_PREPARE, 2);
	for (int i = 0; i < 300 && strcmp(world.vm[0].holder, fakes[S1].id);
	     i++)
		turn(20);
	move_here();
	want_vm(NORTH, "web1", "south/s1", "running");
	want_idle(NORTH, "web1");
	migrate("n1");
}

/* ---- starts by force, stops, ends ---- */

TEST(a_vm_whose_host_was_lost_starts_elsewhere_only_by_force)
{
	struct fake_vm *vm = web1();

	migrate("n2");
	fake_cut(&fakes[N2]);
	want_hosts(NORTH, 2);
	want_vm(NORTH, "web1", "north/n2",
	    "unknown (north/n2 is not connected)");
	want_no(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\"}", "refused",
	    "--force");
	want_ok(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\",\"force\":true}");
	WANT_INT(vm->rights, LY_MAY_ATTACH | LY_MAY_FORCE);
	fakes[N2].here = NULL;
	fakes[N2].off = false;
	want_hosts(NORTH, 3);
	want_vm(NORTH, "web1", "north/n1", "running");
}

TEST(a_holder_that_says_it_has_no_such_vm_is_proof_enough)
{
	struct fake_vm *vm = web1();

	migrate("n2");
	fakes[N2].here = NULL; /* it was rebooted */
	fake_report(&fakes[N2], vm, LY_VM_NONE);
	want_vm(NORTH, "web1", "north/n2", "off");
	fakes[N2].asked[LY_STOP] = 0;
	want_ok(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\"}");
	WANT_INT(fakes[N2].asked[LY_STOP], 1);
	WANT_INT(vm->rights, LY_MAY_ATTACH | LY_MAY_FORCE);
}

/* ---- a manager of another site, who has turned ---- */

static struct rogue {
	struct ly_conn *conn;
	bool open;
	unsigned answers;
	struct ly_done last;
} rogue;

static enum ly_rc
rogue_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)c, (void)peer, (void)hello, (void)arg, (void)why;
	rogue.open = true;
	return LY_OK;
}

static enum ly_rc
rogue_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	(void)c, (void)arg, (void)why;
	if (type == LY_DONE) {
		rogue.answers++;
		rogue.last = m->done;
	}
	return LY_OK;
}

static void
rogue_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	(void)c, (void)rc, (void)why, (void)arg;
	rogue.conn = NULL;
}

static const struct ly_conn_ops rogue_ops = {
	.on_open = rogue_open,
	.on_frame = rogue_frame,
	.on_close = rogue_close,
};

static void
rogue_dial(struct ly_net *net)
{
	struct ly_hello hello = { .proto = LY_PROTO,
		.purpose = LY_FOR_FEDERATION };

	rogue.open = false;
	rogue.conn = ly_conn_dial(net, fakes[N1].manager, NULL, &hello,
	    &rogue_ops, NULL);
}

static void
rogue_asks(unsigned type, void *msg, enum ly_rc rc, const char *why)
{
	unsigned was = rogue.answers;

	ly_conn_send(rogue.conn, type, msg);
	for (int i = 0; i < 300 && rogue.answers == was; i++)
		turn(10);
	WANT_INT(rogue.answers, was + 1);
	WANT_INT(rogue.last.rc, rc);
	if (!strstr(rogue.last.why, why))
		test_fail(__FILE__, __LINE__, "%s", rogue.last.why);
}

TEST(a_host_is_no_manager_whatever_it_says_it_is)
{
	scene();
	rogue_dial(fakes[S1].net);
	for (int i = 0; i < 300 && rogue.conn; i++)
		turn(10);
	WANT(!rogue.conn);
}

TEST(another_sites_manager_may_not_ask_for_vms_that_are_not_its_own)
{
	struct ly_start s = { .req = 1,
		.host = "n1",
		.origin = "south",
		.name = "evil",
		.home = "spiffe://north/host/n1" };
	struct ly_request r = { .req = 2, .host = "n1", .origin = "south" };
	struct ly_quote q = { .req = 3, .host = "n1", .origin = "south" };
	struct ly_keying k = { .req = 4, .host = "n1", .origin = "south" };
	struct ly_net *net = NULL;
	struct ly_identity *ids;

	web1();
	site_copy(site_path("south/manager.pem"), site_path("rogue.pem"));
	WANT(rename(site_path("south/manager.key"), site_path("rogue.key")) ==
	    0);
	kill_manager(SOUTH);
	ids = site_load("rogue", "trust");
	SITE_OK(ly_net_new(world.loop, ids, "rogue", &net, &why));
	rogue_dial(net);
	for (int i = 0; i < 300 && !rogue.open; i++)
		turn(10);
	WANT(rogue.open);
	memset(fakes[N1].asked, 0, sizeof(fakes[N1].asked));

	rogue_asks(LY_START, &s, LY_REFUSED, "not a host of site south");
	ly_copy(s.origin, sizeof(s.origin), "north");
	rogue_asks(LY_START, &s, LY_REFUSED, "in the name of north");
	r.vm = world.vm[0].id; /* web1 is of the north */
	rogue_asks(LY_STOP, &r, LY_REFUSED, "not at site south");
	q.vm = k.vm = r.vm;
	rogue_asks(LY_QUOTE, &q, LY_REFUSED, "not at site south");
	rogue_asks(LY_KEY, &k, LY_REFUSED, "not at site south");
	rogue_asks(LY_IMPORT, &k, LY_REFUSED, "not at site south");
	rogue_asks(LY_UNLOCK, &k, LY_REFUSED, "not at site south");
	r.vm.b[0] ^= 1;
	ly_copy(r.host, sizeof(r.host), "n9");
	rogue_asks(LY_STOP, &r, LY_UNKNOWN, "no host \"n9\"");
	WANT_INT(fakes[N1].asked[LY_STOP], 0);
	WANT_INT(fakes[N1].asked[LY_START], 0);
	WANT_INT(fakes[N1].asked[LY_KEY], 0);

	/* BIND, SHOW and ASK are for its own site's hosts only. */
	ly_conn_send(rogue.conn, LY_SHOW, &r);
	for (int i = 0; i < 300 && rogue.conn; i++)
		turn(10);
	WANT(!rogue.conn);
	ly_net_close(net);
	turn(20);
	WANT(rename(site_path("rogue.key"), site_path("south/manager.key")) ==
	    0);
	start_manager(SOUTH);
	want_hosts(NORTH, 3);
	ly_identity_free(ids); /* its net is long closed */
}

static bool
knows_revoked(int f, int whom)
{
	return ly_identity_revoked(fakes[f].ids,
	    ly_identity_self(fakes[whom].ids));
}

static void
until_known_revoked(int f, int whom)
{
	for (int i = 0; i < 500 && !knows_revoked(f, whom); i++)
		turn(10);
	WANT(knows_revoked(f, whom));
}

/* As of a host that was stolen: the manager is told, nobody else. */
TEST(a_revoked_host_is_one_to_no_site_until_it_has_a_new_certificate)
{
	json_t *a;

	web1();
	migrate("n2");
	want_no(NORTH, "{\"do\":\"host.revoke\",\"host\":\"south/s1\"}",
	    "refused", "not a host of this site");
	want_no(NORTH,
	    "{\"do\":\"host.revoke\",\"host\":\"n2\",\"reason\":\"fun\"}",
	    "usage", "key-compromise");
	WANT(!knows_revoked(N1, N2));
	a = ask(NORTH,
	    "{\"do\":\"host.revoke\",\"host\":\"n2\",\"reason\":"
	    "\"key-compromise\"}");
	WANT_INT(number(a, "certificates"), 1);
	WANT_STR(json_string_value(
		     json_array_get(json_object_get(a, "vms"), 0)),
	    "web1");
	json_decref(a);
	until_known_revoked(N1, N2);
	until_known_revoked(S1, N2); /* by its own manager */
	want_hosts(NORTH, 2);
	want_hosts(SOUTH, 2);
	kill_manager(NORTH);
	start_manager(NORTH);
	want_hosts(NORTH, 2); /* n2 dials in vain */
	want_ok(NORTH,
	    "{\"do\":\"vm.start\",\"vm\":\"web1\",\"host\":\"n1\","
	    "\"force\":true}");
	fakes[N2].here = NULL;
	certify_host(NORTH, "n2");
	SITE_OK(ly_identity_reload(fakes[N2].ids, &why));
	WANT(!knows_revoked(S1, N2));
	want_hosts(NORTH, 3);
	want_vm(NORTH, "web1", "north/n1", "running");
}

TEST(a_vm_is_stopped_started_at_another_site_and_removed)
{
	web1();
	want_ok(NORTH, "{\"do\":\"vm.stop\",\"vm\":\"web1\"}");
	want_vm(NORTH, "web1", "north/n1", "off");
	want_ok(NORTH,
	    "{\"do\":\"vm.start\",\"vm\":\"web1\",\"host\":"
	    "\"south/s1\"}");
	want_vm(NORTH, "web1", "south/s1", "running");
	want_ok(NORTH, "{\"do\":\"vm.stop\",\"vm\":\"web1\"}");
	want_no(NORTH, "{\"do\":\"host.remove\",\"host\":\"n1\"}", "refused",
	    "home");
	want_ok(NORTH, "{\"do\":\"vm.remove\",\"vm\":\"web1\"}");
	want_ok(NORTH, "{\"do\":\"host.remove\",\"host\":\"n2\"}");
	want_no(NORTH, "{\"do\":\"host.show\",\"host\":\"n2\"}", "unknown",
	    "there are");
}

TEST(a_manager_ends_cleanly_when_told_to)
{
	int status;

	scene();
	kill(managers[NORTH].pid, SIGTERM);
	status = wait_for(managers[NORTH].pid);
	WANT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(managers[NORTH].api);
	start_manager(NORTH);
	want_ok(NORTH, "{\"do\":\"status\"}");
}

TEST_MAIN()
