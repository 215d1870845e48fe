/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every message lanyard's programs send one another, and the frame around it.
 *
 * Frame: u16 magic 0x4c59 ("LY"), u8 version 1, u8 type, u32 length of the
 * body; then the body in the packed rendering of field.h. A receiver refuses
 * a length over ly_frame_max(type) before it waits for the bytes.
 *
 * Conversations (HELLO.purpose), all over mutual TLS 1.3, dialled by the side
 * named first:
 *
 * - LINK: away agent to home agent. The TPM commands of many VMs, each on a
 *   `chan` the dialler chose; a chan lives as long as its connection.
 * - STREAM: source agent to destination agent. One migration's memory.
 * - CONTROL: agent to its manager. The manager asks (`req` > 0), the agent
 *   answers DONE with the same `req`, and reports on its own.
 * - FEDERATION: manager to manager. The same requests, relayed to `host`, and
 *   the same reports, relayed back.
 *
 * Type numbers are for ever: retired ones are not used again.
 */
#ifndef LY_WIRE_MESSAGE_H
#define LY_WIRE_MESSAGE_H

#include "lib/wire/field.h"

#define LY_PROTO 1
#define LY_FRAME_MAGIC 0x4c59
#define LY_FRAME_VERSION 1
#define LY_FRAME_HEAD 8
#define LY_TPM_MAX 4096	       /* bytes of one TPM command or answer */
#define LY_TICKET_MAX 3072     /* bytes of a signed ticket with its signer */
#define LY_TOKEN_MAX 160       /* bytes of the token in QEMU's stream */
#define LY_DEFINITION_MAX 6144 /* bytes of a VM's definition (JSON) */
#define LY_CHUNK_MAX (256u * 1024) /* bytes of the stream in one DATA */
#define LY_CRL_MAX (256u * 1024)   /* bytes of a site's list of revoked ones */
#define LY_EVIDENCE_MAX (192u * 1024) /* bytes of quote, keys and event log */
#define LY_APPROVED_MAX (64u * 1024)  /* bytes of a site's approved states */
#define LY_SEALED_MAX 1024	      /* bytes of what one TPM alone can open */
#define LY_STATEMENT_MAX 4096 /* bytes of a signed statement with its signer */
#define LY_LANES_MAX 8	      /* connections that carry one stream */
#define LY_WHY_MAX 256
#define LY_VALUE_MAX 2048
#define LY_SECRET_LEN 32

enum ly_type {
	LY_HELLO = 0x01,
	LY_WELCOME = 0x02,
	LY_PING = 0x03,
	LY_PONG = 0x04,
	LY_BYE = 0x05,

	LY_ATTACH = 0x10,
	LY_RESUME = 0x11,
	LY_GRANTED = 0x12,
	LY_COMMAND = 0x13,
	LY_ANSWER = 0x14,
	LY_REFUSE = 0x15,
	LY_CANCEL = 0x16,
	LY_DETACH = 0x17,
	LY_DETACHED = 0x18,
	LY_PRESTAGE = 0x19,
	LY_STAGED = 0x1a,
	LY_RELEASE = 0x1b,
	LY_RELEASED = 0x1c,
	LY_CLAIM = 0x1d,
	LY_ABORT = 0x1e,
	LY_QUERY = 0x1f,
	LY_OUTCOME = 0x20,
	LY_FENCE = 0x21,
	LY_RENEW = 0x22,
	LY_LEASE = 0x23,

	LY_DATA = 0x30,
	LY_FIN = 0x31,
	LY_READY = 0x32,
	LY_LEAF = 0x33,
	LY_TAKEN = 0x34,

	LY_ANNOUNCE = 0x40,
	LY_BIND = 0x41,
	LY_UNBIND = 0x42,
	LY_START = 0x43,
	LY_STOP = 0x44,
	LY_PREPARE = 0x45,
	LY_COPY = 0x46,
	LY_CALLOFF = 0x47,
	LY_DROP = 0x48,
	LY_ASK = 0x49,
	LY_SETTLE = 0x4a,
	LY_SHOW = 0x4b,
	LY_ENROL = 0x4c,
	LY_QUOTE = 0x4d,
	LY_KEY = 0x4e,
	LY_IMPORT = 0x4f,
	LY_DONE = 0x50,
	LY_PROGRESS = 0x51,
	LY_VMSTATE = 0x52,
	LY_ALARM = 0x53,
	LY_CRL = 0x54,
	LY_UNLOCK = 0x55,
	LY_APPROVED = 0x56,

	LY_SITEHOST = 0x60,
	LY_HEAD = 0x61,
	LY_BOOTLOG = 0x62,
};

enum ly_purpose {
	LY_FOR_LINK = 1,
	LY_FOR_STREAM = 2,
	LY_FOR_CONTROL = 3,
	LY_FOR_FEDERATION = 4,
};

/* What a COMMAND asks of the TPM (u8 on the wire). A COMMAND of any kind
 * takes a seq. All but TPM are answered by a u32 result, 0 for success. */
enum ly_op {
	LY_OP_TPM = 0,	      /* body: one TPM 2.0 command */
	LY_OP_INIT = 1,	      /* the VM was reset: _TPM_Init */
	LY_OP_HASH_START = 2, /* D-RTM, locality 4 */
	LY_OP_HASH_DATA = 3,
	LY_OP_HASH_END = 4,
	LY_OP_RESET_ESTABLISHED = 5,
	LY_OPS
};

/* What became of a migration, as the home's record has it. */
enum ly_fate {
	LY_FATE_UNKNOWN = 0, /* the home has never heard of it */
	LY_FATE_OPEN = 1,
	LY_FATE_CLAIMED = 2,
	LY_FATE_ABORTED = 3,
};
const char *ly_fate_name(unsigned fate);

/* ---- any connection ---- */

struct ly_hello {
	uint16_t proto;
	uint8_t purpose;
	struct ly_id mig; /* of a STREAM; else none */
	char software[48];
};

struct ly_welcome {
	uint16_t proto;
	char software[48];
};

struct ly_ping { /* PING and PONG */
	uint64_t stamp;
};

struct ly_bye {
	uint8_t rc;
};

/* ---- LINK: away (dialler) and home ---- */

struct ly_attach {
	uint32_t chan;
	struct ly_id vm;
	struct ly_bytes ticket;
};

struct ly_resume {
	uint32_t chan;
	struct ly_id vm;
	uint64_t epoch;
	uint64_t seq;	 /* the last command the away side has numbered */
	uint8_t waiting; /* 1: that one has not been answered */
	uint8_t secret[LY_SECRET_LEN];
};

/* Answers ATTACH, RESUME and CLAIM: from now commands on `chan` run. */
struct ly_granted {
	uint32_t chan;
	uint8_t rc;
	uint64_t epoch;
	uint64_t seq; /* the last command the home has run or is running */
	uint8_t secret[LY_SECRET_LEN];
};

struct ly_command {
	uint32_t chan;
	uint8_t op;
	uint8_t locality;
	uint64_t epoch;
	uint64_t seq;
	struct ly_bytes body;
};

struct ly_answer {
	uint32_t chan;
	uint64_t epoch;
	uint64_t seq;
	struct ly_bytes body;
};

struct ly_refuse {
	uint32_t chan;
	uint64_t epoch;
	uint64_t seq;
	uint8_t rc;
};

struct ly_cancel {
	uint32_t chan;
	uint64_t epoch;
	uint64_t seq;
};

struct ly_detach {
	uint32_t chan;
	uint64_t epoch;
};

struct ly_detached {
	uint32_t chan;
	uint8_t rc;
};

struct ly_prestage {
	uint32_t chan;
	struct ly_id vm, mig;
	struct ly_bytes ticket;
};

struct ly_staged {
	uint32_t chan;
	uint8_t rc;
	uint64_t epoch; /* of the present holder */
};

struct ly_release {
	uint32_t chan;
	struct ly_id mig;
	uint64_t epoch;
	uint64_t seq;
};

struct ly_released {
	uint32_t chan;
	struct ly_id mig;
	uint8_t rc;
};

/* On a chan that PRESTAGE opened. */
struct ly_claim {
	uint32_t chan;
	struct ly_id mig;
	struct ly_bytes token;
};

/* ABORT and QUERY; answered by OUTCOME. */
struct ly_query {
	struct ly_id vm, mig;
};

struct ly_outcome {
	struct ly_id vm, mig;
	uint8_t rc;
	uint8_t fate;
	uint64_t epoch;
};

/* The home to a holder that is one no more. */
struct ly_fence {
	uint32_t chan;
	uint64_t epoch;
};

/* Away to home, for all it holds there: a lease in time (lib/link/lease.h). */
struct ly_renew {
	uint64_t stamp; /* of the asker's own clock */
};

struct ly_lease_given {
	uint64_t stamp; /* of the RENEW */
	uint32_t length_ms;
};

/* ---- STREAM: source (dialler) and destination ---- */

struct ly_data {
	struct ly_bytes body;
};

/* Behind each chunk on a lane: what the source makes of it. Not signed; the root
 * in FIN's statement is. This one tells where it went wrong. */
struct ly_leaf {
	uint64_t index; /* of the chunk, in the whole stream */
	uint8_t digest[32];
};

/* Destination to source, now and then: QEMU has been given so much. What the
 * source has sent beyond that is still on its way. */
struct ly_taken {
	uint64_t bytes;
};

/* The source has seen its QEMU finish. What follows `seq` is empty unless the
 * migration is attested. */
struct ly_fin {
	struct ly_id mig;
	uint64_t bytes;
	uint64_t seq;
	struct ly_bytes statement; /* signed: struct ly_sent */
	uint8_t mac[32];	   /* of `statement`, under K_fin */
	struct ly_bytes evidence; /* a quote over it, if it did not take long */
};

/* Destination to source: `rc` LY_OK, it runs in `epoch`; else it never will. */
struct ly_ready {
	struct ly_id mig;
	uint8_t rc;
	uint64_t epoch;
	struct ly_bytes statement; /* signed: struct ly_arrived; or empty */
};

/* ---- CONTROL and FEDERATION. `origin` is the site that asks ---- */

/* Agent to manager, first: who I am (the certificate says the name). */
struct ly_announce {
	char address[LY_ADDR_MAX]; /* of LINK and STREAM connections */
	char tpms[512];		   /* names, with spaces between */
};

/* One shape for requests that name a VM and perhaps a migration:
 * UNBIND, STOP, CALLOFF, DROP, SHOW (mig none), ASK and SETTLE use `flag` and
 * `epoch` as their comment in message.c says. */
struct ly_request {
	uint32_t req;
	char host[LY_NAME_MAX];
	char origin[LY_NAME_MAX];
	struct ly_id vm, mig;
	uint8_t flag;
	uint64_t epoch;
};

/* The VM's TPM from now on is `tpm` (empty: any free one) of this home. */
struct ly_bind {
	uint32_t req;
	char host[LY_NAME_MAX];
	char origin[LY_NAME_MAX];
	struct ly_id vm;
	char name[LY_NAME_MAX];
	char tpm[LY_NAME_MAX];
};

/* START (mig none), and PREPARE at a destination. */
struct ly_start {
	uint32_t req;
	char host[LY_NAME_MAX];
	char origin[LY_NAME_MAX];
	struct ly_id vm, mig;
	char name[LY_NAME_MAX];
	char home[LY_SPIFFE_MAX];
	char home_address[LY_ADDR_MAX];
	char source[LY_SPIFFE_MAX]; /* PREPARE: who may send the stream */
	struct ly_bytes definition;
	struct ly_bytes ticket;
};

/* To the source: go. Answered when it is over, one way or the other. */
struct ly_copy {
	uint32_t req;
	char host[LY_NAME_MAX];
	char origin[LY_NAME_MAX];
	struct ly_id vm, mig;
	char dest[LY_SPIFFE_MAX];
	char dest_address[LY_ADDR_MAX];
	uint64_t bandwidth; /* bytes a second, 0 for no limit */
	uint32_t downtime_ms;
	uint8_t lanes;	     /* 0: one connection, the hosts' certificates */
	uint8_t confirm[32]; /* lanes: the destination has the key */
};

/* How a host is made one of the site, step by step (attest/enrol.h). */
enum ly_enrol_step {
	LY_ENROL_BEGIN = 1, /* `data` empty; DONE.data: struct ly_enrol_keys */
	LY_ENROL_PROVE = 2, /* struct ly_enrol_dare; struct ly_enrol_proof */
	LY_ENROL_TAKE = 3,  /* struct ly_enrol_papers; nothing */
	LY_ENROL_RENEW = 4, /* `nonce`; DONE.data: struct ly_evidence */
	LY_ENROL_STEPS
};

struct ly_enrol {
	uint32_t req;
	char host[LY_NAME_MAX];
	char origin[LY_NAME_MAX];
	uint8_t step;
	uint8_t nonce[32];
	struct ly_bytes data;
};

/* As what a host is asked for evidence; it is part of what it quotes. */
enum ly_quote_role {
	LY_AS_SOURCE = 1, /* in migration `mig` */
	LY_AS_DEST = 2,	  /* the same; `definition` is the VM's */
	LY_AS_HOME = 3,	  /* the same */
	LY_AS_PLACE = 4, /* outside of any: where `vm` runs, or (none) a host */
	LY_AS_TPM = 5,	 /* outside of any: where its TPM is */
	LY_QUOTE_ROLES
};

/* DONE.data: struct ly_evidence (lib/attest/evidence.h). */
struct ly_quote {
	uint32_t req;
	char host[LY_NAME_MAX];
	char origin[LY_NAME_MAX];
	struct ly_id vm, mig;
	uint8_t role;
	struct ly_bytes call; /* signed by the asker: struct ly_call */
	struct ly_bytes definition;
};

/* KEY to the source: `evidence` is the destination's; DONE.data: struct
 * ly_key_blob. IMPORT to the destination: `evidence` is the source's, `blob`
 * what KEY gave; DONE.data: the TPM session's nonce. UNLOCK to the destination:
 * `blob` is the manager's signature over that, r then s; DONE.data: the 32
 * bytes of COPY.confirm. */
struct ly_keying {
	uint32_t req;
	char host[LY_NAME_MAX];
	char origin[LY_NAME_MAX];
	struct ly_id vm, mig;
	struct ly_bytes blob;
	struct ly_bytes evidence;
};

struct ly_done {
	uint32_t req;
	uint8_t rc;
	uint8_t fate; /* of a migration, where one is asked about */
	uint64_t epoch;
	char why[LY_WHY_MAX];
	char value[LY_VALUE_MAX]; /* as the request's comment says */
	struct ly_bytes data;	  /* the same */
};

enum ly_phase {
	LY_PHASE_PREPARE = 1,
	LY_PHASE_COPY = 2,
	LY_PHASE_GATE = 3,
	LY_PHASE_COMMIT = 4,
	LY_PHASE_OVER = 5,
};
const char *ly_phase_name(unsigned phase);

struct ly_progress {
	struct ly_id vm, mig;
	char home_site[LY_NAME_MAX];
	uint8_t phase;
	uint64_t bytes;	     /* moved so far */
	uint64_t total;	     /* of RAM */
	uint64_t remaining;  /* still to move, as QEMU sees it */
	uint64_t rate;	     /* bytes a second */
	uint64_t dirty_rate; /* bytes a second */
	uint64_t elapsed_ms;
	uint64_t downtime_ms;
	uint64_t commands; /* TPM commands of the VM so far (its seq) */
};

enum ly_vmstate_kind {
	LY_VM_NONE = 0, /* not here */
	LY_VM_STARTING = 1,
	LY_VM_RUNNING = 2,
	LY_VM_PAUSED = 3,   /* during a switch, or by the operator */
	LY_VM_INCOMING = 4, /* a destination, waiting for memory */
	LY_VM_FAILED = 5,   /* its QEMU or its TPM is gone; `why` says */
	LY_VMSTATES
};
const char *ly_vmstate_name(unsigned state);

struct ly_vmstate {
	struct ly_id vm, mig;
	char home_site[LY_NAME_MAX];
	char host[LY_NAME_MAX];
	uint8_t state;
	uint64_t epoch;
	uint64_t seq;
	char why[LY_WHY_MAX];
};

struct ly_alarm {
	struct ly_id vm;
	char home_site[LY_NAME_MAX];
	char host[LY_NAME_MAX];
	char text[LY_WHY_MAX];
};

/* Manager to agent: of any site; manager to manager: of the sender's own. */
struct ly_crl_told {
	char site[LY_NAME_MAX];
	struct ly_bytes der;
};

/* Manager to agent: of any site; manager to manager: of the sender's own. */
struct ly_approved_told {
	char site[LY_NAME_MAX];
	struct ly_bytes list; /* lib/attest/approved.h */
};

/* Manager to manager: an event log that a state of the list was approved with;
 * without `log`: please send it, I have only its SHA-256. */
struct ly_bootlog {
	uint8_t sha256[32];
	struct ly_bytes log;
};

/* How far a host is one of its site, as its manager has it. */
enum ly_standing {
	LY_STANDING_NONE = 0,	    /* not enrolled */
	LY_STANDING_GOOD = 1,	    /* enrolled, in an approved state */
	LY_STANDING_ENDED = 2,	    /* it has not proved itself for too long */
	LY_STANDING_UNAPPROVED = 3, /* enrolled, in another state */
	LY_STANDING_FROZEN = 4,	    /* it failed to prove itself too often */
	LY_STANDINGS
};
/* "is not enrolled", ...: what a refusal says of it. */
const char *ly_standing_text(unsigned standing);

/* Manager to manager: one for each host of the sender's site. */
struct ly_sitehost {
	char host[LY_NAME_MAX];
	char address[LY_ADDR_MAX];
	uint8_t up;
	uint8_t standing;	  /* enum ly_standing */
	char class_[LY_NAME_MAX]; /* of hosts; empty unless enrolled */
	char differs[LY_WHY_MAX]; /* UNAPPROVED: from what is approved */
	uint32_t vms_most;	  /* it takes, of all sites; 0: any */
	uint64_t memory_most;	  /* MiB of them; 0: any */
};

/* Manager to manager: the head of `site`'s permanent record, a signed struct
 * ly_head. Of the sender's own site: its newest. Of the receiver's: signed by
 * the receiver, what it said last, to be held against what it has now; or
 * signed by the sender, who has seen it. */
struct ly_head_told {
	char site[LY_NAME_MAX];
	struct ly_bytes head;
};

/* The row of a type; NULL when there is none. */
const struct ly_message *ly_message_of(unsigned type);
/* For documentation and tests: row `i`, NULL past the end. */
const struct ly_message *ly_message_at(size_t i);
/* The most a body of this type may have; 0 for a type there is none of. */
size_t ly_frame_max(unsigned type);

struct ly_frame {
	uint8_t type;
	const uint8_t *body;
	size_t len;
};

/*
 * Looks for one frame at the start of `buf`. LY_OK: `out` borrows from `buf`
 * and *used says how many bytes it took. LY_SHORT: feed more; *used is the
 * whole frame's length when the head is there, else 0. LY_MALFORMED: wrong
 * magic, version, type or length; drop the connection.
 */
LY_MUST enum ly_rc ly_frame_get(const uint8_t *buf, size_t len,
    struct ly_frame *out, size_t *used, struct ly_why *why);

/* Head and body of one frame; bad if it does not fit. */
void ly_frame_put(unsigned type, const void *in, struct ly_wr *w);

/* Decodes a frame's body into the struct of its type. `size` is that of
 * `out`, which borrows from the frame. */
LY_MUST enum ly_rc ly_frame_decode(const struct ly_frame *f, void *out,
    size_t size, struct ly_why *why);

/* Room for whatever a frame may decode into. */
union ly_any {
	struct ly_hello hello;
	struct ly_welcome welcome;
	struct ly_ping ping;
	struct ly_bye bye;
	struct ly_attach attach;
	struct ly_resume resume;
	struct ly_granted granted;
	struct ly_command command;
	struct ly_answer answer;
	struct ly_refuse refuse;
	struct ly_cancel cancel;
	struct ly_detach detach;
	struct ly_detached detached;
	struct ly_prestage prestage;
	struct ly_staged staged;
	struct ly_release release;
	struct ly_released released;
	struct ly_claim claim;
	struct ly_query query;
	struct ly_outcome outcome;
	struct ly_fence fence;
	struct ly_renew renew;
	struct ly_lease_given lease;
	struct ly_data data;
	struct ly_leaf leaf;
	struct ly_taken taken;
	struct ly_fin fin;
	struct ly_ready ready;
	struct ly_announce announce;
	struct ly_request request;
	struct ly_bind bind;
	struct ly_start start;
	struct ly_copy copy;
	struct ly_enrol enrol;
	struct ly_quote quote;
	struct ly_keying keying;
	struct ly_approved_told approved;
	struct ly_bootlog bootlog;
	struct ly_done done;
	struct ly_progress progress;
	struct ly_vmstate vmstate;
	struct ly_alarm alarm;
	struct ly_crl_told crl;
	struct ly_sitehost sitehost;
	struct ly_head_told head;
};

#endif
