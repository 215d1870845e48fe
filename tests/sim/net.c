/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: lib/link's machine at both ends, and bytes between them, which
 * arrive in order, late, and in pieces. What was under way when a connection
 * is cut is lost from some byte on. After the first END of an end its owner
 * hears nothing more.
 */
#include "tests/sim/sim.h"

#define TICK_US (500 * MS)

static void feed(struct end *e, const struct ly_link_event *ev);
static void dial_tell(struct dial *d, enum ly_redial_news news);

uint64_t
net_now_ms(const struct node *n)
{
	return w.now / MS + n->skew_ms;
}

uint64_t
net_wall_s(const struct node *n)
{
	return WALL_S + w.now / SEC + (uint64_t)n->wall_off_s;
}

struct end *
net_peer(struct end *e)
{
	return &e->c->end[e == &e->c->end[0]];
}

bool
net_reachable(unsigned a, unsigned b)
{
	return !w.blocked[a][b] && !w.blocked[b][a];
}

/* ---- the end of one ---- */

static void
maybe_free(struct conn *c)
{
	for (unsigned i = 0; i < 2; i++)
		if (c->end[i].there && !c->end[i].dead)
			return;
	c->gen++;
	c->used = false;
}

static void
on_peer_gone(void *obj, uint64_t arg)
{
	struct end *e = obj;

	(void)arg;
	if (!e->there || e->dead)
		return;
	feed(e,
	    &(struct ly_link_event){ .kind = LY_LINK_GONE,
		.rc = LY_OUTSIDE,
		.why = "closed by the peer" });
}

/* What was sent before still arrives before. */
static void
tell_peer(struct end *e)
{
	struct end *p = net_peer(e);
	uint64_t at = ly_max(w.now + e->c->lat_us, p->in.last_at);

	at = ly_max(at, e->c->stall_until);
	if (p->there && !p->dead)
		sim_after(at + 1 - w.now, on_peer_gone, p, &e->c->gen, 0);
}

static void
end_dead(struct end *e)
{
	if (e->dead)
		return;
	e->dead = true;
	maybe_free(e->c);
}

/* The owner hears nothing of it any more, and neither does a dial. */
static void
let_go(struct end *e, bool told)
{
	struct dial *d = e->dial;
	bool was = e->opened;

	e->opened = false;
	e->dial = NULL;
	if (d && d->used && d->end == e) {
		d->end = NULL;
		if (told)
			dial_tell(d, LY_REDIAL_LOST);
	}
	if (told && e->ops && (was || !d))
		e->ops->on_close(e);
}

void
net_node_gone(struct node *n, bool silent)
{
	for (unsigned i = 0; i < CONNS; i++) {
		struct conn *c = &w.conn[i];

		for (unsigned k = 0; c->used && k < 2; k++) {
			struct end *e = &c->end[k];

			if (!e->there || e->dead || e->node != n)
				continue;
			let_go(e, false);
			if (!silent)
				tell_peer(e);
			end_dead(e);
		}
	}
}

/* ---- bytes ---- */

static void
pipe_room(struct pipe *p, size_t n)
{
	if (p->head == p->tail)
		p->head = p->got = p->tail = 0;
	if (p->head > 8192) {
		memmove(p->buf, p->buf + p->head, p->tail - p->head);
		p->tail -= p->head;
		p->got -= p->head;
		p->head = 0;
	}
	if (p->tail + n <= p->room)
		return;
	p->room = (uint32_t)ly_max(2 * p->room, p->tail + n);
	p->buf = realloc(p->buf, p->room);
	if (!p->buf)
		abort();
}

static bool
step_frame(struct end *e, const struct ly_frame *f)
{
	union ly_any m;
	struct ly_why why;
	struct ly_link_event ev = { .kind = LY_LINK_OTHER };
	struct ly_link_todo todo;
	enum ly_rc rc = ly_frame_decode(f, &m, sizeof(m), &why);

	if (rc != LY_OK) {
		net_close(e, rc);
		return false;
	}
	switch (f->type) {
	case LY_HELLO:
		ev.kind = LY_LINK_HELLO;
		ev.proto = m.hello.proto;
		ev.purpose = m.hello.purpose;
		break;
	case LY_WELCOME:
		ev.kind = LY_LINK_WELCOME;
		ev.proto = m.welcome.proto;
		break;
	case LY_PING:
	case LY_PONG:
		ev.kind = f->type == LY_PING ? LY_LINK_PING : LY_LINK_PONG;
		ev.stamp = m.ping.stamp;
		break;
	case LY_BYE:
		ev.kind = LY_LINK_BYE;
		ev.rc = (enum ly_rc)m.bye.rc;
		break;
	default:
		break;
	}
	if (ev.kind != LY_LINK_OTHER || e->link.state != LY_LINK_UP) {
		feed(e, &ev);
		return true;
	}
	cover(M_LINK, e->link.state, ev.kind);
	ev.now_ms = net_now_ms(e->node);
	ly_link_step(&e->link, &ev, &todo);
	rc = e->ops->on_frame(e, f->type, &m);
	if (rc != LY_OK)
		net_close(e, rc);
	return true;
}

static void
read_frames(struct end *e)
{
	struct ly_link_event ev = { .kind = LY_LINK_READ };
	struct conn *c = e->c;
	uint32_t gen = c->gen;
	struct ly_frame f;
	struct ly_why why;
	size_t used;

	while (!e->dead && !e->wish && e->link.state < LY_LINK_CLOSING) {
		struct pipe *p = &e->in;
		enum ly_rc rc = ly_frame_get(p->buf + p->head, p->got - p->head,
		    &f, &used, &why);

		if (rc == LY_MALFORMED)
			net_close(e, rc);
		if (rc != LY_OK)
			break;
		p->head += (uint32_t)used;
		ev.frames++;
		if (!step_frame(e, &f) || c->gen != gen)
			break;
	}
	if (c->gen != gen || e->dead)
		return;
	ev.half = e->in.got != e->in.head;
	feed(e, &ev);
}

static void on_arrive(void *obj, uint64_t n);

static void
on_unhold(void *obj, uint64_t arg)
{
	(void)arg;
	feed(obj, &(struct ly_link_event){ .kind = LY_LINK_HELD });
}

/* A stream's reader that is busy writing memory. */
static bool
hold(struct end *e, uint64_t n)
{
	if (e->c->purpose != LY_FOR_STREAM || e->link.state == LY_LINK_CLOSING)
		return false;
	if (e->link.held) {
		sim_after(20 * MS, on_arrive, e, &e->c->gen, n);
		return true;
	}
	if (sim_chance(&e->c->rng, 30)) {
		feed(e,
		    &(struct ly_link_event){ .kind = LY_LINK_HELD,
			.held = true });
		sim_after(15 * MS, on_unhold, e, &e->c->gen, 0);
	}
	return false;
}

static void
on_arrive(void *obj, uint64_t n)
{
	struct end *e = obj;

	if (!e->there || e->dead || e->c->cut)
		return;
	if (e->c->stall_until > w.now || e->node->frozen) {
		uint64_t us = e->node->frozen ? 50 * MS :
						e->c->stall_until - w.now;

		/* A stopped process reads nothing; its kernel takes it. */
		sim_after(us, on_arrive, e, &e->c->gen, n);
		return;
	}
	if (hold(e, n))
		return;
	e->in.got += (uint32_t)n;
	read_frames(e);
}

static void
send_bytes(struct end *to, size_t n)
{
	struct conn *c = to->c;
	uint64_t at = w.now + c->lat_us + sim_below(&c->rng, c->lat_us / 4 + 1);
	size_t first = n > 1 && sim_chance(&c->rng, 60) ?
	    1 + sim_below(&c->rng, n - 1) :
	    n;

	at = ly_max(ly_max(at, to->in.last_at), c->stall_until);
	sim_after(at - w.now, on_arrive, to, &c->gen, first);
	if (first < n) {
		at += sim_below(&c->rng, c->lat_us) + 1;
		sim_after(at - w.now, on_arrive, to, &c->gen, n - first);
	}
	to->in.last_at = at;
}

static void
put_frame(struct end *e, unsigned type, const void *m)
{
	struct end *p = net_peer(e);
	size_t room = ly_message_max(ly_message_of(type)) + LY_FRAME_HEAD;
	struct ly_wr wr;

	if (!p->there || p->dead || e->shut)
		return;
	pipe_room(&p->in, ly_min(room, 16384));
	wr = ly_wr_over(p->in.buf + p->in.tail, p->in.room - p->in.tail);
	ly_frame_put(type, m, &wr);
	assert(!wr.bad);
	p->in.tail += (uint32_t)ly_wr_len(&wr);
	send_bytes(p, ly_wr_len(&wr));
}

void
net_send(struct end *e, unsigned type, const void *m)
{
	if (!e || e->dead || e->wish || e->node->doomed)
		return;
	if (e->link.state != LY_LINK_UP && !e->opened)
		return;
	fault_message(e, type);
	if (e->dead || e->c->cut || e->node->doomed)
		return;
	put_frame(e, type, m);
	feed(e,
	    &(struct ly_link_event){ .kind = LY_LINK_WROTE,
		.pending = e->c->stall_until > w.now });
}

/* ---- the machine's list ---- */

static void
on_wish(void *obj, uint64_t arg)
{
	struct end *e = obj;

	(void)arg;
	if (!e->there || e->dead || !e->wish)
		return;
	e->wish = false;
	feed(e,
	    &(struct ly_link_event){ .kind = LY_LINK_CLOSE,
		.rc = e->wish_rc,
		.why = "closed" });
}

void
net_close(struct end *e, enum ly_rc rc)
{
	if (!e || e->dead || e->wish || e->link.state >= LY_LINK_CLOSING)
		return;
	e->wish = true;
	e->wish_rc = rc;
	sim_after(0, on_wish, e, &e->c->gen, 0);
}

static void
offer(struct end *e)
{
	struct ly_welcome hi = { .proto = LY_PROTO };
	enum ly_rc rc;

	put_frame(e, LY_WELCOME, &hi);
	e->opened = true;
	rc = node_accept(e);
	if (rc == LY_OK) {
		feed(e, &(struct ly_link_event){ .kind = LY_LINK_CONSENT });
		return;
	}
	e->ops = NULL;
	e->opened = false;
	net_close(e, rc);
}

static void
open_up(struct end *e)
{
	e->opened = true;
	if (e->dial)
		dial_tell(e->dial, LY_REDIAL_OPENED);
	if (e->ops->on_open(e) != LY_OK)
		net_close(e, LY_REFUSED);
}

static void
perform(struct end *e, enum ly_link_act act, enum ly_rc rc, uint64_t stamp)
{
	struct ly_hello hello = { .proto = LY_PROTO,
		.purpose = e->c->purpose,
		.mig = e->c->mig };
	struct ly_ping ping = { .stamp = stamp };
	struct ly_bye bye = { .rc = (uint8_t)rc };

	switch (act) {
	case LY_LINK_SEND_HELLO:
		put_frame(e, LY_HELLO, &hello);
		break;
	case LY_LINK_SEND_PING:
		put_frame(e, LY_PING, &ping);
		break;
	case LY_LINK_SEND_PONG:
		put_frame(e, LY_PONG, &ping);
		break;
	case LY_LINK_SEND_BYE:
		put_frame(e, LY_BYE, &bye);
		break;
	case LY_LINK_OFFER:
		offer(e);
		break;
	case LY_LINK_OPEN:
		open_up(e);
		break;
	case LY_LINK_DELIVER: /* step_frame() does */
		break;
	case LY_LINK_END:
		let_go(e, true);
		break;
	case LY_LINK_SHUT:
		tell_peer(e);
		e->shut = true;
		break;
	case LY_LINK_DROP:
		if (!e->shut)
			tell_peer(e);
		end_dead(e);
		break;
	}
}

static void
feed(struct end *e, const struct ly_link_event *ev)
{
	struct ly_link_event now = *ev;
	struct ly_link_todo todo;
	uint32_t gen = e->c->gen;

	if (e->dead)
		return;
	now.now_ms = net_now_ms(e->node);
	cover(M_LINK, e->link.state, now.kind);
	ly_link_step(&e->link, &now, &todo);
	for (unsigned i = 0; i < todo.n && e->c->gen == gen && !e->dead; i++)
		perform(e, todo.item[i].act, todo.item[i].rc,
		    todo.item[i].stamp);
}

/* ---- time, and faults ---- */

static void
on_tick(void *obj, uint64_t arg)
{
	struct conn *c = obj;
	uint32_t gen = c->gen;

	(void)arg;
	for (unsigned i = 0; i < 2 && c->gen == gen; i++) {
		struct end *e = &c->end[i];

		if (e->there && !e->dead && !e->node->frozen)
			feed(e,
			    &(struct ly_link_event){ .kind = LY_LINK_TICK,
				.wall_s = net_wall_s(e->node) });
	}
	if (c->gen == gen)
		sim_after(TICK_US, on_tick, c, &c->gen, 0);
}

/* What is on its way arrives up to some byte, and then nothing. */
void
net_cut(struct conn *c)
{
	for (unsigned i = 0; i < 2 && c->used; i++) {
		struct end *e = &c->end[i];

		if (!e->there || e->dead)
			continue;
		if (e->in.tail > e->in.got && sim_chance(&c->rng, 700)) {
			e->in.got += (uint32_t)sim_below(&c->rng,
			    e->in.tail - e->in.got + 1);
			read_frames(e);
		}
		if (c->used && e->there && !e->dead)
			sim_after(sim_below(&c->rng, 2 * MS) + 1, on_peer_gone,
			    e, &c->gen, 0);
	}
	c->cut = true;
	stats.cuts++;
}

void
net_stall(struct conn *c, uint64_t us)
{
	c->stall_until = ly_max(c->stall_until, w.now + us);
}

/* ---- dialling ---- */

static void
on_secured(void *obj, uint64_t arg)
{
	struct end *e = obj;

	(void)arg;
	if (e->dead)
		return;
	feed(e,
	    &(struct ly_link_event){ .kind = net_wall_s(e->node) < CERT_UNTIL ?
		    LY_LINK_SECURED :
		    LY_LINK_DISTRUST,
		.rc = LY_REFUSED,
		.why = "its certificate has ended",
		.until_s = CERT_UNTIL });
}

static void
on_syn(void *obj, uint64_t arg)
{
	struct conn *c = obj;
	struct end *d = &c->end[0], *l = &c->end[1];
	struct node *n = &w.node[c->to];
	uint64_t lat = c->lat_us;

	(void)arg;
	if (d->dead || !n->machine_up || !net_reachable(d->node->index, c->to))
		return; /* silence */
	if (!n->up) {
		sim_after(lat, on_peer_gone, d, &c->gen, 0);
		return;
	}
	l->there = true;
	l->node = n;
	ly_link_init(&l->link, true, 0, NULL, net_now_ms(n));
	feed(l, &(struct ly_link_event){ .kind = LY_LINK_CONNECTED });
	feed(d, &(struct ly_link_event){ .kind = LY_LINK_CONNECTED });
	sim_after(2 * lat, on_secured, l, &c->gen, 0);
	sim_after(2 * lat, on_secured, d, &c->gen, 0);
}

static struct conn *
new_conn(void)
{
	for (unsigned i = 0; i < CONNS; i++)
		if (!w.conn[i].used)
			return &w.conn[i];
	law_broken("the simulator has no room for another connection");
	abort();
}

static void
reset_end(struct end *e, struct conn *c)
{
	struct pipe kept = e->in;

	*e = (struct end){ .c = c };
	e->in.buf = kept.buf;
	e->in.room = kept.room;
}

struct end *
net_dial(struct node *from, unsigned to, uint8_t purpose,
    const struct ly_id *mig, const struct conn_ops *ops, void *arg)
{
	struct conn *c = new_conn();
	struct end *e = &c->end[0];

	c->used = true;
	c->cut = false;
	c->purpose = purpose;
	c->mig = mig ? *mig : (struct ly_id){ { 0 } };
	c->stall_until = 0;
	c->to = to;
	c->rng = w.seed ^ (from->index << 24 | to << 16) ^
	    (uint64_t)++w.dialled[from->index][to] << 32 ^ purpose;
	c->lat_us = w.lat_us + sim_below(&c->rng, w.lat_us / 2 + 1);
	if (from->index % SITES == to % SITES)
		c->lat_us = c->lat_us / 8 + 50;
	reset_end(e, c);
	reset_end(&c->end[1], c);
	e->there = true;
	e->node = from;
	e->ops = ops;
	e->arg = arg;
	ly_link_init(&e->link, false, purpose, NULL, net_now_ms(from));
	sim_after(c->lat_us, on_syn, c, &c->gen, 0);
	sim_after(TICK_US, on_tick, c, &c->gen, 0);
	return e;
}

static void
on_due(void *obj, uint64_t arg)
{
	(void)arg;
	dial_tell(obj, LY_REDIAL_DUE);
}

static void
dial_tell(struct dial *d, enum ly_redial_news news)
{
	uint16_t chance = (uint16_t)sim_below(&d->node->rng, 65536);

	cover(M_DIAL, d->core.state, news);
	switch (ly_redial_step(&d->core, news, net_now_ms(d->node), chance)) {
	case LY_REDIAL_NOTHING:
		break;
	case LY_REDIAL_DIAL:
		d->end = net_dial(d->node, d->to, d->purpose, NULL, d->ops,
		    d->arg);
		d->end->dial = d;
		break;
	case LY_REDIAL_WAIT:
		sim_after(d->core.wait_ms * MS, on_due, d, &d->gen, 0);
		break;
	case LY_REDIAL_HANG_UP:
		if (d->end) {
			d->end->dial = NULL;
			d->end->ops = NULL;
			net_close(d->end, LY_OK);
		}
		d->end = NULL;
		break;
	}
}

void
net_dial_start(struct dial *d)
{
	d->used = true;
	d->gen++;
	d->end = NULL;
	ly_redial_init(&d->core);
	dial_tell(d, LY_REDIAL_START);
}

void
net_dial_stop(struct dial *d)
{
	if (!d->used)
		return;
	dial_tell(d, LY_REDIAL_STOP);
	d->used = false;
	d->gen++;
}
