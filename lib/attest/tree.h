/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The digest of a stream that goes over several lanes: a tree, so that each
 * lane's part can be hashed by a thread of its own.
 *
 *	leaf   = SHA-256(00 | u8 lane | u64 index | u32 length |
 *		 SHA-256(first half of data) | SHA-256(second half))
 *	root_i = SHA-256(01 | u8 lane | leaves of lane i in order | u64 bytes)
 *	R      = SHA-256(02 | mig | u8 lanes | root_0 | ... )
 *
 * The first half is length / 2 bytes, rounded down; both are hashed at once.
 * `index` is the chunk's number in the whole stream, from 0. So R says what
 * came, in which order, on which lane, and that it is all: a chunk left out,
 * doubled, cut or on another lane gives another R. In one lane the index only
 * rises; that all lanes together have each once is for who puts the stream
 * together again.
 */
#ifndef LY_ATTEST_TREE_H
#define LY_ATTEST_TREE_H

#include "lib/crypt/crypt.h"
#include "lib/wire/message.h"

#define LY_TREE_CHUNK (1024u * 1024) /* the most bytes of one chunk */

/* A whole chunk; any thread. */
void ly_tree_leaf(uint8_t lane, uint64_t index, const void *data, size_t len,
    uint8_t out[32]);
/* One lane. A plain value, nothing to free. */
struct ly_tree_lane {
	struct ly_hash leaves;
	uint64_t bytes;
	uint64_t next; /* the least index that may come */
	uint8_t lane;
};
void ly_tree_lane_init(struct ly_tree_lane *l, uint8_t lane);
/* The leaf of the lane's next chunk. LY_MALFORMED: an index that came before,
 * or more than LY_TREE_CHUNK bytes. */
LY_MUST enum ly_rc ly_tree_lane_add(struct ly_tree_lane *l, uint64_t index,
    size_t len, const uint8_t leaf[32], struct ly_why *why);
/* Of what came so far; the lane may go on. */
void ly_tree_lane_root(const struct ly_tree_lane *l, uint8_t out[32]);

/* R; `n` is 1 to LY_LANES_MAX. */
void ly_tree_root(const struct ly_id *mig, const struct ly_tree_lane *lanes,
    size_t n, uint8_t out[32]);

#endif
