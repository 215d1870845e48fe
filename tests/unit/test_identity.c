/* SPDX-License-Identifier: Apache-2.0 */
/* Whom we believe: names, certificates as files, and signed objects. How
 * certificates fare in TLS is in test_conn_bad.c. */
#include "lib/base/cursor.h"
#include "lib/io/hostcert.h"
#include "lib/io/identity.h"
#include "lib/wire/signed.h"
#include "tests/unit/forge.h"

static struct ly_why said;

/* ---- names ---- */

TEST(a_spiffe_id_is_taken_apart)
{
	struct ly_peer p;
	char text[LY_SPIFFE_MAX];

	WANT_INT(ly_spiffe_parse("spiffe://east/host/h-1.a", &p, &said), LY_OK);
	WANT_STR(p.id, "spiffe://east/host/h-1.a");
	WANT_STR(p.site, "east");
	WANT_STR(p.name, "h-1.a");
	WANT_INT(p.role, LY_ROLE_HOST);
	WANT_INT(ly_spiffe_parse("spiffe://e/manager/m", &p, &said), LY_OK);
	WANT_INT(p.role, LY_ROLE_MANAGER);
	ly_spiffe_host("east", "h9", text);
	WANT_STR(text, "spiffe://east/host/h9");
}

TEST(a_spiffe_id_not_of_our_form_is_malformed)
{
	static const char *const bad[] = { "", "spiffe:", "spiffe://",
		"spiffe:///host/h", "spiffe://east", "spiffe://east/",
		"spiffe://east/host", "spiffe://east/host/",
		"spiffe://east/host/h/", "spiffe://east/host/h/x",
		"spiffe://east/vm/v", "spiffe://east/hosts/h",
		"SPIFFE://east/host/h", "spiffe://East/host/h",
		"spiffe://east/host/H", "spiffe://east/Host/h",
		"spiffe://east:80/host/h", "spiffe://u@east/host/h",
		"spiffe://east/host/h?x", "spiffe://east/host/h#x",
		"spiffe://east/host/..", "spiffe://east//host/h",
		"https://east/host/h", " spiffe://east/host/h" };
	struct ly_peer p;
	char longest[200];

	for (size_t i = 0; i < LY_COUNT(bad); i++)
		if (ly_spiffe_parse(bad[i], &p, &said) != LY_MALFORMED)
			test_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
	memset(longest, 'a', sizeof(longest));
	memcpy(longest, "spiffe://east/host/", 19);
	longest[19 + 63] = '\0';
	WANT_INT(ly_spiffe_parse(longest, &p, &said), LY_OK);
	longest[19 + 63] = 'a';
	longest[19 + 64] = '\0';
	WANT_INT(ly_spiffe_parse(longest, &p, &said), LY_MALFORMED);
}

/* ---- files ---- */

/* What is wrong with FILE.pem, FILE.key and `trust`. */
static enum ly_rc
load(const char *file, const char *trust)
{
	char cert[256], key[256], dir[256];
	struct ly_identity_files files = { cert, key, dir, NULL };
	struct ly_identity *ids = NULL;
	enum ly_rc rc;

	ly_copy(cert, sizeof(cert), site_path("%s.pem", file));
	ly_copy(key, sizeof(key), site_path("%s.key", file));
	ly_copy(dir, sizeof(dir), site_path("%s", trust));
	said.text[0] = '\0';
	rc = ly_identity_load(&files, &ids, &said);
	ly_identity_free(ids);
	return rc;
}

static void
load_says(enum ly_rc rc, const char *text)
{
	WANT_INT(load("x", "trust"), rc);
	if (!strstr(said.text, text))
		test_fail(__FILE__, __LINE__, "\"%s\" is not in \"%s\"", text,
		    said.text);
}

/* A leaf of east with one thing spoilt. */
#define FORGE(...)                                                             \
	do {                                                                   \
		site_make("east");                                             \
		site_make("west");                                             \
		forge_ca("free");                                              \
		forge_cert(&(struct forge){ .file = "x", __VA_ARGS__ });       \
	} while (0)
#define GOOD "URI:spiffe://east/host/h1"

TEST(a_good_certificate_is_loaded)
{
	struct ly_identity *ids;

	FORGE(.by = "east", .san = GOOD);
	ids = site_load("x", "trust");
	WANT_STR(ly_identity_self(ids)->id, "spiffe://east/host/h1");
	WANT_INT(ly_identity_self(ids)->role, LY_ROLE_HOST);
	WANT(ly_identity_self(ids)->not_after > (uint64_t)time(NULL));
	ly_identity_free(ids);
}

TEST(a_certificate_has_exactly_one_uri_and_nothing_else)
{
	static const struct {
		const char *san, *says;
	} bad[] = {
		{ NULL, "no subjectAltName" },
		{ "DNS:h1.example", "is not a URI" },
		{ GOOD ",DNS:h1.example", "2 names in subjectAltName" },
		{ GOOD "," GOOD, "2 names in subjectAltName" },
		{ GOOD ",IP:10.0.0.1", "2 names in subjectAltName" },
		{ GOOD ",email:a@b.c", "2 names in subjectAltName" },
		{ "URI:spiffe://EAST/host/h1", "bad site" },
		{ "URI:Spiffe://east/host/h1", "not a SPIFFE id" },
		{ "URI:spiffe://east/vm/h1", "neither host nor manager" },
		{ "URI:spiffe://east/host/H1", "bad name" },
		{ "URI:spiffe://east/host/h1/x", "bad name" },
		{ "URI:https://east/host/h1", "not a SPIFFE id" },
	};

	for (size_t i = 0; i < LY_COUNT(bad); i++) {
		FORGE(.by = "free", .san = bad[i].san);
		load_says(LY_REFUSED, bad[i].says);
		WANT(strstr(said.text, "x.pem"));
	}
}

/* Two Names of zeros, counts 1, 2 and 3. */
#define Z32 "00000000000000000000000000000000"
#define Z34 Z32 Z32 "0000"
#define ATTESTED                                                               \
	"DER:3051"                                                             \
	"0422" Z34 "0422" Z34 "020101"                                         \
	"020102"                                                               \
	"020103"
#define CLASS LY_OID_CLASS ".99"

TEST(what_a_certificate_says_of_a_tpm_is_read)
{
	struct ly_identity *ids;

	FORGE(.by = "east", .san = GOOD,
	    .more = { { LY_OID_HOST, ATTESTED },
		{ "certificatePolicies", CLASS } });
	ids = site_load("x", "trust");
	WANT(ly_identity_self(ids)->attested);
	WANT_STR(ly_identity_self(ids)->class_, "c");
	WANT_INT(ly_identity_self(ids)->reset_count, 1);
	WANT_INT(ly_identity_self(ids)->restart_count, 2);
	WANT_INT(ly_identity_self(ids)->approval, 3);
	ly_identity_free(ids);
	FORGE(.by = "east", .san = GOOD);
	ids = site_load("x", "trust");
	WANT(!ly_identity_self(ids)->attested);
	ly_identity_free(ids);
}

TEST(what_a_certificate_says_of_a_tpm_is_said_once_and_exactly)
{
	static const struct {
		const char *more[4][2], *says;
	} bad[] = {
		{ { { LY_OID_HOST, ATTESTED } }, "without the one policy" },
		{ { { "certificatePolicies", CLASS } }, "without lanyardHost" },
		{ { { LY_OID_HOST, ATTESTED }, { LY_OID_HOST, ATTESTED },
		      { "certificatePolicies", CLASS } },
		    "two extensions lanyardHost" },
		{ { { LY_OID_HOST, ATTESTED }, { "certificatePolicies", CLASS },
		      { "certificatePolicies", CLASS } },
		    "without the one policy" },
		{ { { LY_OID_HOST, ATTESTED },
		      { "certificatePolicies", CLASS "," CLASS ".99" } },
		    "without the one policy" },
		{ { { LY_OID_HOST, ATTESTED },
		      { "certificatePolicies", "1.2.3.4" } },
		    "without the one policy" },
		{ { { LY_OID_HOST, ATTESTED },
		      { "certificatePolicies", LY_OID_CLASS } },
		    "without the one policy" },
		{ { { LY_OID_HOST, ATTESTED }, /* "C" is not a name */
		      { "certificatePolicies", LY_OID_CLASS ".67" } },
		    "without the one policy" },
		{ { { LY_OID_HOST, ATTESTED },
		      { "certificatePolicies",
			  "DER:302a3028"
			  "0615699faeebb8e2b68294d7a68b8dbedcb8"
			  "9481490263"
			  "300f300d06082b06010505070201160161" } },
		    "without the one policy" },
		/* cut at the end, and in the middle of a name */
		{ { { LY_OID_HOST,
			"DER:304e"
			"0422" Z34 "0422" Z34 "020101"
			"020102" },
		      { "certificatePolicies", CLASS } },
		    "bad extension" },
		{ { { LY_OID_HOST,
			"DER:3051"
			"0422" Z34 "0422" Z32 },
		      { "certificatePolicies", CLASS } },
		    "bad extension" },
		{ { { LY_OID_HOST, "DER:3000" },
		      { "certificatePolicies", CLASS } },
		    "bad extension" },
		/* something behind it, within and without */
		{ { { LY_OID_HOST,
			"DER:3054"
			"0422" Z34 "0422" Z34 "020101"
			"020102"
			"020103"
			"020104" },
		      { "certificatePolicies", CLASS } },
		    "bad extension" },
		{ { { LY_OID_HOST, ATTESTED "0500" },
		      { "certificatePolicies", CLASS } },
		    "bad extension" },
		/* not the shortest form; negative; more than 32 bits */
		{ { { LY_OID_HOST,
			"DER:3052"
			"0422" Z34 "0422" Z34 "02020001"
			"020102"
			"020103" },
		      { "certificatePolicies", CLASS } },
		    "bad extension" },
		{ { { LY_OID_HOST,
			"DER:3051"
			"0422" Z34 "0422" Z34 "0201ff"
			"020102"
			"020103" },
		      { "certificatePolicies", CLASS } },
		    "bad extension" },
		{ { { LY_OID_HOST,
			"DER:3055"
			"0422" Z34 "0422" Z34 "02050100000000"
			"020102"
			"020103" },
		      { "certificatePolicies", CLASS } },
		    "bad extension" },
	};

	for (size_t i = 0; i < LY_COUNT(bad); i++) {
		struct forge f = { .file = "x", .by = "east", .san = GOOD };

		site_make("east");
		memcpy(f.more, bad[i].more, sizeof(f.more));
		forge_cert(&f);
		load_says(LY_REFUSED, bad[i].says);
	}
}

TEST(a_manager_is_not_an_enrolled_host)
{
	FORGE(.by = "east", .san = "URI:spiffe://east/manager/m1",
	    .more = { { LY_OID_HOST, ATTESTED },
		{ "certificatePolicies", CLASS } });
	load_says(LY_REFUSED, "bad extension lanyardHost");
}

TEST(a_certificate_must_be_of_the_pinned_ca_of_its_site)
{
	FORGE(.by = "free", .san = GOOD);
	load_says(LY_REFUSED, "not the one of site east");
	FORGE(.by = "west", .san = GOOD);
	load_says(LY_REFUSED, "permitted subtree violation");
	FORGE(.by = "free", .san = "URI:spiffe://north/host/h1");
	load_says(LY_REFUSED, "north.pem: missing");
	FORGE(.san = GOOD);
	load_says(LY_REFUSED, "x.pem");
}

TEST(a_certificate_must_be_a_leaf_that_may_sign)
{
	FORGE(.by = "free", .san = "URI:spiffe://free/host/h1",
	    .basic = "critical,CA:TRUE",
	    .usage = "critical,keyCertSign,digitalSignature");
	load_says(LY_REFUSED, "a CA, not a leaf");
	FORGE(.by = "east", .san = GOOD, .usage = "critical,keyAgreement");
	load_says(LY_REFUSED, "may not sign");
	FORGE(.by = "east", .san = GOOD, .eku = "emailProtection");
	load_says(LY_REFUSED, "unsuitable certificate purpose");
}

TEST(a_key_must_be_p256_and_only_ours)
{
	FORGE(.by = "east", .san = GOOD, .group = "P-384");
	load_says(LY_REFUSED, "x.key: not an ECC P-256 key");
	FORGE(.by = "east", .san = GOOD, .mode = 0640);
	load_says(LY_REFUSED, "mode 640, not 600");
	FORGE(.by = "east", .san = GOOD, .mode = 0400);
	WANT_INT(load("x", "trust"), LY_OK);
	site_certify("other", "east", "spiffe://east/host/h2");
	FORGE(.by = "east", .san = GOOD);
	WANT_INT(rename(site_path("other.key"), site_path("x.key")), 0);
	load_says(LY_REFUSED, "not the key of");
}

TEST(an_expired_certificate_of_our_own_is_loaded_for_renewal)
{
	FORGE(.by = "east", .san = GOOD, .from_s = -7200, .to_s = -60);
	WANT_INT(load("x", "trust"), LY_OK);
}

static void
put(const char *file, const char *text)
{
	SITE_OK(ly_file_write(site_path("%s", file), text, strlen(text), 0600,
	    &why));
}

TEST(files_that_are_not_what_they_should_be_are_named)
{
	FORGE(.by = "east", .san = GOOD);
	unlink(site_path("x.key"));
	load_says(LY_OUTSIDE, "x.key: open: No such file");
	put("x.key", "nonsense");
	load_says(LY_OUTSIDE, "x.key: not a private key");
	put("x.pem", "");
	load_says(LY_OUTSIDE, "x.pem: not PEM certificates");
	put("x.pem",
	    "-----BEGIN CERTIFICATE-----\nAAAA\n"
	    "-----END CERTIFICATE-----\n");
	load_says(LY_OUTSIDE, "x.pem: not PEM certificates");
	FORGE(.by = "east", .san = GOOD);
	WANT_INT(load("x", "nosuchdir"), LY_OUTSIDE);
	WANT(strstr(said.text, "nosuchdir"));
}

TEST(a_trust_directory_with_a_stranger_in_it_is_an_error)
{
	FORGE(.by = "east", .san = GOOD);
	put("trust/Bad Name.pem", "");
	load_says(LY_REFUSED, "not a site's name");
	unlink(site_path("trust/Bad Name.pem"));
	put("trust/README", "not looked at");
	put("trust/east.policy.pem", "a key, of no CA");
	site_copy(site_path("x.pem"), site_path("trust/south.pem"));
	load_says(LY_REFUSED, "south.pem: not a self-signed CA");
	unlink(site_path("trust/south.pem"));
	WANT_INT(load("x", "trust"), LY_OK);
}

TEST(a_site_may_have_an_old_and_a_new_ca_for_a_while)
{
	uint8_t *a = NULL, *b = NULL;
	size_t a_len, b_len;
	char both[8192];

	FORGE(.by = "east", .san = GOOD);
	SITE_OK(ly_file_read(site_path("east.ca.pem"), 4096, &a, &a_len, &why));
	SITE_OK(ly_file_read(site_path("free.ca.pem"), 4096, &b, &b_len, &why));
	ly_print(both, sizeof(both), "%s%s", (char *)b, (char *)a);
	put("trust/east.pem", both);
	unlink(site_path("trust/free.pem"));
	WANT_INT(load("x", "trust"), LY_OK);
	forge_cert(&(struct forge){ .file = "x", .by = "free", .san = GOOD });
	WANT_INT(load("x", "trust"), LY_OK);
	site_copy(site_path("east.ca.pem"), site_path("trust/east.pem"));
	free(a);
	free(b);
}

TEST(a_reload_that_fails_changes_nothing)
{
	struct ly_identity *ids;

	FORGE(.by = "east", .san = GOOD);
	ids = site_load("x", "trust");
	put("x.pem", "garbage");
	WANT(ly_identity_reload(ids, &said) != LY_OK);
	WANT_STR(ly_identity_self(ids)->id, "spiffe://east/host/h1");
	FORGE(.by = "east", .san = "URI:spiffe://east/host/h2");
	WANT_INT(ly_identity_reload(ids, &said), LY_REFUSED);
	WANT_STR(ly_identity_self(ids)->id, "spiffe://east/host/h1");
	ly_identity_free(ids);
}

/* ---- signed objects ---- */

static struct ly_identity *manager, *host;
static uint8_t tagged[1024], object[LY_TICKET_MAX];
static size_t tagged_len, object_len;

static void
sign_ticket(void)
{
	struct ly_ticket t = { .vm = { { 1 } },
		.to_epoch = 2,
		.home = "spiffe://east/host/h1",
		.holder = "spiffe://west/host/w1",
		.rights = LY_MAY_MOVE };
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));

	site_make("east");
	site_make("west");
	if (!manager) {
		site_certify("m", "east", "spiffe://east/manager/m");
		manager = site_load("m", "trust");
		site_certify("w1", "west", "spiffe://west/host/w1");
		host = site_load("w1", "trust");
	}
	ly_message_put_tagged(&ly_ticket_message, &t, &w);
	WANT(!w.bad);
	tagged_len = ly_wr_len(&w);
	object_len = sizeof(object);
	SITE_OK(ly_sign(manager, LY_TYPE_TICKET, tagged, tagged_len, object,
	    &object_len, &why));
}

static enum ly_rc
verify(uint16_t type, size_t len)
{
	const uint8_t *at = NULL;
	size_t n = 0;
	struct ly_peer p;
	enum ly_rc rc = ly_verify(host, type, object, len, &at, &n, &p, &said);

	if (rc == LY_OK) {
		WANT_INT(n, tagged_len);
		WANT_MEM(at, tagged, n);
		WANT_STR(p.id, "spiffe://east/manager/m");
		WANT_INT(p.role, LY_ROLE_MANAGER);
	}
	return rc;
}

TEST(a_signed_ticket_verifies_at_another_site_and_fits)
{
	sign_ticket();
	WANT(object_len <= LY_TICKET_MAX);
	WANT_INT(verify(LY_TYPE_TICKET, object_len), LY_OK);
}

TEST(a_signature_is_good_for_one_type_only)
{
	sign_ticket();
	WANT_INT(verify(LY_TYPE_TOKEN, object_len), LY_REFUSED);
}

TEST(no_bit_of_a_signed_object_may_flip)
{
	sign_ticket();
	for (size_t i = 0; i < object_len * 8; i += 3) {
		object[i / 8] ^= (uint8_t)(1 << i % 8);
		if (verify(LY_TYPE_TICKET, object_len) == LY_OK)
			test_fail(__FILE__, __LINE__, "bit %zu", i);
		object[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	WANT_INT(verify(LY_TYPE_TICKET, object_len), LY_OK);
}

TEST(a_signed_object_cut_or_longer_is_malformed)
{
	sign_ticket();
	for (size_t n = 0; n < object_len; n++)
		WANT(verify(LY_TYPE_TICKET, n) != LY_OK);
	WANT_INT(verify(LY_TYPE_TICKET, object_len + 1), LY_MALFORMED);
}

TEST(a_signer_of_another_sites_ca_is_refused)
{
	struct ly_identity *liar;
	const uint8_t *at;
	size_t n;
	struct ly_peer p;

	sign_ticket();
	forge_ca("free");
	SITE_OK(ly_identity_reload(host, &why));
	/* The liar trusts himself: `free` is east's CA in his directory. */
	forge_cert(&(struct forge){ .file = "liar",
	    .by = "free",
	    .san = "URI:spiffe://east/manager/m" });
	SITE_OK(ly_file_mkdir(site_path("liars"), 0755, &why));
	site_copy(site_path("free.ca.pem"), site_path("liars/east.pem"));
	liar = site_load("liar", "liars");
	object_len = sizeof(object);
	SITE_OK(ly_sign(liar, LY_TYPE_TICKET, tagged, tagged_len, object,
	    &object_len, &why));
	WANT_INT(ly_verify(host, LY_TYPE_TICKET, object, object_len, &at, &n,
		     &p, &said),
	    LY_REFUSED);
	WANT(strstr(said.text, "not the one of site east"));
	ly_identity_free(liar);
}

TEST(an_expired_signer_is_refused)
{
	struct ly_identity *old;

	sign_ticket();
	forge_cert(&(struct forge){ .file = "old",
	    .by = "east",
	    .san = "URI:spiffe://east/manager/m",
	    .from_s = -7200,
	    .to_s = -60 });
	old = site_load("old", "trust");
	object_len = sizeof(object);
	SITE_OK(ly_sign(old, LY_TYPE_TICKET, tagged, tagged_len, object,
	    &object_len, &why));
	WANT_INT(verify(LY_TYPE_TICKET, object_len), LY_REFUSED);
	WANT_STR(said.text, "signed object: certificate has expired");
	ly_identity_free(old);
}

TEST(a_signed_object_that_does_not_fit_is_an_error)
{
	sign_ticket();
	object_len = 300;
	WANT_INT(ly_sign(manager, LY_TYPE_TICKET, tagged, tagged_len, object,
		     &object_len, &said),
	    LY_FULL);
	ly_identity_free(manager);
	ly_identity_free(host);
	manager = host = NULL;
}

/* ---- digests ---- */

TEST(digests_are_those_of_the_standards)
{
	uint8_t out[32], want[32];
	uint8_t a[64] = { 0 }, b[64] = { 0 };

	ly_sha256("abc", 3, out); /* FIPS 180-2, B.1 */
	WANT_INT(ly_unhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9c"
			  "b410ff61f20015ad",
		     want, 32),
	    LY_OK);
	WANT_MEM(out, want, 32);
	ly_hmac((const uint8_t *)"Jefe", 4, "what do ya want for nothing?", 28,
	    out); /* RFC 4231, 4.3 */
	WANT_INT(ly_unhex("5bdcc146bf60754e6a042426089575c75a003f089d273983"
			  "9dec58b964ec3843",
		     want, 32),
	    LY_OK);
	WANT_MEM(out, want, 32);
	ly_random(a, sizeof(a));
	ly_random(b, sizeof(b));
	WANT(memcmp(a, b, sizeof(a)) != 0);
}

TEST(a_host_that_was_given_papers_is_the_same_one_with_them)
{
	struct ly_identity *ids = site_host("east", "h1");
	const struct ly_peer *self = ly_identity_self(ids);
	struct ly_peer to = *self;
	char cert[256], key[256], *request = NULL, *pem = NULL;
	uint8_t *der = NULL, spki[32];
	size_t len;

	ly_copy(cert, sizeof(cert), site_path("new.pem"));
	ly_copy(key, sizeof(key), site_path("new.key"));
	ly_copy(to.class_, sizeof(to.class_), "compute");
	to.attested = true;
	to.ak_name[1] = to.sk_name[1] = 0x0b;
	SITE_OK(ly_ca_make_key(key, &why));
	SITE_OK(ly_ca_request_of(to.id, key, &der, &len, &why));
	SITE_OK(ly_ca_read_request(der, len, &request, spki, &why));
	SITE_OK(ly_ca_sign_host(site_path("east.ca.key"),
	    site_path("east.ca.pem"), request, &to, 3600, &pem, &why));
	SITE_OK(ly_file_write(cert, pem, strlen(pem), 0600, &why));

	WANT(ly_identity_adopt(ids, cert, site_path("east-h1.key"), &said) !=
	    LY_OK);
	WANT(!self->attested);
	SITE_OK(ly_identity_reload(ids, &why)); /* the old ones, still */
	SITE_OK(ly_identity_adopt(ids, cert, key, &why));
	WANT(self->attested && ly_identity_self(ids) == self);
	WANT_INT(ly_identity_papers(ids).len, strlen(pem));
	WANT_MEM(ly_identity_papers(ids).at, pem, strlen(pem));
	SITE_OK(ly_identity_adopt(ids, site_path("east-h1.pem"),
	    site_path("east-h1.key"), &why));
	WANT(!self->attested);
	ly_identity_free(ids);
	free(request);
	free(pem);
	free(der);
}

TEST_MAIN()
