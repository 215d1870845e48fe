/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/enrol/enrol.h"

typedef void handler(struct ly_enrolment *e,
    const struct ly_enrolment_event *ev, struct ly_enrolment_todos *todo);

static const char *const names[LY_ENROLMENT_STATES] = { "unknown", "asked",
	"challenged", "proved", "recorded", "enrolled", "renewing", "frozen" };

const char *
ly_enrolment_name(unsigned state)
{
	return state < LY_ENROLMENT_STATES ? names[state] : "?";
}

/* ---- things to do ---- */

static struct ly_enrolment_todo *
add(struct ly_enrolment_todos *todo, enum ly_enrolment_act act)
{
	struct ly_enrolment_todo *t;

	assert(todo->n < LY_ENROLMENT_TODO_MAX);
	t = &todo->act[todo->n++];
	*t = (struct ly_enrolment_todo){ .act = act };
	return t;
}

static void
forget(struct ly_enrolment *e, struct ly_enrolment_todos *todo)
{
	if (e->asked)
		add(todo, LY_ENROLMENT_FORGET);
	e->asked = false;
}

/* The one who asks: what was asked before is not heard any more (E2). */
static void
ask(struct ly_enrolment *e, enum ly_enrol_step step,
    enum ly_enrolment_state state, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	forget(e, todo);
	e->state = state;
	e->step = step;
	e->asked = true;
	e->since = ev->now;
	e->again = 0;
	add(todo, LY_ENROLMENT_ASK)->step = step;
}

static void
begin(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	ask(e, LY_ENROL_BEGIN, LY_ENROLMENT_ASKED, ev, todo);
}

static void
give(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	ask(e, LY_ENROL_TAKE, LY_ENROLMENT_ENROLLED, ev, todo);
}

/* E4 */
static enum ly_enrolment_state
resting(const struct ly_enrolment *e, uint64_t now)
{
	return e->ends > now ? LY_ENROLMENT_ENROLLED : LY_ENROLMENT_UNKNOWN;
}

/* An attempt has come to nothing; `wait_s` until we try again by ourselves. */
static void
end(struct ly_enrolment *e, uint64_t wait_s, const char *text,
    const struct ly_enrolment_event *ev, struct ly_enrolment_todos *todo)
{
	forget(e, todo);
	e->state = resting(e, ev->now);
	e->anew = false;
	e->again = ev->now + wait_s;
	add(todo, LY_ENROLMENT_OVER)->text = text;
}

/* A proof was no proof (E3). */
static void
failed(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	e->failures++;
	add(todo, LY_ENROLMENT_KEEP);
	end(e, LY_ENROL_AGAIN_S, NULL, ev, todo);
	if (e->failures >= LY_ENROLMENT_TRIES)
		e->state = LY_ENROLMENT_FROZEN;
}

uint64_t
ly_enrolment_half(const struct ly_enrolment *e)
{
	return e->issued + (e->ends - e->issued) / 2;
}

/* ---- handlers ---- */

static void
nothing(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	(void)e;
	(void)ev;
	(void)todo;
}

/* Its agent may be another one now, which knows nothing of what was asked. */
static void
on_up(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	forget(e, todo);
	e->anew = false;
	e->up = true;
	e->state = resting(e, ev->now);
	if (e->state == LY_ENROLMENT_ENROLLED && ev->has)
		e->given = true;
	else
		begin(e, ev, todo);
}

static void
on_down(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	e->up = false;
	if (e->asked)
		end(e, 0, "the host is gone", ev, todo);
}

/* What is being written is written, whether the host is there or not. */
static void
down_later(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	(void)ev;
	(void)todo;
	e->up = false;
}

static void
up_later(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	(void)ev;
	(void)todo;
	e->up = true;
}

static void
on_wish(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	if (e->up)
		begin(e, ev, todo);
	else
		add(todo, LY_ENROLMENT_OVER)->text = "it is not connected";
}

static void
wish_frozen(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	(void)e;
	(void)ev;
	add(todo, LY_ENROLMENT_OVER)->text =
	    "frozen after three failed proofs (lanyard host unfreeze)";
}

static void
on_list(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	if (e->up && e->given)
		ask(e, LY_ENROL_RENEW, LY_ENROLMENT_RENEWING, ev, todo);
}

static void
idle_tick(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	if (e->up && !e->asked && ev->now >= e->again)
		begin(e, ev, todo);
}

static void
enrolled_tick(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	if (ev->now >= e->ends) {
		end(e, 0, "its certificate has ended", ev, todo);
		return;
	}
	if (!e->up || e->asked || ev->now < e->again)
		return;
	if (!e->given)
		give(e, ev, todo);
	else if (ev->now >= ly_enrolment_half(e))
		ask(e, LY_ENROL_RENEW, LY_ENROLMENT_RENEWING, ev, todo);
}

static void
dared_tick(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	if (ev->now - e->since >= LY_DARE_S)
		end(e, LY_ENROL_AGAIN_S,
		    "the host has not answered its challenge in 5 minutes", ev,
		    todo);
}

static void
keys_heard(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	switch (ev->verdict) {
	case LY_VERDICT_GOOD:
		ask(e, LY_ENROL_PROVE, LY_ENROLMENT_DARED, ev, todo);
		break;
	case LY_VERDICT_SAME:
		if (ev->now < ly_enrolment_half(e))
			give(e, ev, todo);
		else
			ask(e, LY_ENROL_PROVE, LY_ENROLMENT_DARED, ev, todo);
		break;
	case LY_VERDICT_BAD:
		end(e, LY_ENROL_REFUSED_S, NULL, ev, todo);
		break;
	case LY_VERDICT_LATER:
	case LY_VERDICT_ANEW:
	case LY_VERDICTS:
		end(e, LY_ENROL_AGAIN_S, NULL, ev, todo);
		break;
	}
}

static void
proof_heard(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	switch (ev->verdict) {
	case LY_VERDICT_GOOD:
		if (ev->now - e->since >= LY_DARE_S) { /* E2 */
			dared_tick(e, ev, todo);
			break;
		}
		e->asked = false;
		e->state = LY_ENROLMENT_PROVED;
		add(todo, LY_ENROLMENT_RECORD);
		break;
	case LY_VERDICT_BAD:
		failed(e, ev, todo);
		break;
	case LY_VERDICT_ANEW:
		if (e->anew) { /* E5 */
			end(e, LY_ENROL_AGAIN_S, NULL, ev, todo);
			break;
		}
		begin(e, ev, todo);
		e->anew = true;
		break;
	case LY_VERDICT_LATER:
	case LY_VERDICT_SAME:
	case LY_VERDICTS:
		end(e, LY_ENROL_AGAIN_S, NULL, ev, todo);
		break;
	}
}

/* TAKE, in ENROLLED. A host that will not have it has other keys by now. */
static void
papers_heard(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	e->asked = false;
	if (ev->verdict == LY_VERDICT_GOOD) {
		e->given = true;
		add(todo, LY_ENROLMENT_OVER)->good = true;
	} else if (ev->verdict == LY_VERDICT_LATER) {
		end(e, LY_ENROL_AGAIN_S, NULL, ev, todo);
	} else {
		e->issued = e->ends = 0;
		end(e, LY_ENROL_REFUSED_S, NULL, ev, todo);
	}
}

static void
on_saved(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	if (ev->verdict == LY_VERDICT_GOOD) {
		e->state = LY_ENROLMENT_RECORDED;
		add(todo, LY_ENROLMENT_ISSUE);
	} else if (ev->verdict == LY_VERDICT_BAD) {
		failed(e, ev, todo);
	} else {
		end(e, LY_ENROL_AGAIN_S, NULL, ev, todo);
	}
}

static void
on_issued(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	if (ev->verdict != LY_VERDICT_GOOD) {
		end(e, LY_ENROL_AGAIN_S, NULL, ev, todo);
		return;
	}
	e->failures = 0;
	e->anew = false;
	e->issued = ev->now;
	e->ends = ev->ends;
	e->given = false;
	e->state = LY_ENROLMENT_ENROLLED;
	if (e->up)
		give(e, ev, todo);
	else
		end(e, 0, "the host is gone", ev, todo);
}

static void
on_unfreeze(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	e->failures = 0;
	e->state = resting(e, ev->now);
	e->again = ev->now;
	add(todo, LY_ENROLMENT_KEEP);
	if (e->up)
		begin(e, ev, todo);
}

static void
on_revoked(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	(void)ev;
	forget(e, todo);
	e->issued = e->ends = 0;
	e->given = false;
	if (e->state != LY_ENROLMENT_FROZEN)
		e->state = LY_ENROLMENT_UNKNOWN;
}

// clang-format off
static handler *const table[LY_ENROLMENT_STATES][LY_ENROLMENT_KINDS] = {
/*                 UP        DOWN        WISH         LIST     HEARD         SAVED     ISSUED     UNFREEZE     TICK REVOKED */
[LY_ENROLMENT_UNKNOWN] =
		 { on_up,    on_down,    on_wish,     nothing, nothing,      nothing,  nothing,   nothing,     idle_tick, on_revoked },
[LY_ENROLMENT_ASKED] =
		 { on_up,    on_down,    nothing,     nothing, keys_heard,   nothing,  nothing,   nothing,     nothing, on_revoked },
[LY_ENROLMENT_DARED] =
		 { on_up,    on_down,    nothing,     nothing, proof_heard,  nothing,  nothing,   nothing,     dared_tick, on_revoked },
[LY_ENROLMENT_PROVED] =
		 { up_later, down_later, nothing,     nothing, nothing,      on_saved, nothing,   nothing,     nothing, on_revoked },
[LY_ENROLMENT_RECORDED] =
		 { up_later, down_later, nothing,     nothing, nothing,      nothing,  on_issued, nothing,     nothing, on_revoked },
[LY_ENROLMENT_ENROLLED] =
		 { on_up,    on_down,    on_wish,     on_list, papers_heard, nothing,  nothing,   nothing,     enrolled_tick, on_revoked },
[LY_ENROLMENT_RENEWING] =
		 { on_up,    on_down,    nothing,     nothing, proof_heard,  nothing,  nothing,   nothing,     dared_tick, on_revoked },
[LY_ENROLMENT_FROZEN] =
		 { up_later, down_later, wish_frozen, nothing, nothing,      nothing,  nothing,   on_unfreeze, nothing, on_revoked },
};
// clang-format on

void
ly_enrolment_init(struct ly_enrolment *e, unsigned failures, uint64_t issued,
    uint64_t ends, uint64_t now)
{
	*e = (struct ly_enrolment){ .failures = failures,
		.issued = issued,
		.ends = ends };
	e->state = failures >= LY_ENROLMENT_TRIES ? LY_ENROLMENT_FROZEN :
						    resting(e, now);
}

void
ly_enrolment_step(struct ly_enrolment *e, const struct ly_enrolment_event *ev,
    struct ly_enrolment_todos *todo)
{
	if (ev->kind == LY_ENROLMENT_HEARD &&
	    (!e->asked || ev->step != e->step))
		return; /* E2 */
	table[e->state][ev->kind](e, ev, todo);
	assert(e->state != LY_ENROLMENT_FROZEN || !e->asked);
}

bool
ly_enrolment_table_full(void)
{
	for (size_t s = 0; s < LY_ENROLMENT_STATES; s++)
		for (size_t k = 0; k < LY_ENROLMENT_KINDS; k++)
			if (!table[s][k])
				return false;
	return true;
}
