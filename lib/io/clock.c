/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/io/clock.h"

#include <stdlib.h>
#include <time.h>

uint64_t
ly_boot_ms(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_BOOTTIME, &t) != 0)
		abort(); /* a kernel before 2.6.39 */
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t
ly_wall_s(void)
{
	return (uint64_t)time(NULL);
}
