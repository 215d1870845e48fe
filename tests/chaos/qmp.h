/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which QEMU's guest runs, by QEMU's own word: every QEMU of this lab has a
 * second monitor (chaos.sh), and says there when its guest stops and starts,
 * with the time. Never may two of one VM run at once.
 */
#ifndef LY_TESTS_CHAOS_QMP_H
#define LY_TESTS_CHAOS_QMP_H

#include "tests/chaos/chaos.h"

/* Waits at most so long for news, and takes it. */
void qmp_turn(unsigned wait_ms);
/* Where a guest runs by what was heard; -1: nowhere. */
int qmp_where(void);
/* How many QEMUs there are whose monitor answers. */
unsigned qmp_alive(void);
/* Compares all times at which a guest ran; says how many those were. */
unsigned qmp_check(void);

#endif
