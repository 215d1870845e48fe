/* SPDX-License-Identifier: Apache-2.0 */
/* agent/tpm/header: what is a TPM message, and what a TPM says to others. */
#include "agent/tpm/header.h"

#include "tests/test.h"

/* GetRandom(8) */
static const uint8_t random8[] = { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0,
	8 };

TEST(a_command_is_taken_apart)
{
	struct ly_tpm_cmd cmd;

	WANT_INT(ly_tpm_cmd_parse(random8, sizeof(random8), &cmd), LY_OK);
	WANT_INT(cmd.tag, LY_TPM_ST_NO_SESSIONS);
	WANT_INT(cmd.code, 0x17b);
	WANT(cmd.body == random8 + LY_TPM_HEAD);
	WANT_INT(cmd.body_len, 2);
}

TEST(every_beginning_of_a_command_asks_for_more)
{
	struct ly_tpm_cmd cmd = { .code = 7 };

	for (size_t n = 0; n < sizeof(random8); n++)
		WANT_INT(ly_tpm_cmd_parse(random8, n, &cmd), LY_SHORT);
	WANT_INT(cmd.code, 7); /* not written */
}

TEST(a_command_with_a_byte_too_many_is_malformed)
{
	uint8_t buf[sizeof(random8) + 1] = { 0 };
	struct ly_tpm_cmd cmd;

	memcpy(buf, random8, sizeof(random8));
	WANT_INT(ly_tpm_cmd_parse(buf, sizeof(buf), &cmd), LY_MALFORMED);
	WANT_INT(ly_tpm_fault(buf, sizeof(buf)), LY_TPM_RC_COMMAND_SIZE);
}

TEST(a_size_that_cannot_be_is_known_before_the_rest_comes)
{
	static const struct {
		uint8_t head[6];
		enum ly_rc rc;
	} cases[] = {
		{ { 0x80, 1, 0, 0, 0, 0 }, LY_MALFORMED },
		{ { 0x80, 1, 0, 0, 0, 9 }, LY_MALFORMED },
		{ { 0x80, 1, 0, 0, 0, 10 }, LY_OK },
		{ { 0x80, 1, 0, 0, 0x10, 0 }, LY_OK }, /* 4096 */
		{ { 0x80, 1, 0, 0, 0x10, 1 }, LY_MALFORMED },
		{ { 0x80, 1, 0xff, 0xff, 0xff, 0xff }, LY_MALFORMED },
	};

	for (size_t i = 0; i < LY_COUNT(cases); i++) {
		size_t size = 0;

		WANT_INT(ly_tpm_size(cases[i].head, 6, LY_TPM_MAX, &size),
		    cases[i].rc);
		WANT_INT(ly_tpm_size(cases[i].head, 5, LY_TPM_MAX, &size),
		    LY_SHORT);
	}
}

TEST(a_wrong_tag_is_answered_so_under_the_tag_of_tpm_1_2)
{
	static const uint8_t old[] = { 0x00, 0xc1, 0, 0, 0, 10, 0, 0, 0, 0x99 };
	static const uint8_t says[] = { 0x00, 0xc4, 0, 0, 0, 10, 0, 0, 0,
		0x1e };
	uint8_t say[LY_TPM_HEAD];
	struct ly_tpm_cmd cmd;
	struct ly_tpm_rsp rsp;

	WANT_INT(ly_tpm_cmd_parse(old, sizeof(old), &cmd), LY_MALFORMED);
	WANT_INT(ly_tpm_fault(old, sizeof(old)), LY_TPM_RC_BAD_TAG);
	ly_tpm_answer(LY_TPM_RC_BAD_TAG, say);
	WANT_MEM(say, says, sizeof(says));
	WANT_INT(ly_tpm_rsp_parse(say, sizeof(say), &rsp), LY_OK);
}

TEST(an_answer_of_ours_is_one)
{
	uint8_t say[LY_TPM_HEAD];
	struct ly_tpm_rsp rsp;

	ly_tpm_answer(LY_TPM_RC_FAILURE, say);
	WANT_INT(ly_tpm_rsp_parse(say, sizeof(say), &rsp), LY_OK);
	WANT_INT(rsp.rc, 0x101);
	WANT_INT(rsp.body_len, 0);
	WANT_INT(ly_tpm_rsp_parse(say, 9, &rsp), LY_SHORT);
	say[0] = 0;
	WANT_INT(ly_tpm_rsp_parse(say, 10, &rsp), LY_MALFORMED);
}

TEST(each_command_has_a_name_and_no_two_the_same_code)
{
	uint32_t n = 0;

	for (uint32_t code = 0; code < 0x400; code++) {
		const struct ly_tpm_code *row = ly_tpm_code_of(code);

		if (!row)
			continue;
		n++;
		WANT_INT(row->code, code);
		WANT(row->handles <= 3);
		WANT(code >= LY_TPM_CC_FIRST && code <= LY_TPM_CC_LAST);
	}
	WANT_INT(n, 125);
	WANT_STR(ly_tpm_code_name(0x182), "PCR_Extend");
	WANT_STR(ly_tpm_code_name(0x123), "an unknown command");
	WANT_STR(ly_tpm_code_name(0x20001000), "a vendor command");
}

TEST_MAIN()
