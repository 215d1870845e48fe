/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evidence, keys' templates, quotes, policies and blobs, without a TPM: what a
 * TPM makes of the same bytes is tests/io/test_attest_tpm.c's matter.
 */
#include "tests/test.h"

#include "lib/attest/blob.h"
#include "tests/unit/fake_chip.h"

static struct ly_why why;

static struct ly_context
question(unsigned role)
{
	struct ly_context x = { .role = (uint8_t)role, .epoch = 3, .seq = 9 };

	memset(x.nonce, 0x5a, sizeof(x.nonce));
	memset(x.hk, 0x11, sizeof(x.hk));
	ly_copy(x.self, sizeof(x.self), "spiffe://a/host/d");
	ly_copy(x.source, sizeof(x.source), "spiffe://a/host/s");
	return x;
}

/* ---- evidence ---- */

TEST(the_largest_evidence_fits_a_message)
{
	WANT(ly_message_max(&ly_evidence_message) + 36 <= LY_EVIDENCE_MAX);
	WANT(ly_message_max(&ly_enrol_proof_message) <= LY_EVIDENCE_MAX);
	WANT(ly_message_max(&ly_enrol_keys_message) <= LY_EVIDENCE_MAX);
	WANT(ly_message_max(&ly_enrol_papers_message) <= LY_EVIDENCE_MAX);
	WANT(ly_message_max(&ly_move_proof_message) <= LY_EVIDENCE_MAX);
	WANT(ly_message_max(&ly_key_blob_message) <= LY_SEALED_MAX);
}

TEST(the_largest_context_fits_its_room)
{
	uint8_t room[LY_CONTEXT_MAX], q[32];
	struct ly_context x;
	struct ly_bytes tagged;

	memset(&x, 'x', sizeof(x));
	x.role = LY_QUOTE_TPM;
	x.self[LY_SPIFFE_MAX - 1] = x.source[LY_SPIFFE_MAX - 1] = 0;
	x.dest[LY_SPIFFE_MAX - 1] = x.home[LY_SPIFFE_MAX - 1] = 0;
	ly_qualify_context(&x, room, &tagged, q);
	WANT(tagged.len < LY_CONTEXT_MAX);
}

TEST(evidence_comes_through_a_message_as_it_was)
{
	struct ly_context x = question(LY_QUOTE_DEST), y;
	static uint8_t buf[LY_EVIDENCE_MAX];
	struct fake_evidence e;
	struct fake_chip chip;
	struct ly_evidence got;
	size_t len;

	fake_chip_init(&chip, 1);
	fake_quote(&chip, &x, &e);
	len = fake_pack(&e.ev, buf, sizeof(buf));
	WANT_INT(ly_message_get(&ly_evidence_message, buf, len, &got, &why),
	    LY_OK);
	WANT_INT(ly_evidence_context(&got, &y, &why), LY_OK);
	WANT_INT(ly_context_match(&y, &x, 0, &why), LY_OK);
	WANT_MEM(ly_evidence_pcr(&got, 0), chip.pcr[0], 32);
	WANT_MEM(ly_evidence_pcr(&got, 11), chip.pcr[11], 32);
	WANT(ly_evidence_pcr(&got, 1) == NULL);
	WANT(ly_evidence_pcr(&got, 31) == NULL);
}

TEST(a_context_without_a_purpose_is_refused)
{
	struct ly_context x = { 0 }, y;
	uint8_t room[LY_CONTEXT_MAX], q[32];
	struct ly_evidence ev = { 0 };

	ly_qualify_context(&x, room, &ev.context, q);
	WANT_INT(ly_evidence_context(&ev, &y, &why), LY_MALFORMED);
}

/* Every row is looked at, and only an open one may differ. */
TEST(a_context_that_differs_in_one_row_is_refused_by_its_name)
{
	const struct ly_message *m = &ly_context_message;
	struct ly_context want = question(LY_QUOTE_HOME);

	WANT_INT(m->fields_n, 16);
	for (size_t i = 0; i < m->fields_n; i++) {
		struct ly_context have = want;

		((uint8_t *)&have)[m->fields[i].offset] ^= 1;
		WANT_INT(ly_context_match(&have, &want, 0, &why), LY_REFUSED);
		WANT(strstr(why.text, m->fields[i].name));
		WANT_INT(ly_context_match(&have, &want, 1u << i, &why), LY_OK);
	}
	WANT_STR(m->fields[3].name, "mig");
	WANT_STR(m->fields[15].name, "holder_hk");
	WANT_INT(LY_CTX_MIG, 1u << 3);
	WANT_INT(LY_CTX_HOLDER_HK, 1u << 15);
}

TEST(every_role_that_is_asked_for_has_a_quote_of_its_own)
{
	unsigned seen = 0;

	for (unsigned role = 1; role < LY_QUOTE_ROLES; role++) {
		unsigned type = ly_quote_type_of(role);

		WANT(type && type < LY_QUOTE_TYPES && !(seen & 1u << type));
		WANT(strcmp(ly_quote_type_name(type), "?") != 0);
		seen |= 1u << type;
	}
	WANT_INT(ly_quote_type_of(0), 0);
	WANT_INT(ly_quote_type_of(LY_QUOTE_ROLES), 0);
}

TEST(the_transcript_of_an_enrolment_is_another_if_any_part_is)
{
	static const uint8_t b[] = "abcdef";
	uint8_t nonce[32] = { 1 }, t[4][32];

	ly_enrol_transcript((struct ly_bytes){ b, 3 },
	    (struct ly_bytes){ b + 3, 3 }, nonce, t[0]);
	ly_enrol_transcript((struct ly_bytes){ b, 2 },
	    (struct ly_bytes){ b + 2, 4 }, nonce, t[1]);
	nonce[0]++;
	ly_enrol_transcript((struct ly_bytes){ b, 3 },
	    (struct ly_bytes){ b + 3, 3 }, nonce, t[2]);
	WANT(!ly_same(t[0], t[1], 32));
	WANT(!ly_same(t[0], t[2], 32));
}

/* ---- templates ---- */

TEST(each_key_of_a_host_is_read_back_by_its_own_template_only)
{
	struct fake_chip chip;
	struct ly_tpm_key k;

	fake_chip_init(&chip, 2);
	WANT_INT(ly_tpm_key_read(LY_TPM_AK, chip.ak.area, &k, &why), LY_OK);
	WANT_MEM(k.point.x, chip.ak.point.x, 32);
	WANT_MEM(k.name, chip.ak.name, LY_TPM_NAME);
	WANT_INT(k.name[1], 0x0b);
	for (unsigned use = 0; use < LY_TPM_USES; use++) {
		WANT_INT(ly_tpm_key_read(use, chip.ak.area, &k, &why),
		    use == LY_TPM_AK ? LY_OK : LY_REFUSED);
		WANT_INT(ly_tpm_key_read(use, chip.sk.area, &k, &why),
		    use == LY_TPM_SK ? LY_OK : LY_REFUSED);
		WANT_INT(ly_tpm_key_read(use, chip.ek.area, &k, &why),
		    use == LY_TPM_EK ? LY_OK : LY_REFUSED);
	}
}

/* No bit of what stands before the key itself may be another. */
static void
bend_each_bit(enum ly_tpm_use use, struct ly_bytes area, size_t head)
{
	uint8_t bent[LY_PUBLIC_MAX];
	struct ly_tpm_key k;

	for (size_t bit = 0; bit < head * 8; bit++) {
		memcpy(bent, area.at, area.len);
		bent[bit / 8] ^= (uint8_t)(1 << bit % 8);
		WANT(ly_tpm_key_read(use, (struct ly_bytes){ bent, area.len },
			 &k, &why) != LY_OK);
	}
}

TEST(a_template_is_believed_only_to_the_last_bit)
{
	struct fake_chip chip;
	uint8_t room[LY_PUBLIC_MAX];
	struct ly_wr w = ly_wr_over(room, sizeof(room));

	fake_chip_init(&chip, 3);
	bend_each_bit(LY_TPM_EK, chip.ek.area, chip.ek.area.len - 68);
	bend_each_bit(LY_TPM_AK, chip.ak.area, chip.ak.area.len - 68);
	bend_each_bit(LY_TPM_SK, chip.sk.area, chip.sk.area.len - 68);
	ly_tpm_key_put(LY_TPM_AUTHORITY, &chip.sk.point, &w);
	bend_each_bit(LY_TPM_AUTHORITY,
	    (struct ly_bytes){ room, ly_wr_len(&w) }, ly_wr_len(&w) - 68);
}

TEST(what_is_wrong_with_a_key_is_said_in_words)
{
	uint8_t bent[LY_PUBLIC_MAX];
	struct fake_chip chip;
	struct ly_bytes b;
	struct ly_tpm_key k;

	fake_chip_init(&chip, 3);
	b = (struct ly_bytes){ bent, chip.ak.area.len };
	memcpy(bent, chip.ak.area.at, b.len);
	bent[5] ^= 1; /* attributes, bit 16 */
	WANT_INT(ly_tpm_key_read(LY_TPM_AK, b, &k, &why), LY_REFUSED);
	WANT_STR(why.text, "AK: not restricted");
	memcpy(bent, chip.ak.area.at, b.len);
	bent[7] ^= 2; /* bit 1 */
	WANT_INT(ly_tpm_key_read(LY_TPM_AK, b, &k, &why), LY_REFUSED);
	WANT_STR(why.text, "AK: not fixed to its TPM");
}

TEST(a_key_that_is_no_point_of_the_curve_is_refused)
{
	uint8_t bent[LY_PUBLIC_MAX];
	struct fake_chip chip;
	struct ly_tpm_key k;

	fake_chip_init(&chip, 4);
	memcpy(bent, chip.sk.area.at, chip.sk.area.len);
	bent[chip.sk.area.len - 1] ^= 1;
	WANT_INT(ly_tpm_key_read(LY_TPM_SK,
		     (struct ly_bytes){ bent, chip.sk.area.len }, &k, &why),
	    LY_MALFORMED);
}

TEST(an_area_cut_anywhere_or_with_more_behind_it_is_refused)
{
	struct fake_chip chip;
	uint8_t more[LY_PUBLIC_MAX];
	struct ly_tpm_key k;
	size_t len;

	fake_chip_init(&chip, 5);
	len = chip.ak.area.len;
	for (size_t n = 0; n < len; n++)
		WANT_INT(ly_tpm_key_read(LY_TPM_AK,
			     (struct ly_bytes){ chip.ak.area.at, n }, &k, &why),
		    LY_MALFORMED);
	memcpy(more, chip.ak.area.at, len);
	more[len] = 0;
	WANT_INT(ly_tpm_key_read(LY_TPM_AK, (struct ly_bytes){ more, len + 1 },
		     &k, &why),
	    LY_MALFORMED);
}

/* ---- quotes ---- */

struct scene {
	struct fake_chip chip;
	struct fake_evidence e;
	struct ly_context x;
	struct ly_quote_want want;
};

static void
scene(struct scene *s)
{
	fake_chip_init(&s->chip, 6);
	s->x = question(LY_QUOTE_SOURCE);
	s->want = (struct ly_quote_want){ .type = LY_QUOTE_SOURCE,
		.ak = &s->chip.ak,
		.reset_count = 7,
		.restart_count = 1 };
}

static enum ly_rc
judge(struct scene *s)
{
	return ly_quote_check(&s->e.ev, &s->want, NULL, &why);
}

static void
want_refused(struct scene *s, const char *text)
{
	enum ly_rc rc = judge(s);

	WANT(rc == LY_REFUSED || rc == LY_MALFORMED);
	if (!strstr(why.text, text))
		WANT_STR(why.text, text);
}

TEST(a_good_quote_passes_and_says_what_the_tpm_said)
{
	struct ly_attest a;
	struct scene s;

	scene(&s);
	fake_quote(&s.chip, &s.x, &s.e);
	WANT_INT(ly_quote_check(&s.e.ev, &s.want, &a, &why), LY_OK);
	WANT_INT(a.reset_count, 7);
	WANT_INT(a.restart_count, 1);
	WANT_INT(a.clock, 123456);
	WANT_INT(a.pcr_mask, LY_SEALED_PCRS);
	WANT_MEM(a.signer.at, s.chip.ak.name, LY_TPM_NAME);
}

TEST(what_no_tpm_has_made_is_no_quote)
{
	struct scene s;

	scene(&s);
	s.chip.magic++;
	fake_quote(&s.chip, &s.x, &s.e);
	want_refused(&s, "quote: an attestation that no TPM has made");
}

TEST(a_quote_for_another_purpose_is_refused)
{
	struct scene s;

	scene(&s);
	fake_quote(&s.chip, &s.x, &s.e);
	s.want.type = LY_QUOTE_DEST;
	want_refused(&s, "another purpose or question");
}

TEST(a_quote_over_another_context_is_refused)
{
	struct scene s;

	scene(&s);
	fake_quote(&s.chip, &s.x, &s.e);
	s.e.context[s.e.ev.context.len - 1] ^= 1;
	want_refused(&s, "another purpose or question");
}

TEST(a_quote_of_another_chip_is_refused)
{
	struct fake_chip other;
	struct scene s;

	scene(&s);
	fake_chip_init(&other, 60);
	fake_quote(&other, &s.x, &s.e);
	want_refused(&s, "not signed by its AK");
}

TEST(a_quote_bent_in_any_bit_is_refused)
{
	struct scene s;

	scene(&s);
	fake_quote(&s.chip, &s.x, &s.e);
	for (size_t i = 0; i < s.e.ev.quote.len; i++) {
		s.e.quote[i] ^= 1;
		WANT(judge(&s) != LY_OK);
		s.e.quote[i] ^= 1;
	}
	for (size_t i = 0; i < sizeof(s.e.ev.signature); i++) {
		s.e.ev.signature[i] ^= 0x80;
		want_refused(&s, "not signed by its AK");
		s.e.ev.signature[i] ^= 0x80;
	}
	WANT_INT(judge(&s), LY_OK);
}

TEST(pcrs_other_than_those_required_are_refused)
{
	struct scene s;

	scene(&s);
	s.chip.selected = LY_SEALED_PCRS & ~0x10u;
	fake_quote(&s.chip, &s.x, &s.e);
	want_refused(&s, "PCRs 000885 are quoted, not 000895");
	s.chip.selected = LY_SEALED_PCRS | 0x10000u;
	fake_quote(&s.chip, &s.x, &s.e);
	want_refused(&s, "PCRs 010895 are quoted, not 000895");
}

TEST(pcr_values_that_are_not_the_quoted_ones_are_refused)
{
	struct scene s;

	scene(&s);
	fake_quote(&s.chip, &s.x, &s.e);
	s.e.pcrs[40] ^= 1;
	want_refused(&s, "the PCRs reported are not those that are quoted");
	s.e.pcrs[40] ^= 1;
	s.e.ev.pcr_mask ^= 2;
	want_refused(&s, "are reported, not");
	s.e.ev.pcr_mask ^= 2;
	s.e.ev.pcrs.len -= 32;
	want_refused(&s, "are reported, not");
}

TEST(a_host_that_lost_power_is_believed_though_its_clock_may_have_gone_back)
{
	struct ly_attest said;
	struct scene s;

	scene(&s);
	s.chip.safe = 0;
	fake_quote(&s.chip, &s.x, &s.e);
	WANT_INT(ly_quote_check(&s.e.ev, &s.want, &said, &why), LY_OK);
	WANT(!said.safe);
}

TEST(a_host_that_was_booted_or_resumed_since_is_refused)
{
	struct scene s;

	scene(&s);
	s.chip.reset_count++;
	fake_quote(&s.chip, &s.x, &s.e);
	want_refused(&s, "another boot than the host was enrolled in: 8.1");
	s.want.any_boot = true;
	WANT_INT(judge(&s), LY_OK);
	s.want.any_boot = false;
	s.chip.reset_count--;
	s.chip.restart_count++;
	fake_quote(&s.chip, &s.x, &s.e);
	want_refused(&s, "another boot than the host was enrolled in: 7.2");
}

/* ---- certify ---- */

static void
fake_certify(const struct fake_chip *c, const struct ly_tpm_key *of,
    const struct ly_context *x, struct fake_evidence *room,
    struct ly_enrol_keys *out)
{
	struct ly_wr w = ly_wr_over(room->quote, sizeof(room->quote));
	uint8_t q[32];

	*out = (struct ly_enrol_keys){ .ak = c->ak.area, .sk = c->sk.area };
	ly_qualify_context(x, room->context, &out->context, q);
	fake_head(c, LY_ATTEST_CERTIFY, q, &w);
	ly_wr_u16(&w, LY_TPM_NAME);
	ly_wr_bytes(&w, of->name, LY_TPM_NAME);
	ly_wr_u16(&w, LY_TPM_NAME);
	ly_wr_bytes(&w, of->name, LY_TPM_NAME);
	fake_sign(c, &w, out->certify_signature);
	out->certify = (struct ly_bytes){ room->quote, ly_wr_len(&w) };
}

TEST(a_certify_of_sk_passes_and_no_other_does)
{
	struct ly_context x = question(LY_QUOTE_ENROL_CERTIFY);
	struct fake_evidence room;
	struct ly_enrol_keys keys;
	struct fake_chip a, b;

	fake_chip_init(&a, 7);
	fake_chip_init(&b, 8);
	fake_certify(&a, &a.sk, &x, &room, &keys);
	WANT_INT(ly_certify_check(&keys, &a.ak, &a.sk, NULL, &why), LY_OK);
	WANT_INT(ly_certify_check(&keys, &a.ak, &b.sk, NULL, &why), LY_REFUSED);
	WANT_STR(why.text, "SK's certify: of another key than SK");
	WANT_INT(ly_certify_check(&keys, &b.ak, &a.sk, NULL, &why), LY_REFUSED);
	x.role = LY_QUOTE_ENROL;
	fake_certify(&a, &a.sk, &x, &room, &keys);
	WANT_INT(ly_certify_check(&keys, &a.ak, &a.sk, NULL, &why), LY_REFUSED);
}

TEST(a_quote_is_no_certify_and_a_certify_no_quote)
{
	struct ly_context x = question(LY_QUOTE_SOURCE);
	struct ly_enrol_keys keys;
	struct scene s;

	scene(&s);
	fake_certify(&s.chip, &s.chip.sk, &x, &s.e, &keys);
	s.e.ev = (struct ly_evidence){ .quote = keys.certify,
		.context = keys.context };
	memcpy(s.e.ev.signature, keys.certify_signature, 64);
	want_refused(&s, "not a quote");
	fake_quote(&s.chip, &s.x, &s.e);
	keys.certify = s.e.ev.quote;
	WANT_INT(ly_certify_check(&keys, &s.chip.ak, &s.chip.sk, NULL, &why),
	    LY_REFUSED);
	WANT_STR(why.text, "SK's certify: not a certify");
}

/* ---- policies ---- */

TEST(an_authorize_forgets_what_was_there_before)
{
	uint8_t name[LY_TPM_NAME] = { 0 }, ref[32] = { 0 };
	struct ly_policy p, q;

	ly_policy_start(&p);
	ly_policy_authorize(&p, name, ref);
	ly_policy_start(&q);
	ly_policy_command(&q, 0x15e);
	WANT(!ly_same(p.digest, q.digest, 32));
	ly_policy_authorize(&q, name, ref);
	WANT_MEM(p.digest, q.digest, 32);
}

TEST(an_approval_of_one_class_and_generation_is_none_for_another)
{
	uint8_t a[32], b[32], c[32];

	ly_class_ref("gold", 1, a);
	ly_class_ref("gold", 2, b);
	ly_class_ref("golde", 1, c);
	WANT(!ly_same(a, b, 32) && !ly_same(a, c, 32) && !ly_same(b, c, 32));
}

TEST(a_release_is_for_one_migration_one_question_one_host_one_key)
{
	struct ly_id mig = { { 1 } };
	uint8_t nonce[32] = { 2 }, name[LY_TPM_NAME] = { 3 };
	uint8_t ref[5][32];

	ly_release_ref(&mig, nonce, "spiffe://a/host/d", name, ref[0]);
	mig.b[0]++;
	ly_release_ref(&mig, nonce, "spiffe://a/host/d", name, ref[1]);
	mig.b[0]--;
	nonce[0]++;
	ly_release_ref(&mig, nonce, "spiffe://a/host/d", name, ref[2]);
	nonce[0]--;
	ly_release_ref(&mig, nonce, "spiffe://a/host/e", name, ref[3]);
	name[0]++;
	ly_release_ref(&mig, nonce, "spiffe://a/host/d", name, ref[4]);
	for (unsigned i = 0; i < 5; i++)
		for (unsigned j = 0; j < i; j++)
			WANT(!ly_same(ref[i], ref[j], 32));
}

TEST(a_session_nonce_too_short_to_be_fresh_is_not_signed_over)
{
	uint8_t nonce[33] = { 0 }, ref[32] = { 0 };
	uint8_t out[LY_RELEASE_SIGNED_MAX];
	size_t len;

	WANT_INT(ly_release_signed((struct ly_bytes){ nonce, 15 }, ref, out,
		     &len, &why),
	    LY_MALFORMED);
	WANT_INT(ly_release_signed((struct ly_bytes){ nonce, 33 }, ref, out,
		     &len, &why),
	    LY_MALFORMED);
	WANT_INT(ly_release_signed((struct ly_bytes){ nonce, 32 }, ref, out,
		     &len, &why),
	    LY_OK);
	WANT_INT(len, 68);
	WANT_INT(out[35], LY_RELEASE_S);
}

/* ---- blobs ---- */

TEST(a_blob_of_another_policy_is_refused_before_it_is_loaded)
{
	uint8_t chance[LY_BLOB_CHANCE] = { 1, 2 }, key[32] = { 3 };
	uint8_t name[LY_TPM_NAME];
	struct ly_policy p = { { 4 } }, q = { { 5 } };
	struct ly_blob_room room;
	struct ly_key_blob blob;
	struct fake_chip chip;

	fake_chip_init(&chip, 9);
	WANT_INT(ly_blob_make(&chip.sk, &p, key, sizeof(key), chance, &room,
		     &blob, &why),
	    LY_OK);
	WANT_INT(ly_blob_check(&blob, &p, name, &why), LY_OK);
	WANT_MEM(name, room.name, LY_TPM_NAME);
	WANT_INT(ly_blob_check(&blob, &q, name, &why), LY_REFUSED);
	room.public[9] ^= 0x40; /* userWithAuth: an empty password opens it */
	WANT_INT(ly_blob_check(&blob, &p, name, &why), LY_REFUSED);
	room.public[9] ^= 0x40;
	blob.public.len--;
	WANT_INT(ly_blob_check(&blob, &p, name, &why), LY_MALFORMED);
}

TEST(chance_that_is_no_key_is_asked_for_again)
{
	uint8_t chance[LY_BLOB_CHANCE], key[32] = { 3 };
	struct ly_policy p = { { 4 } };
	struct ly_credential_room croom;
	struct ly_enrol_dare dare;
	struct ly_blob_room room;
	struct ly_key_blob blob;
	struct fake_chip chip;

	fake_chip_init(&chip, 9);
	memset(chance, 0xff, sizeof(chance));
	WANT_INT(ly_blob_make(&chip.sk, &p, key, sizeof(key), chance, &room,
		     &blob, &why),
	    LY_BUSY);
	WANT_INT(ly_credential_make(&chip.ek, chip.ak.name, key, sizeof(key),
		     chance, &croom, &dare, &why),
	    LY_BUSY);
}

TEST_MAIN()
