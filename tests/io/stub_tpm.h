/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a TPM that counts. A process of its own, on PATH and PATH.ctrl as
 * a swtpm would be; it does not reset when a connection ends. It answers
 * TPM2_StirRandom with the number of times that it has run that very one (its
 * data is a serial number), and the locality it ran at: at times slowly, at
 * times in two pieces. TPM2_PCR_Read of eight PCRs it answers with 32 bytes of
 * each one's number.
 */
#ifndef LY_TESTS_STUB_TPM_H
#define LY_TESTS_STUB_TPM_H

#include "lib/base/cursor.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define STUB_SERIALS 100000

struct stub_seen {
	uint32_t ran[STUB_SERIALS], last;
	uint32_t inits, cancels, reads;
	bool disorder;
};

struct stub_tpm {
	char path[100];
	struct stub_seen *seen; /* shared with its process */
	pid_t pid;
	uint8_t locality;
};

static inline int
stub_listen(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 8))
		abort();
	return fd;
}

static inline void
stub_answer(int fd, const uint8_t *buf, size_t len)
{
	static unsigned turn;
	size_t first = ++turn % 17 ? len : len / 2;

	if (turn % 5 == 0)
		usleep(turn % 200);
	(void)!send(fd, buf, first, MSG_NOSIGNAL);
	if (first < len)
		usleep(1000);
	if (first < len)
		(void)!send(fd, buf + first, len - first, MSG_NOSIGNAL);
}

/* A whole command, or the end. */
static inline bool
stub_read(int fd, uint8_t *buf, size_t len)
{
	return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

/* `in`: TPML_PCR_SELECTION, of one bank. */
static inline void
stub_pcrs(struct stub_tpm *s, int fd, const uint8_t in[10])
{
	uint8_t out[10 + 4 + 10 + 4 + 8 * 34];
	struct ly_wr w = ly_wr_over(out, sizeof(out));

	s->seen->reads++;
	ly_wr_u16(&w, 0x8001);
	ly_wr_u32(&w, sizeof(out));
	ly_wr_u32(&w, 0);
	ly_wr_u32(&w, 1);
	ly_wr_bytes(&w, in, 10);
	ly_wr_u32(&w, 8);
	for (unsigned i = 0; i < 8; i++) {
		ly_wr_u16(&w, 32);
		for (unsigned n = 0; n < 32; n++)
			ly_wr_u8(&w, (uint8_t)(in[7] ? i : i + 8));
	}
	stub_answer(fd, out, sizeof(out));
}

static inline bool
stub_data(struct stub_tpm *s, int fd)
{
	uint8_t in[20], out[18];
	struct ly_rd r = ly_rd_over(in, sizeof(in));
	struct ly_wr w = ly_wr_over(out, sizeof(out));
	uint32_t size, serial;

	if (!stub_read(fd, in, 10))
		return false;
	(void)ly_rd_u16(&r);
	size = ly_rd_u32(&r);
	if (size > sizeof(in) || !stub_read(fd, in + 10, size - 10))
		return false;
	if (ly_rd_u32(&r) == 0x17e) {
		stub_pcrs(s, fd, in + 10);
		return true;
	}
	(void)ly_rd_u16(&r);
	serial = ly_rd_u32(&r);
	if (serial >= STUB_SERIALS || serial != s->seen->last + 1)
		s->seen->disorder = true;
	else
		s->seen->last = serial;
	ly_wr_u16(&w, 0x8001);
	ly_wr_u32(&w, sizeof(out));
	ly_wr_u32(&w, 0);
	ly_wr_u32(&w, ++s->seen->ran[serial % STUB_SERIALS]);
	ly_wr_u32(&w, s->locality);
	stub_answer(fd, out, sizeof(out));
	return true;
}

static inline bool
stub_ctrl(struct stub_tpm *s, int fd)
{
	static const uint8_t ok[4];
	uint8_t in[4], body[4];
	struct ly_rd r = ly_rd_over(in, sizeof(in));
	uint32_t code;

	if (!stub_read(fd, in, sizeof(in)))
		return false;
	code = ly_rd_u32(&r);
	if (code != 9 && !stub_read(fd, body, sizeof(body)))
		return false;
	if (code == 2) {
		s->seen->inits++;
		s->locality = 0;
	} else if (code == 5) {
		s->locality = body[0];
	} else if (code == 9) {
		s->seen->cancels++;
	} else {
		s->seen->disorder = true;
	}
	stub_answer(fd, ok, sizeof(ok));
	return true;
}

static inline void
stub_serve(struct stub_tpm *s, int data, int ctrl)
{
	struct pollfd p[4] = { { .fd = data, .events = POLLIN },
		{ .fd = ctrl, .events = POLLIN }, { .fd = -1 }, { .fd = -1 } };

	for (;;) {
		(void)poll(p, 4, -1);
		for (int i = 0; i < 2; i++) {
			struct pollfd *c = &p[2 + i];

			if (p[i].revents) {
				close(c->fd);
				c->fd = accept(p[i].fd, NULL, NULL);
				c->events = POLLIN;
			} else if (c->fd >= 0 && c->revents &&
			    !(i ? stub_ctrl : stub_data)(s, c->fd)) {
				close(c->fd);
				c->fd = -1;
			}
		}
	}
}

static inline void
stub_tpm_start(struct stub_tpm *s, const char *path)
{
	char ctrl[108];
	int fds[2];

	snprintf(s->path, sizeof(s->path), "%s", path);
	snprintf(ctrl, sizeof(ctrl), "%s.ctrl", s->path);
	s->seen = mmap(NULL, sizeof(*s->seen), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fds[0] = stub_listen(s->path);
	fds[1] = stub_listen(ctrl);
	s->pid = fork();
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		stub_serve(s, fds[0], fds[1]);
	}
	close(fds[0]);
	close(fds[1]);
}

static inline void
stub_tpm_end(struct stub_tpm *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	munmap(s->seen, sizeof(*s->seen));
}

#endif
