/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child, between fork and exec: only calls that are safe there. */
static void
become(char *const *argv, char *const *env, int in_fd, int log_fd, int report)
{
	sigset_t none;
	int error;

	setsid();
	dup2(in_fd >= 0 ? in_fd : open("/dev/null", O_RDONLY), 0);
	dup2(log_fd, 1);
	dup2(log_fd, 2);
	syscall(SYS_close_range, 3u, ~0u, (unsigned)CLOSE_RANGE_CLOEXEC);
	for (int sig = 1; sig < 32; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvpe(argv[0], argv, env ? env : environ);
	error = errno;
	if (write(report, &error, sizeof(error)) < 0)
		_exit(126);
	_exit(127);
}

enum ly_rc
ly_spawn_with(char *const *argv, char *const *env, int in_fd, int log_fd,
    int *pid, int *pidfd, struct ly_why *why)
{
	int report[2], error = 0;
	pid_t child;
	ssize_t n;

	if (pipe2(report, O_CLOEXEC) != 0)
		return ly_fail(why, LY_OUTSIDE, "pipe: %s", strerror(errno));
	child = fork();
	if (child == 0)
		become(argv, env, in_fd, log_fd, report[1]);
	close(report[1]);
	if (child < 0) {
		close(report[0]);
		return ly_fail(why, LY_OUTSIDE, "fork: %s", strerror(errno));
	}
	do
		n = read(report[0], &error, sizeof(error));
	while (n < 0 && errno == EINTR);
	close(report[0]);
	if (n > 0) {
		ly_spawn_reap(child);
		return ly_fail(why, LY_OUTSIDE, "%s: %s", argv[0],
		    strerror(error));
	}
	*pid = child;
	*pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	if (*pidfd < 0) {
		kill(child, SIGKILL);
		ly_spawn_reap(child);
		return ly_fail(why, LY_OUTSIDE, "pidfd_open: %s",
		    strerror(errno));
	}
	return LY_OK;
}

enum ly_rc
ly_spawn(char *const *argv, char *const *env, int log_fd, int *pid, int *pidfd,
    struct ly_why *why)
{
	return ly_spawn_with(argv, env, -1, log_fd, pid, pidfd, why);
}

int
ly_spawn_reap(int pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}
