/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list's bytes: u32 length and the tagged head (site, serial, generation,
 * issued, entries), then r and s of K_pol over "lanyard-sig-v1" 00, u16 type,
 * head. The entries within are packed one behind the other, each after its u32
 * length.
 */
#include "lib/attest/approved.h"

struct head {
	char site[LY_NAME_MAX];
	uint64_t serial, generation, issued;
	struct ly_bytes entries;
};

static const struct ly_field head_fields[] = {
	LY_TEXT(struct head, site),
	LY_UINT(struct head, serial),
	LY_UINT(struct head, generation),
	LY_UINT(struct head, issued),
	LY_BYTES(struct head, entries, LY_APPROVED_MAX),
};
static const struct ly_message head_message = LY_MESSAGE(LY_TYPE_APPROVED,
    "APPROVED-LIST", struct head, head_fields,
    "The states of hosts that a site approves.");

#define PCRS_MAX (LY_PCRS_N * LY_SHA256_SIZE)
static const struct ly_field entry_fields[] = {
	LY_TEXT(struct ly_approved_entry, class),
	LY_TEXT(struct ly_approved_entry, note),
	LY_UINT(struct ly_approved_entry, when),
	LY_UINT(struct ly_approved_entry, mask),
	LY_BYTES(struct ly_approved_entry, pcrs, PCRS_MAX),
	LY_FIXED(struct ly_approved_entry, log),
	LY_FIXED(struct ly_approved_entry, policy),
	LY_FIXED(struct ly_approved_entry, signature),
};
static const struct ly_message entry_message = LY_MESSAGE(LY_TYPE_APPROVED,
    "APPROVED-ENTRY", struct ly_approved_entry, entry_fields, "One of them.");

static const char sig_prefix[] = "lanyard-sig-v1"; /* its NUL is signed too */
#define SIGN_HEAD (sizeof(sig_prefix) + 2)

/* ---- entries ---- */

static unsigned
bits(uint32_t mask)
{
	unsigned n = 0;

	for (; mask; mask &= mask - 1)
		n++;
	return n;
}

static void
policy_of(const struct ly_approved_entry *e, struct ly_policy *out)
{
	uint8_t digest[32];

	ly_pcr_digest(e->pcrs, digest);
	ly_policy_start(out);
	ly_policy_pcr(out, e->mask, digest);
}

/* What is wrong with an entry by itself; NULL: nothing. */
static const char *
wrong_with(const struct ly_approved_entry *e, const struct ly_point *key)
{
	uint8_t to_sign[LY_APPROVAL_SIGNED];
	struct ly_policy policy;

	if (!ly_name_good(e->class))
		return "its class is no name";
	if (e->mask == 0 || e->mask >> LY_PCRS_N)
		return "it approves no PCR that there is";
	if (e->pcrs.len != bits(e->mask) * LY_SHA256_SIZE)
		return "it has not one value for each PCR";
	policy_of(e, &policy);
	if (memcmp(policy.digest, e->policy.digest, sizeof(policy.digest)) != 0)
		return "its policy is not that of its PCRs";
	ly_approval_signed(&e->policy, e->ref, to_sign);
	if (!ly_ecdsa_good(key, to_sign, sizeof(to_sign), e->signature))
		return "its approval is not signed for this class and "
		       "generation by the site's policy key";
	return NULL;
}

static enum ly_rc
parse_entry(struct ly_rd *r, const struct ly_point *key,
    struct ly_approved *out, struct ly_why *why)
{
	struct ly_approved_entry *e = &out->of[out->n];
	size_t len = ly_rd_u32(r);
	const uint8_t *at = ly_rd_bytes(r, len);
	const char *wrong;
	enum ly_rc rc;

	if (!at)
		return ly_fail(why, LY_MALFORMED, "entry %u: cut short",
		    out->n + 1);
	rc = ly_message_get(&entry_message, at, len, e, why);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "entry %u", out->n + 1);
	ly_class_ref(e->class, out->generation, e->ref);
	wrong = wrong_with(e, key);
	if (wrong)
		return ly_fail(why, LY_REFUSED, "entry %u: %s", out->n + 1,
		    wrong);
	out->n++;
	return LY_OK;
}

/* ---- the whole ---- */

static bool
signed_by(const struct ly_point *key, struct ly_bytes tagged,
    const uint8_t sig[LY_SIG_RAW])
{
	static const uint8_t type[2] = { LY_TYPE_APPROVED >> 8,
		LY_TYPE_APPROVED & 0xff };
	uint8_t msg[LY_APPROVED_MAX + SIGN_HEAD];
	struct ly_wr w = ly_wr_over(msg, sizeof(msg));

	ly_wr_bytes(&w, sig_prefix, sizeof(sig_prefix));
	ly_wr_bytes(&w, type, sizeof(type));
	ly_wr_bytes(&w, tagged.at, tagged.len);
	return !w.bad && ly_ecdsa_good(key, msg, ly_wr_len(&w), sig);
}

static enum ly_rc
parse_head(struct ly_bytes list, const char *site, const struct ly_point *key,
    struct head *out, struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(list.at, list.len);
	struct ly_bytes tagged = { NULL, ly_rd_u32(&r) };
	const uint8_t *sig;
	enum ly_rc rc;

	tagged.at = ly_rd_bytes(&r, tagged.len);
	sig = ly_rd_bytes(&r, LY_SIG_RAW);
	if (list.len > LY_APPROVED_MAX || r.bad || ly_rd_left(&r))
		return ly_fail(why, LY_MALFORMED, "not a list of states");
	if (!signed_by(key, tagged, sig))
		return ly_fail(why, LY_REFUSED,
		    "it is not signed by the policy key that is pinned for"
		    " site %s",
		    site);
	rc = ly_message_get_tagged(&head_message, tagged.at, tagged.len, out,
	    why);
	if (rc == LY_OK && strcmp(out->site, site) != 0)
		return ly_fail(why, LY_REFUSED, "it is of site %s, not %s",
		    out->site, site);
	return rc;
}

enum ly_rc
ly_approved_parse(struct ly_bytes list, const char *site,
    const struct ly_point *key, struct ly_approved *out, struct ly_why *why)
{
	struct head h;
	struct ly_rd r;
	enum ly_rc rc = parse_head(list, site, key, &h, why);

	if (rc != LY_OK)
		return ly_fail_in(why, rc, "approved states of %s", site);
	out->serial = h.serial;
	out->generation = h.generation;
	out->issued = h.issued;
	out->n = 0;
	ly_copy(out->site, sizeof(out->site), h.site);
	r = ly_rd_over(h.entries.at, h.entries.len);
	while (rc == LY_OK && ly_rd_left(&r) > 0) {
		if (out->n == LY_APPROVED_ENTRIES)
			rc = ly_fail(why, LY_FULL, "more than %u entries",
			    LY_APPROVED_ENTRIES);
		else
			rc = parse_entry(&r, key, out, why);
	}
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "approved states of %s", site);
	return LY_OK;
}

/* ---- looking up ---- */

uint32_t
ly_approved_differ(const struct ly_approved_entry *e, uint32_t mask,
    const uint8_t pcr[LY_PCRS_N][32])
{
	struct ly_rd r = ly_rd_over(e->pcrs.at, e->pcrs.len);
	uint32_t differ = 0;

	for (unsigned i = 0; i < LY_PCRS_N; i++) {
		const uint8_t *want;

		if (!(e->mask & 1u << i))
			continue;
		want = ly_rd_bytes(&r, LY_SHA256_SIZE);
		if (!want || !(mask & 1u << i) ||
		    memcmp(want, pcr[i], LY_SHA256_SIZE) != 0)
			differ |= 1u << i;
	}
	return differ;
}

const char *
ly_approved_mask_text(uint32_t mask, char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < LY_PCRS_N; i++) {
		if (!(mask & 1u << i))
			continue;
		ly_print(out + n, size - n, "%s%u", n ? ", " : "", i);
		n += strlen(out + n);
	}
	return out;
}

static enum ly_rc
tell_nearest(const struct ly_approved *list, const struct ly_approved_entry *e,
    uint32_t differ, struct ly_why *why)
{
	char pcrs[LY_PCRS_N * 4];
	unsigned number = (unsigned)(e - list->of) + 1;

	ly_approved_mask_text(differ, pcrs, sizeof(pcrs));
	return ly_fail(why, LY_REFUSED,
	    "class %s: PCR %s %s from the nearest approved state, entry %u"
	    " \"%s\"",
	    e->class, pcrs, bits(differ) > 1 ? "differ" : "differs", number,
	    e->note);
}

enum ly_rc
ly_approved_find(const struct ly_approved *list, const char *class,
    uint32_t mask, const uint8_t pcr[LY_PCRS_N][32],
    const struct ly_approved_entry **out, struct ly_why *why)
{
	const struct ly_approved_entry *nearest = NULL;
	uint32_t least = 0;

	for (unsigned i = 0; i < list->n; i++) {
		const struct ly_approved_entry *e = &list->of[i];
		uint32_t differ;

		if (strcmp(e->class, class) != 0)
			continue;
		differ = ly_approved_differ(e, mask, pcr);
		if (nearest && bits(differ) >= bits(least))
			continue;
		nearest = e;
		least = differ;
	}
	*out = nearest;
	if (!nearest)
		return ly_fail(why, LY_REFUSED,
		    "site %s approves no state of class %s (list %llu)",
		    list->site, class, (unsigned long long)list->serial);
	return least ? tell_nearest(list, nearest, least, why) : LY_OK;
}

/* ---- making one ---- */

void
ly_approved_pack(uint32_t mask, const uint8_t pcr[LY_PCRS_N][32],
    struct ly_wr *w)
{
	for (unsigned i = 0; i < LY_PCRS_N; i++)
		if (mask & 1u << i)
			ly_wr_bytes(w, pcr[i], LY_SHA256_SIZE);
}

void
ly_approved_draft(struct ly_approved_entry *e, uint64_t generation,
    uint8_t to_sign[LY_APPROVAL_SIGNED])
{
	policy_of(e, &e->policy);
	ly_class_ref(e->class, generation, e->ref);
	ly_approval_signed(&e->policy, e->ref, to_sign);
}

static void
put_sized(struct ly_wr *w, const struct ly_message *m, const void *in)
{
	struct ly_wr len = *w;

	ly_wr_u32(w, 0);
	ly_message_put(m, in, w);
	if (!w->bad)
		ly_wr_u32(&len, (uint32_t)(w->at - len.at) - 4);
}

static void
put_head(const struct ly_approved *list, struct ly_wr *w)
{
	uint8_t room[LY_APPROVED_MAX];
	struct ly_wr entries = ly_wr_over(room, sizeof(room));
	struct head h = { .serial = list->serial,
		.generation = list->generation,
		.issued = list->issued };

	ly_copy(h.site, sizeof(h.site), list->site);
	for (unsigned i = 0; i < list->n; i++)
		put_sized(&entries, &entry_message, &list->of[i]);
	h.entries = (struct ly_bytes){ room, ly_wr_len(&entries) };
	ly_message_put_tagged(&head_message, &h, w);
	if (entries.bad)
		w->bad = true;
}

void
ly_approved_to_sign(const struct ly_approved *list, struct ly_wr *w)
{
	ly_wr_bytes(w, sig_prefix, sizeof(sig_prefix));
	ly_wr_u16(w, LY_TYPE_APPROVED);
	put_head(list, w);
}

void
ly_approved_seal(const struct ly_approved *list,
    const uint8_t signature[LY_SIG_RAW], struct ly_wr *w)
{
	struct ly_wr len = *w;

	ly_wr_u32(w, 0);
	put_head(list, w);
	if (!w->bad)
		ly_wr_u32(&len, (uint32_t)(w->at - len.at) - 4);
	ly_wr_bytes(w, signature, LY_SIG_RAW);
	if (ly_wr_len(w) > LY_APPROVED_MAX)
		w->bad = true;
}
