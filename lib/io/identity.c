/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates and whom we believe. OpenSSL builds and checks the chain (TLS
 * or ly_verify()) against all pinned CAs; then we check, by our own code, what
 * it does not: that the leaf has one URI SAN of our form and nothing else in
 * the SAN, and that the root it ended in is the one pinned for that site.
 *
 * What was read from files is one `struct keys`; a reload reads a second one
 * and swaps. Connections of before keep the SSL objects they were made with,
 * and end at the notAfter of those.
 */
#include "lib/io/identity_int.h"

#include "lib/io/file.h"
#include "lib/io/hostcert.h"
#include "lib/io/log.h"

#include <dirent.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define FILE_MOST (64u * 1024)
#define CHAIN_MOST 4 /* certificates behind our own leaf */
#define DEPTH_MOST 3 /* of intermediates in a peer's chain */

static const char suites[] =
    "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

LY_AUTO_FOR(BIO_free_all, BIO)
LY_AUTO_FOR(X509_free, X509)
LY_AUTO_FOR(X509_STORE_free, X509_STORE)
LY_AUTO_FOR(X509_STORE_CTX_free, X509_STORE_CTX)
LY_AUTO_FOR(GENERAL_NAMES_free, GENERAL_NAMES)
LY_AUTO_FOR(SSL_CTX_free, SSL_CTX)

/* ---- certificates ---- */

const char *
ly_ssl_says(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return text ? text : "no reason given";
}

/* The one URI of a leaf; LY_REFUSED if it has any other SAN, or none. */
static enum ly_rc
only_uri(X509 *leaf, char out[LY_SPIFFE_MAX], struct ly_why *why)
{
	LY_AUTO(GENERAL_NAMES_free) GENERAL_NAMES *san = NULL;
	const GENERAL_NAME *name;
	const ASN1_IA5STRING *uri;
	int crit = 0, len;

	san = X509_get_ext_d2i(leaf, NID_subject_alt_name, &crit, NULL);
	if (!san)
		return ly_fail(why, LY_REFUSED,
		    crit == -2 ? "two subjectAltNames" : "no subjectAltName");
	if (sk_GENERAL_NAME_num(san) != 1)
		return ly_fail(why, LY_REFUSED,
		    "%d names in subjectAltName, "
		    "not one",
		    sk_GENERAL_NAME_num(san));
	name = sk_GENERAL_NAME_value(san, 0);
	if (name->type != GEN_URI)
		return ly_fail(why, LY_REFUSED,
		    "the name in subjectAltName is not a URI");
	uri = name->d.uniformResourceIdentifier;
	len = ASN1_STRING_length(uri);
	if (len <= 0 || len >= LY_SPIFFE_MAX ||
	    memchr(ASN1_STRING_get0_data(uri), 0, (size_t)len))
		return ly_fail(why, LY_REFUSED, "bad URI in subjectAltName");
	memcpy(out, ASN1_STRING_get0_data(uri), (size_t)len);
	out[len] = '\0';
	if (!ly_text_clean(out, (size_t)len))
		return ly_fail(why, LY_REFUSED, "bad URI in subjectAltName");
	return LY_OK;
}

static enum ly_rc
read_serial(X509 *leaf, struct ly_peer *out, struct ly_why *why)
{
	BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(leaf), NULL);
	char *hex = n ? BN_bn2hex(n) : NULL;
	bool fits = hex && ly_copy(out->serial, sizeof(out->serial), hex);

	OPENSSL_free(hex);
	BN_free(n);
	if (!fits)
		return ly_fail(why, LY_REFUSED, "%s: bad serial number",
		    out->id);
	return LY_OK;
}

static enum ly_rc
read_hk(X509 *leaf, struct ly_peer *out, struct ly_why *why)
{
	uint8_t *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &der);

	if (len <= 0)
		return ly_fail(why, LY_REFUSED, "%s: no key", out->id);
	ly_sha256(der, (size_t)len, out->hk);
	OPENSSL_free(der);
	return LY_OK;
}

/* Who a leaf says it is, and that it is a leaf. */
static enum ly_rc
read_leaf(X509 *leaf, struct ly_peer *out, struct ly_why *why)
{
	char uri[LY_SPIFFE_MAX];
	enum ly_rc rc = only_uri(leaf, uri, why);

	if (rc != LY_OK)
		return rc;
	if (ly_spiffe_parse(uri, out, why) != LY_OK)
		return LY_REFUSED;
	if (X509_check_ca(leaf))
		return ly_fail(why, LY_REFUSED, "%s: a CA, not a leaf", uri);
	if (!(X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE))
		return ly_fail(why, LY_REFUSED,
		    "%s: its key may not sign (keyUsage)", uri);
	out->not_after = ly_asn1_seconds(X509_get0_notAfter(leaf));
	rc = ly_hostcert_read(leaf, out, why);
	if (rc == LY_OK)
		rc = read_hk(leaf, out, why);
	return rc == LY_OK ? read_serial(leaf, out, why) : rc;
}

static const struct site *
site_of(const struct keys *k, const char *name)
{
	for (unsigned i = 0; i < k->sites_n; i++)
		if (strcmp(k->site[i].name, name) == 0)
			return &k->site[i];
	return NULL;
}

/* A verified chain (leaf first) to a peer: the head of identity.h. */
static enum ly_rc
judge(const struct keys *k, const STACK_OF(X509) *chain, struct ly_peer *out,
    struct ly_why *why)
{
	struct ly_peer p = { 0 };
	const struct site *site;
	enum ly_rc rc;
	X509 *root;

	if (!chain || sk_X509_num(chain) < 2)
		return ly_fail(why, LY_REFUSED, "no certificate chain");
	rc = read_leaf(sk_X509_value(chain, 0), &p, why);
	if (rc != LY_OK)
		return rc;
	site = site_of(k, p.site);
	if (!site)
		return ly_fail(why, LY_REFUSED, "%s: no CA of site %s is known",
		    p.id, p.site);
	root = sk_X509_value(chain, sk_X509_num(chain) - 1);
	for (unsigned i = 0; i < site->cas_n; i++) {
		if (X509_cmp(root, site->ca[i]) == 0) {
			*out = p;
			return LY_OK;
		}
	}
	return ly_fail(why, LY_REFUSED,
	    "%s: issued by a CA that is not the one of site %s", p.id, p.site);
}

/* ---- reading files ---- */

static enum ly_rc
open_pem(const char *path, BIO **out, uint8_t **buf, size_t *len,
    struct ly_why *why)
{
	enum ly_rc rc = ly_file_read(path, FILE_MOST, buf, len, why);

	if (rc != LY_OK)
		return rc == LY_UNKNOWN ? LY_OUTSIDE : rc;
	*out = BIO_new_mem_buf(*buf, (int)*len);
	if (*out)
		return LY_OK;
	free(*buf);
	return ly_fail(why, LY_OUTSIDE, "%s: no memory", path);
}

/* Certificates of a PEM file, in order; not one is an error. */
static enum ly_rc
read_certs(const char *path, X509 **to, unsigned most, unsigned *n,
    struct ly_why *why)
{
	uint8_t *buf;
	size_t len;
	BIO *bio;
	enum ly_rc rc = open_pem(path, &bio, &buf, &len, why);

	*n = 0;
	if (rc != LY_OK)
		return rc;
	for (;;) {
		X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

		if (!cert)
			break;
		if (*n == most) {
			X509_free(cert);
			rc = ly_fail(why, LY_FULL,
			    "%s: more than %u "
			    "certificates",
			    path, most);
			break;
		}
		to[(*n)++] = cert;
	}
	if (rc == LY_OK &&
	    (*n == 0 ||
		ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE))
		rc = ly_fail(why, LY_OUTSIDE, "%s: not PEM certificates (%s)",
		    path, ly_ssl_says());
	ERR_clear_error();
	BIO_free(bio);
	free(buf);
	return rc;
}

static int
no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag, (void)arg;
	return -1;
}

enum ly_rc
ly_key_is_p256(EVP_PKEY *key, const char *what, struct ly_why *why)
{
	char group[32] = "";

	if (!EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) ||
	    strcmp(group, SN_X9_62_prime256v1) != 0)
		return ly_fail(why, LY_REFUSED, "%s: not an ECC P-256 key",
		    what);
	return LY_OK;
}

static enum ly_rc
read_key(const char *path, EVP_PKEY **out, struct ly_why *why)
{
	struct stat st;
	uint8_t *buf;
	size_t len;
	BIO *bio;
	EVP_PKEY *key;
	enum ly_rc rc;

	if (stat(path, &st) == 0 && (st.st_mode & 077))
		return ly_fail(why, LY_REFUSED,
		    "%s: others may use this key (mode %03o, not 600)", path,
		    (unsigned)st.st_mode & 0777);
	rc = open_pem(path, &bio, &buf, &len, why);
	if (rc != LY_OK)
		return rc;
	key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	ly_wipe(buf, len);
	free(buf);
	if (!key)
		return ly_fail(why, LY_OUTSIDE, "%s: not a private key (%s)",
		    path, ly_ssl_says());
	rc = ly_key_is_p256(key, path, why);
	if (rc != LY_OK)
		EVP_PKEY_free(key);
	else
		*out = key;
	return rc;
}

/* ---- struct keys ---- */

static void
keys_free(struct keys *k)
{
	X509_free(k->leaf);
	EVP_PKEY_free(k->key);
	sk_X509_pop_free(k->chain, X509_free);
	for (unsigned i = 0; i < k->sites_n; i++)
		for (unsigned c = 0; c < k->site[i].cas_n; c++)
			X509_free(k->site[i].ca[c]);
	X509_STORE_free(k->store);
	SSL_CTX_free(k->ctx[0]);
	SSL_CTX_free(k->ctx[1]);
	free(k->pem);
	free(k);
}
LY_AUTO_FOR(keys_free, struct keys)

static enum ly_rc
pin(struct keys *k, const char *dir, const char *file, struct ly_why *why)
{
	struct site *s = &k->site[k->sites_n];
	char path[PATH_MOST];
	enum ly_rc rc;

	if (k->sites_n == SITES_MOST)
		return ly_fail(why, LY_FULL, "%s: over %d sites", dir,
		    SITES_MOST);
	if (!ly_print(path, sizeof(path), "%s/%s", dir, file) ||
	    !ly_print(s->name, sizeof(s->name), "%.*s",
		(int)(strlen(file) - strlen(".pem")), file) ||
	    !ly_name_good(s->name))
		return ly_fail(why, LY_REFUSED, "%s/%s: not a site's name", dir,
		    file);
	k->sites_n++; /* from here keys_free() frees what it has */
	rc = read_certs(path, s->ca, CAS_MOST, &s->cas_n, why);
	for (unsigned i = 0; rc == LY_OK && i < s->cas_n; i++) {
		if (X509_check_ca(s->ca[i]) != 1 ||
		    X509_self_signed(s->ca[i], 1) != 1)
			rc = ly_fail(why, LY_REFUSED,
			    "%s: not a self-signed CA certificate", path);
		else if (!X509_STORE_add_cert(k->store, s->ca[i]))
			rc = ly_fail(why, LY_OUTSIDE, "%s: %s", path,
			    ly_ssl_says());
	}
	ERR_clear_error();
	return rc;
}

/* SITE.policy.pem is no CA: lib/io/approvals.h. */
static bool
is_policy_key(const char *file, size_t n)
{
	static const char end[] = ".policy.pem";
	size_t m = strlen(end);

	return n > m && strcmp(file + n - m, end) == 0;
}

static enum ly_rc
pin_all(struct keys *k, const char *dir, struct ly_why *why)
{
	DIR *d = opendir(dir);
	enum ly_rc rc = LY_OK;
	struct dirent *e;

	if (!d)
		return ly_fail(why, LY_OUTSIDE, "%s: cannot read the directory",
		    dir);
	while (rc == LY_OK && (e = readdir(d))) {
		size_t n = strlen(e->d_name);

		if (n > 4 && e->d_name[0] != '.' &&
		    strcmp(e->d_name + n - 4, ".pem") == 0 &&
		    !is_policy_key(e->d_name, n))
			rc = pin(k, dir, e->d_name, why);
	}
	closedir(d);
	return rc;
}

/* The leaf, its key and what stands behind it in the file. */
static enum ly_rc
own_certificate(struct keys *k, const struct ly_identity *ids,
    struct ly_why *why)
{
	X509 *cert[CHAIN_MOST];
	unsigned n;
	uint8_t *der = k->leaf_der;
	enum ly_rc rc = read_certs(ids->cert, cert, CHAIN_MOST, &n, why);
	int len;

	for (unsigned i = 0; i < n; i++) {
		if (i == 0)
			k->leaf = cert[0];
		else if (!sk_X509_push(k->chain, cert[i]))
			X509_free(cert[i]);
	}
	if (rc == LY_OK)
		rc = read_key(ids->key, &k->key, why);
	if (rc != LY_OK)
		return rc;
	if (!X509_check_private_key(k->leaf, k->key)) {
		ERR_clear_error();
		return ly_fail(why, LY_REFUSED, "%s: not the key of %s",
		    ids->key, ids->cert);
	}
	len = i2d_X509(k->leaf, NULL);
	if (len <= 0 || len > LEAF_MOST)
		return ly_fail(why, LY_FULL, "%s: certificate over %d bytes",
		    ids->cert, LEAF_MOST);
	k->leaf_len = (size_t)i2d_X509(k->leaf, &der);
	rc = read_leaf(k->leaf, &k->self, why);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "%s", ids->cert);
	return ly_file_read(ids->cert, FILE_MOST, &k->pem, &k->pem_len, why);
}

/* The chain of `leaf` to one of our CAs, checked as TLS would. */
static enum ly_rc
verify(const struct keys *k, X509 *leaf, STACK_OF(X509) *others, bool any_time,
    struct ly_peer *out, struct ly_why *why)
{
	LY_AUTO(X509_STORE_CTX_free) X509_STORE_CTX *vc = X509_STORE_CTX_new();
	unsigned long flags = X509_V_FLAG_X509_STRICT;

	if (!vc || !X509_STORE_CTX_init(vc, k->store, leaf, others))
		return ly_fail(why, LY_OUTSIDE, "no memory");
	if (any_time)
		flags |= X509_V_FLAG_NO_CHECK_TIME;
	X509_STORE_CTX_set_flags(vc, flags);
	X509_STORE_CTX_set_depth(vc, DEPTH_MOST);
	X509_STORE_CTX_set_purpose(vc, X509_PURPOSE_SSL_CLIENT);
	if (X509_verify_cert(vc) != 1) {
		ERR_clear_error();
		return ly_fail(why, LY_REFUSED, "%s",
		    X509_verify_cert_error_string(
			X509_STORE_CTX_get_error(vc)));
	}
	return judge(k, X509_STORE_CTX_get0_chain(vc), out, why);
}

static bool
ctx_secure(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx,
	    SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_verify(ctx,
	    SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_verify_depth(ctx, DEPTH_MOST);
	SSL_CTX_set_security_level(ctx, 2);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) &&
	    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) &&
	    SSL_CTX_set_num_tickets(ctx, 0) &&
	    SSL_CTX_set_max_early_data(ctx, 0) &&
	    SSL_CTX_set_ciphersuites(ctx, suites) &&
	    SSL_CTX_set1_groups_list(ctx, "P-256:X25519") &&
	    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx),
		X509_V_FLAG_X509_STRICT);
}

static enum ly_rc
ctx_new(const struct keys *k, SSL_CTX **out, struct ly_why *why)
{
	LY_AUTO(SSL_CTX_free) SSL_CTX *ctx = SSL_CTX_new(TLS_method());

	if (!ctx || !ctx_secure(ctx) ||
	    SSL_CTX_use_cert_and_key(ctx, k->leaf, k->key, k->chain, 1) != 1)
		return ly_fail(why, LY_OUTSIDE, "TLS: %s", ly_ssl_says());
	SSL_CTX_set1_cert_store(ctx, k->store);
	*out = ly_take(ctx);
	return LY_OK;
}

static enum ly_rc
keys_read(const struct ly_identity *ids, struct keys **out, struct ly_why *why)
{
	LY_AUTO(keys_free) struct keys *k = calloc(1, sizeof(*k));
	struct ly_peer same;
	enum ly_rc rc;

	if (k) {
		k->chain = sk_X509_new_null();
		k->store = X509_STORE_new();
	}
	if (!k || !k->chain || !k->store)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	rc = own_certificate(k, ids, why);
	if (rc == LY_OK)
		rc = pin_all(k, ids->trust, why);
	if (rc != LY_OK)
		return rc;
	if (!site_of(k, k->self.site))
		return ly_fail(why, LY_REFUSED,
		    "%s/%s.pem: missing, the CA of "
		    "our own site",
		    ids->trust, k->self.site);
	rc = verify(k, k->leaf, k->chain, true, &same, why);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "%s", ids->cert);
	for (int i = 0; rc == LY_OK && i < 2; i++)
		rc = ctx_new(k, &k->ctx[i], why);
	if (rc != LY_OK)
		return rc;
	if (k->self.not_after <= (uint64_t)time(NULL))
		ly_log(LY_WARNING, "identity",
		    "%s: expired; no peer will "
		    "believe it",
		    ids->cert);
	*out = ly_take(k);
	return LY_OK;
}

static unsigned
cas_of(const void *arg, const char *site, X509 *const **cas)
{
	const struct site *s = site_of(arg, site);

	*cas = s ? s->ca : NULL;
	return s ? s->cas_n : 0;
}

enum ly_rc
ly_identity_load(const struct ly_identity_files *files,
    struct ly_identity **out, struct ly_why *why)
{
	struct ly_identity *ids = calloc(1, sizeof(*ids));
	enum ly_rc rc;

	if (!ids)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	if (!ly_copy(ids->cert, sizeof(ids->cert), files->cert) ||
	    !ly_copy(ids->key, sizeof(ids->key), files->key) ||
	    !ly_copy(ids->trust, sizeof(ids->trust), files->trust))
		rc = ly_fail(why, LY_FULL, "a file name over %d bytes",
		    PATH_MOST - 1);
	else
		rc = keys_read(ids, &ids->keys, why);
	if (rc == LY_OK && files->crls) {
		rc = ly_crls_load(&ids->crls, files->crls, cas_of, ids->keys,
		    why);
		if (rc != LY_OK)
			keys_free(ids->keys);
	}
	if (rc != LY_OK) {
		ly_crls_fini(&ids->crls);
		free(ids);
		return rc;
	}
	ids->self = ids->keys->self;
	*out = ids;
	return rc;
}

enum ly_rc
ly_identity_reload(struct ly_identity *ids, struct ly_why *why)
{
	struct keys *fresh;
	enum ly_rc rc = keys_read(ids, &fresh, why);

	if (rc != LY_OK)
		return rc;
	if (strcmp(fresh->self.id, ids->keys->self.id) != 0) {
		rc = ly_fail(why, LY_REFUSED, "%s: now says %s, we are %s",
		    ids->cert, fresh->self.id, ids->keys->self.id);
		keys_free(fresh);
		return rc;
	}
	keys_free(ids->keys);
	ids->keys = fresh;
	ids->self = fresh->self;
	return LY_OK;
}

enum ly_rc
ly_identity_adopt(struct ly_identity *ids, const char *cert, const char *key,
    struct ly_why *why)
{
	char old_cert[PATH_MOST], old_key[PATH_MOST];
	enum ly_rc rc;

	memcpy(old_cert, ids->cert, sizeof(old_cert));
	memcpy(old_key, ids->key, sizeof(old_key));
	if (!ly_copy(ids->cert, sizeof(ids->cert), cert) ||
	    !ly_copy(ids->key, sizeof(ids->key), key))
		rc = ly_fail(why, LY_FULL, "a file name over %d bytes",
		    PATH_MOST - 1);
	else
		rc = ly_identity_reload(ids, why);
	if (rc != LY_OK) {
		memcpy(ids->cert, old_cert, sizeof(old_cert));
		memcpy(ids->key, old_key, sizeof(old_key));
	}
	return rc;
}

struct ly_bytes
ly_identity_papers(const struct ly_identity *ids)
{
	return (
	    struct ly_bytes){ .at = ids->keys->pem, .len = ids->keys->pem_len };
}

void
ly_identity_free(struct ly_identity *ids)
{
	if (!ids)
		return;
	keys_free(ids->keys);
	ly_crls_fini(&ids->crls);
	free(ids);
}

/* ---- who was revoked ---- */

enum ly_rc
ly_identity_crl(struct ly_identity *ids, const char *site, struct ly_bytes der,
    bool *fresh, struct ly_why *why)
{
	X509 *const *cas;
	unsigned n = cas_of(ids->keys, site, &cas);

	*fresh = false;
	if (!n)
		return ly_fail(why, LY_UNKNOWN, "no CA of site %s is known",
		    site);
	return ly_crls_take(&ids->crls, site, cas, n, der, fresh, why);
}

const struct ly_crls *
ly_identity_crls(const struct ly_identity *ids)
{
	return &ids->crls;
}

const char *
ly_identity_stale(struct ly_identity *ids, uint64_t now_s)
{
	return ly_crls_stale(&ids->crls, now_s);
}

bool
ly_identity_revoked(const struct ly_identity *ids, const struct ly_peer *peer)
{
	BIGNUM *n = NULL;
	ASN1_INTEGER *serial = NULL;
	bool revoked = true; /* whom we cannot look up we do not believe */

	if (BN_hex2bn(&n, peer->serial) > 0 &&
	    (serial = BN_to_ASN1_INTEGER(n, NULL)))
		revoked = ly_crls_revoked(&ids->crls, peer->site, serial);
	ASN1_INTEGER_free(serial);
	BN_free(n);
	return revoked;
}

static enum ly_rc
not_revoked(const struct ly_identity *ids, const struct ly_peer *p,
    struct ly_why *why)
{
	if (!ly_identity_revoked(ids, p))
		return LY_OK;
	return ly_fail(why, LY_REFUSED, "%s: certificate %s was revoked", p->id,
	    p->serial);
}

const struct ly_peer *
ly_identity_self(const struct ly_identity *ids)
{
	return &ids->self;
}

enum ly_rc
ly_identity_ctx(struct ly_identity *ids, bool listening, SSL_CTX **out,
    struct ly_why *why)
{
	SSL_CTX *ctx = ids->keys->ctx[listening];

	if (!SSL_CTX_up_ref(ctx))
		return ly_fail(why, LY_OUTSIDE, "TLS: %s", ly_ssl_says());
	*out = ctx;
	return LY_OK;
}

enum ly_rc
ly_identity_peer(struct ly_identity *ids, SSL *ssl, struct ly_peer *out,
    struct ly_why *why)
{
	struct ly_peer p;
	uint64_t own;
	enum ly_rc rc;

	if (SSL_get_verify_result(ssl) != X509_V_OK)
		return ly_fail(why, LY_REFUSED, "%s",
		    X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
	rc = judge(ids->keys, SSL_get0_verified_chain(ssl), &p, why);
	if (rc == LY_OK)
		rc = not_revoked(ids, &p, why);
	if (rc != LY_OK)
		return rc;
	/* A connection outlives neither side's certificate. */
	own = ly_asn1_seconds(X509_get0_notAfter(SSL_get_certificate(ssl)));
	if (own < p.not_after)
		p.not_after = own;
	*out = p;
	return LY_OK;
}

enum ly_rc
ly_leaf_verify(const struct ly_identity *ids, X509 *leaf, struct ly_peer *out,
    struct ly_why *why)
{
	struct ly_peer p;
	enum ly_rc rc = verify(ids->keys, leaf, NULL, false, &p, why);

	if (rc == LY_OK)
		rc = not_revoked(ids, &p, why);
	if (rc == LY_OK)
		*out = p;
	return rc;
}
