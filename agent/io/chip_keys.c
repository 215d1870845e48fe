/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of the host's TPM, and what is done with them alone. */
#include "agent/io/chip_in.h"

#include <stdlib.h>
#include <tss2/tss2_mu.h>

#define CERT_RSA 0x01c00002u /* NV indices of EK certificates */
#define CERT_ECC 0x01c0000au
#define NV_STEP 512 /* bytes at a time: every TPM can that */

TSS(TPM2B_PUBLIC)
TSS(TPM2B_NAME)
TSS(TPM2B_NV_PUBLIC)
TSS(TPM2B_MAX_NV_BUFFER)
TSS(TPMS_TIME_INFO)

static const struct ly_chip_step looking = { "looking for its keys",
	{ { 0 } } };
static const struct ly_chip_step making = { "making a key",
	{ { TPM2_RC_BAD_AUTH, LY_OUTSIDE,
	      "the password of its endorsement hierarchy is not empty, or that"
	      " of its owner is not the one of vault_auth" },
	    { TPM2_RC_AUTH_FAIL, LY_OUTSIDE,
		"the password of its endorsement hierarchy is not empty, or"
		" that of its owner is not the one of vault_auth" } } };
static const struct ly_chip_step reading = { "reading its certificate",
	{ { 0 } } };
static const struct ly_chip_step timing = { "reading its clock", { { 0 } } };
enum ly_rc
ly_chip_broke(struct ly_chip_tpm *t, const struct ly_chip_step *step,
    TSS2_RC rc, struct ly_why *why)
{
	size_t n = 0;

	/* A key is not there any more: it is looked for again. */
	if (ly_tss_nothing(rc))
		t->number = 0;
	while (n < LY_COUNT(step->means) && step->means[n].rc)
		n++;
	return ly_tss_broke(t->tss, "the host's", step->what, rc, step->means,
	    n, why);
}

enum ly_rc
ly_chip_breathe(struct ly_chip_tpm *t, struct ly_why *why)
{
	if (ly_tss_breathe(t->tss))
		return LY_OK;
	return ly_fail(why, LY_OUTSIDE,
	    "the host's TPM (%s): the connection was lost", t->tss->tcti);
}

/* ---- keys ---- */

static const struct {
	TPM2_HANDLE handle;
	ESYS_TR above; /* its hierarchy */
} place[LY_TPM_AUTHORITY] = {
	[LY_TPM_EK] = { LY_TPM_EK_HANDLE, ESYS_TR_RH_ENDORSEMENT },
	[LY_TPM_AK] = { LY_TPM_AK_HANDLE, ESYS_TR_RH_ENDORSEMENT },
	[LY_TPM_SK] = { LY_TPM_SK_HANDLE, ESYS_TR_RH_OWNER },
};

/* What stands at the handle is a key of that use. */
static enum ly_rc
judge(struct ly_chip_tpm *t, enum ly_tpm_use use, const TPM2B_PUBLIC *pub,
    struct ly_chip_key *out, struct ly_why *why)
{
	struct ly_tpm_key key;
	struct ly_why what;

	out->pub_len = 0;
	if (Tss2_MU_TPMT_PUBLIC_Marshal(&pub->publicArea, out->pub,
		sizeof(out->pub), &out->pub_len) == TSS2_RC_SUCCESS &&
	    ly_tpm_key_read(use,
		(struct ly_bytes){ .at = out->pub, .len = out->pub_len }, &key,
		&what) == LY_OK) {
		memcpy(out->name, key.name, LY_TPM_NAME);
		return LY_OK;
	}
	return ly_fail(why, LY_REFUSED,
	    "the host's TPM (%s) has another key than lanyard's %s at 0x%08x:"
	    " %s. If nothing needs that one: tpm2_evictcontrol -C o -c 0x%08x",
	    t->tss->tcti, ly_tpm_use_name(use), place[use].handle,
	    out->pub_len ? what.text : "too large", place[use].handle);
}

/* t->key[use] stays NONE when there is nothing. */
static enum ly_rc
look(struct ly_chip_tpm *t, enum ly_tpm_use use, struct ly_chip_key *out,
    struct ly_why *why)
{
	LY_AUTO(free_TPM2B_PUBLIC) TPM2B_PUBLIC *pub = NULL;
	ESYS_CONTEXT *esys = t->tss->esys;
	TSS2_RC rc = ASK(Esys_TR_FromTPMPublic(esys, place[use].handle, NONE,
	    NONE, NONE, &t->key[use]));

	if (rc != TSS2_RC_SUCCESS)
		t->key[use] = NONE;
	if (ly_tss_nothing(rc))
		return LY_OK;
	if (rc == TSS2_RC_SUCCESS)
		rc = ASK(Esys_ReadPublic(esys, t->key[use], NONE, NONE, NONE,
		    &pub, NULL, NULL));
	if (rc != TSS2_RC_SUCCESS)
		return ly_chip_broke(t, &looking, rc, why);
	return judge(t, use, pub, out, why);
}

static void
template_of(enum ly_tpm_use use, bool rsa, TPM2B_PUBLIC *out)
{
	uint8_t buf[LY_PUBLIC_MAX];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	size_t at = 0;
	TSS2_RC rc;

	*out = (TPM2B_PUBLIC){ .size = 0 };
	ly_tpm_template(use, rsa, &w);
	rc = Tss2_MU_TPMT_PUBLIC_Unmarshal(buf, ly_wr_len(&w), &at,
	    &out->publicArea);
	assert(!w.bad && rc == TSS2_RC_SUCCESS);
	(void)rc;
}

static TSS2_RC
make(struct ly_chip_tpm *t, enum ly_tpm_use use, bool rsa)
{
	static const TPM2B_SENSITIVE_CREATE nothing = { .size = 0 };
	static const TPM2B_DATA no_data = { .size = 0 };
	static const TPML_PCR_SELECTION no_pcr = { .count = 0 };
	ESYS_CONTEXT *esys = t->tss->esys;
	ESYS_TR made = NONE;
	TPM2B_PUBLIC like;
	TSS2_RC rc;

	template_of(use, rsa, &like);
	rc = ASK(Esys_CreatePrimary(esys, place[use].above, OWN, NONE, NONE,
	    &nothing, &like, &no_data, &no_pcr, &made, NULL, NULL, NULL, NULL));
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = ASK(Esys_EvictControl(esys, ESYS_TR_RH_OWNER, made, OWN, NONE,
	    NONE, place[use].handle, &t->key[use]));
	if (rc != TSS2_RC_SUCCESS)
		t->key[use] = NONE;
	ly_tss_flush(t->tss, &made);
	return rc;
}

static enum ly_rc
ensure(struct ly_chip_tpm *t, enum ly_tpm_use use, bool rsa,
    struct ly_chip_key *out, struct ly_why *why)
{
	enum ly_rc rc = look(t, use, out, why);
	TSS2_RC trc;

	if (rc == LY_OK && t->key[use] == NONE) {
		trc = make(t, use, rsa);
		rc = trc == TSS2_RC_SUCCESS ?
		    look(t, use, out, why) :
		    ly_chip_broke(t, &making, trc, why);
	}
	if (rc == LY_OK && t->key[use] == NONE)
		rc = ly_fail(why, LY_OUTSIDE,
		    "the host's TPM (%s) does not keep a key at 0x%08x",
		    t->tss->tcti, place[use].handle);
	return rc == LY_OK ? ly_chip_breathe(t, why) : rc;
}

/* ---- the certificate of the EK ---- */

/* `*nv` is NONE if there is no such index. */
static TSS2_RC
find_cert(struct ly_chip_tpm *t, uint32_t index, ESYS_TR *nv)
{
	TSS2_RC rc = ASK(
	    Esys_TR_FromTPMPublic(t->tss->esys, index, NONE, NONE, NONE, nv));

	if (rc != TSS2_RC_SUCCESS)
		*nv = NONE;
	return ly_tss_nothing(rc) ? TSS2_RC_SUCCESS : rc;
}

static TSS2_RC
has_cert(struct ly_chip_tpm *t, uint32_t index, bool *has)
{
	ESYS_TR nv;
	TSS2_RC rc = find_cert(t, index, &nv);

	*has = nv != NONE;
	if (nv != NONE)
		(void)Esys_TR_Close(t->tss->esys, &nv);
	return rc;
}

static TSS2_RC
read_nv(struct ly_chip_tpm *t, ESYS_TR nv, struct ly_chip_keys *out)
{
	LY_AUTO(free_TPM2B_NV_PUBLIC) TPM2B_NV_PUBLIC *pub = NULL;
	TSS2_RC rc = ASK(
	    Esys_NV_ReadPublic(t->tss->esys, nv, NONE, NONE, NONE, &pub, NULL));
	size_t size = rc == TSS2_RC_SUCCESS ?
	    ly_min(pub->nvPublic.dataSize, sizeof(out->cert)) :
	    0;

	while (out->cert_len < size) {
		LY_AUTO(free_TPM2B_MAX_NV_BUFFER)
		TPM2B_MAX_NV_BUFFER *data = NULL;
		size_t n = ly_min(size - out->cert_len, NV_STEP);

		rc = ASK(Esys_NV_Read(t->tss->esys,
		    pub->nvPublic.attributes & TPMA_NV_AUTHREAD ?
			nv :
			ESYS_TR_RH_OWNER,
		    nv, OWN, NONE, NONE, (uint16_t)n, (uint16_t)out->cert_len,
		    &data));
		if (rc != TSS2_RC_SUCCESS || data->size == 0)
			return rc;
		memcpy(out->cert + out->cert_len, data->buffer,
		    ly_min(data->size, n));
		out->cert_len += ly_min(data->size, n);
	}
	return rc;
}

/* Some makers reserve more room than they fill: a SEQUENCE of DER says where
 * it ends. */
static size_t
der_len(const uint8_t *buf, size_t len)
{
	struct ly_rd r = ly_rd_over(buf, len);
	bool sequence = ly_rd_u8(&r) == 0x30;
	size_t n = ly_rd_u8(&r);

	if (n > 0x80 && n <= 0x82)
		n = ly_rd_uint(&r, n - 0x80);
	else if (n >= 0x80)
		sequence = false;
	if (!sequence || !ly_rd_bytes(&r, n))
		return 0;
	return len - ly_rd_left(&r);
}

static enum ly_rc
read_cert(struct ly_chip_tpm *t, bool rsa, struct ly_chip_keys *out,
    struct ly_why *why)
{
	ESYS_TR nv;
	TSS2_RC rc = find_cert(t, rsa ? CERT_RSA : CERT_ECC, &nv);

	out->cert_len = 0;
	if (rc == TSS2_RC_SUCCESS && nv == NONE)
		return LY_OK;
	if (rc == TSS2_RC_SUCCESS)
		rc = read_nv(t, nv, out);
	if (rc != TSS2_RC_SUCCESS)
		return ly_chip_broke(t, &reading, rc, why);
	(void)Esys_TR_Close(t->tss->esys, &nv);
	out->cert_len = der_len(out->cert, out->cert_len);
	return LY_OK;
}

/* ---- ready ---- */

static enum ly_rc
read_clock(struct ly_chip_tpm *t, struct ly_chip_keys *out, struct ly_why *why)
{
	LY_AUTO(free_TPMS_TIME_INFO) TPMS_TIME_INFO *now = NULL;
	TSS2_RC rc = ASK(Esys_ReadClock(t->tss->esys, NONE, NONE, NONE, &now));

	if (rc != TSS2_RC_SUCCESS)
		return ly_chip_broke(t, &timing, rc, why);
	out->resets = now->clockInfo.resetCount;
	out->restarts = now->clockInfo.restartCount;
	return LY_OK;
}

/* The maker has certified an EK of one kind or the other; of ECC, if both. */
static enum ly_rc
ensure_ek(struct ly_chip_tpm *t, struct ly_chip_keys *out, struct ly_why *why)
{
	bool ecc = false, rsa = false;
	struct ly_tpm_key key;
	TSS2_RC trc = has_cert(t, CERT_ECC, &ecc);
	enum ly_rc rc;

	if (trc == TSS2_RC_SUCCESS)
		trc = has_cert(t, CERT_RSA, &rsa);
	if (trc != TSS2_RC_SUCCESS)
		return ly_chip_broke(t, &reading, trc, why);
	rc = ensure(t, LY_TPM_EK, rsa && !ecc, &out->ek, why);
	if (rc == LY_OK)
		rc = ly_tpm_key_read(LY_TPM_EK,
		    (struct ly_bytes){ .at = out->ek.pub,
			.len = out->ek.pub_len },
		    &key, why);
	return rc == LY_OK ? read_cert(t, key.rsa, out, why) : rc;
}

static enum ly_rc
get_ready(struct ly_chip_tpm *t, struct ly_chip_keys *out, struct ly_why *why)
{
	enum ly_rc rc = ensure_ek(t, out, why);

	if (rc == LY_OK)
		rc = ensure(t, LY_TPM_AK, false, &out->ak, why);
	if (rc == LY_OK)
		rc = ensure(t, LY_TPM_SK, false, &out->sk, why);
	if (rc == LY_OK)
		rc = read_clock(t, out, why);
	if (rc != LY_OK)
		return rc;
	memcpy(t->name[LY_TPM_EK], out->ek.name, LY_TPM_NAME);
	memcpy(t->name[LY_TPM_AK], out->ak.name, LY_TPM_NAME);
	memcpy(t->name[LY_TPM_SK], out->sk.name, LY_TPM_NAME);
	t->ready = true;
	t->number = t->tss->number;
	return LY_OK;
}

static void
forget(struct ly_chip_tpm *t)
{
	for (unsigned i = 0; i < LY_COUNT(t->key); i++) {
		if (t->number == t->tss->number && t->key[i] != NONE)
			(void)Esys_TR_Close(t->tss->esys, &t->key[i]);
		t->key[i] = NONE;
	}
	t->number = t->tss->number;
}

enum ly_rc
ly_chip_do_ready(struct ly_chip_tpm *t, struct ly_chip_job *j)
{
	forget(t);
	j->keys = calloc(1, sizeof(*j->keys));
	if (!j->keys)
		abort();
	return get_ready(t, j->keys, &j->why);
}

/* In a new connection: the same key as before, by its Name. */
static enum ly_rc
find_again(struct ly_chip_tpm *t, enum ly_tpm_use use, struct ly_why *why)
{
	LY_AUTO(free_TPM2B_NAME) TPM2B_NAME *name = NULL;
	TSS2_RC rc = ASK(Esys_TR_FromTPMPublic(t->tss->esys, place[use].handle,
	    NONE, NONE, NONE, &t->key[use]));

	if (rc != TSS2_RC_SUCCESS)
		t->key[use] = NONE;
	if (rc == TSS2_RC_SUCCESS)
		rc = Esys_TR_GetName(t->tss->esys, t->key[use], &name);
	if (rc != TSS2_RC_SUCCESS && !ly_tss_nothing(rc))
		return ly_chip_broke(t, &looking, rc, why);
	if (name && name->size == LY_TPM_NAME &&
	    memcmp(name->name, t->name[use], LY_TPM_NAME) == 0)
		return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    "the host's TPM (%s) has not the %s any more that it had: it was"
	    " cleared, or it is another one; enrol this host again",
	    t->tss->tcti, ly_tpm_use_name(use));
}

enum ly_rc
ly_chip_know(struct ly_chip_tpm *t, struct ly_why *why)
{
	enum ly_rc rc = LY_OK;

	if (!t->ready) {
		struct ly_chip_keys *keys = calloc(1, sizeof(*keys));

		if (!keys)
			abort();
		forget(t);
		rc = get_ready(t, keys, why);
		free(keys);
	} else if (t->number != t->tss->number) {
		forget(t);
		for (unsigned i = 0; i < LY_COUNT(t->key) && rc == LY_OK; i++)
			rc = find_again(t, (enum ly_tpm_use)i, why);
		if (rc != LY_OK)
			t->number = 0;
	}
	return rc;
}
