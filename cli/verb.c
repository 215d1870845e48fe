/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that only ask: a list, an object, a sentence. */
#include "cli/cli.h"

#include <stdarg.h>

LY_AUTO_FOR(json_decref, json_t)

int
ly_cli_list(const struct ly_common *c, json_t *request, const char *key,
    const struct ly_cell *cells, size_t cells_n)
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	const json_t *list;
	int status = ly_cli_ask_plain(c, request, false, &answer);

	if (status != LY_EXIT_DONE)
		return status;
	if (c->json) {
		ly_answer_json(stdout, answer);
		return LY_EXIT_DONE;
	}
	list = json_object_get(answer, key);
	if (!json_is_array(list))
		return ly_cli_fail(c, LY_MALFORMED,
		    "the manager's answer holds no list of %s", key);
	if (json_array_size(list) > 0)
		ly_answer_table(stdout, list, cells, cells_n, SIZE_MAX);
	else if (!c->quiet)
		fprintf(stderr, "lanyard: %s: there are none\n", c->verb);
	return LY_EXIT_DONE;
}

int
ly_cli_show(const struct ly_common *c, json_t *request, const char *key,
    const struct ly_cell *cells, size_t cells_n)
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	const json_t *inner;
	int status = ly_cli_ask_plain(c, request, false, &answer);

	if (status != LY_EXIT_DONE)
		return status;
	inner = json_object_get(answer, key);
	if (c->json)
		ly_answer_json(stdout, answer);
	else
		ly_answer_pairs(stdout, json_is_object(inner) ? inner : answer,
		    cells, cells_n);
	return LY_EXIT_DONE;
}

int
ly_cli_do(const struct ly_common *c, json_t *request, const char *fmt, ...)
{
	LY_AUTO(json_decref) json_t *answer = NULL;
	int status = ly_cli_ask_plain(c, request, true, &answer);
	va_list ap;

	if (status != LY_EXIT_DONE)
		return status;
	if (c->json) {
		ly_answer_json(stdout, answer);
	} else if (!c->quiet) {
		va_start(ap, fmt);
		vprintf(fmt, ap);
		va_end(ap);
		putchar('\n');
	}
	return LY_EXIT_DONE;
}
