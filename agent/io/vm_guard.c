/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's pause guard: the machine of agent/away/guard.h joined to QEMU.
 *
 * That the guest stands still by our hand is the file DIR/paused: made before
 * QEMU is asked to stop it, removed when it goes on. So whatever else dies
 * meanwhile, the next agent here finds it and lets the guest go on.
 */
#include "agent/io/vm_in.h"

#include "agent/tpm/header.h"
#include "agent/tpm/limit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void perform(struct vm *vm, const struct ly_guard_todo *t);

/* QEMU's monitor may be closed, and refuse from within perform(): what is
 * found out there waits until the machine has been left. */
static void
feed(struct vm *vm, struct ly_guard_event ev)
{
	if (!vm->qemu)
		return;
	if (vm->guard_feeding) {
		assert(!vm->guard_more);
		vm->guard_more = true;
		vm->guard_next = ev;
		return;
	}
	vm->guard_feeding = true;
	do {
		struct ly_guard_todos todo = { .n = 0 };

		vm->guard_more = false;
		ev.now_ms = ly_vm_now_ms(vm);
		ly_guard_step(&vm->guard, &ev, &todo);
		for (unsigned i = 0; i < todo.n; i++)
			perform(vm, &todo.act[i]);
		ev = vm->guard_next;
	} while (vm->guard_more);
	vm->guard_feeding = false;
}

/* ---- QEMU ---- */

static void
on_looked(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	(void)why;
	feed(arg,
	    (struct ly_guard_event){ .kind = LY_GUARD_LOOKED,
		.ok = rc == LY_OK,
		.runs = rc == LY_OK &&
		    strcmp(ly_qemu_status(value), "running") == 0 });
}

static void
on_stopped(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct vm *vm = arg;

	(void)value;
	if (rc != LY_OK)
		ly_log(LY_WARNING, vm->name, "pause guard: %s", why);
	feed(vm,
	    (struct ly_guard_event){ .kind = LY_GUARD_STOPPED,
		.ok = rc == LY_OK });
}

static void
on_gone_on(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct vm *vm = arg;

	(void)value;
	if (rc != LY_OK)
		ly_log(LY_WARNING, vm->name, "pause guard: %s", why);
	feed(vm,
	    (struct ly_guard_event){ .kind = LY_GUARD_GONE_ON,
		.ok = rc == LY_OK });
}

/* ---- the mark ---- */

static void
mark_path(const struct vm *vm, char out[240])
{
	ly_print(out, 240, "%s/paused", vm->dir);
}

static void
mark(const struct vm *vm)
{
	char path[240];
	int fd;

	mark_path(vm, path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		ly_log(LY_ERROR, vm->name, "%s: %s", path, strerror(errno));
	else
		close(fd);
}

static void
unmark(const struct vm *vm)
{
	char path[240];

	mark_path(vm, path);
	unlink(path);
}

/* ---- doing as told ---- */

/* What is said of the VM is ours to say only while nobody else does. */
static void
tell(struct vm *vm, bool held)
{
	if (held && vm->state == LY_VM_RUNNING)
		ly_vm_state(vm, LY_VM_PAUSED, LY_GUARD_WHY);
	else if (!held && vm->state == LY_VM_PAUSED &&
	    strcmp(vm->why, LY_GUARD_WHY) == 0)
		ly_vm_state(vm, LY_VM_RUNNING, "");
}

static void
summary(const struct vm *vm, const struct ly_guard_sum *sum)
{
	ly_log(LY_INFO, vm->name,
	    "the pause guard has stopped the guest %u times in a minute, "
	    "%llu ms in all, %llu ms at most",
	    sum->pauses, (unsigned long long)sum->ms,
	    (unsigned long long)sum->longest_ms);
}

static void
perform(struct vm *vm, const struct ly_guard_todo *t)
{
	switch (t->act) {
	case LY_GUARD_DO_LOOK:
		ly_qemu_ask_status(vm->qemu, on_looked, vm);
		break;
	case LY_GUARD_DO_MARK:
		mark(vm);
		break;
	case LY_GUARD_DO_STOP:
		ly_log(LY_DEBUG, vm->name, "paused by the guard");
		ly_qemu_stop(vm->qemu, on_stopped, vm);
		break;
	case LY_GUARD_DO_CONT:
		ly_qemu_cont(vm->qemu, on_gone_on, vm);
		break;
	case LY_GUARD_DO_UNMARK:
		unmark(vm);
		break;
	case LY_GUARD_DO_TELL:
		tell(vm, t->held);
		break;
	case LY_GUARD_DO_ALARM:
		ly_vm_alarm(vm, t->text);
		break;
	case LY_GUARD_DO_SUMMARY:
		summary(vm, &t->sum);
		break;
	}
}

/* ---- for the owner ---- */

void
ly_vm_guard_begin(struct vm *vm, bool barred)
{
	ly_guard_init(&vm->guard, barred);
	unmark(vm);
	if (vm->external)
		ly_log(LY_NOTICE, vm->name,
		    "its hypervisor is not ours: no pause guard, so the guest "
		    "gives up on TPM commands that take too long");
}

void
ly_vm_guard_wake(struct vm *vm)
{
	char path[240];

	mark_path(vm, path);
	feed(vm,
	    (struct ly_guard_event){ .kind = LY_GUARD_WAKE,
		.ours = access(path, F_OK) == 0 });
}

void
ly_vm_guard_end(struct vm *vm)
{
	if (!vm->vms->closing) /* the next agent needs it */
		unmark(vm);
}

void
ly_vm_guard_command(struct vm *vm, const uint8_t *cmd, size_t len)
{
	struct ly_guard_event ev = { .kind = LY_GUARD_COMMAND };
	struct ly_tpm_cmd parsed;

	if (len && ly_tpm_cmd_parse(cmd, len, &parsed) == LY_OK)
		ev.limit_ms = ly_tpm_limit_ms(parsed.code);
	feed(vm, ev);
}

void
ly_vm_guard_tell(struct vm *vm, enum ly_guard_kind kind)
{
	feed(vm, (struct ly_guard_event){ .kind = kind });
}

void
ly_vm_guard_tick(struct vm *vm)
{
	if (ly_guard_ticks(&vm->guard))
		ly_vm_guard_tell(vm, LY_GUARD_TICK);
}
