/* SPDX-License-Identifier: Apache-2.0 */
/* `lanyard host set|enroll|unfreeze`: which TPM a host has, and its proof. */
#include "cli/enrol.h"

#include "lib/crypt/cert.h"
#include "lib/io/file.h"

#include <stdlib.h>

#define CERT_MOST ((size_t)64 << 10)

LY_AUTO_FOR(json_decref, json_t)
LY_AUTO_FOR(free, char)

/* The key in the certificate, so that it does not matter which certificate of
 * that key the TPM shows. */
int
ly_cli_ek(const struct ly_common *c, const char *ek, const char *file,
    char out[LY_CLI_EK])
{
	struct ly_cert_key key;
	struct ly_why why;
	uint8_t *buf = NULL;
	size_t len = 0;
	char hex[65];
	enum ly_rc rc;

	out[0] = '\0';
	if (ek && file)
		return ly_cli_usage(c, "--ek or --ek-cert, not both");
	if (ek && !ly_copy(out, LY_CLI_EK, ek))
		return ly_cli_usage(c, "--ek: too long");
	if (!file)
		return LY_EXIT_DONE;
	rc = ly_file_read(file, CERT_MOST, &buf, &len, &why);
	if (rc == LY_OK)
		rc = ly_cert_key(buf, len, &key, &why);
	free(buf);
	if (rc != LY_OK)
		return ly_cli_fail(c, rc, "--ek-cert: %s: %s", file, why.text);
	ly_hex(key.spki, sizeof(key.spki), hex);
	ly_print(out, LY_CLI_EK, "sha256:%s", hex);
	return LY_EXIT_DONE;
}

/* ---- host set ---- */

struct set {
	const char *host, *ek, *ek_cert, *class, *capacity, *memory;
};

static const struct ly_opt set_rows[] = {
	LY_OPERAND(struct set, host, "HOST", LY_OPT_HOST,
	    "The host, of this site"),
	LY_VALUE(struct set, ek, "--ek", "EK", LY_OPT_TEXT, false,
	    LY_CLI_EK_HELP),
	LY_VALUE(struct set, ek_cert, "--ek-cert", "FILE", LY_OPT_FILE, false,
	    LY_CLI_EK_CERT_HELP),
	LY_VALUE(struct set, class, "--class", "CLASS", LY_OPT_NAME, false,
	    LY_CLI_CLASS_HELP),
	LY_VALUE(struct set, capacity, "--capacity", "N", LY_OPT_WORD, false,
	    "It takes so many VMs, or \"any\" number"),
	LY_VALUE(struct set, memory, "--memory", "MB", LY_OPT_WORD, false,
	    "... of so much memory in MiB, or \"any\""),
};

static bool
put_limit(json_t *o, const char *key, const char *text, uint64_t most)
{
	uint64_t v = 0;

	if (!text)
		return true;
	if (strcmp(text, "any") != 0 &&
	    (ly_parse_uint(text, most, &v) != LY_OK || v == 0))
		return false;
	json_object_set_new(o, key, json_integer((json_int_t)v));
	return true;
}

static int
run_set(const struct ly_common *c, const void *args)
{
	const struct set *a = args;
	char ek[LY_CLI_EK];
	int status = ly_cli_ek(c, a->ek, a->ek_cert, ek);
	json_t *o;

	if (status != LY_EXIT_DONE)
		return status;
	if (!ek[0] && !a->class && !a->capacity && !a->memory)
		return ly_cli_usage(c,
		    "one of --ek, --ek-cert, --class, --capacity, --memory");
	o = ly_cli_request("host.set", "host", a->host, "ek", ek[0] ? ek : NULL,
	    "class", a->class, (char *)NULL);
	if (put_limit(o, "capacity", a->capacity, 1u << 20) &&
	    put_limit(o, "memory_mb", a->memory, UINT32_MAX))
		return ly_cli_do(c, o, "Host %s: the inventory is changed.",
		    a->host);
	json_decref(o);
	return ly_cli_usage(c,
	    "--capacity and --memory are numbers from 1, or \"any\"");
}

/* ---- host enroll ---- */

struct enroll {
	const char *host;
	bool wait;
};

static const struct ly_opt enroll_rows[] = {
	LY_OPERAND(struct enroll, host, "HOST", LY_OPT_HOST,
	    "The host, of this site"),
	LY_FLAG(struct enroll, wait, "--wait",
	    "Wait until it has proved itself, or could not"),
};

static void
tell_enrolled(const json_t *answer)
{
	LY_AUTO(free) char *host = ly_answer_word(answer, "host");
	LY_AUTO(free) char *differs = ly_answer_word(answer, "unapproved");

	printf("Host %s is enrolled%s%s.\n", host ? host : "?",
	    differs ? ", in a state that is not approved: " : "",
	    differs ? differs : "");
}

static int
run_enroll(const struct ly_common *c, const void *args)
{
	const struct enroll *a = args;
	LY_AUTO(json_decref) json_t *answer = NULL;
	json_t *request = ly_cli_request("host.enroll", "host", a->host,
	    (char *)NULL);
	struct ly_cli_ask ask = { .request = request,
		.changes = true,
		.patient = a->wait };
	int status;

	json_object_set_new(request, "wait", json_boolean(a->wait));
	status = ly_cli_ask(c, &ask, &answer);
	if (status != LY_EXIT_DONE)
		return status;
	if (c->json)
		ly_answer_json(stdout, answer);
	else if (!c->quiet && !a->wait)
		printf("Host %s is asked to prove itself.\n", a->host);
	else if (!c->quiet)
		tell_enrolled(answer);
	return LY_EXIT_DONE;
}

/* ---- host unfreeze ---- */

struct unfreeze {
	const char *host;
};

static const struct ly_opt unfreeze_rows[] = {
	LY_OPERAND(struct unfreeze, host, "HOST", LY_OPT_HOST,
	    "The host, of this site"),
};

static int
run_unfreeze(const struct ly_common *c, const void *args)
{
	const struct unfreeze *a = args;

	return ly_cli_do(c,
	    ly_cli_request("host.unfreeze", "host", a->host, (char *)NULL),
	    "Host %s may prove itself again.", a->host);
}

const struct ly_cli_verb ly_cli_enrol_verbs[] = {
	{ "host set", set_rows, LY_COUNT(set_rows), sizeof(struct set), run_set,
	    "Say which TPM a host has, and of which class it is",
	    "It is asked to prove itself again." },
	{ "host enroll", enroll_rows, LY_COUNT(enroll_rows),
	    sizeof(struct enroll), run_enroll,
	    "Have a host prove its TPM and its state now",
	    "Hosts are asked by themselves when they connect, at half the life "
	    "of their certificate, and when the approved states change." },
	{ "host unfreeze", unfreeze_rows, LY_COUNT(unfreeze_rows),
	    sizeof(struct unfreeze), run_unfreeze,
	    "Let a host try again that failed three times to prove itself",
	    NULL },
	{ 0 },
};
