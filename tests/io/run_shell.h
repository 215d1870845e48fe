/* SPDX-License-Identifier: Apache-2.0 */
/* Behind manager_scene.h: a shell's commands, while the fakes live on. */
#ifndef LY_TESTS_RUN_SHELL_H
#define LY_TESTS_RUN_SHELL_H

#include "tests/io/manager_scene.h"

static char shell_out[262144];
static int shell_status;

static LY_PRINTF(1, 2) void run_shell(const char *fmt, ...)
{
	char cmd[2048];
	FILE *f;
	size_t n = 0;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	f = popen(cmd, "r");
	WANT(f);
	for (;;) {
		struct pollfd p = { .fd = fileno(f), .events = POLLIN };
		ssize_t got;

		uv_run(world.loop, UV_RUN_NOWAIT);
		if (poll(&p, 1, 5) != 1)
			continue;
		got = read(p.fd, shell_out + n, sizeof(shell_out) - 1 - n);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	shell_out[n] = '\0';
	shell_status = WEXITSTATUS(pclose(f));
}

static void
want_shell(const char *says, int code)
{
	if (shell_status != code || !strstr(shell_out, says))
		test_fail(__FILE__, __LINE__, "no \"%s\": %d: %s", says,
		    shell_status, shell_out);
}

#endif
