/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard`: finds the verb, parses its options, runs it. The verbs are
 * tables in the files of their names.
 */
#include "cli/cli.h"

#include <signal.h>
#include <stdlib.h>

#ifndef LY_VERSION
#define LY_VERSION "unreleased"
#endif

LY_AUTO_FOR(free, void)

static const struct ly_opt common_rows[] = {
	LY_VALUE(struct ly_common, manager, "--manager", "PATH", LY_OPT_FILE,
	    false,
	    "The manager's socket (LANYARD_MANAGER, or " LY_MANAGER_SOCKET ")"),
	LY_FLAG(struct ly_common, json, "--json",
	    "Print JSON: one object, or one a line while watching"),
	LY_FLAG(struct ly_common, quiet, "--quiet",
	    "Print nothing but errors and what was asked for"),
	LY_NUMBER(struct ly_common, timeout_s, "--timeout", "S", 1, 604800,
	    "Wait so many seconds for the answer (60; migrate --wait: no "
	    "limit)"),
	LY_FLAG(struct ly_common, help, "--help", "Print this"),
	LY_FLAG(struct ly_common, version, "--version", "Print the version"),
};

static const struct ly_cli_verb *const groups[] = { ly_cli_site_verbs,
	ly_cli_host_verbs, ly_cli_enrol_verbs, ly_cli_vm_verbs,
	ly_cli_migrate_verbs, ly_cli_attest_verbs, ly_cli_status_verbs,
	ly_cli_evacuate_verbs, ly_cli_audit_verbs, ly_cli_policy_verbs, NULL };

static const struct ly_cli_verbs verbs = { groups, common_rows,
	LY_COUNT(common_rows) };

/* ---- verbs ---- */

static const struct ly_cli_verb *
verb_named(const char *name)
{
	for (size_t g = 0; groups[g]; g++)
		for (const struct ly_cli_verb *v = groups[g]; v->name; v++)
			if (strcmp(v->name, name) == 0)
				return v;
	return NULL;
}

/* The longest of "a b" and "a" that is a verb; moves *words behind it. */
static const struct ly_cli_verb *
verb_take(char ***words, char *name, size_t size)
{
	char **w = *words;
	bool two = w[1] && w[1][0] != '-';
	const struct ly_cli_verb *v = NULL;

	if (two && ly_print(name, size, "%s %s", w[0], w[1]))
		v = verb_named(name);
	if (v) {
		*words = w + 2;
		return v;
	}
	v = verb_named(w[0]);
	if (v)
		*words = w + 1;
	if (v || !two)
		ly_copy(name, size, w[0]);
	return v;
}

/* "vm": the first word of some verbs, and of no verb alone. */
static bool
is_group(const char *word)
{
	size_t len = strlen(word);

	for (size_t g = 0; groups[g]; g++)
		if (strncmp(groups[g][0].name, word, len) == 0 &&
		    groups[g][0].name[len] == ' ')
			return true;
	return false;
}

static int
no_verb(const char *name, const char *first)
{
	struct ly_nearest near = { .word = name };
	char shown[80];

	ly_copy(shown, sizeof(shown), name);
	ly_clean(shown);
	if (strcmp(name, first) == 0 && is_group(first)) {
		fprintf(stderr, "lanyard: %s: one of these is meant:\n", shown);
		ly_cli_help_verb(stderr, &verbs, first);
		return LY_EXIT_USAGE;
	}
	for (size_t g = 0; groups[g]; g++)
		for (const struct ly_cli_verb *v = groups[g]; v->name; v++)
			ly_nearest_try(&near, v->name);
	if (!near.found) { /* "migrat web1": the second is no verb's word */
		near.word = first;
		for (size_t g = 0; groups[g]; g++)
			for (const struct ly_cli_verb *v = groups[g]; v->name;
			     v++)
				ly_nearest_try(&near, v->name);
	}
	if (near.found)
		fprintf(stderr,
		    "lanyard: %s: there is no such verb; did you "
		    "mean: lanyard %s\n",
		    shown, near.found);
	else
		fprintf(stderr,
		    "lanyard: %s: there is no such verb; "
		    "lanyard --help lists them\n",
		    shown);
	return LY_EXIT_USAGE;
}

/* ---- running ---- */

static int
usage(const char *verb, const struct ly_why *why)
{
	fprintf(stderr, "lanyard: %s%s%s\n", verb ? verb : "", verb ? ": " : "",
	    why->text);
	fprintf(stderr, "lanyard: see: lanyard%s%s --help\n", verb ? " " : "",
	    verb ? verb : "");
	return LY_EXIT_USAGE;
}

static int
print_version(void)
{
	puts("lanyard " LY_VERSION);
	return LY_EXIT_DONE;
}

static int
run(struct ly_common *c, const struct ly_cli_verb *v, char **words,
    struct ly_opt_seen *common_seen)
{
	LY_AUTO(free) void *args = calloc(1, v->size + 1);
	struct ly_opt_set sets[] = {
		{ common_rows, LY_COUNT(common_rows), c },
		{ v->rows, v->rows_n, args },
	};
	struct ly_opt_seen seen = *common_seen;
	struct ly_why why;
	enum ly_rc rc;

	if (!args)
		return LY_EXIT_FAILED;
	c->verb = v->name;
	rc = ly_opts_parse(sets, LY_COUNT(sets), words, &seen, &why);
	if (rc == LY_OK && c->help) {
		ly_cli_help_verb(stdout, &verbs, v->name);
		return LY_EXIT_DONE;
	}
	if (rc == LY_OK && c->version)
		return print_version();
	if (rc == LY_OK)
		rc = ly_opts_complete(sets, LY_COUNT(sets), &seen, &why);
	if (rc != LY_OK)
		return usage(v->name, &why);
	return v->run(c, args);
}

/* "lanyard help [VERB]", "lanyard help --table" */
static int
run_help(char **words)
{
	char name[64];

	if (!words[0]) {
		ly_cli_help_program(stdout, &verbs);
		return LY_EXIT_DONE;
	}
	if (strcmp(words[0], "--table") == 0) {
		ly_cli_help_table(stdout, &verbs);
		return LY_EXIT_DONE;
	}
	if (!ly_print(name, sizeof(name), "%s%s%s", words[0],
		words[1] ? " " : "", words[1] ? words[1] : "") ||
	    !ly_cli_help_verb(stdout, &verbs, name))
		return no_verb(name, words[0]);
	return LY_EXIT_DONE;
}

/* The options before the verb. Words up to the verb are cut out. */
static int
leading(struct ly_common *c, char ***words, struct ly_opt_seen *seen)
{
	struct ly_opt_set set = { common_rows, LY_COUNT(common_rows), c };
	char **w = *words;
	struct ly_why why;

	while (w[0] && w[0][0] == '-' && w[0][1]) {
		char *some[3] = { w[0], NULL, NULL };
		bool valued = !strchr(w[0], '=') &&
		    (strcmp(w[0], "--manager") == 0 ||
			strcmp(w[0], "--timeout") == 0);

		some[1] = valued ? w[1] : NULL;
		if (ly_opts_parse(&set, 1, some, seen, &why) != LY_OK)
			return usage(NULL, &why);
		w += some[1] ? 2 : 1;
	}
	*words = w;
	return LY_EXIT_DONE;
}

static int
lanyard(char **words)
{
	struct ly_common c = { 0 };
	struct ly_opt_seen seen = { 0 };
	char name[64];
	const struct ly_cli_verb *v;
	char *first;
	int status = leading(&c, &words, &seen);

	if (status != LY_EXIT_DONE)
		return status;
	if (c.version)
		return print_version();
	if (!words[0]) {
		ly_cli_help_program(c.help ? stdout : stderr, &verbs);
		return c.help ? LY_EXIT_DONE : LY_EXIT_USAGE;
	}
	if (strcmp(words[0], "help") == 0)
		return run_help(words + 1);
	first = words[0];
	v = verb_take(&words, name, sizeof(name));
	if (v)
		return run(&c, v, words, &seen);
	if ((c.help || (words[1] && strcmp(words[1], "--help") == 0)) &&
	    ly_cli_help_verb(stdout, &verbs, first))
		return LY_EXIT_DONE;
	return no_verb(name, first);
}

int
main(int argc, char **argv)
{
	int status;

	signal(SIGPIPE, SIG_IGN);
	status = lanyard(argv + (argc > 0));
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fputs("lanyard: cannot write to stdout\n", stderr);
		return status == LY_EXIT_DONE ? LY_EXIT_FAILED : status;
	}
	return status;
}
