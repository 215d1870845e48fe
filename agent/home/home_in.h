/* SPDX-License-Identifier: Apache-2.0 */
/* What home.c (the machine), doubt.c (what it tells of visitors that break a
 * rule), peek.c (commands of its own) and settled.c (migrations in a record)
 * share; for these only. */
#ifndef LY_AGENT_HOME_HOME_IN_H
#define LY_AGENT_HOME_HOME_IN_H

#include "agent/home/home.h"

static inline struct ly_home_todo *
ly_home_add(struct ly_home_todos *todo, enum ly_home_act act, ly_door door)
{
	struct ly_home_todo *t;

	assert(todo->n < LY_HOME_TODO_MAX);
	t = &todo->act[todo->n++];
	*t = (struct ly_home_todo){ .act = act, .door = door };
	return t;
}

static inline void
ly_home_alarm(struct ly_home_todos *todo, const char *text)
{
	ly_home_add(todo, LY_DO_ALARM, 0)->text = text;
}

static inline bool
ly_home_holds(const struct ly_home *h, const char *who)
{
	return who && strcmp(h->rec.holder, who) == 0;
}

/* ---- doubt.c ---- */

/* What a visitor may do again and again, at its own pace. */
enum ly_home_said {
	LY_SAID_BAD_TICKET,
	LY_SAID_OTHERS_TICKET,
	LY_SAID_OLD_TICKET,
	LY_SAID_FUTURE,
	LY_SAID_STALE_HOLDER,
	LY_SAID_STALE_COMMAND,
	LY_SAID_NO_SECRET,
	LY_SAID_BAD_SEQ,
	LY_SAID_TWICE,
	LY_SAID_DISORDER,
	LY_SAID_BAD_TOKEN,
	LY_SAIDS
};
_Static_assert(LY_SAIDS <= 16, "ly_home.said has a bit for each");

void ly_home_alarm_once(struct ly_home *h, struct ly_home_todos *todo,
    enum ly_home_said kind, const char *text);
/* Of an ATTACH, a RESUME, a COMMAND that has been refused. */
void ly_home_doubt_ticket(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo);
void ly_home_doubt_holder(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo);
void ly_home_doubt_command(struct ly_home *h, struct ly_home_todos *todo);

/* ---- peek.c ---- */

void ly_home_peek(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo);
/* The TPM has answered, or is dead. False: it did not run one of our own. */
bool ly_home_peek_over(struct ly_home *h, struct ly_home_todos *todo,
    bool dead);
void ly_home_hold(struct ly_home_todos *todo, const struct ly_home_event *ev);

/* ---- settled.c ---- */

/* `mig` has come to `fate` in the record's epoch; nothing is pending. */
void ly_record_settle(struct ly_record *rec, const struct ly_id *mig,
    enum ly_fate fate);
/* The epoch after `epoch` began with a CLAIM: whoever held it before had
 * released it. */
bool ly_record_claimed_from(const struct ly_record *rec, uint64_t epoch);

#endif
