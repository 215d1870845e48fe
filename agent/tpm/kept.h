/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must be known of a way to a TPM (agent/io/tpm.h) so that the next agent
 * can go on with it: which way, and how far its request is. Pure.
 */
#ifndef LY_TPM_KEPT_H
#define LY_TPM_KEPT_H

#include "lib/wire/field.h"

/* The values are kept: they are for ever. */
enum ly_tpm_way {
	LY_TPM_CLOSED = 0,
	LY_TPM_SOCKET = 1, /* its connections are kept */
	LY_TPM_DEVICE = 2, /* its open file is */
	LY_TPM_TCTI = 3,   /* ends with the agent */
	LY_TPM_WAYS
};

#define LY_TPM_PHASES 5 /* of a request; the way has their names */

struct ly_tpm_kept {
	uint8_t way;	  /* enum ly_tpm_way */
	uint64_t spec;	  /* a number made of where it leads to */
	bool busy;	  /* a request is under way: */
	uint8_t phase;	  /* how far it is */
	uint8_t op;	  /* enum ly_op */
	uint8_t wanted;	  /* the locality it is for */
	uint8_t locality; /* the TPM's now, as far as known */
	bool cancelling;  /* a CANCEL has not been answered */
	uint32_t result;  /* of a request that is answered here */
	uint32_t later;	  /* bytes of one that waits in the area kept */
	uint32_t have;	  /* bytes of an answer there, which is not whole */
	uint8_t rep_have; /* of the control channel's answer: */
	uint8_t rep[4];
	uint64_t asked_ms; /* on CLOCK_BOOTTIME */
};

extern const struct ly_message ly_tpm_kept_table;

/* LY_MALFORMED: no way to a TPM can have been like this. */
LY_MUST enum ly_rc ly_tpm_kept_good(const struct ly_tpm_kept *k,
    struct ly_why *why);

#endif
