/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/pcrs.h"

#include <ctype.h>
#include <stdlib.h>

#define LINE_MOST 256

/* "sha256:": a word of letters and digits that ends in a colon. */
static bool
is_bank(const char *line)
{
	size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return n > 0 && isalpha((unsigned char)line[0]) && line[n] == ':' &&
	    line[n + 1] == '\0';
}

/* "4 : 0xA1..", "4 A1..": both parts of it. */
static bool
split(const char *line, uint64_t *pcr, const char **hex)
{
	char number[8];
	size_t n = strspn(line, "0123456789");

	if (n == 0 || n >= sizeof(number))
		return false;
	ly_copy(number, n + 1, line);
	line += n + strspn(line + n, " \t:");
	if (strncmp(line, "0x", 2) == 0)
		line += 2;
	*hex = line;
	return ly_parse_uint(number, LY_PCRS_N - 1, pcr) == LY_OK;
}

/* NULL: it is in order. */
static const char *
take_line(const char *line, bool *skip, uint32_t *mask,
    uint8_t pcr[LY_PCRS_N][32])
{
	const char *hex;
	uint64_t n;

	if (line[0] == '\0' || line[0] == '#')
		return NULL;
	if (is_bank(line)) {
		*skip = strcmp(line, "sha256:") != 0;
		return NULL;
	}
	if (*skip)
		return NULL;
	if (!split(line, &n, &hex) || strlen(hex) != 64 ||
	    ly_unhex(hex, pcr[n], 32) != LY_OK)
		return "not a PCR's number and its SHA-256 value in hex";
	if (*mask & 1u << n)
		return "that PCR is there already";
	*mask |= 1u << n;
	return NULL;
}

/* Without the spaces around it; NULL: too long. */
static const char *
next_line(const char **at, char line[LINE_MOST])
{
	const char *start = *at + strspn(*at, " \t\r");
	size_t n = strcspn(start, "\n");

	*at = start + n + (start[n] == '\n');
	if (n >= LINE_MOST)
		return NULL;
	while (n > 0 && strchr(" \t\r", start[n - 1]))
		n--;
	ly_copy(line, n + 1, start);
	return line;
}

enum ly_rc
ly_pcrs_parse(const char *text, uint32_t *mask, uint8_t pcr[LY_PCRS_N][32],
    struct ly_why *why)
{
	char room[LINE_MOST];
	unsigned number = 0;
	bool skip = false;

	*mask = 0;
	while (*text) {
		const char *line = next_line(&text, room);
		const char *wrong = line ? take_line(line, &skip, mask, pcr) :
					   "too long";

		number++;
		if (wrong)
			return ly_fail(why, LY_MALFORMED, "line %u: %s", number,
			    wrong);
	}
	if (*mask == 0)
		return ly_fail(why, LY_MALFORMED, "no PCR of bank sha256");
	return LY_OK;
}
