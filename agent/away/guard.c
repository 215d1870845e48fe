/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/away/guard.h"

typedef void handler(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo);

const char *
ly_guard_state_name(unsigned state)
{
	static const char *const names[LY_GUARD_STATES] = {
		[LY_GUARD_REST] = "rest",
		[LY_GUARD_LOOK] = "look",
		[LY_GUARD_STOP] = "stop",
		[LY_GUARD_CONT] = "cont",
	};

	return state < LY_GUARD_STATES ? names[state] : "?";
}

static struct ly_guard_todo *
add(struct ly_guard_todos *todo, enum ly_guard_act act)
{
	assert(todo->n < LY_GUARD_TODO_MAX);
	todo->act[todo->n] = (struct ly_guard_todo){ .act = act };
	return &todo->act[todo->n++];
}

/* ---- what follows from how things are ---- */

/* The guest's limit is near. */
static bool
nears(const struct ly_guard *g, uint64_t now_ms)
{
	return g->waiting && !g->leave && !g->foreign &&
	    now_ms - g->since_ms + LY_GUARD_MARGIN_MS >= g->limit_ms;
}

/* Nothing is under way with QEMU: what should be? */
static void
decide(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	if (g->barred || ev->now_ms < g->again_ms) /* P2 */
		return;
	if (g->ours && (!g->waiting || g->leave)) {
		g->state = LY_GUARD_CONT;
		add(todo, LY_GUARD_DO_CONT);
	} else if (!g->ours && nears(g, ev->now_ms)) {
		g->state = LY_GUARD_LOOK;
		add(todo, LY_GUARD_DO_LOOK);
	}
}

static void
rest(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	g->state = LY_GUARD_REST;
	decide(g, ev, todo);
}

static void
rest_refused(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	g->again_ms = ev->now_ms + LY_GUARD_AGAIN_MS;
	rest(g, ev, todo);
}

static void
alarm_if_often(struct ly_guard *g, uint64_t now_ms, struct ly_guard_todos *todo)
{
	bool often = g->last_ms && now_ms - g->last_ms < LY_GUARD_OFTEN_MS;

	g->last_ms = now_ms;
	if (!often || (g->alarm_ms && now_ms - g->alarm_ms < LY_GUARD_ALARM_MS))
		return;
	g->alarm_ms = now_ms;
	add(todo, LY_GUARD_DO_ALARM)->text =
	    "the guest is stopped again and again, for its TPM's home answers"
	    " too slowly";
}

static void
stop(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	g->state = LY_GUARD_STOP;
	g->ours = true;
	g->stopped_ms = ev->now_ms;
	add(todo, LY_GUARD_DO_MARK);
	add(todo, LY_GUARD_DO_STOP);
	alarm_if_often(g, ev->now_ms, todo);
}

static void
count(struct ly_guard *g, uint64_t now_ms)
{
	uint64_t ms = now_ms - g->stopped_ms;

	if (!g->sum_ms)
		g->sum_ms = now_ms;
	g->sum.pauses++;
	g->sum.ms += ms;
	g->sum.longest_ms = ly_max(g->sum.longest_ms, ms);
}

/* The guest runs, by whomever. */
static void
gone_on(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	count(g, ev->now_ms);
	g->ours = false;
	add(todo, LY_GUARD_DO_UNMARK);
	if (g->told)
		add(todo, LY_GUARD_DO_TELL);
	g->told = false;
}

/* ---- events ---- */

static void
set_command(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	(void)todo;
	g->waiting = ev->limit_ms > 0;
	g->leave = g->foreign = false;
	g->limit_ms = ev->limit_ms;
	g->since_ms = ev->now_ms;
}

static void
set_answered(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	(void)ev;
	(void)todo;
	g->waiting = g->leave = g->foreign = false;
}

/* Whoever decides now also says how the VM is. */
static void
set_bar(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	(void)ev;
	(void)todo;
	g->barred = true;
	g->told = false;
}

static void
set_free(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	(void)ev;
	(void)todo;
	g->barred = false;
}

static void
on_command(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	set_command(g, ev, todo);
	decide(g, ev, todo);
}

static void
on_answered(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	set_answered(g, ev, todo);
	decide(g, ev, todo);
}

static void
on_free(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	set_free(g, ev, todo);
	decide(g, ev, todo);
}

/* Nobody knows how long the guest has waited already: at worst until just
 * before the one before us would have stopped it. */
static void
on_wake(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	g->ours = ev->ours;
	g->stopped_ms = ev->now_ms;
	if (g->waiting)
		g->limit_ms = (uint32_t)ly_min(g->limit_ms,
		    LY_GUARD_MARGIN_MS + LY_GUARD_WAKE_MS);
	decide(g, ev, todo);
}

/* Against us: then nobody is stopped for this command any more. */
static void
on_saw_run(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	g->foreign = false;
	if (g->ours) {
		g->leave = true;
		gone_on(g, ev, todo);
	}
	decide(g, ev, todo);
}

/* P1: what does not run was stopped by somebody else. */
static void
on_looked(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	if (!ev->ok) {
		rest_refused(g, ev, todo);
		return;
	}
	g->foreign = !ev->runs;
	if (!g->barred && nears(g, ev->now_ms))
		stop(g, ev, todo);
	else
		rest(g, ev, todo);
}

/* Refused or not heard of: it may have happened all the same, and to let a
 * guest go on that runs does no harm. */
static void
on_stopped(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	rest(g, ev, todo);
}

/* QEMU refuses while it is about to hand the guest over: then the source of
 * that migration says how it goes on, and we are barred soon. */
static void
on_gone_on(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	if (!ev->ok) {
		rest_refused(g, ev, todo);
		return;
	}
	gone_on(g, ev, todo);
	rest(g, ev, todo);
}

static void
say_what_is_due(struct ly_guard *g, uint64_t now_ms,
    struct ly_guard_todos *todo)
{
	if (g->ours && !g->told && !g->barred &&
	    now_ms - g->stopped_ms >= LY_GUARD_TELL_MS) {
		g->told = true;
		add(todo, LY_GUARD_DO_TELL)->held = true;
	}
	if (g->sum_ms && now_ms - g->sum_ms >= LY_GUARD_SUMMARY_MS) {
		add(todo, LY_GUARD_DO_SUMMARY)->sum = g->sum;
		g->sum = (struct ly_guard_sum){ .pauses = 0 };
		g->sum_ms = 0;
	}
}

/* P3 */
static void
tick_flying(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	say_what_is_due(g, ev->now_ms, todo);
	if (!g->waiting || g->leave ||
	    ev->now_ms - g->since_ms < LY_GUARD_GRACE_MS)
		return;
	g->leave = true;
	if (g->ours)
		add(todo, LY_GUARD_DO_ALARM)->text =
		    "the TPM does not answer: the guest goes on without";
}

static void
on_tick(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	tick_flying(g, ev, todo);
	decide(g, ev, todo);
}

static void
nothing(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	(void)g;
	(void)ev;
	(void)todo;
}

/* An answer to what was not asked cannot be: `nothing`. While something is
 * under way events are noted, and its answer decides. That the guest runs is
 * no news then: LOOK asks that, a stop under way comes after it, and a cont is
 * what made it run. */
static handler *const table[LY_GUARD_STATES][LY_GUARD_KINDS] = {
	[LY_GUARD_REST] = {
		[LY_GUARD_COMMAND] = on_command,
		[LY_GUARD_ANSWERED] = on_answered,
		[LY_GUARD_BAR] = set_bar,	[LY_GUARD_FREE] = on_free,
		[LY_GUARD_LOOKED] = nothing,	[LY_GUARD_STOPPED] = nothing,
		[LY_GUARD_GONE_ON] = nothing,
		[LY_GUARD_SAW_RUN] = on_saw_run,
		[LY_GUARD_WAKE] = on_wake,	[LY_GUARD_TICK] = on_tick,
	},
	[LY_GUARD_LOOK] = {
		[LY_GUARD_COMMAND] = set_command,
		[LY_GUARD_ANSWERED] = set_answered,
		[LY_GUARD_BAR] = set_bar,	[LY_GUARD_FREE] = set_free,
		[LY_GUARD_LOOKED] = on_looked,	[LY_GUARD_STOPPED] = nothing,
		[LY_GUARD_GONE_ON] = nothing,	[LY_GUARD_SAW_RUN] = nothing,
		[LY_GUARD_WAKE] = nothing,	[LY_GUARD_TICK] = tick_flying,
	},
	[LY_GUARD_STOP] = {
		[LY_GUARD_COMMAND] = set_command,
		[LY_GUARD_ANSWERED] = set_answered,
		[LY_GUARD_BAR] = set_bar,	[LY_GUARD_FREE] = set_free,
		[LY_GUARD_LOOKED] = nothing,	[LY_GUARD_STOPPED] = on_stopped,
		[LY_GUARD_GONE_ON] = nothing,	[LY_GUARD_SAW_RUN] = nothing,
		[LY_GUARD_WAKE] = nothing,	[LY_GUARD_TICK] = tick_flying,
	},
	[LY_GUARD_CONT] = {
		[LY_GUARD_COMMAND] = set_command,
		[LY_GUARD_ANSWERED] = set_answered,
		[LY_GUARD_BAR] = set_bar,	[LY_GUARD_FREE] = set_free,
		[LY_GUARD_LOOKED] = nothing,	[LY_GUARD_STOPPED] = nothing,
		[LY_GUARD_GONE_ON] = on_gone_on, [LY_GUARD_SAW_RUN] = nothing,
		[LY_GUARD_WAKE] = nothing,	[LY_GUARD_TICK] = tick_flying,
	},
};

void
ly_guard_init(struct ly_guard *g, bool barred)
{
	*g = (struct ly_guard){ .barred = barred };
}

void
ly_guard_step(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo)
{
	table[g->state][ev->kind](g, ev, todo);
	assert(
	    g->ours || g->state == LY_GUARD_REST || g->state == LY_GUARD_LOOK);
}

bool
ly_guard_ticks(const struct ly_guard *g)
{
	return g->waiting || g->ours || g->sum_ms;
}
