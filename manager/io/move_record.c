/* SPDX-License-Identifier: Apache-2.0 */
/* What of a migration's course goes into the permanent record, in the same
 * transaction as its row: that it was asked for, and what became of it. */
#include "manager/io/move_in.h"

static json_t *
details(const struct ly_mig_row *r)
{
	char from[LY_SPIFFE_MAX], to[LY_SPIFFE_MAX];

	ly_spiffe_host(r->from_site, r->from_host, from);
	ly_spiffe_host(r->to_site, r->to_host, to);
	return json_pack("{s:b, s:I, s:s, s:s, s:s, s:s}", "attested",
	    r->attest, "epoch", (json_int_t)r->epoch, "from", from, "home",
	    r->home, "to", to, "vm_name", r->vm_name);
}

static size_t
asked(const struct ly_move *mv, const struct ly_mig_row *r,
    struct ly_record_event ev[2], struct ly_move_texts *t)
{
	ly_print(t->text, sizeof(t->text),
	    "%s asks for %s to be moved from %s/%s to %s/%s",
	    mv->who[0] ? mv->who : "the manager", r->vm_name, r->from_site,
	    r->from_host, r->to_site, r->to_host);
	ev->kind = LY_RECORD_MIG_ASKED;
	ev->subject = "operator";
	return 1;
}

static size_t
committed(const struct ly_mig_row *r, struct ly_record_event ev[2],
    struct ly_move_texts *t)
{
	ly_spiffe_host(r->to_site, r->to_host, t->subject);
	ly_print(t->text, sizeof(t->text),
	    "%s runs at %s/%s: its home has granted epoch %llu", r->vm_name,
	    r->to_site, r->to_host, (unsigned long long)r->epoch);
	ev[0].kind = LY_RECORD_EPOCH_CHANGED;
	ev[1].kind = LY_RECORD_MIG_COMMITTED;
	ev[0].subject = ev[1].subject = t->subject;
	return 2;
}

static size_t
aborted(const struct ly_mig_row *r, struct ly_record_event ev[2],
    struct ly_move_texts *t)
{
	ly_spiffe_host(r->from_site, r->from_host, t->subject);
	ly_print(t->text, sizeof(t->text), "%s was not moved to %s/%s: %s",
	    r->vm_name, r->to_site, r->to_host,
	    r->why[0] ? r->why : "called off");
	ev->kind = LY_RECORD_MIG_ABORTED;
	ev->subject = t->subject;
	return 1;
}

size_t
ly_move_events(const struct ly_move *mv, const struct ly_mig_row *next,
    struct ly_record_event ev[2], struct ly_move_texts *t)
{
	size_t n = 0;

	memset(ev, 0, 2 * sizeof(*ev));
	if (!mv->saga.there && next->state == LY_SAGA_PLANNED)
		n = asked(mv, next, ev, t);
	else if (next->state == mv->row.state)
		n = 0;
	else if (next->state == LY_SAGA_COMMITTED)
		n = committed(next, ev, t);
	else if (next->state == LY_SAGA_ABORTED)
		n = aborted(next, ev, t);
	for (size_t i = 0; i < n; i++) {
		ev[i].vm = next->vm;
		ev[i].mig = next->id;
		ev[i].text = t->text;
		ev[i].details = details(next);
	}
	return n;
}
