/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The laws, asked by somebody who sees all of the world at once. The first one
 * broken ends the run.
 */
#include "tests/sim/sim.h"

#include <stdarg.h>

struct run_seen *runs;
size_t runs_room;

void
law_broken(const char *fmt, ...)
{
	va_list ap;

	if (w.broken)
		return;
	w.broken = true;
	va_start(ap, fmt);
	(void)vsnprintf(w.law, sizeof(w.law), fmt, ap);
	va_end(ap);
	LOG("LAW BROKEN: %s", w.law);
}

/* One holder to an epoch, and the epochs only rise. */
void
oracle_granted(unsigned vm, uint64_t epoch, const char *who)
{
	struct vm_seen *v = &w.vm[vm];
	unsigned host = host_of_who(who);
	uint8_t *holder = &v->holder[epoch % EPOCHS];

	if (epoch < v->epoch)
		law_broken("VM %u: epoch %llu is used after %llu", vm,
		    (unsigned long long)epoch, (unsigned long long)v->epoch);
	if (epoch > v->epoch) {
		v->epoch = epoch;
		*holder = 0;
	}
	if (*holder && *holder != host + 1)
		law_broken("VM %u: epoch %llu has two holders, h%u and h%u", vm,
		    (unsigned long long)epoch, *holder - 1u, host);
	*holder = (uint8_t)(host + 1);
}

/* Nothing is believed that is not on disk. */
void
oracle_record(const struct home *h)
{
	const struct disk *d = &w.disk[h->agent->host];

	const struct ly_record *rec = &d->rec[h->vm];

	if (!d->drift && memcmp(&h->core.rec, rec, sizeof(*rec)) != 0 &&
	    (!h->core.writing || memcmp(&h->core.next, rec, sizeof(*rec)) != 0))
		law_broken("VM %u: its home's record is not what is on disk",
		    h->vm);
}

void
oracle_synced(unsigned host)
{
	for (unsigned i = 0; i < w.vms_n; i++) {
		const struct ly_record *rec = &w.disk[host].rec[i];

		if (w.vm_home[i] != host || !w.disk[host].has[i])
			continue;
		if (rec->epoch < w.vm[i].synced)
			law_broken("VM %u: the record's epoch falls from %llu"
				   " to %llu",
			    i, (unsigned long long)w.vm[i].synced,
			    (unsigned long long)rec->epoch);
		w.vm[i].synced = rec->epoch;
	}
}

void
oracle_ran(unsigned vm, const struct tpm_cmd *c, const struct tpm_rsp *r)
{
	struct run_seen *seen;

	if (c->id > w.cmd_serial)
		return; /* a liar's own */
	while (c->id >= runs_room) {
		size_t room = runs_room ? 2 * runs_room : 65536;

		runs = realloc(runs, room * sizeof(*runs));
		if (!runs)
			abort();
		memset(runs + runs_room, 0, (room - runs_room) * sizeof(*runs));
		runs_room = room;
	}
	seen = &runs[c->id];
	if (seen->runs++ && !w.vm[vm].tainted)
		law_broken("VM %u: command %llu ran twice", vm,
		    (unsigned long long)c->id);
	seen->rsp = *r;
}

/* A real answer is that of the command's one run, and the TPM has had exactly
 * the commands the guest knows of. */
void
oracle_answer(struct qemu *q, const uint8_t *at, size_t len)
{
	struct ly_rd r = ly_rd_over(at, len);
	struct tpm_rsp rsp = { ly_rd_u64(&r), ly_rd_u64(&r), ly_rd_u64(&r) };
	struct guest *g = &q->guest;
	uint64_t chain = tpm_mix(g->chain, g->cmd.x);

	if (len != TPM_RSP_LEN || w.vm[q->vm].tainted)
		return;
	stats.answers++;
	if (rsp.id != g->cmd.id || rsp.id >= runs_room || !runs[rsp.id].runs ||
	    memcmp(&runs[rsp.id].rsp, &rsp, sizeof(rsp)) != 0)
		law_broken("VM %u: command %llu was answered, but not as it"
			   " ran",
		    q->vm, (unsigned long long)g->cmd.id);
	else if (g->broken)
		law_broken("VM %u: its TPM failed, and works again without a"
			   " reset",
		    q->vm);
	else if (rsp.chain != chain || rsp.count != g->commands + 1)
		law_broken("VM %u: command %llu: the TPM has had %llu"
			   " commands, the guest knows of %llu",
		    q->vm, (unsigned long long)rsp.id,
		    (unsigned long long)rsp.count,
		    (unsigned long long)g->commands + 1);
	g->chain = rsp.chain;
	g->commands++;
}

void
oracle_cause(unsigned vm)
{
	w.vm[vm].cause_at = w.now;
}

/* Fail-stop is for what is lost, and for nothing else. */
void
oracle_failure(const struct qemu *q)
{
	const struct vm_seen *v = &w.vm[q->vm];

	if (!v->tainted && !q->guest.broken &&
	    (!v->cause_at || w.now - v->cause_at > 120 * SEC))
		law_broken("VM %u: its TPM fails for no reason", q->vm);
}

/* Who holds the lease is never told that another does. */
void
oracle_fenced(const struct vm *vm)
{
	const struct ly_record *rec = &w.disk[vm->home].rec[vm->vm];

	oracle_cause(vm->vm);
	if (!w.vm[vm->vm].tainted && rec->state != LY_REC_DETACHED &&
	    rec->epoch == vm->core.epoch &&
	    strcmp(rec->holder, who_of(vm->agent->host)) == 0)
		law_broken("VM %u: its holder is fenced off", vm->vm);
}

/* What became of a migration is told once and for ever. */
void
oracle_fate(unsigned vm, const struct ly_id *mig, enum ly_fate fate,
    uint64_t epoch, const char *where)
{
	uint64_t n = mig_no(mig);
	struct mig_seen *seen = &w.mig[n % MIGS];

	(void)epoch;
	if (!n || n > w.mig_serial || fate < LY_FATE_CLAIMED ||
	    seen->vm != vm || /* a liar mixes them */
	    w.vm[seen->vm].tainted)
		return;
	LOG("vm%u migration %llu: %s says %s", seen->vm, (unsigned long long)n,
	    where, ly_fate_name(fate));
	if (seen->fate && seen->fate != fate)
		law_broken("VM %u: %s says that migration %llu was %s",
		    seen->vm, where, (unsigned long long)n, ly_fate_name(fate));
	seen->fate = fate;
}

static unsigned
running(unsigned vm, struct qemu **one)
{
	unsigned n = 0;

	for (unsigned i = 0; i < QEMUS; i++)
		if (qemu_runs(&w.qemu[i]) && w.qemu[i].vm == vm) {
			*one = &w.qemu[i];
			n++;
		}
	return n;
}

void
oracle_copies(void)
{
	struct qemu *q;

	for (unsigned i = 0; i < w.vms_n; i++)
		if (!w.vm[i].tainted && running(i, &q) > 1)
			law_broken("VM %u runs twice", i);
}

static bool
not_yet(char why[200], const char *fmt, unsigned a, unsigned b)
{
	char text[100];

	/* Only these formats: "... %u ... %u". */
	(void)snprintf(text, sizeof(text), "%s", fmt);
	(void)snprintf(why, 200, "%s (%u, %u)", text, a, b);
	return false;
}

bool
oracle_settled(char why[200])
{
	for (unsigned i = 0; i < SITES; i++)
		if (!manager_quiet(&w.manager[i]))
			return not_yet(why, "a manager waits", i, 0);
	for (unsigned i = 0; i < QEMUS; i++)
		if (w.qemu[i].used && !w.qemu[i].shell)
			return not_yet(why,
			    "nobody looks after a QEMU (host,"
			    " VM)",
			    w.qemu[i].host, w.qemu[i].vm);
	for (unsigned i = 0; i < HOSTS; i++) {
		const struct agent *a = &w.agent[i];

		if (!a->node->up)
			return not_yet(why, "a host is down", i, 0);
		for (unsigned k = 0; k < LY_COUNT(a->vms); k++)
			if ((a->sources[k].used || a->dests[k].used) &&
			    !w.vm[a->vms[k].vm].tainted)
				return not_yet(why,
				    "a migration has not ended (host, VM)", i,
				    a->vms[k].vm);
		for (unsigned k = 0; k < VMS; k++)
			if (a->homes[k].used && !w.vm[k].tainted &&
			    (a->homes[k].core.writing ||
				a->homes[k].core.rec.state >= LY_REC_PREPARED))
				return not_yet(why,
				    "a record is in between (host, VM)", i, k);
	}
	return true;
}

static const char *
told_state(unsigned vm)
{
	struct ly_id id = vm_id(vm);

	return ly_vmstate_name(
	    ly_roster_vm(&manager_of(vm)->roster, &id)->state);
}

/* A VM that does not run is known to be down. */
static bool
is_reported(unsigned vm)
{
	struct ly_id id = vm_id(vm);
	const struct ly_vm *v = ly_roster_vm(&manager_of(vm)->roster, &id);

	for (unsigned i = 0; i < QEMUS; i++) /* its guard lets it go on soon */
		if (w.qemu[i].used && w.qemu[i].vm == vm && w.qemu[i].shell &&
		    w.qemu[i].shell->guard.ours)
			return true;
	return v->state == LY_VM_NONE || v->state == LY_VM_FAILED ||
	    v->state == LY_VM_STARTING || v->state == LY_VM_PAUSED ||
	    !v->known || v->lost;
}

/* Longer than away waits for a home out of reach before it fails it. */
static bool
waits_long(const struct qemu *q)
{
	return q->guest.waiting &&
	    w.now - q->asked_at > (LY_GRACE_MS + 5000) * MS;
}

static bool
runs_well(const struct qemu *q)
{
	return q->session && q->shell && !q->shell->orphan &&
	    !q->guest.broken && !waits_long(q) && q->guest.commands > 2;
}

/* One that has been down for a while is said to be, and is started anew. Its
 * guard may have stopped it for the time a home is out of reach. */
static void
mend(unsigned vm, struct qemu *q, unsigned n)
{
	struct vm_seen *v = &w.vm[vm];
	bool heals = n == 1 && q->session && q->shell && !q->shell->orphan &&
	    q->shell->core.state != LY_AWAY_DEAD;

	if (!v->ill_since)
		v->ill_since = w.now;
	if (n == 1 || is_reported(vm))
		v->absent_since = 0;
	else if (!v->absent_since)
		v->absent_since = w.now;
	else if (w.now - v->absent_since > 20 * SEC)
		law_broken("VM %u does not run, and its manager says it is %s",
		    vm, told_state(vm));
	if (heals || w.now - v->ill_since < 45 * SEC)
		return;
	v->ill_since = w.now;
	stats.cold++;
	manager_start(vm, q ? q->host : w.vm_home[vm], true);
}

bool
oracle_whole(char why[200])
{
	bool whole = true;

	for (unsigned i = 0; i < w.vms_n; i++) {
		struct qemu *q = NULL;
		unsigned n = running(i, &q);

		if (w.vm[i].tainted)
			continue;
		if (n == 1 && runs_well(q)) {
			w.vm[i].ill_since = w.vm[i].absent_since = 0;
			continue;
		}
		whole = not_yet(why,
		    !n			? "a VM does not run (VM, copies)" :
			!q->session	? "a guest has lost its TPM (VM)" :
			waits_long(q)	? "a guest waits (VM)" :
			q->guest.broken ? "a guest's TPM has failed (VM)" :
					  "a guest has said little (VM)",
		    i, n);
		mend(i, q, n);
	}
	return whole;
}
