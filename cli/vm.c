/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard vm`: VMs and what they are made of. A definition is read from
 * --definition and then changed by the options, so that a file can be the
 * pattern of many; what is in it is checked by the agent.
 */
#include "cli/cli.h"

#include "lib/io/file.h"
#include "lib/wire/message.h"

#include <stdlib.h>

LY_AUTO_FOR(json_decref, json_t)
LY_AUTO_FOR(free, char)

/* ---- vm add ---- */

struct add {
	const char *name, *home, *tpm;
	uint64_t memory, cpus;
	const char *kernel, *initrd, *append, *firmware;
	struct ly_opt_list disks, bridges;
	const char *machine, *accel, *cpu, *tpm_model, *definition;
	bool external;
	uint64_t priority;
};

static const struct ly_opt add_rows[] = {
	LY_OPERAND(struct add, name, "NAME", LY_OPT_NAME,
	    "The VM's name, new in this site"),
	LY_VALUE(struct add, home, "--home", "HOST", LY_OPT_HOST, true,
	    "The host whose TPM it is bound to, for good"),
	LY_VALUE(struct add, tpm, "--tpm", "NAME", LY_OPT_NAME, false,
	    "Which of the home's TPMs, if it has several"),
	LY_NUMBER(struct add, memory, "--memory", "MB", 8, 16u << 20,
	    "Its memory in MiB"),
	LY_NUMBER(struct add, cpus, "--cpus", "N", 1, 1024,
	    "Its virtual CPUs (1)"),
	LY_VALUE(struct add, kernel, "--kernel", "PATH", LY_OPT_PATH, false,
	    "Boot this kernel; paths are those of its hosts"),
	LY_VALUE(struct add, initrd, "--initrd", "PATH", LY_OPT_PATH, false,
	    "With this initial RAM disk"),
	LY_VALUE(struct add, append, "--append", "TEXT", LY_OPT_TEXT, false,
	    "With this kernel command line"),
	LY_VALUE(struct add, firmware, "--firmware", "PATH", LY_OPT_PATH, false,
	    "Boot this firmware"),
	LY_LIST(struct add, disks, "--disk", "PATH", LY_OPT_PATH,
	    "A disk, shared by its hosts; may be given 8 times"),
	LY_LIST(struct add, bridges, "--bridge", "NAME", LY_OPT_WORD,
	    "A network card on this bridge; may be given 8 times"),
	LY_VALUE(struct add, machine, "--machine", "TYPE", LY_OPT_WORD, false,
	    "QEMU's machine type (q35)"),
	LY_VALUE(struct add, accel, "--accel", "NAME", LY_OPT_WORD, false,
	    "auto, kvm or tcg (auto)"),
	LY_VALUE(struct add, cpu, "--cpu", "MODEL", LY_OPT_TEXT, false,
	    "QEMU's CPU model"),
	LY_VALUE(struct add, tpm_model, "--tpm-model", "MODEL", LY_OPT_WORD,
	    false, "tpm-crb or tpm-tis (tpm-crb)"),
	LY_NUMBER(struct add, priority, "--priority", "P", 0, 1000,
	    "When its place is evacuated, high ones go first (0)"),
	LY_FLAG(struct add, external, "--external",
	    "Somebody else runs its QEMU (libvirt, say); we serve the TPM"),
	LY_VALUE(struct add, definition, "--definition", "FILE", LY_OPT_FILE,
	    false, "Begin with this JSON object; options change it"),
};

static int
read_definition(const struct ly_common *c, const char *file, json_t **out)
{
	LY_AUTO(free) char *text = NULL;
	struct ly_why why;
	json_error_t err;
	uint8_t *buf;
	size_t len;
	enum ly_rc rc;

	*out = NULL;
	if (!file) {
		*out = json_object();
		return LY_EXIT_DONE;
	}
	rc = ly_file_read(file, LY_DEFINITION_MAX, &buf, &len, &why);
	if (rc != LY_OK)
		return ly_cli_fail(c, rc, "--definition: %s", why.text);
	text = (char *)buf;
	*out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &err);
	if (!*out)
		return ly_cli_fail(c, LY_MALFORMED, "--definition: %s:%d: %s",
		    file, err.line, err.text);
	if (json_is_object(*out))
		return LY_EXIT_DONE;
	json_decref(*out);
	*out = NULL;
	return ly_cli_fail(c, LY_MALFORMED,
	    "--definition: %s: not a JSON object", file);
}

/* Appends {key: item} for each to the definition's list `name`. */
static void
add_list(json_t *def, const char *name, const char *key,
    const struct ly_opt_list *list)
{
	json_t *to = json_object_get(def, name);

	if (list->n == 0)
		return;
	if (!json_is_array(to)) {
		to = json_array();
		json_object_set_new(def, name, to);
	}
	for (unsigned i = 0; i < list->n; i++)
		json_array_append_new(to, json_pack("{s:s}", key, list->at[i]));
}

static void
apply(json_t *def, const struct add *a)
{
	const struct {
		const char *key, *value;
	} texts[] = {
		{ "kernel", a->kernel },
		{ "initrd", a->initrd },
		{ "append", a->append },
		{ "firmware", a->firmware },
		{ "machine", a->machine },
		{ "accel", a->accel },
		{ "cpu", a->cpu },
		{ "tpm_model", a->tpm_model },
	};

	for (size_t i = 0; i < LY_COUNT(texts); i++)
		if (texts[i].value)
			json_object_set_new(def, texts[i].key,
			    json_string(texts[i].value));
	if (a->memory)
		json_object_set_new(def, "memory_mb",
		    json_integer((json_int_t)a->memory));
	if (a->cpus)
		json_object_set_new(def, "cpus",
		    json_integer((json_int_t)a->cpus));
	if (a->external)
		json_object_set_new(def, "external", json_true());
	add_list(def, "disks", "path", &a->disks);
	add_list(def, "nics", "bridge", &a->bridges);
}

static int
run_add(const struct ly_common *c, const void *args)
{
	const struct add *a = args;
	LY_AUTO(json_decref) json_t *answer = NULL;
	json_t *def, *request;
	int status = read_definition(c, a->definition, &def);

	if (status != LY_EXIT_DONE)
		return status;
	apply(def, a);
	if (!json_object_get(def, "memory_mb") &&
	    !json_is_true(json_object_get(def, "external"))) {
		json_decref(def);
		return ly_cli_usage(c, "--memory MB is missing");
	}
	request = ly_cli_request("vm.add", "name", a->name, "home", a->home,
	    "tpm", a->tpm, (char *)NULL);
	json_object_set_new(request, "definition", def);
	if (a->priority)
		json_object_set_new(request, "priority",
		    json_integer((json_int_t)a->priority));
	status = ly_cli_ask_plain(c, request, true, &answer);
	if (status != LY_EXIT_DONE)
		return status;
	if (c->json) {
		ly_answer_json(stdout, answer);
	} else if (!c->quiet) {
		LY_AUTO(free)
		char *id = ly_answer_word(answer, "id|vm.id|uuid");

		printf("VM %s%s%s%s has its home on %s; "
		       "start it: lanyard vm start %s\n",
		    a->name, id ? " (" : "", id ? id : "", id ? ")" : "",
		    a->home, a->name);
	}
	return LY_EXIT_DONE;
}

/* ---- the others ---- */

struct one {
	const char *vm, *host;
	bool force;
};

#define VM_ROW LY_OPERAND(struct one, vm, "VM", LY_OPT_VM, "The VM")

static const struct ly_opt one_rows[] = { VM_ROW };

static const struct ly_opt start_rows[] = {
	VM_ROW,
	LY_VALUE(struct one, host, "--host", "HOST", LY_OPT_HOST, false,
	    "Where (its home)"),
	LY_FLAG(struct one, force, "--force",
	    "Even if the host it was last on cannot be asked: that host is "
	    "fenced off the TPM, and must be down"),
};

static const struct ly_opt stop_rows[] = {
	VM_ROW,
	LY_FLAG(struct one, force, "--force",
	    "Pull the plug instead of asking the guest to shut down"),
};

static const struct ly_cell list_cells[] = {
	{ "VM", "vm|name", LY_CELL_TEXT },
	{ "AT", "at|host", LY_CELL_TEXT },
	{ "HOME", "home", LY_CELL_TEXT },
	{ "TPM", "tpm", LY_CELL_TEXT },
	{ "EPOCH", "epoch", LY_CELL_NUMBER },
	{ "STATE", "state|text", LY_CELL_TEXT },
};

static const struct ly_cell show_cells[] = {
	{ "vm", "vm|name", LY_CELL_TEXT },
	{ "id", "id|uuid", LY_CELL_TEXT },
	{ "state", "state|text", LY_CELL_TEXT },
	{ "at", "at|host", LY_CELL_TEXT },
	{ "home", "home", LY_CELL_TEXT },
	{ "tpm", "tpm", LY_CELL_TEXT },
	{ "epoch", "epoch", LY_CELL_NUMBER },
	{ "commands", "commands|seq", LY_CELL_NUMBER },
	{ "priority", "priority", LY_CELL_NUMBER },
	{ "migration", "migration", LY_CELL_TEXT },
	{ "migrating", "migrating", LY_CELL_TEXT },
	{ "why", "why", LY_CELL_TEXT },
	{ "its PCRs may be", "vm_pcrs_rule", LY_CELL_TEXT },
	{ "its PCRs", "vm_pcrs", LY_CELL_TEXT },
	{ "memory", "definition.memory_mb", LY_CELL_MIB },
	{ "cpus", "definition.cpus", LY_CELL_NUMBER },
	{ "machine", "definition.machine", LY_CELL_TEXT },
	{ "kernel", "definition.kernel", LY_CELL_TEXT },
	{ "initrd", "definition.initrd", LY_CELL_TEXT },
	{ "append", "definition.append", LY_CELL_TEXT },
	{ "firmware", "definition.firmware", LY_CELL_TEXT },
	{ "disks", "definition.disks", LY_CELL_TEXT },
	{ "nics", "definition.nics", LY_CELL_TEXT },
	{ "tpm model", "definition.tpm_model", LY_CELL_TEXT },
	{ "external", "definition.external", LY_CELL_YES },
};

static int
run_list(const struct ly_common *c, const void *args)
{
	(void)args;
	return ly_cli_list(c, ly_cli_request("vm.list", (char *)NULL), "vms",
	    list_cells, LY_COUNT(list_cells));
}

static int
run_show(const struct ly_common *c, const void *args)
{
	const struct one *a = args;

	return ly_cli_show(c,
	    ly_cli_request("vm.show", "vm", a->vm, (char *)NULL), "vm",
	    show_cells, LY_COUNT(show_cells));
}

static json_t *
forced(json_t *request, bool force)
{
	if (force)
		json_object_set_new(request, "force", json_true());
	return request;
}

static int
run_start(const struct ly_common *c, const void *args)
{
	const struct one *a = args;
	LY_AUTO(json_decref) json_t *answer = NULL;
	LY_AUTO(free) char *at = NULL;
	int status = ly_cli_ask_plain(c,
	    forced(ly_cli_request("vm.start", "vm", a->vm, "host", a->host,
		       (char *)NULL),
		a->force),
	    true, &answer);

	if (status != LY_EXIT_DONE)
		return status;
	at = ly_answer_word(answer, "at|host");
	if (c->json)
		ly_answer_json(stdout, answer);
	else if (!c->quiet)
		printf("%s runs at %s\n", a->vm,
		    at		? at :
			a->host ? a->host :
				  "its home");
	return LY_EXIT_DONE;
}

static int
run_stop(const struct ly_common *c, const void *args)
{
	const struct one *a = args;

	return ly_cli_do(c,
	    forced(ly_cli_request("vm.stop", "vm", a->vm, (char *)NULL),
		a->force),
	    "%s is off", a->vm);
}

struct set {
	const char *vm;
	uint64_t priority;
};

static const struct ly_opt set_rows[] = {
	LY_OPERAND(struct set, vm, "VM", LY_OPT_VM, "The VM"),
	{ .name = "--priority",
	    .arg = "P",
	    .kind = LY_OPT_UINT,
	    .offset = offsetof(struct set, priority),
	    .most = 1000,
	    .must = true,
	    .what = "When its place is evacuated, high ones go first" },
};

static int
run_set(const struct ly_common *c, const void *args)
{
	const struct set *a = args;
	json_t *request = ly_cli_request("vm.set", "vm", a->vm, (char *)NULL);

	json_object_set_new(request, "priority",
	    json_integer((json_int_t)a->priority));
	return ly_cli_do(c, request, "%s has priority %llu", a->vm,
	    (unsigned long long)a->priority);
}

static int
run_remove(const struct ly_common *c, const void *args)
{
	const struct one *a = args;

	return ly_cli_do(c,
	    ly_cli_request("vm.remove", "vm", a->vm, (char *)NULL),
	    "VM %s is removed; its TPM is free again", a->vm);
}

struct pcrs {
	const char *vm, *rule, *digest;
};

static const struct ly_opt pcrs_rows[] = {
	LY_OPERAND(struct pcrs, vm, "VM", LY_OPT_VM, "The VM's name or id"),
	LY_VALUE(struct pcrs, rule, "--rule", "WORD", LY_OPT_WORD, true,
	    "any, unchanged (since it moved last) or pinned"),
	LY_VALUE(struct pcrs, digest, "--digest", "HEX", LY_OPT_WORD, false,
	    "What is pinned; without it, what its TPM has shown last"),
};

static int
run_pcrs(const struct ly_common *c, const void *args)
{
	const struct pcrs *a = args;

	return ly_cli_do(c,
	    ly_cli_request("vm.pcrs", "vm", a->vm, "rule", a->rule, "digest",
		a->digest, (char *)NULL),
	    "%s: the PCRs of its TPM may be: %s", a->vm, a->rule);
}

const struct ly_cli_verb ly_cli_vm_verbs[] = {
	{ "vm add", add_rows, LY_COUNT(add_rows), sizeof(struct add), run_add,
	    "Bind a new VM to its home's TPM",
	    "Needs --memory, or a definition that says memory_mb, unless the "
	    "VM is --external." },
	{ "vm list", NULL, 0, 0, run_list, "List VMs", NULL },
	{ "vm show", one_rows, LY_COUNT(one_rows), sizeof(struct one), run_show,
	    "Show one VM", NULL },
	{ "vm start", start_rows, LY_COUNT(start_rows), sizeof(struct one),
	    run_start, "Start a VM", NULL },
	{ "vm stop", stop_rows, LY_COUNT(stop_rows), sizeof(struct one),
	    run_stop, "Stop a VM", NULL },
	{ "vm pcrs", pcrs_rows, LY_COUNT(pcrs_rows), sizeof(struct pcrs),
	    run_pcrs, "Say what a VM's TPM has to show when it moves",
	    "Held against what its home reads of PCR 0 to 15 at an attested "
	    "migration; `lanyard vm show` and `lanyard attest` show it." },
	{ "vm set", set_rows, LY_COUNT(set_rows), sizeof(struct set), run_set,
	    "Change what a VM is to the manager", NULL },
	{ "vm remove", one_rows, LY_COUNT(one_rows), sizeof(struct one),
	    run_remove, "Forget a VM and free its TPM",
	    "Refused while it runs." },
	{ 0 },
};
