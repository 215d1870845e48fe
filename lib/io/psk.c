/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pre-shared keys as OpenSSL wants them: a session that was never negotiated.
 * A listener's callback finds one by its identity, before the binder has shown
 * that the peer has the key; so an identity is used up only by
 * ly_psk_admit(), when the handshake is over.
 */
#include "lib/io/conn_int.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char aes_256_gcm_sha384[] = { 0x13, 0x02 };
static const unsigned char context[] = "lanyard psk";

struct ly_expected {
	struct ly_psk psk;
	bool used;
	struct ly_expected *next;
};

/* ---- who is expected ---- */

static struct ly_expected *
find(struct ly_net *net, const void *identity, size_t len)
{
	for (struct ly_expected *e = net->expected; e; e = e->next)
		if (strlen(e->psk.identity) == len &&
		    memcmp(e->psk.identity, identity, len) == 0)
			return e;
	return NULL;
}

enum ly_rc
ly_net_expect(struct ly_net *net, const struct ly_psk *psk, struct ly_why *why)
{
	struct ly_expected *e;

	if (find(net, psk->identity, strlen(psk->identity)))
		return ly_fail(why, LY_BUSY, "key %s is expected already",
		    psk->identity);
	if (net->expected_n == LY_PSKS_MOST)
		return ly_fail(why, LY_FULL, "over %d keys are expected",
		    LY_PSKS_MOST);
	e = calloc(1, sizeof(*e));
	if (!e)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	e->psk = *psk;
	e->next = net->expected;
	net->expected = e;
	net->expected_n++;
	return LY_OK;
}

void
ly_net_unexpect(struct ly_net *net, const struct ly_id *mig)
{
	struct ly_expected **at = &net->expected, *e;

	while ((e = *at)) {
		if (mig && !ly_id_same(&e->psk.mig, mig)) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		ly_wipe(e, sizeof(*e));
		free(e);
		net->expected_n--;
	}
}

/* ---- OpenSSL's callbacks ---- */

static SSL_SESSION *
session_of(SSL *ssl, const struct ly_psk *psk)
{
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_256_gcm_sha384);
	SSL_SESSION *s = SSL_SESSION_new();

	if (s && cipher &&
	    SSL_SESSION_set1_master_key(s, psk->key, LY_PSK_KEY_LEN) &&
	    SSL_SESSION_set_cipher(s, cipher) &&
	    SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION))
		return s;
	SSL_SESSION_free(s);
	return NULL;
}

/* Anything but an identity that is expected lets TLS go on as if none had been
 * shown: then a certificate is asked for. */
static int
on_find(SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **out)
{
	struct ly_conn *c = SSL_get_app_data(ssl);
	struct ly_expected *e = find(c->net, identity, len);

	*out = NULL;
	if (!e || e->used) {
		c->psk_refused = e ? "its key was used before" :
				     "its key is not expected";
		return 1;
	}
	ly_copy(c->psk_shown, sizeof(c->psk_shown), e->psk.identity);
	*out = session_of(ssl, &e->psk);
	return *out != NULL;
}

static int
on_use(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *len,
    SSL_SESSION **out)
{
	struct ly_conn *c = SSL_get_app_data(ssl);

	*out = NULL;
	if (md && EVP_MD_get_type(md) != NID_sha384)
		return 0; /* the server has picked what we did not offer */
	*identity = (const unsigned char *)c->psk->identity;
	*len = strlen(c->psk->identity);
	*out = session_of(ssl, c->psk);
	return *out != NULL;
}

/* ---- of a connection ---- */

bool
ly_psk_ready(struct ly_conn *c)
{
	SSL_set_app_data(c->ssl, c);
	if (c->link.listening) {
		SSL_set_psk_find_session_callback(c->ssl, on_find);
		return SSL_set_session_id_context(c->ssl, context,
			   sizeof(context) - 1) == 1;
	}
	if (!c->psk)
		return true;
	SSL_certs_clear(c->ssl);
	SSL_set_psk_use_session_callback(c->ssl, on_use);
	return SSL_set_ciphersuites(c->ssl, "TLS_AES_256_GCM_SHA384") == 1;
}

/* The listener's: first come, the others are too late. */
static enum ly_rc
take(struct ly_conn *c, struct ly_why *why)
{
	struct ly_expected *e = find(c->net, c->psk_shown,
	    strlen(c->psk_shown));

	if (!e || e->used)
		return ly_fail(why, LY_REFUSED, "its key %s",
		    e ? "was used before" : "is expected no more");
	c->psk = malloc(sizeof(*c->psk));
	if (!c->psk)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	*c->psk = e->psk;
	e->used = true;
	ly_wipe(e->psk.key, sizeof(e->psk.key));
	return LY_OK;
}

enum ly_rc
ly_psk_admit(struct ly_conn *c, struct ly_why *why)
{
	bool shown = SSL_session_reused(c->ssl);
	enum ly_rc rc = LY_OK;

	if (!shown && !c->psk)
		return LY_UNKNOWN; /* certificates, as ever */
	if (!shown)
		return ly_fail(why, LY_REFUSED, "the peer passes our key over");
	if (!c->dialled)
		rc = take(c, why);
	if (rc != LY_OK)
		return rc;
	ly_wipe(c->psk->key, sizeof(c->psk->key));
	c->peer = c->psk->peer;
	if (c->peer.not_after == 0)
		c->peer.not_after = UINT64_MAX;
	return LY_OK;
}

enum ly_rc
ly_psk_allows(const struct ly_conn *c, struct ly_why *why)
{
	if (!c->psk ||
	    (c->hello.purpose == LY_FOR_STREAM &&
		ly_id_same(&c->hello.mig, &c->psk->mig)))
		return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    "key %s is for the stream of its migration only", c->psk->identity);
}

void
ly_psk_free(struct ly_conn *c)
{
	if (c->psk)
		ly_wipe(c->psk, sizeof(*c->psk));
	free(c->psk);
	c->psk = NULL;
}

struct ly_conn *
ly_conn_dial_psk(struct ly_net *net, const char *address,
    const struct ly_psk *psk, const struct ly_conn_ops *ops, void *arg)
{
	struct ly_hello hello = { .purpose = LY_FOR_STREAM, .mig = psk->mig };
	struct ly_psk *copy = malloc(sizeof(*copy));
	struct ly_conn *c = copy ?
	    ly_conn_dial(net, address, NULL, &hello, ops, arg) :
	    NULL;

	if (!c) {
		free(copy);
		return NULL;
	}
	*copy = *psk; /* TLS begins on the loop, when the socket is there */
	c->psk = copy;
	return c;
}

const struct ly_psk *
ly_conn_psk(const struct ly_conn *c)
{
	return c->psk;
}
