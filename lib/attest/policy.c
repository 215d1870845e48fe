/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/attest/policy.h"

/* TPM 2.0 part 3: each policy command's code is hashed in by it. */
#define CC_POLICY_AUTHORIZE 0x0000016a
#define CC_POLICY_COMMAND_CODE 0x0000016c
#define CC_POLICY_OR 0x00000171
#define CC_POLICY_PCR 0x0000017f
#define CC_POLICY_SIGNED 0x00000160
#define CC_POLICY_DUPLICATION_SELECT 0x00000188
#define ALG_SHA256 0x000b
#define SELECT_BYTES 3
#define BRANCHES_MOST 8
#define STEP_MOST 384

void
ly_policy_start(struct ly_policy *p)
{
	*p = (struct ly_policy){ { 0 } };
}

/* digest = H(digest | code | what) */
static void
step(struct ly_policy *p, uint32_t code, struct ly_bytes what)
{
	uint8_t buf[STEP_MOST];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_bytes(&w, p->digest, sizeof(p->digest));
	ly_wr_u32(&w, code);
	ly_wr_bytes(&w, what.at, what.len);
	assert(!w.bad);
	ly_sha256(buf, ly_wr_len(&w), p->digest);
}

/* The two steps of a policy that names a key: its Name, then the ref. */
static void
named(struct ly_policy *p, uint32_t code, const uint8_t name[LY_TPM_NAME],
    const uint8_t ref[32])
{
	const struct ly_bytes pieces[] = { { p->digest, sizeof(p->digest) },
		{ ref, 32 } };

	step(p, code, (struct ly_bytes){ name, LY_TPM_NAME });
	ly_sha256_of(pieces, LY_COUNT(pieces), p->digest);
}

void
ly_pcr_selection_put(uint32_t pcr_mask, struct ly_wr *w)
{
	ly_wr_u32(w, 1); /* bank */
	ly_wr_u16(w, ALG_SHA256);
	ly_wr_u8(w, SELECT_BYTES);
	for (unsigned i = 0; i < SELECT_BYTES; i++)
		ly_wr_u8(w, (uint8_t)(pcr_mask >> 8 * i));
}

size_t
ly_pcrs_n(uint32_t pcr_mask)
{
	size_t n = 0;

	for (; pcr_mask; pcr_mask &= pcr_mask - 1)
		n++;
	return n;
}

void
ly_pcr_digest(struct ly_bytes values, uint8_t out[32])
{
	ly_sha256(values.at, values.len, out);
}

void
ly_policy_pcr(struct ly_policy *p, uint32_t pcr_mask,
    const uint8_t pcr_digest[32])
{
	uint8_t buf[64];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_pcr_selection_put(pcr_mask, &w);
	ly_wr_bytes(&w, pcr_digest, 32);
	step(p, CC_POLICY_PCR, (struct ly_bytes){ buf, ly_wr_len(&w) });
}

void
ly_policy_authorize(struct ly_policy *p, const uint8_t name[LY_TPM_NAME],
    const uint8_t ref[32])
{
	ly_policy_start(p);
	named(p, CC_POLICY_AUTHORIZE, name, ref);
}

void
ly_policy_signed(struct ly_policy *p, const uint8_t name[LY_TPM_NAME],
    const uint8_t ref[32])
{
	named(p, CC_POLICY_SIGNED, name, ref);
}

void
ly_policy_command(struct ly_policy *p, uint32_t code)
{
	uint8_t buf[4];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_u32(&w, code);
	step(p, CC_POLICY_COMMAND_CODE, (struct ly_bytes){ buf, sizeof(buf) });
}

void
ly_policy_or(struct ly_policy *p, const struct ly_policy *branches, size_t n)
{
	uint8_t buf[BRANCHES_MOST * 32];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	assert(n >= 2 && n <= BRANCHES_MOST);
	for (size_t i = 0; i < n; i++)
		ly_wr_bytes(&w, branches[i].digest, 32);
	ly_policy_start(p);
	step(p, CC_POLICY_OR, (struct ly_bytes){ buf, ly_wr_len(&w) });
}

void
ly_policy_duplication_select(struct ly_policy *p,
    const uint8_t object[LY_TPM_NAME], const uint8_t parent[LY_TPM_NAME])
{
	uint8_t buf[2 * LY_TPM_NAME + 1];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_bytes(&w, object, object ? LY_TPM_NAME : 0);
	ly_wr_bytes(&w, parent, LY_TPM_NAME);
	ly_wr_u8(&w, object != NULL);
	step(p, CC_POLICY_DUPLICATION_SELECT,
	    (struct ly_bytes){ buf, ly_wr_len(&w) });
}

/* ---- what is signed ---- */

void
ly_class_ref(const char *class, uint64_t generation, uint8_t out[32])
{
	static const char head[] = "lanyard.host-class:";
	uint8_t g[8];
	struct ly_wr w = ly_wr_over(g, sizeof(g));
	const struct ly_bytes pieces[] = {
		{ (const uint8_t *)head, sizeof(head) - 1 },
		{ (const uint8_t *)class, strlen(class) + 1 },
		{ g, sizeof(g) },
	};

	ly_wr_u64(&w, generation);
	ly_sha256_of(pieces, LY_COUNT(pieces), out);
}

void
ly_release_ref(const struct ly_id *mig, const uint8_t nonce[32],
    const char *dest, const uint8_t sk_name[LY_TPM_NAME], uint8_t out[32])
{
	static const char head[] = "lanyard.release"; /* with its NUL */
	const struct ly_bytes pieces[] = {
		{ (const uint8_t *)head, sizeof(head) },
		{ mig->b, sizeof(mig->b) },
		{ nonce, 32 },
		{ (const uint8_t *)dest, strlen(dest) + 1 },
		{ sk_name, LY_TPM_NAME },
	};

	ly_sha256_of(pieces, LY_COUNT(pieces), out);
}

void
ly_approval_signed(const struct ly_policy *approved, const uint8_t ref[32],
    uint8_t out[LY_APPROVAL_SIGNED])
{
	memcpy(out, approved->digest, 32);
	memcpy(out + 32, ref, 32);
}

enum ly_rc
ly_release_signed(struct ly_bytes nonce_tpm, const uint8_t ref[32],
    uint8_t out[LY_RELEASE_SIGNED_MAX], size_t *len, struct ly_why *why)
{
	struct ly_wr w = ly_wr_over(out, LY_RELEASE_SIGNED_MAX);

	if (nonce_tpm.len < 16 || nonce_tpm.len > LY_NONCE_TPM_MAX)
		return ly_fail(why, LY_MALFORMED,
		    "a session's nonce of %zu bytes", nonce_tpm.len);
	ly_wr_bytes(&w, nonce_tpm.at, nonce_tpm.len);
	ly_wr_u32(&w, LY_RELEASE_S);
	ly_wr_bytes(&w, ref, 32);
	*len = ly_wr_len(&w);
	return LY_OK;
}

void
ly_policy_of_key(const uint8_t site_name[LY_TPM_NAME],
    const uint8_t class_ref[32], const uint8_t manager_name[LY_TPM_NAME],
    const uint8_t release_ref[32], struct ly_policy *out)
{
	ly_policy_authorize(out, site_name, class_ref);
	ly_policy_signed(out, manager_name, release_ref);
}
