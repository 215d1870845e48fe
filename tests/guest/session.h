/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy session from its start to its use: state that the TPM keeps over
 * several commands. Were one of them lost, run twice or run by another TPM, the
 * session's digest would be another than ours, or there would be no session.
 */
#ifndef LY_GUEST_SESSION_H
#define LY_GUEST_SESSION_H

#include "tests/guest/chip.h"

struct ly_session {
	uint32_t handle;	       /* 0: none is loaded */
	uint8_t policy[LY_SHA256_LEN]; /* what opens the box */
	uint64_t value;		       /* what is in it */
	uint64_t uses;
};

/* Makes the box that only such a session opens. */
LY_MUST bool ly_session_open(struct ly_session *s, struct ly_chip *c);

/* One session: binds it to PCRs 11 and 12, which must have these values,
 * compares its digest with ours, restarts it, opens the box with it. */
LY_MUST bool ly_session_use(struct ly_session *s, struct ly_chip *c,
    const uint8_t pcr11[LY_SHA256_LEN], const uint8_t pcr12[LY_SHA256_LEN]);

#endif
