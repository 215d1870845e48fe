/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a manager's JSON to what people read. Nothing in an answer is
 * believed: a key that is missing is "-", a value of another kind is shown as
 * it is, and control characters are shown as '?'.
 */
#ifndef LY_CLI_ANSWER_H
#define LY_CLI_ANSWER_H

#include "cli/text.h"

#include <jansson.h>

enum ly_cell_kind {
	LY_CELL_TEXT,
	LY_CELL_YES,	 /* yes, no */
	LY_CELL_UP,	 /* up, down */
	LY_CELL_TIME,	 /* seconds since 1970, in local time */
	LY_CELL_TIME_MS, /* the same in milliseconds */
	LY_CELL_HIDDEN,	 /* known, and not for people */
	LY_CELL_NUMBER,	 /* from here on: to the right */
	LY_CELL_SIZE,	 /* bytes */
	LY_CELL_MIB,	 /* MiB */
	LY_CELL_MS,
	LY_CELL_RATE, /* bytes a second */
	LY_CELL_PERCENT,
};

/* `keys`: the first that is there of "at|where"; "a.b" goes inside. */
struct ly_cell {
	const char *title;
	const char *keys;
	enum ly_cell_kind kind;
};

/* Borrowed; NULL if none of the keys is there, or is null. */
const json_t *ly_answer_get(const json_t *object, const char *keys);
/* Its number, or `otherwise`. */
double ly_answer_number(const json_t *object, const char *keys,
    double otherwise);
/* The value as text, cleaned: free() it. "-" for what is not there. */
char *ly_answer_text(const json_t *object, const struct ly_cell *cell);
/* The same for a key alone, NULL for what is not there. */
char *ly_answer_word(const json_t *object, const char *keys);

/* A site's peers, for `site show` and `status`; in site.c. */
#define LY_PEER_CELLS 5
extern const struct ly_cell ly_peer_cells[LY_PEER_CELLS];

/* A row for each object of the list; columns that none has are left out. */
void ly_answer_table(FILE *to, const json_t *list, const struct ly_cell *cells,
    size_t cells_n, size_t most);
/* "title   value" lines; then whatever else the object says. */
void ly_answer_pairs(FILE *to, const json_t *object,
    const struct ly_cell *cells, size_t cells_n);
/* One line, sorted as it came. */
void ly_answer_json(FILE *to, const json_t *object);
/* "warnings" of an answer, to stderr. */
void ly_answer_warn(const json_t *answer);

#endif
