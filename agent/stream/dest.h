/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One migration at its destination, from a QEMU that waits for memory until
 * the guest runs here or that QEMU is gone. Pure.
 *
 *   OPENING -> LISTENING -> COPY -> LOADING -> CLAIMING -> TAKING -> RESUMING
 *     -> OVER
 *        any failure before CLAIM is asked, DROP, a refusal: QUITTING -> OVER
 *
 * What must be true for "a VM runs in one place" and "nothing runs
 * unverified":
 *
 * D1 CLAIM is asked only for a VM that is whole: FIN has come, its count of
 *    bytes is ours, and QEMU has completed. Of a stream that is sealed FIN must
 *    also have the digest of what came here, signed by its source; if not, the
 *    home is never asked, and it is an alarm.
 * D2 the guest is started only when the home has granted the CLAIM.
 * D3 from CLAIM on, QEMU is never ended but on the home's refusal, the
 *    manager's DROP, or by itself: the home may have granted it already.
 * D4 a guest that is seen running before is an alarm, is stopped, and is
 *    never claimed.
 * D5 the guest is started only after the operator's hook on-claim has come to a
 *    good end; it is tried until it does.
 * D6 once the home has fenced us the guest is not started.
 */
#ifndef LY_AGENT_STREAM_DEST_H
#define LY_AGENT_STREAM_DEST_H

#include "agent/stream/stream.h"
#include "lib/wire/message.h"

#define LY_DEST_OPEN_MS 60000	 /* for QEMU to listen, then: over */
#define LY_DEST_LISTEN_MS 600000 /* for the source's stream, then: over */
#define LY_DEST_LOAD_MS 60000	 /* for QEMU to complete after FIN */
#define LY_DEST_CLAIM_MS 30000	 /* then an alarm; the wait goes on */

enum ly_dest_state {
	LY_DST_OPENING,
	LY_DST_LISTENING,
	LY_DST_COPY,
	LY_DST_LOADING,
	LY_DST_CLAIMING,
	LY_DST_TAKING, /* on-claim runs, again and again if it fails */
	LY_DST_RESUMING,
	LY_DST_QUITTING,
	LY_DST_OVER,
	LY_DST_STATES
};
const char *ly_dest_state_name(unsigned state);

enum ly_dest_kind {
	LY_DST_SET,    /* `ok`: QEMU listens; else `text` */
	LY_DST_STREAM, /* the source's connection has come */
	LY_DST_FIN, /* `ok`: it says what came; else `rc`, `text`, `forged` */
	LY_DST_STATUS,	/* answer to POLL: `status`, `running` */
	LY_DST_HINT,	/* QEMU says its migration has changed: poll */
	LY_DST_GRANTED, /* `rc`: the home's answer to CLAIM */
	LY_DST_RESUMED, /* answer to CONT: `ok`, else `text` */
	LY_DST_LOST,	/* the source's connection is gone: `text` */
	LY_DST_BROKEN,	/* QEMU's socket is gone: `text` */
	LY_DST_GONE,	/* QEMU has ended: `text` */
	LY_DST_DROP,	/* by the manager */
	LY_DST_HOOKED,	/* answer to HOOK: `ok`, else `text` */
	LY_DST_FENCED,	/* by the home, outside of any answer of its */
	LY_DST_TICK,
	LY_DST_KINDS
};

struct ly_dest_event {
	enum ly_dest_kind kind;
	uint64_t now_ms; /* of a clock that only rises; in every event */
	bool ok, running;
	bool forged; /* FIN: what came is not what was sent */
	enum ly_rc rc;
	enum ly_mig status;
	const char *text; /* may be NULL */
};

enum ly_dest_act {
	LY_DST_DO_SETUP,     /* capabilities, migrate-incoming; then SET */
	LY_DST_DO_LISTENING, /* tell the owner */
	LY_DST_DO_POLL,	     /* query-migrate, query-status; then STATUS */
	LY_DST_DO_CLAIM,     /* ask the home; then GRANTED */
	LY_DST_DO_HOOK,	     /* on-claim; then HOOKED */
	LY_DST_DO_CONT,	     /* cont, query-status; then RESUMED */
	LY_DST_DO_STOP,	     /* a guest that must not run */
	LY_DST_DO_READY,     /* to the source: `rc` */
	LY_DST_DO_HANGUP,
	LY_DST_DO_QUIT,	 /* end QEMU; then GONE */
	LY_DST_DO_ALARM, /* `text` */
	LY_DST_DO_OVER,	 /* the last: `end`, and why[] */
};

enum ly_dest_end {
	LY_DEST_RUNS,	/* here, by the home's word */
	LY_DEST_FAILED, /* never was here; QEMU is gone */
	LY_DEST_DEAD,	/* QEMU ended after CLAIM was asked */
};

struct ly_dest_todo {
	enum ly_dest_act act;
	enum ly_rc rc;
	enum ly_dest_end end;
	const char *text;
};

#define LY_DEST_TODO_MAX 8

struct ly_dest_todos {
	struct ly_dest_todo act[LY_DEST_TODO_MAX];
	unsigned n;
};

struct ly_dest_core {
	enum ly_dest_state state;
	bool whole, completed, claimed;
	bool polling, again, alarmed, hooking;
	uint64_t hook_wait_ms; /* until on-claim is tried again; 0: not yet */
	uint64_t now_ms, since_ms, poll_ms;
	enum ly_rc rc;
	char why[200];
};

/* The first step: its todo is SETUP. */
void ly_dest_init(struct ly_dest_core *d, uint64_t now_ms,
    struct ly_dest_todos *todo);
/* Instead: CLAIM was asked by an agent that has died since; `granted` if it was
 * answered. */
void ly_dest_woken(struct ly_dest_core *d, bool granted, uint64_t now_ms,
    struct ly_dest_todos *todo);
void ly_dest_step(struct ly_dest_core *d, const struct ly_dest_event *ev,
    struct ly_dest_todos *todo);

#endif
