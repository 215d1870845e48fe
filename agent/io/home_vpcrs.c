/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCRs of a guest's TPM, read by its home between two of the guest's
 * commands (agent/home/peek.c). A TPM says eight at a time, so it is asked
 * twice; the second question is due before anything else that waits, so no
 * command of the guest's comes in between.
 *
 * Each question is an event of its own, after the commit of the one before:
 * a way to a TPM may lose what it has just said if it is asked anew before
 * that is kept.
 */
#include "agent/io/homes_in.h"
#include "lib/attest/policy.h"

#include <stdlib.h>

#define TAG 0x8001
#define PCR_READ 0x0000017e
#define PCRS_N 16
#define AT_ONCE 8
#define PARTS (PCRS_N / AT_ONCE)

struct peek {
	ly_homes_placed *placed; /* NULL: the agent ends */
	void *arg;
	bool asked; /* the TPM is, for `part` */
	unsigned part;
	uint64_t seq; /* as of the first part */
	uint8_t pcrs[PCRS_N * 32];
	bool odd; /* it said something else */
};

static uint32_t
mask_of(unsigned part)
{
	return 0xffu << part * AT_ONCE;
}

static size_t
put_command(unsigned part, uint8_t *out, size_t size)
{
	struct ly_wr w = ly_wr_over(out, size), len = w;

	ly_wr_u16(&w, TAG);
	ly_wr_u32(&w, 0);
	ly_wr_u32(&w, PCR_READ);
	ly_pcr_selection_put(mask_of(part), &w);
	assert(!w.bad);
	ly_wr_u16(&len, TAG);
	ly_wr_u32(&len, (uint32_t)ly_wr_len(&w));
	return ly_wr_len(&w);
}

/* pcrUpdateCounter, the selection it has read, their values. */
static bool
get_values(const uint8_t *body, size_t len, unsigned part,
    uint8_t out[AT_ONCE * 32])
{
	struct ly_tpm_rsp rsp;
	uint8_t want[16];
	struct ly_wr w = ly_wr_over(want, sizeof(want));
	struct ly_rd r;
	const uint8_t *said, *value;

	if (ly_tpm_rsp_parse(body, len, &rsp) != LY_OK || rsp.rc != 0)
		return false;
	r = ly_rd_over(rsp.body, rsp.body_len);
	ly_pcr_selection_put(mask_of(part), &w);
	(void)ly_rd_u32(&r);
	said = ly_rd_bytes(&r, ly_wr_len(&w));
	if (!said || memcmp(said, want, ly_wr_len(&w)) != 0 ||
	    ly_rd_u32(&r) != AT_ONCE)
		return false;
	for (unsigned i = 0; i < AT_ONCE; i++) {
		uint16_t size = ly_rd_u16(&r);

		value = ly_rd_bytes(&r, 32);
		if (!value || size != 32)
			return false;
		memcpy(out + i * 32, value, 32);
	}
	return !r.bad && !ly_rd_left(&r);
}

static void
end(struct home *h, enum ly_rc rc, const struct ly_home_place *place,
    const char *why)
{
	struct peek *p = h->peek;

	h->peek = NULL;
	if (p->placed)
		p->placed(p->arg, rc, place, why);
	free(p);
}

static void
tell(struct home *h)
{
	const struct ly_home *core = &h->core;
	struct ly_door_slot *d = ly_door_of(h->homes, core->door);
	struct ly_home_place place = { .epoch = core->rec.epoch,
		.seq = core->seq };

	if (core->rec.state != LY_REC_DETACHED)
		ly_copy(place.holder, sizeof(place.holder), core->rec.holder);
	if (d && d->visitor)
		memcpy(place.holder_hk,
		    d->visitor->foreign ? d->visitor->hk :
					  h->homes->agent->self->hk,
		    sizeof(place.holder_hk));
	ly_sha256(h->peek->pcrs, sizeof(h->peek->pcrs), place.vpcrs);
	end(h, LY_OK, &place, "");
}

/* ---- what the machine says ---- */

size_t
ly_home_vpcrs_command(struct home *h, uint8_t *out, size_t size)
{
	struct peek *p = h->peek;

	if (p->part == 0)
		p->seq = h->core.seq;
	assert(p->seq == h->core.seq);
	return put_command(p->part, out, size);
}

void
ly_home_vpcrs_heard(struct home *h, const uint8_t *body, size_t len)
{
	struct peek *p = h->peek;

	if (p && p->asked)
		p->odd |= !get_values(body, len, p->part,
		    p->pcrs + p->part * AT_ONCE * 32);
}

void
ly_home_vpcrs_over(struct home *h, enum ly_rc rc)
{
	struct peek *p = h->peek;

	if (!p || !p->asked)
		return; /* the agent before us had asked */
	p->asked = false;
	if (rc != LY_OK)
		end(h, rc, NULL,
		    "its TPM is in failure mode until the VM resets");
	else if (p->odd)
		end(h, LY_OUTSIDE, NULL, "its TPM does not tell its PCRs");
	else
		p->part++;
}

bool
ly_home_vpcrs_due(struct home *h)
{
	struct peek *p = h->peek;

	if (p && !p->asked && p->part == PARTS) {
		tell(h);
		p = h->peek; /* the next one, perhaps */
	}
	if (!p || p->asked || h->core.peeking || h->core.tpm == LY_TPM_RUNNING)
		return false;
	p->asked = true;
	return true;
}

/* ---- asked by our own host ---- */

void
ly_homes_vpcrs(struct ly_homes *hs, const struct ly_id *vm,
    ly_homes_placed *placed, void *arg)
{
	struct home *h = ly_home_of(hs, vm);

	if (!h || (h->binding && !h->leaving)) {
		placed(arg, LY_UNKNOWN, NULL, "no such VM has its home here");
		return;
	}
	if (h->peek) {
		placed(arg, LY_BUSY, NULL, "its TPM is being asked already");
		return;
	}
	h->peek = calloc(1, sizeof(*h->peek));
	if (!h->peek)
		abort();
	h->peek->placed = placed;
	h->peek->arg = arg;
	ly_home_go_on(h);
}

void
ly_home_vpcrs_end(struct home *h)
{
	if (h->peek)
		end(h, LY_OUTSIDE, NULL, "the agent ends");
}
