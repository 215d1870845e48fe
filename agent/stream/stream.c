/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream/stream.h"

static const struct {
	const char *status;
	enum ly_mig means;
} words[] = {
	{ "none", LY_MIG_NONE },
	{ "pre-switchover", LY_MIG_HELD },
	{ "device", LY_MIG_SWITCHING },
	{ "completed", LY_MIG_COMPLETED },
	{ "failed", LY_MIG_FAILED },
	{ "cancelled", LY_MIG_CANCELLED },
};

/* A status we do not know is one of a migration under way: the time limits
 * of whoever asks end it. */
enum ly_mig
ly_mig_of(const char *status)
{
	for (size_t i = 0; i < LY_COUNT(words); i++)
		if (strcmp(words[i].status, status) == 0)
			return words[i].means;
	return LY_MIG_BUSY;
}
