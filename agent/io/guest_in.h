/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guest.c (QEMU's session), guest_raw.c (raw clients) and guest_door.c
 * (the two sockets) share. Nobody else includes this.
 */
#ifndef LY_AGENT_IO_GUEST_IN_H
#define LY_AGENT_IO_GUEST_IN_H

#include "agent/io/guest.h"
#include "agent/io/once.h"
#include "lib/base/text.h"
#include "lib/io/log.h"

#include <uv.h>

enum kind { CTRL, QEMU, RAW };

struct conn {
	struct ly_guest *g;
	struct conn *next;
	uv_poll_t poll;
	uv_timer_t timer;
	int fd;	    /* CTRL and QEMU: the slot's, and closed by it */
	int passed; /* CTRL: a descriptor that came with the last bytes */
	uint8_t kind;
	uint8_t open; /* handles */
	bool closing;
	bool held;     /* not read from: see ly_guest_hold() */
	bool ended;    /* RAW: sends no more, still reads */
	uint32_t have; /* RAW: bytes in `buf` */
	uint8_t *buf;  /* RAW: LY_TPM_MAX, or NULL: what is no whole command */
};

struct door {
	uv_poll_t poll;
	int fd;
	bool shut; /* not polled: no room for another client */
};

struct ly_guest {
	struct ly_swtpm m;
	const struct ly_guest_ops *ops;
	void *arg;
	void (*closed)(void *arg);
	struct ly_turn *turn;
	struct ly_slot *slot;
	struct conn *ctrl, *data; /* data: QEMU's, or the raw ones */
	struct conn *asker;	  /* RAW: of the command under way */
	uint8_t asked_by;	  /* enum ly_asker */
	bool asked_raw;
	bool again, closing, leaving;
	uint8_t doors_open;
	uint8_t raw_n;
	unsigned conns_n; /* not yet closed altogether */
	uint32_t have;	  /* of QEMU's command that is not whole yet */
	struct door raw_door, ctrl_door;
	char *path;
};

/* guest.c */
struct conn *ly_guest_conn(struct ly_guest *g, int fd, enum kind kind);
void ly_guest_drop(struct conn *c);
void ly_guest_hold(struct conn *c);
void ly_guest_unhold(struct conn *c);
void ly_guest_on_timer(uv_timer_t *timer);
void ly_guest_last_out(struct ly_guest *g);

/* guest_raw.c */
void ly_guest_raw_read(struct conn *c);
void ly_guest_raw_go_on(struct conn *c);
void ly_guest_raw_put(struct conn *c, const uint8_t *buf, size_t len);
void ly_guest_raw_forget(struct conn *c);

/* guest_door.c */
LY_MUST enum ly_rc ly_guest_doors_open(struct ly_guest *g, uv_loop_t *loop,
    struct ly_why *why);
/* Some clients are refused, or wait outside. */
void ly_guest_doors(struct ly_guest *g);
void ly_guest_doors_close(struct ly_guest *g);

#endif
