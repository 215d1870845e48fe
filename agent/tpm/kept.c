/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tpm/kept.h"

#include "agent/tpm/header.h"

static const struct ly_field fields[] = {
	LY_BELOW(struct ly_tpm_kept, way, LY_TPM_WAYS),
	LY_UINT(struct ly_tpm_kept, spec),
	LY_BOOL(struct ly_tpm_kept, busy),
	LY_BELOW(struct ly_tpm_kept, phase, LY_TPM_PHASES),
	LY_BELOW(struct ly_tpm_kept, op, LY_OPS),
	LY_BELOW(struct ly_tpm_kept, wanted, 5),
	LY_UINT(struct ly_tpm_kept, locality),
	LY_BOOL(struct ly_tpm_kept, cancelling),
	LY_UINT(struct ly_tpm_kept, result),
	LY_BELOW(struct ly_tpm_kept, later, LY_TPM_MAX + 1),
	LY_UINT(struct ly_tpm_kept, asked_ms),
};

const struct ly_message ly_tpm_kept_table = LY_MESSAGE(0, "tpm",
    struct ly_tpm_kept, fields, "a way to a TPM");

enum ly_rc
ly_tpm_kept_good(const struct ly_tpm_kept *k, struct ly_why *why)
{
	if (k->busy != (k->phase != 0))
		return ly_fail(why, LY_MALFORMED,
		    "tpm: busy, but with no request");
	if (k->busy && k->way == LY_TPM_CLOSED)
		return ly_fail(why, LY_MALFORMED, "tpm: busy, and closed");
	if (!k->busy && k->later)
		return ly_fail(why, LY_MALFORMED, "tpm: what waits is none");
	return LY_OK;
}
