/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/link/dial.h"

typedef enum ly_redial_act handler(struct ly_redial *r, uint64_t now_ms,
    uint16_t chance);

void
ly_redial_init(struct ly_redial *r)
{
	*r = (struct ly_redial){ .next_ms = LY_REDIAL_FIRST_MS };
}

static enum ly_redial_act
nothing(struct ly_redial *r, uint64_t now_ms, uint16_t chance)
{
	(void)r, (void)now_ms, (void)chance;
	return LY_REDIAL_NOTHING;
}

static enum ly_redial_act
dial(struct ly_redial *r, uint64_t now_ms, uint16_t chance)
{
	(void)now_ms, (void)chance;
	r->state = LY_REDIAL_TRYING;
	return LY_REDIAL_DIAL;
}

static enum ly_redial_act
opened(struct ly_redial *r, uint64_t now_ms, uint16_t chance)
{
	(void)chance;
	r->state = LY_REDIAL_UP;
	r->since_ms = now_ms;
	return LY_REDIAL_NOTHING;
}

/* Three quarters to five quarters of next_ms. */
static enum ly_redial_act
wait(struct ly_redial *r, uint64_t now_ms, uint16_t chance)
{
	(void)now_ms;
	r->state = LY_REDIAL_WAITING;
	r->wait_ms = r->next_ms - r->next_ms / 4 +
	    (uint32_t)((uint64_t)(r->next_ms / 2) * chance >> 16);
	r->next_ms *= 2;
	if (r->next_ms > LY_REDIAL_MOST_MS)
		r->next_ms = LY_REDIAL_MOST_MS;
	return LY_REDIAL_WAIT;
}

static enum ly_redial_act
lost(struct ly_redial *r, uint64_t now_ms, uint16_t chance)
{
	if (now_ms - r->since_ms < LY_REDIAL_STEADY_MS)
		return wait(r, now_ms, chance);
	r->next_ms = LY_REDIAL_FIRST_MS;
	return dial(r, now_ms, chance);
}

static enum ly_redial_act
stop(struct ly_redial *r, uint64_t now_ms, uint16_t chance)
{
	(void)now_ms, (void)chance;
	r->state = LY_REDIAL_STOPPED;
	return LY_REDIAL_HANG_UP;
}

// clang-format off
static handler *const table[LY_REDIAL_NEWS][LY_REDIAL_STATES] = {
	/*			 IDLE	  TRYING   UP	    WAITING  STOPPED */
	[LY_REDIAL_START]  = { dial,	nothing, nothing, nothing, nothing },
	[LY_REDIAL_OPENED] = { nothing, opened,  nothing, nothing, nothing },
	[LY_REDIAL_LOST]   = { nothing, wait,	 lost,	  nothing, nothing },
	[LY_REDIAL_DUE]	   = { nothing, nothing, nothing, dial,	   nothing },
	[LY_REDIAL_STOP]   = { stop,	stop,	 stop,	  stop,	   nothing },
};
// clang-format on

enum ly_redial_act
ly_redial_step(struct ly_redial *r, enum ly_redial_news news, uint64_t now_ms,
    uint16_t chance)
{
	assert(news < LY_REDIAL_NEWS && r->state < LY_REDIAL_STATES);
	return table[news][r->state](r, now_ms, chance);
}
