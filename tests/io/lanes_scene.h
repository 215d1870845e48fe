/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the lanes of an attested stream: both ends in one loop, over
 * real sockets and real TLS, between two threads that behave as QEMU's two.
 */
#ifndef LY_TESTS_LANES_SCENE_H
#define LY_TESTS_LANES_SCENE_H

#include "agent/io/lanes.h"
#include "lib/io/off.h"
#include "tests/unit/pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MIB (1u << 20)

static struct ly_stream_keys keys;
static struct ly_peer west, east;

/* One end's lanes and what they told. */
struct side {
	struct ly_lanes *lanes;
	struct ly_lanes_params params;
	const char *qemu;
	bool up, ended, faulty, wait;
	enum ly_lanes_fault fault;
	char why[320];
};
static struct side src, dst;

static void
on_up(void *arg)
{
	struct side *s = arg;

	s->up = true;
	if (s->qemu && !s->wait)
		SITE_OK(ly_lanes_qemu(s->lanes, s->qemu, &why));
}

static void
on_end(void *arg)
{
	struct side *s = arg;

	s->ended = true;
}

static void
on_fault(void *arg, enum ly_lanes_fault fault, const char *why)
{
	struct side *s = arg;

	WANT(!s->faulty && !s->ended);
	s->faulty = true;
	s->fault = fault;
	ly_copy(s->why, sizeof(s->why), why);
}

static const struct ly_lanes_ops lanes_ops = { on_up, on_end, on_fault };

/* ---- QEMU's two ends ---- */

static uint64_t stream_len;
static _Atomic uint64_t came; /* at the destination's QEMU, all as sent */
static _Atomic bool wrong;    /* ... or not */
static _Atomic bool dawdles;  /* it does not read */
static _Atomic bool quits;    /* ... and ends */
static int in_door;

static uint8_t
pattern(uint64_t i)
{
	return (uint8_t)((i * 2654435761u) >> 13 ^ i);
}

static struct sockaddr_un
unix_name(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	ly_copy(sa.sun_path, sizeof(sa.sun_path), path);
	return sa;
}

/* Writes the stream in pieces of all sizes; `pauses`: with rests between. */
static _Atomic bool pauses;

static void *
run_qemu_out(void *path)
{
	static const size_t lens[] = { 32768, 1, 100000, 4096, 262144, 7 };
	struct sockaddr_un sa = unix_name(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint8_t *buf = malloc(262144);
	uint64_t at = 0;

	while (!quits && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0)
		usleep(1000);
	for (unsigned i = 0; !quits && at < stream_len; i++) {
		size_t n = ly_min(lens[i % LY_COUNT(lens)], stream_len - at);

		for (size_t j = 0; j < n; j++)
			buf[j] = pattern(at + j);
		if (send(fd, buf, n, MSG_NOSIGNAL) != (ssize_t)n)
			break;
		at += n;
		if (pauses && i % 16 == 0)
			usleep(3000);
	}
	free(buf);
	close(fd);
	return NULL;
}

static void *
run_qemu_in(void *arg)
{
	int fd = accept4(in_door, NULL, NULL, SOCK_CLOEXEC);
	uint8_t *buf = malloc(262144);
	ssize_t n;

	(void)arg;
	while (fd >= 0 && !quits) {
		while (dawdles)
			usleep(1000);
		n = recv(fd, buf, 262144, 0);
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != pattern(came + (uint64_t)i))
				wrong = true;
		came += (uint64_t)n;
	}
	free(buf);
	if (fd >= 0)
		close(fd);
	return NULL;
}

static pthread_t qemu_in, qemu_out;
static bool has_in, has_out;

static LY_UNUSED void
qemu_starts(bool out)
{
	struct sockaddr_un sa = unix_name(dst.qemu);

	unlink(sa.sun_path);
	in_door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	WANT_INT(bind(in_door, (struct sockaddr *)&sa, sizeof(sa)), 0);
	WANT_INT(listen(in_door, 1), 0);
	has_in = pthread_create(&qemu_in, NULL, run_qemu_in, NULL) == 0;
	has_out = out &&
	    pthread_create(&qemu_out, NULL, run_qemu_out,
		(void *)(uintptr_t)src.qemu) == 0;
}

/* ---- the listener ---- */

static enum ly_rc
on_stream(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)peer;
	(void)hello;
	(void)arg;
	return ly_lanes_take(dst.lanes, c, why);
}

static const struct ly_conn_ops streams = { .on_open = on_stream,
	.on_frame = on_frame,
	.on_close = on_close };

static char listener[LY_ADDR_MAX];

static void
start(unsigned lanes, uint64_t len)
{
	static char out[108], in[108];

	signal(SIGPIPE, SIG_IGN);
	load();
	begin(home_ids, away_ids, NULL);
	SITE_OK(ly_net_listen(home_net, "127.0.0.1:0", &streams, NULL, &why));
	ly_print(listener, sizeof(listener), "127.0.0.1:%u",
	    ly_net_port(home_net));
	SITE_OK(ly_spiffe_parse("spiffe://west/host/w1", &west, &why));
	SITE_OK(ly_spiffe_parse("spiffe://east/host/h1", &east, &why));
	memset(&keys, 7, sizeof(keys));
	ly_copy(keys.source, sizeof(keys.source), west.id);
	ly_copy(keys.dest, sizeof(keys.dest), east.id);
	keys.lanes = (uint8_t)lanes;
	stream_len = len;
	came = 0;
	wrong = dawdles = quits = pauses = false;
	ly_copy(out, sizeof(out), site_path("out.sock"));
	ly_copy(in, sizeof(in), site_path("in.sock"));
	src = (struct side){ .params = { &keys, &east }, .qemu = out };
	dst = (struct side){ .params = { &keys, &west }, .qemu = in };
	unlink(out);
}

static void
expect(void)
{
	SITE_OK(ly_lanes_expect(home_net, &dst.params, &lanes_ops, &dst,
	    &dst.lanes, &why));
}

static void
dial_at(const char *where)
{
	SITE_OK(ly_lanes_dial(away_net, &src.params, where, &lanes_ops, &src,
	    &src.lanes, &why));
}

static LY_UNUSED void
all(unsigned lanes, uint64_t len)
{
	start(lanes, len);
	expect();
	qemu_starts(true);
	dial_at(listener);
}

/* Everything ends, whatever was left standing. */
static void
over(void)
{
	dawdles = false;
	quits = true;
	if (src.lanes)
		ly_lanes_close(ly_take(src.lanes));
	if (dst.lanes)
		ly_lanes_close(ly_take(dst.lanes));
	if (has_in) {
		shutdown(in_door, SHUT_RDWR);
		pthread_join(qemu_in, NULL);
		close(in_door);
	}
	if (has_out)
		pthread_join(qemu_out, NULL);
	has_in = has_out = false;
	finish();
}

static LY_UNUSED void
want_same_sum(void)
{
	struct ly_lanes_sum a, b;

	ly_lanes_sum(src.lanes, &a);
	ly_lanes_sum(dst.lanes, &b);
	WANT_INT(a.bytes, stream_len);
	WANT_INT(b.bytes, stream_len);
	WANT(ly_same(a.root, b.root, sizeof(a.root)));
}

static LY_UNUSED void
want_whole(void)
{
	UNTIL(src.ended && dst.ended);
	WANT(!src.faulty && !dst.faulty);
	UNTIL(came == stream_len);
	WANT(!wrong);
	want_same_sum();
}

#endif
