/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both ends say at the end, signed by their TLS keys, and what the source
 * has its TPM say of its words: so that nobody has to take "it is gone" or "it
 * is whole" from a host that is not the one that was appraised.
 */
#include "agent/io/keys_in.h"

#include "lib/crypt/cert.h"
#include "lib/io/clock.h"

#include <stdlib.h>

/* ---- a statement, and a quote over it ---- */

static enum ly_rc
say(struct entry *e, const struct ly_message *m, const void *in,
    struct kept *out, struct ly_why *why)
{
	uint8_t tagged[1024], signed_[LY_STATEMENT_MAX];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));
	size_t len = sizeof(signed_);
	enum ly_rc rc;

	ly_message_put_tagged(m, in, &w);
	assert(!w.bad); /* all of its fields are of fixed size */
	rc = ly_sign(e->k->p.ids, m->type, tagged, ly_wr_len(&w), signed_, &len,
	    why);
	if (rc == LY_OK)
		ly_kept_set(out, (struct ly_bytes){ signed_, len });
	return rc;
}

/* What the other end said; LY_REFUSED unless it is signed by that host, and by
 * the TLS key that its TPM has quoted. */
static enum ly_rc
hear(struct entry *e, const struct ly_message *m, struct ly_bytes statement,
    void *out, struct ly_why *why)
{
	struct ly_bytes der = ly_signed_by(statement);
	struct ly_cert_key key;
	const uint8_t *tagged;
	size_t len;
	struct ly_peer signer;
	enum ly_rc rc = ly_verify(e->k->p.ids, m->type, statement.at,
	    statement.len, &tagged, &len, &signer, why);

	if (rc == LY_OK && strcmp(signer.id, e->core.peer) != 0)
		rc = ly_fail(why, LY_REFUSED, "signed by %s", signer.id);
	if (rc == LY_OK)
		rc = ly_cert_key(der.at, der.len, &key, why);
	if (rc == LY_OK &&
	    !ly_same(key.spki, e->peer_host.hk, sizeof(key.spki)))
		rc = ly_fail(why, LY_REFUSED,
		    "signed by another key than its TPM has quoted");
	if (rc == LY_OK)
		rc = ly_message_get_tagged(m, tagged, len, out, why);
	return rc == LY_OK ? rc : ly_fail_in(why, LY_REFUSED, "%s", m->name);
}

/* What the source's TPM quotes over `statement`; its AK, SK and TLS key are
 * those of its first evidence. */
static struct ly_context
context_over(const struct entry *e, enum ly_quote_type type, uint64_t epoch,
    struct ly_bytes statement)
{
	struct ly_context c = { .role = (uint8_t)type,
		.vm = e->core.vm,
		.mig = e->core.mig,
		.epoch = epoch };

	memcpy(c.nonce, e->core.nonce, sizeof(c.nonce));
	ly_copy(c.source, sizeof(c.source), e->call.source);
	ly_copy(c.dest, sizeof(c.dest), e->call.dest);
	ly_copy(c.home, sizeof(c.home), e->call.home);
	ly_sha256(statement.at, statement.len, c.over);
	return c;
}

/* ---- SENT ---- */

static void
tell_sealed(struct entry *e)
{
	ly_keys_sealed *told = e->on_sealed;

	if (!told)
		return;
	e->on_sealed = NULL;
	e->seal.statement = ly_kept_bytes(&e->sent_by);
	e->seal.evidence = ly_kept_bytes(&e->sent_evidence);
	told(e->sealed_arg, LY_OK, "", &e->seal);
}

static void proof_if_done(struct entry *e);

/* Without one the migration goes on: its proof has a hole, and the manager
 * says what that means. */
static void
on_sent_quoted(void *arg, enum ly_rc rc, const char *why,
    struct ly_bytes evidence)
{
	struct entry *e = arg;

	e->jobs--;
	e->sent_quoting = false;
	if (rc == LY_OK && evidence.len <= LY_FIN_EVIDENCE_MAX) {
		ly_kept_set(&e->sent_evidence, evidence);
		uv_update_time(e->k->p.loop);
		e->k->quote_took_ms = uv_now(e->k->p.loop) - e->quote_ms;
	} else {
		ly_log(LY_WARNING, "keys", "no quote over what was sent: %s",
		    rc == LY_OK ? "it is too large" : why);
	}
	tell_sealed(e);
	proof_if_done(e);
}

static void
quote_sent(struct entry *e)
{
	struct ly_context c = context_over(e, LY_QUOTE_SENT, e->sent.epoch,
	    ly_kept_bytes(&e->sent_by));

	e->jobs++;
	e->sent_quoting = true;
	e->quote_ms = uv_now(e->k->p.loop);
	e->k->ops.quote(e->k->arg, &c, on_sent_quoted, e);
}

static bool
quotes_inline(const struct ly_keys *k)
{
	return k->p.fin_quote == LY_FIN_INLINE ||
	    (k->p.fin_quote == LY_FIN_AUTO &&
		k->quote_took_ms < LY_FIN_INLINE_MS);
}

static enum ly_rc
sign_sent(struct entry *e, const struct ly_sent *sent, struct ly_why *why)
{
	struct ly_hand_event ev = ly_entry_event(e, LY_HAND_SEND);
	enum ly_rc rc = say(e, &ly_sent_message, sent, &e->sent_by, why);

	if (rc == LY_OK)
		rc = ly_entry_step(e, &ev, why);
	if (rc != LY_OK)
		return rc;
	e->sent = *sent;
	ly_stream_fin_mac(&e->secret->stream, ly_kept_bytes(&e->sent_by),
	    e->seal.mac);
	return LY_OK;
}

void
ly_keys_send(struct ly_keys *k, const struct ly_sent *sent,
    ly_keys_sealed *told, void *arg)
{
	struct entry *e = ly_entry_of(k, &sent->mig);
	struct ly_why why;
	enum ly_rc rc;

	if (!e) {
		told(arg, LY_UNKNOWN, "the migration's key is gone", NULL);
		return;
	}
	rc = sign_sent(e, sent, &why);
	if (rc != LY_OK) {
		told(arg, rc, why.text, NULL);
		return;
	}
	e->on_sealed = told;
	e->sealed_arg = arg;
	if (!quotes_inline(k))
		tell_sealed(e);
	quote_sent(e);
}

/* ---- FIN at the destination ---- */

static enum ly_rc
is_ours(const struct entry *e, const struct ly_sent *sent,
    const struct ly_fin *fin, const struct ly_lanes_sum *sum,
    struct ly_why *why)
{
	const char *what = NULL;

	if (!ly_id_same(&sent->mig, &e->core.mig) ||
	    !ly_id_same(&sent->vm, &e->core.vm))
		what = "it is about another migration";
	else if (sent->epoch != e->call.epoch)
		what = "it is of another epoch";
	else if (sent->seq != fin->seq || sent->bytes != fin->bytes)
		what = "it says otherwise than FIN";
	else if (sent->bytes != sum->bytes)
		what = "more bytes, or less, were sent than came";
	else if (sent->lanes != sum->lanes)
		what = "it was sent over another number of lanes";
	else if (!ly_same(sent->root, sum->root, sizeof(sent->root)))
		what = "what came is not what was sent: the digests differ";
	return what ? ly_fail(why, LY_REFUSED, "SENT: %s", what) : LY_OK;
}

/* The quote over it, by the TPM that was appraised before. */
static enum ly_rc
check_quote(struct entry *e, const struct ly_fin *fin, struct ly_why *why)
{
	struct ly_evidence ev;
	struct ly_context want = context_over(e, LY_QUOTE_SENT, e->call.epoch,
	    fin->statement);
	struct ly_appraised found;
	struct ly_point key;
	struct ly_appraise a = { .side = "SENT",
		.evidence = &ev,
		.host = &e->peer_host,
		.want = &want,
		.logless = true };
	enum ly_rc rc = ly_message_get(&ly_evidence_message, fin->evidence.at,
	    fin->evidence.len, &ev, why);

	if (rc != LY_OK)
		return ly_fail_in(why, LY_REFUSED, "SENT");
	ly_copy(want.self, sizeof(want.self), e->peer_host.id);
	memcpy(want.hk, e->peer_host.hk, sizeof(want.hk));
	memcpy(want.sk_name, e->peer_host.sk_name, sizeof(want.sk_name));
	a.list = e->k->ops.approved(e->k->arg, e->peer.site, &key);
	return ly_appraise(&a, &found, why);
}

enum ly_rc
ly_keys_check(struct ly_keys *k, const struct ly_fin *fin,
    const struct ly_lanes_sum *sum, struct ly_why *why)
{
	struct entry *e = ly_entry_of(k, &fin->mig);
	struct ly_sent sent;
	uint8_t mac[32];
	enum ly_rc rc;

	if (!e || !e->secret || e->core.state != LY_HAND_UNLOCKED)
		return ly_fail(why, LY_REFUSED,
		    "destination: the migration's key is gone");
	ly_stream_fin_mac(&e->secret->stream, fin->statement, mac);
	if (!ly_same(mac, fin->mac, sizeof(mac)))
		return ly_fail(why, LY_REFUSED,
		    "source: FIN is not under the migration's key");
	rc = hear(e, &ly_sent_message, fin->statement, &sent, why);
	if (rc == LY_OK)
		rc = is_ours(e, &sent, fin, sum, why);
	if (rc == LY_OK && fin->evidence.len)
		rc = check_quote(e, fin, why);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "source");
	e->sent = sent;
	return LY_OK;
}

enum ly_rc
ly_keys_token(struct ly_keys *k, const struct ly_id *mig, struct ly_bytes token,
    struct ly_why *why)
{
	struct entry *e = ly_entry_of(k, mig);
	uint8_t is[32];

	ly_sha256(token.at, token.len, is);
	if (e && ly_same(is, e->sent.token, sizeof(is)))
		return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    "source: the token that came is not the one it says it has sent");
}

/* ---- ARRIVED ---- */

struct ly_bytes
ly_keys_arrive(struct ly_keys *k, const struct ly_arrived *arrived)
{
	struct entry *e = ly_entry_of(k, &arrived->mig);
	struct ly_bytes none = { NULL, 0 };
	struct ly_arrived a = *arrived;
	struct ly_hand_event ev;
	struct ly_why why;

	if (!e)
		return none;
	a.seq = e->sent.seq;
	ev = ly_entry_event(e, LY_HAND_ARRIVE);
	if (ly_entry_step(e, &ev, &why) == LY_OK &&
	    say(e, &ly_arrived_message, &a, &e->arrived_by, &why) == LY_OK)
		return ly_kept_bytes(&e->arrived_by);
	ly_log(LY_WARNING, "keys", "what arrived is not signed: %s", why.text);
	return none;
}

void
ly_keys_arrived(struct ly_keys *k, const struct ly_id *mig,
    struct ly_bytes statement)
{
	struct entry *e = ly_entry_of(k, mig);
	struct ly_arrived said;
	struct ly_why why;
	enum ly_rc rc;

	if (!e || !statement.len)
		return;
	rc = hear(e, &ly_arrived_message, statement, &said, &why);
	if (rc == LY_OK &&
	    (!ly_id_same(&said.mig, mig) || said.bytes != e->sent.bytes ||
		!ly_same(said.root, e->sent.root, sizeof(said.root))))
		rc = ly_fail(&why, LY_REFUSED,
		    "ARRIVED: it is not what was sent");
	if (rc == LY_OK)
		ly_kept_set(&e->arrived_by, statement);
	else
		ly_log(LY_WARNING, "keys", "destination: %s", why.text);
}

/* ---- DESTROYED, and the proof ---- */

static void
pack_proof(struct entry *e)
{
	struct ly_move_proof p = { .sent = ly_kept_bytes(&e->sent_by),
		.sent_evidence = ly_kept_bytes(&e->sent_evidence),
		.arrived = ly_kept_bytes(&e->arrived_by),
		.destroyed = ly_kept_bytes(&e->destroyed_by),
		.destroyed_evidence = ly_kept_bytes(&e->destroyed_evidence) };
	size_t most = ly_message_max(&ly_move_proof_message);
	uint8_t *buf = malloc(most);
	struct ly_wr w;

	if (!buf)
		abort();
	w = ly_wr_over(buf, most);
	ly_message_put(&ly_move_proof_message, &p, &w);
	assert(!w.bad); /* each part was held against its limit */
	ly_kept_set(&e->proof, (struct ly_bytes){ buf, ly_wr_len(&w) });
	free(buf);
}

static void
tell_proof(struct entry *e)
{
	ly_keys_told *told = e->on_proof;

	e->on_proof = NULL;
	if (told)
		told(e->proof_arg, LY_OK, "", ly_kept_bytes(&e->proof));
}

static void
proof_if_done(struct entry *e)
{
	if (!e->on_proof || e->sent_quoting || e->destroyed_quoting)
		return;
	if (!e->proof.at)
		pack_proof(e);
	tell_proof(e);
}

static void
on_destroyed_quoted(void *arg, enum ly_rc rc, const char *why,
    struct ly_bytes evidence)
{
	struct entry *e = arg;

	e->jobs--;
	e->destroyed_quoting = false;
	if (rc == LY_OK && evidence.len <= LY_FIN_EVIDENCE_MAX)
		ly_kept_set(&e->destroyed_evidence, evidence);
	else
		ly_log(LY_WARNING, "keys", "no quote over the end: %s",
		    rc == LY_OK ? "it is too large" : why);
	proof_if_done(e);
}

/* The first time. */
static enum ly_rc
destroy(struct entry *e, struct ly_why *why)
{
	struct ly_hand_event ev = ly_entry_event(e, LY_HAND_DESTROY);
	struct ly_destroyed d = { .vm = e->core.vm,
		.mig = e->core.mig,
		.epoch = e->call.epoch,
		.when = ev.now_s };
	struct ly_context c;
	enum ly_rc rc = ly_entry_step(e, &ev, why);

	if (rc == LY_OK)
		rc = say(e, &ly_destroyed_message, &d, &e->destroyed_by, why);
	if (rc != LY_OK)
		return rc;
	c = context_over(e, LY_QUOTE_DESTROYED, d.epoch,
	    ly_kept_bytes(&e->destroyed_by));
	e->jobs++;
	e->destroyed_quoting = true;
	e->k->ops.quote(e->k->arg, &c, on_destroyed_quoted, e);
	return LY_OK;
}

void
ly_keys_destroy(struct ly_keys *k, const struct ly_id *mig, ly_keys_told *told,
    void *arg)
{
	struct entry *e = ly_entry_of(k, mig);
	struct ly_bytes none = { NULL, 0 };
	struct ly_why why;
	enum ly_rc rc = LY_OK;

	if (!e) {
		told(arg, LY_UNKNOWN, "the agent was started since", none);
		return;
	}
	if (e->core.state != LY_HAND_DESTROYED)
		rc = destroy(e, &why);
	if (rc != LY_OK) {
		told(arg, LY_UNKNOWN, why.text, none);
		return;
	}
	if (e->on_proof)
		e->on_proof(e->proof_arg, LY_BUSY, "asked again", none);
	e->on_proof = told;
	e->proof_arg = arg;
	proof_if_done(e);
}
