/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The digests of TPM policies, computed as a TPM's policy session would
 * (SHA-256). A digest begins as 32 zero bytes; each step replaces it.
 *
 * A migration's key has PolicyAuthorize(the policy key of the destination's
 * site, class) and then PolicySigned(the manager, this migration): a state
 * that was approved, and a go-ahead for this once.
 */
#ifndef LY_ATTEST_POLICY_H
#define LY_ATTEST_POLICY_H

#include "lib/attest/tpm.h"

struct ly_policy {
	uint8_t digest[32];
};

void ly_policy_start(struct ly_policy *p);
/* `pcr_digest`: ly_pcr_digest() of the values. */
void ly_policy_pcr(struct ly_policy *p, uint32_t pcr_mask,
    const uint8_t pcr_digest[32]);
/* Replaces what is there: that is what has to be approved. */
void ly_policy_authorize(struct ly_policy *p, const uint8_t name[LY_TPM_NAME],
    const uint8_t ref[32]);
void ly_policy_signed(struct ly_policy *p, const uint8_t name[LY_TPM_NAME],
    const uint8_t ref[32]);
void ly_policy_command(struct ly_policy *p, uint32_t code);
/* One of `branches`, 2 to 8 of them. */
void ly_policy_or(struct ly_policy *p, const struct ly_policy *branches,
    size_t n);
/* `object`: its Name, or NULL: any that may go to `parent`. */
void ly_policy_duplication_select(struct ly_policy *p,
    const uint8_t object[LY_TPM_NAME], const uint8_t parent[LY_TPM_NAME]);

/* How many PCRs a mask names. */
size_t ly_pcrs_n(uint32_t pcr_mask);
/* SHA-256 over PCR values, 32 bytes each, in ascending order. */
void ly_pcr_digest(struct ly_bytes values, uint8_t out[32]);
/* TPML_PCR_SELECTION of the SHA-256 bank. */
void ly_pcr_selection_put(uint32_t pcr_mask, struct ly_wr *w);

/* ---- what is signed ---- */

/* policyRef of a class of hosts: SHA-256("lanyard.host-class:" | class | 00 |
 * u64 generation). A withdrawal raises the generation, and all that is still
 * approved is signed again: an old signature fits no new key. */
void ly_class_ref(const char *class, uint64_t generation, uint8_t out[32]);
/* policyRef of one go-ahead: SHA-256("lanyard.release" 00 | mig | nonce |
 * destination's SPIFFE id 00 | Name of its SK). */
void ly_release_ref(const struct ly_id *mig, const uint8_t nonce[32],
    const char *dest, const uint8_t sk_name[LY_TPM_NAME], uint8_t out[32]);

/* What the policy key signs (ECDSA-SHA256 over these bytes) to approve a
 * policy for a class: policy | ref. */
#define LY_APPROVAL_SIGNED 64
void ly_approval_signed(const struct ly_policy *approved, const uint8_t ref[32],
    uint8_t out[LY_APPROVAL_SIGNED]);

#define LY_RELEASE_S 60	    /* seconds a go-ahead is good for */
#define LY_NONCE_TPM_MAX 32 /* bytes of a session's nonce */
#define LY_RELEASE_SIGNED_MAX 68
/* What the manager signs for one session of one TPM: nonceTPM | expiration
 * LY_RELEASE_S | no cpHash | ref. LY_MALFORMED: not a nonce of 16 to 32 bytes.
 */
LY_MUST enum ly_rc ly_release_signed(struct ly_bytes nonce_tpm,
    const uint8_t ref[32], uint8_t out[LY_RELEASE_SIGNED_MAX], size_t *len,
    struct ly_why *why);

/* The authPolicy of a migration's key. */
void ly_policy_of_key(const uint8_t site_name[LY_TPM_NAME],
    const uint8_t class_ref[32], const uint8_t manager_name[LY_TPM_NAME],
    const uint8_t release_ref[32], struct ly_policy *out);

#endif
