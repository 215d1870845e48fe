/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/vault_file.h"

#include "lib/io/identity.h"

#include <stdlib.h>

#define MAGIC 0x4c4e5956u /* "LNYV" */
#define FORMAT 1
#define FIXED 12 /* before the head */

static const struct ly_field fields[] = {
	LY_UINT(struct ly_vault_head, version),
	LY_BOOL(struct ly_vault_head, told),
	LY_UINT(struct ly_vault_head, index),
	LY_FIXED(struct ly_vault_head, counter),
	LY_FIXED(struct ly_vault_head, owner),
	LY_BYTES(struct ly_vault_head, pub, LY_VAULT_BLOB),
	LY_BYTES(struct ly_vault_head, priv, LY_VAULT_BLOB),
	LY_FIXED(struct ly_vault_head, nonce),
};
static const struct ly_message head_message = LY_MESSAGE(0, "VAULT",
    struct ly_vault_head, fields, "What a vault says of itself.");

_Static_assert(LY_VAULT_HEAD_MAX > 2 * LY_VAULT_BLOB + 2 * LY_VAULT_NAME + 64,
    "room for the head");

enum ly_rc
ly_vault_file_pack(struct ly_vault_head *head, const uint8_t key[LY_GCM_KEY],
    const uint8_t *body, size_t body_len, uint8_t **out, size_t *len,
    struct ly_why *why)
{
	size_t room = LY_VAULT_HEAD_MAX + body_len + LY_GCM_TAG, n;
	uint8_t *buf = malloc(room);
	struct ly_wr w = ly_wr_over(buf, LY_VAULT_HEAD_MAX), size;
	enum ly_rc rc;

	if (!buf || body_len > LY_VAULT_BODY_MAX) {
		free(buf);
		return ly_fail(why, LY_FULL, "%zu bytes: too much", body_len);
	}
	ly_random(head->nonce, sizeof(head->nonce));
	ly_wr_u32(&w, MAGIC);
	ly_wr_u32(&w, FORMAT);
	size = ly_wr_over(w.at, 4);
	ly_wr_u32(&w, 0);
	ly_message_put(&head_message, head, &w);
	assert(!w.bad);
	n = ly_wr_len(&w);
	ly_wr_u32(&size, (uint32_t)(n - FIXED));
	if (body_len)
		memcpy(buf + n, body, body_len);
	rc = ly_gcm_seal(key, head->nonce, buf, n, buf + n, body_len,
	    buf + n + body_len, why);
	if (rc != LY_OK) {
		ly_wipe(buf, room);
		free(buf);
		return rc;
	}
	*out = buf;
	*len = n + body_len + LY_GCM_TAG;
	return LY_OK;
}

enum ly_rc
ly_vault_file_head(const uint8_t *buf, size_t len, struct ly_vault_head *out,
    struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(buf, len);
	uint32_t magic = ly_rd_u32(&r), format = ly_rd_u32(&r);
	size_t size = ly_rd_u32(&r);
	const uint8_t *at = ly_rd_bytes(&r, size);

	if (r.bad && len < FIXED)
		return ly_fail(why, LY_MALFORMED, "cut short");
	if (magic != MAGIC)
		return ly_fail(why, LY_MALFORMED, "not a vault");
	if (format != FORMAT)
		return ly_fail(why, LY_MALFORMED, "format %u, not %u", format,
		    FORMAT);
	if (!at || ly_rd_left(&r) < LY_GCM_TAG)
		return ly_fail(why, LY_MALFORMED, "cut short");
	return ly_message_get(&head_message, at, size, out, why);
}

enum ly_rc
ly_vault_file_open(uint8_t *buf, size_t len, const uint8_t key[LY_GCM_KEY],
    uint8_t **body, size_t *body_len, struct ly_why *why)
{
	struct ly_vault_head head;
	struct ly_rd r = ly_rd_over(buf, len);
	enum ly_rc rc = ly_vault_file_head(buf, len, &head, why);
	size_t n, left;

	if (rc != LY_OK)
		return rc;
	(void)ly_rd_bytes(&r, FIXED - 4);
	n = FIXED + (size_t)ly_rd_u32(&r);
	left = len - n - LY_GCM_TAG;
	rc = ly_gcm_open(key, head.nonce, buf, n, buf + n, left, buf + n + left,
	    why);
	if (rc != LY_OK)
		return rc;
	*body = buf + n;
	*body_len = left;
	return LY_OK;
}
