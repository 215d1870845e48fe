/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of the switch for spin: RELEASE, CLAIM and ABORT as home.c decides
 * them, source and destination as agent/stream does, ATTACH by force.
 * tests/io/test_model.sh checks every run of it, and that each RULE is needed:
 * without it (-DWITHOUT_...) spin finds a run that ends in an assert.
 *
 * One VM and its COPIES, each on a host of its own: 0 is where it was started,
 * the others are made by the migrations of the same number, or by cold starts.
 * Two things are worse here than in the world. A message once sent stays in
 * the air, to be heard never, late, often, in any order. And a host may die
 * at any step, CRASHES in all. An agent that restarts is not shown: what it has
 * to know survives it, or its copy never runs again, which is GONE.
 *
 * Nothing is ever undone but by the steps below, so every run ends; and where
 * it ends (timeout), no migration is open, and the VM runs.
 */
#ifndef COPIES
#define COPIES 4
#endif
#ifndef CRASHES
#define CRASHES 2
#endif

mtype = { NONE, EMPTY, RUNS, STOPPED, RELEASED, LOADED, GONE };	/* a copy */
mtype = { ATTACHED, PREPARED, QUIESCED };			/* the record */
mtype = { OPEN, CLAIMED, ABORTED };			/* a migration's fate */

/* What the hosts know. */
mtype copy[COPIES] = NONE;
byte at[COPIES];		/* the epoch this copy was granted */
byte to[COPIES];		/* the migration it is the source of; 0: none */
byte running;			/* copies that run a guest */

/* The home's record, on disk before anybody is told. */
mtype rec = ATTACHED, fate[COPIES] = OPEN;
byte epoch = 1, top = 1, holder, mig;

/* In the air, for ever: by migration. */
bool release[COPIES], fin[COPIES], claim[COPIES], abort[COPIES];
byte told[COPIES];		/* OUTCOME: the epochs it was told in, as bits */

byte next = 1, crashes;

inline resume(c) {		/* LAW: a VM runs in one place */
	copy[c] = RUNS; running++; assert(running == 1)
}

inline settle(m, what) {	/* LAW: one fate, for ever */
	assert(fate[m] == OPEN); fate[m] = what
}

inline grant(c) {		/* LAW: the epoch only rises */
	epoch++; at[c] = epoch; holder = c; rec = ATTACHED;
	assert(epoch > top); top = epoch
}

proctype Home() {
end:	do
	:: atomic { rec == PREPARED && release[mig] -> rec = QUIESCED }
	:: atomic { claim[mig] &&
#ifndef WITHOUT_RELEASE		/* RULE: the source has let go first */
	       rec == QUIESCED &&
#endif
	       rec != ATTACHED -> settle(mig, CLAIMED); grant(mig) }
	:: atomic { abort[mig] && rec != ATTACHED ->
		settle(mig, ABORTED); rec = ATTACHED }
#ifdef WITHOUT_VAULT		/* RULE: no old record comes back */
	:: atomic { rec == ATTACHED && fate[mig] == CLAIMED && epoch == 2 ->
		fate[mig] = OPEN; rec = QUIESCED; epoch = 1; holder = 0 }
#endif
	od
}

proctype Tell(byte m) {		/* asked again and again */
end:	do
	:: atomic { fate[m] != OPEN && !(told[m] & 1 << epoch) ->
		told[m] = told[m] | 1 << epoch }
	od
}

proctype Copy(byte c) {
end:	do
	/* a destination */
	:: atomic { copy[c] == EMPTY && fin[c] -> copy[c] = LOADED }
	:: atomic { copy[c] == LOADED && !claim[c] -> claim[c] = true }
	:: atomic { copy[c] == LOADED &&
#ifndef WITHOUT_CLAIM_OK	/* RULE: the home's word before the guest */
	       told[c] && fate[c] == CLAIMED &&
#endif
	       true -> resume(c) }
	:: atomic { (copy[c] == EMPTY || copy[c] == LOADED) &&
	       told[c] && fate[c] == ABORTED -> copy[c] = GONE }
	/* a source */
	:: atomic { copy[c] == RUNS && rec == PREPARED && holder == c &&
	       to[c] != mig && fate[mig] == OPEN ->
		to[c] = mig; copy[c] = STOPPED; running-- }
	:: atomic { copy[c] == STOPPED && !fin[to[c]] -> fin[to[c]] = true }
	:: atomic { copy[c] == STOPPED && !abort[to[c]] ->
		release[to[c]] = true; copy[c] = RELEASED }
	:: atomic { copy[c] == STOPPED && !release[to[c]] -> /* gives up */
		abort[to[c]] = true; resume(c) }
	:: atomic { copy[c] == RELEASED && !abort[to[c]] -> abort[to[c]] = true }
	:: atomic { copy[c] == RELEASED && told[to[c]] && fate[to[c]] == CLAIMED ->
		copy[c] = GONE }
	:: atomic { copy[c] == RELEASED &&
#ifndef WITHOUT_ABORTED		/* RULE: nor again, and in its own epoch */
	       fate[to[c]] == ABORTED && told[to[c]] & 1 << at[c] &&
#endif
	       true -> resume(c) }
	:: atomic { copy[c] == RELEASED && fate[to[c]] == ABORTED &&
	       told[to[c]] >> (at[c] + 1) -> copy[c] = GONE }
	/* its host dies */
	:: atomic { copy[c] != NONE && copy[c] != GONE && crashes < CRASHES ->
		crashes++;
		if
		:: copy[c] == RUNS -> running--
		:: else
		fi;
		copy[c] = GONE }
	od
}

proctype Manager() {
end:	do
	:: atomic { rec == ATTACHED && copy[holder] == RUNS && next < COPIES ->
		rec = PREPARED; mig = next; copy[next] = EMPTY; next++ }
	:: atomic { rec != ATTACHED && !abort[mig] -> abort[mig] = true }
	:: atomic {		/* a cold start, of what has run before */
#ifndef WITHOUT_PROOF		/* RULE: the holder is known to be stopped */
	       copy[holder] == GONE &&
#endif
	       rec != QUIESCED && next < COPIES ->
		if
		:: rec == PREPARED -> settle(mig, ABORTED)
		:: else
		fi;
		grant(next); resume(next); next++ }
	od
}

init {
	byte c;

	atomic {
		at[0] = 1; resume(0);
		run Home(); run Manager();
		for (c : 0 .. COPIES - 1) { run Copy(c); run Tell(c) }
	}
	timeout ->		/* nothing can happen any more */
	assert(rec == ATTACHED);
	assert(mig == 0 || fate[mig] != OPEN);
	assert(running == 1 || next == COPIES)
}
