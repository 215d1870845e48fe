/* SPDX-License-Identifier: Apache-2.0 */
/* Which TPM a host has, by the operator's word, and that it proves so. */
#include "manager/api/call.h"

#include "manager/enrol/pin.h"
#include "manager/io/enrol.h"

/* What is not given stays. */
static void
take_limits(const struct ly_api_call *c, struct ly_host_row *row)
{
	const json_t *vms = json_object_get(c->r->args, "capacity");
	const json_t *memory = json_object_get(c->r->args, "memory_mb");

	if (vms)
		row->vms_most = (uint32_t)json_integer_value(vms);
	if (memory)
		row->memory_most = (uint64_t)json_integer_value(memory);
}

enum ly_rc
ly_api_take_inventory(const struct ly_api_call *c, struct ly_host_row *row,
    struct ly_why *why)
{
	const char *ek = ly_api_text(c->r, "ek");
	const char *class = ly_api_text(c->r, "class");

	if (class && !ly_name_good(class))
		return ly_fail(why, LY_REFUSED,
		    "\"%.64s\" is not a class's name: 1 to 63 of a-z 0-9 ."
		    " _ -",
		    class);
	if (class)
		ly_copy(row->class_, sizeof(row->class_), class);
	return ek ? ly_pin_parse(ek, row->ek, why) : LY_OK;
}

void
ly_api_host_set(const struct ly_api_call *c)
{
	struct ly_host *h = ly_api_host(c, "host", true);
	struct ly_host_row row;
	struct ly_why why;
	enum ly_rc rc;

	if (!h)
		return;
	rc = ly_store_get(c->m->store, LY_ROW_HOST, h->at.name, &row, &why);
	if (rc == LY_OK)
		rc = ly_api_take_inventory(c, &row, &why);
	take_limits(c, &row);
	if (rc == LY_OK)
		rc = ly_store_put(c->m->store, LY_ROW_HOST, &row,
		    "inventory changed", &why);
	if (rc != LY_OK) {
		ly_api_no(c, rc, &why);
		return;
	}
	h->vms_most = row.vms_most;
	h->memory_most = row.memory_most;
	ly_fed_tell(c->m, h);
	if (ly_api_text(c->r, "ek") || ly_api_text(c->r, "class"))
		ly_enrol_again(c->m, h);
	ly_api_yes(c,
	    json_pack("{s:s, s:s, s:s}", "host", row.name, "ek", row.ek,
		"class", row.class_[0] ? row.class_ : LY_CLASS_DEFAULT));
}

/* Without `wait` the answer is how it stands now. */
void
ly_api_host_enroll(const struct ly_api_call *c)
{
	struct ly_host *h = ly_api_host(c, "host", true);
	bool wait = ly_api_bool(c->r, "wait");
	struct ly_why why;
	enum ly_rc rc;
	json_t *out;

	if (!h)
		return;
	rc = ly_enrol_wish(c->m, h, wait ? c->client : 0, &why);
	if (rc != LY_OK) {
		ly_api_no(c, rc, &why);
	} else if (!wait) {
		out = json_pack("{s:s}", "host", h->at.name);
		ly_enrol_view(c->m, h, out);
		ly_api_yes(c, out);
	}
}

void
ly_api_host_unfreeze(const struct ly_api_call *c)
{
	struct ly_host *h = ly_api_host(c, "host", true);
	char who[64];
	struct ly_why why;
	enum ly_rc rc;

	if (!h)
		return;
	rc = ly_enrol_unfreeze(c->m, h, ly_api_who(c->m, c->client, who), &why);
	if (rc == LY_OK)
		ly_api_yes(c, json_pack("{s:s}", "host", h->at.name));
	else
		ly_api_no(c, rc, &why);
}
