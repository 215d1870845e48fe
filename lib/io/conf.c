/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inih takes lines apart; what is a section, a key and a good value is decided
 * here. inih is fed line by line from memory, so that we know the number of
 * every line (its handler is not told), see section headers that have no key
 * (its handler is not called), refuse lines that it would cut, and may indent.
 *
 * The first error is the one that is reported.
 */
#include "lib/io/conf.h"

#include "lib/io/address.h"
#include "lib/io/file.h"

#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MOST (256u * 1024)
#define LINE_MOST 198 /* inih reads 200 bytes at a time, with '\n' and NUL */
#define KEYS_MOST 128 /* rows of a table */
#define SECTIONS_MOST 256

/* A section as the file has it, or a plain one it should have. */
struct section {
	char name[LY_NAME_MAX];	    /* "agent", "tpm" */
	char instance[LY_NAME_MAX]; /* "a" of [tpm a]; else "" */
	void *base;
	unsigned line;
	bool seen[KEYS_MOST];
};

struct reader {
	const char *path;
	const struct ly_conf_key *keys;
	size_t keys_n;
	ly_conf_named *named;
	void *conf;
	const char *at, *end;
	unsigned line;
	struct section *now; /* the one whose keys come */
	struct section *all;
	size_t all_n;
	enum ly_rc rc;
	struct ly_why why;
};

/* ---- the table ---- */

static bool
is_named(const struct ly_conf_key *k)
{
	size_t n = strlen(k->section);

	return n > 2 && strcmp(k->section + n - 2, " *") == 0;
}

/* Whether row `k` is of section `name`, plain or named. */
static bool
of_section(const struct ly_conf_key *k, const char *name, bool named)
{
	size_t n = strlen(name);

	if (is_named(k) != named || strncmp(k->section, name, n) != 0)
		return false;
	return strcmp(k->section + n, named ? " *" : "") == 0;
}

static enum ly_rc
set_text(const struct ly_conf_key *k, const char *value, char *to,
    struct ly_why *why)
{
	char host[LY_ADDR_MAX], port[6];

	if (strlen(value) >= k->size)
		return ly_fail(why, LY_REFUSED, "over %zu characters",
		    k->size - 1);
	if (k->kind == LY_CONF_NAME && !ly_name_good(value))
		return ly_fail(why, LY_REFUSED,
		    "not a name: a to z, 0 to 9, '.', '_', '-'");
	if (k->kind == LY_CONF_PATH && value[0] != '/')
		return ly_fail(why, LY_REFUSED, "not an absolute path (/...)");
	if (k->kind == LY_CONF_ADDRESS &&
	    ly_address_split(value, host, port, why) != LY_OK)
		return LY_REFUSED;
	ly_copy(to, k->size, value);
	return LY_OK;
}

static enum ly_rc
set_uint(const struct ly_conf_key *k, const char *value, void *to,
    struct ly_why *why)
{
	uint64_t v, most = k->most ? k->most : UINT64_MAX;

	if (ly_parse_uint(value, most, &v) != LY_OK)
		return ly_fail(why, LY_REFUSED,
		    "not a whole number from 0 to %llu",
		    (unsigned long long)most);
	memcpy(to, &v, sizeof(v));
	return LY_OK;
}

static enum ly_rc
set_bool(const char *value, void *to, struct ly_why *why)
{
	static const struct {
		const char *word;
		bool means;
	} words[] = { { "yes", true }, { "no", false }, { "true", true },
		{ "false", false }, { "on", true }, { "off", false } };

	for (size_t i = 0; i < LY_COUNT(words); i++) {
		if (strcmp(value, words[i].word) == 0) {
			memcpy(to, &words[i].means, sizeof(bool));
			return LY_OK;
		}
	}
	return ly_fail(why, LY_REFUSED, "neither yes nor no");
}

static enum ly_rc
set(const struct ly_conf_key *k, const char *value, void *base,
    struct ly_why *why)
{
	void *to = (char *)base + k->offset;

	if (k->kind == LY_CONF_UINT) {
		assert(k->size == sizeof(uint64_t));
		return set_uint(k, value, to, why);
	}
	if (k->kind == LY_CONF_BOOL) {
		assert(k->size == sizeof(bool));
		return set_bool(value, to, why);
	}
	return set_text(k, value, to, why);
}

/* ---- errors ---- */

static void fault(struct reader *r, unsigned line, const char *fmt, ...)
    LY_PRINTF(3, 4);

static void
fault(struct reader *r, unsigned line, const char *fmt, ...)
{
	char text[sizeof(r->why.text)];
	va_list ap;

	if (r->rc != LY_OK)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (line)
		r->rc = ly_fail(&r->why, LY_REFUSED, "%s:%u: %s", r->path, line,
		    text);
	else
		r->rc = ly_fail(&r->why, LY_REFUSED, "%s: %s", r->path, text);
}

/* ---- sections ---- */

/* Defaults are values like any other, but a wrong one is our own mistake. */
static void
set_defaults(struct reader *r, const struct section *s)
{
	for (size_t i = 0; i < r->keys_n; i++) {
		const struct ly_conf_key *k = &r->keys[i];

		if (k->deflt && of_section(k, s->name, s->instance[0])) {
			enum ly_rc rc = set(k, k->deflt, s->base, NULL);

			assert(rc == LY_OK);
			(void)rc;
		}
	}
}

static struct section *
add_section(struct reader *r, const char *name, const char *instance,
    void *base, unsigned line)
{
	struct section *s = &r->all[r->all_n];

	if (r->all_n == SECTIONS_MOST) {
		fault(r, line, "more than %d sections", SECTIONS_MOST);
		return NULL;
	}
	memset(s, 0, sizeof(*s));
	ly_copy(s->name, sizeof(s->name), name);
	ly_copy(s->instance, sizeof(s->instance), instance);
	s->base = base;
	s->line = line;
	r->all_n++;
	set_defaults(r, s);
	return s;
}

static struct section *
find_section(struct reader *r, const char *name, const char *instance)
{
	for (size_t i = 0; i < r->all_n; i++)
		if (strcmp(r->all[i].name, name) == 0 &&
		    strcmp(r->all[i].instance, instance) == 0)
			return &r->all[i];
	return NULL;
}

static bool
known(const struct reader *r, const char *name, bool named)
{
	for (size_t i = 0; i < r->keys_n; i++)
		if (of_section(&r->keys[i], name, named))
			return true;
	return false;
}

/* "[tpm a]": a section of its own, which may stand once. */
static void
open_named(struct reader *r, const char *name, const char *instance)
{
	struct ly_why why = { "too many of them" };
	void *base;

	if (!known(r, name, true)) {
		fault(r, r->line, "[%s %s]: no such section", name, instance);
	} else if (!ly_name_good(instance)) {
		fault(r, r->line,
		    "[%s %s]: not a name: a to z, 0 to 9, '.', "
		    "'_', '-'",
		    name, instance);
	} else if (find_section(r, name, instance)) {
		fault(r, r->line, "[%s %s]: given twice, first in line %u",
		    name, instance, find_section(r, name, instance)->line);
	} else {
		base = r->named ? r->named(r->conf, name, instance, &why) :
				  NULL;
		if (base)
			r->now = add_section(r, name, instance, base, r->line);
		else
			fault(r, r->line, "[%s %s]: %s", name, instance,
			    why.text);
	}
}

static void
open_plain(struct reader *r, const char *name)
{
	if (known(r, name, true) && !known(r, name, false))
		fault(r, r->line, "[%s]: needs a name, as in [%s NAME]", name,
		    name);
	else if (!known(r, name, false))
		fault(r, r->line, "[%s]: no such section", name);
	else
		r->now = find_section(r, name, "");
}

/* `text` is what stands between the brackets. */
static void
open_section(struct reader *r, const char *text, size_t len)
{
	char name[LY_NAME_MAX], instance[LY_NAME_MAX] = "";
	const char *gap = memchr(text, ' ', len);
	size_t n = gap ? (size_t)(gap - text) : len;

	r->now = NULL;
	if (!ly_print(name, sizeof(name), "%.*s", (int)n, text) ||
	    (gap &&
		!ly_print(instance, sizeof(instance), "%.*s",
		    (int)(len - n - 1), gap + 1)))
		fault(r, r->line, "a section's name is too long");
	else if (gap)
		open_named(r, name, instance);
	else
		open_plain(r, name);
}

/* ---- lines ---- */

/* Control characters have no business here, a tab is a space. */
static void
check_line(struct reader *r, const char *text, size_t len)
{
	const char *close;

	if (len > LINE_MOST) {
		fault(r, r->line, "line over %d characters", LINE_MOST);
		return;
	}
	for (size_t i = 0; i < len; i++)
		if (((uint8_t)text[i] < 0x20 && text[i] != '\t') ||
		    text[i] == 0x7f)
			fault(r, r->line, "control character");
	if (len == 0 || text[0] != '[')
		return;
	close = memchr(text, ']', len);
	if (!close)
		fault(r, r->line, "[ without ]");
	else
		open_section(r, text + 1, (size_t)(close - text - 1));
}

/* inih's fgets(): one line a call. An error ends the file. */
static char *
next_line(char *to, int room, void *stream)
{
	struct reader *r = stream;
	const char *eol;
	size_t len;

	if (r->rc != LY_OK || r->at >= r->end)
		return NULL;
	r->line++;
	while (r->at < r->end && (*r->at == ' ' || *r->at == '\t'))
		r->at++;
	eol = memchr(r->at, '\n', (size_t)(r->end - r->at));
	if (!eol)
		eol = r->end;
	len = (size_t)(eol - r->at);
	if (len && r->at[len - 1] == '\r')
		len--;
	check_line(r, r->at, len);
	if (r->rc != LY_OK || len + 2 > (size_t)room) {
		fault(r, r->line, "line too long");
		return NULL;
	}
	memcpy(to, r->at, len);
	to[len] = '\n';
	to[len + 1] = '\0';
	r->at = eol < r->end ? eol + 1 : r->end;
	return to;
}

static int
on_key(void *user, const char *section, const char *key, const char *value)
{
	struct reader *r = user;
	struct section *s = r->now;
	struct ly_why why;

	(void)section; /* cut by inih; ours is in `now` */
	if (r->rc != LY_OK)
		return 0;
	if (!s) {
		fault(r, r->line, "%s: before the first [section]", key);
		return 0;
	}
	for (size_t i = 0; i < r->keys_n; i++) {
		const struct ly_conf_key *k = &r->keys[i];

		if (!of_section(k, s->name, s->instance[0]) ||
		    strcmp(k->key, key) != 0)
			continue;
		if (s->seen[i])
			fault(r, r->line, "%s: given twice", key);
		else if (set(k, value, s->base, &why) != LY_OK)
			fault(r, r->line, "%s = %.60s: %s", key, value,
			    why.text);
		s->seen[i] = true;
		return r->rc == LY_OK;
	}
	fault(r, r->line, "%s: no such key in [%s%s%s]", key, s->name,
	    s->instance[0] ? " " : "", s->instance);
	return 0;
}

static void
check_missing(struct reader *r)
{
	for (size_t a = 0; a < r->all_n; a++) {
		struct section *s = &r->all[a];

		for (size_t i = 0; i < r->keys_n; i++) {
			const struct ly_conf_key *k = &r->keys[i];

			if (k->must && !s->seen[i] &&
			    of_section(k, s->name, s->instance[0]))
				fault(r, s->line, "[%s%s%s] lacks %s: %s",
				    s->name, s->instance[0] ? " " : "",
				    s->instance, k->key, k->what);
		}
	}
}

enum ly_rc
ly_conf_parse(const char *path, const char *text, size_t len,
    const struct ly_conf_key *keys, size_t keys_n, ly_conf_named *named,
    void *conf, struct ly_why *why)
{
	struct reader r = { .path = path,
		.keys = keys,
		.keys_n = keys_n,
		.named = named,
		.conf = conf,
		.at = text,
		.end = text + len };
	int line;

	assert(keys_n <= KEYS_MOST);
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		r.at += 3; /* a byte order mark */
	r.all = calloc(SECTIONS_MOST, sizeof(*r.all));
	if (!r.all)
		return ly_fail(why, LY_OUTSIDE, "%s: no memory", path);
	for (size_t i = 0; i < keys_n; i++)
		if (!is_named(&keys[i]) &&
		    !find_section(&r, keys[i].section, ""))
			(void)add_section(&r, keys[i].section, "", conf, 0);
	line = ini_parse_stream(next_line, &r, on_key, &r);
	if (line != 0)
		fault(&r, line > 0 ? (unsigned)line : 0,
		    "neither [section] nor key = value nor # comment");
	check_missing(&r);
	free(r.all);
	if (r.rc != LY_OK && why)
		*why = r.why;
	return r.rc;
}

enum ly_rc
ly_conf_read(const char *path, const struct ly_conf_key *keys, size_t keys_n,
    ly_conf_named *named, void *conf, struct ly_why *why)
{
	uint8_t *text;
	size_t len;
	enum ly_rc rc = ly_file_read(path, FILE_MOST, &text, &len, why);

	if (rc != LY_OK)
		return rc;
	rc = ly_conf_parse(path, (const char *)text, len, keys, keys_n, named,
	    conf, why);
	free(text);
	return rc;
}

/* ---- saying it back ---- */

static void
say_value(const struct ly_conf_key *k, const void *base)
{
	const char *at = (const char *)base + k->offset;
	uint64_t v;
	bool b;

	switch (k->kind) {
	case LY_CONF_UINT:
		memcpy(&v, at, sizeof(v));
		printf("%s = %llu\n", k->key, (unsigned long long)v);
		break;
	case LY_CONF_BOOL:
		memcpy(&b, at, sizeof(b));
		printf("%s = %s\n", k->key, b ? "yes" : "no");
		break;
	case LY_CONF_TEXT:
	case LY_CONF_NAME:
	case LY_CONF_PATH:
	case LY_CONF_ADDRESS:
		/* What is not set would not be read back as a value. */
		printf("%s%s = %s\n", *at ? "" : "# ", k->key, at);
		break;
	}
}

void
ly_conf_say(const struct ly_conf_key *keys, size_t keys_n, const char *section,
    const char *name, const void *base)
{
	printf("[%s%s%s]\n", section, name ? " " : "", name ? name : "");
	for (size_t i = 0; i < keys_n; i++)
		if (of_section(&keys[i], section, name != NULL))
			say_value(&keys[i], base);
	printf("\n");
}
