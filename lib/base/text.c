/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/text.h"

#include <stdarg.h>
#include <stdio.h>

static const char digits[] = "0123456789abcdef";

void
ly_hex(const void *bytes, size_t len, char *out)
{
	const uint8_t *b = bytes;

	for (size_t i = 0; i < len; i++) {
		*out++ = digits[b[i] >> 4];
		*out++ = digits[b[i] & 15];
	}
	*out = '\0';
}

static int
nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

enum ly_rc
ly_unhex(const char *text, void *out, size_t len)
{
	uint8_t *to = out;

	if (strlen(text) != 2 * len)
		return LY_MALFORMED;
	for (size_t i = 0; i < len; i++) {
		int hi = nibble(text[2 * i]), lo = nibble(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return LY_MALFORMED;
		to[i] = (uint8_t)(hi << 4 | lo);
	}
	return LY_OK;
}

/* Where the dashes of a UUID stand, counted in bytes. */
static bool
dash_before(size_t byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

const char *
ly_id_text(const struct ly_id *id, char out[LY_ID_TEXT])
{
	char *to = out;

	for (size_t i = 0; i < sizeof(id->b); i++) {
		if (dash_before(i))
			*to++ = '-';
		*to++ = digits[id->b[i] >> 4];
		*to++ = digits[id->b[i] & 15];
	}
	*to = '\0';
	return out;
}

enum ly_rc
ly_id_parse(const char *text, struct ly_id *out)
{
	struct ly_id id;

	if (strlen(text) != LY_ID_TEXT - 1)
		return LY_MALFORMED;
	for (size_t i = 0; i < sizeof(id.b); i++) {
		int hi, lo;

		if (dash_before(i) && *text++ != '-')
			return LY_MALFORMED;
		hi = nibble(*text++);
		lo = nibble(*text++);
		if (hi < 0 || lo < 0)
			return LY_MALFORMED;
		id.b[i] = (uint8_t)(hi << 4 | lo);
	}
	*out = id;
	return LY_OK;
}

bool
ly_copy(char *to, size_t size, const char *from)
{
	size_t len = strlen(from), n = ly_min(len, size - 1);

	memcpy(to, from, n);
	to[n] = '\0';
	return n == len;
}

bool
ly_print(char *to, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(to, size, fmt, ap);
	va_end(ap);
	return n >= 0 && (size_t)n < size;
}

static bool
alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool
ly_name_good(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= LY_NAME_MAX || !alnum(name[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!alnum(name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

bool
ly_text_clean(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return true;
}

enum ly_rc
ly_parse_uint(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (!*text)
		return LY_MALFORMED;
	for (; *text; text++) {
		uint64_t d = (uint64_t)(*text - '0');

		if (*text < '0' || *text > '9')
			return LY_MALFORMED;
		if (d > max || v > (max - d) / 10)
			return LY_MALFORMED;
		v = v * 10 + d;
	}
	*out = v;
	return LY_OK;
}

bool
ly_same(const void *a, const void *b, size_t len)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t diff = 0;

	for (size_t i = 0; i < len; i++)
		diff |= x[i] ^ y[i];
	return diff == 0;
}

void
ly_wipe(void *p, size_t len)
{
	if (len)
		memset(p, 0, len);
	__asm__ volatile("" : : "r"(p) : "memory");
}
