/* SPDX-License-Identifier: Apache-2.0 */
/* Public keys as files. */
#ifndef LY_TESTS_POLICY_PEM_H
#define LY_TESTS_POLICY_PEM_H

#include "tests/unit/approved_scene.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>

static inline void
write_key(const char *path, const struct authority *of)
{
	uint8_t spki[LY_SPKI_P256];
	const uint8_t *at = spki;
	EVP_PKEY *key;
	FILE *f;

	ly_spki_of(&of->key, spki);
	key = d2i_PUBKEY(NULL, &at, sizeof(spki));
	f = fopen(path, "w");
	assert(key && f && PEM_write_PUBKEY(f, key) == 1);
	fclose(f);
	EVP_PKEY_free(key);
}

#endif
