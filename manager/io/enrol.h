/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enrolment's shell: hosts of our site that are asked to prove themselves, and
 * what they have proved (manager/enrol says when and whether). A host is asked
 * when it connects without the certificate that it should have, at half that
 * certificate's life, when the list of approved states has changed, and when
 * the operator wishes; with `attest = no` only then, or once it was enrolled.
 *
 * What a host has proved is a row of the store (struct ly_enrol_row); its last
 * evidence, with its event log, is kept by policy.h. A host whose state is in no list of approved ones,
 * although there is a list, is enrolled all the same: it is known which machine
 * it is, and what differs is worth showing. It is marked, in its row, in its
 * certificate (approval 0) and to other sites, and nothing is moved there.
 */
#ifndef LY_MANAGER_IO_ENROL_H
#define LY_MANAGER_IO_ENROL_H

#include "manager/enrol/enrol.h"
#include "manager/enrol/judge.h"
#include "manager/io/manager.h"

#define LY_CLASS_DEFAULT "default" /* of a host that was given none */

/* The host can be asked, or no more. */
void ly_enrol_up(struct ly_manager *m, struct ly_host *h);
void ly_enrol_down(struct ly_manager *m, struct ly_host *h);
/* A site's list of approved states has changed. */
void ly_enrol_list(struct ly_manager *m);
/* Its class or EK was set anew: what it has proved is looked at again. */
void ly_enrol_again(struct ly_manager *m, struct ly_host *h);
/* Its certificates were taken back: it has none any more. */
void ly_enrol_revoked(struct ly_manager *m, struct ly_host *h);
/* The host is removed: with its row. */
void ly_enrol_drop(struct ly_manager *m, struct ly_host *h);
void ly_enrol_tick(struct ly_manager *m);
LY_MUST enum ly_rc ly_enrol_load(struct ly_manager *m, struct ly_why *why);
void ly_enrol_fini(struct ly_manager *m);

/* For an operator. `client` is answered when the attempt is over; 0: nobody
 * waits. LY_FULL: too many wait already. */
LY_MUST enum ly_rc ly_enrol_wish(struct ly_manager *m, struct ly_host *h,
    uint64_t client, struct ly_why *why);
LY_MUST enum ly_rc ly_enrol_unfreeze(struct ly_manager *m, struct ly_host *h,
    const char *who, struct ly_why *why);

/* "enrolled", "enrolled, unapproved", "frozen", "not enrolled", ...; for a host
 * of another site what its manager says. */
const char *ly_enrol_word(const struct ly_manager *m, const struct ly_host *h);
/* Why it is as it is, and what it has proved; nothing for other sites'. */
void ly_enrol_view(struct ly_manager *m, const struct ly_host *h, json_t *o);
/* What it has proved. LY_UNKNOWN: nothing. */
LY_MUST enum ly_rc ly_enrol_row(struct ly_manager *m, const char *host,
    struct ly_enrol_row *out, struct ly_why *why);
#endif
