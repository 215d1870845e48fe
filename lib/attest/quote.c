/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/attest/quote.h"

#include "lib/attest/policy.h"

#define TPM_GENERATED 0xff544347u
#define ALG_SHA256 0x000b
#define SELECT_MOST 4 /* bytes of a PCR selection */

static const char prefix[] = "lanyard-quote-v1"; /* with its NUL */

void
ly_qualify(enum ly_quote_type type, struct ly_bytes context, uint8_t out[32])
{
	const uint8_t t[2] = { (uint8_t)(type >> 8), (uint8_t)type };
	const struct ly_bytes pieces[] = {
		{ (const uint8_t *)prefix, sizeof(prefix) },
		{ t, sizeof(t) },
		context,
	};

	ly_sha256_of(pieces, LY_COUNT(pieces), out);
}

void
ly_qualify_context(const struct ly_context *c, uint8_t room[LY_CONTEXT_MAX],
    struct ly_bytes *tagged, uint8_t out[32])
{
	struct ly_wr w = ly_wr_over(room, LY_CONTEXT_MAX);

	ly_message_put_tagged(&ly_context_message, c, &w);
	assert(!w.bad);
	*tagged = (struct ly_bytes){ .at = room, .len = ly_wr_len(&w) };
	ly_qualify(c->role, *tagged, out);
}

/* ---- reading ---- */

static struct ly_bytes
get_sized(struct ly_rd *r)
{
	size_t len = ly_rd_u16(r);
	const uint8_t *at = ly_rd_bytes(r, len);

	return (struct ly_bytes){ .at = at, .len = at ? len : 0 };
}

/* TPML_PCR_SELECTION: one bank, SHA-256. */
static bool
get_selection(struct ly_rd *r, uint32_t *mask)
{
	uint32_t banks = ly_rd_u32(r);
	uint16_t alg = ly_rd_u16(r);
	uint8_t n = ly_rd_u8(r);
	uint32_t m = 0;

	if (r->bad || banks != 1 || alg != ALG_SHA256 || n > SELECT_MOST)
		return false;
	for (unsigned i = 0; i < n; i++)
		m |= (uint32_t)ly_rd_u8(r) << 8 * i;
	*mask = m;
	return true;
}

static const char *
get_body(struct ly_rd *r, struct ly_attest *a)
{
	if (a->type == LY_ATTEST_CERTIFY) {
		a->name = get_sized(r);
		a->qualified = get_sized(r);
	} else if (a->type == LY_ATTEST_QUOTE) {
		if (!get_selection(r, &a->pcr_mask))
			return "its PCRs are not those of one SHA-256 bank";
		a->pcr_digest = get_sized(r);
	} else {
		return "neither a quote nor a certify";
	}
	return r->bad || ly_rd_left(r) ? "not an attestation" : NULL;
}

enum ly_rc
ly_attest_read(struct ly_bytes area, struct ly_attest *out, struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(area.at, area.len);
	uint32_t magic = ly_rd_u32(&r);
	struct ly_attest a = { .type = ly_rd_u16(&r) };
	uint8_t safe;
	const char *bad;

	a.signer = get_sized(&r);
	a.extra = get_sized(&r);
	a.clock = ly_rd_u64(&r);
	a.reset_count = ly_rd_u32(&r);
	a.restart_count = ly_rd_u32(&r);
	safe = ly_rd_u8(&r);
	a.firmware = ly_rd_u64(&r);
	if (r.bad || safe > 1)
		return ly_fail(why, LY_MALFORMED, "not an attestation");
	if (magic != TPM_GENERATED)
		return ly_fail(why, LY_MALFORMED,
		    "an attestation that no TPM has made");
	a.safe = safe;
	bad = get_body(&r, &a);
	if (bad)
		return ly_fail(why, LY_MALFORMED, "%s", bad);
	*out = a;
	return LY_OK;
}

/* ---- judging ---- */

/* What holds for quote and certify: the question, and who answered. */
static enum ly_rc
check_signed(const struct ly_attest *a, struct ly_bytes area,
    const uint8_t sig[LY_SIG_RAW], enum ly_quote_type type,
    struct ly_bytes context, const struct ly_tpm_key *ak, struct ly_why *why)
{
	uint8_t q[32];

	ly_qualify(type, context, q);
	if (a->extra.len != sizeof(q) || !ly_same(a->extra.at, q, sizeof(q)))
		return ly_fail(why, LY_REFUSED,
		    "made for another purpose or question");
	if (!ly_ecdsa_good(&ak->point, area.at, area.len, sig))
		return ly_fail(why, LY_REFUSED, "not signed by its AK");
	return LY_OK;
}

static enum ly_rc
check_pcrs(const struct ly_evidence *ev, const struct ly_attest *a,
    uint32_t want, struct ly_why *why)
{
	uint8_t digest[32];
	size_t n = ly_pcrs_n(want);

	if (a->pcr_mask != want)
		return ly_fail(why, LY_REFUSED,
		    "PCRs %06x are quoted, not %06x", a->pcr_mask, want);
	if (ev->pcr_mask != want || ev->pcrs.len != n * 32)
		return ly_fail(why, LY_REFUSED,
		    "PCRs %06x are reported, not %06x", ev->pcr_mask, want);
	ly_pcr_digest(ev->pcrs, digest);
	if (a->pcr_digest.len != sizeof(digest) ||
	    !ly_same(a->pcr_digest.at, digest, sizeof(digest)))
		return ly_fail(why, LY_REFUSED,
		    "the PCRs reported are not those that are quoted");
	return LY_OK;
}

static enum ly_rc
check_boot(const struct ly_attest *a, const struct ly_quote_want *want,
    struct ly_why *why)
{
	if (want->any_boot ||
	    (a->reset_count == want->reset_count &&
		a->restart_count == want->restart_count))
		return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    "another boot than the host was enrolled in: %u.%u, not %u.%u",
	    a->reset_count, a->restart_count, want->reset_count,
	    want->restart_count);
}

static enum ly_rc
judge(const struct ly_evidence *ev, const struct ly_quote_want *want,
    struct ly_attest *a, struct ly_why *why)
{
	enum ly_rc rc = ly_attest_read(ev->quote, a, why);

	if (rc == LY_OK && a->type != LY_ATTEST_QUOTE)
		rc = ly_fail(why, LY_REFUSED, "not a quote");
	if (rc == LY_OK)
		rc = check_signed(a, ev->quote, ev->signature, want->type,
		    ev->context, want->ak, why);
	if (rc == LY_OK)
		rc = check_pcrs(ev, a,
		    want->pcr_mask ? want->pcr_mask : LY_SEALED_PCRS, why);
	return rc == LY_OK ? check_boot(a, want, why) : rc;
}

enum ly_rc
ly_quote_check(const struct ly_evidence *ev, const struct ly_quote_want *want,
    struct ly_attest *out, struct ly_why *why)
{
	struct ly_attest a;
	enum ly_rc rc;

	assert(want->ak->use == LY_TPM_AK);
	rc = judge(ev, want, &a, why);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "quote");
	if (out)
		*out = a;
	return LY_OK;
}

enum ly_rc
ly_certify_check(const struct ly_enrol_keys *keys, const struct ly_tpm_key *ak,
    const struct ly_tpm_key *sk, struct ly_attest *out, struct ly_why *why)
{
	struct ly_attest a;
	enum ly_rc rc = ly_attest_read(keys->certify, &a, why);

	assert(ak->use == LY_TPM_AK && sk->use == LY_TPM_SK);
	if (rc == LY_OK && a.type != LY_ATTEST_CERTIFY)
		rc = ly_fail(why, LY_REFUSED, "not a certify");
	if (rc == LY_OK)
		rc = check_signed(&a, keys->certify, keys->certify_signature,
		    LY_QUOTE_ENROL_CERTIFY, keys->context, ak, why);
	if (rc == LY_OK &&
	    (a.name.len != LY_TPM_NAME ||
		!ly_same(a.name.at, sk->name, LY_TPM_NAME)))
		rc = ly_fail(why, LY_REFUSED, "of another key than SK");
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "SK's certify");
	if (out)
		*out = a;
	return LY_OK;
}
