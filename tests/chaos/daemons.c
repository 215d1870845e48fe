/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/daemons.h"

#include <dirent.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define END_MS 5000
#define SETTLED_NS (1 * NS_PER_S)
#define COMMANDS_MAX 8

struct daemon {
	char name[32], program[200], conf[200], log[200];
	pid_t pid;	   /* 0: does not run */
	uint64_t again_ns; /* when to start it */
	uint64_t hit_ns;   /* last start, or trouble, or its keeper's */
	bool ours;	   /* its next end is our doing */
	bool held;
};

struct running {
	pid_t pid; /* 0: free */
	on_ended *ended;
	void *arg;
	uint64_t until_ns;
	int out;
	char text[4096];
	size_t len;
};

static struct daemon daemons[DAEMONS_N];
static struct running commands[COMMANDS_MAX];
static uint64_t restart_ns;
static bool ending;

static void
start(struct daemon *d)
{
	int log;

	d->ours = false;
	d->hit_ns = now_ns();
	d->pid = fork();
	if (d->pid != 0)
		return;
	log = open(d->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	dup2(open("/dev/null", O_RDONLY), 0);
	dup2(log, 1);
	dup2(log, 2);
	signal(SIGPIPE, SIG_DFL);
	execl(d->program, d->program, "-c", d->conf, (char *)NULL);
	_exit(127);
}

static void
name(struct daemon *d, const char *kind, const char *of)
{
	snprintf(d->name, sizeof(d->name), "%s-%s", kind, of);
	snprintf(d->program, sizeof(d->program), "%s/lanyard-%s", world.build,
	    kind);
	snprintf(d->conf, sizeof(d->conf), "%s/%s/%s.conf", world.lab, of,
	    kind);
	snprintf(d->log, sizeof(d->log), "%s/%s.log", world.lab, d->name);
}

void
daemons_start(unsigned restart_ms)
{
	static const char *const sites[] = { "north", "south" };

	restart_ns = restart_ms * NS_PER_MS;
	/* What an agent leaves behind when it dies becomes our child. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (unsigned i = 0; i < LY_COUNT(sites); i++)
		name(&daemons[MANAGER(i)], "manager", sites[i]);
	for (unsigned i = 0; i < HOSTS_N; i++)
		name(&daemons[AGENT(i)], "agent", world.host[i].name);
	for (unsigned i = 0; i < DAEMONS_N; i++)
		start(&daemons[i]);
}

const char *
daemon_name(unsigned which)
{
	return daemons[which].name;
}

bool
daemon_runs(unsigned which)
{
	return daemons[which].pid != 0;
}

bool
daemon_settled(unsigned which)
{
	const struct daemon *d = &daemons[which];

	return d->pid && now_ns() > d->hit_ns + SETTLED_NS;
}

bool
daemon_signal(unsigned which, int sig)
{
	struct daemon *d = &daemons[which];

	if (!d->pid)
		return false;
	d->hit_ns = now_ns();
	if (sig != SIGHUP)
		d->ours = true;
	return kill(d->pid, sig) == 0;
}

void
daemon_hold(unsigned which)
{
	daemons[which].held = true;
	daemon_signal(which, SIGKILL);
}

void
daemon_release(unsigned which)
{
	daemons[which].held = false;
}

static void
daemon_ended(struct daemon *d, int status)
{
	d->pid = 0;
	d->again_ns = now_ns() + restart_ns;
	if (d->ours || ending)
		return;
	violation(DAEMONS, "%s ended by itself: %s %d (see %s)", d->name,
	    WIFSIGNALED(status) ? "signal" : "status",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
	    d->log);
}

/* ---- commands ---- */

/* What is there to read; false at the end of it. Of much, the last is kept. */
static bool
hear(struct running *r)
{
	ssize_t n;

	for (;;) {
		if (r->len > sizeof(r->text) / 2) {
			memmove(r->text, r->text + r->len / 2,
			    r->len - r->len / 2);
			r->len -= r->len / 2;
		}
		n = read(r->out, r->text + r->len,
		    sizeof(r->text) - 1 - r->len);
		if (n <= 0)
			break;
		r->len += (size_t)n;
	}
	r->text[r->len] = '\0';
	return n != 0;
}

static pid_t
spawn(const char *const *argv, int *out)
{
	int pair[2];
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) != 0)
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(pair[1], 1);
		dup2(pair[1], 2);
		fcntl(1, F_SETFL, 0);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(pair[1]);
	*out = pair[0];
	return pid;
}

void
command(on_ended *ended, void *arg, unsigned seconds, const char *const *argv)
{
	struct running *r = commands;

	while (r < commands + COMMANDS_MAX && r->pid)
		r++;
	if (r == commands + COMMANDS_MAX)
		die("more than %d commands at once", COMMANDS_MAX);
	*r = (struct running){ .ended = ended,
		.arg = arg,
		.until_ns = now_ns() + seconds * NS_PER_S };
	r->pid = spawn(argv, &r->out);
}

static void
command_ended(struct running *r, int status)
{
	char *last;

	hear(r);
	close(r->out);
	while (r->len > 0 && r->text[r->len - 1] == '\n')
		r->text[--r->len] = '\0';
	last = strrchr(r->text, '\n');
	r->pid = 0;
	if (r->ended)
		r->ended(WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
					       WEXITSTATUS(status),
		    last ? last + 1 : r->text, r->arg);
}

unsigned
commands_running(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < COMMANDS_MAX; i++)
		n += commands[i].pid != 0;
	return n;
}

struct now {
	bool over;
	int status;
	char *out;
	size_t size;
};

int
command_now(unsigned seconds, char *out, size_t size, const char *const *argv)
{
	uint64_t until = now_ns() + seconds * NS_PER_S;
	struct running r = { .len = 0 };
	int status = 0;

	r.pid = spawn(argv, &r.out);
	for (;;) {
		struct pollfd p = { .fd = r.out, .events = POLLIN };

		if (now_ns() > until)
			kill(r.pid, SIGKILL);
		if (poll(&p, 1, 50) > 0 && !hear(&r))
			break;
	}
	while (waitpid(r.pid, &status, 0) < 0 && errno == EINTR)
		;
	close(r.out);
	snprintf(out, size, "%s", r.text);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* ---- the turn ---- */

static void
reaped(pid_t pid, int status)
{
	for (unsigned i = 0; i < DAEMONS_N; i++)
		if (daemons[i].pid == pid)
			daemon_ended(&daemons[i], status);
	for (unsigned i = 0; i < COMMANDS_MAX; i++)
		if (commands[i].pid == pid)
			command_ended(&commands[i], status);
}

void
daemons_turn(void)
{
	int status;
	pid_t pid;
	uint64_t now = now_ns();

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		reaped(pid, status);
	for (unsigned i = 0; i < COMMANDS_MAX; i++) {
		if (!commands[i].pid)
			continue;
		hear(&commands[i]);
		if (now > commands[i].until_ns)
			kill(commands[i].pid, SIGKILL);
	}
	for (unsigned i = 0; i < DAEMONS_N && !ending; i++)
		if (!daemons[i].pid && !daemons[i].held &&
		    now >= daemons[i].again_ns)
			start(&daemons[i]);
}

/* ---- keepers, and the end ---- */

/* A process named so with that path among its words. */
static bool
is_keeper(const char *pid, const char *run)
{
	char path[300], text[4096];
	bool found = false;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	if (!strstr(text, "lanyard-keeper"))
		return false;
	for (char *at = text; at < text + n; at += strlen(at) + 1)
		found = found || strstr(at, run);
	return found;
}

int
keeper_pid(unsigned host)
{
	char run[200];
	DIR *dir = opendir("/proc");
	struct dirent *e;
	int pid = 0;

	snprintf(run, sizeof(run), "%s/%s/run", world.lab,
	    world.host[host].name);
	while (dir && !pid && (e = readdir(dir)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' &&
		    is_keeper(e->d_name, run))
			pid = atoi(e->d_name);
	if (dir)
		closedir(dir);
	return pid;
}

void
keeper_kill(unsigned host)
{
	int pid = keeper_pid(host);

	if (pid)
		kill(pid, SIGKILL);
	daemons[AGENT(host)].hit_ns = now_ns();
}

static unsigned
count_in(const char *path, const char *word)
{
	char text[1024];
	unsigned n = 0;
	FILE *f = fopen(path, "r");

	while (f && fgets(text, sizeof(text), f))
		n += strstr(text, word) != NULL;
	if (f)
		fclose(f);
	return n;
}

unsigned
alarms(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < HOSTS_N; i++)
		n += count_in(daemons[AGENT(i)].log, " ALARM ");
	return n;
}

static bool
any_runs(void)
{
	for (unsigned i = 0; i < DAEMONS_N; i++)
		if (daemons[i].pid)
			return true;
	return false;
}

void
daemons_end(void)
{
	uint64_t until = now_ns() + END_MS * NS_PER_MS;
	int pid;

	ending = true;
	for (unsigned i = 0; i < COMMANDS_MAX; i++)
		if (commands[i].pid)
			kill(commands[i].pid, SIGKILL);
	for (unsigned i = 0; i < DAEMONS_N; i++)
		daemon_signal(i, SIGTERM);
	while (any_runs() && now_ns() < until) {
		daemons_turn();
		usleep(10000);
	}
	for (unsigned i = 0; i < DAEMONS_N; i++)
		daemon_signal(i, SIGKILL);
	for (unsigned i = 0; i < HOSTS_N; i++)
		if ((pid = keeper_pid(i)) > 0)
			kill(pid, SIGKILL);
	daemons_turn();
}
