/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/keys_in.h"

#include "lib/crypt/cert.h"
#include "lib/io/clock.h"
#include "lib/io/secret.h"

#include <stdlib.h>

#define TICK_MS 5000

/* ---- what is kept ---- */

void
ly_kept_set(struct kept *to, struct ly_bytes from)
{
	free(to->at);
	*to = (struct kept){ .at = malloc(from.len + 1), .len = from.len };
	if (!to->at)
		abort();
	if (from.len)
		memcpy(to->at, from.at, from.len);
}

struct ly_bytes
ly_kept_bytes(const struct kept *k)
{
	return (struct ly_bytes){ .at = k->at, .len = k->len };
}

struct secret *
ly_entry_secret(struct entry *e)
{
	if (!e->secret)
		e->secret = ly_secret_new(sizeof(*e->secret));
	return e->secret;
}

static void
wipe(struct entry *e)
{
	ly_chip_import_drop(e->k->p.chip, &e->core.mig);
	ly_secret_free(e->secret, sizeof(*e->secret));
	e->secret = NULL;
}

static void
entry_free(struct entry *e)
{
	struct kept *kept[] = { &e->called, &e->evidence, &e->peer_evidence,
		&e->blob, &e->sent_by, &e->sent_evidence, &e->arrived_by,
		&e->destroyed_by, &e->destroyed_evidence, &e->proof };

	for (unsigned i = 0; i < LY_COUNT(kept); i++)
		free(kept[i]->at);
	ly_secret_free(e->secret, sizeof(*e->secret));
	free(e);
}

struct entry *
ly_entry_of(const struct ly_keys *k, const struct ly_id *mig)
{
	for (struct entry *e = k->first; e; e = e->next)
		if (ly_id_same(&e->core.mig, mig))
			return e;
	return NULL;
}

/* The oldest that is over and has nothing under way; NULL: none is. */
static struct entry **
spare(struct ly_keys *k)
{
	struct entry **found = NULL;

	for (struct entry **at = &k->first; *at; at = &(*at)->next)
		if (ly_hand_over(&(*at)->core) && !(*at)->jobs)
			found = at;
	return found;
}

static struct entry *
entry_new(struct ly_keys *k)
{
	struct entry **old = k->n < LY_KEYS_MAX ? NULL : spare(k), *e;

	if (k->n >= LY_KEYS_MAX && !old)
		return NULL;
	if (old) {
		e = *old;
		*old = e->next;
		entry_free(e);
		k->n--;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		abort();
	e->k = k;
	e->next = k->first;
	k->first = e;
	k->n++;
	return e;
}

/* ---- answers ---- */

static void
answer(struct ly_keys *k, uint32_t req, enum ly_rc rc, const char *why,
    struct ly_bytes data)
{
	struct ly_done m = { .req = req,
		.rc = (uint8_t)rc,
		.fate = LY_FATE_OPEN,
		.data = data };

	if (!req)
		return;
	ly_copy(m.why, sizeof(m.why), why);
	k->ops.answer(k->arg, &m);
}

static void
answer_none(struct ly_keys *k, uint32_t req, enum ly_rc rc, const char *why)
{
	answer(k, req, rc, why, (struct ly_bytes){ NULL, 0 });
}

static struct ly_bytes
what_was_given(const struct entry *e, enum ly_hand_kind kind)
{
	switch ((int)kind) {
	case LY_HAND_CALL:
	case LY_HAND_DID_QUOTE:
		return ly_kept_bytes(&e->evidence);
	case LY_HAND_KEY:
	case LY_HAND_DID_MAKE:
		return ly_kept_bytes(&e->blob);
	case LY_HAND_IMPORT:
	case LY_HAND_DID_IMPORT:
		return (struct ly_bytes){ e->nonce, e->nonce_len };
	default:
		return (struct ly_bytes){ e->confirm, sizeof(e->confirm) };
	}
}

struct ly_hand_event
ly_entry_event(const struct entry *e, enum ly_hand_kind kind)
{
	return (struct ly_hand_event){ .kind = kind,
		.now_s = ly_wall_s(),
		.now_ms = uv_now(e->k->p.loop) };
}

/* What does not wait: told to `req`, or done. */
static void
perform(struct entry *e, const struct ly_hand_event *ev,
    const struct ly_hand_todo *todo, uint32_t req)
{
	if (todo->wipe)
		wipe(e);
	switch (todo->act) {
	case LY_HAND_DO_REFUSE:
		ly_log(LY_WARNING, "keys", "%s refused: %s (%s)",
		    ly_hand_kind_name(ev->kind), todo->text,
		    ly_rc_name(todo->rc));
		answer_none(e->k, req, todo->rc, todo->text);
		break;
	case LY_HAND_DO_ANSWER:
		answer(e->k, req, LY_OK, "", what_was_given(e, ev->kind));
		break;
	case LY_HAND_DO_MAKE:
	case LY_HAND_DO_IMPORT:
	case LY_HAND_DO_UNLOCK:
	case LY_HAND_DO_QUOTE:
	case LY_HAND_DO_WAIT:
		e->req = req;
		break;
	case LY_HAND_DO_NOTHING:
	case LY_HAND_DO_GO:
		break;
	}
}

static enum ly_hand_act
step(struct entry *e, const struct ly_hand_event *ev, uint32_t req)
{
	struct ly_hand_todo todo;

	ly_hand_step(&e->core, ev, &todo);
	perform(e, ev, &todo, req);
	return todo.act;
}

void
ly_entry_did(struct entry *e, enum ly_hand_kind kind, enum ly_rc rc,
    const char *why)
{
	struct ly_hand_event ev = ly_entry_event(e, kind);
	uint32_t req = e->req;

	ev.rc = rc;
	ev.text = why;
	e->req = 0;
	step(e, &ev, req);
}

enum ly_rc
ly_entry_step(struct entry *e, const struct ly_hand_event *ev,
    struct ly_why *why)
{
	struct ly_hand_todo todo;

	ly_hand_step(&e->core, ev, &todo);
	perform(e, ev, &todo, 0);
	if (todo.act == LY_HAND_DO_REFUSE)
		return ly_fail(why, todo.rc, "%s", todo.text);
	return LY_OK;
}

/* ---- QUOTE ---- */

static void
hash_two(struct ly_bytes a, struct ly_bytes b, uint8_t out[32])
{
	uint8_t hash[2][32];

	ly_sha256(a.at, a.len, hash[0]);
	ly_sha256(b.at, b.len, hash[1]);
	ly_sha256(hash, sizeof(hash), out);
}

/* The key that the manager signed the call with, and will sign its leave. */
static enum ly_rc
key_of_signer(struct ly_bytes call, struct ly_point *out, struct ly_why *why)
{
	struct ly_bytes der = ly_signed_by(call);
	struct ly_cert_key key;
	enum ly_rc rc = ly_cert_key(der.at, der.len, &key, why);

	if (rc == LY_OK && key.rsa)
		rc = ly_fail(why, LY_REFUSED, "the manager's key is RSA");
	if (rc == LY_OK)
		*out = key.point;
	return rc;
}

static void
take_call(struct entry *e, const struct ly_quote *m, const struct ly_call *call,
    const struct ly_point *manager)
{
	e->call = *call;
	e->manager = *manager;
	e->quote_ms = uv_now(e->k->p.loop);
	ly_kept_set(&e->called, m->call);
}

bool
ly_keys_call(struct ly_keys *k, const struct ly_quote *m,
    const struct ly_call *call)
{
	struct entry *e = ly_entry_of(k, &call->mig);
	struct ly_hand_event ev;
	struct ly_point manager;
	struct ly_why why;

	if (key_of_signer(m->call, &manager, &why) != LY_OK) {
		answer_none(k, m->req, LY_REFUSED, why.text);
		return false;
	}
	if (!e)
		e = entry_new(k);
	if (!e) {
		answer_none(k, m->req, LY_FULL,
		    "too many migrations of this host are under way");
		return false;
	}
	ev = ly_entry_event(e, LY_HAND_CALL);
	ev.role = m->role;
	ev.call = call;
	hash_two(m->call, m->definition, ev.asked);
	if (step(e, &ev, m->req) != LY_HAND_DO_QUOTE)
		return false;
	take_call(e, m, call, &manager);
	return true;
}

void
ly_keys_quoted(struct ly_keys *k, const struct ly_id *mig, enum ly_rc rc,
    const char *why, struct ly_bytes evidence)
{
	struct entry *e = ly_entry_of(k, mig);

	if (!e || e->core.state != LY_HAND_CALLED)
		return; /* it has ended meanwhile */
	if (rc == LY_OK) {
		ly_kept_set(&e->evidence, evidence);
		uv_update_time(k->p.loop);
		k->quote_took_ms = uv_now(k->p.loop) - e->quote_ms;
	}
	ly_entry_did(e, LY_HAND_DID_QUOTE, rc, why);
}

/* ---- KEY, IMPORT, UNLOCK ---- */

/* Whose evidence it is, by its own word. */
static enum ly_rc
read_said(struct ly_bytes packed, struct ly_context *c,
    struct ly_hand_said *said, struct ly_why *why)
{
	struct ly_evidence ev;
	enum ly_rc rc = ly_message_get(&ly_evidence_message, packed.at,
	    packed.len, &ev, why);

	if (rc == LY_OK)
		rc = ly_evidence_context(&ev, c, why);
	if (rc != LY_OK)
		return ly_fail_in(why, LY_REFUSED, "evidence");
	*said =
	    (struct ly_hand_said){ .vm = c->vm, .mig = c->mig, .id = c->self };
	memcpy(said->nonce, c->nonce, sizeof(said->nonce));
	for (uint8_t role = 1; role < LY_QUOTE_ROLES; role++)
		if (ly_quote_type_of(role) == c->role)
			said->role = role;
	return LY_OK;
}

/* An agent that was never called has no entry; the machine says so. */
static void
refuse_unknown(struct ly_keys *k, const struct ly_keying *m,
    enum ly_hand_kind kind)
{
	struct entry none = { .k = k };
	struct ly_hand_event ev = ly_entry_event(&none, kind);
	struct ly_hand_todo todo;

	ly_hand_step(&none.core, &ev, &todo);
	answer_none(k, m->req, todo.rc, todo.text);
}

static void
on_keying(struct ly_keys *k, const struct ly_keying *m, enum ly_hand_kind kind)
{
	struct entry *e = ly_entry_of(k, &m->mig);
	struct ly_hand_event ev;
	struct ly_hand_said said;
	struct ly_context c;
	struct ly_why why;

	if (!e) {
		refuse_unknown(k, m, kind);
		return;
	}
	if (!ly_keys_of_site(k, &m->mig, m->origin)) {
		answer_none(k, m->req, LY_REFUSED, "not a VM of that site");
		return;
	}
	ev = ly_entry_event(e, kind);
	hash_two(m->evidence, m->blob, ev.asked);
	if (kind != LY_HAND_UNLOCK) {
		if (read_said(m->evidence, &c, &said, &why) != LY_OK) {
			answer_none(k, m->req, LY_REFUSED, why.text);
			return;
		}
		ev.said = &said;
	}
	switch ((int)step(e, &ev, m->req)) {
	case LY_HAND_DO_MAKE:
		ly_kept_set(&e->peer_evidence, m->evidence);
		ly_entry_make(e);
		break;
	case LY_HAND_DO_IMPORT:
		ly_kept_set(&e->peer_evidence, m->evidence);
		ly_kept_set(&e->blob, m->blob);
		ly_entry_import(e);
		break;
	case LY_HAND_DO_UNLOCK:
		ly_entry_unlock(e, m->blob);
		break;
	default:
		break;
	}
}

void
ly_keys_key(struct ly_keys *k, const struct ly_keying *m)
{
	on_keying(k, m, LY_HAND_KEY);
}

void
ly_keys_import(struct ly_keys *k, const struct ly_keying *m)
{
	on_keying(k, m, LY_HAND_IMPORT);
}

void
ly_keys_unlock(struct ly_keys *k, const struct ly_keying *m)
{
	on_keying(k, m, LY_HAND_UNLOCK);
}

/* ---- the stream's keys ---- */

bool
ly_keys_has(const struct ly_keys *k, const struct ly_id *mig)
{
	return ly_entry_of(k, mig) != NULL;
}

static enum ly_rc
no_key(struct ly_why *why)
{
	return ly_fail(why, LY_REFUSED,
	    "this agent has no key for that migration; if there was one, it"
	    " is gone");
}

static void
lanes_of(const struct entry *e, struct ly_lanes_params *out)
{
	*out = (struct ly_lanes_params){ .keys = &e->secret->stream,
		.peer = &e->peer };
}

enum ly_rc
ly_keys_copy(struct ly_keys *k, const struct ly_copy *m,
    struct ly_lanes_params *out, struct ly_why *why)
{
	struct entry *e = ly_entry_of(k, &m->mig);
	struct ly_hand_event ev;
	enum ly_rc rc;

	if (!e)
		return no_key(why);
	if (m->lanes != e->call.lanes || !ly_id_same(&m->vm, &e->core.vm) ||
	    strcmp(m->dest, e->core.peer) != 0)
		return ly_fail(why, LY_REFUSED,
		    "this COPY is of another VM, destination or number of"
		    " lanes than the call");
	ev = ly_entry_event(e, LY_HAND_COPY);
	ev.ok = ly_same(m->confirm, e->confirm, sizeof(e->confirm));
	rc = ly_entry_step(e, &ev, why);
	if (rc == LY_OK)
		lanes_of(e, out);
	return rc;
}

enum ly_rc
ly_keys_take(struct ly_keys *k, const struct ly_id *mig,
    struct ly_lanes_params *out, struct ly_why *why)
{
	struct entry *e = ly_entry_of(k, mig);
	struct ly_hand_event ev;
	enum ly_rc rc;

	if (!e)
		return no_key(why);
	ev = ly_entry_event(e, LY_HAND_TAKE);
	rc = ly_entry_step(e, &ev, why);
	if (rc == LY_OK)
		lanes_of(e, out);
	return rc;
}

bool
ly_keys_of_site(const struct ly_keys *k, const struct ly_id *mig,
    const char *site)
{
	const struct entry *e = k ? ly_entry_of(k, mig) : NULL;
	struct ly_peer home;

	return e && ly_spiffe_parse(e->call.home, &home, NULL) == LY_OK &&
	    strcmp(home.site, site) == 0;
}

void
ly_keys_end(struct ly_keys *k, const struct ly_id *mig, const char *text)
{
	struct entry *e = k ? ly_entry_of(k, mig) : NULL;
	struct ly_hand_event ev;
	struct ly_why why;
	uint32_t req;

	if (!e)
		return;
	ev = ly_entry_event(e, LY_HAND_END);
	ev.rc = LY_REFUSED;
	ev.text = text;
	if (ly_entry_step(e, &ev, &why) != LY_OK)
		return;
	req = e->req; /* its answer is not to come any more */
	e->req = 0;
	answer_none(k, req, LY_REFUSED, text);
}

/* ---- the whole ---- */

static void
on_tick(uv_timer_t *timer)
{
	struct ly_keys *k = timer->data;

	for (struct entry *e = k->first; e; e = e->next) {
		struct ly_hand_event ev = ly_entry_event(e, LY_HAND_TICK);
		enum ly_hand_state before = e->core.state;
		uint32_t req = e->req;

		step(e, &ev, 0);
		if (e->core.state == before)
			continue;
		e->req = 0;
		answer_none(k, req, e->core.rc, e->core.why);
	}
}

enum ly_rc
ly_keys_open(const struct ly_keys_params *params, const struct ly_keys_ops *ops,
    void *arg, struct ly_keys **out, struct ly_why *why)
{
	struct ly_keys *k = calloc(1, sizeof(*k));

	if (!k)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	k->p = *params;
	k->ops = *ops;
	k->arg = arg;
	uv_timer_init(k->p.loop, &k->tick);
	k->tick.data = k;
	uv_timer_start(&k->tick, on_tick, TICK_MS, TICK_MS);
	uv_unref((uv_handle_t *)&k->tick);
	*out = k;
	return LY_OK;
}

static void
on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
ly_keys_close(struct ly_keys *k)
{
	if (!k)
		return;
	while (k->first) {
		struct entry *e = k->first;

		k->first = e->next;
		entry_free(e);
	}
	uv_close((uv_handle_t *)&k->tick, on_closed);
}
