/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom this host does not believe, though his certificate is good: who was
 * revoked, and where our site demands papers, who has none.
 *
 * Who was revoked, as this host knows it: our manager sends the newest CRL of
 * each site, we check its signature and keep it (STATE/revoked), and end the
 * connections of those in it. New ones are refused in the handshake.
 */
#ifndef LY_AGENT_IO_DISTRUST_H
#define LY_AGENT_IO_DISTRUST_H

#include "agent/io/agent.h"

/* From our manager. */
void ly_distrust_hear(struct ly_agent *agent, const struct ly_crl_told *m);
/* Another host, at the other end of a LINK or STREAM. LY_REFUSED: it is not
 * enrolled, and our site believes no host that is not. */
LY_MUST enum ly_rc ly_distrust_peer(const struct ly_agent *agent,
    const struct ly_peer *peer, struct ly_why *why);
/* Looks each hour whether a CRL is out of date, until _end(). */
struct ly_distrust *ly_distrust_begin(struct ly_agent *agent);
void ly_distrust_end(struct ly_distrust *d);

#endif
