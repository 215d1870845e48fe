/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time and chance. One queue, ordered by time and then by who asked first; one
 * generator (splitmix64). The hash of what was taken from the queue, and of
 * what laws were asked about, is the trace's short form.
 */
#include "tests/sim/sim.h"

#include <stdarg.h>

struct happening {
	uint64_t at, serial;
	sim_fn *fn;
	void *obj;
	const uint32_t *gen;
	uint32_t was;
	uint64_t arg;
};

static struct happening *heap;
static size_t heap_n, heap_room;

uint64_t
sim_rnd(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t
sim_below(uint64_t *rng, uint64_t n)
{
	return n ? sim_rnd(rng) % n : 0;
}

bool
sim_chance(uint64_t *rng, unsigned in_1000)
{
	return sim_below(rng, 1000) < in_1000;
}

static bool
before(const struct happening *a, const struct happening *b)
{
	return a->at != b->at ? a->at < b->at : a->serial < b->serial;
}

void
sim_after(uint64_t us, sim_fn *fn, void *obj, const uint32_t *gen, uint64_t arg)
{
	struct happening h = { .at = w.now + us,
		.serial = ++w.serial,
		.fn = fn,
		.obj = obj,
		.gen = gen,
		.was = gen ? *gen : 0,
		.arg = arg };
	size_t i = heap_n++;

	if (heap_n > heap_room) {
		heap_room = heap_room ? 2 * heap_room : 1024;
		heap = realloc(heap, heap_room * sizeof(*heap));
		if (!heap)
			abort();
	}
	for (; i > 0 && before(&h, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = h;
}

static struct happening
take(void)
{
	struct happening top = heap[0], last = heap[--heap_n];
	size_t i = 0;

	for (size_t c; (c = 2 * i + 1) < heap_n; i = c) {
		if (c + 1 < heap_n && before(&heap[c + 1], &heap[c]))
			c++;
		if (!before(&heap[c], &last))
			break;
		heap[i] = heap[c];
	}
	if (heap_n)
		heap[i] = last;
	return top;
}

bool
sim_next(void)
{
	while (heap_n) {
		struct happening h = take();

		if (h.gen && *h.gen != h.was)
			continue;
		w.now = h.at;
		w.hash = (w.hash ^ h.at ^ (h.arg << 17)) *
		    UINT64_C(0x100000001b3);
		h.fn(h.obj, h.arg);
		return true;
	}
	return false;
}

void
sim_queue_clear(void)
{
	heap_n = 0;
}

void
sim_log(const char *fmt, ...)
{
	va_list ap;

	printf("%10llu.%03llu ", (unsigned long long)(w.now / 1000),
	    (unsigned long long)(w.now % 1000));
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}
