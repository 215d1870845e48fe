/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making certificates. Of a request only the public key is taken; what the
 * certificate says is what our caller says. A signed certificate is verified
 * against its CA before it is handed out, so that a CA asked to sign for
 * another site refuses here and not at every peer.
 */
#include "lib/io/ca_int.h"

#include "lib/io/file.h"
#include "lib/io/hostcert.h"
#include "lib/wire/message.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_MOST (64u * 1024)
#define SKEW_S 60 /* other clocks may be behind ours */

LY_AUTO_FOR(BIO_free_all, BIO)
LY_AUTO_FOR(X509_free, X509)
LY_AUTO_FOR(X509_REQ_free, X509_REQ)
LY_AUTO_FOR(EVP_PKEY_free, EVP_PKEY)
LY_AUTO_FOR(X509_STORE_free, X509_STORE)
LY_AUTO_FOR(X509_STORE_CTX_free, X509_STORE_CTX)

enum ly_rc
ly_ca_fail(struct ly_why *why, const char *what)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return ly_fail(why, LY_OUTSIDE, "%s: %s", what,
	    text ? text : "no reason given");
}

/* ---- PEM ---- */

static enum ly_rc
write_key(EVP_PKEY *key, const char *path, struct ly_why *why)
{
	LY_AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_secmem());
	enum ly_rc rc;
	char *at;
	long len;

	if (!bio ||
	    !PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
		return ly_ca_fail(why, path);
	len = BIO_get_mem_data(bio, &at);
	rc = ly_file_write(path, at, (size_t)len, 0600, why);
	ly_wipe(at, (size_t)len);
	return rc;
}

/* What `bio` holds as text that free() frees. */
static enum ly_rc
text_of(BIO *bio, char **out, struct ly_why *why)
{
	char *at;
	long len = BIO_get_mem_data(bio, &at);
	char *text = malloc((size_t)len + 1);

	if (!text)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	memcpy(text, at, (size_t)len);
	text[len] = '\0';
	*out = text;
	return LY_OK;
}

/* Reads a file into a BIO of its own, which is wiped when it is freed. */
static enum ly_rc
slurp(const char *path, BIO **out, struct ly_why *why)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	uint8_t *buf;
	size_t len;
	enum ly_rc rc = ly_file_read(path, FILE_MOST, &buf, &len, why);

	if (rc == LY_OK) {
		if (!bio || BIO_write(bio, buf, (int)len) != (int)len)
			rc = ly_fail(why, LY_OUTSIDE, "%s: empty", path);
		ly_wipe(buf, len);
		free(buf);
	}
	if (rc != LY_OK)
		BIO_free_all(bio);
	else
		*out = bio;
	return rc;
}

/* ---- extensions ---- */

struct ext {
	int nid;
	const char *value;
};

static bool
add_exts(X509 *cert, X509 *issuer, const struct ext *ext, size_t n)
{
	X509V3_CTX v3;

	X509V3_set_ctx(&v3, issuer, cert, NULL, NULL, 0);
	for (size_t i = 0; i < n; i++) {
		X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v3, ext[i].nid,
		    ext[i].value);
		int ok = e && X509_add_ext(cert, e, -1);

		X509_EXTENSION_free(e);
		if (!ok)
			return false;
	}
	return true;
}

static bool
set_cn(X509_NAME *name, const char *cn)
{
	/* An X.520 commonName has 64 characters at the most. */
	char cut[65];

	ly_copy(cut, sizeof(cut), cn);
	return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
		   (const unsigned char *)cut, -1, -1, 0) == 1;
}

static bool
set_serial(X509 *cert)
{
	uint8_t b[16];
	BIGNUM *n;
	bool ok;

	ly_random(b, sizeof(b));
	b[0] = (uint8_t)((b[0] & 0x7f) | 0x40); /* positive, full length */
	n = BN_bin2bn(b, sizeof(b), NULL);
	ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
	BN_free(n);
	return ok;
}

/* From a minute ago to `seconds` from now. */
static bool
set_times(X509 *cert, uint64_t seconds)
{
	time_t now = time(NULL);

	return X509_set_version(cert, X509_VERSION_3) &&
	    X509_time_adj_ex(X509_getm_notBefore(cert), 0, -SKEW_S, &now) &&
	    X509_time_adj_ex(X509_getm_notAfter(cert), (int)(seconds / 86400),
		(long)(seconds % 86400), &now);
}

/* ---- the CA itself ---- */

static bool
fill_ca(X509 *cert, EVP_PKEY *key, const char *site, unsigned days)
{
	char limit[LY_NAME_MAX + 24], cn[LY_NAME_MAX + 24];
	const struct ext ext[] = {
		{ NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
		{ NID_key_usage, "critical,keyCertSign,cRLSign" },
		{ NID_subject_key_identifier, "hash" },
		{ NID_authority_key_identifier, "keyid:always" },
		{ NID_name_constraints, limit },
	};

	ly_print(limit, sizeof(limit), "critical,permitted;URI:%s", site);
	ly_print(cn, sizeof(cn), "lanyard site %s", site);
	return set_serial(cert) && set_times(cert, (uint64_t)days * 86400) &&
	    set_cn(X509_get_subject_name(cert), cn) &&
	    X509_set_issuer_name(cert, X509_get_subject_name(cert)) &&
	    X509_set_pubkey(cert, key) &&
	    add_exts(cert, cert, ext, LY_COUNT(ext)) &&
	    X509_sign(cert, key, EVP_sha256());
}

static enum ly_rc
must_be_new(const char *path, struct ly_why *why)
{
	if (access(path, F_OK) == 0)
		return ly_fail(why, LY_REFUSED, "%s: exists already", path);
	return LY_OK;
}

enum ly_rc
ly_ca_make(const char *site, const char *key_file, const char *cert_file,
    unsigned days, struct ly_why *why)
{
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = NULL;
	LY_AUTO(X509_free) X509 *cert = X509_new();
	LY_AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_mem());
	enum ly_rc rc;
	char *at;
	long len;

	if (!ly_name_good(site))
		return ly_fail(why, LY_REFUSED, "bad name of a site");
	if (days == 0 || days > 36500)
		return ly_fail(why, LY_REFUSED, "%u days: 1 to 36500", days);
	rc = must_be_new(key_file, why);
	if (rc == LY_OK)
		rc = must_be_new(cert_file, why);
	if (rc != LY_OK)
		return rc;
	key = EVP_EC_gen("P-256");
	if (!key || !cert || !bio || !fill_ca(cert, key, site, days) ||
	    !PEM_write_bio_X509(bio, cert))
		return ly_ca_fail(why, "CA certificate");
	rc = write_key(key, key_file, why);
	if (rc != LY_OK)
		return rc;
	len = BIO_get_mem_data(bio, &at);
	rc = ly_file_write(cert_file, at, (size_t)len, 0644, why);
	if (rc != LY_OK)
		unlink(key_file); /* nothing was signed with it */
	return rc;
}

/* ---- requests ---- */

static bool
fill_request(X509_REQ *req, EVP_PKEY *key, const struct ly_peer *who)
{
	char san[LY_SPIFFE_MAX + 8];
	STACK_OF(X509_EXTENSION) *exts = sk_X509_EXTENSION_new_null();
	X509_EXTENSION *e;
	bool ok;

	ly_print(san, sizeof(san), "URI:%s", who->id);
	e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
	ok = exts && e && sk_X509_EXTENSION_push(exts, e);
	if (!ok)
		X509_EXTENSION_free(e);
	ok = ok && X509_REQ_set_version(req, X509_REQ_VERSION_1) &&
	    set_cn(X509_REQ_get_subject_name(req), who->name) &&
	    X509_REQ_set_pubkey(req, key) &&
	    X509_REQ_add_extensions(req, exts) &&
	    X509_REQ_sign(req, key, EVP_sha256());
	sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	return ok;
}

enum ly_rc
ly_ca_request(const char *spiffe, const char *key_file, char **pem,
    struct ly_why *why)
{
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = EVP_EC_gen("P-256");
	LY_AUTO(X509_REQ_free) X509_REQ *req = X509_REQ_new();
	LY_AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_mem());
	struct ly_peer who;
	enum ly_rc rc = ly_spiffe_parse(spiffe, &who, why);
	char *text;

	if (rc != LY_OK)
		return rc;
	if (!key || !req || !bio || !fill_request(req, key, &who) ||
	    !PEM_write_bio_X509_REQ(bio, req))
		return ly_ca_fail(why, "certificate request");
	rc = text_of(bio, &text, why);
	if (rc != LY_OK)
		return rc;
	rc = write_key(key, key_file, why);
	if (rc != LY_OK)
		free(text);
	else
		*pem = text;
	return rc;
}

enum ly_rc
ly_ca_make_key(const char *key_file, struct ly_why *why)
{
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = EVP_EC_gen("P-256");

	return key ? write_key(key, key_file, why) : ly_ca_fail(why, key_file);
}

enum ly_rc
ly_ca_request_of(const char *spiffe, const char *key_file, uint8_t **der,
    size_t *len, struct ly_why *why)
{
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = NULL;
	LY_AUTO(X509_REQ_free) X509_REQ *req = X509_REQ_new();
	LY_AUTO(BIO_free_all) BIO *bio = NULL;
	struct ly_peer who;
	uint8_t *at;
	int n;
	enum ly_rc rc = ly_spiffe_parse(spiffe, &who, why);

	if (rc == LY_OK)
		rc = slurp(key_file, &bio, why);
	if (rc != LY_OK)
		return rc;
	key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"");
	if (!key || !req || !fill_request(req, key, &who) ||
	    (n = i2d_X509_REQ(req, NULL)) <= 0)
		return ly_ca_fail(why, key_file);
	at = *der = malloc((size_t)n);
	if (!at)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	*len = (size_t)i2d_X509_REQ(req, &at);
	return LY_OK;
}

/* ---- signing ---- */

void
ly_ca_shut(struct ly_ca *ca)
{
	EVP_PKEY_free(ca->key);
	X509_free(ca->cert);
}

enum ly_rc
ly_ca_open(struct ly_ca *ca, const char *key_file, const char *cert_file,
    struct ly_why *why)
{
	BIO *bio;
	enum ly_rc rc = slurp(key_file, &bio, why);

	if (rc != LY_OK)
		return rc;
	ca->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"");
	BIO_free_all(bio);
	if (!ca->key)
		return ly_ca_fail(why, key_file);
	rc = slurp(cert_file, &bio, why);
	if (rc != LY_OK)
		return rc;
	ca->cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free_all(bio);
	if (!ca->cert)
		return ly_ca_fail(why, cert_file);
	if (!X509_check_private_key(ca->cert, ca->key)) {
		ERR_clear_error();
		return ly_fail(why, LY_REFUSED, "%s: not the key of %s",
		    key_file, cert_file);
	}
	return LY_OK;
}

/* The public key of a request that its own key has signed. */
static enum ly_rc
key_of_request(const char *pem, EVP_PKEY **out, struct ly_why *why)
{
	LY_AUTO(BIO_free_all) BIO *bio = NULL;
	LY_AUTO(X509_REQ_free) X509_REQ *req = NULL;
	char group[32] = "";
	size_t len = strnlen(pem, FILE_MOST + 1);
	EVP_PKEY *key;

	if (len > FILE_MOST)
		return ly_fail(why, LY_FULL, "a request over %u bytes",
		    FILE_MOST);
	bio = BIO_new_mem_buf(pem, (int)len);
	req = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, (void *)"") : NULL;
	key = req ? X509_REQ_get0_pubkey(req) : NULL;
	ERR_clear_error();
	if (!key)
		return ly_fail(why, LY_MALFORMED,
		    "not a certificate request in PEM");
	if (!EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) ||
	    strcmp(group, SN_X9_62_prime256v1) != 0)
		return ly_fail(why, LY_REFUSED,
		    "the request's key is not ECC P-256");
	if (X509_REQ_verify(req, key) != 1) {
		ERR_clear_error();
		return ly_fail(why, LY_REFUSED,
		    "the request is not signed by its own key");
	}
	EVP_PKEY_up_ref(key);
	*out = key;
	return LY_OK;
}

enum ly_rc
ly_ca_read_request(const uint8_t *der, size_t len, char **pem, uint8_t spki[32],
    struct ly_why *why)
{
	LY_AUTO(X509_REQ_free)
	X509_REQ *req = d2i_X509_REQ(NULL, &der, (long)ly_min(len, FILE_MOST));
	LY_AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_mem());
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = NULL;
	uint8_t *info = NULL;
	enum ly_rc rc;
	char *text;
	int n;

	ERR_clear_error();
	if (!req)
		return ly_fail(why, LY_MALFORMED, "not a certificate request");
	if (!bio || !PEM_write_bio_X509_REQ(bio, req))
		return ly_ca_fail(why, "certificate request");
	rc = text_of(bio, &text, why);
	if (rc != LY_OK)
		return rc;
	rc = key_of_request(text, &key, why);
	n = rc == LY_OK ? i2d_PUBKEY(key, &info) : 0;
	if (rc == LY_OK && n <= 0)
		rc = ly_ca_fail(why, "certificate request");
	if (rc == LY_OK)
		ly_sha256(info, (size_t)n, spki);
	OPENSSL_free(info);
	if (rc == LY_OK)
		*pem = text;
	else
		free(text);
	return rc;
}

/* What a certificate is to say. */
struct leaf {
	EVP_PKEY *key;
	const struct ly_peer *who;
	const char *eku;
	int purpose; /* X509_PURPOSE_* that it has to be good for */
	uint64_t seconds;
};

static bool
fill_leaf(X509 *cert, const struct ly_ca *ca, const struct leaf *l)
{
	char san[LY_SPIFFE_MAX + 8];
	const struct ext ext[] = {
		{ NID_basic_constraints, "critical,CA:FALSE" },
		{ NID_key_usage, "critical,digitalSignature" },
		{ NID_ext_key_usage, l->eku },
		{ NID_subject_key_identifier, "hash" },
		{ NID_authority_key_identifier, "keyid:always" },
		{ NID_subject_alt_name, san },
	};
	const ASN1_TIME *end = X509_get0_notAfter(ca->cert);

	ly_print(san, sizeof(san), "URI:%s", l->who->id);
	if (!set_serial(cert) || !set_times(cert, l->seconds))
		return false;
	/* A leaf beyond its CA would promise what nobody believes. */
	if (ASN1_TIME_compare(X509_get0_notAfter(cert), end) > 0 &&
	    !X509_set1_notAfter(cert, end))
		return false;
	return set_cn(X509_get_subject_name(cert), l->who->name) &&
	    X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) &&
	    X509_set_pubkey(cert, l->key) &&
	    add_exts(cert, ca->cert, ext, LY_COUNT(ext)) &&
	    (!l->who->attested || ly_hostcert_add(cert, l->who)) &&
	    X509_sign(cert, ca->key, EVP_sha256());
}

static enum ly_rc
verify_leaf(X509 *leaf, X509 *ca, const struct leaf *l, const char *file,
    struct ly_why *why)
{
	LY_AUTO(X509_STORE_free) X509_STORE *store = X509_STORE_new();
	LY_AUTO(X509_STORE_CTX_free) X509_STORE_CTX *vc = X509_STORE_CTX_new();

	if (!store || !vc || !X509_STORE_add_cert(store, ca) ||
	    !X509_STORE_CTX_init(vc, store, leaf, NULL))
		return ly_ca_fail(why, file);
	X509_STORE_CTX_set_flags(vc, X509_V_FLAG_X509_STRICT);
	X509_STORE_CTX_set_purpose(vc, l->purpose);
	if (X509_verify_cert(vc) == 1)
		return LY_OK;
	ERR_clear_error();
	return ly_fail(why, LY_REFUSED, "%s: this CA cannot sign for %s: %s",
	    file, l->who->id,
	    X509_verify_cert_error_string(X509_STORE_CTX_get_error(vc)));
}

static enum ly_rc
sign_with(const struct ly_ca *ca, const char *ca_cert, const struct leaf *l,
    char **pem, struct ly_why *why)
{
	LY_AUTO(X509_free) X509 *cert = X509_new();
	LY_AUTO(BIO_free_all) BIO *bio = BIO_new(BIO_s_mem());
	enum ly_rc rc;

	if (!cert || !bio || !fill_leaf(cert, ca, l) ||
	    !PEM_write_bio_X509(bio, cert))
		return ly_ca_fail(why, "certificate");
	rc = verify_leaf(cert, ca->cert, l, ca_cert, why);
	return rc == LY_OK ? text_of(bio, pem, why) : rc;
}

static enum ly_rc
sign_leaf(const char *ca_key, const char *ca_cert, const struct leaf *l,
    char **pem, struct ly_why *why)
{
	struct ly_ca ca = { 0 };
	enum ly_rc rc = LY_OK;

	if (l->seconds == 0)
		rc = ly_fail(why, LY_REFUSED, "a certificate for 0 seconds");
	if (rc == LY_OK)
		rc = ly_ca_open(&ca, ca_key, ca_cert, why);
	if (rc == LY_OK)
		rc = sign_with(&ca, ca_cert, l, pem, why);
	ly_ca_shut(&ca);
	return rc;
}

static enum ly_rc
sign_request(const char *ca_key, const char *ca_cert, const char *request_pem,
    const struct ly_peer *who, uint64_t seconds, char **pem, struct ly_why *why)
{
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = NULL;
	enum ly_rc rc = key_of_request(request_pem, &key, why);

	if (rc != LY_OK)
		return rc;
	return sign_leaf(ca_key, ca_cert,
	    &(struct leaf){ .key = key,
		.who = who,
		.eku = "serverAuth,clientAuth",
		.purpose = X509_PURPOSE_SSL_SERVER,
		.seconds = seconds },
	    pem, why);
}

enum ly_rc
ly_ca_sign(const char *ca_key, const char *ca_cert, const char *request_pem,
    const char *spiffe, uint64_t seconds, char **pem, struct ly_why *why)
{
	struct ly_peer who;
	enum ly_rc rc = ly_spiffe_parse(spiffe, &who, why);

	if (rc != LY_OK)
		return rc;
	return sign_request(ca_key, ca_cert, request_pem, &who, seconds, pem,
	    why);
}

enum ly_rc
ly_ca_sign_host(const char *ca_key, const char *ca_cert,
    const char *request_pem, const struct ly_peer *host, uint64_t seconds,
    char **pem, struct ly_why *why)
{
	struct ly_peer who = *host;

	if (host->role != LY_ROLE_HOST || !ly_name_good(host->class_))
		return ly_fail(why, LY_REFUSED, "%s: not a host with a class",
		    host->id);
	who.attested = true;
	return sign_request(ca_key, ca_cert, request_pem, &who, seconds, pem,
	    why);
}

/* A point that is not on the curve is no key. */
static EVP_PKEY *
key_of_point(const uint8_t x[32], const uint8_t y[32])
{
	uint8_t point[65] = { POINT_CONVERSION_UNCOMPRESSED };
	char group[] = SN_X9_62_prime256v1;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
		    group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
		    point, sizeof(point)),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;

	memcpy(point + 1, x, 32);
	memcpy(point + 33, y, 32);
	if (ctx && EVP_PKEY_fromdata_init(ctx) == 1)
		(void)EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

enum ly_rc
ly_ca_sign_ak(const char *ca_key, const char *ca_cert, const uint8_t x[32],
    const uint8_t y[32], const struct ly_peer *host, uint64_t seconds,
    char **pem, struct ly_why *why)
{
	LY_AUTO(EVP_PKEY_free) EVP_PKEY *key = key_of_point(x, y);
	struct ly_peer who = { .id = "" };

	ERR_clear_error();
	if (!key)
		return ly_fail(why, LY_REFUSED,
		    "%s: its AK is no point of P-256", host->id);
	ly_copy(who.name, sizeof(who.name), host->name);
	if (!ly_print(who.id, sizeof(who.id), "spiffe://%s/ak/%s", host->site,
		host->name))
		return ly_fail(why, LY_REFUSED, "%s: too long", host->id);
	return sign_leaf(ca_key, ca_cert,
	    &(struct leaf){ .key = key,
		.who = &who,
		.eku = LY_EKU_AK,
		.purpose = X509_PURPOSE_ANY,
		.seconds = seconds },
	    pem, why);
}
