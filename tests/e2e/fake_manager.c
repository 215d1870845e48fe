/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager that says what it is told to: fake_manager SOCKET DIR LOG
 *
 * Listens on SOCKET. Of each connection it reads one line, appends it to LOG,
 * and answers with the file DIR/VERB ("do" of the request), line by line. A
 * line that begins with '@' is not sent but done:
 *   @close      closes without another word
 *   @hang       waits until the other side closes
 *   @int        sends SIGINT to whoever asked
 *   @bytes N    sends N bytes without an end of line
 * Without the file it answers {"ok":false,"rc":"unknown"}. Ends on SIGTERM,
 * or after ten minutes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* struct ucred */
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int
say(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			return -1;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static void
hang(int fd)
{
	char c;

	while (recv(fd, &c, 1, 0) > 0)
		;
}

static void
interrupt(int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
	    who.pid > 1)
		kill(who.pid, SIGINT);
}

/* False: that was the last thing. */
static int
act(int fd, const char *line)
{
	if (strncmp(line, "@hang", 5) == 0) {
		hang(fd);
		return 0;
	}
	if (strncmp(line, "@close", 6) == 0)
		return 0;
	if (strncmp(line, "@int", 4) == 0)
		interrupt(fd);
	if (strncmp(line, "@bytes ", 7) == 0)
		for (long n = atol(line + 7); n > 0; n--)
			if (say(fd, "x", 1) != 0)
				return 0;
	return 1;
}

static void
answer(int fd, const char *dir, const char *verb)
{
	static const char none[] =
	    "{\"ok\":false,\"rc\":\"unknown\",\"why\":\"no such verb\"}\n";
	char path[512], *line = NULL;
	size_t room = 0;
	ssize_t n;
	FILE *from;

	snprintf(path, sizeof(path), "%s/%s", dir, verb);
	from = fopen(path, "r");
	if (!from) {
		say(fd, none, strlen(none));
		return;
	}
	while ((n = getline(&line, &room, from)) > 0)
		if (line[0] == '@' ? !act(fd, line) :
				     say(fd, line, (size_t)n) != 0)
			break;
	free(line);
	fclose(from);
}

static void
serve(int fd, const char *dir, const char *log)
{
	static char line[1 << 20];
	char verb[64] = "none";
	size_t len = 0;
	const char *at;
	FILE *to;

	while (len < sizeof(line) - 1 && recv(fd, line + len, 1, 0) == 1)
		if (line[len++] == '\n')
			break;
	line[len] = '\0';
	to = fopen(log, "a");
	if (to) {
		fputs(line, to);
		fclose(to);
	}
	at = strstr(line, "\"do\":\"");
	if (at)
		sscanf(at + 6, "%63[a-z.]", verb);
	if (len > 0 && line[len - 1] == '\n')
		answer(fd, dir, verb);
}

int
main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int on = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc != 4 || strlen(argv[1]) >= sizeof(addr.sun_path) || on < 0)
		return 2;
	strcpy(addr.sun_path, argv[1]);
	alarm(600);
	if (bind(on, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
	    listen(on, 16) != 0)
		return 1;
	for (;;) {
		int fd = accept(on, NULL, NULL);

		if (fd < 0)
			return 1;
		serve(fd, argv[2], argv[3]);
		close(fd);
	}
}
