/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream/window.h"
#include "tests/test.h"

#define KB 1000u
#define MB 1000000u
#define TURNS 8000

/*
 * A way of `ms` there and back that lets `per_ms` bytes through, with a queue
 * before it that takes everything; who sends always has more. A millisecond at
 * a time; what has arrived is told every 10.
 */
static uint64_t queued, arrived;

static void
run(uint64_t ms, uint64_t per_ms)
{
	static uint64_t seen[TURNS]; /* taken, at each millisecond */
	struct ly_window w;
	uint64_t may, sent = 0, taken = 0;

	ly_window_init(&w, ms, 0);
	may = ly_window_move(&w, 0, 0);
	queued = 0;
	for (unsigned t = 0; t < TURNS; t++) {
		queued += may - sent;
		sent = may;
		taken += ly_min(queued, per_ms);
		queued -= ly_min(queued, per_ms);
		seen[t] = taken;
		if (t >= ms && t % 10 == 0)
			may = ly_max(may, ly_window_move(&w, seen[t - ms], t));
	}
	arrived = taken;
}

TEST(a_way_is_kept_full_and_its_queue_short)
{
	static const uint64_t ms[] = { 0, 1, 10, 50, 150 };
	static const uint64_t rate[] = { 1 * KB, 10 * KB, 100 * KB, 500 * KB,
		1 * MB };

	for (size_t i = 0; i < LY_COUNT(ms); i++) {
		for (size_t j = 0; j < LY_COUNT(rate); j++) {
			run(ms[i], rate[j]);
			WANT(arrived > TURNS * rate[j] / 10 * 8);
			/* what the guest would stand still for */
			WANT(queued <= LY_WINDOW_LEAST ||
			    queued / rate[j] <= ms[i] / 2 + 30);
		}
	}
}

TEST(at_first_little_is_let_out_and_never_more_than_the_limit)
{
	struct ly_window w;
	uint64_t may = 0;

	ly_window_init(&w, 100, 5);
	WANT_INT(ly_window_move(&w, 0, 5), LY_WINDOW_FIRST);
	for (uint64_t t = 5; t < 10000; t += 100) {
		may = ly_window_move(&w, may, t);
		WANT(may - w.taken <= LY_WINDOW_MOST);
	}
	WANT_INT(may - w.taken, LY_WINDOW_MOST);
}

TEST(a_pause_of_the_guest_does_not_close_the_way)
{
	struct ly_window w;
	uint64_t before, after;

	ly_window_init(&w, 50, 0);
	(void)ly_window_move(&w, 1 * MB, 50);
	before = ly_window_move(&w, 101 * MB, 150) - 101 * MB;
	after = ly_window_move(&w, 101 * MB, 400) - 101 * MB;
	WANT(after > before / 2);
}

TEST_MAIN()
