/* SPDX-License-Identifier: Apache-2.0 */
/* timeout: 300 */
/*
 * The run: worlds one after another, each from its own seed, until the steps
 * are used up. A world that breaks a law is run again with fewer and fewer of
 * its faults, while it still does; what is left is printed.
 *
 *	SEED=n	  the first world's (1)
 *	STEPS=n	  in all (`make check` gives few)
 *	FAULTS=i,j,...	only these of the world SEED, one world, with its story
 *	VERBOSE=1 the story of every world
 *	SHRINK=0  a failure is only told
 */
#include "tests/sim/sim.h"

#include <time.h>

#define SETTLE_US                                                              \
	(1200 * SEC) /* after the faults; the longest limit is 600 s */
#define WHOLE_US (400 * SEC)
#define STEPS_CHECK 20000000
#define LONG_RUN 1000000000 /* it should have seen every cell */

struct world w;
struct stats stats;

static void
clean(uint64_t seed, bool verbose)
{
	static struct world was;
	struct pipe kept[CONNS][2];

	for (unsigned i = 0; i < CONNS; i++)
		for (unsigned k = 0; k < 2; k++)
			kept[i][k] = w.conn[i].end[k].in;
	w = was; /* zeroes */
	for (unsigned i = 0; i < CONNS; i++)
		for (unsigned k = 0; k < 2; k++) {
			w.conn[i].end[k].in.buf = kept[i][k].buf;
			w.conn[i].end[k].in.room = kept[i][k].room;
		}
	sim_queue_clear();
	qemu_reset();
	if (runs)
		memset(runs, 0, runs_room * sizeof(*runs));
	w.seed = seed;
	w.rng = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
	w.verbose = verbose;
}

static void
people(void)
{
	for (unsigned i = 0; i < NODES; i++) {
		struct node *n = &w.node[i];

		n->index = i;
		n->machine_up = true;
		n->rng = sim_rnd(&w.rng);
		n->skew_ms = 1 + sim_below(&w.rng, 1000000);
		if (i < HOSTS)
			ly_print(n->who, sizeof(n->who),
			    "spiffe://s%u/host/h%u", i % SITES, i);
		else
			ly_print(n->who, sizeof(n->who), "spiffe://s%u/manager",
			    i % SITES);
	}
	for (unsigned i = 0; i < HOSTS; i++) {
		w.agent[i].node = &w.node[i];
		w.agent[i].host = i;
	}
	for (unsigned i = 0; i < SITES; i++) {
		w.manager[i].node = &w.node[HOSTS + i];
		w.manager[i].site = i;
	}
}

static void
on_first_start(void *obj, uint64_t vm)
{
	(void)obj;
	manager_start((unsigned)vm, (unsigned)sim_below(&w.rng, HOSTS), false);
}

static void
begin(void)
{
	people();
	w.vms_n = 1 + (unsigned)sim_below(&w.rng, VMS);
	for (unsigned i = 0; i < w.vms_n; i++) {
		w.vm_home[i] = (unsigned)sim_below(&w.rng, HOSTS);
		w.tpm[i].rng = sim_rnd(&w.rng);
		tpm_start(&w.tpm[i]);
	}
	w.lat_us = 300 + sim_below(&w.rng, 4) * 8 * MS;
	w.think_us = (5 + sim_below(&w.rng, 60)) * MS;
	w.tpm_us = 200 + sim_below(&w.rng, 3) * 2 * MS;
	w.qmp_us = 200 + sim_below(&w.rng, 3) * MS;
	w.chunk_us = (5 + sim_below(&w.rng, 60)) * MS;
	w.leaky = sim_chance(&w.rng, 150);
	w.slow_guest = sim_chance(&w.rng, 300);
	w.calm_at = (20 + sim_below(&w.rng, 40)) * SEC;
	for (unsigned i = 0; i < SITES; i++)
		manager_boot(&w.manager[i]);
	for (unsigned i = 0; i < HOSTS; i++)
		agent_boot(&w.agent[i]);
	for (unsigned i = 0; i < w.vms_n; i++)
		sim_after(SEC, on_first_start, NULL, NULL, i);
}

static void
run_until(uint64_t at)
{
	while (!w.broken && w.now < at && sim_next())
		stats.steps++;
}

/* Asks once a second. */
static bool
wait_for(bool (*is)(char why[200]), uint64_t us, const char *what)
{
	uint64_t end = w.now + us;
	char why[200] = "";

	while (!w.broken && !is(why)) {
		if (w.now >= end)
			law_broken("%s: %s", what, why);
		run_until(w.now + SEC);
	}
	return !w.broken;
}

static bool
is_whole(char why[200])
{
	return oracle_settled(why) && oracle_whole(why);
}

/* True when no law was broken. */
static bool
run_world(uint64_t seed, const bool *on, bool verbose)
{
	clean(seed, verbose);
	begin();
	fault_plan(on);
	run_until(w.calm_at);
	fault_heal();
	if (wait_for(oracle_settled, SETTLE_US,
		"after the faults a migration does not end"))
		(void)wait_for(is_whole, WHOLE_US, "after the faults");
	run_until(w.now + 2 * SEC);
	stats.worlds++;
	stats.sim_us += w.now;
	return !w.broken;
}

/* ---- shrinking ---- */

static uint64_t
number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

/* The same law, whatever the numbers in it. */
static bool
same_law(const char *a, const char *b)
{
	while (*a && *b) {
		if (*a >= '0' && *a <= '9') {
			a++;
		} else if (*b >= '0' && *b <= '9') {
			b++;
		} else if (*a++ != *b++) {
			return false;
		}
	}
	return true;
}

static bool
still_fails(uint64_t seed, const bool *on, const char *law)
{
	return !run_world(seed, on, false) && same_law(w.law, law);
}

/* Leaves out items `at` and on; false if it takes them to fail. */
static bool
leave_out(uint64_t seed, bool *on, unsigned at, unsigned part, const char *law)
{
	bool was[ITEMS], any = false;

	memcpy(was, on, sizeof(was));
	for (unsigned i = at; i < at + part && i < ITEMS; i++) {
		any = any || (on[i] && i < w.items_n);
		on[i] = false;
	}
	if (any && still_fails(seed, on, law))
		return true;
	memcpy(on, was, sizeof(was));
	return false;
}

/* Ever smaller parts, and single ones until none can be left out. */
static void
shrink(uint64_t seed, bool *on)
{
	char law[sizeof(w.law)];
	bool less = true;

	ly_copy(law, sizeof(law), w.law);
	for (unsigned part = 64; less || part > 1;
	     part = part / 2 ? part / 2 : 1) {
		less = false;
		for (unsigned at = 0; at < w.items_n; at += part)
			less = leave_out(seed, on, at, part, law) || less;
	}
}

static void
tell_failure(uint64_t seed)
{
	bool on[ITEMS];
	const char *comma = "";

	printf("# seed %llu: %s\n", (unsigned long long)seed, w.law);
	if (!number("SHRINK", 1))
		return;
	memset(on, true, sizeof(on));
	shrink(seed, on);
	(void)run_world(seed, on, false);
	printf("# what is left of its faults: %s\n", w.law);
	for (unsigned i = 0; i < w.items_n; i++)
		if (on[i])
			fault_print(i);
	printf("# replay: make sim SEED=%llu FAULTS=",
	    (unsigned long long)seed);
	for (unsigned i = 0; i < w.items_n; i++)
		if (on[i]) {
			printf("%s%u", comma, i);
			comma = ",";
		}
	printf("%s\n", *comma ? "" : "none");
}

/* ---- the program ---- */

static void
only(const char *list, bool *on)
{
	memset(on, 0, ITEMS * sizeof(*on));
	while (*list >= '0' && *list <= '9') {
		char *end;
		unsigned long i = strtoul(list, &end, 10);

		if (i < ITEMS)
			on[i] = true;
		list = *end ? end + 1 : end;
	}
}

static bool
same_twice(uint64_t seed)
{
	bool on[ITEMS];
	uint64_t hash;

	memset(on, true, sizeof(on));
	(void)run_world(seed, on, false);
	hash = w.hash;
	(void)run_world(seed, on, false);
	return hash == w.hash;
}

static void
tell_stats(double seconds)
{
#define N(x) ((unsigned long long)stats.x)
	printf("# %llu worlds, %llu steps, %.0f a second; %.1f hours of"
	       " theirs\n",
	    N(worlds), N(steps), (double)stats.steps / seconds,
	    (double)stats.sim_us / 3.6e9);
	printf("# %llu commands, %llu answers, %llu failures; %llu switches"
	       " begun, %llu of them attested; %llu claimed, %llu aborted\n",
	    N(commands), N(answers), N(failures), N(switches), N(attested),
	    N(claimed), N(aborted));
	printf("# %llu of these commands over links of which one in a hundred"
	       " is cut\n",
	    N(leaky));
	printf("# %llu faults: %llu cuts, %llu kills, %llu lies; %llu cold"
	       " restarts after them\n",
	    N(faults), N(cuts), N(kills), N(lies), N(cold));
#undef N
}

static double
clock_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool
run_all(uint64_t seed, uint64_t steps, bool verbose)
{
	bool on[ITEMS];

	memset(on, true, sizeof(on));
	do {
		if (!run_world(seed, on, verbose)) {
			tell_failure(seed);
			return false;
		}
		seed++;
	} while (stats.steps < steps);
	return true;
}

int
main(void)
{
	uint64_t seed = number("SEED", 1);
	uint64_t steps = number("STEPS", STEPS_CHECK);
	const char *list = getenv("FAULTS");
	bool on[ITEMS], good;
	double began = clock_s();

	if (list && *list) {
		only(list, on);
		good = run_world(seed, on, true);
		printf("%s: %s\n",
		    good ? "ok no_law_is_broken" : "not ok no_law_is_broken",
		    w.law);
		return !good;
	}
	good = run_all(seed, steps, number("VERBOSE", 0));
	tell_stats(clock_s() - began);
	printf("%s\n",
	    good ? "ok no_law_is_broken" :
		   "not ok no_law_is_broken: see above");
	if (good) {
		bool same = same_twice(seed);
		bool all = steps >= LONG_RUN;
		unsigned holes = cover_report(all);

		printf("%s\n",
		    same ? "ok a_seed_run_twice_gives_one_trace" :
			   "not ok a_seed_run_twice_gives_one_trace"
			   ": it does not");
		if (all)
			printf("%s every_cell_is_visited_or_has_a_reason:"
			       " %u are left\n",
			    holes ? "not ok" : "ok", holes);
		good = same && !(all && holes);
	}
	return !good;
}
