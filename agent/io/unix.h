/* SPDX-License-Identifier: Apache-2.0 */
/* A Unix stream socket at a path, for its owner's processes alone. */
#ifndef LY_AGENT_IO_UNIX_H
#define LY_AGENT_IO_UNIX_H

#include "lib/base/err.h"

#include <sys/socket.h>
#include <sys/un.h>

/* Listens there, mode 0600; *fd is non-blocking, and the caller's to close. It
 * replaces what a dead process left behind, but never a live one's socket
 * (LY_BUSY) nor what is none (LY_REFUSED). */
LY_MUST enum ly_rc ly_unix_listen(const struct sockaddr_un *at, int backlog,
    int *fd, struct ly_why *why);
/* The same with another type of socket, SOCK_SEQPACKET. */
LY_MUST enum ly_rc ly_unix_listen_as(const struct sockaddr_un *at, int type,
    int backlog, int *fd, struct ly_why *why);

#endif
