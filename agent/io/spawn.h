/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a program in a session of its own that inherits none of our
 * descriptors. uv_spawn() will not do: libraries open sockets without
 * close-on-exec in threads of theirs (a TCTI does, for every command), and a
 * copy of one in a long-lived child keeps a TPM waiting for the end of a
 * connection that we have closed.
 */
#ifndef LY_AGENT_IO_SPAWN_H
#define LY_AGENT_IO_SPAWN_H

#include "lib/base/err.h"

/* `env` NULL: ours. Standard input is empty, both outputs go to `log_fd`. *pidfd becomes
 * readable when it ends; the caller closes it, and reaps *pid. LY_OUTSIDE when
 * it could not be executed, with the reason. */
LY_MUST enum ly_rc ly_spawn(char *const *argv, char *const *env, int log_fd,
    int *pid, int *pidfd, struct ly_why *why);
/* The same, with `in_fd` as its standard input. */
LY_MUST enum ly_rc ly_spawn_with(char *const *argv, char *const *env, int in_fd,
    int log_fd, int *pid, int *pidfd, struct ly_why *why);
/* Of a child whose pidfd is readable: its exit status, or 128 + signal. */
int ly_spawn_reap(int pid);

#endif
