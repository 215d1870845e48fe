/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wanrelay: makes a long way out of a short one, for kernels without netem.
 *
 *	wanrelay [-d MS] [-r MBIT] [-q MIB] [-s CTL] [-x BYTES [-S SEED]]
 *	    LISTEN=TARGET ...
 *	wanrelay -c CTL COMMAND ...      says a command to a running one
 *
 * LISTEN and TARGET are unix:PATH or tcp:HOST:PORT; each pair relays any
 * number of connections. A byte read at t leaves at t + MS, never before one
 * read earlier. The handshake of a real connection is imitated: what a client
 * sends at once is held as if it had waited for the SYN/ACK. With -r, all
 * pairs together share so many Mbit/s in each direction.
 *
 * With -x each connection is reset at both ends after a random number of
 * bytes, both directions together: 1 to 2 * BYTES. Those before the last one
 * still arrive.
 *
 * Not imitated: loss, slow start, congestion. At most -q MiB (64) wait in one
 * direction of a connection; then reading stops until some have left.
 *
 * Control socket (Unix; one command per line, one line answered). N is a
 * pair's number in the order given, from 0; without it all pairs are meant:
 *	delay MS [N]    for bytes read from now on
 *	cut [N]         reset every connection at both ends; new ones may come
 *	down [N]        as cut, and refuse new ones
 *	blackhole [N]   nothing passes, nothing is closed; bytes stay queued,
 *	                and the kernels still acknowledge what fits
 *	restore [N]     undo down and blackhole; what was held goes on, in order
 *	stat            what there is
 *
 * One thread, one epoll. A link (two joined sockets) is dead as soon as one
 * side fails, and freed at the end of the round of events, so that an event
 * behind in the same round finds it dead and not gone.
 */
#include "tests/bench/common.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#define READ_MAX (256 * 1024)
#define READS_MAX 8 /* of one socket in one turn */
#define SOCKET_BUFFER (4 * 1024 * 1024)
#define PAIRS_MAX 64
#define CALLERS_MAX 16
#define RATE_AHEAD_NS (20 * NS_PER_MS) /* as a router's queue: then wait */

enum what { DATA, END, RESET };

struct chunk {
	struct chunk *next;
	uint64_t due;
	size_t off, len;
	enum what what;
	uint8_t data[];
};

struct watch {
	void (*ready)(struct watch *w, uint32_t events);
	int fd;
	uint32_t events; /* as epoll has them; 0: not in the set */
};

/* One socket of a link; the queue is what goes into it. A side whose queue is
 * not empty is in `busy`. */
struct side {
	struct watch w;
	struct link *link;
	bool connecting, read_end, full, shut, broken;
	struct chunk *head, *tail;
	size_t queued;
	struct side *busy_next, *busy_prev;
};

struct link {
	struct side side[2]; /* 0: the client's, 1: the target's */
	struct pair *pair;
	uint64_t born;
	uint64_t left; /* bytes until it is reset; UINT64_MAX: it is not */
	bool dead;
	struct link *next, *prev;
};

struct pair {
	struct watch w; /* fd -1 while down */
	struct place listen, target;
	uint64_t delay_ns;
	bool hole;
};

struct caller {
	struct watch w;
	size_t got;
	char line[128];
};

static int loop;
static struct pair pairs[PAIRS_MAX];
static unsigned pairs_n;
static struct caller callers[CALLERS_MAX];
static struct watch door, clock_watch;
static struct link links = { .next = &links, .prev = &links };
static struct side busy = { .busy_next = &busy, .busy_prev = &busy };
static unsigned long live, total;
static uint64_t moved[2];     /* into side 0, into side 1 */
static uint64_t line_free[2]; /* when the line has sent all it was given */
static double ns_per_byte;
static bool waits_for_line;
static uint64_t clock_set = UINT64_MAX; /* what the timer is set to */
static size_t queue_max;
static long cut_after; /* bytes, in the mean; 0: never */
static uint64_t cut_seed = 1;

static struct side *
other(struct side *s)
{
	return &s->link->side[s == &s->link->side[0]];
}

static unsigned
side_no(const struct side *s)
{
	return s == &s->link->side[1];
}

static void
watch_for(struct watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };
	int op = !events ? EPOLL_CTL_DEL :
	    w->events	 ? EPOLL_CTL_MOD :
			   EPOLL_CTL_ADD;

	if (events == w->events)
		return;
	if (epoll_ctl(loop, op, w->fd, &ev) != 0)
		die("epoll_ctl: %s", strerror(errno));
	w->events = events;
}

static bool
line_is_full(unsigned no)
{
	return ns_per_byte > 0 && line_free[no] > now_ns() + RATE_AHEAD_NS;
}

/* Wanting nothing means leaving the set: a socket in it always tells HUP. */
static void
want(struct side *s)
{
	struct side *to = other(s);
	uint32_t events = 0;

	if (s->connecting) {
		events = EPOLLOUT;
	} else if (!s->link->pair->hole && !s->broken) {
		if (!s->read_end && to->queued < queue_max) {
			if (line_is_full(side_no(to)))
				waits_for_line = true;
			else
				events |= EPOLLIN;
		}
		if (s->full)
			events |= EPOLLOUT;
	}
	watch_for(&s->w, events);
}

/* The queue. */

static void
push(struct side *to, struct chunk *c)
{
	if (to->head) {
		to->tail->next = c;
	} else {
		to->head = c;
		to->busy_next = &busy;
		to->busy_prev = busy.busy_prev;
		to->busy_prev->busy_next = busy.busy_prev = to;
	}
	to->tail = c;
	to->queued += c->len;
}

static void
pop(struct side *to)
{
	struct chunk *c = to->head;

	to->queued -= c->len;
	to->head = c->next;
	free(c);
	if (!to->head) {
		to->busy_prev->busy_next = to->busy_next;
		to->busy_next->busy_prev = to->busy_prev;
	}
}

/* When bytes read now may leave: behind the handshake, behind what the line
 * still has to send, a delay later, and never before those ahead of them. */
static uint64_t
due_at(const struct side *to, size_t len)
{
	unsigned no = side_no(to);
	const struct link *l = to->link;
	uint64_t t = now_ns(), delay = l->pair->delay_ns;
	uint64_t open = l->born + (no == 1 ? 2 : 3) * delay;

	t = t > open ? t : open;
	if (ns_per_byte > 0) {
		t = t > line_free[no] ? t : line_free[no];
		t += (uint64_t)((double)len * ns_per_byte);
		line_free[no] = t;
	}
	t += delay;
	return to->head && to->tail->due > t ? to->tail->due : t;
}

static void
queue(struct side *to, enum what what, const uint8_t *data, size_t len)
{
	struct chunk *c = malloc(sizeof(*c) + len);

	if (!c)
		die("out of memory");
	*c = (struct chunk){ .what = what, .len = len, .due = due_at(to, len) };
	if (len > 0)
		memcpy(c->data, data, len);
	push(to, c);
}

/* Links. */

static void
close_link(struct link *l, bool reset)
{
	struct linger now = { 1, 0 };

	if (l->dead)
		return;
	l->dead = true;
	live--;
	for (int i = 0; i < 2; i++) {
		struct side *s = &l->side[i];

		if (reset)
			(void)setsockopt(s->w.fd, SOL_SOCKET, SO_LINGER, &now,
			    sizeof(now));
		while (s->head)
			pop(s);
		close(s->w.fd);
	}
}

static void
free_dead(void)
{
	for (struct link *l = links.next, *next; l != &links; l = next) {
		next = l->next;
		if (!l->dead)
			continue;
		l->prev->next = next;
		next->prev = l->prev;
		free(l);
	}
}

/* Sends the head of the queue; true if it is gone. */
static bool
send_head(struct side *s)
{
	struct chunk *c = s->head;
	ssize_t n;

	if (c->what == RESET) {
		close_link(s->link, true);
		return false;
	}
	if (c->what == END) {
		s->shut = true;
		(void)shutdown(s->w.fd, SHUT_WR);
		return true;
	}
	if (s->broken)
		return true; /* nobody there any more; its RESET is coming */
	n = send(s->w.fd, c->data + c->off, c->len - c->off,
	    MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		s->full = true;
		return false;
	}
	if (n < 0) {
		s->broken = true;
		queue(other(s), RESET, NULL, 0);
		return true;
	}
	moved[side_no(s)] += (size_t)n;
	c->off += (size_t)n;
	return c->off == c->len;
}

static void
flush(struct side *s)
{
	struct link *l = s->link;
	uint64_t t = now_ns();

	if (s->connecting || l->pair->hole)
		return;
	s->full = false;
	while (s->head && s->head->due <= t && !s->full) {
		if (send_head(s))
			pop(s);
		if (l->dead)
			return;
	}
	if (l->side[0].shut && l->side[1].shut) {
		close_link(l, false);
		return;
	}
	want(s);
	want(other(s));
}

/* splitmix64 */
static uint64_t
cut_at(void)
{
	uint64_t z = cut_seed += 0x9e3779b97f4a7c15;

	if (cut_after == 0)
		return UINT64_MAX;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return 1 + (z ^ z >> 31) % (2 * (uint64_t)cut_after);
}

/* The last bytes before the cut: both ends are told behind what they get. */
static void
cut_link(struct side *s, const uint8_t *buf)
{
	struct link *l = s->link;

	queue(other(s), DATA, buf, (size_t)l->left);
	l->left = 0;
	l->side[0].read_end = l->side[1].read_end = true;
	queue(other(s), RESET, NULL, 0);
}

static void
pull(struct side *s)
{
	static uint8_t buf[READ_MAX];
	struct side *to = other(s);
	size_t most = ns_per_byte > 0 ? 16 * 1024 : sizeof(buf);

	for (int i = 0; i < READS_MAX && to->queued < queue_max &&
	     !s->read_end && !line_is_full(side_no(to));
	     i++) {
		ssize_t n = recv(s->w.fd, buf, most, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0)
			s->broken = true;
		if (n <= 0)
			s->read_end = true;
		if (n > 0 && (uint64_t)n >= s->link->left) {
			cut_link(s, buf);
			break;
		}
		if (n > 0 && cut_after > 0)
			s->link->left -= (uint64_t)n;
		queue(to,
		    n > 0      ? DATA :
			n == 0 ? END :
				 RESET,
		    buf, n > 0 ? (size_t)n : 0);
	}
	want(s);
}

static void
on_side(struct watch *w, uint32_t events)
{
	struct side *s = LY_HOLDER(w, struct side, w);
	int why = 0;
	socklen_t len = sizeof(why);

	if (s->link->dead || (s->link->pair->hole && !s->connecting))
		return;
	if (s->connecting) {
		if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &why, &len) != 0 ||
		    why != 0) {
			close_link(s->link, true);
			return;
		}
		s->connecting = false;
		want(s);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !s->read_end)
		pull(s);
	if (events & (EPOLLOUT | EPOLLERR))
		flush(s);
}

static void
side_init(struct side *s, struct link *l, int fd)
{
	s->link = l;
	s->w = (struct watch){ .ready = on_side, .fd = fd };
	set_flag(fd, IPPROTO_TCP, TCP_NODELAY); /* fails on a Unix socket */
}

static void
buffer_much(int fd)
{
	int size = SOCKET_BUFFER;

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static void
on_client(struct watch *w, LY_UNUSED uint32_t events)
{
	struct pair *p = LY_HOLDER(w, struct pair, w);
	const struct place *to = &p->target;
	int fd, up;
	struct link *l;

	if (w->fd < 0)
		return;
	fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	up = socket(to->addr.any.sa_family,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (up < 0)
		die("socket: %s", strerror(errno));
	buffer_much(up);
	l = must_alloc(1, sizeof(*l));
	l->pair = p;
	l->born = now_ns();
	l->left = cut_at();
	side_init(&l->side[0], l, fd);
	side_init(&l->side[1], l, up);
	l->next = &links;
	l->prev = links.prev;
	l->prev->next = links.prev = l;
	live++;
	total++;
	if (connect(up, &to->addr.any, to->len) != 0) {
		if (errno != EINPROGRESS) {
			close_link(l, true);
			return;
		}
		l->side[1].connecting = true;
	}
	want(&l->side[0]);
	want(&l->side[1]);
}

/* Pairs. */

static void
pair_up(struct pair *p)
{
	if (p->w.fd >= 0)
		return;
	p->w.fd = place_listen(&p->listen);
	buffer_much(p->w.fd);
	(void)fcntl(p->w.fd, F_SETFL, O_NONBLOCK);
	watch_for(&p->w, p->hole ? 0 : EPOLLIN);
}

static void
pair_delay(struct pair *p, double ms)
{
	p->delay_ns = (uint64_t)(ms * (double)NS_PER_MS);
}

static void
pair_cut(struct pair *p, LY_UNUSED double ms)
{
	for (struct link *l = links.next; l != &links; l = l->next)
		if (l->pair == p)
			close_link(l, true);
}

static void
pair_down(struct pair *p, double ms)
{
	pair_cut(p, ms);
	if (p->w.fd < 0)
		return;
	close(p->w.fd);
	p->w.fd = -1;
	p->w.events = 0;
}

static void
pair_hole(struct pair *p, bool hole)
{
	p->hole = hole;
	if (p->w.fd >= 0)
		watch_for(&p->w, hole ? 0 : EPOLLIN);
	for (struct link *l = links.next; l != &links; l = l->next) {
		for (int i = 0; i < 2 && !l->dead && l->pair == p; i++) {
			want(&l->side[i]);
			flush(&l->side[i]);
		}
	}
}

static void
pair_blackhole(struct pair *p, LY_UNUSED double ms)
{
	pair_hole(p, true);
}

static void
pair_restore(struct pair *p, LY_UNUSED double ms)
{
	pair_up(p);
	pair_hole(p, false);
}

static void
pair_add(const char *text)
{
	const char *middle = strchr(text, '=');
	char from[256];
	struct pair *p = &pairs[pairs_n];

	if (!middle || (size_t)(middle - text) >= sizeof(from))
		die("%s: not LISTEN=TARGET", text);
	if (pairs_n++ == PAIRS_MAX)
		die("more than %d pairs", PAIRS_MAX);
	memcpy(from, text, (size_t)(middle - text));
	from[middle - text] = '\0';
	place_parse(&p->listen, from);
	place_parse(&p->target, middle + 1);
	p->w = (struct watch){ .ready = on_client, .fd = -1 };
	pair_up(p);
}

/* The control socket. */

static const struct verb {
	const char *name;
	void (*act)(struct pair *p, double ms);
	bool with_ms;
} verbs[] = {
	{ "delay", pair_delay, true },
	{ "cut", pair_cut, false },
	{ "down", pair_down, false },
	{ "blackhole", pair_blackhole, false },
	{ "restore", pair_restore, false },
	{ "stat", NULL, false },
};

static void
print_stat(int fd)
{
	dprintf(fd, "ok links=%lu total=%lu up_bytes=%llu down_bytes=%llu",
	    live, total, (unsigned long long)moved[1],
	    (unsigned long long)moved[0]);
	for (unsigned i = 0; i < pairs_n; i++)
		dprintf(fd, " pair%u=%.3fms%s%s", i,
		    (double)pairs[i].delay_ns / (double)NS_PER_MS,
		    pairs[i].w.fd < 0 ? ",down" : "",
		    pairs[i].hole ? ",blackhole" : "");
	dprintf(fd, "\n");
}

static bool
obey(const char *line)
{
	double number[2] = { -1, -1 }, ms = 0, only = -1;
	char word[16];
	int got = sscanf(line, "%15s %lf %lf", word, &number[0], &number[1]);
	size_t i = 0;

	while (
	    got > 0 && i < LY_COUNT(verbs) && strcmp(verbs[i].name, word) != 0)
		i++;
	if (got <= 0 || i == LY_COUNT(verbs))
		return false;
	ms = verbs[i].with_ms ? number[0] : 0;
	only = verbs[i].with_ms ? number[1] : number[0];
	if (!(ms >= 0 && ms <= 1e6) || only >= pairs_n)
		return false;
	for (unsigned p = 0; p < pairs_n; p++)
		if (verbs[i].act && (only < 0 || p == (unsigned)only))
			verbs[i].act(&pairs[p], ms);
	return true;
}

static void
on_caller(struct watch *w, LY_UNUSED uint32_t events)
{
	struct caller *c = LY_HOLDER(w, struct caller, w);
	ssize_t n = recv(w->fd, c->line + c->got, sizeof(c->line) - 1 - c->got,
	    MSG_DONTWAIT);
	char *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	c->got += n > 0 ? (size_t)n : 0;
	c->line[c->got] = '\0';
	while ((end = strchr(c->line, '\n'))) {
		*end = '\0';
		if (obey(c->line))
			print_stat(w->fd);
		else
			dprintf(w->fd, "error not understood\n");
		c->got -= (size_t)(end + 1 - c->line);
		memmove(c->line, end + 1, c->got + 1);
	}
	if (n <= 0 || c->got == sizeof(c->line) - 1) {
		close(w->fd);
		*w = (struct watch){ .fd = -1 };
	}
}

static void
on_door(struct watch *w, LY_UNUSED uint32_t events)
{
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
	size_t i = 0;

	if (fd < 0)
		return;
	while (i < CALLERS_MAX && callers[i].w.ready)
		i++;
	if (i == CALLERS_MAX) {
		close(fd);
		return;
	}
	callers[i] = (struct caller){ .w = { .ready = on_caller, .fd = fd } };
	watch_for(&callers[i].w, EPOLLIN);
}

/* The clock. */

static void
on_clock(struct watch *w, LY_UNUSED uint32_t events)
{
	uint64_t times;

	(void)!read(w->fd, &times, sizeof(times));
	clock_set = UINT64_MAX;
}

/* Sends what is due; a line that has room again is read for again. */
static void
on_time(void)
{
	uint64_t t = now_ns();

	for (struct side *s = busy.busy_next, *next; s != &busy; s = next) {
		next = s->busy_next;
		if (s->head->due > t || s->full)
			continue;
		flush(s);
		if (s->link->dead) /* both its sides left the list */
			next = busy.busy_next;
	}
	if (!waits_for_line)
		return;
	waits_for_line = false;
	for (struct link *l = links.next; l != &links; l = l->next)
		for (int i = 0; i < 2 && !l->dead; i++)
			want(&l->side[i]);
}

static void
set_clock(void)
{
	uint64_t first = UINT64_MAX;
	struct itimerspec at = { 0 };

	for (struct side *s = busy.busy_next; s != &busy; s = s->busy_next)
		if (!s->full && !s->connecting && !s->link->pair->hole &&
		    s->head->due < first)
			first = s->head->due;
	for (unsigned i = 0; i < 2 && waits_for_line; i++)
		if (line_is_full(i) && line_free[i] - RATE_AHEAD_NS < first)
			first = line_free[i] - RATE_AHEAD_NS;
	if (first != UINT64_MAX) {
		at.it_value.tv_sec = (time_t)(first / NS_PER_S);
		at.it_value.tv_nsec = (long)(first % NS_PER_S);
	}
	if (first != clock_set)
		(void)timerfd_settime(clock_watch.fd, TFD_TIMER_ABSTIME, &at,
		    NULL);
	clock_set = first;
}

static void
open_door(const char *path)
{
	struct place p;

	place_unix(&p, path);
	door = (struct watch){ .ready = on_door, .fd = place_listen(&p) };
	watch_for(&door, EPOLLIN);
}

/* Tells a running one: the words as one line; prints what it answers. */
__attribute__((noreturn)) static void
tell(const char *path, char **words, int words_n)
{
	struct place p;
	char text[512];
	size_t len = 0;
	ssize_t n;
	int fd;

	for (int i = 0; i < words_n && len < sizeof(text) - 1; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%c",
		    words[i], i + 1 < words_n ? ' ' : '\n');
	place_unix(&p, path);
	fd = place_dial(&p);
	if (fd < 0 || len >= sizeof(text) - 1 ||
	    send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len ||
	    shutdown(fd, SHUT_WR) != 0)
		die("%s: %s", path, strerror(errno));
	len = 0;
	while ((n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
		len += (size_t)n;
	fwrite(text, 1, len, stdout);
	exit(len >= 2 && strncmp(text, "ok", 2) == 0 ? 0 : 1);
}

static void
relay(void)
{
	for (;;) {
		struct epoll_event ev[128];
		int n = epoll_wait(loop, ev, LY_COUNT(ev), -1);

		for (int i = 0; i < n; i++) {
			struct watch *w = ev[i].data.ptr;

			if (w->ready)
				w->ready(w, ev[i].events);
		}
		on_time();
		free_dead();
		set_clock();
	}
}

int
main(int argc, char **argv)
{
	double ms = 0, mbit = 0;
	long mib = 64, seed = 1;
	const char *control = NULL, *tells = NULL;
	const struct opt opts[] = {
		{ 'd', OPT_REAL, &ms, "MS", "delay, one way" },
		{ 'r', OPT_REAL, &mbit, "MBIT", "a second, each way" },
		{ 'q', OPT_COUNT, &mib, "MIB", "held, each way of each" },
		{ 's', OPT_TEXT, &control, "CTL", "control socket" },
		{ 'x', OPT_COUNT, &cut_after, "BYTES", "then a reset" },
		{ 'S', OPT_COUNT, &seed, "SEED", "of -x" },
		{ 'c', OPT_TEXT, &tells, "CTL", "tell a running one" },
	};
	int at = opts_read(opts, LY_COUNT(opts), "LISTEN=TARGET ...", argc,
	    argv);

	if (at == argc || mib == 0 || mib > 4096)
		opts_usage(opts, LY_COUNT(opts), "LISTEN=TARGET ...");
	bench_start();
	if (tells)
		tell(tells, argv + at, argc - at);
	loop = epoll_create1(EPOLL_CLOEXEC);
	queue_max = (size_t)mib << 20;
	cut_seed = (uint64_t)seed;
	ns_per_byte = mbit > 0 ? 8e3 / mbit : 0;
	clock_watch = (struct watch){ .ready = on_clock,
		.fd = timerfd_create(CLOCK_MONOTONIC,
		    TFD_NONBLOCK | TFD_CLOEXEC) };
	watch_for(&clock_watch, EPOLLIN);
	for (int i = at; i < argc; i++) {
		pair_add(argv[i]);
		pair_delay(&pairs[i - at], ms);
	}
	if (control)
		open_door(control);
	relay();
}
