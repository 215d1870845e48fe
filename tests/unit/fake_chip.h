/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host's TPM without a TPM: an AK and an SK of lanyard's templates whose
 * private keys we have, PCRs, and quotes and certifies over them, good to the
 * last bit until a test bends one. All from one number, so that a chip made
 * twice is the same chip.
 */
#ifndef LY_TESTS_UNIT_FAKE_CHIP_H
#define LY_TESTS_UNIT_FAKE_CHIP_H

#include "lib/attest/policy.h"
#include "lib/attest/quote.h"

#include <stdlib.h>

struct fake_chip {
	uint8_t ak_secret[32], sk_secret[32], ek_secret[32];
	struct ly_tpm_key ak, sk, ek;
	uint8_t ak_area[LY_PUBLIC_MAX], sk_area[LY_PUBLIC_MAX],
	    ek_area[LY_PUBLIC_MAX];
	uint8_t pcr[LY_PCRS_N][32];
	uint32_t reset_count, restart_count;
	uint32_t magic;	   /* bent: not 0xff544347 */
	uint16_t attest;   /* bent: not LY_ATTEST_QUOTE */
	uint32_t selected; /* bent: not the mask */
	uint8_t safe;
};

/* Where the bytes of one piece of evidence are. */
struct fake_evidence {
	uint8_t quote[LY_ATTEST_MAX], context[LY_CONTEXT_MAX],
	    pcrs[LY_PCRS_N * 32];
	struct ly_evidence ev;
};

static inline LY_UNUSED void
fake_key(enum ly_tpm_use use, unsigned number, uint8_t secret[32],
    uint8_t area[LY_PUBLIC_MAX], struct ly_tpm_key *out)
{
	struct ly_wr w = ly_wr_over(area, LY_PUBLIC_MAX);
	struct ly_point p;
	struct ly_why why;

	memset(secret, 0, 32);
	secret[0] = (uint8_t)(use + 1);
	secret[31] = (uint8_t)number;
	if (ly_point_of(secret, &p) != LY_OK)
		abort();
	ly_tpm_key_put(use, &p, &w);
	if (ly_tpm_key_read(use, (struct ly_bytes){ area, ly_wr_len(&w) }, out,
		&why) != LY_OK)
		abort();
}

/* Its keys borrow from `c`: not to be copied. */
static inline LY_UNUSED void
fake_chip_init(struct fake_chip *c, unsigned number)
{
	*c = (struct fake_chip){ .reset_count = 7,
		.restart_count = 1,
		.magic = 0xff544347,
		.attest = LY_ATTEST_QUOTE,
		.safe = 1 };
	fake_key(LY_TPM_AK, number, c->ak_secret, c->ak_area, &c->ak);
	fake_key(LY_TPM_SK, number, c->sk_secret, c->sk_area, &c->sk);
	fake_key(LY_TPM_EK, number, c->ek_secret, c->ek_area, &c->ek);
	for (unsigned i = 0; i < LY_PCRS_N; i++)
		memset(c->pcr[i], (int)(i + 1), 32);
}

static inline LY_UNUSED void
fake_head(const struct fake_chip *c, uint16_t type, const uint8_t q[32],
    struct ly_wr *w)
{
	ly_wr_u32(w, c->magic);
	ly_wr_u16(w, type);
	ly_wr_u16(w, LY_TPM_NAME);
	ly_wr_bytes(w, c->ak.name, LY_TPM_NAME);
	ly_wr_u16(w, 32);
	ly_wr_bytes(w, q, 32);
	ly_wr_u64(w, 123456);
	ly_wr_u32(w, c->reset_count);
	ly_wr_u32(w, c->restart_count);
	ly_wr_u8(w, c->safe);
	ly_wr_u64(w, 0x2022);
}

static inline LY_UNUSED void
fake_sign(const struct fake_chip *c, const struct ly_wr *w, uint8_t sig[64])
{
	if (w->bad ||
	    ly_ecdsa_sign(c->ak_secret, w->start, ly_wr_len(w), sig) != LY_OK)
		abort();
}

static inline LY_UNUSED struct ly_bytes
fake_pcrs(const struct fake_chip *c, uint32_t mask, uint8_t out[LY_PCRS_N * 32])
{
	struct ly_wr w = ly_wr_over(out, LY_PCRS_N * 32);

	for (unsigned i = 0; i < LY_PCRS_N; i++)
		if (mask & 1u << i)
			ly_wr_bytes(&w, c->pcr[i], 32);
	return (struct ly_bytes){ out, ly_wr_len(&w) };
}

/* A quote over LY_SEALED_PCRS, of the type `x->role`. `certificate` and `log`
 * of out->ev are left empty. */
static inline LY_UNUSED void
fake_quote(const struct fake_chip *c, const struct ly_context *x,
    struct fake_evidence *out)
{
	uint32_t mask = LY_SEALED_PCRS;
	struct ly_wr w = ly_wr_over(out->quote, sizeof(out->quote));
	struct ly_evidence ev = { .pcr_mask = mask,
		.ak = c->ak.area,
		.sk = c->sk.area };
	uint8_t q[32], digest[32];

	ly_qualify_context(x, out->context, &ev.context, q);
	ev.pcrs = fake_pcrs(c, mask, out->pcrs);
	ly_pcr_digest(ev.pcrs, digest);
	fake_head(c, c->attest, q, &w);
	ly_pcr_selection_put(c->selected ? c->selected : mask, &w);
	ly_wr_u16(&w, sizeof(digest));
	ly_wr_bytes(&w, digest, sizeof(digest));
	fake_sign(c, &w, ev.signature);
	ev.quote = (struct ly_bytes){ out->quote, ly_wr_len(&w) };
	out->ev = ev;
}

/* Packed, as it goes over the wire; the length. */
static inline LY_UNUSED size_t
fake_pack(const struct ly_evidence *ev, uint8_t *out, size_t size)
{
	struct ly_wr w = ly_wr_over(out, size);

	ly_message_put(&ly_evidence_message, ev, &w);
	if (w.bad)
		abort();
	return ly_wr_len(&w);
}

#endif
