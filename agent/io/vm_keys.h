/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of this agent's VMs: opened with the chip, and asked by the manager.
 */
#ifndef LY_AGENT_IO_VM_KEYS_H
#define LY_AGENT_IO_VM_KEYS_H

#include "agent/io/agent.h"
#include "agent/io/keys.h"

/* Once there are chip, control's agent and its VMs; `quote` as in keys.h, with
 * the agent as its argument. Into agent->keys; ly_keys_close() after the chip
 * is closed. */
LY_MUST enum ly_rc ly_vm_keys_open(struct ly_agent *agent, struct ly_chip *chip,
    void (*quote)(void *arg, const struct ly_context *c, ly_keys_told *told,
	void *told_arg),
    struct ly_why *why);

/* Without keys they are refused. */
void ly_vm_key(struct ly_agent *agent, const struct ly_keying *m);
void ly_vm_import(struct ly_agent *agent, const struct ly_keying *m);
void ly_vm_unlock(struct ly_agent *agent, const struct ly_keying *m);

#endif
