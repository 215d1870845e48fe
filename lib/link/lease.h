/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lease in time, of one host at one home, for all VMs it holds there. Pure.
 *
 * The holder asks (RENEW) with a stamp of its own clock, and the answer
 * (LEASE) brings the stamp back with a length: the lease is good until
 * stamp + length. The home counts the same length from when it answered, on
 * its own clock. The question was before the answer, so the holder's lease
 * never ends after the home's; the two clocks are never compared. Both must
 * go on while the machine is suspended, and not jump when somebody sets the
 * calendar: CLOCK_BOOTTIME.
 *
 * The home renews only while the holder's certificate is valid by the home's
 * calendar. Whether it was revoked, the connection tells by its end.
 *
 * T1 a lease that was good is good until its end, whatever becomes of the
 *    connection: that is what the home has promised.
 * T2 a stamp is believed only if it is of this connection and not ahead of
 *    our clock.
 */
#ifndef LY_LINK_LEASE_H
#define LY_LINK_LEASE_H

#include "lib/base/err.h"

#define LY_LEASE_MS 10000u	/* if nobody says otherwise */
#define LY_LEASE_LEAST_MS 500u	/* less is refused in the configuration */
#define LY_LEASE_MOST_MS 60000u /* more is taken as this */

/* ---- the holder: one for each link ---- */

enum ly_lease_state { LY_LEASE_DOWN, LY_LEASE_UP, LY_LEASE_STATES };

enum ly_lease_news {
	LY_LEASE_LINKED, /* the connection is up */
	LY_LEASE_LOST,	 /* ... and gone */
	LY_LEASE_HEARD,	 /* LEASE: `stamp`, `length_ms` */
	LY_LEASE_TICK,	 /* time passes */
	LY_LEASE_NEWS
};

struct ly_lease_event {
	enum ly_lease_news kind;
	uint64_t now_ms; /* every event has it */
	uint64_t stamp;
	uint32_t length_ms;
};

struct ly_lease_todo {
	bool ask;  /* send RENEW with now_ms as its stamp */
	bool tell; /* whether it is good has changed, to `good` */
	bool good;
};

struct ly_lease {
	enum ly_lease_state state;
	bool told; /* it was good when we last said */
	uint64_t linked_ms, asked_ms, until_ms;
	uint32_t length_ms; /* as the home last said; 0: it has not */
};

/* Sets `todo` anew. A zeroed struct ly_lease is DOWN and not good. */
void ly_lease_step(struct ly_lease *l, const struct ly_lease_event *ev,
    struct ly_lease_todo *todo);
bool ly_lease_good(const struct ly_lease *l, uint64_t now_ms);
/* When TICK is wanted next. */
uint64_t ly_lease_due(const struct ly_lease *l);

/* ---- the home: one for each visitor ---- */

struct ly_lessor {
	uint32_t length_ms;
	uint64_t
	    not_after;	   /* of the holder's certificate; seconds since 1970 */
	uint64_t until_ms; /* of what was given last */
};

/* LY_OK: given, for lessor->length_ms from now; LY_REFUSED: it may have none. */
LY_MUST enum ly_rc ly_lessor_renew(struct ly_lessor *l, uint64_t now_ms,
    uint64_t wall_s, struct ly_why *why);
/* Whether the holder may still be served. */
bool ly_lessor_good(const struct ly_lessor *l, uint64_t now_ms,
    uint64_t wall_s);

#endif
