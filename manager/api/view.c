/* SPDX-License-Identifier: Apache-2.0 */
/* What callers are shown of hosts, VMs, migrations and the whole. */
#include "manager/api/api.h"
#include "manager/io/enrol.h"
#include "manager/policy/appraise.h"

static void
put_text(json_t *o, const char *key, const char *text)
{
	json_object_set_new(o, key, ly_json_text(text));
}

static void
put_number(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void
put_place(json_t *o, const char *key, const struct ly_place *p)
{
	char text[LY_PLACE_TEXT];

	json_object_set_new(o, key,
	    p->name[0] ? json_string(ly_place_text(p, text)) : json_null());
}

static json_t *
words(const char *text)
{
	json_t *out = json_array();

	while (*text) {
		size_t n = strcspn(text, " ");

		if (n)
			json_array_append_new(out, json_stringn(text, n));
		text += n + (text[n] == ' ');
	}
	return out;
}

static bool
is_here(const struct ly_vm *vm, const struct ly_host *h)
{
	return ly_place_same(&vm->at, &h->at) &&
	    (!vm->known || vm->state != LY_VM_NONE);
}

json_t *
ly_view_host(struct ly_manager *m, const struct ly_host *h)
{
	json_t *o = json_object();
	struct ly_vm *vm;
	unsigned n = 0;

	for (uint32_t i = 0; (vm = ly_roster_next_vm(&m->roster, &i));)
		n += is_here(vm, h);
	put_text(o, "site", h->at.site);
	put_text(o, "host", h->at.name);
	put_text(o, "address", h->address);
	json_object_set_new(o, "revoked",
	    h->revoked ? json_integer((json_int_t)h->revoked) : json_null());
	json_object_set_new(o, "connected", json_boolean(h->up));
	put_number(o, "since", h->since);
	put_text(o, "enrolled", ly_enrol_word(m, h));
	if (h->software[0])
		put_text(o, "software", h->software);
	json_object_set_new(o, "tpms", words(h->tpms));
	put_number(o, "vms", n);
	if (h->vms_most)
		put_number(o, "capacity", h->vms_most);
	if (h->memory_most)
		put_number(o, "memory_mb", h->memory_most);
	return o;
}

json_t *
ly_view_vm(struct ly_manager *m, const struct ly_vm *vm)
{
	json_t *o = json_object();
	const struct ly_move *mv = vm->saga;
	char text[LY_VM_TEXT], id[LY_ID_TEXT], pcrs[65];

	put_text(o, "vm", vm->name);
	put_text(o, "id", ly_id_text(&vm->id, id));
	put_place(o, "home", &vm->home);
	put_text(o, "tpm", vm->tpm);
	put_place(o, "at", &vm->at);
	put_text(o, "state", ly_vm_text(&m->roster, vm, text));
	put_number(o, "epoch", vm->epoch);
	put_number(o, "commands", vm->seq);
	if (vm->priority)
		put_number(o, "priority", vm->priority);
	if (vm->why[0])
		put_text(o, "why", vm->why);
	if (vm->vpcr_rule)
		put_text(o, "vm_pcrs_rule", ly_vpcr_rule_name(vm->vpcr_rule));
	if (vm->vpcrs_known) {
		ly_hex(vm->vpcrs, sizeof(vm->vpcrs), pcrs);
		put_text(o, "vm_pcrs", pcrs);
	}
	if (vm->unproved)
		put_text(o, "quarantined",
		    "it came by a migration that was not proved; start it anew"
		    " to be sure of it");
	if (mv) {
		put_text(o, "migration", ly_id_text(&mv->row.id, id));
		put_text(o, "migrating", ly_saga_state_name(mv->row.state));
	}
	return o;
}

json_t *
ly_view_row(const struct ly_mig_row *r)
{
	json_t *o = json_object();
	struct ly_place from, to;
	char id[LY_ID_TEXT];
	json_t *result = json_loads(r->result, 0, NULL);

	ly_place_set(&from, r->from_site, r->from_host);
	ly_place_set(&to, r->to_site, r->to_host);
	put_text(o, "migration", ly_id_text(&r->id, id));
	put_text(o, "vm", r->vm_name);
	put_place(o, "from", &from);
	put_place(o, "to", &to);
	put_text(o, "home", r->home);
	put_text(o, "state", ly_saga_state_name(r->state));
	put_text(o, "fate", ly_fate_name(r->fate));
	put_number(o, "epoch", r->epoch);
	put_number(o, "started_ms", r->started);
	put_number(o, "since_ms", r->changed);
	json_object_set_new(o, "attested", json_boolean(r->attest));
	if (r->attest && r->fate == LY_FATE_CLAIMED)
		json_object_set_new(o, "proved",
		    json_boolean(r->proved == LY_PROVED_GOOD));
	put_number(o, "commands_before", r->commands_before);
	put_number(o, "commands_after", r->commands_after);
	if (result)
		json_object_set_new(o, "result", result);
	if (r->why[0])
		put_text(o, "why", r->why);
	return o;
}

json_t *
ly_view_peers(struct ly_manager *m)
{
	json_t *out = json_array();

	for (unsigned i = 0; i < m->feds_n; i++) {
		const struct ly_fed *f = &m->feds[i];
		json_t *o = json_object();

		put_text(o, "site", f->site);
		put_text(o, "address", f->address);
		json_object_set_new(o, "connected",
		    json_boolean(f->conn != NULL));
		if (!f->conn && f->why[0])
			put_text(o, "why", f->why);
		json_array_append_new(out, o);
	}
	return out;
}

static json_t *
alarms(const struct ly_manager *m)
{
	unsigned long n = ly_min(m->alarms_n, LY_ALARMS_KEPT);
	json_t *out = json_array();

	for (unsigned long i = m->alarms_n - n; i < m->alarms_n; i++) {
		const struct ly_alarm_kept *a = &m->alarms[i % LY_ALARMS_KEPT];
		json_t *o = json_object();

		put_number(o, "at", a->at);
		put_text(o, "host", a->host);
		put_text(o, "vm", a->vm);
		put_text(o, "text", a->text);
		json_array_append_new(out, o);
	}
	return out;
}

json_t *
ly_view_status(struct ly_manager *m)
{
	json_t *o = json_object(), *list = json_array();
	const struct ly_host *h;
	const struct ly_vm *vm;

	put_text(o, "site", m->conf.site);
	put_text(o, "manager", m->conf.name);
	put_text(o, "software", LY_MANAGER_SOFTWARE);
	put_text(o, "store", ly_store_health(m->store));
	put_number(o, "store_failures", m->store->failures);
	json_object_set_new(o, "peers", ly_view_peers(m));
	for (uint32_t i = 0; (h = ly_roster_next_host(&m->roster, &i));)
		json_array_append_new(list, ly_view_host(m, h));
	json_object_set_new(o, "hosts", list);
	list = json_array();
	for (uint32_t i = 0; (vm = ly_roster_next_vm(&m->roster, &i));)
		if (!vm->guest)
			json_array_append_new(list, ly_view_vm(m, vm));
	json_object_set_new(o, "vms", list);
	list = json_array();
	for (const struct ly_move *mv = m->moves; mv; mv = mv->next)
		if (!mv->told)
			json_array_append_new(list, ly_view_row(&mv->row));
	json_object_set_new(o, "migrations", list);
	json_object_set_new(o, "alarms", alarms(m));
	return o;
}
