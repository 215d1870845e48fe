/* SPDX-License-Identifier: Apache-2.0 */
/*
 * make chaos: what its files share. One thread, one loop (chaos.c); the world
 * is real agents, managers, chips and a QEMU that was set up by chaos.sh, and
 * everything is looked at from outside: the guest's own log (guestlog.c),
 * QEMU's own words on whether its guest runs (qmp.c), exit codes (daemons.c).
 * Nothing of lanyard is linked.
 *
 * A violation is what must never be, whatever the faults; it is printed at
 * once and counted by its class, each of which is a test of its own at the
 * end.
 */
#ifndef LY_TESTS_CHAOS_H
#define LY_TESTS_CHAOS_H

#include "tests/bench/common.h"

#define HOSTS_N 3
#define VM "web1"

enum law { ONE_COPY, LOG, ANSWERS, DAEMONS, MOVES, ALIVE, LAWS };

struct host {
	const char *name, *site;
	char relay[160]; /* control socket of the relay before it */
	char run[160];	 /* where its VM's files are */
	char state[160];
	bool small; /* its state is on a disk that can be filled */
};

struct world {
	const char *lab, *build;
	struct host host[HOSTS_N]; /* 0: the home */
	uint64_t start_ns;
	bool stop; /* a signal has come */
};

extern struct world world;

/* Text of at most 160 characters: "LAB/REST". */
void path_in(char out[160], const char *fmt, ...) LY_PRINTF(2, 3);

/* Seconds since the start, for what is printed. */
double since_start(void);
/* A line of the story, with the time before it. */
void tell(const char *fmt, ...) LY_PRINTF(1, 2);
void violation(enum law law, const char *fmt, ...) LY_PRINTF(2, 3);
unsigned violations(enum law law);

/* splitmix64: the same numbers for the same seed, on every machine. */
uint64_t roll(uint64_t *seed);
/* low to high, both included. */
uint64_t roll_in(uint64_t *seed, uint64_t low, uint64_t high);

#endif
