/* SPDX-License-Identifier: Apache-2.0 */
/* What net.c (sockets, the loop), conn.c (the way in, the machine's wishes),
 * conn_out.c (the way out) and conn_tls.c share; for these four only. */
#ifndef LY_IO_CONN_INT_H
#define LY_IO_CONN_INT_H

#include "lib/io/psk.h"
#include "lib/link/link.h"

#define RAW_LEN (256u * 1024)  /* one read of the socket */
#define PLAIN_LEN (64u * 1024) /* decrypted; longer frames get their own */
#define ONCE (256u * 1024)     /* encrypted before a write */
/* ... and what TLS makes of that: 22 bytes a record of 16 KiB, and a rest for
 * alerts and key updates. */
#define CIPHER_LEN (ONCE + 16u * 1024)
#define OUT_MOST (32u << 20) /* waiting to be sent; more is LY_FULL */
#define CONNS_MOST 16384     /* of one net; more are closed at once */
#define STRANGERS_MOST 512   /* accepted and not yet UP; the same */
#define TICK_MS 250

/* Bytes [at, len) of a buffer that grows and is given back when idle. */
struct buf {
	uint8_t *base;
	size_t at, len, room;
};

struct ly_net {
	uv_loop_t *loop;
	struct ly_identity *ids;
	char software[48];
	uv_check_t check;
	uv_prepare_t prepare;
	uv_idle_t idle; /* runs while a flush has left some dirty */
	uv_timer_t tick;
	unsigned handles_n; /* of the net itself, not yet closed */
	unsigned refs;
	struct listener *listeners;
	struct ly_conn *conns; /* all, doubly linked */
	struct ly_conn *dirty;
	struct ly_expected *expected; /* keys, see psk.c */
	unsigned expected_n;
	unsigned conns_n, strangers_n;
	const struct ly_link_limits *limits;
	uint64_t rekey_records;
	BIO_METHOD *method;
	uint8_t *raw, *plain, *cipher;
	size_t cipher_len; /* 0 outside of one call into OpenSSL */
	bool closing;
	uint64_t said_ms; /* of the log's limit for strangers */
	unsigned said_n;
};

struct ly_conn {
	struct ly_link link; /* decides */
	struct ly_net *net;
	struct ly_conn *next, *prev;
	struct ly_conn *next_dirty;
	const struct ly_conn_ops *ops;
	void *arg;
	struct ly_peer peer;
	char address[LY_ADDR_MAX];
	char want[LY_SPIFFE_MAX];
	struct ly_hello hello; /* ours, or the peer's */
	struct ly_psk *psk;    /* NULL: a certificate, or not known yet */
	char psk_shown[LY_PSK_NAME_MAX]; /* an expected one, not yet proved */
	const char *psk_refused;	 /* why the one shown was passed over */

	SSL *ssl;
	const uint8_t *in; /* what the socket gave, for the BIO */
	size_t in_len;
	uint64_t records; /* sent under this key */

	uv_tcp_t tcp;
	uv_connect_t connecting;
	uv_getaddrinfo_t resolving;
	uv_write_t writing;
	uv_shutdown_t shutting;
	struct addrinfo *found, *trying;

	struct buf out;	 /* frames not yet encrypted */
	struct buf half; /* of one frame, while it is on its way in */
	struct buf wire; /* encrypted, what the kernel did not take at once */
	size_t took;	 /* uv's write queue at the last look */

	struct ly_why why; /* of END */
	enum ly_rc rc;
	struct ly_why wish_why; /* of the owner's close, until it is granted */
	enum ly_rc wish_rc;
	int broken; /* a uv error met while sending; told by the flush */

	bool dialled;
	bool stranger; /* counts in strangers_n */
	bool is_dirty;
	bool wish;
	bool opened;	  /* the owner knows it */
	bool ended, told; /* END said by the machine; to the owner */
	bool tcp_open, tcp_closing;
	bool is_resolving;
	bool is_writing;
	bool shut, shut_done;
	bool held;
	bool crowded; /* on_drain is owed */
	bool used;    /* buffers, since the last tick */
};

/* conn_tls.c */
void ly_buf_free(struct buf *b);
/* Room for `more` bytes behind len, `most` in all. Old bytes are wiped. */
LY_MUST bool ly_buf_grow(struct buf *b, size_t more, size_t most);
void ly_buf_clear(struct buf *b);
BIO_METHOD *ly_conn_bio(void);
/* Makes c->ssl. */
LY_MUST enum ly_rc ly_conn_ssl(struct ly_conn *c, struct ly_why *why);
/* Why it failed; empties the queue. */
const char *ly_conn_tls_says(struct ly_conn *c);

/* psk.c */
bool ly_psk_ready(struct ly_conn *c); /* c->ssl, before the handshake */
/* After it: LY_OK, a key let it in and c->peer is set; LY_UNKNOWN, none was
 * used; else it is refused. */
LY_MUST enum ly_rc ly_psk_admit(struct ly_conn *c, struct ly_why *why);
/* The peer's HELLO is what the key is for. */
LY_MUST enum ly_rc ly_psk_allows(const struct ly_conn *c, struct ly_why *why);
void ly_psk_free(struct ly_conn *c);

/* conn_out.c */
void ly_conn_dirty(struct ly_conn *c); /* it wants a flush */
void ly_conn_break(struct ly_conn *c,
    int error); /* a uv error, for the flush */
void ly_conn_put(struct ly_conn *c, unsigned type, const void *in);
void ly_conn_send_cipher(struct ly_conn *c); /* after any call to OpenSSL */
void ly_conn_flush_out(struct ly_conn *c);
void ly_conn_wrote(struct ly_conn *c); /* the kernel took bytes */

/* conn.c */
struct ly_conn *ly_conn_new(struct ly_net *net, bool listening,
    const struct ly_hello *hello, const struct ly_conn_ops *ops, void *arg);
void ly_conn_free(struct ly_conn *c);
void ly_conn_start(struct ly_conn *c); /* the socket is connected */
/* It is broken. */
void ly_conn_fail(struct ly_conn *c, enum ly_rc rc, const char *fmt, ...)
    LY_PRINTF(3, 4);
void ly_conn_flush(struct ly_conn *c); /* one dirty connection; may free it */
void ly_conn_tick(struct ly_conn *c, uint64_t wall_s);

static inline uint64_t
ly_conn_now(const struct ly_conn *c)
{
	return uv_now(c->net->loop);
}

/* net.c */
void ly_net_drop(struct ly_conn *c); /* close the socket */
void ly_net_maybe_free(struct ly_conn *c);
void ly_net_stranger(struct ly_conn *c, bool stranger);
void ly_net_log_stranger(struct ly_conn *c);

#endif
