/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanyard-agent: one per host. It is home for the VMs whose TPM is in this
 * host, and away for those that run here; see agent/io/agent.h for its rooms.
 */
#include "agent/io/approved.h"
#include "agent/io/control.h"
#include "agent/io/distrust.h"
#include "agent/io/enrol.h"
#include "agent/io/evidence.h"
#include "agent/io/homes.h"
#include "agent/io/keep.h"
#include "agent/io/links.h"
#include "agent/io/reload.h"
#include "agent/io/tss.h"
#include "agent/io/vm_keys.h"
#include "agent/io/vms.h"
#include "lib/io/file.h"
#include "lib/io/psk.h"
#include "lib/io/secret.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <fcntl.h>
#include <unistd.h>

struct options {
	const char *file;
	bool test, json, debug, new_vault;
};

static const struct option longs[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "test", no_argument, NULL, 't' },
	{ "log", required_argument, NULL, 'l' },
	{ "debug", no_argument, NULL, 'd' },
	{ "new-vault", no_argument, NULL, 'n' },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static void
help(void)
{
	printf("usage: lanyard-agent [-c FILE] [-t] [--log json|text]"
	       " [--debug]\n"
	       "                     [--new-vault]\n\n"
	       "Tunnels the TPM commands of the VMs on this host to their home"
	       " TPMs, and\nserves the TPMs of this host to the VMs bound to"
	       " them.\n\n"
	       "  -c, --config FILE   default " LY_SYSCONFDIR "/agent.conf\n"
	       "  -t, --test          check the configuration, say it back\n"
	       "      --log json      one JSON object a line instead of text\n"
	       "      --debug         more in the log\n"
	       "      --new-vault     begin without the records that do not"
	       " open; see\n"
	       "                      lanyard-agent(8) for what that costs\n"
	       "      --version\n"
	       "  -h, --help\n\n"
	       "SIGHUP makes it begin anew, with the VMs here none the wiser;"
	       " SIGTERM and SIGINT\nend it cleanly. Keys of the"
	       " configuration:\n");
	ly_agent_conf_help();
}

/* -1: go on; else the exit status. */
static int
read_options(int argc, char **argv, struct options *o)
{
	int c;

	*o = (struct options){ .file = LY_SYSCONFDIR "/agent.conf" };
	while ((c = getopt_long(argc, argv, "c:th", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->file = optarg;
			break;
		case 't':
			o->test = true;
			break;
		case 'd':
			o->debug = true;
			break;
		case 'n':
			o->new_vault = true;
			break;
		case 'l':
			o->json = strcmp(optarg, "json") == 0;
			if (!o->json && strcmp(optarg, "text") != 0) {
				fprintf(stderr,
				    "lanyard-agent: --log takes"
				    " json or text, not %s\n",
				    optarg);
				return 2;
			}
			break;
		case 'V':
			printf("%s\n", LY_AGENT_SOFTWARE);
			return 0;
		case 'h':
			help();
			return 0;
		default:
			return 2;
		}
	}
	if (optind != argc) {
		fprintf(stderr, "lanyard-agent: unexpected argument %s\n",
		    argv[optind]);
		return 2;
	}
	return -1;
}

/* Connections of other agents: a LINK visits our homes, a STREAM brings a
 * VM's memory. */
static enum ly_rc
on_peer(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	struct ly_agent *a = arg;

	if (peer->role != LY_ROLE_HOST)
		return ly_fail(why, LY_REFUSED, "%s is not a host", peer->id);
	/* A key of a stream is given to enrolled hosts alone. */
	if (!ly_conn_psk(c) && ly_distrust_peer(a, peer, why) != LY_OK)
		return LY_REFUSED;
	switch (hello->purpose) {
	case LY_FOR_LINK:
		return ly_links_visit(a->links, c, peer);
	case LY_FOR_STREAM:
		return ly_vms_stream(a->vms, c, peer, hello, why);
	default:
		return ly_fail(why, LY_REFUSED,
		    "an agent takes no connection for purpose %u",
		    hello->purpose);
	}
}

static enum ly_rc
on_early_frame(struct ly_conn *c, unsigned type, const union ly_any *m,
    void *arg, struct ly_why *why)
{
	(void)c;
	(void)m;
	(void)arg;
	return ly_fail(why, LY_MALFORMED, "frame of type %u too early", type);
}

static void
on_early_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	const struct ly_peer *peer = ly_conn_peer(c);

	(void)arg;
	ly_log(LY_WARNING, "peer", "%s: %s (%s)",
	    peer && *peer->id ? peer->id : "a stranger", why, ly_rc_name(rc));
}

static const struct ly_conn_ops peer_ops = {
	.on_open = on_peer,
	.on_frame = on_early_frame,
	.on_close = on_early_close,
};

/* One agent a directory: two would write each other's records over, or adopt
 * each other's VMs. */
static enum ly_rc
lock(const char *dir, const char *what, struct ly_why *why)
{
	char path[300];
	enum ly_rc rc = ly_file_mkdir(dir, 0700, why);
	int fd;

	if (rc != LY_OK)
		return rc;
	ly_print(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return ly_fail(why, LY_OUTSIDE, "%s: cannot open it", path);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		return ly_fail(why, LY_BUSY,
		    "%s: another lanyard-agent uses this %s", path, what);
	}
	return LY_OK; /* held until we exit */
}

static enum ly_rc
lock_dirs(const struct ly_agent_conf *conf, struct ly_why *why)
{
	enum ly_rc rc = lock(conf->state, "state", why);

	if (rc == LY_OK && strcmp(conf->state, conf->run) != 0)
		rc = lock(conf->run, "run", why);
	return rc;
}

/* What outlives us, and the socket that our peers dial: while we are replaced
 * they wait in its queue. */
static enum ly_rc
listen_on(struct ly_agent *a, struct ly_why *why)
{
	enum ly_rc rc = ly_net_listen_with(a->net,
	    ly_keep_named(a->keep, "listen"), a->conf.listen, &peer_ops, a,
	    why);

	if (rc == LY_OK)
		ly_keep_put_named(a->keep, "listen", ly_net_listener(a->net));
	return rc;
}

/* An agent that wants to begin anew asks for more than an operator does, who may
 * check a file for another host. */
static enum ly_rc
test(const struct ly_agent_conf *conf, struct ly_why *why)
{
	struct ly_identity_files files = { .cert = conf->cert,
		.key = conf->key,
		.trust = conf->trust };
	struct ly_identity *ids;
	enum ly_rc rc = ly_reload_can(why);

	if (rc == LY_OK && ly_reload_asked()) {
		rc = ly_identity_load(&files, &ids, why);
		if (rc == LY_OK)
			ly_identity_free(ids);
	}
	return rc;
}

static void
quote(void *arg, const struct ly_context *c, ly_keys_told *told, void *told_arg)
{
	struct ly_agent *a = arg;

	ly_quotes_make(a->quotes, c, false, told, told_arg);
}

/* What this host proves itself with. */
static enum ly_rc
open_chip(struct ly_agent *a, struct ly_why *why)
{
	enum ly_rc rc;

	if (!a->conf.attests)
		return LY_OK;
	rc = ly_chip_open(a->loop, a->tss, &a->chip, why);
	if (rc != LY_OK)
		return rc;
	a->quotes = ly_quotes_open(a);
	rc = ly_papers_open(a, &a->papers, why);
	if (rc == LY_OK)
		rc = ly_vm_keys_open(a, a->chip, quote, why);
	return rc;
}

static enum ly_rc
open_all(struct ly_agent *a, struct ly_why *why)
{
	char revoked[300];
	struct ly_identity_files files = { .cert = a->conf.cert,
		.key = a->conf.key,
		.trust = a->conf.trust,
		.crls = revoked };
	enum ly_rc rc = lock_dirs(&a->conf, why);

	ly_print(revoked, sizeof(revoked), "%s/revoked", a->conf.state);
	if (rc == LY_OK)
		rc = ly_identity_load(&files, &a->ids, why);
	if (rc != LY_OK)
		return rc;
	a->self = ly_identity_self(a->ids);
	if (a->self->role != LY_ROLE_HOST)
		return ly_fail(why, LY_REFUSED, "%s: %s is not a host's id",
		    a->conf.cert, a->self->id);
	rc = ly_net_new(a->loop, a->ids, LY_AGENT_SOFTWARE, &a->net, why);
	if (rc == LY_OK)
		rc = ly_keep_open(a->loop, a->conf.run, &a->keep, why);
	if (rc == LY_OK && strcmp(a->conf.vault, "none") != 0)
		rc = ly_tss_open(a->conf.vault, a->conf.vault_auth, &a->tss,
		    why);
	if (rc == LY_OK)
		rc = ly_homes_open(a, &a->homes, why);
	if (rc == LY_OK)
		rc = ly_approved_open(a, why);
	if (rc == LY_OK)
		rc = open_chip(a, why);
	if (rc == LY_OK)
		rc = ly_links_open(a, &a->links, why);
	if (rc == LY_OK)
		rc = ly_vms_open(a, &a->vms, why);
	if (rc == LY_OK)
		rc = listen_on(a, why);
	if (rc == LY_OK)
		rc = ly_control_open(a, &a->control, why);
	if (rc == LY_OK)
		a->distrust = ly_distrust_begin(a);
	return rc;
}

/* The VMs have left: nothing needs the rest any more. */
static void
close_rest(void *arg)
{
	struct ly_agent *a = arg;

	a->vms = NULL;
	ly_distrust_end(a->distrust);
	ly_chip_close(a->chip);
	ly_keys_close(ly_take(a->keys));
	ly_links_close(a->links);
	ly_homes_close(a->homes); /* its last answers go by the control */
	ly_quotes_close(a->quotes);
	ly_papers_close(a->papers);
	ly_control_close(a->control);
	ly_net_close(a->net);
	ly_keep_close(a->keep, false); /* the next agent finds all there */
}

static void
close_signals(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (handle->type == UV_SIGNAL && !uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void
on_signal(uv_signal_t *handle, int number)
{
	struct ly_agent *a = handle->data;

	if (uv_is_closing((uv_handle_t *)handle))
		return;
	ly_log(LY_NOTICE, "agent", "ending (signal %d)", number);
	ly_notify("STOPPING=1");
	uv_walk(a->loop, close_signals, NULL);
	ly_vms_close(a->vms, close_rest, a);
}

static void
on_reload(uv_signal_t *handle, int number)
{
	struct ly_agent *a = handle->data;
	struct ly_why why;

	(void)number;
	ly_log(LY_NOTICE, "agent", "beginning anew");
	if (ly_reload(a->file, &why) != LY_OK) /* else we are no more */
		ly_log(LY_ERROR, "agent", "all stays as it was: %s", why.text);
}

static int
run(struct ly_agent *a)
{
	uv_signal_t term, intr, hup;
	struct ly_why why;

	ly_secret_begin();
	ly_file_most();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file too large is an error, not an end */
	if (open_all(a, &why) != LY_OK) {
		ly_log(LY_ERROR, "agent", "%s", why.text);
		return 1;
	}
	uv_signal_init(a->loop, &term);
	uv_signal_init(a->loop, &intr);
	uv_signal_init(a->loop, &hup);
	term.data = intr.data = hup.data = a;
	uv_signal_start(&term, on_signal, SIGTERM);
	uv_signal_start(&intr, on_signal, SIGINT);
	uv_signal_start(&hup, on_reload, SIGHUP);
	ly_log(LY_NOTICE, "agent", "%s is %s, listens on %s", LY_AGENT_SOFTWARE,
	    a->self->id, a->conf.listen);
	ly_notify("READY=1");
	uv_run(a->loop, UV_RUN_DEFAULT);
	ly_tss_close(a->tss);
	ly_approved_close(a);
	ly_identity_free(a->ids);
	return 0;
}

int
main(int argc, char **argv)
{
	struct ly_agent a = { .loop = uv_default_loop() };
	struct options o;
	struct ly_why why;
	int status;

	ly_reload_begin(argv);
	status = read_options(argc, argv, &o);

	if (status >= 0)
		return status;
	a.new_vault = o.new_vault;
	ly_log_setup("lanyard-agent", o.json, o.debug ? LY_DEBUG : LY_INFO);
	a.file = o.file;
	if (ly_agent_conf_read(o.file, &a.conf, &why) != LY_OK ||
	    (o.test && test(&a.conf, &why) != LY_OK)) {
		fprintf(stderr, "lanyard-agent: %s\n", why.text);
		return 1;
	}
	if (o.test)
		ly_agent_conf_say(&a.conf);
	else
		status = run(&a);
	ly_agent_conf_fini(&a.conf);
	uv_library_shutdown();
	return o.test ? 0 : status;
}
