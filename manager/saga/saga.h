/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One migration, as its manager drives it. Pure: it is told what happened and
 * answers with a list of things to do.
 *
 * What it believes and keeps to:
 *
 * S1 the home decides what happened; the manager only decides whether. Fate
 *    comes from the home, or from the source, which has read it there.
 * S2 `rec` is what is on disk. It changes only by SAVE, then SAVED; nothing
 *    is asked of anybody before the state it belongs to is on disk.
 * S3 every request may be asked twice and is answered alike. So a restart, a
 *    lost answer and a full disk have one cure: ask again what the state on
 *    disk wants (GO and TICK).
 * S4 DROP goes only to the destination of an aborted migration; SETTLE says
 *    "claimed" only if the home has said so.
 * S5 once a source may have been told to copy, only a fate ends the saga.
 * S6 a host that is always busy is asked LY_SAGA_PATIENCE times, and is then
 *    taken to have refused; but a home that is asked for the fate, and whoever
 *    is told of it, is asked for ever.
 * S7 an attested one (`rec.attest`, for its whole life) asks for PREPARE only
 *    after all three have answered one call for evidence and the appraisal has
 *    said that they are fit; and for COPY only after UNLOCK. No other one ever
 *    asks for evidence or keys.
 *
 *   PLANNED -> (ATTESTING) -> PREPARING -> (KEYING) -> COPYING -> COMMITTED
 *      |            |             |            |          |           |
 *      |            |             +------------+----> SETTLING     CLEANED
 *      |            |                                  |    ^
 *      |            |                            ABORTING   DOUBT (home
 *      |            |                                  |     unreachable)
 *      +------------+------------------------------> ABORTED
 */
#ifndef LY_MANAGER_SAGA_SAGA_H
#define LY_MANAGER_SAGA_SAGA_H

#include "lib/wire/message.h"

/* A TICK comes once a second. */
#define LY_SAGA_PATIENCE 120

/* Durable. The values are on disk. */
enum ly_saga_state {
	LY_SAGA_PLANNED = 0,
	LY_SAGA_PREPARING = 1,
	LY_SAGA_COPYING = 2,
	LY_SAGA_SETTLING = 3,
	LY_SAGA_DOUBT = 4,
	LY_SAGA_COMMITTED = 5,
	LY_SAGA_CLEANED = 6,
	LY_SAGA_ABORTING = 7,
	LY_SAGA_ABORTED = 8,
	LY_SAGA_ATTESTING = 9,
	LY_SAGA_KEYING = 10,
	LY_SAGA_STATES
};
const char *ly_saga_state_name(unsigned state);
/* CLEANED and ABORTED: nothing more will happen. */
bool ly_saga_over(unsigned state);

enum ly_step {
	LY_STEP_AUTHORISE,
	LY_STEP_QUOTE_DEST,
	LY_STEP_QUOTE_SOURCE,
	LY_STEP_QUOTE_HOME,
	LY_STEP_PREPARE,
	LY_STEP_KEY,
	LY_STEP_IMPORT,
	LY_STEP_UNLOCK,
	LY_STEP_COPY,
	LY_STEP_CALLOFF,
	LY_STEP_ASK,
	LY_STEP_SETTLE,
	LY_STEP_DROP,
	LY_STEP_RECORD,
	LY_STEPS
};

enum ly_party {
	LY_PARTY_HOME = 1,
	LY_PARTY_SOURCE = 2,
	LY_PARTY_DEST = 3,
};
const char *ly_party_name(unsigned party);

struct ly_step_row {
	const char *name;
	const char *what; /* for --dry-run and the manual */
	enum ly_party whom;
	uint8_t asks; /* the message */
	const char *undo;
	bool back;	   /* there is a way back from here */
	uint32_t limit_ms; /* without an answer, or, for COPY, without news */
	bool attested;	   /* only in an attested migration */
};
extern const struct ly_step_row ly_steps[LY_STEPS];

enum ly_saga_kind {
	LY_SAGA_GO,	   /* begin, or go on after a restart */
	LY_SAGA_SAVED,	   /* `ok`: `next` is on disk, or could not be put */
	LY_SAGA_ANSWERED,  /* `step`: rc, fate, epoch */
	LY_SAGA_LATE,	   /* `step` has had its time */
	LY_SAGA_HOST_LOST, /* the source has been gone for too long */
	LY_SAGA_CANCEL,	   /* the operator would rather not */
	LY_SAGA_SUPERSEDE, /* the VM has been started anew, elsewhere */
	LY_SAGA_TICK,
	LY_SAGA_DECIDED, /* `ok`: the appraisal's word on the evidence */
	LY_SAGA_KINDS
};

struct ly_saga_event {
	enum ly_saga_kind kind;
	enum ly_step step;
	enum ly_rc rc;
	enum ly_fate fate;
	uint64_t epoch;
	bool ok;
};

/* The durable part. `tell` has a bit (1 << party) for each that must still
 * hear of the fate. */
struct ly_saga_rec {
	uint8_t state;
	uint8_t tell;
	uint8_t calloff; /* the operator has asked for it */
	uint8_t lost;	 /* the source's host was given up */
	uint8_t fate;	 /* enum ly_fate */
	uint8_t attest;	 /* as it was when it was planned */
	uint64_t epoch;	 /* of the lease it started from, then of the fate */
};

enum ly_saga_act {
	LY_SAGA_SAVE,	  /* `next` to disk, then tell SAVED */
	LY_SAGA_ASK,	  /* `step` of its party */
	LY_SAGA_FORGET,	  /* no answer to `step` is waited for any more */
	LY_SAGA_MOVED,	  /* rec.state has changed */
	LY_SAGA_SLOW,	  /* what follows the fate takes long; tell who waits */
	LY_SAGA_REFUSE,	  /* the CANCEL or SUPERSEDE: `text` says why */
	LY_SAGA_APPRAISE, /* the evidence is all here: then tell DECIDED */
};

struct ly_saga_todo {
	enum ly_saga_act act;
	enum ly_step step;
	const char *text; /* static */
};

#define LY_SAGA_TODO_MAX 8 /* no step needs more; asserted */

struct ly_saga_todos {
	struct ly_saga_todo act[LY_SAGA_TODO_MAX];
	unsigned n;
};

struct ly_saga {
	struct ly_saga_rec rec;	 /* as it is on disk */
	struct ly_saga_rec next; /* as it will be, while `saving` */
	bool saving;
	bool called_off; /* CALLOFF was answered; not durable, and need not */
	bool there;	 /* it has been on disk at least once */
	uint32_t asked;	 /* 1 << step: asked, not answered */
	uint32_t quoted; /* 1 << step: has given its evidence */
	uint8_t keyed;	 /* steps of KEYING done; not durable: from KEY again */
	uint8_t busy[LY_STEPS]; /* answers in this state that said so */
};

/* A new one is PLANNED and not on disk; GO puts it there. */
void ly_saga_init(struct ly_saga *s, bool attest);
/* From the row that was on disk; then GO. */
void ly_saga_load(struct ly_saga *s, const struct ly_saga_rec *rec);
void ly_saga_step(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo);

/* For the unit test: no cell of either table was forgotten. */
bool ly_saga_table_full(void);

#endif
