/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must outlive this process: the agent's side of its keeper.
 *
 * The keeper (agent/keeper) is a tiny process that holds copies of descriptors
 * and one piece of memory, and does nothing else. All I/O is the agent's own.
 * If the agent dies, at any instruction, the next one finds here all that was
 * kept. If the keeper dies, the agent starts another and hands it everything
 * again. Only both at once is the end of it: no slot is inherited then.
 *
 * A slot is what is kept of one VM here (LY_KEEP_AWAY) or of one home
 * (LY_KEEP_HOME):
 *
 * - a state, some bytes of the owner's making. ly_slot_commit() replaces it
 *   whole: whoever is killed within finds the old one or the new one;
 * - up to LY_SLOT_FDS descriptors, each a stream that is read and written
 *   through agent/io/once.h, and how far it is (that is committed together
 *   with the state);
 * - areas: rooms for longer bytes. An area is not committed: it may be written
 *   only while the committed state does not need what was in it.
 *
 * The first bytes of an owner's state say what version of it that is: the next
 * agent may be a newer one.
 *
 * Limits: LY_KEEP_SLOTS of a kind, then ly_slot_new() says NULL; LY_KEEP_NAMED
 * named descriptors, asserted.
 */
#ifndef LY_AGENT_IO_KEEP_H
#define LY_AGENT_IO_KEEP_H

#include "lib/base/cursor.h"
#include "lib/base/err.h"

#include <uv.h>

#define LY_KEEP_SLOTS 16384
#define LY_KEEP_NAMED 16
#define LY_KEEP_NAME 32 /* of a named descriptor, with its NUL */

enum ly_keep_kind { LY_KEEP_AWAY, LY_KEEP_HOME, LY_KEEP_KINDS };

/* A slot's streams. AWAY: QEMU's control and data channel. HOME: the TPM's. */
enum { LY_SLOT_CTRL, LY_SLOT_DATA, LY_SLOT_FDS };

/* Bytes of a committed state, at most. */
#define LY_SLOT_STATE_AWAY 704
#define LY_SLOT_STATE_HOME 224
#define LY_SLOT_STATE(kind)                                                    \
	((kind) == LY_KEEP_AWAY ? LY_SLOT_STATE_AWAY : LY_SLOT_STATE_HOME)

/* Areas. The first two belong to agent/io/once.h, the others to the owner. */
enum ly_area {
	LY_AREA_OUT_CTRL, /* being written to LY_SLOT_CTRL */
	LY_AREA_OUT_DATA, /* being written to LY_SLOT_DATA */
	/* of an AWAY slot */
	LY_AREA_WAITING,  /* a command not yet numbered, or a part of one */
	LY_AREA_NUMBERED, /* one that has its seq */
	LY_AREA_REQUEST,  /* a control request, or a part of one */
	/* of a HOME slot */
	LY_AREA_KEPT = LY_AREA_WAITING, /* the last answer, or a part of one */
	LY_AREAS = 5,
};

/* Bytes of an area, at most: a command or answer, and what is around it. Short
 * ones lie in the slot, longer ones take pages of memory while they are there.
 */
#define LY_AREA_MAX 8192

struct ly_keep;

struct ly_slot {
	struct ly_keep *keep;
	enum ly_keep_kind kind;
	uint32_t index;
	void *owner;	      /* nobody's business here */
	int fd[LY_SLOT_FDS];  /* -1: none; read and written by once.h only */
	int out[LY_SLOT_FDS]; /* the rest is once.h's: see there */
	uint32_t take[LY_SLOT_FDS], owed[LY_SLOT_FDS], peeked[LY_SLOT_FDS];
	uint64_t at[LY_SLOT_FDS];
	uint8_t longs; /* areas that may have pages */
};

/*
 * Connects to the keeper at RUN/keeper.sock and inherits, or starts one. If
 * what was kept cannot be had (damaged, or of another layout) that is an ALARM
 * in the log, and all begins afresh: guests that were running have no TPM from
 * then on. LY_OUTSIDE: no keeper could be started. LY_BUSY: there is one, but it
 * serves another. Inherited slots without a
 * committed state are freed at once.
 */
LY_MUST enum ly_rc ly_keep_open(uv_loop_t *loop, const char *run,
    struct ly_keep **out, struct ly_why *why);
/* No more use of it, nor of its slots. `end`: nothing is kept any more, and the
 * keeper ends. Else all stays for the next agent. */
void ly_keep_close(struct ly_keep *k, bool end);
/* For logs: the process id of the keeper; 0: there is none just now. */
int ly_keep_pid(const struct ly_keep *k);
/* Where the keeper's program is, if not beside ours nor in LIBEXECDIR. Lent. */
void ly_keep_program(const char *path);

/* The slots in use, inherited and own, by index: NULL after the last. */
struct ly_slot *ly_keep_next(struct ly_keep *k, enum ly_keep_kind kind,
    const struct ly_slot *after);
/* NULL: none is free, or no memory. It is kept from its first commit on. */
struct ly_slot *ly_slot_new(struct ly_keep *k, enum ly_keep_kind kind);
/* Wiped; its descriptors are dropped (as by ly_slot_drop). */
void ly_slot_free(struct ly_slot *s);

/* 1 to LY_SLOT_STATE(kind) bytes, and how far the streams are. */
void ly_slot_commit(struct ly_slot *s, const void *state, size_t len);
/* The committed one, lent until the next commit; len 0: none yet. */
struct ly_bytes ly_slot_state(const struct ly_slot *s);
/* `len` bytes of an area, 1 to LY_AREA_MAX. The same length gives the same
 * place with the same bytes; asking for another length may lose them. */
uint8_t *ly_slot_area(struct ly_slot *s, enum ly_area area, size_t len);

/* The slot owns `fd` from now on, the keeper has a copy. It becomes
 * non-blocking. */
void ly_slot_put(struct ly_slot *s, unsigned which, int fd);
/* Hangs up (a socket is shut down), closes it here and at the keeper. What was
 * still to be read or written there is forgotten. */
void ly_slot_drop(struct ly_slot *s, unsigned which);

/* Descriptors with a name ("listen"), which stay the caller's: the inherited
 * one, which the caller owns from now on, or -1. Asked twice: -1. */
int ly_keep_named(struct ly_keep *k, const char *name);
/* The keeper has a copy of `fd`, which must stay open until another is put
 * under that name; -1: of none. */
void ly_keep_put_named(struct ly_keep *k, const char *name, int fd);

/* For once.h alone. The live state's record of how far a stream is becomes
 * that of `s`, by one store for each number. */
void ly_slot_note(struct ly_slot *s, unsigned which);
/* Where an area's `len` bytes are in the kept memory. */
uint64_t ly_slot_area_offset(const struct ly_slot *s, enum ly_area area,
    size_t len);

#endif
