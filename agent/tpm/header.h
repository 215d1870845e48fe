/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ten bytes every TPM 2.0 command and answer begins with (part 1, 18:
 * tag, size of the whole, code), the codes a TPM answers to bytes that are no
 * command, and the names of commands for the log. Bodies are never looked at
 * here, and never logged: they carry passwords.
 */
#ifndef LY_TPM_HEADER_H
#define LY_TPM_HEADER_H

#include "lib/base/cursor.h"
#include "lib/base/err.h"
#include "lib/wire/message.h"

#define LY_TPM_HEAD 10 /* bytes of a header, and of the shortest message */

#define LY_TPM_ST_RSP_COMMAND 0x00c4 /* only in answers, with BAD_TAG */
#define LY_TPM_ST_NO_SESSIONS 0x8001
#define LY_TPM_ST_SESSIONS 0x8002

/* Answers (part 2, 6.6). */
#define LY_TPM_RC_SUCCESS 0x000
#define LY_TPM_RC_BAD_TAG 0x01e
#define LY_TPM_RC_INITIALIZE 0x100
#define LY_TPM_RC_FAILURE 0x101
#define LY_TPM_RC_COMMAND_SIZE 0x142
#define LY_TPM_RC_COMMAND_CODE 0x143
#define LY_TPM_RC_HIERARCHY_H1 0x185 /* TPM_RC_HIERARCHY, of handle 1 */
#define LY_TPM_RC_NV_AUTHORIZATION 0x149u
#define LY_TPM_RC_MEMORY 0x904
#define LY_TPM_RC_LOCALITY 0x907

/* Commands somebody here asks about by name (part 2, 6.5.2). */
#define LY_TPM_CC_FIRST 0x11f
#define LY_TPM_CC_HIERARCHY_CONTROL 0x121
#define LY_TPM_CC_CLEAR 0x126
#define LY_TPM_CC_HIERARCHY_CHANGE_AUTH 0x129
#define LY_TPM_CC_STARTUP 0x144
#define LY_TPM_CC_READ_CLOCK 0x181
#define LY_TPM_CC_LAST 0x1a0

struct ly_tpm_cmd {
	uint16_t tag;
	uint32_t code;
	const uint8_t *body; /* handles, sessions, parameters */
	size_t body_len;
};

struct ly_tpm_rsp {
	uint16_t tag;
	uint32_t rc;
	const uint8_t *body;
	size_t body_len;
};

/*
 * One whole command, neither more nor less. LY_SHORT: it goes on. LY_MALFORMED:
 * no command will come of it; ly_tpm_fault() says what a TPM answers. `out`
 * borrows from `buf`.
 */
LY_MUST enum ly_rc ly_tpm_cmd_parse(const uint8_t *buf, size_t len,
    struct ly_tpm_cmd *out);
/* The same for an answer; LY_MALFORMED means the TPM is none. */
LY_MUST enum ly_rc ly_tpm_rsp_parse(const uint8_t *buf, size_t len,
    struct ly_tpm_rsp *out);

/*
 * For streams: the length of the message that begins at `buf`, as soon as its
 * size field is there. LY_SHORT: it is not. LY_MALFORMED: under LY_TPM_HEAD or
 * over `most`; where the next message begins is not known then.
 */
LY_MUST enum ly_rc ly_tpm_size(const uint8_t *buf, size_t len, size_t most,
    size_t *size);

/* What a TPM answers to bytes that ly_tpm_cmd_parse() refused. */
uint32_t ly_tpm_fault(const uint8_t *buf, size_t len);

/* An answer without parameters: LY_TPM_HEAD bytes. */
void ly_tpm_answer(uint32_t rc, uint8_t out[LY_TPM_HEAD]);

struct ly_tpm_code {
	uint32_t code;
	uint8_t handles;  /* the first so many words of the body */
	const char *name; /* "PCR_Extend" */
};

/* The row of a code; NULL when TPM 2.0 has no such command. */
const struct ly_tpm_code *ly_tpm_code_of(uint32_t code);
/* For logs: "PCR_Extend"; "a vendor command", "an unknown command". */
const char *ly_tpm_code_name(uint32_t code);

#endif
