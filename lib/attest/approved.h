/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of hosts that a site approves: a list made and signed by the
 * site's policy authority, whose key K_pol (ECC P-256) is apart from the
 * manager and whose public half is pinned beside the site's CA. Managers and
 * agents keep the list and hand it on; none of them can add to it.
 *
 * A state is the values of some PCRs (SHA-256 bank). Besides the list as a
 * whole, K_pol signs each entry as TPM2_PolicyAuthorize wants it:
 * SHA-256(policy | ref), policy being the PolicyPCR digest of the values and
 * ref naming the class of hosts and the list's generation. So the approval
 * binds a host's own TPM and not only those who read the list.
 *
 * The serial rises with each list; an older list is not taken over a newer one.
 * The generation rises with each withdrawal, and all that remains is signed
 * anew: a TPM cannot unlearn a signature, but what is made for the new
 * generation does not open to approvals of an old one.
 *
 * Limits: LY_APPROVED_MAX bytes, LY_APPROVED_ENTRIES entries; a list over them
 * is refused whole, and so is one with a single bad entry.
 */
#ifndef LY_ATTEST_APPROVED_H
#define LY_ATTEST_APPROVED_H

#include "lib/attest/policy.h"

#define LY_APPROVED_ENTRIES 128
#define LY_APPROVED_NOTE 96 /* with its NUL */

struct ly_approved_entry {
	char class[LY_NAME_MAX];
	char note[LY_APPROVED_NOTE]; /* for people: what it is */
	uint64_t when;		     /* seconds since 1970 */
	uint32_t mask;		     /* its PCRs, bit n for PCR n */
	struct ly_bytes pcrs;	 /* their values, the lowest first; borrowed */
	uint8_t log[32];	 /* SHA-256 of the event log it was approved
			       * with; zeros: without one */
	struct ly_policy policy; /* PolicyPCR of mask and pcrs */
	uint8_t ref[32];	 /* ly_class_ref() of class and generation */
	uint8_t signature[LY_SIG_RAW]; /* over ly_approval_signed() */
};

struct ly_approved {
	char site[LY_NAME_MAX];
	uint64_t serial;
	uint64_t generation;
	uint64_t issued; /* seconds since 1970 */
	unsigned n;
	struct ly_approved_entry of[LY_APPROVED_ENTRIES];
};

/* Checks everything: form, limits, the signature of the whole and of each
 * entry under `key` (x then y of K_pol), each policy against its PCR values.
 * *out borrows from `list`. It is large: keep it on the heap. LY_MALFORMED: no
 * list; LY_REFUSED: not signed by that key, or of another site than `site`. */
LY_MUST enum ly_rc ly_approved_parse(struct ly_bytes list, const char *site,
    const struct ly_point *key, struct ly_approved *out, struct ly_why *why);

/*
 * The entry that approves a host of `class` whose PCRs of `mask` have the
 * values `pcr`. LY_REFUSED says what the nearest approved state has otherwise:
 * `class compute: PCR 4, 7 differ from the nearest approved state, entry 2
 * "Debian 12.8"`; then *out is that nearest entry, or NULL when the class has
 * none.
 */
LY_MUST enum ly_rc ly_approved_find(const struct ly_approved *list,
    const char *class, uint32_t mask, const uint8_t pcr[LY_PCRS_N][32],
    const struct ly_approved_entry **out, struct ly_why *why);
/* The PCRs of `entry` that are not as in `pcr`, or not in `mask`. */
uint32_t ly_approved_differ(const struct ly_approved_entry *entry,
    uint32_t mask, const uint8_t pcr[LY_PCRS_N][32]);
/* "4, 7, 11" */
const char *ly_approved_mask_text(uint32_t mask, char *out, size_t size);

/* ---- making one: what K_pol has to sign ---- */

/* Copies the values of `mask` behind one another, the lowest first. */
void ly_approved_pack(uint32_t mask, const uint8_t pcr[LY_PCRS_N][32],
    struct ly_wr *w);
/* Fills in policy and ref of an entry from the rest, and writes what its
 * signature is over (before hashing): policy | ref. */
void ly_approved_draft(struct ly_approved_entry *entry, uint64_t generation,
    uint8_t to_sign[LY_APPROVAL_SIGNED]);
/* What the signature of the whole is over (before hashing). The writer is bad
 * when the list is over its limits; LY_APPROVED_MAX are always enough. */
void ly_approved_to_sign(const struct ly_approved *list, struct ly_wr *w);
/* The list as it travels. */
void ly_approved_seal(const struct ly_approved *list,
    const uint8_t signature[LY_SIG_RAW], struct ly_wr *w);

#endif
