/* SPDX-License-Identifier: Apache-2.0 */
/* manager/store: what was put is there; what failed has changed nothing. */
#include "manager/store/store.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

static char dir[64], path[96];

static struct ly_store *
open_it(void)
{
	struct ly_store *s = NULL;
	struct ly_why why = { "" };

	if (ly_store_open(path, &s, &why) != LY_OK)
		fail_msg("%s", why.text);
	return s;
}

static int
setup(void **state)
{
	(void)state;
	ly_print(dir, sizeof(dir), "%s", "/tmp/lanyard-store-XXXXXX");
	assert_non_null(mkdtemp(dir));
	ly_print(path, sizeof(path), "%s/lanyard.db", dir);
	return 0;
}

static int
teardown(void **state)
{
	char cmd[128];

	(void)state;
	ly_print(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static struct ly_vm_row
vm_row(const char *name)
{
	struct ly_vm_row r = { .id = { { 9, 1 } },
		.bound = 1,
		.epoch = UINT64_C(1) << 40,
		.definition = "{\"memory\":256,\"name\":\"\\u00fc\"}" };

	ly_copy(r.name, sizeof(r.name), name);
	ly_copy((char *)r.id.b, 8, name);
	return r;
}

static void
get(struct ly_store *s, const struct ly_vm_row *want)
{
	struct ly_vm_row got;
	char key[LY_KEY_MAX];

	ly_row_key(LY_ROW_VM, want, key);
	assert_int_equal(ly_store_get(s, LY_ROW_VM, key, &got, NULL), LY_OK);
	assert_memory_equal(&got, want, sizeof(got));
}

static void
a_row_that_was_put_is_there_after_a_reopen(void **state)
{
	struct ly_store *s = open_it();
	struct ly_vm_row row = vm_row("web1");

	(void)state;
	assert_int_equal(ly_store_put(s, LY_ROW_VM, &row, "added", NULL),
	    LY_OK);
	row.epoch++;
	assert_int_equal(ly_store_put(s, LY_ROW_VM, &row, "moved", NULL),
	    LY_OK);
	ly_store_close(s);
	s = open_it();
	get(s, &row);
	ly_store_close(s);
}

static enum ly_rc
count(void *arg, const void *row, struct ly_why *why)
{
	(void)row;
	(void)why;
	(*(unsigned *)arg)++;
	return LY_OK;
}

static unsigned
how_many(struct ly_store *s, enum ly_row_kind kind)
{
	unsigned n = 0;

	assert_int_equal(ly_store_each(s, kind, count, &n, NULL), LY_OK);
	return n;
}

static void
kinds_are_kept_apart_and_a_row_can_be_deleted(void **state)
{
	struct ly_store *s = open_it();
	struct ly_host_row host = { .name = "n1", .address = "127.0.0.1:1" };
	struct ly_peer_row peer = { .site = "n1" };

	(void)state;
	assert_int_equal(ly_store_put(s, LY_ROW_HOST, &host, NULL, NULL),
	    LY_OK);
	assert_int_equal(ly_store_put(s, LY_ROW_PEER, &peer, NULL, NULL),
	    LY_OK);
	assert_int_equal(how_many(s, LY_ROW_HOST), 1);
	assert_int_equal(ly_store_del(s, LY_ROW_HOST, "n1", NULL, NULL), LY_OK);
	assert_int_equal(how_many(s, LY_ROW_HOST), 0);
	assert_int_equal(how_many(s, LY_ROW_PEER), 1);
	assert_int_equal(ly_store_get(s, LY_ROW_HOST, "n1", &host, NULL),
	    LY_UNKNOWN);
	ly_store_close(s);
}

static void
a_locked_database_refuses_and_says_so(void **state)
{
	struct ly_store *s = open_it();
	struct ly_vm_row row = vm_row("web1");
	struct ly_why why = { "" };
	sqlite3 *other;

	(void)state;
	assert_int_equal(ly_store_put(s, LY_ROW_VM, &row, NULL, NULL), LY_OK);
	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL,
			     NULL),
	    SQLITE_OK);
	row.epoch = 77;
	assert_int_equal(ly_store_put(s, LY_ROW_VM, &row, "x", &why),
	    LY_OUTSIDE);
	assert_non_null(strstr(why.text, "locked"));
	assert_string_equal(ly_store_health(s), why.text);
	sqlite3_close(other);
	row = vm_row("web1");
	get(s, &row);
	assert_int_equal(ly_store_put(s, LY_ROW_VM, &row, "x", &why), LY_OK);
	assert_string_equal(ly_store_health(s), "good");
	ly_store_close(s);
}

/* The kernel says EFBIG where a full disk says ENOSPC. */
static void
a_full_disk_refuses_and_nothing_is_half_written(void **state)
{
	struct ly_store *s = open_it();
	struct rlimit was, small = { 0, 0 };
	struct ly_why why = { "" };
	struct ly_vm_row row;
	unsigned put = 0;
	char name[LY_NAME_MAX];

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &was);
	small.rlim_cur = 200000;
	small.rlim_max = was.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	for (;; put++) {
		ly_print(name, sizeof(name), "w%u", put);
		row = vm_row(name);
		if (ly_store_put(s, LY_ROW_VM, &row, "x", &why) != LY_OK)
			break;
		assert_true(put < 10000);
	}
	setrlimit(RLIMIT_FSIZE, &was);
	assert_true(put > 0);
	assert_string_not_equal(ly_store_health(s), "good");
	assert_int_equal(how_many(s, LY_ROW_VM), put);
	assert_int_equal(ly_store_put(s, LY_ROW_VM, &row, "x", &why), LY_OK);
	ly_store_close(s);
	s = open_it();
	assert_int_equal(how_many(s, LY_ROW_VM), put + 1);
	ly_store_close(s);
}

static void
a_database_of_a_later_version_is_left_alone(void **state)
{
	struct ly_store *s = NULL;
	struct ly_why why = { "" };
	sqlite3 *db;

	(void)state;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 9", NULL, NULL,
			     NULL),
	    SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(ly_store_open(path, &s, &why), LY_REFUSED);
	assert_non_null(strstr(why.text, "later"));
}

static void
a_file_that_is_no_database_is_an_error(void **state)
{
	struct ly_store *s = NULL;
	struct ly_why why = { "" };
	FILE *f = fopen(path, "w");

	(void)state;
	for (int i = 0; i < 5000; i++)
		fputs("not a database ", f);
	fclose(f);
	assert_int_equal(ly_store_open(path, &s, &why), LY_OUTSIDE);
	assert_non_null(strstr(why.text, path));
}

static void
a_row_that_makes_no_sense_names_its_field(void **state)
{
	struct ly_store *s = open_it();
	struct ly_peer_row row;
	struct ly_why why = { "" };

	(void)state;
	assert_int_equal(s->ops->put(s, LY_ROW_PEER, "x", "{\"site\":12}", NULL,
			     &why),
	    LY_OK);
	assert_int_equal(ly_store_get(s, LY_ROW_PEER, "x", &row, &why),
	    LY_OUTSIDE);
	assert_non_null(strstr(why.text, "\"site\""));
	ly_store_close(s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_row_that_was_put_is_there_after_a_reopen),
		T(kinds_are_kept_apart_and_a_row_can_be_deleted),
		T(a_locked_database_refuses_and_says_so),
		T(a_full_disk_refuses_and_nothing_is_half_written),
		T(a_database_of_a_later_version_is_left_alone),
		T(a_file_that_is_no_database_is_an_error),
		T(a_row_that_makes_no_sense_names_its_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
