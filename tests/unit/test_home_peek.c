/* SPDX-License-Identifier: Apache-2.0 */
/* The home's own look at the TPM. */
#include "tests/unit/home_scene.h"

static void
peek(struct world *w)
{
	tell(w, (struct ly_home_event){ .kind = LY_HOME_PEEK });
}

TEST(a_look_takes_no_seq_and_its_answer_is_nobodys)
{
	struct world w = attached();

	peek(&w);
	WANT(find(&w, LY_DO_PEEK));
	WANT_INT(w.home.seq, 1);
	answer(&w);
	WANT_INT(w.todo.n, 1); /* nothing is kept, nothing sent */
	WANT_INT(find(&w, LY_DO_PEEKED)->rc, LY_OK);
	WANT_INT(find(&w, LY_DO_PEEKED)->seq, 1);
	WANT(w.home.kept);
	command(&w, DOOR_A, 1, 2, hash1);
	WANT(find(&w, LY_DO_RUN));
}

TEST(a_command_that_comes_during_a_look_is_held_until_it_is_over)
{
	struct world w = attached();

	peek(&w);
	command(&w, DOOR_A, 1, 2, hash1);
	WANT_INT(w.todo.n, 1);
	WANT(find(&w, LY_DO_HOLD) && w.runs == 0);
	WANT_INT(w.home.seq, 1); /* as if it had not come */
	command(&w, DOOR_A, 1, 1, hash1);
	WANT(find(&w, LY_DO_ANSWER) || find(&w, LY_DO_REFUSE));
	answer(&w);
	command(&w, DOOR_A, 1, 2, hash1);
	WANT(find(&w, LY_DO_RUN) && w.runs == 1);
	answer(&w);
	WANT_INT(find(&w, LY_DO_ANSWER)->seq, 2);
}

TEST(a_reset_that_comes_during_a_look_is_held_too)
{
	struct world w = attached();

	peek(&w);
	init_command(&w, DOOR_A, 2);
	WANT(find(&w, LY_DO_HOLD) && w.runs == 0);
}

TEST(a_look_does_not_begin_while_a_command_runs_nor_twice)
{
	struct world w = attached();

	command(&w, DOOR_A, 1, 2, hash1);
	peek(&w);
	WANT(!find(&w, LY_DO_PEEK));
	WANT_INT(find(&w, LY_DO_PEEKED)->rc, LY_BUSY);
	answer(&w);
	WANT_INT(find(&w, LY_DO_ANSWER)->seq, 2);
	peek(&w);
	WANT(find(&w, LY_DO_PEEK));
	peek(&w);
	WANT(!find(&w, LY_DO_PEEK));
	WANT_INT(find(&w, LY_DO_PEEKED)->rc, LY_BUSY);
}

TEST(a_tpm_that_has_failed_is_not_looked_at)
{
	struct world w = attached();

	peek(&w);
	tell(&w, (struct ly_home_event){ .kind = LY_HOME_TPM_DEAD });
	WANT_INT(find(&w, LY_DO_PEEKED)->rc, LY_FAILED);
	WANT(find(&w, LY_DO_ALARM));
	WANT(!find(&w, LY_DO_KEEP_FAILURE)); /* no command was lost */
	peek(&w);
	WANT(!find(&w, LY_DO_PEEK));
	WANT_INT(find(&w, LY_DO_PEEKED)->rc, LY_FAILED);
}

TEST(a_look_that_ends_after_the_tpm_was_declared_failed_says_so)
{
	struct world w = attached();

	peek(&w);
	command(&w, DOOR_A, 1, 1, hash2); /* a seq, other bytes */
	WANT_INT(w.home.tpm, LY_TPM_BROKEN);
	answer(&w);
	WANT_INT(find(&w, LY_DO_PEEKED)->rc, LY_FAILED);
}

TEST_MAIN()
