/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard host`: a host gets its certificate here. Its key is made on this
 * machine, beside the certificate, or comes as a request (--csr) so that it
 * never leaves the host.
 *
 * `host add` leaves a key without certificate only when the answer was lost:
 * the request stays beside it, and --csr asks again with the same key.
 */
#include "cli/enrol.h"

#include "lib/io/ca.h"
#include "lib/io/file.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define PEM_MOST ((size_t)64 << 10)

LY_AUTO_FOR(json_decref, json_t)
LY_AUTO_FOR(free, char)

struct add {
	const char *name, *address, *out, *csr, *ek, *ek_cert, *class;
};

static const struct ly_opt add_rows[] = {
	LY_OPERAND(struct add, name, "NAME", LY_OPT_NAME,
	    "The host's name, new in this site"),
	LY_VALUE(struct add, address, "--address", "HOST:PORT", LY_OPT_ADDRESS,
	    true, "Where other hosts reach its agent"),
	LY_VALUE(struct add, out, "--out", "DIR", LY_OPT_FILE, true,
	    "Where its key, certificate and trust go; copy it to the host"),
	LY_VALUE(struct add, csr, "--csr", "FILE", LY_OPT_FILE, false,
	    "Sign this request; without it, a key is made in DIR"),
	LY_VALUE(struct add, ek, "--ek", "EK", LY_OPT_TEXT, false,
	    LY_CLI_EK_HELP),
	LY_VALUE(struct add, ek_cert, "--ek-cert", "FILE", LY_OPT_FILE, false,
	    LY_CLI_EK_CERT_HELP),
	LY_VALUE(struct add, class, "--class", "CLASS", LY_OPT_NAME, false,
	    LY_CLI_CLASS_HELP),
};

struct adding {
	const struct ly_common *c;
	const struct add *a;
	char dir[PATH_MAX];
	char key[PATH_MAX + 32], csr[PATH_MAX + 32], cert[PATH_MAX + 32],
	    trust[PATH_MAX + 32], ek[LY_CLI_EK];
	json_t *answer;
};

/* ---- before anything is asked ---- */

static int
lay_out(struct adding *h)
{
	struct ly_why why;
	enum ly_rc rc = ly_file_mkdir(h->a->out, 0700, &why);
	const char *file;

	if (rc != LY_OK)
		return ly_cli_fail(h->c, rc, "--out: %s", why.text);
	if (!realpath(h->a->out, h->dir))
		return ly_cli_fail(h->c, LY_OUTSIDE, "--out: %s: %s", h->a->out,
		    strerror(errno));
	ly_print(h->key, sizeof(h->key), "%s/host.key", h->dir);
	ly_print(h->csr, sizeof(h->csr), "%s/host.csr", h->dir);
	ly_print(h->cert, sizeof(h->cert), "%s/host.pem", h->dir);
	ly_print(h->trust, sizeof(h->trust), "%s/trust", h->dir);
	file = access(h->cert, F_OK) == 0	    ? h->cert :
	    !h->a->csr && access(h->key, F_OK) == 0 ? h->key :
						      NULL;
	if (!file)
		return LY_EXIT_DONE;
	return ly_cli_fail(h->c, LY_REFUSED,
	    "%s is there already; choose "
	    "another --out%s",
	    file,
	    file == h->key ?
		", or ask for a certificate for its key with --csr" :
		"");
}

static int
read_csr(const struct adding *h, char **pem)
{
	LY_AUTO(free) char *text = NULL;
	struct ly_why why;
	uint8_t *buf;
	size_t len;
	enum ly_rc rc = ly_file_read(h->a->csr, PEM_MOST, &buf, &len, &why);

	if (rc != LY_OK)
		return ly_cli_fail(h->c, rc, "--csr: %s", why.text);
	text = (char *)buf;
	if (strlen(text) != len || strstr(text, "PRIVATE KEY") ||
	    !strstr(text, "CERTIFICATE REQUEST-----"))
		return ly_cli_fail(h->c, LY_MALFORMED,
		    "--csr: %s holds no certificate request in PEM", h->a->csr);
	*pem = ly_take(text);
	return LY_EXIT_DONE;
}

/* The key is for spiffe://SITE/host/NAME; the manager knows SITE. */
static int
make_csr(const struct adding *h, char **pem)
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	char id[LY_SPIFFE_MAX];
	const char *site;
	struct ly_why why;
	enum ly_rc rc;
	int status = ly_cli_ask_plain(h->c,
	    ly_cli_request("site.show", (char *)NULL), false, &answer);

	if (status != LY_EXIT_DONE)
		return status;
	site = json_string_value(json_object_get(answer, "site"));
	if (!site || !ly_name_good(site))
		return ly_cli_fail(h->c, LY_OUTSIDE,
		    "the manager does not say which site this is");
	ly_spiffe_host(site, h->a->name, id);
	rc = ly_ca_request(id, h->key, pem, &why);
	if (rc == LY_OK)
		rc = ly_file_write(h->csr, *pem, strlen(*pem), 0644, &why);
	if (rc == LY_OK)
		return LY_EXIT_DONE;
	unlink(h->key);
	return ly_cli_fail(h->c, rc, "%s", why.text);
}

/* ---- asking ---- */

static int
ask_for_cert(struct adding *h, const char *pem)
{
	json_t *request = ly_cli_request("host.add", "name", h->a->name,
	    "address", h->a->address, "ek", h->ek[0] ? h->ek : NULL, "class",
	    h->a->class, (char *)NULL);
	int status;

	if (json_object_set_new(request, "csr", json_string(pem)) != 0) {
		json_decref(request);
		return ly_cli_fail(h->c, LY_MALFORMED,
		    "--csr: not text in UTF-8");
	}
	status = ly_cli_ask_plain(h->c, request, true, &h->answer);
	if (h->a->csr || status == LY_EXIT_DONE)
		return status;
	if (status == LY_EXIT_OPEN) {
		fprintf(stderr,
		    "lanyard: the key is kept; ask again with "
		    "--csr %s\n",
		    h->csr);
		return status;
	}
	unlink(h->key); /* refused: nobody knows this key */
	unlink(h->csr);
	return status;
}

/* ---- after ---- */

static enum ly_rc
write_trust(const struct adding *h, struct ly_why *why)
{
	json_t *pem, *trust = json_object_get(h->answer, "trust");
	char path[PATH_MAX + LY_NAME_MAX + 64];
	const char *site;
	enum ly_rc rc = ly_file_mkdir(h->trust, 0755, why);

	json_object_foreach(trust, site, pem) {
		if (rc != LY_OK)
			break;
		if (!ly_name_good(site) || !json_is_string(pem))
			return ly_fail(why, LY_MALFORMED,
			    "the manager's "
			    "answer: trust: not SITE and certificate");
		ly_print(path, sizeof(path), "%s/%s.pem", h->trust, site);
		rc = ly_file_write(path, json_string_value(pem),
		    json_string_length(pem), 0644, why);
	}
	return rc;
}

static int
write_all(const struct adding *h)
{
	const json_t *cert = json_object_get(h->answer, "cert");
	struct ly_why why;
	enum ly_rc rc;

	if (!json_is_string(cert) ||
	    json_object_size(json_object_get(h->answer, "trust")) == 0)
		return ly_cli_fail(h->c, LY_MALFORMED,
		    "the manager's answer holds no certificate or no trust");
	rc = write_trust(h, &why);
	if (rc == LY_OK) /* last: it says that all the rest is there */
		rc = ly_file_write(h->cert, json_string_value(cert),
		    json_string_length(cert), 0644, &why);
	if (rc != LY_OK)
		return ly_cli_fail(h->c, rc,
		    "%s; the host is known to the "
		    "manager: lanyard host remove %s before you try again",
		    why.text, h->a->name);
	if (!h->a->csr)
		unlink(h->csr);
	return LY_EXIT_DONE;
}

/* The manager says where it listens; "anywhere" is no place to dial. */
static void
print_manager(const json_t *answer)
{
	LY_AUTO(free)
	char *at = ly_answer_word(answer, "manager_address|manager");
	bool good = at && ly_address_good(at);

	if (good && strncmp(at, "0.0.0.0:", 8) != 0 &&
	    strncmp(at, "[::]:", 5) != 0)
		printf("manager = %s\n", at);
	else
		printf("manager = THE_MANAGERS_HOST%s\n",
		    good ? strrchr(at, ':') : ":PORT");
}

static void
tell_add(const struct adding *h)
{
	const char *address = h->a->address;

	printf("Host %s may join; its certificate and whom it believes are in "
	       "%s.\nCopy that to the host%s, and into its agent's "
	       "configuration:\n\n",
	    h->a->name, h->dir, h->a->csr ? "" : " (the key as well)");
	printf("[agent]\ncert = %s\nkey = %s\ntrust = %s\n", h->cert,
	    h->a->csr ? "/FILE/OF/THE/KEY" : h->key, h->trust);
	printf("listen = %s%s\naddress = %s\n",
	    address[0] == '[' ? "[::]" : "0.0.0.0", strrchr(address, ':'),
	    address);
	print_manager(h->answer);
	printf("\n[tpm tpm0]\ntcti = device:/dev/tpmrm0\n\n"
	       "Then: lanyard-agent -t -c FILE, and start the agent.\n");
}

static int
run_add(const struct ly_common *c, const void *args)
{
	struct adding h = { .c = c, .a = args };
	LY_AUTO(free) char *pem = NULL;
	LY_AUTO(json_decref) json_t *answer = NULL;
	int status = ly_cli_ek(c, h.a->ek, h.a->ek_cert, h.ek);

	if (status == LY_EXIT_DONE)
		status = lay_out(&h);
	if (status == LY_EXIT_DONE)
		status = h.a->csr ? read_csr(&h, &pem) : make_csr(&h, &pem);
	if (status == LY_EXIT_DONE)
		status = ask_for_cert(&h, pem);
	answer = h.answer;
	if (status == LY_EXIT_DONE)
		status = write_all(&h);
	if (status != LY_EXIT_DONE)
		return status;
	if (c->json)
		ly_answer_json(stdout, answer);
	else if (!c->quiet)
		tell_add(&h);
	return LY_EXIT_DONE;
}

/* ---- the others ---- */

static const struct ly_cell list_cells[] = {
	{ "HOST", "host|name", LY_CELL_TEXT },
	{ "SITE", "site", LY_CELL_TEXT },
	{ "ADDRESS", "address", LY_CELL_TEXT },
	{ "AGENT", "up|connected|state", LY_CELL_UP },
	{ "ENROLLED", "enrolled", LY_CELL_TEXT },
	{ "SINCE", "since", LY_CELL_TIME },
	{ "VMS", "vms_n|vms", LY_CELL_NUMBER },
	{ "TPMS", "tpms", LY_CELL_TEXT },
};

static const struct ly_cell show_cells[] = {
	{ "host", "host|name", LY_CELL_TEXT },
	{ "site", "site", LY_CELL_TEXT },
	{ "address", "address", LY_CELL_TEXT },
	{ "agent", "up|connected|state", LY_CELL_UP },
	{ "since", "since", LY_CELL_TIME },
	{ "software", "software", LY_CELL_TEXT },
	{ "revoked", "revoked", LY_CELL_TIME },
	{ "tpms", "tpms", LY_CELL_TEXT },
	{ "enrolled", "enrolled", LY_CELL_TEXT },
	{ "class", "class", LY_CELL_TEXT },
	{ "why", "why", LY_CELL_TEXT },
	{ "differs", "unapproved", LY_CELL_TEXT },
	{ "frozen", "frozen", LY_CELL_TIME },
	{ "EK to be", "inventory", LY_CELL_TEXT },
	{ "EK", "ek", LY_CELL_TEXT },
	{ "EK known by", "ek_by", LY_CELL_TEXT },
	{ "AK", "ak", LY_CELL_TEXT },
	{ "SK", "sk", LY_CELL_TEXT },
	{ "last attested", "attested", LY_CELL_TIME },
	{ "enrolled since", "enrolled_at", LY_CELL_TIME },
	{ "certificate until", "until", LY_CELL_TIME },
	{ "certificate", "certificate", LY_CELL_HIDDEN },
	{ "AK certificate", "ak_certificate", LY_CELL_HIDDEN },
	{ "VMs", "vms", LY_CELL_HIDDEN },
	{ "guests", "guests", LY_CELL_HIDDEN },
};

struct one {
	const char *host;
};

static const struct ly_opt one_rows[] = {
	LY_OPERAND(struct one, host, "HOST", LY_OPT_HOST,
	    "The host; SITE/HOST if several sites have one of that name"),
};

static int
run_list(const struct ly_common *c, const void *args)
{
	(void)args;
	return ly_cli_list(c, ly_cli_request("host.list", (char *)NULL),
	    "hosts", list_cells, LY_COUNT(list_cells));
}

static const struct ly_cell vm_cells[] = {
	{ "VM", "vm|name", LY_CELL_TEXT },
	{ "AT", "at", LY_CELL_TEXT },
	{ "HOME", "home", LY_CELL_TEXT },
	{ "TPM", "tpm", LY_CELL_TEXT },
	{ "EPOCH", "epoch", LY_CELL_NUMBER },
	{ "STATE", "state", LY_CELL_TEXT },
};

static const struct ly_cell guest_cells[] = {
	{ "GUEST OF", "home_site", LY_CELL_TEXT },
	{ "ID", "id", LY_CELL_TEXT },
	{ "STATE", "state", LY_CELL_TEXT },
};

/* A list within the answer as a table of its own. */
static void
show_list(json_t *answer, const char *key, const struct ly_cell *cells,
    size_t cells_n)
{
	const json_t *list = json_object_get(answer, key);

	if (json_array_size(list) == 0)
		return;
	putchar('\n');
	ly_answer_table(stdout, list, cells, cells_n, SIZE_MAX);
}

static int
run_show(const struct ly_common *c, const void *args)
{
	const struct one *a = args;
	LY_AUTO(json_decref) json_t *answer = NULL;
	int status = ly_cli_ask_plain(c,
	    ly_cli_request("host.show", "host", a->host, (char *)NULL), false,
	    &answer);

	if (status != LY_EXIT_DONE)
		return status;
	if (c->json) {
		ly_answer_json(stdout, answer);
		return LY_EXIT_DONE;
	}
	ly_answer_pairs(stdout, answer, show_cells, LY_COUNT(show_cells));
	show_list(answer, "vms", vm_cells, LY_COUNT(vm_cells));
	show_list(answer, "guests", guest_cells, LY_COUNT(guest_cells));
	return LY_EXIT_DONE;
}

static int
run_remove(const struct ly_common *c, const void *args)
{
	const struct one *a = args;

	return ly_cli_do(c,
	    ly_cli_request("host.remove", "host", a->host, (char *)NULL),
	    "Host %s is removed.", a->host);
}

struct revoke {
	const char *host, *reason;
};

static const struct ly_opt revoke_rows[] = {
	LY_OPERAND(struct revoke, host, "HOST", LY_OPT_HOST,
	    "The host, of this site"),
	LY_VALUE(struct revoke, reason, "--reason", "WORD", LY_OPT_WORD, false,
	    "unspecified, key-compromise, superseded or ceased"),
};

static void
tell_revoked(const json_t *answer)
{
	const json_t *vm, *vms = json_object_get(answer, "vms");
	size_t i;

	printf("Host %s is revoked: nobody believes it any more.\n",
	    json_string_value(json_object_get(answer, "host")));
	json_array_foreach(vms, i, vm)
		printf("VM %s has no TPM there now; start it elsewhere: lanyard"
		       " vm start %s --host HOST --force\n",
		    json_string_value(vm), json_string_value(vm));
}

static int
run_revoke(const struct ly_common *c, const void *args)
{
	const struct revoke *a = args;
	LY_AUTO(json_decref) json_t *answer = NULL;
	int status = ly_cli_ask_plain(c,
	    ly_cli_request("host.revoke", "host", a->host, "reason", a->reason,
		(char *)NULL),
	    true, &answer);

	if (status != LY_EXIT_DONE)
		return status;
	if (c->json)
		ly_answer_json(stdout, answer);
	else if (!c->quiet)
		tell_revoked(answer);
	return LY_EXIT_DONE;
}

const struct ly_cli_verb ly_cli_host_verbs[] = {
	{ "host add", add_rows, LY_COUNT(add_rows), sizeof(struct add), run_add,
	    "Give a new host its certificate",
	    "Makes host.key, host.pem and trust/ in DIR and prints the lines "
	    "for the agent's configuration." },
	{ "host list", NULL, 0, 0, run_list, "List hosts", NULL },
	{ "host show", one_rows, LY_COUNT(one_rows), sizeof(struct one),
	    run_show, "Show one host", NULL },
	{ "host remove", one_rows, LY_COUNT(one_rows), sizeof(struct one),
	    run_remove, "Forget a host",
	    "Refused while it is a VM's home or a VM runs on it." },
	{ "host revoke", revoke_rows, LY_COUNT(revoke_rows),
	    sizeof(struct revoke), run_revoke,
	    "Take a host's certificates back",
	    "Every host and manager, of all sites, ends its connections with "
	    "it within seconds and takes no new ones. VMs that run there lose "
	    "their TPM. `host add` with the same name gives it a new one." },
	{ 0 },
};
