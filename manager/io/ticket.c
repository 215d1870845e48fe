/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets, and the home's record they are made for. */
#include "manager/io/manager.h"

/* Before it is given out. Who asks the holder for it may be given it again, so
 * each is an event: the record says what was issued, not what was used. */
static enum ly_rc
record(struct ly_manager *m, const struct ly_vm *vm, const struct ly_ticket *t,
    struct ly_why *why)
{
	struct ly_record_event ev = { .kind = LY_RECORD_TICKET_ISSUED,
		.subject = t->holder,
		.vm = t->vm,
		.mig = t->mig };
	char nonce[2 * sizeof(t->nonce) + 1], text[256];

	ly_hex(t->nonce, sizeof(t->nonce), nonce);
	ly_print(text, sizeof(text), "%s may be granted %s's TPM, epoch %llu%s",
	    t->holder, vm->name, (unsigned long long)t->to_epoch,
	    t->rights & LY_MAY_FORCE ? ", by force" : "");
	ev.text = text;
	ev.details = json_pack("{s:s, s:s, s:I, s:I, s:I, s:s}", "vm_name",
	    vm->name, "home", t->home, "epoch", (json_int_t)t->to_epoch,
	    "rights", (json_int_t)t->rights, "expires", (json_int_t)t->expires,
	    "nonce", nonce);
	return ly_record_add(m, &ev, why);
}

enum ly_rc
ly_ticket_mint(struct ly_manager *m, const struct ly_vm *vm,
    const struct ly_id *mig, const struct ly_place *to, unsigned rights,
    uint64_t from_epoch, struct ly_ticket_bytes *out, struct ly_why *why)
{
	uint64_t now = ly_now_s();
	struct ly_ticket t = {
		.vm = vm->id,
		.mig = *mig,
		.rights = (uint8_t)rights,
		.from_epoch = from_epoch,
		.to_epoch = from_epoch + 1,
		.not_before = now,
		.expires = now + m->conf.ticket_minutes * 60,
	};
	uint8_t tagged[1024];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));
	enum ly_rc rc;

	ly_spiffe_host(vm->home.site, vm->home.name, t.home);
	ly_spiffe_host(to->site, to->name, t.holder);
	ly_random(t.nonce, sizeof(t.nonce));
	rc = record(m, vm, &t, why);
	if (rc != LY_OK)
		return rc;
	ly_message_put_tagged(&ly_ticket_message, &t, &w);
	assert(!w.bad);
	out->len = sizeof(out->at);
	return ly_sign(m->ids, LY_TYPE_TICKET, tagged, ly_wr_len(&w), out->at,
	    &out->len, why);
}

static bool
text_of(const json_t *from, const char *key, char *to, size_t size)
{
	const char *v = json_string_value(json_object_get(from, key));

	to[0] = '\0';
	return v ? ly_copy(to, size, v) : true;
}

static bool
number_of(const json_t *from, const char *key, uint64_t *to)
{
	const json_t *v = json_object_get(from, key);

	*to = (uint64_t)json_integer_value(v);
	return json_is_integer(v) && json_integer_value(v) >= 0;
}

enum ly_rc
ly_shown_parse(const struct ly_done *d, struct ly_shown *out,
    struct ly_why *why)
{
	json_t *j = json_loads(d->value, 0, NULL);
	struct ly_peer holder;
	bool good;

	memset(out, 0, sizeof(*out));
	good = text_of(j, "state", out->state, sizeof(out->state)) &&
	    text_of(j, "holder", out->holder, sizeof(out->holder)) &&
	    text_of(j, "migration", out->mig, sizeof(out->mig)) &&
	    number_of(j, "epoch", &out->epoch) &&
	    number_of(j, "seq", &out->seq) && out->state[0];
	json_decref(j);
	if (good && out->holder[0]) {
		good = ly_spiffe_parse(out->holder, &holder, NULL) == LY_OK &&
		    holder.role == LY_ROLE_HOST;
		if (good)
			ly_place_set(&out->at, holder.site, holder.name);
	}
	if (!good)
		return ly_fail(why, LY_OUTSIDE,
		    "the home's agent showed a record that makes no sense");
	return LY_OK;
}
