/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs for the host's TPM, one at a time: this file has the order of them and
 * who has which slot; what they do is in chip_keys.c, chip_quote.c and
 * chip_import.c.
 *
 * A slot is taken when the job that opens an import begins, and is free when it
 * has failed, or the one that ends the import is over. So a job that waits has
 * none, and what ends an import comes after what opens it.
 */
#include "agent/io/chip_in.h"

#include <stdlib.h>

struct queue {
	struct ly_chip_job *first;
	struct ly_chip_job **last;
	unsigned n;
};

struct ly_chip {
	uv_loop_t *loop;
	struct ly_chip_tpm tpm; /* of the job at work */
	uv_work_t work;
	struct ly_chip_job *at_work;
	struct queue queue;
	struct queue line; /* for a slot */
	struct ly_chip_slot slot[LY_CHIP_IMPORTS_MAX];
	uv_timer_t timer; /* for the first import that is too old */
	uint64_t life_ms; /* of one */
	bool closing;
};

static const struct {
	ly_chip_work *work;
	bool keys;  /* it needs them */
	bool twice; /* it may be done again in a new connection */
} kinds[LY_CHIP_KINDS] = {
	[LY_CHIP_READY] = { ly_chip_do_ready, false, true },
	[LY_CHIP_QUOTE] = { ly_chip_do_quote, true, true },
	[LY_CHIP_CERTIFY] = { ly_chip_do_certify, true, true },
	[LY_CHIP_ACTIVATE] = { ly_chip_do_activate, true, true },
	[LY_CHIP_RANDOM] = { ly_chip_do_random, true, true },
	[LY_CHIP_OPEN] = { ly_chip_do_open, true, true },
	[LY_CHIP_UNSEAL] = { ly_chip_do_unseal, true, false },
	[LY_CHIP_DROP] = { ly_chip_do_drop, false, false },
};

/* ---- queues ---- */

static void
put_last(struct queue *q, struct ly_chip_job *j)
{
	j->next = NULL;
	*q->last = j;
	q->last = &j->next;
	q->n++;
}

static void
put_first(struct queue *q, struct ly_chip_job *j)
{
	j->next = q->first;
	q->first = j;
	if (!j->next)
		q->last = &j->next;
	q->n++;
}

static struct ly_chip_job *
take_first(struct queue *q)
{
	struct ly_chip_job *j = q->first;

	if (!j)
		return NULL;
	q->first = j->next;
	if (!q->first)
		q->last = &q->first;
	q->n--;
	return j;
}

/* ---- jobs ---- */

static struct ly_chip_job *
job_new(enum ly_chip_kind kind, ly_chip_told *told, void *arg)
{
	struct ly_chip_job *j = calloc(1, sizeof(*j));

	if (!j)
		abort();
	j->kind = kind;
	j->told = told;
	j->arg = arg;
	return j;
}

/* Bytes of the caller's become the job's own. */
static void
own(struct ly_chip_job *j, struct ly_bytes *const *each, size_t n)
{
	uint8_t *at;

	for (size_t i = 0; i < n; i++)
		j->room_len += each[i]->len;
	at = j->room = malloc(j->room_len + 1);
	if (!at)
		abort();
	for (size_t i = 0; i < n; i++) {
		if (each[i]->len)
			memcpy(at, each[i]->at, each[i]->len);
		each[i]->at = at;
		at += each[i]->len;
	}
}

static void
job_free(struct ly_chip_job *j)
{
	free(j->room);
	free(j->keys);
	ly_wipe(j, sizeof(*j));
	free(j);
}

static void
answer(struct ly_chip_job *j)
{
	bool good = j->rc == LY_OK;
	struct ly_chip_answer a = {
		.rc = j->rc,
		.why = good ? "" : j->why.text,
		.keys = good ? j->keys : NULL,
		.said = good && j->said.attest_len ? &j->said : NULL,
		.bytes = { .at = j->bytes, .len = good ? j->bytes_len : 0 },
	};

	if (j->told)
		j->told(j->arg, &a);
	job_free(j);
}

/* ---- at work, on the other thread ---- */

static enum ly_rc
attempt(struct ly_chip_tpm *t, struct ly_chip_job *j, bool *lost)
{
	enum ly_rc rc = ly_tss_begin(t->tss, false, &j->why);
	uint64_t number;

	*lost = false;
	if (rc != LY_OK)
		return rc;
	number = t->tss->number;
	if (kinds[j->kind].keys)
		rc = ly_chip_know(t, &j->why);
	if (rc == LY_OK)
		rc = kinds[j->kind].work(t, j);
	else if (j->slot)
		(void)ly_chip_do_drop(t, j);
	*lost = !t->tss->esys || t->tss->number != number ||
	    (kinds[j->kind].keys && t->number != number);
	ly_tss_end(t->tss);
	return rc;
}

static void
work(uv_work_t *of)
{
	struct ly_chip *c = LY_HOLDER(of, struct ly_chip, work);
	struct ly_chip_job *j = c->at_work;
	bool lost;

	if (j->settled)
		return;
	j->rc = attempt(&c->tpm, j, &lost);
	if (j->rc == LY_OK || !lost || !kinds[j->kind].twice)
		return;
	free(j->keys);
	j->keys = NULL;
	j->bytes_len = 0;
	j->rc = attempt(&c->tpm, j, &lost);
}

/* ---- slots ---- */

static struct ly_chip_slot *
slot_of(struct ly_chip *c, const struct ly_id *mig)
{
	for (unsigned i = 0; i < LY_COUNT(c->slot); i++)
		if (c->slot[i].used && ly_id_same(&c->slot[i].mig, mig))
			return &c->slot[i];
	return NULL;
}

static struct ly_chip_slot *
slot_free(struct ly_chip *c)
{
	for (unsigned i = 0; i < LY_COUNT(c->slot); i++)
		if (!c->slot[i].used)
			return &c->slot[i];
	return NULL;
}

static void arm(struct ly_chip *c);
static void go_on(struct ly_chip *c);

/* The next in the line has it. */
static void
let_go(struct ly_chip *c, struct ly_chip_slot *slot)
{
	struct ly_chip_job *next = take_first(&c->line);

	slot->used = false;
	slot->until_ms = 0;
	if (next)
		put_first(&c->queue, next);
}

static bool
settle(struct ly_chip_job *j, enum ly_rc rc, const char *text)
{
	j->settled = true;
	j->rc = ly_fail(&j->why, rc, "%s", text);
	return true;
}

/* False: it waits in the line. */
static bool
begin_open(struct ly_chip *c, struct ly_chip_job *j)
{
	struct ly_chip_slot *slot = slot_of(c, &j->in.mig);

	if (!slot)
		slot = slot_free(c);
	if (!slot && c->line.n == LY_CHIP_LINE_MAX)
		return settle(j, LY_BUSY,
		    "too many keys wait to be opened by the host's TPM");
	if (!slot) {
		put_last(&c->line, j);
		return false;
	}
	slot->used = true;
	slot->mig = j->in.mig;
	slot->turn++;
	slot->until_ms = 0;
	j->slot = slot;
	return true;
}

static bool
begin_unseal(struct ly_chip *c, struct ly_chip_job *j)
{
	j->slot = slot_of(c, &j->in.mig);
	return j->slot ?
	    true :
	    settle(j, LY_UNKNOWN,
		"the host's TPM has no such key to open: none was imported, or"
		" it was dropped because the release took too long");
}

/* Those that wait for a slot need none. */
static void
drop_line(struct ly_chip *c, const struct ly_id *mig)
{
	struct queue line = c->line;
	struct ly_chip_job *j;

	if (!line.first)
		return;
	c->line = (struct queue){ .last = &c->line.first };
	while ((j = take_first(&line))) {
		if (ly_id_same(&j->in.mig, mig)) {
			settle(j, LY_UNKNOWN, "dropped before it was opened");
			put_first(&c->queue, j);
		} else {
			put_last(&c->line, j);
		}
	}
}

static bool
begin_drop(struct ly_chip *c, struct ly_chip_job *j)
{
	j->slot = slot_of(c, &j->in.mig);
	if (!j->turn)
		drop_line(c, &j->in.mig);
	if (j->slot && (!j->turn || j->turn == j->slot->turn))
		return true;
	job_free(j);
	return false;
}

static bool
begin(struct ly_chip *c, struct ly_chip_job *j)
{
	if (j->kind == LY_CHIP_OPEN && !j->settled)
		return begin_open(c, j);
	if (j->kind == LY_CHIP_UNSEAL)
		return begin_unseal(c, j);
	return j->kind != LY_CHIP_DROP || begin_drop(c, j);
}

/* ---- the order of things ---- */

static void
on_closed(uv_handle_t *timer)
{
	struct ly_chip *c = timer->data;

	ly_tss_close(c->tpm.tss);
	free(c);
}

static void
end_slot(struct ly_chip *c, struct ly_chip_job *j)
{
	if (!j->slot)
		return;
	if (j->kind == LY_CHIP_OPEN && j->rc == LY_OK)
		j->slot->until_ms = uv_now(c->loop) + c->life_ms;
	else
		let_go(c, j->slot);
	arm(c);
}

static void
over(uv_work_t *of, int status)
{
	struct ly_chip *c = LY_HOLDER(of, struct ly_chip, work);
	struct ly_chip_job *j = c->at_work;

	if (status != 0)
		j->rc = ly_fail(&j->why, LY_OUTSIDE, "%s", uv_strerror(status));
	c->at_work = NULL;
	end_slot(c, j);
	if (c->closing)
		job_free(j);
	else
		answer(j); /* perhaps ends with ly_chip_close() */
	go_on(c);
}

static void
go_on(struct ly_chip *c)
{
	while (!c->at_work && c->queue.first) {
		struct ly_chip_job *j = take_first(&c->queue);

		if (!begin(c, j))
			continue;
		c->at_work = j;
		if (uv_queue_work(c->loop, &c->work, work, over) != 0)
			abort();
	}
	if (c->closing && !c->at_work &&
	    !uv_is_closing((uv_handle_t *)&c->timer))
		uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void
add(struct ly_chip *c, struct ly_chip_job *j)
{
	if (c->closing) {
		settle(j, LY_FENCED, "the agent is ending");
		answer(j);
		return;
	}
	put_last(&c->queue, j);
	go_on(c);
}

static void
drop(struct ly_chip *c, const struct ly_id *mig, unsigned turn)
{
	struct ly_chip_job *j = job_new(LY_CHIP_DROP, NULL, NULL);

	j->in.mig = *mig;
	j->turn = turn;
	put_last(&c->queue, j);
}

static void
on_timer(uv_timer_t *timer)
{
	struct ly_chip *c = timer->data;

	for (unsigned i = 0; i < LY_COUNT(c->slot); i++) {
		struct ly_chip_slot *s = &c->slot[i];

		if (!s->until_ms || s->until_ms > uv_now(c->loop))
			continue;
		s->until_ms = 0;
		drop(c, &s->mig, s->turn);
	}
	arm(c);
	go_on(c);
}

static void
arm(struct ly_chip *c)
{
	uint64_t now = uv_now(c->loop), first = UINT64_MAX;

	for (unsigned i = 0; i < LY_COUNT(c->slot); i++)
		if (c->slot[i].until_ms && c->slot[i].until_ms < first)
			first = c->slot[i].until_ms;
	if (c->closing || first == UINT64_MAX)
		uv_timer_stop(&c->timer);
	else
		uv_timer_start(&c->timer, on_timer,
		    first > now ? first - now : 0, 0);
}

/* ---- what is asked ---- */

void
ly_chip_ready(struct ly_chip *c, ly_chip_told *told, void *arg)
{
	add(c, job_new(LY_CHIP_READY, told, arg));
}

void
ly_chip_quote(struct ly_chip *c, const uint8_t qualify[32], uint32_t mask,
    ly_chip_told *told, void *arg)
{
	struct ly_chip_job *j = job_new(LY_CHIP_QUOTE, told, arg);

	assert(mask && mask < 1u << LY_PCRS_N);
	memcpy(j->over, qualify, 32);
	j->mask = mask;
	add(c, j);
}

void
ly_chip_certify(struct ly_chip *c, const uint8_t qualify[32],
    ly_chip_told *told, void *arg)
{
	struct ly_chip_job *j = job_new(LY_CHIP_CERTIFY, told, arg);

	memcpy(j->over, qualify, 32);
	add(c, j);
}

void
ly_chip_activate(struct ly_chip *c, const struct ly_enrol_dare *dare,
    ly_chip_told *told, void *arg)
{
	struct ly_chip_job *j = job_new(LY_CHIP_ACTIVATE, told, arg);

	j->dare = *dare;
	own(j, (struct ly_bytes *[]){ &j->dare.credential, &j->dare.secret },
	    2);
	add(c, j);
}

void
ly_chip_random(struct ly_chip *c, size_t len, ly_chip_told *told, void *arg)
{
	struct ly_chip_job *j = job_new(LY_CHIP_RANDOM, told, arg);

	assert(len && len <= LY_CHIP_SECRET_MAX);
	j->len = len;
	add(c, j);
}

void
ly_chip_import_open(struct ly_chip *c, const struct ly_chip_import *in,
    ly_chip_told *told, void *arg)
{
	struct ly_chip_job *j = job_new(LY_CHIP_OPEN, told, arg);

	j->in = *in;
	own(j,
	    (struct ly_bytes *[]){ &j->in.blob.public, &j->in.blob.duplicate,
		&j->in.blob.seed },
	    3);
	add(c, j);
}

void
ly_chip_import_unseal(struct ly_chip *c, const struct ly_id *mig,
    const struct ly_point *manager_key, const uint8_t ref[32],
    uint32_t expires_s, const uint8_t release[LY_SIG_RAW], ly_chip_told *told,
    void *arg)
{
	struct ly_chip_job *j = job_new(LY_CHIP_UNSEAL, told, arg);

	j->in.mig = *mig;
	j->manager_key = *manager_key;
	memcpy(j->over, ref, 32);
	j->expires_s = expires_s;
	memcpy(j->release, release, LY_SIG_RAW);
	add(c, j);
}

void
ly_chip_import_drop(struct ly_chip *c, const struct ly_id *mig)
{
	if (c->closing)
		return; /* all are */
	drop(c, mig, 0);
	go_on(c);
}

/* ---- opening and closing ---- */

enum ly_rc
ly_chip_open(uv_loop_t *loop, struct ly_tss *tss, struct ly_chip **out,
    struct ly_why *why)
{
	struct ly_chip *c = calloc(1, sizeof(*c));

	if (!c)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	c->loop = loop;
	c->life_ms = LY_CHIP_IMPORT_MS;
	c->tpm.tss = ly_tss_ref(tss);
	c->queue.last = &c->queue.first;
	c->line.last = &c->line.first;
	for (unsigned i = 0; i < LY_COUNT(c->tpm.key); i++)
		c->tpm.key[i] = NONE;
	for (unsigned i = 0; i < LY_COUNT(c->slot); i++)
		c->slot[i].session = NONE;
	uv_timer_init(loop, &c->timer);
	c->timer.data = c;
	uv_unref((uv_handle_t *)&c->timer);
	*out = c;
	return LY_OK;
}

void
ly_chip_import_life(struct ly_chip *c, uint64_t ms)
{
	c->life_ms = ms;
}

static void
fence(struct queue *q)
{
	struct queue all = *q;
	struct ly_chip_job *j;

	*q = (struct queue){ .last = &q->first };
	if (!all.first)
		return;
	while ((j = take_first(&all))) {
		settle(j, LY_FENCED, "the agent is ending");
		answer(j);
	}
}

void
ly_chip_close(struct ly_chip *c)
{
	if (!c || c->closing)
		return;
	c->closing = true;
	fence(&c->queue);
	fence(&c->line);
	for (unsigned i = 0; i < LY_COUNT(c->slot); i++)
		if (c->slot[i].used)
			drop(c, &c->slot[i].mig, 0);
	arm(c);
	go_on(c);
}
