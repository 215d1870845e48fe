/* SPDX-License-Identifier: Apache-2.0 */
/* manager/plan: who goes where, in which order, and why not. */
#include "tests/test.h"

#include "manager/plan/plan.h"

static struct ly_plan_host hosts[4];
static struct ly_plan_vm vms[64];
static struct ly_plan plan;
static char names[64][8];

/* `n` VMs of 100 MiB, v00.., and so many hosts, h0.. */
static void
scene(size_t vms_n, size_t hosts_n)
{
	static const char *const host_names[] = { "b/h0", "b/h1", "b/h2",
		"b/h3" };

	memset(hosts, 0, sizeof(hosts));
	memset(vms, 0, sizeof(vms));
	for (size_t i = 0; i < hosts_n; i++)
		hosts[i].name = host_names[i];
	for (size_t i = 0; i < vms_n; i++) {
		ly_print(names[i], sizeof(names[i]), "v%02zu", i);
		vms[i].name = names[i];
		vms[i].memory_mb = 100;
	}
	plan = (struct ly_plan){ .hosts = hosts,
		.hosts_n = hosts_n,
		.vms = vms,
		.vms_n = vms_n };
}

static struct ly_plan_vm *
vm(const char *name)
{
	for (size_t i = 0; i < plan.vms_n; i++)
		if (strcmp(vms[i].name, name) == 0)
			return &vms[i];
	test_fail(__FILE__, __LINE__, "no %s", name);
}

TEST(equals_are_spread_evenly)
{
	scene(9, 3);
	WANT_INT(ly_plan_make(&plan), 9);
	for (size_t i = 0; i < 3; i++)
		WANT_INT(hosts[i].vms, 3);
	WANT_INT(vm("v00")->host, 0);
	WANT_INT(vm("v01")->host, 1);
	WANT_INT(vm("v02")->host, 2);
	WANT_INT(vm("v03")->host, 0);
}

TEST(a_host_that_has_vms_already_gets_fewer)
{
	scene(4, 2);
	hosts[0].vms = 2;
	WANT_INT(ly_plan_make(&plan), 4);
	WANT_INT(hosts[0].vms, 3);
	WANT_INT(hosts[1].vms, 3);
}

TEST(of_hosts_with_as_many_vms_the_one_with_less_memory_in_use_is_taken)
{
	scene(1, 2);
	hosts[0].vms = hosts[1].vms = 1;
	hosts[0].memory_mb = 200;
	WANT_INT(ly_plan_make(&plan), 1);
	WANT_INT(vms[0].host, 1);
}

TEST(high_priority_goes_first_and_equals_by_name)
{
	static const char *const order[] = { "v03", "v01", "v00", "v02",
		"v04" };

	scene(5, 1);
	vm("v03")->priority = 900;
	vm("v01")->priority = 500;
	WANT_INT(ly_plan_make(&plan), 5);
	for (size_t i = 0; i < 5; i++)
		WANT_STR(vms[i].name, order[i]);
}

TEST(who_is_first_gets_the_last_place)
{
	scene(3, 1);
	hosts[0].vms_most = 1;
	vm("v02")->priority = 1;
	WANT_INT(ly_plan_make(&plan), 1);
	WANT_INT(vm("v02")->host, 0);
	WANT_INT(vm("v00")->host, LY_PLAN_NOWHERE);
	WANT_STR(vm("v00")->why.text, "b/h0 is full: 1 of 1 VMs");
}

TEST(no_host_gets_more_vms_than_it_has_room_for)
{
	scene(20, 3);
	hosts[0].vms_most = 2;
	hosts[0].vms = 1;
	hosts[1].vms_most = 5;
	hosts[2].vms_most = 4;
	WANT_INT(ly_plan_make(&plan), 10);
	WANT_INT(hosts[0].vms, 2);
	WANT_INT(hosts[1].vms, 5);
	WANT_INT(hosts[2].vms, 4);
}

TEST(no_host_gets_more_memory_than_it_has)
{
	scene(6, 1);
	hosts[0].memory_most = 350;
	WANT_INT(ly_plan_make(&plan), 3);
	WANT_INT(hosts[0].memory_mb, 300);
	WANT(strstr(vm("v05")->why.text, "300 of 350 MiB, and it needs 100"));
}

/* What does not fit leaves room for what does. */
TEST(a_large_vm_that_has_no_place_does_not_keep_a_small_one_out)
{
	scene(2, 1);
	hosts[0].memory_most = 350;
	vm("v00")->memory_mb = 400;
	vm("v00")->priority = 9;
	WANT_INT(ly_plan_make(&plan), 1);
	WANT_INT(vm("v01")->host, 0);
	WANT_INT(vm("v00")->host, LY_PLAN_NOWHERE);
}

TEST(memory_that_overflows_is_no_room)
{
	scene(1, 1);
	hosts[0].memory_most = 350;
	vms[0].memory_mb = UINT64_MAX;
	WANT_INT(ly_plan_make(&plan), 0);
	vms[0].memory_mb = 100;
	hosts[0].memory_mb = UINT64_MAX;
	WANT_INT(ly_plan_make(&plan), 0);
}

TEST(a_vm_that_cannot_move_says_why_and_takes_no_place)
{
	scene(2, 1);
	hosts[0].vms_most = 1;
	vm("v00")->no = "it is off";
	vm("v00")->priority = 9;
	WANT_INT(ly_plan_make(&plan), 1);
	WANT_STR(vm("v00")->why.text, "it is off");
	WANT_INT(vm("v01")->host, 0);
}

TEST(a_host_that_takes_none_is_not_taken_and_its_reason_is_told_once)
{
	scene(1, 3);
	hosts[0].no = "b/h0 is not connected";
	WANT_INT(ly_plan_make(&plan), 1);
	WANT_INT(vms[0].host, 1);
	hosts[1].no = hosts[0].no;
	hosts[2].no = "b/h2 was revoked";
	WANT_INT(ly_plan_make(&plan), 0);
	WANT_STR(vms[0].why.text, "b/h0 is not connected; b/h2 was revoked");
	plan.hosts_n = 0;
	WANT_INT(ly_plan_make(&plan), 0);
	WANT_STR(vms[0].why.text, "there is no host to move it to");
}

static enum ly_rc
not_odd(void *arg, const struct ly_plan_vm *v, const struct ly_plan_host *h,
    struct ly_why *why)
{
	(void)arg;
	if ((v->name[2] - '0') % 2 && strcmp(h->name, "b/h0") == 0)
		return ly_fail(why, LY_REFUSED, "%s is odd", v->name);
	return LY_OK;
}

TEST(policy_is_asked_of_each_vm_and_host)
{
	scene(4, 2);
	plan.may = not_odd;
	WANT_INT(ly_plan_make(&plan), 4);
	WANT_INT(vm("v01")->host, 1);
	WANT_INT(vm("v03")->host, 1);
	plan.hosts_n = 1;
	hosts[0].vms = 0;
	WANT_INT(ly_plan_make(&plan), 2);
	WANT_STR(vm("v03")->why.text, "v03 is odd");
}

/* Against a sort that is plain to see. */
TEST(many_vms_are_in_order)
{
	uint32_t seed = 7;

	scene(64, 1);
	for (size_t i = 0; i < 64; i++) {
		seed = seed * 1664525u + 1013904223u;
		vms[i].priority = seed >> 29;
	}
	WANT_INT(ly_plan_make(&plan), 64);
	for (size_t i = 1; i < 64; i++)
		WANT(vms[i - 1].priority > vms[i].priority ||
		    (vms[i - 1].priority == vms[i].priority &&
			strcmp(vms[i - 1].name, vms[i].name) < 0));
	scene(0, 1);
	WANT_INT(ly_plan_make(&plan), 0);
}

TEST_MAIN()
