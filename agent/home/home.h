/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The home of one VM's TPM: who may use it, in which order, and what became
 * of its migrations. Pure: it is told what happened and answers with a list
 * of things to do.
 *
 * Two machines in one struct, because a command asks both:
 *
 * - the lease (`rec.state`, durable): DETACHED, ATTACHED to `holder`,
 *   PREPARED for a migration, QUIESCED between RELEASE and CLAIM;
 * - the TPM (`tpm`, in memory): IDLE, RUNNING one command, BROKEN until the
 *   VM resets. Between two commands the home may look at the TPM itself
 *   (`peeking`).
 *
 * What must be true for the laws to hold:
 *
 * H1 a command runs only on the door (connection and chan) that was granted
 *    the lease, in the record's epoch, with seq == last + 1;
 * H2 a seq asked again is answered from what was kept, never run again; a seq
 *    re-used with other bytes breaks the TPM for this guest, loudly;
 * H3 the record is changed in memory only after it is on disk (WRITE, then
 *    WRITTEN), and nobody is told before;
 * H4 CLAIM and ABORT of one migration go through the same record, so one
 *    wins, and the other is told which for ever;
 * H5 the epoch never falls;
 * H6 whoever takes a lease by force is granted it only when the lease in time
 *    of the holder before has ended for sure (`lease_ms` after its door closed,
 *    or after our own start, of whose time before we know nothing). The record has changed long before, and the
 *    holder before is fenced; but until its lease ends it may still answer its
 *    guest from what it knows. ATTACH hears LY_BUSY until then;
 * H7 while the TPM runs a command of the home's own, it runs none of the
 *    guest's, and what it says is not taken for an answer to one.
 *
 * A visitor that breaks a rule is refused each time, and the operator is told
 * once for each kind of it in an epoch: who repeats itself fills no log.
 *
 * While a WRITE is under way only its end, the TPM and lost doors are heard;
 * other lease events are answered LY_BUSY (ask again), but for one CLAIM,
 * which is parked, as it is when it comes before the RELEASE it needs.
 */
#ifndef LY_AGENT_HOME_HOME_H
#define LY_AGENT_HOME_HOME_H

#include "lib/wire/signed.h"

enum ly_home_tpm {
	LY_TPM_IDLE,
	LY_TPM_RUNNING,
	LY_TPM_BROKEN, /* TPM_RC_FAILURE until the VM resets (INIT) */
	LY_TPM_STATES
};

enum ly_home_kind {
	LY_HOME_ATTACH,
	LY_HOME_RESUME,
	LY_HOME_COMMAND,
	LY_HOME_CANCEL,
	LY_HOME_ANSWER,	  /* the TPM has answered */
	LY_HOME_TPM_DEAD, /* the TPM is gone, or was opened anew */
	LY_HOME_DETACH,
	LY_HOME_PRESTAGE,
	LY_HOME_RELEASE,
	LY_HOME_CLAIM,
	LY_HOME_ABORT,
	LY_HOME_QUERY,
	LY_HOME_WRITTEN, /* `ok`: the record is on disk, or could not be */
	LY_HOME_GONE,	 /* a door is closed */
	LY_HOME_TICK,
	LY_HOME_PEEK, /* somebody wants to know the PCRs */
	LY_HOME_KINDS
};

/* A door names a connection and a chan on it; 0 is none. The shell makes
 * them, never uses one twice, and says when one is GONE. */
typedef uint64_t ly_door;

struct ly_home_event {
	enum ly_home_kind kind;
	ly_door door;
	uint64_t age; /* of the door's connection: a later one has a higher */
	const char *who;  /* SPIFFE id of the asker; NULL: our own manager */
	uint64_t now;	  /* seconds since 1970 */
	uint64_t boot_ms; /* of ATTACH, WRITTEN, GONE: CLOCK_BOOTTIME */
	const struct ly_ticket *ticket; /* verified: signature, chain, home */
	struct ly_id mig;
	uint64_t epoch, seq;
	bool waiting;	       /* RESUME: seq has not been answered */
	const uint8_t *secret; /* RESUME: shown; ATTACH, CLAIM: fresh random */
	enum ly_op op;	       /* COMMAND */
	const uint8_t *hash;   /* COMMAND: SHA-256 of op, locality and body */
	const struct ly_token *token; /* CLAIM; NULL: its MAC did not fit */
	bool ok; /* WRITTEN; ANSWER to an INIT: it succeeded */
};

enum ly_home_act {
	LY_DO_RUN,    /* the event's command, on the TPM */
	LY_DO_CANCEL, /* what the TPM runs */
	LY_DO_KEEP,   /* the event's answer: keep it as the one for `seq` */
	LY_DO_KEEP_FAILURE, /* keep TPM_RC_FAILURE as the answer for `seq` */
	LY_DO_ANSWER,	    /* send what is kept for `seq` */
	LY_DO_REFUSE,
	LY_DO_GRANT,
	LY_DO_STAGED,
	LY_DO_RELEASED,
	LY_DO_DETACHED,
	LY_DO_OUTCOME,
	LY_DO_FENCE,
	LY_DO_WRITE,  /* `next` to disk, then tell WRITTEN */
	LY_DO_ALARM,  /* `text` */
	LY_DO_PEEK,   /* a command of our own, on the TPM; its ANSWER is told */
	LY_DO_PEEKED, /* that is over, or cannot be: `rc` */
	LY_DO_HOLD,   /* the event is to come again once we are not peeking */
};

struct ly_home_todo {
	enum ly_home_act act;
	ly_door door;
	enum ly_rc rc;
	uint64_t epoch, seq;
	struct ly_id mig;
	enum ly_fate fate;
	const char *text; /* static */
};

#define LY_HOME_TODO_MAX 8 /* no step needs more; asserted */

struct ly_home_todos {
	struct ly_home_todo act[LY_HOME_TODO_MAX];
	unsigned n;
};

struct ly_home {
	struct ly_record rec;  /* as it is on disk */
	struct ly_record next; /* as it will be, while `writing` */
	bool writing;
	enum ly_home_tpm tpm;
	bool blind;	/* since our start: rec.seq may be behind */
	bool dirty;	/* broken once the running command is over */
	bool peeking;	/* it runs one of our own; then not RUNNING */
	ly_door door;	/* of the holder; 0: its link is down */
	uint64_t age;	/* of its connection */
	ly_door staged; /* of who may claim; 0: its link is down */
	uint64_t seq;	/* the last command taken */
	uint8_t hash[32];
	enum ly_op op; /* of `seq` */
	bool kept;     /* the answer to `seq` is kept */
	uint16_t said; /* alarms of this epoch: each kind once */
	/* Leases in time; 0 for lease_ms, as init has it, is none. */
	uint32_t lease_ms;
	uint64_t began_ms; /* CLOCK_BOOTTIME of our start; set with lease_ms */
	bool forgot;	   /* since our start: who had one until when */
	uint64_t
	    left_ms; /* the holder's door has closed; its lease ends then */
	uint64_t taken_ms; /* that of the holder before ends then */
	/* Who waits for the WRITE, and for what. */
	enum ly_home_kind asked;
	ly_door asker;
	uint64_t asked_age;
	struct ly_id asked_mig;
	/* A CLAIM that waits for its RELEASE. */
	struct {
		ly_door door;
		uint64_t age;
		struct ly_id mig;
		char who[LY_SPIFFE_MAX];
		struct ly_token token;
		uint8_t secret[LY_SECRET_LEN];
	} parked;
};

/* From the record that was on disk. A record that was ATTACHED is blind: the
 * commands since its last write are not in it. Nothing is known of the TPM, so it
 * is BROKEN until the guest resets: it may have failed, or lost its power. */
void ly_home_init(struct ly_home *h, const struct ly_record *rec);
void ly_home_step(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo);

/* The record's word on a migration. `epoch`: of CLAIMED, the one it began; else
 * the record's own, so that a source that hears ABORTED in a later epoch than
 * its own knows that somebody else was granted the lease meanwhile. */
enum ly_fate ly_record_fate(const struct ly_record *rec,
    const struct ly_id *mig, uint64_t *epoch);

#endif
