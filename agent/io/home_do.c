/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A home machine's list, done: messages to doors, commands to the TPM, writes
 * of the records. A machine is never entered twice at once; what performing
 * finds out waits in `later`.
 */
#include "agent/io/control.h"
#include "agent/io/homes_in.h"

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

static uint32_t
chan_of(struct ly_homes *hs, ly_door id)
{
	struct ly_door_slot *d = ly_door_of(hs, id);

	return d ? d->chan : 0;
}

static void
do_run(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	(void)t;
	ly_home_tpm_run(h, ev->op, h->locality, body);
}

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
keep(struct home *h, struct ly_bytes body)
{
	if (body.len > h->kept_room) {
		size_t room = ly_max(64, body.len);
		void *more = realloc(h->kept, room);

		if (!more)
			abort();
		h->kept = more;
		h->kept_room = room;
	}
	if (body.len)
		memcpy(h->kept, body.at, body.len);
	h->kept_len = body.len;
}

static void
do_keep(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	(void)t;
	(void)ev;
	keep(h, body);
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
		keep(h, (struct ly_bytes){ answer, sizeof(answer) });
	else
		keep(h, (struct ly_bytes){ result, sizeof(result) });
}

static void
do_answer(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_answer m = {
		.chan = chan_of(h->homes, t->door),
		.epoch = t->epoch,
		.seq = t->seq,
		.body = { h->kept, h->kept_len },
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
	ly_log(LY_WARNING, h->core.rec.name, "command %llu refused: %s%s%s",
	    (unsigned long long)t->seq, ly_rc_name(t->rc),
	    ev->who ? ", asked by " : "", ev->who ? ev->who : "");
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

	(void)ev;
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
		ly_log(LY_WARNING, h->core.rec.name, "lease not granted: %s",
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
do_write(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	(void)t;
	(void)ev;
	(void)body;
	ly_homes_write(h->homes);
}

void
ly_homes_alarm(const struct ly_homes *hs, const struct ly_id *vm,
    const char *text)
{
	const struct ly_agent *a = hs->agent;
	struct ly_alarm m = { .vm = *vm };

	if (!a->control)
		return; /* we have only just begun */
	ly_copy(m.home_site, sizeof(m.home_site), a->self->site);
	ly_copy(m.host, sizeof(m.host), a->self->name);
	ly_copy(m.text, sizeof(m.text), text);
	ly_control_report(a->control, LY_ALARM, &m);
}

static void
do_alarm(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	(void)body;
	ly_homes_alarm(h->homes, &h->core.rec.vm, t->text);
	ly_log_alarm(h->core.rec.name, "%s (seq %llu, epoch %llu%s%s)", t->text,
	    (unsigned long long)h->core.seq,
	    (unsigned long long)h->core.rec.epoch, ev->who ? ", by " : "",
	    ev->who ? ev->who : "");
}

static void (*const deeds[])(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body) = {
	[LY_DO_RUN] = do_run,
	[LY_DO_CANCEL] = do_cancel,
	[LY_DO_KEEP] = do_keep,
	[LY_DO_KEEP_FAILURE] = do_keep_failure,
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
};

static void
step(struct home *h, const struct ly_home_event *ev, struct ly_bytes body)
{
	struct ly_home_todos todo = { .n = 0 };

	ly_home_step(&h->core, ev, &todo);
	for (unsigned i = 0; i < todo.n; i++)
		deeds[todo.act[i].act](h, &todo.act[i], ev, body);
}

/* Events that come while one is performed are few (an answer made here, the
 * next command of a guest at home, a door that closes): each is copied whole.
 */
static void
feed_later(struct home *h, const struct ly_home_event *ev, const void *body,
    size_t len)
{
	struct later *l = calloc(1, sizeof(*l) + len);
	struct later **end = &h->later;

	if (!l)
		abort();
	l->ev = *ev;
	l->len = len;
	if (len)
		memcpy(l->body, body, len);
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
	while (*end)
		end = &(*end)->next;
	*end = l;
}

void
ly_home_feed(struct home *h, const struct ly_home_event *ev, const void *body,
    size_t len)
{
	struct later *l;

	if (h->feeding) {
		feed_later(h, ev, body, len);
		return;
	}
	h->feeding = true;
	step(h, ev, (struct ly_bytes){ body, len });
	while ((l = h->later)) {
		h->later = l->next;
		step(h, &l->ev, (struct ly_bytes){ l->body, l->len });
		ly_wipe(l->secret, sizeof(l->secret));
		free(l);
	}
	h->feeding = false;
}
