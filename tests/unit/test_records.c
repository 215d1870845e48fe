/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/records.h"
#include "tests/test.h"

#include <stdlib.h>

static uint8_t *
packed(size_t *len)
{
	struct ly_record a = { .vm = { { 1 } },
		.epoch = 7,
		.seq = 9,
		.state = LY_REC_QUIESCED,
		.name = "web1",
		.tpm = "chip0" };
	struct ly_record b = { .vm = { { 2 } }, .name = "web2" };
	const struct ly_record *both[] = { &a, &b };

	return ly_records_pack(both, 2, len);
}

TEST(records_come_back_as_they_were)
{
	struct ly_record *recs;
	size_t len, n;
	uint8_t *buf = packed(&len);

	WANT(ly_records_unpack(buf, len, &recs, &n, NULL) == LY_OK);
	WANT_INT(n, 2);
	WANT_INT(recs[0].epoch, 7);
	WANT_INT(recs[0].state, LY_REC_QUIESCED);
	WANT_STR(recs[1].name, "web2");
	free(recs);
	free(buf);
}

TEST(a_file_cut_at_any_length_is_refused)
{
	struct ly_record *recs;
	size_t len, n;
	uint8_t *buf = packed(&len);

	for (size_t cut = 0; cut < len; cut++)
		WANT(ly_records_unpack(buf, cut, &recs, &n, NULL) != LY_OK);
	free(buf);
}

TEST(a_file_with_any_bit_flipped_is_refused)
{
	struct ly_record *recs;
	size_t len, n;
	uint8_t *buf = packed(&len);

	for (size_t bit = 0; bit < 8 * len; bit++) {
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		WANT(ly_records_unpack(buf, len, &recs, &n, NULL) != LY_OK);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	free(buf);
}

TEST(no_file_is_a_new_home_and_a_damaged_one_is_an_error)
{
	struct ly_record *recs;
	struct ly_why why;
	size_t n;

	WANT(ly_records_read("/nonexistent/home.records", &recs, &n, &why) ==
	    LY_OK);
	WANT_INT(n, 0);
	WANT(ly_records_read("/dev/null", &recs, &n, &why) != LY_OK);
}

TEST_MAIN()
