/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/io/gcm.h"

#include "lib/base/text.h"

#include <limits.h>
#include <openssl/evp.h>

LY_AUTO_FOR(EVP_CIPHER_CTX_free, EVP_CIPHER_CTX)

/* Key, nonce and what is only proved; NULL when OpenSSL has no memory. */
static EVP_CIPHER_CTX *
begin(bool sealing, const uint8_t *key, const uint8_t *nonce, const void *aad,
    size_t aad_len)
{
	LY_AUTO(EVP_CIPHER_CTX_free)
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	assert(aad_len <= INT_MAX);
	if (!ctx ||
	    EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce,
		sealing) != 1 ||
	    EVP_CipherUpdate(ctx, NULL, &n, aad, (int)aad_len) != 1)
		return NULL;
	return ly_take(ctx);
}

enum ly_rc
ly_gcm_seal(const uint8_t key[LY_GCM_KEY], const uint8_t nonce[LY_GCM_NONCE],
    const void *aad, size_t aad_len, uint8_t *buf, size_t len,
    uint8_t tag[LY_GCM_TAG], struct ly_why *why)
{
	LY_AUTO(EVP_CIPHER_CTX_free)
	EVP_CIPHER_CTX *ctx = begin(true, key, nonce, aad, aad_len);
	int n;

	assert(len <= INT_MAX);
	if (!ctx || EVP_EncryptUpdate(ctx, buf, &n, buf, (int)len) != 1 ||
	    EVP_EncryptFinal_ex(ctx, buf + len, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, LY_GCM_TAG, tag) !=
		1)
		return ly_fail(why, LY_OUTSIDE, "AES-256-GCM fails");
	return LY_OK;
}

enum ly_rc
ly_gcm_open(const uint8_t key[LY_GCM_KEY], const uint8_t nonce[LY_GCM_NONCE],
    const void *aad, size_t aad_len, uint8_t *buf, size_t len,
    const uint8_t tag[LY_GCM_TAG], struct ly_why *why)
{
	LY_AUTO(EVP_CIPHER_CTX_free)
	EVP_CIPHER_CTX *ctx = begin(false, key, nonce, aad, aad_len);
	uint8_t copy[LY_GCM_TAG];
	int n;

	assert(len <= INT_MAX);
	memcpy(copy, tag, sizeof(copy));
	if (!ctx || EVP_DecryptUpdate(ctx, buf, &n, buf, (int)len) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, LY_GCM_TAG, copy) !=
		1)
		return ly_fail(why, LY_OUTSIDE, "AES-256-GCM fails");
	if (EVP_DecryptFinal_ex(ctx, buf + len, &n) == 1)
		return LY_OK;
	ly_wipe(buf, len);
	return ly_fail(why, LY_MALFORMED, "damaged, or not of this key");
}
