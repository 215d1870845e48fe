/* SPDX-License-Identifier: Apache-2.0 */
/* Within keep.c (what is kept), slot.c (slots), keep_conn.c (the keeper). */
#ifndef LY_AGENT_IO_KEEP_IN_H
#define LY_AGENT_IO_KEEP_IN_H

#include "agent/io/keep.h"
#include "agent/keeper/keeper.h"

struct named {
	char name[LY_KEEP_NAME];
	int fd;
	bool given; /* by the keeper, and nobody has asked for it */
};

/* `conn` -1: there is no keeper just now, and `again` will start one. What is
 * put meanwhile is handed over then. */
struct ly_keep {
	uv_loop_t *loop;
	char path[100];
	int conn;
	uv_poll_t *poll; /* of conn; frees itself */
	uv_timer_t again;
	unsigned wait_ms;  /* before the next try */
	uint64_t since_ms; /* this keeper is there */
	int memory;
	uint8_t *mem;
	struct ly_slot **slots[LY_KEEP_KINDS];
	uint32_t hint[LY_KEEP_KINDS]; /* where to look for a free index */
	struct named named[LY_KEEP_NAMED];
};

/* What a cell of a kind is like. Area 0 begins behind the second half. */
struct ly_shape {
	uint32_t state, areas;
	uint32_t shorts[LY_AREAS]; /* bytes of an area that lie in the cell */
	uint32_t size;
};

/* A descriptor's key. Of LY_KEEPER_NAMES: index 0 is the memory, 1 .. are
 * named[]. Of a slot: `which` of LY_SLOT_FDS, or LY_OUT(which). */
struct key {
	uint32_t kind, index, which;
};
#define LY_OUT(which) (LY_SLOT_FDS + (which))

/* ---- keep_conn.c ---- */

/* Connects, and gives each descriptor it has to ly_keep_given(), which owns it.
 * LY_UNKNOWN: there is no keeper. LY_BUSY: there is one, but it cannot be
 * reached. LY_OUTSIDE: there was one, of no use. */
LY_MUST enum ly_rc ly_keeper_join(struct ly_keep *k, struct ly_why *why);
/* Starts one, and watches it. */
LY_MUST enum ly_rc ly_keeper_start(struct ly_keep *k, struct ly_why *why);
void ly_keeper_watch(struct ly_keep *k);
/* Hangs up; with `end` it is told, or made, to go. */
void ly_keeper_leave(struct ly_keep *k, bool end);
void ly_keeper_put(struct ly_keep *k, struct key key, const char *name, int fd);
void ly_keeper_drop(struct ly_keep *k, struct key key);

/* ---- slot.c ---- */

extern const struct ly_shape ly_slot_shapes[LY_KEEP_KINDS];
/* Bytes of all of the kept memory. */
uint64_t ly_slots_size(void);
/* Its index in the memory is in use, or about to be looked at. */
struct ly_slot *ly_slot_make(struct ly_keep *k, enum ly_keep_kind kind,
    uint32_t index);
/* When all that was kept is there: one slot for each committed state, its
 * streams where that says; the others freed. */
void ly_slots_wake(struct ly_keep *k, enum ly_keep_kind kind);
/* Puts its descriptors once more. */
void ly_slot_hand_over(struct ly_slot *s);
/* Closes its descriptors here alone, and forgets it. */
void ly_slot_forget(struct ly_slot *s);

/* ---- keep.c ---- */

void ly_keep_given(struct ly_keep *k, const struct ly_keeper_msg *m, int fd);
/* Puts everything; the memory last: a keeper without it has nothing. */
void ly_keep_hand_over(struct ly_keep *k);

#endif
