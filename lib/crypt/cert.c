/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/crypt/cert.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>

LY_AUTO_FOR(X509_free, X509)
LY_AUTO_FOR(EVP_PKEY_free, EVP_PKEY)
LY_AUTO_FOR(BIO_free_all, BIO)
LY_AUTO_FOR(BN_free, BIGNUM)

#define DER_SEQUENCE 0x30
#define SPKI_MOST 512

static bool
number(EVP_PKEY *key, const char *what, uint8_t *out, int len)
{
	LY_AUTO(BN_free) BIGNUM *n = NULL;

	return EVP_PKEY_get_bn_param(key, what, &n) == 1 &&
	    BN_num_bytes(n) <= len && BN_bn2binpad(n, out, len) == len;
}

static bool
is_p256(EVP_PKEY *key)
{
	char curve[32] = "";

	return EVP_PKEY_is_a(key, "EC") &&
	    EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL) == 1 &&
	    (!strcmp(curve, "prime256v1") || !strcmp(curve, "P-256"));
}

static bool
rsa_numbers(EVP_PKEY *key, struct ly_cert_key *out)
{
	uint8_t e[4];
	struct ly_rd r = ly_rd_over(e, sizeof(e));

	out->rsa = true;
	if (EVP_PKEY_get_bits(key) != LY_RSA_SIZE * 8 ||
	    !number(key, OSSL_PKEY_PARAM_RSA_N, out->modulus, LY_RSA_SIZE) ||
	    !number(key, OSSL_PKEY_PARAM_RSA_E, e, sizeof(e)))
		return false;
	out->exponent = ly_rd_u32(&r);
	return true;
}

static enum ly_rc
key_out(EVP_PKEY *key, struct ly_cert_key *out, struct ly_why *why)
{
	struct ly_cert_key k = { 0 };
	uint8_t spki[SPKI_MOST], *at = spki;
	int len = i2d_PUBKEY(key, NULL);
	bool ok = is_p256(key) ?
	    number(key, OSSL_PKEY_PARAM_EC_PUB_X, k.point.x, 32) &&
		number(key, OSSL_PKEY_PARAM_EC_PUB_Y, k.point.y, 32) :
	    EVP_PKEY_is_a(key, "RSA") && rsa_numbers(key, &k);

	ERR_clear_error();
	if (!ok || len <= 0 || len > SPKI_MOST)
		return ly_fail(why, LY_REFUSED,
		    "its key is neither ECC P-256 nor RSA-2048");
	len = i2d_PUBKEY(key, &at);
	ly_sha256(spki, (size_t)len, k.spki);
	*out = k;
	return LY_OK;
}

static bool
is_der(const uint8_t *at, size_t len)
{
	return len && at[0] == DER_SEQUENCE;
}

static X509 *
cert_in(const uint8_t *at, size_t len)
{
	LY_AUTO(BIO_free_all) BIO *bio = NULL;
	const uint8_t *end = at;
	X509 *cert;

	if (is_der(at, len)) {
		cert = d2i_X509(NULL, &end, (long)len);
		if (!cert || end == at + len)
			return cert;
		X509_free(cert);
		return NULL;
	}
	bio = BIO_new_mem_buf(at, (int)len);
	return bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
}

enum ly_rc
ly_cert_key(const void *cert, size_t len, struct ly_cert_key *out,
    struct ly_why *why)
{
	LY_AUTO(X509_free)
	X509 *x = len <= INT32_MAX ? cert_in(cert, len) : NULL;
	EVP_PKEY *key = x ? X509_get0_pubkey(x) : NULL;

	ERR_clear_error();
	if (!x)
		return ly_fail(why, LY_MALFORMED, "not a certificate");
	if (!key)
		return ly_fail(why, LY_REFUSED,
		    "a certificate with a key of an unknown kind");
	return key_out(key, out, why);
}

enum ly_rc
ly_public_key(const void *buf, size_t len, struct ly_cert_key *out,
    struct ly_why *why)
{
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = NULL;
	LY_AUTO(BIO_free_all) BIO *bio = NULL;
	const uint8_t *at = buf;

	if (len <= INT32_MAX && is_der(at, len)) {
		key = d2i_PUBKEY(NULL, &at, (long)len);
	} else if (len <= INT32_MAX) {
		bio = BIO_new_mem_buf(buf, (int)len);
		key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
	}
	ERR_clear_error();
	if (!key)
		return ly_fail(why, LY_MALFORMED, "not a public key");
	return key_out(key, out, why);
}
