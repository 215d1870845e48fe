/* SPDX-License-Identifier: Apache-2.0 */
/* A policy authority, and lists that it signs. */
#ifndef LY_TESTS_APPROVED_SCENE_H
#define LY_TESTS_APPROVED_SCENE_H

#include "lib/attest/approved.h"

#define SCENE_PCRS 0x895u

struct authority {
	uint8_t secret[32];
	struct ly_point key;
};

struct list {
	struct ly_approved l;
	uint8_t pcrs[LY_APPROVED_ENTRIES][LY_PCRS_N * 32];
	uint8_t bytes[LY_APPROVED_MAX];
	size_t len;
};

static inline void
authority_make(struct authority *a, uint8_t seed)
{
	memset(a->secret, seed, sizeof(a->secret));
	assert(ly_point_of(a->secret, &a->key) == LY_OK);
}

/* PCR n of state `state` is 32 times state + n. */
static inline void
state_pcrs(uint8_t state, uint8_t pcr[LY_PCRS_N][32])
{
	for (unsigned i = 0; i < LY_PCRS_N; i++)
		memset(pcr[i], (int)(state + i), 32);
}

static inline struct ly_approved_entry *
list_add_of(struct list *l, const char *class, const char *note, uint32_t mask,
    const uint8_t pcr[LY_PCRS_N][32])
{
	struct ly_approved_entry *e = &l->l.of[l->l.n];
	struct ly_wr w = ly_wr_over(l->pcrs[l->l.n], sizeof(l->pcrs[0]));

	memset(e, 0, sizeof(*e));
	ly_approved_pack(mask, pcr, &w);
	e->pcrs = (struct ly_bytes){ w.start, ly_wr_len(&w) };
	e->mask = mask;
	e->when = 1700000000;
	ly_copy(e->class, sizeof(e->class), class);
	ly_copy(e->note, sizeof(e->note), note);
	l->l.n++;
	return e;
}

static inline struct ly_approved_entry *
list_add(struct list *l, const char *class, const char *note, uint8_t state)
{
	uint8_t pcr[LY_PCRS_N][32];

	state_pcrs(state, pcr);
	return list_add_of(l, class, note, SCENE_PCRS, pcr);
}

static inline void
sign_entries(struct list *l, const struct authority *a)
{
	uint8_t msg[LY_APPROVAL_SIGNED];

	for (unsigned i = 0; i < l->l.n; i++) {
		ly_approved_draft(&l->l.of[i], l->l.generation, msg);
		assert(ly_ecdsa_sign(a->secret, msg, sizeof(msg),
			   l->l.of[i].signature) == LY_OK);
	}
}

/* What is in the entries, as it is: wrong ones too. */
static inline struct ly_bytes
sign_whole(struct list *l, const struct authority *a)
{
	static uint8_t msg[LY_APPROVED_MAX + 64];
	struct ly_wr m = ly_wr_over(msg, sizeof(msg));
	struct ly_wr w = ly_wr_over(l->bytes, sizeof(l->bytes));
	uint8_t sig[LY_SIG_RAW];

	ly_approved_to_sign(&l->l, &m);
	assert(!m.bad);
	assert(ly_ecdsa_sign(a->secret, msg, ly_wr_len(&m), sig) == LY_OK);
	ly_approved_seal(&l->l, sig, &w);
	assert(!w.bad);
	l->len = ly_wr_len(&w);
	return (struct ly_bytes){ l->bytes, l->len };
}

static inline struct ly_bytes
sign_list(struct list *l, const struct authority *a)
{
	sign_entries(l, a);
	return sign_whole(l, a);
}

static inline void
list_start(struct list *l, const char *site, uint64_t serial,
    uint64_t generation)
{
	memset(&l->l, 0, sizeof(l->l));
	ly_copy(l->l.site, sizeof(l->l.site), site);
	l->l.serial = serial;
	l->l.generation = generation;
	l->l.issued = 1700000001;
}

#endif
