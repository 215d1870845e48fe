/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evidence of hosts, judged: lib/attest/appraise.h has the checks, here is what
 * they need of the world. Who a host is says its certificate, which stands in
 * the evidence: believed by the CA of its site, not revoked, and only if it
 * was enrolled. What its state may be says the list of its own site's policy
 * authority.
 */
#include "manager/io/manager.h"

#include "lib/crypt/cert.h"
#include "manager/io/policy.h"

static const struct ly_field judged_host[] = {
	LY_TEXT(struct ly_appraise_host, id),
	LY_TEXT(struct ly_appraise_host, class),
	LY_FIXED(struct ly_appraise_host, ak_name),
	LY_FIXED(struct ly_appraise_host, sk_name),
	LY_FIXED(struct ly_appraise_host, hk),
	LY_UINT(struct ly_appraise_host, reset_count),
	LY_UINT(struct ly_appraise_host, restart_count),
};
const struct ly_message ly_judged_host = LY_MESSAGE(0, "host",
    struct ly_appraise_host, judged_host, "What was known of a host.");

/* Before anybody is asked: what its manager knows of it. */
enum ly_rc
ly_judge_standing(struct ly_manager *m, const char *side,
    const struct ly_host *h, struct ly_why *why)
{
	char at[LY_PLACE_TEXT];

	if (h->revoked)
		return ly_fail(why, LY_REFUSED, "attest: %s %s was revoked",
		    side, ly_place_text(&h->at, at));
	if (h->standing == LY_STANDING_UNAPPROVED && h->differs[0])
		return ly_fail(why, LY_REFUSED, "attest: %s %s %s: %s", side,
		    ly_place_text(&h->at, at), ly_standing_text(h->standing),
		    h->differs);
	if (h->standing != LY_STANDING_GOOD)
		return ly_fail(why, LY_REFUSED, "attest: %s %s %s%s", side,
		    ly_place_text(&h->at, at), ly_standing_text(h->standing),
		    h->standing == LY_STANDING_NONE &&
			    strcmp(h->at.site, m->conf.site) == 0 ?
			" (lanyard host enroll)" :
			"");
	if (!ly_policy_list(m, h->at.site))
		return ly_fail(why, LY_REFUSED,
		    "attest: %s %s: this manager is without the policy key's"
		    " approval: no list of approved states of site %s has come"
		    " (lanyard policy push)",
		    side, ly_place_text(&h->at, at), h->at.site);
	return LY_OK;
}

/* What the certificate says, for the appraisal. */
static enum ly_rc
take_host(struct ly_manager *m, const struct ly_place *at,
    struct ly_judged *out, struct ly_why *why)
{
	const struct ly_host *h = ly_roster_host(&m->roster, at->site,
	    at->name);
	struct ly_bytes pem = out->evidence.certificate;
	struct ly_peer *p = &out->peer;
	struct ly_cert_key key;
	char id[LY_SPIFFE_MAX];
	enum ly_rc rc = ly_identity_vouch(m->ids, pem, p, why);

	ly_spiffe_host(at->site, at->name, id);
	if (rc == LY_OK)
		rc = ly_cert_key(pem.at, pem.len, &key, why);
	if (rc == LY_OK && strcmp(p->id, id) != 0)
		rc = ly_fail(why, LY_REFUSED, "is that of %s", p->id);
	else if (rc == LY_OK && !p->attested)
		rc = ly_fail(why, LY_REFUSED,
		    "says nothing of a TPM: the host"
		    " was not enrolled");
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "certificate");
	if (h && h->standing == LY_STANDING_FROZEN)
		return ly_fail(why, LY_REFUSED, "%s",
		    ly_standing_text(h->standing));
	ly_copy(out->host.id, sizeof(out->host.id), p->id);
	ly_copy(out->host.class, sizeof(out->host.class), p->class_);
	memcpy(out->host.ak_name, p->ak_name, sizeof(p->ak_name));
	memcpy(out->host.sk_name, p->sk_name, sizeof(p->sk_name));
	memcpy(out->host.hk, key.spki, sizeof(key.spki));
	out->host.reset_count = p->reset_count;
	out->host.restart_count = p->restart_count;
	return LY_OK;
}

static enum ly_rc
read_evidence(struct ly_manager *m, const struct ly_place *at,
    struct ly_bytes packed, struct ly_judged *out, struct ly_why *why)
{
	enum ly_rc rc = ly_message_get(&ly_evidence_message, packed.at,
	    packed.len, &out->evidence, why);

	return rc == LY_OK ? take_host(m, at, out, why) : rc;
}

enum ly_rc
ly_judge(struct ly_manager *m, const struct ly_judge_wish *w,
    struct ly_judged *out, struct ly_why *why)
{
	struct ly_context want;
	struct ly_appraise a = { .evidence = &out->evidence,
		.host = &out->host,
		.want = &want,
		.log_of = ly_policy_log,
		.arg = m };
	char side[LY_PLACE_TEXT + 32], at[LY_PLACE_TEXT];
	enum ly_rc rc = read_evidence(m, w->at, w->packed, out, why);

	ly_print(side, sizeof(side), "%s %s", w->side,
	    ly_place_text(w->at, at));
	a.side = side;
	if (rc == LY_OK)
		rc = ly_appraise_want(w->call, w->role, &out->host, &want,
		    &a.open, why);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "%s", side);
	a.list = ly_policy_list(m, w->at->site);
	return ly_appraise(&a, &out->found, why);
}
