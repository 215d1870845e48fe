/* SPDX-License-Identifier: Apache-2.0 */
/* What a way to a TPM gives tpm.c. Not for others. */
#ifndef LY_IO_TPM_KIND_H
#define LY_IO_TPM_KIND_H

#include "agent/io/tpm.h"

struct ly_tpm_kind {
	enum ly_tpm_way way;
	void (*submit)(struct ly_tpm *t, const uint8_t *body, size_t len);
	void (*cancel)(struct ly_tpm *t);
	/* Consume what was taken, and push what is to go now. */
	void (*settle)(struct ly_tpm *t);
	void (*close)(struct ly_tpm *t); /* ends in ly_tpm_gone() */
};

/* Embedded in each kind's struct, as its first member. The request is in `k`:
 * its op and locality are there when submit() is called, and phase 0 is none.
 */
struct ly_tpm {
	const struct ly_tpm_kind *kind;
	const struct ly_tpm_ops *ops;
	void *arg;
	void (*closed)(void *arg);
	struct ly_slot *slot;
	struct ly_tpm_kept k;
	bool dead, closing, resets;
};

#define LY_TPM_NO_LOCALITY 0xff /* not known: set it before the next command */

/* For the kinds. answered() and result() end the request, and call the owner
 * unless the TPM is dead or closing; answered() checks an answer to LY_OP_TPM.
 * die() calls him once. */
void ly_tpm_answered(struct ly_tpm *t, const uint8_t *body, size_t len);
void ly_tpm_result(struct ly_tpm *t, uint32_t result);
void ly_tpm_step(struct ly_tpm *t);
void ly_tpm_die(struct ly_tpm *t, const char *fmt, ...) LY_PRINTF(2, 3);
/* Frees `t`, which the kind made with malloc(), and tells who closed it. */
void ly_tpm_gone(struct ly_tpm *t);

#endif
