/* SPDX-License-Identifier: Apache-2.0 */
/* manager/api/parse.c: a line against the table of verbs. */
#include "manager/api/api.h"
#include "tests/test.h"

static enum ly_rc
parse(const char *line, struct ly_api_request *r, struct ly_why *why)
{
	return ly_api_parse(line, strlen(line), r, why);
}

static void
refused(const char *line, const char *why_part)
{
	struct ly_api_request r = { .args = NULL };
	struct ly_why why = { "" };

	WANT_INT(parse(line, &r, &why), LY_MALFORMED);
	WANT(!r.args);
	if (!strstr(why.text, why_part))
		test_fail(__FILE__, __LINE__, "%s: %s", line, why.text);
}

TEST(no_verb_is_without_a_name_and_a_sentence_and_none_is_there_twice)
{
	for (unsigned i = 0; i < LY_VERBS; i++) {
		WANT(ly_verbs[i].name && ly_verbs[i].what);
		for (unsigned k = 0; k < i; k++)
			WANT(strcmp(ly_verbs[i].name, ly_verbs[k].name) != 0);
	}
}

/* The smallest request of each verb, from its own table. */
static json_t *
smallest(unsigned verb)
{
	json_t *o = json_pack("{s:s}", "do", ly_verbs[verb].name);

	for (unsigned i = 0; i < LY_KEYS_MAX; i++) {
		const struct ly_key *k = &ly_verbs[verb].keys[i];

		if (k->name && k->must)
			json_object_set_new(o, k->name,
			    k->kind == LY_KEY_OBJECT   ? json_object() :
				k->kind == LY_KEY_UINT ? json_integer(1) :
							 json_string("x"));
	}
	return o;
}

TEST(every_verb_takes_its_smallest_request_and_refuses_one_key_less)
{
	for (unsigned v = 0; v < LY_VERBS; v++) {
		json_t *o = smallest(v);
		char *line = json_dumps(o, JSON_COMPACT);
		struct ly_api_request r;
		struct ly_why why = { "" };

		WANT_INT(parse(line, &r, &why), LY_OK);
		WANT_INT(r.verb, v);
		json_decref(r.args);
		free(line);
		for (unsigned i = 0; i < LY_KEYS_MAX; i++) {
			const struct ly_key *k = &ly_verbs[v].keys[i];
			json_t *less;

			if (!k->name || !k->must)
				continue;
			less = json_deep_copy(o);
			json_object_del(less, k->name);
			line = json_dumps(less, JSON_COMPACT);
			refused(line, "needs");
			free(line);
			json_decref(less);
		}
		json_decref(o);
	}
}

TEST(what_is_no_request_is_refused_with_what_was_expected)
{
	refused("", "not JSON");
	refused("{", "not JSON");
	refused("[]", "not a JSON object");
	refused("{}", "\"do\" is one of: host.add");
	refused("{\"do\":3}", "\"do\" is one of");
	refused("{\"do\":\"vm.show\",\"do\":\"status\"}", "not JSON");
	refused("{\"do\":\"vm.show\",\"vm\":7}", "\"vm\" is a text");
	refused("{\"do\":\"vm.show\",\"vm\":\"a\\u0000b\"}", "not JSON");
	refused("{\"do\":\"vm.stop\",\"vm\":\"a\",\"force\":1}",
	    "true or false");
	refused("{\"do\":\"migrate\",\"vm\":\"a\",\"to\":\"b\","
		"\"downtime_ms\":600001}",
	    "at most 600000");
	refused("{\"do\":\"migrate\",\"vm\":\"a\",\"to\":\"b\","
		"\"bandwidth\":-1}",
	    "a number, 0 or more");
	refused("{\"do\":\"vm.add\",\"name\":\"a\",\"home\":\"b\","
		"\"definition\":[]}",
	    "an object");
	refused("{\"do\":\"status\",\"wathc\":true}", "no key \"wathc\"");
}

TEST(texts_and_lines_have_limits)
{
	char line[LY_API_LINE_MAX + 64];
	struct ly_api_request r = { .args = NULL };
	struct ly_why why = { "" };

	ly_print(line, sizeof(line), "{\"do\":\"vm.show\",\"vm\":\"%064d\"}",
	    0);
	refused(line, "at most 63");
	memset(line, ' ', sizeof(line));
	WANT_INT(ly_api_parse(line, LY_API_LINE_MAX + 1, &r, &why),
	    LY_MALFORMED);
	WANT(strstr(why.text, "at most 139264"));
	memset(line, '[', 60000);
	WANT_INT(ly_api_parse(line, 60000, &r, &why), LY_MALFORMED);
}

TEST(a_key_that_is_not_there_reads_as_nothing)
{
	struct ly_api_request r;
	struct ly_why why = { "" };

	WANT_INT(parse("{\"do\":\"vm.start\",\"vm\":\"web1\"}", &r, &why),
	    LY_OK);
	WANT_STR(ly_api_text(&r, "vm"), "web1");
	WANT(!ly_api_text(&r, "host"));
	WANT(!ly_api_bool(&r, "force"));
	WANT_INT(ly_api_uint(&r, "bandwidth"), 0);
	json_decref(r.args);
}

TEST(every_code_has_its_word)
{
	WANT_STR(ly_api_word(LY_MALFORMED), "usage");
	WANT_STR(ly_api_word(LY_SHORT), "open");
	WANT_STR(ly_api_word(LY_REFUSED), "refused");
	WANT_STR(ly_api_word(LY_UNKNOWN), "unknown");
	WANT_STR(ly_api_word(LY_OUTSIDE), "outside");
	WANT_STR(ly_api_word(LY_BUSY), "busy");
}

TEST_MAIN()
