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
		"WRITTEN", "GONE", "TICK", "PEEK" } },
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
		"FENCED", "SEALED", "TICK" } },
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
		"committed", "cleaned", "aborting", "aborted", "attesting",
		"keying" },
	    { "GO", "SAVED", "ANSWERED", "LATE", "HOST_LOST", "CANCEL",
		"SUPERSEDE", "TICK", "DECIDED" } },
};

/* Cells that no world of ours visits but by chance, by their names; an empty
 * state is any. */
#define NOT_ASKED "the answer to what is not asked there"
#define ONE_SHELL "its shell does not say it there"
#define NO_GUEST "no guest runs here then"
#define LIAR "only from a peer that lies, and by chance"
#define NOT_HERE "not simulated: see its unit test"

static const struct {
	enum machine m;
	const char *state, *kinds, *why;
} never[] = {
	{ M_HOME, "attached", "WRITTEN TICK", ONE_SHELL },
	{ M_HOME, "detached", "WRITTEN TICK", ONE_SHELL },
	{ M_HOME, "prepared", "WRITTEN", ONE_SHELL },
	{ M_HOME, "quiesced", "WRITTEN TICK", ONE_SHELL },
	{ M_HOME, "", "ANSWER", "not entered while the TPM runs" },
	{ M_HOME, "", "CANCEL", LIAR },
	{ M_HOME, "quiesced", "COMMAND", LIAR },
	{ M_HOME, "detached", "DETACH RELEASE", LIAR },
	{ M_HOME, "quiesced", "DETACH", LIAR },
	{ M_AWAY, "", "ATTACH STAGE CLAIM RELEASE ASK SETTLED DETACH",
	    ONE_SHELL },
	{ M_AWAY, "", "COMMAND RESET CANCEL", NO_GUEST },
	{ M_AWAY, "", "STALE", NOT_HERE },
	{ M_AWAY, "none", "UP DOWN LEASE TICK", "it has left its link" },
	{ M_AWAY, "",
	    "HEAR_GRANTED HEAR_ANSWER HEAR_REFUSED HEAR_STAGED"
	    " HEAR_RELEASED HEAR_DETACHED HEAR_OUTCOME HEAR_FENCE",
	    LIAR },
	{ M_GUARD, "", "LOOKED STOPPED GONE_ON", NOT_ASKED },
	{ M_GUARD, "", "COMMAND FREE SAW_RUN WAKE", ONE_SHELL },
	{ M_SOURCE, "over", "*", "its shell ends with it" },
	{ M_SOURCE, "",
	    "OPEN SET STATUS STOPPED RELEASED FATE RESUMED HOOKED SEALED",
	    NOT_ASKED },
	{ M_SOURCE, "", "HINT END", "QEMU says it in other states" },
	{ M_SOURCE, "", "READY LOST", "the connection is there no more" },
	{ M_SOURCE, "", "FENCED", "force within the switch: by chance" },
	{ M_GUARD, "look", "BAR TICK", "some milliseconds: by chance" },
	{ M_SOURCE, "setup", "GONE CALLOFF", "some milliseconds: by chance" },
	{ M_SOURCE, "resume", "GONE", "some milliseconds: by chance" },
	{ M_SOURCE, "stopping", "GONE CALLOFF TICK",
	    "some milliseconds: by chance" },
	{ M_DEST, "over", "*", "its shell ends with it" },
	{ M_DEST, "", "SET STATUS GRANTED RESUMED HOOKED", NOT_ASKED },
	{ M_DEST, "", "STREAM FIN LOST", "its shell takes one stream" },
	{ M_DEST, "", "HINT BROKEN", "QEMU says it in other states" },
	{ M_DEST, "", "FENCED", "force within the switch: by chance" },
	{ M_DEST, "opening", "GONE DROP TICK", "some milliseconds: by chance" },
	{ M_DEST, "loading", "GONE", "some milliseconds: by chance" },
	{ M_DEST, "taking", "DROP", "the fate is known by then" },
	{ M_DEST, "resuming", "GONE DROP", "some milliseconds: by chance" },
	{ M_LINK, "closed", "*", "its shell is gone" },
	{ M_LINK, "",
	    "CONNECTED SECURED DISTRUST CONSENT READ WROTE HELD TICK"
	    " GONE CLOSE",
	    ONE_SHELL },
	{ M_LINK, "", "HELLO WELCOME PING PONG BYE OTHER",
	    "a frame out of order: see fuzz_frame and test_link" },
	{ M_DIAL, "", "*", ONE_SHELL },
	{ M_LEASE, "", "LINKED LOST HEARD", ONE_SHELL },
	{ M_SAGA, "cleaned", "*", "its shell forgets it" },
	{ M_SAGA, "aborted", "*", "its shell forgets it" },
	{ M_SAGA, "", "HOST_LOST DECIDED", ONE_SHELL },
	{ M_SAGA, "preparing", "LATE", "no fault lasts as long" },
};

void
cover(enum machine m, unsigned state, unsigned kind)
{
	if (state < STATES && kind < KINDS)
		seen[m][state][kind]++;
}

/* `word` is one of the words. */
static bool
among(const char *words, const char *word)
{
	size_t n = strlen(word);

	if (strcmp(words, "*") == 0)
		return true;
	for (const char *at = words; (at = strstr(at, word)); at += n)
		if ((at == words || at[-1] == ' ') &&
		    (at[n] == ' ' || at[n] == '\0'))
			return true;
	return false;
}

static const char *
excuse(enum machine m, unsigned state, unsigned kind)
{
	for (size_t i = 0; i < LY_COUNT(never); i++)
		if (never[i].m == m &&
		    (!*never[i].state ||
			strcmp(never[i].state, table[m].state[state]) == 0) &&
		    among(never[i].kinds, table[m].kind[kind]))
			return never[i].why;
	return NULL;
}

static void
say(enum machine m, unsigned state, unsigned kind, const char *why)
{
	printf("# %s: %s x %s was not visited: %s\n", table[m].name,
	    table[m].state[state], table[m].kind[kind],
	    why ? why : "a HOLE in the simulator");
}

static unsigned
one(enum machine m, bool print)
{
	unsigned cells = 0, visited = 0, holes = 0;

	for (unsigned s = 0; s < table[m].states; s++)
		for (unsigned k = 0; k < table[m].kinds; k++) {
			const char *why = excuse(m, s, k);

			cells++;
			if (seen[m][s][k]) {
				visited++;
				continue;
			}
			holes += !why;
			if (print)
				say(m, s, k, why);
		}
	printf(
	    "# %-6s %3u of %3u cells visited, %u for a reason not, %u left\n",
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
