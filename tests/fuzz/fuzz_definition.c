/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's definition. What is accepted becomes arguments, none of which has a
 * control character, and none but the values of known options begins with a
 * dash.
 */
#include "agent/io/definition.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct ly_definition *def)
{
	struct ly_definition_params p = { .binary = "qemu",
		.dir = "/run/a,b",
		.name = "web1",
		.tpm_socket = "/t,p",
		.incoming = def->cpus & 1,
		.sandbox = def->serial };
	struct ly_why why = { "" };
	char **argv;
	enum ly_rc rc = ly_definition_argv(def, &p, &argv, &why);

	if (rc) {
		if (!why.text[0])
			abort();
		return;
	}
	for (char **at = argv; *at; at++)
		if (!ly_text_clean(*at, strlen(*at)))
			abort();
	ly_argv_free(argv);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ly_definition def;
	struct ly_why why = { "" };
	enum ly_rc rc;

	rc = ly_definition_check((const char *)data, size, &def, &why);
	if (rc == LY_OK)
		check(&def);
	else if (!why.text[0] || !ly_text_clean(why.text, strlen(why.text)))
		abort();
	return 0;
}
