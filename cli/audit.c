/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard audit`: the permanent record, as the manager has it, or checked here
 * from the first line to the signature of its head: what this program says of
 * the chain it has found out itself.
 */
#include "cli/cli.h"
#include "lib/io/file.h"
#include "lib/io/identity.h"
#include "manager/record/chain.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WITNESSES_MOST 64

LY_AUTO_FOR(json_decref, json_t)
LY_AUTO_FOR(free, char)

struct audit {
	const char *vm, *host, *mig, *since, *export, *receipt, *out;
	bool verify, accept_loss;
};

static const struct ly_opt audit_rows[] = {
	LY_VALUE(struct audit, vm, "--vm", "VM", LY_OPT_VM, false,
	    "Only events of this VM, even if it has been removed"),
	LY_VALUE(struct audit, host, "--host", "HOST", LY_OPT_HOST, false,
	    "Only events that name this host"),
	LY_VALUE(struct audit, mig, "--mig", "ID", LY_OPT_ID, false,
	    "Only events of this migration"),
	LY_VALUE(struct audit, since, "--since", "TIME", LY_OPT_TEXT, false,
	    "Only later ones: 2026-11-21, \"2026-11-21 15:00\", 90m, 12h, 7d"),
	LY_FLAG(struct audit, verify, "--verify",
	    "Check every event and the signature of the last"),
	LY_VALUE(struct audit, export, "--export", "FILE", LY_OPT_FILE, false,
	    "Write all of it to FILE, its head to FILE.head, FILE.sig, "
	    "FILE.pem"),
	LY_VALUE(struct audit, receipt, "--receipt", "ID", LY_OPT_ID, false,
	    "Write what this migration's parties have proved and signed"),
	LY_VALUE(struct audit, out, "--out", "DIR", LY_OPT_FILE, false,
	    "With --receipt: where to, a new directory"),
	LY_FLAG(struct audit, accept_loss, "--accept-loss",
	    "Go on although another site knows more of this record"),
};

/* ---- since when ---- */

static bool
parse_ago(const char *text, time_t now, time_t *out)
{
	static const struct {
		char unit;
		unsigned seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	for (size_t i = 0; i < LY_COUNT(units); i++)
		if (isdigit((unsigned char)text[0]) &&
		    end[0] == units[i].unit && end[1] == '\0' && n < 1u << 20) {
			*out = now - (time_t)(n * units[i].seconds);
			return true;
		}
	return false;
}

static bool
parse_since(const char *text, time_t *out)
{
	static const char *const forms[] = { "%Y-%m-%d %H:%M:%S",
		"%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M",
		"%Y-%m-%d" };

	if (parse_ago(text, time(NULL), out))
		return true;
	for (size_t i = 0; i < LY_COUNT(forms); i++) {
		struct tm tm = { .tm_isdst = -1 };
		const char *end = strptime(text, forms[i], &tm);

		if (end && *end == '\0') {
			*out = mktime(&tm);
			return *out >= 0;
		}
	}
	return false;
}

/* ---- pages ---- */

struct walk {
	const struct ly_common *c;
	const struct audit *a;
	time_t since;
	uint64_t next;
	json_t *answer; /* the last page */
	int (*on_line)(struct walk *w, const char *line);
	/* of --verify and --export */
	struct ly_chain chain;
	uint64_t first_ms;
	FILE *file;
	unsigned seen_n; /* heads that others have of it and that fit */
};

static json_t *
request(const struct walk *w)
{
	json_t *o = ly_cli_request("audit", "vm", w->a->vm, "host", w->a->host,
	    "migration", w->a->mig, (char *)NULL);

	json_object_set_new(o, "from", json_integer((json_int_t)w->next));
	if (w->a->since)
		json_object_set_new(o, "since",
		    json_integer((json_int_t)w->since));
	return o;
}

static int
walk(struct walk *w)
{
	int status;

	do {
		const json_t *line;
		size_t i;

		json_decref(w->answer);
		status = ly_cli_ask_plain(w->c, request(w), false, &w->answer);
		if (status != LY_EXIT_DONE)
			return status;
		json_array_foreach(json_object_get(w->answer, "lines"), i,
		    line) {
			const char *text = json_string_value(line);

			status = text ?
			    w->on_line(w, text) :
			    ly_cli_fail(w->c, LY_MALFORMED,
				"the manager's answer is no record");
			if (status != LY_EXIT_DONE)
				return status;
		}
		w->next = (uint64_t)ly_answer_number(w->answer, "next", 0);
	} while (w->next > 0);
	return LY_EXIT_DONE;
}

/* ---- for people ---- */

static int
print_line(struct walk *w, const char *line)
{
	static const struct ly_cell when = { .keys = "when",
		.kind = LY_CELL_TIME_MS };
	LY_AUTO(json_decref) json_t *o = json_loads(line, 0, NULL);
	LY_AUTO(free) char *at = ly_answer_text(o, &when);
	LY_AUTO(free) char *kind = ly_answer_word(o, "kind");
	LY_AUTO(free) char *text = ly_answer_word(o, "text");
	LY_AUTO(free) char *subject = ly_answer_word(o, "subject");
	LY_AUTO(free) char *name = ly_answer_word(o, "name");

	if (w->c->json) {
		puts(line);
		return LY_EXIT_DONE;
	}
	printf("%s  #%.0f  %s: %s", at, ly_answer_number(o, "n", 0),
	    kind ? kind : "?", text ? text : "-");
	if (subject && subject[0] && (!text || !strstr(text, subject)))
		printf(" [%s]", subject);
	if (name && name[0])
		printf(" [%s]", name);
	putchar('\n');
	return LY_EXIT_DONE;
}

/* ---- checked ---- */

/* Somebody else keeps a head of this record: it has to lie on its way. */
static void
meet_witnesses(struct walk *w)
{
	const json_t *list = json_object_get(w->answer, "witnesses"), *v;
	char hash[65];
	size_t i;

	ly_hex(w->chain.hash, sizeof(w->chain.hash), hash);
	json_array_foreach(list, i, v) {
		const char *theirs = json_string_value(
		    json_object_get(v, "hash"));

		if ((uint64_t)ly_answer_number(v, "events", 0) == w->chain.n &&
		    theirs && strcmp(theirs, hash) == 0)
			w->seen_n++;
	}
}

static int
check_line(struct walk *w, const char *line)
{
	struct ly_line l;
	struct ly_why why;

	if (ly_chain_add(&w->chain, line, strlen(line), &l, &why) != LY_OK)
		return ly_cli_fail(w->c, LY_REFUSED, "the record is broken: %s",
		    why.text);
	if (w->chain.n == 1)
		w->first_ms = l.when;
	meet_witnesses(w);
	if (w->file && fprintf(w->file, "%s\n", line) < 0)
		return ly_cli_fail(w->c, LY_OUTSIDE, "%s: %s", w->a->export,
		    strerror(errno));
	return LY_EXIT_DONE;
}

struct signed_head {
	const char *text, *cert;
	uint8_t sig[LY_SIG_DER_MAX];
	size_t sig_len;
	struct ly_head_text head;
};

static int
check_head(const struct walk *w, struct signed_head *out)
{
	const json_t *o = json_object_get(w->answer, "head");
	const char *sig = json_string_value(json_object_get(o, "sig"));
	struct ly_why why = { "the manager's answer has no head" };
	enum ly_rc rc = LY_MALFORMED;
	size_t used;

	out->text = json_string_value(json_object_get(o, "text"));
	out->cert = json_string_value(json_object_get(o, "cert"));
	out->sig_len = sig ? strlen(sig) / 2 : 0;
	if (out->text && out->cert && sig && out->sig_len <= sizeof(out->sig) &&
	    ly_unhex(sig, out->sig, out->sig_len) == LY_OK)
		rc = ly_head_get(out->text, strlen(out->text), &out->head,
		    &used, &why);
	if (rc == LY_OK)
		rc = ly_check_text(out->cert, out->text, strlen(out->text),
		    out->sig, out->sig_len, &why);
	if (rc == LY_OK && !ly_chain_same(&out->head.head, &w->chain))
		rc = ly_fail(&why, LY_REFUSED,
		    "%llu events came, but the head was signed for %llu%s",
		    (unsigned long long)w->chain.n,
		    (unsigned long long)out->head.head.n,
		    w->chain.n == out->head.head.n ? " others" : "");
	return rc == LY_OK ? LY_EXIT_DONE :
			     ly_cli_fail(w->c, rc, "the head: %s", why.text);
}

static void
print_witnesses(const struct walk *w)
{
	static const struct ly_cell when = { .keys = "when",
		.kind = LY_CELL_TIME };
	const json_t *v;
	size_t i;

	json_array_foreach(json_object_get(w->answer, "witnesses"), i, v) {
		LY_AUTO(free) char *site = ly_answer_word(v, "site");
		LY_AUTO(free) char *at = ly_answer_text(v, &when);

		printf("Site %s has signed that it saw the first %.0f events"
		       " (%s).\n",
		    site ? site : "?", ly_answer_number(v, "events", 0), at);
	}
}

static int
say_verified(const struct walk *w, const struct signed_head *h)
{
	LY_AUTO(json_decref)
	json_t *o = json_pack("{s:b, s:I, s:I, s:s, s:i}", "ok", 1, "events",
	    (json_int_t)w->chain.n, "since_ms", (json_int_t)w->first_ms,
	    "signer", h->head.signer, "witnesses", w->seen_n);
	static const struct ly_cell since = { .keys = "since_ms",
		.kind = LY_CELL_TIME_MS };
	LY_AUTO(free) char *at = ly_answer_text(o, &since);
	const json_t *witnesses = json_object_get(w->answer, "witnesses");

	if (w->seen_n != json_array_size(witnesses))
		return ly_cli_fail(w->c, LY_REFUSED,
		    "another site has signed that it saw a head which this"
		    " record does not have");
	if (w->c->json) {
		ly_answer_json(stdout, o);
	} else {
		printf("%llu events, unbroken since %s, head signed by %s\n",
		    (unsigned long long)w->chain.n, at, h->head.signer);
		print_witnesses(w);
	}
	return LY_EXIT_DONE;
}

static int
write_beside(const struct walk *w, const char *suffix, const void *at,
    size_t len)
{
	char path[1024];
	FILE *f;
	bool good;

	if (!ly_print(path, sizeof(path), "%s%s", w->a->export, suffix))
		return ly_cli_fail(w->c, LY_OUTSIDE, "%s: too long",
		    w->a->export);
	f = fopen(path, "w");
	good = f && fwrite(at, 1, len, f) == len;
	if (f && fclose(f) != 0)
		good = false;
	return good ?
	    LY_EXIT_DONE :
	    ly_cli_fail(w->c, LY_OUTSIDE, "%s: %s", path, strerror(errno));
}

static int
write_head(const struct walk *w, const struct signed_head *h)
{
	int status = write_beside(w, ".head", h->text, strlen(h->text));

	if (status == LY_EXIT_DONE)
		status = write_beside(w, ".sig", h->sig, h->sig_len);
	if (status == LY_EXIT_DONE)
		status = write_beside(w, ".pem", h->cert, strlen(h->cert));
	return status;
}

static int
verify(struct walk *w)
{
	struct signed_head h = { .text = NULL };
	int status = LY_EXIT_DONE;

	w->on_line = check_line;
	if (w->a->export) {
		w->file = fopen(w->a->export, "w");
		if (!w->file)
			return ly_cli_fail(w->c, LY_OUTSIDE, "%s: %s",
			    w->a->export, strerror(errno));
	}
	status = walk(w);
	if (status == LY_EXIT_DONE)
		status = check_head(w, &h);
	if (w->file && (fflush(w->file) != 0 || fsync(fileno(w->file)) != 0) &&
	    status == LY_EXIT_DONE)
		status = ly_cli_fail(w->c, LY_OUTSIDE, "%s: %s", w->a->export,
		    strerror(errno));
	if (w->file)
		fclose(w->file);
	if (status == LY_EXIT_DONE && w->a->export)
		status = write_head(w, &h);
	return status == LY_EXIT_DONE ? say_verified(w, &h) : status;
}

/* ---- the verb ---- */

static int
accept_loss(const struct ly_common *c)
{
	return ly_cli_do(c, ly_cli_request("audit.accept", (char *)NULL),
	    "the loss is recorded; the manager goes on");
}

/* Names are the manager's; none may leave the directory. */
static bool
name_good(const char *name)
{
	return name[0] != '.' && !strchr(name, '/') && strlen(name) < 128;
}

static int
write_file(const struct ly_common *c, const char *dir, const char *name,
    const char *hex)
{
	size_t len = hex ? strlen(hex) / 2 : 0;
	uint8_t *bytes = malloc(len + 1);
	char path[1024];
	struct ly_why why = { "" };
	enum ly_rc rc = LY_OK;

	if (!bytes || !hex || !name_good(name) ||
	    ly_unhex(hex, bytes, len) != LY_OK ||
	    !ly_print(path, sizeof(path), "%s/%s", dir, name))
		rc = ly_fail(&why, LY_MALFORMED,
		    "the manager's answer is no receipt");
	if (rc == LY_OK)
		rc = ly_file_write(path, bytes, len, 0644, &why);
	free(bytes);
	return rc == LY_OK ? LY_EXIT_DONE : ly_cli_fail(c, rc, "%s", why.text);
}

static int
write_receipt(const struct ly_common *c, const struct audit *a)
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	int status = ly_cli_ask_plain(c,
	    ly_cli_request("audit.receipt", "migration", a->receipt,
		(char *)NULL),
	    false, &answer);
	json_t *files = json_object_get(answer, "files"), *v;
	const char *name;

	if (status != LY_EXIT_DONE)
		return status;
	if (mkdir(a->out, 0755) != 0)
		return ly_cli_fail(c, LY_OUTSIDE, "%s: %s", a->out,
		    strerror(errno));
	json_object_foreach(files, name, v) {
		status = write_file(c, a->out, name, json_string_value(v));
		if (status != LY_EXIT_DONE)
			return status;
	}
	if (c->json)
		printf("{\"ok\":true,\"files\":%zu}\n",
		    json_object_size(files));
	else if (!c->quiet)
		printf("%zu files in %s, first of all receipt.txt\n",
		    json_object_size(files), a->out);
	return LY_EXIT_DONE;
}

static int
run_audit(const struct ly_common *c, const void *args)
{
	const struct audit *a = args;
	struct walk w = { .c = c, .a = a, .on_line = print_line };
	bool some = a->vm || a->host || a->mig || a->since;
	int status;

	if ((a->verify || a->export) && some)
		return ly_cli_usage(c,
		    "--verify and --export are about all events");
	if (!a->receipt != !a->out || (a->receipt && some))
		return ly_cli_usage(c,
		    "--receipt ID --out DIR go together, and alone");
	if (a->receipt)
		return write_receipt(c, a);
	if (a->accept_loss && (some || a->verify || a->export))
		return ly_cli_usage(c, "--accept-loss goes alone");
	if (a->since && !parse_since(a->since, &w.since))
		return ly_cli_usage(c,
		    "--since %s: expected a date, a date and time, or how long"
		    " ago (90m, 12h, 7d)",
		    a->since);
	if (a->accept_loss)
		return accept_loss(c);
	status = a->verify || a->export ? verify(&w) : walk(&w);
	if (status == LY_EXIT_DONE && !c->quiet) {
		LY_AUTO(free) char *lost = ly_answer_word(w.answer, "lost");

		if (lost)
			fprintf(stderr, "lanyard: audit: ALARM: %s\n", lost);
	}
	json_decref(w.answer);
	return status;
}

const struct ly_cli_verb ly_cli_audit_verbs[] = {
	{ "audit", audit_rows, LY_COUNT(audit_rows), sizeof(struct audit),
	    run_audit,
	    "Show, check or export the permanent record of what was done",
	    "One line an event: who asked, what was issued to whom, what was "
	    "quoted and verified. Lines are chained by their hashes, and the "
	    "last is signed: --verify finds any change." },
	{ 0 },
};
