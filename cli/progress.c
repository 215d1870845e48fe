/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The progress line. Its parts are rows with a rank; the line is what fits of
 * them, in the order of the rows, the lowest ranks first. What is left over
 * becomes the bar, if it is enough for one.
 */
#include "cli/progress.h"

#define BAR_LEAST 12 /* with its brackets and the space before it */
#define BAR_MOST 42

enum part { PHASE, PERCENT, BYTES, RATE, REST, DIRTY, PARTS };

struct parts {
	char text[PARTS][96];
	bool in[PARTS];
};

static void
fill(const struct ly_cli_progress *p, struct parts *out)
{
	char a[LY_UNIT_TEXT], b[LY_UNIT_TEXT];

	ly_copy(out->text[PHASE], sizeof(out->text[0]), p->phase);
	if (p->percent >= 0)
		ly_print(out->text[PERCENT], sizeof(out->text[0]), "%3.0f %%",
		    p->percent > 100 ? 100 : p->percent);
	if (p->total > 0)
		ly_print(out->text[BYTES], sizeof(out->text[0]), "%s of %s",
		    ly_size_text(p->bytes, a), ly_size_text(p->total, b));
	else if (p->bytes > 0)
		ly_copy(out->text[BYTES], sizeof(out->text[0]),
		    ly_size_text(p->bytes, a));
	if (p->rate > 0)
		ly_copy(out->text[RATE], sizeof(out->text[0]),
		    ly_rate_text(p->rate, a));
	if (p->eta_ms >= 0)
		ly_print(out->text[REST], sizeof(out->text[0]), "rest %s",
		    ly_ms_text(p->eta_ms, a));
	if (p->dirty_rate > 0)
		ly_print(out->text[DIRTY], sizeof(out->text[0]), "dirty %s",
		    ly_rate_text(p->dirty_rate, a));
}

/* Takes the parts in by rank while they fit; says what they need. */
static size_t
choose(struct parts *parts, size_t width)
{
	static const enum part rank[PARTS] = { PHASE, PERCENT, RATE, REST,
		DIRTY, BYTES };
	size_t used = 0;

	for (size_t i = 0; i < PARTS; i++) {
		const char *text = parts->text[rank[i]];
		size_t need = ly_width(text) + (used ? 2 : 0);

		if (!text[0] || used + need > width)
			continue;
		parts->in[rank[i]] = true;
		used += need;
	}
	return used;
}

static void
add(char out[LY_CLI_LINE], const char *between, const char *text)
{
	size_t n = strlen(out);

	ly_print(out + n, LY_CLI_LINE - n, "%s%s", n ? between : "", text);
}

static void
add_bar(char out[LY_CLI_LINE], double percent, size_t room)
{
	char bar[BAR_MOST + 1];
	size_t cells = ly_min(room, BAR_MOST) - 4; /* two blanks, brackets */
	double part = percent > 100 ? 1 : percent / 100;
	size_t full = (size_t)(part * (double)cells);

	memset(bar, ' ', cells + 2);
	memset(bar + 1, '=', full);
	if (full < cells)
		bar[1 + full] = '>';
	bar[0] = '[';
	bar[cells + 1] = ']';
	bar[cells + 2] = '\0';
	add(out, "  ", bar);
}

void
ly_cli_progress_bar(const struct ly_cli_progress *p, unsigned width,
    char out[LY_CLI_LINE])
{
	struct parts parts = { 0 };
	size_t room = ly_min(width, LY_CLI_LINE / 4), used;

	fill(p, &parts);
	used = choose(&parts, room);
	out[0] = '\0';
	for (size_t i = 0; i < PARTS; i++) {
		if (parts.in[i])
			add(out, "  ", parts.text[i]);
		if (i == PERCENT && parts.in[i] && room - used >= BAR_LEAST)
			add_bar(out, p->percent, room - used);
	}
}

void
ly_cli_progress_line(const struct ly_cli_progress *p, char out[LY_CLI_LINE])
{
	struct parts parts = { 0 };
	char a[LY_UNIT_TEXT];
	const char *between = ": "; /* behind the phase */

	fill(p, &parts);
	ly_copy(out, LY_CLI_LINE, parts.text[PHASE]);
	for (size_t i = PERCENT; i < PARTS; i++) {
		const char *text = parts.text[i];

		text += strspn(text, " ");
		if (!text[0])
			continue;
		add(out, between, text);
		between = ", ";
	}
	if (p->elapsed_ms > 0) {
		char since[LY_UNIT_TEXT + 8];

		ly_print(since, sizeof(since), "%s so far",
		    ly_ms_text(p->elapsed_ms, a));
		add(out, between, since);
	}
}

bool
ly_cli_progress_due(struct ly_cli_pace *pace, const struct ly_cli_progress *p,
    uint64_t now_ms)
{
	if (pace->begun && strcmp(pace->phase, p->phase) == 0 &&
	    now_ms - pace->last_ms < LY_CLI_EVERY_MS)
		return false;
	pace->begun = true;
	pace->last_ms = now_ms;
	ly_copy(pace->phase, sizeof(pace->phase), p->phase);
	return true;
}
