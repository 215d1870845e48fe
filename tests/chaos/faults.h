/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The faults, one row each (faults.c), and what each cost the guest.
 */
#ifndef LY_TESTS_CHAOS_FAULTS_H
#define LY_TESTS_CHAOS_FAULTS_H

#include "tests/chaos/chaos.h"

/* What became of the migrations. */
struct moves {
	unsigned begun, done, undone, open;
	bool under_way;
	uint64_t ended_ns;
};

extern struct moves moves;

/* Only these kinds from now on: names with commas between; NULL: all. */
void faults_choose(const char *names);
bool faults_chosen(const char *name);
/* The next of the schedule: what it is depends on the seed alone. Returns the
 * milliseconds from it to the one after it. */
struct planned {
	unsigned kind;
	uint64_t pick;
	unsigned last_ms, then_ms;
};
struct planned faults_next(uint64_t *seed);
void faults_print(const struct planned *p, double at);
/* Now. What it hits depends on where the guest is. */
void faults_do(const struct planned *p);
/* Ends those whose time is over. */
void faults_turn(void);
/* Ends all of them. */
void faults_heal(void);
/* The guest got on: charged to the faults that may have held it up. */
void faults_charge(uint64_t gap_ms, uint64_t since_ms);
void faults_table(void);
/* A migration to another host than where the guest is, if none is under way. */
void move_begin(uint64_t pick);

#endif
