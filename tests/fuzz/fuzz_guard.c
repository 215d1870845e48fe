/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events in any order into a pause guard, beside a QEMU that answers what it
 * is asked, late or with a refusal, and that others stop and let go on. Two
 * bytes are one event. Checked: what guard.h says of P1 and P2 after every
 * step, and at the end, when all is answered, that nobody is left behind.
 */
#include "agent/away/guard.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct world {
	struct ly_guard g;
	uint64_t now_ms;
	bool runs, theirs;	 /* the guest; `theirs`: others stopped it */
	bool seen;		 /* running, by the last look */
	enum ly_guard_act asked; /* LOOK, STOP or CONT; MARK: nothing */
};

static void
must(bool so)
{
	if (!so)
		abort();
}

static void
obey(struct world *w, const struct ly_guard_todo *t)
{
	switch (t->act) {
	case LY_GUARD_DO_STOP:
		must(w->seen && !w->g.barred);
		break;
	case LY_GUARD_DO_CONT:
		must(w->g.ours && !w->g.barred);
		break;
	case LY_GUARD_DO_LOOK:
		must(!w->g.barred && !w->g.ours);
		break;
	case LY_GUARD_DO_MARK:
	case LY_GUARD_DO_UNMARK:
	case LY_GUARD_DO_TELL:
	case LY_GUARD_DO_ALARM:
	case LY_GUARD_DO_SUMMARY:
		return;
	}
	must(w->asked == LY_GUARD_DO_MARK); /* one thing at a time */
	w->asked = t->act;
}

static void
step(struct world *w, struct ly_guard_event ev)
{
	struct ly_guard_todos todo = { .n = 0 };

	ev.now_ms = w->now_ms;
	ly_guard_step(&w->g, &ev, &todo);
	for (unsigned i = 0; i < todo.n; i++)
		obey(w, &todo.act[i]);
}

static void
answer(struct world *w, bool ok)
{
	enum ly_guard_act asked = w->asked;
	struct ly_guard_event ev = { .ok = ok, .runs = w->runs };

	w->asked = LY_GUARD_DO_MARK;
	if (asked == LY_GUARD_DO_LOOK) {
		ev.kind = LY_GUARD_LOOKED;
		w->seen = ok && w->runs;
	} else if (asked == LY_GUARD_DO_STOP) {
		ev.kind = LY_GUARD_STOPPED;
		w->runs = false;
		w->seen = false;
	} else if (asked == LY_GUARD_DO_CONT) {
		ev.kind = LY_GUARD_GONE_ON;
		w->runs = w->runs || ok;
	} else {
		return;
	}
	step(w, ev);
}

static void
others(struct world *w, bool run)
{
	bool news = run && !w->runs;

	w->theirs = !run && (w->runs || w->theirs);
	w->runs = run;
	if (news)
		step(w, (struct ly_guard_event){ .kind = LY_GUARD_SAW_RUN });
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint32_t limits[] = { 0, 750, 2000 };
	struct world w = { .now_ms = 1000,
		.runs = true,
		.asked = LY_GUARD_DO_MARK };

	ly_guard_init(&w.g, false);
	for (size_t i = 0; i + 1 < len; i += 2) {
		struct ly_guard_event ev = { .kind = data[i] % 4u,
			.limit_ms = limits[data[i + 1] % 3] };

		w.now_ms += data[i + 1] * 8u;
		if (data[i] % 8 < 4)
			step(&w, ev); /* COMMAND, ANSWERED, BAR, FREE */
		else if (data[i] % 8 < 6)
			answer(&w, data[i] & 8);
		else if (data[i] % 8 == 6)
			others(&w, data[i] & 8);
		else
			step(&w,
			    (struct ly_guard_event){ .kind = LY_GUARD_TICK });
	}
	step(&w, (struct ly_guard_event){ .kind = LY_GUARD_ANSWERED });
	step(&w, (struct ly_guard_event){ .kind = LY_GUARD_FREE });
	for (unsigned i = 0; i < 4; i++) {
		answer(&w, true);
		w.now_ms += LY_GUARD_AGAIN_MS;
		step(&w, (struct ly_guard_event){ .kind = LY_GUARD_TICK });
	}
	must(!w.g.ours && w.asked == LY_GUARD_DO_MARK);
	must(w.runs || w.theirs);
	return 0;
}
