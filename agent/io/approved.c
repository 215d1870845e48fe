/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/approved.h"

#include "agent/io/control.h"
#include "lib/io/approvals.h"

enum ly_rc
ly_approved_open(struct ly_agent *a, struct ly_why *why)
{
	char dir[300];

	ly_print(dir, sizeof(dir), "%s/approved", a->conf.state);
	return ly_approvals_open(dir, a->conf.trust, &a->approvals, why);
}

void
ly_approved_close(struct ly_agent *a)
{
	ly_approvals_free(a->approvals);
	a->approvals = NULL;
}

const struct ly_approved *
ly_agent_approved(struct ly_agent *a, const char *site)
{
	return ly_approvals_of(a->approvals, site);
}

enum ly_rc
ly_agent_policy_name(struct ly_agent *a, const char *site,
    uint8_t name[LY_TPM_NAME], struct ly_point *key, struct ly_why *why)
{
	struct ly_point point;
	enum ly_rc rc = ly_approvals_key(a->approvals, site, &point, why);

	if (rc != LY_OK)
		return rc;
	ly_tpm_authority_name(&point, name);
	if (key)
		*key = point;
	return LY_OK;
}

static void
send_back(struct ly_agent *a, const char *site)
{
	struct ly_approved_told m = { .list = ly_approvals_bytes(a->approvals,
					  site) };

	ly_copy(m.site, sizeof(m.site), site);
	ly_log(LY_WARNING, "policy",
	    "our manager has an older list of the approved states of %s than"
	    " we do; it gets ours",
	    site);
	if (a->control)
		ly_control_report(a->control, LY_APPROVED, &m);
}

void
ly_approved_hear(struct ly_agent *a, const struct ly_approved_told *m)
{
	enum ly_approvals_news news;
	struct ly_why why;

	if (m->list.len == 0) { /* it has none */
		if (ly_agent_approved(a, m->site))
			send_back(a, m->site);
		return;
	}
	if (ly_approvals_take(a->approvals, m->site, m->list, &news, &why) !=
	    LY_OK)
		ly_log(LY_WARNING, "policy", "%s", why.text);
	else if (news == LY_APPROVALS_OLDER)
		send_back(a, m->site);
	else if (news == LY_APPROVALS_NEWER)
		ly_log(LY_INFO, "policy",
		    "a new list of the approved states of %s", m->site);
}
