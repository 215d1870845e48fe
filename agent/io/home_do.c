/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A home machine's list, done: messages to doors, commands to the TPM, writes
 * of the records. A machine is never entered twice at once; what performing
 * finds out waits in `later`.
 */
#include "agent/io/control.h"
#include "agent/io/homes_in.h"
#include "lib/io/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void
say_manager(const struct ly_door_slot *d, const struct ly_outcome *m)
{
	d->done(d->arg, (enum ly_rc)m->rc, (enum ly_fate)m->fate, m->epoch,
	    m->rc == LY_OK ? "" : "the home refuses", "");
}

static void
say(struct ly_homes *hs, ly_door id, unsigned type, const void *m)
{
	struct ly_door_slot *d = ly_door_of(hs, id);

	if (!d)
		return;
	if (d->visitor)
		d->visitor->say(d->visitor->arg, type, m);
	else if (d->done && type == LY_OUTCOME)
		say_manager(d, m);
	d = ly_door_of(hs, id);
	if (d && d->once)
		ly_door_free(hs, d);
}

static struct ly_pace *
pace_of(struct ly_homes *hs, const char *who)
{
	uint32_t hash = 0;

	for (; who && *who; who++)
		hash = hash * 31 + (uint8_t)*who;
	return &hs->paces[hash % PACES];
}

void
ly_home_grumble(struct home *h, const char *who, const char *fmt, ...)
{
	char text[LY_WHY_MAX], more[40] = "";
	uint32_t silent;
	va_list ap;

	if (!ly_pace_says(pace_of(h->homes, who), ly_boot_ms(), &silent))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (silent)
		ly_print(more, sizeof(more), "; %u not logged before", silent);
	ly_log(LY_WARNING, h->core.rec.name, "%s (%s%s)", text,
	    who ? who : "our manager", more);
}

static uint32_t
chan_of(struct ly_homes *hs, ly_door id)
{
	struct ly_door_slot *d = ly_door_of(hs, id);

	return d ? d->chan : 0;
}

/* ---- deeds that come before the commit: nobody sees them ---- */

static void
do_cancel(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	(void)t;
	(void)ev;
	(void)body;
	ly_home_tpm_cancel(h);
}

static void
do_keep(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	(void)t;
	(void)ev;
	memcpy(ly_home_answer_room(h, body.len), body.at, body.len);
}

/* The event with all it points to. */
static struct later *
copy_of(const struct ly_home_event *ev, struct ly_bytes body)
{
	struct later *l = calloc(1, sizeof(*l) + body.len);

	if (!l)
		abort();
	l->ev = *ev;
	l->len = body.len;
	if (body.len)
		memcpy(l->body, body.at, body.len);
	if (ev->who)
		l->ev.who = strcpy(l->who, ev->who);
	if (ev->secret)
		l->ev.secret = memcpy(l->secret, ev->secret, LY_SECRET_LEN);
	if (ev->hash)
		l->ev.hash = memcpy(l->hash, ev->hash, sizeof(l->hash));
	if (ev->ticket) {
		l->ticket = *ev->ticket;
		l->ev.ticket = &l->ticket;
	}
	if (ev->token) {
		l->token = *ev->token;
		l->ev.token = &l->token;
	}
	return l;
}

static void
later_free(struct later *l)
{
	if (l)
		ly_wipe(l, sizeof(*l) + l->len);
	free(l);
}

/* One asked again over a new link takes the place of the same of before. It is
 * not kept: if we die, its sender sends it again. */
static void
do_hold(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	(void)t;
	later_free(h->held);
	h->held = copy_of(ev, body);
}

static void
do_keep_failure(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	uint8_t answer[LY_TPM_HEAD];
	uint8_t result[4] = { 0, 0, 0, LY_FAILED };

	(void)t;
	(void)ev;
	(void)body;
	ly_tpm_answer(LY_TPM_RC_FAILURE, answer);
	if (h->core.op == LY_OP_TPM)
		memcpy(ly_home_answer_room(h, sizeof(answer)), answer,
		    sizeof(answer));
	else
		memcpy(ly_home_answer_room(h, sizeof(result)), result,
		    sizeof(result));
}

/* ---- deeds that come after it ---- */

static void
do_answer(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_answer m = {
		.chan = chan_of(h->homes, t->door),
		.epoch = t->epoch,
		.seq = t->seq,
		.body = ly_home_answer(h),
	};

	(void)ev;
	(void)body;
	say(h->homes, t->door, LY_ANSWER, &m);
}

static void
do_refuse(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_refuse m = {
		.chan = chan_of(h->homes, t->door),
		.epoch = t->epoch,
		.seq = t->seq,
		.rc = (uint8_t)t->rc,
	};

	(void)body;
	ly_home_grumble(h, ev->who, "command %llu refused: %s",
	    (unsigned long long)t->seq, ly_rc_name(t->rc));
	say(h->homes, t->door, LY_REFUSE, &m);
}

static void
do_grant(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_granted m = {
		.chan = chan_of(h->homes, t->door),
		.rc = (uint8_t)t->rc,
	};

	(void)body;
	if (t->rc == LY_OK) {
		m.epoch = t->epoch;
		m.seq = t->seq;
		memcpy(m.secret, h->core.rec.secret, sizeof(m.secret));
		ly_log(LY_NOTICE, h->core.rec.name,
		    "epoch %llu held by %s from seq %llu",
		    (unsigned long long)t->epoch, h->core.rec.holder,
		    (unsigned long long)t->seq);
	} else if (t->rc != LY_BUSY) {
		ly_home_grumble(h, ev->who, "lease not granted: %s",
		    ly_rc_name(t->rc));
	}
	say(h->homes, t->door, LY_GRANTED, &m);
	ly_wipe(&m, sizeof(m));
}

static void
do_staged(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_staged m = {
		.chan = chan_of(h->homes, t->door),
		.rc = (uint8_t)t->rc,
		.epoch = t->rc == LY_OK ? t->epoch : 0,
	};

	(void)ev;
	(void)body;
	say(h->homes, t->door, LY_STAGED, &m);
}

static void
do_released(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_released m = {
		.chan = chan_of(h->homes, t->door),
		.mig = t->mig,
		.rc = (uint8_t)t->rc,
	};

	(void)ev;
	(void)body;
	say(h->homes, t->door, LY_RELEASED, &m);
}

static void
do_detached(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_detached m = {
		.chan = chan_of(h->homes, t->door),
		.rc = (uint8_t)t->rc,
	};

	(void)ev;
	(void)body;
	say(h->homes, t->door, LY_DETACHED, &m);
}

static void
do_outcome(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_outcome m = {
		.vm = h->core.rec.vm,
		.mig = t->mig,
		.rc = (uint8_t)t->rc,
		.fate = (uint8_t)t->fate,
		.epoch = t->epoch,
	};

	(void)ev;
	(void)body;
	say(h->homes, t->door, LY_OUTCOME, &m);
}

static void
do_fence(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_fence m = {
		.chan = chan_of(h->homes, t->door),
		.epoch = t->epoch,
	};

	(void)ev;
	(void)body;
	say(h->homes, t->door, LY_FENCE, &m);
}

static void
do_peeked(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	(void)ev;
	(void)body;
	ly_home_vpcrs_over(h, t->rc);
}

static void
do_write(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	(void)t;
	(void)ev;
	(void)body;
	ly_homes_write(h->homes);
}

bool
ly_homes_alarm(const struct ly_homes *hs, const struct ly_id *vm,
    const char *text)
{
	const struct ly_agent *a = hs->agent;
	struct ly_alarm m = { .vm = *vm };

	if (!a->control)
		return false; /* we have only just begun */
	ly_copy(m.home_site, sizeof(m.home_site), a->self->site);
	ly_copy(m.host, sizeof(m.host), a->self->name);
	ly_copy(m.text, sizeof(m.text), text);
	return ly_control_report(a->control, LY_ALARM, &m);
}

/* Which command is in doubt. */
static const char *
doubtful(const struct home *h, char *out, size_t size)
{
	if (!h->shell.code)
		return "";
	ly_print(out, size, ", %s", ly_tpm_code_name(h->shell.code));
	return out;
}

static void
do_alarm(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	char text[LY_WHY_MAX], code[40];

	(void)body;
	ly_print(text, sizeof(text), "%s (seq %llu%s, epoch %llu%s%s)", t->text,
	    (unsigned long long)h->core.seq,
	    ev->kind == LY_HOME_TPM_DEAD ? doubtful(h, code, sizeof(code)) : "",
	    (unsigned long long)h->core.rec.epoch, ev->who ? ", by " : "",
	    ev->who ? ev->who : "");
	ly_log_alarm(h->core.rec.name, "%s", text);
	if (ly_homes_alarm(h->homes, &h->core.rec.vm, text))
		return;
	free(h->untold);
	h->untold = strdup(text);
}

typedef void deed(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body);

static deed *const before[] = {
	[LY_DO_CANCEL] = do_cancel,
	[LY_DO_KEEP] = do_keep,
	[LY_DO_KEEP_FAILURE] = do_keep_failure,
	[LY_DO_HOLD] = do_hold,
};

static deed *const after[] = {
	[LY_DO_ANSWER] = do_answer,
	[LY_DO_REFUSE] = do_refuse,
	[LY_DO_GRANT] = do_grant,
	[LY_DO_STAGED] = do_staged,
	[LY_DO_RELEASED] = do_released,
	[LY_DO_DETACHED] = do_detached,
	[LY_DO_OUTCOME] = do_outcome,
	[LY_DO_FENCE] = do_fence,
	[LY_DO_WRITE] = do_write,
	[LY_DO_ALARM] = do_alarm,
	[LY_DO_PEEKED] = do_peeked,
	[LY_DO_HOLD] = NULL,
};

static void
perform(struct home *h, deed *const deeds[], const struct ly_home_todos *todo,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	for (unsigned i = 0; i < todo->n; i++)
		if (deeds[todo->act[i].act])
			deeds[todo->act[i].act](h, &todo->act[i], ev, body);
}

static bool
is_to(const struct ly_home_todos *todo, enum ly_home_act act)
{
	for (unsigned i = 0; i < todo->n; i++)
		if (todo->act[i].act == act)
			return true;
	return false;
}

/* One event, all that the machine makes of it, one commit, and only then what
 * anybody can see: bytes to the TPM, messages, writes. A command that is
 * answered without the TPM is one event with its answer. */
static void
step(struct home *h, const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_home_todos todo = { .n = 0 }, more = { .n = 0 };
	struct ly_home_event made;
	struct ly_tpm_say say = { .len = 0 };
	bool on_its_way = true;

	ly_home_step(&h->core, ev, &todo);
	perform(h, before, &todo, ev, body);
	if (is_to(&todo, LY_DO_RUN))
		on_its_way = ly_home_tpm_run(h, ev->op, body, &made, &say);
	else if (is_to(&todo, LY_DO_PEEK))
		on_its_way = ly_home_tpm_peek(h, &made);
	if (!on_its_way) {
		ly_home_step(&h->core, &made, &more);
		perform(h, before, &more, &made,
		    (struct ly_bytes){ say.at, say.len });
	}
	ly_home_commit(h);
	perform(h, after, &todo, ev, body);
	perform(h, after, &more, &made, (struct ly_bytes){ say.at, say.len });
}

/* Events that come while one is performed are few (an answer made here, the
 * next command of a guest at home, a door that closes): each is copied whole.
 */
static void
feed_later(struct home *h, const struct ly_home_event *ev, struct ly_bytes body)
{
	struct later **end = &h->later;

	while (*end)
		end = &(*end)->next;
	*end = copy_of(ev, body);
}

/* The next event that is due, or NULL. What was held comes last: then the
 * machine has heard what has become of its door. */
static struct later *
next_event(struct home *h)
{
	struct later *l = h->later;

	if (ly_home_vpcrs_due(h))
		return copy_of(&(struct ly_home_event){ .kind = LY_HOME_PEEK },
		    (struct ly_bytes){ NULL, 0 });
	if (l) {
		h->later = l->next;
		return l;
	}
	if (!h->held || h->core.peeking)
		return NULL;
	l = ly_take(h->held);
	if (ly_door_of(h->homes, l->ev.door))
		return l;
	later_free(l);
	return NULL;
}

void
ly_home_go_on(struct home *h)
{
	struct later *l;

	if (h->homes->closing || h->feeding)
		return;
	h->feeding = true;
	while (!h->homes->closing && (l = next_event(h))) {
		step(h, &l->ev, (struct ly_bytes){ l->body, l->len });
		later_free(l);
	}
	h->feeding = false;
}

void
ly_home_feed(struct home *h, const struct ly_home_event *ev, const void *body,
    size_t len)
{
	if (h->homes->closing)
		return;
	if (h->feeding) {
		feed_later(h, ev, (struct ly_bytes){ body, len });
		return;
	}
	h->feeding = true;
	step(h, ev, (struct ly_bytes){ body, len });
	h->feeding = false;
	ly_home_go_on(h);
}

void
ly_home_forget_events(struct home *h)
{
	struct later *l;

	while ((l = h->later)) {
		h->later = l->next;
		later_free(l);
	}
	later_free(ly_take(h->held));
}
