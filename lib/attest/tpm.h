/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public areas of the keys lanyard uses in a host's TPM, and of keys
 * outside that TPMs are told about. There is one template for each use, and an
 * area is believed only if it is that template to the last bit: what a key can
 * be made to do is all in there.
 *
 *	EK	TCG's default: RSA-2048 or ECC P-256, restricted, decrypt,
 *		fixed to the TPM, used by its policy (endorsement)
 *	AK	ECC P-256, restricted, sign, ECDSA-SHA256, fixed to the TPM
 *	SK	ECC P-256, restricted, decrypt, AES-128-CFB, fixed to the TPM
 *	authority  ECC P-256, sign, no scheme: a key of a manager, of a site's
 *		policy, of an owner, as every TPM has to name it alike
 *
 * AK and SK are not under the protection against guessing (noDA), so that a
 * locked out TPM stops no agent.
 */
#ifndef LY_ATTEST_TPM_H
#define LY_ATTEST_TPM_H

#include "lib/attest/evidence.h"
#include "lib/crypt/crypt.h"

#define LY_TPM_EK_HANDLE 0x81010001u
#define LY_TPM_AK_HANDLE 0x81010010u
#define LY_TPM_SK_HANDLE 0x81010011u

enum ly_tpm_use {
	LY_TPM_EK = 0,
	LY_TPM_AK,
	LY_TPM_SK,
	LY_TPM_AUTHORITY,
	LY_TPM_USES
};
const char *ly_tpm_use_name(unsigned use); /* "EK", ... */

struct ly_tpm_key {
	enum ly_tpm_use use;
	bool rsa;		      /* only an EK may be */
	struct ly_point point;	      /* unless rsa; on the curve */
	uint8_t modulus[LY_RSA_SIZE]; /* if rsa; the exponent is 65537 */
	uint8_t name[LY_TPM_NAME];
	struct ly_bytes area; /* TPMT_PUBLIC; borrows from what was read */
};

/* Reads one TPMT_PUBLIC, all of `area`, and holds it against the template of
 * `use`. LY_MALFORMED: not such a structure; LY_REFUSED: not the template,
 * with what differs in words ("AK: not restricted"). */
LY_MUST enum ly_rc ly_tpm_key_read(enum ly_tpm_use use, struct ly_bytes area,
    struct ly_tpm_key *out, struct ly_why *why);

/* Writes the TPMT_PUBLIC of a P-256 key of that use. */
void ly_tpm_key_put(enum ly_tpm_use use, const struct ly_point *point,
    struct ly_wr *w);

/* What to hand to TPM2_CreatePrimary (the TPMT_PUBLIC in its TPM2B_PUBLIC) to
 * make the key of that use, EK, AK or SK. `rsa` is for the EK only. EK and AK
 * belong into the endorsement hierarchy, SK into the owner's. */
void ly_tpm_template(enum ly_tpm_use use, bool rsa, struct ly_wr *w);

/* The Name of an authority with this public key: what policies name it by. */
void ly_tpm_authority_name(const struct ly_point *key,
    uint8_t out[LY_TPM_NAME]);

/* 000B | SHA-256(area): the Name of any object with nameAlg SHA-256. */
void ly_tpm_name(struct ly_bytes area, uint8_t out[LY_TPM_NAME]);

#endif
