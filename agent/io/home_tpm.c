/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TPM behind a home: opened for the first command, and once more for a
 * reset after it died; asked only what the policy lets a guest ask.
 */
#include "agent/io/homes_in.h"

static void
dead(struct home *h)
{
	ly_home_feed(h, &(struct ly_home_event){ .kind = LY_HOME_TPM_DEAD },
	    NULL, 0);
}

static void
answer(struct home *h, const uint8_t *body, size_t len)
{
	static const uint8_t success[4];

	ly_home_feed(h,
	    &(struct ly_home_event){ .kind = LY_HOME_ANSWER,
		.ok = len == 4 && memcmp(body, success, 4) == 0 },
	    body, len);
}

static void
on_answer(void *arg, const uint8_t *body, size_t len)
{
	struct home *h = arg;
	struct ly_tpm_say say;

	if (h->core.op == LY_OP_TPM &&
	    ly_tpm_policy_answer(&h->policy, h->running_code, body, len, &say))
		answer(h, say.at, say.len);
	else
		answer(h, body, len);
}

static void
on_dead(void *arg, const char *why)
{
	struct home *h = arg;

	ly_log_alarm(h->core.rec.name, "TPM %s: %s", h->core.rec.tpm, why);
	ly_home_tpm_close(h);
	dead(h);
}

static const struct ly_tpm_ops ops = {
	.on_answer = on_answer,
	.on_dead = on_dead,
};

static bool
open_tpm(struct home *h)
{
	const struct ly_agent_tpm *conf = ly_home_tpm_conf(h->homes,
	    h->core.rec.tpm);
	struct ly_why why;
	enum ly_rc rc;

	if (!conf) {
		ly_log_alarm(h->core.rec.name,
		    "TPM %s is not in the configuration", h->core.rec.tpm);
		return false;
	}
	rc = ly_tpm_open(h->homes->agent->loop, conf->tcti, &ops, h, &h->tpm,
	    &why);
	if (rc != LY_OK) {
		ly_log_alarm(h->core.rec.name, "TPM %s: %s", conf->name,
		    why.text);
		return false;
	}
	h->policy.allow_clear = conf->allow_clear;
	h->policy.resets = ly_tpm_resets(h->tpm);
	h->policy.host_nv = ly_agent_vault_chip(&h->homes->agent->conf, conf) ?
	    h->homes->agent->conf.vault_nv :
	    0;
	ly_log(LY_NOTICE, h->core.rec.name, "TPM %s is open (%s)%s", conf->name,
	    conf->tcti,
	    h->policy.resets ? "" : "; a reset of the VM cannot reset it");
	return true;
}

/* True when the policy has answered in the TPM's place. */
static bool
policy_says(struct home *h, struct ly_bytes body)
{
	struct ly_tpm_cmd cmd;
	struct ly_tpm_say say;

	h->running_code = 0;
	if (ly_tpm_cmd_parse(body.at, body.len, &cmd) == LY_OK)
		h->running_code = cmd.code;
	if (ly_tpm_policy_ask(&h->policy, body.at, body.len, &say) ==
	    LY_TPM_RUN)
		return false;
	if (*say.why)
		ly_log(LY_NOTICE, h->core.rec.name, "%s denied (rc %03x): %s",
		    ly_tpm_code_name(h->running_code), say.rc, say.why);
	answer(h, say.at, say.len);
	return true;
}

void
ly_home_tpm_run(struct home *h, enum ly_op op, uint8_t locality,
    struct ly_bytes body)
{
	if (op == LY_OP_TPM && policy_says(h, body))
		return;
	if (!h->tpm && !open_tpm(h)) {
		dead(h);
		return;
	}
	ly_tpm_submit(h->tpm, op, locality, body.at, body.len);
}

void
ly_home_tpm_cancel(struct home *h)
{
	if (h->tpm)
		ly_tpm_cancel(h->tpm);
}

void
ly_home_tpm_close(struct home *h)
{
	if (h->tpm)
		ly_tpm_close(h->tpm, NULL);
	h->tpm = NULL;
}
