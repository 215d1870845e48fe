/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stream/dest.h"
#include "tests/test.h"

static struct ly_dest_core d;
static struct ly_dest_todos todo; /* of the last step */
static uint64_t now;
static unsigned done[LY_DST_DO_OVER + 1]; /* since begin() */

static bool slow_hooks; /* the test answers HOOK itself */

/* Who has no hooks has them answered at once. */
static void
step(struct ly_dest_event ev)
{
	bool hook = false;

	todo.n = 0;
	ev.now_ms = now;
	ly_dest_step(&d, &ev, &todo);
	for (unsigned i = 0; i < todo.n; i++)
		hook |= todo.act[i].act == LY_DST_DO_HOOK;
	ev.kind = LY_DST_HOOKED;
	ev.ok = true;
	if (hook && !slow_hooks)
		ly_dest_step(&d, &ev, &todo);
	for (unsigned i = 0; i < todo.n; i++)
		done[todo.act[i].act]++;
}

static void
tell(enum ly_dest_kind kind)
{
	step((struct ly_dest_event){ .kind = kind, .ok = true });
}

static void
bad(enum ly_dest_kind kind, const char *text)
{
	step((struct ly_dest_event){ .kind = kind, .text = text });
}

static void
status(enum ly_mig mig)
{
	step((struct ly_dest_event){ .kind = LY_DST_STATUS, .status = mig });
}

static void
granted(enum ly_rc rc)
{
	step((struct ly_dest_event){ .kind = LY_DST_GRANTED, .rc = rc });
}

static void
tick(uint64_t ms)
{
	now += ms;
	tell(LY_DST_TICK);
}

static const struct ly_dest_todo *
said(enum ly_dest_act act)
{
	for (unsigned i = 0; i < todo.n; i++)
		if (todo.act[i].act == act)
			return &todo.act[i];
	return NULL;
}

static void
begin(void)
{
	now = 1000;
	slow_hooks = false;
	memset(done, 0, sizeof(done));
	todo.n = 0;
	ly_dest_init(&d, now, &todo);
	WANT(said(LY_DST_DO_SETUP));
}

static void
begin_copy(void)
{
	begin();
	tell(LY_DST_SET);
	WANT(said(LY_DST_DO_LISTENING));
	tell(LY_DST_STREAM);
	WANT(said(LY_DST_DO_POLL));
	status(LY_MIG_BUSY);
	WANT_INT(d.state, LY_DST_COPY);
}

static void
begin_claim(void)
{
	begin_copy();
	tell(LY_DST_FIN);
	WANT(!said(LY_DST_DO_CLAIM));
	status(LY_MIG_COMPLETED);
	WANT(said(LY_DST_DO_CLAIM));
}

/* Told to the source, and QEMU ended. */
static void
want_given_up(enum ly_rc rc, const char *why)
{
	WANT_INT(d.state, LY_DST_QUITTING);
	WANT_INT(said(LY_DST_DO_READY)->rc, rc);
	WANT(said(LY_DST_DO_HANGUP));
	WANT(said(LY_DST_DO_QUIT));
	tell(LY_DST_GONE);
	WANT_INT(said(LY_DST_DO_OVER)->end, LY_DEST_FAILED);
	WANT_INT(d.rc, rc);
	WANT(strstr(d.why, why));
	WANT_INT(done[LY_DST_DO_CONT], 0);
}

TEST(a_vm_arrives_is_claimed_and_runs)
{
	begin_claim();
	WANT_INT(done[LY_DST_DO_CONT], 0);
	granted(LY_OK);
	WANT(said(LY_DST_DO_CONT));
	WANT_INT(done[LY_DST_DO_READY], 0); /* not before it runs */
	tell(LY_DST_RESUMED);
	WANT_INT(said(LY_DST_DO_READY)->rc, LY_OK);
	WANT_INT(said(LY_DST_DO_OVER)->end, LY_DEST_RUNS);
	WANT_INT(d.rc, LY_OK);
}

TEST(qemu_may_be_done_before_fin_comes)
{
	begin_copy();
	status(LY_MIG_COMPLETED);
	WANT_INT(done[LY_DST_DO_CLAIM], 0);
	tell(LY_DST_FIN);
	WANT(said(LY_DST_DO_CLAIM));
}

static void
forged(enum ly_rc rc, const char *text)
{
	step((struct ly_dest_event){ .kind = LY_DST_FIN,
	    .rc = rc,
	    .forged = true,
	    .text = text });
}

TEST(a_stream_that_is_not_what_was_sent_is_an_alarm_and_never_claimed)
{
	begin_copy();
	status(LY_MIG_COMPLETED);
	forged(LY_REFUSED, "the root is another");
	WANT_STR(said(LY_DST_DO_ALARM)->text, "the root is another");
	want_given_up(LY_REFUSED, "the root is another");
	WANT_INT(done[LY_DST_DO_CLAIM], 0);

	begin_copy(); /* before there is any FIN */
	forged(LY_MALFORMED, "lane 1, chunk 3");
	WANT(said(LY_DST_DO_ALARM));
	want_given_up(LY_MALFORMED, "lane 1, chunk 3");
	WANT_INT(done[LY_DST_DO_CLAIM], 0);
}

TEST(a_lane_lost_before_all_stand_ends_it)
{
	begin();
	tell(LY_DST_SET);
	bad(LY_DST_LOST, "lane 1: it did not come");
	want_given_up(LY_OUTSIDE, "lane 1: it did not come");
}

TEST(a_stream_that_is_not_whole_is_never_claimed)
{
	begin_copy();
	status(LY_MIG_COMPLETED);
	bad(LY_DST_FIN, "9 of 10 bytes");
	want_given_up(LY_MALFORMED, "9 of 10 bytes");
	WANT_INT(done[LY_DST_DO_CLAIM], 0);

	begin_copy();
	status(LY_MIG_COMPLETED);
	bad(LY_DST_LOST, "cable cut");
	want_given_up(LY_OUTSIDE, "cable cut");
	WANT_INT(done[LY_DST_DO_CLAIM], 0);
}

TEST(a_source_lost_after_fin_does_not_matter)
{
	begin_copy();
	tell(LY_DST_FIN);
	bad(LY_DST_LOST, "cable cut");
	status(LY_MIG_COMPLETED);
	WANT(said(LY_DST_DO_CLAIM));
	bad(LY_DST_LOST, "again");
	granted(LY_OK);
	bad(LY_DST_LOST, "again");
	tell(LY_DST_RESUMED);
	WANT_INT(said(LY_DST_DO_OVER)->end, LY_DEST_RUNS);
}

TEST(a_refused_claim_ends_it)
{
	begin_claim();
	granted(LY_REFUSED);
	want_given_up(LY_REFUSED, "the home refuses the claim");
}

TEST(a_claim_is_waited_for_without_end)
{
	begin_claim();
	for (int i = 0; i < 1000; i++)
		tick(10000);
	WANT_INT(d.state, LY_DST_CLAIMING);
	WANT_INT(done[LY_DST_DO_ALARM], 1);
	WANT_INT(done[LY_DST_DO_QUIT], 0);
	granted(LY_OK);
	WANT(said(LY_DST_DO_CONT));
}

TEST(a_guest_that_runs_too_early_is_an_alarm_and_never_claimed)
{
	begin_copy();
	tell(LY_DST_FIN);
	step((struct ly_dest_event){ .kind = LY_DST_STATUS,
	    .status = LY_MIG_COMPLETED,
	    .running = true });
	WANT(said(LY_DST_DO_ALARM));
	WANT(said(LY_DST_DO_STOP));
	want_given_up(LY_OUTSIDE, "too early");
	WANT_INT(done[LY_DST_DO_CLAIM], 0);
}

TEST(a_qemu_that_cannot_load_is_told_to_the_source)
{
	begin_copy();
	status(LY_MIG_FAILED);
	want_given_up(LY_OUTSIDE, "QEMU could not load");

	begin_copy();
	bad(LY_DST_GONE, "no such device");
	WANT_INT(said(LY_DST_DO_READY)->rc, LY_OUTSIDE);
	WANT_INT(said(LY_DST_DO_OVER)->end, LY_DEST_FAILED);
	WANT_STR(d.why, "no such device");

	begin();
	bad(LY_DST_SET, "address in use");
	want_given_up(LY_OUTSIDE, "address in use");
}

TEST(a_closed_socket_makes_us_look_not_judge)
{
	begin_copy();
	bad(LY_DST_BROKEN, "closed");
	WANT(said(LY_DST_DO_POLL));
	WANT_INT(d.state, LY_DST_COPY);
	status(LY_MIG_COMPLETED);
	tell(LY_DST_FIN);
	WANT(said(LY_DST_DO_CLAIM));
}

TEST(a_qemu_that_ends_after_the_claim_was_asked_is_dead_not_failed)
{
	begin_claim();
	bad(LY_DST_GONE, "killed");
	WANT_INT(said(LY_DST_DO_READY)->rc, LY_OUTSIDE);
	WANT_INT(said(LY_DST_DO_OVER)->end, LY_DEST_DEAD);

	begin_claim();
	granted(LY_OK);
	bad(LY_DST_GONE, "killed");
	WANT_INT(said(LY_DST_DO_OVER)->end, LY_DEST_DEAD);
}

TEST(a_guest_that_does_not_start_is_an_alarm_and_tried_again)
{
	begin_claim();
	granted(LY_OK);
	for (int i = 0; i < 5; i++) {
		bad(LY_DST_RESUMED, "no");
		WANT_INT(done[LY_DST_DO_ALARM], 1);
		tick(1000);
		WANT(said(LY_DST_DO_CONT));
	}
	WANT_INT(done[LY_DST_DO_QUIT], 0);
	tell(LY_DST_RESUMED);
	WANT_INT(said(LY_DST_DO_OVER)->end, LY_DEST_RUNS);
}

TEST(a_drop_ends_it_until_it_is_granted)
{
	begin();
	tell(LY_DST_DROP);
	want_given_up(LY_REFUSED, "dropped");
	begin_copy();
	tell(LY_DST_DROP);
	want_given_up(LY_REFUSED, "dropped");
	begin_claim();
	tell(LY_DST_DROP);
	want_given_up(LY_REFUSED, "dropped");
	begin_claim();
	granted(LY_OK);
	tell(LY_DST_DROP);
	WANT_INT(d.state, LY_DST_RESUMING);
}

TEST(nobody_is_waited_for_without_a_limit_before_the_claim)
{
	begin();
	tick(LY_DEST_OPEN_MS);
	want_given_up(LY_OUTSIDE, "does not listen");
	begin();
	tell(LY_DST_SET);
	tick(LY_DEST_LISTEN_MS);
	want_given_up(LY_OUTSIDE, "sends no stream");
	begin_copy();
	tell(LY_DST_FIN);
	tick(LY_DEST_LOAD_MS);
	want_given_up(LY_OUTSIDE, "does not finish loading");
}

/* ---- the hook, and a fence ---- */

static void
begin_hook(void)
{
	begin_claim();
	slow_hooks = true;
	granted(LY_OK);
	WANT_INT(d.state, LY_DST_TAKING);
	WANT(said(LY_DST_DO_HOOK));
	WANT_INT(done[LY_DST_DO_CONT], 0);
}

TEST(the_guest_runs_only_after_on_claim)
{
	begin_hook();
	tick(60000);
	WANT_INT(todo.n, 0);
	tell(LY_DST_HOOKED);
	WANT(said(LY_DST_DO_CONT));
	WANT_INT(done[LY_DST_DO_HOOK], 1);
}

TEST(an_on_claim_that_fails_keeps_the_guest_paused_and_is_tried_again)
{
	begin_hook();
	for (int i = 0; i < 8; i++) {
		bad(LY_DST_HOOKED, "on-claim: status 1");
		WANT_INT(done[LY_DST_DO_ALARM], 1);
		tick(999);
		WANT(!said(LY_DST_DO_HOOK));
		tick(i < 3 ? 8000 : 30000);
		WANT(said(LY_DST_DO_HOOK));
		tick(60000);
		WANT(!said(LY_DST_DO_HOOK));
	}
	tell(LY_DST_DROP); /* there is no way back */
	tell(LY_DST_LOST);
	WANT_INT(d.state, LY_DST_TAKING);
	tell(LY_DST_HOOKED);
	WANT(said(LY_DST_DO_CONT));
}

TEST(a_destination_that_wakes_goes_on_where_the_home_says_it_is)
{
	begin();
	slow_hooks = true;
	todo.n = 0;
	ly_dest_woken(&d, false, now, &todo);
	WANT_INT(d.state, LY_DST_CLAIMING);
	tick(LY_DEST_LOAD_MS);
	WANT_INT(done[LY_DST_DO_QUIT] + done[LY_DST_DO_CONT], 0);
	granted(LY_OK);
	WANT(said(LY_DST_DO_HOOK));

	todo.n = 0;
	ly_dest_woken(&d, true, now, &todo);
	WANT(said(LY_DST_DO_HOOK) && !said(LY_DST_DO_CONT));
	tell(LY_DST_HOOKED);
	WANT(said(LY_DST_DO_CONT));
}

TEST(a_destination_that_is_fenced_does_not_start_its_guest)
{
	begin_claim();
	tell(LY_DST_FENCED);
	want_given_up(LY_FENCED, "another host");
	begin_hook();
	bad(LY_DST_HOOKED, "on-claim: status 1");
	tell(LY_DST_FENCED);
	want_given_up(LY_FENCED, "another host");
	begin_hook();
	tell(LY_DST_HOOKED);
	tell(LY_DST_FENCED);
	WANT(said(LY_DST_DO_STOP) && said(LY_DST_DO_QUIT));
}

/* ---- anything at any time ---- */

static uint32_t seed;

static uint32_t
dice(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* Most of the time what is hoped for, or few would come far. */
static struct ly_dest_event
any_event(void)
{
	static const enum ly_dest_kind hoped[LY_DST_STATES] = {
		[LY_DST_OPENING] = LY_DST_SET,
		[LY_DST_LISTENING] = LY_DST_STREAM,
		[LY_DST_COPY] = LY_DST_FIN,
		[LY_DST_LOADING] = LY_DST_STATUS,
		[LY_DST_CLAIMING] = LY_DST_GRANTED,
		[LY_DST_TAKING] = LY_DST_HOOKED,
		[LY_DST_RESUMING] = LY_DST_RESUMED,
		[LY_DST_QUITTING] = LY_DST_GONE,
	};

	return (struct ly_dest_event){
		.kind = dice(3) ? hoped[d.state] :
				  (enum ly_dest_kind)dice(LY_DST_KINDS),
		.ok = dice(8) != 0,
		.running = dice(20) == 0,
		.rc = dice(4) ? LY_OK : (enum ly_rc)dice(LY_RCS),
		.status = (enum ly_mig)dice(LY_MIGS),
	};
}

TEST(whatever_comes_the_guest_runs_only_when_it_is_whole_and_granted)
{
	unsigned runs = 0;

	for (uint32_t run = 1; run <= 20000; run++) {
		bool fin = false, completed = false, asked = false,
		     granted_it = false, over = false, hooked = false,
		     fenced = false;

		seed = run;
		begin();
		slow_hooks = true;
		for (int i = 0; i < 100 && !over; i++) {
			struct ly_dest_event ev = any_event();
			enum ly_dest_state before = d.state;

			now += dice(3) ? dice(50) : dice(20000);
			fin |= before == LY_DST_COPY && ev.ok &&
			    ev.kind == LY_DST_FIN;
			completed |= ev.kind == LY_DST_STATUS &&
			    ev.status == LY_MIG_COMPLETED;
			granted_it |= before == LY_DST_CLAIMING &&
			    ev.kind == LY_DST_GRANTED && !ev.rc;
			hooked |= before == LY_DST_TAKING && ev.ok &&
			    ev.kind == LY_DST_HOOKED;
			fenced |= asked && ev.kind == LY_DST_FENCED;
			step(ev);
			if (said(LY_DST_DO_CLAIM)) {
				WANT(fin && completed && !asked);
				asked = true;
			}
			if (said(LY_DST_DO_CONT))
				WANT(granted_it && hooked && !fenced);
			if (said(LY_DST_DO_QUIT) && !fenced) /* D3 */
				WANT(!granted_it &&
				    (!asked || ev.kind == LY_DST_GRANTED ||
					ev.kind == LY_DST_DROP));
			over = said(LY_DST_DO_OVER) != NULL;
			runs += over && d.rc == LY_OK;
		}
	}
	WANT(runs > 1000);
}

TEST_MAIN()
