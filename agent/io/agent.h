/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanyard-agent's rooms and how they hang together, on one libuv loop:
 *
 *   control   the link to this site's manager: requests in, reports out
 *   vms       the VMs on this host: guest endpoint, QEMU, migration, and the
 *             away machine of each
 *   links     one connection to each home that VMs here are bound to
 *   homes     the VMs whose TPM is here: the home machine of each, its TPM,
 *             and the records on disk
 *
 * A VM whose home is this very host takes the same path: its link is a
 * "local" one, which hands messages over by a call.
 */
#ifndef LY_AGENT_IO_AGENT_H
#define LY_AGENT_IO_AGENT_H

#include "lib/io/conn.h"
#include "lib/io/log.h"

#define LY_AGENT_SOFTWARE "lanyard-agent " LY_VERSION
#define LY_TPMS_MAX 4096

struct ly_agent_tpm {
	char name[LY_NAME_MAX];
	char tcti[256];
	bool allow_clear;
	uint64_t patience_s; /* for the answer to one command */
};

struct ly_agent_conf {
	char cert[256], key[256], trust[256];
	char listen[LY_ADDR_MAX];
	char address[LY_ADDR_MAX]; /* told to others; default: listen */
	char manager[LY_ADDR_MAX];
	char state[256];
	char run[256];
	char qemu[256];
	char vault[256];      /* TCTI of the vault's TPM, or "none" */
	char vault_auth[256]; /* file with the owner's password, or "" */
	char vault_index[16], claim_durability[8];
	char fin_quote[8]; /* "auto", "inline", "after" */
	uint32_t vault_nv; /* vault_index */
	bool vault_lazy;   /* claim_durability */
	char on_release[256], on_claim[256], on_abort[256]; /* "": none */
	uint64_t hook_timeout;				    /* seconds */
	char attest[8];	    /* "yes", "no"; "" until it was read */
	bool attests;	    /* attest */
	char eventlog[256]; /* of the firmware; "": none */
	uint64_t lease_ms;  /* of what this home gives; 0: LY_LEASE_MS */
	struct ly_agent_tpm *tpms;
	size_t tpms_n;
};

struct ly_keep;
struct ly_homes;
struct ly_links;
struct ly_vms;
struct ly_control;
struct ly_keys;
struct ly_distrust;
struct ly_tss;
struct ly_approvals;
struct ly_chip;
struct ly_quotes;
struct ly_papers;

struct ly_agent {
	uv_loop_t *loop;
	const char *file; /* of its configuration */
	struct ly_agent_conf conf;
	bool new_vault; /* the operator lets go of records that do not open */
	struct ly_identity *ids;
	const struct ly_peer *self;
	struct ly_net *net;
	struct ly_keep *keep; /* what outlives us */
	struct ly_tss *tss; /* to the host's own TPM; NULL: nobody shares it */
	/* What the host proves with; NULL: `attest = no`. */
	struct ly_chip *chip;
	struct ly_quotes *quotes; /* evidence.h */
	struct ly_papers *papers; /* enrol.h */
	struct ly_homes *homes;
	struct ly_links *links;
	struct ly_vms *vms;
	struct ly_control *control;
	struct ly_keys *keys; /* of migrations; NULL: no chip to prove with */
	bool demand; /* our site believes no host without papers of its own */
	struct ly_distrust *distrust;
	struct ly_approvals *approvals; /* approved.h */
};

/* conf.c: reads FILE into `conf`; ly_agent_conf_say prints it back. */
LY_MUST enum ly_rc ly_agent_conf_read(const char *path,
    struct ly_agent_conf *conf, struct ly_why *why);
void ly_agent_conf_say(const struct ly_agent_conf *conf);
void ly_agent_conf_help(void);
/* This VM's TPM may be the one that guards the records: two names of devices
 * can be one chip. */
bool ly_agent_vault_chip(const struct ly_agent_conf *conf,
    const struct ly_agent_tpm *tpm);
void ly_agent_conf_fini(struct ly_agent_conf *conf);

#endif
