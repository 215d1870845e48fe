/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/io/ekcert.h"

#include "lib/crypt/crypt.h"
#include "lib/io/file.h"

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#define FILE_MOST (1024u * 1024) /* bytes of one PEM file */
#define EKU_EK "2.23.133.8.1"

LY_AUTO_FOR(X509_free, X509)
LY_AUTO_FOR(X509_STORE_free, X509_STORE)
LY_AUTO_FOR(X509_STORE_CTX_free, X509_STORE_CTX)

/* Whom we believe: roots, and what may stand between. */
struct makers {
	X509_STORE *roots;
	STACK_OF(X509) *others;
	unsigned n;
};

static void
makers_fini(struct makers *m)
{
	X509_STORE_free(m->roots);
	sk_X509_pop_free(m->others, X509_free);
}

static void
add_cert(struct makers *m, X509 *cert)
{
	if (X509_self_signed(cert, 1) == 1) {
		m->n += X509_STORE_add_cert(m->roots, cert) == 1;
		X509_free(cert);
	} else if (!sk_X509_push(m->others, cert)) {
		X509_free(cert);
	}
	ERR_clear_error();
}

/* One file that is no PEM takes no other's trust away: it is passed over. */
static void
add_file(struct makers *m, const char *path)
{
	uint8_t *buf = NULL;
	size_t len = 0;
	BIO *bio;
	X509 *cert;

	if (ly_file_read(path, FILE_MOST, &buf, &len, NULL) != LY_OK)
		return;
	bio = BIO_new_mem_buf(buf, (int)len);
	while (bio && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		add_cert(m, cert);
	ERR_clear_error();
	BIO_free(bio);
	free(buf);
}

static bool
makers_init(struct makers *m, const char *dir)
{
	char path[512];
	DIR *d = opendir(dir);
	struct dirent *e;

	*m = (struct makers){ .roots = X509_STORE_new(),
		.others = sk_X509_new_null() };
	while (d && m->roots && m->others && (e = readdir(d))) {
		size_t n = strlen(e->d_name);

		if (n > 4 && strcmp(e->d_name + n - 4, ".pem") == 0 &&
		    ly_print(path, sizeof(path), "%s/%s", dir, e->d_name))
			add_file(m, path);
	}
	if (d)
		closedir(d);
	return m->roots && m->others;
}

/* An EK certificate need not say what for; if it does, it is for an EK. */
static bool
for_an_ek(X509 *cert)
{
	EXTENDED_KEY_USAGE *eku = X509_get_ext_d2i(cert, NID_ext_key_usage,
	    NULL, NULL);
	bool found = !eku;
	char oid[64];

	for (int i = 0; eku && i < sk_ASN1_OBJECT_num(eku); i++) {
		OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(eku, i), 1);
		found = found || strcmp(oid, EKU_EK) == 0;
	}
	EXTENDED_KEY_USAGE_free(eku);
	return found;
}

static enum ly_rc
verify(X509 *cert, struct makers *m, const char *dir, struct ly_why *why)
{
	LY_AUTO(X509_STORE_CTX_free) X509_STORE_CTX *vc = X509_STORE_CTX_new();
	int error;

	if (m->n == 0)
		return ly_fail(why, LY_REFUSED,
		    "%s: no CA certificate of a maker there", dir);
	if (X509_check_ca(cert))
		return ly_fail(why, LY_REFUSED, "it is a CA's");
	if (!for_an_ek(cert))
		return ly_fail(why, LY_REFUSED,
		    "it is for another use than endorsement (extKeyUsage)");
	if (!vc || !X509_STORE_CTX_init(vc, m->roots, cert, m->others))
		return ly_fail(why, LY_OUTSIDE, "no memory");
	X509_STORE_CTX_set_flags(vc, X509_V_FLAG_IGNORE_CRITICAL);
	if (X509_verify_cert(vc) == 1)
		return LY_OK;
	error = X509_STORE_CTX_get_error(vc);
	ERR_clear_error();
	return ly_fail(why, LY_REFUSED, "%s",
	    X509_verify_cert_error_string(error));
}

/* The issuers that a host sends help to find the way, and are believed no
 * more than its certificate. */
static void
add_sent(struct makers *m, const uint8_t *at, const uint8_t *end)
{
	X509 *cert;

	while (
	    at < end && (cert = d2i_X509(NULL, &at, (long)(end - at))) != NULL)
		if (!sk_X509_push(m->others, cert))
			X509_free(cert);
	ERR_clear_error();
}

static bool
serial_of(X509 *cert, char out[LY_SERIAL_TEXT])
{
	BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *hex = n ? BN_bn2hex(n) : NULL;
	bool fits = hex && ly_copy(out, LY_SERIAL_TEXT, hex);

	OPENSSL_free(hex);
	BN_free(n);
	return fits;
}

enum ly_rc
ly_ek_cert_read(struct ly_bytes chain, const char *roots,
    struct ly_ek_cert *out, struct ly_why *why)
{
	const uint8_t *at = chain.at, *end = chain.at + chain.len;
	LY_AUTO(X509_free)
	X509 *cert = chain.len ? d2i_X509(NULL, &at, (long)chain.len) : NULL;
	struct makers m;
	enum ly_rc rc;

	ERR_clear_error();
	*out = (struct ly_ek_cert){ .genuine = false };
	if (!cert || !serial_of(cert, out->serial))
		return ly_fail(why, LY_MALFORMED,
		    "EK certificate: not a certificate");
	ly_sha256(chain.at, (size_t)(at - chain.at), out->sha256);
	rc = ly_cert_key(chain.at, (size_t)(at - chain.at), &out->key, why);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "EK certificate");
	if (makers_init(&m, roots)) {
		add_sent(&m, at, end);
		out->genuine = verify(cert, &m, roots, &out->not_genuine) ==
		    LY_OK;
	}
	makers_fini(&m);
	return LY_OK;
}
