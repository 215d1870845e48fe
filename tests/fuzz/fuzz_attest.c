/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hosts show about their TPMs. The first byte says what the rest is: a
 * public area for each use, an attestation, a table in its packed rendering, a
 * context, a stream's identity. What is good comes back the same.
 */
#include "lib/attest/blob.h"
#include "lib/attest/quote.h"
#include "lib/attest/streamkeys.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct ly_why why;

static void public(enum ly_tpm_use use, struct ly_bytes in)
{
	uint8_t again[LY_PUBLIC_MAX];
	struct ly_wr w = ly_wr_over(again, sizeof(again));
	struct ly_tpm_key k, back;

	if (ly_tpm_key_read(use, in, &k, &why) != LY_OK || k.rsa)
		return;
	ly_tpm_key_put(use, &k.point, &w);
	if (ly_tpm_key_read(use, (struct ly_bytes){ again, ly_wr_len(&w) },
		&back, &why) != LY_OK ||
	    memcmp(&back.point, &k.point, sizeof(k.point)) != 0)
		abort();
}

static void
attestation(struct ly_bytes in)
{
	struct ly_attest a;

	if (ly_attest_read(in, &a, &why) != LY_OK)
		return;
	if (a.type != LY_ATTEST_QUOTE && a.type != LY_ATTEST_CERTIFY)
		abort();
}

/* A stranger's evidence, held against an AK of his. */
static void
judge(const struct ly_evidence *ev)
{
	struct ly_tpm_key ak;
	struct ly_quote_want want = { .type = LY_QUOTE_DEST,
		.ak = &ak,
		.any_boot = true };
	struct ly_context x;

	for (unsigned i = 0; i < LY_PCRS_N + 1; i++) {
		const uint8_t *pcr = ly_evidence_pcr(ev, i);

		if (pcr && (size_t)(pcr - ev->pcrs.at) + 32 > ev->pcrs.len)
			abort();
	}
	if (ly_tpm_key_read(LY_TPM_AK, ev->ak, &ak, &why) != LY_OK)
		return;
	if (ly_evidence_context(ev, &x, &why) == LY_OK &&
	    ly_context_match(&x, &x, 0, &why) != LY_OK)
		abort();
	if (ly_quote_check(ev, &want, NULL, &why) == LY_OK &&
	    ev->pcrs.len != 5 * 32)
		abort();
}

union any_table {
	struct ly_evidence evidence;
	struct ly_enrol_keys keys;
	struct ly_enrol_dare dare;
	struct ly_enrol_proof proof;
	struct ly_enrol_papers papers;
	struct ly_key_blob blob;
	struct ly_move_proof move;
};

static const struct ly_message *const tables[] = { &ly_evidence_message,
	&ly_enrol_keys_message, &ly_enrol_dare_message, &ly_enrol_proof_message,
	&ly_enrol_papers_message, &ly_key_blob_message,
	&ly_move_proof_message };

static void
table(const struct ly_message *m, struct ly_bytes in)
{
	const struct ly_policy policy = { { 0 } };
	union any_table t;
	struct ly_wr w;
	uint8_t *again;

	if (ly_message_get(m, in.at, in.len, &t, &why) != LY_OK)
		return;
	if (m == &ly_evidence_message)
		judge(&t.evidence);
	if (m == &ly_key_blob_message)
		(void)!ly_blob_check(&t.blob, &policy, NULL, &why);
	again = malloc(in.len + 1);
	if (!again)
		abort();
	w = ly_wr_over(again, in.len + 1);
	ly_message_put(m, &t, &w);
	if (w.bad || ly_wr_len(&w) != in.len ||
	    memcmp(again, in.at, in.len) != 0)
		abort();
	free(again);
}

static void
context(struct ly_bytes in)
{
	struct ly_evidence ev = { .context = in };
	struct ly_context x;

	if (ly_evidence_context(&ev, &x, &why) == LY_OK &&
	    (x.role == 0 || x.role >= LY_QUOTE_TYPES))
		abort();
}

static void
identity(struct ly_bytes in)
{
	char again[LY_PSK_ID_MAX];
	struct ly_id mig;
	uint32_t generation;
	uint8_t lane;

	if (ly_stream_identity_read((const char *)in.at, in.len, &mig, &lane,
		&generation) != LY_OK)
		return;
	ly_stream_identity(&mig, lane, generation, again);
	if (strlen(again) != in.len || memcmp(again, in.at, in.len) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ly_rd r = ly_rd_over(data, len);
	unsigned what = ly_rd_u8(&r);
	struct ly_bytes in = { .at = r.at, .len = ly_rd_left(&r) };

	if (r.bad)
		return 0;
	if (what < LY_TPM_USES)
	public((enum ly_tpm_use)what, in);
	else if (what == 16) attestation(in);
	else if (what == 17) context(in);
	else if (what == 18) identity(in);
	else if (what >= 32 && what - 32 < LY_COUNT(tables))
	    table(tables[what - 32], in);
	return 0;
}
