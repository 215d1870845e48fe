/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a host becomes one of the site, and stays one: it shows which TPM it has,
 * proves that this TPM is there and in which state, and gets a certificate for
 * some hours. Pure: told what happened, it answers with a list of things to do;
 * whether what a host says is good, others have judged (judge.h, the shell).
 *
 * What it keeps to:
 *
 * E1 a certificate is made only in RECORDED, which is entered only when the
 *    permanent record has the host and its keys.
 * E2 a challenge is good for LY_DARE_S; what answers a later or an earlier one
 *    is not heard. The same of every answer: it counts for the step that was
 *    asked last.
 * E3 after LY_ENROLMENT_TRIES failed proofs nothing is asked of the host any
 *    more, until an operator has looked at it (UNFREEZE). A host that only
 *    showed what we do not know or believe has proved nothing, and is not
 *    counted.
 * E4 a certificate that has ended is no certificate: the host begins again.
 * E5 an attempt begins anew once; a host that has booted again and again, or
 *    says so, is asked no faster than one that fails.
 * E6 each step may be asked twice. Nothing but `failures`, `issued` and `ends`
 *    outlives us; a step that was under way begins again from BEGIN, and a host
 *    with the same keys gets the certificate that it should have had.
 *
 *   UNKNOWN -> ASKED -> DARED -> PROVED -> RECORDED -> ENROLLED <-> RENEWING
 *                 any step that fails: back to where the certificate says
 *                 the third failed proof: FROZEN
 */
#ifndef LY_MANAGER_ENROL_ENROL_H
#define LY_MANAGER_ENROL_ENROL_H

#include "lib/wire/message.h"

#define LY_DARE_S 300	       /* a challenge is good for */
#define LY_ENROLMENT_TRIES 3   /* failed proofs; then FROZEN */
#define LY_ENROL_AGAIN_S 30    /* after no answer, or a failed proof */
#define LY_ENROL_REFUSED_S 600 /* after something only a person can change */

enum ly_enrolment_state {
	LY_ENROLMENT_UNKNOWN,  /* no certificate, or one that has ended */
	LY_ENROLMENT_ASKED,    /* BEGIN: which TPM? */
	LY_ENROLMENT_DARED,    /* PROVE: is it there? */
	LY_ENROLMENT_PROVED,   /* yes; it is being recorded */
	LY_ENROLMENT_RECORDED, /* it is; the certificate is being made */
	LY_ENROLMENT_ENROLLED,
	LY_ENROLMENT_RENEWING, /* RENEW: the same boot, and which state? */
	LY_ENROLMENT_FROZEN,
	LY_ENROLMENT_STATES
};
/* "unknown", "asked", ...: for people. */
const char *ly_enrolment_name(unsigned state);

enum ly_enrolment_kind {
	LY_ENROLMENT_UP,       /* it can be asked; `has`: it showed the newest
				* certificate when it connected */
	LY_ENROLMENT_DOWN,     /* it cannot be asked any more */
	LY_ENROLMENT_WISH,     /* the operator wants it enrolled, from BEGIN */
	LY_ENROLMENT_LIST,     /* what is approved has changed */
	LY_ENROLMENT_HEARD,    /* `step` was answered: `verdict` */
	LY_ENROLMENT_SAVED,    /* RECORD is done: `verdict` */
	LY_ENROLMENT_ISSUED,   /* ISSUE is done: `verdict`, `ends` */
	LY_ENROLMENT_UNFREEZE, /* by the operator */
	LY_ENROLMENT_TICK,
	LY_ENROLMENT_REVOKED, /* its certificates were taken back */
	LY_ENROLMENT_KINDS
};

enum ly_verdict {
	LY_VERDICT_GOOD,
	LY_VERDICT_SAME,  /* BEGIN: the keys and the boot of the certificate
			   * that it has or should have */
	LY_VERDICT_BAD,	  /* not believed */
	LY_VERDICT_LATER, /* no answer, or one that says nothing yet */
	LY_VERDICT_ANEW,  /* another boot: all begins again */
	LY_VERDICTS
};

struct ly_enrolment_event {
	enum ly_enrolment_kind kind;
	uint64_t now; /* seconds since 1970 */
	enum ly_enrol_step step;
	enum ly_verdict verdict;
	bool has;
	uint64_t ends; /* of the certificate, as `now` */
};

enum ly_enrolment_act {
	LY_ENROLMENT_ASK,    /* `step`, with a nonce that was never used */
	LY_ENROLMENT_FORGET, /* the step that was asked */
	LY_ENROLMENT_RECORD, /* permanently; then tell SAVED */
	LY_ENROLMENT_ISSUE,  /* make the certificate; then tell ISSUED */
	LY_ENROLMENT_KEEP,   /* `failures` has changed: to disk */
	LY_ENROLMENT_OVER,   /* the attempt is: `good`, or why it is not is in
			      * `text`, or what the judge has said */
};

struct ly_enrolment_todo {
	enum ly_enrolment_act act;
	enum ly_enrol_step step;
	bool good;
	const char *text; /* static, or NULL */
};

#define LY_ENROLMENT_TODO_MAX 6 /* no event needs more; asserted */
struct ly_enrolment_todos {
	struct ly_enrolment_todo act[LY_ENROLMENT_TODO_MAX];
	unsigned n;
};

struct ly_enrolment {
	enum ly_enrolment_state state;
	bool up;
	/* On disk. */
	unsigned failures;     /* proofs, since the last good one */
	uint64_t issued, ends; /* of the newest certificate; 0: none */

	bool given; /* the host has taken it */
	bool anew;  /* this attempt has begun anew */
	bool asked; /* `step` was, and is not answered */
	enum ly_enrol_step step;
	uint64_t since; /* when the challenge was made */
	uint64_t again; /* nothing is asked on our own before; 0: never */
};

/* As it was on disk; zeros for a host that was just added. */
void ly_enrolment_init(struct ly_enrolment *e, unsigned failures,
    uint64_t issued, uint64_t ends, uint64_t now);
void ly_enrolment_step(struct ly_enrolment *e,
    const struct ly_enrolment_event *ev, struct ly_enrolment_todos *todo);
/* Seconds since 1970 when it is asked to renew. */
uint64_t ly_enrolment_half(const struct ly_enrolment *e);

/* For the unit test: no cell of the table was forgotten. */
bool ly_enrolment_table_full(void);

#endif
