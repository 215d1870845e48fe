/* SPDX-License-Identifier: Apache-2.0 */
/* `attest`: a VM or a host, by what its name says. */
#include "manager/api/call.h"
#include "manager/io/attest.h"

void
ly_api_attest(const struct ly_api_call *c)
{
	const char *what = ly_api_text(c->r, "what");
	struct ly_vm *vm = NULL;
	struct ly_host *h = NULL;
	struct ly_why why, no_vm;

	if (ly_roster_find_vm(&c->m->roster, what, &vm, &no_vm) != LY_OK)
		vm = NULL;
	if (ly_roster_find_host(&c->m->roster, what, &h, &why) != LY_OK)
		h = NULL;
	if (!vm && !h) {
		(void)ly_fail(&why, LY_UNKNOWN,
		    "there is no VM and no host \"%s\"", what);
		ly_api_no(c, LY_UNKNOWN, &why);
	} else if (vm && h) {
		(void)ly_fail(&why, LY_REFUSED,
		    "%s is a VM and a host: say SITE/HOST, or the VM's id",
		    what);
		ly_api_no(c, LY_REFUSED, &why);
	} else if (vm) {
		ly_attest_vm(c->m, c->client, vm);
	} else {
		ly_attest_host(c->m, c->client, h);
	}
}
