/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store in SQLite: WAL, and every commit flushed (synchronous=FULL), so
 * that a row that was put is there after a power cut. The only file that
 * speaks SQLite.
 */
#include "manager/store/store.h"

#include <stdlib.h>
#include <time.h>

#include <sqlite3.h>

#define BUSY_MS 200 /* a person with sqlite3(1) open; then LY_OUTSIDE */
#define SCHEMA_VERSION 1

enum query {
	PUT,
	DEL,
	GET,
	EACH,
	JOURNAL,
	APPEND,
	LINES,
	LINES_NAME,
	LINES_VM,
	LINES_MIG,
	KEEP,
	KEPT,
	BEGIN,
	COMMIT,
	ROLLBACK,
	QUERIES
};

#define LINE "SELECT n, name, vm, mig, line FROM record WHERE n >= ?1"

static const char *const queries[QUERIES] = {
	[PUT] = "INSERT INTO row(kind, key, json) VALUES(?1, ?2, ?3)"
		" ON CONFLICT(kind, key) DO UPDATE SET json = excluded.json",
	[DEL] = "DELETE FROM row WHERE kind = ?1 AND key = ?2",
	[GET] = "SELECT json FROM row WHERE kind = ?1 AND key = ?2",
	[EACH] = "SELECT key, json FROM row WHERE kind = ?1 ORDER BY key",
	[JOURNAL] = "INSERT INTO journal(at, kind, key, what)"
		    " VALUES(?3, ?1, ?2, ?4)",
	[APPEND] = "INSERT INTO record(n, name, vm, mig, line)"
		   " VALUES(?1, ?2, ?3, ?4, ?5)",
	[LINES] = LINE " ORDER BY n",
	[LINES_NAME] = LINE " AND name = ?2 AND name <> '' ORDER BY n",
	[LINES_VM] = LINE " AND vm = ?2 AND vm <> '' ORDER BY n",
	[LINES_MIG] = LINE " AND mig = ?2 AND mig <> '' ORDER BY n",
	[KEEP] = "INSERT INTO exhibit(mig, what, bytes) VALUES(?1, ?2, ?3)"
		 " ON CONFLICT(mig, what) DO UPDATE"
		 " SET bytes = excluded.bytes",
	[KEPT] = "SELECT what, bytes FROM exhibit WHERE mig = ?1 ORDER BY what",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
};

static const char schema[] =
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = FULL;"
    "CREATE TABLE IF NOT EXISTS row(kind TEXT, key TEXT, json TEXT NOT NULL,"
    " PRIMARY KEY(kind, key)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS journal(n INTEGER PRIMARY KEY,"
    " at INTEGER NOT NULL, kind TEXT, key TEXT, what TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS record(n INTEGER PRIMARY KEY,"
    " name TEXT NOT NULL, vm TEXT NOT NULL, mig TEXT NOT NULL,"
    " line TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS record_name ON record(name)"
    " WHERE name <> '';"
    "CREATE INDEX IF NOT EXISTS record_vm ON record(vm) WHERE vm <> '';"
    "CREATE INDEX IF NOT EXISTS record_mig ON record(mig) WHERE mig <> '';"
    "CREATE TRIGGER IF NOT EXISTS record_stays BEFORE UPDATE ON record"
    " BEGIN SELECT RAISE(ABORT, 'the record is never changed'); END;"
    "CREATE TRIGGER IF NOT EXISTS record_grows BEFORE DELETE ON record"
    " BEGIN SELECT RAISE(ABORT, 'the record is never cut'); END;"
    "CREATE TABLE IF NOT EXISTS exhibit(mig TEXT, what TEXT,"
    " bytes BLOB NOT NULL, PRIMARY KEY(mig, what)) WITHOUT ROWID;";

struct sqlite {
	struct ly_store base;
	sqlite3 *db;
	sqlite3_stmt *q[QUERIES];
	char path[256];
	bool open; /* between begin and end */
};

static enum ly_rc
wrong(struct sqlite *s, struct ly_why *why)
{
	return ly_fail(why, LY_OUTSIDE, "%s: %s", s->path,
	    s->db ? sqlite3_errmsg(s->db) : "out of memory");
}

static sqlite3_stmt *
query(struct sqlite *s, enum query which, enum ly_row_kind kind,
    const char *key)
{
	sqlite3_stmt *q = s->q[which];

	sqlite3_reset(q);
	sqlite3_clear_bindings(q);
	if (kind)
		sqlite3_bind_text(q, 1, ly_row_table(kind)->name, -1,
		    SQLITE_STATIC);
	if (key)
		sqlite3_bind_text(q, 2, key, -1, SQLITE_TRANSIENT);
	return q;
}

static bool
run(sqlite3_stmt *q)
{
	int rc = sqlite3_step(q);

	sqlite3_reset(q);
	return rc == SQLITE_DONE;
}

static bool
add_journal(struct sqlite *s, enum ly_row_kind kind, const char *key,
    const char *what)
{
	sqlite3_stmt *q;

	if (!what)
		return true;
	q = query(s, JOURNAL, kind, key);
	sqlite3_bind_int64(q, 3, (sqlite3_int64)time(NULL));
	sqlite3_bind_text(q, 4, what, -1, SQLITE_TRANSIENT);
	return run(q);
}

static enum ly_rc
begin(struct ly_store *base, struct ly_why *why)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);

	assert(!s->open);
	if (!run(query(s, BEGIN, 0, NULL)))
		return wrong(s, why);
	s->open = true;
	return LY_OK;
}

/* A failure is told before the rollback changes it. */
static enum ly_rc
end(struct ly_store *base, bool keep, struct ly_why *why)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);
	enum ly_rc rc = LY_OK;

	assert(s->open);
	s->open = false;
	if (keep && !run(query(s, COMMIT, 0, NULL)))
		rc = wrong(s, why);
	if (!sqlite3_get_autocommit(s->db))
		(void)run(query(s, ROLLBACK, 0, NULL));
	return rc;
}

/* One change and its journal: all of it or none. */
static enum ly_rc
transact(struct sqlite *s, sqlite3_stmt *change, enum ly_row_kind kind,
    const char *key, const char *journal, struct ly_why *why)
{
	bool own = !s->open;
	enum ly_rc rc = own ? begin(&s->base, why) : LY_OK;
	bool good;

	if (rc != LY_OK)
		return rc;
	good = run(change) && add_journal(s, kind, key, journal);
	if (!good)
		rc = wrong(s, why);
	if (own && good)
		rc = end(&s->base, true, why);
	else if (own)
		(void)!end(&s->base, false, NULL);
	return rc;
}

static enum ly_rc
put(struct ly_store *base, enum ly_row_kind kind, const char *key,
    const char *json, const char *journal, struct ly_why *why)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);
	sqlite3_stmt *q = query(s, PUT, kind, key);

	sqlite3_bind_text(q, 3, json, -1, SQLITE_TRANSIENT);
	return transact(s, q, kind, key, journal, why);
}

static enum ly_rc
del(struct ly_store *base, enum ly_row_kind kind, const char *key,
    const char *journal, struct ly_why *why)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);

	return transact(s, query(s, DEL, kind, key), kind, key, journal, why);
}

static enum ly_rc
get(struct ly_store *base, enum ly_row_kind kind, const char *key, char **json,
    struct ly_why *why)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);
	sqlite3_stmt *q = query(s, GET, kind, key);
	int rc = sqlite3_step(q);
	enum ly_rc out = LY_OK;

	if (rc == SQLITE_ROW)
		*json = strdup((const char *)sqlite3_column_text(q, 0));
	else if (rc == SQLITE_DONE)
		out = ly_fail(why, LY_UNKNOWN, "no %s %s",
		    ly_row_table(kind)->name, key);
	else
		out = wrong(s, why);
	sqlite3_reset(q);
	if (out == LY_OK && !*json)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	return out;
}

static enum ly_rc
each(struct ly_store *base, enum ly_row_kind kind,
    enum ly_rc (*on_row)(void *, const char *, const char *, struct ly_why *),
    void *arg, struct ly_why *why)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);
	sqlite3_stmt *q = query(s, EACH, kind, NULL);
	enum ly_rc out = LY_OK;
	int rc = SQLITE_DONE;

	while (out == LY_OK && (rc = sqlite3_step(q)) == SQLITE_ROW)
		out = on_row(arg, (const char *)sqlite3_column_text(q, 0),
		    (const char *)sqlite3_column_text(q, 1), why);
	if (out == LY_OK && rc != SQLITE_DONE)
		out = wrong(s, why);
	sqlite3_reset(q);
	return out;
}

/* ---- the permanent record ---- */

static enum ly_rc
append(struct ly_store *base, const struct ly_store_line *l, struct ly_why *why)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);
	sqlite3_stmt *q = query(s, APPEND, 0, l->name);

	sqlite3_bind_int64(q, 1, (sqlite3_int64)l->n);
	sqlite3_bind_text(q, 3, l->vm, -1, SQLITE_TRANSIENT);
	sqlite3_bind_text(q, 4, l->mig, -1, SQLITE_TRANSIENT);
	sqlite3_bind_text(q, 5, l->line, -1, SQLITE_TRANSIENT);
	return transact(s, q, 0, NULL, NULL, why);
}

/* Somebody who writes to the database himself may have put anything there. */
static const char *
text_at(sqlite3_stmt *q, int column)
{
	const char *text = (const char *)sqlite3_column_text(q, column);

	return text ? text : "";
}

static enum ly_rc
lines(struct ly_store *base, const struct ly_lines_wish *w,
    ly_store_on_line *on_line, void *arg, struct ly_why *why)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);
	enum query which = w->name ? LINES_NAME :
	    w->vm		   ? LINES_VM :
	    w->mig		   ? LINES_MIG :
				     LINES;
	sqlite3_stmt *q = query(s, which, 0,
	    w->name   ? w->name :
		w->vm ? w->vm :
			w->mig);
	enum ly_rc out = LY_OK;
	int rc = SQLITE_DONE;

	sqlite3_bind_int64(q, 1, (sqlite3_int64)w->from);
	while (out == LY_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
		struct ly_store_line l = {
			.n = (uint64_t)sqlite3_column_int64(q, 0),
			.name = text_at(q, 1),
			.vm = text_at(q, 2),
			.mig = text_at(q, 3),
			.line = text_at(q, 4),
		};

		out = on_line(arg, &l, why);
	}
	if (out == LY_OK && rc != SQLITE_DONE)
		out = wrong(s, why);
	sqlite3_reset(q);
	return out;
}

static enum ly_rc
keep(struct ly_store *base, const char *mig, const char *what,
    struct ly_bytes bytes, struct ly_why *why)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);
	sqlite3_stmt *q = query(s, KEEP, 0, what);

	sqlite3_bind_text(q, 1, mig, -1, SQLITE_TRANSIENT);
	sqlite3_bind_blob64(q, 3, bytes.len ? (const void *)bytes.at : "",
	    bytes.len, SQLITE_TRANSIENT);
	return transact(s, q, 0, NULL, NULL, why);
}

static enum ly_rc
kept(struct ly_store *base, const char *mig, ly_store_on_kept *on_kept,
    void *arg, struct ly_why *why)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);
	sqlite3_stmt *q = query(s, KEPT, 0, NULL);
	enum ly_rc out = LY_OK;
	int rc = SQLITE_DONE;

	sqlite3_bind_text(q, 1, mig, -1, SQLITE_TRANSIENT);
	while (out == LY_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
		struct ly_bytes b = { .at = sqlite3_column_blob(q, 1),
			.len = (size_t)sqlite3_column_bytes(q, 1) };

		out = on_kept(arg, text_at(q, 0), b, why);
	}
	if (out == LY_OK && rc != SQLITE_DONE)
		out = wrong(s, why);
	sqlite3_reset(q);
	return out;
}

static void
close_sqlite(struct ly_store *base)
{
	struct sqlite *s = LY_HOLDER(base, struct sqlite, base);

	for (size_t i = 0; i < QUERIES; i++)
		sqlite3_finalize(s->q[i]);
	sqlite3_close(s->db);
	free(s);
}

static const struct ly_store_ops ops = {
	.put = put,
	.del = del,
	.get = get,
	.each = each,
	.begin = begin,
	.end = end,
	.append = append,
	.lines = lines,
	.keep = keep,
	.kept = kept,
	.close = close_sqlite,
};

/* A database of a version to come is not touched. */
static enum ly_rc
check_version(struct sqlite *s, struct ly_why *why)
{
	sqlite3_stmt *q = NULL;
	int version = -1;

	if (sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &q, NULL) ==
		SQLITE_OK &&
	    sqlite3_step(q) == SQLITE_ROW)
		version = sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	if (version < 0)
		return wrong(s, why);
	if (version > SCHEMA_VERSION)
		return ly_fail(why, LY_REFUSED,
		    "%s: of a later lanyard (schema %d, this one knows %d)",
		    s->path, version, SCHEMA_VERSION);
	if (sqlite3_exec(s->db, schema, NULL, NULL, NULL) != SQLITE_OK ||
	    (version < SCHEMA_VERSION &&
		sqlite3_exec(s->db, "PRAGMA user_version = 1", NULL, NULL,
		    NULL) != SQLITE_OK))
		return wrong(s, why);
	return LY_OK;
}

enum ly_rc
ly_store_open(const char *path, struct ly_store **out, struct ly_why *why)
{
	struct sqlite *s = calloc(1, sizeof(*s));
	enum ly_rc rc = LY_OK;

	if (!s)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	s->base.ops = &ops;
	ly_copy(s->path, sizeof(s->path), path);
	if (sqlite3_open_v2(path, &s->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
		rc = wrong(s, why);
	if (rc == LY_OK) {
		sqlite3_busy_timeout(s->db, BUSY_MS);
		rc = check_version(s, why);
	}
	for (size_t i = 0; i < QUERIES && rc == LY_OK; i++)
		if (sqlite3_prepare_v3(s->db, queries[i], -1,
			SQLITE_PREPARE_PERSISTENT, &s->q[i], NULL) != SQLITE_OK)
			rc = wrong(s, why);
	if (rc != LY_OK) {
		close_sqlite(&s->base);
		return rc;
	}
	*out = &s->base;
	return LY_OK;
}
