/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/home_scene.h"

#define LEASE 10000

static void
at(struct world *w, enum ly_home_kind kind, uint64_t boot_ms)
{
	tell(w,
	    (struct ly_home_event){ .kind = kind,
		.door = DOOR_A,
		.boot_ms = boot_ms,
		.ok = true });
}

/* B asks, by force: what it hears. The ticket is the first one. */
static enum ly_rc
forces(struct world *w, uint64_t boot_ms)
{
	struct ly_ticket t = ticket(w, B, LY_MAY_ATTACH | LY_MAY_FORCE);
	struct ly_home_event ev = { .kind = LY_HOME_ATTACH,
		.door = DOOR_B,
		.who = B,
		.ticket = &t,
		.boot_ms = boot_ms,
		.secret = fresh };

	t.from_epoch = 1;
	t.to_epoch = 2;
	tell(w, ev);
	if (find(w, LY_DO_WRITE))
		at(w, LY_HOME_WRITTEN, boot_ms);
	return find(w, LY_DO_GRANT)->rc;
}

TEST(force_waits_for_the_end_of_the_lease_of_a_holder_that_is_gone)
{
	struct world w = attached();

	w.home.lease_ms = LEASE;
	at(&w, LY_HOME_GONE, 50000);
	WANT_INT(forces(&w, 51000), LY_BUSY);
	WANT_INT(w.home.rec.epoch, 2); /* but nothing runs for A any more */
	WANT_INT(forces(&w, 50000 + LEASE - 1), LY_BUSY);
	WANT(w.home.door == 0);
	WANT_INT(forces(&w, 50000 + LEASE), LY_OK);
	WANT(w.home.door == DOOR_B);
}

TEST(force_fences_a_holder_that_is_there_at_once_and_waits_a_whole_lease)
{
	struct world w = attached();

	w.home.lease_ms = LEASE;
	WANT_INT(forces(&w, 1000), LY_BUSY);
	WANT_INT(find(&w, LY_DO_FENCE)->door, DOOR_A);
	WANT_INT(forces(&w, 1000 + LEASE - 1), LY_BUSY);
	WANT_INT(forces(&w, 1000 + LEASE), LY_OK);
}

/* Forced to B, which is not granted it yet, and then back to A's neighbour. */
TEST(force_after_force_still_waits_for_the_first_holder)
{
	struct world w = attached();
	struct ly_ticket t;
	struct ly_home_event ev;

	w.home.lease_ms = LEASE;
	WANT_INT(forces(&w, 1000), LY_BUSY);
	t = ticket(&w, "spiffe://north/host/c", LY_MAY_ATTACH | LY_MAY_FORCE);
	ev = shows(&t, LY_HOME_ATTACH, t.holder);
	ev.boot_ms = 2000;
	tell(&w, ev);
	at(&w, LY_HOME_WRITTEN, 2000);
	WANT_INT(find(&w, LY_DO_GRANT)->rc, LY_BUSY);
	ev.boot_ms = 1000 + LEASE;
	tell(&w, ev);
	WANT_INT(find(&w, LY_DO_GRANT)->rc, LY_OK);
}

TEST(a_holder_fenced_by_a_force_of_its_own_still_has_its_lease)
{
	struct world w = attached();
	struct ly_ticket t = ticket(&w, A, LY_MAY_ATTACH | LY_MAY_FORCE);
	struct ly_home_event ev = shows(&t, LY_HOME_ATTACH, A);

	w.home.lease_ms = LEASE;
	tell(&w, ev);
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_GONE, .door = DOOR_B });
	at(&w, LY_HOME_WRITTEN, 1000);
	WANT_INT(find(&w, LY_DO_FENCE)->door, DOOR_A);
	t = ticket(&w, B, LY_MAY_ATTACH | LY_MAY_FORCE);
	ev = shows(&t, LY_HOME_ATTACH, B);
	ev.boot_ms = 2000;
	tell(&w, ev);
	at(&w, LY_HOME_WRITTEN, 2000);
	WANT_INT(find(&w, LY_DO_GRANT)->rc, LY_BUSY);
	ev.boot_ms = 1000 + LEASE;
	tell(&w, ev);
	WANT_INT(find(&w, LY_DO_GRANT)->rc, LY_OK);
}

TEST(a_home_that_was_restarted_waits_for_leases_it_has_forgotten)
{
	struct world w = attached();
	struct ly_record rec = w.home.rec;

	ly_home_init(&w.home, &rec);
	w.home.lease_ms = LEASE;
	w.home.began_ms = 900;
	WANT_INT(forces(&w, 1000), LY_BUSY);
	rec = w.home.rec;
	ly_home_init(&w.home, &rec); /* and once more while it waits */
	w.home.lease_ms = LEASE;
	w.home.began_ms = 2000;
	WANT_INT(forces(&w, 2000), LY_BUSY);
	WANT_INT(forces(&w, 1000 + LEASE), LY_BUSY);
	WANT_INT(forces(&w, 2000 + LEASE), LY_OK);
}

TEST(a_home_that_began_longer_ago_than_a_lease_waits_for_none)
{
	struct world w = attached();
	struct ly_record rec = w.home.rec;

	ly_home_init(&w.home, &rec);
	w.home.lease_ms = LEASE;
	w.home.began_ms = 900;
	WANT_INT(forces(&w, 900 + LEASE), LY_OK);
}

TEST(a_lease_that_was_given_back_is_not_waited_for)
{
	struct world w = attached();
	struct ly_ticket t;

	w.home.lease_ms = LEASE;
	tell(&w,
	    (struct ly_home_event){ .kind = LY_HOME_DETACH,
		.door = DOOR_A,
		.who = A,
		.epoch = 1 });
	disk(&w, true);
	t = ticket(&w, B, LY_MAY_ATTACH);
	tell(&w, shows(&t, LY_HOME_ATTACH, B));
	disk(&w, true);
	WANT_INT(find(&w, LY_DO_GRANT)->rc, LY_OK);
}

TEST_MAIN()
