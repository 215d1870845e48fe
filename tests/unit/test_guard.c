/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/away/guard.h"
#include "agent/tpm/limit.h"
#include "tests/test.h"

static struct ly_guard g;
static struct ly_guard_todos todo; /* of the last step */
static uint64_t now;

static void
step(struct ly_guard_event ev)
{
	todo.n = 0;
	ev.now_ms = now;
	ly_guard_step(&g, &ev, &todo);
}

static void
tell(enum ly_guard_kind kind)
{
	step((struct ly_guard_event){ .kind = kind, .ok = true, .runs = true });
}

static void
refuse(enum ly_guard_kind kind)
{
	step((struct ly_guard_event){ .kind = kind });
}

static const struct ly_guard_todo *
said(enum ly_guard_act act)
{
	for (unsigned i = 0; i < todo.n; i++)
		if (todo.act[i].act == act)
			return &todo.act[i];
	return NULL;
}

static void
after(uint64_t ms)
{
	now += ms;
	tell(LY_GUARD_TICK);
}

static void
begin(void)
{
	now = 100000;
	ly_guard_init(&g, false);
}

static void
command(uint32_t limit_ms)
{
	step((struct ly_guard_event){ .kind = LY_GUARD_COMMAND,
	    .limit_ms = limit_ms });
}

/* Stopped by us, for a command of 750 ms. */
static void
hold(void)
{
	command(750);
	after(400);
	WANT(said(LY_GUARD_DO_LOOK));
	tell(LY_GUARD_LOOKED);
	WANT(said(LY_GUARD_DO_STOP));
	tell(LY_GUARD_STOPPED);
	WANT_INT(todo.n, 0);
}

TEST(limits_are_those_of_linux_and_firmware)
{
	WANT_INT(ly_tpm_limit_ms(0x182), 750);
	WANT_INT(ly_tpm_limit_ms(0x17a), 750);
	WANT_INT(ly_tpm_limit_ms(0x144), 750);
	WANT_INT(ly_tpm_limit_ms(0x17b), 2000);
	WANT_INT(ly_tpm_limit_ms(0x14e), 2000);
	WANT_INT(ly_tpm_limit_ms(0x153), 0); /* Create */
	WANT_INT(ly_tpm_limit_ms(0x134), 0); /* NV_Increment: two minutes */
	WANT_INT(ly_tpm_limit_ms(0x20000000), 0);
}

TEST(a_command_that_nears_its_limit_stops_the_guest_until_it_is_answered)
{
	begin();
	command(750);
	WANT_INT(todo.n, 0);
	after(399);
	WANT_INT(todo.n, 0);
	after(1);
	WANT(said(LY_GUARD_DO_LOOK));
	tell(LY_GUARD_LOOKED);
	WANT_INT(todo.n, 2); /* the mark first: we may die between the two */
	WANT_INT(todo.act[0].act, LY_GUARD_DO_MARK);
	WANT_INT(todo.act[1].act, LY_GUARD_DO_STOP);
	tell(LY_GUARD_STOPPED);
	after(100);
	WANT_INT(todo.n, 0);
	tell(LY_GUARD_ANSWERED);
	WANT(said(LY_GUARD_DO_CONT));
	tell(LY_GUARD_GONE_ON);
	WANT(said(LY_GUARD_DO_UNMARK));
	WANT(!g.ours);
}

TEST(a_command_of_two_seconds_has_longer)
{
	begin();
	command(2000);
	after(1649);
	WANT_INT(todo.n, 0);
	after(1);
	WANT(said(LY_GUARD_DO_LOOK));
}

TEST(an_answer_in_time_costs_nothing)
{
	begin();
	command(750);
	after(200);
	tell(LY_GUARD_ANSWERED);
	WANT_INT(todo.n, 0);
	after(1000);
	WANT_INT(todo.n, 0);
	WANT(!ly_guard_ticks(&g));
}

TEST(a_command_that_may_take_minutes_stops_nobody)
{
	begin();
	command(0);
	WANT(!ly_guard_ticks(&g));
	after(20000);
	WANT_INT(todo.n, 0);
}

TEST(an_answer_that_comes_while_qemu_is_asked_stops_nobody)
{
	begin();
	command(750);
	after(400);
	tell(LY_GUARD_ANSWERED);
	WANT_INT(todo.n, 0);
	tell(LY_GUARD_LOOKED);
	WANT_INT(todo.n, 0);
	WANT(!g.ours);
}

TEST(an_answer_that_comes_while_qemu_stops_lets_go_at_once)
{
	begin();
	command(750);
	after(400);
	tell(LY_GUARD_LOOKED);
	tell(LY_GUARD_ANSWERED);
	WANT_INT(todo.n, 0);
	tell(LY_GUARD_STOPPED);
	WANT(said(LY_GUARD_DO_CONT));
}

TEST(a_guest_that_somebody_else_stopped_is_neither_stopped_nor_let_go)
{
	begin();
	command(750);
	after(400);
	step((struct ly_guard_event){ .kind = LY_GUARD_LOOKED, .ok = true });
	WANT_INT(todo.n, 0);
	after(1000);
	WANT_INT(todo.n, 0);
	tell(LY_GUARD_ANSWERED);
	WANT_INT(todo.n, 0);
	tell(LY_GUARD_TICK);
	WANT_INT(todo.n, 0);
}

TEST(once_they_let_it_go_on_its_command_is_guarded_again)
{
	begin();
	command(750);
	after(400);
	step((struct ly_guard_event){ .kind = LY_GUARD_LOOKED, .ok = true });
	tell(LY_GUARD_SAW_RUN);
	WANT(said(LY_GUARD_DO_LOOK));
}

TEST(a_guest_let_go_on_against_us_is_left_alone_until_the_next_command)
{
	begin();
	hold();
	tell(LY_GUARD_SAW_RUN);
	WANT(said(LY_GUARD_DO_UNMARK));
	WANT(!said(LY_GUARD_DO_LOOK));
	after(1000);
	WANT_INT(todo.n, 0);
	tell(LY_GUARD_ANSWERED);
	WANT_INT(todo.n, 0);
	command(750);
	after(400);
	WANT(said(LY_GUARD_DO_LOOK));
}

TEST(while_barred_nobody_is_stopped)
{
	begin();
	tell(LY_GUARD_BAR);
	command(750);
	after(5000);
	WANT_INT(todo.n, 0);
	tell(LY_GUARD_FREE);
	WANT(said(LY_GUARD_DO_LOOK));
}

TEST(a_bar_that_comes_while_qemu_is_asked_holds)
{
	begin();
	command(750);
	after(400);
	tell(LY_GUARD_BAR);
	tell(LY_GUARD_LOOKED);
	WANT_INT(todo.n, 0);
}

TEST(while_barred_nobody_is_let_go_on_and_after_it_who_is_still_ours)
{
	begin();
	hold();
	tell(LY_GUARD_BAR);
	tell(LY_GUARD_ANSWERED);
	WANT_INT(todo.n, 0);
	after(5000);
	WANT_INT(todo.n, 0);
	tell(LY_GUARD_FREE);
	WANT(said(LY_GUARD_DO_CONT));
}

TEST(who_went_on_by_another_hand_while_barred_is_not_ours_after_it)
{
	begin();
	hold();
	tell(LY_GUARD_BAR);
	tell(LY_GUARD_SAW_RUN);
	WANT(said(LY_GUARD_DO_UNMARK));
	tell(LY_GUARD_ANSWERED);
	tell(LY_GUARD_FREE);
	WANT_INT(todo.n, 0);
}

TEST(nobody_is_held_longer_than_the_grace)
{
	begin();
	hold();
	after(LY_GUARD_GRACE_MS - 401);
	WANT(!said(LY_GUARD_DO_CONT));
	after(1);
	WANT(said(LY_GUARD_DO_ALARM));
	WANT(said(LY_GUARD_DO_CONT));
	tell(LY_GUARD_GONE_ON);
	WANT(!said(LY_GUARD_DO_LOOK));
	after(1000);
	WANT(!said(LY_GUARD_DO_LOOK));
}

TEST(the_tpm_fails_before_the_guard_gives_up)
{
	WANT(LY_GUARD_GRACE_MS > LY_GRACE_MS);
}

TEST(what_qemu_refuses_is_asked_again_after_a_while)
{
	begin();
	command(750);
	after(400);
	refuse(LY_GUARD_LOOKED);
	WANT_INT(todo.n, 0);
	after(LY_GUARD_AGAIN_MS);
	WANT(said(LY_GUARD_DO_LOOK));
	tell(LY_GUARD_LOOKED);
	refuse(LY_GUARD_STOPPED); /* it may have stopped all the same */
	tell(LY_GUARD_ANSWERED);
	WANT(said(LY_GUARD_DO_CONT));
	refuse(LY_GUARD_GONE_ON);
	WANT_INT(todo.n, 0);
	after(LY_GUARD_AGAIN_MS);
	WANT(said(LY_GUARD_DO_CONT));
	tell(LY_GUARD_GONE_ON);
	WANT(said(LY_GUARD_DO_UNMARK));
}

TEST(the_manager_is_told_of_a_long_pause_only)
{
	begin();
	hold();
	after(LY_GUARD_TELL_MS - 1);
	WANT(!said(LY_GUARD_DO_TELL));
	after(1);
	WANT(said(LY_GUARD_DO_TELL) && said(LY_GUARD_DO_TELL)->held);
	tell(LY_GUARD_TICK);
	WANT(!said(LY_GUARD_DO_TELL));
	tell(LY_GUARD_ANSWERED);
	tell(LY_GUARD_GONE_ON);
	WANT(said(LY_GUARD_DO_TELL) && !said(LY_GUARD_DO_TELL)->held);
}

TEST(a_second_pause_within_a_minute_is_an_alarm_but_not_each)
{
	begin();
	hold();
	tell(LY_GUARD_ANSWERED);
	tell(LY_GUARD_GONE_ON);
	now += 30000;
	command(750);
	after(400);
	tell(LY_GUARD_LOOKED);
	WANT(said(LY_GUARD_DO_ALARM));
	tell(LY_GUARD_STOPPED);
	tell(LY_GUARD_ANSWERED);
	tell(LY_GUARD_GONE_ON);
	command(750);
	after(400);
	tell(LY_GUARD_LOOKED);
	WANT(said(LY_GUARD_DO_STOP) && !said(LY_GUARD_DO_ALARM));
}

TEST(pauses_are_counted_and_summed_up_once_a_minute)
{
	begin();
	for (unsigned i = 0; i < 3; i++) {
		hold();
		now += 100 * i;
		tell(LY_GUARD_ANSWERED);
		tell(LY_GUARD_GONE_ON);
	}
	WANT(ly_guard_ticks(&g));
	after(LY_GUARD_SUMMARY_MS);
	WANT(said(LY_GUARD_DO_SUMMARY));
	WANT_INT(said(LY_GUARD_DO_SUMMARY)->sum.pauses, 3);
	WANT_INT(said(LY_GUARD_DO_SUMMARY)->sum.ms, 300);
	WANT_INT(said(LY_GUARD_DO_SUMMARY)->sum.longest_ms, 200);
	WANT(!ly_guard_ticks(&g));
}

TEST(the_next_agent_lets_go_on_who_was_marked)
{
	begin();
	step((struct ly_guard_event){ .kind = LY_GUARD_WAKE });
	WANT_INT(todo.n, 0);
	step((struct ly_guard_event){ .kind = LY_GUARD_WAKE, .ours = true });
	WANT(said(LY_GUARD_DO_CONT));
}

TEST(the_next_agent_holds_on_while_the_command_waits)
{
	begin();
	command(750);
	step((struct ly_guard_event){ .kind = LY_GUARD_WAKE, .ours = true });
	WANT_INT(todo.n, 0);
	tell(LY_GUARD_ANSWERED);
	WANT(said(LY_GUARD_DO_CONT));
}

TEST(the_next_agent_takes_a_command_that_waits_for_one_that_has_waited_long)
{
	begin();
	command(750);
	step((struct ly_guard_event){ .kind = LY_GUARD_WAKE });
	WANT_INT(todo.n, 0);
	after(LY_GUARD_WAKE_MS - 1);
	WANT_INT(todo.n, 0);
	after(1);
	WANT(said(LY_GUARD_DO_LOOK));
	tell(LY_GUARD_LOOKED);
	WANT(said(LY_GUARD_DO_STOP));
}

TEST(the_next_agent_stops_nobody_for_a_command_without_a_limit)
{
	begin();
	command(0);
	step((struct ly_guard_event){ .kind = LY_GUARD_WAKE });
	after(100000);
	WANT_INT(todo.n, 0);
}

TEST_MAIN()
