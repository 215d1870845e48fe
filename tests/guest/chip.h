/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's TPM, spoken to byte by byte through the kernel's device: one
 * write is one command, one read its answer, and the call blocks in between,
 * however long the way to the home is.
 *
 * Every function answers true only if the TPM said TPM_RC_SUCCESS and the
 * answer could be read to its end; else `what` names the command and `why`
 * holds the rc, the errno or what was wrong with the answer. TPM_RC_RETRY,
 * which swtpm gives to the first NV_Increment after a start, is sent again
 * here and counted; the kernel usually does so before us.
 */
#ifndef LY_GUEST_CHIP_H
#define LY_GUEST_CHIP_H

#include "tests/guest/sha256.h"

#define LY_CHIP_NV 0x01800001u	/* our counter, in the owner hierarchy */
#define LY_CHIP_BOX 0x01800002u /* 8 bytes that a policy opens */
#define LY_CHIP_NONCE 16
#define LY_CHIP_MAX 4096 /* of a command and of an answer */

struct ly_chip {
	int fd;
	uint32_t ak; /* transient handle; 0 before _ak() */
	uint8_t ak_public[160];
	size_t ak_public_len;
	uint64_t commands; /* answered ones, whatever the rc */
	uint64_t retries;
	uint64_t max_gap_us;   /* longest wait for one answer */
	uint64_t round_gap_us; /* the same; for the caller to begin anew */
	bool lost;	       /* no answer to the last command at all */
	const char *what;
	char why[64];
};

/* Time as the TPM sees it: `time_ms` goes on while the guest is stopped. */
struct ly_chip_clock {
	uint64_t time_ms, clock_ms;
	uint32_t resets, restarts;
};

struct ly_chip_quote {
	uint8_t attest[256], r[32], s[32]; /* ECDSA P-256, SHA-256 */
	size_t attest_len;
	uint8_t extra[LY_CHIP_NONCE];
	uint8_t pcrs[LY_SHA256_LEN];
	struct ly_chip_clock clock; /* without time_ms */
};

LY_MUST bool ly_chip_open(struct ly_chip *c, const char *path);

/* Makes the default ECC P-256 EK, hashes its TPMT_PUBLIC, flushes it. */
LY_MUST bool ly_chip_ek(struct ly_chip *c, uint8_t digest[LY_SHA256_LEN]);
/* Makes a restricted ECDSA P-256 key and keeps it loaded. It is of the
 * endorsement hierarchy, as a TPM veils its reset counts from other keys. */
LY_MUST bool ly_chip_ak(struct ly_chip *c);
/* Quotes the SHA-256 PCRs of `mask` (bit n is PCR n) with that key. */
LY_MUST bool ly_chip_quote(struct ly_chip *c, uint32_t mask,
    const uint8_t nonce[LY_CHIP_NONCE], struct ly_chip_quote *out);

LY_MUST bool ly_chip_extend(struct ly_chip *c, unsigned pcr,
    const uint8_t digest[LY_SHA256_LEN]);
LY_MUST bool ly_chip_pcr(struct ly_chip *c, unsigned pcr,
    uint8_t out[LY_SHA256_LEN]);

/* Defines the counter unless it is there; a new one is incremented once,
 * since a counter never written cannot be read. */
LY_MUST bool ly_chip_nv_open(struct ly_chip *c);
LY_MUST bool ly_chip_nv_increment(struct ly_chip *c);
LY_MUST bool ly_chip_nv_read(struct ly_chip *c, uint64_t *out);

/* Defines the box unless it is there, and puts `value` into it. */
LY_MUST bool ly_chip_box_open(struct ly_chip *c,
    const uint8_t policy[LY_SHA256_LEN], uint64_t value);
/* Ends the session, if the TPM finds it good enough. */
LY_MUST bool ly_chip_box_read(struct ly_chip *c, uint32_t session,
    uint64_t *out);

/* A policy session, neither bound nor salted; it stays loaded until it is
 * used or flushed, and a TPM has room for few. */
LY_MUST bool ly_chip_session(struct ly_chip *c,
    const uint8_t nonce[LY_CHIP_NONCE], uint32_t *out);
LY_MUST bool ly_chip_policy_pcr(struct ly_chip *c, uint32_t session,
    uint32_t mask);
LY_MUST bool ly_chip_policy_code(struct ly_chip *c, uint32_t session,
    uint32_t code);
LY_MUST bool ly_chip_policy_restart(struct ly_chip *c, uint32_t session);
LY_MUST bool ly_chip_policy_digest(struct ly_chip *c, uint32_t session,
    uint8_t out[LY_SHA256_LEN]);
/* Of a session or of a transient object. */
LY_MUST bool ly_chip_flush(struct ly_chip *c, uint32_t handle);

LY_MUST bool ly_chip_random(struct ly_chip *c, uint8_t *out, size_t len);
LY_MUST bool ly_chip_clock(struct ly_chip *c, struct ly_chip_clock *out);

#endif
