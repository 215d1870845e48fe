/* SPDX-License-Identifier: Apache-2.0 */
/* Making evidence; what a manager asks for is in evidence_ask.c. */
#include "agent/io/evidence_in.h"

#include "lib/crypt/cert.h"
#include "lib/io/file.h"

#include <stdlib.h>

struct making {
	struct making *next;
	struct ly_quotes *q;
	struct ly_context c;
	uint8_t room[LY_CONTEXT_MAX];
	struct ly_bytes tagged;
	bool log;
	ly_quotes_told *told;
	void *arg;
};

static void
take_out(struct making *m)
{
	struct making **at = &m->q->makings;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
}

static void
over(struct making *m, enum ly_rc rc, const char *why, struct ly_bytes evidence)
{
	take_out(m);
	m->told(m->arg, rc, why, evidence);
	free(m);
}

/* One that is not there, or is too large to travel, is none: it is the
 * verifier's to want one. */
static struct ly_bytes
read_log(struct ly_quotes *q, uint8_t **buf)
{
	struct ly_why why;
	size_t len = 0;
	enum ly_rc rc;

	*buf = NULL;
	if (!*q->agent->conf.eventlog)
		return (struct ly_bytes){ .len = 0 };
	rc = ly_file_read(q->agent->conf.eventlog, LY_LOG_MAX, buf, &len, &why);
	if (rc == LY_OK)
		return (struct ly_bytes){ .at = *buf, .len = len };
	if (!q->log_said)
		ly_log(LY_WARNING, "evidence", "no event log: %s", why.text);
	q->log_said = true;
	*buf = NULL;
	return (struct ly_bytes){ .len = 0 };
}

static void
on_quoted(void *arg, const struct ly_chip_answer *a)
{
	struct making *m = arg;
	struct ly_quotes *q = m->q;
	struct ly_evidence ev = { .context = m->tagged };
	uint8_t *buf, *log = NULL;
	struct ly_wr w;

	if (a->rc != LY_OK) {
		q->ready = false; /* perhaps it is another TPM by now */
		over(m, a->rc, a->why, (struct ly_bytes){ .len = 0 });
		return;
	}
	ev.quote = (struct ly_bytes){ a->said->attest, a->said->attest_len };
	memcpy(ev.signature, a->said->sig, sizeof(ev.signature));
	ev.pcr_mask = a->said->mask;
	ev.pcrs = (struct ly_bytes){ a->said->pcr[0], a->said->pcrs_n * 32 };
	ev.ak = (struct ly_bytes){ q->keys.ak.pub, q->keys.ak.pub_len };
	ev.sk = (struct ly_bytes){ q->keys.sk.pub, q->keys.sk.pub_len };
	ev.certificate = ly_identity_papers(q->agent->ids);
	if (m->log)
		ev.log = read_log(q, &log);
	buf = malloc(LY_EVIDENCE_MAX);
	if (!buf)
		abort();
	w = ly_wr_over(buf, LY_EVIDENCE_MAX);
	ly_message_put(&ly_evidence_message, &ev, &w);
	if (w.bad)
		over(m, LY_FULL, "evidence too large to travel",
		    (struct ly_bytes){ .len = 0 });
	else
		over(m, LY_OK, "", (struct ly_bytes){ buf, ly_wr_len(&w) });
	free(log);
	free(buf);
}

enum ly_rc
ly_own_hk(const struct ly_identity *ids, uint8_t hk[32], struct ly_why *why)
{
	struct ly_bytes pem = ly_identity_papers(ids);
	struct ly_cert_key key;
	enum ly_rc rc = ly_cert_key(pem.at, pem.len, &key, why);

	if (rc == LY_OK)
		memcpy(hk, key.spki, 32);
	return rc;
}

static void
quote(struct making *m)
{
	static const uint8_t none[32];
	struct ly_quotes *q = m->q;
	struct ly_why why;
	uint8_t over_it[32];
	enum ly_rc rc = LY_OK;

	if (memcmp(m->c.hk, none, sizeof(none)) == 0)
		rc = ly_own_hk(q->agent->ids, m->c.hk, &why);
	if (rc != LY_OK) {
		over(m, rc, why.text, (struct ly_bytes){ .len = 0 });
		return;
	}
	ly_copy(m->c.self, sizeof(m->c.self), q->agent->self->id);
	memcpy(m->c.sk_name, q->keys.sk.name, sizeof(m->c.sk_name));
	ly_qualify_context(&m->c, m->room, &m->tagged, over_it);
	ly_chip_quote(q->agent->chip, over_it, LY_SEALED_PCRS, on_quoted, m);
}

static void
on_ready(void *arg, const struct ly_chip_answer *a)
{
	struct making *m = arg;

	if (a->rc != LY_OK) {
		over(m, a->rc, a->why, (struct ly_bytes){ .len = 0 });
		return;
	}
	m->q->keys = *a->keys;
	m->q->ready = true;
	quote(m);
}

void
ly_quotes_make(struct ly_quotes *q, const struct ly_context *c, bool log,
    ly_quotes_told *told, void *arg)
{
	struct making *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	*m = (struct making){ .next = q->makings,
		.q = q,
		.c = *c,
		.log = log,
		.told = told,
		.arg = arg };
	q->makings = m;
	if (q->ready)
		quote(m);
	else
		ly_chip_ready(q->agent->chip, on_ready, m);
}

struct ly_quotes *
ly_quotes_open(struct ly_agent *agent)
{
	struct ly_quotes *q = calloc(1, sizeof(*q));

	if (!q)
		abort();
	q->agent = agent;
	q->launch = ly_launch_open(agent->loop, agent->conf.qemu);
	return q;
}

void
ly_quotes_close(struct ly_quotes *q)
{
	struct making *m;

	if (!q)
		return;
	while ((m = q->makings)) {
		q->makings = m->next;
		free(m);
	}
	ly_launch_close(q->launch);
	ly_asked_fini(q);
	free(q);
}
