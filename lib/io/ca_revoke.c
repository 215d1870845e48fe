/* SPDX-License-Identifier: Apache-2.0 */
/* What a CA takes back: what is kept of a certificate for that, and its list. */
#include "lib/io/ca_int.h"
#include "lib/io/crl.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

#define SKEW_S 60 /* other clocks may be behind ours */

LY_AUTO_FOR(BIO_free_all, BIO)
LY_AUTO_FOR(X509_free, X509)
LY_AUTO_FOR(X509_CRL_free, X509_CRL)
LY_AUTO_FOR(X509_REVOKED_free, X509_REVOKED)

enum ly_rc
ly_ca_read_leaf(const char *pem, char serial[LY_SERIAL_TEXT],
    uint64_t *not_after, struct ly_why *why)
{
	LY_AUTO(BIO_free_all) BIO *bio = BIO_new_mem_buf(pem, -1);
	LY_AUTO(X509_free)
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIGNUM *n;
	char *hex;
	bool good;

	if (!cert)
		return ly_ca_fail(why, "certificate");
	n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	hex = n ? BN_bn2hex(n) : NULL;
	good = hex && ly_copy(serial, LY_SERIAL_TEXT, hex);
	OPENSSL_free(hex);
	BN_free(n);
	*not_after = ly_asn1_seconds(X509_get0_notAfter(cert));
	return good ? LY_OK : ly_ca_fail(why, "serial number");
}

static bool
set_reason(X509_REVOKED *entry, int reason)
{
	ASN1_ENUMERATED *e = ASN1_ENUMERATED_new();
	bool ok = e && ASN1_ENUMERATED_set(e, reason) &&
	    X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, e, 0, 0) == 1;

	ASN1_ENUMERATED_free(e);
	return ok;
}

static bool
add_revoked(X509_CRL *crl, const struct ly_revoked *r)
{
	LY_AUTO(X509_REVOKED_free) X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_TIME *when = ASN1_TIME_set(NULL, (time_t)r->when);
	ASN1_INTEGER *serial = NULL;
	BIGNUM *n = NULL;
	bool ok;

	if (BN_hex2bn(&n, r->serial) > 0)
		serial = BN_to_ASN1_INTEGER(n, NULL);
	/* "unspecified" is said by saying nothing (RFC 5280, 5.3.1). */
	ok = entry && when && serial &&
	    X509_REVOKED_set_serialNumber(entry, serial) &&
	    X509_REVOKED_set_revocationDate(entry, when) &&
	    (!r->reason || set_reason(entry, r->reason)) &&
	    X509_CRL_add0_revoked(crl, entry);
	if (ok)
		(void)ly_take(entry);
	ASN1_INTEGER_free(serial);
	ASN1_TIME_free(when);
	BN_free(n);
	return ok;
}

static bool
set_number(X509_CRL *crl, uint64_t number)
{
	ASN1_INTEGER *n = ASN1_INTEGER_new();
	bool ok = n && ASN1_INTEGER_set_uint64(n, number) &&
	    X509_CRL_add1_ext_i2d(crl, NID_crl_number, n, 0, 0) == 1;

	ASN1_INTEGER_free(n);
	return ok;
}

static bool
set_authority(X509_CRL *crl, const struct ly_ca *ca)
{
	X509V3_CTX v3;
	X509_EXTENSION *e;
	bool ok;

	X509V3_set_ctx(&v3, ca->cert, NULL, NULL, crl, 0);
	e = X509V3_EXT_conf_nid(NULL, &v3, NID_authority_key_identifier,
	    "keyid:always");
	ok = e && X509_CRL_add_ext(crl, e, -1);
	X509_EXTENSION_free(e);
	return ok;
}

static bool
fill_crl(X509_CRL *crl, const struct ly_ca *ca, const struct ly_revoked *list,
    size_t n, uint64_t number, uint64_t seconds)
{
	time_t now = time(NULL);
	ASN1_TIME *t = ASN1_TIME_adj(NULL, now, 0, -SKEW_S);
	bool ok = t && X509_CRL_set_version(crl, X509_CRL_VERSION_2) &&
	    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert)) &&
	    X509_CRL_set1_lastUpdate(crl, t) &&
	    ASN1_TIME_adj(t, now, (int)(seconds / 86400),
		(long)(seconds % 86400)) &&
	    X509_CRL_set1_nextUpdate(crl, t) && set_authority(crl, ca) &&
	    set_number(crl, number);

	ASN1_TIME_free(t);
	for (size_t i = 0; ok && i < n; i++)
		ok = add_revoked(crl, &list[i]);
	return ok && X509_CRL_sort(crl) &&
	    X509_CRL_sign(crl, ca->key, EVP_sha256());
}

enum ly_rc
ly_ca_crl(const char *ca_key, const char *ca_cert,
    const struct ly_revoked *list, size_t n, uint64_t number, uint64_t seconds,
    uint8_t **der, size_t *len, struct ly_why *why)
{
	LY_AUTO(X509_CRL_free) X509_CRL *crl = X509_CRL_new();
	struct ly_ca ca = { 0 };
	unsigned char *out = NULL;
	enum ly_rc rc = ly_ca_open(&ca, ca_key, ca_cert, why);
	int size;

	if (rc == LY_OK &&
	    (!crl || !fill_crl(crl, &ca, list, n, number, seconds)))
		rc = ly_ca_fail(why, "CRL");
	ly_ca_shut(&ca);
	if (rc != LY_OK)
		return rc;
	size = i2d_X509_CRL(crl, NULL);
	if (size > (int)LY_CRL_MAX)
		return ly_fail(why, LY_FULL,
		    "%zu revoked certificates: a list over %u bytes", n,
		    LY_CRL_MAX);
	*der = size > 0 ? malloc((size_t)size) : NULL;
	if (!*der)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	out = *der;
	*len = (size_t)i2d_X509_CRL(crl, &out);
	return LY_OK;
}
