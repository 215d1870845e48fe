/* SPDX-License-Identifier: Apache-2.0 */
/* What a TPM says, and whether the guest is told something else. The first
 * byte chooses the command it answers. */
#include "agent/tpm/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct ly_tpm_policy policy = { .resets = false };
	struct ly_tpm_rsp rsp;
	struct ly_tpm_say say;
	uint32_t code;

	if (len == 0)
		return 0;
	code = data[0] & 1 ? LY_TPM_CC_STARTUP : LY_TPM_CC_FIRST + data[0];
	data++;
	len--;
	if (ly_tpm_rsp_parse(data, len, &rsp) == LY_OK)
		assert(rsp.body_len == len - LY_TPM_HEAD);
	if (ly_tpm_policy_answer(&policy, code, data, len, &say))
		assert(code == LY_TPM_CC_STARTUP &&
		    ly_tpm_rsp_parse(say.at, say.len, &rsp) == LY_OK &&
		    rsp.rc == LY_TPM_RC_SUCCESS);
	return 0;
}
