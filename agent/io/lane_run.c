/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of one lane. It holds at most one chunk. Chunks pass QEMU's
 * socket in their order, so one thread at a time has the turn there, and what
 * takes long (the digest, TLS) is done outside of it.
 *
 *   source	 take the turn; read the chunk; give the turn on; send it; hash it;
 *		 say the leaf
 *   destination receive the chunk; take the turn; write it; give the turn on;
 *		 hash it; compare
 *
 * Who has the turn lets bytes through as they come, if they come slowly: the
 * end of a stream, or a guest that is quiet, must not wait for a chunk to be
 * full.
 */
#include "agent/io/lanes_in.h"
#include "lib/io/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define IDLE_MS 1  /* QEMU sends nothing for so long: what there is goes */
#define SAVE_MS 50 /* of its pace may be saved up while QEMU sends nothing */
#define TURN_MS 5  /* between two looks whether it has come */
#define PACE_MS 10 /* between two looks at the budget */

/* ---- among threads ---- */

static struct lane *
lane_of(struct ly_lanes *l, uint64_t index)
{
	return &l->lane[index % l->n];
}

static void
wake_all(struct ly_lanes *l)
{
	for (unsigned i = 0; i < l->n; i++)
		pthread_cond_broadcast(&l->lane[i].turn);
	pthread_cond_broadcast(&l->paced);
}

/* The first one counts. */
static void
fault(struct lane *w, enum ly_lanes_fault what, const struct ly_why *why)
{
	struct ly_lanes *l = w->all;

	pthread_mutex_lock(&l->lock);
	if (!l->stop && !l->faulty) {
		l->faulty = true;
		l->fault = what;
		l->why = *why;
		if (what == LY_LANES_LOST)
			ly_fail_in(&l->why, LY_OUTSIDE, "lane %u", w->no);
	}
	l->stop = true;
	wake_all(l);
	pthread_mutex_unlock(&l->lock);
	uv_async_send(&l->async);
}

/* A chunk before ours will never come: its lane has ended. */
static bool
misses(const struct ly_lanes *l, struct ly_why *why)
{
	const struct lane *w = &l->lane[l->next % l->n];

	if (!w->ended || l->source)
		return false;
	ly_fail(why, LY_MALFORMED, "ended before chunk %llu, which is its own",
	    (unsigned long long)l->next);
	return true;
}

/* Waits until it is chunk `index`'s turn at QEMU's socket. False: there is no
 * such chunk, or all is over. */
static bool
take_turn(struct lane *w, uint64_t index)
{
	struct ly_lanes *l = w->all;
	struct ly_why why;
	bool mine, missing = false;

	pthread_mutex_lock(&l->lock);
	while (!l->stop && !l->eof && (l->qemu < 0 || l->next != index) &&
	    !(missing = misses(l, &why)))
		pthread_cond_wait(&w->turn, &l->lock);
	mine = !l->stop && !l->eof && !missing;
	pthread_mutex_unlock(&l->lock);
	if (missing)
		fault(lane_of(l, l->next), LY_LANES_LOST, &why);
	return mine;
}

/* The next chunk's turn; the source's QEMU may have closed instead. */
static void
give_turn(struct ly_lanes *l, bool eof)
{
	pthread_mutex_lock(&l->lock);
	l->next++;
	l->eof = eof;
	if (eof)
		wake_all(l);
	else
		pthread_cond_signal(&lane_of(l, l->next)->turn);
	pthread_mutex_unlock(&l->lock);
}

static void
count(struct ly_lanes *l, size_t n)
{
	pthread_mutex_lock(&l->lock);
	l->bytes += n;
	pthread_mutex_unlock(&l->lock);
}

static void
ended(struct lane *w)
{
	struct ly_lanes *l = w->all;

	pthread_mutex_lock(&l->lock);
	w->ended = true;
	wake_all(l);
	pthread_mutex_unlock(&l->lock);
	uv_async_send(&l->async);
}

static void
no_qemu(struct lane *w, int error)
{
	struct ly_why why;

	ly_fail(&why, LY_OUTSIDE, "QEMU's migration socket: %s",
	    strerror(error));
	fault(w, LY_LANES_QEMU, &why);
}

/* ---- source ---- */

static struct timespec
soon(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += PACE_MS * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	return t;
}

static void
save_up(struct ly_lanes *l, uint64_t rate, uint64_t now)
{
	int64_t most = (int64_t)(rate * SAVE_MS / 1000 + 1);

	l->budget += (int64_t)(rate * ly_min(now - l->paced_ms, 1000) / 1000);
	if (l->budget > most)
		l->budget = most;
	l->paced_ms = now;
}

/* What may be read now, of at most `most`; 0: nothing yet. */
static size_t
may_read(struct ly_lanes *l, size_t most)
{
	uint64_t left = l->most > l->bytes ? l->most - l->bytes : 0;

	if (l->rate)
		save_up(l, l->rate, ly_boot_ms());
	if (l->rate && l->budget <= 0)
		return 0;
	if (l->rate)
		left = ly_min(left, LY_CHUNK_MAX);
	return ly_min(most, left);
}

/* Waits for that. 0: all is over. */
static size_t
allowed(struct ly_lanes *l, size_t most)
{
	size_t n = 0;

	pthread_mutex_lock(&l->lock);
	while (!l->stop && (n = may_read(l, most)) == 0) {
		struct timespec until = soon();

		pthread_cond_timedwait(&l->paced, &l->lock, &until);
	}
	n = l->stop ? 0 : n;
	pthread_mutex_unlock(&l->lock);
	return n;
}

static void
spend(struct ly_lanes *l, size_t n)
{
	pthread_mutex_lock(&l->lock);
	l->bytes += n;
	if (l->rate)
		l->budget -= (int64_t)n;
	pthread_mutex_unlock(&l->lock);
}

static enum ly_rc
send_part(struct lane *w, size_t *from, size_t to, bool more,
    struct ly_why *why)
{
	enum ly_rc rc = LY_OK;

	while (rc == LY_OK && *from < to) {
		size_t n = ly_min(to - *from, LY_CHUNK_MAX);

		rc = ly_off_send(w->off, w->chunk + *from, n,
		    more || *from + n < to, why);
		*from += n;
	}
	return rc;
}

/* Nothing there: what was read goes, if nothing comes soon. */
static enum ly_rc
await(struct lane *w, size_t *sent, size_t len, struct ly_why *why)
{
	struct pollfd p = { .fd = w->all->qemu, .events = POLLIN };
	int r = poll(&p, 1, *sent < len ? IDLE_MS : -1);

	if (r == 0)
		return send_part(w, sent, len, false, why);
	return LY_OK; /* recv() tells of an error */
}

/* Before we have to wait, what was read goes. False: over. */
static bool
hurry(struct lane *w, size_t *sent, size_t len, struct ly_why *why)
{
	struct ly_lanes *l = w->all;
	bool waits;

	pthread_mutex_lock(&l->lock);
	waits = may_read(l, 1) == 0;
	pthread_mutex_unlock(&l->lock);
	if (!waits || send_part(w, sent, len, false, why) == LY_OK)
		return true;
	fault(w, LY_LANES_LOST, why);
	return false;
}

/* Reads one chunk. *len less than a whole one: QEMU has closed. False: over,
 * and it has been told. */
static bool
read_chunk(struct lane *w, size_t *len, size_t *sent)
{
	struct ly_lanes *l = w->all;
	struct ly_why why;

	*len = *sent = 0;
	while (*len < LY_TREE_CHUNK) {
		size_t room = 0;
		ssize_t n;

		if (hurry(w, sent, *len, &why))
			room = allowed(l, LY_TREE_CHUNK - *len);
		if (!room)
			return false;
		n = recv(l->qemu, w->chunk + *len, room, MSG_DONTWAIT);
		if (n == 0)
			return true;
		if (n > 0) {
			*len += (size_t)n;
			spend(l, (size_t)n);
		} else if (errno != EAGAIN && errno != EINTR) {
			no_qemu(w, errno);
			return false;
		} else if (await(w, sent, *len, &why) != LY_OK) {
			fault(w, LY_LANES_LOST, &why);
			return false;
		}
	}
	return true;
}

static enum ly_rc
send_chunk(struct lane *w, uint64_t index, size_t sent, size_t len,
    struct ly_why *why)
{
	struct ly_leaf leaf = { .index = index };
	enum ly_rc rc = send_part(w, &sent, len, true, why);

	ly_tree_leaf(w->no, index, w->chunk, len, leaf.digest);
	if (rc == LY_OK)
		rc = ly_tree_lane_add(&w->tree, index, len, leaf.digest, why);
	if (rc == LY_OK)
		rc = ly_off_say(w->off, LY_LEAF, &leaf, false, why);
	return rc;
}

static void
run_source(struct lane *w)
{
	struct ly_lanes *l = w->all;
	struct ly_why why;
	enum ly_rc rc = LY_OK;

	while (rc == LY_OK && take_turn(w, w->index)) {
		size_t len, sent;

		if (!read_chunk(w, &len, &sent))
			return;
		give_turn(l, len < LY_TREE_CHUNK);
		if (len)
			rc = send_chunk(w, w->index, sent, len, &why);
		w->index += l->n;
	}
	pthread_mutex_lock(&l->lock);
	if (rc == LY_OK && !l->eof)
		rc = LY_SHORT; /* stopped, and told already */
	pthread_mutex_unlock(&l->lock);
	if (rc == LY_OK)
		rc = ly_off_end(w->off, &why);
	if (rc == LY_OK)
		ended(w);
	else if (rc != LY_SHORT)
		fault(w, LY_LANES_LOST, &why);
}

/* ---- destination ---- */

static bool
write_part(struct lane *w, size_t *from, size_t to)
{
	struct ly_lanes *l = w->all;

	while (*from < to) {
		ssize_t n = send(l->qemu, w->chunk + *from, to - *from,
		    MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			no_qemu(w, errno);
			return false;
		}
		*from += (size_t)n;
		count(l, (size_t)n);
	}
	return true;
}

static bool
has_turn(struct lane *w, uint64_t index)
{
	struct ly_lanes *l = w->all;
	bool mine;

	pthread_mutex_lock(&l->lock);
	mine = l->qemu >= 0 && l->next == index;
	pthread_mutex_unlock(&l->lock);
	return mine;
}

/* The source has said that the chunk is whole, and what it is. */
static enum ly_rc
check(struct lane *w, size_t len, const struct ly_frame *f,
    enum ly_lanes_fault *what, struct ly_why *why)
{
	union ly_any m;
	uint8_t leaf[32];
	enum ly_rc rc = ly_frame_decode(f, &m, sizeof(m), why);

	if (rc == LY_OK && (m.leaf.index != w->index || len == 0))
		rc = ly_fail(why, LY_MALFORMED,
		    "chunk %llu of %zu bytes where %llu belongs",
		    (unsigned long long)m.leaf.index, len,
		    (unsigned long long)w->index);
	if (rc != LY_OK)
		return rc;
	ly_tree_leaf(w->no, w->index, w->chunk, len, leaf);
	if (!ly_same(leaf, m.leaf.digest, sizeof(leaf))) {
		*what = LY_LANES_FORGED;
		return ly_fail(why, LY_MALFORMED,
		    "the stream's digest does not match: lane %u, chunk %llu "
		    "is not what its source read",
		    w->no, (unsigned long long)w->index);
	}
	return ly_tree_lane_add(&w->tree, w->index, len, leaf, why);
}

/* One frame more of a chunk. *whole: that was its last. */
static enum ly_rc
receive(struct lane *w, size_t *len, struct ly_frame *f, bool *whole,
    struct ly_why *why)
{
	enum ly_rc rc = ly_off_next(w->off, w->chunk + *len,
	    LY_TREE_CHUNK - *len, f, why);

	*whole = false;
	if (rc != LY_OK)
		return rc;
	if (f->type == LY_DATA)
		*len += f->len;
	else if (f->type == 0 && *len)
		return ly_fail(why, LY_MALFORMED,
		    "ended in the middle of chunk %llu",
		    (unsigned long long)w->index);
	else if (f->type == 0 || f->type == LY_LEAF)
		*whole = true;
	else if (f->type != LY_PING && f->type != LY_PONG)
		return ly_fail(why, LY_MALFORMED,
		    "a frame of type %#x does not belong here", f->type);
	return LY_OK;
}

/* The turn may come while nothing else does: who waits in vain for the rest of
 * a chunk lets through what there is of it. */
static bool
write_early(struct lane *w, size_t *written, size_t len)
{
	while (*written < len) {
		if (has_turn(w, w->index))
			return write_part(w, written, len);
		if (ly_off_wait(w->off, TURN_MS))
			break;
	}
	return true;
}

/* Receives one chunk, and gives QEMU what of it has its turn. False: over. */
static bool
take_chunk(struct lane *w, size_t *len, struct ly_frame *f)
{
	size_t written = 0;
	bool whole = false;
	struct ly_why why;

	*len = 0;
	while (!whole) {
		if (!write_early(w, &written, *len))
			return false;
		if (receive(w, len, f, &whole, &why) != LY_OK) {
			fault(w, LY_LANES_LOST, &why);
			return false;
		}
	}
	if (f->type == 0)
		return true;
	if (!take_turn(w, w->index) || !write_part(w, &written, *len))
		return false;
	give_turn(w->all, false);
	return true;
}

static void
run_dest(struct lane *w)
{
	size_t len = LY_TREE_CHUNK;
	struct ly_frame f;
	struct ly_why why;

	for (;;) {
		enum ly_lanes_fault what = LY_LANES_LOST;
		bool last = len < LY_TREE_CHUNK;

		if (!take_chunk(w, &len, &f))
			return;
		if (f.type == 0)
			break;
		if (last)
			ly_fail(&why, LY_MALFORMED,
			    "chunk %llu comes behind a short one",
			    (unsigned long long)w->index);
		if (last || check(w, len, &f, &what, &why) != LY_OK) {
			fault(w, what, &why);
			return;
		}
		pthread_mutex_lock(&w->all->lock);
		w->index += w->all->n;
		pthread_mutex_unlock(&w->all->lock);
	}
	ended(w);
}

void *
ly_lane_run(void *lane)
{
	struct lane *w = lane;

	if (w->all->source)
		run_source(w);
	else
		run_dest(w);
	return NULL;
}
