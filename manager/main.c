/* SPDX-License-Identifier: Apache-2.0 */
/* lanyard-manager(8): options, signals, and the loop. */
#include "lib/io/file.h"
#include "manager/io/manager.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct options {
	const char *conf;
	bool check, version, help, json, debug, accept_loss;
};

enum kind { FLAG, PATH, LOG };

static const struct option_row {
	char letter; /* or 0 */
	const char *name, *arg, *what;
	enum kind kind;
	size_t offset;
} rows[] = {
	{ 'c', "config", "FILE", "read the configuration from FILE", PATH,
	    offsetof(struct options, conf) },
	{ 't', "check", NULL, "check the configuration, say it back, and end",
	    FLAG, offsetof(struct options, check) },
	{ 0, "log", "text|json", "how to log, on standard error", LOG,
	    offsetof(struct options, json) },
	{ 'v', "debug", NULL, "log more", FLAG,
	    offsetof(struct options, debug) },
	{ 0, "accept-loss", NULL,
	    "start although events of the permanent record are lost", FLAG,
	    offsetof(struct options, accept_loss) },
	{ 0, "version", NULL, "say the version, and end", FLAG,
	    offsetof(struct options, version) },
	{ 'h', "help", NULL, "say this, and end", FLAG,
	    offsetof(struct options, help) },
};

static void
help(FILE *to)
{
	fprintf(to, "usage: lanyard-manager -c FILE [options]\n");
	for (size_t i = 0; i < LY_COUNT(rows); i++) {
		char left[40];

		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name,
		    rows[i].arg ? " " : "", rows[i].arg ? rows[i].arg : "");
		fprintf(to, "  %c%c%c %-18s %s\n", rows[i].letter ? '-' : ' ',
		    rows[i].letter ? rows[i].letter : ' ',
		    rows[i].letter ? ',' : ' ', left, rows[i].what);
	}
}

static bool
take(struct options *o, const struct option_row *row, const char *arg)
{
	char *at = (char *)o + row->offset;

	if (row->kind == FLAG) {
		*(bool *)at = true;
	} else if (row->kind == PATH) {
		*(const char **)(void *)at = arg;
	} else {
		*(bool *)at = strcmp(arg, "json") == 0;
		return *(bool *)at || strcmp(arg, "text") == 0;
	}
	return true;
}

static bool
parse(int argc, char **argv, struct options *o)
{
	struct option longs[LY_COUNT(rows) + 1] = { { 0 } };
	char shorts[2 * LY_COUNT(rows) + 1] = "";
	int c;

	for (size_t i = 0, n = 0; i < LY_COUNT(rows); i++) {
		longs[i] = (struct option){ .name = rows[i].name,
			.has_arg = rows[i].arg != NULL,
			.val = 256 + (int)i };
		if (rows[i].letter)
			shorts[n++] = rows[i].letter;
		if (rows[i].letter && rows[i].arg)
			shorts[n++] = ':';
	}
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		size_t i = 0;

		while (i < LY_COUNT(rows) && c != 256 + (int)i &&
		    (!rows[i].letter || c != rows[i].letter))
			i++;
		if (i == LY_COUNT(rows))
			return false; /* getopt has said why */
		if (!take(o, &rows[i], optarg)) {
			fprintf(stderr, "lanyard-manager: --%s: expected %s\n",
			    rows[i].name, rows[i].arg);
			return false;
		}
	}
	if (optind < argc)
		fprintf(stderr, "lanyard-manager: what is \"%s\"?\n",
		    argv[optind]);
	return optind == argc;
}

struct signals {
	struct ly_manager *m;
	uv_signal_t term, intr, hup;
};

static void
on_end(uv_signal_t *s, int number)
{
	struct signals *all = s->data;

	ly_log(LY_NOTICE, "manager", "%s: ending",
	    number == SIGTERM ? "SIGTERM" : "SIGINT");
	ly_notify("STOPPING=1");
	ly_manager_close(all->m);
	uv_close((uv_handle_t *)&all->term, NULL);
	uv_close((uv_handle_t *)&all->intr, NULL);
	uv_close((uv_handle_t *)&all->hup, NULL);
}

static void
on_reload(uv_signal_t *s, int number)
{
	struct signals *all = s->data;
	struct ly_why why;

	(void)number;
	if (ly_identity_reload(all->m->ids, &why) == LY_OK)
		ly_log(LY_NOTICE, "manager", "certificates read again");
	else
		ly_log(LY_ERROR, "manager", "certificates stay: %s", why.text);
}

static void
watch_signals(uv_loop_t *loop, struct signals *all)
{
	uv_signal_init(loop, &all->term);
	uv_signal_init(loop, &all->intr);
	uv_signal_init(loop, &all->hup);
	all->term.data = all->intr.data = all->hup.data = all;
	uv_signal_start(&all->term, on_end, SIGTERM);
	uv_signal_start(&all->intr, on_end, SIGINT);
	uv_signal_start(&all->hup, on_reload, SIGHUP);
	ly_file_most();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file too large is an error, not an end */
	signal(SIGXFSZ, SIG_IGN); /* a full disk is an error, not an end */
}

static int
run(const struct ly_manager_conf *conf)
{
	uv_loop_t *loop = uv_default_loop();
	struct signals all = { .m = NULL };
	struct ly_why why = { "" };
	int status = 0;

	if (ly_manager_new(loop, conf, &all.m, &why) == LY_OK) {
		watch_signals(loop, &all);
		ly_log(LY_NOTICE, "manager",
		    "site %s, listening on %s, port"
		    " %u",
		    conf->site, conf->listen, ly_net_port(all.m->net));
		ly_notify("READY=1");
	} else {
		ly_log(LY_ERROR, "manager", "%s", why.text);
		status = 1;
		if (all.m)
			ly_manager_close(all.m);
	}
	uv_run(loop, UV_RUN_DEFAULT);
	if (all.m)
		ly_manager_free(all.m);
	uv_loop_close(loop);
	return status;
}

int
main(int argc, char **argv)
{
	struct options o = { .conf = NULL };
	static struct ly_manager_conf conf;
	struct ly_why why = { "" };

	if (!parse(argc, argv, &o))
		return 2;
	if (o.help || o.version) {
		if (o.help)
			help(stdout);
		else
			puts(LY_MANAGER_SOFTWARE);
		return 0;
	}
	if (!o.conf) {
		help(stderr);
		return 2;
	}
	ly_log_setup("lanyard-manager", o.json, o.debug ? LY_DEBUG : LY_INFO);
	if (ly_manager_conf_read(o.conf, &conf, &why) != LY_OK) {
		ly_log(LY_ERROR, "configuration", "%s", why.text);
		return 1;
	}
	if (o.check) {
		ly_manager_conf_say(&conf);
		return 0;
	}
	conf.accept_loss = o.accept_loss;
	return run(&conf);
}
