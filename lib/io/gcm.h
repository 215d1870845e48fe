/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-256-GCM, in place. A key seals one text and no other: then it does not
 * matter that a nonce might come twice.
 */
#ifndef LY_IO_GCM_H
#define LY_IO_GCM_H

#include "lib/base/err.h"

#define LY_GCM_KEY 32
#define LY_GCM_NONCE 12
#define LY_GCM_TAG 16

/* Encrypts `buf` in place; `aad` is not encrypted, but proved with it. */
LY_MUST enum ly_rc ly_gcm_seal(const uint8_t key[LY_GCM_KEY],
    const uint8_t nonce[LY_GCM_NONCE], const void *aad, size_t aad_len,
    uint8_t *buf, size_t len, uint8_t tag[LY_GCM_TAG], struct ly_why *why);
/* LY_MALFORMED, with `buf` wiped, unless key, nonce, aad, text and tag are
 * those of one ly_gcm_seal(). */
LY_MUST enum ly_rc ly_gcm_open(const uint8_t key[LY_GCM_KEY],
    const uint8_t nonce[LY_GCM_NONCE], const void *aad, size_t aad_len,
    uint8_t *buf, size_t len, const uint8_t tag[LY_GCM_TAG],
    struct ly_why *why);

#endif
