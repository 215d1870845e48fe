/* SPDX-License-Identifier: Apache-2.0 */
/* Cursors, errors, ids and text. */
#include "lib/base/cursor.h"
#include "lib/base/text.h"
#include "tests/test.h"

/* ---- cursors ---- */

TEST(integers_of_one_to_eight_bytes_come_back)
{
	uint8_t buf[8];

	for (size_t size = 1; size <= 8; size++) {
		uint64_t v = 0xf1e2d3c4b5a69788u >> (64 - 8 * size);
		struct ly_wr w = ly_wr_over(buf, size);
		struct ly_rd r = ly_rd_over(buf, size);

		ly_wr_uint(&w, v, size);
		WANT(!w.bad);
		WANT_INT(buf[0], 0xf1);
		WANT(ly_rd_uint(&r, size) == v);
		WANT_INT(ly_rd_left(&r), 0);
	}
}

TEST(a_reader_that_has_run_dry_stays_bad_and_yields_zeros)
{
	uint8_t buf[5] = { 1, 2, 3, 4, 5 };
	struct ly_rd r = ly_rd_over(buf, sizeof(buf));

	WANT_INT(ly_rd_u32(&r), 0x01020304);
	WANT_INT(ly_rd_u16(&r), 0);
	WANT(r.bad);
	WANT_INT(ly_rd_u8(&r), 0); /* though one byte is there */
	WANT(ly_rd_bytes(&r, 0) == NULL);
	WANT_INT(ly_rd_left(&r), 0);
}

TEST(a_reader_over_nothing_has_no_byte)
{
	struct ly_rd r = ly_rd_over(NULL, 0);

	WANT(!r.bad);
	WANT_INT(ly_rd_left(&r), 0);
	WANT_INT(ly_rd_u8(&r), 0);
	WANT(r.bad);
}

TEST(a_length_near_the_end_of_memory_does_not_wrap)
{
	uint8_t buf[4] = { 0 };
	struct ly_rd r = ly_rd_over(buf, sizeof(buf));
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	WANT(ly_rd_bytes(&r, SIZE_MAX) == NULL);
	WANT(r.bad);
	ly_wr_bytes(&w, buf, SIZE_MAX);
	WANT(w.bad);
}

TEST(a_writer_that_has_run_full_writes_nothing_more)
{
	uint8_t buf[5] = { 9, 9, 9, 9, 9 };
	struct ly_wr w = ly_wr_over(buf, 4);

	ly_wr_u16(&w, 0x0102);
	ly_wr_u32(&w, 0x03040506);
	WANT(w.bad);
	ly_wr_u8(&w, 7); /* though there is room */
	WANT_INT(ly_wr_len(&w), 2);
	WANT_MEM(buf, "\x01\x02\x09\x09\x09", 5);
}

/* ---- errors ---- */

TEST(a_failure_says_its_text_and_gives_its_code)
{
	struct ly_why why = { "" };

	WANT_INT(ly_fail(&why, LY_BUSY, "try %d", 5), LY_BUSY);
	WANT_STR(why.text, "try 5");
	WANT_INT(ly_fail_in(&why, LY_FULL, "vm %s", "a"), LY_FULL);
	WANT_STR(why.text, "vm a: try 5");
	WANT_INT(ly_fail(NULL, LY_BUSY, "nobody cares"), LY_BUSY);
	WANT_INT(ly_fail_in(NULL, LY_BUSY, "nobody cares"), LY_BUSY);
}

TEST(a_text_too_long_is_cut_and_ends)
{
	struct ly_why why;
	char longer[1000];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	(void)ly_fail(&why, LY_BUSY, "%s", longer);
	WANT_INT(strlen(why.text), sizeof(why.text) - 1);
	(void)ly_fail_in(&why, LY_BUSY, "here");
	WANT_INT(strlen(why.text), sizeof(why.text) - 1);
	WANT(strncmp(why.text, "here: xxx", 9) == 0);
	(void)ly_fail_in(&why, LY_BUSY, "%s", longer);
	WANT_INT(strlen(why.text), sizeof(why.text) - 1);
}

TEST(every_code_has_one_word)
{
	for (unsigned rc = 0; rc < LY_RCS; rc++) {
		WANT(strcmp(ly_rc_name(rc), "?") != 0);
		for (unsigned other = 0; other < rc; other++)
			WANT(strcmp(ly_rc_name(rc), ly_rc_name(other)) != 0);
	}
	WANT_STR(ly_rc_name(LY_RCS), "?");
	WANT_STR(ly_rc_name(~0u), "?");
}

/* ---- ids and hex ---- */

TEST(an_id_is_a_uuid_and_back)
{
	static const char text[] = "00112233-4455-6677-8899-aabbccddeeff";
	struct ly_id id, none = { { 0 } };
	char out[LY_ID_TEXT];

	WANT_INT(ly_id_parse(text, &id), LY_OK);
	for (unsigned i = 0; i < 16; i++)
		WANT_INT(id.b[i], i * 0x11);
	WANT_STR(ly_id_text(&id, out), text);
	WANT(!ly_id_none(&id));
	WANT(ly_id_none(&none));
	WANT(ly_id_same(&id, &id) && !ly_id_same(&id, &none));
}

TEST(an_id_with_any_character_wrong_is_malformed)
{
	static const char text[] = "00112233-4455-6677-8899-aabbccddeeff";
	char bad[sizeof(text) + 1];
	struct ly_id id;

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		memcpy(bad, text, sizeof(text));
		bad[i] = text[i] == '-' ? '0' : 'g';
		WANT_INT(ly_id_parse(bad, &id), LY_MALFORMED);
		bad[i] = '\0';
		WANT_INT(ly_id_parse(bad, &id), LY_MALFORMED);
	}
	memcpy(bad, text, sizeof(text));
	strcat(bad, "0");
	WANT_INT(ly_id_parse(bad, &id), LY_MALFORMED);
	WANT_INT(ly_id_parse("00112233-4455-6677-8899-AABBCCDDEEFF", &id),
	    LY_OK);
}

TEST(hex_is_two_digits_a_byte_of_either_case)
{
	uint8_t b[3];
	char out[7];

	WANT_INT(ly_unhex("0aFf1b", b, 3), LY_OK);
	ly_hex(b, 3, out);
	WANT_STR(out, "0aff1b");
	WANT_INT(ly_unhex("0aff1", b, 3), LY_MALFORMED);
	WANT_INT(ly_unhex("0aff1b0", b, 3), LY_MALFORMED);
	WANT_INT(ly_unhex("0aff1x", b, 3), LY_MALFORMED);
	WANT_INT(ly_unhex("", b, 0), LY_OK);
}

/* ---- text ---- */

TEST(copies_are_cut_and_say_so)
{
	char to[4];

	WANT(ly_copy(to, sizeof(to), "abc"));
	WANT_STR(to, "abc");
	WANT(!ly_copy(to, sizeof(to), "abcd"));
	WANT_STR(to, "abc");
	WANT(ly_print(to, sizeof(to), "%d", 123));
	WANT(!ly_print(to, sizeof(to), "%d", 1234));
	WANT_STR(to, "123");
	WANT(ly_copy(to, 1, ""));
	WANT(!ly_copy(to, 1, "a"));
	WANT_STR(to, "");
}

TEST(a_good_name_is_safe_in_a_path_and_a_uri)
{
	static const char *const good[] = { "a", "0", "web-1.x_y" };
	static const char *const bad[] = { "", ".", "..", ".a", "-a", "_a", "A",
		"a/b", "a b", "a:b", "a\n", "\xc3\xbc", "a%" };
	char text[LY_NAME_MAX + 1];

	for (size_t i = 0; i < LY_COUNT(good); i++)
		WANT(ly_name_good(good[i]));
	for (size_t i = 0; i < LY_COUNT(bad); i++)
		WANT(!ly_name_good(bad[i]));
	memset(text, 'a', sizeof(text));
	text[LY_NAME_MAX - 1] = '\0';
	WANT(ly_name_good(text));
	text[LY_NAME_MAX - 1] = 'a';
	text[LY_NAME_MAX] = '\0';
	WANT(!ly_name_good(text));
}

TEST(every_control_character_is_unclean)
{
	for (int c = 0; c < 256; c++) {
		char text[3] = { 'a', (char)c, 'b' };

		WANT_INT(ly_text_clean(text, 3), c >= 0x20 && c != 0x7f);
	}
	WANT(ly_text_clean("", 0));
}

TEST(a_number_is_decimal_whole_and_within_its_limit)
{
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "0x1",
		"1.0", "101", "99999999999999999999" };
	uint64_t v = 5;

	for (size_t i = 0; i < LY_COUNT(bad); i++)
		WANT_INT(ly_parse_uint(bad[i], 100, &v), LY_MALFORMED);
	WANT_INT(v, 5);
	WANT_INT(ly_parse_uint("100", 100, &v), LY_OK);
	WANT_INT(v, 100);
	WANT_INT(ly_parse_uint("0", 0, &v), LY_OK);
	WANT_INT(ly_parse_uint("1", 0, &v), LY_MALFORMED);
	WANT_INT(ly_parse_uint("18446744073709551615", UINT64_MAX, &v), LY_OK);
	WANT(v == UINT64_MAX);
	WANT_INT(ly_parse_uint("18446744073709551616", UINT64_MAX, &v),
	    LY_MALFORMED);
	WANT_INT(ly_parse_uint("7", 5, &v), LY_MALFORMED);
}

TEST(comparing_in_constant_time_still_compares)
{
	uint8_t a[33] = { 1 }, b[33] = { 1 };

	WANT(ly_same(a, b, sizeof(a)));
	for (size_t i = 0; i < sizeof(a); i++) {
		b[i] ^= 0x80;
		WANT(!ly_same(a, b, sizeof(a)));
		b[i] ^= 0x80;
	}
	WANT(ly_same(a, b, 0));
	ly_wipe(a, sizeof(a));
	WANT_INT(a[0], 0);
}

TEST_MAIN()
