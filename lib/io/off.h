/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection that has left the loop: its socket blocks, and its TLS belongs
 * to one thread, the only one that sends or receives. Memory of a VM goes over
 * such connections, DATA frames one way and nothing the other: what hashes and
 * encrypts more than a gigabyte a second would hold up the loop.
 *
 * The machine of lib/link has no part in it any more. A peer that is dead is
 * found out by TCP, within LY_OFF_DEAD_MS.
 */
#ifndef LY_IO_OFF_H
#define LY_IO_OFF_H

#include "lib/io/conn.h"

#define LY_OFF_DEAD_MS 30000

struct ly_off;

/* Takes it off the loop; it is up and on hold, and nothing was delivered from
 * it. Not from within a callback of it. From LY_OK on the connection is *out's,
 * and on_close() never comes. LY_BUSY: what was sent is not out yet, ask again
 * later. Anything else: as if it had been broken; close it. */
LY_MUST enum ly_rc ly_conn_off(struct ly_conn *c, struct ly_off **out,
    struct ly_why *why);

/* One DATA of `len` bytes, 1 to LY_CHUNK_MAX, from where they are; `more` comes
 * soon, so the last of it may wait here. Blocks. */
LY_MUST enum ly_rc ly_off_send(struct ly_off *o, const void *at, size_t len,
    bool more, struct ly_why *why);
/* A frame of a type that is no DATA, and no larger than 4 KiB. */
LY_MUST enum ly_rc ly_off_say(struct ly_off *o, unsigned type, const void *in,
    bool more, struct ly_why *why);
/* Nothing more will be sent, and that is no loss. */
LY_MUST enum ly_rc ly_off_end(struct ly_off *o, struct ly_why *why);

/* The next that came. Of DATA its bytes, at most `room`, are put to `to`; the
 * body of another frame, at most 4 KiB, is lent until the next call. Type 0:
 * the peer has ended. Blocks. A DATA longer than `room` crosses a border and is
 * LY_MALFORMED. */
LY_MUST enum ly_rc ly_off_next(struct ly_off *o, void *to, size_t room,
    struct ly_frame *out, struct ly_why *why);

/* Waits so long for something to come. False: nothing has. */
bool ly_off_wait(struct ly_off *o, unsigned wait_ms);
/* Any thread: who blocks in it is let go, with an error. */
void ly_off_cut(struct ly_off *o);
/* No thread is in it. */
void ly_off_free(struct ly_off *o);

#endif
