/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard migrate`: begins a migration, and with --wait watches it to its
 * end. Watching is all that ends with us: a lost connection or Ctrl-C leaves
 * the migration to the manager, and we say so and exit 3.
 */
#include "cli/cli.h"
#include "cli/progress.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

LY_AUTO_FOR(json_decref, json_t)
LY_AUTO_FOR(free, char)

struct migrate {
	const char *vm, *to;
	bool wait, dry_run;
	uint64_t bandwidth, downtime;
};

static const struct ly_opt migrate_rows[] = {
	LY_OPERAND(struct migrate, vm, "VM", LY_OPT_VM, "The VM"),
	LY_VALUE(struct migrate, to, "--to", "HOST", LY_OPT_HOST, true,
	    "Where to: HOST, or SITE/HOST at another site"),
	LY_FLAG(struct migrate, wait, "--wait",
	    "Watch it to its end; else it goes on by itself"),
	LY_FLAG(struct migrate, dry_run, "--dry-run",
	    "Check what can be checked, say what would be done, do nothing"),
	LY_VALUE(struct migrate, bandwidth, "--bandwidth", "RATE", LY_OPT_RATE,
	    false,
	    "At most this many bytes a second; K, M, G for KiB, MiB, GiB"),
	LY_NUMBER(struct migrate, downtime, "--downtime", "MS", 1, 600000,
	    "Stop the VM once the rest takes no longer than this"),
};

/* ---- watching ---- */

struct watch {
	const struct ly_common *c;
	bool bar;   /* a terminal */
	bool drawn; /* the bar stands on the last line */
	bool begun; /* an event has come */
	char *id;   /* of the migration, once it is known */
	struct ly_cli_progress p;
	struct ly_cli_pace pace;
};

static unsigned
width_of_terminal(void)
{
	struct winsize ws;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0)
		return ws.ws_col;
	return 80;
}

static void
on_end(void *arg)
{
	struct watch *w = arg;

	if (w->drawn)
		fputs("\r\033[K", stderr);
	w->drawn = false;
}

static void
show_progress(struct watch *w)
{
	char line[LY_CLI_LINE];

	if (w->bar) {
		/* The last column stays free: some terminals wrap there. */
		ly_cli_progress_bar(&w->p, width_of_terminal() - 1, line);
		fprintf(stderr, "\r%s\033[K", line);
		w->drawn = true;
	} else if (ly_cli_progress_due(&w->pace, &w->p, ly_cli_now_ms())) {
		ly_cli_progress_line(&w->p, line);
		fprintf(stderr, "%s\n", line);
	}
}

static void
set_phase(struct watch *w, const json_t *event, const char *keys)
{
	LY_AUTO(free) char *phase = ly_answer_word(event, keys);

	if (phase)
		ly_copy(w->p.phase, sizeof(w->p.phase), phase);
}

static void
on_progress(struct watch *w, const json_t *e)
{
	double total = ly_answer_number(e, "total", 0);
	double rest = ly_answer_number(e, "remaining", -1);

	set_phase(w, e, "phase");
	w->p.bytes = ly_answer_number(e, "bytes", 0);
	w->p.total = total;
	w->p.rate = ly_answer_number(e, "rate", 0);
	w->p.dirty_rate = ly_answer_number(e, "dirty_rate", 0);
	w->p.percent = ly_answer_number(e, "percent",
	    total > 0 && rest >= 0 ? 100 * (1 - rest / total) : -1);
	w->p.eta_ms = ly_answer_number(e, "eta_ms", -1);
	w->p.elapsed_ms = ly_answer_number(e, "elapsed_ms", 0);
	show_progress(w);
}

static void
on_step(struct watch *w, const json_t *e)
{
	LY_AUTO(free) char *step = ly_answer_word(e, "step");
	LY_AUTO(free) char *state = ly_answer_word(e, "state");

	if (!w->bar) {
		fprintf(stderr, "%s: %s\n", step ? step : "?",
		    state ? state : "?");
		return;
	}
	w->p = (struct ly_cli_progress){ .percent = -1, .eta_ms = -1 };
	set_phase(w, e, "step");
	show_progress(w);
}

static void
on_event(void *arg, const json_t *e)
{
	struct watch *w = arg;
	const char *what = json_string_value(json_object_get(e, "event"));

	w->begun = true;
	if (!w->id)
		w->id = ly_answer_word(e, "migration|id");
	if (w->c->json)
		ly_answer_json(stdout, e);
	else if (w->c->quiet || !what)
		return;
	else if (strcmp(what, "progress") == 0)
		on_progress(w, e);
	else if (strcmp(what, "step") == 0)
		on_step(w, e);
}

/* ---- the end ---- */

/* "web1 runs at south/s2; its TPM stayed at north/n1: 182 MiB in 1.2 s,
 * stopped 21 ms (migration ID)": as much of it as the answer says. */
static void
tell_moved(const struct migrate *a, const json_t *o)
{
	LY_AUTO(free) char *vm = ly_answer_word(o, "vm|name");
	LY_AUTO(free) char *at = ly_answer_word(o, "at|to|host");
	LY_AUTO(free) char *home = ly_answer_word(o, "home");
	LY_AUTO(free) char *id = ly_answer_word(o, "migration|id");
	LY_AUTO(free) char *doubt = ly_answer_word(o, "quarantined");
	double bytes = ly_answer_number(o, "bytes|memory_bytes", -1);
	double total = ly_answer_number(o, "total_ms|elapsed_ms", -1);
	double down = ly_answer_number(o, "downtime_ms", -1);
	const char *between = ": ";
	char text[LY_UNIT_TEXT];

	printf("%s runs at %s", vm ? vm : a->vm, at ? at : a->to);
	if (home)
		printf("; its TPM stayed at %s", home);
	if (bytes >= 0) {
		printf("%s%s", between, ly_size_text(bytes, text));
		between = total >= 0 ? " in " : ", ";
	}
	if (total >= 0) {
		printf("%s%s", between, ly_ms_text(total, text));
		between = ", ";
	}
	if (down >= 0)
		printf("%sstopped %s", bytes < 0 && total < 0 ? ": " : ", ",
		    ly_ms_text(down, text));
	printf("%s%s%s\n", id ? " (migration " : "", id ? id : "",
	    id ? ")" : "");
	if (doubt)
		fprintf(stderr,
		    "lanyard: %s is quarantined: its migration is not proved:"
		    " %s\n",
		    vm ? vm : a->vm, doubt);
}

static void
tell_begun(const struct migrate *a, const json_t *o)
{
	LY_AUTO(free) char *id = ly_answer_word(o, "migration|id");

	printf("The migration of %s to %s has begun%s%s.\n", a->vm, a->to,
	    id ? ": " : "", id ? id : "");
	printf("Watch it:    lanyard %s%s\nCall it off: lanyard migrate "
	       "cancel %s\n",
	    id ? "migrate show " : "status --watch", id ? id : "", a->vm);
}

static const struct ly_cell plan_cells[] = {
	{ "STEP", "step|name", LY_CELL_TEXT },
	{ "ASKS", "whom|party|asks", LY_CELL_TEXT },
	{ "HOST", "host", LY_CELL_TEXT },
	{ "HERE", "would|state", LY_CELL_TEXT },
	{ "UNDO", "undo", LY_CELL_TEXT },
	{ "WHAT", "what|text", LY_CELL_TEXT },
};

/* The plan, also of what would be refused: then the exit status says so. */
static int
tell_plan(const struct ly_common *c, const struct migrate *a, const json_t *o)
{
	LY_AUTO(free) char *from = ly_answer_word(o, "from|at");
	LY_AUTO(free) char *to = ly_answer_word(o, "to");
	LY_AUTO(free) char *why = ly_answer_word(o, "why");
	const json_t *steps = ly_answer_get(o, "steps|plan");
	bool no = json_is_false(json_object_get(o, "allowed"));

	if (no)
		fprintf(stderr, "lanyard: %s: %s\n", c->verb,
		    why ? why : "it would be refused");
	if (c->json)
		ly_answer_json(stdout, o);
	if (c->json || c->quiet)
		return no ? LY_EXIT_FAILED : LY_EXIT_DONE;
	printf("%s would %smigrate%s%s to %s; nothing has been done.\n", a->vm,
	    no ? "not " : "", from ? " from " : "", from ? from : "",
	    to ? to : a->to);
	if (json_is_array(steps) && json_array_size(steps) > 0) {
		putchar('\n');
		ly_answer_table(stdout, steps, plan_cells, LY_COUNT(plan_cells),
		    SIZE_MAX);
	}
	return no ? LY_EXIT_FAILED : LY_EXIT_DONE;
}

static void
tell_open(const struct migrate *a, const struct watch *w)
{
	fprintf(stderr,
	    "lanyard: the migration of %s %s.\n"
	    "  watch it:    lanyard %s%s\n"
	    "  call it off: lanyard migrate cancel %s\n",
	    a->vm, w->begun ? "goes on" : "may have begun, and then goes on",
	    w->id ? "migrate show " : "status --watch", w->id ? w->id : "",
	    a->vm);
}

static json_t *
request_of(const struct migrate *a)
{
	json_t *o = ly_cli_request("migrate", "vm", a->vm, "to", a->to,
	    (char *)NULL);

	json_object_set_new(o, "wait", json_boolean(a->wait));
	json_object_set_new(o, "dry_run", json_boolean(a->dry_run));
	if (a->bandwidth)
		json_object_set_new(o, "bandwidth",
		    json_integer((json_int_t)a->bandwidth));
	if (a->downtime)
		json_object_set_new(o, "downtime_ms",
		    json_integer((json_int_t)a->downtime));
	return o;
}

static int
run_migrate(const struct ly_common *c, const void *args)
{
	const struct migrate *a = args;
	LY_AUTO(json_decref) json_t *answer = NULL;
	struct watch w = { .c = c,
		.bar = isatty(STDERR_FILENO),
		.p = { .percent = -1, .eta_ms = -1 } };
	struct ly_cli_ask ask = { .request = request_of(a),
		.changes = !a->dry_run,
		.patient = a->wait,
		.explains = true,
		.on_event = on_event,
		.on_end = on_end,
		.arg = &w };
	int status = ly_cli_ask(c, &ask, &answer);

	if (status == LY_EXIT_OPEN)
		tell_open(a, &w);
	free(w.id);
	if (status != LY_EXIT_DONE)
		return status;
	if (a->dry_run)
		return tell_plan(c, a, answer);
	if (c->json)
		ly_answer_json(stdout, answer);
	else if (c->quiet)
		return LY_EXIT_DONE;
	else if (a->wait)
		tell_moved(a, answer);
	else
		tell_begun(a, answer);
	return LY_EXIT_DONE;
}

/* ---- migrate show, migrate cancel ---- */

struct one {
	const char *what;
};

static const struct ly_opt show_rows[] = {
	LY_OPERAND(struct one, what, "ID", LY_OPT_ID,
	    "The migration, as `migrate` or `status` names it"),
};

static const struct ly_opt cancel_rows[] = {
	LY_OPERAND(struct one, what, "VM", LY_OPT_VM, "The VM"),
};

static const struct ly_cell show_cells[] = {
	{ "migration", "migration|id", LY_CELL_TEXT },
	{ "vm", "vm|name", LY_CELL_TEXT },
	{ "from", "from", LY_CELL_TEXT },
	{ "to", "to", LY_CELL_TEXT },
	{ "home", "home", LY_CELL_TEXT },
	{ "state", "state", LY_CELL_TEXT },
	{ "fate", "fate", LY_CELL_TEXT },
	{ "why", "why", LY_CELL_TEXT },
	{ "phase", "phase", LY_CELL_TEXT },
	{ "percent", "percent", LY_CELL_PERCENT },
	{ "sent", "bytes", LY_CELL_SIZE },
	{ "of", "total", LY_CELL_SIZE },
	{ "remaining", "remaining", LY_CELL_SIZE },
	{ "rate", "rate", LY_CELL_RATE },
	{ "dirty rate", "dirty_rate", LY_CELL_RATE },
	{ "rest", "eta_ms", LY_CELL_MS },
	{ "so far", "elapsed_ms", LY_CELL_MS },
	{ "memory sent", "result.memory_bytes|memory_bytes", LY_CELL_SIZE },
	{ "took", "result.total_ms|total_ms", LY_CELL_MS },
	{ "stopped", "result.downtime_ms|downtime_ms", LY_CELL_MS },
	{ "epoch", "epoch", LY_CELL_NUMBER },
	{ "begun", "started_ms", LY_CELL_TIME_MS },
	{ "in this state since", "since_ms", LY_CELL_TIME_MS },
	{ "commands before", "commands_before", LY_CELL_NUMBER },
	{ "commands after", "commands_after", LY_CELL_NUMBER },
};

static int
run_show(const struct ly_common *c, const void *args)
{
	const struct one *a = args;

	return ly_cli_show(c,
	    ly_cli_request("migrate.show", "migration", a->what, (char *)NULL),
	    "migration", show_cells, LY_COUNT(show_cells));
}

static int
run_cancel(const struct ly_common *c, const void *args)
{
	const struct one *a = args;

	return ly_cli_do(c,
	    ly_cli_request("migrate.cancel", "vm", a->what, (char *)NULL),
	    "The migration of %s is called off; it stays where "
	    "it was unless its home has committed already (lanyard vm show "
	    "%s)",
	    a->what, a->what);
}

const struct ly_cli_verb ly_cli_migrate_verbs[] = {
	{ "migrate", migrate_rows, LY_COUNT(migrate_rows),
	    sizeof(struct migrate), run_migrate,
	    "Migrate a running VM; its TPM stays",
	    "With --wait it is watched: on a terminal with a progress bar, "
	    "else with a line a second, both on stderr. Ctrl-C ends the "
	    "watching, not the migration." },
	{ "migrate show", show_rows, LY_COUNT(show_rows), sizeof(struct one),
	    run_show, "Show a migration, open or over", NULL },
	{ "migrate cancel", cancel_rows, LY_COUNT(cancel_rows),
	    sizeof(struct one), run_cancel, "Call a VM's migration off",
	    "Too late once the home has committed: then it is refused." },
	{ 0 },
};
