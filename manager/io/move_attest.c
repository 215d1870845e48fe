/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attested migration's evidence and key. Every paper of it (the call, what
 * each host answered, the key's blob, the release) is on disk before the step
 * that follows from it, so that a manager that is killed goes on from any of
 * them; it stays there for the receipt.
 *
 * - One call, with one nonce that was never used, for all three hosts. It is
 *   made when the migration begins to attest, and never again.
 * - The release opens the key for one session of the destination's TPM. For one
 *   answer to IMPORT there is one release; the permanent record has it first.
 */
#include "manager/io/move_in.h"

#include "manager/io/policy.h"

#include <stdlib.h>

#define CALL_S 600 /* seconds; after that no key is made or opened for it */

LY_AUTO_FOR(free, uint8_t)

/* ---- papers ---- */

enum ly_rc
ly_move_keep(struct ly_move *mv, const char *what, struct ly_bytes bytes,
    struct ly_why *why)
{
	return ly_record_keep(mv->m, &mv->row.id, what, bytes, why);
}

enum ly_rc
ly_move_kept(struct ly_move *mv, const char *what, struct ly_paper *out,
    struct ly_why *why)
{
	return ly_record_kept(mv->m, &mv->row.id, what, &out->at, &out->len,
	    why);
}

struct ly_bytes
ly_paper_bytes(const struct ly_paper *p)
{
	return (struct ly_bytes){ p->at, p->len };
}

static const struct {
	enum ly_quote_role role;
	enum ly_party party;
	const char *paper;
} quoted[LY_STEPS] = {
	[LY_STEP_QUOTE_DEST] = { LY_AS_DEST, LY_PARTY_DEST, "evidence.dest" },
	[LY_STEP_QUOTE_SOURCE] = { LY_AS_SOURCE, LY_PARTY_SOURCE,
	    "evidence.source" },
	[LY_STEP_QUOTE_HOME] = { LY_AS_HOME, LY_PARTY_HOME, "evidence.home" },
};

/* ---- before anybody is asked ---- */

enum ly_rc
ly_move_standing(struct ly_manager *m, const struct ly_place *to,
    const struct ly_place *from, const struct ly_place *home,
    struct ly_why *why)
{
	const struct {
		const char *side;
		const struct ly_place *at;
	} each[] = { { "destination", to }, { "source", from },
		{ "home", home } };

	for (size_t i = 0; i < LY_COUNT(each); i++) {
		const struct ly_host *h = ly_roster_host(&m->roster,
		    each[i].at->site, each[i].at->name);
		enum ly_rc rc = h ?
		    ly_judge_standing(m, each[i].side, h, why) :
		    ly_fail(why, LY_UNKNOWN, "attest: there is no %s host",
			each[i].side);

		if (rc != LY_OK)
			return rc;
	}
	return LY_OK;
}

/* ---- the call ---- */

static void
spiffe_of(struct ly_move *mv, enum ly_party party, char out[LY_SPIFFE_MAX])
{
	struct ly_place p = ly_move_place(mv, party);

	ly_spiffe_host(p.site, p.name, out);
}

/* The policy that will bind the key: of the destination's site and class. */
static enum ly_rc
name_policy(struct ly_move *mv, struct ly_call *call, struct ly_why *why)
{
	struct ly_place to = ly_move_place(mv, LY_PARTY_DEST);
	const struct ly_host *h = ly_roster_host(&mv->m->roster, to.site,
	    to.name);
	const struct ly_approved *list = ly_policy_list(mv->m, to.site);

	if (!h)
		return ly_fail(why, LY_UNKNOWN, "the destination is gone");
	if (!list || h->standing != LY_STANDING_GOOD)
		return ly_judge_standing(mv->m, "destination", h, why);
	ly_class_ref(h->class_, list->generation, call->ref);
	return ly_policy_name(mv->m, to.site, call->policy, why);
}

enum ly_rc
ly_move_call(struct ly_move *mv, struct ly_why *why)
{
	struct ly_call call = { .vm = mv->row.vm,
		.mig = mv->row.id,
		.epoch = mv->row.from_epoch,
		.lanes = mv->row.lanes,
		.not_before = ly_now_s(),
		.expires = ly_now_s() + CALL_S };
	uint8_t tagged[1536], object[LY_STATEMENT_MAX];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));
	size_t len = sizeof(object);
	enum ly_rc rc = name_policy(mv, &call, why);

	if (rc != LY_OK)
		return rc;
	ly_random(call.nonce, sizeof(call.nonce));
	spiffe_of(mv, LY_PARTY_SOURCE, call.source);
	spiffe_of(mv, LY_PARTY_DEST, call.dest);
	spiffe_of(mv, LY_PARTY_HOME, call.home);
	ly_message_put_tagged(&ly_call_message, &call, &w);
	assert(!w.bad);
	rc = ly_sign(mv->m->ids, LY_TYPE_CALL, tagged, ly_wr_len(&w), object,
	    &len, why);
	if (rc != LY_OK)
		return rc;
	return ly_move_keep(mv, "call", (struct ly_bytes){ object, len }, why);
}

enum ly_rc
ly_move_called(struct ly_move *mv, struct ly_paper *paper, struct ly_call *out,
    struct ly_why *why)
{
	struct ly_peer signer;
	const uint8_t *tagged;
	size_t len;
	enum ly_rc rc = ly_move_kept(mv, "call", paper, why);

	if (rc == LY_OK)
		rc = ly_verify(mv->m->ids, LY_TYPE_CALL, paper->at, paper->len,
		    &tagged, &len, &signer, why);
	if (rc == LY_OK)
		rc = ly_message_get_tagged(&ly_call_message, tagged, len, out,
		    why);
	return rc;
}

/* ---- what hosts are asked ---- */

static enum ly_rc
fill_quote(struct ly_move *mv, enum ly_step step, struct ly_quote *q,
    struct ly_move_room *room, struct ly_why *why)
{
	struct ly_vm *vm = ly_move_vm(mv);
	enum ly_rc rc = ly_move_kept(mv, "call", &room->a, why);

	if (rc == LY_OK && !vm)
		rc = ly_fail(why, LY_UNKNOWN, "the VM is gone");
	if (rc == LY_OK && step == LY_STEP_QUOTE_DEST)
		rc = ly_vm_definition(mv->m, vm, &room->vm, why);
	if (rc != LY_OK)
		return rc;
	q->vm = mv->row.vm;
	q->mig = mv->row.id;
	q->role = (uint8_t)quoted[step].role;
	q->call = ly_paper_bytes(&room->a);
	q->definition = (struct ly_bytes){ (const uint8_t *)room->vm.definition,
		strlen(room->vm.definition) };
	return LY_OK;
}

static const struct {
	const char *evidence, *blob;
} brought[LY_STEPS] = {
	[LY_STEP_KEY] = { "evidence.dest", NULL },
	[LY_STEP_IMPORT] = { "evidence.source", "key" },
	[LY_STEP_UNLOCK] = { NULL, "release" },
};

static enum ly_rc
fill_keying(struct ly_move *mv, enum ly_step step, struct ly_keying *k,
    struct ly_move_room *room, struct ly_why *why)
{
	enum ly_rc rc = LY_OK;

	if (brought[step].evidence)
		rc = ly_move_kept(mv, brought[step].evidence, &room->a, why);
	if (rc == LY_OK && brought[step].blob)
		rc = ly_move_kept(mv, brought[step].blob, &room->b, why);
	if (rc != LY_OK)
		return rc;
	k->vm = mv->row.vm;
	k->mig = mv->row.id;
	k->evidence = ly_paper_bytes(&room->a);
	k->blob = ly_paper_bytes(&room->b);
	if (step == LY_STEP_UNLOCK) /* the nonce that it is for is behind it */
		k->blob.len = ly_min(k->blob.len, LY_SIG_RAW);
	return LY_OK;
}

enum ly_rc
ly_move_fill(struct ly_move *mv, enum ly_step step, union ly_any *msg,
    struct ly_move_room *room, struct ly_why *why)
{
	if (ly_steps[step].asks == LY_QUOTE)
		return fill_quote(mv, step, &msg->quote, room, why);
	return fill_keying(mv, step, &msg->keying, room, why);
}

void
ly_move_room_free(struct ly_move_room *room)
{
	free(room->a.at);
	free(room->b.at);
}

enum ly_rc
ly_move_confirm(struct ly_move *mv, struct ly_copy *c, struct ly_why *why)
{
	struct ly_paper p = { NULL, 0 };
	LY_AUTO(free) uint8_t *at = NULL;
	enum ly_rc rc = ly_move_kept(mv, "confirm", &p, why);

	at = p.at;
	if (rc != LY_OK)
		return rc;
	if (p.len != sizeof(c->confirm))
		return ly_fail(why, LY_OUTSIDE, "the confirmation is cut");
	c->lanes = mv->row.lanes;
	memcpy(c->confirm, p.at, p.len);
	return LY_OK;
}

/* ---- what they answer ---- */

/* From now on this Name is this migration's, and no other's. */
static enum ly_rc
key_born(struct ly_move *mv, struct ly_bytes packed, struct ly_why *why)
{
	struct ly_record_event ev = { .kind = LY_RECORD_KEY_BORN,
		.vm = mv->row.vm,
		.mig = mv->row.id,
		.text = "the source made the key of a migration" };
	char subject[LY_ID_TEXT + 16], name[2 * LY_TPM_NAME + 1];
	enum ly_rc rc = ly_move_key_name(packed, name, why);

	if (rc != LY_OK)
		return rc;
	ev.subject = ly_move_subject(mv, subject);
	ev.name = name;
	return ly_record_add(mv->m, &ev, why);
}

static enum ly_rc
heard_key(struct ly_move *mv, struct ly_bytes data, struct ly_why *why)
{
	enum ly_rc rc = key_born(mv, data, why);

	return rc == LY_OK ? ly_move_keep(mv, "key", data, why) : rc;
}

/* "release" is r, s, and then the nonce that they are for. */
static bool
is_released(struct ly_move *mv, struct ly_bytes nonce)
{
	struct ly_paper p = { NULL, 0 };
	LY_AUTO(free) uint8_t *at = NULL;

	if (ly_move_kept(mv, "release", &p, NULL) != LY_OK)
		return false;
	at = p.at;
	return p.len == LY_SIG_RAW + nonce.len &&
	    memcmp(p.at + LY_SIG_RAW, nonce.at, nonce.len) == 0;
}

static enum ly_rc
record_release(struct ly_move *mv, const struct ly_call *call,
    struct ly_bytes nonce, struct ly_why *why)
{
	struct ly_record_event ev = { .kind = LY_RECORD_KEY_RELEASED,
		.vm = mv->row.vm,
		.mig = mv->row.id };
	struct ly_paper key = { NULL, 0 };
	LY_AUTO(free) uint8_t *at = NULL;
	char subject[LY_ID_TEXT + 16], name[2 * LY_TPM_NAME + 1];
	char hex[2 * LY_NONCE_TPM_MAX + 1], text[LY_SPIFFE_MAX + 64];
	enum ly_rc rc = ly_move_kept(mv, "key", &key, why);

	at = key.at;
	if (rc == LY_OK)
		rc = ly_move_key_name(ly_paper_bytes(&key), name, why);
	if (rc != LY_OK)
		return rc;
	ly_hex(nonce.at, nonce.len, hex);
	ly_print(text, sizeof(text), "the TPM of %s may open it, within %d s",
	    call->dest, LY_RELEASE_S);
	ev.subject = ly_move_subject(mv, subject);
	ev.name = name;
	ev.text = text;
	ev.details = json_pack("{s:s, s:s}", "session", hex, "to", call->dest);
	return ly_record_add(mv->m, &ev, why);
}

static enum ly_rc
sign_release(struct ly_move *mv, const struct ly_call *call,
    struct ly_bytes nonce, struct ly_why *why)
{
	uint8_t release[LY_SIG_RAW + LY_NONCE_TPM_MAX], ref[32];
	uint8_t msg[LY_RELEASE_SIGNED_MAX], sk_name[LY_TPM_NAME];
	size_t len;
	enum ly_rc rc = ly_move_sk_name(mv, sk_name, why);

	if (rc != LY_OK)
		return rc;
	ly_release_ref(&call->mig, call->nonce, call->dest, sk_name, ref);
	rc = ly_release_signed(nonce, ref, msg, &len, why);
	if (rc == LY_OK)
		rc = ly_sign_raw(mv->m->ids, (struct ly_bytes){ msg, len },
		    release, why);
	if (rc != LY_OK)
		return rc;
	memcpy(release + LY_SIG_RAW, nonce.at, nonce.len);
	return ly_move_keep(mv, "release",
	    (struct ly_bytes){ release, LY_SIG_RAW + nonce.len }, why);
}

static enum ly_rc
heard_import(struct ly_move *mv, struct ly_bytes nonce, struct ly_why *why)
{
	struct ly_paper p = { NULL, 0 };
	LY_AUTO(free) uint8_t *at = NULL;
	struct ly_call call;
	enum ly_rc rc = ly_move_called(mv, &p, &call, why);

	at = p.at;
	if (rc != LY_OK || is_released(mv, nonce))
		return rc;
	if (nonce.len < 16 || nonce.len > LY_NONCE_TPM_MAX)
		return ly_fail(why, LY_MALFORMED, "a nonce of %zu bytes",
		    nonce.len);
	if (ly_now_s() > call.expires)
		return ly_fail(why, LY_REFUSED,
		    "its call for evidence has expired");
	rc = record_release(mv, &call, nonce, why);
	return rc == LY_OK ? sign_release(mv, &call, nonce, why) : rc;
}

enum ly_rc
ly_move_heard_paper(struct ly_move *mv, enum ly_step step, struct ly_bytes data,
    struct ly_why *why)
{
	if (ly_steps[step].asks == LY_QUOTE)
		return data.len ?
		    ly_move_keep(mv, quoted[step].paper, data, why) :
		    ly_fail(why, LY_MALFORMED, "it gave no evidence");
	if (step == LY_STEP_KEY)
		return heard_key(mv, data, why);
	if (step == LY_STEP_IMPORT)
		return heard_import(mv, data, why);
	if (data.len != sizeof(((struct ly_copy *)0)->confirm))
		return ly_fail(why, LY_MALFORMED, "no confirmation of the key");
	return ly_move_keep(mv, "confirm", data, why);
}
