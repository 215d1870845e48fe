/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/err.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const names[LY_RCS] = {
	[LY_OK] = "ok",
	[LY_SHORT] = "short",
	[LY_MALFORMED] = "malformed",
	[LY_FENCED] = "fenced",
	[LY_BUSY] = "busy",
	[LY_OUTSIDE] = "outside",
	[LY_REFUSED] = "refused",
	[LY_UNKNOWN] = "unknown",
	[LY_FAILED] = "failed",
	[LY_FULL] = "full",
};

const char *
ly_rc_name(unsigned rc)
{
	return rc < LY_COUNT(names) && names[rc] ? names[rc] : "?";
}

enum ly_rc
ly_fail(struct ly_why *why, enum ly_rc rc, const char *fmt, ...)
{
	va_list ap;

	if (!why)
		return rc;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return rc;
}

enum ly_rc
ly_fail_in(struct ly_why *why, enum ly_rc rc, const char *fmt, ...)
{
	struct ly_why old;
	size_t n;
	va_list ap;

	if (!why)
		return rc;
	old = *why;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	n = strlen(why->text);
	if (n + 3 < sizeof(why->text)) {
		size_t left = sizeof(why->text) - n - 3;
		size_t len = ly_min(strlen(old.text), left);

		memcpy(why->text + n, ": ", 2);
		memcpy(why->text + n + 2, old.text, len);
		why->text[n + 2 + len] = '\0';
	}
	return rc;
}
