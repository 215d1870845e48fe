/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/saga/saga.h"

#define TELL(party) ((uint8_t)(1u << (party)))

typedef void handler(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo);

/* Asked at once, and one after the other. */
static const enum ly_step quotes[] = { LY_STEP_QUOTE_DEST, LY_STEP_QUOTE_SOURCE,
	LY_STEP_QUOTE_HOME };
static const enum ly_step keys[] = { LY_STEP_KEY, LY_STEP_IMPORT,
	LY_STEP_UNLOCK };
#define ALL_QUOTED                                                             \
	(1u << LY_STEP_QUOTE_DEST | 1u << LY_STEP_QUOTE_SOURCE |               \
	    1u << LY_STEP_QUOTE_HOME)

/* ---- things to do ---- */

static struct ly_saga_todo *
add(struct ly_saga_todos *todo, enum ly_saga_act act)
{
	struct ly_saga_todo *t;

	assert(todo->n < LY_SAGA_TODO_MAX);
	t = &todo->act[todo->n++];
	*t = (struct ly_saga_todo){ .act = act };
	return t;
}

static void
refuse(struct ly_saga_todos *todo, const char *text)
{
	add(todo, LY_SAGA_REFUSE)->text = text;
}

static void
ask(struct ly_saga *s, struct ly_saga_todos *todo, enum ly_step step)
{
	if (s->asked & (1u << step))
		return;
	s->asked |= 1u << step;
	add(todo, LY_SAGA_ASK)->step = step;
}

static void
forget(struct ly_saga *s, struct ly_saga_todos *todo, enum ly_step step)
{
	if (!(s->asked & (1u << step)))
		return;
	s->asked &= ~(1u << step);
	add(todo, LY_SAGA_FORGET)->step = step;
}

/* The next state of the row; go() proposes it, and SAVED makes it so. */
static struct ly_saga_rec *
go(struct ly_saga *s, struct ly_saga_todos *todo, enum ly_saga_state state)
{
	assert(!s->saving);
	s->next = s->rec;
	s->next.state = (uint8_t)state;
	s->saving = true;
	memset(s->busy, 0, sizeof(s->busy));
	add(todo, LY_SAGA_SAVE);
	return &s->next;
}

static void
forget_each(struct ly_saga *s, struct ly_saga_todos *todo,
    const enum ly_step *steps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		forget(s, todo, steps[i]);
}

/* Evidence that is not here yet; and when it all is, the word on it. */
static void
ask_quotes(struct ly_saga *s, struct ly_saga_todos *todo)
{
	for (size_t i = 0; i < LY_COUNT(quotes); i++)
		if (!(s->quoted & (1u << quotes[i])))
			ask(s, todo, quotes[i]);
	if (s->quoted == ALL_QUOTED)
		add(todo, LY_SAGA_APPRAISE);
}

/* Whatever the state on disk wants asked, and has not asked. */
static void
ask_all(struct ly_saga *s, struct ly_saga_todos *todo)
{
	switch ((enum ly_saga_state)s->rec.state) {
	case LY_SAGA_PLANNED:
		ask(s, todo, LY_STEP_AUTHORISE);
		break;
	case LY_SAGA_ATTESTING:
		ask_quotes(s, todo);
		break;
	case LY_SAGA_PREPARING:
		ask(s, todo, LY_STEP_PREPARE);
		break;
	case LY_SAGA_KEYING:
		ask(s, todo, keys[s->keyed]);
		break;
	case LY_SAGA_COPYING:
		ask(s, todo, LY_STEP_COPY);
		if (s->rec.calloff && !s->called_off)
			ask(s, todo, LY_STEP_CALLOFF);
		break;
	case LY_SAGA_SETTLING:
	case LY_SAGA_DOUBT:
		ask(s, todo, LY_STEP_ASK);
		break;
	case LY_SAGA_COMMITTED:
		if (s->rec.tell & TELL(LY_PARTY_HOME))
			ask(s, todo, LY_STEP_RECORD);
		if (s->rec.tell & TELL(LY_PARTY_SOURCE))
			ask(s, todo, LY_STEP_SETTLE);
		break;
	case LY_SAGA_ABORTING:
		if (s->rec.tell & TELL(LY_PARTY_SOURCE))
			ask(s, todo, LY_STEP_SETTLE);
		if (s->rec.tell & TELL(LY_PARTY_DEST))
			ask(s, todo, LY_STEP_DROP);
		break;
	case LY_SAGA_CLEANED:
	case LY_SAGA_ABORTED:
	case LY_SAGA_STATES:
		break;
	}
}

/* ---- on the way ---- */

static void
nothing(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)s;
	(void)ev;
	(void)todo;
}

/* The first thing on disk is that it is planned. */
static void
begin(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)ev;
	if (s->saving)
		return;
	if (s->there)
		ask_all(s, todo);
	else
		go(s, todo, LY_SAGA_PLANNED);
}

static void
again(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)ev;
	if (!s->saving)
		ask_all(s, todo);
}

/* A full disk changes nothing but the time: what was not written has not
 * happened, the TICK asks again and hears the same. One that was never on
 * disk has no future. */
static void
saved(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	bool moved;

	if (!s->saving)
		return;
	s->saving = false;
	if (!ev->ok) {
		if (!s->there) {
			s->rec.state = LY_SAGA_ABORTED;
			add(todo, LY_SAGA_MOVED);
		}
		return;
	}
	moved = !s->there || s->rec.state != s->next.state;
	s->there = true;
	s->rec = s->next;
	if (moved)
		add(todo, LY_SAGA_MOVED);
	ask_all(s, todo);
}

/* Busy, or "not I, not now": the TICK asks again. */
static bool
passing(const struct ly_saga_event *ev)
{
	return ev->rc == LY_BUSY || ev->rc == LY_SHORT;
}

/* The same, where there is a way back: not for ever (S6). */
static bool
passing_yet(struct ly_saga *s, const struct ly_saga_event *ev)
{
	return passing(ev) && ++s->busy[ev->step] < LY_SAGA_PATIENCE;
}

static void
authorised(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	if (passing_yet(s, ev))
		return;
	if (ev->rc == LY_OK)
		go(s, todo,
		    s->rec.attest ? LY_SAGA_ATTESTING : LY_SAGA_PREPARING)
		    ->epoch = ev->epoch;
	else
		go(s, todo, LY_SAGA_ABORTED);
}

/* Nothing has been sent to anybody but a nonce: it ends here. */
static void
unfit(struct ly_saga *s, struct ly_saga_todos *todo)
{
	forget_each(s, todo, quotes, LY_COUNT(quotes));
	go(s, todo, LY_SAGA_ABORTED);
}

static void
quoted(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	if (passing_yet(s, ev))
		return;
	if (ev->rc != LY_OK) {
		unfit(s, todo);
		return;
	}
	s->quoted |= 1u << ev->step;
	if (s->quoted == ALL_QUOTED)
		add(todo, LY_SAGA_APPRAISE);
}

/* A word that came while the disk was full is asked for again by the TICK. */
static void
appraised(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	if (s->saving || s->quoted != ALL_QUOTED)
		return;
	if (ev->ok)
		go(s, todo, LY_SAGA_PREPARING);
	else
		unfit(s, todo);
}

/* One after the other; after the last the memory may go. */
static void
keyed(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	if (passing_yet(s, ev))
		return;
	if (ev->rc != LY_OK) {
		go(s, todo, LY_SAGA_SETTLING);
	} else if (++s->keyed < LY_COUNT(keys)) {
		ask_all(s, todo);
	} else {
		s->keyed = 0; /* if it cannot be written: from KEY again */
		go(s, todo, LY_SAGA_COPYING);
	}
}

static void
prepared(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	if (passing_yet(s, ev))
		return;
	go(s, todo,
	    ev->rc != LY_OK   ? LY_SAGA_SETTLING :
		s->rec.attest ? LY_SAGA_KEYING :
				LY_SAGA_COPYING);
}

/* The fate is known (S1). `knows`: the source has told us itself. */
static void
decided(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo, bool source_waits)
{
	struct ly_saga_rec *next;

	if (ev->fate == LY_FATE_CLAIMED) {
		next = go(s, todo, LY_SAGA_COMMITTED);
		next->tell = TELL(LY_PARTY_HOME);
	} else {
		next = go(s, todo, LY_SAGA_ABORTING);
		next->tell = TELL(LY_PARTY_DEST);
	}
	next->epoch = ev->epoch; /* a source in an older one stays stopped */
	next->fate = (uint8_t)ev->fate;
	if (source_waits)
		next->tell |= TELL(LY_PARTY_SOURCE);
}

static bool
is_final(const struct ly_saga_event *ev)
{
	return ev->fate == LY_FATE_CLAIMED || ev->fate == LY_FATE_ABORTED;
}

static void
copied(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	if (ev->step == LY_STEP_CALLOFF) {
		/* Advice, and taken: COPY's answer says what came of it. */
		s->called_off = !passing(ev);
		return;
	}
	if (is_final(ev)) {
		forget(s, todo, LY_STEP_CALLOFF);
		decided(s, ev, todo, false);
	} else if (!passing_yet(s, ev)) {
		forget(s, todo, LY_STEP_CALLOFF);
		go(s, todo, LY_SAGA_SETTLING)->tell = TELL(LY_PARTY_SOURCE);
	}
}

/* `tell` has the source's bit if it was told to copy. */
static void
fate_heard(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	if (ev->rc == LY_OK && is_final(ev))
		decided(s, ev, todo, s->rec.tell & TELL(LY_PARTY_SOURCE));
	else if (s->rec.state == LY_SAGA_SETTLING && !passing(ev))
		go(s, todo, LY_SAGA_DOUBT);
}

static void
told(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	uint8_t left = (uint8_t)(s->rec.tell & ~TELL(ly_steps[ev->step].whom));
	enum ly_saga_state end = s->rec.state == LY_SAGA_COMMITTED ?
	    LY_SAGA_CLEANED :
	    LY_SAGA_ABORTED;

	if (passing(ev))
		return;
	go(s, todo, left ? (enum ly_saga_state)s->rec.state : end)->tell = left;
}

/* ---- out of time ---- */

static void
never_began(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)ev;
	go(s, todo, LY_SAGA_ABORTED);
}

static void
quote_late(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)ev;
	unfit(s, todo);
}

/* Of PREPARE, and of each step of KEYING: the home may know of it. */
static void
prepare_late(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)ev;
	go(s, todo, LY_SAGA_SETTLING);
}

static void
copy_late(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	if (ev->step == LY_STEP_CALLOFF)
		return; /* COPY's own limit is still there */
	forget(s, todo, LY_STEP_CALLOFF);
	go(s, todo, LY_SAGA_SETTLING)->tell = TELL(LY_PARTY_SOURCE);
}

static void
home_late(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)ev;
	if (s->rec.state == LY_SAGA_SETTLING)
		go(s, todo, LY_SAGA_DOUBT);
	else
		ask_all(s, todo);
}

/* The fate is known and somebody has not heard it. Who waits for the outcome
 * need not wait for that; the receipt does without the home's last word. */
static void
tell_late(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	add(todo, LY_SAGA_SLOW);
	if (ev->step == LY_STEP_RECORD)
		told(s, ev, todo);
	else
		ask_all(s, todo);
}

/* ---- the world outside ---- */

static void
source_lost(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	struct ly_saga_rec *next;

	(void)ev;
	if (s->saving)
		return; /* it will be said again */
	forget(s, todo, LY_STEP_COPY);
	forget(s, todo, LY_STEP_CALLOFF);
	next = go(s, todo, LY_SAGA_SETTLING);
	next->tell = TELL(LY_PARTY_SOURCE);
	next->lost = 1;
}

static void
cancel_early(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)ev;
	if (s->saving) {
		refuse(todo, "it is just moving on; ask again");
		return;
	}
	forget(s, todo, LY_STEP_AUTHORISE);
	forget(s, todo, LY_STEP_PREPARE);
	forget_each(s, todo, quotes, LY_COUNT(quotes));
	forget_each(s, todo, keys, LY_COUNT(keys));
	go(s, todo,
	    s->rec.state == LY_SAGA_PLANNED ||
		    s->rec.state == LY_SAGA_ATTESTING ?
		LY_SAGA_ABORTED :
		LY_SAGA_SETTLING);
}

static void
cancel_copy(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)ev;
	if (s->saving)
		refuse(todo, "it is just moving on; ask again");
	else if (!s->rec.calloff)
		go(s, todo, LY_SAGA_COPYING)->calloff = 1;
}

static void
cancel_late(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)s;
	(void)ev;
	refuse(todo, "too late: the home is being asked for the outcome");
}

static void
cancel_over(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)s;
	(void)ev;
	refuse(todo, "too late: its outcome is known");
}

/* A source that was given up must not be told "aborted, go on" after the VM
 * has been started elsewhere. */
static void
supersede(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	uint8_t left;

	(void)ev;
	if (s->saving) {
		refuse(todo, "it is just moving on; ask again");
		return;
	}
	left = (uint8_t)(s->rec.tell & ~TELL(LY_PARTY_SOURCE));
	forget(s, todo, LY_STEP_SETTLE);
	go(s, todo, left ? LY_SAGA_ABORTING : LY_SAGA_ABORTED)->tell = left;
}

static void
not_yet(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	(void)s;
	(void)ev;
	refuse(todo, "its migration has no outcome yet");
}

// clang-format off
/* Every cell is a decision. */
static handler *const table[LY_SAGA_STATES][LY_SAGA_KINDS] = {
	[LY_SAGA_PLANNED] = {
		[LY_SAGA_GO] = begin,		[LY_SAGA_SAVED] = saved,
		[LY_SAGA_ANSWERED] = authorised, [LY_SAGA_LATE] = never_began,
		[LY_SAGA_HOST_LOST] = nothing,	/* SHOW decides */
		[LY_SAGA_CANCEL] = cancel_early,
		[LY_SAGA_SUPERSEDE] = not_yet,	[LY_SAGA_TICK] = again,
		[LY_SAGA_DECIDED] = nothing,
	},
	[LY_SAGA_ATTESTING] = {
		[LY_SAGA_GO] = again,		[LY_SAGA_SAVED] = saved,
		[LY_SAGA_ANSWERED] = quoted,	[LY_SAGA_LATE] = quote_late,
		[LY_SAGA_HOST_LOST] = nothing,	/* its quote will be late */
		[LY_SAGA_CANCEL] = cancel_early,
		[LY_SAGA_SUPERSEDE] = not_yet,	[LY_SAGA_TICK] = again,
		[LY_SAGA_DECIDED] = appraised,
	},
	[LY_SAGA_PREPARING] = {
		[LY_SAGA_GO] = again,		[LY_SAGA_SAVED] = saved,
		[LY_SAGA_ANSWERED] = prepared,	[LY_SAGA_LATE] = prepare_late,
		[LY_SAGA_HOST_LOST] = nothing,	/* COPY will find out */
		[LY_SAGA_CANCEL] = cancel_early,
		[LY_SAGA_SUPERSEDE] = not_yet,	[LY_SAGA_TICK] = again,
		[LY_SAGA_DECIDED] = nothing,
	},
	[LY_SAGA_KEYING] = {
		[LY_SAGA_GO] = again,		[LY_SAGA_SAVED] = saved,
		[LY_SAGA_ANSWERED] = keyed,	[LY_SAGA_LATE] = prepare_late,
		[LY_SAGA_HOST_LOST] = nothing,	/* KEY or COPY finds out */
		[LY_SAGA_CANCEL] = cancel_early,
		[LY_SAGA_SUPERSEDE] = not_yet,	[LY_SAGA_TICK] = again,
		[LY_SAGA_DECIDED] = nothing,	/* it has been said */
	},
	[LY_SAGA_COPYING] = {
		[LY_SAGA_GO] = again,		[LY_SAGA_SAVED] = saved,
		[LY_SAGA_ANSWERED] = copied,	[LY_SAGA_LATE] = copy_late,
		[LY_SAGA_HOST_LOST] = source_lost,
		[LY_SAGA_CANCEL] = cancel_copy,
		[LY_SAGA_SUPERSEDE] = not_yet,	[LY_SAGA_TICK] = again,
		[LY_SAGA_DECIDED] = nothing,
	},
	[LY_SAGA_SETTLING] = {
		[LY_SAGA_GO] = again,		[LY_SAGA_SAVED] = saved,
		[LY_SAGA_ANSWERED] = fate_heard, [LY_SAGA_LATE] = home_late,
		[LY_SAGA_HOST_LOST] = nothing,
		[LY_SAGA_CANCEL] = cancel_late,
		[LY_SAGA_SUPERSEDE] = not_yet,	[LY_SAGA_TICK] = again,
		[LY_SAGA_DECIDED] = nothing,
	},
	[LY_SAGA_DOUBT] = {
		[LY_SAGA_GO] = again,		[LY_SAGA_SAVED] = saved,
		[LY_SAGA_ANSWERED] = fate_heard, [LY_SAGA_LATE] = home_late,
		[LY_SAGA_HOST_LOST] = nothing,
		[LY_SAGA_CANCEL] = cancel_late,
		[LY_SAGA_SUPERSEDE] = not_yet,	[LY_SAGA_TICK] = again,
		[LY_SAGA_DECIDED] = nothing,
	},
	[LY_SAGA_COMMITTED] = {
		[LY_SAGA_GO] = again,		[LY_SAGA_SAVED] = saved,
		[LY_SAGA_ANSWERED] = told,	[LY_SAGA_LATE] = tell_late,
		[LY_SAGA_HOST_LOST] = nothing,
		[LY_SAGA_CANCEL] = cancel_over,
		[LY_SAGA_SUPERSEDE] = not_yet,	/* SETTLE is harmless here */
		[LY_SAGA_TICK] = again,
		[LY_SAGA_DECIDED] = nothing,
	},
	[LY_SAGA_CLEANED] = {
		[LY_SAGA_GO] = nothing,		[LY_SAGA_SAVED] = nothing,
		[LY_SAGA_ANSWERED] = nothing,	[LY_SAGA_LATE] = nothing,
		[LY_SAGA_HOST_LOST] = nothing,
		[LY_SAGA_CANCEL] = cancel_over,
		[LY_SAGA_SUPERSEDE] = nothing,	[LY_SAGA_TICK] = nothing,
		[LY_SAGA_DECIDED] = nothing,
	},
	[LY_SAGA_ABORTING] = {
		[LY_SAGA_GO] = again,		[LY_SAGA_SAVED] = saved,
		[LY_SAGA_ANSWERED] = told,	[LY_SAGA_LATE] = tell_late,
		[LY_SAGA_HOST_LOST] = nothing,
		[LY_SAGA_CANCEL] = nothing,	/* that is what it does */
		[LY_SAGA_SUPERSEDE] = supersede, [LY_SAGA_TICK] = again,
		[LY_SAGA_DECIDED] = nothing,
	},
	[LY_SAGA_ABORTED] = {
		[LY_SAGA_GO] = nothing,		[LY_SAGA_SAVED] = nothing,
		[LY_SAGA_ANSWERED] = nothing,	[LY_SAGA_LATE] = nothing,
		[LY_SAGA_HOST_LOST] = nothing,
		[LY_SAGA_CANCEL] = nothing,
		[LY_SAGA_SUPERSEDE] = nothing,	[LY_SAGA_TICK] = nothing,
		[LY_SAGA_DECIDED] = nothing,
	},
};
// clang-format on

bool
ly_saga_table_full(void)
{
	for (size_t s = 0; s < LY_SAGA_STATES; s++)
		for (size_t k = 0; k < LY_SAGA_KINDS; k++)
			if (!table[s][k])
				return false;
	for (size_t i = 0; i < LY_STEPS; i++) {
		const struct ly_step_row *r = &ly_steps[i];

		if (!r->name || !r->what || !r->undo || !r->limit_ms ||
		    !r->whom || !r->asks)
			return false;
	}
	return true;
}

void
ly_saga_init(struct ly_saga *s, bool attest)
{
	memset(s, 0, sizeof(*s));
	s->rec.attest = attest;
}

void
ly_saga_load(struct ly_saga *s, const struct ly_saga_rec *rec)
{
	memset(s, 0, sizeof(*s));
	s->rec = *rec;
	s->there = true;
}

/* Keeps the promises of saga.h whatever happens. */
static void
check(const struct ly_saga *s, const struct ly_saga_todos *todo)
{
	assert(s->rec.state < LY_SAGA_STATES);
	for (unsigned i = 0; i < todo->n; i++) {
		const struct ly_saga_todo *t = &todo->act[i];

		if (t->act != LY_SAGA_ASK)
			continue;
		assert(s->there && !s->saving);			      /* S2 */
		assert(!ly_steps[t->step].attested || s->rec.attest); /* S7 */
		assert(t->step != LY_STEP_DROP ||
		    s->rec.fate == LY_FATE_ABORTED); /* S4 */
		assert(t->step != LY_STEP_SETTLE ||
		    s->rec.fate >= LY_FATE_CLAIMED); /* S4 */
	}
}

void
ly_saga_step(struct ly_saga *s, const struct ly_saga_event *ev,
    struct ly_saga_todos *todo)
{
	todo->n = 0;
	if (ev->kind == LY_SAGA_ANSWERED || ev->kind == LY_SAGA_LATE) {
		/* Only what was asked can be answered, and only once. */
		if (!(s->asked & (1u << ev->step)) || s->saving)
			return;
		s->asked &= ~(1u << ev->step);
	}
	table[s->rec.state][ev->kind](s, ev, todo);
	check(s, todo);
}
