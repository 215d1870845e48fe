/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our own messages are not code but tables. The same rows encode, decode and
 * print a message, are its documentation (docs/protocol.md), and seed the
 * fuzzer. A new message is a new table.
 *
 * Two renderings of one table:
 *
 * - packed, for frames and files that both ends of one version agree on: the
 *   fields in order; UINT big-endian in its own width, FIXED as it is, TEXT
 *   and BYTES behind a u32 length;
 * - tagged, for what is signed (PROTOCOL, "signed objects"): "LNYD", u8
 *   version, u16 type, then for each field u16 tag (its row number from 1),
 *   u32 length, value. Tags ascend, none twice; a tag above the last row is
 *   skipped unless its top bit is set, which makes it fatal.
 *
 * Limits: each row has its own; a whole message is at most LY_MESSAGE_MAX.
 */
#ifndef LY_WIRE_FIELD_H
#define LY_WIRE_FIELD_H

#include "lib/base/cursor.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

#define LY_MESSAGE_MAX (512u * 1024)

enum ly_kind {
	LY_KIND_UINT,  /* uint8_t .. uint64_t member */
	LY_KIND_FIXED, /* an array of bytes, or a struct ly_id */
	LY_KIND_BYTES, /* struct ly_bytes member; decoded, it borrows */
	LY_KIND_TEXT,  /* char array member, NUL-terminated, printable */
};

struct ly_field {
	const char *name;
	enum ly_kind kind;
	bool secret;	 /* never printed */
	uint16_t offset; /* of the member */
	uint32_t size;	 /* of the member; for BYTES, the most it may hold */
	uint32_t below;	 /* UINT: this and more is malformed; 0: no limit */
};

#define LY_ROW(type, member, k, sz, sec)                                       \
	{                                                                      \
		.name = #member, .kind = (k), .secret = (sec),                 \
		.offset = (uint16_t)offsetof(type, member),                    \
		.size = (uint32_t)(sz)                                         \
	}
#define LY_SIZE_OF(type, member) sizeof(((type *)0)->member)
#define LY_UINT(type, member)                                                  \
	LY_ROW(type, member, LY_KIND_UINT, LY_SIZE_OF(type, member), false)
/* An enum or a count that has to be below `n`; a bool. */
#define LY_BELOW(type, member, n)                                              \
	{                                                                      \
		.name = #member, .kind = LY_KIND_UINT,                         \
		.offset = (uint16_t)offsetof(type, member),                    \
		.size = (uint32_t)LY_SIZE_OF(type, member), .below = (n)       \
	}
#define LY_BOOL(type, member) LY_BELOW(type, member, 2)
#define LY_FIXED(type, member)                                                 \
	LY_ROW(type, member, LY_KIND_FIXED, LY_SIZE_OF(type, member), false)
#define LY_SECRET(type, member)                                                \
	LY_ROW(type, member, LY_KIND_FIXED, LY_SIZE_OF(type, member), true)
#define LY_TEXT(type, member)                                                  \
	LY_ROW(type, member, LY_KIND_TEXT, LY_SIZE_OF(type, member), false)
#define LY_BYTES(type, member, most)                                           \
	LY_ROW(type, member, LY_KIND_BYTES, (most), false)

struct ly_message {
	uint16_t type;
	const char *name; /* "CLAIM" */
	const char *what; /* one sentence for the manual */
	const struct ly_field *fields;
	size_t fields_n;
	size_t size; /* of the struct */
};

#define LY_MESSAGE(t, n, type_, table, sentence)                               \
	{                                                                      \
		.type = (t), .name = (n), .what = (sentence),                  \
		.fields = (table), .fields_n = LY_COUNT(table),                \
		.size = sizeof(type_)                                          \
	}

/* The most bytes the packed rendering can take. */
size_t ly_message_max(const struct ly_message *m);

/* Packed. Encoding marks the writer bad when it is full or a field is over
 * its own limit. Decoding takes exactly the bytes given: less or more is
 * LY_MALFORMED with the field's name in `why`. BYTES borrow from `buf`. */
void ly_message_put(const struct ly_message *m, const void *in,
    struct ly_wr *w);
LY_MUST enum ly_rc ly_message_get(const struct ly_message *m,
    const uint8_t *buf, size_t len, void *out, struct ly_why *why);

/* A number that is another one as soon as a name, a kind or a limit of the
 * table is. */
uint32_t ly_message_layout(const struct ly_message *m);

/* Tagged, as above. */
void ly_message_put_tagged(const struct ly_message *m, const void *in,
    struct ly_wr *w);
LY_MUST enum ly_rc ly_message_get_tagged(const struct ly_message *m,
    const uint8_t *buf, size_t len, void *out, struct ly_why *why);

/* "CLAIM chan=1 mig=... token=85 bytes"; secrets as "***"; cut at `size`. */
void ly_message_print(const struct ly_message *m, const void *in, char *out,
    size_t size);

#endif
