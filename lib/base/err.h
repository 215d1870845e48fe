/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors. A code is named for what the caller may do next; the text says what
 * happened, once, where it is known, for the operator who will read it. The
 * code may be told to a peer, the text never is (it may name our files).
 *
 * The values are on the wire (field `rc` of many messages): never renumber.
 */
#ifndef LY_BASE_ERR_H
#define LY_BASE_ERR_H

#include "lib/base/base.h"

enum ly_rc {
	LY_OK = 0,
	LY_SHORT = 1,	  /* feed more bytes */
	LY_MALFORMED = 2, /* drop the link */
	LY_FENCED = 3,	  /* stop for good: another holds the lease */
	LY_BUSY = 4,	  /* try again, unchanged */
	LY_OUTSIDE = 5,	  /* kernel, TLS, TPM, disk or hypervisor said no */
	LY_REFUSED = 6, /* a rule of ours says no; asking again will not help */
	LY_UNKNOWN = 7, /* no such host, VM, migration, command */
	LY_FAILED = 8,	/* the TPM is in failure mode until the VM resets */
	LY_FULL = 9,	/* a named limit is reached */
	LY_RCS
};

/* Where a failure's text is put. Callers who do not care pass NULL. */
struct ly_why {
	char text[320];
};

/* Puts the text into `why` (cut at its size) and returns `rc`, so that a
 * function may `return ly_fail(why, LY_OUTSIDE, "...")`. */
enum ly_rc ly_fail(struct ly_why *why, enum ly_rc rc, const char *fmt, ...)
    LY_PRINTF(3, 4);

/* Puts "what: " before a text that is there already, and returns `rc`. */
enum ly_rc ly_fail_in(struct ly_why *why, enum ly_rc rc, const char *fmt, ...)
    LY_PRINTF(3, 4);

/* "refused", "fenced", ...: one word for logs and JSON; "?" if out of range. */
const char *ly_rc_name(unsigned rc);

#endif
