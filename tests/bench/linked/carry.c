/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry: what two agents do with a migration's stream, without QEMU, for the
 * bench: bytes from a Unix socket go through the agents' own pump, one STREAM
 * connection and the other end's pump to another Unix socket.
 *
 *	carry keys DIR
 *	carry far DIR HOST:PORT TO	listens; connects to TO for each stream
 *	carry near DIR HOST:PORT FROM	dials; serves FROM, one after the other
 */
#include "agent/io/pump.h"
#include "lib/io/ca.h"
#include "lib/io/file.h"
#include "tests/bench/linked/ends.h"

#include <signal.h>

static const char *address, *path;
static uv_loop_t *loop;
static struct ly_net *net;
static struct ly_pump *pump;
static struct ly_conn *conn;
static uv_timer_t timer;
static uint64_t expected; /* bytes of the stream, once FIN has said so */
static bool whole;

static void dial(void);

static void
keys(void)
{
	static const char *const names[] = { "near", "far" };
	struct ly_why why;
	uint8_t *ca;
	size_t len;

	must(ly_file_mkdir(file("trust"), 0700, &why), &why);
	must(ly_ca_make("bench", file("ca.key"), file("ca.pem"), 2, &why),
	    &why);
	must(ly_file_read(file("ca.pem"), 65536, &ca, &len, &why), &why);
	must(ly_file_write(file("trust/bench.pem"), ca, len, 0644, &why), &why);
	free(ca);
	for (size_t i = 0; i < LY_COUNT(names); i++) {
		char id[LY_SPIFFE_MAX], key[64], cert[64], *request, *pem;

		ly_print(key, sizeof(key), "%s.key", names[i]);
		ly_print(cert, sizeof(cert), "%s.pem", names[i]);
		ly_spiffe_host("bench", names[i], id);
		must(ly_ca_request(id, file(key), &request, &why), &why);
		must(ly_ca_sign(file("ca.key"), file("ca.pem"), request, id,
			 36000, &pem, &why),
		    &why);
		must(ly_file_write(file(cert), pem, strlen(pem), 0644, &why),
		    &why);
		free(request);
		free(pem);
	}
}

static void
on_end(void *arg)
{
	struct ly_fin fin = { .bytes = ly_pump_sent(pump) };

	(void)arg;
	ly_conn_send(conn, LY_FIN, &fin);
}

static void
on_broken(void *arg, const char *why)
{
	(void)arg;
	(void)why; /* the sink has hung up: it had its bytes */
}

static const struct ly_pump_ops pump_ops = { .on_end = on_end,
	.on_broken = on_broken };

/* The far end has all: its socket may close, and the near end may go on. */
static void
on_timer(uv_timer_t *t)
{
	struct ly_ready ready = { .rc = LY_OK };

	(void)t;
	if (!whole || !pump || ly_pump_given(pump) < expected)
		return;
	whole = false;
	ly_pump_close(ly_take(pump));
	ly_conn_send(conn, LY_READY, &ready);
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	enum ly_rc rc;

	(void)arg;
	if (type == LY_DATA && !pump) { /* the sink is not there before */
		rc = ly_pump_connect(loop, path, c, &pump_ops, NULL, &pump,
		    why);
		if (rc != LY_OK)
			return rc;
	}
	if (type == LY_DATA)
		ly_pump_data(pump, &m->data);
	if (type == LY_FIN) {
		expected = m->fin.bytes;
		whole = true;
	}
	if (type == LY_READY)
		ly_conn_close(c, LY_OK, "done");
	return LY_OK;
}

static void
on_drain(struct ly_conn *c, void *arg)
{
	(void)c;
	(void)arg;
	if (pump)
		ly_pump_drained(pump);
}

static void
on_near_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	(void)c;
	(void)rc;
	(void)why;
	(void)arg;
	if (pump)
		ly_pump_close(ly_take(pump));
	dial();
}

static void
on_far_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	(void)c;
	(void)rc;
	(void)why;
	(void)arg;
	if (pump)
		ly_pump_close(ly_take(pump));
}

static enum ly_rc
on_near_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)peer;
	(void)hello;
	(void)arg;
	conn = c;
	return ly_pump_listen(loop, path, c, &pump_ops, NULL, &pump, why);
}

static enum ly_rc
on_far_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)peer;
	(void)hello;
	(void)arg;
	(void)why;
	conn = c;
	whole = false;
	return LY_OK;
}

static const struct ly_conn_ops near_ops = { .on_open = on_near_open,
	.on_frame = on_frame,
	.on_drain = on_drain,
	.on_close = on_near_close };
static const struct ly_conn_ops far_ops = { .on_open = on_far_open,
	.on_frame = on_frame,
	.on_drain = on_drain,
	.on_close = on_far_close };

static void
dial(void)
{
	struct ly_hello hello = { .purpose = LY_FOR_STREAM };

	(void)ly_conn_dial(net, address, NULL, &hello, &near_ops, NULL);
}

int
main(int argc, char **argv)
{
	struct ly_identity_files files;
	struct ly_identity *ids;
	struct ly_why why;
	bool is_far;

	if (argc != 3 && argc != 5) {
		fprintf(stderr,
		    "usage: carry keys DIR |"
		    " near|far DIR HOST:PORT PATH\n");
		return 2;
	}
	dir = argv[2];
	if (argc == 3) {
		keys();
		return 0;
	}
	is_far = strcmp(argv[1], "far") == 0;
	address = argv[3];
	path = argv[4];
	signal(SIGPIPE, SIG_IGN);
	loop = uv_default_loop();
	files.cert = file(is_far ? "far.pem" : "near.pem");
	files.key = file(is_far ? "far.key" : "near.key");
	files.trust = file("trust");
	must(ly_identity_load(&files, &ids, &why), &why);
	must(ly_net_new(loop, ids, "carry", &net, &why), &why);
	uv_timer_init(loop, &timer);
	uv_timer_start(&timer, on_timer, 1, 1);
	if (is_far)
		must(ly_net_listen(net, address, &far_ops, NULL, &why), &why);
	else
		dial();
	return uv_run(loop, UV_RUN_DEFAULT);
}
