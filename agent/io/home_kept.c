/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the homes outlives this agent: a slot of each that has had a command
 * (agent/home/kept.h says what is in it), with its TPM's connections.
 */
#include "agent/io/homes_in.h"
#include "lib/io/clock.h"

bool
ly_home_slot(struct home *h)
{
	if (!h->slot && h->homes->agent->keep)
		h->slot = ly_slot_new(h->homes->agent->keep, LY_KEEP_HOME);
	return h->slot != NULL;
}

void
ly_home_commit(struct home *h)
{
	static const struct ly_tpm_kept closed;
	uint8_t buf[LY_HOME_KEPT_MAX];
	size_t len;

	if (!h->slot)
		return;
	len = ly_home_kept_pack(&h->core, &h->shell,
	    h->tpm ? ly_tpm_kept(h->tpm) : &closed, buf);
	ly_slot_commit(h->slot, buf, len);
	if (h->tpm)
		ly_tpm_settle(h->tpm);
}

/* The answer before this one may be what the committed state still has: but
 * nobody asks for that any more, for this command's sender has it. */
uint8_t *
ly_home_answer_room(struct home *h, size_t len)
{
	h->shell.answer_len = (uint32_t)len;
	if (ly_home_slot(h))
		return ly_slot_area(h->slot, LY_AREA_KEPT, len);
	assert(len <= sizeof(h->failure));
	return h->failure;
}

struct ly_bytes
ly_home_answer(struct home *h)
{
	size_t len = h->shell.answer_len;

	if (!h->slot)
		return (struct ly_bytes){ h->failure, len };
	return (
	    struct ly_bytes){ ly_slot_area(h->slot, LY_AREA_KEPT, len), len };
}

/* ---- waking ---- */

/* Its home is as after a loss of power, and says so. */
static void
refuse(struct ly_slot *s, struct home *h, const struct ly_why *why)
{
	ly_log_alarm(h ? h->core.rec.name : "home",
	    "what was kept is of no use: %s", why->text);
	ly_slot_free(s);
}

/* LY_FENCED is for the caller. */
static enum ly_rc
wake(struct ly_homes *hs, struct ly_slot *s, struct ly_why *why)
{
	struct ly_bytes state = ly_slot_state(s);
	struct ly_home_kept k;
	struct home *h = NULL;
	enum ly_rc rc = ly_home_kept_unpack(state.at, state.len, &k, why);

	if (rc == LY_OK) {
		h = ly_home_of(hs, &k.core.rec.vm);
		if (!h) { /* unbound, but for this */
			ly_slot_free(s);
			return LY_OK;
		}
		rc = ly_home_wake(&h->core, &h->core.rec, &k.core, ly_boot_ms(),
		    ly_homes_lease_ms(hs), why);
	}
	if (rc == LY_FENCED)
		return ly_fail_in(why, rc, "%s", h->core.rec.name);
	if (rc != LY_OK) {
		refuse(s, h, why);
		return LY_OK;
	}
	h->slot = s;
	h->shell = k.shell;
	return LY_OK;
}

enum ly_rc
ly_homes_wake(struct ly_homes *hs, struct ly_why *why)
{
	struct ly_keep *keep = hs->agent->keep;
	struct ly_slot *s = keep ? ly_keep_next(keep, LY_KEEP_HOME, NULL) :
				   NULL;

	while (s) {
		struct ly_slot *next = ly_keep_next(keep, LY_KEEP_HOME, s);
		enum ly_rc rc = wake(hs, s, why);

		if (rc != LY_OK)
			return rc;
		s = next;
	}
	return LY_OK;
}

void
ly_homes_wake_tpms(struct ly_homes *hs)
{
	unsigned n = 0;

	for (struct home *h = hs->first; h; h = h->next) {
		struct ly_bytes state;
		struct ly_home_kept k;
		struct ly_why why;

		if (!h->slot || h->tpm)
			continue;
		state = ly_slot_state(h->slot);
		if (ly_home_kept_unpack(state.at, state.len, &k, &why) != LY_OK)
			continue; /* was read before */
		ly_home_tpm_wake(h, &k.tpm);
		n++;
	}
	if (n)
		ly_log(LY_NOTICE, "home", "%u home%s as before", n,
		    n == 1 ? " goes on" : "s go on");
}
