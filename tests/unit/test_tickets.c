/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a home asks of a ticket, with real certificates and signatures, through
 * the shell: each spoils one thing of a good one.
 */
#include "agent/io/homes.h"
#include "lib/io/crl.h"
#include "lib/wire/signed.h"
#include "tests/unit/site.h"

#include <time.h>

static const struct ly_id vm = { { 1 } }, other_vm = { { 2 } };
static const char host_a[] = "spiffe://north/host/a";
static const char host_b[] = "spiffe://north/host/b";
static const char home_id[] = "spiffe://north/host/h";

static uv_loop_t loop;
static struct ly_agent agent;
static struct ly_agent_tpm tpms[1];
static struct ly_identity *north_m, *south_m, *north_b;
static struct ly_granted granted;
static unsigned heard, bound;

static void
on_say(void *arg, unsigned type, const void *m)
{
	(void)arg;
	heard++;
	if (type == LY_GRANTED)
		memcpy(&granted, m, sizeof(granted));
}

static void
on_bound(void *arg, enum ly_rc rc, enum ly_fate fate, uint64_t epoch,
    const char *why, const char *value)
{
	(void)arg, (void)fate, (void)epoch, (void)why, (void)value;
	WANT_INT(rc, LY_OK);
	bound++;
}

static struct ly_identity *
member(const char *file, const char *site, const char *spiffe)
{
	site_make(site);
	site_certify(file, site, spiffe);
	return site_load(file, "trust");
}

static void
scene(void)
{
	static unsigned turn;
	struct ly_bind m = { .vm = vm, .name = "web" };

	agent = (struct ly_agent){ .loop = &loop };
	WANT_INT(uv_loop_init(&loop), 0);
	site_make("south");
	agent.ids = site_host("north", "h");
	agent.self = ly_identity_self(agent.ids);
	north_m = member("north-m", "north", "spiffe://north/manager/m");
	south_m = member("south-m", "south", "spiffe://south/manager/m");
	north_b = member("north-b", "north", host_b);
	ly_print(agent.conf.state, sizeof(agent.conf.state), "%s",
	    site_path("state%u", turn++));
	SITE_OK(ly_file_mkdir(agent.conf.state, 0700, &why));
	ly_copy(agent.conf.vault, sizeof(agent.conf.vault), "none");
	agent.conf.tpms = tpms;
	agent.conf.tpms_n = LY_COUNT(tpms);
	ly_print(tpms[0].name, LY_NAME_MAX, "chip");
	ly_print(tpms[0].tcti, sizeof(tpms[0].tcti), "socket:%s",
	    site_path("no-tpm"));
	SITE_OK(ly_homes_open(&agent, &agent.homes, &why));
	bound = 0;
	ly_homes_bind(agent.homes, &m, on_bound, NULL);
	while (!bound)
		WANT(uv_run(&loop, UV_RUN_ONCE) || bound);
}

static void
leave(struct ly_visitor *v)
{
	ly_visitor_free(v);
	ly_homes_close(agent.homes);
	uv_run(&loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&loop), 0);
	ly_identity_free(agent.ids);
	ly_identity_free(north_m);
	ly_identity_free(south_m);
	ly_identity_free(north_b);
}

static struct ly_visitor *
visitor(const char *who)
{
	return ly_visitor_new(agent.homes, who, on_say, NULL);
}

static struct ly_ticket
good(void)
{
	struct ly_ticket t = { .vm = vm,
		.rights = LY_MAY_ATTACH,
		.to_epoch = 1,
		.expires = (uint64_t)time(NULL) + 60 };

	ly_copy(t.home, sizeof(t.home), home_id);
	ly_copy(t.holder, sizeof(t.holder), host_a);
	return t;
}

static uint8_t object[LY_TICKET_MAX];
static size_t object_len;

static void
sign(struct ly_identity *by, const struct ly_ticket *t)
{
	uint8_t tagged[LY_TICKET_MAX];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));

	ly_message_put_tagged(&ly_ticket_message, t, &w);
	object_len = sizeof(object);
	SITE_OK(ly_sign(by, LY_TYPE_TICKET, tagged, ly_wr_len(&w), object,
	    &object_len, &why));
}

/* What the home says to an ATTACH with what was signed last. */
static enum ly_rc
shows(struct ly_visitor *v)
{
	union ly_any m = { .attach = { .vm = vm,
			       .ticket = { object, object_len } } };
	unsigned n = heard + 1;
	struct ly_why why = { "" };
	enum ly_rc rc = ly_visitor_hear(v, LY_ATTACH, &m, &why);

	if (rc != LY_OK)
		return rc;
	while (heard < n)
		WANT(uv_run(&loop, UV_RUN_ONCE) || heard >= n);
	return (enum ly_rc)granted.rc;
}

static enum ly_rc
signed_by(struct ly_identity *by, struct ly_ticket t, struct ly_visitor *v)
{
	sign(by, &t);
	return shows(v);
}

TEST(a_ticket_is_good_for_what_it_says_and_for_nothing_else)
{
	struct ly_visitor *v;
	struct ly_ticket t;
	uint64_t now = (uint64_t)time(NULL);

	ly_log_setup("test", false, LY_ERROR);
	scene();
	v = visitor(host_a);
	WANT_INT(signed_by(south_m, good(), v), LY_REFUSED);
	WANT_INT(signed_by(north_b, good(), v), LY_REFUSED); /* no manager */
	t = good();
	t.vm = other_vm;
	WANT_INT(signed_by(north_m, t, v), LY_REFUSED);
	t = good();
	ly_copy(t.home, sizeof(t.home), host_b);
	WANT_INT(signed_by(north_m, t, v), LY_REFUSED);
	t = good();
	ly_copy(t.holder, sizeof(t.holder), host_b);
	WANT_INT(signed_by(north_m, t, v), LY_REFUSED);
	t = good();
	t.expires = now;
	WANT_INT(signed_by(north_m, t, v), LY_REFUSED);
	t = good();
	t.not_before = now + 3600;
	WANT_INT(signed_by(north_m, t, v), LY_REFUSED);
	t = good();
	t.to_epoch = 0;
	WANT_INT(signed_by(north_m, t, v), LY_REFUSED);
	t = good();
	t.from_epoch = 1;
	WANT_INT(signed_by(north_m, t, v), LY_REFUSED);
	t = good();
	t.rights = LY_MAY_MOVE;
	WANT_INT(signed_by(north_m, t, v), LY_REFUSED);
	WANT_INT(signed_by(north_m, good(), v), LY_OK);
	WANT_INT(granted.epoch, 1);
	leave(v);
}

TEST(a_ticket_of_which_a_bit_was_changed_is_refused)
{
	struct ly_ticket t = good();
	struct ly_visitor *v;

	scene();
	v = visitor(host_a);
	sign(north_m, &t);
	for (size_t i = 0; i < object_len; i += 7) {
		object[i] ^= 4;
		WANT_INT(shows(v), LY_REFUSED);
		object[i] ^= 4;
	}
	WANT_INT(shows(v), LY_OK);
	leave(v);
}

TEST(a_ticket_shown_again_when_its_lease_was_given_back_is_refused)
{
	union ly_any m = { .detach = { .epoch = 1 } };
	struct ly_visitor *v;
	struct ly_why why;
	unsigned n;

	scene();
	v = visitor(host_a);
	WANT_INT(signed_by(north_m, good(), v), LY_OK);
	WANT_INT(shows(v), LY_OK); /* its answer was lost: the same again */
	WANT_INT(granted.epoch, 1);
	n = heard;
	WANT_INT(ly_visitor_hear(v, LY_DETACH, &m, &why), LY_OK);
	while (heard == n)
		uv_run(&loop, UV_RUN_ONCE);
	WANT_INT(shows(v), LY_REFUSED);
	leave(v);
}

TEST(a_ticket_of_a_manager_that_was_revoked_is_refused)
{
	struct ly_visitor *v;
	struct ly_revoked r = { .when = 1700000000 };
	uint8_t *der;
	size_t len;
	bool fresh;

	scene();
	v = visitor(host_a);
	ly_copy(r.serial, sizeof(r.serial), ly_identity_self(north_m)->serial);
	SITE_OK(ly_ca_crl(site_path("north.ca.key"), site_path("north.ca.pem"),
	    &r, 1, 1, 3600, &der, &len, &why));
	SITE_OK(ly_identity_crl(agent.ids, "north",
	    (struct ly_bytes){ der, len }, &fresh, &why));
	free(der);
	WANT_INT(signed_by(north_m, good(), v), LY_REFUSED);
	leave(v);
}

TEST(a_host_whose_certificate_has_ended_shows_its_ticket_in_vain)
{
	struct ly_visitor *v;

	scene();
	v = visitor(host_a);
	ly_visitor_foreign(v, (uint64_t)time(NULL));
	WANT_INT(signed_by(north_m, good(), v), LY_REFUSED);
	ly_visitor_free(v);
	v = visitor(host_a); /* it has another */
	ly_visitor_foreign(v, UINT64_MAX);
	WANT_INT(signed_by(north_m, good(), v), LY_OK);
	leave(v);
}

TEST_MAIN()
