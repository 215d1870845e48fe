/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key of a migration between two hosts with TPMs (swtpm): as it should be,
 * and with one thing wrong at a time. Whoever refuses says which side it is
 * about, and why.
 */
#include "tests/io/keys_scene.h"

/* What the manager holds of one migration. */
static struct move {
	struct ly_call call;
	uint8_t signed_[LY_STATEMENT_MAX];
	size_t signed_len;
	uint8_t source[LY_EVIDENCE_MAX], dest[LY_EVIDENCE_MAX];
	size_t source_len, dest_len;
	uint8_t blob[LY_SEALED_MAX], nonce[LY_NONCE_TPM_MAX], confirm[32];
	size_t blob_len, nonce_len;
} m;

static struct ly_bytes
part(const uint8_t *at, size_t len)
{
	return (struct ly_bytes){ at, len };
}

static void
sign_call(struct ly_identity *by)
{
	uint8_t tagged[2048];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));

	ly_message_put_tagged(&ly_call_message, &m.call, &w);
	WANT(!w.bad);
	m.signed_len = sizeof(m.signed_);
	SITE_OK(ly_sign(by, LY_TYPE_CALL, tagged, ly_wr_len(&w), m.signed_,
	    &m.signed_len, &why));
}

/* Another migration: nobody knows of it yet. */
static void
begin(void)
{
	static uint8_t turn;

	scene_on();
	memset(&m, 0, sizeof(m));
	turn++;
	m.call = (struct ly_call){ .vm = { { 7 } },
		.mig = { { turn } },
		.nonce = { turn, 1 },
		.epoch = 5,
		.lanes = 2,
		.not_before = ly_wall_s(),
		.expires = ly_wall_s() + 300 };
	ly_copy(m.call.source, sizeof(m.call.source), north.id);
	ly_copy(m.call.dest, sizeof(m.call.dest), south.id);
	ly_copy(m.call.home, sizeof(m.call.home), north.id);
	ly_tpm_authority_name(&south.pol.key, m.call.policy);
	ly_class_ref(CLASS, south.list.generation, m.call.ref);
	sign_call(manager);
}

/* What went wrong, or "". */
static const char *
told(struct host *h)
{
	struct reply *r = wait_for(h);

	WANT_INT(r->req, next_req);
	WANT((r->rc == LY_OK) == !*r->why);
	return r->why;
}

static struct ly_quote
quote_of(uint8_t role)
{
	return (struct ly_quote){ .req = ++next_req,
		.vm = m.call.vm,
		.mig = m.call.mig,
		.role = role,
		.call = part(m.signed_, m.signed_len) };
}

/* The host in `role`, with the evidence that `by` makes for it. */
static const char *
call_with(struct host *h, uint8_t role, struct host *by, const char *file)
{
	struct ly_quote q = quote_of(role);
	struct ly_context c = context_of(&m.call, role);
	bool source = role == LY_AS_SOURCE;

	h->reply.told = false;
	WANT(ly_keys_call(h->keys, &q, &m.call));
	ly_keys_quoted(h->keys, &m.call.mig, LY_OK, "",
	    evidence_of(by, c, file));
	told(h);
	memcpy(source ? m.source : m.dest, h->reply.data, h->reply.len);
	*(source ? &m.source_len : &m.dest_len) = h->reply.len;
	return h->reply.why;
}

static void
call_both(void)
{
	WANT_STR(call_with(&north, LY_AS_SOURCE, &north, "n1"), "");
	WANT_STR(call_with(&south, LY_AS_DEST, &south, "s1"), "");
}

static struct ly_keying
keying(struct ly_bytes evidence, struct ly_bytes blob)
{
	return (struct ly_keying){ .req = ++next_req,
		.origin = "north",
		.vm = m.call.vm,
		.mig = m.call.mig,
		.evidence = evidence,
		.blob = blob };
}

static const char *
key_for(struct ly_bytes evidence)
{
	struct ly_keying k = keying(evidence, part(NULL, 0));

	north.reply.told = false;
	ly_keys_key(north.keys, &k);
	told(&north);
	memcpy(m.blob, north.reply.data,
	    ly_min(north.reply.len, sizeof(m.blob)));
	m.blob_len = north.reply.len;
	return north.reply.why;
}

static const char *
key(void)
{
	return key_for(part(m.dest, m.dest_len));
}

static const char *
import_of(struct ly_bytes evidence)
{
	struct ly_keying k = keying(evidence, part(m.blob, m.blob_len));

	south.reply.told = false;
	ly_keys_import(south.keys, &k);
	told(&south);
	memcpy(m.nonce, south.reply.data,
	    ly_min(south.reply.len, sizeof(m.nonce)));
	m.nonce_len = south.reply.len;
	return south.reply.why;
}

static const char *
import(void)
{
	return import_of(part(m.source, m.source_len));
}

/* The leave of who has FILE.key, for the session whose nonce is in `m`. */
static void
release(const char *file, uint8_t sig[LY_SIG_RAW])
{
	uint8_t ref[32], msg[LY_RELEASE_SIGNED_MAX], secret[32] = { 0 };
	FILE *f = fopen(site_path("%s.key", file), "r");
	EVP_PKEY *pkey = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	BIGNUM *d = NULL;
	size_t len;

	fclose(f);
	WANT(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &d) == 1);
	WANT(BN_bn2binpad(d, secret, sizeof(secret)) == 32);
	ly_release_ref(&m.call.mig, m.call.nonce, m.call.dest,
	    south.chip.keys.sk.name, ref);
	SITE_OK(ly_release_signed(part(m.nonce, m.nonce_len), ref, msg, &len,
	    &why));
	SITE_OK(ly_ecdsa_sign(secret, msg, len, sig));
	BN_free(d);
	EVP_PKEY_free(pkey);
}

static const char *
unlock_with(const uint8_t sig[LY_SIG_RAW])
{
	struct ly_keying k = keying(part(NULL, 0), part(sig, LY_SIG_RAW));

	south.reply.told = false;
	ly_keys_unlock(south.keys, &k);
	told(&south);
	if (south.reply.len == sizeof(m.confirm))
		memcpy(m.confirm, south.reply.data, sizeof(m.confirm));
	return south.reply.why;
}

static const char *
unlock(void)
{
	uint8_t sig[LY_SIG_RAW];

	release("m", sig);
	return unlock_with(sig);
}

static struct ly_copy
copy(void)
{
	struct ly_copy c = { .vm = m.call.vm,
		.mig = m.call.mig,
		.lanes = m.call.lanes };

	ly_copy(c.dest, sizeof(c.dest), m.call.dest);
	memcpy(c.confirm, m.confirm, sizeof(c.confirm));
	return c;
}

static void
want_part(const char *is, const char *part_)
{
	if (!strstr(is, part_))
		test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", is,
		    part_);
}

/* ---- as it should be ---- */

static struct ly_why why_said;

TEST(a_key_goes_from_the_source_through_the_destinations_tpm)
{
	struct ly_lanes_params a, b;
	struct ly_copy c;
	struct ly_why said;
	uint8_t psk[2][LY_PSK_LEN];

	begin();
	call_both();
	WANT_STR(key(), "");
	WANT_STR(import(), "");
	WANT_STR(unlock(), "");
	c = copy();
	SITE_OK(ly_keys_copy(north.keys, &c, &a, &why));
	SITE_OK(ly_keys_take(south.keys, &m.call.mig, &b, &why));
	WANT_STR(a.peer->id, south.id);
	WANT_STR(b.peer->id, north.id);
	ly_stream_psk(a.keys, 1, 0, psk[0]);
	ly_stream_psk(b.keys, 1, 0, psk[1]);
	WANT_MEM(psk[0], psk[1], LY_PSK_LEN);
	ly_keys_end(north.keys, &m.call.mig, "done");
	WANT_INT(ly_keys_copy(north.keys, &c, &a, &said), LY_REFUSED);
	WANT_STR(said.text, "done");
}

TEST(a_request_asked_again_is_answered_alike)
{
	uint8_t first[LY_SEALED_MAX], sig[LY_SIG_RAW];
	size_t len;
	struct ly_quote q;

	begin();
	call_both();
	WANT_STR(key(), "");
	len = m.blob_len;
	memcpy(first, m.blob, len);
	WANT_STR(key(), "");
	WANT_INT(m.blob_len, len);
	WANT_MEM(m.blob, first, len);
	WANT_STR(import(), "");
	len = m.nonce_len;
	memcpy(first, m.nonce, len);
	WANT_STR(import(), "");
	WANT_INT(m.nonce_len, len);
	WANT_MEM(m.nonce, first, len);
	release("m", sig);
	WANT_STR(unlock_with(sig), "");
	memcpy(first, m.confirm, sizeof(m.confirm));
	WANT_STR(unlock_with(sig), "");
	WANT_MEM(m.confirm, first, sizeof(m.confirm));
	q = quote_of(LY_AS_DEST);
	south.reply.told = false;
	WANT(!ly_keys_call(south.keys, &q, &m.call));
	WANT_STR(told(&south), "");
	WANT_INT(south.reply.len, m.dest_len);
	WANT_MEM(south.reply.data, m.dest, m.dest_len);
}

/* ---- what the source refuses ---- */

TEST(a_destination_in_a_state_that_is_not_approved_gets_no_key)
{
	begin();
	chip_extend(&south.chip, 11);
	call_both();
	want_part(key(), "destination: ");
	want_part(north.reply.why, "PCR 11 differs");
	WANT_INT(m.blob_len, 0);
	approve(&south, 1);
}

TEST(evidence_of_the_source_itself_is_none_of_the_destination)
{
	begin();
	call_both();
	WANT_STR(key_for(part(m.source, m.source_len)),
	    "destination: its evidence was made as source");
	WANT_STR(import_of(part(m.dest, m.dest_len)),
	    "source: its evidence was made as destination");
}

TEST(a_quote_made_in_another_role_is_none)
{
	struct ly_context c;

	begin();
	call_both();
	c = context_of(&m.call, LY_AS_HOME);
	WANT_STR(key_for(evidence_of(&south, c, "s1")),
	    "destination: its evidence was made as home");
}

/* `packed` with the certificate in FILE.pem. */
static struct ly_bytes
with_papers(struct ly_bytes packed, const char *file)
{
	static uint8_t out[LY_EVIDENCE_MAX];
	struct ly_wr w = ly_wr_over(out, sizeof(out));
	struct ly_evidence ev;
	uint8_t *pem = NULL;
	size_t len = 0;

	SITE_OK(ly_message_get(&ly_evidence_message, packed.at, packed.len, &ev,
	    &why));
	SITE_OK(
	    ly_file_read(site_path("%s.pem", file), 65536, &pem, &len, &why));
	ev.certificate = part(pem, len);
	ly_message_put(&ly_evidence_message, &ev, &w);
	free(pem);
	return part(out, ly_wr_len(&w));
}

TEST(evidence_of_a_good_host_does_not_pass_through_a_bad_one)
{
	begin();
	call_both();
	/* The bad one has another TLS key, with all else as it should be. */
	enrol_as("relay", "south", south.id, &south.chip.keys);
	want_part(key_for(with_papers(part(m.dest, m.dest_len), "relay")),
	    "destination: context: the quote is over another hk");
	/* And a name of its own. */
	begin();
	enrol_as("bad", "south", "spiffe://south/host/bad", &south.chip.keys);
	ly_copy(m.call.dest, sizeof(m.call.dest), "spiffe://south/host/bad");
	sign_call(manager);
	WANT_STR(call_with(&north, LY_AS_SOURCE, &north, "n1"), "");
	want_part(key_for(evidence_of(&south, context_of(&m.call, LY_AS_DEST),
		      "bad")),
	    "destination: the evidence is of spiffe://south/host/s1, the call"
	    " is to spiffe://south/host/bad");
}

TEST(a_quote_by_the_tpm_of_another_host_is_refused)
{
	struct ly_context c;

	begin();
	call_both();
	c = context_of(&m.call, LY_AS_DEST);
	ly_copy(c.self, sizeof(c.self), south.id);
	want_part(key_for(evidence_of(&north, c, "s1")),
	    "destination: keys: its AK is not that of its certificate");
}

TEST(a_host_that_is_not_enrolled_gets_no_key)
{
	begin();
	site_certify("bare", "south", south.id);
	WANT_STR(call_with(&north, LY_AS_SOURCE, &north, "n1"), "");
	WANT_STR(key_for(evidence_of(&south, context_of(&m.call, LY_AS_DEST),
		     "bare")),
	    "destination: not enrolled: its certificate says of no TPM");
}

TEST(a_host_of_which_no_approved_states_are_known_gets_no_key)
{
	unsigned n;

	begin();
	call_both();
	n = south.list.n;
	south.list.n = 0;
	want_part(key(), "destination: ");
	south.list.n = n;
}

TEST(a_call_made_for_states_that_were_withdrawn_gives_no_key)
{
	begin();
	approve(&south, 2);
	call_both();
	WANT_STR(key(),
	    "destination: the call was not made for class compute in"
	    " generation 2 of the approved states of site south");
	begin();
	m.call.policy[33] ^= 1;
	sign_call(manager);
	call_both();
	WANT_STR(key(),
	    "destination: the call names another policy key than that of site"
	    " south");
}

TEST(what_is_no_evidence_gives_no_key)
{
	begin();
	call_both();
	want_part(key_for(part((const uint8_t *)"nonsense", 8)), "evidence: ");
	WANT_STR(key(), ""); /* it was no word of the destination's */
}

TEST(the_manager_of_another_site_has_no_say)
{
	struct ly_keying k;

	begin();
	call_both();
	k = keying(part(m.dest, m.dest_len), part(NULL, 0));
	ly_copy(k.origin, sizeof(k.origin), "south");
	north.reply.told = false;
	ly_keys_key(north.keys, &k);
	WANT_STR(told(&north), "not a VM of that site");
	WANT(ly_keys_of_site(north.keys, &m.call.mig, "north"));
	WANT(!ly_keys_of_site(north.keys, &m.call.mig, "south"));
	WANT_STR(key(), "");
}

/* ---- what the destination refuses ---- */

TEST(a_destination_takes_no_key_of_a_source_that_is_not_approved)
{
	begin();
	chip_extend(&north.chip, 11);
	call_both();
	WANT_STR(key(), "");
	want_part(import(), "source: ");
	want_part(south.reply.why, "PCR 11 differs");
	approve(&north, 1);
}

/* A blob of the same policy, for the TPM of `to`. */
static void
forge_blob(struct host *to, const uint8_t sk_name[LY_TPM_NAME])
{
	struct ly_tpm_key sk = chip_key(LY_TPM_SK, &to->chip.keys.sk);
	struct ly_bytes der = ly_signed_by(part(m.signed_, m.signed_len));
	uint8_t chance[LY_BLOB_CHANCE], ref[32], name[LY_TPM_NAME];
	struct ly_wr w = ly_wr_over(m.blob, sizeof(m.blob));
	struct ly_cert_key key;
	struct ly_blob_room room;
	struct ly_key_blob blob;
	struct ly_policy policy;

	SITE_OK(ly_cert_key(der.at, der.len, &key, &why));
	ly_tpm_authority_name(&key.point, name);
	ly_release_ref(&m.call.mig, m.call.nonce, m.call.dest, sk_name, ref);
	ly_policy_of_key(m.call.policy, m.call.ref, name, ref, &policy);
	ly_random(chance, sizeof(chance));
	SITE_OK(ly_blob_make(&sk, &policy, "0123456789abcdef0123456789abcdef",
	    32, chance, &room, &blob, &why));
	ly_message_put(&ly_key_blob_message, &blob, &w);
	m.blob_len = ly_wr_len(&w);
}

TEST(a_key_sealed_for_another_tpm_is_refused)
{
	begin();
	call_both();
	forge_blob(&north, north.chip.keys.sk.name);
	want_part(import(), "source: the key it has made: ");
	begin();
	call_both();
	forge_blob(&north, south.chip.keys.sk.name);
	want_part(import(), "destination: the host's TPM");
}

TEST(a_state_that_changes_before_the_leave_keeps_the_key_closed)
{
	begin();
	call_both();
	WANT_STR(key(), "");
	WANT_STR(import(), "");
	chip_extend(&south.chip, 11);
	want_part(unlock(), "destination: the host's TPM");
	want_part(south.reply.why, "PCR");
	want_part(unlock(), "destination: the host's TPM"); /* for good */
	approve(&south, 2);
}

TEST(a_leave_of_another_manager_opens_nothing)
{
	uint8_t sig[LY_SIG_RAW];

	begin();
	call_both();
	WANT_STR(key(), "");
	WANT_STR(import(), "");
	release("m2", sig);
	want_part(unlock_with(sig), "destination: the host's TPM");
}

TEST(a_leave_for_one_session_opens_no_other)
{
	uint8_t sig[LY_SIG_RAW];

	begin();
	call_both();
	WANT_STR(key(), "");
	WANT_STR(import(), "");
	release("m", sig);
	agent_again(&south);
	WANT_STR(call_with(&south, LY_AS_DEST, &south, "s1"), "");
	WANT_STR(import(), "");
	want_part(unlock_with(sig), "destination: the host's TPM");
}

TEST(a_leave_that_is_no_signature_is_refused)
{
	struct ly_keying k;

	begin();
	call_both();
	WANT_STR(key(), "");
	WANT_STR(import(), "");
	k = keying(part(NULL, 0), part(m.blob, 7));
	south.reply.told = false;
	ly_keys_unlock(south.keys, &k);
	WANT_STR(told(&south), "manager: its leave is no signature");
}

/* ---- between the key and the stream ---- */

static void
unlock_all(void)
{
	begin();
	call_both();
	WANT_STR(key(), "");
	WANT_STR(import(), "");
	WANT_STR(unlock(), "");
}

TEST(a_copy_without_the_destinations_proof_ends_the_key)
{
	struct ly_lanes_params p;
	struct ly_copy c;

	unlock_all();
	c = copy();
	c.lanes++;
	WANT_INT(ly_keys_copy(north.keys, &c, &p, &why_said), LY_REFUSED);
	want_part(why_said.text, "of another VM, destination or number");
	c.lanes--;
	c.confirm[31] ^= 1;
	WANT_INT(ly_keys_copy(north.keys, &c, &p, &why_said), LY_REFUSED);
	WANT_STR(why_said.text,
	    "destination: it has not proved that it has the key");
	c.confirm[31] ^= 1;
	WANT_INT(ly_keys_copy(north.keys, &c, &p, &why_said), LY_REFUSED);
}

TEST(an_agent_that_was_started_again_has_no_key)
{
	struct ly_lanes_params p;
	struct ly_copy c;

	unlock_all();
	c = copy();
	agent_again(&north);
	agent_again(&south);
	WANT_INT(ly_keys_copy(north.keys, &c, &p, &why_said), LY_REFUSED);
	want_part(why_said.text, "is gone");
	WANT_INT(ly_keys_take(south.keys, &m.call.mig, &p, &why_said),
	    LY_REFUSED);
	want_part(key(), "is gone");
	want_part(import(), "is gone");
	WANT(!ly_keys_has(north.keys, &m.call.mig));
}

TEST(what_waits_is_answered_when_the_migration_ends)
{
	struct ly_keying k;

	begin();
	call_both();
	k = keying(part(m.dest, m.dest_len), part(NULL, 0));
	north.reply.told = false;
	ly_keys_key(north.keys, &k);
	WANT(!north.reply.told);
	ly_keys_end(north.keys, &m.call.mig, "the VM is gone");
	WANT_STR(told(&north), "the VM is gone");
	north.reply.told = false;
	for (unsigned i = 0; i < 50; i++) {
		uv_run(&north.chip.loop, UV_RUN_NOWAIT);
		usleep(2000);
	}
	WANT(!north.reply.told); /* the TPM's answer came, and was dropped */
	want_part(key(), "the VM is gone");
}

/* ---- what is said at the end ---- */

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
send_all(void)
{
	struct ly_lanes_params p;
	struct ly_copy c;

	unlock_all();
	c = copy();
	SITE_OK(ly_keys_copy(north.keys, &c, &p, &why));
	SITE_OK(ly_keys_take(south.keys, &m.call.mig, &p, &why));
	sent = (struct ly_sent){ .vm = m.call.vm,
		.mig = m.call.mig,
		.epoch = m.call.epoch,
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
	scene_off();
}

TEST_MAIN()
