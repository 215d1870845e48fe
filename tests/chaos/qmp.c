/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/qmp.h"

#include <poll.h>

#define TRY_NS (20 * NS_PER_MS)
#define ASK_NS (500 * NS_PER_MS)
#define SPANS_MAX 65536 /* more: those are not compared, which is said */

/* A time in which a guest ran, in microseconds of the day's clock. */
struct span {
	uint64_t from, to; /* to 0: it still runs */
};

struct monitor {
	int fd; /* -1: none */
	bool ready;
	uint64_t next_ns; /* when to dial or to ask again */
	char buf[65536];
	size_t got;
	struct span *spans;
	unsigned spans_n, checked;
};

static struct monitor monitors[HOSTS_N] = { { .fd = -1 }, { .fd = -1 },
	{ .fd = -1 } };
static uint64_t turn_us, turn_before_us;

static uint64_t
day_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static struct span *
open_span(struct monitor *m)
{
	if (m->spans_n == 0 || m->spans[m->spans_n - 1].to)
		return NULL;
	return &m->spans[m->spans_n - 1];
}

static void
runs(struct monitor *m, uint64_t at_us)
{
	if (!m->spans)
		m->spans = must_alloc(SPANS_MAX, sizeof(*m->spans));
	if (open_span(m) || m->spans_n == SPANS_MAX)
		return;
	m->spans[m->spans_n++] = (struct span){ .from = at_us };
}

static void
stops(struct monitor *m, uint64_t at_us)
{
	struct span *s = open_span(m);

	if (s)
		s->to = at_us > s->from ? at_us : s->from + 1;
}

/* ---- the monitor ---- */

static void
hang_up(struct monitor *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
	m->ready = false;
	m->got = 0;
	m->next_ns = now_ns() + TRY_NS;
	/* It ended after the turn before this one, nobody knows when. */
	stops(m, turn_before_us);
}

static void
say(struct monitor *m, const char *text)
{
	if (send(m->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		hang_up(m);
}

static void
dial(struct monitor *m, unsigned host)
{
	struct place p;
	char path[200];

	m->next_ns = now_ns() + TRY_NS;
	snprintf(path, sizeof(path), "%s/chaos.sock", world.host[host].run);
	if (access(path, F_OK) != 0)
		return;
	place_unix(&p, path);
	m->fd = place_dial(&p);
	if (m->fd >= 0)
		(void)fcntl(m->fd, F_SETFL, O_NONBLOCK);
}

/* "timestamp": {"seconds": S, "microseconds": U} */
static uint64_t
time_of(const char *line)
{
	const char *s = strstr(line, "\"seconds\": "),
		   *u = strstr(line, "\"microseconds\": ");

	if (!s || !u)
		return day_us();
	return strtoull(s + 11, NULL, 10) * 1000000 +
	    strtoull(u + 16, NULL, 10);
}

static void
hear(struct monitor *m, const char *line)
{
	if (strstr(line, "\"QMP\"")) {
		say(m,
		    "{\"execute\":\"qmp_capabilities\"}\n"
		    "{\"execute\":\"query-status\"}\n");
		m->ready = true;
		m->next_ns = now_ns() + ASK_NS;
	} else if (strstr(line, "\"event\": \"STOP\"")) {
		stops(m, time_of(line));
	} else if (strstr(line, "\"event\": \"RESUME\"")) {
		runs(m, time_of(line));
	} else if (strstr(line, "\"running\": true")) {
		runs(m, day_us());
	} else if (strstr(line, "\"running\": false")) {
		stops(m, day_us());
	}
}

static void
take(struct monitor *m)
{
	char *end;
	ssize_t n;

	while (m->fd >= 0) {
		n = recv(m->fd, m->buf + m->got, sizeof(m->buf) - 1 - m->got,
		    MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			hang_up(m);
			return;
		}
		m->got += (size_t)n;
		m->buf[m->got] = '\0';
		while (m->fd >= 0 && (end = strchr(m->buf, '\n'))) {
			*end = '\0';
			hear(m, m->buf);
			m->got -= (size_t)(end + 1 - m->buf);
			memmove(m->buf, end + 1, m->got + 1);
		}
	}
}

void
qmp_turn(unsigned wait_ms)
{
	struct pollfd p[HOSTS_N];
	uint64_t now = now_ns();

	turn_before_us = turn_us;
	turn_us = day_us();
	for (unsigned i = 0; i < HOSTS_N; i++) {
		struct monitor *m = &monitors[i];

		if (now >= m->next_ns && m->fd < 0)
			dial(m, i);
		if (now >= m->next_ns && m->ready) {
			m->next_ns = now + ASK_NS;
			say(m, "{\"execute\":\"query-status\"}\n");
		}
		p[i] = (struct pollfd){ .fd = m->fd, .events = POLLIN };
	}
	poll(p, HOSTS_N, (int)wait_ms);
	for (unsigned i = 0; i < HOSTS_N; i++)
		take(&monitors[i]);
}

int
qmp_where(void)
{
	for (int i = 0; i < HOSTS_N; i++)
		if (open_span(&monitors[i]))
			return i;
	return -1;
}

unsigned
qmp_alive(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < HOSTS_N; i++)
		n += monitors[i].ready;
	return n;
}

/* ---- never two ---- */

static bool
overlap(const struct span *a, const struct span *b)
{
	return (!b->to || a->from < b->to) && (!a->to || b->from < a->to);
}

static void
check_pair(unsigned i, unsigned k)
{
	const struct monitor *a = &monitors[i], *b = &monitors[k];

	for (unsigned x = a->checked; x < a->spans_n; x++)
		for (unsigned y = 0; y < b->spans_n; y++)
			if (overlap(&a->spans[x], &b->spans[y]))
				violation(ONE_COPY,
				    "two copies ran at once: %s from %.6f and"
				    " %s from %.6f",
				    world.host[i].name,
				    (double)a->spans[x].from / 1e6,
				    world.host[k].name,
				    (double)b->spans[y].from / 1e6);
}

unsigned
qmp_check(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < HOSTS_N; i++)
		for (unsigned k = 0; k < HOSTS_N; k++)
			if (i != k)
				check_pair(i, k);
	for (unsigned i = 0; i < HOSTS_N; i++) {
		struct monitor *m = &monitors[i];

		/* one that still runs is compared again */
		m->checked = m->spans_n - (open_span(m) != NULL);
		n += m->spans_n;
	}
	return n;
}
