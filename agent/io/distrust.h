/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who was revoked, as this host knows it: our manager sends the newest CRL of
 * each site, we check its signature and keep it (STATE/revoked), and end the
 * connections of those in it. New ones are refused in the handshake.
 */
#ifndef LY_AGENT_IO_DISTRUST_H
#define LY_AGENT_IO_DISTRUST_H

#include "agent/io/agent.h"

/* From our manager. */
void ly_distrust_hear(struct ly_agent *agent, const struct ly_crl_told *m);
/* Looks each hour whether a CRL is out of date, until _end(). */
struct ly_distrust *ly_distrust_begin(struct ly_agent *agent);
void ly_distrust_end(struct ly_distrust *d);

#endif
