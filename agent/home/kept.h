/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a home must outlive the agent that serves it, and is not in its
 * record: what ordinary commands change, which never touch the disk. As bytes:
 * u16 LY_HOME_KEPT_VERSION, then three tables, packed: the machine's, its
 * shell's, its TPM's. They are committed whole after each event and before
 * anything it decided is done. Pure.
 *
 * Whoever changes one of the tables counts the version up (a test knows the
 * layout): an agent of another version refuses the bytes, and what it does not
 * know is as after a loss of power. There is no guess.
 */
#ifndef LY_AGENT_HOME_KEPT_H
#define LY_AGENT_HOME_KEPT_H

#include "agent/home/home.h"
#include "agent/tpm/kept.h"

#define LY_HOME_KEPT_VERSION 3
#define LY_HOME_KEPT_MAX 224 /* bytes at the most */

extern const struct ly_message ly_home_kept_table, ly_home_shell_table;

struct ly_home_shell {
	uint32_t code;	     /* of the command that runs, for people */
	uint8_t locality;    /* it was sent with */
	uint32_t answer_len; /* of the answer that is kept, in its area */
};

struct ly_home_kept {
	struct ly_home core; /* no more of it than the table has */
	struct ly_home_shell shell;
	struct ly_tpm_kept tpm;
};

/* The bytes' count. */
size_t ly_home_kept_pack(const struct ly_home *core,
    const struct ly_home_shell *shell, const struct ly_tpm_kept *tpm,
    uint8_t out[LY_HOME_KEPT_MAX]);
/* LY_MALFORMED, with the reason: another version, damaged, or nothing that a
 * home of ours can have been. */
LY_MUST enum ly_rc ly_home_kept_unpack(const uint8_t *buf, size_t len,
    struct ly_home_kept *out, struct ly_why *why);

/*
 * The agent that knew `kept` has died; `rec` is the VM's record on disk. The
 * record may be one write further than what was kept:
 *
 * - in the same epoch, what was kept stands, for seq, answer and TPM;
 * - in a newer one that began with a CLAIM, the TPM is as it was, and no answer
 *   is kept: the new holder has asked nothing yet;
 * - in a newer one that began with an ATTACH, the TPM is BROKEN as well, until
 *   the guest that starts has reset it.
 *
 * All doors are closed, and a CLAIM that was parked is asked again. A lease in
 * time that was held ends no earlier than if its door had closed now, at
 * `boot_ms`. LY_FENCED:
 * the record is of an older epoch than this host has seen, so an old file has
 * been put back: nobody may be served from it. LY_MALFORMED: they cannot
 * belong together. Then `h` is not written.
 */
LY_MUST enum ly_rc ly_home_wake(struct ly_home *h, const struct ly_record *rec,
    const struct ly_home *kept, uint64_t boot_ms, uint32_t lease_ms,
    struct ly_why *why);

#endif
