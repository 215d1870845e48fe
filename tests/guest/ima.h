/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work for the kernel's measurements: with ima_policy=tcb and rootfstype=ramfs
 * on its command line each program that runs for the first time is one
 * PCR_Extend of PCR 10, sent by the kernel inside exec().
 */
#ifndef LY_GUEST_IMA_H
#define LY_GUEST_IMA_H

#include "lib/base/base.h"

/* Makes and runs `n` programs of a few bytes, no two alike. */
LY_MUST bool ly_ima_exec(unsigned n);

/* The length of the kernel's measurement list; 0 if it has none. */
uint64_t ly_ima_measured(void);

#endif
