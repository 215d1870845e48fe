/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which VM goes where when a host or a site is emptied. Pure: it is told what
 * there is, and asks `may` what else stands in the way of one move.
 *
 * What it keeps to:
 *
 * P1 a VM of higher priority is placed before one of lower; of equals, by name.
 * P2 no host gets more VMs, or more MiB of them, than it has room for, those
 *    that are on their way there counted.
 * P3 of the hosts a VM may go to it gets the one with the fewest VMs, then the
 *    one with the least memory in use, then the first by name. So equals are
 *    spread evenly, and the same question has the same answer.
 * P4 a VM that has no place has a reason: its own, or why no host will do.
 */
#ifndef LY_MANAGER_PLAN_PLAN_H
#define LY_MANAGER_PLAN_PLAN_H

#include "lib/base/text.h"

#define LY_PLAN_NOWHERE SIZE_MAX

struct ly_plan_host {
	const char *name;     /* "SITE/HOST" */
	const char *no;	      /* it takes none, and why; NULL: it does */
	uint32_t vms;	      /* there, and on their way there */
	uint32_t vms_most;    /* 0: as many as come */
	uint64_t memory_mb;   /* of these */
	uint64_t memory_most; /* 0: any */
};

struct ly_plan_vm {
	const char *name;
	const char *no; /* it does not move at all, and why; NULL: it may */
	uint32_t priority;
	uint64_t memory_mb;
	/* The plan's: */
	size_t host; /* its index, or LY_PLAN_NOWHERE */
	struct ly_why why;
};

struct ly_plan {
	struct ly_plan_host *hosts; /* vms and memory_mb are counted up */
	size_t hosts_n;
	struct ly_plan_vm *vms; /* sorted by the plan */
	size_t vms_n;
	/* LY_OK, or why this VM must not go to this host. NULL: all may. */
	enum ly_rc (*may)(void *arg, const struct ly_plan_vm *vm,
	    const struct ly_plan_host *host, struct ly_why *why);
	void *arg;
};

/* Sorts the VMs, gives each a host or a reason; returns how many have one. */
size_t ly_plan_make(struct ly_plan *p);

/* One more VM of so much memory: LY_FULL says what there is room for. */
LY_MUST enum ly_rc ly_plan_room(const struct ly_plan_host *h,
    uint64_t memory_mb, struct ly_why *why);

#endif
