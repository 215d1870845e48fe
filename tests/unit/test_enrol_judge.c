/* SPDX-License-Identifier: Apache-2.0 */
/* manager/enrol: what a host says at enrolment, and the inventory. */
#include "manager/enrol/judge.h"
#include "manager/enrol/pin.h"
#include "tests/test.h"
#include "tests/unit/fake_chip.h"

#define SELF "spiffe://east/host/h1"

static struct ly_why said;
static struct fake_chip chip;
static uint8_t hk[32];
static struct ly_enrol_asked asked;

/* What a host answers BEGIN with, good until a test bends it. */
static struct begin {
	struct ly_enrol_keys keys;
	struct ly_context x;
	uint8_t certify[LY_ATTEST_MAX], context[LY_CONTEXT_MAX];
} b;

static void
ask_begin(void)
{
	fake_chip_init(&chip, 1);
	memset(hk, 0x4b, sizeof(hk));
	asked = (struct ly_enrol_asked){ .self = SELF };
	memset(asked.nonce, 1, sizeof(asked.nonce));
	memset(asked.secret, 2, sizeof(asked.secret));
	memset(asked.transcript, 3, sizeof(asked.transcript));
	b = (struct begin){ .keys = { .ek = chip.ek.area,
				.ak = chip.ak.area,
				.sk = chip.sk.area } };
	b.x = (struct ly_context){ .role = LY_QUOTE_ENROL_CERTIFY,
		.self = SELF };
	memcpy(b.x.nonce, asked.nonce, 32);
	memcpy(b.x.hk, hk, 32);
	memcpy(b.x.sk_name, chip.sk.name, LY_TPM_NAME);
}

static void
certify(const uint8_t name[LY_TPM_NAME])
{
	struct ly_wr w = ly_wr_over(b.certify, sizeof(b.certify));
	uint8_t q[32];

	ly_qualify_context(&b.x, b.context, &b.keys.context, q);
	fake_head(&chip, LY_ATTEST_CERTIFY, q, &w);
	for (int i = 0; i < 2; i++) { /* Name, and qualified Name */
		ly_wr_u16(&w, LY_TPM_NAME);
		ly_wr_bytes(&w, name, LY_TPM_NAME);
	}
	fake_sign(&chip, &w, b.keys.certify_signature);
	b.keys.certify = (struct ly_bytes){ b.certify, ly_wr_len(&w) };
}

static enum ly_rc
judge_begin(struct ly_enrol_facts *f)
{
	said.text[0] = '\0';
	return ly_enrol_judge_keys(&b.keys, &asked, hk, f, &said);
}

static void
begin_says(const char *text)
{
	struct ly_enrol_facts f;

	WANT(judge_begin(&f) != LY_OK);
	if (!strstr(said.text, text))
		test_fail(__FILE__, __LINE__, "\"%s\" is not in \"%s\"", text,
		    said.text);
}

TEST(a_host_shows_its_keys)
{
	struct ly_enrol_facts f;

	ask_begin();
	certify(chip.sk.name);
	WANT_INT(judge_begin(&f), LY_OK);
	WANT_MEM(f.ak.name, chip.ak.name, LY_TPM_NAME);
	WANT_MEM(f.sk.name, chip.sk.name, LY_TPM_NAME);
	WANT_MEM(f.ek.area, chip.ek.area.at, chip.ek.area.len);
	WANT_MEM(f.hk, hk, 32);
	WANT_INT(f.reset_count, 7);
	WANT_INT(f.restart_count, 1);
	WANT_INT(f.pcr_mask, 0);
}

/* Offset 4 of a TPMT_PUBLIC: its attributes. */
static void
bend_attributes(struct ly_bytes *area, uint8_t room[LY_PUBLIC_MAX],
    uint32_t bit)
{
	struct ly_wr w = ly_wr_over(room + 4, 4);
	struct ly_rd r = ly_rd_over(area->at + 4, 4);

	memcpy(room, area->at, area->len);
	ly_wr_u32(&w, ly_rd_u32(&r) ^ bit);
	area->at = room;
}

TEST(a_key_that_can_be_made_to_do_more_is_refused)
{
	uint8_t room[LY_PUBLIC_MAX];

	ask_begin();
	certify(chip.sk.name);
	bend_attributes(&b.keys.ak, room, 1u << 16);
	begin_says("AK: not restricted");
	ask_begin();
	certify(chip.sk.name);
	bend_attributes(&b.keys.sk, room, 1u << 1);
	begin_says("SK: not fixed to its TPM");
}

TEST(a_storage_key_of_another_tpm_is_refused)
{
	struct fake_chip other;

	ask_begin();
	fake_chip_init(&other, 2);
	b.keys.sk = other.sk.area;
	memcpy(b.x.sk_name, other.sk.name, LY_TPM_NAME);
	certify(chip.sk.name);
	begin_says("of another key than SK");
}

TEST(the_keys_answer_this_question_of_this_host)
{
	ask_begin();
	memset(b.x.hk, 0xee, 32); /* somebody else's TLS key */
	certify(chip.sk.name);
	begin_says("another hk");
	ask_begin();
	memset(b.x.nonce, 0xee, 32);
	certify(chip.sk.name);
	begin_says("another nonce");
	ask_begin();
	ly_copy(b.x.self, sizeof(b.x.self), "spiffe://east/host/h2");
	certify(chip.sk.name);
	begin_says("another self");
	ask_begin();
	certify(chip.sk.name);
	hk[0] ^= 1; /* the request for a certificate was swapped */
	begin_says("another hk");
	ask_begin();
	b.x.role = LY_QUOTE_ENROL;
	certify(chip.sk.name);
	begin_says("another purpose");
}

/* ---- PROVE ---- */

static struct ly_enrol_facts facts;
static struct fake_evidence fe;
static struct ly_context px;
static uint8_t packed[LY_EVIDENCE_MAX];

static void
ask_prove(void)
{
	ask_begin();
	certify(chip.sk.name);
	WANT_INT(judge_begin(&facts), LY_OK);
	px = b.x;
	px.role = LY_QUOTE_ENROL;
	memcpy(px.over, asked.transcript, 32);
}

static enum ly_rc
judge_proof(void)
{
	struct ly_enrol_proof p;

	fake_quote(&chip, &px, &fe);
	p.evidence.at = packed;
	p.evidence.len = fake_pack(&fe.ev, packed, sizeof(packed));
	ly_hmac(asked.secret, 32, asked.transcript, 32, p.hmac);
	said.text[0] = '\0';
	return ly_enrol_judge_proof(&p, &asked, &facts, &said);
}

static void
proof_says(const char *text)
{
	WANT_INT(judge_proof(), LY_REFUSED);
	WANT_INT(facts.pcr_mask, 0);
	if (!strstr(said.text, text))
		test_fail(__FILE__, __LINE__, "\"%s\" is not in \"%s\"", text,
		    said.text);
}

TEST(a_proof_says_in_which_state_the_host_is)
{
	ask_prove();
	WANT_INT(judge_proof(), LY_OK);
	WANT_INT(facts.pcr_mask, LY_SEALED_PCRS);
	WANT_MEM(facts.pcr[7], chip.pcr[7], 32);
	WANT_INT(facts.pcr[1][0], 0);
}

TEST(a_proof_without_the_secret_is_none)
{
	struct ly_enrol_proof p;

	ask_prove();
	fake_quote(&chip, &px, &fe);
	p.evidence.at = packed;
	p.evidence.len = fake_pack(&fe.ev, packed, sizeof(packed));
	/* The bare secret, as who only passes it on would send it. */
	memcpy(p.hmac, asked.secret, 32);
	WANT_INT(ly_enrol_judge_proof(&p, &asked, &facts, &said), LY_REFUSED);
	WANT(strstr(said.text, "has not opened this challenge"));
}

TEST(a_proof_is_good_for_its_own_challenge)
{
	ask_prove();
	memset(px.over, 9, 32); /* the quote of another exchange */
	proof_says("another over");
	ask_prove();
	memset(px.nonce, 9, 32);
	proof_says("another nonce");
	ask_prove();
	memset(px.hk, 9, 32);
	proof_says("another hk");
	ask_prove();
	px.role = LY_QUOTE_RENEW;
	proof_says("another purpose");
}

TEST(a_proof_by_another_ak_is_refused)
{
	ask_prove();
	fake_chip_init(&chip, 2);
	proof_says("of other keys than it began with");
}

TEST(a_boot_in_between_is_seen_and_is_no_lie)
{
	ask_prove();
	chip.reset_count++;
	WANT_INT(judge_proof(), LY_FENCED);
	WANT(strstr(said.text, "8.1, was 7.1"));
	ask_prove();
	chip.restart_count++;
	WANT_INT(judge_proof(), LY_FENCED);
	/* But a lie about one is a lie. */
	ask_prove();
	chip.reset_count++;
	memset(px.nonce, 9, 32);
	proof_says("another nonce");
}

TEST(a_renewal_is_a_quote_for_renewal)
{
	ask_prove();
	memset(px.over, 0, 32);
	px.role = LY_QUOTE_RENEW;
	fake_quote(&chip, &px, &fe);
	WANT_INT(ly_enrol_judge_renewal(&fe.ev, &asked, &facts, &said), LY_OK);
	asked.nonce[0] ^= 1;
	WANT_INT(ly_enrol_judge_renewal(&fe.ev, &asked, &facts, &said),
	    LY_REFUSED);
	asked.nonce[0] ^= 1;
	px.role = LY_QUOTE_ENROL;
	fake_quote(&chip, &px, &fe);
	WANT_INT(ly_enrol_judge_renewal(&fe.ev, &asked, &facts, &said),
	    LY_REFUSED);
	px.role = LY_QUOTE_RENEW;
	chip.restart_count++;
	fake_quote(&chip, &px, &fe);
	WANT_INT(ly_enrol_judge_renewal(&fe.ev, &asked, &facts, &said),
	    LY_FENCED);
}

/* ---- the inventory ---- */

#define S16 "0123456789abcdef"
#define SHA S16 S16 S16 S16

TEST(an_ek_is_given_in_one_of_two_ways)
{
	static const char *const bad[] = { "", "sha256:", "serial:", "x",
		"sha256:" S16, S16 S16 S16 S16 "0",
		"sha256:" S16 S16 S16 S16 "0", "md5:" S16, "serial:xyz",
		":" S16 S16 S16 S16 };
	char out[LY_PIN_TEXT];

	WANT_INT(ly_pin_parse(SHA, out, &said), LY_OK);
	WANT_STR(out, "sha256:" SHA);
	WANT_INT(ly_pin_parse("sha256:" S16 S16 S16 "01:23:45:67:89:AB:CD:EF",
		     out, &said),
	    LY_OK);
	WANT_STR(out, "sha256:" SHA);
	WANT_INT(ly_pin_parse("serial:00:0A:B0", out, &said), LY_OK);
	WANT_STR(out, "serial:ab0");
	for (size_t i = 0; i < LY_COUNT(bad); i++)
		if (ly_pin_parse(bad[i], out, &said) != LY_REFUSED)
			test_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
}

TEST(a_genuine_chip_alone_is_no_admission)
{
	struct ly_ek_shown ek = { .has_cert = true,
		.genuine = true,
		.serial = "0AB0" };
	char by[LY_PIN_BY];

	WANT_INT(ly_pin_match("", &ek, by, &said), LY_REFUSED);
	WANT(strstr(said.text,
	    "the inventory has no EK for it; it shows"
	    " sha256:0000"));
	WANT_INT(ly_pin_match("serial:ab0", &ek, by, &said), LY_OK);
	WANT_STR(by, "serial number, genuine");
	WANT_INT(ly_pin_match("serial:ab1", &ek, by, &said), LY_REFUSED);
	ek.genuine = false;
	WANT_INT(ly_pin_match("serial:ab0", &ek, by, &said), LY_REFUSED);
	WANT(strstr(said.text, "no maker"));
	ek.genuine = true;
	ek.has_cert = false;
	WANT_INT(ly_pin_match("serial:ab0", &ek, by, &said), LY_REFUSED);
}

TEST(an_ek_that_was_pinned_is_believed_by_itself)
{
	struct ly_ek_shown ek = { .has_cert = true };
	char by[LY_PIN_BY], hex[65], pin[LY_PIN_TEXT];
	uint8_t *of[] = { ek.spki, ek.area, ek.cert };

	for (size_t i = 0; i < LY_COUNT(of); i++) {
		memset(ek.spki, 1, 32);
		memset(ek.area, 2, 32);
		memset(ek.cert, 3, 32);
		ly_hex(of[i], 32, hex);
		ly_print(pin, sizeof(pin), "sha256:%s", hex);
		WANT_INT(ly_pin_match(pin, &ek, by, &said), LY_OK);
		WANT_STR(by, "pinned");
		of[i][0] ^= 1;
		WANT_INT(ly_pin_match(pin, &ek, by, &said), LY_REFUSED);
		WANT(strstr(said.text, "another EK"));
	}
}

TEST_MAIN()
