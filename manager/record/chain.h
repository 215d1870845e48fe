/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The permanent record: what this site has done with keys, VMs and tickets, in
 * an order that nobody can change afterwards. Pure.
 *
 * One event is one line of canonical JSON, its keys always these, in this
 * order, without spaces:
 *
 *   {"n":1,"when":0,"kind":"","subject":"","name":"","vm":"","mig":"",
 *    "text":"","details":{},"prev":"64 hex digits"}
 *
 * `n` counts from 1; `when` is in milliseconds since 1970; `prev` is the
 * SHA-256 of the line before, without its newline (zeros for the first). So
 * the hash of the last line, the head, stands for all of them, and one signed
 * head proves every byte of every line.
 *
 * What it keeps to:
 *
 * R1 a line is taken only if its `n` is the next and its `prev` is the hash of
 *    the line before; any other order of bytes than the canonical is refused.
 * R2 a fingerprint or Name belongs to the subject it was first seen with, and
 *    is never accepted for another one.
 * R3 a destroyed Name is never accepted again, for nobody.
 */
#ifndef LY_MANAGER_RECORD_CHAIN_H
#define LY_MANAGER_RECORD_CHAIN_H

#include "lib/base/cursor.h"
#include "lib/base/text.h"

#define LY_LINE_MAX 16384u   /* bytes of a line; more is LY_FULL */
#define LY_DETAILS_MAX 8192u /* bytes of `details`; more is LY_FULL */
#define LY_SEEN_NAME_MAX 160 /* of a Name or fingerprint, with its NUL */

/* The words are on disk and in exported files: never change one. */
enum ly_record_kind {
	LY_RECORD_BEGUN,	 /* the record itself */
	LY_RECORD_LOSS,		 /* the operator has accepted one */
	LY_RECORD_HOST_ADDED,	 /* a row of the inventory */
	LY_RECORD_HOST_REMOVED,	 /* ... is gone */
	LY_RECORD_HOST_ENROLLED, /* proved to be itself; certified */
	LY_RECORD_HOST_RENEWED,	 /* the same, again */
	LY_RECORD_HOST_REFUSED,	 /* it could not prove what it should */
	LY_RECORD_HOST_FROZEN,	 /* ... too often */
	LY_RECORD_HOST_UNFROZEN, /* by the operator */
	LY_RECORD_HOST_REVOKED,	 /* its certificates are taken back */
	LY_RECORD_KEY_BORN,	 /* `name` is from now on `subject`'s */
	LY_RECORD_KEY_CERTIFIED, /* a certificate says so */
	LY_RECORD_KEY_RELEASED,	 /* a TPM was allowed to use it */
	LY_RECORD_KEY_DESTROYED, /* `name` is nobody's any more */
	LY_RECORD_VM_CREATED,
	LY_RECORD_VM_REMOVED,
	LY_RECORD_VM_STARTED,
	LY_RECORD_VM_STOPPED,
	LY_RECORD_EPOCH_CHANGED, /* its home has granted a lease */
	LY_RECORD_TICKET_ISSUED,
	LY_RECORD_MIG_ASKED,	 /* the operator, or an evacuation */
	LY_RECORD_MIG_APPROVED,	 /* evidence of all three was good */
	LY_RECORD_MIG_REFUSED,	 /* ... was not */
	LY_RECORD_MIG_DECIDED,	 /* the home says what became of it */
	LY_RECORD_MIG_COMMITTED, /* it is over there */
	LY_RECORD_MIG_ABORTED,	 /* it has stayed */
	LY_RECORD_MIG_PROVED,	 /* statements and quotes were checked */
	LY_RECORD_MIG_UNPROVED,	 /* ... were wrong or missing */
	LY_RECORD_POLICY_LIST,	 /* a list of approved states was taken */
	LY_RECORD_ATTESTED,	 /* `lanyard attest` */
	LY_RECORD_EVACUATION,	 /* asked, called off, over */
	LY_RECORD_SITE_TRUSTED,	 /* another site's CA is believed */
	LY_RECORD_KINDS
};

/* What a kind does with its event's `name`, if it has one. */
enum ly_record_claim {
	LY_RECORD_MENTIONS, /* nothing */
	LY_RECORD_BINDS,    /* it is `subject`'s: R2 */
	LY_RECORD_ENDS,	    /* it is nobody's any more: R3 */
};

struct ly_record_kind_row {
	const char *word; /* "host enrolled" */
	enum ly_record_claim claim;
};
extern const struct ly_record_kind_row ly_record_kinds[LY_RECORD_KINDS];
/* LY_RECORD_KINDS if there is none of that word. */
enum ly_record_kind ly_record_kind_of(const char *word, size_t len);

/* ---- one line ---- */

/* To be written. Texts are NUL-terminated; none is NULL. */
struct ly_line_in {
	uint64_t n, when;
	enum ly_record_kind kind;
	const char *subject;  /* a SPIFFE id, a site, "operator"; or empty */
	const char *name;     /* hex, or "word:hex"; or empty */
	struct ly_id vm, mig; /* none: an empty text */
	const char *text;     /* for people */
	const char *details;  /* one JSON object, canonical by itself */
	uint8_t prev[32];
};

/* The line, without a newline. LY_MALFORMED: subject or name has other than
 * printable ASCII without quotes and backslashes. LY_FULL: a limit. In `text`
 * what is not ASCII is escaped. */
LY_MUST enum ly_rc ly_line_put(const struct ly_line_in *in, char *out,
    size_t size, size_t *len, struct ly_why *why);

/* As read; borrows from the line. Texts are as the line has them, escapes and
 * all; subject, name, vm and mig have none. */
struct ly_line {
	uint64_t n, when;
	enum ly_record_kind kind; /* KINDS: a later version's */
	struct ly_bytes word, subject, name, vm, mig, text, details;
	uint8_t prev[32];
};

/* LY_MALFORMED unless it is canonical, to the byte. */
LY_MUST enum ly_rc ly_line_get(const char *line, size_t len,
    struct ly_line *out, struct ly_why *why);

/* ---- the chain ---- */

struct ly_chain {
	uint64_t n;	  /* lines so far */
	uint8_t hash[32]; /* of the last; zeros before the first */
};

/* The next line (R1). LY_MALFORMED says what is wrong with it; `c` is as it
 * was. `out` may be NULL. */
LY_MUST enum ly_rc ly_chain_add(struct ly_chain *c, const char *line,
    size_t len, struct ly_line *out, struct ly_why *why);
static inline bool
ly_chain_same(const struct ly_chain *a, const struct ly_chain *b)
{
	return a->n == b->n && memcmp(a->hash, b->hash, 32) == 0;
}

/* What is signed of a head: text lines, so that a person can read it and
 * openssl(1) can check it. */
#define LY_HEAD_TEXT 400
struct ly_head_text {
	char site[LY_NAME_MAX];
	char signer[LY_SPIFFE_MAX];
	uint64_t when; /* seconds since 1970 */
	struct ly_chain head;
};
void ly_head_put(const struct ly_head_text *in, char out[LY_HEAD_TEXT]);
/* LY_MALFORMED unless it is exactly as ly_head_put() writes it. `len`: of what
 * is to be read; *used: of the head's text, what follows is another's. */
LY_MUST enum ly_rc ly_head_get(const char *text, size_t len,
    struct ly_head_text *out, size_t *used, struct ly_why *why);

/* ---- the rule ---- */

/* What is known of one name; zeroed at first, then told each event that has
 * this name, in order. */
struct ly_name_seen {
	uint64_t first; /* the event it was bound by; 0: never */
	uint64_t ended; /* the event it was destroyed by; 0: it was not */
	char subject[LY_SPIFFE_MAX];
};
void ly_name_tell(struct ly_name_seen *s, const struct ly_line *line);
/* May an event of `kind` have this name, for `subject`? LY_REFUSED says whose
 * it is, and since which event. */
LY_MUST enum ly_rc ly_name_may(const struct ly_name_seen *s,
    enum ly_record_kind kind, const char *subject, const char *name,
    struct ly_why *why);

#endif
