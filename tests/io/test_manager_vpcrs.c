/* SPDX-License-Identifier: Apache-2.0 */
/* timeout: 120 */
/*
 * What a VM's own TPM has to show when it moves: its home n1 reads its PCRs,
 * and the manager holds them against what the operator expects.
 */
#include "tests/io/attest_scene.h"

#include "manager/policy/appraise.h"

static void
moves(int f)
{
	struct ly_mig_row row = migrate(f);

	if (row.state != LY_SAGA_CLEANED)
		test_fail(__FILE__, __LINE__, "%s", row.why);
}

static void
stays(int f, const char *why)
{
	struct ly_mig_row row = migrate(f);

	WANT_INT(row.state, LY_SAGA_ABORTED);
	if (!strstr(row.why, why))
		test_fail(__FILE__, __LINE__, "%s", row.why);
	WANT_INT(fakes[N1].asked[LY_COPY], 0);
}

static void
begin(void)
{
	struct ly_vm *vm;

	scene();
	tpms[N1].vpcrs = 0;
	go_home();
	vm = web1();
	vm->vpcr_rule = LY_VPCR_ANY;
	vm->vpcrs_known = false;
	for (int f = 0; f < FAKES; f++)
		memset(fakes[f].asked, 0, sizeof(fakes[f].asked));
}

TEST(a_vm_of_which_nothing_is_expected_moves_and_is_remembered)
{
	begin();
	moves(S1);
	WANT(web1()->vpcrs_known);
	WANT_INT(web1()->vpcrs[31], 0x50);
	tpms[N1].vpcrs = 0x51;
	moves(N1);
	WANT_INT(web1()->vpcrs[31], 0x51);
}

TEST(a_vm_that_has_to_stay_unchanged_does_not_move_when_it_is_not)
{
	begin();
	web1()->vpcr_rule = LY_VPCR_LAST;
	moves(S1); /* nothing is known of it yet */
	moves(N1);
	memset(fakes[N1].asked, 0, sizeof(fakes[N1].asked));
	tpms[N1].vpcrs = 0x51;
	stays(S1,
	    "home: the PCRs of the VM's TPM have changed since it was"
	    " appraised last");
	WANT_INT(web1()->vpcrs[0], 0x50);
}

TEST(what_is_pinned_is_pinned_over_restarts_of_the_manager)
{
	begin();
	web1()->vpcr_rule = LY_VPCR_PINNED;
	web1()->vpcrs_known = true;
	memset(web1()->vpcrs, 0x52, 32);
	SITE_OK(ly_vm_save(mgr[NORTH], web1(), NULL, NULL, &why));
	kill_manager(NORTH);
	scene();
	WANT_INT(web1()->vpcr_rule, LY_VPCR_PINNED);
	stays(S1,
	    "home: the PCRs of the VM's TPM are not those that are"
	    " pinned");
	tpms[N1].vpcrs = 0x52;
	moves(S1);
	moves(N1);
	WANT_INT(web1()->vpcrs[0], 0x52);
}

TEST_MAIN()
