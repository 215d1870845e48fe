/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of the guest that the demo and the end-to-end tests boot: a program
 * that uses its TPM without pause and notices if one answer is lost, repeated,
 * forged or made by another TPM, while its machine is moved under it.
 *
 * Kernel command line (mkinitrd.sh makes the kernel and the initrd):
 *
 *   console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off 8250.nr_uarts=1
 *   tsc=reliable no_timer_check [lanyard.rate=N] [lanyard.tpm=/dev/tpmrm0]
 *   [lanyard.log=1] [lanyard.dirty=MIB]
 *
 * loglevel=1 keeps the kernel from printing into our records; its errors come
 * as records instead. mitigations=off saves a fifth of a slow boot without
 * KVM. lanyard.rate bounds the rounds per second (1 to 1000). lanyard.log=1
 * adds a record of each round. lanyard.dirty is the command `dirty`, from the
 * start.
 *
 * One round is the table `steps`, done in order:
 *   PCR 11 is extended with SHA-256("lanyard-guest" | round as 8 bytes, big
 *   endian), read, and compared with a replay that began with the value read
 *   at the start; the NV counter 0x01800001 is incremented, read, and must be
 *   one more than before; 16 random bytes must differ from the last; the
 *   TPM's clock must not go back nor its reset and restart counts change;
 *   every 4th round a policy session is made, compared with ours, and opens
 *   what only it can open (session.h);
 *   every 16th round PCR 12 is extended likewise and a quote over 11 and 12
 *   must carry our nonce and the digest of our replay.
 * An extend or increment that was answered with an error may have run or not:
 * the read behind it tells, both are taken, a third value is an error of its
 * own. Until a read has told, no further one is sent.
 *
 * Records, each one line, LANYARD {"event":KIND,...} on ttyS0:
 *   ready     TPM found, keys made, the loop starts      all fields below
 *   tick      once a second                              all fields
 *   status, paused, resumed, marked   answers            "tag", all fields
 *   bye       before power-off and reboot                all fields
 *   error     at once: "round", "what", "why", "up_ms"; counted in "failed"
 *   kernel    a kernel message of level error or worse: "text"
 *   did       with lanyard.log=1, after each round, what it did: "boot", of
 *             this start of the guest; "round", from 1 without a gap; "x11" and
 *             "x12", the round whose digest was found in PCR 11 and 12, 0 if
 *             none; "nv", "failed", "uses" (sessions), "gap_ms" as below but of
 *             this round alone, and "crc", of the text before it: the sum of
 *             its bytes, each time multiplied by 31, in hex. A line that a
 *             console has damaged can thus be told from a wrong one.
 *   quote     "ak" (TPMT_PUBLIC), "attest", "r", "s", "nonce" in hex
 *   ek        made anew: "ek", "same" (as at the start)
 *   dirty     "mib"
 *   exec      "n", "ms" they took, "measured" entries in the kernel's list,
 *             "pcr10" in hex
 *   refused   a command line we do not understand: "text"
 *   dead      no usable TPM at the start: "what", "why"; then power-off
 * All fields: "up_ms" since boot, "state" running or paused, "round",
 * "commands" answered, "failed" errors, "retries" after TPM_RC_RETRY,
 * "extends" of PCR 11 and "extends12", "nv" the counter, "quotes", "uses",
 * "max_gap_ms" longest wait for one answer by the guest's clock (it stands
 * still while the guest is stopped), "stopped_ms" longest time the TPM's clock
 * ran on without the guest's, "kernel" error messages, "dirty_mib", "pcr11",
 * "pcr12", "ek" SHA-256 of the EK's TPMT_PUBLIC. They are always those of
 * between two rounds.
 *
 * Commands, one a line, served between rounds (what is sent before "ready" may
 * be lost); TAG is an optional word that comes back in the answer:
 *   status [TAG], pause [TAG], resume [TAG]
 *   mark [TAG]      sets max_gap_ms and stopped_ms to 0
 *   quote, ek       do so now
 *   exec N          runs N programs never seen before; add ima_policy=tcb and
 *                   rootfstype=ramfs to the command line to have them measured
 *   dirty N         rewrite N MiB, one word a page, once a second; 0 stops
 *   reboot, poweroff
 */
#include "lib/base/text.h"
#include "tests/guest/chip.h"
#include "tests/guest/console.h"
#include "tests/guest/dirty.h"
#include "tests/guest/ima.h"
#include "tests/guest/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SESSION_EVERY 4
#define QUOTE_EVERY 16
#define TICK_MS 1000
#define LOST_WAIT_MS 100    /* after a round with an unanswered command */
#define TPM_WAIT_MS 10000   /* for the driver, at the start */
#define DIRTY_MAX_MIB 128   /* more is refused */
#define DIRTY_BOOT_MIB 1024 /* of lanyard.dirty: who asks knows the memory */
#define EXEC_MAX 1000	    /* more are refused */

/* A value that only our own commands change. `unsure`: the last one may have
 * run or not. */
struct pcr {
	unsigned n;
	const char *label;
	uint8_t value[LY_SHA256_LEN], next[LY_SHA256_LEN];
	uint64_t extends;
	uint64_t sent; /* the round of the last extend */
	uint64_t did;  /* the same once it is known to have run; told, then 0 */
	bool unsure;
};

struct counter {
	uint64_t value;
	bool unsure;
};

struct guest {
	struct ly_console con;
	struct ly_chip chip;
	struct pcr pcr11, pcr12;
	struct counter nv;
	struct ly_chip_clock clock;
	uint64_t clock_at_ms; /* our time of that */
	struct ly_session session;
	struct ly_dirty dirty;
	char boot[9];
	uint8_t ek[LY_SHA256_LEN], random[16];
	uint64_t round, failed, quotes, kernel_errors, stopped_ms;
	uint64_t tick_at_ms, round_at_ms;
	uint64_t round_every_ms; /* 0: as fast as it goes */
	int kmsg;
	bool paused, logs;
};

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct ly_bytes
bytes(const void *at, size_t len)
{
	return (struct ly_bytes){ at, len };
}

/* ---- records ---- */

static void
say_all(struct guest *g, const char *event, const char *tag)
{
	char ek[65], p11[65], p12[65];

	ly_hex(g->ek, sizeof(g->ek), ek);
	ly_hex(g->pcr11.value, LY_SHA256_LEN, p11);
	ly_hex(g->pcr12.value, LY_SHA256_LEN, p12);
	ly_console_say(&g->con, event,
	    "%s%s%s\"up_ms\":%lu,\"state\":\"%s\",\"round\":%lu,"
	    "\"commands\":%lu,\"failed\":%lu,\"retries\":%lu,"
	    "\"extends\":%lu,\"extends12\":%lu,\"nv\":%lu,\"quotes\":%lu,"
	    "\"uses\":%lu,"
	    "\"max_gap_ms\":%lu,\"stopped_ms\":%lu,\"kernel\":%lu,"
	    "\"dirty_mib\":%zu,"
	    "\"pcr11\":\"%s\",\"pcr12\":\"%s\",\"ek\":\"%s\"",
	    tag ? "\"tag\":\"" : "", tag ? tag : "", tag ? "\"," : "", now_ms(),
	    g->paused ? "paused" : "running", g->round, g->chip.commands,
	    g->failed, g->chip.retries, g->pcr11.extends, g->pcr12.extends,
	    g->nv.value, g->quotes, g->session.uses, g->chip.max_gap_us / 1000,
	    g->stopped_ms, g->kernel_errors, g->dirty.mib, p11, p12, ek);
}

static unsigned
crc_of(const char *text)
{
	unsigned crc = 0;

	for (; *text; text++)
		crc = crc * 31 + (unsigned char)*text;
	return crc;
}

static void
say_did(struct guest *g)
{
	char text[256];

	snprintf(text, sizeof(text),
	    "\"boot\":\"%s\",\"round\":%lu,\"x11\":%lu,\"x12\":%lu,"
	    "\"nv\":%lu,\"failed\":%lu,\"uses\":%lu,\"gap_ms\":%lu",
	    g->boot, g->round, g->pcr11.did, g->pcr12.did, g->nv.value,
	    g->failed, g->session.uses, g->chip.round_gap_us / 1000);
	ly_console_say(&g->con, "did", "%s,\"crc\":\"%08x\"", text,
	    crc_of(text));
	g->pcr11.did = g->pcr12.did = g->chip.round_gap_us = 0;
}

static bool
complain(struct guest *g, const char *what, const char *why)
{
	g->failed++;
	ly_console_say(&g->con, "error",
	    "\"round\":%lu,\"what\":\"%s\",\"why\":\"%s\",\"up_ms\":%lu",
	    g->round, what, why, now_ms());
	return false;
}

static bool
chip_failed(struct guest *g)
{
	return complain(g, g->chip.what, g->chip.why);
}

/* Messages every boot of this kernel has. */
static bool
usual(const char *text)
{
	return strstr(text, "ima: Can not allocate sha") != NULL;
}

/* A record of /dev/kmsg is "level,seq,us,flags;text\n"; one read is one. */
static void
hear_kernel(struct guest *g)
{
	char rec[1024], *text;
	ssize_t n;

	while ((n = read(g->kmsg, rec, sizeof(rec) - 1)) > 0 ||
	    (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue; /* some were overwritten */
		rec[n] = '\0';
		text = strchr(rec, ';');
		if (!text || (atoi(rec) & 7) > 3 || usual(text))
			continue;
		text[strcspn(text, "\n")] = '\0';
		ly_console_clean(++text);
		g->kernel_errors++;
		ly_console_say(&g->con, "kernel", "\"text\":\"%s\"", text);
	}
}

/* ---- one round ---- */

static void
ran(struct pcr *p)
{
	p->extends++;
	p->did = p->sent;
}

static void
step_extend(struct guest *g, struct pcr *p)
{
	uint8_t n[8], digest[LY_SHA256_LEN];
	struct ly_wr w = ly_wr_over(n, sizeof(n));

	if (p->unsure)
		return;
	ly_wr_u64(&w, g->round);
	ly_sha256(bytes(p->label, strlen(p->label)), bytes(n, 8), digest);
	ly_sha256(bytes(p->value, LY_SHA256_LEN), bytes(digest, LY_SHA256_LEN),
	    p->next);
	p->sent = g->round;
	p->unsure = !ly_chip_extend(&g->chip, p->n, digest);
	if (p->unsure) {
		chip_failed(g);
		return;
	}
	memcpy(p->value, p->next, LY_SHA256_LEN);
	ran(p);
}

static void
step_pcr_read(struct guest *g, struct pcr *p)
{
	uint8_t now[LY_SHA256_LEN];

	if (!ly_chip_pcr(&g->chip, p->n, now)) {
		chip_failed(g);
		return;
	}
	if (p->unsure && memcmp(now, p->next, sizeof(now)) == 0)
		ran(p);
	else if (memcmp(now, p->value, sizeof(now)) != 0)
		complain(g, "PCR_Read", "not the value of our replay");
	memcpy(p->value, now, sizeof(now));
	p->unsure = false;
}

static void
extend11(struct guest *g)
{
	step_extend(g, &g->pcr11);
}

static void
read11(struct guest *g)
{
	step_pcr_read(g, &g->pcr11);
}

static void
extend12(struct guest *g)
{
	step_extend(g, &g->pcr12);
}

static void
read12(struct guest *g)
{
	step_pcr_read(g, &g->pcr12);
}

static void
nv_increment(struct guest *g)
{
	if (g->nv.unsure)
		return;
	g->nv.unsure = !ly_chip_nv_increment(&g->chip);
	if (g->nv.unsure)
		chip_failed(g);
	else
		g->nv.value++;
}

static void
nv_read(struct guest *g)
{
	uint64_t now;

	if (!ly_chip_nv_read(&g->chip, &now)) {
		chip_failed(g);
		return;
	}
	if (now != g->nv.value + (g->nv.unsure && now != g->nv.value)) {
		char why[64];

		snprintf(why, sizeof(why), "counter is %lu, not %lu", now,
		    g->nv.value);
		complain(g, "NV_Read", why);
	}
	g->nv = (struct counter){ .value = now };
}

static void
get_random(struct guest *g)
{
	uint8_t now[sizeof(g->random)];

	if (!ly_chip_random(&g->chip, now, sizeof(now)))
		chip_failed(g);
	else if (memcmp(now, g->random, sizeof(now)) == 0)
		complain(g, "GetRandom", "the same bytes twice");
	else
		memcpy(g->random, now, sizeof(now));
}

static bool
same_life(const struct ly_chip_clock *a, const struct ly_chip_clock *b)
{
	return a->resets == b->resets && a->restarts == b->restarts;
}

/* Both clocks count milliseconds; that the TPM's ran further than ours means
 * that we were stopped. */
static void
read_clock(struct guest *g)
{
	struct ly_chip_clock now;
	uint64_t here_ms, at_ms;

	if (!ly_chip_clock(&g->chip, &now)) {
		chip_failed(g);
		return;
	}
	at_ms = now_ms();
	here_ms = at_ms - g->clock_at_ms;
	if (!same_life(&now, &g->clock))
		complain(g, "ReadClock", "the TPM was reset");
	else if (now.time_ms < g->clock.time_ms ||
	    now.clock_ms < g->clock.clock_ms)
		complain(g, "ReadClock", "the TPM's clock went back");
	else if (now.time_ms - g->clock.time_ms > here_ms + g->stopped_ms)
		g->stopped_ms = now.time_ms - g->clock.time_ms - here_ms;
	g->clock = now;
	g->clock_at_ms = at_ms;
}

static bool
quote(struct guest *g, uint8_t nonce[LY_CHIP_NONCE], struct ly_chip_quote *q)
{
	uint8_t want[LY_SHA256_LEN];

	if (!ly_chip_random(&g->chip, nonce, LY_CHIP_NONCE) ||
	    !ly_chip_quote(&g->chip, 1u << 11 | 1u << 12, nonce, q))
		return chip_failed(g);
	ly_sha256(bytes(g->pcr11.value, LY_SHA256_LEN),
	    bytes(g->pcr12.value, LY_SHA256_LEN), want);
	if (memcmp(q->extra, nonce, LY_CHIP_NONCE) != 0)
		return complain(g, "Quote", "not our nonce");
	if (memcmp(q->pcrs, want, sizeof(want)) != 0)
		return complain(g, "Quote", "not the PCRs of our replay");
	g->quotes++;
	return true;
}

/* The quote speaks of both PCRs, so both must be known. */
static void
check_quote(struct guest *g)
{
	uint8_t nonce[LY_CHIP_NONCE];
	struct ly_chip_quote q;

	if (g->pcr11.unsure || g->pcr12.unsure)
		return;
	if (quote(g, nonce, &q) && !same_life(&q.clock, &g->clock))
		complain(g, "Quote", "reset counts are not ReadClock's");
}

static void
use_session(struct guest *g)
{
	if (g->pcr11.unsure || g->pcr12.unsure)
		return;
	if (!ly_session_use(&g->session, &g->chip, g->pcr11.value,
		g->pcr12.value))
		chip_failed(g);
}

static const struct {
	unsigned every;
	void (*run)(struct guest *g);
} steps[] = {
	{ 1, extend11 },
	{ 1, read11 },
	{ 1, nv_increment },
	{ 1, nv_read },
	{ 1, get_random },
	{ 1, read_clock },
	{ SESSION_EVERY, use_session },
	{ QUOTE_EVERY, extend12 },
	{ QUOTE_EVERY, read12 },
	{ QUOTE_EVERY, check_quote },
};

/* A TPM that no longer answers must not flood the console. */
static void
round_once(struct guest *g, uint64_t now)
{
	bool lost = false;

	g->round++;
	for (size_t i = 0; i < LY_COUNT(steps); i++) {
		if (g->round % steps[i].every != 0)
			continue;
		g->chip.lost = false;
		steps[i].run(g);
		lost = lost || g->chip.lost;
	}
	if (g->logs)
		say_did(g);
	g->round_at_ms = now + (lost ? LOST_WAIT_MS : g->round_every_ms);
}

/* ---- commands ---- */

static void
on_status(struct guest *g, const char *tag)
{
	say_all(g, "status", tag);
}

static void
on_pause(struct guest *g, const char *tag)
{
	g->paused = true;
	say_all(g, "paused", tag);
}

static void
on_resume(struct guest *g, const char *tag)
{
	g->paused = false;
	say_all(g, "resumed", tag);
}

static void
on_mark(struct guest *g, const char *tag)
{
	g->chip.max_gap_us = 0;
	g->stopped_ms = 0;
	say_all(g, "marked", tag);
}

static void
on_quote(struct guest *g, const char *tag LY_UNUSED)
{
	uint8_t nonce[LY_CHIP_NONCE];
	struct ly_chip_quote q;
	char hex[5][513];

	if (!quote(g, nonce, &q))
		return;
	ly_hex(g->chip.ak_public, g->chip.ak_public_len, hex[0]);
	ly_hex(q.attest, q.attest_len, hex[1]);
	ly_hex(q.r, sizeof(q.r), hex[2]);
	ly_hex(q.s, sizeof(q.s), hex[3]);
	ly_hex(nonce, sizeof(nonce), hex[4]);
	ly_console_say(&g->con, "quote",
	    "\"ak\":\"%s\",\"attest\":\"%s\",\"r\":\"%s\",\"s\":\"%s\","
	    "\"nonce\":\"%s\"",
	    hex[0], hex[1], hex[2], hex[3], hex[4]);
}

static void
on_ek(struct guest *g, const char *tag LY_UNUSED)
{
	uint8_t ek[LY_SHA256_LEN];
	char hex[65];
	bool same;

	if (!ly_chip_ek(&g->chip, ek)) {
		chip_failed(g);
		return;
	}
	same = memcmp(ek, g->ek, sizeof(ek)) == 0;
	ly_hex(ek, sizeof(ek), hex);
	ly_console_say(&g->con, "ek", "\"ek\":\"%s\",\"same\":%s", hex,
	    same ? "true" : "false");
	if (!same)
		complain(g, "CreatePrimary", "the EK is another one");
}

static bool
number(struct guest *g, const char *arg, unsigned max, uint64_t *out)
{
	if (arg && ly_parse_uint(arg, max, out) == LY_OK)
		return true;
	ly_console_say(&g->con, "refused", "\"text\":\"not 0 to %u\"", max);
	return false;
}

static void
on_exec(struct guest *g, const char *arg)
{
	uint8_t pcr10[LY_SHA256_LEN];
	uint64_t n, start_ms = now_ms(), took_ms;
	char hex[65];

	if (!number(g, arg, EXEC_MAX, &n))
		return;
	if (!ly_ima_exec((unsigned)n))
		complain(g, "exec", "a program did not run");
	took_ms = now_ms() - start_ms;
	if (!ly_chip_pcr(&g->chip, 10, pcr10)) {
		chip_failed(g);
		return;
	}
	ly_hex(pcr10, sizeof(pcr10), hex);
	ly_console_say(&g->con, "exec",
	    "\"n\":%lu,\"ms\":%lu,"
	    "\"measured\":%lu,\"pcr10\":\"%s\"",
	    n, took_ms, ly_ima_measured(), hex);
}

static void
on_dirty(struct guest *g, const char *arg)
{
	uint64_t mib;

	if (!number(g, arg, DIRTY_MAX_MIB, &mib))
		return;
	ly_dirty_stop(&g->dirty);
	if (mib > 0 && !ly_dirty_start(&g->dirty, mib))
		complain(g, "dirty", "no memory or no thread");
	ly_console_say(&g->con, "dirty", "\"mib\":%zu", g->dirty.mib);
}

static _Noreturn void
leave(struct guest *g, int how)
{
	say_all(g, "bye", NULL);
	tcdrain(g->con.fd);
	reboot(how);
	exit(1); /* refused: PID 1 ends, kernel panics */
}

static void
on_reboot(struct guest *g, const char *tag LY_UNUSED)
{
	leave(g, RB_AUTOBOOT);
}

static void
on_poweroff(struct guest *g, const char *tag LY_UNUSED)
{
	leave(g, RB_POWER_OFF);
}

static const struct {
	const char *word;
	void (*run)(struct guest *g, const char *arg);
} commands[] = {
	{ "status", on_status },
	{ "pause", on_pause },
	{ "resume", on_resume },
	{ "mark", on_mark },
	{ "quote", on_quote },
	{ "ek", on_ek },
	{ "exec", on_exec },
	{ "dirty", on_dirty },
	{ "reboot", on_reboot },
	{ "poweroff", on_poweroff },
};

static void
obey(struct guest *g, char *line)
{
	char *rest, *word, *arg;

	ly_console_clean(line);
	word = strtok_r(line, " ", &rest);
	arg = strtok_r(NULL, " ", &rest);
	if (!word)
		return;
	for (size_t i = 0; i < LY_COUNT(commands); i++) {
		if (strcmp(commands[i].word, word) == 0) {
			commands[i].run(g, arg);
			return;
		}
	}
	ly_console_say(&g->con, "refused", "\"text\":\"%s\"", word);
}

/* ---- start and loop ---- */

/* The value of `name=value` on the kernel's command line, or NULL. */
static const char *
option(char *cmdline, const char *name)
{
	size_t len = strlen(name);
	char *rest;

	for (char *w = strtok_r(cmdline, " \n", &rest); w;
	     w = strtok_r(NULL, " \n", &rest))
		if (strncmp(w, name, len) == 0 && w[len] == '=')
			return w + len + 1;
	return NULL;
}

static void
read_option(const char *name, char *out, size_t size)
{
	char line[2048] = "";
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	const char *value;

	if (fd >= 0 && read(fd, line, sizeof(line) - 1) < 0)
		line[0] = '\0';
	if (fd >= 0)
		close(fd);
	value = option(line, name);
	if (value)
		snprintf(out, size, "%s", value);
}

static void
mount_all(void)
{
	static const struct {
		const char *type, *at;
	} mounts[] = {
		{ "devtmpfs", "/dev" },
		{ "proc", "/proc" },
		{ "sysfs", "/sys" },
		{ "securityfs", "/sys/kernel/security" },
	};

	for (size_t i = 0; i < LY_COUNT(mounts); i++)
		mount(mounts[i].type, mounts[i].at, mounts[i].type, 0, NULL);
}

static void
read_options(struct guest *g, char *tpm, size_t size)
{
	char rate[16] = "", log[4] = "", dirty[16] = "";
	uint64_t n = 0;

	read_option("lanyard.tpm", tpm, size);
	read_option("lanyard.rate", rate, sizeof(rate));
	if (ly_parse_uint(rate, 1000, &n) == LY_OK && n > 0)
		g->round_every_ms = 1000 / n;
	read_option("lanyard.log", log, sizeof(log));
	g->logs = strcmp(log, "1") == 0;
	read_option("lanyard.dirty", dirty, sizeof(dirty));
	if (ly_parse_uint(dirty, DIRTY_BOOT_MIB, &n) == LY_OK && n > 0 &&
	    !ly_dirty_start(&g->dirty, n))
		complain(g, "dirty", "no memory or no thread");
}

static bool
open_tpm(struct guest *g, const char *path)
{
	uint64_t until = now_ms() + TPM_WAIT_MS;

	while (!ly_chip_open(&g->chip, path)) {
		if (now_ms() > until)
			return false;
		usleep(10000);
	}
	return true;
}

static bool
prepare(struct guest *g, const char *tpm)
{
	return open_tpm(g, tpm) && ly_chip_ek(&g->chip, g->ek) &&
	    ly_chip_ak(&g->chip) &&
	    ly_chip_pcr(&g->chip, g->pcr11.n, g->pcr11.value) &&
	    ly_chip_pcr(&g->chip, g->pcr12.n, g->pcr12.value) &&
	    ly_chip_nv_open(&g->chip) &&
	    ly_chip_nv_read(&g->chip, &g->nv.value) &&
	    ly_session_open(&g->session, &g->chip) &&
	    ly_chip_random(&g->chip, g->random, sizeof(g->random)) &&
	    ly_chip_clock(&g->chip, &g->clock);
}

static uint64_t
left_ms(uint64_t due_ms)
{
	uint64_t now = now_ms();

	return due_ms > now ? due_ms - now : 0;
}

static _Noreturn void
loop(struct guest *g)
{
	char line[LY_CONSOLE_LINE_MAX];
	uint64_t wait_ms;

	for (;;) {
		wait_ms = left_ms(g->tick_at_ms);
		if (!g->paused)
			wait_ms = ly_min(wait_ms, left_ms(g->round_at_ms));
		while (ly_console_line(&g->con, (int)wait_ms, line)) {
			obey(g, line);
			wait_ms = 0;
		}
		if (left_ms(g->tick_at_ms) == 0) {
			g->tick_at_ms = now_ms() + TICK_MS;
			hear_kernel(g);
			say_all(g, "tick", NULL);
		}
		if (!g->paused && left_ms(g->round_at_ms) == 0)
			round_once(g, now_ms());
	}
}

int
main(void)
{
	static struct guest g = {
		.pcr11 = { .n = 11, .label = "lanyard-guest" },
		.pcr12 = { .n = 12, .label = "lanyard-guest" },
	};
	char tpm[64] = "/dev/tpm0";

	mount_all();
	if (!ly_console_open(&g.con, "/dev/ttyS0"))
		return 1;
	g.kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	read_options(&g, tpm, sizeof(tpm));
	if (!prepare(&g, tpm)) {
		hear_kernel(&g);
		ly_console_say(&g.con, "dead", "\"what\":\"%s\",\"why\":\"%s\"",
		    g.chip.what, g.chip.why);
		leave(&g, RB_POWER_OFF);
	}
	snprintf(g.boot, sizeof(g.boot), "%02x%02x%02x%02x", g.random[0],
	    g.random[1], g.random[2], g.random[3]);
	g.clock_at_ms = now_ms();
	g.tick_at_ms = now_ms() + TICK_MS;
	say_all(&g, "ready", NULL);
	loop(&g);
}
