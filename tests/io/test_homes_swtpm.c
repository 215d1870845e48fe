/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A home looks at a real TPM: swtpm, by its socket and by a TCTI, which is a
 * connection that ends with the agent.
 */
#include "agent/io/homes.h"
#include "lib/attest/policy.h"
#include "tests/io/swtpm_proc.h"
#include "tests/unit/homes_scene.h"

struct told {
	unsigned n;
	enum ly_rc rc;
	struct ly_home_place place;
};

static struct scene s;
static struct swtpm_proc tpm;
static struct ly_visitor *v;
static struct told told;
static uint8_t secret[LY_SECRET_LEN];
static uint64_t seq;

static void
on_place(void *arg, enum ly_rc rc, const struct ly_home_place *place,
    const char *text)
{
	(void)arg, (void)text;
	told.n++;
	told.rc = rc;
	if (rc == LY_OK)
		told.place = *place;
}

static void
send_op(enum ly_op op, const void *body, size_t len)
{
	unsigned n = s.heard.n;
	struct ly_command c = { .op = (uint8_t)op,
		.epoch = 1,
		.seq = ++seq,
		.body = { body, len } };

	hear(v, LY_COMMAND, &c, LY_OK);
	until(&s, &s.heard.n, n + 1);
	WANT_INT(s.heard.type, LY_ANSWER);
	WANT_INT(s.heard.m.answer.seq, seq);
}

/* The guest's; it has to succeed. */
static void
run(const void *body, size_t len)
{
	struct ly_rd r;

	send_op(LY_OP_TPM, body, len);
	r = ly_rd_over(s.heard.m.answer.body.at, s.heard.m.answer.body.len);
	(void)ly_rd_bytes(&r, 6);
	WANT_INT(ly_rd_u32(&r), 0);
}

static void
startup(void)
{
	static const uint8_t clear[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0,
		0 };

	send_op(LY_OP_INIT, NULL, 0);
	run(clear, sizeof(clear));
}

/* TPM2_PCR_Extend, SHA-256. */
static void
extend(unsigned pcr, uint8_t with)
{
	uint8_t buf[128];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_u16(&w, 0x8002);
	ly_wr_u32(&w, 10 + 4 + 4 + 9 + 4 + 2 + 32);
	ly_wr_u32(&w, 0x182);
	ly_wr_u32(&w, pcr);
	ly_wr_u32(&w, 9);
	ly_wr_u32(&w, 0x40000009);
	ly_wr_uint(&w, 0, 5);
	ly_wr_u32(&w, 1);
	ly_wr_u16(&w, 0x000b);
	for (unsigned i = 0; i < 32; i++)
		ly_wr_u8(&w, with);
	WANT(!w.bad);
	run(buf, ly_wr_len(&w));
}

static void
want_pcrs(const uint8_t pcr[16][32])
{
	uint8_t digest[32];

	ly_sha256(pcr, 16 * 32, digest);
	WANT_INT(told.rc, LY_OK);
	WANT_MEM(told.place.vpcrs, digest, 32);
	WANT_INT(told.place.seq, seq);
}

static void
look(void)
{
	unsigned n = told.n;

	ly_homes_vpcrs(s.agent.homes, &vm, on_place, NULL);
	until(&s, &told.n, n + 1);
}

static void
begin(const char *tcti)
{
	if (!swtpm_proc_start(&tpm))
		test_fail(__FILE__, __LINE__, "no swtpm");
	memset(&told, 0, sizeof(told));
	seq = 0;
	scene_of(&s);
	ly_print(s.tpms[0].tcti, sizeof(s.tpms[0].tcti), "%s%s", tcti,
	    tpm.path);
	for (unsigned i = 0; i < LY_COUNT(s.tpms); i++)
		s.tpms[i].patience_s = 300;
	open_homes(&s);
	bound(&s, &vm);
	v = visitor(&s);
	attach(&s, v, &vm, 0);
	until(&s, &s.heard.n, 1);
	WANT_INT(s.heard.m.granted.rc, LY_OK);
	memcpy(secret, s.heard.m.granted.secret, sizeof(secret));
	startup();
}

static void
finish(void)
{
	ly_visitor_free(v);
	end(&s);
	swtpm_proc_end(&tpm);
}

static void
extend_and_look(const char *tcti)
{
	uint8_t pcr[16][32] = { { 0 } }, before[64];

	begin(tcti);
	look();
	want_pcrs(pcr);
	extend(4, 0xab);
	extend(11, 0xcd);
	memset(before, 0, 32);
	memset(before + 32, 0xab, 32);
	ly_sha256(before, 64, pcr[4]);
	memset(before + 32, 0xcd, 32);
	ly_sha256(before, 64, pcr[11]);
	look();
	want_pcrs(pcr);
	extend(16, 1); /* not one of them */
	look();
	want_pcrs(pcr);
	finish();
}

TEST(a_home_reads_what_its_guest_has_extended)
{
	extend_and_look("socket:");
}

TEST(a_home_reads_it_through_a_tcti_too)
{
	extend_and_look("swtpm:path=");
}

/* Killed while it looks; the next one serves the guest as before. */
static void
die_looking(const char *tcti)
{
	struct ly_resume r = { .vm = vm, .epoch = 1 };

	begin(tcti);
	extend(4, 0xab);
	ly_homes_vpcrs(s.agent.homes, &vm, on_place, NULL);
	WANT_INT(told.n, 0);
	ly_homes_close(s.agent.homes);
	ly_visitor_free(v);
	ly_keep_close(s.agent.keep, false);
	uv_run(&s.loop, UV_RUN_DEFAULT);
	WANT_INT(told.n, 1); /* the agent ends */
	open_homes(&s);
	v = visitor(&s);
	r.seq = seq;
	memcpy(r.secret, secret, sizeof(r.secret));
	hear(v, LY_RESUME, &r, LY_OK);
	WANT_INT(s.heard.type, LY_GRANTED);
	WANT_INT(s.heard.m.granted.rc, LY_OK);
	extend(5, 0xcd); /* no failure, and no reset */
	look();
	WANT_INT(told.rc, LY_OK);
	finish();
}

TEST(an_agent_that_dies_while_it_looks_costs_the_guest_nothing)
{
	die_looking("socket:");
}

TEST(nor_if_the_tpm_is_reached_by_a_tcti)
{
	die_looking("swtpm:path=");
}

TEST_MAIN()
