/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard site`: makes a site's CA and its manager's certificate, before any
 * manager runs; pins another site's CA; shows the site.
 *
 * `site init` never overwrites: when it fails, what it has made is gone again
 * and what was there is as it was.
 */
#include "cli/cli.h"

#include "lib/io/ca.h"
#include "lib/io/file.h"
#include "lib/io/policykey.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define DAYS 3650
#define PEM_MOST ((size_t)64 << 10)
#define STATE "/var/lib/lanyard/manager"

LY_AUTO_FOR(json_decref, json_t)
LY_AUTO_FOR(free, char)

/* ---- site init ---- */

struct init {
	const char *site, *state, *name, *policy_key;
	uint64_t days;
};

static const struct ly_opt init_rows[] = {
	LY_VALUE(struct init, site, "--site", "NAME", LY_OPT_SITE, true,
	    "The site's name: its trust domain, in every certificate"),
	LY_VALUE(struct init, state, "--state", "DIR", LY_OPT_FILE, false,
	    "Where the files go (" STATE ")"),
	LY_VALUE(struct init, name, "--name", "NAME", LY_OPT_NAME, false,
	    "The manager's name (m1)"),
	LY_NUMBER(struct init, days, "--days", "N", 1, 36500,
	    "How long the certificates are good for (3650)"),
	LY_VALUE(struct init, policy_key, "--policy-key", "FILE", LY_OPT_FILE,
	    false,
	    "Make the key that approves states of hosts, too, and pin it"),
};

enum { CA_KEY, CA_CERT, KEY, CERT, TRUST, FILES };

struct made {
	char path[FILES][PATH_MAX];
	char dir[PATH_MAX], trust_dir[PATH_MAX];
	char policy[PATH_MAX]; /* the policy key's public half */
};

static const char *const said[FILES] = {
	[CA_KEY] = "the CA's key: whoever has it is the site",
	[CA_CERT] = "the CA's certificate: give it to other sites",
	[KEY] = "the manager's key",
	[CERT] = "the manager's certificate",
	[TRUST] = "whom the manager believes: this site, so far",
};

static bool
name_files(struct made *m, const char *site)
{
	static const char *const names[] = { "ca.key", "ca.pem", "manager.key",
		"manager.pem" };
	bool fits = ly_print(m->trust_dir, sizeof(m->trust_dir), "%s/trust",
	    m->dir);

	for (size_t i = 0; i < LY_COUNT(names); i++)
		fits = fits &&
		    ly_print(m->path[i], sizeof(m->path[i]), "%s/%s", m->dir,
			names[i]);
	fits = fits &&
	    ly_print(m->policy, sizeof(m->policy), "%s/%s.policy.pem",
		m->trust_dir, site);
	return fits &&
	    ly_print(m->path[TRUST], sizeof(m->path[TRUST]), "%s/%s.pem",
		m->trust_dir, site);
}

static enum ly_rc
copy_file(const char *from, const char *to, struct ly_why *why)
{
	LY_AUTO(free) char *text = NULL;
	uint8_t *buf;
	size_t len;
	enum ly_rc rc = ly_file_read(from, PEM_MOST, &buf, &len, why);

	if (rc != LY_OK)
		return rc;
	text = (char *)buf;
	return ly_file_write(to, buf, len, 0644, why);
}

static enum ly_rc
make_manager(const struct made *m, const struct init *a, struct ly_why *why)
{
	LY_AUTO(free) char *request = NULL;
	LY_AUTO(free) char *cert = NULL;
	char id[LY_SPIFFE_MAX];
	enum ly_rc rc;

	ly_print(id, sizeof(id), "spiffe://%s/manager/%s", a->site, a->name);
	rc = ly_ca_request(id, m->path[KEY], &request, why);
	if (rc == LY_OK)
		rc = ly_ca_sign(m->path[CA_KEY], m->path[CA_CERT], request, id,
		    a->days * 86400, &cert, why);
	if (rc == LY_OK)
		rc = ly_file_write(m->path[CERT], cert, strlen(cert), 0644,
		    why);
	return rc;
}

static enum ly_rc
make_policy_key(const struct made *m, const char *file, struct ly_why *why)
{
	struct ly_policykey *key = NULL;
	enum ly_rc rc = ly_policykey_make(file, why);

	if (rc != LY_OK)
		return rc;
	rc = ly_policykey_open(file, NULL, &key, why);
	if (rc == LY_OK)
		rc = ly_policykey_publish(key, m->policy, why);
	ly_policykey_free(key);
	if (rc != LY_OK)
		unlink(file);
	return rc;
}

static enum ly_rc
make_all(const struct made *m, const struct init *a, struct ly_why *why)
{
	enum ly_rc rc = ly_file_mkdir(m->trust_dir, 0755, why);

	for (size_t i = 0; rc == LY_OK && i < FILES; i++)
		if (access(m->path[i], F_OK) == 0)
			return ly_fail(why, LY_REFUSED,
			    "%s is there already; a site is made once. "
			    "Choose another --state, or remove what is there "
			    "if it may be lost",
			    m->path[i]);
	if (rc == LY_OK)
		rc = ly_ca_make(a->site, m->path[CA_KEY], m->path[CA_CERT],
		    (unsigned)a->days, why);
	if (rc != LY_OK)
		return rc;
	rc = make_manager(m, a, why);
	if (rc == LY_OK)
		rc = copy_file(m->path[CA_CERT], m->path[TRUST], why);
	if (rc == LY_OK && a->policy_key)
		rc = make_policy_key(m, a->policy_key, why);
	for (size_t i = 0; rc != LY_OK && i < FILES; i++)
		unlink(m->path[i]); /* ours: they were not there before */
	return rc;
}

static void
tell_init(const struct made *m, const struct init *a)
{
	size_t width = 0;

	for (size_t i = 0; i < FILES; i++)
		width = ly_max(width, strlen(m->path[i]));
	printf("Site %s has a CA and a manager, "
	       "spiffe://%s/manager/%s.\n\n",
	    a->site, a->site, a->name);
	for (size_t i = 0; i < FILES; i++)
		printf("  %-*s  %s\n", (int)width, m->path[i], said[i]);
	if (a->policy_key)
		printf("  %-*s  %s\n", (int)width, a->policy_key,
		    "the policy key: keep it apart from the manager");
	printf("\nNext:\n"
	       "  1. Keep a copy of %s where nobody else can read it.\n"
	       "  2. Write the manager's configuration, check it with\n"
	       "     lanyard-manager -t -c FILE, and start the manager:\n\n"
	       "       [manager]\n"
	       "       site = %s\n"
	       "       name = %s\n"
	       "       state = %s\n"
	       "       listen = ADDRESS:PORT\n\n"
	       "  3. lanyard host add NAME --address HOST:PORT --out DIR\n"
	       "     for each host of this site.\n"
	       "  4. For each other site: give it %s, and pin its CA here:\n"
	       "     lanyard site trust SITE --ca FILE --address HOST:PORT\n",
	    m->path[CA_KEY], a->site, a->name, m->dir, m->path[CA_CERT]);
}

static void
json_init(const struct made *m, const struct init *a)
{
	LY_AUTO(json_decref)
	json_t *o = json_pack("{s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "ok",
	    1, "site", a->site, "manager", a->name, "ca_key", m->path[CA_KEY],
	    "ca_cert", m->path[CA_CERT], "key", m->path[KEY], "cert",
	    m->path[CERT], "trust", m->trust_dir);

	if (a->policy_key)
		json_object_set_new(o, "policy_key",
		    json_string(a->policy_key));
	ly_answer_json(stdout, o);
}

static int
run_init(const struct ly_common *c, const void *args)
{
	struct init a = *(const struct init *)args;
	struct made m;
	struct ly_why why;
	enum ly_rc rc;

	a.state = a.state ? a.state : STATE;
	a.name = a.name ? a.name : "m1";
	a.days = a.days ? a.days : DAYS;
	rc = ly_file_mkdir(a.state, 0700, &why);
	if (rc == LY_OK && !realpath(a.state, m.dir))
		rc = ly_fail(&why, LY_OUTSIDE, "--state: %s: %s", a.state,
		    strerror(errno));
	if (rc == LY_OK && !name_files(&m, a.site))
		rc = ly_fail(&why, LY_REFUSED, "--state: too long a path");
	if (rc == LY_OK)
		rc = make_all(&m, &a, &why);
	if (rc != LY_OK)
		return ly_cli_fail(c, rc, "%s", why.text);
	if (c->json)
		json_init(&m, &a);
	else if (!c->quiet)
		tell_init(&m, &a);
	return LY_EXIT_DONE;
}

/* ---- site trust ---- */

struct trust {
	const char *site, *ca, *address, *policy;
};

static const struct ly_opt trust_rows[] = {
	LY_OPERAND(struct trust, site, "SITE", LY_OPT_SITE,
	    "The other site's name, as its CA has it"),
	LY_VALUE(struct trust, ca, "--ca", "FILE", LY_OPT_FILE, true,
	    "Its CA's certificate (ca.pem), got by a way you trust"),
	LY_VALUE(struct trust, address, "--address", "HOST:PORT",
	    LY_OPT_ADDRESS, false,
	    "Where its manager listens; without it, it has to call us"),
	LY_VALUE(struct trust, policy, "--policy", "FILE", LY_OPT_FILE, false,
	    "Its policy key (SITE.policy.pem), which approves its hosts"),
};

static int
read_pem(const struct ly_common *c, const char *opt, const char *file,
    const char *kind, char **pem)
{
	LY_AUTO(free) char *text = NULL;
	struct ly_why why;
	uint8_t *buf;
	size_t len;
	enum ly_rc rc = ly_file_read(file, PEM_MOST, &buf, &len, &why);

	if (rc != LY_OK)
		return ly_cli_fail(c, rc, "%s: %s", opt, why.text);
	text = (char *)buf;
	if (strstr(text, "PRIVATE KEY")) {
		ly_wipe(text, len);
		return ly_cli_fail(c, LY_REFUSED,
		    "%s: %s holds a private "
		    "key, which must never leave its site; the %s "
		    "is wanted",
		    opt, file, kind);
	}
	if (!strstr(text, "-----BEGIN ") || strlen(text) != len)
		return ly_cli_fail(c, LY_MALFORMED, "%s: %s holds no %s in PEM",
		    opt, file, kind);
	*pem = ly_take(text);
	return LY_EXIT_DONE;
}

static int
run_trust(const struct ly_common *c, const void *args)
{
	const struct trust *a = args;
	LY_AUTO(json_decref) json_t *answer = NULL;
	LY_AUTO(free) char *pem = NULL;
	LY_AUTO(free) char *policy = NULL;
	json_t *request;
	int status = read_pem(c, "--ca", a->ca, "certificate", &pem);

	if (status == LY_EXIT_DONE && a->policy)
		status = read_pem(c, "--policy", a->policy, "public key",
		    &policy);
	if (status != LY_EXIT_DONE)
		return status;
	request = ly_cli_request("site.trust", "site", a->site, "address",
	    a->address, "policy_pem", policy, (char *)NULL);
	if (json_object_set_new(request, "ca_pem", json_string(pem)) != 0) {
		json_decref(request);
		return ly_cli_fail(c, LY_MALFORMED,
		    "--ca: %s is not text in UTF-8", a->ca);
	}
	status = ly_cli_ask_plain(c, request, true, &answer);
	if (status != LY_EXIT_DONE)
		return status;
	if (c->json)
		ly_answer_json(stdout, answer);
	else if (!c->quiet)
		printf("Certificates of site %s are believed now if they end "
		       "in %s.%s\n",
		    a->site, a->ca,
		    a->address ?
			"" :
			"\nNo address: its manager has to call this one.");
	return LY_EXIT_DONE;
}

/* ---- site show ---- */

static const struct ly_cell show_cells[] = {
	{ "site", "site", LY_CELL_TEXT },
	{ "manager", "manager|name", LY_CELL_TEXT },
	{ "software", "software|version", LY_CELL_TEXT },
	{ "listens at", "listen|address", LY_CELL_TEXT },
	{ "certificate until", "not_after", LY_CELL_TIME },
	{ "CA", "ca", LY_CELL_HIDDEN },
};

const struct ly_cell ly_peer_cells[LY_PEER_CELLS] = {
	{ "PEER", "site|name", LY_CELL_TEXT },
	{ "ADDRESS", "address", LY_CELL_TEXT },
	{ "LINK", "up|connected|state", LY_CELL_UP },
	{ "SINCE", "since", LY_CELL_TIME },
	{ "WHY", "why", LY_CELL_TEXT },
};

static int
run_show(const struct ly_common *c, const void *args)
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	LY_AUTO(json_decref) json_t *peers = NULL;
	int status = ly_cli_ask_plain(c,
	    ly_cli_request("site.show", (char *)NULL), false, &answer);

	(void)args;
	if (status != LY_EXIT_DONE)
		return status;
	if (c->json) {
		ly_answer_json(stdout, answer);
		return LY_EXIT_DONE;
	}
	if (json_is_array(json_object_get(answer, "peers"))) {
		peers = json_incref(json_object_get(answer, "peers"));
		json_object_del(answer, "peers");
	}
	ly_answer_pairs(stdout, answer, show_cells, LY_COUNT(show_cells));
	if (json_array_size(peers) > 0) {
		putchar('\n');
		ly_answer_table(stdout, peers, ly_peer_cells, LY_PEER_CELLS,
		    SIZE_MAX);
	}
	return LY_EXIT_DONE;
}

const struct ly_cli_verb ly_cli_site_verbs[] = {
	{ "site init", init_rows, LY_COUNT(init_rows), sizeof(struct init),
	    run_init, "Make this site's CA and its manager's certificate",
	    "Needs no manager. Never overwrites anything." },
	{ "site trust", trust_rows, LY_COUNT(trust_rows), sizeof(struct trust),
	    run_trust, "Believe another site's certificates",
	    "Pins the CA for that one site: it proves nothing about others. "
	    "The other site has to pin ours as well." },
	{ "site show", NULL, 0, 0, run_show,
	    "Show this site, its manager and its peers", NULL },
	{ 0 },
};
