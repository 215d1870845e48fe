/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The home's own look at the TPM, between two commands of its guest. It takes
 * no seq, it goes through no door, and what the TPM says to it is nobody's
 * answer: as long as it runs (`peeking`), no command of the guest's does, so
 * the next answer is its own. A command that comes meanwhile is as if it came
 * a little later: it is held by the shell, and nothing here knows of it.
 *
 * If the agent dies, `peeking` was kept with the rest, so the next one takes
 * the answer for what it is; who had asked is gone. Looking changes nothing in
 * a TPM, so it does not matter if it was done and nobody knows.
 */
#include "agent/home/home_in.h"

static void
peeked(struct ly_home *h, struct ly_home_todos *todo, enum ly_rc rc)
{
	struct ly_home_todo *t = ly_home_add(todo, LY_DO_PEEKED, 0);

	t->rc = rc;
	t->epoch = h->rec.epoch;
	t->seq = h->seq;
}

void
ly_home_peek(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	(void)ev;
	if (h->peeking || h->tpm == LY_TPM_RUNNING) {
		peeked(h, todo, LY_BUSY);
	} else if (h->tpm == LY_TPM_BROKEN) {
		peeked(h, todo, LY_FAILED);
	} else {
		h->peeking = true;
		ly_home_add(todo, LY_DO_PEEK, 0);
	}
}

bool
ly_home_peek_over(struct ly_home *h, struct ly_home_todos *todo, bool dead)
{
	if (!h->peeking)
		return false;
	assert(h->tpm != LY_TPM_RUNNING);
	h->peeking = false;
	peeked(h, todo, dead || h->tpm == LY_TPM_BROKEN ? LY_FAILED : LY_OK);
	return true;
}

void
ly_home_hold(struct ly_home_todos *todo, const struct ly_home_event *ev)
{
	struct ly_home_todo *t = ly_home_add(todo, LY_DO_HOLD, ev->door);

	t->epoch = ev->epoch;
	t->seq = ev->seq;
}
