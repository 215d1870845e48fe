/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/io/crl.h"

#include "lib/io/file.h"
#include "lib/io/log.h"

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

LY_AUTO_FOR(X509_CRL_free, X509_CRL)

static void
crl_fini(struct ly_crl *c)
{
	X509_CRL_free(c->crl);
	free(c->der);
	c->crl = NULL;
	c->der = NULL;
}

void
ly_crls_fini(struct ly_crls *crls)
{
	for (unsigned i = 0; i < crls->n; i++)
		crl_fini(&crls->of[i]);
	crls->n = 0;
}

static struct ly_crl *
find(struct ly_crls *crls, const char *site)
{
	for (unsigned i = 0; i < crls->n; i++)
		if (strcmp(crls->of[i].site, site) == 0)
			return &crls->of[i];
	return NULL;
}

const struct ly_crl *
ly_crls_of(const struct ly_crls *crls, const char *site)
{
	for (unsigned i = 0; i < crls->n; i++)
		if (strcmp(crls->of[i].site, site) == 0)
			return &crls->of[i];
	return NULL;
}

/* ---- one CRL ---- */

uint64_t
ly_asn1_seconds(const ASN1_TIME *t)
{
	struct tm tm;
	time_t when;

	if (!t || !ASN1_TIME_to_tm(t, &tm))
		return 0;
	when = timegm(&tm);
	return when > 0 ? (uint64_t)when : 0;
}

static enum ly_rc
parse(struct ly_bytes der, X509_CRL **out, uint64_t *number, struct ly_why *why)
{
	LY_AUTO(X509_CRL_free) X509_CRL *crl = NULL;
	const uint8_t *at = der.at;
	ASN1_INTEGER *n;
	bool good;

	if (der.len > LY_CRL_MAX)
		return ly_fail(why, LY_FULL, "a CRL over %u bytes", LY_CRL_MAX);
	crl = d2i_X509_CRL(NULL, &at, (long)der.len);
	if (!crl || at != der.at + der.len) {
		ERR_clear_error();
		return ly_fail(why, LY_MALFORMED, "not a CRL");
	}
	n = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
	good = n && ASN1_INTEGER_get_uint64(number, n);
	ASN1_INTEGER_free(n);
	ERR_clear_error();
	if (!good || !X509_CRL_get0_nextUpdate(crl))
		return ly_fail(why, LY_MALFORMED,
		    "a CRL without a number or a nextUpdate");
	*out = ly_take(crl);
	return LY_OK;
}

static bool
signed_by(X509_CRL *crl, X509 *const *cas, unsigned cas_n)
{
	bool good = false;

	for (unsigned i = 0; i < cas_n && !good; i++)
		good = X509_NAME_cmp(X509_CRL_get_issuer(crl),
			   X509_get_subject_name(cas[i])) == 0 &&
		    X509_CRL_verify(crl, X509_get0_pubkey(cas[i])) == 1;
	ERR_clear_error();
	return good;
}

/* ---- all of them ---- */

/* Both taken over by the entry. */
static void
put(struct ly_crl *c, const char *site, X509_CRL *crl, uint8_t *der, size_t len,
    uint64_t number)
{
	crl_fini(c);
	*c = (struct ly_crl){ .crl = crl,
		.der = der,
		.len = len,
		.number = number,
		.next_update = ly_asn1_seconds(X509_CRL_get0_nextUpdate(crl)) };
	ly_copy(c->site, sizeof(c->site), site);
}

static enum ly_rc
save(const struct ly_crls *crls, const char *site, struct ly_bytes der,
    struct ly_why *why)
{
	char path[sizeof(crls->dir) + LY_NAME_MAX + 8];

	if (!crls->dir[0])
		return LY_OK;
	ly_print(path, sizeof(path), "%s/%s.crl", crls->dir, site);
	return ly_file_write(path, der.at, der.len, 0644, why);
}

/* LY_OK and *fresh: `crl` is to be put there. */
static enum ly_rc
may_take(const struct ly_crl *old, const char *site, X509_CRL *crl,
    uint64_t number, X509 *const *cas, unsigned cas_n, bool *fresh,
    struct ly_why *why)
{
	if (!signed_by(crl, cas, cas_n))
		return ly_fail(why, LY_REFUSED,
		    "the CA of site %s has not signed this CRL", site);
	if (old && number < old->number)
		return ly_fail(why, LY_REFUSED,
		    "CRL %llu of site %s, and we have %llu",
		    (unsigned long long)number, site,
		    (unsigned long long)old->number);
	*fresh = !old || number > old->number;
	return LY_OK;
}

enum ly_rc
ly_crls_take(struct ly_crls *crls, const char *site, X509 *const *cas,
    unsigned cas_n, struct ly_bytes der, bool *fresh, struct ly_why *why)
{
	LY_AUTO(X509_CRL_free) X509_CRL *crl = NULL;
	struct ly_crl *c = find(crls, site);
	uint64_t number;
	uint8_t *copy;
	enum ly_rc rc = parse(der, &crl, &number, why);

	*fresh = false;
	if (rc == LY_OK)
		rc = may_take(c, site, crl, number, cas, cas_n, fresh, why);
	if (rc != LY_OK || !*fresh)
		return rc;
	if (!c && crls->n == LY_CRLS_MOST)
		return ly_fail(why, LY_FULL, "CRLs of %d sites", LY_CRLS_MOST);
	copy = malloc(der.len);
	if (!copy)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	memcpy(copy, der.at, der.len);
	rc = save(crls, site, der, why);
	if (rc != LY_OK) {
		free(copy);
		return rc;
	}
	if (!c)
		c = &crls->of[crls->n++];
	put(c, site, ly_take(crl), copy, der.len, number);
	return LY_OK;
}

static enum ly_rc
load_one(struct ly_crls *crls, const char *file, ly_crls_cas *cas,
    const void *arg, struct ly_why *why)
{
	char path[sizeof(crls->dir) + LY_NAME_MAX + 8], site[LY_NAME_MAX];
	X509 *const *of = NULL;
	unsigned n;
	uint8_t *der;
	size_t len;
	uint64_t number;
	X509_CRL *crl;
	enum ly_rc rc;

	if (!ly_print(site, sizeof(site), "%.*s",
		(int)(strlen(file) - strlen(".crl")), file) ||
	    !ly_name_good(site) || crls->n == LY_CRLS_MOST)
		return LY_OK;
	ly_print(path, sizeof(path), "%s/%s", crls->dir, file);
	rc = ly_file_read(path, LY_CRL_MAX, &der, &len, why);
	if (rc != LY_OK)
		return rc;
	rc = parse((struct ly_bytes){ der, len }, &crl, &number, why);
	if (rc != LY_OK) {
		free(der);
		return ly_fail_in(why, rc, "%s", path);
	}
	n = cas(arg, site, &of);
	if (signed_by(crl, of, n)) {
		put(&crls->of[crls->n++], site, crl, der, len, number);
		return LY_OK;
	}
	ly_log(LY_WARNING, "identity",
	    "%s: not signed by a CA that is believed for %s: left alone", path,
	    site);
	X509_CRL_free(crl);
	free(der);
	return LY_OK;
}

enum ly_rc
ly_crls_load(struct ly_crls *crls, const char *dir, ly_crls_cas *cas,
    const void *arg, struct ly_why *why)
{
	enum ly_rc rc;
	struct dirent *e;
	DIR *d;

	if (!ly_copy(crls->dir, sizeof(crls->dir), dir))
		return ly_fail(why, LY_FULL, "%s: too long", dir);
	rc = ly_file_mkdir(dir, 0700, why);
	if (rc != LY_OK)
		return rc;
	d = opendir(dir);
	if (!d)
		return ly_fail(why, LY_OUTSIDE, "%s: cannot read the directory",
		    dir);
	while (rc == LY_OK && (e = readdir(d))) {
		size_t n = strlen(e->d_name);

		if (n > 4 && e->d_name[0] != '.' &&
		    strcmp(e->d_name + n - 4, ".crl") == 0)
			rc = load_one(crls, e->d_name, cas, arg, why);
	}
	closedir(d);
	return rc;
}

bool
ly_crls_revoked(const struct ly_crls *crls, const char *site,
    const ASN1_INTEGER *serial)
{
	const struct ly_crl *c = ly_crls_of(crls, site);
	X509_REVOKED *entry;

	/* The list is sorted at its first use, which is not seen outside. */
	return c && X509_CRL_get0_by_serial(c->crl, &entry, serial) == 1;
}

const char *
ly_crls_stale(struct ly_crls *crls, uint64_t now_s)
{
	for (unsigned i = 0; i < crls->n; i++) {
		struct ly_crl *c = &crls->of[i];

		if (c->said_stale || now_s < c->next_update)
			continue;
		c->said_stale = true;
		return c->site;
	}
	return NULL;
}
