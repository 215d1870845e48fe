/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time as a number. libuv's clock stands still while the machine is suspended,
 * and the calendar jumps when somebody sets it; leases may bear neither.
 */
#ifndef LY_IO_CLOCK_H
#define LY_IO_CLOCK_H

#include <stdint.h>

/* Milliseconds since the machine's start, those it was suspended included. */
uint64_t ly_boot_ms(void);
/* Seconds since 1970, as the calendar has it. */
uint64_t ly_wall_s(void);

#endif
