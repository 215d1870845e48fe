/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files, INI-like (inih). Every key is a row of a table, which
 * checks it, prints it back (`-t`) and documents it (man page). Errors name
 * file, line and key, and what was expected; unknown sections and keys, and a
 * key or a named section given twice, are errors. Limits: 256 KiB, 198
 * characters a line, 256 sections, 128 rows in a table.
 */
#ifndef LY_IO_CONF_H
#define LY_IO_CONF_H

#include "lib/base/text.h"

enum ly_conf_kind {
	LY_CONF_TEXT,	 /* char array member */
	LY_CONF_NAME,	 /* the same, a good name (ly_name_good) */
	LY_CONF_PATH,	 /* the same, absolute */
	LY_CONF_ADDRESS, /* the same, host:port */
	LY_CONF_UINT,	 /* uint64_t member, at most `most` */
	LY_CONF_BOOL,	 /* bool member; yes/no/true/false/on/off */
};

struct ly_conf_key {
	const char *section; /* "agent"; "tpm *" is any [tpm NAME] */
	const char *key;
	enum ly_conf_kind kind;
	size_t offset, size;
	uint64_t most;	   /* of UINT; 0: any */
	bool must;	   /* no default: it has to be there */
	const char *deflt; /* as it would be written in the file; or NULL */
	const char *what;  /* one sentence for -t, --help and the man page */
};

#define LY_CONF(type, section, member, kind, most, must, deflt, what)          \
	{                                                                      \
		section, #member, kind, offsetof(type, member),                \
		    sizeof(((type *)0)->member), most, must, deflt, what       \
	}

/* For a section with a name, "[tpm NAME]": returns the struct the keys of
 * that one go to (offsets are then within it), or NULL when there are too
 * many. Called once per named section, before its first key. */
typedef void *ly_conf_named(void *conf, const char *section, const char *name,
    struct ly_why *why);

LY_MUST enum ly_rc ly_conf_read(const char *path,
    const struct ly_conf_key *keys, size_t keys_n, ly_conf_named *named,
    void *conf, struct ly_why *why);
/* The same from memory; `path` is what errors name. */
LY_MUST enum ly_rc ly_conf_parse(const char *path, const char *text, size_t len,
    const struct ly_conf_key *keys, size_t keys_n, ly_conf_named *named,
    void *conf, struct ly_why *why);
/* Says a section back to stdout, as it is understood, with defaults. `name`
 * NULL for a plain section. */
void ly_conf_say(const struct ly_conf_key *keys, size_t keys_n,
    const char *section, const char *name, const void *base);

#endif
