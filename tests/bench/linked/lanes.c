/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanes: what two agents do with an attested migration's stream, without QEMU,
 * for the bench: bytes from a Unix socket go over the agents' own lanes, with
 * the digest at both ends, to another Unix socket. The lead is left out: the
 * ends tell one another of theirs on the terminal.
 *
 *	lanes far DIR HOST:PORT N TO	listens; connects to TO for each stream
 *	lanes near DIR HOST:PORT N FROM	dials; serves FROM, one after the other
 *
 * DIR is that of `carry keys`. Each end prints a line for each stream: bytes
 * and root.
 */
#include "agent/io/lanes.h"
#include "lib/io/log.h"
#include "tests/bench/linked/ends.h"

#include <signal.h>

static const char *address, *path;
static bool is_far;
static uv_loop_t *loop;
static struct ly_net *net;
static struct ly_lanes *lanes;
static struct ly_stream_keys keys;
static struct ly_peer peer;
static const struct ly_lanes_params params = { .keys = &keys, .peer = &peer };
static uint64_t turn;
static uv_timer_t timer;
static bool up; /* this stream's lanes stand */

static void start(void);
static void on_up(void *arg);

/* The far end's sink may come later than its lanes. */
static void
on_timer(uv_timer_t *t)
{
	(void)t;
	if (up)
		on_up(NULL);
	else
		start();
}

static void
on_up(void *arg)
{
	struct ly_why why;

	(void)arg;
	up = true;
	if (ly_lanes_qemu(lanes, path, &why) != LY_OK)
		uv_timer_start(&timer, on_timer, 10, 0);
}

/* Each stream is a migration of its own, as the keys are for one. */
static void
again(void)
{
	ly_lanes_close(ly_take(lanes));
	turn++;
	start();
}

static void
on_end(void *arg)
{
	struct ly_lanes_sum sum;

	(void)arg;
	ly_lanes_sum(lanes, &sum);
	printf("%llu bytes, root", (unsigned long long)sum.bytes);
	for (size_t i = 0; i < sizeof(sum.root); i++)
		printf("%s%02x", i ? "" : " ", sum.root[i]);
	printf("\n");
	fflush(stdout);
	again();
}

/* The near end is ready for the next stream before the far one is: then it
 * dials again. */
static void
on_fault(void *arg, enum ly_lanes_fault fault, const char *why)
{
	(void)arg;
	if (up || is_far) {
		fprintf(stderr, "lanes: fault %d: %s\n", (int)fault, why);
		exit(1);
	}
	ly_lanes_close(ly_take(lanes));
	uv_timer_start(&timer, on_timer, 20, 0);
}

static const struct ly_lanes_ops ops = { on_up, on_end, on_fault };

static void
start(void)
{
	struct ly_why why;

	up = false;
	memcpy(keys.mig.b, &turn, sizeof(turn));
	if (is_far)
		must(ly_lanes_expect(net, &params, &ops, NULL, &lanes, &why),
		    &why);
	else
		must(ly_lanes_dial(net, &params, address, &ops, NULL, &lanes,
			 &why),
		    &why);
}

static enum ly_rc
on_open(struct ly_conn *c, const struct ly_peer *who,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)who;
	(void)hello;
	(void)arg;
	return ly_lanes_take(lanes, c, why);
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	(void)c;
	(void)type;
	(void)m;
	(void)arg;
	return ly_fail(why, LY_MALFORMED, "a frame too early");
}

static void
on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	(void)c;
	(void)rc;
	(void)why;
	(void)arg;
}

static const struct ly_conn_ops strangers = { .on_open = on_open,
	.on_frame = on_frame,
	.on_close = on_close };

int
main(int argc, char **argv)
{
	struct ly_identity_files files = { 0 };
	struct ly_identity *ids;
	struct ly_why why;

	if (argc != 6) {
		fprintf(stderr, "usage: lanes near|far DIR HOST:PORT N PATH\n");
		return 2;
	}
	is_far = strcmp(argv[1], "far") == 0;
	dir = argv[2];
	address = argv[3];
	keys.lanes = (uint8_t)strtoul(argv[4], NULL, 10);
	path = argv[5];
	signal(SIGPIPE, SIG_IGN);
	loop = uv_default_loop();
	uv_timer_init(loop, &timer);
	ly_log_setup("lanes", false, LY_WARNING);
	files.cert = file(is_far ? "far.pem" : "near.pem");
	files.key = file(is_far ? "far.key" : "near.key");
	files.trust = file("trust");
	ly_spiffe_host("bench", is_far ? "near" : "far", peer.id);
	must(ly_identity_load(&files, &ids, &why), &why);
	must(ly_net_new(loop, ids, "lanes", &net, &why), &why);
	if (is_far)
		must(ly_net_listen(net, address, &strangers, NULL, &why), &why);
	start();
	return uv_run(loop, UV_RUN_DEFAULT);
}
