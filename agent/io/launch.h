/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host would start for a VM, in one digest: a destination quotes it.
 *
 *	SHA-256("lanyard-launch-v1" 00 | u8 n | n digests of files
 *	    | SHA-256 of the command line | SHA-256 of the definition)
 *
 * The files: QEMU; then the definition's firmware, or QEMU's own where it names
 * none; its kernel and initrd. The command line is QEMU's, each argument with a
 * NUL behind it, with "/run/vm" for the VM's directory and "vm" for its name:
 * the same on each host.
 *
 * A file is read again only if it is another one by device, number, size or
 * times. Reading takes its time, so it is a job.
 */
#ifndef LY_AGENT_IO_LAUNCH_H
#define LY_AGENT_IO_LAUNCH_H

#include "agent/io/definition.h"
#include "lib/base/cursor.h"

#include <uv.h>

#define LY_LAUNCH_FILES 64 /* known by digest; then the oldest is forgotten */

struct ly_launch;
typedef void ly_launch_told(void *arg, enum ly_rc rc, const char *why,
    const uint8_t digest[32]);

/* `qemu`: the program. Never fails. */
struct ly_launch *ly_launch_open(uv_loop_t *loop, const char *qemu);
/* Nobody is told any more; what is at work is waited for by the loop. */
void ly_launch_close(struct ly_launch *l);

/* `json` is copied. Told once, on the loop. A file that cannot be read, or a
 * definition that is none: LY_REFUSED. */
void ly_launch_digest(struct ly_launch *l, const struct ly_id *vm,
    struct ly_bytes json, ly_launch_told *told, void *arg);

#endif
