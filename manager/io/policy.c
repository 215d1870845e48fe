/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/io/policy_in.h"

#include "lib/crypt/cert.h"
#include "lib/io/file.h"
#include "manager/io/enrol.h"
#include "manager/io/record.h"

#include <stdlib.h>

/* ---- opening ---- */

enum ly_rc
ly_policy_open(struct ly_manager *m, struct ly_why *why)
{
	struct ly_policy_shell *p = calloc(1, sizeof(*p));
	char dir[320], trust[320], sub[320];
	enum ly_rc rc;

	if (!p)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	m->policy = p;
	rc = ly_approvals_open(ly_manager_file(m, "approved", dir),
	    ly_manager_file(m, "trust", trust), &p->lists, why);
	if (rc == LY_OK)
		rc = ly_file_mkdir(ly_manager_file(m, "approved/hosts", sub),
		    0700, why);
	if (rc == LY_OK)
		rc = ly_file_mkdir(ly_manager_file(m, "approved/logs", sub),
		    0700, why);
	return rc;
}

void
ly_policy_close(struct ly_manager *m)
{
	if (!m->policy)
		return;
	ly_approvals_free(m->policy->lists);
	free(m->policy->log);
	free(m->policy);
	m->policy = NULL;
}

const struct ly_approved *
ly_policy_list(struct ly_manager *m, const char *site)
{
	return ly_approvals_of(m->policy->lists, site);
}

struct ly_bytes
ly_policy_bytes(struct ly_manager *m, const char *site)
{
	return ly_approvals_bytes(m->policy->lists, site);
}

enum ly_rc
ly_policy_name(struct ly_manager *m, const char *site,
    uint8_t name[LY_TPM_NAME], struct ly_why *why)
{
	struct ly_point key;
	enum ly_rc rc = ly_approvals_key(m->policy->lists, site, &key, why);

	if (rc == LY_OK)
		ly_tpm_authority_name(&key, name);
	return rc;
}

/* ---- what hosts were last seen in ---- */

static const char *
evidence_file(const struct ly_manager *m, const char *host, char out[320])
{
	char name[LY_NAME_MAX + 40];

	ly_print(name, sizeof(name), "approved/hosts/%s.evidence", host);
	return ly_manager_file(m, name, out);
}

void
ly_policy_note(struct ly_manager *m, const char *host,
    const struct ly_evidence *ev)
{
	uint8_t *buf = malloc(LY_EVIDENCE_MAX);
	struct ly_wr w = ly_wr_over(buf, buf ? LY_EVIDENCE_MAX : 0);
	char path[320];
	struct ly_why why = { "out of memory, or more than it may be" };

	ly_message_put(&ly_evidence_message, ev, &w);
	if (w.bad ||
	    ly_file_write(evidence_file(m, host, path), buf, ly_wr_len(&w),
		0600, &why) != LY_OK)
		ly_log(LY_WARNING, "policy",
		    "the evidence of %s is not kept: %s", host, why.text);
	free(buf);
}

enum ly_rc
ly_policy_noted(struct ly_manager *m, const char *host, struct ly_evidence *out,
    uint8_t **bytes, struct ly_why *why)
{
	char path[320];
	size_t len;
	enum ly_rc rc = ly_file_read(evidence_file(m, host, path),
	    LY_EVIDENCE_MAX, bytes, &len, why);

	if (rc == LY_UNKNOWN)
		return ly_fail(why, LY_UNKNOWN,
		    "host %s has not shown its state yet", host);
	if (rc != LY_OK)
		return rc;
	rc = ly_message_get(&ly_evidence_message, *bytes, len, out, why);
	if (rc != LY_OK) {
		free(*bytes);
		*bytes = NULL;
		return ly_fail_in(why, rc, "%s", path);
	}
	return LY_OK;
}

/* ---- telling ---- */

/* None is told too: who has one sends it back. */
static void
tell(struct ly_manager *m, struct ly_conn *c, const char *site)
{
	struct ly_approved_told t = { .list = ly_policy_bytes(m, site) };

	ly_copy(t.site, sizeof(t.site), site);
	ly_conn_send(c, LY_APPROVED, &t);
}

void
ly_policy_tell_agent(struct ly_manager *m, struct ly_conn *c)
{
	const char *site;

	tell(m, c, m->conf.site);
	for (unsigned i = 0; (site = ly_approvals_site(m->policy->lists, i));
	     i++)
		if (strcmp(site, m->conf.site) != 0)
			tell(m, c, site);
}

void
ly_policy_tell_site(struct ly_manager *m, struct ly_conn *c)
{
	tell(m, c, m->conf.site);
}

/* A new list of a site: it is in force whatever else happens, so the record
 * hears of it after. */
static void
note_list(struct ly_manager *m, const char *site)
{
	const struct ly_approved *list = ly_policy_list(m, site);
	struct ly_bytes bytes = ly_policy_bytes(m, site);
	uint8_t sha256[32];
	char hex[HEX_LEN], text[LY_WHY_MAX];

	if (!list)
		return;
	ly_sha256(bytes.at, bytes.len, sha256);
	ly_hex(sha256, sizeof(sha256), hex);
	ly_print(text, sizeof(text),
	    "list %llu, generation %llu, of %u approved states",
	    (unsigned long long)list->serial,
	    (unsigned long long)list->generation, list->n);
	ly_record_note(m,
	    &(struct ly_record_event){ .kind = LY_RECORD_POLICY_LIST,
		.subject = site,
		.name = hex,
		.text = text });
}

static void
spread(struct ly_manager *m, const char *site)
{
	bool ours = strcmp(site, m->conf.site) == 0;
	struct ly_host *h;

	note_list(m, site);
	for (uint32_t i = 0; (h = ly_roster_next_host(&m->roster, &i));)
		if (h->up && h->conn)
			tell(m, h->conn, site);
	for (unsigned i = 0; ours && i < m->feds_n; i++)
		if (m->feds[i].conn)
			tell(m, m->feds[i].conn, site);
	ly_policy_drop_logs(m);
	if (ours)
		ly_enrol_list(m);
}

/* Our own comes back only when somebody has a newer one than we do. */
static void
taken(struct ly_manager *m, const struct ly_place *from, const char *site)
{
	char text[LY_WHY_MAX];

	if (strcmp(site, m->conf.site) == 0) {
		ly_print(text, sizeof(text),
		    "has a newer list of our approved states than we had"
		    " (now %llu): was this manager's state restored?",
		    (unsigned long long)ly_policy_list(m, site)->serial);
		ly_manager_alarm(m, from, "", text);
	}
	spread(m, site);
}

void
ly_policy_hear(struct ly_manager *m, struct ly_conn *c,
    const struct ly_place *from, const struct ly_approved_told *t)
{
	bool agent = strcmp(from->site, m->conf.site) == 0;
	enum ly_approvals_news news;
	struct ly_why why;

	if (!agent && strcmp(t->site, from->site) != 0 &&
	    strcmp(t->site, m->conf.site) != 0) {
		ly_manager_alarm(m, from, "",
		    "sends a list of approved states of another site");
		return;
	}
	if (t->list.len == 0) { /* it has none */
		if (ly_policy_list(m, t->site))
			tell(m, c, t->site);
		return;
	}
	if (ly_approvals_take(m->policy->lists, t->site, t->list, &news,
		&why) != LY_OK)
		ly_manager_alarm(m, from, "", why.text);
	else if (news == LY_APPROVALS_OLDER)
		tell(m, c, t->site);
	else if (news == LY_APPROVALS_NEWER)
		taken(m, from, t->site);
	if (!agent)
		ly_policy_want_logs(m, c, t->site);
}

/* ---- from the operator ---- */

enum ly_rc
ly_policy_pin(struct ly_manager *m, const char *site, const char *pem,
    struct ly_why *why)
{
	char name[LY_NAME_MAX + 32], path[320];
	struct ly_cert_key key;
	enum ly_rc rc;

	if (!pem)
		return LY_OK;
	rc = ly_public_key(pem, strlen(pem), &key, why);
	if (rc == LY_OK && key.rsa)
		rc = ly_fail(why, LY_REFUSED, "not a P-256 key");
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "policy key of %s", site);
	ly_print(name, sizeof(name), "trust/%s.policy.pem", site);
	return ly_file_write(ly_manager_file(m, name, path), pem, strlen(pem),
	    0644, why);
}

enum ly_rc
ly_policy_push(struct ly_manager *m, struct ly_bytes list, struct ly_why *why)
{
	const struct ly_approved *old = ly_policy_list(m, m->conf.site);
	uint64_t serial = old ? old->serial : 0;
	enum ly_approvals_news news;
	enum ly_rc rc = ly_approvals_take(m->policy->lists, m->conf.site, list,
	    &news, why);

	if (rc != LY_OK)
		return rc;
	if (news == LY_APPROVALS_OLDER)
		return ly_fail(why, LY_REFUSED,
		    "list %llu is in force; an older one is not taken",
		    (unsigned long long)serial);
	if (news == LY_APPROVALS_NEWER)
		spread(m, m->conf.site);
	return LY_OK;
}
