/* SPDX-License-Identifier: Apache-2.0 */
/* The two extensions of an enrolled host's certificate. Their DER is so small
 * that every length is one byte, and every length but the shortest is wrong. */
#include "lib/io/hostcert.h"

#include <openssl/x509v3.h>

#define TAG_INTEGER 0x02
#define TAG_OCTETS 0x04
#define TAG_SEQUENCE 0x30
#define SHORT_MOST 127 /* bytes that a length of one byte can say */

/* 2.25.20846238016603469010150456982820421833, as DER's content. */
#define OUR_ARC                                                                \
	0x69, 0x9f, 0xae, 0xeb, 0xb8, 0xe2, 0xb6, 0x82, 0x94, 0xd7, 0xa6,      \
	    0x8b, 0x8d, 0xbe, 0xdc, 0xb8, 0x94, 0x81, 0x49
static const uint8_t host_oid[] = { OUR_ARC, 1 };
static const uint8_t class_oid[] = { OUR_ARC, 2 };

static ASN1_OBJECT *
object(const uint8_t *content, size_t len)
{
	uint8_t der[sizeof(class_oid) + LY_NAME_MAX + 2];
	struct ly_wr w = ly_wr_over(der, sizeof(der));
	const uint8_t *at = der;

	ly_wr_u8(&w, V_ASN1_OBJECT);
	ly_wr_u8(&w, (uint8_t)len);
	ly_wr_bytes(&w, content, len);
	return w.bad || len > SHORT_MOST ?
	    NULL :
	    d2i_ASN1_OBJECT(NULL, &at, (long)ly_wr_len(&w));
}

/* ---- lanyardHost ---- */

static void
put_uint(struct ly_wr *w, uint64_t v)
{
	size_t n = 1;

	while (n < 9 && v >> (8 * n - 1)) /* DER: signed, and the shortest */
		n++;
	ly_wr_u8(w, TAG_INTEGER);
	ly_wr_u8(w, (uint8_t)n);
	if (n == 9)
		ly_wr_u8(w, 0);
	ly_wr_uint(w, v, ly_min(n, 8u));
}

static void
put_name(struct ly_wr *w, const uint8_t name[LY_TPM_NAME_LEN])
{
	ly_wr_u8(w, TAG_OCTETS);
	ly_wr_u8(w, LY_TPM_NAME_LEN);
	ly_wr_bytes(w, name, LY_TPM_NAME_LEN);
}

static size_t
render(const struct ly_peer *host, uint8_t *out, size_t size)
{
	uint8_t inner[SHORT_MOST];
	struct ly_wr in = ly_wr_over(inner, sizeof(inner));
	struct ly_wr w = ly_wr_over(out, size);

	put_name(&in, host->ak_name);
	put_name(&in, host->sk_name);
	put_uint(&in, host->reset_count);
	put_uint(&in, host->restart_count);
	put_uint(&in, host->approval);
	ly_wr_u8(&w, TAG_SEQUENCE);
	ly_wr_u8(&w, (uint8_t)ly_wr_len(&in));
	ly_wr_bytes(&w, inner, ly_wr_len(&in));
	assert(!in.bad && !w.bad); /* 101 bytes at the most */
	return ly_wr_len(&w);
}

static void
need(struct ly_rd *r, uint8_t byte)
{
	if (ly_rd_u8(r) != byte)
		r->bad = true;
}

static uint64_t
get_uint(struct ly_rd *r)
{
	size_t n;

	need(r, TAG_INTEGER);
	n = ly_rd_u8(r);
	if (n == 9) {
		need(r, 0);
		n = 8;
	}
	if (n < 1 || n > 8) {
		r->bad = true;
		return 0;
	}
	return ly_rd_uint(r, n);
}

static void
get_name(struct ly_rd *r, uint8_t out[LY_TPM_NAME_LEN])
{
	const uint8_t *at;

	need(r, TAG_OCTETS);
	need(r, LY_TPM_NAME_LEN);
	at = ly_rd_bytes(r, LY_TPM_NAME_LEN);
	if (at)
		memcpy(out, at, LY_TPM_NAME_LEN);
}

/* Only what render() makes of it again to the byte: so nothing behind it, no
 * number too large or negative, and no form but the shortest. */
static bool
parse(const uint8_t *der, size_t len, struct ly_peer *out)
{
	uint8_t again[SHORT_MOST + 2];
	struct ly_rd r = ly_rd_over(der, len);

	need(&r, TAG_SEQUENCE);
	if (ly_rd_u8(&r) != ly_rd_left(&r))
		return false;
	get_name(&r, out->ak_name);
	get_name(&r, out->sk_name);
	out->reset_count = (uint32_t)get_uint(&r);
	out->restart_count = (uint32_t)get_uint(&r);
	out->approval = get_uint(&r);
	return !r.bad && render(out, again, sizeof(again)) == len &&
	    memcmp(again, der, len) == 0;
}

static bool
add_host(X509 *cert, const struct ly_peer *host)
{
	uint8_t der[SHORT_MOST + 2];
	size_t len = render(host, der, sizeof(der));
	ASN1_OBJECT *oid = object(host_oid, sizeof(host_oid));
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *e = NULL;
	bool ok = oid && value && ASN1_OCTET_STRING_set(value, der, (int)len) &&
	    (e = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value)) &&
	    X509_add_ext(cert, e, -1);

	X509_EXTENSION_free(e);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(oid);
	return ok;
}

/* 1 and its value, 0 when there is none, 2 when there are more. */
static int
find_host(const X509 *cert, struct ly_bytes *out)
{
	ASN1_OBJECT *oid = object(host_oid, sizeof(host_oid));
	int at = oid ? X509_get_ext_by_OBJ(cert, oid, -1) : -1, n = 0;

	if (at >= 0) {
		ASN1_OCTET_STRING *v = X509_EXTENSION_get_data(
		    X509_get_ext(cert, at));

		out->at = ASN1_STRING_get0_data(v);
		out->len = (size_t)ASN1_STRING_length(v);
		n = X509_get_ext_by_OBJ(cert, oid, at) < 0 ? 1 : 2;
	}
	ASN1_OBJECT_free(oid);
	return n;
}

/* ---- the class ---- */

static bool
add_class(X509 *cert, const char *name)
{
	uint8_t content[sizeof(class_oid) + LY_NAME_MAX];
	size_t len = strnlen(name, LY_NAME_MAX - 1);
	CERTIFICATEPOLICIES *all = sk_POLICYINFO_new_null();
	POLICYINFO *one = POLICYINFO_new();
	bool ok;

	memcpy(content, class_oid, sizeof(class_oid));
	memcpy(content + sizeof(class_oid), name, len);
	if (one) {
		ASN1_OBJECT_free(one->policyid);
		one->policyid = object(content, sizeof(class_oid) + len);
	}
	ok = all && one && one->policyid && sk_POLICYINFO_push(all, one);
	if (!ok)
		POLICYINFO_free(one);
	ok = ok &&
	    X509_add1_ext_i2d(cert, NID_certificate_policies, all, 0, 0) == 1;
	sk_POLICYINFO_pop_free(all, POLICYINFO_free);
	return ok;
}

static bool
class_of(const POLICYINFO *p, char out[LY_NAME_MAX])
{
	const uint8_t *at = OBJ_get0_data(p->policyid);
	size_t len = OBJ_length(p->policyid), head = sizeof(class_oid);

	if (len <= head || len - head >= LY_NAME_MAX || p->qualifiers ||
	    memcmp(at, class_oid, head) != 0)
		return false;
	memcpy(out, at + head, len - head);
	out[len - head] = '\0';
	return strlen(out) == len - head && ly_name_good(out);
}

/* The one policy, in our form: LY_OK. No policies at all: LY_UNKNOWN. */
static enum ly_rc
find_class(const X509 *cert, char out[LY_NAME_MAX])
{
	int crit = 0;
	CERTIFICATEPOLICIES *all = X509_get_ext_d2i(cert,
	    NID_certificate_policies, &crit, NULL);
	bool good = all && sk_POLICYINFO_num(all) == 1 &&
	    class_of(sk_POLICYINFO_value(all, 0), out);

	sk_POLICYINFO_pop_free(all, POLICYINFO_free);
	if (!all && crit == -1)
		return LY_UNKNOWN;
	return good ? LY_OK : LY_REFUSED;
}

/* ---- both ---- */

bool
ly_hostcert_add(X509 *cert, const struct ly_peer *host)
{
	return ly_name_good(host->class_) && add_host(cert, host) &&
	    add_class(cert, host->class_);
}

enum ly_rc
ly_hostcert_read(const X509 *cert, struct ly_peer *out, struct ly_why *why)
{
	struct ly_bytes ext = { NULL, 0 };
	int n = find_host(cert, &ext);
	enum ly_rc has_class = find_class(cert, out->class_);

	out->attested = false;
	if (n == 0 && has_class == LY_UNKNOWN)
		return LY_OK;
	if (n > 1)
		return ly_fail(why, LY_REFUSED,
		    "%s: two extensions lanyardHost", out->id);
	if (n == 0 || has_class != LY_OK)
		return ly_fail(why, LY_REFUSED, "%s: %s", out->id,
		    n ? "lanyardHost without the one policy of a class" :
			"certificate policies without lanyardHost");
	if (out->role != LY_ROLE_HOST || !parse(ext.at, ext.len, out))
		return ly_fail(why, LY_REFUSED, "%s: bad extension lanyardHost",
		    out->id);
	out->attested = true;
	return LY_OK;
}
