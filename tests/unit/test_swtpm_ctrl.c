/* SPDX-License-Identifier: Apache-2.0 */
/* agent/guest/swtpm: what QEMU and tpm2-tss hear, in which mode. */
#include "agent/guest/swtpm.h"

#include "tests/test.h"

#define SAID_MAX 1024

/* One machine, and all that came out of it. */
struct guest {
	struct ly_swtpm m;
	uint8_t said[SAID_MAX];
	size_t said_len;
	unsigned acts[LY_SWTPM_SAVE + 1];
	struct ly_swtpm_todo last; /* of the last thing to do */
	uint8_t body[512];	   /* what `last` and those before it carried */
	size_t body_len;
	bool refuse_token;
};

static void
heard(struct guest *g, struct ly_swtpm_todo *todo)
{
	WANT(g->said_len + todo->reply_len <= SAID_MAX);
	memcpy(g->said + g->said_len, todo->reply, todo->reply_len);
	g->said_len += todo->reply_len;
}

static void
perform(struct guest *g, struct ly_swtpm_todo *todo)
{
	g->acts[todo->act]++;
	if (todo->act > LY_SWTPM_REPLY)
		g->last = *todo;
	if (todo->body_len > 0) {
		memcpy(g->body + g->body_len, todo->body, todo->body_len);
		g->body_len += todo->body_len;
	}
	if (todo->act == LY_SWTPM_DATAFD)
		ly_swtpm_datafd(&g->m, true, todo);
	else if (todo->act == LY_SWTPM_RESTORE)
		ly_swtpm_restored(&g->m, !g->refuse_token, todo);
	heard(g, todo);
}

/* Feeds `len` bytes in pieces of `piece`; says how many were taken. */
static size_t
feed(struct guest *g, const uint8_t *buf, size_t len, size_t piece)
{
	size_t at = 0, used;
	struct ly_swtpm_todo todo;

	do {
		size_t n = ly_min(piece, len - at);

		used = ly_swtpm_feed(&g->m, buf + at, n, &todo);
		perform(g, &todo);
		at += used;
	} while (at < len && used > 0);
	return at;
}

static void
start(struct guest *g, enum ly_guest_mode mode)
{
	memset(g, 0, sizeof(*g));
	ly_swtpm_init(&g->m, mode);
	ly_swtpm_connected(&g->m);
}

/* "05" "00000003" ...: a request in hex, sent whole. */
static size_t
send_hex(struct guest *g, const char *hex)
{
	uint8_t buf[512];
	size_t len = strlen(hex) / 2;

	for (size_t i = 0; i < len; i++) {
		unsigned v;

		WANT_INT(sscanf(hex + 2 * i, "%2x", &v), 1);
		buf[i] = (uint8_t)v;
	}
	g->said_len = 0;
	g->body_len = 0;
	return feed(g, buf, len, len);
}

static void
want(struct guest *g, const char *hex)
{
	char got[2 * SAID_MAX + 1] = "";

	for (size_t i = 0; i < g->said_len; i++)
		snprintf(got + 2 * i, 3, "%02x", g->said[i]);
	WANT_STR(got, hex);
	g->said_len = 0;
}

static void
result(struct guest *g, uint32_t r)
{
	struct ly_swtpm_todo todo;

	ly_swtpm_result(&g->m, r, &todo);
	heard(g, &todo);
}

static void
save(struct guest *g, const char *token)
{
	struct ly_swtpm_todo todo;

	ly_swtpm_saved(&g->m, (const uint8_t *)token, strlen(token), &todo);
	heard(g, &todo);
}

/* QEMU up to its INIT, at a home. */
static void
boot(struct guest *g)
{
	start(g, LY_GUEST_ATTACHED);
	send_hex(g, "00000010");
	send_hex(g, "0000000200000000");
	result(g, LY_SWTPM_OK);
	want(g, "00000000");
}

static const char *const all_ok = "00000000";

#define INIT_1 "0000000200000001"
#define STATE_OUT(type) "0000000c0000000100000" type "00000000"

TEST(qemus_start_is_answered_without_the_owner_up_to_init)
{
	struct guest g;

	start(&g, LY_GUEST_BEFORE);
	send_hex(&g, "00000010");
	want(&g, all_ok);
	send_hex(&g, "00000001");
	want(&g, "0000000000013fff");
	send_hex(&g, "0000000e");
	want(&g, all_ok);
	send_hex(&g, "0000001100000000");
	want(&g, "00000000000010000000040000001000");
	send_hex(&g, "0000001100000f80");
	want(&g, "0000000000000f800000040000001000");
	WANT_INT(g.acts[LY_SWTPM_OP], 0);
	send_hex(&g, "0000000200000000");
	want(&g, "");
	WANT_INT(g.last.op, LY_OP_INIT);
	result(&g, LY_SWTPM_OK);
	want(&g, all_ok);
	WANT_INT(g.m.mode, LY_GUEST_ATTACHED);
}

TEST(requests_mean_the_same_in_any_split)
{
	static const uint8_t qemu[] = { 0, 0, 0, 1, 0, 0, 0, 0x11, 0, 0, 0x0f,
		0x80, 0, 0, 0, 5, 3, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5, 2, 0, 0,
		0, 5, 1, 0, 0, 0, 0, 0, 0, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf };
	struct guest whole, split;

	start(&whole, LY_GUEST_ATTACHED);
	WANT_INT(feed(&whole, qemu, sizeof(qemu), sizeof(qemu)), sizeof(qemu));
	WANT_INT(whole.m.locality, 1);
	for (size_t piece = 1; piece < sizeof(qemu); piece++) {
		start(&split, LY_GUEST_ATTACHED);
		WANT_INT(feed(&split, qemu, sizeof(qemu), piece), sizeof(qemu));
		WANT_INT(split.said_len, whole.said_len);
		WANT_MEM(split.said, whole.said, whole.said_len);
	}
}

TEST(set_locality_is_understood_in_five_bytes_and_in_eight)
{
	struct guest g;

	start(&g, LY_GUEST_ATTACHED);
	send_hex(&g, "0000000503");
	want(&g, all_ok); /* without waiting for more */
	send_hex(&g, "00000001");
	want(&g, "0000000000013fff");
	send_hex(&g, "0000000504000000");
	want(&g, all_ok);
	send_hex(&g, "00000001");
	want(&g, "0000000000013fff");
	WANT_INT(g.m.locality, 4);
	send_hex(&g, "0000000505");
	want(&g, "00000003");
	WANT_INT(g.m.locality, 4);
}

TEST(an_error_is_as_long_as_qemu_reads_it)
{
	struct guest g;

	start(&g, LY_GUEST_BEFORE);
	send_hex(&g, STATE_OUT("001"));
	want(&g, "00000009000000000000000000000000");
	send_hex(&g, "00000004");
	want(&g, "0000000000000000");
	send_hex(&g, "00000006");
	want(&g, "00000009");
	start(&g, LY_GUEST_ATTACHED);
	send_hex(&g, STATE_OUT("004"));
	want(&g, "00000003000000000000000000000000");
}

TEST(an_unknown_request_is_refused_and_the_next_is_heard)
{
	struct guest g;

	start(&g, LY_GUEST_ATTACHED);
	send_hex(&g, "00000014000000ff0000000000000001");
	want(&g, "0000000a0000000a0000000a0000000000013fff");
}

TEST(the_buffer_size_never_fails)
{
	struct guest g;

	start(&g, LY_GUEST_GONE);
	send_hex(&g, "0000001100000001");
	want(&g, "00000000000004000000040000001000");
	send_hex(&g, "00000011ffffffff");
	want(&g, "00000000000010000000040000001000");
}

TEST(a_source_gives_its_token_and_nothing_else)
{
	struct guest g;

	boot(&g);
	send_hex(&g, STATE_OUT("001"));
	want(&g, "");
	WANT_INT(g.acts[LY_SWTPM_SAVE], 1);
	save(&g, "TOKEN");
	want(&g, "00000000000000000000000500000005544f4b454e");
	WANT_INT(g.m.mode, LY_GUEST_SAVED);
	send_hex(&g, STATE_OUT("002"));
	want(&g, "00000000000000000000000000000000");
	send_hex(&g, STATE_OUT("003"));
	want(&g, "00000000000000000000000000000000");
	WANT_INT(g.m.blobs, 5);		/* all that QEMU carries for us */
	send_hex(&g, STATE_OUT("001")); /* again */
	want(&g, "00000000000000000000000500000005544f4b454e");
	WANT_INT(g.acts[LY_SWTPM_SAVE], 1);
	send_hex(&g, "00000003");
	want(&g, all_ok);
	send_hex(&g, "0000000200000000"); /* a reset must not reach the home */
	want(&g, "00000009");
}

TEST(a_source_that_cannot_save_fails_and_stays_attached)
{
	struct guest g;

	boot(&g);
	send_hex(&g, STATE_OUT("001"));
	save(&g, "");
	want(&g, "00000009000000000000000000000000");
	WANT_INT(g.m.mode, LY_GUEST_ATTACHED);
}

TEST(lock_storage_says_that_a_source_goes_on)
{
	struct guest g;

	boot(&g);
	send_hex(&g, "0000001300000000");
	WANT_INT(g.acts[LY_SWTPM_TAKE_BACK], 0);
	send_hex(&g, STATE_OUT("001"));
	save(&g, "T");
	send_hex(&g, "0000001300000000");
	want(&g, all_ok);
	WANT_INT(g.acts[LY_SWTPM_TAKE_BACK], 1);
	WANT_INT(g.m.mode, LY_GUEST_SAVED); /* the owner decides */
}

TEST(a_destination_resumes_behind_its_token_without_a_reset)
{
	struct guest g;

	start(&g, LY_GUEST_INCOMING);
	send_hex(&g, "00000010");
	send_hex(&g,
	    "0000000d0000000100000001"
	    "00000005544f4b454e");
	want(&g, all_ok);
	WANT_MEM(g.body, "TOKEN", 5);
	send_hex(&g, INIT_1);
	want(&g, "");
	WANT_INT(g.acts[LY_SWTPM_RESUME], 1);
	WANT_INT(g.acts[LY_SWTPM_OP], 0);
	result(&g, LY_SWTPM_OK);
	want(&g, all_ok);
	WANT_INT(g.m.mode, LY_GUEST_ATTACHED);
	send_hex(&g, "0000000200000000"); /* this one is a reset */
	WANT_INT(g.acts[LY_SWTPM_OP], 1);
}

TEST(a_snapshot_of_this_very_moment_is_loaded_without_a_reset)
{
	struct guest g;

	boot(&g);
	g.acts[LY_SWTPM_OP] = 0;
	send_hex(&g, "0000000e");
	want(&g, all_ok);
	send_hex(&g, "0000000d000000010000000100000005544f4b454e");
	want(&g, all_ok);
	send_hex(&g, INIT_1);
	WANT_INT(g.acts[LY_SWTPM_RESUME], 1);
	WANT_INT(g.acts[LY_SWTPM_OP], 0);
	result(&g, LY_SWTPM_OK);
	want(&g, all_ok);
	send_hex(&g, "0000000200000000"); /* this one is a reset */
	WANT_INT(g.acts[LY_SWTPM_OP], 1);
}

TEST(a_destination_without_its_token_resets_nothing)
{
	struct guest g;

	start(&g, LY_GUEST_INCOMING);
	send_hex(&g, INIT_1);
	want(&g, "00000009");
	g.refuse_token = true;
	send_hex(&g, "0000000d0000000100000001000000024142");
	want(&g, "00000009");
	send_hex(&g, INIT_1);
	want(&g, "00000009");
	WANT_INT(g.acts[LY_SWTPM_OP] + g.acts[LY_SWTPM_RESUME], 0);
}

TEST(the_state_of_a_tpm_is_not_taken_in)
{
	struct guest g;

	start(&g, LY_GUEST_INCOMING);
	send_hex(&g, "0000000d00000001000000020000000341424300000001");
	want(&g, "000000090000000000013fff");
	send_hex(&g, "0000000d000000010000000200000000");
	want(&g, all_ok);
	WANT_INT(g.acts[LY_SWTPM_RESTORE], 0);
}

TEST(a_token_too_long_is_skipped_to_its_end)
{
	static const uint32_t lens[] = { LY_TOKEN_MAX + 1, 4000,
		LY_SWTPM_BODY_MAX, LY_SWTPM_BODY_MAX + 1 };
	static const uint8_t zeros[512];
	struct guest g;

	for (size_t i = 0; i < LY_COUNT(lens); i++) {
		char head[64];
		size_t left = lens[i];

		start(&g, LY_GUEST_INCOMING);
		snprintf(head, sizeof(head), "0000000d0000000000000001%08x",
		    (unsigned)lens[i]);
		send_hex(&g, head);
		while (left > 0) {
			size_t n = ly_min(left, sizeof(zeros));

			WANT_INT(g.said_len, 0);
			WANT_INT(feed(&g, zeros, n, n), n);
			left -= n;
		}
		want(&g, "00000009");
		send_hex(&g, "0000000e");
		want(&g, all_ok);
	}
}

TEST(the_longest_token_goes_in_and_out)
{
	char token[LY_TOKEN_MAX + 1] = { 0 };
	struct guest g;
	uint8_t head[16] = { 0, 0, 0, 13, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,
		LY_TOKEN_MAX };

	memset(token, 'x', LY_TOKEN_MAX);
	boot(&g);
	send_hex(&g, STATE_OUT("001"));
	save(&g, token);
	WANT_INT(g.said_len, 16 + LY_TOKEN_MAX);
	start(&g, LY_GUEST_INCOMING);
	feed(&g, head, sizeof(head), 3);
	feed(&g, (const uint8_t *)token, LY_TOKEN_MAX, 7);
	want(&g, all_ok);
	WANT_INT(g.body_len, LY_TOKEN_MAX);
}

TEST(nothing_is_taken_while_the_owner_owes_an_answer)
{
	struct guest g;

	boot(&g);
	WANT_INT(send_hex(&g, "000000020000000000000001"), 8);
	WANT_INT(ly_swtpm_want(&g.m), 0);
	WANT_INT(send_hex(&g, "00000001"), 0);
	result(&g, LY_SWTPM_OK);
	want(&g, all_ok);
	send_hex(&g, "00000001");
	want(&g, "0000000000013fff");
}

static const uint8_t random8[] = { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0,
	8 };

TEST(a_reset_waits_for_the_command_under_way)
{
	struct guest g;
	uint8_t say[LY_TPM_HEAD];
	size_t used;

	boot(&g);
	WANT_INT(ly_swtpm_command(&g.m, false, random8, sizeof(random8), &used,
		     say),
	    LY_SWTPM_RUN);
	g.acts[LY_SWTPM_OP] = 0;
	send_hex(&g, "0000000200000000");
	WANT_INT(g.acts[LY_SWTPM_OP], 0);
	WANT(ly_swtpm_answered(&g.m, false, 10, say));
	feed(&g, random8, 0, 1);
	WANT_INT(g.acts[LY_SWTPM_OP], 1);
	/* and the next command for the reset */
	WANT_INT(ly_swtpm_command(&g.m, false, random8, sizeof(random8), &used,
		     say),
	    LY_SWTPM_HOLD);
	result(&g, LY_SWTPM_OK);
	want(&g, all_ok);
}

TEST(cancel_is_for_a_command_under_way)
{
	struct guest g;
	uint8_t say[LY_TPM_HEAD];
	size_t used;

	boot(&g);
	send_hex(&g, "00000009");
	want(&g, all_ok);
	WANT_INT(g.acts[LY_SWTPM_CANCEL], 0);
	WANT_INT(ly_swtpm_command(&g.m, false, random8, sizeof(random8), &used,
		     say),
	    LY_SWTPM_RUN);
	send_hex(&g, "00000009");
	want(&g, all_ok);
	WANT_INT(g.acts[LY_SWTPM_CANCEL], 1);
}

TEST(measured_launch_reaches_the_home_piece_by_piece)
{
	uint8_t data[8 + 400] = { 0, 0, 0, 7, 0, 0, 1, 0x90 };
	struct guest g;
	size_t at = 0;

	for (size_t i = 8; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	boot(&g);
	send_hex(&g, "00000006");
	WANT_INT(g.last.op, LY_OP_HASH_START);
	result(&g, LY_SWTPM_OK);
	want(&g, all_ok);
	while (at < sizeof(data)) {
		at += feed(&g, data + at, sizeof(data) - at, sizeof(data));
		WANT_INT(g.last.op, LY_OP_HASH_DATA);
		want(&g, "");
		result(&g, LY_SWTPM_OK);
	}
	want(&g, all_ok);
	WANT_INT(g.body_len, 400);
	WANT_MEM(g.body, data + 8, 400);
	send_hex(&g, "00000008");
	result(&g, LY_SWTPM_OK);
	send_hex(&g, "00000004");
	want(&g, "0000000001000000");
	send_hex(&g, "0000000b03000000");
	WANT_INT(g.last.op, LY_OP_RESET_ESTABLISHED);
	result(&g, LY_SWTPM_OK);
	send_hex(&g, "00000004");
	want(&g, "0000000000000000");
}

TEST(a_failed_piece_drops_the_rest)
{
	uint8_t data[8 + 400] = { 0, 0, 0, 7, 0, 0, 1, 0x90 };
	struct guest g;
	size_t at;

	boot(&g);
	at = feed(&g, data, sizeof(data), sizeof(data));
	result(&g, 5);
	want(&g, "");
	at += feed(&g, data + at, sizeof(data) - at, sizeof(data));
	WANT_INT(at, sizeof(data));
	want(&g, "00000005");
}

TEST(who_hangs_up_leaves_no_answer_behind)
{
	struct guest g;

	boot(&g);
	send_hex(&g, "0000000200000000");
	ly_swtpm_hung_up(&g.m);
	WANT(ly_swtpm_waiting(&g.m));
	result(&g, LY_SWTPM_OK);
	want(&g, "");
	WANT(!ly_swtpm_waiting(&g.m));
	ly_swtpm_connected(&g.m);
	send_hex(&g, "00000001");
	want(&g, "0000000000013fff");
}

TEST(a_second_data_channel_is_refused)
{
	struct guest g;

	boot(&g);
	send_hex(&g, "00000010");
	want(&g, "00000009");
	ly_swtpm_hung_up(&g.m);
	ly_swtpm_connected(&g.m);
	send_hex(&g, "00000010");
	want(&g, all_ok);
}

/* ---- the data channel ---- */

static const uint8_t probe[] = { 0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x81 };

static enum ly_swtpm_data
command(struct guest *g, bool raw, const uint8_t *buf, size_t len, size_t *used,
    uint32_t *rc)
{
	uint8_t say[LY_TPM_HEAD] = { 0 };
	struct ly_tpm_rsp rsp;
	enum ly_swtpm_data what;

	what = ly_swtpm_command(&g->m, raw, buf, len, used, say);
	*rc = 0;
	if (what == LY_SWTPM_SAY || what == LY_SWTPM_LOST) {
		WANT_INT(ly_tpm_rsp_parse(say, sizeof(say), &rsp), LY_OK);
		*rc = rsp.rc;
	}
	return what;
}

TEST(the_probe_before_init_reaches_nobody_in_any_mode)
{
	struct guest g;
	uint8_t say[LY_TPM_HEAD];
	size_t used;

	for (unsigned mode = 0; mode < LY_GUEST_MODES; mode++) {
		start(&g, (enum ly_guest_mode)mode);
		send_hex(&g, "00000010");
		WANT_INT(ly_swtpm_command(&g.m, false, probe, sizeof(probe),
			     &used, say),
		    LY_SWTPM_SAY);
		WANT_INT(used, sizeof(probe));
		WANT_INT(say[0] << 8 | say[1], 0x8001);
	}
}

TEST(a_command_runs_alone)
{
	uint8_t two[2 * sizeof(random8)];
	struct guest g;
	uint32_t rc;
	size_t used;
	uint8_t say[LY_TPM_HEAD];

	memcpy(two, random8, sizeof(random8));
	memcpy(two + sizeof(random8), random8, sizeof(random8));
	boot(&g);
	for (size_t n = 0; n < sizeof(random8); n++)
		WANT_INT(command(&g, false, two, n, &used, &rc), LY_SWTPM_MORE);
	WANT_INT(command(&g, false, two, sizeof(two), &used, &rc),
	    LY_SWTPM_RUN);
	WANT_INT(used, sizeof(random8));
	WANT_INT(command(&g, false, two, sizeof(random8), &used, &rc),
	    LY_SWTPM_HOLD);
	WANT_INT(used, 0);
	WANT(ly_swtpm_answered(&g.m, false, 20, say));
	WANT_INT(command(&g, false, two, sizeof(random8), &used, &rc),
	    LY_SWTPM_RUN);
}

TEST(what_is_no_command_is_answered_as_a_tpm_would)
{
	uint8_t bad[] = { 0x80, 0x03, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8 };
	uint8_t tiny[] = { 0x80, 0x01, 0, 0, 0, 6 };
	uint8_t big[12] = { 0x80, 0x01, 0, 0, 0x0f, 0x81 }; /* 3969 */
	struct guest g;
	uint32_t rc;
	size_t used;

	boot(&g);
	WANT_INT(command(&g, false, bad, sizeof(bad), &used, &rc),
	    LY_SWTPM_SAY);
	WANT_INT(rc, LY_TPM_RC_BAD_TAG);
	WANT_INT(command(&g, false, tiny, sizeof(tiny), &used, &rc),
	    LY_SWTPM_LOST);
	WANT_INT(rc, LY_TPM_RC_COMMAND_SIZE);
	/* longer than QEMU's buffer: the rest would never come */
	WANT_INT(command(&g, false, big, sizeof(big), &used, &rc),
	    LY_SWTPM_MORE);
	send_hex(&g, "0000001100000f80");
	WANT_INT(command(&g, false, big, sizeof(big), &used, &rc),
	    LY_SWTPM_LOST);
	WANT_INT(used, sizeof(big));
	WANT(!g.m.busy);
}

TEST(an_answer_longer_than_qemus_buffer_does_not_reach_it)
{
	struct guest g;
	uint32_t rc;
	size_t used;
	uint8_t say[LY_TPM_HEAD];

	boot(&g);
	send_hex(&g, "0000001100000f80");
	WANT_INT(command(&g, false, random8, sizeof(random8), &used, &rc),
	    LY_SWTPM_RUN);
	WANT(!ly_swtpm_answered(&g.m, false, 3969, say));
	WANT_INT(say[9], LY_TPM_RC_MEMORY & 0xff);
	WANT_INT(command(&g, false, random8, sizeof(random8), &used, &rc),
	    LY_SWTPM_RUN);
	WANT(ly_swtpm_answered(&g.m, false, 3968, say));
}

TEST(each_mode_treats_commands_in_its_way)
{
	static const enum ly_swtpm_data qemu[LY_GUEST_MODES] = {
		[LY_GUEST_BEFORE] = LY_SWTPM_HOLD,
		[LY_GUEST_INCOMING] = LY_SWTPM_HOLD,
		[LY_GUEST_ATTACHED] = LY_SWTPM_RUN,
		[LY_GUEST_SAVED] = LY_SWTPM_HOLD,
		[LY_GUEST_GONE] = LY_SWTPM_SAY,
	};
	struct guest g;
	uint32_t rc;
	size_t used;

	for (unsigned mode = 0; mode < LY_GUEST_MODES; mode++) {
		boot(&g);
		ly_swtpm_mode(&g.m, (enum ly_guest_mode)mode);
		WANT_INT(command(&g, false, random8, sizeof(random8), &used,
			     &rc),
		    qemu[mode]);
		WANT_INT(rc, mode == LY_GUEST_GONE ? LY_TPM_RC_FAILURE : 0);
		start(&g, (enum ly_guest_mode)mode);
		WANT_INT(command(&g, true, random8, sizeof(random8), &used,
			     &rc),
		    qemu[mode]);
	}
}

TEST(between_stop_and_init_the_tpm_is_not_initialised)
{
	struct guest g;
	uint32_t rc;
	size_t used;

	boot(&g);
	send_hex(&g, "0000000e");
	WANT_INT(command(&g, false, random8, sizeof(random8), &used, &rc),
	    LY_SWTPM_SAY);
	WANT_INT(rc, LY_TPM_RC_INITIALIZE);
	send_hex(&g, "0000000200000000");
	result(&g, LY_SWTPM_OK);
	WANT_INT(command(&g, false, random8, sizeof(random8), &used, &rc),
	    LY_SWTPM_RUN);
}

TEST(an_older_snapshot_is_refused_and_the_tpm_waits_for_a_reset)
{
	struct guest g;
	uint32_t rc;
	size_t used;

	boot(&g);
	g.refuse_token = true;
	send_hex(&g, "0000000e");
	want(&g, all_ok);
	send_hex(&g, "0000000d000000010000000100000005544f4b454e");
	want(&g, "00000009");
	WANT_INT(command(&g, false, random8, sizeof(random8), &used, &rc),
	    LY_SWTPM_SAY);
	WANT_INT(rc, LY_TPM_RC_INITIALIZE);
}

TEST(an_aborted_source_goes_on_where_it_was)
{
	struct guest g;
	uint32_t rc;
	size_t used;

	boot(&g);
	send_hex(&g, STATE_OUT("001"));
	save(&g, "T");
	WANT_INT(command(&g, false, random8, sizeof(random8), &used, &rc),
	    LY_SWTPM_HOLD);
	ly_swtpm_mode(&g.m, LY_GUEST_ATTACHED);
	WANT_INT(command(&g, false, random8, sizeof(random8), &used, &rc),
	    LY_SWTPM_RUN);
}

TEST_MAIN()
