/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to agents. Every one of them may be asked twice and is answered
 * alike, so a request is kept until it is answered and sent again whenever
 * its host comes back: callers see an answer or the end of their patience,
 * and nothing in between.
 *
 * A relay, for the manager of another site, is sent once: that manager keeps
 * it, and sends it again when it hears (SITEHOST) that the host is back.
 */
#include "manager/io/manager.h"

#include <stdlib.h>

/* Every request begins alike. */
_Static_assert(offsetof(struct ly_request, host) ==
	    offsetof(struct ly_start, host) &&
	offsetof(struct ly_request, host) == offsetof(struct ly_bind, host) &&
	offsetof(struct ly_request, host) == offsetof(struct ly_copy, host) &&
	offsetof(struct ly_request, origin) ==
	    offsetof(struct ly_start, origin) &&
	offsetof(struct ly_request, origin) ==
	    offsetof(struct ly_bind, origin) &&
	offsetof(struct ly_request, origin) ==
	    offsetof(struct ly_copy, origin) &&
	offsetof(struct ly_request, origin) ==
	    offsetof(struct ly_enrol, origin) &&
	offsetof(struct ly_request, origin) ==
	    offsetof(struct ly_quote, origin) &&
	offsetof(struct ly_request, origin) ==
	    offsetof(struct ly_keying, origin),
    "requests begin with req, host, origin");

static struct ly_ask **
bucket(struct ly_asks *a, uint32_t req)
{
	return &a->bucket[req & (LY_ASK_BUCKETS - 1)];
}

static struct ly_ask *
find(struct ly_asks *a, uint32_t req)
{
	struct ly_ask *ask = *bucket(a, req);

	while (ask && ask->req != req)
		ask = ask->same;
	return ask;
}

static void
unlink_ask(struct ly_asks *a, struct ly_ask *ask)
{
	struct ly_ask **at = bucket(a, ask->req);

	while (*at != ask)
		at = &(*at)->same;
	*at = ask->same;
	*(ask->prev ? &ask->prev->next : &a->first) = ask->next;
	*(ask->next ? &ask->next->prev : &a->last) = ask->prev;
	a->n--;
}

static void
drop(struct ly_asks *a, struct ly_ask *ask)
{
	unlink_ask(a, ask);
	free(ask);
}

/* The bytes a message borrows: how many, and where to, to be copied there. */
static size_t
borrowed(unsigned type, void *msg, uint8_t *to)
{
	const struct ly_message *m = ly_message_of(type);
	size_t n = 0;

	for (size_t i = 0; i < m->fields_n; i++) {
		struct ly_bytes *b;

		if (m->fields[i].kind != LY_KIND_BYTES)
			continue;
		b = (void *)((char *)msg + m->fields[i].offset);
		if (to) {
			if (b->len)
				memcpy(to + n, b->at, b->len);
			b->at = to + n;
		}
		n += b->len;
	}
	return n;
}

static struct ly_ask *
new_ask(struct ly_manager *m, const struct ly_place *host, unsigned type,
    const void *msg)
{
	struct ly_asks *a = &m->asks;
	struct ly_ask *ask, **at;
	union ly_any copy;

	if (a->n >= LY_ASKS_MAX)
		return NULL;
	memcpy(&copy, msg, ly_message_of(type)->size);
	ask = calloc(1, sizeof(*ask) + borrowed(type, &copy, NULL));
	if (!ask)
		return NULL;
	do
		ask->req = ++a->last_req;
	while (!ask->req || find(a, ask->req));
	ask->type = (uint8_t)type;
	ask->host = *host;
	ask->msg = copy;
	(void)borrowed(type, &ask->msg, ask->bytes);
	ask->msg.request.req = ask->req;
	ly_copy(ask->msg.request.host, LY_NAME_MAX, host->name);
	at = bucket(a, ask->req);
	ask->same = *at;
	*at = ask;
	ask->prev = a->last;
	*(a->last ? &a->last->next : &a->first) = ask;
	a->last = ask;
	a->n++;
	return ask;
}

static void
send_ask(struct ly_manager *m, const struct ly_ask *ask)
{
	struct ly_conn *c = ly_host_conn(m, &ask->host);

	if (c)
		ly_conn_send(c, ask->type, &ask->msg);
}

uint32_t
ly_ask(struct ly_manager *m, const struct ly_place *host, unsigned type,
    void *msg, uint32_t limit_ms, ly_on_done *on_done, void *arg)
{
	struct ly_ask *ask = new_ask(m, host, type, msg);

	if (!ask)
		return 0;
	ly_copy(ask->msg.request.origin, LY_NAME_MAX, m->conf.site);
	ask->limit_ms = limit_ms;
	ask->deadline = uv_now(m->loop) + limit_ms;
	ask->on_done = on_done;
	ask->arg = arg;
	send_ask(m, ask);
	return ask->req;
}

static unsigned
relays_of(const struct ly_manager *m, const char *site)
{
	unsigned n = 0;

	for (const struct ly_ask *a = m->asks.first; a; a = a->next)
		n += a->relay_for[0] && strcmp(a->relay_for, site) == 0;
	return n;
}

enum ly_rc
ly_ask_relay(struct ly_manager *m, const char *host, unsigned type,
    const union ly_any *msg, const char *site)
{
	struct ly_place at;
	struct ly_ask *ask;

	ly_place_set(&at, m->conf.site, host);
	if (!ly_host_conn(m, &at))
		return LY_OK; /* it is asked again when that host is back */
	ask = relays_of(m, site) < LY_RELAYS_MAX ? new_ask(m, &at, type, msg) :
						   NULL;
	if (!ask)
		return LY_BUSY;
	ly_copy(ask->relay_for, sizeof(ask->relay_for), site);
	ask->relay_req = msg->request.req;
	send_ask(m, ask);
	return LY_OK;
}

void
ly_ask_forget(struct ly_manager *m, uint32_t req)
{
	struct ly_ask *ask = req ? find(&m->asks, req) : NULL;

	if (ask)
		drop(&m->asks, ask);
}

void
ly_ask_extend(struct ly_manager *m, uint32_t req)
{
	struct ly_ask *ask = req ? find(&m->asks, req) : NULL;

	if (ask)
		ask->deadline = uv_now(m->loop) + ask->limit_ms;
}

void
ly_asks_up(struct ly_manager *m, const struct ly_place *host)
{
	for (struct ly_ask *a = m->asks.first; a; a = a->next)
		if (!a->relay_for[0] && ly_place_same(&a->host, host))
			send_ask(m, a);
}

void
ly_asks_down(struct ly_manager *m, const struct ly_place *host)
{
	struct ly_ask *next;

	for (struct ly_ask *a = m->asks.first; a; a = next) {
		next = a->next;
		if (a->relay_for[0] && ly_place_same(&a->host, host))
			drop(&m->asks, a);
	}
}

void
ly_asks_site_down(struct ly_manager *m, const char *site)
{
	struct ly_ask *next;

	for (struct ly_ask *a = m->asks.first; a; a = next) {
		next = a->next;
		if (a->relay_for[0] && strcmp(a->relay_for, site) == 0)
			drop(&m->asks, a);
	}
}

static void
answer_relay(struct ly_manager *m, const struct ly_ask *ask,
    const struct ly_done *d)
{
	struct ly_fed *f = ly_fed_of(m, ask->relay_for);
	struct ly_done back = *d;

	back.req = ask->relay_req;
	if (f && f->conn)
		ly_conn_send(f->conn, LY_DONE, &back);
}

/* Only the connection that was asked may answer. */
void
ly_asks_done(struct ly_manager *m, struct ly_conn *c, const struct ly_done *d)
{
	struct ly_ask *ask = find(&m->asks, d->req);

	if (!ask || ly_host_conn(m, &ask->host) != c)
		return; /* it came too late */
	unlink_ask(&m->asks, ask);
	if (ask->relay_for[0])
		answer_relay(m, ask, d);
	else
		ask->on_done(m, ask->arg, d);
	free(ask);
}

void
ly_asks_tick(struct ly_manager *m)
{
	struct ly_ask *a = m->asks.first;
	uint64_t now = uv_now(m->loop);

	while (a) {
		if (!a->deadline || a->deadline > now) {
			a = a->next;
			continue;
		}
		unlink_ask(&m->asks, a);
		a->on_done(m, a->arg, NULL);
		free(a);
		a = m->asks.first; /* the list may have changed */
	}
}

void
ly_asks_fini(struct ly_manager *m)
{
	while (m->asks.first)
		drop(&m->asks, m->asks.first);
}
