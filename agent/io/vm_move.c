/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's migrations on this host: the source's side (COPY, CALLOFF, SETTLE)
 * and the destination's (the rest of PREPARE, the STREAM, DROP). The machines
 * are in agent/stream; here they are joined to the lease.
 */
#include "agent/io/keys.h"
#include "agent/io/vm_in.h"

#include <stdlib.h>

static void
done(struct ly_vms *vms, uint32_t req, enum ly_rc rc, enum ly_fate fate,
    uint64_t epoch, const char *why, const char *value)
{
	ly_control_done(vms->agent->control, req, rc, fate, epoch, why, value);
}

#define FENCED "fenced by its home"

static void
forget_mig(struct vm *vm)
{
	if (vm->keyed)
		ly_vm_keys_end(vm->vms, &vm->mig, "the migration is over");
	vm->keyed = false;
	vm->mig = (struct ly_id){ { 0 } };
	ly_vm_touch(vm);
}

/* ---- source ---- */

static bool
is_idle(void *arg)
{
	struct vm *vm = arg;

	return ly_away_idle(&vm->core) ||
	    ly_vm_now_ms(vm) - vm->core.waiting_since < 1000;
}

static bool
is_quiet(void *arg)
{
	struct vm *vm = arg;

	return ly_away_idle(&vm->core) && vm->guest &&
	    !ly_guest_busy(vm->guest) && ly_guest_taken(vm->guest);
}

/* Not a moment later: a guest that the guard lets go on after this stop would
 * run while it is handed over. */
static void
on_stopping(void *arg)
{
	struct vm *vm = arg;

	ly_vm_guard_tell(vm, LY_GUARD_BAR);
	vm->stopped = true; /* an agent after us lets it go on, if it may */
	ly_vm_touch(vm);
}

static void
on_fin(void *arg)
{
	struct vm *vm = arg;

	vm->fin = true;
	ly_vm_touch(vm);
}

static void
on_stopped(void *arg, bool won)
{
	struct vm *vm = arg;

	ly_vm_guard_tell(vm, LY_GUARD_BAR);
	ly_vm_state(vm, LY_VM_PAUSED,
	    won ? "migrating: stopped by us" : "migrating: stopped by QEMU");
}

static void
hook(void *arg, bool regain)
{
	struct vm *vm = arg;

	if (!regain) {
		vm->let_go = true;
		ly_vm_touch(vm);
	}
	ly_vm_hook_source(vm, regain);
}

/* The guest stands still, but its last command may still be under way; the
 * RELEASE goes when that is answered (ly_vm_feed). */
static void
release(void *arg)
{
	struct vm *vm = arg;

	vm->asked_release = true;
	vm->want_release = true;
	ly_vm_release_if_idle(vm);
}

void
ly_vm_release_if_idle(struct vm *vm)
{
	if (!vm->want_release || !ly_away_idle(&vm->core))
		return;
	vm->want_release = false;
	ly_vm_feed(vm,
	    &(struct ly_away_event){ .kind = LY_AWAY_RELEASE, .mig = vm->mig },
	    NULL, 0);
}

static void
query(void *arg, bool abort_)
{
	struct vm *vm = arg;

	if (abort_)
		vm->want_release = false; /* after an abort it would stay */
	ly_vm_feed(vm,
	    &(struct ly_away_event){ .kind = LY_AWAY_ASK,
		.mig = vm->mig,
		.abort = abort_ },
	    NULL, 0);
}

static uint64_t
seq(void *arg)
{
	const struct vm *vm = arg;

	return vm->core.seq;
}

static void
on_progress(void *arg, const struct ly_progress *progress)
{
	struct vm *vm = arg;
	struct ly_progress m = *progress;

	ly_copy(m.home_site, sizeof(m.home_site), vm->home_site);
	m.commands = vm->core.seq;
	ly_control_report(vm->vms->agent->control, LY_PROGRESS, &m);
}

static void
on_alarm(void *arg, const char *text)
{
	ly_vm_alarm(arg, text);
}

/* After RELEASE the home was asked until it said; before, it has heard of no
 * abort, and its record waits for one: the manager has to ask. */
static enum ly_fate
fate_of(const struct vm *vm, bool moved)
{
	if (moved)
		return LY_FATE_CLAIMED;
	return vm->asked_release ? LY_FATE_ABORTED : LY_FATE_OPEN;
}

/* BUSY and SHORT would say "ask again", and this COPY is over. */
static enum ly_rc
final_rc(enum ly_rc rc)
{
	return rc == LY_BUSY || rc == LY_SHORT ? LY_REFUSED : rc;
}

static uint64_t
downtime_ms(const struct ly_source_result *r)
{
	return r->stopped_ms && r->resumed_ms > r->stopped_ms ?
	    r->resumed_ms - r->stopped_ms :
	    0;
}

static void
on_source_over(void *arg, const struct ly_source_result *r)
{
	struct vm *vm = arg;
	struct ly_vms *vms = vm->vms;
	bool moved = r->end == LY_SOURCE_MOVED;
	enum ly_fate fate = fate_of(vm, moved);
	enum ly_rc rc = final_rc(r->rc);
	/* All that QEMU carried for us, less the token of one asking. */
	uint64_t blobs = vm->guest ?
	    ly_guest_blobs(vm->guest) - vm->blobs_before :
	    0;
	uint64_t state = blobs > vm->token_len ? blobs - vm->token_len : 0;
	uint64_t epoch = moved ? vm->fate_epoch : vm->core.epoch;
	struct past *p;
	char value[512];

	ly_print(value, sizeof(value),
	    "{\"memory_bytes\":%llu,\"total_ms\":%llu,\"downtime_ms\":%llu,"
	    "\"qemu_downtime_ms\":%llu,\"tpm_state_bytes\":%llu,"
	    "\"commands_before\":%llu,\"commands_after\":%llu}",
	    (unsigned long long)r->bytes, (unsigned long long)r->total_ms,
	    (unsigned long long)downtime_ms(r),
	    (unsigned long long)r->qemu_downtime_ms, (unsigned long long)state,
	    (unsigned long long)vm->commands_before,
	    (unsigned long long)vm->core.seq);
	vm->source = NULL;
	vm->want_release = false;
	vm->moving = LY_MOVING_NOT;
	vm->stopped = vm->fin = vm->let_go = false;
	p = ly_vm_remember(vms, &vm->mig, rc, fate, epoch, r->why, value);
	p->proved = moved && vm->keyed;
	ly_vm_answer_past(vms, vm->copy_req, p);
	vm->copy_req = 0;
	if (moved) {
		ly_log(LY_NOTICE, vm->name, "moved: %s", value);
		ly_vm_forget(vm);
		return;
	}
	forget_mig(vm);
	if (r->end == LY_SOURCE_FENCED) {
		ly_vm_state(vm, LY_VM_FAILED, FENCED);
		return;
	}
	if (vm->guest && r->end == LY_SOURCE_STAYED)
		ly_guest_attach_mode(vm->guest, LY_GUEST_ATTACHED);
	if (r->end == LY_SOURCE_STAYED && vm->qemu) {
		ly_vm_state(vm, LY_VM_RUNNING, "");
		ly_vm_guard_tell(vm, LY_GUARD_FREE);
	} else
		ly_vm_leave(vm, r->why);
}

static const struct ly_source_ops source_ops = {
	.is_idle = is_idle,
	.is_quiet = is_quiet,
	.on_stopping = on_stopping,
	.on_stopped = on_stopped,
	.hook = hook,
	.on_fin = on_fin,
	.release = release,
	.query = query,
	.seal = ly_vm_seal,
	.on_arrived = ly_vm_arrived_there,
	.seq = seq,
	.on_progress = on_progress,
	.on_alarm = on_alarm,
	.on_over = on_source_over,
};

static const char *
cannot_move(const struct vm *vm, const struct ly_copy *m)
{
	if (strcmp(vm->home_site, m->origin) != 0)
		return "not a VM of that site";
	if (vm->moving != LY_MOVING_NOT)
		return "another migration of this VM is under way";
	if (!ly_vm_runs(vm) || vm->leaving)
		return "the VM does not run";
	if (vm->external)
		return "its hypervisor is not ours: migrate it with its own"
		       " tools";
	if (vm->core.state != LY_AWAY_HELD)
		return "this host does not hold the VM's TPM";
	return NULL;
}

static enum ly_rc
may_move(struct vm *vm, const struct ly_copy *m, struct ly_lanes_params *lanes,
    struct ly_why *why)
{
	const char *no = cannot_move(vm, m);

	if (no)
		return ly_fail(why, LY_REFUSED, "%s", no);
	return ly_vm_keys_copy(vm->vms, m, lanes, why);
}

void
ly_vms_copy(struct ly_vms *vms, const struct ly_copy *m)
{
	struct vm *vm = ly_vm_of(vms, &m->vm);
	const struct past *p = ly_vms_past(vms, &m->mig);
	struct ly_source_params params = { .loop = vms->agent->loop,
		.net = vms->agent->net,
		.vm = m->vm,
		.mig = m->mig,
		.dest = m->dest,
		.dest_address = m->dest_address,
		.bandwidth = m->bandwidth,
		.downtime_ms = m->downtime_ms };
	struct ly_lanes_params lanes;
	struct ly_why why;

	if (p) {
		ly_vm_answer_past(vms, m->req, p);
		return;
	}
	if (!vm) {
		done(vms, m->req, LY_UNKNOWN, LY_FATE_UNKNOWN, 0,
		    "no such VM on this host", "");
		return;
	}
	if (vm->moving == LY_MOVING_OUT && ly_id_same(&vm->mig, &m->mig)) {
		vm->copy_req = m->req; /* asked again: the answer is to come */
		return;
	}
	if (may_move(vm, m, &lanes, &why) != LY_OK) {
		done(vms, m->req, LY_REFUSED, LY_FATE_UNKNOWN, 0, why.text, "");
		return;
	}
	if (m->lanes)
		params.lanes = &lanes;
	params.qemu = vm->qemu;
	vm->keyed = m->lanes;
	vm->mig = m->mig;
	vm->copy_req = m->req;
	vm->asked_release = false;
	vm->commands_before = vm->core.seq;
	vm->blobs_before = vm->guest ? ly_guest_blobs(vm->guest) : 0;
	vm->moving = LY_MOVING_OUT;
	vm->stopped = vm->fin = vm->let_go = false;
	ly_vm_touch(vm);
	if (ly_source_start(&params, &source_ops, vm, &vm->source, &why) ==
	    LY_OK)
		return;
	vm->moving = LY_MOVING_NOT;
	forget_mig(vm);
	vm->copy_req = 0;
	done(vms, m->req, LY_OUTSIDE, LY_FATE_OPEN, 0, why.text, "");
}

void
ly_vms_calloff(struct ly_vms *vms, const struct ly_request *m)
{
	struct vm *vm = ly_vm_of_mig(vms, &m->mig);

	if (vm && vm->source && strcmp(vm->home_site, m->origin) == 0)
		ly_source_calloff(vm->source);
	else if (!vm && ly_keys_of_site(vms->agent->keys, &m->mig, m->origin))
		ly_vm_keys_end(vms, &m->mig, "the manager has called it off");
	done(vms, m->req, LY_OK, LY_FATE_UNKNOWN, 0, "", "");
}

/* The manager has read the home's record for a source that cannot reach it. */
void
ly_vms_settle(struct ly_vms *vms, const struct ly_request *m)
{
	struct vm *vm = ly_vm_of_mig(vms, &m->mig), *orphan;

	orphan = ly_vm_of(vms, &m->vm);
	if (orphan && orphan->orphan && orphan->qemu &&
	    strcmp(orphan->home_site, m->origin) == 0 &&
	    m->flag == LY_FATE_CLAIMED)
		ly_qemu_quit(orphan->qemu); /* it runs elsewhere by now */
	if (vm && vm->moving == LY_MOVING_OUT &&
	    strcmp(vm->home_site, m->origin) == 0 && vm->core.asking)
		ly_vm_feed(vm,
		    &(struct ly_away_event){ .kind = LY_AWAY_SETTLED,
			.mig = m->mig,
			.fate = (enum ly_fate)m->flag,
			.epoch = m->epoch },
		    NULL, 0);
	done(vms, m->req, LY_OK, LY_FATE_UNKNOWN, 0, "", "");
}

/* A migration of which the agent before us was the source. Its stream is gone,
 * so it can end in two ways. Before RELEASE was asked the VM stays here, and the
 * home is told, so that it need not wait for the manager. After it, the home is
 * asked what became of it; it is aborted there, unless the destination may have
 * the whole VM: that gets its chance first. */
void
ly_vm_source_woken(struct vm *vm)
{
	struct ly_source_params params = { .loop = vm->vms->agent->loop,
		.qemu = vm->qemu,
		.vm = vm->id,
		.mig = vm->mig };
	struct ly_source_woken woken = { .released = vm->asked_release,
		.fin = vm->fin,
		.hooked = vm->let_go,
		.stopped = vm->stopped };

	if (!woken.released)
		query(vm, true);
	ly_source_wake(&params, &woken, &source_ops, vm, &vm->source);
}

/* ---- destination ---- */

static void
on_listening(void *arg)
{
	struct vm *vm = arg;

	done(vm->vms, vm->prepare_req, LY_OK, LY_FATE_OPEN, 0, "",
	    vm->vms->agent->conf.address);
	vm->prepare_req = 0;
}

static void
claim(void *arg, uint64_t seq_)
{
	struct vm *vm = arg;

	(void)seq_; /* the token says it, under the home's own MAC */
	if (!ly_vm_token_good(vm)) { /* the home need not be asked */
		ly_dest_granted(vm->dest, LY_REFUSED, 0);
		return;
	}
	ly_vm_feed(vm, &(struct ly_away_event){ .kind = LY_AWAY_CLAIM }, NULL,
	    0);
}

static void
hook_dest(void *arg)
{
	ly_vm_hook_dest(arg);
}

static void
on_dest_over(void *arg, const struct ly_dest_result *r)
{
	struct vm *vm = arg;
	bool runs = r->end == LY_DEST_RUNS;

	vm->dest = NULL;
	vm->moving = LY_MOVING_NOT;
	ly_vm_remember(vm->vms, &vm->mig, r->rc,
	    r->epoch ? LY_FATE_CLAIMED : LY_FATE_ABORTED, r->epoch, r->why, "");
	if (!runs) {
		ly_vm_keys_end(vm->vms, &vm->mig, r->why);
		ly_copy(vm->why, sizeof(vm->why), r->why);
		ly_vm_leave(vm, r->why);
		return;
	}
	ly_vm_state(vm, LY_VM_RUNNING, "");
	ly_vm_guard_tell(vm, LY_GUARD_FREE);
	forget_mig(vm);
}

static const struct ly_dest_ops dest_ops = {
	.on_listening = on_listening,
	.check = ly_vm_fin_check,
	.arrived = ly_vm_arrived_here,
	.claim = claim,
	.hook = hook_dest,
	.on_alarm = on_alarm,
	.on_over = on_dest_over,
};

/* A destination that is not to be, wherever it stands: its QEMU is ended before
 * the VM is forgotten. */
static void
give_up(struct vm *vm, const char *why)
{
	if (!*vm->why)
		ly_copy(vm->why, sizeof(vm->why), why);
	if (vm->dest)
		ly_dest_drop(vm->dest);
	else if (vm->qemu)
		ly_qemu_quit(vm->qemu); /* its end is the VM's */
	else
		ly_vm_leave(vm, why);
}

/* The empty QEMU answers: now it may listen. */
void
ly_vm_qemu_ready(struct vm *vm)
{
	struct ly_dest_params params = { .loop = vm->vms->agent->loop,
		.qemu = vm->qemu,
		.vm = vm->id,
		.mig = vm->mig,
		.source = vm->source_id };
	struct ly_why why;

	vm->moving = LY_MOVING_IN;
	params.keyed = vm->keyed = ly_vm_keys_has(vm->vms, &vm->mig);
	ly_vm_touch(vm);
	if (ly_dest_start(&params, &dest_ops, vm, &vm->dest, &why) != LY_OK)
		give_up(vm, why.text);
}

/* The source need not wait for us: the home is asked to abort, and when it has
 * answered (told_fate) the VM is left. */
static void
call_off(struct vm *vm)
{
	ly_copy(vm->why, sizeof(vm->why),
	    "its agent was restarted while the memory came");
	if (vm->qemu)
		ly_qemu_quit(vm->qemu);
	query(vm, true);
}

/* A migration of which the agent before us was the destination. With the CLAIM
 * asked QEMU has the whole VM, and it goes on from there; before, the stream is
 * gone, and QEMU with it. */
void
ly_vm_dest_woken(struct vm *vm)
{
	struct ly_dest_params params = { .loop = vm->vms->agent->loop,
		.qemu = vm->qemu,
		.vm = vm->id,
		.mig = vm->mig,
		.source = vm->source_id };
	bool granted = vm->core.state == LY_AWAY_HELD;

	if (!vm->qemu &&
	    (granted || vm->core.state == LY_AWAY_CLAIMING ||
		vm->core.state == LY_AWAY_DEAD)) {
		ly_vm_gone_meanwhile(vm);
		return;
	}
	if (!granted && vm->core.state != LY_AWAY_CLAIMING &&
	    vm->core.state != LY_AWAY_DEAD) {
		call_off(vm);
		return;
	}
	ly_dest_wake(&params, granted ? vm->core.epoch : 0, &dest_ops, vm,
	    &vm->dest);
	if (vm->core.state == LY_AWAY_DEAD)
		ly_dest_granted(vm->dest, LY_REFUSED, 0);
}

enum ly_rc
ly_vms_stream(struct ly_vms *vms, struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, struct ly_why *why)
{
	struct vm *vm = ly_vm_of_mig(vms, &hello->mig);
	char id[LY_ID_TEXT];

	if (!vm || !vm->dest)
		return ly_fail(why, LY_UNKNOWN, "no migration %s expected",
		    ly_id_text(&hello->mig, id));
	if (strcmp(peer->id, vm->source_id) != 0)
		return ly_fail(why, LY_REFUSED,
		    "migration %s comes from %s, not from %s",
		    ly_id_text(&hello->mig, id), vm->source_id, peer->id);
	return ly_dest_stream(vm->dest, c, why);
}

void
ly_vms_drop(struct ly_vms *vms, const struct ly_request *m)
{
	struct vm *vm = ly_vm_of_mig(vms, &m->mig), *orphan;

	orphan = ly_vm_of(vms, &m->vm);
	if (orphan && orphan->orphan && orphan->qemu &&
	    strcmp(orphan->home_site, m->origin) == 0)
		ly_qemu_quit(orphan->qemu); /* the copy that is not to run */
	if (vm && strcmp(vm->home_site, m->origin) == 0 &&
	    (vm->dest || (vm->state == LY_VM_INCOMING && !vm->woken)))
		give_up(vm, "the migration was aborted");
	else if (!vm && ly_keys_of_site(vms->agent->keys, &m->mig, m->origin))
		ly_vm_keys_end(vms, &m->mig, "the migration was aborted");
	done(vms, m->req, LY_OK, LY_FATE_UNKNOWN, 0, "", "");
}

/* ---- what the away machine tells ---- */

static void
told_staged(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_why why = { "" };

	if (t->rc == LY_OK && ly_vm_run(vm, true, &why) == LY_OK)
		return;
	if (t->rc != LY_OK)
		ly_fail(&why, t->rc, "the home refused the migration (%s)",
		    ly_rc_name(t->rc));
	ly_copy(vm->why, sizeof(vm->why), why.text);
	give_up(vm, why.text);
}

static void
told_claim(struct vm *vm, const struct ly_away_todo *t)
{
	if (t->rc == LY_OK && vm->guest)
		ly_guest_attach_mode(vm->guest, LY_GUEST_ATTACHED);
	if (vm->dest)
		ly_dest_granted(vm->dest, t->rc, vm->core.epoch);
	else if (vm->woken)
		return;		 /* its monitor will be there in a moment */
	else if (t->rc == LY_OK) /* our QEMU died while we asked */
		ly_vm_feed(vm,
		    &(struct ly_away_event){ .kind = LY_AWAY_DETACH }, NULL, 0);
	else
		ly_vm_forget(vm);
}

static void
told_release(struct vm *vm, const struct ly_away_todo *t)
{
	if (t->rc == LY_BUSY)
		vm->want_release = true;
	else if (vm->source)
		ly_source_released(vm->source, t->rc);
}

static void
told_fate(struct vm *vm, const struct ly_away_todo *t)
{
	vm->fate_epoch = t->epoch;
	if (vm->moving == LY_MOVING_IN && !vm->dest) {
		vm->moving = LY_MOVING_NOT; /* called off */
		ly_vm_touch(vm);
		if (!vm->qemu) /* else its end comes */
			ly_vm_leave(vm, vm->why);
	}
	if (vm->source)
		ly_source_fate(vm->source, t->rc, t->fate);
}

void
ly_vm_fenced(struct vm *vm)
{
	ly_vm_alarm(vm,
	    "another host holds this VM's TPM: this copy is"
	    " stopped");
	ly_vm_state(vm, LY_VM_FAILED, FENCED);
	if (vm->guest)
		ly_guest_attach_mode(vm->guest, LY_GUEST_GONE);
	ly_vm_guard_tell(vm, LY_GUARD_BAR); /* for good */
	if (vm->qemu)
		ly_qemu_stop(vm->qemu, NULL, NULL);
	if (vm->source)
		ly_source_fenced(vm->source);
	else if (vm->dest)
		ly_dest_fenced(vm->dest);
}

static void
told_fenced(struct vm *vm, const struct ly_away_todo *t)
{
	(void)t;
	ly_vm_fenced(vm);
}

/* For `vm show`: a guest whose TPM waits, or has failed, runs all the same. */
static void
told_lease(struct vm *vm, const struct ly_away_todo *t)
{
	(void)t; /* the machine knows it too */
	if (vm->state == LY_VM_RUNNING)
		ly_vm_state(vm, LY_VM_RUNNING, "");
}

void
ly_vm_told_move(struct vm *vm, const struct ly_away_todo *t)
{
	static void (*const told[LY_AWAY_KINDS])(struct vm * vm,
	    const struct ly_away_todo *t) = {
		[LY_AWAY_STAGE] = told_staged,
		[LY_AWAY_CLAIM] = told_claim,
		[LY_AWAY_RELEASE] = told_release,
		[LY_AWAY_ASK] = told_fate,
		[LY_AWAY_HEAR_FENCE] = told_fenced,
		[LY_AWAY_LEASE] = told_lease,
	};

	if (told[t->what])
		told[t->what](vm, t);
}

void
ly_vm_end_moves(struct vm *vm)
{
	if (vm->source)
		ly_source_close(vm->source);
	if (vm->dest)
		ly_dest_close(vm->dest);
	vm->source = NULL;
	vm->dest = NULL;
}
