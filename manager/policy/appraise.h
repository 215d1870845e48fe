/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only a manager can ask: whether the evidence of several hosts fits
 * together. A TPM behind a network is a relay, so one host's quote never says
 * where a VM is: the host it runs on and its home have to say so both, in
 * answer to the same call.
 *
 * Each host by itself is lib/attest/appraise.h's matter, and comes first.
 */
#ifndef LY_MANAGER_POLICY_APPRAISE_H
#define LY_MANAGER_POLICY_APPRAISE_H

#include "lib/attest/appraise.h"

/* What the VM's own TPM is expected to have in its PCRs. */
enum ly_vpcr_rule {
	LY_VPCR_ANY = 0, /* nothing is expected (yet) */
	LY_VPCR_LAST,	 /* as when it was appraised last, no boot since */
	LY_VPCR_PINNED,	 /* as its owner has said */
	LY_VPCR_RULES
};
const char *ly_vpcr_rule_name(unsigned rule); /* "any", "unchanged", "pinned" */

struct ly_appraise_pair {
	const struct ly_context *place; /* SOURCE, or PLACE: where it runs */
	const struct ly_context *home;	/* HOME, or TPM */
	enum ly_vpcr_rule rule;
	uint8_t vpcrs[32]; /* what `rule` compares with */
};

/* Both are about one VM in one epoch and one call; the home's holder is the
 * host that it runs on, and has the TLS key that host quoted (a home that
 * holds the VM itself quotes its own); the VM's PCRs are as expected.
 * LY_REFUSED names the side and what differs. */
LY_MUST enum ly_rc ly_appraise_pair(const struct ly_appraise_pair *p,
    struct ly_why *why);

#endif
