/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/link/lease.h"
#include "tests/test.h"

#define FAR UINT64_MAX

static struct ly_lease_todo
tell(struct ly_lease *l, enum ly_lease_news kind, uint64_t now)
{
	struct ly_lease_event ev = { .kind = kind, .now_ms = now };
	struct ly_lease_todo todo;

	ly_lease_step(l, &ev, &todo);
	return todo;
}

static struct ly_lease_todo
hear(struct ly_lease *l, uint64_t now, uint64_t stamp, uint32_t length)
{
	struct ly_lease_event ev = { .kind = LY_LEASE_HEARD,
		.now_ms = now,
		.stamp = stamp,
		.length_ms = length };
	struct ly_lease_todo todo;

	ly_lease_step(l, &ev, &todo);
	return todo;
}

TEST(a_lease_is_asked_for_at_once_and_then_three_times_in_its_time)
{
	struct ly_lease l = { .told = false };
	unsigned asked = 0;

	WANT(tell(&l, LY_LEASE_LINKED, 100).ask);
	WANT(!ly_lease_good(&l, 100));
	WANT(hear(&l, 140, 100, 9000).good);
	for (uint64_t now = 140; now <= 9100; now += 10) {
		struct ly_lease_todo t = tell(&l, LY_LEASE_TICK, now);

		asked += t.ask;
		if (t.ask)
			WANT(hear(&l, now, now, 9000).good);
		WANT(ly_lease_due(&l) > now);
	}
	WANT_INT(asked, 3);
}

TEST(a_lease_counts_from_the_question_and_not_from_the_answer)
{
	struct ly_lease l = { .told = false };

	tell(&l, LY_LEASE_LINKED, 100);
	hear(&l, 5000, 100, 9000);
	WANT(ly_lease_good(&l, 9099));
	WANT(!ly_lease_good(&l, 9100));
}

TEST(a_lease_outlives_the_link_and_ends_all_the_same)
{
	struct ly_lease l = { .told = false };
	struct ly_lease_todo t;

	tell(&l, LY_LEASE_LINKED, 100);
	hear(&l, 100, 100, 1000);
	t = tell(&l, LY_LEASE_LOST, 300);
	WANT(t.good && !t.tell && !t.ask);
	WANT_INT(ly_lease_due(&l), 1100);
	t = tell(&l, LY_LEASE_TICK, 1100);
	WANT(!t.good && t.tell && !t.ask);
	WANT(!tell(&l, LY_LEASE_TICK, 1200).tell); /* once */
	WANT(ly_lease_due(&l) == UINT64_MAX);
	WANT(hear(&l, 1300, 1250, 1000).good == false); /* no link */
}

TEST(a_stamp_that_is_not_ours_prolongs_nothing)
{
	struct ly_lease l = { .told = false };

	tell(&l, LY_LEASE_LINKED, 1000);
	WANT(!hear(&l, 1100, 1101, 9000).good); /* of the future */
	WANT(!hear(&l, 1100, 999, 9000).good);	/* of the link before */
	WANT(hear(&l, 1100, 1100, UINT32_MAX).good);
	WANT(!ly_lease_good(&l, 1100 + LY_LEASE_MOST_MS));
}

TEST(a_home_renews_until_the_certificate_ends_by_its_own_calendar)
{
	struct ly_lessor l = { .length_ms = 1000, .not_after = 500 };

	WANT(!ly_lessor_good(&l, 0, 0));
	WANT_INT(ly_lessor_renew(&l, 10, 499, NULL), LY_OK);
	WANT(ly_lessor_good(&l, 1009, 499));
	WANT(!ly_lessor_good(&l, 1010, 499));
	WANT(!ly_lessor_good(&l, 20, 500));
	WANT_INT(ly_lessor_renew(&l, 20, 500, NULL), LY_REFUSED);
	WANT_INT(ly_lessor_renew(&l, 30, 400, NULL), LY_OK); /* set back */
}

/* Two machines, each with a clock of its own, and a network with delays, in
 * the world's time: whenever the holder believes, the home has it so. */
TEST(a_holder_never_believes_longer_than_its_home_whatever_the_delays)
{
	uint32_t x = 4711;

	for (unsigned round = 0; round < 2000; round++) {
		struct ly_lease l = { .told = false };
		struct ly_lessor g = { .length_ms = 1000, .not_after = FAR };
		uint64_t here = x % 100000, there = x / 7 % 100000, now = 0;
		uint64_t asked_at = 0, stamp = 0, answer_at = FAR;
		uint64_t answered = 0;

		tell(&l, LY_LEASE_LINKED, here);
		asked_at = 0;
		stamp = here;
		for (unsigned i = 0; i < 60; i++) {
			struct ly_lease_todo t = { .ask = false };

			x = x * 1664525 + 1013904223;
			now += (x >> 16) % 200;
			if (asked_at != FAR && (x >> 8) % 3 == 0) {
				WANT_INT(ly_lessor_renew(&g, there + now, 0,
					     NULL),
				    LY_OK);
				answered = stamp;
				answer_at = now;
				asked_at = FAR;
			} else if (answer_at != FAR && (x >> 9) % 3 == 0) {
				hear(&l, here + now, answered, 1000);
				answer_at = FAR;
			} else {
				t = tell(&l, LY_LEASE_TICK, here + now);
			}
			if (t.ask && asked_at == FAR) {
				asked_at = now;
				stamp = here + now;
			}
			WANT(!ly_lease_good(&l, here + now) ||
			    ly_lessor_good(&g, there + now, 0));
		}
	}
}

TEST_MAIN()
