/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Witnesses: the managers of other sites. Each is told our head when it
 * connects, and then at most every TELL_MS when there is a new one. It keeps
 * the newest, as we signed it, and says it back when we meet again. So only we
 * ourselves can prove to us that we knew more once: no other site can bring
 * our work to a stop by a lie.
 */
#include "manager/io/record_int.h"

#include <stdlib.h>

#define TELL_MS 10000

/* ---- signed heads ---- */

struct object {
	uint8_t at[LY_STATEMENT_MAX];
	size_t len;
};

static enum ly_rc
sign(struct ly_manager *m, const struct ly_head *h, struct object *out,
    struct ly_why *why)
{
	uint8_t tagged[512];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));

	ly_message_put_tagged(&ly_head_message, h, &w);
	assert(!w.bad);
	out->len = sizeof(out->at);
	return ly_sign(m->ids, LY_TYPE_HEAD, tagged, ly_wr_len(&w), out->at,
	    &out->len, why);
}

/* Of `site`, and signed by a manager, who is told in *signer. */
static enum ly_rc
read_head(struct ly_manager *m, const char *site, struct ly_bytes object,
    struct ly_head *out, struct ly_peer *signer, struct ly_why *why)
{
	const uint8_t *tagged;
	size_t len;
	enum ly_rc rc = ly_verify(m->ids, LY_TYPE_HEAD, object.at, object.len,
	    &tagged, &len, signer, why);

	if (rc == LY_OK)
		rc = ly_message_get_tagged(&ly_head_message, tagged, len, out,
		    why);
	if (rc == LY_OK && strcmp(out->site, site) != 0)
		rc = ly_fail(why, LY_REFUSED, "a head of site %s, not %s",
		    out->site, site);
	if (rc == LY_OK && signer->role != LY_ROLE_MANAGER)
		rc = ly_fail(why, LY_REFUSED, "%s signs no heads", signer->id);
	return rc;
}

static void
say(struct ly_fed *f, const char *site, struct ly_bytes object)
{
	struct ly_head_told t = { .head = object };

	ly_copy(t.site, sizeof(t.site), site);
	ly_conn_send(f->conn, LY_HEAD, &t);
}

static enum ly_rc
keep(struct ly_manager *m, const char *key, struct ly_bytes object,
    struct ly_why *why)
{
	struct ly_head_row row = { .key = "" };

	if (2 * object.len >= sizeof(row.told))
		return ly_fail(why, LY_FULL, "a head of %zu bytes", object.len);
	ly_copy(row.key, sizeof(row.key), key);
	ly_hex(object.at, object.len, row.told);
	return ly_store_put(m->store, LY_ROW_HEAD, &row, NULL, why);
}

static enum ly_rc
kept(struct ly_manager *m, const char *key, struct object *out,
    struct ly_why *why)
{
	struct ly_head_row row;
	enum ly_rc rc = ly_store_get(m->store, LY_ROW_HEAD, key, &row, why);

	if (rc != LY_OK)
		return rc;
	out->len = strlen(row.told) / 2;
	if (out->len > sizeof(out->at) ||
	    ly_unhex(row.told, out->at, out->len) != LY_OK)
		return ly_fail(why, LY_MALFORMED, "store: head %s", key);
	return LY_OK;
}

/* ---- telling ---- */

void
ly_record_tell(struct ly_manager *m, struct ly_fed *f, bool connected)
{
	const struct ly_chain *head = ly_record_head(m);
	struct ly_head h = { .n = head->n, .when = ly_now_s() };
	uint64_t now = uv_now(m->loop);
	struct object o;
	struct ly_why why;

	if (!connected && (f->head_n == head->n || now - f->head_at < TELL_MS))
		return;
	f->head_at = now;
	f->head_n = head->n;
	if (connected && kept(m, f->site, &o, NULL) == LY_OK)
		say(f, f->site, (struct ly_bytes){ o.at, o.len });
	ly_copy(h.site, sizeof(h.site), m->conf.site);
	memcpy(h.hash, head->hash, sizeof(h.hash));
	if (sign(m, &h, &o, &why) == LY_OK)
		say(f, h.site, (struct ly_bytes){ o.at, o.len });
	else
		ly_log(LY_ERROR, "record", "%s", why.text);
}

/* ---- hearing of theirs ---- */

static void
gone_back(struct ly_manager *m, struct ly_fed *f, uint64_t from, uint64_t to)
{
	struct ly_place at;
	char text[LY_WHY_MAX];

	if (f->head_back)
		return;
	f->head_back = true;
	ly_place_set(&at, f->site, "manager");
	ly_print(text, sizeof(text),
	    "its permanent record went back: it told us of %llu events, now of"
	    " %llu",
	    (unsigned long long)from, (unsigned long long)to);
	ly_manager_alarm(m, &at, "", text);
}

/* The newest is kept; what goes back is not. Either way it was seen, which is
 * said with our own signature. */
static void
hear_theirs(struct ly_manager *m, struct ly_fed *f, const struct ly_head *h,
    struct ly_bytes object)
{
	struct ly_head known = { .n = 0 };
	struct ly_peer signer;
	struct ly_why why = { "" };
	struct object o;
	enum ly_rc rc = LY_OK;

	if (kept(m, f->site, &o, NULL) == LY_OK)
		(void)!read_head(m, f->site, (struct ly_bytes){ o.at, o.len },
		    &known, &signer, NULL);
	if (h->n < known.n ||
	    (h->n == known.n && memcmp(h->hash, known.hash, 32) != 0))
		gone_back(m, f, known.n, h->n);
	else
		rc = keep(m, f->site, object, &why);
	if (rc == LY_OK)
		rc = sign(m, h, &o, &why);
	if (rc == LY_OK)
		say(f, f->site, (struct ly_bytes){ o.at, o.len });
	else
		ly_log(LY_ERROR, "record", "%s: %s", f->site, why.text);
}

/* ---- hearing of ours ---- */

static enum ly_rc
on_line(void *arg, const struct ly_store_line *l, struct ly_why *why)
{
	(void)why;
	ly_sha256(l->line, strlen(l->line), arg);
	return LY_FULL; /* the first is enough */
}

static enum ly_rc
on_loss(void *arg, const struct ly_store_line *l, struct ly_why *why)
{
	(void)l;
	(void)why;
	*(bool *)arg = true;
	return LY_OK;
}

/* Did we get past it, or accept that we did not? */
static bool
ours_still(struct ly_manager *m, const struct ly_head *h)
{
	struct ly_chain gone = { .n = h->n };
	struct ly_lines_wish there = { .from = h->n }, loss = { .from = 0 };
	char name[LY_LOSS_NAME];
	uint8_t hash[32] = { 0 };
	bool accepted = false;

	memcpy(gone.hash, h->hash, sizeof(gone.hash));
	(void)!ly_store_lines(m->store, &there, on_line, hash, NULL);
	if (h->n <= m->records->head.n && memcmp(hash, h->hash, 32) == 0)
		return true;
	ly_loss_name(&gone, name);
	loss.name = name;
	(void)!ly_store_lines(m->store, &loss, on_loss, &accepted, NULL);
	return accepted;
}

static void
hear_ours(struct ly_manager *m, struct ly_fed *f, const struct ly_head *h)
{
	struct ly_records *r = m->records;
	struct ly_place at;

	if (ours_still(m, h) || r->lost[0])
		return;
	r->gone.n = h->n;
	memcpy(r->gone.hash, h->hash, sizeof(r->gone.hash));
	ly_print(r->lost, sizeof(r->lost),
	    "site %s has a head of %llu events that this manager signed, and"
	    " which its permanent record (%llu events) does not have: put back"
	    " the newest lanyard.db, or `lanyard audit --accept-loss`",
	    f->site, (unsigned long long)h->n, (unsigned long long)r->head.n);
	ly_place_set(&at, m->conf.site, "manager");
	ly_manager_alarm(m, &at, "", r->lost);
}

void
ly_record_hear(struct ly_manager *m, struct ly_fed *f,
    const struct ly_head_told *t)
{
	struct ly_peer signer;
	struct ly_place at;
	struct ly_head h;
	struct ly_why why = { "" };
	char by[LY_NAME_MAX + 4];
	bool ours = strcmp(t->site, m->conf.site) == 0;
	enum ly_rc rc = read_head(m, ours ? m->conf.site : f->site, t->head, &h,
	    &signer, &why);

	if (rc == LY_OK && ours && strcmp(signer.site, m->conf.site) == 0) {
		hear_ours(m, f, &h);
	} else if (rc == LY_OK && strcmp(signer.site, f->site) == 0 && ours) {
		ly_print(by, sizeof(by), "by.%s", f->site);
		rc = ours_still(m, &h) ?
		    keep(m, by, t->head, &why) :
		    ly_fail(&why, LY_REFUSED,
			"it signs a head of ours that never was");
	} else if (rc == LY_OK && strcmp(signer.site, f->site) == 0) {
		hear_theirs(m, f, &h, t->head);
	}
	if (rc == LY_OK)
		return;
	ly_place_set(&at, f->site, "manager");
	ly_manager_alarm(m, &at, "", why.text);
}

json_t *
ly_record_witnesses(struct ly_manager *m)
{
	json_t *list = json_array();
	char by[LY_NAME_MAX + 4], hash[65];
	struct ly_peer signer;
	struct object o;
	struct ly_head h;

	for (unsigned i = 0; i < m->feds_n; i++) {
		const char *site = m->feds[i].site;

		ly_print(by, sizeof(by), "by.%s", site);
		if (kept(m, by, &o, NULL) != LY_OK ||
		    read_head(m, m->conf.site, (struct ly_bytes){ o.at, o.len },
			&h, &signer, NULL) != LY_OK ||
		    strcmp(signer.site, site) != 0)
			continue;
		ly_hex(h.hash, sizeof(h.hash), hash);
		json_array_append_new(list,
		    json_pack("{s:s, s:I, s:s, s:I}", "site", site, "events",
			(json_int_t)h.n, "hash", hash, "when",
			(json_int_t)h.when));
	}
	return list;
}

enum ly_rc
ly_record_accept(struct ly_manager *m, struct ly_why *why)
{
	struct ly_records *r = m->records;
	char what[LY_WHY_MAX];
	enum ly_rc rc;

	if (!r->lost[0])
		return ly_fail(why, LY_REFUSED, "nothing is lost");
	ly_copy(what, sizeof(what), r->lost);
	r->lost[0] = '\0';
	rc = ly_record_note_loss(m, &r->gone, what, why);
	if (rc != LY_OK)
		ly_copy(r->lost, sizeof(r->lost), what);
	return rc;
}
