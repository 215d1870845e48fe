/* SPDX-License-Identifier: Apache-2.0 */
/* manager/roster: names, places, and what is said of those there are none of. */
#include "manager/roster/roster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static int
setup(void **state)
{
	struct ly_roster *r = calloc(1, sizeof(*r));
	struct ly_roster_mem mem = {
		.hosts = calloc(LY_HOSTS_MAX, sizeof(struct ly_host)),
		.vms = calloc(LY_VMS_MAX, sizeof(struct ly_vm)),
		.buckets = calloc(3 * (size_t)LY_BUCKETS, sizeof(uint32_t)),
	};

	assert_non_null(r);
	ly_roster_init(r, "north", &mem);
	*state = r;
	return 0;
}

static int
teardown(void **state)
{
	struct ly_roster *r = *state;

	free(r->hosts);
	free(r->vms);
	free(r->by_host);
	free(r);
	return 0;
}

static struct ly_host *
host(struct ly_roster *r, const char *site, const char *name)
{
	struct ly_host *h;

	assert_int_equal(ly_roster_add_host(r, site, name, &h, NULL), LY_OK);
	return h;
}

static struct ly_id
id_of(uint32_t n)
{
	struct ly_id id = { { 1 } };

	memcpy(&id.b[4], &n, sizeof(n));
	return id;
}

static void
a_bare_host_name_will_do_while_one_site_has_it(void **state)
{
	struct ly_roster *r = *state;
	struct ly_host *n1 = host(r, "north", "n1"), *got;
	struct ly_why why;

	assert_ptr_equal(host(r, "north", "n1"), n1);
	assert_int_equal(ly_roster_find_host(r, "n1", &got, &why), LY_OK);
	assert_ptr_equal(got, n1);
	host(r, "south", "n1");
	assert_int_equal(ly_roster_find_host(r, "n1", &got, &why), LY_REFUSED);
	assert_non_null(strstr(why.text, "south/n1"));
	assert_non_null(strstr(why.text, "north/n1"));
	assert_int_equal(ly_roster_find_host(r, "north/n1", &got, &why), LY_OK);
	assert_ptr_equal(got, n1);
}

static void
an_unknown_host_yields_those_there_are(void **state)
{
	struct ly_roster *r = *state;
	struct ly_host *got = NULL;
	struct ly_why why;

	assert_int_equal(ly_roster_find_host(r, "x", &got, &why), LY_UNKNOWN);
	assert_non_null(strstr(why.text, "there are none"));
	host(r, "north", "n1");
	host(r, "south", "s1");
	assert_int_equal(ly_roster_find_host(r, "south/n1", &got, &why),
	    LY_UNKNOWN);
	assert_non_null(strstr(why.text, "there are north/n1, south/s1"));
	assert_int_equal(ly_roster_find_host(r, "a/b/c", &got, &why),
	    LY_UNKNOWN);
	assert_null(got);
}

static void
a_long_list_is_cut_and_says_so(void **state)
{
	struct ly_roster *r = *state;
	struct ly_host *got;
	struct ly_why why;
	char name[LY_NAME_MAX];

	for (unsigned i = 0; i < 200; i++) {
		ly_print(name, sizeof(name), "a-host-with-a-long-name-%u", i);
		host(r, "north", name);
	}
	assert_int_equal(ly_roster_find_host(r, "x", &got, &why), LY_UNKNOWN);
	assert_non_null(strstr(why.text, ", ..."));
}

static void
bad_names_are_refused(void **state)
{
	struct ly_roster *r = *state;
	static const char *const bad[] = { "", "A", "a/b", "../x", "a b", ".a",
		"a\n" };
	struct ly_id id = id_of(1);
	struct ly_host *h;
	struct ly_vm *vm;

	for (size_t i = 0; i < LY_COUNT(bad); i++) {
		assert_int_equal(ly_roster_add_host(r, "north", bad[i], &h,
				     NULL),
		    LY_REFUSED);
		assert_int_equal(ly_roster_add_vm(r, &id, bad[i], &vm, NULL),
		    LY_REFUSED);
	}
}

static void
a_vm_is_found_by_name_and_by_id_until_it_is_removed(void **state)
{
	struct ly_roster *r = *state;
	struct ly_id id = id_of(7);
	struct ly_vm *vm, *got;
	struct ly_why why;
	char text[LY_ID_TEXT];

	assert_int_equal(ly_roster_add_vm(r, &id, "web1", &vm, NULL), LY_OK);
	assert_int_equal(ly_roster_find_vm(r, "web1", &got, &why), LY_OK);
	assert_ptr_equal(got, vm);
	assert_int_equal(ly_roster_find_vm(r, ly_id_text(&id, text), &got,
			     &why),
	    LY_OK);
	assert_int_equal(ly_roster_find_vm(r, "web2", &got, &why), LY_UNKNOWN);
	assert_non_null(strstr(why.text, "there are web1"));
	assert_int_equal(ly_roster_add_vm(r, &id, "web1", &got, NULL),
	    LY_REFUSED);
	ly_roster_drop_vm(r, vm);
	assert_int_equal(ly_roster_find_vm(r, "web1", &got, &why), LY_UNKNOWN);
	assert_null(ly_roster_vm(r, &id));
}

static void
a_guest_is_not_ours_and_keeps_its_home(void **state)
{
	struct ly_roster *r = *state;
	struct ly_id id = id_of(9);
	struct ly_vm *vm, *got;

	assert_int_equal(ly_roster_add_guest(r, &id, "south", &vm, NULL),
	    LY_OK);
	assert_int_equal(ly_roster_add_guest(r, &id, "south", &got, NULL),
	    LY_OK);
	assert_ptr_equal(vm, got);
	assert_int_equal(ly_roster_add_guest(r, &id, "west", &got, NULL),
	    LY_REFUSED);
	assert_int_equal(r->vms_here, 0);
	ly_roster_drop_vm(r, vm);
	assert_int_equal(ly_roster_add_vm(r, &id, "web1", &vm, NULL), LY_OK);
	assert_int_equal(ly_roster_add_guest(r, &id, "south", &got, NULL),
	    LY_REFUSED);
}

static void
a_hundred_thousand_vms_come_and_go(void **state)
{
	struct ly_roster *r = *state;
	struct ly_vm *vm;
	char name[LY_NAME_MAX];

	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < LY_VMS_MAX; i++) {
			struct ly_id id = id_of(i);

			ly_print(name, sizeof(name), "vm-%u", i);
			assert_int_equal(ly_roster_add_vm(r, &id, name, &vm,
					     NULL),
			    LY_OK);
		}
		struct ly_id more = id_of(LY_VMS_MAX);

		assert_int_equal(ly_roster_add_vm(r, &more, "more", &vm, NULL),
		    LY_FULL);
		for (uint32_t i = 0; i < LY_VMS_MAX; i++) {
			struct ly_id id = id_of(i);

			ly_roster_drop_vm(r, ly_roster_vm(r, &id));
		}
		assert_int_equal(r->vms_here, 0);
	}
}

static void
a_vm_is_said_to_be_what_its_host_last_said_if_it_can_be_heard(void **state)
{
	struct ly_roster *r = *state;
	struct ly_host *h = host(r, "north", "n1");
	struct ly_id id = id_of(3);
	struct ly_vm *vm;
	char text[LY_VM_TEXT];

	assert_int_equal(ly_roster_add_vm(r, &id, "web1", &vm, NULL), LY_OK);
	assert_non_null(strstr(ly_vm_text(r, vm, text), "not bound"));
	vm->bound = true;
	assert_string_equal(ly_vm_text(r, vm, text), "off");
	ly_place_set(&vm->at, "north", "n1");
	assert_string_equal(ly_vm_text(r, vm, text),
	    "unknown (north/n1 is not connected)");
	h->up = true;
	vm->known = true;
	vm->state = LY_VM_RUNNING;
	assert_string_equal(ly_vm_text(r, vm, text), "running");
	vm->lost = true;
	assert_string_equal(ly_vm_text(r, vm, text),
	    "down at north/n1 (host lost)");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_bare_host_name_will_do_while_one_site_has_it),
		T(an_unknown_host_yields_those_there_are),
		T(a_long_list_is_cut_and_says_so),
		T(bad_names_are_refused),
		T(a_vm_is_found_by_name_and_by_id_until_it_is_removed),
		T(a_guest_is_not_ours_and_keeps_its_home),
		T(a_hundred_thousand_vms_come_and_go),
		T(a_vm_is_said_to_be_what_its_host_last_said_if_it_can_be_heard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
