/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's turns (agent/io/turn.h): whatever its machines decide is written to
 * its slot, whole, before the first of it is done: before QEMU's request
 * leaves its socket, before an answer goes there, before the home or the owner
 * is told. Who finds the slot finds a VM in which some of that is still to be
 * done, and all of it can be done again: bytes to and from QEMU move once
 * (agent/io/once.h), the home knows what it was asked before, and the owner
 * looks at the state instead of waiting to be told.
 */
#include "agent/io/vm_in.h"

_Static_assert(LY_KEPT_MAX <= LY_SLOT_STATE_AWAY, "it has to fit into a slot");

static struct ly_bytes
text_bytes(const char *text, size_t most)
{
	return (struct ly_bytes){ (const uint8_t *)text,
		ly_min(strlen(text), most) };
}

static struct ly_vm_kept
shell_of(const struct vm *vm, const struct ly_guest_kept *guest)
{
	return (struct ly_vm_kept){ .id = vm->id,
		.mig = vm->mig,
		.name = text_bytes(vm->name, LY_NAME_MAX - 1),
		.why = text_bytes(vm->why, LY_KEPT_WHY),
		.state = (uint8_t)vm->state,
		.moving = (uint8_t)vm->moving,
		.leaving = vm->leaving,
		.served = vm->guest != NULL,
		.stopped = vm->stopped,
		.fin = vm->fin,
		.let_go = vm->let_go,
		.commands_before = vm->commands_before,
		.blobs_before = vm->blobs_before,
		.fate_epoch = vm->fate_epoch,
		.guest_owed = vm->guest_owed,
		.cmd_locality = vm->cmd.locality,
		.sent_locality = vm->sent.locality,
		.cmd_len = vm->cmd.len,
		.sent_len = vm->sent.len,
		.sent_seq = vm->sent_seq,
		.token_len = vm->token_len,
		.asked_by = guest->asked_by,
		.asked_raw = guest->asked_raw,
		.have = guest->have };
}

static void
commit(void *arg)
{
	struct vm *vm = arg;
	struct ly_guest_kept guest = { .asked_by = LY_ASKER_NONE };
	uint8_t state[LY_KEPT_MAX];
	struct ly_vm_kept shell;

	if (!vm->slot)
		return;
	if (vm->guest)
		ly_guest_keep(vm->guest, &guest);
	shell = shell_of(vm, &guest);
	ly_slot_commit(vm->slot, state,
	    ly_kept_pack(&shell, &vm->core, &guest.m, state));
	ly_wipe(state, sizeof(state));
}

static void
settle(void *arg)
{
	struct vm *vm = arg;

	if (vm->guest)
		ly_guest_settle(vm->guest);
	ly_vm_do_deeds(vm);
}

static bool
go_on(void *arg)
{
	struct vm *vm = arg;

	return vm->guest && ly_guest_go_on(vm->guest);
}

static void
over(void *arg)
{
	struct vm *vm = arg;

	if (vm->forgotten)
		ly_vm_forget(vm);
	else
		ly_vm_release_if_idle(vm);
}

static const struct ly_turn_ops turn_ops = {
	.commit = commit,
	.settle = settle,
	.go_on = go_on,
	.over = over,
};

void
ly_vm_turns(struct vm *vm)
{
	vm->turn = (struct ly_turn){ .ops = &turn_ops, .arg = vm };
}

void
ly_vm_touch(struct vm *vm)
{
	ly_turn_enter(&vm->turn);
	ly_turn_touch(&vm->turn);
	ly_turn_leave(&vm->turn);
}

enum ly_rc
ly_vm_keep(struct vm *vm, struct ly_why *why)
{
	vm->slot = ly_slot_new(vm->vms->agent->keep, LY_KEEP_AWAY);
	if (!vm->slot)
		return ly_fail(why, LY_FULL, "no more than %d VMs on one host",
		    LY_KEEP_SLOTS);
	ly_vm_touch(vm);
	return LY_OK;
}

uint8_t *
ly_vm_area(struct vm *vm, enum ly_area area, size_t len)
{
	return len ? ly_slot_area(vm->slot, area, len) : NULL;
}

static bool
copy_text(char *out, size_t size, struct ly_bytes from)
{
	if (from.len >= size || !ly_text_clean((const char *)from.at, from.len))
		return false;
	memcpy(out, from.at, from.len);
	out[from.len] = '\0';
	return true;
}

enum ly_rc
ly_vm_unkeep(struct vm *vm, struct ly_slot *slot, struct ly_guest_kept *guest,
    bool *served, struct ly_why *why)
{
	struct ly_bytes state = ly_slot_state(slot);
	struct ly_vm_kept k;
	enum ly_rc rc = ly_kept_unpack(state.at, state.len, &k, &vm->core,
	    &guest->m, why);

	if (rc != LY_OK)
		return rc;
	if (!copy_text(vm->name, sizeof(vm->name), k.name) ||
	    !ly_name_good(vm->name) ||
	    !copy_text(vm->why, sizeof(vm->why), k.why))
		return ly_fail(why, LY_MALFORMED, "it has no good name");
	vm->id = k.id;
	vm->mig = k.mig;
	vm->state = (enum ly_vmstate_kind)k.state;
	vm->moving = (enum ly_moving)k.moving;
	/* else what led to it is found again */
	vm->leaving = k.leaving && vm->core.state == LY_AWAY_DETACHING;
	vm->stopped = k.stopped;
	vm->fin = k.fin;
	vm->let_go = k.let_go;
	vm->commands_before = k.commands_before;
	vm->blobs_before = k.blobs_before;
	vm->fate_epoch = k.fate_epoch;
	vm->guest_owed = k.guest_owed;
	vm->cmd = (struct vm_cmd){ k.cmd_len, k.cmd_locality };
	vm->sent = (struct vm_cmd){ k.sent_len, k.sent_locality };
	vm->sent_seq = k.sent_seq;
	vm->token_len = k.token_len;
	guest->asked_by = k.asked_by;
	guest->asked_raw = k.asked_raw;
	guest->have = k.have;
	*served = k.served;
	vm->slot = slot;
	return LY_OK;
}
