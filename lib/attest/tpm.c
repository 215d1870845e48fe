/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/attest/tpm.h"

/* TPM 2.0 part 2: algorithms, the curve, object attributes. */
#define ALG_RSA 0x0001
#define ALG_AES 0x0006
#define ALG_SHA256 0x000b
#define ALG_NULL 0x0010
#define ALG_ECDSA 0x0018
#define ALG_ECC 0x0023
#define ALG_CFB 0x0043
#define CURVE_P256 0x0003
#define AES_BITS 128

#define FIXED_TPM (1u << 1)
#define FIXED_PARENT (1u << 4)
#define MADE_INSIDE (1u << 5) /* sensitiveDataOrigin */
#define USER_WITH_AUTH (1u << 6)
#define ADMIN_WITH_POLICY (1u << 7)
#define NO_DA (1u << 10)
#define RESTRICTED (1u << 16)
#define DECRYPT (1u << 17)
#define SIGN (1u << 18)
#define BOUND (FIXED_TPM | FIXED_PARENT | MADE_INSIDE)

/* PolicySecret(endorsement hierarchy): of every TCG default EK. */
static const uint8_t ek_policy[32] = { 0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3,
	0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
	0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69,
	0xaa };

static const struct shape {
	const char *name;
	uint32_t attributes;
	bool policy;   /* ek_policy; else none */
	bool may_rsa;  /* else ECC only */
	bool aes;      /* a storage key's AES-128-CFB; else none */
	bool ecdsa;    /* with SHA-256; else no scheme */
	const char *x; /* of its template, padded with zeros */
} shapes[LY_TPM_USES] = {
	[LY_TPM_EK] = { "EK", BOUND | ADMIN_WITH_POLICY | RESTRICTED | DECRYPT,
	    true, true, true, false, "" },
	[LY_TPM_AK] = { "AK",
	    BOUND | USER_WITH_AUTH | NO_DA | RESTRICTED | SIGN, false, false,
	    false, true, "lanyard attestation key" },
	[LY_TPM_SK] = { "SK",
	    BOUND | USER_WITH_AUTH | NO_DA | RESTRICTED | DECRYPT, false, false,
	    true, false, "lanyard storage key" },
	[LY_TPM_AUTHORITY] = { "authority", USER_WITH_AUTH | SIGN, false, false,
	    false, false, "" },
};

static const struct {
	uint32_t bit;
	const char *name;
} attributes[] = {
	{ FIXED_TPM, "fixed to its TPM" },
	{ FIXED_PARENT, "fixed to its parent" },
	{ MADE_INSIDE, "made inside the TPM" },
	{ USER_WITH_AUTH, "used by its password" },
	{ ADMIN_WITH_POLICY, "administered by policy only" },
	{ NO_DA, "free of the protection against guessing" },
	{ RESTRICTED, "restricted" },
	{ DECRYPT, "for decryption" },
	{ SIGN, "for signing" },
};

const char *
ly_tpm_use_name(unsigned use)
{
	return use < LY_TPM_USES ? shapes[use].name : "?";
}

void
ly_tpm_name(struct ly_bytes area, uint8_t out[LY_TPM_NAME])
{
	out[0] = ALG_SHA256 >> 8;
	out[1] = ALG_SHA256 & 0xff;
	ly_sha256(area.at, area.len, out + 2);
}

/* ---- writing ---- */

static void
put_sized(struct ly_wr *w, const void *at, size_t len)
{
	ly_wr_u16(w, (uint16_t)len);
	ly_wr_bytes(w, at, len);
}

/* All but `unique`. */
static void
put_head(const struct shape *s, bool rsa, struct ly_wr *w)
{
	ly_wr_u16(w, rsa ? ALG_RSA : ALG_ECC);
	ly_wr_u16(w, ALG_SHA256);
	ly_wr_u32(w, s->attributes);
	put_sized(w, ek_policy, s->policy ? sizeof(ek_policy) : 0);
	ly_wr_u16(w, s->aes ? ALG_AES : ALG_NULL);
	if (s->aes) {
		ly_wr_u16(w, AES_BITS);
		ly_wr_u16(w, ALG_CFB);
	}
	ly_wr_u16(w, s->ecdsa ? ALG_ECDSA : ALG_NULL);
	if (s->ecdsa)
		ly_wr_u16(w, ALG_SHA256);
	if (rsa) {
		ly_wr_u16(w, LY_RSA_SIZE * 8);
		ly_wr_u32(w, 0); /* the exponent: 65537 */
	} else {
		ly_wr_u16(w, CURVE_P256);
		ly_wr_u16(w, ALG_NULL); /* the key derivation: by use */
	}
}

void
ly_tpm_key_put(enum ly_tpm_use use, const struct ly_point *point,
    struct ly_wr *w)
{
	put_head(&shapes[use], false, w);
	put_sized(w, point->x, sizeof(point->x));
	put_sized(w, point->y, sizeof(point->y));
}

void
ly_tpm_template(enum ly_tpm_use use, bool rsa, struct ly_wr *w)
{
	static const uint8_t zeros[LY_RSA_SIZE];
	struct ly_point unique = { { 0 }, { 0 } };

	assert(use < LY_TPM_AUTHORITY && (!rsa || shapes[use].may_rsa));
	memcpy(unique.x, shapes[use].x, strlen(shapes[use].x));
	if (!rsa) {
		ly_tpm_key_put(use, &unique, w);
		return;
	}
	put_head(&shapes[use], true, w);
	put_sized(w, zeros, sizeof(zeros));
}

void
ly_tpm_authority_name(const struct ly_point *key, uint8_t out[LY_TPM_NAME])
{
	uint8_t area[LY_PUBLIC_MAX];
	struct ly_wr w = ly_wr_over(area, sizeof(area));

	ly_tpm_key_put(LY_TPM_AUTHORITY, key, &w);
	ly_tpm_name((struct ly_bytes){ area, ly_wr_len(&w) }, out);
}

/* ---- reading ---- */

/* What the area says, as far as templates differ. */
struct said {
	uint16_t type, name_alg;
	uint32_t attributes;
	struct ly_bytes policy;
	uint16_t symmetric, symmetric_bits, symmetric_mode;
	uint16_t scheme, scheme_hash;
	uint16_t size; /* RSA: bits; ECC: the curve */
	uint32_t rest; /* RSA: the exponent; ECC: the key derivation */
	struct ly_bytes unique[2];
};

static struct ly_bytes
get_sized(struct ly_rd *r)
{
	size_t len = ly_rd_u16(r);
	const uint8_t *at = ly_rd_bytes(r, len);

	return (struct ly_bytes){ .at = at, .len = at ? len : 0 };
}

static bool
take_apart(struct ly_bytes area, struct said *out)
{
	struct ly_rd r = ly_rd_over(area.at, area.len);
	struct said s = { .type = ly_rd_u16(&r) };

	s.name_alg = ly_rd_u16(&r);
	s.attributes = ly_rd_u32(&r);
	s.policy = get_sized(&r);
	s.symmetric = ly_rd_u16(&r);
	if (s.symmetric != ALG_NULL) {
		s.symmetric_bits = ly_rd_u16(&r);
		s.symmetric_mode = ly_rd_u16(&r);
	}
	s.scheme = ly_rd_u16(&r);
	if (s.scheme != ALG_NULL)
		s.scheme_hash = ly_rd_u16(&r);
	s.size = ly_rd_u16(&r);
	s.rest = s.type == ALG_RSA ? ly_rd_u32(&r) : ly_rd_u16(&r);
	s.unique[0] = get_sized(&r);
	if (s.type == ALG_ECC)
		s.unique[1] = get_sized(&r);
	*out = s;
	return !r.bad && !ly_rd_left(&r);
}

static enum ly_rc
check_attributes(const struct shape *s, uint32_t said, struct ly_why *why)
{
	uint32_t differ = said ^ s->attributes;

	for (size_t i = 0; i < LY_COUNT(attributes); i++)
		if (differ & attributes[i].bit)
			return ly_fail(why, LY_REFUSED, "%s: %s%s", s->name,
			    said & attributes[i].bit ? "" : "not ",
			    attributes[i].name);
	if (differ)
		return ly_fail(why, LY_REFUSED, "%s: attributes %08x, not %08x",
		    s->name, said, s->attributes);
	return LY_OK;
}

/* Everything else of the template but the key itself. */
static const char *
differs(const struct shape *s, const struct said *a)
{
	bool rsa = a->type == ALG_RSA;

	if (a->type != ALG_ECC && !(rsa && s->may_rsa))
		return "not an ECC key";
	if (a->name_alg != ALG_SHA256)
		return "its Name is not a SHA-256";
	if (a->policy.len != (s->policy ? sizeof(ek_policy) : 0) ||
	    (s->policy && !ly_same(a->policy.at, ek_policy, a->policy.len)))
		return "another policy";
	if (a->symmetric != (s->aes ? ALG_AES : ALG_NULL) ||
	    a->symmetric_bits != (s->aes ? AES_BITS : 0) ||
	    a->symmetric_mode != (s->aes ? ALG_CFB : 0))
		return "another cipher";
	if (a->scheme != (s->ecdsa ? ALG_ECDSA : ALG_NULL) ||
	    a->scheme_hash != (s->ecdsa ? ALG_SHA256 : 0))
		return "another signature scheme";
	if (a->size != (rsa ? LY_RSA_SIZE * 8 : CURVE_P256) ||
	    a->rest != (rsa ? 0 : ALG_NULL))
		return rsa ? "not RSA-2048" : "not P-256";
	return NULL;
}

/* A TPM may leave out a number's leading zeros. */
static bool
number(struct ly_bytes from, uint8_t *out, size_t len)
{
	if (!from.len || from.len > len)
		return false;
	memset(out, 0, len - from.len);
	memcpy(out + len - from.len, from.at, from.len);
	return true;
}

static bool
the_key(const struct said *a, struct ly_tpm_key *k)
{
	if (k->rsa)
		return a->unique[0].len == LY_RSA_SIZE &&
		    number(a->unique[0], k->modulus, LY_RSA_SIZE);
	return number(a->unique[0], k->point.x, sizeof(k->point.x)) &&
	    number(a->unique[1], k->point.y, sizeof(k->point.y)) &&
	    ly_point_good(&k->point);
}

enum ly_rc
ly_tpm_key_read(enum ly_tpm_use use, struct ly_bytes area,
    struct ly_tpm_key *out, struct ly_why *why)
{
	const struct shape *s = &shapes[use];
	struct ly_tpm_key k = { .use = use, .area = area };
	struct said a;
	const char *bad;
	enum ly_rc rc;

	if (!take_apart(area, &a))
		return ly_fail(why, LY_MALFORMED, "%s: not a public area",
		    s->name);
	bad = differs(s, &a);
	if (bad)
		return ly_fail(why, LY_REFUSED, "%s: %s", s->name, bad);
	rc = check_attributes(s, a.attributes, why);
	if (rc != LY_OK)
		return rc;
	k.rsa = a.type == ALG_RSA;
	if (!the_key(&a, &k))
		return ly_fail(why, LY_MALFORMED, "%s: not a key", s->name);
	ly_tpm_name(area, k.name);
	*out = k;
	return LY_OK;
}
