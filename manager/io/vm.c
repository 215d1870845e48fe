/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a VM: added (its home binds a TPM), started, stopped, removed,
 * shown. Each is a job of one or a few requests, one job per VM at a time.
 *
 * A start needs the lease. If the home's record says nobody holds it, an
 * ATTACH ticket will do. If somebody does, the VM may be running there: that
 * host is asked to stop it, and only its answer ("stopped", or "no such VM
 * here") makes a FORCE ticket. A holder that cannot be asked is the operator's
 * business, and --force his word that it is off.
 */
#include "manager/io/manager.h"
#include "manager/policy/appraise.h"

#include <stdlib.h>

#define SHORT_MS 10000
#define STOP_MS 120000 /* a guest that is asked may take its time */
#define START_MS 120000

enum job_kind { ADD, START, STOP, REMOVE, SHOW };

struct job {
	enum job_kind kind;
	struct ly_manager *m;
	uint64_t client;
	struct ly_id vm;
	struct ly_place to; /* START */
	bool force;
	bool stopped; /* START: by the holder's own word */
	struct ly_shown shown;
};

/* ---- rows ---- */

enum ly_rc
ly_vm_definition(struct ly_manager *m, const struct ly_vm *vm,
    struct ly_vm_row *row, struct ly_why *why)
{
	char key[LY_ID_TEXT];

	return ly_store_get(m->store, LY_ROW_VM, ly_id_text(&vm->id, key), row,
	    why);
}

uint64_t
ly_definition_memory(const char *definition)
{
	json_t *o = json_loads(definition, 0, NULL);
	json_int_t mb = json_integer_value(json_object_get(o, "memory_mb"));

	json_decref(o);
	return mb > 0 ? (uint64_t)mb : 0;
}

enum ly_rc
ly_vm_save(struct ly_manager *m, struct ly_vm *vm, const char *definition,
    const char *journal, struct ly_why *why)
{
	struct ly_vm_row row = { .id = vm->id };
	enum ly_rc rc = definition ? LY_OK : ly_vm_definition(m, vm, &row, why);

	if (rc != LY_OK)
		return rc;
	if (definition &&
	    !ly_copy(row.definition, sizeof(row.definition), definition))
		return ly_fail(why, LY_FULL,
		    "the definition is longer than %d bytes",
		    LY_DEFINITION_MAX);
	ly_copy(row.name, sizeof(row.name), vm->name);
	ly_copy(row.home, sizeof(row.home), vm->home.name);
	ly_copy(row.tpm, sizeof(row.tpm), vm->tpm);
	row.bound = vm->bound;
	ly_copy(row.at_site, sizeof(row.at_site), vm->at.site);
	ly_copy(row.at_host, sizeof(row.at_host), vm->at.name);
	row.lost = vm->lost;
	row.unproved = vm->unproved;
	row.vpcr_rule = vm->vpcr_rule;
	if (vm->vpcrs_known)
		ly_hex(vm->vpcrs, sizeof(vm->vpcrs), row.vpcrs);
	row.epoch = vm->epoch;
	row.priority = vm->priority;
	rc = ly_store_put(m->store, LY_ROW_VM, &row, journal, why);
	if (rc == LY_OK)
		vm->unsaved = false;
	if (rc == LY_OK && definition)
		vm->memory_mb = ly_definition_memory(definition);
	return rc;
}

void
ly_vms_tick(struct ly_manager *m)
{
	struct ly_vm *vm;

	if (!m->store->ill)
		return;
	for (uint32_t i = 0; (vm = ly_roster_next_vm(&m->roster, &i));)
		if (vm->unsaved && ly_vm_save(m, vm, NULL, NULL, NULL) != LY_OK)
			return; /* still ill; the next tick tries again */
}

/* ---- a job's beginning and end ---- */

static struct ly_vm *
vm_of(const struct job *j)
{
	return ly_roster_vm(&j->m->roster, &j->vm);
}

static void
end(struct job *j, json_t *answer)
{
	struct ly_vm *vm = vm_of(j);

	if (vm && j->kind != SHOW)
		vm->busy = false;
	ly_api_final(j->m, j->client, answer);
	free(j);
}

static json_t *
good(const struct job *j)
{
	struct ly_vm *vm = vm_of(j);
	json_t *out = json_object();
	char text[LY_PLACE_TEXT], id[LY_ID_TEXT], state[LY_VM_TEXT];

	json_object_set_new(out, "ok", json_true());
	if (!vm)
		return out;
	json_object_set_new(out, "vm", json_string(vm->name));
	json_object_set_new(out, "id", json_string(ly_id_text(&vm->id, id)));
	json_object_set_new(out, "home",
	    json_string(ly_place_text(&vm->home, text)));
	json_object_set_new(out, "tpm", json_string(vm->tpm));
	json_object_set_new(out, "at",
	    vm->at.name[0] ? json_string(ly_place_text(&vm->at, text)) :
			     json_null());
	json_object_set_new(out, "state",
	    json_string(ly_vm_text(&j->m->roster, vm, state)));
	json_object_set_new(out, "epoch", json_integer((json_int_t)vm->epoch));
	return out;
}

static void
end_bad(struct job *j, enum ly_rc rc, const char *why)
{
	struct ly_vm *vm = vm_of(j);

	if (vm && j->kind != SHOW)
		vm->busy = false;
	ly_api_fail(j->m, j->client, rc, why);
	free(j);
}

/* "HOST: what it said", or that it did not answer: then nobody knows. */
static void
end_said(struct job *j, const struct ly_place *host, const struct ly_done *d)
{
	char at[LY_PLACE_TEXT];
	struct ly_why why;

	ly_place_text(host, at);
	if (!d) {
		(void)ly_fail(&why, LY_SHORT, "%s does not answer", at);
		end_bad(j, LY_SHORT, why.text);
		return;
	}
	(void)ly_fail(&why, LY_OK, "%s: %s", at,
	    d->why[0] ? d->why : ly_rc_name(d->rc));
	end_bad(j, (enum ly_rc)d->rc, why.text);
}

static void
ask(struct job *j, const struct ly_place *host, unsigned type, void *msg,
    uint32_t limit_ms, ly_on_done *on_done)
{
	if (!ly_ask(j->m, host, type, msg, limit_ms, on_done, j))
		end_bad(j, LY_FULL, "too many requests under way");
}

static void
ask_home(struct job *j, unsigned type, uint32_t limit_ms, ly_on_done *on_done)
{
	union ly_any msg = { .request = { .vm = j->vm } };

	ask(j, &vm_of(j)->home, type, &msg, limit_ms, on_done);
}

/* NULL: refused, and said so. */
static struct job *
begin(struct ly_manager *m, enum job_kind kind, uint64_t client,
    struct ly_vm *vm)
{
	const char *lost = ly_record_lost(m);
	struct job *j;

	if (lost && kind != SHOW && kind != STOP) {
		ly_api_fail(m, client, LY_REFUSED, lost);
		return NULL;
	}
	if (kind != SHOW && vm->busy) {
		ly_api_fail(m, client, LY_BUSY,
		    "something else is being done to this VM");
		return NULL;
	}
	j = calloc(1, sizeof(*j));
	if (!j) {
		ly_api_fail(m, client, LY_OUTSIDE, "out of memory");
		return NULL;
	}
	j->kind = kind;
	j->m = m;
	j->client = client;
	j->vm = vm->id;
	if (kind != SHOW)
		vm->busy = true;
	return j;
}

/* What has happened to the VM at `host`, for the permanent record. */
static void
record(const struct job *j, enum ly_record_kind kind,
    const struct ly_place *host, const char *what)
{
	const struct ly_vm *vm = vm_of(j);
	char spiffe[LY_SPIFFE_MAX], text[256], at[LY_PLACE_TEXT], who[64];
	struct ly_record_event ev = { .kind = kind,
		.subject = spiffe,
		.vm = vm->id,
		.text = text };

	ly_spiffe_host(host->site, host->name, spiffe);
	ly_print(text, sizeof(text), "%s %s at %s, epoch %llu, for %s",
	    vm->name, what, ly_place_text(host, at),
	    (unsigned long long)vm->epoch, ly_api_who(j->m, j->client, who));
	ev.details = json_pack("{s:s, s:s, s:I}", "vm_name", vm->name, "tpm",
	    vm->tpm, "epoch", (json_int_t)vm->epoch);
	ly_record_note(j->m, &ev);
}

/* ---- add: the row is there already, not bound ---- */

static void
forget_vm(struct job *j)
{
	struct ly_vm *vm = vm_of(j);
	char key[LY_ID_TEXT];

	ly_id_text(&vm->id, key);
	if (ly_store_del(j->m->store, LY_ROW_VM, key, "home refused", NULL) ==
	    LY_OK)
		ly_roster_drop_vm(&j->m->roster, vm);
}

static void
on_bound(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct job *j = arg;
	struct ly_vm *vm = vm_of(j);
	struct ly_place home = vm->home;
	struct ly_why why;

	if (!d || d->rc != LY_OK) {
		if (d && d->rc != LY_BUSY) {
			vm->busy = false;
			forget_vm(j);
		}
		end_said(j, &home, d);
		return;
	}
	ly_copy(vm->tpm, sizeof(vm->tpm), d->value);
	vm->bound = true;
	vm->epoch = d->epoch;
	if (ly_vm_save(m, vm, NULL, "bound", &why) != LY_OK) {
		vm->bound = false; /* add it again: BIND is answered alike */
		end_bad(j, LY_OUTSIDE, why.text);
		return;
	}
	record(j, LY_RECORD_VM_CREATED, &home, "is bound to a TPM");
	end(j, good(j));
}

void
ly_vm_job_add(struct ly_manager *m, uint64_t client, struct ly_vm *vm)
{
	struct job *j = begin(m, ADD, client, vm);
	union ly_any msg = { .bind = { .vm = vm->id } };

	if (!j)
		return;
	ly_copy(msg.bind.name, LY_NAME_MAX, vm->name);
	ly_copy(msg.bind.tpm, LY_NAME_MAX, vm->tpm);
	ask(j, &vm->home, LY_BIND, &msg, SHORT_MS, on_bound);
}

/* ---- start ---- */

static void
on_started(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct job *j = arg;
	struct ly_vm *vm = vm_of(j);

	if (!d || d->rc != LY_OK) {
		end_said(j, &j->to, d);
		return;
	}
	vm->epoch = ly_max(d->epoch, j->shown.epoch + 1);
	vm->known = true;
	vm->unproved = false; /* it has begun from its disk, not from memory */
	if (vm->vpcr_rule != LY_VPCR_PINNED)
		vm->vpcrs_known = false; /* and its TPM anew */
	vm->state = LY_VM_RUNNING;
	if (ly_vm_save(m, vm, NULL, "started", NULL) != LY_OK)
		vm->unsaved = true; /* the home has it right; ours follows */
	record(j, LY_RECORD_EPOCH_CHANGED, &j->to, "was granted its TPM");
	record(j, LY_RECORD_VM_STARTED, &j->to, "was started");
	end(j, good(j));
}

/* Its new place is on disk before it is told to start there. */
static enum ly_rc
note_place(struct job *j, struct ly_vm *vm, struct ly_why *why)
{
	struct ly_place was = vm->at;
	bool lost = vm->lost;
	enum ly_rc rc;

	vm->at = j->to;
	vm->lost = false;
	rc = ly_vm_save(j->m, vm, NULL, "starting", why);
	if (rc != LY_OK) {
		vm->at = was;
		vm->lost = lost;
	} else {
		vm->known = false;
		vm->state = LY_VM_NONE;
		vm->why[0] = '\0';
	}
	return rc;
}

static void
send_start(struct job *j, unsigned rights)
{
	struct ly_vm *vm = vm_of(j);
	struct ly_host *home = ly_roster_host(&j->m->roster, vm->home.site,
	    vm->home.name);
	union ly_any msg = { .start = { .vm = vm->id } };
	struct ly_ticket_bytes ticket;
	struct ly_vm_row row;
	struct ly_why why;
	enum ly_rc rc = ly_ticket_mint(j->m, vm, &(struct ly_id){ { 0 } },
	    &j->to, rights, j->shown.epoch, &ticket, &why);

	if (rc == LY_OK)
		rc = ly_vm_definition(j->m, vm, &row, &why);
	if (rc == LY_OK)
		rc = note_place(j, vm, &why);
	if (rc != LY_OK) {
		end_bad(j, rc, why.text);
		return;
	}
	ly_copy(msg.start.name, LY_NAME_MAX, vm->name);
	ly_spiffe_host(vm->home.site, vm->home.name, msg.start.home);
	ly_copy(msg.start.home_address, LY_ADDR_MAX, home ? home->address : "");
	msg.start.definition = (struct ly_bytes){
		(const uint8_t *)row.definition, strlen(row.definition)
	};
	msg.start.ticket = (struct ly_bytes){ ticket.at, ticket.len };
	ask(j, &j->to, LY_START, &msg, START_MS, on_started);
}

static void
on_holder_stopped(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct job *j = arg;

	(void)m;
	if (d && (d->rc == LY_OK || d->rc == LY_UNKNOWN))
		send_start(j, LY_MAY_ATTACH | LY_MAY_FORCE);
	else
		end_said(j, &j->shown.at, d);
}

/* Somebody has the lease. */
static void
free_the_lease(struct job *j)
{
	struct ly_vm *vm = vm_of(j);
	union ly_any msg = { .request = { .vm = j->vm, .flag = 1 } };
	bool there = ly_host_conn(j->m, &j->shown.at) != NULL;
	bool runs = vm->known && ly_place_same(&vm->at, &j->shown.at) &&
	    vm->state != LY_VM_NONE && vm->state != LY_VM_FAILED;
	char at[LY_PLACE_TEXT];
	struct ly_why why;

	ly_place_text(&j->shown.at, at);
	if (there && runs && !j->force) {
		(void)ly_fail(&why, LY_REFUSED, "%s runs at %s already",
		    vm->name, at);
		end_bad(j, LY_REFUSED, why.text);
	} else if (there) {
		ask(j, &j->shown.at, LY_STOP, &msg, STOP_MS, on_holder_stopped);
	} else if (j->force) {
		ly_manager_alarm(j->m, &j->shown.at, vm->name,
		    "started elsewhere by force: the operator says it is off"
		    " there");
		send_start(j, LY_MAY_ATTACH | LY_MAY_FORCE);
	} else {
		(void)ly_fail(&why, LY_REFUSED,
		    "%s may still run at %s, which"
		    " is not connected; --force if you know that it is off",
		    vm->name, at);
		end_bad(j, LY_REFUSED, why.text);
	}
}

static void
on_shown_for_start(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct job *j = arg;
	struct ly_why why;

	(void)m;
	if (!d || d->rc != LY_OK) {
		end_said(j, &vm_of(j)->home, d);
		return;
	}
	if (ly_shown_parse(d, &j->shown, &why) != LY_OK)
		end_bad(j, LY_OUTSIDE, why.text);
	else if (strcmp(j->shown.state, "detached") == 0)
		send_start(j, LY_MAY_ATTACH);
	else
		free_the_lease(j);
}

/* A migration that was aborted and waits for a lost source does not keep the
 * VM from being started elsewhere. Asked last: it changes that migration. */
static const char *
past_migration(struct ly_vm *vm, const struct ly_host *to)
{
	struct ly_move *mv = vm->saga;

	if (!mv)
		return NULL;
	if ((mv->saga.rec.tell & (1u << LY_PARTY_DEST)) &&
	    strcmp(mv->row.to_host, to->at.name) == 0 &&
	    strcmp(mv->row.to_site, to->at.site) == 0)
		return "its migration there is still being cleaned up";
	return ly_move_supersede(mv);
}

static bool
may_start(struct ly_manager *m, uint64_t client, struct ly_vm *vm,
    const struct ly_host *to)
{
	char text[LY_PLACE_TEXT];
	struct ly_why why;
	const char *no;
	enum ly_rc rc = LY_OK;

	if (!vm->bound)
		rc = ly_fail(&why, LY_REFUSED, "%s is not bound to its home",
		    vm->name);
	else if (!to->up)
		rc = ly_fail(&why, LY_OUTSIDE, "%s is not connected",
		    ly_place_text(&to->at, text));
	else if (!ly_host_conn(m, &vm->home))
		rc = ly_fail(&why, LY_OUTSIDE, "its home %s is not connected",
		    ly_place_text(&vm->home, text));
	else if (m->conf.attest)
		rc = ly_judge_standing(m, "host", to, &why);
	if (rc == LY_OK && !vm->busy && (no = past_migration(vm, to)))
		rc = ly_fail(&why, LY_BUSY, "%s: %s", vm->name, no);
	if (rc != LY_OK)
		ly_api_fail(m, client, rc, why.text);
	return rc == LY_OK;
}

void
ly_vm_job_start(struct ly_manager *m, uint64_t client, struct ly_vm *vm,
    struct ly_host *to, bool force)
{
	struct job *j;

	if (!may_start(m, client, vm, to))
		return;
	j = begin(m, START, client, vm);
	if (!j)
		return;
	j->to = to->at;
	j->force = force;
	ask_home(j, LY_SHOW, SHORT_MS, on_shown_for_start);
}

/* ---- stop ---- */

static void
on_stopped(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct job *j = arg;
	struct ly_vm *vm = vm_of(j);
	struct ly_place at = vm->at;

	if (!d || (d->rc != LY_OK && d->rc != LY_UNKNOWN)) {
		end_said(j, &at, d);
		return;
	}
	vm->state = LY_VM_NONE;
	vm->known = true;
	if (ly_vm_save(m, vm, NULL, "stopped", NULL) != LY_OK)
		vm->unsaved = true;
	record(j, LY_RECORD_VM_STOPPED, &at, "was stopped");
	end(j, good(j));
}

void
ly_vm_job_stop(struct ly_manager *m, uint64_t client, struct ly_vm *vm,
    bool force)
{
	union ly_any msg = { .request = { .vm = vm->id, .flag = force } };
	struct ly_why why;
	char at[LY_PLACE_TEXT];
	struct job *j;

	if (vm->saga) {
		ly_api_fail(m, client, LY_BUSY,
		    "it is being migrated; cancel that first");
	} else if (!vm->at.name[0]) {
		ly_api_fail(m, client, LY_REFUSED, "it is off");
	} else if (!ly_host_conn(m, &vm->at)) {
		(void)ly_fail(&why, LY_OUTSIDE, "%s is not connected",
		    ly_place_text(&vm->at, at));
		ly_api_fail(m, client, LY_OUTSIDE, why.text);
	} else {
		j = begin(m, STOP, client, vm);
		if (j)
			ask(j, &vm->at, LY_STOP, &msg, STOP_MS, on_stopped);
	}
}

/* ---- remove ---- */

static void
on_unbound(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct job *j = arg;
	struct ly_vm *vm = vm_of(j);
	char key[LY_ID_TEXT];
	struct ly_why why;

	if (!d || (d->rc != LY_OK && d->rc != LY_UNKNOWN)) {
		end_said(j, &vm->home, d);
		return;
	}
	if (ly_store_del(m->store, LY_ROW_VM, ly_id_text(&vm->id, key),
		"removed", &why) != LY_OK) {
		end_bad(j, LY_OUTSIDE, why.text);
		return;
	}
	record(j, LY_RECORD_VM_REMOVED, &vm->home, "is no more bound to a TPM");
	ly_roster_drop_vm(&m->roster, vm);
	end(j, json_pack("{s:b}", "ok", 1));
}

static void
on_shown_for_remove(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct job *j = arg;
	struct ly_shown shown;
	struct ly_why why;
	char at[LY_PLACE_TEXT];

	(void)m;
	if (!d || (d->rc != LY_OK && d->rc != LY_UNKNOWN)) {
		end_said(j, &vm_of(j)->home, d);
	} else if (d->rc == LY_OK && ly_shown_parse(d, &shown, &why) != LY_OK) {
		end_bad(j, LY_OUTSIDE, why.text);
	} else if (d->rc == LY_OK && strcmp(shown.state, "detached") != 0) {
		(void)ly_fail(&why, LY_REFUSED,
		    "%s holds its TPM (%s); stop it first",
		    ly_place_text(&shown.at, at), shown.state);
		end_bad(j, LY_REFUSED, why.text);
	} else {
		ask_home(j, LY_UNBIND, SHORT_MS, on_unbound);
	}
}

void
ly_vm_job_remove(struct ly_manager *m, uint64_t client, struct ly_vm *vm)
{
	struct job *j;

	if (vm->saga) {
		ly_api_fail(m, client, LY_BUSY, "it is being migrated");
		return;
	}
	j = begin(m, REMOVE, client, vm);
	if (j)
		ask_home(j, LY_SHOW, SHORT_MS, on_shown_for_remove);
}

/* ---- show ---- */

static void
on_shown(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct job *j = arg;
	struct ly_vm *vm = vm_of(j);
	struct ly_vm_row row;
	json_t *out, *record = NULL;

	if (!vm) {
		end_bad(j, LY_UNKNOWN, "it has been removed");
		return;
	}
	out = good(j);
	if (d && d->rc == LY_OK)
		record = json_loads(d->value, 0, NULL);
	json_object_set_new(out, "record", record ? record : json_null());
	if (!record)
		json_object_set_new(out, "record_why",
		    ly_json_text(!d   ? "its home does not answer" :
			    d->why[0] ? d->why :
					ly_rc_name(d->rc)));
	if (ly_vm_definition(m, vm, &row, NULL) == LY_OK)
		json_object_set_new(out, "definition",
		    json_loads(row.definition, 0, NULL));
	json_object_set_new(out, "why", ly_json_text(vm->why));
	end(j, out);
}

void
ly_vm_job_show(struct ly_manager *m, uint64_t client, struct ly_vm *vm)
{
	struct job *j = begin(m, SHOW, client, vm);

	if (!j)
		return;
	if (ly_host_conn(m, &vm->home))
		ask_home(j, LY_SHOW, SHORT_MS, on_shown);
	else
		on_shown(m, j, NULL);
}
