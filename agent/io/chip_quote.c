/* SPDX-License-Identifier: Apache-2.0 */
/* What the host's TPM says with its keys: quotes, and secrets for it alone. */
#include "agent/io/chip_in.h"

#include <tss2/tss2_mu.h>

#define QUOTE_TRIES 8

TSS(TPM2B_ATTEST)
TSS(TPMT_SIGNATURE)
TSS(TPML_PCR_SELECTION)
TSS(TPML_DIGEST)
TSS(TPM2B_DIGEST)

static const struct ly_chip_step quoting = { "quoting", { { 0 } } };
static const struct ly_chip_step reading_pcrs = { "reading PCRs", { { 0 } } };
static const struct ly_chip_step certifying = { "certifying its storage key",
	{ { 0 } } };
static const struct ly_chip_step drawing = { "drawing random bytes",
	{ { 0 } } };
static const struct ly_chip_step activating = { "opening a credential",
	{ { TPM2_RC_INTEGRITY, LY_REFUSED,
	      "it was made for another TPM, or another attestation key" },
	    { TPM2_RC_VALUE, LY_REFUSED,
		"it was made for another TPM, or another attestation key" },
	    { TPM2_RC_ECC_POINT, LY_REFUSED,
		"it was made for another TPM, or another attestation key" },
	    { TPM2_RC_SIZE, LY_REFUSED,
		"it was made for another kind of"
		" endorsement key" } } };

/* ---- quotes ---- */

void
ly_chip_select(uint32_t mask, TPML_PCR_SELECTION *out)
{
	*out = (TPML_PCR_SELECTION){ .count = 1 };
	out->pcrSelections[0] = (TPMS_PCR_SELECTION){
		.hash = TPM2_ALG_SHA256,
		.sizeofSelect = 3,
		.pcrSelect = { (uint8_t)mask, (uint8_t)(mask >> 8),
		    (uint8_t)(mask >> 16) },
	};
}

static uint32_t
selected(const TPML_PCR_SELECTION *s)
{
	const uint8_t *b = s->pcrSelections[0].pcrSelect;

	if (s->count != 1 || s->pcrSelections[0].hash != TPM2_ALG_SHA256 ||
	    s->pcrSelections[0].sizeofSelect < 3)
		return 0;
	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16;
}

/* Takes the values of `got` out of one answer of PCR_Read. */
static bool
take_values(struct ly_chip_attested *s, uint32_t got, const TPML_DIGEST *values)
{
	uint32_t n = 0;

	for (unsigned pcr = 0; pcr < LY_PCRS_N; pcr++) {
		if (!(got & 1u << pcr))
			continue;
		if (n == values->count || values->digests[n].size != 32)
			return false;
		memcpy(s->pcr[__builtin_popcount(s->mask & ((1u << pcr) - 1))],
		    values->digests[n++].buffer, 32);
	}
	return n > 0;
}

/* A TPM says eight of them at a time. */
static enum ly_rc
read_pcrs(struct ly_chip_tpm *t, struct ly_chip_attested *s, struct ly_why *why)
{
	for (uint32_t left = s->mask; left;) {
		LY_AUTO(free_TPML_PCR_SELECTION) TPML_PCR_SELECTION *of = NULL;
		LY_AUTO(free_TPML_DIGEST) TPML_DIGEST *values = NULL;
		TPML_PCR_SELECTION want;
		TSS2_RC rc;

		ly_chip_select(left, &want);
		rc = ASK(Esys_PCR_Read(t->tss->esys, NONE, NONE, NONE, &want,
		    NULL, &of, &values));
		if (rc != TSS2_RC_SUCCESS)
			return ly_chip_broke(t, &reading_pcrs, rc, why);
		if (!take_values(s, selected(of) & left, values))
			return ly_fail(why, LY_REFUSED,
			    "the host's TPM (%s) has not all of PCRs 0x%06x in"
			    " its SHA-256 bank (tpm2_pcrallocate)",
			    t->tss->tcti, s->mask);
		left &= ~selected(of);
	}
	s->pcrs_n = (unsigned)__builtin_popcount(s->mask);
	return LY_OK;
}

static void
put_number(const TPM2B_ECC_PARAMETER *n, uint8_t out[32])
{
	size_t len = ly_min(n->size, 32);

	memset(out, 0, 32);
	memcpy(out + 32 - len, n->buffer + n->size - len, len);
}

static TSS2_RC
take_attest(struct ly_chip_attested *s, const TPM2B_ATTEST *attest,
    const TPMT_SIGNATURE *sig)
{
	if (attest->size > sizeof(s->attest) || sig->sigAlg != TPM2_ALG_ECDSA ||
	    sig->signature.ecdsa.hash != TPM2_ALG_SHA256)
		return TSS2_ESYS_RC_MALFORMED_RESPONSE;
	memcpy(s->attest, attest->attestationData, attest->size);
	s->attest_len = attest->size;
	put_number(&sig->signature.ecdsa.signatureR, s->sig);
	put_number(&sig->signature.ecdsa.signatureS, s->sig + 32);
	return TSS2_RC_SUCCESS;
}

/* The values we have read are those in the quote. */
static bool
agrees(const struct ly_chip_attested *s)
{
	TPMS_ATTEST a;
	uint8_t digest[32];
	size_t at = 0;

	if (Tss2_MU_TPMS_ATTEST_Unmarshal(s->attest, s->attest_len, &at, &a) !=
	    TSS2_RC_SUCCESS)
		return false;
	ly_sha256(s->pcr, (size_t)s->pcrs_n * 32, digest);
	return a.attested.quote.pcrDigest.size == 32 &&
	    memcmp(digest, a.attested.quote.pcrDigest.buffer, 32) == 0;
}

static const TPMT_SIG_SCHEME own_scheme = { .scheme = TPM2_ALG_NULL };

static void
qualify(const struct ly_chip_job *j, TPM2B_DATA *out)
{
	*out = (TPM2B_DATA){ .size = 32 };
	memcpy(out->buffer, j->over, 32);
}

static enum ly_rc
quote_once(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	LY_AUTO(free_TPM2B_ATTEST) TPM2B_ATTEST *attest = NULL;
	LY_AUTO(free_TPMT_SIGNATURE) TPMT_SIGNATURE *sig = NULL;
	enum ly_rc rc = read_pcrs(t, &j->said, &j->why);
	TPML_PCR_SELECTION of;
	TPM2B_DATA data;
	TSS2_RC trc;

	if (rc == LY_OK)
		rc = ly_chip_breathe(t, &j->why);
	if (rc != LY_OK)
		return rc;
	qualify(j, &data);
	ly_chip_select(j->said.mask, &of);
	trc = ASK(Esys_Quote(t->tss->esys, t->key[LY_TPM_AK], OWN, NONE, NONE,
	    &data, &own_scheme, &of, &attest, &sig));
	if (trc == TSS2_RC_SUCCESS)
		trc = take_attest(&j->said, attest, sig);
	return trc == TSS2_RC_SUCCESS ?
	    LY_OK :
	    ly_chip_broke(t, &quoting, trc, &j->why);
}

enum ly_rc
ly_chip_do_quote(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	enum ly_rc rc;

	j->said.mask = j->mask;
	for (unsigned i = 0; i < QUOTE_TRIES; i++) {
		rc = quote_once(t, j);
		if (rc != LY_OK || agrees(&j->said))
			return rc;
		rc = ly_chip_breathe(t, &j->why);
		if (rc != LY_OK)
			return rc;
	}
	return ly_fail(&j->why, LY_BUSY,
	    "the PCRs of the host's TPM (%s) do not stand still (mask 0x%06x)",
	    t->tss->tcti, j->mask);
}

enum ly_rc
ly_chip_do_certify(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	LY_AUTO(free_TPM2B_ATTEST) TPM2B_ATTEST *attest = NULL;
	LY_AUTO(free_TPMT_SIGNATURE) TPMT_SIGNATURE *sig = NULL;
	TPM2B_DATA data;
	TSS2_RC rc;

	qualify(j, &data);
	rc = ASK(
	    Esys_Certify(t->tss->esys, t->key[LY_TPM_SK], t->key[LY_TPM_AK],
		OWN, OWN, NONE, &data, &own_scheme, &attest, &sig));
	if (rc == TSS2_RC_SUCCESS)
		rc = take_attest(&j->said, attest, sig);
	return rc == TSS2_RC_SUCCESS ?
	    LY_OK :
	    ly_chip_broke(t, &certifying, rc, &j->why);
}

/* ---- what passes encrypted ---- */

static bool
unwrap(struct ly_bytes from, uint8_t *out, size_t room, uint16_t *len)
{
	struct ly_rd r = ly_rd_over(from.at, from.len);
	const uint8_t *at;

	*len = ly_rd_u16(&r);
	at = ly_rd_bytes(&r, *len);
	if (r.bad || ly_rd_left(&r) || *len > room)
		return false;
	memcpy(out, at, *len);
	return true;
}

static TSS2_RC
take_secret(struct ly_chip_job *j, TPM2B_DIGEST *secret)
{
	if (secret->size > sizeof(j->bytes))
		return TSS2_ESYS_RC_MALFORMED_RESPONSE;
	memcpy(j->bytes, secret->buffer, secret->size);
	j->bytes_len = secret->size;
	ly_wipe(secret, sizeof(*secret));
	return TSS2_RC_SUCCESS;
}

/* The EK is used by its policy: whoever may use the endorsement hierarchy. */
static TSS2_RC
activate(struct ly_chip_tpm *t, struct ly_chip_job *j, ESYS_TR policy,
    const TPM2B_ID_OBJECT *credential, const TPM2B_ENCRYPTED_SECRET *seed)
{
	static const TPM2B_NONCE any = { .size = 0 };
	static const TPM2B_DIGEST no_cp = { .size = 0 };
	LY_AUTO(free_TPM2B_DIGEST) TPM2B_DIGEST *secret = NULL;
	TSS2_RC rc = ASK(Esys_PolicySecret(t->tss->esys, ESYS_TR_RH_ENDORSEMENT,
	    policy, OWN, NONE, NONE, &any, &no_cp, &any, 0, NULL, NULL));

	if (rc == TSS2_RC_SUCCESS)
		rc = ASK(Esys_ActivateCredential(t->tss->esys,
		    t->key[LY_TPM_AK], t->key[LY_TPM_EK], OWN, policy, NONE,
		    credential, seed, &secret));
	return rc == TSS2_RC_SUCCESS ? take_secret(j, secret) : rc;
}

enum ly_rc
ly_chip_do_activate(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	TPM2B_ID_OBJECT credential = { .size = 0 };
	TPM2B_ENCRYPTED_SECRET seed = { .size = 0 };
	ESYS_TR policy = NONE;
	TSS2_RC rc;

	if (!unwrap(j->dare.credential, credential.credential,
		sizeof(credential.credential), &credential.size) ||
	    !unwrap(j->dare.secret, seed.secret, sizeof(seed.secret),
		&seed.size))
		return ly_fail(&j->why, LY_REFUSED, "not a credential");
	rc = ly_tss_session(t->tss, t->key[LY_TPM_SK], TPM2_SE_POLICY,
	    TPMA_SESSION_ENCRYPT, &policy);
	if (rc == TSS2_RC_SUCCESS)
		rc = activate(t, j, policy, &credential, &seed);
	ly_tss_flush(t->tss, &policy);
	return rc == TSS2_RC_SUCCESS ?
	    LY_OK :
	    ly_chip_broke(t, &activating, rc, &j->why);
}

static TSS2_RC
draw(struct ly_chip_tpm *t, struct ly_chip_job *j, ESYS_TR hmac)
{
	while (j->bytes_len < j->len) {
		LY_AUTO(free_TPM2B_DIGEST) TPM2B_DIGEST *got = NULL;
		size_t n = ly_min(j->len - j->bytes_len, 32);
		TSS2_RC rc = ASK(Esys_GetRandom(t->tss->esys, hmac, NONE, NONE,
		    (uint16_t)n, &got));

		if (rc != TSS2_RC_SUCCESS)
			return rc;
		if (got->size == 0)
			return TSS2_ESYS_RC_MALFORMED_RESPONSE;
		n = ly_min(n, got->size);
		memcpy(j->bytes + j->bytes_len, got->buffer, n);
		ly_wipe(got, sizeof(*got));
		j->bytes_len += n;
	}
	return TSS2_RC_SUCCESS;
}

enum ly_rc
ly_chip_do_random(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	ESYS_TR hmac = NONE;
	TSS2_RC rc = ly_tss_session(t->tss, t->key[LY_TPM_SK], TPM2_SE_HMAC,
	    TPMA_SESSION_ENCRYPT, &hmac);

	if (rc == TSS2_RC_SUCCESS)
		rc = draw(t, j, hmac);
	ly_tss_flush(t->tss, &hmac);
	return rc == TSS2_RC_SUCCESS ? LY_OK :
				       ly_chip_broke(t, &drawing, rc, &j->why);
}
