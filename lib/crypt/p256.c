/* SPDX-License-Identifier: Apache-2.0 */
/* P-256 on raw numbers, and RSA-OAEP for endorsement keys. */
#include "lib/crypt/crypt.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <stdlib.h>

LY_AUTO_FOR(EC_GROUP_free, EC_GROUP)
LY_AUTO_FOR(EC_POINT_free, EC_POINT)
LY_AUTO_FOR(BN_clear_free, BIGNUM)
LY_AUTO_FOR(EVP_PKEY_free, EVP_PKEY)
LY_AUTO_FOR(EVP_PKEY_CTX_free, EVP_PKEY_CTX)
LY_AUTO_FOR(EVP_MD_CTX_free, EVP_MD_CTX)
LY_AUTO_FOR(ECDSA_SIG_free, ECDSA_SIG)
LY_AUTO_FOR(OSSL_PARAM_BLD_free, OSSL_PARAM_BLD)
LY_AUTO_FOR(OSSL_PARAM_free, OSSL_PARAM)

#define PLAIN_POINT 65 /* bytes: 04, x, y */
#define DER_SIG_MOST 80

static void *
need(void *p)
{
	if (!p)
		abort();
	return p;
}

static EC_GROUP *
group(void)
{
	return need(EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1));
}

static void
plain_of(const struct ly_point *p, uint8_t out[PLAIN_POINT])
{
	out[0] = POINT_CONVERSION_UNCOMPRESSED;
	memcpy(out + 1, p->x, sizeof(p->x));
	memcpy(out + 33, p->y, sizeof(p->y));
}

/* NULL unless it is on the curve. */
static EC_POINT *
point_on(const EC_GROUP *g, const struct ly_point *p)
{
	EC_POINT *point = need(EC_POINT_new(g));
	uint8_t plain[PLAIN_POINT];

	plain_of(p, plain);
	if (EC_POINT_oct2point(g, point, plain, sizeof(plain), NULL) == 1)
		return point;
	ERR_clear_error();
	EC_POINT_free(point);
	return NULL;
}

static void
point_out(const EC_GROUP *g, const EC_POINT *from, struct ly_point *out)
{
	uint8_t plain[PLAIN_POINT];

	if (EC_POINT_point2oct(g, from, POINT_CONVERSION_UNCOMPRESSED, plain,
		sizeof(plain), NULL) != sizeof(plain))
		abort();
	memcpy(out->x, plain + 1, sizeof(out->x));
	memcpy(out->y, plain + 33, sizeof(out->y));
}

/* NULL unless 0 < secret < order. */
static BIGNUM *
scalar(const EC_GROUP *g, const uint8_t secret[32])
{
	BIGNUM *d = need(BN_secure_new());

	need(BN_bin2bn(secret, 32, d));
	BN_set_flags(d, BN_FLG_CONSTTIME);
	if (!BN_is_zero(d) && BN_cmp(d, EC_GROUP_get0_order(g)) < 0)
		return d;
	BN_clear_free(d);
	return NULL;
}

bool
ly_point_good(const struct ly_point *p)
{
	LY_AUTO(EC_GROUP_free) EC_GROUP *g = group();
	LY_AUTO(EC_POINT_free) EC_POINT *point = point_on(g, p);

	return point != NULL;
}

/* secret * peer, or secret * G. */
static enum ly_rc
multiply(const uint8_t secret[32], const struct ly_point *peer,
    struct ly_point *out)
{
	LY_AUTO(EC_GROUP_free) EC_GROUP *g = group();
	LY_AUTO(BN_clear_free) BIGNUM *d = scalar(g, secret);
	LY_AUTO(EC_POINT_free) EC_POINT *q = peer ? point_on(g, peer) : NULL;
	LY_AUTO(EC_POINT_free) EC_POINT *r = need(EC_POINT_new(g));

	if (!d)
		return LY_BUSY;
	if (peer && !q)
		return LY_MALFORMED;
	if (EC_POINT_mul(g, r, peer ? NULL : d, q, peer ? d : NULL, NULL) != 1)
		abort();
	point_out(g, r, out);
	return LY_OK;
}

enum ly_rc
ly_point_of(const uint8_t secret[32], struct ly_point *out)
{
	return multiply(secret, NULL, out);
}

enum ly_rc
ly_ecdh(const uint8_t secret[32], const struct ly_point *peer, uint8_t z[32])
{
	struct ly_point p;
	enum ly_rc rc = multiply(secret, peer, &p);

	if (rc == LY_OK)
		memcpy(z, p.x, sizeof(p.x));
	ly_wipe(&p, sizeof(p));
	return rc;
}

/* ---- signatures ---- */

/* NULL: OpenSSL does not take it. `d` may be NULL. */
static EVP_PKEY *
pkey_of(const struct ly_point *p, const BIGNUM *d)
{
	LY_AUTO(EVP_PKEY_CTX_free)
	EVP_PKEY_CTX *ctx = need(EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL));
	LY_AUTO(OSSL_PARAM_BLD_free)
	OSSL_PARAM_BLD *b = need(OSSL_PARAM_BLD_new());
	LY_AUTO(OSSL_PARAM_free) OSSL_PARAM *params = NULL;
	uint8_t plain[PLAIN_POINT];
	EVP_PKEY *key = NULL;

	plain_of(p, plain);
	if (!OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME,
		"P-256", 0) ||
	    !OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, plain,
		sizeof(plain)) ||
	    (d && !OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_PRIV_KEY, d)))
		abort();
	params = need(OSSL_PARAM_BLD_to_param(b));
	if (EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key,
		d ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) != 1)
		ERR_clear_error();
	return key;
}

/* r and s as the DER that OpenSSL wants; 0 if they cannot be. */
static size_t
sig_to_der(const uint8_t sig[LY_SIG_RAW], uint8_t out[DER_SIG_MOST])
{
	LY_AUTO(ECDSA_SIG_free) ECDSA_SIG *s = need(ECDSA_SIG_new());
	uint8_t *at = out;
	int len;

	if (ECDSA_SIG_set0(s, need(BN_bin2bn(sig, 32, NULL)),
		need(BN_bin2bn(sig + 32, 32, NULL))) != 1)
		abort();
	len = i2d_ECDSA_SIG(s, NULL);
	if (len <= 0 || len > DER_SIG_MOST)
		return 0;
	return (size_t)i2d_ECDSA_SIG(s, &at);
}

bool
ly_ecdsa_good(const struct ly_point *key, const void *msg, size_t len,
    const uint8_t sig[LY_SIG_RAW])
{
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *pkey = pkey_of(key, NULL);
	LY_AUTO(EVP_MD_CTX_free) EVP_MD_CTX *md = need(EVP_MD_CTX_new());
	uint8_t der[DER_SIG_MOST];
	size_t der_len = sig_to_der(sig, der);
	bool good;

	if (!pkey || !der_len)
		return false;
	good = EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, pkey) == 1 &&
	    EVP_DigestVerify(md, der, der_len, msg, len) == 1;
	ERR_clear_error();
	return good;
}

enum ly_rc
ly_ecdsa_sign(const uint8_t secret[32], const void *msg, size_t len,
    uint8_t sig[LY_SIG_RAW])
{
	LY_AUTO(EC_GROUP_free) EC_GROUP *g = group();
	LY_AUTO(BN_clear_free) BIGNUM *d = scalar(g, secret);
	LY_AUTO(EVP_MD_CTX_free) EVP_MD_CTX *md = need(EVP_MD_CTX_new());
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = NULL;
	LY_AUTO(ECDSA_SIG_free) ECDSA_SIG *s = NULL;
	uint8_t der[DER_SIG_MOST];
	const uint8_t *at = der;
	size_t n = sizeof(der);
	struct ly_point p;

	if (!d || ly_point_of(secret, &p) != LY_OK)
		return LY_BUSY;
	key = need(pkey_of(&p, d));
	if (EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) != 1 ||
	    EVP_DigestSign(md, der, &n, msg, len) != 1)
		abort();
	s = need(d2i_ECDSA_SIG(NULL, &at, (long)n));
	if (BN_bn2binpad(ECDSA_SIG_get0_r(s), sig, 32) != 32 ||
	    BN_bn2binpad(ECDSA_SIG_get0_s(s), sig + 32, 32) != 32)
		abort();
	return LY_OK;
}

void
ly_spki_of(const struct ly_point *key, uint8_t out[LY_SPKI_P256])
{
	/* SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING } */
	static const uint8_t head[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07,
		0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
		0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00 };

	_Static_assert(sizeof(head) + PLAIN_POINT == LY_SPKI_P256, "SPKI");
	memcpy(out, head, sizeof(head));
	plain_of(key, out + sizeof(head));
}

void
ly_spki_hash(const struct ly_point *key, uint8_t out[32])
{
	uint8_t spki[LY_SPKI_P256];

	ly_spki_of(key, spki);
	ly_sha256(spki, sizeof(spki), out);
}

/* ---- RSA ---- */

void
ly_spki_hash_rsa(const uint8_t modulus[LY_RSA_SIZE], uint8_t out[32])
{
	/* SEQUENCE { SEQUENCE { rsaEncryption, NULL }, BIT STRING { SEQUENCE {
	 * modulus, 65537 } } }; a modulus of 2048 bits has a zero before it. */
	static const uint8_t head[] = { 0x30, 0x82, 0x01, 0x22, 0x30, 0x0d,
		0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
		0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82,
		0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00 };
	static const uint8_t tail[] = { 0x02, 0x03, 0x01, 0x00, 0x01 };
	const struct ly_bytes pieces[] = { { head, sizeof(head) },
		{ modulus, LY_RSA_SIZE }, { tail, sizeof(tail) } };

	ly_sha256_of(pieces, LY_COUNT(pieces), out);
}

static EVP_PKEY *
rsa_of(const uint8_t modulus[LY_RSA_SIZE], uint32_t exponent)
{
	LY_AUTO(EVP_PKEY_CTX_free)
	EVP_PKEY_CTX *ctx = need(EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL));
	LY_AUTO(OSSL_PARAM_BLD_free)
	OSSL_PARAM_BLD *b = need(OSSL_PARAM_BLD_new());
	LY_AUTO(BN_clear_free)
	BIGNUM *n = need(BN_bin2bn(modulus, LY_RSA_SIZE, NULL));
	LY_AUTO(OSSL_PARAM_free) OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;

	if (!OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, n) ||
	    !OSSL_PARAM_BLD_push_ulong(b, OSSL_PKEY_PARAM_RSA_E,
		exponent ? exponent : RSA_F4))
		abort();
	params = need(OSSL_PARAM_BLD_to_param(b));
	if (EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		ERR_clear_error();
	return key;
}

static bool
oaep(EVP_PKEY_CTX *ctx, const char *label)
{
	size_t len = strlen(label) + 1;
	void *own = need(OPENSSL_memdup(label, len));

	if (EVP_PKEY_encrypt_init(ctx) == 1 &&
	    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
	    EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) == 1 &&
	    EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1 &&
	    EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, own, (int)len) == 1)
		return true; /* it owns `own` now */
	OPENSSL_free(own);
	return false;
}

enum ly_rc
ly_rsa_oaep(const uint8_t modulus[LY_RSA_SIZE], uint32_t exponent,
    const char *label, const void *msg, size_t len, uint8_t out[LY_RSA_SIZE])
{
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = NULL;
	LY_AUTO(EVP_PKEY_CTX_free) EVP_PKEY_CTX *ctx = NULL;
	size_t n = LY_RSA_SIZE;

	/* Odd, and its top bit set: else no modulus of 2048 bits. */
	if (!(modulus[0] & 0x80) || !(modulus[LY_RSA_SIZE - 1] & 1) ||
	    !(key = rsa_of(modulus, exponent)))
		return LY_MALFORMED;
	ctx = need(EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL));
	if (!oaep(ctx, label) ||
	    EVP_PKEY_encrypt(ctx, out, &n, msg, len) != 1 || n != LY_RSA_SIZE) {
		ERR_clear_error();
		return LY_MALFORMED;
	}
	return LY_OK;
}
