/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGHUP: the agent becomes its program anew, in the same process. All that
 * must outlive it is with its keeper, so this is the same as being killed and
 * started at once: a new configuration, new certificates, a new version of the
 * program at the same path.
 */
#ifndef LY_AGENT_IO_RELOAD_H
#define LY_AGENT_IO_RELOAD_H

#include "lib/base/err.h"

/* At the start: where our program is, before anybody replaces it. `argv` is
 * lent for ever. */
void ly_reload_begin(char **argv);

/* In a process that is asked (`-t`) by one that wants to become it; and can it
 * take over what that keeps? */
bool ly_reload_asked(void);
LY_MUST enum ly_rc ly_reload_can(struct ly_why *why);

/* Checks that the program at our path starts, takes the configuration in `file`
 * (as -t does) and what we keep; then becomes it, and does not return. Else the
 * reason: nothing has changed. Blocks for as long as that check takes, at most
 * LY_RELOAD_MS. */
LY_MUST enum ly_rc ly_reload(const char *file, struct ly_why *why);

#define LY_RELOAD_MS 5000

#endif
