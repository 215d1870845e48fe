/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One migration at its source, told event by event what happens.
 */
#ifndef LY_TESTS_UNIT_SOURCE_SCENE_H
#define LY_TESTS_UNIT_SOURCE_SCENE_H

#include "agent/stream/source.h"
#include "tests/test.h"

#define MIB UINT64_C(1048576)

static struct ly_source_core s;
static struct ly_source_todos todo; /* of the last step */
static uint64_t now;
static unsigned done[LY_SRC_DO_OVER + 1]; /* since begin() */

static bool slow_hooks; /* the test answers HOOK itself */

/* Who has no hooks has them answered at once. */
static inline void
step(struct ly_source_event ev)
{
	bool hook = false;

	todo.n = 0;
	ev.now_ms = now;
	ly_source_step(&s, &ev, &todo);
	for (unsigned i = 0; i < todo.n; i++)
		hook |= todo.act[i].act == LY_SRC_DO_HOOK;
	ev.kind = LY_SRC_HOOKED;
	ev.ok = true;
	if (hook && !slow_hooks)
		ly_source_step(&s, &ev, &todo);
	for (unsigned i = 0; i < todo.n; i++)
		done[todo.act[i].act]++;
}

static inline void
tell(enum ly_source_kind kind)
{
	step((struct ly_source_event){ .kind = kind, .ok = true });
}

/* Of the last step. */
static inline const struct ly_source_todo *
said(enum ly_source_act act)
{
	for (unsigned i = 0; i < todo.n; i++)
		if (todo.act[i].act == act)
			return &todo.act[i];
	return NULL;
}

static inline void
begin(void)
{
	now = 1000;
	slow_hooks = false;
	memset(done, 0, sizeof(done));
	ly_source_init(&s, 300, now);
	tell(LY_SRC_OPEN);
	WANT(said(LY_SRC_DO_SETUP));
}

static inline void
begin_copy(void)
{
	begin();
	tell(LY_SRC_SET);
	WANT_INT(s.state, LY_SRC_COPY);
	WANT(said(LY_SRC_DO_POLL));
}

static inline void
status(enum ly_mig mig)
{
	step((struct ly_source_event){ .kind = LY_SRC_STATUS,
	    .status = mig,
	    .text = "QEMU's own words",
	    .quiet = true });
}

/* A poll 100 ms later, in which `moved` bytes have gone since the last. */
static inline void
copy(uint64_t passes, uint64_t moved, uint64_t remaining, uint64_t dirty,
    bool idle)
{
	static uint64_t bytes;

	now += 100;
	bytes += moved;
	step((struct ly_source_event){ .kind = LY_SRC_STATUS,
	    .status = LY_MIG_BUSY,
	    .idle = idle,
	    .numbers = { .bytes = bytes,
		.total = 1024 * MIB,
		.remaining = remaining,
		.dirty_rate = dirty,
		.passes = passes } });
}

/* Copied until it fits, stopped, and we came before QEMU. */
static inline void
begin_won(void)
{
	begin_copy();
	copy(1, 10 * MIB, 500 * MIB, 0, true);
	copy(1, 10 * MIB, 400 * MIB, 0, true);
	copy(2, 10 * MIB, 10 * MIB, MIB, true);
	WANT(said(LY_SRC_DO_STOP));
	step((struct ly_source_event){ .kind = LY_SRC_STOPPED,
	    .ok = true,
	    .won = true });
}

static inline void
released(enum ly_rc rc)
{
	step((struct ly_source_event){ .kind = LY_SRC_RELEASED, .rc = rc });
}

static inline void
ready(enum ly_rc rc)
{
	step((struct ly_source_event){ .kind = LY_SRC_READY, .rc = rc });
}

static inline void
fate(enum ly_rc rc, enum ly_fate f)
{
	step((struct ly_source_event){ .kind = LY_SRC_FATE,
	    .rc = rc,
	    .fate = f });
}

static inline void
lost(void)
{
	step((struct ly_source_event){ .kind = LY_SRC_LOST,
	    .text = "cable cut" });
}

static inline void
tick(uint64_t ms)
{
	now += ms;
	tell(LY_SRC_TICK);
}

/* FIN is sent. */
static inline void
begin_waiting(void)
{
	begin_won();
	released(LY_OK);
	status(LY_MIG_COMPLETED);
	tell(LY_SRC_END);
	WANT_INT(s.state, LY_SRC_WAIT);
	WANT_INT(done[LY_SRC_DO_FIN], 1);
}

static inline void
want_over(enum ly_source_end end, const char *why)
{
	const struct ly_source_todo *t = said(LY_SRC_DO_OVER);

	WANT_INT(s.state, LY_SRC_OVER);
	WANT(t);
	WANT_INT(t->end, end);
	WANT(said(LY_SRC_DO_HANGUP));
	if (end == LY_SOURCE_MOVED)
		WANT_INT(s.rc, LY_OK);
	else
		WANT(s.rc != LY_OK);
	WANT(strstr(s.why, why));
}

/* The guest is started again, after QEMU has given up what it was doing. */
static inline void
want_undone(const char *why)
{
	WANT_INT(s.state, LY_SRC_UNDO);
	WANT(said(LY_SRC_DO_CANCEL));
	WANT(said(LY_SRC_DO_HANGUP));
	status(LY_MIG_BUSY);
	WANT_INT(s.state, LY_SRC_UNDO);
	status(LY_MIG_CANCELLED);
	WANT(said(LY_SRC_DO_CONT));
	tell(LY_SRC_RESUMED);
	want_over(LY_SOURCE_STAYED, why);
}

#endif
