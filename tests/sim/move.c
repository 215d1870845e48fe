/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration's source, and what the away machine tells of migrations: the shell
 * of agent/stream's machine, as agent/io/source.c and vm_move.c.
 */
#include "tests/sim/sim.h"

#define FIRST_MS 600 /* so long ticks come often */

static void source_perform(struct source *s, const struct ly_source_todo *t);

const struct past *
move_past(struct agent *a, const struct ly_id *mig)
{
	for (unsigned i = 0; i < PASTS; i++)
		if (!ly_id_none(mig) && ly_id_same(&a->past[i].mig, mig))
			return &a->past[i];
	return NULL;
}

void
move_remember(struct agent *a, const struct ly_id *mig, enum ly_rc rc,
    enum ly_fate fate, uint64_t epoch)
{
	a->past[a->past_at++ % PASTS] = (struct past){ *mig, rc, fate, epoch };
}

/* ---- source ---- */

void
move_source_tell(struct source *s, struct ly_source_event ev)
{
	struct ly_source_todos todo;
	unsigned i;

	if (!s->used || s->over)
		return;
	i = (s->news_at + s->news_n++) % LY_COUNT(s->news);
	assert(s->news_n <= LY_COUNT(s->news));
	ev.now_ms = net_now_ms(s->vm->agent->node);
	s->news[i] = ev;
	if (s->feeding)
		return;
	s->feeding = true;
	while (s->news_n && !s->over) {
		struct ly_source_event now = s->news[s->news_at];

		s->news_at = (s->news_at + 1) % LY_COUNT(s->news);
		s->news_n--;
		todo.n = 0;
		cover(M_SOURCE, s->core.state, now.kind);
		ly_source_step(&s->core, &now, &todo);
		LOG("vm%u source: kind %u rc %u fate %u -> %s", s->vm->vm,
		    now.kind, now.rc, now.fate,
		    ly_source_state_name(s->core.state));
		for (i = 0; i < todo.n; i++)
			source_perform(s, &todo.act[i]);
	}
	s->feeding = false;
	if (s->over)
		move_source_over(s);
}

static void
source_say(struct source *s, enum ly_source_kind kind, bool ok,
    const char *text)
{
	move_source_tell(s,
	    (struct ly_source_event){ .kind = kind, .ok = ok, .text = text });
}

static void
ask(struct source *s, enum qmp what, qmp_done *done)
{
	if (s->qemu)
		qemu_ask(s->qemu, what, done, s, &s->gen);
}

static void
on_migrate(void *arg, enum ly_rc rc, enum run run)
{
	struct source *s = arg;

	(void)run;
	source_say(s, LY_SRC_SET, rc == LY_OK, "migrate");
}

static void
on_status(void *arg, enum ly_rc rc, enum run run)
{
	struct source *s = arg;
	struct vm *vm = s->vm;
	struct ly_source_event ev = { .kind = LY_SRC_STATUS, .text = "status" };

	(void)run;
	if (rc == LY_OK) {
		ev.status = s->qemu->mig;
		ev.numbers = s->qemu->numbers;
	}
	ev.idle = s->core.state == LY_SRC_COPY &&
	    (ly_away_idle(&vm->core) ||
		net_now_ms(vm->agent->node) - vm->core.waiting_since < 1000);
	ev.quiet = ev.status == LY_MIG_HELD && ly_away_idle(&vm->core) &&
	    !vm->owed && !vm->held;
	move_source_tell(s, ev);
}

static void
on_stop(void *arg, enum ly_rc rc, enum run run)
{
	struct source *s = arg;

	(void)run;
	s->stop_failed = rc != LY_OK;
}

static void
on_stop_status(void *arg, enum ly_rc rc, enum run run)
{
	struct source *s = arg;

	move_source_tell(s,
	    (struct ly_source_event){ .kind = LY_SRC_STOPPED,
		.ok = rc == LY_OK && !s->stop_failed,
		.text = "stop",
		.won = rc == LY_OK && run == Q_PAUSED });
}

static void
on_cont_status(void *arg, enum ly_rc rc, enum run run)
{
	struct source *s = arg;

	source_say(s, LY_SRC_RESUMED,
	    rc == LY_OK && run != Q_POSTMIGRATE && run != Q_FINISHING &&
		(!s->cont_paused || run != Q_PAUSED),
	    "cont");
}

static void
on_look(void *arg, enum ly_rc rc, enum run run)
{
	struct source *s = arg;

	if (rc != LY_OK) {
		source_say(s, LY_SRC_RESUMED, false, "status");
		return;
	}
	if (run == Q_POSTMIGRATE || run == Q_FINISHING ||
	    (run == Q_PAUSED && s->cont_paused))
		ask(s, QMP_CONT, NULL);
	ask(s, QMP_STATUS, on_cont_status);
}

void
move_qemu_event(struct qemu *q, bool gone)
{
	struct vm *vm = q->shell;
	struct source *s = vm ? vm->source : NULL;
	struct dest *d = vm ? vm->dest : NULL;

	if (s && gone) {
		s->qemu = NULL;
		source_say(s, LY_SRC_GONE, false, "QEMU ended");
	} else if (s) {
		source_say(s, LY_SRC_HINT, true, NULL);
	}
	if (d && gone) {
		d->qemu = NULL;
		move_dest_tell(d,
		    (struct ly_dest_event){ .kind = LY_DST_GONE });
	} else if (d) {
		move_dest_tell(d,
		    (struct ly_dest_event){ .kind = LY_DST_HINT });
	}
}

/* What QEMU wrote. */
void
move_pump(struct source *s, const uint8_t *at, size_t len)
{
	struct ly_data m = { .body = { at, len } };

	if (!s->pumping)
		return;
	s->bytes += len;
	net_send(s->conn, LY_DATA, &m);
}

void
move_pump_end(struct source *s)
{
	if (s->pumping)
		source_say(s, LY_SRC_END, true, NULL);
}

static void
hang_up(struct source *s)
{
	s->pumping = false;
	if (s->conn) {
		s->conn->ops = NULL;
		net_close(s->conn, LY_OK);
	}
	s->conn = NULL;
}

static void
setup(struct source *s)
{
	if (s->qemu && s->conn) {
		s->pumping = true;
		ask(s, QMP_MIGRATE, on_migrate);
	} else {
		source_say(s, LY_SRC_SET, false, "no QEMU");
	}
}

static void
send_fin(struct source *s)
{
	struct ly_fin fin = { .mig = s->vm->mig,
		.seq = s->vm->core.seq,
		.bytes = s->bytes };

	if (s->conn)
		net_send(s->conn, LY_FIN, &fin);
}

static void
query(struct source *s, bool abort_)
{
	if (abort_)
		s->vm->want_release = false;
	vm_feed(s->vm,
	    &(struct ly_away_event){ .kind = LY_AWAY_ASK,
		.mig = s->vm->mig,
		.abort = abort_ },
	    NULL, 0);
}

static void
progress(struct source *s)
{
	struct ly_progress m = { .vm = vm_id(s->vm->vm), .mig = s->vm->mig };

	agent_report(s->vm->agent, s->vm->vm, LY_PROGRESS, &m);
}

/* The operator's programs, which now and then fail. */
static void
on_source_hooked(void *obj, uint64_t ok)
{
	source_say(obj, LY_SRC_HOOKED, ok, "hook");
}

static void
source_hook(struct source *s)
{
	uint64_t *rng = &s->vm->agent->node->rng;
	uint64_t us = sim_below(rng, 20 * MS);

	sim_after(us, on_source_hooked, s, &s->gen, !sim_chance(rng, 50));
}

/* Signing what was sent takes a while, and now and then the TPM fails. */
static void
on_source_sealed(void *obj, uint64_t ok)
{
	source_say(obj, LY_SRC_SEALED, ok, "seal");
}

static void
source_seal(struct source *s)
{
	uint64_t *rng = &s->vm->agent->node->rng;
	uint64_t us = sim_below(rng, 20 * MS);

	sim_after(us, on_source_sealed, s, &s->gen, !sim_chance(rng, 50));
}

static void
source_perform(struct source *s, const struct ly_source_todo *t)
{
	struct vm *vm = s->vm;

	switch (t->act) {
	case LY_SRC_DO_SETUP:
		setup(s);
		break;
	case LY_SRC_DO_POLL:
		ask(s, QMP_QUERY, on_status);
		break;
	case LY_SRC_DO_STOP:
		vm_guard(vm, LY_GUARD_BAR);
		vm->stopped = true;
		ask(s, QMP_STOP, on_stop);
		ask(s, QMP_STATUS, on_stop_status);
		break;
	case LY_SRC_DO_CONTINUE:
		ask(s, QMP_CONTINUE, NULL);
		break;
	case LY_SRC_DO_STOPPED:
		vm_guard(vm, LY_GUARD_BAR);
		vm->stop_said = true;
		vm_state(vm, LY_VM_PAUSED);
		break;
	case LY_SRC_DO_HOOK:
		vm->let_go = vm->let_go || !t->flag;
		source_hook(s);
		break;
	case LY_SRC_DO_RELEASE:
		vm->asked_release = vm->want_release = true;
		vm_release_if_idle(vm);
		break;
	case LY_SRC_DO_SEAL:
		source_seal(s);
		break;
	case LY_SRC_DO_FIN:
		vm->fin = true;
		send_fin(s);
		break;
	case LY_SRC_DO_ASK:
		query(s, t->flag);
		break;
	case LY_SRC_DO_HANGUP:
		hang_up(s);
		break;
	case LY_SRC_DO_CANCEL:
		ask(s, QMP_CANCEL, NULL);
		break;
	case LY_SRC_DO_CONT:
		s->cont_paused = t->flag;
		ask(s, QMP_STATUS, on_look);
		break;
	case LY_SRC_DO_QUIT:
		if (s->qemu)
			qemu_quit(s->qemu);
		break;
	case LY_SRC_DO_ALARM:
		vm_alarm(vm, t->text);
		break;
	case LY_SRC_DO_OVER:
		s->end = t->end;
		s->over = true;
		break;
	case LY_SRC_DO_PROGRESS:
		progress(s);
		break;
	case LY_SRC_DO_LIFT:
		break;
	}
}

void
vm_release_if_idle(struct vm *vm)
{
	if (!vm->want_release || !ly_away_idle(&vm->core))
		return;
	vm->want_release = false;
	vm_feed(vm,
	    &(struct ly_away_event){ .kind = LY_AWAY_RELEASE, .mig = vm->mig },
	    NULL, 0);
}

void
move_source_over(struct source *s)
{
	struct vm *vm = s->vm;
	bool moved = s->end == LY_SOURCE_MOVED;
	enum ly_fate fate = moved ? LY_FATE_CLAIMED :
	    vm->asked_release	  ? LY_FATE_ABORTED :
				    LY_FATE_OPEN;
	enum ly_rc rc = s->core.rc;
	uint64_t epoch = moved ? vm->fate_epoch : vm->core.epoch;

	if (rc == LY_BUSY || rc == LY_SHORT)
		rc = LY_REFUSED;
	hang_up(s);
	s->used = false;
	s->gen++;
	vm->source = NULL;
	vm->want_release = vm->stop_said = false;
	if (fate != LY_FATE_OPEN)
		oracle_fate(vm->vm, &vm->mig, fate, epoch, "its source");
	move_remember(vm->agent, &vm->mig, rc, fate, epoch);
	agent_done(vm->agent, vm->copy_req, rc, fate, epoch, "");
	vm->copy_req = 0;
	if (moved) {
		vm_forget(vm);
		return;
	}
	vm->mig = (struct ly_id){ { 0 } };
	vm->moving = LY_MOVING_NOT;
	vm->stopped = vm->fin = vm->let_go = false;
	if (s->end == LY_SOURCE_FENCED) {
		vm_state(vm, LY_VM_FAILED);
		return;
	}
	if (s->end == LY_SOURCE_STAYED)
		vm_mode(vm, MODE_ATTACHED);
	if (s->end == LY_SOURCE_STAYED && vm->qemu) {
		vm_state(vm, LY_VM_RUNNING);
		vm_guard(vm, LY_GUARD_FREE);
	} else {
		vm_leave(vm);
	}
}

static enum ly_rc
on_open(struct end *e)
{
	source_say(e->arg, LY_SRC_OPEN, true, NULL);
	return LY_OK;
}

static enum ly_rc
on_frame(struct end *e, unsigned type, const union ly_any *m)
{
	struct source *s = e->arg;

	if (type == LY_DATA)
		return LY_OK;
	if (type != LY_READY || !ly_id_same(&m->ready.mig, &s->vm->mig))
		return LY_MALFORMED;
	move_source_tell(s,
	    (struct ly_source_event){ .kind = LY_SRC_READY,
		.rc = (enum ly_rc)m->ready.rc });
	return LY_OK;
}

static void
on_close(struct end *e)
{
	struct source *s = e->arg;

	s->conn = NULL;
	source_say(s, LY_SRC_LOST, false, "the destination's connection");
	if (s->pumping && s->qemu) { /* the pump closes QEMU's socket */
		s->pumping = false;
		s->qemu->stream_closed = true;
	}
}

const struct conn_ops source_ops = {
	.on_open = on_open,
	.on_frame = on_frame,
	.on_close = on_close,
};

static void
on_source_tick(void *obj, uint64_t began)
{
	struct source *s = obj;
	uint64_t now = w.now / MS;

	if (!s->used)
		return;
	sim_after(move_tick_us(
		      s->core.state < LY_SRC_WAIT || now - began < FIRST_MS),
	    on_source_tick, s, &s->gen, began);
	if (!s->vm->agent->node->frozen)
		source_say(s, LY_SRC_TICK, true, NULL);
}

enum ly_rc
move_copy(struct vm *vm)
{
	struct agent *a = vm->agent;
	struct source *s = &a->sources[vm - a->vms];
	uint32_t gen = s->gen;

	*s = (struct source){ .used = true,
		.gen = gen + 1,
		.vm = vm,
		.qemu = vm->qemu };
	vm->source = s;
	stats.switches++;
	ly_source_init(&s->core, 100, net_now_ms(a->node));
	s->core.seals = mig_attested(&vm->mig);
	cover(M_SOURCE, s->core.state, LY_SRC_KINDS);
	s->conn = net_dial(a->node, vm->source_host, LY_FOR_STREAM, &vm->mig,
	    &source_ops, s);
	sim_after(20 * MS, on_source_tick, s, &s->gen, w.now / MS);
	return LY_OK;
}

/* Instead of move_copy(): the agent that did has died. */
void
move_source_woken(struct vm *vm)
{
	struct agent *a = vm->agent;
	struct source *s = &a->sources[vm - a->vms];
	struct ly_source_woken woken = { .released = vm->asked_release,
		.fin = vm->fin,
		.hooked = vm->let_go,
		.stopped = vm->stopped,
		.gone = !vm->qemu };
	struct ly_source_todos todo = { .n = 0 };

	*s = (struct source){ .used = true,
		.gen = s->gen + 1,
		.vm = vm,
		.qemu = vm->qemu,
		.feeding = true };
	if (!woken.released)
		query(s, true);
	vm->source = s;
	ly_source_woken(&s->core, &woken, net_now_ms(a->node), &todo);
	LOG("vm%u source: woken -> %s", vm->vm,
	    ly_source_state_name(s->core.state));
	sim_after(20 * MS, on_source_tick, s, &s->gen, w.now / MS);
	for (unsigned i = 0; i < todo.n; i++)
		source_perform(s, &todo.act[i]);
	s->feeding = false;
	if (s->over)
		move_source_over(s);
}

/* ---- what the away machine tells ---- */

static void
told_fenced(struct vm *vm, const struct ly_away_todo *t)
{
	(void)t;
	vm_fenced(vm);
}

void
vm_fenced(struct vm *vm)
{
	oracle_fenced(vm);
	vm_alarm(vm, "another host holds this VM's TPM");
	vm_state(vm, LY_VM_FAILED);
	vm_mode(vm, MODE_GONE);
	vm_guard(vm, LY_GUARD_BAR);
	if (vm->qemu)
		qemu_ask(vm->qemu, QMP_STOP, NULL, NULL, NULL);
	if (vm->source)
		move_source_tell(vm->source,
		    (struct ly_source_event){ .kind = LY_SRC_FENCED });
	else if (vm->dest)
		move_dest_tell(vm->dest,
		    (struct ly_dest_event){ .kind = LY_DST_FENCED });
}

static void
told_claim(struct vm *vm, const struct ly_away_todo *t)
{
	if (t->rc == LY_OK)
		vm_mode(vm, MODE_ATTACHED);
	if (vm->dest)
		move_granted(vm->dest, t->rc, vm->core.epoch);
	else if (vm->woken)
		return;
	else if (t->rc == LY_OK)
		vm_feed(vm, &(struct ly_away_event){ .kind = LY_AWAY_DETACH },
		    NULL, 0);
	else
		vm_forget(vm);
}

void
move_give_up(struct vm *vm)
{
	if (vm->dest)
		move_dest_tell(vm->dest,
		    (struct ly_dest_event){ .kind = LY_DST_DROP });
	else if (vm->qemu)
		qemu_quit(vm->qemu);
	else
		vm_leave(vm);
}

static void
told_staged(struct vm *vm, const struct ly_away_todo *t)
{
	if (t->rc != LY_OK) {
		move_give_up(vm);
		return;
	}
	vm->mode = MODE_INCOMING;
	vm->served = true;
	ly_guard_init(&vm->guard, true);
	vm->qemu = qemu_start(vm, true);
}

static void
told_release(struct vm *vm, const struct ly_away_todo *t)
{
	if (t->rc == LY_BUSY)
		vm->want_release = true;
	else if (vm->source)
		move_source_tell(vm->source,
		    (struct ly_source_event){ .kind = LY_SRC_RELEASED,
			.rc = t->rc });
}

static void
told_fate(struct vm *vm, const struct ly_away_todo *t)
{
	vm->fate_epoch = t->epoch;
	if (vm->moving == LY_MOVING_IN && !vm->dest) {
		vm->moving = LY_MOVING_NOT;
		if (!vm->qemu)
			vm_leave(vm);
	}
	if (vm->source)
		move_source_tell(vm->source,
		    (struct ly_source_event){ .kind = LY_SRC_FATE,
			.rc = t->rc,
			.fate = t->fate });
}

void
vm_told_move(struct vm *vm, const struct ly_away_todo *t)
{
	static void (*const told[LY_AWAY_KINDS])(struct vm * vm,
	    const struct ly_away_todo *t) = {
		[LY_AWAY_STAGE] = told_staged,
		[LY_AWAY_CLAIM] = told_claim,
		[LY_AWAY_RELEASE] = told_release,
		[LY_AWAY_ASK] = told_fate,
		[LY_AWAY_HEAR_FENCE] = told_fenced,
	};

	if (told[t->what])
		told[t->what](vm, t);
}
