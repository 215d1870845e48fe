/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM on a host, and its TPM's traffic. As agent/io/vms.c, vm_tpm.c, vm_guard.c
 * and vm_orphan.c; of the endpoint (agent/guest) only its modes.
 */
#include "tests/sim/sim.h"

uint64_t token_mac(const uint8_t *at, size_t len, const uint8_t *secret);

#define VM_TICK_US (50 * MS)

struct vm *
vm_of(struct agent *a, unsigned vm)
{
	for (unsigned i = 0; i < LY_COUNT(a->vms); i++)
		if (a->vms[i].used && a->vms[i].vm == vm)
			return &a->vms[i];
	return NULL;
}

struct vm *
vm_of_mig(struct agent *a, const struct ly_id *mig)
{
	for (unsigned i = 0; i < LY_COUNT(a->vms); i++)
		if (a->vms[i].used && !ly_id_none(mig) &&
		    ly_id_same(&a->vms[i].mig, mig))
			return &a->vms[i];
	return NULL;
}

void
vm_report(struct vm *vm)
{
	struct ly_vmstate m = { .vm = vm_id(vm->vm),
		.mig = vm->mig,
		.state = (uint8_t)vm->state,
		.epoch = vm->core.epoch,
		.seq = vm->core.seq };

	agent_report(vm->agent, vm->vm, LY_VMSTATE, &m);
}

void
vm_state(struct vm *vm, enum ly_vmstate_kind state)
{
	vm->state = state;
	LOG("vm%u host %u: %s", vm->vm, vm->agent->host,
	    ly_vmstate_name(state));
	vm_report(vm);
}

void
vm_alarm(struct vm *vm, const char *text)
{
	struct ly_alarm m = { .vm = vm_id(vm->vm) };

	LOG("vm%u host %u: ALARM %s", vm->vm, vm->agent->host, text);
	ly_copy(m.text, sizeof(m.text), text);
	agent_report(vm->agent, vm->vm, LY_ALARM, &m);
}

/* ---- the guard ---- */

static void guard_feed(struct vm *vm, struct ly_guard_event ev);

static void
on_stopped(void *arg, enum ly_rc rc, enum run run)
{
	(void)run;
	guard_feed(arg,
	    (struct ly_guard_event){ .kind = LY_GUARD_STOPPED,
		.ok = rc == LY_OK });
}

static void
on_gone_on(void *arg, enum ly_rc rc, enum run run)
{
	(void)run;
	guard_feed(arg,
	    (struct ly_guard_event){ .kind = LY_GUARD_GONE_ON,
		.ok = rc == LY_OK });
}

static void
on_looked(void *arg, enum ly_rc rc, enum run run)
{
	guard_feed(arg,
	    (struct ly_guard_event){ .kind = LY_GUARD_LOOKED,
		.ok = rc == LY_OK,
		.runs = run == Q_RUNNING });
}

static void
guard_do(struct vm *vm, const struct ly_guard_todo *t)
{
	switch (t->act) {
	case LY_GUARD_DO_LOOK:
		qemu_ask(vm->qemu, QMP_STATUS, on_looked, vm, &vm->gen);
		break;
	case LY_GUARD_DO_STOP:
		qemu_ask(vm->qemu, QMP_STOP, on_stopped, vm, &vm->gen);
		break;
	case LY_GUARD_DO_CONT:
		qemu_ask(vm->qemu, QMP_CONT, on_gone_on, vm, &vm->gen);
		break;
	case LY_GUARD_DO_TELL:
		if (t->held && vm->state == LY_VM_RUNNING)
			vm_state(vm, LY_VM_PAUSED);
		else if (!t->held && vm->state == LY_VM_PAUSED &&
		    !vm->stop_said)
			vm_state(vm, LY_VM_RUNNING);
		break;
	case LY_GUARD_DO_MARK:
	case LY_GUARD_DO_UNMARK:
		vm->mark = t->act == LY_GUARD_DO_MARK;
		break;
	case LY_GUARD_DO_ALARM:
	case LY_GUARD_DO_SUMMARY:
		break;
	}
}

static void
guard_feed(struct vm *vm, struct ly_guard_event ev)
{
	struct ly_guard_todos todo = { .n = 0 };
	uint32_t gen = vm->gen;

	if (!vm->qemu || vm->orphan)
		return;
	ev.now_ms = net_now_ms(vm->agent->node);
	cover(M_GUARD, vm->guard.state, ev.kind);
	ly_guard_step(&vm->guard, &ev, &todo);
	for (unsigned i = 0; i < todo.n && vm->gen == gen; i++)
		guard_do(vm, &todo.act[i]);
}

void
vm_guard(struct vm *vm, enum ly_guard_kind kind)
{
	guard_feed(vm,
	    (struct ly_guard_event){ .kind = kind, .limit_ms = 750 });
}

void
vm_guard_wake(struct vm *vm)
{
	guard_feed(vm,
	    (struct ly_guard_event){ .kind = LY_GUARD_WAKE, .ours = vm->mark });
}

/* ---- the end ---- */

void
vm_forget(struct vm *vm)
{
	struct qemu *q = vm->qemu;

	vm->forgotten = true;
	if (vm->feeding)
		return;
	LOG("vm%u host %u: forgotten", vm->vm, vm->agent->host);
	if (q) {
		q->shell = NULL;
		qemu_session_lost(q);
	}
	link_leave(vm);
	vm->state = LY_VM_NONE;
	vm_report(vm);
	agent_done(vm->agent, vm->start_req, LY_OUTSIDE, 0, 0, "");
	agent_done(vm->agent, vm->prepare_req, LY_OUTSIDE, 0, 0, "");
	agent_done(vm->agent, vm->stop_req, LY_OK, 0, 0, "");
	vm->used = false;
	vm->gen++;
}

static void
on_end_hooked(void *obj, uint64_t arg)
{
	(void)arg;
	vm_feed(obj, &(struct ly_away_event){ .kind = LY_AWAY_DETACH }, NULL,
	    0);
}

void
vm_leave(struct vm *vm)
{
	if (vm->leaving)
		return;
	vm->leaving = true;
	if (vm->core.state == LY_AWAY_HELD) /* on-release runs */
		sim_after(sim_below(&vm->agent->node->rng, 5 * MS),
		    on_end_hooked, vm, &vm->gen, 0);
	else
		on_end_hooked(vm, 0);
}

/* on-claim has run. */
static void
on_start_hooked(void *obj, uint64_t arg)
{
	struct vm *vm = obj;

	(void)arg;
	if (!vm->used || vm->leaving)
		return;
	vm->mode = MODE_BEFORE;
	ly_guard_init(&vm->guard, false);
	vm->served = true;
	vm->qemu = qemu_start(vm, false);
}

/* ---- the guest's end ---- */

static void
give(struct vm *vm, enum ly_op op, const uint8_t *at, size_t len)
{
	(void)op;
	if (!vm->owed)
		return;
	vm->owed = false;
	vm_guard(vm, LY_GUARD_ANSWERED);
	if (vm->qemu)
		qemu_answer(vm->qemu, at, len);
}

static void
give_failure(struct vm *vm)
{
	static const uint8_t failure[4] = { 0, 0, 1, 1 };

	give(vm, LY_OP_TPM, failure, sizeof(failure));
}

static void
take_command(struct vm *vm, const struct cmd *c)
{
	vm->cmd = *c;
	vm->owed = true;
	vm_guard(vm, LY_GUARD_COMMAND);
	vm_feed(vm,
	    &(struct ly_away_event){ .kind = LY_AWAY_COMMAND, .op = LY_OP_TPM },
	    NULL, 0);
}

void
vm_command(struct vm *vm, const uint8_t *at, size_t len)
{
	struct cmd c = { .len = len };
	static const uint8_t failure[4] = { 0, 0, 1, 1 };

	assert(len <= sizeof(c.at));
	memcpy(c.at, at, len);
	if (vm->mode == MODE_SAVED) {
		vm->back = c;
		vm->held = true;
	} else if (vm->mode == MODE_ATTACHED) {
		take_command(vm, &c);
	} else {
		qemu_answer(vm->qemu, failure, sizeof(failure));
	}
}

void
vm_cancel(struct vm *vm)
{
	vm_feed(vm, &(struct ly_away_event){ .kind = LY_AWAY_CANCEL }, NULL, 0);
}

void
vm_mode(struct vm *vm, enum mode mode)
{
	static const uint8_t failure[4] = { 0, 0, 1, 1 };

	vm->mode = mode;
	if (!vm->held || mode == MODE_SAVED)
		return;
	vm->held = false;
	if (mode == MODE_ATTACHED)
		take_command(vm, &vm->back);
	else if (vm->qemu)
		qemu_answer(vm->qemu, failure, sizeof(failure));
}

void
vm_init(struct vm *vm)
{
	if (vm->mode == MODE_GONE)
		return;
	if (vm->mode == MODE_INCOMING) /* behind the token: no reset */
		return;
	vm->mode = MODE_ATTACHED;
	vm_feed(vm, &(struct ly_away_event){ .kind = LY_AWAY_RESET }, NULL, 0);
}

/* The token, in the place of TPM state. */
bool
vm_save(struct vm *vm)
{
	struct ly_token t = { .magic = LY_TOKEN_MAGIC,
		.vm = vm_id(vm->vm),
		.mig = vm->mig,
		.epoch = vm->core.epoch,
		.seq = vm->core.seq,
		.failed = vm->core.broken };
	struct ly_wr wr = ly_wr_over(vm->token, sizeof(vm->token));
	size_t signed_len;

	if (!vm->source || !ly_away_idle(&vm->core) || vm->owed ||
	    vm->core.state == LY_AWAY_DEAD)
		return false;
	ly_message_put(&ly_token_message, &t, &wr);
	signed_len = ly_wr_len(&wr) - sizeof(t.mac);
	vm->token_len = ly_wr_len(&wr);
	wr = ly_wr_over(vm->token + signed_len, 8);
	ly_wr_u64(&wr, token_mac(vm->token, signed_len, vm->core.secret));
	vm->mode = MODE_SAVED;
	return true;
}

bool
vm_restore(struct vm *vm, const uint8_t *token, size_t len)
{
	struct ly_token t;
	struct ly_why why;

	if (ly_message_get(&ly_token_message, token, len, &t, &why) != LY_OK ||
	    vm_no(&t.vm) != vm->vm || !ly_id_same(&t.mig, &vm->mig) ||
	    !vm->dest) {
		vm_alarm(vm, "a token that is not of this migration");
		return false;
	}
	memcpy(vm->token, token, len);
	vm->token_len = len;
	return true;
}

void
vm_take_back(struct vm *vm)
{
	if (vm->core.state != LY_AWAY_HELD)
		vm_alarm(vm, "QEMU runs the guest again without our leave");
	else
		vm_mode(vm, MODE_ATTACHED);
}

/* ---- doing as told ---- */

static void
say_lease(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_bytes ticket = { vm->ticket, vm->ticket_len };
	struct ly_attach attach = { vm->user.chan, vm_id(vm->vm), ticket };
	struct ly_prestage prestage = { vm->user.chan, vm_id(vm->vm), t->mig,
		ticket };
	struct ly_resume resume = { .chan = vm->user.chan,
		.vm = vm_id(vm->vm),
		.epoch = t->epoch,
		.seq = t->seq,
		.waiting = t->waiting };
	struct ly_claim claim = { vm->user.chan, t->mig,
		{ vm->token, vm->token_len } };

	memcpy(resume.secret, vm->core.secret, sizeof(resume.secret));
	if (t->act == LY_SAY_ATTACH)
		link_say(vm, LY_ATTACH, &attach);
	else if (t->act == LY_SAY_PRESTAGE)
		link_say(vm, LY_PRESTAGE, &prestage);
	else if (t->act == LY_SAY_RESUME)
		link_say(vm, LY_RESUME, &resume);
	else
		link_say(vm, LY_CLAIM, &claim);
}

static void
say_command(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_command m = { .chan = vm->user.chan,
		.op = (uint8_t)t->op,
		.epoch = t->epoch,
		.seq = t->seq };
	struct cmd free_one = vm->sent;

	if (t->act == LY_SAY_INIT) {
		m.op = LY_OP_INIT;
		link_say(vm, LY_COMMAND, &m);
		return;
	}
	if (t->seq != vm->sent_seq) {
		vm->sent = vm->cmd;
		vm->cmd = free_one;
		vm->sent_seq = t->seq;
	}
	m.body = (struct ly_bytes){ vm->sent.at, vm->sent.len };
	link_say(vm, LY_COMMAND, &m);
}

static void
say_other(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_cancel cancel = { vm->user.chan, t->epoch, t->seq };
	struct ly_detach detach = { vm->user.chan, t->epoch };
	struct ly_release release = { vm->user.chan, t->mig, t->epoch, t->seq };
	struct ly_query query = { vm_id(vm->vm), t->mig };

	if (t->act == LY_SAY_CANCEL)
		link_say(vm, LY_CANCEL, &cancel);
	else if (t->act == LY_SAY_DETACH)
		link_say(vm, LY_DETACH, &detach);
	else if (t->act == LY_SAY_RELEASE)
		link_say(vm, LY_RELEASE, &release);
	else
		link_say(vm, t->act == LY_SAY_ABORT ? LY_ABORT : LY_QUERY,
		    &query);
}

static void
told(struct vm *vm, const struct ly_away_todo *t)
{
	if (t->what == LY_AWAY_DETACH && t->rc != LY_REFUSED) {
		vm_forget(vm);
	} else if (t->what != LY_AWAY_ATTACH) {
		vm_told_move(vm, t);
	} else if (t->rc != LY_OK) {
		agent_done(vm->agent, vm->start_req, t->rc, 0, 0, "");
		vm->start_req = 0;
		vm_forget(vm);
	} else {
		sim_after(sim_below(&vm->agent->node->rng, 5 * MS),
		    on_start_hooked, vm, &vm->gen, 0);
	}
}

static void
perform(struct vm *vm, const struct ly_away_todo *t, const struct vev *e)
{
	switch (t->act) {
	case LY_SAY_ATTACH:
	case LY_SAY_RESUME:
	case LY_SAY_PRESTAGE:
	case LY_SAY_CLAIM:
		say_lease(vm, t);
		break;
	case LY_SAY_COMMAND:
	case LY_SAY_INIT:
		say_command(vm, t);
		break;
	case LY_SAY_CANCEL:
	case LY_SAY_DETACH:
	case LY_SAY_RELEASE:
	case LY_SAY_ABORT:
	case LY_SAY_QUERY:
		say_other(vm, t);
		break;
	case LY_GIVE_ANSWER:
		give(vm, t->op, e->body, e->len);
		break;
	case LY_GIVE_FAILURE:
		give_failure(vm);
		break;
	case LY_TELL:
		told(vm, t);
		break;
	case LY_TELL_ALARM:
		if (vm->core.broken)
			oracle_cause(vm->vm);
		vm_alarm(vm, t->text);
		break;
	}
}

static void
on_tick(void *obj, uint64_t arg)
{
	struct vm *vm = obj;
	struct ly_away *a = &vm->core;

	(void)arg;
	vm->ticking = false;
	if (vm->agent->node->frozen) {
		vm->ticking = true;
		sim_after(VM_TICK_US, on_tick, vm, &vm->gen, 0);
		return;
	}
	if (ly_guard_ticks(&vm->guard))
		vm_guard(vm, LY_GUARD_TICK);
	if (a->retry_at || a->waiting_since)
		vm_feed(vm, &(struct ly_away_event){ .kind = LY_AWAY_TICK },
		    NULL, 0);
}

static void
keep_ticking(struct vm *vm)
{
	if (!vm->used || vm->ticking ||
	    (!vm->core.retry_at && !vm->core.waiting_since &&
		!ly_guard_ticks(&vm->guard)))
		return;
	vm->ticking = true;
	sim_after(VM_TICK_US, on_tick, vm, &vm->gen, 0);
}

static void
step(struct vm *vm, const struct vev *e)
{
	struct ly_away_todos todo = { .n = 0 };
	uint32_t gen = vm->gen;

	cover(M_AWAY, vm->core.state, e->ev.kind);
	LOG("vm%u away %u: %s kind %u rc %u epoch %llu seq %llu (%llu %llu"
	    " sent %u)",
	    vm->vm, vm->agent->host, ly_away_state_name(vm->core.state),
	    e->ev.kind, e->ev.rc, (unsigned long long)e->ev.epoch,
	    (unsigned long long)e->ev.seq, (unsigned long long)vm->core.epoch,
	    (unsigned long long)vm->core.seq, vm->core.sent);
	ly_away_step(&vm->core, &e->ev, &todo);
	for (unsigned i = 0; i < todo.n && vm->gen == gen; i++)
		perform(vm, &todo.act[i], e);
}

void
vm_feed(struct vm *vm, const struct ly_away_event *ev, const void *body,
    size_t len)
{
	struct vev *l = &vm->later[(vm->later_at + vm->later_n++) % VEVS];

	assert(vm->later_n <= VEVS && len <= sizeof(l->body));
	l->ev = *ev;
	l->ev.now_ms = net_now_ms(vm->agent->node);
	l->ev.lapsed = !link_leased(vm);
	l->len = len;
	if (len)
		memcpy(l->body, body, len);
	if (ev->secret)
		l->ev.secret = memcpy(l->secret, ev->secret, LY_SECRET_LEN);
	if (!vm->feeding)
		vm_turn(vm);
}

void
vm_turn(struct vm *vm)
{
	uint32_t gen = vm->gen;

	vm->feeding = true;
	while (vm->gen == gen && vm->later_n) {
		step(vm, &vm->later[vm->later_at]);
		vm->later_at = (vm->later_at + 1) % VEVS;
		vm->later_n--;
	}
	vm->feeding = false;
	if (vm->forgotten)
		vm_forget(vm);
	else
		vm_release_if_idle(vm);
	keep_ticking(vm);
}

/* ---- from the home ---- */

void
vm_hear(struct vm *vm, unsigned type, const union ly_any *m)
{
	struct ly_away_event ev = { .rc = LY_OK };
	struct ly_bytes body = { NULL, 0 };

	switch (type) {
	case LY_GRANTED:
		ev.kind = LY_AWAY_HEAR_GRANTED;
		ev.rc = (enum ly_rc)m->granted.rc;
		ev.epoch = m->granted.epoch;
		ev.seq = m->granted.seq;
		ev.secret = m->granted.secret;
		break;
	case LY_ANSWER:
		ev.kind = LY_AWAY_HEAR_ANSWER;
		ev.epoch = m->answer.epoch;
		ev.seq = m->answer.seq;
		body = m->answer.body;
		ev.good = body.len == 4 && !memcmp(body.at, "\0\0\0", 4);
		break;
	case LY_REFUSE:
		ev.kind = LY_AWAY_HEAR_REFUSED;
		ev.rc = (enum ly_rc)m->refuse.rc;
		ev.epoch = m->refuse.epoch;
		ev.seq = m->refuse.seq;
		break;
	case LY_STAGED:
		ev.kind = LY_AWAY_HEAR_STAGED;
		ev.rc = (enum ly_rc)m->staged.rc;
		break;
	case LY_RELEASED:
		ev.kind = LY_AWAY_HEAR_RELEASED;
		ev.rc = (enum ly_rc)m->released.rc;
		ev.mig = m->released.mig;
		break;
	case LY_DETACHED:
		ev.kind = LY_AWAY_HEAR_DETACHED;
		ev.rc = (enum ly_rc)m->detached.rc;
		break;
	case LY_OUTCOME:
		ev.kind = LY_AWAY_HEAR_OUTCOME;
		ev.rc = (enum ly_rc)m->outcome.rc;
		ev.mig = m->outcome.mig;
		ev.fate = (enum ly_fate)m->outcome.fate;
		ev.epoch = m->outcome.epoch;
		break;
	case LY_FENCE:
		ev.kind = LY_AWAY_HEAR_FENCE;
		ev.epoch = m->fence.epoch;
		break;
	default:
		return;
	}
	vm_feed(vm, &ev, body.at, body.len);
}

/* ---- QEMU ---- */

void
vm_qemu_exit(struct vm *vm)
{
	vm->qemu = NULL;
	if (vm->woken) {
		vm_woken(vm);
		return;
	}
	if (vm->moving != LY_MOVING_NOT)
		return;
	if (vm->state == LY_VM_RUNNING || vm->state == LY_VM_PAUSED)
		vm_state(vm, LY_VM_NONE);
	vm_leave(vm);
}

void
vm_qemu_resumed(struct vm *vm)
{
	if (!vm->orphan)
		vm_guard(vm, LY_GUARD_SAW_RUN);
}

static void
on_orphan_status(void *arg, enum ly_rc rc, enum run run)
{
	struct vm *vm = arg;

	if (rc == LY_OK && vm->qemu && run == Q_INMIGRATE)
		qemu_quit(vm->qemu);
}

void
vm_qemu_ready(struct vm *vm)
{
	if (vm->orphan) {
		qemu_ask(vm->qemu, QMP_STATUS, on_orphan_status, vm, &vm->gen);
	} else if (vm->woken) {
		vm_woken(vm);
	} else if (vm->core.state == LY_AWAY_STAGED) {
		move_dest_start(vm);
	} else {
		vm_state(vm, LY_VM_RUNNING);
		agent_done(vm->agent, vm->start_req, LY_OK, 0, vm->core.epoch,
		    "");
		vm->start_req = 0;
	}
}
