/* SPDX-License-Identifier: Apache-2.0 */
/* A site's CA: what it makes, and what it will not. */
#include "tests/unit/forge.h"

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

TEST_MAIN()
