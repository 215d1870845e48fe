/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emptying a host or a site: a job that is a row of the store, and the
 * migrations that name it. Each of those is an ordinary one; this only begins
 * them, so many at a time, and counts. It goes on after a restart.
 *
 * A VM is tried once each time the job is asked for. One that is at the target
 * site already, by an earlier try, counts as moved.
 */
#ifndef LY_MANAGER_IO_EVACUATE_H
#define LY_MANAGER_IO_EVACUATE_H

#include "manager/io/manager.h"

#define LY_EVACS_MAX 16	   /* open at once; more are refused */
#define LY_PARALLEL_MAX 64 /* migrations of one, at once */
#define LY_PARALLEL 2

/* On disk. */
enum ly_evac_state {
	LY_EVAC_OPEN = 0,
	LY_EVAC_CALLED_OFF = 1, /* no new ones; some may still run */
	LY_EVAC_OVER = 2,
};

struct ly_evac_wish {
	const char *from; /* a host or a site, as the operator names it */
	const char *to;	  /* a site */
	uint32_t parallel;
	uint64_t bandwidth; /* of all together; 0: no limit */
	const char *who;    /* asks */
};

/* What would be done: {"vms":[{vm, priority, memory_mb, from, to, why}],
 * "moves", "stays", "notes"}. */
LY_MUST enum ly_rc ly_evac_plan(struct ly_manager *m,
    const struct ly_evac_wish *w, json_t **plan, struct ly_why *why);
/* Begins it, or goes on with the one that is open. `client` hears how it goes
 * and how it ended; 0: nobody does. */
LY_MUST enum ly_rc ly_evac_begin(struct ly_manager *m,
    const struct ly_evac_wish *w, uint64_t client, struct ly_why *why);
/* No new moves; `running` ones come to their end. `from` NULL: the only one
 * that is open. */
LY_MUST enum ly_rc ly_evac_cancel(struct ly_manager *m, const char *from,
    unsigned *running, struct ly_why *why);

/* Has this host room for one more VM, of so much memory? One that is there
 * already, or on its way, is not counted twice. */
LY_MUST enum ly_rc ly_host_room(struct ly_manager *m, const struct ly_host *h,
    const struct ly_id *vm, uint64_t memory_mb, struct ly_why *why);

/* ---- for manager.c ---- */

LY_MUST enum ly_rc ly_evacs_load(struct ly_manager *m, struct ly_why *why);
void ly_evacs_tick(struct ly_manager *m);
void ly_evacs_free(struct ly_manager *m);

#endif
