/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Those who are not at the other end of a connection: a host whose certificate
 * stands in its evidence, the manager who has signed a call.
 */
#include "lib/io/identity_int.h"

#include <openssl/err.h>
#include <openssl/pem.h>

LY_AUTO_FOR(X509_free, X509)
LY_AUTO_FOR(BIO_free_all, BIO)

enum ly_rc
ly_identity_vouch(const struct ly_identity *ids, struct ly_bytes pem,
    struct ly_peer *out, struct ly_why *why)
{
	LY_AUTO(BIO_free_all) BIO *bio = NULL;
	LY_AUTO(X509_free) X509 *leaf = NULL;

	if (pem.len > VOUCH_MOST)
		return ly_fail(why, LY_MALFORMED, "a certificate of %zu bytes",
		    pem.len);
	bio = BIO_new_mem_buf(pem.len ? pem.at : (const void *)"",
	    (int)pem.len);
	leaf = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	ERR_clear_error();
	if (!leaf)
		return ly_fail(why, LY_MALFORMED, "not a certificate");
	return ly_leaf_verify(ids, leaf, out, why);
}

struct ly_bytes
ly_signed_by(struct ly_bytes object)
{
	struct ly_rd r = ly_rd_over(object.at, object.len);
	struct ly_bytes der = { NULL, 0 };

	for (unsigned i = 0; i < 3; i++) { /* bytes, signature, certificate */
		der.len = ly_rd_u32(&r);
		der.at = ly_rd_bytes(&r, der.len);
	}
	return r.bad ? (struct ly_bytes){ NULL, 0 } : der;
}
