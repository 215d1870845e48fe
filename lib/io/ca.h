/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site's certificate authority, keys and requests: what `lanyard site init`,
 * `lanyard host add` and the manager's CA need. Keys are ECC P-256; files
 * with a private key are made 0600, through a temporary name and fsync.
 */
#ifndef LY_IO_CA_H
#define LY_IO_CA_H

#include "lib/io/identity.h"

/* A new key and self-signed CA certificate (CA:TRUE, pathlen 0, keyCertSign,
 * cRLSign; CN "lanyard site SITE"; name-constrained to URI:SITE). Refuses to
 * overwrite. */
LY_MUST enum ly_rc ly_ca_make(const char *site, const char *key_file,
    const char *cert_file, unsigned days, struct ly_why *why);
/* A new key in `key_file`, and a request for `spiffe` as PEM text (free()). */
LY_MUST enum ly_rc ly_ca_request(const char *spiffe, const char *key_file,
    char **pem, struct ly_why *why);
/* A new key in `key_file`, mode 0600, whatever was there. */
LY_MUST enum ly_rc ly_ca_make_key(const char *key_file, struct ly_why *why);
/* A request for `spiffe` by the key in a file, in DER (free()). */
LY_MUST enum ly_rc ly_ca_request_of(const char *spiffe, const char *key_file,
    uint8_t **der, size_t *len, struct ly_why *why);
/* Signs a PEM request, but for `spiffe` and nothing else in it: EKU client and
 * server, keyUsage digitalSignature, the one URI SAN. PEM text out (free()).
 * The request's own signature is checked. */
LY_MUST enum ly_rc ly_ca_sign(const char *ca_key, const char *ca_cert,
    const char *request_pem, const char *spiffe, uint64_t seconds, char **pem,
    struct ly_why *why);
/* The same for a host that was enrolled: what `host` says of its TPM and its
 * class goes into the certificate (lib/io/hostcert.h), besides its name. */
LY_MUST enum ly_rc ly_ca_sign_host(const char *ca_key, const char *ca_cert,
    const char *request_pem, const struct ly_peer *host, uint64_t seconds,
    char **pem, struct ly_why *why);
/* A certificate of the attestation key (x, y) of `host`'s TPM, for whoever
 * checks its quotes without our records: URI spiffe://SITE/ak/NAME, and the
 * EKU of attestation keys. Nobody believes it as a peer's. */
#define LY_EKU_AK "2.23.133.8.3"
LY_MUST enum ly_rc ly_ca_sign_ak(const char *ca_key, const char *ca_cert,
    const uint8_t x[32], const uint8_t y[32], const struct ly_peer *host,
    uint64_t seconds, char **pem, struct ly_why *why);
/* A request in DER as PEM text (free()), and the SHA-256 of the key in it
 * (SubjectPublicKeyInfo). Signed by that key; P-256. */
LY_MUST enum ly_rc ly_ca_read_request(const uint8_t *der, size_t len,
    char **pem, uint8_t spki[32], struct ly_why *why);
/* What must be kept of a certificate to revoke it one day. */
LY_MUST enum ly_rc ly_ca_read_leaf(const char *pem, char serial[LY_SERIAL_TEXT],
    uint64_t *not_after, struct ly_why *why);

struct ly_revoked {
	char serial[LY_SERIAL_TEXT];
	uint64_t when; /* seconds since 1970 */
	int reason;    /* CRLReason of X.509 */
};
/* The CRL of these, in DER (free()); from now, to be followed by another within
 * `seconds`. LY_FULL: it would be over LY_CRL_MAX. */
LY_MUST enum ly_rc ly_ca_crl(const char *ca_key, const char *ca_cert,
    const struct ly_revoked *list, size_t n, uint64_t number, uint64_t seconds,
    uint8_t **der, size_t *len, struct ly_why *why);

#endif
