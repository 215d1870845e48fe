/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/io/secret.h"
#include "tests/test.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The address sanitizer makes mlock() do nothing. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define LOCKS false
#else
#define LOCKS true
#endif

/* The flags of the mapping that begins at `at`, as the kernel shows them. */
static void
flags_of(const void *at, char *out, size_t size)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512], want[32];
	bool here = false;

	out[0] = '\0';
	WANT(f);
	snprintf(want, sizeof(want), "%lx-", (unsigned long)(uintptr_t)at);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, want, strlen(want)) == 0)
			here = true;
		else if (here && strncmp(line, "VmFlags:", 8) == 0) {
			snprintf(out, size, "%s", line);
			break;
		}
	}
	fclose(f);
}

TEST(memory_for_keys_is_in_no_dump_no_swap_and_no_child)
{
	char flags[512];
	uint8_t *at = ly_secret_new(100);

	for (unsigned i = 0; i < 100; i++)
		WANT_INT(at[i], 0);
	flags_of(at, flags, sizeof(flags));
	WANT(strstr(flags, " dd"));	      /* not dumped */
	WANT(strstr(flags, " dc"));	      /* not in a child */
	WANT(!LOCKS || strstr(flags, " lo")); /* locked */
	ly_secret_free(at, 100);
	ly_secret_free(NULL, 100);
}

TEST(a_daemon_has_no_core_dump)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		ly_secret_begin();
		_exit(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
	}
	WANT(waitpid(pid, &status, 0) == pid);
	WANT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_MAIN()
