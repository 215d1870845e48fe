/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager/io/record.c on a real store: what is written with what, what a start
 * refuses, and that a Name is never accepted twice.
 */
#include "manager/io/manager.h"
#include "tests/unit/site.h"

#include <sqlite3.h>

static struct ly_manager m;
static unsigned turn;

static const char *
db(void)
{
	return site_path("state%u/lanyard.db", turn);
}

static enum ly_rc
start(bool accept, struct ly_why *why)
{
	enum ly_rc rc = ly_store_open(db(), &m.store, why);

	return rc == LY_OK ? ly_record_load(&m, accept, why) : rc;
}

static void
stop(void)
{
	ly_record_free(&m);
	m.records = NULL;
	ly_store_close(m.store);
	m.store = NULL;
}

/* A new site's manager. */
static void
scene(void)
{
	if (!m.ids) {
		site_make("north");
		site_certify("m1", "north", "spiffe://north/manager/m1");
		m.ids = site_load("m1", "trust");
	}
	if (m.records)
		stop();
	turn++;
	ly_copy(m.conf.site, sizeof(m.conf.site), "north");
	ly_copy(m.conf.state, sizeof(m.conf.state), site_path("state%u", turn));
	SITE_OK(ly_file_mkdir(m.conf.state, 0700, &why));
	SITE_OK(start(false, &why));
}

static void
again(void)
{
	stop();
	SITE_OK(start(false, &why));
}

static void
want_refused(const char *says)
{
	struct ly_why why = { "" };

	stop();
	if (start(false, &why) != LY_REFUSED || !strstr(why.text, says))
		test_fail(__FILE__, __LINE__, "says \"%s\"", why.text);
}

static enum ly_rc
born(const char *name, const char *subject, struct ly_why *why)
{
	struct ly_record_event ev = { .kind = LY_RECORD_KEY_BORN,
		.subject = subject,
		.name = name,
		.text = "a key",
		.details = json_pack("{s:i, s:s}", "z", 1, "a", "\x7f") };

	return ly_record_add(&m, &ev, why);
}

static void
three(void)
{
	SITE_OK(born("01", "a", &why));
	SITE_OK(born("02", "b", &why));
	SITE_OK(born("03", "c", &why));
}

/* What somebody with the file in his hands can do; the triggers go first. */
static void
tamper(const char *sql)
{
	sqlite3 *raw = NULL;
	char *says = NULL;

	stop();
	WANT(sqlite3_open(db(), &raw) == SQLITE_OK);
	if (sqlite3_exec(raw,
		"DROP TRIGGER record_stays; DROP TRIGGER record_grows", NULL,
		NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(raw, sql, NULL, NULL, &says) != SQLITE_OK)
		test_fail(__FILE__, __LINE__, "%s", says);
	sqlite3_close(raw);
	SITE_OK(ly_store_open(db(), &m.store, &why));
}

static void
save_state(const char *to)
{
	char cmd[700];

	stop();
	ly_print(cmd, sizeof(cmd), "rm -rf %s && cp -r %s %s",
	    site_path("%s", to), site_path("state%u", turn),
	    site_path("%s", to));
	WANT_INT(system(cmd), 0);
	SITE_OK(start(false, &why));
}

/* Only the database, as a backup would have it. */
static void
put_back(const char *from)
{
	char cmd[700];

	stop();
	ly_print(cmd, sizeof(cmd), "rm -f %s-*; cp %s/lanyard.db* %s", db(),
	    site_path("%s", from), site_path("state%u", turn));
	WANT_INT(system(cmd), 0);
	SITE_OK(ly_store_open(db(), &m.store, &why));
}

TEST(a_new_site_s_record_begins_with_an_event)
{
	scene();
	WANT_INT(ly_record_head(&m)->n, 1);
	again();
	WANT_INT(ly_record_head(&m)->n, 1);
	WANT(!ly_record_lost(&m));
}

TEST(what_was_recorded_is_there_after_a_restart)
{
	struct ly_chain head;
	struct ly_name_seen seen;

	scene();
	three();
	head = *ly_record_head(&m);
	again();
	WANT(ly_chain_same(ly_record_head(&m), &head));
	SITE_OK(ly_record_seen(&m, "02", &seen, &why));
	WANT_INT(seen.first, 3);
	WANT_STR(seen.subject, "b");
	SITE_OK(ly_record_seen(&m, "04", &seen, &why));
	WANT_INT(seen.first, 0);
}

TEST(a_name_is_not_accepted_for_another_and_nothing_is_written)
{
	struct ly_chain head;
	struct ly_why no;

	scene();
	three();
	head = *ly_record_head(&m);
	WANT_INT(born("02", "c", &no), LY_REFUSED);
	WANT(strstr(no.text, "02 is b's since event 3"));
	WANT(ly_chain_same(ly_record_head(&m), &head));
	again();
	WANT(ly_chain_same(ly_record_head(&m), &head));
	WANT_INT(born("02", "c", &no), LY_REFUSED);
	SITE_OK(born("02", "b", &why));
}

TEST(a_destroyed_name_is_gone_over_a_restart)
{
	struct ly_record_event ev = { .kind = LY_RECORD_KEY_DESTROYED,
		.subject = "a",
		.name = "01" };
	struct ly_why no;

	scene();
	three();
	SITE_OK(ly_record_add(&m, &ev, &why));
	again();
	WANT_INT(born("01", "a", &no), LY_REFUSED);
	WANT(strstr(no.text, "destroyed"));
}

/* The second of two events breaks the rule: neither is there, nor the row. */
TEST(events_and_their_row_are_written_together_or_not_at_all)
{
	struct ly_peer_row row = { .site = "south" }, got;
	struct ly_record_event ev[] = {
		{ .kind = LY_RECORD_KEY_BORN, .subject = "d", .name = "04" },
		{ .kind = LY_RECORD_KEY_BORN, .subject = "e", .name = "04" },
	};
	struct ly_name_seen seen;
	struct ly_chain head;

	scene();
	three();
	head = *ly_record_head(&m);
	WANT_INT(ly_record_put(&m, LY_ROW_PEER, &row, NULL, ev, 2, NULL),
	    LY_REFUSED);
	WANT(ly_chain_same(ly_record_head(&m), &head));
	WANT_INT(ly_store_get(m.store, LY_ROW_PEER, "south", &got, NULL),
	    LY_UNKNOWN);
	SITE_OK(ly_record_seen(&m, "04", &seen, &why));
	WANT_INT(seen.first, 0);
	ev[1].subject = "d";
	SITE_OK(ly_record_put(&m, LY_ROW_PEER, &row, NULL, ev, 2, &why));
	WANT_INT(ly_record_head(&m)->n, 6);
	SITE_OK(ly_store_get(m.store, LY_ROW_PEER, "south", &got, &why));
	SITE_OK(ly_record_del(&m, LY_ROW_PEER, "south", NULL,
	    &(struct ly_record_event){ .kind = LY_RECORD_SITE_TRUSTED }, &why));
	WANT_INT(ly_store_get(m.store, LY_ROW_PEER, "south", &got, NULL),
	    LY_UNKNOWN);
	again();
	WANT_INT(ly_record_head(&m)->n, 7);
}

TEST(the_database_itself_says_no_to_a_change)
{
	sqlite3 *raw = NULL;

	scene();
	three();
	stop();
	WANT(sqlite3_open(db(), &raw) == SQLITE_OK);
	WANT(sqlite3_exec(raw, "DELETE FROM record WHERE n = 2", NULL, NULL,
		 NULL) != SQLITE_OK);
	WANT(sqlite3_exec(raw, "UPDATE record SET name = '' WHERE n = 2", NULL,
		 NULL, NULL) != SQLITE_OK);
	sqlite3_close(raw);
	SITE_OK(start(false, &why));
}

TEST(a_changed_line_keeps_the_manager_from_starting)
{
	static const char *const sql[] = {
		"UPDATE record SET line = replace(line, 'a key', 'A key')"
		" WHERE n = 3",
		"UPDATE record SET line = replace(line, 'a key', 'A key')"
		" WHERE n = 4",
		"DELETE FROM record WHERE n = 2",
		"DELETE FROM record WHERE n = 4",
		"UPDATE record SET n = 9 WHERE n = 4",
		"UPDATE record SET name = '' WHERE n = 3",
		"UPDATE record SET mig = 'x' WHERE n = 3",
		"DELETE FROM row WHERE kind = 'head'",
	};

	for (size_t i = 0; i < LY_COUNT(sql); i++) {
		scene();
		three();
		tamper(sql[i]);
		want_refused("record");
		want_refused("put back");
	}
}

TEST(a_database_that_was_put_back_keeps_the_manager_from_starting)
{
	scene();
	three();
	save_state("old");
	three();
	put_back("old");
	want_refused("has 4 events");
	want_refused("--accept-loss"); /* asked twice, it is no less lost */
	stop();
	SITE_OK(start(true, &why));
	WANT_INT(ly_record_head(&m)->n, 5);
	again();
	WANT_INT(ly_record_head(&m)->n, 5);
}

/* As many events as were signed for, but others. */
TEST(another_history_of_the_same_length_is_found)
{
	scene();
	three();
	save_state("old");
	SITE_OK(born("04", "d", &why));
	put_back("old");
	SITE_OK(ly_file_write(site_path("state%u/head.kept", turn), "", 0, 0600,
	    &why));
	WANT(rename(site_path("state%u/head", turn),
		 site_path("state%u/head.kept", turn)) == 0);
	stop();
	site_copy(site_path("old/head"), site_path("state%u/head", turn));
	SITE_OK(start(false, &why));
	SITE_OK(born("05", "e", &why));
	stop();
	WANT(rename(site_path("state%u/head.kept", turn),
		 site_path("state%u/head", turn)) == 0);
	SITE_OK(ly_store_open(db(), &m.store, &why));
	want_refused("others");
}

TEST(a_head_that_is_gone_or_not_ours_keeps_the_manager_from_starting)
{
	uint8_t *text = NULL;
	size_t len;

	scene();
	three();
	stop();
	WANT(remove(site_path("state%u/head", turn)) == 0);
	SITE_OK(ly_store_open(db(), &m.store, &why));
	want_refused("head");
	scene();
	three();
	stop();
	SITE_OK(ly_file_read(site_path("state%u/head", turn), 4096, &text, &len,
	    &why));
	*strstr((char *)text, "events ") = 'E';
	SITE_OK(ly_file_write(site_path("state%u/head", turn), text, len, 0600,
	    &why));
	SITE_OK(ly_store_open(db(), &m.store, &why));
	want_refused("head");
	free(text);
}

/* Killed between the store's transaction and the file. */
TEST(a_head_file_that_lags_is_fine)
{
	scene();
	three();
	ly_record_tick(&m);
	site_copy(site_path("state%u/head", turn), site_path("lags"));
	SITE_OK(born("04", "d", &why));
	stop();
	site_copy(site_path("lags"), site_path("state%u/head", turn));
	SITE_OK(start(false, &why));
	WANT_INT(ly_record_head(&m)->n, 5);
}

/* STATE/head lags, so only the head in the database knows of the last event. */
TEST(a_last_event_that_was_cut_off_is_found_by_the_database_s_own_head)
{
	scene();
	SITE_OK(born("01", "a", &why));
	SITE_OK(born("02", "b", &why));
	ly_record_tick(&m);
	site_copy(site_path("state%u/head", turn), site_path("lags"));
	SITE_OK(born("03", "c", &why));
	tamper("DELETE FROM record WHERE n = 4");
	site_copy(site_path("lags"), site_path("state%u/head", turn));
	want_refused("it has 3 events, but 4 were signed for");
}

TEST(what_a_migration_s_receipt_needs_is_kept)
{
	struct ly_id mig = { { 7 } };
	uint8_t *out = NULL;
	size_t len;

	scene();
	SITE_OK(ly_record_keep(&m, &mig, "call",
	    (struct ly_bytes){ (const uint8_t *)"\0one", 4 }, &why));
	SITE_OK(ly_record_keep(&m, &mig, "call",
	    (struct ly_bytes){ (const uint8_t *)"\0two", 4 }, &why));
	SITE_OK(ly_record_keep(&m, &mig, "none", (struct ly_bytes){ NULL, 0 },
	    &why));
	again();
	SITE_OK(ly_record_kept(&m, &mig, "call", &out, &len, &why));
	WANT_INT(len, 4);
	WANT_MEM(out, "\0two", 4);
	free(out);
	SITE_OK(ly_record_kept(&m, &mig, "none", &out, &len, &why));
	WANT_INT(len, 0);
	free(out);
	WANT_INT(ly_record_kept(&m, &mig, "proof", &out, &len, NULL),
	    LY_UNKNOWN);
	stop();
	ly_identity_free(m.ids);
}

TEST_MAIN()
