/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCR values as people write them down. A file has a line for each PCR, its
 * number and its SHA-256 value in hex, as tpm2_pcrread prints them too:
 *
 *	sha256:
 *	  0 : 0x3D45...
 *	  4 : 0xA1B2...
 *
 * A line "NAME:" begins a bank, and those of other banks than sha256 are
 * skipped; empty lines and lines that begin with '#' are, too.
 */
#ifndef LY_CLI_PCRS_H
#define LY_CLI_PCRS_H

#include "lib/attest/evidence.h"

/* LY_MALFORMED names the line. At least one PCR, none twice. */
LY_MUST enum ly_rc ly_pcrs_parse(const char *text, uint32_t *mask,
    uint8_t pcr[LY_PCRS_N][32], struct ly_why *why);

#endif
