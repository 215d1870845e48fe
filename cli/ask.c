/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One conversation with the manager over its Unix socket: a request on a
 * line, events on lines, the answer on a line. A connection a question.
 *
 * What goes wrong before the request is sent has changed nothing. After that,
 * a question that `changes` ends in LY_EXIT_OPEN, never in a guess.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* ppoll */
#endif
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINE_MOST ((size_t)64 << 20) /* 100,000 VMs on one line fit */
#define USUAL_S 60

/* ---- what went wrong ---- */

static int
tell(const struct ly_common *c, enum ly_rc rc, const char *rc_name, int status,
    char *text)
{
	ly_clean(text);
	fprintf(stderr, "lanyard: %s%s%s\n", c->verb ? c->verb : "",
	    c->verb ? ": " : "", text);
	if (c->json) {
		json_t *o = json_pack("{s:b, s:s, s:s}", "ok", 0, "rc",
		    rc_name ? rc_name : ly_rc_name(rc), "why", text);

		if (o)
			ly_answer_json(stdout, o);
		json_decref(o);
	}
	return status;
}

int
ly_cli_fail(const struct ly_common *c, enum ly_rc rc, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return tell(c, rc, NULL, LY_EXIT_FAILED, text);
}

int
ly_cli_usage(const struct ly_common *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ly_clean(text);
	fprintf(stderr, "lanyard: %s: %s\n", c->verb, text);
	fprintf(stderr, "lanyard: see: lanyard %s --help\n", c->verb);
	return LY_EXIT_USAGE;
}

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t interrupted;

static void
on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

bool
ly_cli_interrupted(void)
{
	return interrupted;
}

/* The signals come only while we poll, so none is missed. One that was
 * ignored when we began (nohup, a job in the background) stays so. */
static void
signals_take(sigset_t *before)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = on_signal }, was;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < LY_COUNT(signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, before);
	for (size_t i = 0; i < LY_COUNT(signals); i++)
		if (sigaction(signals[i], NULL, &was) == 0 &&
		    was.sa_handler != SIG_IGN)
			sigaction(signals[i], &sa, NULL);
}

/* ---- the connection ---- */

struct line {
	char *buf;
	size_t len, room;
	size_t start;  /* of the line that comes next */
	size_t looked; /* no end of line before this */
};

struct asking {
	const struct ly_common *c;
	const char *path;
	struct ly_cli_ask *ask;
	int fd;
	bool sent;
	uint64_t end_ms; /* 0: no limit */
	sigset_t mask;	 /* while polling */
	struct line in;
};

uint64_t
ly_cli_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void
end(const struct asking *a)
{
	if (a->ask->on_end)
		a->ask->on_end(a->ask->arg);
}

/* It was asked and has not answered. */
static int LY_PRINTF(2, 3) lost(const struct asking *a, const char *fmt, ...)
{
	bool open = a->ask->changes && a->sent;
	char text[512], all[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(all, sizeof(all), "%s%s", text,
	    open && !a->ask->explains ? "; it may or may not be done" : "");
	end(a);
	return tell(a->c, LY_OUTSIDE, open ? "open" : NULL,
	    open ? LY_EXIT_OPEN : LY_EXIT_FAILED, all);
}

static int
no_manager(const struct asking *a, int err)
{
	static const char elsewhere[] =
	    "; or name its socket with --manager or LANYARD_MANAGER";

	if (err == ENOENT)
		return ly_cli_fail(a->c, LY_OUTSIDE,
		    "%s: there is no such socket: is lanyard-manager running "
		    "on this machine? (systemctl status lanyard-manager)%s",
		    a->path, elsewhere);
	if (err == ECONNREFUSED)
		return ly_cli_fail(a->c, LY_OUTSIDE,
		    "%s: nobody listens: lanyard-manager has ended or is "
		    "starting (systemctl status lanyard-manager; journalctl "
		    "-u lanyard-manager)%s",
		    a->path, elsewhere);
	if (err == EACCES || err == EPERM)
		return ly_cli_fail(a->c, LY_OUTSIDE,
		    "%s: you may not use it: be root, or whom it belongs "
		    "to (ls -l %s)",
		    a->path, a->path);
	if (err == ENOTSOCK || err == EPROTOTYPE)
		return ly_cli_fail(a->c, LY_OUTSIDE,
		    "%s: not a manager's socket%s", a->path, elsewhere);
	if (err == EAGAIN)
		return ly_cli_fail(a->c, LY_BUSY,
		    "%s: the manager takes no more connections", a->path);
	return ly_cli_fail(a->c, LY_OUTSIDE, "%s: %s", a->path, strerror(err));
}

static int
dial(struct asking *a, uint64_t limit_s)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval most = { .tv_sec = (time_t)(limit_s ? limit_s :
							     USUAL_S) };

	if (!ly_copy(addr.sun_path, sizeof(addr.sun_path), a->path))
		return ly_cli_fail(a->c, LY_OUTSIDE,
		    "%s: longer than the %zu bytes a socket's path may have",
		    a->path, sizeof(addr.sun_path) - 1);
	a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (a->fd < 0)
		return ly_cli_fail(a->c, LY_OUTSIDE, "socket: %s",
		    strerror(errno));
	/* connect() waits for room in the listener's queue; not for ever. */
	setsockopt(a->fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
	if (connect(a->fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		return no_manager(a, errno);
	return LY_EXIT_DONE;
}

/* Until `events`, the end of our time, or Ctrl-C. */
static int
await(const struct asking *a, short events)
{
	for (;;) {
		struct pollfd p = { .fd = a->fd, .events = events };
		uint64_t now = ly_cli_now_ms();
		uint64_t left = a->end_ms > now ? a->end_ms - now : 0;
		struct timespec t = { (time_t)(left / 1000),
			(long)(left % 1000) * 1000000 };
		int n;

		if (interrupted)
			return lost(a, "interrupted");
		n = ppoll(&p, 1, a->end_ms ? &t : NULL, &a->mask);
		if (n > 0)
			return LY_EXIT_DONE;
		if (n == 0)
			return lost(a,
			    "the manager at %s has not answered "
			    "in time (--timeout)",
			    a->path);
		if (errno != EINTR)
			return lost(a, "poll: %s", strerror(errno));
	}
}

static int
say(struct asking *a, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		int status = await(a, POLLOUT);
		ssize_t n;

		if (status != LY_EXIT_DONE)
			return status;
		n = send(a->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return lost(a, "%s: %s", a->path, strerror(errno));
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return LY_EXIT_DONE;
}

static int
send_request(struct asking *a)
{
	char *text = json_dumps(a->ask->request, JSON_COMPACT);
	int status;

	if (!text)
		return ly_cli_fail(a->c, LY_OUTSIDE, "no memory");
	status = say(a, text);
	free(text);
	if (status == LY_EXIT_DONE) {
		/* Without its end the manager does nothing; with it, it may. */
		a->sent = true;
		status = say(a, "\n");
	}
	return status;
}

/* ---- lines ---- */

/* The next whole line in the buffer, NUL instead of its end; or NULL. */
static char *
line_take(struct line *in)
{
	char *end, *line;

	if (!in->buf)
		return NULL;
	end = memchr(in->buf + in->looked, '\n', in->len - in->looked);
	if (!end) {
		in->looked = in->len;
		return NULL;
	}
	*end = '\0';
	line = in->buf + in->start;
	in->start = in->looked = (size_t)(end - in->buf) + 1;
	return line;
}

/* Room for more behind what is there; what was taken makes way. */
static bool
line_room(struct line *in)
{
	size_t room = in->room ? 2 * in->room : 65536;
	char *more;

	if (in->start > 0) {
		memmove(in->buf, in->buf + in->start, in->len - in->start);
		in->len -= in->start;
		in->looked -= in->start;
		in->start = 0;
	}
	if (in->len < in->room)
		return true;
	if (room > LINE_MOST)
		return false;
	more = realloc(in->buf, room);
	if (!more)
		return false;
	in->buf = more;
	in->room = room;
	return true;
}

static int
read_line(struct asking *a, char **out)
{
	struct line *in = &a->in;

	while ((*out = line_take(in)) == NULL) {
		int status = await(a, POLLIN);
		ssize_t n;

		if (status != LY_EXIT_DONE)
			return status;
		if (!line_room(in))
			return lost(a, "%s: a line longer than %zu MiB",
			    a->path, LINE_MOST >> 20);
		n = recv(a->fd, in->buf + in->len, in->room - in->len,
		    MSG_DONTWAIT);
		if (n == 0)
			return lost(a,
			    "%s: the manager closed the connection "
			    "before it answered",
			    a->path);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return lost(a, "%s: %s", a->path, strerror(errno));
		if (n > 0)
			in->len += (size_t)n;
	}
	return LY_EXIT_DONE;
}

/* ---- answers ---- */

/* {"ok":false}: the reason, once, as the manager says it. */
static int
refused(const struct asking *a, const json_t *o)
{
	char *why = ly_answer_word(o, "why");
	char *rc = ly_answer_word(o, "rc");
	int status = !rc	     ? LY_EXIT_FAILED :
	    strcmp(rc, "open") == 0  ? LY_EXIT_OPEN :
	    strcmp(rc, "usage") == 0 ? LY_EXIT_USAGE :
				       LY_EXIT_FAILED;

	end(a);
	fprintf(stderr, "lanyard: %s: %s%s%s%s\n", a->c->verb,
	    why ? why : "the manager gives no reason", rc ? " (" : "",
	    rc ? rc : "", rc ? ")" : "");
	ly_answer_warn(o);
	if (a->c->json)
		ly_answer_json(stdout, o);
	free(why);
	free(rc);
	return status;
}

static int
read_answer(struct asking *a, json_t **answer)
{
	char *line;
	int status;

	while ((status = read_line(a, &line)) == LY_EXIT_DONE) {
		json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		const json_t *ok = json_object_get(o, "ok");

		if (json_is_true(ok)) {
			end(a);
			*answer = o;
			return LY_EXIT_DONE;
		}
		if (json_is_false(ok))
			status = refused(a, o);
		else if (!json_object_get(o, "event"))
			status = lost(a,
			    "%s: what the manager says is no "
			    "answer of ours: is it of this version?",
			    a->path);
		else if (a->ask->on_event)
			a->ask->on_event(a->ask->arg, o);
		json_decref(o);
		if (status != LY_EXIT_DONE)
			break;
	}
	return status;
}

static const char *
socket_path(const struct ly_common *c)
{
	const char *env = getenv("LANYARD_MANAGER");

	if (c->manager)
		return c->manager;
	return env && env[0] ? env : LY_MANAGER_SOCKET;
}

int
ly_cli_ask(const struct ly_common *c, struct ly_cli_ask *ask, json_t **answer)
{
	struct asking a = { .c = c,
		.ask = ask,
		.fd = -1,
		.path = socket_path(c) };
	uint64_t limit_s = c->timeout_s;
	int status;

	*answer = NULL;
	interrupted = 0;
	if (limit_s == 0 && !ask->patient)
		limit_s = USUAL_S;
	a.end_ms = limit_s ? ly_cli_now_ms() + limit_s * 1000 : 0;
	status = dial(&a, limit_s); /* nothing is asked yet: Ctrl-C may kill */
	if (ask->changes)
		signals_take(&a.mask);
	else
		sigprocmask(SIG_BLOCK, NULL, &a.mask);
	if (status == LY_EXIT_DONE)
		status = send_request(&a);
	if (status == LY_EXIT_DONE)
		status = read_answer(&a, answer);
	if (a.fd >= 0)
		close(a.fd);
	if (ask->changes)
		sigprocmask(SIG_SETMASK, &a.mask, NULL);
	free(a.in.buf);
	json_decref(ask->request);
	ask->request = NULL;
	if (status == LY_EXIT_DONE)
		ly_answer_warn(*answer);
	return status;
}

int
ly_cli_ask_plain(const struct ly_common *c, json_t *request, bool changes,
    json_t **answer)
{
	struct ly_cli_ask ask = { .request = request, .changes = changes };

	return ly_cli_ask(c, &ask, answer);
}

json_t *
ly_cli_request(const char *verb, ...)
{
	json_t *o = json_pack("{s:s}", "do", verb);
	const char *key, *value;
	va_list ap;

	va_start(ap, verb);
	while ((key = va_arg(ap, const char *)) != NULL) {
		value = va_arg(ap, const char *);
		if (value &&
		    json_object_set_new(o, key, json_string(value)) != 0)
			abort();
	}
	va_end(ap);
	return o;
}
