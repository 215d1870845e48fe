/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a monitor says: the bytes, cut as their first byte says, into lines;
 * each line into its kind. The cut must not matter.
 */
#include "agent/io/migstat.h"
#include "agent/io/qmpline.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
look(const char *line, size_t len)
{
	struct ly_qmp_said said;
	struct ly_why why = { "" };
	struct ly_mig_numbers numbers;
	enum ly_rc rc = ly_qmp_read(line, len, &said, &why);

	if (rc) {
		if (!why.text[0])
			abort();
		return;
	}
	if (!said.json || !ly_text_clean(said.name, strlen(said.name)))
		abort();
	if (said.kind == LY_QMP_RETURN &&
	    ly_migstat_read(said.data, &numbers, &why) >= LY_MIGS)
		abort();
	ly_qmp_said_fini(&said);
}

/* How many lines, and how long they are together. */
static size_t
cut(const uint8_t *data, size_t size, size_t piece, bool looks)
{
	struct ly_lines l = { .buf = NULL };
	size_t sum = 0, len;
	const char *line;

	for (size_t at = 0; at < size; at += piece) {
		if (ly_lines_add(&l, data + at, ly_min(piece, size - at), NULL))
			break;
		while (ly_lines_next(&l, &line, &len)) {
			sum += len + 1;
			if (looks)
				look(line, len);
		}
	}
	ly_lines_fini(&l);
	return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (cut(data + 1, size - 1, data[0] + 1u, true) !=
	    cut(data + 1, size - 1, size, false))
		abort();
	return 0;
}
