/* SPDX-License-Identifier: Apache-2.0 */
/* The machine of one connection, and that of dialling again, on a clock that
 * the test turns. */
#include "lib/link/dial.h"
#include "lib/link/link.h"
#include "tests/test.h"

static struct ly_link l;
static struct ly_link_todo todo;
static uint64_t now_ms, wall_s;

static void
tell_event(struct ly_link_event ev)
{
	ev.now_ms = now_ms;
	ev.wall_s = wall_s;
	ly_link_step(&l, &ev, &todo);
}
#define tell(...) tell_event((struct ly_link_event){ .kind = __VA_ARGS__ })

static unsigned
count(enum ly_link_act act)
{
	unsigned n = 0;

	for (unsigned i = 0; i < todo.n; i++)
		n += todo.item[i].act == act;
	return n;
}

/* The rc of END; LY_RCS when it was not said. */
static enum ly_rc
ended(void)
{
	for (unsigned i = 0; i < todo.n; i++)
		if (todo.item[i].act == LY_LINK_END)
			return todo.item[i].rc;
	return LY_RCS;
}

static const char *
reason(void)
{
	for (unsigned i = 0; i < todo.n; i++)
		if (todo.item[i].act == LY_LINK_END)
			return todo.item[i].why;
	return "";
}

static void
begin(bool listening, enum ly_purpose purpose)
{
	now_ms = 100000;
	wall_s = 5000;
	ly_link_init(&l, listening, listening ? 0 : purpose, NULL, now_ms);
	tell(LY_LINK_CONNECTED);
	tell(LY_LINK_SECURED, .until_s = 6000);
}

static void
up(bool listening, enum ly_purpose purpose)
{
	begin(listening, purpose);
	if (listening) {
		tell(LY_LINK_HELLO, .proto = LY_PROTO,
		    .purpose = (uint8_t)purpose);
		WANT_INT(count(LY_LINK_OFFER), 1);
		tell(LY_LINK_CONSENT);
	} else {
		WANT_INT(count(LY_LINK_SEND_HELLO), 1);
		tell(LY_LINK_WELCOME, .proto = LY_PROTO);
		WANT_INT(count(LY_LINK_OPEN), 1);
	}
	WANT_INT(l.state, LY_LINK_UP);
}

/* Ticks of 250 ms until something is to be done, for at most `ms`. */
static uint64_t
wait_for_act(uint64_t ms)
{
	uint64_t began = now_ms;

	while (now_ms - began < ms) {
		now_ms += 250;
		tell(LY_LINK_TICK);
		if (todo.n)
			break;
	}
	return now_ms - began;
}

TEST(a_dialler_says_hello_and_is_up_with_the_welcome)
{
	up(false, LY_FOR_LINK);
	tell(LY_LINK_OTHER);
	WANT_INT(count(LY_LINK_DELIVER), 1);
}

TEST(a_listener_is_up_only_when_its_owner_consents)
{
	begin(true, LY_FOR_LINK);
	tell(LY_LINK_HELLO, .proto = LY_PROTO, .purpose = LY_FOR_STREAM);
	WANT_INT(count(LY_LINK_OFFER), 1);
	WANT_INT(l.state, LY_LINK_GREETING);
	tell(LY_LINK_CLOSE, .rc = LY_REFUSED, .why = "no");
	WANT_INT(ended(), LY_REFUSED);
	WANT_INT(count(LY_LINK_SEND_BYE), 1);
	WANT_INT(l.state, LY_LINK_CLOSING);
}

TEST(another_protocol_is_refused_in_words)
{
	begin(true, LY_FOR_LINK);
	tell(LY_LINK_HELLO, .proto = 9, .purpose = LY_FOR_LINK);
	WANT_INT(ended(), LY_REFUSED);
	WANT_STR(reason(), "the peer speaks protocol 9, we speak 1");
	begin(false, LY_FOR_LINK);
	tell(LY_LINK_WELCOME, .proto = 9);
	WANT_INT(ended(), LY_REFUSED);
}

TEST(a_hello_for_an_unknown_purpose_ends_it)
{
	for (unsigned p = 0; p < 256; p++) {
		bool good = p >= LY_FOR_LINK && p <= LY_FOR_FEDERATION;

		begin(true, LY_FOR_LINK);
		tell(LY_LINK_HELLO, .proto = LY_PROTO, .purpose = (uint8_t)p);
		WANT_INT(count(LY_LINK_OFFER), good);
		WANT_INT(ended(), good ? LY_RCS : LY_MALFORMED);
	}
}

TEST(a_frame_before_the_greeting_ends_it)
{
	static const enum ly_link_news early[] = { LY_LINK_OTHER, LY_LINK_PING,
		LY_LINK_PONG, LY_LINK_WELCOME };

	for (size_t i = 0; i < LY_COUNT(early); i++) {
		begin(true, LY_FOR_LINK);
		tell(early[i], .proto = LY_PROTO);
		WANT_INT(ended(), LY_MALFORMED);
		WANT_INT(count(LY_LINK_DELIVER), 0);
	}
	begin(false, LY_FOR_LINK);
	tell(LY_LINK_HELLO, .proto = LY_PROTO, .purpose = LY_FOR_LINK);
	WANT_INT(ended(), LY_MALFORMED);
	begin(false, LY_FOR_LINK);
	tell(LY_LINK_OTHER);
	WANT_INT(ended(), LY_MALFORMED);
}

TEST(a_second_greeting_ends_it)
{
	up(true, LY_FOR_LINK);
	tell(LY_LINK_HELLO, .proto = LY_PROTO, .purpose = LY_FOR_LINK);
	WANT_INT(ended(), LY_MALFORMED);
	up(false, LY_FOR_LINK);
	tell(LY_LINK_WELCOME, .proto = LY_PROTO);
	WANT_INT(ended(), LY_MALFORMED);
}

TEST(no_state_before_up_lasts_longer_than_ten_seconds)
{
	now_ms = 7;
	ly_link_init(&l, false, LY_FOR_LINK, NULL, now_ms);
	WANT_INT(wait_for_act(60000), 10000);
	WANT_INT(ended(), LY_OUTSIDE);
	WANT_STR(reason(), "not connected in 10.0 s");
	ly_link_init(&l, true, 0, NULL, now_ms);
	tell(LY_LINK_CONNECTED);
	WANT_INT(wait_for_act(60000), 10000);
	begin(true, 0);
	for (int i = 0; i < 36; i++) {
		WANT_INT(wait_for_act(250), 250);
		WANT_INT(todo.n, 0);
		tell(LY_LINK_READ, .half = true); /* slowly is no excuse */
	}
	WANT_INT(wait_for_act(60000), 1000);
	WANT_INT(l.state, LY_LINK_CLOSED);
}

TEST(silence_is_asked_about_after_one_second_and_deadly_after_three)
{
	up(false, LY_FOR_LINK);
	WANT_INT(wait_for_act(60000), 1000);
	WANT_INT(count(LY_LINK_SEND_PING), 1);
	WANT_INT(wait_for_act(60000), 1000);
	WANT_INT(count(LY_LINK_SEND_PING), 1);
	WANT_INT(wait_for_act(60000), 1000);
	WANT_INT(ended(), LY_OUTSIDE);
	WANT_STR(reason(), "nothing heard for 3.0 s");
	WANT_INT(count(LY_LINK_DROP), 1);
}

TEST(an_answered_ping_keeps_it_up_and_tells_the_round_trip)
{
	up(false, LY_FOR_LINK);
	for (int i = 0; i < 100; i++) {
		uint64_t stamp;

		WANT_INT(wait_for_act(60000), 1000);
		WANT_INT(count(LY_LINK_SEND_PING), 1);
		stamp = todo.item[0].stamp;
		now_ms += 40;
		tell(LY_LINK_READ, .frames = 1);
		tell(LY_LINK_PONG, .stamp = stamp);
		WANT_INT(l.rtt_ms, 40);
	}
	tell(LY_LINK_PONG, .stamp = UINT64_MAX);
	WANT_INT(l.rtt_ms, 40);
}

TEST(a_listener_leaves_the_asking_to_the_dialler)
{
	up(true, LY_FOR_LINK);
	WANT_INT(wait_for_act(60000), 1500);
	WANT_INT(count(LY_LINK_SEND_PING), 1);
	tell(LY_LINK_PING, .stamp = 5);
	WANT_INT(count(LY_LINK_SEND_PONG), 1);
	WANT_INT(todo.item[0].stamp, 5);
	WANT_INT(wait_for_act(60000), 1500);
}

TEST(a_busy_connection_never_pings)
{
	up(false, LY_FOR_LINK);
	for (int i = 0; i < 1000; i++) {
		now_ms += 250;
		tell(LY_LINK_READ, .frames = 3);
		tell(LY_LINK_TICK);
		WANT_INT(todo.n, 0);
	}
}

TEST(a_stream_may_be_silent_for_half_a_minute)
{
	up(true, LY_FOR_STREAM);
	for (uint64_t ms = 0; ms < 29000; ms += 250) {
		now_ms += 250;
		tell(LY_LINK_TICK);
		WANT_INT(ended(), LY_RCS);
	}
	now_ms += 1000;
	tell(LY_LINK_TICK);
	WANT_INT(ended(), LY_OUTSIDE);
}

TEST(while_held_it_pings_and_does_not_judge_the_silence)
{
	unsigned pings = 0;

	up(true, LY_FOR_LINK);
	tell(LY_LINK_READ, .half = true);
	tell(LY_LINK_HELD, .held = true);
	for (int i = 0; i < 400; i++) {
		now_ms += 250;
		tell(LY_LINK_TICK);
		WANT_INT(ended(), LY_RCS);
		pings += count(LY_LINK_SEND_PING);
	}
	WANT_INT(pings, 100);
	tell(LY_LINK_HELD, .held = false);
	now_ms += 2750;
	l.ticked_ms = now_ms;
	tell(LY_LINK_TICK);
	WANT_INT(ended(), LY_RCS);
	now_ms += 250;
	tell(LY_LINK_TICK);
	WANT_INT(ended(), LY_OUTSIDE);
}

TEST(half_a_frame_is_given_five_seconds_from_its_first_byte)
{
	up(true, LY_FOR_LINK);
	tell(LY_LINK_READ, .half = true);
	for (int i = 0; i < 19; i++) {
		now_ms += 250;
		tell(LY_LINK_READ, .half = true); /* a byte now and then */
		tell(LY_LINK_TICK);
		WANT_INT(ended(), LY_RCS);
	}
	now_ms += 250;
	tell(LY_LINK_TICK);
	WANT_INT(ended(), LY_MALFORMED);
	WANT_STR(reason(), "half a frame for 5.0 s");
}

TEST(half_a_frame_behind_whole_ones_is_young)
{
	up(true, LY_FOR_LINK);
	for (int i = 0; i < 400; i++) {
		now_ms += 250;
		tell(LY_LINK_READ, .half = true, .frames = 1);
		tell(LY_LINK_TICK);
		WANT_INT(ended(), LY_RCS);
	}
}

TEST(a_peer_that_reads_nothing_for_ten_seconds_is_left)
{
	up(true, LY_FOR_LINK);
	tell(LY_LINK_WROTE, .pending = true);
	for (int i = 0; i < 100; i++) { /* slow is not stuck */
		now_ms += 900;
		tell(LY_LINK_READ, .frames = 1);
		tell(LY_LINK_WROTE, .pending = true);
		tell(LY_LINK_TICK);
		WANT_INT(ended(), LY_RCS);
	}
	for (int i = 0; i < 39; i++) {
		now_ms += 250;
		tell(LY_LINK_READ, .frames = 1);
		tell(LY_LINK_TICK);
		WANT_INT(ended(), LY_RCS);
	}
	now_ms += 250;
	tell(LY_LINK_TICK);
	WANT_INT(ended(), LY_OUTSIDE);
	WANT_STR(reason(), "the peer has read nothing for 10.0 s");
}

TEST(who_slept_himself_accuses_nobody)
{
	up(true, LY_FOR_LINK);
	tell(LY_LINK_WROTE, .pending = true);
	tell(LY_LINK_READ, .half = true);
	now_ms += 60000;
	tell(LY_LINK_TICK);
	WANT_INT(ended(), LY_RCS);
	wait_for_act(60000); /* but from now on the clock runs again */
	wait_for_act(60000);
	WANT_INT(ended(), LY_OUTSIDE);
}

TEST(it_does_not_outlive_a_certificate)
{
	up(true, LY_FOR_LINK);
	wall_s = 5999;
	now_ms += 250;
	tell(LY_LINK_TICK);
	WANT_INT(ended(), LY_RCS);
	wall_s = 6000;
	tell(LY_LINK_TICK);
	WANT_INT(ended(), LY_OUTSIDE);
	WANT_STR(reason(), "a certificate has expired");
}

TEST(a_close_says_bye_and_lingers_for_a_second)
{
	up(false, LY_FOR_LINK);
	tell(LY_LINK_CLOSE, .rc = LY_BUSY, .why = "later");
	WANT_INT(todo.n, 3);
	WANT_INT(todo.item[0].act, LY_LINK_SEND_BYE);
	WANT_INT(todo.item[0].rc, LY_BUSY);
	WANT_INT(ended(), LY_BUSY);
	WANT_INT(count(LY_LINK_SHUT), 1);
	tell(LY_LINK_OTHER);
	WANT_INT(todo.n, 0);
	tell(LY_LINK_CLOSE, .rc = LY_OK);
	WANT_INT(todo.n, 0);
	WANT_INT(wait_for_act(60000), 1000);
	WANT_INT(todo.n, 1);
	WANT_INT(count(LY_LINK_DROP), 1);
	WANT_INT(l.state, LY_LINK_CLOSED);
}

TEST(the_peers_bye_is_told_with_its_code)
{
	up(false, LY_FOR_LINK);
	tell(LY_LINK_BYE, .rc = LY_FENCED);
	WANT_INT(ended(), LY_FENCED);
	WANT_STR(reason(), "the peer ended it: fenced");
	up(false, LY_FOR_LINK);
	tell(LY_LINK_BYE, .rc = (enum ly_rc)200);
	WANT_INT(ended(), LY_MALFORMED);
}

TEST(whom_we_do_not_want_is_told_bye_and_never_hello)
{
	now_ms = 1;
	ly_link_init(&l, false, LY_FOR_LINK, NULL, now_ms);
	tell(LY_LINK_CONNECTED);
	tell(LY_LINK_DISTRUST, .rc = LY_REFUSED, .why = "another");
	WANT_INT(count(LY_LINK_SEND_HELLO), 0);
	WANT_INT(count(LY_LINK_SEND_BYE), 1);
	WANT_INT(ended(), LY_REFUSED);
}

/* The invariants of link.h over anything that may happen in any order. */
static void
live_one_life(unsigned seed)
{
	unsigned ends = 0, drops = 0, opens = 0;
	bool listening = seed & 1;

	now_ms = wall_s = 0;
	ly_link_init(&l, listening, listening ? 0 : 1 + seed % 4, NULL, 0);
	for (int i = 0; i < 60; i++) {
		enum ly_link_state was = l.state;
		struct ly_link_event ev = { 0 };

		seed = seed * 1103515245 + 12345;
		ev.kind = (seed >> 16) % LY_LINK_NEWS;
		if (i < 4 && (seed >> 28) % 4)
			ev.kind = (enum ly_link_news[]){ LY_LINK_CONNECTED,
				LY_LINK_SECURED,
				listening ? LY_LINK_HELLO : LY_LINK_WELCOME,
				LY_LINK_CONSENT }[i];
		ev.proto = LY_PROTO;
		ev.purpose = (uint8_t)((seed >> 8) % 6);
		ev.until_s = 1000;
		ev.rc = (seed >> 12) % 12;
		ev.half = seed >> 9 & 1;
		ev.pending = seed >> 10 & 1;
		ev.held = seed >> 11 & 1;
		now_ms += (seed >> 20) % 2000;
		wall_s = now_ms / 1000;
		tell_event(ev);
		ends += count(LY_LINK_END);
		drops += count(LY_LINK_DROP);
		opens += count(LY_LINK_OPEN) +
		    (was != LY_LINK_UP && l.state == LY_LINK_UP && listening);
		WANT(count(LY_LINK_DELIVER) == 0 || was == LY_LINK_UP);
		WANT_INT(ends, l.state >= LY_LINK_CLOSING);
		WANT_INT(drops, l.state == LY_LINK_CLOSED);
		WANT(opens <= 1);
		WANT(l.state >= was);
	}
}

TEST(whatever_happens_it_ends_once_and_never_goes_back)
{
	for (unsigned seed = 0; seed < 100000; seed++)
		live_one_life(seed);
}

TEST(every_state_has_a_name)
{
	for (unsigned s = 0; s < LY_LINK_STATES; s++)
		WANT(strcmp(ly_link_state_name(s), "?") != 0);
	WANT_STR(ly_link_state_name(LY_LINK_STATES), "?");
}

/* ---- dialling again ---- */

static struct ly_redial r;

static enum ly_redial_act
redial(enum ly_redial_news news)
{
	return ly_redial_step(&r, news, now_ms, 0x8000);
}

TEST(waits_double_from_a_hundredth_of_a_second_to_two)
{
	static const uint32_t want[] = { 10, 20, 40, 80, 160, 320, 640, 1280,
		2000, 2000 };

	ly_redial_init(&r);
	WANT_INT(redial(LY_REDIAL_START), LY_REDIAL_DIAL);
	for (size_t i = 0; i < LY_COUNT(want); i++) {
		WANT_INT(redial(LY_REDIAL_LOST), LY_REDIAL_WAIT);
		WANT_INT(r.wait_ms, want[i]);
		WANT_INT(redial(LY_REDIAL_DUE), LY_REDIAL_DIAL);
	}
}

TEST(chance_is_a_quarter_more_or_less)
{
	ly_redial_init(&r);
	redial(LY_REDIAL_START);
	ly_redial_step(&r, LY_REDIAL_LOST, 0, 0);
	WANT_INT(r.wait_ms, 8);
	ly_redial_init(&r);
	redial(LY_REDIAL_START);
	ly_redial_step(&r, LY_REDIAL_LOST, 0, 0xffff);
	WANT_INT(r.wait_ms, 12);
}

TEST(only_a_connection_that_stood_makes_us_quick_again)
{
	ly_redial_init(&r);
	now_ms = 0;
	redial(LY_REDIAL_START);
	for (int i = 0; i < 10; i++) { /* opened and thrown out at once */
		redial(LY_REDIAL_OPENED);
		WANT_INT(redial(LY_REDIAL_LOST), LY_REDIAL_WAIT);
		redial(LY_REDIAL_DUE);
	}
	WANT_INT(r.wait_ms, 2000);
	redial(LY_REDIAL_OPENED);
	now_ms = LY_REDIAL_STEADY_MS;
	WANT_INT(redial(LY_REDIAL_LOST), LY_REDIAL_DIAL);
	redial(LY_REDIAL_LOST);
	WANT_INT(r.wait_ms, 10);
}

TEST(stop_is_for_good_from_any_state)
{
	for (int s = 0; s < LY_REDIAL_STOPPED; s++) {
		ly_redial_init(&r);
		r.state = (enum ly_redial_state)s;
		WANT_INT(redial(LY_REDIAL_STOP), LY_REDIAL_HANG_UP);
		for (int n = 0; n < LY_REDIAL_NEWS; n++)
			WANT_INT(redial((enum ly_redial_news)n),
			    LY_REDIAL_NOTHING);
	}
}

TEST_MAIN()
