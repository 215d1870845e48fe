/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pause guard of one VM: a TPM command that nears the limit the guest has
 * for it unanswered stops the guest's clock, and with it that limit, until the
 * answer is there. So a slow link or a short outage costs a guest time and
 * never a command. Pure.
 *
 * What is under way with QEMU is the state; why, are the flags beside it:
 *
 *   REST    nothing is
 *   LOOK    QEMU is asked whether the guest runs (query-status)
 *   STOP    it runs, a command nears its limit: it is being stopped
 *   CONT    the answer is there: it is being let go on
 *
 * P1 the guest is stopped only after it was seen running, and is let go on
 *    only if it was stopped by us (`ours`).
 * P2 while barred neither is asked: somebody else decides whether the guest
 *    runs (a migration from its stop to its end, a destination before it may
 *    run, a fence). `ours` is kept over the bar: if the guest is still paused
 *    after it, that is by our hand, and it goes on by ours.
 * P3 nobody is held longer than LY_GUARD_GRACE_MS after the command came: by
 *    then the TPM has told the guest that it failed.
 *
 * The mark (`ours`) outlives the agent: LY_GUARD_DO_MARK comes before the guest is
 * stopped, LY_GUARD_DO_UNMARK after it goes on, and LY_GUARD_WAKE tells the
 * next agent's machine.
 */
#ifndef LY_AGENT_AWAY_GUARD_H
#define LY_AGENT_AWAY_GUARD_H

#include "agent/away/away.h"

/* Between the stop and the limit. QEMU needs some of it to stop a guest. */
#define LY_GUARD_MARGIN_MS 350
/* From a new agent's start to the stop: most often the answer is there by then,
 * and the rest of the margin is enough to stop the guest. */
#define LY_GUARD_WAKE_MS 50
/* A second later than the TPM fails, so that it is the failure that ends it. */
#define LY_GUARD_GRACE_MS (LY_GRACE_MS + 1000)
#define LY_GUARD_TELL_MS 1000	  /* held longer: the manager is told */
#define LY_GUARD_AGAIN_MS 500	  /* between two tries that QEMU refuses */
#define LY_GUARD_OFTEN_MS 60000	  /* twice within it: an alarm */
#define LY_GUARD_ALARM_MS 600000  /* between two of these alarms */
#define LY_GUARD_SUMMARY_MS 60000 /* between two lines of counters */

enum ly_guard_state {
	LY_GUARD_REST,
	LY_GUARD_LOOK,
	LY_GUARD_STOP,
	LY_GUARD_CONT,
	LY_GUARD_STATES
};
const char *ly_guard_state_name(unsigned state);

enum ly_guard_kind {
	LY_GUARD_COMMAND,  /* the guest waits for a command of `limit_ms` */
	LY_GUARD_ANSWERED, /* it has the answer, or a failure */
	LY_GUARD_BAR,	   /* somebody else decides from now on */
	LY_GUARD_FREE,	   /* ... no more */
	LY_GUARD_LOOKED,   /* answer to LOOK: `ok`, `runs` */
	LY_GUARD_STOPPED,  /* answer to STOP: `ok` */
	LY_GUARD_GONE_ON,  /* answer to CONT: `ok` */
	LY_GUARD_SAW_RUN,  /* QEMU says that the guest goes on */
	LY_GUARD_WAKE,	   /* of a new agent, after the COMMAND that waits, if
			    * any; `ours`: the mark was there */
	LY_GUARD_TICK,
	LY_GUARD_KINDS
};

struct ly_guard_event {
	enum ly_guard_kind kind;
	uint64_t now_ms; /* of a clock that only rises; in every event */
	uint32_t limit_ms;
	bool ok, runs, ours;
};

enum ly_guard_act {
	LY_GUARD_DO_LOOK, /* query-status; then LOOKED */
	LY_GUARD_DO_MARK,
	LY_GUARD_DO_STOP, /* then STOPPED */
	LY_GUARD_DO_CONT, /* then GONE_ON */
	LY_GUARD_DO_UNMARK,
	LY_GUARD_DO_TELL,    /* `held`: since LY_GUARD_TELL_MS; or no more */
	LY_GUARD_DO_ALARM,   /* `text` */
	LY_GUARD_DO_SUMMARY, /* log `sum`, which begins anew */
};

/* Of the guest's pauses since the last summary. */
struct ly_guard_sum {
	uint32_t pauses;
	uint64_t ms, longest_ms;
};

struct ly_guard_todo {
	enum ly_guard_act act;
	bool held;
	const char *text;
	struct ly_guard_sum sum;
};

#define LY_GUARD_TODO_MAX 6

struct ly_guard_todos {
	struct ly_guard_todo act[LY_GUARD_TODO_MAX];
	unsigned n;
};

struct ly_guard {
	enum ly_guard_state state;
	bool barred;
	bool ours;    /* stopped by us, and not gone on since */
	bool waiting; /* a command with a limit has no answer */
	bool leave;   /* ... but nobody is stopped for it any more */
	bool foreign; /* ... but somebody else has stopped the guest */
	bool told;    /* DO_TELL held */
	uint32_t limit_ms;
	uint64_t since_ms;   /* of the command */
	uint64_t stopped_ms; /* of the pause */
	uint64_t again_ms;   /* QEMU refused: not before then; 0: it did not */
	uint64_t last_ms;    /* of the pause before this one; 0: none */
	uint64_t alarm_ms;   /* of the last alarm; 0: none */
	uint64_t sum_ms;     /* when `sum` began; 0: it is empty */
	struct ly_guard_sum sum;
};

void ly_guard_init(struct ly_guard *g, bool barred);
void ly_guard_step(struct ly_guard *g, const struct ly_guard_event *ev,
    struct ly_guard_todos *todo);
/* It wants a TICK some time. */
bool ly_guard_ticks(const struct ly_guard *g);

#endif
