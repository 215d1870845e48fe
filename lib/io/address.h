/* SPDX-License-Identifier: Apache-2.0 */
/* "host:port" and "[v6]:port", as they stand in configurations and tickets. */
#ifndef LY_IO_ADDRESS_H
#define LY_IO_ADDRESS_H

#include "lib/base/text.h"

#include <sys/socket.h>

/* Takes it apart; the brackets go. Port 0 is good (any free one). */
LY_MUST enum ly_rc ly_address_split(const char *address, char host[LY_ADDR_MAX],
    char port[6], struct ly_why *why);
/* A numeric address as it was split; LY_UNKNOWN if `host` is a name. */
LY_MUST enum ly_rc ly_address_numeric(const char *host, const char *port,
    struct sockaddr_storage *out);
/* "10.0.0.1:7000", "[::1]:7000"; "?" for another family. */
void ly_address_text(const struct sockaddr *sa, char out[LY_ADDR_MAX]);

#endif
