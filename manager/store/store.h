/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a manager must remember over a crash: hosts, peers, VMs, migrations,
 * and a journal of what was done. A store keeps rows; a row has a kind, a key
 * and a struct that a table describes (lib/wire/field.h), kept as one JSON
 * object so that a person can read it and a later version can add fields:
 * what is missing reads as zero, what is unknown is skipped.
 *
 * One call is one transaction: when it returns LY_OK, it is on disk. When it
 * returns LY_OUTSIDE (full, locked, read-only, broken) nothing has changed,
 * and ly_store_health() says what is wrong until a write succeeds again.
 *
 * The calls block for the time of a disk flush.
 */
#ifndef LY_MANAGER_STORE_STORE_H
#define LY_MANAGER_STORE_STORE_H

#include "lib/wire/message.h"

#include <jansson.h>

enum ly_row_kind {
	LY_ROW_HOST = 1,
	LY_ROW_PEER = 2,
	LY_ROW_VM = 3,
	LY_ROW_MIG = 4,
	LY_ROW_CERT = 5,
	LY_ROW_HEAD = 6,
	LY_ROW_ENROL = 7,
	LY_ROW_EVAC = 8,
	LY_ROW_KINDS
};

struct ly_host_row {
	char name[LY_NAME_MAX]; /* the key */
	char address[LY_ADDR_MAX];
	uint64_t added, cert_expires; /* seconds since 1970 */
	uint64_t revoked;	      /* since then; 0: it is not */
	char ek[80];		      /* its TPM's, as manager/enrol/pin.h */
	char class_[LY_NAME_MAX];     /* of hosts */
	uint32_t vms_most;	      /* 0: as many as come */
	uint64_t memory_most;	      /* MiB; 0: any */
};

struct ly_peer_row {
	char site[LY_NAME_MAX]; /* the key */
	char address[LY_ADDR_MAX];
};

struct ly_vm_row {
	struct ly_id id; /* the key */
	char name[LY_NAME_MAX];
	char home[LY_NAME_MAX]; /* a host of ours */
	char tpm[LY_NAME_MAX];
	uint8_t bound;
	char at_site[LY_NAME_MAX], at_host[LY_NAME_MAX];
	uint8_t lost;
	uint64_t epoch;
	uint8_t unproved;  /* since a migration whose proof was wrong */
	uint8_t vpcr_rule; /* enum ly_vpcr_rule */
	char vpcrs[65];	   /* hex; empty: not known */
	char definition[LY_DEFINITION_MAX + 1]; /* JSON */
	uint32_t priority; /* who is moved first when a place is emptied */
};

struct ly_mig_row {
	struct ly_id id; /* the key */
	struct ly_id vm;
	char vm_name[LY_NAME_MAX];
	uint8_t state, tell, calloff, lost, fate; /* struct ly_saga_rec */
	uint64_t epoch;
	uint64_t from_epoch;
	char home[LY_NAME_MAX];
	char from_site[LY_NAME_MAX], from_host[LY_NAME_MAX];
	char to_site[LY_NAME_MAX], to_host[LY_NAME_MAX];
	char to_address[LY_ADDR_MAX]; /* where COPY is to send it */
	uint64_t bandwidth;
	uint32_t downtime_ms;
	uint64_t commands_before, commands_after;
	uint64_t started, changed; /* milliseconds since 1970 */
	char result[LY_VALUE_MAX]; /* of COPY: JSON, or empty */
	char why[LY_WHY_MAX];
	uint8_t attest;	   /* struct ly_saga_rec */
	uint8_t lanes;	   /* of an attested one */
	uint8_t proved;	   /* enum ly_proved */
	uint8_t before;	   /* its VM was quarantined when it began */
	struct ly_id evac; /* the evacuation it is part of, or none */
};

/* Of an attested migration, once it has committed. */
enum ly_proved {
	LY_PROVED_NOT_YET = 0,
	LY_PROVED_GOOD = 1,
	LY_PROVED_WRONG = 2,
};

/* A certificate that this site's CA has issued to a host. */
struct ly_cert_row {
	char serial[48]; /* the key; hex */
	char host[LY_NAME_MAX];
	uint64_t not_after;
	uint64_t revoked; /* 0: it is not */
	uint8_t reason;	  /* CRLReason of X.509 */
};

/* The newest head of a site's permanent record that is known: our own, signed
 * by this manager; another site's, as its manager told us; and what another
 * site's manager has told us of ours. */
struct ly_head_row {
	char
	    key[LY_NAME_MAX + 4]; /* the key: SITE, or "by.SITE" for the last */
	char text[512];		  /* ours: as ly_head_put() writes it */
	char sig[192];		  /* ours: of the text, DER in hex */
	char told[5120]; /* the others: a signed struct ly_head, in hex */
};

/* What a host has proved about its TPM and itself, and what it was given for
 * that. Bytes are in hex. */
#define LY_HEX(bytes) (2 * (bytes) + 1)
struct ly_enrol_row {
	char host[LY_NAME_MAX]; /* the key */
	uint32_t failures;	/* proofs, since the last good one */
	uint64_t frozen;   /* since then, seconds since 1970; 0: it is not */
	uint64_t enrolled; /* its keys, first */
	uint64_t attested; /* last good quote */
	uint64_t issued, ends;		/* of its certificate; 0: none */
	char serial[48], ak_serial[48]; /* of both certificates */
	char before[48], ak_before[48]; /* of those before */
	uint64_t before_ends;
	char ek[LY_HEX(512)], ak[LY_HEX(160)],
	    sk[LY_HEX(160)];	    /* TPMT_PUBLIC */
	char ek_sha256[LY_HEX(32)]; /* of its SubjectPublicKeyInfo */
	char ek_serial[48];	    /* of its certificate; or empty */
	char ek_by[40];		    /* how it was believed */
	char ak_name[LY_HEX(34)], sk_name[LY_HEX(34)];
	char hk[LY_HEX(32)]; /* SHA-256 of its TLS key's SubjectPublicKeyInfo */
	uint32_t reset_count, restart_count;
	uint64_t firmware; /* of the TPM, as it says */
	uint32_t pcr_mask;
	char pcrs[LY_HEX(24 * 32)]; /* of the mask, ascending */
	char log[LY_HEX(32)];	    /* SHA-256 of its event log */
	char class_[LY_NAME_MAX];   /* that it was certified for */
	uint64_t approval;  /* generation of the list that has its state */
	uint8_t unapproved; /* there is a list, and its state is not in it */
	char state[LY_WHY_MAX]; /* what differs */
	char why[LY_WHY_MAX];	/* it is not enrolled, or was refused last */
	char csr[3072], certificate[4096], ak_certificate[4096]; /* PEM */
};

/* An evacuation: what is wanted. What became of each VM is in the rows of the
 * migrations that name it. */
struct ly_evac_row {
	struct ly_id id; /* the key */
	char from_site[LY_NAME_MAX];
	char from_host[LY_NAME_MAX]; /* empty: all of the site's */
	char to_site[LY_NAME_MAX];
	uint32_t parallel;
	uint64_t bandwidth; /* of all together, bytes a second; 0: no limit */
	uint8_t state;	    /* enum ly_evac_state */
	uint64_t begun;	    /* ms since 1970: earlier tries do not count */
	char who[64];	    /* asked for it */
};

/* The table of a kind, and the key of a row of it (text, for people). */
const struct ly_message *ly_row_table(enum ly_row_kind kind);
#define LY_KEY_MAX (LY_NAME_MAX + 4)
void ly_row_key(enum ly_row_kind kind, const void *row, char out[LY_KEY_MAX]);

/* A peer's words may not be UTF-8, and then they are not ours to repeat. */
json_t *ly_json_text(const char *text);
/* By any table without BYTES: ids in UUID form, integers, texts. */
json_t *ly_row_json(const struct ly_message *table, const void *row);
LY_MUST enum ly_rc ly_row_from_json(const struct ly_message *table,
    const json_t *from, void *row, struct ly_why *why);

struct ly_store;

/* A line of the permanent record, and by what it is found again. */
struct ly_store_line {
	uint64_t n;
	const char *name, *vm, *mig; /* "" if it has none */
	const char *line;	     /* as manager/record/chain.h says */
};
struct ly_lines_wish {
	uint64_t from;		     /* this one and later */
	const char *name, *vm, *mig; /* one of them at most; NULL: any */
};
typedef enum ly_rc ly_store_on_line(void *arg, const struct ly_store_line *line,
    struct ly_why *why);
typedef enum ly_rc ly_store_on_kept(void *arg, const char *what,
    struct ly_bytes bytes, struct ly_why *why);

/* How a store is made is its own; this is what every one can do. */
struct ly_store_ops {
	/* Puts `rows` (and the journal's line, if any) all or not at all. */
	enum ly_rc (*put)(struct ly_store *s, enum ly_row_kind kind,
	    const char *key, const char *json, const char *journal,
	    struct ly_why *why);
	enum ly_rc (*del)(struct ly_store *s, enum ly_row_kind kind,
	    const char *key, const char *journal, struct ly_why *why);
	enum ly_rc (*get)(struct ly_store *s, enum ly_row_kind kind,
	    const char *key, char **json, struct ly_why *why);
	enum ly_rc (*each)(struct ly_store *s, enum ly_row_kind kind,
	    enum ly_rc (*on_row)(void *arg, const char *key, const char *json,
		struct ly_why *why),
	    void *arg, struct ly_why *why);
	/* What is put until end() is there all or not at all. Not nested. */
	enum ly_rc (*begin)(struct ly_store *s, struct ly_why *why);
	enum ly_rc (*end)(struct ly_store *s, bool keep, struct ly_why *why);
	/* The permanent record: it can be added to, and that is all. */
	enum ly_rc (*append)(struct ly_store *s,
	    const struct ly_store_line *line, struct ly_why *why);
	enum ly_rc (*lines)(struct ly_store *s,
	    const struct ly_lines_wish *wish, ly_store_on_line *on_line,
	    void *arg, struct ly_why *why);
	/* What a migration's receipt is made of; put again, it is replaced. */
	enum ly_rc (*keep)(struct ly_store *s, const char *mig,
	    const char *what, struct ly_bytes bytes, struct ly_why *why);
	enum ly_rc (*kept)(struct ly_store *s, const char *mig,
	    ly_store_on_kept *on_kept, void *arg, struct ly_why *why);
	void (*close)(struct ly_store *s);
};

struct ly_store {
	const struct ly_store_ops *ops;
	bool ill;
	struct ly_why health;
	uint64_t writes, failures;
};

/* SQLite, in `path`; made if there is none. */
LY_MUST enum ly_rc ly_store_open(const char *path, struct ly_store **out,
    struct ly_why *why);
void ly_store_close(struct ly_store *s);

/* `journal`: one line of what was done and why, or NULL. */
LY_MUST enum ly_rc ly_store_put(struct ly_store *s, enum ly_row_kind kind,
    const void *row, const char *journal, struct ly_why *why);
LY_MUST enum ly_rc ly_store_del(struct ly_store *s, enum ly_row_kind kind,
    const char *key, const char *journal, struct ly_why *why);
/* LY_UNKNOWN when there is none. */
LY_MUST enum ly_rc ly_store_get(struct ly_store *s, enum ly_row_kind kind,
    const char *key, void *row, struct ly_why *why);
/* Every row, in the order of keys; stops at the first that is not LY_OK. */
typedef enum ly_rc ly_store_on_row(void *arg, const void *row,
    struct ly_why *why);
LY_MUST enum ly_rc ly_store_each(struct ly_store *s, enum ly_row_kind kind,
    ly_store_on_row *on_row, void *arg, struct ly_why *why);

/* Several puts in one transaction: begin, then end with `keep` if all went
 * well. LY_OK of end: on disk. A failure of any has changed nothing, once
 * ended. */
LY_MUST enum ly_rc ly_store_begin(struct ly_store *s, struct ly_why *why);
LY_MUST enum ly_rc ly_store_end(struct ly_store *s, bool keep,
    struct ly_why *why);
LY_MUST enum ly_rc ly_store_append(struct ly_store *s,
    const struct ly_store_line *line, struct ly_why *why);
/* In their order; stops at the first that is not LY_OK. */
LY_MUST enum ly_rc ly_store_lines(struct ly_store *s,
    const struct ly_lines_wish *wish, ly_store_on_line *on_line, void *arg,
    struct ly_why *why);
LY_MUST enum ly_rc ly_store_keep(struct ly_store *s, const struct ly_id *mig,
    const char *what, struct ly_bytes bytes, struct ly_why *why);
LY_MUST enum ly_rc ly_store_kept(struct ly_store *s, const struct ly_id *mig,
    ly_store_on_kept *on_kept, void *arg, struct ly_why *why);

/* "good", or what was wrong with the last write. */
const char *ly_store_health(const struct ly_store *s);

#endif
