/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmocka, so that a test is named as a sentence and registers itself:
 *
 *	TEST(a_command_caught_by_a_migration_runs_once)
 *	{
 *		WANT(home.seq == 7);
 *		WANT_INT(count(&todo, LY_ACT_RUN), 1);
 *	}
 *
 *	TEST_MAIN()
 *
 * Tests run in the order they are written. An argument to the program chooses
 * some, as a shell pattern: `test_home '*migration*'`. What fails leaves the
 * test at once; SKIP says why, for the run to show. For use in one source per
 * program, which includes this once.
 */
#ifndef LY_TESTS_TEST_H
#define LY_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/base.h"

/* More than that in one file, and the program says so and stops. */
#define TESTS_MAX 256

static struct CMUnitTest test_list[TESTS_MAX];
static size_t test_list_n;

/* `name` becomes a sentence in place. */
static void
test_add(char *name, CMUnitTestFunction run)
{
	if (test_list_n == TESTS_MAX) {
		fprintf(stderr, "more than %d tests in one file\n", TESTS_MAX);
		abort();
	}
	for (char *c = name; *c; c++)
		if (*c == '_')
			*c = ' ';
	test_list[test_list_n++] = (struct CMUnitTest){ .name = name,
		.test_func = run };
}

#define TEST(name)                                                             \
	static void name(void **);                                             \
	__attribute__((constructor)) static void test_add_##name(void)         \
	{                                                                      \
		static char sentence[] = #name;                                \
		test_add(sentence, name);                                      \
	}                                                                      \
	static void name(void **test_state LY_UNUSED)

#define TEST_MAIN()                                                            \
	int main(int argc, char **argv)                                        \
	{                                                                      \
		return test_run(argc, argv);                                   \
	}

static inline int
test_run(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests(argv[0], test_list, test_list_n, NULL,
	    NULL);
}

#define WANT(cond)                                                             \
	do {                                                                   \
		if (!(cond))                                                   \
			test_fail(__FILE__, __LINE__, "%s", #cond);            \
	} while (0)

/* Whole numbers of any type, enums too; compared and shown as 64 bits. */
#define WANT_INT(is, want)                                                     \
	test_int(__FILE__, __LINE__, #is, (intmax_t)(is), (intmax_t)(want))
/* Strings; NULL is only like NULL. */
#define WANT_STR(is, want) test_str(__FILE__, __LINE__, #is, (is), (want))
#define WANT_MEM(is, want, len)                                                \
	test_mem(__FILE__, __LINE__, #is, (is), (want), (len))

#define SKIP(...)                                                              \
	do {                                                                   \
		print_message("skip: " __VA_ARGS__);                           \
		print_message("\n");                                           \
		skip();                                                        \
	} while (0)

static inline void test_fail(const char *file, int line, const char *fmt, ...)
    LY_PRINTF(3, 4) __attribute__((noreturn));

static inline void
test_fail(const char *file, int line, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	print_error("not so: %s\n", text);
	_fail(file, line);
	abort();
}

static inline void
test_int(const char *file, int line, const char *expr, intmax_t is,
    intmax_t want)
{
	if (is != want)
		test_fail(file, line, "%s is %jd (0x%jx), not %jd (0x%jx)",
		    expr, is, (uintmax_t)is, want, (uintmax_t)want);
}

static inline void
test_str(const char *file, int line, const char *expr, const char *is,
    const char *want)
{
	if (is == want || (is && want && strcmp(is, want) == 0))
		return;
	test_fail(file, line, "%s is\n\t\"%s\", not\n\t\"%s\"", expr,
	    is ? is : "(null)", want ? want : "(null)");
}

/* 16 bytes from where they begin to differ. */
static inline void
test_mem_show(char out[64], const uint8_t *b, size_t from, size_t len)
{
	size_t n = ly_min(len - from, 16);

	out[0] = '\0';
	for (size_t i = 0; i < n; i++)
		snprintf(out + 3 * i, 4, " %02x", b[from + i]);
}

static inline void
test_mem(const char *file, int line, const char *expr, const void *is,
    const void *want, size_t len)
{
	const uint8_t *a = is, *b = want;
	char a_text[64], b_text[64];
	size_t at = 0;

	while (at < len && a[at] == b[at])
		at++;
	if (at == len)
		return;
	test_mem_show(a_text, a, at, len);
	test_mem_show(b_text, b, at, len);
	test_fail(file, line, "%s: byte %zu of %zu: is%s, not%s", expr, at, len,
	    a_text, b_text);
}

#endif
