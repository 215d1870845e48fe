/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor's lines, and the client against a monitor played here. */
#include "agent/io/qmp.h"
#include "agent/io/qmpline.h"
#include "lib/base/text.h"
#include "tests/test.h"

#include <unistd.h>

/* ---- lines ---- */

static void
add(struct ly_lines *l, const char *text)
{
	WANT_INT(ly_lines_add(l, text, strlen(text), NULL), LY_OK);
}

TEST(lines_come_whole_however_they_were_cut)
{
	const char *text = "one\r\ntwo\n\nthree\nrest";
	static const char *const want[] = { "one", "two", "", "three" };

	for (size_t cut = 1; cut <= strlen(text); cut++) {
		struct ly_lines l = { 0 };
		size_t got = 0, len;
		const char *line;

		for (size_t at = 0; at < strlen(text); at += cut) {
			WANT_INT(ly_lines_add(&l, text + at,
				     ly_min(cut, strlen(text) - at), NULL),
			    LY_OK);
			while (ly_lines_next(&l, &line, &len)) {
				WANT(got < LY_COUNT(want));
				WANT_INT(len, strlen(want[got]));
				WANT_MEM(line, want[got], len);
				got++;
			}
		}
		WANT_INT(got, LY_COUNT(want));
		ly_lines_fini(&l);
	}
}

TEST(a_line_that_does_not_end_is_refused_at_the_limit)
{
	static char piece[4096];
	struct ly_lines l = { 0 };
	struct ly_why why;
	enum ly_rc rc = LY_OK;
	size_t n = 0, len;
	const char *line;

	memset(piece, 'x', sizeof(piece));
	while (!rc && n < 10 * LY_QMP_LINE_MAX) {
		rc = ly_lines_add(&l, piece, sizeof(piece), &why);
		WANT(!ly_lines_next(&l, &line, &len));
		n += sizeof(piece);
	}
	WANT_INT(rc, LY_FULL);
	WANT_INT(n, LY_QMP_LINE_MAX + sizeof(piece));
	ly_lines_fini(&l);
}

TEST(many_lines_do_not_add_up_to_the_limit)
{
	static char piece[4096];
	struct ly_lines l = { 0 };
	size_t len;
	const char *line;

	memset(piece, 'x', sizeof(piece) - 2);
	piece[sizeof(piece) - 2] = '\n';
	for (size_t i = 0; i < 1000; i++) {
		add(&l, piece);
		WANT(ly_lines_next(&l, &line, &len));
		WANT_INT(len, sizeof(piece) - 2);
	}
	ly_lines_fini(&l);
}

/* ---- one line ---- */

static enum ly_rc
read_line(const char *line, struct ly_qmp_said *said)
{
	struct ly_why why = { "" };
	enum ly_rc rc = ly_qmp_read(line, strlen(line), said, &why);

	WANT(rc == LY_OK || why.text[0]);
	return rc;
}

TEST(what_the_monitor_says_is_told_apart)
{
	struct ly_qmp_said said;

	WANT_INT(read_line("{\"QMP\":{\"version\":{}}}", &said), LY_OK);
	WANT_INT(said.kind, LY_QMP_GREETING);
	ly_qmp_said_fini(&said);

	WANT_INT(read_line("{\"return\":{\"a\":7},\"id\":9}", &said), LY_OK);
	WANT_INT(said.kind, LY_QMP_RETURN);
	WANT_INT(said.id, 9);
	WANT_INT(json_integer_value(json_object_get(said.data, "a")), 7);
	ly_qmp_said_fini(&said);

	WANT_INT(read_line("{\"error\":{\"class\":\"GenericError\","
			   "\"desc\":\"no\\u0007pe\"},\"id\":3}",
		     &said),
	    LY_OK);
	WANT_INT(said.kind, LY_QMP_ERROR);
	WANT_STR(said.name, "GenericError");
	WANT_STR(said.text, "no pe"); /* safe in a log line */
	ly_qmp_said_fini(&said);

	WANT_INT(read_line("{\"event\":\"STOP\",\"timestamp\":{}}", &said),
	    LY_OK);
	WANT_INT(said.kind, LY_QMP_EVENT);
	WANT_STR(said.name, "STOP");
	WANT(!said.data);
	ly_qmp_said_fini(&said);
}

TEST(what_is_not_qmp_is_refused)
{
	static const char *const bad[] = { "", "{", "[]", "7", "{}", "null",
		"{\"event\":7}", "{\"error\":7}", "{\"error\":{}}",
		"{\"id\":1}", "{\"return\":1,\"return\":2}", "\xff\xfe",
		"{\"event\":\"\xff\"}" };
	struct ly_qmp_said said;

	for (size_t i = 0; i < LY_COUNT(bad); i++)
		WANT_INT(read_line(bad[i], &said), LY_MALFORMED);
}

/* ---- the client ---- */

static struct lab {
	uv_loop_t loop;
	uv_pipe_t server, peer;
	struct ly_qmp *qmp;
	char path[64];
	bool have_peer, ready, closed, greets, negotiates;
	char why[320];
	char heard[8192]; /* by the monitor */
	char event[64];
	unsigned answers;
	enum ly_rc rc;
	char text[320];
	int value;
} lab;

static void
on_alloc(uv_handle_t *handle, size_t n, uv_buf_t *buf)
{
	static char room[8192];

	(void)handle;
	(void)n;
	*buf = uv_buf_init(room, sizeof(room));
}

static void
say(const char *text)
{
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)text,
	    (unsigned)strlen(text));

	WANT_INT(uv_try_write((uv_stream_t *)&lab.peer, &buf, 1), strlen(text));
}

static void
on_heard(uv_stream_t *peer, ssize_t n, const uv_buf_t *buf)
{
	size_t have = strlen(lab.heard);
	char answer[64];

	(void)peer;
	if (n <= 0)
		return;
	WANT(have + (size_t)n < sizeof(lab.heard));
	memcpy(lab.heard + have, buf->base, (size_t)n);
	lab.heard[have + (size_t)n] = '\0';
	if (lab.negotiates && strstr(lab.heard, "\"qmp_capabilities\"")) {
		lab.negotiates = false;
		ly_print(answer, sizeof(answer),
		    "{\"return\":{},\"id\":%d}\r\n",
		    atoi(strstr(lab.heard, "\"id\":") + 5));
		lab.heard[0] = '\0';
		say(answer);
	}
}

static void
on_peer(uv_stream_t *server, int status)
{
	WANT_INT(status, 0);
	WANT_INT(uv_pipe_init(&lab.loop, &lab.peer, 0), 0);
	WANT_INT(uv_accept(server, (uv_stream_t *)&lab.peer), 0);
	lab.have_peer = true;
	uv_read_start((uv_stream_t *)&lab.peer, on_alloc, on_heard);
	if (lab.greets)
		say("{\"QMP\":{}}\r\n");
}

static void
on_ready(void *arg)
{
	(void)arg;
	lab.ready = true;
}

static void
on_event(void *arg, const char *name, const json_t *data)
{
	(void)arg;
	(void)data;
	ly_copy(lab.event, sizeof(lab.event), name);
}

static void
on_close(void *arg, const char *why)
{
	(void)arg;
	lab.qmp = NULL;
	lab.closed = true;
	ly_copy(lab.why, sizeof(lab.why), why);
}

static const struct ly_qmp_ops ops = { on_ready, on_event, on_close };

static void
on_answer(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	(void)arg;
	lab.answers++;
	lab.rc = rc;
	lab.value = (int)json_integer_value(value);
	ly_copy(lab.text, sizeof(lab.text), why);
}

static void
listen_now(void)
{
	WANT_INT(uv_pipe_init(&lab.loop, &lab.server, 0), 0);
	WANT_INT(uv_pipe_bind(&lab.server, lab.path), 0);
	WANT_INT(uv_listen((uv_stream_t *)&lab.server, 1, on_peer), 0);
}

static void
begin(unsigned patience_ms)
{
	static unsigned n;

	memset(&lab, 0, sizeof(lab));
	lab.greets = lab.negotiates = true;
	WANT_INT(uv_loop_init(&lab.loop), 0);
	ly_print(lab.path, sizeof(lab.path), "/tmp/lyqmp-%d-%u", getpid(), n++);
	WANT_INT(ly_qmp_open(&lab.loop, lab.path, patience_ms, &ops, &lab,
		     &lab.qmp, NULL),
	    LY_OK);
}

static void
end(void)
{
	if (lab.qmp)
		ly_qmp_close(lab.qmp);
	if (lab.have_peer)
		uv_close((uv_handle_t *)&lab.peer, NULL);
	if (lab.server.loop)
		uv_close((uv_handle_t *)&lab.server, NULL);
	uv_run(&lab.loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&lab.loop), 0);
}

#define UNTIL(cond)                                                            \
	do {                                                                   \
		for (unsigned i_ = 0; !(cond) && i_ < 2000; i_++) {            \
			uv_run(&lab.loop, UV_RUN_NOWAIT);                      \
			usleep(5000);                                          \
		}                                                              \
		WANT(cond);                                                    \
	} while (0)

static void
begin_ready(void)
{
	begin(5000);
	listen_now();
	UNTIL(lab.ready);
}

TEST(a_monitor_that_opens_late_is_waited_for)
{
	begin(10000);
	for (int i = 0; i < 10; i++) {
		uv_run(&lab.loop, UV_RUN_NOWAIT);
		usleep(10000);
	}
	WANT(!lab.closed);
	listen_now();
	UNTIL(lab.ready);
	end();
}

TEST(a_monitor_that_never_opens_is_given_up)
{
	begin(60);
	UNTIL(lab.closed);
	WANT(strstr(lab.why, "did not open in time"));
	end();
}

TEST(a_monitor_that_does_not_greet_is_given_up)
{
	begin(200);
	lab.greets = false;
	listen_now();
	UNTIL(lab.closed);
	WANT(strstr(lab.why, "did not greet in time"));
	end();
}

TEST(a_monitor_that_does_not_negotiate_is_given_up)
{
	begin(200);
	lab.negotiates = false;
	listen_now();
	UNTIL(lab.closed);
	WANT(strstr(lab.why, "did not negotiate in time"));
	end();
}

TEST(a_command_gets_its_own_answer)
{
	begin_ready();
	ly_qmp_ask(lab.qmp, "one", NULL, 0, NULL, NULL);
	ly_qmp_ask(lab.qmp, "two", json_pack("{s:i}", "n", 5), 0, on_answer,
	    &lab);
	UNTIL(strstr(lab.heard, "\"two\""));
	WANT(strstr(lab.heard, "\"arguments\":{\"n\":5}"));
	say("{\"event\":\"STOP\"}\r\n{\"return\":4,\"id\":3}\r\n");
	UNTIL(lab.answers);
	WANT_INT(lab.rc, LY_OK);
	WANT_INT(lab.value, 4);
	WANT_STR(lab.event, "STOP");
	end();
}

TEST(a_refusal_is_told_in_qemus_words)
{
	begin_ready();
	ly_qmp_ask(lab.qmp, "cont", NULL, 0, on_answer, &lab);
	UNTIL(strstr(lab.heard, "cont"));
	say("{\"error\":{\"class\":\"GenericError\",\"desc\":\"Not now\"},"
	    "\"id\":2}\r\n");
	UNTIL(lab.answers);
	WANT_INT(lab.rc, LY_REFUSED);
	WANT_STR(lab.text, "cont: Not now");
	end();
}

TEST(a_command_not_answered_is_an_error_and_a_late_answer_is_dropped)
{
	begin_ready();
	ly_qmp_ask(lab.qmp, "query-status", NULL, 50, on_answer, &lab);
	UNTIL(lab.answers);
	WANT_INT(lab.rc, LY_OUTSIDE);
	WANT_STR(lab.text, "query-status: QEMU has not answered in time");
	say("{\"return\":{},\"id\":2}\r\n{\"event\":\"RESUME\"}\r\n");
	UNTIL(lab.event[0]);
	WANT_INT(lab.answers, 1);
	WANT(!lab.closed);
	end();
}

TEST(what_was_asked_is_told_before_the_monitor_is_gone)
{
	begin_ready();
	ly_qmp_ask(lab.qmp, "quit", NULL, 0, on_answer, &lab);
	ly_qmp_ask(lab.qmp, "stop", NULL, 0, on_answer, &lab);
	UNTIL(strstr(lab.heard, "stop"));
	lab.have_peer = false;
	uv_close((uv_handle_t *)&lab.peer, NULL);
	UNTIL(lab.closed);
	WANT_INT(lab.answers, 2);
	WANT_INT(lab.rc, LY_OUTSIDE);
	WANT_STR(lab.why, "QEMU has closed its monitor");
	end();
}

TEST(a_monitor_that_says_rubbish_is_closed)
{
	begin_ready();
	say("hello\r\n");
	UNTIL(lab.closed);
	WANT(strstr(lab.why, "not a JSON object"));
	end();
}

TEST(a_forgotten_command_calls_nobody)
{
	begin_ready();
	ly_qmp_ask(lab.qmp, "stop", NULL, 0, on_answer, &lab);
	UNTIL(strstr(lab.heard, "stop"));
	ly_qmp_forget(lab.qmp, &lab);
	say("{\"return\":{},\"id\":2}\r\n{\"event\":\"STOP\"}\r\n");
	UNTIL(lab.event[0]);
	WANT_INT(lab.answers, 0);
	end();
}

TEST(too_many_commands_are_refused_from_the_loop)
{
	begin_ready();
	for (unsigned i = 0; i < LY_QMP_ASKED_MAX + 3; i++)
		ly_qmp_ask(lab.qmp, "query-status", NULL, 0, on_answer, &lab);
	WANT_INT(lab.answers, 0);
	UNTIL(lab.answers == 3);
	WANT_INT(lab.rc, LY_FULL);
	end();
}

TEST(a_command_before_the_monitor_is_ready_is_refused_from_the_loop)
{
	begin(5000);
	ly_qmp_ask(lab.qmp, "stop", NULL, 0, on_answer, &lab);
	WANT_INT(lab.answers, 0);
	UNTIL(lab.answers);
	WANT_INT(lab.rc, LY_OUTSIDE);
	listen_now();
	UNTIL(lab.ready);
	end();
}

static void
close_it(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	(void)rc;
	(void)value;
	(void)why;
	on_answer(arg, rc, value, why);
	ly_qmp_close(ly_take(lab.qmp));
}

TEST(a_callback_may_close_the_monitor)
{
	begin_ready();
	ly_qmp_ask(lab.qmp, "one", NULL, 0, close_it, &lab);
	ly_qmp_ask(lab.qmp, "two", NULL, 0, on_answer, &lab);
	UNTIL(strstr(lab.heard, "two"));
	say("{\"return\":{},\"id\":2}\r\n{\"return\":{},\"id\":3}\r\n");
	UNTIL(lab.answers);
	end();
	WANT_INT(lab.answers, 1);
	WANT(!lab.closed);
}

TEST_MAIN()
