/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key of a site's policy authority, as who signs with it has it: a PEM
 * file, or whatever a provider of OpenSSL keeps at a URI (a TPM: provider
 * "tpm2", "handle:0x81000010"). Only its owner's command line opens one; the
 * manager and the agents know its public half.
 */
#ifndef LY_IO_POLICYKEY_H
#define LY_IO_POLICYKEY_H

#include "lib/crypt/crypt.h"

struct ly_policykey;

/* A new P-256 key in `path`, mode 0600. LY_REFUSED: something is there. */
LY_MUST enum ly_rc ly_policykey_make(const char *path, struct ly_why *why);
/* `key`: a file (mode 0600 or tighter) or a URI; `provider`: its name, or
 * NULL. ly_policykey_free() it. */
LY_MUST enum ly_rc ly_policykey_open(const char *key, const char *provider,
    struct ly_policykey **out, struct ly_why *why);
void ly_policykey_free(struct ly_policykey *k);

const struct ly_point *ly_policykey_point(const struct ly_policykey *k);
/* ECDSA over the SHA-256 of `msg`; checked before it is given out. */
LY_MUST enum ly_rc ly_policykey_sign(const struct ly_policykey *k,
    const void *msg, size_t len, uint8_t sig[LY_SIG_RAW], struct ly_why *why);
/* Its public half in PEM, to be pinned. LY_REFUSED: something else is there. */
LY_MUST enum ly_rc ly_policykey_publish(const struct ly_policykey *k,
    const char *path, struct ly_why *why);

#endif
