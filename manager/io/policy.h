/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Approved states, as a manager has them: the newest list of each site, what
 * each host of ours was last seen in, and the event logs that states were
 * approved with.
 *
 *	STATE/approved/SITE.list		lib/io/approvals.h
 *	STATE/approved/hosts/HOST.evidence	its last good quote, packed
 *	STATE/approved/logs/SHA256.log		of an entry of any list
 *
 * Ours is pushed by the operator, who has the policy key; it goes to our
 * agents and to the managers of other sites, which hand it on to theirs. Who
 * is told a list older than what he has sends his back: a manager whose state
 * was restored from a time before learns so.
 */
#ifndef LY_MANAGER_IO_POLICY_H
#define LY_MANAGER_IO_POLICY_H

#include "lib/attest/appraise.h"
#include "manager/io/manager.h"

LY_MUST enum ly_rc ly_policy_open(struct ly_manager *m, struct ly_why *why);
void ly_policy_close(struct ly_manager *m);

/* NULL: no list of that site. Good until the loop goes on. */
const struct ly_approved *ly_policy_list(struct ly_manager *m,
    const char *site);
/* The same as bytes; none: {NULL, 0}. */
struct ly_bytes ly_policy_bytes(struct ly_manager *m, const char *site);
/* The Name of the site's pinned policy key (struct ly_call, `policy`).
 * LY_UNKNOWN: none is pinned. */
LY_MUST enum ly_rc ly_policy_name(struct ly_manager *m, const char *site,
    uint8_t name[LY_TPM_NAME], struct ly_why *why);
/* For struct ly_appraise: `arg` is the manager. What it gives is good until it
 * is asked again. */
struct ly_bytes ly_policy_log(void *arg, const uint8_t sha256[32]);

/* A quote of our host that was believed, whatever state it shows: what the
 * operator may approve by `--from-host`. Kept over a restart; a failure to
 * keep it is logged, and changes nothing else. */
void ly_policy_note(struct ly_manager *m, const char *host,
    const struct ly_evidence *ev);
/* The last that was noted; `*bytes` holds what *out borrows: free() it.
 * LY_UNKNOWN: none was. */
LY_MUST enum ly_rc ly_policy_noted(struct ly_manager *m, const char *host,
    struct ly_evidence *out, uint8_t **bytes, struct ly_why *why);
/* Its event log is kept, in case its state is approved. */
LY_MUST enum ly_rc ly_policy_keep_log(struct ly_manager *m, struct ly_bytes log,
    uint8_t sha256[32], struct ly_why *why);

/* Believes `pem` as the policy key of `site` from now on; NULL: leaves it. */
LY_MUST enum ly_rc ly_policy_pin(struct ly_manager *m, const char *site,
    const char *pem, struct ly_why *why);
/* Ours, from the operator: the pinned key has signed it, and its serial is
 * higher than that of the last. */
LY_MUST enum ly_rc ly_policy_push(struct ly_manager *m, struct ly_bytes list,
    struct ly_why *why);

void ly_policy_tell_agent(struct ly_manager *m, struct ly_conn *c);
void ly_policy_tell_site(struct ly_manager *m, struct ly_conn *c);
/* From `from`, on `c`: an agent of ours, or the manager of another site. */
void ly_policy_hear(struct ly_manager *m, struct ly_conn *c,
    const struct ly_place *from, const struct ly_approved_told *t);
/* A log, or the wish for one, from the manager of another site. */
void ly_policy_hear_log(struct ly_manager *m, struct ly_conn *c,
    const struct ly_bootlog *b);

#endif
