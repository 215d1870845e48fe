/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A provider is loaded into a library context of its own, beside the default
 * one: what it does to its keys, it does to no others.
 */
#include "lib/io/policykey.h"

#include "lib/io/file.h"
#include "lib/io/identity_int.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_MOST 4096
#define DER_MOST 80 /* bytes of an ECDSA P-256 signature */

struct ly_policykey {
	OSSL_LIB_CTX *ctx;
	OSSL_PROVIDER *provider[2];
	char prefer[64]; /* whose algorithms, where several have one */
	EVP_PKEY *key;
	struct ly_point point;
};

LY_AUTO_FOR(ly_policykey_free, struct ly_policykey)
LY_AUTO_FOR(EVP_PKEY_free, EVP_PKEY)
LY_AUTO_FOR(EVP_MD_CTX_free, EVP_MD_CTX)
LY_AUTO_FOR(BIO_free_all, BIO)
LY_AUTO_FOR(ECDSA_SIG_free, ECDSA_SIG)

void
ly_policykey_free(struct ly_policykey *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->key);
	for (size_t i = 0; i < LY_COUNT(k->provider); i++)
		if (k->provider[i])
			OSSL_PROVIDER_unload(k->provider[i]);
	OSSL_LIB_CTX_free(k->ctx);
	free(k);
}

/* ---- making ---- */

enum ly_rc
ly_policykey_make(const char *path, struct ly_why *why)
{
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = EVP_EC_gen("P-256");
	LY_AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_secmem());
	enum ly_rc rc;
	char *at;
	long len;

	if (access(path, F_OK) == 0)
		return ly_fail(why, LY_REFUSED,
		    "%s is there already; a policy key is made once", path);
	if (!key || !bio ||
	    !PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
		return ly_fail(why, LY_OUTSIDE, "%s: %s", path, ly_ssl_says());
	len = BIO_get_mem_data(bio, &at);
	rc = ly_file_write(path, at, (size_t)len, 0600, why);
	ly_wipe(at, (size_t)len);
	return rc;
}

/* ---- opening ---- */

static enum ly_rc
check_file(const char *path, struct ly_why *why)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return LY_OK; /* not a file: a URI */
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return ly_fail(why, LY_REFUSED,
		    "%s: others than its owner may read it (mode %03o)", path,
		    (unsigned)(st.st_mode & 0777));
	return LY_OK;
}

static enum ly_rc
load_provider(struct ly_policykey *k, const char *name, struct ly_why *why)
{
	if (name)
		ly_print(k->prefer, sizeof(k->prefer), "?provider=%s", name);
	k->ctx = OSSL_LIB_CTX_new();
	if (k->ctx)
		k->provider[0] = OSSL_PROVIDER_load(k->ctx, "default");
	if (k->provider[0] && name)
		k->provider[1] = OSSL_PROVIDER_load(k->ctx, name);
	if (k->provider[0] && (!name || k->provider[1]))
		return LY_OK;
	return ly_fail(why, LY_OUTSIDE, "provider %s: %s",
	    name ? name : "default", ly_ssl_says());
}

/* The first private key there. */
static EVP_PKEY *
find_key(OSSL_STORE_CTX *store)
{
	EVP_PKEY *key = NULL;

	while (!key && !OSSL_STORE_eof(store)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(store);

		if (info &&
		    OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
			key = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
		if (!info && OSSL_STORE_error(store))
			break;
	}
	return key;
}

/* x and y, uncompressed. */
static enum ly_rc
read_point(struct ly_policykey *k, const char *what, struct ly_why *why)
{
	uint8_t raw[65];
	size_t len = 0;
	enum ly_rc rc = ly_key_is_p256(k->key, what, why);

	if (rc != LY_OK)
		return rc;
	if (!EVP_PKEY_get_octet_string_param(k->key, OSSL_PKEY_PARAM_PUB_KEY,
		raw, sizeof(raw), &len) ||
	    len != sizeof(raw) || raw[0] != POINT_CONVERSION_UNCOMPRESSED)
		return ly_fail(why, LY_OUTSIDE,
		    "%s: its public half cannot be read: %s", what,
		    ly_ssl_says());
	memcpy(k->point.x, raw + 1, 32);
	memcpy(k->point.y, raw + 33, 32);
	return LY_OK;
}

enum ly_rc
ly_policykey_open(const char *key, const char *provider,
    struct ly_policykey **out, struct ly_why *why)
{
	LY_AUTO(ly_policykey_free)
	struct ly_policykey *k = calloc(1, sizeof(*k));
	OSSL_STORE_CTX *store;
	enum ly_rc rc;

	if (!k)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	rc = check_file(key, why);
	if (rc == LY_OK)
		rc = load_provider(k, provider, why);
	if (rc != LY_OK)
		return rc;
	store = OSSL_STORE_open_ex(key, k->ctx, k->prefer, NULL, NULL, NULL,
	    NULL, NULL);
	if (store)
		k->key = find_key(store);
	OSSL_STORE_close(store);
	if (!k->key)
		return ly_fail(why, LY_OUTSIDE, "%s: no private key: %s", key,
		    ly_ssl_says());
	ERR_clear_error();
	rc = read_point(k, key, why);
	if (rc == LY_OK)
		*out = ly_take(k);
	return rc;
}

const struct ly_point *
ly_policykey_point(const struct ly_policykey *k)
{
	return &k->point;
}

/* ---- using ---- */

static bool
raw_of(const uint8_t *der, size_t len, uint8_t sig[LY_SIG_RAW])
{
	const uint8_t *at = der;
	LY_AUTO(ECDSA_SIG_free)
	ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &at, (long)len);

	return s && BN_bn2binpad(ECDSA_SIG_get0_r(s), sig, 32) == 32 &&
	    BN_bn2binpad(ECDSA_SIG_get0_s(s), sig + 32, 32) == 32;
}

enum ly_rc
ly_policykey_sign(const struct ly_policykey *k, const void *msg, size_t len,
    uint8_t sig[LY_SIG_RAW], struct ly_why *why)
{
	LY_AUTO(EVP_MD_CTX_free) EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t der[2 * DER_MOST];
	size_t der_len = sizeof(der);

	if (!md ||
	    EVP_DigestSignInit_ex(md, NULL, "SHA256", k->ctx, k->prefer, k->key,
		NULL) != 1 ||
	    EVP_DigestSignUpdate(md, msg, len) != 1 ||
	    EVP_DigestSignFinal(md, der, &der_len) != 1 ||
	    !raw_of(der, der_len, sig))
		return ly_fail(why, LY_OUTSIDE, "the policy key signs not: %s",
		    ly_ssl_says());
	if (!ly_ecdsa_good(&k->point, msg, len, sig))
		return ly_fail(why, LY_OUTSIDE,
		    "the policy key has signed with another key than it shows");
	return LY_OK;
}

enum ly_rc
ly_policykey_publish(const struct ly_policykey *k, const char *path,
    struct ly_why *why)
{
	uint8_t spki[LY_SPKI_P256], base64[4 * LY_SPKI_P256 / 3 + 8];
	char pem[PEM_MOST];
	size_t n;

	if (access(path, F_OK) == 0)
		return ly_fail(why, LY_REFUSED, "%s is there already", path);
	ly_spki_of(&k->point, spki);
	EVP_EncodeBlock(base64, spki, sizeof(spki));
	ly_copy(pem, sizeof(pem), "-----BEGIN PUBLIC KEY-----\n");
	for (const char *at = (char *)base64; *at;
	     at += ly_min(64, strlen(at))) {
		n = strlen(pem);
		ly_print(pem + n, sizeof(pem) - n, "%.64s\n", at);
	}
	n = strlen(pem);
	ly_print(pem + n, sizeof(pem) - n, "-----END PUBLIC KEY-----\n");
	return ly_file_write(path, pem, strlen(pem), 0644, why);
}
