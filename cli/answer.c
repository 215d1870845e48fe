/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells from JSON. A cell is found by key, not by place, so managers that say
 * more or less than we know are read all the same.
 */
#include "cli/answer.h"

#include <stdlib.h>
#include <time.h>

LY_AUTO_FOR(free, char)

/* ---- finding ---- */

/* One key, "a.b.c" of it; `len` bytes. */
static const json_t *
find(const json_t *object, const char *key, size_t len)
{
	while (len > 0 && json_is_object(object)) {
		const char *dot = memchr(key, '.', len);
		size_t n = dot ? (size_t)(dot - key) : len;
		char part[64];

		if (n >= sizeof(part))
			return NULL;
		memcpy(part, key, n);
		part[n] = '\0';
		object = json_object_get(object, part);
		n += dot != NULL;
		key += n;
		len -= n;
	}
	return len > 0 || json_is_null(object) ? NULL : object;
}

const json_t *
ly_answer_get(const json_t *object, const char *keys)
{
	while (*keys) {
		size_t len = strcspn(keys, "|");
		const json_t *v = find(object, keys, len);

		if (v)
			return v;
		keys += len + (keys[len] == '|');
	}
	return NULL;
}

double
ly_answer_number(const json_t *object, const char *keys, double otherwise)
{
	const json_t *v = ly_answer_get(object, keys);

	return json_is_number(v) ? json_number_value(v) : otherwise;
}

/* ---- showing ---- */

static char *
copy_of(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		abort();
	ly_clean(copy);
	return copy;
}

/* "a, b" */
static char *
join(const json_t *list)
{
	char *text = NULL;
	size_t size, i;
	json_t *v;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		abort();
	json_array_foreach(list, i, v) {
		char *one = ly_answer_text(v, &(struct ly_cell){ 0 });

		fprintf(to, "%s%s", i ? ", " : "", one);
		free(one);
	}
	fclose(to);
	if (text && text[0])
		return text;
	free(text);
	return copy_of("-");
}

/* {"site": ..., "name": ...} is a place; any other object is shown whole. */
static char *
object_text(const json_t *v)
{
	const char *site = json_string_value(json_object_get(v, "site"));
	const char *name = json_string_value(ly_answer_get(v, "name|host"));
	char place[2 * LY_NAME_MAX + 2];
	char *all, *copy;

	if (site && name && json_object_size(v) == 2) {
		ly_print(place, sizeof(place), "%s/%s", site, name);
		return copy_of(place);
	}
	all = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	copy = copy_of(all ? all : "?");
	free(all);
	return copy;
}

static char *
time_text(double s)
{
	time_t at = (time_t)s;
	char text[64] = "?";
	struct tm tm;

	if (s == 0)
		return copy_of("-");
	if (s > 0 && s < 1e11 && localtime_r(&at, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	return copy_of(text);
}

static char *
number_text(double v, enum ly_cell_kind kind)
{
	char text[LY_UNIT_TEXT];

	if (kind == LY_CELL_TIME || kind == LY_CELL_TIME_MS)
		return time_text(kind == LY_CELL_TIME ? v : v / 1000);
	if (kind == LY_CELL_SIZE)
		ly_size_text(v, text);
	else if (kind == LY_CELL_MIB)
		ly_size_text(v * 1048576, text);
	else if (kind == LY_CELL_RATE)
		ly_rate_text(v, text);
	else if (kind == LY_CELL_MS)
		ly_ms_text(v, text);
	else if (kind == LY_CELL_PERCENT)
		ly_print(text, sizeof(text), "%.0f %%", v);
	else
		ly_print(text, sizeof(text), "%.15g", v);
	return copy_of(text);
}

char *
ly_answer_text(const json_t *object, const struct ly_cell *cell)
{
	const json_t *v = cell->keys ? ly_answer_get(object, cell->keys) :
				       object;
	bool yes = json_is_true(v);

	if (json_is_string(v))
		return copy_of(
		    json_string_length(v) ? json_string_value(v) : "-");
	if (json_is_number(v))
		return number_text(json_number_value(v), cell->kind);
	if (json_is_boolean(v) && cell->kind == LY_CELL_UP)
		return copy_of(yes ? "up" : "down");
	if (json_is_boolean(v))
		return copy_of(yes ? "yes" : "no");
	if (json_is_array(v))
		return join(v);
	if (json_is_object(v))
		return object_text(v);
	return copy_of("-");
}

char *
ly_answer_word(const json_t *object, const char *keys)
{
	const json_t *v = ly_answer_get(object, keys);

	if (!v || (json_is_string(v) && json_string_length(v) == 0))
		return NULL;
	return ly_answer_text(object, &(struct ly_cell){ .keys = keys });
}

/* ---- tables ---- */

static bool
somewhere(const json_t *list, const char *keys)
{
	size_t i;
	json_t *o;

	json_array_foreach(list, i, o) {
		if (ly_answer_get(o, keys))
			return true;
	}
	return false;
}

static bool
is_number(enum ly_cell_kind kind)
{
	return kind >= LY_CELL_NUMBER && kind <= LY_CELL_PERCENT;
}

void
ly_answer_table(FILE *to, const json_t *list, const struct ly_cell *cells,
    size_t cells_n, size_t most)
{
	struct ly_table t = { 0 };
	bool in[LY_COLUMNS_MAX];
	size_t i, c;
	json_t *o;

	for (c = 0; c < cells_n; c++) {
		in[c] = c == 0 || somewhere(list, cells[c].keys);
		if (in[c])
			ly_table_column(&t, cells[c].title,
			    is_number(cells[c].kind));
	}
	json_array_foreach(list, i, o) {
		if (i == most)
			break;
		for (c = 0; c < cells_n; c++) {
			LY_AUTO(free) char *text = ly_answer_text(o, &cells[c]);

			if (in[c])
				ly_table_cell(&t, text);
		}
	}
	ly_table_print(&t, to);
	ly_table_fini(&t);
}

/* ---- pairs ---- */

struct pairs {
	struct ly_table table;
	const struct ly_cell *cells;
	size_t cells_n;
};

static void
pair(struct pairs *p, const char *title, char *value)
{
	ly_table_cell(&p->table, title);
	ly_table_cell(&p->table, value);
	free(value);
}

/* Is `key` one of these keys? */
static bool
among(const char *key, const char *keys)
{
	size_t len = strlen(key);

	while (*keys) {
		size_t n = strcspn(keys, "|");

		if (n == len && memcmp(key, keys, n) == 0)
			return true;
		keys += n + (keys[n] == '|');
	}
	return false;
}

static bool
known(const struct pairs *p, const char *key)
{
	for (size_t c = 0; c < p->cells_n; c++)
		if (among(key, p->cells[c].keys))
			return true;
	return among(key, "ok|warnings|warning");
}

/* What no cell has shown, objects within objects as "a.b". */
static void
pair_others(struct pairs *p, const json_t *object, const char *prefix,
    unsigned depth)
{
	json_t *v, *o = (json_t *)(uintptr_t)object; /* only read */
	const char *key;
	char path[128];

	json_object_foreach(o, key, v) {
		ly_print(path, sizeof(path), "%s%s%s", prefix,
		    prefix[0] ? "." : "", key);
		if (known(p, path))
			continue;
		if (json_is_object(v) && depth > 0)
			pair_others(p, v, path, depth - 1);
		else
			pair(p, path,
			    ly_answer_text(v, &(struct ly_cell){ 0 }));
	}
}

void
ly_answer_pairs(FILE *to, const json_t *object, const struct ly_cell *cells,
    size_t cells_n)
{
	struct pairs p = { .cells = cells, .cells_n = cells_n };

	ly_table_column(&p.table, NULL, false);
	ly_table_column(&p.table, NULL, false);
	for (size_t c = 0; c < cells_n; c++)
		if (cells[c].kind != LY_CELL_HIDDEN &&
		    ly_answer_get(object, cells[c].keys))
			pair(&p, cells[c].title,
			    ly_answer_text(object, &cells[c]));
	pair_others(&p, object, "", 2);
	ly_table_print(&p.table, to);
	ly_table_fini(&p.table);
}

void
ly_answer_json(FILE *to, const json_t *object)
{
	/* The escapes keep a terminal safe here as well. */
	json_dumpf(object, to, JSON_COMPACT | JSON_ENSURE_ASCII);
	putc('\n', to);
	fflush(to);
}

void
ly_answer_warn(const json_t *answer)
{
	const json_t *v = ly_answer_get(answer, "warnings|warning");
	size_t i;
	json_t *one;

	if (json_is_string(v)) {
		LY_AUTO(free) char *text = copy_of(json_string_value(v));

		fprintf(stderr, "lanyard: warning: %s\n", text);
	}
	json_array_foreach(v, i, one) {
		LY_AUTO(free)
		char *text = ly_answer_text(one, &(struct ly_cell){ 0 });

		fprintf(stderr, "lanyard: warning: %s\n", text);
	}
}
