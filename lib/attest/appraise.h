/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is this host what it should be, now, and in a state that its site approves?
 * One answer for managers, who ask before a migration, and for agents, who ask
 * of each other before a key or a byte of memory goes anywhere.
 *
 * What is asked, in this order; the first that fails is the answer:
 *
 *	keys	its AK and SK are those of its certificate, by Name
 *	quote	all of ly_quote_check(): made by a TPM, signed by that AK, for
 *		this purpose, of exactly the PCRs wanted, no boot in between
 *	context	it was made for this call, by this host, with this TLS key
 *	log	the event log replays to the PCRs firmware has extended
 *	state	an entry of the site's approved list has just these PCRs
 *
 * Not asked here, because it needs the world: whether the certificate in the
 * evidence is believed (lib/io/identity.h). The caller has done that, and took
 * `host` from it.
 */
#ifndef LY_ATTEST_APPRAISE_H
#define LY_ATTEST_APPRAISE_H

#include "lib/attest/approved.h"
#include "lib/attest/eventlog.h"
#include "lib/attest/quote.h"

/* What its certificate (or the manager's own row) says of a host. */
struct ly_appraise_host {
	char id[LY_SPIFFE_MAX];
	char class[LY_NAME_MAX];
	uint8_t ak_name[LY_TPM_NAME], sk_name[LY_TPM_NAME];
	uint8_t hk[32]; /* SHA-256 of the SPKI in its certificate */
	uint32_t reset_count, restart_count;
};

/* The event log with this SHA-256, if it was kept; none: {NULL, 0}. It only
 * makes a refusal's text better. */
typedef struct ly_bytes ly_appraise_log(void *arg, const uint8_t sha256[32]);

struct ly_appraise {
	const char *side; /* begins each text: "destination", "home", ... */
	const struct ly_evidence *evidence;
	const struct ly_appraise_host *host;
	const struct ly_context *want; /* ly_appraise_want(), or one's own */
	uint32_t open;		       /* rows of it that may be anything */
	uint32_t pcr_mask;	       /* of the quote; 0: LY_SEALED_PCRS */
	bool any_boot;		       /* the counts are not known yet */
	bool any_state; /* at enrolment: what it is in may be approved later */
	bool logless;	/* of no use here: the log is not looked at */
	const struct ly_approved *list; /* of its site; NULL: there is none */
	ly_appraise_log *log_of;	/* or NULL */
	void *arg;
};

struct ly_appraised {
	struct ly_context context;	       /* as it was quoted */
	struct ly_attest attest;	       /* borrows from the evidence */
	struct ly_tpm_key ak, sk;	       /* the same */
	const struct ly_approved_entry *entry; /* of the list; NULL: none */
	uint32_t differ; /* PCRs that keep it from being approved */
};

/* What a host that is asked as `role` in `call` has to quote, and which rows
 * it is free in. LY_REFUSED: the call names another host for that role. */
LY_MUST enum ly_rc ly_appraise_want(const struct ly_call *call,
    enum ly_quote_role role, const struct ly_appraise_host *host,
    struct ly_context *want, uint32_t *open, struct ly_why *why);

/* LY_OK, or LY_REFUSED (LY_MALFORMED) with side, check, and, where there is
 * one, PCR and event: "destination: state: class compute: PCR 4 differs from
 * the nearest approved state, entry 2 \"Debian 12.8\"; PCR 4: event 17
 * (EV_EFI_BOOT_SERVICES_APPLICATION, \EFI\debian\grubx64.efi) is not in the
 * approved log". *out is written as far as it was found out. */
LY_MUST enum ly_rc ly_appraise(const struct ly_appraise *a,
    struct ly_appraised *out, struct ly_why *why);

/* The values by number, for approved.h and eventlog.h; those that are not in
 * the evidence are zeros. */
void ly_appraise_pcrs(const struct ly_evidence *ev, uint8_t pcr[LY_PCRS_N][32]);

#endif
