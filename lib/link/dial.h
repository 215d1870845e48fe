/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to dial again. A connection that stood for STEADY_MS is dialled again
 * at once: a peer whose program is being replaced keeps its listening socket,
 * so the dial waits there, and guests wait no longer than that takes. If it
 * fails, waits begin at 10 ms and double to 2 s, each a quarter more or less by
 * chance, so that a thousand agents do not come back in the same instant. One
 * that was closed as soon as it was open begins nothing anew.
 *
 *   IDLE -START-> TRYING -OPENED-> UP -LOST-> TRYING or WAITING -DUE-> TRYING
 *
 * STOP ends it from any state, for good.
 */
#ifndef LY_LINK_DIAL_H
#define LY_LINK_DIAL_H

#include "lib/base/base.h"

#define LY_REDIAL_FIRST_MS 10
#define LY_REDIAL_MOST_MS 2000
#define LY_REDIAL_STEADY_MS 1000

enum ly_redial_state {
	LY_REDIAL_IDLE,
	LY_REDIAL_TRYING,
	LY_REDIAL_UP,
	LY_REDIAL_WAITING,
	LY_REDIAL_STOPPED,
	LY_REDIAL_STATES
};

enum ly_redial_news {
	LY_REDIAL_START,
	LY_REDIAL_OPENED,
	LY_REDIAL_LOST, /* or could not be made */
	LY_REDIAL_DUE,	/* the wait is over */
	LY_REDIAL_STOP,
	LY_REDIAL_NEWS
};

enum ly_redial_act {
	LY_REDIAL_NOTHING,
	LY_REDIAL_DIAL,
	LY_REDIAL_WAIT,	   /* `wait_ms`, then DUE */
	LY_REDIAL_HANG_UP, /* what is open or being dialled; no more waiting */
};

struct ly_redial {
	enum ly_redial_state state;
	uint32_t next_ms;  /* the next wait, before chance */
	uint32_t wait_ms;  /* of WAIT */
	uint64_t since_ms; /* of UP */
};

void ly_redial_init(struct ly_redial *r);
/* `chance` is 16 random bits. */
enum ly_redial_act ly_redial_step(struct ly_redial *r, enum ly_redial_news news,
    uint64_t now_ms, uint16_t chance);

#endif
