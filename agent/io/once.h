/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that move exactly once, though the process may be killed before or
 * after any instruction. How far a stream is, is known by two numbers: one in
 * the slot, committed together with the owner's state, and one that the kernel
 * keeps and changes in the same system call that moves the bytes.
 *
 * Reading (the kernel's number is SO_PEEK_OFF: bytes looked at and still in
 * the queue):
 *
 *	n = ly_once_peek()	look; nothing is gone yet
 *	ly_once_take(m <= n)	these m bytes are what the next commit is about
 *	ly_slot_commit()	the state says what came of them
 *	ly_once_consume()	they leave the queue
 *
 * Writing (the kernel's number is the offset of `out`, an open file of the kept
 * memory that one stream alone uses, and the keeper keeps):
 *
 *	ly_once_aim()		these bytes are to be written
 *	ly_slot_commit()	the state says so
 *	ly_once_push()		they go; LY_BUSY: again when writable
 *
 * So one event is: peek, take, the machines' steps, aim, ONE commit, consume,
 * push. After a crash ly_once_wake() puts each inherited stream where its state
 * says: what was not committed has not been read, what was committed is. What
 * is still owed (ly_once_owed) is pushed by the owner, who knows what for.
 *
 * No copy is made of bytes that are pushed: the peer reads them from the area.
 * So ly_once_aim() is not for what the peer may still be reading: a request is
 * aimed after the last one's answer came, an answer after its request did.
 */
#ifndef LY_AGENT_IO_ONCE_H
#define LY_AGENT_IO_ONCE_H

#include "agent/io/keep.h"

#define LY_ONCE_ENDED 0	   /* of ly_once_peek(): the peer hung up */
#define LY_ONCE_NOTHING -1 /* there is nothing to be read now */

/* Up to `room` bytes; what was not taken comes again. A descriptor sent with
 * them is given in *fd (-1: none), the caller's to close; with `fd` NULL it is
 * closed. Not between a take and its consume. */
LY_MUST int ly_once_peek(struct ly_slot *s, unsigned which, void *buf,
    size_t room, int *fd);
/* 1 to as many as were peeked. */
void ly_once_take(struct ly_slot *s, unsigned which, size_t n);
/* After the commit. Nothing taken: nothing happens. */
void ly_once_consume(struct ly_slot *s, unsigned which);

/* Copies 1 to LY_AREA_MAX bytes; only when nothing is owed. */
void ly_once_aim(struct ly_slot *s, unsigned which, const void *at, size_t len);
/* After the commit. LY_OK: nothing is owed any more. LY_BUSY: the rest when it
 * is writable. LY_OUTSIDE: the peer is gone, and nothing is owed. */
LY_MUST enum ly_rc ly_once_push(struct ly_slot *s, unsigned which);

/* What was aimed is not to be written after all: before any of it was pushed,
 * and the next commit says so. */
void ly_once_call_off(struct ly_slot *s, unsigned which);

static inline bool
ly_once_owed(const struct ly_slot *s, unsigned which)
{
	return s->owed[which] > 0;
}

/* Of an inherited slot, once, before anything else. ly_keep_open() does it. */
void ly_once_wake(struct ly_slot *s);

#endif
