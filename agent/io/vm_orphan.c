/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMUs that run although nothing is kept of them: agent and keeper have died
 * together, or what was kept is not believed. Their guests go on, but their TPM
 * is gone: QEMU does not connect to it again. So they are watched, reported as
 * failed, and can be stopped; nothing else may be started in their place on
 * this host. One that waits for memory is ended: whoever sent it has lost us.
 */
#include "agent/io/vm_in.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static void
on_status(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct vm *vm = arg;

	(void)why;
	if (rc == LY_OK && vm->qemu &&
	    strcmp(ly_qemu_status(value), "inmigrate") == 0)
		ly_qemu_quit(vm->qemu);
}

void
ly_vm_orphan_ready(struct vm *vm)
{
	ly_qemu_ask_status(vm->qemu, on_status, vm);
	ly_vm_guard_wake(vm);
}

static void
adopt(struct ly_vms *vms, const char *name, const struct ly_qemu_ops *ops)
{
	static const struct ly_id none;
	struct ly_qemu_params params = { .name = name };
	struct vm *vm = ly_vm_blank(vms, &none, name);
	struct ly_why why;
	enum ly_rc rc = ly_vm_note_read(vm, &why);

	vm->orphan = true;
	params.dir = vm->dir;
	params.id = vm->id;
	if (rc == LY_OK)
		rc = ly_qemu_adopt(vms->agent->loop, &params, ops, vm,
		    &vm->qemu, &why);
	if (rc != LY_OK) {
		if (rc == LY_UNKNOWN) /* nothing runs there */
			ly_vm_note_gone(vm);
		ly_vm_unlist(vm);
		return;
	}
	vm->state = LY_VM_FAILED;
	ly_copy(vm->why, sizeof(vm->why),
	    "its agent and what that kept are gone, and the guest's TPM with"
	    " them, until the VM is stopped and started");
	ly_log_alarm(name, "QEMU (pid %d): %s", ly_qemu_pid(vm->qemu), vm->why);
}

/* A VM that is served has been woken before. */
static bool
known(const struct ly_vms *vms, const char *name)
{
	for (const struct vm *vm = vms->first; vm; vm = vm->next)
		if (strcmp(vm->name, name) == 0)
			return true;
	return false;
}

void
ly_vms_adopt(struct ly_vms *vms, const struct ly_qemu_ops *ops)
{
	DIR *dir = opendir(vms->agent->conf.run);
	struct dirent *e;

	if (!dir)
		return;
	while ((e = readdir(dir)))
		if (ly_name_good(e->d_name) && !known(vms, e->d_name))
			adopt(vms, e->d_name, ops);
	closedir(dir);
}
