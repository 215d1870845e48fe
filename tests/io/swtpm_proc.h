/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A swtpm in a scratch directory, for tests: DIR/tpm and DIR/tpm.ctrl. It dies
 * with the test program.
 */
#ifndef LY_TESTS_SWTPM_PROC_H
#define LY_TESTS_SWTPM_PROC_H

#include "lib/base/base.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct swtpm_proc {
	char dir[64];
	char path[80];
	pid_t pid;
};

/* Runs `argv`, silently; its pid. */
static inline pid_t
proc_start(char *const argv[])
{
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], argv);
		_exit(127);
	}
	return pid;
}

static inline void
proc_end(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* On a directory that is there. False when there is no swtpm here. */
static inline bool
swtpm_proc_again(struct swtpm_proc *p)
{
	char state[96], server[128], ctrl[128];
	char *argv[] = { "swtpm", "socket", "--tpm2", "--tpmstate", state,
		"--server", server, "--ctrl", ctrl, "--flags", "not-need-init",
		"--seccomp", "action=none", NULL };

	snprintf(p->path, sizeof(p->path), "%s/tpm", p->dir);
	snprintf(state, sizeof(state), "dir=%s", p->dir);
	snprintf(server, sizeof(server), "type=unixio,path=%s", p->path);
	snprintf(ctrl, sizeof(ctrl), "type=unixio,path=%s.ctrl", p->path);
	unlink(p->path);
	unlink(ctrl + strlen("type=unixio,path="));
	p->pid = proc_start(argv);
	for (unsigned i = 0; i < 500 && p->pid > 0; i++) {
		char name[96];

		snprintf(name, sizeof(name), "%s.ctrl", p->path);
		if (access(name, F_OK) == 0 && access(p->path, F_OK) == 0)
			return true;
		if (waitpid(p->pid, NULL, WNOHANG) == p->pid)
			p->pid = -1;
		usleep(10000);
	}
	return false;
}

static inline bool
swtpm_proc_start(struct swtpm_proc *p)
{
	snprintf(p->dir, sizeof(p->dir), "/tmp/lanyard-test-XXXXXX");
	return mkdtemp(p->dir) && swtpm_proc_again(p);
}

static inline void
swtpm_proc_end(struct swtpm_proc *p)
{
	char *argv[] = { "rm", "-rf", p->dir, NULL };

	proc_end(p->pid);
	p->pid = -1;
	waitpid(proc_start(argv), NULL, 0);
}

#endif
