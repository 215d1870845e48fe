/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event at a time, and what it came to is kept before any of it is done.
 *
 *	enter	an event has come: machines step, bytes are laid ready
 *	leave	commit: what must outlive us is written, in one go
 *		settle: what was decided is done. It may step machines again;
 *		then all is committed again and the rest done
 *		go_on: what had to wait is taken up, one thing at a call;
 *		false: there is none
 *		over: the last; it may free everything
 *
 * Between enter and leave more of them may nest: only the outermost leave does
 * all this, so no machine is ever entered twice at once, and no stack grows
 * with a peer's pipeline.
 */
#ifndef LY_AGENT_IO_TURN_H
#define LY_AGENT_IO_TURN_H

#include "lib/base/base.h"

struct ly_turn_ops {
	void (*commit)(void *arg);
	void (*settle)(void *arg);
	bool (*go_on)(void *arg);
	void (*over)(void *arg); /* may be NULL */
};

struct ly_turn {
	const struct ly_turn_ops *ops;
	void *arg;
	unsigned depth;
	bool touched; /* something is to be committed */
};

static inline void
ly_turn_enter(struct ly_turn *t)
{
	t->depth++;
}

/* What is to be kept has changed. */
static inline void
ly_turn_touch(struct ly_turn *t)
{
	t->touched = true;
}

void ly_turn_leave(struct ly_turn *t);

#endif
