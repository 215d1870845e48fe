/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's serial line: records out, commands in, one a line. The line is
 * raw (no echo, "\n" only), records are written whole, and writing blocks: a
 * reader that stops reading stops the guest's loop, not its kernel.
 */
#ifndef LY_GUEST_CONSOLE_H
#define LY_GUEST_CONSOLE_H

#include "lib/base/base.h"

#define LY_CONSOLE_RECORD_MAX 2048 /* longer ones are cut, marked "..." */
#define LY_CONSOLE_LINE_MAX 128	   /* of a longer one the end is lost */

struct ly_console {
	int fd;
	char in[LY_CONSOLE_LINE_MAX];
	size_t in_len;
};

LY_MUST bool ly_console_open(struct ly_console *c, const char *path);

/* Writes LANYARD {"event":"EVENT",...}; `fmt` makes what stands at the dots
 * and must make JSON. */
void ly_console_say(struct ly_console *c, const char *event, const char *fmt,
    ...) LY_PRINTF(3, 4);

/* Waits at most `wait_ms` for a whole line; false if none came. */
LY_MUST bool ly_console_line(struct ly_console *c, int wait_ms,
    char line[LY_CONSOLE_LINE_MAX]);

/* Makes any text safe between the quotes of a JSON string, in place. */
void ly_console_clean(char *text);

#endif
