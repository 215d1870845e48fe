/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a certificate says of a host beyond its name: that it was enrolled, so
 * which TPM it has, since which boot, and of which class it is. Two extensions,
 * both or none:
 *
 * - lanyardHost, 2.25.20846238016603469010150456982820421833.1, not critical:
 *
 *     LanyardHost ::= SEQUENCE {
 *         akName       OCTET STRING (SIZE (34)),  -- 000B and a SHA-256
 *         skName       OCTET STRING (SIZE (34)),
 *         resetCount   INTEGER (0..4294967295),
 *         restartCount INTEGER (0..4294967295),
 *         approval     INTEGER (0..18446744073709551615) }
 *
 *   `approval`: the generation of the site's list of approved states in which
 *   the state that the host quoted was found; 0: in none.
 *
 * - certificatePolicies with the one policy 2.25.(the same).2.C1.C2...: the
 *   name of the class, a number for each character.
 *
 * For ca.c and identity.c, which give them in a struct ly_peer.
 */
#ifndef LY_IO_HOSTCERT_H
#define LY_IO_HOSTCERT_H

#include "lib/io/identity.h"

#include <openssl/x509.h>

#define LY_OID_HOST "2.25.20846238016603469010150456982820421833.1"
#define LY_OID_CLASS "2.25.20846238016603469010150456982820421833.2"

/* Adds both to `cert`, which is not signed yet. False: out of memory, or the
 * class is no name. */
bool ly_hostcert_add(X509 *cert, const struct ly_peer *host);
/* Sets out->attested and what belongs to it; LY_REFUSED unless both are exactly
 * as above, each once, and `out` is a host. Neither: `attested` is false. */
LY_MUST enum ly_rc ly_hostcert_read(const X509 *cert, struct ly_peer *out,
    struct ly_why *why);

#endif
