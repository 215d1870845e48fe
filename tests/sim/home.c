/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The homes on a host: their visitors and doors, what their machines want done,
 * and the file of their records. As agent/io/homes.c, home_do.c, visitors.c,
 * home_tpm.c and home_ask.c.
 */
#include "tests/sim/sim.h"

/* ---- doors ---- */

struct door *
door_of(struct agent *a, ly_door id)
{
	struct door *d = &a->doors[id % DOORS];

	return id && d->id == id ? d : NULL;
}

struct door *
door_new(struct agent *a)
{
	for (unsigned i = 0; i < DOORS; i++) {
		struct door *d = &a->doors[i];

		if (d->id)
			continue;
		*d = (struct door){ .id = (ly_door)++a->door_serial * DOORS +
			    i };
		return d;
	}
	return NULL;
}

void
door_free(struct agent *a, struct door *d)
{
	struct home *h = d->home;
	ly_door id = d->id;

	*d = (struct door){ .id = 0 };
	if (h)
		home_feed(h,
		    &(struct ly_home_event){ .kind = LY_HOME_GONE,
			.door = id,
			.boot_ms = net_now_ms(a->node) },
		    NULL, 0);
}

/* ---- saying ---- */

void
visitor_say(struct visitor *v, unsigned type, const void *m)
{
	union ly_any any;

	if (v->end) {
		net_send(v->end, type, m);
		return;
	}
	memcpy(&any, m, ly_message_of(type)->size);
	for (unsigned i = 0; i < LINKS; i++)
		if (v->agent->links[i].used && v->agent->links[i].self == v)
			link_hear(&v->agent->links[i], type, &any);
}

static void
say(struct agent *a, ly_door id, unsigned type, const void *m)
{
	struct door *d = door_of(a, id);
	const struct ly_outcome *o = m;

	if (!d)
		return;
	if (d->visitor)
		visitor_say(d->visitor, type, m);
	else if (d->req && type == LY_OUTCOME)
		agent_done(a, d->req, (enum ly_rc)o->rc, (enum ly_fate)o->fate,
		    o->epoch, "");
	d = door_of(a, id);
	if (d && d->once)
		door_free(a, d);
}

/* ---- the file of records ---- */

static void write_records(struct agent *a);

static void
on_told(void *obj, uint64_t ok)
{
	struct agent *a = obj;

	a->job = false;
	for (unsigned i = 0; i < VMS; i++) {
		struct home *h = &a->homes[i];

		if (!h->used || !h->in_job)
			continue;
		h->in_job = false;
		home_feed(h,
		    &(struct ly_home_event){ .kind = LY_HOME_WRITTEN,
			.boot_ms = net_now_ms(a->node),
			.ok = ok },
		    NULL, 0);
	}
	if (a->again && !a->job)
		write_records(a);
}

static void
on_synced(void *obj, uint64_t arg)
{
	struct agent *a = obj;
	struct disk *d = &w.disk[a->host];
	bool ok = !d->full;

	(void)arg;
	if (ok || d->torn) {
		memcpy(d->old, d->rec, sizeof(d->old));
		memcpy(d->old_has, d->has, sizeof(d->old_has));
		d->old_version = d->version;
		for (unsigned i = 0; i < VMS; i++)
			if (a->job_has[i]) {
				d->rec[i] = a->job_rec[i];
				d->has[i] = true;
			}
		d->version = ++d->counter;
		if (!d->torn) /* else nobody is told of it */
			oracle_synced(a->host);
	}
	d->drift = d->torn || (d->drift && !ok);
	ok = ok && !d->torn;
	d->torn = false;
	fault_write(a);
	sim_after(sim_below(&a->node->rng, 200) + 1, on_told, a, &a->node->gen,
	    ok);
}

static void
write_records(struct agent *a)
{
	if (a->job) {
		a->again = true;
		return;
	}
	a->again = false;
	a->job = true;
	for (unsigned i = 0; i < VMS; i++) {
		struct home *h = &a->homes[i];

		a->job_has[i] = h->used;
		if (!h->used)
			continue;
		h->in_job = h->core.writing;
		a->job_rec[i] = h->core.writing ? h->core.next : h->core.rec;
	}
	fault_write(a);
	sim_after(500 + sim_below(&a->node->rng, 3 * MS), on_synced, a,
	    &a->node->gen, 0);
}

/* ---- the TPM ---- */

void
home_tpm_dead(struct home *h)
{
	h->opened = false;
	home_feed(h, &(struct ly_home_event){ .kind = LY_HOME_TPM_DEAD }, NULL,
	    0);
}

void
home_tpm_answer(struct home *h, const uint8_t *at, size_t len)
{
	static const uint8_t success[4];

	home_feed(h,
	    &(struct ly_home_event){ .kind = LY_HOME_ANSWER,
		.ok = len == 4 && memcmp(at, success, 4) == 0 },
	    at, len);
}

static void
do_run(struct home *h, const struct hev *e)
{
	struct tpm *t = h->tpm;

	oracle_granted(h->vm, e->ev.epoch, e->who);
	if (strcmp(e->who, w.disk[h->agent->host].rec[h->vm].holder) != 0)
		law_broken("%s runs a command on VM %u's TPM, held by %s",
		    e->who, h->vm, w.disk[h->agent->host].rec[h->vm].holder);
	if (!h->opened && t->alive) {
		h->opened = true;
		t->client = h;
		t->client_gen = h->gen;
	}
	if (h->opened)
		tpm_submit(t, e->ev.op, e->body, e->len);
	else
		home_tpm_dead(h);
}

static void
do_peek(struct home *h)
{
	struct tpm *t = h->tpm;

	if (!h->opened && t->alive) {
		h->opened = true;
		t->client = h;
		t->client_gen = h->gen;
	}
	if (h->opened)
		tpm_submit(t, LY_OP_TPM, NULL, 0);
	else
		home_tpm_dead(h);
}

/* An answer to the home is told to no guest, nor the other way round. */
static void
is_for(const struct home *h, const struct hev *e, bool own)
{
	struct ly_rd r = ly_rd_over(e->body, e->len);
	bool marked = e->len == 4 && ly_rd_u32(&r) == TPM_PEEKED;

	if (e->ev.kind == LY_HOME_ANSWER && marked != own)
		law_broken("VM %u: %s", h->vm,
		    own ? "a guest's answer was taken for the home's" :
			  "the home's answer was taken for a guest's");
}

/* ---- doing as told ---- */

static void
keep(struct home *h, const uint8_t *at, size_t len)
{
	assert(len <= sizeof(h->kept));
	if (len)
		memcpy(h->kept, at, len);
	h->kept_len = len;
}

static void
do_grant(struct home *h, const struct ly_home_todo *t, uint32_t chan)
{
	struct ly_granted m = { .chan = chan, .rc = (uint8_t)t->rc };

	if (t->rc == LY_OK) {
		m.epoch = t->epoch;
		m.seq = t->seq;
		memcpy(m.secret, h->core.rec.secret, sizeof(m.secret));
		oracle_granted(h->vm, t->epoch, h->core.rec.holder);
	}
	say(h->agent, t->door, LY_GRANTED, &m);
}

static void
do_answer(struct home *h, const struct ly_home_todo *t, uint32_t chan)
{
	struct ly_answer m = { .chan = chan,
		.epoch = t->epoch,
		.seq = t->seq,
		.body = { h->kept, h->kept_len } };

	say(h->agent, t->door, LY_ANSWER, &m);
}

static void
do_outcome(struct home *h, const struct ly_home_todo *t)
{
	struct ly_outcome m = { .vm = vm_id(h->vm),
		.mig = t->mig,
		.rc = (uint8_t)t->rc,
		.fate = (uint8_t)t->fate,
		.epoch = t->epoch };

	if (t->rc == LY_OK)
		oracle_fate(h->vm, &t->mig, t->fate, t->epoch, "its home");
	say(h->agent, t->door, LY_OUTCOME, &m);
}

static void
do_words(struct home *h, const struct ly_home_todo *t, uint32_t chan)
{
	struct ly_refuse refuse = { chan, t->epoch, t->seq, (uint8_t)t->rc };
	struct ly_staged staged = { chan, (uint8_t)t->rc,
		t->rc == LY_OK ? t->epoch : 0 };
	struct ly_released released = { chan, t->mig, (uint8_t)t->rc };
	struct ly_detached detached = { chan, (uint8_t)t->rc };
	struct ly_fence fence = { chan, t->epoch };

	if (t->act == LY_DO_REFUSE)
		say(h->agent, t->door, LY_REFUSE, &refuse);
	else if (t->act == LY_DO_STAGED)
		say(h->agent, t->door, LY_STAGED, &staged);
	else if (t->act == LY_DO_RELEASED)
		say(h->agent, t->door, LY_RELEASED, &released);
	else if (t->act == LY_DO_DETACHED)
		say(h->agent, t->door, LY_DETACHED, &detached);
	else
		say(h->agent, t->door, LY_FENCE, &fence);
}

static void
do_alarm(struct home *h, const char *text)
{
	struct ly_alarm m = { .vm = vm_id(h->vm) };

	LOG("vm%u home: ALARM %s", h->vm, text);
	ly_copy(m.text, sizeof(m.text), text);
	agent_report(h->agent, h->vm, LY_ALARM, &m);
}

/* An event with all it points to. */
static void
copy_event(struct hev *l, const struct ly_home_event *ev, const uint8_t *body,
    size_t len)
{
	assert(len <= sizeof(l->body));
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
}

static void
perform(struct home *h, const struct ly_home_todo *t, const struct hev *e)
{
	static const uint8_t failure[4] = { 0, 0, 1, 1 };
	struct door *d = door_of(h->agent, t->door);
	uint32_t chan = d ? d->chan : 0;

	switch (t->act) {
	case LY_DO_RUN:
		do_run(h, e);
		break;
	case LY_DO_CANCEL:
		if (h->opened)
			tpm_cancel(h->tpm);
		break;
	case LY_DO_KEEP:
		is_for(h, e, false);
		keep(h, e->body, e->len);
		break;
	case LY_DO_PEEK:
		do_peek(h);
		break;
	case LY_DO_PEEKED:
		is_for(h, e, true);
		break;
	case LY_DO_HOLD:
		copy_event(&h->held, &e->ev, e->body, e->len);
		h->holds = true;
		break;
	case LY_DO_KEEP_FAILURE:
		keep(h, failure, sizeof(failure));
		break;
	case LY_DO_ANSWER:
		do_answer(h, t, chan);
		break;
	case LY_DO_GRANT:
		do_grant(h, t, chan);
		break;
	case LY_DO_OUTCOME:
		do_outcome(h, t);
		break;
	case LY_DO_WRITE:
		write_records(h->agent);
		break;
	case LY_DO_ALARM:
		do_alarm(h, t->text);
		break;
	case LY_DO_REFUSE:
	case LY_DO_STAGED:
	case LY_DO_RELEASED:
	case LY_DO_DETACHED:
	case LY_DO_FENCE:
		do_words(h, t, chan);
		break;
	}
}

/* ---- feeding ---- */

static void
later(struct home *h, const struct ly_home_event *ev, const uint8_t *body,
    size_t len)
{
	struct hev *l = &h->later[(h->later_at + h->later_n++) % HEVS];

	assert(h->later_n <= HEVS);
	copy_event(l, ev, body, len);
}

static void
step(struct home *h, const struct hev *e)
{
	struct ly_home_todos todo = { .n = 0 };
	uint32_t gen = h->gen;

	cover(M_HOME, h->core.writing ? LY_REC_STATES : h->core.rec.state,
	    e->ev.kind);
	LOG("vm%u home: kind %u door %llx epoch %llu seq %llu (rec %u %llu"
	    " seq %llu tpm %u)",
	    h->vm, e->ev.kind, (unsigned long long)e->ev.door,
	    (unsigned long long)e->ev.epoch, (unsigned long long)e->ev.seq,
	    h->core.rec.state, (unsigned long long)h->core.rec.epoch,
	    (unsigned long long)h->core.seq, h->core.tpm);
	ly_home_step(&h->core, &e->ev, &todo);
	oracle_record(h);
	for (unsigned i = 0; i < todo.n && h->gen == gen; i++)
		perform(h, &todo.act[i], e);
}

/* What was held comes last, if its door is still there. */
static void
unhold(struct home *h)
{
	if (!h->holds || h->core.peeking)
		return;
	h->holds = false;
	if (door_of(h->agent, h->held.ev.door))
		later(h, &h->held.ev, h->held.body, h->held.len);
}

void
home_feed(struct home *h, const struct ly_home_event *ev, const uint8_t *body,
    size_t len)
{
	uint32_t gen = h->gen;

	later(h, ev, body, len);
	if (h->feeding)
		return;
	h->feeding = true;
	while (h->gen == gen && h->later_n) {
		struct hev *e = &h->later[h->later_at];

		step(h, e);
		if (h->gen != gen)
			return;
		h->later_at = (h->later_at + 1) % HEVS;
		h->later_n--;
		if (h->later_n == 0)
			unhold(h);
	}
	h->feeding = false;
}

/* ---- for a manager ---- */

struct home *
home_add(struct agent *a, unsigned vm, const struct ly_record *rec)
{
	struct home *h = &a->homes[vm];

	h->used = true;
	h->gen++;
	h->agent = a;
	h->vm = vm;
	h->tpm = &w.tpm[vm];
	h->opened = h->feeding = h->in_job = false;
	h->later_n = 0;
	h->holds = false;
	h->kept_len = 0;
	ly_home_init(&h->core, rec);
	h->core.lease_ms = LY_LEASE_MS;
	h->core.began_ms = net_now_ms(a->node);
	return h;
}

void
home_bind(struct agent *a, unsigned vm, uint32_t req)
{
	struct ly_record rec = { .vm = vm_id(vm), .state = LY_REC_DETACHED };
	struct disk *d = &w.disk[a->host];

	if (!a->homes[vm].used) {
		/* The write of a BIND is not simulated. */
		ly_print(rec.name, sizeof(rec.name), "vm%u", vm);
		home_add(a, vm, &rec);
		d->rec[vm] = d->old[vm] = rec;
		d->has[vm] = d->old_has[vm] = true;
	}
	agent_done(a, req, LY_OK, LY_FATE_UNKNOWN, a->homes[vm].core.rec.epoch,
	    "");
}

void
home_ask(struct agent *a, const struct ly_request *m, bool abort_)
{
	struct home *h = home_of(a, &m->vm);
	struct door *d = h ? door_new(a) : NULL;

	if (!d) {
		agent_done(a, m->req, LY_UNKNOWN, LY_FATE_UNKNOWN, 0, "");
		return;
	}
	d->home = h;
	d->once = true;
	d->req = m->req;
	home_feed(h,
	    &(struct ly_home_event){ .kind = abort_ ? LY_HOME_ABORT :
						      LY_HOME_QUERY,
		.door = d->id,
		.mig = m->mig },
	    NULL, 0);
}

void
home_show(struct agent *a, unsigned vm, uint32_t req)
{
	struct home *h = &a->homes[vm];
	char text[64];

	if (!h->used) {
		agent_done(a, req, LY_UNKNOWN, LY_FATE_UNKNOWN, 0, "");
		return;
	}
	ly_print(text, sizeof(text), "%u %u", h->core.rec.state,
	    host_of_who(h->core.rec.holder));
	agent_done(a, req, LY_OK, LY_FATE_UNKNOWN, h->core.rec.epoch, text);
}

/* ---- time, and the start ---- */

/* Somebody wants a quote with the guest's PCRs. */
static void
on_home_peek(void *obj, uint64_t i)
{
	struct agent *a = obj;

	if (a->homes[i].used)
		home_feed(&a->homes[i],
		    &(struct ly_home_event){ .kind = LY_HOME_PEEK }, NULL, 0);
}

static void
on_home_tick(void *obj, uint64_t arg)
{
	struct agent *a = obj;

	(void)arg;
	for (unsigned i = 0; i < VMS; i++)
		if (a->homes[i].used && sim_chance(&a->node->rng, 500))
			sim_after(sim_below(&a->node->rng, SEC), on_home_peek,
			    a, &a->node->gen, i);
	for (unsigned i = 0; i < VMS; i++)
		if (a->homes[i].used &&
		    a->homes[i].core.rec.state == LY_REC_PREPARED)
			home_feed(&a->homes[i],
			    &(struct ly_home_event){ .kind = LY_HOME_TICK,
				.now = net_wall_s(a->node) },
			    NULL, 0);
	sim_after(SEC, on_home_tick, a, &a->node->gen, 0);
}

void
homes_load(struct agent *a)
{
	struct disk *d = &w.disk[a->host];

	for (unsigned i = 0; i < VMS; i++)
		if (d->has[i])
			home_add(a, i, &d->rec[i]);
	homes_wake(a);
	sim_after(SEC, on_home_tick, a, &a->node->gen, 0);
}
