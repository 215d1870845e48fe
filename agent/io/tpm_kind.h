/* SPDX-License-Identifier: Apache-2.0 */
/* What a way to a TPM gives tpm.c. Not for others. */
#ifndef LY_IO_TPM_KIND_H
#define LY_IO_TPM_KIND_H

#include "agent/io/tpm.h"

struct ly_tpm_kind {
	void (*submit)(struct ly_tpm *t, enum ly_op op, uint8_t locality,
	    const uint8_t *body, size_t len);
	void (*cancel)(struct ly_tpm *t);
	void (*close)(struct ly_tpm *t); /* ends in ly_tpm_gone() */
};

/* Embedded in each kind's struct, as its first member. */
struct ly_tpm {
	const struct ly_tpm_kind *kind;
	const struct ly_tpm_ops *ops;
	void *arg;
	void (*closed)(void *arg);
	bool busy, dead, closing, resets;
};

/* For the kinds. answer() checks an answer to LY_OP_TPM, and calls the owner
 * unless the TPM is dead or closing; die() too, once. */
void ly_tpm_answered(struct ly_tpm *t, enum ly_op op, const uint8_t *body,
    size_t len);
void ly_tpm_result(struct ly_tpm *t, enum ly_op op, uint32_t result);
void ly_tpm_die(struct ly_tpm *t, const char *fmt, ...) LY_PRINTF(2, 3);
/* Frees `t`, which the kind made with malloc(), and tells who closed it. */
void ly_tpm_gone(struct ly_tpm *t);

#endif
