/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that are let in by a key which both sides were given beforehand,
 * on the same port as those with certificates. TLS 1.3 with an external PSK,
 * never without a Diffie-Hellman beside it (psk_dhe_ke), AES-256-GCM with
 * SHA-384 and nothing else; no certificate is sent or asked for.
 *
 * Whoever listens says which identities it expects. Each lets in one
 * connection, which may only be a STREAM of the migration it was expected for,
 * and its peer is whom the key was made for: the handshake proves that it has
 * the key, no more. A wrong key uses nothing up, so nobody who has merely seen
 * an identity on the wire can take its place.
 *
 * Who dials with a key never falls back to a certificate, and shows none.
 */
#ifndef LY_IO_PSK_H
#define LY_IO_PSK_H

#include "lib/io/conn.h"

#define LY_PSK_NAME_MAX 64 /* of an identity, with its NUL */
#define LY_PSK_KEY_LEN 48
#define LY_PSKS_MOST 1024 /* expected at a time; more are refused (LY_FULL) */

struct ly_psk {
	char identity[LY_PSK_NAME_MAX]; /* goes in clear */
	uint8_t key[LY_PSK_KEY_LEN];
	struct ly_id mig;
	uint8_t lane;	     /* of it, for who is told of the connection */
	struct ly_peer peer; /* the other end: id, site, name, role; serial ""
			      * if it is not to be looked up among the revoked;
			      * not_after 0 for no end */
};

/* Copied. LY_BUSY: that identity is expected, or was used, since the last
 * ly_net_unexpect() of its migration. */
LY_MUST enum ly_rc ly_net_expect(struct ly_net *net, const struct ly_psk *psk,
    struct ly_why *why);
/* All of a migration (NULL: of every one), used or not; their keys are wiped. Connections that
 * stand are not touched. */
void ly_net_unexpect(struct ly_net *net, const struct ly_id *mig);

/* As ly_conn_dial(), a STREAM of psk->mig; `psk` is copied. */
struct ly_conn *ly_conn_dial_psk(struct ly_net *net, const char *address,
    const struct ly_psk *psk, const struct ly_conn_ops *ops, void *arg);
/* What let it in, from on_open() on; its key is gone by then. NULL: a
 * certificate did. */
const struct ly_psk *ly_conn_psk(const struct ly_conn *c);

#endif
