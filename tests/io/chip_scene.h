/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host's TPM that is a swtpm, spoken to by ESYS alone: none of the agent's
 * code is in here, so that what lib/attest computes is held against a TPM and
 * not against ourselves.
 */
#ifndef LY_TESTS_IO_CHIP_SCENE_H
#define LY_TESTS_IO_CHIP_SCENE_H

#include "lib/attest/blob.h"
#include "lib/attest/quote.h"
#include "tests/io/swtpm_proc.h"

#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_tctildr.h>

#define NONE ESYS_TR_NONE
#define OWN ESYS_TR_PASSWORD

/* It has to succeed. */
#define TPM(call) WANT_INT(call, TSS2_RC_SUCCESS)
/* A code without its layer. */
#define TPM_SAID(call) ((call)&0xffff)

struct scene_key {
	ESYS_TR tr;
	uint8_t area[LY_PUBLIC_MAX];
	struct ly_tpm_key key;
};

struct chip {
	struct swtpm_proc proc;
	char tcti[96];
	TSS2_TCTI_CONTEXT *io;
	ESYS_CONTEXT *e;
	struct scene_key ek, ak, sk;
};

static inline LY_UNUSED void
chip_connect(struct chip *c)
{
	TPM(Tss2_TctiLdr_Initialize(c->tcti, &c->io));
	TPM(Esys_Initialize(&c->e, c->io, NULL));
	TPM(Esys_Startup(c->e, TPM2_SU_CLEAR));
}

static inline LY_UNUSED void
chip_disconnect(struct chip *c)
{
	Esys_Finalize(&c->e);
	Tss2_TctiLdr_Finalize(&c->io);
}

/* The key's TPMT_PUBLIC has to be its template. */
static inline LY_UNUSED void
chip_key_took(enum ly_tpm_use use, TPM2B_PUBLIC *made, struct scene_key *k)
{
	struct ly_why why = { "" };
	size_t at = 0;

	TPM(Tss2_MU_TPMT_PUBLIC_Marshal(&made->publicArea, k->area,
	    sizeof(k->area), &at));
	Esys_Free(made);
	if (ly_tpm_key_read(use, (struct ly_bytes){ k->area, at }, &k->key,
		&why) != LY_OK)
		test_fail(__FILE__, __LINE__, "%s", why.text);
}

static inline LY_UNUSED void
chip_primary(struct chip *c, enum ly_tpm_use use, bool rsa,
    struct scene_key *out)
{
	uint8_t buf[LY_PUBLIC_MAX];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	TPM2B_SENSITIVE_CREATE secret = { 0 };
	TPM2B_DATA outside = { 0 };
	TPML_PCR_SELECTION pcrs = { 0 };
	TPM2B_PUBLIC public = { 0 }, *made = NULL;
	size_t at = 0;

	ly_tpm_template(use, rsa, &w);
	TPM(Tss2_MU_TPMT_PUBLIC_Unmarshal(buf, ly_wr_len(&w), &at,
	    &public.publicArea));
	TPM(Esys_CreatePrimary(c->e,
	    use == LY_TPM_SK ? ESYS_TR_RH_OWNER : ESYS_TR_RH_ENDORSEMENT, OWN,
	    NONE, NONE, &secret, &public, &outside, &pcrs, &out->tr, &made,
	    NULL, NULL, NULL));
	chip_key_took(use, made, out);
}

/* Persistent, as an agent has them: there are three transient slots. */
static inline LY_UNUSED void
chip_keep(struct chip *c, struct scene_key *k, uint32_t handle)
{
	ESYS_TR kept;

	TPM(Esys_EvictControl(c->e, ESYS_TR_RH_OWNER, k->tr, OWN, NONE, NONE,
	    handle, &kept));
	TPM(Esys_FlushContext(c->e, k->tr));
	k->tr = kept;
}

static inline LY_UNUSED void
chip_start(struct chip *c)
{
	setenv("TSS2_LOG", "all+NONE", 0); /* refusals are what we test */
	*c = (struct chip){ .io = NULL };
	if (!swtpm_proc_start(&c->proc))
		test_fail(__FILE__, __LINE__, "no swtpm");
	ly_print(c->tcti, sizeof(c->tcti), "swtpm:path=%s", c->proc.path);
	chip_connect(c);
	chip_primary(c, LY_TPM_AK, false, &c->ak);
	chip_keep(c, &c->ak, LY_TPM_AK_HANDLE);
	chip_primary(c, LY_TPM_SK, false, &c->sk);
	chip_keep(c, &c->sk, LY_TPM_SK_HANDLE);
}

static inline LY_UNUSED void
chip_end(struct chip *c)
{
	chip_disconnect(c);
	swtpm_proc_end(&c->proc);
}

/* An orderly shutdown, power off, power on. */
static inline LY_UNUSED void
chip_reboot(struct chip *c)
{
	char cmd[256];

	TPM(Esys_Shutdown(c->e, NONE, NONE, NONE, TPM2_SU_CLEAR));
	chip_disconnect(c);
	snprintf(cmd, sizeof(cmd), "swtpm_ioctl --unix %s.ctrl -i >/dev/null",
	    c->proc.path);
	WANT_INT(system(cmd), 0);
	chip_connect(c);
	TPM(Esys_TR_FromTPMPublic(c->e, LY_TPM_AK_HANDLE, NONE, NONE, NONE,
	    &c->ak.tr));
	TPM(Esys_TR_FromTPMPublic(c->e, LY_TPM_SK_HANDLE, NONE, NONE, NONE,
	    &c->sk.tr));
}

static inline LY_UNUSED TPML_PCR_SELECTION
chip_selection(uint32_t mask)
{
	TPML_PCR_SELECTION s = { 0 };
	uint8_t buf[16];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	size_t at = 0;

	ly_pcr_selection_put(mask, &w);
	TPM(Tss2_MU_TPML_PCR_SELECTION_Unmarshal(buf, ly_wr_len(&w), &at, &s));
	return s;
}

/* At most 8 PCRs. */
static inline LY_UNUSED struct ly_bytes
chip_pcrs(struct chip *c, uint32_t mask, uint8_t out[LY_PCRS_N * 32])
{
	TPML_PCR_SELECTION s = chip_selection(mask);
	struct ly_wr w = ly_wr_over(out, LY_PCRS_N * 32);
	TPML_DIGEST *values = NULL;

	TPM(Esys_PCR_Read(c->e, NONE, NONE, NONE, &s, NULL, NULL, &values));
	for (size_t i = 0; i < values->count; i++)
		ly_wr_bytes(&w, values->digests[i].buffer, 32);
	Esys_Free(values);
	return (struct ly_bytes){ out, ly_wr_len(&w) };
}

static inline LY_UNUSED void
chip_extend(struct chip *c, unsigned pcr, uint8_t with)
{
	TPML_DIGEST_VALUES d = { .count = 1 };

	d.digests[0].hashAlg = TPM2_ALG_SHA256;
	memset(d.digests[0].digest.sha256, with, 32);
	TPM(Esys_PCR_Extend(c->e, ESYS_TR_PCR0 + pcr, OWN, NONE, NONE, &d));
}

static inline LY_UNUSED void
chip_signature(const TPMT_SIGNATURE *s, uint8_t out[64])
{
	const TPM2B_ECC_PARAMETER *r = &s->signature.ecdsa.signatureR;
	const TPM2B_ECC_PARAMETER *t = &s->signature.ecdsa.signatureS;

	WANT_INT(s->sigAlg, TPM2_ALG_ECDSA);
	memset(out, 0, 64);
	memcpy(out + 32 - r->size, r->buffer, r->size);
	memcpy(out + 64 - t->size, t->buffer, t->size);
}

/* Where the bytes of one piece of evidence are. */
struct chip_evidence {
	uint8_t quote[LY_ATTEST_MAX], context[LY_CONTEXT_MAX],
	    pcrs[LY_PCRS_N * 32];
	struct ly_evidence ev;
};

static inline LY_UNUSED void
chip_quote(struct chip *c, const struct ly_context *x, struct chip_evidence *o)
{
	TPML_PCR_SELECTION s = chip_selection(LY_SEALED_PCRS);
	TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
	TPM2B_DATA q = { .size = 32 };
	TPM2B_ATTEST *quoted = NULL;
	TPMT_SIGNATURE *sig = NULL;
	struct ly_evidence ev = { .pcr_mask = LY_SEALED_PCRS,
		.ak = c->ak.key.area,
		.sk = c->sk.key.area };

	ly_qualify_context(x, o->context, &ev.context, q.buffer);
	ev.pcrs = chip_pcrs(c, LY_SEALED_PCRS, o->pcrs);
	TPM(Esys_Quote(c->e, c->ak.tr, OWN, NONE, NONE, &q, &scheme, &s,
	    &quoted, &sig));
	memcpy(o->quote, quoted->attestationData, quoted->size);
	ev.quote = (struct ly_bytes){ o->quote, quoted->size };
	chip_signature(sig, ev.signature);
	o->ev = ev;
	Esys_Free(quoted);
	Esys_Free(sig);
}

#endif
