/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/plan/plan.h"

enum ly_rc
ly_plan_room(const struct ly_plan_host *h, uint64_t memory_mb,
    struct ly_why *why)
{
	if (h->vms_most && h->vms >= h->vms_most)
		return ly_fail(why, LY_FULL, "%s is full: %u of %u VMs",
		    h->name, h->vms, h->vms_most);
	if (h->memory_most &&
	    (memory_mb > h->memory_most ||
		h->memory_mb > h->memory_most - memory_mb))
		return ly_fail(why, LY_FULL,
		    "%s is full: %llu of %llu MiB, and it needs %llu", h->name,
		    (unsigned long long)h->memory_mb,
		    (unsigned long long)h->memory_most,
		    (unsigned long long)memory_mb);
	return LY_OK;
}

/* ---- order ---- */

static bool
before(const struct ly_plan_vm *a, const struct ly_plan_vm *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	return strcmp(a->name, b->name) < 0;
}

static void
swap(struct ly_plan_vm *a, struct ly_plan_vm *b)
{
	struct ly_plan_vm c = *a;

	*a = *b;
	*b = c;
}

/* The last of the heap's children on this way down. */
static void
sift(struct ly_plan_vm *v, size_t at, size_t n)
{
	for (size_t child; (child = 2 * at + 1) < n; at = child) {
		if (child + 1 < n && before(&v[child], &v[child + 1]))
			child++;
		if (!before(&v[at], &v[child]))
			return;
		swap(&v[at], &v[child]);
	}
}

/* In place, and never slow: a site may have 100,000. */
static void
sort(struct ly_plan_vm *v, size_t n)
{
	for (size_t i = n / 2; i-- > 0;)
		sift(v, i, n);
	for (size_t i = n; i-- > 1;) {
		swap(&v[0], &v[i]);
		sift(v, 0, i);
	}
}

/* ---- places ---- */

static enum ly_rc
will_do(const struct ly_plan *p, const struct ly_plan_vm *vm,
    const struct ly_plan_host *h, struct ly_why *why)
{
	enum ly_rc rc;

	if (h->no)
		return ly_fail(why, LY_REFUSED, "%s", h->no);
	rc = ly_plan_room(h, vm->memory_mb, why);
	if (rc == LY_OK && p->may)
		rc = p->may(p->arg, vm, h, why);
	return rc;
}

static bool
emptier(const struct ly_plan_host *a, const struct ly_plan_host *b)
{
	if (a->vms != b->vms)
		return a->vms < b->vms;
	if (a->memory_mb != b->memory_mb)
		return a->memory_mb < b->memory_mb;
	return strcmp(a->name, b->name) < 0;
}

/* All reasons that fit: the operator has to change one of these. */
static void
add_reason(struct ly_why *all, const char *why)
{
	size_t n = strlen(all->text);

	if (!strstr(all->text, why))
		ly_print(all->text + n, sizeof(all->text) - n, "%s%s",
		    n ? "; " : "", why);
}

static void
place(struct ly_plan *p, struct ly_plan_vm *vm)
{
	struct ly_plan_host *best = NULL;

	vm->host = LY_PLAN_NOWHERE;
	vm->why.text[0] = '\0';
	if (vm->no) {
		add_reason(&vm->why, vm->no);
		return;
	}
	for (size_t i = 0; i < p->hosts_n; i++) {
		struct ly_plan_host *h = &p->hosts[i];
		struct ly_why why = { "" };

		if (will_do(p, vm, h, &why) != LY_OK)
			add_reason(&vm->why, why.text);
		else if (!best || emptier(h, best))
			best = h;
	}
	if (!best) {
		if (p->hosts_n == 0)
			add_reason(&vm->why, "there is no host to move it to");
		return;
	}
	vm->why.text[0] = '\0';
	vm->host = (size_t)(best - p->hosts);
	best->vms++;
	best->memory_mb += vm->memory_mb;
}

size_t
ly_plan_make(struct ly_plan *p)
{
	size_t n = 0;

	sort(p->vms, p->vms_n);
	for (size_t i = 0; i < p->vms_n; i++) {
		place(p, &p->vms[i]);
		n += p->vms[i].host != LY_PLAN_NOWHERE;
	}
	return n;
}
