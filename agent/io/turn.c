/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/turn.h"

void
ly_turn_leave(struct ly_turn *t)
{
	assert(t->depth > 0);
	if (t->depth > 1) {
		t->depth--;
		return;
	}
	do {
		while (t->touched) {
			t->touched = false;
			t->ops->commit(t->arg);
			t->ops->settle(t->arg);
		}
	} while (t->ops->go_on(t->arg) || t->touched);
	t->depth = 0;
	if (t->ops->over)
		t->ops->over(t->arg);
}
