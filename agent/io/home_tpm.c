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

static struct ly_home_event
answer(const uint8_t *body, size_t len)
{
	static const uint8_t success[4];

	return (struct ly_home_event){ .kind = LY_HOME_ANSWER,
		.ok = len == 4 && memcmp(body, success, 4) == 0 };
}

static void
on_answer(void *arg, const uint8_t *body, size_t len)
{
	struct home *h = arg;
	struct ly_tpm_say say;
	struct ly_home_event ev;

	if (h->core.peeking) { /* not a word of it is the guest's */
		ly_home_vpcrs_heard(h, body, len);
		ev = answer(body, 0);
		ly_home_feed(h, &ev, NULL, 0);
		return;
	}
	if (h->core.op == LY_OP_TPM &&
	    ly_tpm_policy_answer(&h->policy, h->shell.code, body, len, &say)) {
		body = say.at;
		len = say.len;
	}
	ev = answer(body, len);
	ly_home_feed(h, &ev, body, len);
}

static void
on_dead(void *arg, const char *why)
{
	struct home *h = arg;

	ly_log_alarm(h->core.rec.name, "TPM %s: %s", h->core.rec.tpm, why);
	ly_home_tpm_close(h);
	dead(h);
}

static void
on_step(void *arg)
{
	ly_home_commit(arg);
}

static const struct ly_tpm_ops ops = {
	.on_answer = on_answer,
	.on_dead = on_dead,
	.on_step = on_step,
};

/* NULL, and told: there is no such TPM. */
static const struct ly_agent_tpm *
conf_of(const struct home *h)
{
	const struct ly_agent_tpm *conf = ly_home_tpm_conf(h->homes,
	    h->core.rec.tpm);

	if (!conf)
		ly_log_alarm(h->core.rec.name,
		    "TPM %s is not in the configuration", h->core.rec.tpm);
	return conf;
}

static void
opened(struct home *h, const struct ly_agent_tpm *conf, const char *how)
{
	h->policy.allow_clear = conf->allow_clear;
	h->policy.resets = ly_tpm_resets(h->tpm);
	h->policy.host_nv = ly_agent_vault_chip(&h->homes->agent->conf, conf) ?
	    h->homes->agent->conf.vault_nv :
	    0;
	ly_log(LY_NOTICE, h->core.rec.name, "TPM %s is open%s (%s)%s",
	    conf->name, how, conf->tcti,
	    h->policy.resets ? "" : "; a reset of the VM cannot reset it");
}

static bool
open_tpm(struct home *h)
{
	const struct ly_agent_tpm *conf = conf_of(h);
	struct ly_why why;

	if (!conf)
		return false;
	if (!ly_home_slot(h)) {
		ly_log_alarm(h->core.rec.name,
		    "TPM %s: this agent serves %u homes, and no more",
		    conf->name, LY_KEEP_SLOTS);
		return false;
	}
	if (ly_tpm_open(h->homes->agent->loop, conf->tcti, h->slot, &ops, h,
		&h->tpm, &why) != LY_OK) {
		ly_log_alarm(h->core.rec.name, "TPM %s: %s", conf->name,
		    why.text);
		return false;
	}
	opened(h, conf, "");
	return true;
}

/* True when the policy has answered in the TPM's place. */
static bool
policy_says(struct home *h, struct ly_bytes body, struct ly_tpm_say *say)
{
	if (ly_tpm_policy_ask(&h->policy, body.at, body.len, say) == LY_TPM_RUN)
		return false;
	if (*say->why)
		ly_log(LY_NOTICE, h->core.rec.name, "%s denied (rc %03x): %s",
		    ly_tpm_code_name(h->shell.code), say->rc, say->why);
	return true;
}

bool
ly_home_tpm_run(struct home *h, enum ly_op op, struct ly_bytes command,
    struct ly_home_event *made, struct ly_tpm_say *say)
{
	struct ly_tpm_cmd cmd;

	h->shell.code = 0;
	if (op == LY_OP_TPM &&
	    ly_tpm_cmd_parse(command.at, command.len, &cmd) == LY_OK)
		h->shell.code = cmd.code;
	if (op == LY_OP_TPM && policy_says(h, command, say)) {
		*made = answer(say->at, say->len);
		return false;
	}
	if (!h->tpm && !open_tpm(h)) {
		*made = (struct ly_home_event){ .kind = LY_HOME_TPM_DEAD };
		return false;
	}
	ly_tpm_submit(h->tpm, op, h->shell.locality, command.at, command.len);
	return true;
}

bool
ly_home_tpm_peek(struct home *h, struct ly_home_event *made)
{
	uint8_t command[64];
	size_t len;

	if (!h->tpm && !open_tpm(h)) {
		*made = (struct ly_home_event){ .kind = LY_HOME_TPM_DEAD };
		return false;
	}
	len = ly_home_vpcrs_command(h, command, sizeof(command));
	ly_tpm_submit(h->tpm, LY_OP_TPM, 0, command, len);
	return true;
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

void
ly_home_tpm_leave(struct home *h)
{
	if (h->tpm)
		ly_tpm_leave(h->tpm, NULL);
	h->tpm = NULL;
}

/* One that cannot be gone on with has ended, as if it had hung up, if a command
 * was under way or its connection is lost. */
void
ly_home_tpm_wake(struct home *h, const struct ly_tpm_kept *kept)
{
	const struct ly_agent_tpm *conf = conf_of(h);
	struct ly_why why = { "not in the configuration" };
	struct ly_tpm_kept still = *kept;
	enum ly_rc rc = LY_OUTSIDE;

	if (conf && h->core.peeking && kept->way == LY_TPM_TCTI) {
		/* Lost with its connection, and no loss. */
		struct ly_home_event over = answer(NULL, 0);

		ly_home_feed(h, &over, NULL, 0);
		still.busy = false;
	}
	if (conf)
		rc = ly_tpm_wake(h->homes->agent->loop, conf->tcti, h->slot,
		    &still, &ops, h, &h->tpm, &why);
	if (rc == LY_OK) {
		opened(h, conf, " still");
		ly_home_commit(h);
		return;
	}
	for (unsigned i = 0; i < LY_SLOT_FDS; i++)
		ly_slot_drop(h->slot, i);
	if (rc == LY_UNKNOWN) {
		ly_home_commit(h);
		return;
	}
	ly_log_alarm(h->core.rec.name, "TPM %s: %s", h->core.rec.tpm, why.text);
	dead(h);
}

void
ly_home_tpm_look(struct home *h, uint64_t boot_ms)
{
	const struct ly_tpm_kept *k = h->tpm ? ly_tpm_kept(h->tpm) : NULL;
	const struct ly_agent_tpm *conf;
	char why[80];

	if (!k || !k->busy)
		return;
	conf = ly_home_tpm_conf(h->homes, h->core.rec.tpm);
	if (!conf || boot_ms < k->asked_ms + conf->patience_s * 1000)
		return;
	ly_print(why, sizeof(why),
	    "it has not answered for %u s, and is given up",
	    (unsigned)conf->patience_s);
	on_dead(h, why);
}
