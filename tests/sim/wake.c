/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an agent finds of the one before it, if its keeper lives: the machines,
 * through their tables of what is kept, and the connections to QEMU and the
 * TPM. As agent/io/vm_wake.c, vm_keep.c and the homes'.
 *
 * An event here is whole or has not happened: the bytes it moves to QEMU and the
 * TPM are moved exactly once (agent/io/once.h), what it sends on links is lost
 * with them.
 */
#include "tests/sim/sim.h"

/* Nothing is kept but what is in the table. */
static void
through(const struct ly_message *m, const void *from, void *to)
{
	uint8_t buf[2048];
	struct ly_wr wr = ly_wr_over(buf, sizeof(buf));
	struct ly_why why;

	ly_message_put(m, from, &wr);
	if (wr.bad || ly_message_get(m, buf, ly_wr_len(&wr), to, &why) != LY_OK)
		law_broken("what is kept cannot be read back: %s", why.text);
}

void
keep_forget(struct agent *a)
{
	memset(&w.keeper[a->host], 0, sizeof(w.keeper[a->host]));
}

void
keep_all(struct agent *a)
{
	struct keeper *k = &w.keeper[a->host];

	keep_forget(a);
	for (unsigned i = 0; i < LY_COUNT(a->vms); i++)
		if (a->vms[i].used && !a->vms[i].orphan)
			k->vms[i] = a->vms[i];
	for (unsigned i = 0; i < VMS; i++) {
		const struct home *h = &a->homes[i];
		struct kept_home *kept = &k->homes[i];

		if (!h->used)
			continue;
		kept->used = true;
		kept->opened = h->opened;
		through(&ly_home_kept_table, &h->core, &kept->core);
		memcpy(kept->answer, h->kept, h->kept_len);
		kept->answer_len = h->kept_len;
	}
}

/* ---- homes ---- */

void
homes_wake(struct agent *a)
{
	for (unsigned i = 0; i < VMS; i++) {
		struct kept_home *k = &w.keeper[a->host].homes[i];
		struct home *h = &a->homes[i];
		struct ly_record rec = h->core.rec;
		struct ly_why why;

		if (!k->used || !h->used)
			continue;
		if (ly_home_wake(&h->core, &rec, &k->core, net_now_ms(a->node),
			LY_LEASE_MS, &why) != LY_OK) {
			law_broken("VM %u: what its home kept is refused: %s",
			    i, why.text);
			return;
		}
		memcpy(h->kept, k->answer, k->answer_len);
		h->kept_len = k->answer_len;
		if (!k->opened)
			continue;
		h->opened = w.tpm[i].held;
		if (h->opened)
			tpm_take_back(&w.tpm[i], h);
		else /* it died meanwhile */
			home_tpm_dead(h);
	}
}

/* ---- VMs ---- */

static struct qemu *
qemu_of(const struct agent *a, const struct vm *kept)
{
	for (unsigned i = 0; i < QEMUS; i++)
		if (w.qemu[i].used && w.qemu[i].host == a->host &&
		    w.qemu[i].vm == kept->vm && kept->qemu == &w.qemu[i])
			return &w.qemu[i];
	return NULL;
}

static void
wake_guard(struct vm *vm)
{
	ly_guard_init(&vm->guard,
	    vm->moving != LY_MOVING_NOT || vm->core.state == LY_AWAY_DEAD);
	if (!vm->qemu)
		return;
	if (vm->owed)
		vm_guard(vm, LY_GUARD_COMMAND);
	vm_guard_wake(vm);
}

static void
goes_on(struct vm *vm)
{
	if (vm->core.state == LY_AWAY_DEAD)
		vm_fenced(vm);
	else if (vm->state == LY_VM_INCOMING)
		qemu_quit(vm->qemu);
	else if (vm->state == LY_VM_STARTING || vm->leaving)
		vm_state(vm, LY_VM_RUNNING);
}

void
vm_woken(struct vm *vm)
{
	vm->woken = false;
	wake_guard(vm);
	if (vm->moving == LY_MOVING_OUT) {
		move_source_woken(vm);
	} else if (vm->moving == LY_MOVING_IN) {
		move_dest_woken(vm);
	} else if (!vm->qemu) {
		vm_leave(vm);
	} else {
		goes_on(vm);
	}
}

static void
on_monitor(void *obj, uint64_t arg)
{
	struct vm *vm = obj;

	(void)arg;
	if (vm->used && vm->qemu && vm->woken && vm->qemu->run != Q_STARTING)
		vm_woken(vm);
}

/* What was in the socket meanwhile. */
static void
on_socket(void *obj, uint64_t arg)
{
	struct vm *vm = obj;
	struct qemu *q = vm->qemu;
	uint8_t body[TPM_CMD_LEN];
	struct ly_wr wr = ly_wr_over(body, sizeof(body));

	(void)arg;
	if (!vm->used || !q || !q->unread)
		return;
	q->unread = false;
	ly_wr_u64(&wr, q->guest.cmd.id);
	ly_wr_u64(&wr, q->guest.cmd.x);
	vm_command(vm, body, sizeof(body));
}

static void
copy_kept(struct vm *vm, const struct vm *k)
{
	through(&ly_away_kept, &k->core, &vm->core);
	vm->state = k->state;
	vm->mig = k->mig;
	vm->moving = k->moving;
	vm->leaving = k->leaving && vm->core.state == LY_AWAY_DETACHING;
	vm->stopped = k->stopped;
	vm->fin = k->fin;
	vm->let_go = k->let_go;
	vm->fate_epoch = k->fate_epoch;
	vm->source_host = k->source_host;
	memcpy(vm->ticket, k->ticket, sizeof(vm->ticket));
	vm->ticket_len = k->ticket_len;
	vm->mode = k->mode;
	vm->owed = k->owed;
	vm->held = k->held;
	vm->cmd = k->cmd;
	vm->sent = k->sent;
	vm->back = k->back;
	vm->sent_seq = k->sent_seq;
	memcpy(vm->token, k->token, sizeof(vm->token));
	vm->token_len = k->token_len;
	vm->mark = k->mark;
}

static bool
released(const struct vm *vm)
{
	return vm->moving == LY_MOVING_OUT &&
	    (vm->core.state == LY_AWAY_RELEASING ||
		vm->core.state == LY_AWAY_RELEASED ||
		vm->core.state == LY_AWAY_DEAD);
}

static void
wake(struct agent *a, const struct vm *k)
{
	struct vm *vm = vm_blank(a, k->vm);

	copy_kept(vm, k);
	ly_away_wake(&vm->core, net_now_ms(a->node));
	LOG("vm%u host %u: served on, %s", vm->vm, a->host,
	    ly_away_state_name(vm->core.state));
	if (vm->core.state == LY_AWAY_NONE) {
		vm_forget(vm);
		return;
	}
	vm->asked_release = released(vm);
	vm->served = k->served;
	vm->qemu = qemu_of(a, k);
	if (vm->qemu)
		vm->qemu->shell = vm;
	vm->feeding =
	    true; /* in one turn: a home that is ours answers at once */
	link_join(vm);
	vm->woken = k->served;
	if (!k->served)
		vm_leave(vm);
	vm_turn(vm);
	if (!k->served || !vm->used)
		return;
	if (!vm->qemu) {
		vm_woken(vm);
		return;
	}
	sim_after(sim_below(&a->node->rng, 5 * MS), on_monitor, vm, &vm->gen,
	    0);
	sim_after(0, on_socket, vm, &vm->gen, 0);
}

void
vms_wake(struct agent *a)
{
	struct keeper *k = &w.keeper[a->host];

	for (unsigned i = 0; i < LY_COUNT(k->vms); i++)
		if (k->vms[i].used)
			wake(a, &k->vms[i]);
	keep_forget(a);
}
