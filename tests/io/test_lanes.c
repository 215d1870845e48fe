/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes between two ends that mean well, and with keys that do not fit. */
#include "tests/io/lanes_scene.h"

/* ---- what goes well ---- */

TEST(a_stream_arrives_in_order_over_any_number_of_lanes)
{
	static const uint64_t lens[] = { 0, 1, MIB - 1, MIB, MIB + 1,
		5 * MIB + 4321, 37 * (uint64_t)MIB + 5 };

	for (unsigned n = 1; n <= LY_LANES_MAX; n += n < 4 ? 1 : 4) {
		for (size_t i = 0; i < LY_COUNT(lens); i++) {
			all(n, lens[i]);
			want_whole();
			over();
		}
	}
}

/* By the definition alone: SHA-256(00 | lane | index | length | left | right),
 * and so on up. */
TEST(the_root_is_that_of_the_definition)
{
	static uint8_t buf[MIB];
	struct ly_hash lane[2];
	uint8_t leaf[32], root[32], bytes[2][8] = { { 0 } };
	struct ly_lanes_sum sum;
	struct ly_hash h;

	all(2, 2 * MIB + 10);
	want_whole();
	for (unsigned i = 0; i < 2; i++) {
		ly_hash_start(&lane[i]);
		ly_hash_add(&lane[i], (uint8_t[]){ 1, (uint8_t)i }, 2);
	}
	for (unsigned c = 0; c < 3; c++) {
		uint32_t len = c < 2 ? MIB : 10;
		uint8_t node[78];
		struct ly_wr w = ly_wr_over(node, sizeof(node));

		ly_wr_u8(&w, 0);
		ly_wr_u8(&w, (uint8_t)(c % 2));
		ly_wr_u64(&w, c);
		ly_wr_u32(&w, len);
		for (uint32_t i = 0; i < len; i++)
			buf[i] = pattern((uint64_t)c * MIB + i);
		ly_sha256(buf, len / 2, node + 14);
		ly_sha256(buf + len / 2, len / 2, node + 46);
		ly_sha256(node, sizeof(node), leaf);
		ly_hash_add(&lane[c % 2], leaf, 32);
	}
	ly_hash_start(&h);
	ly_hash_add(&h, (uint8_t[]){ 2 }, 1);
	ly_hash_add(&h, &keys.mig, 16);
	ly_hash_add(&h, (uint8_t[]){ 2 }, 1);
	for (unsigned i = 0; i < 2; i++) {
		struct ly_wr w = ly_wr_over(bytes[i], 8);

		ly_wr_u64(&w, i ? MIB : MIB + 10);
		ly_hash_add(&lane[i], bytes[i], 8);
		ly_hash_end(&lane[i], root);
		ly_hash_add(&h, root, 32);
	}
	ly_hash_end(&h, root);
	ly_lanes_sum(src.lanes, &sum);
	WANT(ly_same(sum.root, root, 32));
	over();
}

TEST(what_comes_slowly_is_not_kept_back)
{
	all(3, 6 * MIB + 17);
	pauses = true;
	want_whole();
	over();

	start(2, 1000); /* less than a chunk, and QEMU does not close */
	expect();
	qemu_starts(false);
	dial_at(listener);
	UNTIL(src.up);
	{
		struct sockaddr_un sa = unix_name(src.qemu);
		uint8_t some[1000];
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		for (unsigned i = 0; i < sizeof(some); i++)
			some[i] = pattern(i);
		WANT_INT(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
		WANT_INT(send(fd, some, sizeof(some), 0), 1000);
		UNTIL(came == 1000);
		WANT(!src.ended && !dst.ended);
		close(fd);
	}
	want_whole();
	over();
}

TEST(a_qemu_that_does_not_read_stops_the_source_within_bounds)
{
	uint64_t stuck;

	start(2, 64 * (uint64_t)MIB);
	dawdles = true;
	expect();
	qemu_starts(true);
	dial_at(listener);
	UNTIL(src.up && dst.up);
	stuck = 0;
	for (int i = 0; i < 200; i++) {
		uv_run(&loop, UV_RUN_NOWAIT);
		usleep(5000);
		if (ly_lanes_bytes(src.lanes) != stuck)
			i = 0;
		stuck = ly_lanes_bytes(src.lanes);
	}
	/* One chunk a lane at both ends; the rest is the kernel's. */
	WANT(stuck < 40 * (uint64_t)MIB);
	WANT(came < stuck);
	dawdles = false;
	want_whole();
	over();
}

TEST(the_pace_is_that_of_all_lanes_together)
{
	uint64_t began;

	start(4, 4 * MIB);
	src.wait = true;
	expect();
	qemu_starts(true);
	dial_at(listener);
	UNTIL(src.up);
	ly_lanes_pace(src.lanes, 4 * MIB);
	SITE_OK(ly_lanes_qemu(src.lanes, src.qemu, &why));
	began = uv_hrtime();
	UNTIL(came > 0);
	WANT(came < MIB); /* not a chunk at a time */
	UNTIL(came >= 3 * MIB);
	WANT(uv_hrtime() - began > UINT64_C(500000000));
	ly_lanes_pace(src.lanes, 0);
	want_whole();
	over();
}

TEST(lanes_that_are_closed_in_the_middle_end_at_once)
{
	for (unsigned turn = 0; turn < 3; turn++) {
		all(2, 64 * (uint64_t)MIB);
		dawdles = turn == 2;
		if (turn)
			UNTIL(src.up && dst.up);
		if (turn == 1)
			UNTIL(came > 0);
		over();
	}
}

/* ---- the wrong keys, or none ---- */

TEST(a_source_with_another_key_gets_nowhere)
{
	struct ly_stream_keys others;

	start(2, MIB);
	expect();
	others = keys;
	others.prk[0] ^= 1;
	src.params.keys = &others;
	dial_at(listener);
	UNTIL(src.faulty);
	WANT_INT(src.fault, LY_LANES_LOST);
	WANT(strncmp(src.why, "lane ", 5) == 0);
	WANT(!dst.up && !dst.faulty && !src.up);
	over();
}

TEST(a_lane_that_does_not_come_is_named)
{
	struct ly_stream_keys fewer;

	start(3, MIB);
	dst.params.late_ms = 300;
	expect();
	fewer = keys;
	fewer.lanes = 2;
	src.params.keys = &fewer;
	dial_at(listener);
	UNTIL(dst.faulty);
	WANT_INT(dst.fault, LY_LANES_LOST);
	WANT_STR(dst.why, "lane 2: it did not come");
	over();
}

TEST_MAIN()
