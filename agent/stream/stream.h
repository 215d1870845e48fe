/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both ends of a migration's stream hear from their QEMU.
 */
#ifndef LY_AGENT_STREAM_STREAM_H
#define LY_AGENT_STREAM_STREAM_H

#include "lib/base/text.h"

/* query-migrate's status, by what it means to us. */
enum ly_mig {
	LY_MIG_UNHEARD,	  /* the monitor did not answer in time */
	LY_MIG_NONE,	  /* no migration has begun */
	LY_MIG_BUSY,	  /* setup, active, cancelling, ... */
	LY_MIG_HELD,	  /* the guest is stopped, QEMU waits for our leave */
	LY_MIG_SWITCHING, /* ... and sends the rest and device state */
	LY_MIG_COMPLETED,
	LY_MIG_FAILED,
	LY_MIG_CANCELLED,
	LY_MIGS
};

/* Of query-migrate at a source; zero where QEMU does not say. */
struct ly_mig_numbers {
	uint64_t bytes, total, remaining; /* arrived; of RAM; to go */
	uint64_t queued;		  /* gone, and not arrived */
	uint64_t dirty_rate;		  /* bytes a second */
	uint64_t passes;		  /* over the RAM; 1: the first */
	uint64_t throttle;		  /* per cent, of auto-converge */
	uint64_t expected_ms, downtime_ms;
};

enum ly_mig ly_mig_of(const char *status);

#endif
