/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which sites, hosts and VMs there are: what is known by name, in memory.
 * Pure: the caller lends the memory; what must last is in the store, and what
 * a host has only reported (its state, its guests) lasts as long as we do.
 *
 * Hosts of our own site come from the store; hosts of other sites from their
 * managers (SITEHOST). VMs whose home is here come from the store; VMs of
 * other sites that run on our hosts are `guests`: known by id alone.
 *
 * Entries never move: pointers stay good until the entry is removed. A limit
 * that is reached is LY_FULL with the limit in the text; nobody else notices.
 */
#ifndef LY_MANAGER_ROSTER_ROSTER_H
#define LY_MANAGER_ROSTER_ROSTER_H

#include "lib/wire/message.h"

#define LY_HOSTS_MAX 16384u
#define LY_VMS_MAX 131072u
#define LY_BUCKETS 65536u /* of each index; a power of two */
#define LY_TPMS_MAX 512

struct ly_place {
	char site[LY_NAME_MAX];
	char name[LY_NAME_MAX];
};

struct ly_host {
	bool used;
	uint32_t next; /* in its bucket; 0 ends it, else entry + 1 */
	struct ly_place at;
	char address[LY_ADDR_MAX]; /* of LINK and STREAM connections */
	char software[48];	   /* as it says itself */
	char tpms[LY_TPMS_MAX];	   /* names, with spaces between */
	bool up;		   /* it can be asked now */
	uint64_t since;		   /* of `up`'s last change, seconds */
	uint64_t revoked;	   /* since then, seconds; 0: it is not */
	uint32_t vms_most;	   /* it takes; 0: as many as come */
	uint64_t memory_most;	   /* MiB of them; 0: any */
	uint8_t standing;	   /* enum ly_standing */
	char class_[LY_NAME_MAX];  /* as it was enrolled; empty: it is not */
	char differs[LY_WHY_MAX];  /* its state, from what is approved */
	void *conn;	 /* the shell's; NULL for hosts of other sites */
	void *enrolling; /* the shell's: how it proves itself; or NULL */
};

struct ly_vm {
	bool used, guest;
	uint32_t next_id, next_name;
	struct ly_id id;
	char name[LY_NAME_MAX];
	char tpm[LY_NAME_MAX];
	bool bound;	      /* the home has said yes to it */
	struct ly_place home; /* for a guest only the site is known */
	struct ly_place at;   /* where it runs, or ran last; may be empty */
	uint64_t epoch, seq;
	uint8_t state;	   /* enum ly_vmstate_kind, as `at` has it */
	bool known;	   /* `at` has said so since it was last connected */
	bool lost;	   /* its host was given up during a migration */
	uint8_t vpcr_rule; /* enum ly_vpcr_rule: what its TPM's PCRs may be */
	bool vpcrs_known;
	uint8_t vpcrs[32]; /* as appraised last, or pinned: SHA-256 of them */
	bool unproved;	   /* quarantined: it came by a migration that was not
			* proved, and has not been started anew since */
	char why[LY_WHY_MAX];
	void *saga;	    /* the shell's: the migration in hand, or NULL */
	bool busy;	    /* something is being done to it for a caller */
	uint32_t priority;  /* in an evacuation: high first */
	uint64_t memory_mb; /* as its definition says; 0: it does not */
	bool unsaved;	    /* the store could not take its last change */
};

struct ly_roster {
	char site[LY_NAME_MAX]; /* ours */
	struct ly_host *hosts;	/* LY_HOSTS_MAX, zeroed */
	struct ly_vm *vms;	/* LY_VMS_MAX, zeroed */
	/* LY_BUCKETS each, zeroed */
	uint32_t *by_host, *by_id, *by_name;
	uint32_t hosts_n, vms_n;       /* high-water marks, for loops */
	uint32_t hosts_free, vms_free; /* chains of removed entries */
	uint32_t vms_here;	       /* used and not guests */
};

struct ly_roster_mem {
	struct ly_host *hosts;
	struct ly_vm *vms;
	uint32_t *buckets; /* 3 * LY_BUCKETS */
};

void ly_roster_init(struct ly_roster *r, const char *site,
    const struct ly_roster_mem *mem);

/* Adds it, or finds it if it is there already. */
LY_MUST enum ly_rc ly_roster_add_host(struct ly_roster *r, const char *site,
    const char *name, struct ly_host **out, struct ly_why *why);
void ly_roster_drop_host(struct ly_roster *r, struct ly_host *h);
/* Exactly this one; NULL if there is none. */
struct ly_host *ly_roster_host(const struct ly_roster *r, const char *site,
    const char *name);
/* "SITE/HOST", or "HOST" if only one site has it. What fails says which
 * there are. */
LY_MUST enum ly_rc ly_roster_find_host(const struct ly_roster *r,
    const char *text, struct ly_host **out, struct ly_why *why);

/* A VM whose home is here. LY_REFUSED if the name is taken. */
LY_MUST enum ly_rc ly_roster_add_vm(struct ly_roster *r, const struct ly_id *id,
    const char *name, struct ly_vm **out, struct ly_why *why);
/* A VM of another site; found if there already. LY_REFUSED if it is ours. */
LY_MUST enum ly_rc ly_roster_add_guest(struct ly_roster *r,
    const struct ly_id *id, const char *home_site, struct ly_vm **out,
    struct ly_why *why);
void ly_roster_drop_vm(struct ly_roster *r, struct ly_vm *vm);
struct ly_vm *ly_roster_vm(const struct ly_roster *r, const struct ly_id *id);
/* By name, or by id in UUID form. */
LY_MUST enum ly_rc ly_roster_find_vm(const struct ly_roster *r,
    const char *text, struct ly_vm **out, struct ly_why *why);

static inline bool
ly_place_same(const struct ly_place *a, const struct ly_place *b)
{
	return strcmp(a->site, b->site) == 0 && strcmp(a->name, b->name) == 0;
}
void ly_place_set(struct ly_place *p, const char *site, const char *name);
/* "SITE/HOST", or "nowhere"; for texts. */
#define LY_PLACE_TEXT (2 * LY_NAME_MAX)
const char *ly_place_text(const struct ly_place *p, char out[LY_PLACE_TEXT]);
/* "SITE/HOST" taken apart; LY_MALFORMED unless both are good names. */
LY_MUST enum ly_rc ly_place_parse(const char *text, struct ly_place *out);

/* One word or phrase for lists: "running", "off", "down at north/n1 (host
 * lost)", "unknown (north/n1 is not connected)". */
#define LY_VM_TEXT 240
const char *ly_vm_text(const struct ly_roster *r, const struct ly_vm *vm,
    char out[LY_VM_TEXT]);

/* Loops: NULL past the end. `i` starts at 0 and is moved on. */
struct ly_host *ly_roster_next_host(const struct ly_roster *r, uint32_t *i);
struct ly_vm *ly_roster_next_vm(const struct ly_roster *r, uint32_t *i);

#endif
