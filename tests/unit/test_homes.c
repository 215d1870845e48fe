/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell of the homes, driven as its visitors and its manager do, on a
 * loop, with records in a directory of the test's. The TPM is a socket that
 * nobody answers on.
 */
#include "agent/io/homes.h"
#include "agent/io/records.h"
#include "lib/wire/signed.h"
#include "tests/unit/site.h"

#include <time.h>

static const struct ly_id vm = { { 1 } }, vm2 = { { 2 } };
static const char host_a[] = "spiffe://north/host/a";

struct heard {
	unsigned type;
	union ly_any m;
	unsigned n; /* in all */
};

struct scene {
	uv_loop_t loop;
	struct ly_agent agent;
	struct ly_agent_tpm tpms[4];
	struct ly_identity *manager;
	struct heard heard;
	enum ly_rc done_rc;
	enum ly_fate done_fate;
	unsigned done_n;
};

static void
on_say(void *arg, unsigned type, const void *m)
{
	struct heard *h = arg;

	h->type = type;
	h->n++;
	memcpy(&h->m, m, ly_message_of(type)->size);
}

static void
on_done(void *arg, enum ly_rc rc, enum ly_fate fate, uint64_t epoch,
    const char *why, const char *value)
{
	struct scene *s = arg;

	(void)epoch, (void)why, (void)value;
	s->done_rc = rc;
	s->done_fate = fate;
	s->done_n++;
}

static void
open_homes(struct scene *s)
{
	SITE_OK(ly_homes_open(&s->agent, &s->agent.homes, &why));
}

static void
scene(struct scene *s)
{
	static unsigned turn;

	*s = (struct scene){ .done_n = 0 };
	uv_loop_init(&s->loop);
	s->agent.loop = &s->loop;
	s->agent.ids = site_host("north", "h");
	s->agent.self = ly_identity_self(s->agent.ids);
	site_certify("north-m", "north", "spiffe://north/manager/m");
	s->manager = site_load("north-m", "trust");
	ly_print(s->agent.conf.state, sizeof(s->agent.conf.state), "%s",
	    site_path("state%u", turn++));
	SITE_OK(ly_file_mkdir(s->agent.conf.state, 0700, &why));
	s->agent.conf.tpms = s->tpms;
	s->agent.conf.tpms_n = LY_COUNT(s->tpms);
	for (unsigned i = 0; i < LY_COUNT(s->tpms); i++) {
		ly_print(s->tpms[i].name, LY_NAME_MAX, "chip%u", i);
		ly_print(s->tpms[i].tcti, sizeof(s->tpms[i].tcti), "socket:%s",
		    site_path("no-tpm"));
	}
	open_homes(s);
}

static void
shut(struct scene *s)
{
	ly_homes_close(s->agent.homes);
	uv_run(&s->loop, UV_RUN_DEFAULT);
}

static void
end(struct scene *s)
{
	shut(s);
	WANT_INT(uv_loop_close(&s->loop), 0);
	ly_identity_free(s->agent.ids);
	ly_identity_free(s->manager);
}

/* Until the manager has been answered `n` times, or a visitor been told. */
static void
until(struct scene *s, const unsigned *count, unsigned n)
{
	while (*count < n)
		WANT(uv_run(&s->loop, UV_RUN_ONCE) || *count >= n);
}

static void
bind_vm(struct scene *s, const struct ly_id *id)
{
	struct ly_bind m = { .vm = *id, .name = "web" };

	ly_homes_bind(s->agent.homes, &m, on_done, s);
}

static void
bound(struct scene *s, const struct ly_id *id)
{
	unsigned n = s->done_n + 1;

	bind_vm(s, id);
	until(s, &s->done_n, n);
	WANT_INT(s->done_rc, LY_OK);
}

static void
hear(struct ly_visitor *v, unsigned type, const void *m, enum ly_rc rc)
{
	union ly_any any;
	struct ly_why why;

	memcpy(&any, m, ly_message_of(type)->size);
	WANT_INT(ly_visitor_hear(v, type, &any, &why), rc);
}

static void
resume(struct ly_visitor *v, const struct ly_id *id, uint32_t chan)
{
	struct ly_resume m = { .chan = chan, .vm = *id, .epoch = 1 };

	hear(v, LY_RESUME, &m, LY_OK);
}

static void
attach(struct scene *s, struct ly_visitor *v, const struct ly_id *id,
    uint32_t chan)
{
	uint8_t tagged[LY_TICKET_MAX], object[LY_TICKET_MAX];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));
	struct ly_ticket t = { .vm = *id,
		.rights = LY_MAY_ATTACH,
		.to_epoch = 1,
		.expires = (uint64_t)time(NULL) + 60 };
	struct ly_attach m = { .chan = chan, .vm = *id };
	size_t len = sizeof(object);

	ly_copy(t.home, sizeof(t.home), s->agent.self->id);
	ly_copy(t.holder, sizeof(t.holder), host_a);
	ly_message_put_tagged(&ly_ticket_message, &t, &w);
	SITE_OK(ly_sign(s->manager, LY_TYPE_TICKET, tagged, ly_wr_len(&w),
	    object, &len, &why));
	m.ticket = (struct ly_bytes){ object, len };
	hear(v, LY_ATTACH, &m, LY_OK);
}

static struct ly_visitor *
visitor(struct scene *s)
{
	return ly_visitor_new(s->agent.homes, host_a, on_say, &s->heard);
}

TEST(a_door_to_a_VM_that_was_unbound_leads_nowhere)
{
	struct ly_command c = { .chan = 3, .epoch = 1, .seq = 1 };
	struct scene s;
	struct ly_visitor *v;

	scene(&s);
	bound(&s, &vm);
	v = visitor(&s);
	resume(v, &vm, 3);
	WANT_INT(s.heard.m.granted.rc, LY_FENCED);
	ly_homes_unbind(s.agent.homes, &vm, on_done, &s);
	until(&s, &s.done_n, 2);
	WANT_INT(s.done_rc, LY_OK);
	hear(v, LY_COMMAND, &c, LY_MALFORMED);
	resume(v, &vm, 3);
	WANT_INT(s.heard.m.granted.rc, LY_UNKNOWN);
	ly_visitor_free(v);
	end(&s);
}

/* Each is granted, or not, by the write its proposal was in. `b` proposes while
 * the write of `a` is under way, and `a` again from within being told. */
struct chain {
	struct scene *s;
	struct ly_visitor *v;
	unsigned granted, in_file;
};

static bool
on_disk(struct scene *s, const struct ly_id *id)
{
	struct ly_record *recs;
	char path[300];
	bool found = false;
	size_t n;

	ly_print(path, sizeof(path), "%s/home.records", s->agent.conf.state);
	SITE_OK(ly_records_read(path, &recs, &n, &why));
	for (size_t i = 0; i < n; i++)
		found |= ly_id_same(&recs[i].vm, id) && recs[i].epoch == 1;
	free(recs);
	return found;
}

static void
on_chain(void *arg, unsigned type, const void *m)
{
	const struct ly_granted *g = m;
	struct ly_detach off = { .chan = 0, .epoch = 1 };
	struct chain *c = arg;

	if (type != LY_GRANTED || g->rc != LY_OK)
		return;
	c->granted++;
	c->in_file += on_disk(c->s, g->chan == 0 ? &vm : &vm2);
	if (g->chan == 0)
		hear(c->v, LY_DETACH, &off, LY_OK);
}

TEST(a_lease_is_granted_by_the_write_that_has_it_and_by_no_other)
{
	struct scene s;
	struct chain c = { .s = &s };

	scene(&s);
	bound(&s, &vm2);
	bound(&s, &vm); /* the first in the list, told first */
	c.v = ly_visitor_new(s.agent.homes, host_a, on_chain, &c);
	attach(&s, c.v, &vm, 0);
	attach(&s, c.v, &vm2, 1);
	until(&s, &c.granted, 2);
	WANT_INT(c.in_file, 2);
	ly_visitor_free(c.v);
	end(&s);
}

static void
renew(struct ly_visitor *v, enum ly_rc rc)
{
	struct ly_renew m = { .stamp = 77 };

	hear(v, LY_RENEW, &m, rc);
}

TEST(another_host_is_served_while_it_has_a_lease_and_not_without)
{
	struct ly_command c = { .chan = 0, .epoch = 1, .seq = 1 };
	struct scene s;
	struct ly_visitor *v;

	scene(&s);
	s.agent.conf.lease_ms = 500;
	bound(&s, &vm);
	v = visitor(&s);
	ly_visitor_foreign(v, UINT64_MAX);
	attach(&s, v, &vm, 0);
	until(&s, &s.heard.n, 1);
	hear(v, LY_COMMAND, &c, LY_BUSY);
	renew(v, LY_OK);
	WANT_INT(s.heard.type, LY_LEASE);
	WANT_INT(s.heard.m.lease.stamp, 77);
	WANT_INT(s.heard.m.lease.length_ms, 500);
	hear(v, LY_COMMAND, &c, LY_OK);
	usleep(510000);
	hear(v, LY_COMMAND, &c, LY_BUSY);
	renew(v, LY_OK);
	hear(v, LY_COMMAND, &c, LY_OK);
	ly_visitor_free(v);
	end(&s);
}

TEST(a_host_whose_certificate_has_ended_is_given_no_lease)
{
	struct ly_command c = { .chan = 0, .epoch = 1, .seq = 1 };
	struct scene s;
	struct ly_visitor *v;

	scene(&s);
	bound(&s, &vm);
	v = visitor(&s);
	ly_visitor_foreign(v, (uint64_t)time(NULL) + 1);
	attach(&s, v, &vm, 0);
	until(&s, &s.heard.n, 1);
	renew(v, LY_OK);
	usleep(1100000);
	hear(v, LY_COMMAND, &c, LY_REFUSED);
	renew(v, LY_REFUSED);
	ly_visitor_ended(v,
	    &(struct ly_peer){ .site = "north", .serial = "00" });
	ly_visitor_free(v);
	end(&s);
}

TEST(a_VM_that_is_being_bound_or_unbound_grants_nothing)
{
	struct ly_query q = { .vm = vm, .mig = { { 9 } } };
	struct scene s;
	struct ly_visitor *v;

	scene(&s);
	v = visitor(&s);
	bind_vm(&s, &vm);
	attach(&s, v, &vm, 0);
	WANT_INT(s.heard.m.granted.rc, LY_BUSY);
	until(&s, &s.done_n, 1);
	ly_homes_unbind(s.agent.homes, &vm, on_done, &s);
	attach(&s, v, &vm, 0);
	WANT_INT(s.heard.m.granted.rc, LY_BUSY);
	hear(v, LY_ABORT, &q, LY_OK);
	WANT_INT(s.heard.m.outcome.rc, LY_BUSY);
	ly_homes_ask(s.agent.homes, &vm, &q.mig, true, on_done, &s);
	WANT_INT(s.done_rc, LY_BUSY);
	until(&s, &s.done_n, 3);
	WANT_INT(s.done_rc, LY_OK);
	attach(&s, v, &vm, 0);
	WANT_INT(s.heard.m.granted.rc, LY_UNKNOWN);
	ly_visitor_free(v);
	end(&s);
}

/* As on SIGTERM: the links' connections are closed a turn later. */
TEST(homes_that_are_closed_wait_for_a_write_and_for_visitors)
{
	struct ly_query q = { .vm = vm, .mig = { { 9 } } };
	struct scene s;
	struct ly_visitor *v;

	scene(&s);
	bound(&s, &vm);
	v = visitor(&s);
	resume(v, &vm, 0);
	ly_homes_ask(s.agent.homes, &vm, &q.mig, true, on_done, &s);
	bind_vm(&s, &vm2);
	shut(&s);
	WANT_INT(s.done_n, 3);
	WANT_INT(s.done_rc, LY_OUTSIDE);
	ly_visitor_free(v);
	uv_run(&s.loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&s.loop), 0);
	ly_identity_free(s.agent.ids);
	ly_identity_free(s.manager);
}

TEST_MAIN()
