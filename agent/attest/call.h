/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager's call for evidence, as a host judges it before it answers. Pure.
 */
#ifndef LY_AGENT_ATTEST_CALL_H
#define LY_AGENT_ATTEST_CALL_H

#include "lib/wire/signed.h"

/*
 * May this host answer that call in `role` (enum ly_quote_role)? `signer` is
 * the SPIFFE id of who signed it. LY_REFUSED: not by the manager of the site
 * of the VM's home (of any site, if there is no VM), or for another host or
 * role, or not now; `why` says which.
 */
LY_MUST enum ly_rc ly_call_check(const struct ly_call *call, const char *signer,
    const char *self, uint8_t role, uint64_t now_s, struct ly_why *why);
const char *ly_quote_role_name(unsigned role);

#endif
