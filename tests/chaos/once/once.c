/* SPDX-License-Identifier: Apache-2.0 */
/*
 * once: counts how often a TPM command runs between two agents. It is both
 * ends in one process, the guests at the away side and their TPMs behind the
 * home, so it knows at each moment what must have happened.
 *
 *	once -t PATH -e CTRL [-c COUNT] [-n COMMANDS] [-s SEED] [-L SECONDS]
 *
 * TPM i listens at PATH.i; guest i speaks at CTRL with its %d replaced by i, as
 * QEMU does. Command k of a guest has its number in it, a length and a filling
 * of its own; so has its answer, which is made up when the command arrives at
 * the TPM. Each guest has one command under way. Then
 *
 *	- at its TPM, command k comes once, after k - 1 and before k + 1;
 *	- at the guest, the answer is the one from that run, byte for byte.
 *
 * Prints a line of JSON, and ends with 0 if that was so of all, 1 if not, 2 if
 * it could not start. A guest without an answer for -L seconds is one that was
 * lost.
 */
#include "tests/bench/swtpm_ctrl.h"

#include <sys/epoll.h>

#define VMS_MAX 256
#define BODY_MAX 4096
#define CC_HASH 0x17du /* any that a TPM's policy lets through */
#define CC_STARTUP 0x144u
#define HEAD 22 /* tag, size, code; VM; number */
#define SHORT_MAX 600
#define PIECES 16 /* one in so many comes in two pieces */
#define SLOW 32	  /* one in so many answers comes late */
#define SLOW_NS (3 * NS_PER_MS)

struct message {
	uint8_t at[BODY_MAX];
	size_t len;
};

/* `watch` is first, so that what epoll returns is known. */
enum end { LISTENER, TPM, GUEST };

struct watch {
	enum end end;
	struct vm *vm;
	int fd;
	size_t got;
	uint8_t buf[BODY_MAX];
};

struct vm {
	unsigned no;
	int ctrl;
	struct watch door, tpm, guest;
	uint64_t asked, ran, answered; /* numbers of commands */
	uint64_t asked_ns, due_ns;     /* due: a slow answer; 0: none */
	struct message command, answer;
};

static struct vm *vms;
static long vms_n = 4, commands_n = 10000;
static uint64_t seed = 1;
static int loop;
static unsigned long twice, strange, wrong, failed, lost, accepted, slow_n;
static uint64_t longest_ns, all_sent, all_back;

static uint64_t
roll(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static void
complain(unsigned long *count, const struct vm *vm, const char *what,
    uint64_t number)
{
	if ((*count)++ < 5)
		fprintf(stderr,
		    "once: guest %u: %s: command %lu; asked %lu, ran %lu\n",
		    vm->no, what, number, vm->asked, vm->ran);
}

static uint64_t
get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

/* Mostly short, now and then as long as may be. */
static void
make(struct message *m, uint32_t code, unsigned vm, uint64_t number)
{
	uint8_t *p = m->at;

	m->len = HEAD + roll() % (roll() % 64 ? SHORT_MAX : BODY_MAX - HEAD);
	p = put(p, 0x8001, 2);
	p = put(p, m->len, 4);
	p = put(p, code, 4);
	p = put(p, vm, 4);
	p = put(p, number, 8);
	while (p < m->at + m->len)
		*p++ = (uint8_t)roll();
}

static void
send_bytes(int fd, const uint8_t *at, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* the other end will say so */
		at += n;
		len -= (size_t)n;
	}
}

static void
send_message(int fd, const struct message *m)
{
	size_t first = roll() % PIECES ? m->len : 1 + roll() % (m->len - 1);

	send_bytes(fd, m->at, first);
	if (first < m->len)
		send_bytes(fd, m->at + first, m->len - first);
}

static void
watch(struct watch *w, enum end end, struct vm *vm, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = w };

	w->end = end;
	w->vm = vm;
	w->fd = fd;
	w->got = 0;
	if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &ev) != 0)
		die("epoll_ctl: %s", strerror(errno));
}

static void
drop(struct watch *w)
{
	close(w->fd);
	w->fd = -1;
	w->got = 0;
}

/* ---- the TPM ---- */

static void
give(struct vm *vm)
{
	vm->due_ns = 0;
	if (vm->tpm.fd >= 0)
		send_message(vm->tpm.fd, &vm->answer);
}

static void
run(struct vm *vm, const uint8_t *at, size_t len)
{
	uint64_t number = len >= HEAD ? get64(at + 14) : 0;

	if (get32(at + 6) == CC_STARTUP) {
		make(&vm->answer, 0, vm->no, 0);
		give(vm);
		return;
	}
	if (len != vm->command.len || memcmp(at, vm->command.at, len) != 0)
		complain(&strange, vm, "not what was asked", number);
	else if (number != vm->ran + 1)
		complain(&twice, vm, "runs out of order", number);
	vm->ran = number;
	make(&vm->answer, 0, vm->no, number);
	if (roll() % SLOW == 0) {
		vm->due_ns = now_ns() + roll() % SLOW_NS;
		slow_n++;
		return;
	}
	give(vm);
}

/* ---- the guest ---- */

static void
ask(struct vm *vm)
{
	if (all_sent == (uint64_t)commands_n)
		return;
	all_sent++;
	make(&vm->command, CC_HASH, vm->no, ++vm->asked);
	vm->asked_ns = now_ns();
	send_message(vm->guest.fd, &vm->command);
}

static void
hear(struct vm *vm, const uint8_t *at, size_t len)
{
	uint64_t took = now_ns() - vm->asked_ns;

	if (get32(at + 6) != 0)
		complain(&failed, vm, "answered with an error", vm->asked);
	else if (vm->ran != vm->asked)
		complain(&wrong, vm, "answered and did not run", vm->asked);
	else if (len != vm->answer.len || memcmp(at, vm->answer.at, len) != 0)
		complain(&wrong, vm, "the answer of another run", vm->asked);
	vm->answered = vm->asked;
	all_back++;
	if (!vm->asked)
		return; /* Startup */
	longest_ns = ly_max(longest_ns, took);
	ask(vm);
}

/* ---- the loop ---- */

static void
on_bytes(struct watch *w)
{
	ssize_t n = recv(w->fd, w->buf + w->got, sizeof(w->buf) - w->got,
	    MSG_DONTWAIT);
	size_t len;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		if (w->end == GUEST)
			die("guest %u: its TPM hung up", w->vm->no);
		drop(w);
		return;
	}
	w->got += (size_t)n;
	if (w->got < 10)
		return;
	len = get32(w->buf + 2);
	if (len < 10 || len > sizeof(w->buf) || w->got > len) {
		complain(&strange, w->vm, "no TPM message", w->vm->asked);
		w->got = 0;
		return;
	}
	if (w->got < len)
		return;
	w->got = 0;
	(w->end == TPM ? run : hear)(w->vm, w->buf, len);
}

/* A TPM has one owner: who connects anew has lost its connection. */
static void
on_door(struct watch *w)
{
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	accepted++;
	if (w->vm->tpm.fd >= 0)
		drop(&w->vm->tpm);
	watch(&w->vm->tpm, TPM, w->vm, fd);
}

static void
give_late(void)
{
	uint64_t now = now_ns();

	for (long i = 0; i < vms_n; i++)
		if (vms[i].due_ns && vms[i].due_ns <= now)
			give(&vms[i]);
}

static void
turn(void)
{
	struct epoll_event ev[64];
	int n = epoll_wait(loop, ev, LY_COUNT(ev), 1);

	for (int i = 0; i < n; i++) {
		struct watch *w = ev[i].data.ptr;

		if (w->fd < 0)
			continue;
		if (w->end == LISTENER)
			on_door(w);
		else
			on_bytes(w);
	}
	give_late();
}

/* ---- the start ---- */

static void
number_text(const char *text, unsigned number, char *out, size_t size)
{
	const char *hole = strstr(text, "%d");

	if (!hole)
		die("%s: no %%d", text);
	snprintf(out, size, "%.*s%u%s", (int)(hole - text), text, number,
	    hole + 2);
}

/* One request of the control protocol; the TPM's side goes on meanwhile. */
static void
control(struct vm *vm, enum ctrl code, uint32_t body, int fd)
{
	uint8_t req[8], reply[CTRL_REPLY_MAX];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} extra = { 0 };
	struct iovec iov = { req, 4u + ctrl_sizes[code].body };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	uint64_t until = now_ns() + 20 * NS_PER_S;
	size_t got = 0;

	put(put(req, code, 4), body, 4);
	if (fd >= 0) {
		msg.msg_control = extra.room;
		msg.msg_controllen = sizeof(extra.room);
		extra.head.cmsg_level = SOL_SOCKET;
		extra.head.cmsg_type = SCM_RIGHTS;
		extra.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&extra.head), &fd, sizeof(fd));
	}
	if (sendmsg(vm->ctrl, &msg, MSG_NOSIGNAL) != (ssize_t)iov.iov_len)
		die("control request 0x%x: %s", code, strerror(errno));
	while (got < ctrl_sizes[code].reply) {
		ssize_t n = recv(vm->ctrl, reply + got,
		    ctrl_sizes[code].reply - got, MSG_DONTWAIT);

		if (n > 0)
			got += (size_t)n;
		else if (n == 0 || errno != EAGAIN || now_ns() > until)
			die("control request 0x%x: no answer", code);
		else
			turn();
	}
	if (code != CTRL_GET_CAPABILITY && get32(reply) != 0)
		die("control request 0x%x: result 0x%x", code, get32(reply));
}

static void
power_on(struct vm *vm, const char *ctrl)
{
	static const struct message startup = {
		{ 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0 }, 12
	};
	uint64_t until = now_ns() + 20 * NS_PER_S;
	struct place p;
	char path[256];
	int pair[2];

	number_text(ctrl, vm->no, path, sizeof(path));
	place_unix(&p, path);
	vm->ctrl = place_dial(&p);
	if (vm->ctrl < 0)
		die("%s: %s", path, strerror(errno));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair: %s", strerror(errno));
	watch(&vm->guest, GUEST, vm, pair[0]);
	control(vm, CTRL_SET_DATAFD, 0, pair[1]);
	close(pair[1]);
	control(vm, CTRL_GET_CAPABILITY, 0, -1);
	control(vm, CTRL_SET_BUFFERSIZE, BODY_MAX, -1);
	control(vm, CTRL_INIT, 0, -1);
	all_back = 0;
	send_bytes(vm->guest.fd, startup.at, startup.len);
	while (!all_back && now_ns() < until)
		turn();
	if (failed || wrong || strange || !all_back)
		die("guest %u: its TPM does not start", vm->no);
}

static void
open_tpm(struct vm *vm, const char *path)
{
	struct place p;
	char numbered[256];

	vm->tpm.fd = -1;
	snprintf(numbered, sizeof(numbered), "%s.%u", path, vm->no);
	place_unix(&p, numbered);
	watch(&vm->door, LISTENER, vm, place_listen(&p));
}

static void
torment(long limit_s)
{
	uint64_t back = 0, moved_ns = now_ns();

	all_back = 0;
	for (long i = 0; i < vms_n; i++)
		ask(&vms[i]);
	while (all_back < all_sent) {
		turn();
		if (all_back > back) {
			back = all_back;
			moved_ns = now_ns();
		}
		for (long i = 0; i < vms_n; i++)
			if (vms[i].answered < vms[i].asked &&
			    now_ns() - vms[i].asked_ns >
				(uint64_t)limit_s * NS_PER_S)
				moved_ns = 0;
		if (now_ns() - moved_ns > (uint64_t)limit_s * NS_PER_S) {
			lost = all_sent - all_back;
			fprintf(stderr, "once: no answer for %ld s\n", limit_s);
			return;
		}
	}
}

int
main(int argc, char **argv)
{
	const char *tpm = NULL, *ctrl = NULL, *ready = NULL;
	long limit_s = 60, from = 1;
	const struct opt opts[] = {
		{ 't', OPT_TEXT, &tpm, "PATH", "the TPMs listen at PATH.0 .." },
		{ 'e', OPT_TEXT, &ctrl, "CTRL", "where guest %d has its TPM" },
		{ 'r', OPT_TEXT, &ready, "FILE", "wait for it, then begin" },
		{ 'c', OPT_COUNT, &vms_n, "COUNT", "guests" },
		{ 'n', OPT_COUNT, &commands_n, "COMMANDS", "of all of them" },
		{ 's', OPT_COUNT, &from, "SEED", "of what they say" },
		{ 'L', OPT_COUNT, &limit_s, "SECONDS", "longest silence" },
	};
	uint64_t t0;

	if (opts_read(opts, LY_COUNT(opts), "", argc, argv) != argc || !tpm ||
	    !ctrl || vms_n < 1 || vms_n > VMS_MAX)
		opts_usage(opts, LY_COUNT(opts), "");
	bench_start();
	seed = (uint64_t)from;
	loop = epoll_create1(EPOLL_CLOEXEC);
	vms = must_alloc((size_t)vms_n, sizeof(*vms));
	for (long i = 0; i < vms_n; i++) {
		vms[i].no = (unsigned)i;
		open_tpm(&vms[i], tpm);
	}
	while (ready && access(ready, F_OK) != 0)
		turn();
	for (long i = 0; i < vms_n; i++)
		power_on(&vms[i], ctrl);
	t0 = now_ns();
	torment(limit_s);
	printf("{\"commands\":%lu,\"answered\":%lu,\"seconds\":%.1f,"
	       "\"out_of_order\":%lu,\"strange\":%lu,\"wrong_answers\":%lu,"
	       "\"failed\":%lu,\"lost\":%lu,\"longest_ms\":%lu}\n",
	    all_sent, all_back, (double)(now_ns() - t0) / 1e9, twice, strange,
	    wrong, failed, lost, (uint64_t)(longest_ns / NS_PER_MS));
	return twice || strange || wrong || failed || lost ||
	    all_back < (uint64_t)commands_n;
}
