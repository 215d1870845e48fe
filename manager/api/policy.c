/* SPDX-License-Identifier: Apache-2.0 */
/* Approved states: what is in force, what a host is in, and a newer list. */
#include "manager/api/call.h"
#include "manager/io/policy.h"
#include "manager/policy/appraise.h"

#include <stdlib.h>

static json_t *
hex_json(const void *at, size_t len)
{
	char *hex = malloc(2 * len + 1);
	json_t *out;

	if (!hex)
		abort();
	ly_hex(at, len, hex);
	out = json_string(hex);
	free(hex);
	return out;
}

/* {"0": "hex", "4": ...}: `values` are those of `mask`, the lowest first. */
static json_t *
pcrs_json(uint32_t mask, struct ly_bytes values)
{
	struct ly_rd r = ly_rd_over(values.at, values.len);
	json_t *out = json_object();
	char name[8];

	for (unsigned i = 0; i < LY_PCRS_N; i++) {
		const uint8_t *at;

		if (!(mask & 1u << i))
			continue;
		at = ly_rd_bytes(&r, 32);
		ly_print(name, sizeof(name), "%u", i);
		if (at)
			json_object_set_new(out, name, hex_json(at, 32));
	}
	return out;
}

static json_t *
entry_json(unsigned number, const struct ly_approved_entry *e)
{
	static const uint8_t none[32];
	json_t *out = json_pack("{s:i, s:s, s:s, s:I}", "entry", (int)number,
	    "class", e->class, "note", e->note, "when", (json_int_t)e->when);

	json_object_set_new(out, "pcrs", pcrs_json(e->mask, e->pcrs));
	json_object_set_new(out, "policy",
	    hex_json(e->policy.digest, sizeof(e->policy.digest)));
	json_object_set_new(out, "policy_ref", hex_json(e->ref, 32));
	if (memcmp(e->log, none, sizeof(none)) != 0)
		json_object_set_new(out, "log", hex_json(e->log, 32));
	return out;
}

void
ly_api_policy_show(const struct ly_api_call *c)
{
	struct ly_manager *m = c->m;
	const char *asked = ly_api_text(c->r, "site");
	const char *site = asked ? asked : m->conf.site;
	const struct ly_approved *list = ly_policy_list(m, site);
	struct ly_bytes bytes = ly_policy_bytes(m, site);
	json_t *entries = json_array(), *out;
	uint8_t name[LY_TPM_NAME];
	struct ly_why why;

	out = json_pack("{s:s, s:I, s:I, s:I, s:o}", "site", site, "serial",
	    list ? (json_int_t)list->serial : 0, "generation",
	    list ? (json_int_t)list->generation : 0, "issued",
	    list ? (json_int_t)list->issued : 0, "entries", entries);
	if (ly_policy_name(m, site, name, &why) == LY_OK)
		json_object_set_new(out, "policy_key",
		    hex_json(name, sizeof(name)));
	else
		json_object_set_new(out, "no_policy_key",
		    ly_json_text(why.text));
	for (unsigned i = 0; list && i < list->n; i++)
		json_array_append_new(entries, entry_json(i + 1, &list->of[i]));
	if (list)
		json_object_set_new(out, "list", hex_json(bytes.at, bytes.len));
	ly_api_yes(c, out);
}

/* Its log is kept from now on: it is likely to be approved next. */
void
ly_api_policy_host(const struct ly_api_call *c)
{
	struct ly_host *h = ly_api_host(c, "host", true);
	struct ly_evidence ev;
	uint8_t *bytes = NULL, log[32];
	struct ly_why why;
	json_t *out;
	enum ly_rc rc;

	if (!h)
		return;
	rc = ly_policy_noted(c->m, h->at.name, &ev, &bytes, &why);
	if (rc == LY_OK)
		rc = ly_policy_keep_log(c->m, ev.log, log, &why);
	if (rc != LY_OK) {
		free(bytes);
		ly_api_no(c, rc, &why);
		return;
	}
	out = json_pack("{s:s, s:s}", "site", h->at.site, "host", h->at.name);
	json_object_set_new(out, "pcrs", pcrs_json(ev.pcr_mask, ev.pcrs));
	if (ev.log.len)
		json_object_set_new(out, "log", hex_json(log, sizeof(log)));
	free(bytes);
	ly_api_yes(c, out);
}

void
ly_api_policy_push(const struct ly_api_call *c)
{
	struct ly_manager *m = c->m;
	const char *hex = ly_api_text(c->r, "list");
	size_t len = strlen(hex) / 2;
	uint8_t *bytes = malloc(len + 1);
	const struct ly_approved *list;
	struct ly_why why;
	enum ly_rc rc = LY_OUTSIDE;

	if (!bytes)
		abort();
	rc = strlen(hex) % 2 ? LY_MALFORMED : ly_unhex(hex, bytes, len);
	if (rc != LY_OK)
		rc = ly_fail(&why, LY_MALFORMED, "\"list\" is not hex");
	else
		rc = ly_policy_push(m, (struct ly_bytes){ bytes, len }, &why);
	free(bytes);
	if (rc != LY_OK) {
		ly_api_no(c, rc, &why);
		return;
	}
	list = ly_policy_list(m, m->conf.site);
	ly_api_yes(c,
	    json_pack("{s:s, s:I, s:I, s:i}", "site", m->conf.site, "serial",
		(json_int_t)list->serial, "generation",
		(json_int_t)list->generation, "entries", (int)list->n));
}

/* ---- what a VM's own TPM has to show ---- */

static enum ly_rc
rule_of(const char *word, uint8_t *out, struct ly_why *why)
{
	for (unsigned i = 0; i < LY_VPCR_RULES; i++)
		if (strcmp(word, ly_vpcr_rule_name(i)) == 0) {
			*out = (uint8_t)i;
			return LY_OK;
		}
	return ly_fail(why, LY_MALFORMED,
	    "\"rule\" is any, unchanged or pinned");
}

/* Pinned is what is given, or what it has shown last. */
static enum ly_rc
set_rule(struct ly_vm *vm, uint8_t rule, const char *digest, struct ly_why *why)
{
	uint8_t vpcrs[32];

	if (digest && rule != LY_VPCR_PINNED)
		return ly_fail(why, LY_MALFORMED,
		    "\"digest\" is for what is pinned");
	if (digest && ly_unhex(digest, vpcrs, sizeof(vpcrs)) != LY_OK)
		return ly_fail(why, LY_MALFORMED,
		    "\"digest\" is a SHA-256 in hex");
	if (rule == LY_VPCR_PINNED && !digest && !vm->vpcrs_known)
		return ly_fail(why, LY_REFUSED,
		    "the VM's TPM has shown nothing yet: give what it is to"
		    " show");
	if (digest) {
		memcpy(vm->vpcrs, vpcrs, sizeof(vpcrs));
		vm->vpcrs_known = true;
	}
	vm->vpcr_rule = rule;
	return LY_OK;
}

void
ly_api_vm_pcrs(const struct ly_api_call *c)
{
	struct ly_vm *vm = ly_api_vm(c);
	struct ly_vm was;
	struct ly_why why;
	uint8_t rule = LY_VPCR_ANY;
	enum ly_rc rc;

	if (!vm)
		return;
	was = *vm;
	rc = rule_of(ly_api_text(c->r, "rule"), &rule, &why);
	if (rc == LY_OK)
		rc = set_rule(vm, rule, ly_api_text(c->r, "digest"), &why);
	if (rc == LY_OK)
		rc = ly_vm_save(c->m, vm, NULL, "its PCRs", &why);
	if (rc != LY_OK) {
		*vm = was;
		ly_api_no(c, rc, &why);
		return;
	}
	ly_api_yes(c, ly_view_vm(c->m, vm));
}
