/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager: the sagas of the VMs of its site, its requests to hosts, and what
 * an operator asks for. As manager/io/move.c, ask.c, vm.c and host.c; the store
 * has whole rows, on disk when put() has said so.
 */
#include "tests/sim/sim.h"

#define TICK_US (500 * MS)
#define HOST_LOST_MS 30000
#define SHORT_MS 10000
#define LONG_MS 120000

static void move_feed(struct move *mv, const struct ly_saga_event *ev);
static void move_done(struct move *mv, enum ly_step step,
    const struct ly_done *d);

struct manager *
manager_of(unsigned vm)
{
	return &w.manager[site_of(w.vm_home[vm])];
}

static struct store *
store_of(const struct manager *m)
{
	return &w.store[m->site];
}

static uint64_t
now_ms(const struct manager *m)
{
	return net_now_ms(m->node);
}

void
mgr_host_place(struct ly_place *p, unsigned host)
{
	char name[8], site[8];

	ly_print(name, sizeof(name), "h%u", host);
	ly_print(site, sizeof(site), "s%u", site_of(host));
	ly_place_set(p, site, host < HOSTS ? name : "");
}

unsigned
mgr_host_at(const struct ly_place *p)
{
	return p->name[0] == 'h' ? (unsigned)(p->name[1] - '0') : HOSTS;
}

struct ly_vm *
mgr_vm_entry(const struct manager *m, unsigned vm)
{
	struct ly_id id = vm_id(vm);

	return ly_roster_vm(&m->roster, &id);
}

/* ---- the store ---- */

bool
mgr_save_vm(struct manager *m, unsigned vm)
{
	struct store *st = store_of(m);
	const struct ly_vm *v = mgr_vm_entry(m, vm);

	if (st->full)
		return false;
	st->vms[vm] = (struct vm_row){ .used = true,
		.bound = v->bound,
		.lost = v->lost,
		.at = mgr_host_at(&v->at),
		.epoch = v->epoch };
	return true;
}

void
mgr_save_vm_later(struct manager *m, unsigned vm)
{
	if (!mgr_save_vm(m, vm))
		mgr_vm_entry(m, vm)->unsaved = true;
}

/* ---- asking ---- */

void
mgr_send_ask(struct manager *m, const struct ask *a)
{
	if (m->host[a->host])
		net_send(m->host[a->host], a->type, &a->msg);
}

struct ask *
mgr_ask_new(struct manager *m, unsigned host, unsigned type, uint64_t limit_ms)
{
	for (unsigned i = 0; i < ASKS; i++) {
		struct ask *a = &m->asks[i];

		if (a->used)
			continue;
		*a = (struct ask){ .used = true,
			.req = (m->site << 30) | ++m->last_req,
			.host = host,
			.type = (uint8_t)type,
			.limit_ms = limit_ms,
			.deadline = now_ms(m) + limit_ms };
		a->msg.request.req = a->req;
		return a;
	}
	return NULL;
}

static void
ask_forget(struct manager *m, uint32_t req)
{
	for (unsigned i = 0; req && i < ASKS; i++)
		if (m->asks[i].used && m->asks[i].req == req)
			m->asks[i].used = false;
}

static void
ask_over(struct manager *m, struct ask *a, const struct ly_done *d)
{
	struct ask was = *a;

	a->used = false;
	if (was.move)
		move_done(was.move, was.step, d);
	else
		mgr_job_done(m, &was, d);
}

static void
asks_tick(struct manager *m)
{
	for (unsigned i = 0; i < ASKS; i++)
		if (m->asks[i].used && m->asks[i].deadline <= now_ms(m))
			ask_over(m, &m->asks[i], NULL);
}

static uint64_t
ticket_sum(const uint8_t *at, size_t len, uint64_t key)
{
	struct ly_rd r = ly_rd_over(at, len);

	while (ly_rd_left(&r))
		key = (key ^ ly_rd_u8(&r)) * UINT64_C(0x100000001b3);
	return key;
}

struct ly_bytes
mgr_mint(struct manager *m, struct ask *a, unsigned vm, const struct ly_id *mig,
    unsigned to, unsigned rights, uint64_t epoch)
{
	uint64_t now = net_wall_s(m->node);
	struct ly_ticket t = { .vm = vm_id(vm),
		.mig = *mig,
		.rights = (uint8_t)rights,
		.from_epoch = epoch,
		.to_epoch = epoch + 1,
		.not_before = now,
		.expires = now + 600 };
	struct ly_wr wr = ly_wr_over(a->ticket, sizeof(a->ticket));

	ly_copy(t.home, sizeof(t.home), who_of(w.vm_home[vm]));
	ly_copy(t.holder, sizeof(t.holder), who_of(to));
	ly_message_put(&ly_ticket_message, &t, &wr);
	ly_wr_u64(&wr, ticket_sum(a->ticket, ly_wr_len(&wr), 77 + m->site));
	assert(!wr.bad);
	return (struct ly_bytes){ a->ticket, ly_wr_len(&wr) };
}

/* ---- a migration ---- */

void
mgr_move_tell(struct move *mv, enum ly_saga_kind kind)
{
	move_feed(mv, &(struct ly_saga_event){ .kind = kind });
}

static unsigned
party(const struct move *mv, enum ly_party who)
{
	return who == LY_PARTY_HOME ? mv->row.home :
	    who == LY_PARTY_SOURCE  ? mv->row.from :
				      mv->row.to;
}

static void
fill(struct move *mv, struct ask *a, enum ly_step step)
{
	struct ly_request *r = &a->msg.request;

	if (a->type == LY_PREPARE) {
		a->msg.start.vm = vm_id(mv->row.vm);
		a->msg.start.mig = mv->row.id;
		a->msg.start.ticket = mgr_mint(mv->m, a, mv->row.vm,
		    &mv->row.id, mv->row.to, LY_MAY_MOVE, mv->row.from_epoch);
		ly_copy(a->msg.start.source, LY_SPIFFE_MAX,
		    who_of(mv->row.from));
		return;
	}
	if (a->type == LY_COPY) {
		a->msg.copy.vm = vm_id(mv->row.vm);
		a->msg.copy.mig = mv->row.id;
		ly_copy(a->msg.copy.dest, LY_SPIFFE_MAX, who_of(mv->row.to));
		a->msg.copy.lanes = mv->row.rec.attest;
		memcpy(a->msg.copy.confirm, mv->row.confirm,
		    sizeof(mv->row.confirm));
		return;
	}
	if (ly_steps[step].attested) {
		attest_fill(mv, a, step);
		return;
	}
	r->vm = vm_id(mv->row.vm);
	if (a->type != LY_SHOW)
		r->mig = mv->row.id;
	if (step == LY_STEP_ASK)
		r->flag = 1;
	if (step == LY_STEP_SETTLE)
		r->flag = mv->row.rec.fate;
	r->epoch = mv->row.rec.epoch;
}

static void
move_ask(struct move *mv, enum ly_step step)
{
	const struct ly_step_row *row = &ly_steps[step];
	struct ask *a = mgr_ask_new(mv->m, party(mv, row->whom), row->asks,
	    row->limit_ms);

	mv->req[step] = a ? a->req : 0;
	if (!a)
		return;
	a->move = mv;
	a->step = step;
	fill(mv, a, step);
	mgr_send_ask(mv->m, a);
}

static enum ly_rc
authorised(struct move *mv, const struct ly_done *d)
{
	unsigned state = 0, at = HOSTS;

	if (sscanf(d->value, "%u %u", &state, &at) != 2 ||
	    state != LY_REC_ATTACHED || at == mv->row.to || at >= HOSTS)
		return LY_REFUSED;
	mv->row.from = at;
	mv->row.from_epoch = d->epoch;
	return LY_OK;
}

static void
move_done(struct move *mv, enum ly_step step, const struct ly_done *d)
{
	struct ly_saga_event ev = { .kind = LY_SAGA_LATE, .step = step };

	mv->req[step] = 0;
	if (d) {
		ev.kind = LY_SAGA_ANSWERED;
		ev.fate = (enum ly_fate)d->fate;
		ev.epoch = d->epoch;
		ev.rc = (enum ly_rc)d->rc;
		if (ev.rc == LY_OK && step == LY_STEP_AUTHORISE)
			ev.rc = authorised(mv, d);
		if (ev.rc == LY_OK && ly_steps[step].attested)
			attest_heard(mv, step, d);
	}
	move_feed(mv, &ev);
}

static bool
save_move(struct move *mv)
{
	struct store *st = store_of(mv->m);

	if (st->full)
		return false;
	if (mv->saga.next.state == LY_SAGA_ATTESTING)
		attest_call(mv);
	mv->row.rec = mv->saga.next;
	st->migs[mv->row.vm] = mv->row;
	return true;
}

static void
place_vm(struct move *mv)
{
	struct ly_vm *v = mgr_vm_entry(mv->m, mv->row.vm);
	const struct ly_saga_rec *r = &mv->row.rec;

	if (r->state == LY_SAGA_COMMITTED) {
		mgr_host_place(&v->at, mv->row.to);
		v->epoch = r->epoch;
		v->state = mv->said ? mv->there : LY_VM_RUNNING;
		v->known = true;
		v->lost = false;
	} else if (r->state == LY_SAGA_ABORTING && r->lost) {
		v->lost = true;
	} else if (r->state == LY_SAGA_ABORTED && r->lost && !r->tell) {
		v->lost = false;
	} else {
		return;
	}
	mgr_save_vm_later(mv->m, mv->row.vm);
}

static void
move_forget(struct move *mv, enum ly_step step)
{
	ask_forget(mv->m, mv->req[step]);
	mv->req[step] = 0;
}

static void
moved(struct move *mv)
{
	LOG("vm%u saga: %s", mv->row.vm,
	    ly_saga_state_name(mv->saga.rec.state));
	if (mv->row.rec.fate)
		oracle_fate(mv->row.vm, &mv->row.id,
		    (enum ly_fate)mv->row.rec.fate, mv->row.rec.epoch,
		    "its manager");
	place_vm(mv);
}

/* True if something is found out by doing it: SAVED, DECIDED. */
static bool
move_do(struct move *mv, const struct ly_saga_todo *t,
    struct ly_saga_event *found)
{
	switch (t->act) {
	case LY_SAGA_SAVE:
		*found = (struct ly_saga_event){ .kind = LY_SAGA_SAVED,
			.ok = save_move(mv) };
		return true;
	case LY_SAGA_APPRAISE:
		*found = (struct ly_saga_event){ .kind = LY_SAGA_DECIDED,
			.ok = attest_appraise(mv) };
		return true;
	case LY_SAGA_ASK:
		move_ask(mv, t->step);
		break;
	case LY_SAGA_FORGET:
		move_forget(mv, t->step);
		break;
	case LY_SAGA_MOVED:
		moved(mv);
		break;
	case LY_SAGA_REFUSE:
		mv->refused = t->text;
		break;
	case LY_SAGA_SLOW:
		break;
	}
	return false;
}

static void
move_feed(struct move *mv, const struct ly_saga_event *ev)
{
	struct ly_saga_event now = *ev;
	bool more = true;

	while (more) {
		struct ly_saga_event found;
		struct ly_saga_todos todo;

		more = false;
		cover(M_SAGA, mv->saga.rec.state, now.kind);
		ly_saga_step(&mv->saga, &now, &todo);
		for (unsigned i = 0; i < todo.n; i++)
			more |= move_do(mv, &todo.act[i], &found);
		if (more)
			now = found;
	}
	if (!ly_saga_over(mv->saga.rec.state) || mv->told)
		return;
	mv->told = true;
	mgr_vm_entry(mv->m, mv->row.vm)->saga = NULL;
	if (mv->saga.rec.fate == LY_FATE_CLAIMED)
		stats.claimed++;
	else
		stats.aborted++;
}

struct move *
mgr_move_new(struct manager *m, unsigned vm)
{
	struct move *mv = &m->moves[vm];

	*mv = (struct move){ .used = true, .m = m };
	mgr_vm_entry(m, vm)->saga = mv;
	return mv;
}

static void
watch_source(struct move *mv)
{
	struct manager *m = mv->m;

	if (mv->saga.rec.state != LY_SAGA_COPYING || m->host[mv->row.from]) {
		mv->gone_ms = 0;
		return;
	}
	if (!mv->gone_ms)
		mv->gone_ms = now_ms(m);
	if (now_ms(m) - mv->gone_ms >= HOST_LOST_MS)
		mgr_move_tell(mv, LY_SAGA_HOST_LOST);
}

static void
move_tick(struct move *mv)
{
	if (mv->told) {
		for (unsigned i = 0; i < LY_STEPS; i++)
			ask_forget(mv->m, mv->req[i]);
		mv->used = false;
		return;
	}
	watch_source(mv);
	for (unsigned i = 0; i < LY_STEPS; i++)
		if ((mv->saga.asked & (1u << i)) && !mv->req[i])
			move_feed(mv,
			    &(struct ly_saga_event){ .kind = LY_SAGA_LATE,
				.step = (enum ly_step)i });
	mgr_move_tell(mv, LY_SAGA_TICK);
}

/* ---- its hosts ---- */

static void
move_heard(struct move *mv, unsigned host, uint8_t state)
{
	if (mv->row.to != host)
		return;
	mv->there = state;
	mv->said = state != LY_VM_INCOMING;
}

static void
host_gone(struct manager *m, unsigned host)
{
	m->host[host] = NULL;
	for (unsigned i = 0; i < w.vms_n; i++) {
		struct ly_vm *v = mgr_vm_entry(m, i);

		if (v && mgr_host_at(&v->at) == host)
			v->known = false;
	}
}

static enum ly_rc
on_frame(struct end *e, unsigned type, const union ly_any *msg)
{
	struct manager *m = e->arg;
	unsigned host = net_peer(e)->node->index;
	struct ly_vm *v;

	if (type == LY_ANNOUNCE) {
		if (m->host[host])
			net_close(m->host[host], LY_FENCED);
		host_gone(m, host);
		for (unsigned i = 0; i < VMS; i++)
			if (m->moves[i].used)
				move_heard(&m->moves[i], host, LY_VM_NONE);
		m->host[host] = e;
		for (unsigned i = 0; i < ASKS; i++)
			if (m->asks[i].used && m->asks[i].host == host)
				mgr_send_ask(m, &m->asks[i]);
	} else if (type == LY_DONE) {
		for (unsigned i = 0; i < ASKS; i++)
			if (m->asks[i].used &&
			    m->asks[i].req == msg->done.req &&
			    m->host[host] == e) {
				ask_over(m, &m->asks[i], &msg->done);
				break;
			}
	} else if (type == LY_VMSTATE) {
		v = ly_roster_vm(&m->roster, &msg->vmstate.vm);
		if (v && v->saga)
			move_heard(v->saga, host, msg->vmstate.state);
		if (v && mgr_host_at(&v->at) == host) {
			v->known = true;
			v->state = msg->vmstate.state;
			v->epoch = ly_max(v->epoch, msg->vmstate.epoch);
		}
	} else if (type == LY_PROGRESS) {
		v = ly_roster_vm(&m->roster, &msg->progress.vm);
		for (unsigned i = 0; v && v->saga && i < ASKS; i++)
			if (m->asks[i].used && m->asks[i].move == v->saga &&
			    m->asks[i].step == LY_STEP_COPY)
				m->asks[i].deadline = now_ms(m) +
				    m->asks[i].limit_ms;
	}
	return LY_OK;
}

static void
on_close(struct end *e)
{
	struct manager *m = e->arg;

	for (unsigned i = 0; i < HOSTS; i++)
		if (m->host[i] == e)
			host_gone(m, i);
}

const struct conn_ops manager_ops = {
	.on_frame = on_frame,
	.on_close = on_close,
};

/* ---- life ---- */

static void
on_tick(void *obj, uint64_t n)
{
	struct manager *m = obj;

	sim_after(TICK_US, on_tick, m, &m->node->gen, n + 1);
	asks_tick(m);
	if (n % 2)
		return;
	for (unsigned i = 0; i < VMS; i++) {
		struct ly_vm *v = m->moves[i].used || i < w.vms_n ?
		    mgr_vm_entry(m, i) :
		    NULL;

		if (m->moves[i].used)
			move_tick(&m->moves[i]);
		if (v && v->unsaved && mgr_save_vm(m, i))
			v->unsaved = false;
	}
}

static void
roster_init(struct manager *m)
{
	static struct ly_host *hosts[SITES];
	static struct ly_vm *vms[SITES];
	static uint32_t *buckets[SITES];
	struct ly_roster_mem mem;
	char site[8];

	if (!buckets[m->site]) {
		hosts[m->site] = calloc(HOSTS, sizeof(struct ly_host));
		vms[m->site] = calloc(VMS, sizeof(struct ly_vm));
		buckets[m->site] = malloc(3 * sizeof(uint32_t) * LY_BUCKETS);
	}
	if (!hosts[m->site] || !vms[m->site] || !buckets[m->site])
		abort();
	memset(buckets[m->site], 0, 3 * sizeof(uint32_t) * LY_BUCKETS);
	memset(hosts[m->site], 0, HOSTS * sizeof(struct ly_host));
	memset(vms[m->site], 0, VMS * sizeof(struct ly_vm));
	mem = (struct ly_roster_mem){ hosts[m->site], vms[m->site],
		buckets[m->site] };
	ly_print(site, sizeof(site), "s%u", m->site);
	ly_roster_init(&m->roster, site, &mem);
}

static void
load_vm(struct manager *m, unsigned vm)
{
	struct store *st = store_of(m);
	struct ly_id id = vm_id(vm);
	struct ly_vm *v;
	char name[8];
	struct move *mv;

	ly_print(name, sizeof(name), "vm%u", vm);
	if (ly_roster_add_vm(&m->roster, &id, name, &v, NULL) != LY_OK)
		abort();
	mgr_host_place(&v->home, w.vm_home[vm]);
	if (!st->vms[vm].used)
		return;
	v->bound = st->vms[vm].bound;
	v->lost = st->vms[vm].lost;
	v->epoch = st->vms[vm].epoch;
	mgr_host_place(&v->at, st->vms[vm].at);
	if (!st->migs[vm].used || ly_saga_over(st->migs[vm].rec.state))
		return;
	mv = mgr_move_new(m, vm);
	mv->row = st->migs[vm];
	ly_saga_load(&mv->saga, &mv->row.rec);
}

void
manager_boot(struct manager *m)
{
	struct node *n = m->node;

	n->up = true;
	n->gen++;
	n->doomed = n->frozen = false;
	m->last_req += 1000;
	roster_init(m);
	for (unsigned i = 0; i < w.vms_n; i++)
		if (manager_of(i) == m)
			load_vm(m, i);
	for (unsigned i = 0; i < VMS; i++)
		if (m->moves[i].used) {
			place_vm(&m->moves[i]);
			mgr_move_tell(&m->moves[i], LY_SAGA_GO);
		}
	for (unsigned i = 0; i < w.vms_n; i++)
		if (manager_of(i) == m && !mgr_vm_entry(m, i)->bound) {
			struct ask *a;

			(void)mgr_job_begin(m, i, JOB_ADD);
			a = mgr_job_ask(m, i, w.vm_home[i], LY_BIND, LONG_MS,
			    STAGE_GO);
			if (a)
				mgr_send_ask(m, a);
		}
	sim_after(TICK_US, on_tick, m, &n->gen, 0);
}

void
manager_kill(struct manager *m)
{
	struct node *n = m->node;
	uint32_t last = m->last_req;
	unsigned site = m->site;

	net_node_gone(n, false);
	n->up = n->doomed = false;
	n->gen++;
	memset(m, 0, sizeof(*m));
	m->node = n;
	m->site = site;
	m->last_req = last;
}

bool
manager_quiet(const struct manager *m)
{
	if (!m->node->up)
		return false;
	for (unsigned i = 0; i < VMS; i++)
		if (m->moves[i].used || m->jobs[i].kind != JOB_NONE)
			return false;
	return true;
}
