/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vault's file. The input is taken as such a file, which nothing but its
 * key's owner can have made; and as the body of one, which comes back the same.
 */
#include "agent/io/vault_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint8_t key[LY_GCM_KEY] = "the key of the files in corpus/";

static void
open_it(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + 1), *body;
	struct ly_vault_head h;
	struct ly_why why = { "" };
	size_t n;

	if (!copy)
		abort();
	if (len)
		memcpy(copy, data, len);
	if (ly_vault_file_open(copy, len, key, &body, &n, &why) != LY_OK) {
		if (!*why.text)
			abort(); /* no reason */
	} else if (ly_vault_file_head(data, len, &h, &why) != LY_OK ||
	    n + LY_GCM_TAG > len) {
		abort();
	}
	free(copy);
}

static void
seal_it(const uint8_t *data, size_t len)
{
	struct ly_vault_head h = { .version = 1, .pub = { data, 0 } }, got;
	uint8_t *buf, *body;
	size_t n, body_len;

	h.pub.len = h.priv.len = ly_min(len, LY_VAULT_BLOB);
	h.priv.at = data;
	if (ly_vault_file_pack(&h, key, data, len, &buf, &n, NULL) != LY_OK ||
	    ly_vault_file_head(buf, n, &got, NULL) != LY_OK ||
	    got.pub.len != h.pub.len ||
	    ly_vault_file_open(buf, n, key, &body, &body_len, NULL) != LY_OK ||
	    body_len != len || (len && memcmp(body, data, len) != 0))
		abort();
	free(buf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	open_it(data, len);
	seal_it(data, len);
	return 0;
}
