/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream/source_in.h"

#define RATE_MS 50 /* the shortest time a rate is taken over */

void
ly_source_measure(struct ly_source_core *s, const struct ly_mig_numbers *n)
{
	uint64_t ms = s->now_ms - s->rated_ms;

	if (n->bytes != s->numbers.bytes)
		s->moved_ms = s->now_ms;
	s->numbers = *n;
	if (n->bytes < s->rated_bytes || s->rated_ms == 0) {
		s->rated_bytes = n->bytes;
		s->rated_ms = s->now_ms;
	} else if (ms >= RATE_MS) {
		uint64_t rate = (n->bytes - s->rated_bytes) * 1000 / ms;

		s->rate = s->rate ? (s->rate + rate) / 2 : rate;
		s->rated_bytes = n->bytes;
		s->rated_ms = s->now_ms;
	}
}

/* How long so much would take to arrive. */
static uint64_t
move_ms(const struct ly_source_core *s, uint64_t bytes)
{
	if (bytes == 0)
		return 0;
	if (s->rate == 0 || bytes > UINT64_MAX / 1000)
		return UINT64_MAX;
	return bytes * 1000 / s->rate;
}

/* What QEMU has given away but the destination not got is waited for as well as
 * what QEMU still has. */
static uint64_t
drain_ms(const struct ly_source_core *s)
{
	return move_ms(s, s->numbers.remaining + s->numbers.queued);
}

/* During the first pass nobody knows what the guest has dirtied since; what
 * remains then means nothing. */
enum ly_source_verdict
ly_source_judge(struct ly_source_core *s)
{
	const struct ly_mig_numbers *n = &s->numbers;

	if (n->passes < 2)
		return LY_SRC_GO_ON;
	if (drain_ms(s) <= s->downtime_ms)
		return LY_SRC_STOP_GUEST;
	if (n->passes != s->pass) {
		s->pass = n->passes;
		s->stagnant = n->dirty_rate >= s->rate / 10 * 9 ?
		    s->stagnant + 1 :
		    0;
	}
	/* What is on its way need only arrive: QEMU's many short passes
	 * meanwhile count for nothing. */
	if (s->stagnant < LY_SOURCE_STAGNANT &&
	    (n->passes < LY_SOURCE_PASSES ||
		move_ms(s, n->remaining) <= s->downtime_ms))
		return LY_SRC_GO_ON;
	if (drain_ms(s) / LY_SOURCE_OVERRUN <= s->downtime_ms)
		return LY_SRC_STOP_GUEST;
	return LY_SRC_GIVE_UP;
}

uint64_t
ly_source_poll_wait(const struct ly_source_core *s)
{
	uint64_t wait = drain_ms(s) / 2;

	return wait > LY_SOURCE_POLL_MS ? LY_SOURCE_POLL_MS :
					  ly_max(wait, LY_SOURCE_SOON_MS);
}
