/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/links.h"

#include "agent/io/distrust.h"
#include "agent/io/homes.h"
#include "lib/io/clock.h"
#include "lib/io/dial.h"
#include "lib/link/lease.h"

#include <stdlib.h>

#define CHANS_LEAST 256

struct ly_link {
	struct ly_link *next;
	struct ly_links *links;
	char home[LY_SPIFFE_MAX];
	struct ly_dial *dial;	 /* NULL: the local link */
	struct ly_conn *conn;	 /* NULL while down */
	struct ly_visitor *self; /* of the local link */
	struct ly_lease lease;
	struct ly_link_user *users;
	struct ly_link_user **by_chan;
	size_t chans_n, next_chan;
};

struct ly_links {
	struct ly_agent *agent;
	struct ly_link *first;
	uv_timer_t due; /* of their leases */
};

/* ---- leases ---- */

static void on_due(uv_timer_t *timer);

static void
set_timer(struct ly_links *links)
{
	uint64_t due = UINT64_MAX, now = ly_boot_ms();

	for (struct ly_link *l = links->first; l; l = l->next)
		if (!l->self)
			due = ly_min(due, ly_lease_due(&l->lease));
	if (due == UINT64_MAX)
		uv_timer_stop(&links->due);
	else
		uv_timer_start(&links->due, on_due, due > now ? due - now : 0,
		    0);
}

static void
tell_lease(struct ly_link *l)
{
	struct ly_link_user *next;

	for (struct ly_link_user *u = l->users; u; u = next) {
		next = u->next;
		u->on_lease(u);
	}
}

/* One RENEW for all VMs on this link. The link may be gone after this. */
static void
feed_lease(struct ly_link *l, struct ly_lease_event ev)
{
	struct ly_links *links = l->links;
	struct ly_lease_todo todo;

	ev.now_ms = ly_boot_ms();
	ly_lease_step(&l->lease, &ev, &todo);
	if (todo.ask && l->conn)
		ly_conn_send(l->conn, LY_RENEW,
		    &(struct ly_renew){ .stamp = ev.now_ms });
	if (todo.tell) {
		ly_log(todo.good ? LY_INFO : LY_WARNING, "link",
		    "%s: the lease %s", l->home,
		    todo.good ? "is good" : "has lapsed");
		tell_lease(l);
	}
	set_timer(links);
}

static void
on_due(uv_timer_t *timer)
{
	struct ly_links *links = timer->data;
	struct ly_link *next;

	for (struct ly_link *l = links->first; l; l = next) {
		next = l->next;
		if (!l->self)
			feed_lease(l,
			    (struct ly_lease_event){ .kind = LY_LEASE_TICK });
	}
}

static void
hear_lease(struct ly_link *l, const struct ly_lease_given *m)
{
	feed_lease(l,
	    (struct ly_lease_event){ .kind = LY_LEASE_HEARD,
		.stamp = m->stamp,
		.length_ms = m->length_ms });
}

/* ---- messages ---- */

static void
to_vm(struct ly_link *l, unsigned type, const union ly_any *m)
{
	struct ly_link_user *next;

	for (struct ly_link_user *u = l->users; u; u = next) {
		next = u->next;
		if (ly_id_same(&u->vm, &m->outcome.vm))
			u->on_hear(u, type, m);
	}
}

/* What a home says on a chan: all begin with it (message.h). */
static enum ly_rc
hear(struct ly_link *l, unsigned type, const union ly_any *m,
    struct ly_why *why)
{
	uint32_t chan;

	switch (type) {
	case LY_OUTCOME:
		to_vm(l, type, m);
		return LY_OK;
	case LY_LEASE:
		hear_lease(l, &m->lease);
		return LY_OK;
	case LY_GRANTED:
		chan = m->granted.chan;
		break;
	case LY_ANSWER:
		chan = m->answer.chan;
		break;
	case LY_REFUSE:
		chan = m->refuse.chan;
		break;
	case LY_STAGED:
		chan = m->staged.chan;
		break;
	case LY_RELEASED:
		chan = m->released.chan;
		break;
	case LY_DETACHED:
		chan = m->detached.chan;
		break;
	case LY_FENCE:
		chan = m->fence.chan;
		break;
	default:
		return ly_fail(why, LY_MALFORMED, "%s is not for an away side",
		    ly_message_of(type)->name);
	}
	if (chan < l->chans_n && l->by_chan[chan])
		l->by_chan[chan]->on_hear(l->by_chan[chan], type, m);
	return LY_OK; /* a VM that has just left */
}

static void
tell_users(struct ly_link *l, bool up)
{
	struct ly_link_user *next;

	for (struct ly_link_user *u = l->users; u; u = next) {
		next = u->next;
		u->on_state(u, up);
	}
}

/* ---- to another host ---- */

static enum ly_rc
on_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	struct ly_link *l = arg;
	enum ly_rc rc = ly_distrust_peer(l->links->agent, peer, why);

	(void)hello;
	if (rc != LY_OK)
		return rc;
	ly_log(LY_NOTICE, "link", "up to %s at %s", peer->id, peer->address);
	l->conn = c;
	/* First, so that the lease is there when what follows is granted. */
	feed_lease(l, (struct ly_lease_event){ .kind = LY_LEASE_LINKED });
	tell_users(l, true);
	return LY_OK;
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	(void)c;
	return hear(arg, type, m, why);
}

static void
on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct ly_link *l = arg;
	bool was = l->conn != NULL;

	(void)c;
	ly_log(was ? LY_WARNING : LY_INFO, "link", "%s to %s: %s (%s)",
	    was ? "down" : "no link", l->home, why, ly_rc_name(rc));
	l->conn = NULL;
	if (!was)
		return;
	feed_lease(l, (struct ly_lease_event){ .kind = LY_LEASE_LOST });
	tell_users(l, false);
}

static const struct ly_conn_ops ops = {
	.on_open = on_open,
	.on_frame = on_frame,
	.on_close = on_close,
};

/* ---- to ourselves ---- */

static void
on_local(void *arg, unsigned type, const void *m)
{
	union ly_any any;

	memcpy(&any, m, ly_message_of(type)->size);
	(void)hear(arg, type, &any, NULL);
}

/* ---- joining and leaving ---- */

static struct ly_link *
link_new(struct ly_links *links, const char *home, const char *address)
{
	struct ly_link *l = calloc(1, sizeof(*l));
	struct ly_hello hello = { .proto = LY_PROTO, .purpose = LY_FOR_LINK };

	if (!l)
		abort();
	l->links = links;
	ly_copy(l->home, sizeof(l->home), home);
	l->next = links->first;
	links->first = l;
	if (strcmp(home, links->agent->self->id) == 0)
		l->self = ly_visitor_new(links->agent->homes, home, on_local,
		    l);
	else
		l->dial = ly_dial_start(links->agent->net, address, home,
		    &hello, &ops, l);
	return l;
}

static void
link_free(struct ly_link *l)
{
	struct ly_link **at = &l->links->first;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	if (l->self)
		ly_visitor_free(l->self);
	if (l->dial)
		ly_dial_stop(l->dial);
	free(l->by_chan);
	free(l);
}

static struct ly_link *
link_to(struct ly_links *links, const char *home)
{
	for (struct ly_link *l = links->first; l; l = l->next)
		if (strcmp(l->home, home) == 0)
			return l;
	return NULL;
}

/* The one least lately given: what the home still says to the VM that had a
 * chan before must not be heard by the one that has it now. */
static uint32_t
chan_for(struct ly_link *l, struct ly_link_user *u)
{
	size_t i = l->next_chan, n = 0;

	while (n < l->chans_n && l->by_chan[i % l->chans_n]) {
		i++;
		n++;
	}
	i = n < l->chans_n ? i % l->chans_n : l->chans_n;
	if (i == l->chans_n) {
		n = i ? 2 * i : CHANS_LEAST;
		l->by_chan = realloc(l->by_chan, n * sizeof(*l->by_chan));
		if (!l->by_chan)
			abort();
		memset(l->by_chan + i, 0, (n - i) * sizeof(*l->by_chan));
		l->chans_n = n;
	}
	l->by_chan[i] = u;
	l->next_chan = i + 1;
	return (uint32_t)i;
}

bool
ly_link_up(const struct ly_link_user *u)
{
	return u->link && (u->link->self || u->link->conn);
}

bool
ly_link_leased(const struct ly_link_user *u)
{
	return u->link &&
	    (u->link->self || ly_lease_good(&u->link->lease, ly_boot_ms()));
}

enum ly_rc
ly_link_join(struct ly_links *links, const char *home, const char *address,
    struct ly_link_user *u, struct ly_why *why)
{
	struct ly_link *l = link_to(links, home);
	struct ly_peer peer;
	enum ly_rc rc = ly_spiffe_parse(home, &peer, why);

	assert(!u->link);
	if (rc != LY_OK)
		return rc;
	if (!l)
		l = link_new(links, home, address);
	u->link = l;
	u->chan = chan_for(l, u);
	u->next = l->users;
	l->users = u;
	if (ly_link_up(u))
		u->on_state(u, true);
	return LY_OK;
}

void
ly_link_leave(struct ly_link_user *u)
{
	struct ly_link *l = u->link;
	struct ly_link_user **at;

	if (!l)
		return;
	at = &l->users;
	while (*at != u)
		at = &(*at)->next;
	*at = u->next;
	l->by_chan[u->chan] = NULL;
	u->link = NULL;
	if (!l->users)
		link_free(l);
}

void
ly_link_say(struct ly_link_user *u, unsigned type, const void *m)
{
	struct ly_link *l = u->link;
	struct ly_why why = { "" };
	union ly_any any;

	if (!l)
		return;
	if (l->conn)
		ly_conn_send(l->conn, type, m);
	if (!l->self)
		return;
	memcpy(&any, m, ly_message_of(type)->size);
	if (ly_visitor_hear(l->self, type, &any, &why) != LY_OK)
		ly_log_alarm("link", "to ourselves: %s", why.text);
}

/* ---- visitors from other hosts ---- */

static void
say_back(void *arg, unsigned type, const void *m)
{
	ly_conn_send(arg, type, m);
}

static enum ly_rc
on_visit_frame(struct ly_conn *c, unsigned type, const union ly_any *m,
    void *arg, struct ly_why *why)
{
	(void)c;
	return ly_visitor_hear(arg, type, m, why);
}

static void
on_visit_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	ly_log(LY_NOTICE, "link", "%s is gone: %s (%s)", ly_conn_peer(c)->id,
	    why, ly_rc_name(rc));
	ly_visitor_ended(arg, ly_conn_peer(c));
	ly_visitor_free(arg);
}

static const struct ly_conn_ops visit_ops = {
	.on_frame = on_visit_frame,
	.on_close = on_visit_close,
};

enum ly_rc
ly_links_visit(struct ly_links *links, struct ly_conn *c,
    const struct ly_peer *peer)
{
	struct ly_visitor *v = ly_visitor_new(links->agent->homes, peer->id,
	    say_back, c);

	ly_log(LY_NOTICE, "link", "%s from %s", peer->id, peer->address);
	ly_visitor_foreign(v, peer->not_after);
	ly_visitor_key(v, peer->hk);
	ly_conn_adopt(c, &visit_ops, v);
	return LY_OK;
}

enum ly_rc
ly_links_open(struct ly_agent *agent, struct ly_links **out, struct ly_why *why)
{
	struct ly_links *links = calloc(1, sizeof(*links));

	if (!links)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	links->agent = agent;
	uv_timer_init(agent->loop, &links->due);
	uv_unref((uv_handle_t *)&links->due);
	links->due.data = links;
	*out = links;
	return LY_OK;
}

void
ly_links_anew(struct ly_links *links)
{
	for (struct ly_link *l = links->first; l; l = l->next)
		if (l->conn)
			ly_conn_close(l->conn, LY_OK,
			    "this host has a new certificate");
}

static void
on_due_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
ly_links_close(struct ly_links *links)
{
	assert(!links->first); /* the VMs have left */
	uv_close((uv_handle_t *)&links->due, on_due_closed);
}
