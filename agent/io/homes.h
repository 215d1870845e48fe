/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The homes on this host: one home machine (agent/home) for each VM bound
 * here, its TPM, the answers kept, and the file of records.
 *
 * A visitor is one connection (or the local link) of an away side; it opens
 * doors, one for each chan it uses. The shell turns its messages into events
 * and the machine's list into messages, TPM commands and writes.
 */
#ifndef LY_AGENT_IO_HOMES_H
#define LY_AGENT_IO_HOMES_H

#include "agent/home/home.h"
#include "agent/io/agent.h"

struct ly_visitor;

/* Reads the records; a file that is there and not whole is an error, never
 * "no records". TPMs are opened at the first command that needs them. */
LY_MUST enum ly_rc ly_homes_open(struct ly_agent *agent, struct ly_homes **out,
    struct ly_why *why);
/* Answers what the manager has asked and closes the TPMs; freed when a write
 * that is under way is over, and the last visitor. */
void ly_homes_close(struct ly_homes *homes);

/* `say` sends a message back to this visitor. */
typedef void ly_visitor_say(void *arg, unsigned type, const void *m);
struct ly_visitor *ly_visitor_new(struct ly_homes *homes, const char *who,
    ly_visitor_say *say, void *arg);
/* It is another host, whose certificate is good until then (seconds since
 * 1970): it is served only while it has a lease (RENEW). */
void ly_visitor_foreign(struct ly_visitor *v, uint64_t not_after);
/* The TLS key of a foreign one, as struct ly_peer has it. */
void ly_visitor_key(struct ly_visitor *v, const uint8_t hk[32]);
/* Its connection has ended. If it may not come back, because its certificate
 * has ended or was revoked, the operator is told which VMs that costs their
 * TPM. */
void ly_visitor_ended(struct ly_visitor *v, const struct ly_peer *peer);
/* Its doors are gone; nothing is said to it any more. */
void ly_visitor_free(struct ly_visitor *v);
/* One message of the LINK family from it. */
LY_MUST enum ly_rc ly_visitor_hear(struct ly_visitor *v, unsigned type,
    const union ly_any *m, struct ly_why *why);

/* For our manager. `cb` is called once, perhaps at once. */
typedef void ly_homes_done(void *arg, enum ly_rc rc, enum ly_fate fate,
    uint64_t epoch, const char *why, const char *value);
void ly_homes_bind(struct ly_homes *homes, const struct ly_bind *m,
    ly_homes_done *cb, void *arg);
void ly_homes_unbind(struct ly_homes *homes, const struct ly_id *vm,
    ly_homes_done *cb, void *arg);
void ly_homes_ask(struct ly_homes *homes, const struct ly_id *vm,
    const struct ly_id *mig, bool abort, ly_homes_done *cb, void *arg);
/* `value`: the record as a JSON object. */
void ly_homes_show(struct ly_homes *homes, const struct ly_id *vm,
    ly_homes_done *cb, void *arg);

/* What became of a migration of that VM, by the record: signed (ly_decided), into
 * `out`. LY_UNKNOWN: it is not settled, or not known here. */
LY_MUST enum ly_rc ly_homes_decided(struct ly_homes *homes,
    const struct ly_id *vm, const struct ly_id *mig,
    uint8_t out[LY_STATEMENT_MAX], size_t *len, struct ly_why *why);

/* Where a VM's TPM is and what it says, for a quote of this host's. */
struct ly_home_place {
	uint64_t epoch;
	uint64_t seq; /* the last command when the PCRs were read */
	char holder[LY_SPIFFE_MAX]; /* empty: nobody */
	uint8_t holder_hk[32];	    /* SHA-256 of the SPKI of its TLS key on the
				* link it has now; zeros: it has none */
	uint8_t vpcrs[32];	    /* SHA-256 over PCRs 0..15 (SHA-256 bank) */
};
/* `place` is there if `rc` is LY_OK, and until the callback returns. */
typedef void ly_homes_placed(void *arg, enum ly_rc rc,
    const struct ly_home_place *place, const char *why);
/* Reads the PCRs of the VM's TPM between two of its commands: the guest sees
 * nothing of it, nor does its numbering. `cb` is called once, perhaps at once.
 * LY_UNKNOWN: no such VM here; LY_BUSY: its TPM is being asked already;
 * LY_FAILED: its TPM has failed. */
void ly_homes_vpcrs(struct ly_homes *homes, const struct ly_id *vm,
    ly_homes_placed *cb, void *arg);

/* The names of this host's TPMs, with spaces between. */
void ly_homes_tpms(const struct ly_homes *homes, char *out, size_t size);

#endif
