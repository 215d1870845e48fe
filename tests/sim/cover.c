/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which cells of the machines' tables were visited: state by event. A cell that
 * cannot be is in a list here, with why; any other that a long run does not
 * visit is a hole in the simulator.
 */
#include "tests/sim/sim.h"

#define STATES 16u
#define KINDS 32u

static uint64_t seen[MACHINES][STATES][KINDS];

static const struct {
	const char *name;
	unsigned states, kinds;
	const char *state[STATES];
	const char *kind[KINDS];
} table[MACHINES] = {
	[M_HOME] = { "home", LY_REC_STATES + 1, LY_HOME_KINDS,
	    { "detached", "attached", "prepared", "quiesced", "writing" },
	    { "ATTACH", "RESUME", "COMMAND", "CANCEL", "ANSWER", "TPM_DEAD",
		"DETACH", "PRESTAGE", "RELEASE", "CLAIM", "ABORT", "QUERY",
		"WRITTEN", "GONE", "TICK" } },
	[M_AWAY] = { "away", LY_AWAY_STATES, LY_AWAY_KINDS,
	    { "none", "attaching", "staging", "staged", "claiming", "held",
		"releasing", "released", "detaching", "dead" },
	    { "ATTACH", "STAGE", "CLAIM", "RELEASE", "ASK", "SETTLED", "DETACH",
		"COMMAND", "RESET", "CANCEL", "STALE", "UP", "DOWN",
		"HEAR_GRANTED", "HEAR_ANSWER", "HEAR_REFUSED", "HEAR_STAGED",
		"HEAR_RELEASED", "HEAR_DETACHED", "HEAR_OUTCOME", "HEAR_FENCE",
		"LEASE", "TICK" } },
	[M_GUARD] = { "guard", LY_GUARD_STATES, LY_GUARD_KINDS,
	    { "rest", "look", "stop", "cont" },
	    { "COMMAND", "ANSWERED", "BAR", "FREE", "LOOKED", "STOPPED",
		"GONE_ON", "SAW_RUN", "WAKE", "TICK" } },
	[M_SOURCE] = { "source", LY_SRC_STATES, LY_SRC_KINDS,
	    { "dial", "setup", "copy", "stopping", "letgo", "finish", "wait",
		"ask", "undo", "regain", "resume", "quit", "over" },
	    { "OPEN", "SET", "STATUS", "HINT", "STOPPED", "END", "RELEASED",
		"READY", "FATE", "RESUMED", "LOST", "GONE", "CALLOFF", "HOOKED",
		"FENCED", "TICK" } },
	[M_DEST] = { "dest", LY_DST_STATES, LY_DST_KINDS,
	    { "opening", "listening", "copy", "loading", "claiming", "taking",
		"resuming", "quitting", "over" },
	    { "SET", "STREAM", "FIN", "STATUS", "HINT", "GRANTED", "RESUMED",
		"LOST", "BROKEN", "GONE", "DROP", "HOOKED", "FENCED",
		"TICK" } },
	[M_LINK] = { "link", LY_LINK_STATES, LY_LINK_NEWS,
	    { "connecting", "tls", "greeting", "up", "closing", "closed" },
	    { "CONNECTED", "SECURED", "DISTRUST", "HELLO", "WELCOME", "PING",
		"PONG", "BYE", "OTHER", "CONSENT", "READ", "WROTE", "HELD",
		"TICK", "GONE", "CLOSE" } },
	[M_DIAL] = { "dial", LY_REDIAL_STATES, LY_REDIAL_NEWS,
	    { "idle", "trying", "up", "waiting", "stopped" },
	    { "START", "OPENED", "LOST", "DUE", "STOP" } },
	[M_LEASE] = { "lease", LY_LEASE_STATES, LY_LEASE_NEWS, { "down", "up" },
	    { "LINKED", "LOST", "HEARD", "TICK" } },
	[M_SAGA] = { "saga", LY_SAGA_STATES, LY_SAGA_KINDS,
	    { "planned", "preparing", "copying", "settling", "doubt",
		"committed", "cleaned", "aborting", "aborted" },
	    { "GO", "SAVED", "ANSWERED", "LATE", "HOST_LOST", "CANCEL",
		"SUPERSEDE", "TICK" } },
};

#define ANY 0xff

/* Cells that no world of ours can visit. */
static const struct {
	enum machine m;
	uint8_t state, kind;
	const char *why;
} never[] = {
	{ M_SOURCE, LY_SRC_OVER, ANY, "its shell ends with it" },
	{ M_DEST, LY_DST_OVER, ANY, "its shell ends with it" },
};

void
cover(enum machine m, unsigned state, unsigned kind)
{
	if (state < STATES && kind < KINDS)
		seen[m][state][kind]++;
}

static const char *
excuse(enum machine m, unsigned state, unsigned kind)
{
	for (size_t i = 0; i < LY_COUNT(never); i++)
		if (never[i].m == m &&
		    (never[i].state == ANY || never[i].state == state) &&
		    (never[i].kind == ANY || never[i].kind == kind))
			return never[i].why;
	return NULL;
}

static unsigned
one(enum machine m, bool print)
{
	unsigned cells = 0, visited = 0, holes = 0;

	for (unsigned s = 0; s < table[m].states; s++)
		for (unsigned k = 0; k < table[m].kinds; k++) {
			const char *why = excuse(m, s, k);

			cells++;
			visited += seen[m][s][k] > 0;
			if (seen[m][s][k] && why)
				printf("# %s: %s x %s is visited, and is in"
				       " the list of cells that cannot be\n",
				    table[m].name, table[m].state[s],
				    table[m].kind[k]);
			if (seen[m][s][k] || why)
				continue;
			holes++;
			if (print)
				printf("# %s: %s x %s was never visited\n",
				    table[m].name, table[m].state[s],
				    table[m].kind[k]);
		}
	printf("# %-6s %3u of %3u cells visited, %u cannot be, %u left\n",
	    table[m].name, visited, cells, cells - visited - holes, holes);
	return holes;
}

unsigned
cover_report(bool print)
{
	unsigned holes = 0;

	for (unsigned m = 0; m < MACHINES; m++)
		holes += one((enum machine)m, print);
	return holes;
}
