/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of the attested migrations that this host is source or destination
 * of: performs what agent/attest/hand.h decides. It appraises the other end by
 * itself, whatever the manager thinks of it; the source makes the key for the
 * destination's TPM, the destination has its TPM open it, and both know from
 * then on how to seal the stream and to say what was sent and what came.
 *
 * A QUOTE as source or destination passes through here: who makes the evidence
 * has its call checked (ly_call_check()), asks ly_keys_call() whether to go on,
 * and gives what it has made to ly_keys_quoted(), which answers.
 *
 * Keys are in memory alone (lib/io/secret.h), and wiped at every end. An agent
 * that is started anew knows none: what was on its way before the switch is
 * refused, "its key is gone", and after it the stream is not needed any more.
 *
 * Limits: LY_KEYS_MAX migrations. The oldest that is over makes room; if none
 * is, a call is refused with LY_FULL.
 */
#ifndef LY_AGENT_IO_KEYS_H
#define LY_AGENT_IO_KEYS_H

#include "agent/attest/hand.h"
#include "agent/io/chip.h"
#include "agent/io/lanes.h"
#include "lib/attest/approved.h"
#include "lib/io/identity.h"

#define LY_KEYS_MAX 256

struct ly_keys;

typedef void ly_keys_told(void *arg, enum ly_rc rc, const char *why,
    struct ly_bytes data);

struct ly_keys_params {
	uv_loop_t *loop;
	struct ly_identity *ids;
	struct ly_chip *chip;
	/* SENT is quoted before it goes: always, never, or (LY_FIN_AUTO) if
	 * the last quotes took less than LY_FIN_INLINE_MS. */
	enum { LY_FIN_AUTO, LY_FIN_INLINE, LY_FIN_AFTER } fin_quote;
};
#define LY_FIN_INLINE_MS 20

struct ly_keys_ops {
	/* Answers a request; data is borrowed. */
	void (*answer)(void *arg, const struct ly_done *m);
	/* The states that a site approves, and the key of who does; NULL: none
	 * is known here. */
	const struct ly_approved *(
	    *approved)(void *arg, const char *site, struct ly_point *key);
	/* Evidence of this host: a quote over `c`, in which role and what
	 * belongs to the migration is set, and self, hk and sk_name are not
	 * yet. Without an event log. Told once, never from within. */
	void (*quote)(void *arg, const struct ly_context *c, ly_keys_told *told,
	    void *told_arg);
	/* The destination has the key: ly_keys_take() is for now. */
	void (*unlocked)(void *arg, const struct ly_id *mig);
};

LY_MUST enum ly_rc ly_keys_open(const struct ly_keys_params *params,
    const struct ly_keys_ops *ops, void *arg, struct ly_keys **out,
    struct ly_why *why);
/* Wipes all. What is under way is not told any more. NULL is nothing. */
void ly_keys_close(struct ly_keys *k);

/* ---- requests ---- */

/* QUOTE as source or destination; `call` is what is in m->call, and was checked.
 * True: make the evidence, then ly_keys_quoted(). False: it was made before, or
 * is being made, or is refused; all of that is answered here. */
bool ly_keys_call(struct ly_keys *k, const struct ly_quote *m,
    const struct ly_call *call);
/* `evidence`: packed. */
void ly_keys_quoted(struct ly_keys *k, const struct ly_id *mig, enum ly_rc rc,
    const char *why, struct ly_bytes evidence);
void ly_keys_key(struct ly_keys *k, const struct ly_keying *m);
void ly_keys_import(struct ly_keys *k, const struct ly_keying *m);
void ly_keys_unlock(struct ly_keys *k, const struct ly_keying *m);

/* ---- the stream ---- */

/* This host was called to that migration: it is moved with keys or not at
 * all. */
bool ly_keys_has(const struct ly_keys *k, const struct ly_id *mig);
/* COPY at the source. LY_OK: dial; the keys and the destination (both are
 * borrowed, until the next call of any of these) are in `out`. */
LY_MUST enum ly_rc ly_keys_copy(struct ly_keys *k, const struct ly_copy *m,
    struct ly_lanes_params *out, struct ly_why *why);
/* The destination: who may come, by which keys. LY_BUSY: not unlocked yet. */
LY_MUST enum ly_rc ly_keys_take(struct ly_keys *k, const struct ly_id *mig,
    struct ly_lanes_params *out, struct ly_why *why);

typedef void ly_keys_sealed(void *arg, enum ly_rc rc, const char *why,
    const struct ly_seal *seal);

/* The source: signs SENT and quotes it, now or after. Told once, perhaps from
 * within the call; the seal is good until the migration is over. */
void ly_keys_send(struct ly_keys *k, const struct ly_sent *sent,
    ly_keys_sealed *told, void *arg);
/* The destination: is this the FIN of what has come? `sum` is its own. LY_REFUSED
 * says what is not so. */
LY_MUST enum ly_rc ly_keys_check(struct ly_keys *k, const struct ly_fin *fin,
    const struct ly_lanes_sum *sum, struct ly_why *why);
/* After that: is this the token which the source says it has sent? */
LY_MUST enum ly_rc ly_keys_token(struct ly_keys *k, const struct ly_id *mig,
    struct ly_bytes token, struct ly_why *why);
/* The destination, when the home has granted it: signs ARRIVED for READY, with
 * the seq that SENT had. Its keys are gone then. Borrowed until the migration
 * is over. */
struct ly_bytes ly_keys_arrive(struct ly_keys *k,
    const struct ly_arrived *arrived);
/* The source: READY's statement has come. */
void ly_keys_arrived(struct ly_keys *k, const struct ly_id *mig,
    struct ly_bytes statement);
/* The source, when its QEMU is gone and the home has said CLAIMED: signs
 * DESTROYED, now and of the epoch it held, has it quoted, and tells the packed
 * ly_move_proof, with what there is of it. Asked again it tells the same; who
 * asked before and has not been told is told LY_BUSY. LY_UNKNOWN: it has none. */
void ly_keys_destroy(struct ly_keys *k, const struct ly_id *mig,
    ly_keys_told *told, void *arg);
/* The VM of that migration has its home at `site`: its manager may speak of
 * it, and no other. */
bool ly_keys_of_site(const struct ly_keys *k, const struct ly_id *mig,
    const char *site);
/* It is over otherwise. */
void ly_keys_end(struct ly_keys *k, const struct ly_id *mig, const char *why);

#endif
