/* SPDX-License-Identifier: Apache-2.0 */
/* The TPM of a host, for the verbs of `lanyard host`. */
#ifndef LY_CLI_ENROL_H
#define LY_CLI_ENROL_H

#include "cli/cli.h"

#define LY_CLI_EK 256 /* of what is sent, with its NUL */
#define LY_CLI_EK_HELP                                                         \
	"Its TPM's endorsement key: sha256:HEX of its public key or "          \
	"certificate, or serial:HEX of a certificate by a known maker"
#define LY_CLI_EK_CERT_HELP "The same, from its certificate, DER or PEM"
#define LY_CLI_CLASS_HELP                                                      \
	"Its class: which approved states are those of such a host (default)"

/* --ek and --ek-cert as the manager wants it; empty: neither was given. */
int ly_cli_ek(const struct ly_common *c, const char *ek, const char *file,
    char out[LY_CLI_EK]);

#endif
