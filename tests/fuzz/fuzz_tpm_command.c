/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's bytes: taken as a command, judged, and taken from a stream. */
#include "agent/tpm/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
judge(const uint8_t *data, size_t len, bool allow_clear)
{
	const struct ly_tpm_policy policy = { .allow_clear = allow_clear };
	enum ly_tpm_verdict verdict;
	struct ly_tpm_say say;
	struct ly_tpm_cmd cmd;
	struct ly_tpm_rsp rsp;

	verdict = ly_tpm_policy_ask(&policy, data, len, &say);
	if (verdict == LY_TPM_RUN) {
		assert(ly_tpm_cmd_parse(data, len, &cmd) == LY_OK);
		assert(ly_tpm_policy_row(cmd.code));
		return;
	}
	assert(ly_tpm_rsp_parse(say.at, say.len, &rsp) == LY_OK);
	assert(rsp.rc == say.rc);
	assert((verdict == LY_TPM_FEIGN) == (rsp.rc == LY_TPM_RC_SUCCESS));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ly_tpm_cmd cmd;
	size_t size = 0;

	if (ly_tpm_size(data, len, LY_TPM_MAX, &size) == LY_OK)
		assert(size >= LY_TPM_HEAD && size <= LY_TPM_MAX);
	if (ly_tpm_cmd_parse(data, len, &cmd) == LY_OK) {
		assert(size == len && cmd.body_len == len - LY_TPM_HEAD);
		assert(ly_tpm_code_name(cmd.code));
	}
	judge(data, len, false);
	judge(data, len, true);
	return 0;
}
