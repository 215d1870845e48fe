/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of approved states. The input is taken as such a list; and as what
 * stands within one, which is then signed, so that what is behind a good
 * signature is reached too. What is good is made again and is the same.
 */
#include "lib/attest/approved.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct ly_approved list;
static struct ly_point key;
static const uint8_t secret[32] = { 1 };

/* But for the signature of the whole, which is never the same twice. */
static void
again(struct ly_bytes b)
{
	static uint8_t room[LY_APPROVED_MAX];
	struct ly_wr w = ly_wr_over(room, sizeof(room));

	ly_approved_seal(&list, b.at + b.len - LY_SIG_RAW, &w);
	if (w.bad || ly_wr_len(&w) > b.len)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char prefix[] = "lanyard-sig-v1\0\x01\x0a";
	static uint8_t msg[LY_APPROVED_MAX + 32], room[LY_APPROVED_MAX];
	struct ly_wr m = ly_wr_over(msg, sizeof(msg));
	struct ly_wr w = ly_wr_over(room, sizeof(room));
	uint8_t sig[LY_SIG_RAW];
	struct ly_why why;
	struct ly_bytes b = { data, len };

	if (ly_point_of(secret, &key) != LY_OK)
		abort();
	if (ly_approved_parse(b, "site", &key, &list, &why) == LY_OK)
		again(b);
	ly_wr_bytes(&m, prefix, sizeof(prefix) - 1);
	ly_wr_bytes(&m, data, len);
	if (m.bad || ly_ecdsa_sign(secret, msg, ly_wr_len(&m), sig) != LY_OK)
		return 0;
	ly_wr_u32(&w, (uint32_t)len);
	ly_wr_bytes(&w, data, len);
	ly_wr_bytes(&w, sig, sizeof(sig));
	b = (struct ly_bytes){ room, ly_wr_len(&w) };
	if (!w.bad && ly_approved_parse(b, "site", &key, &list, &why) == LY_OK)
		again(b);
	return 0;
}
