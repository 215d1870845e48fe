/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU's monitor says, taken apart: bytes into lines, a line into a
 * greeting, an answer, an error or an event. No socket here, so that it can
 * be fed by a test or a fuzzer.
 *
 * A line is at most LY_QMP_LINE_MAX bytes; a longer one, or one that is not
 * a JSON object of QMP's form, costs that monitor connection.
 */
#ifndef LY_AGENT_IO_QMPLINE_H
#define LY_AGENT_IO_QMPLINE_H

#include "lib/base/err.h"

#include <jansson.h>

#define LY_QMP_LINE_MAX (1024u * 1024)

/* Starts zeroed. */
struct ly_lines {
	char *buf;
	size_t len, room;
	size_t begin; /* of the first line not yet taken */
	size_t seen;  /* no line ends before this */
};

/* Appends what was read. LY_FULL: a line is over the limit. */
LY_MUST enum ly_rc ly_lines_add(struct ly_lines *l, const void *from, size_t n,
    struct ly_why *why);
/* The next whole line, without its end; lives until the next call. */
bool ly_lines_next(struct ly_lines *l, const char **line, size_t *len);
void ly_lines_fini(struct ly_lines *l);

enum ly_qmp_kind {
	LY_QMP_GREETING,
	LY_QMP_RETURN, /* `data`: what the command returned */
	LY_QMP_ERROR,  /* `name`: its class; `text`: what QEMU says */
	LY_QMP_EVENT,  /* `name`; `data`: may be NULL */
};

struct ly_qmp_said {
	enum ly_qmp_kind kind;
	uint64_t id; /* of the command; 0: QEMU did not say */
	char name[64];
	char text[240];
	json_t *json;	    /* the whole; released by _fini */
	const json_t *data; /* borrowed from it */
};

LY_MUST enum ly_rc ly_qmp_read(const char *line, size_t len,
    struct ly_qmp_said *out, struct ly_why *why);
void ly_qmp_said_fini(struct ly_qmp_said *said);

#endif
