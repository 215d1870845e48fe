/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's own log, out of the consoles of all hosts, and what must be true
 * of it. Only one copy of a guest runs at a time, so the bytes of all consoles
 * are one stream; where a migration cuts a line in two, the destination's
 * console has its end.
 *
 * The log of one boot counts rounds without a gap or a repeat, whoever wrote
 * it. From it alone the value of both PCRs and of the counter follow; the guest
 * tells its own once a second, and chaos.sh asks the chip at the end.
 *
 * Lines that a console has damaged are counted, and cost no more than that.
 */
#ifndef LY_TESTS_CHAOS_GUESTLOG_H
#define LY_TESTS_CHAOS_GUESTLOG_H

#include "tests/chaos/chaos.h"

/* What the log says so far. */
struct guestlog {
	char boot[9];
	uint64_t round, nv, failed, uses;
	uint64_t commands;	  /* of this boot, as of the last tick */
	uint64_t commands_before; /* of those before it */
	uint64_t rounds_all, uses_all, boots, garbled;
	uint8_t pcr11[32], pcr12[32]; /* our replay */
	uint64_t did_ns;   /* when the last round was told; 0: none */
	uint64_t paused;   /* ticks while it was paused */
	unsigned host;	   /* where it came from */
	char trouble[200]; /* its last error record */
};

extern struct guestlog guestlog;

/* Told of each round: longest wait for an answer as the guest saw it, and the
 * time since the round before by our clock. */
typedef void on_round(uint64_t gap_ms, uint64_t since_ms);

/* Reads what is new. */
void guestlog_turn(on_round *round);
/* A new boot is expected, and what the next one finds is not a violation. */
void guestlog_cold(void);
/* Failed commands are none of lanyard's doing from now to the next boot. */
void guestlog_pardon(void);

#endif
