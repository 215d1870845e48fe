/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/api/api.h"

#include "lib/wire/message.h"

#define NAME LY_KEY_TEXT, true, LY_NAME_MAX - 1
#define NAME_OR_NONE LY_KEY_TEXT, false, LY_NAME_MAX - 1
#define PLACE LY_KEY_TEXT, true, 2 * LY_NAME_MAX
#define PLACE_OR_NONE LY_KEY_TEXT, false, 2 * LY_NAME_MAX
#define FLAG LY_KEY_BOOL, false, 0
#define EK LY_KEY_TEXT, false, 255
#define PEM LY_KEY_TEXT, true, 16384

// clang-format off
const struct ly_verb_row ly_verbs[LY_VERBS] = {
	[LY_DO_HOST_ADD] = { "host.add",
	    "certify a host of this site and expect its agent",
	    { { "name", NAME }, { "address", LY_KEY_TEXT, true, LY_ADDR_MAX - 1 },
	      { "csr", PEM }, { "ek", EK }, { "class", NAME_OR_NONE } } },
	[LY_DO_HOST_LIST] = { "host.list", "all hosts that are known", { { 0 } } },
	[LY_DO_HOST_SHOW] = { "host.show", "one host and its VMs",
	    { { "host", PLACE } } },
	[LY_DO_HOST_REMOVE] = { "host.remove",
	    "forget a host; its agent is refused from now on",
	    { { "host", PLACE } } },
	[LY_DO_HOST_REVOKE] = { "host.revoke",
	    "take a host's certificates back, everywhere and at once",
	    { { "host", PLACE }, { "reason", NAME_OR_NONE } } },
	[LY_DO_HOST_SET] = { "host.set",
	    "which TPM a host has, of which class it is, how much it takes",
	    { { "host", PLACE }, { "ek", EK }, { "class", NAME_OR_NONE },
	      { "capacity", LY_KEY_UINT, false, 1u << 20 },
	      { "memory_mb", LY_KEY_UINT, false, UINT32_MAX } } },
	[LY_DO_HOST_ENROLL] = { "host.enroll",
	    "have a host prove its TPM and its state now",
	    { { "host", PLACE }, { "wait", FLAG } } },
	[LY_DO_HOST_UNFREEZE] = { "host.unfreeze",
	    "let a host try again that failed to prove itself",
	    { { "host", PLACE } } },
	[LY_DO_SITE_TRUST] = { "site.trust",
	    "believe another site's CA, and dial its manager",
	    { { "site", NAME }, { "ca_pem", PEM },
	      { "policy_pem", LY_KEY_TEXT, false, 4096 },
	      { "address", LY_KEY_TEXT, false, LY_ADDR_MAX - 1 } } },
	[LY_DO_SITE_SHOW] = { "site.show", "this site and those it knows",
	    { { 0 } } },
	[LY_DO_VM_ADD] = { "vm.add", "bind a new VM to a TPM of its home",
	    { { "name", NAME }, { "home", PLACE }, { "tpm", NAME_OR_NONE },
	      { "definition", LY_KEY_OBJECT, true, 0 },
	      { "priority", LY_KEY_UINT, false, 1000 } } },
	[LY_DO_VM_LIST] = { "vm.list", "all VMs whose home is here", { { 0 } } },
	[LY_DO_VM_SHOW] = { "vm.show", "one VM, and its home's record",
	    { { "vm", NAME } } },
	[LY_DO_VM_START] = { "vm.start", "start a VM, at its home or elsewhere",
	    { { "vm", NAME }, { "host", PLACE_OR_NONE }, { "force", FLAG } } },
	[LY_DO_VM_STOP] = { "vm.stop", "stop a VM: ask it, or by force",
	    { { "vm", NAME }, { "force", FLAG } } },
	[LY_DO_VM_PCRS] = { "vm.pcrs",
	    "what a VM's TPM has to show when it moves: any, unchanged, pinned",
	    { { "vm", NAME }, { "rule", NAME },
	      { "digest", LY_KEY_TEXT, false, 64 } } },
	[LY_DO_VM_REMOVE] = { "vm.remove", "unbind a VM from its TPM",
	    { { "vm", NAME } } },
	[LY_DO_MIGRATE] = { "migrate", "move a running VM; its TPM stays",
	    { { "vm", NAME }, { "to", PLACE }, { "wait", FLAG },
	      { "dry_run", FLAG }, { "bandwidth", LY_KEY_UINT, false, UINT32_MAX },
	      { "downtime_ms", LY_KEY_UINT, false, 600000 } } },
	[LY_DO_MIGRATE_SHOW] = { "migrate.show", "one migration, old or open",
	    { { "migration", LY_KEY_TEXT, true, LY_ID_TEXT - 1 } } },
	[LY_DO_MIGRATE_CANCEL] = { "migrate.cancel",
	    "give up a VM's migration, if that is still possible",
	    { { "vm", NAME } } },
	[LY_DO_POLICY_SHOW] = { "policy.show",
	    "the states of hosts that a site approves (this one, or another)",
	    { { "site", NAME_OR_NONE } } },
	[LY_DO_POLICY_HOST] = { "policy.host",
	    "what a host of this site was last seen in",
	    { { "host", PLACE } } },
	[LY_DO_POLICY_PUSH] = { "policy.push",
	    "put a newer list of approved states in force, signed by the policy key",
	    { { "list", LY_KEY_TEXT, true, 2 * LY_APPROVED_MAX } } },
	[LY_DO_ATTEST] = { "attest",
	    "prove where a VM runs, or what a host is",
	    { { "what", PLACE } } },
	[LY_DO_STATUS] = { "status", "how everything is",
	    { { "watch", FLAG } } },
	[LY_DO_AUDIT] = { "audit", "events of the permanent record, a page",
	    { { "from", LY_KEY_UINT, false, UINT32_MAX }, { "vm", NAME_OR_NONE },
	      { "host", PLACE_OR_NONE },
	      { "migration", LY_KEY_TEXT, false, LY_ID_TEXT - 1 },
	      { "since", LY_KEY_UINT, false, UINT32_MAX } } },
	[LY_DO_AUDIT_ACCEPT] = { "audit.accept",
	    "believe the record although another site knows more of it",
	    { { 0 } } },
	[LY_DO_AUDIT_RECEIPT] = { "audit.receipt",
	    "what a migration's parties have proved and signed",
	    { { "migration", LY_KEY_TEXT, true, LY_ID_TEXT - 1 } } },
	[LY_DO_VM_SET] = { "vm.set", "who is moved first when a place is emptied",
	    { { "vm", NAME }, { "priority", LY_KEY_UINT, true, 1000 } } },
	[LY_DO_EVACUATE] = { "evacuate", "move all VMs of a place to a site",
	    { { "from", PLACE }, { "to", NAME },
	      { "parallel", LY_KEY_UINT, false, 64 },
	      { "bandwidth", LY_KEY_UINT, false, UINT32_MAX },
	      { "dry_run", FLAG }, { "wait", FLAG } } },
	[LY_DO_EVACUATE_CANCEL] = { "evacuate.cancel",
	    "begin no more migrations of it", { { "from", PLACE_OR_NONE } } },
};
// clang-format on

static const char *const kinds[] = {
	[LY_KEY_TEXT] = "a text",
	[LY_KEY_BOOL] = "true or false",
	[LY_KEY_UINT] = "a number, 0 or more",
	[LY_KEY_OBJECT] = "an object",
};

static enum ly_rc
find_verb(const json_t *args, enum ly_verb *out, struct ly_why *why)
{
	const char *name = json_string_value(json_object_get(args, "do"));
	char list[352];
	size_t n = 0;

	for (unsigned i = 0; name && i < LY_VERBS; i++)
		if (strcmp(name, ly_verbs[i].name) == 0) {
			*out = (enum ly_verb)i;
			return LY_OK;
		}
	for (unsigned i = 0; i < LY_VERBS; i++) {
		ly_print(list + n, sizeof(list) - n, " %s", ly_verbs[i].name);
		n += strlen(list + n);
	}
	return ly_fail(why, LY_MALFORMED, "\"do\" is one of:%s", list);
}

static const struct ly_key *
key_of(const struct ly_verb_row *verb, const char *name)
{
	for (unsigned i = 0; i < LY_KEYS_MAX && verb->keys[i].name; i++)
		if (strcmp(verb->keys[i].name, name) == 0)
			return &verb->keys[i];
	return NULL;
}

static bool
fits(const struct ly_key *k, const json_t *v)
{
	switch (k->kind) {
	case LY_KEY_TEXT:
		return json_is_string(v) &&
		    json_string_length(v) == strlen(json_string_value(v)) &&
		    json_string_length(v) <= k->most;
	case LY_KEY_BOOL:
		return json_is_boolean(v);
	case LY_KEY_UINT:
		return json_is_integer(v) && json_integer_value(v) >= 0 &&
		    json_integer_value(v) <= k->most;
	case LY_KEY_OBJECT:
		return json_is_object(v);
	}
	return false;
}

static enum ly_rc
check(const struct ly_verb_row *verb, json_t *args, struct ly_why *why)
{
	const char *name;
	json_t *v;

	json_object_foreach(args, name, v) {
		const struct ly_key *k = key_of(verb, name);

		if (strcmp(name, "do") == 0)
			continue;
		if (!k)
			return ly_fail(why, LY_MALFORMED,
			    "%s has no key \"%.40s\"", verb->name, name);
		if (!fits(k, v) && k->most)
			return ly_fail(why, LY_MALFORMED,
			    "%s: \"%s\" is %s, at most %u", verb->name, k->name,
			    kinds[k->kind], k->most);
		if (!fits(k, v))
			return ly_fail(why, LY_MALFORMED, "%s: \"%s\" is %s",
			    verb->name, k->name, kinds[k->kind]);
	}
	for (unsigned i = 0; i < LY_KEYS_MAX && verb->keys[i].name; i++)
		if (verb->keys[i].must &&
		    !json_object_get(args, verb->keys[i].name))
			return ly_fail(why, LY_MALFORMED, "%s needs \"%s\", %s",
			    verb->name, verb->keys[i].name,
			    kinds[verb->keys[i].kind]);
	return LY_OK;
}

enum ly_rc
ly_api_parse(const char *line, size_t len, struct ly_api_request *out,
    struct ly_why *why)
{
	json_error_t err;
	enum ly_rc rc;

	if (len > LY_API_LINE_MAX)
		return ly_fail(why, LY_MALFORMED,
		    "a line of %zu bytes, at most %u", len, LY_API_LINE_MAX);
	out->args = json_loadb(line, len, JSON_REJECT_DUPLICATES, &err);
	if (!out->args)
		return ly_fail(why, LY_MALFORMED, "not JSON: %s", err.text);
	if (!json_is_object(out->args))
		rc = ly_fail(why, LY_MALFORMED, "not a JSON object");
	else
		rc = find_verb(out->args, &out->verb, why);
	if (rc == LY_OK)
		rc = check(&ly_verbs[out->verb], out->args, why);
	if (rc != LY_OK) {
		json_decref(out->args);
		out->args = NULL;
	}
	return rc;
}

const char *
ly_api_text(const struct ly_api_request *r, const char *key)
{
	return json_string_value(json_object_get(r->args, key));
}

bool
ly_api_bool(const struct ly_api_request *r, const char *key)
{
	return json_is_true(json_object_get(r->args, key));
}

uint64_t
ly_api_uint(const struct ly_api_request *r, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(r->args, key));
}

const char *
ly_api_word(enum ly_rc rc)
{
	switch (rc) {
	case LY_MALFORMED:
		return "usage";
	case LY_SHORT:
		return "open";
	case LY_OK:
	case LY_FENCED:
	case LY_BUSY:
	case LY_OUTSIDE:
	case LY_REFUSED:
	case LY_UNKNOWN:
	case LY_FAILED:
	case LY_FULL:
	case LY_RCS:
		break;
	}
	return ly_rc_name(rc);
}
