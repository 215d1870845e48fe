/* SPDX-License-Identifier: Apache-2.0 */
/* What carry and lanes share: two ends of a stream, with files in `dir`. */
#ifndef LY_TESTS_BENCH_ENDS_H
#define LY_TESTS_BENCH_ENDS_H

#include "lib/base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *dir;

static void
must(enum ly_rc rc, const struct ly_why *why)
{
	if (rc == LY_OK)
		return;
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, why->text);
	exit(1);
}

/* Good for the next seven calls. */
static const char *
file(const char *name)
{
	static char text[8][400];
	static unsigned at;
	char *out = text[at++ % 8];

	ly_print(out, sizeof(text[0]), "%s/%s", dir, name);
	return out;
}

#endif
