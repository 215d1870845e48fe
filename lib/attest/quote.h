/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a TPM has signed about itself: reading it, and every check that needs
 * no opinion. Whether the PCRs are approved ones, whether the AK belongs to
 * that host, whether the context is what was asked for: those who call know.
 */
#ifndef LY_ATTEST_QUOTE_H
#define LY_ATTEST_QUOTE_H

#include "lib/attest/tpm.h"

/* The 32 bytes of qualifying data:
 * SHA-256("lanyard-quote-v1" 00 | u16 type | tagged context). */
void ly_qualify(enum ly_quote_type type, struct ly_bytes context,
    uint8_t out[32]);
/* Renders `c` tagged into `room`, whose length LY_CONTEXT_MAX is enough, and
 * qualifies it; `c->role` is the type. `*tagged` borrows from `room`. */
void ly_qualify_context(const struct ly_context *c,
    uint8_t room[LY_CONTEXT_MAX], struct ly_bytes *tagged, uint8_t out[32]);

#define LY_ATTEST_CERTIFY 0x8017
#define LY_ATTEST_QUOTE 0x8018

/* A TPMS_ATTEST. */
struct ly_attest {
	uint16_t type;		/* LY_ATTEST_CERTIFY or LY_ATTEST_QUOTE */
	struct ly_bytes signer; /* qualified Name of the key that signed */
	struct ly_bytes extra;	/* qualifying data */
	uint64_t clock;		/* ms the TPM has run, over all boots */
	uint32_t reset_count;	/* boots */
	uint32_t restart_count; /* resumes since */
	bool safe;		/* the clock has not gone back */
	uint64_t firmware;
	/* QUOTE */
	uint32_t pcr_mask; /* of the SHA-256 bank; others are not read */
	struct ly_bytes pcr_digest;
	/* CERTIFY */
	struct ly_bytes name, qualified;
};

/* Takes all of `area` apart; `out` borrows from it. LY_MALFORMED: not made by
 * a TPM (magic), another type than these two, PCRs of another bank than
 * SHA-256, or cut short. */
LY_MUST enum ly_rc ly_attest_read(struct ly_bytes area, struct ly_attest *out,
    struct ly_why *why);

struct ly_quote_want {
	enum ly_quote_type type;
	const struct ly_tpm_key *ak; /* the one it must be signed by */
	uint32_t pcr_mask;	     /* exactly these; 0: LY_SEALED_PCRS */
	bool any_boot; /* the counts are not known yet: at enrolment */
	uint32_t reset_count, restart_count; /* unless any_boot */
};

/*
 * Every check of a piece of evidence that stands in the evidence itself: a
 * quote made by a TPM; qualifying data that of its type and context; the
 * signature that of `ak`; the PCRs exactly those required, and their digest
 * that of the values reported; no boot between. LY_REFUSED (or LY_MALFORMED)
 * says which failed. `out` may be NULL.
 *
 * clockInfo.safe is not among them. After a power cut a TPM says for up to 70
 * minutes that its Clock may have gone back (part 1, Timing Components), and nothing here
 * is held against that Clock: nonces tell old from new, the counts tell boots.
 * A site must not wait so long for its hosts on the very day that it lost power.
 */
LY_MUST enum ly_rc ly_quote_check(const struct ly_evidence *ev,
    const struct ly_quote_want *want, struct ly_attest *out,
    struct ly_why *why);

/* At enrolment: `keys->certify` proves that SK is in the TPM of AK, in this
 * exchange. `ak` and `sk` are those of `keys`, read. */
LY_MUST enum ly_rc ly_certify_check(const struct ly_enrol_keys *keys,
    const struct ly_tpm_key *ak, const struct ly_tpm_key *sk,
    struct ly_attest *out, struct ly_why *why);

#endif
