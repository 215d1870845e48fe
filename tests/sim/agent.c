/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An agent's process: what it loses with its life and finds at its start, and
 * what it says to managers. As agent/main.c and agent/io/control.c.
 */
#include "tests/sim/sim.h"

struct ly_id
mig_id(uint64_t serial)
{
	struct ly_id id = { { 0 } };
	struct ly_wr wr = ly_wr_over(id.b, sizeof(id.b));

	ly_wr_u64(&wr, UINT64_C(0x6d69670000000000));
	ly_wr_u64(&wr, serial);
	return id;
}

uint64_t
mig_no(const struct ly_id *id)
{
	struct ly_rd r = ly_rd_over(id->b, sizeof(id->b));

	if (ly_rd_u64(&r) != UINT64_C(0x6d69670000000000))
		return 0;
	return ly_rd_u64(&r);
}

unsigned
host_of_who(const char *who)
{
	for (unsigned i = 0; i < HOSTS; i++)
		if (strcmp(who, who_of(i)) == 0)
			return i;
	return HOSTS;
}

/* ---- to managers ---- */

void
agent_done(struct agent *a, uint32_t req, enum ly_rc rc, enum ly_fate fate,
    uint64_t epoch, const char *value)
{
	struct ly_done m = { .req = req,
		.rc = (uint8_t)rc,
		.fate = (uint8_t)fate,
		.epoch = epoch };

	if (!req || !a->manager[req >> 30])
		return;
	ly_copy(m.value, sizeof(m.value), value);
	net_send(a->manager[req >> 30], LY_DONE, &m);
}

void
agent_report(struct agent *a, unsigned vm, unsigned type, const void *m)
{
	struct end *e = a->manager[site_of(w.vm_home[vm])];

	if (e)
		net_send(e, type, m);
}

static void
hear(struct agent *a, unsigned type, const union ly_any *m)
{
	const struct ly_request *r = &m->request;

	LOG("host %u: %s from a manager", a->host, ly_message_of(type)->name);
	if (type == LY_BIND)
		home_bind(a, vm_no(&m->bind.vm), m->bind.req);
	else if (type == LY_ASK)
		home_ask(a, r, r->flag == 1);
	else if (type == LY_SHOW)
		home_show(a, vm_no(&r->vm), r->req);
	else if (type == LY_QUOTE || type == LY_KEY || type == LY_IMPORT ||
	    type == LY_UNLOCK)
		attest_request(a, type, m);
	else
		vms_request(a, type, m);
}

static enum ly_rc
on_frame(struct end *e, unsigned type, const union ly_any *m)
{
	hear(e->arg, type, m);
	return LY_OK;
}

static enum ly_rc
on_open(struct end *e)
{
	struct agent *a = e->arg;
	unsigned site = net_peer(e)->node->index - HOSTS;
	struct ly_announce hi = { .address = "" };

	a->manager[site] = e;
	net_send(e, LY_ANNOUNCE, &hi);
	for (unsigned i = 0; i < LY_COUNT(a->vms); i++)
		if (a->vms[i].used && site_of(w.vm_home[a->vms[i].vm]) == site)
			vm_report(&a->vms[i]);
	return LY_OK;
}

static void
on_close(struct end *e)
{
	struct agent *a = e->arg;

	for (unsigned i = 0; i < SITES; i++)
		if (a->manager[i] == e)
			a->manager[i] = NULL;
}

const struct conn_ops control_ops = {
	.on_open = on_open,
	.on_frame = on_frame,
	.on_close = on_close,
};

/* A connection that was dialled by somebody else. */
enum ly_rc
node_accept(struct end *e)
{
	unsigned n = e->node->index;
	struct agent *a = n < HOSTS ? &w.agent[n] : NULL;

	if (!a) {
		e->ops = &manager_ops;
		e->arg = &w.manager[n - HOSTS];
		return e->c->purpose == LY_FOR_CONTROL ? LY_OK : LY_REFUSED;
	}
	if (e->c->purpose == LY_FOR_STREAM)
		return move_stream(a, e);
	if (e->c->purpose != LY_FOR_LINK)
		return LY_REFUSED;
	e->ops = &visit_ops;
	e->arg = visitor_new(a, e, net_peer(e)->node->who, true);
	return e->arg ? LY_OK : LY_FULL;
}

/* ---- life ---- */

void
agent_boot(struct agent *a)
{
	struct node *n = a->node;

	if (n->up || !n->machine_up)
		return;
	n->up = true;
	n->frozen = n->doomed = false;
	homes_load(a);
	vms_wake(a);
	vms_adopt(a);
	for (unsigned i = 0; i < SITES; i++) {
		a->control[i] = (struct dial){ .gen = a->control[i].gen,
			.node = n,
			.to = HOSTS + i,
			.purpose = LY_FOR_CONTROL,
			.ops = &control_ops,
			.arg = a };
		net_dial_start(&a->control[i]);
	}
}

/* Every struct keeps its `gen`, one higher: what is queued for it is over. */
static void
forget_all(struct agent *a)
{
	for (unsigned i = 0; i < VMS; i++)
		a->homes[i] = (struct home){ .gen = a->homes[i].gen + 1 };
	for (unsigned i = 0; i < LY_COUNT(a->vms); i++) {
		a->vms[i] = (struct vm){ .gen = a->vms[i].gen + 1 };
		a->sources[i] = (struct source){ .gen = a->sources[i].gen + 1 };
		a->dests[i] = (struct dest){ .gen = a->dests[i].gen + 1 };
	}
	for (unsigned i = 0; i < LINKS; i++) {
		uint32_t gen = a->links[i].dial.gen;

		a->links[i] = (struct link){ .used = false };
		a->links[i].dial.gen = gen + 1;
	}
	for (unsigned i = 0; i < SITES; i++) {
		a->control[i] = (struct dial){ .gen = a->control[i].gen + 1 };
		a->manager[i] = NULL;
	}
	memset(a->doors, 0, sizeof(a->doors));
	memset(a->visitors, 0, sizeof(a->visitors));
	memset(a->past, 0, sizeof(a->past));
	memset(a->papers, 0, sizeof(a->papers));
	a->job = a->again = false;
}

static void
lose(struct agent *a, bool silent, bool kept)
{
	if (kept)
		keep_all(a);
	else
		keep_forget(a);
	net_node_gone(a->node, silent);
	a->node->up = a->node->doomed = false;
	a->node->gen++;
	for (unsigned i = 0; i < w.vms_n; i++)
		if (w.vm_home[i] == a->host) {
			tpm_client_gone(&w.tpm[i], kept);
			if (!kept)
				oracle_cause(i);
		}
	forget_all(a);
}

/* kill -9. Its QEMUs go on; if its keeper dies as well, without a TPM. */
void
agent_kill(struct agent *a, bool keeper)
{
	if (!a->node->up)
		return;
	LOG("host %u: agent killed%s", a->host, keeper ? ", and keeper" : "");
	stats.kills++;
	for (unsigned i = 0; i < QEMUS; i++) {
		struct qemu *q = &w.qemu[i];

		if (!q->used || q->host != a->host)
			continue;
		q->shell = NULL;
		if (keeper)
			qemu_session_lost(q);
	}
	lose(a, false, !keeper);
}

static void
on_boot(void *obj, uint64_t arg)
{
	struct agent *a = obj;

	(void)arg;
	a->node->machine_up = true;
	agent_boot(a);
}

/* Power off, and on again some time later. */
void
host_reboot(unsigned host)
{
	struct agent *a = &w.agent[host];
	struct node *n = a->node;

	LOG("host %u: power cycle", host);
	lose(a, true, false);
	n->skew_ms = 1 + sim_below(&n->rng, 100000);
	for (unsigned i = 0; i < QEMUS; i++)
		if (w.qemu[i].used && w.qemu[i].host == host) {
			w.qemu[i].shell = NULL;
			qemu_kill(&w.qemu[i]);
		}
	for (unsigned i = 0; i < w.vms_n; i++)
		if (w.vm_home[i] == host) {
			tpm_die(&w.tpm[i]);
			tpm_start(&w.tpm[i]);
		}
	n->machine_up = false;
	sim_after(SEC + sim_below(&n->rng, 5 * SEC), on_boot, a, &n->gen, 0);
}
