/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/swtpm.h"

static const struct ly_field fields[] = {
	LY_BELOW(struct ly_swtpm, mode, LY_GUEST_MODES),
	LY_BELOW(struct ly_swtpm, phase, LY_SWTPM_PHASES),
	LY_BELOW(struct ly_swtpm, waiting, LY_SWTPM_SAVE + 1),
	LY_BELOW(struct ly_swtpm, op, LY_OPS),
	LY_BOOL(struct ly_swtpm, orphan),
	LY_BOOL(struct ly_swtpm, pad),
	LY_BOOL(struct ly_swtpm, session),
	LY_BOOL(struct ly_swtpm, inited),
	LY_BOOL(struct ly_swtpm, token_in),
	LY_BOOL(struct ly_swtpm, busy),
	LY_UINT(struct ly_swtpm, locality),
	LY_BOOL(struct ly_swtpm, established),
	LY_UINT(struct ly_swtpm, code),
	LY_UINT(struct ly_swtpm, result),
	LY_UINT(struct ly_swtpm, left),
	LY_BELOW(struct ly_swtpm, buffer, LY_TPM_MAX + 1),
	LY_BELOW(struct ly_swtpm, have, LY_TOKEN_MAX + 1),
	LY_BELOW(struct ly_swtpm, need, LY_TOKEN_MAX + 1),
	LY_BELOW(struct ly_swtpm, token_len, LY_TOKEN_MAX + 1),
	LY_UINT(struct ly_swtpm, blobs),
	LY_FIXED(struct ly_swtpm, buf),
	LY_FIXED(struct ly_swtpm, token),
};

const struct ly_message ly_swtpm_kept = LY_MESSAGE(0, "endpoint",
    struct ly_swtpm, fields, "the endpoint's machine");

/* A request that is under way is one there is; only what an owner can owe is
 * owed. */
enum ly_rc
ly_swtpm_kept_good(const struct ly_swtpm *m, struct ly_why *why)
{
	bool owed = m->waiting == LY_SWTPM_OP ||
	    m->waiting == LY_SWTPM_RESUME || m->waiting == LY_SWTPM_SAVE;

	if (m->phase != 0 && strcmp(ly_swtpm_name(m->code), "?") == 0)
		return ly_fail(why, LY_MALFORMED,
		    "endpoint: request %u is none", m->code);
	if (m->have > m->need)
		return ly_fail(why, LY_MALFORMED,
		    "endpoint: more bytes than its request has");
	if (m->waiting != LY_SWTPM_NOTHING && !owed)
		return ly_fail(why, LY_MALFORMED,
		    "endpoint: waits for what nobody owes");
	return LY_OK;
}
