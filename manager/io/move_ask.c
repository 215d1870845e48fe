/* SPDX-License-Identifier: Apache-2.0 */
/* What a migration asks of hosts, step by step, and what their answers say. */
#include "manager/io/move_in.h"

/* ---- asking ---- */

static void on_done(struct ly_manager *m, void *arg, const struct ly_done *d);

static enum ly_rc
fill_prepare(struct ly_move *mv, struct ly_start *s,
    struct ly_ticket_bytes *ticket, struct ly_vm_row *vm_row,
    struct ly_why *why)
{
	struct ly_manager *m = mv->m;
	struct ly_vm *vm = ly_move_vm(mv);
	struct ly_place to = ly_move_place(mv, LY_PARTY_DEST);
	struct ly_host *home = ly_roster_host(&m->roster, m->conf.site,
	    mv->row.home);
	enum ly_rc rc;

	if (!vm || !home)
		return ly_fail(why, LY_UNKNOWN, "the VM or its home is gone");
	rc = ly_vm_definition(m, vm, vm_row, why);
	if (rc == LY_OK)
		rc = ly_ticket_mint(m, vm, &mv->row.id, &to, LY_MAY_MOVE,
		    mv->row.from_epoch, ticket, why);
	if (rc != LY_OK)
		return rc;
	s->vm = mv->row.vm;
	s->mig = mv->row.id;
	ly_copy(s->name, sizeof(s->name), vm->name);
	ly_spiffe_host(m->conf.site, mv->row.home, s->home);
	ly_copy(s->home_address, sizeof(s->home_address), home->address);
	ly_spiffe_host(mv->row.from_site, mv->row.from_host, s->source);
	s->definition = (struct ly_bytes){ (const uint8_t *)vm_row->definition,
		strlen(vm_row->definition) };
	s->ticket = (struct ly_bytes){ ticket->at, ticket->len };
	return LY_OK;
}

static enum ly_rc
fill_copy(struct ly_move *mv, struct ly_copy *c, struct ly_why *why)
{
	c->vm = mv->row.vm;
	c->mig = mv->row.id;
	ly_spiffe_host(mv->row.to_site, mv->row.to_host, c->dest);
	ly_copy(c->dest_address, sizeof(c->dest_address), mv->row.to_address);
	c->bandwidth = mv->row.bandwidth;
	c->downtime_ms = mv->row.downtime_ms;
	return mv->row.attest ? ly_move_confirm(mv, c, why) : LY_OK;
}

static void
fill_request(struct ly_move *mv, enum ly_step step, struct ly_request *r)
{
	r->vm = mv->row.vm;
	if (ly_steps[step].asks != LY_SHOW ||
	    (step == LY_STEP_RECORD && mv->row.attest))
		r->mig = mv->row.id; /* the home signs what became of it */
	if (step == LY_STEP_ASK)
		r->flag = 1; /* and abort it, if it is still open */
	if (step == LY_STEP_SETTLE)
		r->flag = mv->row.fate;
	r->epoch = mv->row.epoch;
}

/* The steps of an attested one have no state of their own each. */
static void
say_step(struct ly_move *mv, enum ly_step step, const char *state)
{
	const struct ly_step_row *row = &ly_steps[step];
	char text[64], id[LY_ID_TEXT];

	if (!row->attested)
		return;
	ly_print(text, sizeof(text), "%s %s", row->name,
	    ly_party_name(row->whom));
	ly_move_say(mv,
	    json_pack("{s:s, s:s, s:s, s:s}", "event", "step", "step", text,
		"state", state, "migration", ly_id_text(&mv->row.id, id)));
}

void
ly_move_ask(struct ly_move *mv, enum ly_step step)
{
	const struct ly_step_row *row = &ly_steps[step];
	struct ly_place whom = ly_move_place(mv, row->whom);
	struct ly_move_room room = { .vm.name = "" };
	struct ly_ticket_bytes ticket;
	struct ly_why why = { "" };
	enum ly_rc rc = LY_OK;
	union ly_any msg;

	memset(&msg, 0, sizeof(msg));
	if (row->attested)
		rc = ly_move_fill(mv, step, &msg, &room, &why);
	else if (row->asks == LY_PREPARE)
		rc = fill_prepare(mv, &msg.start, &ticket, &room.vm, &why);
	else if (row->asks == LY_COPY)
		rc = fill_copy(mv, &msg.copy, &why);
	else
		fill_request(mv, step, &msg.request);
	if (rc == LY_OK)
		mv->req[step] = ly_ask(mv->m, &whom, row->asks, &msg,
		    row->limit_ms, on_done, &mv->arg[step]);
	ly_move_room_free(&room);
	say_step(mv, step, "asked");
	if (rc == LY_OK && !mv->req[step])
		rc = ly_fail(&why, LY_FULL, "too many requests under way");
	if (rc != LY_OK) /* the tick finds that it has no number: late */
		ly_move_note(mv, "%s: %s", row->name, why.text);
}

/* ---- answers ---- */

/* Which step, at whom, why; NULL: it did not answer. */
static void
blame(struct ly_move *mv, enum ly_step step, const char *why)
{
	const struct ly_step_row *row = &ly_steps[step];
	struct ly_place whom = ly_move_place(mv, row->whom);
	char at[LY_PLACE_TEXT];

	ly_place_text(&whom, at);
	if (row->attested)
		ly_move_note(mv, "%s: %s %s%s %s", row->name,
		    ly_party_name(row->whom), at, why ? ":" : "",
		    why ? why : "did not answer");
	else if (why)
		ly_move_note(mv, "%s at %s: %s", row->name, at, why);
	else
		ly_move_note(mv, "%s: %s did not answer", row->name, at);
}

static enum ly_rc
authorised(struct ly_move *mv, const struct ly_done *d)
{
	struct ly_why why = { "" };
	struct ly_place to = ly_move_place(mv, LY_PARTY_DEST);
	struct ly_place home = ly_move_place(mv, LY_PARTY_HOME);
	struct ly_shown shown;
	enum ly_rc rc = ly_shown_parse(d, &shown, &why);
	char at[LY_PLACE_TEXT];

	if (rc == LY_OK && strcmp(shown.state, "attached") != 0)
		rc = ly_fail(&why, LY_REFUSED,
		    "its home says it is %s, not running anywhere",
		    shown.state);
	if (rc == LY_OK && strcmp(shown.at.site, mv->row.to_site) == 0 &&
	    strcmp(shown.at.name, mv->row.to_host) == 0)
		rc = ly_fail(&why, LY_REFUSED, "it is at %s already",
		    ly_place_text(&shown.at, at));
	if (rc == LY_OK &&
	    !ly_roster_host(&mv->m->roster, shown.at.site, shown.at.name))
		rc = ly_fail(&why, LY_UNKNOWN,
		    "its home says it is at %s, which is not known here",
		    ly_place_text(&shown.at, at));
	if (rc == LY_OK && mv->row.attest)
		rc = ly_move_standing(mv->m, &to, &shown.at, &home, &why);
	if (rc != LY_OK) {
		ly_move_note(mv, "%s", why.text);
		return rc;
	}
	ly_copy(mv->row.from_site, LY_NAME_MAX, shown.at.site);
	ly_copy(mv->row.from_host, LY_NAME_MAX, shown.at.name);
	mv->row.from_epoch = shown.epoch;
	mv->row.commands_before = shown.seq;
	return LY_OK;
}

/* A paper that cannot be kept is asked for again; one that says nothing is no
 * answer. */
static enum ly_rc
heard_paper(struct ly_move *mv, enum ly_step step, const struct ly_done *d)
{
	struct ly_why why = { "" };
	enum ly_rc rc = ly_move_heard_paper(mv, step, d->data, &why);

	if (rc == LY_OUTSIDE) {
		ly_log(LY_WARNING, "migration", "%s: %s, again: %s",
		    mv->row.vm_name, ly_steps[step].name, why.text);
		return LY_BUSY;
	}
	if (rc != LY_OK)
		blame(mv, step, why.text);
	return rc;
}

/* What an answer tells besides rc and fate. */
static enum ly_rc
read_answer(struct ly_move *mv, enum ly_step step, const struct ly_done *d,
    struct ly_saga_event *ev)
{
	struct ly_place to = ly_move_place(mv, LY_PARTY_DEST);
	struct ly_host *h = ly_roster_host(&mv->m->roster, to.site, to.name);
	struct ly_shown shown;

	if (step == LY_STEP_COPY && d->value[0])
		ly_copy(mv->row.result, sizeof(mv->row.result), d->value);
	if (mv->row.attest && (step == LY_STEP_COPY || step == LY_STEP_SETTLE))
		ly_move_heard_proof(mv, step, d);
	if (d->rc != LY_OK)
		return (enum ly_rc)d->rc;
	if (ly_steps[step].attested)
		return heard_paper(mv, step, d);
	if (step == LY_STEP_AUTHORISE) {
		enum ly_rc rc = authorised(mv, d);

		ev->epoch = mv->row.from_epoch;
		return rc;
	}
	if (step == LY_STEP_PREPARE)
		ly_copy(mv->row.to_address, sizeof(mv->row.to_address),
		    d->value[0] ? d->value :
			h	? h->address :
				  "");
	if (step == LY_STEP_RECORD && ly_shown_parse(d, &shown, NULL) == LY_OK)
		mv->row.commands_after = shown.seq;
	if (step == LY_STEP_RECORD && mv->row.attest)
		ly_move_heard_decided(mv, d);
	return LY_OK;
}

static bool
is_bad_news(enum ly_step step, enum ly_rc rc)
{
	return rc != LY_OK && rc != LY_BUSY && rc != LY_SHORT &&
	    step != LY_STEP_CALLOFF && step != LY_STEP_RECORD;
}

static void
on_done(struct ly_manager *m, void *arg, const struct ly_done *d)
{
	const struct ly_move_arg *a = arg;
	struct ly_move *mv = a->mv;
	enum ly_step step = a->step;
	struct ly_saga_event ev = { .kind = LY_SAGA_LATE, .step = step };

	(void)m;
	mv->req[step] = 0;
	if (d) {
		ev.kind = LY_SAGA_ANSWERED;
		ev.fate = (enum ly_fate)d->fate;
		ev.epoch = d->epoch;
		ev.rc = read_answer(mv, step, d, &ev);
		if (ev.rc == LY_OK)
			say_step(mv, step, "done");
		if (is_bad_news(step, ev.rc))
			blame(mv, step, d->why[0] ? d->why : ly_rc_name(d->rc));
	} else if (step != LY_STEP_RECORD) {
		blame(mv, step, NULL);
	}
	ly_move_feed(mv, &ev);
}
