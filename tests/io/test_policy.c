/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Approved states on their way: pushed to a manager, told to its agents, to
 * another site's manager and by that to its agents. The north's policy key is
 * pinned by both sites.
 */
#include "tests/io/manager_scene.h"
#include "tests/unit/policy_pem.h"

static struct authority pol, other;
static struct list made;

static void
keep_lists(int f)
{
	const char *dir = site_path("lists-%s", fakes[f].name);

	SITE_OK(
	    ly_approvals_open(dir, site_path("keys"), &fakes[f].lists, &why));
}

static void
begin(void)
{
	static bool there;

	if (there)
		return;
	there = true;
	scene();
	authority_make(&pol, 1);
	authority_make(&other, 2);
	SITE_OK(ly_file_mkdir(site_path("keys"), 0700, &why));
	write_key(site_path("keys/north.policy.pem"), &pol);
	write_key(site_path("north/trust/north.policy.pem"), &pol);
	write_key(site_path("south/trust/north.policy.pem"), &pol);
	keep_lists(N1);
	keep_lists(S1);
}

static struct ly_bytes
list_of(const char *site, uint64_t serial, uint64_t generation,
    const char *note, const struct authority *by)
{
	list_start(&made, site, serial, generation);
	if (note)
		list_add(&made, "compute", note, 1);
	return sign_list(&made, by);
}

static json_t *
push(struct ly_bytes list)
{
	static char line[2 * LY_APPROVED_MAX + 64];
	size_t n;

	ly_copy(line, sizeof(line), "{\"do\":\"policy.push\",\"list\":\"");
	n = strlen(line);
	ly_hex(list.at, list.len, line + n);
	strcat(line, "\"}");
	return ask(NORTH, line);
}

static void
push_ok(struct ly_bytes list)
{
	json_t *a = push(list);

	if (!json_is_true(json_object_get(a, "ok")))
		test_fail(__FILE__, __LINE__, "%s", text(a, "why"));
	json_decref(a);
}

static void
push_no(struct ly_bytes list, const char *why)
{
	json_t *a = push(list);

	WANT(json_is_false(json_object_get(a, "ok")));
	if (!strstr(text(a, "why"), why))
		WANT_STR(text(a, "why"), why);
	json_decref(a);
}

static uint64_t
serial_at(int f)
{
	const struct ly_approved *l = ly_approvals_of(fakes[f].lists, "north");

	return l ? l->serial : 0;
}

static void
until_at(int f, uint64_t serial)
{
	for (int i = 0; i < 1000 && serial_at(f) != serial; i++)
		turn(10);
	WANT_INT(serial_at(f), serial);
}

static intmax_t
serial_in(int s)
{
	json_t *a = ask(s, "{\"do\":\"policy.show\",\"site\":\"north\"}");
	intmax_t serial = number(a, "serial");

	json_decref(a);
	return serial;
}

static void
until_in(int s, intmax_t serial)
{
	for (int i = 0; i < 1000 && serial_in(s) != serial; i++)
		turn(10);
	WANT_INT(serial_in(s), serial);
}

static bool
alarmed(int s, const char *what)
{
	json_t *a = ask(s, "{\"do\":\"status\"}"), *v;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(a, "alarms"), i, v)
		found |= strstr(text(v, "text"), what) != NULL;
	json_decref(a);
	return found;
}

TEST(a_list_reaches_all_agents_of_all_sites)
{
	json_t *a, *e;

	begin();
	push_ok(list_of("north", 3, 1, "Debian 12.8", &pol));
	until_at(N1, 3);
	until_at(S1, 3); /* by way of its own manager */
	until_in(SOUTH, 3);
	a = ask(SOUTH, "{\"do\":\"policy.show\",\"site\":\"north\"}");
	e = json_array_get(json_object_get(a, "entries"), 0);
	WANT_STR(text(e, "class"), "compute");
	WANT_STR(text(e, "note"), "Debian 12.8");
	WANT_INT(json_object_size(json_object_get(e, "pcrs")), 5);
	json_decref(a);
}

TEST(a_list_that_is_not_whole_or_not_ours_is_not_put_in_force)
{
	struct ly_bytes b;

	begin();
	b = list_of("north", 4, 1, "Debian 12.9", &pol);
	made.bytes[60] ^= 1;
	push_no(b, "not signed by the policy key that is pinned");
	push_no(list_of("north", 4, 1, "x", &other),
	    "not signed by the policy key that is pinned");
	push_no(list_of("south", 4, 1, "x", &pol), "of site south, not north");
	push_no(list_of("north", 2, 1, "x", &pol),
	    "list 3 is in force; an older one is not taken");
	push_no(list_of("north", 3, 1, "x", &pol),
	    "another list 3 than we have");
	want_no(NORTH, "{\"do\":\"policy.push\",\"list\":\"zz\"}", "usage",
	    "not hex");
	want_no(NORTH, "{\"do\":\"policy.push\",\"list\":\"abc\"}", "usage",
	    "not hex");
	WANT_INT(serial_in(NORTH), 3);
	WANT_INT(serial_at(S1), 3);
}

TEST(a_withdrawn_state_is_withdrawn_everywhere)
{
	begin();
	push_ok(list_of("north", 5, 2, NULL, &pol));
	until_at(S1, 5);
	WANT_INT(ly_approvals_of(fakes[S1].lists, "north")->n, 0);
	WANT_INT(ly_approvals_of(fakes[S1].lists, "north")->generation, 2);
}

TEST(who_was_away_hears_of_it_when_he_is_back)
{
	begin();
	fake_cut(&fakes[S1]);
	kill_manager(SOUTH);
	push_ok(list_of("north", 6, 2, "Debian 13", &pol));
	turn(50);
	WANT_INT(serial_at(S1), 5);
	start_manager(SOUTH);
	WANT_INT(serial_in(SOUTH) == 5 || serial_in(SOUTH) == 6, 1);
	fakes[S1].off = false;
	until_in(SOUTH, 6);
	until_at(S1, 6);
}

/* Its state was put back; its agents have stayed where they were. */
TEST(a_restored_manager_learns_the_newest_list_from_its_agents)
{
	begin();
	site_copy(site_path("north/approved/north.list"),
	    site_path("before.list"));
	push_ok(list_of("north", 8, 3, "Debian 13.1", &pol));
	until_at(N1, 8);
	kill_manager(NORTH);
	kill_manager(SOUTH);
	site_copy(site_path("before.list"),
	    site_path("north/approved/north.list"));
	start_manager(NORTH);
	until_in(NORTH, 8);
	WANT_INT(serial_at(N1), 8);
	WANT(alarmed(NORTH, "newer list of our approved states"));
	push_no(list_of("north", 7, 2, "from before", &pol),
	    "list 8 is in force");
	start_manager(SOUTH);
	until_in(SOUTH, 8);
}

TEST(a_manager_that_lost_its_list_learns_it_from_another_site)
{
	begin();
	fake_cut(&fakes[N1]);
	until_in(SOUTH, 8);
	kill_manager(NORTH);
	WANT_INT(unlink(site_path("north/approved/north.list")), 0);
	start_manager(NORTH);
	until_in(NORTH, 8);
	fakes[N1].off = false;
}

/* The south's list: by a key that the north has not pinned, then by the one
 * that it has. */
TEST(a_sites_policy_key_is_pinned_with_its_ca)
{
	char *pem = NULL, *ca = NULL, *line;
	struct authority south;
	json_t *o, *a;
	size_t len;

	begin();
	authority_make(&south, 7);
	a = ask(NORTH, "{\"do\":\"policy.show\",\"site\":\"south\"}");
	WANT(strstr(text(a, "no_policy_key"), "south.policy.pem: missing"));
	json_decref(a);
	write_key(site_path("south.key.pem"), &south);
	SITE_OK(ly_file_read(site_path("south.key.pem"), 4096, (uint8_t **)&pem,
	    &len, &why));
	SITE_OK(ly_file_read(site_path("south.ca.pem"), 65536, (uint8_t **)&ca,
	    &len, &why));
	o = json_pack("{s:s, s:s, s:s, s:s}", "do", "site.trust", "site",
	    "south", "ca_pem", ca, "policy_pem", "no key");
	line = json_dumps(o, JSON_COMPACT);
	want_no(NORTH, line, "usage", "policy key of south");
	free(line);
	json_object_set_new(o, "policy_pem", json_string(pem));
	line = json_dumps(o, JSON_COMPACT);
	want_ok(NORTH, line);
	a = ask(NORTH, "{\"do\":\"policy.show\",\"site\":\"south\"}");
	WANT_INT(strlen(text(a, "policy_key")), 2 * LY_TPM_NAME);
	json_decref(a);
	json_decref(o);
	free(line);
	free(pem);
	free(ca);
}

TEST(a_host_that_has_not_shown_its_state_cannot_be_approved_by_it)
{
	begin();
	want_hosts(NORTH, 3);
	want_no(NORTH, "{\"do\":\"policy.host\",\"host\":\"n1\"}", "unknown",
	    "host n1 has not shown its state yet");
	want_no(NORTH, "{\"do\":\"policy.host\",\"host\":\"south/s1\"}",
	    "refused", "not a host of this site");
}

TEST(what_a_vms_tpm_has_to_show_is_said_by_the_operator)
{
	static const char sha[] = "\"digest\":\"" /* 64 digits */
				  "00112233445566778899aabbccddeeff"
				  "00112233445566778899aabbccddeeff\"}";
	char line[256];
	json_t *v;

	begin();
	web1();
	want_no(NORTH, "{\"do\":\"vm.pcrs\",\"vm\":\"web1\",\"rule\":\"good\"}",
	    "usage", "any, unchanged or pinned");
	want_no(NORTH,
	    "{\"do\":\"vm.pcrs\",\"vm\":\"web1\",\"rule\":\"pinned\"}",
	    "refused", "has shown nothing yet");
	want_no(NORTH,
	    "{\"do\":\"vm.pcrs\",\"vm\":\"web1\",\"rule\":\"pinned\","
	    "\"digest\":\"12\"}",
	    "usage", "a SHA-256 in hex");
	ly_print(line, sizeof(line),
	    "{\"do\":\"vm.pcrs\",\"vm\":\"web1\",\"rule\":\"any\",%s", sha);
	want_no(NORTH, line, "usage", "is for what is pinned");
	ly_print(line, sizeof(line),
	    "{\"do\":\"vm.pcrs\",\"vm\":\"web1\",\"rule\":\"pinned\",%s", sha);
	want_ok(NORTH, line);
	v = vm_of(NORTH, "web1");
	WANT_STR(text(v, "vm_pcrs_rule"), "pinned");
	WANT(strstr(sha, text(v, "vm_pcrs")));
	json_decref(v);
	want_ok(NORTH, "{\"do\":\"vm.pcrs\",\"vm\":\"web1\",\"rule\":\"any\"}");
}

/* ---- by the command line ---- */

static char said_text[4096];

/* `lanyard` with these words, asking the north; its exit status. */
static LY_PRINTF(1, 2) int lanyard(const char *fmt, ...)
{
	const char *build = getenv("BUILD");
	char words[512], cmd[1024];
	FILE *f;
	size_t n;
	int status;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	ly_print(cmd, sizeof(cmd), "timeout 20 %s/lanyard --manager %s %s 2>&1",
	    build ? build : "build", site_path("north.sock"), words);
	f = popen(cmd, "r");
	WANT(f);
	n = fread(said_text, 1, sizeof(said_text) - 1, f);
	said_text[n] = '\0';
	status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
want_done(int status)
{
	if (status != 0)
		test_fail(__FILE__, __LINE__, "exit %d: %s", status, said_text);
}

/* As the manager keeps it of a host that has shown its state. */
static void
shown(const char *host, const char *log)
{
	static uint8_t room[8192];
	uint8_t pcrs[5 * 32];
	struct ly_evidence ev = { .pcr_mask = LY_SEALED_PCRS,
		.pcrs = { pcrs, sizeof(pcrs) },
		.log = { (const uint8_t *)log, strlen(log) } };
	struct ly_wr w = ly_wr_over(room, sizeof(room));

	memset(pcrs, 0x5a, sizeof(pcrs));
	ly_message_put(&ly_evidence_message, &ev, &w);
	WANT(!w.bad);
	SITE_OK(
	    ly_file_write(site_path("north/approved/hosts/%s.evidence", host),
		room, ly_wr_len(&w), 0600, &why));
}

static unsigned
logs_kept(int s)
{
	char cmd[256];
	unsigned n = 99;
	FILE *f;

	ly_print(cmd, sizeof(cmd), "ls %s | wc -l",
	    site_path("%s/approved/logs", site_names[s]));
	f = popen(cmd, "r");
	WANT(f && fscanf(f, "%u", &n) == 1);
	pclose(f);
	return n;
}

static void
until_logs(int s, unsigned want)
{
	for (int i = 0; i < 500 && logs_kept(s) != want; i++)
		turn(10);
	WANT_INT(logs_kept(s), want);
}

/* The north gets a policy key of a person's own making. */
TEST(an_operator_approves_what_a_host_was_last_seen_in_and_withdraws_it)
{
	const struct ly_approved *l;
	struct ly_approved_entry e;
	uint8_t log[32];
	char key[256];

	begin();
	ly_copy(key, sizeof(key), site_path("pol.key"));
	(void)unlink(site_path("north/trust/north.policy.pem"));
	(void)unlink(site_path("keys/north.policy.pem"));
	want_done(lanyard("policy init --key %s --out %s", key,
	    site_path("keys/north.policy.pem")));
	WANT_INT(lanyard("policy init --key %s", key), 1);
	site_copy(site_path("keys/north.policy.pem"),
	    site_path("north/trust/north.policy.pem"));
	site_copy(site_path("keys/north.policy.pem"),
	    site_path("south/trust/north.policy.pem"));
	WANT_INT(lanyard("policy approve --class compute --from-host n1"
			 " --key %s",
		     key),
	    1);
	WANT(strstr(said_text, "has not shown its state yet"));
	shown("n1", "the log of n1");
	want_done(lanyard("policy approve --class compute --from-host n1"
			  " --note 'Debian 13' --key %s",
	    key));
	until_at(N1, 1);
	l = ly_approvals_of(fakes[N1].lists, "north");
	e = l->of[0];
	WANT_STR(e.note, "Debian 13");
	WANT_INT(e.mask, LY_SEALED_PCRS);
	WANT_INT(e.pcrs.at[0], 0x5a);
	ly_sha256("the log of n1", 13, log);
	WANT_MEM(e.log, log, 32);
	WANT_INT(logs_kept(NORTH), 1);
	until_logs(SOUTH, 1); /* so that it can say which event differs */
	WANT_INT(lanyard("policy approve --class compute --from-host n1"
			 " --key %s",
		     key),
	    1);
	WANT(strstr(said_text, "entry 1 approves that state already"));
	want_done(lanyard("policy approve --class edge --from-host n1 --key %s",
	    key));
	want_done(lanyard("policy show"));
	WANT(strstr(said_text, "edge"));
	WANT_INT(lanyard("policy withdraw --class edge --entry 1 --key %s",
		     key),
	    1);
	WANT(strstr(said_text, "list 2 has no entry 1 of class edge"));
	want_done(
	    lanyard("policy withdraw --class compute --entry 1 --key %s", key));
	until_at(N1, 3);
	l = ly_approvals_of(fakes[N1].lists, "north");
	WANT_INT(l->n, 1);
	WANT_STR(l->of[0].class, "edge");
	WANT_INT(l->generation, 2);
	WANT_INT(logs_kept(NORTH), 1); /* edge's */
	want_done(
	    lanyard("policy withdraw --class edge --entry 1 --key %s", key));
	until_at(N1, 4);
	WANT_INT(logs_kept(NORTH), 0);
	until_logs(SOUTH, 0);
}

TEST(a_list_may_be_signed_where_no_manager_is)
{
	char key[256], list[256], new[256];

	begin();
	ly_copy(key, sizeof(key), site_path("pol.key"));
	ly_copy(list, sizeof(list), site_path("list"));
	ly_copy(new, sizeof(new), site_path("new"));
	write_text(site_path("few"), "0 00\n");
	want_done(lanyard("policy show --out %s", list));
	WANT_INT(lanyard("policy approve --class c --pcrs %s --key %s --list %s"
			 " --site north --out %s",
		     site_path("few"), key, list, new),
	    1);
	WANT(strstr(said_text, "line 1: not a PCR's number"));
	WANT_INT(lanyard("policy approve --class c --pcrs tests/vectors/"
			 "eventlog/ovmf.pcrs --key %s --list %s --site south"
			 " --out %s",
		     key, list, new),
	    1);
	WANT(strstr(said_text, "it is of site north, not south"));
	want_done(lanyard("policy approve --class c --pcrs tests/vectors/"
			  "eventlog/ovmf.pcrs --key %s --list %s --site north"
			  " --out %s",
	    key, list, new));
	WANT_INT(serial_in(NORTH), 4);
	want_done(lanyard("policy push %s", new));
	WANT_INT(serial_in(NORTH), 5);
	WANT_INT(lanyard("policy push %s", list), 1);
	WANT(strstr(said_text, "list 5 is in force"));
}

TEST_MAIN()
