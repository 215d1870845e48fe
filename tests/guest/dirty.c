/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guest/dirty.h"

#include <sys/mman.h>
#include <unistd.h>

#define SLICES 100 /* of a second */
#define PAGE 4096

static void *
dirty_run(void *arg)
{
	struct ly_dirty *d = arg;
	size_t pages = d->mib * (1024 * 1024 / PAGE);
	size_t slice = pages / SLICES + 1, at = 0;
	uint64_t n = 0;

	while (!atomic_load(&d->stop)) {
		for (size_t i = 0; i < slice; i++, at = (at + 1) % pages)
			memcpy(d->mem + at * PAGE, &(uint64_t){ ++n }, 8);
		usleep(1000000 / SLICES);
	}
	return NULL;
}

void
ly_dirty_stop(struct ly_dirty *d)
{
	if (d->mib == 0)
		return;
	atomic_store(&d->stop, true);
	pthread_join(d->thread, NULL);
	munmap(d->mem, d->mib << 20);
	d->mib = 0;
}

bool
ly_dirty_start(struct ly_dirty *d, size_t mib)
{
	void *mem = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return false;
	d->mem = mem;
	d->mib = mib;
	atomic_store(&d->stop, false);
	if (pthread_create(&d->thread, NULL, dirty_run, d) == 0)
		return true;
	munmap(mem, mib << 20);
	d->mib = 0;
	return false;
}
