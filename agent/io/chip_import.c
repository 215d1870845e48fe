/* SPDX-License-Identifier: Apache-2.0 */
/* What was sealed for this TPM in an approved state: taken in, shown what it
 * wants to see, and opened once the manager says so. */
#include "agent/io/chip_in.h"

#include <tss2/tss2_mu.h>

TSS(TPM2B_PRIVATE)
TSS(TPM2B_NONCE)
TSS(TPM2B_SENSITIVE_DATA)
TSS(TPMT_TK_VERIFIED)

static const struct ly_chip_step importing = { "importing a key",
	{ { TPM2_RC_INTEGRITY, LY_REFUSED,
	      "it was sealed for another TPM, or changed on its way" },
	    { TPM2_RC_ECC_POINT, LY_REFUSED,
		"it was sealed for another TPM, or changed on its way" },
	    { TPM2_RC_SIZE, LY_REFUSED, "it is cut short" },
	    { TPM2_RC_ATTRIBUTES, LY_REFUSED,
		"it has not the attributes of a migration's key" } } };
static const struct ly_chip_step opening = { "opening a session", { { 0 } } };
static const struct ly_chip_step showing = { "showing its PCRs", { { 0 } } };
static const struct ly_chip_step verifying = { "checking an approval",
	{ { TPM2_RC_SIGNATURE, LY_REFUSED,
	    "the approval of this state is not signed by the site's policy"
	    " key" } } };
static const struct ly_chip_step authorizing = { "having its state approved",
	{ { TPM2_RC_VALUE, LY_REFUSED,
	      "its PCRs are not those of the approved state" },
	    { TPM2_RC_PCR_CHANGED, LY_REFUSED,
		"a PCR has changed since it was shown" } } };
static const struct ly_chip_step releasing = { "taking the manager's release",
	{ { TPM2_RC_SIGNATURE, LY_REFUSED,
	      "the release is not the manager's for that TPM session: it was"
	      " replayed, or signed by another key" },
	    { TPM2_RC_EXPIRED, LY_REFUSED,
		"the release came too late: its time is over" },
	    { TPM2_RC_NONCE, LY_REFUSED,
		"the release is for another session" } } };
static const struct ly_chip_step unsealing = { "opening the key",
	{ { TPM2_RC_PCR_CHANGED, LY_REFUSED,
	      "a PCR has changed since this host's state was approved" },
	    { TPM2_RC_POLICY_FAIL, LY_REFUSED,
		"the key was sealed for another state, site or manager" },
	    { TPM2_RC_EXPIRED, LY_REFUSED,
		"the release came too late: its time is over" } } };

/* ---- taking in ---- */

static bool
read_blob(const struct ly_key_blob *b, TPM2B_PUBLIC *pub, TPM2B_PRIVATE *dup,
    TPM2B_ENCRYPTED_SECRET *seed)
{
	size_t a = 0, d = 0, s = 0;

	return Tss2_MU_TPM2B_PUBLIC_Unmarshal(b->public.at, b->public.len, &a,
		   pub) == TSS2_RC_SUCCESS &&
	    Tss2_MU_TPM2B_PRIVATE_Unmarshal(b->duplicate.at, b->duplicate.len,
		&d, dup) == TSS2_RC_SUCCESS &&
	    Tss2_MU_TPM2B_ENCRYPTED_SECRET_Unmarshal(b->seed.at, b->seed.len,
		&s, seed) == TSS2_RC_SUCCESS &&
	    a == b->public.len && d == b->duplicate.len && s == b->seed.len;
}

/* From its wrapping for the SK to one for our TPM alone. */
static enum ly_rc
import(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	static const TPM2B_DATA no_key = { .size = 0 };
	static const TPMT_SYM_DEF_OBJECT none = { .algorithm = TPM2_ALG_NULL };
	LY_AUTO(free_TPM2B_PRIVATE) TPM2B_PRIVATE *priv = NULL;
	TPM2B_PRIVATE dup = { .size = 0 };
	TPM2B_ENCRYPTED_SECRET seed = { .size = 0 };
	TSS2_RC rc;

	j->slot->pub = (TPM2B_PUBLIC){ .size = 0 };
	if (!read_blob(&j->in.blob, &j->slot->pub, &dup, &seed))
		return ly_fail(&j->why, LY_REFUSED,
		    "what came is no key sealed for a TPM");
	rc = ASK(Esys_Import(t->tss->esys, t->key[LY_TPM_SK], OWN, NONE, NONE,
	    &no_key, &j->slot->pub, &dup, &seed, &none, &priv));
	if (rc != TSS2_RC_SUCCESS)
		return ly_chip_broke(t, &importing, rc, &j->why);
	j->slot->priv = *priv;
	return LY_OK;
}

/* ---- authorities: keys that are not this TPM's ---- */

/* In the owner's hierarchy: for a key of the null hierarchy a TPM makes no
 * ticket. */
static TSS2_RC
load_authority(struct ly_chip_tpm *t, const struct ly_point *key, ESYS_TR *out)
{
	TPM2B_PUBLIC pub = { .size = 0 };
	uint8_t buf[LY_PUBLIC_MAX];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	size_t at = 0;
	TSS2_RC rc;

	ly_tpm_key_put(LY_TPM_AUTHORITY, key, &w);
	rc = Tss2_MU_TPMT_PUBLIC_Unmarshal(buf, ly_wr_len(&w), &at,
	    &pub.publicArea);
	if (rc == TSS2_RC_SUCCESS)
		rc = ASK(Esys_LoadExternal(t->tss->esys, NONE, NONE, NONE, NULL,
		    &pub, ESYS_TR_RH_OWNER, out));
	if (rc != TSS2_RC_SUCCESS)
		*out = NONE;
	return rc;
}

static TPMT_SIGNATURE
signature_of(const uint8_t sig[LY_SIG_RAW])
{
	TPMT_SIGNATURE s = { .sigAlg = TPM2_ALG_ECDSA,
		.signature.ecdsa = { .hash = TPM2_ALG_SHA256,
		    .signatureR.size = 32,
		    .signatureS.size = 32 } };

	memcpy(s.signature.ecdsa.signatureR.buffer, sig, 32);
	memcpy(s.signature.ecdsa.signatureS.buffer, sig + 32, 32);
	return s;
}

static TPM2B_DIGEST
digest_of(const uint8_t from[32])
{
	TPM2B_DIGEST d = { .size = 32 };

	memcpy(d.buffer, from, 32);
	return d;
}

/* The TPM's own word that the policy key has approved that state. */
static TSS2_RC
verify(struct ly_chip_tpm *t, const struct ly_chip_import *in,
    TPMT_TK_VERIFIED **ticket)
{
	struct ly_policy approved;
	uint8_t over[LY_APPROVAL_SIGNED], hash[32];
	TPMT_SIGNATURE sig = signature_of(in->approval);
	TPM2B_DIGEST digest;
	ESYS_TR key = NONE;
	TSS2_RC rc = load_authority(t, &in->policy_key, &key);

	memcpy(approved.digest, in->approved, 32);
	ly_approval_signed(&approved, in->ref, over);
	ly_sha256(over, sizeof(over), hash);
	digest = digest_of(hash);
	if (rc == TSS2_RC_SUCCESS)
		rc = ASK(Esys_VerifySignature(t->tss->esys, key, NONE, NONE,
		    NONE, &digest, &sig, ticket));
	ly_tss_flush(t->tss, &key);
	return rc;
}

/* ---- the session ---- */

static enum ly_rc
show(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	static const TPM2B_DIGEST as_it_is = { .size = 0 };
	TPML_PCR_SELECTION of;
	TSS2_RC rc = ly_tss_session(t->tss, t->key[LY_TPM_SK], TPM2_SE_POLICY,
	    TPMA_SESSION_ENCRYPT, &j->slot->session);

	if (rc != TSS2_RC_SUCCESS)
		return ly_chip_broke(t, &opening, rc, &j->why);
	j->slot->number = t->tss->number;
	ly_chip_select(j->in.mask, &of);
	rc = ASK(Esys_PolicyPCR(t->tss->esys, j->slot->session, NONE, NONE,
	    NONE, &as_it_is, &of));
	return rc == TSS2_RC_SUCCESS ? LY_OK :
				       ly_chip_broke(t, &showing, rc, &j->why);
}

static enum ly_rc
authorize(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	LY_AUTO(free_TPMT_TK_VERIFIED) TPMT_TK_VERIFIED *ticket = NULL;
	TPM2B_NAME name = { .size = LY_TPM_NAME };
	TPM2B_DIGEST approved = digest_of(j->in.approved);
	TPM2B_NONCE ref = digest_of(j->in.ref);
	TSS2_RC rc = verify(t, &j->in, &ticket);

	if (rc != TSS2_RC_SUCCESS)
		return ly_chip_broke(t, &verifying, rc, &j->why);
	ly_tpm_authority_name(&j->in.policy_key, name.name);
	rc = ASK(Esys_PolicyAuthorize(t->tss->esys, j->slot->session, NONE,
	    NONE, NONE, &approved, &ref, &name, ticket));
	return rc == TSS2_RC_SUCCESS ?
	    LY_OK :
	    ly_chip_broke(t, &authorizing, rc, &j->why);
}

static enum ly_rc
say_nonce(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	LY_AUTO(free_TPM2B_NONCE) TPM2B_NONCE *nonce = NULL;
	TSS2_RC rc = Esys_TRSess_GetNonceTPM(t->tss->esys, j->slot->session,
	    &nonce);

	if (rc != TSS2_RC_SUCCESS || nonce->size > sizeof(j->bytes))
		return ly_chip_broke(t, &opening, rc, &j->why);
	memcpy(j->bytes, nonce->buffer, nonce->size);
	j->bytes_len = nonce->size;
	return LY_OK;
}

/* Of this connection: that of another is gone, or was flushed by it. */
static void
end_session(struct ly_chip_tpm *t, struct ly_chip_slot *slot)
{
	if (slot->number == t->tss->number)
		ly_tss_flush(t->tss, &slot->session);
	slot->session = NONE;
	slot->number = 0;
	ly_wipe(&slot->priv, sizeof(slot->priv));
}

enum ly_rc
ly_chip_do_open(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	enum ly_rc rc;

	end_session(t, j->slot);
	rc = import(t, j);
	if (rc == LY_OK)
		rc = ly_chip_breathe(t, &j->why);
	if (rc == LY_OK)
		rc = show(t, j);
	if (rc == LY_OK)
		rc = ly_chip_breathe(t, &j->why);
	if (rc == LY_OK)
		rc = authorize(t, j);
	if (rc == LY_OK)
		rc = say_nonce(t, j);
	if (rc != LY_OK)
		end_session(t, j->slot);
	return rc;
}

/* ---- opening ---- */

static enum ly_rc
release(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	static const TPM2B_DIGEST any_command = { .size = 0 };
	LY_AUTO(free_TPM2B_NONCE) TPM2B_NONCE *nonce = NULL;
	TPMT_SIGNATURE sig = signature_of(j->release);
	TPM2B_NONCE ref = digest_of(j->over);
	ESYS_TR key = NONE;
	TSS2_RC rc = Esys_TRSess_GetNonceTPM(t->tss->esys, j->slot->session,
	    &nonce);

	if (rc == TSS2_RC_SUCCESS)
		rc = load_authority(t, &j->manager_key, &key);
	if (rc == TSS2_RC_SUCCESS)
		rc = ASK(Esys_PolicySigned(t->tss->esys, key, j->slot->session,
		    NONE, NONE, NONE, nonce, &any_command, &ref,
		    (INT32)j->expires_s, &sig, NULL, NULL));
	ly_tss_flush(t->tss, &key);
	return rc == TSS2_RC_SUCCESS ?
	    LY_OK :
	    ly_chip_broke(t, &releasing, rc, &j->why);
}

static TSS2_RC
take_data(struct ly_chip_job *j, TPM2B_SENSITIVE_DATA *data)
{
	if (data->size > sizeof(j->bytes))
		return TSS2_ESYS_RC_MALFORMED_RESPONSE;
	memcpy(j->bytes, data->buffer, data->size);
	j->bytes_len = data->size;
	ly_wipe(data, sizeof(*data));
	return TSS2_RC_SUCCESS;
}

static enum ly_rc
unseal(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	LY_AUTO(free_TPM2B_SENSITIVE_DATA) TPM2B_SENSITIVE_DATA *data = NULL;
	ESYS_TR item = NONE;
	TSS2_RC rc = ASK(Esys_Load(t->tss->esys, t->key[LY_TPM_SK], OWN, NONE,
	    NONE, &j->slot->priv, &j->slot->pub, &item));

	if (rc == TSS2_RC_SUCCESS)
		rc = ASK(Esys_Unseal(t->tss->esys, item, j->slot->session, NONE,
		    NONE, &data));
	if (rc == TSS2_RC_SUCCESS)
		rc = take_data(j, data);
	ly_tss_flush(t->tss, &item);
	return rc == TSS2_RC_SUCCESS ?
	    LY_OK :
	    ly_chip_broke(t, &unsealing, rc, &j->why);
}

enum ly_rc
ly_chip_do_unseal(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	enum ly_rc rc;

	if (j->slot->number != t->tss->number)
		return ly_fail(&j->why, LY_UNKNOWN,
		    "the host's TPM (%s): the connection was lost since the"
		    " key was imported, and its session with it",
		    t->tss->tcti);
	rc = release(t, j);
	if (rc == LY_OK)
		rc = ly_chip_breathe(t, &j->why);
	if (rc == LY_OK)
		rc = unseal(t, j);
	end_session(t, j->slot);
	return rc;
}

enum ly_rc
ly_chip_do_drop(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	end_session(t, j->slot);
	return LY_OK;
}
