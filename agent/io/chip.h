/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's own TPM, for who has to prove what this host is: three keys of
 * it, quotes by them, and what was sealed for it alone. It is the chip of the
 * vault, and shares its one connection (tss.h).
 *
 *   EK   endorsement key, the maker's: TCG's template, RSA-2048 or ECC P-256
 *   AK   signs quotes: ECC P-256, restricted, endorsement hierarchy
 *   SK   storage key, new parent of what is sealed for us: ECC P-256,
 *        restricted decrypt, owner hierarchy
 *
 * Nothing here blocks: each call is a job that holds copies of all it was
 * given, is done in turn on another thread, and is answered once, on the loop,
 * never before the call has returned. What `told` is given is good until it
 * returns.
 *
 * A job that finds the connection lost is tried once more on a new one. It
 * never holds up a write of the vault for longer than one or two commands of
 * the TPM take: it lets the vault go first at each step (ly_tss_breathe()).
 *
 * An import has a policy session in the TPM from ly_chip_import_open() until
 * ly_chip_import_unseal() or ly_chip_import_drop(), for LY_CHIP_IMPORT_MS at
 * most. A TPM has room for three sessions, and the vault and we need one, so
 * LY_CHIP_IMPORTS_MAX are open at once; who comes then waits in a line of
 * LY_CHIP_LINE_MAX, and after that is refused with LY_BUSY. At most two objects
 * are loaded at once, the vault's among them, if never both at work.
 *
 * Codes of answers: LY_REFUSED what was given does not fit this TPM or its
 * state, or somebody else's key stands where ours belongs; LY_OUTSIDE the TPM
 * said no, or cannot be reached; LY_BUSY try again unchanged; LY_UNKNOWN there
 * is no such import; LY_FENCED we are closing. The text is for the operator.
 */
#ifndef LY_AGENT_IO_CHIP_H
#define LY_AGENT_IO_CHIP_H

#include "agent/io/tss.h"
#include "lib/attest/tpm.h"

#include <uv.h>

#define LY_CHIP_SECRET_MAX 64	/* bytes of what a credential or a blob hides */
#define LY_CHIP_CERT_MAX 4096	/* bytes of an EK certificate, DER */
#define LY_CHIP_IMPORT_MS 90000 /* then it is dropped unasked */
#define LY_CHIP_IMPORTS_MAX 2
#define LY_CHIP_LINE_MAX 64

struct ly_chip;

struct ly_chip_key {
	uint8_t pub[LY_PUBLIC_MAX]; /* TPMT_PUBLIC */
	size_t pub_len;
	uint8_t name[LY_TPM_NAME];
};

/* Of ly_chip_ready(). */
struct ly_chip_keys {
	struct ly_chip_key ek, ak, sk;
	/* The EK's certificate from NV (0x01c0000a of the ECC key, 0x01c00002
	 * of the RSA one); empty: this TPM has none. */
	uint8_t cert[LY_CHIP_CERT_MAX];
	size_t cert_len;
	uint32_t resets; /* resetCount: a boot has a number of its own */
	uint32_t restarts;
};

/* Of ly_chip_quote() and ly_chip_certify(). */
struct ly_chip_attested {
	uint8_t attest[LY_ATTEST_MAX]; /* TPMS_ATTEST, as it was signed */
	size_t attest_len;
	uint8_t sig[LY_SIG_RAW]; /* ECDSA P-256 of its SHA-256, by the AK */
	uint32_t mask;		 /* quote: bit i is PCR i */
	/* quote: their values in rising order, those of the mask alone. They
	 * are what was quoted: their digest is the one in `attest`. */
	uint8_t pcr[LY_PCRS_N][32];
	unsigned pcrs_n;
};

/* Which member is filled is said at each call; all are empty unless `rc` is
 * LY_OK. */
struct ly_chip_answer {
	enum ly_rc rc;
	const char *why;		     /* "" unless rc says so */
	const struct ly_chip_keys *keys;     /* ready */
	const struct ly_chip_attested *said; /* quote, certify */
	/* activate: the secret. random: the bytes. import_open: the session's
	 * nonce (nonceTPM). import_unseal: what was sealed. Wiped after. */
	struct ly_bytes bytes;
};

typedef void ly_chip_told(void *arg, const struct ly_chip_answer *a);

/* Takes part in `tss`, which the caller keeps open until the last callback. */
LY_MUST enum ly_rc ly_chip_open(uv_loop_t *loop, struct ly_tss *tss,
    struct ly_chip **out, struct ly_why *why);
/* Another time than LY_CHIP_IMPORT_MS, for tests. */
void ly_chip_import_life(struct ly_chip *chip, uint64_t ms);
/* What has not begun is answered LY_FENCED, at once; a job at work is waited for
 * by the loop, and not answered. Imports are dropped. May be NULL. */
void ly_chip_close(struct ly_chip *chip);

/* Makes sure of the three keys (lib/attest/tpm.h), making and keeping those that
 * are missing, and says them (answer.keys). The others do so too if nobody has
 * yet. Something at a handle that is no key of this kind: LY_REFUSED, with its
 * handle. Asked again it looks again: perhaps this is another boot. */
void ly_chip_ready(struct ly_chip *chip, ly_chip_told *told, void *arg);

/* A quote by the AK over `qualify` and the SHA-256 PCRs of `mask` (not 0, below
 * 1 << LY_PCRS_N). Values that change meanwhile are read again; those that
 * never stand still: LY_BUSY. */
void ly_chip_quote(struct ly_chip *chip, const uint8_t qualify[32],
    uint32_t mask, ly_chip_told *told, void *arg);

/* The AK certifies the SK over `qualify`. */
void ly_chip_certify(struct ly_chip *chip, const uint8_t qualify[32],
    ly_chip_told *told, void *arg);

/* What is hidden in a credential for (EK, Name of AK). Made for another TPM or
 * another AK: LY_REFUSED. */
void ly_chip_activate(struct ly_chip *chip, const struct ly_enrol_dare *dare,
    ly_chip_told *told, void *arg);

/* 1 to LY_CHIP_SECRET_MAX bytes of the TPM's own randomness. */
void ly_chip_random(struct ly_chip *chip, size_t len, ly_chip_told *told,
    void *arg);

/* What was sealed for our SK, in a state approved by a site's policy key. */
struct ly_chip_import {
	struct ly_id mig; /* names it from now on; not none */
	struct ly_key_blob blob;
	uint32_t mask;	      /* PCRs of the approved state, as of quote */
	uint8_t approved[32]; /* digest of PolicyPCR in that state */
	uint8_t ref[32];      /* policyRef of the class */
	uint8_t approval[LY_SIG_RAW]; /* over SHA-256(approved | ref) ... */
	struct ly_point policy_key;   /* ... by K_pol */
};

/* Imports it, opens a session salted with the SK, and satisfies PolicyPCR and
 * PolicyAuthorize in it. answer.bytes: the session's nonce, for the release.
 * One import per `mig`: an older one of that name is dropped first. Our state
 * is not the approved one, the approval is not by that key, sealed for another
 * TPM: LY_REFUSED. */
void ly_chip_import_open(struct ly_chip *chip, const struct ly_chip_import *in,
    ly_chip_told *told, void *arg);

/* The release: a signature by `manager_key` over SHA-256(nonce | u32 expiration
 * | ref). answer.bytes: what was sealed (32 bytes of a migration). `expires_s`
 * counts from the opening of the session. Not LY_OK: LY_REFUSED if the
 * signature is for another session or by another key, if it expired, or if a
 * PCR has changed since. The import is over in any case. */
void ly_chip_import_unseal(struct ly_chip *chip, const struct ly_id *mig,
    const struct ly_point *manager_key, const uint8_t ref[32],
    uint32_t expires_s, const uint8_t release[LY_SIG_RAW], ly_chip_told *told,
    void *arg);

/* Not answered; one that is not there is none. */
void ly_chip_import_drop(struct ly_chip *chip, const struct ly_id *mig);

#endif
