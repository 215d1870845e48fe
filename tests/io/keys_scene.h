/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: two sites, a host with a TPM in each, enrolled and in a state that
 * its site approves; the manager of the first; and the keys of both hosts, told
 * by hand what managers tell. No VM, and no stream.
 */
#ifndef LY_TESTS_KEYS_SCENE_H
#define LY_TESTS_KEYS_SCENE_H

#include "agent/io/keys.h"
#include "lib/crypt/cert.h"
#include "lib/io/clock.h"
#include "lib/io/hostcert.h"
#include "lib/io/psk.h"
#include "tests/io/agent_chip.h"
#include "tests/unit/approved_scene.h"

#include <openssl/core_names.h>
#include <openssl/pem.h>

#define CLASS "compute"

/* Bytes that were answered. */
struct reply {
	bool told;
	uint32_t req;
	enum ly_rc rc;
	char why[LY_WHY_MAX];
	uint8_t data[LY_EVIDENCE_MAX];
	size_t len;
};

struct host {
	struct chip_host chip;
	const char *site, *name;
	char id[LY_SPIFFE_MAX];
	struct ly_identity *ids;
	struct ly_keys *keys;
	struct authority pol; /* of its site */
	struct list made;
	struct ly_approved list;
	struct reply reply;
};

static struct host north, south; /* the source; the destination */
static struct ly_identity *manager, *other_manager;
static uint32_t next_req;

/* ---- a host ---- */

/* FILE.key and FILE.pem of an enrolled host with these keys. */
static inline void
enrol_as(const char *file, const char *site, const char *id,
    const struct ly_chip_keys *k)
{
	struct ly_peer p;
	char *request = NULL, *cert = NULL;

	SITE_OK(ly_spiffe_parse(id, &p, &why));
	p.attested = true;
	ly_copy(p.class_, sizeof(p.class_), CLASS);
	p.reset_count = k->resets;
	p.restart_count = k->restarts;
	p.approval = 1;
	memcpy(p.ak_name, k->ak.name, sizeof(p.ak_name));
	memcpy(p.sk_name, k->sk.name, sizeof(p.sk_name));
	SITE_OK(ly_ca_request(id, site_path("%s.key", file), &request, &why));
	SITE_OK(ly_ca_sign_host(site_path("%s.ca.key", site),
	    site_path("%s.ca.pem", site), request, &p, 3600, &cert, &why));
	SITE_OK(ly_file_write(site_path("%s.pem", file), cert, strlen(cert),
	    0644, &why));
	free(request);
	free(cert);
}

/* Its site approves the state it is in. */
static inline void
approve(struct host *h, uint64_t generation)
{
	struct chip_reply r = { .told = 0 };
	uint8_t pcr[LY_PCRS_N][32] = { { 0 } }, none[32] = { 0 };
	unsigned at = 0;

	ly_chip_quote(h->chip.chip, none, LY_SEALED_PCRS, chip_told, &r);
	chip_want(&h->chip, &r, LY_OK, "");
	for (unsigned i = 0; i < LY_PCRS_N; i++)
		if (LY_SEALED_PCRS & 1u << i)
			memcpy(pcr[i], r.said.pcr[at++], 32);
	list_start(&h->made, h->site, generation, generation);
	list_add_of(&h->made, CLASS, "as it is", LY_SEALED_PCRS,
	    (const uint8_t(*)[32])pcr);
	SITE_OK(ly_approved_parse(sign_list(&h->made, &h->pol), h->site,
	    &h->pol.key, &h->list, &why));
}

/* ---- evidence ---- */

/* Evidence of `h` over `c`, but with the papers in FILE.pem. */
static inline struct ly_bytes
evidence_of(struct host *h, struct ly_context c, const char *file)
{
	static uint8_t packed[4][LY_EVIDENCE_MAX];
	static unsigned turn;
	struct ly_wr w = ly_wr_over(packed[turn++ % 4], sizeof(packed[0]));
	struct chip_reply r = { .told = 0 };
	uint8_t room[LY_CONTEXT_MAX], q[32], *pem = NULL;
	struct ly_evidence ev = { .ak = { h->chip.keys.ak.pub,
				      h->chip.keys.ak.pub_len },
		.sk = { h->chip.keys.sk.pub, h->chip.keys.sk.pub_len } };
	struct ly_cert_key key;
	size_t len = 0;

	SITE_OK(
	    ly_file_read(site_path("%s.pem", file), 65536, &pem, &len, &why));
	SITE_OK(ly_cert_key(pem, len, &key, &why));
	if (!*c.self)
		ly_copy(c.self, sizeof(c.self), h->id);
	memcpy(c.hk, key.spki, sizeof(c.hk));
	memcpy(c.sk_name, h->chip.keys.sk.name, sizeof(c.sk_name));
	ly_qualify_context(&c, room, &ev.context, q);
	ly_chip_quote(h->chip.chip, q, LY_SEALED_PCRS, chip_told, &r);
	chip_want(&h->chip, &r, LY_OK, "");
	ev.quote = (struct ly_bytes){ r.said.attest, r.said.attest_len };
	memcpy(ev.signature, r.said.sig, sizeof(ev.signature));
	ev.pcr_mask = r.said.mask;
	ev.pcrs = (struct ly_bytes){ r.said.pcr[0], 32 * r.said.pcrs_n };
	ev.certificate = (struct ly_bytes){ pem, len };
	ly_message_put(&ly_evidence_message, &ev, &w);
	WANT(!w.bad);
	free(pem);
	return (struct ly_bytes){ w.start, ly_wr_len(&w) };
}

/* What a host that is asked in `role` quotes. */
static inline struct ly_context
context_of(const struct ly_call *call, uint8_t role)
{
	struct ly_context c = { .role = (uint8_t)ly_quote_type_of(role),
		.vm = call->vm,
		.mig = call->mig,
		.epoch = call->epoch };

	memcpy(c.nonce, call->nonce, sizeof(c.nonce));
	ly_copy(c.source, sizeof(c.source), call->source);
	ly_copy(c.dest, sizeof(c.dest), call->dest);
	ly_copy(c.home, sizeof(c.home), call->home);
	return c;
}

/* ---- what the keys ask for ---- */

static inline void
on_answer(void *arg, const struct ly_done *m)
{
	struct host *h = arg;

	h->reply.told = true;
	h->reply.req = m->req;
	h->reply.rc = (enum ly_rc)m->rc;
	ly_copy(h->reply.why, sizeof(h->reply.why), m->why);
	WANT(m->data.len <= sizeof(h->reply.data));
	if (m->data.len)
		memcpy(h->reply.data, m->data.at, m->data.len);
	h->reply.len = m->data.len;
}

static inline const struct ly_approved *
on_approved(void *arg, const char *site, struct ly_point *key)
{
	struct host *of = strcmp(site, north.site) == 0 ? &north : &south;

	(void)arg;
	*key = of->pol.key;
	return of->list.n ? &of->list : NULL;
}

/* One quote at a time; told from a timer, as the loop would. */
struct asked {
	uv_timer_t timer;
	struct host *h;
	struct ly_context c;
	ly_keys_told *told;
	void *arg;
};

static inline void
asked_free(uv_handle_t *handle)
{
	free(handle->data);
}

static inline void
on_asked(uv_timer_t *timer)
{
	struct asked *a = timer->data;
	struct ly_bytes ev = evidence_of(a->h, a->c, a->h->name);

	a->told(a->arg, LY_OK, "", ev);
	uv_close((uv_handle_t *)timer, asked_free);
}

static inline void
on_quote(void *arg, const struct ly_context *c, ly_keys_told *told,
    void *told_arg)
{
	struct host *h = arg;
	struct asked *a = calloc(1, sizeof(*a));

	WANT(a);
	*a = (struct asked){ .h = h, .c = *c, .told = told, .arg = told_arg };
	uv_timer_init(&h->chip.loop, &a->timer);
	a->timer.data = a;
	uv_timer_start(&a->timer, on_asked, 0, 0);
}

/* ---- the whole ---- */

static const struct ly_keys_ops keys_ops = { .answer = on_answer,
	.approved = on_approved,
	.quote = on_quote };

static inline void
keys_on(struct host *h)
{
	struct ly_keys_params p = { .loop = &h->chip.loop,
		.ids = h->ids,
		.chip = h->chip.chip,
		.fin_quote = LY_FIN_INLINE };

	SITE_OK(ly_keys_open(&p, &keys_ops, h, &h->keys, &why));
}

static inline void
host_on(struct host *h, const char *site, const char *name, uint8_t seed)
{
	h->site = site;
	h->name = name;
	site_make(site);
	ly_spiffe_host(site, name, h->id);
	chip_power_on(&h->chip);
	chip_ready(&h->chip);
	enrol_as(name, site, h->id, &h->chip.keys);
	authority_make(&h->pol, seed);
	approve(h, 1);
}

/* Both hosts, from nothing but their TPMs. */
static inline void
scene_on(void)
{
	if (!manager) {
		host_on(&north, "north", "n1", 11);
		host_on(&south, "south", "s1", 12);
		site_certify("m", "north", "spiffe://north/manager/m");
		site_certify("m2", "north", "spiffe://north/manager/m2");
		manager = site_load("m", "trust");
		other_manager = site_load("m2", "trust");
		north.ids = site_load("n1", "trust");
		south.ids = site_load("s1", "trust");
	}
	if (!north.keys)
		keys_on(&north);
	if (!south.keys)
		keys_on(&south);
}

static inline void
scene_off(void)
{
	struct host *const both[] = { &north, &south };

	for (unsigned i = 0; i < 2; i++) {
		ly_keys_close(both[i]->keys);
		chip_power_off(&both[i]->chip);
		ly_identity_free(both[i]->ids);
	}
	ly_identity_free(manager);
	ly_identity_free(other_manager);
}

/* Its agent is started again: it knows nothing. */
static inline void
agent_again(struct host *h)
{
	ly_keys_close(h->keys);
	uv_run(&h->chip.loop, UV_RUN_NOWAIT);
	h->keys = NULL;
	keys_on(h);
}

static inline struct reply *
wait_for(struct host *h)
{
	while (!h->reply.told)
		uv_run(&h->chip.loop, UV_RUN_ONCE);
	return &h->reply;
}

#endif
