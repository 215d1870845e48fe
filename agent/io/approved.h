/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The approved states of each site, as this host knows them: our manager sends
 * the newest list of each site, we check its signature by the policy key that
 * is pinned (TRUST/SITE.policy.pem) and keep it (STATE/approved). Where ours
 * is the newer one, it goes back to the manager: its state may have been
 * restored from a time before.
 */
#ifndef LY_AGENT_IO_APPROVED_H
#define LY_AGENT_IO_APPROVED_H

#include "agent/io/agent.h"
#include "lib/attest/approved.h"

/* NULL: no list of that site, or no policy key is pinned for it. Good until
 * the loop goes on. */
const struct ly_approved *ly_agent_approved(struct ly_agent *agent,
    const char *site);
/* The Name of the policy key pinned for `site`, as TPM policies name it; `key`
 * (may be NULL) is the key itself. LY_UNKNOWN: there is none. */
LY_MUST enum ly_rc ly_agent_policy_name(struct ly_agent *agent,
    const char *site, uint8_t name[LY_TPM_NAME], struct ly_point *key,
    struct ly_why *why);

/* From our manager. */
void ly_approved_hear(struct ly_agent *agent, const struct ly_approved_told *m);

LY_MUST enum ly_rc ly_approved_open(struct ly_agent *agent, struct ly_why *why);
void ly_approved_close(struct ly_agent *agent);

#endif
