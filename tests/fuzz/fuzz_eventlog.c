/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event log from a host: read, told in words, replayed, and compared with
 * itself and with its own first half. A log that replays explains what it
 * replays to.
 */
#include "lib/attest/eventlog.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
read_all(struct ly_bytes log)
{
	struct ly_eventlog r;
	struct ly_logged ev;
	char text[64];

	if (ly_eventlog_open(log, &r, NULL) != LY_OK)
		return;
	while (ly_eventlog_next(&r, &ev, NULL) == LY_OK) {
		ly_eventlog_print(&ev, text, sizeof(text));
		if (!ly_text_clean(text, strlen(text)))
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ly_bytes log = { data, len }, half = { data, len / 2 };
	uint8_t pcr[LY_PCRS_N][32];
	struct ly_why why;

	read_all(log);
	(void)!ly_eventlog_compare(log, half, ~0u, &why);
	if (ly_eventlog_replay(log, pcr, &why) != LY_OK)
		return 0;
	if (ly_eventlog_explains(log, ~0u, (const uint8_t(*)[32])pcr, &why) !=
		LY_OK ||
	    ly_eventlog_compare(log, log, ~0u, &why) != LY_OK)
		abort();
	return 0;
}
