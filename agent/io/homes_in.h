/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What homes.c (the homes and their doors), homes_disk.c (their records),
 * home_do.c (what a machine wants done), visitors.c (messages in), home_tpm.c
 * (the TPM behind a home), home_kept.c (what outlives the agent) and home_ask.c
 * (the manager's requests) and home_vpcrs.c (its PCRs) share. Nobody else
 * includes this.
 */
#ifndef LY_AGENT_IO_HOMES_IN_H
#define LY_AGENT_IO_HOMES_IN_H

#include "agent/home/kept.h"
#include "agent/io/homes.h"
#include "agent/io/tpm.h"
#include "agent/tpm/policy.h"
#include "lib/base/pace.h"
#include "lib/wire/signed.h"
#include "lib/link/lease.h"

/* Peers share so many paces, by their names' hash: one that is refused all the
 * time may silence another that is. */
#define PACES 64

/* An event that has to wait, with all it points to. */
struct later {
	struct later *next;
	struct ly_home_event ev;
	char who[LY_SPIFFE_MAX];
	uint8_t secret[LY_SECRET_LEN], hash[32];
	struct ly_ticket ticket;
	struct ly_token token;
	size_t len;
	uint8_t body[];
};

/* A BIND or UNBIND whose write is under way. */
struct binding {
	ly_homes_done *done;
	void *arg;
};

struct home {
	struct home *next;
	struct ly_homes *homes;
	struct ly_home core;
	struct ly_tpm *tpm; /* NULL until the first command */
	struct ly_tpm_policy policy;
	struct ly_home_shell shell;
	/* What is kept of it: made with the first command. Without one (there
	 * is no room) the TPM stays closed, and all that can be answered is a
	 * failure: here. */
	struct ly_slot *slot;
	uint8_t failure[LY_TPM_HEAD];
	char *untold; /* the last alarm that the manager has not heard of */
	bool feeding;
	struct later *later;
	struct later *held; /* a command, until the home's own is over */
	struct peek *peek;  /* somebody waits for the PCRs */
	bool in_job;	    /* its record is in the file being written */
	struct binding *binding;
	bool leaving; /* UNBIND: not in the next file */
};

struct ly_door_slot {
	ly_door id; /* 0: free */
	struct home *home;
	struct ly_visitor *visitor;
	uint32_t chan;
	bool once;	     /* closes with its OUTCOME */
	ly_homes_done *done; /* of our manager's ABORT or QUERY */
	void *arg;
	size_t next; /* free list */
};

struct ly_visitor {
	struct ly_homes *homes;
	uint64_t age; /* of its connection: a later one has a higher */
	char who[LY_SPIFFE_MAX];
	uint8_t hk[32]; /* if foreign: SHA-256 of the SPKI of its TLS key */
	ly_visitor_say *say;
	void *arg;
	bool foreign; /* another host: it needs a lease */
	struct ly_lessor lessor;
	ly_door *chans; /* by chan */
	size_t chans_n;
};

struct ly_homes {
	struct ly_agent *agent;
	struct home *first;
	size_t homes_n;
	struct ly_door_slot *doors;
	size_t doors_n, free_door;
	uint32_t door_serial;
	uint64_t visitors_ever;
	struct ly_vault *vault; /* NULL: the records are in a plain file */
	struct ly_vault_tpm *vault_tpm;
	uint64_t vault_version; /* as of the last job */
	bool owed;		/* told, but not counted yet */
	bool due;	  /* the next write counts, whatever is configured */
	unsigned look_in; /* seconds until the counter is looked at */
	bool vault_ok;	  /* the last look was good */
	bool job, again;  /* the disk or the vault's TPM is at work; and a
			  * write is wanted */
	unsigned refs;	  /* the timer, the job and each visitor */
	bool closing;	  /* nobody is told anything any more */
	bool disk_ok;
	struct ly_pace paces[PACES];
	uv_timer_t tick;
};

/* homes.c */
struct home *ly_home_of(struct ly_homes *hs, const struct ly_id *vm);
struct home *ly_home_add(struct ly_homes *hs, const struct ly_record *rec);
void ly_home_drop(struct ly_homes *hs, struct home *h);
void ly_homes_unref(struct ly_homes *hs);
uint64_t ly_home_now(void); /* seconds since 1970 */
uint32_t ly_homes_lease_ms(const struct ly_homes *hs);
const struct ly_agent_tpm *ly_home_tpm_conf(const struct ly_homes *hs,
    const char *name);
/* NULL: closed, or never was. */
struct ly_door_slot *ly_door_of(struct ly_homes *hs, ly_door id);
struct ly_door_slot *ly_door_new(struct ly_homes *hs);
/* Its machine is told. */
void ly_door_free(struct ly_homes *hs, struct ly_door_slot *d);
/* A door that closes with its OUTCOME. */
struct ly_door_slot *ly_home_door(struct ly_homes *hs, struct home *h);

/* homes_disk.c. Opening blocks; *recs is malloc'd, *n records. */
LY_MUST enum ly_rc ly_homes_disk_open(struct ly_homes *hs,
    struct ly_record **recs, size_t *n, struct ly_why *why);
void ly_homes_disk_tick(struct ly_homes *hs); /* each second */
void ly_homes_disk_close(struct ly_homes *hs);
void ly_homes_write(struct ly_homes *hs);

/* home_do.c: logs what `who` (NULL: our manager) was refused, at its pace. */
void ly_home_grumble(struct home *h, const char *who, const char *fmt, ...)
    LY_PRINTF(3, 4);

/* home_do.c: an event, and all that follows from it. */
void ly_home_feed(struct home *h, const struct ly_home_event *ev,
    const void *body, size_t len);
/* What waits in `h` may be due now. */
void ly_home_go_on(struct home *h);
/* Those that wait never come. */
void ly_home_forget_events(struct home *h);

/* visitors.c */
void ly_home_query(struct home *h, ly_door door, const char *who, bool abort,
    const struct ly_id *mig);

/* home_do.c: the operator reads `lanyard status`, not every host's journal.
 * False: the manager cannot be told just now. */
bool ly_homes_alarm(const struct ly_homes *hs, const struct ly_id *vm,
    const char *text);

/* home_ask.c: answers the manager's requests that are open. */
void ly_homes_end_asks(struct ly_homes *hs);

/* home_tpm.c */

/* Runs a command, to be committed and settled: then ANSWER or TPM_DEAD will be
 * fed. False: it is answered at once, by what `made` and its `body` say. */
bool ly_home_tpm_run(struct home *h, enum ly_op op, struct ly_bytes command,
    struct ly_home_event *made, struct ly_tpm_say *body);
void ly_home_tpm_cancel(struct home *h);
void ly_home_tpm_close(struct home *h);
/* It stays as it is, for the next agent. */
void ly_home_tpm_leave(struct home *h);
/* Goes on with the one that was in use when the agent before died. */
void ly_home_tpm_wake(struct home *h, const struct ly_tpm_kept *kept);
/* Gives one up that does not answer for too long. */
void ly_home_tpm_look(struct home *h, uint64_t boot_ms);

/* The command that `peek` is at; as ly_home_tpm_run(). */
bool ly_home_tpm_peek(struct home *h, struct ly_home_event *made);

/* home_vpcrs.c */

/* A PEEK is to be fed now. */
bool ly_home_vpcrs_due(struct home *h);
/* The TPM command for it; its bytes. */
size_t ly_home_vpcrs_command(struct home *h, uint8_t *out, size_t size);
/* What the TPM has answered to it, and then that it is over. */
void ly_home_vpcrs_heard(struct home *h, const uint8_t *body, size_t len);
void ly_home_vpcrs_over(struct home *h, enum ly_rc rc);
/* Nobody is going to ask the TPM any more. */
void ly_home_vpcrs_end(struct home *h);

/* home_kept.c */

/* What of `h` has changed is kept, and its TPM may move its bytes. */
void ly_home_commit(struct home *h);
/* Room for the answer to core.seq; who asks for the next one has it. */
uint8_t *ly_home_answer_room(struct home *h, size_t len);
struct ly_bytes ly_home_answer(struct home *h);
/* False: there is none, and no room for one. */
bool ly_home_slot(struct home *h);
/* Joins what was kept with the records: before anything else. */
LY_MUST enum ly_rc ly_homes_wake(struct ly_homes *hs, struct ly_why *why);
/* ... and their TPMs: still before anybody asks. A VM that runs on this host is
 * served while its agent opens, and the first event commits what there is. */
void ly_homes_wake_tpms(struct ly_homes *hs);

/* home_ask.c: the write of a BIND or UNBIND is over; `h` may be freed. */
void ly_home_bound(struct home *h, enum ly_rc rc, const char *why);

#endif
