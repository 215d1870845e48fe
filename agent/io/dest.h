/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration at its destination: performs what agent/stream/dest.h decides,
 * with a QEMU that was started `incoming` and the STREAM connection that the
 * source dials. The home is the owner's: he is asked by ops, and answers when
 * he can. Until on_over() the owner may not drive this QEMU himself.
 */
#ifndef LY_AGENT_IO_DEST_H
#define LY_AGENT_IO_DEST_H

#include "agent/io/lanes.h"
#include "agent/io/qemu.h"
#include "agent/stream/dest.h"
#include "lib/io/conn.h"

struct ly_dest;

struct ly_dest_params {
	uv_loop_t *loop;
	struct ly_qemu *qemu; /* incoming, ready; its tap is taken */
	struct ly_id vm, mig;
	const char *source; /* SPIFFE id of who may send the stream */
	/* NULL: one connection, by the hosts' certificates. Else `net` expects
	 * the stream from now on, and takes it by its keys only. */
	const struct ly_lanes_params *lanes;
	struct ly_net *net; /* with lanes */
	/* It comes by keys, and these by ly_dest_keys(): until then, nothing is
	 * taken. */
	bool keyed;
};

struct ly_dest_result {
	enum ly_dest_end end;
	enum ly_rc rc;	     /* LY_OK when it RUNS */
	const char *why;     /* for the operator; "" when it RUNS */
	uint64_t epoch;	     /* as granted; 0: it was not */
	uint64_t seq;	     /* of FIN */
	uint64_t resumed_ms; /* CLOCK_REALTIME, 0: it never was */
	uint64_t bytes;	     /* of QEMU's stream */
};

struct ly_dest_ops {
	/* QEMU waits for memory: ly_dest_stream() may come. */
	void (*on_listening)(void *arg);
	/* With lanes only. Is this the FIN of what came: root and bytes, its
	 * signature, its MAC, and its quote if there is one? The text of a
	 * refusal becomes an alarm. */
	enum ly_rc (*check)(void *arg, const struct ly_fin *fin,
	    const struct ly_lanes_sum *sum, struct ly_why *why);
	/* With lanes only. The guest runs here: the signed word for what came
	 * (struct ly_arrived), for READY; borrowed during the call. */
	struct ly_bytes (*arrived)(void *arg, const struct ly_lanes_sum *sum,
	    uint64_t epoch);
	/* The VM is whole and stands still. Ask the home, for as long as it
	 * takes; answer by ly_dest_granted(). */
	void (*claim)(void *arg, uint64_t seq);
	/* The lease is ours. Run on-claim; answer by ly_dest_hooked(), also
	 * from within the call. */
	void (*hook)(void *arg);
	void (*on_alarm)(void *arg, const char *text);
	/* Once, and the last call; frees the struct afterwards. RUNS: the
	 * guest runs here, and QEMU is the owner's again. Else QEMU has ended
	 * (its owner has been told, or is next). */
	void (*on_over)(void *arg, const struct ly_dest_result *result);
};

LY_MUST enum ly_rc ly_dest_start(const struct ly_dest_params *params,
    const struct ly_dest_ops *ops, void *arg, struct ly_dest **out,
    struct ly_why *why);
/* One whose agent has died after CLAIM; `epoch` when it was granted, else 0. */
void ly_dest_wake(const struct ly_dest_params *params, uint64_t epoch,
    const struct ly_dest_ops *ops, void *arg, struct ly_dest **out);
/* Of one that is `keyed`, once: params->lanes and params->net are read. */
LY_MUST enum ly_rc ly_dest_keys(struct ly_dest *d,
    const struct ly_dest_params *params, struct ly_why *why);
/* Hands over a connection of the source's, in the listener's on_open(). LY_OK:
 * it is ours. LY_REFUSED: it is not that source, or not made with a key where
 * one is wanted. LY_BUSY: not listening (yet, or any more). */
LY_MUST enum ly_rc ly_dest_stream(struct ly_dest *d, struct ly_conn *conn,
    struct ly_why *why);
/* LY_OK: the lease is ours, in `epoch`. Anything else is final. */
void ly_dest_granted(struct ly_dest *d, enum ly_rc rc, uint64_t epoch);
void ly_dest_hooked(struct ly_dest *d, bool ok, const char *why);
/* The home says that another host has the lease. */
void ly_dest_fenced(struct ly_dest *d);
/* By the manager, who knows that it was aborted. */
void ly_dest_drop(struct ly_dest *d);
/* The agent ends: lets go of everything, tells nobody, leaves QEMU as it is. */
void ly_dest_close(struct ly_dest *d);
enum ly_dest_state ly_dest_state(const struct ly_dest *d);

#endif
