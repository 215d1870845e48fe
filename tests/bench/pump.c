/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pump: a source and a sink of bulk bytes, to time what carries a stream.
 *
 *	pump -n BYTES PLACE    connect, send that many zeros, close
 *	pump -l PLACE ...      take one stream to its end, print MB/s as JSON;
 *	                       from whichever place is called first
 *
 * The sink counts from the first byte to the end of the stream. Both end with
 * an error after -L seconds without progress.
 */
#include "tests/bench/common.h"

#include <poll.h>
#include <sys/time.h>

static long size = 256 * 1024;

static void
bound_waits(int fd, long seconds)
{
	struct timeval tv = { .tv_sec = seconds };

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static void
source(int fd, uint8_t *buf, long bytes)
{
	for (long sent = 0; sent < bytes;) {
		long left = bytes - sent;
		ssize_t n = send(fd, buf, (size_t)(left < size ? left : size),
		    MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die("send: %s", strerror(errno));
		sent += n;
	}
	if (shutdown(fd, SHUT_WR) != 0)
		die("shutdown: %s", strerror(errno));
}

static void
sink(int fd, uint8_t *buf)
{
	uint64_t start = 0;
	long total = 0;
	double s;

	for (;;) {
		ssize_t n = recv(fd, buf, (size_t)size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("recv: %s", strerror(errno));
		if (n == 0)
			break;
		if (total == 0)
			start = now_ns();
		total += n;
	}
	s = total ? (double)(now_ns() - start) / 1e9 : 0;
	printf("{\"bytes\":%ld,\"seconds\":%.6f,\"mb_s\":%.1f}\n", total, s,
	    s > 0 ? (double)total / 1e6 / s : 0.0);
}

static int
take_call(char **texts, int texts_n, long limit_s)
{
	struct pollfd doors[8];
	nfds_t n = 0;
	struct place place;

	for (int i = 0; i < texts_n && n < LY_COUNT(doors); i++) {
		place_parse(&place, texts[i]);
		doors[n++] = (struct pollfd){ .fd = place_listen(&place),
			.events = POLLIN };
	}
	if (poll(doors, n, (int)limit_s * 1000) <= 0)
		die("nobody called");
	while (n-- > 0)
		if (doors[n].revents)
			return accept4(doors[n].fd, NULL, NULL, SOCK_CLOEXEC);
	return -1;
}

int
main(int argc, char **argv)
{
	long bytes = 1 << 30, limit_s = 30;
	bool listens = false;
	const struct opt opts[] = {
		{ 'l', OPT_FLAG, &listens, NULL, "be the sink" },
		{ 'n', OPT_COUNT, &bytes, "BYTES", "to send" },
		{ 'b', OPT_COUNT, &size, "BYTES", "in one call" },
		{ 'L', OPT_COUNT, &limit_s, "S", "longest wait" },
	};
	int at = opts_read(opts, LY_COUNT(opts), "PLACE", argc, argv), fd;
	struct place place;
	uint8_t *buf;

	if (at == argc || size == 0 || (!listens && at + 1 != argc))
		opts_usage(opts, LY_COUNT(opts), "PLACE");
	bench_start();
	buf = must_alloc((size_t)size, 1);
	if (listens) {
		fd = take_call(argv + at, argc - at, limit_s);
	} else {
		place_parse(&place, argv[at]);
		fd = place_dial(&place);
	}
	if (fd < 0)
		die("%s: %s", argv[at], strerror(errno));
	bound_waits(fd, limit_s);
	if (listens)
		sink(fd, buf);
	else
		source(fd, buf, bytes);
	return 0;
}
