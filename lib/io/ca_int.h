/* SPDX-License-Identifier: Apache-2.0 */
/* What ca.c (certificates) and ca_revoke.c (lists) share; for these two. */
#ifndef LY_IO_CA_INT_H
#define LY_IO_CA_INT_H

#include "lib/io/ca.h"

struct ly_ca {
	EVP_PKEY *key;
	X509 *cert;
};

/* Both files, and that they belong together. `ca` is zeroed before, and
 * ly_ca_shut() after, whatever comes. */
LY_MUST enum ly_rc ly_ca_open(struct ly_ca *ca, const char *key_file,
    const char *cert_file, struct ly_why *why);
void ly_ca_shut(struct ly_ca *ca);
/* LY_OUTSIDE with the newest error of OpenSSL's queue, which it empties. */
enum ly_rc ly_ca_fail(struct ly_why *why, const char *what);

#endif
