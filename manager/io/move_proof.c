/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a manager makes of what hosts have shown it in an attested migration:
 * the decision before it, and the proof after it. Pure of requests: it reads
 * papers, and writes what it found into the permanent record.
 */
#include "manager/io/move_in.h"
#include "manager/policy/appraise.h"

#include "lib/attest/blob.h"
#include "lib/crypt/cert.h"

#include <stdlib.h>

LY_AUTO_FOR(free, uint8_t)

/* ---- names ---- */

const char *
ly_move_subject(const struct ly_move *mv, char out[LY_ID_TEXT + 16])
{
	char id[LY_ID_TEXT];

	ly_print(out, LY_ID_TEXT + 16, "migration %s",
	    ly_id_text(&mv->row.id, id));
	return out;
}

enum ly_rc
ly_move_key_name(struct ly_bytes packed, char out[2 * LY_TPM_NAME + 1],
    struct ly_why *why)
{
	struct ly_key_blob blob;
	uint8_t name[LY_TPM_NAME];
	struct ly_rd r;
	struct ly_bytes area;
	enum ly_rc rc = ly_message_get(&ly_key_blob_message, packed.at,
	    packed.len, &blob, why);

	if (rc != LY_OK)
		return rc;
	r = ly_rd_over(blob.public.at, blob.public.len);
	area.len = ly_rd_u16(&r);
	area.at = ly_rd_bytes(&r, area.len);
	if (r.bad || ly_rd_left(&r) || area.len == 0)
		return ly_fail(why, LY_MALFORMED, "the key's public area");
	ly_tpm_name(area, name);
	ly_hex(name, sizeof(name), out);
	return LY_OK;
}

/* ---- before: are all three fit? ---- */

static const struct {
	const char *side, *paper, *host;
	enum ly_quote_role role;
	enum ly_party party;
} parties[] = {
	{ "destination", "evidence.dest", "host.dest", LY_AS_DEST,
	    LY_PARTY_DEST },
	{ "source", "evidence.source", "host.source", LY_AS_SOURCE,
	    LY_PARTY_SOURCE },
	{ "home", "evidence.home", "host.home", LY_AS_HOME, LY_PARTY_HOME },
};
enum { DEST, SOURCE, HOME, PARTIES };

struct hearing {
	struct ly_paper call_paper, paper[PARTIES];
	struct ly_call call;
	struct ly_judged judged[PARTIES];
};

static void
hearing_free(struct hearing *h)
{
	free(h->call_paper.at);
	for (unsigned i = 0; i < PARTIES; i++)
		free(h->paper[i].at);
	free(h);
}

LY_AUTO_FOR(hearing_free, struct hearing)

static enum ly_rc
hear(struct ly_move *mv, struct hearing *h, unsigned i, struct ly_why *why)
{
	struct ly_place at = ly_move_place(mv, parties[i].party);
	struct ly_judge_wish w = { .side = parties[i].side,
		.role = parties[i].role,
		.call = &h->call,
		.at = &at };
	enum ly_rc rc = ly_move_kept(mv, parties[i].paper, &h->paper[i], why);

	w.packed = ly_paper_bytes(&h->paper[i]);
	return rc == LY_OK ? ly_judge(mv->m, &w, &h->judged[i], why) : rc;
}

/* A key for another class or generation would open for nobody. */
static enum ly_rc
same_policy(const struct hearing *h, struct ly_why *why)
{
	const struct ly_approved_entry *e = h->judged[DEST].found.entry;

	if (e && ly_same(e->ref, h->call.ref, sizeof(e->ref)))
		return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    "destination %s: the approved states of its class have changed"
	    " since it was called; try again",
	    h->judged[DEST].host.id);
}

/* What is known of them from now on, whatever becomes of their certificates. */
static enum ly_rc
keep_host(struct ly_move *mv, const struct hearing *h, unsigned i,
    struct ly_why *why)
{
	uint8_t packed[1024];
	struct ly_wr w = ly_wr_over(packed, sizeof(packed));

	ly_message_put(&ly_judged_host, &h->judged[i].host, &w);
	assert(!w.bad);
	return ly_move_keep(mv, parties[i].host,
	    (struct ly_bytes){ packed, ly_wr_len(&w) }, why);
}

static json_t *
hex_json(const void *at, size_t len)
{
	char hex[2 * 64 + 1];

	assert(len <= 64);
	ly_hex(at, len, hex);
	return json_string(hex);
}

static json_t *
sha_json(const struct ly_paper *p)
{
	uint8_t sum[32];

	ly_sha256(p->at, p->len, sum);
	return hex_json(sum, sizeof(sum));
}

static json_t *
judged_json(const struct hearing *h, unsigned i)
{
	const struct ly_judged *j = &h->judged[i];
	const struct ly_approved_entry *e = j->found.entry;

	return json_pack("{s:s, s:s, s:o, s:o, s:I, s:o}", "host", j->host.id,
	    "class", j->host.class, "ak",
	    hex_json(j->host.ak_name, LY_TPM_NAME), "evidence",
	    sha_json(&h->paper[i]), "boot", (json_int_t)j->host.reset_count,
	    "state", e ? ly_json_text(e->note) : json_null());
}

static enum ly_rc
approve(struct ly_move *mv, const struct hearing *h, struct ly_why *why)
{
	struct ly_record_event ev = { .kind = LY_RECORD_MIG_APPROVED,
		.subject = h->call.dest,
		.vm = mv->row.vm,
		.mig = mv->row.id,
		.text = "destination, source and home have proved an approved"
			" state" };
	enum ly_rc rc = LY_OK;

	for (unsigned i = 0; i < PARTIES && rc == LY_OK; i++)
		rc = keep_host(mv, h, i, why);
	if (rc != LY_OK)
		return rc;
	ev.details = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "call",
	    sha_json(&h->call_paper), "destination", judged_json(h, DEST),
	    "source", judged_json(h, SOURCE), "home", judged_json(h, HOME),
	    "launch", hex_json(h->judged[DEST].found.context.launch, 32),
	    "vpcrs", hex_json(h->judged[HOME].found.context.vpcrs, 32));
	return ly_record_add(mv->m, &ev, why);
}

static void
record_refusal(struct ly_move *mv, const char *text)
{
	char dest[LY_SPIFFE_MAX];

	ly_spiffe_host(mv->row.to_site, mv->row.to_host, dest);
	ly_record_note(mv->m,
	    &(struct ly_record_event){ .kind = LY_RECORD_MIG_REFUSED,
		.subject = dest,
		.vm = mv->row.vm,
		.mig = mv->row.id,
		.text = text });
}

static enum ly_rc
appraise(struct ly_move *mv, struct hearing *h, struct ly_why *why)
{
	struct ly_appraise_pair pair = {
		.place = &h->judged[SOURCE].found.context,
		.home = &h->judged[HOME].found.context,
	};
	const struct ly_vm *vm = ly_roster_vm(&mv->m->roster, &mv->row.vm);
	enum ly_rc rc = ly_move_called(mv, &h->call_paper, &h->call, why);

	if (vm && vm->vpcrs_known) {
		pair.rule = (enum ly_vpcr_rule)vm->vpcr_rule;
		memcpy(pair.vpcrs, vm->vpcrs, sizeof(pair.vpcrs));
	}
	for (unsigned i = 0; i < PARTIES && rc == LY_OK; i++)
		rc = hear(mv, h, i, why);
	if (rc == LY_OK)
		rc = ly_appraise_pair(&pair, why);
	return rc == LY_OK ? same_policy(h, why) : rc;
}

/* What the VM's TPM has shown now is what it is held against next. It is in
 * the record, too; a store that fails here only forgets. */
static void
note_vpcrs(struct ly_move *mv, const struct hearing *h)
{
	struct ly_vm *vm = ly_roster_vm(&mv->m->roster, &mv->row.vm);

	if (!vm || (vm->vpcrs_known && vm->vpcr_rule == LY_VPCR_PINNED))
		return;
	memcpy(vm->vpcrs, h->judged[HOME].found.context.vpcrs,
	    sizeof(vm->vpcrs));
	vm->vpcrs_known = true;
	if (ly_vm_save(mv->m, vm, NULL, NULL, NULL) != LY_OK)
		vm->unsaved = true;
}

/* A decision that cannot be written down has not been made. */
enum ly_move_word
ly_move_appraise(struct ly_move *mv)
{
	LY_AUTO(hearing_free) struct hearing *h = calloc(1, sizeof(*h));
	struct ly_why why = { "out of memory" };
	enum ly_rc rc = h ? appraise(mv, h, &why) : LY_OUTSIDE;

	if (rc == LY_OK)
		rc = approve(mv, h, &why);
	else if (rc != LY_OUTSIDE)
		record_refusal(mv, why.text);
	if (rc == LY_OK) {
		note_vpcrs(mv, h);
		return LY_MOVE_FIT;
	}
	if (rc == LY_OUTSIDE) {
		ly_log(LY_WARNING, "migration", "%s: not decided yet: %s",
		    mv->row.vm_name, why.text);
		return LY_MOVE_LATER;
	}
	ly_move_note(mv, "attest: %s", why.text);
	return LY_MOVE_UNFIT;
}

/* ---- after: was it so? ---- */

static enum ly_rc
known_host(struct ly_move *mv, unsigned i, struct ly_appraise_host *out,
    struct ly_why *why)
{
	struct ly_paper p = { NULL, 0 };
	LY_AUTO(free) uint8_t *at = NULL;
	enum ly_rc rc = ly_move_kept(mv, parties[i].host, &p, why);

	at = p.at;
	if (rc == LY_OK)
		rc = ly_message_get(&ly_judged_host, p.at, p.len, out, why);
	return rc;
}

enum ly_rc
ly_move_sk_name(struct ly_move *mv, uint8_t out[LY_TPM_NAME],
    struct ly_why *why)
{
	struct ly_appraise_host host;
	enum ly_rc rc = known_host(mv, DEST, &host, why);

	if (rc == LY_OK)
		memcpy(out, host.sk_name, LY_TPM_NAME);
	return rc;
}

static enum ly_rc
said_by(struct ly_move *mv, const struct ly_message *table,
    struct ly_bytes object, const char *by, void *out, struct ly_why *why)
{
	struct ly_peer signer;
	const uint8_t *tagged;
	size_t len;
	enum ly_rc rc;

	if (object.len == 0)
		return ly_fail(why, LY_REFUSED, "%s is missing", table->name);
	rc = ly_verify(mv->m->ids, table->type, object.at, object.len, &tagged,
	    &len, &signer, why);
	if (rc == LY_OK && strcmp(signer.id, by) != 0)
		rc = ly_fail(why, LY_REFUSED, "signed by %s", signer.id);
	if (rc == LY_OK)
		rc = ly_message_get_tagged(table, tagged, len, out, why);
	return rc == LY_OK ? rc : ly_fail_in(why, rc, "%s", table->name);
}

/* Signed by that host, and by the very TLS key that its TPM had quoted. */
static enum ly_rc
statement(struct ly_move *mv, const struct ly_message *table,
    struct ly_bytes object, const struct ly_appraise_host *by, void *out,
    struct ly_why *why)
{
	struct ly_bytes der = ly_signed_by(object);
	struct ly_cert_key key;
	enum ly_rc rc = said_by(mv, table, object, by->id, out, why);

	if (rc == LY_OK)
		rc = ly_cert_key(der.at, der.len, &key, why);
	if (rc == LY_OK && !ly_same(key.spki, by->hk, sizeof(by->hk)))
		rc = ly_fail(why, LY_REFUSED,
		    "%s is signed by another key than %s has quoted",
		    table->name, by->id);
	return rc;
}

struct end {
	struct ly_move *mv;
	struct ly_call call;
	struct ly_appraise_host source, dest;
	struct ly_bytes pcrs; /* as the source had them before */
	struct ly_move_proof proof;
};

/* Its TPM says so too: the same boot, the same state, over these bytes. */
static enum ly_rc
quote_over(const struct end *e, enum ly_quote_type type, uint64_t epoch,
    struct ly_bytes object, struct ly_bytes packed, struct ly_why *why)
{
	struct ly_context want = { .role = (uint8_t)type,
		.vm = e->call.vm,
		.mig = e->call.mig,
		.epoch = epoch };
	struct ly_evidence ev;
	struct ly_appraise a = { .side = ly_quote_type_name(type),
		.evidence = &ev,
		.host = &e->source,
		.want = &want,
		.any_state = true,
		.logless = true };
	struct ly_appraised found;
	enum ly_rc rc;

	if (packed.len == 0)
		return ly_fail(why, LY_REFUSED, "%s: its quote is missing",
		    a.side);
	memcpy(want.nonce, e->call.nonce, sizeof(want.nonce));
	memcpy(want.hk, e->source.hk, sizeof(want.hk));
	memcpy(want.sk_name, e->source.sk_name, sizeof(want.sk_name));
	ly_copy(want.self, sizeof(want.self), e->source.id);
	ly_copy(want.source, sizeof(want.source), e->call.source);
	ly_copy(want.dest, sizeof(want.dest), e->call.dest);
	ly_copy(want.home, sizeof(want.home), e->call.home);
	ly_sha256(object.at, object.len, want.over);
	rc = ly_message_get(&ly_evidence_message, packed.at, packed.len, &ev,
	    why);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "%s: quote", a.side);
	rc = ly_appraise(&a, &found, why);
	if (rc == LY_OK &&
	    (ev.pcrs.len != e->pcrs.len ||
		memcmp(ev.pcrs.at, e->pcrs.at, ev.pcrs.len) != 0))
		rc = ly_fail(why, LY_REFUSED,
		    "%s: the source's state has changed on the way", a.side);
	return rc;
}

/* Of this migration, and one word about one stream. */
static enum ly_rc
check_agreement(const struct end *e, const struct ly_sent *s,
    const struct ly_arrived *a, const struct ly_destroyed *d, uint64_t epoch,
    struct ly_why *why)
{
	const struct ly_mig_row *row = &e->mv->row;

	if (!ly_id_same(&s->mig, &row->id) || !ly_id_same(&s->vm, &row->vm) ||
	    !ly_id_same(&a->mig, &row->id) || !ly_id_same(&a->vm, &row->vm) ||
	    !ly_id_same(&d->mig, &row->id) || !ly_id_same(&d->vm, &row->vm))
		return ly_fail(why, LY_REFUSED,
		    "a statement is about another migration");
	if (s->epoch != row->from_epoch || a->epoch != epoch)
		return ly_fail(why, LY_REFUSED,
		    "it went from epoch %llu to %llu, not as said from %llu to"
		    " %llu",
		    (unsigned long long)row->from_epoch,
		    (unsigned long long)epoch, (unsigned long long)s->epoch,
		    (unsigned long long)a->epoch);
	if (!ly_same(s->root, a->root, sizeof(s->root)) ||
	    s->bytes != a->bytes || s->seq != a->seq)
		return ly_fail(why, LY_REFUSED,
		    "what arrived is not what was sent");
	if (s->lanes != row->lanes)
		return ly_fail(why, LY_REFUSED,
		    "sent over %u connections, not the %u called for", s->lanes,
		    row->lanes);
	return LY_OK;
}

static enum ly_rc
check_proof(struct end *e, uint64_t epoch, struct ly_why *why)
{
	const struct ly_move_proof *p = &e->proof;
	struct ly_destroyed gone;
	struct ly_arrived arrived;
	struct ly_sent sent;
	enum ly_rc rc = statement(e->mv, &ly_sent_message, p->sent, &e->source,
	    &sent, why);

	if (rc == LY_OK)
		rc = statement(e->mv, &ly_arrived_message, p->arrived, &e->dest,
		    &arrived, why);
	if (rc == LY_OK)
		rc = statement(e->mv, &ly_destroyed_message, p->destroyed,
		    &e->source, &gone, why);
	if (rc == LY_OK)
		rc = check_agreement(e, &sent, &arrived, &gone, epoch, why);
	if (rc == LY_OK)
		rc = quote_over(e, LY_QUOTE_SENT, sent.epoch, p->sent,
		    p->sent_evidence, why);
	if (rc == LY_OK)
		rc = quote_over(e, LY_QUOTE_DESTROYED, gone.epoch, p->destroyed,
		    p->destroyed_evidence, why);
	return rc;
}

enum ly_rc
ly_move_prove(struct ly_move *mv, struct ly_bytes packed, uint64_t epoch,
    struct ly_why *why)
{
	struct ly_paper call = { NULL, 0 }, before = { NULL, 0 };
	LY_AUTO(free) uint8_t *call_at = NULL, *before_at = NULL;
	struct ly_evidence ev;
	struct end e = { .mv = mv };
	enum ly_rc rc = ly_move_called(mv, &call, &e.call, why);

	call_at = call.at;
	if (rc == LY_OK)
		rc = ly_move_kept(mv, parties[SOURCE].paper, &before, why);
	before_at = before.at;
	if (rc == LY_OK)
		rc = ly_message_get(&ly_evidence_message, before.at, before.len,
		    &ev, why);
	if (rc == LY_OK)
		rc = known_host(mv, SOURCE, &e.source, why);
	if (rc == LY_OK)
		rc = known_host(mv, DEST, &e.dest, why);
	if (rc == LY_OK)
		rc = ly_message_get(&ly_move_proof_message, packed.at,
		    packed.len, &e.proof, why);
	if (rc != LY_OK)
		return rc;
	e.pcrs = ev.pcrs;
	return check_proof(&e, epoch, why);
}

/* ---- the home's word: it may have another TLS key by now ---- */

enum ly_rc
ly_move_decided(struct ly_move *mv, struct ly_bytes object, struct ly_why *why)
{
	struct ly_decided d;
	char dest[LY_SPIFFE_MAX], home[LY_SPIFFE_MAX];
	enum ly_rc rc;

	ly_spiffe_host(mv->m->conf.site, mv->row.home, home);
	rc = said_by(mv, &ly_decided_message, object, home, &d, why);
	if (rc != LY_OK)
		return rc;
	ly_spiffe_host(mv->row.to_site, mv->row.to_host, dest);
	if (!ly_id_same(&d.mig, &mv->row.id) || !ly_id_same(&d.vm, &mv->row.vm))
		return ly_fail(why, LY_REFUSED,
		    "the home's word is about another migration");
	if (d.fate != mv->row.fate || d.epoch != mv->row.epoch ||
	    strcmp(d.holder, dest) != 0)
		return ly_fail(why, LY_REFUSED,
		    "the home signs that it was %s, epoch %llu, held by %s",
		    ly_fate_name(d.fate), (unsigned long long)d.epoch,
		    d.holder);
	return LY_OK;
}
