/* SPDX-License-Identifier: Apache-2.0 */
/* What each verb does. Those that must ask an agent answer later. */
#include "manager/api/call.h"
#include "manager/io/policy.h"

#include "lib/crypt/cert.h"
#include "lib/io/ca.h"
#include "lib/io/file.h"
#include "manager/io/enrol.h"

#include <dirent.h>
#include <stdlib.h>

#define PEM_MAX 65536

/* ---- PEM files ---- */

static json_t *
pem_json(const char *path)
{
	uint8_t *buf = NULL;
	size_t len;
	json_t *out = NULL;

	if (ly_file_read(path, PEM_MAX, &buf, &len, NULL) == LY_OK)
		out = json_string((const char *)buf);
	free(buf);
	return out ? out : json_null();
}

static json_t *
trust_json(const struct ly_manager *m)
{
	json_t *out = json_object();
	char dir[320], path[600], site[LY_NAME_MAX];
	DIR *d = opendir(ly_manager_file(m, "trust", dir));
	struct dirent *e;

	while (d && (e = readdir(d))) {
		const char *dot = strrchr(e->d_name, '.');
		size_t n = dot ? (size_t)(dot - e->d_name) : 0;

		if (!n || strcmp(dot, ".pem") != 0 || n >= sizeof(site))
			continue;
		ly_copy(site, n + 1, e->d_name);
		if (ly_name_good(site) &&
		    ly_print(path, sizeof(path), "%s/%s", dir, e->d_name))
			json_object_set_new(out, site, pem_json(path));
	}
	if (d)
		closedir(d);
	return out;
}

static json_t *
ca_json(const struct ly_manager *m)
{
	char path[320];

	return pem_json(ly_manager_file(m, "ca.pem", path));
}

/* ---- hosts ---- */

static struct ly_record_event
host_event(enum ly_record_kind kind, const char *spiffe, const char *text)
{
	return (struct ly_record_event){ .kind = kind,
		.subject = spiffe,
		.text = text };
}

/* The key it was certified with is its own for ever: nobody else is certified
 * with it, under whatever name. */
static enum ly_rc
record_added(const struct ly_api_call *c, const struct ly_host_row *row,
    const char *spiffe, const char *pem, struct ly_why *why)
{
	struct ly_cert_key key;
	char spki[2 * sizeof(key.spki) + 1], who[64], text[256];
	struct ly_record_event ev = host_event(LY_RECORD_HOST_ADDED, spiffe,
	    text);
	enum ly_rc rc = ly_cert_key(pem, strlen(pem), &key, why);

	if (rc != LY_OK)
		return rc;
	ly_hex(key.spki, sizeof(key.spki), spki);
	ly_print(text, sizeof(text),
	    "%s adds host %s; its first certificate is signed",
	    ly_api_who(c->m, c->client, who), row->name);
	ev.name = spki;
	return ly_record_put(c->m, LY_ROW_HOST, row, "host added", &ev, 1, why);
}

/* As it will be. Of a host that is added again, the inventory stays. */
static enum ly_rc
host_row(const struct ly_api_call *c, struct ly_host_row *row,
    struct ly_why *why)
{
	const char *name = ly_api_text(c->r, "name");

	if (!ly_name_good(name))
		return ly_fail(why, LY_REFUSED,
		    "\"%s\" is not a host's name: 1"
		    " to 63 of a-z 0-9 . _ -",
		    name);
	if (ly_store_get(c->m->store, LY_ROW_HOST, name, row, NULL) != LY_OK)
		memset(row, 0, sizeof(*row));
	row->added = ly_now_s();
	row->revoked = 0;
	row->cert_expires = row->added + c->m->conf.cert_days * 86400;
	ly_copy(row->name, sizeof(row->name), name);
	ly_copy(row->address, sizeof(row->address),
	    ly_api_text(c->r, "address"));
	return ly_api_take_inventory(c, row, why);
}

static void
host_add(const struct ly_api_call *c)
{
	struct ly_manager *m = c->m;
	struct ly_host_row row;
	char id[LY_SPIFFE_MAX], key[320], cert[320], *pem = NULL;
	struct ly_host *h = NULL;
	struct ly_why why;
	uint64_t days = m->conf.cert_days;
	enum ly_rc rc = host_row(c, &row, &why);
	json_t *out;

	if (rc == LY_OK) {
		ly_spiffe_host(m->conf.site, row.name, id);
		rc = ly_ca_sign(ly_manager_file(m, "ca.key", key),
		    ly_manager_file(m, "ca.pem", cert),
		    ly_api_text(c->r, "csr"), id, days * 86400, &pem, &why);
	}
	if (rc == LY_OK)
		rc = ly_crl_note_cert(m, row.name, pem, &why);
	if (rc == LY_OK)
		rc = record_added(c, &row, id, pem, &why);
	if (rc == LY_OK)
		rc = ly_roster_add_host(&m->roster, m->conf.site, row.name, &h,
		    &why);
	if (rc != LY_OK) {
		free(pem);
		ly_api_no(c, rc, &why);
		return;
	}
	ly_copy(h->address, sizeof(h->address), row.address);
	h->revoked = 0;
	ly_fed_tell(m, h);
	out = json_object();
	json_object_set_new(out, "site", json_string(m->conf.site));
	json_object_set_new(out, "host", json_string(row.name));
	json_object_set_new(out, "manager", json_string(m->conf.listen));
	json_object_set_new(out, "cert", json_string(pem));
	json_object_set_new(out, "ca", ca_json(m));
	json_object_set_new(out, "trust", trust_json(m));
	free(pem);
	ly_api_yes(c, out);
}

static void
host_list(const struct ly_api_call *c)
{
	json_t *list = json_array();
	struct ly_host *h;

	for (uint32_t i = 0; (h = ly_roster_next_host(&c->m->roster, &i));)
		json_array_append_new(list, ly_view_host(c->m, h));
	ly_api_yes(c, json_pack("{s:o}", "hosts", list));
}

static void
host_show(const struct ly_api_call *c)
{
	struct ly_host *h = ly_api_host(c, "host", false);
	json_t *out, *vms = json_array(), *guests = json_array();
	struct ly_vm *vm;
	char id[LY_ID_TEXT];

	if (!h) {
		json_decref(vms);
		json_decref(guests);
		return;
	}
	for (uint32_t i = 0; (vm = ly_roster_next_vm(&c->m->roster, &i));) {
		if (!vm->guest &&
		    (ly_place_same(&vm->at, &h->at) ||
			ly_place_same(&vm->home, &h->at)))
			json_array_append_new(vms, ly_view_vm(c->m, vm));
		if (vm->guest && ly_place_same(&vm->at, &h->at))
			json_array_append_new(guests,
			    json_pack("{s:s, s:s, s:s}", "id",
				ly_id_text(&vm->id, id), "home_site",
				vm->home.site, "state",
				ly_vmstate_name(vm->state)));
	}
	out = ly_view_host(c->m, h);
	ly_enrol_view(c->m, h, out);
	json_object_set_new(out, "vms", vms);
	json_object_set_new(out, "guests", guests);
	ly_api_yes(c, out);
}

static void
host_remove(const struct ly_api_call *c)
{
	struct ly_host *h = ly_api_host(c, "host", true);
	struct ly_conn *conn;
	struct ly_vm *vm;
	char spiffe[LY_SPIFFE_MAX], text[256], who[64];
	struct ly_record_event ev;
	struct ly_why why;
	enum ly_rc rc = LY_OK;

	if (!h)
		return;
	for (uint32_t i = 0; (vm = ly_roster_next_vm(&c->m->roster, &i));)
		if (ly_place_same(&vm->home, &h->at) ||
		    (ly_place_same(&vm->at, &h->at) &&
			!(vm->known && vm->state == LY_VM_NONE)))
			rc = ly_fail(&why, LY_REFUSED, "%s %s %s",
			    vm->guest ? "a VM of another site" : vm->name,
			    ly_place_same(&vm->home, &h->at) ? "has its home"
							       " at" :
							       "may run at",
			    h->at.name);
	ly_spiffe_host(h->at.site, h->at.name, spiffe);
	ly_print(text, sizeof(text), "%s removes host %s",
	    ly_api_who(c->m, c->client, who), h->at.name);
	ev = host_event(LY_RECORD_HOST_REMOVED, spiffe, text);
	if (rc == LY_OK)
		rc = ly_record_del(c->m, LY_ROW_HOST, h->at.name,
		    "host removed", &ev, &why);
	if (rc != LY_OK) {
		ly_api_no(c, rc, &why);
		return;
	}
	conn = h->conn;
	ly_host_gone(c->m, h);
	ly_enrol_drop(c->m, h);
	ly_roster_drop_host(&c->m->roster, h);
	if (conn)
		ly_conn_close(conn, LY_REFUSED, "its host was removed");
	ly_api_yes(c, json_object());
}

static enum ly_rc
reason_of(const char *word, uint8_t *code, struct ly_why *why)
{
	char list[128] = "";

	for (const struct ly_revoke_reason *r = ly_revoke_reasons; r->word;
	     r++) {
		size_t n = strlen(list);

		if (!word || strcmp(r->word, word) == 0) {
			*code = r->code;
			return LY_OK;
		}
		ly_print(list + n, sizeof(list) - n, "%s%s", n ? ", " : "",
		    r->word);
	}
	return ly_fail(why, LY_MALFORMED, "\"reason\" is one of: %s", list);
}

static const char *
reason_word(const struct ly_api_call *c)
{
	const char *word = ly_api_text(c->r, "reason");

	return word ? word : ly_revoke_reasons[0].word;
}

/* The VMs that lose their TPM by it: one alarm each, for `status`. */
static json_t *
stranded(struct ly_manager *m, const struct ly_host *h)
{
	json_t *list = json_array();
	struct ly_vm *vm;

	for (uint32_t i = 0; (vm = ly_roster_next_vm(&m->roster, &i));) {
		if (vm->guest || !ly_place_same(&vm->at, &h->at) ||
		    (vm->known && vm->state == LY_VM_NONE))
			continue;
		ly_manager_alarm(m, &h->at, vm->name,
		    "its host was revoked: it has no TPM there any more; start"
		    " it elsewhere with --force");
		json_array_append_new(list, json_string(vm->name));
	}
	return list;
}

static enum ly_rc
save_revoked(const struct ly_api_call *c, struct ly_host *h, const char *reason,
    struct ly_why *why)
{
	struct ly_host_row row;
	char spiffe[LY_SPIFFE_MAX], text[256], who[64];
	struct ly_record_event ev = host_event(LY_RECORD_HOST_REVOKED, spiffe,
	    text);
	enum ly_rc rc = ly_store_get(c->m->store, LY_ROW_HOST, h->at.name, &row,
	    why);

	if (rc != LY_OK)
		return rc;
	row.revoked = ly_now_s();
	ly_spiffe_host(h->at.site, h->at.name, spiffe);
	ly_print(text, sizeof(text),
	    "%s takes back the certificates of host %s: %.64s",
	    ly_api_who(c->m, c->client, who), h->at.name, reason);
	rc = ly_record_put(c->m, LY_ROW_HOST, &row, "host revoked", &ev, 1,
	    why);
	if (rc == LY_OK)
		h->revoked = row.revoked;
	return rc;
}

static void
host_revoke(const struct ly_api_call *c)
{
	struct ly_host *h = ly_api_host(c, "host", true);
	unsigned n = 0;
	uint8_t reason = 0;
	struct ly_why why;
	enum ly_rc rc;

	if (!h)
		return;
	rc = reason_of(ly_api_text(c->r, "reason"), &reason, &why);
	if (rc == LY_OK)
		rc = save_revoked(c, h, reason_word(c), &why);
	if (rc == LY_OK)
		rc = ly_crl_revoke(c->m, h->at.name, reason, &n, &why);
	if (rc != LY_OK) {
		ly_api_no(c, rc, &why);
		return;
	}
	ly_enrol_revoked(c->m, h);
	ly_log(LY_NOTICE, "ca", "host %s revoked, %u certificates", h->at.name,
	    n);
	ly_api_yes(c,
	    json_pack("{s:s, s:i, s:o}", "host", h->at.name, "certificates", n,
		"vms", stranded(c->m, h)));
}

/* ---- sites ---- */

static void
site_trust(const struct ly_api_call *c)
{
	struct ly_manager *m = c->m;
	struct ly_peer_row row = { .site = "" };
	const char *pem = ly_api_text(c->r, "ca_pem");
	const char *address = ly_api_text(c->r, "address");
	char name[LY_NAME_MAX + 16], path[320];
	uint8_t *old = NULL;
	size_t old_len = 0;
	struct ly_record_event ev = { .kind = LY_RECORD_SITE_TRUSTED,
		.subject = row.site,
		.text = "The CA of this site is believed from now on." };
	struct ly_why why;
	enum ly_rc rc;

	ly_copy(row.site, sizeof(row.site), ly_api_text(c->r, "site"));
	ly_copy(row.address, sizeof(row.address), address ? address : "");
	if (!ly_name_good(row.site) || strcmp(row.site, m->conf.site) == 0) {
		(void)ly_fail(&why, LY_REFUSED,
		    "\"%s\" is not the name of another site", row.site);
		ly_api_no(c, LY_REFUSED, &why);
		return;
	}
	ly_print(name, sizeof(name), "trust/%s.pem", row.site);
	ly_manager_file(m, name, path);
	(void)!ly_file_read(path, PEM_MAX, &old, &old_len, NULL);
	rc = ly_file_write(path, pem, strlen(pem), 0644, &why);
	if (rc == LY_OK) {
		rc = ly_identity_reload(m->ids, &why);
		if (rc != LY_OK && old) /* back to what was believed before */
			(void)!ly_file_write(path, old, old_len, 0644, NULL);
		else if (rc != LY_OK)
			(void)remove(path);
	}
	free(old);
	if (rc == LY_OK)
		rc = ly_policy_pin(m, row.site, ly_api_text(c->r, "policy_pem"),
		    &why);
	if (rc == LY_OK)
		rc = ly_record_put(m, LY_ROW_PEER, &row, "trusted", &ev, 1,
		    &why);
	if (rc == LY_OK)
		rc = ly_fed_add(m, row.site, row.address, false, &why);
	if (rc == LY_OK)
		ly_api_yes(c, json_pack("{s:s}", "site", row.site));
	else
		ly_api_no(c, rc, &why);
}

static void
site_show(const struct ly_api_call *c)
{
	json_t *out = json_object();

	json_object_set_new(out, "site", json_string(c->m->conf.site));
	json_object_set_new(out, "manager",
	    json_string(ly_identity_self(c->m->ids)->id));
	json_object_set_new(out, "listen", json_string(c->m->conf.listen));
	json_object_set_new(out, "ca", ca_json(c->m));
	json_object_set_new(out, "peers", ly_view_peers(c->m));
	ly_api_yes(c, out);
}

/* ---- VMs ---- */

/* One that was added and never bound is added again. */
static enum ly_rc
take_vm(const struct ly_api_call *c, const struct ly_host *home,
    struct ly_vm **out, struct ly_why *why)
{
	const char *name = ly_api_text(c->r, "name");
	const char *tpm = ly_api_text(c->r, "tpm");
	json_t *definition = json_object_get(c->r->args, "definition");
	struct ly_vm *vm = NULL;
	struct ly_id id;
	enum ly_rc rc = ly_roster_find_vm(&c->m->roster, name, &vm, NULL);
	bool there = rc == LY_OK && !vm->bound && !vm->busy &&
	    strcmp(vm->home.name, home->at.name) == 0;
	char *text;

	if (tpm && tpm[0] && !ly_name_good(tpm))
		return ly_fail(why, LY_REFUSED, "\"%s\" is not a TPM's name",
		    tpm);
	if (!there) {
		ly_random(&id, sizeof(id));
		rc = ly_roster_add_vm(&c->m->roster, &id, name, &vm, why);
		if (rc != LY_OK)
			return rc;
	}
	vm->home = home->at;
	vm->priority = (uint32_t)ly_api_uint(c->r, "priority");
	ly_copy(vm->tpm, sizeof(vm->tpm), tpm ? tpm : "");
	text = json_dumps(definition, JSON_COMPACT | JSON_ENSURE_ASCII);
	rc = text ? ly_vm_save(c->m, vm, text, "added", why) :
		    ly_fail(why, LY_OUTSIDE, "out of memory");
	free(text);
	if (rc != LY_OK && !there)
		ly_roster_drop_vm(&c->m->roster, vm);
	*out = vm;
	return rc;
}

static void
vm_add(const struct ly_api_call *c)
{
	struct ly_host *home = ly_api_host(c, "home", true);
	struct ly_vm *vm = NULL;
	struct ly_why why;
	enum ly_rc rc;

	if (!home)
		return;
	if (!home->up)
		rc = ly_fail(&why, LY_OUTSIDE,
		    "its home %s/%s is not"
		    " connected",
		    home->at.site, home->at.name);
	else
		rc = take_vm(c, home, &vm, &why);
	if (rc == LY_OK)
		ly_vm_job_add(c->m, c->client, vm);
	else
		ly_api_no(c, rc, &why);
}

static void
vm_list(const struct ly_api_call *c)
{
	json_t *list = json_array();
	struct ly_vm *vm;

	for (uint32_t i = 0; (vm = ly_roster_next_vm(&c->m->roster, &i));)
		if (!vm->guest)
			json_array_append_new(list, ly_view_vm(c->m, vm));
	ly_api_yes(c, json_pack("{s:o}", "vms", list));
}

static void
vm_show(const struct ly_api_call *c)
{
	struct ly_vm *vm = ly_api_vm(c);

	if (vm)
		ly_vm_job_show(c->m, c->client, vm);
}

static void
vm_start(const struct ly_api_call *c)
{
	struct ly_vm *vm = ly_api_vm(c);
	struct ly_host *to = NULL;

	if (!vm)
		return;
	if (ly_api_text(c->r, "host"))
		to = ly_api_host(c, "host", false);
	else
		to = ly_roster_host(&c->m->roster, vm->home.site,
		    vm->home.name);
	if (!to && ly_api_text(c->r, "host"))
		return; /* it has answered */
	if (!to)
		ly_api_fail(c->m, c->client, LY_UNKNOWN,
		    "its home has been removed");
	else
		ly_vm_job_start(c->m, c->client, vm, to,
		    ly_api_bool(c->r, "force"));
}

static void
vm_stop(const struct ly_api_call *c)
{
	struct ly_vm *vm = ly_api_vm(c);

	if (vm)
		ly_vm_job_stop(c->m, c->client, vm, ly_api_bool(c->r, "force"));
}

static void
vm_remove(const struct ly_api_call *c)
{
	struct ly_vm *vm = ly_api_vm(c);

	if (vm)
		ly_vm_job_remove(c->m, c->client, vm);
}

/* ---- migrations ---- */

static void
dry_run(const struct ly_api_call *c, const struct ly_move_wish *w)
{
	struct ly_why why = { "" };
	enum ly_rc rc = ly_move_allowed(c->m, w, &why);
	json_t *steps = json_array();

	for (unsigned i = 0; i < LY_STEPS; i++) {
		const struct ly_step_row *s = &ly_steps[i];
		const char *would = s->back ? "would be done" :
					      "would be done if it is needed";

		if (i == LY_STEP_CALLOFF)
			continue; /* an undo */
		if (i == LY_STEP_RECORD)
			would = "would be done";
		if (s->attested && !c->m->conf.attest)
			would = "not with attest = no";
		else if (rc != LY_OK)
			would = i == LY_STEP_AUTHORISE ? why.text : "no";
		json_array_append_new(steps,
		    json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "step", s->name,
			"what", s->what, "whom", ly_party_name(s->whom), "undo",
			s->undo, "would", would, "asked",
			!s->attested || c->m->conf.attest));
	}
	ly_api_yes(c,
	    json_pack("{s:o, s:b, s:s}", "steps", steps, "allowed", rc == LY_OK,
		"why", why.text));
}

static void
migrate(const struct ly_api_call *c)
{
	struct ly_move_wish w = { .vm = ly_api_vm(c),
		.bandwidth = ly_api_uint(c->r, "bandwidth"),
		.downtime_ms = (uint32_t)ly_api_uint(c->r, "downtime_ms") };
	bool wait = ly_api_bool(c->r, "wait");
	struct ly_move *mv = NULL;
	struct ly_why why;
	char id[LY_ID_TEXT], who[64];
	enum ly_rc rc;

	w.who = ly_api_who(c->m, c->client, who);
	if (!w.vm)
		return;
	w.to = ly_api_host(c, "to", false);
	if (!w.to)
		return;
	if (ly_api_bool(c->r, "dry_run")) {
		dry_run(c, &w);
		return;
	}
	rc = ly_move_begin(c->m, &w, wait ? c->client : 0, &mv, &why);
	if (rc != LY_OK)
		ly_api_no(c, rc, &why);
	else if (!wait && mv->told) /* it was over before it began */
		ly_api_fail(c->m, c->client, LY_OUTSIDE, mv->row.why);
	else if (!wait)
		ly_api_yes(c,
		    json_pack("{s:s, s:s, s:b, s:s}", "migration",
			ly_id_text(&mv->row.id, id), "vm", mv->row.vm_name,
			"migrated", 0, "state",
			ly_saga_state_name(mv->row.state)));
}

static void
migrate_show(const struct ly_api_call *c)
{
	struct ly_mig_row row;
	struct ly_why why;
	struct ly_id id;
	char key[LY_ID_TEXT];
	enum ly_rc rc = ly_id_parse(ly_api_text(c->r, "migration"), &id);

	if (rc != LY_OK)
		rc = ly_fail(&why, LY_MALFORMED,
		    "\"%s\" is not the id of a"
		    " migration",
		    ly_api_text(c->r, "migration"));
	else
		rc = ly_store_get(c->m->store, LY_ROW_MIG, ly_id_text(&id, key),
		    &row, &why);
	if (rc == LY_OK)
		ly_api_yes(c, ly_view_row(&row));
	else
		ly_api_no(c, rc, &why);
}

static void
migrate_cancel(const struct ly_api_call *c)
{
	struct ly_vm *vm = ly_api_vm(c);
	const char *no;
	char id[LY_ID_TEXT];

	if (!vm)
		return;
	if (!vm->saga) {
		ly_api_fail(c->m, c->client, LY_UNKNOWN,
		    "it is not being migrated");
		return;
	}
	ly_id_text(&((struct ly_move *)vm->saga)->row.id, id);
	no = ly_move_cancel(vm->saga);
	if (no)
		ly_api_fail(c->m, c->client, LY_REFUSED, no);
	else
		ly_api_yes(c, json_pack("{s:s}", "migration", id));
}

static void
status(const struct ly_api_call *c)
{
	ly_api_yes(c, ly_view_status(c->m));
}

static ly_api_verb *const verbs[LY_VERBS] = {
	[LY_DO_HOST_ADD] = host_add,
	[LY_DO_HOST_LIST] = host_list,
	[LY_DO_HOST_SHOW] = host_show,
	[LY_DO_HOST_REMOVE] = host_remove,
	[LY_DO_HOST_REVOKE] = host_revoke,
	[LY_DO_HOST_SET] = ly_api_host_set,
	[LY_DO_HOST_ENROLL] = ly_api_host_enroll,
	[LY_DO_HOST_UNFREEZE] = ly_api_host_unfreeze,
	[LY_DO_SITE_TRUST] = site_trust,
	[LY_DO_SITE_SHOW] = site_show,
	[LY_DO_VM_ADD] = vm_add,
	[LY_DO_VM_LIST] = vm_list,
	[LY_DO_VM_SHOW] = vm_show,
	[LY_DO_VM_START] = vm_start,
	[LY_DO_VM_STOP] = vm_stop,
	[LY_DO_VM_REMOVE] = vm_remove,
	[LY_DO_VM_PCRS] = ly_api_vm_pcrs,
	[LY_DO_MIGRATE] = migrate,
	[LY_DO_MIGRATE_SHOW] = migrate_show,
	[LY_DO_MIGRATE_CANCEL] = migrate_cancel,
	[LY_DO_POLICY_SHOW] = ly_api_policy_show,
	[LY_DO_POLICY_HOST] = ly_api_policy_host,
	[LY_DO_POLICY_PUSH] = ly_api_policy_push,
	[LY_DO_STATUS] = status,
	[LY_DO_AUDIT] = ly_api_audit,
	[LY_DO_AUDIT_ACCEPT] = ly_api_audit_accept,
	[LY_DO_ATTEST] = ly_api_attest,
	[LY_DO_AUDIT_RECEIPT] = ly_api_audit_receipt,
	[LY_DO_VM_SET] = ly_api_vm_set,
	[LY_DO_EVACUATE] = ly_api_evacuate,
	[LY_DO_EVACUATE_CANCEL] = ly_api_evacuate_cancel,
};

void
ly_api_do(struct ly_manager *m, uint64_t client, const struct ly_api_request *r)
{
	struct ly_api_call c = { .m = m, .client = client, .r = r };

	verbs[r->verb](&c);
}
