/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of one version of a home's vault. Layout: "LNYV", u32 format 1,
 * u32 length of the head, the packed head (the table in vault_file.c), the
 * body encrypted with AES-256-GCM, its tag (16). The head is not secret; all
 * of it, with what stands before it, is proved with the body.
 *
 * The head says which version this is and for which TPM, so that a start that
 * refuses it can say why. Nothing is believed for it: what makes a file the
 * right one is that the TPM gives its key.
 */
#ifndef LY_AGENT_IO_VAULT_FILE_H
#define LY_AGENT_IO_VAULT_FILE_H

#include "lib/io/gcm.h"
#include "lib/wire/field.h"

#define LY_VAULT_NAME 34       /* of a TPM object: u16 SHA-256, digest */
#define LY_VAULT_BLOB 512      /* a sealed key is 270 bytes or so */
#define LY_VAULT_HEAD_MAX 1400 /* with the 12 bytes before it */
#define LY_VAULT_BODY_MAX (128u << 20)

/* The key of one version, as the TPM alone can open it. */
struct ly_vault_sealed {
	uint64_t version;
	uint8_t pub[LY_VAULT_BLOB], priv[LY_VAULT_BLOB]; /* TPM2B, marshalled */
	uint16_t pub_len, priv_len;
};

struct ly_vault_head {
	uint64_t version; /* the counter at which it opens */
	uint8_t told;	  /* 1: who asked for it was told before it counted */
	uint32_t index;	  /* NV index of the counter */
	uint8_t counter[LY_VAULT_NAME]; /* its Name */
	uint8_t owner[LY_VAULT_NAME]; /* Name of the storage key of this TPM */
	struct ly_bytes pub, priv;
	uint8_t nonce[LY_GCM_NONCE];
};

/* Encrypts `body`; *out is malloc'd. `head->nonce` is made here. */
LY_MUST enum ly_rc ly_vault_file_pack(struct ly_vault_head *head,
    const uint8_t key[LY_GCM_KEY], const uint8_t *body, size_t body_len,
    uint8_t **out, size_t *len, struct ly_why *why);
/* What it says of itself, unproved; pub and priv borrow from `buf`. */
LY_MUST enum ly_rc ly_vault_file_head(const uint8_t *buf, size_t len,
    struct ly_vault_head *out, struct ly_why *why);
/* Decrypts in place: *body borrows from `buf`. */
LY_MUST enum ly_rc ly_vault_file_open(uint8_t *buf, size_t len,
    const uint8_t key[LY_GCM_KEY], uint8_t **body, size_t *body_len,
    struct ly_why *why);

#endif
