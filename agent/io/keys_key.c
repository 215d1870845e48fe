/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key of a migration, into the destination's TPM and out of it. The source
 * seals it so that no TPM but the destination's opens it, that one only in a
 * state that the policy key of its site has approved, and only by the word of
 * the manager for this one migration and this one session.
 */
#include "agent/io/keys_in.h"

#include "lib/crypt/cert.h"

#include <stdlib.h>

/* ---- the other end ---- */

static const char *
side(const struct entry *e)
{
	return e->core.role == LY_AS_SOURCE ? "destination" : "source";
}

/* Who it is, by its certificate: that its quote is by that host's TPM, and for
 * its TLS key, is seen from here. */
static enum ly_rc
read_peer(struct entry *e, const struct ly_evidence *ev, struct ly_why *why)
{
	struct ly_appraise_host *h = &e->peer_host;
	struct ly_peer *p = &e->peer;
	struct ly_cert_key key;
	enum ly_rc rc;

	rc = ly_identity_vouch(e->k->p.ids, ev->certificate, p, why);
	if (rc == LY_OK)
		rc = ly_cert_key(ev->certificate.at, ev->certificate.len, &key,
		    why);
	if (rc != LY_OK)
		return ly_fail_in(why, LY_REFUSED, "certificate");
	if (p->role != LY_ROLE_HOST || strcmp(p->id, e->core.peer) != 0)
		return ly_fail(why, LY_REFUSED,
		    "the certificate with it is of %s", p->id);
	if (!p->attested)
		return ly_fail(why, LY_REFUSED,
		    "not enrolled: its certificate says of no TPM");
	*h = (struct ly_appraise_host){ .reset_count = p->reset_count,
		.restart_count = p->restart_count };
	ly_copy(h->id, sizeof(h->id), p->id);
	ly_copy(h->class, sizeof(h->class), p->class_);
	memcpy(h->ak_name, p->ak_name, sizeof(h->ak_name));
	memcpy(h->sk_name, p->sk_name, sizeof(h->sk_name));
	memcpy(h->hk, key.spki, sizeof(h->hk));
	return LY_OK;
}

/* The policy that the call names is that of `site` for `class`, now. */
static enum ly_rc
is_policy_of(const struct ly_call *call, const struct ly_approved *list,
    const struct ly_point *key, const char *class, struct ly_why *why)
{
	uint8_t name[LY_TPM_NAME], ref[32];

	ly_tpm_authority_name(key, name);
	if (!ly_same(name, call->policy, sizeof(name)))
		return ly_fail(why, LY_REFUSED,
		    "the call names another policy key than that of site %s",
		    list->site);
	ly_class_ref(class, list->generation, ref);
	if (!ly_same(ref, call->ref, sizeof(ref)))
		return ly_fail(why, LY_REFUSED,
		    "the call was not made for class %s in generation %llu of"
		    " the approved states of site %s",
		    class, (unsigned long long)list->generation, list->site);
	return LY_OK;
}

enum ly_rc
ly_entry_appraise(struct entry *e, struct ly_bytes packed, struct ly_why *why)
{
	enum ly_quote_role role = e->core.role == LY_AS_SOURCE ? LY_AS_DEST :
								 LY_AS_SOURCE;
	struct ly_evidence ev;
	struct ly_context want;
	struct ly_point key;
	struct ly_appraised found;
	struct ly_appraise a = { .side = side(e),
		.evidence = &ev,
		.host = &e->peer_host,
		.want = &want };
	enum ly_rc rc = ly_message_get(&ly_evidence_message, packed.at,
	    packed.len, &ev, why);

	if (rc == LY_OK)
		rc = read_peer(e, &ev, why);
	if (rc == LY_OK)
		rc = ly_appraise_want(&e->call, role, &e->peer_host, &want,
		    &a.open, why);
	if (rc != LY_OK)
		return ly_fail_in(why, LY_REFUSED, "%s", side(e));
	a.list = e->k->ops.approved(e->k->arg, e->peer.site, &key);
	rc = ly_appraise(&a, &found, why);
	if (rc != LY_OK || role == LY_AS_SOURCE)
		return rc;
	e->sk = found.sk;
	e->sk.area = (struct ly_bytes){ NULL, 0 };
	rc = is_policy_of(&e->call, a.list, &key, e->peer.class_, why);
	return rc == LY_OK ? rc : ly_fail_in(why, rc, "%s", side(e));
}

/* ---- what both ends know ---- */

/* policyRef of the leave for `dest`, whose SK has that Name; and the policy of
 * the key. */
static void
policy_of(struct entry *e, const uint8_t sk_name[LY_TPM_NAME],
    struct ly_policy *out)
{
	uint8_t manager[LY_TPM_NAME];

	ly_release_ref(&e->core.mig, e->core.nonce, e->call.dest, sk_name,
	    e->release);
	ly_tpm_authority_name(&e->manager, manager);
	ly_policy_of_key(e->call.policy, e->call.ref, manager, e->release, out);
}

/* From K, which is gone after. */
static void
make_stream_keys(struct entry *e)
{
	bool source = e->core.role == LY_AS_SOURCE;
	struct ly_bytes own = ly_kept_bytes(&e->evidence),
			other = ly_kept_bytes(&e->peer_evidence);
	struct secret *s = ly_entry_secret(e);
	uint8_t transcript[32];

	ly_stream_transcript(ly_kept_bytes(&e->called), source ? other : own,
	    source ? own : other, ly_kept_bytes(&e->blob), transcript);
	ly_stream_keys_make(s->key, &e->call, transcript, &s->stream);
	ly_wipe(s->key, sizeof(s->key));
	ly_stream_confirm(&s->stream, "dest", e->confirm);
	ly_kept_set(&e->peer_evidence, (struct ly_bytes){ NULL, 0 });
}

/* ---- the source: KEY ---- */

static enum ly_rc
seal(struct entry *e, struct ly_why *why)
{
	struct secret *s = ly_entry_secret(e);
	uint8_t chance[LY_BLOB_CHANCE], packed[LY_SEALED_MAX];
	struct ly_wr w = ly_wr_over(packed, sizeof(packed));
	struct ly_blob_room room;
	struct ly_key_blob blob;
	struct ly_policy policy;
	enum ly_rc rc;

	policy_of(e, e->sk.name, &policy);
	do {
		ly_random(chance, sizeof(chance));
		rc = ly_blob_make(&e->sk, &policy, s->key, sizeof(s->key),
		    chance, &room, &blob, why);
	} while (rc == LY_BUSY);
	ly_wipe(chance, sizeof(chance));
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "source: the key");
	ly_message_put(&ly_key_blob_message, &blob, &w);
	if (w.bad)
		return ly_fail(why, LY_FULL, "source: the key is too large");
	ly_kept_set(&e->blob, (struct ly_bytes){ packed, ly_wr_len(&w) });
	return LY_OK;
}

/* Neither our generator nor the TPM's alone decides. */
static void
on_random(void *arg, const struct ly_chip_answer *a)
{
	struct entry *e = arg;
	struct secret *s;
	struct ly_why why;
	enum ly_rc rc = a->rc;

	e->jobs--;
	if (rc != LY_OK) {
		ly_fail(&why, rc, "source: %s", a->why);
	} else {
		s = ly_entry_secret(e);
		ly_random(s->key, sizeof(s->key));
		ly_hmac(s->key, sizeof(s->key), a->bytes.at, a->bytes.len,
		    s->key);
		rc = seal(e, &why);
	}
	if (rc == LY_OK)
		make_stream_keys(e);
	ly_entry_did(e, LY_HAND_DID_MAKE, rc, rc == LY_OK ? "" : why.text);
}

void
ly_entry_make(struct entry *e)
{
	struct ly_why why;
	enum ly_rc rc = ly_entry_appraise(e, ly_kept_bytes(&e->peer_evidence),
	    &why);

	if (rc != LY_OK) {
		ly_entry_did(e, LY_HAND_DID_MAKE, rc, why.text);
		return;
	}
	e->jobs++;
	ly_chip_random(e->k->p.chip, LY_MIG_KEY_LEN, on_random, e);
}

/* ---- the destination: IMPORT ---- */

/* Under which approval our own TPM may open it: that of the state which we have
 * just quoted. */
static enum ly_rc
own_approval(struct entry *e, struct ly_chip_import *in, struct ly_why *why)
{
	const struct ly_peer *self = ly_identity_self(e->k->p.ids);
	const struct ly_approved_entry *state;
	uint8_t pcr[LY_PCRS_N][32];
	struct ly_approved const *list;
	struct ly_evidence own;
	struct ly_point key;
	enum ly_rc rc;

	list = e->k->ops.approved(e->k->arg, self->site, &key);
	if (!self->attested || !list)
		return ly_fail(why, LY_REFUSED, "%s",
		    list ? "this host is not enrolled" :
			   "this host knows of no approved states of its site");
	rc = is_policy_of(&e->call, list, &key, self->class_, why);
	if (rc == LY_OK)
		rc = ly_message_get(&ly_evidence_message, e->evidence.at,
		    e->evidence.len, &own, why);
	if (rc != LY_OK)
		return rc;
	ly_appraise_pcrs(&own, pcr);
	rc = ly_approved_find(list, self->class_, own.pcr_mask, pcr, &state,
	    why);
	if (rc != LY_OK)
		return rc;
	in->mask = state->mask;
	memcpy(in->approved, state->policy.digest, sizeof(in->approved));
	memcpy(in->approval, state->signature, sizeof(in->approval));
	memcpy(in->ref, state->ref, sizeof(in->ref));
	in->policy_key = key;
	return LY_OK;
}

static enum ly_rc
own_blob(struct entry *e, struct ly_chip_import *in, struct ly_why *why)
{
	const struct ly_peer *self = ly_identity_self(e->k->p.ids);
	struct ly_policy policy;
	enum ly_rc rc = ly_message_get(&ly_key_blob_message, e->blob.at,
	    e->blob.len, &in->blob, why);

	if (rc != LY_OK)
		return rc;
	policy_of(e, self->sk_name, &policy);
	return ly_blob_check(&in->blob, &policy, NULL, why);
}

static void
on_opened(void *arg, const struct ly_chip_answer *a)
{
	struct entry *e = arg;
	struct ly_why why = { "" };
	enum ly_rc rc = a->rc;

	e->jobs--;
	if (rc != LY_OK)
		ly_fail(&why, rc, "destination: %s", a->why);
	else if (a->bytes.len > sizeof(e->nonce))
		rc = ly_fail(&why, LY_OUTSIDE,
		    "destination: its TPM: a nonce of %zu bytes", a->bytes.len);
	if (rc == LY_OK) {
		memcpy(e->nonce, a->bytes.at, a->bytes.len);
		e->nonce_len = a->bytes.len;
	}
	ly_entry_did(e, LY_HAND_DID_IMPORT, rc, why.text);
}

void
ly_entry_import(struct entry *e)
{
	struct ly_chip_import in = { .mig = e->core.mig };
	struct ly_why why;
	enum ly_rc rc = ly_entry_appraise(e, ly_kept_bytes(&e->peer_evidence),
	    &why);

	if (rc == LY_OK) {
		rc = own_approval(e, &in, &why);
		if (rc != LY_OK)
			ly_fail_in(&why, rc, "destination");
	}
	if (rc == LY_OK) {
		rc = own_blob(e, &in, &why);
		if (rc != LY_OK)
			ly_fail_in(&why, rc, "source: the key it has made");
	}
	if (rc != LY_OK) {
		ly_entry_did(e, LY_HAND_DID_IMPORT, rc, why.text);
		return;
	}
	e->jobs++;
	ly_chip_import_open(e->k->p.chip, &in, on_opened, e);
}

/* ---- the destination: UNLOCK ---- */

static void
on_unsealed(void *arg, const struct ly_chip_answer *a)
{
	struct entry *e = arg;
	struct ly_why why = { "" };
	enum ly_rc rc = a->rc;

	e->jobs--;
	if (rc != LY_OK)
		ly_fail(&why, rc, "destination: %s", a->why);
	else if (a->bytes.len != LY_MIG_KEY_LEN)
		rc = ly_fail(&why, LY_REFUSED,
		    "source: the key it has made has %zu bytes", a->bytes.len);
	if (rc == LY_OK && e->core.state == LY_HAND_UNLOCKING) {
		memcpy(ly_entry_secret(e)->key, a->bytes.at, a->bytes.len);
		make_stream_keys(e);
	}
	ly_entry_did(e, LY_HAND_DID_UNLOCK, rc, why.text);
	if (e->core.state == LY_HAND_UNLOCKED && e->k->ops.unlocked)
		e->k->ops.unlocked(e->k->arg, &e->core.mig);
}

void
ly_entry_unlock(struct entry *e, struct ly_bytes release)
{
	uint8_t sig[LY_SIG_RAW];

	if (release.len != sizeof(sig)) {
		ly_entry_did(e, LY_HAND_DID_UNLOCK, LY_REFUSED,
		    "manager: its leave is no signature");
		return;
	}
	memcpy(sig, release.at, sizeof(sig));
	e->jobs++;
	ly_chip_import_unseal(e->k->p.chip, &e->core.mig, &e->manager,
	    e->release, LY_RELEASE_S, sig, on_unsealed, e);
}
