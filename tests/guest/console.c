/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guest/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

bool
ly_console_open(struct ly_console *c, const char *path)
{
	struct termios t;

	*c = (struct ly_console){ .fd = open(path, O_RDWR | O_NOCTTY) };
	if (c->fd < 0)
		return false;
	if (tcgetattr(c->fd, &t) == 0) {
		cfmakeraw(&t);
		t.c_cflag |= CLOCAL;
		tcsetattr(c->fd, TCSANOW, &t);
	}
	return true;
}

static void
write_all(int fd, const char *at, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
}

void
ly_console_say(struct ly_console *c, const char *event, const char *fmt, ...)
{
	char text[LY_CONSOLE_RECORD_MAX];
	size_t room = sizeof(text) - sizeof("...}\n"), len;
	va_list args;
	int n;

	len = (size_t)snprintf(text, room, "LANYARD {\"event\":\"%s\"%s", event,
	    *fmt ? "," : "");
	va_start(args, fmt);
	n = vsnprintf(text + len, room - len, fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= room - len)
		len = strlen(strcpy(text + room - 1, "...")) + room - 1;
	else
		len += (size_t)n;
	memcpy(text + len, "}\n", 2);
	write_all(c->fd, text, len + 2);
}

/* Takes the first line out of what was read; CR ends a line too. */
static bool
split(struct ly_console *c, char line[LY_CONSOLE_LINE_MAX])
{
	size_t n = 0;

	while (n < c->in_len && c->in[n] != '\n' && c->in[n] != '\r')
		n++;
	if (n == c->in_len && n < sizeof(c->in) - 1)
		return false;
	memcpy(line, c->in, n);
	line[n] = '\0';
	n = ly_min(n + 1, c->in_len);
	c->in_len -= n;
	memmove(c->in, c->in + n, c->in_len);
	return true;
}

bool
ly_console_line(struct ly_console *c, int wait_ms,
    char line[LY_CONSOLE_LINE_MAX])
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	ssize_t n;

	if (split(c, line))
		return true;
	if (poll(&p, 1, wait_ms) <= 0)
		return false;
	n = read(c->fd, c->in + c->in_len, sizeof(c->in) - 1 - c->in_len);
	if (n > 0)
		c->in_len += (size_t)n;
	return split(c, line);
}

void
ly_console_clean(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
			*text = '?';
}
