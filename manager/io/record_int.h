/* SPDX-License-Identifier: Apache-2.0 */
/* What record.c (lines, the start) and record_head.c (witnesses) share; for
 * these two only. */
#ifndef LY_MANAGER_IO_RECORD_INT_H
#define LY_MANAGER_IO_RECORD_INT_H

#include "manager/io/manager.h"

struct ly_records {
	struct ly_chain head;	 /* as in the store */
	struct ly_head_row row;	 /* the same, signed */
	struct ly_chain in_file; /* as in STATE/head */
	char lost[LY_WHY_MAX];	 /* empty: it is whole */
	struct ly_chain gone;	 /* if not: what it was once */
	bool open; /* read and believed; before that STATE/head is evidence */
};

/* An accepted loss is found again by what was lost. */
#define LY_LOSS_NAME 80
static inline void
ly_loss_name(const struct ly_chain *gone, char out[LY_LOSS_NAME])
{
	char hash[65];

	ly_hex(gone->hash, sizeof(gone->hash), hash);
	ly_print(out, LY_LOSS_NAME, "head:%s", hash);
}
LY_MUST enum ly_rc ly_record_note_loss(struct ly_manager *m,
    const struct ly_chain *known, const char *what, struct ly_why *why);

#endif
