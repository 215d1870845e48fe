/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What dest.c (the machine's shell, QEMU) and dest_stream.c (connections)
 * share; for these two only.
 */
#ifndef LY_AGENT_IO_DEST_SHELL_H
#define LY_AGENT_IO_DEST_SHELL_H

#include "agent/io/dest.h"
#include "agent/io/pump.h"

#define NEWS_MAX 16

struct news {
	struct ly_dest_event ev;
	char text[200];
};

struct ly_dest {
	struct ly_dest_core core;
	const struct ly_dest_ops *ops;
	void *arg;
	uv_loop_t *loop;
	struct ly_qemu *qemu; /* NULL: it has ended */
	struct ly_conn *conn; /* NULL: not yet, or gone */
	struct ly_pump *pump;
	struct ly_lanes *lanes; /* instead; NULL when they are closed */
	uint64_t told_bytes;	/* in TAKEN */
	bool keyed, lanes_up;	/* lanes were asked for; all stand */
	bool came, judged;	/* ... all is here; FIN is answered */
	struct ly_lanes_sum sum;
	uint8_t *fin; /* as it came, until `came`: packed */
	size_t fin_len;
	uv_timer_t timer;
	unsigned open;
	struct ly_id mig;
	char source[LY_SPIFFE_MAX];
	uint64_t epoch, seq, resumed_ms, bytes;
	bool feeding, over;
	struct ly_dest_event polled; /* query-migrate's, until query-status */
	char polled_text[200];
	struct news news[NEWS_MAX];
	unsigned news_at, news_n;
	enum ly_dest_end end;
};

/* dest.c */
void ly_dest_feed(struct ly_dest *d, struct ly_dest_event ev);
void ly_dest_tell(struct ly_dest *d, enum ly_dest_kind kind, bool ok,
    const char *text);

/* dest_stream.c */
/* Where QEMU listens. */
void ly_dest_socket(const struct ly_dest *d, char out[LY_PATH_LEN + 32]);
/* TAKEN, if there is more than was told. */
void ly_dest_tell_bytes(struct ly_dest *d);
void ly_dest_hang_up(struct ly_dest *d);
/* One handle less is open; the last frees it. */
void ly_dest_let_go(struct ly_dest *d);

#endif
