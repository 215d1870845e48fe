/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMs on this host, each with its away machine, guest endpoint, QEMU, and
 * the migration it is in. Requests come from the manager (control.h) and may
 * be repeated; the newest asker is answered.
 */
#ifndef LY_AGENT_IO_VMS_H
#define LY_AGENT_IO_VMS_H

#include "agent/io/agent.h"

LY_MUST enum ly_rc ly_vms_open(struct ly_agent *agent, struct ly_vms **out,
    struct ly_why *why);
/* Leaves every VM as it is for the next agent; `closed` when done. */
void ly_vms_close(struct ly_vms *vms, void (*closed)(void *arg), void *arg);

void ly_vms_start(struct ly_vms *vms, const struct ly_start *m);
void ly_vms_prepare(struct ly_vms *vms, const struct ly_start *m);
void ly_vms_copy(struct ly_vms *vms, const struct ly_copy *m);
void ly_vms_stop(struct ly_vms *vms, const struct ly_request *m);
void ly_vms_calloff(struct ly_vms *vms, const struct ly_request *m);
void ly_vms_drop(struct ly_vms *vms, const struct ly_request *m);
void ly_vms_settle(struct ly_vms *vms, const struct ly_request *m);

/* This VM runs here, or stands still here and would go on; in that epoch. */
bool ly_vms_place(struct ly_vms *vms, const struct ly_id *vm, uint64_t *epoch);

/* Says VMSTATE of each. */
void ly_vms_report(struct ly_vms *vms);

/* A STREAM connection: LY_OK when a destination here waits for it. */
LY_MUST enum ly_rc ly_vms_stream(struct ly_vms *vms, struct ly_conn *c,
    const struct ly_peer *peer, const struct ly_hello *hello,
    struct ly_why *why);

#endif
