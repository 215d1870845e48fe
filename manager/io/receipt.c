/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receipt of one migration: receipt.txt, signed, and the files that it
 * names by their hashes. All of it can be checked without us and without our
 * programs; docs/receipt.md says how, and tests/io/test_receipt.c does just
 * that. What a host has given us and we cannot read is in it as it came, and
 * said to be unreadable: a receipt judges nothing.
 */
#include "manager/io/receipt.h"

#include "lib/attest/quote.h"
#include "lib/io/file.h"
#include "manager/record/pem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX (512u * 1024)
#define PEM_MAX 65536
#define ROOM_MAX (16u * 1024) /* of a key, a signature, a certificate */
#define PREFIX "lanyard-sig-v1"

struct receipt {
	struct ly_manager *m;
	const struct ly_mig_row *row;
	json_t *files; /* name: bytes in hex */
	struct ly_wr text;
};

/* ---- its parts ---- */

static LY_PRINTF(2, 3) void say(struct receipt *r, const char *fmt, ...)
{
	char line[LY_LINE_MAX + 64];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line))
		r->text.bad = true;
	else
		ly_wr_bytes(&r->text, line, (size_t)n);
	ly_wr_u8(&r->text, '\n');
}

static void
say_hex(struct receipt *r, const char *what, const char *key, const void *at,
    size_t len)
{
	char hex[2 * 2048 + 1] = "(too long)";

	if (len <= 2048)
		ly_hex(at, len, hex);
	say(r, "%s %s %s", what, key, hex);
}

/* WHAT.SUFFIX, and its line in the text. */
static void
add_file(struct receipt *r, const char *what, const char *suffix,
    const void *at, size_t len)
{
	char name[96], sum_hex[65], *hex = malloc(2 * len + 1);
	uint8_t sum[32];

	if (!hex) {
		r->text.bad = true;
		return;
	}
	ly_print(name, sizeof(name), "%s.%s", what, suffix);
	ly_hex(at, len, hex);
	json_object_set_new(r->files, name, json_string(hex));
	free(hex);
	ly_sha256(at, len, sum);
	ly_hex(sum, sizeof(sum), sum_hex);
	say(r, "file %s  %s", sum_hex, name);
}

static void
add_pem(struct receipt *r, const char *what, const char *suffix,
    const char *label, const void *at, size_t len)
{
	uint8_t room[ROOM_MAX];
	struct ly_wr w = ly_wr_over(room, sizeof(room));

	ly_pem_put(label, at, len, &w);
	if (!w.bad)
		add_file(r, what, suffix, room, ly_wr_len(&w));
}

static void
add_disk_file(struct receipt *r, const char *path, const char *what,
    const char *suffix)
{
	uint8_t *buf = NULL;
	size_t len;

	if (ly_file_read(path, PEM_MAX, &buf, &len, NULL) == LY_OK)
		add_file(r, what, suffix, buf, len);
	free(buf);
}

/* ---- quotes ---- */

static void
say_pcrs(struct receipt *r, const char *what, const struct ly_evidence *ev)
{
	char key[16];

	for (unsigned i = 0; i < LY_PCRS_N; i++) {
		const uint8_t *v = ly_evidence_pcr(ev, i);

		if (!v)
			continue;
		ly_print(key, sizeof(key), "pcr %u", i);
		say_hex(r, what, key, v, 32);
	}
}

/* What the TPM was given to sign along: its SHA-256 is the qualifying data. */
static void
add_said(struct receipt *r, const char *what, const struct ly_context *x,
    struct ly_bytes context)
{
	uint8_t said[32 + LY_CONTEXT_MAX];
	struct ly_wr w = ly_wr_over(said, sizeof(said));
	uint8_t q[32];

	ly_wr_bytes(&w, "lanyard-quote-v1", sizeof("lanyard-quote-v1"));
	ly_wr_u16(&w, x->role);
	ly_wr_bytes(&w, context.at, context.len);
	if (w.bad)
		return;
	ly_sha256(said, ly_wr_len(&w), q);
	say(r, "%s for %s", what, ly_quote_type_name(x->role));
	say(r, "%s by %s", what, x->self);
	say_hex(r, what, "nonce", x->nonce, sizeof(x->nonce));
	say_hex(r, what, "qualifying", q, sizeof(q));
	add_file(r, what, "said", said, ly_wr_len(&w));
}

static void
add_key(struct receipt *r, const char *what, const struct ly_evidence *ev)
{
	uint8_t spki[LY_SPKI_P256];
	struct ly_tpm_key ak, sk;

	if (ly_tpm_key_read(LY_TPM_AK, ev->ak, &ak, NULL) == LY_OK) {
		say_hex(r, what, "ak", ak.name, sizeof(ak.name));
		ly_spki_of(&ak.point, spki);
		add_pem(r, what, "ak.pem", "PUBLIC KEY", spki, sizeof(spki));
	}
	if (ly_tpm_key_read(LY_TPM_SK, ev->sk, &sk, NULL) == LY_OK)
		say_hex(r, what, "sk", sk.name, sizeof(sk.name));
}

static void
add_evidence(struct receipt *r, const char *what, struct ly_bytes packed)
{
	uint8_t room[80];
	struct ly_wr sig = ly_wr_over(room, sizeof(room));
	struct ly_evidence ev;
	struct ly_context x;
	struct ly_attest a;
	struct ly_why why;

	if (ly_message_get(&ly_evidence_message, packed.at, packed.len, &ev,
		&why) != LY_OK ||
	    ly_evidence_context(&ev, &x, &why) != LY_OK) {
		say(r, "%s unreadable %s", what, why.text);
		add_file(r, what, "packed", packed.at, packed.len);
		return;
	}
	add_said(r, what, &x, ev.context);
	add_key(r, what, &ev);
	if (ly_attest_read(ev.quote, &a, NULL) == LY_OK)
		say(r, "%s boots %u resumes %u clock %llu", what, a.reset_count,
		    a.restart_count, (unsigned long long)a.clock);
	say_pcrs(r, what, &ev);
	add_file(r, what, "quote", ev.quote.at, ev.quote.len);
	ly_der_sig_put(ev.signature, &sig);
	add_file(r, what, "sig", room, ly_wr_len(&sig));
	add_file(r, what, "pcrs", ev.pcrs.at, ev.pcrs.len);
	add_file(r, what, "host.pem", ev.certificate.at, ev.certificate.len);
	if (ev.log.len)
		add_file(r, what, "log", ev.log.at, ev.log.len);
}

/* ---- statements ---- */

static struct ly_bytes
part(struct ly_rd *rd)
{
	size_t len = ly_rd_u32(rd);
	const uint8_t *at = ly_rd_bytes(rd, len);

	return (struct ly_bytes){ .at = at, .len = at ? len : 0 };
}

/* A signed object (lib/io/identity.h), whole and as what it is made of. */
static void
add_statement(struct receipt *r, const char *what, uint16_t type,
    struct ly_bytes object)
{
	struct ly_rd rd = ly_rd_over(object.at, object.len);
	struct ly_bytes tagged = part(&rd), sig = part(&rd), cert = part(&rd);
	uint8_t said[LY_STATEMENT_MAX + 32];
	struct ly_wr w = ly_wr_over(said, sizeof(said));

	ly_wr_bytes(&w, PREFIX, sizeof(PREFIX));
	ly_wr_u16(&w, type);
	ly_wr_bytes(&w, tagged.at, tagged.len);
	if (rd.bad || ly_rd_left(&rd) || w.bad) {
		say(r, "%s unreadable", what);
		add_file(r, what, "packed", object.at, object.len);
		return;
	}
	say_hex(r, what, "hex", tagged.at, tagged.len);
	add_file(r, what, "said", said, ly_wr_len(&w));
	add_file(r, what, "sig", sig.at, sig.len);
	add_pem(r, what, "pem", "CERTIFICATE", cert.at, cert.len);
	add_file(r, what, "signed", object.at, object.len);
}

static void
say_call(struct receipt *r, struct ly_bytes object)
{
	struct ly_rd rd = ly_rd_over(object.at, object.len);
	struct ly_bytes tagged = part(&rd);
	struct ly_call c;

	if (ly_message_get_tagged(&ly_call_message, tagged.at, tagged.len, &c,
		NULL) != LY_OK)
		return;
	say_hex(r, "call", "nonce", c.nonce, sizeof(c.nonce));
	say_hex(r, "call", "policy", c.policy, sizeof(c.policy));
	say_hex(r, "call", "class", c.ref, sizeof(c.ref));
	say(r, "call expires %llu", (unsigned long long)c.expires);
}

static void
say_sent(struct receipt *r, struct ly_bytes object)
{
	struct ly_rd rd = ly_rd_over(object.at, object.len);
	struct ly_bytes tagged = part(&rd);
	struct ly_sent s;

	if (ly_message_get_tagged(&ly_sent_message, tagged.at, tagged.len, &s,
		NULL) != LY_OK)
		return;
	say(r, "sent bytes %llu", (unsigned long long)s.bytes);
	say(r, "sent seq %llu", (unsigned long long)s.seq);
	say_hex(r, "sent", "root", s.root, sizeof(s.root));
}

static void
add_proof(struct receipt *r, struct ly_bytes packed)
{
	struct ly_move_proof p;
	struct ly_why why;

	if (ly_message_get(&ly_move_proof_message, packed.at, packed.len, &p,
		&why) != LY_OK) {
		say(r, "proof unreadable %s", why.text);
		add_file(r, "proof", "packed", packed.at, packed.len);
		return;
	}
	say_sent(r, p.sent);
	add_statement(r, "sent", LY_TYPE_SENT, p.sent);
	add_statement(r, "arrived", LY_TYPE_ARRIVED, p.arrived);
	add_statement(r, "destroyed", LY_TYPE_DESTROYED, p.destroyed);
	if (p.sent_evidence.len)
		add_evidence(r, "sent-quote", p.sent_evidence);
	if (p.destroyed_evidence.len)
		add_evidence(r, "destroyed-quote", p.destroyed_evidence);
}

/* ---- all of it ---- */

static enum ly_rc
on_kept(void *arg, const char *what, struct ly_bytes b, struct ly_why *why)
{
	struct receipt *r = arg;

	(void)why;
	if (strcmp(what, "call") == 0) {
		say_call(r, b);
		add_statement(r, "call", LY_TYPE_CALL, b);
	} else if (strcmp(what, "decided") == 0) {
		add_statement(r, "decided", LY_TYPE_OUTCOME, b);
	} else if (strcmp(what, "proof") == 0) {
		add_proof(r, b);
	} else if (strcmp(what, "evidence.source") == 0) {
		add_evidence(r, "source", b);
	} else if (strcmp(what, "evidence.dest") == 0) {
		add_evidence(r, "destination", b);
	} else if (strcmp(what, "evidence.home") == 0) {
		add_evidence(r, "home", b);
	}
	return LY_OK;
}

static enum ly_rc
on_event(void *arg, const struct ly_store_line *l, struct ly_why *why)
{
	(void)why;
	say(arg, "event %s", l->line);
	return LY_OK;
}

static void
say_parties(struct receipt *r)
{
	const struct ly_mig_row *row = r->row;
	const struct ly_vm *vm = ly_roster_vm(&r->m->roster, &row->vm);
	char id[LY_ID_TEXT], spiffe[LY_SPIFFE_MAX];

	say(r, "lanyard-receipt-v1");
	say(r, "site %s", r->m->conf.site);
	say(r, "manager %s", ly_identity_self(r->m->ids)->id);
	say(r, "made %llu", (unsigned long long)ly_now_s());
	say(r, "migration %s", ly_id_text(&row->id, id));
	say(r, "vm %s", ly_id_text(&row->vm, id));
	say(r, "vm-name %s", vm ? vm->name : row->vm_name);
	ly_spiffe_host(r->m->conf.site, row->home, spiffe);
	say(r, "party home %s", spiffe);
	ly_spiffe_host(row->from_site, row->from_host, spiffe);
	say(r, "party source %s", spiffe);
	ly_spiffe_host(row->to_site, row->to_host, spiffe);
	say(r, "party destination %s", spiffe);
	say(r, "began %llu", (unsigned long long)row->started / 1000);
	say(r, "ended %llu",
	    (unsigned long long)(ly_saga_over(row->state) ?
		    row->changed / 1000 :
		    0));
	say(r, "state %s", ly_saga_state_name(row->state));
	say(r, "fate %s", ly_fate_name(row->fate));
	say(r, "epoch %llu", (unsigned long long)row->epoch);
}

static void
add_certificates(struct receipt *r)
{
	const char *sites[] = { r->row->from_site, r->row->to_site,
		r->m->conf.site };
	char name[LY_NAME_MAX + 16], path[320];

	add_disk_file(r, ly_manager_file(r->m, "manager.pem", path), "manager",
	    "pem");
	for (size_t i = 0; i < LY_COUNT(sites); i++) {
		bool again = false;

		for (size_t k = 0; k < i; k++)
			again |= strcmp(sites[k], sites[i]) == 0;
		ly_print(name, sizeof(name), "trust/%s.pem", sites[i]);
		if (again || !sites[i][0])
			continue;
		ly_manager_file(r->m, name, path);
		ly_print(name, sizeof(name), "site-%s", sites[i]);
		add_disk_file(r, path, name, "ca.pem");
	}
}

static enum ly_rc
sign(struct receipt *r, struct ly_why *why)
{
	uint8_t sig[LY_SIG_DER_MAX];
	char hex[2 * LY_SIG_DER_MAX + 1], *all;
	size_t sig_len, len = ly_wr_len(&r->text);
	enum ly_rc rc;

	ly_wr_u8(&r->text, '\0');
	if (r->text.bad)
		return ly_fail(why, LY_FULL, "a receipt over %u bytes",
		    TEXT_MAX);
	rc = ly_sign_text(r->m->ids, (const char *)r->text.start, sig, &sig_len,
	    why);
	all = rc == LY_OK ? malloc(2 * len + 1) : NULL;
	if (!all)
		return rc != LY_OK ? rc :
				     ly_fail(why, LY_OUTSIDE, "out of memory");
	ly_hex(r->text.start, len, all);
	ly_hex(sig, sig_len, hex);
	json_object_set_new(r->files, "receipt.txt", json_string(all));
	json_object_set_new(r->files, "receipt.sig", json_string(hex));
	free(all);
	return LY_OK;
}

static enum ly_rc
write_all(struct receipt *r, struct ly_why *why)
{
	const struct ly_chain *head = ly_record_head(r->m);
	char id[LY_ID_TEXT], hash[65];
	struct ly_lines_wish w = { .mig = ly_id_text(&r->row->id, id) };
	enum ly_rc rc;

	say_parties(r);
	rc = ly_store_kept(r->m->store, &r->row->id, on_kept, r, why);
	if (rc != LY_OK)
		return rc;
	add_certificates(r);
	rc = ly_store_lines(r->m->store, &w, on_event, r, why);
	ly_hex(head->hash, sizeof(head->hash), hash);
	say(r, "record events %llu", (unsigned long long)head->n);
	say(r, "record hash %s", hash);
	return rc == LY_OK ? sign(r, why) : rc;
}

enum ly_rc
ly_receipt_make(struct ly_manager *m, const struct ly_mig_row *row,
    json_t **files, struct ly_why *why)
{
	uint8_t *room = malloc(TEXT_MAX);
	struct receipt r = { .m = m,
		.row = row,
		.files = json_object(),
		.text = ly_wr_over(room, TEXT_MAX) };
	enum ly_rc rc = room ? write_all(&r, why) :
			       ly_fail(why, LY_OUTSIDE, "out of memory");

	free(room);
	if (rc == LY_OK)
		*files = r.files;
	else
		json_decref(r.files);
	return rc;
}
