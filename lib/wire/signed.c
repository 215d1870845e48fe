/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/signed.h"

// clang-format off

static const struct ly_field ticket[] = {
	LY_FIXED(struct ly_ticket, vm),
	LY_FIXED(struct ly_ticket, mig),
	LY_TEXT(struct ly_ticket, home),
	LY_TEXT(struct ly_ticket, holder),
	LY_UINT(struct ly_ticket, rights),
	LY_UINT(struct ly_ticket, from_epoch),
	LY_UINT(struct ly_ticket, to_epoch),
	LY_UINT(struct ly_ticket, not_before),
	LY_UINT(struct ly_ticket, expires),
	LY_FIXED(struct ly_ticket, nonce),
};
const struct ly_message ly_ticket_message = LY_MESSAGE(LY_TYPE_TICKET,
    "TICKET", struct ly_ticket, ticket,
    "A manager's permission for one host to be granted one lease.");

static const struct ly_field token[] = {
	LY_FIXED(struct ly_token, magic),
	LY_FIXED(struct ly_token, vm),
	LY_FIXED(struct ly_token, mig),
	LY_UINT(struct ly_token, epoch),
	LY_UINT(struct ly_token, seq),
	LY_UINT(struct ly_token, failed),
	LY_FIXED(struct ly_token, mac),
};
const struct ly_message ly_token_message = LY_MESSAGE(LY_TYPE_TOKEN,
    "TOKEN", struct ly_token, token,
    "What the stream carries instead of TPM state.");

static const struct ly_field record[] = {
	LY_FIXED(struct ly_record, vm),
	LY_TEXT(struct ly_record, name),
	LY_TEXT(struct ly_record, tpm),
	LY_UINT(struct ly_record, state),
	LY_UINT(struct ly_record, epoch),
	LY_TEXT(struct ly_record, holder),
	LY_SECRET(struct ly_record, secret),
	LY_FIXED(struct ly_record, mig),
	LY_TEXT(struct ly_record, to),
	LY_UINT(struct ly_record, to_epoch),
	LY_UINT(struct ly_record, expires),
	LY_UINT(struct ly_record, seq),
	LY_FIXED(struct ly_record, settled),
};
const struct ly_message ly_record_message = LY_MESSAGE(LY_TYPE_RECORD,
    "RECORD", struct ly_record, record,
    "What the home knows of one VM, on disk.");

// clang-format on

static const char *const states[LY_REC_STATES] = { "detached", "attached",
	"prepared", "quiesced" };

const char *
ly_record_state_name(unsigned state)
{
	return state < LY_COUNT(states) ? states[state] : "?";
}
