/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of an evacuation (evac*.c) share; for them only. */
#ifndef LY_MANAGER_IO_EVAC_IN_H
#define LY_MANAGER_IO_EVAC_IN_H

#include "manager/io/evacuate.h"

/* How a VM of it stands. */
enum ly_stand {
	LY_STAND_WAITING,
	LY_STAND_RUNNING,
	LY_STAND_MOVED,
	LY_STAND_REFUSED, /* it was not begun, and will not be */
	LY_STAND_FAILED,  /* it was, and was aborted */
	LY_STANDS
};
extern const char *const ly_stand_names[LY_STANDS];

struct ly_member {
	struct ly_id vm, mig;
	char name[LY_NAME_MAX]; /* a guest's is its id */
	struct ly_place from, to;
	enum ly_stand stand;
	uint8_t state; /* enum ly_saga_state, while it runs */
	unsigned percent;
	char why[LY_WHY_MAX];
	bool news; /* who watches has not heard of it */
};

struct ly_evac {
	struct ly_evac *next;
	struct ly_manager *m;
	struct ly_evac_row row;
	struct ly_member *of;
	size_t n, room;
	uint64_t watcher[LY_WATCHERS_MAX];
	uint64_t idle_since;  /* loop ms: none runs, none can; 0: not so */
	uint64_t patience_ms; /* ... for so long, before that is the end */
	uint64_t looked_at;   /* loop ms of the last plan */
	bool doubt_told;      /* who waited knows that it stays open */
};

/* ---- evac_plan.c: who, where to, why not ---- */

LY_MUST enum ly_rc ly_evac_parse(struct ly_manager *m, const char *from,
    const char *to, struct ly_evac_row *row, struct ly_why *why);
/* "north", "north/n1" */
const char *ly_evac_from(const struct ly_evac_row *row,
    char out[LY_PLACE_TEXT]);
/* Is this a place to be emptied? */
bool ly_evac_there(const struct ly_evac_row *row, const struct ly_place *at);
/* The VMs that are there now. */
LY_MUST enum ly_rc ly_evac_collect(struct ly_evac *e, struct ly_why *why);
struct ly_member *ly_evac_member(struct ly_evac *e, const struct ly_id *vm);
LY_MUST enum ly_rc ly_evac_add(struct ly_evac *e, const struct ly_id *vm,
    const char *name, struct ly_member **out, struct ly_why *why);
/* Plans all that wait: sets `to`, or `why`. Returns the first to go, or NULL. */
struct ly_member *ly_evac_next(struct ly_evac *e);

/* ---- evac_tell.c: who watches ---- */

void ly_evac_tell(struct ly_evac *e);
/* Once it is over, or (open) may take long: the table, and the answer. */
void ly_evac_answer(struct ly_evac *e, bool open);
json_t *ly_evac_json(const struct ly_evac *e);
unsigned ly_evac_count(const struct ly_evac *e, enum ly_stand stand);

#endif
