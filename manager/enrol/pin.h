/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inventory: which TPM a host is said to have. A genuine chip is no
 * admission: anybody can buy one. So each host is added with a word about its
 * endorsement key, and that decides:
 *
 *   sha256:HEX  SHA-256 of the EK's certificate (DER), of its public key
 *	(SubjectPublicKeyInfo, DER) or of its TPMT_PUBLIC. It is believed by
 *	itself, with a maker's certificate or without one.
 *   serial:HEX  the serial number of the EK's certificate, which then must be
 *	of a maker that we believe.
 *
 * Pure.
 */
#ifndef LY_MANAGER_ENROL_PIN_H
#define LY_MANAGER_ENROL_PIN_H

#include "lib/base/text.h"

#define LY_PIN_TEXT 80

/* What an operator wrote, brought into one of the two forms: 64 hex digits
 * alone are a SHA-256; case and colons between digits do not matter. */
LY_MUST enum ly_rc ly_pin_parse(const char *text, char out[LY_PIN_TEXT],
    struct ly_why *why);

/* What a host shows. */
struct ly_ek_shown {
	uint8_t area[32]; /* SHA-256 of its TPMT_PUBLIC */
	uint8_t spki[32];
	bool has_cert; /* and it is of this key */
	uint8_t cert[32];
	char serial[48];	   /* hex */
	bool genuine;		   /* its chain ends in a maker's CA */
	struct ly_why not_genuine; /* why it is not */
};

/* LY_OK, with how it was known in `by` ("pinned", "pinned, genuine", ...), or
 * LY_REFUSED. `pin` as in the inventory, or empty. */
#define LY_PIN_BY 40
LY_MUST enum ly_rc ly_pin_match(const char *pin, const struct ly_ek_shown *ek,
    char by[LY_PIN_BY], struct ly_why *why);

#endif
