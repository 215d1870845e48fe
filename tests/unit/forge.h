/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: certificates that lib/io/ca.h would never make. The defaults are
 * those of a good leaf; each test spoils one thing.
 */
#ifndef LY_TESTS_FORGE_H
#define LY_TESTS_FORGE_H

#include "tests/unit/site.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct forge {
	const char *file;	/* FILE.key and FILE.pem */
	const char *by;		/* BY.ca.key and BY.ca.pem; NULL: self-signed */
	const char *san;	/* "URI:spiffe://east/host/h1"; NULL: none */
	const char *basic;	/* NULL: "critical,CA:FALSE" */
	const char *usage;	/* NULL: "critical,digitalSignature" */
	const char *eku;	/* NULL: client and server */
	const char *group;	/* NULL: P-256 */
	const char *more[4][2]; /* OID, "DER:..." or what OpenSSL takes */
	long from_s, to_s;	/* from now; 0: -60 and 3600 */
	unsigned mode;		/* of the key; 0: 0600 */
};

static inline void
forge_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX v3;
	X509_EXTENSION *e;

	X509V3_set_ctx(&v3, issuer, cert, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
	WANT(e && X509_add_ext(cert, e, -1));
	X509_EXTENSION_free(e);
}

/* By name or number; a second of one kind is added as well. */
static inline void
forge_named(X509 *cert, const char *name, const char *value)
{
	CONF *none = NCONF_new(NULL);
	X509V3_CTX v3;
	X509_EXTENSION *e;

	X509V3_set_ctx(&v3, cert, cert, NULL, NULL, 0);
	X509V3_set_nconf(&v3, none); /* without one it takes no policies */
	e = X509V3_EXT_nconf(none, &v3, name, value);
	WANT(e && X509_add_ext(cert, e, -1));
	NCONF_free(none);
	X509_EXTENSION_free(e);
}

static inline void
forge_write(const struct forge *f, X509 *cert, EVP_PKEY *key)
{
	FILE *to = fopen(site_path("%s.pem", f->file), "w");

	WANT(to && PEM_write_X509(to, cert));
	fclose(to);
	unlink(site_path("%s.key", f->file)); /* it may be read-only */
	to = fopen(site_path("%s.key", f->file), "w");
	WANT(to && PEM_write_PrivateKey(to, key, NULL, NULL, 0, NULL, NULL));
	fclose(to);
	WANT_INT(chmod(site_path("%s.key", f->file), f->mode ? f->mode : 0600),
	    0);
}

static inline void
forge_issuer(const struct forge *f, X509 **cert, EVP_PKEY **key)
{
	FILE *from = fopen(site_path("%s.ca.pem", f->by), "r");

	WANT(from && (*cert = PEM_read_X509(from, NULL, NULL, NULL)));
	fclose(from);
	from = fopen(site_path("%s.ca.key", f->by), "r");
	WANT(from && (*key = PEM_read_PrivateKey(from, NULL, NULL, NULL)));
	fclose(from);
}

static inline void
forge_cert(const struct forge *f)
{
	EVP_PKEY *key = EVP_EC_gen(f->group ? f->group : "P-256");
	EVP_PKEY *signer = key;
	X509 *cert = X509_new(), *issuer = cert;

	WANT(key && cert);
	if (f->by)
		forge_issuer(f, &issuer, &signer);
	WANT(X509_set_version(cert, X509_VERSION_3));
	WANT(X509_set_pubkey(cert, key));
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 7);
	X509_gmtime_adj(X509_getm_notBefore(cert), f->from_s ? f->from_s : -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), f->to_s ? f->to_s : 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN",
	    MBSTRING_ASC, (const unsigned char *)f->file, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer));
	forge_ext(cert, issuer, NID_basic_constraints,
	    f->basic ? f->basic : "critical,CA:FALSE");
	forge_ext(cert, issuer, NID_key_usage,
	    f->usage ? f->usage : "critical,digitalSignature");
	forge_ext(cert, issuer, NID_ext_key_usage,
	    f->eku ? f->eku : "serverAuth,clientAuth");
	forge_ext(cert, issuer, NID_subject_key_identifier, "hash");
	forge_ext(cert, issuer, NID_authority_key_identifier, "keyid:always");
	if (f->san)
		forge_ext(cert, issuer, NID_subject_alt_name, f->san);
	for (size_t i = 0; i < LY_COUNT(f->more) && f->more[i][0]; i++)
		forge_named(cert, f->more[i][0], f->more[i][1]);
	WANT(X509_sign(cert, signer, EVP_sha256()));
	forge_write(f, cert, key);
	if (f->by) {
		X509_free(issuer);
		EVP_PKEY_free(signer);
	}
	X509_free(cert);
	EVP_PKEY_free(key);
}

/* A CA without name constraints, pinned as that of `site`. */
static inline void
forge_ca(const char *site)
{
	char file[LY_NAME_MAX + 4];

	ly_print(file, sizeof(file), "%s.ca", site);
	forge_cert(&(struct forge){ .file = file,
	    .basic = "critical,CA:TRUE",
	    .usage = "critical,keyCertSign",
	    .eku = "serverAuth,clientAuth" });
	SITE_OK(ly_file_mkdir(site_path("trust"), 0755, &why));
	site_copy(site_path("%s.ca.pem", site),
	    site_path("trust/%s.pem", site));
}

#endif
