/* SPDX-License-Identifier: Apache-2.0 */
/* The homes of this host, and the doors to them. */
#include "agent/io/homes.h"

#include "agent/io/homes_in.h"
#include "agent/io/records.h"
#include "lib/io/clock.h"
#include "lib/io/file.h"

#include <stdlib.h>
#include <time.h>

#define TICK_MS 1000

/* ---- doors ---- */

struct ly_door_slot *
ly_door_of(struct ly_homes *hs, ly_door id)
{
	size_t slot = (size_t)(id & 0xffffffff);

	if (!id || slot >= hs->doors_n || hs->doors[slot].id != id)
		return NULL;
	return &hs->doors[slot];
}

struct ly_door_slot *
ly_door_new(struct ly_homes *hs)
{
	size_t i = hs->free_door;

	if (i == hs->doors_n) {
		size_t n = hs->doors_n ? 2 * hs->doors_n : 64;
		void *more = realloc(hs->doors, n * sizeof(*hs->doors));

		if (!more)
			return NULL;
		hs->doors = more;
		for (size_t k = i; k < n; k++)
			hs->doors[k] = (struct ly_door_slot){ .next = k + 1 };
		hs->doors_n = n;
	}
	hs->free_door = hs->doors[i].next;
	if (hs->door_serial == UINT32_MAX)
		hs->door_serial = 0; /* never an id of 0 */
	hs->doors[i] = (struct ly_door_slot){
		.id = (ly_door)++hs->door_serial << 32 | i,
	};
	return &hs->doors[i];
}

/* The door's machine is told, unless it is the one that says so. */
void
ly_door_free(struct ly_homes *hs, struct ly_door_slot *d)
{
	struct home *home = d->home;
	ly_door id = d->id;
	size_t i = (size_t)(d - hs->doors);

	*d = (struct ly_door_slot){ .next = hs->free_door };
	hs->free_door = i;
	if (home)
		ly_home_feed(home,
		    &(struct ly_home_event){ .kind = LY_HOME_GONE,
			.door = id,
			.boot_ms = ly_boot_ms() },
		    NULL, 0);
}

/* ---- homes ---- */

struct home *
ly_home_of(struct ly_homes *hs, const struct ly_id *vm)
{
	for (struct home *h = hs->first; h; h = h->next)
		if (ly_id_same(&h->core.rec.vm, vm))
			return h;
	return NULL;
}

const struct ly_agent_tpm *
ly_home_tpm_conf(const struct ly_homes *hs, const char *name)
{
	for (size_t i = 0; i < hs->agent->conf.tpms_n; i++)
		if (strcmp(hs->agent->conf.tpms[i].name, name) == 0)
			return &hs->agent->conf.tpms[i];
	return NULL;
}

uint32_t
ly_homes_lease_ms(const struct ly_homes *hs)
{
	uint64_t ms = hs->agent->conf.lease_ms;

	return ms ? (uint32_t)ms : LY_LEASE_MS;
}

struct home *
ly_home_add(struct ly_homes *hs, const struct ly_record *rec)
{
	struct home *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->homes = hs;
	ly_home_init(&h->core, rec);
	h->core.lease_ms = ly_homes_lease_ms(hs);
	h->core.began_ms = ly_boot_ms();
	h->next = hs->first;
	hs->first = h;
	hs->homes_n++;
	return h;
}

/* Visitors may still have doors to it; they lead nowhere from now on. */
static void
doors_shut(struct ly_homes *hs, const struct home *h)
{
	for (size_t i = 0; i < hs->doors_n; i++) {
		if (!hs->doors[i].id || hs->doors[i].home != h)
			continue;
		hs->doors[i].home = NULL;
		ly_door_free(hs, &hs->doors[i]);
	}
}

void
ly_home_drop(struct ly_homes *hs, struct home *h)
{
	struct home **at = &hs->first;

	assert(!h->feeding);
	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	hs->homes_n--;
	doors_shut(hs, h);
	if (!hs->closing) {
		ly_home_tpm_close(h);
		if (h->slot)
			ly_slot_free(h->slot);
	}
	ly_home_forget_events(h);
	ly_home_vpcrs_end(h);
	free(h->untold);
	ly_wipe(&h->core, sizeof(h->core));
	free(h);
}

static void
drop_all(struct ly_homes *hs)
{
	hs->closing = true;
	ly_homes_disk_close(hs);
	while (hs->first)
		ly_home_drop(hs, hs->first);
	free(hs->doors);
	free(hs);
}

/* Connections are closed, and a write ends, after ly_homes_close(). */
void
ly_homes_unref(struct ly_homes *hs)
{
	if (--hs->refs == 0)
		drop_all(hs);
}

/* ABORT and QUERY name a VM, not a chan: their door closes behind them. */
struct ly_door_slot *
ly_home_door(struct ly_homes *hs, struct home *h)
{
	struct ly_door_slot *d = ly_door_new(hs);

	if (d) {
		d->home = h;
		d->once = true;
	}
	return d;
}

uint64_t
ly_home_now(void)
{
	return (uint64_t)time(NULL);
}

/* ---- opening and closing ---- */

static void
tell_again(struct home *h)
{
	if (!h->untold || !ly_homes_alarm(h->homes, &h->core.rec.vm, h->untold))
		return;
	free(h->untold);
	h->untold = NULL;
}

static void
on_tick(uv_timer_t *timer)
{
	struct ly_homes *hs = timer->data;
	uint64_t now = ly_home_now(), boot_ms = ly_boot_ms();

	for (struct home *h = hs->first; h; h = h->next) {
		if (h->core.rec.state == LY_REC_PREPARED)
			ly_home_feed(h,
			    &(struct ly_home_event){ .kind = LY_HOME_TICK,
				.now = now },
			    NULL, 0);
		ly_home_tpm_look(h, boot_ms);
		tell_again(h);
	}
	ly_homes_disk_tick(hs);
}

enum ly_rc
ly_homes_open(struct ly_agent *agent, struct ly_homes **out, struct ly_why *why)
{
	struct ly_homes *hs = calloc(1, sizeof(*hs));
	struct ly_record *recs;
	size_t n;
	enum ly_rc rc;

	if (!hs)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	hs->agent = agent;
	rc = ly_homes_disk_open(hs, &recs, &n, why);
	if (rc != LY_OK) {
		free(hs);
		return rc;
	}
	for (size_t i = 0; i < n; i++)
		if (!ly_home_add(hs, &recs[i]))
			abort();
	ly_wipe(recs, n * sizeof(*recs));
	free(recs);
	rc = ly_homes_wake(hs, why);
	if (rc != LY_OK) {
		drop_all(hs);
		return rc;
	}
	uv_timer_init(agent->loop, &hs->tick);
	hs->tick.data = hs;
	uv_timer_start(&hs->tick, on_tick, 0, TICK_MS);
	uv_unref((uv_handle_t *)&hs->tick);
	hs->refs = 1;
	ly_homes_wake_tpms(hs);
	*out = hs;
	return LY_OK;
}

static void
on_tick_closed(uv_handle_t *handle)
{
	ly_homes_unref(handle->data);
}

void
ly_homes_close(struct ly_homes *hs)
{
	hs->closing = true;
	ly_homes_end_asks(hs);
	for (struct home *h = hs->first; h; h = h->next) {
		ly_home_tpm_leave(h);
		h->slot = NULL; /* it may be closed now: as it is, it stays */
	}
	uv_close((uv_handle_t *)&hs->tick, on_tick_closed);
}

void
ly_homes_tpms(const struct ly_homes *hs, char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < hs->agent->conf.tpms_n && n < size; i++) {
		ly_print(out + n, size - n, "%s%s", n ? " " : "",
		    hs->agent->conf.tpms[i].name);
		n = strlen(out);
	}
}
