/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/pidfile.h"

#include "lib/base/text.h"
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In ticks since boot; with the pid it names one process for ever. 0: there is
 * none, and errno says whether that is certain. */
static unsigned long long
started_at(int pid)
{
	char path[40], buf[1024], *at;
	unsigned long long start = 0;
	ssize_t n;
	int fd;

	ly_print(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	at = strrchr(buf, ')'); /* fields 3, 4, ... follow the name */
	for (int field = 3; at && field <= 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		start = strtoull(at, NULL, 10);
	return start;
}

enum ly_rc
ly_pidfile_write(const char *path, int pid, struct ly_why *why)
{
	char text[64];

	ly_print(text, sizeof(text), "%d %llu\n", pid, started_at(pid));
	return ly_file_write(path, text, strlen(text), 0644, why);
}

static enum ly_rc
read_file(const char *path, int *pid, unsigned long long *start,
    struct ly_why *why)
{
	uint8_t *text;
	size_t len;
	enum ly_rc rc = ly_file_read(path, 64, &text, &len, why);

	if (rc)
		return rc;
	if (sscanf((char *)text, "%d %llu", pid, start) != 2)
		*pid = 0;
	free(text);
	if (*pid <= 0 || *start == 0)
		return ly_fail(why, LY_OUTSIDE, "%s: damaged", path);
	return LY_OK;
}

enum ly_rc
ly_pidfile_open(const char *path, int *pid, int *pidfd, struct ly_why *why)
{
	unsigned long long start = 0, now = 0;
	enum ly_rc rc = read_file(path, pid, &start, why);
	int fd, error;

	if (rc)
		return rc;
	fd = (int)syscall(SYS_pidfd_open, *pid, 0);
	error = errno;
	if (fd >= 0) {
		now = started_at(*pid);
		error = errno;
	}
	if (now == start) {
		*pidfd = fd;
		return LY_OK;
	}
	if (fd >= 0)
		close(fd);
	if (now == 0 && error != ENOENT && error != ESRCH)
		return ly_fail(why, LY_OUTSIDE, "%s: pid %d: %s", path, *pid,
		    strerror(error));
	return ly_fail(why, LY_UNKNOWN, "%s: it runs no more", path);
}
