/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to the host's own TPM (ESYS of tpm2-tss), which the vault and
 * the chip share: a swtpm or a raw device serves one at a time. Who uses it
 * has it for himself between ly_tss_begin() and ly_tss_end(). Everything
 * blocks; any thread.
 *
 * It is made when it is needed, and again after an error on the way to the
 * TPM. Each has a number: what was loaded, or known to ESYS, in another is
 * nothing now.
 *
 * The vault is urgent: a lease waits for it. Who is not, and holds the TPM,
 * lets it pass at every step (ly_tss_breathe()), so that it waits no longer
 * than one step takes: on a chip some tenths of a second, and seconds only
 * while keys are made for the first time.
 */
#ifndef LY_AGENT_IO_TSS_H
#define LY_AGENT_IO_TSS_H

#include "lib/base/err.h"

struct ly_tss;

/* `tcti` as in lanyard-agent.conf(5). `auth` is a file with the password of
 * the owner hierarchy, "" for none. Reads that, and does not connect yet. */
LY_MUST enum ly_rc ly_tss_open(const char *tcti, const char *auth,
    struct ly_tss **out, struct ly_why *why);
/* For who is to have it too; each ends with an ly_tss_close(). */
struct ly_tss *ly_tss_ref(struct ly_tss *tss);
/* The last disconnects. May be NULL. */
void ly_tss_close(struct ly_tss *tss);

/* On LY_OK it is connected and ours until ly_tss_end(); else it is not ours. */
LY_MUST enum ly_rc ly_tss_begin(struct ly_tss *tss, bool urgent,
    struct ly_why *why);
void ly_tss_end(struct ly_tss *tss);
/* Somebody urgent goes first, if one waits. False: the connection is not the
 * one it was; begin anew. We hold at most one loaded object, one session. */
bool ly_tss_breathe(struct ly_tss *tss);

#endif
