/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/unix.h"

#include "lib/base/text.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Somebody answers there. A full backlog is an answer too. */
static bool
alive(const struct sockaddr_un *at, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool yes;

	if (fd < 0)
		return false;
	yes = connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 ||
	    errno == EAGAIN;
	close(fd);
	return yes;
}

/* What is at this path may be replaced: nothing, or a dead socket. */
static enum ly_rc
look(const struct sockaddr_un *at, int type, struct ly_why *why)
{
	struct stat st;

	if (lstat(at->sun_path, &st) != 0)
		return errno == ENOENT ? LY_OK :
					 ly_fail(why, LY_OUTSIDE, "%s: %s",
					     at->sun_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return ly_fail(why, LY_REFUSED,
		    "%s: there is something that is not a socket",
		    at->sun_path);
	if (alive(at, type))
		return ly_fail(why, LY_BUSY, "%s: another process serves it",
		    at->sun_path);
	return LY_OK;
}

/* Bound under another name and renamed, so that at no time the path is gone
 * or open to others: Linux gives the file the mode of the socket's inode. */
static enum ly_rc
bind_at(int fd, const struct sockaddr_un *at, int backlog, struct ly_why *why)
{
	struct sockaddr_un tmp = { .sun_family = AF_UNIX };

	if (!ly_print(tmp.sun_path, sizeof(tmp.sun_path), "%s.new",
		at->sun_path))
		return ly_fail(why, LY_FULL, "%s: too long for a socket",
		    at->sun_path);
	(void)unlink(tmp.sun_path);
	if (fchmod(fd, 0600) == 0 &&
	    bind(fd, (const struct sockaddr *)&tmp, sizeof(tmp)) == 0 &&
	    listen(fd, backlog) == 0 && rename(tmp.sun_path, at->sun_path) == 0)
		return LY_OK;
	return ly_fail(why, LY_OUTSIDE, "%s: cannot listen: %s", at->sun_path,
	    strerror(errno));
}

enum ly_rc
ly_unix_listen_as(const struct sockaddr_un *at, int type, int backlog, int *fd,
    struct ly_why *why)
{
	enum ly_rc rc = look(at, type, why);
	int made;

	if (rc != LY_OK)
		return rc;
	made = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (made < 0)
		return ly_fail(why, LY_OUTSIDE, "socket: %s", strerror(errno));
	rc = bind_at(made, at, backlog, why);
	if (rc == LY_OK)
		*fd = made;
	else
		close(made);
	return rc;
}

enum ly_rc
ly_unix_listen(const struct sockaddr_un *at, int backlog, int *fd,
    struct ly_why *why)
{
	return ly_unix_listen_as(at, SOCK_STREAM, backlog, fd, why);
}
