/* SPDX-License-Identifier: Apache-2.0 */
/* manager/record: what was written stays as it was, and a Name is for ever. */
#include "tests/test.h"

#include "manager/record/chain.h"

#define LINES 12

static char lines[LINES][LY_LINE_MAX];
static size_t lens[LINES];
static struct ly_chain head;

static size_t
line_of(const struct ly_chain *after, const char *text, char *out)
{
	struct ly_line_in in = { .n = after->n + 1,
		.when = 1700000000123u + after->n,
		.kind = LY_RECORD_TICKET_ISSUED,
		.subject = "spiffe://north/host/n1",
		.name = "00ff",
		.vm = { { 1, 2 } },
		.mig = { { (uint8_t)after->n } },
		.text = text,
		.details = "{\"epoch\":7,\"rights\":[\"attach\",\"}\\\"\"]}" };
	struct ly_why why;
	size_t len;

	memcpy(in.prev, after->hash, sizeof(in.prev));
	if (ly_line_put(&in, out, LY_LINE_MAX, &len, &why) != LY_OK)
		test_fail(__FILE__, __LINE__, "%s", why.text);
	return len;
}

static void
write_all(void)
{
	head = (struct ly_chain){ .n = 0 };
	for (int i = 0; i < LINES; i++) {
		lens[i] = line_of(&head, "it \"was\"\n so: \xc3\xbc", lines[i]);
		WANT(ly_chain_add(&head, lines[i], lens[i], NULL, NULL) ==
		    LY_OK);
	}
}

/* All in this order end in the head. */
static bool
whole(const int *order, size_t n)
{
	struct ly_chain c = { .n = 0 };

	for (size_t i = 0; i < n; i++)
		if (ly_chain_add(&c, lines[order[i]], lens[order[i]], NULL,
			NULL) != LY_OK)
			return false;
	return ly_chain_same(&c, &head);
}

TEST(a_chain_as_it_was_written_ends_in_its_head)
{
	const int order[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };

	write_all();
	WANT(head.n == LINES);
	WANT(whole(order, LINES));
}

TEST(a_line_reads_back_as_it_was_written)
{
	struct ly_line l;

	write_all();
	WANT(ly_line_get(lines[3], lens[3], &l, NULL) == LY_OK);
	WANT(l.n == 4 && l.when == 1700000000126u);
	WANT(l.kind == LY_RECORD_TICKET_ISSUED);
	WANT(l.subject.len == 22 &&
	    memcmp(l.subject.at, "spiffe://north/host/n1", 22) == 0);
	WANT(l.name.len == 4 && memcmp(l.name.at, "00ff", 4) == 0);
	WANT(l.vm.len == 36 && memcmp(l.vm.at, "01020000", 8) == 0);
	WANT(l.details.at[l.details.len - 1] == '}');
	WANT(memmem(l.text.at, l.text.len, "\\u0022was\\u0022\\u000a", 18));
	WANT(memmem(l.text.at, l.text.len, "\\u00c3\\u00bc", 12));
}

TEST(an_event_without_vm_and_migration_has_empty_texts)
{
	struct ly_line_in in = { .n = 1,
		.kind = LY_RECORD_BEGUN,
		.subject = "",
		.name = "",
		.text = "",
		.details = "{}" };
	const char want[] =
	    "{\"n\":1,\"when\":0,\"kind\":\"record begun\",\"subject\":\"\","
	    "\"name\":\"\",\"vm\":\"\",\"mig\":\"\",\"text\":\"\","
	    "\"details\":{},\"prev\":\"00000000000000000000000000000000"
	    "00000000000000000000000000000000\"}";
	char out[512];
	size_t len;

	WANT(ly_line_put(&in, out, sizeof(out), &len, NULL) == LY_OK);
	WANT(len == strlen(want) && memcmp(out, want, len) == 0);
}

TEST(each_byte_of_each_line_flipped_is_found)
{
	const int order[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };
	unsigned long tried = 0;

	write_all();
	for (int i = 0; i < LINES; i++)
		for (size_t at = 0; at < lens[i]; at++)
			for (int bit = 0; bit < 8; bit++, tried++) {
				lines[i][at] ^= (char)(1 << bit);
				if (whole(order, LINES))
					test_fail(__FILE__, __LINE__,
					    "line %d byte %zu bit %d", i, at,
					    bit);
				lines[i][at] ^= (char)(1 << bit);
			}
	WANT(tried > 8ul * LINES * 300);
	WANT(whole(order, LINES));
}

TEST(a_line_that_is_missing_is_found)
{
	write_all();
	for (int gone = 0; gone < LINES; gone++) {
		int order[LINES], n = 0;

		for (int i = 0; i < LINES; i++)
			if (i != gone)
				order[n++] = i;
		WANT(!whole(order, (size_t)n));
	}
}

TEST(two_lines_that_changed_places_are_found)
{
	write_all();
	for (int a = 0; a < LINES; a++)
		for (int b = a + 1; b < LINES; b++) {
			int order[LINES];

			for (int i = 0; i < LINES; i++)
				order[i] = i == a ? b : i == b ? a : i;
			WANT(!whole(order, LINES));
		}
}

TEST(a_line_twice_is_found)
{
	const int order[] = { 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };

	write_all();
	WANT(!whole(order, LY_COUNT(order)));
}

TEST(a_line_appended_with_a_wrong_prev_is_refused)
{
	struct ly_chain c, was;
	char line[LY_LINE_MAX];
	struct ly_why why;
	size_t len;

	write_all();
	for (int byte = 0; byte < 32; byte++) {
		c = was = head;
		c.hash[byte] ^= 1;
		len = line_of(&c, "forged", line);
		c = head;
		WANT(ly_chain_add(&c, line, len, NULL, &why) == LY_MALFORMED);
		WANT(strstr(why.text, "does not follow"));
		WANT(ly_chain_same(&c, &was));
	}
}

TEST(a_line_with_another_number_is_refused)
{
	struct ly_chain c;
	char line[LY_LINE_MAX];
	struct ly_why why;
	size_t len;

	write_all();
	c = head;
	c.n++;
	len = line_of(&c, "too late", line);
	WANT(ly_chain_add(&head, line, len, NULL, &why) == LY_MALFORMED);
	WANT_STR(why.text, "event 14 stands where 13 should");
}

/* Each says what the canonical line says; none is it. */
TEST(a_line_has_one_spelling)
{
	static const char *const others[] = {
		"{ \"n\":1,",
		"{\"n\":01,",
		"{\"n\":1 ,",
		"{\"n\":+1,",
		"{\"N\":1,",
	};
	char line[LY_LINE_MAX], other[LY_LINE_MAX];
	struct ly_chain none = { .n = 0 };
	struct ly_line l;
	size_t len = line_of(&none, "\n", line);

	line[len] = '\0';
	for (size_t i = 0; i < LY_COUNT(others); i++) {
		ly_print(other, sizeof(other), "%s%s", others[i], line + 7);
		WANT(ly_line_get(other, strlen(other), &l, NULL) != LY_OK);
	}
	ly_print(other, sizeof(other), "%s ", line);
	WANT(ly_line_get(other, strlen(other), &l, NULL) != LY_OK);
	memcpy(other, line, len + 1);
	memcpy(strstr(other, "\\u000a"), "\\u000A", 6);
	WANT(ly_line_get(other, strlen(other), &l, NULL) != LY_OK);
	memcpy(strstr(other, "\\u000A"), "\\u0041", 6);
	WANT(ly_line_get(other, strlen(other), &l, NULL) != LY_OK);
	WANT(ly_line_get(line, len, &l, NULL) == LY_OK);
	for (size_t n = 0; n < len; n++)
		WANT(ly_line_get(line, n, &l, NULL) != LY_OK);
}

TEST(what_does_not_fit_is_not_written)
{
	static char big[LY_DETAILS_MAX + 2];
	struct ly_line_in in = { .n = 1,
		.subject = "a\"b",
		.name = "",
		.text = "",
		.details = "{}" };
	char out[LY_LINE_MAX];
	size_t len = 77;

	WANT(ly_line_put(&in, out, sizeof(out), &len, NULL) == LY_MALFORMED);
	in.subject = "a\nb";
	WANT(ly_line_put(&in, out, sizeof(out), &len, NULL) == LY_MALFORMED);
	in.subject = "";
	memset(big, 'a', sizeof(big) - 1);
	in.name = big;
	WANT(ly_line_put(&in, out, sizeof(out), &len, NULL) == LY_FULL);
	in.name = "";
	in.details = big;
	WANT(ly_line_put(&in, out, sizeof(out), &len, NULL) == LY_FULL);
	in.details = "{}";
	WANT(ly_line_put(&in, out, 100, &len, NULL) == LY_FULL);
	WANT(len == 77);
	WANT(ly_line_put(&in, out, sizeof(out), &len, NULL) == LY_OK);
}

TEST(each_kind_has_a_word_of_its_own)
{
	for (unsigned i = 0; i < LY_RECORD_KINDS; i++) {
		const char *word = ly_record_kinds[i].word;

		WANT(word && word[0]);
		WANT(ly_record_kind_of(word, strlen(word)) == i);
	}
	WANT(ly_record_kind_of("host", 4) == LY_RECORD_KINDS);
}

/* ---- the head ---- */

TEST(a_head_reads_back_and_each_byte_of_it_counts)
{
	struct ly_head_text h = { .site = "north",
		.signer = "spiffe://north/manager/m1",
		.when = 1700000000,
		.head = { .n = 12, .hash = { 0xab, 1 } } };
	struct ly_head_text got;
	char text[LY_HEAD_TEXT], tail[LY_HEAD_TEXT + 8];
	size_t used;

	ly_head_put(&h, text);
	ly_print(tail, sizeof(tail), "%smore", text);
	WANT(ly_head_get(tail, strlen(tail), &got, &used, NULL) == LY_OK);
	WANT(used == strlen(text));
	WANT(ly_chain_same(&got.head, &h.head) && got.when == h.when);
	WANT_STR(got.site, "north");
	WANT_STR(got.signer, h.signer);
	for (size_t n = 0; n < strlen(text); n++)
		WANT(ly_head_get(text, n, &got, &used, NULL) != LY_OK);
	for (size_t i = 0; i < strlen(text); i++) {
		char was = text[i];

		text[i] ^= 0x20;
		if (ly_head_get(text, strlen(text), &got, &used, NULL) == LY_OK)
			WANT(memcmp(&got, &h, sizeof(got)) != 0);
		text[i] = was;
	}
}

/* ---- the rule ---- */

static enum ly_rc
may(struct ly_name_seen *s, enum ly_record_kind kind, const char *subject)
{
	return ly_name_may(s, kind, subject, "00ff", NULL);
}

static void
tell(struct ly_name_seen *s, uint64_t n, enum ly_record_kind kind,
    const char *subject)
{
	struct ly_line l = { .n = n,
		.kind = kind,
		.subject = { (const uint8_t *)subject, strlen(subject) },
		.name = { (const uint8_t *)"00ff", 4 } };

	ly_name_tell(s, &l);
}

TEST(a_name_belongs_to_whom_it_was_first_seen_with)
{
	struct ly_name_seen s = { .first = 0 };

	WANT(may(&s, LY_RECORD_KEY_BORN, "n1") == LY_OK);
	tell(&s, 5, LY_RECORD_KEY_BORN, "n1");
	WANT(may(&s, LY_RECORD_KEY_BORN, "n1") == LY_OK);
	WANT(may(&s, LY_RECORD_KEY_CERTIFIED, "n1") == LY_OK);
	WANT(may(&s, LY_RECORD_KEY_BORN, "n2") == LY_REFUSED);
	WANT(may(&s, LY_RECORD_KEY_CERTIFIED, "n2") == LY_REFUSED);
	WANT(may(&s, LY_RECORD_KEY_DESTROYED, "n2") == LY_REFUSED);
	WANT(may(&s, LY_RECORD_HOST_ENROLLED, "n") == LY_REFUSED);
	tell(&s, 6, LY_RECORD_KEY_CERTIFIED, "n2"); /* whoever wrote that */
	WANT(may(&s, LY_RECORD_KEY_BORN, "n2") == LY_REFUSED);
}

TEST(a_destroyed_name_is_never_accepted_again)
{
	struct ly_name_seen s = { .first = 0 };
	struct ly_why why;

	tell(&s, 5, LY_RECORD_KEY_BORN, "n1");
	tell(&s, 9, LY_RECORD_KEY_DESTROYED, "n1");
	WANT(may(&s, LY_RECORD_KEY_BORN, "n1") == LY_REFUSED);
	WANT(may(&s, LY_RECORD_KEY_DESTROYED, "n1") == LY_REFUSED);
	WANT(ly_name_may(&s, LY_RECORD_KEY_RELEASED, "n1", "00ff", &why) ==
	    LY_REFUSED);
	WANT(strstr(why.text, "event 9"));
}

TEST(who_was_refused_with_a_name_does_not_get_it)
{
	struct ly_name_seen s = { .first = 0 };

	tell(&s, 3, LY_RECORD_HOST_REFUSED, "thief");
	WANT(may(&s, LY_RECORD_KEY_BORN, "n1") == LY_OK);
	tell(&s, 4, LY_RECORD_KEY_BORN, "n1");
	WANT(may(&s, LY_RECORD_HOST_REFUSED, "thief") == LY_OK);
	WANT(may(&s, LY_RECORD_KEY_BORN, "thief") == LY_REFUSED);
}

TEST_MAIN()
