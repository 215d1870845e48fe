/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets and the loop: listening, dialling, and the one check that flushes.
 *
 * A connection is freed when its socket's handle is closed, nobody resolves a
 * name for it any more, and its owner has been told the end. A closed net is
 * freed when its last connection is, its own handles are closed, and nobody
 * holds a reference. Both are decided in one function each.
 *
 * The flush runs after the poll, so that all that one turn has brought leaves
 * together, and once more before the next poll, for what timers and closing
 * callbacks have sent.
 */
#include "lib/io/address.h"
#include "lib/io/conn_int.h"
#include "lib/io/log.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BACKLOG 512
#define REKEY_RECORDS (UINT64_C(1) << 23) /* RFC 8446 5.5 allows 2^24.5 */
#define LOG_MS 10000			  /* strangers' log lines: so many */
#define LOG_MOST 20			  /* in this time */

struct listener {
	uv_tcp_t tcp;
	struct ly_net *net;
	const struct ly_conn_ops *ops;
	void *arg;
	struct listener *next;
	unsigned port;
};

/* ---- the net itself ---- */

static void
net_free(struct ly_net *net)
{
	ly_net_unexpect(net, NULL);
	BIO_meth_free(net->method);
	free(net->raw);
	if (net->plain)
		ly_wipe(net->plain, PLAIN_LEN);
	free(net->plain);
	free(net->cipher);
	free(net);
}

static void
net_maybe_free(struct ly_net *net)
{
	if (net->closing && net->handles_n == 0 && net->refs == 0 &&
	    net->conns_n == 0)
		net_free(net);
}

static void
on_net_handle_closed(uv_handle_t *h)
{
	struct ly_net *net = h->data;

	net->handles_n--;
	net_maybe_free(net);
}

/* The connections still need flush and tick; these close after the last. */
static void
net_maybe_finish(struct ly_net *net)
{
	uv_handle_t *handle[] = { (uv_handle_t *)&net->check,
		(uv_handle_t *)&net->prepare, (uv_handle_t *)&net->idle,
		(uv_handle_t *)&net->tick };

	if (!net->closing || net->conns_n)
		return;
	for (size_t i = 0; i < LY_COUNT(handle); i++)
		if (!uv_is_closing(handle[i]))
			uv_close(handle[i], on_net_handle_closed);
}

/* Those that are dirty now; who gets dirty meanwhile waits for the next. */
static void
flush_all(struct ly_net *net)
{
	struct ly_conn *c = net->dirty;

	net->dirty = NULL;
	while (c) {
		struct ly_conn *next = c->next_dirty;

		c->is_dirty = false;
		ly_conn_flush(c); /* may free it */
		c = next;
	}
}

static void
on_check(uv_check_t *h)
{
	struct ly_net *net = h->data;

	uv_idle_stop(&net->idle);
	flush_all(net);
}

static void
on_idle(uv_idle_t *h)
{
	(void)h; /* keeps the poll from blocking, that is all */
}

static void
on_prepare(uv_prepare_t *h)
{
	struct ly_net *net = h->data;

	flush_all(net);
	if (net->dirty)
		uv_idle_start(&net->idle, on_idle);
}

static void
on_tick(uv_timer_t *h)
{
	struct ly_net *net = h->data;
	uint64_t wall_s = (uint64_t)time(NULL);

	for (struct ly_conn *c = net->conns; c; c = c->next)
		ly_conn_tick(c, wall_s);
}

static enum ly_rc
net_memory(struct ly_net *net, struct ly_why *why)
{
	net->raw = malloc(RAW_LEN);
	net->plain = malloc(PLAIN_LEN);
	net->cipher = malloc(CIPHER_LEN);
	net->method = ly_conn_bio();
	if (net->raw && net->plain && net->cipher && net->method)
		return LY_OK;
	return ly_fail(why, LY_OUTSIDE, "no memory");
}

/* None of these can fail in libuv but for our own mistakes. */
static void
net_handles(struct ly_net *net)
{
	uv_loop_t *loop = net->loop;

	uv_check_init(loop, &net->check);
	uv_prepare_init(loop, &net->prepare);
	uv_idle_init(loop, &net->idle);
	uv_timer_init(loop, &net->tick);
	net->handles_n = 4;
	net->check.data = net->prepare.data = net->idle.data = net->tick.data =
	    net;
	uv_check_start(&net->check, on_check);
	uv_prepare_start(&net->prepare, on_prepare);
	/* Connections keep a loop alive, by their tick; an idle net does
	 * not. */
	uv_unref((uv_handle_t *)&net->check);
	uv_unref((uv_handle_t *)&net->prepare);
}

enum ly_rc
ly_net_new(uv_loop_t *loop, struct ly_identity *ids, const char *software,
    struct ly_net **out, struct ly_why *why)
{
	struct ly_net *net = calloc(1, sizeof(*net));
	enum ly_rc rc;

	if (!net)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	net->loop = loop;
	net->ids = ids;
	net->rekey_records = REKEY_RECORDS;
	ly_copy(net->software, sizeof(net->software), software);
	rc = net_memory(net, why);
	if (rc != LY_OK) {
		net_free(net);
		return rc;
	}
	net_handles(net);
	*out = net;
	return LY_OK;
}

void
ly_net_limits(struct ly_net *net, const struct ly_link_limits *limits,
    uint64_t rekey_records)
{
	net->limits = limits;
	if (rekey_records)
		net->rekey_records = rekey_records;
}

void
ly_net_ref(struct ly_net *net)
{
	net->refs++;
}

void
ly_net_unref(struct ly_net *net)
{
	assert(net->refs);
	net->refs--;
	net_maybe_free(net);
}

uv_loop_t *
ly_net_loop(const struct ly_net *net)
{
	return net->loop;
}

static void
on_listener_closed(uv_handle_t *h)
{
	struct listener *l = LY_HOLDER(h, struct listener, tcp);
	struct ly_net *net = l->net;

	free(l);
	net->handles_n--;
	net_maybe_free(net);
}

void
ly_net_close(struct ly_net *net)
{
	if (net->closing)
		return;
	net->closing = true;
	for (struct listener *l = net->listeners; l; l = l->next)
		uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
	net->listeners = NULL;
	for (struct ly_conn *c = net->conns; c; c = c->next)
		ly_conn_close(c, LY_OUTSIDE, "shutting down");
	net_maybe_finish(net);
}

/* ---- connections as handles ---- */

static struct ly_conn *
conn_add(struct ly_net *net, bool listening, const struct ly_hello *hello,
    const struct ly_conn_ops *ops, void *arg)
{
	struct ly_conn *c = ly_conn_new(net, listening, hello, ops, arg);

	if (!c)
		return NULL;
	c->next = net->conns;
	if (c->next)
		c->next->prev = c;
	net->conns = c;
	if (net->conns_n++ == 0)
		uv_timer_start(&net->tick, on_tick, TICK_MS, TICK_MS);
	return c;
}

void
ly_net_stranger(struct ly_conn *c, bool stranger)
{
	if (c->stranger == stranger)
		return;
	c->stranger = stranger;
	c->net->strangers_n += stranger ? 1u : -1u;
}

void
ly_net_maybe_free(struct ly_conn *c)
{
	struct ly_net *net = c->net;

	if (!c->told || c->tcp_open || c->is_resolving || c->is_dirty)
		return;
	ly_net_stranger(c, false);
	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		net->conns = c->next;
	ly_conn_free(c);
	if (--net->conns_n == 0)
		uv_timer_stop(&net->tick);
	net_maybe_finish(net);
}

static void
on_tcp_closed(uv_handle_t *h)
{
	struct ly_conn *c = h->data;

	c->tcp_open = false;
	c->tcp_closing = false;
	ly_net_maybe_free(c);
}

void
ly_net_drop(struct ly_conn *c)
{
	if (c->is_resolving)
		uv_cancel((uv_req_t *)&c->resolving);
	if (c->tcp_open && !c->tcp_closing) {
		c->tcp_closing = true;
		uv_close((uv_handle_t *)&c->tcp, on_tcp_closed);
	}
}

/* Anybody may knock; the log is not for them to fill. */
void
ly_net_log_stranger(struct ly_conn *c)
{
	struct ly_net *net = c->net;
	uint64_t now = uv_now(net->loop);

	if (now - net->said_ms >= LOG_MS || net->said_ms == 0) {
		net->said_ms = now;
		net->said_n = 0;
	}
	if (net->said_n++ > LOG_MOST)
		return;
	if (net->said_n > LOG_MOST)
		ly_log(LY_NOTICE, "conn",
		    "many connections fail; no more "
		    "lines about it for %d s",
		    LOG_MS / 1000);
	else
		ly_log(LY_NOTICE, "conn", "%s%s%s: %s", c->address,
		    c->peer.id[0] ? " " : "", c->peer.id, c->why.text);
}

/* ---- listening ---- */

static void
on_late_closed(uv_handle_t *h)
{
	free(h);
}

/* Over the limit: take it off the queue and close it. */
static void
turn_away(struct ly_net *net, uv_stream_t *server)
{
	uv_tcp_t *tcp = malloc(sizeof(*tcp));

	if (!tcp)
		return;
	uv_tcp_init(net->loop, tcp);
	(void)!uv_accept(server, (uv_stream_t *)tcp);
	uv_close((uv_handle_t *)tcp, on_late_closed);
}

static void
name_peer(struct ly_conn *c)
{
	struct sockaddr_storage sa;
	int len = sizeof(sa);

	if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&sa, &len) == 0)
		ly_address_text((struct sockaddr *)&sa, c->address);
	else
		ly_copy(c->address, sizeof(c->address), "?");
}

static void
on_connection(uv_stream_t *server, int status)
{
	struct listener *l = LY_HOLDER(server, struct listener, tcp);
	struct ly_net *net = l->net;
	struct ly_conn *c;

	if (status < 0)
		return;
	c = net->conns_n < CONNS_MOST && net->strangers_n < STRANGERS_MOST ?
	    conn_add(net, true, NULL, l->ops, l->arg) :
	    NULL;
	if (!c) {
		turn_away(net, server);
		return;
	}
	ly_net_stranger(c, true);
	uv_tcp_init(net->loop, &c->tcp);
	c->tcp.data = c;
	c->tcp_open = true;
	if (uv_accept(server, (uv_stream_t *)&c->tcp) < 0) {
		ly_conn_fail(c, LY_OUTSIDE, "gone before it was accepted");
		return;
	}
	name_peer(c);
	ly_conn_start(c);
}

/* "host:port" to one address, blocking: for listening only, at start. */
static enum ly_rc
resolve_now(const char *address, struct sockaddr_storage *out,
    struct ly_why *why)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV },
			*found;
	char host[LY_ADDR_MAX], port[6];
	enum ly_rc rc = ly_address_split(address, host, port, why);
	int r;

	if (rc != LY_OK || ly_address_numeric(host, port, out) == LY_OK)
		return rc;
	r = getaddrinfo(host, port, &hints, &found);
	if (r != 0)
		return ly_fail(why, LY_OUTSIDE, "%s: %s", address,
		    gai_strerror(r));
	memcpy(out, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return LY_OK;
}

/* The same address; any port for a port of 0. */
static bool
same_address(const struct sockaddr *own, const struct sockaddr *want)
{
	char a[LY_ADDR_MAX], b[LY_ADDR_MAX], ah[LY_ADDR_MAX], bh[LY_ADDR_MAX];
	char ap[6], bp[6];

	ly_address_text(own, a);
	ly_address_text(want, b);
	return ly_address_split(a, ah, ap, NULL) == LY_OK &&
	    ly_address_split(b, bh, bp, NULL) == LY_OK && strcmp(ah, bh) == 0 &&
	    (strcmp(ap, bp) == 0 || strcmp(bp, "0") == 0);
}

static int
find_port(struct listener *l)
{
	char text[LY_ADDR_MAX], host[LY_ADDR_MAX], port[6];
	struct sockaddr_storage own;
	int len = sizeof(own);
	int r = uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&own, &len);

	if (r < 0)
		return r;
	ly_address_text((struct sockaddr *)&own, text);
	if (ly_address_split(text, host, port, NULL) == LY_OK)
		l->port = (unsigned)strtoul(port, NULL, 10);
	return 0;
}

static int
listen_on(struct listener *l, const struct sockaddr_storage *sa, int fd)
{
	int r = fd >= 0 ? uv_tcp_open(&l->tcp, fd) :
			  uv_tcp_bind(&l->tcp, (const struct sockaddr *)sa, 0);

	if (r == 0)
		r = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
	return r == 0 ? find_port(l) : r;
}

static struct listener *
listener_new(struct ly_net *net, const struct ly_conn_ops *ops, void *arg)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l)
		abort();
	l->net = net;
	l->ops = ops;
	l->arg = arg;
	uv_tcp_init(net->loop, &l->tcp);
	net->handles_n++;
	return l;
}

/* An inherited socket that is not for this address is of no use. */
static int
useful(int fd, const struct sockaddr_storage *sa)
{
	struct sockaddr_storage own;
	socklen_t len = sizeof(own);

	if (fd < 0 ||
	    (getsockname(fd, (struct sockaddr *)&own, &len) == 0 &&
		same_address((struct sockaddr *)&own,
		    (const struct sockaddr *)sa)))
		return fd;
	close(fd);
	return -1;
}

enum ly_rc
ly_net_listen_with(struct ly_net *net, int fd, const char *address,
    const struct ly_conn_ops *ops, void *arg, struct ly_why *why)
{
	struct sockaddr_storage sa;
	struct listener *l;
	enum ly_rc rc = resolve_now(address, &sa, why);
	int r;

	if (rc != LY_OK) {
		if (fd >= 0)
			close(fd);
		return rc;
	}
	l = listener_new(net, ops, arg);
	r = listen_on(l, &sa, useful(fd, &sa));
	if (r < 0) {
		uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
		return ly_fail(why, LY_OUTSIDE, "listen on %s: %s", address,
		    uv_strerror(r));
	}
	l->next = net->listeners;
	net->listeners = l;
	return LY_OK;
}

enum ly_rc
ly_net_listen(struct ly_net *net, const char *address,
    const struct ly_conn_ops *ops, void *arg, struct ly_why *why)
{
	return ly_net_listen_with(net, -1, address, ops, arg, why);
}

int
ly_net_listener(const struct ly_net *net)
{
	uv_os_fd_t fd = -1;

	if (net->listeners)
		(void)uv_fileno((uv_handle_t *)&net->listeners->tcp, &fd);
	return fd;
}

void
ly_net_recheck(struct ly_net *net)
{
	struct ly_conn *next;

	for (struct ly_conn *c = net->conns; c; c = next) {
		next = c->next;
		if (c->peer.serial[0] &&
		    ly_identity_revoked(net->ids, &c->peer))
			ly_conn_close(c, LY_REFUSED,
			    "the peer's certificate was revoked");
	}
}

unsigned
ly_net_port(const struct ly_net *net)
{
	return net->listeners ? net->listeners->port : 0;
}

/* ---- dialling ---- */

static void connect_next(struct ly_conn *c);

/* The socket of a failed attempt is closed; try the next address. */
static void
on_attempt_closed(uv_handle_t *h)
{
	struct ly_conn *c = h->data;

	c->tcp_open = false;
	c->tcp_closing = false;
	if (c->link.state == LY_LINK_CONNECTING)
		connect_next(c);
	else
		ly_net_maybe_free(c);
}

static void
on_connected(uv_connect_t *req, int status)
{
	struct ly_conn *c = req->data;

	if (c->tcp_closing)
		return;
	if (status == 0) {
		name_peer(c);
		ly_conn_start(c);
	} else if (c->trying) {
		c->tcp_closing = true;
		uv_close((uv_handle_t *)&c->tcp, on_attempt_closed);
	} else {
		ly_conn_fail(c, LY_OUTSIDE, "%s: %s", c->address,
		    uv_strerror(status));
	}
}

static void
connect_to(struct ly_conn *c, const struct sockaddr *sa)
{
	int r;

	uv_tcp_init(c->net->loop, &c->tcp);
	c->tcp.data = c;
	c->tcp_open = true;
	c->connecting.data = c;
	r = uv_tcp_connect(&c->connecting, &c->tcp, sa, on_connected);
	if (r < 0)
		ly_conn_fail(c, LY_OUTSIDE, "%s: %s", c->address,
		    uv_strerror(r));
}

static void
connect_next(struct ly_conn *c)
{
	struct addrinfo *a = c->trying;

	c->trying = a->ai_next;
	connect_to(c, a->ai_addr);
}

static void
on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
	struct ly_conn *c = req->data;

	c->is_resolving = false;
	c->found = found;
	c->trying = found;
	if (c->link.state != LY_LINK_CONNECTING)
		ly_net_maybe_free(c);
	else if (status < 0 || !found)
		ly_conn_fail(c, LY_OUTSIDE, "%s: %s", c->address,
		    uv_strerror(status));
	else
		connect_next(c);
}

static void
resolve(struct ly_conn *c, const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG };
	int r;

	c->resolving.data = c;
	c->is_resolving = true;
	r = uv_getaddrinfo(c->net->loop, &c->resolving, on_resolved, host, port,
	    &hints);
	if (r < 0) {
		c->is_resolving = false;
		ly_conn_fail(c, LY_OUTSIDE, "%s: %s", c->address,
		    uv_strerror(r));
	}
}

struct ly_conn *
ly_conn_dial(struct ly_net *net, const char *address, const char *want,
    const struct ly_hello *hello, const struct ly_conn_ops *ops, void *arg)
{
	struct sockaddr_storage sa;
	char host[LY_ADDR_MAX], port[6];
	struct ly_why why;
	struct ly_conn *c;

	if (net->closing)
		return NULL;
	c = conn_add(net, false, hello, ops, arg);
	if (!c)
		return NULL;
	ly_copy(c->address, sizeof(c->address), address);
	if (want && !ly_copy(c->want, sizeof(c->want), want))
		ly_conn_fail(c, LY_REFUSED, "no such SPIFFE id can be");
	else if (ly_address_split(address, host, port, &why) != LY_OK)
		ly_conn_fail(c, LY_REFUSED, "%s", why.text);
	else if (ly_address_numeric(host, port, &sa) == LY_OK)
		connect_to(c, (struct sockaddr *)&sa);
	else
		resolve(c, host, port);
	return c;
}
