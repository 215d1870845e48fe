/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes, times and columns for people. One decimal where it says something:
 * below a hundred, and not when it is zero.
 */
#include "cli/text.h"

#include <stdlib.h>

/* "9.6", "64", "182": `v` rounded as it will be read. */
static void
number(double v, char out[LY_UNIT_TEXT])
{
	size_t n;

	ly_print(out, LY_UNIT_TEXT, v < 99.95 ? "%.1f" : "%.0f", v);
	n = strlen(out);
	if (n > 2 && strcmp(out + n - 2, ".0") == 0)
		out[n - 2] = '\0';
}

static const char *
scaled(double v, const char *behind, char out[LY_UNIT_TEXT])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB",
		"PiB" };
	char digits[LY_UNIT_TEXT];
	size_t u = 0;

	if (!(v > 0)) /* not a number, too */
		v = 0;
	if (v > 1e18)
		v = 1e18;
	while (v >= 1023.5 && u + 1 < LY_COUNT(units)) {
		v /= 1024;
		u++;
	}
	number(v, digits);
	ly_print(out, LY_UNIT_TEXT, "%s %s%s", digits, units[u], behind);
	return out;
}

const char *
ly_size_text(double bytes, char out[LY_UNIT_TEXT])
{
	return scaled(bytes, "", out);
}

const char *
ly_rate_text(double bytes_s, char out[LY_UNIT_TEXT])
{
	return scaled(bytes_s, "/s", out);
}

const char *
ly_ms_text(double ms, char out[LY_UNIT_TEXT])
{
	static const struct {
		unsigned long long of, per; /* seconds */
		const char *big, *small;
	} rows[] = {
		{ 60 * 60, 60, "min", "s" },
		{ 48 * 3600, 3600, "h", "min" },
		{ ~0ULL, 86400, "d", "h" },
	};
	char digits[LY_UNIT_TEXT];
	unsigned long long s, per;
	size_t i = 0;

	if (!(ms > 0))
		ms = 0;
	if (ms > 1e15)
		ms = 1e15;
	if (ms < 59950) {
		number(ms < 999.5 ? ms : ms / 1000, digits);
		ly_print(out, LY_UNIT_TEXT, "%s %s", digits,
		    ms < 999.5 ? "ms" : "s");
		return out;
	}
	s = (unsigned long long)(ms / 1000 + 0.5);
	while (s >= rows[i].of)
		i++;
	per = rows[i].per;
	ly_print(out, LY_UNIT_TEXT, "%llu %s %llu %s", s / per, rows[i].big,
	    s % per /
		(per == 60	    ? 1 :
			per == 3600 ? 60 :
				      3600),
	    rows[i].small);
	return out;
}

/* A C1 control is two bytes in UTF-8, C2 80 to C2 9F. */
void
ly_clean(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
		if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			p[0] = p[1] = '?';
	}
}

size_t
ly_width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* ---- tables ---- */

void
ly_table_column(struct ly_table *t, const char *title, bool right)
{
	assert(t->columns < LY_COLUMNS_MAX);
	t->title[t->columns] = title;
	t->right[t->columns++] = right;
}

void
ly_table_cell(struct ly_table *t, const char *text)
{
	char *copy = strdup(text);

	if (t->cells_n == t->cells_most) {
		t->cells_most = t->cells_most ? 2 * t->cells_most : 64;
		t->cells = reallocarray(t->cells, t->cells_most,
		    sizeof(t->cells[0]));
	}
	if (!copy || !t->cells)
		abort(); /* a command line may: nothing is half done */
	ly_clean(copy);
	t->cells[t->cells_n++] = copy;
}

static void
pad(FILE *to, size_t n)
{
	while (n-- > 0)
		putc(' ', to);
}

static void
print_cell(const struct ly_table *t, unsigned c, const char *text, size_t width,
    FILE *to)
{
	size_t gap = width - ly_width(text);

	if (t->right[c])
		pad(to, gap);
	fputs(text, to);
	if (c + 1 == t->columns) {
		putc('\n', to);
		return;
	}
	pad(to, (t->right[c] ? 0 : gap) + 2);
}

void
ly_table_print(const struct ly_table *t, FILE *to)
{
	size_t width[LY_COLUMNS_MAX] = { 0 };
	bool titles = t->columns > 0 && t->title[0];

	for (unsigned c = 0; titles && c < t->columns; c++)
		width[c] = ly_width(t->title[c]);
	for (size_t i = 0; i < t->cells_n; i++)
		width[i % t->columns] = ly_max(width[i % t->columns],
		    ly_width(t->cells[i]));
	for (unsigned c = 0; titles && c < t->columns; c++)
		print_cell(t, c, t->title[c], width[c], to);
	for (size_t i = 0; i < t->cells_n; i++)
		print_cell(t, (unsigned)(i % t->columns), t->cells[i],
		    width[i % t->columns], to);
}

void
ly_table_fini(struct ly_table *t)
{
	for (size_t i = 0; i < t->cells_n; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct ly_table){ 0 };
}

void
ly_wrap(FILE *to, const char *text, unsigned at, unsigned indent,
    unsigned width)
{
	while (*text) {
		size_t word = strcspn(text, " ");

		if (at > indent && at + 1 + word > width) {
			putc('\n', to);
			pad(to, indent);
			at = indent;
		} else if (at > indent) {
			putc(' ', to);
			at++;
		}
		fwrite(text, 1, word, to);
		at += (unsigned)word;
		text += word;
		text += strspn(text, " ");
	}
	putc('\n', to);
}
