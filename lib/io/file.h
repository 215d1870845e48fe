/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole, durable, bounded. Blocking; call from jobs or at start. */
#ifndef LY_IO_FILE_H
#define LY_IO_FILE_H

#include "lib/base/err.h"

/* Reads at most `most` bytes; more is LY_FULL. *out is malloc'd, with a NUL
 * behind it. LY_UNKNOWN when there is no such file. */
LY_MUST enum ly_rc ly_file_read(const char *path, size_t most, uint8_t **out,
    size_t *len, struct ly_why *why);
/* Replaces it whole or not at all: temporary name, write, fsync, rename,
 * fsync of the directory. */
LY_MUST enum ly_rc ly_file_write(const char *path, const void *buf, size_t len,
    unsigned mode, struct ly_why *why);
/* mkdir -p with this mode for what it makes. */
LY_MUST enum ly_rc ly_file_mkdir(const char *path, unsigned mode,
    struct ly_why *why);

/* As many descriptors as we may have: a VM takes several. */
void ly_file_most(void);

/* Tells systemd ("READY=1", "STOPPING=1", "STATUS=..."); nothing without
 * NOTIFY_SOCKET. */
void ly_notify(const char *state);

#endif
