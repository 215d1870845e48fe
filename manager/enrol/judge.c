/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/enrol/judge.h"

/* A key, and a copy of it that lasts. */
static enum ly_rc
take_key(enum ly_tpm_use use, struct ly_bytes area, struct ly_tpm_key *key,
    struct ly_enrol_key *out, struct ly_why *why)
{
	enum ly_rc rc = ly_tpm_key_read(use, area, key, why);

	if (rc != LY_OK)
		return rc;
	if (area.len > sizeof(out->area))
		return ly_fail(why, LY_MALFORMED, "%s: over %zu bytes",
		    ly_tpm_use_name(use), sizeof(out->area));
	memcpy(out->area, area.at, area.len);
	out->len = area.len;
	memcpy(out->name, key->name, LY_TPM_NAME);
	return LY_OK;
}

/* `tagged` is just what a host asked so has to have signed, and no more. */
static enum ly_rc
match(struct ly_bytes tagged, enum ly_quote_type role,
    const struct ly_enrol_asked *asked, const struct ly_enrol_facts *f,
    const uint8_t *over, struct ly_why *why)
{
	struct ly_context have, want = { .role = (uint8_t)role };
	enum ly_rc rc = ly_message_get_tagged(&ly_context_message, tagged.at,
	    tagged.len, &have, why);

	if (rc != LY_OK)
		return ly_fail_in(why, rc, "context");
	ly_copy(want.self, sizeof(want.self), asked->self);
	memcpy(want.nonce, asked->nonce, sizeof(want.nonce));
	memcpy(want.hk, f->hk, sizeof(want.hk));
	memcpy(want.sk_name, f->sk.name, sizeof(want.sk_name));
	if (over)
		memcpy(want.over, over, sizeof(want.over));
	return ly_context_match(&have, &want, 0, why);
}

enum ly_rc
ly_enrol_judge_keys(const struct ly_enrol_keys *keys,
    const struct ly_enrol_asked *asked, const uint8_t hk[32],
    struct ly_enrol_facts *out, struct ly_why *why)
{
	struct ly_enrol_facts f = { .pcr_mask = 0 };
	struct ly_tpm_key ek, ak, sk;
	struct ly_attest a;
	enum ly_rc rc = take_key(LY_TPM_EK, keys->ek, &ek, &f.ek, why);

	if (rc == LY_OK)
		rc = take_key(LY_TPM_AK, keys->ak, &ak, &f.ak, why);
	if (rc == LY_OK)
		rc = take_key(LY_TPM_SK, keys->sk, &sk, &f.sk, why);
	if (rc == LY_OK)
		rc = ly_certify_check(keys, &ak, &sk, &a, why);
	if (rc != LY_OK)
		return rc;
	memcpy(f.hk, hk, sizeof(f.hk));
	rc = match(keys->context, LY_QUOTE_ENROL_CERTIFY, asked, &f, NULL, why);
	if (rc != LY_OK)
		return rc;
	f.reset_count = a.reset_count;
	f.restart_count = a.restart_count;
	f.firmware = a.firmware;
	*out = f;
	return LY_OK;
}

static bool
same_area(struct ly_bytes area, const struct ly_enrol_key *key)
{
	return area.len == key->len && ly_same(area.at, key->area, key->len);
}

static enum ly_rc
judge_quote(const struct ly_evidence *ev, enum ly_quote_type role,
    const struct ly_enrol_asked *asked, const uint8_t *over,
    struct ly_enrol_facts *f, struct ly_why *why)
{
	struct ly_quote_want want = { .type = role, .any_boot = true };
	struct ly_tpm_key ak;
	struct ly_attest a;
	enum ly_rc rc;

	if (!same_area(ev->ak, &f->ak) || !same_area(ev->sk, &f->sk))
		return ly_fail(why, LY_REFUSED,
		    "the evidence is of other keys than it began with");
	rc = ly_tpm_key_read(LY_TPM_AK, ev->ak, &ak, why);
	want.ak = &ak;
	if (rc == LY_OK)
		rc = ly_quote_check(ev, &want, &a, why);
	if (rc == LY_OK)
		rc = match(ev->context, role, asked, f, over, why);
	if (rc != LY_OK)
		return rc;
	/* Asked last: only a good quote says that it has booted. */
	if (a.reset_count != f->reset_count ||
	    a.restart_count != f->restart_count)
		return ly_fail(why, LY_FENCED,
		    "it has booted or resumed since (%u.%u, was %u.%u)",
		    a.reset_count, a.restart_count, f->reset_count,
		    f->restart_count);
	f->pcr_mask = ev->pcr_mask;
	f->firmware = a.firmware;
	for (unsigned i = 0; i < LY_PCRS_N; i++) {
		const uint8_t *v = ly_evidence_pcr(ev, i);

		memset(f->pcr[i], 0, sizeof(f->pcr[i]));
		if (v)
			memcpy(f->pcr[i], v, sizeof(f->pcr[i]));
	}
	return LY_OK;
}

enum ly_rc
ly_enrol_judge_proof(const struct ly_enrol_proof *proof,
    const struct ly_enrol_asked *asked, struct ly_enrol_facts *f,
    struct ly_why *why)
{
	struct ly_evidence ev;
	uint8_t mac[32];
	enum ly_rc rc;

	ly_hmac(asked->secret, sizeof(asked->secret), asked->transcript,
	    sizeof(asked->transcript), mac);
	if (!ly_same(mac, proof->hmac, sizeof(mac)))
		return ly_fail(why, LY_REFUSED,
		    "its TPM has not opened this challenge");
	rc = ly_message_get(&ly_evidence_message, proof->evidence.at,
	    proof->evidence.len, &ev, why);
	if (rc != LY_OK)
		return rc;
	return judge_quote(&ev, LY_QUOTE_ENROL, asked, asked->transcript, f,
	    why);
}

enum ly_rc
ly_enrol_judge_renewal(const struct ly_evidence *ev,
    const struct ly_enrol_asked *asked, struct ly_enrol_facts *f,
    struct ly_why *why)
{
	return judge_quote(ev, LY_QUOTE_RENEW, asked, NULL, f, why);
}
