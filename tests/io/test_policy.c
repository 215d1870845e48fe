/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Approved states on their way: pushed to a manager, told to its agents, to
 * another site's manager and by that to its agents. The north's policy key is
 * pinned by both sites.
 */
#include "tests/io/manager_scene.h"
#include "tests/unit/approved_scene.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

static struct authority pol, other;
static struct list made;

static void
write_key(const char *path, const struct authority *of)
{
	uint8_t spki[LY_SPKI_P256];
	const uint8_t *at = spki;
	EVP_PKEY *key;
	FILE *f;

	ly_spki_of(&of->key, spki);
	key = d2i_PUBKEY(NULL, &at, sizeof(spki));
	f = fopen(path, "w");
	WANT(f && PEM_write_PUBKEY(f, key) == 1);
	fclose(f);
	EVP_PKEY_free(key);
}

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

TEST_MAIN()
