/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The permanent record's shell (manager/record/chain.h says what it is). Its
 * lines are in the store, in a table that can only grow; its head is there too,
 * signed by this manager's key, and in STATE/head. Each head is told to the
 * managers of other sites, which keep the newest they were told, and say so
 * when they meet a manager that knows less: a database that was put back is
 * found by what nobody here can put back with it.
 *
 * What is to be recorded is written before it is done. While the record is not
 * whole (ly_record_lost()), nothing is added, so nothing is issued, until the
 * operator accepts the loss, which is an event itself.
 */
#ifndef LY_MANAGER_IO_RECORD_H
#define LY_MANAGER_IO_RECORD_H

#include "manager/record/chain.h"
#include "manager/store/store.h"

struct ly_manager;

struct ly_record_event {
	enum ly_record_kind kind;
	/* Whose or who: a SPIFFE id, a site's name, "operator"; printable
	 * ASCII without quotes. NULL: none. */
	const char *subject;
	/* Of a key: its TPM Name or fingerprint in hex. What the kind does
	 * with it says ly_record_kinds. NULL: none. */
	const char *name;
	struct ly_id vm, mig; /* none: not about one */
	const char *text;     /* one sentence for people; NULL: none */
	json_t *details;      /* an object; taken, whatever comes; or NULL */
};

/*
 * On disk when it returns LY_OK. LY_REFUSED: the rule of names says no, or the
 * record is not whole; `why` says whose the name is. LY_OUTSIDE: the store.
 * Unless it is LY_OK, nothing has changed.
 */
LY_MUST enum ly_rc ly_record_add(struct ly_manager *m,
    const struct ly_record_event *ev, struct ly_why *why);

/* `n` events, and a row of the store (or none: NULL), in one transaction. */
LY_MUST enum ly_rc ly_record_put(struct ly_manager *m, enum ly_row_kind kind,
    const void *row, const char *journal, const struct ly_record_event *ev,
    size_t n, struct ly_why *why);
/* The same, and a row is taken away. */
LY_MUST enum ly_rc ly_record_del(struct ly_manager *m, enum ly_row_kind kind,
    const char *key, const char *journal, const struct ly_record_event *ev,
    struct ly_why *why);

/* What has happened anyway, and could not be undone if it were not written: a
 * failure is an alarm. */
void ly_record_note(struct ly_manager *m, const struct ly_record_event *ev);

/* What is known of a Name or fingerprint; all zero if it was never bound. */
LY_MUST enum ly_rc ly_record_seen(struct ly_manager *m, const char *name,
    struct ly_name_seen *out, struct ly_why *why);

/*
 * Bytes that belong to a migration, for its receipt and for the manager itself
 * after a restart: "call", "evidence.source", "evidence.dest",
 * "evidence.home", "key", "proof", "decided", each as it went over the wire;
 * `what` is a name as ly_name_good() wants it. Kept again, they are replaced.
 * Their SHA-256 belongs into the details of an event.
 */
LY_MUST enum ly_rc ly_record_keep(struct ly_manager *m, const struct ly_id *mig,
    const char *what, struct ly_bytes bytes, struct ly_why *why);
/* *out is malloc'd. LY_UNKNOWN: nothing of that name was kept. */
LY_MUST enum ly_rc ly_record_kept(struct ly_manager *m, const struct ly_id *mig,
    const char *what, uint8_t **out, size_t *len, struct ly_why *why);

/* The last event's number and hash. */
const struct ly_chain *ly_record_head(const struct ly_manager *m);
/* The same, signed. */
const struct ly_head_row *ly_record_signed(const struct ly_manager *m);
/* A list of {site, events, hash, when}: what other sites have signed to have
 * seen of it. */
json_t *ly_record_witnesses(struct ly_manager *m);
/* NULL, or why nothing is recorded or issued, and what the operator can do. */
const char *ly_record_lost(const struct ly_manager *m);

/* The operator accepts what ly_record_lost() says. LY_REFUSED: nothing is. */
LY_MUST enum ly_rc ly_record_accept(struct ly_manager *m, struct ly_why *why);

/* ---- for fed.c ---- */

struct ly_fed;
struct ly_head_told;
/* The head of ours, if it is due; on connect, always, and the newest of theirs
 * that we know. */
void ly_record_tell(struct ly_manager *m, struct ly_fed *f, bool connected);
/* What that site's manager says of its own head, or of ours. */
void ly_record_hear(struct ly_manager *m, struct ly_fed *f,
    const struct ly_head_told *t);

/* ---- for manager.c ---- */

/* Walks the whole chain. LY_REFUSED: it is broken, or less than STATE/head
 * says; the text says what to do. With `accept_loss` the second is recorded,
 * and believed. */
LY_MUST enum ly_rc ly_record_load(struct ly_manager *m, bool accept_loss,
    struct ly_why *why);
void ly_record_tick(struct ly_manager *m);
void ly_record_free(struct ly_manager *m);

#endif
