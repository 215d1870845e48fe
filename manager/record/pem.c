/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/record/pem.h"

#define LINE 48 /* bytes that become 64 letters */

static void
put(struct ly_wr *w, const char *text)
{
	ly_wr_bytes(w, text, strlen(text));
}

static void
put_base64(const uint8_t *b, size_t len, struct ly_wr *w)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)b[i] << 16;
		char four[4];

		v |= i + 1 < len ? (uint32_t)b[i + 1] << 8 : 0;
		v |= i + 2 < len ? b[i + 2] : 0;
		for (unsigned k = 0; k < 4; k++)
			four[k] = i + k > len ? '=' :
						letters[v >> (18 - 6 * k) & 63];
		ly_wr_bytes(w, four, sizeof(four));
	}
}

void
ly_pem_put(const char *label, const void *at, size_t len, struct ly_wr *w)
{
	const uint8_t *b = at;

	put(w, "-----BEGIN ");
	put(w, label);
	put(w, "-----\n");
	for (size_t i = 0; i < len; i += LINE) {
		put_base64(b + i, ly_min(LINE, len - i), w);
		put(w, "\n");
	}
	put(w, "-----END ");
	put(w, label);
	put(w, "-----\n");
}

/* INTEGER: no zeros in front but one that keeps it positive. */
static size_t
integer(const uint8_t v[32], uint8_t out[35])
{
	size_t skip = 0, sign;

	while (skip < 31 && v[skip] == 0)
		skip++;
	sign = v[skip] & 0x80 ? 1 : 0;
	out[0] = 0x02;
	out[1] = (uint8_t)(32 - skip + sign);
	out[2] = 0;
	memcpy(out + 2 + sign, v + skip, 32 - skip);
	return 2 + 32 - skip + sign;
}

void
ly_der_sig_put(const uint8_t raw[64], struct ly_wr *w)
{
	uint8_t r[35], s[35];
	size_t r_len = integer(raw, r), s_len = integer(raw + 32, s);

	ly_wr_u8(w, 0x30);
	ly_wr_u8(w, (uint8_t)(r_len + s_len));
	ly_wr_bytes(w, r, r_len);
	ly_wr_bytes(w, s, s_len);
}
