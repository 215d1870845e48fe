/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard status`: everything on one page. With --watch again and again,
 * each time asked anew, until Ctrl-C or until the manager is gone.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ROWS_MOST 50 /* VMs on the page; `vm list` has them all */

LY_AUTO_FOR(json_decref, json_t)
LY_AUTO_FOR(free, char)

struct status {
	bool watch;
	uint64_t every;
};

static const struct ly_opt status_rows[] = {
	LY_FLAG(struct status, watch, "--watch", "Show it again and again"),
	LY_NUMBER(struct status, every, "--every", "S", 1, 3600,
	    "With --watch: after so many seconds (2)"),
};

static const struct ly_cell host_cells[] = {
	{ "HOST", "host|name", LY_CELL_TEXT },
	{ "SITE", "site", LY_CELL_TEXT },
	{ "ADDRESS", "address", LY_CELL_TEXT },
	{ "AGENT", "up|connected|state", LY_CELL_UP },
	{ "VMS", "vms_n|vms", LY_CELL_NUMBER },
	{ "TPMS", "tpms", LY_CELL_TEXT },
};

static const struct ly_cell vm_cells[] = {
	{ "VM", "vm|name", LY_CELL_TEXT },
	{ "AT", "at|host", LY_CELL_TEXT },
	{ "HOME", "home", LY_CELL_TEXT },
	{ "EPOCH", "epoch", LY_CELL_NUMBER },
	{ "STATE", "state|text", LY_CELL_TEXT },
};

static const struct ly_cell migration_cells[] = {
	{ "MIGRATION", "migration|id", LY_CELL_TEXT },
	{ "VM", "vm|name", LY_CELL_TEXT },
	{ "FROM", "from", LY_CELL_TEXT },
	{ "TO", "to", LY_CELL_TEXT },
	{ "STATE", "state|phase", LY_CELL_TEXT },
	{ "DONE", "percent", LY_CELL_PERCENT },
	{ "RATE", "rate", LY_CELL_RATE },
	{ "REST", "eta_ms", LY_CELL_MS },
};

static const struct section {
	const char *key;
	const struct ly_cell *cells;
	size_t cells_n;
	const char *none; /* what is said of an empty one; NULL: nothing */
	const char *all;  /* the verb that shows every row */
} sections[] = {
	{ "peers", ly_peer_cells, LY_PEER_CELLS, NULL, "site show" },
	{ "hosts", host_cells, LY_COUNT(host_cells),
	    "no hosts yet: lanyard host add", "host list" },
	{ "vms", vm_cells, LY_COUNT(vm_cells), "no VMs yet: lanyard vm add",
	    "vm list" },
	{ "migrations", migration_cells, LY_COUNT(migration_cells), NULL,
	    "status --json" },
};

static void
print_section(const struct section *s, const json_t *answer)
{
	const json_t *list = json_object_get(answer, s->key);
	size_t n = json_array_size(list);

	if (!json_is_array(list) || (n == 0 && !s->none))
		return;
	putchar('\n');
	if (n == 0) {
		puts(s->none);
		return;
	}
	ly_answer_table(stdout, list, s->cells, s->cells_n, ROWS_MOST);
	if (n > ROWS_MOST)
		printf("... and %zu more: lanyard %s\n", n - ROWS_MOST, s->all);
}

/* {"at", "host", "vm", "text"}, or a text alone. */
static void
print_alarm(const json_t *v)
{
	static const struct ly_cell at = { .keys = "at", .kind = LY_CELL_TIME };
	LY_AUTO(free) char *when = ly_answer_text(v, &at);
	LY_AUTO(free) char *host = ly_answer_word(v, "host");
	LY_AUTO(free) char *vm = ly_answer_word(v, "vm");
	LY_AUTO(free)
	char *text = json_is_object(v) ?
	    ly_answer_word(v, "text|why") :
	    ly_answer_text(v, &(struct ly_cell){ 0 });

	printf("ALARM");
	if (strcmp(when, "-") != 0)
		printf(" %s", when);
	if (host)
		printf(" %s", host);
	if (vm)
		printf(" %s", vm);
	printf(": %s\n", text ? text : "?");
}

static void
print_alarms(const json_t *answer)
{
	const json_t *list = json_object_get(answer, "alarms");
	size_t i;
	json_t *v;

	if (json_array_size(list) > 0)
		putchar('\n');
	json_array_foreach(list, i, v) {
		print_alarm(v);
	}
}

static void
print_status(const json_t *o)
{
	LY_AUTO(free) char *site = ly_answer_word(o, "site.name|site");
	LY_AUTO(free) char *manager = ly_answer_word(o, "manager|site.manager");
	LY_AUTO(free) char *store = ly_answer_word(o, "store.text|store");

	printf("site %s", site ? site : "?");
	if (manager)
		printf(", manager %s", manager);
	if (store)
		printf(", store %s", store);
	putchar('\n');
	for (size_t i = 0; i < LY_COUNT(sections); i++)
		print_section(&sections[i], o);
	print_alarms(o);
}

static void
print_head(bool terminal, bool first)
{
	time_t now = time(NULL);
	char text[32] = "";
	struct tm tm;

	if (localtime_r(&now, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	if (terminal)
		fputs("\033[H\033[J", stdout);
	else if (!first)
		putchar('\n');
	printf("%s  ", text);
}

static int
run_status(const struct ly_common *c, const void *args)
{
	const struct status *a = args;
	bool terminal = isatty(STDOUT_FILENO);

	for (bool first = true;; first = false) {
		LY_AUTO(json_decref) json_t *answer = NULL;
		int status = ly_cli_ask_plain(c,
		    ly_cli_request("status", (char *)NULL), false, &answer);

		if (status != LY_EXIT_DONE)
			return status;
		if (c->json) {
			ly_answer_json(stdout, answer);
		} else {
			if (a->watch)
				print_head(terminal, first);
			print_status(answer);
		}
		if (!a->watch)
			return LY_EXIT_DONE;
		if (fflush(stdout) != 0) /* nobody reads it any more */
			return LY_EXIT_FAILED;
		sleep(a->every ? (unsigned)a->every : 2);
	}
}

const struct ly_cli_verb ly_cli_status_verbs[] = {
	{ "status", status_rows, LY_COUNT(status_rows), sizeof(struct status),
	    run_status, "Show the site: peers, hosts, VMs, migrations, alarms",
	    NULL },
	{ 0 },
};
