/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bench tools share: dying with a reason, the clock, big-endian
 * numbers, options from a table, and places to listen at or connect to.
 *
 * The tools link nothing of lanyard: what measures must not share the bugs of
 * what is measured. A place is written `unix:PATH` or `tcp:HOST:PORT`.
 */
#ifndef LY_BENCH_COMMON_H
#define LY_BENCH_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/base.h"

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull

__attribute__((noreturn)) static inline LY_PRINTF(1,
    2) void die(const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

static inline uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline void *
must_alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		die("out of memory for %zu times %zu bytes", n, size);
	return p;
}

/* Big-endian numbers: each returns what follows the number. */
static inline uint8_t *
put(uint8_t *p, uint64_t v, unsigned size)
{
	for (unsigned i = size; i-- > 0;)
		*p++ = (uint8_t)(v >> (8 * i));
	return p;
}

static inline uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	    (uint32_t)p[2] << 8 | p[3];
}

/*
 * Options. `to` is a bool, long, double or const char * as the kind says, or
 * a struct texts; what is given first as default stays if the option is not.
 */
#define TEXTS_MAX 1024

struct texts {
	const char *at[TEXTS_MAX];
	unsigned n;
};

enum opt_kind { OPT_FLAG, OPT_COUNT, OPT_REAL, OPT_TEXT, OPT_TEXTS };

struct opt {
	char letter;
	enum opt_kind kind;
	void *to;
	const char *arg, *help;
};

__attribute__((noreturn)) static inline void
opts_usage(const struct opt *rows, size_t rows_n, const char *rest)
{
	fprintf(stderr, "usage: %s [options] %s\n",
	    program_invocation_short_name, rest);
	for (size_t i = 0; i < rows_n; i++)
		fprintf(stderr, "  -%c %-10s %s\n", rows[i].letter,
		    rows[i].arg ? rows[i].arg : "", rows[i].help);
	exit(2);
}

static inline void
opt_set(const struct opt *row, const char *text)
{
	char *end = NULL;
	struct texts *list = row->to;

	switch (row->kind) {
	case OPT_FLAG:
		*(bool *)row->to = true;
		return;
	case OPT_COUNT:
		errno = 0;
		*(long *)row->to = strtol(text, &end, 10);
		if (*end || end == text || errno || *(long *)row->to < 0)
			die("-%c: %s is not a count", row->letter, text);
		return;
	case OPT_REAL:
		*(double *)row->to = strtod(text, &end);
		if (*end || end == text || !(*(double *)row->to >= 0))
			die("-%c: %s is not a number", row->letter, text);
		return;
	case OPT_TEXT:
		*(const char **)row->to = text;
		return;
	case OPT_TEXTS:
		if (list->n == TEXTS_MAX)
			die("-%c: at most %d of them", row->letter, TEXTS_MAX);
		list->at[list->n++] = text;
		return;
	}
}

/* Returns the index of the first argument that is no option; says how the
 * program is used, and ends it, if an option is wrong. */
static inline int
opts_read(const struct opt *rows, size_t rows_n, const char *rest, int argc,
    char **argv)
{
	char letters[2 * 32 + 1] = "";
	size_t used = 0;

	assert(rows_n <= 32);
	for (size_t i = 0; i < rows_n; i++) {
		letters[used++] = rows[i].letter;
		if (rows[i].kind != OPT_FLAG)
			letters[used++] = ':';
	}
	for (int c; (c = getopt(argc, argv, letters)) != -1;) {
		size_t i = 0;

		while (i < rows_n && rows[i].letter != c)
			i++;
		if (i == rows_n)
			opts_usage(rows, rows_n, rest);
		opt_set(&rows[i], optarg);
	}
	return optind;
}

/* Places. */
struct place {
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_storage room;
	} addr;
	socklen_t len;
	bool is_unix;
};

static inline void
place_unix(struct place *p, const char *path)
{
	*p = (struct place){ .is_unix = true, .len = sizeof(p->addr.un) };
	p->addr.un.sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(p->addr.un.sun_path))
		die("%s: too long for a socket's path", path);
	strcpy(p->addr.un.sun_path, path);
}

static inline void
place_tcp(struct place *p, const char *host_port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	char host[256];
	char *colon;

	if (strlen(host_port) >= sizeof(host))
		die("%s: too long for an address", host_port);
	strcpy(host, host_port);
	colon = strrchr(host, ':');
	if (!colon)
		die("%s: not HOST:PORT", host_port);
	*colon = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
		die("%s: no such address", host_port);
	*p = (struct place){ .len = found->ai_addrlen };
	memcpy(&p->addr.room, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
}

static inline void
place_parse(struct place *p, const char *text)
{
	if (strncmp(text, "unix:", 5) == 0)
		place_unix(p, text + 5);
	else if (strncmp(text, "tcp:", 4) == 0)
		place_tcp(p, text + 4);
	else
		die("%s: neither unix:PATH nor tcp:HOST:PORT", text);
}

static inline void
set_flag(int fd, int level, int name)
{
	int one = 1;

	(void)setsockopt(fd, level, name, &one, sizeof(one));
}

/* A listening socket; an older Unix socket of that path is replaced. */
static inline int
place_listen(const struct place *p)
{
	int fd = socket(p->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket: %s", strerror(errno));
	if (p->is_unix)
		(void)unlink(p->addr.un.sun_path);
	else
		set_flag(fd, SOL_SOCKET, SO_REUSEADDR);
	if (bind(fd, &p->addr.any, p->len) != 0 || listen(fd, 4096) != 0)
		die("listen %s: %s", p->is_unix ? p->addr.un.sun_path : "tcp",
		    strerror(errno));
	return fd;
}

/* A connected socket, or -1 and errno. */
static inline int
place_dial(const struct place *p)
{
	int fd = socket(p->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (connect(fd, &p->addr.any, p->len) != 0) {
		int why = errno;

		close(fd);
		errno = why;
		return -1;
	}
	if (!p->is_unix)
		set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
	return fd;
}

/* As many descriptors as we may have; and no death by a closed pipe. */
static inline void
bench_start(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	signal(SIGPIPE, SIG_IGN);
}

#endif
