/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a world: faults, lies, and what operators ask for. All are
 * drawn beforehand from the world's seed, as a list; a run may leave any of
 * them out (that is how a failure is shrunk), and the others stay as they are.
 * Each comes at its time, or with the first message of a kind after it: then it
 * hits that message's connection, sender or receiver.
 */
#include "tests/sim/sim.h"

enum kind {
	OP_MIGRATE,
	OP_START,
	OP_STOP,
	OP_CANCEL,
	CUT,
	STALL,
	BLOCK,
	KILL,
	FREEZE,
	REBOOT,
	KILL_MANAGER,
	DISK_FULL,
	DISK_TORN,
	STORE_FULL,
	TPM_SLOW,
	TPM_DIE,
	QEMU_DIE,
	CLOCK,
	OLD_FILE,
	LIE,
	KINDS
};

static const struct {
	const char *name;
	unsigned weight;
	bool aimed; /* at a message */
} rows[KINDS] = {
	[OP_MIGRATE] = { "migrate", 300, false },
	[OP_START] = { "start", 60, false },
	[OP_STOP] = { "stop", 8, false },
	[OP_CANCEL] = { "cancel", 20, true },
	[CUT] = { "cut", 160, true },
	[STALL] = { "stall", 50, true },
	[BLOCK] = { "block", 40, true },
	[KILL] = { "kill", 40, true },
	[FREEZE] = { "freeze", 20, true },
	[REBOOT] = { "reboot", 12, true },
	[KILL_MANAGER] = { "kill-manager", 20, true },
	[DISK_FULL] = { "disk-full", 12, true },
	[DISK_TORN] = { "disk-torn", 12, true },
	[STORE_FULL] = { "store-full", 10, true },
	[TPM_SLOW] = { "tpm-slow", 16, false },
	[TPM_DIE] = { "tpm-die", 12, true },
	[QEMU_DIE] = { "qemu-die", 14, true },
	[CLOCK] = { "clock", 8, false },
	[OLD_FILE] = { "old-file", 6, false },
	[LIE] = { "lie", 40, false },
};

static const uint8_t moments[] = { LY_ATTACH, LY_RESUME, LY_GRANTED, LY_COMMAND,
	LY_ANSWER, LY_PRESTAGE, LY_STAGED, LY_RELEASE, LY_RELEASED, LY_CLAIM,
	LY_CLAIM, LY_QUOTE, LY_KEY, LY_IMPORT, LY_UNLOCK, LY_ABORT, LY_QUERY,
	LY_OUTCOME, LY_OUTCOME, LY_FIN, LY_FIN, LY_READY, LY_PREPARE, LY_COPY,
	LY_DONE, LY_DATA, LY_ASK, LY_SETTLE, LY_DROP, LY_DETACH, LY_DETACHED,
	LY_START, LY_GRANTED, WHEN_WRITE, WHEN_WRITE };

static unsigned armed[ITEMS], armed_n;

void
fault_print(unsigned i)
{
	const struct item *it = &w.item[i];
	const struct ly_message *m = ly_message_of(it->when);

	printf("  %3u  at %6llu ms  %-12s %s %u %u\n", i,
	    (unsigned long long)(it->at / MS), rows[it->kind].name,
	    it->when == WHEN_WRITE ? "with a write" :
		m		   ? m->name :
				     "",
	    it->a, it->b);
}

/* ---- what they do ---- */

static struct conn *
any_conn(uint32_t a, uint8_t purpose)
{
	for (unsigned i = 0; i < CONNS; i++) {
		struct conn *c = &w.conn[(i + a) % CONNS];

		if (c->used && !c->cut && c->end[1].there &&
		    (!purpose || c->purpose == purpose) &&
		    c->end[0].link.state == LY_LINK_UP &&
		    c->end[1].link.state == LY_LINK_UP)
			return c;
	}
	return NULL;
}

static void
on_unblock(void *obj, uint64_t pair)
{
	(void)obj;
	w.blocked[pair / NODES][pair % NODES] = false;
}

static void
on_thaw(void *obj, uint64_t arg)
{
	struct node *n = obj;

	(void)arg;
	n->frozen = false;
}

static void
on_agent_boot(void *obj, uint64_t arg)
{
	(void)arg;
	agent_boot(obj);
}

static void
on_manager_boot(void *obj, uint64_t arg)
{
	struct manager *m = obj;

	(void)arg;
	if (!m->node->up)
		manager_boot(m);
}

static void
on_kill(void *obj, uint64_t arg)
{
	uint64_t back_us = arg >> 1;
	struct node *n = obj;
	struct manager *m;

	if (!n->up)
		return;
	if (n->index < HOSTS) {
		agent_kill(&w.agent[n->index], arg & 1);
		sim_after(back_us, on_agent_boot, &w.agent[n->index], NULL, 0);
	} else {
		m = &w.manager[n->index - HOSTS];
		LOG("manager %u killed", m->site);
		stats.kills++;
		manager_kill(m);
		sim_after(back_us, on_manager_boot, m, NULL, 0);
	}
}

static void
on_reboot(void *obj, uint64_t arg)
{
	struct node *n = obj;

	(void)arg;
	if (n->machine_up && n->index < HOSTS)
		host_reboot(n->index);
}

static void
on_room(void *obj, uint64_t arg)
{
	(void)arg;
	*(bool *)obj = false;
}

static void
on_quick(void *obj, uint64_t arg)
{
	struct tpm *t = obj;

	(void)arg;
	t->slow_us = 0;
}

static void
on_tpm_start(void *obj, uint64_t arg)
{
	(void)arg;
	tpm_start(obj);
}

static void
on_cut(void *obj, uint64_t arg)
{
	(void)arg;
	net_cut(obj);
}

static uint64_t
some_time(uint32_t b)
{
	static const uint64_t us[] = { MS, 20 * MS, 200 * MS, 800 * MS, 3 * SEC,
		5 * SEC, 12 * SEC, 35 * SEC };

	return us[b % LY_COUNT(us)] + (b >> 8) % 1000;
}

/* The node that is meant: of the message, or any. */
static struct node *
victim(const struct item *it, struct end *e)
{
	if (!e)
		return &w.node[it->a % HOSTS];
	return it->a & 1 ? e->node : net_peer(e)->node;
}

static void
kill(struct node *n, uint32_t b)
{
	if (!n->up || n->doomed)
		return;
	n->doomed = b & 0x10000;
	sim_after(b & 0x10000 ? 0 : b % 3000, on_kill, n, &n->gen,
	    some_time(b) << 1 | (b >> 17) % 5 / 4);
}

static void
block(struct conn *c, uint32_t b)
{
	unsigned from, to;

	if (!c || !c->end[1].there)
		return;
	from = c->end[0].node->index;
	to = c->to;
	w.blocked[from][to] = true;
	sim_after(some_time(b), on_unblock, NULL, NULL, from * NODES + to);
	if (b & 0x10000)
		net_stall(c, some_time(b));
	else
		sim_after(0, on_cut, c, &c->gen, 0);
}

/* An old record file put back while its home is down: the vault refuses it, so
 * the home stays away until the right one is there again. */
static void
old_file(unsigned host, uint32_t b)
{
	struct node *n = &w.node[host];

	if (!n->up)
		return;
	agent_kill(&w.agent[host], true);
	sim_after(some_time(b) + SEC, on_agent_boot, &w.agent[host], NULL, 0);
}

static void
tpm_fault(const struct item *it)
{
	struct tpm *t = &w.tpm[it->a % w.vms_n];

	if (it->kind == TPM_SLOW) {
		t->slow_us = some_time(it->b);
		sim_after(2 * SEC, on_quick, t, NULL, 0);
	} else {
		tpm_die(t);
		sim_after(some_time(it->b), on_tpm_start, t, NULL, 0);
	}
}

static void
qemu_fault(uint32_t a)
{
	for (unsigned i = 0; i < QEMUS; i++) {
		struct qemu *q = &w.qemu[(a + i) % QEMUS];

		if (!q->used)
			continue;
		qemu_kill(q);
		return;
	}
}

static void
on_qemu_fault(void *obj, uint64_t a)
{
	(void)obj;
	qemu_fault((uint32_t)a);
}

static void
full(bool *which, uint32_t b)
{
	*which = true;
	sim_after(some_time(b), on_room, which, NULL, 0);
}

static void
operate(const struct item *it)
{
	unsigned vm = it->a % w.vms_n, host = it->b % HOSTS;

	switch (it->kind) {
	case OP_MIGRATE:
		manager_migrate(vm, host);
		break;
	case OP_START:
		manager_start(vm, host, it->b & 0x10000);
		break;
	case OP_STOP:
		manager_stop(vm, it->b & 0x10000);
		break;
	default:
		manager_cancel(vm);
		break;
	}
}

static void
on_operate(void *obj, uint64_t arg)
{
	(void)arg;
	operate(obj);
}

static void
happen(const struct item *it, struct end *e)
{
	struct conn *c = e ? e->c : any_conn(it->a, 0);
	struct node *n = victim(it, e);

	stats.faults++;
	LOG("fault %u: %s", (unsigned)(it - w.item), rows[it->kind].name);
	switch ((enum kind)it->kind) {
	case OP_MIGRATE:
	case OP_START:
	case OP_STOP:
	case OP_CANCEL:
		sim_after(0, on_operate, (void *)(uintptr_t)it, NULL, 0);
		break;
	case CUT:
		if (c)
			sim_after(it->b & 1 ? 0 : it->b % (c->lat_us * 2),
			    on_cut, c, &c->gen, 0);
		break;
	case STALL:
		if (c)
			net_stall(c, some_time(it->b));
		break;
	case BLOCK:
		block(c, it->b);
		break;
	case KILL:
		kill(n, it->b);
		break;
	case FREEZE:
		n->frozen = true;
		sim_after(some_time(it->b), on_thaw, n, &n->gen, 0);
		break;
	case REBOOT:
		sim_after(it->b % 2000, on_reboot, n, &n->gen, 0);
		break;
	case KILL_MANAGER:
		kill(&w.node[HOSTS + it->a % SITES], it->b);
		break;
	case DISK_FULL:
		full(&w.disk[w.vm_home[it->a % w.vms_n]].full, it->b);
		break;
	case DISK_TORN:
		w.disk[w.vm_home[it->a % w.vms_n]].torn = true;
		break;
	case STORE_FULL:
		full(&w.store[it->a % SITES].full, it->b);
		break;
	case TPM_SLOW:
	case TPM_DIE:
		tpm_fault(it);
		break;
	case QEMU_DIE:
		sim_after(0, on_qemu_fault, NULL, NULL, it->a);
		break;
	case CLOCK:
		w.node[it->a % NODES].wall_off_s = it->b >> 29 ?
		    (int64_t)(it->b % 7200) - 3600 :
		    20 * 86400;
		break;
	case OLD_FILE:
		old_file(w.vm_home[it->a % w.vms_n], it->b);
		break;
	case LIE:
		lie(it->a, it->b);
		break;
	case KINDS:
		break;
	}
}

/* ---- when ---- */

/* In some worlds one command in a hundred loses its link, or its answer does. */
static void
leak(struct end *e, unsigned type)
{
	struct conn *c = e->c;

	if (!w.leaky || w.healing ||
	    (type != LY_COMMAND && type != LY_ANSWER) ||
	    !sim_chance(&c->rng, 5))
		return;
	stats.faults++;
	sim_after(sim_below(&c->rng, 2 * c->lat_us), on_cut, c, &c->gen, 0);
}

void
fault_message(struct end *e, unsigned type)
{
	leak(e, type);
	for (unsigned i = 0; i < armed_n; i++) {
		const struct item *it = &w.item[armed[i]];

		if (it->when != type)
			continue;
		armed[i] = armed[--armed_n];
		happen(it, e);
		return;
	}
}

void
fault_write(struct agent *a)
{
	for (unsigned i = 0; i < armed_n; i++) {
		const struct item *it = &w.item[armed[i]];

		if (it->when != WHEN_WRITE)
			continue;
		armed[i] = armed[--armed_n];
		if (it->kind == KILL)
			kill(a->node, it->b | 0x10000);
		else if (it->kind == REBOOT)
			sim_after(0, on_reboot, a->node, &a->node->gen, 0);
		else if (it->kind == DISK_FULL)
			full(&w.disk[a->host].full, it->b);
		else if (it->kind == DISK_TORN)
			w.disk[a->host].torn = true;
		else
			happen(it, NULL);
		return;
	}
}

static void
on_item(void *obj, uint64_t i)
{
	struct item *it = obj;

	if (w.healing)
		return;
	if (it->when)
		armed[armed_n++] = (unsigned)i;
	else
		happen(it, NULL);
}

static enum kind
draw_kind(uint64_t *rng)
{
	unsigned sum = 0, at;

	for (unsigned i = 0; i < KINDS; i++)
		sum += rows[i].weight;
	at = (unsigned)(sim_rnd(rng) % sum);
	for (unsigned i = 0; i < KINDS; i++) {
		if (at < rows[i].weight)
			return (enum kind)i;
		at -= rows[i].weight;
	}
	return OP_MIGRATE;
}

void
fault_plan(const bool *on)
{
	uint64_t rng = w.seed ^ UINT64_C(0xfa017);
	unsigned liars = sim_rnd(&rng) % 4 == 0;

	armed_n = 0;
	w.items_n = 20 + (unsigned)(sim_rnd(&rng) % 100);
	for (unsigned i = 0; i < w.items_n; i++) {
		struct item *it = &w.item[i];

		it->kind = (uint8_t)draw_kind(&rng);
		it->at = 2 * SEC + sim_rnd(&rng) % (w.calm_at - 2 * SEC);
		it->when = rows[it->kind].aimed && sim_rnd(&rng) % 3 ?
		    moments[sim_rnd(&rng) % LY_COUNT(moments)] :
		    0;
		it->a = (uint32_t)sim_rnd(&rng);
		it->b = (uint32_t)sim_rnd(&rng);
		if (it->kind == LIE && !liars)
			it->kind = OP_MIGRATE;
		if (on[i])
			sim_after(it->at, on_item, it, NULL, i);
	}
}

/* Everything that was broken works again. */
void
fault_heal(void)
{
	w.healing = true;
	armed_n = 0;
	memset(w.blocked, 0, sizeof(w.blocked));
	for (unsigned i = 0; i < NODES; i++) {
		w.node[i].frozen = false;
		w.node[i].wall_off_s = 0;
	}
	for (unsigned i = 0; i < CONNS; i++)
		w.conn[i].stall_until = 0;
	for (unsigned i = 0; i < HOSTS; i++)
		w.disk[i].full = w.disk[i].torn = false;
	for (unsigned i = 0; i < SITES; i++) {
		w.store[i].full = false;
		on_manager_boot(&w.manager[i], 0);
	}
	for (unsigned i = 0; i < w.vms_n; i++) {
		w.tpm[i].slow_us = 0;
		tpm_start(&w.tpm[i]);
	}
	for (unsigned i = 0; i < HOSTS; i++)
		agent_boot(&w.agent[i]);
}
