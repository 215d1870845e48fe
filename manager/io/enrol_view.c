/* SPDX-License-Identifier: Apache-2.0 */
/* What operators are shown of a host's enrolment. */
#include "manager/io/enrol_in.h"

#include <stdlib.h>

const char *
ly_enrol_word(const struct ly_manager *m, const struct ly_host *h)
{
	static const char *const words[LY_STANDINGS] = {
		[LY_STANDING_NONE] = "not enrolled",
		[LY_STANDING_GOOD] = "enrolled",
		[LY_STANDING_ENDED] = "expired",
		[LY_STANDING_UNAPPROVED] = "unapproved",
		[LY_STANDING_FROZEN] = "frozen",
	};

	(void)m;
	return h->standing < LY_STANDINGS ? words[h->standing] : "?";
}

static void
put(json_t *o, const char *key, const char *text)
{
	if (text[0])
		json_object_set_new(o, key, ly_json_text(text));
}

static void
put_time(json_t *o, const char *key, uint64_t when)
{
	if (when)
		json_object_set_new(o, key, json_integer((json_int_t)when));
}

static json_t *
pcrs(const struct ly_enrol_row *row)
{
	json_t *o = json_object();
	const char *at = row->pcrs;
	char name[8];

	for (unsigned i = 0; i < LY_PCRS_N && strlen(at) >= 64; i++) {
		if (!(row->pcr_mask & 1u << i))
			continue;
		ly_print(name, sizeof(name), "%u", i);
		json_object_set_new(o, name, json_stringn(at, 64));
		at += 64;
	}
	return o;
}

static void
put_row(const struct ly_enrol_row *row, json_t *o)
{
	put(o, "ek", row->ek_sha256);
	put(o, "ek_by", row->ek_by);
	put(o, "ek_serial", row->ek_serial);
	put(o, "ak", row->ak_name);
	put(o, "sk", row->sk_name);
	put(o, "hk", row->hk);
	put(o, "event_log", row->log);
	put(o, "certificate", row->certificate);
	put(o, "ak_certificate", row->ak_certificate);
	put(o, "serial", row->serial);
	put_time(o, "enrolled_at", row->enrolled);
	put_time(o, "attested", row->attested);
	put_time(o, "until", row->ends);
	put_time(o, "frozen", row->frozen);
	put_time(o, "failures", row->failures);
	if (row->pcr_mask)
		json_object_set_new(o, "pcrs", pcrs(row));
	json_object_set_new(o, "reset_count", json_integer(row->reset_count));
	json_object_set_new(o, "restart_count",
	    json_integer(row->restart_count));
	json_object_set_new(o, "approval",
	    json_integer((json_int_t)row->approval));
}

void
ly_enrol_view(struct ly_manager *m, const struct ly_host *h, json_t *o)
{
	struct ly_enrolling *en = h->enrolling;
	struct ly_enrol_row *row = malloc(sizeof(*row));
	struct ly_host_row host;

	json_object_set_new(o, "enrolled", json_string(ly_enrol_word(m, h)));
	put(o, "class", h->class_);
	put(o, "unapproved", h->differs);
	if (strcmp(h->at.site, m->conf.site) == 0 &&
	    ly_store_get(m->store, LY_ROW_HOST, h->at.name, &host, NULL) ==
		LY_OK) {
		put(o, "class",
		    host.class_[0] ? host.class_ : LY_CLASS_DEFAULT);
		put(o, "inventory", host.ek);
	}
	if (en) {
		put(o, "enrolment", ly_enrolment_name(en->core.state));
		put(o, "why", en->why.text);
		if (row && ly_enrol_row(m, h->at.name, row, NULL) == LY_OK)
			put_row(row, o);
	}
	free(row);
}
