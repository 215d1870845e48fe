/* SPDX-License-Identifier: Apache-2.0 */
/* The checks, one behind the other, each with its name before its text. */
#include "lib/attest/appraise.h"

/* ---- what is wanted ---- */

/* A home tells of the VM's TPM what nobody else knows, a destination of the
 * QEMU it would start. */
static const struct {
	uint32_t open;
	const char *what;
} roles[LY_QUOTE_ROLES] = {
	[LY_AS_SOURCE] = { 0, "source" },
	[LY_AS_DEST] = { LY_CTX_LAUNCH, "destination" },
	[LY_AS_HOME] = { LY_CTX_SEQ | LY_CTX_VPCRS | LY_CTX_HOLDER_HK, "home" },
	[LY_AS_PLACE] = { 0, "place" },
	[LY_AS_TPM] = { LY_CTX_SEQ | LY_CTX_VPCRS | LY_CTX_HOLDER_HK, "home" },
};

static const char *
named(const struct ly_call *call, enum ly_quote_role role)
{
	switch (role) {
	case LY_AS_SOURCE:
	case LY_AS_PLACE:
		return call->source;
	case LY_AS_DEST:
		return call->dest;
	case LY_AS_HOME:
	case LY_AS_TPM:
		return call->home;
	case LY_QUOTE_ROLES:
		break;
	}
	return "";
}

enum ly_rc
ly_appraise_want(const struct ly_call *call, enum ly_quote_role role,
    const struct ly_appraise_host *host, struct ly_context *want,
    uint32_t *open, struct ly_why *why)
{
	unsigned type = ly_quote_type_of(role);

	if (type == 0 || strcmp(named(call, role), host->id) != 0)
		return ly_fail(why, LY_REFUSED,
		    "the call does not name %s as its %s", host->id,
		    type ? roles[role].what : "?");
	memset(want, 0, sizeof(*want));
	want->role = (uint8_t)type;
	want->vm = call->vm;
	want->mig = call->mig;
	want->epoch = call->epoch;
	memcpy(want->nonce, call->nonce, sizeof(want->nonce));
	memcpy(want->hk, host->hk, sizeof(want->hk));
	memcpy(want->sk_name, host->sk_name, sizeof(want->sk_name));
	ly_copy(want->self, sizeof(want->self), host->id);
	ly_copy(want->source, sizeof(want->source), call->source);
	ly_copy(want->dest, sizeof(want->dest), call->dest);
	ly_copy(want->home, sizeof(want->home), call->home);
	*open = roles[role].open;
	return LY_OK;
}

/* ---- the checks ---- */

static enum ly_rc
check_key(enum ly_tpm_use use, struct ly_bytes area,
    const uint8_t name[LY_TPM_NAME], struct ly_tpm_key *out, struct ly_why *why)
{
	enum ly_rc rc = ly_tpm_key_read(use, area, out, why);

	if (rc == LY_OK && !ly_same(out->name, name, LY_TPM_NAME))
		return ly_fail(why, LY_REFUSED,
		    "its %s is not that of its certificate",
		    ly_tpm_use_name(use));
	return rc;
}

static enum ly_rc
check_keys(const struct ly_appraise *a, struct ly_appraised *out,
    struct ly_why *why)
{
	enum ly_rc rc = check_key(LY_TPM_AK, a->evidence->ak, a->host->ak_name,
	    &out->ak, why);

	if (rc == LY_OK)
		rc = check_key(LY_TPM_SK, a->evidence->sk, a->host->sk_name,
		    &out->sk, why);
	return rc == LY_OK ? rc : ly_fail_in(why, rc, "keys");
}

/* ly_quote_check() says "quote" by itself. */
static enum ly_rc
check_quote(const struct ly_appraise *a, struct ly_appraised *out,
    struct ly_why *why)
{
	const struct ly_quote_want want = {
		.type = (enum ly_quote_type)a->want->role,
		.ak = &out->ak,
		.pcr_mask = a->pcr_mask,
		.any_boot = a->any_boot,
		.reset_count = a->host->reset_count,
		.restart_count = a->host->restart_count,
	};

	return ly_quote_check(a->evidence, &want, &out->attest, why);
}

static enum ly_rc
check_context(const struct ly_appraise *a, struct ly_appraised *out,
    struct ly_why *why)
{
	enum ly_rc rc = ly_evidence_context(a->evidence, &out->context, why);

	if (rc != LY_OK)
		return rc;
	rc = ly_context_match(&out->context, a->want, a->open, why);
	return rc == LY_OK ? rc : ly_fail_in(why, rc, "context");
}

static enum ly_rc
check_log(const struct ly_appraise *a, struct ly_appraised *out,
    struct ly_why *why)
{
	uint8_t pcr[LY_PCRS_N][32];
	enum ly_rc rc;

	(void)out;
	if (a->logless)
		return LY_OK;
	ly_appraise_pcrs(a->evidence, pcr);
	rc = ly_eventlog_explains(a->evidence->log, a->evidence->pcr_mask, pcr,
	    why);
	return rc == LY_OK ? rc : ly_fail_in(why, rc, "log");
}

/* The event stands before the rest: the text may be cut on its way. */
static enum ly_rc
tell_event(const struct ly_appraise *a, const struct ly_appraised *out,
    struct ly_why *why)
{
	const struct ly_approved_entry *e = out->entry;
	struct ly_bytes reference = a->log_of(a->arg, e->log);
	struct ly_why event, state = *why;

	if (reference.len == 0 ||
	    ly_eventlog_compare(a->evidence->log, reference, out->differ,
		&event) != LY_REFUSED)
		return LY_REFUSED;
	return ly_fail(why, LY_REFUSED, "%s; %s", event.text, state.text);
}

static enum ly_rc
check_state(const struct ly_appraise *a, struct ly_appraised *out,
    struct ly_why *why)
{
	uint8_t pcr[LY_PCRS_N][32];
	enum ly_rc rc;

	if (a->any_state)
		return LY_OK;
	if (!a->list)
		return ly_fail(why, LY_REFUSED,
		    "state: there is no list of approved states of its site");
	ly_appraise_pcrs(a->evidence, pcr);
	rc = ly_approved_find(a->list, a->host->class, a->evidence->pcr_mask,
	    pcr, &out->entry, why);
	if (rc == LY_OK)
		return rc;
	if (out->entry)
		out->differ = ly_approved_differ(out->entry,
		    a->evidence->pcr_mask, pcr);
	if (out->entry && a->log_of && !a->logless)
		rc = tell_event(a, out, why);
	return ly_fail_in(why, rc, "state");
}

static enum ly_rc (*const checks[])(const struct ly_appraise *a,
    struct ly_appraised *out, struct ly_why *why) = {
	check_keys,
	check_quote,
	check_context,
	check_log,
	check_state,
};

enum ly_rc
ly_appraise(const struct ly_appraise *a, struct ly_appraised *out,
    struct ly_why *why)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < LY_COUNT(checks); i++) {
		enum ly_rc rc = checks[i](a, out, why);

		if (rc != LY_OK)
			return ly_fail_in(why, rc, "%s", a->side);
	}
	return LY_OK;
}

void
ly_appraise_pcrs(const struct ly_evidence *ev, uint8_t pcr[LY_PCRS_N][32])
{
	for (unsigned i = 0; i < LY_PCRS_N; i++) {
		const uint8_t *at = ly_evidence_pcr(ev, i);

		memset(pcr[i], 0, 32);
		if (at)
			memcpy(pcr[i], at, 32);
	}
}
