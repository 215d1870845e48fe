/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/link/lease.h"

typedef void handler(struct ly_lease *l, const struct ly_lease_event *ev,
    struct ly_lease_todo *todo);

/* Asked three times in the time of one, so that two answers may be lost. */
static uint64_t
next_ask(const struct ly_lease *l)
{
	uint32_t length = l->length_ms ? l->length_ms : LY_LEASE_LEAST_MS;

	return l->asked_ms + length / 3;
}

static void
ask(struct ly_lease *l, const struct ly_lease_event *ev,
    struct ly_lease_todo *todo)
{
	l->asked_ms = ev->now_ms;
	todo->ask = true;
}

static void
on_linked(struct ly_lease *l, const struct ly_lease_event *ev,
    struct ly_lease_todo *todo)
{
	l->state = LY_LEASE_UP;
	l->linked_ms = ev->now_ms;
	l->length_ms = 0;
	ask(l, ev, todo);
}

static void
on_lost(struct ly_lease *l, const struct ly_lease_event *ev,
    struct ly_lease_todo *todo)
{
	(void)ev;
	(void)todo;
	l->state = LY_LEASE_DOWN; /* until_ms stands (T1) */
}

static void
on_heard(struct ly_lease *l, const struct ly_lease_event *ev,
    struct ly_lease_todo *todo)
{
	(void)todo;
	if (ev->stamp < l->linked_ms || ev->stamp > ev->now_ms)
		return; /* T2 */
	l->length_ms = ev->length_ms < LY_LEASE_MOST_MS ? ev->length_ms :
							  LY_LEASE_MOST_MS;
	l->until_ms = ly_max(l->until_ms, ev->stamp + l->length_ms);
}

static void
on_tick(struct ly_lease *l, const struct ly_lease_event *ev,
    struct ly_lease_todo *todo)
{
	if (ev->now_ms >= next_ask(l))
		ask(l, ev, todo);
}

static void
nothing(struct ly_lease *l, const struct ly_lease_event *ev,
    struct ly_lease_todo *todo)
{
	(void)l;
	(void)ev;
	(void)todo;
}

// clang-format off
static handler *const table[LY_LEASE_STATES][LY_LEASE_NEWS] = {
	/*		      LINKED     LOST      HEARD     TICK */
	[LY_LEASE_DOWN] = { on_linked, nothing,  nothing,  nothing },
	[LY_LEASE_UP]	= { on_linked, on_lost,  on_heard, on_tick },
};
// clang-format on

bool
ly_lease_good(const struct ly_lease *l, uint64_t now_ms)
{
	return now_ms < l->until_ms;
}

void
ly_lease_step(struct ly_lease *l, const struct ly_lease_event *ev,
    struct ly_lease_todo *todo)
{
	*todo = (struct ly_lease_todo){ .ask = false };
	assert(l->state < LY_LEASE_STATES && ev->kind < LY_LEASE_NEWS);
	table[l->state][ev->kind](l, ev, todo);
	todo->good = ly_lease_good(l, ev->now_ms);
	todo->tell = todo->good != l->told;
	l->told = todo->good;
}

uint64_t
ly_lease_due(const struct ly_lease *l)
{
	uint64_t due = l->told ? l->until_ms : UINT64_MAX;

	return l->state == LY_LEASE_UP ? ly_min(due, next_ask(l)) : due;
}

/* ---- the home ---- */

enum ly_rc
ly_lessor_renew(struct ly_lessor *l, uint64_t now_ms, uint64_t wall_s,
    struct ly_why *why)
{
	if (wall_s >= l->not_after)
		return ly_fail(why, LY_REFUSED, "its certificate has ended");
	l->until_ms = now_ms + l->length_ms;
	return LY_OK;
}

bool
ly_lessor_good(const struct ly_lessor *l, uint64_t now_ms, uint64_t wall_s)
{
	return now_ms < l->until_ms && wall_s < l->not_after;
}
