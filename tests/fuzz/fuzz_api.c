/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of the manager's API. What is accepted keeps to its verb's table,
 * and says the same thing when it is written out and read again.
 */
#include "manager/api/api.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct ly_api_request *r)
{
	const struct ly_verb_row *row = &ly_verbs[r->verb];

	for (unsigned i = 0; i < LY_KEYS_MAX && row->keys[i].name; i++) {
		const struct ly_key *k = &row->keys[i];
		const char *text = ly_api_text(r, k->name);

		if (k->must && !json_object_get(r->args, k->name))
			abort();
		if (text && (k->kind != LY_KEY_TEXT || strlen(text) > k->most))
			abort();
		if (k->kind == LY_KEY_UINT && ly_api_uint(r, k->name) > k->most)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ly_api_request r = { .args = NULL }, again = { .args = NULL };
	struct ly_why why = { "" };
	enum ly_rc rc = ly_api_parse((const char *)data, size, &r, &why);
	char *line;

	if (rc != LY_OK) {
		if (rc != LY_MALFORMED || r.args || !why.text[0])
			abort();
		return 0;
	}
	check(&r);
	line = json_dumps(r.args, JSON_COMPACT | JSON_ENSURE_ASCII);
	if (line && strlen(line) <= LY_API_LINE_MAX &&
	    (ly_api_parse(line, strlen(line), &again, &why) != LY_OK ||
		again.verb != r.verb || !json_equal(again.args, r.args)))
		abort();
	free(line);
	json_decref(again.args);
	json_decref(r.args);
	return 0;
}
