/* SPDX-License-Identifier: Apache-2.0 */
/* What policy.c and policy_log.c share; for these two. */
#ifndef LY_MANAGER_IO_POLICY_IN_H
#define LY_MANAGER_IO_POLICY_IN_H

#include "lib/io/approvals.h"
#include "manager/io/policy.h"

#define HEX_LEN (2 * LY_SHA256_SIZE + 1)

struct ly_policy_shell {
	struct ly_approvals *lists;
	uint8_t *log; /* what ly_policy_log() gave last */
};

/* Logs that no list names any more, or never did. */
void ly_policy_drop_logs(struct ly_manager *m);
/* Asks for those of the site's list that are not here. */
void ly_policy_want_logs(struct ly_manager *m, struct ly_conn *c,
    const char *site);

#endif
