/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a home outlives its agent: it comes back the same, what cannot be is
 * refused, and it is joined with a record that may be one write further. The
 * layout's number is in here, so that who changes a table is told to count
 * LY_HOME_KEPT_VERSION up.
 */
#include "agent/home/kept.h"
#include "tests/test.h"

#define HOLDER "spiffe://north/host/a"

static const struct ly_id vm = { { 1 } }, mig = { { 2 } };
static const uint8_t hash[32] = { 7, 7, 7 };

static struct ly_home core;
static struct ly_home_shell shell;
static struct ly_tpm_kept tpm;
static struct ly_record rec; /* on disk */
static struct ly_home woken;
static uint8_t buf[LY_HOME_KEPT_MAX];
static size_t len;
static struct ly_why why;

/* In epoch 3, command 9 runs; the record was written at command 5. */
static void
make(void)
{
	rec = (struct ly_record){ .vm = vm,
		.state = LY_REC_ATTACHED,
		.epoch = 3,
		.holder = HOLDER,
		.seq = 5 };
	core = (struct ly_home){ .rec = rec,
		.tpm = LY_TPM_RUNNING,
		.door = 11,
		.staged = 12,
		.seq = 9,
		.op = LY_OP_TPM,
		.said = 6,
		.forgot = true,
		.left_ms = 100,
		.taken_ms = 200 };
	memcpy(core.hash, hash, sizeof(hash));
	shell = (struct ly_home_shell){ .code = 0x182, .locality = 2 };
	tpm = (struct ly_tpm_kept){ .way = LY_TPM_SOCKET,
		.spec = 0x1122334455667788,
		.busy = true,
		.phase = 2,
		.op = LY_OP_TPM,
		.wanted = 2,
		.locality = 0xff,
		.asked_ms = 77 };
	len = ly_home_kept_pack(&core, &shell, &tpm, buf);
}

/* As before, but command 9 has been answered. */
static void
make_idle(void)
{
	make();
	core.tpm = LY_TPM_IDLE;
	core.kept = true;
	shell.answer_len = 10;
	tpm.busy = false;
	tpm.phase = 0;
	len = ly_home_kept_pack(&core, &shell, &tpm, buf);
}

static enum ly_rc
back(void)
{
	struct ly_home_kept k;
	enum ly_rc rc = ly_home_kept_unpack(buf, len, &k, &why);

	if (rc == LY_OK) {
		core = k.core;
		shell = k.shell;
		tpm = k.tpm;
	}
	return rc;
}

static enum ly_rc
again(void)
{
	len = ly_home_kept_pack(&core, &shell, &tpm, buf);
	return back();
}

static enum ly_rc
wake(void)
{
	enum ly_rc rc = again();

	return rc == LY_OK ?
	    ly_home_wake(&woken, &rec, &core, 50000, 10000, &why) :
	    rc;
}

TEST(all_of_a_home_comes_back_as_it_was)
{
	struct ly_home_shell s;
	struct ly_tpm_kept t;
	struct ly_home h;

	make();
	h = core;
	s = shell;
	t = tpm;
	memset(&core, 0xaa, sizeof(core));
	memset(&shell, 0xaa, sizeof(shell));
	memset(&tpm, 0xaa, sizeof(tpm));
	WANT_INT(back(), LY_OK);
	WANT(ly_id_same(&core.rec.vm, &vm));
	WANT_INT(core.rec.epoch, h.rec.epoch);
	WANT_INT(core.tpm, h.tpm);
	WANT_INT(core.seq, h.seq);
	WANT_MEM(core.hash, h.hash, sizeof(h.hash));
	WANT_INT(core.said, h.said);
	WANT(!core.kept && !core.blind && !core.dirty);
	WANT_INT(core.door, 11);
	WANT_INT(core.left_ms, 100);
	WANT_INT(core.taken_ms, 200);
	WANT(core.forgot);
	WANT_INT(shell.code, s.code);
	WANT_INT(shell.locality, s.locality);
	WANT_INT(tpm.way, t.way);
	WANT(tpm.spec == t.spec && tpm.busy);
	WANT_INT(tpm.phase, t.phase);
	WANT_INT(tpm.asked_ms, t.asked_ms);
}

TEST(the_longest_fits)
{
	WANT(2 + ly_message_max(&ly_home_kept_table) +
		ly_message_max(&ly_home_shell_table) +
		ly_message_max(&ly_tpm_kept_table) <=
	    LY_HOME_KEPT_MAX);
}

TEST(another_version_is_refused)
{
	make();
	buf[1]++;
	WANT_INT(back(), LY_MALFORMED);
	WANT(strstr(why.text, "version"));
}

TEST(who_changes_a_table_counts_the_version_up)
{
	uint32_t sum = ly_message_layout(&ly_home_kept_table) ^
	    ly_message_layout(&ly_home_shell_table) * 3 ^
	    ly_message_layout(&ly_tpm_kept_table) * 5;

	WANT_INT(LY_HOME_KEPT_VERSION, 3);
	WANT_INT(sum, 0x40547d6c);
}

TEST(no_part_of_it_is_taken_for_all)
{
	make();
	for (size_t n = len; n-- > 0;) {
		len = n;
		WANT_INT(back(), LY_MALFORMED);
	}
	make();
	buf[len++] = 0;
	WANT_INT(back(), LY_MALFORMED);
}

TEST(what_contradicts_itself_is_refused)
{
	make();
	core.tpm = LY_TPM_IDLE;
	WANT_INT(again(), LY_MALFORMED);
	make();
	core.kept = true;
	shell.answer_len = 10;
	WANT_INT(again(), LY_MALFORMED);
	make();
	core.blind = true;
	WANT_INT(again(), LY_MALFORMED);
	make();
	core.peeking = true; /* and the guest's runs */
	WANT_INT(again(), LY_MALFORMED);
	make_idle();
	core.peeking = true; /* on a TPM that is not busy */
	WANT_INT(again(), LY_MALFORMED);
	make();
	tpm.way = LY_TPM_CLOSED;
	WANT_INT(again(), LY_MALFORMED);
	make();
	tpm.phase = 0;
	WANT_INT(again(), LY_MALFORMED);
	make_idle();
	tpm.later = 12;
	WANT_INT(again(), LY_MALFORMED);
	make_idle();
	shell.answer_len = 0;
	WANT_INT(again(), LY_MALFORMED);
}

static uint32_t
chance(uint32_t below)
{
	static uint32_t x = 42;

	x = x * 1664525 + 1013904223;
	return (x >> 8) % below;
}

/* Whatever is taken can be packed again, and gives the same bytes. */
TEST(random_damage_is_refused_or_harmless)
{
	uint8_t copy[LY_HOME_KEPT_MAX];
	unsigned taken = 0;

	for (int i = 0; i < 20000; i++) {
		make();
		for (unsigned n = 1 + chance(4); n > 0; n--)
			buf[chance((uint32_t)len)] = (uint8_t)chance(256);
		if (back() != LY_OK)
			continue;
		taken++;
		memcpy(copy, buf, len);
		WANT_INT(ly_home_kept_pack(&core, &shell, &tpm, buf), len);
		WANT_MEM(buf, copy, len);
	}
	WANT(taken > 0);
}

TEST(in_the_same_epoch_what_was_kept_stands)
{
	make_idle();
	WANT_INT(wake(), LY_OK);
	WANT_INT(woken.seq, 9);
	WANT(woken.kept && !woken.blind);
	WANT_MEM(woken.hash, hash, sizeof(hash));
	WANT_INT(woken.tpm, LY_TPM_IDLE);
	WANT_STR(woken.rec.holder, HOLDER);
	WANT_INT(woken.rec.seq, 5);
	WANT(!woken.door && !woken.staged && !woken.writing);
}

/* The holder's link is down, too; the answer waits for it. */
TEST(a_command_that_ran_on_is_answered_once_and_never_run_again)
{
	struct ly_home_event answer = { .kind = LY_HOME_ANSWER, .ok = true };
	struct ly_home_event resume = { .kind = LY_HOME_RESUME,
		.door = 21,
		.who = HOLDER,
		.epoch = 3,
		.seq = 9,
		.waiting = true,
		.secret = rec.secret };
	struct ly_home_event command = { .kind = LY_HOME_COMMAND,
		.door = 21,
		.who = HOLDER,
		.epoch = 3,
		.seq = 9,
		.op = LY_OP_TPM,
		.hash = hash };
	struct ly_home_todos todo = { .n = 0 };

	make();
	WANT_INT(wake(), LY_OK);
	WANT_INT(woken.tpm, LY_TPM_RUNNING);
	ly_home_step(&woken, &answer, &todo);
	WANT_INT(todo.n, 1);
	WANT_INT(todo.act[0].act, LY_DO_KEEP);
	todo.n = 0;
	ly_home_step(&woken, &resume, &todo);
	WANT_INT(todo.act[0].act, LY_DO_GRANT);
	WANT_INT(todo.act[0].rc, LY_OK);
	todo.n = 0;
	ly_home_step(&woken, &command, &todo);
	WANT_INT(todo.n, 1);
	WANT_INT(todo.act[0].act, LY_DO_ANSWER);
}

/* The TPM works on what the agent before us has asked for itself. */
TEST(a_look_that_was_under_way_is_known_for_one)
{
	struct ly_home_event answer = { .kind = LY_HOME_ANSWER, .ok = true };
	struct ly_home_todos todo = { .n = 0 };

	make_idle();
	core.peeking = true;
	tpm.busy = true;
	tpm.phase = 2;
	WANT_INT(wake(), LY_OK);
	WANT(woken.peeking && woken.tpm == LY_TPM_IDLE);
	ly_home_step(&woken, &answer, &todo);
	WANT_INT(todo.n, 1);
	WANT_INT(todo.act[0].act, LY_DO_PEEKED);
	WANT(!woken.peeking && woken.kept); /* the guest's answer is there */
}

TEST(a_seq_used_twice_is_known_after_a_death_too)
{
	static const uint8_t other[32] = { 8 };
	struct ly_home_event command = { .kind = LY_HOME_COMMAND,
		.door = 21,
		.who = HOLDER,
		.epoch = 3,
		.seq = 9,
		.hash = other };
	struct ly_home_todos todo = { .n = 0 };

	make_idle();
	WANT_INT(wake(), LY_OK);
	woken.door = 21;
	ly_home_step(&woken, &command, &todo);
	WANT_INT(todo.act[todo.n - 1].act, LY_DO_REFUSE);
	WANT_INT(woken.tpm, LY_TPM_BROKEN);
}

TEST(a_claim_that_was_written_leaves_the_tpm_as_it_was)
{
	struct ly_wr w = ly_wr_over(rec.settled[0], LY_SETTLED_LEN);

	make_idle();
	rec.epoch = 4;
	rec.seq = 9;
	w = ly_wr_over(rec.settled[0], LY_SETTLED_LEN);
	ly_wr_bytes(&w, mig.b, sizeof(mig.b));
	ly_wr_u8(&w, LY_FATE_CLAIMED);
	ly_wr_u64(&w, 4);
	WANT_INT(wake(), LY_OK);
	WANT_INT(woken.tpm, LY_TPM_IDLE);
	WANT_INT(woken.seq, 9);
	WANT(!woken.kept && !woken.said);
}

TEST(an_attach_that_was_written_waits_for_the_reset)
{
	make_idle();
	rec.epoch = 4;
	rec.seq = 9;
	WANT_INT(wake(), LY_OK);
	WANT_INT(woken.tpm, LY_TPM_BROKEN);
	WANT(!woken.kept);
	WANT_INT(woken.seq, 9);
}

/* Twice without a word of the holder, after a loss of power. */
TEST(a_home_that_knew_nothing_still_knows_nothing)
{
	make_idle();
	core.blind = true;
	core.kept = false;
	WANT_INT(wake(), LY_OK);
	WANT(woken.blind);
	make_idle();
	core.blind = true;
	core.kept = false;
	rec.epoch = 4;
	rec.seq = 9;
	WANT_INT(wake(), LY_OK);
	WANT(!woken.blind);
}

TEST(a_command_in_doubt_that_the_record_counts_is_still_in_doubt)
{
	make_idle();
	core.tpm = LY_TPM_BROKEN;
	core.kept = false;
	rec.seq = 10;
	WANT_INT(wake(), LY_OK);
	WANT_INT(woken.seq, 9);
	WANT_INT(woken.tpm, LY_TPM_BROKEN);
}

/* Its door was open when the agent died, so it was told so by then. */
TEST(a_lease_in_time_may_have_begun_as_the_agent_died)
{
	make_idle();
	WANT_INT(wake(), LY_OK);
	WANT_INT(woken.left_ms, 60000);
	WANT_INT(woken.taken_ms, 200);
	WANT(woken.forgot);
	make_idle();
	core.door = 0;
	WANT_INT(wake(), LY_OK);
	WANT_INT(woken.left_ms, 100);
	make_idle();
	rec.epoch = 4; /* another took it */
	rec.seq = 9;
	WANT_INT(wake(), LY_OK);
	WANT_INT(woken.taken_ms, 60000);
}

TEST(an_old_record_is_not_served_from)
{
	make_idle();
	rec.epoch = 2;
	WANT_INT(wake(), LY_FENCED);
	WANT(strstr(why.text, "epoch 2"));
}

TEST(what_does_not_belong_together_is_refused)
{
	make_idle();
	rec.vm = mig;
	WANT_INT(wake(), LY_MALFORMED);
	make_idle();
	rec.seq = 11;
	WANT_INT(wake(), LY_MALFORMED);
	make_idle();
	rec.epoch = 4; /* began before command 9 */
	WANT_INT(wake(), LY_MALFORMED);
	make();
	rec.state = LY_REC_DETACHED;
	WANT_INT(wake(), LY_MALFORMED);
	make();
	rec.state = LY_REC_QUIESCED;
	WANT_INT(wake(), LY_MALFORMED);
	make();
	rec.epoch = 4;
	rec.seq = 9;
	WANT_INT(wake(), LY_MALFORMED);
}

TEST_MAIN()
