/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's way in, and doing as lib/link says. The way out is
 * conn_out.c, TLS itself conn_tls.c, sockets and the loop net.c.
 *
 * In: uv reads into the net's one `raw`; OpenSSL takes from there through a
 * BIO that only lends, and decrypts into the net's one `plain`, where frames
 * lie whole and are delivered where they lie. What is left of a half frame at
 * the end moves to the connection's own `half`, and later bytes of a long
 * frame are decrypted straight into that.
 *
 * A close by the owner is a wish, which stops the delivery of frames at once
 * and is granted by the flush. Nothing here calls the owner from within
 * ly_conn_send() or ly_conn_close().
 */
#include "lib/io/conn_int.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIPED_LEN 16384u /* commands fit; memory of a VM is overwritten soon */

static void feed(struct ly_conn *c, const struct ly_link_event *ev);

/* ---- in ---- */

static void
say(struct ly_conn *c, enum ly_link_news kind, enum ly_rc rc, const char *why)
{
	feed(c,
	    &(struct ly_link_event){ .kind = kind,
		.now_ms = ly_conn_now(c),
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
		.now_ms = ly_conn_now(c) };

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
	if (!ly_buf_grow(&c->half, ly_max(need, left), LY_MESSAGE_MAX)) {
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
		say(c, LY_LINK_CLOSE, LY_OUTSIDE, ly_conn_tls_says(c));
}

/* Bytes are in `half` or in `plain`: deliver what is whole. */
static unsigned
digest(struct ly_conn *c, struct buf *plain, size_t *need)
{
	unsigned n;

	if (c->half.len) {
		n = eat(c, &c->half, need);
		if (c->half.at == c->half.len)
			ly_buf_clear(&c->half);
		else if (*need &&
		    !ly_buf_grow(&c->half, *need - c->half.len, LY_MESSAGE_MAX))
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

		ly_conn_send_cipher(c);
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
	ly_wipe(c->net->plain, ly_min(most, WIPED_LEN));
	ev.now_ms = ly_conn_now(c);
	ev.half = c->half.len > 0;
	feed(c, &ev);
}

/* ---- handshake ---- */

static void
on_secured(struct ly_conn *c)
{
	struct ly_why why = { "" };
	enum ly_rc rc = ly_psk_admit(c, &why);

	if (rc == LY_UNKNOWN)
		rc = ly_identity_peer(c->net->ids, c->ssl, &c->peer, &why);
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
			.now_ms = ly_conn_now(c),
			.until_s = c->peer.not_after });
}

static void
shake_hands(struct ly_conn *c)
{
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(c->ssl);
	ly_conn_send_cipher(c);
	if (r == 1)
		on_secured(c);
	else if (SSL_get_error(c->ssl, r) != SSL_ERROR_WANT_READ)
		feed(c,
		    &(struct ly_link_event){ .kind = LY_LINK_CLOSE,
			.now_ms = ly_conn_now(c),
			.rc = LY_OUTSIDE,
			.why = ly_conn_tls_says(c) });
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
	if (ly_conn_ssl(c, &why) != LY_OK) {
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
		.now_ms = ly_conn_now(c),
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
	ly_conn_put(c, LY_HELLO, &h);
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
	ly_conn_put(c, LY_WELCOME, &w);
	c->opened = true;
	rc = ly_psk_allows(c, &why);
	if (rc == LY_OK)
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
		ly_conn_put(c, LY_PING, &(struct ly_ping){ .stamp = stamp });
		break;
	case LY_LINK_SEND_PONG:
		ly_conn_put(c, LY_PONG, &(struct ly_ping){ .stamp = stamp });
		break;
	case LY_LINK_SEND_BYE:
		ly_conn_put(c, LY_BYE, &(struct ly_bye){ .rc = (uint8_t)rc });
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
		ly_conn_send_cipher(c);
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
	ly_conn_flush_out(c);
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
		ly_buf_free(&c->out);
	if (c->half.base && c->half.len == 0)
		ly_buf_free(&c->half);
	if (c->wire.base && !c->is_writing)
		ly_buf_free(&c->wire);
}

void
ly_conn_tick(struct ly_conn *c, uint64_t wall_s)
{
	if (c->is_writing &&
	    c->took != uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp))
		ly_conn_wrote(c);
	give_back(c);
	feed(c,
	    &(struct ly_link_event){ .kind = LY_LINK_TICK,
		.now_ms = ly_conn_now(c),
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
	ly_psk_free(c);
	uv_freeaddrinfo(c->found);
	ly_buf_free(&c->out);
	ly_buf_free(&c->half);
	ly_buf_free(&c->wire);
	ly_wipe(&c->hello, sizeof(c->hello));
	free(c);
}
