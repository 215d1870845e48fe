/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/enrol/pin.h"

#define SHA_TEXT 65 /* SHA-256 in hex, and a NUL */

static const char sha_word[] = "sha256:", serial_word[] = "serial:";

/* Lower-case hex digits without the colons between them; false for anything
 * else, or more than `size` - 1. */
static bool
digits(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (; *text; text++) {
		char c = *text;

		if (c == ':' && n)
			continue;
		if (c >= 'A' && c <= 'F')
			c = (char)(c - 'A' + 'a');
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')) ||
		    n + 1 == size)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return n > 0;
}

/* Numbers, so leading zeros say nothing. */
static const char *
no_zeros(const char *hex)
{
	while (hex[0] == '0' && hex[1])
		hex++;
	return hex;
}

enum ly_rc
ly_pin_parse(const char *text, char out[LY_PIN_TEXT], struct ly_why *why)
{
	char hex[LY_PIN_TEXT];
	bool serial = strncmp(text, serial_word, strlen(serial_word)) == 0;
	bool sha = strncmp(text, sha_word, strlen(sha_word)) == 0;

	if (serial || sha)
		text = strchr(text, ':') + 1;
	if (!digits(text, hex, serial ? 48 : SHA_TEXT) ||
	    (!serial && strlen(hex) != SHA_TEXT - 1))
		return ly_fail(why, LY_REFUSED,
		    "an EK is given as sha256:HEX (64 digits: of its"
		    " certificate or its public key) or serial:HEX (of its"
		    " certificate)");
	ly_print(out, LY_PIN_TEXT, "%s%s", serial ? serial_word : sha_word,
	    serial ? no_zeros(hex) : hex);
	return LY_OK;
}

static bool
is(const char *hex, const uint8_t sha[32])
{
	uint8_t b[32];

	return ly_unhex(hex, b, sizeof(b)) == LY_OK &&
	    ly_same(b, sha, sizeof(b));
}

static enum ly_rc
match_serial(const char *pin, const struct ly_ek_shown *ek, struct ly_why *why)
{
	char hex[48];

	if (!ek->has_cert)
		return ly_fail(why, LY_REFUSED,
		    "its TPM shows no EK certificate, so its serial number is"
		    " not known; pin the EK itself (--ek sha256:HEX)");
	if (!digits(ek->serial, hex, sizeof(hex)) ||
	    strcmp(no_zeros(hex), pin) != 0)
		return ly_fail(why, LY_REFUSED,
		    "its EK certificate has serial %s, but the inventory says"
		    " %s",
		    ek->serial, pin);
	if (!ek->genuine)
		return ly_fail(why, LY_REFUSED,
		    "its EK certificate is of no maker that we believe: %.160s",
		    ek->not_genuine.text);
	return LY_OK;
}

enum ly_rc
ly_pin_match(const char *pin, const struct ly_ek_shown *ek, char by[LY_PIN_BY],
    struct ly_why *why)
{
	char hex[SHA_TEXT];

	ly_hex(ek->spki, sizeof(ek->spki), hex);
	ly_copy(by, LY_PIN_BY, ek->genuine ? "pinned, genuine" : "pinned");
	if (!pin[0])
		return ly_fail(why, LY_REFUSED,
		    "the inventory has no EK for it; it shows sha256:%s (%s)",
		    hex,
		    ek->genuine ? "of a maker that we believe" :
				  "of no maker that we believe");
	if (strncmp(pin, serial_word, strlen(serial_word)) == 0) {
		ly_copy(by, LY_PIN_BY, "serial number, genuine");
		return match_serial(pin + strlen(serial_word), ek, why);
	}
	pin += strlen(sha_word);
	if (is(pin, ek->spki) || is(pin, ek->area) ||
	    (ek->has_cert && is(pin, ek->cert)))
		return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    "it shows another EK than the inventory has: sha256:%s", hex);
}
