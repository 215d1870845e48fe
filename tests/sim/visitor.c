/* SPDX-License-Identifier: Apache-2.0 */
/* Those who speak to the homes of a host: as agent/io/visitors.c. */
#include "tests/sim/sim.h"

struct visitor *
visitor_new(struct agent *a, struct end *e, const char *who, bool foreign)
{
	for (unsigned i = 0; i < VISITORS; i++) {
		struct visitor *v = &a->visitors[i];

		if (v->used)
			continue;
		*v = (struct visitor){ .used = true,
			.foreign = foreign,
			.age = ++a->visitors_ever,
			.agent = a,
			.end = e,
			.lessor = { .length_ms = LY_LEASE_MS,
			    .not_after = CERT_UNTIL } };
		ly_copy(v->who, sizeof(v->who), who);
		return v;
	}
	return NULL;
}

void
visitor_free(struct visitor *v)
{
	struct agent *a = v->agent;

	for (unsigned i = 0; i < DOORS; i++) {
		struct door *d = &a->doors[i];

		if (!d->id || d->visitor != v)
			continue;
		d->visitor = NULL;
		door_free(a, d);
	}
	v->used = false;
}

struct home *
home_of(struct agent *a, const struct ly_id *vm)
{
	unsigned n = vm_no(vm);

	return n < VMS && a->homes[n].used ? &a->homes[n] : NULL;
}

static struct door *
door_for(struct visitor *v, uint32_t chan, struct home *h)
{
	struct door *d;

	if (chan >= CHANS)
		return NULL;
	d = door_of(v->agent, v->chans[chan]);
	if (d && d->home == h)
		return d;
	if (d)
		door_free(v->agent, d);
	d = door_new(v->agent);
	if (!d)
		return NULL;
	d->home = h;
	d->visitor = v;
	d->chan = chan;
	v->chans[chan] = d->id;
	return d;
}

static struct door *
door_known(struct visitor *v, uint32_t chan)
{
	return chan < CHANS ? door_of(v->agent, v->chans[chan]) : NULL;
}

static uint64_t
sum(const void *at, size_t len, uint64_t key)
{
	struct ly_rd r = ly_rd_over(at, len);

	while (ly_rd_left(&r))
		key = (key ^ ly_rd_u8(&r)) * UINT64_C(0x100000001b3);
	return key;
}

/* The ticket and a sum under its site's key behind it. */
static const struct ly_ticket *
read_ticket(struct home *h, struct ly_bytes b, struct ly_ticket *out)
{
	struct ly_why why;
	struct ly_rd r;

	if (b.len < 8)
		return NULL;
	r = ly_rd_over(b.at + b.len - 8, 8);
	if (ly_rd_u64(&r) !=
		sum(b.at, b.len - 8, 77 + h->agent->host % SITES) ||
	    ly_message_get(&ly_ticket_message, b.at, b.len - 8, out, &why) !=
		LY_OK ||
	    strcmp(out->home, who_of(h->agent->host)) != 0)
		return NULL;
	return out;
}

static void
secret_new(struct node *n, uint8_t out[LY_SECRET_LEN])
{
	struct ly_wr wr = ly_wr_over(out, LY_SECRET_LEN);

	for (unsigned i = 0; i < LY_SECRET_LEN / 8; i++)
		ly_wr_u64(&wr, sim_rnd(&n->rng));
}

static void
say_unknown(struct visitor *v, unsigned type, uint32_t chan)
{
	struct ly_granted no = { .chan = chan, .rc = LY_UNKNOWN };
	struct ly_staged nor = { .chan = chan, .rc = LY_UNKNOWN };

	if (type == LY_PRESTAGE)
		visitor_say(v, LY_STAGED, &nor);
	else
		visitor_say(v, LY_GRANTED, &no);
}

/* ATTACH, RESUME, PRESTAGE: those that name a VM and open a chan. */
static enum ly_rc
hear_opening(struct visitor *v, unsigned type, const union ly_any *m)
{
	const struct ly_id *vm = type == LY_ATTACH ? &m->attach.vm :
	    type == LY_RESUME			   ? &m->resume.vm :
						     &m->prestage.vm;
	uint32_t chan = m->attach.chan; /* all begin with it */
	struct home *h = home_of(v->agent, vm);
	struct door *d = h ? door_for(v, chan, h) : NULL;
	struct ly_home_event ev = { .who = v->who,
		.age = v->age,
		.now = net_wall_s(v->agent->node),
		.boot_ms = net_now_ms(v->agent->node) };
	uint8_t fresh[LY_SECRET_LEN];
	struct ly_ticket ticket;

	if (!d) {
		say_unknown(v, type, chan);
		return LY_OK;
	}
	ev.door = d->id;
	if (type == LY_RESUME) {
		ev.kind = LY_HOME_RESUME;
		ev.epoch = m->resume.epoch;
		ev.seq = m->resume.seq;
		ev.waiting = m->resume.waiting;
		ev.secret = m->resume.secret;
	} else if (type == LY_ATTACH) {
		ev.kind = LY_HOME_ATTACH;
		ev.ticket = read_ticket(h, m->attach.ticket, &ticket);
		secret_new(v->agent->node, fresh);
		ev.secret = fresh;
	} else {
		ev.kind = LY_HOME_PRESTAGE;
		ev.mig = m->prestage.mig;
		ev.ticket = read_ticket(h, m->prestage.ticket, &ticket);
	}
	home_feed(h, &ev, NULL, 0);
	return LY_OK;
}

static enum ly_rc
hear_command(struct visitor *v, const struct ly_command *c)
{
	struct door *d = door_known(v, c->chan);
	uint8_t hash[32] = { 0 };
	struct ly_wr wr = ly_wr_over(hash, sizeof(hash));

	if (!d)
		return LY_MALFORMED;
	if (v->foreign &&
	    !ly_lessor_good(&v->lessor, net_now_ms(v->agent->node),
		net_wall_s(v->agent->node)))
		return LY_BUSY;
	if (c->op >= LY_OPS || c->locality > 4 || c->body.len > TPM_CMD_LEN)
		return LY_MALFORMED;
	ly_wr_u64(&wr, sum(c->body.at, c->body.len, c->op + 1u));
	home_feed(d->home,
	    &(struct ly_home_event){ .kind = LY_HOME_COMMAND,
		.door = d->id,
		.who = v->who,
		.epoch = c->epoch,
		.seq = c->seq,
		.op = (enum ly_op)c->op,
		.hash = hash },
	    c->body.at, c->body.len);
	return LY_OK;
}

/* A MAC under the secret of the epoch. */
uint64_t token_mac(const uint8_t *at, size_t len, const uint8_t *secret);
uint64_t
token_mac(const uint8_t *at, size_t len, const uint8_t *secret)
{
	return sum(at, len, sum(secret, LY_SECRET_LEN, 1));
}

static const struct ly_token *
read_token(const struct home *h, struct ly_bytes b, struct ly_token *out)
{
	struct ly_why why;
	struct ly_rd r;

	if (ly_message_get(&ly_token_message, b.at, b.len, out, &why) != LY_OK)
		return NULL;
	r = ly_rd_over(out->mac, 8);
	return ly_rd_u64(&r) ==
		token_mac(b.at, b.len - sizeof(out->mac), h->core.rec.secret) ?
	    out :
	    NULL;
}

static enum ly_rc
hear_claim(struct visitor *v, const struct ly_claim *c)
{
	struct door *d = door_known(v, c->chan);
	struct ly_token token;
	uint8_t fresh[LY_SECRET_LEN];

	if (!d)
		return LY_MALFORMED;
	secret_new(v->agent->node, fresh);
	home_feed(d->home,
	    &(struct ly_home_event){ .kind = LY_HOME_CLAIM,
		.age = v->age,
		.door = d->id,
		.who = v->who,
		.mig = c->mig,
		.token = read_token(d->home, c->token, &token),
		.secret = fresh },
	    NULL, 0);
	return LY_OK;
}

/* CANCEL, DETACH, RELEASE. */
static enum ly_rc
hear_on_chan(struct visitor *v, unsigned type, const union ly_any *m)
{
	struct door *d = door_known(v, m->cancel.chan);
	struct ly_home_event ev = { .who = v->who };

	if (!d)
		return LY_MALFORMED;
	ev.door = d->id;
	if (type == LY_CANCEL) {
		ev.kind = LY_HOME_CANCEL;
		ev.epoch = m->cancel.epoch;
		ev.seq = m->cancel.seq;
	} else if (type == LY_DETACH) {
		ev.kind = LY_HOME_DETACH;
		ev.epoch = m->detach.epoch;
	} else {
		ev.kind = LY_HOME_RELEASE;
		ev.mig = m->release.mig;
		ev.epoch = m->release.epoch;
		ev.seq = m->release.seq;
	}
	home_feed(d->home, &ev, NULL, 0);
	return LY_OK;
}

static enum ly_rc
hear_query(struct visitor *v, unsigned type, const struct ly_query *q)
{
	struct ly_outcome no = { .vm = q->vm, .mig = q->mig, .rc = LY_UNKNOWN };
	struct home *h = home_of(v->agent, &q->vm);
	struct door *d = h ? door_new(v->agent) : NULL;

	if (!d) {
		visitor_say(v, LY_OUTCOME, &no);
		return LY_OK;
	}
	d->home = h;
	d->visitor = v;
	d->once = true;
	home_feed(h,
	    &(struct ly_home_event){ .kind = type == LY_ABORT ? LY_HOME_ABORT :
								LY_HOME_QUERY,
		.door = d->id,
		.who = v->who,
		.mig = q->mig },
	    NULL, 0);
	return LY_OK;
}

enum ly_rc
visitor_hear(struct visitor *v, unsigned type, const union ly_any *m)
{
	struct ly_lease_given given = { .stamp = m->renew.stamp,
		.length_ms = v->lessor.length_ms };

	switch (type) {
	case LY_ATTACH:
	case LY_RESUME:
	case LY_PRESTAGE:
		return hear_opening(v, type, m);
	case LY_COMMAND:
		return hear_command(v, &m->command);
	case LY_CANCEL:
	case LY_DETACH:
	case LY_RELEASE:
		return hear_on_chan(v, type, m);
	case LY_CLAIM:
		return hear_claim(v, &m->claim);
	case LY_ABORT:
	case LY_QUERY:
		return hear_query(v, type, &m->query);
	case LY_RENEW:
		if (ly_lessor_renew(&v->lessor, net_now_ms(v->agent->node),
			net_wall_s(v->agent->node), NULL) != LY_OK)
			return LY_REFUSED;
		visitor_say(v, LY_LEASE, &given);
		return LY_OK;
	default:
		return LY_MALFORMED;
	}
}

static enum ly_rc
on_visit_frame(struct end *e, unsigned type, const union ly_any *m)
{
	return visitor_hear(e->arg, type, m);
}

static void
on_visit_close(struct end *e)
{
	visitor_free(e->arg);
}

const struct conn_ops visit_ops = {
	.on_frame = on_visit_frame,
	.on_close = on_visit_close,
};
