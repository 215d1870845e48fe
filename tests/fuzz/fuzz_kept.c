/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an agent reads back of a VM: the input is such a state, and behind it
 * what happens next. What is taken packs to the same bytes, and its machines
 * can be told anything then.
 */
#include "agent/away/kept.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
go_on(struct ly_away *away, struct ly_swtpm *guest, const uint8_t *at,
    size_t len)
{
	static const uint8_t secret[LY_SECRET_LEN];
	struct ly_swtpm_todo done;

	ly_away_wake(away, 1000);
	for (size_t i = 0; i + 2 < len; i += 3) {
		struct ly_away_todos todo = { .n = 0 };
		struct ly_away_event ev = {
			.kind = (enum ly_away_kind)(at[i] % LY_AWAY_KINDS),
			.now_ms = 1000 + 500 * i,
			.rc = (enum ly_rc)(at[i + 1] % LY_RCS),
			.epoch = away->epoch + at[i + 2] % 2,
			.seq = away->seq,
			.secret = secret,
			.mig = away->mig,
			.fate = (enum ly_fate)(at[i + 2] % 4),
		};

		if (ev.kind == LY_AWAY_COMMAND &&
		    (away->command || away->sent == LY_SENT_COMMAND))
			continue; /* one guest, one command */
		if (ev.kind >= LY_AWAY_HEAR_GRANTED &&
		    ev.kind <= LY_AWAY_HEAR_FENCE && !away->linked)
			continue; /* nobody speaks on no link */
		ly_away_step(away, &ev, &todo);
	}
	if (guest->waiting == LY_SWTPM_SAVE)
		ly_swtpm_saved(guest, at, len > 4 ? 4 : 0, &done);
	else if (guest->waiting != LY_SWTPM_NOTHING)
		ly_swtpm_result(guest, 0, &done);
	while (len > 0) {
		size_t n = ly_swtpm_feed(guest, at, len, &done);

		if (n == 0 || done.act > LY_SWTPM_TAKE_BACK)
			break; /* for an owner */
		at += n;
		len -= n;
	}
	ly_swtpm_hung_up(guest);
}

/* u16 length of the state, the state, the rest. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ly_rd r = ly_rd_over(data, len);
	size_t n = ly_rd_u16(&r);
	const uint8_t *state = ly_rd_bytes(&r, n);
	uint8_t again[LY_KEPT_MAX];
	struct ly_vm_kept vm;
	struct ly_away away;
	struct ly_swtpm guest;
	struct ly_why why;

	if (!state ||
	    ly_kept_unpack(state, n, &vm, &away, &guest, &why) != LY_OK)
		return 0;
	if (ly_kept_pack(&vm, &away, &guest, again) != n ||
	    memcmp(again, state, n) != 0)
		abort();
	go_on(&away, &guest, r.at, ly_rd_left(&r));
	return 0;
}
