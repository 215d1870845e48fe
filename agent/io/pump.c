/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `server` lives from listen to the one accept; `qemu` from then, or from
 * connect. `open` counts both; after ly_pump_close() the last close callback
 * frees the struct.
 * Each write carries its own bytes.
 */
#include "agent/io/pump.h"

#include <stdlib.h>
#include <unistd.h>

#define SEND_HIGH (1u << 20) /* waiting for the peer: QEMU is not read */
#define QEMU_HIGH (4u << 20) /* waiting for QEMU: the peer is not read */
#define QEMU_LOW (1u << 20)
#define SAVE_MS 50 /* of its pace may be saved up while QEMU sends nothing */

struct ly_pump {
	const struct ly_pump_ops *ops;
	void *arg;
	struct ly_conn *conn;
	uv_loop_t *loop;
	uv_pipe_t server, qemu;
	uv_connect_t connect;
	bool listening, have_qemu, paused, starved, full, ended, held, closed;
	unsigned open;
	uint64_t sent, got;
	uint64_t most;		 /* that QEMU may give, for now */
	uint64_t rate, paced_ms; /* bytes a second, 0: any */
	int64_t budget;		 /* bytes */
	char buf[LY_CHUNK_MAX];
};

struct write {
	uv_write_t req;
	struct ly_pump *pump;
	uint8_t bytes[];
};

static void
on_gone(uv_handle_t *handle)
{
	struct ly_pump *p = handle->data;

	if (--p->open == 0 && p->closed)
		free(p);
}

void
ly_pump_detach(struct ly_pump *p)
{
	p->conn = NULL;
}

void
ly_pump_close(struct ly_pump *p)
{
	if (p->closed)
		return;
	p->closed = true;
	p->conn = NULL;
	if (p->listening)
		uv_close((uv_handle_t *)&p->server, on_gone);
	if (p->have_qemu)
		uv_close((uv_handle_t *)&p->qemu, on_gone);
	p->listening = p->have_qemu = false;
	if (p->open == 0)
		free(p);
}

static void
broken(struct ly_pump *p, int error)
{
	struct ly_why why;

	if (p->closed)
		return;
	ly_fail(&why, LY_OUTSIDE, "QEMU's migration socket: %s",
	    uv_strerror(error));
	p->ops->on_broken(p->arg, why.text);
}

/* ---- QEMU to peer ---- */

static void
on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct ly_pump *p = handle->data;

	(void)suggested;
	*buf = uv_buf_init(p->buf, sizeof(p->buf));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void
go_on(struct ly_pump *p)
{
	if (p->have_qemu && !p->ended && !p->paused && !p->starved && !p->full)
		uv_read_start((uv_stream_t *)&p->qemu, on_alloc, on_read);
}

/* Spends `n`, and says whether that was the last. */
static bool
spend(struct ly_pump *p, size_t n)
{
	if (p->rate == 0)
		return false;
	p->budget -= (int64_t)n;
	return p->budget <= 0;
}

void
ly_pump_tick(struct ly_pump *p)
{
	uint64_t now = uv_now(p->loop);
	int64_t most;

	if (p->rate == 0)
		return;
	most = (int64_t)(p->rate * SAVE_MS / 1000 + 1);
	p->budget += (int64_t)(p->rate * ly_min(now - p->paced_ms, 1000) /
	    1000);
	p->paced_ms = now;
	if (p->budget > most)
		p->budget = most;
	if (p->starved && p->budget > 0) {
		p->starved = false;
		go_on(p);
	}
}

void
ly_pump_pace(struct ly_pump *p, uint64_t rate)
{
	bool was = p->starved;

	p->rate = rate > UINT32_MAX * UINT64_C(1000) ? 0 : rate;
	p->paced_ms = uv_now(p->loop);
	p->budget = 0;
	p->starved = false;
	if (was)
		go_on(p);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct ly_pump *p = stream->data;
	struct ly_data data = { .body = { (const uint8_t *)buf->base,
				    n > 0 ? (size_t)n : 0 } };

	if (n == 0)
		return;
	if (n == UV_EOF) {
		p->ended = true;
		uv_read_stop(stream);
		p->ops->on_end(p->arg);
		return;
	}
	if (n < 0) {
		broken(p, (int)n);
		return;
	}
	p->sent += (uint64_t)n;
	if (!p->conn)
		return;
	ly_conn_send(p->conn, LY_DATA, &data);
	p->paused = ly_conn_pending(p->conn) > SEND_HIGH;
	p->starved = spend(p, (size_t)n);
	p->full = p->sent >= p->most;
	if (p->paused || p->starved || p->full)
		uv_read_stop(stream);
}

void
ly_pump_most(struct ly_pump *p, uint64_t bytes)
{
	bool was = p->full;

	p->most = bytes;
	p->full = p->sent >= bytes;
	if (was && !p->full && !p->closed)
		go_on(p);
}

void
ly_pump_drained(struct ly_pump *p)
{
	if (!p->paused || p->closed)
		return;
	p->paused = false;
	go_on(p);
}

/* ---- peer to QEMU ---- */

static void
on_written(uv_write_t *req, int status)
{
	struct write *w = LY_HOLDER(req, struct write, req);
	struct ly_pump *p = w->pump;

	free(w);
	if (p->closed || status == UV_ECANCELED)
		return;
	if (status) {
		broken(p, status);
		return;
	}
	if (p->held && p->conn &&
	    uv_stream_get_write_queue_size((uv_stream_t *)&p->qemu) <
		QEMU_LOW) {
		p->held = false;
		ly_conn_hold(p->conn, false);
	}
}

static int
write_rest(struct ly_pump *p, const uint8_t *at, size_t len)
{
	struct write *w = malloc(sizeof(*w) + len);
	uv_buf_t buf;
	int rc;

	if (!w)
		return UV_ENOMEM;
	w->pump = p;
	memcpy(w->bytes, at, len);
	buf = uv_buf_init((char *)w->bytes, (unsigned)len);
	rc = uv_write(&w->req, (uv_stream_t *)&p->qemu, &buf, 1, on_written);
	if (rc)
		free(w);
	return rc;
}

void
ly_pump_data(struct ly_pump *p, const struct ly_data *data)
{
	uv_stream_t *to = (uv_stream_t *)&p->qemu;
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data->body.at,
	    (unsigned)data->body.len);
	int rc, n;

	if (p->closed || data->body.len == 0)
		return;
	if (!p->have_qemu) {
		broken(p, UV_ENOTCONN);
		return;
	}
	p->got += data->body.len;
	n = uv_try_write(to, &buf, 1);
	if (n == UV_EAGAIN)
		n = 0;
	if (n >= 0 && (size_t)n == data->body.len)
		return;
	rc = n < 0 ?
	    n :
	    write_rest(p, data->body.at + n, data->body.len - (size_t)n);
	if (rc) {
		broken(p, rc);
		return;
	}
	if (!p->held && p->conn &&
	    uv_stream_get_write_queue_size(to) > QEMU_HIGH) {
		p->held = true;
		ly_conn_hold(p->conn, true);
	}
}

/* ---- the socket ---- */

static int
take_qemu(struct ly_pump *p)
{
	int rc = uv_pipe_init(p->loop, &p->qemu, 0);

	if (rc)
		return rc;
	p->qemu.data = p;
	p->have_qemu = true;
	p->open++;
	return 0;
}

static void
on_qemu(uv_stream_t *server, int status)
{
	struct ly_pump *p = server->data;
	int rc = status;

	if (p->closed || p->have_qemu)
		return;
	if (rc == 0)
		rc = take_qemu(p);
	if (rc == 0)
		rc = uv_accept(server, (uv_stream_t *)&p->qemu);
	if (rc == 0)
		rc = uv_read_start((uv_stream_t *)&p->qemu, on_alloc, on_read);
	p->listening = false;
	uv_close((uv_handle_t *)server, on_gone);
	if (rc)
		broken(p, rc);
}

static void
on_connect(uv_connect_t *req, int status)
{
	struct ly_pump *p = req->handle->data;

	if (p->closed || status == UV_ECANCELED)
		return;
	if (status == 0)
		status = uv_read_start(req->handle, on_alloc, on_read);
	if (status)
		broken(p, status);
}

static struct ly_pump *
make(uv_loop_t *loop, struct ly_conn *conn, const struct ly_pump_ops *ops,
    void *arg)
{
	struct ly_pump *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->ops = ops;
	p->arg = arg;
	p->conn = conn;
	p->loop = loop;
	p->most = UINT64_MAX;
	p->server.data = p;
	return p;
}

static enum ly_rc
failed(struct ly_pump *p, const char *path, int rc, struct ly_why *why)
{
	if (p)
		ly_pump_close(p);
	return ly_fail(why, LY_OUTSIDE, "%s: %s", path, uv_strerror(rc));
}

enum ly_rc
ly_pump_listen(uv_loop_t *loop, const char *path, struct ly_conn *conn,
    const struct ly_pump_ops *ops, void *arg, struct ly_pump **out,
    struct ly_why *why)
{
	struct ly_pump *p = make(loop, conn, ops, arg);
	int rc = p ? uv_pipe_init(loop, &p->server, 0) : UV_ENOMEM;

	if (rc)
		return failed(p, path, rc, why);
	p->server.data = p;
	p->listening = true;
	p->open++;
	unlink(path); /* of an earlier migration */
	rc = uv_pipe_bind(&p->server, path);
	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&p->server, 1, on_qemu);
	if (rc)
		return failed(p, path, rc, why);
	*out = p;
	return LY_OK;
}

enum ly_rc
ly_pump_connect(uv_loop_t *loop, const char *path, struct ly_conn *conn,
    const struct ly_pump_ops *ops, void *arg, struct ly_pump **out,
    struct ly_why *why)
{
	struct ly_pump *p = make(loop, conn, ops, arg);
	int rc = p ? take_qemu(p) : UV_ENOMEM;

	if (rc)
		return failed(p, path, rc, why);
	uv_pipe_connect(&p->connect, &p->qemu, path, on_connect);
	*out = p;
	return LY_OK;
}

uint64_t
ly_pump_sent(const struct ly_pump *p)
{
	return p->sent;
}

uint64_t
ly_pump_got(const struct ly_pump *p)
{
	return p->got;
}

uint64_t
ly_pump_given(const struct ly_pump *p)
{
	if (!p->have_qemu)
		return 0;
	return p->got -
	    uv_stream_get_write_queue_size((const uv_stream_t *)&p->qemu);
}
