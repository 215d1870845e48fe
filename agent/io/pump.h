/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries a migration's bytes between QEMU's Unix socket and a STREAM
 * connection, both ways, as DATA frames. What one side does not take holds
 * the other back: nothing is read from QEMU while much waits to be sent, and
 * nothing from the peer while much waits for QEMU.
 *
 * The owner keeps the connection and passes on what it hears there.
 */
#ifndef LY_AGENT_IO_PUMP_H
#define LY_AGENT_IO_PUMP_H

#include "lib/io/conn.h"

struct ly_pump;

struct ly_pump_ops {
	/* QEMU has closed its side; all it wrote has been sent before. */
	void (*on_end)(void *arg);
	void (*on_broken)(void *arg, const char *why);
};

/* A source: QEMU will connect to `path`. The socket exists on return. */
LY_MUST enum ly_rc ly_pump_listen(uv_loop_t *loop, const char *path,
    struct ly_conn *conn, const struct ly_pump_ops *ops, void *arg,
    struct ly_pump **out, struct ly_why *why);
/* A destination: QEMU listens on `path`. */
LY_MUST enum ly_rc ly_pump_connect(uv_loop_t *loop, const char *path,
    struct ly_conn *conn, const struct ly_pump_ops *ops, void *arg,
    struct ly_pump **out, struct ly_why *why);

/*
 * At most so many bytes a second from QEMU; 0, as at first: as fast as it
 * goes. It is done here and not by QEMU, which sleeps out its tenth of a
 * second even when it has been told to hurry. Wants ly_pump_tick() at least
 * every LY_PUMP_TICK_MS while it is set.
 */
void ly_pump_pace(struct ly_pump *p, uint64_t rate);
void ly_pump_tick(struct ly_pump *p);
#define LY_PUMP_TICK_MS 20

/* QEMU is not read beyond so many bytes of its stream, give or take a read; at
 * first it is. */
void ly_pump_most(struct ly_pump *p, uint64_t bytes);

/* From the connection's on_frame() and on_drain(). */
void ly_pump_data(struct ly_pump *p, const struct ly_data *data);
void ly_pump_drained(struct ly_pump *p);
/* The connection is gone; what is queued for QEMU still goes there. */
void ly_pump_detach(struct ly_pump *p);

/* Bytes read from QEMU, and bytes given to it. */
uint64_t ly_pump_sent(const struct ly_pump *p);
uint64_t ly_pump_got(const struct ly_pump *p);
/* Of those, how many its socket has taken. */
uint64_t ly_pump_given(const struct ly_pump *p);

/* No callback after this; QEMU's socket is closed. */
void ly_pump_close(struct ly_pump *p);

#endif
