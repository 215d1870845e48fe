/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of connections: two nets in one loop over real loopback and real
 * TLS, "home" listening and "away" dialling, what their owners were told, and
 * a way to wait that is bounded.
 */
#ifndef LY_TESTS_PAIR_H
#define LY_TESTS_PAIR_H

#include "lib/io/conn.h"
#include "lib/io/log.h"
#include "lib/link/link.h"
#include "tests/unit/site.h"

#define WAIT_MS 10000

/* One owner of connections, and what he was told. */
struct end {
	struct ly_conn *conn;
	struct ly_peer peer;
	struct ly_hello hello;
	unsigned opens, frames, closes, drains;
	unsigned last_type;
	uint64_t bytes;
	uint64_t seq;
	enum ly_rc rc, refuse;
	char why[320];
	enum ly_rc (*on_frame)(struct end *e, unsigned type,
	    const union ly_any *m, struct ly_why *why);
	void (*on_open)(struct end *e);
	void (*on_drain)(struct end *e);
	void (*on_close)(struct end *e);
};

static uv_loop_t loop;
static struct ly_identity *home_ids, *away_ids;
static struct ly_net *home_net, *away_net;
static struct end home, away;

static enum ly_rc
on_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	struct end *e = arg;

	e->conn = c;
	e->opens++;
	e->peer = *peer;
	e->hello = *hello;
	if (e->on_open)
		e->on_open(e);
	if (e->refuse != LY_OK)
		return ly_fail(why, e->refuse, "not here");
	return LY_OK;
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	struct end *e = arg;

	(void)c;
	e->frames++;
	e->last_type = type;
	if (type == LY_DATA)
		e->bytes += m->data.body.len;
	return e->on_frame ? e->on_frame(e, type, m, why) : LY_OK;
}

static void
on_drain(struct ly_conn *c, void *arg)
{
	struct end *e = arg;

	(void)c;
	e->drains++;
	if (e->on_drain)
		e->on_drain(e);
}

static void
on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct end *e = arg;

	(void)c;
	e->closes++;
	e->rc = rc;
	ly_copy(e->why, sizeof(e->why), why);
	if (e->on_close)
		e->on_close(e);
	e->conn = NULL;
}

static const struct ly_conn_ops ops = { on_open, on_frame, on_drain, on_close };

/* ---- the loop, bounded ---- */

static unsigned waited_ms;

/* What happens before the poll ends no UV_RUN_ONCE; this does. */
static void
on_wait(uv_timer_t *t)
{
	(void)t;
	waited_ms += 20;
}

static void
on_timer_closed(uv_handle_t *h)
{
	h->data = NULL;
}

#define UNTIL(cond)                                                            \
	do {                                                                   \
		uv_timer_t timer_;                                             \
		uv_timer_init(&loop, &timer_);                                 \
		timer_.data = &timer_;                                         \
		waited_ms = 0;                                                 \
		uv_timer_start(&timer_, on_wait, 20, 20);                      \
		while (!(cond) && waited_ms < WAIT_MS)                         \
			uv_run(&loop, UV_RUN_ONCE);                            \
		uv_close((uv_handle_t *)&timer_, on_timer_closed);             \
		while (timer_.data)                                            \
			uv_run(&loop, UV_RUN_NOWAIT);                          \
		if (waited_ms >= WAIT_MS)                                      \
			test_fail(__FILE__, __LINE__, "in time: %s", #cond);   \
	} while (0)

static char address[LY_ADDR_MAX];

/* Nets of `a` (listening) and `b`; `limits` may be NULL. */
static LY_UNUSED void
begin(struct ly_identity *a, struct ly_identity *b,
    const struct ly_link_limits *limits)
{
	home = away = (struct end){ 0 };
	WANT_INT(uv_loop_init(&loop), 0);
	SITE_OK(ly_net_new(&loop, a, "home 1", &home_net, &why));
	SITE_OK(ly_net_new(&loop, b, "away 1", &away_net, &why));
	ly_net_limits(home_net, limits, 0);
	ly_net_limits(away_net, limits, 0);
	SITE_OK(ly_net_listen(home_net, "127.0.0.1:0", &ops, &home, &why));
	ly_print(address, sizeof(address), "127.0.0.1:%u",
	    ly_net_port(home_net));
}

/* Both nets go; nothing may be left in the loop. */
static LY_UNUSED void
finish(void)
{
	ly_net_close(home_net);
	ly_net_close(away_net);
	for (int i = 0; i < 2000 && uv_loop_alive(&loop); i++)
		uv_run(&loop, UV_RUN_ONCE);
	WANT_INT(uv_loop_close(&loop), 0);
}

static LY_UNUSED struct ly_conn *
dial(enum ly_purpose purpose, const char *want)
{
	struct ly_hello hello = { .purpose = (uint8_t)purpose };

	return ly_conn_dial(away_net, address, want, &hello, &ops, &away);
}

static LY_UNUSED void
load(void)
{
	if (home_ids)
		return;
	ly_log_setup("test", false, LY_WARNING);
	home_ids = site_host("east", "h1");
	away_ids = site_host("west", "w1");
	/* Loaded before west was known; read the trust again. */
	SITE_OK(ly_identity_reload(home_ids, &why));
}

static LY_UNUSED void
begin_up(const struct ly_link_limits *limits)
{
	load();
	begin(home_ids, away_ids, limits);
	dial(LY_FOR_LINK, "spiffe://east/host/h1");
	UNTIL(home.opens && away.opens);
}

static LY_UNUSED struct ly_command
command(uint64_t seq, const void *body, size_t len)
{
	return (struct ly_command){ .chan = 7,
		.epoch = 1,
		.seq = seq,
		.body = { body, len } };
}

static LY_UNUSED void
send_command(struct ly_conn *c, uint64_t seq)
{
	static const uint8_t body[65] = { 0x80, 1 };
	struct ly_command m = command(seq, body, sizeof(body));

	ly_conn_send(c, LY_COMMAND, &m);
}

#endif
