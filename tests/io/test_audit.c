/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The permanent record as an operator meets it: `lanyard audit`, what it finds,
 * and two real managers that are each other's witness.
 */
#pragma GCC diagnostic ignored "-Wunused-function" /* the scene has more */
#include "tests/io/run_shell.h"

static void
lanyard(int s, const char *words)
{
	const char *build = getenv("BUILD");

	run_shell("%s/lanyard --manager %s %s 2>&1", build ? build : "build",
	    site_path("%s.sock", site_names[s]), words);
}

static void
restart(int s)
{
	kill_manager(s);
	start_manager(s);
	want_hosts(NORTH, 3);
	want_hosts(SOUTH, 3);
}

TEST(what_was_asked_and_done_is_told_in_order)
{
	static const char *const story[] = { "record begun", "site trusted",
		"host added: uid", "vm created: web1", "ticket issued",
		"epoch changed: web1", "vm started: web1",
		"migration asked: uid",
		"asks for web1 to be moved from"
		" north/n1 to south/s1",
		"ticket issued", "epoch changed", "migration committed" };
	const char *at = shell_out;

	web1();
	move_here();
	migrate("south/s1");
	want_idle(NORTH, "web1");
	lanyard(NORTH, "audit");
	WANT_INT(shell_status, 0);
	for (size_t i = 0; i < LY_COUNT(story); i++) {
		at = strstr(at, story[i]);
		if (!at)
			test_fail(__FILE__, __LINE__, "no \"%s\" after: %s",
			    story[i], shell_out);
	}
}

TEST(events_are_found_by_vm_host_migration_and_time)
{
	char mig[64] = "", cmd[128];
	char *at;

	lanyard(NORTH, "audit --vm web1");
	want_shell("vm started: web1", 0);
	WANT(!strstr(shell_out, "host added"));
	lanyard(NORTH, "audit --host south/s1 --json");
	want_shell("\"kind\":\"migration committed\"", 0);
	WANT(!strstr(shell_out, "vm created"));
	at = strstr(shell_out, "\"mig\":\"");
	WANT(at);
	ly_copy(mig, LY_ID_TEXT, at + 7);
	ly_print(cmd, sizeof(cmd), "audit --mig %s", mig);
	lanyard(NORTH, cmd);
	want_shell("migration asked", 0);
	WANT(!strstr(shell_out, "vm created"));
	lanyard(NORTH, "audit --since 1h");
	want_shell("record begun", 0);
	lanyard(NORTH, "audit --since 2099-01-01");
	WANT_STR(shell_out, "");
	lanyard(NORTH, "audit --since yesterday");
	want_shell("expected a date", 2);
}

TEST(the_chain_is_verified_by_who_asks)
{
	restart(SOUTH); /* it is told the head when it connects */
	for (int i = 0; i < 200; i++) {
		lanyard(NORTH, "audit --verify");
		if (strstr(shell_out, "Site south has signed"))
			break;
		turn(20);
	}
	want_shell("events, unbroken since", 0);
	want_shell("head signed by spiffe://north/manager/m1", 0);
	want_shell("Site south has signed that it saw the first", 0);
	lanyard(NORTH, "audit --verify --json");
	want_shell("\"witnesses\":1", 0);
}

/* With what everybody has. */
TEST(an_export_is_checked_without_lanyard)
{
	char cmd[300];

	ly_print(cmd, sizeof(cmd), "audit --export %s", site_path("all"));
	lanyard(NORTH, cmd);
	want_shell("unbroken", 0);
	run_shell(
	    "cd %s && openssl x509 -in all.pem -noout -pubkey >all.pub &&"
	    " openssl dgst -sha256 -verify all.pub -signature all.sig all.head",
	    site_path("."));
	want_shell("Verified OK", 0);
	run_shell(
	    "cd %s && test $(wc -l <all) = $(sed -n 's/^events //p' all.head) &&"
	    " test $(tail -n 1 all | tr -d '\\n' | sha256sum | cut -c 1-64) ="
	    " $(sed -n 's/^hash //p' all.head) && echo same",
	    site_path("."));
	want_shell("same", 0);
	run_shell("cd %s && sed -n 2p all | grep -c"
		  " $(sed -n 1p all | tr -d '\\n' | sha256sum | cut -c 1-64)",
	    site_path("."));
	want_shell("1", 0);
}

/* A key that was one host's is refused for another. */
TEST(a_key_is_certified_for_one_host_only)
{
	char id[LY_SPIFFE_MAX], *csr = NULL, *line;
	json_t *o = json_object();

	ly_spiffe_host("north", "n8", id);
	SITE_OK(ly_ca_request(id, site_path("n8.key"), &csr, &why));
	json_object_set_new(o, "do", json_string("host.add"));
	json_object_set_new(o, "name", json_string("n8"));
	json_object_set_new(o, "address", json_string("127.0.0.1:9"));
	json_object_set_new(o, "csr", json_string(csr));
	line = json_dumps(o, JSON_COMPACT);
	want_ok(NORTH, line);
	free(line);
	json_object_set_new(o, "name", json_string("n9"));
	line = json_dumps(o, JSON_COMPACT);
	want_no(NORTH, line, "refused", "spiffe://north/host/n8's since event");
	free(line);
	free(csr);
	json_decref(o);
	want_ok(NORTH, "{\"do\":\"host.remove\",\"host\":\"n8\"}");
	lanyard(NORTH, "audit --host n8");
	want_shell("removes host n8", 0);
}

TEST(a_removed_vm_is_found_by_its_name)
{
	want_ok(NORTH,
	    "{\"do\":\"vm.add\",\"name\":\"old\",\"home\":\"n2\","
	    "\"definition\":{\"memory\":256}}");
	want_ok(NORTH, "{\"do\":\"vm.remove\",\"vm\":\"old\"}");
	lanyard(NORTH, "audit --vm old");
	want_shell("vm created: old", 0);
	want_shell("vm removed: old", 0);
}

TEST(a_changed_record_keeps_the_manager_from_starting)
{
	kill_manager(NORTH);
	run_shell("cd %s && cp -r north north.good && sqlite3 north/lanyard.db"
		  " 'DROP TRIGGER record_stays; UPDATE record SET line ="
		  " replace(line, \"web1\", \"web2\") WHERE n = 7'",
	    site_path("."));
	WANT_INT(shell_status, 0);
	WANT_INT(WEXITSTATUS(wait_for(run("-v", "-c", site_path("north.conf"),
		     site_path("broken.log")))),
	    1);
	run_shell("cat %s", site_path("broken.log"));
	want_shell("the permanent record is broken", 0);
	want_shell("put back a lanyard.db that is whole", 0);
	run_shell("cd %s && rm -rf north && mv north.good north",
	    site_path("."));
	start_manager(NORTH);
	want_hosts(NORTH, 3);
}

/* lanyard.db and STATE/head, both: nothing here can find it. */
TEST(a_record_that_was_put_back_is_found_by_the_witness)
{
	kill_manager(NORTH);
	run_shell("cd %s && rm -rf old && cp -r north old", site_path("."));
	start_manager(NORTH);
	want_hosts(NORTH, 3);
	want_ok(NORTH,
	    "{\"do\":\"vm.add\",\"name\":\"new\",\"home\":\"n2\","
	    "\"definition\":{\"memory\":256}}");
	restart(SOUTH);
	turn(200);
	kill_manager(NORTH);
	run_shell("cd %s && rm -rf north && cp -r old north", site_path("."));
	start_manager(NORTH);
	want_hosts(NORTH, 3);
	for (int i = 0; i < 200; i++) {
		lanyard(NORTH, "audit --quiet --since 2099-01-01");
		lanyard(NORTH, "audit --since 2099-01-01");
		if (strstr(shell_out, "ALARM"))
			break;
		turn(20);
	}
	want_shell("site south has a head of", 0);
	want_no(NORTH,
	    "{\"do\":\"vm.add\",\"name\":\"more\",\"home\":\"n2\","
	    "\"definition\":{\"memory\":256}}",
	    "refused", "audit --accept-loss");
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"north/n2\","
	    "\"wait\":true}",
	    "outside", "audit --accept-loss");
	lanyard(SOUTH, "status");
	want_shell("its permanent record went back", 0);
}

TEST(an_accepted_loss_is_an_event_and_is_not_asked_again)
{
	lanyard(NORTH, "audit --accept-loss");
	want_shell("recorded", 0);
	lanyard(NORTH, "audit --accept-loss");
	want_shell("nothing is lost", 1);
	lanyard(NORTH, "audit");
	want_shell("record loss accepted: site south has a head", 0);
	restart(NORTH);
	turn(500);
	lanyard(NORTH, "audit --verify");
	want_shell("unbroken", 0);
	good_moods();
	migrate("north/n2");
	want_idle(NORTH, "web1");
	lanyard(NORTH, "audit --quiet");
	WANT(!strstr(shell_out, "ALARM"));
}

TEST_MAIN()
