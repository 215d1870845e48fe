/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 2.0 part 1: "Protected Storage" and "Credential Protection". Both wrap a
 * secret the same way: a seed only one TPM can find again, from it a key that
 * encrypts and a key that proves, both bound to a Name.
 */
#include "lib/attest/blob.h"

#define ALG_KEYEDHASH 0x0008
#define ALG_SHA256 0x000b
#define ALG_NULL 0x0010
/* Without fixedTPM and userWithAuth: imported, and used by its policy only.
 * noDA, adminWithPolicy. */
#define ATTRIBUTES 0x00000480u
#define SENSITIVE_MOST (LY_BLOB_DATA_MAX + 48)

/* ---- keys from a shared secret (part 1, KDFa and KDFe) ---- */

static void
put_word(struct ly_wr *w, const char *word)
{
	ly_wr_bytes(w, word, strlen(word) + 1);
}

static void
kdfa(const uint8_t seed[32], const char *label, struct ly_bytes context,
    uint32_t bits, uint8_t out[32])
{
	uint8_t buf[96];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_u32(&w, 1);
	put_word(&w, label);
	ly_wr_bytes(&w, context.at, context.len);
	ly_wr_u32(&w, bits);
	assert(!w.bad);
	ly_hmac(seed, 32, buf, ly_wr_len(&w), out);
}

static void
kdfe(const uint8_t z[32], const char *label, const uint8_t ours[32],
    const uint8_t theirs[32], uint8_t out[32])
{
	uint8_t buf[128];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_wr_u32(&w, 1);
	ly_wr_bytes(&w, z, 32);
	put_word(&w, label);
	ly_wr_bytes(&w, ours, 32);
	ly_wr_bytes(&w, theirs, 32);
	assert(!w.bad);
	ly_sha256(buf, ly_wr_len(&w), out);
	ly_wipe(buf, sizeof(buf));
}

static void
put_sized(struct ly_wr *w, const void *at, size_t len)
{
	ly_wr_u16(w, (uint16_t)len);
	ly_wr_bytes(w, at, len);
}

/* The seed, and what `key`'s TPM needs to find it again, sized. */
static enum ly_rc
share(const struct ly_tpm_key *key, const char *label, const uint8_t chance[32],
    uint8_t seed[32], struct ly_wr *w, struct ly_why *why)
{
	struct ly_point q;
	uint8_t z[32], sealed[LY_RSA_SIZE];
	enum ly_rc rc;

	if (key->rsa) {
		memcpy(seed, chance, 32);
		if (ly_rsa_oaep(key->modulus, 0, label, seed, 32, sealed) !=
		    LY_OK)
			return ly_fail(why, LY_MALFORMED, "an RSA key of none");
		put_sized(w, sealed, sizeof(sealed));
		return LY_OK;
	}
	rc = ly_point_of(chance, &q);
	if (rc == LY_OK)
		rc = ly_ecdh(chance, &key->point, z);
	if (rc != LY_OK)
		return ly_fail(why, rc, "no key from that chance");
	kdfe(z, label, q.x, key->point.x, seed);
	ly_wipe(z, sizeof(z));
	ly_wr_u16(w, 2 * (2 + 32));
	put_sized(w, q.x, sizeof(q.x));
	put_sized(w, q.y, sizeof(q.y));
	return LY_OK;
}

/* 2B( 2B(mac) | encrypted secret ): encrypts `secret` in place. */
static void
wrap(const uint8_t seed[32], const uint8_t name[LY_TPM_NAME], uint8_t *secret,
    size_t len, struct ly_wr *w)
{
	struct ly_bytes bound = { name, LY_TPM_NAME };
	uint8_t key[32], over[SENSITIVE_MOST + LY_TPM_NAME], mac[32];
	struct ly_wr o = ly_wr_over(over, sizeof(over));

	kdfa(seed, "STORAGE", bound, 128, key);
	ly_cfb_seal(key, secret, len);
	kdfa(seed, "INTEGRITY", (struct ly_bytes){ 0 }, 256, key);
	ly_wr_bytes(&o, secret, len);
	ly_wr_bytes(&o, name, LY_TPM_NAME);
	assert(!o.bad);
	ly_hmac(key, sizeof(key), over, ly_wr_len(&o), mac);
	ly_wipe(key, sizeof(key));
	ly_wr_u16(w, (uint16_t)(2 + sizeof(mac) + len));
	put_sized(w, mac, sizeof(mac));
	ly_wr_bytes(w, secret, len);
}

/* ---- a sealed object ---- */

/* Its TPMT_PUBLIC. */
static void
put_public(const struct ly_policy *policy, const uint8_t unique[32],
    struct ly_wr *w)
{
	ly_wr_u16(w, ALG_KEYEDHASH);
	ly_wr_u16(w, ALG_SHA256);
	ly_wr_u32(w, ATTRIBUTES);
	put_sized(w, policy->digest, sizeof(policy->digest));
	ly_wr_u16(w, ALG_NULL);
	put_sized(w, unique, 32);
}

/* Its TPMT_SENSITIVE, sized. */
static size_t
put_sensitive(const uint8_t seed_value[32], const void *data, size_t len,
    uint8_t out[SENSITIVE_MOST])
{
	struct ly_wr w = ly_wr_over(out, SENSITIVE_MOST);

	ly_wr_u16(&w, (uint16_t)(2 + 2 + 2 + 32 + 2 + len));
	ly_wr_u16(&w, ALG_KEYEDHASH);
	put_sized(&w, NULL, 0); /* no password */
	put_sized(&w, seed_value, 32);
	put_sized(&w, data, len);
	assert(!w.bad);
	return ly_wr_len(&w);
}

static struct ly_bytes
written(const struct ly_wr *w)
{
	assert(!w->bad);
	return (struct ly_bytes){ .at = w->start, .len = ly_wr_len(w) };
}

enum ly_rc
ly_blob_make(const struct ly_tpm_key *sk, const struct ly_policy *policy,
    const void *data, size_t len, const uint8_t chance[LY_BLOB_CHANCE],
    struct ly_blob_room *room, struct ly_key_blob *out, struct ly_why *why)
{
	const uint8_t *seed_value = chance + 32;
	const struct ly_bytes secret[] = { { seed_value, 32 }, { data, len } };
	uint8_t unique[32], seed[32], sensitive[SENSITIVE_MOST];
	struct ly_wr public = ly_wr_over(room->public, sizeof(room->public));
	struct ly_wr dup = ly_wr_over(room->duplicate, sizeof(room->duplicate));
	struct ly_wr w = ly_wr_over(room->seed, sizeof(room->seed));
	struct ly_wr size = public;
	enum ly_rc rc;

	assert(sk->use == LY_TPM_SK && len <= LY_BLOB_DATA_MAX);
	rc = share(sk, "DUPLICATE", chance, seed, &w, why);
	if (rc != LY_OK)
		return rc;
	ly_sha256_of(secret, LY_COUNT(secret), unique);
	ly_wr_u16(&public, 0);
	put_public(policy, unique, &public);
	ly_wr_u16(&size, (uint16_t)(ly_wr_len(&public) - 2));
	ly_tpm_name((struct ly_bytes){ room->public + 2,
			ly_wr_len(&public) - 2 },
	    room->name);
	wrap(seed, room->name, sensitive,
	    put_sensitive(seed_value, data, len, sensitive), &dup);
	ly_wipe(seed, sizeof(seed));
	ly_wipe(sensitive, sizeof(sensitive));
	*out = (struct ly_key_blob){ .public = written(&public),
		.duplicate = written(&dup),
		.seed = written(&w) };
	return LY_OK;
}

enum ly_rc
ly_blob_check(const struct ly_key_blob *blob, const struct ly_policy *policy,
    uint8_t name[LY_TPM_NAME], struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(blob->public.at, blob->public.len);
	size_t len = ly_rd_u16(&r);
	uint8_t want[128];
	struct ly_wr w = ly_wr_over(want, sizeof(want));
	const uint8_t *at = r.at;
	const uint8_t none[32] = { 0 };
	size_t fixed;

	put_public(policy, none, &w);
	fixed = ly_wr_len(&w) - sizeof(none);
	if (r.bad || len != ly_rd_left(&r) || len != ly_wr_len(&w))
		return ly_fail(why, LY_MALFORMED, "key: not a sealed object");
	if (!ly_same(at, want, fixed))
		return ly_fail(why, LY_REFUSED,
		    "key: sealed to another policy than this migration's");
	if (name)
		ly_tpm_name((struct ly_bytes){ at, len }, name);
	return LY_OK;
}

/* ---- a credential ---- */

enum ly_rc
ly_credential_make(const struct ly_tpm_key *ek, const uint8_t name[LY_TPM_NAME],
    const void *data, size_t len, const uint8_t chance[LY_BLOB_CHANCE],
    struct ly_credential_room *room, struct ly_enrol_dare *out,
    struct ly_why *why)
{
	uint8_t seed[32], secret[2 + LY_CREDENTIAL_MAX];
	struct ly_wr s = ly_wr_over(secret, sizeof(secret));
	struct ly_wr id = ly_wr_over(room->credential,
	    sizeof(room->credential));
	struct ly_wr w = ly_wr_over(room->secret, sizeof(room->secret));
	enum ly_rc rc;

	assert(ek->use == LY_TPM_EK && len <= LY_CREDENTIAL_MAX);
	rc = share(ek, "IDENTITY", chance, seed, &w, why);
	if (rc != LY_OK)
		return rc;
	put_sized(&s, data, len);
	wrap(seed, name, secret, ly_wr_len(&s), &id);
	ly_wipe(seed, sizeof(seed));
	ly_wipe(secret, sizeof(secret));
	*out = (struct ly_enrol_dare){ .credential = written(&id),
		.secret = written(&w) };
	return LY_OK;
}
