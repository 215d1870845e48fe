/* SPDX-License-Identifier: Apache-2.0 */
/* A TPM through a TCTI of tpm2-tss. Opened by tpm.c alone. */
#ifndef LY_IO_TCTI_H
#define LY_IO_TCTI_H

#include "agent/io/tpm.h"

LY_MUST enum ly_rc ly_tcti_open(uv_loop_t *loop, const char *spec,
    struct ly_slot *slot, struct ly_tpm **out, struct ly_why *why);

#endif
