/* SPDX-License-Identifier: Apache-2.0 */
/* agent/io/enrol: how a host gets its papers, held against what a manager wants
 * to see, on a swtpm. */
#include "lib/attest/blob.h"
#include "manager/enrol/judge.h"
#include "tests/io/host_scene.h"

/* What the manager knows by now. */
struct desk {
	struct ly_enrol_asked asked;
	struct ly_enrol_facts facts;
	uint8_t *keys;
	size_t keys_len;
	char *csr;
	struct ly_credential_room room;
	uint8_t dare[1024];
	size_t dare_len;
};

static void
ask(struct host *h, enum ly_enrol_step step, const uint8_t nonce[32],
    const void *data, size_t len)
{
	struct ly_enrol m = { .req = ++h->req,
		.step = (uint8_t)step,
		.data = { data, len } };

	memcpy(m.nonce, nonce, sizeof(m.nonce));
	ly_conn_send(h->conn, LY_ENROL, &m);
}

static void
begin(struct host *h, struct desk *d, uint8_t nonce)
{
	struct ly_enrol_keys keys;
	uint8_t hk[32];

	memset(d, 0, sizeof(*d));
	d->asked.self = "spiffe://north/host/h";
	d->asked.nonce[0] = nonce;
	ask(h, LY_ENROL_BEGIN, d->asked.nonce, NULL, 0);
	host_answer(h, h->req, LY_OK, "");
	d->keys = malloc(h->done.len);
	d->keys_len = h->done.len;
	memcpy(d->keys, h->done.data, h->done.len);
	SITE_OK(ly_message_get(&ly_enrol_keys_message, d->keys, d->keys_len,
	    &keys, &why));
	SITE_OK(
	    ly_ca_read_request(keys.csr.at, keys.csr.len, &d->csr, hk, &why));
	SITE_OK(ly_enrol_judge_keys(&keys, &d->asked, hk, &d->facts, &why));
}

static void
dare(struct desk *d, uint8_t nonce)
{
	struct ly_wr w = ly_wr_over(d->dare, sizeof(d->dare));
	struct ly_enrol_dare m;
	struct ly_tpm_key ek;
	uint8_t chance[LY_BLOB_CHANCE];

	d->asked.nonce[0] = nonce;
	ly_random(d->asked.secret, 32);
	ly_random(chance, sizeof(chance));
	SITE_OK(ly_tpm_key_read(LY_TPM_EK,
	    (struct ly_bytes){ d->facts.ek.area, d->facts.ek.len }, &ek, &why));
	SITE_OK(ly_credential_make(&ek, d->facts.ak.name, d->asked.secret, 32,
	    chance, &d->room, &m, &why));
	ly_message_put(&ly_enrol_dare_message, &m, &w);
	d->dare_len = ly_wr_len(&w);
	ly_enrol_transcript((struct ly_bytes){ d->keys, d->keys_len },
	    (struct ly_bytes){ d->dare, d->dare_len }, d->asked.nonce,
	    d->asked.transcript);
}

static void
prove(struct host *h, struct desk *d, uint8_t nonce)
{
	struct ly_enrol_proof proof;

	dare(d, nonce);
	ask(h, LY_ENROL_PROVE, d->asked.nonce, d->dare, d->dare_len);
	host_answer(h, h->req, LY_OK, "");
	SITE_OK(ly_message_get(&ly_enrol_proof_message, h->done.data,
	    h->done.len, &proof, &why));
	SITE_OK(ly_enrol_judge_proof(&proof, &d->asked, &d->facts, &why));
}

/* What the site's CA would say of this host, but for what a test changes. */
static struct ly_peer
host_of(const struct desk *d)
{
	struct ly_peer p;

	SITE_OK(ly_spiffe_parse(d->asked.self, &p, &why));
	p.attested = true;
	ly_copy(p.class_, sizeof(p.class_), "compute");
	memcpy(p.ak_name, d->facts.ak.name, sizeof(p.ak_name));
	memcpy(p.sk_name, d->facts.sk.name, sizeof(p.sk_name));
	p.reset_count = d->facts.reset_count;
	p.restart_count = d->facts.restart_count;
	return p;
}

static void
give(struct host *h, const struct desk *d, const struct ly_peer *host,
    unsigned seconds, bool demand, enum ly_rc rc, const char *part)
{
	struct ly_enrol_papers m = { .demand = demand };
	uint8_t buf[8192];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	char *cert;

	SITE_OK(ly_ca_sign_host(site_path("north.ca.key"),
	    site_path("north.ca.pem"), d->csr, host, seconds, &cert, &why));
	m.certificate = (struct ly_bytes){ (uint8_t *)cert, strlen(cert) };
	m.ak_certificate = m.certificate;
	ly_message_put(&ly_enrol_papers_message, &m, &w);
	WANT(!w.bad);
	ask(h, LY_ENROL_TAKE, d->asked.nonce, buf, ly_wr_len(&w));
	host_answer(h, h->req, rc, part);
	free(cert);
}

static void
done(struct desk *d)
{
	free(d->keys);
	free(d->csr);
}

static void
enrolled(struct host *h, struct desk *d, unsigned seconds, bool demand)
{
	struct ly_peer host;

	begin(h, d, 1);
	prove(h, d, 2);
	host = host_of(d);
	give(h, d, &host, seconds, demand, LY_OK, "");
	WANT(h->a.self->attested);
}

static void
renews(struct host *h, struct desk *d, uint8_t nonce)
{
	struct ly_evidence ev;

	d->asked.nonce[0] = nonce;
	ask(h, LY_ENROL_RENEW, d->asked.nonce, NULL, 0);
	host_answer(h, h->req, LY_OK, "");
	SITE_OK(ly_message_get(&ly_evidence_message, h->done.data, h->done.len,
	    &ev, &why));
	SITE_OK(ly_enrol_judge_renewal(&ev, &d->asked, &d->facts, &why));
}

TEST(a_host_proves_which_TPM_it_has_and_takes_its_papers)
{
	struct ly_peer host;
	struct desk d;
	struct host h;

	host_power_on(&h);
	enrolled(&h, &d, 3600, true);
	WANT_STR(h.a.self->class_, "compute");
	WANT(h.a.demand);
	renews(&h, &d, 3);
	host = host_of(&d);
	give(&h, &d, &host, 7200, false, LY_OK, "");
	WANT(h.a.self->not_after > ly_wall_s() + 7000);
	WANT(!h.a.demand);
	done(&d);
	host_power_off(&h);
}

TEST(a_step_asked_twice_is_answered_alike)
{
	struct host_done first;
	struct desk d;
	struct host h;

	host_power_on(&h);
	begin(&h, &d, 1);
	ask(&h, LY_ENROL_BEGIN, d.asked.nonce, NULL, 0);
	host_answer(&h, h.req, LY_OK, "");
	WANT_INT(h.done.len, d.keys_len);
	WANT_MEM(h.done.data, d.keys, d.keys_len);
	prove(&h, &d, 2);
	first = h.done;
	h.done.data = NULL;
	ask(&h, LY_ENROL_PROVE, d.asked.nonce, d.dare, d.dare_len);
	host_answer(&h, h.req, LY_OK, "");
	WANT_INT(h.done.len, first.len);
	WANT_MEM(h.done.data, first.data, first.len);
	free(first.data);
	done(&d);
	host_power_off(&h);
}

TEST(one_step_at_a_time_and_none_before_the_first)
{
	struct desk d;
	struct host h;
	uint8_t other[32] = { 9 };
	uint32_t busy;

	host_power_on(&h);
	begin(&h, &d, 1);
	host_agent_off(&h);
	host_agent_on(&h);
	dare(&d, 2);
	ask(&h, LY_ENROL_PROVE, d.asked.nonce, d.dare, d.dare_len);
	host_answer(&h, h.req, LY_UNKNOWN, "begin again");
	ask(&h, LY_ENROL_BEGIN, d.asked.nonce, NULL, 0);
	ask(&h, LY_ENROL_BEGIN, other, NULL, 0);
	busy = h.req;
	host_answer(&h, busy, LY_BUSY, "under way");
	host_answer(&h, busy - 1, LY_OK, "");
	done(&d);
	host_power_off(&h);
}

TEST(a_challenge_for_another_key_is_not_answered)
{
	struct desk d, other;
	struct host h;

	host_power_on(&h);
	begin(&h, &d, 1);
	other = d;
	other.facts.ak.name[5] ^= 1;
	dare(&other, 2);
	ask(&h, LY_ENROL_PROVE, other.asked.nonce, other.dare, other.dare_len);
	host_answer(&h, h.req, LY_REFUSED, "another attestation key");
	prove(&h, &d, 3);
	done(&d);
	host_power_off(&h);
}

TEST(papers_that_are_not_ours_are_not_taken)
{
	struct ly_peer host, wrong;
	struct desk d, other;
	struct host h;
	char *csr;
	uint8_t *der, spki[32];
	size_t len;

	host_power_on(&h);
	begin(&h, &d, 1);
	prove(&h, &d, 2);
	host = host_of(&d);
	wrong = host;
	wrong.ak_name[5] ^= 1;
	give(&h, &d, &wrong, 3600, false, LY_REFUSED, "another TPM");
	wrong = host;
	wrong.sk_name[5] ^= 1;
	give(&h, &d, &wrong, 3600, false, LY_REFUSED, "another TPM");
	wrong = host;
	wrong.reset_count++;
	give(&h, &d, &wrong, 3600, false, LY_REFUSED, "another boot");
	wrong = host;
	SITE_OK(ly_spiffe_parse("spiffe://north/host/x", &wrong, &why));
	wrong.attested = true;
	memcpy(wrong.class_, host.class_, sizeof(host.class_));
	memcpy(wrong.ak_name, host.ak_name, sizeof(host.ak_name));
	memcpy(wrong.sk_name, host.sk_name, sizeof(host.sk_name));
	give(&h, &d, &wrong, 3600, false, LY_REFUSED, "north/host/x");
	SITE_OK(ly_ca_make_key(site_path("x.key"), &why));
	SITE_OK(
	    ly_ca_request_of(host.id, site_path("x.key"), &der, &len, &why));
	SITE_OK(ly_ca_read_request(der, len, &csr, spki, &why));
	other = d;
	other.csr = csr;
	give(&h, &other, &host, 3600, false, LY_REFUSED, "another key");
	WANT(!h.a.self->attested);
	give(&h, &d, &host, 3600, false, LY_OK, "");
	free(csr);
	free(der);
	done(&d);
	host_power_off(&h);
}

TEST(an_agent_that_is_started_again_has_its_papers)
{
	struct desk d, again;
	struct host h;

	host_power_on(&h);
	enrolled(&h, &d, 3600, true);
	host_agent_off(&h);
	host_agent_on(&h);
	WANT(h.a.self->attested);
	WANT(h.a.demand);
	WANT(ly_conn_peer(h.conn)->attested); /* from its first connection on */
	begin(&h, &again, 7);
	WANT_MEM(again.facts.hk, d.facts.hk, 32); /* the same key */
	renews(&h, &d, 3);
	done(&d);
	done(&again);
	host_power_off(&h);
}

TEST(another_boot_is_another_key_and_no_papers)
{
	struct desk d, again;
	struct host h;

	host_power_on(&h);
	enrolled(&h, &d, 3600, false);
	host_reboot(&h);
	host_as_first(&h);
	ask(&h, LY_ENROL_RENEW, d.asked.nonce, NULL, 0);
	host_answer(&h, h.req, LY_UNKNOWN, "not enrolled in this boot");
	begin(&h, &again, 1);
	WANT(again.facts.reset_count == d.facts.reset_count + 1);
	WANT(memcmp(again.facts.hk, d.facts.hk, 32) != 0);
	done(&d);
	done(&again);
	host_power_off(&h);
}

/* Else its manager, which does not believe an ended certificate, could never
 * give it another. */
TEST(when_the_papers_have_ended_the_first_ones_serve_again)
{
	struct desk d;
	struct host h;

	host_power_on(&h);
	enrolled(&h, &d, 2, false);
	host_agent_off(&h);
	sleep(3);
	host_agent_on(&h);
	WANT(!h.a.self->attested);
	done(&d);
	begin(&h, &d, 4);
	done(&d);
	host_power_off(&h);
}

TEST_MAIN()
