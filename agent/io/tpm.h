/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands behind a home: one TPM, reached in one of three ways, by `spec`:
 *
 *	socket:PATH	  raw TPM commands on a Unix stream socket, on the loop
 *			  (tpmsock.c). When there is a PATH.ctrl, swtpm's control
 *			  protocol is spoken there: resets, localities, D-RTM and
 *			  cancelling work. The fast way to a swtpm. It survives
 *			  the agent: its connections are kept.
 *	device:PATH	  a TPM device of Linux, /dev/tpmrm0 or /dev/tpm0
 *			  (tpmdev.c). No resets, no localities. It survives, too.
 *	anything else	  a TCTI string of tpm2-tss ("swtpm:path=PATH",
 *			  "mssim:...", "cmd:..."), in a thread of its own (tcti.c),
 *			  for TCTIs block. swtpm can reset and set localities.
 *			  What it runs when the agent dies is in doubt.
 *
 * One thing at a time: submit, wait for on_answer(), submit. A TPM that breaks
 * (hangs up, answers what is no TPM answer) is told of once, by on_dead(), and
 * is never opened again from here: its PCRs may be gone, so its owner decides.
 *
 * How far it is, is in ly_tpm_kept(), for the owner to commit to the slot with
 * what else he knows. Nothing leaves for the TPM, and nothing it said is
 * forgotten there, before ly_tpm_settle(): the owner calls that after each
 * commit. So whoever is killed in between has not asked yet, or can hear the
 * answer once more.
 */
#ifndef LY_IO_TPM_H
#define LY_IO_TPM_H

#include "agent/io/keep.h"
#include "agent/tpm/header.h"
#include "agent/tpm/kept.h"

struct ly_tpm;

struct ly_tpm_ops {
	/* To LY_OP_TPM, a well-formed TPM answer of `len` <= LY_TPM_MAX; to
	 * all others a u32 (big-endian), 0 for success. From the loop, never
	 * from within ly_tpm_submit(). `body` is lent for the call. To be
	 * committed, and settled. */
	void (*on_answer)(void *arg, const uint8_t *body, size_t len);
	/* Once, perhaps from within ly_tpm_settle(). What was submitted may
	 * have run or not. The TPM may be closed from here. */
	void (*on_dead)(void *arg, const char *why);
	/* It is a step further by itself: to be committed, and settled. */
	void (*on_step)(void *arg);
};

/* Blocks while it connects (and for a TCTI, loads its library): call at start
 * or from a job. Its descriptors become the slot's, a HOME one that no other
 * way uses, and are kept from the next commit on. */
LY_MUST enum ly_rc ly_tpm_open(uv_loop_t *loop, const char *spec,
    struct ly_slot *slot, const struct ly_tpm_ops *ops, void *arg,
    struct ly_tpm **out, struct ly_why *why);
/* Goes on where the agent before was; then ly_tpm_settle(). LY_UNKNOWN: there
 * is nothing to go on with, and nothing was under way: to be opened anew.
 * LY_OUTSIDE: it is lost, with what it ran. */
LY_MUST enum ly_rc ly_tpm_wake(uv_loop_t *loop, const char *spec,
    struct ly_slot *slot, const struct ly_tpm_kept *kept,
    const struct ly_tpm_ops *ops, void *arg, struct ly_tpm **out,
    struct ly_why *why);
const struct ly_tpm_kept *ly_tpm_kept(const struct ly_tpm *t);

/* `op` with `locality` (0 to 4); the bytes are copied. A locality or op this
 * way to a TPM does not have is answered: TPM_RC_LOCALITY, or a result that
 * is no success. INIT where nothing can reset the TPM is answered with
 * success, and ly_tpm_resets() says so: ask ly_tpm_policy_answer() about the
 * Startup that follows. (The PCRs of such a TPM keep what the boot before has
 * measured.) To a dead TPM nothing is submitted. To be committed, and settled.
 */
void ly_tpm_submit(struct ly_tpm *t, enum ly_op op, uint8_t locality,
    const uint8_t *body, size_t len);
/* Advice to end what is under way soon; its answer comes all the same. Does
 * nothing where a TPM cannot be told (every TCTI: theirs is not safe beside
 * a blocking receive). To be committed, and settled. */
void ly_tpm_cancel(struct ly_tpm *t);
/* What ly_tpm_kept() says has been committed. */
void ly_tpm_settle(struct ly_tpm *t);
bool ly_tpm_busy(const struct ly_tpm *t);
/* INIT really resets it. */
bool ly_tpm_resets(const struct ly_tpm *t);

/* Ends it, whatever state it is in; neither op is called any more. `closed`
 * (may be NULL) is the last call. Its descriptors are dropped from the slot. */
void ly_tpm_close(struct ly_tpm *t, void (*closed)(void *arg));
/* The same, but its descriptors stay, for the next agent to go on with. */
void ly_tpm_leave(struct ly_tpm *t, void (*closed)(void *arg));

#endif
