/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and the service manager's socket. A write goes to a temporary name in
 * the same directory first, so that a crash at any instruction leaves either
 * the old file or the new one; what a crash may leave behind besides is a
 * "NAME.tmp-XXXXXX" nobody reads.
 */
#define _GNU_SOURCE 1

#include "lib/io/file.h"

#include "lib/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATH_MOST 1024

static enum ly_rc
no_good(struct ly_why *why, const char *path, const char *doing)
{
	int e = errno;

	return ly_fail(why, e == ENOENT ? LY_UNKNOWN : LY_OUTSIDE, "%s: %s: %s",
	    path, doing, strerror(e));
}

/* Reads to the end, or one byte more than `most`. */
static ssize_t
read_up_to(int fd, uint8_t *to, size_t most)
{
	size_t n = 0;

	while (n <= most) {
		ssize_t got = read(fd, to + n, most + 1 - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static enum ly_rc
read_open(int fd, const char *path, size_t most, uint8_t **out, size_t *len,
    struct ly_why *why)
{
	struct stat st;
	uint8_t *buf;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return no_good(why, path, "stat");
	if (!S_ISREG(st.st_mode))
		return ly_fail(why, LY_OUTSIDE, "%s: not a regular file", path);
	if (st.st_size > 0 && (uint64_t)st.st_size > most)
		return ly_fail(why, LY_FULL, "%s: over %zu bytes", path, most);
	buf = malloc(most + 2);
	if (!buf)
		return ly_fail(why, LY_OUTSIDE, "%s: no memory", path);
	n = read_up_to(fd, buf, most);
	if (n < 0 || (size_t)n > most) {
		enum ly_rc rc = n < 0 ?
		    no_good(why, path, "read") :
		    ly_fail(why, LY_FULL, "%s: over %zu bytes", path, most);

		free(buf);
		return rc;
	}
	buf[n] = '\0';
	*out = buf;
	*len = (size_t)n;
	return LY_OK;
}

enum ly_rc
ly_file_read(const char *path, size_t most, uint8_t **out, size_t *len,
    struct ly_why *why)
{
	/* O_NONBLOCK: a FIFO in the place of a file must not hang us. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	enum ly_rc rc;

	if (fd < 0)
		return no_good(why, path, "open");
	rc = read_open(fd, path, most, out, len, why);
	close(fd);
	return rc;
}

static enum ly_rc
write_all(int fd, const uint8_t *at, size_t len)
{
	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return LY_OUTSIDE;
		at += n;
		len -= (size_t)n;
	}
	return LY_OK;
}

/* Makes the rename itself durable. */
static enum ly_rc
sync_dir_of(const char *path, struct ly_why *why)
{
	char copy[PATH_MOST];
	int fd, bad;

	ly_copy(copy, sizeof(copy), path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return no_good(why, path, "open its directory");
	bad = fsync(fd);
	close(fd);
	return bad ? no_good(why, path, "fsync its directory") : LY_OK;
}

/* Writes and closes `fd`. */
static enum ly_rc
fill(int fd, const char *path, const void *buf, size_t len, unsigned mode,
    struct ly_why *why)
{
	enum ly_rc rc = LY_OK;

	if (fchmod(fd, (mode_t)mode) < 0)
		rc = no_good(why, path, "chmod");
	else if (write_all(fd, buf, len) != LY_OK)
		rc = no_good(why, path, "write");
	else if (fsync(fd) < 0)
		rc = no_good(why, path, "fsync");
	if (close(fd) < 0 && rc == LY_OK)
		rc = no_good(why, path, "close");
	return rc;
}

enum ly_rc
ly_file_write(const char *path, const void *buf, size_t len, unsigned mode,
    struct ly_why *why)
{
	char temp[PATH_MOST];
	enum ly_rc rc;
	int fd;

	if (!ly_print(temp, sizeof(temp), "%s.tmp-XXXXXX", path))
		return ly_fail(why, LY_FULL, "%s: name too long", path);
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return no_good(why, path, "create");
	rc = fill(fd, path, buf, len, mode, why);
	if (rc == LY_OK && rename(temp, path) < 0)
		rc = no_good(why, path, "rename");
	if (rc != LY_OK) {
		unlink(temp);
		return rc;
	}
	return sync_dir_of(path, why);
}

static enum ly_rc
make_one(const char *path, unsigned mode, struct ly_why *why)
{
	struct stat st;

	if (mkdir(path, (mode_t)mode) == 0)
		return LY_OK;
	if (errno != EEXIST)
		return no_good(why, path, "mkdir");
	if (stat(path, &st) < 0)
		return no_good(why, path, "stat");
	if (!S_ISDIR(st.st_mode))
		return ly_fail(why, LY_OUTSIDE, "%s: not a directory", path);
	return LY_OK;
}

enum ly_rc
ly_file_mkdir(const char *path, unsigned mode, struct ly_why *why)
{
	char part[PATH_MOST];
	enum ly_rc rc = LY_OK;

	if (!*path)
		return ly_fail(why, LY_REFUSED, "no directory given");
	if (!ly_copy(part, sizeof(part), path))
		return ly_fail(why, LY_FULL, "%s: name too long", path);
	for (char *p = part + 1; rc == LY_OK && *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		rc = make_one(part, mode, why);
		*p = '/';
	}
	return rc == LY_OK ? make_one(part, mode, why) : rc;
}

/* sd_notify(3), without the library: one datagram to the socket named in
 * NOTIFY_SOCKET; a leading '@' means the abstract name space. */
void
ly_notify(const char *state)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = name ? strlen(name) : 0;
	socklen_t len;
	int fd;

	if (n < 2 || n >= sizeof(to.sun_path) ||
	    (name[0] != '/' && name[0] != '@'))
		return;
	memcpy(to.sun_path, name, n);
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	if (name[0] == '@')
		to.sun_path[0] = '\0';
	else
		len++;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
	    (const struct sockaddr *)&to, len);
	close(fd);
}

void
ly_file_most(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}
