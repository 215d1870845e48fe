/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a migration is: one line for a terminal, one line for a log.
 * Pure: given the numbers, the width and the time.
 */
#ifndef LY_CLI_PROGRESS_H
#define LY_CLI_PROGRESS_H

#include "cli/text.h"

#define LY_CLI_PHASE_MAX 32

struct ly_cli_progress {
	char phase[LY_CLI_PHASE_MAX]; /* "copy", or the step under way */
	double bytes, total;	      /* sent; of. 0: not known */
	double rate, dirty_rate;      /* bytes a second */
	double percent;		      /* negative: not known */
	double eta_ms;		      /* negative: not known */
	double elapsed_ms;
};

#define LY_CLI_LINE 512 /* bytes, with NUL */
#define LY_CLI_EVERY_MS 1000

/* At most `width` columns: what matters least goes first. */
void ly_cli_progress_bar(const struct ly_cli_progress *p, unsigned width,
    char out[LY_CLI_LINE]);
/* For a log: everything that is known, no bar. */
void ly_cli_progress_line(const struct ly_cli_progress *p,
    char out[LY_CLI_LINE]);

/* Is it time for another line in a log: a new phase, or a second is over. */
struct ly_cli_pace {
	char phase[LY_CLI_PHASE_MAX];
	uint64_t last_ms;
	bool begun;
};
bool ly_cli_progress_due(struct ly_cli_pace *pace,
    const struct ly_cli_progress *p, uint64_t now_ms);

#endif
