/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a message of any table, filled from the table itself, always the
 * same, every field different. The golden vectors are made of these.
 */
#ifndef LY_TESTS_SAMPLE_H
#define LY_TESTS_SAMPLE_H

#include "lib/wire/signed.h"

#include <stdio.h>

/* The messages that stand in no frame. */
static const struct ly_message *const sample_signed[] = { &ly_ticket_message,
	&ly_token_message, &ly_record_message, &ly_call_message,
	&ly_sent_message, &ly_arrived_message, &ly_decided_message,
	&ly_destroyed_message, &ly_head_message };

/* Room for any message, framed or signed. */
union sample_any {
	union ly_any any;
	struct ly_ticket ticket;
	struct ly_token token;
	struct ly_record record;
	struct ly_call call;
	struct ly_sent sent;
	struct ly_arrived arrived;
	struct ly_decided decided;
	struct ly_destroyed destroyed;
	struct ly_head head;
};

static inline void
sample_field(const struct ly_field *f, unsigned row, char *out)
{
	static char text[16][24];
	char *t = text[row % LY_COUNT(text)];
	uint64_t v = 0x0102030405060708u * (row + 1);
	struct ly_bytes b;

	switch (f->kind) {
	case LY_KIND_UINT:
		if (f->below)
			v %= f->below;
		/* Little-endian machines: the low bytes are the first. */
		memcpy(out + f->offset, &v, f->size);
		break;
	case LY_KIND_FIXED:
		for (uint32_t i = 0; i < f->size; i++)
			out[f->offset + i] = (char)(16 * row + i);
		break;
	case LY_KIND_TEXT:
		snprintf(out + f->offset, f->size, "%s", f->name);
		break;
	case LY_KIND_BYTES:
		b.len = (size_t)snprintf(t, sizeof(text[0]), "the %s", f->name);
		b.at = (const uint8_t *)t;
		memcpy(out + f->offset, &b, sizeof(b));
		break;
	}
}

static inline void
sample_fill(const struct ly_message *m, union sample_any *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < m->fields_n; i++)
		sample_field(&m->fields[i], i, (char *)out);
}

#endif
