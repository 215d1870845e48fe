/* SPDX-License-Identifier: Apache-2.0 */
/* Those who are not at the other end of a connection. */
#include "lib/io/identity.h"
#include "lib/wire/signed.h"
#include "tests/unit/forge.h"

static struct ly_why said;

static enum ly_rc
vouch(const char *file, const char *trust, struct ly_peer *p)
{
	struct ly_identity *us;
	uint8_t *pem = NULL;
	size_t len = 0;
	enum ly_rc rc;

	site_make("west");
	site_certify("us", "west", "spiffe://west/host/us");
	us = site_load("us", trust);
	SITE_OK(
	    ly_file_read(site_path("%s.pem", file), 65536, &pem, &len, &why));
	rc = ly_identity_vouch(us, (struct ly_bytes){ pem, len }, p, &said);
	free(pem);
	ly_identity_free(us);
	return rc;
}

TEST(a_certificate_alone_says_who_somebody_is)
{
	struct ly_peer p;

	site_make("east");
	site_certify("h1", "east", "spiffe://east/host/h1");
	WANT_INT(vouch("h1", "trust", &p), LY_OK);
	WANT_STR(p.id, "spiffe://east/host/h1");
	WANT_INT(p.role, LY_ROLE_HOST);
	WANT(!p.attested);
}

TEST(a_certificate_that_no_handshake_would_take_is_not_vouched_for)
{
	struct ly_peer p;

	site_make("east");
	forge_cert(&(struct forge){ .file = "x",
	    .by = "east",
	    .san = "URI:spiffe://east/host/h1",
	    .from_s = -7200,
	    .to_s = -60 });
	WANT_INT(vouch("x", "trust", &p), LY_REFUSED);
	WANT_STR(said.text, "certificate has expired");
	forge_cert(
	    &(struct forge){ .file = "x", .san = "URI:spiffe://east/host/h1" });
	WANT_INT(vouch("x", "trust", &p), LY_REFUSED);
	forge_cert(&(struct forge){ .file = "x",
	    .by = "east",
	    .san = "URI:spiffe://west/host/h1" });
	WANT_INT(vouch("x", "trust", &p), LY_REFUSED);
}

TEST(what_is_no_certificate_is_malformed)
{
	static const uint8_t huge[64 * 1024 + 1];
	struct ly_identity *us;
	struct ly_peer p;

	site_make("west");
	site_certify("us", "west", "spiffe://west/host/us");
	us = site_load("us", "trust");
	WANT_INT(ly_identity_vouch(us, (struct ly_bytes){ NULL, 0 }, &p, &said),
	    LY_MALFORMED);
	WANT_INT(ly_identity_vouch(us,
		     (struct ly_bytes){ (const uint8_t *)"garbage", 7 }, &p,
		     &said),
	    LY_MALFORMED);
	WANT_INT(ly_identity_vouch(us, (struct ly_bytes){ huge, sizeof(huge) },
		     &p, &said),
	    LY_MALFORMED);
	ly_identity_free(us);
}

TEST(a_signed_object_has_its_signers_certificate_in_it)
{
	uint8_t out[LY_STATEMENT_MAX];
	size_t len = sizeof(out);
	struct ly_identity *us;
	struct ly_bytes der;

	site_make("west");
	site_certify("us", "west", "spiffe://west/host/us");
	us = site_load("us", "trust");
	SITE_OK(ly_sign(us, LY_TYPE_SENT, (const uint8_t *)"abc", 3, out, &len,
	    &why));
	der = ly_signed_by((struct ly_bytes){ out, len });
	WANT(der.at && der.at + der.len == out + len);
	WANT_INT(der.at[0], 0x30); /* a SEQUENCE */
	der = ly_signed_by((struct ly_bytes){ out, len - 1 });
	WANT(!der.at && der.len == 0);
	der = ly_signed_by((struct ly_bytes){ NULL, 0 });
	WANT(!der.at);
	ly_identity_free(us);
}

TEST(what_a_tpm_is_to_check_is_signed_over_just_these_bytes)
{
	static const uint8_t nonce[] = "a session of some TPM, and more";
	static const uint8_t trap[] = "lanyard-sig-v1\0and what follows";
	struct ly_bytes msg = { nonce, sizeof(nonce) };
	struct ly_identity *us;
	struct ly_point key;
	uint8_t sig[LY_SIG_RAW];

	site_make("west");
	site_certify("us", "west", "spiffe://west/manager/us");
	us = site_load("us", "trust");
	SITE_OK(ly_identity_point(us, &key, &why));
	for (unsigned i = 0; i < 40; i++) { /* short numbers among them */
		SITE_OK(ly_sign_raw(us, msg, sig, &why));
		WANT(ly_ecdsa_good(&key, msg.at, msg.len, sig));
	}
	msg.len--;
	WANT(!ly_ecdsa_good(&key, msg.at, msg.len, sig));
	msg = (struct ly_bytes){ trap, sizeof(trap) };
	WANT_INT(ly_sign_raw(us, msg, sig, &said), LY_REFUSED);
	ly_identity_free(us);
}

TEST_MAIN()
