/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/roster/roster.h"

#include <string.h>

/* FNV-1a: names come from our operator, so no keyed hash is needed. */
static uint32_t
bucket(const void *bytes, size_t len)
{
	struct ly_rd r = ly_rd_over(bytes, len);
	uint32_t h = 2166136261u;

	while (ly_rd_left(&r))
		h = (h ^ ly_rd_u8(&r)) * 16777619u;
	return (h ^ (h >> 16)) & (LY_BUCKETS - 1);
}

static uint32_t
bucket_of(const char *name)
{
	return bucket(name, strlen(name));
}

void
ly_roster_init(struct ly_roster *r, const char *site,
    const struct ly_roster_mem *mem)
{
	memset(r, 0, sizeof(*r));
	ly_copy(r->site, sizeof(r->site), site);
	r->hosts = mem->hosts;
	r->vms = mem->vms;
	r->by_host = mem->buckets;
	r->by_id = mem->buckets + LY_BUCKETS;
	r->by_name = mem->buckets + 2 * (size_t)LY_BUCKETS;
}

/* ---- places ---- */

void
ly_place_set(struct ly_place *p, const char *site, const char *name)
{
	ly_copy(p->site, sizeof(p->site), site);
	ly_copy(p->name, sizeof(p->name), name);
}

const char *
ly_place_text(const struct ly_place *p, char out[LY_PLACE_TEXT])
{
	if (!p->name[0])
		ly_copy(out, LY_PLACE_TEXT, "nowhere");
	else
		ly_print(out, LY_PLACE_TEXT, "%s/%s", p->site, p->name);
	return out;
}

enum ly_rc
ly_place_parse(const char *text, struct ly_place *out)
{
	const char *slash = strchr(text, '/');
	struct ly_place p = { .site = "" };
	size_t n = slash ? (size_t)(slash - text) : 0;

	if (!slash || n >= sizeof(p.site))
		return LY_MALFORMED;
	memcpy(p.site, text, n);
	if (!ly_copy(p.name, sizeof(p.name), slash + 1) ||
	    !ly_name_good(p.site) || !ly_name_good(p.name))
		return LY_MALFORMED;
	*out = p;
	return LY_OK;
}

/* ---- hosts ---- */

struct ly_host *
ly_roster_host(const struct ly_roster *r, const char *site, const char *name)
{
	for (uint32_t i = r->by_host[bucket_of(name)]; i;
	     i = r->hosts[i - 1].next) {
		struct ly_host *h = &r->hosts[i - 1];

		if (strcmp(h->at.name, name) == 0 &&
		    strcmp(h->at.site, site) == 0)
			return h;
	}
	return NULL;
}

/* A free entry's number + 1; 0 when there is none. */
static uint32_t
take_host(struct ly_roster *r)
{
	uint32_t i = r->hosts_free;

	if (i)
		r->hosts_free = r->hosts[i - 1].next;
	else if (r->hosts_n < LY_HOSTS_MAX)
		i = ++r->hosts_n;
	return i;
}

enum ly_rc
ly_roster_add_host(struct ly_roster *r, const char *site, const char *name,
    struct ly_host **out, struct ly_why *why)
{
	struct ly_host *h = ly_roster_host(r, site, name);
	uint32_t i, *head = &r->by_host[bucket_of(name)];

	if (!ly_name_good(site) || !ly_name_good(name))
		return ly_fail(why, LY_REFUSED,
		    "\"%.64s\" is not a host's name: 1 to 63 of a-z 0-9 . _ -",
		    name);
	if (!h) {
		i = take_host(r);
		if (!i)
			return ly_fail(why, LY_FULL,
			    "no room for another host, limit %u", LY_HOSTS_MAX);
		h = &r->hosts[i - 1];
		*h = (struct ly_host){ .used = true, .next = *head };
		ly_place_set(&h->at, site, name);
		*head = i;
	}
	*out = h;
	return LY_OK;
}

void
ly_roster_drop_host(struct ly_roster *r, struct ly_host *h)
{
	uint32_t me = (uint32_t)(h - r->hosts) + 1;
	uint32_t *at = &r->by_host[bucket_of(h->at.name)];

	while (*at != me)
		at = &r->hosts[*at - 1].next;
	*at = h->next;
	*h = (struct ly_host){ .next = r->hosts_free };
	r->hosts_free = me;
}

struct ly_host *
ly_roster_next_host(const struct ly_roster *r, uint32_t *i)
{
	while (*i < r->hosts_n) {
		struct ly_host *h = &r->hosts[(*i)++];

		if (h->used)
			return h;
	}
	return NULL;
}

/* "north/n1, north/n2, ..." for who asked for one there is none of. */
static void
list_hosts(const struct ly_roster *r, char *out, size_t size)
{
	struct ly_host *h;
	size_t n = 0;

	ly_copy(out, size, "there are none");
	for (uint32_t i = 0; (h = ly_roster_next_host(r, &i));) {
		if (n + 2 * LY_NAME_MAX + 8 > size) {
			ly_copy(out + n, size - n, ", ...");
			return;
		}
		ly_print(out + n, size - n, "%s%s/%s", n ? ", " : "there are ",
		    h->at.site, h->at.name);
		n += strlen(out + n);
	}
}

static enum ly_rc
no_such_host(const struct ly_roster *r, const char *text, struct ly_why *why)
{
	char list[232];

	list_hosts(r, list, sizeof(list));
	return ly_fail(why, LY_UNKNOWN, "no host \"%.64s\"; %s", text, list);
}

enum ly_rc
ly_roster_find_host(const struct ly_roster *r, const char *text,
    struct ly_host **out, struct ly_why *why)
{
	struct ly_host *found = NULL;
	struct ly_place p;

	if (strchr(text, '/')) {
		if (ly_place_parse(text, &p) == LY_OK)
			found = ly_roster_host(r, p.site, p.name);
		if (!found)
			return no_such_host(r, text, why);
		*out = found;
		return LY_OK;
	}
	for (uint32_t i = r->by_host[bucket_of(text)]; i;
	     i = r->hosts[i - 1].next) {
		struct ly_host *h = &r->hosts[i - 1];

		if (strcmp(h->at.name, text) != 0)
			continue;
		if (found)
			return ly_fail(why, LY_REFUSED,
			    "\"%.64s\" may be %s/%s or %s/%s; say which", text,
			    found->at.site, text, h->at.site, text);
		found = h;
	}
	if (!found)
		return no_such_host(r, text, why);
	*out = found;
	return LY_OK;
}

/* ---- VMs ---- */

struct ly_vm *
ly_roster_vm(const struct ly_roster *r, const struct ly_id *id)
{
	for (uint32_t i = r->by_id[bucket(id->b, sizeof(id->b))]; i;
	     i = r->vms[i - 1].next_id)
		if (ly_id_same(&r->vms[i - 1].id, id))
			return &r->vms[i - 1];
	return NULL;
}

static struct ly_vm *
by_name(const struct ly_roster *r, const char *name)
{
	for (uint32_t i = r->by_name[bucket_of(name)]; i;
	     i = r->vms[i - 1].next_name)
		if (strcmp(r->vms[i - 1].name, name) == 0)
			return &r->vms[i - 1];
	return NULL;
}

static struct ly_vm *
take_vm(struct ly_roster *r, const struct ly_id *id, struct ly_why *why)
{
	uint32_t *head = &r->by_id[bucket(id->b, sizeof(id->b))];
	uint32_t i = r->vms_free;
	struct ly_vm *vm;

	if (i)
		r->vms_free = r->vms[i - 1].next_id;
	else if (r->vms_n < LY_VMS_MAX)
		i = ++r->vms_n;
	if (!i) {
		(void)ly_fail(why, LY_FULL, "no room for another VM, limit %u",
		    LY_VMS_MAX);
		return NULL;
	}
	vm = &r->vms[i - 1];
	*vm = (struct ly_vm){ .used = true, .id = *id, .next_id = *head };
	*head = i;
	return vm;
}

enum ly_rc
ly_roster_add_vm(struct ly_roster *r, const struct ly_id *id, const char *name,
    struct ly_vm **out, struct ly_why *why)
{
	uint32_t *head = &r->by_name[bucket_of(name)];
	struct ly_vm *vm;

	if (!ly_name_good(name))
		return ly_fail(why, LY_REFUSED,
		    "\"%.64s\" is not a VM's name: 1 to 63 of a-z 0-9 . _ -",
		    name);
	if (by_name(r, name) || ly_roster_vm(r, id))
		return ly_fail(why, LY_REFUSED, "there is a VM \"%s\" already",
		    name);
	vm = take_vm(r, id, why);
	if (!vm)
		return LY_FULL;
	ly_copy(vm->name, sizeof(vm->name), name);
	ly_copy(vm->home.site, sizeof(vm->home.site), r->site);
	vm->next_name = *head;
	*head = (uint32_t)(vm - r->vms) + 1;
	r->vms_here++;
	*out = vm;
	return LY_OK;
}

enum ly_rc
ly_roster_add_guest(struct ly_roster *r, const struct ly_id *id,
    const char *home_site, struct ly_vm **out, struct ly_why *why)
{
	struct ly_vm *vm = ly_roster_vm(r, id);

	if (vm && (!vm->guest || strcmp(vm->home.site, home_site) != 0))
		return ly_fail(why, LY_REFUSED,
		    "this VM's home is at site %s, not %.64s", vm->home.site,
		    home_site);
	if (!vm) {
		vm = take_vm(r, id, why);
		if (!vm)
			return LY_FULL;
		vm->guest = true;
		ly_copy(vm->home.site, sizeof(vm->home.site), home_site);
	}
	*out = vm;
	return LY_OK;
}

void
ly_roster_drop_vm(struct ly_roster *r, struct ly_vm *vm)
{
	uint32_t me = (uint32_t)(vm - r->vms) + 1;
	uint32_t *at = &r->by_id[bucket(vm->id.b, sizeof(vm->id.b))];

	assert(!vm->saga);
	while (*at != me)
		at = &r->vms[*at - 1].next_id;
	*at = vm->next_id;
	if (!vm->guest) {
		at = &r->by_name[bucket_of(vm->name)];
		while (*at != me)
			at = &r->vms[*at - 1].next_name;
		*at = vm->next_name;
		r->vms_here--;
	}
	*vm = (struct ly_vm){ .next_id = r->vms_free };
	r->vms_free = me;
}

struct ly_vm *
ly_roster_next_vm(const struct ly_roster *r, uint32_t *i)
{
	while (*i < r->vms_n) {
		struct ly_vm *vm = &r->vms[(*i)++];

		if (vm->used)
			return vm;
	}
	return NULL;
}

static void
list_vms(const struct ly_roster *r, char *out, size_t size)
{
	struct ly_vm *vm;
	size_t n = 0;

	ly_copy(out, size, "there are none");
	for (uint32_t i = 0; (vm = ly_roster_next_vm(r, &i));) {
		if (vm->guest)
			continue;
		if (n + LY_NAME_MAX + 16 > size) {
			ly_copy(out + n, size - n, ", ...");
			return;
		}
		ly_print(out + n, size - n, "%s%s", n ? ", " : "there are ",
		    vm->name);
		n += strlen(out + n);
	}
}

enum ly_rc
ly_roster_find_vm(const struct ly_roster *r, const char *text,
    struct ly_vm **out, struct ly_why *why)
{
	struct ly_vm *vm = by_name(r, text);
	char list[200];
	struct ly_id id;

	if (!vm && ly_id_parse(text, &id) == LY_OK)
		vm = ly_roster_vm(r, &id);
	if (!vm || vm->guest) {
		list_vms(r, list, sizeof(list));
		return ly_fail(why, LY_UNKNOWN,
		    "no VM \"%.64s\" has its home at site %s; %s", text,
		    r->site, list);
	}
	*out = vm;
	return LY_OK;
}

const char *
ly_vm_text(const struct ly_roster *r, const struct ly_vm *vm,
    char out[LY_VM_TEXT])
{
	char at[LY_PLACE_TEXT];
	struct ly_host *h = ly_roster_host(r, vm->at.site, vm->at.name);

	ly_place_text(&vm->at, at);
	if (!vm->bound && !vm->guest)
		ly_copy(out, LY_VM_TEXT, "not bound to its home yet");
	else if (vm->lost)
		ly_print(out, LY_VM_TEXT, "down at %s (host lost)", at);
	else if (!vm->at.name[0])
		ly_copy(out, LY_VM_TEXT, "off");
	else if (!h || !h->up)
		ly_print(out, LY_VM_TEXT, "unknown (%s is not connected)", at);
	else if (!vm->known || vm->state == LY_VM_NONE)
		ly_copy(out, LY_VM_TEXT, "off");
	else
		ly_print(out, LY_VM_TEXT, "%s%s", ly_vmstate_name(vm->state),
		    vm->unproved ? " (quarantined)" : "");
	return out;
}
