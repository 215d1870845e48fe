/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conversation with one QEMU's monitor (QMP) over its Unix socket: waits
 * for the socket, reads the greeting, negotiates, then asks commands and
 * hears events. One thread, the loop's.
 *
 * Every command ends in its callback exactly once: answered, refused (with
 * QEMU's text), not answered within its time, or the monitor closed; unless
 * the owner closes the monitor or forgets the command first. A QEMU whose
 * main loop stands still is therefore an error with a text, never a hang.
 */
#ifndef LY_AGENT_IO_QMP_H
#define LY_AGENT_IO_QMP_H

#include "lib/base/err.h"

#include <jansson.h>
#include <uv.h>

struct ly_qmp;

/* `value` (of LY_OK) lives during the call. `why` is for the operator and
 * begins with the command's name. */
typedef void ly_qmp_done(void *arg, enum ly_rc rc, const json_t *value,
    const char *why);

struct ly_qmp_ops {
	void (*on_ready)(void *arg); /* commands may be asked */
	void (*on_event)(void *arg, const char *name, const json_t *data);
	/* Once, and the last call: it could not be reached, or is gone. What
	 * was asked has been told before. */
	void (*on_close)(void *arg, const char *why);
};

/* Connects to the socket at `path`, trying again for `patience_ms` while
 * there is none, or nobody accepts. */
LY_MUST enum ly_rc ly_qmp_open(uv_loop_t *loop, const char *path,
    unsigned patience_ms, const struct ly_qmp_ops *ops, void *arg,
    struct ly_qmp **out, struct ly_why *why);

#define LY_QMP_PATIENCE_MS 10000
#define LY_QMP_ASKED_MAX 64 /* at once; the next is answered LY_FULL */

/* Asks `command` with `args` (taken, may be NULL). `wait_ms` 0 is
 * LY_QMP_PATIENCE_MS. `done` may be NULL. It is never called from here, but
 * from the loop. */
void ly_qmp_ask(struct ly_qmp *q, const char *command, json_t *args,
    unsigned wait_ms, ly_qmp_done *done, void *arg);
/* The commands asked with `arg` will call nobody. */
void ly_qmp_forget(struct ly_qmp *q, const void *arg);
/* No callback of any kind after this. Frees it when the loop lets go. */
void ly_qmp_close(struct ly_qmp *q);

#endif
