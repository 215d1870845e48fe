/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nulltpm: answers every TPM 2.0 command at once, on any number of
 * connections, to measure what stands in front of a TPM.
 *
 *	nulltpm -u PATH            raw commands on a Unix socket
 *	nulltpm -u PATH -n COUNT   on COUNT sockets PATH.0 .. PATH.COUNT-1
 *	nulltpm -t PORT            on 127.0.0.1
 *	nulltpm -c PATH [-n COUNT] as swtpm does for QEMU: the control protocol,
 *	                           commands on the descriptor of SET_DATAFD
 *
 * GetRandom, PCR_Read, GetCapability and ReadClock get an answer of their own;
 * a command with sessions gets empty parameters and one empty session (right
 * for PCR_Extend and NV_Increment), any other a bare header. It keeps no
 * state. SIGUSR1 prints what was counted, as one line of JSON.
 *
 * One thread, one epoll. A watched thing lives from watch_add() to
 * watch_drop(); a peer that sends nonsense, or does not read, is dropped.
 */
#include "tests/bench/swtpm_ctrl.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>

#define CMD_MAX 4096
#define REPLY_MAX 256 /* of one answer */
#define CODES_MAX 128 /* further codes are counted together */

enum {
	CC_GET_CAPABILITY = 0x17a,
	CC_GET_RANDOM = 0x17b,
	CC_PCR_READ = 0x17e,
	CC_READ_CLOCK = 0x181
};

struct watch;
typedef bool on_bytes(struct watch *w); /* whole requests */

struct watch {
	int fd;
	void (*ready)(struct watch *w);
	on_bytes *eat;	     /* all whole requests in buf; false: drop */
	on_bytes *greet_eat; /* a listener's: what its connections do */
	size_t got;
	uint8_t buf[]; /* CMD_MAX, unless it is a listener */
};

static int loop;
static long work_us;
static unsigned long connections, commands, others;
static struct tally {
	uint32_t code;
	unsigned long n;
} tallies[CODES_MAX];
static unsigned tallies_n;

static struct watch *
watch_add(int fd, void (*ready)(struct watch *), size_t room)
{
	struct watch *w = must_alloc(1, sizeof(*w) + room);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = w };

	w->fd = fd;
	w->ready = ready;
	if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &ev) != 0)
		die("epoll_ctl: %s", strerror(errno));
	return w;
}

static void
watch_drop(struct watch *w)
{
	close(w->fd);
	free(w);
}

static void
tally(uint32_t code)
{
	unsigned i = 0;

	commands++;
	while (i < tallies_n && tallies[i].code != code)
		i++;
	if (i == tallies_n) {
		if (tallies_n == CODES_MAX) {
			others++;
			return;
		}
		tallies[tallies_n++] = (struct tally){ .code = code };
	}
	tallies[i].n++;
}

static void
print_counts(struct watch *w)
{
	struct signalfd_siginfo info;

	if (read(w->fd, &info, sizeof(info)) != sizeof(info))
		return;
	printf("{\"connections\":%lu,\"commands\":%lu,\"by_code\":{",
	    connections, commands);
	for (unsigned i = 0; i < tallies_n; i++)
		printf("%s\"0x%x\":%lu", i ? "," : "", tallies[i].code,
		    tallies[i].n);
	printf("},\"other_codes\":%lu}\n", others);
	fflush(stdout);
}

static uint8_t *
parameters(uint8_t *p, uint32_t code, const uint8_t *body, size_t len)
{
	unsigned n;

	switch (code) {
	case CC_GET_RANDOM:
		n = len < 2 ? 0 : (unsigned)body[0] << 8 | body[1];
		n = n > 64 ? 64 : n;
		p = put(p, n, 2);
		memset(p, 0xa5, n);
		return p + n;
	case CC_PCR_READ: /* counter, the selection again, a digest */
		if (len < 4 || len > 64)
			return p;
		p = put(p, 1, 4);
		memcpy(p, body, len);
		p = put(put(p + len, 1, 4), 32, 2);
		memset(p, 0x5a, 32);
		return p + 32;
	case CC_GET_CAPABILITY: /* no more data, what was asked, none of it */
		return put(put(put(p, 0, 1), len < 4 ? 0 : get32(body), 4), 0,
		    4);
	case CC_READ_CLOCK: /* time, clock, resets, restarts, safe */
		p = put(put(p, now_ns() / NS_PER_MS, 8), 0, 8);
		return put(put(p, 0, 8), 1, 1);
	default:
		return p;
	}
}

/* Writes at most REPLY_MAX bytes at `out`; returns what follows them. */
static uint8_t *
answer(const uint8_t *cmd, size_t len, uint8_t *out)
{
	bool sessions = cmd[0] == 0x80 && cmd[1] == 0x02;
	uint8_t *p = put(put(out, sessions ? 0x8002 : 0x8001, 2) + 4, 0, 4);

	tally(get32(cmd + 6));
	if (sessions)
		p = put(put(p, 0, 4), 0x0000010000, 5);
	else
		p = parameters(p, get32(cmd + 6), cmd + 10, len - 10);
	put(out + 2, (uint64_t)(p - out), 4);
	return p;
}

static void
work(void)
{
	uint64_t end = now_ns() + (uint64_t)work_us * 1000;

	while (work_us && now_ns() < end)
		;
}

static bool
send_all(int fd, const uint8_t *from, size_t len)
{
	return len == 0 ||
	    send(fd, from, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

static void
eaten(struct watch *w, size_t n)
{
	memmove(w->buf, w->buf + n, w->got - n);
	w->got -= n;
}

static bool
eat_tpm(struct watch *w)
{
	uint8_t out[16 * REPLY_MAX], *p = out;
	size_t at = 0;

	while (w->got - at >= 10) {
		size_t len = get32(w->buf + at + 2);

		if (len < 10 || len > CMD_MAX)
			return false;
		if (w->got - at < len)
			break;
		if (p + REPLY_MAX > out + sizeof(out)) {
			if (!send_all(w->fd, out, (size_t)(p - out)))
				return false;
			p = out;
		}
		p = answer(w->buf + at, len, p);
		work();
		at += len;
	}
	eaten(w, at);
	return send_all(w->fd, out, (size_t)(p - out));
}

static bool
eat_ctrl(struct watch *w)
{
	while (w->got >= 4) {
		uint32_t code = get32(w->buf);
		uint8_t out[CTRL_REPLY_MAX] = { 0 };

		if (code > CTRL_LAST || ctrl_sizes[code].reply == 0)
			return false;
		if (w->got < 4u + ctrl_sizes[code].body)
			return true;
		if (code == CTRL_GET_CAPABILITY)
			put(out + 4, CTRL_CAPS, 4);
		if (code == CTRL_SET_BUFFERSIZE)
			put(put(put(out + 4, CTRL_BUFFER, 4), 1024, 4), CMD_MAX,
			    4);
		eaten(w, 4u + ctrl_sizes[code].body);
		if (!send_all(w->fd, out, ctrl_sizes[code].reply))
			return false;
	}
	return true;
}

static void on_readable(struct watch *w);

static void
adopt(int fd, on_bytes *eat)
{
	connections++;
	watch_add(fd, on_readable, CMD_MAX)->eat = eat;
}

/* recv(), and whatever descriptors came along are TPM connections. */
static ssize_t
take_bytes(struct watch *w)
{
	char room[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { w->buf + w->got, CMD_MAX - w->got };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = sizeof(room) };
	ssize_t n;
	int fd;

	if (w->eat != eat_ctrl)
		return recv(w->fd, iov.iov_base, iov.iov_len, MSG_DONTWAIT);
	n = recvmsg(w->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n > 0 && CMSG_FIRSTHDR(&msg) &&
	    CMSG_FIRSTHDR(&msg)->cmsg_type == SCM_RIGHTS) {
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
		adopt(fd, eat_tpm);
	}
	return n;
}

static void
on_readable(struct watch *w)
{
	ssize_t n = take_bytes(w);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		w->got += (size_t)n;
		if (w->eat(w))
			return;
	}
	watch_drop(w);
}

static void
on_caller(struct watch *w)
{
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	set_flag(fd, IPPROTO_TCP, TCP_NODELAY); /* fails on a Unix socket */
	adopt(fd, w->greet_eat);
}

static void
listen_at(const struct place *p, on_bytes *eat)
{
	watch_add(place_listen(p), on_caller, 0)->greet_eat = eat;
}

static void
listen_unix(const char *path, long count, on_bytes *eat)
{
	struct place p;
	char numbered[sizeof(p.addr.un.sun_path)];

	if (count == 0) {
		place_unix(&p, path);
		listen_at(&p, eat);
	}
	for (long i = 0; i < count; i++) {
		if (snprintf(numbered, sizeof(numbered), "%s.%ld", path, i) >=
		    (int)sizeof(numbered))
			die("%s: too long for a socket's path", path);
		place_unix(&p, numbered);
		listen_at(&p, eat);
	}
}

static void
listen_port(const char *port)
{
	char text[64];
	struct place p;

	snprintf(text, sizeof(text), "127.0.0.1:%s", port);
	place_tcp(&p, text);
	listen_at(&p, eat_tpm);
}

static void
heed_usr1(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	watch_add(signalfd(-1, &set, SFD_CLOEXEC), print_counts, 0);
}

int
main(int argc, char **argv)
{
	const char *raw = NULL, *ctrl = NULL, *port = NULL;
	long count = 0;
	const struct opt opts[] = {
		{ 'u', OPT_TEXT, &raw, "PATH", "raw commands, a Unix socket" },
		{ 'c', OPT_TEXT, &ctrl, "PATH", "swtpm's control protocol" },
		{ 'n', OPT_COUNT, &count, "COUNT", "sockets PATH.0 .. " },
		{ 't', OPT_TEXT, &port, "PORT", "raw commands at 127.0.0.1" },
		{ 'd', OPT_COUNT, &work_us, "US", "CPU to burn per command" },
	};

	bench_start();
	loop = epoll_create1(EPOLL_CLOEXEC);
	if (opts_read(opts, LY_COUNT(opts), "", argc, argv) != argc ||
	    (!raw && !ctrl && !port))
		opts_usage(opts, LY_COUNT(opts), "(-u, -c or -t)");
	heed_usr1();
	if (raw)
		listen_unix(raw, count, eat_tpm);
	if (ctrl)
		listen_unix(ctrl, count, eat_ctrl);
	if (port)
		listen_port(port);
	for (;;) {
		struct epoll_event ev[64];
		int n = epoll_wait(loop, ev, LY_COUNT(ev), -1);

		for (int i = 0; i < n; i++) {
			struct watch *w = ev[i].data.ptr;

			w->ready(w);
		}
	}
}
