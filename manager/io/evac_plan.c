/* SPDX-License-Identifier: Apache-2.0 */
/* An evacuation's plan: what the roster knows, for manager/plan. */
#include "manager/io/evac_in.h"

#include "manager/plan/plan.h"

#include <stdlib.h>

/* ---- places ---- */

static bool
is_site(const struct ly_manager *m, const char *text)
{
	if (strcmp(text, m->conf.site) == 0)
		return true;
	for (unsigned i = 0; i < m->feds_n; i++)
		if (strcmp(m->feds[i].site, text) == 0)
			return true;
	return false;
}

enum ly_rc
ly_evac_parse(struct ly_manager *m, const char *from, const char *to,
    struct ly_evac_row *row, struct ly_why *why)
{
	struct ly_host *h;
	enum ly_rc rc = LY_OK;

	if (!is_site(m, to))
		return ly_fail(why, LY_UNKNOWN,
		    "no site \"%.64s\" is known here", to);
	ly_copy(row->to_site, sizeof(row->to_site), to);
	if (is_site(m, from)) {
		ly_copy(row->from_site, sizeof(row->from_site), from);
	} else {
		rc = ly_roster_find_host(&m->roster, from, &h, why);
		if (rc != LY_OK)
			return rc;
		ly_copy(row->from_site, sizeof(row->from_site), h->at.site);
		ly_copy(row->from_host, sizeof(row->from_host), h->at.name);
	}
	if (!row->from_host[0] && strcmp(row->from_site, to) == 0)
		return ly_fail(why, LY_REFUSED, "from site %s to itself", to);
	return LY_OK;
}

const char *
ly_evac_from(const struct ly_evac_row *row, char out[LY_PLACE_TEXT])
{
	ly_print(out, LY_PLACE_TEXT, "%s%s%s", row->from_site,
	    row->from_host[0] ? "/" : "", row->from_host);
	return out;
}

bool
ly_evac_there(const struct ly_evac_row *row, const struct ly_place *at)
{
	return strcmp(at->site, row->from_site) == 0 &&
	    (!row->from_host[0] || strcmp(at->name, row->from_host) == 0);
}

/* ---- room ---- */

/* Where a VM is, or will be. */
static const struct ly_place *
place_of(const struct ly_vm *vm, struct ly_place *room)
{
	const struct ly_move *mv = vm->saga;

	if (mv && !mv->row.lost) {
		ly_place_set(room, mv->row.to_site, mv->row.to_host);
		return room;
	}
	return vm->known && vm->state == LY_VM_NONE ? NULL : &vm->at;
}

enum ly_rc
ly_host_room(struct ly_manager *m, const struct ly_host *h,
    const struct ly_id *vm, uint64_t memory_mb, struct ly_why *why)
{
	char name[LY_PLACE_TEXT];
	struct ly_plan_host count = { .name = ly_place_text(&h->at, name),
		.vms_most = h->vms_most,
		.memory_most = h->memory_most };
	const struct ly_place *at;
	struct ly_place room;
	struct ly_vm *v;

	if (!h->vms_most && !h->memory_most)
		return LY_OK;
	for (uint32_t i = 0; (v = ly_roster_next_vm(&m->roster, &i));) {
		at = place_of(v, &room);
		if (!at || !ly_place_same(at, &h->at) || ly_id_same(&v->id, vm))
			continue;
		count.vms++;
		count.memory_mb += v->memory_mb;
	}
	return ly_plan_room(&count, memory_mb, why);
}

/* ---- members ---- */

struct ly_member *
ly_evac_member(struct ly_evac *e, const struct ly_id *vm)
{
	for (size_t i = 0; i < e->n; i++)
		if (ly_id_same(&e->of[i].vm, vm))
			return &e->of[i];
	return NULL;
}

enum ly_rc
ly_evac_add(struct ly_evac *e, const struct ly_id *vm, const char *name,
    struct ly_member **out, struct ly_why *why)
{
	if (e->n == e->room) {
		size_t room = e->room ? 2 * e->room : 16;
		void *more = realloc(e->of, room * sizeof(*e->of));

		if (!more)
			return ly_fail(why, LY_OUTSIDE, "out of memory");
		e->of = more;
		e->room = room;
	}
	*out = &e->of[e->n++];
	**out = (struct ly_member){ .vm = *vm, .news = true };
	ly_copy((*out)->name, sizeof((*out)->name), name);
	return LY_OK;
}

/* One that is off has nothing to move; one of another site is not ours to. */
static enum ly_rc
collect_one(struct ly_evac *e, const struct ly_vm *vm, struct ly_why *why)
{
	char id[LY_ID_TEXT];
	struct ly_member *of;
	enum ly_rc rc;

	if (!ly_evac_there(&e->row, &vm->at) ||
	    (vm->known && vm->state == LY_VM_NONE) ||
	    ly_evac_member(e, &vm->id))
		return LY_OK;
	rc = ly_evac_add(e, &vm->id,
	    vm->guest ? ly_id_text(&vm->id, id) : vm->name, &of, why);
	if (rc != LY_OK)
		return rc;
	of->from = vm->at;
	if (vm->guest) {
		of->stand = LY_STAND_REFUSED;
		ly_print(of->why, sizeof(of->why),
		    "its home is at site %s, whose manager moves it",
		    vm->home.site);
	}
	return LY_OK;
}

enum ly_rc
ly_evac_collect(struct ly_evac *e, struct ly_why *why)
{
	enum ly_rc rc = LY_OK;
	struct ly_vm *vm;

	for (uint32_t i = 0;
	     rc == LY_OK && (vm = ly_roster_next_vm(&e->m->roster, &i));)
		rc = collect_one(e, vm, why);
	return rc;
}

/* ---- the plan ---- */

struct planning {
	struct ly_evac *e;
	struct ly_plan plan;
	struct ly_host **host; /* of plan.hosts */
	char (*names)[LY_PLACE_TEXT];
	char (*nos)[LY_WHY_MAX];
};

static void
plan_free(struct planning *p)
{
	free(p->plan.hosts);
	free(p->plan.vms);
	free(p->host);
	free(p->names);
	free(p->nos);
}

static bool
is_target(const struct ly_evac *e, const struct ly_host *h)
{
	return strcmp(h->at.site, e->row.to_site) == 0 &&
	    !ly_evac_there(&e->row, &h->at);
}

static void
take_host(struct planning *p, struct ly_host *h)
{
	size_t i = p->plan.hosts_n++;

	ly_place_text(&h->at, p->names[i]);
	p->host[i] = h;
	p->plan.hosts[i] = (struct ly_plan_host){ .name = p->names[i],
		.vms_most = h->vms_most,
		.memory_most = h->memory_most };
	if (!h->up)
		ly_print(p->nos[i], LY_WHY_MAX, "%s is not connected",
		    p->names[i]);
	else if (h->revoked)
		ly_print(p->nos[i], LY_WHY_MAX, "%s was revoked", p->names[i]);
	if (p->nos[i][0])
		p->plan.hosts[i].no = p->nos[i];
}

/* One pass over all VMs, whatever the number of hosts. */
static void
count_vms(struct planning *p, size_t *index)
{
	struct ly_roster *r = &p->e->m->roster;
	const struct ly_place *at;
	struct ly_place room;
	struct ly_host *h;
	struct ly_vm *vm;

	for (uint32_t i = 0; (vm = ly_roster_next_vm(r, &i));) {
		at = place_of(vm, &room);
		h = at && strcmp(at->site, p->e->row.to_site) == 0 ?
		    ly_roster_host(r, at->site, at->name) :
		    NULL;
		if (!h || !index[h - r->hosts])
			continue;
		p->plan.hosts[index[h - r->hosts] - 1].vms++;
		p->plan.hosts[index[h - r->hosts] - 1].memory_mb +=
		    vm->memory_mb;
	}
}

static bool
find_hosts(struct planning *p)
{
	struct ly_roster *r = &p->e->m->roster;
	size_t *index = calloc(r->hosts_n + 1, sizeof(*index)), n = 0;
	struct ly_host *h;

	for (uint32_t i = 0; (h = ly_roster_next_host(r, &i));)
		n += is_target(p->e, h);
	p->plan.hosts = calloc(n + 1, sizeof(*p->plan.hosts));
	p->host = calloc(n + 1, sizeof(struct ly_host *));
	p->names = calloc(n + 1, sizeof(*p->names));
	p->nos = calloc(n + 1, sizeof(*p->nos));
	if (!index || !p->plan.hosts || !p->host || !p->names || !p->nos) {
		free(index);
		return false;
	}
	for (uint32_t i = 0; (h = ly_roster_next_host(r, &i));)
		if (is_target(p->e, h)) {
			take_host(p, h);
			index[h - r->hosts] = p->plan.hosts_n;
		}
	count_vms(p, index);
	free(index);
	return true;
}

static enum ly_rc
may(void *arg, const struct ly_plan_vm *vm, const struct ly_plan_host *host,
    struct ly_why *why)
{
	struct planning *p = arg;
	struct ly_manager *m = p->e->m;
	struct ly_move_wish w = { .to = p->host[host - p->plan.hosts] };
	enum ly_rc rc = ly_roster_find_vm(&m->roster, vm->name, &w.vm, why);

	return rc == LY_OK ? ly_move_allowed(m, &w, why) : rc;
}

static bool
find_vms(struct planning *p)
{
	struct ly_evac *e = p->e;

	p->plan.vms = calloc(e->n + 1, sizeof(*p->plan.vms));
	for (size_t i = 0; p->plan.vms && i < e->n; i++) {
		const struct ly_vm *vm = ly_roster_vm(&e->m->roster,
		    &e->of[i].vm);

		if (e->of[i].stand != LY_STAND_WAITING)
			continue;
		p->plan.vms[p->plan.vms_n++] = (struct ly_plan_vm){
			.name = e->of[i].name,
			.no = vm ? NULL : "it has been removed",
			.priority = vm ? vm->priority : 0,
			.memory_mb = vm ? vm->memory_mb : 0,
		};
	}
	return p->plan.vms != NULL;
}

/* `name` borrows from the member, so it says which. */
static struct ly_member *
told(struct planning *p, const struct ly_plan_vm *v)
{
	struct ly_member *of = LY_HOLDER(v->name, struct ly_member, name);

	if (v->host == LY_PLAN_NOWHERE) {
		memset(&of->to, 0, sizeof(of->to));
		ly_copy(of->why, sizeof(of->why), v->why.text);
		return NULL;
	}
	of->to = p->host[v->host]->at;
	of->why[0] = '\0';
	return of;
}

struct ly_member *
ly_evac_next(struct ly_evac *e)
{
	struct planning p = { .e = e, .plan = { .may = may } };
	struct ly_member *first = NULL, *of;

	p.plan.arg = &p;
	if (find_hosts(&p) && find_vms(&p)) {
		(void)ly_plan_make(&p.plan);
		for (size_t i = 0; i < p.plan.vms_n; i++) {
			of = told(&p, &p.plan.vms[i]);
			first = first ? first : of;
		}
	}
	plan_free(&p);
	return first;
}
