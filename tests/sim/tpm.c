/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TPM: a process of its own, which serves one client and outlives agents. A
 * command mixes its x into the chain and counts; so a command lost, repeated or
 * out of order is seen by the next answer. After a start it wants an INIT, as a
 * swtpm does: until then every command is answered by a failure.
 */
#include "tests/sim/sim.h"

uint64_t
tpm_mix(uint64_t chain, uint64_t x)
{
	uint64_t s = chain ^ (x * UINT64_C(0xd6e8feb86659fd93));

	return sim_rnd(&s);
}

static size_t
run_command(struct tpm *t, uint8_t out[TPM_RSP_LEN])
{
	struct ly_rd r = ly_rd_over(t->body, t->len);
	struct tpm_cmd c = { .id = ly_rd_u64(&r), .x = ly_rd_u64(&r) };
	struct ly_wr wr = ly_wr_over(out, TPM_RSP_LEN);
	struct tpm_rsp rsp;

	if (t->len == 0) { /* the home looks at it: nothing changes */
		ly_wr_u32(&wr, TPM_PEEKED);
		return ly_wr_len(&wr);
	}
	if (!t->inited || r.bad) {
		ly_wr_u32(&wr, 0x101);
		return ly_wr_len(&wr);
	}
	t->chain = tpm_mix(t->chain, c.x);
	t->count++;
	rsp = (struct tpm_rsp){ c.id, t->count, t->chain };
	oracle_ran((unsigned)(t - w.tpm), &c, &rsp);
	ly_wr_u64(&wr, rsp.id);
	ly_wr_u64(&wr, rsp.count);
	ly_wr_u64(&wr, rsp.chain);
	return ly_wr_len(&wr);
}

static size_t
run_init(struct tpm *t, uint8_t out[TPM_RSP_LEN])
{
	t->inited = true;
	t->chain = t->count = 0;
	memset(out, 0, 4);
	return 4;
}

static void
on_ran(void *obj, uint64_t run)
{
	struct tpm *t = obj;
	uint8_t out[TPM_RSP_LEN];
	size_t n;

	if (!t->busy || run != t->run)
		return;
	n = t->op == LY_OP_INIT ? run_init(t, out) : run_command(t, out);
	t->busy = false;
	if (t->client && t->client->gen == t->asker_gen) {
		home_tpm_answer(t->client, out, n);
	} else if (t->held) {
		memcpy(t->unread, out, n);
		t->unread_len = n;
	}
}

/* Advice: it ends sooner, as if it had run, or takes its time. */
void
tpm_cancel(struct tpm *t)
{
	if (t->busy && sim_chance(&t->rng, 500))
		sim_after(0, on_ran, t, &t->gen, t->run);
}

void
tpm_client_gone(struct tpm *t, bool kept)
{
	t->held = kept && t->client;
	t->client = NULL;
	t->unread_len = 0;
}

static void
on_unread(void *obj, uint64_t n)
{
	struct tpm *t = obj;

	if (t->client)
		home_tpm_answer(t->client, t->unread, n);
}

void
tpm_take_back(struct tpm *t, struct home *h)
{
	size_t n = t->unread_len;

	t->held = false;
	t->unread_len = 0;
	t->client = h;
	t->client_gen = t->asker_gen = h->gen;
	if (n)
		sim_after(0, on_unread, t, &t->gen, n);
}

void
tpm_submit(struct tpm *t, enum ly_op op, const uint8_t *body, size_t len)
{
	uint64_t us = w.tpm_us / 2 + sim_below(&t->rng, w.tpm_us) + t->slow_us;

	assert(t->alive && !t->held);
	if (t->busy) /* of an agent before: a TPM answers in order */
		on_ran(t, t->run);
	t->busy = true;
	t->run++;
	t->asker_gen = t->client_gen;
	t->op = op;
	t->len = len;
	assert(len <= sizeof(t->body));
	if (len)
		memcpy(t->body, body, len);
	sim_after(us, on_ran, t, &t->gen, t->run);
}

/* What it runs may be done, or not. */
void
tpm_die(struct tpm *t)
{
	struct home *h = t->client;
	uint32_t gen = t->client_gen;
	uint8_t out[TPM_RSP_LEN];

	if (!t->alive)
		return;
	oracle_cause((unsigned)(t - w.tpm));
	if (t->busy && t->op == LY_OP_TPM && sim_chance(&t->rng, 500))
		(void)run_command(t, out);
	t->alive = t->inited = t->busy = false;
	t->client = NULL;
	t->held = false;
	t->gen++;
	if (h && h->gen == gen)
		home_tpm_dead(h);
}

void
tpm_start(struct tpm *t)
{
	if (t->alive)
		return;
	oracle_cause((unsigned)(t - w.tpm));
	t->alive = true;
	t->inited = t->busy = false;
	t->chain = t->count = 0;
	t->gen++;
}
