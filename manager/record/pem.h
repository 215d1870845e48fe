/* SPDX-License-Identifier: Apache-2.0 */
/* A receipt's bytes in the forms that other programs read. Pure. */
#ifndef LY_MANAGER_RECORD_PEM_H
#define LY_MANAGER_RECORD_PEM_H

#include "lib/base/cursor.h"
#include "lib/base/text.h"

/* "-----BEGIN LABEL-----", base64 in lines of 64, "-----END LABEL-----". */
void ly_pem_put(const char *label, const void *at, size_t len, struct ly_wr *w);

/* An ECDSA P-256 signature, r then s, as DER has it: what openssl(1) and
 * tpm2_checkquote(1) read. At most 72 bytes. */
void ly_der_sig_put(const uint8_t raw[64], struct ly_wr *w);

#endif
