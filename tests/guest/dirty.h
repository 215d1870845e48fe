/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that changes all the time, so that a migration has work to do. */
#ifndef LY_GUEST_DIRTY_H
#define LY_GUEST_DIRTY_H

#include "lib/base/base.h"

#include <pthread.h>
#include <stdatomic.h>

struct ly_dirty {
	pthread_t thread;
	atomic_bool stop;
	uint8_t *mem;
	size_t mib; /* 0: none */
};

/* One word of each page of `mib` MiB, once a second, until stopped. */
LY_MUST bool ly_dirty_start(struct ly_dirty *d, size_t mib);
void ly_dirty_stop(struct ly_dirty *d);

#endif
