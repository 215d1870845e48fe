/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What chip.c (jobs, on the loop) and chip_keys.c, chip_import.c (what a job
 * does, on another thread) share; for these alone. One job is at work at a
 * time, and until it is over the loop leaves alone what is its.
 */
#ifndef LY_AGENT_IO_CHIP_IN_H
#define LY_AGENT_IO_CHIP_IN_H

#include "agent/io/chip.h"
#include "agent/io/tss_in.h"
#include "lib/attest/policy.h"

enum ly_chip_kind {
	LY_CHIP_READY,
	LY_CHIP_QUOTE,
	LY_CHIP_CERTIFY,
	LY_CHIP_ACTIVATE,
	LY_CHIP_RANDOM,
	LY_CHIP_OPEN,
	LY_CHIP_UNSEAL,
	LY_CHIP_DROP,
	LY_CHIP_KINDS
};

/* An import that is open, or is being opened. */
struct ly_chip_slot {
	/* The loop's. */
	bool used;
	struct ly_id mig;
	unsigned turn;	   /* counts those that had it */
	uint64_t until_ms; /* of the loop's time; 0: not yet, or no more */
	/* The job's. */
	uint64_t number; /* of the connection with the session */
	ESYS_TR session;
	TPM2B_PUBLIC pub;
	TPM2B_PRIVATE priv;
};

struct ly_chip_job {
	struct ly_chip_job *next;
	enum ly_chip_kind kind;
	ly_chip_told *told; /* NULL: nobody is */
	void *arg;
	uint8_t *room; /* what the members borrow from; NULL if nothing */
	size_t room_len;

	uint8_t over[32]; /* quote, certify: qualify; unseal: policyRef */
	uint32_t mask;
	size_t len;
	struct ly_enrol_dare dare;
	struct ly_chip_import in; /* its `mig`: of unseal and drop, too */
	struct ly_point manager_key;
	uint32_t expires_s;
	uint8_t release[LY_SIG_RAW];
	struct ly_chip_slot *slot;
	unsigned turn; /* drop: of the slot's one alone; 0: of any */

	bool settled; /* there is nothing to do but to answer */
	enum ly_rc rc;
	struct ly_why why;
	struct ly_chip_keys *keys;
	struct ly_chip_attested said;
	uint8_t bytes[LY_CHIP_SECRET_MAX];
	size_t bytes_len;
};

/* The TPM as jobs know it. */
struct ly_chip_tpm {
	struct ly_tss *tss;
	bool ready;	 /* the names are known */
	uint64_t number; /* of the connection that knows `key` */
	ESYS_TR key[LY_TPM_AUTHORITY];
	uint8_t name[LY_TPM_AUTHORITY][LY_TPM_NAME];
};

/* A step, and what the TPM's codes mean in it. */
struct ly_chip_step {
	const char *what;
	struct ly_tss_meaning means[4];
};
enum ly_rc ly_chip_broke(struct ly_chip_tpm *t, const struct ly_chip_step *step,
    TSS2_RC rc, struct ly_why *why);

/* Each between ly_tss_begin() and ly_tss_end(), the keys known. */
typedef enum ly_rc ly_chip_work(struct ly_chip_tpm *t, struct ly_chip_job *j);
ly_chip_work ly_chip_do_ready, ly_chip_do_quote, ly_chip_do_certify,
    ly_chip_do_activate, ly_chip_do_random, ly_chip_do_open, ly_chip_do_unseal,
    ly_chip_do_drop;
/* The keys in this connection; makes them ready if nobody has. */
LY_MUST enum ly_rc ly_chip_know(struct ly_chip_tpm *t, struct ly_why *why);
/* ly_tss_breathe(), with a text. */
LY_MUST enum ly_rc ly_chip_breathe(struct ly_chip_tpm *t, struct ly_why *why);

void ly_chip_select(uint32_t mask, TPML_PCR_SELECTION *out);

#endif
