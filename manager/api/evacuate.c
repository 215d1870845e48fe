/* SPDX-License-Identifier: Apache-2.0 */
/* Emptying a place, and who is first. */
#include "manager/api/call.h"

#include "manager/io/evacuate.h"

void
ly_api_vm_set(const struct ly_api_call *c)
{
	struct ly_vm *vm = ly_api_vm(c);
	uint32_t was;
	struct ly_why why;
	enum ly_rc rc;

	if (!vm)
		return;
	was = vm->priority;
	vm->priority = (uint32_t)ly_api_uint(c->r, "priority");
	rc = ly_vm_save(c->m, vm, NULL, "priority set", &why);
	if (rc == LY_OK) {
		ly_api_yes(c, ly_view_vm(c->m, vm));
	} else {
		vm->priority = was;
		ly_api_no(c, rc, &why);
	}
}

void
ly_api_evacuate(const struct ly_api_call *c)
{
	bool wait = ly_api_bool(c->r, "wait");
	char who[64];
	struct ly_evac_wish w = { .from = ly_api_text(c->r, "from"),
		.to = ly_api_text(c->r, "to"),
		.parallel = (uint32_t)ly_api_uint(c->r, "parallel"),
		.bandwidth = ly_api_uint(c->r, "bandwidth"),
		.who = ly_api_who(c->m, c->client, who) };
	json_t *plan = NULL;
	struct ly_why why = { "" };
	enum ly_rc rc;

	/* Before it is begun: what it says of the plan is the same. */
	rc = ly_evac_plan(c->m, &w, &plan, &why);
	if (rc == LY_OK && !ly_api_bool(c->r, "dry_run"))
		rc = ly_evac_begin(c->m, &w, wait ? c->client : 0, &why);
	else
		wait = false;
	if (rc != LY_OK)
		ly_api_no(c, rc, &why);
	else if (!wait)
		ly_api_yes(c, json_incref(plan));
	json_decref(plan);
}

void
ly_api_evacuate_cancel(const struct ly_api_call *c)
{
	struct ly_why why = { "" };
	unsigned running = 0;
	enum ly_rc rc = ly_evac_cancel(c->m, ly_api_text(c->r, "from"),
	    &running, &why);

	if (rc == LY_OK)
		ly_api_yes(c, json_pack("{s:i}", "running", (int)running));
	else
		ly_api_no(c, rc, &why);
}
