/* SPDX-License-Identifier: Apache-2.0 */
/* The rows' tables, their JSON, and what every store has in common. */
#include "manager/store/store.h"

#include <stdlib.h>

static const struct ly_field host_fields[] = {
	LY_TEXT(struct ly_host_row, name),
	LY_TEXT(struct ly_host_row, address),
	LY_UINT(struct ly_host_row, added),
	LY_UINT(struct ly_host_row, cert_expires),
	LY_UINT(struct ly_host_row, revoked),
	LY_TEXT(struct ly_host_row, ek),
	LY_TEXT(struct ly_host_row, class_),
	LY_UINT(struct ly_host_row, vms_most),
	LY_UINT(struct ly_host_row, memory_most),
};
static const struct ly_field peer_fields[] = {
	LY_TEXT(struct ly_peer_row, site),
	LY_TEXT(struct ly_peer_row, address),
};
static const struct ly_field vm_fields[] = {
	LY_FIXED(struct ly_vm_row, id),
	LY_TEXT(struct ly_vm_row, name),
	LY_TEXT(struct ly_vm_row, home),
	LY_TEXT(struct ly_vm_row, tpm),
	LY_UINT(struct ly_vm_row, bound),
	LY_TEXT(struct ly_vm_row, at_site),
	LY_TEXT(struct ly_vm_row, at_host),
	LY_UINT(struct ly_vm_row, lost),
	LY_UINT(struct ly_vm_row, epoch),
	LY_TEXT(struct ly_vm_row, definition),
	LY_UINT(struct ly_vm_row, unproved),
	LY_BELOW(struct ly_vm_row, vpcr_rule, 3),
	LY_TEXT(struct ly_vm_row, vpcrs),
	LY_UINT(struct ly_vm_row, priority),
};
static const struct ly_field mig_fields[] = {
	LY_FIXED(struct ly_mig_row, id),
	LY_FIXED(struct ly_mig_row, vm),
	LY_TEXT(struct ly_mig_row, vm_name),
	LY_UINT(struct ly_mig_row, state),
	LY_UINT(struct ly_mig_row, tell),
	LY_UINT(struct ly_mig_row, calloff),
	LY_UINT(struct ly_mig_row, lost),
	LY_UINT(struct ly_mig_row, fate),
	LY_UINT(struct ly_mig_row, epoch),
	LY_UINT(struct ly_mig_row, from_epoch),
	LY_TEXT(struct ly_mig_row, home),
	LY_TEXT(struct ly_mig_row, from_site),
	LY_TEXT(struct ly_mig_row, from_host),
	LY_TEXT(struct ly_mig_row, to_site),
	LY_TEXT(struct ly_mig_row, to_host),
	LY_TEXT(struct ly_mig_row, to_address),
	LY_UINT(struct ly_mig_row, bandwidth),
	LY_UINT(struct ly_mig_row, downtime_ms),
	LY_UINT(struct ly_mig_row, commands_before),
	LY_UINT(struct ly_mig_row, commands_after),
	LY_UINT(struct ly_mig_row, started),
	LY_UINT(struct ly_mig_row, changed),
	LY_TEXT(struct ly_mig_row, result),
	LY_TEXT(struct ly_mig_row, why),
	LY_UINT(struct ly_mig_row, attest),
	LY_UINT(struct ly_mig_row, lanes),
	LY_UINT(struct ly_mig_row, proved),
	LY_UINT(struct ly_mig_row, before),
	LY_FIXED(struct ly_mig_row, evac),
};

static const struct ly_field cert_fields[] = {
	LY_TEXT(struct ly_cert_row, serial),
	LY_TEXT(struct ly_cert_row, host),
	LY_UINT(struct ly_cert_row, not_after),
	LY_UINT(struct ly_cert_row, revoked),
	LY_UINT(struct ly_cert_row, reason),
};

static const struct ly_field head_fields[] = {
	LY_TEXT(struct ly_head_row, key),
	LY_TEXT(struct ly_head_row, text),
	LY_TEXT(struct ly_head_row, sig),
	LY_TEXT(struct ly_head_row, told),
};

static const struct ly_field enrol_fields[] = {
	LY_TEXT(struct ly_enrol_row, host),
	LY_UINT(struct ly_enrol_row, failures),
	LY_UINT(struct ly_enrol_row, frozen),
	LY_UINT(struct ly_enrol_row, enrolled),
	LY_UINT(struct ly_enrol_row, attested),
	LY_UINT(struct ly_enrol_row, issued),
	LY_UINT(struct ly_enrol_row, ends),
	LY_TEXT(struct ly_enrol_row, serial),
	LY_TEXT(struct ly_enrol_row, ak_serial),
	LY_TEXT(struct ly_enrol_row, before),
	LY_TEXT(struct ly_enrol_row, ak_before),
	LY_UINT(struct ly_enrol_row, before_ends),
	LY_TEXT(struct ly_enrol_row, ek),
	LY_TEXT(struct ly_enrol_row, ak),
	LY_TEXT(struct ly_enrol_row, sk),
	LY_TEXT(struct ly_enrol_row, ek_sha256),
	LY_TEXT(struct ly_enrol_row, ek_serial),
	LY_TEXT(struct ly_enrol_row, ek_by),
	LY_TEXT(struct ly_enrol_row, ak_name),
	LY_TEXT(struct ly_enrol_row, sk_name),
	LY_TEXT(struct ly_enrol_row, hk),
	LY_UINT(struct ly_enrol_row, reset_count),
	LY_UINT(struct ly_enrol_row, restart_count),
	LY_UINT(struct ly_enrol_row, firmware),
	LY_UINT(struct ly_enrol_row, pcr_mask),
	LY_TEXT(struct ly_enrol_row, pcrs),
	LY_TEXT(struct ly_enrol_row, log),
	LY_TEXT(struct ly_enrol_row, class_),
	LY_UINT(struct ly_enrol_row, approval),
	LY_UINT(struct ly_enrol_row, unapproved),
	LY_TEXT(struct ly_enrol_row, state),
	LY_TEXT(struct ly_enrol_row, why),
	LY_TEXT(struct ly_enrol_row, csr),
	LY_TEXT(struct ly_enrol_row, certificate),
	LY_TEXT(struct ly_enrol_row, ak_certificate),
};

static const struct ly_field evac_fields[] = {
	LY_FIXED(struct ly_evac_row, id),
	LY_TEXT(struct ly_evac_row, from_site),
	LY_TEXT(struct ly_evac_row, from_host),
	LY_TEXT(struct ly_evac_row, to_site),
	LY_UINT(struct ly_evac_row, parallel),
	LY_UINT(struct ly_evac_row, bandwidth),
	LY_UINT(struct ly_evac_row, state),
	LY_UINT(struct ly_evac_row, begun),
	LY_TEXT(struct ly_evac_row, who),
};

static const struct ly_message tables[LY_ROW_KINDS] = {
	[LY_ROW_HOST] = LY_MESSAGE(LY_ROW_HOST, "host", struct ly_host_row,
	    host_fields, "A host of this site."),
	[LY_ROW_PEER] = LY_MESSAGE(LY_ROW_PEER, "peer", struct ly_peer_row,
	    peer_fields, "A site whose manager this one talks to."),
	[LY_ROW_VM] = LY_MESSAGE(LY_ROW_VM, "vm", struct ly_vm_row, vm_fields,
	    "A VM whose home is at this site."),
	[LY_ROW_MIG] = LY_MESSAGE(LY_ROW_MIG, "migration", struct ly_mig_row,
	    mig_fields, "A migration of one of them."),
	[LY_ROW_CERT] = LY_MESSAGE(LY_ROW_CERT, "certificate",
	    struct ly_cert_row, cert_fields, "A host's certificate."),
	[LY_ROW_HEAD] = LY_MESSAGE(LY_ROW_HEAD, "head", struct ly_head_row,
	    head_fields, "The head of a site's permanent record."),
	[LY_ROW_ENROL] = LY_MESSAGE(LY_ROW_ENROL, "enrolment",
	    struct ly_enrol_row, enrol_fields, "What a host has proved."),
	[LY_ROW_EVAC] = LY_MESSAGE(LY_ROW_EVAC, "evacuation",
	    struct ly_evac_row, evac_fields, "A place that is emptied."),
};

#define ROW_SIZE_MAX sizeof(struct ly_enrol_row)
_Static_assert(ROW_SIZE_MAX >= sizeof(struct ly_vm_row) &&
	ROW_SIZE_MAX >= sizeof(struct ly_mig_row),
    "ROW_SIZE_MAX is that of the largest");

const struct ly_message *
ly_row_table(enum ly_row_kind kind)
{
	return &tables[kind];
}

void
ly_row_key(enum ly_row_kind kind, const void *row, char out[LY_KEY_MAX])
{
	const struct ly_field *f = &tables[kind].fields[0];
	const char *at = (const char *)row + f->offset;
	struct ly_id id;

	if (f->kind == LY_KIND_TEXT) {
		ly_copy(out, LY_KEY_MAX, at);
		return;
	}
	memcpy(&id, at, sizeof(id));
	ly_id_text(&id, out);
}

/* ---- JSON ---- */

static uint64_t
load(const void *at, size_t size)
{
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	switch (size) {
	case 1:
		memcpy(&u8, at, size);
		return u8;
	case 2:
		memcpy(&u16, at, size);
		return u16;
	case 4:
		memcpy(&u32, at, size);
		return u32;
	default:
		memcpy(&u64, at, sizeof(u64));
		return u64;
	}
}

static void
keep(void *at, size_t size, uint64_t v)
{
	uint8_t u8 = (uint8_t)v;
	uint16_t u16 = (uint16_t)v;
	uint32_t u32 = (uint32_t)v;

	memcpy(at,
	    size == 1	  ? (void *)&u8 :
		size == 2 ? (void *)&u16 :
		size == 4 ? (void *)&u32 :
			    (void *)&v,
	    size);
}

json_t *
ly_json_text(const char *text)
{
	json_t *v = json_string(text);

	return v ? v : json_string("(not text)"); /* not UTF-8 */
}

json_t *
ly_row_json(const struct ly_message *table, const void *row)
{
	json_t *out = json_object();
	char text[LY_ID_TEXT];
	struct ly_id id;

	for (size_t i = 0; i < table->fields_n; i++) {
		const struct ly_field *f = &table->fields[i];
		const char *at = (const char *)row + f->offset;
		json_t *v = NULL;

		if (f->kind == LY_KIND_UINT) {
			v = json_integer((json_int_t)load(at, f->size));
		} else if (f->kind == LY_KIND_TEXT) {
			v = ly_json_text(at);
		} else if (f->kind == LY_KIND_FIXED && f->size == sizeof(id)) {
			memcpy(&id, at, sizeof(id));
			v = json_string(ly_id_text(&id, text));
		}
		assert(v); /* a table with BYTES */
		json_object_set_new(out, f->name, v);
	}
	return out;
}

static enum ly_rc
from_value(const struct ly_field *f, const json_t *v, char *at)
{
	struct ly_id id;
	json_int_t n = json_integer_value(v);

	switch (f->kind) {
	case LY_KIND_UINT:
		if (!json_is_integer(v) || n < 0 ||
		    (f->size < 8 && (uint64_t)n >> (8 * f->size)))
			return LY_MALFORMED;
		keep(at, f->size, (uint64_t)n);
		return LY_OK;
	case LY_KIND_TEXT:
		if (!json_is_string(v) ||
		    json_string_length(v) != strlen(json_string_value(v)) ||
		    !ly_copy(at, f->size, json_string_value(v)))
			return LY_MALFORMED;
		return LY_OK;
	case LY_KIND_FIXED:
		if (!json_is_string(v) || f->size != sizeof(id) ||
		    ly_id_parse(json_string_value(v), &id) != LY_OK)
			return LY_MALFORMED;
		memcpy(at, &id, sizeof(id));
		return LY_OK;
	case LY_KIND_BYTES:
		break;
	}
	return LY_MALFORMED;
}

enum ly_rc
ly_row_from_json(const struct ly_message *table, const json_t *from, void *row,
    struct ly_why *why)
{
	if (!json_is_object(from))
		return ly_fail(why, LY_MALFORMED, "%s: not a JSON object",
		    table->name);
	memset(row, 0, table->size);
	for (size_t i = 0; i < table->fields_n; i++) {
		const struct ly_field *f = &table->fields[i];
		const json_t *v = json_object_get(from, f->name);

		if (v && from_value(f, v, (char *)row + f->offset) != LY_OK)
			return ly_fail(why, LY_MALFORMED,
			    "%s: \"%s\" is not what it should be", table->name,
			    f->name);
	}
	return LY_OK;
}

/* ---- what every store has in common ---- */

static enum ly_rc
note(struct ly_store *s, enum ly_rc rc, const struct ly_why *got,
    struct ly_why *why)
{
	s->ill = rc != LY_OK;
	if (rc == LY_OK) {
		s->writes++;
		return rc;
	}
	s->failures++;
	s->health = *got;
	return ly_fail(why, rc, "%s", got->text);
}

enum ly_rc
ly_store_put(struct ly_store *s, enum ly_row_kind kind, const void *row,
    const char *journal, struct ly_why *why)
{
	json_t *json = ly_row_json(&tables[kind], row);
	char *text = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII);
	struct ly_why got = { "out of memory" };
	enum ly_rc rc = LY_OUTSIDE;
	char key[LY_KEY_MAX];

	json_decref(json);
	ly_row_key(kind, row, key);
	if (text)
		rc = s->ops->put(s, kind, key, text, journal, &got);
	free(text);
	return note(s, rc, &got, why);
}

enum ly_rc
ly_store_del(struct ly_store *s, enum ly_row_kind kind, const char *key,
    const char *journal, struct ly_why *why)
{
	struct ly_why got = { "" };

	return note(s, s->ops->del(s, kind, key, journal, &got), &got, why);
}

static enum ly_rc
parse(enum ly_row_kind kind, const char *key, const char *json, void *row,
    struct ly_why *why)
{
	json_t *j = json_loads(json, 0, NULL);
	enum ly_rc rc = ly_row_from_json(&tables[kind], j, row, why);

	json_decref(j);
	return rc == LY_OK ? rc :
			     ly_fail_in(why, LY_OUTSIDE, "store: row %s %s",
				 tables[kind].name, key);
}

enum ly_rc
ly_store_get(struct ly_store *s, enum ly_row_kind kind, const char *key,
    void *row, struct ly_why *why)
{
	char *json = NULL;
	enum ly_rc rc = s->ops->get(s, kind, key, &json, why);

	if (rc == LY_OK)
		rc = parse(kind, key, json, row, why);
	free(json);
	return rc;
}

struct each {
	enum ly_row_kind kind;
	ly_store_on_row *on_row;
	void *arg;
};

static enum ly_rc
on_json(void *arg, const char *key, const char *json, struct ly_why *why)
{
	struct each *e = arg;
	void *row = malloc(ROW_SIZE_MAX);
	enum ly_rc rc;

	if (!row)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	rc = parse(e->kind, key, json, row, why);
	if (rc == LY_OK)
		rc = e->on_row(e->arg, row, why);
	free(row);
	return rc;
}

enum ly_rc
ly_store_each(struct ly_store *s, enum ly_row_kind kind,
    ly_store_on_row *on_row, void *arg, struct ly_why *why)
{
	struct each e = { .kind = kind, .on_row = on_row, .arg = arg };

	return s->ops->each(s, kind, on_json, &e, why);
}

/* ---- the permanent record ---- */

enum ly_rc
ly_store_begin(struct ly_store *s, struct ly_why *why)
{
	struct ly_why got = { "" };
	enum ly_rc rc = s->ops->begin(s, &got);

	return rc == LY_OK ? rc : note(s, rc, &got, why);
}

enum ly_rc
ly_store_end(struct ly_store *s, bool keep, struct ly_why *why)
{
	struct ly_why got = { "" };
	enum ly_rc rc = s->ops->end(s, keep, &got);

	return rc == LY_OK && !keep ? rc : note(s, rc, &got, why);
}

enum ly_rc
ly_store_append(struct ly_store *s, const struct ly_store_line *line,
    struct ly_why *why)
{
	struct ly_why got = { "" };

	return note(s, s->ops->append(s, line, &got), &got, why);
}

enum ly_rc
ly_store_lines(struct ly_store *s, const struct ly_lines_wish *wish,
    ly_store_on_line *on_line, void *arg, struct ly_why *why)
{
	return s->ops->lines(s, wish, on_line, arg, why);
}

enum ly_rc
ly_store_keep(struct ly_store *s, const struct ly_id *mig, const char *what,
    struct ly_bytes bytes, struct ly_why *why)
{
	struct ly_why got = { "" };
	char key[LY_ID_TEXT];

	return note(s, s->ops->keep(s, ly_id_text(mig, key), what, bytes, &got),
	    &got, why);
}

enum ly_rc
ly_store_kept(struct ly_store *s, const struct ly_id *mig,
    ly_store_on_kept *on_kept, void *arg, struct ly_why *why)
{
	char key[LY_ID_TEXT];

	return s->ops->kept(s, ly_id_text(mig, key), on_kept, arg, why);
}

const char *
ly_store_health(const struct ly_store *s)
{
	return s->ill ? s->health.text : "good";
}

void
ly_store_close(struct ly_store *s)
{
	if (s)
		s->ops->close(s);
}
