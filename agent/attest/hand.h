/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attested migration on one of its two hosts: what was called for, proved,
 * made, loaded and unlocked here. Pure; agent/io/keys.h does as it says, and
 * holds the bytes.
 *
 *   source       NONE -> CALLED -> QUOTED -> MAKING -> MADE -> CONFIRMED
 *                  -> SENT -> DESTROYED
 *   destination  NONE -> CALLED -> QUOTED -> IMPORTING -> IMPORTED
 *                  -> UNLOCKING -> UNLOCKED -> ARRIVED
 *   both         any -> ENDED, for good
 *
 * What must be true for "memory goes only to a machine proved fit":
 *
 * K1 one migration has one nonce, one role here and one call: whoever comes
 *    with another of any is refused, and changes nothing.
 * K2 a key is made, or loaded, only for evidence of the very host that the
 *    call names, in the other role, to the call's nonce.
 * K3 a request asked again is answered alike, and does nothing again; one with
 *    other bytes is refused. But IMPORT begins anew once the TPM's session is
 *    too old to be unlocked: its answer is another session's nonce.
 * K4 nothing is dialled before the destination has proved that it has the key.
 * K5 a call that has expired gives no key. Once the keys are in use, time ends
 *    nothing: a copy may last.
 * K6 in ENDED there is no key, and no way back: whatever is asked is refused
 *    with the reason for the end.
 *
 * A step that fails ends the migration. But QUOTE, KEY and IMPORT may fail with
 * LY_BUSY, and be asked again; UNLOCK may not, for its session is spent.
 */
#ifndef LY_AGENT_ATTEST_HAND_H
#define LY_AGENT_ATTEST_HAND_H

#include "agent/attest/call.h"

/* Of the TPM's session, from its start: the manager's leave opens the key so
 * long, and an IMPORT asked again later than the other begins a new one. */
#define LY_HAND_LEAVE_MS 60000
#define LY_HAND_SESSION_MS 45000

enum ly_hand_state {
	LY_HAND_NONE,
	LY_HAND_CALLED, /* the evidence is being made */
	LY_HAND_QUOTED,
	LY_HAND_MAKING, /* the destination is appraised, its blob made */
	LY_HAND_MADE,
	LY_HAND_CONFIRMED,
	LY_HAND_SENT,
	LY_HAND_DESTROYED,
	LY_HAND_IMPORTING, /* the source is appraised, the blob loaded */
	LY_HAND_IMPORTED,
	LY_HAND_UNLOCKING,
	LY_HAND_UNLOCKED,
	LY_HAND_ARRIVED,
	LY_HAND_ENDED,
	LY_HAND_STATES
};
const char *ly_hand_state_name(unsigned state);

enum ly_hand_kind {
	/* Requests; `asked` is a hash of what they bring. */
	LY_HAND_CALL,	/* QUOTE in a role here; `call`, `role` */
	LY_HAND_KEY,	/* `said` is the destination's evidence */
	LY_HAND_IMPORT, /* the source's */
	LY_HAND_UNLOCK,
	LY_HAND_COPY, /* `ok`: its confirmation is that of our key */
	/* What was begun is done: `rc`, `text`. */
	LY_HAND_DID_QUOTE,
	LY_HAND_DID_MAKE,
	LY_HAND_DID_IMPORT,
	LY_HAND_DID_UNLOCK,
	/* The stream's side. */
	LY_HAND_TAKE, /* the destination hands the keys to its lanes */
	LY_HAND_SEND,
	LY_HAND_DESTROY,
	LY_HAND_ARRIVE,
	LY_HAND_END, /* `rc`, `text`: the first one stays */
	LY_HAND_TICK,
	LY_HAND_KINDS
};
const char *ly_hand_kind_name(unsigned kind);

/* Whose evidence it is, by its own word: that it is true is checked by the
 * signature and the quote, after this. */
struct ly_hand_said {
	struct ly_id vm, mig;
	uint8_t role;
	uint8_t nonce[32];
	const char *id;
};

struct ly_hand_event {
	enum ly_hand_kind kind;
	uint64_t now_s;	 /* since 1970: in every event */
	uint64_t now_ms; /* of a clock that only rises: in every event */
	uint8_t asked[32];
	uint8_t role;
	const struct ly_call *call;
	const struct ly_hand_said *said;
	bool ok;
	enum ly_rc rc;
	const char *text; /* may be NULL */
};

enum ly_hand_act {
	LY_HAND_DO_NOTHING, /* it is known, or too late to matter */
	LY_HAND_DO_QUOTE,   /* then DID_QUOTE */
	LY_HAND_DO_MAKE,    /* then DID_MAKE */
	LY_HAND_DO_IMPORT,  /* then DID_IMPORT */
	LY_HAND_DO_UNLOCK,  /* then DID_UNLOCK */
	LY_HAND_DO_WAIT,    /* its answer is coming: who asks now gets it */
	LY_HAND_DO_ANSWER,  /* with what the step gave, or gave before */
	LY_HAND_DO_REFUSE,  /* `rc`, `text` */
	LY_HAND_DO_GO,	    /* the stream's side may go on */
};

/* What one step wants: at most one act, and perhaps the keys away. */
struct ly_hand_todo {
	enum ly_hand_act act;
	bool wipe; /* keys, and the TPM's session */
	enum ly_rc rc;
	char text[LY_WHY_MAX];
};

struct ly_hand {
	enum ly_hand_state state;
	uint8_t role; /* LY_AS_SOURCE or LY_AS_DEST */
	struct ly_id vm, mig;
	uint8_t nonce[32];
	char peer[LY_SPIFFE_MAX];		     /* in the other role */
	uint64_t expires;			     /* seconds since 1970 */
	uint8_t called[32], keyed[32], unlocked[32]; /* `asked`, of each */
	uint64_t session_ms;			     /* its opening */
	bool taken;				     /* by lanes: K5 */
	enum ly_rc rc;
	char why[LY_WHY_MAX]; /* of ENDED */
};

/* A machine that is all zeros is NONE. */
void ly_hand_step(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo);
/* Nothing is under way, and nothing here is needed any more. */
bool ly_hand_over(const struct ly_hand *a);

#endif
