/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guest/sha256.h"

#define BLOCK 64

struct sha256 {
	uint32_t h[8];
	uint8_t block[BLOCK];
	size_t fill;
	uint64_t total;
};

static const uint32_t k[64] = { 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5,
	0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
	0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
	0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138,
	0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624,
	0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
	0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f,
	0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2 };

static uint32_t
ror(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void
schedule(const uint8_t block[BLOCK], uint32_t w[64])
{
	struct ly_rd r = ly_rd_over(block, BLOCK);

	for (unsigned i = 0; i < 16; i++)
		w[i] = ly_rd_u32(&r);
	for (unsigned i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) +
		    w[i - 7] + (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
	}
}

static void
compress(uint32_t h[8], const uint8_t block[BLOCK])
{
	uint32_t w[64], v[8];

	schedule(block, w);
	memcpy(v, h, sizeof(v));
	for (unsigned i = 0; i < 64; i++) {
		uint32_t a = v[0], e = v[4];
		uint32_t t1 = v[7] + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) +
		    ((e & v[5]) ^ (~e & v[6])) + k[i] + w[i];
		uint32_t t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) +
		    ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));

		memmove(v + 1, v, 7 * sizeof(v[0]));
		v[4] += t1;
		v[0] = t1 + t2;
	}
	for (unsigned i = 0; i < 8; i++)
		h[i] += v[i];
}

static void
feed(struct sha256 *s, struct ly_bytes in)
{
	s->total += in.len;
	while (in.len > 0) {
		size_t n = ly_min(in.len, BLOCK - s->fill);

		memcpy(s->block + s->fill, in.at, n);
		s->fill += n;
		in.at += n;
		in.len -= n;
		if (s->fill == BLOCK) {
			compress(s->h, s->block);
			s->fill = 0;
		}
	}
}

/* One 1 bit, zeros, and the length in bits as the last eight bytes. */
static void
finish(struct sha256 *s)
{
	static const uint8_t pad[BLOCK] = { 0x80 };
	uint8_t bits[8];
	struct ly_wr w = ly_wr_over(bits, sizeof(bits));
	size_t room = BLOCK - sizeof(bits);

	ly_wr_u64(&w, s->total * 8);
	feed(s,
	    (struct ly_bytes){ pad,
		s->fill < room ? room - s->fill : BLOCK + room - s->fill });
	feed(s, (struct ly_bytes){ bits, sizeof(bits) });
}

void
ly_sha256(struct ly_bytes a, struct ly_bytes b, uint8_t out[LY_SHA256_LEN])
{
	struct sha256 s = { .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372,
				0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
				0x5be0cd19 } };
	struct ly_wr w = ly_wr_over(out, LY_SHA256_LEN);

	feed(&s, a);
	feed(&s, b);
	finish(&s);
	for (unsigned i = 0; i < 8; i++)
		ly_wr_u32(&w, s.h[i]);
}
