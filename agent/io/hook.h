/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operator's programs that run when a VM's right to a place changes hands:
 * to give a disk lock back, take it, tell the network.
 *
 * A hook runs in a session of its own with an environment of its own, without
 * standard input; it has failed when it ends with another status than 0, or
 * has not ended within its time: then it and what it started are killed. What
 * it says goes to our log, up to LY_HOOK_SAID bytes; past those its writes
 * fail. It may be run twice for one and the same change, never twice at once: an
 * agent that dies has its hooks run on, and the next one waits until that one
 * has ended, or kills it when its time is over. DIR/hook.pid says which it is.
 */
#ifndef LY_AGENT_IO_HOOK_H
#define LY_AGENT_IO_HOOK_H

#include "lib/base/err.h"
#include "lib/wire/message.h"

#include <uv.h>

#define LY_HOOK_SAID 16384

enum ly_hook_kind {
	LY_HOOK_RELEASE, /* the guest stands still, the home does not know */
	LY_HOOK_CLAIM,	 /* the lease is ours, the guest stands still */
	LY_HOOK_ABORT,	 /* the lease is ours again, it still stands still */
	LY_HOOKS
};
const char *ly_hook_name(unsigned kind); /* "on-release" */

struct ly_hook;

/* All strings are copied. `path` "": there is none, which is a success. */
struct ly_hook_params {
	enum ly_hook_kind kind;
	const char *path;
	uint64_t timeout_ms;
	const char *vm, *host, *home, *dir;
	struct ly_id id, mig;
	uint64_t epoch;
};

/* `why` ends with the hook's last words. */
typedef void ly_hook_done(void *arg, enum ly_rc rc, const char *why);

/* `done` once, from the loop or from here; NULL then, and when there is no
 * hook. Else it may be forgotten before that. */
struct ly_hook *ly_hook_run(uv_loop_t *loop, const struct ly_hook_params *p,
    ly_hook_done *done, void *arg);
/* Nobody is told; the program runs on to its end or its time. */
void ly_hook_forget(struct ly_hook *h);

#endif
