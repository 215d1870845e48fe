/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lib/attest computes is what a TPM computes: swtpm, through ESYS.
 */
#include "tests/test.h"

#include "tests/io/chip_scene.h"

static struct ly_why why;

/* ---- keys ---- */

/* The Name that ESYS has from the TPM. */
static void
want_name(struct chip *c, ESYS_TR tr, const uint8_t name[LY_TPM_NAME])
{
	TPM2B_NAME *is = NULL;

	TPM(Esys_TR_GetName(c->e, tr, &is));
	WANT_INT(is->size, LY_TPM_NAME);
	WANT_MEM(is->name, name, LY_TPM_NAME);
	Esys_Free(is);
}

TEST(each_template_makes_a_key_that_is_read_back_with_its_name)
{
	struct scene_key rsa, ecc;
	struct chip c;

	chip_start(&c);
	want_name(&c, c.ak.tr, c.ak.key.name);
	want_name(&c, c.sk.tr, c.sk.key.name);
	chip_primary(&c, LY_TPM_EK, true, &rsa);
	want_name(&c, rsa.tr, rsa.key.name);
	WANT(rsa.key.rsa);
	chip_primary(&c, LY_TPM_EK, false, &ecc);
	want_name(&c, ecc.tr, ecc.key.name);
	WANT(!ecc.key.rsa);
	chip_end(&c);
}

/* A key outside of TPMs. */
struct authority {
	uint8_t secret[32];
	struct ly_point point;
	uint8_t name[LY_TPM_NAME];
};

static void
authority(uint8_t number, struct authority *a)
{
	memset(a->secret, number, sizeof(a->secret));
	WANT_INT(ly_point_of(a->secret, &a->point), LY_OK);
	ly_tpm_authority_name(&a->point, a->name);
}

static ESYS_TR
authority_load(struct chip *c, const struct authority *a)
{
	uint8_t buf[LY_PUBLIC_MAX];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	TPM2B_PUBLIC public = { 0 };
	size_t at = 0;
	ESYS_TR tr;

	ly_tpm_key_put(LY_TPM_AUTHORITY, &a->point, &w);
	TPM(Tss2_MU_TPMT_PUBLIC_Unmarshal(buf, ly_wr_len(&w), &at,
	    &public.publicArea));
	TPM(Esys_LoadExternal(c->e, NONE, NONE, NONE, NULL, &public,
	    ESYS_TR_RH_OWNER, &tr));
	return tr;
}

TEST(an_authority_has_the_name_a_tpm_gives_it)
{
	struct authority a;
	struct chip c;
	ESYS_TR tr;

	authority(9, &a);
	chip_start(&c);
	tr = authority_load(&c, &a);
	want_name(&c, tr, a.name);
	TPM(Esys_FlushContext(c.e, tr));
	chip_end(&c);
}

/* ---- quotes ---- */

static struct ly_context
question(unsigned role, uint8_t nonce)
{
	struct ly_context x = { .role = (uint8_t)role, .epoch = 3 };

	memset(x.nonce, nonce, sizeof(x.nonce));
	ly_copy(x.self, sizeof(x.self), "spiffe://a/host/d");
	return x;
}

TEST(a_tpms_quote_is_good_until_the_host_is_booted_again)
{
	struct ly_context x = question(LY_QUOTE_DEST, 1);
	struct chip_evidence e;
	struct ly_quote_want want;
	struct ly_attest a;
	struct chip c;

	chip_start(&c);
	want = (struct ly_quote_want){ .type = LY_QUOTE_DEST,
		.ak = &c.ak.key,
		.any_boot = true };
	chip_quote(&c, &x, &e);
	WANT_INT(ly_quote_check(&e.ev, &want, &a, &why), LY_OK);
	want.any_boot = false;
	want.reset_count = a.reset_count;
	want.restart_count = a.restart_count;
	chip_quote(&c, &x, &e);
	WANT_INT(ly_quote_check(&e.ev, &want, NULL, &why), LY_OK);
	chip_reboot(&c);
	chip_quote(&c, &x, &e);
	WANT_INT(ly_quote_check(&e.ev, &want, NULL, &why), LY_REFUSED);
	WANT(strstr(why.text, "another boot"));
	chip_end(&c);
}

TEST(a_quote_taken_after_its_pcrs_were_read_is_refused_if_they_changed)
{
	struct ly_context x = question(LY_QUOTE_DEST, 1);
	struct chip_evidence before, after;
	struct ly_quote_want want;
	struct chip c;

	chip_start(&c);
	want = (struct ly_quote_want){ .type = LY_QUOTE_DEST,
		.ak = &c.ak.key,
		.any_boot = true };
	chip_quote(&c, &x, &before);
	chip_extend(&c, 4, 0x44);
	chip_quote(&c, &x, &after);
	WANT_INT(ly_quote_check(&after.ev, &want, NULL, &why), LY_OK);
	after.ev.pcrs = before.ev.pcrs; /* a host that lies about them */
	WANT_INT(ly_quote_check(&after.ev, &want, NULL, &why), LY_REFUSED);
	WANT(strstr(why.text, "not those that are quoted"));
	chip_end(&c);
}

TEST(a_quote_of_another_tpm_or_for_another_question_is_refused)
{
	struct ly_context x = question(LY_QUOTE_DEST, 1);
	struct ly_quote_want want;
	struct chip_evidence e;
	struct chip c, d;

	chip_start(&c);
	chip_start(&d);
	want = (struct ly_quote_want){ .type = LY_QUOTE_DEST,
		.ak = &c.ak.key,
		.any_boot = true };
	chip_quote(&d, &x, &e);
	WANT_INT(ly_quote_check(&e.ev, &want, NULL, &why), LY_REFUSED);
	WANT(strstr(why.text, "not signed by its AK"));
	chip_quote(&c, &x, &e);
	want.type = LY_QUOTE_SOURCE;
	WANT_INT(ly_quote_check(&e.ev, &want, NULL, &why), LY_REFUSED);
	WANT(strstr(why.text, "another purpose"));
	chip_end(&c);
	chip_end(&d);
}

TEST(a_tpms_certify_proves_that_sk_is_its_own)
{
	struct ly_context x = question(LY_QUOTE_ENROL_CERTIFY, 2);
	TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
	struct ly_enrol_keys keys = { 0 };
	uint8_t room[LY_CONTEXT_MAX];
	TPM2B_ATTEST *says = NULL;
	TPMT_SIGNATURE *sig = NULL;
	TPM2B_DATA q = { .size = 32 };
	struct chip c, d;

	chip_start(&c);
	chip_start(&d);
	ly_qualify_context(&x, room, &keys.context, q.buffer);
	TPM(Esys_Certify(c.e, c.sk.tr, c.ak.tr, OWN, OWN, NONE, &q, &scheme,
	    &says, &sig));
	keys.certify = (struct ly_bytes){ says->attestationData, says->size };
	chip_signature(sig, keys.certify_signature);
	WANT_INT(ly_certify_check(&keys, &c.ak.key, &c.sk.key, NULL, &why),
	    LY_OK);
	WANT_INT(ly_certify_check(&keys, &c.ak.key, &d.sk.key, NULL, &why),
	    LY_REFUSED);
	Esys_Free(says);
	Esys_Free(sig);
	chip_end(&c);
	chip_end(&d);
}

/* ---- policies ---- */

static ESYS_TR
session(struct chip *c, TPM2_SE type)
{
	TPMT_SYM_DEF sym = { .algorithm = TPM2_ALG_NULL };
	ESYS_TR s;

	TPM(Esys_StartAuthSession(c->e, NONE, NONE, NONE, NONE, NONE, NULL,
	    type, &sym, TPM2_ALG_SHA256, &s));
	return s;
}

static void
want_digest(struct chip *c, ESYS_TR s, const struct ly_policy *p)
{
	TPM2B_DIGEST *is = NULL;

	TPM(Esys_PolicyGetDigest(c->e, s, NONE, NONE, NONE, &is));
	WANT_INT(is->size, 32);
	WANT_MEM(is->buffer, p->digest, 32);
	Esys_Free(is);
}

static void
signature_by(const struct authority *a, const void *msg, size_t len,
    TPMT_SIGNATURE *out)
{
	uint8_t raw[64];

	WANT_INT(ly_ecdsa_sign(a->secret, msg, len, raw), LY_OK);
	*out = (TPMT_SIGNATURE){ .sigAlg = TPM2_ALG_ECDSA };
	out->signature.ecdsa.hash = TPM2_ALG_SHA256;
	out->signature.ecdsa.signatureR.size = 32;
	out->signature.ecdsa.signatureS.size = 32;
	memcpy(out->signature.ecdsa.signatureR.buffer, raw, 32);
	memcpy(out->signature.ecdsa.signatureS.buffer, raw + 32, 32);
}

static TPM2B_NONCE
ref_of(const uint8_t ref[32])
{
	TPM2B_NONCE n = { .size = 32 };

	memcpy(n.buffer, ref, 32);
	return n;
}

static TPM2B_NAME
name_of(const uint8_t name[LY_TPM_NAME])
{
	TPM2B_NAME n = { .size = LY_TPM_NAME };

	memcpy(n.name, name, LY_TPM_NAME);
	return n;
}

/* A trial session is believed without signatures. */
TEST(a_keys_policy_is_what_a_tpm_makes_of_its_steps)
{
	static const uint8_t release_ref[32] = { 5 };
	TPMT_TK_VERIFIED ticket = { .tag = TPM2_ST_VERIFIED,
		.hierarchy = TPM2_RH_OWNER };
	TPML_PCR_SELECTION pcrs = chip_selection(LY_SEALED_PCRS);
	uint8_t values[LY_PCRS_N * 32], digest[32], class_ref[32];
	struct authority site, manager;
	TPM2B_DIGEST none = { 0 }, approved = { .size = 32 };
	TPM2B_NONCE ref, no_nonce = { 0 };
	TPMT_SIGNATURE sig;
	TPM2B_NAME name;
	struct ly_policy p;
	struct chip c;
	ESYS_TR s, key;

	authority(1, &site);
	authority(2, &manager);
	ly_class_ref("gold", 1, class_ref);
	chip_start(&c);
	s = session(&c, TPM2_SE_TRIAL);
	TPM(Esys_PolicyPCR(c.e, s, NONE, NONE, NONE, &none, &pcrs));
	ly_pcr_digest(chip_pcrs(&c, LY_SEALED_PCRS, values), digest);
	ly_policy_start(&p);
	ly_policy_pcr(&p, LY_SEALED_PCRS, digest);
	want_digest(&c, s, &p);

	ref = ref_of(class_ref);
	name = name_of(site.name);
	memcpy(approved.buffer, p.digest, 32);
	TPM(Esys_PolicyAuthorize(c.e, s, NONE, NONE, NONE, &approved, &ref,
	    &name, &ticket));
	ly_policy_authorize(&p, site.name, class_ref);
	want_digest(&c, s, &p);

	key = authority_load(&c, &manager);
	ref = ref_of(release_ref);
	signature_by(&manager, "x", 1, &sig);
	TPM(Esys_PolicySigned(c.e, key, s, NONE, NONE, NONE, &no_nonce, &none,
	    &ref, 0, &sig, NULL, NULL));
	ly_policy_signed(&p, manager.name, release_ref);
	want_digest(&c, s, &p);
	ly_policy_of_key(site.name, class_ref, manager.name, release_ref, &p);
	want_digest(&c, s, &p);
	chip_end(&c);
}

TEST(policies_of_branches_and_of_duplication_are_a_tpms_too)
{
	TPML_DIGEST list = { .count = 2 };
	struct ly_policy p[3];
	TPM2B_NAME object, parent;
	struct chip c;
	ESYS_TR s;

	chip_start(&c);
	s = session(&c, TPM2_SE_TRIAL);
	TPM(Esys_PolicyCommandCode(c.e, s, NONE, NONE, NONE, TPM2_CC_Unseal));
	ly_policy_start(&p[0]);
	ly_policy_command(&p[0], TPM2_CC_Unseal);
	want_digest(&c, s, &p[0]);
	object = name_of(c.ak.key.name);
	parent = name_of(c.sk.key.name);
	for (unsigned all = 0; all < 2; all++) {
		TPM(Esys_FlushContext(c.e, s));
		s = session(&c, TPM2_SE_TRIAL);
		TPM(Esys_PolicyDuplicationSelect(c.e, s, NONE, NONE, NONE,
		    &object, &parent, all ? TPM2_YES : TPM2_NO));
		ly_policy_start(&p[1]);
		ly_policy_duplication_select(&p[1], all ? c.ak.key.name : NULL,
		    c.sk.key.name);
		want_digest(&c, s, &p[1]);
	}
	for (unsigned i = 0; i < 2; i++) {
		list.digests[i].size = 32;
		memcpy(list.digests[i].buffer, p[i].digest, 32);
	}
	TPM(Esys_PolicyOR(c.e, s, NONE, NONE, NONE, &list));
	ly_policy_or(&p[2], p, 2);
	want_digest(&c, s, &p[2]);
	chip_end(&c);
}

/* ---- a migration's key ---- */

struct handover {
	struct authority site, manager;
	uint8_t class_ref[32], release_ref[32];
	uint8_t key[32];
	struct ly_policy state; /* of the approved PCRs */
	struct ly_blob_room room;
	struct ly_key_blob blob;
};

/* K for `c` in the state it is in now. */
static void
handover(struct chip *c, struct handover *h)
{
	uint8_t values[LY_PCRS_N * 32], digest[32], chance[LY_BLOB_CHANCE];
	struct ly_id mig = { { 7 } };
	uint8_t nonce[32] = { 8 };
	struct ly_policy p;

	authority(1, &h->site);
	authority(2, &h->manager);
	ly_class_ref("gold", 1, h->class_ref);
	ly_release_ref(&mig, nonce, "spiffe://a/host/d", c->sk.key.name,
	    h->release_ref);
	ly_pcr_digest(chip_pcrs(c, LY_SEALED_PCRS, values), digest);
	ly_policy_start(&h->state);
	ly_policy_pcr(&h->state, LY_SEALED_PCRS, digest);
	ly_policy_of_key(h->site.name, h->class_ref, h->manager.name,
	    h->release_ref, &p);
	memset(h->key, 0x6b, sizeof(h->key));
	ly_random(chance, sizeof(chance));
	WANT_INT(ly_blob_make(&c->sk.key, &p, h->key, sizeof(h->key), chance,
		     &h->room, &h->blob, &why),
	    LY_OK);
	WANT_INT(ly_blob_check(&h->blob, &p, NULL, &why), LY_OK);
}

/* TPM2_Import and TPM2_Load; what the TPM said to the first. */
static TSS2_RC
take_in(struct chip *c, const struct handover *h, ESYS_TR *out)
{
	TPMT_SYM_DEF_OBJECT sym = { .algorithm = TPM2_ALG_NULL };
	TPM2B_DATA no_key = { 0 };
	TPM2B_PUBLIC public = { 0 };
	TPM2B_PRIVATE dup = { 0 }, *private = NULL;
	TPM2B_ENCRYPTED_SECRET seed = { 0 };
	size_t at[3] = { 0 };
	TSS2_RC rc;

	TPM(Tss2_MU_TPM2B_PUBLIC_Unmarshal(h->blob.public.at,
	    h->blob.public.len, &at[0], &public));
	TPM(Tss2_MU_TPM2B_PRIVATE_Unmarshal(h->blob.duplicate.at,
	    h->blob.duplicate.len, &at[1], &dup));
	TPM(Tss2_MU_TPM2B_ENCRYPTED_SECRET_Unmarshal(h->blob.seed.at,
	    h->blob.seed.len, &at[2], &seed));
	WANT_INT(at[0], h->blob.public.len);
	WANT_INT(at[1], h->blob.duplicate.len);
	WANT_INT(at[2], h->blob.seed.len);
	rc = Esys_Import(c->e, c->sk.tr, OWN, NONE, NONE, &no_key, &public,
	    &dup, &seed, &sym, &private);
	if (rc != TSS2_RC_SUCCESS)
		return TPM_SAID(rc);
	rc = Esys_Load(c->e, c->sk.tr, OWN, NONE, NONE, private, &public, out);
	Esys_Free(private);
	return TPM_SAID(rc);
}

/* PolicyPCR and PolicyAuthorize; what the TPM said to the last. */
static TSS2_RC
approve(struct chip *c, const struct handover *h, ESYS_TR s)
{
	TPML_PCR_SELECTION pcrs = chip_selection(LY_SEALED_PCRS);
	uint8_t msg[LY_APPROVAL_SIGNED];
	TPM2B_DIGEST none = { 0 }, approved = { .size = 32 };
	TPM2B_DIGEST hash = { .size = 32 };
	TPM2B_NONCE ref = ref_of(h->class_ref);
	TPM2B_NAME name = name_of(h->site.name);
	TPMT_TK_VERIFIED *ticket = NULL;
	TPMT_SIGNATURE sig;
	ESYS_TR key = authority_load(c, &h->site);
	TSS2_RC rc;

	ly_approval_signed(&h->state, h->class_ref, msg);
	signature_by(&h->site, msg, sizeof(msg), &sig);
	ly_sha256(msg, sizeof(msg), hash.buffer);
	TPM(Esys_PolicyPCR(c->e, s, NONE, NONE, NONE, &none, &pcrs));
	TPM(Esys_VerifySignature(c->e, key, NONE, NONE, NONE, &hash, &sig,
	    &ticket));
	TPM(Esys_FlushContext(c->e, key));
	memcpy(approved.buffer, h->state.digest, 32);
	rc = Esys_PolicyAuthorize(c->e, s, NONE, NONE, NONE, &approved, &ref,
	    &name, ticket);
	Esys_Free(ticket);
	return TPM_SAID(rc);
}

/* The manager's signature for that nonce. */
static void
release(const struct handover *h, const TPM2B_NONCE *nonce, TPMT_SIGNATURE *out)
{
	uint8_t msg[LY_RELEASE_SIGNED_MAX];
	size_t len;

	WANT_INT(ly_release_signed((struct ly_bytes){ nonce->buffer,
				       nonce->size },
		     h->release_ref, msg, &len, &why),
	    LY_OK);
	signature_by(&h->manager, msg, len, out);
}

static TSS2_RC
go_ahead(struct chip *c, const struct handover *h, ESYS_TR s,
    const TPM2B_NONCE *nonce, const TPMT_SIGNATURE *sig)
{
	TPM2B_NONCE ref = ref_of(h->release_ref);
	TPM2B_DIGEST none = { 0 };
	ESYS_TR key = authority_load(c, &h->manager);
	TSS2_RC rc = Esys_PolicySigned(c->e, key, s, NONE, NONE, NONE, nonce,
	    &none, &ref, LY_RELEASE_S, sig, NULL, NULL);

	TPM(Esys_FlushContext(c->e, key));
	return TPM_SAID(rc);
}

static TSS2_RC
unseal(struct chip *c, ESYS_TR object, ESYS_TR s, const struct handover *h)
{
	TPM2B_SENSITIVE_DATA *data = NULL;
	TSS2_RC rc = Esys_Unseal(c->e, object, s, NONE, NONE, &data);

	if (rc == TSS2_RC_SUCCESS) {
		WANT_INT(data->size, sizeof(h->key));
		WANT_MEM(data->buffer, h->key, sizeof(h->key));
		Esys_Free(data);
	}
	return TPM_SAID(rc);
}

TEST(a_migrations_key_comes_out_in_the_approved_state_with_a_go_ahead)
{
	TPM2B_NONCE *nonce = NULL;
	struct handover h;
	TPMT_SIGNATURE sig;
	ESYS_TR object, s;
	struct chip c;

	chip_start(&c);
	handover(&c, &h);
	WANT_INT(take_in(&c, &h, &object), 0);
	want_name(&c, object, h.room.name);
	s = session(&c, TPM2_SE_POLICY);
	WANT_INT(approve(&c, &h, s), 0);
	TPM(Esys_TRSess_GetNonceTPM(c.e, s, &nonce));
	release(&h, nonce, &sig);
	WANT_INT(go_ahead(&c, &h, s, nonce, &sig), 0);
	WANT_INT(unseal(&c, object, s, &h), 0);
	Esys_Free(nonce);
	chip_end(&c);
}

TEST(without_a_go_ahead_the_key_stays_in)
{
	struct handover h;
	ESYS_TR object, s;
	struct chip c;

	chip_start(&c);
	handover(&c, &h);
	WANT_INT(take_in(&c, &h, &object), 0);
	s = session(&c, TPM2_SE_POLICY);
	WANT_INT(approve(&c, &h, s), 0);
	WANT_INT(unseal(&c, object, s, &h), 0x99d);
	WANT_INT(unseal(&c, object, ESYS_TR_PASSWORD, &h), 0x12f);
	chip_end(&c);
}

TEST(a_go_ahead_given_for_one_session_is_none_for_the_next)
{
	TPM2B_NONCE *old = NULL, *fresh = NULL;
	struct handover h;
	TPMT_SIGNATURE sig;
	struct chip c;
	ESYS_TR s;

	chip_start(&c);
	handover(&c, &h);
	s = session(&c, TPM2_SE_POLICY);
	TPM(Esys_TRSess_GetNonceTPM(c.e, s, &old));
	release(&h, old, &sig);
	TPM(Esys_FlushContext(c.e, s));
	s = session(&c, TPM2_SE_POLICY);
	WANT_INT(approve(&c, &h, s), 0);
	TPM(Esys_TRSess_GetNonceTPM(c.e, s, &fresh));
	WANT_INT(go_ahead(&c, &h, s, fresh, &sig), 0x5db);
	Esys_Free(old);
	Esys_Free(fresh);
	chip_end(&c);
}

TEST(in_a_state_that_was_not_approved_the_key_stays_in)
{
	struct handover h;
	ESYS_TR object, s;
	struct chip c;

	chip_start(&c);
	handover(&c, &h);
	chip_extend(&c, 7, 1);
	WANT_INT(take_in(&c, &h, &object), 0);
	s = session(&c, TPM2_SE_POLICY);
	WANT_INT(approve(&c, &h, s), 0x1c4);
	chip_end(&c);
}

TEST(a_state_that_changes_in_an_open_session_ends_it)
{
	TPM2B_NONCE *nonce = NULL;
	struct handover h;
	TPMT_SIGNATURE sig;
	ESYS_TR object, s;
	struct chip c;

	chip_start(&c);
	handover(&c, &h);
	WANT_INT(take_in(&c, &h, &object), 0);
	s = session(&c, TPM2_SE_POLICY);
	WANT_INT(approve(&c, &h, s), 0);
	TPM(Esys_TRSess_GetNonceTPM(c.e, s, &nonce));
	release(&h, nonce, &sig);
	WANT_INT(go_ahead(&c, &h, s, nonce, &sig), 0);
	chip_extend(&c, 11, 1);
	WANT_INT(unseal(&c, object, s, &h), 0x128);
	Esys_Free(nonce);
	chip_end(&c);
}

TEST(another_tpm_cannot_take_the_key_in)
{
	struct handover h;
	struct chip c, d;
	ESYS_TR object;
	TSS2_RC rc;

	chip_start(&c);
	chip_start(&d);
	handover(&c, &h);
	rc = take_in(&d, &h, &object);
	WANT_INT(rc & 0xbf, TPM2_RC_INTEGRITY); /* of one parameter */
	chip_end(&c);
	chip_end(&d);
}

TEST(the_key_is_not_duplicated_to_anywhere_else)
{
	TPMT_SYM_DEF_OBJECT sym = { .algorithm = TPM2_ALG_NULL };
	TPM2B_NONCE *nonce = NULL;
	TPM2B_DATA no_key = { 0 };
	struct handover h;
	TPMT_SIGNATURE sig;
	ESYS_TR object, s;
	struct chip c;

	chip_start(&c);
	handover(&c, &h);
	WANT_INT(take_in(&c, &h, &object), 0);
	s = session(&c, TPM2_SE_POLICY);
	WANT_INT(approve(&c, &h, s), 0);
	TPM(Esys_TRSess_GetNonceTPM(c.e, s, &nonce));
	release(&h, nonce, &sig);
	WANT_INT(go_ahead(&c, &h, s, nonce, &sig), 0);
	/* The policy is met, but it says nothing of Duplicate. */
	WANT_INT(TPM_SAID(Esys_Duplicate(c.e, object, NONE, s, NONE, NONE,
		     &no_key, &sym, NULL, NULL, NULL)),
	    0x99d);
	WANT_INT(unseal(&c, object, s, &h), 0);
	Esys_Free(nonce);
	chip_end(&c);
}

/* ---- a credential ---- */

/* TPM2_ActivateCredential; 0 if `want` came out. */
static TSS2_RC
activate(struct chip *c, ESYS_TR ak, const struct ly_enrol_dare *dare,
    const uint8_t want[32])
{
	TPM2B_ID_OBJECT id = { 0 };
	TPM2B_ENCRYPTED_SECRET secret = { 0 };
	ESYS_TR s = session(c, TPM2_SE_POLICY);
	TPM2B_DIGEST *out = NULL;
	size_t at[2] = { 0 };
	TSS2_RC rc;

	TPM(Tss2_MU_TPM2B_ID_OBJECT_Unmarshal(dare->credential.at,
	    dare->credential.len, &at[0], &id));
	TPM(Tss2_MU_TPM2B_ENCRYPTED_SECRET_Unmarshal(dare->secret.at,
	    dare->secret.len, &at[1], &secret));
	WANT_INT(at[0], dare->credential.len);
	WANT_INT(at[1], dare->secret.len);
	TPM(Esys_PolicySecret(c->e, ESYS_TR_RH_ENDORSEMENT, s, OWN, NONE, NONE,
	    NULL, NULL, NULL, 0, NULL, NULL));
	rc = Esys_ActivateCredential(c->e, ak, c->ek.tr, OWN, s, NONE, &id,
	    &secret, &out);
	if (rc == TSS2_RC_SUCCESS) {
		WANT_INT(out->size, 32);
		WANT_MEM(out->buffer, want, 32);
		Esys_Free(out);
	} else {
		TPM(Esys_FlushContext(c->e, s));
	}
	return TPM_SAID(rc);
}

static void
dare(struct chip *c, const uint8_t name[LY_TPM_NAME], const uint8_t secret[32],
    struct ly_credential_room *room, struct ly_enrol_dare *out)
{
	uint8_t chance[LY_BLOB_CHANCE];

	ly_random(chance, sizeof(chance));
	WANT_INT(ly_credential_make(&c->ek.key, name, secret, 32, chance, room,
		     out, &why),
	    LY_OK);
}

static void
credential(bool rsa)
{
	static const uint8_t secret[32] = "what only that TPM can give out";
	struct ly_credential_room room;
	struct ly_enrol_dare d;
	struct chip c;

	chip_start(&c);
	chip_primary(&c, LY_TPM_EK, rsa, &c.ek);
	WANT_INT(c.ek.key.rsa, rsa);
	dare(&c, c.ak.key.name, secret, &room, &d);
	WANT_INT(activate(&c, c.ak.tr, &d, secret), 0);
	dare(&c, c.sk.key.name, secret, &room, &d); /* not the AK's */
	WANT_INT(activate(&c, c.ak.tr, &d, secret) & 0xbf, TPM2_RC_INTEGRITY);
	chip_end(&c);
}

TEST(a_credential_for_an_ecc_endorsement_key_comes_out_there)
{
	credential(false);
}

TEST(a_credential_for_an_rsa_endorsement_key_comes_out_there)
{
	credential(true);
}

TEST(a_credential_does_not_come_out_of_another_tpm)
{
	static const uint8_t secret[32] = "what only that TPM can give out";
	struct ly_credential_room room;
	struct ly_enrol_dare d;
	struct chip c, other;

	chip_start(&c);
	chip_start(&other);
	chip_primary(&c, LY_TPM_EK, false, &c.ek);
	chip_primary(&other, LY_TPM_EK, false, &other.ek);
	dare(&c, other.ak.key.name, secret, &room, &d);
	WANT_INT(activate(&other, other.ak.tr, &d, secret) & 0xbf,
	    TPM2_RC_INTEGRITY);
	chip_end(&c);
	chip_end(&other);
}

TEST_MAIN()
