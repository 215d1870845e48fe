/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/reload.h"

#include "agent/away/kept.h"
#include "agent/home/kept.h"
#include "agent/io/spawn.h"
#include "lib/base/text.h"
#include "lib/io/file.h"

#include <errno.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KEPT_ENV "LANYARD_KEPT"

static char program[512];
static char **arguments;

void
ly_reload_begin(char **argv)
{
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

	program[n > 0 ? n : 0] = '\0';
	arguments = argv;
}

/* Of the two sides of a VM. */
static void
our_version(char out[16])
{
	ly_print(out, 16, "%d.%d", LY_KEPT_VERSION, LY_HOME_KEPT_VERSION);
}

bool
ly_reload_asked(void)
{
	return getenv(KEPT_ENV) != NULL;
}

enum ly_rc
ly_reload_can(struct ly_why *why)
{
	const char *theirs = getenv(KEPT_ENV);
	char ours[16];

	our_version(ours);
	if (!theirs || strcmp(theirs, ours) == 0)
		return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    "the agent that runs keeps version %.16s, this one %s: VMs running"
	    " here would lose their TPM; migrate them away first",
	    theirs, ours);
}

/* The last line of what it said. */
static void
last_line(int fd, char *out, size_t size)
{
	char buf[1024], *line, *rest = buf;
	off_t len = lseek(fd, 0, SEEK_END);
	off_t from = len > (off_t)sizeof(buf) - 1 ?
	    len - ((off_t)sizeof(buf) - 1) :
	    0;
	ssize_t n = pread(fd, buf, sizeof(buf) - 1, from);

	buf[n > 0 ? n : 0] = '\0';
	ly_copy(out, size, "it says nothing");
	while ((line = strsep(&rest, "\n")))
		if (*line)
			ly_print(out, size, "%s", line);
}

static enum ly_rc
judge(int pid, int pidfd, int log, struct ly_why *why)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	char said[160];
	int n, status;

	do
		n = poll(&p, 1, LY_RELOAD_MS);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		kill(pid, SIGKILL);
	status = ly_spawn_reap(pid);
	last_line(log, said, sizeof(said));
	if (n <= 0)
		return ly_fail(why, LY_OUTSIDE, "%s -t does not end", program);
	return status == 0 ?
	    LY_OK :
	    ly_fail(why, LY_REFUSED, "%s -t: %s", program, said);
}

/* As -t does, by the program that is there now. */
static enum ly_rc
check(const char *file, struct ly_why *why)
{
	char *const argv[] = { program, (char[]){ "-t" }, (char[]){ "-c" },
		(char *)(uintptr_t)file, NULL };
	int log = memfd_create("check", MFD_CLOEXEC), pid, pidfd;
	char version[16];
	enum ly_rc rc;

	if (log < 0)
		return ly_fail(why, LY_OUTSIDE, "memfd: %s", strerror(errno));
	our_version(version);
	setenv(KEPT_ENV, version, 1);
	rc = ly_spawn(argv, NULL, log, &pid, &pidfd, why);
	unsetenv(KEPT_ENV);
	if (rc == LY_OK) {
		rc = judge(pid, pidfd, log, why);
		close(pidfd);
	}
	close(log);
	return rc;
}

static void
say_reloading(void)
{
	struct timespec now;
	char text[80];

	clock_gettime(CLOCK_MONOTONIC, &now);
	ly_print(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
	    (unsigned long long)now.tv_sec * 1000000 +
		(unsigned long long)now.tv_nsec / 1000);
	ly_notify(text);
}

enum ly_rc
ly_reload(const char *file, struct ly_why *why)
{
	enum ly_rc rc = *program ?
	    check(file, why) :
	    ly_fail(why, LY_OUTSIDE, "it is not known where our program is");

	if (rc != LY_OK)
		return rc;
	say_reloading();
	syscall(SYS_close_range, 3u, ~0u, (unsigned)CLOSE_RANGE_CLOEXEC);
	execv(program, arguments);
	rc = ly_fail(why, LY_OUTSIDE, "%s: %s", program, strerror(errno));
	ly_notify("READY=1");
	return rc;
}
