/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS over memory, frames, and doing as lib/link says.
 *
 * In: uv reads into the net's one `raw`; OpenSSL takes from there through a
 * BIO that only lends, and decrypts into the net's one `plain`, where frames
 * lie whole and are delivered where they lie. What is left of a half frame at
 * the end moves to the connection's own `half`, and later bytes of a long
 * frame are decrypted straight into that.
 *
 * Out: ly_conn_send() appends to `out`. The flush, once a turn, encrypts all of
 * it into the net's one `cipher` and offers that to the kernel; what it does
 * not take at once moves to `wire`, and until that is taken the rest waits as
 * plaintext. A big DATA is encrypted from where the caller has it, at once.
 *
 * A close by the owner is a wish, which stops the delivery of frames at once
 * and is granted by the flush. Nothing here calls the owner from within
 * ly_conn_send() or ly_conn_close().
 */
#include "lib/io/conn_int.h"
#include "lib/io/log.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECT_LEN 16384u /* DATA from here on is not copied */

static void feed(struct ly_conn *c, const struct ly_link_event *ev);

/* ---- buffers ---- */

static void
buf_free(struct buf *b)
{
	if (b->base)
		ly_wipe(b->base, b->room);
	free(b->base);
	*b = (struct buf){ 0 };
}

/* Room for `more` bytes behind len. Old bytes are wiped: they may be secret. */
static bool
buf_grow(struct buf *b, size_t more, size_t most)
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

static void
buf_clear(struct buf *b)
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

static bool
ssl_make(struct ly_conn *c, struct ly_why *why)
{
	SSL_CTX *ctx;
	BIO *bio;

	if (ly_identity_ctx(c->net->ids, c->link.listening, &ctx, why) != LY_OK)
		return false;
	c->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	bio = BIO_new(c->net->method);
	if (!c->ssl || !bio) {
		BIO_free(bio);
		ly_fail(why, LY_OUTSIDE, "no memory");
		return false;
	}
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set_bio(c->ssl, bio, bio);
	if (c->link.listening)
		SSL_set_accept_state(c->ssl);
	else
		SSL_set_connect_state(c->ssl);
	return true;
}

/* What OpenSSL has to say of a failure: the certificate's fault if there is
 * one, else the newest error. */
static const char *
tls_says(SSL *ssl)
{
	long bad = SSL_get_verify_result(ssl);
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	if (bad != X509_V_OK)
		return X509_verify_cert_error_string(bad);
	return text ? text : "the connection broke off";
}

/* ---- out ---- */

void
ly_conn_dirty(struct ly_conn *c)
{
	if (c->is_dirty)
		return;
	c->is_dirty = true;
	c->next_dirty = c->net->dirty;
	c->net->dirty = c;
}

static void
break_off(struct ly_conn *c, int error)
{
	if (!c->broken)
		c->broken = error;
	ly_conn_dirty(c);
}

static uint64_t
now_of(const struct ly_conn *c)
{
	return uv_now(c->net->loop);
}

/* `pending` bytes wait for the kernel after it took some. */
static void
wrote(struct ly_conn *c)
{
	struct ly_link_todo todo;
	struct ly_link_event ev = { .kind = LY_LINK_WROTE,
		.now_ms = now_of(c),
		.pending = c->is_writing };

	/* Asks for nothing, so it may come at any time. */
	ly_link_step(&c->link, &ev, &todo);
	assert(todo.n == 0);
	c->took = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
}

static void
on_written(uv_write_t *req, int status)
{
	struct ly_conn *c = req->data;

	c->is_writing = false;
	c->wire.len = 0;
	if (status == UV_ECANCELED || c->tcp_closing)
		return;
	if (status < 0)
		break_off(c, status);
	wrote(c);
	ly_conn_dirty(c);
}

/* A write of the rare kind: an alert or a handshake while another waits. */
struct late {
	uv_write_t req;
	uint8_t bytes[];
};

static void
on_late(uv_write_t *req, int status)
{
	struct ly_conn *c = req->handle->data;

	if (status < 0 && status != UV_ECANCELED)
		break_off(c, status);
	free(req->data);
}

static void
write_late(struct ly_conn *c, const uint8_t *at, size_t len)
{
	struct late *l = malloc(sizeof(*l) + len);
	uv_buf_t b;
	int r;

	if (!l) {
		break_off(c, UV_ENOMEM);
		return;
	}
	memcpy(l->bytes, at, len);
	l->req.data = l;
	b = uv_buf_init((char *)l->bytes, (unsigned)len);
	r = uv_write(&l->req, (uv_stream_t *)&c->tcp, &b, 1, on_late);
	if (r < 0) {
		free(l);
		break_off(c, r);
	}
}

/* What the kernel did not take waits in `wire`. */
static void
write_rest(struct ly_conn *c, const uint8_t *at, size_t len)
{
	uv_buf_t b;
	int r;

	if (!buf_grow(&c->wire, len, CIPHER_LEN)) {
		break_off(c, UV_ENOMEM);
		return;
	}
	memcpy(c->wire.base, at, len);
	c->wire.len = len;
	c->used = true;
	b = uv_buf_init((char *)c->wire.base, (unsigned)len);
	c->writing.data = c;
	r = uv_write(&c->writing, (uv_stream_t *)&c->tcp, &b, 1, on_written);
	if (r < 0) {
		break_off(c, r);
		return;
	}
	c->is_writing = true;
	wrote(c);
}

/* Sends what OpenSSL has put into `cipher`. */
static void
drain_cipher(struct ly_conn *c)
{
	struct ly_net *net = c->net;
	size_t len = net->cipher_len;
	uv_buf_t b = uv_buf_init((char *)net->cipher, (unsigned)len);
	int r;

	net->cipher_len = 0;
	if (len == 0 || c->broken || c->tcp_closing)
		return;
	if (c->is_writing) {
		write_late(c, net->cipher, len);
		return;
	}
	r = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
	if (r == UV_EAGAIN)
		r = 0;
	if (r < 0)
		break_off(c, r);
	else if ((size_t)r < len)
		write_rest(c, net->cipher + r, len - (size_t)r);
}

/* Encrypts `len` bytes, at most ONCE, and sends them. */
static void
encrypt(struct ly_conn *c, const uint8_t *at, size_t len)
{
	if (c->records >= c->net->rekey_records &&
	    SSL_key_update(c->ssl, SSL_KEY_UPDATE_NOT_REQUESTED))
		c->records = 0;
	while (len && !c->broken) {
		size_t n = 0;

		if (SSL_write_ex(c->ssl, at, len, &n) != 1) {
			ERR_clear_error();
			break_off(c, UV_EPROTO);
			break;
		}
		at += n;
		len -= n;
	}
	drain_cipher(c);
}

static bool
can_say(const struct ly_conn *c)
{
	return (c->link.state == LY_LINK_GREETING ||
		   c->link.state == LY_LINK_UP ||
		   c->link.state == LY_LINK_CLOSING) &&
	    !c->broken && !c->shut_done && c->tcp_open && !c->tcp_closing;
}

/* Everything in `out` that the kernel will have. */
static void
flush_out(struct ly_conn *c)
{
	while (can_say(c) && !c->is_writing && c->out.at < c->out.len) {
		size_t n = ly_min(c->out.len - c->out.at, ONCE);

		encrypt(c, c->out.base + c->out.at, n);
		c->out.at += n;
	}
	if (c->out.at == c->out.len)
		buf_clear(&c->out);
}

static void
put_frame(struct ly_conn *c, unsigned type, const void *in)
{
	struct buf *b = &c->out;
	size_t most = LY_FRAME_HEAD + ly_frame_max(type);
	struct ly_wr w;

	if (b->at > 0 && b->len + most > b->room) {
		memmove(b->base, b->base + b->at, b->len - b->at);
		b->len -= b->at;
		b->at = 0;
	}
	if (!buf_grow(b, most, OUT_MOST)) {
		ly_conn_close(c, LY_FULL, "too much is waiting to be sent");
		return;
	}
	w = ly_wr_over(b->base + b->len, b->room - b->len);
	ly_frame_put(type, in, &w);
	assert(!w.bad); /* a field over its own limit is our mistake */
	b->len += ly_wr_len(&w);
	c->used = true;
	ly_conn_dirty(c);
}

/* DATA's packed rendering is its one field: u32 length and the bytes. */
static bool
send_direct(struct ly_conn *c, const struct ly_data *d)
{
	uint8_t head[LY_FRAME_HEAD + 4];
	struct ly_wr w = ly_wr_over(head, sizeof(head));

	if (d->body.len < DIRECT_LEN || d->body.len > LY_CHUNK_MAX ||
	    c->link.state != LY_LINK_UP || c->is_writing)
		return false;
	flush_out(c);
	if (c->is_writing || !can_say(c))
		return false;
	ly_wr_u16(&w, LY_FRAME_MAGIC);
	ly_wr_u8(&w, LY_FRAME_VERSION);
	ly_wr_u8(&w, LY_DATA);
	ly_wr_u32(&w, (uint32_t)d->body.len + 4);
	ly_wr_u32(&w, (uint32_t)d->body.len);
	if (SSL_write(c->ssl, head, sizeof(head)) != (int)sizeof(head)) {
		ERR_clear_error();
		break_off(c, UV_EPROTO);
		return true;
	}
	encrypt(c, d->body.at, d->body.len);
	return true;
}

void
ly_conn_send(struct ly_conn *c, unsigned type, const void *in)
{
	bool early = c->link.state == LY_LINK_GREETING && c->opened;

	if ((c->link.state != LY_LINK_UP && !early) || c->wish || c->broken)
		return;
	if (type != LY_DATA || !send_direct(c, in))
		put_frame(c, type, in);
}

/* Who is told that something waits is told when nothing does. */
size_t
ly_conn_pending(struct ly_conn *c)
{
	size_t queued = c->out.len - c->out.at;

	if (c->is_writing)
		queued += uv_stream_get_write_queue_size(
		    (const uv_stream_t *)&c->tcp);
	if (queued)
		c->crowded = true;
	return queued;
}

/* ---- in ---- */

static void
say(struct ly_conn *c, enum ly_link_news kind, enum ly_rc rc, const char *why)
{
	feed(c,
	    &(struct ly_link_event){ .kind = kind,
		.now_ms = now_of(c),
		.rc = rc,
		.why = why });
}

void
ly_conn_fail(struct ly_conn *c, enum ly_rc rc, const char *fmt, ...)
{
	struct ly_why why;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why.text, sizeof(why.text), fmt, ap);
	va_end(ap);
	say(c, LY_LINK_GONE, rc, why.text);
}

static bool
listens_still(const struct ly_conn *c)
{
	return c->link.state < LY_LINK_CLOSING && !c->wish;
}

/* What the machine is told of a frame; LY_LINK_OTHER for most. */
static struct ly_link_event
news_of(struct ly_conn *c, unsigned type, const union ly_any *m)
{
	struct ly_link_event ev = { .kind = LY_LINK_OTHER,
		.now_ms = now_of(c) };

	if (type > LY_BYE)
		return ev;
	if (type == LY_HELLO) {
		ev.kind = LY_LINK_HELLO;
		ev.proto = m->hello.proto;
		ev.purpose = m->hello.purpose;
		if (c->link.listening)
			c->hello = m->hello;
	} else if (type == LY_WELCOME) {
		ev.kind = LY_LINK_WELCOME;
		ev.proto = m->welcome.proto;
		ly_copy(c->hello.software, sizeof(c->hello.software),
		    m->welcome.software);
	} else if (type == LY_BYE) {
		ev.kind = LY_LINK_BYE;
		ev.rc = (enum ly_rc)m->bye.rc;
	} else {
		ev.kind = type == LY_PING ? LY_LINK_PING : LY_LINK_PONG;
		ev.stamp = m->ping.stamp;
	}
	return ev;
}

static void
deliver(struct ly_conn *c, unsigned type, const union ly_any *m)
{
	struct ly_why why = { "" };
	enum ly_rc rc;

	rc = c->ops->on_frame(c, type, m, c->arg, &why);
	if (rc != LY_OK)
		ly_conn_close(c, rc, why.text);
}

/* One whole frame. */
static void
on_frame(struct ly_conn *c, const struct ly_frame *f)
{
	struct ly_why why = { "" };
	struct ly_link_event ev;
	struct ly_link_todo todo;
	union ly_any m;
	enum ly_rc rc = ly_frame_decode(f, &m, sizeof(m), &why);

	if (rc != LY_OK) {
		say(c, LY_LINK_CLOSE, rc, why.text);
		return;
	}
	ev = news_of(c, f->type, &m);
	if (ev.kind != LY_LINK_OTHER || c->link.state != LY_LINK_UP) {
		feed(c, &ev);
		return;
	}
	/* The path of every command: one step, one delivery. */
	ly_link_step(&c->link, &ev, &todo);
	assert(todo.n == 1 && todo.item[0].act == LY_LINK_DELIVER);
	deliver(c, f->type, &m);
}

/* Delivers whole frames from `b`; returns how many. *need is the length of
 * the half frame that is left over, where that is known. */
static unsigned
eat(struct ly_conn *c, struct buf *b, size_t *need)
{
	struct ly_why why;
	unsigned n = 0;

	for (;; n++) {
		struct ly_frame f;
		enum ly_rc rc = ly_frame_get(b->base + b->at, b->len - b->at,
		    &f, need, &why);

		if (rc == LY_SHORT)
			return n;
		if (rc != LY_OK) {
			say(c, LY_LINK_CLOSE, rc, why.text);
			return n;
		}
		b->at += *need;
		*need = 0;
		on_frame(c, &f);
		if (!listens_still(c))
			return n + 1;
	}
}

/* Moves what is left of `plain` to the connection itself. */
static void
keep_half(struct ly_conn *c, struct buf *plain, size_t need)
{
	size_t left = plain->len - plain->at;

	if (left == 0)
		return;
	if (!buf_grow(&c->half, ly_max(need, left), LY_MESSAGE_MAX)) {
		say(c, LY_LINK_CLOSE, LY_FULL, "no room for a frame");
		return;
	}
	memcpy(c->half.base, plain->base + plain->at, left);
	c->half.len = left;
	c->used = true;
	plain->at = plain->len = 0;
}

/* How much may be decrypted to where. A half frame gets no byte more than it
 * lacks, so that what follows it is whole in `plain` again. */
static uint8_t *
place(struct ly_conn *c, struct buf *plain, size_t need, size_t *room)
{
	if (c->half.len) {
		*room = (need ? need : LY_FRAME_HEAD) - c->half.len;
		return c->half.base + c->half.len;
	}
	*room = PLAIN_LEN - plain->len;
	return plain->base + plain->len;
}

static void
on_tls_end(struct ly_conn *c, int r)
{
	int err = SSL_get_error(c->ssl, r);

	if (err == SSL_ERROR_WANT_READ)
		return;
	if (err == SSL_ERROR_ZERO_RETURN)
		ly_conn_fail(c, LY_OUTSIDE, "closed by the peer");
	else
		say(c, LY_LINK_CLOSE, LY_OUTSIDE, tls_says(c->ssl));
}

/* Bytes are in `half` or in `plain`: deliver what is whole. */
static unsigned
digest(struct ly_conn *c, struct buf *plain, size_t *need)
{
	unsigned n;

	if (c->half.len) {
		n = eat(c, &c->half, need);
		if (c->half.at == c->half.len)
			buf_clear(&c->half);
		else if (*need &&
		    !buf_grow(&c->half, *need - c->half.len, LY_MESSAGE_MAX))
			say(c, LY_LINK_CLOSE, LY_FULL, "no room for a frame");
		return n;
	}
	n = eat(c, plain, need);
	if (*need > PLAIN_LEN / 2) {
		keep_half(c, plain, *need);
	} else if (plain->at == plain->len) {
		plain->at = plain->len = 0;
	} else if (plain->len > PLAIN_LEN / 2) {
		memmove(plain->base, plain->base + plain->at,
		    plain->len - plain->at);
		plain->len -= plain->at;
		plain->at = 0;
	}
	return n;
}

/* Decrypts and delivers until the socket's bytes are used up. */
static void
read_frames(struct ly_conn *c)
{
	struct buf plain = { .base = c->net->plain, .room = PLAIN_LEN };
	struct ly_link_event ev = { .kind = LY_LINK_READ };
	size_t need = 0, most = 0;

	if (c->half.len) {
		struct ly_frame f;

		(void)!ly_frame_get(c->half.base, c->half.len, &f, &need, NULL);
	}
	while (listens_still(c)) {
		size_t room, n = 0;
		uint8_t *to = place(c, &plain, need, &room);
		int r = SSL_read_ex(c->ssl, to, room, &n);

		drain_cipher(c);
		if (r != 1) {
			keep_half(c, &plain, need);
			on_tls_end(c, r);
			break;
		}
		if (c->half.len)
			c->half.len += n;
		else
			plain.len += n;
		most = ly_max(most, plain.len);
		ev.frames += digest(c, &plain, &need);
	}
	ly_wipe(c->net->plain, ly_min(most, DIRECT_LEN));
	ev.now_ms = now_of(c);
	ev.half = c->half.len > 0;
	feed(c, &ev);
}

/* ---- handshake ---- */

static void
on_secured(struct ly_conn *c)
{
	struct ly_why why = { "" };
	enum ly_rc rc = ly_identity_peer(c->net->ids, c->ssl, &c->peer, &why);

	ly_copy(c->peer.address, sizeof(c->peer.address), c->address);
	c->records = 0;
	if (rc == LY_OK && c->want[0] && strcmp(c->want, c->peer.id) != 0)
		rc = ly_fail(&why, LY_REFUSED, "there is %s, not %s",
		    c->peer.id, c->want);
	if (rc != LY_OK)
		say(c, LY_LINK_DISTRUST, rc, why.text);
	else
		feed(c,
		    &(struct ly_link_event){ .kind = LY_LINK_SECURED,
			.now_ms = now_of(c),
			.until_s = c->peer.not_after });
}

static void
shake_hands(struct ly_conn *c)
{
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(c->ssl);
	drain_cipher(c);
	if (r == 1)
		on_secured(c);
	else if (SSL_get_error(c->ssl, r) != SSL_ERROR_WANT_READ)
		feed(c,
		    &(struct ly_link_event){ .kind = LY_LINK_CLOSE,
			.now_ms = now_of(c),
			.rc = LY_OUTSIDE,
			.why = tls_says(c->ssl) });
}

static void
on_alloc(uv_handle_t *h, size_t want, uv_buf_t *b)
{
	struct ly_conn *c = h->data;

	(void)want;
	*b = uv_buf_init((char *)c->net->raw, RAW_LEN);
}

static void
on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	struct ly_conn *c = s->data;

	if (n == 0)
		return;
	if (n < 0) {
		if (n == UV_EOF)
			ly_conn_fail(c, LY_OUTSIDE, "closed by the peer");
		else
			ly_conn_fail(c, LY_OUTSIDE, "%s", uv_strerror((int)n));
		return;
	}
	if (!listens_still(c))
		return;
	c->in = (const uint8_t *)b->base;
	c->in_len = (size_t)n;
	if (c->link.state == LY_LINK_TLS)
		shake_hands(c);
	if (c->link.state == LY_LINK_GREETING || c->link.state == LY_LINK_UP)
		read_frames(c);
	c->in_len = 0;
}

void
ly_conn_start(struct ly_conn *c)
{
	struct ly_why why;

	uv_tcp_nodelay(&c->tcp, 1);
	uv_tcp_keepalive(&c->tcp, 1, 30);
	say(c, LY_LINK_CONNECTED, LY_OK, NULL);
	if (!ssl_make(c, &why)) {
		ly_conn_fail(c, LY_OUTSIDE, "%s", why.text);
		return;
	}
	uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
	if (!c->link.listening)
		shake_hands(c);
}

void
ly_conn_hold(struct ly_conn *c, bool hold)
{
	struct ly_link_event ev = { .kind = LY_LINK_HELD,
		.now_ms = now_of(c),
		.held = hold };
	struct ly_link_todo todo;

	if (c->held == hold || !listens_still(c) || !c->tcp_open)
		return;
	c->held = hold;
	ly_link_step(&c->link, &ev, &todo);
	assert(todo.n == 0);
	if (hold)
		uv_read_stop((uv_stream_t *)&c->tcp);
	else
		uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

/* ---- doing as the machine says ---- */

static void
send_hello(struct ly_conn *c)
{
	struct ly_hello h = c->hello;

	h.proto = LY_PROTO;
	ly_copy(h.software, sizeof(h.software), c->net->software);
	put_frame(c, LY_HELLO, &h);
}

/* WELCOME goes before whatever the owner sends in on_open(), and is taken
 * back if he refuses. */
static void
offer(struct ly_conn *c)
{
	struct ly_welcome w = { .proto = LY_PROTO };
	struct ly_why why = { "" };
	size_t mark = c->out.len - c->out.at;
	enum ly_rc rc;

	ly_copy(w.software, sizeof(w.software), c->net->software);
	put_frame(c, LY_WELCOME, &w);
	c->opened = true;
	rc = c->ops->on_open(c, &c->peer, &c->hello, c->arg, &why);
	if (rc == LY_OK) {
		ly_net_stranger(c, false);
		say(c, LY_LINK_CONSENT, LY_OK, NULL);
		return;
	}
	c->opened = false;
	c->out.len = c->out.at + mark;
	ly_conn_close(c, rc, why.text);
}

static void
open_up(struct ly_conn *c)
{
	struct ly_why why = { "" };
	enum ly_rc rc;

	c->opened = true;
	rc = c->ops->on_open(c, &c->peer, &c->hello, c->arg, &why);
	if (rc != LY_OK)
		ly_conn_close(c, rc, why.text);
}

static void
end(struct ly_conn *c, enum ly_rc rc, const char *why)
{
	c->ended = true;
	c->rc = rc;
	ly_copy(c->why.text, sizeof(c->why.text), why ? why : "");
	ly_conn_dirty(c);
}

/* What can still be said is flushed; then we wait for the peer's end. */
static void
shut_side(struct ly_conn *c)
{
	c->shut = true;
	c->held = false;
	if (c->tcp_open && !c->tcp_closing)
		uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
	ly_conn_dirty(c);
}

static void
perform(struct ly_conn *c, enum ly_link_act act, enum ly_rc rc, uint64_t stamp,
    const char *why)
{
	switch (act) {
	case LY_LINK_SEND_HELLO:
		send_hello(c);
		break;
	case LY_LINK_SEND_PING:
		put_frame(c, LY_PING, &(struct ly_ping){ .stamp = stamp });
		break;
	case LY_LINK_SEND_PONG:
		put_frame(c, LY_PONG, &(struct ly_ping){ .stamp = stamp });
		break;
	case LY_LINK_SEND_BYE:
		put_frame(c, LY_BYE, &(struct ly_bye){ .rc = (uint8_t)rc });
		break;
	case LY_LINK_OFFER:
		offer(c);
		break;
	case LY_LINK_OPEN:
		open_up(c);
		break;
	case LY_LINK_DELIVER:
		break; /* only on_frame() has the frame, and delivers it */
	case LY_LINK_END:
		end(c, rc, why);
		break;
	case LY_LINK_SHUT:
		shut_side(c);
		break;
	case LY_LINK_DROP:
		ly_net_drop(c);
		break;
	}
}

/* Tells the machine and does as it says. OFFER feeds CONSENT back from here;
 * its list is at its end then. */
static void
feed(struct ly_conn *c, const struct ly_link_event *ev)
{
	struct ly_link_todo todo;

	ly_link_step(&c->link, ev, &todo);
	for (unsigned i = 0; i < todo.n; i++)
		perform(c, todo.item[i].act, todo.item[i].rc,
		    todo.item[i].stamp, todo.item[i].why);
}

/* Granted by the flush, where nobody is in the middle of anything. */
static void
grant_wish(struct ly_conn *c)
{
	c->wish = false;
	say(c, LY_LINK_CLOSE, c->wish_rc, c->wish_why.text);
}

void
ly_conn_close(struct ly_conn *c, enum ly_rc rc, const char *why)
{
	if (!listens_still(c))
		return;
	c->wish = true;
	c->wish_rc = rc;
	ly_copy(c->wish_why.text, sizeof(c->wish_why.text),
	    why && *why ? why : ly_rc_name(rc));
	ly_conn_dirty(c);
}

/* ---- once a turn ---- */

static void
tell_end(struct ly_conn *c)
{
	c->told = true;
	if (c->dialled || c->opened)
		c->ops->on_close(c, c->rc, c->why.text, c->arg);
	else
		ly_net_log_stranger(c);
	ly_net_maybe_free(c);
}

static void
on_shut(uv_shutdown_t *req, int status)
{
	(void)req, (void)status;
}

/* TLS says that no more will come, then TCP does. */
static void
finish(struct ly_conn *c)
{
	if (!c->shut || c->shut_done || c->is_writing || !c->tcp_open ||
	    c->tcp_closing)
		return;
	if (c->ssl && SSL_is_init_finished(c->ssl)) {
		SSL_shutdown(c->ssl);
		ERR_clear_error();
		drain_cipher(c);
	}
	c->shut_done = true;
	if (uv_shutdown(&c->shutting, (uv_stream_t *)&c->tcp, on_shut) < 0)
		ly_conn_fail(c, LY_OUTSIDE, "closed");
}

static void
maybe_drain(struct ly_conn *c)
{
	if (!c->crowded || c->is_writing || c->out.len)
		return;
	c->crowded = false;
	if (c->link.state == LY_LINK_UP && c->ops->on_drain)
		c->ops->on_drain(c, c->arg);
}

void
ly_conn_flush(struct ly_conn *c)
{
	if (c->wish)
		grant_wish(c);
	flush_out(c);
	if (c->broken && c->link.state != LY_LINK_CLOSED)
		ly_conn_fail(c, LY_OUTSIDE, "%s", uv_strerror(c->broken));
	finish(c);
	maybe_drain(c);
	if (c->told)
		ly_net_maybe_free(c);
	else if (c->ended)
		tell_end(c); /* may free too */
}

/* Memory of an idle connection goes back. */
static void
give_back(struct ly_conn *c)
{
	if (c->used) {
		c->used = false;
		return;
	}
	if (c->out.base && c->out.len == 0)
		buf_free(&c->out);
	if (c->half.base && c->half.len == 0)
		buf_free(&c->half);
	if (c->wire.base && !c->is_writing)
		buf_free(&c->wire);
}

void
ly_conn_tick(struct ly_conn *c, uint64_t wall_s)
{
	if (c->is_writing &&
	    c->took != uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp))
		wrote(c);
	give_back(c);
	feed(c,
	    &(struct ly_link_event){ .kind = LY_LINK_TICK,
		.now_ms = now_of(c),
		.wall_s = wall_s });
}

/* ---- the rest of the header ---- */

struct ly_conn *
ly_conn_new(struct ly_net *net, bool listening, const struct ly_hello *hello,
    const struct ly_conn_ops *ops, void *arg)
{
	struct ly_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->net = net;
	c->ops = ops;
	c->arg = arg;
	c->dialled = !listening;
	if (hello)
		c->hello = *hello;
	ly_link_init(&c->link, listening, hello ? hello->purpose : 0,
	    net->limits, uv_now(net->loop));
	return c;
}

void
ly_conn_adopt(struct ly_conn *c, const struct ly_conn_ops *ops, void *arg)
{
	c->ops = ops;
	c->arg = arg;
}

const struct ly_peer *
ly_conn_peer(const struct ly_conn *c)
{
	return &c->peer;
}

void *
ly_conn_arg(const struct ly_conn *c)
{
	return c->arg;
}

uint64_t
ly_conn_rtt_ms(const struct ly_conn *c)
{
	return c->link.rtt_ms;
}

void
ly_conn_free(struct ly_conn *c)
{
	SSL_free(c->ssl);
	uv_freeaddrinfo(c->found);
	buf_free(&c->out);
	buf_free(&c->half);
	buf_free(&c->wire);
	ly_wipe(&c->hello, sizeof(c->hello));
	free(c);
}
