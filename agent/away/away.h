/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The away side of one VM: it numbers the guest's TPM commands, keeps the one
 * that has not been answered, and knows whether this host may use the TPM at
 * all. Pure, as home.h is.
 *
 * Lease, as this host knows it:
 *
 *   NONE -> ATTACHING -> HELD                      a start
 *   NONE -> STAGING -> STAGED -> CLAIMING -> HELD  a destination
 *   HELD -> RELEASING -> RELEASED -> HELD or DEAD  a source
 *   HELD -> DETACHING -> NONE                      the VM is off
 *   any  -> DEAD    fenced, or refused: the guest's TPM has failed for good
 *
 * A lease has an end in time (lib/link/lease.h), one for all VMs of a host at
 * one home. Each event says whether it has lapsed; the shell asks its clock.
 *
 * `up` says whether the door at the home is open for us: true between GRANTED
 * and the loss of the link. When the link comes back, what the state wants is
 * asked again (RESUME, ATTACH, PRESTAGE, CLAIM, RELEASE, ABORT or QUERY, all
 * of which the home answers alike however often asked).
 *
 * A1 at most one numbered command is unanswered; it is sent again, unchanged,
 *    after RESUME, and never numbered anew (H2 of home.h does the rest).
 * A2 a command is numbered only in HELD, with the door open and the lease good.
 * A3 after RELEASE no command is numbered until the home has said ABORTED.
 * A4 INIT (the VM's reset) is answered to the hypervisor at once, and is sent
 *    before any command that came after it.
 * A5 nothing is answered from what this side knows, unless the lease is good:
 *    who does so asks ly_away_may_answer() first.
 *
 * A link that stays down, or a lease that stays lapsed, for LY_GRACE_MS with a
 * command waiting fails the
 * guest's TPM until its reset; the command itself is still settled with the
 * home before anything else is numbered, and its answer thrown away.
 */
#ifndef LY_AGENT_AWAY_AWAY_H
#define LY_AGENT_AWAY_AWAY_H

#include "lib/wire/message.h"

#define LY_GRACE_MS 30000
#define LY_RETRY_MS 100 /* after LY_BUSY */

enum ly_away_state {
	LY_AWAY_NONE,
	LY_AWAY_ATTACHING,
	LY_AWAY_STAGING,
	LY_AWAY_STAGED,
	LY_AWAY_CLAIMING,
	LY_AWAY_HELD,
	LY_AWAY_RELEASING,
	LY_AWAY_RELEASED,
	LY_AWAY_DETACHING,
	LY_AWAY_DEAD,
	LY_AWAY_STATES
};
const char *ly_away_state_name(unsigned state);

enum ly_away_kind {
	/* from the owner of the VM on this host */
	LY_AWAY_ATTACH,	 /* start: the shell has the ticket */
	LY_AWAY_STAGE,	 /* destination of `mig`: the shell has the ticket */
	LY_AWAY_CLAIM,	 /* the VM is whole: the shell has the token */
	LY_AWAY_RELEASE, /* source of `mig`: the VM is stopped */
	LY_AWAY_ASK,	 /* fate of `mig`; `abort`: abort it if open */
	LY_AWAY_SETTLED, /* `fate` of `mig`, from the manager */
	LY_AWAY_DETACH,
	/* from the guest */
	LY_AWAY_COMMAND, /* one waits in the shell, of kind `op` */
	LY_AWAY_RESET,	 /* INIT */
	LY_AWAY_CANCEL,
	LY_AWAY_STALE, /* it was made of an older memory: its TPM fails */
	/* from the link */
	LY_AWAY_UP,
	LY_AWAY_DOWN,
	LY_AWAY_HEAR_GRANTED,
	LY_AWAY_HEAR_ANSWER,
	LY_AWAY_HEAR_REFUSED,
	LY_AWAY_HEAR_STAGED,
	LY_AWAY_HEAR_RELEASED,
	LY_AWAY_HEAR_DETACHED,
	LY_AWAY_HEAR_OUTCOME,
	LY_AWAY_HEAR_FENCE,
	/* time */
	LY_AWAY_LEASE, /* lapsed, or good again: `lapsed` */
	LY_AWAY_TICK,
	LY_AWAY_KINDS
};

struct ly_away_event {
	enum ly_away_kind kind;
	uint64_t now_ms; /* any clock that does not go back */
	enum ly_rc rc;
	uint64_t epoch, seq;
	const uint8_t *secret; /* GRANTED */
	struct ly_id mig;
	enum ly_fate fate;
	enum ly_op op;
	bool lapsed; /* every event: there is no lease that is good now */
	bool abort;  /* ASK */
	bool good;   /* ANSWER to a RESET: it succeeded */
};

enum ly_away_act {
	LY_SAY_ATTACH, /* the shell adds the ticket */
	LY_SAY_RESUME,
	LY_SAY_COMMAND, /* the shell's waiting command */
	LY_SAY_INIT,
	LY_SAY_CANCEL,
	LY_SAY_DETACH,
	LY_SAY_PRESTAGE, /* the shell adds the ticket */
	LY_SAY_RELEASE,
	LY_SAY_CLAIM, /* the shell adds the token */
	LY_SAY_ABORT,
	LY_SAY_QUERY,
	LY_GIVE_ANSWER,	 /* the event's body, to the guest */
	LY_GIVE_FAILURE, /* TPM_RC_FAILURE, or the op's error, to the guest */
	LY_TELL,	 /* the owner: `what` came to `rc` */
	LY_TELL_ALARM,	 /* `text` */
};

struct ly_away_todo {
	enum ly_away_act act;
	uint64_t epoch, seq;
	enum ly_op op;
	bool waiting; /* RESUME */
	struct ly_id mig;
	/* LY_TELL: ATTACH, STAGE, CLAIM, RELEASE, DETACH with `rc`, ASK with
	 * `rc` and `fate`, FENCE: the lease is lost; LEASE, while it is held:
	 * LY_OK, LY_OUTSIDE (lapsed), LY_FAILED (broken until reset) */
	enum ly_away_kind what;
	enum ly_rc rc;
	enum ly_fate fate;
	const char *text;
};

#define LY_AWAY_TODO_MAX 8

struct ly_away_todos {
	struct ly_away_todo act[LY_AWAY_TODO_MAX];
	unsigned n;
};

/* The one numbered operation. */
enum ly_away_sent {
	LY_SENT_NONE,
	LY_SENT_COMMAND,   /* the guest waits for its answer */
	LY_SENT_ABANDONED, /* the guest has been told it failed */
	LY_SENT_INIT,
};

struct ly_away {
	enum ly_away_state state;
	bool linked; /* there is a connection to the home */
	bool up;     /* ... and our door on it is open */
	uint64_t epoch, seq;
	uint8_t secret[LY_SECRET_LEN];
	enum ly_away_sent sent;
	enum ly_op sent_op;
	bool command;  /* one waits in the shell, not numbered yet */
	enum ly_op op; /* of that one */
	bool reset;    /* INIT is to be sent */
	bool broken;   /* failure mode until the next reset */
	uint8_t said;  /* enum ly_rc of the last TELL of LEASE */
	struct ly_id mig;
	bool asking, asking_abort;
	struct ly_id asked;	/* the migration ASK is about */
	uint64_t waiting_since; /* of what waits for the home; 0: nothing */
	uint64_t retry_at;	/* after LY_BUSY; 0: none */
	bool attach_said;	/* the home may have granted it */
	bool unwanted;		/* ... and is to be given it back at once */
};

void ly_away_init(struct ly_away *a);
void ly_away_step(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo);

/* Whether this side may answer the guest by itself, from what it knows. */
bool ly_away_may_answer(const struct ly_away *a,
    const struct ly_away_event *ev);

/* No command of the guest is unanswered, no reset is under way. */
bool ly_away_idle(const struct ly_away *a);

#endif
