/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream of a migration at its destination: one connection and a pump, or a
 * lead and lanes. What happens to them is told to the machine.
 */
#include "agent/io/dest_shell.h"

#include <stdlib.h>

void
ly_dest_socket(const struct ly_dest *d, char out[LY_PATH_LEN + 32])
{
	ly_print(out, LY_PATH_LEN + 32, "%s/mig-in.sock", ly_qemu_dir(d->qemu));
}

static void
on_pump_end(void *arg)
{
	ly_dest_tell(arg, LY_DST_BROKEN, false, "QEMU has closed its socket");
}

static void
on_pump_broken(void *arg, const char *why)
{
	ly_dest_tell(arg, LY_DST_BROKEN, false, why);
}

/* ---- the connection ---- */

static enum ly_rc
on_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)c;
	(void)peer;
	(void)hello;
	(void)arg;
	return ly_fail(why, LY_MALFORMED, "a stream was opened twice");
}

static uint64_t
stream_bytes(const struct ly_dest *d)
{
	if (d->lanes)
		return ly_lanes_bytes(d->lanes);
	return d->pump ? ly_pump_got(d->pump) : d->bytes;
}

void
ly_dest_tell_bytes(struct ly_dest *d)
{
	struct ly_taken m = { .bytes = d->lanes ? ly_lanes_bytes(d->lanes) :
		    d->pump			? ly_pump_given(d->pump) :
						  0 };

	if (!d->conn || m.bytes <= d->told_bytes)
		return;
	d->told_bytes = m.bytes;
	ly_conn_send(d->conn, LY_TAKEN, &m);
}

/* D1. Of a stream with keys the owner has the last word. */
static void
judge(struct ly_dest *d, const struct ly_fin *fin)
{
	uint64_t got = stream_bytes(d);
	struct ly_why text = { "" };
	enum ly_rc rc = LY_OK;
	bool forged = false;

	if (fin->bytes != got)
		rc = ly_fail(&text, LY_MALFORMED,
		    "the stream is not whole: %llu of %llu bytes",
		    (unsigned long long)got, (unsigned long long)fin->bytes);
	if (rc == LY_OK && d->keyed) {
		rc = d->ops->check(d->arg, fin, &d->sum, &text);
		forged = rc != LY_OK;
	}
	d->judged = true;
	d->seq = fin->seq;
	ly_dest_feed(d,
	    (struct ly_dest_event){ .kind = LY_DST_FIN,
		.ok = rc == LY_OK,
		.rc = rc,
		.forged = forged,
		.text = text.text });
}

/* FIN and the lanes' ends come in any order; the later one has it judged. */
static void
judge_kept(struct ly_dest *d)
{
	struct ly_fin fin;

	if (d->judged || !d->fin || !d->came)
		return;
	if (ly_message_get(ly_message_of(LY_FIN), d->fin, d->fin_len, &fin,
		NULL) == LY_OK)
		judge(d, &fin);
	free(ly_take(d->fin));
}

static void
keep_fin(struct ly_dest *d, const struct ly_fin *fin)
{
	size_t most = ly_frame_max(LY_FIN);
	struct ly_wr w;

	if (d->fin)
		return;
	d->fin = malloc(most);
	if (!d->fin)
		abort();
	w = ly_wr_over(d->fin, most);
	ly_message_put(ly_message_of(LY_FIN), fin, &w);
	d->fin_len = ly_wr_len(&w);
	judge_kept(d);
}

static void
on_lanes_end(void *arg)
{
	struct ly_dest *d = arg;

	ly_lanes_sum(d->lanes, &d->sum);
	d->came = true;
	judge_kept(d);
}

static void
on_lanes_fault(void *arg, enum ly_lanes_fault fault, const char *why)
{
	struct ly_dest *d = arg;

	switch (fault) {
	case LY_LANES_LOST:
		ly_dest_tell(d, LY_DST_LOST, false, why);
		break;
	case LY_LANES_FORGED:
		ly_dest_feed(d,
		    (struct ly_dest_event){ .kind = LY_DST_FIN,
			.rc = LY_MALFORMED,
			.forged = true,
			.text = why });
		break;
	case LY_LANES_QEMU:
		ly_dest_tell(d, LY_DST_BROKEN, false, why);
		break;
	}
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	struct ly_dest *d = arg;

	(void)c;
	if (d->core.state > LY_DST_COPY)
		return LY_OK; /* whole, or given up */
	if (type == LY_DATA && !d->keyed) {
		if (d->pump)
			ly_pump_data(d->pump, &m->data);
		return LY_OK;
	}
	if (type != LY_FIN || !ly_id_same(&m->fin.mig, &d->mig))
		return ly_fail(why, LY_MALFORMED,
		    "a stream's source sent a frame of type %#x", type);
	if (d->keyed)
		keep_fin(d, &m->fin);
	else
		judge(d, &m->fin);
	return LY_OK;
}

static void
on_drain(struct ly_conn *c, void *arg)
{
	struct ly_dest *d = arg;

	(void)c;
	if (d->pump)
		ly_pump_drained(d->pump);
}

void
ly_dest_let_go(struct ly_dest *d)
{
	if (--d->open)
		return;
	free(d->fin);
	free(d);
}

static void
on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct ly_dest *d = arg;
	struct ly_why text;

	(void)c;
	if (d->conn && d->pump)
		ly_pump_detach(d->pump);
	d->conn = NULL;
	ly_fail(&text, rc, "the source's connection: %s",
	    why && *why ? why : ly_rc_name(rc));
	ly_dest_tell(d, LY_DST_LOST, false, text.text);
	ly_dest_let_go(d);
}

static const struct ly_conn_ops conn_ops = { on_open, on_frame, on_drain,
	on_close };

static void
adopt(struct ly_dest *d, struct ly_conn *conn)
{
	ly_conn_adopt(conn, &conn_ops, d);
	d->conn = conn;
	d->open++;
}

/* The lead and all lanes stand: QEMU may be given what comes. */
static void
begin(struct ly_dest *d)
{
	char path[LY_PATH_LEN + 32];
	struct ly_why why;

	if (!d->lanes_up || !d->conn || !d->qemu || !d->lanes)
		return;
	ly_dest_socket(d, path);
	if (ly_lanes_qemu(d->lanes, path, &why) == LY_OK)
		ly_dest_tell(d, LY_DST_STREAM, true, NULL);
	else
		ly_dest_tell(d, LY_DST_LOST, false, why.text);
}

static void
on_lanes_up(void *arg)
{
	struct ly_dest *d = arg;

	d->lanes_up = true;
	begin(d);
}

static const struct ly_lanes_ops lanes_ops = { on_lanes_up, on_lanes_end,
	on_lanes_fault };

static enum ly_rc
take_lane(struct ly_dest *d, struct ly_conn *conn, struct ly_why *why)
{
	const struct ly_psk *psk = ly_conn_psk(conn);

	if (!psk)
		return ly_fail(why, LY_REFUSED,
		    "this VM's stream comes by its key, not by a certificate");
	if (!d->lanes)
		return ly_fail(why, LY_BUSY,
		    "this VM's stream has no keys yet");
	if (psk->lane != LY_LANE_LEAD)
		return ly_lanes_take(d->lanes, conn, why);
	if (d->conn)
		return ly_fail(why, LY_BUSY, "the lead is there");
	adopt(d, conn);
	begin(d);
	return LY_OK;
}

enum ly_rc
ly_dest_stream(struct ly_dest *d, struct ly_conn *conn, struct ly_why *why)
{
	static const struct ly_pump_ops pump = { on_pump_end, on_pump_broken };
	const struct ly_peer *peer = ly_conn_peer(conn);
	char path[LY_PATH_LEN + 32];
	enum ly_rc rc;

	if (strcmp(peer->id, d->source) != 0)
		return ly_fail(why, LY_REFUSED,
		    "%s may not send this VM, only %s", peer->id, d->source);
	if (d->core.state != LY_DST_LISTENING || !d->qemu)
		return ly_fail(why, LY_BUSY,
		    "the destination is not listening, but %s",
		    ly_dest_state_name(d->core.state));
	if (d->keyed)
		return take_lane(d, conn, why);
	ly_dest_socket(d, path);
	rc = ly_pump_connect(d->loop, path, conn, &pump, d, &d->pump, why);
	if (rc)
		return rc;
	adopt(d, conn);
	ly_dest_tell(d, LY_DST_STREAM, true, NULL);
	return LY_OK;
}

void
ly_dest_hang_up(struct ly_dest *d)
{
	d->bytes = stream_bytes(d);
	if (d->pump)
		ly_pump_close(ly_take(d->pump));
	if (d->lanes)
		ly_lanes_close(ly_take(d->lanes));
	if (d->conn)
		ly_conn_close(ly_take(d->conn), LY_OK, "over");
}

enum ly_rc
ly_dest_keys(struct ly_dest *d, const struct ly_dest_params *p,
    struct ly_why *why)
{
	d->keyed = true;
	if (d->lanes)
		return ly_fail(why, LY_REFUSED, "the stream has its keys");
	return ly_lanes_expect(p->net, p->lanes, &lanes_ops, d, &d->lanes, why);
}
