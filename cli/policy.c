/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard policy`: the site's policy authority. A change is made here and
 * signed here, by a key that the manager never sees: the list in force is
 * fetched, checked by that same key, changed, signed, and pushed. With --list
 * and --out it goes by files instead, so the key may be on a machine that
 * reaches no manager.
 */
#include "cli/cli.h"
#include "cli/pcrs.h"

#include "lib/attest/approved.h"
#include "lib/io/file.h"
#include "lib/io/policykey.h"

#include <stdlib.h>
#include <time.h>

#define PCRS_FILE_MOST 65536u

LY_AUTO_FOR(json_decref, json_t)
LY_AUTO_FOR(free, uint8_t)

/* ---- options ---- */

struct init {
	const char *key, *provider, *out;
};

static const struct ly_opt init_rows[] = {
	LY_VALUE(struct init, key, "--key", "FILE", LY_OPT_TEXT, true,
	    "Where the new key goes; with --provider, the key that is there"),
	LY_VALUE(struct init, provider, "--provider", "NAME", LY_OPT_WORD,
	    false, "OpenSSL provider that has the key: tpm2"),
	LY_VALUE(struct init, out, "--out", "FILE", LY_OPT_FILE, false,
	    "Its public half: trust/SITE.policy.pem of the manager"),
};

struct change {
	const char *class, *from_host, *pcrs, *note;
	uint64_t entry;
	const char *key, *provider, *list, *site, *out;
};

#define CHANGE_ROWS                                                            \
	LY_VALUE(struct change, key, "--key", "KEY", LY_OPT_TEXT, true,        \
	    "The policy key: a file, or a URI of the provider"),               \
	    LY_VALUE(struct change, provider, "--provider", "NAME",            \
		LY_OPT_WORD, false,                                            \
		"OpenSSL provider that has the key: tpm2"),                    \
	    LY_VALUE(struct change, list, "--list", "FILE", LY_OPT_FILE,       \
		false, "Change this list, not the manager's (with --site)"),   \
	    LY_VALUE(struct change, site, "--site", "NAME", LY_OPT_SITE,       \
		false, "Whose list it is, when no manager is asked"),          \
	    LY_VALUE(struct change, out, "--out", "FILE", LY_OPT_FILE, false,  \
		"Write the new list there, to be pushed later")

static const struct ly_opt approve_rows[] = {
	LY_VALUE(struct change, class, "--class", "NAME", LY_OPT_NAME, true,
	    "The class of hosts that may be in this state"),
	LY_VALUE(struct change, from_host, "--from-host", "HOST", LY_OPT_HOST,
	    false, "The state this host was last seen in"),
	LY_VALUE(struct change, pcrs, "--pcrs", "FILE", LY_OPT_FILE, false,
	    "The state of these PCRs, as tpm2_pcrread prints them"),
	LY_VALUE(struct change, note, "--note", "TEXT", LY_OPT_TEXT, false,
	    "What it is, for people"),
	CHANGE_ROWS,
};

static const struct ly_opt withdraw_rows[] = {
	LY_VALUE(struct change, class, "--class", "NAME", LY_OPT_NAME, true,
	    "The class the entry is of"),
	LY_NUMBER(struct change, entry, "--entry", "N", 1, LY_APPROVED_ENTRIES,
	    "Its number, as `lanyard policy show` has it"),
	CHANGE_ROWS,
};

/* ---- a change ---- */

struct work {
	const struct ly_common *c;
	const struct change *a;
	struct ly_policykey *key;
	struct ly_approved *list;
	uint8_t *bytes; /* what the list borrows */
	size_t len;
	uint8_t pcrs[LY_PCRS_N * 32]; /* what a new entry borrows */
};

static int
unhex_alloc(const struct ly_common *c, const char *hex, uint8_t **out,
    size_t *len)
{
	LY_AUTO(free) uint8_t *bytes = NULL;

	*len = strlen(hex) / 2;
	bytes = malloc(*len + 1);
	if (!bytes || strlen(hex) % 2 || ly_unhex(hex, bytes, *len) != LY_OK)
		return ly_cli_fail(c, LY_MALFORMED,
		    "the manager's answer holds no list");
	*out = ly_take(bytes);
	return LY_EXIT_DONE;
}

/* The list in force, if any, and the site. */
static int
fetch(struct work *w, char site[LY_NAME_MAX])
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	const char *of, *hex;
	int status = ly_cli_ask_plain(w->c,
	    ly_cli_request("policy.show", (char *)NULL), false, &answer);

	if (status != LY_EXIT_DONE)
		return status;
	of = json_string_value(json_object_get(answer, "site"));
	hex = json_string_value(json_object_get(answer, "list"));
	if (!of || !ly_name_good(of))
		return ly_cli_fail(w->c, LY_MALFORMED,
		    "the manager does not say which site this is");
	ly_copy(site, LY_NAME_MAX, of);
	return hex ? unhex_alloc(w->c, hex, &w->bytes, &w->len) : LY_EXIT_DONE;
}

static int
from_file(struct work *w, char site[LY_NAME_MAX])
{
	struct ly_why why;
	enum ly_rc rc;

	if (!w->a->site)
		return ly_cli_usage(w->c, "--list: needs --site too");
	ly_copy(site, LY_NAME_MAX, w->a->site);
	rc = ly_file_read(w->a->list, LY_APPROVED_MAX, &w->bytes, &w->len,
	    &why);
	return rc == LY_OK ? LY_EXIT_DONE :
			     ly_cli_fail(w->c, rc, "--list: %s", why.text);
}

/* Nothing the key has not signed itself is signed again. */
static int
open_list(struct work *w)
{
	char site[LY_NAME_MAX] = "";
	struct ly_why why;
	enum ly_rc rc;
	int status = LY_EXIT_DONE;

	if (w->a->list)
		status = from_file(w, site);
	else if (w->a->site && w->a->out)
		ly_copy(site, sizeof(site), w->a->site); /* the first list */
	else
		status = fetch(w, site);
	if (status != LY_EXIT_DONE)
		return status;
	ly_copy(w->list->site, sizeof(w->list->site), site);
	w->list->generation = 1;
	if (!w->bytes)
		return LY_EXIT_DONE;
	rc = ly_approved_parse((struct ly_bytes){ w->bytes, w->len }, site,
	    ly_policykey_point(w->key), w->list, &why);
	if (rc != LY_OK)
		return ly_cli_fail(w->c, rc,
		    "the list in force is not of this key: %s", why.text);
	return LY_EXIT_DONE;
}

static int
sign_entry(const struct work *w, struct ly_approved_entry *e)
{
	uint8_t msg[LY_APPROVAL_SIGNED];
	struct ly_why why;
	enum ly_rc rc;

	ly_approved_draft(e, w->list->generation, msg);
	rc = ly_policykey_sign(w->key, msg, sizeof(msg), e->signature, &why);
	return rc == LY_OK ? LY_EXIT_DONE :
			     ly_cli_fail(w->c, rc, "%s", why.text);
}

static int
sign_list(const struct work *w, uint8_t *out, size_t *len)
{
	LY_AUTO(free) uint8_t *msg = malloc(LY_APPROVED_MAX);
	struct ly_wr m = ly_wr_over(msg, msg ? LY_APPROVED_MAX : 0);
	struct ly_wr o = ly_wr_over(out, LY_APPROVED_MAX);
	uint8_t sig[LY_SIG_RAW] = { 0 };
	struct ly_why why;
	enum ly_rc rc = LY_OK;

	w->list->serial++;
	w->list->issued = (uint64_t)time(NULL);
	ly_approved_to_sign(w->list, &m);
	if (!m.bad)
		rc = ly_policykey_sign(w->key, msg, ly_wr_len(&m), sig, &why);
	if (rc != LY_OK)
		return ly_cli_fail(w->c, rc, "%s", why.text);
	ly_approved_seal(w->list, sig, &o);
	if (m.bad || o.bad)
		return ly_cli_fail(w->c, LY_FULL,
		    "the list would be over %u bytes; withdraw what is not"
		    " needed any more",
		    LY_APPROVED_MAX);
	*len = ly_wr_len(&o);
	return LY_EXIT_DONE;
}

/* ---- where it goes ---- */

static int
push_bytes(const struct ly_common *c, struct ly_bytes list, const char *said)
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	char *hex = malloc(2 * list.len + 1);
	json_t *request;
	int status;

	if (!hex)
		return ly_cli_fail(c, LY_OUTSIDE, "no memory");
	ly_hex(list.at, list.len, hex);
	request = ly_cli_request("policy.push", "list", hex, (char *)NULL);
	free(hex);
	status = ly_cli_ask_plain(c, request, true, &answer);
	if (status != LY_EXIT_DONE)
		return status;
	if (c->json)
		ly_answer_json(stdout, answer);
	else if (!c->quiet)
		printf("%sList %lld of site %s is in force, with %lld states"
		       ".\n",
		    said,
		    (long long)json_integer_value(
			json_object_get(answer, "serial")),
		    json_string_value(json_object_get(answer, "site")),
		    (long long)json_integer_value(
			json_object_get(answer, "entries")));
	return LY_EXIT_DONE;
}

static int
write_out(const struct work *w, struct ly_bytes list, const char *said)
{
	struct ly_why why;
	enum ly_rc rc = ly_file_write(w->a->out, list.at, list.len, 0644, &why);

	if (rc != LY_OK)
		return ly_cli_fail(w->c, rc, "--out: %s", why.text);
	if (!w->c->quiet && !w->c->json)
		printf("%sPut it in force: lanyard policy push %s\n", said,
		    w->a->out);
	return LY_EXIT_DONE;
}

static int
finish(const struct work *w, const char *said)
{
	LY_AUTO(free) uint8_t *out = malloc(LY_APPROVED_MAX);
	struct ly_bytes list = { out, 0 };
	int status;

	if (!out)
		return ly_cli_fail(w->c, LY_OUTSIDE, "no memory");
	status = sign_list(w, out, &list.len);
	if (status != LY_EXIT_DONE)
		return status;
	return w->a->out ? write_out(w, list, said) :
			   push_bytes(w->c, list, said);
}

/* ---- approve ---- */

/* Hosts quote, and keys are sealed to, just these PCRs: with fewer of them a
 * state would be approved unseen, with more of them never met. */
static int
need_sealed(const struct work *w, uint32_t *mask)
{
	char missing[LY_PCRS_N * 4], all[LY_PCRS_N * 4];
	uint32_t lacks = LY_SEALED_PCRS & ~*mask;

	*mask &= LY_SEALED_PCRS;
	if (!lacks)
		return LY_EXIT_DONE;
	return ly_cli_fail(w->c, LY_REFUSED,
	    "a state is the values of PCR %s; there is none of PCR %s",
	    ly_approved_mask_text(LY_SEALED_PCRS, all, sizeof(all)),
	    ly_approved_mask_text(lacks, missing, sizeof(missing)));
}

static int
read_pcrs(struct work *w, uint32_t *mask, uint8_t pcr[LY_PCRS_N][32])
{
	LY_AUTO(free) uint8_t *text = NULL;
	struct ly_why why;
	size_t len;
	enum ly_rc rc = ly_file_read(w->a->pcrs, PCRS_FILE_MOST, &text, &len,
	    &why);

	if (rc == LY_OK)
		rc = ly_pcrs_parse((const char *)text, mask, pcr, &why);
	return rc == LY_OK ? LY_EXIT_DONE :
			     ly_cli_fail(w->c, rc, "--pcrs: %s", why.text);
}

static int
ask_host(struct work *w, struct ly_approved_entry *e, uint32_t *mask,
    uint8_t pcr[LY_PCRS_N][32])
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	const char *name, *log;
	json_t *value;
	uint64_t n;
	int status = ly_cli_ask_plain(w->c,
	    ly_cli_request("policy.host", "host", w->a->from_host,
		(char *)NULL),
	    false, &answer);

	if (status != LY_EXIT_DONE)
		return status;
	json_object_foreach(json_object_get(answer, "pcrs"), name, value) {
		const char *hex = json_string_value(value);

		if (!hex || ly_parse_uint(name, LY_PCRS_N - 1, &n) != LY_OK ||
		    ly_unhex(hex, pcr[n], 32) != LY_OK)
			return ly_cli_fail(w->c, LY_MALFORMED,
			    "the manager's answer holds no PCRs");
		*mask |= 1u << n;
	}
	log = json_string_value(json_object_get(answer, "log"));
	if (log && ly_unhex(log, e->log, sizeof(e->log)) != LY_OK)
		return ly_cli_fail(w->c, LY_MALFORMED,
		    "the manager's answer holds no log");
	return LY_EXIT_DONE;
}

static int
fill_entry(struct work *w, struct ly_approved_entry *e)
{
	const struct change *a = w->a;
	uint8_t pcr[LY_PCRS_N][32] = { { 0 } };
	struct ly_wr values = ly_wr_over(w->pcrs, sizeof(w->pcrs));
	const struct ly_approved_entry *same;
	uint32_t mask = 0;
	int status;

	memset(e, 0, sizeof(*e));
	status = a->pcrs ? read_pcrs(w, &mask, pcr) :
			   ask_host(w, e, &mask, pcr);
	if (status == LY_EXIT_DONE)
		status = need_sealed(w, &mask);
	if (status != LY_EXIT_DONE)
		return status;
	if (ly_approved_find(w->list, a->class, mask, (const uint8_t(*)[32])pcr,
		&same, NULL) == LY_OK)
		return ly_cli_fail(w->c, LY_REFUSED,
		    "entry %u approves that state already",
		    (unsigned)(same - w->list->of) + 1);
	ly_approved_pack(mask, (const uint8_t(*)[32])pcr, &values);
	e->mask = mask;
	e->pcrs = (struct ly_bytes){ w->pcrs, ly_wr_len(&values) };
	e->when = (uint64_t)time(NULL);
	ly_copy(e->class, sizeof(e->class), a->class);
	if (!ly_copy(e->note, sizeof(e->note),
		a->note		 ? a->note :
		    a->from_host ? a->from_host :
				   ""))
		return ly_cli_usage(w->c, "--note: at most %d characters",
		    LY_APPROVED_NOTE - 1);
	return LY_EXIT_DONE;
}

static int
approve(struct work *w)
{
	struct ly_approved_entry *e = &w->list->of[w->list->n];
	char said[LY_NAME_MAX + 64];
	int status;

	if (w->list->n == LY_APPROVED_ENTRIES)
		return ly_cli_fail(w->c, LY_FULL,
		    "%u states are approved; withdraw what is not needed any"
		    " more",
		    w->list->n);
	status = fill_entry(w, e);
	if (status == LY_EXIT_DONE)
		status = sign_entry(w, e);
	if (status != LY_EXIT_DONE)
		return status;
	w->list->n++;
	ly_print(said, sizeof(said), "Entry %u of class %s is approved. ",
	    w->list->n, w->a->class);
	return finish(w, said);
}

/* ---- withdraw ---- */

/* A new generation: what remains is signed again. */
static int
withdraw(struct work *w)
{
	uint64_t n = w->a->entry;
	struct ly_approved *l = w->list;
	char said[LY_NAME_MAX + 64];
	int status = LY_EXIT_DONE;

	if (n == 0)
		return ly_cli_usage(w->c, "--entry is needed");
	if (n > l->n || strcmp(l->of[n - 1].class, w->a->class) != 0)
		return ly_cli_fail(w->c, LY_UNKNOWN,
		    "list %llu has no entry %llu of class %s",
		    (unsigned long long)l->serial, (unsigned long long)n,
		    w->a->class);
	memmove(&l->of[n - 1], &l->of[n], (l->n - n) * sizeof(l->of[0]));
	l->n--;
	l->generation++;
	for (unsigned i = 0; i < l->n && status == LY_EXIT_DONE; i++)
		status = sign_entry(w, &l->of[i]);
	if (status != LY_EXIT_DONE)
		return status;
	ly_print(said, sizeof(said), "Entry %llu of class %s is withdrawn. ",
	    (unsigned long long)n, w->a->class);
	return finish(w, said);
}

/* ---- verbs ---- */

static int
run_change(const struct ly_common *c, const struct change *a,
    int (*change)(struct work *w))
{
	struct work w = { .c = c, .a = a };
	struct ly_why why;
	enum ly_rc rc = ly_policykey_open(a->key, a->provider, &w.key, &why);
	int status;

	if (rc != LY_OK)
		return ly_cli_fail(c, rc, "--key: %s", why.text);
	w.list = calloc(1, sizeof(*w.list));
	if (!w.list)
		abort();
	status = open_list(&w);
	if (status == LY_EXIT_DONE)
		status = change(&w);
	ly_policykey_free(w.key);
	free(w.list);
	free(w.bytes);
	return status;
}

static int
run_approve(const struct ly_common *c, const void *args)
{
	const struct change *a = args;

	if (!a->from_host == !a->pcrs)
		return ly_cli_usage(c, "one of --from-host and --pcrs");
	return run_change(c, a, approve);
}

static int
run_withdraw(const struct ly_common *c, const void *args)
{
	return run_change(c, args, withdraw);
}

static int
run_init(const struct ly_common *c, const void *args)
{
	const struct init *a = args;
	struct ly_policykey *key = NULL;
	struct ly_why why;
	enum ly_rc rc = LY_OK;

	if (a->provider && !a->out)
		return ly_cli_usage(c, "--provider: needs --out too");
	if (!a->provider)
		rc = ly_policykey_make(a->key, &why);
	if (rc == LY_OK && a->out)
		rc = ly_policykey_open(a->key, a->provider, &key, &why);
	if (rc == LY_OK && a->out)
		rc = ly_policykey_publish(key, a->out, &why);
	ly_policykey_free(key);
	if (rc != LY_OK)
		return ly_cli_fail(c, rc, "%s", why.text);
	if (!c->quiet && !c->json)
		printf("Whoever has %s says which states of hosts are good:"
		       " keep it apart from the manager.\n",
		    a->key);
	return LY_EXIT_DONE;
}

struct push {
	const char *file;
};

static const struct ly_opt push_rows[] = {
	LY_OPERAND(struct push, file, "FILE", LY_OPT_FILE,
	    "A list that --out has written"),
};

static int
run_push(const struct ly_common *c, const void *args)
{
	const struct push *a = args;
	LY_AUTO(free) uint8_t *bytes = NULL;
	struct ly_why why;
	size_t len;
	enum ly_rc rc = ly_file_read(a->file, LY_APPROVED_MAX, &bytes, &len,
	    &why);

	if (rc != LY_OK)
		return ly_cli_fail(c, rc, "%s", why.text);
	return push_bytes(c, (struct ly_bytes){ bytes, len }, "");
}

struct show {
	const char *site, *out;
};

static const struct ly_opt show_rows[] = {
	LY_VALUE(struct show, site, "--site", "NAME", LY_OPT_SITE, false,
	    "Of this site, not the manager's own"),
	LY_VALUE(struct show, out, "--out", "FILE", LY_OPT_FILE, false,
	    "Write the signed list there, for --list"),
};

static const struct ly_cell list_cells[] = {
	{ "site", "site", LY_CELL_TEXT },
	{ "list", "serial", LY_CELL_NUMBER },
	{ "generation", "generation", LY_CELL_NUMBER },
	{ "issued", "issued", LY_CELL_TIME },
	{ "policy key", "policy_key", LY_CELL_TEXT },
	{ "no policy key", "no_policy_key", LY_CELL_TEXT },
	{ "entries", "entries", LY_CELL_HIDDEN },
	{ "list bytes", "list", LY_CELL_HIDDEN },
};

static const struct ly_cell entry_cells[] = {
	{ "ENTRY", "entry", LY_CELL_NUMBER },
	{ "CLASS", "class", LY_CELL_TEXT },
	{ "APPROVED", "when", LY_CELL_TIME },
	{ "NOTE", "note", LY_CELL_TEXT },
	{ "POLICY", "policy", LY_CELL_TEXT },
};

static int
save_list(const struct ly_common *c, const json_t *answer, const char *file)
{
	const char *hex = json_string_value(json_object_get(answer, "list"));
	LY_AUTO(free) uint8_t *bytes = NULL;
	struct ly_why why;
	size_t len;
	enum ly_rc rc;
	int status;

	if (!hex)
		return ly_cli_fail(c, LY_UNKNOWN, "there is no list yet");
	status = unhex_alloc(c, hex, &bytes, &len);
	if (status != LY_EXIT_DONE)
		return status;
	rc = ly_file_write(file, bytes, len, 0644, &why);
	return rc == LY_OK ? LY_EXIT_DONE :
			     ly_cli_fail(c, rc, "--out: %s", why.text);
}

static int
run_show(const struct ly_common *c, const void *args)
{
	const struct show *a = args;
	LY_AUTO(json_decref) json_t *answer = NULL;
	const json_t *entries;
	int status = ly_cli_ask_plain(c,
	    ly_cli_request("policy.show", "site", a->site, (char *)NULL), false,
	    &answer);

	if (status == LY_EXIT_DONE && a->out)
		return save_list(c, answer, a->out);
	if (status != LY_EXIT_DONE)
		return status;
	if (c->json) {
		ly_answer_json(stdout, answer);
		return LY_EXIT_DONE;
	}
	json_object_del(answer, "list");
	ly_answer_pairs(stdout, answer, list_cells, LY_COUNT(list_cells));
	entries = json_object_get(answer, "entries");
	if (json_array_size(entries) == 0)
		return LY_EXIT_DONE;
	putchar('\n');
	ly_answer_table(stdout, entries, entry_cells, LY_COUNT(entry_cells),
	    SIZE_MAX);
	return LY_EXIT_DONE;
}

const struct ly_cli_verb ly_cli_policy_verbs[] = {
	{ "policy init", init_rows, LY_COUNT(init_rows), sizeof(struct init),
	    run_init, "Make the key that approves states of hosts",
	    "Needs no manager. Never overwrites anything. Keep the key apart "
	    "from the manager; its public half is pinned beside the site's CA "
	    "by every manager and agent." },
	{ "policy approve", approve_rows, LY_COUNT(approve_rows),
	    sizeof(struct change), run_approve, "Approve a state of hosts",
	    "The list in force gets one entry more, is signed here by the "
	    "policy key, and pushed to the manager, which tells everybody." },
	{ "policy withdraw", withdraw_rows, LY_COUNT(withdraw_rows),
	    sizeof(struct change), run_withdraw, "Approve a state no more",
	    "All that is still approved is signed again for a new generation, "
	    "so that no TPM takes the old approval for anything new." },
	{ "policy show", show_rows, LY_COUNT(show_rows), sizeof(struct show),
	    run_show, "Show the approved states", NULL },
	{ "policy push", push_rows, LY_COUNT(push_rows), sizeof(struct push),
	    run_push, "Put a list in force that was signed elsewhere", NULL },
	{ 0 },
};
