/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What source.c (the machine) asks of source_rate.c: how fast the copy goes,
 * and whether it is time to stop the guest. Nobody else includes this.
 */
#ifndef LY_AGENT_STREAM_SOURCE_IN_H
#define LY_AGENT_STREAM_SOURCE_IN_H

#include "agent/stream/source.h"

#define LY_SOURCE_POLL_MS 100 /* while much remains */
#define LY_SOURCE_SOON_MS 10  /* near the end, and while the guest is stopped */

enum ly_source_verdict {
	LY_SRC_GO_ON,
	LY_SRC_STOP_GUEST,
	LY_SRC_GIVE_UP,
};

/* Takes in what QEMU says of its migration. */
void ly_source_measure(struct ly_source_core *s,
    const struct ly_mig_numbers *n);
/* Once for each measurement: passes that gain nothing are counted here. */
enum ly_source_verdict ly_source_judge(struct ly_source_core *s);
/* Milliseconds to the next look. */
uint64_t ly_source_poll_wait(const struct ly_source_core *s);

#endif
