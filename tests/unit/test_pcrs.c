/* SPDX-License-Identifier: Apache-2.0 */
/* cli/pcrs: values as people and tools write them. */
#include "cli/pcrs.h"

#include "tests/test.h"

#define A "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define SHA1 "0011223344556677889900112233445566778899"

static uint8_t pcr[LY_PCRS_N][32];
static uint32_t mask;
static struct ly_why why;

TEST(what_tpm2_pcrread_prints_is_read)
{
	WANT_INT(ly_pcrs_parse("  sha1:\n    0 : 0x" SHA1 "\n  sha256:\n"
			       "    0 : 0x" A "\n    11: 0x" A "\n",
		     &mask, pcr, &why),
	    LY_OK);
	WANT_INT(mask, 0x801);
	WANT_INT(pcr[11][31], 0xff);
}

TEST(plain_lines_are_read)
{
	WANT_INT(ly_pcrs_parse("# of host n1\n\n4 " A "\r\n 7 " A, &mask, pcr,
		     &why),
	    LY_OK);
	WANT_INT(mask, 0x90);
}

TEST(what_is_no_pcr_is_told_with_its_line)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "", "no PCR of bank sha256" },
		{ "sha1:\n0 " A "\n", "no PCR of bank sha256" },
		{ "0 " A "\n0 " A "\n", "line 2: that PCR is there already" },
		{ "24 " A,
		    "line 1: not a PCR's number and its SHA-256 value"
		    " in hex" },
		{ "99999999999 " A,
		    "line 1: not a PCR's number and its SHA-256 value in hex" },
		{ "0 " A "0",
		    "line 1: not a PCR's number and its SHA-256 value"
		    " in hex" },
		{ "0 " SHA1,
		    "line 1: not a PCR's number and its SHA-256 value"
		    " in hex" },
		{ "hello",
		    "line 1: not a PCR's number and its SHA-256 value in"
		    " hex" },
	};
	char wide[300];

	for (size_t i = 0; i < LY_COUNT(bad); i++) {
		WANT_INT(ly_pcrs_parse(bad[i].text, &mask, pcr, &why),
		    LY_MALFORMED);
		WANT_STR(why.text, bad[i].says);
	}
	memset(wide, 'x', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	WANT_INT(ly_pcrs_parse(wide, &mask, pcr, &why), LY_MALFORMED);
	WANT_STR(why.text, "line 1: too long");
}

TEST_MAIN()
