/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands behind a home: one TPM, reached in one of two ways, by `spec`:
 *
 *	socket:PATH	  raw TPM commands on a Unix stream socket, on the loop
 *			  (tpmsock.c). When there is a PATH.ctrl, swtpm's control
 *			  protocol is spoken there: resets, localities, D-RTM and
 *			  cancelling work. The fast way to a swtpm.
 *	anything else	  a TCTI string of tpm2-tss ("device:/dev/tpmrm0",
 *			  "swtpm:path=PATH", "mssim:...", "cmd:..."), in a thread
 *			  of its own (tcti.c), for TCTIs block. swtpm can reset
 *			  and set localities, a device can do neither.
 *
 * One thing at a time: submit, wait for on_answer(), submit. A TPM that breaks
 * (hangs up, answers what is no TPM answer) is told of once, by on_dead(), and
 * is never opened again from here: its PCRs may be gone, so its owner decides.
 */
#ifndef LY_IO_TPM_H
#define LY_IO_TPM_H

#include "agent/tpm/header.h"

#include <uv.h>

struct ly_tpm;

struct ly_tpm_ops {
	/* To LY_OP_TPM, a well-formed TPM answer of `len` <= LY_TPM_MAX; to
	 * all others a u32 (big-endian), 0 for success. From the loop, never
	 * from within ly_tpm_submit(). `body` is lent for the call. */
	void (*on_answer)(void *arg, const uint8_t *body, size_t len);
	/* Once, perhaps from within ly_tpm_submit(). What was submitted may
	 * have run or not. The TPM may be closed from here. */
	void (*on_dead)(void *arg, const char *why);
};

/* Blocks while it connects (and for a TCTI, loads its library): call at start
 * or from a job. */
LY_MUST enum ly_rc ly_tpm_open(uv_loop_t *loop, const char *spec,
    const struct ly_tpm_ops *ops, void *arg, struct ly_tpm **out,
    struct ly_why *why);

/* `op` with `locality` (0 to 4); the bytes are copied. A locality or op this
 * way to a TPM does not have is answered: TPM_RC_LOCALITY, or a result that
 * is no success. INIT where nothing can reset the TPM is answered with
 * success, and ly_tpm_resets() says so: ask ly_tpm_policy_answer() about the
 * Startup that follows. (The PCRs of such a TPM keep what the boot before has
 * measured.) To a dead TPM nothing is submitted. */
void ly_tpm_submit(struct ly_tpm *t, enum ly_op op, uint8_t locality,
    const uint8_t *body, size_t len);
/* Advice to end what is under way soon; its answer comes all the same. Does
 * nothing where a TPM cannot be told (every TCTI: theirs is not safe beside
 * a blocking receive). */
void ly_tpm_cancel(struct ly_tpm *t);
bool ly_tpm_busy(const struct ly_tpm *t);
/* INIT really resets it. */
bool ly_tpm_resets(const struct ly_tpm *t);

/* Ends it, whatever state it is in; neither op is called any more. `closed`
 * (may be NULL) is the last call. */
void ly_tpm_close(struct ly_tpm *t, void (*closed)(void *arg));

#endif
