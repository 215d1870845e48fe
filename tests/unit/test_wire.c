/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames and messages: the golden bytes of every message, and what a decoder
 * does with bytes that are none.
 *
 * tests/vectors/v1/NAME.hex are the bytes on the wire and on disk of protocol
 * 1. A released one never changes; a new message adds its own by running this
 * program once, from the root of the tree, with LY_VECTORS=write. That also
 * writes the seeds of the fuzzers, tests/fuzz/corpus/{frame,messages,ticket}.
 */
#include "tests/test.h"
#include "tests/unit/sample.h"

#include <sys/stat.h>

static uint8_t buf[LY_MESSAGE_MAX], back[LY_MESSAGE_MAX];
static struct ly_why why;

static bool
writing(void)
{
	const char *say = getenv("LY_VECTORS");

	return say && strcmp(say, "write") == 0;
}

static void
write_file(const char *path, const void *at, size_t len)
{
	FILE *f = fopen(path, "wb");

	if (!f || fwrite(at, 1, len, f) != len || fclose(f) != 0)
		test_fail(__FILE__, __LINE__, "cannot write %s", path);
}

static void
write_seed(const char *corpus, const char *name, const void *at, size_t len)
{
	char path[128];

	ly_print(path, sizeof(path), "tests/fuzz/corpus/%s/%s", corpus, name);
	write_file(path, at, len);
}

/* 32 bytes a line, below a line for people. */
static void
write_vector(const char *path, const char *text, const uint8_t *at, size_t len)
{
	FILE *f = fopen(path, "w");
	char hex[65];

	if (!f)
		test_fail(__FILE__, __LINE__, "cannot write %s", path);
	fprintf(f, "# %s\n", text);
	for (size_t i = 0; i < len; i += 32) {
		ly_hex(at + i, ly_min(32, len - i), hex);
		fprintf(f, "%s\n", hex);
	}
	WANT_INT(fclose(f), 0);
}

static size_t
read_vector(const char *path, uint8_t *out, size_t room)
{
	FILE *f = fopen(path, "r");
	char line[1024];
	size_t n = 0;

	if (!f)
		test_fail(__FILE__, __LINE__,
		    "%s: missing; see the head of "
		    "this file",
		    path);
	while (fgets(line, sizeof(line), f)) {
		size_t len = strcspn(line, "\r\n");

		line[len] = '\0';
		if (line[0] == '#')
			continue;
		WANT(n + len / 2 <= room);
		WANT_INT(ly_unhex(line, out + n, len / 2), LY_OK);
		n += len / 2;
	}
	fclose(f);
	return n;
}

/* The golden bytes of `m` in this rendering are `len` bytes at `buf`. */
static void
hold_against(const struct ly_message *m, const char *rendering,
    const void *sample, size_t len)
{
	char path[128], text[900];
	size_t n;

	ly_print(path, sizeof(path), "tests/vectors/v1/%s%s.hex", m->name,
	    rendering);
	ly_message_print(m, sample, text, sizeof(text));
	if (writing())
		write_vector(path, text, buf, len);
	n = read_vector(path, back, sizeof(back));
	if (n != len || memcmp(buf, back, len) != 0)
		test_fail(__FILE__, __LINE__,
		    "%s: other bytes now (%zu, "
		    "were %zu)",
		    path, len, n);
}

/* ---- golden bytes ---- */

TEST(every_frame_has_its_golden_bytes_and_comes_back_the_same)
{
	const struct ly_message *m;

	for (size_t i = 0; (m = ly_message_at(i)); i++) {
		union sample_any in, out;
		struct ly_wr w = ly_wr_over(buf, sizeof(buf));
		struct ly_frame f;
		size_t used, len;

		sample_fill(m, &in);
		ly_frame_put(m->type, &in, &w);
		WANT(!w.bad);
		len = ly_wr_len(&w);
		hold_against(m, "", &in, len);
		if (writing())
			write_seed("frame", m->name, buf, len);
		WANT_INT(ly_frame_get(buf, len, &f, &used, &why), LY_OK);
		WANT_INT(used, len);
		WANT_INT(f.type, m->type);
		WANT_INT(ly_frame_decode(&f, &out, sizeof(out), &why), LY_OK);
		w = ly_wr_over(back, sizeof(back));
		ly_frame_put(m->type, &out, &w);
		WANT_INT(ly_wr_len(&w), len);
		WANT_MEM(back, buf, len);
	}
}

/* In fuzz_messages.c's input: a table's number, 0 packed or 1 tagged. */
static void
seed_message(unsigned number, unsigned tagged, const char *name,
    const uint8_t *at, size_t len)
{
	char file[64];

	back[0] = (uint8_t)number;
	back[1] = (uint8_t)tagged;
	memcpy(back + 2, at, len);
	ly_print(file, sizeof(file), "%s.%s", name,
	    tagged ? "tagged" : "packed");
	write_seed("messages", file, back, len + 2);
}

static void
both_renderings(const struct ly_message *m, unsigned number)
{
	union sample_any in, out;
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	size_t len;

	sample_fill(m, &in);
	ly_message_put(m, &in, &w);
	WANT(!w.bad);
	len = ly_wr_len(&w);
	hold_against(m, ".packed", &in, len);
	if (writing())
		seed_message(number, 0, m->name, buf, len);
	WANT_INT(ly_message_get(m, buf, len, &out, &why), LY_OK);
	WANT_MEM(&out, &in, m->size);

	w = ly_wr_over(buf, sizeof(buf));
	ly_message_put_tagged(m, &in, &w);
	WANT(!w.bad);
	len = ly_wr_len(&w);
	hold_against(m, ".tagged", &in, len);
	if (writing()) {
		seed_message(number, 1, m->name, buf, len);
		write_seed("ticket", m->name, buf, len);
	}
	WANT_INT(ly_message_get_tagged(m, buf, len, &out, &why), LY_OK);
	WANT_MEM(&out, &in, m->size);
}

TEST(ticket_token_and_record_have_golden_bytes_in_both_renderings)
{
	for (unsigned i = 0; i < LY_COUNT(sample_signed); i++)
		both_renderings(sample_signed[i], i);
}

TEST(a_command_on_the_wire_is_what_the_manual_draws)
{
	static const char want[] = "4c59"
				   "01"
				   "13"
				   "00000023" /* head */
				   "00000007"
				   "00"
				   "03" /* chan, op, locality */
				   "0000000000000002"
				   "0000000000000009" /* epoch, seq */
				   "00000009"
				   "800100000009000001"; /* body */
	uint8_t body[9], bytes[sizeof(want) / 2];
	struct ly_command c = { .chan = 7,
		.locality = 3,
		.epoch = 2,
		.seq = 9,
		.body = { body, sizeof(body) } };
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	WANT_INT(ly_unhex("800100000009000001", body, 9), LY_OK);
	WANT_INT(ly_unhex(want, bytes, sizeof(bytes)), LY_OK);
	ly_frame_put(LY_COMMAND, &c, &w);
	WANT_INT(ly_wr_len(&w), sizeof(bytes));
	WANT_MEM(buf, bytes, sizeof(bytes));
}

/* ---- tables ---- */

static void
check_table(const struct ly_message *m)
{
	uint32_t end = 0;

	WANT(m->name && m->what && m->fields_n > 0);
	WANT(m->what[strlen(m->what) - 1] == '.' ||
	    m->what[strlen(m->what) - 1] == '?');
	WANT(ly_message_max(m) <= LY_MESSAGE_MAX);
	for (size_t i = 0; i < m->fields_n; i++) {
		const struct ly_field *f = &m->fields[i];
		size_t size = f->kind == LY_KIND_BYTES ?
		    sizeof(struct ly_bytes) :
		    f->size;

		WANT(f->offset >= end); /* in the order of the struct */
		end = f->offset + (uint32_t)size;
		WANT(end <= m->size);
	}
}

TEST(every_table_is_in_the_order_of_its_struct_and_has_a_sentence)
{
	const struct ly_message *m;
	size_t i;

	for (i = 0; (m = ly_message_at(i)); i++) {
		check_table(m);
		WANT(m->size <= sizeof(union ly_any));
		WANT(ly_message_of(m->type) == m);
	}
	WANT(i >= 40);
	for (i = 0; i < LY_COUNT(sample_signed); i++)
		check_table(sample_signed[i]);
}

TEST(a_type_there_is_none_of_has_no_row_and_no_room)
{
	unsigned known = 0;

	for (unsigned type = 0; type < 300; type++) {
		const struct ly_message *m = ly_message_of(type);

		known += m != NULL;
		WANT_INT(ly_frame_max(type) > 0, m != NULL);
	}
	WANT(ly_message_at(known) == NULL);
	WANT(ly_message_at(known - 1) != NULL);
}

TEST(a_secret_is_never_printed)
{
	const struct ly_message *m;

	for (size_t i = 0; (m = ly_message_at(i)); i++) {
		union sample_any in;
		char text[4096];

		sample_fill(m, &in);
		ly_message_print(m, &in, text, sizeof(text));
		WANT(strncmp(text, m->name, strlen(m->name)) == 0);
		WANT(!strstr(text, "the body") && !strstr(text, "the ticket"));
		for (size_t k = 0; k < m->fields_n; k++) {
			char shown[80];

			if (!m->fields[k].secret)
				continue;
			ly_print(shown, sizeof(shown), " %s=***",
			    m->fields[k].name);
			WANT(strstr(text, shown));
		}
	}
	WANT(ly_message_of(LY_RESUME)->fields[5].secret);
	WANT(ly_message_of(LY_GRANTED)->fields[4].secret);
}

TEST(printing_is_cut_where_the_room_ends)
{
	union sample_any in;

	sample_fill(ly_message_of(LY_START), &in);
	for (size_t room = 1; room < 200; room++) {
		char text[256];

		memset(text, 'x', sizeof(text));
		ly_message_print(ly_message_of(LY_START), &in, text, room);
		WANT(memchr(text, '\0', room));
		WANT_INT(text[room], 'x');
	}
}

/* ---- frames ---- */

static size_t
a_ping(void)
{
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_frame_put(LY_PING, &(struct ly_ping){ .stamp = 5 }, &w);
	return ly_wr_len(&w);
}

TEST(a_frame_is_short_until_its_last_byte)
{
	size_t len = a_ping(), used;
	struct ly_frame f;

	WANT_INT(len, 16);
	for (size_t n = 0; n < len; n++) {
		WANT_INT(ly_frame_get(buf, n, &f, &used, &why), LY_SHORT);
		WANT_INT(used, n < LY_FRAME_HEAD ? 0 : len);
	}
	WANT_INT(ly_frame_get(buf, len + 99, &f, &used, &why), LY_OK);
	WANT_INT(used, len);
}

TEST(a_head_that_is_wrong_is_refused_at_once)
{
	struct ly_frame f;
	size_t used;

	for (size_t i = 0; i < 4; i++) {
		a_ping();
		buf[i] ^= 0x80;
		WANT_INT(ly_frame_get(buf, 8, &f, &used, &why), LY_MALFORMED);
	}
	a_ping();
	buf[7] = 9; /* a PING of nine bytes */
	WANT_INT(ly_frame_get(buf, 8, &f, &used, &why), LY_MALFORMED);
	WANT_STR(why.text, "PING of 9 bytes, limit 8");
	memset(buf + 4, 0xff, 4);
	WANT_INT(ly_frame_get(buf, 8, &f, &used, &why), LY_MALFORMED);
}

TEST(a_frame_that_does_not_fit_is_not_written)
{
	uint8_t data[100] = { 0 };
	struct ly_data d = { .body = { data, sizeof(data) } };

	for (size_t room = 0; room < 112; room++) {
		struct ly_wr w = ly_wr_over(buf, room);

		buf[room] = 0xaa;
		ly_frame_put(LY_DATA, &d, &w);
		WANT(w.bad);
		WANT_INT(buf[room], 0xaa);
	}
}

/* ---- packed ---- */

static enum ly_rc
get(unsigned type, size_t len)
{
	static union ly_any out;

	return ly_message_get(ly_message_of(type), buf, len, &out, &why);
}

TEST(a_body_is_taken_whole_or_not_at_all)
{
	const struct ly_message *m;

	for (size_t i = 0; (m = ly_message_at(i)); i++) {
		union sample_any in;
		struct ly_wr w = ly_wr_over(buf, sizeof(buf));
		size_t len;

		sample_fill(m, &in);
		ly_message_put(m, &in, &w);
		len = ly_wr_len(&w);
		for (size_t n = 0; n < len; n++)
			WANT_INT(get(m->type, n), LY_MALFORMED);
		WANT_INT(get(m->type, len), LY_OK);
		buf[len] = 0;
		WANT_INT(get(m->type, len + 1), LY_MALFORMED);
	}
}

TEST(a_field_over_its_limit_is_neither_written_nor_read)
{
	static uint8_t big[LY_TPM_MAX + 1];
	struct ly_answer a = { .body = { big, sizeof(big) } };
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_message_put(ly_message_of(LY_ANSWER), &a, &w);
	WANT(w.bad);
	a.body.len--;
	w = ly_wr_over(buf, sizeof(buf));
	ly_message_put(ly_message_of(LY_ANSWER), &a, &w);
	WANT(!w.bad);
	WANT_INT(get(LY_ANSWER, ly_wr_len(&w)), LY_OK);
	buf[23]++; /* the length of body is 4097 now */
	WANT_INT(get(LY_ANSWER, ly_wr_len(&w) + 1), LY_MALFORMED);
	WANT(strstr(why.text, "ANSWER: body: 4097 bytes, limit 4096"));
}

TEST(text_with_control_characters_is_malformed)
{
	struct ly_welcome in = { .proto = 1, .software = "abc" };

	for (unsigned c = 0; c < 256; c++) {
		struct ly_wr w = ly_wr_over(buf, sizeof(buf));
		bool good = c >= 0x20 && c != 0x7f;

		ly_message_put(ly_message_of(LY_WELCOME), &in, &w);
		buf[7] = (uint8_t)c;
		WANT_INT(get(LY_WELCOME, ly_wr_len(&w)),
		    good ? LY_OK : LY_MALFORMED);
	}
}

TEST(bytes_borrow_from_the_buffer)
{
	struct ly_data d = { .body = { (const uint8_t *)"abc", 3 } }, out;
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));

	ly_message_put(ly_message_of(LY_DATA), &d, &w);
	WANT_INT(ly_message_get(ly_message_of(LY_DATA), buf, 7, &out, &why),
	    LY_OK);
	WANT(out.body.at == buf + 4);
	WANT_INT(out.body.len, 3);
}

/* ---- tagged ---- */

static struct ly_wr tagged_w;

static void
tag(unsigned number, const void *value, size_t len)
{
	ly_wr_u16(&tagged_w, (uint16_t)number);
	ly_wr_u32(&tagged_w, (uint32_t)len);
	ly_wr_bytes(&tagged_w, value, len);
}

/* A TOKEN, tag by tag; 0 leaves one out. */
static enum ly_rc
tagged_token(unsigned skip, unsigned extra, size_t extra_len)
{
	static const size_t lens[] = { 8, 16, 16, 8, 8, 1, 32 };
	static const uint8_t zeros[64] = { 0 };
	struct ly_token out;

	tagged_w = ly_wr_over(buf, sizeof(buf));
	ly_wr_bytes(&tagged_w, "LNYD\x01", 5);
	ly_wr_u16(&tagged_w, LY_TYPE_TOKEN);
	for (unsigned i = 1; i <= LY_COUNT(lens); i++)
		if (i != skip)
			tag(i, zeros, lens[i - 1]);
	if (extra)
		tag(extra, zeros, extra_len);
	return ly_message_get_tagged(&ly_token_message, buf,
	    ly_wr_len(&tagged_w), &out, &why);
}

TEST(every_tag_must_be_there_once_and_in_order)
{
	WANT_INT(tagged_token(0, 0, 0), LY_OK);
	for (unsigned i = 1; i <= 7; i++) {
		WANT_INT(tagged_token(i, 0, 0), LY_MALFORMED);
		WANT_INT(tagged_token(0, i, 8), LY_MALFORMED);
		/* Last instead of in its place, and of another length. */
		WANT_INT(tagged_token(i, i, 7), LY_MALFORMED);
	}
	WANT_INT(tagged_token(7, 7, 32), LY_OK);
	WANT_INT(tagged_token(7, 7, 31), LY_MALFORMED);
	WANT_INT(tagged_token(7, 7, 33), LY_MALFORMED);
}

TEST(a_later_tag_is_skipped_unless_it_is_fatal)
{
	WANT_INT(tagged_token(0, 8, 13), LY_OK);
	WANT_INT(tagged_token(0, 0x7fff, 0), LY_OK);
	WANT_INT(tagged_token(0, 0x8008, 13), LY_MALFORMED);
	WANT(strstr(why.text, "unknown tag 32776"));
}

TEST(another_magic_version_or_type_is_malformed)
{
	struct ly_token out;
	size_t len;

	for (size_t i = 0; i < 7; i++) {
		WANT_INT(tagged_token(0, 0, 0), LY_OK);
		len = ly_wr_len(&tagged_w);
		buf[i] ^= 1;
		WANT_INT(ly_message_get_tagged(&ly_token_message, buf, len,
			     &out, &why),
		    LY_MALFORMED);
	}
	WANT_INT(tagged_token(0, 0, 0), LY_OK);
	for (size_t n = 0; n < len; n++)
		WANT_INT(ly_message_get_tagged(&ly_token_message, buf, n, &out,
			     &why),
		    LY_MALFORMED);
}

/* ---- names ---- */

TEST(every_value_on_the_wire_has_a_word)
{
	WANT_STR(ly_fate_name(LY_FATE_ABORTED), "aborted");
	WANT_STR(ly_fate_name(9), "?");
	WANT_STR(ly_phase_name(LY_PHASE_OVER), "over");
	WANT_STR(ly_phase_name(99), "?");
	WANT_STR(ly_vmstate_name(LY_VM_FAILED), "failed");
	WANT_STR(ly_vmstate_name(99), "?");
	WANT_STR(ly_record_state_name(LY_REC_QUIESCED), "quiesced");
	WANT_STR(ly_record_state_name(99), "?");
}

TEST_MAIN()
