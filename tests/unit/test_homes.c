/* SPDX-License-Identifier: Apache-2.0 */
/* The shell of the homes, with its records in a plain file. */
#include "agent/io/control.h"
#include "tests/unit/homes_scene.h"

#include "agent/io/records.h"

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

static enum ly_rc
decided(struct scene *s, const struct ly_id *mig, struct ly_decided *out)
{
	uint8_t object[LY_STATEMENT_MAX];
	const uint8_t *tagged;
	struct ly_peer signer;
	struct ly_why no;
	size_t len, n;
	enum ly_rc rc = ly_homes_decided(s->agent.homes, &vm, mig, object, &len,
	    &no);

	if (rc != LY_OK)
		return rc;
	SITE_OK(ly_verify(s->manager, LY_TYPE_OUTCOME, object, len, &tagged, &n,
	    &signer, &why));
	WANT_STR(signer.id, s->agent.self->id);
	SITE_OK(
	    ly_message_get_tagged(&ly_decided_message, tagged, n, out, &why));
	return LY_OK;
}

TEST(a_home_signs_what_it_has_decided_and_nothing_before)
{
	const struct ly_id mig = { { 5 } };
	struct scene s;
	struct ly_visitor *v;
	struct ly_decided d;
	unsigned n;

	scene(&s);
	bound(&s, &vm);
	v = visitor(&s);
	attach(&s, v, &vm, 0);
	until(&s, &s.heard.n, 1);
	WANT_INT(decided(&s, &mig, &d), LY_UNKNOWN);
	WANT_INT(decided(&s, &(struct ly_id){ { 0 } }, &d), LY_UNKNOWN);
	n = s.done_n + 1;
	ly_homes_ask(s.agent.homes, &vm, &mig, true, on_done, &s);
	until(&s, &s.done_n, n);
	WANT_INT(s.done_fate, LY_FATE_ABORTED);
	WANT_INT(decided(&s, &mig, &d), LY_OK);
	WANT_INT(d.fate, LY_FATE_ABORTED);
	WANT_INT(d.epoch, 1);
	WANT_STR(d.holder, host_a);
	WANT(ly_id_same(&d.mig, &mig) && ly_id_same(&d.vm, &vm));
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

/* An agent goes on with its VMs and homes before it opens its control. */
TEST(what_is_reported_before_there_is_a_control_is_not_heard)
{
	struct ly_alarm m = { .text = "too early" };

	WANT(!ly_control_report(NULL, LY_ALARM, &m));
}

TEST_MAIN()
