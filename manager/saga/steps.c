/* SPDX-License-Identifier: Apache-2.0 */
/* What each step of a migration asks, of whom, and how it is undone; names. */
#include "manager/saga/saga.h"

// clang-format off
const struct ly_step_row ly_steps[LY_STEPS] = {
	[LY_STEP_AUTHORISE] = { "authorise",
	    "the home shows its record: who holds the VM, in which epoch",
	    LY_PARTY_HOME, LY_SHOW, "nothing to undo", true, 10000, false },
	[LY_STEP_QUOTE_DEST] = { "attest",
	    "its TPM quotes its state: booted as approved, and what would run",
	    LY_PARTY_DEST, LY_QUOTE, "nothing to undo", true, 60000, true },
	[LY_STEP_QUOTE_SOURCE] = { "attest",
	    "its TPM quotes its state: a VM of a bad host is not taken over",
	    LY_PARTY_SOURCE, LY_QUOTE, "nothing to undo", true, 30000, true },
	[LY_STEP_QUOTE_HOME] = { "attest",
	    "its TPM quotes its state, and says who holds the VM",
	    LY_PARTY_HOME, LY_QUOTE, "nothing to undo", true, 30000, true },
	[LY_STEP_PREPARE] = { "prepare",
	    "the destination admits the VM and opens its link to the home",
	    LY_PARTY_DEST, LY_PREPARE, "drop", true, 60000, false },
	[LY_STEP_KEY] = { "key",
	    "the source makes the key, for the destination's TPM alone",
	    LY_PARTY_SOURCE, LY_KEY, "the key is forgotten", true, 30000,
	    true },
	[LY_STEP_IMPORT] = { "import",
	    "the destination's TPM takes it, if its state is approved",
	    LY_PARTY_DEST, LY_IMPORT, "drop", true, 30000, true },
	[LY_STEP_UNLOCK] = { "unlock",
	    "this manager signs its release; the TPM opens the key",
	    LY_PARTY_DEST, LY_UNLOCK, "drop", true, 30000, true },
	[LY_STEP_COPY] = { "copy",
	    "the source sends the memory, stops the VM, the home commits",
	    LY_PARTY_SOURCE, LY_COPY, "call off", true, 600000, false },
	[LY_STEP_CALLOFF] = { "call off",
	    "the source gives up, if the home has not committed",
	    LY_PARTY_SOURCE, LY_CALLOFF, "nothing to undo", true, 30000,
	    false },
	[LY_STEP_ASK] = { "ask",
	    "the home says what became of it, and aborts it if still open",
	    LY_PARTY_HOME, LY_ASK, "none: the home's word is final", false,
	    10000, false },
	[LY_STEP_SETTLE] = { "settle",
	    "a source that does not know hears the fate",
	    LY_PARTY_SOURCE, LY_SETTLE, "none: forward only", false, 10000,
	    false },
	[LY_STEP_DROP] = { "drop",
	    "the destination of an aborted migration forgets the VM",
	    LY_PARTY_DEST, LY_DROP, "none: forward only", false, 10000, false },
	[LY_STEP_RECORD] = { "record",
	    "the home shows its new record; the receipt is written",
	    LY_PARTY_HOME, LY_SHOW, "none: forward only", false, 10000, false },
};
// clang-format on

static const char *const states[LY_SAGA_STATES] = { "planned", "preparing",
	"copying", "settling", "in doubt", "committed", "cleaned", "aborting",
	"aborted", "attesting", "keying" };

const char *
ly_saga_state_name(unsigned state)
{
	return state < LY_SAGA_STATES ? states[state] : "?";
}

const char *
ly_party_name(unsigned party)
{
	static const char *const names[] = { "?", "home", "source",
		"destination" };

	return party < LY_COUNT(names) ? names[party] : "?";
}

bool
ly_saga_over(unsigned state)
{
	return state == LY_SAGA_CLEANED || state == LY_SAGA_ABORTED;
}
