/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A home reads the PCRs of its guest's TPM between two of the guest's commands.
 * The test is that TPM.
 */
#include "agent/io/homes.h"
#include "lib/attest/policy.h"
#include "tests/unit/homes_scene.h"

static const uint8_t random8[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8 };
static const uint8_t eight[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7, 7 };
static const uint8_t key[32] = { 0x4b };

struct told {
	unsigned n;
	enum ly_rc rc;
	struct ly_home_place place;
};

static void
on_place(void *arg, enum ly_rc rc, const struct ly_home_place *place,
    const char *text)
{
	struct told *t = arg;

	(void)text;
	t->n++;
	t->rc = rc;
	if (rc == LY_OK)
		t->place = *place;
}

struct bench {
	struct scene s;
	struct told told;
	struct ly_visitor *v;
	int door, tpm;
};

static void
turns(struct bench *b)
{
	for (int i = 0; i < 20; i++)
		uv_run(&b->s.loop, UV_RUN_NOWAIT);
}

static void
ask(struct bench *b)
{
	ly_homes_vpcrs(b->s.agent.homes, &vm, on_place, &b->told);
}

static void
send_random(struct bench *b, uint64_t seq)
{
	struct ly_command c = { .epoch = 1,
		.seq = seq,
		.body = { random8, sizeof(random8) } };

	hear(b->v, LY_COMMAND, &c, LY_OK);
}

/* VM 1 is attached by a host with `key`, and its guest has reset. */
static void
begin(struct bench *b)
{
	struct ly_command init = { .op = LY_OP_INIT, .epoch = 1, .seq = 1 };

	memset(b, 0, sizeof(*b));
	b->door = deaf_tpm();
	scene(&b->s);
	for (unsigned i = 0; i < LY_COUNT(b->s.tpms); i++)
		b->s.tpms[i].patience_s = 300;
	bound(&b->s, &vm);
	b->v = visitor(&b->s);
	ly_visitor_foreign(b->v, UINT64_MAX);
	ly_visitor_key(b->v, key);
	hear(b->v, LY_RENEW, &(struct ly_renew){ 1 }, LY_OK);
	attach(&b->s, b->v, &vm, 0);
	until(&b->s, &b->s.heard.n, 2);
	WANT_INT(b->s.heard.m.granted.rc, LY_OK);
	hear(b->v, LY_COMMAND, &init, LY_OK);
	until(&b->s, &b->s.heard.n, 3);
	b->tpm = accept(b->door, NULL, NULL);
	WANT(b->tpm >= 0);
}

static void
finish(struct bench *b)
{
	ly_visitor_free(b->v);
	close(b->tpm);
	close(b->door);
	end(&b->s);
}

/* The TPM has been asked for these PCRs, and for nothing else. */
static void
want_asked(struct bench *b, uint32_t mask)
{
	uint8_t buf[64], want[20] = { 0x80, 1, 0, 0, 0, 20, 0, 0, 1, 0x7e };
	struct ly_wr w = ly_wr_over(want + 10, 10);

	turns(b);
	ly_pcr_selection_put(mask, &w);
	WANT_INT(recv(b->tpm, buf, sizeof(buf), MSG_DONTWAIT), 20);
	WANT_MEM(buf, want, sizeof(want));
}

static void
want_silence(struct bench *b)
{
	uint8_t buf[64];

	turns(b);
	WANT_INT(recv(b->tpm, buf, sizeof(buf), MSG_DONTWAIT), -1);
}

/* PCR i is 32 bytes of i. */
static void
say_pcrs(struct bench *b, uint32_t mask)
{
	uint8_t out[28 + 8 * 34];
	struct ly_wr w = ly_wr_over(out, sizeof(out));

	ly_wr_u16(&w, 0x8001);
	ly_wr_u32(&w, sizeof(out));
	ly_wr_u32(&w, 0);
	ly_wr_u32(&w, 4711);
	ly_pcr_selection_put(mask, &w);
	ly_wr_u32(&w, 8);
	for (unsigned i = 0; i < 16; i++) {
		if (!(mask & 1u << i))
			continue;
		ly_wr_u16(&w, 32);
		for (unsigned n = 0; n < 32; n++)
			ly_wr_u8(&w, (uint8_t)i);
	}
	WANT(!w.bad && ly_wr_len(&w) == sizeof(out));
	WANT_INT(send(b->tpm, out, sizeof(out), 0), sizeof(out));
	turns(b);
}

static void
want_place(const struct bench *b, uint64_t seq)
{
	uint8_t pcrs[16][32], digest[32];

	for (unsigned i = 0; i < 16; i++)
		memset(pcrs[i], (int)i, 32);
	ly_sha256(pcrs, sizeof(pcrs), digest);
	WANT_INT(b->told.n, 1);
	WANT_INT(b->told.rc, LY_OK);
	WANT_MEM(b->told.place.vpcrs, digest, 32);
	WANT_INT(b->told.place.epoch, 1);
	WANT_INT(b->told.place.seq, seq);
	WANT_STR(b->told.place.holder, host_a);
}

TEST(a_home_says_who_holds_the_vm_by_which_key_and_its_pcrs)
{
	struct bench b;

	begin(&b);
	ask(&b);
	want_asked(&b, 0x00ff);
	say_pcrs(&b, 0x00ff);
	want_asked(&b, 0xff00);
	say_pcrs(&b, 0xff00);
	want_place(&b, 1);
	WANT_MEM(b.told.place.holder_hk, key, 32);
	WANT_INT(b.s.heard.n, 3); /* the guest's host has heard nothing */
	finish(&b);
}

TEST(a_guests_command_waits_for_the_home_and_is_answered_with_its_own)
{
	uint8_t buf[64];
	struct bench b;

	begin(&b);
	ask(&b);
	want_asked(&b, 0x00ff);
	send_random(&b, 2);
	want_silence(&b);
	say_pcrs(&b, 0x00ff);
	want_asked(&b, 0xff00); /* both halves before the guest */
	say_pcrs(&b, 0xff00);
	want_place(&b, 1);
	WANT_INT(recv(b.tpm, buf, sizeof(buf), MSG_DONTWAIT), sizeof(random8));
	WANT_MEM(buf, random8, sizeof(random8));
	WANT_INT(b.s.heard.n, 3);
	WANT_INT(send(b.tpm, eight, sizeof(eight), 0), sizeof(eight));
	turns(&b);
	WANT_INT(b.s.heard.n, 4);
	WANT_INT(b.s.heard.m.answer.seq, 2);
	WANT_MEM(b.s.heard.m.answer.body.at, eight, sizeof(eight));
	finish(&b);
}

TEST(a_home_waits_for_a_guests_command)
{
	uint8_t buf[64];
	struct bench b;

	begin(&b);
	send_random(&b, 2);
	WANT_INT(recv(b.tpm, buf, sizeof(buf), 0), sizeof(random8));
	ask(&b);
	want_silence(&b);
	WANT_INT(send(b.tpm, eight, sizeof(eight), 0), sizeof(eight));
	want_asked(&b, 0x00ff);
	say_pcrs(&b, 0x00ff);
	want_asked(&b, 0xff00);
	say_pcrs(&b, 0xff00);
	want_place(&b, 2);
	finish(&b);
}

TEST(a_tpm_is_asked_for_one_at_a_time)
{
	struct told second = { .n = 0 };
	struct bench b;

	begin(&b);
	ask(&b);
	ly_homes_vpcrs(b.s.agent.homes, &vm, on_place, &second);
	WANT_INT(second.n, 1);
	WANT_INT(second.rc, LY_BUSY);
	ly_homes_vpcrs(b.s.agent.homes, &vm2, on_place, &second);
	WANT_INT(second.rc, LY_UNKNOWN);
	want_asked(&b, 0x00ff);
	finish(&b);
	WANT_INT(b.told.n, 1); /* the agent ends */
	WANT_INT(b.told.rc, LY_OUTSIDE);
}

TEST(a_tpm_that_hangs_up_has_failed_and_the_guest_loses_no_command)
{
	struct bench b;

	begin(&b);
	ask(&b);
	want_asked(&b, 0x00ff);
	close(b.tpm);
	b.tpm = -1;
	turns(&b);
	WANT_INT(b.told.n, 1);
	WANT_INT(b.told.rc, LY_FAILED);
	WANT_INT(b.s.heard.n, 3);
	finish(&b);
}

TEST(an_answer_that_is_not_those_pcrs_is_none)
{
	struct bench b;

	begin(&b);
	ask(&b);
	want_asked(&b, 0x00ff);
	say_pcrs(&b, 0xff00);
	WANT_INT(b.told.n, 1);
	WANT_INT(b.told.rc, LY_OUTSIDE);
	finish(&b);
}

TEST_MAIN()
