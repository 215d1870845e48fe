/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two sockets of an endpoint. Who may come in when is in the head of
 * guest.h.
 */
#include "agent/io/guest_in.h"
#include "agent/io/unix.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

static bool
room_for(const struct ly_guest *g, const struct door *door)
{
	if (g->m.session)
		return true; /* to be refused */
	if (door == &g->raw_door)
		return g->raw_n < LY_GUEST_CLIENTS;
	return !g->ctrl && !ly_swtpm_waiting(&g->m);
}

/* A control connection is the slot's from its first moment: QEMU makes it but
 * once. */
static void
let_in(struct ly_guest *g, int fd, const struct door *door)
{
	if (door == &g->raw_door) {
		if (!ly_guest_conn(g, fd, RAW))
			close(fd);
		return;
	}
	ly_swtpm_connected(&g->m);
	ly_slot_put(g->slot, LY_SLOT_CTRL, fd);
	if (!ly_guest_conn(g, fd, CTRL))
		ly_slot_drop(g->slot, LY_SLOT_CTRL);
}

static void
on_knock(uv_poll_t *poll, int status, int events)
{
	struct ly_guest *g = poll->data;
	struct door *door = LY_HOLDER(poll, struct door, poll);
	int fd;

	(void)status;
	(void)events;
	fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	ly_turn_enter(g->turn);
	if (g->m.session) {
		ly_log(LY_INFO, g->path, "in use by QEMU: a client is refused");
		close(fd);
	} else {
		let_in(g, fd, door);
	}
	ly_guest_doors(g);
	ly_turn_leave(g->turn);
}

static void
door_set(struct ly_guest *g, struct door *door)
{
	bool to_shut = !room_for(g, door);

	if (to_shut == door->shut)
		return;
	door->shut = to_shut;
	if (to_shut)
		uv_poll_stop(&door->poll);
	else
		uv_poll_start(&door->poll, UV_READABLE, on_knock);
}

void
ly_guest_doors(struct ly_guest *g)
{
	if (g->closing)
		return;
	door_set(g, &g->raw_door);
	door_set(g, &g->ctrl_door);
}

static void
on_door_closed(uv_handle_t *handle)
{
	struct ly_guest *g = handle->data;

	g->doors_open--;
	ly_guest_last_out(g);
}

static bool
door_name(char *out, size_t size, const struct ly_guest *g,
    const struct door *door)
{
	return ly_print(out, size, "%s%s", g->path,
	    door == &g->ctrl_door ? ".ctrl" : "");
}

/* An agent that is replaced leaves its sockets where they are: the next one
 * puts its own in their place. */
static void
door_close(struct ly_guest *g, struct door *door)
{
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];

	if (!g->leaving && door_name(name, sizeof(name), g, door))
		(void)unlink(name);
	uv_close((uv_handle_t *)&door->poll, on_door_closed);
	close(door->fd);
}

void
ly_guest_doors_close(struct ly_guest *g)
{
	door_close(g, &g->raw_door);
	door_close(g, &g->ctrl_door);
}

static enum ly_rc
door_open(struct ly_guest *g, uv_loop_t *loop, struct door *door,
    struct ly_why *why)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	enum ly_rc rc;
	int fd;

	if (!door_name(at.sun_path, sizeof(at.sun_path), g, door))
		return ly_fail(why, LY_FULL, "%s: too long for a socket",
		    g->path);
	rc = ly_unix_listen(&at, BACKLOG, &fd, why);
	if (rc != LY_OK)
		return rc;
	if (uv_poll_init(loop, &door->poll, fd) != 0) {
		close(fd);
		return ly_fail(why, LY_OUTSIDE, "%s: cannot poll", at.sun_path);
	}
	door->fd = fd;
	door->poll.data = g;
	g->doors_open++;
	uv_poll_start(&door->poll, UV_READABLE, on_knock);
	return LY_OK;
}

/* With one of them open, the endpoint goes when that has closed again. */
enum ly_rc
ly_guest_doors_open(struct ly_guest *g, uv_loop_t *loop, struct ly_why *why)
{
	enum ly_rc rc = door_open(g, loop, &g->raw_door, why);

	if (rc != LY_OK) {
		ly_guest_last_out(g);
		return rc;
	}
	rc = door_open(g, loop, &g->ctrl_door, why);
	if (rc != LY_OK) {
		g->closing = true;
		door_close(g, &g->raw_door);
	}
	return rc;
}
