/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event, one line, one write(2): lines of several threads or processes do
 * not mix, and nothing a peer sent can begin a line of its own. What is not
 * printable is shown as '?'; a line is cut at LINE_MOST.
 */
#include "lib/io/log.h"

#include "lib/base/text.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MOST 1024
#define LINE_MOST 2400 /* a text of quotes only doubles in JSON */

static struct {
	char program[32];
	bool json, journal;
	enum ly_level most;
} log_ = { .program = "lanyard", .most = LY_INFO };

static const char *const level_names[] = { "?", "?", "?", "error", "warning",
	"notice", "info", "debug" };

/* systemd tells device and inode of the journal's stream, for stderr may have
 * been redirected since. */
static bool
stderr_is_journal(void)
{
	const char *said = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return said && sscanf(said, "%llu:%llu", &dev, &ino) == 2 &&
	    fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
	    st.st_ino == ino;
}

void
ly_log_setup(const char *program, bool json, enum ly_level most)
{
	ly_copy(log_.program, sizeof(log_.program), program);
	log_.json = json;
	log_.most = most;
	log_.journal = !json && stderr_is_journal();
}

bool
ly_log_wants(enum ly_level level)
{
	return level <= log_.most;
}

static void
stamp(char *out, size_t size)
{
	struct timespec ts;
	struct tm tm;
	char second[32];

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(second, sizeof(second), "%Y-%m-%dT%H:%M:%S", &tm);
	ly_print(out, size, "%s.%03dZ", second, (int)(ts.tv_nsec / 1000000));
}

static void
clean(char *text, bool ascii)
{
	for (; *text; text++) {
		uint8_t c = (uint8_t)*text;

		if (c < 0x20 || c == 0x7f || (ascii && c >= 0x80))
			*text = '?';
	}
}

/* A JSON string in quotes into `out`; bytes that are not UTF-8 become '?'. */
static void
quote(char *text, char *out, size_t size)
{
	json_t *s = json_string(text);
	size_t n;

	if (!s) {
		clean(text, true);
		s = json_string(text);
	}
	n = s ? json_dumpb(s, out, size - 1, JSON_ENCODE_ANY) : 0;
	if (n == 0 || n >= size)
		n = (size_t)snprintf(out, size, "\"?\"");
	out[n] = '\0';
	json_decref(s);
}

static int
line_json(enum ly_level level, char *who, char *text, char *out, size_t size)
{
	char when[40], who_q[160], text_q[2 * TEXT_MOST + 8];

	stamp(when, sizeof(when));
	quote(who, who_q, sizeof(who_q));
	quote(text, text_q, sizeof(text_q));
	return snprintf(out, size,
	    "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\","
	    "\"who\":%s,\"text\":%s}\n",
	    when, level_names[level], log_.program, who_q, text_q);
}

static int
line_plain(enum ly_level level, const char *who, const char *text, char *out,
    size_t size)
{
	char when[40];

	if (log_.journal)
		return snprintf(out, size, "<%d>%s: %s\n", (int)level, who,
		    text);
	stamp(when, sizeof(when));
	return snprintf(out, size, "%s %s %s: %s: %s\n", when, log_.program,
	    level_names[level], who, text);
}

static void
say(enum ly_level level, const char *who, const char *before, const char *fmt,
    va_list ap)
{
	char text[TEXT_MOST], name[72], line[LINE_MOST];
	size_t n;
	int len;

	if (!ly_log_wants(level))
		return;
	ly_copy(text, sizeof(text), before);
	n = strlen(text);
	vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	clean(text, false);
	ly_copy(name, sizeof(name), who);
	clean(name, false);
	len = log_.json ? line_json(level, name, text, line, sizeof(line)) :
			  line_plain(level, name, text, line, sizeof(line));
	if (len > 0)
		(void)!write(STDERR_FILENO, line,
		    ly_min((size_t)len, sizeof(line) - 1));
}

void
ly_log(enum ly_level level, const char *who, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(level, who, "", fmt, ap);
	va_end(ap);
}

void
ly_log_alarm(const char *who, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(LY_ERROR, who, "ALARM ", fmt, ap);
	va_end(ap);
}
