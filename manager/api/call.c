/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/api/call.h"

void
ly_api_no(const struct ly_api_call *c, enum ly_rc rc, const struct ly_why *why)
{
	ly_api_fail(c->m, c->client, rc, why->text);
}

void
ly_api_yes(const struct ly_api_call *c, json_t *answer)
{
	json_object_set_new(answer, "ok", json_true());
	ly_api_final(c->m, c->client, answer);
}

struct ly_vm *
ly_api_vm(const struct ly_api_call *c)
{
	struct ly_vm *vm = NULL;
	struct ly_why why;
	enum ly_rc rc = ly_roster_find_vm(&c->m->roster,
	    ly_api_text(c->r, "vm"), &vm, &why);

	if (rc != LY_OK)
		ly_api_no(c, rc, &why);
	return rc == LY_OK ? vm : NULL;
}

struct ly_host *
ly_api_host(const struct ly_api_call *c, const char *key, bool ours)
{
	const char *text = ly_api_text(c->r, key);
	struct ly_host *h = NULL;
	struct ly_why why;
	enum ly_rc rc = LY_OK;

	if (ours && !strchr(text, '/'))
		h = ly_roster_host(&c->m->roster, c->m->conf.site, text);
	if (!h)
		rc = ly_roster_find_host(&c->m->roster, text, &h, &why);
	if (rc == LY_OK && ours && strcmp(h->at.site, c->m->conf.site) != 0)
		rc = ly_fail(&why, LY_REFUSED,
		    "%s/%s is not a host of this site (%s)", h->at.site,
		    h->at.name, c->m->conf.site);
	if (rc != LY_OK)
		ly_api_no(c, rc, &why);
	return rc == LY_OK ? h : NULL;
}
