/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificate of a TPM's endorsement key: made by the TPM's maker, so its
 * chain ends in a CA of theirs and not in a site's. Those we believe are PEM
 * files in one directory, roots and intermediate CAs, in any order.
 *
 * Makers put things into these certificates that OpenSSL does not know but has
 * to take as critical (the TPM's make and model in the subject's alternative
 * name, its attributes). They say nothing that we rely on, so they are passed
 * over; a signature, a date, or what may be a CA is not.
 */
#ifndef LY_IO_EKCERT_H
#define LY_IO_EKCERT_H

#include "lib/base/cursor.h"
#include "lib/crypt/cert.h"
#include "lib/io/identity.h"

struct ly_ek_cert {
	struct ly_cert_key key;
	uint8_t sha256[32]; /* of its DER, without what follows it */
	char serial[LY_SERIAL_TEXT];
	bool genuine;
	struct ly_why not_genuine; /* if it is not */
};

/* `chain`: DER, the certificate first, then perhaps its issuers; what follows
 * them and is none (NV indices are padded) is passed over. LY_MALFORMED: no
 * certificate, or one without a key that an EK may have. `roots` that cannot
 * be read are as empty ones, and say so. */
LY_MUST enum ly_rc ly_ek_cert_read(struct ly_bytes chain, const char *roots,
    struct ly_ek_cert *out, struct ly_why *why);

#endif
