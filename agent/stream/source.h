/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One migration at its source, from the connection to the destination until
 * the guest either runs on here or has gone. Pure.
 *
 *   DIAL -> SETUP -> COPY -> STOPPING -> LETGO -> FINISH -> WAIT -> ASK -> QUIT
 *     -> OVER
 *             any failure before RELEASE:  UNDO -> [REGAIN] -> RESUME -> OVER
 *             any failure after:           ASK -> (aborted) UNDO -> ...
 *
 * What must be true for "a VM runs in one place":
 *
 * S1 RELEASE is asked only when QEMU cannot start the guest again by itself:
 *    after our own `stop` was seen to have come first (status "paused"), or
 *    after QEMU has said "completed". A QEMU that began its own switch first
 *    ("the race is lost") starts the guest again if that fails.
 * S2 once RELEASE is asked, answered or not, the guest is started again only
 *    on the home's word ABORTED; and QEMU is ended only on CLAIMED.
 * S3 FIN is sent only when QEMU has completed, its whole stream has been
 *    sent, and the home has recorded the RELEASE; of a stream that is sealed,
 *    only when what was sent has been signed.
 * S4 QEMU sends its last memory only when no TPM command is under way: the
 *    answer to one would be written into guest memory after that was sent.
 *    So QEMU is told to wait there (pause-before-switchover) until the TPM
 *    is quiet.
 * S5 the operator's hook on-release has come to a good end before RELEASE is
 *    asked; and once it was begun, the guest is started again here only after
 *    on-abort has come to one. The two never run at once.
 * S6 once the home has fenced us the guest is not started again.
 *
 * When to stop the guest: after the first pass over its memory, as soon as
 * what remains, with what is still on its way, fits into `downtime_ms` at the
 * rate at which it arrives. A guest that
 * dirties memory as fast as we send is slowed by QEMU (auto-converge); if it
 * still does so after LY_SOURCE_STAGNANT passes, or after LY_SOURCE_PASSES at
 * all, it is stopped anyway if that costs at most ten times `downtime_ms`,
 * else the migration is given up.
 */
#ifndef LY_AGENT_STREAM_SOURCE_H
#define LY_AGENT_STREAM_SOURCE_H

#include "agent/stream/stream.h"
#include "lib/wire/message.h"

#define LY_SOURCE_DOWNTIME_MS 300 /* when none is given */
#define LY_SOURCE_PASSES 60
#define LY_SOURCE_STAGNANT 20
#define LY_SOURCE_OVERRUN 10	    /* times downtime_ms, at the last */
#define LY_SOURCE_DIAL_MS 20000	    /* then: given up */
#define LY_SOURCE_SETUP_MS 60000    /* then: undone */
#define LY_SOURCE_STALL_MS 30000    /* no byte moved: undone */
#define LY_SOURCE_POSTPONE_MS 30000 /* the TPM is never idle: undone */
#define LY_SOURCE_FINISH_MS 60000   /* then: undone, by the home's word */
#define LY_SOURCE_WAIT_MS 10000	    /* for READY, then the home is asked */
#define LY_SOURCE_GRACE_MS 10000    /* for the destination, then ABORT */
#define LY_SOURCE_UNDO_MS 60000	    /* for QEMU to cancel, then cont anyway */
#define LY_SOURCE_ALARM_MS 30000    /* no word from the home */

enum ly_source_state {
	LY_SRC_DIAL,
	LY_SRC_SETUP,
	LY_SRC_COPY,
	LY_SRC_STOPPING,
	LY_SRC_LETGO, /* on-release runs */
	LY_SRC_FINISH,
	LY_SRC_WAIT,
	LY_SRC_ASK,
	LY_SRC_UNDO,
	LY_SRC_REGAIN, /* on-abort runs, again and again if it fails */
	LY_SRC_RESUME,
	LY_SRC_QUIT,
	LY_SRC_OVER,
	LY_SRC_STATES
};
const char *ly_source_state_name(unsigned state);

enum ly_source_kind {
	LY_SRC_OPEN,	 /* WELCOME: the destination listens */
	LY_SRC_SET,	 /* `ok`: QEMU migrates; else `text` */
	LY_SRC_STATUS,	 /* answer to POLL: `status`, `numbers`, `idle` */
	LY_SRC_HINT,	 /* QEMU says its migration has changed: poll */
	LY_SRC_STOPPED,	 /* answer to STOP: `ok`, `won` */
	LY_SRC_END,	 /* QEMU has closed its stream, all of it is sent */
	LY_SRC_RELEASED, /* `rc`, from the home */
	LY_SRC_READY,	 /* `rc`, from the destination */
	LY_SRC_FATE,	 /* `rc`, `fate`: answer to ASK */
	LY_SRC_RESUMED,	 /* answer to CONT: `ok`, else `text` */
	LY_SRC_LOST,	 /* the connection or QEMU's socket is gone: `text` */
	LY_SRC_GONE,	 /* QEMU has ended: `text` */
	LY_SRC_CALLOFF,	 /* by the manager */
	LY_SRC_HOOKED,	 /* answer to HOOK: `ok`, else `text` */
	LY_SRC_FENCED,	 /* by the home, outside of any answer of its */
	LY_SRC_SEALED,	 /* answer to SEAL: `ok`, else `rc`, `text` */
	LY_SRC_TICK,
	LY_SRC_KINDS
};

struct ly_source_event {
	enum ly_source_kind kind;
	uint64_t now_ms; /* of a clock that only rises; in every event */
	bool ok, won;
	bool quiet; /* STATUS while HELD: no TPM command is under way, and QEMU
		     * has taken the answer to the last */
	bool idle;  /* STATUS: no TPM command older than 1 s is under way */
	enum ly_rc rc;
	enum ly_fate fate;
	enum ly_mig status;
	struct ly_mig_numbers numbers;
	const char *text; /* may be NULL */
};

enum ly_source_act {
	LY_SRC_DO_SETUP,    /* parameters, socket, migrate; then SET */
	LY_SRC_DO_POLL,	    /* query-migrate; then STATUS */
	LY_SRC_DO_STOP,	    /* stop, query-status; then STOPPED */
	LY_SRC_DO_CONTINUE, /* migrate-continue */
	LY_SRC_DO_LIFT,	    /* limits of bandwidth and downtime */
	LY_SRC_DO_STOPPED,  /* tell the owner; `flag`: we won the race */
	LY_SRC_DO_HOOK,	    /* on-release, or with `flag` on-abort */
	LY_SRC_DO_RELEASE,  /* ask the home; then RELEASED */
	LY_SRC_DO_SEAL,	    /* sign what was sent; then SEALED */
	LY_SRC_DO_FIN,
	LY_SRC_DO_ASK,	  /* the home; `flag`: abort; then FATE */
	LY_SRC_DO_HANGUP, /* connection and QEMU's socket */
	LY_SRC_DO_CANCEL, /* migrate_cancel */
	LY_SRC_DO_CONT,	  /* `flag`: also from "paused"; then RESUMED */
	LY_SRC_DO_QUIT,	  /* end QEMU; then GONE */
	LY_SRC_DO_PROGRESS,
	LY_SRC_DO_ALARM, /* `text` */
	LY_SRC_DO_OVER,	 /* the last: `end`, `rc`, and why[] */
};

enum ly_source_end {
	LY_SOURCE_MOVED,  /* the home says so; our QEMU is gone */
	LY_SOURCE_STAYED, /* the guest is here as before */
	LY_SOURCE_DEAD,	  /* QEMU ended, and the VM is not elsewhere */
	LY_SOURCE_FENCED, /* it stands still here, for it is elsewhere */
};

struct ly_source_todo {
	enum ly_source_act act;
	bool flag;
	enum ly_source_end end;
	const char *text;
};

#define LY_SOURCE_TODO_MAX 8

struct ly_source_todos {
	struct ly_source_todo act[LY_SOURCE_TODO_MAX];
	unsigned n;
};

struct ly_source_core {
	enum ly_source_state state;
	enum ly_phase phase; /* for PROGRESS */
	uint32_t downtime_ms;
	/* what has happened */
	bool migrating, asked_stop, won, asked_release, released, completed,
	    ended, ready, gone;
	bool continued;
	bool seals; /* set by the owner after _init(): S3 */
	bool asked_seal, sealed;
	bool hooked, hooking, regained, fenced;
	uint64_t hook_wait_ms; /* until on-abort is tried again; 0: not yet */
	unsigned quiet;	       /* STATUSes in a row that said so */
	bool abort;	       /* what ASK says */
	/* time */
	uint64_t now_ms, since_ms; /* since: in this state */
	uint64_t poll_ms, ask_ms, ask_wait_ms;
	bool polling, again, asking, alarmed;
	/* the copy */
	struct ly_mig_numbers numbers;
	uint64_t rate; /* bytes a second, smoothed */
	uint64_t rated_bytes, rated_ms, moved_ms, fits_ms, pass;
	unsigned stagnant;
	enum ly_rc rc;
	char why[200];
};

/* `downtime_ms` 0: LY_SOURCE_DOWNTIME_MS. */
void ly_source_init(struct ly_source_core *s, uint32_t downtime_ms,
    uint64_t now_ms);
void ly_source_step(struct ly_source_core *s, const struct ly_source_event *ev,
    struct ly_source_todos *todo);

/* What is known of a migration whose agent has died. Its stream is gone. */
struct ly_source_woken {
	bool released; /* RELEASE may have been asked */
	bool fin;      /* FIN may have been sent */
	bool hooked;   /* on-release may have been run */
	bool stopped;  /* by us: "paused" is ours to end */
	bool gone;     /* QEMU has ended */
};
/* The first step instead of _init(): how it ends now. S2 stands: with RELEASE
 * asked only the home says that. */
void ly_source_woken(struct ly_source_core *s, const struct ly_source_woken *w,
    uint64_t now_ms, struct ly_source_todos *todo);

#endif
