/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard attest`: where a VM runs, or what a host is, as quotes of this
 * moment prove it. What comes of it is said to the client, with a text that we
 * have signed and that is good for LY_ATTEST_S seconds.
 */
#ifndef LY_MANAGER_IO_ATTEST_H
#define LY_MANAGER_IO_ATTEST_H

#include "manager/io/manager.h"

#define LY_ATTEST_S 300

/* Each answers its client when it is over. */
void ly_attest_vm(struct ly_manager *m, uint64_t client, struct ly_vm *vm);
void ly_attest_host(struct ly_manager *m, uint64_t client, struct ly_host *h);

#endif
