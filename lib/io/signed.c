/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed objects: a ticket is believed for who signed it, and only for the type
 * it was signed as.
 */
#include "lib/io/identity_int.h"

#include "lib/crypt/cert.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#define SIG_MOST LY_SIG_DER_MAX

static const char sig_prefix[] = "lanyard-sig-v1"; /* its NUL is signed too */

LY_AUTO_FOR(X509_free, X509)
LY_AUTO_FOR(EVP_MD_CTX_free, EVP_MD_CTX)
LY_AUTO_FOR(ECDSA_SIG_free, ECDSA_SIG)

static void
digest_in(EVP_MD_CTX *md, bool sign, uint16_t type, const uint8_t *tagged,
    size_t len, int *ok)
{
	uint8_t t[2] = { (uint8_t)(type >> 8), (uint8_t)type };
	const struct ly_bytes part[] = {
		{ (const uint8_t *)sig_prefix, sizeof(sig_prefix) },
		{ t, sizeof(t) },
		{ tagged, len },
	};

	for (size_t i = 0; *ok == 1 && i < LY_COUNT(part); i++)
		*ok = sign ?
		    EVP_DigestSignUpdate(md, part[i].at, part[i].len) :
		    EVP_DigestVerifyUpdate(md, part[i].at, part[i].len);
}

static void
put_part(struct ly_wr *w, const void *at, size_t len)
{
	ly_wr_u32(w, (uint32_t)len);
	ly_wr_bytes(w, at, len);
}

enum ly_rc
ly_sign(struct ly_identity *ids, uint16_t type, const uint8_t *tagged,
    size_t len, uint8_t *out, size_t *out_len, struct ly_why *why)
{
	LY_AUTO(EVP_MD_CTX_free) EVP_MD_CTX *md = EVP_MD_CTX_new();
	const struct keys *k = ids->keys;
	struct ly_wr w = ly_wr_over(out, *out_len);
	uint8_t sig[SIG_MOST];
	size_t sig_len = sizeof(sig);
	int ok = md && EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, k->key);

	digest_in(md, true, type, tagged, len, &ok);
	if (ok != 1 || EVP_DigestSignFinal(md, sig, &sig_len) != 1)
		return ly_fail(why, LY_OUTSIDE, "sign: %s", ly_ssl_says());
	put_part(&w, tagged, len);
	put_part(&w, sig, sig_len);
	put_part(&w, k->leaf_der, k->leaf_len);
	if (w.bad)
		return ly_fail(why, LY_FULL, "a signed object over %zu bytes",
		    *out_len);
	*out_len = ly_wr_len(&w);
	return LY_OK;
}

static struct ly_bytes
get_part(struct ly_rd *r)
{
	size_t len = ly_rd_u32(r);
	const uint8_t *at = ly_rd_bytes(r, len);

	return (struct ly_bytes){ .at = at, .len = at ? len : 0 };
}

static enum ly_rc
check_signature(X509 *leaf, uint16_t type, struct ly_bytes tagged,
    struct ly_bytes sig, struct ly_why *why)
{
	LY_AUTO(EVP_MD_CTX_free) EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY *key = X509_get0_pubkey(leaf);
	enum ly_rc rc;
	int ok;

	if (!key)
		return ly_fail(why, LY_REFUSED, "signer's key: %s",
		    ly_ssl_says());
	rc = ly_key_is_p256(key, "signer", why);
	if (rc != LY_OK)
		return rc;
	ok = md && EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key);
	digest_in(md, false, type, tagged.at, tagged.len, &ok);
	if (ok != 1 || EVP_DigestVerifyFinal(md, sig.at, sig.len) != 1) {
		ERR_clear_error();
		return ly_fail(why, LY_REFUSED, "the signature is not valid");
	}
	return LY_OK;
}

enum ly_rc
ly_verify(struct ly_identity *ids, uint16_t type, const uint8_t *buf,
    size_t len, const uint8_t **tagged, size_t *tagged_len,
    struct ly_peer *signer, struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(buf, len);
	struct ly_bytes body = get_part(&r), sig = get_part(&r);
	struct ly_bytes der = get_part(&r);
	LY_AUTO(X509_free) X509 *leaf = NULL;
	const uint8_t *at = der.at;
	struct ly_peer p;
	enum ly_rc rc;

	if (r.bad || ly_rd_left(&r) || der.len > LEAF_MOST ||
	    sig.len > SIG_MOST)
		return ly_fail(why, LY_MALFORMED, "not a signed object");
	leaf = d2i_X509(NULL, &at, (long)der.len);
	if (!leaf || at != der.at + der.len) {
		ERR_clear_error();
		return ly_fail(why, LY_MALFORMED, "no signer's certificate");
	}
	rc = ly_leaf_verify(ids, leaf, &p, why);
	if (rc == LY_OK)
		rc = check_signature(leaf, type, body, sig, why);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "signed object");
	*tagged = body.at;
	*tagged_len = body.len;
	*signer = p;
	return LY_OK;
}

/* ---- what a TPM checks ---- */

static bool
put_number(const BIGNUM *n, uint8_t out[32])
{
	return n && BN_bn2binpad(n, out, 32) == 32;
}

enum ly_rc
ly_sign_raw(struct ly_identity *ids, struct ly_bytes msg,
    uint8_t sig[LY_SIG_RAW], struct ly_why *why)
{
	LY_AUTO(EVP_MD_CTX_free) EVP_MD_CTX *md = EVP_MD_CTX_new();
	LY_AUTO(ECDSA_SIG_free) ECDSA_SIG *pair = NULL;
	uint8_t der[SIG_MOST];
	const uint8_t *at = der;
	size_t len = sizeof(der);

	if (msg.len >= sizeof(sig_prefix) - 1 &&
	    memcmp(msg.at, sig_prefix, sizeof(sig_prefix) - 1) == 0)
		return ly_fail(why, LY_REFUSED,
		    "what is to be signed looks like a signed object");
	if (!md ||
	    EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, ids->keys->key) !=
		1 ||
	    EVP_DigestSign(md, der, &len, msg.at, msg.len) != 1)
		return ly_fail(why, LY_OUTSIDE, "sign: %s", ly_ssl_says());
	pair = d2i_ECDSA_SIG(NULL, &at, (long)len);
	if (!pair || !put_number(ECDSA_SIG_get0_r(pair), sig) ||
	    !put_number(ECDSA_SIG_get0_s(pair), sig + 32))
		return ly_fail(why, LY_OUTSIDE, "sign: %s", ly_ssl_says());
	return LY_OK;
}

enum ly_rc
ly_identity_point(const struct ly_identity *ids, struct ly_point *out,
    struct ly_why *why)
{
	struct ly_cert_key key;
	enum ly_rc rc = ly_cert_key(ids->keys->leaf_der, ids->keys->leaf_len,
	    &key, why);

	if (rc == LY_OK && key.rsa)
		rc = ly_fail(why, LY_REFUSED, "our own key is not P-256");
	if (rc == LY_OK)
		*out = key.point;
	return rc;
}

/* ---- text that openssl(1) can check ---- */

enum ly_rc
ly_sign_text(struct ly_identity *ids, const char *text,
    uint8_t sig[LY_SIG_DER_MAX], size_t *sig_len, struct ly_why *why)
{
	LY_AUTO(EVP_MD_CTX_free) EVP_MD_CTX *md = EVP_MD_CTX_new();

	*sig_len = LY_SIG_DER_MAX;
	if (!md ||
	    EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, ids->keys->key) !=
		1 ||
	    EVP_DigestSign(md, sig, sig_len, (const uint8_t *)text,
		strlen(text)) != 1)
		return ly_fail(why, LY_OUTSIDE, "sign: %s", ly_ssl_says());
	return LY_OK;
}

static enum ly_rc
check_text(EVP_PKEY *key, const char *text, size_t len, const uint8_t *sig,
    size_t sig_len)
{
	LY_AUTO(EVP_MD_CTX_free) EVP_MD_CTX *md = EVP_MD_CTX_new();

	if (md && key &&
	    EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
	    EVP_DigestVerify(md, sig, sig_len, (const uint8_t *)text, len) == 1)
		return LY_OK;
	ERR_clear_error();
	return LY_REFUSED;
}

enum ly_rc
ly_check_own_text(struct ly_identity *ids, const char *text, size_t len,
    const uint8_t *sig, size_t sig_len, struct ly_why *why)
{
	if (check_text(ids->keys->key, text, len, sig, sig_len) != LY_OK)
		return ly_fail(why, LY_REFUSED, "not signed by our own key");
	return LY_OK;
}

enum ly_rc
ly_check_text(const char *cert_pem, const char *text, size_t len,
    const uint8_t *sig, size_t sig_len, struct ly_why *why)
{
	BIO *bio = BIO_new_mem_buf(cert_pem, -1);
	LY_AUTO(X509_free) X509 *cert = NULL;

	if (bio)
		cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	if (!cert) {
		ERR_clear_error();
		return ly_fail(why, LY_MALFORMED, "no certificate");
	}
	if (check_text(X509_get0_pubkey(cert), text, len, sig, sig_len) !=
	    LY_OK)
		return ly_fail(why, LY_REFUSED,
		    "not signed by the key of that certificate");
	return LY_OK;
}
