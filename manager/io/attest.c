/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For a VM: its home says who holds it, in which epoch (SHOW). Then one call,
 * with one nonce, goes to that host (PLACE) and to the home (TPM); each quote is
 * judged by itself, and then whether they are of one place. For a host alone
 * one quote, of no VM. A VM that migrates meanwhile fails the epoch: ask again.
 */
#include "manager/io/attest.h"

#include "lib/attest/place.h"
#include "lib/io/file.h"
#include "manager/io/policy.h"

#include <stdlib.h>

#define SHORT_MS 10000
#define QUOTE_MS 30000 /* a chip may take a second, its queue some more */

enum { PLACE, TPM, SIDES };

static const struct {
	enum ly_quote_role role;
	const char *side;
} sides[SIDES] = {
	[PLACE] = { LY_AS_PLACE, "attest: host" },
	[TPM] = { LY_AS_TPM, "attest: home" },
};

struct attest;
struct side {
	struct attest *a;
	struct ly_place at;
	uint8_t *packed; /* its evidence */
	size_t len;
	struct ly_judged found; /* borrows from `packed` */
	char state[LY_APPROVED_NOTE];
};

struct attest {
	struct ly_manager *m;
	uint64_t client;
	struct ly_id vm; /* none: a host */
	char name[LY_NAME_MAX];
	struct ly_call call;
	struct side side[SIDES];
	unsigned waiting;
	char bad[LY_WHY_MAX]; /* the first that failed */
	enum ly_rc bad_rc;
};

/* ---- its end ---- */

static void
over(struct attest *a)
{
	for (int i = 0; i < SIDES; i++)
		free(a->side[i].packed);
	free(a);
}

static void
fail(struct attest *a, enum ly_rc rc, const char *why)
{
	ly_api_fail(a->m, a->client, rc, why);
	over(a);
}

static bool
of_vm(const struct attest *a)
{
	return !ly_id_none(&a->vm);
}

static json_t *
side_json(const struct side *s)
{
	const struct ly_peer *p = &s->found.peer;
	char at[LY_PLACE_TEXT], ak[2 * LY_TPM_NAME + 1];

	ly_hex(s->found.host.ak_name, LY_TPM_NAME, ak);
	return json_pack("{s:s, s:s, s:s, s:s, s:I}", "host",
	    ly_place_text(&s->at, at), "class", p->class_, "state", s->state,
	    "ak", ak, "certificate_until", (json_int_t)p->not_after);
}

static void
add_hex(json_t *o, const char *key, const void *at, size_t len)
{
	char hex[2 * 128 + 1];

	assert(len <= 128);
	ly_hex(at, len, hex);
	json_object_set_new(o, key, json_string(hex));
}

static struct ly_placed
placed(const struct attest *a)
{
	const struct side *v = &a->side[PLACE], *h = &a->side[TPM];
	const struct ly_context *tpm = &h->found.found.context;
	const struct ly_peer *self = ly_identity_self(a->m->ids);
	struct ly_placed p = { .site = self->site,
		.manager = self->id,
		.vm = a->vm,
		.name = a->name,
		.epoch = a->call.epoch,
		.seq = tpm->seq,
		.host = v->found.host.id,
		.host_class = v->found.host.class,
		.host_state = v->state,
		.home = h->found.host.id,
		.home_class = h->found.host.class,
		.home_state = h->state,
		.from = ly_now_s(),
		.until = ly_now_s() + LY_ATTEST_S };

	memcpy(p.hk, v->found.host.hk, sizeof(p.hk));
	memcpy(p.vpcrs, tpm->vpcrs, sizeof(p.vpcrs));
	memcpy(p.nonce, a->call.nonce, sizeof(p.nonce));
	return p;
}

static json_t *
answer(const struct attest *a, const struct ly_placed *p, const char *text)
{
	json_t *o = json_pack("{s:b, s:s, s:o, s:I}", "ok", 1, "text", text,
	    "place", side_json(&a->side[PLACE]), "until", (json_int_t)p->until);
	char id[LY_ID_TEXT];

	if (!of_vm(a))
		return o;
	json_object_set_new(o, "vm", json_string(a->name));
	json_object_set_new(o, "id", json_string(ly_id_text(&a->vm, id)));
	json_object_set_new(o, "epoch", json_integer((json_int_t)p->epoch));
	json_object_set_new(o, "seq", json_integer((json_int_t)p->seq));
	json_object_set_new(o, "home", side_json(&a->side[TPM]));
	add_hex(o, "vm_pcrs", p->vpcrs, sizeof(p->vpcrs));
	return o;
}

static void
succeed(struct attest *a)
{
	struct ly_placed p = placed(a);
	char text[LY_PLACED_MAX], cert[320];
	uint8_t sig[LY_SIG_DER_MAX], *pem = NULL;
	size_t sig_len, pem_len;
	struct ly_why why;
	enum ly_rc rc;
	json_t *o;

	ly_placed_text(&p, text);
	rc = ly_sign_text(a->m->ids, text, sig, &sig_len, &why);
	if (rc == LY_OK)
		rc = ly_file_read(ly_manager_file(a->m, "manager.pem", cert),
		    LY_CHAIN_MAX, &pem, &pem_len, &why);
	if (rc != LY_OK) {
		fail(a, rc, why.text);
		return;
	}
	o = answer(a, &p, text);
	add_hex(o, "signature", sig, sig_len);
	json_object_set_new(o, "certificate", json_string((char *)pem));
	free(pem);
	ly_api_final(a->m, a->client, o);
	over(a);
}

/* ---- judging ---- */

static enum ly_rc
judge(struct attest *a, int i, struct ly_why *why)
{
	struct side *s = &a->side[i];
	struct ly_judge_wish w = { .side = sides[i].side,
		.role = sides[i].role,
		.call = &a->call,
		.at = &s->at,
		.packed = { s->packed, s->len } };
	enum ly_rc rc = ly_judge(a->m, &w, &s->found, why);

	if (rc == LY_OK) /* the list may be another one soon */
		ly_copy(s->state, sizeof(s->state), s->found.found.entry->note);
	return rc;
}

static void
all_in(struct attest *a)
{
	struct ly_why why;
	enum ly_rc rc = judge(a, PLACE, &why);

	if (rc == LY_OK && of_vm(a))
		rc = judge(a, TPM, &why);
	if (rc == LY_OK && of_vm(a)) {
		rc = ly_place_link(&a->side[PLACE].found.found.context,
		    &a->side[TPM].found.found.context, &why);
		if (rc != LY_OK)
			(void)ly_fail_in(&why, rc, "attest: %s", a->name);
	}
	if (rc == LY_OK)
		succeed(a);
	else
		fail(a, rc, why.text);
}

/* ---- asking ---- */

static void
note_bad(struct attest *a, enum ly_rc rc, const char *why)
{
	if (a->bad[0])
		return;
	a->bad_rc = rc;
	ly_print(a->bad, sizeof(a->bad), "%s", why);
}

static void
said_no(struct side *s, const char *side, const struct ly_done *d)
{
	char at[LY_PLACE_TEXT], text[LY_WHY_MAX];

	ly_place_text(&s->at, at);
	if (!d)
		ly_print(text, sizeof(text), "%s %s does not answer", side, at);
	else
		ly_print(text, sizeof(text), "%s %s: %s", side, at,
		    d->rc == LY_OK ? "it gave no evidence" :
			d->why[0]  ? d->why :
				     ly_rc_name(d->rc));
	note_bad(s->a, d && d->rc ? (enum ly_rc)d->rc : LY_OUTSIDE, text);
}

static void
one_less(struct attest *a)
{
	if (--a->waiting > 0)
		return;
	if (a->bad[0])
		fail(a, a->bad_rc, a->bad);
	else
		all_in(a);
}

static void
on_quoted(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct side *s = arg;
	int i = (int)(s - s->a->side);

	(void)m;
	if (d && d->rc == LY_OK && d->data.len > 0) {
		s->packed = malloc(d->data.len);
		if (!s->packed)
			abort();
		memcpy(s->packed, d->data.at, d->data.len);
		s->len = d->data.len;
	} else {
		said_no(s, sides[i].side, d);
	}
	one_less(s->a);
}

static enum ly_rc
sign_call(struct attest *a, uint8_t *out, size_t *len, struct ly_why *why)
{
	uint8_t tagged[LY_CONTEXT_MAX];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));

	a->call.vm = a->vm;
	a->call.not_before = ly_now_s();
	a->call.expires = ly_now_s() + 60;
	ly_random(a->call.nonce, sizeof(a->call.nonce));
	ly_spiffe_host(a->side[PLACE].at.site, a->side[PLACE].at.name,
	    a->call.source);
	if (of_vm(a))
		ly_spiffe_host(a->side[TPM].at.site, a->side[TPM].at.name,
		    a->call.home);
	ly_message_put_tagged(&ly_call_message, &a->call, &w);
	assert(!w.bad);
	return ly_sign(a->m->ids, LY_TYPE_CALL, tagged, ly_wr_len(&w), out, len,
	    why);
}

static void
ask_quotes(struct attest *a)
{
	uint8_t object[LY_STATEMENT_MAX];
	size_t len = sizeof(object);
	struct ly_why why;
	enum ly_rc rc = sign_call(a, object, &len, &why);

	if (rc != LY_OK) {
		fail(a, rc, why.text);
		return;
	}
	a->waiting = 1;
	for (int i = 0; i < (of_vm(a) ? SIDES : TPM); i++) {
		union ly_any msg = { .quote = { .vm = a->vm,
					 .role = (uint8_t)sides[i].role,
					 .call = { object, len } } };

		a->side[i].a = a;
		if (ly_ask(a->m, &a->side[i].at, LY_QUOTE, &msg, QUOTE_MS,
			on_quoted, &a->side[i]))
			a->waiting++;
		else
			note_bad(a, LY_FULL, "too many requests under way");
	}
	one_less(a);
}

static enum ly_rc
shown_good(struct attest *a, const struct ly_shown *s, struct ly_why *why)
{
	if (!s->holder[0])
		return ly_fail(why, LY_REFUSED,
		    "attest: %s runs nowhere: nobody holds its TPM", a->name);
	if (strcmp(s->state, "quiesced") == 0)
		return ly_fail(why, LY_BUSY,
		    "attest: %s is just changing hosts; ask again", a->name);
	a->side[PLACE].at = s->at;
	a->call.epoch = s->epoch;
	return LY_OK;
}

static void
on_shown(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct attest *a = arg;
	struct ly_shown s;
	struct ly_why why;
	enum ly_rc rc;

	(void)m;
	if (!d || d->rc != LY_OK) {
		a->side[TPM].a = a;
		said_no(&a->side[TPM], sides[TPM].side, d);
		fail(a, a->bad_rc, a->bad);
		return;
	}
	rc = ly_shown_parse(d, &s, &why);
	if (rc == LY_OK)
		rc = shown_good(a, &s, &why);
	if (rc == LY_OK)
		ask_quotes(a);
	else
		fail(a, rc, why.text);
}

static struct attest *
begin(struct ly_manager *m, uint64_t client)
{
	struct attest *a = calloc(1, sizeof(*a));

	if (!a)
		abort();
	a->m = m;
	a->client = client;
	return a;
}

void
ly_attest_vm(struct ly_manager *m, uint64_t client, struct ly_vm *vm)
{
	struct attest *a = begin(m, client);
	union ly_any msg = { .request = { .vm = vm->id } };

	a->vm = vm->id;
	ly_copy(a->name, sizeof(a->name), vm->name);
	a->side[TPM].at = vm->home;
	if (!ly_ask(m, &vm->home, LY_SHOW, &msg, SHORT_MS, on_shown, a))
		fail(a, LY_FULL, "too many requests under way");
}

void
ly_attest_host(struct ly_manager *m, uint64_t client, struct ly_host *h)
{
	struct attest *a = begin(m, client);

	a->side[PLACE].at = h->at;
	ask_quotes(a);
}
