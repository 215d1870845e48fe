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

static const struct ly_field call[] = {
	LY_FIXED(struct ly_call, vm),
	LY_FIXED(struct ly_call, mig),
	LY_FIXED(struct ly_call, nonce),
	LY_UINT(struct ly_call, epoch),
	LY_TEXT(struct ly_call, source),
	LY_TEXT(struct ly_call, dest),
	LY_TEXT(struct ly_call, home),
	LY_BELOW(struct ly_call, lanes, LY_LANES_MAX + 1),
	LY_FIXED(struct ly_call, policy),
	LY_FIXED(struct ly_call, ref),
	LY_UINT(struct ly_call, not_before),
	LY_UINT(struct ly_call, expires),
};
const struct ly_message ly_call_message = LY_MESSAGE(LY_TYPE_CALL,
    "CALL", struct ly_call, call,
    "A manager's call for evidence, with one nonce for all.");

static const struct ly_field sent[] = {
	LY_FIXED(struct ly_sent, vm),
	LY_FIXED(struct ly_sent, mig),
	LY_UINT(struct ly_sent, epoch),
	LY_UINT(struct ly_sent, seq),
	LY_UINT(struct ly_sent, bytes),
	LY_BELOW(struct ly_sent, lanes, LY_LANES_MAX + 1),
	LY_FIXED(struct ly_sent, root),
	LY_FIXED(struct ly_sent, token),
};
const struct ly_message ly_sent_message = LY_MESSAGE(LY_TYPE_SENT,
    "SENT", struct ly_sent, sent,
    "The source's word for what it has sent.");

static const struct ly_field arrived[] = {
	LY_FIXED(struct ly_arrived, vm),
	LY_FIXED(struct ly_arrived, mig),
	LY_UINT(struct ly_arrived, epoch),
	LY_UINT(struct ly_arrived, seq),
	LY_UINT(struct ly_arrived, bytes),
	LY_FIXED(struct ly_arrived, root),
};
const struct ly_message ly_arrived_message = LY_MESSAGE(LY_TYPE_ARRIVED,
    "ARRIVED", struct ly_arrived, arrived,
    "The destination's word that it has what was sent.");

static const struct ly_field decided[] = {
	LY_FIXED(struct ly_decided, vm),
	LY_FIXED(struct ly_decided, mig),
	LY_UINT(struct ly_decided, fate),
	LY_UINT(struct ly_decided, epoch),
	LY_UINT(struct ly_decided, seq),
	LY_TEXT(struct ly_decided, holder),
};
const struct ly_message ly_decided_message = LY_MESSAGE(LY_TYPE_OUTCOME,
    "DECIDED", struct ly_decided, decided,
    "The home's word for what became of a migration.");

static const struct ly_field destroyed[] = {
	LY_FIXED(struct ly_destroyed, vm),
	LY_FIXED(struct ly_destroyed, mig),
	LY_UINT(struct ly_destroyed, epoch),
	LY_UINT(struct ly_destroyed, when),
};
const struct ly_message ly_destroyed_message = LY_MESSAGE(LY_TYPE_DESTROYED,
    "DESTROYED", struct ly_destroyed, destroyed,
    "The source's word that nothing of the VM is left.");

static const struct ly_field head[] = {
	LY_TEXT(struct ly_head, site),
	LY_UINT(struct ly_head, n),
	LY_FIXED(struct ly_head, hash),
	LY_UINT(struct ly_head, when),
};
const struct ly_message ly_head_message = LY_MESSAGE(LY_TYPE_HEAD,
    "HEAD_OF", struct ly_head, head,
    "What a site's permanent record had come to.");

// clang-format on

static const char *const states[LY_REC_STATES] = { "detached", "attached",
	"prepared", "quiesced" };

const char *
ly_record_state_name(unsigned state)
{
	return state < LY_COUNT(states) ? states[state] : "?";
}
