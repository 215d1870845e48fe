/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events into home machines, their lists into deeds. A machine is never
 * entered twice at once: what performing finds out waits in `later`.
 *
 * Writes are grouped: one job at a time packs all records as they are to be
 * (ly_home.next where one is proposed), writes the file, and every machine
 * whose proposal was in it is told. What was proposed meanwhile goes with the
 * next job.
 */
#include "agent/io/homes.h"

#include "agent/io/homes_in.h"
#include "agent/io/records.h"
#include "agent/tpm/policy.h"
#include "lib/io/file.h"

#include <stdlib.h>
#include <time.h>

#define TICK_MS 1000
#define DOORS_PER_VISITOR 65536

/* ---- doors ---- */

static struct ly_door_slot *
door_of(struct ly_homes *hs, ly_door id)
{
	size_t slot = (size_t)(id & 0xffffffff);

	if (!id || slot >= hs->doors_n || hs->doors[slot].id != id)
		return NULL;
	return &hs->doors[slot];
}

static struct ly_door_slot *
door_new(struct ly_homes *hs)
{
	size_t i = hs->free_door;

	if (i == hs->doors_n) {
		size_t n = hs->doors_n ? 2 * hs->doors_n : 64;
		void *more = realloc(hs->doors, n * sizeof(*hs->doors));

		if (!more)
			return NULL;
		hs->doors = more;
		for (size_t k = i; k < n; k++)
			hs->doors[k] = (struct ly_door_slot){ .next = k + 1 };
		hs->doors_n = n;
	}
	hs->free_door = hs->doors[i].next;
	hs->doors[i] = (struct ly_door_slot){
		.id = (ly_door)++hs->door_serial << 32 | i,
	};
	return &hs->doors[i];
}

/* The door's machine is told, unless it is the one that says so. */
static void
door_free(struct ly_homes *hs, struct ly_door_slot *d)
{
	struct home *home = d->home;
	ly_door id = d->id;
	size_t i = (size_t)(d - hs->doors);

	*d = (struct ly_door_slot){ .next = hs->free_door };
	hs->free_door = i;
	if (home)
		ly_home_feed(home,
		    &(struct ly_home_event){ .kind = LY_HOME_GONE, .door = id },
		    NULL, 0);
}

/* ---- homes ---- */

struct home *
ly_home_of(struct ly_homes *hs, const struct ly_id *vm)
{
	for (struct home *h = hs->first; h; h = h->next)
		if (ly_id_same(&h->core.rec.vm, vm))
			return h;
	return NULL;
}

const struct ly_agent_tpm *
ly_home_tpm_conf(const struct ly_homes *hs, const char *name)
{
	for (size_t i = 0; i < hs->agent->conf.tpms_n; i++)
		if (strcmp(hs->agent->conf.tpms[i].name, name) == 0)
			return &hs->agent->conf.tpms[i];
	return NULL;
}

struct home *
ly_home_add(struct ly_homes *hs, const struct ly_record *rec)
{
	struct home *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->homes = hs;
	ly_home_init(&h->core, rec);
	h->next = hs->first;
	hs->first = h;
	hs->homes_n++;
	return h;
}

/* Visitors may still have doors to it; they lead nowhere from now on. */
static void
doors_shut(struct ly_homes *hs, const struct home *h)
{
	for (size_t i = 0; i < hs->doors_n; i++) {
		if (!hs->doors[i].id || hs->doors[i].home != h)
			continue;
		hs->doors[i].home = NULL;
		door_free(hs, &hs->doors[i]);
	}
}

void
ly_home_drop(struct ly_homes *hs, struct home *h)
{
	struct home **at = &hs->first;
	struct later *l;

	assert(!h->feeding);
	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	hs->homes_n--;
	doors_shut(hs, h);
	ly_home_tpm_close(h);
	while ((l = h->later)) {
		h->later = l->next;
		free(l);
	}
	free(h->kept);
	ly_wipe(&h->core, sizeof(h->core));
	free(h);
}

/* Connections are closed, and a write ends, after ly_homes_close(). */
static void
unref(struct ly_homes *hs)
{
	if (--hs->refs > 0)
		return;
	while (hs->first)
		ly_home_drop(hs, hs->first);
	free(hs->doors);
	free(hs);
}

/* ---- the file of records ---- */

struct write_job {
	uv_work_t work;
	struct ly_homes *homes;
	char path[300];
	uint8_t *buf;
	size_t len;
	enum ly_rc rc;
	struct ly_why why;
};

static void
write_work(uv_work_t *work)
{
	struct write_job *j = LY_HOLDER(work, struct write_job, work);

	j->rc = ly_file_write(j->path, j->buf, j->len, 0600, &j->why);
}

/* Every home whose proposal was in the file hears of it; one that was bound
 * or unbound has its asker answered. */
static void
write_told(struct ly_homes *hs, const struct write_job *j)
{
	struct home *next;

	for (struct home *h = hs->first; h; h = next) {
		bool was = h->in_job;

		next = h->next;
		h->in_job = false;
		if (!was)
			continue;
		if (h->core.writing)
			ly_home_feed(h,
			    &(struct ly_home_event){ .kind = LY_HOME_WRITTEN,
				.ok = j->rc == LY_OK },
			    NULL, 0);
		else
			ly_home_bound(h, j->rc, j->why.text);
	}
}

static void
write_over(uv_work_t *work, int status)
{
	struct write_job *j = LY_HOLDER(work, struct write_job, work);
	struct ly_homes *hs = j->homes;

	if (status != 0)
		j->rc = ly_fail(&j->why, LY_OUTSIDE, "%s", uv_strerror(status));
	if (j->rc != LY_OK)
		ly_log_alarm("home", "records not written: %s", j->why.text);
	hs->disk_ok = j->rc == LY_OK;
	if (!hs->closing)
		write_told(hs, j); /* what it leads to goes with the next job */
	hs->job = false;
	ly_wipe(j->buf, j->len);
	free(j->buf);
	free(j);
	if (hs->again && !hs->closing)
		ly_homes_write(hs);
	unref(hs);
}

void
ly_homes_write(struct ly_homes *hs)
{
	const struct ly_record **recs;
	struct write_job *j;
	size_t n = 0;

	if (hs->job) {
		hs->again = true;
		return;
	}
	j = calloc(1, sizeof(*j));
	recs = calloc(hs->homes_n + 1, sizeof(*recs));
	if (!j || !recs)
		abort(); /* no memory for a few hundred bytes: nothing is safe */
	for (struct home *h = hs->first; h; h = h->next) {
		h->in_job = h->core.writing || h->binding != NULL;
		if (!h->leaving)
			recs[n++] = h->core.writing ? &h->core.next :
						      &h->core.rec;
	}
	j->homes = hs;
	j->work = (uv_work_t){ 0 };
	ly_print(j->path, sizeof(j->path), "%s/home.records",
	    hs->agent->conf.state);
	j->buf = ly_records_pack(recs, n, &j->len);
	free(recs);
	if (!j->buf)
		abort();
	hs->job = true;
	hs->again = false;
	hs->refs++;
	if (uv_queue_work(hs->agent->loop, &j->work, write_work, write_over))
		abort();
}

/* ---- doing as told ---- */

static void
say_manager(const struct ly_door_slot *d, const struct ly_outcome *m)
{
	d->done(d->arg, (enum ly_rc)m->rc, (enum ly_fate)m->fate, m->epoch,
	    m->rc == LY_OK ? "" : "the home refuses", "");
}

static void
say(struct ly_homes *hs, ly_door id, unsigned type, const void *m)
{
	struct ly_door_slot *d = door_of(hs, id);

	if (!d)
		return;
	if (d->visitor)
		d->visitor->say(d->visitor->arg, type, m);
	else if (d->done && type == LY_OUTCOME)
		say_manager(d, m);
	d = door_of(hs, id);
	if (d && d->once)
		door_free(hs, d);
}

static uint32_t
chan_of(struct ly_homes *hs, ly_door id)
{
	struct ly_door_slot *d = door_of(hs, id);

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

static void
do_alarm(struct home *h, const struct ly_home_todo *t,
    const struct ly_home_event *ev, struct ly_bytes body)
{
	(void)body;
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

/* ---- visitors ---- */

struct ly_visitor *
ly_visitor_new(struct ly_homes *homes, const char *who, ly_visitor_say *say_,
    void *arg)
{
	struct ly_visitor *v = calloc(1, sizeof(*v));

	if (!v)
		abort();
	v->homes = homes;
	homes->refs++;
	v->say = say_;
	v->arg = arg;
	ly_copy(v->who, sizeof(v->who), who);
	return v;
}

void
ly_visitor_free(struct ly_visitor *v)
{
	struct ly_homes *hs = v->homes;

	for (size_t i = 0; i < hs->doors_n; i++) {
		if (!hs->doors[i].id || hs->doors[i].visitor != v)
			continue;
		hs->doors[i].visitor = NULL;
		door_free(hs, &hs->doors[i]);
	}
	free(v->chans);
	free(v);
	unref(hs);
}

static bool
chan_room(struct ly_visitor *v, uint32_t chan)
{
	size_t n = v->chans_n ? v->chans_n : 4;
	void *more;

	if (chan < v->chans_n)
		return true;
	if (chan >= DOORS_PER_VISITOR)
		return false;
	while (n <= chan)
		n *= 2;
	more = realloc(v->chans, n * sizeof(*v->chans));
	if (!more)
		return false;
	v->chans = more;
	memset(v->chans + v->chans_n, 0, (n - v->chans_n) * sizeof(*v->chans));
	v->chans_n = n;
	return true;
}

/* The door behind a chan: made, or moved to another VM, by those messages
 * that name one. */
static struct ly_door_slot *
door_for(struct ly_visitor *v, uint32_t chan, struct home *home)
{
	struct ly_door_slot *d;

	if (!chan_room(v, chan))
		return NULL;
	d = door_of(v->homes, v->chans[chan]);
	if (d && d->home == home)
		return d;
	if (d)
		door_free(v->homes, d);
	d = door_new(v->homes);
	if (!d)
		return NULL;
	d->home = home;
	d->visitor = v;
	d->chan = chan;
	v->chans[chan] = d->id;
	return d;
}

static struct ly_door_slot *
door_known(struct ly_visitor *v, uint32_t chan)
{
	return chan < v->chans_n ? door_of(v->homes, v->chans[chan]) : NULL;
}

static uint64_t
seconds(void)
{
	return (uint64_t)time(NULL);
}

/* Signature, chain, that it is for us, and by a manager of our own site. */
static const struct ly_ticket *
read_ticket(struct ly_homes *hs, struct ly_bytes b, struct ly_ticket *out,
    struct ly_why *why)
{
	const uint8_t *tagged;
	size_t len;
	struct ly_peer signer;

	if (ly_verify(hs->agent->ids, LY_TYPE_TICKET, b.at, b.len, &tagged,
		&len, &signer, why) != LY_OK ||
	    ly_message_get_tagged(&ly_ticket_message, tagged, len, out, why) !=
		LY_OK)
		return NULL;
	if (signer.role != LY_ROLE_MANAGER ||
	    strcmp(signer.site, hs->agent->self->site) != 0) {
		ly_fail(why, LY_REFUSED, "ticket signed by %s", signer.id);
		return NULL;
	}
	if (strcmp(out->home, hs->agent->self->id) != 0) {
		ly_fail(why, LY_REFUSED, "ticket is for %s", out->home);
		return NULL;
	}
	return out;
}

/* The home a visitor asks for by name. While its BIND or UNBIND is written
 * nobody proposes anything for its record: the one may fail, and after the
 * other there is none. */
static struct home *
home_for(struct ly_homes *hs, const struct ly_id *vm, enum ly_rc *rc)
{
	struct home *h = ly_home_of(hs, vm);

	*rc = h && h->binding ? LY_BUSY : LY_UNKNOWN;
	return h && h->binding ? NULL : h;
}

/* ATTACH and PRESTAGE: what both need. NULL when it has been refused. */
static struct home *
hear_ticket(struct ly_visitor *v, const struct ly_id *vm, uint32_t chan,
    struct ly_bytes bytes, struct ly_ticket *ticket, struct ly_home_event *ev)
{
	enum ly_rc rc = LY_UNKNOWN;
	struct home *h = home_for(v->homes, vm, &rc);
	struct ly_door_slot *d = h ? door_for(v, chan, h) : NULL;
	struct ly_why why = { "" };

	if (!d) {
		struct ly_granted no = { .chan = chan, .rc = (uint8_t)rc };
		struct ly_staged nor = { .chan = chan, .rc = (uint8_t)rc };

		if (ev->kind == LY_HOME_ATTACH)
			v->say(v->arg, LY_GRANTED, &no);
		else
			v->say(v->arg, LY_STAGED, &nor);
		return NULL;
	}
	ev->door = d->id;
	ev->who = v->who;
	ev->now = seconds();
	ev->ticket = read_ticket(v->homes, bytes, ticket, &why);
	if (!ev->ticket)
		ly_log_alarm(h->core.rec.name, "bad ticket from %s: %s", v->who,
		    why.text);
	return h;
}

static enum ly_rc
hear_attach(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_ticket ticket;
	uint8_t fresh[LY_SECRET_LEN];
	struct ly_home_event ev = { .kind = LY_HOME_ATTACH, .secret = fresh };
	struct home *h = hear_ticket(v, &m->attach.vm, m->attach.chan,
	    m->attach.ticket, &ticket, &ev);

	(void)why;
	if (!h)
		return LY_OK;
	ly_random(fresh, sizeof(fresh));
	ly_home_feed(h, &ev, NULL, 0);
	ly_wipe(fresh, sizeof(fresh));
	return LY_OK;
}

static enum ly_rc
hear_prestage(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_ticket ticket;
	struct ly_home_event ev = { .kind = LY_HOME_PRESTAGE,
		.mig = m->prestage.mig };
	struct home *h = hear_ticket(v, &m->prestage.vm, m->prestage.chan,
	    m->prestage.ticket, &ticket, &ev);

	(void)why;
	if (h)
		ly_home_feed(h, &ev, NULL, 0);
	return LY_OK;
}

static enum ly_rc
hear_resume(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	const struct ly_resume *r = &m->resume;
	struct home *h = ly_home_of(v->homes, &r->vm);
	struct ly_door_slot *d = h ? door_for(v, r->chan, h) : NULL;
	struct ly_granted no = { .chan = r->chan, .rc = LY_UNKNOWN };

	(void)why;
	if (!d) {
		v->say(v->arg, LY_GRANTED, &no);
		return LY_OK;
	}
	ly_home_feed(h,
	    &(struct ly_home_event){ .kind = LY_HOME_RESUME,
		.door = d->id,
		.who = v->who,
		.epoch = r->epoch,
		.seq = r->seq,
		.waiting = r->waiting,
		.secret = r->secret },
	    NULL, 0);
	return LY_OK;
}

/* Messages on a chan that nothing opened: the peer is out of order. */
static enum ly_rc
no_chan(struct ly_why *why, uint32_t chan)
{
	return ly_fail(why, LY_MALFORMED, "chan %u is not open", chan);
}

static enum ly_rc
hear_command(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	const struct ly_command *c = &m->command;
	struct ly_door_slot *d = door_known(v, c->chan);
	uint8_t text[LY_TPM_MAX + 2], hash[32];
	struct home *h;

	if (!d)
		return no_chan(why, c->chan);
	if (c->op >= LY_OPS || c->locality > 4)
		return ly_fail(why, LY_MALFORMED, "op %u, locality %u", c->op,
		    c->locality);
	text[0] = c->op;
	text[1] = c->locality;
	if (c->body.len)
		memcpy(text + 2, c->body.at, c->body.len);
	ly_sha256(text, c->body.len + 2, hash);
	h = d->home;
	if (h->core.tpm != LY_TPM_RUNNING)
		h->locality = c->locality;
	ly_home_feed(h,
	    &(struct ly_home_event){ .kind = LY_HOME_COMMAND,
		.door = d->id,
		.who = v->who,
		.epoch = c->epoch,
		.seq = c->seq,
		.op = (enum ly_op)c->op,
		.hash = hash },
	    c->body.at, c->body.len);
	return LY_OK;
}

static enum ly_rc
hear_cancel(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_door_slot *d = door_known(v, m->cancel.chan);

	if (!d)
		return no_chan(why, m->cancel.chan);
	ly_home_feed(d->home,
	    &(struct ly_home_event){ .kind = LY_HOME_CANCEL,
		.door = d->id,
		.who = v->who,
		.epoch = m->cancel.epoch,
		.seq = m->cancel.seq },
	    NULL, 0);
	return LY_OK;
}

static enum ly_rc
hear_detach(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_door_slot *d = door_known(v, m->detach.chan);

	if (!d)
		return no_chan(why, m->detach.chan);
	ly_home_feed(d->home,
	    &(struct ly_home_event){ .kind = LY_HOME_DETACH,
		.door = d->id,
		.who = v->who,
		.epoch = m->detach.epoch },
	    NULL, 0);
	return LY_OK;
}

static enum ly_rc
hear_release(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_door_slot *d = door_known(v, m->release.chan);

	if (!d)
		return no_chan(why, m->release.chan);
	ly_home_feed(d->home,
	    &(struct ly_home_event){ .kind = LY_HOME_RELEASE,
		.door = d->id,
		.who = v->who,
		.mig = m->release.mig,
		.epoch = m->release.epoch,
		.seq = m->release.seq },
	    NULL, 0);
	return LY_OK;
}

/* The token, if its MAC is that of the epoch it was made in. */
static const struct ly_token *
read_token(const struct home *h, struct ly_bytes b, struct ly_token *out)
{
	struct ly_why why;
	uint8_t mac[32];

	if (ly_message_get(&ly_token_message, b.at, b.len, out, &why) != LY_OK)
		return NULL;
	ly_hmac(h->core.rec.secret, LY_SECRET_LEN, b.at, b.len - sizeof(mac),
	    mac);
	return ly_same(mac, out->mac, sizeof(mac)) ? out : NULL;
}

static enum ly_rc
hear_claim(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	struct ly_door_slot *d = door_known(v, m->claim.chan);
	struct ly_token token;
	uint8_t fresh[LY_SECRET_LEN];

	if (!d)
		return no_chan(why, m->claim.chan);
	ly_random(fresh, sizeof(fresh));
	ly_home_feed(d->home,
	    &(struct ly_home_event){ .kind = LY_HOME_CLAIM,
		.door = d->id,
		.who = v->who,
		.mig = m->claim.mig,
		.token = read_token(d->home, m->claim.token, &token),
		.secret = fresh },
	    NULL, 0);
	ly_wipe(fresh, sizeof(fresh));
	return LY_OK;
}

void
ly_home_query(struct home *h, ly_door door, const char *who, bool abort_,
    const struct ly_id *mig)
{
	ly_home_feed(h,
	    &(struct ly_home_event){ .kind = abort_ ? LY_HOME_ABORT :
						      LY_HOME_QUERY,
		.door = door,
		.who = who,
		.mig = *mig },
	    NULL, 0);
}

/* ABORT and QUERY name a VM, not a chan: their door closes behind them. */
struct ly_door_slot *
ly_home_door(struct ly_homes *hs, struct home *h)
{
	struct ly_door_slot *d = door_new(hs);

	if (d) {
		d->home = h;
		d->once = true;
	}
	return d;
}

static enum ly_rc
hear_query(struct ly_visitor *v, unsigned type, const struct ly_query *q)
{
	struct ly_outcome no = { .vm = q->vm, .mig = q->mig };
	enum ly_rc rc = LY_UNKNOWN;
	struct home *h = home_for(v->homes, &q->vm, &rc);
	struct ly_door_slot *d = h ? ly_home_door(v->homes, h) : NULL;

	if (!d) {
		no.rc = (uint8_t)rc;
		v->say(v->arg, LY_OUTCOME, &no);
		return LY_OK;
	}
	d->visitor = v;
	ly_home_query(h, d->id, v->who, type == LY_ABORT, &q->mig);
	return LY_OK;
}

static enum ly_rc
hear_abort(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	(void)why;
	return hear_query(v, LY_ABORT, &m->query);
}

static enum ly_rc
hear_ask(struct ly_visitor *v, const union ly_any *m, struct ly_why *why)
{
	(void)why;
	return hear_query(v, LY_QUERY, &m->query);
}

typedef enum ly_rc hearer(struct ly_visitor *v, const union ly_any *m,
    struct ly_why *why);

static hearer *const hearers[] = {
	[LY_ATTACH] = hear_attach,
	[LY_RESUME] = hear_resume,
	[LY_COMMAND] = hear_command,
	[LY_CANCEL] = hear_cancel,
	[LY_DETACH] = hear_detach,
	[LY_PRESTAGE] = hear_prestage,
	[LY_RELEASE] = hear_release,
	[LY_CLAIM] = hear_claim,
	[LY_ABORT] = hear_abort,
	[LY_QUERY] = hear_ask,
};

enum ly_rc
ly_visitor_hear(struct ly_visitor *v, unsigned type, const union ly_any *m,
    struct ly_why *why)
{
	if (type >= LY_COUNT(hearers) || !hearers[type])
		return ly_fail(why, LY_MALFORMED, "%s is not for a home",
		    ly_message_of(type) ? ly_message_of(type)->name : "it");
	return hearers[type](v, m, why);
}

/* ---- opening and closing ---- */

static void
on_tick(uv_timer_t *timer)
{
	struct ly_homes *hs = timer->data;
	uint64_t now = seconds();

	for (struct home *h = hs->first; h; h = h->next)
		if (h->core.rec.state == LY_REC_PREPARED)
			ly_home_feed(h,
			    &(struct ly_home_event){ .kind = LY_HOME_TICK,
				.now = now },
			    NULL, 0);
}

enum ly_rc
ly_homes_open(struct ly_agent *agent, struct ly_homes **out, struct ly_why *why)
{
	struct ly_homes *hs = calloc(1, sizeof(*hs));
	struct ly_record *recs;
	char path[300];
	size_t n;
	enum ly_rc rc;

	if (!hs)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	hs->agent = agent;
	hs->disk_ok = true;
	ly_print(path, sizeof(path), "%s/home.records", agent->conf.state);
	rc = ly_records_read(path, &recs, &n, why);
	if (rc != LY_OK) {
		free(hs);
		return rc;
	}
	for (size_t i = 0; i < n; i++)
		if (!ly_home_add(hs, &recs[i]))
			abort();
	ly_wipe(recs, n * sizeof(*recs));
	free(recs);
	uv_timer_init(agent->loop, &hs->tick);
	hs->tick.data = hs;
	uv_timer_start(&hs->tick, on_tick, TICK_MS, TICK_MS);
	uv_unref((uv_handle_t *)&hs->tick);
	hs->refs = 1;
	*out = hs;
	return LY_OK;
}

static void
on_tick_closed(uv_handle_t *handle)
{
	unref(handle->data);
}

void
ly_homes_close(struct ly_homes *hs)
{
	hs->closing = true;
	ly_homes_end_asks(hs);
	for (struct home *h = hs->first; h; h = h->next)
		ly_home_tpm_close(h);
	uv_close((uv_handle_t *)&hs->tick, on_tick_closed);
}

void
ly_homes_tpms(const struct ly_homes *hs, char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < hs->agent->conf.tpms_n && n < size; i++) {
		ly_print(out + n, size - n, "%s%s", n ? " " : "",
		    hs->agent->conf.tpms[i].name);
		n = strlen(out);
	}
}
