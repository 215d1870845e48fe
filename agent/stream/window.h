/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of a stream may be on its way. Pure.
 *
 * Whatever lies between two agents takes bytes in: sockets, relays, routers.
 * QEMU believes that what was taken has arrived, stops the guest, and the guest
 * stands still until all of that is through. So no more is let out than the
 * way needs to be kept full: the rate at which bytes arrive, times how long it
 * takes to hear of them, and a quarter more. While the rate still rises it is
 * twice as much, so that it can.
 */
#ifndef LY_AGENT_STREAM_WINDOW_H
#define LY_AGENT_STREAM_WINDOW_H

#include "lib/base/base.h"

#define LY_WINDOW_FIRST (1u << 20) /* bytes, until a rate is known */
#define LY_WINDOW_LEAST (256u * 1024)
#define LY_WINDOW_MOST (256u << 20) /* 1 GB/s at a round trip of 180 ms */
#define LY_WINDOW_TOLD_MS 20 /* from arriving to being told, and a tick */

struct ly_window {
	uint64_t taken;
	uint64_t delay_ms; /* from sending to hearing, with no queue between */
	uint64_t rate;	   /* bytes a second, the most of late */
	uint64_t best;	   /* ... of which the next has to be a quarter more, */
	unsigned flat;	   /* or the rate has not risen, so many times */
	uint64_t rate_bytes, rate_ms;
};

void ly_window_init(struct ly_window *w, uint64_t rtt_ms, uint64_t now_ms);
/* `taken` bytes have arrived: how many may be sent in all. */
uint64_t ly_window_move(struct ly_window *w, uint64_t taken, uint64_t now_ms);

#endif
