/* SPDX-License-Identifier: Apache-2.0 */
/* cli/text and cli/progress: what people read fits and says what is so. */
#include "tests/test.h"

#include "cli/progress.h"

static char unit[LY_UNIT_TEXT];

TEST(sizes_take_the_unit_that_reads_best)
{
	WANT_STR(ly_size_text(0, unit), "0 B");
	WANT_STR(ly_size_text(512, unit), "512 B");
	WANT_STR(ly_size_text(1023, unit), "1023 B");
	WANT_STR(ly_size_text(1024, unit), "1 KiB");
	WANT_STR(ly_size_text(10547, unit), "10.3 KiB");
	WANT_STR(ly_size_text(182.0 * 1048576, unit), "182 MiB");
	WANT_STR(ly_size_text(1048575, unit), "1 MiB");
	WANT_STR(ly_size_text(1.5 * 1073741824, unit), "1.5 GiB");
	WANT_STR(ly_size_text(-1, unit), "0 B");
	WANT_STR(ly_rate_text(312.0 * 1048576, unit), "312 MiB/s");
}

TEST(times_take_the_unit_that_reads_best)
{
	WANT_STR(ly_ms_text(0.4, unit), "0.4 ms");
	WANT_STR(ly_ms_text(21, unit), "21 ms");
	WANT_STR(ly_ms_text(999.6, unit), "1 s");
	WANT_STR(ly_ms_text(1234, unit), "1.2 s");
	WANT_STR(ly_ms_text(59960, unit), "1 min 0 s");
	WANT_STR(ly_ms_text(125000, unit), "2 min 5 s");
	WANT_STR(ly_ms_text(3600000, unit), "1 h 0 min");
	WANT_STR(ly_ms_text(11520000, unit), "3 h 12 min");
	WANT_STR(ly_ms_text(98.0 * 3600000, unit), "4 d 2 h");
	WANT_STR(ly_ms_text(-5, unit), "0 ms");
	WANT(strlen(ly_ms_text(1e300, unit)) > 0);
}

TEST(what_a_terminal_would_obey_is_not_passed_on)
{
	char text[] = "a\033[2Jb\x7f\n\xc2\x9b"
		      "c\xc3\xa9";

	ly_clean(text);
	WANT_STR(text, "a?[2Jb????c\xc3\xa9");
}

/* ---- tables ---- */

static char *
printed(const struct ly_table *t)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	WANT(to != NULL);
	ly_table_print(t, to);
	fclose(to);
	return text;
}

TEST(columns_are_aligned_and_numbers_to_the_right)
{
	struct ly_table t = { 0 };
	char *text;

	ly_table_column(&t, "VM", false);
	ly_table_column(&t, "EPOCH", true);
	ly_table_column(&t, "STATE", false);
	ly_table_cell(&t, "caf\xc3\xa9-1");
	ly_table_cell(&t, "4");
	ly_table_cell(&t, "running");
	ly_table_cell(&t, "db");
	ly_table_cell(&t, "12345678");
	ly_table_cell(&t, "off");
	text = printed(&t);
	WANT_STR(text,
	    "VM         EPOCH  STATE\n"
	    "caf\xc3\xa9-1         4  running\n"
	    "db      12345678  off\n");
	free(text);
	ly_table_fini(&t);
}

TEST(a_thousand_rows_are_all_there)
{
	struct ly_table t = { 0 };
	size_t lines = 0;
	char *text;

	ly_table_column(&t, "N", true);
	for (int i = 0; i < 1000; i++)
		ly_table_cell(&t, "1");
	text = printed(&t);
	for (char *p = text; *p; p++)
		lines += *p == '\n';
	WANT_INT(lines, 1001);
	free(text);
	ly_table_fini(&t);
}

TEST(long_descriptions_are_broken_between_words)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	WANT(to != NULL);
	ly_wrap(to, "aaa bbb ccc", 4, 4, 11);
	fclose(to);
	WANT_STR(text, "aaa bbb\n    ccc\n");
	free(text);
}

/* ---- progress ---- */

static const struct ly_cli_progress half = {
	.phase = "copy",
	.bytes = 512.0 * 1048576,
	.total = 1073741824,
	.rate = 312.0 * 1048576,
	.dirty_rate = 12.0 * 1048576,
	.percent = 50,
	.eta_ms = 1640,
	.elapsed_ms = 1700,
};

TEST(the_bar_shows_everything_where_there_is_room)
{
	char line[LY_CLI_LINE];

	ly_cli_progress_bar(&half, 110, line);
	WANT_STR(line,
	    "copy   50 %  [===================>                  ]"
	    "  512 MiB of 1 GiB  312 MiB/s  rest 1.6 s  dirty 12 "
	    "MiB/s");
}

TEST(the_bar_never_is_wider_than_the_terminal)
{
	struct ly_cli_progress p = half;
	char line[LY_CLI_LINE];

	for (unsigned width = 1; width < 300; width++)
		for (p.percent = -1; p.percent <= 101; p.percent += 17) {
			ly_cli_progress_bar(&p, width, line);
			WANT(ly_width(line) <= width);
		}
}

TEST(a_narrow_terminal_keeps_what_matters_most)
{
	char line[LY_CLI_LINE];

	ly_cli_progress_bar(&half, 12, line);
	WANT_STR(line, "copy   50 %");
	ly_cli_progress_bar(&half, 24, line);
	WANT_STR(line, "copy   50 %  312 MiB/s");
	ly_cli_progress_bar(&half, 36, line);
	WANT_STR(line, "copy   50 %  312 MiB/s  rest 1.6 s");
}

TEST(what_is_not_known_is_not_said)
{
	struct ly_cli_progress p = { .phase = "preparing",
		.percent = -1,
		.eta_ms = -1 };
	char line[LY_CLI_LINE];

	ly_cli_progress_bar(&p, 80, line);
	WANT_STR(line, "preparing");
	ly_cli_progress_line(&p, line);
	WANT_STR(line, "preparing");
	p.elapsed_ms = 300;
	ly_cli_progress_line(&p, line);
	WANT_STR(line, "preparing: 300 ms so far");
}

TEST(a_log_line_says_all_that_is_known)
{
	char line[LY_CLI_LINE];

	ly_cli_progress_line(&half, line);
	WANT_STR(line,
	    "copy: 50 %, 512 MiB of 1 GiB, 312 MiB/s, rest 1.6 s, "
	    "dirty 12 MiB/s, 1.7 s so far");
}

TEST(a_log_gets_a_line_a_second_and_one_for_each_phase)
{
	struct ly_cli_progress p = half;
	struct ly_cli_pace pace = { 0 };

	WANT(ly_cli_progress_due(&pace, &p, 5000));
	WANT(!ly_cli_progress_due(&pace, &p, 5000));
	WANT(!ly_cli_progress_due(&pace, &p, 5999));
	WANT(ly_cli_progress_due(&pace, &p, 6000));
	WANT(!ly_cli_progress_due(&pace, &p, 6999));
	ly_copy(p.phase, sizeof(p.phase), "switch");
	WANT(ly_cli_progress_due(&pace, &p, 6999));
	WANT(!ly_cli_progress_due(&pace, &p, 7000));
}

TEST_MAIN()
