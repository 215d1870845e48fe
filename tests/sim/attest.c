/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an attested migration has that others have not: evidence, its appraisal,
 * and the key. Hosts answer QUOTE, KEY, IMPORT and UNLOCK, alike when asked
 * again; they refuse now and then, are busy, or never answer; and with its
 * agent's life a host loses what it knows of them. A real key is replaced by a
 * number that only who made or opened it can tell.
 *
 * Each second migration is attested. One host in sixteen is not fit for the
 * migration it is asked about; the law is that no such host ever sends or
 * takes an attested migration's memory, nor anyone without the key.
 */
#include "tests/sim/sim.h"

struct evidence {
	uint64_t call, mig;
	uint8_t role, host, fit;
};

bool
mig_attested(const struct ly_id *mig)
{
	return mig_no(mig) % 2 == 1;
}

/* The truth, which evidence tells: nobody can lie about it. */
static bool
is_fit(unsigned host, const struct ly_id *mig)
{
	uint64_t x = mig_no(mig) * 7919 + host * 104729 + w.seed;

	return sim_below(&x, 16) != 0;
}

/* ---- the bytes ---- */

static struct ly_bytes
put_numbers(uint8_t *out, const uint64_t *n, size_t count)
{
	struct ly_wr wr = ly_wr_over(out, 8 * count);

	for (size_t i = 0; i < count; i++)
		ly_wr_u64(&wr, n[i]);
	return (struct ly_bytes){ out, ly_wr_len(&wr) };
}

static uint64_t
number_of(struct ly_bytes b)
{
	struct ly_rd r = ly_rd_over(b.at, b.len);

	return ly_rd_u64(&r);
}

static struct evidence
evidence_of(struct ly_bytes b)
{
	struct ly_rd r = ly_rd_over(b.at, b.len);
	struct evidence e = { .call = ly_rd_u64(&r), .mig = ly_rd_u64(&r) };

	e.role = (uint8_t)ly_rd_u64(&r);
	e.host = (uint8_t)ly_rd_u64(&r);
	e.fit = (uint8_t)ly_rd_u64(&r);
	return e;
}

/* ---- hosts ---- */

struct papers *
papers_of(struct agent *a, const struct ly_id *mig)
{
	for (unsigned i = 0; i < LY_COUNT(a->papers); i++)
		if (ly_id_same(&a->papers[i].mig, mig))
			return &a->papers[i];
	return NULL;
}

static struct papers *
papers_new(struct agent *a, const struct ly_id *mig, uint64_t call)
{
	struct papers *p = &a->papers[a->papers_at++ % LY_COUNT(a->papers)];

	*p = (struct papers){ .mig = *mig, .call = call };
	return p;
}

static void
answer(struct agent *a, uint32_t req, enum ly_rc rc, struct ly_bytes data)
{
	struct ly_done m = { .req = req, .rc = (uint8_t)rc, .data = data };

	if (a->manager[req >> 30])
		net_send(a->manager[req >> 30], LY_DONE, &m);
}

static void
on_quote(struct agent *a, const struct ly_quote *m)
{
	uint64_t call = number_of(m->call);
	struct papers *p = papers_of(a, &m->mig);
	uint64_t n[] = { call, mig_no(&m->mig), m->role, a->host,
		is_fit(a->host, &m->mig) };
	uint8_t bytes[sizeof(n)];

	if (!p)
		p = papers_new(a, &m->mig, call);
	if (p->call != call)
		answer(a, m->req, LY_REFUSED, (struct ly_bytes){ NULL, 0 });
	else
		answer(a, m->req, LY_OK, put_numbers(bytes, n, LY_COUNT(n)));
	if (p->call == call)
		p->roles |= (uint8_t)(1u << m->role);
}

/* Each host judges the other itself. */
static bool
is_good(const struct papers *p, struct ly_bytes b, unsigned as, unsigned peer)
{
	struct evidence e = evidence_of(b);

	return p && (p->roles & (1u << as)) && e.call == p->call &&
	    e.mig == mig_no(&p->mig) && e.role == peer && e.fit;
}

static enum ly_rc
on_key(struct agent *a, const struct ly_keying *m, uint64_t *out)
{
	struct papers *p = papers_of(a, &m->mig);

	if (!is_good(p, m->evidence, LY_AS_SOURCE, LY_AS_DEST))
		return LY_REFUSED;
	if (!p->key)
		p->key = 1 + sim_below(&a->node->rng, UINT64_C(1) << 60);
	*out = p->key;
	return LY_OK;
}

static enum ly_rc
on_import(struct agent *a, const struct ly_keying *m, uint64_t *out)
{
	struct papers *p = papers_of(a, &m->mig);
	uint64_t key = number_of(m->blob);

	if (!is_good(p, m->evidence, LY_AS_DEST, LY_AS_SOURCE) || !key)
		return LY_REFUSED;
	if (p->key != key || !p->session)
		p->session = 1 + sim_below(&a->node->rng, UINT64_C(1) << 60);
	p->key = key;
	*out = p->session;
	return LY_OK;
}

/* A release for another session of its TPM opens nothing. */
static enum ly_rc
on_unlock(struct agent *a, const struct ly_keying *m, uint64_t *out)
{
	struct papers *p = papers_of(a, &m->mig);

	if (!p || !p->session || number_of(m->blob) != ~p->session)
		return LY_REFUSED;
	p->open = true;
	*out = p->key;
	return LY_OK;
}

void
attest_request(struct agent *a, unsigned type, const union ly_any *m)
{
	uint64_t luck = w.healing ? 999 : sim_below(&a->node->rng, 1000);
	uint32_t req = m->request.req;
	enum ly_rc rc = luck < 30 ? LY_REFUSED : LY_BUSY;
	uint64_t out = 0;
	uint8_t bytes[8];

	if (luck < 10)
		return; /* it never answers this one */
	if (luck < 150) {
		answer(a, req, rc, (struct ly_bytes){ NULL, 0 });
		return;
	}
	if (type == LY_QUOTE) {
		on_quote(a, &m->quote);
		return;
	}
	rc = type == LY_KEY   ? on_key(a, &m->keying, &out) :
	    type == LY_IMPORT ? on_import(a, &m->keying, &out) :
				on_unlock(a, &m->keying, &out);
	answer(a, req, rc, put_numbers(bytes, &out, 1));
}

/* ---- memory is about to go ---- */

/* The source's own check; and the law, which knows what hosts are. */
bool
attest_may_send(struct agent *a, const struct ly_copy *m)
{
	struct papers *p = papers_of(a, &m->mig);
	uint64_t key = number_of((struct ly_bytes){ m->confirm, 8 });
	unsigned dest = host_of_who(m->dest), home = w.vm_home[vm_no(&m->vm)];

	if (!m->lanes && !mig_attested(&m->mig))
		return true;
	if (!m->lanes)
		law_broken("VM %u: attested, and to be sent without lanes",
		    vm_no(&m->vm));
	if (!p || !p->key || p->key != key)
		return false;
	if (!is_fit(a->host, &m->mig) || !is_fit(dest, &m->mig) ||
	    !is_fit(home, &m->mig))
		law_broken("VM %u: its memory goes from h%u to h%u, its home is"
			   " h%u, and one of them is not fit",
		    vm_no(&m->vm), a->host, dest, home);
	stats.attested++;
	return true;
}

/* The destination's TPM has opened the key. */
bool
attest_may_take(struct agent *a, const struct ly_id *mig)
{
	const struct papers *p = papers_of(a, mig);

	return !mig_attested(mig) || (p && p->open);
}

/* ---- the manager ---- */

static unsigned
role_of(enum ly_step step)
{
	return step == LY_STEP_QUOTE_DEST ? LY_AS_DEST :
	    step == LY_STEP_QUOTE_SOURCE  ? LY_AS_SOURCE :
					    LY_AS_HOME;
}

static struct ly_bytes
paper(const struct mig_row *row, unsigned role)
{
	return (struct ly_bytes){ row->evidence[role],
		sizeof(row->evidence[role]) };
}

/* Before the row is saved as ATTESTING: one call for all three. */
void
attest_call(struct move *mv)
{
	mv->row.call = sim_rnd(&mv->m->node->rng);
}

void
attest_fill(struct move *mv, struct ask *a, enum ly_step step)
{
	struct ly_quote *q = &a->msg.quote;
	struct ly_keying *k = &a->msg.keying;
	uint64_t release = ~mv->row.session;

	if (a->type == LY_QUOTE) {
		q->vm = vm_id(mv->row.vm);
		q->mig = mv->row.id;
		q->role = (uint8_t)role_of(step);
		q->call = put_numbers(a->ticket, &mv->row.call, 1);
		return;
	}
	k->vm = vm_id(mv->row.vm);
	k->mig = mv->row.id;
	if (step == LY_STEP_KEY) {
		k->evidence = paper(&mv->row, LY_AS_DEST);
	} else if (step == LY_STEP_IMPORT) {
		k->evidence = paper(&mv->row, LY_AS_SOURCE);
		k->blob = put_numbers(a->ticket, &mv->row.blob, 1);
	} else {
		k->blob = put_numbers(a->ticket, &release, 1);
	}
}

void
attest_heard(struct move *mv, enum ly_step step, const struct ly_done *d)
{
	struct ly_wr wr = ly_wr_over(mv->row.confirm, sizeof(mv->row.confirm));

	if (ly_steps[step].asks == LY_QUOTE) {
		assert(d->data.len == sizeof(mv->row.evidence[0]));
		memcpy(mv->row.evidence[role_of(step)], d->data.at,
		    d->data.len);
	} else if (step == LY_STEP_KEY) {
		mv->row.blob = number_of(d->data);
	} else if (step == LY_STEP_IMPORT) {
		mv->row.session = number_of(d->data);
	} else if (step == LY_STEP_UNLOCK) {
		ly_wr_u64(&wr, number_of(d->data));
	}
}

bool
attest_appraise(const struct move *mv)
{
	static const unsigned roles[] = { LY_AS_DEST, LY_AS_SOURCE,
		LY_AS_HOME };

	for (size_t i = 0; i < LY_COUNT(roles); i++) {
		struct evidence e = evidence_of(paper(&mv->row, roles[i]));

		if (e.call != mv->row.call || e.role != roles[i] ||
		    e.mig != mig_no(&mv->row.id) || !e.fit)
			return false;
	}
	return true;
}
