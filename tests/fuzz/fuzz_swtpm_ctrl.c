/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control channel and a data channel, and an owner who answers as the input
 * says. The first byte is the mode; then pieces: a byte that says what (low
 * bits) and how much (high bits), and the bytes.
 */
#include "agent/guest/swtpm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { CTRL, DATA, RAW, ANSWER, REPLY, MODE, HANG_UP, BIG_ANSWER, KINDS };

static void
check(const struct ly_swtpm *m, const struct ly_swtpm_todo *todo)
{
	assert(m->mode < LY_GUEST_MODES);
	assert(m->locality <= 4);
	assert(m->buffer >= LY_SWTPM_BUFFER_MIN && m->buffer <= LY_TPM_MAX);
	assert(m->have <= sizeof(m->buf) && m->need <= sizeof(m->buf));
	assert(todo->reply_len <= sizeof(todo->reply));
	assert(todo->body_len <= sizeof(m->buf));
}

static void
perform(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	check(m, todo);
	if (todo->act == LY_SWTPM_DATAFD)
		ly_swtpm_datafd(m, !m->token_in, todo);
	else if (todo->act == LY_SWTPM_RESTORE)
		ly_swtpm_restored(m, todo->body[0] & 1, todo);
	else if (todo->act == LY_SWTPM_REPLY)
		assert(todo->reply_len >= 4);
	check(m, todo);
}

static void
feed(struct ly_swtpm *m, const uint8_t *at, size_t len)
{
	struct ly_swtpm_todo todo;
	size_t used;

	do {
		used = ly_swtpm_feed(m, at, len, &todo);
		assert(used <= len);
		perform(m, &todo);
		at += used;
		len -= used;
	} while (len > 0 && used > 0);
	assert(len == 0 || ly_swtpm_want(m) == 0);
}

static void
reply(struct ly_swtpm *m, const uint8_t *at, size_t len)
{
	struct ly_swtpm_todo todo;

	if (!ly_swtpm_waiting(m))
		return;
	if (m->waiting == LY_SWTPM_SAVE)
		ly_swtpm_saved(m, at, ly_min(len, LY_TOKEN_MAX), &todo);
	else
		ly_swtpm_result(m, len ? at[0] & 1 : 0, &todo);
	check(m, &todo);
	feed(m, at, 0);
}

static void
command(struct ly_swtpm *m, bool raw, const uint8_t *at, size_t len)
{
	uint8_t say[LY_TPM_HEAD];
	size_t used;

	while (len > 0) {
		bool was_busy = m->busy;
		enum ly_swtpm_data what = ly_swtpm_command(m, raw, at, len,
		    &used, say);

		assert(used <= len);
		assert((what == LY_SWTPM_RUN) == (m->busy && !was_busy));
		if (used == 0)
			return;
		at += used;
		len -= used;
	}
}

static void
piece(struct ly_swtpm *m, unsigned kind, const uint8_t *at, size_t len)
{
	uint8_t say[LY_TPM_HEAD];

	switch (kind) {
	case CTRL:
		feed(m, at, len);
		break;
	case DATA:
	case RAW:
		command(m, kind == RAW, at, len);
		break;
	case ANSWER:
	case BIG_ANSWER:
		if (!m->busy)
			return;
		(void)ly_swtpm_answered(m, false,
		    kind == ANSWER ? LY_TPM_HEAD : LY_TPM_MAX, say);
		feed(m, at, 0);
		break;
	case REPLY:
		reply(m, at, len);
		break;
	case MODE:
		if (len > 0)
			ly_swtpm_mode(m,
			    (enum ly_guest_mode)(at[0] % LY_GUEST_MODES));
		break;
	case HANG_UP:
		ly_swtpm_hung_up(m);
		if (!ly_swtpm_waiting(m))
			ly_swtpm_connected(m);
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ly_rd r = ly_rd_over(data, len);
	struct ly_swtpm m;

	if (len == 0)
		return 0;
	ly_swtpm_init(&m, (enum ly_guest_mode)(ly_rd_u8(&r) % LY_GUEST_MODES));
	ly_swtpm_connected(&m);
	while (ly_rd_left(&r) > 0) {
		uint8_t head = ly_rd_u8(&r);
		size_t n = ly_min(head / KINDS, ly_rd_left(&r));

		piece(&m, head % KINDS, ly_rd_bytes(&r, n), n);
	}
	return 0;
}
