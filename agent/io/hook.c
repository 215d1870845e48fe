/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The struct lives until its watch and its timer are closed (`open`). Both
 * outputs of the hook are one memfd that cannot grow, so a hook that talks
 * without end costs nothing but its own errors, and one that leaves a child
 * behind keeps nothing of ours waiting.
 */
#include "agent/io/hook.h"

#include "agent/io/pidfile.h"
#include "agent/io/spawn.h"
#include "lib/base/text.h"
#include "lib/io/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENV_MAX 11
#define LINE_MAX_ 400
#define LINES_MAX 50 /* into our log; the rest is not */
#define LOOK_MS 20   /* whether the one before has ended */

struct env {
	char text[ENV_MAX][320];
	char *at[ENV_MAX + 1];
	unsigned n;
};

struct ly_hook {
	ly_hook_done *done; /* NULL: nobody is told */
	void *arg;
	enum ly_hook_kind kind;
	char vm[LY_NAME_MAX];
	uv_poll_t watch;
	uv_timer_t timer;
	unsigned open;
	int pid, pidfd, said_fd; /* while `waits`, those of the one before */
	bool waits, killed;
	uint64_t timeout_ms, waited_ms;
	char path[256], pidfile[300];
	struct env env;
};

const char *
ly_hook_name(unsigned kind)
{
	static const char *const names[LY_HOOKS] = {
		[LY_HOOK_RELEASE] = "on-release",
		[LY_HOOK_CLAIM] = "on-claim",
		[LY_HOOK_ABORT] = "on-abort",
	};

	return kind < LY_HOOKS ? names[kind] : "?";
}

/* ---- the end ---- */

static void
on_gone(uv_handle_t *handle)
{
	struct ly_hook *h = handle->data;

	if (--h->open)
		return;
	if (h->pidfd >= 0)
		close(h->pidfd);
	if (h->said_fd >= 0)
		close(h->said_fd);
	free(h);
}

/* What it said, line by line; the last one is kept for who asks why. */
static void
read_words(struct ly_hook *h, char last[LINE_MAX_])
{
	char buf[LY_HOOK_SAID + 1], *rest = buf, *line;
	off_t len = lseek(h->said_fd, 0, SEEK_CUR); /* shared with the hook */
	unsigned lines = 0;
	ssize_t n = pread(h->said_fd, buf,
	    len > 0 ? ly_min((size_t)len, LY_HOOK_SAID) : 0, 0);

	last[0] = '\0';
	buf[n > 0 ? n : 0] = '\0';
	while ((line = strsep(&rest, "\n"))) {
		if (!line[0])
			continue;
		for (char *c = line; *c; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				*c = ' ';
		ly_print(last, LINE_MAX_, "%s", line);
		if (lines++ < LINES_MAX)
			ly_log(LY_INFO, h->vm, "%s: %s", ly_hook_name(h->kind),
			    last);
	}
}

static void
on_end(uv_poll_t *watch, int events, int unused)
{
	struct ly_hook *h = watch->data;
	int status = ly_spawn_reap(h->pid);
	char last[LINE_MAX_];
	struct ly_why why = { "" };
	enum ly_rc rc = LY_OK;

	(void)events;
	(void)unused;
	uv_close((uv_handle_t *)&h->watch, on_gone);
	uv_close((uv_handle_t *)&h->timer, on_gone);
	read_words(h, last);
	if (h->killed)
		rc = ly_fail(&why, LY_OUTSIDE,
		    "%s: killed, for it had not ended after %g s%s%s",
		    ly_hook_name(h->kind), (double)h->timeout_ms / 1000,
		    last[0] ? ": " : "", last);
	else if (status)
		rc = ly_fail(&why, LY_OUTSIDE, "%s: status %d%s%s",
		    ly_hook_name(h->kind), status, last[0] ? ": " : "", last);
	ly_log(rc ? LY_WARNING : LY_INFO, h->vm, "%s%s",
	    rc ? why.text : ly_hook_name(h->kind), rc ? "" : ": done");
	if (h->done)
		h->done(h->arg, rc, why.text);
}

/* It leads a session: its children die with it. */
static void
on_timeout(uv_timer_t *timer)
{
	struct ly_hook *h = timer->data;

	h->killed = true;
	kill(-h->pid, SIGKILL);
}

void
ly_hook_forget(struct ly_hook *h)
{
	if (h)
		h->done = NULL;
}

/* ---- the start ---- */

static void
set(struct env *env, const char *name, const char *value)
{
	assert(env->n < ENV_MAX);
	ly_print(env->text[env->n], sizeof(env->text[0]), "%s=%s", name, value);
	env->at[env->n] = env->text[env->n];
	env->at[++env->n] = NULL;
}

static void
set_all(struct env *env, const struct ly_hook_params *p)
{
	char id[LY_ID_TEXT], mig[LY_ID_TEXT], epoch[24];

	ly_print(epoch, sizeof(epoch), "%llu", (unsigned long long)p->epoch);
	set(env, "PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
	set(env, "LANYARD_HOOK", ly_hook_name(p->kind));
	set(env, "LANYARD_VM", p->vm);
	set(env, "LANYARD_VM_ID", ly_id_text(&p->id, id));
	set(env, "LANYARD_EPOCH", epoch);
	set(env, "LANYARD_MIGRATION",
	    ly_id_none(&p->mig) ? "" : ly_id_text(&p->mig, mig));
	set(env, "LANYARD_HOST", p->host);
	set(env, "LANYARD_HOME", p->home);
	set(env, "LANYARD_RUN", p->dir);
}

static enum ly_rc
open_said(int *fd, struct ly_why *why)
{
	*fd = memfd_create("lanyard-hook", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0 || ftruncate(*fd, LY_HOOK_SAID) != 0 ||
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0)
		return ly_fail(why, LY_OUTSIDE, "memfd: %s", strerror(errno));
	return LY_OK;
}

static enum ly_rc
spawn(struct ly_hook *h, struct ly_why *why)
{
	char *argv[] = { h->path, NULL };
	enum ly_rc rc = open_said(&h->said_fd, why);

	if (rc == LY_OK)
		rc = ly_spawn(argv, h->env.at, h->said_fd, &h->pid, &h->pidfd,
		    why);
	if (rc == LY_OK && ly_pidfile_write(h->pidfile, h->pid, why) != LY_OK)
		ly_log(LY_WARNING, h->vm, "%s", why->text);
	return rc;
}

/* It has begun, and so its watch; or it has failed, and who asked was told. */
static void
begin(struct ly_hook *h)
{
	struct ly_why why;

	if (spawn(h, &why) == LY_OK) {
		if (uv_poll_init(h->timer.loop, &h->watch, h->pidfd))
			abort(); /* a pidfd of ours can be polled */
		h->open++;
		uv_poll_start(&h->watch, UV_READABLE, on_end);
		uv_timer_start(&h->timer, on_timeout, h->timeout_ms, 0);
		return;
	}
	uv_close((uv_handle_t *)&h->timer, on_gone);
	ly_fail_in(&why, LY_OUTSIDE, "%s", ly_hook_name(h->kind));
	ly_log(LY_WARNING, h->vm, "%s", why.text);
	if (h->done)
		h->done(h->arg, LY_OUTSIDE, why.text);
}

/* The one of an agent before us, perhaps our own child by execve(). */
static bool
still_runs(struct ly_hook *h)
{
	struct pollfd p = { .fd = h->pidfd, .events = POLLIN };

	if (poll(&p, 1, 0) == 0)
		return true;
	(void)waitpid(h->pid, NULL, WNOHANG);
	return false;
}

static void
on_look(uv_timer_t *timer)
{
	struct ly_hook *h = timer->data;

	if (still_runs(h)) {
		h->waited_ms += LOOK_MS;
		if (h->waited_ms >= h->timeout_ms)
			kill(-h->pid, SIGKILL);
		return;
	}
	uv_timer_stop(timer);
	close(h->pidfd);
	h->pidfd = -1;
	h->waits = false;
	if (h->done)
		begin(h);
	else
		uv_close((uv_handle_t *)timer, on_gone);
}

static void
await_last(struct ly_hook *h)
{
	ly_log(LY_INFO, h->vm, "%s: the one of the agent before has not ended",
	    ly_hook_name(h->kind));
	h->waits = true;
	uv_timer_start(&h->timer, on_look, LOOK_MS, LOOK_MS);
}

static struct ly_hook *
make(uv_loop_t *loop, const struct ly_hook_params *p)
{
	struct ly_hook *h = calloc(1, sizeof(*h));

	if (!h || uv_timer_init(loop, &h->timer))
		abort();
	h->open = 1;
	h->timer.data = h->watch.data = h;
	h->kind = p->kind;
	h->timeout_ms = p->timeout_ms;
	h->pidfd = h->said_fd = -1;
	ly_copy(h->vm, sizeof(h->vm), p->vm);
	ly_copy(h->path, sizeof(h->path), p->path);
	ly_print(h->pidfile, sizeof(h->pidfile), "%s/hook.pid", p->dir);
	set_all(&h->env, p);
	return h;
}

struct ly_hook *
ly_hook_run(uv_loop_t *loop, const struct ly_hook_params *p, ly_hook_done *done,
    void *arg)
{
	struct ly_hook *h;
	struct ly_why why;

	if (!*p->path) {
		done(arg, LY_OK, "");
		return NULL;
	}
	h = make(loop, p);
	h->done = done;
	h->arg = arg;
	if (ly_pidfile_open(h->pidfile, &h->pid, &h->pidfd, &why) == LY_OK)
		await_last(h);
	else
		begin(h);
	return h->pidfd >= 0 ? h : NULL;
}
