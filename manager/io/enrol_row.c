/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a host has proved, and what comes of it: the bytes of an attempt are
 * judged, become a row of the store together with their events of the
 * permanent record, and then a certificate.
 */
#include "manager/io/enrol_in.h"

#include "lib/attest/blob.h"
#include "lib/io/ca.h"
#include "lib/io/ekcert.h"
#include "manager/enrol/pin.h"
#include "manager/io/policy.h"
#include "manager/io/record.h"

#include <stdlib.h>

/* ---- bytes and hex ---- */

static size_t
unhex(const char *hex, uint8_t *out, size_t size)
{
	size_t n = strlen(hex) / 2;

	return n <= size && ly_unhex(hex, out, n) == LY_OK ? n : 0;
}

static void
key_from(const char *hex, struct ly_enrol_key *out)
{
	out->len = unhex(hex, out->area, sizeof(out->area));
	ly_tpm_name((struct ly_bytes){ out->area, out->len }, out->name);
}

/* What the row has of the facts: all that a renewal begins with. */
static void
facts_of(const struct ly_enrol_row *row, struct ly_enrol_facts *f)
{
	key_from(row->ek, &f->ek);
	key_from(row->ak, &f->ak);
	key_from(row->sk, &f->sk);
	(void)unhex(row->hk, f->hk, sizeof(f->hk));
	f->reset_count = row->reset_count;
	f->restart_count = row->restart_count;
}

static void
keys_to(const struct ly_enrol_facts *f, struct ly_enrol_row *row)
{
	ly_hex(f->ek.area, f->ek.len, row->ek);
	ly_hex(f->ak.area, ly_min(f->ak.len, 160u), row->ak);
	ly_hex(f->sk.area, ly_min(f->sk.len, 160u), row->sk);
	ly_hex(f->ak.name, LY_TPM_NAME, row->ak_name);
	ly_hex(f->sk.name, LY_TPM_NAME, row->sk_name);
	ly_hex(f->hk, sizeof(f->hk), row->hk);
	row->reset_count = f->reset_count;
	row->restart_count = f->restart_count;
}

static void
state_to(const struct ly_enrol_facts *f, struct ly_enrol_row *row)
{
	char *at = row->pcrs;

	row->pcr_mask = f->pcr_mask;
	row->firmware = f->firmware;
	for (unsigned i = 0; i < LY_PCRS_N; i++) {
		if (!(f->pcr_mask & 1u << i))
			continue;
		ly_hex(f->pcr[i], 32, at);
		at += 64;
	}
}

/* ---- an attempt ---- */

static void
row_of(struct ly_enrolling *en, struct ly_enrol_row *row)
{
	if (ly_enrol_row(en->m, en->h->at.name, row, NULL) != LY_OK) {
		memset(row, 0, sizeof(*row));
		ly_copy(row->host, sizeof(row->host), en->h->at.name);
	}
}

enum ly_rc
ly_try_new(struct ly_enrolling *en)
{
	struct ly_try *t = calloc(1, sizeof(*t));

	ly_try_free(en);
	if (!t)
		return ly_fail(&en->why, LY_OUTSIDE, "out of memory");
	en->try = t;
	ly_spiffe_host(en->m->conf.site, en->h->at.name, t->self);
	t->asked.self = t->self;
	ly_random(t->asked.nonce, sizeof(t->asked.nonce));
	row_of(en, &t->row);
	if (en->renewal)
		facts_of(&t->row, &t->facts);
	return LY_OK;
}

void
ly_try_free(struct ly_enrolling *en)
{
	struct ly_try *t = en->try;

	if (!t)
		return;
	ly_wipe(&t->asked, sizeof(t->asked));
	free(t->keys);
	free(t);
	en->try = NULL;
}

/* ---- BEGIN ---- */

static bool
same_key(const struct ly_cert_key *cert, const struct ly_tpm_key *ek)
{
	if (cert->rsa != ek->rsa)
		return false;
	if (ek->rsa)
		return cert->exponent == 65537 &&
		    ly_same(cert->modulus, ek->modulus, LY_RSA_SIZE);
	return ly_same(&cert->point, &ek->point, sizeof(ek->point));
}

/* What it shows of its EK: key, certificate, and whose that is. */
static enum ly_rc
look_at_ek(struct ly_enrolling *en, struct ly_bytes cert, struct ly_bytes area,
    struct ly_ek_shown *out)
{
	struct ly_tpm_key ek;
	struct ly_ek_cert c;
	enum ly_rc rc = ly_tpm_key_read(LY_TPM_EK, area, &ek, &en->why);

	*out = (struct ly_ek_shown){ .has_cert = false };
	if (rc != LY_OK)
		return rc;
	ly_sha256(area.at, area.len, out->area);
	if (ek.rsa)
		ly_spki_hash_rsa(ek.modulus, out->spki);
	else
		ly_spki_hash(&ek.point, out->spki);
	if (!cert.len)
		return LY_OK;
	rc = ly_ek_cert_read(cert, en->m->conf.vendor_roots, &c, &en->why);
	if (rc != LY_OK)
		return rc;
	if (!same_key(&c.key, &ek))
		return ly_fail(&en->why, LY_REFUSED,
		    "its EK certificate is of another key than its EK");
	out->has_cert = true;
	memcpy(out->spki, c.key.spki, sizeof(out->spki));
	memcpy(out->cert, c.sha256, sizeof(out->cert));
	ly_copy(out->serial, sizeof(out->serial), c.serial);
	out->genuine = c.genuine;
	out->not_genuine = c.not_genuine;
	return LY_OK;
}

/* The inventory knows it: which class, and by what. */
static enum ly_rc
known(struct ly_enrolling *en, const struct ly_enrol_keys *keys)
{
	struct ly_enrol_row *row = &en->try->row;
	struct ly_host_row host;
	struct ly_ek_shown ek;
	enum ly_rc rc = ly_store_get(en->m->store, LY_ROW_HOST, en->h->at.name,
	    &host, &en->why);

	if (rc == LY_OK)
		rc = look_at_ek(en, keys->ek_cert, keys->ek, &ek);
	if (rc == LY_OK)
		rc = ly_pin_match(host.ek, &ek, row->ek_by, &en->why);
	if (rc != LY_OK)
		return rc;
	ly_hex(ek.spki, sizeof(ek.spki), row->ek_sha256);
	ly_copy(row->ek_serial, sizeof(row->ek_serial), ek.serial);
	ly_copy(row->class_, sizeof(row->class_),
	    host.class_[0] ? host.class_ : LY_CLASS_DEFAULT);
	return LY_OK;
}

static bool
is_revoked(struct ly_manager *m, const char *serial)
{
	struct ly_cert_row cert;

	return ly_store_get(m->store, LY_ROW_CERT, serial, &cert, NULL) !=
	    LY_OK ||
	    cert.revoked;
}

/* These keys, in this boot, have a certificate already. */
static bool
has_papers(struct ly_enrolling *en, const struct ly_enrol_facts *f)
{
	const struct ly_enrol_row *row = &en->try->row;
	struct ly_enrol_row was;

	row_of(en, &was);
	return was.certificate[0] && strcmp(was.hk, row->hk) == 0 &&
	    strcmp(was.ek, row->ek) == 0 && strcmp(was.ak, row->ak) == 0 &&
	    strcmp(was.sk, row->sk) == 0 &&
	    strcmp(was.class_, row->class_) == 0 &&
	    was.reset_count == f->reset_count &&
	    was.restart_count == f->restart_count &&
	    !is_revoked(en->m, was.serial);
}

static enum ly_rc
take_keys(struct ly_enrolling *en, struct ly_bytes data)
{
	struct ly_try *t = en->try;
	struct ly_enrol_keys keys;
	uint8_t hk[32];
	char *csr = NULL;
	enum ly_rc rc = ly_message_get(&ly_enrol_keys_message, data.at,
	    data.len, &keys, &en->why);

	if (rc == LY_OK)
		rc = ly_ca_read_request(keys.csr.at, keys.csr.len, &csr, hk,
		    &en->why);
	if (rc == LY_OK && !ly_copy(t->row.csr, sizeof(t->row.csr), csr))
		rc = ly_fail(&en->why, LY_FULL, "a request over %zu bytes",
		    sizeof(t->row.csr));
	free(csr);
	if (rc == LY_OK)
		rc = ly_enrol_judge_keys(&keys, &t->asked, hk, &t->facts,
		    &en->why);
	if (rc == LY_OK)
		rc = known(en, &keys);
	if (rc == LY_OK)
		keys_to(&t->facts, &t->row);
	return rc;
}

enum ly_verdict
ly_try_keys(struct ly_enrolling *en, struct ly_bytes data)
{
	struct ly_try *t = en->try;

	if (take_keys(en, data) != LY_OK)
		return LY_VERDICT_BAD;
	t->keys = malloc(data.len + 1);
	if (!t->keys) {
		(void)ly_fail(&en->why, LY_OUTSIDE, "out of memory");
		return LY_VERDICT_LATER;
	}
	memcpy(t->keys, data.at, data.len);
	t->keys_len = data.len;
	return has_papers(en, &t->facts) ? LY_VERDICT_SAME : LY_VERDICT_GOOD;
}

/* ---- PROVE ---- */

enum ly_rc
ly_try_dare(struct ly_enrolling *en, uint8_t *room, size_t size,
    struct ly_bytes *out)
{
	struct ly_try *t = en->try;
	const struct ly_enrol_key *k = &t->facts.ek;
	struct ly_wr w = ly_wr_over(room, size);
	struct ly_credential_room made;
	struct ly_enrol_dare dare;
	struct ly_tpm_key ek;
	uint8_t chance[LY_BLOB_CHANCE];
	enum ly_rc rc = ly_tpm_key_read(LY_TPM_EK,
	    (struct ly_bytes){ k->area, k->len }, &ek, &en->why);

	if (rc != LY_OK)
		return rc;
	ly_random(t->asked.nonce, sizeof(t->asked.nonce));
	ly_random(t->asked.secret, sizeof(t->asked.secret));
	do {
		ly_random(chance, sizeof(chance));
		rc = ly_credential_make(&ek, t->facts.ak.name, t->asked.secret,
		    sizeof(t->asked.secret), chance, &made, &dare, &en->why);
	} while (rc == LY_BUSY);
	ly_wipe(chance, sizeof(chance));
	if (rc != LY_OK)
		return rc;
	ly_message_put(&ly_enrol_dare_message, &dare, &w);
	assert(!w.bad);
	*out = (struct ly_bytes){ room, ly_wr_len(&w) };
	ly_enrol_transcript((struct ly_bytes){ t->keys, t->keys_len }, *out,
	    t->asked.nonce, t->asked.transcript);
	return LY_OK;
}

static void
log_to(struct ly_bytes log, struct ly_enrol_row *row)
{
	uint8_t sha[32];

	row->log[0] = '\0';
	if (!log.len)
		return;
	ly_sha256(log.at, log.len, sha);
	ly_hex(sha, sizeof(sha), row->log);
}

/* A good quote's state: is it one that the site approves? */
static void
judge_state(struct ly_enrolling *en, const struct ly_evidence *ev)
{
	struct ly_try *t = en->try;
	const struct ly_approved *list = ly_policy_list(en->m,
	    en->m->conf.site);
	struct ly_appraise_host host = { .reset_count = t->facts.reset_count,
		.restart_count = t->facts.restart_count };
	struct ly_context context;
	struct ly_appraise a = { .side = "host",
		.evidence = ev,
		.host = &host,
		.want = &context,
		.open = ~0u,
		.list = list,
		.log_of = ly_policy_log,
		.arg = en->m };
	struct ly_appraised got;
	struct ly_why why;

	t->row.approval = 0;
	t->row.unapproved = 0;
	t->row.state[0] = '\0';
	if (!list || ly_evidence_context(ev, &context, NULL) != LY_OK)
		return;
	ly_copy(host.id, sizeof(host.id), t->self);
	ly_copy(host.class, sizeof(host.class), t->row.class_);
	memcpy(host.ak_name, t->facts.ak.name, LY_TPM_NAME);
	memcpy(host.sk_name, t->facts.sk.name, LY_TPM_NAME);
	memcpy(host.hk, t->facts.hk, sizeof(host.hk));
	if (ly_appraise(&a, &got, &why) == LY_OK) {
		t->row.approval = list->generation;
		return;
	}
	t->row.unapproved = 1;
	ly_copy(t->row.state, sizeof(t->row.state), why.text);
}

static enum ly_verdict
proved(struct ly_enrolling *en, enum ly_rc rc, const struct ly_evidence *ev)
{
	struct ly_try *t = en->try;

	if (rc == LY_FENCED)
		return LY_VERDICT_ANEW;
	if (rc != LY_OK)
		return LY_VERDICT_BAD;
	state_to(&t->facts, &t->row);
	log_to(ev->log, &t->row);
	judge_state(en, ev);
	ly_policy_note(en->m, en->h->at.name, ev);
	return LY_VERDICT_GOOD;
}

enum ly_verdict
ly_try_proof(struct ly_enrolling *en, struct ly_bytes data)
{
	struct ly_evidence ev = { .pcr_mask = 0 };
	struct ly_enrol_proof proof;
	enum ly_rc rc = ly_message_get(&ly_enrol_proof_message, data.at,
	    data.len, &proof, &en->why);

	if (rc == LY_OK)
		rc = ly_enrol_judge_proof(&proof, &en->try->asked,
		    &en->try->facts, &en->why);
	if (rc == LY_OK)
		rc = ly_message_get(&ly_evidence_message, proof.evidence.at,
		    proof.evidence.len, &ev, &en->why);
	return proved(en, rc, &ev);
}

enum ly_verdict
ly_try_renewal(struct ly_enrolling *en, struct ly_bytes data)
{
	struct ly_evidence ev = { .pcr_mask = 0 };
	enum ly_rc rc = ly_message_get(&ly_evidence_message, data.at, data.len,
	    &ev, &en->why);

	if (rc == LY_OK)
		rc = ly_enrol_judge_renewal(&ev, &en->try->asked,
		    &en->try->facts, &en->why);
	return proved(en, rc, &ev);
}

/* ---- RECORD ---- */

#define EVENTS_MAX 5

struct events {
	struct ly_record_event at[EVENTS_MAX];
	char name[EVENTS_MAX][LY_HEX(34)];
	size_t n;
};

/* A name that was bound to this host before needs no second line. */
static enum ly_rc
born(struct ly_enrolling *en, struct events *list, const char *name,
    const char *text)
{
	struct ly_record_event *ev = &list->at[list->n];
	struct ly_name_seen seen;
	enum ly_rc rc = ly_record_seen(en->m, name, &seen, &en->why);

	if (rc != LY_OK)
		return rc;
	if (seen.first && !seen.ended &&
	    strcmp(seen.subject, en->try->self) == 0)
		return LY_OK;
	ly_copy(list->name[list->n], sizeof(list->name[0]), name);
	*ev = (struct ly_record_event){ .kind = LY_RECORD_KEY_BORN,
		.subject = en->try->self,
		.name = list->name[list->n],
		.text = text };
	list->n++;
	return LY_OK;
}

static json_t *
details(const struct ly_enrol_row *row)
{
	json_t *o = json_object();
	const struct {
		const char *key, *value;
	} texts[] = { { "ak", row->ak_name }, { "class", row->class_ },
		{ "ek", row->ek_sha256 }, { "ek_by", row->ek_by },
		{ "hk", row->hk }, { "log", row->log }, { "pcrs", row->pcrs },
		{ "sk", row->sk_name }, { "state", row->state } };

	for (size_t i = 0; i < LY_COUNT(texts); i++)
		json_object_set_new(o, texts[i].key,
		    ly_json_text(texts[i].value));
	json_object_set_new(o, "pcr_mask", json_integer(row->pcr_mask));
	json_object_set_new(o, "approval",
	    json_integer((json_int_t)row->approval));
	json_object_set_new(o, "reset_count", json_integer(row->reset_count));
	return o;
}

static enum ly_rc
put_all(struct ly_enrolling *en)
{
	struct ly_try *t = en->try;
	struct events list = { .n = 0 };
	enum ly_rc rc = born(en, &list, t->row.ek_sha256, "endorsement key");

	if (rc == LY_OK)
		rc = born(en, &list, t->row.ak_name, "attestation key");
	if (rc == LY_OK)
		rc = born(en, &list, t->row.sk_name, "storage key");
	if (rc == LY_OK)
		rc = born(en, &list, t->row.hk, "TLS key");
	if (rc != LY_OK)
		return rc;
	list.at[list.n++] = (struct ly_record_event){
		.kind = en->renewal ? LY_RECORD_HOST_RENEWED :
				      LY_RECORD_HOST_ENROLLED,
		.subject = t->self,
		.text = t->row.unapproved ?
		    "it has proved itself, in a state that is not approved" :
		    "it has proved itself",
		.details = details(&t->row),
	};
	return ly_record_put(en->m, LY_ROW_ENROL, &t->row,
	    en->renewal ? "renewed" : "enrolled", list.at, list.n, &en->why);
}

/* The certificate of before is of other keys, or of another boot: only a
 * renewal leaves it where it is. */
enum ly_verdict
ly_try_record(struct ly_enrolling *en)
{
	struct ly_enrol_row *row = &en->try->row;
	enum ly_rc rc;

	row->attested = ly_now_s();
	row->failures = 0;
	row->frozen = 0;
	row->why[0] = '\0';
	if (!en->renewal) {
		row->enrolled = row->attested;
		row->issued = row->ends = 0;
		row->certificate[0] = row->ak_certificate[0] = '\0';
	}
	rc = put_all(en);
	if (rc == LY_OK)
		return LY_VERDICT_GOOD;
	/* A name that is another's is the host's doing; all else is ours. */
	return rc == LY_REFUSED && !ly_record_lost(en->m) ? LY_VERDICT_BAD :
							    LY_VERDICT_LATER;
}

/* ---- ISSUE ---- */

static enum ly_rc
sign_both(struct ly_enrolling *en, char **pem, char **ak_pem)
{
	const struct ly_enrol_facts *f = &en->try->facts;
	const struct ly_enrol_row *row = &en->try->row;
	uint64_t seconds = en->m->conf.host_cert_seconds;
	char key[320], cert[320];
	struct ly_tpm_key ak;
	struct ly_peer who;
	enum ly_rc rc = ly_spiffe_parse(en->try->self, &who, &en->why);

	if (rc == LY_OK)
		rc = ly_tpm_key_read(LY_TPM_AK,
		    (struct ly_bytes){ f->ak.area, f->ak.len }, &ak, &en->why);
	if (rc != LY_OK)
		return rc;
	ly_copy(who.class_, sizeof(who.class_), row->class_);
	memcpy(who.ak_name, f->ak.name, LY_TPM_NAME);
	memcpy(who.sk_name, f->sk.name, LY_TPM_NAME);
	who.reset_count = f->reset_count;
	who.restart_count = f->restart_count;
	who.approval = row->approval;
	ly_manager_file(en->m, "ca.key", key);
	ly_manager_file(en->m, "ca.pem", cert);
	rc = ly_ca_sign_host(key, cert, row->csr, &who, seconds, pem, &en->why);
	if (rc == LY_OK)
		rc = ly_ca_sign_ak(key, cert, ak.point.x, ak.point.y, &who,
		    seconds, ak_pem, &en->why);
	return rc;
}

/* Certificates that ended are not to be revoked any more, so they need not be
 * known either: else every host would leave a dozen rows a day. */
static void
forget_ended(struct ly_enrolling *en)
{
	struct ly_enrol_row *row = &en->try->row;

	if (row->before[0] && row->before_ends < ly_now_s()) {
		(void)!ly_store_del(en->m->store, LY_ROW_CERT, row->before,
		    NULL, NULL);
		(void)!ly_store_del(en->m->store, LY_ROW_CERT, row->ak_before,
		    NULL, NULL);
	}
	memcpy(row->before, row->serial, sizeof(row->before));
	memcpy(row->ak_before, row->ak_serial, sizeof(row->ak_before));
	row->before_ends = row->ends;
}

static enum ly_rc
note_both(struct ly_enrolling *en, const char *pem, const char *ak_pem)
{
	struct ly_enrol_row *row = &en->try->row;
	const char *host = en->h->at.name;
	uint64_t ends;
	enum ly_rc rc = ly_ca_read_leaf(ak_pem, row->ak_serial, &ends,
	    &en->why);

	if (rc == LY_OK)
		rc = ly_ca_read_leaf(pem, row->serial, &row->ends, &en->why);
	if (rc == LY_OK)
		rc = ly_crl_note_cert(en->m, host, pem, &en->why);
	if (rc == LY_OK)
		rc = ly_crl_note_cert(en->m, host, ak_pem, &en->why);
	if (rc == LY_OK &&
	    (!ly_copy(row->certificate, sizeof(row->certificate), pem) ||
		!ly_copy(row->ak_certificate, sizeof(row->ak_certificate),
		    ak_pem)))
		rc = ly_fail(&en->why, LY_FULL, "a certificate over %zu bytes",
		    sizeof(row->certificate));
	return rc;
}

enum ly_verdict
ly_try_issue(struct ly_enrolling *en, uint64_t *ends)
{
	struct ly_enrol_row *row = &en->try->row;
	char *pem = NULL, *ak_pem = NULL;
	enum ly_rc rc = sign_both(en, &pem, &ak_pem);

	if (rc == LY_OK) {
		forget_ended(en);
		row->issued = ly_now_s();
		rc = note_both(en, pem, ak_pem);
	}
	if (rc == LY_OK)
		rc = ly_store_put(en->m->store, LY_ROW_ENROL, row, "certified",
		    &en->why);
	free(pem);
	free(ak_pem);
	*ends = row->ends;
	return rc == LY_OK ? LY_VERDICT_GOOD : LY_VERDICT_LATER;
}

/* ---- TAKE ---- */

enum ly_rc
ly_try_papers(struct ly_enrolling *en, uint8_t *room, size_t size,
    struct ly_bytes *out)
{
	struct ly_wr w = ly_wr_over(room, size);
	struct ly_enrol_papers p = { .demand = en->m->conf.attest };
	struct ly_enrol_row *row = malloc(sizeof(*row));
	enum ly_rc rc = LY_OUTSIDE;

	if (row)
		rc = ly_enrol_row(en->m, en->h->at.name, row, &en->why);
	if (rc == LY_OK) {
		p.certificate =
		    (struct ly_bytes){ (const uint8_t *)row->certificate,
			    strlen(row->certificate) };
		p.ak_certificate =
		    (struct ly_bytes){ (const uint8_t *)row->ak_certificate,
			    strlen(row->ak_certificate) };
		ly_message_put(&ly_enrol_papers_message, &p, &w);
		*out = (struct ly_bytes){ room, ly_wr_len(&w) };
		assert(!w.bad);
	}
	free(row);
	return rc;
}

/* ---- what went wrong ---- */

void
ly_try_keep(struct ly_enrolling *en)
{
	const char *who = en->unfreezer;
	struct ly_enrol_row *row = malloc(sizeof(*row));
	char self[LY_SPIFFE_MAX], text[LY_WHY_MAX];
	bool frozen = en->core.state == LY_ENROLMENT_FROZEN, news;
	struct ly_record_event ev = { .subject = self, .text = text };

	if (!row)
		return;
	row_of(en, row);
	ly_spiffe_host(en->m->conf.site, en->h->at.name, self);
	/* The same again and again is one line of the record. */
	news = who || frozen || strcmp(row->why, en->why.text) != 0;
	ev.kind = who ? LY_RECORD_HOST_UNFROZEN :
	    frozen    ? LY_RECORD_HOST_FROZEN :
			LY_RECORD_HOST_REFUSED;
	ly_copy(text, sizeof(text), who ? who : en->why.text);
	row->failures = en->core.failures;
	row->frozen = frozen ? ly_now_s() : 0;
	ly_copy(row->why, sizeof(row->why), who ? "" : en->why.text);
	if (ly_record_put(en->m, LY_ROW_ENROL, row, "proof failed", &ev,
		news ? 1 : 0, &en->why) != LY_OK)
		ly_log(LY_ERROR, "enrol", "%s: %s", row->host, en->why.text);
	free(row);
}
