/* SPDX-License-Identifier: Apache-2.0 */
/* A record's settled migrations: mig(16) fate(1) epoch(8), newest first. */
#include "agent/home/home_in.h"

enum ly_fate
ly_record_fate(const struct ly_record *rec, const struct ly_id *mig,
    uint64_t *epoch)
{
	*epoch = rec->epoch;
	if (ly_id_none(mig))
		return LY_FATE_UNKNOWN;
	for (size_t i = 0; i < LY_FATES_KEPT; i++) {
		struct ly_rd r = ly_rd_over(rec->settled[i], LY_SETTLED_LEN);

		if (memcmp(ly_rd_bytes(&r, sizeof(mig->b)), mig->b,
			sizeof(mig->b)) == 0) {
			enum ly_fate fate = (enum ly_fate)ly_rd_u8(&r);

			if (fate == LY_FATE_CLAIMED)
				*epoch = ly_rd_u64(&r);
			return fate;
		}
	}
	if (rec->state >= LY_REC_PREPARED && ly_id_same(&rec->mig, mig))
		return LY_FATE_OPEN;
	return LY_FATE_UNKNOWN;
}

void
ly_record_settle(struct ly_record *rec, const struct ly_id *mig,
    enum ly_fate fate)
{
	struct ly_wr w = ly_wr_over(rec->settled[0], LY_SETTLED_LEN);

	memmove(rec->settled[1], rec->settled[0],
	    (LY_FATES_KEPT - 1) * LY_SETTLED_LEN);
	ly_wr_bytes(&w, mig->b, sizeof(mig->b));
	ly_wr_u8(&w, (uint8_t)fate);
	ly_wr_u64(&w, rec->epoch);
	rec->mig = (struct ly_id){ { 0 } };
	rec->to[0] = '\0';
	rec->to_epoch = rec->expires = 0;
}

bool
ly_record_claimed_from(const struct ly_record *rec, uint64_t epoch)
{
	for (size_t i = 0; i < LY_FATES_KEPT; i++) {
		struct ly_rd r = ly_rd_over(rec->settled[i], LY_SETTLED_LEN);

		(void)ly_rd_bytes(&r, sizeof(rec->mig.b));
		if (ly_rd_u8(&r) == LY_FATE_CLAIMED &&
		    ly_rd_u64(&r) == epoch + 1)
			return true;
	}
	return false;
}
