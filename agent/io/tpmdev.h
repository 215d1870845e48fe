/* SPDX-License-Identifier: Apache-2.0 */
/* A TPM that is a device of Linux. Opened by tpm.c alone. */
#ifndef LY_IO_TPMDEV_H
#define LY_IO_TPMDEV_H

#include "agent/io/tpm.h"

LY_MUST enum ly_rc ly_tpmdev_open(uv_loop_t *loop, const char *path,
    struct ly_slot *slot, struct ly_tpm **out, struct ly_why *why);
LY_MUST enum ly_rc ly_tpmdev_wake(uv_loop_t *loop, struct ly_slot *slot,
    const struct ly_tpm_kept *kept, struct ly_tpm **out, struct ly_why *why);

#endif
