/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes with what is wrong on the way: a relay that meddles with what is
 * encrypted, and a source that has the keys and lies.
 */
#include "tests/io/lanes_scene.h"

/* ---- a relay that meddles ---- */

/* Between the two, one for each lane in the order they dial. It knows no key:
 * it sees what is encrypted. */
struct wire {
	int near, far;
	uint64_t passed; /* towards the destination */
	pthread_t thread;
};
static struct wire wires[LY_LANES_MAX];
static int relay_door;
static pthread_t relay;
static unsigned relay_n, relay_broken; /* the lane it meddles with */
static enum { FLIP, CUT } relay_does;
static uint64_t relay_from; /* after so many bytes */

static int
far_end(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(strrchr(listener, ':') + 1)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	WANT_INT(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void
meddle(struct wire *w, uint8_t *buf, ssize_t n)
{
	bool now = (unsigned)(w - wires) == relay_broken &&
	    w->passed <= relay_from && w->passed + (uint64_t)n > relay_from;

	w->passed += (uint64_t)n;
	if (now && relay_does == FLIP)
		buf[n / 2] ^= 0x10;
	if (now && relay_does == CUT)
		shutdown(w->far, SHUT_RDWR);
}

static void *
run_wire(void *arg)
{
	struct wire *w = arg;
	uint8_t *buf = malloc(65536);
	struct pollfd p[2] = { { .fd = w->near, .events = POLLIN },
		{ .fd = w->far, .events = POLLIN } };

	for (bool going = true; going && poll(p, 2, -1) > 0;) {
		for (int i = 0; i < 2 && going; i++) {
			ssize_t n;

			if (!p[i].revents)
				continue;
			n = recv(p[i].fd, buf, 65536, 0);
			if (n > 0 && i == 0)
				meddle(w, buf, n);
			going = n > 0 &&
			    send(p[!i].fd, buf, (size_t)n, MSG_NOSIGNAL) == n;
		}
	}
	free(buf);
	close(w->near);
	close(w->far);
	return NULL;
}

static void *
run_relay(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < relay_n; i++) {
		wires[i] = (struct wire){ .near = accept4(relay_door, NULL,
					      NULL, SOCK_CLOEXEC) };
		wires[i].far = far_end();
		pthread_create(&wires[i].thread, NULL, run_wire, &wires[i]);
	}
	return NULL;
}

static void
through_relay(unsigned lanes, unsigned broken, uint64_t from)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	char where[LY_ADDR_MAX];

	start(lanes, 64 * (uint64_t)MIB);
	expect();
	qemu_starts(true);
	relay_door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	WANT_INT(bind(relay_door, (struct sockaddr *)&sa, len), 0);
	WANT_INT(listen(relay_door, 8), 0);
	WANT_INT(getsockname(relay_door, (struct sockaddr *)&sa, &len), 0);
	ly_print(where, sizeof(where), "127.0.0.1:%u", ntohs(sa.sin_port));
	relay_n = lanes;
	relay_broken = broken;
	relay_from = from;
	WANT_INT(pthread_create(&relay, NULL, run_relay, NULL), 0);
	dial_at(where);
}

static void
relay_over(void)
{
	over();
	pthread_join(relay, NULL);
	for (unsigned i = 0; i < relay_n; i++)
		pthread_join(wires[i].thread, NULL);
	close(relay_door);
}

/* Which of them the relay has hit it does not know: they dial at once. */
static bool
names_a_lane(const struct side *s, const char *text)
{
	return strncmp(s->why, "lane ", 5) == 0 && s->why[5] >= '0' &&
	    s->why[5] <= '2' && strstr(s->why, text);
}

TEST(a_bit_flipped_on_the_way_in_any_lane_ends_it)
{
	for (unsigned lane = 0; lane < 3; lane++) {
		relay_does = FLIP;
		through_relay(3, lane, 9 * MIB);
		UNTIL(dst.faulty);
		WANT_INT(dst.fault, LY_LANES_LOST);
		WANT(names_a_lane(&dst, "bad record mac"));
		WANT(!wrong && came < stream_len);
		relay_over();
		WANT(!dst.ended);
	}
}

TEST(a_stream_cut_off_in_any_lane_is_not_whole)
{
	for (unsigned lane = 0; lane < 3; lane++) {
		relay_does = CUT;
		through_relay(3, lane, 9 * MIB);
		UNTIL(dst.faulty && src.faulty);
		WANT_INT(dst.fault, LY_LANES_LOST);
		WANT(names_a_lane(&dst, "eof") || names_a_lane(&dst, "broke") ||
		    names_a_lane(&dst, "reset") || names_a_lane(&dst, "pipe"));
		WANT(!wrong);
		relay_over();
		WANT(!dst.ended && !src.ended);
	}
}

/* ---- a source that has the keys, and lies ---- */

struct liar {
	struct ly_conn *conn;
	struct ly_off *off;
	bool open;
};
static struct liar liars[LY_LANES_MAX];

static enum ly_rc
on_liar(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)peer;
	(void)hello;
	(void)why;
	((struct liar *)arg)->open = true;
	ly_conn_hold(c, true);
	return LY_OK;
}

static void
on_liar_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	(void)c;
	(void)rc;
	(void)why;
	((struct liar *)arg)->conn = NULL;
}

static const struct ly_conn_ops liar_ops = { .on_open = on_liar,
	.on_frame = on_frame,
	.on_close = on_liar_close };

/* Its lanes stand, off the loop, and the destination waits for memory. */
static void
lie(unsigned lanes)
{
	start(lanes, 64 * (uint64_t)MIB);
	expect();
	qemu_starts(false);
	memset(liars, 0, sizeof(liars));
	for (unsigned i = 0; i < lanes; i++) {
		struct ly_psk psk;

		ly_lanes_psk(&src.params, i, &psk);
		liars[i].conn = ly_conn_dial_psk(away_net, listener, &psk,
		    &liar_ops, &liars[i]);
	}
	for (unsigned i = 0; i < lanes; i++) {
		UNTIL(liars[i].open);
		SITE_OK(ly_conn_off(liars[i].conn, &liars[i].off, &why));
	}
	UNTIL(dst.up);
}

/* `len` bytes of chunk `c` of the true stream, and a leaf for them. `flip`: of
 * what is sent, not of what is said. */
static void
send_chunk(unsigned lane, uint64_t c, size_t len, bool flip)
{
	struct ly_leaf leaf = { .index = c };
	uint8_t *buf = malloc(MIB);
	struct ly_why why;

	for (size_t i = 0; i < len; i++)
		buf[i] = pattern(c * MIB + i);
	ly_tree_leaf((uint8_t)lane, c, buf, len, leaf.digest);
	if (flip)
		buf[len / 2] ^= 1;
	for (size_t at = 0; at < len; at += LY_CHUNK_MAX)
		(void)!ly_off_send(liars[lane].off, buf + at,
		    ly_min(len - at, LY_CHUNK_MAX), true, &why);
	(void)!ly_off_say(liars[lane].off, LY_LEAF, &leaf, false, &why);
	free(buf);
}

static void
end_lane(unsigned lane)
{
	struct ly_why why;

	(void)!ly_off_end(liars[lane].off, &why);
}

static void
want_caught(enum ly_lanes_fault fault, const char *text)
{
	UNTIL(dst.faulty);
	WANT_STR(dst.why, text);
	WANT_INT(dst.fault, fault);
	for (unsigned i = 0; i < LY_LANES_MAX; i++)
		ly_off_free(ly_take(liars[i].off));
	over();
	WANT(!dst.ended);
}

TEST(a_bit_flipped_by_the_source_itself_is_found_and_placed)
{
	for (unsigned lane = 0; lane < 3; lane++) {
		char text[160];

		lie(3);
		for (unsigned c = 0; c < 6; c++)
			send_chunk(c % 3, c, MIB, c == 3 + lane);
		ly_print(text, sizeof(text),
		    "the stream's digest does not match: lane %u, chunk %u is "
		    "not what its source read",
		    lane, 3 + lane);
		want_caught(LY_LANES_FORGED, text);
	}
}

TEST(chunks_swapped_between_lanes_are_found)
{
	lie(2);
	send_chunk(0, 1, MIB, false);
	want_caught(LY_LANES_LOST,
	    "lane 0: chunk 1 of 1048576 bytes where 0 belongs");
}

TEST(chunks_swapped_within_a_lane_are_found)
{
	lie(2);
	send_chunk(0, 0, MIB, false);
	send_chunk(1, 1, MIB, false);
	send_chunk(0, 4, MIB, false);
	want_caught(LY_LANES_LOST,
	    "lane 0: chunk 4 of 1048576 bytes where 2 belongs");
}

TEST(a_chunk_left_out_is_missed)
{
	lie(2);
	send_chunk(0, 0, MIB, false);
	end_lane(0);
	send_chunk(1, 1, MIB, false);
	send_chunk(1, 3, MIB, false);
	want_caught(LY_LANES_LOST,
	    "lane 0: ended before chunk 2, which is its own");
}

TEST(a_lane_that_ends_within_a_chunk_is_not_whole)
{
	uint8_t some[100] = { 0 };

	lie(2);
	SITE_OK(ly_off_send(liars[0].off, some, sizeof(some), false, &why));
	end_lane(0);
	want_caught(LY_LANES_LOST, "lane 0: ended in the middle of chunk 0");
}

TEST(nothing_comes_behind_a_short_chunk)
{
	lie(1);
	send_chunk(0, 0, 1000, false);
	send_chunk(0, 1, 1000, false);
	want_caught(LY_LANES_LOST, "lane 0: chunk 1 comes behind a short one");
}

TEST(a_chunk_is_no_longer_than_it_may_be)
{
	uint8_t *buf = calloc(1, LY_CHUNK_MAX);

	lie(1);
	for (int i = 0; i < 4; i++)
		SITE_OK(
		    ly_off_send(liars[0].off, buf, LY_CHUNK_MAX, false, &why));
	SITE_OK(ly_off_send(liars[0].off, buf, 1, false, &why));
	free(buf);
	want_caught(LY_LANES_LOST,
	    "lane 0: a DATA of 1 bytes where at most 0 belong");
}

TEST(a_frame_that_is_no_memory_does_not_belong_on_a_lane)
{
	struct ly_bye bye = { .rc = LY_OK };

	lie(1);
	SITE_OK(ly_off_say(liars[0].off, LY_BYE, &bye, false, &why));
	want_caught(LY_LANES_LOST,
	    "lane 0: a frame of type 0x5 does not belong here");
}

TEST(a_qemu_that_is_gone_is_told_apart_from_a_lost_lane)
{
	all(2, 64 * (uint64_t)MIB);
	UNTIL(came > MIB);
	quits = true;
	UNTIL(dst.faulty);
	WANT_INT(dst.fault, LY_LANES_QEMU);
	WANT(strncmp(dst.why, "QEMU's migration socket: ", 25) == 0);
	over();
}

TEST_MAIN()
