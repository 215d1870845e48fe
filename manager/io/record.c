/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the record, and reading it at the start.
 *
 * STATE/head is the head's text, then "signature HEX". It is written after the
 * store's transaction, a tick later at most: so it is never ahead of the store
 * unless the store was put back, and a crash in between leaves it behind, which
 * is fine.
 */
#include "lib/io/file.h"
#include "manager/io/record_int.h"

#include <stdlib.h>

#define HEAD_FILE_MAX 2048
#define SIGNATURE "signature "

const struct ly_chain *
ly_record_head(const struct ly_manager *m)
{
	return &m->records->head;
}

const char *
ly_record_lost(const struct ly_manager *m)
{
	return m->records->lost[0] ? m->records->lost : NULL;
}

const struct ly_head_row *
ly_record_signed(const struct ly_manager *m)
{
	return &m->records->row;
}

/* ---- the head ---- */

static enum ly_rc
sign_head(struct ly_manager *m, const struct ly_chain *head,
    struct ly_head_row *out, struct ly_why *why)
{
	struct ly_head_text t = { .when = ly_now_s(), .head = *head };
	uint8_t sig[LY_SIG_DER_MAX];
	size_t len;
	enum ly_rc rc;

	ly_copy(t.site, sizeof(t.site), m->conf.site);
	ly_copy(t.signer, sizeof(t.signer), ly_identity_self(m->ids)->id);
	memset(out, 0, sizeof(*out));
	ly_copy(out->key, sizeof(out->key), m->conf.site);
	ly_head_put(&t, out->text);
	rc = ly_sign_text(m->ids, out->text, sig, &len, why);
	if (rc == LY_OK)
		ly_hex(sig, len, out->sig);
	return rc;
}

/* A head's text and the signature behind it, by our own key. */
static enum ly_rc
check_head(struct ly_manager *m, const char *text, const char *sig_hex,
    struct ly_head_text *out, struct ly_why *why)
{
	uint8_t sig[LY_SIG_DER_MAX];
	size_t used, len = strlen(sig_hex) / 2;
	enum ly_rc rc = ly_head_get(text, strlen(text), out, &used, why);

	if (rc != LY_OK)
		return rc;
	if (used != strlen(text) || len > sizeof(sig) ||
	    ly_unhex(sig_hex, sig, len) != LY_OK)
		return ly_fail(why, LY_MALFORMED, "not a record's head");
	if (strcmp(out->site, m->conf.site) != 0)
		return ly_fail(why, LY_REFUSED, "it is site %s's", out->site);
	return ly_check_own_text(m->ids, text, used, sig, len, why);
}

static enum ly_rc
write_head_file(struct ly_manager *m, struct ly_why *why)
{
	struct ly_records *r = m->records;
	char path[320], text[HEAD_FILE_MAX];
	enum ly_rc rc;

	ly_print(text, sizeof(text), "%s" SIGNATURE "%s\n", r->row.text,
	    r->row.sig);
	rc = ly_file_write(ly_manager_file(m, "head", path), text, strlen(text),
	    0600, why);
	if (rc == LY_OK)
		r->in_file = r->head;
	return rc;
}

void
ly_record_tick(struct ly_manager *m)
{
	struct ly_why why;

	if (m->records->open &&
	    !ly_chain_same(&m->records->head, &m->records->in_file) &&
	    write_head_file(m, &why) != LY_OK)
		ly_log(LY_ERROR, "record", "%s", why.text);
}

/* ---- adding ---- */

static enum ly_rc
on_named(void *arg, const struct ly_store_line *l, struct ly_why *why)
{
	struct ly_line line;
	enum ly_rc rc = ly_line_get(l->line, strlen(l->line), &line, why);

	if (rc == LY_OK)
		ly_name_tell(arg, &line);
	return rc;
}

enum ly_rc
ly_record_seen(struct ly_manager *m, const char *name, struct ly_name_seen *out,
    struct ly_why *why)
{
	struct ly_lines_wish w = { .name = name };

	memset(out, 0, sizeof(*out));
	return ly_store_lines(m->store, &w, on_named, out, why);
}

static enum ly_rc
check_name(struct ly_manager *m, const struct ly_line_in *in,
    struct ly_why *why)
{
	struct ly_name_seen seen;
	enum ly_rc rc;

	if (!in->name[0])
		return LY_OK;
	rc = ly_record_seen(m, in->name, &seen, why);
	return rc == LY_OK ?
	    ly_name_may(&seen, in->kind, in->subject, in->name, why) :
	    rc;
}

/* Within a transaction: the line after `at`, which is moved on. */
static enum ly_rc
append(struct ly_manager *m, struct ly_chain *at,
    const struct ly_record_event *ev, struct ly_why *why)
{
	char *details = ev->details ?
	    json_dumps(ev->details,
		JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII) :
	    NULL;
	char line[LY_LINE_MAX + 1], vm[LY_ID_TEXT] = "", mig[LY_ID_TEXT] = "";
	struct ly_line_in in = { .n = at->n + 1,
		.when = ly_now_ms(),
		.kind = ev->kind,
		.subject = ev->subject ? ev->subject : "",
		.name = ev->name ? ev->name : "",
		.vm = ev->vm,
		.mig = ev->mig,
		.text = ev->text ? ev->text : "",
		.details = details ? details : "{}" };
	struct ly_store_line row = { .n = in.n,
		.name = in.name,
		.vm = vm,
		.mig = mig,
		.line = line };
	size_t len;
	enum ly_rc rc = check_name(m, &in, why);

	memcpy(in.prev, at->hash, sizeof(in.prev));
	if (rc == LY_OK)
		rc = ly_line_put(&in, line, LY_LINE_MAX, &len, why);
	free(details);
	if (rc != LY_OK)
		return rc;
	line[len] = '\0';
	if (!ly_id_none(&ev->vm))
		ly_id_text(&ev->vm, vm);
	if (!ly_id_none(&ev->mig))
		ly_id_text(&ev->mig, mig);
	rc = ly_chain_add(at, line, len, NULL, why);
	return rc == LY_OK ? ly_store_append(m->store, &row, why) : rc;
}

/* What goes with the events into one transaction. */
struct change {
	enum ly_row_kind kind; /* 0: nothing */
	const void *row;       /* NULL: `key` is taken away */
	const char *key, *journal;
};

static enum ly_rc
write_all(struct ly_manager *m, const struct change *ch,
    const struct ly_record_event *ev, size_t n, struct ly_chain *head,
    struct ly_head_row *row, struct ly_why *why)
{
	enum ly_rc rc = LY_OK;

	for (size_t i = 0; i < n && rc == LY_OK; i++)
		rc = append(m, head, &ev[i], why);
	if (rc == LY_OK)
		rc = sign_head(m, head, row, why);
	if (rc == LY_OK)
		rc = ly_store_put(m->store, LY_ROW_HEAD, row, NULL, why);
	if (rc == LY_OK && ch->kind && ch->row)
		rc = ly_store_put(m->store, ch->kind, ch->row, ch->journal,
		    why);
	else if (rc == LY_OK && ch->kind)
		rc = ly_store_del(m->store, ch->kind, ch->key, ch->journal,
		    why);
	return rc;
}

/* Ours to believe only once it is on disk. */
static enum ly_rc
transact(struct ly_manager *m, const struct change *ch,
    const struct ly_record_event *ev, size_t n, struct ly_why *why)
{
	struct ly_chain head = m->records->head;
	struct ly_head_row row;
	enum ly_rc rc = ly_store_begin(m->store, why);

	if (rc == LY_OK) {
		struct ly_why end_why = { "" };
		enum ly_rc end;

		rc = write_all(m, ch, ev, n, &head, &row, why);
		end = ly_store_end(m->store, rc == LY_OK, &end_why);
		if (rc == LY_OK && end != LY_OK)
			rc = ly_fail(why, end, "%s", end_why.text);
	}
	for (size_t i = 0; i < n; i++)
		json_decref(ev[i].details);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "not recorded, so not done");
	m->records->head = head;
	m->records->row = row;
	return LY_OK;
}

static enum ly_rc
whole(const struct ly_manager *m, const struct ly_record_event *ev, size_t n,
    struct ly_why *why)
{
	if (!m->records->lost[0])
		return LY_OK;
	for (size_t i = 0; i < n; i++)
		json_decref(ev[i].details);
	return ly_fail(why, LY_REFUSED, "%s", m->records->lost);
}

enum ly_rc
ly_record_put(struct ly_manager *m, enum ly_row_kind kind, const void *row,
    const char *journal, const struct ly_record_event *ev, size_t n,
    struct ly_why *why)
{
	struct change ch = { .kind = row ? kind : 0,
		.row = row,
		.journal = journal };
	enum ly_rc rc = whole(m, ev, n, why);

	return rc == LY_OK ? transact(m, &ch, ev, n, why) : rc;
}

enum ly_rc
ly_record_del(struct ly_manager *m, enum ly_row_kind kind, const char *key,
    const char *journal, const struct ly_record_event *ev, struct ly_why *why)
{
	struct change ch = { .kind = kind, .key = key, .journal = journal };
	enum ly_rc rc = whole(m, ev, 1, why);

	return rc == LY_OK ? transact(m, &ch, ev, 1, why) : rc;
}

enum ly_rc
ly_record_add(struct ly_manager *m, const struct ly_record_event *ev,
    struct ly_why *why)
{
	return ly_record_put(m, 0, NULL, NULL, ev, 1, why);
}

void
ly_record_note(struct ly_manager *m, const struct ly_record_event *ev)
{
	struct ly_place here;
	struct ly_why why = { "" };

	if (ly_record_add(m, ev, &why) == LY_OK)
		return;
	ly_place_set(&here, m->conf.site, "manager");
	(void)ly_fail_in(&why, LY_OK, "\"%s\"", ly_record_kinds[ev->kind].word);
	ly_manager_alarm(m, &here, "", why.text);
}

/* ---- what a receipt is made of ---- */

enum ly_rc
ly_record_keep(struct ly_manager *m, const struct ly_id *mig, const char *what,
    struct ly_bytes bytes, struct ly_why *why)
{
	return ly_store_keep(m->store, mig, what, bytes, why);
}

struct wanted {
	const char *what;
	uint8_t *out;
	size_t len;
};

static enum ly_rc
on_kept(void *arg, const char *what, struct ly_bytes b, struct ly_why *why)
{
	struct wanted *w = arg;

	if (strcmp(what, w->what) != 0)
		return LY_OK;
	w->out = malloc(b.len + 1);
	if (!w->out)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	if (b.len)
		memcpy(w->out, b.at, b.len);
	w->out[b.len] = '\0';
	w->len = b.len;
	return LY_OK;
}

enum ly_rc
ly_record_kept(struct ly_manager *m, const struct ly_id *mig, const char *what,
    uint8_t **out, size_t *len, struct ly_why *why)
{
	struct wanted w = { .what = what };
	enum ly_rc rc = ly_store_kept(m->store, mig, on_kept, &w, why);
	char id[LY_ID_TEXT];

	if (rc == LY_OK && !w.out)
		return ly_fail(why, LY_UNKNOWN, "no %s of migration %s", what,
		    ly_id_text(mig, id));
	*out = w.out;
	*len = w.len;
	return rc;
}

/* ---- the start ---- */

struct walk {
	struct ly_chain at, known; /* known: what STATE/head says */
	bool passed;		   /* it went through `known` */
};

static bool
same_text(struct ly_bytes is, const char *column)
{
	return is.len == strlen(column) && memcmp(is.at, column, is.len) == 0;
}

static enum ly_rc
on_line(void *arg, const struct ly_store_line *l, struct ly_why *why)
{
	struct walk *w = arg;
	struct ly_line line;
	enum ly_rc rc = ly_chain_add(&w->at, l->line, strlen(l->line), &line,
	    why);

	if (rc != LY_OK)
		return rc;
	if (line.n != l->n || !same_text(line.name, l->name) ||
	    !same_text(line.vm, l->vm) || !same_text(line.mig, l->mig))
		return ly_fail(why, LY_MALFORMED,
		    "event %llu is filed under what it does not say",
		    (unsigned long long)line.n);
	w->passed |= ly_chain_same(&w->at, &w->known);
	return LY_OK;
}

/* LY_UNKNOWN: there is none. */
static enum ly_rc
read_head_file(struct ly_manager *m, struct ly_head_text *out,
    struct ly_why *why)
{
	char path[320], *text = NULL, *sig, *end;
	size_t len;
	enum ly_rc rc = ly_file_read(ly_manager_file(m, "head", path),
	    HEAD_FILE_MAX, (uint8_t **)&text, &len, why);

	if (rc != LY_OK)
		return rc;
	sig = strstr(text, SIGNATURE);
	end = sig ? strchr(sig, '\n') : NULL;
	if (end && end[1] == '\0') {
		char hex[HEAD_FILE_MAX];

		*end = '\0';
		ly_copy(hex, sizeof(hex), sig + strlen(SIGNATURE));
		*sig = '\0';
		rc = check_head(m, text, hex, out, why);
	} else {
		rc = ly_fail(why, LY_MALFORMED, "not a record's head");
	}
	free(text);
	return rc == LY_OK ? rc : ly_fail_in(why, rc, "%s", path);
}

/* The store's own head has to be that of its lines: they were written in one
 * transaction, so nothing but a change from outside explains another. */
static enum ly_rc
check_own_head(struct ly_manager *m, const struct ly_chain *end,
    struct ly_why *why)
{
	struct ly_head_row *row = &m->records->row;
	struct ly_head_text t = { .when = 0 };
	enum ly_rc rc = ly_store_get(m->store, LY_ROW_HEAD, m->conf.site, row,
	    why);

	if (rc == LY_UNKNOWN && end->n == 0)
		return LY_OK;
	if (rc == LY_OK)
		rc = check_head(m, row->text, row->sig, &t, why);
	if (rc == LY_OK && !ly_chain_same(&t.head, end))
		rc = ly_fail(why, LY_REFUSED,
		    "it has %llu events, but %llu were signed for",
		    (unsigned long long)end->n, (unsigned long long)t.head.n);
	return rc == LY_OK || rc == LY_OUTSIDE ?
	    rc :
	    ly_fail_in(why, LY_REFUSED, "the head of the record");
}

static const char then[] = "put back the newest lanyard.db there is, and if"
			   " events are lost for good start once with"
			   " --accept-loss";

static enum ly_rc
broken(struct ly_manager *m, enum ly_rc rc, struct ly_why *why)
{
	char path[320], cause[200];

	if (rc == LY_OUTSIDE)
		return rc;
	ly_copy(cause, sizeof(cause), why->text);
	return ly_fail(why, LY_REFUSED,
	    "%s: the permanent record is broken: %s; put back a lanyard.db"
	    " that is whole",
	    ly_manager_file(m, "lanyard.db", path), cause);
}

/* The first event of all, or the one that says what is missing. */
static enum ly_rc
begin_record(struct ly_manager *m, struct ly_why *why)
{
	struct ly_record_event ev = { .kind = LY_RECORD_BEGUN,
		.subject = ly_identity_self(m->ids)->id,
		.text = "The permanent record of this site begins." };

	return ly_record_add(m, &ev, why);
}

enum ly_rc
ly_record_note_loss(struct ly_manager *m, const struct ly_chain *known,
    const char *what, struct ly_why *why)
{
	char name[LY_LOSS_NAME], hash[65];
	struct ly_record_event ev = { .kind = LY_RECORD_LOSS,
		.subject = "operator",
		.name = name,
		.text = what };

	ly_loss_name(known, name);
	ly_hex(known->hash, sizeof(known->hash), hash);
	ev.details = json_pack("{s:I, s:s}", "events", (json_int_t)known->n,
	    "hash", hash);
	ly_log(LY_WARNING, "record", "a loss is accepted: %s", what);
	return ly_record_add(m, &ev, why);
}

/* What STATE/head says against what the store has. */
static enum ly_rc
judge_file(struct ly_manager *m, const struct walk *w, enum ly_rc read,
    bool accept, struct ly_why *why)
{
	char path[320], cause[200];
	enum ly_rc rc = LY_OK;

	ly_manager_file(m, "head", path);
	if (read == LY_UNKNOWN && w->at.n == 0)
		return LY_OK; /* a new site */
	if (read == LY_OUTSIDE)
		return read;
	if (read != LY_OK)
		rc = LY_REFUSED;
	else if (!w->passed)
		rc = ly_fail(why, LY_REFUSED,
		    "the permanent record has %llu events, but %s was signed"
		    " for %llu%s",
		    (unsigned long long)w->at.n, path,
		    (unsigned long long)w->known.n,
		    w->at.n >= w->known.n ? " others" : "");
	if (rc == LY_OK)
		return rc;
	ly_copy(cause, sizeof(cause), why->text);
	if (!accept)
		return ly_fail(why, rc, "%s; %s", cause, then);
	return ly_record_note_loss(m, &w->known, cause, why);
}

enum ly_rc
ly_record_load(struct ly_manager *m, bool accept_loss, struct ly_why *why)
{
	struct ly_head_text file = { .when = 0 };
	struct ly_why file_why = { "" };
	struct walk w = { .passed = false };
	enum ly_rc read, rc;

	m->records = calloc(1, sizeof(*m->records));
	if (!m->records)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	read = read_head_file(m, &file, &file_why);
	w.known = file.head;
	w.passed = w.known.n == 0;
	rc = ly_store_lines(m->store, &(struct ly_lines_wish){ .from = 0 },
	    on_line, &w, why);
	if (rc == LY_OK)
		rc = check_own_head(m, &w.at, why);
	if (rc != LY_OK)
		return broken(m, rc, why);
	m->records->head = w.at;
	*why = file_why;
	rc = judge_file(m, &w, read, accept_loss, why);
	if (rc == LY_OK && m->records->head.n == 0)
		rc = begin_record(m, why);
	m->records->open = rc == LY_OK;
	return rc == LY_OK ? write_head_file(m, why) : rc;
}

void
ly_record_free(struct ly_manager *m)
{
	if (m->records)
		ly_record_tick(m);
	free(m->records);
}
