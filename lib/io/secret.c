/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/io/secret.h"

#include "lib/base/text.h"
#include "lib/io/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static size_t
pages(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

void *
ly_secret_new(size_t len)
{
	static bool said;
	void *at = mmap(NULL, pages(len), PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		abort();
	madvise(at, pages(len), MADV_DONTDUMP);
	madvise(at, pages(len), MADV_DONTFORK);
	if (mlock(at, pages(len)) != 0 && !said) {
		said = true;
		ly_log(LY_WARNING, "keys",
		    "memory for keys cannot be locked (%s): it may be"
		    " swapped out",
		    strerror(errno));
	}
	return at;
}

void
ly_secret_free(void *secret, size_t len)
{
	if (!secret)
		return;
	ly_wipe(secret, len);
	munmap(secret, pages(len));
}

void
ly_secret_begin(void)
{
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
