/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As PID 1 of a guest with a TPM: device:/dev/tpmrm0 (agent/io/tpmdev.c) on
 * Linux' own driver, under a child, "the agent", that is killed again and again
 * between any two of its system calls and at any moment. Each command is a
 * PCR_Extend with a number of its own; PCR 16 says at the end whether each ran
 * once, in order. Prints "PASSED" or why not, and powers the guest off.
 */
#include "agent/io/tpm.h"
#include "lib/base/text.h"
#include "lib/io/identity.h"
#include "lib/io/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE "/dev/tpmrm0"
#define PCR 16
#define LIVES 400

struct state {
	struct ly_tpm_kept tpm;
	uint32_t serial; /* asked */
};

/* Shared by all lives. */
static struct told {
	uint32_t answered, woken, busy; /* busy: woken with a command asked */
	char why[200];
} * told;

static _Noreturn void
end(const char *text)
{
	printf("DEVICE %s\n", text);
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

/* ---- one life ---- */

struct agent {
	uv_loop_t loop;
	struct ly_keep *keep;
	struct ly_slot *slot;
	struct ly_tpm *tpm;
	uint32_t serial, last;
};

static _Noreturn void
give_up(const char *why)
{
	ly_copy(told->why, sizeof(told->why), why);
	_exit(1);
}

static void
commit(struct agent *a)
{
	struct state s;

	memset(&s, 0, sizeof(s));
	s.tpm = *ly_tpm_kept(a->tpm);
	s.serial = a->serial;
	ly_slot_commit(a->slot, &s, sizeof(s));
	ly_tpm_settle(a->tpm);
}

static void
digest_of(uint32_t serial, uint8_t out[32])
{
	memset(out, 0, 32);
	memcpy(out, &serial, sizeof(serial));
}

static void
ask_next(struct agent *a)
{
	uint8_t buf[65] = { 0x80, 2, 0, 0, 0, 65, 0, 0, 1, 0x82, 0, 0, 0, PCR,
		0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0xb };

	if (a->serial == a->last)
		_exit(0);
	digest_of(++a->serial, buf + 33);
	ly_tpm_submit(a->tpm, LY_OP_TPM, 0, buf, sizeof(buf));
	commit(a);
}

static void
on_answer(void *arg, const uint8_t *body, size_t len)
{
	struct agent *a = arg;
	struct ly_rd r = ly_rd_over(body, len);

	(void)ly_rd_bytes(&r, 6);
	if (ly_rd_u32(&r) != 0)
		give_up("a PCR_Extend has failed");
	commit(a);
	told->answered = a->serial;
	ask_next(a);
}

static void
on_dead(void *arg, const char *why)
{
	(void)arg;
	give_up(why);
}

static void
on_step(void *arg)
{
	commit(arg);
}

static const struct ly_tpm_ops ops = { on_answer, on_dead, on_step };

static void
wake(struct agent *a, struct ly_why *why)
{
	struct state s;

	memcpy(&s, ly_slot_state(a->slot).at, sizeof(s));
	a->serial = s.serial;
	told->woken++;
	told->busy += s.tpm.busy;
	if (ly_tpm_wake(&a->loop, "device:" DEVICE, a->slot, &s.tpm, &ops, a,
		&a->tpm, why) != LY_OK)
		give_up(why->text);
	commit(a);
}

static _Noreturn void
live(uint32_t last)
{
	struct agent a = { .last = last };
	struct ly_why why = { "" };

	uv_loop_init(&a.loop);
	if (ly_keep_open(&a.loop, "/run", &a.keep, &why) != LY_OK)
		give_up(why.text);
	a.slot = ly_keep_next(a.keep, LY_KEEP_HOME, NULL);
	if (a.slot) {
		wake(&a, &why);
	} else {
		a.slot = ly_slot_new(a.keep, LY_KEEP_HOME);
		if (ly_tpm_open(&a.loop, "device:" DEVICE, a.slot, &ops, &a,
			&a.tpm, &why) != LY_OK)
			give_up(why.text);
		commit(&a);
	}
	if (!ly_tpm_busy(a.tpm))
		ask_next(&a);
	uv_run(&a.loop, UV_RUN_DEFAULT);
	give_up("the loop has ended");
}

/* ---- its enemy ---- */

static uint32_t
chance(uint32_t below)
{
	static uint64_t x = 42;

	x = x * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(x >> 33) % below;
}

/* False: it ended by itself. */
static bool
kill_after_us(pid_t child, uint32_t us)
{
	int status;

	usleep(us);
	kill(child, SIGKILL);
	return waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

static bool
kill_after_stops(pid_t child, uint32_t stops)
{
	int status;

	while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
		if (stops-- == 0)
			return kill_after_us(child, 0);
		ptrace(PTRACE_SYSCALL, child, NULL, NULL);
	}
	return false;
}

static void
one_life(unsigned i)
{
	bool by_stops = i % 2;
	pid_t child = fork();
	bool killed;

	if (child == 0) {
		if (by_stops && ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
			raise(SIGSTOP);
		live(UINT32_MAX);
	}
	if (by_stops)
		killed = kill_after_stops(child, chance(300));
	else
		killed = kill_after_us(child, chance(40000));
	if (!killed)
		end(*told->why ? told->why : "it ended by itself");
}

static void
last_life(void)
{
	int status;
	pid_t child;

	told->answered += 20;
	child = fork();
	if (child == 0)
		live(told->answered);
	if (waitpid(child, &status, 0) != child || status != 0)
		end(*told->why ? told->why : "the last life went wrong");
}

/* ---- what the TPM says ---- */

static void
read_pcr(uint8_t out[32])
{
	uint8_t buf[256] = { 0x80, 1, 0, 0, 0, 20, 0, 0, 1, 0x7e, 0, 0, 0, 1, 0,
		0xb, 3, 0, 0, 1 };
	int fd = open(DEVICE, O_RDWR);

	if (fd < 0 || write(fd, buf, 20) != 20 ||
	    read(fd, buf, sizeof(buf)) != 62)
		end("the PCR cannot be read");
	memcpy(out, buf + 30, 32);
	close(fd);
}

static void
compare(uint32_t serials)
{
	uint8_t want[64] = { 0 }, is[32];
	char text[160];

	for (uint32_t i = 1; i <= serials; i++) {
		uint8_t sum[32];

		digest_of(i, want + 32);
		ly_sha256(want, sizeof(want), sum);
		memcpy(want, sum, sizeof(sum));
	}
	read_pcr(is);
	ly_print(text, sizeof(text),
	    "%s: %u lives, %u commands, woken %u times, %u of them busy",
	    memcmp(is, want, sizeof(is)) ? "FAILED, another PCR" : "PASSED",
	    LIVES, serials, told->woken, told->busy);
	end(text);
}

int
main(void)
{
	signal(SIGPIPE, SIG_IGN);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("run", "/run", "tmpfs", 0, NULL);
	(void)!freopen("/dev/console", "w", stdout);
	(void)!freopen("/dev/console", "w", stderr);
	ly_log_setup("device", false, LY_WARNING);
	ly_keep_program("/lanyard-keeper");
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; access(DEVICE, R_OK) != 0; i++) {
		if (i == 100)
			end("no " DEVICE);
		usleep(100000);
	}
	for (unsigned i = 0; i < LIVES; i++)
		one_life(i);
	last_life();
	compare(told->answered);
}
