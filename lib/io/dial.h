/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection that comes back: dialled until it is up, and again whenever it
 * is lost, with the waits of lib/link/dial.h, until it is told to stop. Links
 * to a home and the connection to the manager are of this kind.
 */
#ifndef LY_IO_DIAL_H
#define LY_IO_DIAL_H

#include "lib/io/conn.h"

struct ly_dial;

/*
 * `ops` as of a connection: on_open() each time it comes up, on_close() each
 * time one that was up goes down. Attempts that fail are told to the log, one
 * line when it begins and one when the reason changes. on_open() may refuse;
 * then it is dialled again after a wait. ly_conn_close() on the connection
 * makes a new one. NULL when memory is out.
 */
struct ly_dial *ly_dial_start(struct ly_net *net, const char *address,
    const char *want, const struct ly_hello *hello,
    const struct ly_conn_ops *ops, void *arg);
/* Closes what is open, with BYE{LY_OK}, and frees itself later. No op of it
 * is called from now on, not even on_close(). Call it before ly_net_close(). */
void ly_dial_stop(struct ly_dial *d);
/* The connection while it is up, else NULL. */
struct ly_conn *ly_dial_conn(const struct ly_dial *d);
/* Why it is not up: of the last failure; "" when there was none. */
const char *ly_dial_why(const struct ly_dial *d);

#endif
