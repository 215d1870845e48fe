/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pump: a source and a sink of bulk bytes, to time what carries a stream.
 *
 *	pump -n BYTES PLACE    connect, send that many zeros, close
 *	pump -l PLACE          take one stream to its end, print MB/s as JSON
 *
 * The sink counts from the first byte to the end of the stream. Both end with
 * an error after -L seconds without progress.
 */
#include "tests/bench/common.h"

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

	if (at + 1 != argc || size == 0)
		opts_usage(opts, LY_COUNT(opts), "PLACE");
	bench_start();
	place_parse(&place, argv[at]);
	buf = must_alloc((size_t)size, 1);
	if (listens) {
		int door = place_listen(&place);

		bound_waits(door, limit_s);
		fd = accept4(door, NULL, NULL, SOCK_CLOEXEC);
	} else {
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
