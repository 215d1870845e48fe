/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/enrol.h"

#include "agent/io/control.h"
#include "agent/io/evidence.h"
#include "agent/io/links.h"
#include "lib/attest/quote.h"
#include "lib/crypt/cert.h"
#include "lib/io/ca.h"
#include "lib/io/clock.h"
#include "lib/io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_MS 10000 /* whether the papers have ended */
#define PATH_LEN 300

/* What was asked, and what was said to it. */
struct said {
	uint8_t asked[32]; /* of nonce and data */
	uint8_t *at;	   /* NULL: nothing */
	size_t len;
};

struct ly_papers {
	struct ly_agent *agent;
	char key[PATH_LEN], boot[PATH_LEN], cert[PATH_LEN], ak[PATH_LEN],
	    demand[PATH_LEN];
	bool used; /* the agent goes by `cert` and `key` */
	bool known;
	struct ly_chip_keys keys; /* if known: of this boot */
	uint8_t hk[32];		  /* the SPKI of `key`; BEGIN has said it */
	uv_timer_t timer;

	/* The step under way. */
	bool busy;
	uint32_t req;
	uint8_t nonce[32], asked[32];
	uint8_t transcript[32], hmac[32];
	struct ly_context context;
	struct said begun, proved;
};

/* ---- answers ---- */

static void
answer(struct ly_papers *p, uint32_t req, enum ly_rc rc, const char *why,
    struct ly_bytes data)
{
	struct ly_done m = { .req = req, .rc = (uint8_t)rc, .data = data };

	if (rc != LY_OK)
		ly_log(LY_WARNING, "enrol", "%s", why);
	ly_copy(m.why, sizeof(m.why), why);
	ly_control_answer(p->agent->control, &m);
}

/* The step is over. */
static void
over(struct ly_papers *p, enum ly_rc rc, const char *why, struct ly_bytes data)
{
	p->busy = false;
	answer(p, p->req, rc, why, data);
}

static void
settle(struct ly_papers *p, enum ly_rc rc, const char *why)
{
	over(p, rc, why, (struct ly_bytes){ .len = 0 });
}

static void
forget(struct said *s)
{
	free(s->at);
	*s = (struct said){ .at = NULL };
}

static void
keep(struct said *s, const uint8_t asked[32], struct ly_bytes what)
{
	forget(s);
	s->at = malloc(what.len + 1);
	if (!s->at)
		abort();
	memcpy(s->asked, asked, sizeof(s->asked));
	memcpy(s->at, what.at, what.len);
	s->len = what.len;
}

static bool
said_before(const struct said *s, const uint8_t asked[32])
{
	return s->at && memcmp(s->asked, asked, sizeof(s->asked)) == 0;
}

/* A table's message, packed; free() it. */
static struct ly_bytes
pack(const struct ly_message *table, const void *m, uint8_t **buf)
{
	struct ly_wr w;

	*buf = malloc(LY_EVIDENCE_MAX);
	if (!*buf)
		abort();
	w = ly_wr_over(*buf, LY_EVIDENCE_MAX);
	ly_message_put(table, m, &w);
	return (struct ly_bytes){ *buf, w.bad ? 0 : ly_wr_len(&w) };
}

/* ---- the papers in use ---- */

static enum ly_rc
first_ones(struct ly_papers *p, struct ly_why *why)
{
	const struct ly_agent_conf *c = &p->agent->conf;

	p->used = false;
	return ly_identity_adopt(p->agent->ids, c->cert, c->key, why);
}

static void
give_up(struct ly_papers *p, const char *because)
{
	struct ly_why why;

	ly_log(LY_WARNING, "enrol", "%s: as %s goes on", because,
	    p->agent->conf.cert);
	if (first_ones(p, &why) != LY_OK)
		ly_log_alarm("enrol", "%s", why.text);
}

static bool
ended(const struct ly_papers *p)
{
	return p->agent->self->not_after <= ly_wall_s();
}

static void
on_look(uv_timer_t *timer)
{
	struct ly_papers *p = timer->data;

	if (p->used && ended(p)) {
		give_up(p,
		    "the certificate of this host has ended, and there"
		    " is no newer one");
		ly_control_again(p->agent->control);
	}
}

/* Of an agent before us. What is not as it should be is as if it were not. */
static void
take_up(struct ly_papers *p)
{
	struct ly_why why;

	if (access(p->cert, R_OK) != 0)
		return;
	if (ly_identity_adopt(p->agent->ids, p->cert, p->key, &why) != LY_OK) {
		ly_log(LY_WARNING, "enrol", "%s", why.text);
		return;
	}
	p->used = true;
	p->agent->demand = access(p->demand, F_OK) == 0;
	if (!p->agent->self->attested || ended(p))
		give_up(p, "the certificate of this host has ended");
	else
		ly_log(LY_INFO, "enrol", "enrolled, as before");
}

/* ---- which boot ---- */

static void
on_first_keys(void *arg, const struct ly_chip_answer *a)
{
	struct ly_papers *p = arg;
	const struct ly_peer *self = p->agent->self;

	if (a->rc != LY_OK) {
		ly_log(LY_WARNING, "enrol",
		    "this host cannot prove what it is: %s", a->why);
		return;
	}
	p->keys = *a->keys;
	p->known = true;
	if (!p->used)
		return;
	if (self->reset_count != a->keys->resets ||
	    memcmp(self->ak_name, a->keys->ak.name, LY_TPM_NAME) != 0 ||
	    memcmp(self->sk_name, a->keys->sk.name, LY_TPM_NAME) != 0) {
		give_up(p,
		    "the certificate is of another boot, or another"
		    " TPM");
		unlink(p->cert);
		ly_control_again(p->agent->control);
	}
}

static bool
of_this_boot(const struct ly_papers *p)
{
	uint8_t *text;
	size_t len;
	uint64_t resets = UINT64_MAX;

	if (access(p->key, R_OK) != 0 ||
	    ly_file_read(p->boot, 32, &text, &len, NULL) != LY_OK)
		return false;
	if (ly_parse_uint((char *)text, UINT32_MAX, &resets) != LY_OK)
		resets = UINT64_MAX;
	free(text);
	return resets == p->keys.resets;
}

/* The key first: without the boot beside it, it is none. */
static enum ly_rc
need_hk(struct ly_papers *p, struct ly_why *why)
{
	char text[32];
	enum ly_rc rc;

	if (of_this_boot(p))
		return LY_OK;
	unlink(p->boot);
	unlink(p->cert);
	if (p->used)
		give_up(p, "another boot");
	ly_print(text, sizeof(text), "%u", p->keys.resets);
	rc = ly_ca_make_key(p->key, why);
	if (rc == LY_OK)
		rc = ly_file_write(p->boot, text, strlen(text), 0600, why);
	return rc;
}

/* ---- BEGIN ---- */

static void
on_certified(void *arg, const struct ly_chip_answer *a)
{
	struct ly_papers *p = arg;
	uint8_t room[LY_CONTEXT_MAX], over_it[32], *csr = NULL, *buf;
	struct ly_enrol_keys m = {
		.ek_cert = { p->keys.cert, p->keys.cert_len },
		.ek = { p->keys.ek.pub, p->keys.ek.pub_len },
		.ak = { p->keys.ak.pub, p->keys.ak.pub_len },
		.sk = { p->keys.sk.pub, p->keys.sk.pub_len },
	};
	struct ly_bytes data;
	struct ly_why why;

	if (a->rc != LY_OK) {
		settle(p, a->rc, a->why);
		return;
	}
	if (ly_ca_request_of(p->agent->self->id, p->key, &csr, &m.csr.len,
		&why) != LY_OK) {
		settle(p, LY_OUTSIDE, why.text);
		return;
	}
	m.csr.at = csr;
	m.certify = (struct ly_bytes){ a->said->attest, a->said->attest_len };
	memcpy(m.certify_signature, a->said->sig, LY_SIG_RAW);
	ly_qualify_context(&p->context, room, &m.context, over_it);
	data = pack(&ly_enrol_keys_message, &m, &buf);
	keep(&p->begun, p->asked, data);
	forget(&p->proved);
	over(p, LY_OK, "", data);
	free(buf);
	free(csr);
}

static enum ly_rc
read_hk(struct ly_papers *p, struct ly_why *why)
{
	uint8_t *der;
	char *pem;
	size_t len;
	enum ly_rc rc = ly_ca_request_of(p->agent->self->id, p->key, &der, &len,
	    why);

	if (rc != LY_OK)
		return rc;
	rc = ly_ca_read_request(der, len, &pem, p->hk, why);
	if (rc == LY_OK)
		free(pem);
	free(der);
	return rc;
}

static void
context_of(struct ly_papers *p, enum ly_quote_type role)
{
	p->context = (struct ly_context){ .role = (uint8_t)role };
	memcpy(p->context.nonce, p->nonce, sizeof(p->context.nonce));
	memcpy(p->context.hk, p->hk, sizeof(p->context.hk));
	memcpy(p->context.sk_name, p->keys.sk.name, LY_TPM_NAME);
	ly_copy(p->context.self, sizeof(p->context.self), p->agent->self->id);
}

static void
on_keys(void *arg, const struct ly_chip_answer *a)
{
	struct ly_papers *p = arg;
	uint8_t room[LY_CONTEXT_MAX], over_it[32];
	struct ly_bytes tagged;
	struct ly_why why;
	enum ly_rc rc = a->rc;

	if (rc != LY_OK) {
		settle(p, rc, a->why);
		return;
	}
	p->keys = *a->keys;
	p->known = true;
	rc = need_hk(p, &why);
	if (rc == LY_OK)
		rc = read_hk(p, &why);
	if (rc != LY_OK) {
		settle(p, rc, why.text);
		return;
	}
	context_of(p, LY_QUOTE_ENROL_CERTIFY);
	ly_qualify_context(&p->context, room, &tagged, over_it);
	ly_chip_certify(p->agent->chip, over_it, on_certified, p);
}

static void
begin(struct ly_papers *p, const struct ly_enrol *m)
{
	(void)m;
	ly_chip_ready(p->agent->chip, on_keys, p);
}

/* ---- PROVE ---- */

static void
on_proof(void *arg, enum ly_rc rc, const char *why, struct ly_bytes evidence)
{
	struct ly_papers *p = arg;
	struct ly_enrol_proof m = { .evidence = evidence };
	struct ly_bytes data;
	uint8_t *buf;

	if (rc != LY_OK) {
		settle(p, rc, why);
		return;
	}
	memcpy(m.hmac, p->hmac, sizeof(m.hmac));
	data = pack(&ly_enrol_proof_message, &m, &buf);
	keep(&p->proved, p->asked, data);
	over(p, LY_OK, "", data);
	free(buf);
}

/* Knowing the secret is the proof; the MAC ties it to all that was said. */
static void
on_secret(void *arg, const struct ly_chip_answer *a)
{
	struct ly_papers *p = arg;

	if (a->rc != LY_OK) {
		settle(p, a->rc, a->why);
		return;
	}
	ly_hmac(a->bytes.at, a->bytes.len, p->transcript, sizeof(p->transcript),
	    p->hmac);
	context_of(p, LY_QUOTE_ENROL);
	memcpy(p->context.over, p->transcript, sizeof(p->context.over));
	ly_quotes_make(p->agent->quotes, &p->context, true, on_proof, p);
}

static void
prove(struct ly_papers *p, const struct ly_enrol *m)
{
	struct ly_enrol_dare dare;
	struct ly_why why;
	enum ly_rc rc = ly_message_get(&ly_enrol_dare_message, m->data.at,
	    m->data.len, &dare, &why);

	if (rc == LY_OK && !p->begun.at)
		rc = ly_fail(&why, LY_UNKNOWN,
		    "this host has not begun to be enrolled: begin again");
	if (rc != LY_OK) {
		settle(p, rc, why.text);
		return;
	}
	ly_enrol_transcript((struct ly_bytes){ p->begun.at, p->begun.len },
	    m->data, m->nonce, p->transcript);
	ly_chip_activate(p->agent->chip, &dare, on_secret, p);
}

/* ---- RENEW ---- */

static void
on_renewal(void *arg, enum ly_rc rc, const char *why, struct ly_bytes evidence)
{
	over(arg, rc, why, evidence);
}

static void
renew(struct ly_papers *p, const struct ly_enrol *m)
{
	struct ly_why why;
	enum ly_rc rc = LY_OK;

	(void)m;
	if (!p->known || !of_this_boot(p))
		rc = ly_fail(&why, LY_UNKNOWN,
		    "this host was not enrolled in this boot");
	if (rc == LY_OK)
		rc = read_hk(p, &why);
	if (rc != LY_OK) {
		settle(p, rc, why.text);
		return;
	}
	context_of(p, LY_QUOTE_RENEW);
	ly_quotes_make(p->agent->quotes, &p->context, true, on_renewal, p);
}

/* ---- TAKE ---- */

/* The chain ends in the CA that is pinned for our site: ly_identity_vouch(). */
static enum ly_rc
check(struct ly_papers *p, struct ly_bytes pem, struct ly_why *why)
{
	const struct ly_peer *self = p->agent->self;
	struct ly_cert_key key;
	struct ly_peer peer;
	enum ly_rc rc = ly_identity_vouch(p->agent->ids, pem, &peer, why);

	if (rc == LY_OK)
		rc = ly_cert_key(pem.at, pem.len, &key, why);
	if (rc == LY_OK)
		rc = read_hk(p, why);
	if (rc != LY_OK)
		return rc;
	if (strcmp(peer.id, self->id) != 0)
		return ly_fail(why, LY_REFUSED, "a certificate for %s, not %s",
		    peer.id, self->id);
	if (memcmp(key.spki, p->hk, sizeof(p->hk)) != 0)
		return ly_fail(why, LY_REFUSED,
		    "a certificate for another key than this host's");
	if (!peer.attested ||
	    memcmp(peer.ak_name, p->keys.ak.name, LY_TPM_NAME) != 0 ||
	    memcmp(peer.sk_name, p->keys.sk.name, LY_TPM_NAME) != 0)
		return ly_fail(why, LY_REFUSED,
		    "a certificate that names another TPM than this host's");
	if (peer.reset_count != p->keys.resets)
		return ly_fail(why, LY_REFUSED,
		    "a certificate of another boot: the TPM's %u, not its %u",
		    peer.reset_count, p->keys.resets);
	return LY_OK;
}

static enum ly_rc
put_down(struct ly_papers *p, const struct ly_enrol_papers *m,
    struct ly_why *why)
{
	enum ly_rc rc = ly_file_write(p->ak, m->ak_certificate.at,
	    m->ak_certificate.len, 0600, why);

	if (rc == LY_OK)
		rc = ly_file_write(p->cert, m->certificate.at,
		    m->certificate.len, 0600, why);
	if (rc == LY_OK && m->demand)
		rc = ly_file_write(p->demand, "", 0, 0600, why);
	else if (rc == LY_OK)
		unlink(p->demand);
	return rc;
}

static enum ly_rc
adopt(struct ly_papers *p, const struct ly_enrol_papers *m, struct ly_why *why)
{
	struct ly_agent *a = p->agent;
	bool other = !p->used;
	enum ly_rc rc = check(p, m->certificate, why);

	if (rc == LY_OK)
		rc = put_down(p, m, why);
	if (rc == LY_OK)
		rc = ly_identity_adopt(a->ids, p->cert, p->key, why);
	if (rc != LY_OK)
		return rc;
	p->used = true;
	a->demand = m->demand;
	ly_log(LY_NOTICE, "enrol", "%s is enrolled as class %s, until %llu%s",
	    a->self->id, a->self->class_,
	    (unsigned long long)a->self->not_after,
	    a->demand ? "; the site demands papers of others" : "");
	if (other && a->links)
		ly_links_anew(a->links);
	return LY_OK;
}

static void
take(struct ly_papers *p, const struct ly_enrol *m)
{
	struct ly_enrol_papers papers;
	struct ly_why why = { "" };
	enum ly_rc rc = ly_message_get(&ly_enrol_papers_message, m->data.at,
	    m->data.len, &papers, &why);

	if (rc == LY_OK && (!p->known || !of_this_boot(p)))
		rc = ly_fail(&why, LY_UNKNOWN,
		    "this host has not begun to be enrolled: begin again");
	if (rc == LY_OK)
		rc = adopt(p, &papers, &why);
	settle(p, rc, rc == LY_OK ? "" : why.text);
}

/* ---- what our manager asks ---- */

static const struct {
	void (*go)(struct ly_papers *p, const struct ly_enrol *m);
	size_t said; /* what was said to it; 0: is not kept */
} steps[LY_ENROL_STEPS] = {
	[LY_ENROL_BEGIN] = { begin, offsetof(struct ly_papers, begun) },
	[LY_ENROL_PROVE] = { prove, offsetof(struct ly_papers, proved) },
	[LY_ENROL_TAKE] = { take, 0 },
	[LY_ENROL_RENEW] = { renew, 0 },
};

static void
ask(struct ly_papers *p, const struct ly_enrol *m)
{
	const struct ly_bytes parts[] = { { &m->step, 1 },
		{ m->nonce, sizeof(m->nonce) }, m->data };
	const struct said *s = (void *)((char *)p + steps[m->step].said);
	uint8_t asked[32];

	ly_sha256_of(parts, LY_COUNT(parts), asked);
	if (p->busy && memcmp(asked, p->asked, sizeof(asked)) == 0) {
		p->req = m->req; /* its answer is coming */
	} else if (p->busy) {
		answer(p, m->req, LY_BUSY, "another step is under way",
		    (struct ly_bytes){ .len = 0 });
	} else if (steps[m->step].said && said_before(s, asked)) {
		answer(p, m->req, LY_OK, "",
		    (struct ly_bytes){ s->at, s->len });
	} else {
		p->busy = true;
		p->req = m->req;
		memcpy(p->nonce, m->nonce, sizeof(p->nonce));
		memcpy(p->asked, asked, sizeof(p->asked));
		steps[m->step].go(p, m);
	}
}

void
ly_papers_hear(struct ly_agent *agent, const struct ly_enrol *m)
{
	const char *why = NULL;
	struct ly_done d = { .req = m->req, .rc = LY_REFUSED };

	if (!agent->papers)
		why = "this host has no TPM of its own to be enrolled with: set"
		      " `attest`";
	else if (m->step >= LY_ENROL_STEPS || !steps[m->step].go)
		why = "no such step of enrolment";
	if (!why) {
		ask(agent->papers, m);
		return;
	}
	ly_copy(d.why, sizeof(d.why), why);
	ly_control_answer(agent->control, &d);
}

/* ---- opening and closing ---- */

enum ly_rc
ly_papers_open(struct ly_agent *agent, struct ly_papers **out,
    struct ly_why *why)
{
	struct ly_papers *p = calloc(1, sizeof(*p));
	char dir[PATH_LEN - 16];
	enum ly_rc rc;

	if (!p)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	ly_print(dir, sizeof(dir), "%s/.host", agent->conf.run);
	rc = ly_file_mkdir(dir, 0700, why);
	if (rc != LY_OK) {
		free(p);
		return rc;
	}
	p->agent = agent;
	ly_print(p->key, sizeof(p->key), "%s/key.pem", dir);
	ly_print(p->boot, sizeof(p->boot), "%s/boot", dir);
	ly_print(p->cert, sizeof(p->cert), "%s/cert.pem", dir);
	ly_print(p->ak, sizeof(p->ak), "%s/ak.pem", dir);
	ly_print(p->demand, sizeof(p->demand), "%s/demand", dir);
	take_up(p);
	uv_timer_init(agent->loop, &p->timer);
	p->timer.data = p;
	uv_timer_start(&p->timer, on_look, LOOK_MS, LOOK_MS);
	uv_unref((uv_handle_t *)&p->timer);
	ly_chip_ready(agent->chip, on_first_keys, p);
	*out = p;
	return LY_OK;
}

static void
on_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void
ly_papers_close(struct ly_papers *p)
{
	if (!p)
		return;
	forget(&p->begun);
	forget(&p->proved);
	uv_close((uv_handle_t *)&p->timer, on_closed);
}
