/* SPDX-License-Identifier: Apache-2.0 */
/* cli/option: words on a command line become a struct, or a reason. */
#include "tests/test.h"

#include "cli/option.h"

struct args {
	const char *vm, *to, *file, *word, *text, *address, *path;
	bool wait, json;
	uint64_t ms, rate;
	struct ly_opt_list disks;
};

static const struct ly_opt rows[] = {
	LY_OPERAND(struct args, vm, "VM", LY_OPT_VM, "which"),
	LY_VALUE(struct args, to, "--to", "HOST", LY_OPT_HOST, true, "where"),
	LY_FLAG(struct args, wait, "--wait", "stay"),
	LY_NUMBER(struct args, ms, "--downtime", "MS", 1, 1000, "pause"),
	LY_VALUE(struct args, rate, "--bandwidth", "RATE", LY_OPT_RATE, false,
	    "speed"),
	LY_VALUE(struct args, path, "--kernel", "PATH", LY_OPT_PATH, false,
	    "boot"),
	LY_VALUE(struct args, text, "--append", "TEXT", LY_OPT_TEXT, false,
	    "line"),
	LY_VALUE(struct args, address, "--address", "HOST:PORT", LY_OPT_ADDRESS,
	    false, "dial"),
	LY_LIST(struct args, disks, "--disk", "PATH", LY_OPT_PATH, "disks"),
};

static const struct ly_opt common[] = {
	LY_FLAG(struct args, json, "--json", "JSON"),
};

static struct ly_why why;

#define PARSE(out, ...) parse((out), (char *const[]){ __VA_ARGS__, NULL })

static enum ly_rc
parse(struct args *out, char *const *words)
{
	struct ly_opt_set sets[] = { { common, LY_COUNT(common), out },
		{ rows, LY_COUNT(rows), out } };
	struct ly_opt_seen seen = { 0 };
	enum ly_rc rc;

	*out = (struct args){ 0 };
	why.text[0] = '\0';
	rc = ly_opts_parse(sets, LY_COUNT(sets), words, &seen, &why);
	if (rc == LY_OK)
		rc = ly_opts_complete(sets, LY_COUNT(sets), &seen, &why);
	return rc;
}

TEST(options_and_operands_come_in_any_order)
{
	struct args a;

	WANT_INT(PARSE(&a, "--to", "south/s2", "web1", "--wait", "--json"),
	    LY_OK);
	WANT_STR(a.vm, "web1");
	WANT_STR(a.to, "south/s2");
	WANT(a.wait && a.json);
	WANT_INT(PARSE(&a, "web1", "--to=s2", "--downtime=20"), LY_OK);
	WANT_STR(a.to, "s2");
	WANT_INT(a.ms, 20);
	WANT(!a.wait && !a.json);
}

TEST(a_missing_option_is_named_with_its_value)
{
	struct args a;

	WANT_INT(PARSE(&a, "web1"), LY_REFUSED);
	WANT_STR(why.text, "--to HOST is missing");
	WANT_INT(PARSE(&a, "--to", "s2"), LY_REFUSED);
	WANT_STR(why.text, "VM is missing");
	WANT_INT(PARSE(&a, "web1", "--to"), LY_REFUSED);
	WANT_STR(why.text, "--to: HOST is missing");
}

TEST(an_unknown_option_yields_the_nearest)
{
	struct args a;

	WANT_INT(PARSE(&a, "web1", "--tp", "s2"), LY_REFUSED);
	WANT(strstr(why.text, "did you mean --to?"));
	WANT_INT(PARSE(&a, "web1", "--band=4M"), LY_REFUSED);
	WANT(strstr(why.text, "did you mean --bandwidth?"));
	WANT_INT(PARSE(&a, "web1", "--xyzzy"), LY_REFUSED);
	WANT(!strstr(why.text, "did you mean"));
}

TEST(an_option_given_twice_is_refused_unless_it_is_a_list)
{
	struct args a;

	WANT_INT(PARSE(&a, "w", "--to", "s1", "--to", "s2"), LY_REFUSED);
	WANT_STR(why.text, "--to: given twice");
	WANT_INT(PARSE(&a, "w", "--to", "s", "--disk", "/a", "--disk", "/b"),
	    LY_OK);
	WANT_INT(a.disks.n, 2);
	WANT_STR(a.disks.at[1], "/b");
	WANT_INT(PARSE(&a, "w", "--to", "s", "--disk=/1", "--disk=/2",
		     "--disk=/3", "--disk=/4", "--disk=/5", "--disk=/6",
		     "--disk=/7", "--disk=/8", "--disk=/9"),
	    LY_REFUSED);
	WANT_STR(why.text, "--disk: more than 8");
}

TEST(a_flag_takes_no_value_and_an_extra_word_is_refused)
{
	struct args a;

	WANT_INT(PARSE(&a, "w", "--to", "s", "--wait=yes"), LY_REFUSED);
	WANT_STR(why.text, "--wait: takes no value");
	WANT_INT(PARSE(&a, "w", "--to", "s", "x"), LY_REFUSED);
	WANT_STR(why.text, "\"x\": nothing is expected here");
}

TEST(two_dashes_end_the_options)
{
	struct args a;

	WANT_INT(PARSE(&a, "--to", "s", "--", "--wait"), LY_REFUSED);
	WANT(!a.wait);
	WANT_INT(PARSE(&a, "--to", "s", "--", "w"), LY_OK);
	WANT_STR(a.vm, "w");
}

TEST(a_value_of_the_wrong_kind_is_refused_before_anything_is_sent)
{
	static const char *const bad[][2] = {
		{ "--to", "a/b/c" },
		{ "--to", "/s2" },
		{ "--to", "S2" },
		{ "--downtime", "0" },
		{ "--downtime", "1001" },
		{ "--downtime", "1s" },
		{ "--downtime", "-1" },
		{ "--bandwidth", "fast" },
		{ "--kernel", "vmlinuz" },
		{ "--kernel", "/a\nb" },
		{ "--append", "a\033[2J" },
		{ "--append", "\xff" },
		{ "--append", "\xc0\xaf" },
		{ "--append", "\xed\xa0\x80" },
		{ "--address", "host" },
		{ "--address", ":7010" },
		{ "--address", "host:0" },
		{ "--address", "host:65536" },
		{ "--address", "::1:7010" },
	};
	struct args a;

	for (size_t i = 0; i < LY_COUNT(bad); i++) {
		char *words[] = { (char *)(uintptr_t)bad[i][0],
			(char *)(uintptr_t)bad[i][1], NULL };

		if (parse(&a, words) != LY_REFUSED)
			test_fail(__FILE__, __LINE__, "%s %s was taken",
			    bad[i][0], bad[i][1]);
		WANT(strncmp(why.text, bad[i][0], strlen(bad[i][0])) == 0);
		WANT(ly_text_clean(why.text, strlen(why.text)));
	}
}

TEST(texts_in_other_scripts_are_taken)
{
	struct args a;

	WANT_INT(PARSE(&a, "w", "--to", "s", "--append",
		     "r\xc3\xa9sum\xc3\xa9"
		     " \xe2\x82\xac \xf0\x9f\x94\x92"),
	    LY_OK);
}

TEST(addresses_may_be_names_or_numbers_of_either_kind)
{
	WANT(ly_address_good("s2.example:7010"));
	WANT(ly_address_good("10.0.0.2:1"));
	WANT(ly_address_good("[fd00::2]:7010"));
	WANT(!ly_address_good("[]:7010"));
	WANT(!ly_address_good("[fd00::2:7010"));
	WANT(!ly_address_good("a b:1"));
}

TEST(rates_have_units_of_1024)
{
	uint64_t v = 0;

	WANT_INT(ly_rate_parse("1000", &v), LY_OK);
	WANT_INT(v, 1000);
	WANT_INT(ly_rate_parse("8K", &v), LY_OK);
	WANT_INT(v, 8192);
	WANT_INT(ly_rate_parse("100M", &v), LY_OK);
	WANT_INT(v, 104857600);
	WANT_INT(ly_rate_parse("2G", &v), LY_OK);
	WANT_INT(v, 2147483648);
	WANT_INT(ly_rate_parse("", &v), LY_MALFORMED);
	WANT_INT(ly_rate_parse("M", &v), LY_MALFORMED);
	WANT_INT(ly_rate_parse("0K", &v), LY_MALFORMED);
	WANT_INT(ly_rate_parse("1T", &v), LY_MALFORMED);
	WANT_INT(ly_rate_parse("99999999999G", &v), LY_MALFORMED);
	WANT_INT(v, 2147483648);
}

TEST(distance_counts_letters)
{
	WANT_INT(ly_distance("", ""), 0);
	WANT_INT(ly_distance("vm lst", "vm list"), 1);
	WANT_INT(ly_distance("kitten", "sitting"), 3);
	WANT_INT(ly_distance("", "abc"), 3);
}

TEST_MAIN()
