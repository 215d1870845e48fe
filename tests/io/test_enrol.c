/* SPDX-License-Identifier: Apache-2.0 */
/* timeout: 240 */
/*
 * A manager that enrols hosts, as a process, with hosts that are fakes: what
 * they prove, what they are given, and each way of not proving it.
 */
#include "tests/io/fake_enrol.h"
#include "tests/unit/approved_scene.h"
#include "tests/unit/eventlog_gen.h"

#define FOREVER 28800

static void
restart_north(unsigned seconds)
{
	char conf[2048];

	kill_manager(NORTH);
	ly_print(conf, sizeof(conf),
	    "[manager]\nsite = north\nlisten = 127.0.0.1:%u\nstate = %s\n"
	    "socket = %s\nvendor_roots = %s\nhost_cert_seconds = %u\n",
	    managers[NORTH].port, site_path("north"), site_path("north.sock"),
	    site_path("makers"), seconds);
	write_text(site_path("north.conf"), conf);
	start_manager(NORTH);
}

static void
begin(void)
{
	static bool there;

	if (there)
		return;
	there = true;
	scene();
	make_maker();
	make_tpm(N1, 1);
	make_tpm(N2, 2);
	fake_attests = enrols;
	restart_north(FOREVER);
	want_hosts(NORTH, 3);
}

static json_t *
show(int f)
{
	char line[128];

	ly_print(line, sizeof(line), "{\"do\":\"host.show\",\"host\":\"%s\"}",
	    fakes[f].name);
	return ask(NORTH, line);
}

static void
is(int f, const char *key, const char *want)
{
	json_t *a = show(f);

	if (!strstr(text(a, key), want))
		test_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", key,
		    text(a, key), want);
	json_decref(a);
}

static void
becomes(int f, const char *want)
{
	for (int i = 0; i < 500; i++) {
		json_t *a = show(f);
		bool good = strcmp(text(a, "enrolled"), want) == 0;

		json_decref(a);
		if (good)
			return;
		turn(20);
	}
	is(f, "enrolled", want);
}

static void
set(int f, const char *key, const char *value)
{
	char line[300];

	ly_print(line, sizeof(line),
	    "{\"do\":\"host.set\",\"host\":\"%s\",\"%s\":\"%s\"}",
	    fakes[f].name, key, value);
	want_ok(NORTH, line);
}

static json_t *
enroll(int f)
{
	char line[128];

	ly_print(line, sizeof(line),
	    "{\"do\":\"host.enroll\",\"host\":\"%s\",\"wait\":true}",
	    fakes[f].name);
	return ask(NORTH, line);
}

static void
enrolls(int f)
{
	json_t *a = enroll(f);

	if (!json_is_true(json_object_get(a, "ok")))
		test_fail(__FILE__, __LINE__, "%s", text(a, "why"));
	json_decref(a);
}

static void
does_not(int f, const char *why_not)
{
	json_t *a = enroll(f);

	if (json_is_true(json_object_get(a, "ok")) ||
	    !strstr(text(a, "why"), why_not))
		test_fail(__FILE__, __LINE__, "\"%s\", not \"%s\"",
		    text(a, "why"), why_not);
	json_decref(a);
}

static void
reconnect(int f)
{
	fake_cut(&fakes[f]);
	want_hosts(NORTH, 2);
	fakes[f].off = false;
	want_hosts(NORTH, 3);
}

static void
pin_of(int f, char out[80])
{
	uint8_t sha[32];

	ly_spki_hash(&tpms[f].chip.ek.point, sha);
	ly_copy(out, 80, "sha256:");
	ly_hex(sha, 32, out + 7);
}

/* Enrolled, by its pinned EK, and never spoilt. */
static struct fake_tpm *
enrolled(int f)
{
	char pin[80];

	begin();
	tpms[f].spoil = SPOIL_NOTHING;
	fakes[f].mood[LY_ENROL] = FAKE_GOOD;
	pin_of(f, pin);
	set(f, "ek", pin);
	enrolls(f);
	return &tpms[f];
}

/* What the host was given, as whoever it shows it to reads it. */
static struct ly_peer
papers(int f)
{
	struct ly_identity *ids;
	struct ly_peer p;
	BIO *bio = BIO_new_file(site_path("got.key"), "w");

	WANT(PEM_write_bio_PrivateKey(bio, tpms[f].hk, NULL, NULL, 0, NULL,
	    NULL));
	BIO_free(bio);
	WANT_INT(chmod(site_path("got.key"), 0600), 0);
	write_text(site_path("got.pem"), tpms[f].certificate);
	ids = site_load("got", "trust");
	p = *ly_identity_self(ids);
	ly_identity_free(ids);
	return p;
}

/* ---- who is known ---- */

TEST(a_genuine_tpm_that_is_in_no_inventory_is_refused)
{
	char sha[80];

	begin();
	pin_of(N1, sha);
	does_not(N1, "the inventory has no EK for it; it shows sha256:");
	does_not(N1, sha + 7); /* what to say, if it is the right one */
	does_not(N1, "of a maker that we believe");
	is(N1, "enrolled", "not enrolled");
	WANT_INT(tpms[N1].asked[LY_ENROL_PROVE], 0);
}

TEST(another_ek_than_the_inventory_has_is_refused)
{
	char sha[80];

	begin();
	pin_of(N2, sha);
	set(N1, "ek", sha);
	does_not(N1, "it shows another EK than the inventory has");
	set(N1, "ek", "serial:ab2");
	does_not(N1, "serial 0AB1, but the inventory says ab2");
}

TEST(the_serial_number_of_a_certificate_by_a_known_maker_will_do)
{
	begin();
	set(N1, "ek", "serial:0A:B1");
	enrolls(N1);
	is(N1, "ek_by", "serial number, genuine");
}

TEST(an_ek_certificate_of_another_tpm_is_refused)
{
	begin();
	make_ek_cert(&tpms[N1], &tpms[N1].other, 0xab1);
	does_not(N1, "its EK certificate is of another key than its EK");
	make_ek_cert(&tpms[N1], &tpms[N1].chip, 0xab1);
	enrolls(N1);
}

/* ---- a good host ---- */

TEST(a_host_that_proves_itself_is_given_a_certificate_that_says_so)
{
	struct fake_tpm *t = enrolled(N1);
	struct ly_peer p;

	set(N1, "class", "rack-a");
	becomes(N1, "enrolled");
	enrolls(N1);
	p = papers(N1);
	WANT(p.attested);
	WANT_STR(p.id, "spiffe://north/host/n1");
	WANT_STR(p.class_, "rack-a");
	WANT_MEM(p.ak_name, t->chip.ak.name, LY_TPM_NAME);
	WANT_MEM(p.sk_name, t->chip.sk.name, LY_TPM_NAME);
	WANT_INT(p.reset_count, t->chip.reset_count);
	WANT_INT(p.restart_count, t->chip.restart_count);
	WANT(p.not_after > (uint64_t)time(NULL) + FOREVER - 60);
	WANT_INT(t->demand, 1);
	WANT(strstr(t->ak_certificate, "BEGIN CERTIFICATE"));
	is(N1, "ek_by", "pinned, genuine");
	is(N1, "class", "rack-a");
	is(N1, "enrolment", "enrolled");
}

TEST(the_record_has_its_keys_before_it_has_a_certificate)
{
	json_t *a, *line;
	size_t i;
	int born = 0, seen = 0;
	char ak[2 * LY_TPM_NAME + 1];

	enrolled(N1);
	ly_hex(tpms[N1].chip.ak.name, LY_TPM_NAME, ak);
	a = ask(NORTH, "{\"do\":\"audit\"}");
	json_array_foreach(json_object_get(a, "lines"), i, line) {
		const char *l = json_string_value(line);

		born += strstr(l, "key born") && strstr(l, ak) &&
		    strstr(l, "spiffe://north/host/n1");
		seen += strstr(l, "host enrolled") != NULL;
	}
	WANT_INT(born, 1); /* however often it was enrolled */
	WANT(seen >= 1);
	json_decref(a);
}

TEST(a_host_that_comes_back_without_its_certificate_gets_the_same_again)
{
	struct fake_tpm *t = enrolled(N1);
	char was[8192];
	unsigned proved = t->asked[LY_ENROL_PROVE];
	unsigned taken = t->asked[LY_ENROL_TAKE];

	ly_copy(was, sizeof(was), t->certificate);
	reconnect(N1);
	for (int i = 0; i < 200 && t->asked[LY_ENROL_TAKE] == taken; i++)
		turn(10);
	WANT_STR(t->certificate, was);
	WANT_INT(t->asked[LY_ENROL_PROVE], proved);
}

TEST(a_manager_killed_before_it_gave_the_certificate_gives_the_same)
{
	struct fake_tpm *t = enrolled(N1);
	char was[8192];
	unsigned taken;

	new_hk(N1);
	enrolls(N1);
	ly_copy(was, sizeof(was), t->certificate);
	t->certificate[0] = '\0';
	taken = t->asked[LY_ENROL_TAKE];
	restart_north(FOREVER);
	want_hosts(NORTH, 3);
	for (int i = 0; i < 200 && t->asked[LY_ENROL_TAKE] == taken; i++)
		turn(10);
	WANT_STR(t->certificate, was);
}

TEST(a_host_that_shows_its_certificate_is_asked_nothing)
{
	struct fake_tpm *t = enrolled(N1);
	unsigned began = t->asked[LY_ENROL_BEGIN];

	(void)papers(N1);
	site_copy(site_path("north-n1.pem"), site_path("keep.pem"));
	site_copy(site_path("north-n1.key"), site_path("keep.key"));
	site_copy(site_path("got.pem"), site_path("north-n1.pem"));
	site_copy(site_path("got.key"), site_path("north-n1.key"));
	WANT_INT(chmod(site_path("north-n1.key"), 0600), 0);
	SITE_OK(ly_identity_reload(fakes[N1].ids, &why));
	reconnect(N1);
	for (int i = 0; i < 30; i++)
		turn(10);
	WANT_INT(t->asked[LY_ENROL_BEGIN], began);
	is(N1, "enrolled", "enrolled");
	site_copy(site_path("keep.pem"), site_path("north-n1.pem"));
	site_copy(site_path("keep.key"), site_path("north-n1.key"));
	WANT_INT(chmod(site_path("north-n1.key"), 0600), 0);
	SITE_OK(ly_identity_reload(fakes[N1].ids, &why));
}

TEST(another_site_hears_how_its_hosts_stand)
{
	json_t *a;

	enrolled(N1);
	for (int i = 0; i < 100; i++) {
		a = ask(SOUTH, "{\"do\":\"host.show\",\"host\":\"n1\"}");
		if (strcmp(text(a, "enrolled"), "enrolled") == 0)
			break;
		json_decref(a);
		turn(20);
	}
	WANT_STR(text(a, "enrolled"), "enrolled");
	json_decref(a);
}

/* ---- bad ones ---- */

static void
spoilt(enum spoil spoil, const char *why_not)
{
	struct fake_tpm *t = enrolled(N2);

	new_hk(N2);
	t->spoil = spoil;
	does_not(N2, why_not);
	t->spoil = SPOIL_NOTHING;
	enrolls(N2);
}

TEST(keys_of_other_templates_are_refused)
{
	spoilt(SPOIL_LOOSE, "AK: not restricted");
	spoilt(SPOIL_MOVES, "SK: not fixed to its TPM");
}

TEST(a_request_for_another_tls_key_is_refused)
{
	spoilt(SPOIL_CSR, "another hk");
	spoilt(SPOIL_HK, "another hk");
}

TEST(an_ak_of_another_tpm_cannot_open_the_challenge)
{
	spoilt(SPOIL_AK, "not for this TPM");
}

TEST(a_proof_that_was_given_before_is_none)
{
	spoilt(SPOIL_REPLAY, "has not opened this challenge");
}

TEST(the_bare_secret_proves_nothing)
{
	spoilt(SPOIL_BARE, "has not opened this challenge");
}

TEST(a_boot_between_keys_and_proof_begins_again)
{
	struct fake_tpm *t = enrolled(N2);
	unsigned began = t->asked[LY_ENROL_BEGIN];

	new_hk(N2);
	t->spoil = SPOIL_BOOT;
	enrolls(N2);
	WANT_INT(t->asked[LY_ENROL_BEGIN], began + 2);
	WANT_INT(papers(N2).reset_count, t->chip.reset_count);
}

TEST(keys_of_another_host_are_refused_for_ever)
{
	struct fake_chip own;
	char pin[80];

	enrolled(N1);
	enrolled(N2);
	own = tpms[N2].chip;
	fake_chip_init(&tpms[N2].chip, 1); /* n1's TPM, moved here */
	make_ek_cert(&tpms[N2], &tpms[N2].chip, 0xab1);
	new_hk(N2);
	pin_of(N2, pin);
	set(N2, "ek", pin);
	does_not(N2, "spiffe://north/host/n1");
	fake_chip_init(&tpms[N2].chip, 2);
	memcpy(tpms[N2].chip.pcr, own.pcr, sizeof(own.pcr));
	tpms[N2].chip.reset_count = own.reset_count;
	make_ek_cert(&tpms[N2], &tpms[N2].chip, 0xab2);
	enrolled(N2);
}

TEST(three_failed_proofs_freeze_a_host_until_it_is_unfrozen)
{
	struct fake_tpm *t = enrolled(N2);

	new_hk(N2);
	t->spoil = SPOIL_AK;
	for (int i = 0; i < 3; i++)
		does_not(N2, "not for this TPM");
	is(N2, "enrolled", "frozen");
	does_not(N2, "frozen after three failed proofs");
	restart_north(FOREVER);
	want_hosts(NORTH, 3);
	t->spoil = SPOIL_NOTHING;
	does_not(N2, "frozen after three failed proofs");
	want_ok(NORTH, "{\"do\":\"host.unfreeze\",\"host\":\"n2\"}");
	becomes(N2, "enrolled");
	want_no(NORTH, "{\"do\":\"host.unfreeze\",\"host\":\"n2\"}", "refused",
	    "n2 is not frozen");
}

/* ---- approved states ---- */

static struct authority pol;

static void
pin_policy_key(void)
{
	BIO *bio = BIO_new(BIO_s_mem());
	EVP_PKEY *key;
	char pem[512] = "";

	authority_make(&pol, 1);
	key = key_of(&pol.key);
	WANT(PEM_write_bio_PUBKEY(bio, key));
	WANT(BIO_read(bio, pem, sizeof(pem) - 1) > 0);
	write_text(site_path("north/trust/north.policy.pem"), pem);
	EVP_PKEY_free(key);
	BIO_free(bio);
}

/* List `serial`, generation 7: one state of class rack-a. */
static void
push_state(uint64_t serial, const uint8_t pcr[LY_PCRS_N][32],
    struct ly_bytes log)
{
	static struct list list;
	static char line[2 * LY_APPROVED_MAX + 64];
	struct ly_approved_entry *e;

	list_start(&list, "north", serial, 7);
	e = list_add_of(&list, "rack-a", "as it is", LY_SEALED_PCRS, pcr);
	if (log.len)
		ly_sha256(log.at, log.len, e->log);
	(void)sign_list(&list, &pol);
	ly_copy(line, sizeof(line), "{\"do\":\"policy.push\",\"list\":\"");
	ly_hex(list.bytes, list.len, line + strlen(line));
	strcat(line, "\"}");
	want_ok(NORTH, line);
}

static void
until_approved(int f)
{
	for (int i = 0; i < 300 && papers(f).approval != 7; i++)
		turn(10);
	WANT_INT(papers(f).approval, 7);
}

/* It boots, and proves what it is in. */
static void
boots(int f, const struct gen *g)
{
	memcpy(tpms[f].chip.pcr, g->pcr, sizeof(g->pcr));
	tpms[f].log = gen_log(g);
	new_hk(f);
	enrolls(f);
}

TEST(a_state_that_is_not_approved_is_enrolled_and_marked)
{
	static const uint8_t zeros[LY_PCRS_N][32];
	struct fake_tpm *t = enrolled(N1);

	pin_policy_key();
	set(N1, "class", "rack-a");
	enrolls(N1);
	push_state(1, zeros, (struct ly_bytes){ NULL, 0 });
	until_approved(N1);
	memset(t->chip.pcr[4], 0xbd, 32);
	new_hk(N1);
	enrolls(N1);
	is(N1, "enrolled", "unapproved");
	is(N1, "unapproved", "PCR 4");
	WANT(papers(N1).attested);
	WANT_INT(papers(N1).approval, 0);
	memset(t->chip.pcr[4], 0, 32);
	enrolls(N1);
	new_hk(N1);
	enrolls(N1);
	is(N1, "enrolled", "enrolled");
}

/* What the south's manager knows of n1. */
static void
other_site_says(const char *want)
{
	bool good = false;

	for (int i = 0; i < 300 && !good; i++) {
		json_t *a = ask(SOUTH,
		    "{\"do\":\"host.show\",\"host\":\"north/n1\"}");

		good = strstr(text(a, "unapproved"), want);
		json_decref(a);
		turn(10);
	}
	WANT(good);
}

TEST(a_boot_that_is_not_approved_is_told_by_its_event)
{
	static const uint8_t zeros[LY_PCRS_N][32];
	static struct gen good, evil;
	struct fake_tpm *t = enrolled(N1);

	gen_start(&good, 2);
	gen_boot(&good, "\\EFI\\debian\\grubx64.efi", "1");
	gen_start(&evil, 2);
	gen_boot(&evil, "\\EFI\\debian\\evil.efi", "1");
	boots(N1, &good);
	want_ok(NORTH, "{\"do\":\"policy.host\",\"host\":\"n1\"}");
	push_state(2, (const uint8_t(*)[32])good.pcr, gen_log(&good));
	until_approved(N1);
	boots(N1, &evil);
	is(N1, "enrolled", "unapproved");
	is(N1, "unapproved",
	    "PCR 4: event 7 (EV_EFI_BOOT_SERVICES_APPLICATION,"
	    " \\EFI\\debian\\evil.efi) is not in the approved log");
	other_site_says("\\EFI\\debian\\evil.efi) is not in the approved log");
	memset(t->chip.pcr, 0, sizeof(t->chip.pcr));
	t->log.len = 0;
	push_state(3, zeros, t->log);
	until_approved(N1);
}

/* ---- time ---- */

TEST(a_certificate_is_renewed_at_half_its_life_and_a_boot_is_seen)
{
	struct fake_tpm *t;
	unsigned renewed, began;
	char was[8192];

	enrolled(N1);
	restart_north(4);
	want_hosts(NORTH, 3);
	t = &tpms[N1];
	new_hk(N1);
	enrolls(N1);
	ly_copy(was, sizeof(was), t->certificate);
	renewed = t->asked[LY_ENROL_RENEW];
	for (int i = 0; i < 400 && t->asked[LY_ENROL_RENEW] == renewed; i++)
		turn(10);
	WANT(t->asked[LY_ENROL_RENEW] > renewed);
	for (int i = 0; i < 100 && strcmp(t->certificate, was) == 0; i++)
		turn(10);
	WANT(strcmp(t->certificate, was) != 0);
	began = t->asked[LY_ENROL_BEGIN];
	t->chip.restart_count++;
	for (int i = 0;
	     i < 500 && papers(N1).restart_count != t->chip.restart_count; i++)
		turn(10);
	WANT_INT(papers(N1).restart_count, t->chip.restart_count);
	WANT(t->asked[LY_ENROL_BEGIN] > began);
}

TEST(a_certificate_that_is_not_renewed_ends)
{
	restart_north(3);
	want_hosts(NORTH, 3);
	new_hk(N1);
	enrolled(N1);
	fakes[N1].mood[LY_ENROL] = FAKE_HOLDS;
	becomes(N1, "expired");
	fakes[N1].mood[LY_ENROL] = FAKE_GOOD;
	reconnect(N1);
	becomes(N1, "enrolled");
}

TEST(a_host_that_was_revoked_is_enrolled_when_it_is_added_again)
{
	struct fake_tpm *t;
	char was[8192];

	restart_north(FOREVER);
	want_hosts(NORTH, 3);
	t = enrolled(N2);
	set(N2, "class", "rack-a");
	enrolls(N2);
	ly_copy(was, sizeof(was), t->certificate);
	want_ok(NORTH, "{\"do\":\"host.revoke\",\"host\":\"n2\"}");
	want_hosts(NORTH, 2);
	is(N2, "enrolled", "not enrolled");
	want_no(NORTH, "{\"do\":\"host.enroll\",\"host\":\"n2\"}", "refused",
	    "n2 is revoked");
	certify_host(NORTH, "n2");
	SITE_OK(ly_identity_reload(fakes[N2].ids, &why));
	want_hosts(NORTH, 3);
	for (int i = 0; i < 200 && strcmp(t->certificate, was) == 0; i++)
		turn(10);
	WANT(strcmp(t->certificate, was) != 0);
	becomes(N2, "enrolled");
}

TEST_MAIN()
