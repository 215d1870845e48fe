/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One home and what it answered last, and the words of those who talk to it:
 * shared by the tests of the home machine.
 */
#ifndef LY_TESTS_UNIT_HOME_SCENE_H
#define LY_TESTS_UNIT_HOME_SCENE_H

#include "agent/home/home.h"
#include "tests/test.h"

#define A "spiffe://north/host/a"
#define B "spiffe://north/host/b"
#define DOOR_A 11
#define DOOR_B 22
#define NOW 1000000

static const struct ly_id vm = { { 1 } }, mig = { { 2 } }, mig2 = { { 3 } };
static const uint8_t fresh[LY_SECRET_LEN] = { 42 };
static const uint8_t hash1[32] = { 1 }, hash2[32] = { 2 };

struct world {
	struct ly_home home;
	struct ly_home_todos todo; /* of the last step */
	unsigned runs;
};

static inline void
tell(struct world *w, struct ly_home_event ev)
{
	w->todo.n = 0;
	ev.now = ev.now ? ev.now : NOW;
	ly_home_step(&w->home, &ev, &w->todo);
	for (unsigned i = 0; i < w->todo.n; i++)
		w->runs += w->todo.act[i].act == LY_DO_RUN;
}

static const struct ly_home_todo *
find(const struct world *w, enum ly_home_act act)
{
	for (unsigned i = 0; i < w->todo.n; i++)
		if (w->todo.act[i].act == act)
			return &w->todo.act[i];
	return NULL;
}

static inline void
disk(struct world *w, bool ok)
{
	WANT(find(w, LY_DO_WRITE));
	tell(w, (struct ly_home_event){ .kind = LY_HOME_WRITTEN, .ok = ok });
}

static inline struct ly_ticket
ticket(const struct world *w, const char *who, unsigned rights)
{
	struct ly_ticket t = { .vm = vm,
		.rights = (uint8_t)rights,
		.from_epoch = w->home.rec.epoch,
		.to_epoch = w->home.rec.epoch + 1,
		.expires = NOW + 60 };

	ly_copy(t.holder, sizeof(t.holder), who);
	if (rights & LY_MAY_MOVE)
		t.mig = mig;
	return t;
}

static inline void
ask_attach(struct world *w, const char *who, ly_door door, unsigned rights)
{
	struct ly_ticket t = ticket(w, who, rights);

	tell(w,
	    (struct ly_home_event){ .kind = LY_HOME_ATTACH,
		.door = door,
		.who = who,
		.ticket = &t,
		.secret = fresh });
}

static inline void
command(struct world *w, ly_door door, uint64_t epoch, uint64_t seq,
    const uint8_t *hash)
{
	tell(w,
	    (struct ly_home_event){ .kind = LY_HOME_COMMAND,
		.door = door,
		.who = A,
		.epoch = epoch,
		.seq = seq,
		.hash = hash });
}

static inline void
init_command(struct world *w, ly_door door, uint64_t seq)
{
	tell(w,
	    (struct ly_home_event){ .kind = LY_HOME_COMMAND,
		.door = door,
		.who = A,
		.epoch = 1,
		.seq = seq,
		.op = LY_OP_INIT,
		.hash = hash1 });
}

static inline void
answer(struct world *w)
{
	tell(w, (struct ly_home_event){ .kind = LY_HOME_ANSWER, .ok = true });
}

/* Attached to A in epoch 1, the guest's reset done as seq 1. */
static inline struct world
attached(void)
{
	struct ly_record rec = { .vm = vm };
	struct world w = { .runs = 0 };

	ly_home_init(&w.home, &rec);
	ask_attach(&w, A, DOOR_A, LY_MAY_ATTACH);
	disk(&w, true);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_COMMAND,
		.door = DOOR_A,
		.who = A,
		.epoch = 1,
		.seq = 1,
		.op = LY_OP_INIT,
		.hash = hash1 });
	answer(&w);
	w.runs = 0;
	return w;
}

static inline void
stage(struct world *w, const char *who, ly_door door)
{
	struct ly_ticket t = ticket(w, who, LY_MAY_MOVE);

	tell(w,
	    (struct ly_home_event){ .kind = LY_HOME_PRESTAGE,
		.door = door,
		.who = who,
		.ticket = &t,
		.mig = mig });
}

static inline struct world
prepared(void)
{
	struct world w = attached();

	stage(&w, B, DOOR_B);
	disk(&w, true);
	return w;
}

static inline void
release(struct world *w, uint64_t seq)
{
	tell(w,
	    (struct ly_home_event){ .kind = LY_HOME_RELEASE,
		.door = DOOR_A,
		.who = A,
		.mig = mig,
		.epoch = 1,
		.seq = seq });
}

static inline void
claim_with(struct world *w, const char *who, const struct ly_token *token)
{
	tell(w,
	    (struct ly_home_event){ .kind = LY_HOME_CLAIM,
		.door = DOOR_B,
		.who = who,
		.mig = mig,
		.token = token,
		.secret = fresh });
}

static inline void
claim(struct world *w, uint64_t seq)
{
	struct ly_token t = { .vm = vm, .mig = mig, .epoch = 1, .seq = seq };

	claim_with(w, B, &t);
}

static inline void
ask_abort(struct world *w, const char *who)
{
	tell(w,
	    (struct ly_home_event){ .kind = LY_HOME_ABORT,
		.door = DOOR_A,
		.who = who,
		.mig = mig });
}

/* A ticket, shown at B's door. */
static inline struct ly_home_event
shows(const struct ly_ticket *t, enum ly_home_kind kind, const char *who)
{
	return (struct ly_home_event){ .kind = kind,
		.door = DOOR_B,
		.who = who,
		.ticket = t,
		.mig = mig,
		.secret = fresh };
}

#endif
