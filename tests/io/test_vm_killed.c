/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An agent's side of one VM, killed at every system call it makes, one process
 * after the other: the endpoint, the away machine and their turns are the real
 * ones; the link leads to a home that counts what it runs, and QEMU sends a
 * command as soon as it has the answer to the last, with a request on the
 * control channel now and then. Each command runs once, and is answered with
 * what it came to.
 *
 * Three processes: the world (home and QEMU), which lives; the agent, which
 * dies; and this one, which kills it.
 */
#include "agent/io/control.h"
#include "agent/io/keep.h"
#include "agent/io/links.h"
#include "agent/io/qemu.h"
#include "agent/io/vms.h"
#include "lib/io/file.h"
#include "tests/test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOME "spiffe://north/host/n1"
#define CALLS 260 /* the last at which it is killed, each in its turn */

static char dir[40];

/* ---- the link and the manager, as the VM's room sees them ---- */

/* One message between the two, a packet. */
struct letter {
	uint32_t type;
	uint64_t epoch, seq;
	uint32_t len;
	uint8_t body[64];
};

static struct {
	int fd;
	struct ly_link_user *user;
	uv_poll_t poll;
	uv_loop_t *loop;
	enum ly_rc said; /* to the manager, last */
} line = { .fd = -1 };

static int
dial(const char *leaf, int type)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/%s", dir, leaf);
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void
on_letter(uv_poll_t *poll, int status, int events)
{
	struct letter l;
	union ly_any m;

	(void)poll;
	(void)status;
	(void)events;
	if (recv(line.fd, &l, sizeof(l), 0) <= 0)
		_exit(3);
	memset(&m, 0, sizeof(m));
	if (l.type == LY_GRANTED) {
		m.granted.epoch = l.epoch;
		m.granted.seq = l.seq;
	} else {
		m.answer.epoch = l.epoch;
		m.answer.seq = l.seq;
		m.answer.body = (struct ly_bytes){ l.body, l.len };
	}
	line.user->on_hear(line.user, l.type, &m);
}

enum ly_rc
ly_link_join(struct ly_links *links, const char *home, const char *address,
    struct ly_link_user *u, struct ly_why *why)
{
	(void)links;
	(void)home;
	(void)address;
	(void)why;
	line.user = u;
	line.fd = dial("home", SOCK_SEQPACKET);
	if (line.fd < 0)
		_exit(4);
	uv_poll_init(line.loop, &line.poll, line.fd);
	uv_poll_start(&line.poll, UV_READABLE, on_letter);
	u->on_state(u, true);
	return LY_OK;
}

void
ly_link_leave(struct ly_link_user *u)
{
	(void)u;
}

bool
ly_link_up(const struct ly_link_user *u)
{
	(void)u;
	return true;
}

bool
ly_link_leased(const struct ly_link_user *u)
{
	(void)u;
	return true;
}

void
ly_link_say(struct ly_link_user *u, unsigned type, const void *m)
{
	struct letter l = { .type = type };
	const struct ly_command *c = m;
	const struct ly_resume *r = m;

	(void)u;
	if (type == LY_COMMAND) {
		l.epoch = c->epoch;
		l.seq = c->seq;
		l.len = (uint32_t)c->body.len;
		if (l.len)
			memcpy(l.body, c->body.at, l.len);
	} else if (type == LY_RESUME) {
		l.epoch = r->epoch;
		l.seq = r->seq;
	}
	if (send(line.fd, &l, sizeof(l), MSG_NOSIGNAL) < 0)
		_exit(5);
}

void
ly_control_done(struct ly_control *control, uint32_t req, enum ly_rc rc,
    enum ly_fate fate, uint64_t epoch, const char *why, const char *value)
{
	(void)control;
	(void)req;
	(void)fate;
	(void)epoch;
	(void)value;
	line.said = rc;
	if (rc != LY_OK && rc != LY_BUSY)
		fprintf(stderr, "# %s: %s\n", ly_rc_name(rc), why);
}

void
ly_control_answer(struct ly_control *control, const struct ly_done *m)
{
	ly_control_done(control, m->req, (enum ly_rc)m->rc,
	    (enum ly_fate)m->fate, m->epoch, m->why, m->value);
}

bool
ly_control_report(struct ly_control *control, unsigned type, const void *m)
{
	(void)control;
	(void)type;
	(void)m;
	return true;
}

/* ---- the agent ---- */

static const char definition[] = "{\"external\":true}";

static void
wake_up(struct ly_agent *a)
{
	static struct ly_peer self = { .name = "s1", .site = "south" };
	struct ly_why why = { "" };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	a->self = &self;
	a->loop = line.loop = uv_default_loop();
	ly_copy(a->conf.run, sizeof(a->conf.run), dir);
	if (ly_keep_open(a->loop, dir, &a->keep, &why) == LY_OK &&
	    ly_vms_open(a, &a->vms, &why) == LY_OK)
		return;
	fprintf(stderr, "# agent: %s\n", why.text);
	_exit(6);
}

static void
start(struct ly_agent *a, uint8_t id)
{
	struct ly_start m = { .req = 1,
		.vm = { { id } },
		.name = "web1",
		.home = HOME,
		.origin = "north",
		.home_address = "127.0.0.1:1",
		.definition = { (const uint8_t *)definition,
		    sizeof(definition) - 1 },
		.ticket = { (const uint8_t *)"ticket", 6 } };

	ly_vms_start(a->vms, &m);
}

static void
agent(void)
{
	static struct ly_agent a;

	wake_up(&a);
	start(&a, 7); /* again and again, as a manager does */
	uv_run(a.loop, UV_RUN_DEFAULT);
	_exit(7);
}

/* One that is asked to start another VM of the same name, and is killed. */
static void
crowded_agent(void)
{
	static struct ly_agent a;

	wake_up(&a);
	start(&a, 8);
	_exit(line.said == LY_REFUSED ? 0 : 1);
}

/* ---- the world ---- */

static struct {
	uint64_t seq;	/* of the last that ran */
	uint64_t asked; /* by QEMU; the number is in the command */
	uint64_t again, requests;
	int door, agent, ctrl, data;
	bool waits, ends;
} world;

static void
wrong(const char *what)
{
	fprintf(stderr, "# %s: seq %llu, asked %llu\n", what,
	    (unsigned long long)world.seq, (unsigned long long)world.asked);
	_exit(1);
}

static uint64_t
number_of(const uint8_t *body)
{
	uint64_t n;

	memcpy(&n, body + 10, sizeof(n));
	return n;
}

/* One that runs: it carries the number of the last one and one more. The answer
 * is its number. A RESET gets one too, and is no command of QEMU's. */
static void
run(struct letter *l)
{
	static struct letter last;

	if (l->seq == world.seq) {
		world.again++;
	} else if (l->seq != world.seq + 1) {
		wrong("a command out of turn");
	} else {
		world.seq = l->seq;
		last = *l;
		last.type = LY_ANSWER;
		if (l->len == 0) { /* INIT */
			last.len = 4;
			memset(last.body, 0, 4);
		} else if (number_of(l->body) != world.asked) {
			wrong("another command than QEMU's");
		}
	}
	if (send(world.agent, &last, sizeof(last), MSG_NOSIGNAL) < 0)
		return; /* it has died; it will ask again */
}

static void
hear_agent(void)
{
	struct letter l, granted = { .type = LY_GRANTED, .epoch = 1 };

	if (recv(world.agent, &l, sizeof(l), 0) <= 0) {
		close(world.agent);
		world.agent = -1;
		return;
	}
	granted.seq = world.seq;
	if (l.type == LY_COMMAND)
		run(&l);
	else if (l.type == LY_ATTACH || l.type == LY_RESUME)
		(void)!send(world.agent, &granted, sizeof(granted),
		    MSG_NOSIGNAL);
	else
		wrong("what an agent does not say");
}

/* TPM2_GetRandom, made longer by its own number. */
static void
ask(void)
{
	uint8_t cmd[18] = { 0x80, 1, 0, 0, 0, 18, 0, 0, 1, 0x7b };

	if (world.ends) {
		fprintf(stderr,
		    "# %llu commands, %llu asked again, %llu requests\n",
		    (unsigned long long)world.asked,
		    (unsigned long long)world.again,
		    (unsigned long long)world.requests);
		_exit(world.again == 0);
	}
	world.asked++;
	memcpy(cmd + 10, &world.asked, sizeof(world.asked));
	if (world.asked % 3 == 0) { /* in two pieces */
		if (send(world.data, cmd, 7, MSG_NOSIGNAL) != 7)
			wrong("QEMU cannot ask");
		usleep(500);
		if (send(world.data, cmd + 7, 11, MSG_NOSIGNAL) != 11)
			wrong("QEMU cannot ask");
	} else if (send(world.data, cmd, 18, MSG_NOSIGNAL) != 18) {
		wrong("QEMU cannot ask");
	}
}

static void
hear_answer(void)
{
	uint8_t rsp[64];
	ssize_t n = recv(world.data, rsp, sizeof(rsp), 0);

	if (n != 18 || number_of(rsp) != world.asked)
		wrong("another answer");
	if (world.requests < world.asked / 2 && !world.waits) {
		static const uint8_t locality[] = { 0, 0, 0, 5, 0, 0, 0, 0 };

		world.requests++;
		world.waits = true;
		if (send(world.ctrl, locality, 8, MSG_NOSIGNAL) != 8)
			wrong("QEMU cannot set the locality");
	}
	ask();
}

static void
hear_result(void)
{
	uint8_t rsp[64];
	ssize_t n = recv(world.ctrl, rsp, sizeof(rsp), 0);

	if (n != 4 || memcmp(rsp, "\0\0\0", 4) != 0 || !world.waits)
		wrong("another result");
	world.waits = false;
}

/* QEMU's first words: the data channel, and INIT. */
static void
power_on(void)
{
	static const uint8_t init[] = { 0, 0, 0, 2, 0, 0, 0, 0 };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c = { .room = { 0 } };
	uint8_t code[4] = { 0, 0, 0, 0x10 }, buf[8];
	struct iovec iov = { code, 4 };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &c,
		.msg_controllen = sizeof(c.room) };
	int pair[2];

	while ((world.ctrl = dial("web1/tpm.ctrl", SOCK_STREAM)) < 0)
		usleep(1000);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		wrong("no pair");
	c.head.cmsg_level = SOL_SOCKET;
	c.head.cmsg_type = SCM_RIGHTS;
	c.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&c.head), &pair[1], sizeof(int));
	world.data = pair[0];
	if (sendmsg(world.ctrl, &msg, 0) != 4 ||
	    recv(world.ctrl, buf, 4, MSG_WAITALL) != 4 ||
	    send(world.ctrl, init, 8, 0) != 8 ||
	    recv(world.ctrl, buf, 4, MSG_WAITALL) != 4)
		wrong("QEMU does not begin");
	close(pair[1]);
}

static void
on_end(int sig)
{
	(void)sig;
	world.ends = true;
}

static void
turn(int wait_ms)
{
	struct pollfd p[4] = { { world.door, POLLIN, 0 },
		{ world.agent, POLLIN, 0 }, { world.data, POLLIN, 0 },
		{ world.ctrl, POLLIN, 0 } };

	if (poll(p, 4, wait_ms) == 0 && wait_ms > 1000)
		wrong("all stands still");
	if (p[0].revents && world.agent < 0)
		world.agent = accept(world.door, NULL, NULL);
	if (p[1].revents)
		hear_agent();
	if (p[2].revents)
		hear_answer();
	if (p[3].revents)
		hear_result();
}

/* The home is there before QEMU, which the lease has to be granted for. */
static void
live(int door, int on)
{
	signal(SIGUSR1, on_end);
	world.door = door;
	world.agent = world.ctrl = world.data = -1;
	while (world.ctrl < 0) {
		char path[64];

		turn(10);
		snprintf(path, sizeof(path), "%s/web1/tpm.ctrl", dir);
		if (access(path, F_OK) == 0)
			power_on();
	}
	ask();
	(void)!write(on, "", 1);
	close(on);
	for (;;)
		turn(10000);
}

/* ---- the killer ---- */

static pid_t
born(bool traced)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (traced) {
			ptrace(PTRACE_TRACEME, 0, NULL, NULL);
			raise(SIGSTOP);
		}
		agent();
	}
	WANT(pid > 0);
	return pid;
}

/* Killed as it enters or leaves its n-th system call. */
static void
live_for(unsigned n)
{
	pid_t pid = born(true);
	int status;

	WANT_INT(waitpid(pid, &status, 0), pid);
	ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL);
	while (n-- > 0) {
		ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
		WANT_INT(waitpid(pid, &status, 0), pid);
		if (!WIFSTOPPED(status))
			fail_msg("the agent ended by itself: %#x", status);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static int
home_door(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/home", dir);
	WANT_INT(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	WANT_INT(listen(fd, 64), 0);
	return fd;
}

static void
end_keeper(void)
{
	struct ly_keep *k;
	struct ly_why why;
	uv_loop_t loop;

	uv_loop_init(&loop);
	WANT_INT(ly_keep_open(&loop, dir, &k, &why), LY_OK);
	ly_keep_close(k, true);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
}

static void
begin(void)
{
	static char keeper[256];

	snprintf(dir, sizeof(dir), "/tmp/lanyard-vm-XXXXXX");
	WANT(mkdtemp(dir) != NULL);
	snprintf(keeper, sizeof(keeper), "%s/lanyard-keeper",
	    getenv("BUILD") ? getenv("BUILD") : "build");
	ly_keep_program(keeper);
	ly_log_setup("agent", false, LY_ERROR);
	signal(SIGPIPE, SIG_IGN);
}

static void
end(void)
{
	char cmd[80];

	end_keeper();
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	WANT_INT(system(cmd), 0);
}

TEST(whenever_the_agent_is_killed_each_command_runs_once)
{
	pid_t earth, pid;
	int status, door, on[2];
	char byte;

	begin();
	door = home_door();
	WANT_INT(pipe(on), 0);
	earth = fork();
	if (earth == 0)
		live(door, on[1]);
	close(door);
	close(on[1]);
	pid = born(false); /* QEMU makes its connection but once */
	WANT_INT(read(on[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	for (unsigned n = 1; n <= CALLS; n++) {
		live_for(20 + n * 5 / 2);
		if (waitpid(earth, &status, WNOHANG) != 0)
			fail_msg("it went wrong at call %u", n);
	}
	pid = born(false);
	usleep(300000);
	kill(earth, SIGUSR1);
	WANT_INT(waitpid(earth, &status, 0), earth);
	WANT_INT(status, 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	end();
}

/* Without its note nobody knows whose VM a slot is: QEMU sees its TPM go, and
 * the agent lives. */
TEST(what_is_damaged_is_refused_and_the_tpm_fails)
{
	char path[64];
	uint8_t byte;
	pid_t pid;
	int status;

	begin();
	world.door = home_door();
	world.agent = world.ctrl = world.data = -1;
	pid = born(false);
	snprintf(path, sizeof(path), "%s/web1/tpm.ctrl", dir);
	while (access(path, F_OK) != 0)
		turn(10);
	power_on();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	snprintf(path, sizeof(path), "%s/web1/vm", dir);
	WANT_INT(truncate(path, 20), 0);
	pid = born(false);
	WANT_INT(recv(world.data, &byte, 1, 0), 0);
	WANT_INT(recv(world.ctrl, &byte, 1, 0), 0);
	WANT_INT(waitpid(pid, &status, WNOHANG), 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	end();
}

/* Two sites may have a VM of one name each; the second has no room here. */
TEST(another_vm_of_that_name_does_not_take_the_place_of_the_first)
{
	char path[64];
	pid_t pid;
	int status;

	begin();
	world.door = home_door();
	world.agent = world.ctrl = world.data = -1;
	pid = born(false);
	snprintf(path, sizeof(path), "%s/web1/tpm.ctrl", dir);
	while (access(path, F_OK) != 0)
		turn(10);
	power_on();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	pid = fork();
	if (pid == 0)
		crowded_agent();
	waitpid(pid, &status, 0);
	WANT_INT(status, 0);
	pid = born(false);
	ask();
	do
		turn(1000);
	while (world.seq < 2);
	WANT_INT(waitpid(pid, &status, WNOHANG), 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	end();
}

static enum ly_rc
adopt(uv_loop_t *loop, const char *pid)
{
	static const struct ly_qemu_ops none;
	struct ly_qemu_params p = { .name = "web1", .dir = dir };
	struct ly_qemu *q;
	struct ly_why why;
	char path[64];
	enum ly_rc rc;

	snprintf(path, sizeof(path), "%s/qemu.pid", dir);
	WANT_INT(ly_file_write(path, pid, strlen(pid), 0600, &why), LY_OK);
	rc = ly_qemu_adopt(loop, &p, &none, NULL, &q, &why);
	uv_run(loop, UV_RUN_NOWAIT);
	return rc;
}

/* Else its lease would be given back while it runs. */
TEST(a_qemu_that_cannot_be_looked_for_has_not_ended)
{
	struct rlimit was, few;
	char ours[32];
	uv_loop_t loop;
	int fd;

	begin();
	WANT_INT(uv_loop_init(&loop), 0);
	WANT_INT(adopt(&loop, "999999999 5"), LY_UNKNOWN);
	WANT_INT(adopt(&loop, "no number"), LY_OUTSIDE);
	snprintf(ours, sizeof(ours), "%d 5", getpid());
	WANT_INT(adopt(&loop, ours), LY_UNKNOWN); /* another of that pid */
	getrlimit(RLIMIT_NOFILE, &was);
	few = was;
	fd = dup(0);
	few.rlim_cur = (rlim_t)fd + 2; /* its log, and its pidfd */
	close(fd);
	setrlimit(RLIMIT_NOFILE, &few);
	WANT_INT(adopt(&loop, ours), LY_OUTSIDE);
	setrlimit(RLIMIT_NOFILE, &was);
	uv_loop_close(&loop);
	end();
}

TEST_MAIN()
