/* SPDX-License-Identifier: Apache-2.0 */
/* Connections between peers that both mean well. */
#include "lib/io/dial.h"
#include "tests/unit/forge.h"
#include "tests/unit/pair.h"

TEST(two_hosts_of_two_sites_greet_each_other_by_name)
{
	begin_up(NULL);
	WANT_STR(home.peer.id, "spiffe://west/host/w1");
	WANT_STR(home.peer.site, "west");
	WANT_STR(away.peer.id, "spiffe://east/host/h1");
	WANT_INT(home.hello.purpose, LY_FOR_LINK);
	WANT_STR(home.hello.software, "away 1");
	WANT_STR(away.hello.software, "home 1");
	WANT(strncmp(home.peer.address, "127.0.0.1:", 10) == 0);
	WANT_STR(away.peer.address, address);
	finish();
	WANT_INT(home.closes, 1);
	WANT_INT(away.closes, 1);
}

TEST(a_name_is_resolved_and_ipv6_goes_in_brackets)
{
	struct ly_hello hello = { .purpose = LY_FOR_CONTROL };

	load();
	begin(home_ids, away_ids, NULL);
	ly_print(address, sizeof(address), "localhost:%u",
	    ly_net_port(home_net));
	dial(LY_FOR_CONTROL, NULL);
	UNTIL(home.opens && away.opens);
	if (ly_net_listen(home_net, "[::1]:0", &ops, &home, NULL) == LY_OK) {
		ly_print(address, sizeof(address), "[::1]:%u",
		    ly_net_port(home_net));
		ly_conn_dial(away_net, address, NULL, &hello, &ops, &away);
		UNTIL(home.opens == 2 && away.opens == 2);
		WANT_STR(away.peer.address, address);
	}
	finish();
}

static enum ly_rc
answer(struct end *e, unsigned type, const union ly_any *m, struct ly_why *why)
{
	struct ly_answer a = { .chan = m->command.chan,
		.epoch = 1,
		.seq = m->command.seq,
		.body = m->command.body };

	(void)why;
	WANT_INT(type, LY_COMMAND);
	ly_conn_send(e->conn, LY_ANSWER, &a);
	return LY_OK;
}

static enum ly_rc
next_seq(struct end *e, unsigned type, const union ly_any *m,
    struct ly_why *why)
{
	(void)why;
	WANT_INT(type, LY_ANSWER);
	WANT_INT(m->answer.seq, ++e->seq);
	WANT_INT(m->answer.body.len, 65);
	return LY_OK;
}

TEST(ten_thousand_commands_are_answered_in_order)
{
	begin_up(NULL);
	home.on_frame = answer;
	away.on_frame = next_seq;
	for (uint64_t i = 1; i <= 10000; i++)
		send_command(away.conn, i);
	UNTIL(away.frames == 10000);
	finish();
}

TEST(many_keys_are_used_up_and_nobody_notices)
{
	load();
	begin(home_ids, away_ids, NULL);
	ly_net_limits(home_net, NULL, 3);
	ly_net_limits(away_net, NULL, 5);
	dial(LY_FOR_LINK, NULL);
	UNTIL(home.opens && away.opens);
	home.on_frame = answer;
	away.on_frame = next_seq;
	for (uint64_t i = 1; i <= 2000; i++) {
		send_command(away.conn, i);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	UNTIL(away.frames == 2000);
	WANT_INT(away.closes, 0);
	finish();
}

/* ---- sending and closing from within callbacks ---- */

static void
send_one(struct end *e)
{
	send_command(e->conn, 1);
}

TEST(frames_sent_from_on_open_arrive_behind_the_greeting)
{
	load();
	begin(home_ids, away_ids, NULL);
	home.on_open = send_one;
	away.on_open = send_one;
	dial(LY_FOR_LINK, NULL);
	UNTIL(home.frames && away.frames);
	WANT_INT(home.last_type, LY_COMMAND);
	finish();
}

TEST(a_listener_that_refuses_is_not_told_of_the_end)
{
	load();
	begin(home_ids, away_ids, NULL);
	home.refuse = LY_BUSY;
	home.on_open = send_one; /* must not reach the peer */
	dial(LY_FOR_STREAM, NULL);
	UNTIL(away.closes);
	WANT_INT(away.rc, LY_BUSY);
	WANT_STR(away.why, "the peer ended it: busy");
	WANT_INT(away.opens, 0);
	WANT_INT(away.frames, 0);
	finish();
	WANT_INT(home.opens, 1);
	WANT_INT(home.closes, 0);
}

TEST(a_dialler_that_refuses_is_told_of_the_end)
{
	load();
	begin(home_ids, away_ids, NULL);
	away.refuse = LY_REFUSED;
	dial(LY_FOR_LINK, NULL);
	UNTIL(away.closes && home.closes);
	WANT_INT(away.rc, LY_REFUSED);
	WANT_STR(away.why, "not here");
	WANT_INT(home.rc, LY_REFUSED);
	finish();
}

static enum ly_rc
close_at_third(struct end *e, unsigned type, const union ly_any *m,
    struct ly_why *why)
{
	(void)type, (void)m, (void)why;
	if (e->frames == 3) {
		send_command(e->conn, 77);
		ly_conn_close(e->conn, LY_FENCED, "that was the third");
		ly_conn_close(e->conn, LY_OK, "no, again");
		send_command(e->conn, 78);
	}
	return LY_OK;
}

TEST(a_close_from_on_frame_stops_delivery_and_what_was_sent_arrives)
{
	begin_up(NULL);
	home.on_frame = close_at_third;
	for (uint64_t i = 1; i <= 100; i++)
		send_command(away.conn, i);
	UNTIL(home.closes && away.closes);
	WANT_INT(home.frames, 3);
	WANT_INT(home.rc, LY_FENCED);
	WANT_STR(home.why, "that was the third");
	WANT_INT(away.frames, 1);
	WANT_INT(away.rc, LY_FENCED);
	finish();
}

static enum ly_rc
refuse_frame(struct end *e, unsigned type, const union ly_any *m,
    struct ly_why *why)
{
	(void)e, (void)type, (void)m;
	return ly_fail(why, LY_MALFORMED, "chan 7 is not open");
}

TEST(an_error_from_on_frame_ends_it_with_that_code)
{
	begin_up(NULL);
	home.on_frame = refuse_frame;
	send_command(away.conn, 1);
	send_command(away.conn, 2);
	UNTIL(home.closes && away.closes);
	WANT_INT(home.frames, 1);
	WANT_STR(home.why, "chan 7 is not open");
	WANT_INT(away.rc, LY_MALFORMED);
	WANT_STR(away.why, "the peer ended it: malformed");
	finish();
}

static void
close_in_on_close(struct end *e)
{
	ly_conn_close(e->conn, LY_OK, "again");
	send_command(e->conn, 1);
	ly_conn_hold(e->conn, true);
}

TEST(a_close_from_on_close_does_nothing)
{
	begin_up(NULL);
	home.on_close = close_in_on_close;
	away.on_close = close_in_on_close;
	ly_conn_close(away.conn, LY_OK, "bye");
	UNTIL(home.closes && away.closes);
	WANT_INT(home.rc, LY_OK);
	finish();
	WANT_INT(home.closes, 1);
	WANT_INT(away.closes, 1);
}

static void
close_in_on_open(struct end *e)
{
	ly_conn_close(e->conn, LY_BUSY, "changed my mind");
}

TEST(a_close_from_on_open_counts_even_if_it_then_consents)
{
	load();
	begin(home_ids, away_ids, NULL);
	home.on_open = close_in_on_open;
	dial(LY_FOR_LINK, NULL);
	UNTIL(home.closes && away.closes);
	WANT_INT(home.rc, LY_BUSY);
	WANT_INT(away.rc, LY_BUSY);
	finish();
}

TEST(a_close_before_it_is_connected_is_told_too)
{
	load();
	begin(home_ids, away_ids, NULL);
	ly_conn_close(dial(LY_FOR_LINK, NULL), LY_OK, "never mind");
	UNTIL(away.closes);
	WANT_STR(away.why, "never mind");
	ly_print(address, sizeof(address), "localhost:1");
	ly_conn_close(dial(LY_FOR_LINK, NULL), LY_OK, "never mind");
	UNTIL(away.closes == 2);
	finish();
}

TEST(a_closing_net_takes_everything_with_it)
{
	load();
	begin(home_ids, away_ids, NULL);
	for (int i = 0; i < 20; i++) {
		dial(LY_FOR_LINK, NULL);
		for (int turn = 0; turn < i; turn++)
			uv_run(&loop, UV_RUN_NOWAIT);
	}
	ly_net_close(away_net);
	WANT(dial(LY_FOR_LINK, NULL) == NULL);
	finish();
	WANT_INT(away.closes, 20);
	WANT_INT(home.closes, home.opens);
}

/* ---- streams ---- */

#define STREAM_LEN (48u << 20)
static uint8_t chunk[LY_CHUNK_MAX];

/* Byte `i` of the stream. */
static uint8_t
pattern(uint64_t i)
{
	return (uint8_t)(i * 2654435761u >> 13 ^ i);
}

static void
send_stream(struct end *e)
{
	static const size_t lens[] = { LY_CHUNK_MAX, 1, 16383, 16384, 16385,
		100000, LY_CHUNK_MAX, 4096 };

	while (e->seq < STREAM_LEN && ly_conn_pending(e->conn) < 1 << 20) {
		size_t n = ly_min(lens[e->seq % LY_COUNT(lens)],
		    STREAM_LEN - e->seq);
		struct ly_data d = { .body = { chunk, n } };

		for (size_t i = 0; i < n; i++)
			chunk[i] = pattern(e->seq + i);
		ly_conn_send(e->conn, LY_DATA, &d);
		memset(chunk, 0, n); /* it was copied or is gone */
		e->seq += n;
	}
}

static enum ly_rc
check_stream(struct end *e, unsigned type, const union ly_any *m,
    struct ly_why *why)
{
	(void)why;
	if (type != LY_DATA)
		return LY_OK;
	for (size_t i = 0; i < m->data.body.len; i++)
		if (m->data.body.at[i] != pattern(e->seq + i))
			test_fail(__FILE__, __LINE__, "byte %llu differs",
			    (unsigned long long)(e->seq + i));
	e->seq += m->data.body.len;
	return LY_OK;
}

static void
begin_stream(void)
{
	load();
	begin(home_ids, away_ids, NULL);
	dial(LY_FOR_STREAM, NULL);
	UNTIL(home.opens && away.opens);
	home.on_frame = check_stream;
	away.on_drain = send_stream;
}

TEST(a_stream_arrives_whole_at_any_size_of_chunk)
{
	begin_stream();
	send_stream(&away);
	UNTIL(home.bytes == STREAM_LEN);
	finish();
}

TEST(a_reader_that_holds_stops_the_writer_and_nothing_is_lost)
{
	uint64_t stuck;

	begin_stream();
	ly_conn_hold(home.conn, true);
	send_stream(&away);
	for (int i = 0; i < 5; i++)
		uv_run(&loop, UV_RUN_ONCE);
	stuck = away.seq;
	WANT(stuck < STREAM_LEN);
	for (int i = 0; i < 5; i++)
		uv_run(&loop, UV_RUN_ONCE);
	WANT_INT(away.seq, stuck);
	WANT(ly_conn_pending(away.conn) > 0);
	for (unsigned i = 0; i < 200; i++) {
		ly_conn_hold(home.conn, i & 1);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	ly_conn_hold(home.conn, false);
	UNTIL(home.bytes == STREAM_LEN);
	WANT(away.drains > 0);
	finish();
}

TEST(a_close_while_much_is_pending_still_ends)
{
	begin_stream();
	ly_conn_hold(home.conn, true);
	send_stream(&away);
	ly_conn_close(away.conn, LY_OK, "enough");
	UNTIL(away.closes);
	ly_conn_hold(home.conn, false);
	UNTIL(home.closes);
	finish();
}

TEST(both_sides_may_send_while_both_receive)
{
	begin_stream();
	away.on_frame = NULL;
	for (int i = 0; i < 300; i++) {
		struct ly_data d = { .body = { chunk, 20000 } };

		ly_conn_send(home.conn, LY_DATA, &d);
	}
	send_stream(&away);
	UNTIL(home.bytes == STREAM_LEN && away.bytes == 300 * 20000);
	finish();
}

/* ---- certificates in time ---- */

TEST(a_connection_ends_when_a_certificate_does)
{
	struct ly_identity *brief;

	load();
	forge_cert(&(struct forge){ .file = "brief",
	    .by = "west",
	    .san = "URI:spiffe://west/host/brief",
	    .to_s = 2 });
	brief = site_load("brief", "trust");
	begin(home_ids, brief, NULL);
	dial(LY_FOR_LINK, NULL);
	UNTIL(home.opens && away.opens);
	UNTIL(home.closes && away.closes);
	WANT(strstr(home.why, "expired") || strstr(away.why, "expired"));
	finish();
	ly_identity_free(brief);
}

TEST(a_reload_renews_without_dropping_anything)
{
	uint64_t before;

	begin_up(NULL);
	before = ly_identity_self(away_ids)->not_after;
	forge_cert(&(struct forge){ .file = "west-w1",
	    .by = "west",
	    .san = "URI:spiffe://west/host/w1",
	    .to_s = 7200 });
	SITE_OK(ly_identity_reload(away_ids, &why));
	WANT(ly_identity_self(away_ids)->not_after > before);
	send_command(away.conn, 1);
	UNTIL(home.frames == 1);
	dial(LY_FOR_LINK, NULL);
	UNTIL(home.opens == 2);
	WANT_INT(home.closes, 0);
	finish();
}

/* ---- dialling again ---- */

static struct ly_dial *
keep_dialling(const char *want)
{
	struct ly_hello hello = { .purpose = LY_FOR_LINK };

	return ly_dial_start(away_net, address, want, &hello, &ops, &away);
}

TEST(a_cut_link_comes_back)
{
	struct ly_dial *d;

	load();
	begin(home_ids, away_ids, NULL);
	d = keep_dialling("spiffe://east/host/h1");
	WANT(ly_dial_conn(d) == NULL);
	for (unsigned i = 1; i <= 3; i++) {
		UNTIL(home.opens == i && away.opens == i);
		WANT(ly_dial_conn(d) == away.conn);
		ly_conn_close(i % 2 ? home.conn : away.conn, LY_BUSY, "cut");
		UNTIL(away.closes == i);
		WANT(ly_dial_conn(d) == NULL);
	}
	ly_dial_stop(d);
	finish();
	WANT_INT(away.closes, 3);
}

TEST(an_attempt_that_fails_is_not_told_but_can_be_asked)
{
	struct ly_dial *d;

	load();
	begin(home_ids, away_ids, NULL);
	d = keep_dialling("spiffe://east/host/h2");
	UNTIL(ly_dial_why(d)[0]);
	WANT_STR(ly_dial_why(d),
	    "there is spiffe://east/host/h1, not spiffe://east/host/h2");
	WANT_INT(away.opens + away.closes, 0);
	ly_dial_stop(d);
	finish();
	WANT_INT(away.opens + away.closes, 0);
}

TEST(after_a_stop_nothing_is_told_any_more)
{
	struct ly_dial *d;

	load();
	begin(home_ids, away_ids, NULL);
	d = keep_dialling(NULL);
	UNTIL(home.opens && away.opens);
	send_command(home.conn, 1);
	ly_dial_stop(d);
	UNTIL(home.closes);
	WANT_INT(home.rc, LY_OK);
	finish();
	WANT_INT(away.closes, 0);
	WANT_INT(away.frames, 0);
}

TEST_MAIN()
