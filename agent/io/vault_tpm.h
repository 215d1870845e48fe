/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TPM of a vault: a counter and a storage key of this host's own TPM,
 * through the one connection to it (tss.h), where it goes first.
 *
 * The counter is an NV index in the owner's range. Anybody who may talk to the
 * TPM may make it count on (and so make a vault unreadable) or delete it;
 * nobody can turn it back: a counter that is made again goes on above the
 * highest that TPM ever had.
 *
 * A key is sealed under the owner's storage primary, with the policy that the
 * counter stands at its version. It crosses the bus only encrypted, in
 * sessions salted with that primary.
 *
 * Nothing is left in the TPM between two calls. Everything blocks.
 */
#ifndef LY_AGENT_IO_VAULT_TPM_H
#define LY_AGENT_IO_VAULT_TPM_H

#include "agent/io/tss.h"
#include "agent/io/vault.h"

struct ly_vault_tpm;

/* `index` as in lanyard-agent.conf(5). Holds `tss` open. */
void ly_vault_tpm_open(struct ly_tss *tss, uint32_t index,
    struct ly_vault_tpm **out);
void ly_vault_tpm_close(struct ly_vault_tpm *t);
/* Its `arg` is the struct ly_vault_tpm. */
extern const struct ly_vault_chip ly_vault_tpm_chip;

#endif
