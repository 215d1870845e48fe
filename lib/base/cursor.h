/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing bytes. Nobody indexes a buffer. A reader that has run
 * dry stays bad and yields zeros, a writer that has run full stays bad and
 * writes nothing more, so code reads like the format and asks once, at the
 * end. All integers are big-endian, as in TPM 2.0 and the swtpm control
 * protocol.
 */
#ifndef LY_BASE_CURSOR_H
#define LY_BASE_CURSOR_H

#include "lib/base/base.h"

struct ly_rd {
	const uint8_t *at, *end;
	bool bad;
};

struct ly_wr {
	uint8_t *start, *at, *end;
	bool bad;
};

/* Bytes somebody else owns. */
struct ly_bytes {
	const uint8_t *at;
	size_t len;
};

static inline struct ly_rd
ly_rd_over(const void *buf, size_t len)
{
	const uint8_t *b = buf;

	return (struct ly_rd){ .at = b, .end = len ? b + len : b };
}

static inline struct ly_wr
ly_wr_over(void *buf, size_t len)
{
	uint8_t *b = buf;

	return (struct ly_wr){ .start = b, .at = b, .end = b + len };
}

static inline size_t
ly_rd_left(const struct ly_rd *r)
{
	return r->bad ? 0 : (size_t)(r->end - r->at);
}

static inline size_t
ly_wr_len(const struct ly_wr *w)
{
	return (size_t)(w->at - w->start);
}

/* `n` bytes, borrowed from the buffer; NULL and bad when there are fewer. */
const uint8_t *ly_rd_bytes(struct ly_rd *r, size_t n);
/* An unsigned integer of 1 to 8 bytes. */
uint64_t ly_rd_uint(struct ly_rd *r, size_t size);

static inline uint8_t
ly_rd_u8(struct ly_rd *r)
{
	return (uint8_t)ly_rd_uint(r, 1);
}

static inline uint16_t
ly_rd_u16(struct ly_rd *r)
{
	return (uint16_t)ly_rd_uint(r, 2);
}

static inline uint32_t
ly_rd_u32(struct ly_rd *r)
{
	return (uint32_t)ly_rd_uint(r, 4);
}

static inline uint64_t
ly_rd_u64(struct ly_rd *r)
{
	return ly_rd_uint(r, 8);
}

void ly_wr_bytes(struct ly_wr *w, const void *from, size_t n);
void ly_wr_uint(struct ly_wr *w, uint64_t v, size_t size);

static inline void
ly_wr_u8(struct ly_wr *w, uint8_t v)
{
	ly_wr_uint(w, v, 1);
}

static inline void
ly_wr_u16(struct ly_wr *w, uint16_t v)
{
	ly_wr_uint(w, v, 2);
}

static inline void
ly_wr_u32(struct ly_wr *w, uint32_t v)
{
	ly_wr_uint(w, v, 4);
}

static inline void
ly_wr_u64(struct ly_wr *w, uint64_t v)
{
	ly_wr_uint(w, v, 8);
}

#endif
