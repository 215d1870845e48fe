/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What source.c (the handlers and their table) asks of source_rate.c (how fast
 * the copy goes, and whether it is time to stop the guest) and of
 * source_moves.c. Nobody else includes this.
 */
#ifndef LY_AGENT_STREAM_SOURCE_IN_H
#define LY_AGENT_STREAM_SOURCE_IN_H

#include "agent/stream/source.h"

#define LY_SOURCE_POLL_MS 100 /* while much remains */
#define LY_SOURCE_SOON_MS 10  /* near the end, and while the guest is stopped */

enum ly_source_verdict {
	LY_SRC_GO_ON,
	LY_SRC_STOP_GUEST,
	LY_SRC_GIVE_UP,
};

/* Takes in what QEMU says of its migration. */
void ly_source_measure(struct ly_source_core *s,
    const struct ly_mig_numbers *n);
/* Once for each measurement: passes that gain nothing are counted here. */
enum ly_source_verdict ly_source_judge(struct ly_source_core *s);
/* Milliseconds to the next look. */
uint64_t ly_source_poll_wait(const struct ly_source_core *s);

/* ---- source_moves.c ---- */

struct ly_source_todo *ly_source_add(struct ly_source_todos *todo,
    enum ly_source_act act);
void ly_source_go(struct ly_source_core *s, enum ly_source_state state);
/* Milliseconds in this state. */
uint64_t ly_source_spent(const struct ly_source_core *s);
void ly_source_poll(struct ly_source_core *s, struct ly_source_todos *todo);
void ly_source_blame(struct ly_source_core *s, enum ly_rc rc, const char *text);
void ly_source_over(struct ly_source_core *s, struct ly_source_todos *todo,
    enum ly_source_end end);
void ly_source_ask(struct ly_source_core *s, struct ly_source_todos *todo);
void ly_source_go_ask(struct ly_source_core *s, struct ly_source_todos *todo,
    bool abort);
void ly_source_undo(struct ly_source_core *s, struct ly_source_todos *todo);
void ly_source_fail(struct ly_source_core *s, struct ly_source_todos *todo,
    enum ly_rc rc, const char *text);
void ly_source_lose_race(struct ly_source_core *s,
    struct ly_source_todos *todo);
void ly_source_let_go(struct ly_source_core *s, struct ly_source_todos *todo);
void ly_source_release(struct ly_source_core *s, struct ly_source_todos *todo);
void ly_source_finish(struct ly_source_core *s, struct ly_source_todos *todo);
void ly_source_complete(struct ly_source_core *s, struct ly_source_todos *todo);
void ly_source_stay_stopped(struct ly_source_core *s,
    struct ly_source_todos *todo);
void ly_source_regain(struct ly_source_core *s, struct ly_source_todos *todo);
void ly_source_resume(struct ly_source_core *s, struct ly_source_todos *todo);

#endif
