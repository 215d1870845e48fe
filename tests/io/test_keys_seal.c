/* SPDX-License-Identifier: Apache-2.0 */
/* What both ends of a migration say when its stream has ended, and what the
 * source's TPM says of that. */
#include "tests/io/keys_move.h"

static struct ly_sent sent;
static struct ly_lanes_sum sum;
static struct ly_fin fin;
static uint8_t fin_room[2][LY_EVIDENCE_MAX];
static bool sealed;

static void
on_sealed(void *arg, enum ly_rc rc, const char *text,
    const struct ly_seal *seal)
{
	(void)arg;
	WANT_STR(text, "");
	WANT_INT(rc, LY_OK);
	memcpy(fin_room[0], seal->statement.at, seal->statement.len);
	fin.statement = part(fin_room[0], seal->statement.len);
	if (seal->evidence.len)
		memcpy(fin_room[1], seal->evidence.at, seal->evidence.len);
	fin.evidence = part(fin_room[1], seal->evidence.len);
	memcpy(fin.mac, seal->mac, sizeof(fin.mac));
	sealed = true;
}

/* All went over the lanes, and the source has said so. */
static void
send_in(uint64_t epoch)
{
	struct ly_lanes_params p;
	struct ly_copy c;

	unlock_all();
	c = copy();
	SITE_OK(ly_keys_copy(north.keys, &c, &p, &why));
	SITE_OK(ly_keys_take(south.keys, &m.call.mig, &p, &why));
	sent = (struct ly_sent){ .vm = m.call.vm,
		.mig = m.call.mig,
		.epoch = epoch,
		.seq = 77,
		.bytes = 1000,
		.lanes = 2,
		.root = { 9 } };
	ly_sha256("token", 5, sent.token);
	sum = (struct ly_lanes_sum){ .bytes = 1000, .lanes = 2, .root = { 9 } };
	fin = (struct ly_fin){ .mig = m.call.mig, .bytes = 1000, .seq = 77 };
	sealed = false;
	ly_keys_send(north.keys, &sent, on_sealed, NULL);
	while (!sealed)
		uv_run(&north.chip.loop, UV_RUN_ONCE);
}

static void
send_all(void)
{
	send_in(5);
}

static const char *
check(void)
{
	return ly_keys_check(south.keys, &fin, &sum, &why_said) == LY_OK ?
	    "" :
	    why_said.text;
}

TEST(what_was_sent_is_checked_before_anything_runs)
{
	send_all();
	WANT(fin.evidence.len);
	WANT_STR(check(), "");
	WANT_INT(ly_keys_token(south.keys, &m.call.mig,
		     part((const uint8_t *)"token", 5), &why_said),
	    LY_OK);
	WANT_INT(ly_keys_token(south.keys, &m.call.mig,
		     part((const uint8_t *)"tokem", 5), &why_said),
	    LY_REFUSED);
}

TEST(a_fin_that_lies_is_refused)
{
	send_all();
	sum.root[31] ^= 1;
	WANT_STR(check(),
	    "source: SENT: what came is not what was sent: the digests differ");
	sum.root[31] ^= 1;
	sum.bytes--;
	WANT_STR(check(),
	    "source: SENT: more bytes, or less, were sent than came");
	sum.bytes++;
	sum.lanes = 1;
	WANT_STR(check(),
	    "source: SENT: it was sent over another number of lanes");
	sum.lanes = 2;
	fin.seq++;
	WANT_STR(check(), "source: SENT: it says otherwise than FIN");
	fin.seq--;
	fin.mac[0] ^= 1;
	WANT_STR(check(), "source: FIN is not under the migration's key");
	fin.mac[0] ^= 1;
	fin_room[0][40] ^= 1;
	WANT_STR(check(), "source: FIN is not under the migration's key");
	fin_room[0][40] ^= 1;
	fin_room[1][20] ^= 1; /* in the quote */
	want_part(check(), "source: ");
	fin_room[1][20] ^= 1; /* in the quote */
	WANT_STR(check(), "");
	send_in(6);
	WANT_STR(check(), "source: SENT: it is of another epoch");
}

TEST(a_fin_signed_by_another_key_than_was_quoted_is_refused)
{
	uint8_t tagged[1024], signed_[LY_STATEMENT_MAX];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));
	struct ly_lanes_params p;
	struct ly_identity *other;
	size_t len = sizeof(signed_);

	send_all();
	enrol_as("other", "north", north.id, &north.chip.keys);
	other = site_load("other", "trust");
	ly_message_put_tagged(&ly_sent_message, &sent, &w);
	SITE_OK(ly_sign(other, LY_TYPE_SENT, tagged, ly_wr_len(&w), signed_,
	    &len, &why));
	SITE_OK(ly_keys_take(south.keys, &m.call.mig, &p, &why));
	fin.statement = part(signed_, len);
	ly_stream_fin_mac(p.keys, fin.statement, fin.mac);
	WANT_STR(check(),
	    "source: SENT: signed by another key than its TPM has quoted");
	ly_identity_free(other);
}

TEST(a_quote_over_another_statement_is_none_over_this)
{
	uint8_t first[LY_FIN_EVIDENCE_MAX];
	size_t len;

	send_all();
	WANT(fin.evidence.len <= sizeof(first));
	len = fin.evidence.len;
	memcpy(first, fin.evidence.at, len);
	send_all();
	fin.evidence = part(first, len);
	want_part(check(), "source: SENT: context: ");
	/* The first evidence of all is no quote over a statement either. */
	fin.evidence = part(m.source, m.source_len);
	want_part(check(), "source: SENT: ");
}

/* ---- the proof ---- */

static struct ly_move_proof proof;
static uint8_t proof_bytes[128 * 1024];
static size_t proof_len;
static enum ly_rc proof_rc;
static unsigned proofs;

static void
on_proof(void *arg, enum ly_rc rc, const char *text, struct ly_bytes data)
{
	(void)arg;
	(void)text;
	proofs++;
	proof_rc = rc;
	memcpy(proof_bytes, data.at, data.len);
	proof_len = data.len;
	if (rc == LY_OK)
		SITE_OK(ly_message_get(&ly_move_proof_message, proof_bytes,
		    proof_len, &proof, &why));
}

static void
destroy(void)
{
	unsigned before = proofs;

	ly_keys_destroy(north.keys, &m.call.mig, on_proof, NULL);
	while (proofs == before)
		uv_run(&north.chip.loop, UV_RUN_ONCE);
}

/* A quote over `statement`, of that type, is in `packed`. */
static void
want_quote_over(struct ly_bytes packed, struct ly_bytes statement,
    enum ly_quote_type type)
{
	struct ly_evidence ev;
	struct ly_context c;
	struct ly_quote_want want = { .type = type,
		.reset_count = north.chip.keys.resets,
		.restart_count = north.chip.keys.restarts };
	struct ly_tpm_key ak = chip_key(LY_TPM_AK, &north.chip.keys.ak);
	uint8_t over[32];

	want.ak = &ak;
	SITE_OK(ly_message_get(&ly_evidence_message, packed.at, packed.len, &ev,
	    &why));
	SITE_OK(ly_quote_check(&ev, &want, NULL, &why));
	SITE_OK(ly_evidence_context(&ev, &c, &why));
	ly_sha256(statement.at, statement.len, over);
	WANT_MEM(c.over, over, 32);
	WANT_MEM(c.nonce, m.call.nonce, 32);
}

TEST(a_migration_ends_with_a_proof_that_stays_the_same)
{
	struct ly_arrived a;
	struct ly_bytes arrived;
	struct ly_peer signer;
	const uint8_t *tagged;
	uint8_t first[sizeof(proof_bytes)];
	size_t len;

	send_all();
	WANT_STR(check(), "");
	a = (struct ly_arrived){ .vm = m.call.vm,
		.mig = m.call.mig,
		.epoch = 6,
		.bytes = 1000,
		.root = { 9 } };
	arrived = ly_keys_arrive(south.keys, &a);
	WANT(arrived.len);
	SITE_OK(ly_verify(manager, LY_TYPE_ARRIVED, arrived.at, arrived.len,
	    &tagged, &len, &signer, &why));
	SITE_OK(
	    ly_message_get_tagged(&ly_arrived_message, tagged, len, &a, &why));
	WANT_STR(signer.id, south.id);
	WANT_INT(a.seq, 77);
	ly_keys_arrived(north.keys, &m.call.mig, arrived);
	destroy();
	WANT_INT(proof_rc, LY_OK);
	WANT_MEM(proof.sent.at, fin.statement.at, fin.statement.len);
	WANT_INT(proof.arrived.len, arrived.len);
	WANT_MEM(proof.arrived.at, arrived.at, arrived.len);
	want_quote_over(proof.sent_evidence, proof.sent, LY_QUOTE_SENT);
	want_quote_over(proof.destroyed_evidence, proof.destroyed,
	    LY_QUOTE_DESTROYED);
	len = proof_len;
	memcpy(first, proof_bytes, len);
	destroy();
	WANT_INT(proof_len, len);
	WANT_MEM(proof_bytes, first, len);
}

TEST(a_word_of_arrival_that_is_not_the_destinations_is_not_in_the_proof)
{
	struct ly_arrived a;
	uint8_t tagged[512], signed_[LY_STATEMENT_MAX];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));
	size_t len = sizeof(signed_);

	send_all();
	a = (struct ly_arrived){ .vm = m.call.vm,
		.mig = m.call.mig,
		.bytes = 1000,
		.root = { 9 } };
	ly_message_put_tagged(&ly_arrived_message, &a, &w);
	SITE_OK(ly_sign(north.ids, LY_TYPE_ARRIVED, tagged, ly_wr_len(&w),
	    signed_, &len, &why));
	ly_keys_arrived(north.keys, &m.call.mig, part(signed_, len));
	a.root[0]++; /* it is his, but of something else */
	ly_keys_arrived(north.keys, &m.call.mig,
	    ly_keys_arrive(south.keys, &a));
	destroy();
	WANT_INT(proof.arrived.len, 0);
	WANT(proof.destroyed.len);
}

TEST(a_quote_that_is_made_after_is_in_the_proof_all_the_same)
{
	struct ly_keys_params p = { .loop = &north.chip.loop,
		.ids = north.ids,
		.chip = north.chip.chip,
		.fin_quote = LY_FIN_AFTER };

	begin();
	ly_keys_close(north.keys);
	SITE_OK(ly_keys_open(&p, &keys_ops, &north, &north.keys, &why));
	send_all();
	WANT_INT(fin.evidence.len, 0);
	WANT_STR(check(), "");
	destroy();
	want_quote_over(proof.sent_evidence, proof.sent, LY_QUOTE_SENT);
	agent_again(&north);
}

TEST(nothing_is_proved_of_a_migration_that_did_not_end_so)
{
	unlock_all();
	destroy(); /* nothing was sent */
	WANT_INT(proof_rc, LY_UNKNOWN);
	agent_again(&north);
	destroy();
	WANT_INT(proof_rc, LY_UNKNOWN);
}

TEST(the_hosts_are_switched_off)
{
	scene_off();
}

TEST_MAIN()
