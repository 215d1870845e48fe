/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/attest/appraise and manager/policy: one host in an approved state, with
 * one thing wrong at a time; and two hosts that do not fit together.
 */
#include "manager/policy/appraise.h"
#include "tests/unit/approved_scene.h"
#include "tests/unit/eventlog_gen.h"

#include "tests/test.h"

#define SELF "spiffe://south/host/s1"

/* All that one appraisal looks at; begin() makes it good. */
static struct scene {
	struct authority pol, ak, sk;
	struct ly_call call;
	struct ly_appraise_host host;
	struct ly_context ctx;
	struct ly_evidence ev;
	uint8_t ak_area[128], sk_area[128], quote[256], room[LY_CONTEXT_MAX];
	uint8_t pcrs[LY_PCRS_N * 32];
	uint32_t mask;
	uint32_t resets;
	uint8_t safe;
	struct ly_context want;
	struct ly_appraise a;
	struct ly_appraised out;
	struct ly_bytes reference;
} s;
static struct gen gen, ref;
static struct list made;
static struct ly_approved list;
static struct ly_why why;

static struct ly_bytes
put_key(enum ly_tpm_use use, const struct authority *key, uint8_t area[128],
    uint8_t name[LY_TPM_NAME])
{
	struct ly_wr w = ly_wr_over(area, 128);
	struct ly_bytes b;

	ly_tpm_key_put(use, &key->key, &w);
	assert(!w.bad);
	b = (struct ly_bytes){ area, ly_wr_len(&w) };
	ly_tpm_name(b, name);
	return b;
}

/* The TPM: a TPMS_ATTEST over PCRs and context as they are now, signed. */
static void
quote(void)
{
	struct ly_wr w = ly_wr_over(s.quote, sizeof(s.quote));
	struct ly_wr values = ly_wr_over(s.pcrs, sizeof(s.pcrs));
	uint8_t q[32], digest[32];

	ly_qualify_context(&s.ctx, s.room, &s.ev.context, q);
	ly_approved_pack(s.mask, (const uint8_t(*)[32])gen.pcr, &values);
	s.ev.pcr_mask = s.mask;
	s.ev.pcrs = (struct ly_bytes){ s.pcrs, ly_wr_len(&values) };
	ly_pcr_digest(s.ev.pcrs, digest);
	ly_wr_u32(&w, 0xff544347);
	ly_wr_u16(&w, LY_ATTEST_QUOTE);
	ly_wr_u16(&w, 0); /* who signs: read, not needed */
	ly_wr_u16(&w, 32);
	ly_wr_bytes(&w, q, 32);
	ly_wr_u64(&w, 1000);
	ly_wr_u32(&w, s.resets);
	ly_wr_u32(&w, 0);
	ly_wr_u8(&w, s.safe);
	ly_wr_u64(&w, 1);
	ly_pcr_selection_put(s.mask, &w);
	ly_wr_u16(&w, 32);
	ly_wr_bytes(&w, digest, 32);
	assert(!w.bad);
	s.ev.quote = (struct ly_bytes){ s.quote, ly_wr_len(&w) };
	assert(ly_ecdsa_sign(s.ak.secret, s.quote, s.ev.quote.len,
		   s.ev.signature) == LY_OK);
}

static struct ly_bytes
on_log(void *arg, const uint8_t sha256[32])
{
	uint8_t is[32];

	WANT(arg == &s);
	ly_sha256(ref.log, ref.len, is);
	return memcmp(is, sha256, 32) == 0 ? s.reference :
					     (struct ly_bytes){ NULL, 0 };
}

static void
approve(const struct gen *g)
{
	struct ly_approved_entry *e;

	list_start(&made, "south", 5, 1);
	e = list_add_of(&made, "compute", "Debian 12.8", SCENE_PCRS,
	    (const uint8_t(*)[32])g->pcr);
	ly_sha256(g->log, g->len, e->log);
	WANT_INT(ly_approved_parse(sign_list(&made, &s.pol), "south",
		     &s.pol.key, &list, &why),
	    LY_OK);
}

static void
call(void)
{
	s.call = (struct ly_call){ .vm = { { 1 } },
		.mig = { { 2 } },
		.nonce = { 3 },
		.epoch = 9,
		.source = "spiffe://north/host/n1",
		.dest = SELF,
		.home = "spiffe://north/host/n2" };
}

static void
begin(void)
{
	memset(&s, 0, sizeof(s));
	authority_make(&s.pol, 1);
	authority_make(&s.ak, 2);
	authority_make(&s.sk, 3);
	call();
	gen_start(&gen, 2);
	gen_boot(&gen, "\\EFI\\debian\\grubx64.efi", "1");
	ref = gen;
	approve(&ref);
	s.reference = gen_log(&ref);
	s.host = (struct ly_appraise_host){ .id = SELF,
		.class = "compute",
		.hk = { 7 },
		.reset_count = 4 };
	s.ev.ak = put_key(LY_TPM_AK, &s.ak, s.ak_area, s.host.ak_name);
	s.ev.sk = put_key(LY_TPM_SK, &s.sk, s.sk_area, s.host.sk_name);
	s.ev.log = gen_log(&gen);
	s.mask = SCENE_PCRS;
	s.resets = 4;
	s.safe = 1;
	s.a = (struct ly_appraise){ .side = "destination",
		.evidence = &s.ev,
		.host = &s.host,
		.want = &s.want,
		.list = &list,
		.log_of = on_log,
		.arg = &s };
	WANT_INT(ly_appraise_want(&s.call, LY_AS_DEST, &s.host, &s.want,
		     &s.a.open, &why),
	    LY_OK);
	s.ctx = s.want;
	s.ctx.launch[0] = 0x77; /* as it likes */
	quote();
}

static void
want_no(const char *text)
{
	enum ly_rc rc = ly_appraise(&s.a, &s.out, &why);

	WANT_STR(why.text, text);
	WANT_INT(rc, LY_REFUSED);
}

static void
want_ok(void)
{
	enum ly_rc rc = ly_appraise(&s.a, &s.out, &why);

	if (rc != LY_OK)
		WANT_STR(why.text, "");
	WANT_INT(rc, LY_OK);
}

/* ---- one host ---- */

TEST(a_host_that_is_all_it_should_be_is_fit)
{
	begin();
	want_ok();
	WANT(s.out.entry == &list.of[0]);
	WANT_INT(s.out.differ, 0);
	WANT_INT(s.out.context.launch[0], 0x77);
	WANT_INT(s.out.attest.reset_count, 4);
	WANT_MEM(s.out.sk.name, s.host.sk_name, LY_TPM_NAME);
}

TEST(a_boot_loader_of_its_own_is_named_with_side_pcr_and_event)
{
	begin();
	gen_start(&gen, 2);
	gen_boot(&gen, "\\EFI\\debian\\evil.efi", "1");
	s.ev.log = gen_log(&gen);
	quote();
	want_no("destination: state: PCR 4: event 7"
		" (EV_EFI_BOOT_SERVICES_APPLICATION, \\EFI\\debian\\evil.efi)"
		" is not in the approved log; class compute: PCR 4 differs from"
		" the nearest approved state, entry 1 \"Debian 12.8\"");
	WANT_INT(s.out.differ, 0x10);
	s.reference = (struct ly_bytes){ NULL, 0 }; /* it was not kept */
	want_no("destination: state: class compute: PCR 4 differs from the"
		" nearest approved state, entry 1 \"Debian 12.8\"");
	s.a.log_of = NULL;
	want_no("destination: state: class compute: PCR 4 differs from the"
		" nearest approved state, entry 1 \"Debian 12.8\"");
}

TEST(a_log_that_hides_the_boot_loader_does_not_replay)
{
	begin();
	gen_start(&gen, 2);
	gen_boot(&gen, "\\EFI\\debian\\evil.efi", "1");
	s.ev.log = gen_log(&ref);
	quote();
	want_no("destination: log: the event log does not replay to the quoted"
		" PCR 4");
	s.ev.log = (struct ly_bytes){ NULL, 0 };
	want_no("destination: log: there is no event log, and the quoted PCR 0"
		" is not as at start");
}

TEST(without_use_for_a_log_the_pcrs_alone_are_looked_at)
{
	begin();
	s.ev.log = (struct ly_bytes){ NULL, 0 };
	s.a.logless = true;
	want_ok();
	gen.pcr[7][0] ^= 1;
	quote();
	want_no("destination: state: class compute: PCR 7 differs from the"
		" nearest approved state, entry 1 \"Debian 12.8\"");
}

TEST(a_withdrawn_state_is_not_approved_any_more)
{
	begin();
	list_start(&made, "south", 6, 2);
	WANT_INT(ly_approved_parse(sign_list(&made, &s.pol), "south",
		     &s.pol.key, &list, &why),
	    LY_OK);
	want_no("destination: state: site south approves no state of class"
		" compute (list 6)");
	s.a.list = NULL;
	want_no("destination: state: there is no list of approved states of"
		" its site");
	s.a.any_state = true;
	want_ok();
	WANT(!s.out.entry);
}

TEST(pcrs_that_were_not_quoted_are_not_believed)
{
	begin();
	s.pcrs[0] ^= 1;
	want_no("destination: quote: the PCRs reported are not those that are"
		" quoted");
	begin();
	s.mask = 0x95; /* without PCR 11 */
	quote();
	want_no("destination: quote: PCRs 000095 are quoted, not 000895");
}

TEST(a_quote_of_another_boot_is_refused)
{
	begin();
	s.resets = 5;
	quote();
	want_no("destination: quote: another boot than the host was enrolled"
		" in: 5.0, not 4.0");
	s.a.any_boot = true;
	want_ok();
}

TEST(a_quote_by_another_ak_is_refused)
{
	begin();
	s.ak.secret[0] ^= 1;
	quote();
	want_no("destination: quote: not signed by its AK");
}

TEST(an_ak_or_sk_that_is_not_that_of_the_certificate_is_refused)
{
	begin();
	s.host.ak_name[9] ^= 1;
	want_no("destination: keys: its AK is not that of its certificate");
	begin();
	s.host.sk_name[9] ^= 1;
	want_no("destination: keys: its SK is not that of its certificate");
	begin();
	s.ev.ak = s.ev.sk;
	WANT_INT(ly_appraise(&s.a, &s.out, &why), LY_REFUSED);
	WANT(strncmp(why.text, "destination: keys: AK: ", 23) == 0);
}

TEST(a_quote_made_for_another_call_or_role_is_refused)
{
	static const struct {
		size_t at;
		const char *field;
	} rows[] = {
		{ offsetof(struct ly_context, nonce), "nonce" },
		{ offsetof(struct ly_context, vm), "vm" },
		{ offsetof(struct ly_context, mig), "mig" },
		{ offsetof(struct ly_context, epoch), "epoch" },
		{ offsetof(struct ly_context, seq), "seq" },
		{ offsetof(struct ly_context, self), "self" },
		{ offsetof(struct ly_context, source), "source" },
		{ offsetof(struct ly_context, dest), "dest" },
		{ offsetof(struct ly_context, home), "home" },
		{ offsetof(struct ly_context, hk), "hk" },
		{ offsetof(struct ly_context, sk_name), "sk_name" },
		{ offsetof(struct ly_context, vpcrs), "vpcrs" },
		{ offsetof(struct ly_context, over), "over" },
		{ offsetof(struct ly_context, holder_hk), "holder_hk" },
	};
	char text[160];

	for (size_t i = 0; i < LY_COUNT(rows); i++) {
		begin();
		*((uint8_t *)&s.ctx + rows[i].at) ^= 4;
		quote();
		ly_print(text, sizeof(text),
		    "destination: context: the quote is over another %s than"
		    " was asked for",
		    rows[i].field);
		want_no(text);
	}
	begin();
	s.ctx.role = LY_QUOTE_SOURCE;
	quote();
	want_no("destination: quote: made for another purpose or question");
}

TEST(only_a_home_is_free_to_say_what_the_vms_tpm_is_like)
{
	begin();
	ly_copy(s.call.home, LY_SPIFFE_MAX, SELF);
	s.a.side = "home";
	WANT_INT(ly_appraise_want(&s.call, LY_AS_HOME, &s.host, &s.want,
		     &s.a.open, &why),
	    LY_OK);
	s.ctx = s.want;
	s.ctx.seq = 55;
	s.ctx.vpcrs[0] = 1;
	s.ctx.holder_hk[0] = 1;
	quote();
	want_ok();
	s.ctx.launch[0] = 1;
	quote();
	want_no("home: context: the quote is over another launch than was"
		" asked for");
}

TEST(a_host_that_the_call_does_not_name_is_not_asked)
{
	struct ly_context want;
	uint32_t open;

	begin();
	WANT_INT(ly_appraise_want(&s.call, LY_AS_SOURCE, &s.host, &want, &open,
		     &why),
	    LY_REFUSED);
	WANT_STR(why.text,
	    "the call does not name spiffe://south/host/s1 as its source");
	WANT_INT(ly_appraise_want(&s.call, LY_QUOTE_ROLES, &s.host, &want,
		     &open, &why),
	    LY_REFUSED);
	WANT_INT(ly_appraise_want(&s.call, LY_AS_TPM, &s.host, &want, &open,
		     &why),
	    LY_REFUSED);
}

/* ---- two hosts ---- */

static struct ly_context place, home;
static struct ly_appraise_pair pair;

static void
two(void)
{
	place = (struct ly_context){ .role = LY_QUOTE_SOURCE,
		.nonce = { 1 },
		.vm = { { 2 } },
		.mig = { { 3 } },
		.epoch = 4,
		.self = "spiffe://north/host/n1",
		.hk = { 5 } };
	home = place;
	home.role = LY_QUOTE_HOME;
	ly_copy(home.source, LY_SPIFFE_MAX, place.self);
	ly_copy(home.self, LY_SPIFFE_MAX, "spiffe://north/host/n2");
	home.hk[0] = 6;
	home.holder_hk[0] = 5;
	home.vpcrs[0] = 8;
	pair = (struct ly_appraise_pair){ .place = &place, .home = &home };
}

static void
want_pair(const char *text)
{
	why.text[0] = '\0';
	WANT_INT(ly_appraise_pair(&pair, &why), *text ? LY_REFUSED : LY_OK);
	WANT_STR(why.text, text);
}

TEST(a_place_and_a_home_that_say_the_same_fit)
{
	two();
	want_pair("");
}

TEST(two_answers_to_different_calls_do_not_fit)
{
	uint8_t *const at[] = { &home.vm.b[0], &home.mig.b[0], &home.nonce[0] };

	for (size_t i = 0; i < LY_COUNT(at); i++) {
		two();
		*at[i] ^= 1;
		want_pair("home: it answers another call than"
			  " spiffe://north/host/n1");
	}
	two();
	home.epoch = 5;
	want_pair("home: the VM's epoch is 5 there, and 4 at"
		  " spiffe://north/host/n1");
}

/* A relay: n1 shows a good quote of its own, and the TPM is used elsewhere. */
TEST(a_tpm_that_another_host_uses_proves_nothing_about_this_one)
{
	two();
	ly_copy(home.source, LY_SPIFFE_MAX, "spiffe://north/host/n3");
	want_pair("home: the VM's TPM is held by spiffe://north/host/n3, not"
		  " by spiffe://north/host/n1");
	home.source[0] = '\0';
	want_pair("home: the VM's TPM is held by nobody, not by"
		  " spiffe://north/host/n1");
	two();
	home.holder_hk[0] ^= 1;
	want_pair("home: who holds the VM's TPM has another TLS key than"
		  " spiffe://north/host/n1 has quoted");
}

TEST(the_vms_own_pcrs_are_held_against_what_is_expected)
{
	two();
	pair.rule = LY_VPCR_LAST;
	want_pair("home: the PCRs of the VM's TPM have changed since it was"
		  " appraised last");
	pair.rule = LY_VPCR_PINNED;
	want_pair("home: the PCRs of the VM's TPM are not those that are"
		  " pinned");
	pair.vpcrs[0] = 8;
	want_pair("");
	pair.rule = LY_VPCR_LAST;
	want_pair("");
	WANT_STR(ly_vpcr_rule_name(LY_VPCR_LAST), "unchanged");
	WANT_STR(ly_vpcr_rule_name(LY_VPCR_RULES), "?");
}

TEST_MAIN()
