/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard attest`: where a VM runs, or what a host is, proved now. The
 * manager judges; what it has signed is written for whoever wants to check it
 * without lanyard.
 */
#include "cli/cli.h"
#include "lib/io/file.h"
#include "lib/io/identity.h"

#include <stdlib.h>
#include <time.h>

LY_AUTO_FOR(json_decref, json_t)
LY_AUTO_FOR(free, char)

struct attest {
	const char *what, *out;
};

static const struct ly_opt attest_rows[] = {
	LY_OPERAND(struct attest, what, "VM|HOST", LY_OPT_HOST,
	    "A VM of this site, or a host of any"),
	LY_VALUE(struct attest, out, "--out", "FILE", LY_OPT_FILE, false,
	    "Write what the manager has signed to FILE, FILE.sig, FILE.pem"),
};

static int
write_as(const struct ly_common *c, const char *file, const char *suffix,
    const void *at, size_t len)
{
	char path[1024];
	struct ly_why why;
	enum ly_rc rc = ly_print(path, sizeof(path), "%s%s", file, suffix) ?
	    ly_file_write(path, at, len, 0644, &why) :
	    ly_fail(&why, LY_FULL, "%s: too long", file);

	return rc == LY_OK ? LY_EXIT_DONE : ly_cli_fail(c, rc, "%s", why.text);
}

static int
write_all(const struct ly_common *c, const char *file, const json_t *answer)
{
	const char *text = json_string_value(json_object_get(answer, "text"));
	const char *sig = json_string_value(
	    json_object_get(answer, "signature"));
	const char *pem = json_string_value(
	    json_object_get(answer, "certificate"));
	uint8_t raw[LY_SIG_DER_MAX];
	size_t len = sig ? strlen(sig) / 2 : 0;
	int status;

	if (!text || !pem || !len || len > sizeof(raw) ||
	    ly_unhex(sig, raw, len) != LY_OK)
		return ly_cli_fail(c, LY_MALFORMED,
		    "the manager's answer is no attestation");
	status = write_as(c, file, "", text, strlen(text));
	if (status == LY_EXIT_DONE)
		status = write_as(c, file, ".sig", raw, len);
	if (status == LY_EXIT_DONE)
		status = write_as(c, file, ".pem", pem, strlen(pem));
	return status;
}

static void
print_side(const char *before, const json_t *side)
{
	LY_AUTO(free) char *host = ly_answer_word(side, "host");
	LY_AUTO(free) char *class = ly_answer_word(side, "class");
	LY_AUTO(free) char *state = ly_answer_word(side, "state");

	printf("%s%s: class %s, approved as \"%s\"\n", before,
	    host ? host : "?", class ? class : "?", state ? state : "?");
}

static void
print_for_people(const struct attest *a, const json_t *answer)
{
	time_t until = (time_t)ly_answer_number(answer, "until", 0);
	LY_AUTO(free) char *vm = ly_answer_word(answer, "vm");
	LY_AUTO(free) char *pcrs = ly_answer_word(answer, "vm_pcrs");
	char when[32] = "?";
	struct tm tm;

	if (localtime_r(&until, &tm))
		strftime(when, sizeof(when), "%H:%M:%S", &tm);
	if (vm) {
		printf("%s runs where it is said to run.\n", vm);
		print_side("at    ", json_object_get(answer, "place"));
		print_side("home  ", json_object_get(answer, "home"));
		printf("epoch %.0f, command %.0f\n",
		    ly_answer_number(answer, "epoch", 0),
		    ly_answer_number(answer, "seq", 0));
		printf("PCRs 0 to 15 of its TPM: SHA-256 %s\n",
		    pcrs ? pcrs : "?");
	} else {
		print_side("host  ", json_object_get(answer, "place"));
	}
	printf("Good until %s", when);
	if (a->out)
		printf("; in %s, %s.sig, %s.pem", a->out, a->out, a->out);
	printf("\n");
}

static int
run_attest(const struct ly_common *c, const void *args)
{
	const struct attest *a = args;
	LY_AUTO(json_decref) json_t *answer = NULL;
	struct ly_cli_ask ask = {
		.request = ly_cli_request("attest", "what", a->what,
		    (char *)NULL),
		.patient = true, /* chips take their time */
	};
	int status = ly_cli_ask(c, &ask, &answer);

	if (status == LY_EXIT_DONE && a->out)
		status = write_all(c, a->out, answer);
	if (status != LY_EXIT_DONE)
		return status;
	if (c->json)
		ly_answer_json(stdout, answer);
	else if (!c->quiet)
		print_for_people(a, answer);
	return LY_EXIT_DONE;
}

const struct ly_cli_verb ly_cli_attest_verbs[] = {
	{ "attest", attest_rows, LY_COUNT(attest_rows), sizeof(struct attest),
	    run_attest, "Prove where a VM runs, or what a host is",
	    "Both hosts, the one where the VM runs and the one whose TPM it"
	    " has, quote their state now and say of the VM what they know; the"
	    " manager judges the quotes, and that they are of one VM, one"
	    " lease, and one link between those two. Exit status 1 with the"
	    " reason if anything does not fit." },
	{ .name = NULL },
};
