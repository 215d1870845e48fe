/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection: TCP, mutual TLS 1.3, frames. TLS is a filter over memory
 * BIOs; this file's shell owns the socket and the loop's handles, and the
 * pure machine lib/link (ly_link) decides: hello, keep-alive, time limits.
 *
 * Frames sent during one turn of the loop leave together: ly_conn_send() only
 * appends to the outgoing buffer; one uv_check flushes every dirty connection
 * once, in as few TLS records and writes as fit (16 KiB a record). Frames
 * that arrive together are given to on_frame() one after the other.
 *
 * Nothing heard before TLS is up is remembered after. A peer without a
 * certificate of a trusted site, with a frame out of order, too long or of an
 * unknown type, that sends half a frame and then nothing for 5 s, or that
 * does not read (out buffer over the limit, or no progress for 10 s) loses
 * this connection, with one log line; nobody else notices.
 */
#ifndef LY_IO_CONN_H
#define LY_IO_CONN_H

#include "lib/io/identity.h"
#include "lib/wire/message.h"

#include <uv.h>

struct ly_conn;

struct ly_conn_ops {
	/* HELLO and WELCOME are exchanged. `peer` lives as long as the
	 * connection. `hello` is the peer's; for the dialler his own, with
	 * the peer's software. Return LY_OK to accept this purpose from this
	 * peer, anything else closes (BYE with that code). Frames may be sent
	 * from here. */
	enum ly_rc (*on_open)(struct ly_conn *c, const struct ly_peer *peer,
	    const struct ly_hello *hello, void *arg, struct ly_why *why);
	/* A decoded frame; `m` and what it points to live during the call.
	 * Anything but LY_OK closes the connection with that code. */
	enum ly_rc (*on_frame)(struct ly_conn *c, unsigned type,
	    const union ly_any *m, void *arg, struct ly_why *why);
	/* ly_conn_pending() was not 0 when you asked, and is now (optional). */
	void (*on_drain)(struct ly_conn *c, void *arg);
	/* Once, and the last call: the connection is gone (or could not be
	 * made). `why` is for the operator. A listener hears it only of
	 * connections whose on_open() returned LY_OK; of the others the log
	 * tells. Always from the loop, never from within a call of ours. */
	void (*on_close)(struct ly_conn *c, enum ly_rc rc, const char *why,
	    void *arg);
};

/* What all connections of a daemon share. */
struct ly_net;

/* `ids` must outlive it. `software` is told to peers ("lanyard-agent 0.1"). */
LY_MUST enum ly_rc ly_net_new(uv_loop_t *loop, struct ly_identity *ids,
    const char *software, struct ly_net **out, struct ly_why *why);
/* Closes every listener and connection, each with its on_close(); frees itself
 * when their handles are closed (run the loop on). No new calls after. */
void ly_net_close(struct ly_net *net);

/* Listens on "host:port" ("[::]:7000", "0.0.0.0:7000", "127.0.0.1:0"). New
 * connections call ops->on_open with `arg`; use ly_conn_adopt() there to give
 * the connection ops and arg of its own. */
LY_MUST enum ly_rc ly_net_listen(struct ly_net *net, const char *address,
    const struct ly_conn_ops *ops, void *arg, struct ly_why *why);
/* The same with a socket that listens already: of a process before us, whose
 * peers need not be refused meanwhile. -1, or one bound elsewhere (it is closed
 * then): as above. */
LY_MUST enum ly_rc ly_net_listen_with(struct ly_net *net, int fd,
    const char *address, const struct ly_conn_ops *ops, void *arg,
    struct ly_why *why);
/* The (last) listener's socket, lent; -1: none. */
int ly_net_listener(const struct ly_net *net);
/* The port of the (last) listener. */
unsigned ly_net_port(const struct ly_net *net);

/* Dials once; no retry (see lib/io/dial.h). `want` is the SPIFFE id the peer
 * must have, exactly; NULL for any trusted one. Of `hello` only purpose and mig
 * are looked at. A name is resolved asynchronously and its addresses are tried
 * one after the other. on_close() tells of failure, from the loop. NULL only
 * when the net is closing (or memory is out). */
struct ly_conn *ly_conn_dial(struct ly_net *net, const char *address,
    const char *want, const struct ly_hello *hello,
    const struct ly_conn_ops *ops, void *arg);

void ly_conn_adopt(struct ly_conn *c, const struct ly_conn_ops *ops, void *arg);
const struct ly_peer *ly_conn_peer(const struct ly_conn *c);
void *ly_conn_arg(const struct ly_conn *c);

/* Appends one frame; `in` is the struct of `type`, its bytes are copied. On a
 * connection that is closing it does nothing. */
void ly_conn_send(struct ly_conn *c, unsigned type, const void *in);
/* Bytes not yet taken by the kernel, for back pressure on a stream: stop at a
 * limit of yours, go on in on_drain(). Over 32 MiB it is closed (LY_FULL). */
size_t ly_conn_pending(struct ly_conn *c);
/* Stops and goes on reading from the socket (back pressure inwards). What has
 * been read already, less than 512 KiB, is still delivered. */
void ly_conn_hold(struct ly_conn *c, bool hold);
/* No frame is delivered from now on. What was sent and BYE{rc} are flushed as
 * far as they fit; on_close() follows later, from the loop, with `rc` and
 * `why`. Idempotent. */
void ly_conn_close(struct ly_conn *c, enum ly_rc rc, const char *why);

/* Who was revoked has changed: closes the connections of those who were. */
void ly_net_recheck(struct ly_net *net);

/* Other limits than those of lib/link for connections made from now on (tests,
 * slow lines); they must outlive the net. And how many records are sent under
 * one TLS key. */
struct ly_link_limits;
void ly_net_limits(struct ly_net *net, const struct ly_link_limits *limits,
    uint64_t rekey_records);
/* A net that is closed stays in memory while it is referenced. */
void ly_net_ref(struct ly_net *net);
void ly_net_unref(struct ly_net *net);
uv_loop_t *ly_net_loop(const struct ly_net *net);
/* Of the last PING that was answered, before the first one of HELLO; 0 if none
 * was. */
uint64_t ly_conn_rtt_ms(const struct ly_conn *c);

#endif
