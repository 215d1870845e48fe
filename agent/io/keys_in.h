/* SPDX-License-Identifier: Apache-2.0 */
/* What keys.c (requests), keys_key.c (the key, in and out of a TPM) and
 * keys_seal.c (statements) share; for these three only. */
#ifndef LY_AGENT_IO_KEYS_IN_H
#define LY_AGENT_IO_KEYS_IN_H

#include "agent/io/keys.h"
#include "lib/attest/appraise.h"
#include "lib/attest/blob.h"
#include "lib/io/log.h"

/* Bytes that a migration keeps; free()d with it. */
struct kept {
	uint8_t *at;
	size_t len;
};

/* In memory for keys. */
struct secret {
	uint8_t key[LY_MIG_KEY_LEN];
	struct ly_stream_keys stream;
};

struct entry {
	struct entry *next;
	struct ly_keys *k;
	struct ly_hand core;
	uint32_t req;  /* who waits for what is being made; 0: nobody */
	unsigned jobs; /* of the TPM: it is not freed before they are done */
	uint64_t quote_ms; /* when the evidence was begun */

	struct ly_call call;
	struct ly_point manager; /* who has signed it */
	struct kept called, evidence, peer_evidence, blob;
	struct ly_peer peer; /* by its certificate */
	struct ly_appraise_host peer_host;
	struct ly_tpm_key sk; /* the destination's; its area is gone */
	uint8_t release[32];  /* policyRef of the manager's leave */
	uint8_t nonce[LY_NONCE_TPM_MAX];
	size_t nonce_len;
	uint8_t confirm[32];
	struct secret *secret; /* NULL: there is none */

	/* The statements, and who waits for them. */
	struct ly_sent sent;
	struct kept sent_by, sent_evidence, arrived_by, destroyed_by,
	    destroyed_evidence, proof;
	struct ly_seal seal;
	bool sent_quoting, destroyed_quoting;
	ly_keys_sealed *on_sealed;
	void *sealed_arg;
	ly_keys_told *on_proof;
	void *proof_arg;
};

struct ly_keys {
	struct ly_keys_params p;
	struct ly_keys_ops ops;
	void *arg;
	struct entry *first; /* the newest */
	unsigned n;
	uint64_t quote_took_ms; /* the last */
	uv_timer_t tick;
};

/* Another one in its place; nothing of `from` is held. */
void ly_kept_set(struct kept *to, struct ly_bytes from);
struct ly_bytes ly_kept_bytes(const struct kept *k);

/* keys.c */
struct entry *ly_entry_of(const struct ly_keys *k, const struct ly_id *mig);
struct ly_hand_event ly_entry_event(const struct entry *e,
    enum ly_hand_kind kind);
/* What was begun is done. */
void ly_entry_did(struct entry *e, enum ly_hand_kind kind, enum ly_rc rc,
    const char *why);
/* One of the stream's side: LY_OK, or the refusal. */
LY_MUST enum ly_rc ly_entry_step(struct entry *e,
    const struct ly_hand_event *ev, struct ly_why *why);
struct secret *ly_entry_secret(struct entry *e);

/* keys_key.c: each ends in ly_entry_did(), perhaps from within. */
void ly_entry_make(struct entry *e);
void ly_entry_import(struct entry *e);
void ly_entry_unlock(struct entry *e, struct ly_bytes release);
/* The other end's evidence. LY_OK: it is that host, fit, in an approved state
 * and with the class the call was made for (a destination). */
LY_MUST enum ly_rc ly_entry_appraise(struct entry *e, struct ly_bytes packed,
    struct ly_why *why);

#endif
