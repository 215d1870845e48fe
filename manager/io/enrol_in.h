/* SPDX-License-Identifier: Apache-2.0 */
/* What enrol.c (asks, feeds the machine), enrol_row.c (judges, records,
 * certifies) and enrol_view.c share; for these alone. */
#ifndef LY_MANAGER_IO_ENROL_IN_H
#define LY_MANAGER_IO_ENROL_IN_H

#include "manager/io/enrol.h"

#define NEWS_MAX 4 /* found out while performing; asserted */

/* One host of ours; from its first attempt, or its row, until it is removed. */
struct ly_enrolling {
	struct ly_manager *m;
	struct ly_host *h;
	struct ly_enrolment core;
	bool renewal;		  /* of the attempt under way */
	bool unapproved;	  /* as its row says */
	char differs[LY_WHY_MAX]; /* how its state does, if it is unapproved */
	char class_[LY_NAME_MAX]; /* that it was certified for */
	uint32_t req;		  /* that is asked; 0: none */
	struct ly_enrolment_event news[NEWS_MAX];
	unsigned news_n;
	bool feeding;
	const char *unfreezer; /* for the record, while it is unfrozen */
	uint64_t waiter[LY_WATCHERS_MAX]; /* client ids; 0: none */
	struct ly_why why;		  /* of the last thing that failed */
	struct ly_try *try;		  /* NULL: nothing is under way */
};

/* An attempt: what was asked, and what is known so far. */
struct ly_try {
	char self[LY_SPIFFE_MAX];
	struct ly_enrol_asked asked;
	struct ly_enrol_facts facts;
	struct ly_enrol_row row; /* as it will be, once it is recorded */
	uint8_t *keys;		 /* BEGIN's answer as it came; malloc'd */
	size_t keys_len;
};

/* ---- enrol_row.c; each says in en->why what is wrong ---- */

/* A new attempt, from what the row says. Of a renewal: facts, too. */
LY_MUST enum ly_rc ly_try_new(struct ly_enrolling *en);
void ly_try_free(struct ly_enrolling *en);
/* The challenge for the keys that were shown; `out` is rendered into `room`. */
LY_MUST enum ly_rc ly_try_dare(struct ly_enrolling *en, uint8_t *room,
    size_t size, struct ly_bytes *out);
/* TAKE's data. */
LY_MUST enum ly_rc ly_try_papers(struct ly_enrolling *en, uint8_t *room,
    size_t size, struct ly_bytes *out);
enum ly_verdict ly_try_keys(struct ly_enrolling *en, struct ly_bytes data);
enum ly_verdict ly_try_proof(struct ly_enrolling *en, struct ly_bytes data);
enum ly_verdict ly_try_renewal(struct ly_enrolling *en, struct ly_bytes data);
enum ly_verdict ly_try_record(struct ly_enrolling *en);
enum ly_verdict ly_try_issue(struct ly_enrolling *en, uint64_t *ends);
/* Failures, and why, or who has unfrozen it, to disk. */
void ly_try_keep(struct ly_enrolling *en);

#endif
