/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key of a migration between two hosts with TPMs (swtpm): as it should be,
 * and with one thing wrong at a time. Whoever refuses says which side it is
 * about, and why.
 */
#include "tests/io/keys_move.h"

/* ---- as it should be ---- */

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

TEST(papers_of_another_host_do_not_make_a_host_fit)
{
	struct ly_context c;

	begin();
	call_both();
	enrol_as("bad", "south", "spiffe://south/host/bad", &south.chip.keys);
	c = context_of(&m.call, LY_AS_DEST);
	ly_copy(c.self, sizeof(c.self), south.id);
	WANT_STR(key_for(evidence_of(&south, c, "bad")),
	    "destination: the certificate with it is of"
	    " spiffe://south/host/bad");
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

/* Mappings that are locked, not dumped and not in a child. */
static unsigned
secrets(void)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	unsigned n = 0;

	WANT(f);
	while (fgets(line, sizeof(line), f))
		n += strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " lo") &&
		    strstr(line, " dd") && strstr(line, " dc");
	fclose(f);
	return n;
}

TEST(at_an_end_the_key_is_in_no_memory_and_no_tpm)
{
	struct chip_reply r = { .told = 0 };
	const uint8_t none[LY_SIG_RAW] = { 0 };
	unsigned before;

	scene_on();
	agent_again(&north);
	agent_again(&south);
	before = secrets();
	unlock_all();
	WANT(secrets() > before);
	ly_keys_end(north.keys, &m.call.mig, "over");
	ly_keys_end(south.keys, &m.call.mig, "over");
	WANT_INT(secrets(), before);
	begin();
	call_both();
	WANT_STR(key(), "");
	WANT_STR(import(), "");
	ly_keys_end(south.keys, &m.call.mig, "over");
	ly_chip_import_unseal(south.chip.chip, &m.call.mig, &south.pol.key,
	    none, 60, none, chip_told, &r);
	chip_want(&south.chip, &r, LY_UNKNOWN, "");
}

TEST(the_hosts_are_switched_off)
{
	scene_off();
}

TEST_MAIN()
