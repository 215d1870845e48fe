/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/vault.h"

#include "lib/io/file.h"
#include "lib/io/identity.h"
#include "lib/io/log.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATH_MOST 400
#define PREFIX "vault."

struct ly_vault {
	char dir[256];
	const struct ly_vault_chip *chip;
	void *arg;
	struct ly_vault_look is; /* is.value: the counter, as we know it */
	uint64_t exposed; /* of versions up to this, other contents may exist */
	bool owed;
	bool unsure; /* of the counter: an answer was lost */
	bool stuck; /* it did not count: nothing is told that was not counted */
	bool alone; /* nothing in the directory is ours but what we write */
	struct ly_vault_sealed next; /* made ahead; version 0: none */
	uint8_t key[LY_GCM_KEY];     /* of `next` */
};

/* ---- the files ---- */

static void
path_of(const char *dir, uint64_t version, char out[PATH_MOST])
{
	ly_print(out, PATH_MOST, "%s/" PREFIX "%llu", dir,
	    (unsigned long long)version);
}

/* "vault.N", with nothing behind. */
static bool
version_of(const char *name, uint64_t *version)
{
	size_t n = strlen(PREFIX);

	return strncmp(name, PREFIX, n) == 0 && name[n] != '0' &&
	    ly_parse_uint(name + n, UINT64_MAX, version) == LY_OK;
}

typedef void each(const char *dir, const char *name, void *arg);

static void
each_file(const char *dir, each *fn, void *arg)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		return; /* what should be in it will be missed */
	while ((e = readdir(d)))
		fn(dir, e->d_name, arg);
	closedir(d);
}

struct found {
	uint64_t counter;
	unsigned n;
	bool now, after;       /* of the counter's version; of the next */
	uint64_t below, above; /* nearest to the counter; 0: none */
};

static void
find(const char *dir, const char *name, void *arg)
{
	struct found *f = arg;
	uint64_t v;

	(void)dir;
	if (!version_of(name, &v))
		return;
	f->n++;
	f->now |= v == f->counter;
	f->after |= v == f->counter + 1;
	if (v < f->counter && v > f->below)
		f->below = v;
	if (v > f->counter && (!f->above || v < f->above))
		f->above = v;
}

bool
ly_vault_there(const char *dir)
{
	struct found f = { .n = 0 };

	each_file(dir, find, &f);
	return f.n > 0;
}

/* What a write that was cut off has left behind. */
static void
sweep(const char *dir, const char *name, void *arg)
{
	char path[PATH_MOST];

	(void)arg;
	if (strncmp(name, PREFIX, strlen(PREFIX)) == 0 &&
	    strstr(name, ".tmp-") &&
	    ly_print(path, sizeof(path), "%s/%s", dir, name))
		unlink(path);
}

/* Versions that are over. */
static void
drop(const char *dir, const char *name, void *arg)
{
	const struct ly_vault *v = arg;
	char path[PATH_MOST];
	uint64_t version;

	if (!version_of(name, &version) || version >= v->is.value)
		return;
	path_of(dir, version, path);
	unlink(path);
}

/* What a vault begun anew finds: of no use here, but perhaps elsewhere. */
static void
put_aside(const char *dir, const char *name, void *arg)
{
	char path[PATH_MOST], aside[PATH_MOST + 4];
	uint64_t version;

	(void)arg;
	if (!version_of(name, &version))
		return;
	path_of(dir, version, path);
	ly_print(aside, sizeof(aside), "%s.old", path);
	if (rename(path, aside) == 0)
		ly_log(LY_WARNING, "vault", "%s is kept as %s.old", path, name);
}

/* ---- opening ---- */

static enum ly_rc
no_version(const struct ly_vault *v, const struct found *f, struct ly_why *why)
{
	unsigned long long c = v->is.value;

	if (v->is.counter != LY_COUNTER_GOOD)
		return ly_fail(why, LY_REFUSED,
		    "%s: there is a vault (version %llu), but the TPM has no"
		    " counter at 0x%x: it was cleared, or is another TPM",
		    v->dir, (unsigned long long)f->above, v->is.index);
	if (!f->n)
		return ly_fail(why, LY_REFUSED,
		    "%s: there is no vault, but the TPM's counter at 0x%x says"
		    " there is one of version %llu",
		    v->dir, v->is.index, c);
	if (f->below)
		return ly_fail(why, LY_REFUSED,
		    "%s/" PREFIX "%llu: version %llu, but the TPM's counter"
		    " says %llu: an old vault was put back",
		    v->dir, (unsigned long long)f->below,
		    (unsigned long long)f->below, c);
	return ly_fail(why, LY_REFUSED,
	    "%s/" PREFIX "%llu: version %llu, but the TPM's counter says only"
	    " %llu: a vault of another TPM, or its own one is missing",
	    v->dir, (unsigned long long)f->above, (unsigned long long)f->above,
	    c);
}

/* Is this head the one the file's name and this TPM make us expect? */
static enum ly_rc
expected(const struct ly_vault *v, const struct ly_vault_head *h,
    struct ly_why *why)
{
	if (h->version != v->is.value)
		return ly_fail(why, LY_REFUSED,
		    "it is of version %llu, not what its name and the TPM's"
		    " counter say",
		    (unsigned long long)h->version);
	if (!ly_same(h->owner, v->is.owner, LY_VAULT_NAME))
		return ly_fail(why, LY_REFUSED,
		    "it belongs to another TPM, or this TPM was cleared"
		    " (version %llu, and so says the counter)",
		    (unsigned long long)h->version);
	if (h->index != v->is.index ||
	    !ly_same(h->counter, v->is.name, LY_VAULT_NAME))
		return ly_fail(why, LY_REFUSED,
		    "it belongs to another counter (0x%x) than the one at 0x%x",
		    h->index, v->is.index);
	return LY_OK;
}

static enum ly_rc
unlock(const struct ly_vault *v, uint8_t *buf, size_t len, uint8_t **body,
    size_t *body_len, struct ly_why *why)
{
	struct ly_vault_head head;
	struct ly_vault_sealed sealed;
	uint8_t key[LY_GCM_KEY];
	enum ly_rc rc = ly_vault_file_head(buf, len, &head, why);

	if (rc == LY_OK)
		rc = expected(v, &head, why);
	if (rc != LY_OK)
		return rc;
	sealed = (struct ly_vault_sealed){ .version = head.version,
		.pub_len = (uint16_t)head.pub.len,
		.priv_len = (uint16_t)head.priv.len };
	memcpy(sealed.pub, head.pub.at, head.pub.len);
	memcpy(sealed.priv, head.priv.at, head.priv.len);
	rc = v->chip->unseal(v->arg, &sealed, key, why);
	if (rc == LY_OK)
		rc = ly_vault_file_open(buf, len, key, body, body_len, why);
	ly_wipe(key, sizeof(key));
	return rc;
}

/* The file of version is.value; *out is the body alone, malloc'd. */
static enum ly_rc
read_version(const struct ly_vault *v, uint8_t **out, size_t *len,
    struct ly_why *why)
{
	char path[PATH_MOST];
	uint8_t *buf, *body;
	size_t n, body_len;
	enum ly_rc rc;

	path_of(v->dir, v->is.value, path);
	rc = ly_file_read(path, LY_VAULT_HEAD_MAX + LY_VAULT_BODY_MAX, &buf, &n,
	    why);
	if (rc != LY_OK)
		return rc;
	rc = unlock(v, buf, n, &body, &body_len, why);
	if (rc != LY_OK) {
		free(buf);
		return ly_fail_in(why, rc, "%s", path);
	}
	memmove(buf, body, body_len);
	ly_wipe(buf + body_len, n - body_len);
	*out = buf;
	*len = body_len;
	return LY_OK;
}

/* Was the one after the counter's told? */
static bool
told(const struct ly_vault *v)
{
	char path[PATH_MOST];
	struct ly_vault_head head;
	uint8_t *buf;
	size_t len;
	bool yes;

	path_of(v->dir, v->is.value + 1, path);
	if (ly_file_read(path, LY_VAULT_HEAD_MAX + LY_VAULT_BODY_MAX, &buf,
		&len, NULL) != LY_OK)
		return false;
	yes = ly_vault_file_head(buf, len, &head, NULL) == LY_OK && head.told;
	free(buf);
	return yes;
}

/* Where does the counter stand now? */
static enum ly_rc
look(struct ly_vault *v, struct ly_why *why)
{
	struct ly_vault_look is;
	enum ly_rc rc = v->chip->look(v->arg, &is, why);

	if (rc != LY_OK)
		return rc;
	if (is.counter != LY_COUNTER_GOOD || is.value < v->is.value)
		return ly_fail(why, LY_REFUSED,
		    "the counter at 0x%x is not that of version %llu any more",
		    v->is.index, (unsigned long long)v->is.value);
	v->is = is;
	v->unsure = false;
	return LY_OK;
}

/* An error may mean that it has counted and only the answer is lost. */
static enum ly_rc
count(struct ly_vault *v, struct ly_why *why)
{
	uint64_t next = v->is.value + 1;
	enum ly_rc rc = v->chip->count(v->arg, why);

	v->stuck = rc != LY_OK;
	if (rc == LY_OK) {
		v->is.value = next;
		return LY_OK;
	}
	v->unsure = true;
	return look(v, NULL) == LY_OK && v->is.value == next ? LY_OK : rc;
}

static enum ly_rc
read_that(struct ly_vault *v, uint8_t **body, size_t *len, struct ly_why *why)
{
	struct found f = { .counter = v->is.value };
	enum ly_rc rc = LY_OK;

	each_file(v->dir, find, &f);
	if (v->is.counter != LY_COUNTER_GOOD)
		return f.n ? no_version(v, &f, why) : LY_OK;
	if (f.after && told(v)) {
		rc = count(v, why);
		f.now = true;
	}
	if (rc == LY_OK && !f.now)
		rc = no_version(v, &f, why);
	return rc == LY_OK ? read_version(v, body, len, why) : rc;
}

static enum ly_rc
find_version(struct ly_vault *v, bool anew, uint8_t **body, size_t *len,
    struct ly_why *why)
{
	struct ly_why what;
	enum ly_rc rc = v->chip->look(v->arg, &v->is, why);

	if (rc != LY_OK)
		return rc;
	rc = read_that(v, body, len, &what);
	if (rc != LY_OK && !anew)
		return ly_fail(why, rc, "%s", what.text);
	if (rc != LY_OK)
		ly_log_alarm("vault", "begun anew, as was asked for: %s",
		    what.text);
	else if (anew && *body)
		ly_log(LY_WARNING, "vault",
		    "--new-vault is not needed: version %llu opens",
		    (unsigned long long)v->is.value);
	if (!*body)
		each_file(v->dir, put_aside, NULL);
	if (v->is.counter == LY_COUNTER_GOOD)
		return LY_OK;
	rc = v->chip->define(v->arg, why);
	return rc == LY_OK ? v->chip->look(v->arg, &v->is, why) : rc;
}

enum ly_rc
ly_vault_open(const char *dir, const struct ly_vault_chip *chip, void *arg,
    bool anew, struct ly_vault **out, uint8_t **body, size_t *len,
    struct ly_why *why)
{
	struct ly_vault *v = calloc(1, sizeof(*v));
	enum ly_rc rc;

	*body = NULL;
	*len = 0;
	if (!v || !ly_copy(v->dir, sizeof(v->dir), dir)) {
		free(v);
		return ly_fail(why, LY_OUTSIDE, "no memory");
	}
	v->chip = chip;
	v->arg = arg;
	rc = find_version(v, anew, body, len, why);
	if (rc == LY_OK && v->is.counter != LY_COUNTER_GOOD)
		rc = ly_fail(why, LY_OUTSIDE, "the TPM's counter is gone");
	if (rc != LY_OK) {
		free(v);
		return rc;
	}
	each_file(dir, sweep, NULL);
	v->exposed = v->is.value + 1;
	*out = v;
	return LY_OK;
}

/* ---- writing ---- */

static enum ly_rc
make_key(struct ly_vault *v, struct ly_why *why)
{
	enum ly_rc rc;

	if (v->next.version == v->is.value + 1)
		return LY_OK;
	ly_random(v->key, sizeof(v->key));
	v->next.version = v->is.value + 1;
	rc = v->chip->seal(v->arg, v->key, &v->next, why);
	if (rc != LY_OK)
		v->next.version = 0;
	return rc;
}

/* The file of the version after the counter's. Its key is for it alone. */
static enum ly_rc
put(struct ly_vault *v, const uint8_t *body, size_t len, bool is_told,
    struct ly_why *why)
{
	struct ly_vault_head h = { .told = is_told };
	char path[PATH_MOST];
	uint8_t *buf;
	size_t n;
	enum ly_rc rc = make_key(v, why);

	if (rc != LY_OK)
		return rc;
	h.version = v->next.version;
	h.index = v->is.index;
	memcpy(h.counter, v->is.name, LY_VAULT_NAME);
	memcpy(h.owner, v->is.owner, LY_VAULT_NAME);
	h.pub = (struct ly_bytes){ v->next.pub, v->next.pub_len };
	h.priv = (struct ly_bytes){ v->next.priv, v->next.priv_len };
	rc = ly_vault_file_pack(&h, v->key, body, len, &buf, &n, why);
	ly_wipe(v->key, sizeof(v->key));
	v->next.version = 0;
	if (rc != LY_OK)
		return rc;
	path_of(v->dir, h.version, path);
	rc = ly_file_write(path, buf, n, 0600, why);
	free(buf);
	return rc;
}

enum ly_rc
ly_vault_write(struct ly_vault *v, const uint8_t *body, size_t len, bool lazy,
    struct ly_why *why)
{
	enum ly_rc rc = v->unsure ? look(v, why) : LY_OK;
	bool last = false;

	lazy = lazy && !v->stuck;
	while (rc == LY_OK && !last) {
		uint64_t next = v->is.value + 1;

		last = next > v->exposed;
		v->exposed = next;
		rc = put(v, body, len, lazy || v->owed, why);
		if (rc == LY_OK && lazy) {
			v->owed = true;
			return LY_OK;
		}
		if (rc == LY_OK)
			rc = count(v, why);
		if (rc == LY_OK)
			v->owed = false; /* what is counted holds it */
	}
	if (rc != LY_OK)
		return rc;
	each_file(v->dir, drop, v);
	return LY_OK;
}

enum ly_rc
ly_vault_ahead(struct ly_vault *v, struct ly_why *why)
{
	uint64_t was = v->is.value;
	enum ly_rc rc = look(v, why);

	if (rc != LY_OK)
		return rc;
	if (v->is.value == was)
		return make_key(v, why);
	return ly_fail(why, LY_FENCED,
	    "the counter at 0x%x says %llu, not %llu: somebody else counts, or"
	    " an answer was lost; the vault is written again",
	    v->is.index, (unsigned long long)v->is.value,
	    (unsigned long long)was);
}

bool
ly_vault_owes(const struct ly_vault *v)
{
	return v->owed;
}

uint64_t
ly_vault_version(const struct ly_vault *v)
{
	return v->is.value;
}

void
ly_vault_free(struct ly_vault *v)
{
	if (!v)
		return;
	ly_wipe(v, sizeof(*v));
	free(v);
}
