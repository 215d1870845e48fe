/* SPDX-License-Identifier: Apache-2.0 */
/* timeout: 240 */
/*
 * Attested migrations, as the manager drives them: evidence that is good, or
 * wrong in one thing; a key that opens once; a proof at the end; and a manager
 * that is killed between any two of these.
 */
#include "tests/io/attest_scene.h"

TEST(an_attested_migration_asks_all_three_and_is_proved)
{
	static const char *const papers[] = { "call", "evidence.dest",
		"evidence.source", "evidence.home", "key", "release", "confirm",
		"proof", "decided" };
	struct ly_mig_row row;

	scene();
	row = migrate(S1);
	WANT_STR(row.why, "");
	WANT_INT(row.state, LY_SAGA_CLEANED);
	WANT_INT(row.proved, LY_PROVED_GOOD);
	WANT_INT(row.lanes, 3);
	WANT_INT(fakes[N1].asked[LY_QUOTE], 2); /* source and home */
	WANT_INT(fakes[S1].asked[LY_QUOTE], 1);
	WANT_INT(fakes[N1].asked[LY_KEY], 1);
	WANT_INT(tpms[S1].releases, 1);
	WANT(!web1()->unproved);
	for (size_t i = 0; i < LY_COUNT(papers); i++) {
		uint8_t *at = NULL;
		size_t len;

		SITE_OK(ly_record_kept(mgr[NORTH], &row.id, papers[i], &at,
		    &len, &why));
		free(at);
	}
	WANT_INT(recorded(&row.id, LY_RECORD_MIG_APPROVED), 1);
	WANT_INT(recorded(&row.id, LY_RECORD_KEY_BORN), 1);
	WANT_INT(recorded(&row.id, LY_RECORD_KEY_RELEASED), 1);
	WANT_INT(recorded(&row.id, LY_RECORD_MIG_PROVED), 1);
	WANT_INT(recorded(&row.id, LY_RECORD_MIG_DECIDED), 1);
	WANT_INT(recorded(&row.id, LY_RECORD_KEY_DESTROYED), 1);
	row = migrate(N2); /* from another site, to one that is not the home */
	WANT_INT(row.proved, LY_PROVED_GOOD);
	go_home();
}

/* ---- evidence with one thing wrong ---- */

static const struct {
	int who;
	enum fake_spoil spoil;
	const char *text;
} bad[] = {
	{ S1, SPOIL_NONCE,
	    "attest: destination south/s1: context: the quote is over another nonce" },
	{ N1, SPOIL_NONCE,
	    "attest: source north/n1: context: the quote is over another nonce" },
	{ S1, SPOIL_ROLE, "attest: destination south/s1" },
	{ N1, SPOIL_ROLE, "attest: source north/n1" },
	{ S1, SPOIL_CHIP, "attest: destination south/s1: keys: its AK" },
	{ N1, SPOIL_CHIP, "attest: source north/n1: keys: its AK" },
	{ S1, SPOIL_BOOT, "attest: destination south/s1: quote" },
	{ N1, SPOIL_BOOT, "attest: source north/n1: quote" },
	{ S1, SPOIL_STATE, "PCR 4" },
	{ N1, SPOIL_STATE, "attest: source north/n1: state" },
	{ S1, SPOIL_LOG, "attest: destination south/s1: log" },
	{ N1, SPOIL_HOLDER, "home: who holds the VM's TPM has another TLS" },
	{ N1, SPOIL_SWAP, "attest: source north/n1: certificate: is that of" },
	{ S1, SPOIL_NO_EVIDENCE,
	    "attest: destination south/s1: it gave no evidence" },
};

TEST(evidence_that_is_wrong_in_one_thing_ends_it_before_anything_is_sent)
{
	for (size_t i = 0; i < LY_COUNT(bad); i++) {
		struct ly_mig_row row;

		scene();
		tpms[bad[i].who].spoil = bad[i].spoil;
		row = migrate(S1);
		WANT_INT(row.state, LY_SAGA_ABORTED);
		if (!strstr(row.why, bad[i].text))
			test_fail(__FILE__, __LINE__, "%zu: %s", i, row.why);
		WANT_INT(fakes[S1].asked[LY_PREPARE], 0);
		WANT_INT(fakes[N1].asked[LY_KEY], 0);
		WANT_INT(fakes[N1].asked[LY_COPY], 0);
		WANT_INT(recorded(&row.id, LY_RECORD_MIG_APPROVED), 0);
		WANT_STR(web1()->at.name, "n1");
	}
}

TEST(a_home_in_a_state_that_is_not_approved_is_named_as_the_home)
{
	struct ly_mig_row row;

	scene();
	WANT_INT(migrate(N2).state, LY_SAGA_CLEANED); /* source is not home */
	tpms[N1].spoil = SPOIL_STATE;
	row = migrate(S1);
	WANT_INT(row.state, LY_SAGA_ABORTED);
	WANT(strstr(row.why, "attest: home north/n1: state"));
	WANT(strstr(row.why, "PCR 4"));
	scene();
	go_home();
}

TEST(a_host_that_gives_no_evidence_or_no_key_is_named_with_its_reason)
{
	static const struct {
		int who;
		unsigned type;
		const char *text;
	} no[] = {
		{ S1, LY_QUOTE, "attest: destination south/s1: in a bad mood" },
		{ N1, LY_KEY, "key: source north/n1: in a bad mood" },
		{ S1, LY_IMPORT,
		    "import: destination south/s1: in a bad mood" },
		{ S1, LY_UNLOCK,
		    "unlock: destination south/s1: in a bad mood" },
	};

	for (size_t i = 0; i < LY_COUNT(no); i++) {
		struct ly_mig_row row;

		scene();
		fakes[no[i].who].mood[no[i].type] = FAKE_REFUSES;
		row = migrate(S1);
		WANT_INT(row.state, LY_SAGA_ABORTED);
		WANT_STR(row.why, no[i].text);
		WANT_INT(fakes[N1].asked[LY_COPY], 0);
		WANT_INT(fakes[S1].asked[LY_DROP], no[i].type != LY_QUOTE);
		/* A key that was made is never another migration's. */
		WANT_INT(recorded(&row.id, LY_RECORD_KEY_DESTROYED),
		    recorded(&row.id, LY_RECORD_KEY_BORN));
	}
}

/* ---- before anybody is asked ---- */

static void
want_refused(const char *text)
{
	struct ly_why why = { "" };
	struct ly_id id;

	WANT_INT(try_migrate(S1, &id, &why), LY_REFUSED);
	if (!strstr(why.text, text))
		test_fail(__FILE__, __LINE__, "%s", why.text);
	WANT_INT(fakes[N1].asked[LY_SHOW], 0);
	WANT_INT(fakes[S1].asked[LY_QUOTE], 0);
}

/* Its manager looks at it again each second, and finds it good. */
TEST(what_is_known_of_a_host_refuses_it_before_anybody_is_asked)
{
	static const struct {
		enum ly_standing standing;
		const char *text;
	} no[] = {
		{ LY_STANDING_NONE, "is not enrolled" },
		{ LY_STANDING_ENDED, "has not proved its state for too long" },
		{ LY_STANDING_UNAPPROVED, "is in a state not approved" },
		{ LY_STANDING_FROZEN, "is frozen" },
	};
	const struct ly_host *s1;

	for (size_t i = 0; i < LY_COUNT(no); i++) {
		char text[128];

		scene();
		s1 = ly_roster_host(&mgr[NORTH]->roster, "south", "s1");
		UNTIL((set_standing(SOUTH, "s1", no[i].standing),
		    s1->standing == no[i].standing));
		ly_print(text, sizeof(text), "attest: destination south/s1 %s",
		    no[i].text);
		want_refused(text);
		UNTIL((set_standing(SOUTH, "s1", LY_STANDING_GOOD),
		    s1->standing == LY_STANDING_GOOD));
		set_standing(NORTH, "n1", no[i].standing);
		ly_print(text, sizeof(text), "attest: source north/n1 %s",
		    no[i].text);
		want_refused(text);
		set_standing(NORTH, "n1", LY_STANDING_GOOD);
	}
}

TEST(a_site_whose_approved_states_have_not_come_gets_nothing)
{
	char pem[256], away[256];

	scene();
	ly_copy(pem, sizeof(pem), site_path("north/trust/south.policy.pem"));
	ly_copy(away, sizeof(away), site_path("away.pem"));
	kill_manager(NORTH);
	WANT(rename(pem, away) == 0);
	scene();
	want_refused("attest: destination south/s1: this manager is without the"
		     " policy key's approval");
	kill_manager(NORTH);
	WANT(rename(away, pem) == 0);
}

/* ---- the proof ---- */

/* From its disk. */
static void
start_anew(void)
{
	struct ly_host *n1 = ly_roster_host(&mgr[NORTH]->roster, "north", "n1");

	ly_vm_job_stop(mgr[NORTH], 0, web1(), false);
	UNTIL(!web1()->busy);
	ly_vm_job_start(mgr[NORTH], 0, web1(), n1, false);
	UNTIL(!web1()->busy);
	WANT_STR(world.vm[0].holder, fakes[N1].id);
}

TEST(a_migration_without_its_proof_is_committed_and_the_vm_quarantined)
{
	static const struct {
		enum fake_spoil spoil;
		const char *text;
	} no[] = {
		{ SPOIL_NO_PROOF, "the source north/n1 gave no proof" },
		{ SPOIL_ROOT, "what arrived is not what was sent" },
		{ SPOIL_SIGNER, "SENT: signed by spiffe://south/host/s1" },
		{ SPOIL_KEY, "SENT is signed by another key than" },
		{ SPOIL_LATER_BOOT, "quote" },
		{ SPOIL_LATER_STATE, "state has changed on the way" },
		{ SPOIL_NO_QUOTE, "its quote is missing" },
	};

	for (size_t i = 0; i < LY_COUNT(no); i++) {
		unsigned long alarms;
		struct ly_mig_row row;

		scene();
		alarms = mgr[NORTH]->alarms_n;
		tpms[N1].spoil = no[i].spoil;
		row = migrate(S1);
		WANT_INT(row.state, LY_SAGA_CLEANED);
		WANT_INT(row.fate, LY_FATE_CLAIMED);
		WANT(row.proved != LY_PROVED_GOOD);
		if (!strstr(row.why, no[i].text))
			test_fail(__FILE__, __LINE__, "%zu: %s", i, row.why);
		WANT(alarmed(alarms, "quarantined: its migration is not"));
		WANT(alarmed(alarms, no[i].text));
		WANT_STR(web1()->at.name, "s1");
		WANT(web1()->unproved);
		WANT_INT(recorded(&row.id, LY_RECORD_MIG_UNPROVED), 1);
		kill_manager(NORTH);
		scene();
		WANT(web1()->unproved);
		/* Another hop proves itself, not the one before. */
		WANT_INT(migrate(N1).proved, LY_PROVED_GOOD);
		WANT(web1()->unproved);
		start_anew();
		WANT(!web1()->unproved);
	}
}

TEST(the_quarantine_does_not_wait_for_the_homes_last_word)
{
	struct ly_id id;

	scene();
	tpms[N1].spoil = SPOIL_NO_PROOF;
	id = begin_migration(S1);
	UNTIL(fakes[N1].asked[LY_SHOW] >= 1);
	fakes[N1].mood[LY_SHOW] = FAKE_LOSES;
	UNTIL(row_of(&id).state == LY_SAGA_COMMITTED);
	WANT(web1()->unproved);
	kill_manager(NORTH);
	scene();
	WANT_INT(ended(&id).state, LY_SAGA_CLEANED);
	WANT(web1()->unproved);
	start_anew();
}

/* It took its proof with it. */
TEST(a_source_that_is_lost_after_the_switch_leaves_a_quarantined_vm)
{
	unsigned long alarms;
	struct ly_id id;

	scene();
	WANT_INT(migrate(N2).state, LY_SAGA_CLEANED);
	alarms = mgr[NORTH]->alarms_n;
	fakes[N2].mood[LY_COPY] = FAKE_LOSES;
	fakes[N2].asked[LY_COPY] = 0;
	id = begin_migration(S1);
	UNTIL(fakes[N2].asked[LY_COPY] >= 1);
	fake_cut(&fakes[N2]);
	UNTIL(row_of(&id).state == LY_SAGA_COMMITTED);
	WANT(web1()->unproved);
	for (int i = 0; i < 8000 && mgr[NORTH]->alarms_n == alarms; i++)
		turn(2); /* so long it may take to answer */
	WANT(alarmed(alarms,
	    "quarantined: its migration is not proved: the"
	    " source has proved nothing"));
	fakes[N2].off = false;
	WANT_INT(ended(&id).state, LY_SAGA_CLEANED);
	WANT(web1()->unproved);
	scene();
	start_anew();
}

TEST(a_home_that_signs_something_else_is_an_alarm_and_no_more)
{
	unsigned long alarms;
	struct ly_mig_row row;

	scene();
	alarms = mgr[NORTH]->alarms_n;
	tpms[N1].spoil = SPOIL_SEQ;
	row = migrate(S1);
	WANT_INT(row.state, LY_SAGA_CLEANED);
	WANT_INT(row.proved, LY_PROVED_GOOD);
	WANT(alarmed(alarms, "its home's decision"));
	WANT(!web1()->unproved);
	scene();
	go_home();
}

/* ---- kill -9 at every step ---- */

static void
killed_at(int f, unsigned type, unsigned nth)
{
	struct ly_mig_row row;
	struct ly_id id;

	scene();
	id = begin_migration(S1);
	UNTIL(fakes[f].asked[type] >= nth - 1);
	fakes[f].mood[type] = FAKE_LOSES;
	UNTIL(fakes[f].asked[type] >= nth);
	kill_manager(NORTH);
	memset(fakes[f].mood, 0, sizeof(fakes[f].mood));
	start_manager(NORTH);
	row = ended(&id);
	WANT_STR(row.why, "");
	WANT_INT(row.state, LY_SAGA_CLEANED);
	WANT_INT(row.proved, LY_PROVED_GOOD);
	WANT_INT(tpms[S1].calls, 1); /* one nonce for all of it */
	WANT_INT(recorded(&id, LY_RECORD_KEY_RELEASED), 1);
	WANT_INT(recorded(&id, LY_RECORD_KEY_DESTROYED), 1);
	scene();
	go_home();
}

TEST(a_manager_killed_while_it_attests_goes_on_with_the_same_call)
{
	killed_at(S1, LY_QUOTE, 1);
	killed_at(N1, LY_QUOTE, 1);
	killed_at(N1, LY_QUOTE, 2);
}

TEST(a_manager_killed_while_the_destination_prepares_goes_on)
{
	killed_at(S1, LY_PREPARE, 1);
}

TEST(a_manager_killed_while_the_key_is_made_goes_on)
{
	killed_at(N1, LY_KEY, 1);
}

/* As if all this had taken longer than a call is good for. */
static void
let_the_call_expire(const struct ly_id *mig)
{
	const struct ly_peer *self = ly_identity_self(mgr[NORTH]->ids);
	struct ly_call call = tpms[S1].p.call;
	uint8_t tagged[1536], object[LY_STATEMENT_MAX];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));
	size_t len = sizeof(object);

	WANT(self->role == LY_ROLE_MANAGER);
	call.expires = ly_now_s() - 1;
	ly_message_put_tagged(&ly_call_message, &call, &w);
	SITE_OK(ly_sign(mgr[NORTH]->ids, LY_TYPE_CALL, tagged, ly_wr_len(&w),
	    object, &len, &why));
	SITE_OK(ly_record_keep(mgr[NORTH], mig, "call",
	    (struct ly_bytes){ object, len }, &why));
}

TEST(no_key_is_released_for_a_call_that_has_expired)
{
	struct ly_mig_row row;
	struct ly_id id;

	scene();
	fakes[N1].mood[LY_KEY] = FAKE_LOSES;
	id = begin_migration(S1);
	UNTIL(fakes[N1].asked[LY_KEY] >= 1);
	let_the_call_expire(&id);
	kill_manager(NORTH);
	fakes[N1].mood[LY_KEY] = FAKE_GOOD;
	start_manager(NORTH);
	row = ended(&id);
	WANT_INT(row.state, LY_SAGA_ABORTED);
	WANT(strstr(row.why,
	    "import: destination south/s1: its call for"
	    " evidence has expired"));
	WANT_INT(fakes[S1].asked[LY_UNLOCK], 0);
	WANT_INT(recorded(&id, LY_RECORD_KEY_RELEASED), 0);
}

TEST(a_manager_killed_while_the_key_is_imported_goes_on)
{
	killed_at(S1, LY_IMPORT, 1);
}

/* The release was signed and sent: the same one is sent again, not another. */
TEST(a_manager_killed_while_the_key_is_opened_releases_it_once)
{
	killed_at(S1, LY_UNLOCK, 1);
}

TEST(a_manager_killed_while_it_copies_keeps_confirmation_and_proof)
{
	killed_at(N1, LY_COPY, 1);
}

TEST(a_manager_killed_before_the_homes_last_word_goes_on)
{
	killed_at(N1, LY_SHOW, 2);
}

TEST(a_migration_stays_attested_when_its_manager_is_configured_anew)
{
	struct ly_mig_row row;
	struct ly_id id;

	scene();
	fakes[S1].mood[LY_PREPARE] = FAKE_LOSES;
	id = begin_migration(S1);
	UNTIL(fakes[S1].asked[LY_PREPARE] >= 1);
	kill_manager(NORTH);
	fakes[S1].mood[LY_PREPARE] = FAKE_GOOD;
	attest = false;
	start_manager(NORTH);
	row = ended(&id);
	WANT_INT(row.state, LY_SAGA_CLEANED);
	WANT_INT(row.attest, 1);
	WANT_INT(row.proved, LY_PROVED_GOOD);
	WANT(fakes[N1].asked[LY_KEY] > 0);
	kill_manager(NORTH);
	scene();
	go_home();
}

/* ---- answers twice ---- */

TEST(answers_that_come_twice_are_heard_once)
{
	static const unsigned types[] = { LY_QUOTE, LY_KEY, LY_IMPORT,
		LY_UNLOCK, LY_COPY };
	struct ly_mig_row row;

	scene();
	for (int f = 0; f < FAKES; f++)
		for (size_t i = 0; i < LY_COUNT(types); i++)
			fakes[f].mood[types[i]] = FAKE_TWICE;
	row = migrate(S1);
	WANT_INT(row.state, LY_SAGA_CLEANED);
	WANT_INT(row.proved, LY_PROVED_GOOD);
	WANT_INT(tpms[S1].releases, 1);
	WANT_INT(recorded(&row.id, LY_RECORD_MIG_APPROVED), 1);
	WANT_INT(recorded(&row.id, LY_RECORD_KEY_RELEASED), 1);
	scene();
	go_home();
}

TEST(an_operator_calls_it_off_while_it_attests)
{
	struct ly_mig_row row;
	struct ly_id id;

	scene();
	fakes[S1].mood[LY_QUOTE] = FAKE_LOSES;
	id = begin_migration(S1);
	UNTIL(fakes[S1].asked[LY_QUOTE] >= 1);
	WANT(!ly_move_cancel(web1()->saga));
	row = ended(&id);
	WANT_INT(row.state, LY_SAGA_ABORTED);
	WANT_INT(fakes[S1].asked[LY_PREPARE], 0);
}

TEST(every_migration_has_a_nonce_of_its_own)
{
	uint8_t one[32];

	scene();
	(void)migrate(N2);
	memcpy(one, tpms[N2].p.call.nonce, sizeof(one));
	go_home();
	(void)migrate(N2);
	WANT(memcmp(one, tpms[N2].p.call.nonce, sizeof(one)) != 0);
	go_home();
}

TEST_MAIN()
