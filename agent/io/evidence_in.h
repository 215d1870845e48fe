/* SPDX-License-Identifier: Apache-2.0 */
/* What evidence.c (making it) and evidence_ask.c (who asks for it) share; for
 * these two only. */
#ifndef LY_AGENT_IO_EVIDENCE_IN_H
#define LY_AGENT_IO_EVIDENCE_IN_H

#include "agent/io/evidence.h"
#include "agent/io/launch.h"
#include "lib/attest/quote.h"

struct making;
struct asked;

struct ly_quotes {
	struct ly_agent *agent;
	struct ly_launch *launch;
	struct ly_chip_keys keys;
	bool ready;    /* `keys` are there */
	bool log_said; /* that there is no event log */
	struct making *makings;
	struct asked *asked; /* newest first */
};

void ly_asked_fini(struct ly_quotes *q);

#endif
