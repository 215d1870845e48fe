/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/io/approvals.h"

#include "lib/crypt/cert.h"
#include "lib/io/file.h"
#include "lib/io/log.h"

#include <dirent.h>
#include <stdlib.h>

#define PEM_MOST 4096
#define PATH_MOST 400
#define SUFFIX ".list"

/* What stands: a list, the bytes it borrows from, the key that signed it. */
struct held {
	struct ly_approved list;
	struct ly_point key;
	uint8_t *bytes;
	size_t len;
};

struct ly_approvals {
	char dir[256], trust[256];
	struct held *of[LY_APPROVALS_MOST];
	unsigned n;
};

static void
held_free(struct held *h)
{
	free(h->bytes);
	free(h);
}
LY_AUTO_FOR(held_free, struct held)
LY_AUTO_FOR(free, uint8_t)

void
ly_approvals_free(struct ly_approvals *a)
{
	if (!a)
		return;
	for (unsigned i = 0; i < a->n; i++)
		held_free(a->of[i]);
	free(a);
}
LY_AUTO_FOR(ly_approvals_free, struct ly_approvals)

/* ---- the pinned key ---- */

enum ly_rc
ly_approvals_key(const struct ly_approvals *a, const char *site,
    struct ly_point *out, struct ly_why *why)
{
	LY_AUTO(free) uint8_t *pem = NULL;
	struct ly_cert_key key;
	char path[PATH_MOST];
	size_t len;
	enum ly_rc rc;

	if (!ly_name_good(site))
		return ly_fail(why, LY_UNKNOWN, "not a site's name");
	ly_print(path, sizeof(path), "%s/%s.policy.pem", a->trust, site);
	rc = ly_file_read(path, PEM_MOST, &pem, &len, why);
	if (rc == LY_UNKNOWN)
		return ly_fail(why, LY_UNKNOWN,
		    "%s: missing, the policy key of site %s", path, site);
	if (rc == LY_OK)
		rc = ly_public_key(pem, len, &key, why);
	if (rc == LY_OK && key.rsa)
		rc = ly_fail(why, LY_REFUSED, "not a P-256 key");
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "%s", path);
	*out = key.point;
	return LY_OK;
}

/* ---- what there is ---- */

static struct held **
find(struct ly_approvals *a, const char *site)
{
	for (unsigned i = 0; i < a->n; i++)
		if (strcmp(a->of[i]->list.site, site) == 0)
			return &a->of[i];
	return NULL;
}

/* Of a key that is pinned no more: none. */
static const struct held *
standing(struct ly_approvals *a, const char *site)
{
	struct held **h = find(a, site);
	struct ly_point key;

	if (!h || ly_approvals_key(a, site, &key, NULL) != LY_OK ||
	    memcmp(&key, &(*h)->key, sizeof(key)) != 0)
		return NULL;
	return *h;
}

const struct ly_approved *
ly_approvals_of(struct ly_approvals *a, const char *site)
{
	const struct held *h = standing(a, site);

	return h ? &h->list : NULL;
}

struct ly_bytes
ly_approvals_bytes(struct ly_approvals *a, const char *site)
{
	const struct held *h = standing(a, site);

	return h ? (struct ly_bytes){ h->bytes, h->len } :
		   (struct ly_bytes){ NULL, 0 };
}

const char *
ly_approvals_site(struct ly_approvals *a, unsigned i)
{
	return i < a->n ? a->of[i]->list.site : NULL;
}

/* ---- taking ---- */

static enum ly_rc
held_new(const struct ly_approvals *a, const char *site, struct ly_bytes list,
    struct held **out, struct ly_why *why)
{
	LY_AUTO(held_free) struct held *h = calloc(1, sizeof(*h));
	enum ly_rc rc;

	if (!h || !(h->bytes = malloc(list.len + 1)))
		return ly_fail(why, LY_OUTSIDE, "no memory");
	h->len = list.len;
	if (list.len)
		memcpy(h->bytes, list.at, list.len);
	rc = ly_approvals_key(a, site, &h->key, why);
	if (rc == LY_OK)
		rc = ly_approved_parse((struct ly_bytes){ h->bytes, h->len },
		    site, &h->key, &h->list, why);
	if (rc == LY_OK)
		*out = ly_take(h);
	return rc;
}

static enum ly_rc
compare(const struct held *old, const struct held *new,
    enum ly_approvals_news *news, struct ly_why *why)
{
	if (!old || new->list.serial > old->list.serial)
		*news = LY_APPROVALS_NEWER;
	else if (new->list.serial < old->list.serial)
		*news = LY_APPROVALS_OLDER;
	else if (new->len == old->len &&
	    memcmp(new->bytes, old->bytes, old->len) == 0)
		*news = LY_APPROVALS_SAME;
	else
		return ly_fail(why, LY_REFUSED,
		    "approved states of %s: another list %llu than we have",
		    new->list.site, (unsigned long long)new->list.serial);
	return LY_OK;
}

static enum ly_rc
put(struct ly_approvals *a, struct held *h, struct ly_why *why)
{
	struct held **at = find(a, h->list.site);

	if (!at && a->n == LY_APPROVALS_MOST)
		return ly_fail(why, LY_FULL, "approved states of %d sites",
		    LY_APPROVALS_MOST);
	if (!at)
		a->of[a->n++] = h;
	else {
		held_free(*at);
		*at = h;
	}
	return LY_OK;
}

enum ly_rc
ly_approvals_take(struct ly_approvals *a, const char *site,
    struct ly_bytes list, enum ly_approvals_news *news, struct ly_why *why)
{
	LY_AUTO(held_free) struct held *h = NULL;
	char path[PATH_MOST];
	enum ly_rc rc = held_new(a, site, list, &h, why);

	if (rc == LY_OK)
		rc = compare(standing(a, site), h, news, why);
	if (rc != LY_OK || *news != LY_APPROVALS_NEWER)
		return rc;
	ly_print(path, sizeof(path), "%s/%s" SUFFIX, a->dir, site);
	rc = ly_file_write(path, list.at, list.len, 0644, why);
	if (rc == LY_OK)
		rc = put(a, h, why);
	if (rc == LY_OK)
		(void)ly_take(h);
	return rc;
}

/* ---- at start ---- */

static enum ly_rc
load_one(struct ly_approvals *a, const char *file, struct ly_why *why)
{
	LY_AUTO(held_free) struct held *h = NULL;
	LY_AUTO(free) uint8_t *bytes = NULL;
	char path[PATH_MOST + NAME_MAX], site[LY_NAME_MAX];
	struct ly_why wrong;
	size_t len;
	enum ly_rc rc;

	if (!ly_print(site, sizeof(site), "%.*s",
		(int)(strlen(file) - strlen(SUFFIX)), file) ||
	    !ly_name_good(site))
		return LY_OK;
	ly_print(path, sizeof(path), "%s/%s", a->dir, file);
	rc = ly_file_read(path, LY_APPROVED_MAX, &bytes, &len, why);
	if (rc != LY_OK)
		return rc;
	rc = held_new(a, site, (struct ly_bytes){ bytes, len }, &h, &wrong);
	if (rc != LY_OK) {
		ly_log(LY_WARNING, "policy", "%s: left alone: %s", path,
		    wrong.text);
		return LY_OK;
	}
	rc = put(a, h, why);
	if (rc == LY_OK)
		(void)ly_take(h);
	return rc;
}

enum ly_rc
ly_approvals_open(const char *dir, const char *trust, struct ly_approvals **out,
    struct ly_why *why)
{
	LY_AUTO(ly_approvals_free)
	struct ly_approvals *a = calloc(1, sizeof(*a));
	enum ly_rc rc = LY_OK;
	struct dirent *e;
	DIR *d;

	if (!a || !ly_copy(a->dir, sizeof(a->dir), dir) ||
	    !ly_copy(a->trust, sizeof(a->trust), trust))
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

		if (n > strlen(SUFFIX) && e->d_name[0] != '.' &&
		    strcmp(e->d_name + n - strlen(SUFFIX), SUFFIX) == 0)
			rc = load_one(a, e->d_name, why);
	}
	closedir(d);
	if (rc == LY_OK)
		*out = ly_take(a);
	return rc;
}
