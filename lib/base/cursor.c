/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/cursor.h"

const uint8_t *
ly_rd_bytes(struct ly_rd *r, size_t n)
{
	const uint8_t *here = r->at;

	if (r->bad || n > (size_t)(r->end - r->at)) {
		r->bad = true;
		return NULL;
	}
	r->at += n;
	return here;
}

uint64_t
ly_rd_uint(struct ly_rd *r, size_t size)
{
	const uint8_t *b = ly_rd_bytes(r, size);
	uint64_t v = 0;

	if (!b)
		return 0;
	while (size--)
		v = v << 8 | *b++;
	return v;
}

void
ly_wr_bytes(struct ly_wr *w, const void *from, size_t n)
{
	if (w->bad || n > (size_t)(w->end - w->at)) {
		w->bad = true;
		return;
	}
	if (n)
		memcpy(w->at, from, n);
	w->at += n;
}

/* Big-endian: the last `size` bytes of all eight. */
void
ly_wr_uint(struct ly_wr *w, uint64_t v, size_t size)
{
	const uint8_t b[8] = { (uint8_t)(v >> 56), (uint8_t)(v >> 48),
		(uint8_t)(v >> 40), (uint8_t)(v >> 32), (uint8_t)(v >> 24),
		(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };

	assert(size >= 1 && size <= sizeof(b));
	if (w->bad || size > (size_t)(w->end - w->at)) {
		w->bad = true;
		return;
	}
	if (size == 1)
		*w->at = b[7];
	else
		memcpy(w->at, b + 8 - size, size);
	w->at += size;
}
