/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/vault_tpm.h"

#include "agent/io/tss_in.h"
#include "lib/io/identity.h"

#include <stdlib.h>
#include <tss2/tss2_mu.h>

#define VALUE_LEN 8

/* Ours: it counts and nothing else, may be read and stepped by who can talk to
 * the TPM, and takes no part in its lockout. */
#define ATTRIBUTES                                                             \
	((TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT) | TPMA_NV_AUTHREAD |       \
	    TPMA_NV_AUTHWRITE | TPMA_NV_OWNERREAD | TPMA_NV_NO_DA)

struct ly_vault_tpm {
	struct ly_tss *tss;
	uint32_t index;
	uint64_t number;     /* of the connection that knows `nv` */
	ESYS_TR nv;	     /* what ESYS knows of the index; NONE: look */
	TPMS_CONTEXT *saved; /* the storage primary, as this boot has it */
	uint8_t owner_name[LY_VAULT_NAME];
	uint8_t counter_name[LY_VAULT_NAME]; /* once it has counted */
};

TSS(TPM2B_PUBLIC)
TSS(TPM2B_PRIVATE)
TSS(TPM2B_NAME)
TSS(TPM2B_NV_PUBLIC)
TSS(TPM2B_MAX_NV_BUFFER)
TSS(TPM2B_SENSITIVE_DATA)

static const struct ly_tss_meaning meanings[] = {
	{ TPM2_RC_NV_SPACE, LY_OUTSIDE,
	    "it has no room for the counter: delete an NV index that is not"
	    " needed (tpm2_nvundefine)" },
	{ TPM2_RC_NV_LOCKED, LY_OUTSIDE, "the counter is locked" },
	{ TPM2_RC_NV_DEFINED, LY_OUTSIDE, "the counter's NV index is taken" },
	{ TPM2_RC_NV_AUTHORIZATION, LY_OUTSIDE, "the counter refuses us" },
	{ TPM2_RC_AUTH_FAIL, LY_OUTSIDE,
	    "the owner hierarchy's password is wrong" },
	{ TPM2_RC_BAD_AUTH, LY_OUTSIDE,
	    "the owner hierarchy's password is wrong" },
	{ TPM2_RC_HIERARCHY, LY_OUTSIDE, "the owner hierarchy is disabled" },
	{ TPM2_RC_INTEGRITY, LY_OUTSIDE, "sealed by another TPM" },
	{ TPM2_RC_POLICY, LY_OUTSIDE, "the counter is at another version" },
};

/* The next one to need the index looks for it again. */
static void
forget(struct ly_vault_tpm *t)
{
	if (t->tss->esys && t->nv != NONE && t->number == t->tss->number)
		(void)Esys_TR_Close(t->tss->esys, &t->nv);
	t->nv = NONE;
}

static enum ly_rc
broke(struct ly_vault_tpm *t, const char *what, TSS2_RC rc, struct ly_why *why)
{
	forget(t);
	return ly_tss_broke(t->tss, "the vault's", what, rc, meanings,
	    LY_COUNT(meanings), why);
}

/* From here to ly_tss_end() the TPM is ours. */
static enum ly_rc
begin(struct ly_vault_tpm *t, struct ly_why *why)
{
	enum ly_rc rc = ly_tss_begin(t->tss, true, why);

	if (rc == LY_OK && t->number != t->tss->number) {
		t->nv = NONE;
		t->number = t->tss->number;
	}
	return rc;
}

/* ---- the storage primary ---- */

/* The usual one of ECC P-256; the same seed makes the same key each time. */
static const TPM2B_PUBLIC primary_template = {
	.publicArea = {
		.type = TPM2_ALG_ECC,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = TPMA_OBJECT_FIXEDTPM |
		    TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
		    TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA |
		    TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
		.parameters.eccDetail = {
			.symmetric = { .algorithm = TPM2_ALG_AES,
			    .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB },
			.scheme.scheme = TPM2_ALG_NULL,
			.curveID = TPM2_ECC_NIST_P256,
			.kdf.scheme = TPM2_ALG_NULL,
		},
	},
};

/* Its Name, for the heads of files; its context, for the next time. */
static TSS2_RC
primary_known(struct ly_vault_tpm *t, ESYS_TR key)
{
	LY_AUTO(free_TPM2B_NAME) TPM2B_NAME *name = NULL;
	TSS2_RC rc = Esys_TR_GetName(t->tss->esys, key, &name);

	if (rc != TSS2_RC_SUCCESS)
		return rc;
	if (name->size != LY_VAULT_NAME)
		return TSS2_ESYS_RC_GENERAL_FAILURE;
	memcpy(t->owner_name, name->name, LY_VAULT_NAME);
	ly_tss_free(t->saved);
	t->saved = NULL;
	return ASK(Esys_ContextSave(t->tss->esys, key, &t->saved));
}

/* Making it takes a chip up to a second; its context a few milliseconds. A
 * context of before the TPM was reset is worth nothing. */
static TSS2_RC
primary(struct ly_vault_tpm *t, ESYS_TR *key)
{
	static const TPM2B_SENSITIVE_CREATE nothing = { .size = 0 };
	static const TPM2B_DATA no_data = { .size = 0 };
	static const TPML_PCR_SELECTION no_pcr = { .count = 0 };
	TSS2_RC rc;

	*key = NONE;
	if (t->saved &&
	    ASK(Esys_ContextLoad(t->tss->esys, t->saved, key)) ==
		TSS2_RC_SUCCESS)
		return TSS2_RC_SUCCESS;
	*key = NONE;
	rc = ASK(Esys_CreatePrimary(t->tss->esys, ESYS_TR_RH_OWNER, OWN, NONE,
	    NONE, &nothing, &primary_template, &no_data, &no_pcr, key, NULL,
	    NULL, NULL, NULL));
	return rc == TSS2_RC_SUCCESS ? primary_known(t, *key) : rc;
}

/* ---- the counter ---- */

static bool
ours(const TPMS_NV_PUBLIC *p)
{
	return (p->attributes & ~(TPMA_NV)TPMA_NV_WRITTEN) == ATTRIBUTES &&
	    p->nameAlg == TPM2_ALG_SHA256 && p->authPolicy.size == 0 &&
	    p->dataSize == VALUE_LEN;
}

static enum ly_rc
read_value(struct ly_vault_tpm *t, uint64_t *value, struct ly_why *why)
{
	LY_AUTO(free_TPM2B_MAX_NV_BUFFER) TPM2B_MAX_NV_BUFFER *data = NULL;
	TSS2_RC rc = ASK(Esys_NV_Read(t->tss->esys, t->nv, t->nv, OWN, NONE,
	    NONE, VALUE_LEN, 0, &data));
	struct ly_rd r;

	if (rc != TSS2_RC_SUCCESS)
		return broke(t, "reading the counter", rc, why);
	r = ly_rd_over(data->buffer, data->size);
	*value = ly_rd_u64(&r);
	return r.bad ? ly_fail(why, LY_OUTSIDE, "the counter is cut short") :
		       LY_OK;
}

/* t->nv stays NONE when there is no such index. */
static enum ly_rc
find_index(struct ly_vault_tpm *t, struct ly_why *why)
{
	TSS2_RC rc;

	if (t->nv != NONE)
		return LY_OK;
	rc = ASK(Esys_TR_FromTPMPublic(t->tss->esys, t->index, NONE, NONE, NONE,
	    &t->nv));
	if (rc == TSS2_RC_SUCCESS)
		return LY_OK;
	t->nv = NONE;
	return ly_tss_nothing(rc) ?
	    LY_OK :
	    broke(t, "looking for the counter", rc, why);
}

static enum ly_rc
need_index(struct ly_vault_tpm *t, struct ly_why *why)
{
	enum ly_rc rc = find_index(t, why);

	if (rc == LY_OK && t->nv == NONE)
		rc = ly_fail(why, LY_OUTSIDE,
		    "the vault's TPM (%s) has no counter at 0x%x any more",
		    t->tss->tcti, t->index);
	return rc;
}

static enum ly_rc
look_at(struct ly_vault_tpm *t, struct ly_vault_look *out, struct ly_why *why)
{
	LY_AUTO(free_TPM2B_NV_PUBLIC) TPM2B_NV_PUBLIC *pub = NULL;
	LY_AUTO(free_TPM2B_NAME) TPM2B_NAME *name = NULL;
	TSS2_RC rc = ASK(Esys_NV_ReadPublic(t->tss->esys, t->nv, NONE, NONE,
	    NONE, &pub, &name));

	if (rc != TSS2_RC_SUCCESS)
		return broke(t, "looking at the counter", rc, why);
	if (!ours(&pub->nvPublic) || name->size != LY_VAULT_NAME)
		return ly_fail(why, LY_REFUSED,
		    "the vault's TPM (%s) has an NV index at 0x%x that is not"
		    " a counter of ours (attributes 0x%x): choose another"
		    " vault_index, or delete that one",
		    t->tss->tcti, t->index, (unsigned)pub->nvPublic.attributes);
	out->counter = LY_COUNTER_NEW;
	if (!(pub->nvPublic.attributes & TPMA_NV_WRITTEN))
		return LY_OK;
	out->counter = LY_COUNTER_GOOD;
	memcpy(out->name, name->name, LY_VAULT_NAME);
	memcpy(t->counter_name, name->name, LY_VAULT_NAME);
	return read_value(t, &out->value, why);
}

static enum ly_rc
look(struct ly_vault_tpm *t, struct ly_vault_look *out, struct ly_why *why)
{
	ESYS_TR key = NONE;
	enum ly_rc rc = LY_OK;

	if (!t->saved) {
		TSS2_RC trc = primary(t, &key);

		if (trc != TSS2_RC_SUCCESS)
			rc = broke(t, "making its storage key", trc, why);
		ly_tss_flush(t->tss, &key);
	}
	forget(t);
	if (rc == LY_OK)
		rc = find_index(t, why);
	if (rc == LY_OK && t->nv != NONE)
		rc = look_at(t, out, why);
	memcpy(out->owner, t->owner_name, LY_VAULT_NAME);
	return rc;
}

static enum ly_rc
count(struct ly_vault_tpm *t, struct ly_why *why)
{
	enum ly_rc rc = need_index(t, why);
	TSS2_RC trc;

	if (rc != LY_OK)
		return rc;
	trc = ASK(
	    Esys_NV_Increment(t->tss->esys, t->nv, t->nv, OWN, NONE, NONE));
	return trc == TSS2_RC_SUCCESS ? LY_OK : broke(t, "counting", trc, why);
}

static enum ly_rc
define(struct ly_vault_tpm *t, struct ly_why *why)
{
	const TPM2B_AUTH none = { .size = 0 };
	const TPM2B_NV_PUBLIC what = { .nvPublic = {
					   .nvIndex = t->index,
					   .nameAlg = TPM2_ALG_SHA256,
					   .attributes = ATTRIBUTES,
					   .dataSize = VALUE_LEN,
				       } };
	enum ly_rc rc = find_index(t, why);
	TSS2_RC trc;

	if (rc != LY_OK || t->nv != NONE)
		return rc == LY_OK ? count(t, why) : rc;
	trc = ASK(Esys_NV_DefineSpace(t->tss->esys, ESYS_TR_RH_OWNER, OWN, NONE,
	    NONE, &none, &what, &t->nv));
	if (trc != TSS2_RC_SUCCESS)
		return broke(t, "making the counter", trc, why);
	return count(t, why);
}

/* ---- sealing ---- */

/*
 * The policy of a version: the counter, by its Name, stands at it. Whatever is
 * to hold besides goes before: PolicyNV extends the digest of what was shown
 * first, so the approval of a host's state (PolicyAuthorize) needs only
 * another `start` here, and its command before ours in unseal().
 */
static void
policy_of(const struct ly_vault_tpm *t, uint64_t version,
    const uint8_t start[32], TPM2B_DIGEST *out)
{
	uint8_t buf[32 + 4 + 32 + LY_VAULT_NAME], args[32];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_u64(&w, version);
	ly_wr_u16(&w, 0); /* offset */
	ly_wr_u16(&w, TPM2_EO_EQ);
	ly_sha256(buf, ly_wr_len(&w), args);
	w = ly_wr_over(buf, sizeof(buf));
	ly_wr_bytes(&w, start, 32);
	ly_wr_u32(&w, TPM2_CC_PolicyNV);
	ly_wr_bytes(&w, args, sizeof(args));
	ly_wr_bytes(&w, t->counter_name, LY_VAULT_NAME);
	out->size = 32;
	ly_sha256(buf, ly_wr_len(&w), out->buffer);
}

static const uint8_t nothing_before[32];

static bool
marshal(const TPM2B_PUBLIC *pub, const TPM2B_PRIVATE *priv,
    struct ly_vault_sealed *out)
{
	size_t a = 0, b = 0;

	if (Tss2_MU_TPM2B_PUBLIC_Marshal(pub, out->pub, sizeof(out->pub), &a) !=
		TSS2_RC_SUCCESS ||
	    Tss2_MU_TPM2B_PRIVATE_Marshal(priv, out->priv, sizeof(out->priv),
		&b) != TSS2_RC_SUCCESS)
		return false;
	out->pub_len = (uint16_t)a;
	out->priv_len = (uint16_t)b;
	return true;
}

static TSS2_RC
create(struct ly_vault_tpm *t, ESYS_TR primary_key, ESYS_TR hmac,
    const uint8_t key[LY_GCM_KEY], struct ly_vault_sealed *out)
{
	LY_AUTO(free_TPM2B_PUBLIC) TPM2B_PUBLIC *pub = NULL;
	LY_AUTO(free_TPM2B_PRIVATE) TPM2B_PRIVATE *priv = NULL;
	const TPM2B_DATA no_data = { .size = 0 };
	const TPML_PCR_SELECTION no_pcr = { .count = 0 };
	TPM2B_SENSITIVE_CREATE in = { .sensitive.data.size = LY_GCM_KEY };
	TPM2B_PUBLIC like = { .publicArea = {
				  .type = TPM2_ALG_KEYEDHASH,
				  .nameAlg = TPM2_ALG_SHA256,
				  .objectAttributes = TPMA_OBJECT_FIXEDTPM |
				      TPMA_OBJECT_FIXEDPARENT |
				      TPMA_OBJECT_NODA,
				  .parameters.keyedHashDetail.scheme.scheme =
				      TPM2_ALG_NULL,
			      } };
	TSS2_RC rc;

	policy_of(t, out->version, nothing_before, &like.publicArea.authPolicy);
	memcpy(in.sensitive.data.buffer, key, LY_GCM_KEY);
	rc = ASK(Esys_Create(t->tss->esys, primary_key, hmac, NONE, NONE, &in,
	    &like, &no_data, &no_pcr, &priv, &pub, NULL, NULL, NULL));
	ly_wipe(&in, sizeof(in));
	if (rc == TSS2_RC_SUCCESS && !marshal(pub, priv, out))
		rc = TSS2_ESYS_RC_INSUFFICIENT_BUFFER;
	return rc;
}

static enum ly_rc
seal(struct ly_vault_tpm *t, const uint8_t key[LY_GCM_KEY],
    struct ly_vault_sealed *out, struct ly_why *why)
{
	ESYS_TR top = NONE, hmac = NONE;
	TSS2_RC trc;

	trc = primary(t, &top);
	if (trc == TSS2_RC_SUCCESS)
		trc = ly_tss_session(t->tss, top, TPM2_SE_HMAC,
		    TPMA_SESSION_DECRYPT, &hmac);
	if (trc == TSS2_RC_SUCCESS)
		trc = create(t, top, hmac, key, out);
	ly_tss_flush(t->tss, &hmac);
	ly_tss_flush(t->tss, &top);
	return trc == TSS2_RC_SUCCESS ? LY_OK :
					broke(t, "sealing a key", trc, why);
}

/* The TPM's own comparison, with its own counter. */
static TSS2_RC
show_version(struct ly_vault_tpm *t, ESYS_TR policy, uint64_t version)
{
	TPM2B_OPERAND at = { .size = VALUE_LEN };
	struct ly_wr w = ly_wr_over(at.buffer, VALUE_LEN);

	ly_wr_u64(&w, version);
	return ASK(Esys_PolicyNV(t->tss->esys, t->nv, t->nv, policy, OWN, NONE,
	    NONE, &at, 0, TPM2_EO_EQ));
}

static TSS2_RC
load(struct ly_vault_tpm *t, ESYS_TR top, const struct ly_vault_sealed *in,
    ESYS_TR *out)
{
	TPM2B_PUBLIC pub = { .size = 0 };
	TPM2B_PRIVATE priv = { .size = 0 };
	size_t a = 0, b = 0;
	TSS2_RC rc = Tss2_MU_TPM2B_PUBLIC_Unmarshal(in->pub, in->pub_len, &a,
	    &pub);

	if (rc == TSS2_RC_SUCCESS)
		rc = Tss2_MU_TPM2B_PRIVATE_Unmarshal(in->priv, in->priv_len, &b,
		    &priv);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	return ASK(
	    Esys_Load(t->tss->esys, top, OWN, NONE, NONE, &priv, &pub, out));
}

static TSS2_RC
take_key(struct ly_vault_tpm *t, ESYS_TR item, ESYS_TR policy,
    uint8_t key[LY_GCM_KEY])
{
	LY_AUTO(free_TPM2B_SENSITIVE_DATA) TPM2B_SENSITIVE_DATA *data = NULL;
	TSS2_RC rc = ASK(
	    Esys_Unseal(t->tss->esys, item, policy, NONE, NONE, &data));

	if (rc != TSS2_RC_SUCCESS)
		return rc;
	if (data->size == LY_GCM_KEY)
		memcpy(key, data->buffer, LY_GCM_KEY);
	else
		rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
	ly_wipe(data, sizeof(*data));
	return rc;
}

/* All that is open at once; flushed whatever came of it. */
struct opening {
	ESYS_TR top, item, policy;
};

static TSS2_RC
open_sealed(struct ly_vault_tpm *t, struct opening *o,
    const struct ly_vault_sealed *in, uint8_t key[LY_GCM_KEY])
{
	TSS2_RC rc = primary(t, &o->top);

	if (rc == TSS2_RC_SUCCESS)
		rc = load(t, o->top, in, &o->item);
	if (rc == TSS2_RC_SUCCESS)
		rc = ly_tss_session(t->tss, o->top, TPM2_SE_POLICY,
		    TPMA_SESSION_ENCRYPT, &o->policy);
	if (rc == TSS2_RC_SUCCESS)
		rc = show_version(t, o->policy, in->version);
	return rc == TSS2_RC_SUCCESS ? take_key(t, o->item, o->policy, key) :
				       rc;
}

static enum ly_rc
unseal(struct ly_vault_tpm *t, const struct ly_vault_sealed *in,
    uint8_t key[LY_GCM_KEY], struct ly_why *why)
{
	struct opening o = { NONE, NONE, NONE };
	enum ly_rc rc = need_index(t, why);
	TSS2_RC trc;

	if (rc != LY_OK)
		return rc;
	trc = open_sealed(t, &o, in, key);
	ly_tss_flush(t->tss, &o.policy);
	ly_tss_flush(t->tss, &o.item);
	ly_tss_flush(t->tss, &o.top);
	return trc == TSS2_RC_SUCCESS ? LY_OK :
					broke(t, "opening the vault", trc, why);
}

/* ---- each with the TPM to itself ---- */

static enum ly_rc
do_look(void *arg, struct ly_vault_look *out, struct ly_why *why)
{
	struct ly_vault_tpm *t = arg;
	enum ly_rc rc = begin(t, why);

	*out = (struct ly_vault_look){ .index = t->index };
	if (rc != LY_OK)
		return rc;
	rc = look(t, out, why);
	ly_tss_end(t->tss);
	return rc;
}

static enum ly_rc
do_define(void *arg, struct ly_why *why)
{
	struct ly_vault_tpm *t = arg;
	enum ly_rc rc = begin(t, why);

	if (rc != LY_OK)
		return rc;
	rc = define(t, why);
	ly_tss_end(t->tss);
	return rc;
}

static enum ly_rc
do_count(void *arg, struct ly_why *why)
{
	struct ly_vault_tpm *t = arg;
	enum ly_rc rc = begin(t, why);

	if (rc != LY_OK)
		return rc;
	rc = count(t, why);
	ly_tss_end(t->tss);
	return rc;
}

static enum ly_rc
do_seal(void *arg, const uint8_t key[LY_GCM_KEY], struct ly_vault_sealed *out,
    struct ly_why *why)
{
	struct ly_vault_tpm *t = arg;
	enum ly_rc rc = begin(t, why);

	if (rc != LY_OK)
		return rc;
	rc = seal(t, key, out, why);
	ly_tss_end(t->tss);
	return rc;
}

static enum ly_rc
do_unseal(void *arg, const struct ly_vault_sealed *in, uint8_t key[LY_GCM_KEY],
    struct ly_why *why)
{
	struct ly_vault_tpm *t = arg;
	enum ly_rc rc = begin(t, why);

	if (rc != LY_OK)
		return rc;
	rc = unseal(t, in, key, why);
	ly_tss_end(t->tss);
	return rc;
}

const struct ly_vault_chip ly_vault_tpm_chip = {
	.look = do_look,
	.define = do_define,
	.count = do_count,
	.seal = do_seal,
	.unseal = do_unseal,
};

/* ---- opening and closing ---- */

void
ly_vault_tpm_open(struct ly_tss *tss, uint32_t index, struct ly_vault_tpm **out)
{
	struct ly_vault_tpm *t = calloc(1, sizeof(*t));

	if (!t)
		abort();
	t->tss = ly_tss_ref(tss);
	t->index = index;
	t->nv = NONE;
	*out = t;
}

void
ly_vault_tpm_close(struct ly_vault_tpm *t)
{
	if (!t)
		return;
	ly_tss_close(t->tss);
	ly_tss_free(t->saved);
	ly_wipe(t, sizeof(*t));
	free(t);
}
