/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser over the tables of option.h. It knows no option by name.
 */
#include "cli/option.h"

bool
ly_opt_is_operand(const struct ly_opt *opt)
{
	return opt->name[0] != '-';
}

/* ---- near misses ---- */

#define WORD_MAX 32 /* longer words are near to nothing */

unsigned
ly_distance(const char *a, const char *b)
{
	size_t an = strlen(a), bn = strlen(b);
	unsigned row[WORD_MAX + 1];

	if (an > WORD_MAX || bn > WORD_MAX)
		return WORD_MAX;
	for (unsigned j = 0; j <= bn; j++)
		row[j] = j;
	for (unsigned i = 1; i <= an; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= bn; j++) {
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);
			unsigned least = row[j] < row[j - 1] ? row[j] :
							       row[j - 1];

			diagonal = row[j];
			row[j] = change < least + 1 ? change : least + 1;
		}
	}
	return row[bn];
}

/* Near is: a third of the letters are wrong at most, or it begins alike. */
void
ly_nearest_try(struct ly_nearest *n, const char *candidate)
{
	size_t len = strlen(n->word);
	unsigned d = ly_distance(n->word, candidate);

	if (len >= 3 && strncmp(n->word, candidate, len) == 0)
		d = 1;
	if (d * 3 > len + 2 || (n->found && d >= n->distance))
		return;
	n->found = candidate;
	n->distance = d;
}

/* ---- values ---- */

enum ly_rc
ly_rate_parse(const char *text, uint64_t *out)
{
	static const char units[] = "KMG";
	size_t len = strlen(text);
	const char *unit = len ? strchr(units, text[len - 1]) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	char digits[24];
	uint64_t v;

	if (len == 0 || len >= sizeof(digits))
		return LY_MALFORMED;
	ly_copy(digits, sizeof(digits), text);
	if (unit)
		digits[len - 1] = '\0';
	if (ly_parse_uint(digits, (uint64_t)1 << 50 >> shift, &v) != LY_OK ||
	    v == 0)
		return LY_MALFORMED;
	*out = v << shift;
	return LY_OK;
}

bool
ly_address_good(const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t host = colon ? (size_t)(colon - text) : 0;
	uint64_t port;

	if (host == 0 || strlen(text) >= LY_ADDR_MAX)
		return false;
	if (text[0] == '[' ? text[host - 1] != ']' || host < 4 :
			     memchr(text, ':', host) != NULL)
		return false;
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == '/')
			return false;
	return ly_parse_uint(colon + 1, 65535, &port) == LY_OK && port > 0;
}

/* Bytes of the character at `p`, 0 if it is not UTF-8: JSON holds no other
 * text. */
static size_t
utf8_len(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t n = p[0] < 0x80 ? 1 :
	    p[0] < 0xc2	       ? 0 :
	    p[0] < 0xe0	       ? 2 :
	    p[0] < 0xf0	       ? 3 :
	    p[0] < 0xf5	       ? 4 :
				 0;

	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

static bool
text_good(const char *text)
{
	for (const char *p = text; *p;) {
		size_t n = utf8_len(p);

		if (n == 0)
			return false;
		p += n;
	}
	return ly_text_clean(text, strlen(text));
}

static bool
word_good(const char *text)
{
	return text[0] != '\0' && !strchr(text, ' ') && text_good(text);
}

/* "HOST" or "SITE/HOST" */
static bool
host_good(const char *text)
{
	const char *slash = strchr(text, '/');
	char site[LY_NAME_MAX];

	if (!slash)
		return ly_name_good(text);
	if ((size_t)(slash - text) >= sizeof(site))
		return false;
	memcpy(site, text, (size_t)(slash - text));
	site[slash - text] = '\0';
	return ly_name_good(site) && ly_name_good(slash + 1);
}

static bool
path_good(const char *text)
{
	return text[0] == '/' && text_good(text);
}

static bool
id_good(const char *text)
{
	struct ly_id id;

	return ly_id_parse(text, &id) == LY_OK;
}

static bool
file_good(const char *text)
{
	return text[0] != '\0' && text_good(text);
}

static const struct {
	bool (*good)(const char *text);
	const char *expected;
} kinds[LY_OPT_KINDS] = {
	[LY_OPT_TEXT] = { text_good,
	    "a text in UTF-8 without control characters" },
	[LY_OPT_WORD] = { word_good, "one word" },
	[LY_OPT_SITE] = { ly_name_good,
	    "a site's name: 1 to 63 of a-z, 0-9, '.', '_', '-'" },
	[LY_OPT_NAME] = { ly_name_good,
	    "a name: 1 to 63 of a-z, 0-9, '.', '_', '-'" },
	[LY_OPT_VM] = { ly_name_good, "a VM's name or id" },
	[LY_OPT_HOST] = { host_good, "HOST or SITE/HOST" },
	[LY_OPT_ID] = { id_good, "the id of a migration" },
	[LY_OPT_ADDRESS] = { ly_address_good, "HOST:PORT" },
	[LY_OPT_PATH] = { path_good, "an absolute path" },
	[LY_OPT_FILE] = { file_good, "a file's name" },
};

/* A text as it may be shown: not too long, and clean. */
static const char *
shown(const char *text)
{
	return strlen(text) < 80 && text_good(text) ? text : "this";
}

static enum ly_rc
put_number(const struct ly_opt *opt, const char *text, uint64_t *to,
    struct ly_why *why)
{
	if (opt->kind == LY_OPT_RATE) {
		if (ly_rate_parse(text, to) == LY_OK)
			return LY_OK;
		return ly_fail(why, LY_REFUSED,
		    "%s: \"%s\" is not a rate: bytes a second, with K, M or "
		    "G behind if wanted (100M)",
		    opt->name, shown(text));
	}
	if (ly_parse_uint(text, opt->most, to) == LY_OK && *to >= opt->least)
		return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    "%s: \"%s\" is not a number from %llu to %llu", opt->name,
	    shown(text), (unsigned long long)opt->least,
	    (unsigned long long)opt->most);
}

static enum ly_rc
put_value(const struct ly_opt *opt, void *base, const char *text,
    struct ly_why *why)
{
	void *to = (char *)base + opt->offset;
	struct ly_opt_list *list = to;

	if (opt->kind == LY_OPT_UINT || opt->kind == LY_OPT_RATE)
		return put_number(opt, text, to, why);
	if (!kinds[opt->kind].good(text))
		return ly_fail(why, LY_REFUSED, "%s: \"%s\" is not %s",
		    opt->name, shown(text), kinds[opt->kind].expected);
	if (!opt->many) {
		*(const char **)to = text;
		return LY_OK;
	}
	if (list->n == LY_OPT_LIST_MAX)
		return ly_fail(why, LY_REFUSED, "%s: more than %d", opt->name,
		    LY_OPT_LIST_MAX);
	list->at[list->n++] = text;
	return LY_OK;
}

/* ---- words ---- */

struct parse {
	const struct ly_opt_set *sets;
	size_t sets_n;
	struct ly_opt_seen *seen;
	char *const *at; /* the next word */
	bool operands_only;
};

static enum ly_rc
unknown(const struct parse *p, const char *name, struct ly_why *why)
{
	struct ly_nearest near = { .word = name };

	for (size_t s = 0; s < p->sets_n; s++)
		for (size_t i = 0; i < p->sets[s].n; i++)
			if (!ly_opt_is_operand(&p->sets[s].rows[i]))
				ly_nearest_try(&near, p->sets[s].rows[i].name);
	if (near.found)
		return ly_fail(why, LY_REFUSED,
		    "%s: there is no such option; did you mean %s?",
		    shown(name), near.found);
	return ly_fail(why, LY_REFUSED, "%s: there is no such option",
	    shown(name));
}

/* Splits "--to=x"; `value` is NULL when there is no '='. */
static bool
split(const char *word, char *name, size_t size, const char **value)
{
	const char *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - word) : strlen(word);

	*value = eq ? eq + 1 : NULL;
	if (len >= size)
		return false;
	memcpy(name, word, len);
	name[len] = '\0';
	return true;
}

static enum ly_rc
take_option(struct parse *p, size_t s, size_t i, const char *value,
    struct ly_why *why)
{
	const struct ly_opt *opt = &p->sets[s].rows[i];
	bool *seen = &p->seen->at[s][i];

	if (*seen && !opt->many && opt->kind != LY_OPT_FLAG)
		return ly_fail(why, LY_REFUSED, "%s: given twice", opt->name);
	*seen = true;
	if (opt->kind == LY_OPT_FLAG) {
		if (value)
			return ly_fail(why, LY_REFUSED, "%s: takes no value",
			    opt->name);
		*(bool *)(void *)((char *)p->sets[s].base + opt->offset) = true;
		return LY_OK;
	}
	if (!value)
		value = *p->at ? *p->at++ : NULL;
	if (!value)
		return ly_fail(why, LY_REFUSED, "%s: %s is missing", opt->name,
		    opt->arg);
	return put_value(opt, p->sets[s].base, value, why);
}

static enum ly_rc
on_option(struct parse *p, const char *word, struct ly_why *why)
{
	char name[WORD_MAX + 1];
	const char *value;

	if (strcmp(word, "-h") == 0)
		word = "--help";
	if (!split(word, name, sizeof(name), &value))
		return unknown(p, word, why);
	for (size_t s = 0; s < p->sets_n; s++)
		for (size_t i = 0; i < p->sets[s].n; i++)
			if (strcmp(p->sets[s].rows[i].name, name) == 0)
				return take_option(p, s, i, value, why);
	return unknown(p, name, why);
}

static enum ly_rc
on_operand(struct parse *p, const char *word, struct ly_why *why)
{
	for (size_t s = 0; s < p->sets_n; s++)
		for (size_t i = 0; i < p->sets[s].n; i++) {
			const struct ly_opt *opt = &p->sets[s].rows[i];

			if (!ly_opt_is_operand(opt) || p->seen->at[s][i])
				continue;
			p->seen->at[s][i] = true;
			return put_value(opt, p->sets[s].base, word, why);
		}
	return ly_fail(why, LY_REFUSED, "\"%s\": nothing is expected here",
	    shown(word));
}

enum ly_rc
ly_opts_parse(const struct ly_opt_set *sets, size_t sets_n, char *const *words,
    struct ly_opt_seen *seen, struct ly_why *why)
{
	struct parse p = { .sets = sets,
		.sets_n = sets_n,
		.seen = seen,
		.at = words };
	enum ly_rc rc = LY_OK;

	assert(sets_n <= LY_OPT_SETS_MAX);
	for (size_t s = 0; s < sets_n; s++)
		assert(sets[s].n <= LY_OPTS_MAX);
	while (rc == LY_OK && *p.at) {
		const char *word = *p.at++;

		if (!p.operands_only && strcmp(word, "--") == 0)
			p.operands_only = true;
		else if (!p.operands_only && word[0] == '-' && word[1])
			rc = on_option(&p, word, why);
		else
			rc = on_operand(&p, word, why);
	}
	return rc;
}

enum ly_rc
ly_opts_complete(const struct ly_opt_set *sets, size_t sets_n,
    const struct ly_opt_seen *seen, struct ly_why *why)
{
	for (size_t s = 0; s < sets_n; s++)
		for (size_t i = 0; i < sets[s].n; i++) {
			const struct ly_opt *opt = &sets[s].rows[i];

			if (opt->must && !seen->at[s][i])
				return ly_fail(why, LY_REFUSED,
				    "%s%s%s is missing", opt->name,
				    opt->arg ? " " : "",
				    opt->arg ? opt->arg : "");
		}
	return LY_OK;
}
