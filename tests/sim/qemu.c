/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A QEMU with its guest: a process of its own, which outlives the agent that
 * started it, and a monitor that answers in order. Its guest asks its TPM now
 * and then, and knows what every answer has to be.
 *
 * A migration out: passes over the memory, then QEMU waits for leave
 * (pre-switchover), then sends the rest and the token it gets in the place of
 * TPM state. It may stop the guest by itself, and then starts it again if its
 * stream breaks.
 */
#include "tests/sim/sim.h"

struct request {
	struct qemu *q;
	uint32_t q_gen;
	enum qmp what;
	qmp_done *done;
	void *arg;
	const uint32_t *gen;
	uint32_t was;
	enum ly_rc rc;
	enum run run;
	bool used;
};

static struct request requests[256];
static unsigned request_at;

static void on_guest(void *obj, uint64_t arg);
static void go_on_migrating(void *obj, uint64_t arg);

void
qemu_reset(void)
{
	memset(requests, 0, sizeof(requests));
}

bool
qemu_runs(const struct qemu *q)
{
	return q->used && q->run == Q_RUNNING;
}

static void
set_run(struct qemu *q, enum run run)
{
	bool was = q->run == Q_RUNNING;

	q->run = run;
	if (run != Q_RUNNING || was)
		return;
	LOG("vm%u host %u: QEMU %llu runs", q->vm, q->host,
	    (unsigned long long)q->serial);
	oracle_copies();
	if (q->shell)
		vm_qemu_resumed(q->shell);
	sim_after(w.think_us / 2 + sim_below(&q->rng, w.think_us), on_guest, q,
	    &q->gen, ++q->beat);
}

/* ---- the guest ---- */

static void
guest_fails(struct qemu *q)
{
	oracle_failure(q);
	q->guest.waiting = false;
	q->guest.broken = true;
	stats.failures++;
}

static void
guest_resets(struct qemu *q)
{
	q->guest = (struct guest){ .commands = 0 };
	if (q->session && q->shell)
		vm_init(q->shell);
	else
		q->guest.broken = true;
}

static void
guest_asks(struct qemu *q)
{
	struct guest *g = &q->guest;
	uint8_t body[TPM_CMD_LEN];
	struct ly_wr wr = ly_wr_over(body, sizeof(body));

	g->cmd = (struct tpm_cmd){ ++w.cmd_serial, sim_rnd(&q->rng) };
	g->waiting = true;
	q->asked_at = w.now;
	stats.commands++;
	stats.leaky += w.leaky;
	if (!q->session) {
		guest_fails(q);
		return;
	}
	q->unread = !q->shell;
	if (q->unread)
		return;
	ly_wr_u64(&wr, g->cmd.id);
	ly_wr_u64(&wr, g->cmd.x);
	vm_command(q->shell, body, sizeof(body));
}

static void
on_guest(void *obj, uint64_t beat)
{
	struct qemu *q = obj;

	if (q->run != Q_RUNNING || beat != q->beat)
		return; /* the next set_run() wakes it */
	sim_after(w.think_us / 2 + sim_below(&q->rng, w.think_us), on_guest, q,
	    &q->gen, beat);
	if (q->guest.waiting) {
		if (q->shell && !q->unread && sim_chance(&q->rng, 20))
			vm_cancel(q->shell);
		return;
	}
	/* One whose TPM has failed is reset by its user, sooner or later. */
	if (q->shell &&
	    sim_chance(&q->rng,
		!q->guest.broken ? 2 :
		    w.healing	 ? 6 :
				   20) &&
	    q->session)
		guest_resets(q);
	else
		guest_asks(q);
}

/* Its thread writes it into the guest's memory, whether that runs or not. */
void
qemu_answer(struct qemu *q, const uint8_t *at, size_t len)
{
	if (!q->guest.waiting)
		return;
	oracle_answer(q, at, len);
	if (len != TPM_RSP_LEN)
		guest_fails(q);
	q->guest.waiting = false;
}

/* It never connects again. */
void
qemu_session_lost(struct qemu *q)
{
	q->session = false;
	q->unread = false;
	oracle_cause(q->vm);
	if (q->guest.waiting)
		guest_fails(q);
}

/* ---- life ---- */

static void
on_started(void *obj, uint64_t arg)
{
	struct qemu *q = obj;

	(void)arg;
	if (!q->incoming) {
		guest_resets(q);
		set_run(q, Q_RUNNING);
	} else {
		q->run = Q_INMIGRATE;
		if (q->shell && q->session)
			vm_init(q->shell);
	}
	if (q->shell)
		vm_qemu_ready(q->shell);
}

struct qemu *
qemu_start(struct vm *vm, bool incoming)
{
	for (unsigned i = 0; i < QEMUS; i++) {
		struct qemu *q = &w.qemu[i];
		uint32_t gen = q->gen;

		if (q->used)
			continue;
		*q = (struct qemu){ .used = true,
			.gen = gen + 1,
			.host = vm->agent->host,
			.vm = vm->vm,
			.rng = w.seed ^ vm->vm << 16 ^ vm->agent->host << 24 ^
			    ++w.started[vm->agent->host][vm->vm],
			.serial = ++w.qemu_serial,
			.run = Q_STARTING,
			.incoming = incoming,
			.shell = vm,
			.session = true };
		sim_after(20 * MS + sim_below(&q->rng, 100 * MS), on_started, q,
		    &q->gen, 0);
		return q;
	}
	law_broken("the simulator has no room for another QEMU");
	abort();
}

void
qemu_kill(struct qemu *q)
{
	struct vm *vm = q->shell;

	if (!q->used)
		return;
	LOG("vm%u host %u: QEMU %llu ends", q->vm, q->host,
	    (unsigned long long)q->serial);
	q->used = false;
	q->gen++;
	for (unsigned i = 0; i < LY_COUNT(requests); i++)
		if (requests[i].used && requests[i].q == q)
			requests[i].rc = LY_OUTSIDE;
	if (vm && vm->used && vm->qemu == q) {
		move_qemu_event(q, true);
		if (vm->used && vm->qemu == q)
			vm_qemu_exit(vm);
	}
	q->shell = NULL;
}

static void
on_end(void *obj, uint64_t arg)
{
	(void)arg;
	qemu_kill(obj);
}

void
qemu_quit(struct qemu *q)
{
	if (q->dying)
		return;
	q->dying = true;
	sim_after(MS + sim_below(&q->rng, 20 * MS), on_end, q, &q->gen, 0);
}

/* ---- migrating out ---- */

static void
mig_state(struct qemu *q, enum ly_mig mig)
{
	q->mig = mig;
	if (q->shell)
		move_qemu_event(q, false);
}

/* QEMU starts the guest again if it had stopped it, or found it running. */
static void
mig_fails(struct qemu *q, enum ly_mig how)
{
	bool again = q->run == Q_FINISHING && q->was_running;

	if (q->mig == LY_MIG_COMPLETED)
		return;
	if (again) {
		if (q->shell && q->session)
			vm_take_back(q->shell);
		set_run(q, Q_RUNNING);
	}
	mig_state(q, how);
}

static void
send_rest(struct qemu *q)
{
	struct vm *vm = q->shell;
	uint8_t snap[SNAP_LEN] = { 0 };
	struct ly_wr wr = ly_wr_over(snap, sizeof(snap));
	struct guest *g = &q->guest;

	ly_wr_u64(&wr, UINT64_C(0x5afe));
	ly_wr_u64(&wr, g->commands);
	ly_wr_u64(&wr, g->chain);
	ly_wr_u64(&wr, (uint64_t)g->waiting << 1 | g->broken);
	ly_wr_u64(&wr, g->cmd.id);
	if (!vm || !vm->source || !q->session || !vm_save(vm)) {
		mig_fails(q, LY_MIG_FAILED);
		return;
	}
	ly_wr_u64(&wr, vm->token_len);
	ly_wr_bytes(&wr, vm->token, vm->token_len);
	move_pump(vm->source, snap, ly_wr_len(&wr));
	q->run = Q_POSTMIGRATE;
	q->mig = LY_MIG_COMPLETED;
	move_pump_end(vm->source);
	if (q->used && q->shell)
		move_qemu_event(q, false);
}

static void
go_on_migrating(void *obj, uint64_t pass)
{
	static const uint8_t page[64] = { 1 };
	struct qemu *q = obj;
	struct source *s = q->shell ? q->shell->source : NULL;

	if (q->mig != LY_MIG_BUSY && q->mig != LY_MIG_SWITCHING)
		return;
	if (q->stream_closed || !s || !s->pumping) {
		mig_fails(q, LY_MIG_FAILED);
		return;
	}
	if (q->mig == LY_MIG_SWITCHING) {
		send_rest(q);
		return;
	}
	move_pump(s, page, sizeof(page));
	q->numbers.bytes += UINT64_C(1) << 20;
	q->numbers.passes = pass;
	q->numbers.total = UINT64_C(1) << 24;
	q->numbers.remaining = pass < 3 ? UINT64_C(8) << 20 : 4096;
	q->numbers.dirty_rate = 1000;
	if (pass >= 3 &&
	    (q->run == Q_PAUSED ||
		sim_chance(&q->rng, w.slow_guest ? 500 : 100))) {
		q->was_running = q->run == Q_RUNNING;
		q->run = q->was_running ? Q_FINISHING : q->run;
		mig_state(q, LY_MIG_HELD);
		return;
	}
	sim_after(w.chunk_us / 2 + sim_below(&q->rng, w.chunk_us),
	    go_on_migrating, q, &q->gen, pass + 1);
}

/* ---- migrating in ---- */

void
qemu_data(struct qemu *q, const uint8_t *at, size_t len)
{
	struct ly_rd r = ly_rd_over(at, len);
	uint64_t flags, token_len;
	const uint8_t *token;

	if (q->run != Q_INMIGRATE || q->mig == LY_MIG_COMPLETED)
		return;
	q->mig = LY_MIG_BUSY;
	if (ly_rd_u64(&r) != UINT64_C(0x5afe))
		return;
	q->guest = (struct guest){ .commands = ly_rd_u64(&r) };
	q->guest.chain = ly_rd_u64(&r);
	flags = ly_rd_u64(&r);
	q->guest.waiting = flags >> 1 & 1;
	q->guest.broken = flags & 1;
	q->guest.cmd.id = ly_rd_u64(&r);
	token_len = ly_rd_u64(&r);
	token = ly_rd_bytes(&r, token_len);
	if (r.bad || !q->shell || !vm_restore(q->shell, token, token_len)) {
		mig_state(q, LY_MIG_FAILED);
		return;
	}
	q->run = Q_PAUSED;
	mig_state(q, LY_MIG_COMPLETED);
	if (q->used && q->shell && q->shell->dest)
		move_dest_broken(q->shell->dest);
}

/* ---- the monitor ---- */

static enum ly_rc
obey(struct qemu *q, enum qmp what)
{
	switch (what) {
	case QMP_STOP:
		if (q->run == Q_RUNNING)
			q->run = Q_PAUSED;
		return LY_OK; /* one that QEMU has stopped stays as it is */
	case QMP_CONT:
		if (q->run == Q_INMIGRATE || q->run == Q_STARTING)
			return LY_OUTSIDE;
		if (q->run == Q_POSTMIGRATE && q->shell && q->session)
			vm_take_back(q->shell);
		set_run(q, Q_RUNNING);
		return LY_OK;
	case QMP_MIGRATE:
		q->mig = LY_MIG_BUSY;
		q->stream_closed = false;
		q->numbers = (struct ly_mig_numbers){ .bytes = 0 };
		sim_after(w.chunk_us, go_on_migrating, q, &q->gen, 1);
		return LY_OK;
	case QMP_CONTINUE:
		if (q->mig != LY_MIG_HELD)
			return LY_OUTSIDE;
		q->mig = LY_MIG_SWITCHING;
		sim_after(w.chunk_us / 4 + 1, go_on_migrating, q, &q->gen, 0);
		return LY_OK;
	case QMP_CANCEL:
		if (q->mig == LY_MIG_BUSY || q->mig == LY_MIG_HELD ||
		    q->mig == LY_MIG_SWITCHING)
			mig_fails(q, LY_MIG_CANCELLED);
		return LY_OK;
	case QMP_QUIT:
		qemu_quit(q);
		return LY_OK;
	case QMP_STATUS:
	case QMP_QUERY:
	case QMP_INCOMING:
		return LY_OK;
	}
	return LY_OK;
}

static void
on_reply(void *obj, uint64_t arg)
{
	struct request r = *(struct request *)obj;

	(void)arg;
	((struct request *)obj)->used = false;
	if (r.done && r.gen && *r.gen == r.was)
		r.done(r.arg, r.rc, r.run);
}

static void
on_asked(void *obj, uint64_t arg)
{
	struct request *r = obj;

	(void)arg;
	if (r->q->gen != r->q_gen || r->q->dying)
		r->rc = LY_OUTSIDE;
	else
		r->rc = obey(r->q, r->what);
	r->run = r->q->run;
	sim_after(sim_below(&r->q->rng, w.qmp_us / 4) + 1, on_reply, r, NULL,
	    0);
}

void
qemu_ask(struct qemu *q, enum qmp what, qmp_done *done, void *arg,
    const uint32_t *gen)
{
	struct request *r = &requests[request_at++ % LY_COUNT(requests)];
	uint64_t at = w.now + w.qmp_us / 2 + sim_below(&q->rng, w.qmp_us);

	if (w.node[q->host].doomed)
		return; /* its agent dies before it has written this */
	assert(!r->used);
	*r = (struct request){ .q = q,
		.q_gen = q->gen,
		.what = what,
		.done = done,
		.arg = arg,
		.gen = gen,
		.was = gen ? *gen : 0,
		.used = true };
	q->qmp_at = ly_max(q->qmp_at + 1, at);
	sim_after(q->qmp_at - w.now, on_asked, r, NULL, 0);
}
