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
#include "lib/io/conn.h"

#define LY_LANE_LEAD LY_LANES_MAX

/* Of a migration with keys, at either end; all of it is copied, and the keys'
 * copy wiped when the migration is over. */
struct ly_lanes_params {
	const struct ly_stream_keys *keys;
	/* The other end, as its evidence says: id, site, name and role and,
	 * from its certificate, serial and not_after (0: no end). The
	 * connections end when that is revoked or has expired. */
	const struct ly_peer *peer;
};

/* What came through, when all of it has. */
struct ly_lanes_sum {
	uint64_t bytes;
	uint8_t lanes;
	uint8_t root[32]; /* R */
};

/* What the source puts into FIN beside mig, bytes and seq. Borrowed. */
struct ly_seal {
	struct ly_bytes statement; /* signed: struct ly_sent */
	uint8_t mac[32];	   /* ly_stream_fin_mac() of it */
	struct ly_bytes evidence;  /* a quote over it; empty: it comes later */
};

#endif
