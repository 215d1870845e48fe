/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a VM runs. Its TPM is reached over a network, so a quote of the guest's
 * says nothing of that; nor does either host's alone: any host can say that it
 * runs a VM, and a home knows only the key at the other end of a link. Two
 * quotes of one question do, the one of the host where the VM runs and the one
 * of its TPM's home, if both speak of that VM and epoch, and the key that the
 * home hears is the key of that host.
 */
#ifndef LY_ATTEST_PLACE_H
#define LY_ATTEST_PLACE_H

#include "lib/attest/evidence.h"

/* Each of the two is good by itself (lib/attest/appraise.h): are they one?
 * `place` is of LY_QUOTE_PLACE, `tpm` of LY_QUOTE_TPM. LY_REFUSED says what
 * they differ in. */
LY_MUST enum ly_rc ly_place_link(const struct ly_context *place,
    const struct ly_context *tpm, struct ly_why *why);

/* What a manager says of it. */
struct ly_placed {
	const char *site;    /* who says so */
	const char *manager; /* SPIFFE id */
	struct ly_id vm;     /* none: of a host alone */
	const char *name;    /* the VM's; else empty */
	uint64_t epoch, seq;
	const char *host, *host_class, *host_state; /* where it runs */
	const char *home, *home_class, *home_state; /* with a VM */
	uint8_t hk[32];	   /* of host's TLS key, as in a quote */
	uint8_t vpcrs[32]; /* PCRs 0..15 of the VM's TPM, as in a quote */
	uint8_t nonce[32];
	uint64_t from, until; /* seconds since 1970 */
};

#define LY_PLACED_MAX 2048

/* Lines of "KEY VALUE", the first "lanyard attestation 1", with a NUL at the
 * end: what is signed (lib/io/identity.h, ly_sign_text()). docs/attestation.md
 * says how it is checked. */
void ly_placed_text(const struct ly_placed *p, char out[LY_PLACED_MAX]);

#endif
