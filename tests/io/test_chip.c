/* SPDX-License-Identifier: Apache-2.0 */
/* agent/io/chip on a TPM: swtpm, which has three slots for objects and for
 * sessions, and one connection, as the least of chips. */
#include "agent/io/vault_tpm.h"
#include "lib/crypt/cert.h"
#include "tests/io/agent_chip.h"

#include <pthread.h>

#define INDEX 0x1801c79
#define MASK LY_SEALED_PCRS

static const uint8_t qualify[32] = { 7, 7, 7 };

/* ---- keys ---- */

TEST(the_keys_are_made_once_and_found_again)
{
	struct chip_host h;
	struct ly_chip_keys first;

	chip_power_on(&h);
	chip_ready(&h);
	first = h.keys;
	chip_agent_off(&h);
	chip_agent_on(&h);
	chip_ready(&h);
	WANT_MEM(&h.keys, &first, sizeof(first));
	WANT(!chip_key(LY_TPM_EK, &first.ek).rsa);
	chip_key(LY_TPM_AK, &first.ak);
	chip_key(LY_TPM_SK, &first.sk);
	WANT_INT(first.cert_len, 0);
	chip_power_off(&h);
}

TEST(nothing_is_left_in_the_TPM_but_the_keys)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 };

	chip_power_on(&h);
	chip_ready(&h);
	ly_chip_quote(h.chip, qualify, MASK, chip_told, &r);
	chip_want(&h, &r, LY_OK, "");
	chip_agent_off(&h);
	chip_tools(&h,
	    "test -z \"$(tpm2_getcap handles-transient)\" &&"
	    " test -z \"$(tpm2_getcap handles-loaded-session)\" &&"
	    " test $(tpm2_getcap handles-persistent | wc -l) = 3");
	chip_agent_on(&h);
	chip_power_off(&h);
}

TEST(another_key_where_ours_belongs_is_refused_with_its_handle)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 };

	chip_power_on(&h);
	chip_agent_off(&h);
	chip_tools(&h,
	    "cd %s && tpm2_createprimary -C o -c other &&"
	    " tpm2_evictcontrol -C o -c other 0x81010010 && tpm2_flushcontext"
	    " -t",
	    h.proc.dir);
	chip_agent_on(&h);
	ly_chip_ready(h.chip, chip_told, &r);
	chip_want(&h, &r, LY_REFUSED, "0x81010010");
	r.told = 0;
	ly_chip_quote(h.chip, qualify, MASK, chip_told, &r);
	chip_want(&h, &r, LY_REFUSED, "AK");
	chip_power_off(&h);
}

/* A maker's certificate chooses the kind of the EK. */
TEST(the_certificate_is_read_and_chooses_the_kind_of_the_EK)
{
	struct chip_host h;

	chip_power_on(&h);
	chip_agent_off(&h);
	chip_tools(&h,
	    "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout k"
	    " -subj /CN=ek -outform DER -out c &&"
	    " { cat c; printf '\\377\\377\\377'; } >room &&"
	    " tpm2_nvdefine 0x1c00002 -C o -s $(stat -c %%s room) -a"
	    " 'ownerwrite|ownerread|authread|no_da' &&"
	    " tpm2_nvwrite 0x1c00002 -C o -i room",
	    h.proc.dir);
	chip_agent_on(&h);
	chip_ready(&h);
	WANT(chip_key(LY_TPM_EK, &h.keys.ek).rsa);
	WANT(h.keys.cert_len > 500);
	chip_agent_off(&h);
	SITE_OK(ly_file_write(site_path("cert"), h.keys.cert, h.keys.cert_len,
	    0600, &why));
	chip_tools(&h, "cmp %s/c %s", h.proc.dir, site_path("cert"));
	chip_agent_on(&h);
	chip_power_off(&h);
}

static bool
made_by_swtpm_setup(struct swtpm_proc *p)
{
	char cmd[700];

	snprintf(cmd, sizeof(cmd),
	    "d=%s; cat >$d/opt <<END\n"
	    "--platform-manufacturer x\n--platform-version 1\n--platform-model"
	    " x\nEND\n"
	    "printf 'statedir = %%s\\nsigningkey = %%s/k.pem\\nissuercert ="
	    " %%s/ca.pem\\ncertserial = %%s/s\\n' $d $d $d $d >$d/conf;"
	    "printf 'create_certs_tool = /usr/bin/swtpm_localca\\n"
	    "create_certs_tool_config = %%s/conf\\n"
	    "create_certs_tool_options = %%s/opt\\n' $d $d >$d/setup;"
	    "swtpm_setup --tpm2 --tpmstate $d --create-ek-cert --overwrite"
	    " --config $d/setup >$d/log 2>&1 || { cat $d/log; false; }",
	    p->dir);
	return system(cmd) == 0;
}

TEST(a_TPM_as_swtpm_setup_makes_it_has_a_certified_EK)
{
	struct chip_host h;
	struct ly_cert_key cert;
	struct ly_tpm_key ek;

	chip_power_on(&h);
	chip_agent_off(&h);
	proc_end(h.proc.pid);
	if (!made_by_swtpm_setup(&h.proc))
		test_fail(__FILE__, __LINE__, "swtpm_setup failed");
	WANT(swtpm_proc_again(&h.proc));
	chip_tools(&h, "tpm2_startup -c");
	chip_agent_on(&h);
	chip_ready(&h);
	SITE_OK(ly_cert_key(h.keys.cert, h.keys.cert_len, &cert, &why));
	ek = chip_key(LY_TPM_EK, &h.keys.ek);
	WANT(cert.rsa && ek.rsa);
	WANT_MEM(cert.modulus, ek.modulus, LY_RSA_SIZE);
	chip_power_off(&h);
}

/* ---- quotes ---- */

static struct ly_evidence
evidence_of(const struct chip_host *h, const struct ly_chip_attested *s)
{
	struct ly_evidence ev = {
		.quote = { .at = s->attest, .len = s->attest_len },
		.pcr_mask = s->mask,
		.pcrs = { .at = s->pcr[0], .len = s->pcrs_n * 32 },
		.ak = { .at = h->keys.ak.pub, .len = h->keys.ak.pub_len },
		.sk = { .at = h->keys.sk.pub, .len = h->keys.sk.pub_len },
	};

	memcpy(ev.signature, s->sig, LY_SIG_RAW);
	return ev;
}

TEST(a_quote_is_of_the_values_that_come_with_it)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 };
	struct ly_context c = { .role = LY_QUOTE_SOURCE };
	uint8_t room[LY_CONTEXT_MAX], over[32];
	struct ly_attest attest;
	struct ly_evidence ev;
	struct ly_bytes tagged;
	struct ly_tpm_key ak;

	chip_power_on(&h);
	chip_ready(&h);
	chip_extend(&h, 7);
	ly_qualify_context(&c, room, &tagged, over);
	ly_chip_quote(h.chip, over, MASK, chip_told, &r);
	chip_want(&h, &r, LY_OK, "");
	WANT_INT(r.said.pcrs_n, __builtin_popcount(MASK));
	ak = chip_key(LY_TPM_AK, &h.keys.ak);
	ev = evidence_of(&h, &r.said);
	ev.context = tagged;
	SITE_OK(ly_quote_check(&ev,
	    &(struct ly_quote_want){ .type = LY_QUOTE_SOURCE,
		.ak = &ak,
		.pcr_mask = MASK,
		.reset_count = h.keys.resets,
		.restart_count = h.keys.restarts },
	    &attest, &why));
	r.said.pcr[0][0] ^= 1;
	WANT(ly_quote_check(&ev,
		 &(struct ly_quote_want){ .type = LY_QUOTE_SOURCE,
		     .ak = &ak,
		     .pcr_mask = MASK,
		     .any_boot = true },
		 &attest, NULL) != LY_OK);
	chip_power_off(&h);
}

TEST(all_PCRs_can_be_quoted)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 };

	chip_power_on(&h);
	ly_chip_quote(h.chip, qualify, 0xffffff, chip_told, &r);
	chip_want(&h, &r, LY_OK, "");
	WANT_INT(r.said.pcrs_n, 24);
	WANT_INT(r.said.pcr[16][0], 0);
	WANT_INT(r.said.pcr[17][0], 0xff);
	WANT_INT(r.said.pcr[23][0], 0);
	chip_power_off(&h);
}

struct extender {
	struct chip_host *h;
	volatile bool stop;
};

static void *
extend_on(void *arg)
{
	struct extender *e = arg;

	while (!e->stop)
		chip_extend(e->h, 7);
	return NULL;
}

/* Whoever is urgent gets in between two steps; so the values read are not those
 * quoted, and the job sees that. */
TEST(PCRs_that_do_not_stand_still_are_not_quoted_wrongly)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 };
	struct extender e = { .h = &h };
	pthread_t other;

	chip_power_on(&h);
	chip_ready(&h);
	WANT_INT(pthread_create(&other, NULL, extend_on, &e), 0);
	/* On a busy machine the other thread is not always there in time. */
	for (unsigned i = 0; i < 100; i++) {
		r.told = 0;
		ly_chip_quote(h.chip, qualify, 0xffffff, chip_told, &r);
		chip_wait(&h, &r);
		if (r.rc == LY_BUSY)
			break;
		WANT_INT(r.rc, LY_OK);
	}
	e.stop = true;
	pthread_join(other, NULL);
	WANT_INT(r.rc, LY_BUSY);
	WANT(strstr(r.why, "do not stand still"));
	r.told = 0;
	ly_chip_quote(h.chip, qualify, 0xffffff, chip_told, &r);
	chip_want(&h, &r, LY_OK, "");
	chip_power_off(&h);
}

TEST(the_attestation_key_certifies_the_storage_key)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 };
	struct ly_context c = { .role = LY_QUOTE_ENROL_CERTIFY };
	uint8_t room[LY_CONTEXT_MAX], over[32];
	struct ly_enrol_keys keys;
	struct ly_tpm_key ak, sk;
	struct ly_attest attest;

	chip_power_on(&h);
	chip_ready(&h);
	ak = chip_key(LY_TPM_AK, &h.keys.ak);
	sk = chip_key(LY_TPM_SK, &h.keys.sk);
	memcpy(c.sk_name, sk.name, LY_TPM_NAME);
	keys = (struct ly_enrol_keys){ .ak = ak.area, .sk = sk.area };
	ly_qualify_context(&c, room, &keys.context, over);
	ly_chip_certify(h.chip, over, chip_told, &r);
	chip_want(&h, &r, LY_OK, "");
	keys.certify = (struct ly_bytes){ .at = r.said.attest,
		.len = r.said.attest_len };
	memcpy(keys.certify_signature, r.said.sig, LY_SIG_RAW);
	SITE_OK(ly_certify_check(&keys, &ak, &sk, &attest, &why));
	chip_power_off(&h);
}

/* ---- secrets ---- */

TEST(a_credential_opens_in_the_TPM_it_was_made_for_alone)
{
	static const uint8_t secret[32] = { 1, 2, 3, 4 };
	struct chip_host a, b;
	struct chip_reply r = { .told = 0 };
	struct ly_credential_room room;
	struct ly_enrol_dare dare;
	struct ly_tpm_key ek;
	uint8_t chance[LY_BLOB_CHANCE];

	chip_power_on(&a);
	chip_power_on(&b);
	chip_ready(&a);
	ek = chip_key(LY_TPM_EK, &a.keys.ek);
	ly_random(chance, sizeof(chance));
	SITE_OK(ly_credential_make(&ek, a.keys.ak.name, secret, sizeof(secret),
	    chance, &room, &dare, &why));
	ly_chip_activate(a.chip, &dare, chip_told, &r);
	chip_want(&a, &r, LY_OK, "");
	WANT_INT(r.bytes_len, sizeof(secret));
	WANT_MEM(r.bytes, secret, sizeof(secret));
	r.told = 0;
	ly_chip_activate(b.chip, &dare, chip_told, &r);
	chip_want(&b, &r, LY_REFUSED, "another TPM");
	r.told = 0;
	dare.secret.len--;
	ly_chip_activate(a.chip, &dare, chip_told, &r);
	chip_want(&a, &r, LY_REFUSED, "not a credential");
	chip_power_off(&a);
	chip_power_off(&b);
}

TEST(the_TPM_says_random_bytes)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 }, s = { .told = 0 };

	chip_power_on(&h);
	ly_chip_random(h.chip, 64, chip_told, &r);
	ly_chip_random(h.chip, 64, chip_told, &s);
	chip_want(&h, &r, LY_OK, "");
	while (!s.told)
		uv_run(&h.loop, UV_RUN_ONCE);
	WANT_INT(r.bytes_len, 64);
	WANT(memcmp(r.bytes, s.bytes, 64) != 0);
	chip_power_off(&h);
}

/* ---- imports ---- */

static const uint8_t k_pol[32] = { 1, 1 }, k_mgr[32] = { 2, 2 },
		     k_other[32] = { 3, 3 };

/* A key sealed for `h` in the state it is in now. */
struct sealed {
	struct ly_chip_import in;
	struct ly_blob_room room;
	uint8_t key[32], ref[32];
};

static void
seal_for(struct chip_host *h, uint8_t mig, const uint8_t signer[32],
    struct sealed *s)
{
	struct chip_reply r = { .told = 0 };
	struct ly_policy state, policy;
	struct ly_tpm_key sk = chip_key(LY_TPM_SK, &h->keys.sk);
	uint8_t digest[32], chance[LY_BLOB_CHANCE], over[LY_APPROVAL_SIGNED];
	uint8_t pol[LY_TPM_NAME], mgr[LY_TPM_NAME];
	struct ly_point manager;

	memset(s, 0, sizeof(*s));
	s->in.mig = (struct ly_id){ { mig } };
	s->in.mask = MASK;
	WANT_INT(ly_point_of(k_pol, &s->in.policy_key), LY_OK);
	WANT_INT(ly_point_of(k_mgr, &manager), LY_OK);
	ly_class_ref("compute", 1, s->in.ref);
	ly_release_ref(&s->in.mig, qualify, "spiffe://south/host/s1", sk.name,
	    s->ref);

	ly_chip_quote(h->chip, qualify, MASK, chip_told, &r);
	chip_want(h, &r, LY_OK, "");
	ly_pcr_digest((struct ly_bytes){ .at = r.said.pcr[0],
			  .len = r.said.pcrs_n * 32 },
	    digest);
	ly_policy_start(&state);
	ly_policy_pcr(&state, MASK, digest);
	memcpy(s->in.approved, state.digest, 32);
	ly_approval_signed(&state, s->in.ref, over);
	WANT_INT(ly_ecdsa_sign(signer, over, sizeof(over), s->in.approval),
	    LY_OK);

	ly_tpm_authority_name(&s->in.policy_key, pol);
	ly_tpm_authority_name(&manager, mgr);
	ly_policy_of_key(pol, s->in.ref, mgr, s->ref, &policy);
	ly_random(s->key, sizeof(s->key));
	ly_random(chance, sizeof(chance));
	SITE_OK(ly_blob_make(&sk, &policy, s->key, sizeof(s->key), chance,
	    &s->room, &s->in.blob, &why));
}

struct release {
	struct ly_point manager;
	uint8_t sig[LY_SIG_RAW];
	uint32_t expires_s;
};

static void
sign_release(const struct sealed *s, const struct chip_reply *nonce,
    const uint8_t signer[32], struct release *out)
{
	uint8_t over[LY_RELEASE_SIGNED_MAX];
	size_t len;

	SITE_OK(ly_release_signed((struct ly_bytes){ .at = nonce->bytes,
				      .len = nonce->bytes_len },
	    s->ref, over, &len, &why));
	WANT_INT(ly_ecdsa_sign(signer, over, len, out->sig), LY_OK);
	WANT_INT(ly_point_of(signer, &out->manager), LY_OK);
	out->expires_s = LY_RELEASE_S;
}

static struct chip_reply
open_import(struct chip_host *h, const struct sealed *s, enum ly_rc rc,
    const char *part)
{
	struct chip_reply r = { .told = 0 };

	ly_chip_import_open(h->chip, &s->in, chip_told, &r);
	chip_want(h, &r, rc, part);
	return r;
}

static struct chip_reply
unseal_import(struct chip_host *h, const struct sealed *s,
    const struct release *rel, enum ly_rc rc, const char *part)
{
	struct chip_reply r = { .told = 0 };

	ly_chip_import_unseal(h->chip, &s->in.mig, &rel->manager, s->ref,
	    rel->expires_s, rel->sig, chip_told, &r);
	chip_want(h, &r, rc, part);
	return r;
}

static void
host_ready(struct chip_host *h)
{
	chip_power_on(h);
	chip_ready(h);
}

TEST(a_key_sealed_for_this_state_is_opened_by_the_managers_release)
{
	struct chip_host h;
	struct chip_reply r;
	struct release rel;
	struct sealed s;

	host_ready(&h);
	seal_for(&h, 1, k_pol, &s);
	r = open_import(&h, &s, LY_OK, "");
	WANT(r.bytes_len >= 16);
	sign_release(&s, &r, k_mgr, &rel);
	r = unseal_import(&h, &s, &rel, LY_OK, "");
	WANT_INT(r.bytes_len, 32);
	WANT_MEM(r.bytes, s.key, 32);
	unseal_import(&h, &s, &rel, LY_UNKNOWN, "no such key");
	chip_agent_off(&h);
	chip_tools(&h,
	    "test -z \"$(tpm2_getcap handles-transient)\" &&"
	    " test -z \"$(tpm2_getcap handles-loaded-session)\"");
	chip_agent_on(&h);
	chip_power_off(&h);
}

TEST(a_PCR_extended_between_approval_and_opening_is_found)
{
	struct chip_host h;
	struct chip_reply r;
	struct release rel;
	struct sealed s;

	host_ready(&h);
	seal_for(&h, 1, k_pol, &s);
	r = open_import(&h, &s, LY_OK, "");
	sign_release(&s, &r, k_mgr, &rel);
	chip_extend(&h, 7);
	unseal_import(&h, &s, &rel, LY_REFUSED, "a PCR has changed");
	chip_power_off(&h);
}

TEST(a_state_that_is_not_the_approved_one_is_refused)
{
	struct chip_host h;
	struct sealed s;

	host_ready(&h);
	seal_for(&h, 1, k_pol, &s);
	chip_extend(&h, 4);
	open_import(&h, &s, LY_REFUSED, "not those of the approved state");
	chip_power_off(&h);
}

TEST(an_approval_by_another_key_is_refused)
{
	struct chip_host h;
	struct sealed s;

	host_ready(&h);
	seal_for(&h, 1, k_other, &s);
	open_import(&h, &s, LY_REFUSED, "not signed by the site's policy key");
	chip_power_off(&h);
}

TEST(a_state_approved_by_another_site_opens_nothing)
{
	struct chip_host h;
	struct chip_reply r;
	struct release rel;
	struct sealed s;

	host_ready(&h);
	seal_for(&h, 1, k_other, &s);
	WANT_INT(ly_point_of(k_other, &s.in.policy_key), LY_OK);
	r = open_import(&h, &s, LY_OK, "");
	sign_release(&s, &r, k_mgr, &rel);
	unseal_import(&h, &s, &rel, LY_REFUSED,
	    "sealed for another state, site or manager");
	chip_power_off(&h);
}

TEST(a_release_is_for_one_session_and_by_one_manager)
{
	struct chip_host h;
	struct chip_reply r;
	struct release rel, other;
	struct sealed s;

	host_ready(&h);
	seal_for(&h, 1, k_pol, &s);
	r = open_import(&h, &s, LY_OK, "");
	sign_release(&s, &r, k_mgr, &rel);
	unseal_import(&h, &s, &rel, LY_OK, "");
	r = open_import(&h, &s, LY_OK, "");
	unseal_import(&h, &s, &rel, LY_REFUSED, "replayed");
	r = open_import(&h, &s, LY_OK, "");
	sign_release(&s, &r, k_other, &other);
	unseal_import(&h, &s, &other, LY_REFUSED, "another state, site or");
	r = open_import(&h, &s, LY_OK, "");
	sign_release(&s, &r, k_mgr, &other);
	other.manager.x[0] ^= 1; /* not on the curve at all */
	unseal_import(&h, &s, &other, LY_OUTSIDE, "release");
	chip_power_off(&h);
}

TEST(a_release_that_comes_too_late_is_refused)
{
	struct chip_host h;
	struct chip_reply r;
	struct release rel;
	struct sealed s;
	uint8_t over[36 + 32];
	struct ly_wr w = ly_wr_over(over, sizeof(over));

	host_ready(&h);
	seal_for(&h, 1, k_pol, &s);
	r = open_import(&h, &s, LY_OK, "");
	sign_release(&s, &r, k_mgr, &rel);
	rel.expires_s = 1;
	ly_wr_bytes(&w, r.bytes, r.bytes_len);
	ly_wr_u32(&w, 1);
	ly_wr_bytes(&w, s.ref, 32);
	WANT_INT(ly_ecdsa_sign(k_mgr, over, ly_wr_len(&w), rel.sig), LY_OK);
	usleep(2100000);
	unseal_import(&h, &s, &rel, LY_REFUSED, "too late");
	chip_power_off(&h);
}

TEST(what_was_sealed_for_another_TPM_is_refused)
{
	struct chip_host a, b;
	struct sealed s;

	host_ready(&a);
	host_ready(&b);
	seal_for(&a, 1, k_pol, &s);
	open_import(&b, &s, LY_REFUSED, "sealed for another TPM");
	s.room.duplicate[40] ^= 1;
	open_import(&a, &s, LY_REFUSED, "changed on its way");
	s.in.blob.duplicate.len--;
	open_import(&a, &s, LY_REFUSED, "no key sealed for a TPM");
	chip_power_off(&a);
	chip_power_off(&b);
}

/* Two are open, and there is room for the vault and a quote besides. */
TEST(a_third_import_waits_and_nobody_lacks_a_slot)
{
	struct chip_host h;
	struct chip_reply r[3] = { { .told = 0 } }, q = { .told = 0 };
	struct ly_vault_tpm *vault;
	struct ly_vault_sealed sealed = { .version = 1 };
	struct ly_vault_look look;
	uint8_t key[LY_GCM_KEY] = { 9 };
	struct release rel;
	struct sealed s[3];

	host_ready(&h);
	ly_vault_tpm_open(h.tss, INDEX, &vault);
	for (unsigned i = 0; i < 3; i++)
		seal_for(&h, (uint8_t)(i + 1), k_pol, &s[i]);
	for (unsigned i = 0; i < 3; i++)
		ly_chip_import_open(h.chip, &s[i].in, chip_told, &r[i]);
	chip_want(&h, &r[0], LY_OK, "");
	ly_chip_quote(h.chip, qualify, MASK, chip_told, &q);
	chip_want(&h, &q, LY_OK, "");
	WANT_INT(r[1].told, 1);
	WANT_INT(r[2].told, 0);
	SITE_OK(ly_vault_tpm_chip.define(vault, &why));
	SITE_OK(ly_vault_tpm_chip.look(vault, &look, &why));
	sealed.version = look.value;
	SITE_OK(ly_vault_tpm_chip.seal(vault, key, &sealed, &why));
	SITE_OK(ly_vault_tpm_chip.unseal(vault, &sealed, key, &why));

	sign_release(&s[1], &r[1], k_mgr, &rel);
	unseal_import(&h, &s[1], &rel, LY_OK, "");
	chip_want(&h, &r[2], LY_OK, "");
	ly_chip_import_drop(h.chip, &s[0].in.mig);
	sign_release(&s[2], &r[2], k_mgr, &rel);
	unseal_import(&h, &s[2], &rel, LY_OK, "");
	unseal_import(&h, &s[0], &rel, LY_UNKNOWN, "");
	ly_vault_tpm_close(vault);
	chip_power_off(&h);
}

TEST(one_that_waits_can_be_dropped_and_one_of_the_same_name_replaces)
{
	struct chip_host h;
	struct chip_reply r[3] = { { .told = 0 } }, n;
	struct release rel;
	struct sealed s[3];

	host_ready(&h);
	for (unsigned i = 0; i < 3; i++) {
		seal_for(&h, (uint8_t)(i + 1), k_pol, &s[i]);
		ly_chip_import_open(h.chip, &s[i].in, chip_told, &r[i]);
	}
	ly_chip_import_drop(h.chip, &s[2].in.mig);
	chip_want(&h, &r[2], LY_UNKNOWN, "dropped");
	n = open_import(&h, &s[0], LY_OK, "");
	WANT(memcmp(n.bytes, r[0].bytes, n.bytes_len) != 0);
	sign_release(&s[0], &r[0], k_mgr, &rel);
	unseal_import(&h, &s[0], &rel, LY_REFUSED, "replayed");
	chip_power_off(&h);
}

TEST(an_import_nobody_asks_for_any_more_gives_its_place_up)
{
	struct chip_host h;
	struct chip_reply r[3] = { { .told = 0 } };
	struct release rel;
	struct sealed s[3];

	host_ready(&h);
	ly_chip_import_life(h.chip, 300);
	for (unsigned i = 0; i < 3; i++)
		seal_for(&h, (uint8_t)(i + 1), k_pol, &s[i]);
	for (unsigned i = 0; i < 3; i++)
		ly_chip_import_open(h.chip, &s[i].in, chip_told, &r[i]);
	chip_want(&h, &r[2], LY_OK, "");
	sign_release(&s[0], &r[0], k_mgr, &rel);
	unseal_import(&h, &s[0], &rel, LY_UNKNOWN, "took too long");
	chip_power_off(&h);
}

/* ---- the connection ---- */

TEST(a_connection_that_is_lost_is_made_again)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 };
	struct release rel;
	struct sealed s;

	host_ready(&h);
	seal_for(&h, 1, k_pol, &s);
	r = open_import(&h, &s, LY_OK, "");
	sign_release(&s, &r, k_mgr, &rel);
	proc_end(h.proc.pid);
	r.told = 0;
	ly_chip_quote(h.chip, qualify, MASK, chip_told, &r);
	chip_want(&h, &r, LY_OUTSIDE, "connecting");
	WANT(swtpm_proc_again(&h.proc));
	chip_tools(&h, "tpm2_startup -c");
	r.told = 0;
	ly_chip_quote(h.chip, qualify, MASK, chip_told, &r);
	chip_want(&h, &r, LY_OK, "");
	unseal_import(&h, &s, &rel, LY_UNKNOWN, "connection was lost");
	chip_power_off(&h);
}

/* At once, so that the job itself finds the old one dead. */
TEST(a_job_that_finds_the_connection_dead_is_done_on_a_new_one)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 };
	uint32_t boots;

	host_ready(&h);
	boots = h.keys.resets;
	proc_end(h.proc.pid);
	WANT(swtpm_proc_again(&h.proc));
	chip_tools(&h, "tpm2_startup -c");
	ly_chip_quote(h.chip, qualify, MASK, chip_told, &r);
	chip_want(&h, &r, LY_OK, "");
	chip_ready(&h);
	WANT_INT(h.keys.resets, boots + 1);
	chip_power_off(&h);
}

TEST(a_TPM_that_was_cleared_is_not_taken_for_the_one_before)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 };

	host_ready(&h);
	proc_end(h.proc.pid);
	WANT(swtpm_proc_again(&h.proc));
	chip_tools(&h, "tpm2_startup -c && tpm2_clear");
	ly_chip_quote(h.chip, qualify, MASK, chip_told, &r);
	chip_want(&h, &r, LY_REFUSED, "enrol this host again");
	chip_power_off(&h);
}

TEST(keys_that_somebody_has_made_anew_are_not_taken_for_those_before)
{
	struct chip_host h;
	struct chip_reply r = { .told = 0 };
	struct ly_chip_keys before;
	struct ly_chip *first;

	host_ready(&h);
	before = h.keys;
	first = h.chip;
	proc_end(h.proc.pid);
	WANT(swtpm_proc_again(&h.proc));
	chip_tools(&h, "tpm2_startup -c && tpm2_clear");
	SITE_OK(ly_chip_open(&h.loop, h.tss, &h.chip, &why));
	chip_ready(&h);
	WANT(memcmp(h.keys.sk.name, before.sk.name, LY_TPM_NAME) != 0);
	ly_chip_quote(first, qualify, MASK, chip_told, &r);
	chip_want(&h, &r, LY_REFUSED, "enrol this host again");
	ly_chip_close(first);
	chip_power_off(&h);
}

TEST(what_a_killed_agent_left_in_the_TPM_is_no_hindrance)
{
	struct chip_host h;
	struct sealed s[2];
	int status;
	pid_t pid;

	host_ready(&h);
	chip_agent_off(&h);
	pid = fork();
	if (pid == 0) {
		chip_agent_on(&h);
		for (unsigned i = 0; i < 2; i++) {
			seal_for(&h, (uint8_t)(i + 1), k_pol, &s[i]);
			open_import(&h, &s[i], LY_OK, "");
		}
		kill(getpid(), SIGKILL);
	}
	WANT_INT(waitpid(pid, &status, 0), pid);
	WANT(WIFSIGNALED(status));
	chip_agent_on(&h);
	for (unsigned i = 0; i < 2; i++) {
		seal_for(&h, (uint8_t)(i + 1), k_pol, &s[i]);
		open_import(&h, &s[i], LY_OK, "");
	}
	chip_power_off(&h);
}

TEST(at_the_end_what_waits_is_told_so)
{
	struct chip_host h;
	struct chip_reply r[3] = { { .told = 0 } };
	struct sealed s[3];

	host_ready(&h);
	for (unsigned i = 0; i < 3; i++)
		seal_for(&h, (uint8_t)(i + 1), k_pol, &s[i]);
	for (unsigned i = 0; i < 3; i++)
		ly_chip_import_open(h.chip, &s[i].in, chip_told, &r[i]);
	chip_want(&h, &r[0], LY_OK, "");
	chip_agent_off(&h);
	WANT_INT(r[2].told, 1);
	WANT_INT(r[2].rc, LY_FENCED);
	chip_tools(&h, "test -z \"$(tpm2_getcap handles-loaded-session)\"");
	chip_agent_on(&h);
	chip_power_off(&h);
}

/* ---- the vault goes first ---- */

struct counter {
	struct ly_vault_tpm *vault;
	unsigned n;
	uint64_t worst_us;
};

static uint64_t
now_us(void)
{
	return uv_hrtime() / 1000;
}

static void *
count_on(void *arg)
{
	struct counter *c = arg;

	for (c->n = 0; c->n < 50; c->n++) {
		uint64_t from = now_us();

		if (ly_vault_tpm_chip.count(c->vault, NULL) != LY_OK)
			break;
		c->worst_us = ly_max(c->worst_us, now_us() - from);
		usleep(1000);
	}
	return NULL;
}

TEST(the_vault_waits_for_a_step_and_not_for_a_line_of_jobs)
{
	struct chip_host h;
	struct chip_reply r[60] = { { .told = 0 } };
	struct counter c = { .n = 0 };
	uint64_t from, all;
	pthread_t other;

	host_ready(&h);
	ly_vault_tpm_open(h.tss, INDEX, &c.vault);
	SITE_OK(ly_vault_tpm_chip.define(c.vault, &why));
	for (unsigned i = 0; i < LY_COUNT(r); i++)
		ly_chip_quote(h.chip, qualify, 0xffffff, chip_told, &r[i]);
	from = now_us();
	WANT_INT(pthread_create(&other, NULL, count_on, &c), 0);
	while (!r[LY_COUNT(r) - 1].told)
		uv_run(&h.loop, UV_RUN_ONCE);
	all = now_us() - from;
	pthread_join(other, NULL);
	WANT_INT(c.n, 50);
	WANT(c.worst_us < all / 4);
	for (unsigned i = 0; i < LY_COUNT(r); i++)
		WANT_INT(r[i].rc, LY_OK);
	ly_vault_tpm_close(c.vault);
	chip_power_off(&h);
}

TEST_MAIN()
