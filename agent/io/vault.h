/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vault: what a home knows, in a file that cannot be put back.
 *
 * Each version of the file is encrypted under a key of its own, and that key
 * is sealed by the host's TPM so that the TPM gives it out only while a
 * counter in it stands at that version. A write makes the file of version
 * counter + 1, syncs it, has the TPM count, and deletes the file before: from
 * then on no copy of an older version can be opened by anybody.
 *
 * What the vault promises: a version that was told (ly_vault_write() returned
 * LY_OK) is what the next start reads, or a later one that was being written;
 * never an earlier one, whatever was restored. To keep that when a write fails
 * half way, a version's number is told for one content alone: while another
 * content may lie somewhere sealed to counter + 1 (`exposed`; also after each
 * start, for a crash leaves no note), the next write counts twice.
 *
 * A lazy write is told when its file is synced, and counted by the next strict
 * one, which the caller makes within a second; if that fails, all are strict
 * until the TPM counts again. Its file says so in its head, and a start counts
 * for it. Between, a crash together with a restored disk
 * could bring the version before back.
 *
 * Everything blocks, and nothing is done twice at once: call at start or from
 * one job at a time.
 */
#ifndef LY_AGENT_IO_VAULT_H
#define LY_AGENT_IO_VAULT_H

#include "agent/io/vault_file.h"

enum ly_counter {
	LY_COUNTER_NONE, /* not defined */
	LY_COUNTER_NEW,	 /* defined, has never counted */
	LY_COUNTER_GOOD,
};

struct ly_vault_look {
	enum ly_counter counter;
	uint64_t value;		     /* of GOOD */
	uint32_t index;		     /* where it is */
	uint8_t name[LY_VAULT_NAME]; /* of GOOD */
	uint8_t owner[LY_VAULT_NAME];
};

/* What a vault asks of a TPM (vault_tpm.h; tests have others). */
struct ly_vault_chip {
	/* Something at the index that is no counter of ours: LY_REFUSED. */
	enum ly_rc (
	    *look)(void *arg, struct ly_vault_look *out, struct ly_why *why);
	/* Defines the counter unless it is there, and counts once. */
	enum ly_rc (*define)(void *arg, struct ly_why *why);
	/* LY_OK: it has counted. Else it may have, or not. */
	enum ly_rc (*count)(void *arg, struct ly_why *why);
	/* Seals `key` so that it opens while the counter is at out->version. */
	enum ly_rc (*seal)(void *arg, const uint8_t key[LY_GCM_KEY],
	    struct ly_vault_sealed *out, struct ly_why *why);
	enum ly_rc (*unseal)(void *arg, const struct ly_vault_sealed *in,
	    uint8_t key[LY_GCM_KEY], struct ly_why *why);
};

struct ly_vault;

/*
 * Finds the version the counter stands at. *body is malloc'd; NULL when this
 * is the first start of this host, or, with `anew`, when nothing that is there
 * can be opened: then the caller writes before it does anything else, and what
 * was there is kept aside as "vault.N.old". Every refusal says which version
 * the file has and what the counter says.
 */
LY_MUST enum ly_rc ly_vault_open(const char *dir,
    const struct ly_vault_chip *chip, void *arg, bool anew,
    struct ly_vault **out, uint8_t **body, size_t *len, struct ly_why *why);
/* Strict: on LY_OK the counter has counted. On failure it may have: the next
 * start reads what was told last, or this. */
LY_MUST enum ly_rc ly_vault_write(struct ly_vault *v, const uint8_t *body,
    size_t len, bool lazy, struct ly_why *why);
/* In idle time: makes the key of the next version, so that a write need not.
 * LY_FENCED: somebody else has counted, and a crash now would lose the vault;
 * write again. */
LY_MUST enum ly_rc ly_vault_ahead(struct ly_vault *v, struct ly_why *why);
/* What was told has not been counted: a strict write is due. */
bool ly_vault_owes(const struct ly_vault *v);
uint64_t ly_vault_version(const struct ly_vault *v);
void ly_vault_free(struct ly_vault *v);
/* There is a vault in this directory. */
bool ly_vault_there(const char *dir);

#endif
