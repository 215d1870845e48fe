/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/pace.h"

bool
ly_pace_says(struct ly_pace *p, uint64_t now_ms, uint32_t *silent)
{
	if (p->full_ms < now_ms)
		p->full_ms = now_ms;
	if (p->full_ms - now_ms > (LY_PACE_BURST - 1) * LY_PACE_MS) {
		p->silent += p->silent < UINT32_MAX;
		return false;
	}
	p->full_ms += LY_PACE_MS;
	*silent = p->silent;
	p->silent = 0;
	return true;
}
