/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: a fleet (two sites, each with a manager and three hosts, some
 * VMs) of the real machines on a fake clock, network, disk, TPM and QEMU, all
 * from one seed. The shells here imitate those of agent/io, lib/io and
 * manager/io: they turn happenings into events, do as they are told, and have
 * no opinions. What is left out: TLS (a connection knows who its peer is),
 * signatures (a ticket carries a sum under its site's key), the federation (a
 * manager asks hosts of the other site itself).
 *
 *	queue.c	  time, chance, what happens next
 *	net.c	  connections: lib/link's machines at both ends, bytes between
 *	tpm.c	  TPMs that show order and repetition; the disk of a home
 *	home.c	  homes and their doors (agent/home); visitor.c: who comes
 *	vm.c	  a VM and its TPM traffic (agent/away); vms.c: requests
 *	links.c	  an agent's links to homes, their leases
 *	move.c	  a migration's source; dest.c: its destination (agent/stream)
 *	wake.c	  what an agent finds of the one before
 *	qemu.c	  QEMU, its monitor, its guest
 *	manager.c sagas and requests (manager/saga, roster); operator.c: verbs
 *	oracle.c  the laws
 *	fault.c	  what the world and the operator do; lie.c: what liars say
 *	cover.c	  cells of the machines' tables that were visited
 *	sim.c	  the run; the shrinking
 *
 * Each connection, TPM, QEMU and process draws from a generator of its own, so
 * that a fault left out changes little of what has nothing to do with it.
 *
 * Everything is in one struct, which is zeroed for each world. Events that are
 * still queued for something that is gone find another `gen` there, and are
 * dropped.
 */
#ifndef LY_TESTS_SIM_H
#define LY_TESTS_SIM_H

#include "agent/away/guard.h"
#include "agent/away/kept.h"
#include "agent/home/kept.h"
#include "agent/stream/dest.h"
#include "agent/stream/source.h"
#include "lib/link/dial.h"
#include "lib/link/lease.h"
#include "lib/link/link.h"
#include "manager/roster/roster.h"
#include "manager/saga/saga.h"

#include <stdio.h>
#include <stdlib.h>

#define SITES 2u
#define HOSTS 6u /* even ones at site 0 */
#define NODES (HOSTS + SITES)
#define VMS 4u
#define CONNS 192u
#define QEMUS 32u
#define MOVES 32u
#define ASKS 128u
#define DOORS 256u
#define VISITORS 24u
#define CHANS 64u
#define LINKS HOSTS
#define PASTS 64u
#define MIGS 8192u
#define ITEMS 512u

#define MS UINT64_C(1000) /* time is in microseconds */
#define SEC (1000 * MS)
#define WALL_S UINT64_C(1800000000)
#define CERT_UNTIL (WALL_S + 10 * 86400) /* everybody's */

/* ---- queue.c ---- */

typedef void sim_fn(void *obj, uint64_t arg);

uint64_t sim_rnd(uint64_t *state);
/* 0 .. n-1 */
uint64_t sim_below(uint64_t *rng, uint64_t n);
bool sim_chance(uint64_t *rng, unsigned in_1000);
/* `gen` is looked at again then; NULL: always. */
void sim_after(uint64_t us, sim_fn *fn, void *obj, const uint32_t *gen,
    uint64_t arg);
bool sim_next(void);
void sim_queue_clear(void);
void sim_log(const char *fmt, ...) LY_PRINTF(1, 2);
#define LOG(...)                                                               \
	do {                                                                   \
		if (w.verbose)                                                 \
			sim_log(__VA_ARGS__);                                  \
	} while (0)

/* ---- net.c ---- */

/* An agent or a manager: what dials and listens. */
struct node {
	unsigned index;
	bool up, machine_up;
	bool frozen; /* its process is stopped: hears nothing */
	bool doomed; /* it is killed now: nothing leaves it any more */
	uint32_t gen;
	uint64_t rng;
	uint64_t skew_ms; /* of its clock that only rises */
	int64_t wall_off_s;
	char who[LY_SPIFFE_MAX];
};

struct end;
struct conn_ops {
	enum ly_rc (*on_open)(struct end *e);
	enum ly_rc (
	    *on_frame)(struct end *e, unsigned type, const union ly_any *m);
	void (*on_close)(struct end *e);
};

struct pipe {
	uint8_t *buf; /* kept for the next connection in this place */
	uint32_t room, head, got, tail;
	uint64_t last_at;
};

struct end {
	struct conn *c;
	struct node *node;
	struct dial *dial;
	bool there, dead, opened, shut;
	bool wish; /* CLOSE as soon as it may be told */
	enum ly_rc wish_rc;
	struct ly_link link;
	struct pipe in;
	const struct conn_ops *ops;
	void *arg;
	uint32_t arg_gen;
};

struct conn {
	bool used, cut;
	uint32_t gen;
	uint64_t rng;
	uint8_t purpose;
	struct ly_id mig;
	uint64_t lat_us, stall_until;
	unsigned to;	   /* node */
	struct end end[2]; /* 0: the dialler's */
};

struct dial {
	bool used;
	uint32_t gen;
	struct node *node;
	unsigned to;
	uint8_t purpose;
	const struct conn_ops *ops;
	void *arg;
	struct ly_redial core;
	struct end *end;
};

uint64_t net_now_ms(const struct node *n);
uint64_t net_wall_s(const struct node *n);
struct end *net_peer(struct end *e);
struct end *net_dial(struct node *from, unsigned to, uint8_t purpose,
    const struct ly_id *mig, const struct conn_ops *ops, void *arg);
void net_send(struct end *e, unsigned type, const void *m);
void net_close(struct end *e, enum ly_rc rc);
void net_dial_start(struct dial *d);
void net_dial_stop(struct dial *d);
/* The process is gone; `silent`: so is the machine, and nobody says so. */
void net_node_gone(struct node *n, bool silent);
/* Both ends hear of it; a part of what is on its way still arrives. */
void net_cut(struct conn *c);
void net_stall(struct conn *c, uint64_t us);
bool net_reachable(unsigned a, unsigned b);

/* ---- tpm.c ---- */

/* A command as the guest makes it, and an answer. The chain makes order and
 * repetition visible: each command mixes its own x in. */
struct tpm_cmd {
	uint64_t id, x;
};
struct tpm_rsp {
	uint64_t id, count, chain;
};
#define TPM_CMD_LEN 16u
#define TPM_RSP_LEN 24u

struct tpm {
	bool alive, inited;
	uint64_t rng;
	uint32_t gen; /* of the chip's life: answers of one before are lost */
	uint64_t count, chain, slow_us;
	struct home *client; /* NULL: nobody is connected */
	uint32_t client_gen, asker_gen;
	uint64_t run;
	bool busy;
	enum ly_op op;
	uint8_t body[TPM_CMD_LEN];
	size_t len;
	/* Its client has died, and somebody keeps the connection. */
	bool held;
	uint8_t unread[TPM_RSP_LEN];
	size_t unread_len;
};

/* What it answers to a command of no bytes, which only its home may ask. */
#define TPM_PEEKED 0x7065656bu

uint64_t tpm_mix(uint64_t chain, uint64_t x);
void tpm_submit(struct tpm *t, enum ly_op op, const uint8_t *body, size_t len);
void tpm_die(struct tpm *t);
void tpm_cancel(struct tpm *t);
void tpm_client_gone(struct tpm *t, bool kept);
/* The connection that was kept. */
void tpm_take_back(struct tpm *t, struct home *h);
void tpm_start(struct tpm *t);

/* ---- home.c ---- */

struct hev {
	struct ly_home_event ev;
	char who[LY_SPIFFE_MAX];
	uint8_t secret[LY_SECRET_LEN], hash[32];
	struct ly_ticket ticket;
	struct ly_token token;
	uint8_t body[LY_FRAME_HEAD + 64];
	size_t len;
};
#define HEVS 16u

struct home {
	bool used;
	uint32_t gen;
	struct agent *agent;
	unsigned vm;
	struct ly_home core;
	struct tpm *tpm;
	bool opened;
	uint8_t kept[64];
	size_t kept_len;
	bool feeding, in_job;
	struct hev later[HEVS];
	unsigned later_at, later_n;
	struct hev held; /* a command, until the home's own is over */
	bool holds;
};

struct door {
	ly_door id;
	struct home *home;
	struct visitor *visitor;
	uint32_t chan;
	bool once;
	uint32_t req; /* of a manager */
};

struct visitor {
	bool used, foreign;
	uint64_t age;
	struct agent *agent;
	struct end *end; /* NULL: the local link */
	char who[LY_SPIFFE_MAX];
	struct ly_lessor lessor;
	ly_door chans[CHANS];
};

/* ---- links.c ---- */

struct link_user {
	struct link *link;
	uint32_t chan;
	struct vm *vm;
};

struct link {
	bool used;
	struct agent *agent;
	unsigned home; /* host */
	struct dial dial;
	struct end *conn;
	struct visitor *self;
	struct ly_lease lease;
	struct link_user *by_chan[CHANS];
	uint32_t next_chan;
};

/* ---- qemu.c ---- */

enum run {
	Q_STARTING,
	Q_RUNNING,
	Q_PAUSED,
	Q_INMIGRATE,
	Q_FINISHING, /* stopped by QEMU's own switch */
	Q_POSTMIGRATE,
};

struct guest {
	uint64_t commands; /* asked since its reset */
	uint64_t chain;	   /* as the TPM's must be */
	bool waiting, broken;
	struct tpm_cmd cmd;
};

struct qemu {
	bool used, dying;
	uint32_t gen;
	uint64_t rng;
	unsigned host, vm;
	uint64_t serial;
	enum run run;
	bool incoming, was_running;
	struct guest guest;
	struct vm *shell; /* NULL: its agent is gone, and so is its TPM */
	bool session;
	bool unread;   /* its command is in the socket, for an agent to come */
	uint64_t beat; /* of its guest; older ones are over */
	uint64_t qmp_at;
	/* outgoing */
	enum ly_mig mig;
	struct ly_mig_numbers numbers;
	bool stream_closed;
	uint64_t asked_at;
};

/* What a stream's last DATA carries. */
#define SNAP_LEN (8u * 6 + LY_TOKEN_MAX)

typedef void qmp_done(void *arg, enum ly_rc rc, enum run run);

enum qmp {
	QMP_STOP,
	QMP_CONT,
	QMP_STATUS,
	QMP_MIGRATE,
	QMP_QUERY,
	QMP_CONTINUE,
	QMP_CANCEL,
	QMP_INCOMING,
	QMP_QUIT,
};

struct qemu *qemu_start(struct vm *vm, bool incoming);
void qemu_ask(struct qemu *q, enum qmp what, qmp_done *done, void *arg,
    const uint32_t *gen);
void qemu_quit(struct qemu *q);
void qemu_kill(struct qemu *q);
/* The endpoint. */
void qemu_answer(struct qemu *q, const uint8_t *at, size_t len);
void qemu_session_lost(struct qemu *q);
void qemu_data(struct qemu *q, const uint8_t *at, size_t len);
bool qemu_runs(const struct qemu *q);
void qemu_reset(void);

/* ---- vm.c ---- */

enum mode {
	MODE_BEFORE,
	MODE_INCOMING,
	MODE_ATTACHED,
	MODE_SAVED,
	MODE_GONE,
};

struct vev {
	struct ly_away_event ev;
	uint8_t secret[LY_SECRET_LEN];
	uint8_t body[64];
	size_t len;
};
#define VEVS 16u

struct cmd {
	uint8_t at[TPM_CMD_LEN];
	size_t len;
};

struct vm {
	bool used;
	uint32_t gen;
	struct agent *agent;
	unsigned vm;
	unsigned home; /* host */
	unsigned source_host;
	enum ly_vmstate_kind state;
	bool leaving, orphan, forgotten;
	enum ly_moving moving;
	bool served, woken, stopped, fin, let_go, mark;
	struct ly_away core;
	struct ly_guard guard;
	bool feeding;
	struct vev later[VEVS];
	unsigned later_at, later_n;
	struct link_user user;
	uint8_t ticket[1024];
	size_t ticket_len;
	enum mode mode;
	bool owed, held; /* held: a command is kept back, SAVED */
	uint64_t owed_since;
	struct cmd cmd, sent, back;
	uint64_t sent_seq;
	uint8_t token[LY_TOKEN_MAX];
	size_t token_len;
	struct qemu *qemu;
	struct source *source;
	struct dest *dest;
	struct ly_id mig;
	bool want_release, asked_release, stop_said;
	uint64_t fate_epoch;
	uint32_t start_req, prepare_req, copy_req, stop_req;
	bool ticking;
};

/* ---- move.c ---- */

struct source {
	bool used;
	uint32_t gen;
	struct ly_source_core core;
	struct vm *vm;
	struct qemu *qemu;
	struct end *conn;
	bool feeding, over, stop_failed, cont_paused, pumping;
	struct ly_source_event news[16];
	char text[16][64];
	unsigned news_at, news_n;
	uint64_t bytes;
	enum ly_source_end end;
};

struct dest {
	bool used;
	uint32_t gen;
	struct ly_dest_core core;
	struct vm *vm;
	struct qemu *qemu;
	struct end *conn;
	bool feeding, over;
	struct ly_dest_event news[16];
	unsigned news_at, news_n;
	uint64_t bytes, epoch;
	enum ly_mig polled;
	enum ly_dest_end end;
};

struct past {
	struct ly_id mig;
	enum ly_rc rc;
	enum ly_fate fate;
	uint64_t epoch;
};

/* What a host knows of one attested migration; it dies with its agent. */
struct papers {
	struct ly_id mig;
	uint64_t call;
	uint8_t roles; /* 1 << role: has given evidence as that */
	uint64_t key, session;
	bool open; /* its TPM has opened the key */
};

struct agent {
	struct node *node;
	unsigned host;
	/* home */
	struct home homes[VMS];
	struct door doors[DOORS];
	uint32_t door_serial;
	uint64_t visitors_ever;
	struct visitor visitors[VISITORS];
	bool job, again;
	struct ly_record job_rec[VMS];
	bool job_has[VMS];
	/* away */
	struct vm vms[VMS * 2];
	struct link links[LINKS];
	struct past past[PASTS];
	unsigned past_at;
	struct source sources[VMS * 2];
	struct dest dests[VMS * 2];
	struct dial control[SITES];
	struct end *manager[SITES];
	struct papers papers[PASTS];
	unsigned papers_at;
};

/* What an agent's keeper has of it when it dies. */
struct kept_home {
	bool used, opened;
	struct ly_home core;
	uint8_t answer[64];
	size_t answer_len;
};

struct keeper {
	struct vm vms[VMS * 2];
	struct kept_home homes[VMS];
};

/* What survives an agent, and its keeper too. */
struct disk {
	bool has[VMS], full;
	bool torn;  /* the next write is done, but said to have failed */
	bool drift; /* ... and that was the last */
	struct ly_record rec[VMS];
	struct ly_record old[VMS]; /* for whoever puts an old file back */
	bool old_has[VMS];
	uint64_t version, counter, old_version; /* the vault's, the chip's */
};

/* ---- manager.c ---- */

struct mig_row {
	bool used;
	struct ly_id id;
	unsigned vm, home, from, to;
	uint64_t from_epoch;
	struct ly_saga_rec rec;
	/* of an attested one */
	uint64_t call, blob, session;
	uint8_t evidence[LY_AS_PLACE][40]; /* by role */
	uint8_t confirm[32];
};

struct vm_row {
	bool used, bound, lost;
	unsigned at; /* host; HOSTS: nowhere */
	uint64_t epoch;
};

struct move {
	bool used, told;
	uint32_t gen;
	struct manager *m;
	struct mig_row row;
	struct ly_saga saga;
	uint32_t req[LY_STEPS];
	uint64_t gone_ms;
	uint8_t there; /* as its destination says */
	bool said;
	const char *refused;
};

enum job_kind { JOB_NONE, JOB_ADD, JOB_START, JOB_STOP };

enum stage { STAGE_SHOW, STAGE_STOP, STAGE_GO };

struct job {
	enum job_kind kind;
	unsigned vm, to;
	bool force;
	unsigned holder;
	uint64_t epoch;
};

struct ask {
	bool used;
	uint32_t req;
	unsigned host;
	uint8_t type;
	union ly_any msg;
	uint8_t ticket[1024];
	uint64_t limit_ms, deadline;
	struct move *move; /* or a job's */
	enum ly_step step;
	unsigned vm;
	unsigned stage;
};

struct manager {
	struct node *node;
	unsigned site;
	struct ly_roster roster;
	struct end *host[HOSTS];
	struct move moves[VMS];
	struct ask asks[ASKS];
	uint32_t last_req;
	struct job jobs[VMS];
	bool going;
};

struct store {
	struct mig_row migs[VMS];
	struct vm_row vms[VMS];
	bool full;
};

/* ---- oracle.c ---- */

struct mig_seen {
	unsigned vm;
	uint64_t epoch;
	enum ly_fate fate;
};

struct run_seen {
	uint8_t runs;
	uint8_t vm;
	struct tpm_rsp rsp;
};

#define EPOCHS 1024u

struct vm_seen {
	bool tainted; /* a liar was its holder or its home */
	uint64_t epoch, synced, ill_since, absent_since;
	uint64_t cause_at;	/* of the last thing that may fail its TPM */
	uint8_t holder[EPOCHS]; /* host + 1, by epoch */
};

void law_broken(const char *fmt, ...) LY_PRINTF(1, 2);
void oracle_granted(unsigned vm, uint64_t epoch, const char *who);
/* What a home believes is what is on its disk; that never goes back. */
void oracle_record(const struct home *h);
void oracle_synced(unsigned host);
void oracle_ran(unsigned vm, const struct tpm_cmd *c, const struct tpm_rsp *r);
void oracle_answer(struct qemu *q, const uint8_t *at, size_t len);
void oracle_fate(unsigned vm, const struct ly_id *mig, enum ly_fate fate,
    uint64_t epoch, const char *where);
void oracle_copies(void);
/* From now on, for a while, its TPM may fail. */
void oracle_cause(unsigned vm);
/* A guest is told so. */
void oracle_failure(const struct qemu *q);
void oracle_fenced(const struct vm *vm);
/* After the faults: everything has ended; else `why` says what has not. */
bool oracle_settled(char why[200]);
/* Each VM runs once, and its guest's TPM works; those that do not are started
 * anew after a while. */
bool oracle_whole(char why[200]);

/* ---- fault.c ---- */

struct item {
	uint64_t at;
	uint8_t kind;
	uint8_t when; /* a message type: the next of it; 0: at once */
	uint32_t a, b;
};
#define WHEN_WRITE 0xff /* a home writes its records */

/* Makes w.item[] from the world's seed; `on`: which of them are to happen. */
void fault_plan(const bool *on);
/* A message is about to be sent: true if it must not arrive. */
void fault_message(struct end *e, unsigned type);
void fault_write(struct agent *a);
void fault_heal(void);
/* lie.c */
void lie(uint32_t a, uint32_t b);
void fault_print(unsigned i);

/* ---- cover.c ---- */

enum machine {
	M_HOME,
	M_AWAY,
	M_GUARD,
	M_SOURCE,
	M_DEST,
	M_LINK,
	M_DIAL,
	M_LEASE,
	M_SAGA,
	MACHINES
};
void cover(enum machine m, unsigned state, unsigned kind);
/* Prints the cells never visited; those without a reason are counted. */
unsigned cover_report(bool print);

/* ---- the world ---- */

struct stats {
	uint64_t steps, worlds, commands, leaky, answers, failures, switches,
	    claimed, aborted, attested, faults, cuts, kills, lies, cold, sim_us;
};

struct world {
	uint64_t seed, rng, now, serial, hash;
	bool verbose, healing, broken;
	char law[400];
	unsigned vms_n;
	unsigned vm_home[VMS];
	struct node node[NODES];
	struct agent agent[HOSTS];
	struct disk disk[HOSTS];
	struct keeper keeper[HOSTS];
	struct tpm tpm[VMS];
	struct manager manager[SITES];
	struct store store[SITES];
	struct conn conn[CONNS];
	struct qemu qemu[QEMUS];
	bool blocked[NODES][NODES];
	uint64_t cmd_serial, mig_serial, qemu_serial;
	uint16_t dialled[NODES][NODES], started[HOSTS][VMS];
	struct vm_seen vm[VMS];
	struct mig_seen mig[MIGS];
	struct item item[ITEMS];
	unsigned items_n;
	uint64_t calm_at, end_at;
	uint64_t think_us, tpm_us, lat_us, qmp_us, chunk_us;
	bool slow_guest, leaky;
};

extern struct world w;
extern struct stats stats;
extern struct run_seen *runs; /* by command id */
extern size_t runs_room;

static inline const char *
who_of(unsigned host)
{
	return w.node[host].who;
}

static inline struct ly_id
vm_id(unsigned vm)
{
	return (struct ly_id){ { (uint8_t)(vm + 1), 'v' } };
}

static inline unsigned
vm_no(const struct ly_id *id)
{
	return id->b[1] == 'v' && id->b[0] ? id->b[0] - 1u : VMS;
}

struct ly_id mig_id(uint64_t serial);
uint64_t mig_no(const struct ly_id *id);
unsigned host_of_who(const char *who);

static inline unsigned
site_of(unsigned host)
{
	return host % SITES;
}

#include "tests/sim/shells.h"

#endif
