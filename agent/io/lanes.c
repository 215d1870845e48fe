/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lanes' part on the loop: connections until they leave it, QEMU's socket
 * until a thread has it, and news of the threads. The struct lives until
 * ly_lanes_close() has joined the threads and the handles' close callbacks
 * have come (`handles`).
 *
 * Every lane goes through: conn (dialled, or handed over) -> held -> off the
 * loop -> its thread. The threads begin when all are off, and wait for QEMU.
 */
#include "agent/io/lanes_in.h"

#include "lib/io/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LEAVE_MS 1 /* between two tries to take a lane off the loop */

/* ---- life ---- */

static void
on_gone(uv_handle_t *h)
{
	struct ly_lanes *l = h->data;

	if (--l->handles || !l->closed)
		return;
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->paced);
	for (unsigned i = 0; i < l->n; i++)
		pthread_cond_destroy(&l->lane[i].turn);
	ly_wipe(l, sizeof(*l));
	free(l);
}

static void
end_threads(struct ly_lanes *l)
{
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	for (unsigned i = 0; i < l->n; i++)
		pthread_cond_broadcast(&l->lane[i].turn);
	pthread_cond_broadcast(&l->paced);
	pthread_mutex_unlock(&l->lock);
	if (l->qemu >= 0)
		(void)shutdown(l->qemu, SHUT_RDWR);
	for (unsigned i = 0; i < l->n; i++)
		if (l->lane[i].off)
			ly_off_cut(l->lane[i].off);
	for (unsigned i = 0; i < l->n; i++)
		if (l->lane[i].runs)
			pthread_join(l->lane[i].thread, NULL);
}

/* A connection that we have closed tells nobody. */
static void
on_late_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	(void)c;
	(void)rc;
	(void)why;
	(void)arg;
}

static enum ly_rc
on_late_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)c;
	(void)peer;
	(void)hello;
	(void)arg;
	return ly_fail(why, LY_OUTSIDE, "too late");
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	(void)c;
	(void)m;
	(void)arg;
	return ly_fail(why, LY_MALFORMED, "a frame of type %#x too early",
	    type);
}

static void
free_lane(struct lane *w)
{
	static const struct ly_conn_ops deaf = { .on_open = on_late_open,
		.on_frame = on_frame,
		.on_close = on_late_close };

	if (w->conn) {
		ly_conn_adopt(w->conn, &deaf, NULL);
		ly_conn_close(ly_take(w->conn), LY_OK, "over");
	}
	ly_off_free(ly_take(w->off));
	if (w->chunk)
		ly_wipe(w->chunk, LY_TREE_CHUNK);
	free(ly_take(w->chunk));
}

static void
close_door(struct ly_lanes *l)
{
	if (!l->has_door)
		return;
	l->has_door = false;
	uv_poll_stop(&l->door);
	uv_close((uv_handle_t *)&l->door, on_gone);
	close(l->listening);
}

void
ly_lanes_close(struct ly_lanes *l)
{
	assert(!l->closed);
	l->closed = true;
	end_threads(l);
	for (unsigned i = 0; i < l->n; i++)
		free_lane(&l->lane[i]);
	if (l->qemu >= 0)
		close(l->qemu);
	close_door(l);
	if (!l->source)
		ly_net_unexpect(l->net, &l->mig);
	uv_close((uv_handle_t *)&l->async, on_gone);
	uv_close((uv_handle_t *)&l->timer, on_gone);
}

/* ---- telling the owner ---- */

static void
tell_fault(struct ly_lanes *l, enum ly_lanes_fault what, const char *why)
{
	if (l->told_fault || l->told_end)
		return;
	l->told_fault = true;
	uv_timer_stop(&l->timer);
	l->ops->on_fault(l->arg, what, why);
}

static void
lane_fault(struct lane *w, const char *why)
{
	struct ly_why text;

	ly_fail(&text, LY_OUTSIDE, "lane %u: %s", w->no, why);
	tell_fault(w->all, LY_LANES_LOST, text.text);
}

static void
on_news(uv_async_t *h)
{
	struct ly_lanes *l = h->data;
	bool faulty, all = l->up;

	if (l->closed)
		return;
	pthread_mutex_lock(&l->lock);
	faulty = l->faulty;
	for (unsigned i = 0; i < l->n; i++)
		all = all && l->lane[i].ended;
	pthread_mutex_unlock(&l->lock);
	if (faulty) {
		tell_fault(l, l->fault, l->why.text);
	} else if (all && !l->told_end && !l->told_fault) {
		l->told_end = true;
		l->ops->on_end(l->arg);
	}
}

/* ---- the lanes leave the loop ---- */

/* Signals are the loop's. */
static bool
start_thread(struct lane *w)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	w->runs = pthread_create(&w->thread, NULL, ly_lane_run, w) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return w->runs;
}

static void
start_all(struct ly_lanes *l)
{
	uv_timer_stop(&l->timer);
	l->up = true;
	for (unsigned i = 0; i < l->n; i++) {
		if (!start_thread(&l->lane[i])) {
			lane_fault(&l->lane[i], "no thread");
			return;
		}
	}
	l->ops->on_up(l->arg);
}

/* False: not yet, or a fault that has been told. */
static bool
leave(struct lane *w)
{
	struct ly_why why;
	enum ly_rc rc;

	if (w->off)
		return true;
	if (!w->open)
		return false;
	rc = ly_conn_off(w->conn, &w->off, &why);
	if (rc == LY_OK)
		w->conn = NULL;
	else if (rc != LY_BUSY)
		lane_fault(w, why.text);
	return rc == LY_OK;
}

static void
on_timer(uv_timer_t *t)
{
	struct ly_lanes *l = t->data;
	unsigned off = 0;
	struct lane *late = NULL;

	for (unsigned i = 0; i < l->n && !l->told_fault; i++) {
		if (leave(&l->lane[i]))
			off++;
		else
			late = &l->lane[i];
	}
	if (off == l->n)
		start_all(l);
	else if (late && !l->told_fault &&
	    ly_boot_ms() - l->since_ms >= l->late_ms)
		lane_fault(late, "it did not come");
}

static void
come(struct ly_lanes *l)
{
	if (l->since_ms == 0)
		l->since_ms = ly_boot_ms();
	if (!uv_is_active((uv_handle_t *)&l->timer) && !l->up && !l->told_fault)
		uv_timer_start(&l->timer, on_timer, LEAVE_MS, LEAVE_MS);
}

/* ---- connections, while they are on the loop ---- */

/* It reads no more from here on. */
static enum ly_rc
stand(struct lane *w, struct ly_why *why)
{
	if (w->open || w->off)
		return ly_fail(why, LY_MALFORMED, "a lane was opened twice");
	w->open = true;
	ly_conn_hold(w->conn, true);
	come(w->all);
	return LY_OK;
}

static enum ly_rc
on_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)c;
	(void)peer;
	(void)hello;
	return stand(arg, why);
}

static void
on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct lane *w = arg;

	(void)c;
	w->conn = NULL;
	w->open = false;
	lane_fault(w, why && *why ? why : ly_rc_name(rc));
}

static const struct ly_conn_ops lane_ops = { .on_open = on_open,
	.on_frame = on_frame,
	.on_close = on_close };

enum ly_rc
ly_lanes_take(struct ly_lanes *l, struct ly_conn *c, struct ly_why *why)
{
	const struct ly_psk *psk = ly_conn_psk(c);
	struct lane *w;

	if (!psk || psk->lane >= l->n || !ly_id_same(&psk->mig, &l->mig))
		return ly_fail(why, LY_REFUSED, "not a lane of this migration");
	w = &l->lane[psk->lane];
	if (l->source || l->told_fault || w->conn || w->off)
		return ly_fail(why, LY_BUSY, "no lane is missing");
	w->conn = c;
	ly_conn_adopt(c, &lane_ops, w);
	return stand(w, why);
}

/* ---- making them ---- */

static void
make_lane(struct ly_lanes *l, unsigned no)
{
	struct lane *w = &l->lane[no];

	w->all = l;
	w->no = (uint8_t)no;
	w->index = no;
	w->chunk = malloc(LY_TREE_CHUNK);
	if (!w->chunk)
		abort();
	pthread_cond_init(&w->turn, NULL);
	ly_tree_lane_init(&w->tree, (uint8_t)no);
}

static void
make_waits(struct ly_lanes *l)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->paced, &attr);
	pthread_condattr_destroy(&attr);
}

static enum ly_rc
make(struct ly_net *net, const struct ly_lanes_params *p, bool source,
    const struct ly_lanes_ops *ops, void *arg, struct ly_lanes **out,
    struct ly_why *why)
{
	struct ly_lanes *l;

	if (p->keys->lanes == 0 || p->keys->lanes > LY_LANES_MAX)
		return ly_fail(why, LY_REFUSED, "a stream of %u lanes",
		    p->keys->lanes);
	l = calloc(1, sizeof(*l));
	if (!l)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	*l = (struct ly_lanes){ .ops = ops,
		.arg = arg,
		.net = net,
		.loop = ly_net_loop(net),
		.mig = p->keys->mig,
		.source = source,
		.n = p->keys->lanes,
		.late_ms = p->late_ms ? p->late_ms : LY_LANES_LATE_MS,
		.most = UINT64_MAX,
		.listening = -1,
		.qemu = -1,
		.handles = 2 };
	make_waits(l);
	for (unsigned i = 0; i < l->n; i++)
		make_lane(l, i);
	uv_async_init(l->loop, &l->async, on_news);
	uv_timer_init(l->loop, &l->timer);
	l->async.data = l->timer.data = l;
	*out = l;
	return LY_OK;
}

void
ly_lanes_psk(const struct ly_lanes_params *p, unsigned lane, struct ly_psk *out)
{
	*out = (struct ly_psk){ .mig = p->keys->mig,
		.lane = (uint8_t)lane,
		.peer = *p->peer };
	_Static_assert(LY_PSK_KEY_LEN == LY_PSK_LEN, "one length of keys");
	_Static_assert(LY_PSK_ID_MAX <= LY_PSK_NAME_MAX, "identities fit");
	ly_stream_identity(&p->keys->mig, (uint8_t)lane, 0, out->identity);
	ly_stream_psk(p->keys, (uint8_t)lane, 0, out->key);
}

enum ly_rc
ly_lanes_dial(struct ly_net *net, const struct ly_lanes_params *p,
    const char *address, const struct ly_lanes_ops *ops, void *arg,
    struct ly_lanes **out, struct ly_why *why)
{
	struct ly_lanes *l;
	enum ly_rc rc = make(net, p, true, ops, arg, &l, why);
	struct ly_psk psk;

	if (rc != LY_OK)
		return rc;
	for (unsigned i = 0; rc == LY_OK && i < l->n; i++) {
		ly_lanes_psk(p, i, &psk);
		l->lane[i].conn = ly_conn_dial_psk(net, address, &psk,
		    &lane_ops, &l->lane[i]);
		if (!l->lane[i].conn)
			rc = ly_fail(why, LY_OUTSIDE, "%s: cannot be dialled",
			    address);
	}
	ly_wipe(&psk, sizeof(psk));
	if (rc != LY_OK) {
		ly_lanes_close(l);
		return rc;
	}
	*out = l;
	return LY_OK;
}

enum ly_rc
ly_lanes_expect(struct ly_net *net, const struct ly_lanes_params *p,
    const struct ly_lanes_ops *ops, void *arg, struct ly_lanes **out,
    struct ly_why *why)
{
	struct ly_lanes *l;
	enum ly_rc rc = make(net, p, false, ops, arg, &l, why);
	struct ly_psk psk;

	if (rc != LY_OK)
		return rc;
	ly_lanes_psk(p, LY_LANE_LEAD, &psk);
	rc = ly_net_expect(net, &psk, why);
	for (unsigned i = 0; rc == LY_OK && i < l->n; i++) {
		ly_lanes_psk(p, i, &psk);
		rc = ly_net_expect(net, &psk, why);
	}
	ly_wipe(&psk, sizeof(psk));
	if (rc != LY_OK) {
		ly_lanes_close(l);
		return rc;
	}
	*out = l;
	return LY_OK;
}

/* ---- QEMU's socket ---- */

/* The threads have waited for it; the turn is chunk 0's. */
static void
give_qemu(struct ly_lanes *l, int fd)
{
	pthread_mutex_lock(&l->lock);
	l->qemu = fd;
	l->paced_ms = ly_boot_ms();
	for (unsigned i = 0; i < l->n; i++)
		pthread_cond_broadcast(&l->lane[i].turn);
	pthread_mutex_unlock(&l->lock);
}

static void
on_door(uv_poll_t *h, int status, int events)
{
	struct ly_lanes *l = h->data;
	int fd = status < 0 ? -1 :
			      accept4(l->listening, NULL, NULL, SOCK_CLOEXEC);
	struct ly_why why;

	(void)events;
	if (fd < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close_door(l);
	if (fd >= 0) {
		give_qemu(l, fd);
		return;
	}
	ly_fail(&why, LY_OUTSIDE, "QEMU's migration socket: %s",
	    strerror(errno));
	tell_fault(l, LY_LANES_QEMU, why.text);
}

static int
listen_there(struct ly_lanes *l, int fd, const struct sockaddr_un *sa)
{
	unlink(sa->sun_path); /* of an earlier migration */
	if (bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) != 0 ||
	    listen(fd, 1) != 0 || uv_poll_init(l->loop, &l->door, fd) != 0)
		return -1;
	l->listening = fd;
	l->has_door = true;
	l->handles++;
	l->door.data = l;
	return uv_poll_start(&l->door, UV_READABLE, on_door);
}

enum ly_rc
ly_lanes_qemu(struct ly_lanes *l, const char *path, struct ly_why *why)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, r;

	assert(l->up && l->qemu < 0 && !l->has_door);
	if (!ly_copy(sa.sun_path, sizeof(sa.sun_path), path))
		return ly_fail(why, LY_FULL, "%s: too long a name", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = fd < 0    ? -1 :
	    l->source ? listen_there(l, fd, &sa) :
			connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	if (r != 0) {
		ly_fail(why, LY_OUTSIDE, "%s: %s", path, strerror(errno));
		if (l->has_door)
			close_door(l);
		else if (fd >= 0)
			close(fd);
		return LY_OUTSIDE;
	}
	if (!l->source)
		give_qemu(l, fd);
	return LY_OK;
}

/* ---- numbers ---- */

void
ly_lanes_pace(struct ly_lanes *l, uint64_t rate)
{
	pthread_mutex_lock(&l->lock);
	l->rate = rate > UINT32_MAX * UINT64_C(1000) ? 0 : rate;
	l->paced_ms = ly_boot_ms();
	l->budget = 0;
	pthread_cond_broadcast(&l->paced);
	pthread_mutex_unlock(&l->lock);
}

void
ly_lanes_most(struct ly_lanes *l, uint64_t bytes)
{
	pthread_mutex_lock(&l->lock);
	l->most = bytes;
	pthread_cond_broadcast(&l->paced);
	pthread_mutex_unlock(&l->lock);
}

uint64_t
ly_lanes_bytes(const struct ly_lanes *l)
{
	struct ly_lanes *all = (struct ly_lanes *)(uintptr_t)l;
	uint64_t n;

	pthread_mutex_lock(&all->lock);
	n = all->bytes;
	pthread_mutex_unlock(&all->lock);
	return n;
}

void
ly_lanes_sum(const struct ly_lanes *l, struct ly_lanes_sum *out)
{
	struct ly_tree_lane lane[LY_LANES_MAX];

	assert(l->told_end);
	for (unsigned i = 0; i < l->n; i++)
		lane[i] = l->lane[i].tree;
	out->bytes = ly_lanes_bytes(l);
	out->lanes = (uint8_t)l->n;
	ly_tree_root(&l->mig, lane, l->n, out->root);
}
