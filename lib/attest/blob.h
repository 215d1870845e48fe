/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one TPM alone can open, made without a TPM: a sealed object wrapped for
 * its storage key (TPM2_Import takes it), and a credential for its endorsement
 * key (TPM2_ActivateCredential). Nothing here can open one again.
 *
 * `chance` is randomness that nobody else has or ever had; the caller wipes it.
 */
#ifndef LY_ATTEST_BLOB_H
#define LY_ATTEST_BLOB_H

#include "lib/attest/policy.h"

#define LY_BLOB_CHANCE 64
#define LY_BLOB_DATA_MAX 128 /* bytes that can be sealed */
#define LY_CREDENTIAL_MAX 32

/* Where the parts of a blob are; its ly_key_blob borrows from here. */
struct ly_blob_room {
	uint8_t public[128], duplicate[320], seed[80];
	uint8_t name[LY_TPM_NAME]; /* of the object */
};

/* Seals `len` bytes for SK, to be had only by `policy`; it can be neither
 * duplicated again nor guessed at by a password. LY_BUSY: take other chance
 * (one in 2^32). */
LY_MUST enum ly_rc ly_blob_make(const struct ly_tpm_key *sk,
    const struct ly_policy *policy, const void *data, size_t len,
    const uint8_t chance[LY_BLOB_CHANCE], struct ly_blob_room *room,
    struct ly_key_blob *out, struct ly_why *why);

/* The destination, before it loads one: the object is of just that form, and
 * its authPolicy is `policy`. `name` (may be NULL) is its Name. */
LY_MUST enum ly_rc ly_blob_check(const struct ly_key_blob *blob,
    const struct ly_policy *policy, uint8_t name[LY_TPM_NAME],
    struct ly_why *why);

struct ly_credential_room {
	uint8_t credential[128], secret[2 + LY_RSA_SIZE];
};

/* TPM2_MakeCredential: `len` bytes (at most LY_CREDENTIAL_MAX) that the TPM
 * with `ek` gives out only if an object of that `name` is loaded there too.
 * An RSA EK takes randomness of its own. */
LY_MUST enum ly_rc ly_credential_make(const struct ly_tpm_key *ek,
    const uint8_t name[LY_TPM_NAME], const void *data, size_t len,
    const uint8_t chance[LY_BLOB_CHANCE], struct ly_credential_room *room,
    struct ly_enrol_dare *out, struct ly_why *why);

#endif
