/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options and operands as tables. The same rows parse, check, make --help,
 * feed the shell's completion and are held against the manual by a test.
 *
 * A row whose name starts with "--" is an option, any other an operand, taken
 * in the order of the rows. Values are checked here, before anything is sent
 * to anybody; texts are borrowed from argv.
 */
#ifndef LY_CLI_OPTION_H
#define LY_CLI_OPTION_H

#include "lib/base/text.h"

enum ly_opt_kind {
	LY_OPT_FLAG,	/* bool; takes no value */
	LY_OPT_TEXT,	/* const char *, printable; the rest as well */
	LY_OPT_WORD,	/* no space, no control character */
	LY_OPT_SITE,	/* a good name */
	LY_OPT_NAME,	/* a good name that is new */
	LY_OPT_VM,	/* a VM's name or id */
	LY_OPT_HOST,	/* HOST or SITE/HOST */
	LY_OPT_ID,	/* of a migration */
	LY_OPT_ADDRESS, /* host:port, [v6]:port */
	LY_OPT_PATH,	/* absolute: of another machine, maybe */
	LY_OPT_FILE,	/* of this machine */
	LY_OPT_UINT,	/* uint64_t, least to most */
	LY_OPT_RATE,	/* uint64_t, bytes a second; suffixes K, M, G */
	LY_OPT_KINDS
};

#define LY_OPT_LIST_MAX 8 /* of one option; more is refused */
struct ly_opt_list {
	const char *at[LY_OPT_LIST_MAX];
	unsigned n;
};

struct ly_opt {
	const char *name;
	const char *arg; /* what its value is called in --help */
	enum ly_opt_kind kind;
	size_t offset;
	uint64_t least, most;
	bool must, many; /* many: a struct ly_opt_list */
	const char *what;
};

#define LY_OPERAND(type, member, title, k, text)                               \
	{                                                                      \
		.name = title, .kind = k, .offset = offsetof(type, member),    \
		.must = true, .what = text                                     \
	}
#define LY_FLAG(type, member, title, text)                                     \
	{                                                                      \
		.name = title, .kind = LY_OPT_FLAG,                            \
		.offset = offsetof(type, member), .what = text                 \
	}
#define LY_VALUE(type, member, title, value, k, needed, text)                  \
	{                                                                      \
		.name = title, .arg = value, .kind = k,                        \
		.offset = offsetof(type, member), .must = needed, .what = text \
	}
#define LY_NUMBER(type, member, title, value, lo, hi, text)                    \
	{                                                                      \
		.name = title, .arg = value, .kind = LY_OPT_UINT,              \
		.offset = offsetof(type, member), .least = lo, .most = hi,     \
		.what = text                                                   \
	}
#define LY_LIST(type, member, title, value, k, text)                           \
	{                                                                      \
		.name = title, .arg = value, .kind = k,                        \
		.offset = offsetof(type, member), .many = true, .what = text   \
	}

/* One table and the struct it fills. */
struct ly_opt_set {
	const struct ly_opt *rows;
	size_t n;
	void *base;
};

#define LY_OPT_SETS_MAX 2
#define LY_OPTS_MAX 32 /* rows of one set; asserted */

/* What was given; lives as long as the parse. */
struct ly_opt_seen {
	bool at[LY_OPT_SETS_MAX][LY_OPTS_MAX];
};

/* Reads words until NULL. "--" ends the options. LY_REFUSED with the name of
 * what is wrong, and the nearest name if there is one. */
LY_MUST enum ly_rc ly_opts_parse(const struct ly_opt_set *sets, size_t sets_n,
    char *const *words, struct ly_opt_seen *seen, struct ly_why *why);
/* Is everything there that must be? Apart, so that --help needs nothing. */
LY_MUST enum ly_rc ly_opts_complete(const struct ly_opt_set *sets,
    size_t sets_n, const struct ly_opt_seen *seen, struct ly_why *why);
bool ly_opt_is_operand(const struct ly_opt *opt);

/* "100M": bytes a second, in units of 1024. */
LY_MUST enum ly_rc ly_rate_parse(const char *text, uint64_t *out);
/* host:port with a port from 1 to 65535. */
bool ly_address_good(const char *text);

/* How many letters to add, drop or change. */
unsigned ly_distance(const char *a, const char *b);
/* Remembers the best of many; `found` is NULL as long as none is near. */
struct ly_nearest {
	const char *word, *found;
	unsigned distance;
};
void ly_nearest_try(struct ly_nearest *n, const char *candidate);

#endif
