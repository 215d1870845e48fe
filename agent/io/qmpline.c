/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/qmpline.h"

#include "lib/base/text.h"

#include <stdlib.h>

#define FIRST_ROOM 4096

static enum ly_rc
grow(struct ly_lines *l, size_t need, struct ly_why *why)
{
	size_t room = l->room ? l->room : FIRST_ROOM;
	char *buf;

	if (need > LY_QMP_LINE_MAX)
		return ly_fail(why, LY_FULL,
		    "a line of the monitor is longer than %u bytes",
		    LY_QMP_LINE_MAX);
	while (room < need)
		room *= 2;
	if (room == l->room)
		return LY_OK;
	buf = realloc(l->buf, room);
	if (!buf)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	l->buf = buf;
	l->room = room;
	return LY_OK;
}

enum ly_rc
ly_lines_add(struct ly_lines *l, const void *from, size_t n, struct ly_why *why)
{
	enum ly_rc rc;

	if (l->begin) {
		l->len -= l->begin;
		l->seen -= l->begin;
		memmove(l->buf, l->buf + l->begin, l->len);
		l->begin = 0;
	}
	rc = grow(l, l->len + n, why);
	if (rc)
		return rc;
	if (n)
		memcpy(l->buf + l->len, from, n);
	l->len += n;
	return LY_OK;
}

bool
ly_lines_next(struct ly_lines *l, const char **line, size_t *len)
{
	char *from = l->buf ? l->buf + l->begin : NULL;
	char *end = from ? memchr(l->buf + l->seen, '\n', l->len - l->seen) :
			   NULL;

	if (!end) {
		l->seen = l->len;
		return false;
	}
	*line = from;
	*len = (size_t)(end - from);
	if (*len && from[*len - 1] == '\r')
		--*len;
	l->begin = l->seen = (size_t)(end + 1 - l->buf);
	return true;
}

void
ly_lines_fini(struct ly_lines *l)
{
	free(l->buf);
	*l = (struct ly_lines){ 0 };
}

/* Copies QEMU's text for a log line: cut, and without control characters. */
static void
copy_clean(char *to, size_t size, const char *from)
{
	ly_copy(to, size, from ? from : "");
	for (; *to; to++)
		if ((unsigned char)*to < 0x20 || *to == 0x7f)
			*to = ' ';
}

static enum ly_rc
read_event(struct ly_qmp_said *out, const json_t *name, struct ly_why *why)
{
	if (!json_is_string(name))
		return ly_fail(why, LY_MALFORMED,
		    "the monitor sent an event without a name");
	out->kind = LY_QMP_EVENT;
	out->data = json_object_get(out->json, "data");
	copy_clean(out->name, sizeof(out->name), json_string_value(name));
	return LY_OK;
}

static enum ly_rc
read_error(struct ly_qmp_said *out, const json_t *error, struct ly_why *why)
{
	const json_t *class = json_object_get(error, "class");
	const json_t *desc = json_object_get(error, "desc");

	if (!json_is_string(desc))
		return ly_fail(why, LY_MALFORMED,
		    "the monitor sent an error without a text");
	out->kind = LY_QMP_ERROR;
	copy_clean(out->name, sizeof(out->name), json_string_value(class));
	copy_clean(out->text, sizeof(out->text), json_string_value(desc));
	return LY_OK;
}

static enum ly_rc
read_kind(struct ly_qmp_said *out, struct ly_why *why)
{
	const json_t *id = json_object_get(out->json, "id");
	const json_t *v;

	if (json_is_integer(id) && json_integer_value(id) > 0)
		out->id = (uint64_t)json_integer_value(id);
	if ((v = json_object_get(out->json, "event")))
		return read_event(out, v, why);
	if ((v = json_object_get(out->json, "error")))
		return read_error(out, v, why);
	if ((v = json_object_get(out->json, "return"))) {
		out->kind = LY_QMP_RETURN;
		out->data = v;
		return LY_OK;
	}
	if ((v = json_object_get(out->json, "QMP"))) {
		out->kind = LY_QMP_GREETING;
		out->data = v;
		return LY_OK;
	}
	return ly_fail(why, LY_MALFORMED,
	    "the monitor said something that is not QMP");
}

enum ly_rc
ly_qmp_read(const char *line, size_t len, struct ly_qmp_said *out,
    struct ly_why *why)
{
	struct ly_qmp_said said = { 0 };
	json_error_t err;
	enum ly_rc rc;

	if (len > LY_QMP_LINE_MAX)
		return ly_fail(why, LY_FULL,
		    "a line of the monitor is too "
		    "long");
	said.json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &err);
	if (!json_is_object(said.json)) {
		json_decref(said.json);
		return ly_fail(why, LY_MALFORMED,
		    "the monitor said something that is not a JSON object");
	}
	rc = read_kind(&said, why);
	if (rc) {
		json_decref(said.json);
		return rc;
	}
	*out = said;
	return LY_OK;
}

void
ly_qmp_said_fini(struct ly_qmp_said *said)
{
	json_decref(said->json);
	*said = (struct ly_qmp_said){ 0 };
}
