/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/attest/evidence.h"

#include "lib/crypt/crypt.h"

// clang-format off

static const struct ly_field context[] = {
	LY_BELOW(struct ly_context, role, LY_QUOTE_TYPES),
	LY_FIXED(struct ly_context, nonce),
	LY_FIXED(struct ly_context, vm),
	LY_FIXED(struct ly_context, mig),
	LY_UINT(struct ly_context, epoch),
	LY_UINT(struct ly_context, seq),
	LY_TEXT(struct ly_context, self),
	LY_TEXT(struct ly_context, source),
	LY_TEXT(struct ly_context, dest),
	LY_TEXT(struct ly_context, home),
	LY_FIXED(struct ly_context, hk),
	LY_FIXED(struct ly_context, sk_name),
	LY_FIXED(struct ly_context, launch),
	LY_FIXED(struct ly_context, vpcrs),
	LY_FIXED(struct ly_context, over),
	LY_FIXED(struct ly_context, holder_hk),
};
const struct ly_message ly_context_message = LY_MESSAGE(LY_TYPE_CONTEXT,
    "CONTEXT", struct ly_context, context,
    "What a quote says beside the PCRs.");

static const struct ly_field evidence[] = {
	LY_BYTES(struct ly_evidence, quote, LY_ATTEST_MAX),
	LY_FIXED(struct ly_evidence, signature),
	LY_BELOW(struct ly_evidence, pcr_mask, 1u << LY_PCRS_N),
	LY_BYTES(struct ly_evidence, pcrs, LY_PCRS_N * 32),
	LY_BYTES(struct ly_evidence, ak, LY_PUBLIC_MAX),
	LY_BYTES(struct ly_evidence, sk, LY_PUBLIC_MAX),
	LY_BYTES(struct ly_evidence, certificate, LY_CHAIN_MAX),
	LY_BYTES(struct ly_evidence, context, LY_CONTEXT_MAX),
	LY_BYTES(struct ly_evidence, log, LY_LOG_MAX),
};
const struct ly_message ly_evidence_message = LY_MESSAGE(LY_TYPE_EVIDENCE,
    "EVIDENCE", struct ly_evidence, evidence,
    "A host's quote, and all that is needed to judge it.");

static const struct ly_field enrol_keys[] = {
	LY_BYTES(struct ly_enrol_keys, ek_cert, LY_CHAIN_MAX),
	LY_BYTES(struct ly_enrol_keys, ek, LY_PUBLIC_MAX),
	LY_BYTES(struct ly_enrol_keys, ak, LY_PUBLIC_MAX),
	LY_BYTES(struct ly_enrol_keys, sk, LY_PUBLIC_MAX),
	LY_BYTES(struct ly_enrol_keys, certify, LY_ATTEST_MAX),
	LY_FIXED(struct ly_enrol_keys, certify_signature),
	LY_BYTES(struct ly_enrol_keys, context, LY_CONTEXT_MAX),
	LY_BYTES(struct ly_enrol_keys, csr, LY_CSR_MAX),
};
const struct ly_message ly_enrol_keys_message = LY_MESSAGE(
    LY_TYPE_ENROL_KEYS, "ENROL_KEYS", struct ly_enrol_keys, enrol_keys,
    "A host that wants to be one of the site: its TPM's keys.");

static const struct ly_field enrol_dare[] = {
	LY_BYTES(struct ly_enrol_dare, credential, LY_PUBLIC_MAX),
	LY_BYTES(struct ly_enrol_dare, secret, LY_PUBLIC_MAX),
};
const struct ly_message ly_enrol_dare_message = LY_MESSAGE(
    LY_TYPE_ENROL_DARE, "ENROL_DARE", struct ly_enrol_dare, enrol_dare,
    "What only the TPM that holds those keys can open.");

static const struct ly_field enrol_proof[] = {
	LY_FIXED(struct ly_enrol_proof, hmac),
	LY_BYTES(struct ly_enrol_proof, evidence,
	    LY_EVIDENCE_MAX - 36), /* the hmac, and a length */
};
const struct ly_message ly_enrol_proof_message = LY_MESSAGE(
    LY_TYPE_ENROL_PROOF, "ENROL_PROOF", struct ly_enrol_proof, enrol_proof,
    "It was opened, by this host, in this state.");

static const struct ly_field enrol_papers[] = {
	LY_BYTES(struct ly_enrol_papers, certificate, LY_CHAIN_MAX),
	LY_BYTES(struct ly_enrol_papers, ak_certificate, LY_CHAIN_MAX),
	LY_BOOL(struct ly_enrol_papers, demand),
};
const struct ly_message ly_enrol_papers_message = LY_MESSAGE(
    LY_TYPE_ENROL_PAPERS, "ENROL_PAPERS", struct ly_enrol_papers,
    enrol_papers, "The certificates of a host of the site.");

static const struct ly_field key_blob[] = {
	LY_BYTES(struct ly_key_blob, public, 300),
	LY_BYTES(struct ly_key_blob, duplicate, 400),
	LY_BYTES(struct ly_key_blob, seed, 300),
};
const struct ly_message ly_key_blob_message = LY_MESSAGE(LY_TYPE_KEY_BLOB,
    "KEY_BLOB", struct ly_key_blob, key_blob,
    "A migration's key, for the TPM of the destination.");

static const struct ly_field move_proof[] = {
	LY_BYTES(struct ly_move_proof, sent, LY_STATEMENT_MAX),
	LY_BYTES(struct ly_move_proof, sent_evidence, LY_FIN_EVIDENCE_MAX),
	LY_BYTES(struct ly_move_proof, arrived, LY_STATEMENT_MAX),
	LY_BYTES(struct ly_move_proof, destroyed, LY_STATEMENT_MAX),
	LY_BYTES(struct ly_move_proof, destroyed_evidence,
	    LY_FIN_EVIDENCE_MAX),
};
const struct ly_message ly_move_proof_message = LY_MESSAGE(
    LY_TYPE_MOVE_PROOF, "MOVE_PROOF", struct ly_move_proof, move_proof,
    "How a migration ended, as its two hosts have signed it.");

// clang-format on

static const char *const names[LY_QUOTE_TYPES] = {
	[LY_QUOTE_ENROL_CERTIFY] = "enrolment's certify",
	[LY_QUOTE_ENROL] = "enrolment",
	[LY_QUOTE_RENEW] = "renewal",
	[LY_QUOTE_SOURCE] = "source",
	[LY_QUOTE_DEST] = "destination",
	[LY_QUOTE_HOME] = "home",
	[LY_QUOTE_SENT] = "sent",
	[LY_QUOTE_DESTROYED] = "destroyed",
	[LY_QUOTE_PLACE] = "place",
	[LY_QUOTE_TPM] = "TPM",
};

const char *
ly_quote_type_name(unsigned type)
{
	return type < LY_QUOTE_TYPES && names[type] ? names[type] : "?";
}

unsigned
ly_quote_type_of(unsigned role)
{
	static const enum ly_quote_type types[LY_QUOTE_ROLES] = {
		[LY_AS_SOURCE] = LY_QUOTE_SOURCE,
		[LY_AS_DEST] = LY_QUOTE_DEST,
		[LY_AS_HOME] = LY_QUOTE_HOME,
		[LY_AS_PLACE] = LY_QUOTE_PLACE,
		[LY_AS_TPM] = LY_QUOTE_TPM,
	};

	return role < LY_QUOTE_ROLES ? types[role] : 0;
}

static bool
same_value(const struct ly_field *f, const void *a, const void *b)
{
	const uint8_t *x = (const uint8_t *)a + f->offset;
	const uint8_t *y = (const uint8_t *)b + f->offset;

	/* What stands behind a text's end is nobody's. */
	if (f->kind == LY_KIND_TEXT)
		return !strncmp((const char *)x, (const char *)y, f->size);
	return ly_same(x, y, f->size);
}

enum ly_rc
ly_context_match(const struct ly_context *have, const struct ly_context *want,
    uint32_t open, struct ly_why *why)
{
	for (size_t i = 0; i < LY_COUNT(context); i++) {
		const struct ly_field *f = &context[i];

		assert(f->kind != LY_KIND_BYTES);
		if (open & 1u << i || same_value(f, have, want))
			continue;
		return ly_fail(why, LY_REFUSED,
		    "the quote is over another %s than was asked for", f->name);
	}
	return LY_OK;
}

const uint8_t *
ly_evidence_pcr(const struct ly_evidence *ev, unsigned pcr)
{
	struct ly_rd r = ly_rd_over(ev->pcrs.at, ev->pcrs.len);

	if (pcr >= LY_PCRS_N || !(ev->pcr_mask & 1u << pcr))
		return NULL;
	for (unsigned i = 0; i < pcr; i++)
		if (ev->pcr_mask & 1u << i)
			(void)ly_rd_bytes(&r, 32);
	return ly_rd_bytes(&r, 32);
}

enum ly_rc
ly_evidence_context(const struct ly_evidence *ev, struct ly_context *out,
    struct ly_why *why)
{
	enum ly_rc rc = ly_message_get_tagged(&ly_context_message,
	    ev->context.at, ev->context.len, out, why);

	if (rc == LY_OK && out->role == 0)
		rc = ly_fail(why, LY_MALFORMED, "role: none");
	return rc == LY_OK ? rc : ly_fail_in(why, rc, "context");
}

void
ly_enrol_transcript(struct ly_bytes keys, struct ly_bytes dare,
    const uint8_t nonce[32], uint8_t out[32])
{
	uint8_t len[3][4];
	const struct ly_bytes part[] = { keys, dare, { nonce, 32 } };
	struct ly_bytes pieces[2 * LY_COUNT(part)];

	for (size_t i = 0; i < LY_COUNT(part); i++) {
		struct ly_wr w = ly_wr_over(len[i], sizeof(len[i]));

		ly_wr_u32(&w, (uint32_t)part[i].len);
		pieces[2 * i] = (struct ly_bytes){ len[i], sizeof(len[i]) };
		pieces[2 * i + 1] = part[i];
	}
	ly_sha256_of(pieces, LY_COUNT(pieces), out);
}
