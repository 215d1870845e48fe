/* SPDX-License-Identifier: Apache-2.0 */
/* lib/attest/approved: lists that are good, and each way to be not. */
#include "tests/unit/approved_scene.h"

#include "tests/test.h"

static struct authority pol, other;
static struct list made;
static struct ly_approved got;
static struct ly_why why;

static void
two_states(void)
{
	authority_make(&pol, 1);
	authority_make(&other, 2);
	list_start(&made, "south", 7, 3);
	list_add(&made, "compute", "Debian 12.8", 10);
	list_add(&made, "compute", "Debian 12.9", 60);
	list_add(&made, "edge", "Edge 1", 10);
}

static enum ly_rc
parse(struct ly_bytes b)
{
	return ly_approved_parse(b, "south", &pol.key, &got, &why);
}

static void
want_no(enum ly_rc rc, enum ly_rc want, const char *text)
{
	WANT_STR(why.text, text);
	WANT_INT(rc, want);
}

/* ---- form ---- */

TEST(a_list_is_read_as_it_was_signed)
{
	two_states();
	memset(made.l.of[1].log, 0xab, 32);
	WANT_INT(parse(sign_list(&made, &pol)), LY_OK);
	WANT_STR(got.site, "south");
	WANT_INT(got.serial, 7);
	WANT_INT(got.generation, 3);
	WANT_INT(got.issued, 1700000001);
	WANT_INT(got.n, 3);
	WANT_STR(got.of[1].class, "compute");
	WANT_STR(got.of[1].note, "Debian 12.9");
	WANT_INT(got.of[1].when, 1700000000);
	WANT_INT(got.of[1].mask, SCENE_PCRS);
	WANT_INT(got.of[1].pcrs.len, 5 * 32);
	WANT_MEM(got.of[1].pcrs.at, made.pcrs[1], 5 * 32);
	WANT_MEM(got.of[1].log, made.l.of[1].log, 32);
	WANT_MEM(got.of[1].policy.digest, made.l.of[1].policy.digest, 32);
	WANT_MEM(got.of[1].ref, made.l.of[1].ref, 32);
}

TEST(a_list_without_entries_is_one)
{
	two_states();
	made.l.n = 0;
	WANT_INT(parse(sign_list(&made, &pol)), LY_OK);
	WANT_INT(got.n, 0);
}

TEST(an_approval_is_what_the_tpm_computes_from_the_pcrs)
{
	struct ly_policy policy;
	uint8_t digest[32], ref[32];

	two_states();
	sign_list(&made, &pol);
	ly_pcr_digest(made.l.of[0].pcrs, digest);
	ly_policy_start(&policy);
	ly_policy_pcr(&policy, SCENE_PCRS, digest);
	ly_class_ref("compute", 3, ref);
	WANT_MEM(made.l.of[0].policy.digest, policy.digest, 32);
	WANT_MEM(made.l.of[0].ref, ref, 32);
	WANT(memcmp(made.l.of[0].ref, made.l.of[2].ref, 32) != 0);
}

/* ---- who signed ---- */

TEST(a_list_of_another_key_is_refused)
{
	two_states();
	want_no(parse(sign_list(&made, &other)), LY_REFUSED,
	    "approved states of south: it is not signed by the policy key that"
	    " is pinned for site south");
}

TEST(a_list_of_another_site_is_refused_even_of_the_same_key)
{
	two_states();
	ly_copy(made.l.site, sizeof(made.l.site), "north");
	want_no(parse(sign_list(&made, &pol)), LY_REFUSED,
	    "approved states of south: it is of site north, not south");
}

TEST(no_bit_of_a_list_can_be_another)
{
	struct ly_bytes b;

	two_states();
	b = sign_list(&made, &pol);
	for (size_t i = 0; i < made.len; i += 3) {
		made.bytes[i] ^= 0x10;
		WANT(parse(b) != LY_OK);
		made.bytes[i] ^= 0x10;
	}
	WANT_INT(parse(b), LY_OK);
	for (size_t n = 0; n < b.len; n += 7)
		WANT(parse((struct ly_bytes){ b.at, n }) != LY_OK);
}

TEST(bytes_behind_a_list_are_refused)
{
	two_states();
	sign_list(&made, &pol);
	made.bytes[made.len] = 0;
	want_no(parse((struct ly_bytes){ made.bytes, made.len + 1 }),
	    LY_MALFORMED, "approved states of south: not a list of states");
}

TEST(an_entry_approved_by_another_key_is_refused)
{
	two_states();
	sign_entries(&made, &pol);
	sign_entries(&made, &other);
	want_no(parse(sign_whole(&made, &pol)), LY_REFUSED,
	    "approved states of south: entry 1: its approval is not signed for"
	    " this class and generation by the site's policy key");
}

TEST(an_approval_of_an_old_generation_is_none_in_a_new_one)
{
	two_states();
	sign_entries(&made, &pol);
	made.l.generation++;
	want_no(parse(sign_whole(&made, &pol)), LY_REFUSED,
	    "approved states of south: entry 1: its approval is not signed for"
	    " this class and generation by the site's policy key");
	WANT_INT(parse(sign_list(&made, &pol)), LY_OK);
}

TEST(an_approval_of_one_class_is_none_of_another)
{
	two_states();
	sign_entries(&made, &pol);
	ly_copy(made.l.of[2].class, LY_NAME_MAX, "compute");
	want_no(parse(sign_whole(&made, &pol)), LY_REFUSED,
	    "approved states of south: entry 3: its approval is not signed for"
	    " this class and generation by the site's policy key");
}

/* ---- entries ---- */

TEST(an_entry_whose_policy_is_of_other_pcrs_is_refused)
{
	two_states();
	sign_entries(&made, &pol);
	made.pcrs[1][9] ^= 1;
	want_no(parse(sign_whole(&made, &pol)), LY_REFUSED,
	    "approved states of south: entry 2: its policy is not that of its"
	    " PCRs");
}

TEST(an_entry_has_pcrs_that_there_are_and_a_value_for_each)
{
	two_states();
	made.l.of[0].mask = 0;
	made.l.of[0].pcrs.len = 0;
	want_no(parse(sign_list(&made, &pol)), LY_REFUSED,
	    "approved states of south: entry 1: it approves no PCR that there"
	    " is");
	two_states();
	made.l.of[0].mask |= 1u << 24;
	want_no(parse(sign_list(&made, &pol)), LY_REFUSED,
	    "approved states of south: entry 1: it approves no PCR that there"
	    " is");
	two_states();
	made.l.of[1].mask |= 1u << 9;
	want_no(parse(sign_list(&made, &pol)), LY_REFUSED,
	    "approved states of south: entry 2: it has not one value for each"
	    " PCR");
}

TEST(a_class_is_a_name)
{
	two_states();
	ly_copy(made.l.of[0].class, LY_NAME_MAX, "Compute nodes");
	want_no(parse(sign_list(&made, &pol)), LY_REFUSED,
	    "approved states of south: entry 1: its class is no name");
}

TEST(as_many_entries_as_fit_and_not_one_more)
{
	static const uint8_t pcr[LY_PCRS_N][32];

	two_states();
	made.l.n = 0;
	for (unsigned i = 0; i < LY_APPROVED_ENTRIES; i++)
		list_add_of(&made, "c", "", 1, pcr);
	WANT_INT(parse(sign_list(&made, &pol)), LY_OK);
	WANT_INT(got.n, LY_APPROVED_ENTRIES);
}

/* No writer of ours makes it: the last entry is put behind itself. */
TEST(one_entry_more_is_refused_however_it_came_there)
{
	static const uint8_t pcr[LY_PCRS_N][32];
	static uint8_t msg[LY_APPROVED_MAX];
	struct ly_wr m = ly_wr_over(msg, sizeof(msg)), w, at;
	uint8_t sig[LY_SIG_RAW];
	size_t each = 0, entries;

	two_states();
	made.l.n = 0;
	for (unsigned i = 0; i < LY_APPROVED_ENTRIES; i++)
		list_add_of(&made, "c", "", 1, pcr);
	sign_entries(&made, &pol);
	ly_approved_to_sign(&made.l, &m);
	each = 4 + 4 + 1 + 4 + 8 + 4 + 4 + 32 + 32 + 32 + 64;
	entries = each * LY_APPROVED_ENTRIES;
	at = ly_wr_over(m.at - entries - 4, 4);
	WANT_INT(ly_rd_uint(&(struct ly_rd){ .at = at.at, .end = m.at }, 4),
	    entries);
	ly_wr_bytes(&m, m.at - each, each);
	ly_wr_u32(&at, (uint32_t)(entries + each));
	WANT_INT(ly_ecdsa_sign(pol.secret, msg, ly_wr_len(&m), sig), LY_OK);
	w = ly_wr_over(made.bytes, sizeof(made.bytes));
	ly_wr_u32(&w, (uint32_t)ly_wr_len(&m) - 17);
	ly_wr_bytes(&w, msg + 17, ly_wr_len(&m) - 17);
	ly_wr_bytes(&w, sig, sizeof(sig));
	want_no(parse((struct ly_bytes){ made.bytes, ly_wr_len(&w) }), LY_FULL,
	    "approved states of south: more than 128 entries");
}

TEST(a_list_over_its_bytes_cannot_be_made)
{
	uint8_t pcr[LY_PCRS_N][32], sig[LY_SIG_RAW] = { 0 };
	struct ly_wr w = ly_wr_over(made.bytes, sizeof(made.bytes));

	two_states();
	state_pcrs(1, pcr);
	while (made.l.n < LY_APPROVED_ENTRIES)
		list_add_of(&made, "compute", "all of them", 0xffffff, pcr);
	ly_approved_seal(&made.l, sig, &w);
	WANT(w.bad);
}

/* ---- looking up ---- */

static enum ly_rc
find(const char *class, uint32_t mask, uint8_t pcr[LY_PCRS_N][32],
    const struct ly_approved_entry **e)
{
	return ly_approved_find(&got, class, mask, (const uint8_t(*)[32])pcr, e,
	    &why);
}

TEST(a_host_in_an_approved_state_of_its_class_is_found)
{
	const struct ly_approved_entry *e;
	uint8_t pcr[LY_PCRS_N][32];

	two_states();
	WANT_INT(parse(sign_list(&made, &pol)), LY_OK);
	state_pcrs(60, pcr);
	WANT_INT(find("compute", SCENE_PCRS, pcr, &e), LY_OK);
	WANT(e == &got.of[1]);
	pcr[3][0] ^= 1; /* none that is approved */
	WANT_INT(find("compute", 0xffffff, pcr, &e), LY_OK);
}

TEST(the_nearest_state_is_named_with_the_pcrs_that_differ)
{
	const struct ly_approved_entry *e;
	uint8_t pcr[LY_PCRS_N][32];

	two_states();
	WANT_INT(parse(sign_list(&made, &pol)), LY_OK);
	state_pcrs(60, pcr);
	pcr[4][31] ^= 1;
	want_no(find("compute", SCENE_PCRS, pcr, &e), LY_REFUSED,
	    "class compute: PCR 4 differs from the nearest approved state,"
	    " entry 2 \"Debian 12.9\"");
	WANT(e == &got.of[1]);
	pcr[7][0] ^= 1;
	want_no(find("compute", SCENE_PCRS, pcr, &e), LY_REFUSED,
	    "class compute: PCR 4, 7 differ from the nearest approved state,"
	    " entry 2 \"Debian 12.9\"");
	WANT_INT(ly_approved_differ(e, SCENE_PCRS, (const uint8_t(*)[32])pcr),
	    0x90);
}

TEST(a_pcr_that_was_not_quoted_is_not_as_approved)
{
	const struct ly_approved_entry *e;
	uint8_t pcr[LY_PCRS_N][32];

	two_states();
	WANT_INT(parse(sign_list(&made, &pol)), LY_OK);
	state_pcrs(10, pcr);
	want_no(find("compute", SCENE_PCRS & ~0x800u, pcr, &e), LY_REFUSED,
	    "class compute: PCR 11 differs from the nearest approved state,"
	    " entry 1 \"Debian 12.8\"");
}

TEST(a_state_of_one_class_approves_no_host_of_another)
{
	const struct ly_approved_entry *e;
	uint8_t pcr[LY_PCRS_N][32];

	two_states();
	WANT_INT(parse(sign_list(&made, &pol)), LY_OK);
	state_pcrs(60, pcr);
	WANT_INT(find("edge", SCENE_PCRS, pcr, &e), LY_REFUSED);
	WANT(e == &got.of[2]);
	want_no(find("storage", SCENE_PCRS, pcr, &e), LY_REFUSED,
	    "site south approves no state of class storage (list 7)");
	WANT(!e);
}

TEST_MAIN()
