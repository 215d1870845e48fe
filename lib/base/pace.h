/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often something may be said that a peer can make us say: LY_PACE_BURST
 * times at once, and once more a second. What was not said is counted.
 */
#ifndef LY_BASE_PACE_H
#define LY_BASE_PACE_H

#include "lib/base/base.h"

#define LY_PACE_BURST 10
#define LY_PACE_MS 1000 /* for one more */

/* All zeros is one that has said nothing. */
struct ly_pace {
	uint64_t full_ms; /* when the whole burst is free again */
	uint32_t silent;  /* not said since the last that was */
};

/* True: say it, and that *silent of its like were not said before it. `now_ms`
 * is of a clock that does not go back. */
bool ly_pace_says(struct ly_pace *p, uint64_t now_ms, uint32_t *silent);

#endif
