/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/io/enrol_in.h"

#include "lib/attest/evidence.h"

#include <stdlib.h>

#define ANSWER_MS 60000
#define PROOF_MS ((LY_DARE_S + 10) * 1000) /* the machine's own limit is less */
#define ASK_ROOM (LY_CHAIN_MAX * 2 + 64)   /* bytes of what is sent */

static void feed(struct ly_enrolling *en, struct ly_enrolment_event ev);

/* ---- what others are shown ---- */

static uint8_t
standing(const struct ly_enrolling *en)
{
	if (en->core.state == LY_ENROLMENT_FROZEN)
		return LY_STANDING_FROZEN;
	if (!en->core.ends)
		return LY_STANDING_NONE;
	if (en->core.ends <= ly_now_s())
		return LY_STANDING_ENDED;
	return en->unapproved ? LY_STANDING_UNAPPROVED : LY_STANDING_GOOD;
}

/* The appraisal's text, without the words that every reader has by then. */
static void
note_state(struct ly_enrolling *en, const struct ly_enrol_row *row)
{
	static const char *const heads[] = { "host: ", "state: " };
	const char *at = row->unapproved ? row->state : "";

	for (size_t i = 0; i < LY_COUNT(heads); i++)
		if (strncmp(at, heads[i], strlen(heads[i])) == 0)
			at += strlen(heads[i]);
	en->unapproved = row->unapproved;
	ly_copy(en->differs, sizeof(en->differs), at);
}

static void
show(struct ly_enrolling *en)
{
	struct ly_host *h = en->h;
	uint8_t now = standing(en);
	const char *class = now == LY_STANDING_NONE ? "" : en->class_;

	if (h->standing == now && strcmp(h->class_, class) == 0 &&
	    strcmp(h->differs, en->differs) == 0)
		return;
	h->standing = now;
	ly_copy(h->differs, sizeof(h->differs), en->differs);
	ly_copy(h->class_, sizeof(h->class_), class);
	ly_log(LY_NOTICE, "enrol", "%s: %s", h->at.name,
	    ly_enrol_word(en->m, h));
	ly_fed_tell(en->m, h);
}

/* ---- answers ---- */

static void
heard(struct ly_enrolling *en, enum ly_enrol_step step, enum ly_verdict verdict)
{
	feed(en,
	    (struct ly_enrolment_event){ .kind = LY_ENROLMENT_HEARD,
		.step = step,
		.verdict = verdict });
}

/* The host itself says no. A renewal that it cannot give is asked for from the
 * beginning; there it has to say more. */
static enum ly_verdict
host_says_no(struct ly_enrolling *en, const struct ly_done *d)
{
	(void)ly_fail(&en->why, LY_REFUSED, "the host says: %.200s", d->why);
	if (d->rc == LY_BUSY || d->rc == LY_OUTSIDE ||
	    (d->rc == LY_UNKNOWN && en->core.step == LY_ENROL_PROVE))
		return LY_VERDICT_LATER; /* or it has forgotten its keys */
	return en->core.step == LY_ENROL_RENEW ? LY_VERDICT_ANEW :
						 LY_VERDICT_BAD;
}

static enum ly_verdict
judge(struct ly_enrolling *en, const struct ly_done *d)
{
	if (!d) {
		(void)ly_fail(&en->why, LY_BUSY, "the host does not answer");
		return LY_VERDICT_LATER;
	}
	if (d->rc != LY_OK)
		return host_says_no(en, d);
	switch (en->core.step) {
	case LY_ENROL_BEGIN:
		return ly_try_keys(en, d->data);
	case LY_ENROL_PROVE:
		return ly_try_proof(en, d->data);
	case LY_ENROL_RENEW:
		return ly_try_renewal(en, d->data);
	case LY_ENROL_TAKE:
	case LY_ENROL_STEPS:
		break;
	}
	return LY_VERDICT_GOOD;
}

static void
on_done(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	struct ly_enrolling *en = arg;
	enum ly_enrol_step step = en->core.step;

	(void)m;
	en->req = 0;
	heard(en, step, judge(en, d));
}

/* ---- performing ---- */

static enum ly_rc
fill(struct ly_enrolling *en, struct ly_enrol *msg, uint8_t *room)
{
	enum ly_rc rc = LY_OK;

	switch ((enum ly_enrol_step)msg->step) {
	case LY_ENROL_BEGIN:
		en->renewal = false;
		rc = ly_try_new(en);
		break;
	case LY_ENROL_RENEW:
		en->renewal = true;
		rc = ly_try_new(en);
		break;
	case LY_ENROL_PROVE:
		rc = ly_try_dare(en, room, ASK_ROOM, &msg->data);
		break;
	case LY_ENROL_TAKE:
		return ly_try_papers(en, room, ASK_ROOM, &msg->data);
	case LY_ENROL_STEPS:
		break;
	}
	if (rc == LY_OK)
		memcpy(msg->nonce, en->try->asked.nonce, sizeof(msg->nonce));
	return rc;
}

static void
ask(struct ly_enrolling *en, enum ly_enrol_step step)
{
	struct ly_enrol msg = { .step = (uint8_t)step };
	uint8_t *room = malloc(ASK_ROOM);
	enum ly_rc rc = room ? fill(en, &msg, room) : LY_OUTSIDE;

	en->req = 0;
	if (rc == LY_OK)
		en->req = ly_ask(en->m, &en->h->at, LY_ENROL, &msg,
		    step == LY_ENROL_PROVE ? PROOF_MS : ANSWER_MS, on_done, en);
	free(room);
	if (!en->req)
		heard(en, step, LY_VERDICT_LATER);
}

static void
forget(struct ly_enrolling *en)
{
	if (en->req)
		ly_ask_forget(en->m, en->req);
	en->req = 0;
}

static void
answer(struct ly_enrolling *en, bool good)
{
	for (unsigned i = 0; i < LY_WATCHERS_MAX; i++) {
		json_t *o;

		if (!en->waiter[i])
			continue;
		if (good) {
			o = json_object();
			ly_enrol_view(en->m, en->h, o);
			json_object_set_new(o, "host",
			    json_string(en->h->at.name));
			json_object_set_new(o, "ok", json_true());
			ly_api_final(en->m, en->waiter[i], o);
		} else {
			ly_api_fail(en->m, en->waiter[i], LY_REFUSED,
			    en->why.text);
		}
		en->waiter[i] = 0;
	}
}

static void
over(struct ly_enrolling *en, const struct ly_enrolment_todo *t)
{
	if (t->text)
		(void)ly_fail(&en->why, LY_REFUSED, "%s", t->text);
	if (t->good)
		en->why.text[0] = '\0';
	else
		ly_log(LY_WARNING, "enrol", "%s: %s", en->h->at.name,
		    en->why.text);
	ly_try_free(en);
	show(en);
	answer(en, t->good);
}

static void
record(struct ly_enrolling *en)
{
	feed(en,
	    (struct ly_enrolment_event){ .kind = LY_ENROLMENT_SAVED,
		.verdict = ly_try_record(en) });
}

static void
issue(struct ly_enrolling *en)
{
	struct ly_enrolment_event ev = { .kind = LY_ENROLMENT_ISSUED };

	ev.verdict = ly_try_issue(en, &ev.ends);
	if (ev.verdict == LY_VERDICT_GOOD) {
		note_state(en, &en->try->row);
		ly_copy(en->class_, sizeof(en->class_), en->try->row.class_);
	}
	feed(en, ev);
}

static void
perform(struct ly_enrolling *en, const struct ly_enrolment_todo *t)
{
	switch (t->act) {
	case LY_ENROLMENT_ASK:
		ask(en, t->step);
		break;
	case LY_ENROLMENT_FORGET:
		forget(en);
		break;
	case LY_ENROLMENT_RECORD:
		record(en);
		break;
	case LY_ENROLMENT_ISSUE:
		issue(en);
		break;
	case LY_ENROLMENT_KEEP:
		ly_try_keep(en);
		break;
	case LY_ENROLMENT_OVER:
		over(en, t);
		break;
	}
}

/* What perform() finds out on the way waits in `news`. */
static void
feed(struct ly_enrolling *en, struct ly_enrolment_event ev)
{
	assert(en->news_n < NEWS_MAX);
	en->news[en->news_n++] = ev;
	if (en->feeding)
		return;
	en->feeding = true;
	while (en->news_n) {
		struct ly_enrolment_todos todo = { .n = 0 };

		ev = en->news[0];
		ev.now = ly_now_s();
		memmove(en->news, en->news + 1,
		    --en->news_n * sizeof(en->news[0]));
		ly_enrolment_step(&en->core, &ev, &todo);
		for (unsigned i = 0; i < todo.n; i++)
			perform(en, &todo.act[i]);
	}
	en->feeding = false;
}

static void
happens(struct ly_enrolling *en, enum ly_enrolment_kind kind)
{
	feed(en, (struct ly_enrolment_event){ .kind = kind });
}

/* ---- hosts ---- */

static struct ly_enrolling *
enrolling_of(struct ly_manager *m, struct ly_host *h)
{
	struct ly_enrolling *en = h->enrolling;

	if (en || strcmp(h->at.site, m->conf.site) != 0)
		return en;
	en = calloc(1, sizeof(*en));
	if (!en)
		return NULL;
	en->m = m;
	en->h = h;
	ly_enrolment_init(&en->core, 0, 0, 0, ly_now_s());
	h->enrolling = en;
	return en;
}

/* It has shown, on this connection, the newest certificate it was given. */
static bool
shows_papers(struct ly_manager *m, const struct ly_host *h)
{
	const struct ly_peer *p = h->conn ? ly_conn_peer(h->conn) : NULL;
	struct ly_enrol_row *row;
	bool same;

	if (!p || !p->attested)
		return false;
	row = malloc(sizeof(*row));
	same = row && ly_enrol_row(m, h->at.name, row, NULL) == LY_OK &&
	    strcmp(row->serial, p->serial) == 0;
	free(row);
	return same;
}

static void
up(struct ly_enrolling *en)
{
	feed(en,
	    (struct ly_enrolment_event){ .kind = LY_ENROLMENT_UP,
		.has = shows_papers(en->m, en->h) });
}

void
ly_enrol_up(struct ly_manager *m, struct ly_host *h)
{
	struct ly_enrolling *en;

	if (h->revoked || (!m->conf.attest && !h->enrolling))
		return;
	en = enrolling_of(m, h);
	if (en)
		up(en);
}

void
ly_enrol_down(struct ly_manager *m, struct ly_host *h)
{
	(void)m;
	if (h->enrolling)
		happens(h->enrolling, LY_ENROLMENT_DOWN);
}

void
ly_enrol_list(struct ly_manager *m)
{
	struct ly_host *h;

	for (uint32_t i = 0; (h = ly_roster_next_host(&m->roster, &i));)
		if (h->enrolling)
			happens(h->enrolling, LY_ENROLMENT_LIST);
}

void
ly_enrol_again(struct ly_manager *m, struct ly_host *h)
{
	struct ly_enrolling *en = h->enrolling;

	(void)m;
	if (en && h->up)
		happens(en, LY_ENROLMENT_WISH);
}

void
ly_enrol_tick(struct ly_manager *m)
{
	struct ly_host *h;

	if (ly_now_s() == m->enrol_second)
		return;
	m->enrol_second = ly_now_s();
	for (uint32_t i = 0; (h = ly_roster_next_host(&m->roster, &i));) {
		struct ly_enrolling *en = h->enrolling;

		if (!en)
			continue;
		happens(en, LY_ENROLMENT_TICK);
		show(en);
	}
}

void
ly_enrol_revoked(struct ly_manager *m, struct ly_host *h)
{
	struct ly_enrolling *en = h->enrolling;
	struct ly_enrol_row *row = en ? malloc(sizeof(*row)) : NULL;

	if (!en)
		return;
	(void)ly_fail(&en->why, LY_REFUSED, "its certificates were revoked");
	happens(en, LY_ENROLMENT_REVOKED);
	if (row && ly_enrol_row(m, h->at.name, row, NULL) == LY_OK) {
		row->issued = row->ends = 0;
		row->certificate[0] = row->ak_certificate[0] = '\0';
		(void)!ly_store_put(m->store, LY_ROW_ENROL, row, "revoked",
		    NULL);
	}
	free(row);
	show(en);
}

static void
forget_host(struct ly_host *h)
{
	struct ly_enrolling *en = h->enrolling;

	if (!en)
		return;
	(void)ly_fail(&en->why, LY_REFUSED, "the host was removed");
	forget(en);
	answer(en, false);
	ly_try_free(en);
	free(en);
	h->enrolling = NULL;
}

void
ly_enrol_drop(struct ly_manager *m, struct ly_host *h)
{
	forget_host(h);
	(void)!ly_store_del(m->store, LY_ROW_ENROL, h->at.name, NULL, NULL);
}

static enum ly_rc
on_row(void *arg, const void *row_, struct ly_why *why)
{
	struct ly_manager *m = arg;
	const struct ly_enrol_row *row = row_;
	struct ly_host *h = ly_roster_host(&m->roster, m->conf.site, row->host);
	struct ly_enrolling *en = h ? enrolling_of(m, h) : NULL;

	if (!h)
		return LY_OK; /* it was removed as we died */
	if (!en)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	ly_enrolment_init(&en->core, row->failures, row->issued, row->ends,
	    ly_now_s());
	note_state(en, row);
	ly_copy(h->differs, sizeof(h->differs), en->differs);
	ly_copy(en->class_, sizeof(en->class_), row->class_);
	ly_copy(en->why.text, sizeof(en->why.text), row->why);
	h->standing = standing(en);
	ly_copy(h->class_, sizeof(h->class_),
	    h->standing == LY_STANDING_NONE ? "" : en->class_);
	return LY_OK;
}

enum ly_rc
ly_enrol_load(struct ly_manager *m, struct ly_why *why)
{
	return ly_store_each(m->store, LY_ROW_ENROL, on_row, m, why);
}

void
ly_enrol_fini(struct ly_manager *m)
{
	for (uint32_t i = 0; i < m->roster.hosts_n; i++) {
		struct ly_enrolling *en = m->roster.hosts[i].enrolling;

		if (en)
			ly_try_free(en);
		free(en);
		m->roster.hosts[i].enrolling = NULL;
	}
}

/* ---- operators ---- */

static enum ly_rc
add_waiter(struct ly_enrolling *en, uint64_t client, struct ly_why *why)
{
	for (unsigned i = 0; client && i < LY_WATCHERS_MAX; i++) {
		if (en->waiter[i])
			continue;
		en->waiter[i] = client;
		return LY_OK;
	}
	return !client ?
	    LY_OK :
	    ly_fail(why, LY_FULL, "%d wait for it already", LY_WATCHERS_MAX);
}

enum ly_rc
ly_enrol_wish(struct ly_manager *m, struct ly_host *h, uint64_t client,
    struct ly_why *why)
{
	bool is_new = !h->enrolling;
	struct ly_enrolling *en = enrolling_of(m, h);
	enum ly_rc rc;

	if (h->revoked)
		return ly_fail(why, LY_REFUSED,
		    "%s is revoked (lanyard host add gives it a new"
		    " certificate)",
		    h->at.name);
	if (!en)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	rc = add_waiter(en, client, why);
	if (rc != LY_OK)
		return rc;
	if (is_new && h->up)
		up(en); /* which begins it */
	else
		happens(en, LY_ENROLMENT_WISH);
	return LY_OK;
}

enum ly_rc
ly_enrol_unfreeze(struct ly_manager *m, struct ly_host *h, const char *who,
    struct ly_why *why)
{
	struct ly_enrolling *en = h->enrolling;

	(void)m;
	if (!en || en->core.state != LY_ENROLMENT_FROZEN)
		return ly_fail(why, LY_REFUSED, "%s is not frozen", h->at.name);
	en->why.text[0] = '\0';
	en->unfreezer = who;
	happens(en, LY_ENROLMENT_UNFREEZE);
	en->unfreezer = NULL;
	show(en);
	return LY_OK;
}

/* ---- rows ---- */

enum ly_rc
ly_enrol_row(struct ly_manager *m, const char *host, struct ly_enrol_row *out,
    struct ly_why *why)
{
	return ly_store_get(m->store, LY_ROW_ENROL, host, out, why);
}
