/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/crypt/crypt.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>

/* ---- digests and randomness ---- */

void
ly_sha256(const void *buf, size_t len, uint8_t out[32])
{
	unsigned n = 0;

	if (EVP_Digest(buf, len, out, &n, EVP_sha256(), NULL) != 1 || n != 32)
		abort();
}

void
ly_hmac(const uint8_t *key, size_t key_len, const void *buf, size_t len,
    uint8_t out[32])
{
	unsigned n = 0;

	if (!HMAC(EVP_sha256(), key, (int)key_len, buf, len, out, &n) ||
	    n != 32)
		abort();
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
