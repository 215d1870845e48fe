/* SPDX-License-Identifier: Apache-2.0 */
/* manager/enrol: how a host becomes one of the site. */
#include "manager/enrol/enrol.h"
#include "tests/test.h"

#define LIFE 28800

static struct ly_enrolment e;
static struct ly_enrolment_todos did;
static uint64_t now;

static void
tell(struct ly_enrolment_event ev)
{
	did = (struct ly_enrolment_todos){ .n = 0 };
	ev.now = now;
	ly_enrolment_step(&e, &ev, &did);
}

static void
happens(enum ly_enrolment_kind kind)
{
	tell((struct ly_enrolment_event){ .kind = kind });
}

static void
heard(enum ly_enrol_step step, enum ly_verdict verdict)
{
	tell((struct ly_enrolment_event){ .kind = LY_ENROLMENT_HEARD,
	    .step = step,
	    .verdict = verdict });
}

static unsigned
acts(enum ly_enrolment_act act)
{
	unsigned n = 0;

	for (unsigned i = 0; i < did.n; i++)
		n += did.act[i].act == act;
	return n;
}

static bool
asks(enum ly_enrol_step step)
{
	for (unsigned i = 0; i < did.n; i++)
		if (did.act[i].act == LY_ENROLMENT_ASK &&
		    did.act[i].step == step)
			return true;
	return false;
}

static void
saved(enum ly_verdict verdict)
{
	tell((struct ly_enrolment_event){ .kind = LY_ENROLMENT_SAVED,
	    .verdict = verdict });
}

static void
issued(enum ly_verdict verdict)
{
	tell((struct ly_enrolment_event){ .kind = LY_ENROLMENT_ISSUED,
	    .verdict = verdict,
	    .ends = now + LIFE });
}

/* A new host in that state, the good way. */
static void
in(enum ly_enrolment_state state)
{
	now = 1000000;
	ly_enrolment_init(&e, 0, 0, 0, now);
	if (state == LY_ENROLMENT_UNKNOWN)
		return;
	happens(LY_ENROLMENT_UP);
	if (state == LY_ENROLMENT_FROZEN) {
		for (unsigned i = 0; i < LY_ENROLMENT_TRIES; i++) {
			heard(LY_ENROL_BEGIN, LY_VERDICT_GOOD);
			heard(LY_ENROL_PROVE, LY_VERDICT_BAD);
			now += LY_ENROL_AGAIN_S;
			happens(LY_ENROLMENT_TICK);
		}
	}
	if (e.state == state)
		return;
	heard(LY_ENROL_BEGIN, LY_VERDICT_GOOD);
	if (e.state == state)
		return;
	heard(LY_ENROL_PROVE, LY_VERDICT_GOOD);
	if (e.state == state)
		return;
	saved(LY_VERDICT_GOOD);
	if (e.state == state)
		return;
	issued(LY_VERDICT_GOOD);
	heard(LY_ENROL_TAKE, LY_VERDICT_GOOD);
	if (e.state == state)
		return;
	now = ly_enrolment_half(&e);
	happens(LY_ENROLMENT_TICK);
	WANT_INT(e.state, state);
}

TEST(no_cell_of_the_table_is_empty_and_every_state_has_a_name)
{
	WANT(ly_enrolment_table_full());
	for (unsigned i = 0; i < LY_ENROLMENT_STATES; i++) {
		in((enum ly_enrolment_state)i);
		WANT(strcmp(ly_enrolment_name(i), "?") != 0);
	}
}

TEST(a_host_is_asked_proves_itself_is_recorded_and_then_certified)
{
	in(LY_ENROLMENT_UNKNOWN);
	happens(LY_ENROLMENT_UP);
	WANT(asks(LY_ENROL_BEGIN));
	heard(LY_ENROL_BEGIN, LY_VERDICT_GOOD);
	WANT(asks(LY_ENROL_PROVE));
	heard(LY_ENROL_PROVE, LY_VERDICT_GOOD);
	WANT_INT(did.n, 1);
	WANT_INT(acts(LY_ENROLMENT_RECORD), 1);
	saved(LY_VERDICT_GOOD);
	WANT_INT(did.n, 1);
	WANT_INT(acts(LY_ENROLMENT_ISSUE), 1);
	issued(LY_VERDICT_GOOD);
	WANT_INT(e.state, LY_ENROLMENT_ENROLLED);
	WANT(asks(LY_ENROL_TAKE));
	heard(LY_ENROL_TAKE, LY_VERDICT_GOOD);
	WANT(did.act[0].act == LY_ENROLMENT_OVER && did.act[0].good);
}

TEST(nothing_is_certified_that_the_record_did_not_take)
{
	static const enum ly_verdict no[] = { LY_VERDICT_BAD,
		LY_VERDICT_LATER };

	for (size_t i = 0; i < LY_COUNT(no); i++) {
		in(LY_ENROLMENT_PROVED);
		saved(no[i]);
		WANT_INT(acts(LY_ENROLMENT_ISSUE), 0);
		WANT_INT(e.state, LY_ENROLMENT_UNKNOWN);
		issued(LY_VERDICT_GOOD);
		WANT_INT(e.state, LY_ENROLMENT_UNKNOWN);
	}
}

TEST(only_what_was_asked_last_is_heard)
{
	in(LY_ENROLMENT_ASKED);
	heard(LY_ENROL_PROVE, LY_VERDICT_GOOD);
	WANT_INT(e.state, LY_ENROLMENT_ASKED);
	in(LY_ENROLMENT_DARED);
	heard(LY_ENROL_BEGIN, LY_VERDICT_GOOD);
	WANT_INT(e.state, LY_ENROLMENT_DARED);
	heard(LY_ENROL_PROVE, LY_VERDICT_GOOD);
	heard(LY_ENROL_PROVE, LY_VERDICT_GOOD);
	WANT_INT(did.n, 0);
	WANT_INT(e.state, LY_ENROLMENT_PROVED);
}

TEST(an_answer_is_heard_once)
{
	in(LY_ENROLMENT_ENROLLED);
	heard(LY_ENROL_TAKE, LY_VERDICT_BAD);
	WANT_INT(did.n, 0);
	WANT_INT(e.state, LY_ENROLMENT_ENROLLED);
}

TEST(a_challenge_is_good_for_five_minutes)
{
	in(LY_ENROLMENT_DARED);
	now += LY_DARE_S - 1;
	happens(LY_ENROLMENT_TICK);
	WANT_INT(did.n, 0);
	now++;
	happens(LY_ENROLMENT_TICK);
	WANT_INT(acts(LY_ENROLMENT_FORGET), 1);
	WANT_INT(e.state, LY_ENROLMENT_UNKNOWN);
	WANT_INT(e.failures, 0);
	/* The answer is here before the clock was looked at. */
	in(LY_ENROLMENT_DARED);
	now += LY_DARE_S;
	heard(LY_ENROL_PROVE, LY_VERDICT_GOOD);
	WANT_INT(e.state, LY_ENROLMENT_UNKNOWN);
	WANT_INT(acts(LY_ENROLMENT_RECORD), 0);
}

TEST(three_failed_proofs_freeze_it_until_an_operator_says_otherwise)
{
	in(LY_ENROLMENT_UNKNOWN);
	happens(LY_ENROLMENT_UP);
	for (unsigned i = 1; i <= LY_ENROLMENT_TRIES; i++) {
		heard(LY_ENROL_BEGIN, LY_VERDICT_GOOD);
		heard(LY_ENROL_PROVE, LY_VERDICT_BAD);
		WANT_INT(e.failures, i);
		WANT_INT(acts(LY_ENROLMENT_KEEP), 1);
		now += LY_ENROL_AGAIN_S - 1;
		happens(LY_ENROLMENT_TICK);
		WANT_INT(did.n, 0);
		now++;
		happens(LY_ENROLMENT_TICK);
		WANT_INT(asks(LY_ENROL_BEGIN), i < LY_ENROLMENT_TRIES);
	}
	WANT_INT(e.state, LY_ENROLMENT_FROZEN);
	happens(LY_ENROLMENT_DOWN);
	happens(LY_ENROLMENT_UP);
	happens(LY_ENROLMENT_WISH);
	WANT_INT(acts(LY_ENROLMENT_ASK), 0);
	WANT(strstr(did.act[0].text, "frozen"));
	happens(LY_ENROLMENT_UNFREEZE);
	WANT(asks(LY_ENROL_BEGIN));
	WANT_INT(acts(LY_ENROLMENT_KEEP), 1);
	WANT_INT(e.failures, 0);
}

TEST(a_frozen_host_is_frozen_after_a_restart)
{
	ly_enrolment_init(&e, LY_ENROLMENT_TRIES, 0, 0, now);
	happens(LY_ENROLMENT_UP);
	WANT_INT(did.n, 0);
	WANT_INT(e.state, LY_ENROLMENT_FROZEN);
}

TEST(a_host_that_only_shows_what_we_do_not_believe_is_not_frozen)
{
	in(LY_ENROLMENT_UNKNOWN);
	happens(LY_ENROLMENT_UP);
	for (unsigned i = 0; i < 10; i++) {
		heard(LY_ENROL_BEGIN, LY_VERDICT_BAD);
		WANT_INT(e.state, LY_ENROLMENT_UNKNOWN);
		WANT_INT(acts(LY_ENROLMENT_OVER), 1);
		now += LY_ENROL_REFUSED_S - 1;
		happens(LY_ENROLMENT_TICK);
		WANT_INT(did.n, 0);
		now++;
		happens(LY_ENROLMENT_TICK);
		WANT(asks(LY_ENROL_BEGIN));
	}
	WANT_INT(e.failures, 0);
}

TEST(a_good_proof_forgives_the_failed_ones_before)
{
	in(LY_ENROLMENT_DARED);
	heard(LY_ENROL_PROVE, LY_VERDICT_BAD);
	happens(LY_ENROLMENT_WISH);
	heard(LY_ENROL_BEGIN, LY_VERDICT_GOOD);
	heard(LY_ENROL_PROVE, LY_VERDICT_GOOD);
	WANT_INT(e.failures, 1);
	saved(LY_VERDICT_GOOD);
	issued(LY_VERDICT_GOOD);
	WANT_INT(e.failures, 0);
}

TEST(a_host_that_asks_again_gets_the_same_certificate)
{
	uint64_t was;

	in(LY_ENROLMENT_RECORDED);
	issued(LY_VERDICT_GOOD);
	was = e.issued;
	happens(LY_ENROLMENT_DOWN); /* before it has heard of it */
	now += 100;
	happens(LY_ENROLMENT_UP);
	WANT(asks(LY_ENROL_BEGIN));
	heard(LY_ENROL_BEGIN, LY_VERDICT_SAME);
	WANT(asks(LY_ENROL_TAKE));
	WANT_INT(acts(LY_ENROLMENT_ISSUE), 0);
	WANT(e.issued == was);
	/* Not one that is to be renewed by now. */
	happens(LY_ENROLMENT_DOWN);
	now = ly_enrolment_half(&e);
	happens(LY_ENROLMENT_UP);
	heard(LY_ENROL_BEGIN, LY_VERDICT_SAME);
	WANT(asks(LY_ENROL_PROVE));
}

TEST(the_same_holds_over_our_own_restart)
{
	in(LY_ENROLMENT_RECORDED);
	issued(LY_VERDICT_GOOD);
	ly_enrolment_init(&e, 0, e.issued, e.ends, now);
	happens(LY_ENROLMENT_UP);
	heard(LY_ENROL_BEGIN, LY_VERDICT_SAME);
	WANT(asks(LY_ENROL_TAKE));
}

TEST(a_host_that_shows_its_certificate_is_asked_nothing)
{
	in(LY_ENROLMENT_ENROLLED);
	happens(LY_ENROLMENT_DOWN);
	tell((
	    struct ly_enrolment_event){ .kind = LY_ENROLMENT_UP, .has = true });
	WANT_INT(did.n, 0);
	WANT_INT(e.state, LY_ENROLMENT_ENROLLED);
	/* Unless it has ended. */
	happens(LY_ENROLMENT_DOWN);
	now = e.ends;
	tell((
	    struct ly_enrolment_event){ .kind = LY_ENROLMENT_UP, .has = true });
	WANT(asks(LY_ENROL_BEGIN));
}

TEST(a_certificate_that_was_not_taken_is_given_again)
{
	in(LY_ENROLMENT_RECORDED);
	issued(LY_VERDICT_GOOD);
	heard(LY_ENROL_TAKE, LY_VERDICT_LATER);
	WANT_INT(e.state, LY_ENROLMENT_ENROLLED);
	happens(LY_ENROLMENT_TICK);
	WANT_INT(did.n, 0);
	now += LY_ENROL_AGAIN_S;
	happens(LY_ENROLMENT_TICK);
	WANT(asks(LY_ENROL_TAKE));
	heard(LY_ENROL_TAKE, LY_VERDICT_BAD); /* it has another key now */
	WANT_INT(e.state, LY_ENROLMENT_UNKNOWN);
	now += LY_ENROL_REFUSED_S;
	happens(LY_ENROLMENT_TICK);
	WANT(asks(LY_ENROL_BEGIN));
}

TEST(at_half_its_life_a_certificate_is_renewed_by_a_quote)
{
	in(LY_ENROLMENT_ENROLLED);
	now = ly_enrolment_half(&e) - 1;
	happens(LY_ENROLMENT_TICK);
	WANT_INT(did.n, 0);
	now++;
	happens(LY_ENROLMENT_TICK);
	WANT(asks(LY_ENROL_RENEW));
	heard(LY_ENROL_RENEW, LY_VERDICT_GOOD);
	WANT_INT(acts(LY_ENROLMENT_RECORD), 1);
	saved(LY_VERDICT_GOOD);
	issued(LY_VERDICT_GOOD);
	WANT(asks(LY_ENROL_TAKE));
	WANT(e.issued == now);
}

TEST(another_boot_begins_again)
{
	in(LY_ENROLMENT_RENEWING);
	heard(LY_ENROL_RENEW, LY_VERDICT_ANEW);
	WANT(asks(LY_ENROL_BEGIN));
	WANT_INT(e.failures, 0);
	in(LY_ENROLMENT_DARED);
	heard(LY_ENROL_PROVE, LY_VERDICT_ANEW);
	WANT(asks(LY_ENROL_BEGIN));
}

TEST(a_host_that_boots_again_and_again_is_not_asked_without_end)
{
	in(LY_ENROLMENT_RENEWING);
	heard(LY_ENROL_RENEW, LY_VERDICT_ANEW);
	heard(LY_ENROL_BEGIN, LY_VERDICT_GOOD);
	heard(LY_ENROL_PROVE, LY_VERDICT_ANEW);
	WANT_INT(acts(LY_ENROLMENT_ASK), 0);
	WANT_INT(acts(LY_ENROLMENT_OVER), 1);
	WANT_INT(e.failures, 0);
	now += LY_ENROL_AGAIN_S;
	happens(LY_ENROLMENT_TICK); /* and then it may again */
	WANT_INT(acts(LY_ENROLMENT_ASK), 1);
	in(LY_ENROLMENT_RENEWING);
	heard(LY_ENROL_RENEW, LY_VERDICT_ANEW);
	WANT(asks(LY_ENROL_BEGIN));
}

TEST(a_certificate_that_ended_is_none)
{
	in(LY_ENROLMENT_ENROLLED);
	now = ly_enrolment_half(&e);
	happens(LY_ENROLMENT_TICK);
	heard(LY_ENROL_RENEW, LY_VERDICT_LATER);
	WANT_INT(e.state, LY_ENROLMENT_ENROLLED);
	now += LY_ENROL_AGAIN_S;
	happens(LY_ENROLMENT_TICK);
	WANT(asks(LY_ENROL_RENEW));
	heard(LY_ENROL_RENEW, LY_VERDICT_LATER);
	now = e.ends;
	happens(LY_ENROLMENT_TICK);
	WANT_INT(e.state, LY_ENROLMENT_UNKNOWN);
	happens(LY_ENROLMENT_TICK);
	WANT(asks(LY_ENROL_BEGIN));
}

TEST(a_bad_renewal_counts_as_a_failed_proof_and_takes_nothing_away)
{
	in(LY_ENROLMENT_RENEWING);
	heard(LY_ENROL_RENEW, LY_VERDICT_BAD);
	WANT_INT(e.failures, 1);
	WANT_INT(e.state, LY_ENROLMENT_ENROLLED);
}

TEST(a_new_list_of_approved_states_asks_whoever_was_enrolled)
{
	in(LY_ENROLMENT_ENROLLED);
	happens(LY_ENROLMENT_LIST);
	WANT(asks(LY_ENROL_RENEW));
	in(LY_ENROLMENT_ENROLLED);
	happens(LY_ENROLMENT_DOWN);
	happens(LY_ENROLMENT_LIST);
	WANT_INT(did.n, 0);
}

TEST(a_host_that_goes_in_the_middle_begins_again_when_it_is_back)
{
	static const enum ly_enrolment_state at[] = { LY_ENROLMENT_ASKED,
		LY_ENROLMENT_DARED, LY_ENROLMENT_RENEWING };

	for (size_t i = 0; i < LY_COUNT(at); i++) {
		in(at[i]);
		happens(LY_ENROLMENT_DOWN);
		WANT_INT(acts(LY_ENROLMENT_FORGET), 1);
		WANT_INT(acts(LY_ENROLMENT_OVER), 1);
		happens(LY_ENROLMENT_TICK);
		WANT_INT(did.n, 0);
		happens(LY_ENROLMENT_UP);
		WANT(asks(LY_ENROL_BEGIN));
	}
}

TEST(what_was_revoked_is_no_certificate_in_any_state)
{
	for (unsigned i = 0; i < LY_ENROLMENT_STATES; i++) {
		in((enum ly_enrolment_state)i);
		happens(LY_ENROLMENT_REVOKED);
		WANT_INT(acts(LY_ENROLMENT_ASK), 0);
		WANT(e.ends == 0 && e.issued == 0 && !e.asked);
		WANT_INT(e.state,
		    i == LY_ENROLMENT_FROZEN ? LY_ENROLMENT_FROZEN :
					       LY_ENROLMENT_UNKNOWN);
	}
}

TEST(an_operator_may_wish_for_it_at_any_time)
{
	in(LY_ENROLMENT_ENROLLED);
	happens(LY_ENROLMENT_WISH);
	WANT(asks(LY_ENROL_BEGIN));
	happens(LY_ENROLMENT_WISH); /* it is under way */
	WANT_INT(did.n, 0);
	in(LY_ENROLMENT_UNKNOWN);
	happens(LY_ENROLMENT_WISH);
	WANT(did.act[0].act == LY_ENROLMENT_OVER && !did.act[0].good);
	WANT(strstr(did.act[0].text, "not connected"));
}

/* Whatever comes in whatever order: the law of the head of enrol.h. */
TEST(no_order_of_events_certifies_what_was_not_recorded)
{
	uint32_t seed = 1;
	bool recorded = false;

	in(LY_ENROLMENT_UNKNOWN);
	for (unsigned i = 0; i < 400000; i++) {
		struct ly_enrolment_event ev;
		uint32_t r = seed = seed * 1664525u + 1013904223u;

		r >>= 8;
		ev = (struct ly_enrolment_event){
			.kind = (enum ly_enrolment_kind)(
			    r % LY_ENROLMENT_KINDS),
			.step = (enum ly_enrol_step)(1 + r / 16 % 4),
			.verdict = (enum ly_verdict)(r / 64 % LY_VERDICTS),
			.has = r / 512 % 2,
			.ends = now + 1 + r / 1024 % LIFE,
		};
		now += r / 2048 % 60;
		if (ev.kind == LY_ENROLMENT_SAVED &&
		    e.state == LY_ENROLMENT_PROVED)
			recorded = ev.verdict == LY_VERDICT_GOOD;
		tell(ev);
		if (acts(LY_ENROLMENT_ISSUE))
			WANT(recorded);
		if (acts(LY_ENROLMENT_ISSUE))
			recorded = false;
		if (e.failures >= LY_ENROLMENT_TRIES) {
			WANT_INT(e.state, LY_ENROLMENT_FROZEN);
			WANT_INT(acts(LY_ENROLMENT_ASK), 0);
		}
		WANT(!e.asked || e.state == LY_ENROLMENT_ASKED ||
		    e.state == LY_ENROLMENT_DARED ||
		    e.state == LY_ENROLMENT_ENROLLED ||
		    e.state == LY_ENROLMENT_RENEWING);
	}
}

TEST_MAIN()
