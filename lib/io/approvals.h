/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The approved states of each site, as a manager or an agent has them: the
 * newest list that was heard of, in memory and in a directory, SITE.list.
 *
 * A list is believed when the policy key pinned for its site has signed it:
 * TRUST/SITE.policy.pem, a public key, beside the site's CA. Who brought it
 * does not matter. A list with a lower serial never takes the place of one with
 * a higher; and two different ones of one serial are a policy authority that
 * has lost count: the second is refused.
 *
 * The pinned key is read each time it is needed. Once another is pinned, what
 * the old one signed is not there any more.
 */
#ifndef LY_IO_APPROVALS_H
#define LY_IO_APPROVALS_H

#include "lib/attest/approved.h"

#define LY_APPROVALS_MOST 64 /* sites; more are refused */

enum ly_approvals_news {
	LY_APPROVALS_SAME = 0, /* it is what we have */
	LY_APPROVALS_NEWER,    /* it is what we have now */
	LY_APPROVALS_OLDER,    /* left where it was: ours may be sent back */
};

struct ly_approvals;

/* Reads what `dir` has (made if there is none); a file in it that the pinned
 * key has not signed is left alone, with a warning. `trust` is the directory
 * of the pinned keys. ly_approvals_free() it. */
LY_MUST enum ly_rc ly_approvals_open(const char *dir, const char *trust,
    struct ly_approvals **out, struct ly_why *why);
void ly_approvals_free(struct ly_approvals *a);

/* On disk before in memory. LY_REFUSED: not signed by the pinned key, or
 * another of a serial we have. LY_UNKNOWN: no key is pinned for that site. */
LY_MUST enum ly_rc ly_approvals_take(struct ly_approvals *a, const char *site,
    struct ly_bytes list, enum ly_approvals_news *news, struct ly_why *why);

/* NULL when there is none; good until the next _take(). */
const struct ly_approved *ly_approvals_of(struct ly_approvals *a,
    const char *site);
/* The same as bytes; none: {NULL, 0}. */
struct ly_bytes ly_approvals_bytes(struct ly_approvals *a, const char *site);
/* The i-th site that there is a list of; NULL past the end. */
const char *ly_approvals_site(struct ly_approvals *a, unsigned i);

/* The policy key that is pinned for a site. LY_UNKNOWN when there is none. */
LY_MUST enum ly_rc ly_approvals_key(const struct ly_approvals *a,
    const char *site, struct ly_point *out, struct ly_why *why);

#endif
