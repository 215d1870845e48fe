/* SPDX-License-Identifier: Apache-2.0 */
/* What a migration's parties have proved and signed, for others to check. */
#ifndef LY_MANAGER_IO_RECEIPT_H
#define LY_MANAGER_IO_RECEIPT_H

#include "manager/io/manager.h"

/* *files: an object, name to bytes in hex (docs/receipt.md has the names);
 * json_decref() it. */
LY_MUST enum ly_rc ly_receipt_make(struct ly_manager *m,
    const struct ly_mig_row *row, json_t **files, struct ly_why *why);

#endif
