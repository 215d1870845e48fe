/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of manager/saga: a saga, what it has asked for, and the home's
 * register; led to any state, or through random events.
 */
#ifndef LY_TESTS_SAGA_SCENE_H
#define LY_TESTS_SAGA_SCENE_H

#include "manager/saga/saga.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* A saga and what it has asked for. The disk is good unless `full`. */
struct world {
	struct ly_saga s;
	bool full, refused, slow;
	enum { HELD, FIT, UNFIT } verdict; /* of the appraisal; HELD: later */
	unsigned appraisals;
	unsigned asks[LY_STEPS];
	uint32_t open; /* 1 << step: asked by the saga, not yet answered */
	bool claimed, aborted; /* what the home has on record */
};

static void
feed(struct world *w, struct ly_saga_event ev)
{
	struct ly_saga_todos todo;
	bool save = false, appraise = false;

	w->refused = false;
	ly_saga_step(&w->s, &ev, &todo);
	for (unsigned i = 0; i < todo.n; i++) {
		const struct ly_saga_todo *t = &todo.act[i];

		if (t->act == LY_SAGA_ASK) {
			w->asks[t->step]++;
			w->open |= 1u << t->step;
			if (t->step == LY_STEP_DROP)
				assert_false(w->claimed);
			if (t->step == LY_STEP_SETTLE &&
			    w->s.rec.fate == LY_FATE_CLAIMED)
				assert_true(w->claimed);
		} else if (t->act == LY_SAGA_FORGET) {
			w->open &= ~(1u << t->step);
		} else if (t->act == LY_SAGA_SAVE) {
			save = true;
		} else if (t->act == LY_SAGA_REFUSE) {
			w->refused = true;
		} else if (t->act == LY_SAGA_SLOW) {
			w->slow = true;
		} else if (t->act == LY_SAGA_APPRAISE) {
			appraise = true;
			w->appraisals++;
		}
	}
	if (appraise && w->verdict != HELD)
		feed(w,
		    (struct ly_saga_event){ .kind = LY_SAGA_DECIDED,
			.ok = w->verdict == FIT });
	if (save)
		feed(w,
		    (struct ly_saga_event){ .kind = LY_SAGA_SAVED,
			.ok = !w->full });
}

static void
tell(struct world *w, enum ly_saga_kind kind)
{
	feed(w, (struct ly_saga_event){ .kind = kind });
}

static void
late(struct world *w, enum ly_step step)
{
	w->open &= ~(1u << step);
	feed(w, (struct ly_saga_event){ .kind = LY_SAGA_LATE, .step = step });
}

static void
answer(struct world *w, enum ly_step step, enum ly_rc rc, enum ly_fate fate)
{
	w->open &= ~(1u << step);
	if (fate == LY_FATE_CLAIMED)
		w->claimed = true;
	if (fate == LY_FATE_ABORTED)
		w->aborted = true;
	feed(w,
	    (struct ly_saga_event){ .kind = LY_SAGA_ANSWERED,
		.step = step,
		.rc = rc,
		.fate = fate,
		.epoch = fate == LY_FATE_CLAIMED ? 6 : 5 });
}

/* kill -9, and the row that was on disk. */
static void
restart(struct world *w)
{
	struct ly_saga_rec rec = w->s.rec;

	w->open = 0;
	ly_saga_load(&w->s, &rec);
	tell(w, LY_SAGA_GO);
}

struct cell {
	enum ly_saga_state from;
	enum ly_step step;
	enum ly_rc rc;
	enum ly_fate fate;
	enum ly_saga_state to;
};

#define QUOTES                                                                 \
	(1u << LY_STEP_QUOTE_DEST | 1u << LY_STEP_QUOTE_SOURCE |               \
	    1u << LY_STEP_QUOTE_HOME)

static void
answer_well(struct world *w, enum ly_step first, enum ly_step last)
{
	for (unsigned i = first; i <= last; i++)
		answer(w, (enum ly_step)i, LY_OK, LY_FATE_UNKNOWN);
}

/* Up to COPYING, or as far as `until`. */
static void
go_to_copying(struct world *w, enum ly_saga_state until)
{
	bool attest = w->s.rec.attest;

	tell(w, LY_SAGA_GO);
	if (until == LY_SAGA_PLANNED)
		return;
	answer(w, LY_STEP_AUTHORISE, LY_OK, LY_FATE_UNKNOWN);
	if (until == LY_SAGA_ATTESTING)
		return;
	if (attest)
		answer_well(w, LY_STEP_QUOTE_DEST, LY_STEP_QUOTE_HOME);
	if (until == LY_SAGA_PREPARING)
		return;
	answer(w, LY_STEP_PREPARE, LY_OK, LY_FATE_UNKNOWN);
	if (until == LY_SAGA_KEYING)
		return;
	if (attest)
		answer_well(w, LY_STEP_KEY, LY_STEP_UNLOCK);
	assert_int_equal(w->s.rec.state, LY_SAGA_COPYING);
}

static struct world
begun_as(enum ly_saga_state until, bool attest)
{
	struct world w = { .verdict = FIT };

	ly_saga_init(&w.s, attest);
	go_to_copying(&w, until);
	if (until == LY_SAGA_SETTLING || until == LY_SAGA_DOUBT)
		answer(&w, LY_STEP_COPY, LY_OUTSIDE, LY_FATE_OPEN);
	if (until == LY_SAGA_DOUBT)
		late(&w, LY_STEP_ASK);
	if (until == LY_SAGA_COMMITTED || until == LY_SAGA_CLEANED)
		answer(&w, LY_STEP_COPY, LY_OK, LY_FATE_CLAIMED);
	if (until == LY_SAGA_CLEANED)
		answer(&w, LY_STEP_RECORD, LY_OK, LY_FATE_UNKNOWN);
	if (until == LY_SAGA_ABORTING || until == LY_SAGA_ABORTED)
		answer(&w, LY_STEP_COPY, LY_REFUSED, LY_FATE_ABORTED);
	if (until == LY_SAGA_ABORTED)
		answer(&w, LY_STEP_DROP, LY_OK, LY_FATE_UNKNOWN);
	assert_int_equal(w.s.rec.state, until);
	return w;
}

/* Attested only if it has to be. */
static inline struct world
begun(enum ly_saga_state until)
{
	return begun_as(until,
	    until == LY_SAGA_ATTESTING || until == LY_SAGA_KEYING);
}

/* ---- random worlds: any order of any events, from one seed ---- */

static uint32_t
roll(uint64_t *seed, uint32_t n)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33) % n;
}

/* The home's register: the first of claim and abort wins. */
static enum ly_fate
home_says(struct world *w, bool claim)
{
	if (!w->claimed && !w->aborted)
		*(claim ? &w->claimed : &w->aborted) = true;
	return w->claimed ? LY_FATE_CLAIMED : LY_FATE_ABORTED;
}

static void
answer_somehow(struct world *w, uint64_t *seed, enum ly_step step, bool well)
{
	static const enum ly_rc rcs[] = { LY_OK, LY_OK, LY_OK, LY_REFUSED,
		LY_OUTSIDE, LY_BUSY, LY_UNKNOWN, LY_FULL };
	enum ly_rc rc = well ? LY_OK : rcs[roll(seed, LY_COUNT(rcs))];
	enum ly_fate fate = LY_FATE_UNKNOWN;

	if (step == LY_STEP_COPY && (well || roll(seed, 2)))
		fate = home_says(w, roll(seed, 2));
	else if (step == LY_STEP_COPY && (w->claimed || w->aborted))
		fate = LY_FATE_OPEN; /* it could not reach the home */
	if (step == LY_STEP_ASK && rc == LY_OK)
		fate = home_says(w, false);
	answer(w, step, rc, fate);
}

static void
one_event(struct world *w, uint64_t *seed)
{
	enum ly_step step = (enum ly_step)roll(seed, LY_STEPS);

	w->full = roll(seed, 8) == 0;
	w->verdict = roll(seed, 8) == 0 ? UNFIT : FIT;
	switch (roll(seed, 9)) {
	case 0:
		restart(w);
		break;
	case 1:
		late(w, step);
		break;
	case 2:
		tell(w, LY_SAGA_HOST_LOST);
		break;
	case 3:
		tell(w, LY_SAGA_TICK);
		break;
	case 4:
		if (roll(seed, 4) == 0)
			tell(w, LY_SAGA_CANCEL);
		break;
	default:
		if (w->open & (1u << step))
			answer_somehow(w, seed, step, false);
	}
}

static void
run_world(uint64_t seed, bool attest)
{
	struct world w = { .verdict = FIT };

	ly_saga_init(&w.s, attest);
	tell(&w, LY_SAGA_GO);
	for (int i = 0; i < 60; i++) {
		enum ly_saga_state was = (enum ly_saga_state)w.s.rec.state;

		one_event(&w, &seed);
		if (was == LY_SAGA_COMMITTED || was == LY_SAGA_CLEANED)
			assert_true(w.s.rec.state == LY_SAGA_COMMITTED ||
			    w.s.rec.state == LY_SAGA_CLEANED);
	}
	/* The faults stop; everyone answers. */
	w.full = false;
	w.verdict = FIT;
	for (int i = 0; i < 40 && !ly_saga_over(w.s.rec.state); i++) {
		tell(&w, LY_SAGA_TICK);
		for (unsigned k = 0; k < LY_STEPS; k++)
			if (w.open & (1u << k))
				answer_somehow(&w, &seed, (enum ly_step)k,
				    true);
	}
	assert_true(ly_saga_over(w.s.rec.state));
	if (w.s.rec.state == LY_SAGA_CLEANED)
		assert_true(w.claimed && !w.aborted);
	else
		assert_false(w.claimed);
}

#endif
