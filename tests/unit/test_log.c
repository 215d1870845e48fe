/* SPDX-License-Identifier: Apache-2.0 */
/* The log, as it comes out of standard error. */
#include "lib/io/log.h"
#include "tests/unit/site.h"

#include <fcntl.h>
#include <jansson.h>

static char out[8192];
static int saved;

static void
listen_in(void)
{
	int fd = open(site_path("log"), O_RDWR | O_CREAT | O_TRUNC, 0600);

	WANT(fd >= 0);
	saved = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

/* Gives stderr back; `out` has what was said meanwhile. */
static void
heard(void)
{
	uint8_t *buf = NULL;
	size_t len;

	dup2(saved, STDERR_FILENO);
	close(saved);
	SITE_OK(
	    ly_file_read(site_path("log"), sizeof(out) - 1, &buf, &len, &why));
	memcpy(out, buf, len + 1);
	free(buf);
}

static unsigned
lines(void)
{
	unsigned n = 0;

	for (const char *c = out; *c; c++)
		n += *c == '\n';
	return n;
}

TEST(a_plain_line_has_time_program_level_and_who)
{
	ly_log_setup("agent", false, LY_INFO);
	listen_in();
	ly_log(LY_NOTICE, "vm web1", "epoch %u", 4);
	heard();
	WANT_INT(lines(), 1);
	WANT(strstr(out, "Z agent notice: vm web1: epoch 4\n"));
	WANT(out[0] == '2' && out[10] == 'T');
}

TEST(what_is_below_the_level_is_not_said)
{
	ly_log_setup("agent", false, LY_WARNING);
	listen_in();
	ly_log(LY_NOTICE, "a", "no");
	ly_log(LY_WARNING, "a", "yes");
	ly_log_alarm("a", "%s", "loud");
	heard();
	WANT_INT(lines(), 2);
	WANT(strstr(out, "agent error: a: ALARM loud\n"));
	WANT(ly_log_wants(LY_ERROR));
	WANT(!ly_log_wants(LY_INFO));
}

TEST(what_a_peer_says_cannot_begin_a_line)
{
	ly_log_setup("agent", false, LY_INFO);
	listen_in();
	ly_log(LY_INFO, "who\n<0>", "one\ntwo\r\x1b[31m\x7f");
	heard();
	WANT_INT(lines(), 1);
	WANT(strstr(out, "who?<0>: one?two??[31m?\n"));
}

TEST(a_line_too_long_is_cut_and_still_a_line)
{
	char text[5000];

	memset(text, '"', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int json = 0; json < 2; json++) {
		ly_log_setup("agent", json, LY_INFO);
		listen_in();
		ly_log(LY_INFO, "a", "%s", text);
		heard();
		WANT_INT(lines(), 1);
		WANT(strlen(out) > 1000);
		WANT(out[strlen(out) - 1] == '\n');
	}
}

TEST(json_is_one_object_a_line_whatever_is_said)
{
	static const char *const said[] = { "plain", "quo\"te \\ back",
		"new\nline", "gr\xc3\xbc\xc3\x9f te", "not \xff utf-8", "" };
	json_t *o;

	ly_log_setup("agent", true, LY_DEBUG);
	for (size_t i = 0; i < LY_COUNT(said); i++) {
		listen_in();
		ly_log(LY_DEBUG, "vm \"a\"", "%s", said[i]);
		heard();
		WANT_INT(lines(), 1);
		o = json_loads(out, 0, NULL);
		WANT(o);
		WANT_STR(json_string_value(json_object_get(o, "who")),
		    "vm \"a\"");
		WANT_STR(json_string_value(json_object_get(o, "level")),
		    "debug");
		WANT_STR(json_string_value(json_object_get(o, "text")),
		    i == 2     ? "new?line" :
			i == 4 ? "not ? utf-8" :
				 said[i]);
		json_decref(o);
	}
}

TEST(the_journal_gets_priorities_and_no_time)
{
	struct stat st;
	char stream[64];

	listen_in();
	WANT_INT(fstat(STDERR_FILENO, &st), 0);
	ly_print(stream, sizeof(stream), "%llu:%llu",
	    (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	ly_log_setup("agent", false, LY_INFO);
	ly_log(LY_WARNING, "link", "slow");
	setenv("JOURNAL_STREAM", "1:2", 1); /* of another's stderr */
	ly_log_setup("agent", false, LY_INFO);
	ly_log(LY_WARNING, "link", "slow");
	unsetenv("JOURNAL_STREAM");
	heard();
	WANT_INT(lines(), 2);
	WANT(strncmp(out, "<4>link: slow\n2", 15) == 0);
}

TEST_MAIN()
