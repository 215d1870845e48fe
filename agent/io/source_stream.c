/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream of a migration at its source: one connection and a pump, or a lead
 * and lanes. What happens to them is told to the machine.
 */
#include "agent/io/source_shell.h"

#include <stdlib.h>

static void
on_stream_end(void *arg)
{
	ly_source_tell(arg, LY_SRC_END, true, NULL);
}

static void
on_pump_broken(void *arg, const char *why)
{
	ly_source_tell(arg, LY_SRC_LOST, false, why);
}

uint64_t
ly_source_bytes(const struct ly_source *s)
{
	if (s->lanes)
		return ly_lanes_bytes(s->lanes);
	return s->pump ? ly_pump_sent(s->pump) : s->bytes;
}

void
ly_source_pace(struct ly_source *s, uint64_t rate)
{
	if (s->lanes)
		ly_lanes_pace(s->lanes, rate);
	if (s->pump)
		ly_pump_pace(s->pump, rate);
}

enum ly_rc
ly_source_listen(struct ly_source *s, const char *path, struct ly_why *why)
{
	static const struct ly_pump_ops pump = { on_stream_end,
		on_pump_broken };

	if (s->lanes)
		return ly_lanes_qemu(s->lanes, path, why);
	return ly_pump_listen(s->loop, path, s->conn, &pump, s, &s->pump, why);
}

/* ---- the connection ---- */

static enum ly_rc
on_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	struct ly_source *s = arg;

	(void)c;
	(void)peer;
	(void)hello;
	(void)why;
	s->lead_open = true;
	if (s->lanes_up || !s->lanes)
		ly_source_tell(s, LY_SRC_OPEN, true, NULL);
	return LY_OK;
}

static void
on_lanes_up(void *arg)
{
	struct ly_source *s = arg;

	s->lanes_up = true;
	if (s->lead_open)
		ly_source_tell(s, LY_SRC_OPEN, true, NULL);
}

static void
on_lanes_fault(void *arg, enum ly_lanes_fault fault, const char *why)
{
	(void)fault;
	ly_source_tell(arg, LY_SRC_LOST, false, why);
}

static const struct ly_lanes_ops lanes_ops = { on_lanes_up, on_stream_end,
	on_lanes_fault };

static void
let_out(struct ly_source *s, uint64_t most)
{
	if (s->lanes)
		ly_lanes_most(s->lanes, most);
	if (s->pump)
		ly_pump_most(s->pump, most);
}

static void
move_window(struct ly_source *s)
{
	if (!s->open_wide)
		let_out(s,
		    ly_window_move(&s->window, s->taken, uv_now(s->loop)));
}

void
ly_source_bound(struct ly_source *s, bool wide)
{
	s->open_wide = wide;
	if (wide) {
		let_out(s, UINT64_MAX);
		return;
	}
	ly_window_init(&s->window, s->conn ? ly_conn_rtt_ms(s->conn) : 0,
	    uv_now(s->loop));
	move_window(s);
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	struct ly_source *s = arg;

	(void)c;
	if (type == LY_DATA) {
		if (s->pump)
			ly_pump_data(s->pump, &m->data);
		return LY_OK;
	}
	if (type == LY_TAKEN && m->taken.bytes <= ly_source_bytes(s)) {
		s->taken = ly_max(s->taken, m->taken.bytes);
		move_window(s);
		return LY_OK;
	}
	if (type != LY_READY || !ly_id_same(&m->ready.mig, &s->mig))
		return ly_fail(why, LY_MALFORMED,
		    "a stream's destination sent a frame of type %#x", type);
	if (m->ready.rc == LY_OK && !s->resumed_ms)
		s->resumed_ms = ly_source_wall_ms() - ly_conn_rtt_ms(c) / 2;
	if (m->ready.rc == LY_OK && s->core.seals)
		s->ops->on_arrived(s->arg, m->ready.statement);
	ly_source_feed(s,
	    (struct ly_source_event){ .kind = LY_SRC_READY,
		.rc = m->ready.rc });
	return LY_OK;
}

static void
on_drain(struct ly_conn *c, void *arg)
{
	struct ly_source *s = arg;

	(void)c;
	if (s->pump)
		ly_pump_drained(s->pump);
}

void
ly_source_drop(struct ly_source *s)
{
	if (--s->open == 0)
		free(s);
}

static void
on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct ly_source *s = arg;
	struct ly_why text;

	(void)c;
	if (s->conn && s->pump)
		ly_pump_detach(s->pump);
	s->conn = NULL;
	ly_fail(&text, rc, "the destination's connection: %s",
	    why && *why ? why : ly_rc_name(rc));
	ly_source_tell(s, LY_SRC_LOST, false, text.text);
	ly_source_drop(s);
}

void
ly_source_hang_up(struct ly_source *s)
{
	s->bytes = ly_source_bytes(s);
	if (s->pump)
		ly_pump_close(ly_take(s->pump));
	if (s->lanes)
		ly_lanes_close(ly_take(s->lanes));
	if (s->conn)
		ly_conn_close(ly_take(s->conn), LY_OK, "over");
}

static struct ly_conn *
dial_lead(struct ly_source *s, const struct ly_source_params *p,
    const struct ly_conn_ops *ops)
{
	struct ly_psk psk;
	struct ly_conn *c;

	ly_lanes_psk(p->lanes, LY_LANE_LEAD, &psk);
	c = ly_conn_dial_psk(p->net, p->dest_address, &psk, ops, s);
	ly_wipe(&psk, sizeof(psk));
	return c;
}

enum ly_rc
ly_source_dial(struct ly_source *s, const struct ly_source_params *p,
    struct ly_why *why)
{
	static const struct ly_conn_ops ops = { on_open, on_frame, on_drain,
		on_close };
	struct ly_hello hello = { .purpose = LY_FOR_STREAM, .mig = p->mig };
	enum ly_rc rc = LY_OK;

	if (p->lanes)
		rc = ly_lanes_dial(p->net, p->lanes, p->dest_address,
		    &lanes_ops, s, &s->lanes, why);
	if (rc)
		return rc;
	s->conn = p->lanes ?
	    dial_lead(s, p, &ops) :
	    ly_conn_dial(p->net, p->dest_address, p->dest, &hello, &ops, s);
	if (s->conn)
		return LY_OK;
	if (s->lanes)
		ly_lanes_close(ly_take(s->lanes));
	return ly_fail(why, LY_OUTSIDE, "%s: cannot be dialled",
	    p->dest_address);
}
