/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text and identifiers: hex, 128-bit ids in UUID form, names that are safe in
 * a file name and a URI, bounded copies.
 */
#ifndef LY_BASE_TEXT_H
#define LY_BASE_TEXT_H

#include "lib/base/err.h"

#define LY_ID_TEXT 37	  /* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" and NUL */
#define LY_NAME_MAX 64	  /* of a site, host, VM or TPM, with its NUL */
#define LY_SPIFFE_MAX 160 /* of a SPIFFE id, with its NUL */
#define LY_ADDR_MAX 80	  /* "host:port" or "[v6]:port", with its NUL */

/* A VM, an instance, a migration: 128 random bits. All zero means none. */
struct ly_id {
	uint8_t b[16];
};

static inline bool
ly_id_same(const struct ly_id *a, const struct ly_id *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static inline bool
ly_id_none(const struct ly_id *id)
{
	return ly_id_same(id, &(struct ly_id){ { 0 } });
}

/* Writes the UUID form into `out` and returns it. */
const char *ly_id_text(const struct ly_id *id, char out[LY_ID_TEXT]);
LY_MUST enum ly_rc ly_id_parse(const char *text, struct ly_id *out);

/* Two lower-case digits a byte and a NUL; `out` holds 2 * len + 1. */
void ly_hex(const void *bytes, size_t len, char *out);
/* Exactly `len` bytes from 2 * len digits, either case. */
LY_MUST enum ly_rc ly_unhex(const char *text, void *out, size_t len);

/* Copies `from` cut at the size of `to`, always ending in NUL; false if cut. */
bool ly_copy(char *to, size_t size, const char *from);
/* snprintf with the same promise. */
bool ly_print(char *to, size_t size, const char *fmt, ...) LY_PRINTF(3, 4);

/* A name of ours: 1 to 63 of [a-z0-9._-], starting with a letter or digit. */
bool ly_name_good(const char *name);
/* Printable, no control characters: safe in a log line. */
bool ly_text_clean(const char *text, size_t len);

/* Decimal, whole string, at most `max`. */
LY_MUST enum ly_rc ly_parse_uint(const char *text, uint64_t max, uint64_t *out);

/* Constant time; false if any byte differs. */
bool ly_same(const void *a, const void *b, size_t len);
/* Zeroes what the compiler must not optimise away. */
void ly_wipe(void *p, size_t len);

#endif
