/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS with OpenSSL's own BIOs. Out, 16 KiB records are gathered to 256 KiB
 * before the kernel is asked; in, as much as that is read at a time.
 */
#include "lib/io/off.h"

#include "lib/io/conn_int.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define GATHER (LY_CHUNK_MAX + 16u * 1024)
#define SMALL_MOST 4096
#define HEAD (LY_FRAME_HEAD + 4) /* of a DATA: its one field has a length */
#define UNSENT_MOST (256 * 1024) /* in the kernel, not yet on the way */

struct ly_off {
	int fd;
	SSL *ssl;
	BIO *out;
	uint64_t records, rekey_records;
	uint8_t small[SMALL_MOST];
};

/* ---- leaving the loop ---- */

static bool
set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

/* The socket stays in memory what it was; what the kernel keeps back of it is
 * little, for what waits there when the guest is stopped is waited for. */
static bool
make_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0 &&
	    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, LY_OFF_DEAD_MS) &&
	    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, LY_OFF_DEAD_MS / 3000) &&
	    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, LY_OFF_DEAD_MS / 6000) &&
	    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 4) &&
	    set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MOST);
}

static bool
make_tls(struct ly_off *o)
{
	BIO *in = BIO_new_socket(o->fd, BIO_NOCLOSE);
	BIO *sock = BIO_new_socket(o->fd, BIO_NOCLOSE);

	o->out = BIO_new(BIO_f_buffer());
	if (!in || !sock || !o->out ||
	    !BIO_set_write_buffer_size(o->out, GATHER)) {
		BIO_free(in);
		BIO_free(sock);
		BIO_free(o->out);
		return false;
	}
	BIO_push(o->out, sock);
	SSL_set_bio(o->ssl, in, o->out);
	SSL_set_app_data(o->ssl, NULL);
	SSL_clear_mode(o->ssl,
	    SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
	SSL_set_default_read_buffer_len(o->ssl, GATHER);
	SSL_set_read_ahead(o->ssl, 1);
	return true;
}

static enum ly_rc
may_leave(struct ly_conn *c, struct ly_why *why)
{
	ly_conn_flush_out(c);
	if (c->link.state != LY_LINK_UP || c->wish || c->broken)
		return ly_fail(why, LY_OUTSIDE, "the connection has ended");
	if (c->is_writing || c->out.at < c->out.len)
		return ly_fail(why, LY_BUSY, "not all is sent yet");
	if (c->half.len || c->in_len)
		return ly_fail(why, LY_MALFORMED,
		    "the peer sent more than it was to");
	assert(c->held && c->ssl);
	return LY_OK;
}

enum ly_rc
ly_conn_off(struct ly_conn *c, struct ly_off **out, struct ly_why *why)
{
	enum ly_rc rc = may_leave(c, why);
	struct ly_off *o = rc ? NULL : calloc(1, sizeof(*o));
	uv_os_fd_t fd = -1;

	if (rc)
		return rc;
	(void)uv_fileno((uv_handle_t *)&c->tcp, &fd);
	if (o)
		o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (!o || o->fd < 0 || !make_blocking(o->fd)) {
		if (o && o->fd >= 0)
			close(o->fd);
		free(o);
		return ly_fail(why, LY_OUTSIDE, "a socket: %s",
		    strerror(errno));
	}
	o->ssl = ly_take(c->ssl);
	o->records = c->records;
	o->rekey_records = c->net->rekey_records;
	c->told = true; /* nobody hears of what is left of it */
	ly_conn_fail(c, LY_OK, "it has left the loop");
	if (!make_tls(o)) {
		ly_off_free(o);
		return ly_fail(why, LY_OUTSIDE, "no memory");
	}
	*out = o;
	return LY_OK;
}

/* ---- out ---- */

static enum ly_rc
fail_tls(struct ly_off *o, int r, const char *what, struct ly_why *why)
{
	int err = SSL_get_error(o->ssl, r), no = errno;
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	if (err == SSL_ERROR_SYSCALL && no)
		text = strerror(no);
	return ly_fail(why, LY_OUTSIDE, "%s: %s", what,
	    text ? text : "the connection broke off");
}

static enum ly_rc
put(struct ly_off *o, const void *at, size_t len, struct ly_why *why)
{
	size_t n;
	int r;

	errno = 0;
	if (o->records >= o->rekey_records &&
	    SSL_key_update(o->ssl, SSL_KEY_UPDATE_NOT_REQUESTED))
		o->records = 0;
	r = SSL_write_ex(o->ssl, at, len, &n);
	o->records += 1 + len / SSL3_RT_MAX_PLAIN_LENGTH;
	return r == 1 ? LY_OK : fail_tls(o, r, "sending", why);
}

static enum ly_rc
flush(struct ly_off *o, struct ly_why *why)
{
	errno = 0;
	if (BIO_flush(o->out) == 1)
		return LY_OK;
	ERR_clear_error();
	return ly_fail(why, LY_OUTSIDE, "sending: %s",
	    errno ? strerror(errno) : "the connection broke off");
}

enum ly_rc
ly_off_send(struct ly_off *o, const void *at, size_t len, bool more,
    struct ly_why *why)
{
	uint8_t head[HEAD];
	struct ly_wr w = ly_wr_over(head, sizeof(head));
	enum ly_rc rc;

	assert(len > 0 && len <= LY_CHUNK_MAX);
	ly_wr_u16(&w, LY_FRAME_MAGIC);
	ly_wr_u8(&w, LY_FRAME_VERSION);
	ly_wr_u8(&w, LY_DATA);
	ly_wr_u32(&w, (uint32_t)len + 4);
	ly_wr_u32(&w, (uint32_t)len);
	rc = put(o, head, sizeof(head), why);
	if (rc == LY_OK)
		rc = put(o, at, len, why);
	return rc == LY_OK && !more ? flush(o, why) : rc;
}

enum ly_rc
ly_off_say(struct ly_off *o, unsigned type, const void *in, bool more,
    struct ly_why *why)
{
	uint8_t buf[SMALL_MOST];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	enum ly_rc rc;

	ly_frame_put(type, in, &w);
	assert(!w.bad);
	rc = put(o, buf, ly_wr_len(&w), why);
	return rc == LY_OK && !more ? flush(o, why) : rc;
}

enum ly_rc
ly_off_end(struct ly_off *o, struct ly_why *why)
{
	int r;

	errno = 0;
	r = SSL_shutdown(o->ssl);
	return r < 0 ? fail_tls(o, r, "ending", why) : flush(o, why);
}

/* ---- in ---- */

/* All `len` of them. *ended: the peer has, before the first. */
static enum ly_rc
get(struct ly_off *o, void *to, size_t len, bool *ended, struct ly_why *why)
{
	uint8_t *at = to;

	*ended = false;
	for (size_t n; len; at += n, len -= n) {
		int r;

		errno = 0;
		r = SSL_read_ex(o->ssl, at, len, &n);
		if (r == 1)
			continue;
		if (at == to &&
		    SSL_get_error(o->ssl, r) == SSL_ERROR_ZERO_RETURN) {
			*ended = true;
			return LY_OK;
		}
		return fail_tls(o, r, "receiving", why);
	}
	return LY_OK;
}

static enum ly_rc
get_all(struct ly_off *o, void *to, size_t len, struct ly_why *why)
{
	bool ended;
	enum ly_rc rc = get(o, to, len, &ended, why);

	if (rc == LY_OK && ended)
		return ly_fail(why, LY_MALFORMED, "half a frame");
	return rc;
}

static enum ly_rc
get_data(struct ly_off *o, void *to, size_t room, struct ly_frame *f,
    struct ly_why *why)
{
	uint8_t head[HEAD - LY_FRAME_HEAD];
	struct ly_rd r = ly_rd_over(head, sizeof(head));
	size_t body = f->len, len;
	enum ly_rc rc = get_all(o, head, sizeof(head), why);

	if (rc)
		return rc;
	len = ly_rd_u32(&r);
	if (len != body - sizeof(head) || len == 0 || len > room)
		return ly_fail(why, LY_MALFORMED,
		    "a DATA of %zu bytes where at most %zu belong", len, room);
	f->body = to;
	f->len = len;
	return get_all(o, to, len, why);
}

static enum ly_rc
get_small(struct ly_off *o, struct ly_frame *f, struct ly_why *why)
{
	if (f->len > sizeof(o->small))
		return ly_fail(why, LY_MALFORMED,
		    "a frame of type %#x does not belong here", f->type);
	f->body = o->small;
	return f->len ? get_all(o, o->small, f->len, why) : LY_OK;
}

enum ly_rc
ly_off_next(struct ly_off *o, void *to, size_t room, struct ly_frame *out,
    struct ly_why *why)
{
	uint8_t head[LY_FRAME_HEAD];
	size_t whole = 0;
	bool ended;
	enum ly_rc rc = get(o, head, sizeof(head), &ended, why);

	*out = (struct ly_frame){ 0 };
	if (rc || ended)
		return rc;
	rc = ly_frame_get(head, sizeof(head), out, &whole, why);
	if (rc && rc != LY_SHORT)
		return rc;
	out->type = head[3];
	out->len = whole - sizeof(head);
	if (out->type == LY_DATA)
		return get_data(o, to, room, out, why);
	return get_small(o, out, why);
}

bool
ly_off_wait(struct ly_off *o, unsigned wait_ms)
{
	struct pollfd p = { .fd = o->fd, .events = POLLIN };

	return SSL_has_pending(o->ssl) || poll(&p, 1, (int)wait_ms) != 0;
}

/* ---- life ---- */

void
ly_off_cut(struct ly_off *o)
{
	(void)shutdown(o->fd, SHUT_RDWR);
}

void
ly_off_free(struct ly_off *o)
{
	if (!o)
		return;
	SSL_free(o->ssl);
	close(o->fd);
	ly_wipe(o, sizeof(*o));
	free(o);
}
