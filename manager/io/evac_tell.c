/* SPDX-License-Identifier: Apache-2.0 */
/* What those hear who watch an evacuation: a line for each VM whenever it
 * changes, a total, and at the end a table. */
#include "manager/io/evac_in.h"

const char *const ly_stand_names[LY_STANDS] = { "waiting", "running", "moved",
	"refused", "failed" };

unsigned
ly_evac_count(const struct ly_evac *e, enum ly_stand stand)
{
	unsigned n = 0;

	for (size_t i = 0; i < e->n; i++)
		n += e->of[i].stand == stand;
	return n;
}

static json_t *
member_json(const struct ly_evac *e, const struct ly_member *of)
{
	const struct ly_vm *vm = ly_roster_vm(&e->m->roster, &of->vm);
	char text[LY_PLACE_TEXT], id[LY_ID_TEXT];
	json_t *o = json_object();

	json_object_set_new(o, "vm", json_string(of->name));
	json_object_set_new(o, "state", json_string(ly_stand_names[of->stand]));
	json_object_set_new(o, "priority", json_integer(vm ? vm->priority : 0));
	json_object_set_new(o, "memory_mb",
	    json_integer(vm ? (json_int_t)vm->memory_mb : 0));
	json_object_set_new(o, "from",
	    json_string(ly_place_text(&of->from, text)));
	json_object_set_new(o, "to",
	    of->to.name[0] ? json_string(ly_place_text(&of->to, text)) :
			     json_null());
	if (!ly_id_none(&of->mig))
		json_object_set_new(o, "migration",
		    json_string(ly_id_text(&of->mig, id)));
	if (of->stand == LY_STAND_RUNNING) {
		json_object_set_new(o, "step",
		    json_string(ly_saga_state_name(of->state)));
		json_object_set_new(o, "percent", json_integer(of->percent));
	}
	if (of->why[0])
		json_object_set_new(o, "why", ly_json_text(of->why));
	return o;
}

static void
put_counts(const struct ly_evac *e, json_t *o)
{
	char from[LY_PLACE_TEXT];

	json_object_set_new(o, "from",
	    json_string(ly_evac_from(&e->row, from)));
	json_object_set_new(o, "to", json_string(e->row.to_site));
	json_object_set_new(o, "total", json_integer((json_int_t)e->n));
	for (unsigned i = 0; i < LY_STANDS; i++)
		json_object_set_new(o, ly_stand_names[i],
		    json_integer(ly_evac_count(e, (enum ly_stand)i)));
}

json_t *
ly_evac_json(const struct ly_evac *e)
{
	json_t *o = json_object(), *list = json_array();

	for (size_t i = 0; i < e->n; i++)
		json_array_append_new(list, member_json(e, &e->of[i]));
	put_counts(e, o);
	json_object_set_new(o, "vms", list);
	return o;
}

static void
say(struct ly_evac *e, const char *name, json_t *event)
{
	json_object_set_new(event, "event", json_string(name));
	for (unsigned i = 0; i < LY_WATCHERS_MAX; i++)
		if (e->watcher[i])
			ly_api_event(e->m, e->watcher[i], json_incref(event));
	json_decref(event);
}

void
ly_evac_tell(struct ly_evac *e)
{
	bool any = false;

	for (size_t i = 0; i < e->n; i++) {
		if (!e->of[i].news)
			continue;
		e->of[i].news = false;
		any = true;
		say(e, "vm", member_json(e, &e->of[i]));
	}
	if (any) {
		json_t *o = json_object();

		put_counts(e, o);
		say(e, "total", o);
	}
}

static json_t *
verdict(const struct ly_evac *e, bool open)
{
	unsigned moved = ly_evac_count(e, LY_STAND_MOVED);
	char from[LY_PLACE_TEXT];
	struct ly_why why;
	json_t *o = ly_evac_json(e);

	ly_evac_from(&e->row, from);
	json_object_set_new(o, "ok", json_boolean(!open && moved == e->n));
	if (!open && moved == e->n)
		return o;
	if (open)
		(void)ly_fail(&why, LY_SHORT,
		    "%u of %zu VMs moved; %u migrations are in doubt, and the"
		    " evacuation of %s goes on",
		    moved, e->n, ly_evac_count(e, LY_STAND_RUNNING), from);
	else
		(void)ly_fail(&why, LY_REFUSED,
		    "%u of %zu VMs moved; %u refused, %u failed%s", moved, e->n,
		    ly_evac_count(e, LY_STAND_REFUSED),
		    ly_evac_count(e, LY_STAND_FAILED),
		    e->row.state == LY_EVAC_CALLED_OFF ? "; called off" : "");
	json_object_set_new(o, "rc", json_string(open ? "open" : "refused"));
	json_object_set_new(o, "why", json_string(why.text));
	return o;
}

void
ly_evac_answer(struct ly_evac *e, bool open)
{
	json_t *o = verdict(e, open);

	ly_evac_tell(e);
	say(e, "table", ly_evac_json(e));
	for (unsigned i = 0; i < LY_WATCHERS_MAX; i++) {
		if (e->watcher[i])
			ly_api_final(e->m, e->watcher[i], json_incref(o));
		e->watcher[i] = 0;
	}
	json_decref(o);
}
