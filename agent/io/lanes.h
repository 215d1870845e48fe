/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of a VM on its way between two agents over several connections,
 * with the digest of what one read from its QEMU and the other wrote to its.
 *
 * A migration with keys has keys->lanes + 1 connections, all dialled by the
 * source, all TLS 1.3 with a pre-shared key of keys (ly_stream_psk()), none
 * with a certificate:
 *
 *   the lead	 LY_LANE_LEAD: stays on the loop, as the one connection of a
 *		 migration without keys does: HELLO, PING, FIN, READY, BYE. It
 *		 carries no memory
 *   the lanes	 0 .. lanes - 1: memory, in DATA frames, from the source. Each
 *		 is taken off the loop when all stand, and belongs to a thread
 *		 then, which hashes, encrypts and blocks
 *
 * QEMU's bytes are cut into chunks of LY_TREE_CHUNK; the last may be shorter,
 * none is empty. Chunk c goes over lane c mod lanes. The frames of one chunk
 * follow each other and no frame belongs to two, so nothing else has to say
 * where a byte belongs. Each chunk is a leaf of the digest (lib/attest/tree.h).
 *
 * Memory is bounded: one chunk for each lane, at either end. A destination
 * whose QEMU does not read stops its threads, these the kernel, and that the
 * source's threads, which do not read from QEMU then.
 *
 * A lane that is lost takes the migration with it: it is undone as one whose
 * only connection was lost. So the generation of every lane is 0.
 *
 * What is done on threads is between the sockets and QEMU's; every callback
 * comes from the loop.
 */
#ifndef LY_AGENT_IO_LANES_H
#define LY_AGENT_IO_LANES_H

#include "lib/attest/streamkeys.h"
#include "lib/attest/tree.h"
#include "lib/io/psk.h"

#define LY_LANE_LEAD LY_LANES_MAX

/* Of a migration with keys, at either end; all of it is copied, and the keys'
 * copy wiped when the migration is over. */
struct ly_lanes_params {
	const struct ly_stream_keys *keys;
	/* The other end, as its evidence says: id, site, name and role and,
	 * from its certificate, serial and not_after (0: no end). The
	 * connections end when that is revoked or has expired. */
	const struct ly_peer *peer;
	uint32_t late_ms; /* how long lanes may keep the destination waiting
			   * after the first has come; 0: LY_LANES_LATE_MS */
};
#define LY_LANES_LATE_MS 20000

/* What came through, when all of it has. */
struct ly_lanes_sum {
	uint64_t bytes;
	uint8_t lanes;
	uint8_t root[32]; /* R */
};

enum ly_lanes_fault {
	LY_LANES_LOST,	 /* a lane: it broke off, or did not come */
	LY_LANES_FORGED, /* a chunk is not what the source says it read */
	LY_LANES_QEMU,	 /* QEMU's socket is broken */
};

struct ly_lanes_ops {
	/* All lanes stand, and their threads wait for QEMU's socket. */
	void (*on_up)(void *arg);
	/* Source: QEMU has closed its socket, all it wrote is with the kernel.
	 * Destination: the source has ended every lane, and QEMU has been given
	 * all that came. From now on ly_lanes_sum(). */
	void (*on_end)(void *arg);
	/* Once, and instead of what has not come yet. */
	void (*on_fault)(void *arg, enum ly_lanes_fault fault, const char *why);
};

struct ly_lanes;

/* Of the source: dials them all; ops come later, from the loop. */
LY_MUST enum ly_rc ly_lanes_dial(struct ly_net *net,
    const struct ly_lanes_params *params, const char *address,
    const struct ly_lanes_ops *ops, void *arg, struct ly_lanes **out,
    struct ly_why *why);
/* Of the destination: from now on the net expects the lead and the lanes. */
LY_MUST enum ly_rc ly_lanes_expect(struct ly_net *net,
    const struct ly_lanes_params *params, const struct ly_lanes_ops *ops,
    void *arg, struct ly_lanes **out, struct ly_why *why);
/* Hands over a connection of a lane, in the listener's on_open(); from the first
 * on the others have `late_ms` to come. */
LY_MUST enum ly_rc ly_lanes_take(struct ly_lanes *l, struct ly_conn *c,
    struct ly_why *why);

/* After on_up(). The source listens for its QEMU there, the destination
 * connects to its. */
LY_MUST enum ly_rc ly_lanes_qemu(struct ly_lanes *l, const char *path,
    struct ly_why *why);
/* Bytes a second of all lanes together, 0 for any; at the source. */
void ly_lanes_pace(struct ly_lanes *l, uint64_t rate);
/* QEMU is not read beyond so many bytes of its stream; at first it is. */
void ly_lanes_most(struct ly_lanes *l, uint64_t bytes);
/* Bytes that QEMU gave, or was given. */
uint64_t ly_lanes_bytes(const struct ly_lanes *l);
/* After on_end(). */
void ly_lanes_sum(const struct ly_lanes *l, struct ly_lanes_sum *out);
/* Cuts what stands, ends the threads and frees; no op comes any more. */
void ly_lanes_close(struct ly_lanes *l);

/* The key of one lane, or of the lead, for the end that has `params`. */
void ly_lanes_psk(const struct ly_lanes_params *params, unsigned lane,
    struct ly_psk *out);

/* What the source puts into FIN beside mig, bytes and seq. Borrowed. */
struct ly_seal {
	struct ly_bytes statement; /* signed: struct ly_sent */
	uint8_t mac[32];	   /* ly_stream_fin_mac() of it */
	struct ly_bytes evidence;  /* a quote over it; empty: it comes later */
};

#endif
