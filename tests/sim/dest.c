/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration's destination: the shell of agent/stream's machine, as
 * agent/io/dest.c and its half of vm_move.c.
 */
#include "tests/sim/sim.h"

static void dest_perform(struct dest *d, const struct ly_dest_todo *t);

void
move_dest_tell(struct dest *d, struct ly_dest_event ev)
{
	struct ly_dest_todos todo;

	if (!d->used || d->over)
		return;
	ev.now_ms = net_now_ms(d->vm->agent->node);
	d->news[(d->news_at + d->news_n++) % LY_COUNT(d->news)] = ev;
	assert(d->news_n <= LY_COUNT(d->news));
	if (d->feeding)
		return;
	d->feeding = true;
	while (d->news_n && !d->over) {
		struct ly_dest_event now = d->news[d->news_at];

		d->news_at = (d->news_at + 1) % LY_COUNT(d->news);
		d->news_n--;
		todo.n = 0;
		cover(M_DEST, d->core.state, now.kind);
		ly_dest_step(&d->core, &now, &todo);
		LOG("vm%u dest: kind %u rc %u ok %u -> %s", d->vm->vm, now.kind,
		    now.rc, now.ok, ly_dest_state_name(d->core.state));
		for (unsigned i = 0; i < todo.n; i++)
			dest_perform(d, &todo.act[i]);
	}
	d->feeding = false;
	if (d->over)
		move_dest_over(d);
}

static void
dest_say(struct dest *d, enum ly_dest_kind kind, bool ok)
{
	move_dest_tell(d, (struct ly_dest_event){ .kind = kind, .ok = ok });
}

static void
dest_ask(struct dest *d, enum qmp what, qmp_done *done)
{
	if (d->qemu)
		qemu_ask(d->qemu, what, done, d, &d->gen);
}

static void
on_incoming(void *arg, enum ly_rc rc, enum run run)
{
	(void)run;
	dest_say(arg, LY_DST_SET, rc == LY_OK);
}

static void
on_dest_status(void *arg, enum ly_rc rc, enum run run)
{
	struct dest *d = arg;

	(void)run;
	d->polled = rc == LY_OK ? d->qemu->mig : LY_MIG_UNHEARD;
}

static void
on_run_status(void *arg, enum ly_rc rc, enum run run)
{
	struct dest *d = arg;

	move_dest_tell(d,
	    (struct ly_dest_event){ .kind = LY_DST_STATUS,
		.status = rc == LY_OK ? d->polled : LY_MIG_UNHEARD,
		.running = rc == LY_OK && run == Q_RUNNING });
}

static void
on_dest_cont(void *arg, enum ly_rc rc, enum run run)
{
	dest_say(arg, LY_DST_RESUMED, rc == LY_OK && run == Q_RUNNING);
}

void
move_dest_broken(struct dest *d)
{
	dest_say(d, LY_DST_BROKEN, false);
}

static void
on_dest_hooked(void *obj, uint64_t ok)
{
	dest_say(obj, LY_DST_HOOKED, ok);
}

static void
dest_hook(struct dest *d)
{
	uint64_t *rng = &d->vm->agent->node->rng;
	uint64_t us = sim_below(rng, 20 * MS);

	sim_after(us, on_dest_hooked, d, &d->gen, !sim_chance(rng, 50));
}

static void
dest_hang_up(struct dest *d)
{
	if (d->conn) {
		d->conn->ops = NULL;
		net_close(d->conn, LY_OK);
	}
	d->conn = NULL;
}

static void
dest_perform(struct dest *d, const struct ly_dest_todo *t)
{
	struct vm *vm = d->vm;
	struct ly_ready ready = { .mig = vm->mig,
		.rc = (uint8_t)t->rc,
		.epoch = d->epoch };

	switch (t->act) {
	case LY_DST_DO_SETUP:
		dest_ask(d, QMP_INCOMING, on_incoming);
		break;
	case LY_DST_DO_LISTENING:
		agent_done(vm->agent, vm->prepare_req, LY_OK, LY_FATE_OPEN, 0,
		    "");
		vm->prepare_req = 0;
		break;
	case LY_DST_DO_POLL:
		dest_ask(d, QMP_QUERY, on_dest_status);
		dest_ask(d, QMP_STATUS, on_run_status);
		break;
	case LY_DST_DO_CLAIM:
		vm_feed(vm, &(struct ly_away_event){ .kind = LY_AWAY_CLAIM },
		    NULL, 0);
		break;
	case LY_DST_DO_HOOK:
		dest_hook(d);
		break;
	case LY_DST_DO_CONT:
		dest_ask(d, QMP_CONT, NULL);
		dest_ask(d, QMP_STATUS, on_dest_cont);
		break;
	case LY_DST_DO_STOP:
		dest_ask(d, QMP_STOP, NULL);
		break;
	case LY_DST_DO_READY:
		if (d->conn)
			net_send(d->conn, LY_READY, &ready);
		break;
	case LY_DST_DO_HANGUP:
		dest_hang_up(d);
		break;
	case LY_DST_DO_QUIT:
		if (d->qemu)
			qemu_quit(d->qemu);
		break;
	case LY_DST_DO_ALARM:
		vm_alarm(vm, t->text);
		break;
	case LY_DST_DO_OVER:
		d->end = t->end;
		d->over = true;
		break;
	}
}

void
move_dest_over(struct dest *d)
{
	struct vm *vm = d->vm;
	bool runs_ = d->end == LY_DEST_RUNS;

	dest_hang_up(d);
	d->used = false;
	d->gen++;
	vm->dest = NULL;
	vm->moving = LY_MOVING_NOT;
	move_remember(vm->agent, &vm->mig, d->core.rc,
	    d->epoch ? LY_FATE_CLAIMED : LY_FATE_ABORTED, d->epoch);
	if (!runs_) {
		vm_leave(vm);
		return;
	}
	vm_state(vm, LY_VM_RUNNING);
	vm_guard(vm, LY_GUARD_FREE);
	vm->mig = (struct ly_id){ { 0 } };
}

void
move_granted(struct dest *d, enum ly_rc rc, uint64_t epoch)
{
	if (d->core.state == LY_DST_CLAIMING && rc == LY_OK)
		d->epoch = epoch;
	move_dest_tell(d,
	    (struct ly_dest_event){ .kind = LY_DST_GRANTED, .rc = rc });
}

static enum ly_rc
on_dest_frame(struct end *e, unsigned type, const union ly_any *m)
{
	struct dest *d = e->arg;

	if (d->core.state > LY_DST_COPY)
		return LY_OK;
	if (type == LY_DATA) {
		d->bytes += m->data.body.len;
		if (d->qemu)
			qemu_data(d->qemu, m->data.body.at, m->data.body.len);
		return LY_OK;
	}
	if (type != LY_FIN || !ly_id_same(&m->fin.mig, &d->vm->mig))
		return LY_MALFORMED;
	dest_say(d, LY_DST_FIN, m->fin.bytes == d->bytes);
	return LY_OK;
}

static void
on_dest_close(struct end *e)
{
	struct dest *d = e->arg;

	d->conn = NULL;
	dest_say(d, LY_DST_LOST, false);
}

const struct conn_ops dest_ops = {
	.on_frame = on_dest_frame,
	.on_close = on_dest_close,
};

enum ly_rc
move_stream(struct agent *a, struct end *e)
{
	struct vm *vm = vm_of_mig(a, &e->c->mig);
	struct dest *d = vm ? vm->dest : NULL;

	if (!d)
		return LY_UNKNOWN;
	if (net_peer(e)->node->index != vm->source_host ||
	    !attest_may_take(a, &e->c->mig))
		return LY_REFUSED;
	if (d->core.state != LY_DST_LISTENING || !d->qemu)
		return LY_BUSY;
	e->ops = &dest_ops;
	e->arg = d;
	d->conn = e;
	dest_say(d, LY_DST_STREAM, true);
	return LY_OK;
}

static void
on_dest_tick(void *obj, uint64_t began)
{
	struct dest *d = obj;

	if (!d->used)
		return;
	sim_after(move_tick_us(d->core.state == LY_DST_COPY ||
		      d->core.state == LY_DST_LOADING),
	    on_dest_tick, d, &d->gen, began);
	if (!d->vm->agent->node->frozen)
		dest_say(d, LY_DST_TICK, true);
}

void
move_dest_start(struct vm *vm)
{
	struct agent *a = vm->agent;
	struct dest *d = &a->dests[vm - a->vms];
	struct ly_dest_todos todo = { .n = 0 };
	uint32_t gen = d->gen;

	*d = (struct dest){ .used = true,
		.gen = gen + 1,
		.vm = vm,
		.qemu = vm->qemu };
	vm->dest = d;
	vm->moving = LY_MOVING_IN;
	ly_dest_init(&d->core, net_now_ms(a->node), &todo);
	sim_after(20 * MS, on_dest_tick, d, &d->gen, w.now / MS);
	for (unsigned i = 0; i < todo.n; i++)
		dest_perform(d, &todo.act[i]);
}

/* The home is asked to abort; with its answer the VM is left (told_fate). */
static void
call_off(struct vm *vm)
{
	if (vm->qemu)
		qemu_quit(vm->qemu);
	vm_feed(vm,
	    &(struct ly_away_event){ .kind = LY_AWAY_ASK,
		.mig = vm->mig,
		.abort = true },
	    NULL, 0);
}

void
move_dest_woken(struct vm *vm)
{
	struct agent *a = vm->agent;
	struct dest *d = &a->dests[vm - a->vms];
	struct ly_dest_todos todo = { .n = 0 };
	bool granted = vm->core.state == LY_AWAY_HELD;

	if (!vm->qemu &&
	    (granted || vm->core.state == LY_AWAY_CLAIMING ||
		vm->core.state == LY_AWAY_DEAD)) {
		vm->moving = LY_MOVING_NOT;
		vm_leave(vm);
		return;
	}
	if (!granted && vm->core.state != LY_AWAY_CLAIMING &&
	    vm->core.state != LY_AWAY_DEAD) {
		call_off(vm);
		return;
	}
	*d = (struct dest){ .used = true,
		.gen = d->gen + 1,
		.vm = vm,
		.qemu = vm->qemu,
		.epoch = granted ? vm->core.epoch : 0 };
	vm->dest = d;
	ly_dest_woken(&d->core, granted, net_now_ms(a->node), &todo);
	sim_after(20 * MS, on_dest_tick, d, &d->gen, w.now / MS);
	for (unsigned i = 0; i < todo.n; i++)
		dest_perform(d, &todo.act[i]);
	if (vm->core.state == LY_AWAY_DEAD)
		move_granted(d, LY_REFUSED, 0);
}
