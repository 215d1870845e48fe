/* SPDX-License-Identifier: Apache-2.0 */
/* What managers ask of a host, and QEMUs that nobody serves: agent/io/vms.c. */
#include "tests/sim/sim.h"

struct vm *
vm_blank(struct agent *a, unsigned vm)
{
	for (unsigned i = 0; i < LY_COUNT(a->vms); i++) {
		struct vm *v = &a->vms[i];
		uint32_t gen = v->gen;

		if (v->used)
			continue;
		*v = (struct vm){ .used = true,
			.gen = gen + 1,
			.agent = a,
			.vm = vm,
			.home = w.vm_home[vm] };
		ly_away_init(&v->core);
		ly_guard_init(&v->guard, true);
		return v;
	}
	abort();
}

static void
begin(struct agent *a, const struct ly_start *m, enum ly_away_kind kind)
{
	struct vm *vm = vm_blank(a, vm_no(&m->vm));

	assert(m->ticket.len <= sizeof(vm->ticket));
	memcpy(vm->ticket, m->ticket.at, m->ticket.len);
	vm->ticket_len = m->ticket.len;
	vm->source_host = host_of_who(m->source);
	vm->mig = m->mig;
	if (kind == LY_AWAY_ATTACH)
		vm->start_req = m->req;
	else
		vm->prepare_req = m->req;
	vm_state(vm, kind == LY_AWAY_ATTACH ? LY_VM_STARTING : LY_VM_INCOMING);
	link_join(vm);
	vm_feed(vm, &(struct ly_away_event){ .kind = kind, .mig = m->mig },
	    NULL, 0);
}

static bool
vm_runs(const struct vm *vm)
{
	return vm->state == LY_VM_RUNNING || vm->guard.told;
}

static void
on_start(struct agent *a, const struct ly_start *m)
{
	struct vm *vm = vm_of(a, vm_no(&m->vm));

	if (!vm)
		begin(a, m, LY_AWAY_ATTACH);
	else if (vm_runs(vm) && !vm->leaving)
		agent_done(a, m->req, LY_OK, 0, vm->core.epoch, "");
	else if (vm->state == LY_VM_STARTING && !vm->leaving)
		vm->start_req = m->req;
	else
		agent_done(a, m->req, LY_BUSY, 0, 0, "");
}

static void
on_prepare(struct agent *a, const struct ly_start *m)
{
	struct vm *vm = vm_of(a, vm_no(&m->vm));

	if (move_past(a, &m->mig))
		agent_done(a, m->req, LY_REFUSED, 0, 0, "");
	else if (!vm)
		begin(a, m, LY_AWAY_STAGE);
	else if (!ly_id_same(&vm->mig, &m->mig) || vm->leaving)
		agent_done(a, m->req, vm->orphan ? LY_REFUSED : LY_BUSY, 0, 0,
		    "");
	else if (vm->prepare_req)
		vm->prepare_req = m->req;
	else
		agent_done(a, m->req, LY_OK, LY_FATE_OPEN, 0, "");
}

static void
on_stop(struct agent *a, const struct ly_request *m)
{
	struct vm *vm = vm_of(a, vm_no(&m->vm));

	if (!vm) {
		agent_done(a, m->req, LY_OK, 0, 0, "");
	} else if (vm->moving != LY_MOVING_NOT) {
		agent_done(a, m->req, LY_BUSY, 0, 0, "");
	} else {
		vm->stop_req = m->req;
		if (!vm->qemu)
			vm_leave(vm);
		else
			qemu_quit(vm->qemu);
	}
}

static void
on_copy(struct agent *a, const struct ly_copy *m)
{
	struct vm *vm = vm_of(a, vm_no(&m->vm));
	const struct past *p = move_past(a, &m->mig);

	if (p) {
		agent_done(a, m->req, p->rc, p->fate, p->epoch, "");
	} else if (!vm) {
		agent_done(a, m->req, LY_UNKNOWN, 0, 0, "");
	} else if (vm->moving == LY_MOVING_OUT &&
	    ly_id_same(&vm->mig, &m->mig)) {
		vm->copy_req = m->req;
	} else if (vm->moving != LY_MOVING_NOT || !vm_runs(vm) || vm->leaving ||
	    vm->core.state != LY_AWAY_HELD || !attest_may_send(a, m)) {
		agent_done(a, m->req, LY_REFUSED, 0, 0, "");
	} else {
		vm->mig = m->mig;
		vm->copy_req = m->req;
		vm->asked_release = false;
		vm->moving = LY_MOVING_OUT;
		vm->stopped = vm->fin = vm->let_go = false;
		vm->source_host = host_of_who(m->dest);
		(void)move_copy(vm);
	}
}

static void
on_settle(struct agent *a, const struct ly_request *m)
{
	struct vm *vm = vm_of_mig(a, &m->mig);
	struct vm *orphan = vm_of(a, vm_no(&m->vm));

	if (orphan && orphan->orphan && orphan->qemu &&
	    m->flag == LY_FATE_CLAIMED)
		qemu_quit(orphan->qemu);
	if (vm && vm->moving == LY_MOVING_OUT && vm->core.asking)
		vm_feed(vm,
		    &(struct ly_away_event){ .kind = LY_AWAY_SETTLED,
			.mig = m->mig,
			.fate = (enum ly_fate)m->flag,
			.epoch = m->epoch },
		    NULL, 0);
	agent_done(a, m->req, LY_OK, 0, 0, "");
}

static void
on_drop(struct agent *a, const struct ly_request *m)
{
	struct vm *vm = vm_of_mig(a, &m->mig);
	struct vm *orphan = vm_of(a, vm_no(&m->vm));

	if (orphan && orphan->orphan && orphan->qemu)
		qemu_quit(orphan->qemu);
	if (vm && (vm->dest || (vm->state == LY_VM_INCOMING && !vm->woken)))
		move_give_up(vm);
	agent_done(a, m->req, LY_OK, 0, 0, "");
}

static void
on_calloff(struct agent *a, const struct ly_request *m)
{
	struct vm *vm = vm_of_mig(a, &m->mig);

	if (vm && vm->source)
		move_source_tell(vm->source,
		    (struct ly_source_event){ .kind = LY_SRC_CALLOFF });
	agent_done(a, m->req, LY_OK, 0, 0, "");
}

void
vms_request(struct agent *a, unsigned type, const union ly_any *m)
{
	switch (type) {
	case LY_START:
		on_start(a, &m->start);
		break;
	case LY_PREPARE:
		on_prepare(a, &m->start);
		break;
	case LY_STOP:
		on_stop(a, &m->request);
		break;
	case LY_COPY:
		on_copy(a, &m->copy);
		break;
	case LY_CALLOFF:
		on_calloff(a, &m->request);
		break;
	case LY_SETTLE:
		on_settle(a, &m->request);
		break;
	case LY_DROP:
		on_drop(a, &m->request);
		break;
	default:
		break;
	}
}

/* QEMUs that an agent before has left. */
void
vms_adopt(struct agent *a)
{
	for (unsigned i = 0; i < QEMUS; i++) {
		struct qemu *q = &w.qemu[i];
		struct vm *vm;

		if (!q->used || q->host != a->host || q->shell)
			continue;
		qemu_session_lost(q);
		vm = vm_blank(a, q->vm);
		vm->orphan = true;
		vm->qemu = q;
		vm->state = LY_VM_FAILED;
		q->shell = vm;
		vm_qemu_ready(vm);
	}
}
