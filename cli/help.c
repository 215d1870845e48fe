/* SPDX-License-Identifier: Apache-2.0 */
/* What the tables say, for people (--help) and for programs (help --table). */
#include "cli/cli.h"

#define WIDTH 79
#define COLUMN 26 /* where descriptions begin */

/* "--to HOST" */
static unsigned
print_name(FILE *to, const struct ly_opt *opt)
{
	return (unsigned)fprintf(to, "  %s%s%s", opt->name, opt->arg ? " " : "",
	    opt->arg ? opt->arg : "");
}

static void
print_rows(FILE *to, const struct ly_opt *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned at = print_name(to, &rows[i]);

		if (at + 2 > COLUMN) {
			putc('\n', to);
			at = 0;
		}
		fprintf(to, "%*s", (int)(COLUMN - at), "");
		ly_wrap(to, rows[i].what, COLUMN, COLUMN, WIDTH);
	}
}

static void
print_usage(FILE *to, const struct ly_cli_verb *v)
{
	bool rest = false;

	fprintf(to, "usage: lanyard %s", v->name);
	for (size_t i = 0; i < v->rows_n; i++) {
		const struct ly_opt *opt = &v->rows[i];

		if (!opt->must) {
			rest = true;
			continue;
		}
		fprintf(to, " %s%s%s", opt->name, opt->arg ? " " : "",
		    opt->arg ? opt->arg : "");
	}
	fputs(rest ? " [OPTIONS]\n" : "\n", to);
}

static void
print_verb(FILE *to, const struct ly_cli_verbs *all,
    const struct ly_cli_verb *v)
{
	print_usage(to, v);
	fprintf(to, "\n%s.", v->what);
	if (v->more) {
		fputs("\n", to);
		ly_wrap(to, v->more, 0, 0, WIDTH);
	} else {
		putc('\n', to);
	}
	if (v->rows_n > 0)
		putc('\n', to);
	print_rows(to, v->rows, v->rows_n);
	fputs("\nEvery verb:\n", to);
	print_rows(to, all->common, all->common_n);
}

static void
print_list(FILE *to, const struct ly_cli_verb *v)
{
	for (; v->name; v++)
		fprintf(to, "  %-18s%s\n", v->name, v->what);
}

void
ly_cli_help_program(FILE *to, const struct ly_cli_verbs *all)
{
	fputs("usage: lanyard VERB [OPERANDS] [OPTIONS]\n\n"
	      "Live-migrates VMs whose TPM stays where it is. Talks to the "
	      "manager of this\nsite.\n\n",
	    to);
	for (size_t g = 0; all->groups[g]; g++)
		print_list(to, all->groups[g]);
	fputs("\nEvery verb:\n", to);
	print_rows(to, all->common, all->common_n);
	fputs("\nExit status: 0 done, 1 refused or failed (the reason is on "
	      "stderr),\n2 wrong usage, 3 the outcome is still open.\n"
	      "lanyard VERB --help says more; so does lanyard(1).\n",
	    to);
}

/* Is `v` the verb `name`, or one of those that begin with it? */
static bool
begins(const struct ly_cli_verb *v, const char *name)
{
	size_t len = strlen(name);

	return strncmp(v->name, name, len) == 0 &&
	    (v->name[len] == '\0' || v->name[len] == ' ');
}

bool
ly_cli_help_verb(FILE *to, const struct ly_cli_verbs *all, const char *name)
{
	bool found = false;

	for (size_t g = 0; all->groups[g]; g++)
		for (const struct ly_cli_verb *v = all->groups[g]; v->name; v++)
			if (strcmp(v->name, name) == 0) {
				print_verb(to, all, v);
				return true;
			}
	for (size_t g = 0; all->groups[g]; g++)
		for (const struct ly_cli_verb *v = all->groups[g]; v->name;
		     v++) {
			if (!begins(v, name))
				continue;
			found = true;
			fprintf(to, "  %-18s%s\n", v->name, v->what);
		}
	return found;
}

static void
table_rows(FILE *to, const char *verb, const struct ly_opt *rows, size_t n)
{
	static const char *const kinds[LY_OPT_KINDS] = { "flag", "text", "word",
		"site", "name", "vm", "host", "id", "address", "path", "file",
		"uint", "rate" };

	for (size_t i = 0; i < n; i++)
		fprintf(to, "%s\t%s\t%s\n", verb, rows[i].name,
		    kinds[rows[i].kind]);
}

void
ly_cli_help_table(FILE *to, const struct ly_cli_verbs *all)
{
	table_rows(to, "*", all->common, all->common_n);
	for (size_t g = 0; all->groups[g]; g++)
		for (const struct ly_cli_verb *v = all->groups[g]; v->name;
		     v++) {
			fprintf(to, "%s\n", v->name);
			table_rows(to, v->name, v->rows, v->rows_n);
		}
}
