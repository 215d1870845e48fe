/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long guests wait for the answer to a TPM command before they give it up
 * for good. It is fixed in their code, not said by the TPM.
 */
#ifndef LY_TPM_LIMIT_H
#define LY_TPM_LIMIT_H

#include <stdint.h>

/* In milliseconds: the shortest of what Linux (drivers/char/tpm/tpm2-cmd.c)
 * and firmware (SeaBIOS) wait for this command. 0: two minutes or more. */
uint32_t ly_tpm_limit_ms(uint32_t code);

#endif
