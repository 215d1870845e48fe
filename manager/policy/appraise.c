/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/policy/appraise.h"

static const char *const rules[LY_VPCR_RULES] = { "any", "unchanged",
	"pinned" };

const char *
ly_vpcr_rule_name(unsigned rule)
{
	return rule < LY_VPCR_RULES ? rules[rule] : "?";
}

static enum ly_rc
check_vpcrs(const struct ly_appraise_pair *p, struct ly_why *why)
{
	if (p->rule == LY_VPCR_ANY ||
	    ly_same(p->home->vpcrs, p->vpcrs, sizeof(p->vpcrs)))
		return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    p->rule == LY_VPCR_LAST ?
		"home: the PCRs of the VM's TPM have changed since it was"
		" appraised last" :
		"home: the PCRs of the VM's TPM are not those that are pinned");
}

enum ly_rc
ly_appraise_pair(const struct ly_appraise_pair *p, struct ly_why *why)
{
	const struct ly_context *at = p->place, *home = p->home;

	if (!ly_id_same(&at->vm, &home->vm) ||
	    !ly_id_same(&at->mig, &home->mig) ||
	    !ly_same(at->nonce, home->nonce, sizeof(at->nonce)))
		return ly_fail(why, LY_REFUSED,
		    "home: it answers another call than %s", at->self);
	if (at->epoch != home->epoch)
		return ly_fail(why, LY_REFUSED,
		    "home: the VM's epoch is %llu there, and %llu at %s",
		    (unsigned long long)home->epoch,
		    (unsigned long long)at->epoch, at->self);
	if (strcmp(home->source, at->self) != 0)
		return ly_fail(why, LY_REFUSED,
		    "home: the VM's TPM is held by %s, not by %s",
		    home->source[0] ? home->source : "nobody", at->self);
	if (!ly_same(home->holder_hk, at->hk, sizeof(at->hk)))
		return ly_fail(why, LY_REFUSED,
		    "home: who holds the VM's TPM has another TLS key than %s"
		    " has quoted",
		    at->self);
	return check_vpcrs(p, why);
}
