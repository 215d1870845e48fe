/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/hook.h"
#include "lib/base/text.h"
#include "lib/io/file.h"
#include "tests/test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static uv_loop_t loop;
static char dir[64], path[96];
static unsigned told;
static enum ly_rc got;
static char got_why[LY_WHY_MAX];

static void
on_done(void *arg, enum ly_rc rc, const char *why)
{
	WANT(arg == &told);
	told++;
	got = rc;
	ly_copy(got_why, sizeof(got_why), why);
}

static void
script(const char *text)
{
	int fd;

	if (!dir[0]) {
		strcpy(dir, "/tmp/ly-hook.XXXXXX");
		WANT(mkdtemp(dir));
		ly_print(path, sizeof(path), "%s/hook", dir);
	}
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	WANT(fd >= 0);
	WANT(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static struct ly_hook *
start(const char *which, uint64_t timeout_ms)
{
	struct ly_hook_params p = { .kind = LY_HOOK_CLAIM,
		.path = which,
		.timeout_ms = timeout_ms,
		.vm = "web1",
		.host = "spiffe://north/host/n1",
		.home = "spiffe://south/host/s1",
		.dir = dir,
		.id = { { 0x11 } },
		.mig = { { 0x22 } },
		.epoch = 7 };

	told = 0;
	uv_loop_init(&loop);
	return ly_hook_run(&loop, &p, on_done, &told);
}

/* To the end of the hook. */
static void
run(const char *which, uint64_t timeout_ms)
{
	start(which, timeout_ms);
	uv_run(&loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&loop), 0);
	WANT_INT(told, 1);
}

TEST(no_hook_is_a_success)
{
	WANT(!start("", 1000));
	WANT_INT(told, 1);
	WANT_INT(got, LY_OK);
	uv_loop_close(&loop);
}

TEST(a_hook_is_told_all_by_its_environment_and_has_no_other)
{
	script("#!/bin/sh\nenv | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort |"
	       " tr '\\n' ' '; exit 3\n");
	setenv("LANYARD_SECRET", "x", 1);
	run(path, 5000);
	WANT_INT(got, LY_OUTSIDE);
	WANT(!strstr(got_why, "SECRET"));
	WANT(strstr(got_why,
	    "on-claim: status 3: LANYARD_EPOCH=7"
	    " LANYARD_HOME=spiffe://south/host/s1 LANYARD_HOOK=on-claim"
	    " LANYARD_HOST=spiffe://north/host/n1 LANYARD_MIGRATION=22"));
}

TEST(its_status_says_whether_it_worked)
{
	script("#!/bin/sh\necho fine\n");
	run(path, 5000);
	WANT_INT(got, LY_OK);
	script("#!/bin/sh\necho first; echo the disk is locked >&2; exit 1\n");
	run(path, 5000);
	WANT_INT(got, LY_OUTSIDE);
	WANT_STR(got_why, "on-claim: status 1: the disk is locked");
	script("#!/bin/sh\nkill -9 $$\n");
	run(path, 5000);
	WANT_STR(got_why, "on-claim: status 137");
}

TEST(one_that_does_not_end_is_killed_and_its_children_too)
{
	char left[128];
	struct stat st;

	script("#!/bin/sh\n(sleep 1; touch \"$LANYARD_RUN/left\") &\n"
	       "echo waiting; sleep 60\n");
	run(path, 200);
	WANT_INT(got, LY_OUTSIDE);
	WANT(strstr(got_why, "killed") && strstr(got_why, "waiting"));
	usleep(1200000);
	ly_print(left, sizeof(left), "%s/left", dir);
	WANT(stat(left, &st) != 0);
}

TEST(one_that_leaves_a_child_behind_is_over_when_it_ends_itself)
{
	script("#!/bin/sh\nsleep 3 &\nexit 0\n");
	run(path, 1000);
	WANT_INT(got, LY_OK);
}

TEST(one_that_talks_without_end_costs_nothing)
{
	script("#!/bin/sh\nyes nonsense 2>/dev/null\n"
	       "echo lost 2>/dev/null || exit 4\n");
	run(path, 5000);
	WANT(strstr(got_why, "on-claim: status 4"));
}

TEST(one_that_is_not_there_has_failed)
{
	WANT(!start("/nonexistent/hook", 1000));
	WANT_INT(told, 1);
	WANT_INT(got, LY_OUTSIDE);
	WANT(strstr(got_why, "/nonexistent/hook"));
	uv_loop_close(&loop);
}

TEST(who_forgets_it_is_not_told)
{
	struct ly_hook *h;

	script("#!/bin/sh\nexit 0\n");
	h = start(path, 1000);
	WANT(h);
	ly_hook_forget(h);
	uv_run(&loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&loop), 0);
	WANT_INT(told, 0);
	unlink(path);
	rmdir(dir);
}

/* An agent that is killed right after it has started its hook. */
static void
start_and_die(uint64_t timeout_ms)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		start(path, timeout_ms);
		_exit(0);
	}
	WANT(waitpid(child, &status, 0) == child && status == 0);
}

#define LOGS "echo begin >>$LANYARD_RUN/log; "

static void
want_log(const char *want)
{
	char log[96], text[128] = "";
	int fd;

	ly_print(log, sizeof(log), "%s/log", dir);
	fd = open(log, O_RDONLY | O_CLOEXEC);
	WANT(fd >= 0 && read(fd, text, sizeof(text) - 1) >= 0);
	close(fd);
	unlink(log);
	WANT_STR(text, want);
}

TEST(one_of_an_agent_that_died_ends_before_the_next_begins)
{
	script("#!/bin/sh\n" LOGS "sleep 0.3; echo end >>$LANYARD_RUN/log");
	start_and_die(5000);
	run(path, 5000);
	WANT_INT(got, LY_OK);
	want_log("begin\nend\nbegin\nend\n");
}

TEST(one_of_an_agent_that_died_is_killed_when_its_time_is_over)
{
	script(
	    "#!/bin/sh\n" LOGS
	    "[ -e $LANYARD_RUN/second ] || { >$LANYARD_RUN/second; sleep 60; }");
	start_and_die(200);
	run(path, 200);
	WANT_INT(got, LY_OK);
	want_log("begin\nbegin\n");
}

TEST(the_pid_of_one_that_has_ended_may_be_anybodys)
{
	char file[96];

	script("#!/bin/sh\n");
	ly_print(file, sizeof(file), "%s/hook.pid", dir);
	WANT_INT(ly_file_write(file, "1 1\n", 4, 0644, NULL), LY_OK);
	run(path, 1000);
	WANT_INT(got, LY_OK);
}

TEST_MAIN()
