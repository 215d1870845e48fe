/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream/window.h"

#define RATE_MS 50 /* the shortest time a rate is taken over */
#define FLAT 3

void
ly_window_init(struct ly_window *w, uint64_t rtt_ms, uint64_t now_ms)
{
	*w = (struct ly_window){ .delay_ms = rtt_ms + LY_WINDOW_TOLD_MS,
		.rate_ms = now_ms };
}

/* A guest that sends little for a while does not make the way narrow at once. */
static void
measure(struct ly_window *w, uint64_t now_ms)
{
	uint64_t ms = now_ms - w->rate_ms, rate;

	if (ms < RATE_MS)
		return;
	rate = (w->taken - w->rate_bytes) * 1000 / ms;
	w->rate = ly_max(w->rate - w->rate / 16, rate);
	w->rate_bytes = w->taken;
	w->rate_ms = now_ms;
	if (rate > w->best / 4 * 5) {
		w->best = rate;
		w->flat = 0;
	} else if (w->rate) {
		w->flat++;
	}
}

static uint64_t
room(const struct ly_window *w)
{
	uint64_t full = w->rate / 1000 * w->delay_ms;

	if (w->rate == 0)
		return LY_WINDOW_FIRST;
	full = w->flat < FLAT ? full * 2 : full / 4 * 5;
	return ly_min(ly_max(full, LY_WINDOW_LEAST), LY_WINDOW_MOST);
}

uint64_t
ly_window_move(struct ly_window *w, uint64_t taken, uint64_t now_ms)
{
	w->taken = ly_max(w->taken, taken);
	measure(w, now_ms);
	return w->taken + room(w);
}
