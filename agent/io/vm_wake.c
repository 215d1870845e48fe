/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMs that an agent before us served, and that we serve on. What it knew is
 * in its slot and its note; what it had decided and not yet done is found by
 * looking, not by having been told:
 *
 *	its lease	the away machine asks the home again when the link is up
 *	its guest	the endpoint goes on with the bytes where they were
 *	its QEMU	is adopted; when the monitor answers, ly_vm_woken()
 *	a start		that had not got as far as QEMU is called off; whoever
 *			wanted it asks again
 *	a migration	see ly_vm_woken()
 *
 * What cannot be believed is refused: that VM's TPM fails, and an alarm says
 * so. If its QEMU runs, it is an orphan (vm_orphan.c).
 */
#include "agent/io/vm_in.h"

#include <stdlib.h>

/* The slot is closed with its descriptors: QEMU sees its TPM go. */
static void
refuse(struct vm *vm, struct ly_slot *slot, const struct ly_why *why)
{
	ly_log_alarm(*vm->name ? vm->name : "vm",
	    "what was kept of a VM is refused, and its TPM has failed: %s",
	    why->text);
	ly_slot_free(slot);
	ly_vm_unlist(vm);
}

static enum ly_rc
read_back(struct vm *vm, struct ly_slot *slot, struct ly_guest_kept *guest,
    bool *served, struct ly_why *why)
{
	enum ly_rc rc = ly_vm_unkeep(vm, slot, guest, served, why);

	if (rc != LY_OK)
		return rc;
	ly_print(vm->dir, sizeof(vm->dir), "%s/%s", vm->vms->agent->conf.run,
	    vm->name);
	rc = ly_vm_note_read(vm, why);
	if (vm->core.state >= LY_AWAY_HELD) { /* it is used up */
		free(ly_take(vm->ticket));
		vm->ticket_len = 0;
	}
	return rc;
}

/* RELEASE may have been asked. */
static bool
released(const struct vm *vm)
{
	return vm->moving == LY_MOVING_OUT &&
	    (vm->core.state == LY_AWAY_RELEASING ||
		vm->core.state == LY_AWAY_RELEASED ||
		vm->core.state == LY_AWAY_DEAD);
}

static void
find_qemu(struct vm *vm, const struct ly_qemu_ops *ops)
{
	struct ly_qemu_params params = { .dir = vm->dir,
		.name = vm->name,
		.id = vm->id };
	struct ly_why why;
	enum ly_rc rc;

	if (vm->external)
		return;
	vm->woken = true;
	rc = ly_qemu_adopt(vm->vms->agent->loop, &params, ops, vm, &vm->qemu,
	    &why);
	if (rc == LY_OK)
		return;
	vm->qemu = NULL;
	if (rc !=
	    LY_UNKNOWN) { /* it may run: nobody else may be given its TPM */
		ly_vm_alarm(vm, why.text);
		return;
	}
	ly_log(LY_WARNING, vm->name, "QEMU has ended meanwhile: %s", why.text);
	ly_vm_woken(vm);
}

/* A command that still waits has waited nobody knows how long. */
static void
wake_guard(struct vm *vm)
{
	ly_guard_init(&vm->guard,
	    vm->moving != LY_MOVING_NOT || vm->core.state == LY_AWAY_DEAD);
	if (!vm->qemu)
		return;
	if (vm->guest_owed && vm->core.sent == LY_SENT_COMMAND)
		ly_vm_guard_command(vm,
		    ly_vm_area(vm, LY_AREA_NUMBERED, vm->sent.len),
		    vm->core.sent_op == LY_OP_TPM ? vm->sent.len : 0);
	else if (vm->guest_owed)
		ly_vm_guard_command(vm,
		    ly_vm_area(vm, LY_AREA_WAITING, vm->cmd.len),
		    vm->core.op == LY_OP_TPM ? vm->cmd.len : 0);
	ly_vm_guard_wake(vm);
}

static void
serve_on(struct vm *vm, bool served, const struct ly_qemu_ops *ops)
{
	struct ly_why why;

	vm->asked_release = released(vm);
	if (ly_vm_join(vm, vm->home_address, &why) != LY_OK)
		ly_vm_alarm(vm, why.text);
	if (served)
		find_qemu(vm, ops);
	else
		ly_vm_leave(vm, "its agent ended while it was being started");
}

static void
wake(struct ly_vms *vms, struct ly_slot *slot, const struct ly_qemu_ops *ops)
{
	static const struct ly_id none;
	struct vm *vm = ly_vm_blank(vms, &none, "");
	struct ly_guest_kept guest;
	struct ly_why why;
	bool served;
	enum ly_rc rc = read_back(vm, slot, &guest, &served, &why);

	if (rc == LY_OK) {
		ly_away_wake(&vm->core, ly_vm_now_ms(vm));
		if (served)
			rc = ly_vm_endpoint_woken(vm, &guest, &why);
	}
	if (rc != LY_OK) {
		refuse(vm, slot, &why);
		return;
	}
	vms->open += served;
	ly_log(LY_NOTICE, vm->name, "served on: %s, epoch %llu, seq %llu%s",
	    ly_away_state_name(vm->core.state),
	    (unsigned long long)vm->core.epoch,
	    (unsigned long long)vm->core.seq,
	    vm->guest_owed ? ", a command waits" : "");
	ly_turn_enter(&vm->turn); /* a home that is ours answers at once */
	if (vm->core.state == LY_AWAY_NONE)
		ly_vm_forget(vm); /* it was over, but for this */
	else
		serve_on(vm, served, ops);
	ly_turn_leave(&vm->turn);
}

void
ly_vms_wake(struct ly_vms *vms, const struct ly_qemu_ops *ops)
{
	struct ly_keep *keep = vms->agent->keep;
	struct ly_slot *s = ly_keep_next(keep, LY_KEEP_AWAY, NULL), *next;

	uv_update_time(vms->agent->loop);
	for (; s; s = next) {
		next = ly_keep_next(keep, LY_KEEP_AWAY, s);
		wake(vms, s, ops);
	}
}

/* ---- with the monitor ---- */

static void
goes_on(struct vm *vm)
{
	if (vm->core.state == LY_AWAY_DEAD)
		ly_vm_fenced(vm);
	else if (vm->state == LY_VM_INCOMING)
		ly_qemu_quit(vm->qemu); /* it waits for memory of a past */
	else if (vm->state == LY_VM_STARTING || vm->state == LY_VM_PAUSED)
		ly_vm_state(vm, LY_VM_RUNNING, ""); /* or the guard says */
}

void
ly_vm_woken(struct vm *vm)
{
	vm->woken = false;
	wake_guard(vm);
	if (vm->moving == LY_MOVING_OUT)
		ly_vm_source_woken(vm);
	else if (vm->moving == LY_MOVING_IN)
		ly_vm_dest_woken(vm);
	else if (!vm->qemu)
		ly_vm_gone_meanwhile(vm);
	else
		goes_on(vm);
}
