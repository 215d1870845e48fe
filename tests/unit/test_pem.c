/* SPDX-License-Identifier: Apache-2.0 */
/* manager/record/pem.c: what openssl(1) is to read. */
#include "tests/test.h"

#include "manager/record/pem.h"

static char out[1024];

static const char *
pem(const void *at, size_t len)
{
	struct ly_wr w = ly_wr_over(out, sizeof(out) - 1);

	ly_pem_put("X", at, len, &w);
	WANT(!w.bad);
	out[ly_wr_len(&w)] = '\0';
	return out;
}

#define PEM(body) "-----BEGIN X-----\n" body "-----END X-----\n"

TEST(bytes_become_letters_and_the_end_is_filled_up)
{
	WANT_STR(pem("", 0), PEM(""));
	WANT_STR(pem("f", 1), PEM("Zg==\n"));
	WANT_STR(pem("fo", 2), PEM("Zm8=\n"));
	WANT_STR(pem("foo", 3), PEM("Zm9v\n"));
	WANT_STR(pem("foobar", 6), PEM("Zm9vYmFy\n"));
	WANT_STR(pem("\xff\xfe\xfb", 3), PEM("//77\n"));
}

TEST(a_line_has_64_letters)
{
	uint8_t zeros[49] = { 0 };

	WANT_STR(pem(zeros, 48),
	    PEM("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		"AAAAAAAA\n"));
	WANT_STR(pem(zeros, 49),
	    PEM("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		"AAAAAAAA\nAA==\n"));
}

TEST(a_writer_that_is_too_small_says_so)
{
	struct ly_wr w = ly_wr_over(out, 20);

	ly_pem_put("X", "foo", 3, &w);
	WANT(w.bad);
}

static size_t
der(const uint8_t raw[64], uint8_t der_out[80])
{
	struct ly_wr w = ly_wr_over(der_out, 80);

	ly_der_sig_put(raw, &w);
	WANT(!w.bad);
	return ly_wr_len(&w);
}

/* Shortest form, and never negative. */
TEST(the_numbers_of_a_signature_are_written_as_der_wants_them)
{
	uint8_t raw[64] = { 0 }, got[80];
	static const uint8_t small[] = { 0x30, 6, 2, 1, 0, 2, 1, 0x7f };
	static const uint8_t high[] = { 0x30, 8, 2, 2, 0, 0x80, 2, 2, 1, 0 };

	raw[63] = 0x7f;
	WANT_INT(der(raw, got), sizeof(small));
	WANT_MEM(got, small, sizeof(small));
	raw[31] = 0x80;
	raw[62] = 1;
	raw[63] = 0;
	WANT_INT(der(raw, got), sizeof(high));
	WANT_MEM(got, high, sizeof(high));
	memset(raw, 0xff, sizeof(raw));
	WANT_INT(der(raw, got), 72);
	memset(raw, 0x7f, sizeof(raw));
	WANT_INT(der(raw, got), 70);
}

TEST_MAIN()
