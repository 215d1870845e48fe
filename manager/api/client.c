/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Unix socket that lanyard(1) talks to. A client sends lines and gets
 * lines; the next request is read when the last has had its final answer.
 *
 * Limits: LY_CLIENTS_MAX at once (more are told so and closed); a line of
 * LY_API_LINE_MAX; OUT_MAX bytes a client has not read (then it is closed).
 */
#include "manager/api/api.h"
#include "manager/io/manager.h"

#include "lib/io/file.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LY_CLIENTS_MAX 128
#define OUT_MAX (4u * 1024 * 1024)

struct client {
	struct client *next;
	struct ly_api *api;
	uint64_t id;
	uv_pipe_t pipe;
	bool asking;  /* no final answer yet */
	bool watches; /* status, each second */
	bool closing; /* by us, when all is written */
	bool fed_up;  /* a line too long: nothing more is read */
	char in[LY_API_LINE_MAX + 1];
	size_t in_n;
};

struct ly_api {
	struct ly_manager *m;
	uv_pipe_t listener;
	struct client *clients;
	unsigned clients_n;
	uint64_t last_id;
	uint64_t told_at; /* loop ms of the last status event */
	bool closing;
};

static void take_lines(struct client *c);

static void
on_client_closed(uv_handle_t *h)
{
	struct client *c = h->data;
	struct ly_api *api = c->api;
	struct client **at = &api->clients;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	api->clients_n--;
	free(c);
	if (api->closing && !api->clients && !api->listener.data)
		free(api);
}

static void
drop(struct client *c)
{
	if (!uv_is_closing((uv_handle_t *)&c->pipe))
		uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

/* ---- out ---- */

struct out {
	uv_write_t req;
	struct client *c;
	char *text;
};

static void
on_written(uv_write_t *req, int status)
{
	struct out *o = req->data;
	struct client *c = o->c;

	free(o->text);
	free(o);
	if (status < 0 || (c->closing && !c->asking))
		drop(c);
}

static void
send_line(struct client *c, json_t *line)
{
	char *text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII);
	struct out *o = calloc(1, sizeof(*o));
	uv_buf_t buf;

	json_decref(line);
	if (!text || !o || uv_is_closing((uv_handle_t *)&c->pipe) ||
	    uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) > OUT_MAX) {
		free(text);
		free(o);
		drop(c);
		return;
	}
	/* The NUL becomes the end of the line. */
	buf = uv_buf_init(text, (unsigned)strlen(text) + 1);
	text[buf.len - 1] = '\n';
	o->text = text;
	o->c = c;
	o->req.data = o;
	if (uv_write(&o->req, (uv_stream_t *)&c->pipe, &buf, 1, on_written) !=
	    0) {
		free(text);
		free(o);
		drop(c);
	}
}

static struct client *
find(const struct ly_api *api, uint64_t id)
{
	struct client *c = api ? api->clients : NULL;

	while (c && c->id != id)
		c = c->next;
	return c && !uv_is_closing((uv_handle_t *)&c->pipe) ? c : NULL;
}

void
ly_api_event(struct ly_manager *m, uint64_t client, json_t *event)
{
	struct client *c = client ? find(m->api, client) : NULL;

	if (c)
		send_line(c, event);
	else
		json_decref(event);
}

void
ly_api_final(struct ly_manager *m, uint64_t client, json_t *answer)
{
	struct client *c = client ? find(m->api, client) : NULL;

	if (!c) {
		json_decref(answer);
		return;
	}
	c->asking = false;
	c->watches = false;
	send_line(c, answer);
}

static json_t *
failure(enum ly_rc rc, const char *why)
{
	json_t *out = json_object();

	json_object_set_new(out, "ok", json_false());
	json_object_set_new(out, "rc", json_string(ly_api_word(rc)));
	json_object_set_new(out, "why", ly_json_text(why));
	return out;
}

void
ly_api_fail(struct ly_manager *m, uint64_t client, enum ly_rc rc,
    const char *why)
{
	ly_api_final(m, client, failure(rc, why));
}

const char *
ly_api_who(struct ly_manager *m, uint64_t client, char out[64])
{
	struct client *c = client ? find(m->api, client) : NULL;
	struct ucred who;
	socklen_t len = sizeof(who);
	uv_os_fd_t fd;

	ly_copy(out, 64, "somebody");
	if (c && uv_fileno((uv_handle_t *)&c->pipe, &fd) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
		ly_print(out, 64, "uid %u", who.uid);
	return out;
}

/* ---- in ---- */

static void
one_line(struct client *c, const char *line, size_t len)
{
	struct ly_manager *m = c->api->m;
	struct ly_api_request r;
	struct ly_why why = { "" };

	if (ly_api_parse(line, len, &r, &why) != LY_OK) {
		ly_api_fail(m, c->id, LY_MALFORMED, why.text);
		return;
	}
	ly_log(LY_INFO, "api", "%s", ly_verbs[r.verb].name);
	if (r.verb == LY_DO_STATUS && ly_api_bool(&r, "watch")) {
		c->watches = true;
		c->api->told_at = 0;
	} else {
		ly_api_do(m, c->id, &r);
	}
	json_decref(r.args);
}

/* Lines wait in the buffer while one is being answered. */
static void
take_lines(struct client *c)
{
	char *end;

	while (!c->asking && !uv_is_closing((uv_handle_t *)&c->pipe) &&
	    (end = memchr(c->in, '\n', c->in_n))) {
		size_t len = (size_t)(end - c->in);

		c->asking = true;
		one_line(c, c->in, len);
		c->in_n -= len + 1;
		memmove(c->in, end + 1, c->in_n);
	}
	if (!c->asking && c->in_n > LY_API_LINE_MAX && !c->fed_up) {
		c->fed_up = c->closing = true;
		send_line(c,
		    failure(LY_MALFORMED,
			"a line of more than 65536"
			" bytes"));
	}
}

static void
on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct client *c = h->data;

	(void)suggested;
	buf->base = c->in + c->in_n;
	buf->len = sizeof(c->in) - c->in_n;
}

static void
on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct client *c = s->data;

	(void)buf;
	if (n == UV_ENOBUFS) { /* full, and a request is under way: wait */
		uv_read_stop(s);
		return;
	}
	if (n == UV_EOF && c->asking) { /* it may still read */
		c->closing = true;
		uv_read_stop(s);
		return;
	}
	if (n < 0) {
		drop(c);
		return;
	}
	c->in_n += (size_t)n;
	take_lines(c);
}

static void
start_reading(struct client *c)
{
	if (!c->closing && !uv_is_active((uv_handle_t *)&c->pipe))
		uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
}

static void
on_connection(uv_stream_t *listener, int status)
{
	struct ly_api *api = listener->data;
	struct client *c = status < 0 ? NULL : calloc(1, sizeof(*c));

	if (!c)
		return;
	c->api = api;
	c->id = ++api->last_id;
	c->pipe.data = c;
	uv_pipe_init(api->m->loop, &c->pipe, 0);
	c->next = api->clients;
	api->clients = c;
	api->clients_n++;
	if (uv_accept(listener, (uv_stream_t *)&c->pipe) != 0) {
		drop(c);
	} else if (api->clients_n > LY_CLIENTS_MAX) {
		c->closing = true;
		send_line(c, failure(LY_FULL, "too many callers"));
	} else {
		start_reading(c);
	}
}

/* ---- time ---- */

void
ly_api_tick(struct ly_api *api)
{
	uint64_t now = uv_now(api->m->loop);
	bool second = now - api->told_at >= 1000;
	struct client *next;

	if (second)
		api->told_at = now;
	for (struct client *c = api->clients; c; c = next) {
		next = c->next;
		if (uv_is_closing((uv_handle_t *)&c->pipe))
			continue;
		take_lines(c); /* those that came while it was asking */
		start_reading(c);
		if (second && c->watches) {
			json_t *ev = ly_view_status(api->m);

			json_object_set_new(ev, "event", json_string("status"));
			send_line(c, ev);
		}
	}
}

/* ---- open and close ---- */

static enum ly_rc
make_dir(const char *path, struct ly_why *why)
{
	const char *slash = strrchr(path, '/');
	char dir[128];

	if (!slash || slash == path)
		return LY_OK;
	if ((size_t)(slash - path) >= sizeof(dir))
		return ly_fail(why, LY_REFUSED, "%s: too long", path);
	ly_copy(dir, (size_t)(slash - path) + 1, path);
	return ly_file_mkdir(dir, 0755, why);
}

enum ly_rc
ly_api_open(struct ly_manager *m, const char *path, struct ly_api **out,
    struct ly_why *why)
{
	struct ly_api *api = calloc(1, sizeof(*api));
	enum ly_rc rc = make_dir(path, why);
	mode_t mask;
	int err;

	if (!api || rc != LY_OK) {
		free(api);
		return api ? rc : ly_fail(why, LY_OUTSIDE, "out of memory");
	}
	api->m = m;
	api->listener.data = api;
	uv_pipe_init(m->loop, &api->listener, 0);
	*out = api;
	/* The lock on the state says that nobody else listens there. */
	unlink(path);
	mask = umask(0177);
	err = uv_pipe_bind(&api->listener, path);
	umask(mask);
	if (err == 0)
		err = uv_listen((uv_stream_t *)&api->listener, 64,
		    on_connection);
	if (err != 0)
		return ly_fail(why, LY_OUTSIDE, "%s: %s", path,
		    uv_strerror(err));
	return LY_OK;
}

static void
on_listener_closed(uv_handle_t *h)
{
	struct ly_api *api = h->data;

	api->listener.data = NULL;
	if (!api->clients)
		free(api);
}

void
ly_api_close(struct ly_api *api)
{
	api->closing = true;
	for (struct client *c = api->clients; c; c = c->next)
		drop(c);
	uv_close((uv_handle_t *)&api->listener, on_listener_closed);
}
