/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer that lies: on a connection that is its own, with its own certificate,
 * it says what it has no right to say, with numbers that are nearly right.
 *
 * A host that neither holds a VM nor is its destination can say what it likes,
 * and nobody may notice. The holder has the right to spoil its own VM's TPM,
 * and a home that of the VMs it serves; then that VM is `tainted`, and only the
 * others are watched.
 */
#include "tests/sim/sim.h"

static uint64_t
near(uint64_t n, uint32_t how)
{
	switch (how % 6) {
	case 0:
		return n + 1;
	case 1:
		return n - 1;
	case 2:
		return how & 8 ? UINT64_MAX : 0;
	default:
		return n;
	}
}

static struct conn *
some_link(uint32_t a)
{
	for (unsigned i = 0; i < CONNS; i++) {
		struct conn *c = &w.conn[(i + a) % CONNS];

		if (c->used && !c->cut && c->purpose == LY_FOR_LINK &&
		    c->end[1].there && c->end[0].link.state == LY_LINK_UP &&
		    c->end[1].link.state == LY_LINK_UP)
			return c;
	}
	return NULL;
}

static const struct ly_id *
some_mig(const struct ly_record *rec, uint32_t b, struct ly_id *out)
{
	if (b & 1)
		return &rec->mig;
	*out = mig_id(w.mig_serial - b % 3);
	return out;
}

/* From an away side. */
static void
to_home(struct end *e, const struct ly_record *rec, uint32_t b)
{
	static const uint8_t body[TPM_CMD_LEN] = { 0xff };
	uint32_t chan = b >> 4 & 1 ? CHANS - 1 : b >> 5 & 3;
	struct ly_id id, vm = rec->vm;
	const struct ly_id *mig = some_mig(rec, b, &id);
	uint64_t epoch = near(rec->epoch, b >> 8);
	uint64_t seq = near(w.agent[e->c->to].homes[vm_no(&vm)].core.seq,
	    b >> 12);
	struct ly_command command = { .chan = chan,
		.op = b >> 15 & 1,
		.epoch = epoch,
		.seq = seq,
		.body = { body, sizeof(body) } };
	struct ly_resume resume = { .chan = chan,
		.vm = vm,
		.epoch = epoch,
		.seq = seq,
		.waiting = b >> 16 & 1 };
	struct ly_attach attach = { chan, vm, { body, sizeof(body) } };
	struct ly_prestage prestage = { chan, vm, *mig,
		{ body, sizeof(body) } };
	struct ly_release release = { chan, *mig, epoch, seq };
	struct ly_claim claim = { chan, *mig, { body, sizeof(body) } };
	struct ly_query query = { vm, *mig };
	struct ly_detach detach = { chan, epoch };
	const void *m[] = { &command, &resume, &attach, &prestage, &release,
		&claim, &query, &query, &detach };
	static const unsigned types[] = { LY_COMMAND, LY_RESUME, LY_ATTACH,
		LY_PRESTAGE, LY_RELEASE, LY_CLAIM, LY_ABORT, LY_QUERY,
		LY_DETACH };
	unsigned i = (b >> 20) % LY_COUNT(types);

	LOG("h%u lies: %s", e->node->index, ly_message_of(types[i])->name);
	net_send(e, types[i], m[i]);
}

/* From a home. */
static void
to_away(struct end *e, const struct ly_record *rec, uint32_t b)
{
	static const uint8_t body[TPM_RSP_LEN] = { 0xff };
	uint32_t chan = b >> 5 & 3;
	struct ly_id id;
	const struct ly_id *mig = some_mig(rec, b, &id);
	uint64_t epoch = near(rec->epoch, b >> 8),
		 seq = near(rec->seq, b >> 12);
	struct ly_answer answer = { chan, epoch, seq, { body, sizeof(body) } };
	struct ly_granted granted = { chan, (uint8_t)(b >> 16 & 3), epoch, seq,
		{ 0 } };
	struct ly_refuse refuse = { chan, epoch, seq, LY_FENCED };
	struct ly_staged staged = { chan, LY_OK, epoch };
	struct ly_released released = { chan, *mig, LY_OK };
	struct ly_detached detached = { chan, LY_OK };
	struct ly_outcome outcome = { rec->vm, *mig, LY_OK,
		(uint8_t)(b >> 16 & 3), epoch };
	struct ly_fence fence = { chan, epoch };
	const void *m[] = { &answer, &granted, &refuse, &staged, &released,
		&detached, &outcome, &fence };
	static const unsigned types[] = { LY_ANSWER, LY_GRANTED, LY_REFUSE,
		LY_STAGED, LY_RELEASED, LY_DETACHED, LY_OUTCOME, LY_FENCE };
	unsigned i = (b >> 20) % LY_COUNT(types);

	LOG("h%u, a home, lies: %s", e->node->index,
	    ly_message_of(types[i])->name);
	net_send(e, types[i], m[i]);
}

/* All VMs of that home that the host runs, for a chan may be any of theirs. */
static void
taint(unsigned home, unsigned host)
{
	for (unsigned i = 0; i < w.vms_n; i++)
		if (w.vm_home[i] == home && vm_of(&w.agent[host], i))
			w.vm[i].tainted = true;
}

void
lie(uint32_t a, uint32_t b)
{
	struct conn *c = some_link(a);
	unsigned vm = (a >> 8) % w.vms_n;
	const struct ly_record *rec;

	for (unsigned i = 0; c && i < w.vms_n; i++)
		if (w.vm_home[(vm + i) % w.vms_n] == c->to) {
			vm = (vm + i) % w.vms_n;
			break;
		}
	if (!c || w.vm_home[vm] != c->to)
		return;
	rec = &w.disk[c->to].rec[vm];
	stats.lies++;
	if (b >> 30 == 3) {
		taint(c->to, c->end[0].node->index);
		to_away(&c->end[1], rec, b);
		return;
	}
	if (vm_of(&w.agent[c->end[0].node->index], vm) || !(b >> 4 & 1))
		taint(c->to, c->end[0].node->index);
	if (strcmp(rec->holder, c->end[0].node->who) == 0 ||
	    strcmp(rec->to, c->end[0].node->who) == 0)
		w.vm[vm].tainted = true;
	to_home(&c->end[0], rec, b);
}
