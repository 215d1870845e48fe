/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: one migration's key between the hosts of keys_scene.h, step by
 * step, as the manager asks for it. */
#ifndef LY_TESTS_KEYS_MOVE_H
#define LY_TESTS_KEYS_MOVE_H

#include "tests/io/keys_scene.h"

static struct ly_why why_said LY_UNUSED;

/* What the manager holds of one migration. */
static struct move {
	struct ly_call call;
	uint8_t signed_[LY_STATEMENT_MAX];
	size_t signed_len;
	uint8_t source[LY_EVIDENCE_MAX], dest[LY_EVIDENCE_MAX];
	size_t source_len, dest_len;
	uint8_t blob[LY_SEALED_MAX], nonce[LY_NONCE_TPM_MAX], confirm[32];
	size_t blob_len, nonce_len;
} m;

static inline struct ly_bytes
part(const uint8_t *at, size_t len)
{
	return (struct ly_bytes){ at, len };
}

static inline void
sign_call(struct ly_identity *by)
{
	uint8_t tagged[2048];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));

	ly_message_put_tagged(&ly_call_message, &m.call, &w);
	WANT(!w.bad);
	m.signed_len = sizeof(m.signed_);
	SITE_OK(ly_sign(by, LY_TYPE_CALL, tagged, ly_wr_len(&w), m.signed_,
	    &m.signed_len, &why));
}

/* Another migration: nobody knows of it yet. */
static inline void
begin(void)
{
	static uint8_t turn;

	scene_on();
	memset(&m, 0, sizeof(m));
	turn++;
	m.call = (struct ly_call){ .vm = { { 7 } },
		.mig = { { turn } },
		.nonce = { turn, 1 },
		.epoch = 5,
		.lanes = 2,
		.not_before = ly_wall_s(),
		.expires = ly_wall_s() + 300 };
	ly_copy(m.call.source, sizeof(m.call.source), north.id);
	ly_copy(m.call.dest, sizeof(m.call.dest), south.id);
	ly_copy(m.call.home, sizeof(m.call.home), north.id);
	ly_tpm_authority_name(&south.pol.key, m.call.policy);
	ly_class_ref(CLASS, south.list.generation, m.call.ref);
	sign_call(manager);
}

/* What went wrong, or "". */
static inline const char *
told(struct host *h)
{
	struct reply *r = wait_for(h);

	WANT_INT(r->req, next_req);
	WANT((r->rc == LY_OK) == !*r->why);
	return r->why;
}

static inline struct ly_quote
quote_of(uint8_t role)
{
	return (struct ly_quote){ .req = ++next_req,
		.vm = m.call.vm,
		.mig = m.call.mig,
		.role = role,
		.call = part(m.signed_, m.signed_len) };
}

/* The host in `role`, with the evidence that `by` makes for it. */
static inline const char *
call_with(struct host *h, uint8_t role, struct host *by, const char *file)
{
	struct ly_quote q = quote_of(role);
	struct ly_context c = context_of(&m.call, role);
	bool source = role == LY_AS_SOURCE;

	h->reply.told = false;
	WANT(ly_keys_call(h->keys, &q, &m.call));
	ly_keys_quoted(h->keys, &m.call.mig, LY_OK, "",
	    evidence_of(by, c, file));
	told(h);
	memcpy(source ? m.source : m.dest, h->reply.data, h->reply.len);
	*(source ? &m.source_len : &m.dest_len) = h->reply.len;
	return h->reply.why;
}

static inline void
call_both(void)
{
	WANT_STR(call_with(&north, LY_AS_SOURCE, &north, "n1"), "");
	WANT_STR(call_with(&south, LY_AS_DEST, &south, "s1"), "");
}

static inline struct ly_keying
keying(struct ly_bytes evidence, struct ly_bytes blob)
{
	return (struct ly_keying){ .req = ++next_req,
		.origin = "north",
		.vm = m.call.vm,
		.mig = m.call.mig,
		.evidence = evidence,
		.blob = blob };
}

static inline const char *
key_for(struct ly_bytes evidence)
{
	struct ly_keying k = keying(evidence, part(NULL, 0));

	north.reply.told = false;
	ly_keys_key(north.keys, &k);
	told(&north);
	memcpy(m.blob, north.reply.data,
	    ly_min(north.reply.len, sizeof(m.blob)));
	m.blob_len = north.reply.len;
	return north.reply.why;
}

static inline const char *
key(void)
{
	return key_for(part(m.dest, m.dest_len));
}

static inline const char *
import_of(struct ly_bytes evidence)
{
	struct ly_keying k = keying(evidence, part(m.blob, m.blob_len));

	south.reply.told = false;
	ly_keys_import(south.keys, &k);
	told(&south);
	memcpy(m.nonce, south.reply.data,
	    ly_min(south.reply.len, sizeof(m.nonce)));
	m.nonce_len = south.reply.len;
	return south.reply.why;
}

static inline const char *
import(void)
{
	return import_of(part(m.source, m.source_len));
}

/* The leave of who has FILE.key, for the session whose nonce is in `m`. */
static inline void
release(const char *file, uint8_t sig[LY_SIG_RAW])
{
	uint8_t ref[32], msg[LY_RELEASE_SIGNED_MAX], secret[32] = { 0 };
	FILE *f = fopen(site_path("%s.key", file), "r");
	EVP_PKEY *pkey = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	BIGNUM *d = NULL;
	size_t len;

	fclose(f);
	WANT(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &d) == 1);
	WANT(BN_bn2binpad(d, secret, sizeof(secret)) == 32);
	ly_release_ref(&m.call.mig, m.call.nonce, m.call.dest,
	    south.chip.keys.sk.name, ref);
	SITE_OK(ly_release_signed(part(m.nonce, m.nonce_len), ref, msg, &len,
	    &why));
	SITE_OK(ly_ecdsa_sign(secret, msg, len, sig));
	BN_free(d);
	EVP_PKEY_free(pkey);
}

static inline const char *
unlock_with(const uint8_t sig[LY_SIG_RAW])
{
	struct ly_keying k = keying(part(NULL, 0), part(sig, LY_SIG_RAW));

	south.reply.told = false;
	ly_keys_unlock(south.keys, &k);
	told(&south);
	if (south.reply.len == sizeof(m.confirm))
		memcpy(m.confirm, south.reply.data, sizeof(m.confirm));
	return south.reply.why;
}

static inline const char *
unlock(void)
{
	uint8_t sig[LY_SIG_RAW];

	release("m", sig);
	return unlock_with(sig);
}

static inline struct ly_copy
copy(void)
{
	struct ly_copy c = { .vm = m.call.vm,
		.mig = m.call.mig,
		.lanes = m.call.lanes };

	ly_copy(c.dest, sizeof(c.dest), m.call.dest);
	memcpy(c.confirm, m.confirm, sizeof(c.confirm));
	return c;
}

static inline void
want_part(const char *is, const char *part_)
{
	if (!strstr(is, part_))
		test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", is,
		    part_);
}

static inline void
unlock_all(void)
{
	begin();
	call_both();
	WANT_STR(key(), "");
	WANT_STR(import(), "");
	WANT_STR(unlock(), "");
}

#endif
