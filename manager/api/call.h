/* SPDX-License-Identifier: Apache-2.0 */
/* One request of a caller, for the files that have the verbs. Each answers once,
 * now or later, by its client. */
#ifndef LY_MANAGER_API_CALL_H
#define LY_MANAGER_API_CALL_H

#include "manager/api/api.h"
#include "manager/io/manager.h"

struct ly_api_call {
	struct ly_manager *m;
	uint64_t client;
	const struct ly_api_request *r;
};

typedef void ly_api_verb(const struct ly_api_call *c);

/* The final answer: no, and why; or yes, with what `answer` says (taken). */
void ly_api_no(const struct ly_api_call *c, enum ly_rc rc,
    const struct ly_why *why);
void ly_api_yes(const struct ly_api_call *c, json_t *answer);

/* What "vm" names; NULL: there is none, and that was the answer. */
struct ly_vm *ly_api_vm(const struct ly_api_call *c);
/* The same for the host that `key` names; `ours`: only of this site, and then
 * a bare name means one. */
struct ly_host *ly_api_host(const struct ly_api_call *c, const char *key,
    bool ours);

/* ---- enrol.c ---- */
ly_api_verb ly_api_host_set, ly_api_host_enroll, ly_api_host_unfreeze;
/* The keys "ek" and "class", if they are there. */
LY_MUST enum ly_rc ly_api_take_inventory(const struct ly_api_call *c,
    struct ly_host_row *row, struct ly_why *why);

/* ---- attest.c ---- */
ly_api_verb ly_api_attest;

/* ---- audit.c ---- */
ly_api_verb ly_api_audit, ly_api_audit_accept, ly_api_audit_receipt;

/* ---- policy.c ---- */
ly_api_verb ly_api_policy_show, ly_api_policy_host, ly_api_policy_push,
    ly_api_vm_pcrs;

/* ---- evacuate.c ---- */
ly_api_verb ly_api_vm_set, ly_api_evacuate, ly_api_evacuate_cancel;

#endif
