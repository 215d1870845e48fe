/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why it holds. In each line below, a crash to the right of it:
 *
 *	slot: take	SO_PEEK_OFF	then
 *	0		0		nothing was looked at
 *	0		n		looked, not committed: back to 0
 *	m		m		committed, still in the queue: consume
 *	m		k < m		partly consumed: the rest
 *	m		0		consumed
 *
 * `take` goes back to 0 (by one store) before the next look, so that a peek of
 * the next bytes is never mistaken for these. Likewise `owed` goes back to 0
 * before the offset is set for the next bytes:
 *
 *	slot: owed	offset of out	then
 *	0		any		nothing is owed
 *	n		begin + k	k of n have gone
 */
#include "agent/io/once.h"

#include "lib/base/text.h"
#include "lib/io/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif

static void
set_peeked(struct ly_slot *s, unsigned which, uint32_t n)
{
	int off = (int)n;

	(void)setsockopt(s->fd[which], SOL_SOCKET, SO_PEEK_OFF, &off,
	    sizeof(off));
	s->peeked[which] = n;
}

/* The first descriptor of a message, or -1; any other is closed. */
static int
only_one(struct msghdr *h)
{
	int first = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (first < 0)
				first = fd;
			else
				close(fd);
		}
	}
	return first;
}

int
ly_once_peek(struct ly_slot *s, unsigned which, void *buf, size_t room, int *fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec data = { buf, room };
	struct msghdr h = { .msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room) };
	ssize_t n;
	int sent;

	assert(s->take[which] == 0);
	if (s->peeked[which])
		set_peeked(s, which, 0);
	do
		n = recvmsg(s->fd[which], &h,
		    MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	sent = n >= 0 ? only_one(&h) : -1;
	if (fd)
		*fd = sent;
	else if (sent >= 0)
		close(sent);
	if (n < 0)
		return errno == EAGAIN ? LY_ONCE_NOTHING : LY_ONCE_ENDED;
	s->peeked[which] = (uint32_t)n;
	return (int)n;
}

void
ly_once_take(struct ly_slot *s, unsigned which, size_t n)
{
	assert(n > 0 && n <= s->peeked[which]);
	if (n < s->peeked[which])
		set_peeked(s, which, (uint32_t)n);
	s->take[which] = (uint32_t)n;
}

/* A receive without MSG_PEEK takes its bytes off SO_PEEK_OFF. */
void
ly_once_consume(struct ly_slot *s, unsigned which)
{
	uint8_t gone[LY_AREA_MAX];

	if (s->take[which] == 0)
		return;
	while (s->peeked[which] > 0) {
		ssize_t n = recv(s->fd[which], gone,
		    ly_min(s->peeked[which], sizeof(gone)), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		s->peeked[which] -= (uint32_t)n;
		ly_wipe(gone, (size_t)n);
	}
	s->take[which] = 0;
	ly_slot_note(s, which);
}

/* ---- writing ---- */

static enum ly_area
area_of(unsigned which)
{
	return which == LY_SLOT_CTRL ? LY_AREA_OUT_CTRL : LY_AREA_OUT_DATA;
}

void
ly_once_aim(struct ly_slot *s, unsigned which, const void *at, size_t len)
{
	off_t begin;

	assert(s->owed[which] == 0 && len > 0);
	memcpy(ly_slot_area(s, area_of(which), len), at, len);
	begin = (off_t)ly_slot_area_offset(s, area_of(which), len);
	if (lseek(s->out[which], begin, SEEK_SET) != begin)
		abort(); /* a file of our own */
	s->at[which] = (uint64_t)begin;
	s->owed[which] = (uint32_t)len;
}

void
ly_once_call_off(struct ly_slot *s, unsigned which)
{
	s->owed[which] = 0;
}

static void
owe_nothing(struct ly_slot *s, unsigned which)
{
	s->owed[which] = 0;
	ly_slot_note(s, which);
}

enum ly_rc
ly_once_push(struct ly_slot *s, unsigned which)
{
	uint64_t end = ly_slot_area_offset(s, area_of(which), s->owed[which]) +
	    s->owed[which];

	if (s->owed[which] == 0)
		return LY_OK;
	while (s->at[which] < end) {
		ssize_t n = sendfile(s->fd[which], s->out[which], NULL,
		    end - s->at[which]);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return LY_BUSY;
		if (n <= 0) {
			owe_nothing(s, which);
			return LY_OUTSIDE;
		}
		s->at[which] += (uint64_t)n;
	}
	owe_nothing(s, which);
	return LY_OK;
}

/* ---- after a crash ---- */

static void
wake_reading(struct ly_slot *s, unsigned which)
{
	int off = 0;
	socklen_t len = sizeof(off);

	if (getsockopt(s->fd[which], SOL_SOCKET, SO_PEEK_OFF, &off, &len) != 0)
		return; /* no socket: take is 0 */
	if (s->take[which] == 0) {
		set_peeked(s, which, 0);
		return;
	}
	s->peeked[which] = (uint32_t)off;
	ly_once_consume(s, which);
}

static void
wake_writing(struct ly_slot *s, unsigned which)
{
	off_t at = lseek(s->out[which], 0, SEEK_CUR);
	uint64_t begin;

	if (s->owed[which] == 0)
		return;
	begin = ly_slot_area_offset(s, area_of(which), s->owed[which]);
	s->at[which] = (uint64_t)at;
	if (at >= 0 && s->at[which] >= begin &&
	    s->at[which] <= begin + s->owed[which])
		return;
	ly_log_alarm("keeper",
	    "slot %u.%u: the place in what is written to it"
	    " is lost: hung up",
	    s->kind, s->index);
	ly_slot_drop(s, which);
}

void
ly_once_wake(struct ly_slot *s)
{
	for (unsigned which = 0; which < LY_SLOT_FDS; which++) {
		if (s->fd[which] < 0)
			continue;
		wake_reading(s, which);
		wake_writing(s, which);
	}
}
