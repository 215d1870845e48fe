/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An agent's links to the homes of its VMs, with the lease in time of each; the
 * local one, to its own homes. As agent/io/links.c.
 */
#include "tests/sim/sim.h"

static void
tell_state(struct link *l, bool up)
{
	for (unsigned i = 0; i < CHANS; i++)
		if (l->by_chan[i])
			vm_feed(l->by_chan[i]->vm,
			    &(struct ly_away_event){
				.kind = up ? LY_AWAY_UP : LY_AWAY_DOWN },
			    NULL, 0);
}

static void on_due(void *obj, uint64_t arg);

static void
feed_lease(struct link *l, struct ly_lease_event ev)
{
	struct ly_lease_todo todo;
	struct ly_renew renew = { .stamp = net_now_ms(l->agent->node) };
	uint64_t due;

	ev.now_ms = renew.stamp;
	cover(M_LEASE, l->lease.state, ev.kind);
	ly_lease_step(&l->lease, &ev, &todo);
	if (todo.ask && l->conn)
		net_send(l->conn, LY_RENEW, &renew);
	for (unsigned i = 0; todo.tell && i < CHANS; i++)
		if (l->by_chan[i])
			vm_feed(l->by_chan[i]->vm,
			    &(struct ly_away_event){ .kind = LY_AWAY_LEASE },
			    NULL, 0);
	due = ly_lease_due(&l->lease);
	if (due != UINT64_MAX && l->used)
		sim_after((due > ev.now_ms ? due - ev.now_ms : 1) * MS, on_due,
		    l, &l->dial.gen, due);
}

static void
on_due(void *obj, uint64_t due)
{
	struct link *l = obj;

	if (l->used && ly_lease_due(&l->lease) == due)
		feed_lease(l, (struct ly_lease_event){ .kind = LY_LEASE_TICK });
}

static enum ly_rc
on_open(struct end *e)
{
	struct link *l = e->arg;

	l->conn = e;
	feed_lease(l, (struct ly_lease_event){ .kind = LY_LEASE_LINKED });
	tell_state(l, true);
	return LY_OK;
}

static void
on_close(struct end *e)
{
	struct link *l = e->arg;

	if (l->conn != e)
		return;
	l->conn = NULL;
	feed_lease(l, (struct ly_lease_event){ .kind = LY_LEASE_LOST });
	tell_state(l, false);
}

void
link_hear(struct link *l, unsigned type, const union ly_any *m)
{
	struct link_user *u = NULL;

	if (type == LY_OUTCOME) {
		for (unsigned i = 0; i < CHANS; i++)
			if (l->by_chan[i] &&
			    l->by_chan[i]->vm->vm == vm_no(&m->outcome.vm))
				vm_hear(l->by_chan[i]->vm, type, m);
		return;
	}
	if (m->granted.chan < CHANS) /* all begin with it */
		u = l->by_chan[m->granted.chan];
	if (u)
		vm_hear(u->vm, type, m);
}

static enum ly_rc
on_frame(struct end *e, unsigned type, const union ly_any *m)
{
	struct link *l = e->arg;

	switch (type) {
	case LY_LEASE:
		feed_lease(l,
		    (struct ly_lease_event){ .kind = LY_LEASE_HEARD,
			.stamp = m->lease.stamp,
			.length_ms = m->lease.length_ms });
		return LY_OK;
	case LY_OUTCOME:
	case LY_GRANTED:
	case LY_ANSWER:
	case LY_REFUSE:
	case LY_STAGED:
	case LY_RELEASED:
	case LY_DETACHED:
	case LY_FENCE:
		link_hear(l, type, m);
		return LY_OK;
	default:
		return LY_MALFORMED;
	}
}

const struct conn_ops link_ops = {
	.on_open = on_open,
	.on_frame = on_frame,
	.on_close = on_close,
};

static struct link *
link_to(struct agent *a, unsigned home)
{
	struct link *l = &a->links[home];
	uint32_t gen = l->dial.gen;

	if (l->used)
		return l;
	*l = (struct link){ .used = true, .agent = a, .home = home };
	l->dial = (struct dial){ .gen = gen + 1,
		.node = a->node,
		.to = home,
		.purpose = LY_FOR_LINK,
		.ops = &link_ops,
		.arg = l };
	if (home == a->host)
		l->self = visitor_new(a, NULL, who_of(home), false);
	else
		net_dial_start(&l->dial);
	return l;
}

void
link_join(struct vm *vm)
{
	struct link *l = link_to(vm->agent, vm->home);
	uint32_t chan = l->next_chan;

	while (l->by_chan[chan % CHANS])
		chan++;
	chan %= CHANS;
	l->next_chan = chan + 1;
	vm->user = (struct link_user){ .link = l, .chan = chan, .vm = vm };
	l->by_chan[chan] = &vm->user;
	if (l->self || l->conn)
		vm_feed(vm, &(struct ly_away_event){ .kind = LY_AWAY_UP }, NULL,
		    0);
}

void
link_leave(struct vm *vm)
{
	struct link *l = vm->user.link;

	if (!l)
		return;
	l->by_chan[vm->user.chan] = NULL;
	vm->user.link = NULL;
	for (unsigned i = 0; i < CHANS; i++)
		if (l->by_chan[i])
			return;
	if (l->self)
		visitor_free(l->self);
	net_dial_stop(&l->dial);
	l->dial.gen++;
	l->used = false;
}

bool
link_leased(const struct vm *vm)
{
	const struct link *l = vm->user.link;

	return l &&
	    (l->self || ly_lease_good(&l->lease, net_now_ms(l->agent->node)));
}

void
link_say(struct vm *vm, unsigned type, const void *m)
{
	struct link *l = vm->user.link;
	union ly_any any;

	if (!l)
		return;
	if (l->conn)
		net_send(l->conn, type, m);
	if (!l->self)
		return;
	memcpy(&any, m, ly_message_of(type)->size);
	if (visitor_hear(l->self, type, &any) != LY_OK)
		LOG("host %u: to itself: refused", l->agent->host);
}
