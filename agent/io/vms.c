/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's life on this host:
 *
 *   START    join the link, ATTACH, endpoint, QEMU            -> RUNNING
 *   PREPARE  join the link, PRESTAGE, endpoint, QEMU -S       -> INCOMING
 *            (vm_move.c takes it from there)                  -> RUNNING
 *   the end  QEMU has exited: DETACH, then everything is freed
 *
 * A struct vm is freed only through ly_vm_forget(), and there only when its
 * away machine is not being fed, and when its endpoint is closed.
 */
#include "agent/io/vm_in.h"

#include "lib/io/file.h"

#include <stdlib.h>

#define TICK_MS 50

/* ---- finding and telling ---- */

struct vm *
ly_vm_of(struct ly_vms *vms, const struct ly_id *id)
{
	for (struct vm *vm = vms->first; vm; vm = vm->next)
		if (ly_id_same(&vm->id, id))
			return vm;
	return NULL;
}

struct vm *
ly_vm_of_mig(struct ly_vms *vms, const struct ly_id *mig)
{
	for (struct vm *vm = vms->first; vm; vm = vm->next)
		if (!ly_id_none(mig) && ly_id_same(&vm->mig, mig))
			return vm;
	return NULL;
}

bool
ly_vms_place(struct ly_vms *vms, const struct ly_id *id, uint64_t *epoch)
{
	const struct vm *vm = ly_vm_of(vms, id);

	if (!vm || vm->orphan || vm->forgotten ||
	    (vm->state != LY_VM_RUNNING && vm->state != LY_VM_PAUSED))
		return false;
	*epoch = vm->core.epoch;
	return true;
}

static void
done(struct ly_vms *vms, uint32_t req, enum ly_rc rc, const char *why)
{
	ly_control_done(vms->agent->control, req, rc, LY_FATE_UNKNOWN, 0, why,
	    "");
}

static void
report(const struct vm *vm)
{
	struct ly_vmstate m = { .vm = vm->id,
		.mig = vm->mig,
		.state = (uint8_t)vm->state,
		.epoch = vm->core.epoch,
		.seq = vm->core.seq };

	ly_copy(m.home_site, sizeof(m.home_site), vm->home_site);
	ly_copy(m.host, sizeof(m.host), vm->vms->agent->self->name);
	ly_copy(m.why, sizeof(m.why), vm->why);
	ly_control_report(vm->vms->agent->control, LY_VMSTATE, &m);
}

void
ly_vms_report(struct ly_vms *vms)
{
	for (struct vm *vm = vms->first; vm; vm = vm->next)
		report(vm);
}

/* What should be known of a VM that runs: how it stands with its lease. */
static const char *
lease_text(const struct vm *vm)
{
	static const char *const texts[LY_RCS] = {
		[LY_OUTSIDE] = "no lease: its home is out of reach, or does not"
			       " renew it; its TPM waits",
		[LY_FAILED] = "its TPM is in failure mode until the VM resets",
	};
	const char *text = texts[vm->core.said];

	return vm->core.state == LY_AWAY_HELD && text ? text : "";
}

void
ly_vm_state(struct vm *vm, enum ly_vmstate_kind state, const char *why)
{
	if (state == LY_VM_RUNNING && !*why)
		why = lease_text(vm);
	vm->state = state;
	ly_copy(vm->why, sizeof(vm->why), why);
	ly_vm_touch(vm);
	ly_log(LY_NOTICE, vm->name, "%s%s%s", ly_vmstate_name(state),
	    *why ? ": " : "", why);
	report(vm);
}

bool
ly_vm_runs(const struct vm *vm)
{
	return vm->state == LY_VM_RUNNING || vm->guard.told;
}

void
ly_vm_alarm(struct vm *vm, const char *text)
{
	struct ly_alarm m = { .vm = vm->id };

	ly_log_alarm(vm->name, "%s", text);
	ly_copy(m.home_site, sizeof(m.home_site), vm->home_site);
	ly_copy(m.host, sizeof(m.host), vm->vms->agent->self->name);
	ly_copy(m.text, sizeof(m.text), text);
	ly_control_report(vm->vms->agent->control, LY_ALARM, &m);
}

/* ---- the end ---- */

static void
one_closed(struct ly_vms *vms)
{
	if (--vms->open > 0 || !vms->closing)
		return;
	vms->closed(vms->closed_arg);
	free(vms);
}

static void
take_off(struct vm *vm)
{
	struct vm **at = &vm->vms->first;

	while (*at != vm)
		at = &(*at)->next;
	*at = vm->next;
}

static void
vm_free(struct vm *vm)
{
	ly_vm_drop_deeds(vm);
	free(vm->def);
	free(vm->ticket);
	ly_wipe(&vm->core, sizeof(vm->core));
	free(vm);
}

void
ly_vm_unlist(struct vm *vm)
{
	take_off(vm);
	vm_free(vm);
}

/* The endpoint's calls carry the VM, so it lives until this last one. */
static void
on_endpoint_closed(void *arg)
{
	struct vm *vm = arg;
	struct ly_vms *vms = vm->vms;

	vm_free(vm);
	one_closed(vms);
}

/* Answers whoever still waits for something of this VM. */
static void
tell_askers(struct vm *vm, enum ly_rc rc)
{
	const char *why = *vm->why ? vm->why : "the VM is gone";

	done(vm->vms, vm->start_req, rc, why);
	done(vm->vms, vm->prepare_req, rc, why);
	done(vm->vms, vm->stop_req, LY_OK, "");
	vm->start_req = vm->prepare_req = vm->stop_req = 0;
}

static void
let_go(struct vm *vm)
{
	if (vm->qemu)
		ly_qemu_leave(vm->qemu);
	vm->qemu = NULL;
	ly_link_leave(&vm->user);
	take_off(vm);
}

/* The slot goes before the note: alone, the note of a VM whose QEMU does not
 * run says nothing. */
void
ly_vm_forget(struct vm *vm)
{
	struct ly_guest *guest;

	vm->forgotten = true;
	if (vm->turn.depth > 0)
		return; /* its end comes back here */
	guest = ly_take(vm->guest);
	if (guest)
		ly_guest_close(guest, on_endpoint_closed);
	if (vm->slot)
		ly_slot_free(ly_take(vm->slot));
	ly_vm_note_gone(vm);
	ly_vm_guard_end(vm);
	ly_vm_hook_forget(vm);
	vm->state = LY_VM_NONE;
	report(vm);
	tell_askers(vm, LY_OUTSIDE);
	let_go(vm);
	if (!guest)
		vm_free(vm);
}

/* The agent ends, the VM does not. */
static void
hand_on(struct vm *vm)
{
	ly_vm_hook_forget(vm);
	ly_vm_end_moves(vm);
	let_go(vm);
	if (vm->guest)
		ly_guest_leave(ly_take(vm->guest), on_endpoint_closed);
	else
		vm_free(vm);
}

void
ly_vm_leave(struct vm *vm, const char *why)
{
	if (vm->leaving)
		return;
	vm->leaving = true; /* kept with what DETACH comes to */
	if (!*vm->why)
		ly_copy(vm->why, sizeof(vm->why), why);
	ly_log(LY_NOTICE, vm->name, "leaving: %s", why);
	ly_vm_hook_end(vm);
}

/* ---- QEMU ---- */

static void
on_ready(void *arg)
{
	struct vm *vm = arg;

	if (vm->orphan) {
		ly_vm_orphan_ready(vm);
		return;
	}
	if (vm->woken) {
		ly_vm_woken(vm);
		return;
	}
	if (vm->dest || vm->core.state == LY_AWAY_STAGED) {
		ly_vm_qemu_ready(vm);
		return;
	}
	ly_vm_state(vm, LY_VM_RUNNING, "");
	ly_control_done(vm->vms->agent->control, vm->start_req, LY_OK,
	    LY_FATE_UNKNOWN, vm->core.epoch, "", "");
	vm->start_req = 0;
}

static void
on_event(void *arg, const char *name, const json_t *data)
{
	struct vm *vm = arg;

	(void)data;
	if (strcmp(name, "RESUME") == 0)
		ly_vm_guard_tell(vm, LY_GUARD_SAW_RUN);
	if (strcmp(name, "RESET") == 0 || strcmp(name, "SHUTDOWN") == 0)
		ly_log(LY_INFO, vm->name, "QEMU says %s", name);
}

/* A migration under way hears of it first (the tap), and settles what has to
 * be settled before the lease is given back. */
static void
on_qemu_exit(void *arg, int status, const char *why)
{
	struct vm *vm = arg;
	char text[LY_WHY_MAX];

	vm->qemu = NULL;
	ly_print(text, sizeof(text), "QEMU ended (%d)%s%s", status,
	    *why ? ": " : "", why);
	if (status != 0)
		ly_copy(vm->why, sizeof(vm->why), text);
	ly_log(LY_NOTICE, vm->name, "%s", text);
	if (vm->woken) {
		ly_vm_woken(vm); /* its monitor was not there yet */
		return;
	}
	if (vm->moving != LY_MOVING_NOT)
		return;
	/* The home may be long in taking its lease back. */
	if (vm->state == LY_VM_RUNNING || vm->state == LY_VM_PAUSED)
		ly_vm_state(vm, LY_VM_NONE, status != 0 ? text : "");
	ly_vm_leave(vm, text);
}

void
ly_vm_gone_meanwhile(struct vm *vm)
{
	vm->moving = LY_MOVING_NOT;
	ly_copy(vm->why, sizeof(vm->why),
	    "QEMU ended while its agent was restarted");
	ly_vm_leave(vm, vm->why);
}

static const struct ly_qemu_ops qemu_ops = {
	.on_ready = on_ready,
	.on_event = on_event,
	.on_exit = on_qemu_exit,
};

enum ly_rc
ly_vm_run(struct vm *vm, bool incoming, struct ly_why *why)
{
	char socket[220];
	struct ly_qemu_params params = {
		.binary = vm->vms->agent->conf.qemu,
		.dir = vm->dir,
		.name = vm->name,
		.id = vm->id,
		.definition = vm->def,
		.tpm_socket = socket,
		.incoming = incoming,
	};
	enum ly_rc rc = ly_vm_endpoint(vm,
	    incoming ? LY_GUEST_INCOMING : LY_GUEST_BEFORE, why);

	if (rc != LY_OK)
		return rc;
	vm->vms->open++;
	ly_vm_guard_begin(vm, incoming);
	ly_print(socket, sizeof(socket), "%s/tpm.ctrl", vm->dir);
	if (vm->external)
		on_ready(vm);
	else
		rc = ly_qemu_start(vm->vms->agent->loop, &params, &qemu_ops, vm,
		    &vm->qemu, why);
	free(vm->def); /* some KiB that a running VM does not need */
	vm->def = NULL;
	return rc;
}

/* ---- START ---- */

/* What the away machine tells: a start, and the end. Migrations: vm_move.c. */
void
ly_vm_told(struct vm *vm, const struct ly_away_todo *t)
{
	if (t->what == LY_AWAY_DETACH && t->rc != LY_REFUSED) {
		ly_vm_forget(vm);
		return;
	}
	if (t->what != LY_AWAY_ATTACH) {
		ly_vm_told_move(vm, t);
		return;
	}
	if (t->rc != LY_OK) {
		ly_print(vm->why, sizeof(vm->why),
		    "the home did not grant the lease (%s)", ly_rc_name(t->rc));
		done(vm->vms, vm->start_req, t->rc, vm->why);
		vm->start_req = 0;
		ly_vm_forget(vm);
	} else {
		ly_vm_hook_start(vm);
	}
}

struct vm *
ly_vm_blank(struct ly_vms *vms, const struct ly_id *id, const char *name)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		abort();
	vm->vms = vms;
	vm->id = *id;
	ly_vm_turns(vm);
	ly_away_init(&vm->core);
	ly_copy(vm->name, sizeof(vm->name), name);
	ly_print(vm->dir, sizeof(vm->dir), "%s/%s", vms->agent->conf.run, name);
	vm->next = vms->first;
	vms->first = vm;
	return vm;
}

/* Its directory is its name, and VMs of two sites may have the same one. */
static bool
name_taken(const struct ly_vms *vms, const char *name)
{
	for (const struct vm *vm = vms->first; vm; vm = vm->next)
		if (strcmp(vm->name, name) == 0)
			return true;
	return false;
}

static struct vm *
vm_new(struct ly_vms *vms, const struct ly_start *m, struct ly_why *why)
{
	bool taken = name_taken(vms, m->name);
	struct vm *vm = ly_vm_blank(vms, &m->vm, m->name);
	struct ly_peer home;
	enum ly_rc rc;

	vm->def = calloc(1, sizeof(*vm->def));
	vm->ticket = malloc(m->ticket.len + 1);
	if (!vm->def || !vm->ticket)
		abort();
	memcpy(vm->ticket, m->ticket.at, m->ticket.len);
	vm->ticket_len = m->ticket.len;
	ly_copy(vm->home, sizeof(vm->home), m->home);
	ly_copy(vm->home_address, sizeof(vm->home_address), m->home_address);
	ly_copy(vm->source_id, sizeof(vm->source_id), m->source);
	rc = ly_spiffe_parse(m->home, &home, why);
	if (rc == LY_OK && strcmp(home.site, m->origin) != 0)
		rc = ly_fail(why, LY_REFUSED,
		    "site %s may not ask about a VM of site %s", m->origin,
		    home.site);
	if (rc == LY_OK && !ly_name_good(m->name))
		rc = ly_fail(why, LY_REFUSED, "bad VM name");
	if (rc == LY_OK && taken)
		rc = ly_fail(why, LY_REFUSED,
		    "another VM that is called %s is on this host", m->name);
	if (rc == LY_OK)
		rc = ly_definition_check((const char *)m->definition.at,
		    m->definition.len, vm->def, why);
	if (rc == LY_OK)
		rc = ly_file_mkdir(vm->dir, 0700, why);
	if (rc == LY_OK) {
		vm->external = vm->def->external;
		ly_copy(vm->home_site, sizeof(vm->home_site), home.site);
		rc = ly_vm_note(vm, why);
	}
	if (rc == LY_OK)
		rc = ly_vm_keep(vm, why);
	if (rc != LY_OK) {
		ly_vm_unlist(vm);
		return NULL;
	}
	return vm;
}

/* A VM that is new here, with the link joined and `kind` asked. */
static void
begin(struct ly_vms *vms, const struct ly_start *m, enum ly_away_kind kind)
{
	struct ly_why why = { "refused" };
	struct vm *vm = vm_new(vms, m, &why);

	if (!vm) {
		done(vms, m->req, LY_REFUSED, why.text);
		return;
	}
	vm->mig = m->mig;
	if (kind == LY_AWAY_ATTACH)
		vm->start_req = m->req;
	else
		vm->prepare_req = m->req;
	ly_vm_state(vm,
	    kind == LY_AWAY_ATTACH ? LY_VM_STARTING : LY_VM_INCOMING, "");
	if (ly_vm_join(vm, m->home_address, &why) != LY_OK) {
		ly_copy(vm->why, sizeof(vm->why), why.text);
		ly_vm_forget(vm);
		return;
	}
	ly_vm_feed(vm, &(struct ly_away_event){ .kind = kind, .mig = m->mig },
	    NULL, 0);
}

static bool
may_ask(const struct vm *vm, const char *origin)
{
	return strcmp(vm->home_site, origin) == 0;
}

void
ly_vms_start(struct ly_vms *vms, const struct ly_start *m)
{
	struct vm *vm = ly_vm_of(vms, &m->vm);

	if (!vm) {
		begin(vms, m, LY_AWAY_ATTACH);
	} else if (!may_ask(vm, m->origin)) {
		done(vms, m->req, LY_REFUSED, "not a VM of that site");
	} else if (ly_vm_runs(vm) && !vm->leaving) {
		ly_control_done(vms->agent->control, m->req, LY_OK,
		    LY_FATE_UNKNOWN, vm->core.epoch, "", "");
	} else if (vm->state == LY_VM_STARTING && !vm->leaving) {
		vm->start_req = m->req;
	} else {
		done(vms, m->req, LY_BUSY, "the VM is still here");
	}
}

void
ly_vms_prepare(struct ly_vms *vms, const struct ly_start *m)
{
	struct vm *vm = ly_vm_of(vms, &m->vm);
	const struct past *past = ly_vms_past(vms, &m->mig);

	if (past) {
		done(vms, m->req, LY_REFUSED, "this migration is over here");
	} else if (!vm && ly_vm_keys_missing(vms, &m->mig)) {
		done(vms, m->req, LY_REFUSED, ly_vm_keys_missing(vms, &m->mig));
	} else if (!vm) {
		begin(vms, m, LY_AWAY_STAGE);
	} else if (!may_ask(vm, m->origin)) {
		done(vms, m->req, LY_REFUSED, "not a VM of that site");
	} else if (!ly_id_same(&vm->mig, &m->mig) || vm->leaving) {
		done(vms, m->req, vm->orphan ? LY_REFUSED : LY_BUSY,
		    "the VM is here already");
	} else if (vm->prepare_req) {
		vm->prepare_req = m->req;
	} else {
		ly_control_done(vms->agent->control, m->req, LY_OK,
		    LY_FATE_OPEN, 0, "", vms->agent->conf.address);
	}
}

void
ly_vms_stop(struct ly_vms *vms, const struct ly_request *m)
{
	struct vm *vm = ly_vm_of(vms, &m->vm);

	if (!vm) {
		done(vms, m->req, LY_OK, "");
	} else if (!may_ask(vm, m->origin)) {
		done(vms, m->req, LY_REFUSED, "not a VM of that site");
	} else if (vm->moving != LY_MOVING_NOT) {
		done(vms, m->req, LY_BUSY, "the VM is in a migration");
	} else if (vm->woken && !vm->qemu) {
		done(vms, m->req, LY_REFUSED,
		    "its QEMU may run, but this agent cannot watch it");
	} else {
		vm->stop_req = m->req;
		if (!vm->qemu)
			ly_vm_leave(vm, "stopped");
		else if (m->flag)
			ly_qemu_quit(vm->qemu);
		else
			ly_qemu_powerdown(vm->qemu, NULL, NULL);
	}
}

/* ---- time, opening, closing ---- */

static void
on_tick(uv_timer_t *timer)
{
	struct ly_vms *vms = timer->data;
	struct vm *next;

	for (struct vm *vm = vms->first; vm; vm = next) {
		next = vm->next;
		if (vm->core.retry_at || vm->core.waiting_since)
			ly_vm_feed(vm,
			    &(struct ly_away_event){ .kind = LY_AWAY_TICK },
			    NULL, 0);
	}
	for (struct vm *vm = vms->first; vm; vm = vm->next)
		ly_vm_guard_tick(vm);
}

enum ly_rc
ly_vms_open(struct ly_agent *agent, struct ly_vms **out, struct ly_why *why)
{
	struct ly_vms *vms = calloc(1, sizeof(*vms));

	if (!vms)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	vms->agent = agent;
	ly_vms_wake(vms, &qemu_ops);
	ly_vms_adopt(vms, &qemu_ops);
	uv_timer_init(agent->loop, &vms->tick);
	vms->tick.data = vms;
	uv_timer_start(&vms->tick, on_tick, TICK_MS, TICK_MS);
	uv_unref((uv_handle_t *)&vms->tick);
	*out = vms;
	return LY_OK;
}

static void
on_tick_closed(uv_handle_t *handle)
{
	one_closed(handle->data);
}

void
ly_vms_close(struct ly_vms *vms, void (*closed)(void *arg), void *arg)
{
	vms->closing = true;
	vms->closed = closed;
	vms->closed_arg = arg;
	vms->open++;
	while (vms->first)
		hand_on(vms->first);
	uv_close((uv_handle_t *)&vms->tick, on_tick_closed);
}
