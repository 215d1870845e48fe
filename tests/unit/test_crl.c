/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of revoked certificates, and what they do to connections. */
#include "lib/io/crl.h"
#include "tests/unit/pair.h"

#include <time.h>

#define WEEK 604800
#define WEST "spiffe://west/host/w1"

static uint8_t der[LY_CRL_MAX];
static size_t der_len;
static struct ly_why said;

/* Leaves the CRL of `site` in der. */
static void
make(const char *site, uint64_t number, uint64_t seconds,
    const struct ly_revoked *list, size_t n)
{
	uint8_t *out = NULL;

	SITE_OK(ly_ca_crl(site_path("%s.ca.key", site),
	    site_path("%s.ca.pem", site), list, n, number, seconds, &out,
	    &der_len, &why));
	memcpy(der, out, der_len);
	free(out);
}

static struct ly_revoked
of_file(const char *file)
{
	struct ly_revoked r = { .when = (uint64_t)time(NULL), .reason = 1 };
	uint64_t not_after;
	uint8_t *pem;
	size_t len;

	SITE_OK(
	    ly_file_read(site_path("%s.pem", file), 65536, &pem, &len, &why));
	SITE_OK(ly_ca_read_leaf((char *)pem, r.serial, &not_after, &why));
	WANT(not_after > r.when + 3000);
	free(pem);
	return r;
}

static enum ly_rc
take(struct ly_identity *ids, const char *site, bool *fresh)
{
	return ly_identity_crl(ids, site, (struct ly_bytes){ der, der_len },
	    fresh, &said);
}

static void
taken(struct ly_identity *ids, const char *site)
{
	bool fresh;

	WANT_INT(take(ids, site, &fresh), LY_OK);
	WANT(fresh);
}

static void
scene(void)
{
	home_ids = site_host("east", "h1");
	away_ids = site_host("west", "w1");
	SITE_OK(ly_identity_reload(home_ids, &why));
}

static void
leave(void)
{
	ly_identity_free(home_ids);
	ly_identity_free(away_ids);
}

TEST(who_was_revoked_gets_no_connection_whichever_side_dials)
{
	struct ly_revoked r;

	ly_log_setup("test", false, LY_ERROR);
	scene();
	r = of_file("west-w1");
	make("west", 1, WEEK, &r, 1);
	taken(home_ids, "west");
	begin(home_ids, away_ids, NULL);
	dial(LY_FOR_LINK, NULL);
	UNTIL(away.closes);
	WANT_INT(home.opens, 0);
	WANT_INT(away.rc, LY_REFUSED);
	finish();
	begin(away_ids, home_ids, NULL); /* now it listens */
	dial(LY_FOR_LINK, WEST);
	UNTIL(away.closes);
	WANT_INT(away.opens, 0);
	WANT(strstr(away.why, "was revoked"));
	finish();
	leave();
}

TEST(who_is_revoked_loses_the_connections_it_has_and_others_do_not)
{
	struct ly_revoked r;

	scene();
	r = of_file("west-w1");
	begin(home_ids, away_ids, NULL);
	dial(LY_FOR_LINK, NULL);
	UNTIL(home.opens && away.opens);
	make("west", 1, WEEK, NULL, 0);
	taken(home_ids, "west");
	ly_net_recheck(home_net);
	send_command(away.conn, 1);
	UNTIL(home.frames == 1);
	make("west", 2, WEEK, &r, 1);
	taken(home_ids, "west");
	ly_net_recheck(home_net);
	UNTIL(home.closes && away.closes);
	WANT(strstr(home.why, "revoked"));
	WANT_INT(away.rc, LY_REFUSED);
	finish();
	leave();
}

TEST(a_new_certificate_of_a_revoked_host_is_believed)
{
	struct ly_revoked old;

	scene();
	old = of_file("west-w1");
	make("west", 1, WEEK, &old, 1);
	taken(home_ids, "west");
	ly_identity_free(away_ids);
	away_ids = site_host("west", "w1");
	begin(home_ids, away_ids, NULL);
	dial(LY_FOR_LINK, NULL);
	UNTIL(home.opens && away.opens);
	WANT(strcmp(home.peer.serial, old.serial) != 0);
	finish();
	leave();
}

TEST(what_a_revoked_manager_has_signed_is_not_believed)
{
	static const uint8_t words[] = "LNYD words";
	struct ly_identity *m;
	const uint8_t *tagged;
	uint8_t object[4096];
	size_t len = sizeof(object), tagged_len;
	struct ly_peer signer;
	struct ly_revoked r;

	scene();
	site_certify("west-m", "west", "spiffe://west/manager/m");
	m = site_load("west-m", "trust");
	SITE_OK(ly_sign(m, 0x0101, words, sizeof(words), object, &len, &why));
	WANT_INT(ly_verify(home_ids, 0x0101, object, len, &tagged, &tagged_len,
		     &signer, &said),
	    LY_OK);
	r = of_file("west-m");
	make("west", 1, WEEK, &r, 1);
	taken(home_ids, "west");
	WANT_INT(ly_verify(home_ids, 0x0101, object, len, &tagged, &tagged_len,
		     &signer, &said),
	    LY_REFUSED);
	WANT(strstr(said.text, "revoked"));
	ly_identity_free(m);
	leave();
}

TEST(an_older_list_is_refused_and_the_same_one_changes_nothing)
{
	struct ly_revoked r;
	bool fresh;

	scene();
	r = of_file("west-w1");
	make("west", 7, WEEK, &r, 1);
	taken(home_ids, "west");
	WANT_INT(take(home_ids, "west", &fresh), LY_OK);
	WANT(!fresh);
	make("west", 6, WEEK, NULL, 0);
	WANT_INT(take(home_ids, "west", &fresh), LY_REFUSED);
	WANT(ly_identity_revoked(home_ids, ly_identity_self(away_ids)));
	make("west", 8, WEEK, NULL, 0);
	taken(home_ids, "west");
	WANT(!ly_identity_revoked(home_ids, ly_identity_self(away_ids)));
	leave();
}

TEST(a_list_of_another_site_or_of_none_is_refused)
{
	struct ly_revoked r;
	bool fresh;

	scene();
	r = of_file("west-w1");
	make("east", 9, WEEK, &r, 1);
	WANT_INT(take(home_ids, "west", &fresh), LY_REFUSED);
	WANT(strstr(said.text, "has not signed"));
	WANT_INT(take(home_ids, "nowhere", &fresh), LY_UNKNOWN);
	WANT(!ly_identity_revoked(home_ids, ly_identity_self(away_ids)));
	leave();
}

TEST(no_bit_of_a_list_can_be_changed_and_none_of_its_bytes_be_missing)
{
	struct ly_revoked r;
	bool fresh;

	scene();
	r = of_file("west-w1");
	make("west", 3, WEEK, &r, 1);
	for (size_t i = 0; i < der_len * 8; i++) {
		der[i / 8] ^= (uint8_t)(1u << (i % 8));
		WANT(take(home_ids, "west", &fresh) != LY_OK);
		der[i / 8] ^= (uint8_t)(1u << (i % 8));
	}
	for (size_t whole = der_len; der_len-- > 0;) {
		WANT(take(home_ids, "west", &fresh) != LY_OK);
		WANT(der_len < whole);
	}
	leave();
}

static enum ly_rc
load_with(const char *dir, struct ly_identity **out)
{
	char cert[256], key[256], trust[256];
	struct ly_identity_files files = { cert, key, trust, dir };

	ly_copy(cert, sizeof(cert), site_path("east-h1.pem"));
	ly_copy(key, sizeof(key), site_path("east-h1.key"));
	ly_copy(trust, sizeof(trust), site_path("trust"));
	return ly_identity_load(&files, out, &said);
}

TEST(a_list_outlives_a_restart_and_a_damaged_one_is_not_overlooked)
{
	struct ly_identity *ids;
	struct ly_revoked r;
	char dir[256];

	scene();
	ly_copy(dir, sizeof(dir), site_path("revoked"));
	WANT_INT(load_with(dir, &ids), LY_OK);
	r = of_file("west-w1");
	make("west", 5, WEEK, &r, 1);
	taken(ids, "west");
	ly_identity_free(ids);
	WANT_INT(load_with(dir, &ids), LY_OK);
	WANT(ly_identity_revoked(ids, ly_identity_self(away_ids)));
	WANT_INT(ly_crls_of(ly_identity_crls(ids), "west")->number, 5);
	ly_identity_free(ids);
	SITE_OK(ly_file_write(site_path("revoked/west.crl"), der, der_len - 1,
	    0644, &why));
	WANT_INT(load_with(dir, &ids), LY_MALFORMED);
	WANT(strstr(said.text, "west.crl"));
	leave();
}

TEST(a_list_past_its_time_is_told_once_and_goes_on_being_used)
{
	struct ly_revoked r;
	uint64_t now = (uint64_t)time(NULL);

	scene();
	r = of_file("west-w1");
	make("west", 1, 100, &r, 1);
	taken(home_ids, "west");
	WANT(!ly_identity_stale(home_ids, now + 90));
	WANT_STR(ly_identity_stale(home_ids, now + 110), "west");
	WANT(!ly_identity_stale(home_ids, now + 120));
	WANT(ly_identity_revoked(home_ids, ly_identity_self(away_ids)));
	make("west", 2, 100, &r, 1);
	taken(home_ids, "west");
	WANT_STR(ly_identity_stale(home_ids, now + 200), "west");
	leave();
}

TEST(a_list_that_would_be_too_long_is_not_made)
{
	static struct ly_revoked many[8000];
	uint8_t *out;
	size_t len;

	scene();
	for (size_t i = 0; i < LY_COUNT(many); i++) {
		many[i].when = 1700000000;
		ly_print(many[i].serial, sizeof(many[i].serial), "40%030zX", i);
	}
	WANT_INT(ly_ca_crl(site_path("west.ca.key"), site_path("west.ca.pem"),
		     many, LY_COUNT(many), 1, WEEK, &out, &len, &said),
	    LY_FULL);
	make("west", 1, WEEK, many, 5000);
	taken(home_ids, "west");
	leave();
}

TEST_MAIN()
