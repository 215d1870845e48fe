/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard evacuate`: empties a host or a site, and watches it. What runs is
 * the manager's; Ctrl-C, or its loss, ends the watching alone. Asked again, it
 * is watched again.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DRAWN_MOST 64 /* lines of VMs that run: no more do at once */

LY_AUTO_FOR(json_decref, json_t)
LY_AUTO_FOR(free, char)

struct evacuate {
	const char *from, *to;
	uint64_t parallel, bandwidth;
	bool dry_run, watch, detach, cancel;
};

static const struct ly_opt evacuate_rows[] = {
	{ .name = "FROM",
	    .kind = LY_OPT_HOST,
	    .offset = offsetof(struct evacuate, from),
	    .what = "A host (HOST or SITE/HOST) or a site" },
	LY_VALUE(struct evacuate, to, "--to", "SITE", LY_OPT_SITE, false,
	    "The site whose hosts take the VMs"),
	LY_NUMBER(struct evacuate, parallel, "--parallel", "N", 1, 64,
	    "So many migrations at once (2)"),
	LY_VALUE(struct evacuate, bandwidth, "--bandwidth", "RATE", LY_OPT_RATE,
	    false, "At most this many bytes a second, all together; K, M, G"),
	LY_FLAG(struct evacuate, dry_run, "--dry-run",
	    "Show which VM would go where, and which not and why"),
	LY_FLAG(struct evacuate, watch, "--watch",
	    "With --json: an object a line for each change"),
	LY_FLAG(struct evacuate, detach, "--detach",
	    "Begin it, show the plan, and do not watch"),
	LY_FLAG(struct evacuate, cancel, "--cancel",
	    "Begin no more of its migrations; those that run end"),
};

static const struct ly_cell plan_cells[] = {
	{ "VM", "vm", LY_CELL_TEXT },
	{ "PRIO", "priority", LY_CELL_NUMBER },
	{ "MEMORY", "memory_mb", LY_CELL_MIB },
	{ "FROM", "from", LY_CELL_TEXT },
	{ "TO", "to", LY_CELL_TEXT },
	{ "STATE", "state", LY_CELL_TEXT },
	{ "WHY", "why", LY_CELL_TEXT },
};

/* ---- watching ---- */

struct line {
	char *vm, *text;
};

struct watch {
	const struct ly_common *c;
	const struct evacuate *a;
	bool terminal;
	unsigned drawn; /* lines that stand, to be redrawn */
	struct line running[DRAWN_MOST];
	unsigned running_n;
	char *total;
};

static void
undraw(struct watch *w)
{
	if (!w->terminal)
		return;
	for (; w->drawn > 0; w->drawn--)
		fputs("\033[A\033[2K", stderr);
	fputs("\r", stderr);
}

static void
draw(struct watch *w)
{
	struct winsize ws = { .ws_col = 80 };
	int wide = 79;

	if (!w->terminal)
		return;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 1)
		wide = ws.ws_col - 1;
	undraw(w);
	for (unsigned i = 0; i < w->running_n; i++)
		fprintf(stderr, "%.*s\n", wide, w->running[i].text);
	if (w->total)
		fprintf(stderr, "%.*s\n", wide, w->total);
	w->drawn = w->running_n + (w->total ? 1 : 0);
}

static void
forget(struct watch *w, unsigned i)
{
	free(w->running[i].vm);
	free(w->running[i].text);
	w->running[i] = w->running[--w->running_n];
}

/* A VM's line: redrawn while it runs, left standing at its end. */
static void
show_line(struct watch *w, const char *vm, char *text, bool runs)
{
	unsigned i = 0;

	while (i < w->running_n && strcmp(w->running[i].vm, vm) != 0)
		i++;
	/* Percents are for a terminal; a log wants what changes. */
	if (!w->terminal &&
	    (i == w->running_n || strcmp(w->running[i].text, text) != 0))
		fprintf(stderr, "%s\n", text);
	if (runs && i < w->running_n) {
		free(w->running[i].text);
		w->running[i].text = ly_take(text);
	} else if (runs && i < DRAWN_MOST) {
		w->running[w->running_n++] = (struct line){ strdup(vm),
			ly_take(text) };
	} else if (!runs) {
		if (i < w->running_n)
			forget(w, i);
		undraw(w);
		if (w->terminal)
			fprintf(stderr, "%s\n", text);
	}
	draw(w);
	free(text);
}

static void
on_vm(struct watch *w, const json_t *e)
{
	LY_AUTO(free) char *vm = ly_answer_word(e, "vm");
	LY_AUTO(free) char *state = ly_answer_word(e, "state");
	LY_AUTO(free) char *step = ly_answer_word(e, "step");
	LY_AUTO(free) char *to = ly_answer_word(e, "to");
	LY_AUTO(free) char *why = ly_answer_word(e, "why");
	bool runs = state && strcmp(state, "running") == 0;
	double percent = ly_answer_number(e, "percent", 0);
	char text[1024], at[16] = "";

	if (!vm || !state || strcmp(state, "waiting") == 0)
		return;
	if (runs && w->terminal)
		ly_print(at, sizeof(at), " %.0f %%", percent);
	ly_print(text, sizeof(text), "%s: %s%s%s%s%s%s", vm,
	    runs && step ? step : state, at, to ? " to " : "", to ? to : "",
	    why ? ": " : "", why ? why : "");
	show_line(w, vm, strdup(text), runs);
}

static void
on_total(struct watch *w, const json_t *e)
{
	char text[256];

	ly_print(text, sizeof(text),
	    "%.0f of %.0f VMs moved, %.0f running, %.0f waiting, %.0f refused,"
	    " %.0f failed",
	    ly_answer_number(e, "moved", 0), ly_answer_number(e, "total", 0),
	    ly_answer_number(e, "running", 0),
	    ly_answer_number(e, "waiting", 0),
	    ly_answer_number(e, "refused", 0),
	    ly_answer_number(e, "failed", 0));
	if (!w->terminal && (!w->total || strcmp(w->total, text) != 0))
		fprintf(stderr, "%s\n", text);
	free(w->total);
	w->total = strdup(text);
	draw(w);
}

static void
print_table(const json_t *e)
{
	const json_t *list = json_object_get(e, "vms");

	if (json_array_size(list) > 0)
		ly_answer_table(stdout, list, plan_cells, LY_COUNT(plan_cells),
		    SIZE_MAX);
}

static void
on_end(void *arg)
{
	undraw(arg);
}

static void
on_event(void *arg, const json_t *e)
{
	struct watch *w = arg;
	LY_AUTO(free) char *name = ly_answer_word(e, "event");

	if (w->c->json) {
		if (w->a->watch)
			ly_answer_json(stdout, e);
		return;
	}
	if (!name || (w->c->quiet && strcmp(name, "table") != 0))
		return;
	if (strcmp(name, "vm") == 0) {
		on_vm(w, e);
	} else if (strcmp(name, "total") == 0) {
		on_total(w, e);
	} else if (strcmp(name, "table") == 0) {
		on_end(w);
		w->terminal = false;
		print_table(e);
		fflush(stdout);
	}
}

/* ---- asking ---- */

static json_t *
request(const struct evacuate *a)
{
	json_t *o = ly_cli_request("evacuate", "from", a->from, "to", a->to,
	    (char *)NULL);

	if (a->parallel)
		json_object_set_new(o, "parallel",
		    json_integer((json_int_t)a->parallel));
	if (a->bandwidth)
		json_object_set_new(o, "bandwidth",
		    json_integer((json_int_t)a->bandwidth));
	if (a->dry_run)
		json_object_set_new(o, "dry_run", json_true());
	if (!a->dry_run && !a->detach)
		json_object_set_new(o, "wait", json_true());
	return o;
}

static void
watch_free(struct watch *w)
{
	while (w->running_n)
		forget(w, 0);
	free(w->total);
}

static int
say_done(const struct ly_common *c, const json_t *answer)
{
	if (c->json)
		ly_answer_json(stdout, answer);
	else if (!c->quiet)
		printf("all %.0f VMs moved\n",
		    ly_answer_number(answer, "total", 0));
	return LY_EXIT_DONE;
}

static int
run(const struct ly_common *c, const struct evacuate *a)
{
	struct watch w = { .c = c,
		.a = a,
		.terminal = isatty(STDERR_FILENO) && !c->json && !c->quiet };
	struct ly_cli_ask ask = { .request = request(a),
		.changes = true,
		.patient = true,
		.explains = true,
		.on_event = on_event,
		.on_end = on_end,
		.arg = &w };
	LY_AUTO(json_decref) json_t *answer = NULL;
	int status = ly_cli_ask(c, &ask, &answer);

	watch_free(&w);
	if (status == LY_EXIT_OPEN)
		fprintf(stderr,
		    "lanyard: evacuate: it goes on without us; to watch it:"
		    " lanyard evacuate %s --to %s\n",
		    a->from, a->to);
	return status == LY_EXIT_DONE ? say_done(c, answer) : status;
}

static int
show_plan(const struct ly_common *c, const struct evacuate *a)
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	int status = ly_cli_ask_plain(c, request(a), !a->dry_run, &answer);

	if (status != LY_EXIT_DONE)
		return status;
	if (c->json)
		ly_answer_json(stdout, answer);
	else
		print_table(answer);
	if (!c->json && !c->quiet)
		printf("%.0f of %.0f VMs %s\n",
		    ly_answer_number(answer, "total", 0) -
			ly_answer_number(answer, "refused", 0),
		    ly_answer_number(answer, "total", 0),
		    a->dry_run ? "would be moved" : "are being moved");
	return a->dry_run ? LY_EXIT_DONE : LY_EXIT_OPEN;
}

static int
cancel(const struct ly_common *c, const struct evacuate *a)
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	int status = ly_cli_ask_plain(c,
	    ly_cli_request("evacuate.cancel", "from", a->from, (char *)NULL),
	    true, &answer);

	if (status != LY_EXIT_DONE)
		return status;
	if (c->json)
		ly_answer_json(stdout, answer);
	else if (!c->quiet)
		printf("called off; %.0f migrations still run to their end\n",
		    ly_answer_number(answer, "running", 0));
	return LY_EXIT_DONE;
}

static int
run_evacuate(const struct ly_common *c, const void *args)
{
	const struct evacuate *a = args;

	if (a->cancel && (a->to || a->dry_run || a->watch || a->detach))
		return ly_cli_usage(c, "--cancel goes alone, with FROM or not");
	if (a->cancel)
		return cancel(c, a);
	if (!a->from || !a->to)
		return ly_cli_usage(c, "%s is missing",
		    a->from ? "--to SITE" : "FROM");
	return a->dry_run || a->detach ? show_plan(c, a) : run(c, a);
}

const struct ly_cli_verb ly_cli_evacuate_verbs[] = {
	{ "evacuate", evacuate_rows, LY_COUNT(evacuate_rows),
	    sizeof(struct evacuate), run_evacuate,
	    "Move all VMs of a host or a site to another site",
	    "VMs of high priority go first, spread over the site's hosts. It "
	    "is watched to its end; asked again, it goes on, and VMs that have "
	    "moved stay. Exit status 0: all moved, 1: some not, 3: still "
	    "open." },
	{ 0 },
};
