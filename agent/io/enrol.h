/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This host's papers: how it becomes one of its site (ENROL, from our manager),
 * and what it has from that.
 *
 * It begins with the certificate of `host add`, which is enough to be asked by
 * its manager. What it gets is a certificate of some hours, which says which
 * TPM it has and since which boot, for a key (HK) that was made in this boot.
 * HK and papers are in RUN/.host, mode 0600, which is in memory in production:
 * an agent that is started again in the same boot has them from its first
 * connection on, and another boot (the TPM's resetCount, stored beside HK) makes
 * another HK and begins anew.
 *
 * The new certificate is for new connections. Those to homes are made anew when
 * the key becomes another one, so that a home knows its VMs' hosts by it; the
 * others go on. When it ends without another, the first one is used again: the
 * manager can still be reached by it, and nobody else if the site demands
 * papers.
 *
 * Each step may be asked twice. Of BEGIN and PROVE with the same nonce the answer
 * is the same; what is asked for while another step is under way is LY_BUSY.
 */
#ifndef LY_AGENT_IO_ENROL_H
#define LY_AGENT_IO_ENROL_H

#include "agent/io/agent.h"

struct ly_papers;

/* Takes up the papers of this boot, if they are there and good. agent->ids,
 * agent->chip and agent->quotes are there. */
LY_MUST enum ly_rc ly_papers_open(struct ly_agent *agent,
    struct ly_papers **out, struct ly_why *why);
/* After ly_chip_close(). May be NULL. */
void ly_papers_close(struct ly_papers *p);

/* From our manager. Without papers->chip it is refused. */
void ly_papers_hear(struct ly_agent *agent, const struct ly_enrol *m);

#endif
