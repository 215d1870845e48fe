/* SPDX-License-Identifier: Apache-2.0 */
/* The job of an evacuation: its row, its migrations, its end. */
#include "manager/io/evac_in.h"

#include <stdlib.h>

#define LOOK_MS 1000 /* between plans while nothing could go */
#define IDLE_MS 3000 /* nothing runs, nothing can: that was all */

/* ---- the row ---- */

static void
record(struct ly_evac *e, const char *what)
{
	char text[512], from[LY_PLACE_TEXT];
	struct ly_record_event ev = { .kind = LY_RECORD_EVACUATION,
		.subject = "operator",
		.text = text };

	ly_evac_from(&e->row, from);
	ly_print(text, sizeof(text), "%s to site %s %s", from, e->row.to_site,
	    what);
	ev.details = json_pack("{s:s, s:s, s:i, s:i}", "from", from, "to",
	    e->row.to_site, "vms", (int)e->n, "moved",
	    (int)ly_evac_count(e, LY_STAND_MOVED));
	ly_record_note(e->m, &ev);
}

static enum ly_rc
save(struct ly_evac *e, enum ly_evac_state state, struct ly_why *why)
{
	struct ly_evac_row row = e->row;
	enum ly_rc rc;

	row.state = (uint8_t)state;
	rc = ly_store_put(e->m->store, LY_ROW_EVAC, &row, "evacuation", why);
	if (rc == LY_OK)
		e->row = row;
	return rc;
}

/* ---- what became of each ---- */

static void
settle(struct ly_member *of, const struct ly_mig_row *row)
{
	enum ly_stand was = of->stand;
	uint8_t state = of->state;

	of->mig = row->id;
	of->state = row->state;
	ly_place_set(&of->to, row->to_site, row->to_host);
	if (row->fate == LY_FATE_CLAIMED) {
		of->stand = LY_STAND_MOVED; /* the rest is cleaning up */
		of->why[0] = '\0';
	} else if (row->state == LY_SAGA_ABORTED ||
	    row->fate == LY_FATE_ABORTED) {
		of->stand = LY_STAND_FAILED;
		ly_print(of->why, sizeof(of->why), "%s; it is at %s/%s%s",
		    row->why[0] ? row->why : "aborted", row->from_site,
		    row->from_host, row->lost ? ", which was lost" : "");
	} else {
		of->stand = LY_STAND_RUNNING;
	}
	of->news |= of->stand != was || of->state != state;
}

static unsigned
percent_of(const struct ly_move *mv)
{
	const struct ly_progress *p = &mv->progress;

	if (!mv->has_progress || !p->total || p->remaining > p->total)
		return 0;
	return (unsigned)((double)(p->total - p->remaining) * 100 /
	    (double)p->total);
}

static void
follow(struct ly_evac *e, struct ly_member *of)
{
	struct ly_vm *vm = ly_roster_vm(&e->m->roster, &of->vm);
	const struct ly_move *mv = vm ? vm->saga : NULL;
	char key[LY_ID_TEXT];
	struct ly_mig_row row;
	unsigned percent;

	if (mv && ly_id_same(&mv->row.id, &of->mig)) {
		percent = percent_of(mv);
		of->news |= percent != of->percent;
		of->percent = percent;
		settle(of, &mv->row);
	} else if (ly_store_get(e->m->store, LY_ROW_MIG,
		       ly_id_text(&of->mig, key), &row, NULL) == LY_OK) {
		settle(of, &row);
	}
}

/* ---- going on ---- */

static void
begin_one(struct ly_evac *e, struct ly_member *of)
{
	struct ly_manager *m = e->m;
	struct ly_move_wish w = { .vm = ly_roster_vm(&m->roster, &of->vm),
		.to = ly_roster_host(&m->roster, of->to.site, of->to.name),
		.bandwidth = e->row.bandwidth / e->row.parallel,
		.who = e->row.who,
		.evac = e->row.id };
	struct ly_move *mv = NULL;
	struct ly_why why = { "" };

	if (e->row.bandwidth && !w.bandwidth)
		w.bandwidth = 1;
	of->news = true;
	if (ly_move_begin(m, &w, 0, &mv, &why) != LY_OK) {
		of->stand = LY_STAND_REFUSED;
		ly_copy(of->why, sizeof(of->why), why.text);
		return;
	}
	of->mig = mv->row.id;
	of->from = w.vm->at;
	of->percent = 0;
	if (!mv->saga.there) { /* not on disk: it was never begun */
		of->stand = LY_STAND_REFUSED;
		ly_copy(of->why, sizeof(of->why), mv->row.why);
		return;
	}
	settle(of, &mv->row);
}

/* So many as may run at once. What changes the answer to "who can go?" is seen
 * at once if it is ours, and within a second if it is not. */
static void
begin_more(struct ly_evac *e)
{
	uint64_t now = uv_now(e->m->loop);

	while (ly_evac_count(e, LY_STAND_RUNNING) < e->row.parallel &&
	    ly_evac_count(e, LY_STAND_WAITING)) {
		struct ly_member *next;

		if (e->idle_since && now - e->looked_at < LOOK_MS)
			return;
		e->looked_at = now;
		next = ly_evac_next(e);
		if (!next) {
			if (!e->idle_since)
				e->idle_since = now;
			return;
		}
		e->idle_since = 0;
		begin_one(e, next);
	}
	e->idle_since = 0;
}

/* Those that still wait stay where they are, and why. */
static void
give_up(struct ly_evac *e, const char *why)
{
	for (size_t i = 0; i < e->n; i++) {
		struct ly_member *of = &e->of[i];

		if (of->stand != LY_STAND_WAITING)
			continue;
		of->stand = LY_STAND_REFUSED;
		of->news = true;
		if (why || !of->why[0])
			ly_copy(of->why, sizeof(of->why),
			    why ? why : "it could not be begun");
	}
}

static bool
all_in_doubt(const struct ly_evac *e)
{
	for (size_t i = 0; i < e->n; i++)
		if (e->of[i].stand == LY_STAND_WAITING ||
		    (e->of[i].stand == LY_STAND_RUNNING &&
			e->of[i].state != LY_SAGA_DOUBT))
			return false;
	return ly_evac_count(e, LY_STAND_RUNNING) > 0;
}

/* Somebody else has moved, stopped or started it meanwhile. */
static void
look_at_waiting(struct ly_evac *e)
{
	for (size_t i = 0; i < e->n; i++) {
		struct ly_member *of = &e->of[i];
		struct ly_vm *vm = ly_roster_vm(&e->m->roster, &of->vm);

		if (of->stand != LY_STAND_WAITING || !vm || vm->saga ||
		    ly_evac_there(&e->row, &vm->at))
			continue;
		of->to = vm->at;
		of->stand = strcmp(vm->at.site, e->row.to_site) == 0 ?
		    LY_STAND_MOVED :
		    LY_STAND_REFUSED;
		of->news = true;
		ly_copy(of->why, sizeof(of->why), "it was moved meanwhile");
	}
}

/* True: over, and on disk as that. */
static bool
step(struct ly_evac *e)
{
	bool quiet;

	for (size_t i = 0; i < e->n; i++)
		if (e->of[i].stand == LY_STAND_RUNNING)
			follow(e, &e->of[i]);
	look_at_waiting(e);
	if (e->row.state == LY_EVAC_OPEN)
		begin_more(e);
	else
		give_up(e, "called off");
	quiet = ly_evac_count(e, LY_STAND_RUNNING) == 0;
	if (quiet && e->idle_since &&
	    uv_now(e->m->loop) - e->idle_since >= e->patience_ms)
		give_up(e, NULL);
	if (!e->doubt_told && all_in_doubt(e)) {
		e->doubt_told = true;
		ly_evac_answer(e, true);
	}
	ly_evac_tell(e);
	return quiet && ly_evac_count(e, LY_STAND_WAITING) == 0;
}

/* ---- beginning and end ---- */

static void
evac_free(struct ly_evac *e)
{
	free(e->of);
	free(e);
}

static void
unlink_evac(struct ly_evac *e)
{
	struct ly_evac **at = &e->m->evacs;

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
}

static void
over(struct ly_evac *e)
{
	struct ly_why why;
	char text[128];

	ly_print(text, sizeof(text), "is over: %u of %zu VMs moved",
	    ly_evac_count(e, LY_STAND_MOVED), e->n);
	ly_evac_answer(e, false);
	if (save(e, LY_EVAC_OVER, &why) != LY_OK)
		return; /* the next tick says it is over once more */
	record(e, text);
	unlink_evac(e);
	evac_free(e);
}

void
ly_evacs_tick(struct ly_manager *m)
{
	struct ly_evac *next;

	for (struct ly_evac *e = m->evacs; e; e = next) {
		next = e->next;
		if (step(e))
			over(e);
	}
}

/* Earlier migrations of it. Of those before it was asked for again only what
 * is there counts. */
static enum ly_rc
on_mig(void *arg, const void *row_, struct ly_why *why)
{
	const struct ly_mig_row *row = row_;
	struct ly_evac *e = arg;
	struct ly_vm *vm = ly_roster_vm(&e->m->roster, &row->vm);
	struct ly_member *of;
	enum ly_rc rc = LY_OK;

	if (!ly_id_same(&row->evac, &e->row.id) || !vm)
		return LY_OK;
	if (row->started < e->row.begun &&
	    (row->fate != LY_FATE_CLAIMED ||
		strcmp(vm->at.site, e->row.to_site) != 0))
		return LY_OK;
	of = ly_evac_member(e, &row->vm);
	if (!of)
		rc = ly_evac_add(e, &row->vm, row->vm_name, &of, why);
	if (rc != LY_OK)
		return rc;
	ly_place_set(&of->from, row->from_site, row->from_host);
	settle(of, row);
	return LY_OK;
}

static enum ly_rc
take(struct ly_manager *m, const struct ly_evac_row *row, uint64_t patience_ms,
    struct ly_evac **out, struct ly_why *why)
{
	struct ly_evac *e = calloc(1, sizeof(*e));
	enum ly_rc rc;

	if (!e)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	e->m = m;
	e->row = *row;
	e->patience_ms = patience_ms;
	rc = ly_store_each(m->store, LY_ROW_MIG, on_mig, e, why);
	if (rc == LY_OK)
		rc = ly_evac_collect(e, why);
	if (rc != LY_OK) {
		evac_free(e);
		return rc;
	}
	*out = e;
	return LY_OK;
}

static void
link_evac(struct ly_evac *e)
{
	e->next = e->m->evacs;
	e->m->evacs = e;
}

static enum ly_rc
on_evac(void *arg, const void *row_, struct ly_why *why)
{
	struct ly_manager *m = arg;
	const struct ly_evac_row *row = row_;
	char from[LY_PLACE_TEXT];
	struct ly_evac *e;
	enum ly_rc rc;

	if (row->state != LY_EVAC_OPEN && row->state != LY_EVAC_CALLED_OFF)
		return LY_OK;
	/* The hosts have to come back first. */
	rc = take(m, row, m->conf.host_lost_seconds * 1000, &e, why);
	if (rc != LY_OK)
		return rc;
	ly_log(LY_NOTICE, "evacuation", "%s to site %s goes on",
	    ly_evac_from(row, from), row->to_site);
	link_evac(e);
	return LY_OK;
}

/* Read first, taken after: the store is not asked within its own answer. */
struct rows {
	struct ly_evac_row at[LY_EVACS_MAX];
	size_t n;
	const struct ly_evac_row *like; /* NULL: the open ones */
};

static bool
same_way(const struct ly_evac_row *a, const struct ly_evac_row *b)
{
	return strcmp(a->from_site, b->from_site) == 0 &&
	    strcmp(a->from_host, b->from_host) == 0 &&
	    strcmp(a->to_site, b->to_site) == 0;
}

static enum ly_rc
on_row(void *arg, const void *row_, struct ly_why *why)
{
	const struct ly_evac_row *row = row_;
	struct rows *r = arg;

	(void)why;
	if (r->n < LY_EVACS_MAX &&
	    (r->like ? same_way(r->like, row) : row->state != LY_EVAC_OVER))
		r->at[r->n++] = *row;
	return LY_OK;
}

enum ly_rc
ly_evacs_load(struct ly_manager *m, struct ly_why *why)
{
	struct rows r = { .n = 0 };
	enum ly_rc rc = ly_store_each(m->store, LY_ROW_EVAC, on_row, &r, why);

	for (size_t i = 0; i < r.n && rc == LY_OK; i++)
		rc = on_evac(m, &r.at[i], why);
	return rc;
}

void
ly_evacs_free(struct ly_manager *m)
{
	while (m->evacs) {
		struct ly_evac *e = m->evacs;

		m->evacs = e->next;
		evac_free(e);
	}
}

/* ---- from outside ---- */

static enum ly_rc
watch(struct ly_evac *e, uint64_t client, struct ly_why *why)
{
	if (!client)
		return LY_OK;
	for (unsigned i = 0; i < LY_WATCHERS_MAX; i++)
		if (!e->watcher[i]) {
			json_t *plan = ly_evac_json(e);

			e->watcher[i] = client;
			json_object_set_new(plan, "event", json_string("plan"));
			ly_api_event(e->m, client, plan);
			return LY_OK;
		}
	return ly_fail(why, LY_FULL, "%d watch it already", LY_WATCHERS_MAX);
}

static enum ly_rc
find_open(struct ly_manager *m, const struct ly_evac_row *row,
    struct ly_evac **out, struct ly_why *why)
{
	unsigned n = 0;
	char from[LY_PLACE_TEXT];

	*out = NULL;
	for (struct ly_evac *e = m->evacs; e; e = e->next, n++) {
		if (same_way(&e->row, row))
			*out = e;
		else if (strcmp(e->row.from_site, row->from_site) == 0 &&
		    strcmp(e->row.from_host, row->from_host) == 0)
			return ly_fail(why, LY_BUSY,
			    "%s is being evacuated to site %s already",
			    ly_evac_from(row, from), e->row.to_site);
	}
	if (!*out && n >= LY_EVACS_MAX)
		return ly_fail(why, LY_FULL, "%d evacuations are open already",
		    LY_EVACS_MAX);
	if (*out && (*out)->row.state == LY_EVAC_CALLED_OFF)
		return ly_fail(why, LY_BUSY,
		    "it was called off, and some migrations still run");
	return LY_OK;
}

/* The row of an earlier one of the same way is used again, so that what it has
 * moved counts. */
static enum ly_rc
make_row(struct ly_manager *m, const struct ly_evac_wish *w,
    struct ly_evac_row *row, struct ly_why *why)
{
	struct rows r = { .like = row };
	enum ly_rc rc = ly_store_each(m->store, LY_ROW_EVAC, on_row, &r, why);

	if (rc != LY_OK)
		return rc;
	if (r.n)
		row->id = r.at[0].id;
	else
		ly_random(&row->id, sizeof(row->id));
	row->parallel = w->parallel ? w->parallel : LY_PARALLEL;
	row->bandwidth = w->bandwidth;
	row->state = LY_EVAC_OPEN;
	row->begun = ly_now_ms();
	ly_copy(row->who, sizeof(row->who), w->who);
	return LY_OK;
}

enum ly_rc
ly_evac_plan(struct ly_manager *m, const struct ly_evac_wish *w, json_t **plan,
    struct ly_why *why)
{
	struct ly_evac_row row = { .state = LY_EVAC_OPEN };
	struct ly_evac *e = NULL;
	enum ly_rc rc = ly_evac_parse(m, w->from, w->to, &row, why);

	if (rc == LY_OK)
		rc = make_row(m, w, &row, why);
	if (rc == LY_OK)
		rc = take(m, &row, 0, &e, why);
	if (rc != LY_OK)
		return rc;
	(void)ly_evac_next(e);
	for (size_t i = 0; i < e->n; i++)
		if (e->of[i].stand == LY_STAND_WAITING && !e->of[i].to.name[0])
			e->of[i].stand = LY_STAND_REFUSED;
	*plan = ly_evac_json(e);
	evac_free(e);
	return LY_OK;
}

enum ly_rc
ly_evac_begin(struct ly_manager *m, const struct ly_evac_wish *w,
    uint64_t client, struct ly_why *why)
{
	struct ly_evac_row row = { .state = LY_EVAC_OPEN };
	const char *lost = ly_record_lost(m);
	struct ly_evac *e = NULL;
	char text[128];
	enum ly_rc rc = ly_evac_parse(m, w->from, w->to, &row, why);

	if (rc == LY_OK && lost)
		rc = ly_fail(why, LY_REFUSED, "%s", lost);
	if (rc == LY_OK)
		rc = find_open(m, &row, &e, why);
	if (rc != LY_OK || e)
		return rc == LY_OK ? watch(e, client, why) : rc;
	rc = make_row(m, w, &row, why);
	if (rc == LY_OK)
		rc = take(m, &row, IDLE_MS, &e, why);
	if (rc == LY_OK)
		rc = save(e, LY_EVAC_OPEN, why);
	if (rc != LY_OK) {
		if (e)
			evac_free(e);
		return rc;
	}
	link_evac(e);
	ly_print(text, sizeof(text), "is asked for by %s", e->row.who);
	record(e, text);
	(void)ly_evac_next(e); /* for the plan that is shown */
	return watch(e, client, why);
}

enum ly_rc
ly_evac_cancel(struct ly_manager *m, const char *from, unsigned *running,
    struct ly_why *why)
{
	struct ly_evac *e = NULL;
	char text[LY_PLACE_TEXT];
	enum ly_rc rc;

	for (struct ly_evac *i = m->evacs; i; i = i->next) {
		const char *its = ly_evac_from(&i->row, text);
		bool bare = i->row.from_host[0] && from &&
		    strcmp(i->row.from_host, from) == 0;

		if (from && !bare && strcmp(its, from) != 0)
			continue;
		if (e)
			return ly_fail(why, LY_REFUSED,
			    "several are open; say which");
		e = i;
	}
	if (!e)
		return ly_fail(why, LY_UNKNOWN, "no evacuation of %s is open",
		    from ? from : "anything");
	rc = save(e, LY_EVAC_CALLED_OFF, why);
	if (rc != LY_OK)
		return rc;
	record(e, "is called off");
	*running = ly_evac_count(e, LY_STAND_RUNNING);
	return LY_OK;
}
