/* SPDX-License-Identifier: Apache-2.0 */
/* A peer's bytes: frames one after the other, as lib/io/conn.c takes them. What
 * decodes is printed, and encodes to the same bytes again. */
#include "lib/wire/message.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t again[LY_MESSAGE_MAX];

static void
take(const struct ly_frame *f, const uint8_t *whole, size_t used)
{
	struct ly_wr w = ly_wr_over(again, sizeof(again));
	struct ly_why why;
	union ly_any any;
	char text[300];

	if (ly_frame_decode(f, &any, sizeof(any), &why) != LY_OK)
		return;
	ly_message_print(ly_message_of(f->type), &any, text, sizeof(text));
	ly_frame_put(f->type, &any, &w);
	/* TEXT ends at its first NUL, so only NULs could differ; those are
	 * control characters, and refused. */
	if (w.bad || ly_wr_len(&w) != used || memcmp(again, whole, used) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ly_why why;
	struct ly_frame f;
	size_t used;

	while (ly_frame_get(data, len, &f, &used, &why) == LY_OK) {
		if (used > len)
			abort();
		take(&f, data, used);
		data += used;
		len -= used;
	}
	return 0;
}
