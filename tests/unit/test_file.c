/* SPDX-License-Identifier: Apache-2.0 */
/* Files and systemd's socket. */
#include "lib/io/file.h"
#include "tests/unit/site.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/un.h>

static unsigned
files_in(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	WANT(d);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

TEST(what_is_written_is_read_with_its_mode_and_leaves_nothing_behind)
{
	uint8_t *buf = NULL;
	size_t len = 99;
	struct stat st;

	SITE_OK(ly_file_mkdir(site_path("a/b/c"), 0700, &why));
	SITE_OK(ly_file_mkdir(site_path("a/b/c"), 0700, &why));
	for (unsigned i = 0; i < 3; i++)
		SITE_OK(ly_file_write(site_path("a/b/c/f"), "ab\0c", 4, 0640,
		    &why));
	SITE_OK(ly_file_read(site_path("a/b/c/f"), 4, &buf, &len, &why));
	WANT_INT(len, 4);
	WANT_MEM(buf, "ab\0c", 5);
	WANT_INT(stat(site_path("a/b/c/f"), &st), 0);
	WANT_INT(st.st_mode & 07777, 0640);
	WANT_INT(files_in(site_path("a/b/c")), 1);
	free(buf);
}

TEST(an_empty_file_is_read_as_nothing)
{
	uint8_t *buf = NULL;
	size_t len = 99;

	SITE_OK(ly_file_write(site_path("empty"), "", 0, 0600, &why));
	SITE_OK(ly_file_read(site_path("empty"), 0, &buf, &len, &why));
	WANT_INT(len, 0);
	WANT_INT(buf[0], 0);
	free(buf);
}

TEST(a_file_over_its_limit_is_full_and_none_is_unknown)
{
	struct ly_why said = { "" };
	uint8_t *buf = NULL;
	size_t len;

	SITE_OK(ly_file_write(site_path("five"), "12345", 5, 0600, &why));
	WANT_INT(ly_file_read(site_path("five"), 4, &buf, &len, &said),
	    LY_FULL);
	WANT(strstr(said.text, "five: over 4 bytes"));
	WANT_INT(ly_file_read(site_path("six"), 4, &buf, &len, &said),
	    LY_UNKNOWN);
	/* One that does not say its size. */
	WANT_INT(ly_file_read("/proc/self/status", 10, &buf, &len, &said),
	    LY_FULL);
	SITE_OK(ly_file_read("/proc/self/status", 65536, &buf, &len, &why));
	WANT(len > 100);
	free(buf);
}

TEST(what_is_no_file_is_not_read_and_does_not_hang)
{
	uint8_t *buf = NULL;
	size_t len;

	WANT_INT(mkfifo(site_path("fifo"), 0600), 0);
	WANT_INT(ly_file_read(site_path("fifo"), 99, &buf, &len, NULL),
	    LY_OUTSIDE);
	WANT_INT(ly_file_read(site_path("."), 99, &buf, &len, NULL),
	    LY_OUTSIDE);
	WANT_INT(ly_file_read("/dev/zero", 99, &buf, &len, NULL), LY_OUTSIDE);
}

TEST(a_write_that_fails_leaves_the_old_file_and_says_why)
{
	struct ly_why said = { "" };
	char longer[2000];

	WANT_INT(ly_file_write(site_path("no/such/dir"), "x", 1, 0600, &said),
	    LY_UNKNOWN);
	SITE_OK(ly_file_mkdir(site_path("dir"), 0700, &why));
	WANT_INT(ly_file_write(site_path("dir"), "x", 1, 0600, &said),
	    LY_OUTSIDE);
	WANT(strstr(said.text, "rename"));
	WANT_INT(access(site_path("dir"), F_OK), 0);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	WANT_INT(ly_file_write(longer, "x", 1, 0600, &said), LY_FULL);
	WANT_INT(ly_file_mkdir(longer, 0700, &said), LY_FULL);
	WANT_INT(ly_file_mkdir("", 0700, &said), LY_REFUSED);
	SITE_OK(ly_file_write(site_path("file"), "x", 1, 0600, &why));
	WANT_INT(ly_file_mkdir(site_path("file/x"), 0700, &said), LY_OUTSIDE);
	WANT_INT(ly_file_mkdir(site_path("file"), 0700, &said), LY_OUTSIDE);
}

/* What ly_notify() says to a socket of this name. */
static void
notified(const char *name, bool abstract)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = strlen(name);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char buf[64] = "";

	memcpy(to.sun_path, name, n);
	if (abstract)
		to.sun_path[0] = '\0';
	WANT_INT(bind(fd, (struct sockaddr *)&to, len + !abstract), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	ly_notify("READY=1");
	WANT_INT(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 7);
	WANT_STR(buf, "READY=1");
	unsetenv("NOTIFY_SOCKET");
	ly_notify("READY=1");
	WANT_INT(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
	close(fd);
}

TEST(systemd_is_told_by_path_and_by_abstract_name)
{
	char name[64];

	notified(site_path("notify"), false);
	ly_print(name, sizeof(name), "@lanyard-test-%d", (int)getpid());
	notified(name, true);
}

TEST(a_notify_socket_that_is_not_there_does_not_matter)
{
	char longer[300];

	memset(longer, '/', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	setenv("NOTIFY_SOCKET", longer, 1);
	ly_notify("READY=1");
	setenv("NOTIFY_SOCKET", site_path("nobody"), 1);
	ly_notify("READY=1");
	setenv("NOTIFY_SOCKET", "", 1);
	ly_notify("READY=1");
	unsetenv("NOTIFY_SOCKET");
}

TEST_MAIN()
