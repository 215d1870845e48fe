/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What source.c (the machine's shell, QEMU) and source_stream.c (connections)
 * share; for these two only.
 */
#ifndef LY_AGENT_IO_SOURCE_SHELL_H
#define LY_AGENT_IO_SOURCE_SHELL_H

#include "agent/io/pump.h"
#include "agent/io/source.h"
#include "agent/stream/window.h"

#define NEWS_MAX 16

struct news {
	struct ly_source_event ev;
	char text[200];
};

struct ly_source {
	struct ly_source_core core;
	const struct ly_source_ops *ops;
	void *arg;
	uv_loop_t *loop;
	struct ly_qemu *qemu;	  /* NULL: it has ended */
	struct ly_conn *conn;	  /* NULL: it is gone */
	struct ly_pump *pump;	  /* NULL: not yet, or closed, or lanes */
	struct ly_lanes *lanes;	  /* NULL: a pump, or closed */
	bool lead_open, lanes_up; /* with lanes, both make the stream */
	const struct ly_seal *seal;
	uv_timer_t timer;
	unsigned open;
	struct ly_id vm, mig;
	uint64_t taken; /* by the destination's QEMU */
	struct ly_window window;
	bool open_wide; /* the guest stands still: nothing is held back */
	uint64_t bandwidth, started_ms, stopped_ms, resumed_ms, bytes;
	bool feeding, over, stop_failed, cont_paused;
	struct news news[NEWS_MAX];
	unsigned news_at, news_n;
	enum ly_source_end end;
};

/* source.c */
void ly_source_feed(struct ly_source *s, struct ly_source_event ev);
void ly_source_tell(struct ly_source *s, enum ly_source_kind kind, bool ok,
    const char *text);
uint64_t ly_source_wall_ms(void);

/* source_stream.c */
LY_MUST enum ly_rc ly_source_dial(struct ly_source *s,
    const struct ly_source_params *p, struct ly_why *why);
/* For QEMU, at `path`. */
LY_MUST enum ly_rc ly_source_listen(struct ly_source *s, const char *path,
    struct ly_why *why);
/* From now on, or with `wide` not any more, no more is let out than the way
 * needs. */
void ly_source_bound(struct ly_source *s, bool wide);
void ly_source_pace(struct ly_source *s, uint64_t rate);
/* Of QEMU's stream, so far or in all. */
uint64_t ly_source_bytes(const struct ly_source *s);
void ly_source_hang_up(struct ly_source *s);
/* One handle less is open; the last frees it. */
void ly_source_drop(struct ly_source *s);

#endif
