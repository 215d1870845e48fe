/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/field.h"

#define TAGGED_VERSION 1
#define TAG_FATAL 0x8000u

static const uint8_t tagged_magic[4] = { 'L', 'N', 'Y', 'D' };

static uint64_t
load_uint(const uint8_t *at, size_t size)
{
	uint8_t v8;
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (size) {
	case 1:
		memcpy(&v8, at, 1);
		return v8;
	case 2:
		memcpy(&v16, at, 2);
		return v16;
	case 4:
		memcpy(&v32, at, 4);
		return v32;
	default:
		assert(size == 8);
		memcpy(&v64, at, 8);
		return v64;
	}
}

static void
store_uint(uint8_t *at, size_t size, uint64_t v)
{
	uint8_t v8 = (uint8_t)v;
	uint16_t v16 = (uint16_t)v;
	uint32_t v32 = (uint32_t)v;

	switch (size) {
	case 1:
		memcpy(at, &v8, 1);
		return;
	case 2:
		memcpy(at, &v16, 2);
		return;
	case 4:
		memcpy(at, &v32, 4);
		return;
	default:
		assert(size == 8);
		memcpy(at, &v, 8);
	}
}

/* The bytes of a field's value as it stands in the struct. */
static struct ly_bytes
value_of(const struct ly_field *f, const void *in)
{
	const uint8_t *at = (const uint8_t *)in + f->offset;
	struct ly_bytes b = { .at = at, .len = f->size };

	if (f->kind == LY_KIND_BYTES)
		memcpy(&b, at, sizeof(b));
	else if (f->kind == LY_KIND_TEXT)
		b.len = strnlen((const char *)at, f->size);
	return b;
}

static bool
too_much(const struct ly_field *f, uint64_t v)
{
	return f->below && v >= f->below;
}

static bool
over_limit(const struct ly_field *f, size_t len)
{
	return f->kind == LY_KIND_TEXT ? len >= f->size : len > f->size;
}

static void
put_value(const struct ly_field *f, const void *in, struct ly_wr *w)
{
	struct ly_bytes b;
	uint64_t v;

	if (f->kind == LY_KIND_UINT) {
		v = load_uint((const uint8_t *)in + f->offset, f->size);
		w->bad |= too_much(f, v);
		ly_wr_uint(w, v, f->size);
		return;
	}
	b = value_of(f, in);
	if (over_limit(f, b.len)) {
		w->bad = true;
	} else {
		ly_wr_bytes(w, b.at, b.len);
	}
}

/* Reads a value of exactly `len` bytes into the struct. */
static enum ly_rc
get_value(const struct ly_field *f, struct ly_rd *r, size_t len, void *out,
    struct ly_why *why)
{
	uint8_t *at = (uint8_t *)out + f->offset;
	const uint8_t *from;
	struct ly_bytes b;
	uint64_t value;

	if (f->kind == LY_KIND_UINT || f->kind == LY_KIND_FIXED) {
		if (len != f->size)
			return ly_fail(why, LY_MALFORMED,
			    "%s: %zu bytes, not %u", f->name, len, f->size);
	} else if (over_limit(f, len)) {
		return ly_fail(why, LY_MALFORMED, "%s: %zu bytes, limit %u",
		    f->name, len, f->size);
	}
	from = ly_rd_bytes(r, len);
	if (!from)
		return ly_fail(why, LY_MALFORMED, "%s: cut short", f->name);
	switch (f->kind) {
	case LY_KIND_UINT:
		r->at -= len;
		value = ly_rd_uint(r, len);
		if (too_much(f, value))
			return ly_fail(why, LY_MALFORMED,
			    "%s: %llu, not below %u", f->name,
			    (unsigned long long)value, f->below);
		store_uint(at, f->size, value);
		break;
	case LY_KIND_FIXED:
		memcpy(at, from, len);
		break;
	case LY_KIND_BYTES:
		b = (struct ly_bytes){ .at = from, .len = len };
		memcpy(at, &b, sizeof(b));
		break;
	case LY_KIND_TEXT:
		if (!ly_text_clean((const char *)from, len))
			return ly_fail(why, LY_MALFORMED,
			    "%s: control characters", f->name);
		memcpy(at, from, len);
		at[len] = 0;
		break;
	}
	return LY_OK;
}

static bool
has_length(const struct ly_field *f)
{
	return f->kind == LY_KIND_BYTES || f->kind == LY_KIND_TEXT;
}

size_t
ly_message_max(const struct ly_message *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->fields_n; i++)
		n += m->fields[i].size + (has_length(&m->fields[i]) ? 4 : 0);
	return n;
}

/* FNV-1a. */
static void
mix(uint32_t *sum, const void *at, size_t len)
{
	const uint8_t *b = at;

	for (size_t i = 0; i < len; i++)
		*sum = (*sum ^ b[i]) * 16777619u;
}

uint32_t
ly_message_layout(const struct ly_message *m)
{
	uint32_t sum = 2166136261u;

	for (size_t i = 0; i < m->fields_n; i++) {
		const struct ly_field *f = &m->fields[i];
		uint8_t kind = (uint8_t)f->kind;

		mix(&sum, f->name, strlen(f->name) + 1);
		mix(&sum, &kind, 1);
		mix(&sum, &f->size, sizeof(f->size));
		mix(&sum, &f->below, sizeof(f->below));
	}
	return sum;
}

void
ly_message_put(const struct ly_message *m, const void *in, struct ly_wr *w)
{
	for (size_t i = 0; i < m->fields_n; i++) {
		const struct ly_field *f = &m->fields[i];

		if (has_length(f))
			ly_wr_u32(w, (uint32_t)value_of(f, in).len);
		put_value(f, in, w);
	}
}

enum ly_rc
ly_message_get(const struct ly_message *m, const uint8_t *buf, size_t len,
    void *out, struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(buf, len);

	memset(out, 0, m->size);
	for (size_t i = 0; i < m->fields_n; i++) {
		const struct ly_field *f = &m->fields[i];
		size_t n = has_length(f) ? ly_rd_u32(&r) : f->size;
		enum ly_rc rc = r.bad ?
		    ly_fail(why, LY_MALFORMED, "%s: cut short", f->name) :
		    get_value(f, &r, n, out, why);

		if (rc != LY_OK)
			return ly_fail_in(why, rc, "%s", m->name);
	}
	if (ly_rd_left(&r))
		return ly_fail(why, LY_MALFORMED, "%s: %zu bytes too many",
		    m->name, ly_rd_left(&r));
	return LY_OK;
}

void
ly_message_put_tagged(const struct ly_message *m, const void *in,
    struct ly_wr *w)
{
	ly_wr_bytes(w, tagged_magic, sizeof(tagged_magic));
	ly_wr_u8(w, TAGGED_VERSION);
	ly_wr_u16(w, m->type);
	for (size_t i = 0; i < m->fields_n; i++) {
		const struct ly_field *f = &m->fields[i];

		ly_wr_u16(w, (uint16_t)(i + 1));
		ly_wr_u32(w, (uint32_t)value_of(f, in).len);
		put_value(f, in, w);
	}
}

static enum ly_rc
get_tagged_head(const struct ly_message *m, struct ly_rd *r, struct ly_why *why)
{
	const uint8_t *magic = ly_rd_bytes(r, sizeof(tagged_magic));
	uint8_t version = ly_rd_u8(r);
	uint16_t type = ly_rd_u16(r);

	if (r->bad || memcmp(magic, tagged_magic, sizeof(tagged_magic)) != 0)
		return ly_fail(why, LY_MALFORMED, "not a signed object");
	if (version != TAGGED_VERSION)
		return ly_fail(why, LY_MALFORMED, "version %u, not %u", version,
		    TAGGED_VERSION);
	if (type != m->type)
		return ly_fail(why, LY_MALFORMED, "type %u, not %u", type,
		    m->type);
	return LY_OK;
}

enum ly_rc
ly_message_get_tagged(const struct ly_message *m, const uint8_t *buf,
    size_t len, void *out, struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(buf, len);
	enum ly_rc rc = get_tagged_head(m, &r, why);
	unsigned last = 0;
	size_t got = 0;

	memset(out, 0, m->size);
	while (rc == LY_OK && ly_rd_left(&r)) {
		unsigned tag = ly_rd_u16(&r);
		size_t n = ly_rd_u32(&r);

		if (r.bad || tag <= last) {
			rc = ly_fail(why, LY_MALFORMED, "tag %u after %u", tag,
			    last);
		} else if (tag <= m->fields_n) {
			rc = get_value(&m->fields[tag - 1], &r, n, out, why);
			got++;
		} else if (tag & TAG_FATAL || !ly_rd_bytes(&r, n)) {
			rc = ly_fail(why, LY_MALFORMED, "unknown tag %u", tag);
		}
		last = tag;
	}
	if (rc == LY_OK && got != m->fields_n)
		rc = ly_fail(why, LY_MALFORMED, "%zu fields of %zu", got,
		    m->fields_n);
	return rc == LY_OK ? rc : ly_fail_in(why, rc, "%s", m->name);
}

static size_t
print_value(const struct ly_field *f, const void *in, char *out, size_t size)
{
	struct ly_bytes b = value_of(f, in);
	char hex[65];

	if (f->secret) {
		ly_print(out, size, " %s=***", f->name);
	} else if (f->kind == LY_KIND_UINT) {
		ly_print(out, size, " %s=%llu", f->name,
		    (unsigned long long)load_uint(b.at, f->size));
	} else if (f->kind == LY_KIND_TEXT) {
		ly_print(out, size, " %s=\"%.*s\"", f->name, (int)b.len,
		    (const char *)b.at);
	} else if (f->kind == LY_KIND_FIXED) {
		ly_hex(b.at, ly_min(b.len, 32), hex);
		ly_print(out, size, " %s=%s", f->name, hex);
	} else {
		ly_print(out, size, " %s=%zu bytes", f->name, b.len);
	}
	return strlen(out);
}

void
ly_message_print(const struct ly_message *m, const void *in, char *out,
    size_t size)
{
	size_t n;

	assert(size > 0);
	ly_print(out, size, "%s", m->name);
	n = strlen(out);
	for (size_t i = 0; i < m->fields_n && n + 1 < size; i++)
		n += print_value(&m->fields[i], in, out + n, size - n);
}
