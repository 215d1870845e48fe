/* SPDX-License-Identifier: Apache-2.0 */
/* What identity.c (keys, whom we believe) and signed.c (signed objects) share;
 * for these two only. */
#ifndef LY_IO_IDENTITY_INT_H
#define LY_IO_IDENTITY_INT_H

#include "lib/io/crl.h"
#include "lib/io/identity.h"

#define PATH_MOST 512
#define SITES_MOST 64	       /* pinned sites; more is an error at start */
#define CAS_MOST 4	       /* of one site: the CA, and its next one */
#define LEAF_MOST 2048	       /* bytes of a signer's certificate */
#define VOUCH_MOST (64 * 1024) /* bytes of a PEM text */

struct site {
	char name[LY_NAME_MAX];
	X509 *ca[CAS_MOST];
	unsigned cas_n;
};

struct keys {
	X509 *leaf;
	uint8_t leaf_der[LEAF_MOST];
	size_t leaf_len;
	EVP_PKEY *key;
	STACK_OF(X509) *chain; /* behind the leaf, as the file has it */
	uint8_t *pem;	       /* the file of both */
	size_t pem_len;
	struct site site[SITES_MOST];
	unsigned sites_n;
	X509_STORE *store; /* every pinned CA */
	SSL_CTX *ctx[2];   /* dialling, listening */
	struct ly_peer self;
};

struct ly_identity {
	char cert[PATH_MOST], key[PATH_MOST], trust[PATH_MOST];
	struct keys *keys;
	struct ly_peer self; /* keys->self, where it stays */
	struct ly_crls crls;
};

/* The newest error of OpenSSL's queue, in its words; empties the queue. */
const char *ly_ssl_says(void);
LY_MUST enum ly_rc ly_key_is_p256(EVP_PKEY *key, const char *what,
    struct ly_why *why);
/* The chain of `leaf` to one of our CAs, checked as TLS would; not revoked. */
LY_MUST enum ly_rc ly_leaf_verify(const struct ly_identity *ids, X509 *leaf,
    struct ly_peer *out, struct ly_why *why);

#endif
