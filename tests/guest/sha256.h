/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) for a guest that has no library but libc. */
#ifndef LY_GUEST_SHA256_H
#define LY_GUEST_SHA256_H

#include "lib/base/cursor.h"

#define LY_SHA256_LEN 32

/* The digest of `a` followed by `b`; either may be empty. */
void ly_sha256(struct ly_bytes a, struct ly_bytes b,
    uint8_t out[LY_SHA256_LEN]);

#endif
