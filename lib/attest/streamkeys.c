/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/attest/streamkeys.h"

#define INFO_MOST 512

void
ly_stream_transcript(struct ly_bytes call, struct ly_bytes dest_evidence,
    struct ly_bytes source_evidence, struct ly_bytes blob, uint8_t out[32])
{
	const struct ly_bytes part[] = { call, dest_evidence, source_evidence,
		blob };
	struct ly_hash h;

	ly_hash_start(&h);
	for (size_t i = 0; i < LY_COUNT(part); i++) {
		uint8_t len[4];
		struct ly_wr w = ly_wr_over(len, sizeof(len));

		ly_wr_u32(&w, (uint32_t)part[i].len);
		ly_hash_add(&h, len, sizeof(len));
		ly_hash_add(&h, part[i].at, part[i].len);
	}
	ly_hash_end(&h, out);
}

void
ly_stream_keys_make(const uint8_t key[LY_MIG_KEY_LEN],
    const struct ly_call *call, const uint8_t transcript[32],
    struct ly_stream_keys *out)
{
	*out = (struct ly_stream_keys){ .mig = call->mig,
		.lanes = call->lanes };
	ly_copy(out->source, sizeof(out->source), call->source);
	ly_copy(out->dest, sizeof(out->dest), call->dest);
	memcpy(out->transcript, transcript, sizeof(out->transcript));
	ly_hkdf_extract(call->nonce, sizeof(call->nonce), key, LY_MIG_KEY_LEN,
	    out->prk);
}

void
ly_stream_keys_wipe(struct ly_stream_keys *keys)
{
	ly_wipe(keys, sizeof(*keys));
}

static void
put_word(struct ly_wr *w, const char *word)
{
	ly_wr_bytes(w, word, strlen(word) + 1);
}

/* HMAC under the key that is derived for `label`. */
static void
mac(const struct ly_stream_keys *keys, const char *label, struct ly_bytes what,
    uint8_t out[32])
{
	uint8_t info[INFO_MOST], key[32];
	struct ly_wr w = ly_wr_over(info, sizeof(info));

	put_word(&w, label);
	ly_wr_bytes(&w, keys->transcript, sizeof(keys->transcript));
	ly_hkdf_expand(keys->prk, info, ly_wr_len(&w), key, sizeof(key));
	ly_hmac(key, sizeof(key), what.at, what.len, out);
	ly_wipe(key, sizeof(key));
}

void
ly_stream_confirm(const struct ly_stream_keys *keys, const char *role,
    uint8_t out[32])
{
	uint8_t what[64];
	struct ly_wr w = ly_wr_over(what, sizeof(what));

	put_word(&w, role);
	ly_wr_bytes(&w, keys->transcript, sizeof(keys->transcript));
	assert(!w.bad);
	mac(keys, "lanyard confirm", (struct ly_bytes){ what, ly_wr_len(&w) },
	    out);
}

void
ly_stream_fin_mac(const struct ly_stream_keys *keys, struct ly_bytes statement,
    uint8_t out[32])
{
	mac(keys, "lanyard fin", statement, out);
}

void
ly_stream_psk(const struct ly_stream_keys *keys, uint8_t lane,
    uint32_t generation, uint8_t out[LY_PSK_LEN])
{
	uint8_t info[INFO_MOST];
	struct ly_wr w = ly_wr_over(info, sizeof(info));

	put_word(&w, "lanyard psk v1");
	put_word(&w, keys->source);
	put_word(&w, keys->dest);
	ly_wr_u8(&w, lane);
	ly_wr_u32(&w, generation);
	ly_wr_bytes(&w, keys->transcript, sizeof(keys->transcript));
	assert(!w.bad);
	ly_hkdf_expand(keys->prk, info, ly_wr_len(&w), out, LY_PSK_LEN);
}

/* ---- the identity ---- */

#define HEAD "ly1."
#define MIG_TEXT 22 /* digits of 16 bytes */

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* Six bits a digit; the last digit's low four bits are zero. */
static void
mig_text(const struct ly_id *mig, char out[MIG_TEXT + 1])
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t at = 0;

	for (size_t i = 0; i < MIG_TEXT; i++) {
		if (have < 6) {
			bits = bits << 8 |
			    (at < sizeof(mig->b) ? mig->b[at] : 0);
			at++;
			have += 8;
		}
		have -= 6;
		out[i] = digits[bits >> have & 63];
	}
	out[MIG_TEXT] = 0;
}

static bool
mig_read(const char *text, struct ly_id *mig)
{
	struct ly_wr w = ly_wr_over(mig->b, sizeof(mig->b));
	char again[MIG_TEXT + 1];
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < MIG_TEXT; i++) {
		const char *d = text[i] ? strchr(digits, text[i]) : NULL;

		if (!d)
			return false;
		bits = bits << 6 | (uint32_t)(d - digits);
		have += 6;
		if (have >= 8) {
			have -= 8;
			ly_wr_u8(&w, (uint8_t)(bits >> have));
		}
	}
	mig_text(mig, again);
	return !w.bad && !memcmp(again, text, MIG_TEXT);
}

void
ly_stream_identity(const struct ly_id *mig, uint8_t lane, uint32_t generation,
    char out[LY_PSK_ID_MAX])
{
	char text[MIG_TEXT + 1];

	mig_text(mig, text);
	ly_print(out, LY_PSK_ID_MAX, HEAD "%s.%u.%u", text, lane, generation);
}

/* "LANE.GENERATION" */
static bool
numbers_read(char *text, uint64_t *lane, uint64_t *generation)
{
	char *dot = strchr(text, '.');

	if (!dot)
		return false;
	*dot = 0;
	return ly_parse_uint(text, LY_LANES_MAX - 1, lane) == LY_OK &&
	    ly_parse_uint(dot + 1, UINT32_MAX, generation) == LY_OK;
}

enum ly_rc
ly_stream_identity_read(const char *text, size_t len, struct ly_id *mig,
    uint8_t *lane, uint32_t *generation)
{
	static const size_t head = sizeof(HEAD) - 1;
	char copy[LY_PSK_ID_MAX] = "", again[LY_PSK_ID_MAX];
	uint64_t l, g;
	struct ly_id id;

	if (len >= sizeof(copy) || len < head + MIG_TEXT + 1)
		return LY_MALFORMED;
	memcpy(copy, text, len);
	if (memcmp(copy, HEAD, head) != 0 || !mig_read(copy + head, &id) ||
	    copy[head + MIG_TEXT] != '.' ||
	    !numbers_read(copy + head + MIG_TEXT + 1, &l, &g))
		return LY_MALFORMED;
	ly_stream_identity(&id, (uint8_t)l, (uint32_t)g, again);
	if (strlen(again) != len || memcmp(again, text, len) != 0)
		return LY_MALFORMED; /* "01", "+1": one lane, one name */
	*mig = id;
	*lane = (uint8_t)l;
	*generation = (uint32_t)g;
	return LY_OK;
}
