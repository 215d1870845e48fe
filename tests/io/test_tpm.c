/* SPDX-License-Identifier: Apache-2.0 */
/* agent/io/tpm: a TPM behind a TCTI and behind a socket, well and unwell, and
 * after a death of the agent. */
#include "agent/io/tpm.h"

#include "tests/io/kept.h"
#include "tests/io/swtpm_proc.h"
#include "tests/test.h"

#include <sys/socket.h>
#include <sys/un.h>

struct owner {
	uv_loop_t loop;
	struct ly_keep *keep;
	struct ly_slot *slot;
	struct ly_tpm *tpm;
	uint8_t body[LY_TPM_MAX];
	size_t len;
	unsigned answers, deaths;
	char why[256];
	bool closed;
};

/* All that is kept is the way to the TPM, as it is in memory. */
static void
commit(struct owner *o)
{
	ly_slot_commit(o->slot, ly_tpm_kept(o->tpm),
	    sizeof(struct ly_tpm_kept));
	ly_tpm_settle(o->tpm);
}

static void
on_answer(void *arg, const uint8_t *body, size_t len)
{
	struct owner *o = arg;

	memcpy(o->body, body, len);
	o->len = len;
	o->answers++;
	commit(o);
	uv_stop(&o->loop);
}

static void
on_step(void *arg)
{
	commit(arg);
}

static void
submit(struct owner *o, enum ly_op op, uint8_t locality, const void *body,
    size_t len)
{
	ly_tpm_submit(o->tpm, op, locality, body, len);
	commit(o);
}

static void
on_dead(void *arg, const char *why)
{
	struct owner *o = arg;

	snprintf(o->why, sizeof(o->why), "%s", why);
	o->deaths++;
	uv_stop(&o->loop);
}

static void
on_closed(void *arg)
{
	((struct owner *)arg)->closed = true;
}

static const struct ly_tpm_ops ops = { on_answer, on_dead, on_step };

static void
open_tpm(struct owner *o, const char *spec)
{
	struct ly_why why = { "" };

	memset(o, 0, sizeof(*o));
	WANT_INT(uv_loop_init(&o->loop), 0);
	o->keep = kept_open(&o->loop);
	o->slot = ly_slot_new(o->keep, LY_KEEP_HOME);
	if (ly_tpm_open(&o->loop, spec, o->slot, &ops, o, &o->tpm, &why) !=
	    LY_OK)
		test_fail(__FILE__, __LINE__, "%s: %s", spec, why.text);
}

static void
close_tpm(struct owner *o)
{
	ly_tpm_close(o->tpm, on_closed);
	ly_slot_free(o->slot);
	ly_keep_close(o->keep, true);
	uv_run(&o->loop, UV_RUN_DEFAULT);
	WANT(o->closed);
	WANT_INT(uv_loop_close(&o->loop), 0);
}

static void
give_up(uv_timer_t *timer)
{
	(void)timer;
	test_fail(__FILE__, __LINE__, "no answer for 20 s");
}

/* Runs the loop until something is told. */
static void
await(struct owner *o)
{
	unsigned was = o->answers + o->deaths;
	uv_timer_t timer;

	uv_timer_init(&o->loop, &timer);
	uv_timer_start(&timer, give_up, 20000, 0);
	while (o->answers + o->deaths == was)
		uv_run(&o->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&o->loop, UV_RUN_NOWAIT);
}

/* The answer's code, or an op's result. */
static uint32_t
ask(struct owner *o, enum ly_op op, uint8_t locality, const void *body,
    size_t len)
{
	struct ly_rd r;

	submit(o, op, locality, body, len);
	WANT_INT(o->deaths, 0);
	await(o);
	WANT_INT(o->deaths, 0);
	r = ly_rd_over(o->body, o->len);
	if (op == LY_OP_TPM)
		(void)ly_rd_bytes(&r, 6);
	else
		WANT_INT(o->len, 4);
	return ly_rd_u32(&r);
}

static const uint8_t startup[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0 };
static const uint8_t random8[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8 };

/* PCR_Extend with 32 bytes of `with`, PCR_Reset, PCR_Read (SHA-256). */
static uint32_t
extend(struct owner *o, uint8_t pcr, uint8_t with, uint8_t locality)
{
	uint8_t buf[65] = { 0x80, 2, 0, 0, 0, 65, 0, 0, 1, 0x82, 0, 0, 0, pcr,
		0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0xb };

	memset(buf + 33, with, 32);
	return ask(o, LY_OP_TPM, locality, buf, sizeof(buf));
}

static uint32_t
reset_pcr(struct owner *o, uint8_t pcr, uint8_t locality)
{
	uint8_t buf[] = { 0x80, 2, 0, 0, 0, 27, 0, 0, 1, 0x3d, 0, 0, 0, pcr, 0,
		0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0 };

	return ask(o, LY_OP_TPM, locality, buf, sizeof(buf));
}

/* The first byte of a PCR says enough. */
static uint8_t
read_pcr(struct owner *o, unsigned pcr)
{
	uint8_t buf[] = { 0x80, 1, 0, 0, 0, 20, 0, 0, 1, 0x7e, 0, 0, 0, 1, 0,
		0xb, 3, 0, 0, 0 };

	buf[17 + pcr / 8] = (uint8_t)(1u << pcr % 8);
	WANT_INT(ask(o, LY_OP_TPM, 0, buf, sizeof(buf)), 0);
	WANT_INT(o->len, 62);
	return o->body[30];
}

/* Calls `test` with each way to one swtpm. */
static void
both_ways(void (*test)(struct owner *o))
{
	struct swtpm_proc p;
	struct owner o;
	char spec[128];

	if (!swtpm_proc_start(&p))
		SKIP("no swtpm: make deps");
	snprintf(spec, sizeof(spec), "swtpm:path=%s", p.path);
	open_tpm(&o, spec);
	test(&o);
	close_tpm(&o);
	snprintf(spec, sizeof(spec), "socket:%s", p.path);
	open_tpm(&o, spec);
	test(&o);
	close_tpm(&o);
	swtpm_proc_end(&p);
}

static void
use(struct owner *o)
{
	uint8_t first[8];

	WANT_INT(ask(o, LY_OP_INIT, 0, NULL, 0), 0);
	WANT_INT(ask(o, LY_OP_TPM, 0, startup, sizeof(startup)), 0);
	WANT_INT(ask(o, LY_OP_TPM, 0, random8, sizeof(random8)), 0);
	WANT_INT(o->len, 20);
	memcpy(first, o->body + 12, 8);
	for (unsigned i = 0; i < 50; i++)
		WANT_INT(ask(o, LY_OP_TPM, 0, random8, sizeof(random8)), 0);
	WANT(memcmp(first, o->body + 12, 8) != 0);
}

TEST(commands_are_answered_both_ways)
{
	both_ways(use);
}

static void
resets(struct owner *o)
{
	WANT(ly_tpm_resets(o->tpm));
	WANT_INT(ask(o, LY_OP_INIT, 0, NULL, 0), 0);
	WANT_INT(ask(o, LY_OP_TPM, 0, startup, sizeof(startup)), 0);
	WANT_INT(read_pcr(o, 5), 0);
	WANT_INT(extend(o, 5, 1, 0), 0);
	WANT(read_pcr(o, 5) != 0);
	WANT_INT(ask(o, LY_OP_TPM, 0, startup, sizeof(startup)),
	    LY_TPM_RC_INITIALIZE);
	WANT_INT(ask(o, LY_OP_INIT, 0, NULL, 0), 0);
	WANT_INT(ask(o, LY_OP_TPM, 0, random8, sizeof(random8)),
	    LY_TPM_RC_INITIALIZE);
	WANT_INT(ask(o, LY_OP_TPM, 0, startup, sizeof(startup)), 0);
	WANT_INT(read_pcr(o, 5), 0);
}

TEST(a_reset_clears_the_pcrs_both_ways)
{
	both_ways(resets);
}

static void
localities(struct owner *o)
{
	WANT_INT(ask(o, LY_OP_INIT, 0, NULL, 0), 0);
	WANT_INT(ask(o, LY_OP_TPM, 0, startup, sizeof(startup)), 0);
	WANT_INT(reset_pcr(o, 20, 0), LY_TPM_RC_LOCALITY);
	WANT_INT(reset_pcr(o, 20, 2), 0);
	WANT_INT(reset_pcr(o, 20, 0), LY_TPM_RC_LOCALITY);
	WANT_INT(reset_pcr(o, 20, 2), 0);
	WANT_INT(ask(o, LY_OP_INIT, 0, NULL, 0), 0);
	WANT_INT(ask(o, LY_OP_TPM, 0, startup, sizeof(startup)), 0);
	WANT_INT(reset_pcr(o, 20, 2), 0);
}

TEST(a_locality_goes_with_its_command_both_ways)
{
	both_ways(localities);
}

TEST(a_measured_launch_reaches_the_socket_of_a_swtpm_but_no_tcti)
{
	struct swtpm_proc p;
	struct owner o;
	char spec[128];

	if (!swtpm_proc_start(&p))
		SKIP("no swtpm: make deps");
	snprintf(spec, sizeof(spec), "socket:%s", p.path);
	open_tpm(&o, spec);
	WANT_INT(ask(&o, LY_OP_INIT, 0, NULL, 0), 0);
	WANT_INT(ask(&o, LY_OP_TPM, 0, startup, sizeof(startup)), 0);
	WANT_INT(read_pcr(&o, 17), 0xff);
	WANT_INT(ask(&o, LY_OP_HASH_START, 4, NULL, 0), 0);
	WANT_INT(ask(&o, LY_OP_HASH_DATA, 4, "code", 4), 0);
	WANT_INT(ask(&o, LY_OP_HASH_END, 4, NULL, 0), 0);
	WANT(read_pcr(&o, 17) != 0xff);
	WANT_INT(ask(&o, LY_OP_RESET_ESTABLISHED, 3, NULL, 0), 0);
	close_tpm(&o);
	snprintf(spec, sizeof(spec), "swtpm:path=%s", p.path);
	open_tpm(&o, spec);
	WANT(ask(&o, LY_OP_HASH_START, 4, NULL, 0) != 0);
	close_tpm(&o);
	swtpm_proc_end(&p);
}

TEST(a_tpm_without_a_control_channel_says_what_it_cannot_do)
{
	struct swtpm_proc p;
	struct owner o;
	char spec[128], bare[96];

	if (!swtpm_proc_start(&p))
		SKIP("no swtpm: make deps");
	snprintf(bare, sizeof(bare), "%s/bare", p.dir);
	WANT_INT(symlink(p.path, bare), 0);
	snprintf(spec, sizeof(spec), "socket:%s", bare);
	open_tpm(&o, spec);
	WANT(!ly_tpm_resets(o.tpm));
	WANT_INT(ask(&o, LY_OP_TPM, 0, startup, sizeof(startup)), 0);
	WANT_INT(ask(&o, LY_OP_INIT, 0, NULL, 0), 0);
	WANT_INT(ask(&o, LY_OP_TPM, 3, random8, sizeof(random8)),
	    LY_TPM_RC_LOCALITY);
	WANT(ask(&o, LY_OP_HASH_START, 4, NULL, 0) != 0);
	WANT_INT(ask(&o, LY_OP_TPM, 0, startup, sizeof(startup)),
	    LY_TPM_RC_INITIALIZE);
	close_tpm(&o);
	swtpm_proc_end(&p);
}

/* swtpm dies; the next command, or silence, tells. */
static void
death(const char *way, bool ask_first)
{
	struct swtpm_proc p;
	struct owner o;
	char spec[128];

	if (!swtpm_proc_start(&p))
		SKIP("no swtpm: make deps");
	snprintf(spec, sizeof(spec), "%s%s", way, p.path);
	open_tpm(&o, spec);
	WANT_INT(ask(&o, LY_OP_TPM, 0, startup, sizeof(startup)), 0);
	swtpm_proc_end(&p);
	if (ask_first)
		submit(&o, LY_OP_TPM, 0, random8, sizeof(random8));
	if (o.deaths == 0)
		await(&o);
	WANT_INT(o.deaths, 1);
	WANT_INT(o.answers, 1);
	WANT(strlen(o.why) > 0);
	submit(&o, LY_OP_TPM, 0, random8, sizeof(random8));
	uv_run(&o.loop, UV_RUN_NOWAIT);
	WANT_INT(o.deaths + o.answers, 2);
	close_tpm(&o);
}

TEST(a_tpm_that_dies_is_told_of_once)
{
	death("socket:", false);
	death("socket:", true);
	death("swtpm:path=", true);
}

/* A listener of ours in the TPM's place. */
static int
listener(struct sockaddr_un *at, char *dir)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	WANT(mkdtemp(dir) != NULL);
	at->sun_family = AF_UNIX;
	snprintf(at->sun_path, sizeof(at->sun_path), "%s/tpm", dir);
	WANT_INT(bind(fd, (struct sockaddr *)at, sizeof(*at)), 0);
	WANT_INT(listen(fd, 1), 0);
	return fd;
}

static void
answers(const uint8_t *rsp, size_t len, bool good)
{
	char dir[] = "/tmp/lanyard-test-XXXXXX";
	struct sockaddr_un at = { 0 };
	struct owner o;
	char spec[128];
	int fd = listener(&at, dir), tpm;

	snprintf(spec, sizeof(spec), "socket:%s", at.sun_path);
	open_tpm(&o, spec);
	tpm = accept(fd, NULL, NULL);
	submit(&o, LY_OP_TPM, 0, random8, sizeof(random8));
	for (size_t i = 0; i < len && o.deaths + o.answers == 0; i++) {
		WANT_INT(send(tpm, rsp + i, 1, MSG_NOSIGNAL), 1);
		uv_run(&o.loop, UV_RUN_NOWAIT);
	}
	if (o.deaths + o.answers == 0)
		await(&o);
	WANT_INT(o.answers, good);
	WANT_INT(o.deaths, !good);
	close_tpm(&o);
	close(tpm);
	close(fd);
	unlink(at.sun_path);
	rmdir(dir);
}

TEST(what_is_no_answer_is_the_end_of_a_tpm_and_one_in_pieces_is_none)
{
	static const uint8_t good[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7,
		7 };
	static const uint8_t small[] = { 0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0 };
	static const uint8_t big[] = { 0x80, 1, 0, 0, 0x10, 1, 0, 0, 0, 0 };
	static const uint8_t tag[] = { 0x90, 1, 0, 0, 0, 10, 0, 0, 0, 0 };

	answers(good, sizeof(good), true);
	answers(small, sizeof(small), false);
	answers(big, sizeof(big), false);
	answers(tag, sizeof(tag), false);
}

TEST(a_tpm_may_be_closed_while_it_works)
{
	char dir[] = "/tmp/lanyard-test-XXXXXX";
	struct sockaddr_un at = { 0 };
	struct owner o;
	char spec[128];
	int fd = listener(&at, dir);

	snprintf(spec, sizeof(spec), "socket:%s", at.sun_path);
	open_tpm(&o, spec);
	submit(&o, LY_OP_TPM, 0, random8, sizeof(random8));
	close_tpm(&o);
	WANT_INT(o.answers + o.deaths, 0);
	close(fd);
	unlink(at.sun_path);
	rmdir(dir);
}

TEST(a_spec_that_leads_nowhere_is_refused_with_its_name)
{
	static const char *const specs[] = { "socket:/nonexistent/tpm",
		"swtpm:path=/nonexistent/tpm", "device:/nonexistent",
		"nosuchtcti:x" };
	struct ly_keep *keep;
	struct ly_tpm *tpm;
	uv_loop_t loop;

	uv_loop_init(&loop);
	keep = kept_open(&loop);
	setenv("TSS2_LOG", "all+NONE", 0);
	for (size_t i = 0; i < LY_COUNT(specs); i++) {
		struct ly_slot *slot = ly_slot_new(keep, LY_KEEP_HOME);
		struct ly_why why = { "" };

		WANT(ly_tpm_open(&loop, specs[i], slot, &ops, NULL, &tpm,
			 &why) != LY_OK);
		WANT(strstr(why.text, strchr(specs[i], ':') + 1) != NULL);
		ly_slot_free(slot);
	}
	ly_keep_close(keep, true);
	uv_run(&loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&loop), 0);
}

TEST_MAIN()
