/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Visitors: the away sides that speak to the homes here, on a connection or
 * by the local link. Their messages, checked, become events of a home machine.
 */
#include "agent/io/homes_in.h"
#include "lib/io/clock.h"

#include <stdlib.h>

#define DOORS_PER_VISITOR 65536

struct ly_visitor *
ly_visitor_new(struct ly_homes *homes, const char *who, ly_visitor_say *say_,
    void *arg)
{
	struct ly_visitor *v = calloc(1, sizeof(*v));

	if (!v)
		abort();
	v->homes = homes;
	v->age = ++homes->visitors_ever;
	homes->refs++;
	v->say = say_;
	v->arg = arg;
	ly_copy(v->who, sizeof(v->who), who);
	return v;
}

/* ---- leases in time ---- */

void
ly_visitor_foreign(struct ly_visitor *v, uint64_t not_after)
{
	v->foreign = true;
	v->lessor = (struct ly_lessor){
		.length_ms = ly_homes_lease_ms(v->homes),
		.not_after = not_after,
	};
}

void
ly_visitor_key(struct ly_visitor *v, const uint8_t hk[32])
{
	memcpy(v->hk, hk, sizeof(v->hk));
}

static enum ly_rc
hear_renew(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_lease_given given = { .stamp = m->renew.stamp,
		.length_ms = v->lessor.length_ms };
	enum ly_rc rc = ly_lessor_renew(&v->lessor, ly_boot_ms(), ly_wall_s(),
	    why);

	if (rc == LY_OK)
		v->say(v->arg, LY_LEASE, &given);
	return rc;
}

/* A host that does not renew its lease is not served; it may come again, and
 * be known anew. */
static enum ly_rc
must_have_lease(const struct ly_visitor *v, struct ly_why *why)
{
	if (v->foreign &&
	    !ly_lessor_good(&v->lessor, ly_boot_ms(), ly_wall_s()))
		return ly_fail(why, LY_BUSY, "it has no lease");
	return LY_OK;
}

static bool
holds(const struct ly_visitor *v, const struct home *h)
{
	return h->core.rec.state != LY_REC_DETACHED &&
	    strcmp(h->core.rec.holder, v->who) == 0;
}

/* "web1, web2 and 7 more" */
static void
name_some(const struct ly_visitor *v, char *out, size_t size)
{
	unsigned n = 0, more = 0;

	out[0] = '\0';
	for (struct home *h = v->homes->first; h; h = h->next) {
		size_t at = strlen(out);

		if (!holds(v, h))
			continue;
		if (n++ < 3)
			ly_print(out + at, size - at, "%s%s", at ? ", " : "",
			    h->core.rec.name);
		else
			more++;
	}
	if (more)
		ly_print(out + strlen(out), size - strlen(out), " and %u more",
		    more);
}

void
ly_visitor_ended(struct ly_visitor *v, const struct ly_peer *peer)
{
	bool revoked = ly_identity_revoked(v->homes->agent->ids, peer);
	char names[3 * LY_NAME_MAX + 40], text[LY_WHY_MAX];

	if (!v->foreign || (!revoked && ly_wall_s() < v->lessor.not_after))
		return;
	name_some(v, names, sizeof(names));
	if (!names[0])
		return;
	ly_print(text, sizeof(text),
	    "the certificate of %s %s: no TPM here for %s until it has another",
	    v->who, revoked ? "was revoked" : "has ended", names);
	ly_log_alarm("home", "%s", text);
	ly_homes_alarm(v->homes, &(struct ly_id){ { 0 } }, text);
}

void
ly_visitor_free(struct ly_visitor *v)
{
	struct ly_homes *hs = v->homes;

	for (size_t i = 0; i < hs->doors_n; i++) {
		if (!hs->doors[i].id || hs->doors[i].visitor != v)
			continue;
		hs->doors[i].visitor = NULL;
		ly_door_free(hs, &hs->doors[i]);
	}
	free(v->chans);
	free(v);
	ly_homes_unref(hs);
}

static bool
chan_room(struct ly_visitor *v, uint32_t chan)
{
	size_t n = v->chans_n ? v->chans_n : 4;
	void *more;

	if (chan < v->chans_n)
		return true;
	if (chan >= DOORS_PER_VISITOR)
		return false;
	while (n <= chan)
		n *= 2;
	more = realloc(v->chans, n * sizeof(*v->chans));
	if (!more)
		return false;
	v->chans = more;
	memset(v->chans + v->chans_n, 0, (n - v->chans_n) * sizeof(*v->chans));
	v->chans_n = n;
	return true;
}

/* The door behind a chan: made, or moved to another VM, by those messages
 * that name one. */
static struct ly_door_slot *
door_for(struct ly_visitor *v, uint32_t chan, struct home *home)
{
	struct ly_door_slot *d;

	if (!chan_room(v, chan))
		return NULL;
	d = ly_door_of(v->homes, v->chans[chan]);
	if (d && d->home == home)
		return d;
	if (d)
		ly_door_free(v->homes, d);
	d = ly_door_new(v->homes);
	if (!d)
		return NULL;
	d->home = home;
	d->visitor = v;
	d->chan = chan;
	v->chans[chan] = d->id;
	return d;
}

static struct ly_door_slot *
door_known(struct ly_visitor *v, uint32_t chan)
{
	return chan < v->chans_n ? ly_door_of(v->homes, v->chans[chan]) : NULL;
}

/* Signature, chain, that it is for us, and by a manager of our own site. */
static const struct ly_ticket *
read_ticket(struct ly_homes *hs, struct ly_bytes b, struct ly_ticket *out,
    struct ly_why *why)
{
	const uint8_t *tagged;
	size_t len;
	struct ly_peer signer;

	if (ly_verify(hs->agent->ids, LY_TYPE_TICKET, b.at, b.len, &tagged,
		&len, &signer, why) != LY_OK ||
	    ly_message_get_tagged(&ly_ticket_message, tagged, len, out, why) !=
		LY_OK)
		return NULL;
	if (signer.role != LY_ROLE_MANAGER ||
	    strcmp(signer.site, hs->agent->self->site) != 0) {
		ly_fail(why, LY_REFUSED, "ticket signed by %s", signer.id);
		return NULL;
	}
	if (strcmp(out->home, hs->agent->self->id) != 0) {
		ly_fail(why, LY_REFUSED, "ticket is for %s", out->home);
		return NULL;
	}
	return out;
}

/* The home a visitor asks for by name. While its BIND or UNBIND is written
 * nobody proposes anything for its record: the one may fail, and after the
 * other there is none. */
static struct home *
home_for(struct ly_homes *hs, const struct ly_id *vm, enum ly_rc *rc)
{
	struct home *h = ly_home_of(hs, vm);

	*rc = h && h->binding ? LY_BUSY : LY_UNKNOWN;
	return h && h->binding ? NULL : h;
}

/* ATTACH and PRESTAGE: what both need. NULL when it has been refused. */
static struct home *
hear_ticket(struct ly_visitor *v, const struct ly_id *vm, uint32_t chan,
    struct ly_bytes bytes, struct ly_ticket *ticket, struct ly_home_event *ev)
{
	enum ly_rc rc = LY_UNKNOWN;
	struct home *h = home_for(v->homes, vm, &rc);
	struct ly_door_slot *d = h ? door_for(v, chan, h) : NULL;
	struct ly_why why = { "" };

	if (!d) {
		struct ly_granted no = { .chan = chan, .rc = (uint8_t)rc };
		struct ly_staged nor = { .chan = chan, .rc = (uint8_t)rc };

		if (ev->kind == LY_HOME_ATTACH)
			v->say(v->arg, LY_GRANTED, &no);
		else
			v->say(v->arg, LY_STAGED, &nor);
		return NULL;
	}
	ev->door = d->id;
	ev->who = v->who;
	ev->now = ly_home_now();
	ev->boot_ms = ly_boot_ms();
	ev->age = v->age;
	ev->ticket = read_ticket(v->homes, bytes, ticket, &why);
	if (!ev->ticket)
		/* the machine tells the operator */
		ly_home_grumble(h, v->who, "bad ticket: %s", why.text);
	return h;
}

static enum ly_rc
hear_attach(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_ticket ticket;
	uint8_t fresh[LY_SECRET_LEN];
	struct ly_home_event ev = { .kind = LY_HOME_ATTACH, .secret = fresh };
	struct home *h = hear_ticket(v, &m->attach.vm, m->attach.chan,
	    m->attach.ticket, &ticket, &ev);

	(void)why;
	if (!h)
		return LY_OK;
	ly_random(fresh, sizeof(fresh));
	ly_home_feed(h, &ev, NULL, 0);
	ly_wipe(fresh, sizeof(fresh));
	return LY_OK;
}

static enum ly_rc
hear_prestage(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_ticket ticket;
	struct ly_home_event ev = { .kind = LY_HOME_PRESTAGE,
		.mig = m->prestage.mig };
	struct home *h = hear_ticket(v, &m->prestage.vm, m->prestage.chan,
	    m->prestage.ticket, &ticket, &ev);

	(void)why;
	if (h)
		ly_home_feed(h, &ev, NULL, 0);
	return LY_OK;
}

static enum ly_rc
hear_resume(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	const struct ly_resume *r = &m->resume;
	struct home *h = ly_home_of(v->homes, &r->vm);
	struct ly_door_slot *d = h ? door_for(v, r->chan, h) : NULL;
	struct ly_granted no = { .chan = r->chan, .rc = LY_UNKNOWN };

	(void)why;
	if (!d) {
		v->say(v->arg, LY_GRANTED, &no);
		return LY_OK;
	}
	ly_home_feed(h,
	    &(struct ly_home_event){ .kind = LY_HOME_RESUME,
		.age = v->age,
		.door = d->id,
		.who = v->who,
		.epoch = r->epoch,
		.seq = r->seq,
		.waiting = r->waiting,
		.secret = r->secret },
	    NULL, 0);
	return LY_OK;
}

/* Messages on a chan that nothing opened: the peer is out of order. */
static enum ly_rc
no_chan(struct ly_why *why, uint32_t chan)
{
	return ly_fail(why, LY_MALFORMED, "chan %u is not open", chan);
}

static enum ly_rc
hear_command(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	const struct ly_command *c = &m->command;
	struct ly_door_slot *d = door_known(v, c->chan);
	uint8_t text[LY_TPM_MAX + 2], hash[32];
	struct home *h;

	if (!d)
		return no_chan(why, c->chan);
	if (must_have_lease(v, why) != LY_OK)
		return LY_BUSY;
	if (c->op >= LY_OPS || c->locality > 4)
		return ly_fail(why, LY_MALFORMED, "op %u, locality %u", c->op,
		    c->locality);
	text[0] = c->op;
	text[1] = c->locality;
	if (c->body.len)
		memcpy(text + 2, c->body.at, c->body.len);
	ly_sha256(text, c->body.len + 2, hash);
	h = d->home;
	if (h->core.tpm != LY_TPM_RUNNING)
		h->shell.locality = c->locality;
	ly_home_feed(h,
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

static enum ly_rc
hear_cancel(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_door_slot *d = door_known(v, m->cancel.chan);

	if (!d)
		return no_chan(why, m->cancel.chan);
	ly_home_feed(d->home,
	    &(struct ly_home_event){ .kind = LY_HOME_CANCEL,
		.door = d->id,
		.who = v->who,
		.epoch = m->cancel.epoch,
		.seq = m->cancel.seq },
	    NULL, 0);
	return LY_OK;
}

static enum ly_rc
hear_detach(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_door_slot *d = door_known(v, m->detach.chan);

	if (!d)
		return no_chan(why, m->detach.chan);
	ly_home_feed(d->home,
	    &(struct ly_home_event){ .kind = LY_HOME_DETACH,
		.door = d->id,
		.who = v->who,
		.epoch = m->detach.epoch },
	    NULL, 0);
	return LY_OK;
}

static enum ly_rc
hear_release(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_door_slot *d = door_known(v, m->release.chan);

	if (!d)
		return no_chan(why, m->release.chan);
	ly_home_feed(d->home,
	    &(struct ly_home_event){ .kind = LY_HOME_RELEASE,
		.door = d->id,
		.who = v->who,
		.mig = m->release.mig,
		.epoch = m->release.epoch,
		.seq = m->release.seq },
	    NULL, 0);
	return LY_OK;
}

/* The token, if its MAC is that of the epoch it was made in. */
static const struct ly_token *
read_token(const struct home *h, struct ly_bytes b, struct ly_token *out)
{
	struct ly_why why;
	uint8_t mac[32];

	if (ly_message_get(&ly_token_message, b.at, b.len, out, &why) != LY_OK)
		return NULL;
	ly_hmac(h->core.rec.secret, LY_SECRET_LEN, b.at, b.len - sizeof(mac),
	    mac);
	return ly_same(mac, out->mac, sizeof(mac)) ? out : NULL;
}

static enum ly_rc
hear_claim(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_door_slot *d = door_known(v, m->claim.chan);
	struct ly_token token;
	uint8_t fresh[LY_SECRET_LEN];

	if (!d)
		return no_chan(why, m->claim.chan);
	ly_random(fresh, sizeof(fresh));
	ly_home_feed(d->home,
	    &(struct ly_home_event){ .kind = LY_HOME_CLAIM,
		.age = v->age,
		.door = d->id,
		.who = v->who,
		.mig = m->claim.mig,
		.token = read_token(d->home, m->claim.token, &token),
		.secret = fresh },
	    NULL, 0);
	ly_wipe(fresh, sizeof(fresh));
	return LY_OK;
}

void
ly_home_query(struct home *h, ly_door door, const char *who, bool abort_,
    const struct ly_id *mig)
{
	ly_home_feed(h,
	    &(struct ly_home_event){ .kind = abort_ ? LY_HOME_ABORT :
						      LY_HOME_QUERY,
		.door = door,
		.who = who,
		.mig = *mig },
	    NULL, 0);
}

static enum ly_rc
hear_query(struct ly_visitor *v, unsigned type, const struct ly_query *q)
{
	struct ly_outcome no = { .vm = q->vm, .mig = q->mig };
	enum ly_rc rc = LY_UNKNOWN;
	struct home *h = home_for(v->homes, &q->vm, &rc);
	struct ly_door_slot *d = h ? ly_home_door(v->homes, h) : NULL;

	if (!d) {
		no.rc = (uint8_t)rc;
		v->say(v->arg, LY_OUTCOME, &no);
		return LY_OK;
	}
	d->visitor = v;
	ly_home_query(h, d->id, v->who, type == LY_ABORT, &q->mig);
	return LY_OK;
}

static enum ly_rc
hear_abort(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	(void)why;
	return hear_query(v, LY_ABORT, &m->query);
}

static enum ly_rc
hear_ask(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	(void)why;
	return hear_query(v, LY_QUERY, &m->query);
}

typedef enum ly_rc hearer(struct ly_visitor *v, const union ly_any *m,
    struct ly_why *why);

static hearer *const hearers[] = {
	[LY_ATTACH] = hear_attach,
	[LY_RESUME] = hear_resume,
	[LY_COMMAND] = hear_command,
	[LY_CANCEL] = hear_cancel,
	[LY_DETACH] = hear_detach,
	[LY_PRESTAGE] = hear_prestage,
	[LY_RELEASE] = hear_release,
	[LY_CLAIM] = hear_claim,
	[LY_ABORT] = hear_abort,
	[LY_QUERY] = hear_ask,
	[LY_RENEW] = hear_renew,
};

enum ly_rc
ly_visitor_hear(struct ly_visitor *v, unsigned type, const union ly_any *m,
    struct ly_why *why)
{
	if (type >= LY_COUNT(hearers) || !hearers[type])
		return ly_fail(why, LY_MALFORMED, "%s is not for a home",
		    ly_message_of(type) ? ly_message_of(type)->name : "it");
	if (v->foreign && ly_wall_s() >= v->lessor.not_after)
		return ly_fail(why, LY_REFUSED, "its certificate has ended");
	return hearers[type](v, m, why);
}
