/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a VM's hooks run: on-claim before its guest runs here, on-release when
 * it has stopped here and before its home is told, on-abort before a guest
 * that was to move goes on here after all. One at a time.
 */
#include "agent/io/vm_in.h"

static void
on_done(void *arg, enum ly_rc rc, const char *why)
{
	struct vm *vm = arg;

	vm->hook = NULL;
	vm->hooked(vm, rc == LY_OK, why);
}

static void
run(struct vm *vm, enum ly_hook_kind kind,
    void (*hooked)(struct vm *vm, bool ok, const char *why))
{
	const struct ly_agent *agent = vm->vms->agent;
	const char *const paths[LY_HOOKS] = {
		[LY_HOOK_RELEASE] = agent->conf.on_release,
		[LY_HOOK_CLAIM] = agent->conf.on_claim,
		[LY_HOOK_ABORT] = agent->conf.on_abort,
	};
	struct ly_hook_params p = { .kind = kind,
		.path = paths[kind],
		.timeout_ms = agent->conf.hook_timeout * 1000,
		.vm = vm->name,
		.host = agent->self->id,
		.home = vm->home,
		.dir = vm->dir,
		.id = vm->id,
		.mig = vm->mig,
		.epoch = vm->core.epoch };

	ly_vm_hook_forget(vm);
	vm->hooked = hooked;
	vm->hook = ly_hook_run(agent->loop, &p, on_done, vm);
}

void
ly_vm_hook_forget(struct vm *vm)
{
	ly_hook_forget(vm->hook);
	vm->hook = NULL;
}

/* ---- a migration ---- */

static void
source_hooked(struct vm *vm, bool ok, const char *why)
{
	if (!ok)
		ly_vm_state(vm, vm->state, why);
	if (vm->source)
		ly_source_hooked(vm->source, ok, why);
}

void
ly_vm_hook_source(struct vm *vm, bool regain)
{
	run(vm, regain ? LY_HOOK_ABORT : LY_HOOK_RELEASE, source_hooked);
}

static void
dest_hooked(struct vm *vm, bool ok, const char *why)
{
	if (!ok)
		ly_vm_state(vm, vm->state, why);
	if (vm->dest)
		ly_dest_hooked(vm->dest, ok, why);
}

void
ly_vm_hook_dest(struct vm *vm)
{
	run(vm, LY_HOOK_CLAIM, dest_hooked);
}

/* ---- a start, and the end ---- */

static void
start_hooked(struct vm *vm, bool ok, const char *text)
{
	struct ly_why why;

	if (vm->leaving)
		return;
	ly_copy(why.text, sizeof(why.text), text);
	if (!ok || ly_vm_run(vm, false, &why) != LY_OK)
		ly_vm_leave(vm, why.text);
}

void
ly_vm_hook_start(struct vm *vm)
{
	run(vm, LY_HOOK_CLAIM, start_hooked);
}

/* The guest is gone, so the lease goes back whatever the hook came to; a lock
 * that was not given back will stop the next on-claim. */
static void
end_hooked(struct vm *vm, bool ok, const char *why)
{
	if (!ok)
		ly_vm_alarm(vm, why);
	ly_vm_feed(vm, &(struct ly_away_event){ .kind = LY_AWAY_DETACH }, NULL,
	    0);
}

void
ly_vm_hook_end(struct vm *vm)
{
	if (vm->core.state == LY_AWAY_HELD)
		run(vm, LY_HOOK_RELEASE, end_hooked);
	else
		end_hooked(vm, true, "");
}
