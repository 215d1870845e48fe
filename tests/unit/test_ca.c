/* SPDX-License-Identifier: Apache-2.0 */
/* A site's CA: what it makes, and what it will not. */
#include "lib/io/hostcert.h"
#include "tests/unit/forge.h"

#include <openssl/core_names.h>

static struct ly_why said;

static X509 *
read_cert(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	WANT(cert);
	return cert;
}

static unsigned
mode_of(const char *path)
{
	struct stat st;

	WANT_INT(stat(path, &st), 0);
	return st.st_mode & 07777;
}

TEST(a_ca_is_made_once_and_its_key_is_private)
{
	site_make("east");
	WANT_INT(mode_of(site_path("east.ca.key")), 0600);
	WANT_INT(mode_of(site_path("east.ca.pem")), 0644);
	WANT_INT(ly_ca_make("east", site_path("east.ca.key"),
		     site_path("new.pem"), 30, &said),
	    LY_REFUSED);
	WANT(strstr(said.text, "east.ca.key: exists already"));
	WANT_INT(ly_ca_make("east", site_path("new.key"),
		     site_path("east.ca.pem"), 30, &said),
	    LY_REFUSED);
	WANT_INT(access(site_path("new.key"), F_OK), -1);
}

TEST(a_ca_certificate_says_what_it_is_for)
{
	uint8_t *pem = NULL;
	size_t len;
	X509 *ca;
	char cn[80];

	site_make("east");
	SITE_OK(ly_file_read(site_path("east.ca.pem"), 4096, &pem, &len, &why));
	ca = read_cert((char *)pem);
	WANT_INT(X509_check_ca(ca), 1);
	WANT_INT(X509_get_pathlen(ca), 0);
	WANT_INT(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	X509_NAME_get_text_by_NID(X509_get_subject_name(ca), NID_commonName, cn,
	    sizeof(cn));
	WANT_STR(cn, "lanyard site east");
	WANT(X509_get_ext_by_NID(ca, NID_name_constraints, -1) >= 0);
	WANT_INT(X509_self_signed(ca, 1), 1);
	X509_free(ca);
	free(pem);
}

TEST(a_site_of_a_bad_name_gets_no_ca)
{
	static const char *const bad[] = { "", "East", "a b", "../x", "a/b",
		"a,b", ".a" };

	for (size_t i = 0; i < LY_COUNT(bad); i++)
		WANT_INT(ly_ca_make(bad[i], site_path("b.key"),
			     site_path("b.pem"), 30, &said),
		    LY_REFUSED);
	WANT_INT(ly_ca_make("a", site_path("b.key"), site_path("b.pem"), 0,
		     &said),
	    LY_REFUSED);
	WANT_INT(access(site_path("b.key"), F_OK), -1);
}

static char *
request(const char *spiffe)
{
	char *pem = NULL;

	site_make("east");
	SITE_OK(ly_ca_request(spiffe, site_path("r.key"), &pem, &why));
	return pem;
}

static enum ly_rc
sign(const char *pem, const char *spiffe, unsigned minutes, char **out)
{
	return ly_ca_sign(site_path("east.ca.key"), site_path("east.ca.pem"),
	    pem, spiffe, (uint64_t)minutes * 60, out, &said);
}

TEST(a_signed_leaf_says_what_the_signer_said)
{
	char *pem = request("spiffe://east/host/asked"), *out = NULL;
	X509 *cert;
	int days, seconds;

	WANT_INT(mode_of(site_path("r.key")), 0600);
	WANT_INT(sign(pem, "spiffe://east/manager/given", 120, &out), LY_OK);
	cert = read_cert(out);
	WANT_INT(X509_check_ca(cert), 0);
	WANT_INT(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE);
	WANT_INT(X509_get_extended_key_usage(cert),
	    XKU_SSL_CLIENT | XKU_SSL_SERVER);
	WANT(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)));
	WANT_INT(days, 0);
	WANT(seconds > 7100 && seconds <= 7200);
	SITE_OK(
	    ly_file_write(site_path("r.pem"), out, strlen(out), 0644, &why));
	{
		struct ly_identity *ids = site_load("r", "trust");

		WANT_STR(ly_identity_self(ids)->id,
		    "spiffe://east/manager/given");
		ly_identity_free(ids);
	}
	X509_free(cert);
	free(pem);
	free(out);
}

TEST(a_leaf_does_not_outlive_its_ca)
{
	char *pem = request("spiffe://east/host/h"), *out = NULL;
	X509 *cert;
	int days, seconds;

	WANT_INT(sign(pem, "spiffe://east/host/h", 60 * 24 * 400, &out), LY_OK);
	cert = read_cert(out);
	WANT(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)));
	WANT(days <= 30);
	X509_free(cert);
	free(pem);
	free(out);
}

TEST(a_ca_does_not_sign_for_another_site)
{
	char *pem = request("spiffe://west/host/h"), *out = NULL;

	WANT_INT(sign(pem, "spiffe://west/host/h", 60, &out), LY_REFUSED);
	WANT(strstr(said.text, "permitted subtree violation"));
	WANT_INT(sign(pem, "spiffe://east/vm/h", 60, &out), LY_MALFORMED);
	WANT_INT(sign(pem, "spiffe://east/host/h", 0, &out), LY_REFUSED);
	WANT(out == NULL);
	free(pem);
}

TEST(a_request_that_is_not_signed_by_its_own_key_is_refused)
{
	char *pem = request("spiffe://east/host/h"), *out = NULL;
	BIO *bio = BIO_new_mem_buf(pem, -1), *back = BIO_new(BIO_s_mem());
	X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
	EVP_PKEY *other = EVP_EC_gen("P-256");
	char text[4096] = "";

	WANT(req && X509_REQ_set_pubkey(req, other));
	WANT(PEM_write_bio_X509_REQ(back, req));
	WANT(BIO_read(back, text, sizeof(text) - 1) > 0);
	WANT_INT(sign(text, "spiffe://east/host/h", 60, &out), LY_REFUSED);
	WANT(strstr(said.text, "not signed by its own key"));
	EVP_PKEY_free(other);
	X509_REQ_free(req);
	BIO_free(bio);
	BIO_free(back);
	free(pem);
}

TEST(a_request_that_is_none_is_malformed)
{
	static char huge[100000];
	char *pem = request("spiffe://east/host/h"), *out = NULL;

	WANT_INT(sign("", "spiffe://east/host/h", 60, &out), LY_MALFORMED);
	WANT_INT(sign("-----BEGIN CERTIFICATE REQUEST-----\nAA==\n"
		      "-----END CERTIFICATE REQUEST-----\n",
		     "spiffe://east/host/h", 60, &out),
	    LY_MALFORMED);
	memset(huge, 'x', sizeof(huge) - 1);
	WANT_INT(sign(huge, "spiffe://east/host/h", 60, &out), LY_FULL);
	free(pem);
}

TEST(keys_that_do_not_belong_together_are_named)
{
	char *pem = request("spiffe://east/host/h"), *out = NULL;

	site_make("west");
	WANT_INT(ly_ca_sign(site_path("west.ca.key"), site_path("east.ca.pem"),
		     pem, "spiffe://east/host/h", 60, &out, &said),
	    LY_REFUSED);
	WANT(strstr(said.text, "not the key of"));
	WANT_INT(ly_ca_sign(site_path("none.key"), site_path("east.ca.pem"),
		     pem, "spiffe://east/host/h", 60, &out, &said),
	    LY_UNKNOWN);
	free(pem);
}

/* ---- hosts that were enrolled ---- */

static struct ly_peer
enrolled(void)
{
	struct ly_peer p;

	SITE_OK(ly_spiffe_parse("spiffe://east/host/h1", &p, &why));
	ly_copy(p.class_, sizeof(p.class_), "rack.a-1");
	memset(p.ak_name, 0xa1, sizeof(p.ak_name));
	memset(p.sk_name, 0x51, sizeof(p.sk_name));
	p.reset_count = 0xfffffffe;
	p.restart_count = 3;
	p.approval = 0x8000000000000001;
	return p;
}

TEST(an_enrolled_host_says_which_tpm_it_has_since_which_boot)
{
	struct ly_peer want = enrolled(), got;
	char *pem = request(want.id), *out = NULL;
	struct ly_identity *ids;

	WANT_INT(ly_ca_sign_host(site_path("east.ca.key"),
		     site_path("east.ca.pem"), pem, &want, 28800, &out, &said),
	    LY_OK);
	SITE_OK(
	    ly_file_write(site_path("r.pem"), out, strlen(out), 0644, &why));
	ids = site_load("r", "trust");
	got = *ly_identity_self(ids);
	WANT(got.attested);
	WANT_STR(got.class_, "rack.a-1");
	WANT_MEM(got.ak_name, want.ak_name, LY_TPM_NAME_LEN);
	WANT_MEM(got.sk_name, want.sk_name, LY_TPM_NAME_LEN);
	WANT_INT(got.reset_count, 0xfffffffe);
	WANT_INT(got.restart_count, 3);
	WANT(got.approval == 0x8000000000000001);
	ly_identity_free(ids);
	free(pem);
	free(out);
}

TEST(every_count_an_enrolled_host_may_have_is_read_back)
{
	static const uint64_t some[] = { 0, 1, 127, 128, 255, 256, 32767, 32768,
		UINT32_MAX, 1ull << 32, INT64_MAX, 1ull << 63, UINT64_MAX };
	struct ly_peer want = enrolled(), got;

	for (size_t i = 0; i < LY_COUNT(some); i++) {
		X509 *cert = X509_new();

		want.reset_count = (uint32_t)some[i];
		want.approval = some[i];
		got = want;
		got.reset_count = 5;
		got.approval = 5;
		WANT(ly_hostcert_add(cert, &want));
		WANT_INT(ly_hostcert_read(cert, &got, &said), LY_OK);
		WANT(got.reset_count == (uint32_t)some[i]);
		WANT(got.approval == some[i]);
		X509_free(cert);
	}
}

TEST(the_numbers_of_our_extensions_are_those_in_the_manual)
{
	struct ly_peer host = enrolled();
	X509 *cert = X509_new();
	char text[400];

	WANT(ly_hostcert_add(cert, &host));
	OBJ_obj2txt(text, sizeof(text),
	    X509_EXTENSION_get_object(X509_get_ext(cert, 0)), 1);
	WANT_STR(text, LY_OID_HOST);
	{
		CERTIFICATEPOLICIES *all = X509_get_ext_d2i(cert,
		    NID_certificate_policies, NULL, NULL);

		OBJ_obj2txt(text, sizeof(text),
		    sk_POLICYINFO_value(all, 0)->policyid, 1);
		sk_POLICYINFO_pop_free(all, POLICYINFO_free);
	}
	WANT_STR(text, LY_OID_CLASS ".114.97.99.107.46.97.45.49");
	X509_free(cert);
}

TEST(a_host_without_a_class_gets_no_host_certificate)
{
	struct ly_peer host = enrolled();
	char *pem = request(host.id), *out = NULL;
	static const char *const bad[] = { "", "Rack", "a b" };

	for (size_t i = 0; i < LY_COUNT(bad); i++) {
		ly_copy(host.class_, sizeof(host.class_), bad[i]);
		WANT_INT(ly_ca_sign_host(site_path("east.ca.key"),
			     site_path("east.ca.pem"), pem, &host, 60, &out,
			     &said),
		    LY_REFUSED);
	}
	SITE_OK(ly_spiffe_parse("spiffe://east/manager/m1", &host, &why));
	ly_copy(host.class_, sizeof(host.class_), "rack");
	WANT_INT(ly_ca_sign_host(site_path("east.ca.key"),
		     site_path("east.ca.pem"), pem, &host, 60, &out, &said),
	    LY_REFUSED);
	free(pem);
}

TEST(an_attestation_key_gets_a_certificate_that_is_no_peers)
{
	static const uint8_t off[32] = { 1 };
	struct ly_peer host = enrolled(), p;
	EVP_PKEY *ak = EVP_EC_gen("P-256"), *has;
	uint8_t point[65];
	size_t len;
	char *out = NULL;
	GENERAL_NAMES *san;
	X509 *cert;

	site_make("east");
	WANT(EVP_PKEY_get_octet_string_param(ak, OSSL_PKEY_PARAM_PUB_KEY, point,
	    sizeof(point), &len));
	WANT_INT(ly_ca_sign_ak(site_path("east.ca.key"),
		     site_path("east.ca.pem"), point + 1, point + 33, &host, 60,
		     &out, &said),
	    LY_OK);
	cert = read_cert(out);
	has = X509_get0_pubkey(cert);
	WANT_INT(EVP_PKEY_eq(has, ak), 1);
	WANT_INT(X509_get_extended_key_usage(cert), 0);
	san = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	WANT_STR((const char *)ASN1_STRING_get0_data(
		     sk_GENERAL_NAME_value(san, 0)->d.ia5),
	    "spiffe://east/ak/h1");
	WANT_INT(ly_spiffe_parse("spiffe://east/ak/h1", &p, &said),
	    LY_MALFORMED);
	WANT_INT(ly_ca_sign_ak(site_path("east.ca.key"),
		     site_path("east.ca.pem"), point + 1, off, &host, 60, &out,
		     &said),
	    LY_REFUSED);
	WANT(strstr(said.text, "no point"));
	GENERAL_NAMES_free(san);
	X509_free(cert);
	EVP_PKEY_free(ak);
	free(out);
}

TEST_MAIN()
