/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tpmload: a closed-loop load of raw TPM 2.0 commands over many connections.
 *
 *	tpmload [options] ENDPOINT...
 *
 * Endpoints, used round-robin; %d in one is the number of the connection:
 *	unix:PATH, tcp:HOST:PORT   raw commands
 *	ctrl:PATH                  swtpm's control protocol, as QEMU starts its
 *	                           TPM, and Startup(CLEAR); the load then runs
 *	                           on the data descriptor
 *
 * Each connection has one command under way; the next is sent when its answer
 * is there. Prints one line of JSON; exit status 0 if no command failed, 1 if
 * some did, 2 if it could not start. A silence of -L seconds is a failure.
 *
 * connect_s   to open all connections, control conversations included
 * first_us    of the slowest connection: from before connect() to its first
 *             answer (of Startup, for ctrl: else of the first command)
 * p50_us ...  from before send() to the whole answer, warm-up left out
 * proc        of the processes of -P and their descendants: CPU while the
 *             load ran, memory after -H seconds of holding all idle
 */
#include "tests/bench/common.h"
#include "tests/bench/procs.h"
#include "tests/bench/swtpm_ctrl.h"

#include <sys/epoll.h>
#include <sys/time.h>

#define ANSWER_MAX 4096
#define RC_INITIALIZE 0x100 /* Startup, once more: as good */

enum kind { GETRANDOM, PCR_READ, PCR_EXTEND, MIXED, KINDS };

static const char *const kind_names[KINDS] = { "getrandom", "pcr_read",
	"pcr_extend", "mixed" };

/* Roughly what a measured boot sends: mostly extends. */
static const enum kind mix[] = { PCR_EXTEND, PCR_EXTEND, PCR_EXTEND, PCR_READ,
	PCR_EXTEND, PCR_EXTEND, GETRANDOM, PCR_EXTEND, PCR_EXTEND, PCR_READ };

static const struct bytes {
	uint8_t at[80];
	size_t len;
} commands[MIXED] = {
	[GETRANDOM] = { { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16 },
	    12 },
	[PCR_READ] = { { 0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1,
			   0, 0x0b, 3, 0, 0, 1 },
	    20 },
	/* PCR 16, an empty password session, one SHA-256 digest of zeros */
	[PCR_EXTEND] = { { 0x80, 0x02, 0, 0, 0, 65, 0, 0, 0x01, 0x82, 0, 0, 0,
			     16, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
			     0, 1, 0, 0x0b },
	    65 },
};
static const struct bytes startup_clear = {
	{ 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0 }, 12
};
static const struct bytes read_clock = {
	{ 0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x81 }, 10
};

struct conn {
	int fd, ctrl;
	uint64_t born, asked; /* ns */
	bool answered;
	size_t got;
	uint8_t buf[ANSWER_MAX];
};

struct load {
	enum kind kind;
	struct conn *conns;
	long conns_n, first, limit_s;
	int poll;
	uint32_t *ns; /* of each measured command */
	long measured, sent, back, errors, live;
	unsigned long turn; /* in the mix */
	uint64_t first_ns;
};

static void
bound_waits(int fd, long seconds)
{
	struct timeval tv = { .tv_sec = seconds };

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

/* One answer. */

static bool
send_bytes(struct conn *c, const struct bytes *cmd)
{
	c->got = 0;
	c->asked = now_ns();
	for (size_t at = 0; at < cmd->len;) {
		ssize_t n = send(c->fd, cmd->at + at, cmd->len - at,
		    MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

/* 1: a whole answer is there; 0: not yet; -1: lost or nonsense. */
static int
recv_bytes(struct conn *c)
{
	ssize_t n = recv(c->fd, c->buf + c->got, sizeof(c->buf) - c->got, 0);
	size_t len;

	if (n < 0 && errno == EINTR)
		return 0;
	if (n <= 0)
		return -1;
	c->got += (size_t)n;
	if (c->got < 10)
		return 0;
	len = get32(c->buf + 2);
	if (len < 10 || len > sizeof(c->buf) || c->got > len)
		return -1;
	return c->got == len;
}

static void
note_first(struct load *ld, struct conn *c)
{
	uint64_t took = now_ns() - c->born;

	if (!c->answered && took > ld->first_ns)
		ld->first_ns = took;
	c->answered = true;
}

/* Opening. */

static uint32_t
converse(struct conn *c, const struct bytes *cmd, const char *what)
{
	int state = send_bytes(c, cmd) ? 0 : -1;

	while (state == 0)
		state = recv_bytes(c);
	if (state < 0)
		die("%s: no answer: %s", what, strerror(errno));
	return get32(c->buf + 6);
}

/* One control request; `fd` goes along unless it is -1. */
static void
ctrl_ask(int ctrl, enum ctrl code, uint32_t body, int fd)
{
	uint8_t req[8], reply[CTRL_REPLY_MAX];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} extra = { 0 };
	struct iovec iov = { req, 4u + ctrl_sizes[code].body };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	size_t want = ctrl_sizes[code].reply;

	put(put(req, code, 4), body, 4);
	if (fd >= 0) {
		msg.msg_control = extra.room;
		msg.msg_controllen = sizeof(extra.room);
		extra.head.cmsg_level = SOL_SOCKET;
		extra.head.cmsg_type = SCM_RIGHTS;
		extra.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&extra.head), &fd, sizeof(fd));
	}
	if (sendmsg(ctrl, &msg, MSG_NOSIGNAL) != (ssize_t)iov.iov_len ||
	    recv(ctrl, reply, want, MSG_WAITALL) != (ssize_t)want)
		die("control request 0x%x: no answer: %s", code,
		    strerror(errno));
	if (code != CTRL_GET_CAPABILITY && get32(reply) != 0)
		die("control request 0x%x: result 0x%x", code, get32(reply));
	if (code == CTRL_GET_CAPABILITY &&
	    (get32(reply + 4) & CTRL_CAPS) != CTRL_CAPS)
		die("capabilities 0x%x are not enough for QEMU",
		    get32(reply + 4));
}

static void
open_ctrl(struct load *ld, struct conn *c)
{
	int pair[2];
	uint32_t rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair: %s", strerror(errno));
	c->ctrl = c->fd;
	c->fd = pair[0];
	bound_waits(c->fd, ld->limit_s);
	ctrl_ask(c->ctrl, CTRL_SET_DATAFD, 0, pair[1]);
	close(pair[1]);
	(void)converse(c, &read_clock, "ReadClock"); /* any answer will do */
	ctrl_ask(c->ctrl, CTRL_GET_CAPABILITY, 0, -1);
	ctrl_ask(c->ctrl, CTRL_STOP, 0, -1);
	ctrl_ask(c->ctrl, CTRL_SET_BUFFERSIZE, 0, -1);
	ctrl_ask(c->ctrl, CTRL_STOP, 0, -1);
	ctrl_ask(c->ctrl, CTRL_SET_BUFFERSIZE, CTRL_BUFFER, -1);
	ctrl_ask(c->ctrl, CTRL_INIT, 0, -1);
	rc = converse(c, &startup_clear, "Startup");
	if (rc != 0 && rc != RC_INITIALIZE)
		die("Startup: 0x%x", rc);
	note_first(ld, c);
}

/* `text` with its %d, if any, replaced. */
static void
number_text(const char *text, long number, char *out, size_t size)
{
	const char *hole = strstr(text, "%d");
	int n = hole ? snprintf(out, size, "%.*s%ld%s", (int)(hole - text),
			   text, number, hole + 2) :
		       snprintf(out, size, "%s", text);

	if (n < 0 || (size_t)n >= size)
		die("%s: too long", text);
}

static void
open_conn(struct load *ld, struct conn *c, const char *endpoint, long number)
{
	bool ctrl = strncmp(endpoint, "ctrl:", 5) == 0;
	struct place place;
	char text[256];

	number_text(endpoint, number, text, sizeof(text));
	if (ctrl)
		place_unix(&place, text + 5);
	else
		place_parse(&place, text);
	c->ctrl = -1;
	c->born = now_ns();
	c->fd = place_dial(&place);
	if (c->fd < 0)
		die("%s: %s", text, strerror(errno));
	bound_waits(c->fd, ld->limit_s);
	if (ctrl)
		open_ctrl(ld, c);
}

static void
watch_conn(struct load *ld, struct conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	if (epoll_ctl(ld->poll, EPOLL_CTL_ADD, c->fd, &ev) != 0)
		die("epoll_ctl: %s", strerror(errno));
}

/* The load. */

static void
lose(struct load *ld, struct conn *c)
{
	ld->errors++;
	ld->live--;
	close(c->fd);
	c->fd = -1;
}

static void
ask(struct load *ld, struct conn *c)
{
	enum kind k = ld->kind == MIXED ? mix[ld->turn++ % LY_COUNT(mix)] :
					  ld->kind;

	ld->sent++;
	if (!send_bytes(c, &commands[k])) {
		ld->back++;
		lose(ld, c);
	}
}

static void
on_answer(struct load *ld, struct conn *c, long budget, bool measure)
{
	uint64_t ns;
	int state = recv_bytes(c);

	if (state == 0)
		return;
	ns = now_ns() - c->asked;
	ld->back++;
	if (state < 0) {
		lose(ld, c);
		return;
	}
	if (!c->answered)
		note_first(ld, c);
	if (get32(c->buf + 6) != 0)
		ld->errors++;
	if (measure)
		ld->ns[ld->measured++] = ns > UINT32_MAX ? UINT32_MAX :
							   (uint32_t)ns;
	if (ld->sent < budget)
		ask(ld, c);
}

/* `budget` commands over all connections; one connection needs no epoll, and
 * its latency is what a single guest sees. */
static void
run(struct load *ld, long budget, bool measure)
{
	struct epoll_event ev[64];

	ld->sent = ld->back = 0;
	for (long i = 0; i < ld->conns_n && ld->sent < budget; i++)
		if (ld->conns[i].fd >= 0)
			ask(ld, &ld->conns[i]);
	while (ld->back < ld->sent && ld->live > 0) {
		int n = 1;

		ev[0].data.ptr = ld->conns;
		if (ld->conns_n > 1)
			n = epoll_wait(ld->poll, ev, LY_COUNT(ev),
			    (int)ld->limit_s * 1000);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			ld->errors += ld->sent - ld->back;
			return;
		}
		for (int i = 0; i < n; i++)
			on_answer(ld, ev[i].data.ptr, budget, measure);
	}
}

/* Telling. */

static int
by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double
percentile_us(const struct load *ld, double q)
{
	if (ld->measured == 0)
		return 0;
	return ld->ns[(long)((double)(ld->measured - 1) * q)] / 1e3;
}

static void
print_load(struct load *ld, double connect_s, double seconds)
{
	qsort(ld->ns, (size_t)ld->measured, sizeof(*ld->ns), by_value);
	printf("{\"kind\":\"%s\",\"conns\":%ld,\"count\":%ld,\"errors\":%ld,"
	       "\"connect_s\":%.4f,\"first_us\":%.1f,\"seconds\":%.6f,"
	       "\"cmds_s\":%.1f,\"p50_us\":%.1f,\"p90_us\":%.1f,"
	       "\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f",
	    kind_names[ld->kind], ld->conns_n, ld->measured, ld->errors,
	    connect_s, (double)ld->first_ns / 1e3, seconds,
	    seconds > 0 ? (double)ld->measured / seconds : 0.0,
	    percentile_us(ld, .5), percentile_us(ld, .9),
	    percentile_us(ld, .99), percentile_us(ld, .999),
	    percentile_us(ld, 1));
}

static void
print_procs(const struct load *ld, struct procs *procs, double cpu_s)
{
	struct procs_cost c = procs_cost(procs);

	printf(",\"proc\":{\"pids\":%u,\"threads\":%ld,\"cpu_s\":%.6f,"
	       "\"cpu_s_per_100k\":%.4f,\"rss_kib\":%ld,\"pss_kib\":%ld}",
	    procs->n, c.threads, cpu_s,
	    ld->measured ? cpu_s * 1e5 / (double)ld->measured : 0.0, c.rss_kib,
	    c.pss_kib);
}

static enum kind
kind_parse(const char *name)
{
	for (int k = 0; k < KINDS; k++)
		if (strcmp(name, kind_names[k]) == 0)
			return (enum kind)k;
	die("%s: not getrandom, pcr_read, pcr_extend or mixed", name);
}

static void
open_all(struct load *ld, char **endpoints, int endpoints_n)
{
	ld->conns = must_alloc((size_t)ld->conns_n, sizeof(*ld->conns));
	ld->poll = epoll_create1(EPOLL_CLOEXEC);
	ld->live = ld->conns_n;
	for (long i = 0; i < ld->conns_n; i++) {
		open_conn(ld, &ld->conns[i], endpoints[i % endpoints_n],
		    ld->first + i);
		if (ld->conns_n > 1)
			watch_conn(ld, &ld->conns[i]);
	}
}

int
main(int argc, char **argv)
{
	static struct procs procs;
	struct load ld = { .conns_n = 1, .limit_s = 20 };
	const char *kind = "pcr_extend", *pids = "";
	long n = 10000, warm = -1, hold_s = 0;
	const struct opt opts[] = {
		{ 'k', OPT_TEXT, &kind, "KIND",
		    "getrandom, pcr_read, pcr_extend or mixed" },
		{ 'c', OPT_COUNT, &ld.conns_n, "COUNT", "connections" },
		{ 'f', OPT_COUNT, &ld.first, "NUMBER", "of the first (%d)" },
		{ 'n', OPT_COUNT, &n, "COUNT", "commands, in all" },
		{ 'w', OPT_COUNT, &warm, "COUNT", "before, not measured" },
		{ 'H', OPT_COUNT, &hold_s, "S", "hold all idle afterwards" },
		{ 'P', OPT_TEXT, &pids, "PID,...", "processes under test" },
		{ 'L', OPT_COUNT, &ld.limit_s, "S", "longest silence" },
	};
	int at = opts_read(opts, LY_COUNT(opts), "ENDPOINT...", argc, argv);
	double connect_s, seconds, cpu_s;
	uint64_t t0;

	if (at == argc || ld.conns_n == 0)
		opts_usage(opts, LY_COUNT(opts), "ENDPOINT...");
	bench_start();
	ld.kind = kind_parse(kind);
	procs_roots(&procs, pids);
	ld.ns = must_alloc((size_t)n, sizeof(*ld.ns));
	/* touched now, so that no page fault is measured */
	memset(ld.ns, 0xff, (size_t)n * sizeof(*ld.ns));
	t0 = now_ns();
	open_all(&ld, argv + at, argc - at);
	connect_s = (double)(now_ns() - t0) / 1e9;

	run(&ld, warm < 0 ? n / 20 : warm, false);
	cpu_s = procs_cost(&procs).cpu_s;
	t0 = now_ns();
	run(&ld, n, true);
	seconds = (double)(now_ns() - t0) / 1e9;
	cpu_s = procs_cost(&procs).cpu_s - cpu_s;

	print_load(&ld, connect_s, seconds);
	sleep((unsigned)hold_s);
	if (procs.roots_n > 0)
		print_procs(&ld, &procs, cpu_s);
	puts("}");
	return ld.errors != 0;
}
