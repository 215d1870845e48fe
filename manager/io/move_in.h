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
