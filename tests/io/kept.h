/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a keeper of the test's own, in a scratch directory. */
#ifndef LY_TESTS_KEPT_H
#define LY_TESTS_KEPT_H

#include "agent/io/keep.h"
#include "tests/test.h"

#include <signal.h>
#include <unistd.h>

static char kept_dir[] = "/tmp/lanyard-kept-XXXXXX";

static inline void
kept_clean_up(void)
{
	char path[sizeof(kept_dir) + 16];

	snprintf(path, sizeof(path), "%s/keeper.sock", kept_dir);
	unlink(path);
	rmdir(kept_dir);
}

/* What is kept there: nothing at first, then what the one before has left. */
static inline struct ly_keep *
kept_open(uv_loop_t *loop)
{
	static char program[256];
	struct ly_keep *keep = NULL;
	struct ly_why why = { "" };

	if (!*program) {
		const char *build = getenv("BUILD");

		snprintf(program, sizeof(program), "%s/lanyard-keeper",
		    build ? build : "build");
		ly_keep_program(program);
		signal(SIGPIPE, SIG_IGN);
		WANT(mkdtemp(kept_dir) != NULL);
		atexit(kept_clean_up);
	}
	if (ly_keep_open(loop, kept_dir, &keep, &why) != LY_OK)
		test_fail(__FILE__, __LINE__, "%s", why.text);
	return keep;
}

#endif
