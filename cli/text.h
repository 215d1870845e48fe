/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, times and columns for people. Pure. */
#ifndef LY_CLI_TEXT_H
#define LY_CLI_TEXT_H

#include "lib/base/text.h"

#include <stdio.h>

#define LY_UNIT_TEXT 32
/* "512 B", "10.3 KiB", "182 MiB"; returns `out`. */
const char *ly_size_text(double bytes, char out[LY_UNIT_TEXT]);
/* "312 MiB/s" */
const char *ly_rate_text(double bytes_s, char out[LY_UNIT_TEXT]);
/* "21 ms", "1.2 s", "2 min 5 s", "3 h 12 min", "4 d 2 h" */
const char *ly_ms_text(double ms, char out[LY_UNIT_TEXT]);

/* What others wrote may hold what a terminal would obey: every control
 * character becomes '?'. */
void ly_clean(char *text);
/* Columns a terminal needs for it (UTF-8, no wide characters). */
size_t ly_width(const char *text);

/* A table: cells are added row by row, copied and cleaned; then printed with
 * aligned columns. The memory goes with ly_table_fini. */
#define LY_COLUMNS_MAX 12
struct ly_table {
	const char *title[LY_COLUMNS_MAX]; /* the first NULL: no heading */
	bool right[LY_COLUMNS_MAX];	   /* numbers */
	unsigned columns;
	char **cells;
	size_t cells_n, cells_most;
};

void ly_table_column(struct ly_table *t, const char *title, bool right);
void ly_table_cell(struct ly_table *t, const char *text);
void ly_table_print(const struct ly_table *t, FILE *to);
void ly_table_fini(struct ly_table *t);

/* Prints `text` broken into lines of at most `width`, each but the first
 * after `indent` spaces; the cursor is `at` columns in. */
void ly_wrap(FILE *to, const char *text, unsigned at, unsigned indent,
    unsigned width);

#endif
