/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificates that their CA has taken back: the newest X.509 CRL of each
 * site, in memory and in a directory, SITE.crl (DER).
 *
 * A CRL is believed when the CA pinned for its site has signed it and its
 * number is higher than that of the one before: an old one cannot be put
 * over a new one. One that is past its nextUpdate goes on being used, for who
 * was revoked stays so, but it may lack the newest: ly_crls_stale() says so,
 * and the connections stand. A site that loses its manager for a week must not
 * lose its VMs for that. A site without any CRL has revoked nobody.
 */
#ifndef LY_IO_CRL_H
#define LY_IO_CRL_H

#include "lib/base/text.h"
#include "lib/wire/message.h"

#include <openssl/x509.h>

#define LY_CRLS_MOST 64 /* sites; more are refused */

struct ly_crl {
	char site[LY_NAME_MAX];
	X509_CRL *crl;
	uint8_t *der;
	size_t len;
	uint64_t number;
	uint64_t next_update; /* seconds since 1970 */
	bool said_stale;
};

struct ly_crls {
	char dir[256]; /* empty: in memory only */
	struct ly_crl of[LY_CRLS_MOST];
	unsigned n;
};

/* Finds the CAs of a site; 0 if it is not believed. */
typedef unsigned ly_crls_cas(const void *arg, const char *site,
    X509 *const **cas);

/* Reads what the directory has (made if there is none). A file that is no CRL
 * is an error; one that no CA of ours has signed is left alone. */
LY_MUST enum ly_rc ly_crls_load(struct ly_crls *crls, const char *dir,
    ly_crls_cas *cas, const void *arg, struct ly_why *why);
/* Takes a newer one, on disk before in memory. *fresh: it was newer; one of
 * the same number is LY_OK, an older one or one not signed by `cas` refused. */
LY_MUST enum ly_rc ly_crls_take(struct ly_crls *crls, const char *site,
    X509 *const *cas, unsigned cas_n, struct ly_bytes der, bool *fresh,
    struct ly_why *why);
bool ly_crls_revoked(const struct ly_crls *crls, const char *site,
    const ASN1_INTEGER *serial);
const struct ly_crl *ly_crls_of(const struct ly_crls *crls, const char *site);
/* A site whose CRL is past its nextUpdate, each once; NULL when there is no
 * other. */
const char *ly_crls_stale(struct ly_crls *crls, uint64_t now_s);
void ly_crls_fini(struct ly_crls *crls);

/* Seconds since 1970; 0 for what is no time, or before. */
uint64_t ly_asn1_seconds(const ASN1_TIME *t);

#endif
