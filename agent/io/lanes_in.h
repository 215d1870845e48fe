/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lanes.c (connections, the loop) and lane_run.c (the threads) share; for
 * these two only. What a thread and the loop both touch is under `lock`, but
 * for what is named otherwise.
 */
#ifndef LY_AGENT_IO_LANES_IN_H
#define LY_AGENT_IO_LANES_IN_H

#include "agent/io/lanes.h"
#include "lib/io/off.h"

#include <pthread.h>

struct lane {
	struct ly_lanes *all;
	uint8_t no;
	struct ly_conn *conn; /* the loop's, until `off` is there */
	bool open;	      /* ... and it stands, on hold */
	struct ly_off *off;   /* the thread's */
	pthread_t thread;
	bool runs;		  /* there is a thread to join */
	pthread_cond_t turn;	  /* it may be its turn at QEMU's socket */
	uint8_t *chunk;		  /* the thread's: LY_TREE_CHUNK bytes */
	struct ly_tree_lane tree; /* the thread's, until `ended` */
	uint64_t index;		  /* of its chunk under way, or its next */
	bool ended;
};

struct ly_lanes {
	const struct ly_lanes_ops *ops;
	void *arg;
	struct ly_net *net;
	uv_loop_t *loop;
	struct ly_id mig;
	bool source, closed;
	struct lane lane[LY_LANES_MAX];
	unsigned n;

	uv_async_t async; /* a thread has news */
	uv_timer_t timer; /* while lanes leave the loop */
	uv_poll_t door;	  /* the source's, until QEMU has come */
	bool has_door;
	int listening; /* its descriptor; -1: none */
	unsigned handles;
	uint64_t since_ms; /* when the first lane came */
	uint32_t late_ms;
	bool up, told_end, told_fault;

	pthread_mutex_t lock;
	pthread_cond_t paced;
	int qemu;      /* QEMU's socket; -1: not yet */
	uint64_t next; /* the chunk whose turn it is there */
	uint64_t bytes;
	uint64_t most;	/* that QEMU may give, for now */
	uint64_t rate;	/* bytes a second, 0: any */
	int64_t budget; /* of the rate; who has the turn spends it */
	uint64_t paced_ms;
	bool eof;  /* QEMU has closed: there is no chunk `next` */
	bool stop; /* threads end */
	bool faulty;
	enum ly_lanes_fault fault;
	struct ly_why why;
};

void *ly_lane_run(void *lane);

#endif
