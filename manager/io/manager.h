/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager's shell: what its files share. One thread, one loop; nothing
 * here blocks but the store's flush. Only main.c includes the outside.
 *
 * Who owns what: the manager owns everything. A job or a migration that waits
 * for an answer is known to ask.c by its number, to a client by its id, and
 * names its VM by id: whoever is gone when the answer comes is not found.
 */
#ifndef LY_MANAGER_IO_MANAGER_H
#define LY_MANAGER_IO_MANAGER_H

#include "lib/attest/appraise.h"
#include "lib/io/conf.h"
#include "lib/io/conn.h"
#include "lib/io/identity.h"
#include "lib/io/log.h"
#include "lib/wire/signed.h"
#include "manager/io/record.h"
#include "manager/roster/roster.h"
#include "manager/saga/saga.h"
#include "manager/store/store.h"

#define LY_MANAGER_SOFTWARE "lanyard-manager 0.1"
#define LY_FEDS_MAX 64	    /* other sites; more are refused */
#define LY_ASKS_MAX 65536u  /* requests under way; then LY_FULL */
#define LY_RELAYS_MAX 4096u /* of them, for one other site; then LY_BUSY */
#define LY_MOVES_MAX 16384u /* migrations open; then refused */
#define LY_ALARMS_KEPT 50
#define LY_WATCHERS_MAX 8 /* callers who wait for one migration */
#define LY_TICK_MS 250

struct ly_fed_conf {
	char site[LY_NAME_MAX];
	char address[LY_ADDR_MAX];
};

struct ly_manager_conf {
	char site[LY_NAME_MAX];
	char name[LY_NAME_MAX];
	char listen[LY_ADDR_MAX];
	char state[200];
	char socket[104];
	uint64_t ticket_minutes;
	uint64_t cert_days;
	uint64_t crl_hours;
	uint64_t host_lost_seconds;
	bool attest;
	uint64_t lanes;
	char vendor_roots[200];
	uint64_t host_cert_seconds;
	struct ly_fed_conf peers[LY_FEDS_MAX];
	unsigned peers_n;
	bool accept_loss; /* once, by the command line (record.h) */
};

/* Another site, and the connection to its manager. */
struct ly_fed {
	char site[LY_NAME_MAX];
	char address[LY_ADDR_MAX]; /* empty: it dials */
	bool from_file;		   /* of the configuration, not the store */
	struct ly_conn *conn;	   /* open */
	struct ly_conn *dialled;   /* not open yet */
	uint64_t dial_at, wait_ms;
	char why[LY_WHY_MAX]; /* it is not connected */
	uint64_t head_at;     /* loop ms when it was last told our head */
	uint64_t head_n;      /* ... which one */
	bool head_back;	      /* its own has gone back, and we have said so */
};

struct ly_alarm_kept {
	uint64_t at;
	char host[LY_PLACE_TEXT];
	char vm[LY_NAME_MAX];
	char text[LY_WHY_MAX];
};

struct ly_manager;
struct ly_api;
struct ly_policy_shell;
struct ly_records;
struct ly_evac;

/* `d` is NULL when its time is over. Called once, from the loop; never from
 * within ly_ask(). */
typedef void ly_on_done(struct ly_manager *m, void *arg,
    const struct ly_done *d);

struct ly_ask {
	struct ly_ask *next, *prev; /* by age */
	struct ly_ask *same;	    /* in its bucket */
	uint32_t req;
	uint8_t type;
	struct ly_place host;
	uint64_t deadline; /* loop ms; 0: none */
	uint32_t limit_ms;
	ly_on_done *on_done;
	void *arg;
	char relay_for[LY_NAME_MAX]; /* a site; then on_done is NULL */
	uint32_t relay_req;
	union ly_any msg;
	uint8_t bytes[]; /* what msg borrows */
};

#define LY_ASK_BUCKETS 4096u

struct ly_asks {
	struct ly_ask *first, *last;
	struct ly_ask *bucket[LY_ASK_BUCKETS];
	uint32_t last_req;
	unsigned n;
};

struct ly_move;
struct ly_move_arg {
	struct ly_move *mv;
	enum ly_step step;
};

/* One migration in hand. */
struct ly_move {
	struct ly_move *next;
	struct ly_manager *m;
	struct ly_saga saga;
	struct ly_mig_row row;
	uint32_t req[LY_STEPS];
	struct ly_move_arg arg[LY_STEPS];  /* for ask.c */
	uint64_t watcher[LY_WATCHERS_MAX]; /* client ids; 0: none */
	bool told;			   /* who waited has been answered */
	struct ly_progress progress;
	bool has_progress;
	uint64_t source_gone; /* loop ms since; 0: it is there */
	uint8_t there;	     /* enum ly_vmstate_kind, as its destination says */
	bool said;	     /* ... and it is no more waiting for it */
	const char *refused; /* the last CANCEL or SUPERSEDE */
	char who[64];	     /* asked for it */
	char doubt[LY_WHY_MAX]; /* why it is not proved */
	bool alarmed;		/* of that */
};

struct ly_manager {
	struct ly_manager_conf conf;
	uv_loop_t *loop;
	uv_timer_t tick;
	struct ly_identity *ids;
	struct ly_net *net;
	struct ly_store *store;
	struct ly_records *records; /* record.c */
	struct ly_roster roster;
	struct ly_asks asks;
	struct ly_fed feds[LY_FEDS_MAX];
	unsigned feds_n;
	struct ly_evac *evacs; /* evacuate.c: those that are open */
	struct ly_move *moves;
	unsigned moves_n;
	uint64_t crl_due;      /* when ours is made anew, seconds since 1970 */
	uint64_t moves_second; /* loop ms of their last tick */
	uint64_t enrol_second; /* of theirs, seconds since 1970 */
	struct ly_alarm_kept alarms[LY_ALARMS_KEPT];
	unsigned long alarms_n; /* ever; the newest at (n - 1) % KEPT */
	struct ly_api *api;
	struct ly_policy_shell *policy; /* policy.h */
	int lock;
	bool closing;
};

/* ---- manager.c ---- */

extern const struct ly_conf_key ly_manager_keys[];
extern const size_t ly_manager_keys_n;
LY_MUST enum ly_rc ly_manager_conf_read(const char *path,
    struct ly_manager_conf *out, struct ly_why *why);
void ly_manager_conf_say(const struct ly_manager_conf *conf);

/* Reads keys and store, takes the lock, listens, goes on with what was open.
 * Closing is ly_manager_close(); when the loop has run out, _free(). */
LY_MUST enum ly_rc ly_manager_new(uv_loop_t *loop,
    const struct ly_manager_conf *conf, struct ly_manager **out,
    struct ly_why *why);
void ly_manager_close(struct ly_manager *m);
void ly_manager_free(struct ly_manager *m);

uint64_t ly_now_s(void);  /* since 1970 */
uint64_t ly_now_ms(void); /* since 1970 */
/* Keeps it for `status`, and logs it. */
void ly_manager_alarm(struct ly_manager *m, const struct ly_place *host,
    const char *vm, const char *text);
/* "STATE/name" */
const char *ly_manager_file(const struct ly_manager *m, const char *name,
    char out[320]);

/* ---- ask.c: requests to agents, ours or another site's ---- */

/* Sends now, or when the host can be reached, and again whenever it comes
 * back, until it is answered, forgotten or late. `msg` is the struct of
 * `type`; req, host and origin are filled in here. Returns the number, 0 if
 * there is no room (then on_done is not called). */
uint32_t ly_ask(struct ly_manager *m, const struct ly_place *host,
    unsigned type, void *msg, uint32_t limit_ms, ly_on_done *on_done,
    void *arg);
void ly_ask_forget(struct ly_manager *m, uint32_t req);
/* Its time begins anew. */
void ly_ask_extend(struct ly_manager *m, uint32_t req);
/* For another site: once, not again; answered to `site` with `req`. */
LY_MUST enum ly_rc ly_ask_relay(struct ly_manager *m, const char *host,
    unsigned type, const union ly_any *msg, const char *site);
/* The host can be reached, or no more. */
void ly_asks_up(struct ly_manager *m, const struct ly_place *host);
void ly_asks_down(struct ly_manager *m, const struct ly_place *host);
void ly_asks_site_down(struct ly_manager *m, const char *site);
void ly_asks_done(struct ly_manager *m, struct ly_conn *c,
    const struct ly_done *d);
void ly_asks_tick(struct ly_manager *m);
void ly_asks_fini(struct ly_manager *m);

/* ---- host.c: the listener, and agents of our site ---- */

extern const struct ly_conn_ops ly_listen_ops;
/* NULL when it cannot be reached now. */
struct ly_conn *ly_host_conn(struct ly_manager *m, const struct ly_place *at);
/* What was said to run on a host that is gone is not known any more. */
void ly_host_forget(struct ly_manager *m, const struct ly_host *h);
void ly_host_gone(struct ly_manager *m, struct ly_host *h);
void ly_on_report(struct ly_manager *m, const char *site, unsigned type,
    const union ly_any *msg);

/* ---- fed.c: managers of other sites ---- */

LY_MUST enum ly_rc ly_fed_add(struct ly_manager *m, const char *site,
    const char *address, bool from_file, struct ly_why *why);
struct ly_fed *ly_fed_of(struct ly_manager *m, const char *site);
extern const struct ly_conn_ops ly_fed_ops;
LY_MUST enum ly_rc ly_fed_open(struct ly_manager *m, struct ly_conn *c,
    const struct ly_peer *peer, struct ly_why *why);
void ly_fed_tell(struct ly_manager *m, const struct ly_host *h);
void ly_fed_tick(struct ly_manager *m);

/* ---- crl.c: who was revoked ---- */

struct ly_revoke_reason {
	const char *word; /* NULL ends them */
	uint8_t code;	  /* CRLReason of X.509 */
};
extern const struct ly_revoke_reason ly_revoke_reasons[];

/* A host's certificate that has just been signed; before it is given out. */
LY_MUST enum ly_rc ly_crl_note_cert(struct ly_manager *m, const char *host,
    const char *pem, struct ly_why *why);
/* All it has that have not ended. LY_OK: in the store, in the CRL, and told. */
LY_MUST enum ly_rc ly_crl_revoke(struct ly_manager *m, const char *host,
    uint8_t reason, unsigned *n, struct ly_why *why);
void ly_crl_tell_agent(struct ly_manager *m, struct ly_conn *c);
void ly_crl_tell_site(struct ly_manager *m, struct ly_conn *c);
void ly_crl_hear(struct ly_manager *m, const char *site,
    const struct ly_crl_told *t);
void ly_crl_tick(struct ly_manager *m);

/* ---- ticket.c ---- */

struct ly_ticket_bytes {
	uint8_t at[LY_TICKET_MAX];
	size_t len;
};
LY_MUST enum ly_rc ly_ticket_mint(struct ly_manager *m, const struct ly_vm *vm,
    const struct ly_id *mig, const struct ly_place *to, unsigned rights,
    uint64_t from_epoch, struct ly_ticket_bytes *out, struct ly_why *why);

/* What a home says of a VM: DONE.value of SHOW. */
struct ly_shown {
	char state[16];
	uint64_t epoch, seq;
	char holder[LY_SPIFFE_MAX];
	struct ly_place at; /* of `holder`; empty if there is none */
	char mig[LY_ID_TEXT];
};
LY_MUST enum ly_rc ly_shown_parse(const struct ly_done *d, struct ly_shown *out,
    struct ly_why *why);

/* ---- judge.c: evidence of hosts ---- */

/* May this host take part in an attested migration, as far as is known before
 * it is asked? `side`: "destination", ... LY_REFUSED says why not. */
LY_MUST enum ly_rc ly_judge_standing(struct ly_manager *m, const char *side,
    const struct ly_host *h, struct ly_why *why);

struct ly_judge_wish {
	const char *side;	    /* begins a refusal, before the host */
	enum ly_quote_role role;    /* as what it was asked */
	const struct ly_call *call; /* by what call */
	const struct ly_place *at;  /* who */
	struct ly_bytes packed;	    /* struct ly_evidence */
};

/* All borrows from `packed`. */
struct ly_judged {
	struct ly_evidence evidence;
	struct ly_peer peer; /* by its certificate */
	struct ly_appraise_host host;
	struct ly_appraised found;
};
/* `host` of it, to be kept. */
extern const struct ly_message ly_judged_host;

/* Evidence as it came: certificate, quote, call, event log, approved state. */
LY_MUST enum ly_rc ly_judge(struct ly_manager *m,
    const struct ly_judge_wish *wish, struct ly_judged *out,
    struct ly_why *why);

/* ---- move.c: migrations ---- */

struct ly_move_wish {
	struct ly_vm *vm;
	struct ly_host *to;
	uint64_t bandwidth;
	uint32_t downtime_ms;
	const char *who;   /* asks, for the permanent record; NULL: we do */
	struct ly_id evac; /* it is part of this evacuation; or none */
};
/* What can be known before anybody is asked. */
LY_MUST enum ly_rc ly_move_allowed(struct ly_manager *m,
    const struct ly_move_wish *wish, struct ly_why *why);
LY_MUST enum ly_rc ly_move_begin(struct ly_manager *m,
    const struct ly_move_wish *wish, uint64_t watcher, struct ly_move **out,
    struct ly_why *why);
/* NULL: accepted; else why not. */
const char *ly_move_cancel(struct ly_move *mv);
const char *ly_move_supersede(struct ly_move *mv);
LY_MUST enum ly_rc ly_moves_load(struct ly_manager *m, struct ly_why *why);
void ly_moves_go(struct ly_manager *m);
void ly_moves_progress(struct ly_manager *m, const struct ly_progress *p);
/* A host has connected again; it says next which VMs it has. */
void ly_moves_host_back(struct ly_manager *m, const struct ly_place *host);
/* What a host says of a VM that moves. */
void ly_move_heard(struct ly_move *mv, const struct ly_place *from,
    const struct ly_vmstate *s);
void ly_moves_tick(struct ly_manager *m);
void ly_moves_fini(struct ly_manager *m);

/* ---- vm.c: the life of a VM; each answers its client when it is over ---- */

void ly_vm_job_add(struct ly_manager *m, uint64_t client, struct ly_vm *vm);
void ly_vm_job_start(struct ly_manager *m, uint64_t client, struct ly_vm *vm,
    struct ly_host *to, bool force);
void ly_vm_job_stop(struct ly_manager *m, uint64_t client, struct ly_vm *vm,
    bool force);
void ly_vm_job_remove(struct ly_manager *m, uint64_t client, struct ly_vm *vm);
void ly_vm_job_show(struct ly_manager *m, uint64_t client, struct ly_vm *vm);
/* The row as it should be on disk; `definition` NULL keeps what is there. */
LY_MUST enum ly_rc ly_vm_save(struct ly_manager *m, struct ly_vm *vm,
    const char *definition, const char *journal, struct ly_why *why);
LY_MUST enum ly_rc ly_vm_definition(struct ly_manager *m,
    const struct ly_vm *vm, struct ly_vm_row *row, struct ly_why *why);
/* MiB; 0: it does not say. */
uint64_t ly_definition_memory(const char *definition);
void ly_vms_tick(struct ly_manager *m);

/* ---- ../api ---- */

LY_MUST enum ly_rc ly_api_open(struct ly_manager *m, const char *path,
    struct ly_api **out, struct ly_why *why);
void ly_api_close(struct ly_api *api);
void ly_api_tick(struct ly_api *api);
/* Lines to a client, if it is still there; both take the reference. */
void ly_api_event(struct ly_manager *m, uint64_t client, json_t *event);
void ly_api_final(struct ly_manager *m, uint64_t client, json_t *answer);
/* "uid 0": whose process the client is. */
const char *ly_api_who(struct ly_manager *m, uint64_t client, char out[64]);
void ly_api_fail(struct ly_manager *m, uint64_t client, enum ly_rc rc,
    const char *why);

#endif
