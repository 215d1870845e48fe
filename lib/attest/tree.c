/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/attest/tree.h"

enum { LEAF = 0, LANE = 1, STREAM = 2 };

void
ly_tree_leaf(uint8_t lane, uint64_t index, const void *data, size_t len,
    uint8_t out[32])
{
	uint8_t node[78];
	uint8_t *left = node + 14, *right = node + 46;
	const uint8_t *at = data;
	struct ly_wr w = ly_wr_over(node, sizeof(node));
	size_t half = len / 2;

	assert(len <= LY_TREE_CHUNK);
	ly_wr_u8(&w, LEAF);
	ly_wr_u8(&w, lane);
	ly_wr_u64(&w, index);
	ly_wr_u32(&w, (uint32_t)len);
	ly_sha256_pair(at, at + half, half, left, right);
	if (len % 2) /* one is a byte longer */
		ly_sha256(at + half, half + 1, right);
	ly_sha256(node, sizeof(node), out);
}

void
ly_tree_lane_init(struct ly_tree_lane *l, uint8_t lane)
{
	const uint8_t head[] = { LANE, lane };

	*l = (struct ly_tree_lane){ .lane = lane };
	ly_hash_start(&l->leaves);
	ly_hash_add(&l->leaves, head, sizeof(head));
}

enum ly_rc
ly_tree_lane_add(struct ly_tree_lane *l, uint64_t index, size_t len,
    const uint8_t leaf[32], struct ly_why *why)
{
	if (index < l->next || index == UINT64_MAX)
		return ly_fail(why, LY_MALFORMED,
		    "lane %u: chunk %llu is not after the one before", l->lane,
		    (unsigned long long)index);
	if (len > LY_TREE_CHUNK)
		return ly_fail(why, LY_MALFORMED,
		    "lane %u: a chunk of %zu bytes", l->lane, len);
	ly_hash_add(&l->leaves, leaf, 32);
	l->bytes += len;
	l->next = index + 1;
	return LY_OK;
}

void
ly_tree_lane_root(const struct ly_tree_lane *l, uint8_t out[32])
{
	struct ly_hash h = l->leaves;
	uint8_t bytes[8];
	struct ly_wr w = ly_wr_over(bytes, sizeof(bytes));

	ly_wr_u64(&w, l->bytes);
	ly_hash_add(&h, bytes, sizeof(bytes));
	ly_hash_end(&h, out);
}

void
ly_tree_root(const struct ly_id *mig, const struct ly_tree_lane *lanes,
    size_t n, uint8_t out[32])
{
	struct ly_hash h;
	uint8_t head = STREAM, count = (uint8_t)n, root[32];

	assert(n >= 1 && n <= LY_LANES_MAX);
	ly_hash_start(&h);
	ly_hash_add(&h, &head, 1);
	ly_hash_add(&h, mig->b, sizeof(mig->b));
	ly_hash_add(&h, &count, 1);
	for (size_t i = 0; i < n; i++) {
		ly_tree_lane_root(&lanes[i], root);
		ly_hash_add(&h, root, sizeof(root));
	}
	ly_hash_end(&h, out);
}
