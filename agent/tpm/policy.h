/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest may ask of a hardware TPM that its VM owns exclusively: a chip
 * of which the guest has PCRs, keys, NV and sessions, but which the host's
 * operator gets back one day. So the guest may not change who owns it, lock
 * it, wear out what outlives the VM, or update it.
 *
 * The platform hierarchy looks as on a machine whose firmware has closed it:
 * every use of it is refused, closing it (again) succeeds.
 *
 * Pure: the shell asks before a command goes to the chip, and shows the
 * answer of those that ran to ly_tpm_policy_answer().
 */
#ifndef LY_TPM_POLICY_H
#define LY_TPM_POLICY_H

#include "agent/tpm/header.h"

struct ly_tpm_policy {
	bool allow_clear; /* the chip is the VM's for good */
	bool resets; /* a reset of the VM resets the chip (ly_tpm_resets) */
	uint32_t host_nv; /* an NV index that is the host's own; 0: none */
};

#define LY_TPM_SAY_MAX 20

/* What to tell the guest in the chip's place. */
struct ly_tpm_say {
	uint8_t at[LY_TPM_SAY_MAX];
	size_t len;
	uint32_t rc;
	const char *why; /* for the log; "" when nothing was refused */
};

enum ly_tpm_verdict {
	LY_TPM_RUN,   /* give it to the chip */
	LY_TPM_DENY,  /* do not; the answer is `say`, an error */
	LY_TPM_FEIGN, /* do not; the answer is `say`, a success */
};

/* `cmd` is whatever the guest sent; bytes that are no command are denied as a
 * TPM would. `say` is written unless the verdict is LY_TPM_RUN. */
enum ly_tpm_verdict ly_tpm_policy_ask(const struct ly_tpm_policy *policy,
    const uint8_t *cmd, size_t len, struct ly_tpm_say *say);

/*
 * True when the guest is to be told `say` and not the chip's answer `rsp` to
 * the command `code`: a chip that could not be reset calls a second Startup
 * an error, which to the guest's firmware would be a broken TPM.
 */
bool ly_tpm_policy_answer(const struct ly_tpm_policy *policy, uint32_t code,
    const uint8_t *rsp, size_t len, struct ly_tpm_say *say);

/* For documentation: "run", "deny: REASON", ...; NULL if there is no such
 * command. */
const char *ly_tpm_policy_row(uint32_t code);

#endif
