/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator asks a manager for: as manager/io/vm.c. */
#include "tests/sim/sim.h"

#define SHORT_MS 10000
#define LONG_MS 120000

static void
job_end(struct manager *m, unsigned vm)
{
	m->jobs[vm].kind = JOB_NONE;
	mgr_vm_entry(m, vm)->busy = false;
}

struct ask *
mgr_job_ask(struct manager *m, unsigned vm, unsigned host, unsigned type,
    uint64_t limit_ms, enum stage stage)
{
	struct ask *a = mgr_ask_new(m, host, type, limit_ms);

	if (!a) {
		job_end(m, vm);
		return NULL;
	}
	a->vm = vm;
	a->stage = stage;
	if (type == LY_START)
		a->msg.start.vm = vm_id(vm);
	else if (type == LY_BIND)
		a->msg.bind.vm = vm_id(vm);
	else
		a->msg.request.vm = vm_id(vm);
	return a;
}

static void
send_start(struct manager *m, struct job *j, unsigned rights)
{
	struct ly_vm *v = mgr_vm_entry(m, j->vm);
	struct ly_place was = v->at;
	struct ask *a;

	mgr_host_place(&v->at, j->to);
	v->lost = false;
	if (!mgr_save_vm(m, j->vm)) {
		v->at = was;
		job_end(m, j->vm);
		return;
	}
	v->known = false;
	v->state = LY_VM_NONE;
	a = mgr_job_ask(m, j->vm, j->to, LY_START, LONG_MS, STAGE_GO);
	if (!a)
		return;
	a->msg.start.ticket = mgr_mint(m, a, j->vm, &(struct ly_id){ { 0 } },
	    j->to, rights, j->epoch);
	mgr_send_ask(m, a);
}

/* Somebody has the lease: proof that the VM does not run there any more. */
static void
free_the_lease(struct manager *m, struct job *j)
{
	struct ly_vm *v = mgr_vm_entry(m, j->vm);
	struct ask *a;
	bool there = j->holder < HOSTS && m->host[j->holder];
	bool runs_ = v->known && mgr_host_at(&v->at) == j->holder &&
	    v->state != LY_VM_NONE && v->state != LY_VM_FAILED;

	if (there && (!runs_ || j->force)) {
		a = mgr_job_ask(m, j->vm, j->holder, LY_STOP, LONG_MS,
		    STAGE_STOP);
		if (a) {
			a->msg.request.flag = 1;
			mgr_send_ask(m, a);
		}
	} else if (!there && j->force) {
		/* The operator's word: he has made sure that it is off. */
		if (j->holder < HOSTS)
			host_reboot(j->holder);
		send_start(m, j, LY_MAY_ATTACH | LY_MAY_FORCE);
	} else {
		job_end(m, j->vm);
	}
}

static void
started(struct manager *m, struct job *j, const struct ly_done *d)
{
	struct ly_vm *v = mgr_vm_entry(m, j->vm);

	if (d && d->rc == LY_OK) {
		v->epoch = ly_max(d->epoch, j->epoch + 1);
		v->known = true;
		v->state = LY_VM_RUNNING;
		mgr_save_vm_later(m, j->vm);
	}
	job_end(m, j->vm);
}

static void
shown(struct manager *m, struct job *j, const struct ly_done *d)
{
	unsigned state = 0;

	j->holder = HOSTS;
	if (!d || d->rc != LY_OK ||
	    sscanf(d->value, "%u %u", &state, &j->holder) != 2) {
		job_end(m, j->vm);
		return;
	}
	j->epoch = d->epoch;
	if (state == LY_REC_DETACHED)
		send_start(m, j, LY_MAY_ATTACH);
	else
		free_the_lease(m, j);
}

void
mgr_job_done(struct manager *m, const struct ask *a, const struct ly_done *d)
{
	struct job *j = &m->jobs[a->vm];
	struct ly_vm *v = mgr_vm_entry(m, a->vm);

	if (j->kind == JOB_ADD) {
		if (d && d->rc == LY_OK) {
			v->bound = true;
			mgr_save_vm_later(m, a->vm);
		}
		job_end(m, a->vm);
	} else if (j->kind == JOB_STOP) {
		if (d && (d->rc == LY_OK || d->rc == LY_UNKNOWN)) {
			v->state = LY_VM_NONE;
			v->known = true;
			mgr_save_vm_later(m, a->vm);
		}
		job_end(m, a->vm);
	} else if (j->kind == JOB_START && a->stage == STAGE_SHOW) {
		shown(m, j, d);
	} else if (j->kind == JOB_START && a->stage == STAGE_STOP) {
		if (d && (d->rc == LY_OK || d->rc == LY_UNKNOWN))
			send_start(m, j, LY_MAY_ATTACH | LY_MAY_FORCE);
		else
			job_end(m, a->vm);
	} else if (j->kind == JOB_START) {
		started(m, j, d);
	}
}

/* ---- the operator ---- */

struct job *
mgr_job_begin(struct manager *m, unsigned vm, enum job_kind kind)
{
	struct ly_vm *v = mgr_vm_entry(m, vm);

	if (v->busy || !m->node->up)
		return NULL;
	v->busy = true;
	m->jobs[vm] = (struct job){ .kind = kind, .vm = vm };
	return &m->jobs[vm];
}

void
manager_migrate(unsigned vm, unsigned to)
{
	struct manager *m = manager_of(vm);
	struct ly_vm *v = m->node->up ? mgr_vm_entry(m, vm) : NULL;
	unsigned at = v ? mgr_host_at(&v->at) : HOSTS;
	struct move *mv;

	if (!v || v->saga || v->busy || !v->bound || at >= HOSTS || at == to ||
	    !m->host[to] || !m->host[w.vm_home[vm]] || !m->host[at] ||
	    m->moves[vm].used)
		return;
	mv = mgr_move_new(m, vm);
	mv->row = (struct mig_row){ .used = true,
		.id = mig_id(++w.mig_serial),
		.vm = vm,
		.home = w.vm_home[vm],
		.from = at,
		.to = to };
	w.mig[w.mig_serial % MIGS] = (struct mig_seen){ .vm = vm };
	ly_saga_init(&mv->saga, mig_attested(&mv->row.id));
	LOG("operator: migrate vm%u from %u to %u", vm, at, to);
	mgr_move_tell(mv, LY_SAGA_GO);
}

static bool
past_migration(struct ly_vm *v, unsigned to)
{
	struct move *mv = v->saga;

	if (!mv)
		return true;
	if ((mv->saga.rec.tell & (1u << LY_PARTY_DEST)) && mv->row.to == to)
		return false;
	mv->refused = NULL;
	mgr_move_tell(mv, LY_SAGA_SUPERSEDE);
	return !mv->refused;
}

void
manager_start(unsigned vm, unsigned to, bool force)
{
	struct manager *m = manager_of(vm);
	struct ly_vm *v = m->node->up ? mgr_vm_entry(m, vm) : NULL;
	struct job *j;
	struct ask *a;

	if (!v || v->busy || !v->bound || !m->host[to] ||
	    !m->host[w.vm_home[vm]] || !past_migration(v, to))
		return;
	j = mgr_job_begin(m, vm, JOB_START);
	if (!j)
		return;
	LOG("operator: start vm%u at %u%s", vm, to, force ? " by force" : "");
	j->to = to;
	j->force = force;
	a = mgr_job_ask(m, vm, w.vm_home[vm], LY_SHOW, SHORT_MS, STAGE_SHOW);
	if (a)
		mgr_send_ask(m, a);
}

void
manager_stop(unsigned vm, bool force)
{
	struct manager *m = manager_of(vm);
	struct ly_vm *v = m->node->up ? mgr_vm_entry(m, vm) : NULL;
	unsigned at = v ? mgr_host_at(&v->at) : HOSTS;
	struct ask *a;

	if (!v || v->saga || at >= HOSTS || !m->host[at] ||
	    !mgr_job_begin(m, vm, JOB_STOP))
		return;
	LOG("operator: stop vm%u at %u", vm, at);
	a = mgr_job_ask(m, vm, at, LY_STOP, LONG_MS, STAGE_GO);
	if (!a)
		return;
	a->msg.request.flag = force;
	mgr_send_ask(m, a);
}

void
manager_cancel(unsigned vm)
{
	struct manager *m = manager_of(vm);
	struct ly_vm *v = m->node->up ? mgr_vm_entry(m, vm) : NULL;

	if (!v || !v->saga)
		return;
	LOG("operator: cancel vm%u's migration", vm);
	mgr_move_tell(v->saga, LY_SAGA_CANCEL);
}
