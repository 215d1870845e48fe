/* SPDX-License-Identifier: Apache-2.0 */
/* QUOTE: a manager's call, judged, answered once and kept. */
#include "agent/attest/call.h"
#include "agent/io/control.h"
#include "agent/io/evidence_in.h"
#include "agent/io/homes.h"
#include "agent/io/keys.h"
#include "agent/io/vms.h"
#include "lib/io/clock.h"

#include <stdlib.h>

/* One that is being answered, or was. */
struct asked {
	struct asked *next;
	struct ly_quotes *q;
	struct ly_call call;
	uint8_t role;
	uint32_t req; /* of who asked last */
	bool keyed;   /* answered and kept by the keys */
	bool done;
	uint8_t *evidence;
	size_t len;
};

/* ---- answers ---- */

static void
answer(struct ly_agent *a, uint32_t req, enum ly_rc rc, const char *why,
    struct ly_bytes data)
{
	struct ly_done m = { .req = req, .rc = (uint8_t)rc, .data = data };

	ly_copy(m.why, sizeof(m.why), why);
	ly_control_answer(a->control, &m);
}

static void
refuse(struct ly_agent *a, const struct ly_quote *m, enum ly_rc rc,
    const struct ly_why *why)
{
	ly_log(LY_WARNING, "evidence", "asked as %s: %s",
	    ly_quote_role_name(m->role), why->text);
	answer(a, m->req, rc, why->text, (struct ly_bytes){ .len = 0 });
}

static void
drop(struct asked *a)
{
	struct asked **at = &a->q->asked;

	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	free(a->evidence);
	free(a);
}

/* What failed may be asked again; what was said stays said. */
static void
settled(void *arg, enum ly_rc rc, const char *why, struct ly_bytes evidence)
{
	struct asked *a = arg;
	struct ly_agent *agent = a->q->agent;

	if (rc != LY_OK)
		ly_log(LY_WARNING, "evidence", "as %s: %s",
		    ly_quote_role_name(a->role), why);
	if (a->keyed && agent->keys)
		ly_keys_quoted(agent->keys, &a->call.mig, rc, why, evidence);
	else
		answer(agent, a->req, rc, why, evidence);
	if (rc != LY_OK || a->keyed) {
		drop(a);
		return;
	}
	a->evidence = malloc(evidence.len);
	if (!a->evidence)
		abort();
	memcpy(a->evidence, evidence.at, evidence.len);
	a->len = evidence.len;
	a->done = true;
}

static void
failed(struct asked *a, enum ly_rc rc, const char *why)
{
	settled(a, rc, why, (struct ly_bytes){ .len = 0 });
}

/* ---- what this host knows ---- */

static void
context_of(const struct asked *a, struct ly_context *c)
{
	*c = (struct ly_context){ .role = (uint8_t)ly_quote_type_of(a->role),
		.vm = a->call.vm,
		.mig = a->call.mig,
		.epoch = a->call.epoch };
	memcpy(c->nonce, a->call.nonce, sizeof(c->nonce));
	ly_copy(c->source, sizeof(c->source), a->call.source);
	ly_copy(c->dest, sizeof(c->dest), a->call.dest);
	ly_copy(c->home, sizeof(c->home), a->call.home);
}

static void
make(struct asked *a, const struct ly_context *c)
{
	ly_quotes_make(a->q, c, true, settled, a);
}

/* Where the VM runs, which it must be. A host alone is asked without one. */
static void
ask_here(struct asked *a)
{
	struct ly_context c;
	char id[LY_ID_TEXT], why[LY_WHY_MAX];
	uint64_t epoch;

	context_of(a, &c);
	if (ly_id_none(&a->call.vm) && a->role == LY_AS_PLACE) {
		make(a, &c);
		return;
	}
	ly_id_text(&a->call.vm, id);
	if (!ly_vms_place(a->q->agent->vms, &a->call.vm, &epoch)) {
		ly_print(why, sizeof(why), "VM %s does not run on this host",
		    id);
		failed(a, LY_REFUSED, why);
	} else if (epoch != a->call.epoch) {
		ly_print(why, sizeof(why),
		    "VM %s runs here in epoch %llu, not %llu", id,
		    (unsigned long long)epoch,
		    (unsigned long long)a->call.epoch);
		failed(a, LY_REFUSED, why);
	} else {
		make(a, &c);
	}
}

static void
on_digest(void *arg, enum ly_rc rc, const char *why, const uint8_t digest[32])
{
	struct asked *a = arg;
	struct ly_context c;

	if (rc != LY_OK) {
		failed(a, rc, why);
		return;
	}
	context_of(a, &c);
	memcpy(c.launch, digest, sizeof(c.launch));
	make(a, &c);
}

/* By the home's own record: the call's word for the epoch and the holder is
 * not repeated. */
static void
on_placed(void *arg, enum ly_rc rc, const struct ly_home_place *place,
    const char *why)
{
	struct asked *a = arg;
	struct ly_context c;

	if (rc != LY_OK) {
		failed(a, rc, why);
		return;
	}
	context_of(a, &c);
	c.epoch = place->epoch;
	c.seq = place->seq;
	ly_copy(c.source, sizeof(c.source), place->holder);
	memcpy(c.holder_hk, place->holder_hk, sizeof(c.holder_hk));
	memcpy(c.vpcrs, place->vpcrs, sizeof(c.vpcrs));
	make(a, &c);
}

static void
begin(struct asked *a, const struct ly_quote *m)
{
	switch (a->role) {
	case LY_AS_DEST:
		ly_launch_digest(a->q->launch, &a->call.vm, m->definition,
		    on_digest, a);
		break;
	case LY_AS_HOME:
	case LY_AS_TPM:
		ly_homes_vpcrs(a->q->agent->homes, &a->call.vm, on_placed, a);
		break;
	default:
		ask_here(a);
	}
}

/* ---- what is asked ---- */

static enum ly_rc
read_call(struct ly_agent *agent, const struct ly_quote *m,
    struct ly_call *call, struct ly_why *why)
{
	const uint8_t *tagged;
	struct ly_peer signer;
	size_t len;
	enum ly_rc rc;

	if (!agent->quotes)
		return ly_fail(why, LY_REFUSED,
		    "this host has no TPM of its own to prove itself with: set"
		    " `attest`");
	rc = ly_verify(agent->ids, LY_TYPE_CALL, m->call.at, m->call.len,
	    &tagged, &len, &signer, why);
	if (rc == LY_OK)
		rc = ly_message_get_tagged(&ly_call_message, tagged, len, call,
		    why);
	if (rc == LY_OK)
		rc = ly_call_check(call, signer.id, agent->self->id, m->role,
		    ly_wall_s(), why);
	if (rc == LY_OK &&
	    (!ly_id_same(&call->vm, &m->vm) ||
		!ly_id_same(&call->mig, &m->mig)))
		rc = ly_fail(why, LY_REFUSED,
		    "the call is for another VM or migration");
	return rc;
}

static bool
same_nonce(const struct ly_call *a, const struct ly_call *b)
{
	return memcmp(a->nonce, b->nonce, sizeof(a->nonce)) == 0;
}

/* Of the same migration, or the same question outside of any. */
static struct asked *
before(struct ly_quotes *q, const struct ly_call *call, uint8_t role)
{
	for (struct asked *a = q->asked; a; a = a->next)
		if (a->role == role && ly_id_same(&a->call.vm, &call->vm) &&
		    ly_id_same(&a->call.mig, &call->mig) &&
		    (!ly_id_none(&call->mig) || same_nonce(&a->call, call)))
			return a;
	return NULL;
}

static void
again(struct asked *a, const struct ly_quote *m, const struct ly_call *call)
{
	struct ly_agent *agent = a->q->agent;
	struct ly_why why;

	if (!same_nonce(&a->call, call)) {
		ly_fail(&why, LY_REFUSED,
		    "this migration was called for before, with another nonce");
		refuse(agent, m, LY_REFUSED, &why);
	} else if (a->done) {
		answer(agent, m->req, LY_OK, "",
		    (struct ly_bytes){ a->evidence, a->len });
	} else {
		a->req = m->req;
	}
}

/* The oldest that was answered makes room. */
static bool
make_room(struct ly_quotes *q)
{
	struct asked *oldest = NULL;
	unsigned n = 0;

	for (struct asked *a = q->asked; a; a = a->next, n++)
		if (a->done)
			oldest = a;
	if (n < LY_QUOTES_KEPT)
		return true;
	if (oldest)
		drop(oldest);
	return oldest != NULL;
}

static struct asked *
asked_new(struct ly_quotes *q, const struct ly_quote *m,
    const struct ly_call *call)
{
	struct asked *a = calloc(1, sizeof(*a));

	if (!a)
		abort();
	*a = (struct asked){ .next = q->asked,
		.q = q,
		.call = *call,
		.role = m->role,
		.req = m->req,
		.keyed = m->role == LY_AS_SOURCE || m->role == LY_AS_DEST };
	q->asked = a;
	return a;
}

void
ly_quotes_hear(struct ly_agent *agent, const struct ly_quote *m)
{
	struct ly_call call;
	struct asked *a;
	struct ly_why why;
	enum ly_rc rc = read_call(agent, m, &call, &why);
	bool keyed = m->role == LY_AS_SOURCE || m->role == LY_AS_DEST;

	if (rc == LY_OK && keyed && !agent->keys)
		rc = ly_fail(&why, LY_REFUSED, "this host makes no keys");
	if (rc == LY_OK && !keyed &&
	    (a = before(agent->quotes, &call, m->role))) {
		again(a, m, &call);
		return;
	}
	if (rc == LY_OK && !make_room(agent->quotes))
		rc = ly_fail(&why, LY_BUSY, "asked for too much at once");
	if (rc != LY_OK)
		refuse(agent, m, rc, &why);
	else if (!keyed || ly_keys_call(agent->keys, m, &call))
		begin(asked_new(agent->quotes, m, &call), m);
}

void
ly_asked_fini(struct ly_quotes *q)
{
	while (q->asked)
		drop(q->asked);
}
