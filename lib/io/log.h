/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: one line per event on stderr, with journald's "<N>" priorities
 * when stderr is the journal (JOURNAL_STREAM), plain with a time otherwise,
 * or one JSON object a line. Never a secret, never a TPM body.
 */
#ifndef LY_IO_LOG_H
#define LY_IO_LOG_H

#include "lib/base/err.h"

enum ly_level {
	LY_ERROR = 3,
	LY_WARNING = 4,
	LY_NOTICE = 5,
	LY_INFO = 6,
	LY_DEBUG = 7
};

void ly_log_setup(const char *program, bool json, enum ly_level most);
/* `who` is the room or the thing: "link", "vm web1", "home web1". */
void ly_log(enum ly_level level, const char *who, const char *fmt, ...)
    LY_PRINTF(3, 4);
/* An alarm is an ERROR line that begins with "ALARM", for who greps. */
void ly_log_alarm(const char *who, const char *fmt, ...) LY_PRINTF(2, 3);
bool ly_log_wants(enum ly_level level);

#endif
