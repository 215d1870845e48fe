/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots, in the kept memory: sparse, and mapped as a whole.
 *
 *	a page		what this is (keep.c)
 *	cells		one a slot: header, two halves, short areas
 *	pages		for long areas, LY_AREA_MAX each
 *
 * A half is a state and how far the streams are. A commit writes the half that
 * is not live, then makes it live by one store; `take` and `owed` of the live
 * one go back to zero by one store each. Nothing else in a live half changes.
 *
 * A peer reads what was written to it out of the cell itself (once.h). If it
 * still has something unread when it is dropped, the cell is never used again:
 * it could read what the next owner writes there. That costs one slot until
 * the keeper is new, and happens only with a peer that lives on and does not
 * read.
 */
#include "agent/io/keep_in.h"
#include "agent/io/once.h"
#include "lib/base/text.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE 4096u

struct half {
	uint32_t len;
	_Atomic uint32_t take[LY_SLOT_FDS], owed[LY_SLOT_FDS];
	uint32_t pad;
};

enum { CELL_FREE, CELL_USED };

struct cell {
	_Atomic uint32_t use, live;
	_Atomic uint32_t unread; /* by a peer that was dropped */
	uint32_t pad;
};

const struct ly_shape ly_slot_shapes[LY_KEEP_KINDS] = {
	[LY_KEEP_AWAY] = { LY_SLOT_STATE_AWAY, 5, { 64, 448, 256, 256, 64 },
	    2560 },
	[LY_KEEP_HOME] = { LY_SLOT_STATE_HOME, 3, { 32, 224, 256 }, 1024 },
};

/* ---- where things are ---- */

static uint64_t
cells_begin(enum ly_keep_kind kind)
{
	return PAGE +
	    (kind == LY_KEEP_HOME ? (uint64_t)LY_KEEP_SLOTS *
			ly_slot_shapes[LY_KEEP_AWAY].size :
				    0);
}

static uint64_t
pages_begin(enum ly_keep_kind kind)
{
	uint64_t all = cells_begin(LY_KEEP_HOME) +
	    (uint64_t)LY_KEEP_SLOTS * ly_slot_shapes[LY_KEEP_HOME].size;

	if (kind > LY_KEEP_AWAY)
		all += (uint64_t)LY_KEEP_SLOTS *
		    ly_slot_shapes[LY_KEEP_AWAY].areas * LY_AREA_MAX;
	if (kind > LY_KEEP_HOME)
		all += (uint64_t)LY_KEEP_SLOTS *
		    ly_slot_shapes[LY_KEEP_HOME].areas * LY_AREA_MAX;
	return all;
}

uint64_t
ly_slots_size(void)
{
	return pages_begin(LY_KEEP_KINDS);
}

static uint64_t
cell_offset(enum ly_keep_kind kind, uint32_t index)
{
	return cells_begin(kind) + (uint64_t)index * ly_slot_shapes[kind].size;
}

static struct cell *
cell_of(const struct ly_keep *k, enum ly_keep_kind kind, uint32_t index)
{
	return (void *)(k->mem + cell_offset(kind, index));
}

static struct cell *
cell(const struct ly_slot *s)
{
	return cell_of(s->keep, s->kind, s->index);
}

static struct half *
half(const struct ly_slot *s, uint32_t which)
{
	return (void *)((uint8_t *)(cell(s) + 1) +
	    which * (sizeof(struct half) + ly_slot_shapes[s->kind].state));
}

static struct half *
live_half(const struct ly_slot *s)
{
	return half(s, atomic_load(&cell(s)->live) & 1);
}

static uint64_t
long_offset(const struct ly_slot *s, enum ly_area area)
{
	return pages_begin(s->kind) +
	    ((uint64_t)s->index * ly_slot_shapes[s->kind].areas + area) *
	    LY_AREA_MAX;
}

uint64_t
ly_slot_area_offset(const struct ly_slot *s, enum ly_area area, size_t len)
{
	const struct ly_shape *p = &ly_slot_shapes[s->kind];
	uint64_t at = cell_offset(s->kind, s->index) + sizeof(struct cell) +
	    2 * (sizeof(struct half) + p->state);

	assert(area < p->areas && len <= LY_AREA_MAX);
	if (len > p->shorts[area])
		return long_offset(s, area);
	for (unsigned i = 0; i < area; i++)
		at += p->shorts[i];
	return at;
}

/* ---- areas and states ---- */

/* Pages of a long area that is long no more. */
static void
give_pages(struct ly_slot *s, enum ly_area area)
{
	if (s->longs & 1u << area)
		(void)fallocate(s->keep->memory,
		    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		    (off_t)long_offset(s, area), LY_AREA_MAX);
	s->longs &= (uint8_t) ~(1u << area);
}

uint8_t *
ly_slot_area(struct ly_slot *s, enum ly_area area, size_t len)
{
	uint64_t at = ly_slot_area_offset(s, area, len);

	if (at != long_offset(s, area)) {
		give_pages(s, area);
	} else {
		/* rather here than by a SIGBUS in the middle of something */
		if (fallocate(s->keep->memory, 0, (off_t)at, (off_t)len) != 0)
			abort();
		s->longs |= (uint8_t)(1u << area);
	}
	return s->keep->mem + at;
}

void
ly_slot_commit(struct ly_slot *s, const void *state, size_t len)
{
	uint32_t spare = !(atomic_load(&cell(s)->live) & 1);
	struct half *h = half(s, spare);

	assert(len > 0 && len <= ly_slot_shapes[s->kind].state);
	memcpy(h + 1, state, len);
	h->len = (uint32_t)len;
	for (unsigned i = 0; i < LY_SLOT_FDS; i++) {
		atomic_store_explicit(&h->take[i], s->take[i],
		    memory_order_relaxed);
		atomic_store_explicit(&h->owed[i], s->owed[i],
		    memory_order_relaxed);
	}
	atomic_store_explicit(&cell(s)->live, spare, memory_order_release);
}

struct ly_bytes
ly_slot_state(const struct ly_slot *s)
{
	const struct half *h = live_half(s);

	return (struct ly_bytes){ (const uint8_t *)(h + 1), h->len };
}

void
ly_slot_note(struct ly_slot *s, unsigned which)
{
	struct half *h = live_half(s);

	atomic_store_explicit(&h->take[which], s->take[which],
	    memory_order_release);
	atomic_store_explicit(&h->owed[which], s->owed[which],
	    memory_order_release);
}

/* ---- descriptors ---- */

static struct key
key_of(const struct ly_slot *s, uint32_t which)
{
	return (struct key){ s->kind, s->index, which };
}

/* A second open file of the memory: its offset is nobody else's. */
static int
open_out(struct ly_keep *k)
{
	char path[40];

	ly_print(path, sizeof(path), "/proc/self/fd/%d", k->memory);
	return open(path, O_RDONLY | O_CLOEXEC);
}

void
ly_slot_put(struct ly_slot *s, unsigned which, int fd)
{
	int off = 0;

	assert(s->fd[which] < 0 && fd >= 0);
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	(void)setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
	s->fd[which] = fd;
	s->out[which] = open_out(s->keep);
	if (s->out[which] < 0)
		abort(); /* out of descriptors: the next agent may have more */
	ly_keeper_put(s->keep, key_of(s, LY_OUT(which)), "", s->out[which]);
	ly_keeper_put(s->keep, key_of(s, which), "", fd);
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
ly_slot_drop(struct ly_slot *s, unsigned which)
{
	int unread = 0;

	if (s->fd[which] < 0)
		return;
	if (ioctl(s->fd[which], SIOCOUTQ, &unread) == 0 && unread > 0)
		atomic_store(&cell(s)->unread, 1);
	(void)shutdown(s->fd[which], SHUT_RDWR);
	ly_keeper_drop(s->keep, key_of(s, which));
	ly_keeper_drop(s->keep, key_of(s, LY_OUT(which)));
	close_fd(&s->fd[which]);
	close_fd(&s->out[which]);
	s->take[which] = s->owed[which] = s->peeked[which] = 0;
	ly_slot_note(s, which);
}

/* ---- slots ---- */

struct ly_slot *
ly_slot_make(struct ly_keep *k, enum ly_keep_kind kind, uint32_t index)
{
	struct ly_slot *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->keep = k;
	s->kind = kind;
	s->index = index;
	for (unsigned i = 0; i < LY_SLOT_FDS; i++)
		s->fd[i] = s->out[i] = -1;
	k->slots[kind][index] = s;
	return s;
}

static bool
find_free(struct ly_keep *k, enum ly_keep_kind kind, uint32_t *out)
{
	for (uint32_t i = 0; i < LY_KEEP_SLOTS; i++) {
		uint32_t at = (k->hint[kind] + i) % LY_KEEP_SLOTS;

		if (k->slots[kind][at] || cell_of(k, kind, at)->unread)
			continue;
		*out = at;
		return true;
	}
	return false;
}

struct ly_slot *
ly_slot_new(struct ly_keep *k, enum ly_keep_kind kind)
{
	uint32_t index;

	if (!find_free(k, kind, &index) ||
	    fallocate(k->memory, 0, (off_t)cell_offset(kind, index),
		ly_slot_shapes[kind].size) != 0)
		return NULL;
	k->hint[kind] = index + 1;
	atomic_store(&cell_of(k, kind, index)->use, CELL_USED);
	return ly_slot_make(k, kind, index);
}

void
ly_slot_forget(struct ly_slot *s)
{
	for (unsigned i = 0; i < LY_SLOT_FDS; i++) {
		close_fd(&s->fd[i]);
		close_fd(&s->out[i]);
	}
	s->keep->slots[s->kind][s->index] = NULL;
	free(s);
}

/* In this order: a state that says nothing first, so that whoever is killed
 * within leaves a slot that the next one frees. */
void
ly_slot_free(struct ly_slot *s)
{
	struct cell *c = cell(s);

	for (unsigned i = 0; i < LY_SLOT_FDS; i++)
		ly_slot_drop(s, i);
	live_half(s)->len = 0;
	ly_wipe(c + 1, ly_slot_shapes[s->kind].size - sizeof(*c));
	s->longs = 0xff;
	for (unsigned i = 0; i < ly_slot_shapes[s->kind].areas; i++)
		give_pages(s, (enum ly_area)i);
	atomic_store(&c->use, CELL_FREE);
	if (s->index < s->keep->hint[s->kind])
		s->keep->hint[s->kind] = s->index;
	ly_slot_forget(s);
}

/* The stream's own descriptor last: its `out` is there when it is. */
void
ly_slot_hand_over(struct ly_slot *s)
{
	for (unsigned i = 0; i < LY_SLOT_FDS; i++) {
		if (s->fd[i] < 0)
			continue;
		ly_keeper_put(s->keep, key_of(s, LY_OUT(i)), "", s->out[i]);
		ly_keeper_put(s->keep, key_of(s, i), "", s->fd[i]);
	}
}

/* ---- inherited ones ---- */

/* A stream of which one half alone arrived was being put, or dropped. */
static void
settle_halves(struct ly_slot *s)
{
	for (unsigned i = 0; i < LY_SLOT_FDS; i++) {
		if ((s->fd[i] < 0) == (s->out[i] < 0))
			continue;
		ly_keeper_drop(s->keep, key_of(s, i));
		ly_keeper_drop(s->keep, key_of(s, LY_OUT(i)));
		close_fd(&s->fd[i]);
		close_fd(&s->out[i]);
	}
}

static void
wake_slot(struct ly_slot *s)
{
	struct half *h = live_half(s);

	s->longs = 0xff;
	settle_halves(s);
	if (cell(s)->use != CELL_USED || h->len == 0 ||
	    h->len > ly_slot_shapes[s->kind].state) {
		ly_slot_free(s);
		return;
	}
	for (unsigned i = 0; i < LY_SLOT_FDS; i++) {
		s->take[i] = h->take[i];
		s->owed[i] = h->owed[i];
		if (s->fd[i] < 0)
			s->take[i] = s->owed[i] = 0;
	}
	ly_once_wake(s);
}

/* Cells in use without a descriptor have no slot yet. Pages of cells never
 * used are not touched: SEEK_DATA steps over them. */
void
ly_slots_wake(struct ly_keep *k, enum ly_keep_kind kind)
{
	const uint64_t first = cells_begin(kind),
		       size = ly_slot_shapes[kind].size;
	uint64_t end = first + LY_KEEP_SLOTS * size;

	for (uint64_t at = first; at < end;) {
		off_t data = lseek(k->memory, (off_t)at, SEEK_DATA);
		uint64_t upto, i;

		if (data < 0 || (uint64_t)data >= end)
			break;
		upto = ly_min((size_t)lseek(k->memory, data, SEEK_HOLE), end);
		for (i = ((uint64_t)data - first) / size;
		     first + i * size < upto; i++)
			if (!k->slots[kind][i] &&
			    cell_of(k, kind, (uint32_t)i)->use == CELL_USED)
				(void)ly_slot_make(k, kind, (uint32_t)i);
		at = upto;
	}
	for (struct ly_slot *s = ly_keep_next(k, kind, NULL), *next; s;
	     s = next) {
		next = ly_keep_next(k, kind, s);
		wake_slot(s);
	}
}
