/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell of a migration: turns answers into the saga's events, does as the
 * saga says, keeps its row, and tells who waits. It has no opinions; those
 * are in manager/saga.
 */
#include "manager/io/evacuate.h"
#include "manager/io/move_in.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void
tell(struct ly_move *mv, enum ly_saga_kind kind)
{
	ly_move_feed(mv, &(struct ly_saga_event){ .kind = kind });
}

struct ly_vm *
ly_move_vm(const struct ly_move *mv)
{
	return ly_roster_vm(&mv->m->roster, &mv->row.vm);
}

struct ly_place
ly_move_place(const struct ly_move *mv, enum ly_party party)
{
	const struct ly_mig_row *r = &mv->row;
	struct ly_place p;

	switch (party) {
	case LY_PARTY_HOME:
		ly_place_set(&p, mv->m->conf.site, r->home);
		break;
	case LY_PARTY_SOURCE:
		ly_place_set(&p, r->from_site, r->from_host);
		break;
	case LY_PARTY_DEST:
		ly_place_set(&p, r->to_site, r->to_host);
		break;
	}
	return p;
}

void
ly_move_note(struct ly_move *mv, const char *fmt, ...)
{
	struct ly_why why = { "" };
	char text[LY_WHY_MAX];
	va_list ap;

	if (mv->row.why[0])
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)ly_fail(&why, LY_OK, "%s", text);
	ly_copy(mv->row.why, sizeof(mv->row.why), why.text);
	ly_log(LY_WARNING, "migration", "%s: %s", mv->row.vm_name, text);
}

/* ---- doing ---- */

static enum ly_rc
save(struct ly_move *mv)
{
	const struct ly_saga_rec *next = &mv->saga.next;
	char id[LY_ID_TEXT], journal[512];
	struct ly_mig_row row = mv->row;
	struct ly_record_event ev[2];
	struct ly_move_texts texts;
	struct ly_why why = { "" };
	enum ly_rc rc = LY_OK;
	size_t n;

	row.state = next->state;
	row.tell = next->tell;
	row.calloff = next->calloff;
	row.lost = next->lost;
	row.fate = next->fate;
	row.epoch = next->epoch;
	row.changed = ly_now_ms();
	ly_print(journal, sizeof(journal), "%s %s%s%s", row.vm_name,
	    ly_saga_state_name(row.state), row.why[0] ? ": " : "", row.why);
	if (next->state == LY_SAGA_ATTESTING &&
	    mv->saga.rec.state == LY_SAGA_PLANNED)
		rc = ly_move_call(mv, &why); /* before anybody is asked */
	if (rc == LY_OK) {
		n = ly_move_events(mv, &row, ev, &texts);
		rc = ly_record_put(mv->m, LY_ROW_MIG, &row, journal, ev, n,
		    &why);
	}
	if (rc != LY_OK) {
		ly_log(LY_ERROR, "migration",
		    "%s (%s): not written, so not "
		    "done: %s",
		    row.vm_name, ly_id_text(&row.id, id), why.text);
		ly_move_note(mv, "could not be written down: %s", why.text);
		return LY_OUTSIDE;
	}
	mv->row = row;
	return LY_OK;
}

void
ly_move_heard(struct ly_move *mv, const struct ly_place *from,
    const struct ly_vmstate *s)
{
	struct ly_place to = ly_move_place(mv, LY_PARTY_DEST);

	if (!ly_place_same(from, &to))
		return;
	mv->there = s->state;
	mv->said = s->state != LY_VM_INCOMING;
}

void
ly_moves_host_back(struct ly_manager *m, const struct ly_place *host)
{
	for (struct ly_move *mv = m->moves; mv; mv = mv->next) {
		struct ly_place to = ly_move_place(mv, LY_PARTY_DEST);

		if (!ly_place_same(host, &to))
			continue;
		mv->there = LY_VM_NONE;
		mv->said = true;
	}
}

/* Where the VM is, from what the saga has on disk. How it is there its host may
 * have said before we heard that it had come. */
static void
place_vm(struct ly_move *mv)
{
	struct ly_vm *vm = ly_move_vm(mv);
	struct ly_why why = { "" };

	if (!vm)
		return;
	if (mv->row.state == LY_SAGA_COMMITTED) {
		vm->at = ly_move_place(mv, LY_PARTY_DEST);
		vm->epoch = mv->row.epoch;
		vm->state = mv->said ? mv->there : LY_VM_RUNNING;
		vm->why[0] = '\0';
		vm->known = true;
		vm->lost = false;
		vm->unproved = mv->row.before || ly_move_unproved(mv);
	} else if (mv->row.state == LY_SAGA_CLEANED && mv->row.attest) {
		vm->unproved = mv->row.before || ly_move_unproved(mv);
	} else if (mv->row.state == LY_SAGA_ABORTING && mv->row.lost) {
		vm->lost = true;
	} else if (mv->row.state == LY_SAGA_ABORTED && mv->row.lost &&
	    !mv->row.tell) {
		vm->lost = false;
	} else {
		return;
	}
	if (ly_vm_save(mv->m, vm, NULL, NULL, &why) != LY_OK)
		vm->unsaved = true;
}

static void
moved(struct ly_move *mv)
{
	json_t *ev = json_object();
	char id[LY_ID_TEXT];

	ly_log(LY_NOTICE, "migration", "%s to %s/%s: %s", mv->row.vm_name,
	    mv->row.to_site, mv->row.to_host,
	    ly_saga_state_name(mv->saga.rec.state));
	json_object_set_new(ev, "event", json_string("step"));
	json_object_set_new(ev, "step",
	    json_string(ly_saga_state_name(mv->saga.rec.state)));
	json_object_set_new(ev, "state", json_string("begun"));
	json_object_set_new(ev, "migration",
	    json_string(ly_id_text(&mv->row.id, id)));
	ly_move_say(mv, ev);
	place_vm(mv);
	ly_move_end(mv);
	if (mv->saga.rec.state == LY_SAGA_DOUBT) {
		struct ly_place home = ly_move_place(mv, LY_PARTY_HOME);

		ly_manager_alarm(mv->m, &home, mv->row.vm_name,
		    "a migration is in doubt: its home does not answer");
		ly_move_answer(mv);
	}
}

/* True if something is found out by doing it: SAVED, DECIDED. */
static bool
perform(struct ly_move *mv, const struct ly_saga_todo *t,
    struct ly_saga_event *found)
{
	enum ly_move_word word;

	switch (t->act) {
	case LY_SAGA_SAVE:
		*found = (struct ly_saga_event){ .kind = LY_SAGA_SAVED,
			.ok = save(mv) == LY_OK };
		return true;
	case LY_SAGA_APPRAISE:
		word = ly_move_appraise(mv);
		*found = (struct ly_saga_event){ .kind = LY_SAGA_DECIDED,
			.ok = word == LY_MOVE_FIT };
		return word != LY_MOVE_LATER;
	case LY_SAGA_ASK:
		ly_move_ask(mv, t->step);
		break;
	case LY_SAGA_FORGET:
		ly_ask_forget(mv->m, mv->req[t->step]);
		mv->req[t->step] = 0;
		break;
	case LY_SAGA_MOVED:
		moved(mv);
		break;
	case LY_SAGA_SLOW:
		ly_move_doubt(mv);
		ly_move_answer(mv);
		break;
	case LY_SAGA_REFUSE:
		mv->refused = t->text;
		break;
	}
	return false;
}

/* Tell the core what happened, then do as it says. At most one event is found
 * out while doing, and it comes last. */
void
ly_move_feed(struct ly_move *mv, const struct ly_saga_event *ev)
{
	struct ly_saga_event now = *ev;
	bool more = true;

	while (more) {
		struct ly_saga_event found;
		struct ly_saga_todos todo;

		more = false;
		ly_saga_step(&mv->saga, &now, &todo);
		for (unsigned i = 0; i < todo.n; i++)
			more |= perform(mv, &todo.act[i], &found);
		if (more)
			now = found;
	}
	if (!ly_saga_over(mv->saga.rec.state) || mv->told)
		return;
	mv->told = true; /* the tick takes it away */
	mv->row.state = mv->saga.rec.state;
	if (ly_move_vm(mv))
		ly_move_vm(mv)->saga = NULL;
	ly_move_answer(mv);
}

/* ---- from outside ---- */

enum ly_rc
ly_move_allowed(struct ly_manager *m, const struct ly_move_wish *w,
    struct ly_why *why)
{
	struct ly_host *home = ly_roster_host(&m->roster, w->vm->home.site,
	    w->vm->home.name);
	struct ly_host *at = ly_roster_host(&m->roster, w->vm->at.site,
	    w->vm->at.name);
	struct ly_move *mv = w->vm->saga;
	char text[LY_PLACE_TEXT], id[LY_ID_TEXT];

	if (mv)
		return ly_fail(why, LY_BUSY,
		    "%s is being migrated already, to %s/%s: %s (migration %s)",
		    w->vm->name, mv->row.to_site, mv->row.to_host,
		    ly_saga_state_name(mv->row.state),
		    ly_id_text(&mv->row.id, id));
	if (w->vm->busy)
		return ly_fail(why, LY_BUSY, "%s is being started or stopped",
		    w->vm->name);
	if (!w->vm->bound)
		return ly_fail(why, LY_REFUSED, "%s is not bound to its home",
		    w->vm->name);
	if (m->moves_n >= LY_MOVES_MAX)
		return ly_fail(why, LY_FULL, "%u migrations are open already",
		    LY_MOVES_MAX);
	if (ly_place_same(&w->vm->at, &w->to->at))
		return ly_fail(why, LY_REFUSED, "%s is at %s already",
		    w->vm->name, ly_place_text(&w->to->at, text));
	if (!w->to->up)
		return ly_fail(why, LY_REFUSED,
		    "the destination %s is not connected",
		    ly_place_text(&w->to->at, text));
	if (!home || !home->up)
		return ly_fail(why, LY_REFUSED, "its home %s is not connected",
		    ly_place_text(&w->vm->home, text));
	if (!w->vm->at.name[0])
		return ly_fail(why, LY_REFUSED, "%s is off", w->vm->name);
	if (!at || !at->up)
		return ly_fail(why, LY_REFUSED,
		    "%s is at %s, which is not connected", w->vm->name,
		    ly_place_text(&w->vm->at, text));
	if (m->conf.attest &&
	    ly_move_standing(m, &w->to->at, &at->at, &home->at, why) != LY_OK)
		return LY_REFUSED;
	return ly_host_room(m, w->to, &w->vm->id, w->vm->memory_mb, why);
}

static struct ly_move *
new_move(struct ly_manager *m, struct ly_vm *vm)
{
	struct ly_move *mv = calloc(1, sizeof(*mv));

	if (!mv)
		return NULL;
	mv->m = m;
	for (unsigned i = 0; i < LY_STEPS; i++) {
		mv->arg[i].mv = mv;
		mv->arg[i].step = (enum ly_step)i;
	}
	mv->next = m->moves;
	m->moves = mv;
	m->moves_n++;
	vm->saga = mv;
	return mv;
}

/* One that no migration has ever had: what was called for in its name, said or
 * quoted, can be shown again. */
static enum ly_rc
new_id(struct ly_manager *m, struct ly_id *id, struct ly_why *why)
{
	char key[LY_ID_TEXT];
	struct ly_mig_row row;
	enum ly_rc rc;

	do {
		ly_random(id, sizeof(*id));
		rc = ly_store_get(m->store, LY_ROW_MIG, ly_id_text(id, key),
		    &row, why);
	} while (rc == LY_OK);
	return rc == LY_UNKNOWN ? LY_OK : rc;
}

enum ly_rc
ly_move_begin(struct ly_manager *m, const struct ly_move_wish *w,
    uint64_t watcher, struct ly_move **out, struct ly_why *why)
{
	enum ly_rc rc = ly_move_allowed(m, w, why);
	struct ly_move *mv;
	struct ly_id id;

	if (rc == LY_OK)
		rc = new_id(m, &id, why);
	if (rc != LY_OK)
		return rc;
	mv = new_move(m, w->vm);
	if (!mv)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	mv->row.id = id;
	mv->row.vm = w->vm->id;
	ly_copy(mv->row.vm_name, LY_NAME_MAX, w->vm->name);
	ly_copy(mv->row.home, LY_NAME_MAX, w->vm->home.name);
	ly_copy(mv->row.from_site, LY_NAME_MAX, w->vm->at.site);
	ly_copy(mv->row.from_host, LY_NAME_MAX, w->vm->at.name);
	ly_copy(mv->row.to_site, LY_NAME_MAX, w->to->at.site);
	ly_copy(mv->row.to_host, LY_NAME_MAX, w->to->at.name);
	mv->row.bandwidth = w->bandwidth;
	mv->row.downtime_ms = w->downtime_ms;
	mv->row.evac = w->evac;
	ly_copy(mv->who, sizeof(mv->who), w->who ? w->who : "");
	mv->row.attest = m->conf.attest;
	mv->row.lanes = (uint8_t)(m->conf.attest ? m->conf.lanes : 0);
	mv->row.before = w->vm->unproved;
	mv->row.started = ly_now_ms();
	mv->watcher[0] = watcher;
	ly_saga_init(&mv->saga, mv->row.attest);
	*out = mv;
	tell(mv, LY_SAGA_GO);
	return LY_OK;
}

const char *
ly_move_cancel(struct ly_move *mv)
{
	mv->refused = NULL;
	tell(mv, LY_SAGA_CANCEL);
	if (!mv->refused)
		ly_move_note(mv, "called off by the operator");
	return mv->refused;
}

const char *
ly_move_supersede(struct ly_move *mv)
{
	mv->refused = NULL;
	tell(mv, LY_SAGA_SUPERSEDE);
	return mv->refused;
}

static enum ly_rc
on_row(void *arg, const void *row_, struct ly_why *why)
{
	struct ly_manager *m = arg;
	const struct ly_mig_row *row = row_;
	struct ly_saga_rec rec = { .state = row->state,
		.tell = row->tell,
		.calloff = row->calloff,
		.lost = row->lost,
		.fate = row->fate,
		.attest = row->attest,
		.epoch = row->epoch };
	struct ly_vm *vm = ly_roster_vm(&m->roster, &row->vm);
	struct ly_move *mv;

	if (row->state >= LY_SAGA_STATES)
		return ly_fail(why, LY_OUTSIDE,
		    "store: migration of %s in state %u", row->vm_name,
		    row->state);
	if (ly_saga_over(row->state) || !vm || vm->saga)
		return LY_OK;
	mv = new_move(m, vm);
	if (!mv)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	mv->row = *row;
	ly_saga_load(&mv->saga, &rec);
	ly_log(LY_NOTICE, "migration", "%s to %s/%s: goes on, %s", row->vm_name,
	    row->to_site, row->to_host, ly_saga_state_name(row->state));
	return LY_OK;
}

enum ly_rc
ly_moves_load(struct ly_manager *m, struct ly_why *why)
{
	return ly_store_each(m->store, LY_ROW_MIG, on_row, m, why);
}

void
ly_moves_go(struct ly_manager *m)
{
	for (struct ly_move *mv = m->moves; mv; mv = mv->next) {
		place_vm(mv);
		tell(mv, LY_SAGA_GO);
	}
}

void
ly_moves_progress(struct ly_manager *m, const struct ly_progress *p)
{
	struct ly_vm *vm = ly_roster_vm(&m->roster, &p->vm);
	struct ly_move *mv = vm ? vm->saga : NULL;

	if (!mv || !ly_id_same(&mv->row.id, &p->mig))
		return;
	mv->progress = *p;
	mv->has_progress = true;
	ly_ask_extend(m, mv->req[LY_STEP_COPY]);
	ly_move_say(mv, ly_move_progress_json(p));
}

static void
watch_source(struct ly_move *mv)
{
	struct ly_place from = ly_move_place(mv, LY_PARTY_SOURCE);
	uint64_t now = uv_now(mv->m->loop);

	if (mv->saga.rec.state != LY_SAGA_COPYING ||
	    ly_host_conn(mv->m, &from)) {
		mv->source_gone = 0;
		return;
	}
	if (!mv->source_gone)
		mv->source_gone = now;
	if (now - mv->source_gone < mv->m->conf.host_lost_seconds * 1000)
		return;
	ly_move_note(mv, "the source %s/%s was lost", from.site, from.name);
	tell(mv, LY_SAGA_HOST_LOST);
}

static void
end(struct ly_move **at)
{
	struct ly_move *mv = *at;
	struct ly_vm *vm = ly_move_vm(mv);

	for (unsigned i = 0; i < LY_STEPS; i++)
		ly_ask_forget(mv->m, mv->req[i]);
	if (vm && vm->saga == mv)
		vm->saga = NULL;
	mv->m->moves_n--;
	*at = mv->next;
	free(mv);
}

/* What was asked and could not even be sent. */
static void
find_unasked(struct ly_move *mv)
{
	for (unsigned i = 0; i < LY_STEPS; i++)
		if ((mv->saga.asked & (1u << i)) && !mv->req[i])
			ly_move_feed(mv,
			    &(struct ly_saga_event){ .kind = LY_SAGA_LATE,
				.step = (enum ly_step)i });
}

/* Each second everything that waits is asked again; so often is enough. */
void
ly_moves_tick(struct ly_manager *m)
{
	bool second = uv_now(m->loop) - m->moves_second >= 1000;
	struct ly_move **at = &m->moves;

	if (second)
		m->moves_second = uv_now(m->loop);
	while (*at) {
		if ((*at)->told) {
			end(at);
			continue;
		}
		if (second) {
			watch_source(*at);
			find_unasked(*at);
			tell(*at, LY_SAGA_TICK);
		}
		at = &(*at)->next;
	}
}

void
ly_moves_fini(struct ly_manager *m)
{
	while (m->moves)
		end(&m->moves);
}
