/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/home/home_in.h"

/* No holder gets there by counting; one that says so lies. */
#define SEQ_MAX (UINT64_MAX / 2)

typedef void handler(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo);

/* ---- writing: propose, and who is to be told (H3) ---- */

static struct ly_record *
propose(struct ly_home *h, const struct ly_home_event *ev)
{
	assert(!h->writing);
	h->next = h->rec;
	h->next.seq = h->seq;
	h->writing = true;
	h->asked = ev->kind;
	h->asker = ev->door;
	h->asked_age = ev->age;
	h->asked_mig = ev->mig;
	return &h->next;
}

static void
write(struct ly_home *h, struct ly_home_todos *todo)
{
	assert(h->next.epoch >= h->rec.epoch); /* H5 */
	ly_home_add(todo, LY_DO_WRITE, 0);
}

/* ---- answers ---- */

static void
outcome(struct ly_home *h, struct ly_home_todos *todo, ly_door door,
    const struct ly_id *mig, enum ly_rc rc)
{
	struct ly_home_todo *t = ly_home_add(todo, LY_DO_OUTCOME, door);

	t->mig = *mig;
	t->rc = rc;
	t->fate = ly_record_fate(&h->rec, mig, &t->epoch);
}

/* Says `rc` to a lease event, in the words of its kind. */
static void
reply(struct ly_home *h, struct ly_home_todos *todo, enum ly_home_kind kind,
    ly_door door, const struct ly_id *mig, enum ly_rc rc)
{
	static const enum ly_home_act words[LY_HOME_KINDS] = {
		[LY_HOME_ATTACH] = LY_DO_GRANT,
		[LY_HOME_RESUME] = LY_DO_GRANT,
		[LY_HOME_CLAIM] = LY_DO_GRANT,
		[LY_HOME_DETACH] = LY_DO_DETACHED,
		[LY_HOME_PRESTAGE] = LY_DO_STAGED,
		[LY_HOME_RELEASE] = LY_DO_RELEASED,
		[LY_HOME_ABORT] = LY_DO_OUTCOME,
		[LY_HOME_QUERY] = LY_DO_OUTCOME,
	};
	struct ly_home_todo *t;

	if (kind == LY_HOME_TICK)
		return;
	if (words[kind] == LY_DO_OUTCOME) {
		outcome(h, todo, door, mig, rc);
		return;
	}
	t = ly_home_add(todo, words[kind], door);
	t->rc = rc;
	t->mig = *mig;
	t->epoch = h->rec.epoch;
	t->seq = h->seq;
}

static void
say(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo, enum ly_rc rc)
{
	reply(h, todo, ev->kind, ev->door, &ev->mig, rc);
}

/* ---- the lease ---- */

/* When a holder whose door closes now can have no lease any more. */
static uint64_t
lease_end(const struct ly_home *h, const struct ly_home_event *ev)
{
	return ev->boot_ms + h->lease_ms;
}

/* Before our start leases were given of which we know nothing: as if the last
 * had been given right then. */
static void
recall_leases(struct ly_home *h)
{
	if (!h->forgot || !h->lease_ms)
		return;
	h->forgot = false;
	h->left_ms = h->taken_ms = h->began_ms + h->lease_ms;
}

/* The lease passes to `door`, and who comes by it counts from what it is told
 * now. Whoever had it before is fenced. */
static void
hand_over(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo, ly_door door, uint64_t age)
{
	if (h->door && h->door != door)
		ly_home_add(todo, LY_DO_FENCE, h->door)->epoch = h->rec.epoch;
	if (h->door && !door)
		h->left_ms = lease_end(h, ev);
	if (door)
		h->blind = false;
	h->door = door;
	h->age = age;
}

/* What comes by a connection that is older than that of the holder's door was
 * said before that one was made, and has only been long on its way. It is no
 * news, and must not shut the door that is in use. */
static bool
is_stale(const struct ly_home *h, const struct ly_home_event *ev)
{
	return h->door && ev->age < h->age;
}

static bool
ticket_fits(const struct ly_home *h, const struct ly_home_event *ev,
    unsigned rights)
{
	const struct ly_ticket *t = ev->ticket;

	return t && ly_id_same(&t->vm, &h->rec.vm) && ev->who &&
	    strcmp(t->holder, ev->who) == 0 && (t->rights & rights) == rights &&
	    t->from_epoch == h->rec.epoch && t->to_epoch > h->rec.epoch &&
	    t->not_before <= ev->now + 60 && ev->now < t->expires;
}

static void
take_lease(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	struct ly_record *next;

	if (h->tpm == LY_TPM_RUNNING) { /* the last of the one before */
		say(h, ev, todo, LY_BUSY);
		return;
	}
	recall_leases(h);
	next = propose(h, ev);
	next->epoch = ev->ticket->to_epoch; /* the source sees it is not its */
	if (next->state >= LY_REC_PREPARED)
		ly_record_settle(next, &h->rec.mig, LY_FATE_ABORTED);
	next->state = LY_REC_ATTACHED;
	ly_copy(next->holder, sizeof(next->holder), ev->who);
	memcpy(next->secret, ev->secret, sizeof(next->secret));
	write(h, todo);
}

static void
attach_free(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (ticket_fits(h, ev, LY_MAY_ATTACH)) {
		take_lease(h, ev, todo);
		return;
	}
	ly_home_doubt_ticket(h, ev, todo);
	say(h, ev, todo, LY_REFUSED);
}

/* Somebody has it. The same host with the same ticket only missed our answer;
 * anybody else needs a manager's word that the holder is stopped. */
static void
attach_held(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (h->rec.state == LY_REC_ATTACHED && ly_home_holds(h, ev->who) &&
	    ev->ticket && ev->ticket->to_epoch == h->rec.epoch &&
	    strcmp(ev->ticket->holder, ev->who) == 0) {
		recall_leases(h);
		if (h->tpm == LY_TPM_RUNNING || ev->boot_ms < h->taken_ms ||
		    is_stale(h, ev)) {
			say(h, ev, todo, LY_BUSY);
			return;
		}
		hand_over(h, ev, todo, ev->door, ev->age);
		say(h, ev, todo, LY_OK);
	} else if (ticket_fits(h, ev, LY_MAY_ATTACH | LY_MAY_FORCE)) {
		take_lease(h, ev, todo);
	} else {
		ly_home_doubt_ticket(h, ev, todo);
		say(h, ev, todo, LY_FENCED);
	}
}

/* All that we knew is lost, as after a loss of power: only the holder knows how
 * far it got. If it still waits for its last command, that one may or may not
 * have run. If not, the TPM may have been reset since, or may have failed. */
static enum ly_rc
regain_sight(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (ev->seq < h->rec.seq || ev->seq > SEQ_MAX ||
	    (ev->waiting && ev->seq == 0))
		return LY_MALFORMED;
	h->seq = ev->seq;
	h->kept = false;
	h->tpm = LY_TPM_BROKEN;
	if (ev->waiting)
		h->seq--;
	ly_home_alarm(todo,
	    ev->waiting ? "a command is in doubt after our restart; TPM in"
			  " failure mode until the VM resets" :
			  "nothing is known of the TPM after our restart;"
			  " failure mode until the VM resets");
	return LY_OK;
}

static bool
resume_seq_fits(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (h->blind)
		return regain_sight(h, ev, todo) == LY_OK;
	return ev->seq == h->seq || ev->seq == h->seq + 1;
}

static void
resume(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (!ly_home_holds(h, ev->who) || ev->epoch != h->rec.epoch) {
		ly_home_doubt_holder(h, ev, todo);
		say(h, ev, todo, LY_FENCED);
		return;
	}
	if (!ly_same(ev->secret, h->rec.secret, sizeof(h->rec.secret))) {
		ly_home_alarm_once(h, todo, LY_SAID_NO_SECRET,
		    "RESUME without the secret of the epoch");
		say(h, ev, todo, LY_FENCED);
		return;
	}
	if (is_stale(h, ev)) {
		say(h, ev, todo, LY_BUSY);
		return;
	}
	if (!resume_seq_fits(h, ev, todo)) {
		ly_home_alarm_once(h, todo, LY_SAID_BAD_SEQ,
		    "RESUME with a seq that cannot be");
		say(h, ev, todo, LY_MALFORMED);
		return;
	}
	hand_over(h, ev, todo, ev->door, ev->age);
	say(h, ev, todo, LY_OK);
}

static void
detach(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	struct ly_record *next;

	if (ev->door != h->door || ev->epoch != h->rec.epoch) {
		say(h, ev, todo, LY_FENCED);
		return;
	}
	if (h->tpm == LY_TPM_RUNNING) {
		say(h, ev, todo, LY_BUSY);
		return;
	}
	next = propose(h, ev);
	if (next->state == LY_REC_PREPARED)
		ly_record_settle(next, &h->rec.mig, LY_FATE_ABORTED);
	next->state = LY_REC_DETACHED;
	write(h, todo);
}

static void
detach_free(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	say(h, ev, todo, LY_OK); /* it was, already */
}

static void
prestage(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	struct ly_record *next;
	uint64_t epoch;

	if (!ticket_fits(h, ev, LY_MAY_MOVE)) {
		ly_home_doubt_ticket(h, ev, todo);
		say(h, ev, todo, LY_REFUSED);
		return;
	}
	if (!ly_id_same(&ev->ticket->mig, &ev->mig) || ly_id_none(&ev->mig) ||
	    ly_record_fate(&h->rec, &ev->mig, &epoch) >= LY_FATE_CLAIMED) {
		say(h, ev, todo, LY_REFUSED);
		return;
	}
	next = propose(h, ev);
	next->state = LY_REC_PREPARED;
	next->mig = ev->mig;
	next->to_epoch = ev->ticket->to_epoch;
	next->expires = ev->ticket->expires;
	h->staged = ev->door;
	ly_copy(next->to, sizeof(next->to), ev->who);
	write(h, todo);
}

/* Asked again for the same migration: the same answer. One migration at a
 * time: another is refused. */
static void
prestage_again(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	bool same = ly_id_same(&h->rec.mig, &ev->mig) && ev->who &&
	    strcmp(h->rec.to, ev->who) == 0;

	if (same)
		h->staged = ev->door;
	say(h, ev, todo, same ? LY_OK : LY_REFUSED);
}

static void
release(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	struct ly_record *next;

	if (ev->door != h->door || ev->epoch != h->rec.epoch) {
		say(h, ev, todo, LY_FENCED);
	} else if (!ly_id_same(&ev->mig, &h->rec.mig)) {
		say(h, ev, todo, LY_REFUSED);
	} else if (h->tpm == LY_TPM_RUNNING || ev->seq != h->seq) {
		say(h, ev, todo, LY_MALFORMED);
	} else {
		next = propose(h, ev);
		next->state = LY_REC_QUIESCED;
		write(h, todo);
	}
}

static void
release_again(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	bool same = ly_id_same(&ev->mig, &h->rec.mig) &&
	    ev->epoch == h->rec.epoch && ev->seq == h->seq;

	say(h, ev, todo, same ? LY_OK : LY_REFUSED);
}

/* ---- the switch ---- */

static bool
may_claim(const struct ly_home *h, const char *who, const struct ly_id *mig)
{
	return who && strcmp(h->rec.to, who) == 0 &&
	    ly_id_same(&h->rec.mig, mig);
}

static void
park(struct ly_home *h, const struct ly_home_event *ev)
{
	h->parked.door = ev->door;
	h->parked.age = ev->age;
	h->parked.mig = ev->mig;
	ly_copy(h->parked.who, sizeof(h->parked.who), ev->who);
	h->parked.token = *ev->token;
	memcpy(h->parked.secret, ev->secret, sizeof(h->parked.secret));
}

/* Before its RELEASE: D was told by S, and its words were faster. */
static void
claim_early(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (!may_claim(h, ev->who, &ev->mig) || !ev->token)
		say(h, ev, todo, LY_REFUSED);
	else if (h->parked.door && h->parked.door != ev->door)
		say(h, ev, todo, LY_BUSY);
	else
		park(h, ev);
}

/* The token says which moment of the VM this memory is: it must be the one
 * the TPM stands at (resumption order). */
static bool
token_fits(const struct ly_home *h, const struct ly_token *t)
{
	return t && ly_id_same(&t->vm, &h->rec.vm) &&
	    ly_id_same(&t->mig, &h->rec.mig) && t->epoch == h->rec.epoch &&
	    t->seq == h->seq;
}

static void
claim(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	struct ly_record *next;

	if (!may_claim(h, ev->who, &ev->mig)) {
		say(h, ev, todo, LY_REFUSED);
		return;
	}
	if (!token_fits(h, ev->token)) {
		ly_home_alarm_once(h, todo, LY_SAID_BAD_TOKEN,
		    "CLAIM with a token of another moment");
		say(h, ev, todo, LY_REFUSED);
		return;
	}
	/* What failed at the source has failed at its destination. */
	if (ev->token->failed && h->tpm == LY_TPM_IDLE)
		h->tpm = LY_TPM_BROKEN;
	next = propose(h, ev);
	next->state = LY_REC_ATTACHED;
	ly_copy(next->holder, sizeof(next->holder), ev->who);
	memcpy(next->secret, ev->secret, sizeof(next->secret));
	next->epoch = h->rec.to_epoch;
	ly_record_settle(next, &h->rec.mig, LY_FATE_CLAIMED);
	write(h, todo);
}

/* Nothing is pending. Either this very host has claimed it and missed our
 * answer, or it is too late. */
static void
claim_late(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	uint64_t epoch;
	enum ly_fate fate = ly_record_fate(&h->rec, &ev->mig, &epoch);

	if (fate == LY_FATE_CLAIMED && epoch == h->rec.epoch &&
	    ly_home_holds(h, ev->who) && h->rec.state == LY_REC_ATTACHED) {
		if (!is_stale(h, ev))
			hand_over(h, ev, todo, ev->door, ev->age);
		say(h, ev, todo, is_stale(h, ev) ? LY_BUSY : LY_OK);
	} else {
		say(h, ev, todo,
		    fate == LY_FATE_CLAIMED ? LY_FENCED : LY_REFUSED);
	}
}

static void
unpark(struct ly_home *h, struct ly_home_todos *todo)
{
	struct ly_home_event ev = {
		.kind = LY_HOME_CLAIM,
		.door = h->parked.door,
		.age = h->parked.age,
		.who = h->parked.who,
		.mig = h->parked.mig,
		.token = &h->parked.token,
		.secret = h->parked.secret,
	};

	h->parked.door = 0;
	ly_home_step(h, &ev, todo);
}

/* The holder, our manager, and a destination that gives up what it has not
 * claimed. */
static bool
may_abort(const struct ly_home *h, const struct ly_home_event *ev,
    enum ly_fate fate)
{
	if (!ev->who || ly_home_holds(h, ev->who))
		return !ly_id_none(&ev->mig);
	return fate == LY_FATE_OPEN && strcmp(h->rec.to, ev->who) == 0;
}

/* A migration we never heard of is aborted for the future. */
static void
abort_it(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	struct ly_record *next;
	uint64_t epoch;
	enum ly_fate fate = ly_record_fate(&h->rec, &ev->mig, &epoch);

	if (fate >= LY_FATE_CLAIMED) {
		say(h, ev, todo, LY_OK); /* what won, won */
		return;
	}
	if (!may_abort(h, ev, fate)) {
		say(h, ev, todo, LY_REFUSED);
		return;
	}
	next = propose(h, ev);
	if (fate == LY_FATE_OPEN) {
		next->state = LY_REC_ATTACHED;
		ly_record_settle(next, &ev->mig, LY_FATE_ABORTED);
	} else {
		struct ly_record pending = *next;

		ly_record_settle(next, &ev->mig, LY_FATE_ABORTED);
		next->mig = pending.mig;
		memcpy(next->to, pending.to, sizeof(next->to));
		next->to_epoch = pending.to_epoch;
		next->expires = pending.expires;
	}
	write(h, todo);
}

static void
query(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	say(h, ev, todo, LY_OK);
}

/* A destination that is gone, and does not come back in time. */
static void
expire(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	struct ly_home_event of = *ev;
	struct ly_record *next;

	if (h->staged || ev->now <= h->rec.expires)
		return;
	of.mig = h->rec.mig;
	next = propose(h, &of);
	next->state = LY_REC_ATTACHED;
	ly_record_settle(next, &h->rec.mig, LY_FATE_ABORTED);
	write(h, todo);
}

/* A lease that was held by another, and not given back, was taken: it may still
 * be believed in until then. If that one had taken it too, and waits, its door
 * is shut and left_ms is of the first. */
static void
note_taking(struct ly_home *h, const struct ly_home_event *ev,
    const struct ly_record *was)
{
	if (was->state != LY_REC_DETACHED &&
	    strcmp(was->holder, h->rec.holder) != 0)
		h->taken_ms = h->door ? lease_end(h, ev) : h->left_ms;
}

/* An ATTACH is on disk. */
static void
attached(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo, const struct ly_record *was)
{
	h->blind = false;
	h->kept = false;
	/* A guest that starts begins with a reset: nothing of the one before
	 * may be left. */
	if (h->tpm == LY_TPM_IDLE)
		h->tpm = LY_TPM_BROKEN;
	note_taking(h, ev, was);
	if (ev->boot_ms >= h->taken_ms) {
		hand_over(h, ev, todo, h->asker, h->asked_age);
		return;
	}
	hand_over(h, ev, todo, 0, 0); /* asked again, it is granted */
}

/* What follows once the record is on disk, besides the answer. */
static void
written(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	struct ly_record was = h->rec;
	enum ly_rc rc = ev->ok ? LY_OK : LY_OUTSIDE;

	assert(h->writing);
	h->writing = false;
	if (ev->ok && h->next.epoch > h->rec.epoch)
		h->said = 0;
	if (ev->ok)
		h->rec = h->next;
	ly_wipe(&h->next, sizeof(h->next));
	if (ev->ok && h->asked == LY_HOME_ATTACH)
		attached(h, ev, todo, &was);
	if (ev->ok && h->asked == LY_HOME_CLAIM)
		hand_over(h, ev, todo, h->asker, h->asked_age);
	if (ev->ok && h->asked == LY_HOME_DETACH)
		h->door = 0;
	if (ev->ok && h->asked == LY_HOME_ATTACH && !h->door)
		rc = LY_BUSY;
	reply(h, todo, h->asked, h->asker, &h->asked_mig, rc);
	h->asker = 0;
	if (h->parked.door &&
	    (h->rec.state != was.state || h->rec.state != LY_REC_PREPARED))
		unpark(h, todo);
	ly_wipe(&was, sizeof(was));
}

static void
gone(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	(void)todo;
	if (ev->door == h->door) {
		h->door = 0;
		h->left_ms = lease_end(h, ev);
	}
	if (ev->door == h->parked.door)
		h->parked.door = 0;
	if (ev->door == h->staged)
		h->staged = 0;
	if (ev->door == h->asker)
		h->asker = 0;
}

/* ---- the TPM ---- */

static void
refuse(struct ly_home_todos *todo, const struct ly_home_event *ev,
    enum ly_rc rc)
{
	struct ly_home_todo *t = ly_home_add(todo, LY_DO_REFUSE, ev->door);

	t->rc = rc;
	t->epoch = ev->epoch;
	t->seq = ev->seq;
}

static void
send_kept(struct ly_home *h, struct ly_home_todos *todo)
{
	struct ly_home_todo *t;

	if (!h->door)
		return; /* it will be asked for again */
	t = ly_home_add(todo, LY_DO_ANSWER, h->door);
	t->epoch = h->rec.epoch;
	t->seq = h->seq;
}

static void
keep(struct ly_home *h, struct ly_home_todos *todo, enum ly_home_act act)
{
	ly_home_add(todo, act, 0)->seq = h->seq;
	h->kept = true;
	send_kept(h, todo);
}

static void
take(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	assert(!h->blind && !h->peeking);
	h->seq = ev->seq;
	h->op = ev->op;
	h->kept = false;
	memcpy(h->hash, ev->hash, sizeof(h->hash));
	if (h->tpm == LY_TPM_BROKEN && ev->op != LY_OP_INIT) {
		keep(h, todo, LY_DO_KEEP_FAILURE);
		return;
	}
	h->tpm = LY_TPM_RUNNING;
	ly_home_add(todo, LY_DO_RUN, 0)->seq = ev->seq;
}

/* The seq of before. Same bytes: the answer was lost, or is still to come. */
static void
again(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (!ly_same(ev->hash, h->hash, sizeof(h->hash)) ||
	    (h->tpm != LY_TPM_RUNNING && !h->kept)) {
		ly_home_alarm_once(h, todo, LY_SAID_TWICE,
		    "a seq was used twice with other bytes");
		h->dirty = true;
		if (h->tpm == LY_TPM_IDLE)
			h->tpm = LY_TPM_BROKEN;
		refuse(todo, ev, LY_MALFORMED);
	} else if (h->tpm != LY_TPM_RUNNING) {
		send_kept(h, todo);
	}
}

/* The record lets the holder's commands run, and so does what is about to
 * be the record. */
static bool
may_run(const struct ly_home *h)
{
	return (h->rec.state == LY_REC_ATTACHED ||
		   h->rec.state == LY_REC_PREPARED) &&
	    (!h->writing ||
		(h->next.epoch == h->rec.epoch &&
		    (h->next.state == LY_REC_ATTACHED ||
			h->next.state == LY_REC_PREPARED)));
}

/* The epoch is asked first: a host that lost the VM learns nothing. */
static void
command(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (ev->door != h->door || ev->epoch != h->rec.epoch) {
		ly_home_doubt_command(h, todo);
		refuse(todo, ev, LY_FENCED);
	} else if (!may_run(h)) {
		refuse(todo, ev, LY_REFUSED); /* it has just given it away */
	} else if (ev->seq == h->seq && ev->seq > 0) {
		again(h, ev, todo);
	} else if (ev->seq == h->seq + 1 && h->peeking) {
		ly_home_hold(todo, ev);
	} else if (ev->seq == h->seq + 1 && h->tpm != LY_TPM_RUNNING) {
		take(h, ev, todo);
	} else {
		ly_home_alarm_once(h, todo, LY_SAID_DISORDER,
		    "a command out of order");
		refuse(todo, ev, LY_MALFORMED);
	}
}

static void
command_never(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	bool holder = h->door && ev->door == h->door;

	if (!holder)
		ly_home_doubt_command(h, todo);
	refuse(todo, ev, holder ? LY_REFUSED : LY_FENCED);
}

static void
cancel(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (ev->door == h->door && ev->epoch == h->rec.epoch &&
	    ev->seq == h->seq && h->tpm == LY_TPM_RUNNING)
		ly_home_add(todo, LY_DO_CANCEL, 0)->seq = ev->seq;
}

static void
answered(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (ly_home_peek_over(h, todo, false))
		return;
	if (h->tpm != LY_TPM_RUNNING)
		return; /* of before it was declared dead */
	if (h->op == LY_OP_INIT && ev->ok)
		h->dirty = false;
	else if (h->op == LY_OP_INIT)
		h->dirty = true;
	h->tpm = h->dirty ? LY_TPM_BROKEN : LY_TPM_IDLE;
	keep(h, todo, LY_DO_KEEP);
}

static void
tpm_dead(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	bool running = h->tpm == LY_TPM_RUNNING;

	(void)ev;
	(void)ly_home_peek_over(h, todo, true);
	if (h->tpm != LY_TPM_BROKEN)
		ly_home_alarm(todo,
		    running ?
			"the TPM is gone; the command it ran is in doubt" :
			"the TPM is gone; failure mode until the VM resets");
	h->tpm = LY_TPM_BROKEN;
	if (running)
		keep(h, todo, LY_DO_KEEP_FAILURE);
}

static void
busy(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	say(h, ev, todo, LY_BUSY);
}

static void
fenced(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	say(h, ev, todo, LY_FENCED);
}

static void
refused(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	say(h, ev, todo, LY_REFUSED);
}

/* While writing: a CLAIM may be parked whatever is being written. */
static void
claim_writing(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	if (h->next.state == LY_REC_QUIESCED)
		claim_early(h, ev, todo);
	else
		say(h, ev, todo, LY_BUSY);
}

static void
nothing(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	(void)h;
	(void)ev;
	(void)todo;
}

static void
cannot(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	(void)h;
	(void)ev;
	(void)todo;
	assert(0 && "WRITTEN without a WRITE");
}

// clang-format off
#define WRITING LY_REC_STATES

static handler *const table[LY_REC_STATES + 1][LY_HOME_KINDS] = {
	[LY_REC_DETACHED] = {
		[LY_HOME_ATTACH] = attach_free,	[LY_HOME_RESUME] = fenced,
		[LY_HOME_COMMAND] = command_never, [LY_HOME_CANCEL] = nothing,
		[LY_HOME_ANSWER] = answered,	[LY_HOME_TPM_DEAD] = tpm_dead,
		[LY_HOME_DETACH] = detach_free,	[LY_HOME_PRESTAGE] = refused,
		[LY_HOME_RELEASE] = fenced,	[LY_HOME_CLAIM] = claim_late,
		[LY_HOME_ABORT] = abort_it,	[LY_HOME_QUERY] = query,
		[LY_HOME_WRITTEN] = cannot,	[LY_HOME_GONE] = gone,
		[LY_HOME_TICK] = nothing,	[LY_HOME_PEEK] = ly_home_peek,
	},
	[LY_REC_ATTACHED] = {
		[LY_HOME_ATTACH] = attach_held,	[LY_HOME_RESUME] = resume,
		[LY_HOME_COMMAND] = command,	[LY_HOME_CANCEL] = cancel,
		[LY_HOME_ANSWER] = answered,	[LY_HOME_TPM_DEAD] = tpm_dead,
		[LY_HOME_DETACH] = detach,	[LY_HOME_PRESTAGE] = prestage,
		[LY_HOME_RELEASE] = refused,	[LY_HOME_CLAIM] = claim_late,
		[LY_HOME_ABORT] = abort_it,	[LY_HOME_QUERY] = query,
		[LY_HOME_WRITTEN] = cannot,	[LY_HOME_GONE] = gone,
		[LY_HOME_TICK] = nothing,	[LY_HOME_PEEK] = ly_home_peek,
	},
	[LY_REC_PREPARED] = {
		[LY_HOME_ATTACH] = attach_held,	[LY_HOME_RESUME] = resume,
		[LY_HOME_COMMAND] = command,	[LY_HOME_CANCEL] = cancel,
		[LY_HOME_ANSWER] = answered,	[LY_HOME_TPM_DEAD] = tpm_dead,
		[LY_HOME_DETACH] = detach,	[LY_HOME_PRESTAGE] = prestage_again,
		[LY_HOME_RELEASE] = release,	[LY_HOME_CLAIM] = claim_early,
		[LY_HOME_ABORT] = abort_it,	[LY_HOME_QUERY] = query,
		[LY_HOME_WRITTEN] = cannot,	[LY_HOME_GONE] = gone,
		[LY_HOME_TICK] = expire,	[LY_HOME_PEEK] = ly_home_peek,
	},
	[LY_REC_QUIESCED] = {
		[LY_HOME_ATTACH] = attach_held,	[LY_HOME_RESUME] = resume,
		[LY_HOME_COMMAND] = command_never, [LY_HOME_CANCEL] = nothing,
		[LY_HOME_ANSWER] = answered,	[LY_HOME_TPM_DEAD] = tpm_dead,
		[LY_HOME_DETACH] = refused,	[LY_HOME_PRESTAGE] = prestage_again,
		[LY_HOME_RELEASE] = release_again, [LY_HOME_CLAIM] = claim,
		[LY_HOME_ABORT] = abort_it,	[LY_HOME_QUERY] = query,
		[LY_HOME_WRITTEN] = cannot,	[LY_HOME_GONE] = gone,
		/* only CLAIM or ABORT end it */
		[LY_HOME_TICK] = nothing,	[LY_HOME_PEEK] = ly_home_peek,
	},
	[WRITING] = {
		[LY_HOME_ATTACH] = busy,	[LY_HOME_RESUME] = busy,
		[LY_HOME_COMMAND] = command,	[LY_HOME_CANCEL] = cancel,
		[LY_HOME_ANSWER] = answered,	[LY_HOME_TPM_DEAD] = tpm_dead,
		[LY_HOME_DETACH] = busy,	[LY_HOME_PRESTAGE] = busy,
		[LY_HOME_RELEASE] = busy,	[LY_HOME_CLAIM] = claim_writing,
		[LY_HOME_ABORT] = busy,		[LY_HOME_QUERY] = busy,
		[LY_HOME_WRITTEN] = written,	[LY_HOME_GONE] = gone,
		[LY_HOME_TICK] = nothing,	[LY_HOME_PEEK] = ly_home_peek,
	},
};
// clang-format on

void
ly_home_init(struct ly_home *h, const struct ly_record *rec)
{
	*h = (struct ly_home){ .rec = *rec,
		.seq = rec->seq,
		.tpm = LY_TPM_BROKEN };
	h->blind = rec->state == LY_REC_ATTACHED ||
	    rec->state == LY_REC_PREPARED;
	h->forgot = rec->state != LY_REC_DETACHED;
}

void
ly_home_step(struct ly_home *h, const struct ly_home_event *ev,
    struct ly_home_todos *todo)
{
	unsigned row = h->writing ? WRITING : h->rec.state;
	uint64_t epoch = h->rec.epoch, seq = h->seq;
	bool seq_may_fall = h->blind;

	table[row][ev->kind](h, ev, todo);
	assert(h->rec.epoch >= epoch);
	assert(h->seq >= seq || seq_may_fall);
	assert(!h->peeking || h->tpm != LY_TPM_RUNNING); /* H7 */
}
