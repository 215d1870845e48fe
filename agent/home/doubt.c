/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Visitors that break a rule. They are refused by home.c; here is what the
 * operator is told of it, once in an epoch for each kind: who repeats itself
 * fills no log. What an honest host may do by bad luck is no alarm.
 */
#include "agent/home/home_in.h"

void
ly_home_alarm_once(struct ly_home *h, struct ly_home_todos *todo,
    enum ly_home_said kind, const char *text)
{
	if (h->said & (1u << kind))
		return;
	h->said |= (uint16_t)(1u << kind);
	ly_home_alarm(todo, text);
}

/* Tells of a ticket that did not fit what no honest host would show. One that
 * came too late, has not the right, or got its host the lease it holds is only
 * refused. */
void
ly_home_doubt_ticket(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	const struct ly_ticket *t = ev->ticket;
	bool used = t && t->to_epoch == h->rec.epoch &&
	    ly_home_holds(h, ev->who) && h->rec.state != LY_REC_DETACHED;

	if (!t)
		ly_home_alarm_once(h, todo, LY_SAID_BAD_TICKET,
		    "a ticket that cannot be believed");
	else if (!ev->who || strcmp(t->holder, ev->who) != 0)
		ly_home_alarm_once(h, todo, LY_SAID_OTHERS_TICKET,
		    "a ticket that was made for another host");
	else if (t->from_epoch > h->rec.epoch)
		ly_home_alarm_once(h, todo, LY_SAID_FUTURE,
		    "a ticket of an epoch that this record has not had");
	else if ((t->from_epoch < h->rec.epoch ||
		     t->to_epoch <= h->rec.epoch) &&
	    !used)
		ly_home_alarm_once(h, todo, LY_SAID_OLD_TICKET,
		    "a ticket of an epoch that is over: shown again?");
}

void
ly_home_doubt_holder(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (ev->epoch > h->rec.epoch)
		ly_home_alarm_once(h, todo, LY_SAID_FUTURE,
		    "RESUME in an epoch that this record has not had");
	else if (ev->epoch == h->rec.epoch ||
	    !ly_record_claimed_from(&h->rec, ev->epoch))
		ly_home_alarm_once(h, todo, LY_SAID_STALE_HOLDER,
		    "RESUME by a host that does not hold the lease");
}

void
ly_home_doubt_command(struct ly_home *h, struct ly_home_todos *todo)
{
	ly_home_alarm_once(h, todo, LY_SAID_STALE_COMMAND,
	    "a command from a host that does not hold the lease");
}
