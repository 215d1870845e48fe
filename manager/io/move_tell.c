/* SPDX-License-Identifier: Apache-2.0 */
/* What those hear who wait for a migration: its events, and its outcome. */
#include "manager/io/move_in.h"

void
ly_move_say(struct ly_move *mv, json_t *event)
{
	for (unsigned i = 0; i < LY_WATCHERS_MAX; i++)
		if (mv->watcher[i])
			ly_api_event(mv->m, mv->watcher[i], json_incref(event));
	json_decref(event);
}

/* What the agents measured comes first. */
static void
put_unless(json_t *o, const char *key, uint64_t v)
{
	if (!json_object_get(o, key))
		json_object_set_new(o, key, json_integer((json_int_t)v));
}

static json_t *
outcome(const struct ly_move *mv)
{
	const struct ly_mig_row *r = &mv->row;
	json_t *out = json_loads(r->result, 0, NULL);
	char id[LY_ID_TEXT], text[LY_PLACE_TEXT];
	struct ly_place from = ly_move_place(mv, LY_PARTY_SOURCE);
	struct ly_place to = ly_move_place(mv, LY_PARTY_DEST);
	struct ly_place home = ly_move_place(mv, LY_PARTY_HOME);

	if (!json_is_object(out)) {
		json_decref(out);
		out = json_object();
	}
	json_object_set_new(out, "migration",
	    json_string(ly_id_text(&r->id, id)));
	json_object_set_new(out, "vm", json_string(r->vm_name));
	json_object_set_new(out, "from",
	    json_string(ly_place_text(&from, text)));
	json_object_set_new(out, "to", json_string(ly_place_text(&to, text)));
	json_object_set_new(out, "home",
	    json_string(ly_place_text(&home, text)));
	json_object_set_new(out, "state",
	    json_string(ly_saga_state_name(r->state)));
	json_object_set_new(out, "migrated",
	    json_boolean(r->fate == LY_FATE_CLAIMED));
	json_object_set_new(out, "epoch", json_integer((json_int_t)r->epoch));
	json_object_set_new(out, "attested", json_boolean(r->attest));
	if (ly_move_unproved(mv))
		json_object_set_new(out, "quarantined",
		    ly_json_text(mv->doubt));
	put_unless(out, "commands_before", r->commands_before);
	put_unless(out, "commands_after", r->commands_after);
	put_unless(out, "total_ms", r->changed - r->started);
	if (mv->has_progress)
		put_unless(out, "downtime_ms", mv->progress.downtime_ms);
	return out;
}

/* Once: committed, aborted, or not known and it may take long. */
void
ly_move_answer(struct ly_move *mv)
{
	struct ly_manager *m = mv->m;
	bool ended = mv->row.fate == LY_FATE_ABORTED ||
	    mv->row.state == LY_SAGA_ABORTED;
	const char *rc = mv->row.fate == LY_FATE_CLAIMED ? NULL :
	    !mv->saga.there				 ? "outside" :
	    ended					 ? "refused" :
							   "open";
	json_t *out = outcome(mv);

	json_object_set_new(out, "ok", json_boolean(!rc));
	if (rc) {
		json_object_set_new(out, "rc", json_string(rc));
		json_object_set_new(out, "why",
		    ly_json_text(mv->row.why[0] ?
			    mv->row.why :
			    "the outcome is not known yet"));
	}
	for (unsigned i = 0; i < LY_WATCHERS_MAX; i++) {
		if (mv->watcher[i])
			ly_api_final(m, mv->watcher[i], json_incref(out));
		mv->watcher[i] = 0;
	}
	json_decref(out);
}

json_t *
ly_move_progress_json(const struct ly_progress *p)
{
	uint64_t done = p->total > p->remaining ? p->total - p->remaining : 0;
	json_t *ev = json_object();

	json_object_set_new(ev, "event", json_string("progress"));
	json_object_set_new(ev, "phase", json_string(ly_phase_name(p->phase)));
#define NUMBER(name, v)                                                        \
	json_object_set_new(ev, name, json_integer((json_int_t)(v)))
	NUMBER("bytes", p->bytes);
	NUMBER("total", p->total);
	NUMBER("remaining", p->remaining);
	NUMBER("rate", p->rate);
	NUMBER("dirty_rate", p->dirty_rate);
	NUMBER("elapsed_ms", p->elapsed_ms);
	NUMBER("downtime_ms", p->downtime_ms);
	NUMBER("commands", p->commands);
	NUMBER("percent",
	    p->phase == LY_PHASE_OVER ? 100 :
		p->total	      ? done * 100 / p->total :
					0);
	/* Until it converges nobody knows; -1 says so. */
	if (p->rate > p->dirty_rate)
		NUMBER("eta_ms",
		    p->remaining / (p->rate - p->dirty_rate) * 1000 +
			p->remaining % (p->rate - p->dirty_rate) * 1000 /
			    (p->rate - p->dirty_rate));
	else
		NUMBER("eta_ms", -1);
#undef NUMBER
	return ev;
}
