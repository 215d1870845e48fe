/* SPDX-License-Identifier: Apache-2.0 */
/* agent/tpm/policy: what a guest may not ask of a chip its VM owns. */
#include "agent/tpm/policy.h"

#include "tests/test.h"

#define OWNER 0x40000001u
#define LOCKOUT 0x4000000au
#define PLATFORM 0x4000000cu

static const struct ly_tpm_policy strict = { .resets = true };

struct bytes {
	uint8_t at[256];
	size_t len;
};

static void
seal(struct bytes *b, struct ly_wr *w)
{
	struct ly_wr size = ly_wr_over(b->at + 2, 4);

	WANT(!w->bad);
	b->len = ly_wr_len(w);
	ly_wr_u32(&size, (uint32_t)b->len);
}

/* A command with handles that are all `handle`, and no session. */
static struct bytes
plain(uint32_t code, uint32_t handle)
{
	const struct ly_tpm_code *row = ly_tpm_code_of(code);
	struct bytes b = { 0 };
	struct ly_wr w = ly_wr_over(b.at, sizeof(b.at));

	ly_wr_u16(&w, LY_TPM_ST_NO_SESSIONS);
	ly_wr_u32(&w, 0);
	ly_wr_u32(&w, code);
	for (unsigned i = 0; row && i < row->handles; i++)
		ly_wr_u32(&w, handle);
	seal(&b, &w);
	return b;
}

static void
password_session(struct ly_wr *w, uint32_t session, const char *password)
{
	uint16_t len = (uint16_t)strlen(password);

	ly_wr_u32(w, 9u + len);
	ly_wr_u32(w, session);
	ly_wr_u16(w, 0);
	ly_wr_u8(w, 0);
	ly_wr_u16(w, len);
	ly_wr_bytes(w, password, len);
}

/* What SeaBIOS sends before it boots. */
static struct bytes
change_auth(uint32_t who, uint32_t session)
{
	struct bytes b = { 0 };
	struct ly_wr w = ly_wr_over(b.at, sizeof(b.at));

	ly_wr_u16(&w, LY_TPM_ST_SESSIONS);
	ly_wr_u32(&w, 0);
	ly_wr_u32(&w, LY_TPM_CC_HIERARCHY_CHANGE_AUTH);
	ly_wr_u32(&w, who);
	password_session(&w, session, "old");
	ly_wr_u16(&w, 20);
	ly_wr_bytes(&w, "01234567890123456789", 20);
	seal(&b, &w);
	return b;
}

static struct bytes
hierarchy_control(uint32_t who, uint32_t what, uint8_t on)
{
	struct bytes b = { 0 };
	struct ly_wr w = ly_wr_over(b.at, sizeof(b.at));

	ly_wr_u16(&w, LY_TPM_ST_SESSIONS);
	ly_wr_u32(&w, 0);
	ly_wr_u32(&w, LY_TPM_CC_HIERARCHY_CONTROL);
	ly_wr_u32(&w, who);
	password_session(&w, 0x40000009, "");
	ly_wr_u32(&w, what);
	ly_wr_u8(&w, on);
	seal(&b, &w);
	return b;
}

static enum ly_tpm_verdict
ask(const struct ly_tpm_policy *p, struct bytes b, struct ly_tpm_say *say)
{
	return ly_tpm_policy_ask(p, b.at, b.len, say);
}

TEST(what_changes_the_chip_for_others_is_denied_as_unknown)
{
	static const uint16_t denied[] = { 0x126, 0x127, 0x121, 0x129, 0x12e,
		0x124, 0x125, 0x13f, 0x140, 0x133, 0x12d, 0x12b, 0x12c, 0x183,
		0x12f, 0x141, 0x179, 0x128, 0x130, 0x139, 0x13a, 0x132, 0x11f,
		0x187, 0x18b, 0x18e, 0x18d, 0x194, 0x195, 0x196, 0x198 };
	struct ly_tpm_say say;

	for (size_t i = 0; i < LY_COUNT(denied); i++) {
		struct ly_tpm_rsp rsp;

		WANT_INT(ask(&strict, plain(denied[i], OWNER), &say),
		    LY_TPM_DENY);
		WANT_INT(ly_tpm_rsp_parse(say.at, say.len, &rsp), LY_OK);
		WANT_INT(rsp.rc, LY_TPM_RC_COMMAND_CODE);
		WANT_INT(say.rc, rsp.rc);
		WANT(strlen(say.why) > 0);
	}
}

TEST(what_a_guest_does_with_its_own_tpm_runs)
{
	static const uint16_t run[] = { 0x144, 0x145, 0x143, 0x146, 0x17b,
		0x17a, 0x182, 0x17e, 0x13d, 0x131, 0x153, 0x157, 0x15e, 0x158,
		0x147, 0x162, 0x161, 0x165, 0x12a, 0x137, 0x14e, 0x134, 0x122,
		0x120, 0x176, 0x17f, 0x151, 0x149, 0x192, 0x193 };
	struct ly_tpm_say say;

	for (size_t i = 0; i < LY_COUNT(run); i++)
		WANT_INT(ask(&strict, plain(run[i], OWNER), &say), LY_TPM_RUN);
}

TEST(each_command_of_the_specification_has_a_row)
{
	for (uint32_t code = 0; code < 0x400; code++)
		WANT_INT(ly_tpm_policy_row(code) != NULL,
		    ly_tpm_code_of(code) != NULL);
}

TEST(unknown_and_vendor_commands_are_denied)
{
	static const uint32_t codes[] = { 0, 0x11e, 0x123, 0x15a, 0x1a1, 0x400,
		0x20000000, 0x20000182, 0xffffffff };
	struct ly_tpm_say say;

	for (size_t i = 0; i < LY_COUNT(codes); i++) {
		WANT_INT(ask(&strict, plain(codes[i], OWNER), &say),
		    LY_TPM_DENY);
		WANT_INT(say.rc, LY_TPM_RC_COMMAND_CODE);
	}
}

TEST(clear_runs_only_where_it_is_allowed)
{
	static const struct ly_tpm_policy lax = { .allow_clear = true };
	struct ly_tpm_say say;

	WANT_INT(ask(&strict, plain(LY_TPM_CC_CLEAR, LOCKOUT), &say),
	    LY_TPM_DENY);
	WANT_INT(ask(&lax, plain(LY_TPM_CC_CLEAR, LOCKOUT), &say), LY_TPM_RUN);
	WANT_INT(ask(&lax, plain(LY_TPM_CC_CLEAR, PLATFORM), &say), LY_TPM_RUN);
	WANT_INT(ask(&lax, plain(0x127, PLATFORM), &say), LY_TPM_DENY);
}

TEST(the_platform_hierarchy_looks_closed_wherever_it_is_named)
{
	struct ly_tpm_say say;

	/* CreatePrimary, NV_DefineSpace, EvictControl, PolicySecret */
	WANT_INT(ask(&strict, plain(0x131, PLATFORM), &say), LY_TPM_DENY);
	WANT_INT(say.rc, LY_TPM_RC_HIERARCHY_H1);
	WANT_INT(ask(&strict, plain(0x12a, PLATFORM), &say), LY_TPM_DENY);
	WANT_INT(ask(&strict, plain(0x120, PLATFORM), &say), LY_TPM_DENY);
	WANT_INT(ask(&strict, plain(0x151, PLATFORM), &say), LY_TPM_DENY);
}

TEST(a_guest_does_not_touch_the_index_that_is_the_hosts)
{
	static const uint32_t codes[] = { 0x122, 0x134, 0x137, 0x138, 0x13b,
		0x149, 0x14e, 0x14f, 0x169 };
	const struct ly_tpm_policy guarded = { .host_nv = 0x1801c79 };
	struct ly_tpm_say say;

	for (unsigned i = 0; i < LY_COUNT(codes); i++) {
		struct bytes b = plain(codes[i], 0x1801c79);

		WANT_INT(ly_tpm_policy_ask(&guarded, b.at, b.len, &say),
		    LY_TPM_DENY);
		WANT_INT(say.rc, LY_TPM_RC_NV_AUTHORIZATION);
		WANT_INT(ly_tpm_policy_ask(&strict, b.at, b.len, &say),
		    LY_TPM_RUN);
		b = plain(codes[i], 0x1801c78);
		WANT_INT(ly_tpm_policy_ask(&guarded, b.at, b.len, &say),
		    LY_TPM_RUN);
	}
}

TEST(firmware_that_closes_the_platform_is_told_it_has)
{
	static const uint8_t yes[] = { 0x80, 0x02, 0, 0, 0, 19, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 1, 0, 0 };
	struct ly_tpm_say say;

	WANT_INT(ask(&strict, change_auth(PLATFORM, 0x40000009), &say),
	    LY_TPM_FEIGN);
	WANT_INT(say.len, sizeof(yes));
	WANT_MEM(say.at, yes, sizeof(yes));
	WANT_INT(ask(&strict, hierarchy_control(PLATFORM, PLATFORM, 0), &say),
	    LY_TPM_FEIGN);
}

TEST(nothing_is_feigned_that_would_not_be_true)
{
	struct bytes cut = change_auth(PLATFORM, 0x40000009);
	struct ly_wr size = ly_wr_over(cut.at + 2, 4);
	struct ly_tpm_say say;

	WANT_INT(ask(&strict, change_auth(OWNER, 0x40000009), &say),
	    LY_TPM_DENY);
	WANT_INT(ask(&strict, change_auth(LOCKOUT, 0x40000009), &say),
	    LY_TPM_DENY);
	/* an HMAC session wants an HMAC back */
	WANT_INT(ask(&strict, change_auth(PLATFORM, 0x02000000), &say),
	    LY_TPM_DENY);
	WANT_INT(ask(&strict, hierarchy_control(PLATFORM, OWNER, 0), &say),
	    LY_TPM_DENY);
	WANT_INT(ask(&strict, hierarchy_control(PLATFORM, PLATFORM, 1), &say),
	    LY_TPM_DENY);
	cut.len -= 1;
	ly_wr_u32(&size, (uint32_t)cut.len);
	WANT_INT(ask(&strict, cut, &say), LY_TPM_DENY);
}

TEST(bytes_that_are_no_command_are_denied_as_a_tpm_would)
{
	struct bytes b = plain(0x17b, 0);
	struct ly_tpm_say say;

	b.at[5] = 99;
	WANT_INT(ask(&strict, b, &say), LY_TPM_DENY);
	WANT_INT(say.rc, LY_TPM_RC_COMMAND_SIZE);
	b = plain(0x17b, 0);
	b.at[1] = 9;
	WANT_INT(ask(&strict, b, &say), LY_TPM_DENY);
	WANT_INT(say.rc, LY_TPM_RC_BAD_TAG);
}

TEST(a_second_startup_of_a_chip_that_cannot_be_reset_looks_like_the_first)
{
	static const struct ly_tpm_policy stuck = { .resets = false };
	uint8_t rsp[LY_TPM_HEAD];
	struct ly_tpm_say say = { .rc = 1 };

	ly_tpm_answer(LY_TPM_RC_INITIALIZE, rsp);
	WANT(ly_tpm_policy_answer(&stuck, LY_TPM_CC_STARTUP, rsp, sizeof(rsp),
	    &say));
	WANT_INT(say.rc, LY_TPM_RC_SUCCESS);
	WANT_INT(say.len, LY_TPM_HEAD);
	WANT(!ly_tpm_policy_answer(&strict, LY_TPM_CC_STARTUP, rsp, sizeof(rsp),
	    &say));
	WANT(!ly_tpm_policy_answer(&stuck, 0x17b, rsp, sizeof(rsp), &say));
	ly_tpm_answer(LY_TPM_RC_FAILURE, rsp);
	WANT(!ly_tpm_policy_answer(&stuck, LY_TPM_CC_STARTUP, rsp, sizeof(rsp),
	    &say));
}

TEST_MAIN()
