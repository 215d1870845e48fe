/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evidence of this host: what its TPM quotes, with all that is needed to judge
 * it (struct ly_evidence). Made for whoever asks here, and for the manager of a
 * VM's home (QUOTE), whose signed call is checked first.
 *
 * What is said is what this host knows by itself. As source or place it says
 * that the VM runs here, and in which epoch; as home who holds the lease, which
 * TLS key is at the other end of its link, and what the VM's TPM has in its
 * PCRs; as destination what it would start. A call that is not so is refused,
 * or the quote is of another context than the one that was called for.
 *
 * Asked again with the same nonce it gives the same bytes; a migration has one
 * nonce, and another one is refused. Answers as source and destination are
 * kept by the keys (keys.h); the other ones here, the last LY_QUOTES_KEPT.
 */
#ifndef LY_AGENT_IO_EVIDENCE_H
#define LY_AGENT_IO_EVIDENCE_H

#include "agent/io/agent.h"
#include "agent/io/chip.h"

#define LY_QUOTES_KEPT 64

struct ly_quotes;

/* `evidence`: packed; borrowed, and empty unless `rc` is LY_OK. */
typedef void ly_quotes_told(void *arg, enum ly_rc rc, const char *why,
    struct ly_bytes evidence);

/* agent->chip is there. */
struct ly_quotes *ly_quotes_open(struct ly_agent *agent);
/* After ly_chip_close(). What is under way is not told any more. May be
 * NULL. */
void ly_quotes_close(struct ly_quotes *q);

/* A quote over `c`; self, sk_name and, unless it is set, hk are filled in. `log`:
 * with the event log. Told once, never from within. */
void ly_quotes_make(struct ly_quotes *q, const struct ly_context *c, bool log,
    ly_quotes_told *told, void *arg);

/* From a manager. Without `q` it is refused: this host proves nothing. */
void ly_quotes_hear(struct ly_agent *agent, const struct ly_quote *m);

/* SHA-256 of the SPKI in our certificate. */
LY_MUST enum ly_rc ly_own_hk(const struct ly_identity *ids, uint8_t hk[32],
    struct ly_why *why);

#endif
