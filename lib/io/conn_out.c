/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's way out. ly_conn_send() appends to `out`. The flush, once a
 * turn, encrypts all of it into the net's one `cipher` and offers that to the
 * kernel; what it does not take at once moves to `wire`, and until that is
 * taken the rest waits as plaintext. A big DATA is encrypted from where the
 * caller has it, at once.
 *
 * Nothing here calls the owner or wakes the machine: an error is kept in
 * `broken`, and the flush tells of it.
 */
#include "lib/io/conn_int.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#define DIRECT_LEN 16384u /* DATA from here on is not copied */

void
ly_conn_dirty(struct ly_conn *c)
{
	if (c->is_dirty)
		return;
	c->is_dirty = true;
	c->next_dirty = c->net->dirty;
	c->net->dirty = c;
}

void
ly_conn_break(struct ly_conn *c, int error)
{
	if (!c->broken)
		c->broken = error;
	ly_conn_dirty(c);
}

/* `pending` bytes wait for the kernel after it took some. */
void
ly_conn_wrote(struct ly_conn *c)
{
	struct ly_link_todo todo;
	struct ly_link_event ev = { .kind = LY_LINK_WROTE,
		.now_ms = ly_conn_now(c),
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
		ly_conn_break(c, status);
	ly_conn_wrote(c);
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
		ly_conn_break(c, status);
	free(req->data);
}

static void
write_late(struct ly_conn *c, const uint8_t *at, size_t len)
{
	struct late *l = malloc(sizeof(*l) + len);
	uv_buf_t b;
	int r;

	if (!l) {
		ly_conn_break(c, UV_ENOMEM);
		return;
	}
	memcpy(l->bytes, at, len);
	l->req.data = l;
	b = uv_buf_init((char *)l->bytes, (unsigned)len);
	r = uv_write(&l->req, (uv_stream_t *)&c->tcp, &b, 1, on_late);
	if (r < 0) {
		free(l);
		ly_conn_break(c, r);
	}
}

/* What the kernel did not take waits in `wire`. */
static void
write_rest(struct ly_conn *c, const uint8_t *at, size_t len)
{
	uv_buf_t b;
	int r;

	if (!ly_buf_grow(&c->wire, len, CIPHER_LEN)) {
		ly_conn_break(c, UV_ENOMEM);
		return;
	}
	memcpy(c->wire.base, at, len);
	c->wire.len = len;
	c->used = true;
	b = uv_buf_init((char *)c->wire.base, (unsigned)len);
	c->writing.data = c;
	r = uv_write(&c->writing, (uv_stream_t *)&c->tcp, &b, 1, on_written);
	if (r < 0) {
		ly_conn_break(c, r);
		return;
	}
	c->is_writing = true;
	ly_conn_wrote(c);
}

/* Sends what OpenSSL has put into `cipher`. */
void
ly_conn_send_cipher(struct ly_conn *c)
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
		ly_conn_break(c, r);
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
			ly_conn_break(c, UV_EPROTO);
			break;
		}
		at += n;
		len -= n;
	}
	ly_conn_send_cipher(c);
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
void
ly_conn_flush_out(struct ly_conn *c)
{
	while (can_say(c) && !c->is_writing && c->out.at < c->out.len) {
		size_t n = ly_min(c->out.len - c->out.at, ONCE);

		encrypt(c, c->out.base + c->out.at, n);
		c->out.at += n;
	}
	if (c->out.at == c->out.len)
		ly_buf_clear(&c->out);
}

void
ly_conn_put(struct ly_conn *c, unsigned type, const void *in)
{
	struct buf *b = &c->out;
	size_t most = LY_FRAME_HEAD + ly_frame_max(type);
	struct ly_wr w;

	if (b->at > 0 && b->len + most > b->room) {
		memmove(b->base, b->base + b->at, b->len - b->at);
		b->len -= b->at;
		b->at = 0;
	}
	if (!ly_buf_grow(b, most, OUT_MOST)) {
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
	ly_conn_flush_out(c);
	if (c->is_writing || !can_say(c))
		return false;
	ly_wr_u16(&w, LY_FRAME_MAGIC);
	ly_wr_u8(&w, LY_FRAME_VERSION);
	ly_wr_u8(&w, LY_DATA);
	ly_wr_u32(&w, (uint32_t)d->body.len + 4);
	ly_wr_u32(&w, (uint32_t)d->body.len);
	if (SSL_write(c->ssl, head, sizeof(head)) != (int)sizeof(head)) {
		ERR_clear_error();
		ly_conn_break(c, UV_EPROTO);
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
		ly_conn_put(c, type, in);
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
