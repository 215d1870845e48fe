/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking certificates back. Every certificate that was issued here is a row of
 * the store; a revoked one says when and why. From those rows the CA makes the
 * site's CRL: at the start, at each revocation, and when half the time of the
 * last has passed. Its number is the time it was made, and more than the last,
 * so it rises even over a store or a state directory that was put back.
 *
 * Our CRL goes to our agents and to the managers of other sites, which hand it
 * on to theirs; theirs come to us. Whoever was revoked loses its connections.
 */
#include "manager/io/manager.h"

#include "lib/io/ca.h"
#include "lib/io/crl.h"

#include <stdlib.h>

#define RETRY_S 60

const struct ly_revoke_reason ly_revoke_reasons[] = {
	{ "unspecified", 0 },
	{ "key-compromise", 1 },
	{ "superseded", 4 },
	{ "ceased", 5 },
	{ NULL, 0 },
};

/* ---- telling ---- */

static void
tell(struct ly_conn *c, const struct ly_crl *crl)
{
	struct ly_crl_told m = { .der = { crl->der, crl->len } };

	ly_copy(m.site, sizeof(m.site), crl->site);
	ly_conn_send(c, LY_CRL, &m);
}

void
ly_crl_tell_agent(struct ly_manager *m, struct ly_conn *c)
{
	const struct ly_crls *crls = ly_identity_crls(m->ids);

	for (unsigned i = 0; i < crls->n; i++)
		tell(c, &crls->of[i]);
}

void
ly_crl_tell_site(struct ly_manager *m, struct ly_conn *c)
{
	const struct ly_crl *ours = ly_crls_of(ly_identity_crls(m->ids),
	    m->conf.site);

	if (ours)
		tell(c, ours);
}

/* A new one of `site`. It is sent before connections are closed: a host that
 * was revoked may as well know. */
static void
spread(struct ly_manager *m, const char *site)
{
	const struct ly_crl *crl = ly_crls_of(ly_identity_crls(m->ids), site);
	struct ly_host *h;

	for (uint32_t i = 0; (h = ly_roster_next_host(&m->roster, &i));)
		if (h->up && h->conn)
			tell(h->conn, crl);
	for (unsigned i = 0; i < m->feds_n; i++)
		if (m->feds[i].conn && strcmp(site, m->conf.site) == 0)
			tell(m->feds[i].conn, crl);
	if (m->net)
		ly_net_recheck(m->net);
}

void
ly_crl_hear(struct ly_manager *m, const char *site, const struct ly_crl_told *t)
{
	struct ly_place from;
	struct ly_why why;
	bool fresh;

	ly_place_set(&from, site, "manager");
	if (strcmp(t->site, site) != 0)
		ly_manager_alarm(m, &from, "",
		    "sends a list of revoked certificates of another site");
	else if (ly_identity_crl(m->ids, site, t->der, &fresh, &why) != LY_OK)
		ly_manager_alarm(m, &from, "", why.text);
	else if (fresh)
		spread(m, site);
}

/* ---- our own ---- */

struct list {
	struct ly_revoked *at;
	size_t n, room;
	uint64_t now;
};

/* Whose time is over need not be revoked any more. */
static enum ly_rc
collect(void *arg, const void *row_, struct ly_why *why)
{
	const struct ly_cert_row *row = row_;
	struct list *l = arg;
	void *more;

	if (!row->revoked || row->not_after < l->now)
		return LY_OK;
	if (l->n == l->room) {
		l->room = l->room ? 2 * l->room : 64;
		more = realloc(l->at, l->room * sizeof(*l->at));
		if (!more)
			return ly_fail(why, LY_OUTSIDE, "out of memory");
		l->at = more;
	}
	l->at[l->n] = (struct ly_revoked){ .when = row->revoked,
		.reason = row->reason };
	ly_copy(l->at[l->n++].serial, LY_SERIAL_TEXT, row->serial);
	return LY_OK;
}

static enum ly_rc
make(struct ly_manager *m, const struct list *l, struct ly_why *why)
{
	const struct ly_crl *old = ly_crls_of(ly_identity_crls(m->ids),
	    m->conf.site);
	uint64_t number = old ? ly_max(old->number + 1, l->now) : l->now;
	char key[320], cert[320];
	uint8_t *der;
	size_t len;
	bool fresh;
	enum ly_rc rc = ly_ca_crl(ly_manager_file(m, "ca.key", key),
	    ly_manager_file(m, "ca.pem", cert), l->at, l->n, number,
	    m->conf.crl_hours * 3600, &der, &len, why);

	if (rc != LY_OK)
		return rc;
	rc = ly_identity_crl(m->ids, m->conf.site,
	    (struct ly_bytes){ der, len }, &fresh, why);
	free(der);
	return rc;
}

static enum ly_rc
issue(struct ly_manager *m, struct ly_why *why)
{
	struct list l = { .now = ly_now_s() };
	enum ly_rc rc = ly_store_each(m->store, LY_ROW_CERT, collect, &l, why);

	if (rc == LY_OK)
		rc = make(m, &l, why);
	free(l.at);
	m->crl_due = ly_now_s() +
	    (rc == LY_OK ? m->conf.crl_hours * 1800 : RETRY_S);
	if (rc == LY_OK)
		spread(m, m->conf.site);
	return rc;
}

/* By the calendar: if it is set back, the next is made later; if it is set
 * forth, earlier. Neither does harm before nextUpdate, which is as long again
 * away. */
void
ly_crl_tick(struct ly_manager *m)
{
	struct ly_place from;
	struct ly_why why;
	const char *site;

	if (ly_now_s() >= m->crl_due && issue(m, &why) != LY_OK)
		ly_log(LY_ERROR, "ca",
		    "no new list of revoked certificates: %s", why.text);
	while ((site = ly_identity_stale(m->ids, ly_now_s()))) {
		ly_place_set(&from, site, "manager");
		ly_manager_alarm(m, &from, "",
		    "its list of revoked certificates is out of date; it may"
		    " lack the newest");
	}
}

/* ---- revoking ---- */

struct rows {
	const char *host;
	struct ly_cert_row *at;
	size_t n;
	uint64_t now;
};

static enum ly_rc
of_host(void *arg, const void *row_, struct ly_why *why)
{
	const struct ly_cert_row *row = row_;
	struct rows *r = arg;
	void *more;

	if (strcmp(row->host, r->host) != 0 || row->revoked ||
	    row->not_after < r->now)
		return LY_OK;
	more = realloc(r->at, (r->n + 1) * sizeof(*r->at));
	if (!more)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	r->at = more;
	r->at[r->n++] = *row;
	return LY_OK;
}

/* A crash in between leaves some of them revoked, and the next start's list
 * has those; asked again, the rest follow. */
static enum ly_rc
mark(struct ly_manager *m, struct rows *r, uint8_t reason, struct ly_why *why)
{
	enum ly_rc rc = LY_OK;

	for (size_t i = 0; i < r->n && rc == LY_OK; i++) {
		r->at[i].revoked = r->now;
		r->at[i].reason = reason;
		rc = ly_store_put(m->store, LY_ROW_CERT, &r->at[i], "revoked",
		    why);
	}
	return rc;
}

enum ly_rc
ly_crl_revoke(struct ly_manager *m, const char *host, uint8_t reason,
    unsigned *n, struct ly_why *why)
{
	struct rows r = { .host = host, .now = ly_now_s() };
	enum ly_rc rc = ly_store_each(m->store, LY_ROW_CERT, of_host, &r, why);

	if (rc == LY_OK)
		rc = mark(m, &r, reason, why);
	*n = (unsigned)r.n;
	free(r.at);
	return rc == LY_OK ? issue(m, why) : rc;
}

enum ly_rc
ly_crl_note_cert(struct ly_manager *m, const char *host, const char *pem,
    struct ly_why *why)
{
	struct ly_cert_row row = { .revoked = 0 };
	enum ly_rc rc = ly_ca_read_leaf(pem, row.serial, &row.not_after, why);

	if (rc != LY_OK)
		return rc;
	ly_copy(row.host, sizeof(row.host), host);
	return ly_store_put(m->store, LY_ROW_CERT, &row, "issued", why);
}
