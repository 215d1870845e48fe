/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/attest/hand.h"
#include "tests/test.h"

#define SOURCE "spiffe://north/host/alpha"
#define DEST "spiffe://south/host/beta"
#define NOW 1000000u

static struct ly_hand h;
static struct ly_hand_todo todo; /* of the last step */
static uint64_t now_s, now_ms;
static struct ly_call call;

static void
begin(void)
{
	memset(&h, 0, sizeof(h));
	now_s = NOW;
	now_ms = 5000;
	call = (struct ly_call){ .vm = { { 1 } },
		.mig = { { 2 } },
		.nonce = { 3 },
		.source = SOURCE,
		.dest = DEST,
		.home = SOURCE,
		.not_before = NOW,
		.expires = NOW + 300 };
}

static struct ly_hand_said
evidence(uint8_t role)
{
	struct ly_hand_said said = { .vm = call.vm,
		.mig = call.mig,
		.role = role,
		.id = role == LY_AS_SOURCE ? SOURCE : DEST };

	memcpy(said.nonce, call.nonce, sizeof(said.nonce));
	return said;
}

static enum ly_hand_act
step(struct ly_hand_event ev)
{
	ev.now_s = now_s;
	ev.now_ms = now_ms;
	ly_hand_step(&h, &ev, &todo);
	return todo.act;
}

/* `bytes`: what stands for the request's. */
static enum ly_hand_act
called(uint8_t role, uint8_t bytes)
{
	return step((struct ly_hand_event){ .kind = LY_HAND_CALL,
	    .role = role,
	    .call = &call,
	    .asked = { bytes } });
}

static enum ly_hand_act
keyed(enum ly_hand_kind kind, const struct ly_hand_said *said, uint8_t bytes)
{
	return step((struct ly_hand_event){ .kind = kind,
	    .said = said,
	    .asked = { bytes } });
}

static enum ly_hand_act
key(void)
{
	struct ly_hand_said said = evidence(LY_AS_DEST);

	return keyed(LY_HAND_KEY, &said, 2);
}

static enum ly_hand_act
import(void)
{
	struct ly_hand_said said = evidence(LY_AS_SOURCE);

	return keyed(LY_HAND_IMPORT, &said, 2);
}

static enum ly_hand_act
unlock(uint8_t bytes)
{
	return step((struct ly_hand_event){ .kind = LY_HAND_UNLOCK,
	    .asked = { bytes } });
}

static enum ly_hand_act
tell(enum ly_hand_kind kind)
{
	return step((struct ly_hand_event){ .kind = kind, .ok = true });
}

static enum ly_hand_act
failed(enum ly_hand_kind kind, enum ly_rc rc, const char *text)
{
	return step(
	    (struct ly_hand_event){ .kind = kind, .rc = rc, .text = text });
}

/* What brings a machine there, one step after the other. */
static void
bring(enum ly_hand_state state)
{
	static const struct {
		enum ly_hand_state at;
		enum ly_hand_kind next;
	} source[] = { { LY_HAND_CALLED, LY_HAND_DID_QUOTE },
		{ LY_HAND_QUOTED, LY_HAND_KEY },
		{ LY_HAND_MAKING, LY_HAND_DID_MAKE },
		{ LY_HAND_MADE, LY_HAND_COPY },
		{ LY_HAND_CONFIRMED, LY_HAND_SEND },
		{ LY_HAND_SENT, LY_HAND_DESTROY } },
	  dest[] = { { LY_HAND_CALLED, LY_HAND_DID_QUOTE },
		  { LY_HAND_QUOTED, LY_HAND_IMPORT },
		  { LY_HAND_IMPORTING, LY_HAND_DID_IMPORT },
		  { LY_HAND_IMPORTED, LY_HAND_UNLOCK },
		  { LY_HAND_UNLOCKING, LY_HAND_DID_UNLOCK },
		  { LY_HAND_UNLOCKED, LY_HAND_ARRIVE } };
	bool there = state >= LY_HAND_IMPORTING && state <= LY_HAND_ARRIVED;

	begin();
	if (state == LY_HAND_NONE)
		return;
	called(there ? LY_AS_DEST : LY_AS_SOURCE, 1);
	for (unsigned i = 0;
	     i < LY_COUNT(dest) && h.state != state && state != LY_HAND_ENDED;
	     i++) {
		enum ly_hand_kind next = there ? dest[i].next : source[i].next;

		WANT_INT(h.state, there ? dest[i].at : source[i].at);
		if (next == LY_HAND_KEY)
			key();
		else if (next == LY_HAND_IMPORT)
			import();
		else if (next == LY_HAND_UNLOCK)
			unlock(3);
		else
			tell(next);
	}
	if (state == LY_HAND_ENDED)
		failed(LY_HAND_END, LY_REFUSED, "over");
	WANT_INT(h.state, state);
}

/* ---- the table ---- */

/* The same request as before, or one that fits. */
static void
any(enum ly_hand_kind kind)
{
	struct ly_hand_said said = evidence(
	    h.role == LY_AS_SOURCE ? LY_AS_DEST : LY_AS_SOURCE);

	step((struct ly_hand_event){ .kind = kind,
	    .role = h.role ? h.role : LY_AS_SOURCE,
	    .call = &call,
	    .said = &said,
	    .asked = { kind == LY_HAND_CALL ? 1 :
		    kind == LY_HAND_UNLOCK  ? 3 :
					      2 },
	    .ok = true });
}

TEST(every_cell_is_as_it_was_decided)
{
	/* What it does: nothing, Quote, Make, Import, Unlock, Wait, Answer,
	 * Refuse, Go; then + when the state is another one, * when the keys go.
	 * call key import unlock copy | did quote make import unlock
	 * | take send destroy arrive end tick */
	static const char *const want[LY_HAND_STATES] = {
		[LY_HAND_NONE] = "Q+ R R R R | .* .* .* .* | R R R R . .",
		[LY_HAND_CALLED] = "W R R R R | A+ .* .* .* | R R R R .+* .",
		[LY_HAND_QUOTED] = "A M+ R R R | . .* .* .* | R R R R .+* .",
		[LY_HAND_MAKING] = "A W R R R | . A+ .* .* | R R R R .+* .",
		[LY_HAND_MADE] = "A A R R G+ | . . . . | R R R R .+* .",
		[LY_HAND_CONFIRMED] = "A A R R G | . . . . | R G+ R R .+* .",
		[LY_HAND_SENT] = "A A R R G | . . . . | R R G+* R .+* .",
		[LY_HAND_DESTROYED] = "A A R R R | . .* .* .* | R R R R . .",
		[LY_HAND_IMPORTING] = "A R W R R | . .* A+ .* | R R R R .+* .",
		[LY_HAND_IMPORTED] = "A R A U+ R | . .* . .* | R R R R .+* .",
		[LY_HAND_UNLOCKING] = "A R R W R | . .* . A+ | R R R R .+* .",
		[LY_HAND_UNLOCKED] = "A R A A R | . . . . | G R R G+* .+* .",
		[LY_HAND_ARRIVED] = "A R A A R | . .* .* .* | R R R R . .",
		[LY_HAND_ENDED] = "R R R R R | .* .* .* .* | R R R R . .",
	};

	for (unsigned s = 0; s < LY_HAND_STATES; s++) {
		char is[200] = "";

		for (unsigned k = 0; k < LY_HAND_KINDS; k++) {
			bring(s);
			any(k);
			ly_print(is + strlen(is), sizeof(is) - strlen(is),
			    "%s%c%s%s",
			    k == LY_HAND_DID_QUOTE || k == LY_HAND_TAKE ?
				" | " :
				k ? " " :
				    "",
			    ".QMIUWARG"[todo.act], h.state == s ? "" : "+",
			    todo.wipe ? "*" : "");
		}
		WANT_STR(is, want[s]);
	}
}

/* ---- as a story ---- */

TEST(a_source_goes_from_the_call_to_its_end)
{
	bring(LY_HAND_DESTROYED);
	WANT(todo.wipe);
	WANT(ly_hand_over(&h));
}

TEST(a_destination_goes_from_the_call_to_its_end)
{
	bring(LY_HAND_ARRIVED);
	WANT(todo.wipe);
	WANT(ly_hand_over(&h));
}

TEST(a_second_nonce_for_one_migration_is_refused)
{
	bring(LY_HAND_QUOTED);
	call.nonce[0]++;
	WANT_INT(called(LY_AS_SOURCE, 1), LY_HAND_DO_REFUSE);
	WANT_STR(todo.text, "a second nonce for this migration");
	WANT_INT(h.state, LY_HAND_QUOTED);
}

TEST(a_host_has_one_role_in_a_migration)
{
	bring(LY_HAND_QUOTED);
	WANT_INT(called(LY_AS_DEST, 1), LY_HAND_DO_REFUSE);
	WANT_STR(todo.text, "this host is the migration's source already");
}

TEST(another_call_with_the_same_nonce_is_refused)
{
	bring(LY_HAND_QUOTED);
	WANT_INT(called(LY_AS_SOURCE, 9), LY_HAND_DO_REFUSE);
	bring(LY_HAND_CALLED);
	WANT_INT(called(LY_AS_SOURCE, 9), LY_HAND_DO_REFUSE);
	WANT_INT(h.state, LY_HAND_CALLED);
}

static void
want_bad_evidence(const struct ly_hand_said *said, const char *text)
{
	bring(LY_HAND_QUOTED);
	WANT_INT(keyed(LY_HAND_KEY, said, 2), LY_HAND_DO_REFUSE);
	WANT_STR(todo.text, text);
	WANT_INT(h.state, LY_HAND_ENDED);
	WANT(todo.wipe);
}

TEST(no_key_is_made_for_evidence_of_another_host)
{
	struct ly_hand_said said;

	begin();
	said = evidence(LY_AS_DEST);
	said.id = "spiffe://south/host/gamma";
	want_bad_evidence(&said,
	    "destination: the evidence is of spiffe://south/host/gamma, the"
	    " call is to " DEST);
}

TEST(no_key_is_made_for_evidence_of_another_role)
{
	struct ly_hand_said said;

	begin();
	said = evidence(LY_AS_DEST);
	said.role = LY_AS_HOME;
	want_bad_evidence(&said, "destination: its evidence was made as home");
}

TEST(no_key_is_made_for_evidence_of_another_migration_vm_or_nonce)
{
	struct ly_hand_said said;

	begin();
	said = evidence(LY_AS_DEST);
	said.mig.b[0]++;
	want_bad_evidence(&said,
	    "destination: its evidence is for another migration");
	said = evidence(LY_AS_DEST);
	said.vm.b[0]++;
	want_bad_evidence(&said,
	    "destination: its evidence is for another migration");
	said = evidence(LY_AS_DEST);
	said.nonce[31]++;
	want_bad_evidence(&said,
	    "destination: its evidence is to another nonce");
}

TEST(a_destination_takes_no_key_with_swapped_evidence)
{
	struct ly_hand_said own;

	begin();
	own = evidence(LY_AS_DEST);
	called(LY_AS_DEST, 1);
	tell(LY_HAND_DID_QUOTE);
	WANT_INT(keyed(LY_HAND_IMPORT, &own, 2), LY_HAND_DO_REFUSE);
	WANT_STR(todo.text, "source: its evidence was made as destination");
}

TEST(requests_of_the_other_role_are_refused_and_change_nothing)
{
	bring(LY_HAND_QUOTED);
	WANT_INT(import(), LY_HAND_DO_REFUSE);
	WANT_STR(todo.text, "IMPORT is for the destination, not the source");
	WANT_INT(h.state, LY_HAND_QUOTED);
	begin();
	called(LY_AS_DEST, 1);
	tell(LY_HAND_DID_QUOTE);
	WANT_INT(key(), LY_HAND_DO_REFUSE);
	WANT_STR(todo.text, "KEY is for the source, not the destination");
	WANT_INT(h.state, LY_HAND_QUOTED);
}

TEST(a_request_with_other_bytes_is_refused)
{
	struct ly_hand_said said;

	begin();
	said = evidence(LY_AS_DEST);
	bring(LY_HAND_MADE);
	WANT_INT(keyed(LY_HAND_KEY, &said, 9), LY_HAND_DO_REFUSE);
	bring(LY_HAND_MAKING);
	WANT_INT(keyed(LY_HAND_KEY, &said, 9), LY_HAND_DO_REFUSE);
	said = evidence(LY_AS_SOURCE);
	bring(LY_HAND_IMPORTED);
	WANT_INT(keyed(LY_HAND_IMPORT, &said, 9), LY_HAND_DO_REFUSE);
	bring(LY_HAND_UNLOCKING);
	WANT_INT(unlock(9), LY_HAND_DO_REFUSE);
	bring(LY_HAND_UNLOCKED);
	WANT_INT(unlock(9), LY_HAND_DO_REFUSE);
	WANT_INT(h.state, LY_HAND_UNLOCKED);
}

TEST(an_import_asked_again_late_begins_a_new_session)
{
	bring(LY_HAND_IMPORTED);
	now_ms += LY_HAND_SESSION_MS;
	WANT_INT(import(), LY_HAND_DO_ANSWER);
	now_ms++;
	WANT_INT(import(), LY_HAND_DO_IMPORT);
	WANT(todo.wipe); /* the session before */
	WANT_INT(h.state, LY_HAND_IMPORTING);
	tell(LY_HAND_DID_IMPORT);
	now_ms += LY_HAND_SESSION_MS;
	WANT_INT(import(), LY_HAND_DO_ANSWER);
}

TEST(a_session_counts_from_when_the_tpm_has_opened_it)
{
	bring(LY_HAND_IMPORTING);
	now_ms += LY_HAND_LEAVE_MS;
	tell(LY_HAND_DID_IMPORT);
	WANT_INT(import(), LY_HAND_DO_ANSWER);
	now_ms += LY_HAND_SESSION_MS;
	WANT_INT(unlock(3), LY_HAND_DO_UNLOCK);
}

TEST(a_leave_that_comes_too_late_is_not_tried)
{
	bring(LY_HAND_IMPORTED);
	now_ms += LY_HAND_LEAVE_MS + 1;
	WANT_INT(unlock(3), LY_HAND_DO_REFUSE);
	WANT_INT(h.state, LY_HAND_IMPORTED);
	WANT_INT(import(), LY_HAND_DO_IMPORT);
}

TEST(nothing_is_dialled_without_the_destinations_proof)
{
	bring(LY_HAND_MADE);
	WANT_INT(step((struct ly_hand_event){ .kind = LY_HAND_COPY }),
	    LY_HAND_DO_REFUSE);
	WANT_STR(todo.text,
	    "destination: it has not proved that it has the key");
	WANT_INT(h.state, LY_HAND_ENDED);
	WANT(todo.wipe);
	bring(LY_HAND_CONFIRMED);
	WANT_INT(step((struct ly_hand_event){ .kind = LY_HAND_COPY }),
	    LY_HAND_DO_REFUSE);
	WANT_INT(h.state, LY_HAND_CONFIRMED);
}

TEST(an_expired_call_gives_no_key)
{
	static const enum ly_hand_state at[] = { LY_HAND_QUOTED, LY_HAND_MADE,
		LY_HAND_IMPORTED, LY_HAND_UNLOCKED };
	static const enum ly_hand_kind kind[] = { LY_HAND_KEY, LY_HAND_COPY,
		LY_HAND_UNLOCK, LY_HAND_TAKE };

	for (unsigned i = 0; i < LY_COUNT(at); i++) {
		bring(at[i]);
		now_s = call.expires;
		any(kind[i]);
		WANT(todo.act != LY_HAND_DO_REFUSE);
		bring(at[i]);
		now_s = call.expires + 1;
		any(kind[i]);
		WANT_INT(todo.act, LY_HAND_DO_REFUSE);
		WANT_INT(h.state, LY_HAND_ENDED);
		WANT(todo.wipe);
	}
	bring(LY_HAND_IMPORTED);
	now_ms += LY_HAND_SESSION_MS + 1;
	now_s = call.expires + 1;
	WANT_INT(import(), LY_HAND_DO_REFUSE);
}

TEST(time_ends_what_is_not_yet_used_and_nothing_else)
{
	for (unsigned s = LY_HAND_CALLED; s < LY_HAND_ENDED; s++) {
		bool over, used;

		bring(s);
		over = ly_hand_over(&h);
		used = h.taken;
		now_s = call.expires + 1;
		tell(LY_HAND_TICK);
		WANT_INT(h.state, over || used ? s : LY_HAND_ENDED);
		WANT(todo.wipe == !(over || used));
		WANT_INT(todo.act, LY_HAND_DO_NOTHING);
	}
	bring(LY_HAND_UNLOCKED);
	WANT_INT(tell(LY_HAND_TAKE), LY_HAND_DO_GO);
	now_s = call.expires + 100000;
	tell(LY_HAND_TICK);
	WANT_INT(h.state, LY_HAND_UNLOCKED);
	WANT_INT(tell(LY_HAND_TAKE), LY_HAND_DO_GO);
}

TEST(a_step_that_fails_ends_the_migration_with_its_reason)
{
	static const enum ly_hand_state at[] = { LY_HAND_CALLED, LY_HAND_MAKING,
		LY_HAND_IMPORTING, LY_HAND_UNLOCKING };

	for (unsigned i = 0; i < LY_COUNT(at); i++) {
		bring(at[i]);
		failed(LY_HAND_DID_QUOTE + i, LY_OUTSIDE, "the TPM said no");
		WANT_INT(todo.act, LY_HAND_DO_REFUSE);
		WANT_INT(todo.rc, LY_OUTSIDE);
		WANT(todo.wipe);
		WANT_INT(h.state, LY_HAND_ENDED);
		any(LY_HAND_UNLOCK);
		WANT_STR(todo.text, "the TPM said no");
	}
}

TEST(a_busy_tpm_may_be_asked_again_but_not_to_unlock)
{
	static const enum ly_hand_state at[] = { LY_HAND_CALLED, LY_HAND_MAKING,
		LY_HAND_IMPORTING, LY_HAND_UNLOCKING },
					before[] = { LY_HAND_NONE,
						LY_HAND_QUOTED, LY_HAND_QUOTED,
						LY_HAND_ENDED };

	for (unsigned i = 0; i < LY_COUNT(at); i++) {
		bring(at[i]);
		failed(LY_HAND_DID_QUOTE + i, LY_BUSY, NULL);
		WANT_INT(todo.act, LY_HAND_DO_REFUSE);
		WANT_INT(h.state, before[i]);
		WANT(todo.rc ==
		    (before[i] == LY_HAND_ENDED ? LY_REFUSED : LY_BUSY));
	}
}

TEST(the_first_reason_for_the_end_stays)
{
	bring(LY_HAND_ENDED);
	failed(LY_HAND_END, LY_OUTSIDE, "another");
	key();
	WANT_STR(todo.text, "over");
}

TEST(what_was_being_made_when_the_end_came_is_wiped)
{
	bring(LY_HAND_UNLOCKING);
	failed(LY_HAND_END, LY_OK, "the VM is gone");
	WANT_INT(h.state, LY_HAND_ENDED);
	tell(LY_HAND_DID_UNLOCK);
	WANT(todo.wipe);
	WANT_INT(todo.act, LY_HAND_DO_NOTHING);
}

TEST(an_agent_that_knows_nothing_says_that_the_key_is_gone)
{
	begin();
	WANT_INT(key(), LY_HAND_DO_REFUSE);
	WANT_INT(todo.rc, LY_REFUSED);
	WANT(strstr(todo.text, "is gone"));
	WANT_INT(h.state, LY_HAND_NONE);
}

/* ---- the call itself ---- */

#define MANAGER "spiffe://north/manager/m1"

static const char *
refusal(const char *signer, const char *self, uint8_t role)
{
	static struct ly_why why;

	if (ly_call_check(&call, signer, self, role, now_s, &why) == LY_OK)
		return "";
	return why.text;
}

TEST(a_call_is_answered_by_who_it_names_and_in_that_role)
{
	begin();
	WANT_STR(refusal(MANAGER, SOURCE, LY_AS_SOURCE), "");
	WANT_STR(refusal(MANAGER, SOURCE, LY_AS_HOME), "");
	WANT_STR(refusal(MANAGER, DEST, LY_AS_DEST), "");
	WANT_STR(refusal(MANAGER, DEST, LY_AS_SOURCE),
	    "the call names " SOURCE " as the source, not this host");
	WANT_STR(refusal(MANAGER, DEST, LY_AS_HOME),
	    "the call names " SOURCE " as the home, not this host");
	WANT_STR(refusal(MANAGER, SOURCE, 0), "a call to no role (0)");
	WANT_STR(refusal(MANAGER, SOURCE, 99), "a call to no role (99)");
}

TEST(a_call_is_believed_of_the_manager_of_the_homes_site_alone)
{
	static const char *const bad[] = { "spiffe://south/manager/m1",
		"spiffe://north/host/m1", "spiffe://northern/manager/m1",
		"spiffe://nort/manager/m1", "spiffe://north", "" };

	begin();
	for (unsigned i = 0; i < LY_COUNT(bad); i++)
		WANT(strstr(refusal(bad[i], DEST, LY_AS_DEST),
		    "not by the manager of the site of"));
	ly_copy(call.home, sizeof(call.home), "north");
	WANT(*refusal(MANAGER, DEST, LY_AS_DEST));
}

TEST(what_a_host_is_may_be_asked_by_the_manager_of_any_site)
{
	begin();
	call.mig = call.vm = (struct ly_id){ { 0 } };
	call.home[0] = '\0';
	WANT_STR(refusal("spiffe://south/manager/m1", SOURCE, LY_AS_PLACE), "");
	WANT(*refusal("spiffe://south/host/m1", SOURCE, LY_AS_PLACE));
	WANT(*refusal(MANAGER, SOURCE, LY_AS_TPM)); /* whose? */
	call.vm = (struct ly_id){ { 1 } };
	WANT(*refusal("spiffe://south/manager/m1", SOURCE, LY_AS_PLACE));
}

TEST(a_call_is_for_its_time_alone)
{
	begin();
	now_s = call.expires;
	WANT_STR(refusal(MANAGER, DEST, LY_AS_DEST), "");
	now_s = call.expires + 1;
	WANT_STR(refusal(MANAGER, DEST, LY_AS_DEST), "the call has expired");
	now_s = call.not_before - 60;
	WANT_STR(refusal(MANAGER, DEST, LY_AS_DEST), "");
	now_s--;
	WANT_STR(refusal(MANAGER, DEST, LY_AS_DEST),
	    "the call is not valid yet");
	now_s = NOW;
	call.expires = NOW + 86401;
	WANT_STR(refusal(MANAGER, DEST, LY_AS_DEST),
	    "the call is valid for too long");
}

TEST(a_call_into_a_migration_has_one_and_others_have_none)
{
	begin();
	WANT_STR(refusal(MANAGER, SOURCE, LY_AS_TPM),
	    "a call to the home of the TPM in a migration");
	call.mig = (struct ly_id){ { 0 } };
	WANT_STR(refusal(MANAGER, SOURCE, LY_AS_TPM), "");
	WANT_STR(refusal(MANAGER, SOURCE, LY_AS_PLACE), "");
	WANT_STR(refusal(MANAGER, DEST, LY_AS_DEST),
	    "a call to the destination without a migration");
}

TEST(a_call_without_a_nonce_or_with_one_host_twice_is_none)
{
	begin();
	call.nonce[0] = 0;
	WANT_STR(refusal(MANAGER, DEST, LY_AS_DEST), "a call without a nonce");
	begin();
	ly_copy(call.dest, sizeof(call.dest), SOURCE);
	WANT_STR(refusal(MANAGER, SOURCE, LY_AS_SOURCE),
	    "the call names one host as source and destination");
}

TEST_MAIN()
