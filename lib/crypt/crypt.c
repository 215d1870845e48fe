/* SPDX-License-Identifier: Apache-2.0 */
/* Digests, MACs, randomness, keys from keys, AES. */
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_CTX: it needs no heap */
#include "lib/crypt/crypt.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdlib.h>

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct ly_hash),
    "a hash needs more room");

LY_AUTO_FOR(EVP_CIPHER_CTX_free, EVP_CIPHER_CTX)

/* ---- digests, MACs, randomness ---- */

void
ly_hash_start(struct ly_hash *h)
{
	SHA256_Init((SHA256_CTX *)(void *)h->state);
}

void
ly_hash_add(struct ly_hash *h, const void *buf, size_t len)
{
	SHA256_Update((SHA256_CTX *)(void *)h->state, buf, len);
}

void
ly_hash_end(struct ly_hash *h, uint8_t out[32])
{
	SHA256_Final(out, (SHA256_CTX *)(void *)h->state);
}

void
ly_sha256_of(const struct ly_bytes *pieces, size_t n, uint8_t out[32])
{
	struct ly_hash h;

	ly_hash_start(&h);
	for (size_t i = 0; i < n; i++)
		ly_hash_add(&h, pieces[i].at, pieces[i].len);
	ly_hash_end(&h, out);
}

void
ly_sha256(const void *buf, size_t len, uint8_t out[32])
{
	ly_sha256_of(&(struct ly_bytes){ .at = buf, .len = len }, 1, out);
}

static void
hmac(const EVP_MD *md, const void *key, size_t key_len, const void *buf,
    size_t len, uint8_t *out)
{
	unsigned n = 0;

	/* A NULL key would mean "the one before". */
	if (!HMAC(md, key_len ? key : "", (int)key_len, buf, len, out, &n) ||
	    n != (unsigned)EVP_MD_get_size(md))
		abort();
}

void
ly_hmac(const uint8_t *key, size_t key_len, const void *buf, size_t len,
    uint8_t out[32])
{
	hmac(EVP_sha256(), key, key_len, buf, len, out);
}

void
ly_random(void *out, size_t len)
{
	while (len) {
		size_t n = ly_min(len, 1u << 20);

		if (RAND_bytes(out, (int)n) != 1)
			abort();
		out = (uint8_t *)out + n;
		len -= n;
	}
}

/* ---- keys from keys ---- */

void
ly_hkdf_extract(const void *salt, size_t salt_len, const void *ikm,
    size_t ikm_len, uint8_t prk[LY_SHA384_SIZE])
{
	hmac(EVP_sha384(), salt, salt_len, ikm, ikm_len, prk);
}

#define INFO_MOST 512

void
ly_hkdf_expand(const uint8_t prk[LY_SHA384_SIZE], const void *info,
    size_t info_len, uint8_t *out, size_t len)
{
	uint8_t round[LY_SHA384_SIZE + INFO_MOST + 1], t[LY_SHA384_SIZE];
	size_t before = 0;

	assert(info_len <= INFO_MOST && len <= 255 * LY_SHA384_SIZE);
	for (uint8_t i = 1; len; i++) {
		struct ly_wr w = ly_wr_over(round, sizeof(round));
		size_t n = ly_min(len, sizeof(t));

		ly_wr_bytes(&w, t, before);
		ly_wr_bytes(&w, info, info_len);
		ly_wr_u8(&w, i);
		hmac(EVP_sha384(), prk, LY_SHA384_SIZE, round, ly_wr_len(&w),
		    t);
		memcpy(out, t, n);
		out += n;
		len -= n;
		before = sizeof(t);
	}
	ly_wipe(t, sizeof(t));
	ly_wipe(round, sizeof(round));
}

/* ---- AES ---- */

static void
cfb(const uint8_t key[16], uint8_t *buf, size_t len, int seal)
{
	static const uint8_t iv[16] = { 0 };
	LY_AUTO(EVP_CIPHER_CTX_free) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0;

	if (!c || len > INT32_MAX ||
	    EVP_CipherInit_ex(c, EVP_aes_128_cfb128(), NULL, key, iv, seal) !=
		1 ||
	    EVP_CipherUpdate(c, buf, &n, buf, (int)len) != 1 ||
	    (size_t)n != len)
		abort();
}

void
ly_cfb_seal(const uint8_t key[16], uint8_t *buf, size_t len)
{
	cfb(key, buf, len, 1);
}

void
ly_cfb_open(const uint8_t key[16], uint8_t *buf, size_t len)
{
	cfb(key, buf, len, 0);
}
