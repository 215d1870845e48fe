/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL as a filter over memory: it owns no socket. What came in is lent to
 * it where the socket put it; what goes out it puts into the net's `cipher`,
 * for conn_out.c to send before anything else uses that. And the buffers of a
 * connection, which may hold secrets.
 */
#include "lib/io/conn_int.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

/* ---- buffers ---- */

void
ly_buf_free(struct buf *b)
{
	if (b->base)
		ly_wipe(b->base, b->room);
	free(b->base);
	*b = (struct buf){ 0 };
}

bool
ly_buf_grow(struct buf *b, size_t more, size_t most)
{
	size_t room = ly_max(b->room, 4096);
	uint8_t *base;

	if (b->len + more <= b->room)
		return true;
	if (b->len + more > most)
		return false;
	while (room < b->len + more)
		room *= 2;
	base = malloc(room);
	if (!base)
		return false;
	if (b->len)
		memcpy(base, b->base, b->len);
	if (b->base)
		ly_wipe(b->base, b->len);
	free(b->base);
	b->base = base;
	b->room = room;
	return true;
}

void
ly_buf_clear(struct buf *b)
{
	if (b->len)
		ly_wipe(b->base, b->len);
	b->at = b->len = 0;
}

/* ---- the BIO: lends what came in, collects what goes out ---- */

static int
bio_read(BIO *bio, char *to, int want)
{
	struct ly_conn *c = BIO_get_data(bio);
	size_t n = want > 0 ? ly_min((size_t)want, c->in_len) : 0;

	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(to, c->in, n);
	c->in += n;
	c->in_len -= n;
	return (int)n;
}

static int
bio_write(BIO *bio, const char *from, int len)
{
	struct ly_conn *c = BIO_get_data(bio);
	struct ly_net *net = c->net;

	BIO_clear_retry_flags(bio);
	if (len < 0 || (size_t)len > CIPHER_LEN - net->cipher_len) {
		BIO_set_retry_write(bio);
		return -1;
	}
	memcpy(net->cipher + net->cipher_len, from, (size_t)len);
	net->cipher_len += (size_t)len;
	c->records++;
	return len;
}

static long
bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio, (void)num, (void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

BIO_METHOD *
ly_conn_bio(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(),
	    "lanyard connection");

	if (m && BIO_meth_set_read(m, bio_read) &&
	    BIO_meth_set_write(m, bio_write) && BIO_meth_set_ctrl(m, bio_ctrl))
		return m;
	BIO_meth_free(m);
	return NULL;
}

enum ly_rc
ly_conn_ssl(struct ly_conn *c, struct ly_why *why)
{
	SSL_CTX *ctx;
	BIO *bio;
	enum ly_rc rc;

	rc = ly_identity_ctx(c->net->ids, c->link.listening, &ctx, why);
	if (rc != LY_OK)
		return rc;
	c->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	bio = BIO_new(c->net->method);
	if (!c->ssl || !bio) {
		BIO_free(bio);
		return ly_fail(why, LY_OUTSIDE, "no memory");
	}
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set_bio(c->ssl, bio, bio);
	if (c->link.listening)
		SSL_set_accept_state(c->ssl);
	else
		SSL_set_connect_state(c->ssl);
	if (!ly_psk_ready(c))
		return ly_fail(why, LY_OUTSIDE, "TLS: no pre-shared keys");
	return LY_OK;
}

/* What there is to say of a failure: that of the key, else the certificate's
 * fault if there is one, else OpenSSL's newest error. */
const char *
ly_conn_tls_says(struct ly_conn *c)
{
	long bad = c->psk ? X509_V_OK : SSL_get_verify_result(c->ssl);
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	if (c->psk_refused)
		return c->psk_refused;
	if (bad != X509_V_OK)
		return X509_verify_cert_error_string(bad);
	return text ? text : "the connection broke off";
}
