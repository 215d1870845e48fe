/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration at its source: performs what agent/stream/source.h decides,
 * with QEMU's monitor and a STREAM connection it dials. The TPM's lease and
 * the home are the owner's: he is asked by ops, and answers when he can.
 *
 * While it runs, the owner may not use stop, cont, quit or migrate of this
 * QEMU himself, once is_idle() has returned true.
 */
#ifndef LY_AGENT_IO_SOURCE_H
#define LY_AGENT_IO_SOURCE_H

#include "agent/io/lanes.h"
#include "agent/io/qemu.h"
#include "agent/stream/source.h"
#include "lib/io/conn.h"

struct ly_source;

struct ly_source_params {
	uv_loop_t *loop;
	struct ly_net *net;
	struct ly_qemu *qemu; /* ready; its tap is taken */
	struct ly_id vm, mig;
	const char *dest;	  /* SPIFFE id of the destination's agent */
	const char *dest_address; /* host:port */
	uint64_t bandwidth;	  /* bytes a second, 0 for no limit */
	uint32_t downtime_ms;	  /* 0: LY_SOURCE_DOWNTIME_MS */
	/* NULL: one connection, by the hosts' certificates. `dest` is not read
	 * then: it is lanes->peer. */
	const struct ly_lanes_params *lanes;
};

struct ly_source_result {
	enum ly_source_end end;
	enum ly_rc rc;	     /* LY_OK when MOVED */
	const char *why;     /* for the operator; "" when MOVED */
	bool won;	     /* we stopped the guest before QEMU did */
	uint64_t stopped_ms; /* CLOCK_REALTIME, 0: it never was */
	uint64_t resumed_ms; /* the same, when it ran on: here (STAYED), or
				 * there: when READY came, less half an RTT */
	uint64_t qemu_downtime_ms; /* as QEMU counts */
	uint64_t bytes;		   /* of QEMU's stream */
	uint64_t total_ms;
};

struct ly_source_ops {
	/* No TPM command of the guest older than 1 s is under way. */
	bool (*is_idle)(void *arg);
	/* None at all is, and QEMU has taken the answer to the last. */
	bool (*is_quiet)(void *arg);
	/* The guest is about to be stopped: from now on to on_over() the owner
	 * neither stops it nor lets it go on. */
	void (*on_stopping)(void *arg);
	/* The guest stands still. `won`: RELEASE is asked next, at once. Not
	 * won: QEMU goes on by itself and RELEASE follows its "completed", so
	 * its GET_STATEBLOB must not wait for the home's RELEASED. */
	void (*on_stopped)(void *arg, bool won);
	/* Run on-release, or on-abort if `regain`; answer by
	 * ly_source_hooked(), also from within the call. */
	void (*hook)(void *arg, bool regain);
	/* FIN goes next: from now on the destination may claim. */
	void (*on_fin)(void *arg);
	/* Ask the home; answer by ly_source_released(). */
	void (*release)(void *arg);
	/* Ask the home what became of it, aborting it if `abort`; answer
	 * by ly_source_fate(), also when the home cannot be reached (with an
	 * rc), and it is asked again. Never twice before the answer. */
	void (*query)(void *arg, bool abort);
	/* With lanes only. QEMU has sent all: sign what it was, and answer by
	 * ly_source_sealed(), also from within the call. */
	void (*seal)(void *arg, const struct ly_lanes_sum *sum);
	/* With lanes only. READY says that it runs there: the destination's
	 * signed word for what came (struct ly_arrived), or nothing. */
	void (*on_arrived)(void *arg, struct ly_bytes statement);
	/* The number of the guest's last TPM command, for FIN. */
	uint64_t (*seq)(void *arg);
	/* vm, mig and the numbers; the rest is the owner's. */
	void (*on_progress)(void *arg, const struct ly_progress *progress);
	void (*on_alarm)(void *arg, const char *text);
	/* Once, and the last call; frees the struct afterwards. MOVED: QEMU
	 * has ended (its owner has been told, or is next). */
	void (*on_over)(void *arg, const struct ly_source_result *result);
};

LY_MUST enum ly_rc ly_source_start(const struct ly_source_params *params,
    const struct ly_source_ops *ops, void *arg, struct ly_source **out,
    struct ly_why *why);
void ly_source_hooked(struct ly_source *s, bool ok, const char *why);
/* `seal` is borrowed until on_over(); NULL unless LY_OK. */
void ly_source_sealed(struct ly_source *s, enum ly_rc rc, const char *why,
    const struct ly_seal *seal);
/* The home says that another host has the lease. */
void ly_source_fenced(struct ly_source *s);
/* One whose agent has died: nothing is dialled. `qemu` may be NULL (it has
 * ended); dest and what follows it are not read. *out is there before the first
 * op is called. */
void ly_source_wake(const struct ly_source_params *params,
    const struct ly_source_woken *woken, const struct ly_source_ops *ops,
    void *arg, struct ly_source **out);
void ly_source_released(struct ly_source *s, enum ly_rc rc);
void ly_source_fate(struct ly_source *s, enum ly_rc rc, enum ly_fate fate);
/* By the manager: as a failure at this point. */
void ly_source_calloff(struct ly_source *s);
/* The agent ends: lets go of everything, tells nobody, leaves QEMU as it is.
 * Before RELEASE QEMU's migration is cancelled, and the guest runs on. */
void ly_source_close(struct ly_source *s);
enum ly_source_state ly_source_state(const struct ly_source *s);

#endif
