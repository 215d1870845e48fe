/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is what a host says at enrolment true? All that can be asked of the bytes
 * alone; whether its EK is a genuine one, and of a TPM that we know, is asked
 * besides (pin.h and lib/io/ekcert.h). Pure.
 */
#ifndef LY_MANAGER_ENROL_JUDGE_H
#define LY_MANAGER_ENROL_JUDGE_H

#include "lib/attest/quote.h"

struct ly_enrol_key {
	uint8_t area[LY_PUBLIC_MAX]; /* TPMT_PUBLIC */
	size_t len;
	uint8_t name[LY_TPM_NAME];
};

/* What is known of a host by now: first its keys, then its state. */
struct ly_enrol_facts {
	struct ly_enrol_key ek, ak, sk;
	uint8_t hk[32];			     /* SHA-256 of its TLS key's SPKI */
	uint32_t reset_count, restart_count; /* of its TPM: this boot */
	uint32_t pcr_mask;		     /* 0: not known yet */
	uint8_t pcr[LY_PCRS_N][32];
	uint64_t firmware; /* version of the TPM's, as it says */
};

/* What it was asked with. */
struct ly_enrol_asked {
	const char *self; /* its SPIFFE id */
	uint8_t nonce[32];
	uint8_t secret[32];	/* PROVE: what the credential hides */
	uint8_t transcript[32]; /* PROVE: ly_enrol_transcript() */
};

/* BEGIN: three keys of the right templates, SK in the TPM of AK by AK's own
 * word, in answer to this question, for the TLS key `hk` (of the request for a
 * certificate). LY_REFUSED or LY_MALFORMED says which it is not. */
LY_MUST enum ly_rc ly_enrol_judge_keys(const struct ly_enrol_keys *keys,
    const struct ly_enrol_asked *asked, const uint8_t hk[32],
    struct ly_enrol_facts *out, struct ly_why *why);

/* PROVE: only the TPM with EK and AK could give out the secret, and the quote
 * is of this boot, host, TLS key and challenge. Fills in the state of `f`.
 * LY_FENCED: of another boot. */
LY_MUST enum ly_rc ly_enrol_judge_proof(const struct ly_enrol_proof *proof,
    const struct ly_enrol_asked *asked, struct ly_enrol_facts *f,
    struct ly_why *why);

/* RENEW: the same without a secret. */
LY_MUST enum ly_rc ly_enrol_judge_renewal(const struct ly_evidence *ev,
    const struct ly_enrol_asked *asked, struct ly_enrol_facts *f,
    struct ly_why *why);

#endif
