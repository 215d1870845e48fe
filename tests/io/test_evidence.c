/* SPDX-License-Identifier: Apache-2.0 */
/* agent/io/evidence: what a host answers to a manager's call, on a swtpm. */
#include "agent/io/launch.h"
#include "lib/attest/appraise.h"
#include "tests/io/host_scene.h"

#define SELF "spiffe://north/host/h"

static const char definition[] = "{\"memory_mb\": 64}";

static struct ly_call
call_of(struct host *h, uint8_t nonce, uint8_t mig)
{
	struct ly_call c = { .mig = { { mig } },
		.source = SELF,
		.not_before = ly_wall_s(),
		.expires = ly_wall_s() + 60,
		.nonce = { nonce } };

	(void)h;
	if (mig) {
		c.vm = (struct ly_id){ { 5 } };
		c.epoch = 3;
		ly_copy(c.source, sizeof(c.source), "spiffe://north/host/s");
		ly_copy(c.home, sizeof(c.home), "spiffe://north/host/o");
		ly_copy(c.dest, sizeof(c.dest), SELF);
	}
	return c;
}

/* The newest call as it was signed: no two signatures are the same. */
static uint8_t object[4096];
static size_t object_len;

static void
send_call(struct host *h, uint8_t role, const struct ly_call *c,
    const char *json)
{
	ly_conn_send(h->conn, LY_QUOTE,
	    &(struct ly_quote){ .req = ++h->req,
		.vm = c->vm,
		.mig = c->mig,
		.role = role,
		.call = { object, object_len },
		.definition = { (const uint8_t *)json, strlen(json) } });
}

static void
ask_by(struct host *h, struct ly_identity *signer, uint8_t role,
    const struct ly_call *c, const char *json)
{
	uint8_t tagged[2048];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));

	object_len = sizeof(object);
	ly_message_put_tagged(&ly_call_message, c, &w);
	SITE_OK(ly_sign(signer, LY_TYPE_CALL, tagged, ly_wr_len(&w), object,
	    &object_len, &why));
	send_call(h, role, c, json);
}

static void
ask(struct host *h, uint8_t role, const struct ly_call *c, enum ly_rc rc,
    const char *part)
{
	ask_by(h, h->manager, role, c, role == LY_AS_DEST ? definition : "");
	host_answer(h, h->req, rc, part);
}

/* The answer is evidence to that call, but for whether it is approved. */
static struct ly_context
good(struct host *h, uint8_t role, const struct ly_call *c)
{
	struct ly_appraise_host host = { .id = SELF };
	struct ly_quote_want want = { .any_boot = true };
	struct ly_context wanted, have;
	struct ly_evidence ev;
	struct ly_tpm_key ak, sk;
	uint32_t open;

	SITE_OK(ly_message_get(&ly_evidence_message, h->done.data, h->done.len,
	    &ev, &why));
	SITE_OK(ly_tpm_key_read(LY_TPM_AK, ev.ak, &ak, &why));
	SITE_OK(ly_tpm_key_read(LY_TPM_SK, ev.sk, &sk, &why));
	memcpy(host.sk_name, sk.name, LY_TPM_NAME);
	SITE_OK(ly_own_hk(h->a.ids, host.hk, &why));
	SITE_OK(ly_appraise_want(c, role, &host, &wanted, &open, &why));
	want.type = wanted.role;
	want.ak = &ak;
	SITE_OK(ly_quote_check(&ev, &want, NULL, &why));
	SITE_OK(ly_evidence_context(&ev, &have, &why));
	SITE_OK(ly_context_match(&have, &wanted, open, &why));
	WANT_INT(ev.certificate.len, ly_identity_papers(h->a.ids).len);
	return have;
}

TEST(a_host_proves_itself_with_the_log_of_its_boot)
{
	struct ly_evidence ev;
	struct ly_call c;
	struct host h;

	host_power_on(&h);
	ly_copy(h.a.conf.eventlog, sizeof(h.a.conf.eventlog),
	    site_path("eventlog"));
	SITE_OK(ly_file_write(h.a.conf.eventlog, "events", 6, 0600, &why));
	c = call_of(&h, 1, 0);
	ask(&h, LY_AS_PLACE, &c, LY_OK, "");
	good(&h, LY_AS_PLACE, &c);
	SITE_OK(ly_message_get(&ly_evidence_message, h.done.data, h.done.len,
	    &ev, &why));
	WANT_INT(ev.log.len, 6);
	WANT_MEM(ev.log.at, "events", 6);
	unlink(h.a.conf.eventlog);
	c = call_of(&h, 2, 0);
	ask(&h, LY_AS_PLACE, &c, LY_OK, "");
	good(&h, LY_AS_PLACE, &c);
	host_power_off(&h);
}

TEST(the_same_nonce_has_the_same_answer)
{
	uint8_t *first;
	size_t len;
	struct ly_call c;
	struct host h;

	host_power_on(&h);
	c = call_of(&h, 1, 0);
	ask(&h, LY_AS_PLACE, &c, LY_OK, "");
	len = h.done.len;
	first = ly_take(h.done.data);
	ask(&h, LY_AS_PLACE, &c, LY_OK, "");
	WANT_INT(h.done.len, len);
	WANT_MEM(h.done.data, first, len);
	free(first);

	c = call_of(&h, 1, 7); /* kept by the keys */
	ask(&h, LY_AS_DEST, &c, LY_OK, "");
	len = h.done.len;
	first = ly_take(h.done.data);
	send_call(&h, LY_AS_DEST, &c, definition);
	host_answer(&h, h.req, LY_OK, "");
	WANT_INT(h.done.len, len);
	WANT_MEM(h.done.data, first, len);
	free(first);
	c = call_of(&h, 2, 7);
	ask(&h, LY_AS_DEST, &c, LY_REFUSED, "nonce");
	host_power_off(&h);
}

/* None of them keeps anything back that a good one would need. */
TEST(a_call_that_is_not_for_us_is_refused)
{
	struct ly_identity *host;
	struct ly_call c;
	struct host h;

	host_power_on(&h);
	host = site_host("north", "x");
	c = call_of(&h, 1, 0);
	ask_by(&h, host, LY_AS_PLACE, &c, "");
	host_answer(&h, h.req, LY_REFUSED, "not by");
	c.expires = ly_wall_s() - 1;
	ask(&h, LY_AS_PLACE, &c, LY_REFUSED, "expired");
	c = call_of(&h, 1, 0);
	ask(&h, LY_AS_DEST, &c, LY_REFUSED, "not this host");
	c = call_of(&h, 1, 7);
	ask(&h, LY_AS_SOURCE, &c, LY_REFUSED, "not this host");
	ly_copy(c.source, sizeof(c.source), SELF);
	ly_copy(c.dest, sizeof(c.dest), "spiffe://north/host/s");
	ask(&h, LY_AS_SOURCE, &c, LY_REFUSED, "does not run on this host");
	ly_copy(c.home, sizeof(c.home), SELF);
	ask(&h, LY_AS_HOME, &c, LY_UNKNOWN, "its home here");
	c = call_of(&h, 1, 0);
	ask(&h, LY_AS_PLACE, &c, LY_OK, "");
	ly_identity_free(host);
	host_power_off(&h);
}

TEST(a_destination_says_what_it_would_start)
{
	static const uint8_t none[32];
	struct ly_context a, b;
	struct ly_call c;
	struct host h;

	host_power_on(&h);
	c = call_of(&h, 1, 7);
	ask(&h, LY_AS_DEST, &c, LY_OK, "");
	a = good(&h, LY_AS_DEST, &c);
	WANT(memcmp(a.launch, none, sizeof(none)) != 0);
	c = call_of(&h, 1, 8);
	ask_by(&h, h.manager, LY_AS_DEST, &c, "{\"memory_mb\": 65}");
	host_answer(&h, h.req, LY_OK, "");
	b = good(&h, LY_AS_DEST, &c);
	WANT(memcmp(a.launch, b.launch, sizeof(none)) != 0);
	c = call_of(&h, 1, 9);
	ask_by(&h, h.manager, LY_AS_DEST, &c, "{\"memory_gb\": 65}");
	host_answer(&h, h.req, LY_REFUSED, "memory_gb");
	host_power_off(&h);
}

TEST(a_host_that_does_not_attest_says_so)
{
	struct ly_quotes *quotes;
	struct ly_papers *papers;
	struct ly_call c;
	struct host h;

	host_power_on(&h);
	quotes = ly_take(h.a.quotes);
	papers = ly_take(h.a.papers);
	c = call_of(&h, 1, 0);
	ask(&h, LY_AS_PLACE, &c, LY_REFUSED, "set `attest`");
	ly_conn_send(h.conn, LY_ENROL,
	    &(struct ly_enrol){ .req = ++h.req, .step = LY_ENROL_BEGIN });
	host_answer(&h, h.req, LY_REFUSED, "set `attest`");
	h.a.quotes = quotes;
	h.a.papers = papers;
	host_power_off(&h);
}

/* ---- what would be started ---- */

struct told {
	unsigned n;
	enum ly_rc rc;
	uint8_t digest[32];
};

static void
on_told(void *arg, enum ly_rc rc, const char *why, const uint8_t digest[32])
{
	struct told *t = arg;

	(void)why;
	t->n++;
	t->rc = rc;
	memcpy(t->digest, digest, sizeof(t->digest));
}

static struct told
launch(uv_loop_t *loop, struct ly_launch *l, const char *json)
{
	const struct ly_id vm = { { 1 } };
	struct told t = { .n = 0 };

	ly_launch_digest(l, &vm,
	    (struct ly_bytes){ (const uint8_t *)json, strlen(json) }, on_told,
	    &t);
	WANT_INT(t.n, 0);
	uv_run(loop, UV_RUN_DEFAULT);
	WANT_INT(t.n, 1);
	return t;
}

TEST(a_digest_of_what_is_started_changes_with_each_part_of_it)
{
	struct ly_launch *l;
	struct told a, b;
	uv_loop_t loop;
	char json[300];

	uv_loop_init(&loop);
	SITE_OK(ly_file_write(site_path("qemu"), "one", 3, 0700, &why));
	SITE_OK(ly_file_write(site_path("fw"), "one", 3, 0700, &why));
	ly_print(json, sizeof(json),
	    "{\"memory_mb\": 64, \"firmware\": \"%s\"}", site_path("fw"));
	l = ly_launch_open(&loop, site_path("qemu"));
	a = launch(&loop, l, json);
	WANT_INT(a.rc, LY_OK);
	b = launch(&loop, l, json);
	WANT_MEM(a.digest, b.digest, 32);
	SITE_OK(ly_file_write(site_path("qemu"), "two", 3, 0700, &why));
	b = launch(&loop, l, json);
	WANT(memcmp(a.digest, b.digest, 32) != 0);
	SITE_OK(ly_file_write(site_path("fw"), "two", 3, 0700, &why));
	a = launch(&loop, l, json);
	WANT(memcmp(a.digest, b.digest, 32) != 0);
	unlink(site_path("fw"));
	WANT_INT(launch(&loop, l, json).rc, LY_REFUSED);
	ly_launch_close(l);
	uv_run(&loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&loop), 0);
}

TEST_MAIN()
