/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every key is a row: name, kind, where it goes, what it may hold. The check
 * of the three objects (a VM, a disk, a nic) is one function over their rows.
 */
#include "agent/io/definition.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- checking ---- */

enum kind { UINT, BOOL, TEXT, PATH, WORD, LIST };

struct key {
	const char *name;
	enum kind kind;
	size_t offset, size;
	uint64_t least, most; /* of UINT */
	const char *one_of;   /* of WORD: " a b c " */
};

#define AT(type, member) offsetof(type, member), sizeof(((type *)0)->member)
#define VM(member) AT(struct ly_definition, member)
#define DISK(member) AT(struct ly_disk, member)
#define NIC(member) AT(struct ly_nic, member)

static const struct key vm_keys[] = {
	{ "memory_mb", UINT, VM(memory_mb), 8, 16u << 20, NULL },
	{ "cpus", UINT, VM(cpus), 1, 1024, NULL },
	{ "machine", WORD, VM(machine), 0, 0, NULL },
	{ "accel", WORD, VM(accel), 0, 0, " auto kvm tcg " },
	{ "cpu", TEXT, VM(cpu), 0, 0, NULL },
	{ "kernel", PATH, VM(kernel), 0, 0, NULL },
	{ "initrd", PATH, VM(initrd), 0, 0, NULL },
	{ "append", TEXT, VM(append), 0, 0, NULL },
	{ "firmware", PATH, VM(firmware), 0, 0, NULL },
	{ "disks", LIST, 0, 0, 0, 0, NULL },
	{ "nics", LIST, 0, 0, 0, 0, NULL },
	{ "serial", BOOL, VM(serial), 0, 0, NULL },
	{ "tpm_model", WORD, VM(tpm_model), 0, 0, " tpm-crb tpm-tis " },
	{ "external", BOOL, VM(external), 0, 0, NULL },
};

static const struct key disk_keys[] = {
	{ "path", PATH, DISK(path), 0, 0, NULL },
	{ "format", WORD, DISK(format), 0, 0, " raw qcow2 " },
	{ "readonly", BOOL, DISK(readonly), 0, 0, NULL },
};

static const struct key nic_keys[] = {
	{ "bridge", WORD, NIC(bridge), 0, 0, NULL },
	{ "tap", WORD, NIC(tap), 0, 0, NULL },
	{ "mac", TEXT, NIC(mac), 0, 0, NULL },
};

static const struct key *
key_of(const struct key *keys, size_t keys_n, const char *name)
{
	for (size_t i = 0; i < keys_n; i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

static bool
word_good(const char *text)
{
	size_t n = strspn(text,
	    "abcdefghijklmnopqrstuvwxyz"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n && text[n] == '\0' && text[0] != '-';
}

static bool
listed(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at++)
		if (at[-1] == ' ' && at[len] == ' ')
			return true;
	return false;
}

static enum ly_rc
set_text(const struct key *k, const json_t *v, char *to, struct ly_why *why)
{
	const char *text = json_string_value(v);
	size_t len = json_string_length(v);

	if (!text)
		return ly_fail(why, LY_REFUSED, "%s: expected a text", k->name);
	if (!ly_text_clean(text, len))
		return ly_fail(why, LY_REFUSED, "%s: has a control character",
		    k->name);
	if (len >= k->size)
		return ly_fail(why, LY_FULL, "%s: longer than %zu bytes",
		    k->name, k->size - 1);
	if (k->kind == PATH && text[0] != '/')
		return ly_fail(why, LY_REFUSED, "%s: expected an absolute path",
		    k->name);
	if (k->kind == WORD &&
	    (!word_good(text) || (k->one_of && !listed(k->one_of, text))))
		return ly_fail(why, LY_REFUSED, "%s: \"%s\" is not%s%s",
		    k->name, text, k->one_of ? " one of" : " a plain word",
		    k->one_of ? k->one_of : "");
	ly_copy(to, k->size, text);
	return LY_OK;
}

static enum ly_rc
set(const struct key *k, const json_t *v, void *base, struct ly_why *why)
{
	char *to = (char *)base + k->offset;
	json_int_t n;

	switch (k->kind) {
	case UINT:
		n = json_integer_value(v);
		if (!json_is_integer(v) || n < (json_int_t)k->least ||
		    n > (json_int_t)k->most)
			return ly_fail(why, LY_REFUSED,
			    "%s: expected a number from %llu to %llu", k->name,
			    (unsigned long long)k->least,
			    (unsigned long long)k->most);
		*(uint32_t *)(void *)to = (uint32_t)n;
		return LY_OK;
	case BOOL:
		if (!json_is_boolean(v))
			return ly_fail(why, LY_REFUSED,
			    "%s: expected true or false", k->name);
		*(bool *)(void *)to = json_is_true(v);
		return LY_OK;
	case TEXT:
	case PATH:
	case WORD:
		return set_text(k, v, to, why);
	case LIST:
		break;
	}
	return LY_OK;
}

static enum ly_rc
read_object(const json_t *o, const struct key *keys, size_t keys_n, void *base,
    struct ly_why *why)
{
	const char *name;
	json_t *v;

	if (!json_is_object(o))
		return ly_fail(why, LY_MALFORMED, "expected a JSON object");
	json_object_foreach((json_t *)(uintptr_t)o, name, v) {
		const struct key *k = key_of(keys, keys_n, name);
		enum ly_rc rc;

		if (!k)
			return ly_fail(why, LY_REFUSED,
			    "%.40s: there is no such key",
			    ly_text_clean(name, strlen(name)) ? name : "?");
		rc = set(k, v, base, why);
		if (rc)
			return rc;
	}
	return LY_OK;
}

static enum ly_rc
check_list(const json_t *list, const char *name, size_t most,
    struct ly_why *why)
{
	if (list && !json_is_array(list))
		return ly_fail(why, LY_REFUSED, "%s: expected a list", name);
	if (json_array_size(list) > most)
		return ly_fail(why, LY_FULL, "%s: more than %zu", name, most);
	return LY_OK;
}

static enum ly_rc
read_disks(const json_t *list, struct ly_definition *def, struct ly_why *why)
{
	enum ly_rc rc = check_list(list, "disks", LY_DISKS_MAX, why);

	if (rc)
		return rc;
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct ly_disk *d = &def->disks[def->disks_n++];

		ly_copy(d->format, sizeof(d->format), "raw");
		rc = read_object(json_array_get(list, i), disk_keys,
		    LY_COUNT(disk_keys), d, why);
		if (!rc && !d->path[0])
			rc = ly_fail(why, LY_REFUSED, "path: is missing");
		if (rc)
			return ly_fail_in(why, rc, "disks[%zu]", i);
	}
	return LY_OK;
}

/* "52:54:00:12:34:56", and not a group's address. */
static bool
mac_good(const char *mac)
{
	uint8_t b[6];

	if (strlen(mac) != 17)
		return false;
	for (size_t i = 0; i < 6; i++) {
		char two[3] = { mac[i * 3], mac[i * 3 + 1], '\0' };

		if (ly_unhex(two, &b[i], 1) || (i < 5 && mac[i * 3 + 2] != ':'))
			return false;
	}
	return (b[0] & 1) == 0;
}

static enum ly_rc
check_nic(const struct ly_nic *nic, struct ly_why *why)
{
	if (!nic->bridge[0] == !nic->tap[0])
		return ly_fail(why, LY_REFUSED,
		    "needs bridge or tap, one of the two");
	if (nic->mac[0] && !mac_good(nic->mac))
		return ly_fail(why, LY_REFUSED,
		    "mac: \"%s\" is not a station's address", nic->mac);
	return LY_OK;
}

static enum ly_rc
read_nics(const json_t *list, struct ly_definition *def, struct ly_why *why)
{
	enum ly_rc rc = check_list(list, "nics", LY_NICS_MAX, why);

	if (rc)
		return rc;
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct ly_nic *nic = &def->nics[def->nics_n++];

		rc = read_object(json_array_get(list, i), nic_keys,
		    LY_COUNT(nic_keys), nic, why);
		if (!rc)
			rc = check_nic(nic, why);
		if (rc)
			return ly_fail_in(why, rc, "nics[%zu]", i);
	}
	return LY_OK;
}

static enum ly_rc
check_whole(const struct ly_definition *def, struct ly_why *why)
{
	if (!def->memory_mb && !def->external)
		return ly_fail(why, LY_REFUSED, "memory_mb: is missing");
	if (!def->kernel[0] && (def->initrd[0] || def->append[0]))
		return ly_fail(why, LY_REFUSED,
		    "%s: there is no kernel to give it to",
		    def->initrd[0] ? "initrd" : "append");
	return LY_OK;
}

static enum ly_rc
read_definition(const json_t *o, struct ly_definition *def, struct ly_why *why)
{
	enum ly_rc rc = read_object(o, vm_keys, LY_COUNT(vm_keys), def, why);

	if (!rc)
		rc = read_disks(json_object_get(o, "disks"), def, why);
	if (!rc)
		rc = read_nics(json_object_get(o, "nics"), def, why);
	if (!rc)
		rc = check_whole(def, why);
	return rc;
}

/* jansson quotes what it stumbled over. */
static const char *
cleaned(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
			*c = '?';
	return text;
}

enum ly_rc
ly_definition_check(const char *json, size_t len, struct ly_definition *out,
    struct ly_why *why)
{
	struct ly_definition def = { .cpus = 1,
		.machine = "q35",
		.accel = "auto",
		.tpm_model = "tpm-crb",
		.serial = true };
	json_error_t err;
	json_t *o;
	enum ly_rc rc;

	if (len > LY_DEFINITION_MAX)
		return ly_fail(why, LY_FULL, "definition: longer than %d bytes",
		    LY_DEFINITION_MAX);
	o = json_loadb(json, len, JSON_REJECT_DUPLICATES, &err);
	if (!o)
		return ly_fail(why, LY_MALFORMED, "definition: line %d: %s",
		    err.line, cleaned(err.text));
	rc = read_definition(o, &def, why);
	json_decref(o);
	if (rc)
		return ly_fail_in(why, rc, "definition");
	*out = def;
	return LY_OK;
}

/* ---- arguments ---- */

#define ARGS_MAX 128 /* 8 disks and 8 nics take 64 */

struct args {
	char *at[ARGS_MAX];
	size_t n;
	bool bad;
};

static void
take(struct args *a, char *text)
{
	if (!text || a->n + 1 >= ARGS_MAX) {
		free(text);
		a->bad = true;
		return;
	}
	a->at[a->n++] = text;
}

/* One argument, as printf. */
static void LY_PRINTF(2, 3) put(struct args *a, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	take(a, text);
}

static void
put_pair(struct args *a, const char *option, const char *value)
{
	put(a, "%s", option);
	put(a, "%s", value);
}

/* QEMU's option lists end a value at a comma; two commas are one. */
struct escaped {
	char text[2 * LY_PATH_LEN];
};

static const char *
escape(const char *path, const char *leaf, struct escaped *out)
{
	const char *parts[] = { path, leaf };
	char *to = out->text, *end = out->text + sizeof(out->text) - 2;

	for (size_t i = 0; i < LY_COUNT(parts); i++)
		for (const char *at = parts[i]; *at && to < end; at++) {
			*to++ = *at;
			if (*at == ',')
				*to++ = ',';
		}
	*to = '\0';
	return out->text;
}

/* Under TCG, QEMU before 9.0 loses writes in a live migration when the length
 * of guest memory is a multiple of 64 pages: the fast path that collects dirty
 * bits then forgets to make the CPUs' TLBs report again (in memory, a page the
 * guest goes on writing to is sent once, and stale). A length that is not such
 * a multiple takes the slow path, which does. 8 KiB is QEMU's own step. */
#define TCG_PAD_KB 8ul

static bool
kvm_usable(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void
put_machine(struct args *a, const struct ly_definition *def)
{
	const char *accel = def->accel;

	if (strcmp(accel, "auto") == 0)
		accel = kvm_usable() ? "kvm" : "tcg";
	put(a, "-machine");
	put(a, "type=%s,accel=%s", def->machine, accel);
	if (def->cpu[0])
		put_pair(a, "-cpu", def->cpu);
	put(a, "-m");
	put(a, "%luk",
	    def->memory_mb * 1024ul +
		(strcmp(accel, "tcg") == 0 ? TCG_PAD_KB : 0));
	put(a, "-smp");
	put(a, "%u", def->cpus);
}

static void
put_boot(struct args *a, const struct ly_definition *def)
{
	if (def->firmware[0])
		put_pair(a, "-bios", def->firmware);
	if (def->kernel[0])
		put_pair(a, "-kernel", def->kernel);
	if (def->initrd[0])
		put_pair(a, "-initrd", def->initrd);
	if (def->append[0])
		put_pair(a, "-append", def->append);
}

/* Given as JSON, which needs no escaping of QEMU's kind. */
static void
put_disk(struct args *a, const struct ly_disk *disk, unsigned i)
{
	char node[16];
	json_t *o;

	ly_print(node, sizeof(node), "disk%u", i);
	o = json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:b}}", "driver",
	    disk->format, "node-name", node, "read-only", disk->readonly,
	    "file", "driver", "file", "filename", disk->path, "read-only",
	    disk->readonly);
	put(a, "-blockdev");
	take(a, o ? json_dumps(o, JSON_COMPACT) : NULL);
	json_decref(o);
	put(a, "-device");
	put(a, "virtio-blk-pci,drive=%s,id=d%u", node, i);
}

static void
put_nic(struct args *a, const struct ly_nic *nic, unsigned i)
{
	put(a, "-netdev");
	if (nic->bridge[0])
		put(a, "bridge,id=net%u,br=%s", i, nic->bridge);
	else
		put(a, "tap,id=net%u,ifname=%s,script=no,downscript=no", i,
		    nic->tap);
	put(a, "-device");
	put(a, "virtio-net-pci,netdev=net%u,id=n%u%s%s", i, i,
	    nic->mac[0] ? ",mac=" : "", nic->mac);
}

/* A bridge is joined by QEMU's own set-uid helper, which the filter of
 * spawning and of privileges would kill. */
static void
put_sandbox(struct args *a, const struct ly_definition *def)
{
	bool helper = false;

	for (unsigned i = 0; i < def->nics_n; i++)
		helper |= def->nics[i].bridge[0] != '\0';
	put(a, "-sandbox");
	put(a, "on,obsolete=deny,resourcecontrol=deny%s",
	    helper ? "" : ",elevateprivileges=deny,spawn=deny");
}

static void
put_sockets(struct args *a, const struct ly_definition *def,
    const struct ly_definition_params *p)
{
	struct escaped one, two;

	put(a, "-chardev");
	put(a, "socket,id=qmp,path=%s,server=on,wait=off",
	    escape(p->dir, "/qmp.sock", &one));
	put_pair(a, "-mon", "chardev=qmp,mode=control");
	if (def->serial) {
		put(a, "-chardev");
		put(a,
		    "socket,id=serial,path=%s,server=on,wait=off,"
		    "logfile=%s,logappend=on",
		    escape(p->dir, "/serial.sock", &one),
		    escape(p->dir, "/serial.log", &two));
		put_pair(a, "-serial", "chardev:serial");
	}
	if (p->tpm_socket) {
		put(a, "-chardev");
		put(a, "socket,id=tpm,path=%s",
		    escape(p->tpm_socket, "", &one));
		put_pair(a, "-tpmdev", "emulator,id=tpm0,chardev=tpm");
		put(a, "-device");
		put(a, "%s,tpmdev=tpm0", def->tpm_model);
	}
}

static void
put_all(struct args *a, const struct ly_definition *def,
    const struct ly_definition_params *p)
{
	char id[LY_ID_TEXT];
	struct escaped e;

	put(a, "%s", p->binary);
	put(a, "-name");
	put(a, "guest=%s,debug-threads=on", escape(p->name, "", &e));
	put_pair(a, "-uuid", ly_id_text(&p->id, id));
	put_pair(a, "-display", "none");
	put(a, "-no-user-config");
	put(a, "-nodefaults");
	if (p->sandbox)
		put_sandbox(a, def);
	put_machine(a, def);
	put_boot(a, def);
	for (unsigned i = 0; i < def->disks_n; i++)
		put_disk(a, &def->disks[i], i);
	for (unsigned i = 0; i < def->nics_n; i++)
		put_nic(a, &def->nics[i], i);
	put_sockets(a, def, p);
	if (p->incoming) {
		put_pair(a, "-incoming", "defer");
		put(a, "-S");
	}
}

void
ly_argv_free(char **argv)
{
	for (char **at = argv; at && *at; at++)
		free(*at);
	free(argv);
}

enum ly_rc
ly_definition_argv(const struct ly_definition *def,
    const struct ly_definition_params *params, char ***out, struct ly_why *why)
{
	struct args a = { .n = 0 };
	char **argv;

	if (def->external)
		return ly_fail(why, LY_REFUSED,
		    "definition: somebody else runs this VM's QEMU");
	if (strlen(params->dir) + 16 > LY_PATH_LEN ||
	    (params->tpm_socket && strlen(params->tpm_socket) >= LY_PATH_LEN))
		return ly_fail(why, LY_FULL, "%s: too long a path",
		    params->dir);
	put_all(&a, def, params);
	argv = calloc(a.n + 1, sizeof(*argv));
	if (argv)
		memcpy(argv, a.at, a.n * sizeof(*argv));
	if (!argv || a.bad) {
		for (size_t i = 0; i < a.n; i++)
			free(a.at[i]);
		free(argv);
		return ly_fail(why, LY_OUTSIDE, "no memory");
	}
	*out = argv;
	return LY_OK;
}
