/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/attest/hand.h"

typedef void handler(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo);

const char *
ly_hand_state_name(unsigned state)
{
	static const char *const names[] = {
		[LY_HAND_NONE] = "not called",
		[LY_HAND_CALLED] = "called",
		[LY_HAND_QUOTED] = "quoted",
		[LY_HAND_MAKING] = "making the key",
		[LY_HAND_MADE] = "key made",
		[LY_HAND_CONFIRMED] = "confirmed",
		[LY_HAND_SENT] = "sent",
		[LY_HAND_DESTROYED] = "destroyed",
		[LY_HAND_IMPORTING] = "importing",
		[LY_HAND_IMPORTED] = "imported",
		[LY_HAND_UNLOCKING] = "unlocking",
		[LY_HAND_UNLOCKED] = "unlocked",
		[LY_HAND_ARRIVED] = "arrived",
		[LY_HAND_ENDED] = "ended",
	};

	return state < LY_COUNT(names) ? names[state] : "?";
}

const char *
ly_hand_kind_name(unsigned kind)
{
	static const char *const names[] = {
		[LY_HAND_CALL] = "QUOTE",
		[LY_HAND_KEY] = "KEY",
		[LY_HAND_IMPORT] = "IMPORT",
		[LY_HAND_UNLOCK] = "UNLOCK",
		[LY_HAND_COPY] = "COPY",
		[LY_HAND_DID_QUOTE] = "evidence made",
		[LY_HAND_DID_MAKE] = "key made",
		[LY_HAND_DID_IMPORT] = "key imported",
		[LY_HAND_DID_UNLOCK] = "key unlocked",
		[LY_HAND_TAKE] = "taking the keys",
		[LY_HAND_SEND] = "signing what was sent",
		[LY_HAND_DESTROY] = "destroying",
		[LY_HAND_ARRIVE] = "signing what arrived",
		[LY_HAND_END] = "end",
		[LY_HAND_TICK] = "tick",
	};

	return kind < LY_COUNT(names) ? names[kind] : "?";
}

static void
go(struct ly_hand *a, enum ly_hand_state state)
{
	a->state = state;
}

static void
refuse(struct ly_hand_todo *todo, enum ly_rc rc, const char *text)
{
	todo->act = LY_HAND_DO_REFUSE;
	todo->rc = rc;
	ly_copy(todo->text, sizeof(todo->text), text);
}

/* BUSY and SHORT would say "ask again", and it is over. */
static void
end(struct ly_hand *a, struct ly_hand_todo *todo, enum ly_rc rc,
    const char *text)
{
	a->rc = rc == LY_OK || rc == LY_BUSY || rc == LY_SHORT ? LY_REFUSED :
								 rc;
	ly_copy(a->why, sizeof(a->why), text ? text : ly_rc_name(rc));
	go(a, LY_HAND_ENDED);
	todo->wipe = true;
}

static void
end_refusing(struct ly_hand *a, struct ly_hand_todo *todo, enum ly_rc rc,
    const char *text)
{
	end(a, todo, rc, text);
	refuse(todo, a->rc, a->why);
}

static bool
same(const uint8_t a[32], const uint8_t b[32])
{
	return memcmp(a, b, 32) == 0;
}

/* K5; true: it has, and has been refused. */
static bool
expired(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (ev->now_s <= a->expires)
		return false;
	end_refusing(a, todo, LY_REFUSED,
	    "the manager's call for evidence has expired");
	return true;
}

/* ---- the call ---- */

static void
first_call(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	const struct ly_call *call = ev->call;

	*a = (struct ly_hand){ .role = ev->role,
		.vm = call->vm,
		.mig = call->mig,
		.expires = call->expires };
	memcpy(a->nonce, call->nonce, sizeof(a->nonce));
	memcpy(a->called, ev->asked, sizeof(a->called));
	ly_copy(a->peer, sizeof(a->peer),
	    ev->role == LY_AS_SOURCE ? call->dest : call->source);
	go(a, LY_HAND_CALLED);
	todo->act = LY_HAND_DO_QUOTE;
}

/* K1. The first call stands. */
static bool
is_that_call(const struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (ev->role != a->role)
		refuse(todo, LY_REFUSED,
		    a->role == LY_AS_SOURCE ?
			"this host is the migration's source already" :
			"this host is the migration's destination already");
	else if (!same(ev->call->nonce, a->nonce))
		refuse(todo, LY_REFUSED, "a second nonce for this migration");
	else if (!same(ev->asked, a->called))
		refuse(todo, LY_REFUSED,
		    "another call than the first for this migration");
	else
		return true;
	return false;
}

static void
call_while_called(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (is_that_call(a, ev, todo))
		todo->act = LY_HAND_DO_WAIT;
}

static void
call_again(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (is_that_call(a, ev, todo))
		todo->act = LY_HAND_DO_ANSWER;
}

/* Answers what was asked, or says why not. True: it is done. */
static bool
finished(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo, enum ly_hand_state before)
{
	if (ev->rc == LY_OK) {
		todo->act = LY_HAND_DO_ANSWER;
		return true;
	}
	if (ev->rc == LY_BUSY) {
		go(a, before);
		refuse(todo, LY_BUSY, ev->text ? ev->text : "busy");
	} else {
		end_refusing(a, todo, ev->rc, ev->text);
	}
	return false;
}

static void
did_quote(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (finished(a, ev, todo, LY_HAND_NONE))
		go(a, LY_HAND_QUOTED);
}

/* ---- the key ---- */

/* K2 */
static bool
is_peer(const struct ly_hand *a, const struct ly_hand_said *said,
    struct ly_why *why)
{
	uint8_t role = a->role == LY_AS_SOURCE ? LY_AS_DEST : LY_AS_SOURCE;
	const char *side = ly_quote_role_name(role);

	if (said->role != role)
		ly_fail(why, LY_REFUSED, "%s: its evidence was made as %s",
		    side, ly_quote_role_name(said->role));
	else if (strcmp(said->id, a->peer) != 0)
		ly_fail(why, LY_REFUSED,
		    "%s: the evidence is of %s, the call is to %s", side,
		    said->id, a->peer);
	else if (!ly_id_same(&said->mig, &a->mig) ||
	    !ly_id_same(&said->vm, &a->vm))
		ly_fail(why, LY_REFUSED,
		    "%s: its evidence is for another migration", side);
	else if (!same(said->nonce, a->nonce))
		ly_fail(why, LY_REFUSED, "%s: its evidence is to another nonce",
		    side);
	else
		return true;
	return false;
}

/* The first KEY or IMPORT. */
static void
first_key(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	bool made = ev->kind == LY_HAND_KEY;
	struct ly_why why;

	if (expired(a, ev, todo))
		return;
	if (made != (a->role == LY_AS_SOURCE)) {
		refuse(todo, LY_REFUSED,
		    made ? "KEY is for the source, not the destination" :
			   "IMPORT is for the destination, not the source");
		return;
	}
	if (!is_peer(a, ev->said, &why)) {
		end_refusing(a, todo, LY_REFUSED, why.text);
		return;
	}
	memcpy(a->keyed, ev->asked, sizeof(a->keyed));
	go(a, made ? LY_HAND_MAKING : LY_HAND_IMPORTING);
	todo->act = made ? LY_HAND_DO_MAKE : LY_HAND_DO_IMPORT;
}

/* K3 */
static bool
is_that_key(const struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (same(ev->asked, a->keyed))
		return true;
	refuse(todo, LY_REFUSED,
	    ev->kind == LY_HAND_KEY ?
		"a second KEY, for other evidence than the first" :
		"a second IMPORT, of another key or evidence than the first");
	return false;
}

static void
key_while_busy(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (is_that_key(a, ev, todo))
		todo->act = LY_HAND_DO_WAIT;
}

static void
key_again(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (is_that_key(a, ev, todo))
		todo->act = LY_HAND_DO_ANSWER;
}

/* Who asks once more has not got our answer, or not used it in time. */
static void
import_again(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (!is_that_key(a, ev, todo) || expired(a, ev, todo))
		return;
	if (ev->now_ms - a->session_ms <= LY_HAND_SESSION_MS) {
		todo->act = LY_HAND_DO_ANSWER;
		return;
	}
	go(a, LY_HAND_IMPORTING);
	todo->wipe = true; /* the session that was */
	todo->act = LY_HAND_DO_IMPORT;
}

static void
did_make(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (finished(a, ev, todo, LY_HAND_QUOTED))
		go(a, LY_HAND_MADE);
}

static void
did_import(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (!finished(a, ev, todo, LY_HAND_QUOTED))
		return;
	a->session_ms = ev->now_ms; /* it may have waited for its turn */
	go(a, LY_HAND_IMPORTED);
}

static void
first_unlock(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (expired(a, ev, todo))
		return;
	if (ev->now_ms - a->session_ms > LY_HAND_LEAVE_MS) {
		refuse(todo, LY_REFUSED,
		    "the leave comes too late for the TPM's session");
		return;
	}
	memcpy(a->unlocked, ev->asked, sizeof(a->unlocked));
	go(a, LY_HAND_UNLOCKING);
	todo->act = LY_HAND_DO_UNLOCK;
}

static bool
is_that_leave(const struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (same(ev->asked, a->unlocked))
		return true;
	refuse(todo, LY_REFUSED, "a second UNLOCK, by another leave");
	return false;
}

static void
unlock_while_busy(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (is_that_leave(a, ev, todo))
		todo->act = LY_HAND_DO_WAIT;
}

static void
unlock_again(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (is_that_leave(a, ev, todo))
		todo->act = LY_HAND_DO_ANSWER;
}

static void
did_unlock(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (ev->rc != LY_OK) {
		end_refusing(a, todo, ev->rc, ev->text);
		return;
	}
	go(a, LY_HAND_UNLOCKED);
	todo->act = LY_HAND_DO_ANSWER;
}

/* ---- the stream ---- */

/* K4 */
static void
first_copy(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (expired(a, ev, todo))
		return;
	if (!ev->ok) {
		end_refusing(a, todo, LY_REFUSED,
		    "destination: it has not proved that it has the key");
		return;
	}
	a->taken = true;
	go(a, LY_HAND_CONFIRMED);
	todo->act = LY_HAND_DO_GO;
}

static void
copy_again(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	(void)a;
	if (ev->ok)
		todo->act = LY_HAND_DO_GO;
	else
		refuse(todo, LY_REFUSED, "another confirmation than the first");
}

static void
on_take(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (!a->taken && expired(a, ev, todo))
		return;
	a->taken = true;
	todo->act = LY_HAND_DO_GO;
}

static void
on_send(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	(void)ev;
	go(a, LY_HAND_SENT);
	todo->act = LY_HAND_DO_GO;
}

static void
on_destroy(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	(void)ev;
	go(a, LY_HAND_DESTROYED);
	todo->wipe = true;
	todo->act = LY_HAND_DO_GO;
}

static void
on_arrive(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	(void)ev;
	go(a, LY_HAND_ARRIVED);
	todo->wipe = true;
	todo->act = LY_HAND_DO_GO;
}

/* ---- the end, and what does not fit ---- */

static void
on_end(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	end(a, todo, ev->rc, ev->text);
}

/* K5 */
static void
on_tick(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	if (!a->taken && expired(a, ev, todo))
		todo->act = LY_HAND_DO_NOTHING; /* nobody has asked */
}

static void
uncalled(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	(void)a;
	(void)ev;
	refuse(todo, LY_REFUSED,
	    "no such migration was called for since this agent started: its"
	    " key, if there was one, is gone");
}

static void
out_of_order(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	char text[LY_WHY_MAX];

	ly_print(text, sizeof(text), "%s: out of order; the %s is at \"%s\"",
	    ly_hand_kind_name(ev->kind), ly_quote_role_name(a->role),
	    ly_hand_state_name(a->state));
	refuse(todo, LY_REFUSED, text);
}

/* K6 */
static void
ended(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	(void)ev;
	refuse(todo, a->rc, a->why);
}

/* What was under way when the migration ended has a key, perhaps. */
static void
too_late(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	(void)a;
	(void)ev;
	todo->wipe = true;
}

static void
nothing(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	(void)a;
	(void)ev;
	(void)todo;
}

// clang-format off

/* `too_late` in a state that nothing was begun in: it cannot be, and a key that
 * nobody asked for is no key. */
static handler *const table[LY_HAND_STATES][LY_HAND_KINDS] = {
	[LY_HAND_NONE] = {
		[LY_HAND_CALL] = first_call,	  [LY_HAND_KEY] = uncalled,
		[LY_HAND_IMPORT] = uncalled,	  [LY_HAND_UNLOCK] = uncalled,
		[LY_HAND_COPY] = uncalled,	  [LY_HAND_DID_QUOTE] = too_late,
		[LY_HAND_DID_MAKE] = too_late,	  [LY_HAND_DID_IMPORT] = too_late,
		[LY_HAND_DID_UNLOCK] = too_late,	  [LY_HAND_TAKE] = uncalled,
		[LY_HAND_SEND] = uncalled,	  [LY_HAND_DESTROY] = uncalled,
		[LY_HAND_ARRIVE] = uncalled,	  [LY_HAND_END] = nothing,
		[LY_HAND_TICK] = nothing,
	},
	[LY_HAND_CALLED] = {
		[LY_HAND_CALL] = call_while_called, [LY_HAND_KEY] = out_of_order,
		[LY_HAND_IMPORT] = out_of_order,	  [LY_HAND_UNLOCK] = out_of_order,
		[LY_HAND_COPY] = out_of_order,	  [LY_HAND_DID_QUOTE] = did_quote,
		[LY_HAND_DID_MAKE] = too_late,	  [LY_HAND_DID_IMPORT] = too_late,
		[LY_HAND_DID_UNLOCK] = too_late,	  [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = on_end,
		[LY_HAND_TICK] = on_tick,
	},
	[LY_HAND_QUOTED] = {
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = first_key,
		[LY_HAND_IMPORT] = first_key,	  [LY_HAND_UNLOCK] = out_of_order,
		[LY_HAND_COPY] = out_of_order,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = too_late,	  [LY_HAND_DID_IMPORT] = too_late,
		[LY_HAND_DID_UNLOCK] = too_late,	  [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = on_end,
		[LY_HAND_TICK] = on_tick,
	},
	[LY_HAND_MAKING] = {
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = key_while_busy,
		[LY_HAND_IMPORT] = out_of_order,	  [LY_HAND_UNLOCK] = out_of_order,
		[LY_HAND_COPY] = out_of_order,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = did_make,	  [LY_HAND_DID_IMPORT] = too_late,
		[LY_HAND_DID_UNLOCK] = too_late,	  [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = on_end,
		[LY_HAND_TICK] = on_tick,
	},
	[LY_HAND_MADE] = {
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = key_again,
		[LY_HAND_IMPORT] = out_of_order,	  [LY_HAND_UNLOCK] = out_of_order,
		[LY_HAND_COPY] = first_copy,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = nothing,	  [LY_HAND_DID_IMPORT] = nothing,
		[LY_HAND_DID_UNLOCK] = nothing,	  [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = on_end,
		[LY_HAND_TICK] = on_tick,
	},
	[LY_HAND_CONFIRMED] = {
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = key_again,
		[LY_HAND_IMPORT] = out_of_order,	  [LY_HAND_UNLOCK] = out_of_order,
		[LY_HAND_COPY] = copy_again,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = nothing,	  [LY_HAND_DID_IMPORT] = nothing,
		[LY_HAND_DID_UNLOCK] = nothing,	  [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = on_send,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = on_end,
		[LY_HAND_TICK] = on_tick,
	},
	[LY_HAND_SENT] = {
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = key_again,
		[LY_HAND_IMPORT] = out_of_order,	  [LY_HAND_UNLOCK] = out_of_order,
		[LY_HAND_COPY] = copy_again,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = nothing,	  [LY_HAND_DID_IMPORT] = nothing,
		[LY_HAND_DID_UNLOCK] = nothing,	  [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = on_destroy,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = on_end,
		[LY_HAND_TICK] = on_tick,
	},
	[LY_HAND_DESTROYED] = { /* a good end: what was answered, still is */
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = key_again,
		[LY_HAND_IMPORT] = out_of_order,	  [LY_HAND_UNLOCK] = out_of_order,
		[LY_HAND_COPY] = out_of_order,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = too_late,	  [LY_HAND_DID_IMPORT] = too_late,
		[LY_HAND_DID_UNLOCK] = too_late,	  [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = nothing,
		[LY_HAND_TICK] = nothing,
	},
	[LY_HAND_IMPORTING] = {
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = out_of_order,
		[LY_HAND_IMPORT] = key_while_busy, [LY_HAND_UNLOCK] = out_of_order,
		[LY_HAND_COPY] = out_of_order,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = too_late,	  [LY_HAND_DID_IMPORT] = did_import,
		[LY_HAND_DID_UNLOCK] = too_late,	  [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = on_end,
		[LY_HAND_TICK] = on_tick,
	},
	[LY_HAND_IMPORTED] = {
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = out_of_order,
		[LY_HAND_IMPORT] = import_again,	  [LY_HAND_UNLOCK] = first_unlock,
		[LY_HAND_COPY] = out_of_order,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = too_late,	  [LY_HAND_DID_IMPORT] = nothing,
		[LY_HAND_DID_UNLOCK] = too_late,	  [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = on_end,
		[LY_HAND_TICK] = on_tick,
	},
	[LY_HAND_UNLOCKING] = { /* the session is being spent */
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = out_of_order,
		[LY_HAND_IMPORT] = out_of_order,	  [LY_HAND_UNLOCK] = unlock_while_busy,
		[LY_HAND_COPY] = out_of_order,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = too_late,	  [LY_HAND_DID_IMPORT] = nothing,
		[LY_HAND_DID_UNLOCK] = did_unlock, [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = on_end,
		[LY_HAND_TICK] = on_tick,
	},
	[LY_HAND_UNLOCKED] = {
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = out_of_order,
		[LY_HAND_IMPORT] = key_again,	  [LY_HAND_UNLOCK] = unlock_again,
		[LY_HAND_COPY] = out_of_order,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = nothing,	  [LY_HAND_DID_IMPORT] = nothing,
		[LY_HAND_DID_UNLOCK] = nothing,	  [LY_HAND_TAKE] = on_take,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = on_arrive,	  [LY_HAND_END] = on_end,
		[LY_HAND_TICK] = on_tick,
	},
	[LY_HAND_ARRIVED] = { /* a good end */
		[LY_HAND_CALL] = call_again,	  [LY_HAND_KEY] = out_of_order,
		[LY_HAND_IMPORT] = key_again,	  [LY_HAND_UNLOCK] = unlock_again,
		[LY_HAND_COPY] = out_of_order,	  [LY_HAND_DID_QUOTE] = nothing,
		[LY_HAND_DID_MAKE] = too_late,	  [LY_HAND_DID_IMPORT] = too_late,
		[LY_HAND_DID_UNLOCK] = too_late,	  [LY_HAND_TAKE] = out_of_order,
		[LY_HAND_SEND] = out_of_order,	  [LY_HAND_DESTROY] = out_of_order,
		[LY_HAND_ARRIVE] = out_of_order,	  [LY_HAND_END] = nothing,
		[LY_HAND_TICK] = nothing,
	},
	[LY_HAND_ENDED] = {
		[LY_HAND_CALL] = ended,		  [LY_HAND_KEY] = ended,
		[LY_HAND_IMPORT] = ended,	  [LY_HAND_UNLOCK] = ended,
		[LY_HAND_COPY] = ended,		  [LY_HAND_DID_QUOTE] = too_late,
		[LY_HAND_DID_MAKE] = too_late,	  [LY_HAND_DID_IMPORT] = too_late,
		[LY_HAND_DID_UNLOCK] = too_late,	  [LY_HAND_TAKE] = ended,
		[LY_HAND_SEND] = ended,		  [LY_HAND_DESTROY] = ended,
		[LY_HAND_ARRIVE] = ended,	  [LY_HAND_END] = nothing,
		[LY_HAND_TICK] = nothing,
	},
};

// clang-format on

void
ly_hand_step(struct ly_hand *a, const struct ly_hand_event *ev,
    struct ly_hand_todo *todo)
{
	*todo = (struct ly_hand_todo){ .act = LY_HAND_DO_NOTHING };
	table[a->state][ev->kind](a, ev, todo);
	assert(a->state != LY_HAND_ENDED || a->rc != LY_OK);
}

bool
ly_hand_over(const struct ly_hand *a)
{
	return a->state == LY_HAND_NONE || a->state == LY_HAND_DESTROYED ||
	    a->state == LY_HAND_ARRIVED || a->state == LY_HAND_ENDED;
}
