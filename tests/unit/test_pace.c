/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/pace.h"
#include "tests/test.h"

static unsigned
said(struct ly_pace *p, uint64_t now_ms, unsigned times, uint32_t *silent)
{
	unsigned n = 0;

	for (unsigned i = 0; i < times; i++)
		n += ly_pace_says(p, now_ms, silent);
	return n;
}

TEST(a_burst_is_said_and_then_one_a_second)
{
	struct ly_pace p = { 0 };
	uint32_t silent = 99;

	WANT_INT(said(&p, 5000, 1000, &silent), LY_PACE_BURST);
	WANT_INT(silent, 0);
	WANT_INT(said(&p, 5999, 10, &silent), 0);
	WANT_INT(said(&p, 6000, 10, &silent), 1);
	WANT_INT(silent, 1000 - LY_PACE_BURST + 10);
	WANT_INT(said(&p, 7000, 1, &silent), 1);
	WANT_INT(silent, 9);
}

TEST(who_was_quiet_for_long_has_one_burst_and_no_more)
{
	struct ly_pace p = { 0 };
	uint32_t silent;

	WANT_INT(said(&p, 0, 1000, &silent), LY_PACE_BURST);
	WANT_INT(said(&p, 3600000, 1000, &silent), LY_PACE_BURST);
	WANT_INT(said(&p, UINT64_MAX / 2, 1000, &silent), LY_PACE_BURST);
}

TEST(what_is_rare_is_always_said)
{
	struct ly_pace p = { 0 };
	uint32_t silent;

	for (uint64_t ms = 0; ms < 100000; ms += LY_PACE_MS) {
		WANT_INT(said(&p, ms, 1, &silent), 1);
		WANT_INT(silent, 0);
	}
}

TEST_MAIN()
