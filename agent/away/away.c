/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/away/away.h"

/* No home gets there by counting; one that says so lies. */
#define SEQ_MAX (UINT64_MAX / 2)

typedef void handler(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo);

static const char *const names[LY_AWAY_STATES] = {
	[LY_AWAY_NONE] = "none",
	[LY_AWAY_ATTACHING] = "attaching",
	[LY_AWAY_STAGING] = "staging",
	[LY_AWAY_STAGED] = "staged",
	[LY_AWAY_CLAIMING] = "claiming",
	[LY_AWAY_HELD] = "held",
	[LY_AWAY_RELEASING] = "releasing",
	[LY_AWAY_RELEASED] = "released",
	[LY_AWAY_DETACHING] = "detaching",
	[LY_AWAY_DEAD] = "dead",
};

const char *
ly_away_state_name(unsigned state)
{
	return state < LY_COUNT(names) ? names[state] : "?";
}

static struct ly_away_todo *
add(struct ly_away *a, struct ly_away_todos *todo, enum ly_away_act act)
{
	struct ly_away_todo *t;

	assert(todo->n < LY_AWAY_TODO_MAX);
	t = &todo->act[todo->n++];
	*t = (struct ly_away_todo){ .act = act,
		.epoch = a->epoch,
		.seq = a->seq,
		.mig = a->mig,
		.op = a->sent_op };
	return t;
}

static void
tell(struct ly_away *a, struct ly_away_todos *todo, enum ly_away_kind what,
    enum ly_rc rc)
{
	struct ly_away_todo *t = add(a, todo, LY_TELL);

	t->what = what;
	t->rc = rc;
}

static void
alarm(struct ly_away *a, struct ly_away_todos *todo, const char *text)
{
	add(a, todo, LY_TELL_ALARM)->text = text;
}

/* ---- the guest's commands ---- */

static void
fail_waiting(struct ly_away *a, struct ly_away_todos *todo)
{
	if (a->sent == LY_SENT_COMMAND)
		a->sent = LY_SENT_ABANDONED;
	else if (a->command)
		a->command = false;
	else
		return;
	add(a, todo, LY_GIVE_FAILURE);
}

static void
number(struct ly_away *a, struct ly_away_todos *todo, enum ly_away_sent what,
    enum ly_op op)
{
	a->seq++;
	a->sent = what;
	a->sent_op = op;
	add(a, todo, what == LY_SENT_INIT ? LY_SAY_INIT : LY_SAY_COMMAND);
}

/* Sends what may go now: a reset first (A4), then the guest's command. */
static void
go_on(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (a->command && a->sent != LY_SENT_COMMAND &&
	    (a->broken || (a->state == LY_AWAY_DEAD && !a->reset)))
		fail_waiting(a, todo);
	if (a->state == LY_AWAY_HELD && a->up && !ev->lapsed &&
	    a->sent == LY_SENT_NONE) {
		if (a->reset) {
			a->reset = false;
			number(a, todo, LY_SENT_INIT, LY_OP_INIT);
		} else if (a->command) {
			a->command = false;
			number(a, todo, LY_SENT_COMMAND, a->op);
		}
	}
	a->waiting_since = ly_away_idle(a) ? 0 :
	    a->waiting_since		   ? a->waiting_since :
					     ev->now_ms;
}

/* One that gives the lease back has what it wants: it may be its own DETACH
 * that the home has heard, and whose answer was lost. */
static void
die(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	bool leaving = a->state == LY_AWAY_DETACHING;

	a->state = leaving ? LY_AWAY_NONE : LY_AWAY_DEAD;
	a->up = false;
	a->reset = false;
	fail_waiting(a, todo);
	a->sent = LY_SENT_NONE;
	tell(a, todo, leaving ? LY_AWAY_DETACH : LY_AWAY_HEAR_FENCE, LY_FENCED);
	go_on(a, ev, todo);
}

static void
on_command(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	a->command = true;
	a->op = ev->op;
	go_on(a, ev, todo);
}

static void
on_reset(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (a->state == LY_AWAY_DEAD)
		return;
	a->reset = true;
	a->broken = false; /* of before; what fails after it stays so */
	a->waiting_since = ev->now_ms;
	go_on(a, ev, todo);
}

static void
on_cancel(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	(void)ev;
	if (a->sent == LY_SENT_COMMAND && a->up)
		add(a, todo, LY_SAY_CANCEL);
}

static void
on_answer(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (ev->epoch != a->epoch || ev->seq != a->seq ||
	    a->sent == LY_SENT_NONE) {
		alarm(a, todo, "an answer nobody asked for");
		return;
	}
	if (a->sent == LY_SENT_COMMAND)
		add(a, todo, LY_GIVE_ANSWER);
	if (a->sent == LY_SENT_INIT && !ev->good && !a->reset)
		a->broken = true;
	a->sent = LY_SENT_NONE;
	a->waiting_since = 0;
	go_on(a, ev, todo);
}

/* A command of ours is only refused when the lease is lost, or when one of
 * the two sides has miscounted: there is no way on from either. */
static void
on_refused(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (ev->epoch != a->epoch || ev->seq != a->seq)
		return;
	if (ev->rc != LY_FENCED)
		alarm(a, todo, "the home refused a command");
	die(a, ev, todo);
}

/* ---- the lease: asking ---- */

/* The guest of now is not the one that the TPM knows. */
static void
on_stale(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (a->state != LY_AWAY_HELD)
		return;
	a->broken = true;
	fail_waiting(a, todo);
	go_on(a, ev, todo);
}

/* What this state wants of the home, said once more. */
static void
ask(struct ly_away *a, struct ly_away_todos *todo)
{
	struct ly_away_todo *t;

	a->retry_at = 0;
	if (!a->linked)
		return;
	switch (a->state) {
	case LY_AWAY_ATTACHING:
		a->attach_said = true;
		add(a, todo, LY_SAY_ATTACH);
		break;
	case LY_AWAY_STAGING:
	case LY_AWAY_STAGED:
	case LY_AWAY_CLAIMING:
		if (!a->up)
			add(a, todo, LY_SAY_PRESTAGE);
		else if (a->state == LY_AWAY_CLAIMING)
			add(a, todo, LY_SAY_CLAIM);
		break;
	case LY_AWAY_HELD:
	case LY_AWAY_RELEASING:
	case LY_AWAY_RELEASED:
	case LY_AWAY_DETACHING:
		if (!a->up) {
			t = add(a, todo, LY_SAY_RESUME);
			t->waiting = a->sent != LY_SENT_NONE;
		} else if (a->state == LY_AWAY_RELEASING) {
			add(a, todo, LY_SAY_RELEASE);
		} else if (a->state == LY_AWAY_DETACHING) {
			add(a, todo, LY_SAY_DETACH);
		}
		break;
	case LY_AWAY_NONE:
	case LY_AWAY_DEAD:
	case LY_AWAY_STATES:
		break;
	}
	if (a->asking) {
		t = add(a, todo, a->asking_abort ? LY_SAY_ABORT : LY_SAY_QUERY);
		t->mig = a->asked;
	}
}

static void
go(struct ly_away *a, struct ly_away_todos *todo, enum ly_away_state state)
{
	a->state = state;
	ask(a, todo);
}

static void
retry(struct ly_away *a, const struct ly_away_event *ev)
{
	a->retry_at = ev->now_ms + LY_RETRY_MS;
}

static void
on_attach(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	(void)ev;
	a->attach_said = a->unwanted = false;
	go(a, todo, LY_AWAY_ATTACHING);
}

static void
on_stage(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	a->mig = ev->mig;
	go(a, todo, LY_AWAY_STAGING);
}

static void
on_claim(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	(void)ev;
	go(a, todo, LY_AWAY_CLAIMING);
}

static void
on_release(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	a->mig = ev->mig;
	if (!ly_away_idle(a)) {
		tell(a, todo, LY_AWAY_RELEASE, LY_BUSY);
		return;
	}
	go(a, todo, LY_AWAY_RELEASING);
}

static void
on_detach(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	(void)ev;
	a->reset = false;
	fail_waiting(a, todo);
	go(a, todo, LY_AWAY_DETACHING);
}

/* Nothing is held yet: the owner only changes its mind. */
static void
on_detach_early(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	(void)ev;
	fail_waiting(a, todo);
	a->state = LY_AWAY_NONE;
	a->up = false;
	tell(a, todo, LY_AWAY_DETACH, LY_OK);
}

/* A destination that gives up says so: the record need not stay PREPARED for a
 * host that will not claim. If it cannot be said now, our manager's ABORT or
 * the ticket's end does it. */
static void
on_detach_staged(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (a->linked)
		add(a, todo, LY_SAY_ABORT);
	on_detach_early(a, ev, todo);
}

/* A start that is called off after it was asked for: the home may grant it all
 * the same, and then has to be told that nobody uses it. */
static void
on_detach_attaching(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (!a->attach_said) {
		on_detach_early(a, ev, todo);
		return;
	}
	fail_waiting(a, todo);
	a->reset = false;
	a->unwanted = true;
}

static void
on_ask(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	struct ly_away_todo *t;

	a->asking = true;
	a->asking_abort = ev->abort;
	a->asked = ev->mig;
	if (!a->linked)
		return;
	t = add(a, todo, ev->abort ? LY_SAY_ABORT : LY_SAY_QUERY);
	t->mig = ev->mig;
}

static void
refuse_owner(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	tell(a, todo, ev->kind, LY_REFUSED);
}

/* ---- the lease: hearing ---- */

static void
on_up(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	(void)ev;
	a->linked = true;
	a->up = false;
	ask(a, todo);
}

static void
on_down(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	(void)ev;
	(void)todo;
	a->linked = false;
	a->up = false;
	a->retry_at = 0;
}

/* The door is open; what was sent and not answered goes again (A1). */
static void
resumed(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	bool known = ev->seq == a->seq ||
	    (ev->seq + 1 == a->seq && a->sent != LY_SENT_NONE);

	if (ev->epoch != a->epoch || !known) {
		alarm(a, todo, "the home counts other commands than we do");
		die(a, ev, todo);
		return;
	}
	a->up = true;
	if (a->sent == LY_SENT_INIT)
		add(a, todo, LY_SAY_INIT);
	else if (a->sent != LY_SENT_NONE)
		add(a, todo, LY_SAY_COMMAND);
	if (a->state != LY_AWAY_HELD)
		ask(a, todo);
	go_on(a, ev, todo);
}

static void
take(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo, enum ly_away_kind what)
{
	if (ev->epoch < a->epoch || ev->seq > SEQ_MAX) {
		alarm(a, todo, "the home grants what cannot be");
		a->state = LY_AWAY_DEAD;
		tell(a, todo, what, LY_MALFORMED);
		return;
	}
	a->state = LY_AWAY_HELD;
	a->up = true;
	a->epoch = ev->epoch;
	a->seq = ev->seq;
	a->sent = LY_SENT_NONE;
	memcpy(a->secret, ev->secret, sizeof(a->secret));
	tell(a, todo, what, LY_OK);
	go_on(a, ev, todo);
}

static void
on_granted_attach(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (ev->rc == LY_BUSY) {
		retry(a, ev);
	} else if (a->unwanted && ev->rc == LY_OK) {
		a->up = true;
		a->epoch = ly_max(a->epoch, ev->epoch);
		a->seq = ev->seq;
		memcpy(a->secret, ev->secret, sizeof(a->secret));
		go(a, todo, LY_AWAY_DETACHING);
	} else if (a->unwanted) {
		on_detach_early(a, ev, todo);
	} else if (ev->rc == LY_OK) {
		take(a, ev, todo, LY_AWAY_ATTACH);
	} else {
		a->state = LY_AWAY_NONE;
		tell(a, todo, LY_AWAY_ATTACH, ev->rc);
	}
}

static void
on_granted_claim(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (ev->rc == LY_OK) {
		take(a, ev, todo, LY_AWAY_CLAIM);
	} else if (ev->rc == LY_BUSY || ev->rc == LY_OUTSIDE) {
		retry(a, ev); /* the home's disk may have room again */
	} else {
		a->state = LY_AWAY_DEAD;
		tell(a, todo, LY_AWAY_CLAIM, ev->rc);
	}
}

static void
on_granted_resume(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (a->up)
		return;
	if (ev->rc == LY_OK)
		resumed(a, ev, todo);
	else if (ev->rc == LY_BUSY)
		retry(a, ev);
	else
		die(a, ev, todo);
}

/* After RELEASE a refused RESUME is no news: the fate will be asked. */
static void
on_granted_released(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (ev->rc == LY_OK)
		resumed(a, ev, todo);
	else if (ev->rc == LY_BUSY)
		retry(a, ev);
	else if (a->state == LY_AWAY_RELEASING) {
		a->state = LY_AWAY_RELEASED;
		tell(a, todo, LY_AWAY_RELEASE, ev->rc);
	}
}

static void
on_staged(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (ev->rc == LY_BUSY) {
		retry(a, ev);
		return;
	}
	if (ev->rc != LY_OK) {
		/* Late: a claim of ours may have been answered while the
		 * link was down. CLAIM itself tells. */
		if (a->state == LY_AWAY_CLAIMING) {
			a->up = true;
			ask(a, todo);
			return;
		}
		a->state = LY_AWAY_DEAD;
		tell(a, todo, LY_AWAY_STAGE, ev->rc);
		return;
	}
	a->up = true;
	if (a->state == LY_AWAY_STAGING) {
		a->state = LY_AWAY_STAGED;
		tell(a, todo, LY_AWAY_STAGE, LY_OK);
	} else {
		ask(a, todo);
	}
}

static void
on_released(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (!ly_id_same(&ev->mig, &a->mig))
		return;
	if (ev->rc == LY_BUSY || ev->rc == LY_OUTSIDE) {
		retry(a, ev);
		return;
	}
	a->state = LY_AWAY_RELEASED;
	tell(a, todo, LY_AWAY_RELEASE, ev->rc);
}

static void
on_detached(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (ev->rc == LY_BUSY || ev->rc == LY_OUTSIDE) {
		retry(a, ev);
		return;
	}
	a->state = LY_AWAY_NONE;
	a->up = false;
	a->sent = LY_SENT_NONE;
	tell(a, todo, LY_AWAY_DETACH, ev->rc);
}

/* The home has settled `mig`. Only ABORTED lets a source go on (A3). */
static void
settled(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	struct ly_away_todo *t = add(a, todo, LY_TELL);
	bool ours = ly_id_same(&ev->mig, &a->mig) &&
	    (a->state == LY_AWAY_RELEASED || a->state == LY_AWAY_RELEASING);

	t->what = LY_AWAY_ASK;
	t->rc = LY_OK;
	t->fate = ev->fate;
	t->mig = ev->mig;
	t->epoch = ev->epoch;
	if (!ours)
		return;
	if (ev->fate == LY_FATE_CLAIMED) {
		a->state = LY_AWAY_DEAD;
		a->up = false;
	} else if (ev->fate == LY_FATE_ABORTED) {
		go(a, todo, LY_AWAY_HELD);
		go_on(a, ev, todo);
	}
}

/* Aborted, but then another host was given the lease while this copy stood
 * still: it must not go on. Whoever forced that has to say what becomes of it
 * here. */
static void
overtaken(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	struct ly_away_todo *t;

	a->asking = false;
	if (a->state != LY_AWAY_DEAD)
		die(a, ev, todo);
	t = add(a, todo, LY_TELL);
	t->what = LY_AWAY_ASK;
	t->rc = LY_FENCED;
	t->fate = LY_FATE_UNKNOWN;
	t->mig = ev->mig;
	t->epoch = ev->epoch;
}

static bool
was_overtaken(const struct ly_away *a, const struct ly_away_event *ev)
{
	return ev->fate == LY_FATE_ABORTED && ev->epoch > a->epoch && a->epoch;
}

/* The manager's word for what the home has said to it. */
static void
on_settled(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (was_overtaken(a, ev))
		overtaken(a, ev, todo);
	else
		settled(a, ev, todo);
}

static void
on_outcome(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (!a->asking || !ly_id_same(&ev->mig, &a->asked))
		return;
	if (ev->rc == LY_BUSY || ev->rc == LY_OUTSIDE) {
		retry(a, ev);
		return;
	}
	if (ev->rc == LY_OK && was_overtaken(a, ev)) {
		overtaken(a, ev, todo);
		return;
	}
	a->asking = false;
	settled(a, ev, todo);
}

static void
on_fence(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (a->state != LY_AWAY_RELEASED && a->state != LY_AWAY_RELEASING)
		die(a, ev, todo);
	else
		a->up = false; /* the fate is asked, and will say CLAIMED */
}

static void
on_tick(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	if (a->retry_at && ev->now_ms >= a->retry_at)
		ask(a, todo);
	if (a->waiting_since && !a->broken && a->state == LY_AWAY_HELD &&
	    (a->command || a->sent == LY_SENT_COMMAND) &&
	    (!a->up || ev->lapsed) &&
	    ev->now_ms - a->waiting_since >= LY_GRACE_MS) {
		alarm(a, todo,
		    "the home has been out of reach too long; TPM"
		    " in failure mode until the VM resets");
		a->broken = true;
		fail_waiting(a, todo);
	}
}

static void
on_lease(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	go_on(a, ev, todo);
}

static void
nothing(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	(void)a;
	(void)ev;
	(void)todo;
}

/* Columns every state shares. */
#define ALIKE                                                                  \
	[LY_AWAY_COMMAND] = on_command, [LY_AWAY_RESET] = on_reset,            \
	[LY_AWAY_CANCEL] = on_cancel, [LY_AWAY_STALE] = on_stale,              \
	[LY_AWAY_UP] = on_up, [LY_AWAY_DOWN] = on_down,                        \
	[LY_AWAY_ASK] = on_ask, [LY_AWAY_SETTLED] = on_settled,                \
	[LY_AWAY_HEAR_OUTCOME] = on_outcome, [LY_AWAY_LEASE] = on_lease,       \
	[LY_AWAY_TICK] = on_tick

// clang-format off
static handler *const table[LY_AWAY_STATES][LY_AWAY_KINDS] = {
	[LY_AWAY_NONE] = { ALIKE,
		[LY_AWAY_ATTACH] = on_attach,	[LY_AWAY_STAGE] = on_stage,
		[LY_AWAY_CLAIM] = refuse_owner,	[LY_AWAY_RELEASE] = refuse_owner,
		[LY_AWAY_DETACH] = on_detach_early,
		[LY_AWAY_HEAR_GRANTED] = nothing, [LY_AWAY_HEAR_ANSWER] = nothing,
		[LY_AWAY_HEAR_REFUSED] = nothing, [LY_AWAY_HEAR_STAGED] = nothing,
		[LY_AWAY_HEAR_RELEASED] = nothing,
		[LY_AWAY_HEAR_DETACHED] = nothing, [LY_AWAY_HEAR_FENCE] = nothing,
	},
	[LY_AWAY_ATTACHING] = { ALIKE,
		[LY_AWAY_ATTACH] = refuse_owner, [LY_AWAY_STAGE] = refuse_owner,
		[LY_AWAY_CLAIM] = refuse_owner,	[LY_AWAY_RELEASE] = refuse_owner,
		[LY_AWAY_DETACH] = on_detach_attaching,
		[LY_AWAY_HEAR_GRANTED] = on_granted_attach,
		[LY_AWAY_HEAR_ANSWER] = nothing,
		[LY_AWAY_HEAR_REFUSED] = nothing, [LY_AWAY_HEAR_STAGED] = nothing,
		[LY_AWAY_HEAR_RELEASED] = nothing,
		[LY_AWAY_HEAR_DETACHED] = nothing, [LY_AWAY_HEAR_FENCE] = nothing,
	},
	[LY_AWAY_STAGING] = { ALIKE,
		[LY_AWAY_ATTACH] = refuse_owner, [LY_AWAY_STAGE] = refuse_owner,
		[LY_AWAY_CLAIM] = refuse_owner,	[LY_AWAY_RELEASE] = refuse_owner,
		[LY_AWAY_DETACH] = on_detach_staged,
		[LY_AWAY_HEAR_GRANTED] = nothing, [LY_AWAY_HEAR_ANSWER] = nothing,
		[LY_AWAY_HEAR_REFUSED] = nothing,
		[LY_AWAY_HEAR_STAGED] = on_staged,
		[LY_AWAY_HEAR_RELEASED] = nothing,
		[LY_AWAY_HEAR_DETACHED] = nothing, [LY_AWAY_HEAR_FENCE] = nothing,
	},
	[LY_AWAY_STAGED] = { ALIKE,
		[LY_AWAY_ATTACH] = refuse_owner, [LY_AWAY_STAGE] = refuse_owner,
		[LY_AWAY_CLAIM] = on_claim,	[LY_AWAY_RELEASE] = refuse_owner,
		[LY_AWAY_DETACH] = on_detach_staged,
		[LY_AWAY_HEAR_GRANTED] = nothing, [LY_AWAY_HEAR_ANSWER] = nothing,
		[LY_AWAY_HEAR_REFUSED] = nothing,
		[LY_AWAY_HEAR_STAGED] = on_staged,
		[LY_AWAY_HEAR_RELEASED] = nothing,
		[LY_AWAY_HEAR_DETACHED] = nothing, [LY_AWAY_HEAR_FENCE] = nothing,
	},
	[LY_AWAY_CLAIMING] = { ALIKE,
		[LY_AWAY_ATTACH] = refuse_owner, [LY_AWAY_STAGE] = refuse_owner,
		[LY_AWAY_CLAIM] = nothing,	[LY_AWAY_RELEASE] = refuse_owner,
		[LY_AWAY_DETACH] = refuse_owner, /* only the home ends this */
		[LY_AWAY_HEAR_GRANTED] = on_granted_claim,
		[LY_AWAY_HEAR_ANSWER] = nothing,
		[LY_AWAY_HEAR_REFUSED] = nothing,
		[LY_AWAY_HEAR_STAGED] = on_staged,
		[LY_AWAY_HEAR_RELEASED] = nothing,
		[LY_AWAY_HEAR_DETACHED] = nothing, [LY_AWAY_HEAR_FENCE] = nothing,
	},
	[LY_AWAY_HELD] = { ALIKE,
		[LY_AWAY_ATTACH] = refuse_owner, [LY_AWAY_STAGE] = refuse_owner,
		[LY_AWAY_CLAIM] = refuse_owner,	[LY_AWAY_RELEASE] = on_release,
		[LY_AWAY_DETACH] = on_detach,
		[LY_AWAY_HEAR_GRANTED] = on_granted_resume,
		[LY_AWAY_HEAR_ANSWER] = on_answer,
		[LY_AWAY_HEAR_REFUSED] = on_refused,
		[LY_AWAY_HEAR_STAGED] = nothing,
		[LY_AWAY_HEAR_RELEASED] = nothing,
		[LY_AWAY_HEAR_DETACHED] = nothing,
		[LY_AWAY_HEAR_FENCE] = on_fence,
	},
	[LY_AWAY_RELEASING] = { ALIKE,
		[LY_AWAY_ATTACH] = refuse_owner, [LY_AWAY_STAGE] = refuse_owner,
		[LY_AWAY_CLAIM] = refuse_owner,	[LY_AWAY_RELEASE] = nothing,
		[LY_AWAY_DETACH] = refuse_owner,
		[LY_AWAY_HEAR_GRANTED] = on_granted_released,
		[LY_AWAY_HEAR_ANSWER] = on_answer,
		[LY_AWAY_HEAR_REFUSED] = on_refused,
		[LY_AWAY_HEAR_STAGED] = nothing,
		[LY_AWAY_HEAR_RELEASED] = on_released,
		[LY_AWAY_HEAR_DETACHED] = nothing,
		[LY_AWAY_HEAR_FENCE] = on_fence,
	},
	[LY_AWAY_RELEASED] = { ALIKE,
		[LY_AWAY_ATTACH] = refuse_owner, [LY_AWAY_STAGE] = refuse_owner,
		[LY_AWAY_CLAIM] = refuse_owner,	[LY_AWAY_RELEASE] = nothing,
		[LY_AWAY_DETACH] = refuse_owner,
		[LY_AWAY_HEAR_GRANTED] = on_granted_released,
		[LY_AWAY_HEAR_ANSWER] = on_answer,
		[LY_AWAY_HEAR_REFUSED] = nothing,
		[LY_AWAY_HEAR_STAGED] = nothing,
		[LY_AWAY_HEAR_RELEASED] = nothing,
		[LY_AWAY_HEAR_DETACHED] = nothing,
		[LY_AWAY_HEAR_FENCE] = on_fence,
	},
	[LY_AWAY_DETACHING] = { ALIKE,
		[LY_AWAY_ATTACH] = refuse_owner, [LY_AWAY_STAGE] = refuse_owner,
		[LY_AWAY_CLAIM] = refuse_owner,	[LY_AWAY_RELEASE] = refuse_owner,
		[LY_AWAY_DETACH] = nothing,
		[LY_AWAY_HEAR_GRANTED] = on_granted_resume,
		[LY_AWAY_HEAR_ANSWER] = on_answer,
		[LY_AWAY_HEAR_REFUSED] = on_refused,
		[LY_AWAY_HEAR_STAGED] = nothing,
		[LY_AWAY_HEAR_RELEASED] = nothing,
		[LY_AWAY_HEAR_DETACHED] = on_detached,
		[LY_AWAY_HEAR_FENCE] = on_fence,
	},
	[LY_AWAY_DEAD] = { ALIKE,
		[LY_AWAY_ATTACH] = refuse_owner, [LY_AWAY_STAGE] = refuse_owner,
		[LY_AWAY_CLAIM] = refuse_owner,	[LY_AWAY_RELEASE] = refuse_owner,
		[LY_AWAY_DETACH] = on_detach_early,
		[LY_AWAY_HEAR_GRANTED] = nothing, [LY_AWAY_HEAR_ANSWER] = nothing,
		[LY_AWAY_HEAR_REFUSED] = nothing, [LY_AWAY_HEAR_STAGED] = nothing,
		[LY_AWAY_HEAR_RELEASED] = nothing,
		[LY_AWAY_HEAR_DETACHED] = nothing, [LY_AWAY_HEAR_FENCE] = nothing,
	},
};
// clang-format on

void
ly_away_init(struct ly_away *a)
{
	*a = (struct ly_away){ .state = LY_AWAY_NONE };
}

bool
ly_away_idle(const struct ly_away *a)
{
	return a->sent == LY_SENT_NONE && !a->command && !a->reset;
}

bool
ly_away_may_answer(const struct ly_away *a, const struct ly_away_event *ev)
{
	return a->state == LY_AWAY_HELD && !ev->lapsed && !a->broken;
}

/* How it stands with the lease, when that has changed. */
static void
tell_lease(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	enum ly_rc now = a->broken ? LY_FAILED :
	    ev->lapsed		   ? LY_OUTSIDE :
				     LY_OK;

	if (a->state != LY_AWAY_HELD || now == a->said)
		return;
	a->said = (uint8_t)now;
	tell(a, todo, LY_AWAY_LEASE, now);
}

void
ly_away_step(struct ly_away *a, const struct ly_away_event *ev,
    struct ly_away_todos *todo)
{
	uint64_t epoch = a->epoch;

	table[a->state][ev->kind](a, ev, todo);
	tell_lease(a, ev, todo);
	assert(a->epoch >= epoch);
	assert(a->up <= a->linked);
}
