/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who we are and whom we believe: certificates, SPIFFE ids, trust domains.
 * X.509 is spoken behind this header, in crl.c, and by the CA (lib/io/ca.h).
 *
 * A certificate of ours has exactly one URI SAN, "spiffe://SITE/host/NAME" or
 * "spiffe://SITE/manager/NAME", and nothing else in the SAN (X509-SVID). It
 * is believed only when its chain ends in the CA that is pinned for just that
 * SITE: a CA of another site proves nothing about this one.
 */
#ifndef LY_IO_IDENTITY_H
#define LY_IO_IDENTITY_H

#include "lib/base/cursor.h"
#include "lib/base/text.h"
#include "lib/crypt/crypt.h"

#include <openssl/ssl.h>

#define LY_SERIAL_TEXT 48
#define LY_TPM_NAME_LEN 34 /* bytes of a TPM key's Name: 000B, SHA-256 */

enum ly_role { LY_ROLE_HOST = 1, LY_ROLE_MANAGER = 2 };

struct ly_peer {
	char id[LY_SPIFFE_MAX]; /* the whole SPIFFE id */
	char site[LY_NAME_MAX]; /* its trust domain */
	char name[LY_NAME_MAX]; /* NAME */
	enum ly_role role;
	char address[LY_ADDR_MAX]; /* of the socket's other end, for the log */
	char serial[LY_SERIAL_TEXT]; /* of its certificate, in hex */
	uint8_t hk[32];	    /* SHA-256 of its key's SubjectPublicKeyInfo */
	uint64_t not_after; /* of its certificate or, on a connection, of ours
			     * if that is sooner; seconds since 1970 */

	/* Of an enrolled host, as its certificate says (lib/io/hostcert.h). */
	bool attested;		  /* the rest holds only then */
	char class_[LY_NAME_MAX]; /* "class" is a word of other languages */
	uint8_t ak_name[LY_TPM_NAME_LEN], sk_name[LY_TPM_NAME_LEN];
	uint32_t reset_count, restart_count; /* of its TPM, at enrolment */
	uint64_t approval; /* generation of the approved states; 0: in none */
};

/* Takes a SPIFFE id apart; LY_MALFORMED unless it is exactly of our form. */
LY_MUST enum ly_rc ly_spiffe_parse(const char *id, struct ly_peer *out,
    struct ly_why *why);
/* "spiffe://SITE/host/NAME" */
void ly_spiffe_host(const char *site, const char *name,
    char out[LY_SPIFFE_MAX]);

struct ly_identity_files {
	const char *cert;  /* PEM, leaf first */
	const char *key;   /* PEM, mode 0600 or tighter, else refused */
	const char *trust; /* directory of SITE.pem, one CA each (and its next
			    * one, while a site changes CAs) */
	const char *crls;  /* directory of SITE.crl (lib/io/crl.h); NULL: who
			    * was revoked is not remembered over a restart */
};

struct ly_identity;
struct ly_crls;

/* Reads the files; every error names file and cause. A missing trust entry
 * for our own site is an error. */
LY_MUST enum ly_rc ly_identity_load(const struct ly_identity_files *files,
    struct ly_identity **out, struct ly_why *why);
/* Reads the same files again (SIGHUP, after a renewal). On failure everything
 * stays as it was. Connections that stand are not touched; they end at the
 * not_after of the certificates they began with. */
LY_MUST enum ly_rc ly_identity_reload(struct ly_identity *ids,
    struct ly_why *why);
/* The same with another certificate and key from now on: those that a host was
 * given when it was enrolled, or those it began with, again. */
LY_MUST enum ly_rc ly_identity_adopt(struct ly_identity *ids, const char *cert,
    const char *key, struct ly_why *why);
void ly_identity_free(struct ly_identity *ids);
/* Good as long as `ids` is; its id never changes. */
const struct ly_peer *ly_identity_self(const struct ly_identity *ids);
/* Our certificate and what stands behind it, in PEM, leaf first. Good until
 * they are read anew. */
struct ly_bytes ly_identity_papers(const struct ly_identity *ids);

/* The newest CRL of a site: every handshake asks it, in both roles, and every
 * signed object. *fresh: it is new, and connections that stand may be those of
 * revoked ones (ly_net_recheck()). LY_UNKNOWN: the site is not believed. */
LY_MUST enum ly_rc ly_identity_crl(struct ly_identity *ids, const char *site,
    struct ly_bytes der, bool *fresh, struct ly_why *why);
const struct ly_crls *ly_identity_crls(const struct ly_identity *ids);
/* A site whose CRL should have been followed by another by now; each once. */
const char *ly_identity_stale(struct ly_identity *ids, uint64_t now_s);
bool ly_identity_revoked(const struct ly_identity *ids,
    const struct ly_peer *peer);

/* A TLS context: 1.3 only, mutual, no tickets, no early data, AES-256-GCM and
 * ChaCha20. One each for dialling and listening. Up-referenced; SSL_CTX_free
 * it. */
LY_MUST enum ly_rc ly_identity_ctx(struct ly_identity *ids, bool listening,
    SSL_CTX **out, struct ly_why *why);
/* After the handshake: the peer, checked as the head of this file says. */
LY_MUST enum ly_rc ly_identity_peer(struct ly_identity *ids, SSL *ssl,
    struct ly_peer *out, struct ly_why *why);

/*
 * Signed objects: ECDSA P-256, SHA-256, over "lanyard-sig-v1" 00, u16 type,
 * tagged bytes. Rendered: u32 length + tagged bytes, u32 length + DER
 * signature, u32 length + DER of the signer's certificate.
 */
LY_MUST enum ly_rc ly_sign(struct ly_identity *ids, uint16_t type,
    const uint8_t *tagged, size_t len, uint8_t *out, size_t *out_len,
    struct ly_why *why); /* *out_len: in its room, out its length */
/* Checks signature and chain (pinned CA of the signer's site, now valid);
 * `tagged` borrows from `buf`. */
LY_MUST enum ly_rc ly_verify(struct ly_identity *ids, uint16_t type,
    const uint8_t *buf, size_t len, const uint8_t **tagged, size_t *tagged_len,
    struct ly_peer *signer, struct ly_why *why);
/* The signer's certificate in it, in DER, for lib/crypt/cert.h; empty: there is
 * none. It is believed only after ly_verify(). */
struct ly_bytes ly_signed_by(struct ly_bytes object);

/* Somebody by his certificate alone (the first of a PEM text), who is not at
 * the other end of a connection: believed as in a handshake, now. That he has
 * its key is for the caller to see. */
LY_MUST enum ly_rc ly_identity_vouch(const struct ly_identity *ids,
    struct ly_bytes pem, struct ly_peer *out, struct ly_why *why);

/*
 * For a TPM: ECDSA P-256 over SHA-256(`msg`), r then s. LY_REFUSED: what begins
 * as a signed object does; the first bytes are chosen by the TPM's host, and it
 * shall not have our signature under anything else than what it asks for.
 */
LY_MUST enum ly_rc ly_sign_raw(struct ly_identity *ids, struct ly_bytes msg,
    uint8_t sig[LY_SIG_RAW], struct ly_why *why);
/* Our own public key; a policy names it by ly_tpm_authority_name(). */
LY_MUST enum ly_rc ly_identity_point(const struct ly_identity *ids,
    struct ly_point *out, struct ly_why *why);

#define LY_SIG_DER_MAX 80 /* bytes of a DER ECDSA P-256 signature */

/*
 * What others can check with openssl(1): ECDSA P-256, SHA-256, over just these
 * bytes. They are text that begins with a line that says what it is, so that
 * none can be taken for another, nor for a signed object or what a TPM wants
 * signed: those have zero bytes.
 */
LY_MUST enum ly_rc ly_sign_text(struct ly_identity *ids, const char *text,
    uint8_t sig[LY_SIG_DER_MAX], size_t *sig_len, struct ly_why *why);
/* LY_REFUSED unless the key of this certificate has; whom it belongs to, and
 * whether it is believed, is the caller's to know. */
LY_MUST enum ly_rc ly_check_text(const char *cert_pem, const char *text,
    size_t len, const uint8_t *sig, size_t sig_len, struct ly_why *why);
/* LY_REFUSED unless our own key has signed it. */
LY_MUST enum ly_rc ly_check_own_text(struct ly_identity *ids, const char *text,
    size_t len, const uint8_t *sig, size_t sig_len, struct ly_why *why);

#endif
