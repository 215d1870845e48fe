/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VM is made of: a JSON object the operator wrote, checked, and made
 * into QEMU's arguments. It comes from a manager, so nothing in it is
 * believed: unknown keys are refused by name, paths are absolute, no value
 * reaches a shell, and commas are escaped where QEMU would split at them.
 *
 * Keys: memory_mb (the only one that must be there), cpus, machine, accel,
 * cpu, kernel, initrd, append, firmware, disks [{path, format, readonly}],
 * nics [{bridge or tap, mac}], serial, tpm_model, external.
 *
 * The same definition goes to both ends of a migration, so it may not name
 * anything that differs between them: sockets, logs and the TPM are given by
 * each agent.
 */
#ifndef LY_AGENT_IO_DEFINITION_H
#define LY_AGENT_IO_DEFINITION_H

#include "lib/base/text.h"
#include "lib/wire/message.h"

#define LY_PATH_LEN 256 /* with its NUL */
#define LY_DISKS_MAX 8
#define LY_NICS_MAX 8

struct ly_disk {
	char path[LY_PATH_LEN];
	char format[16]; /* "raw", "qcow2" */
	bool readonly;
};

struct ly_nic {
	char bridge[16], tap[16]; /* one of the two */
	char mac[18];		  /* empty: QEMU's */
};

struct ly_definition {
	uint32_t memory_mb, cpus;
	char machine[64]; /* "q35" */
	char accel[8];	  /* "auto", "kvm", "tcg" */
	char cpu[128];	  /* empty: QEMU's for this machine */
	char kernel[LY_PATH_LEN], initrd[LY_PATH_LEN], firmware[LY_PATH_LEN];
	char append[2048];
	struct ly_disk disks[LY_DISKS_MAX];
	unsigned disks_n;
	struct ly_nic nics[LY_NICS_MAX];
	unsigned nics_n;
	bool serial; /* a console at DIR/serial.sock, kept in serial.log */
	char tpm_model[16]; /* "tpm-crb", "tpm-tis" */
	bool external;	    /* somebody else runs QEMU; we serve the TPM */
};

/* `len` bytes of JSON. LY_REFUSED or LY_MALFORMED with the key's name. */
LY_MUST enum ly_rc ly_definition_check(const char *json, size_t len,
    struct ly_definition *out, struct ly_why *why);

struct ly_definition_params {
	const char *binary;
	const char *dir; /* of this VM on this host: sockets and logs */
	const char *name;
	struct ly_id id;
	const char *tpm_socket; /* NULL: no TPM */
	bool incoming;
	bool sandbox; /* QEMU's seccomp filter */
};

/* A NULL-terminated vector, each string malloc'd; ly_argv_free() frees it. */
LY_MUST enum ly_rc ly_definition_argv(const struct ly_definition *def,
    const struct ly_definition_params *params, char ***out, struct ly_why *why);
void ly_argv_free(char **argv);

#endif
