/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does not change while a VM is here, in DIR/vm: a packed table behind a
 * magic. An agent that finds it beside a slot serves the VM on; one that finds
 * it alone, and the QEMU running, knows an orphan (vm_orphan.c).
 */
#include "agent/io/vm_in.h"

#include "lib/io/file.h"

#include <stdlib.h>
#include <unistd.h>

#define MAGIC 0x4c594e31u /* "LYN1" */

struct note {
	uint32_t magic;
	struct ly_id id;
	char name[LY_NAME_MAX], home[LY_SPIFFE_MAX];
	char home_address[LY_ADDR_MAX], source_id[LY_SPIFFE_MAX];
	bool external;
	struct ly_bytes ticket;
};

static const struct ly_field fields[] = {
	LY_UINT(struct note, magic),
	LY_FIXED(struct note, id),
	LY_TEXT(struct note, name),
	LY_TEXT(struct note, home),
	LY_TEXT(struct note, home_address),
	LY_TEXT(struct note, source_id),
	LY_BOOL(struct note, external),
	LY_BYTES(struct note, ticket, LY_TICKET_MAX),
};

static const struct ly_message message = LY_MESSAGE(0, "note", struct note,
    fields, "a VM on this host");

#define NOTE_MAX 4096

static void
note_path(const struct vm *vm, char out[240])
{
	ly_print(out, 240, "%s/vm", vm->dir);
}

enum ly_rc
ly_vm_note(const struct vm *vm, struct ly_why *why)
{
	struct note n = { .magic = MAGIC,
		.id = vm->id,
		.external = vm->external,
		.ticket = { vm->ticket, vm->ticket_len } };
	uint8_t buf[NOTE_MAX];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	char path[240];

	ly_copy(n.name, sizeof(n.name), vm->name);
	ly_copy(n.home, sizeof(n.home), vm->home);
	ly_copy(n.home_address, sizeof(n.home_address), vm->home_address);
	ly_copy(n.source_id, sizeof(n.source_id), vm->source_id);
	ly_message_put(&message, &n, &w);
	if (w.bad)
		return ly_fail(why, LY_FULL, "its note is too long");
	note_path(vm, path);
	return ly_file_write(path, buf, ly_wr_len(&w), 0600, why);
}

void
ly_vm_note_gone(const struct vm *vm)
{
	char path[240];

	note_path(vm, path);
	unlink(path);
}

static enum ly_rc
take(struct vm *vm, const struct note *n, struct ly_why *why)
{
	struct ly_peer home;

	if (n->magic != MAGIC)
		return ly_fail(why, LY_MALFORMED, "not a note of ours");
	if (strcmp(n->name, vm->name) != 0 ||
	    (!ly_id_none(&vm->id) && !ly_id_same(&n->id, &vm->id)))
		return ly_fail(why, LY_MALFORMED, "the note of another VM");
	if (ly_spiffe_parse(n->home, &home, why) != LY_OK)
		return LY_MALFORMED;
	vm->id = n->id;
	vm->external = n->external;
	ly_copy(vm->home, sizeof(vm->home), n->home);
	ly_copy(vm->home_site, sizeof(vm->home_site), home.site);
	ly_copy(vm->home_address, sizeof(vm->home_address), n->home_address);
	ly_copy(vm->source_id, sizeof(vm->source_id), n->source_id);
	vm->ticket = malloc(n->ticket.len + 1);
	if (!vm->ticket)
		abort();
	memcpy(vm->ticket, n->ticket.at, n->ticket.len);
	vm->ticket_len = n->ticket.len;
	return LY_OK;
}

enum ly_rc
ly_vm_note_read(struct vm *vm, struct ly_why *why)
{
	char path[240];
	struct note n;
	uint8_t *buf;
	size_t len;
	enum ly_rc rc;

	note_path(vm, path);
	rc = ly_file_read(path, NOTE_MAX, &buf, &len, why);
	if (rc != LY_OK)
		return rc;
	rc = ly_message_get(&message, buf, len, &n, why);
	if (rc == LY_OK)
		rc = take(vm, &n, why);
	free(buf);
	return rc == LY_OK ? rc : ly_fail_in(why, LY_MALFORMED, "%s", path);
}
