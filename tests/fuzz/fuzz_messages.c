/* SPDX-License-Identifier: Apache-2.0 */
/* Both renderings of every table. The first byte chooses the table (those of
 * lib/wire/signed.h, then the frames', statements from the end), the second the rendering. */
#include "lib/wire/signed.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t once[LY_MESSAGE_MAX], twice[LY_MESSAGE_MAX];

union any {
	union ly_any any;
	struct ly_ticket ticket;
	struct ly_token token;
	struct ly_record record;
	struct ly_call call;
	struct ly_sent sent;
	struct ly_arrived arrived;
	struct ly_decided decided;
	struct ly_destroyed destroyed;
	struct ly_head head;
};

static const struct ly_message *
table(unsigned number)
{
	static const struct ly_message *const kept[] = { &ly_ticket_message,
		&ly_token_message, &ly_record_message };

	static const struct ly_message *const stated[] = { &ly_call_message,
		&ly_sent_message, &ly_arrived_message, &ly_decided_message,
		&ly_destroyed_message, &ly_head_message };

	if (number < LY_COUNT(kept))
		return kept[number];
	if (number >= 256 - LY_COUNT(stated))
		return stated[255 - number];
	return ly_message_at(number - LY_COUNT(kept));
}

static size_t
put(const struct ly_message *m, bool tagged, const void *in, uint8_t *out)
{
	struct ly_wr w = ly_wr_over(out, LY_MESSAGE_MAX);

	if (tagged)
		ly_message_put_tagged(m, in, &w);
	else
		ly_message_put(m, in, &w);
	if (w.bad)
		abort(); /* what was decoded is within its limits */
	return ly_wr_len(&w);
}

static enum ly_rc
get(const struct ly_message *m, bool tagged, const uint8_t *at, size_t len,
    void *out)
{
	struct ly_why why;

	return tagged ? ly_message_get_tagged(m, at, len, out, &why) :
			ly_message_get(m, at, len, out, &why);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct ly_message *m = len >= 2 ? table(data[0]) : NULL;
	bool tagged = len >= 2 && data[1] & 1;
	union any a, b;
	char text[300];
	size_t n;

	if (!m || get(m, tagged, data + 2, len - 2, &a) != LY_OK)
		return 0;
	ly_message_print(m, &a, text, sizeof(text));
	n = put(m, tagged, &a, once);
	/* Unknown tags are not kept, so compare from the second time on. */
	if (get(m, tagged, once, n, &b) != LY_OK ||
	    put(m, tagged, &b, twice) != n || memcmp(once, twice, n) != 0)
		abort();
	return 0;
}
