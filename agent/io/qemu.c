/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both a QEMU we started and an adopted one are watched by their pidfd. Its
 * monitor may be lost and opened again while the process lives; only the end
 * of the process ends the struct. `open` counts libuv's handles.
 */
#include "agent/io/qemu.h"

#include "agent/io/pidfile.h"
#include "agent/io/spawn.h"
#include "lib/io/file.h"
#include "lib/io/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 30000 /* to open its monitor: it may wait for its TPM */
#define AGAIN_MS 10000 /* to open it again */
#define STEP_MS 3000   /* between quit, SIGTERM and SIGKILL */

struct ly_qemu {
	const struct ly_qemu_ops *ops;
	void *arg;
	const struct ly_qemu_tap *tap;
	void *tap_arg;
	uv_loop_t *loop;
	struct ly_qmp *qmp; /* NULL: could not even be tried */
	bool ready, was_ready, mute, adopted;
	unsigned quitting; /* steps taken to end it */
	unsigned open;
	uv_poll_t watch;
	uv_timer_t timer;
	int pid, pidfd, log_fd;
	off_t log_from; /* where this run's words begin */
	char dir[LY_PATH_LEN], name[LY_NAME_MAX];
	char why[240]; /* known before it ended */
};

static void
path_of(const struct ly_qemu *q, const char *leaf, char out[LY_PATH_LEN + 16])
{
	ly_print(out, LY_PATH_LEN + 16, "%s/%s", q->dir, leaf);
}

/* ---- the end ---- */

static void
on_gone(uv_handle_t *handle)
{
	struct ly_qemu *q = handle->data;

	if (--q->open)
		return;
	if (q->pidfd >= 0)
		close(q->pidfd);
	if (q->log_fd >= 0)
		close(q->log_fd);
	free(q);
}

/* Once: a listener of the exit may leave us from within it. */
static void
let_go(struct ly_qemu *q)
{
	if (uv_is_closing((uv_handle_t *)&q->timer))
		return;
	if (q->qmp)
		ly_qmp_close(ly_take(q->qmp));
	q->ready = false;
	uv_close((uv_handle_t *)&q->timer, on_gone);
	uv_close((uv_handle_t *)&q->watch, on_gone);
}

/* Joins what QEMU said in this run, but for its warnings, into one line; when
 * that is too long, the newest words are kept. */
static void
last_words(const struct ly_qemu *q, char *out, size_t size)
{
	char buf[4096], *line, *rest = buf;
	off_t end = lseek(q->log_fd, 0, SEEK_END), at = q->log_from;
	size_t len;
	ssize_t n;

	out[0] = '\0';
	if (end - at > (off_t)sizeof(buf) - 1)
		at = end - (off_t)sizeof(buf) + 1;
	n = pread(q->log_fd, buf, sizeof(buf) - 1, at);
	buf[n > 0 ? n : 0] = '\0';
	while ((line = strsep(&rest, "\n"))) {
		if (!line[0] || strstr(line, ": warning: "))
			continue;
		for (char *c = line; *c; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				*c = ' ';
		len = strlen(out);
		if (len + 2 + strlen(line) >= size)
			len = 0;
		ly_print(out + len, size - len, "%s%s", len ? "; " : "", line);
	}
}

static void
over(struct ly_qemu *q, int status)
{
	char words[240] = "", why[320], path[LY_PATH_LEN + 16];

	if (status || !q->was_ready)
		last_words(q, words, sizeof(words));
	if (words[0] && (!q->why[0] || !q->was_ready))
		ly_print(why, sizeof(why), "%s", words);
	else if (q->why[0])
		ly_print(why, sizeof(why), "%s%s%s", q->why,
		    words[0] ? ": " : "", words);
	else if (status > 128)
		ly_print(why, sizeof(why), "QEMU was killed by signal %d",
		    status - 128);
	else
		ly_print(why, sizeof(why), "QEMU ended with status %d", status);
	path_of(q, "qemu.pid", path);
	unlink(path);
	let_go(q);
	if (q->tap && q->tap->on_exit)
		q->tap->on_exit(q->tap_arg, why);
	if (!q->mute && q->ops->on_exit)
		q->ops->on_exit(q->arg, status, why);
}

/* Ours after all, if we are the process that started it, with a new program. */
static int
reap_adopted(int pid)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) != pid)
		return -1;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

static void
on_end(uv_poll_t *watch, int status, int events)
{
	struct ly_qemu *q = watch->data;

	(void)status;
	(void)events;
	over(q, q->adopted ? reap_adopted(q->pid) : ly_spawn_reap(q->pid));
}

static enum ly_rc
watch(struct ly_qemu *q, struct ly_why *why)
{
	if (uv_poll_init(q->loop, &q->watch, q->pidfd))
		return ly_fail(why, LY_OUTSIDE, "cannot watch a process");
	q->watch.data = q;
	uv_poll_start(&q->watch, UV_READABLE, on_end);
	return LY_OK;
}

void
ly_qemu_leave(struct ly_qemu *q)
{
	q->mute = true;
	q->tap = NULL;
	let_go(q);
}

static void
hit(struct ly_qemu *q, int sig)
{
	syscall(SYS_pidfd_send_signal, q->pidfd, sig, NULL, 0);
}

static void
on_quit_timer(uv_timer_t *timer)
{
	struct ly_qemu *q = timer->data;

	hit(q, q->quitting++ == 1 ? SIGTERM : SIGKILL);
	uv_timer_start(&q->timer, on_quit_timer, STEP_MS, 0);
}

void
ly_qemu_quit(struct ly_qemu *q)
{
	if (q->quitting)
		return;
	q->quitting = 1;
	if (!q->why[0])
		ly_copy(q->why, sizeof(q->why), "QEMU was told to quit");
	if (q->ready)
		ly_qemu_ask(q, "quit", NULL, 0, NULL, NULL);
	uv_timer_start(&q->timer, on_quit_timer, q->ready ? STEP_MS : 0, 0);
}

/* ---- the monitor ---- */

static void open_monitor(struct ly_qemu *q, unsigned patience_ms);

static void
on_monitor_ready(void *arg)
{
	struct ly_qemu *q = arg;
	bool first = !q->was_ready;

	q->ready = q->was_ready = true;
	if (!first)
		ly_log(LY_NOTICE, q->name, "QEMU's monitor is back");
	else if (!q->mute && q->ops->on_ready)
		q->ops->on_ready(q->arg);
}

static void
on_monitor_event(void *arg, const char *name, const json_t *data)
{
	struct ly_qemu *q = arg;
	const char *reason = json_string_value(json_object_get(data, "reason"));

	if (strcmp(name, "SHUTDOWN") == 0 && !q->why[0])
		ly_print(q->why, sizeof(q->why), "QEMU ended: %.60s",
		    reason ? reason : "shutdown");
	if (q->tap && q->tap->on_event)
		q->tap->on_event(q->tap_arg, name, data);
	if (!q->mute && q->ops->on_event)
		q->ops->on_event(q->arg, name, data);
}

/* Most often the process is ending, and its end is noticed next. If it is
 * not, a QEMU that has never been ready is of no use; one that has been runs
 * a guest, and its monitor is opened again for as long as it lives. */
static void
on_monitor_close(void *arg, const char *why)
{
	struct ly_qemu *q = arg;

	q->qmp = NULL;
	q->ready = false;
	if (!q->was_ready && !q->adopted) {
		ly_copy(q->why, sizeof(q->why), why);
		ly_qemu_quit(q);
	}
	if (!q->quitting)
		ly_log(LY_WARNING, q->name, "%s", why);
	open_monitor(q, AGAIN_MS);
}

static void
open_monitor(struct ly_qemu *q, unsigned patience_ms)
{
	static const struct ly_qmp_ops monitor = {
		.on_ready = on_monitor_ready,
		.on_event = on_monitor_event,
		.on_close = on_monitor_close,
	};
	char path[LY_PATH_LEN + 16];
	struct ly_why why;

	path_of(q, "qmp.sock", path);
	if (ly_qmp_open(q->loop, path, patience_ms, &monitor, q, &q->qmp,
		&why) == LY_OK)
		return;
	ly_log(LY_ERROR, q->name, "%s", why.text);
	ly_copy(q->why, sizeof(q->why), why.text);
	ly_qemu_quit(q);
}

void
ly_qemu_ask(struct ly_qemu *q, const char *command, json_t *args,
    unsigned wait_ms, ly_qmp_done *done, void *arg)
{
	if (q->qmp) {
		ly_qmp_ask(q->qmp, command, args, wait_ms, done, arg);
		return;
	}
	json_decref(args);
	if (done)
		done(arg, LY_OUTSIDE, NULL, "QEMU's monitor is not open");
}

void
ly_qemu_forget(struct ly_qemu *q, const void *arg)
{
	if (q->qmp)
		ly_qmp_forget(q->qmp, arg);
}

void
ly_qemu_tap(struct ly_qemu *q, const struct ly_qemu_tap *tap, void *arg)
{
	q->tap = tap;
	q->tap_arg = arg;
}

void
ly_qemu_stop(struct ly_qemu *q, ly_qmp_done *done, void *arg)
{
	ly_qemu_ask(q, "stop", NULL, 0, done, arg);
}

void
ly_qemu_cont(struct ly_qemu *q, ly_qmp_done *done, void *arg)
{
	ly_qemu_ask(q, "cont", NULL, 0, done, arg);
}

void
ly_qemu_ask_status(struct ly_qemu *q, ly_qmp_done *done, void *arg)
{
	ly_qemu_ask(q, "query-status", NULL, 0, done, arg);
}

const char *
ly_qemu_status(const json_t *value)
{
	const char *s = json_string_value(json_object_get(value, "status"));

	return s ? s : "";
}

void
ly_qemu_powerdown(struct ly_qemu *q, ly_qmp_done *done, void *arg)
{
	ly_qemu_ask(q, "system_powerdown", NULL, 0, done, arg);
}

bool
ly_qemu_ready(const struct ly_qemu *q)
{
	return q->ready;
}

int
ly_qemu_pid(const struct ly_qemu *q)
{
	return q->pid;
}

const char *
ly_qemu_dir(const struct ly_qemu *q)
{
	return q->dir;
}

static enum ly_rc
write_pid(const struct ly_qemu *q, struct ly_why *why)
{
	char path[LY_PATH_LEN + 16];

	path_of(q, "qemu.pid", path);
	return ly_pidfile_write(path, q->pid, why);
}

/* LY_UNKNOWN: it does not run any more, for certain. */
static enum ly_rc
read_pid(struct ly_qemu *q, struct ly_why *why)
{
	char path[LY_PATH_LEN + 16];

	path_of(q, "qemu.pid", path);
	return ly_pidfile_open(path, &q->pid, &q->pidfd, why);
}

/* ---- the start ---- */

static enum ly_rc
open_log(struct ly_qemu *q, struct ly_why *why)
{
	char path[LY_PATH_LEN + 16];

	path_of(q, "qemu.log", path);
	q->log_fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (q->log_fd < 0)
		return ly_fail(why, LY_OUTSIDE, "%s: %s", path,
		    strerror(errno));
	q->log_from = lseek(q->log_fd, 0, SEEK_END);
	return LY_OK;
}

static enum ly_rc
make(uv_loop_t *loop, const struct ly_qemu_params *params,
    const struct ly_qemu_ops *ops, void *arg, struct ly_qemu **out,
    struct ly_why *why)
{
	struct ly_qemu *q;
	enum ly_rc rc = ly_file_mkdir(params->dir, 0700, why);

	if (rc)
		return rc;
	q = calloc(1, sizeof(*q));
	if (!q)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	q->ops = ops;
	q->arg = arg;
	q->loop = loop;
	q->pidfd = q->log_fd = -1;
	ly_copy(q->name, sizeof(q->name), params->name);
	if (!ly_copy(q->dir, sizeof(q->dir), params->dir) ||
	    strlen(q->dir) + sizeof("/mig-out.sock") > 108)
		rc = ly_fail(why, LY_REFUSED,
		    "%s: too long for the name of a Unix socket in it",
		    params->dir);
	if (!rc)
		rc = open_log(q, why);
	if (rc) {
		free(q);
		return rc;
	}
	uv_timer_init(loop, &q->timer);
	q->timer.data = q;
	q->open = 2; /* the timer, and the child or the watch */
	*out = q;
	return LY_OK;
}

static enum ly_rc
spawn(struct ly_qemu *q, char **argv, struct ly_why *why)
{
	char path[LY_PATH_LEN + 16];
	enum ly_rc rc;

	path_of(q, "qmp.sock", path);
	unlink(path); /* of one before it, or we would speak to nobody */
	rc = ly_spawn(argv, NULL, q->log_fd, &q->pid, &q->pidfd, why);
	return rc ? rc : watch(q, why);
}

/* It is not watched, so there is one handle less to close. */
static void
give_up(struct ly_qemu *q)
{
	q->open = 1;
	uv_close((uv_handle_t *)&q->timer, on_gone);
}

enum ly_rc
ly_qemu_start(uv_loop_t *loop, const struct ly_qemu_params *params,
    const struct ly_qemu_ops *ops, void *arg, struct ly_qemu **out,
    struct ly_why *why)
{
	struct ly_definition_params p = {
		.binary = params->binary ? params->binary :
					   "qemu-system-x86_64",
		.dir = params->dir,
		.name = params->name,
		.id = params->id,
		.tpm_socket = params->tpm_socket,
		.incoming = params->incoming,
		.sandbox = !params->no_sandbox,
	};
	struct ly_why unwritten;
	struct ly_qemu *q;
	char **argv;
	enum ly_rc rc;

	rc = ly_definition_argv(params->definition, &p, &argv, why);
	if (rc)
		return rc;
	rc = make(loop, params, ops, arg, &q, why);
	if (!rc) {
		rc = spawn(q, argv, why);
		if (rc) /* nobody is told but by the caller's rc */
			give_up(q);
	}
	ly_argv_free(argv);
	if (rc)
		return rc;
	open_monitor(q, START_MS);
	if (write_pid(q, &unwritten)) { /* no agent after us would find it */
		ly_copy(q->why, sizeof(q->why), unwritten.text);
		ly_qemu_quit(q);
	}
	*out = q;
	return LY_OK;
}

enum ly_rc
ly_qemu_adopt(uv_loop_t *loop, const struct ly_qemu_params *params,
    const struct ly_qemu_ops *ops, void *arg, struct ly_qemu **out,
    struct ly_why *why)
{
	struct ly_qemu *q;
	enum ly_rc rc = make(loop, params, ops, arg, &q, why);

	if (rc)
		return rc;
	q->adopted = true;
	rc = read_pid(q, why);
	if (!rc)
		rc = watch(q, why);
	if (rc) {
		give_up(q);
		return rc;
	}
	open_monitor(q, START_MS);
	*out = q;
	return LY_OK;
}
