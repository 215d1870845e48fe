/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMUs that an agent before us has left running. Their guests go on, but
 * their TPM is gone: QEMU does not connect to it again. So they are watched,
 * reported as failed, and can be stopped; nothing else may be started in
 * their place on this host. One that waits for memory is ended: whoever sent
 * it has lost us.
 */
#include "agent/io/vm_in.h"

#include "lib/io/file.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static void
note_path(const struct vm *vm, char out[240])
{
	ly_print(out, 240, "%s/vm", vm->dir);
}

enum ly_rc
ly_vm_note(const struct vm *vm, struct ly_why *why)
{
	char path[240], text[LY_ID_TEXT + LY_SPIFFE_MAX + 2], id[LY_ID_TEXT];

	note_path(vm, path);
	ly_print(text, sizeof(text), "%s %s\n", ly_id_text(&vm->id, id),
	    vm->home);
	return ly_file_write(path, text, strlen(text), 0600, why);
}

void
ly_vm_note_gone(const struct vm *vm)
{
	char path[240];

	if (vm->vms->closing && !vm->external)
		return; /* its QEMU runs on: an orphan for the next agent */
	note_path(vm, path);
	unlink(path);
}

/* "ID HOME\n" */
static bool
read_note(const char *path, struct ly_id *id, char home[LY_SPIFFE_MAX])
{
	struct ly_why why;
	uint8_t *text;
	char *space, *line;
	size_t len;
	bool good = false;

	if (ly_file_read(path, 512, &text, &len, &why) != LY_OK)
		return false;
	line = (char *)text;
	space = strchr(line, ' ');
	if (space && strlen(line) == len && len && line[len - 1] == '\n') {
		*space = line[len - 1] = '\0';
		good = ly_id_parse(line, id) == LY_OK &&
		    ly_copy(home, LY_SPIFFE_MAX, space + 1);
	}
	free(text);
	return good;
}

static void
on_status(void *arg, enum ly_rc rc, const json_t *value, const char *why)
{
	struct vm *vm = arg;

	(void)why;
	if (rc == LY_OK && vm->qemu &&
	    strcmp(ly_qemu_status(value), "inmigrate") == 0)
		ly_qemu_quit(vm->qemu);
}

void
ly_vm_orphan_ready(struct vm *vm)
{
	ly_qemu_ask_status(vm->qemu, on_status, vm);
	ly_vm_guard_wake(vm);
}

static void
adopt(struct ly_vms *vms, const char *name, const struct ly_qemu_ops *ops)
{
	struct ly_qemu_params params = { .name = name };
	char path[300], home[LY_SPIFFE_MAX];
	struct ly_peer peer;
	struct ly_why why;
	struct ly_id id;
	struct vm *vm;

	ly_print(path, sizeof(path), "%s/%s/vm", vms->agent->conf.run, name);
	if (!read_note(path, &id, home) ||
	    ly_spiffe_parse(home, &peer, &why) != LY_OK)
		return;
	vm = ly_vm_blank(vms, &id, name);
	vm->orphan = true;
	ly_copy(vm->home, sizeof(vm->home), home);
	ly_copy(vm->home_site, sizeof(vm->home_site), peer.site);
	params.dir = vm->dir;
	params.id = id;
	if (ly_qemu_adopt(vms->agent->loop, &params, ops, vm, &vm->qemu,
		&why) != LY_OK) {
		unlink(path);
		vms->first = vm->next;
		free(vm);
		return;
	}
	vm->state = LY_VM_FAILED;
	ly_copy(vm->why, sizeof(vm->why),
	    "its agent was restarted: the guest's TPM is gone until the VM is"
	    " stopped and started");
	ly_log_alarm(name, "QEMU (pid %d): %s", ly_qemu_pid(vm->qemu), vm->why);
}

void
ly_vms_adopt(struct ly_vms *vms, const struct ly_qemu_ops *ops)
{
	DIR *dir = opendir(vms->agent->conf.run);
	struct dirent *e;

	if (!dir)
		return;
	while ((e = readdir(dir)))
		if (ly_name_good(e->d_name))
			adopt(vms, e->d_name, ops);
	closedir(dir);
}
