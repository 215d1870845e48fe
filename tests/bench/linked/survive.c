/* SPDX-License-Identifier: Apache-2.0 */
/*
 * survive: what it costs a command that the process which carries it may be
 * killed. A client asks 65 bytes and is answered 10, over a Unix socket, by
 *
 *	direct	a process that receives and sends;
 *	lanyard	one whose every command is committed and exactly once: peek,
 *		take, aim, commit, consume, push, with a keeper beside it;
 *	shim	the first one, behind a process that holds the client's socket
 *		in its place: what else could survive.
 *
 *	survive KEEPER DIR N	says the microseconds of one command in each
 */
#include "agent/io/once.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ASKED 65
#define ANSWERED 10
#define STATE 300 /* bytes that are committed each time */

static const char *dir;

static void
wait_for(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	(void)poll(&p, 1, -1);
}

static void
serve_direct(int fd)
{
	uint8_t buf[4096];

	for (;;) {
		ssize_t n;

		wait_for(fd);
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n <= 0 || send(fd, buf, ANSWERED, MSG_NOSIGNAL) < 0)
			_exit(0);
	}
}

static void
serve_kept(int fd)
{
	uint8_t buf[4096], state[STATE] = { 0 };
	struct ly_keep *keep;
	struct ly_slot *s;
	struct ly_why why;
	uv_loop_t loop;

	uv_loop_init(&loop);
	if (ly_keep_open(&loop, dir, &keep, &why) != LY_OK) {
		fprintf(stderr, "survive: %s\n", why.text);
		_exit(1);
	}
	s = ly_slot_new(keep, LY_KEEP_AWAY);
	ly_slot_put(s, LY_SLOT_DATA, fd);
	for (;;) {
		int n;

		wait_for(fd);
		n = ly_once_peek(s, LY_SLOT_DATA, buf, sizeof(buf), NULL);
		if (n <= 0)
			break;
		ly_once_take(s, LY_SLOT_DATA, (size_t)n);
		state[0]++;
		ly_once_aim(s, LY_SLOT_DATA, buf, ANSWERED);
		ly_slot_commit(s, state, sizeof(state));
		ly_once_consume(s, LY_SLOT_DATA);
		if (ly_once_push(s, LY_SLOT_DATA) != LY_OK)
			break;
	}
	ly_keep_close(keep, true);
	_exit(0);
}

/* At its best: it does nothing but hand on. */
static void
serve_shim(int fd)
{
	uint8_t buf[4096];
	int inner[2];
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, inner) != 0)
		_exit(1);
	if (fork() == 0) {
		close(fd);
		close(inner[0]);
		serve_direct(inner[1]);
	}
	close(inner[1]);
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0 &&
	    send(inner[0], buf, (size_t)n, MSG_NOSIGNAL) > 0 &&
	    (n = recv(inner[0], buf, sizeof(buf), 0)) > 0 &&
	    send(fd, buf, (size_t)n, MSG_NOSIGNAL) > 0)
		;
	close(inner[0]);
	(void)wait(NULL);
	_exit(0);
}

static double
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void
ask(int fd, long n)
{
	uint8_t buf[4096] = { 0 };

	for (long i = 0; i < n; i++)
		if (send(fd, buf, ASKED, MSG_NOSIGNAL) != ASKED ||
		    recv(fd, buf, sizeof(buf), 0) != ANSWERED) {
			fprintf(stderr, "survive: no answer\n");
			exit(1);
		}
}

static double
measure(void (*serve)(int fd), long n)
{
	double begin, end;
	pid_t child;
	int p[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, p) != 0)
		exit(1);
	child = fork();
	if (child == 0) {
		close(p[0]);
		serve(p[1]);
	}
	close(p[1]);
	ask(p[0], n / 10 + 1);
	begin = now_us();
	ask(p[0], n);
	end = now_us();
	close(p[0]);
	(void)waitpid(child, NULL, 0);
	return (end - begin) / (double)n;
}

int
main(int argc, char **argv)
{
	long n = argc == 4 ? atol(argv[3]) : 0;
	double direct, lanyard, shim;

	if (n <= 0) {
		fprintf(stderr, "usage: survive KEEPER DIR N\n");
		return 2;
	}
	ly_keep_program(argv[1]);
	dir = argv[2];
	signal(SIGPIPE, SIG_IGN);
	direct = measure(serve_direct, n);
	lanyard = measure(serve_kept, n);
	shim = measure(serve_shim, n);
	printf("{\"direct\":%.3f,\"lanyard\":%.3f,\"shim\":%.3f}\n", direct,
	    lanyard, shim);
	return 0;
}
