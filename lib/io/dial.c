/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Performs lib/link/dial.h. At most one connection and the timer exist at a
 * time; `conn` is the one whose callbacks count. The shell is freed when it
 * was stopped, its timer is closed and its last connection has ended.
 */
#include "lib/io/dial.h"

#include "lib/io/log.h"
#include "lib/link/dial.h"

#include <stdlib.h>

struct ly_dial {
	struct ly_redial core; /* decides */
	struct ly_net *net;
	char address[LY_ADDR_MAX];
	char want[LY_SPIFFE_MAX];
	struct ly_hello hello;
	const struct ly_conn_ops *ops;
	void *arg;
	struct ly_conn *conn; /* being dialled, or up */
	uv_timer_t timer;
	bool timer_closed;
	bool up; /* on_open() said so */
	char why[sizeof(((struct ly_why *)0)->text)];
};

static void tell(struct ly_dial *d, enum ly_redial_news news);

static void
maybe_free(struct ly_dial *d)
{
	struct ly_net *net = d->net;

	if (!d->timer_closed || d->conn)
		return;
	free(d);
	ly_net_unref(net);
}

static void
on_timer_closed(uv_handle_t *h)
{
	struct ly_dial *d = h->data;

	d->timer_closed = true;
	maybe_free(d);
}

static void
on_timer(uv_timer_t *h)
{
	tell(h->data, LY_REDIAL_DUE);
}

static bool
stopped(const struct ly_dial *d)
{
	return d->core.state == LY_REDIAL_STOPPED;
}

static enum ly_rc
on_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	struct ly_dial *d = arg;
	enum ly_rc rc;

	if (stopped(d))
		return LY_REFUSED;
	d->why[0] = '\0';
	d->up = true;
	tell(d, LY_REDIAL_OPENED);
	rc = d->ops->on_open(c, peer, hello, d->arg, why);
	if (rc != LY_OK && !stopped(d))
		d->up = false;
	return rc;
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	struct ly_dial *d = arg;

	if (stopped(d))
		return LY_OK;
	return d->ops->on_frame(c, type, m, d->arg, why);
}

static void
on_drain(struct ly_conn *c, void *arg)
{
	struct ly_dial *d = arg;

	if (!stopped(d) && d->ops->on_drain)
		d->ops->on_drain(c, d->arg);
}

/* One line for each reason, not for each attempt. */
static void
note_failure(struct ly_dial *d, const char *why)
{
	if (strcmp(d->why, why) == 0)
		return;
	ly_copy(d->why, sizeof(d->why), why);
	ly_log(LY_NOTICE, "dial", "%s: %s; trying on", d->address, why);
}

static void
on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct ly_dial *d = arg;
	bool was_up = d->up;

	d->conn = NULL;
	d->up = false;
	if (stopped(d)) {
		maybe_free(d);
		return;
	}
	if (was_up)
		ly_copy(d->why, sizeof(d->why), why);
	else
		note_failure(d, why);
	tell(d, LY_REDIAL_LOST);
	if (was_up)
		d->ops->on_close(c, rc, why, d->arg);
}

static const struct ly_conn_ops shell_ops = {
	.on_open = on_open,
	.on_frame = on_frame,
	.on_drain = on_drain,
	.on_close = on_close,
};

static void
dial(struct ly_dial *d)
{
	d->conn = ly_conn_dial(d->net, d->address, d->want[0] ? d->want : NULL,
	    &d->hello, &shell_ops, d);
	if (!d->conn)
		tell(d, LY_REDIAL_LOST);
}

static void
hang_up(struct ly_dial *d)
{
	if (d->conn)
		ly_conn_close(d->conn, LY_OK, "no longer wanted");
	uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}

static void
tell(struct ly_dial *d, enum ly_redial_news news)
{
	uint16_t chance;

	ly_random(&chance, sizeof(chance));
	switch (ly_redial_step(&d->core, news, uv_now(ly_net_loop(d->net)),
	    chance)) {
	case LY_REDIAL_NOTHING:
		break;
	case LY_REDIAL_DIAL:
		dial(d);
		break;
	case LY_REDIAL_WAIT:
		uv_timer_start(&d->timer, on_timer, d->core.wait_ms, 0);
		break;
	case LY_REDIAL_HANG_UP:
		hang_up(d);
		break;
	}
}

struct ly_dial *
ly_dial_start(struct ly_net *net, const char *address, const char *want,
    const struct ly_hello *hello, const struct ly_conn_ops *ops, void *arg)
{
	struct ly_dial *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->net = net;
	d->hello = *hello;
	d->ops = ops;
	d->arg = arg;
	ly_copy(d->address, sizeof(d->address), address);
	ly_copy(d->want, sizeof(d->want), want ? want : "");
	ly_redial_init(&d->core);
	uv_timer_init(ly_net_loop(net), &d->timer);
	d->timer.data = d;
	ly_net_ref(net);
	tell(d, LY_REDIAL_START);
	return d;
}

void
ly_dial_stop(struct ly_dial *d)
{
	tell(d, LY_REDIAL_STOP);
}

struct ly_conn *
ly_dial_conn(const struct ly_dial *d)
{
	return d->up ? d->conn : NULL;
}

const char *
ly_dial_why(const struct ly_dial *d)
{
	return d->why;
}
