/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The permanent record for who asks: pages of lines as they are, with the head
 * that proves them. Whoever wants to be sure checks them himself.
 */
#include "manager/api/call.h"

#include "lib/io/file.h"
#include "manager/io/receipt.h"

#include <stdlib.h>

#define PAGE_LINES 500
#define PAGE_BYTES (1u << 20) /* a client that does not read is dropped */
#define PEM_MAX 65536

struct page {
	json_t *lines;
	size_t bytes;
	uint64_t next; /* the first that is not in it; 0: that was all */
	uint64_t since_ms;
	char says[LY_SPIFFE_MAX + 2]; /* a line has to have this; or empty */
};

static enum ly_rc
on_line(void *arg, const struct ly_store_line *l, struct ly_why *why)
{
	struct page *p = arg;
	size_t len = strlen(l->line);
	struct ly_line line;
	enum ly_rc rc;

	if (json_array_size(p->lines) == PAGE_LINES ||
	    p->bytes + len > PAGE_BYTES) {
		p->next = l->n;
		return LY_FULL; /* ends the walk */
	}
	rc = ly_line_get(l->line, len, &line, why);
	if (rc != LY_OK)
		return rc;
	if (line.when < p->since_ms ||
	    (p->says[0] && !strstr(l->line, p->says)))
		return LY_OK;
	p->bytes += len;
	json_array_append_new(p->lines, json_string(l->line));
	return LY_OK;
}

/* A VM that is there is found by its id; one that was, by its name. */
static void
find_vm(const struct ly_api_call *c, const char *vm, char id[LY_ID_TEXT],
    struct ly_lines_wish *w, struct page *p)
{
	struct ly_vm *known = NULL;
	struct ly_id parsed;

	if (!vm)
		return;
	if (ly_roster_find_vm(&c->m->roster, vm, &known, NULL) == LY_OK)
		w->vm = ly_id_text(&known->id, id);
	else if (ly_id_parse(vm, &parsed) == LY_OK)
		w->vm = ly_id_text(&parsed, id);
	else
		ly_print(p->says, sizeof(p->says), "\"vm_name\":\"%s\"", vm);
}

/* A host need not be there any more either. */
static void
find_host(const struct ly_api_call *c, const char *host, struct page *p)
{
	char spiffe[LY_SPIFFE_MAX];
	struct ly_place at;

	if (!host)
		return;
	if (ly_place_parse(host, &at) != LY_OK)
		ly_place_set(&at, c->m->conf.site, host);
	ly_spiffe_host(at.site, at.name, spiffe);
	ly_print(p->says, sizeof(p->says), "\"%s\"", spiffe);
}

static json_t *
head_json(const struct ly_manager *m)
{
	const struct ly_head_row *row = ly_record_signed(m);
	json_t *out = json_pack("{s:s, s:s}", "text", row->text, "sig",
	    row->sig);
	uint8_t *pem = NULL;
	char path[320];
	size_t len;

	if (ly_file_read(ly_manager_file(m, "manager.pem", path), PEM_MAX, &pem,
		&len, NULL) == LY_OK)
		json_object_set_new(out, "cert", json_string((char *)pem));
	free(pem);
	return out;
}

void
ly_api_audit(const struct ly_api_call *c)
{
	struct page p = { .lines = json_array(),
		.since_ms = ly_api_uint(c->r, "since") * 1000 };
	struct ly_lines_wish w = { .from = ly_api_uint(c->r, "from"),
		.mig = ly_api_text(c->r, "migration") };
	const char *lost = ly_record_lost(c->m);
	char id[LY_ID_TEXT];
	struct ly_why why = { "" };
	enum ly_rc rc;

	if (!w.mig)
		find_vm(c, ly_api_text(c->r, "vm"), id, &w, &p);
	find_host(c, ly_api_text(c->r, "host"), &p);
	rc = ly_store_lines(c->m->store, &w, on_line, &p, &why);
	if (rc != LY_OK && !p.next) {
		json_decref(p.lines);
		ly_api_no(c, rc, &why);
		return;
	}
	ly_api_yes(c,
	    json_pack("{s:o, s:I, s:o, s:o, s:o}", "lines", p.lines, "next",
		(json_int_t)p.next, "head", head_json(c->m), "witnesses",
		ly_record_witnesses(c->m), "lost",
		lost ? json_string(lost) : json_null()));
}

void
ly_api_audit_accept(const struct ly_api_call *c)
{
	struct ly_why why = { "" };
	enum ly_rc rc = ly_record_accept(c->m, &why);

	if (rc == LY_OK)
		ly_api_yes(c,
		    json_pack("{s:I}", "events",
			(json_int_t)ly_record_head(c->m)->n));
	else
		ly_api_no(c, rc, &why);
}

void
ly_api_audit_receipt(const struct ly_api_call *c)
{
	const char *text = ly_api_text(c->r, "migration");
	struct ly_mig_row row;
	json_t *files = NULL;
	struct ly_why why = { "" };
	struct ly_id id;
	char key[LY_ID_TEXT];
	enum ly_rc rc = ly_id_parse(text, &id);

	if (rc != LY_OK)
		rc = ly_fail(&why, rc, "\"%s\" is not the id of a migration",
		    text);
	if (rc == LY_OK)
		rc = ly_store_get(c->m->store, LY_ROW_MIG, ly_id_text(&id, key),
		    &row, &why);
	if (rc == LY_OK)
		rc = ly_receipt_make(c->m, &row, &files, &why);
	if (rc == LY_OK)
		ly_api_yes(c, json_pack("{s:o}", "files", files));
	else
		ly_api_no(c, rc, &why);
}
