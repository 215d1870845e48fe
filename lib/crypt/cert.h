/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key in a certificate or a key file, and nothing else of it: who believes
 * a certificate, and why, is lib/io/identity.h's matter.
 */
#ifndef LY_CRYPT_CERT_H
#define LY_CRYPT_CERT_H

#include "lib/crypt/crypt.h"

struct ly_cert_key {
	bool rsa;
	struct ly_point point;	      /* unless rsa */
	uint8_t modulus[LY_RSA_SIZE]; /* if rsa */
	uint32_t exponent;	      /* if rsa */
	uint8_t spki[32];	      /* SHA-256 of its SubjectPublicKeyInfo */
};

/* Of an X.509 certificate in DER, or of the first one in PEM. LY_MALFORMED:
 * not one. LY_REFUSED: its key is neither P-256 nor RSA-2048. */
LY_MUST enum ly_rc ly_cert_key(const void *cert, size_t len,
    struct ly_cert_key *out, struct ly_why *why);

/* Of a public key in PEM or DER ("PUBLIC KEY"); the same errors. */
LY_MUST enum ly_rc ly_public_key(const void *key, size_t len,
    struct ly_cert_key *out, struct ly_why *why);

#endif
