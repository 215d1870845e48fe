/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a migration's shell (move*.c) share; for them only. */
#ifndef LY_MANAGER_IO_MOVE_IN_H
#define LY_MANAGER_IO_MOVE_IN_H

#include "manager/io/manager.h"

/* ---- move.c ---- */

/* NULL: it has been removed. */
struct ly_vm *ly_move_vm(const struct ly_move *mv);
struct ly_place ly_move_place(const struct ly_move *mv, enum ly_party party);
/* Why it is going wrong: the first cause is the one to keep. */
void ly_move_note(struct ly_move *mv, const char *fmt, ...) LY_PRINTF(2, 3);
/* Tells the saga what happened, and does as it says. */
void ly_move_feed(struct ly_move *mv, const struct ly_saga_event *ev);

/* ---- move_ask.c ---- */

/* `step` of its party; the answer, or that there was none, is fed. */
void ly_move_ask(struct ly_move *mv, enum ly_step step);

/* ---- move_attest.c: the papers of an attested migration ---- */

/* As it is on disk; `at` is malloc'd. */
struct ly_paper {
	uint8_t *at;
	size_t len;
};
struct ly_bytes ly_paper_bytes(const struct ly_paper *p);
LY_MUST enum ly_rc ly_move_keep(struct ly_move *mv, const char *what,
    struct ly_bytes bytes, struct ly_why *why);
/* `out` is written only on LY_OK. */
LY_MUST enum ly_rc ly_move_kept(struct ly_move *mv, const char *what,
    struct ly_paper *out, struct ly_why *why);

/* What its managers know of the three hosts lets them take part. LY_REFUSED
 * says which of them not, and why. */
LY_MUST enum ly_rc ly_move_standing(struct ly_manager *m,
    const struct ly_place *to, const struct ly_place *from,
    const struct ly_place *home, struct ly_why *why);

/* Makes the call for evidence, and keeps it: before the saga attests. */
LY_MUST enum ly_rc ly_move_call(struct ly_move *mv, struct ly_why *why);
/* The call that was made, and its bytes. */
LY_MUST enum ly_rc ly_move_called(struct ly_move *mv, struct ly_paper *paper,
    struct ly_call *out, struct ly_why *why);

/* What a message of ly_move_fill() borrows. */
struct ly_move_room {
	struct ly_paper a, b;
	struct ly_vm_row vm;
};
/* QUOTE, KEY, IMPORT or UNLOCK; `room` is zeroed, and freed in any case. */
LY_MUST enum ly_rc ly_move_fill(struct ly_move *mv, enum ly_step step,
    union ly_any *msg, struct ly_move_room *room, struct ly_why *why);
void ly_move_room_free(struct ly_move_room *room);
/* COPY's lanes, and the destination's word that it has the key. */
LY_MUST enum ly_rc ly_move_confirm(struct ly_move *mv, struct ly_copy *c,
    struct ly_why *why);
/* What those answered, when it is DONE with LY_OK. LY_OUTSIDE: it could not be
 * kept; ask again. */
LY_MUST enum ly_rc ly_move_heard_paper(struct ly_move *mv, enum ly_step step,
    struct ly_bytes data, struct ly_why *why);

/* ---- move_proof.c ---- */

/* "migration ID": whose the key is, in the permanent record. */
const char *ly_move_subject(const struct ly_move *mv,
    char out[LY_ID_TEXT + 16]);
/* In hex, of the object in a packed struct ly_key_blob. */
LY_MUST enum ly_rc ly_move_key_name(struct ly_bytes packed,
    char out[2 * LY_TPM_NAME + 1], struct ly_why *why);
/* Of the destination's SK, as it was judged. */
LY_MUST enum ly_rc ly_move_sk_name(struct ly_move *mv, uint8_t out[LY_TPM_NAME],
    struct ly_why *why);

enum ly_move_word {
	LY_MOVE_FIT,   /* and the permanent record says so */
	LY_MOVE_UNFIT, /* noted why */
	LY_MOVE_LATER, /* the store said no: ask again */
};
enum ly_move_word ly_move_appraise(struct ly_move *mv);

/* COPY's `data`: that what was sent has arrived, whole, and that the source has
 * nothing left. `epoch` is the new one. LY_OK: all of it is so. */
LY_MUST enum ly_rc ly_move_prove(struct ly_move *mv, struct ly_bytes packed,
    uint64_t epoch, struct ly_why *why);
/* The home's signed word is what the row says. */
LY_MUST enum ly_rc ly_move_decided(struct ly_move *mv, struct ly_bytes object,
    struct ly_why *why);

/* ---- move_end.c ---- */

/* Raises the alarm, once, if it has committed and is not proved. Not before
 * the source has been heard, or does not answer. */
void ly_move_doubt(struct ly_move *mv);
/* The saga has just moved on. */
void ly_move_end(struct ly_move *mv);
/* COPY or SETTLE of an attested one was answered. */
void ly_move_heard_proof(struct ly_move *mv, enum ly_step step,
    const struct ly_done *d);
/* And RECORD. */
void ly_move_heard_decided(struct ly_move *mv, const struct ly_done *d);
/* It has committed, and what was moved is not proved to be what runs. */
bool ly_move_unproved(const struct ly_move *mv);

/* ---- move_tell.c ---- */

/* To all who wait; takes the reference. */
void ly_move_say(struct ly_move *mv, json_t *event);
/* Once: committed, aborted, or not known and it may take long. Nobody waits
 * any more then. */
void ly_move_answer(struct ly_move *mv);
json_t *ly_move_progress_json(const struct ly_progress *p);

/* ---- move_record.c ---- */

/* Lives until the events are written. */
struct ly_move_texts {
	char text[512], subject[LY_SPIFFE_MAX];
};
/* What the record has to say when the row becomes `next`; how many. */
size_t ly_move_events(const struct ly_move *mv, const struct ly_mig_row *next,
    struct ly_record_event ev[2], struct ly_move_texts *t);

#endif
