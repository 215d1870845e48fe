/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a directory that goes away at exit, sites with a CA in it, and
 * members of these sites as loaded identities. Who trusts whom is said by the
 * trust directory: "trust" has the CA of every site made.
 */
#ifndef LY_TESTS_SITE_H
#define LY_TESTS_SITE_H

#include "lib/io/ca.h"
#include "lib/io/file.h"
#include "tests/test.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char site_root[64];
static pid_t site_owner;

static int
site_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline void
site_sweep(void)
{
	if (getpid() == site_owner) /* and not a child of the test */
		nftw(site_root, site_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path in the directory; good until the eighth call after. */
static inline LY_PRINTF(1, 2) const char *site_path(const char *fmt, ...)
{
	static char text[8][256];
	static unsigned turn;
	char *out = text[turn++ % LY_COUNT(text)];
	size_t n;
	va_list ap;

	if (!site_root[0]) {
		strcpy(site_root, "/tmp/lytest-XXXXXX");
		if (!mkdtemp(site_root))
			abort();
		site_owner = getpid();
		atexit(site_sweep);
	}
	snprintf(out, sizeof(text[0]), "%s/", site_root);
	n = strlen(out);
	va_start(ap, fmt);
	vsnprintf(out + n, sizeof(text[0]) - n, fmt, ap);
	va_end(ap);
	return out;
}

#define SITE_OK(call)                                                          \
	do {                                                                   \
		struct ly_why why = { "" };                                    \
		if ((call) != LY_OK)                                           \
			test_fail(__FILE__, __LINE__, "%s: %s", #call,         \
			    why.text);                                         \
	} while (0)

static inline void
site_copy(const char *from, const char *to)
{
	uint8_t *buf = NULL;
	size_t len = 0;

	SITE_OK(ly_file_read(from, 65536, &buf, &len, &why));
	SITE_OK(ly_file_write(to, buf, len, 0644, &why));
	free(buf);
}

/* "NAME.ca.key", "NAME.ca.pem" and a place in the trust directory, once. */
static inline void
site_make(const char *name)
{
	if (access(site_path("%s.ca.pem", name), F_OK) == 0)
		return;
	SITE_OK(ly_file_mkdir(site_path("trust"), 0755, &why));
	SITE_OK(ly_ca_make(name, site_path("%s.ca.key", name),
	    site_path("%s.ca.pem", name), 30, &why));
	site_copy(site_path("%s.ca.pem", name),
	    site_path("trust/%s.pem", name));
}

/* FILE.key and FILE.pem for `spiffe`, signed by the CA of `site`. */
static inline void
site_certify(const char *file, const char *site, const char *spiffe)
{
	char *request = NULL, *cert = NULL;

	SITE_OK(
	    ly_ca_request(spiffe, site_path("%s.key", file), &request, &why));
	SITE_OK(ly_ca_sign(site_path("%s.ca.key", site),
	    site_path("%s.ca.pem", site), request, spiffe, 3600, &cert, &why));
	SITE_OK(ly_file_write(site_path("%s.pem", file), cert, strlen(cert),
	    0644, &why));
	free(request);
	free(cert);
}

static inline struct ly_identity *
site_load(const char *file, const char *trust)
{
	struct ly_identity *ids = NULL;
	char cert[256], key[256], dir[256];
	struct ly_identity_files files = { cert, key, dir, NULL };

	ly_copy(cert, sizeof(cert), site_path("%s.pem", file));
	ly_copy(key, sizeof(key), site_path("%s.key", file));
	ly_copy(dir, sizeof(dir), site_path("%s", trust));
	SITE_OK(ly_identity_load(&files, &ids, &why));
	return ids;
}

/* spiffe://SITE/host/NAME, trusting every site made so far. */
static inline struct ly_identity *
site_host(const char *site, const char *name)
{
	char spiffe[LY_SPIFFE_MAX], file[2 * LY_NAME_MAX];

	site_make(site);
	ly_spiffe_host(site, name, spiffe);
	ly_print(file, sizeof(file), "%s-%s", site, name);
	site_certify(file, site, spiffe);
	return site_load(file, "trust");
}

#endif
