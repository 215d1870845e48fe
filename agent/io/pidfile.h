/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which process it was: a file "PID START", START as field 22 of
 * /proc/PID/stat, so that the pid of a process that has ended is not taken for
 * the one that has it now. For who must find a program again that he started
 * before he died.
 */
#ifndef LY_AGENT_IO_PIDFILE_H
#define LY_AGENT_IO_PIDFILE_H

#include "lib/base/err.h"

/* Durable. `pid` lives, or has not been waited for. */
LY_MUST enum ly_rc ly_pidfile_write(const char *path, int pid,
    struct ly_why *why);
/* LY_OK: that process runs; *pidfd becomes readable when it ends, and the
 * caller closes it. LY_UNKNOWN: there is no file, or it has ended, for certain.
 * LY_OUTSIDE: it cannot be told. */
LY_MUST enum ly_rc ly_pidfile_open(const char *path, int *pid, int *pidfd,
    struct ly_why *why);

#endif
