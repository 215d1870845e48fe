/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is signed, sealed with a MAC, or kept for ever: the manager's ticket,
 * the token that travels in QEMU's stream instead of TPM state, and the
 * home's record. Tables only; lib/io/identity.h signs, agent/io/records.h keeps.
 */
#ifndef LY_WIRE_SIGNED_H
#define LY_WIRE_SIGNED_H

#include "lib/wire/message.h"

enum ly_right {
	LY_MAY_ATTACH = 1 << 0, /* from DETACHED, by its holder */
	LY_MAY_MOVE = 1 << 1,	/* PRESTAGE, then CLAIM, in migration `mig` */
	LY_MAY_FORCE = 1 << 2,	/* ATTACH although another holds it: that one
				 * is proven stopped, and the TPM is reset */
};

#define LY_TYPE_TICKET 0x0101
#define LY_TYPE_TOKEN 0x0102
#define LY_TYPE_RECORD 0x0103
#define LY_TYPE_CALL 0x0104
#define LY_TYPE_SENT 0x0105
#define LY_TYPE_ARRIVED 0x0106
#define LY_TYPE_OUTCOME 0x0107
#define LY_TYPE_DESTROYED 0x0108
#define LY_TYPE_RESULT 0x0109
#define LY_TYPE_APPROVED 0x010a
#define LY_TYPE_CONTEXT 0x010b
#define LY_TYPE_HEAD 0x010c

/* Signed by the manager of the home's site (tagged rendering). */
struct ly_ticket {
	struct ly_id vm, mig;
	char home[LY_SPIFFE_MAX];     /* who may honour it */
	char holder[LY_SPIFFE_MAX];   /* who may use it */
	uint8_t rights;		      /* enum ly_right */
	uint64_t from_epoch;	      /* the record's epoch it was made for */
	uint64_t to_epoch;	      /* the epoch it asks for */
	uint64_t not_before, expires; /* seconds since 1970, UTC */
	uint8_t nonce[16];
};
extern const struct ly_message ly_ticket_message;

/* In the stream, as QEMU's "permanent TPM state" (packed rendering). The MAC
 * is HMAC-SHA-256 of all before it, under the secret of the epoch. */
struct ly_token {
	char magic[8]; /* "lanyard" */
	struct ly_id vm, mig;
	uint64_t epoch, seq;
	uint8_t failed; /* 1: its guest was told so, and has not reset since */
	uint8_t mac[32];
};
extern const struct ly_message ly_token_message;
#define LY_TOKEN_MAGIC "lanyard"

/* The statements about one migration, and about where a VM is. Each is signed
 * by who makes it (tagged rendering, lib/io/identity.h). */

/* The manager's call for evidence: one nonce for all who are asked. */
struct ly_call {
	struct ly_id vm, mig; /* mig none: outside of any migration */
	uint8_t nonce[32];
	uint64_t epoch;
	char source[LY_SPIFFE_MAX]; /* or, outside of any, where it runs */
	char dest[LY_SPIFFE_MAX];
	char home[LY_SPIFFE_MAX];
	uint8_t lanes;
	uint8_t policy[34]; /* Name of the policy key of the destination's
			       * site, algorithm first; zeros: none */
	uint8_t ref[32];    /* policyRef of the destination's class */
	uint64_t not_before, expires; /* seconds since 1970, UTC */
};
extern const struct ly_message ly_call_message;

/* The source: this is all it had, and it has let go of the VM. */
struct ly_sent {
	struct ly_id vm, mig;
	uint64_t epoch, seq, bytes;
	uint8_t lanes;
	uint8_t root[32];  /* of the stream's digest (lib/attest/tree.h) */
	uint8_t token[32]; /* SHA-256 of the token in the stream */
};
extern const struct ly_message ly_sent_message;

/* The destination: what came is what was sent. */
struct ly_arrived {
	struct ly_id vm, mig;
	uint64_t epoch, seq, bytes; /* epoch: the new one */
	uint8_t root[32];
};
extern const struct ly_message ly_arrived_message;

/* The home: so it was decided. */
struct ly_decided {
	struct ly_id vm, mig;
	uint8_t fate;
	uint64_t epoch, seq;
	char holder[LY_SPIFFE_MAX];
};
extern const struct ly_message ly_decided_message;

/* The source: nothing of the VM is left here. */
struct ly_destroyed {
	struct ly_id vm, mig;
	uint64_t epoch;
	uint64_t when; /* seconds since 1970, UTC */
};
extern const struct ly_message ly_destroyed_message;

/* The head of a site's permanent record (manager/record/chain.h). */
struct ly_head {
	char site[LY_NAME_MAX];
	uint64_t n;	  /* events */
	uint8_t hash[32]; /* of the last */
	uint64_t when;	  /* seconds since 1970, UTC */
};
extern const struct ly_message ly_head_message;

#define LY_FATES_KEPT 16

/* States of a home's record. The values are on disk. */
enum ly_record_state {
	LY_REC_DETACHED = 0, /* nobody holds the lease */
	LY_REC_ATTACHED = 1, /* `holder` does */
	LY_REC_PREPARED = 2, /* `holder` does; `to` may become the next */
	LY_REC_QUIESCED = 3, /* released by `holder`, not yet claimed */
	LY_REC_STATES
};
const char *ly_record_state_name(unsigned state);

/* One settled migration, mig(16) fate(u8) epoch(u64): the answer to "what
 * became of it?". The newest LY_FATES_KEPT are kept here; the manager's own
 * record keeps all. */
#define LY_SETTLED_LEN 25

struct ly_record {
	struct ly_id vm;
	char name[LY_NAME_MAX]; /* for people */
	char tpm[LY_NAME_MAX];	/* of this home's TPMs */
	uint8_t state;
	uint64_t epoch;
	char holder[LY_SPIFFE_MAX];
	uint8_t secret[LY_SECRET_LEN]; /* of the epoch */
	struct ly_id mig;	       /* pending: PREPARED, QUIESCED */
	char to[LY_SPIFFE_MAX];
	uint64_t to_epoch;
	uint64_t expires; /* of PREPARED, seconds since 1970 */
	uint64_t seq;	  /* at the last write; exact while QUIESCED */
	uint8_t settled[LY_FATES_KEPT][LY_SETTLED_LEN]; /* newest first */
};
extern const struct ly_message ly_record_message;

#endif
