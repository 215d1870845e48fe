/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request goes through CODE, BODY and, when its length is in its body, TAIL
 * or SKIP; HELD is a whole one that has to wait for the TPM command under way.
 * The table at the end says, for each command, how long its body is, which
 * length its answer has even when it is an error, and what is done in which
 * mode.
 */
#include "agent/guest/swtpm.h"

enum phase { CODE, BODY, TAIL, SKIP, HELD };
_Static_assert(HELD + 1 == LY_SWTPM_PHASES, "kept.c reads phases back");

enum code {
	GET_CAPABILITY = 0x01,
	INIT = 0x02,
	SHUTDOWN = 0x03,
	GET_ESTABLISHED = 0x04,
	SET_LOCALITY = 0x05,
	HASH_START = 0x06,
	HASH_DATA = 0x07,
	HASH_END = 0x08,
	CANCEL = 0x09,
	STORE_VOLATILE = 0x0a,
	RESET_ESTABLISHED = 0x0b,
	GET_STATEBLOB = 0x0c,
	SET_STATEBLOB = 0x0d,
	STOP = 0x0e,
	GET_CONFIG = 0x0f,
	SET_DATAFD = 0x10,
	SET_BUFFERSIZE = 0x11,
	GET_INFO = 0x12,
	LOCK_STORAGE = 0x13,
	CODES
};

/* All but GET_INFO (bit 14), which has nothing to say, and
 * SEND_COMMAND_HEADER (bit 15), which would precede commands on TCP. */
#define CAPABILITIES 0x00013fffu
#define BLOB_PERMANENT 1u
#define BLOB_LAST 3u
#define LOCALITY_MAX 4

typedef void handler(struct ly_swtpm *m, struct ly_swtpm_todo *todo);

struct row {
	const char *name;
	uint8_t body;	/* bytes after the code, as far as they are fixed */
	uint8_t answer; /* bytes of an answer that says no */
	uint8_t op;	/* for `ask` */
	handler *on[LY_GUEST_MODES];
};

static const struct row *row_of(uint32_t code);

static void
put(struct ly_swtpm_todo *todo, uint64_t value, size_t size)
{
	struct ly_wr w = { .start = todo->reply,
		.at = todo->reply + todo->reply_len,
		.end = todo->reply + sizeof(todo->reply) };

	ly_wr_uint(&w, value, size);
	assert(!w.bad);
	todo->reply_len = ly_wr_len(&w);
}

/* The request is over; what follows on the channel is a new one. */
static void
done(struct ly_swtpm *m)
{
	m->phase = CODE;
	m->have = 0;
	m->need = 4;
	m->left = 0;
}

static void
reply(struct ly_swtpm *m, struct ly_swtpm_todo *todo, uint32_t result)
{
	if (todo->act == LY_SWTPM_NOTHING)
		todo->act = LY_SWTPM_REPLY;
	put(todo, result, 4);
	done(m);
}

/* Older QEMU reads the length of a success even when this is an error. */
static void
fail(struct ly_swtpm *m, struct ly_swtpm_todo *todo, uint32_t result)
{
	const struct row *row = row_of(m->code);
	size_t len = row ? row->answer : 4;

	reply(m, todo, result);
	while (todo->reply_len < len)
		put(todo, 0, 4);
}

static struct ly_rd
body_of(const struct ly_swtpm *m)
{
	return ly_rd_over(m->buf, m->have);
}

/* ---- what can be done with a request; each cell of the table is one ---- */

static void
okay(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	reply(m, todo, LY_SWTPM_OK);
}

static void
deny(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	fail(m, todo, LY_SWTPM_FAIL);
}

/* The owner answers. He is not asked while a TPM command is under way: the
 * home takes one thing after the other. */
static void
ask_for(struct ly_swtpm *m, struct ly_swtpm_todo *todo, enum ly_swtpm_act act)
{
	const struct row *row = row_of(m->code);

	if (m->busy) {
		m->phase = HELD;
		return;
	}
	m->waiting = (uint8_t)act;
	m->op = row->op;
	todo->act = act;
	todo->op = row->op;
	todo->locality = m->locality;
}

static void
ask(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	ask_for(m, todo, LY_SWTPM_OP);
}

static void
capability(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	reply(m, todo, LY_SWTPM_OK);
	put(todo, CAPABILITIES, 4);
}

/* With a token: QEMU has loaded its state, and the TPM's has never been
 * anywhere else. A destination without one would reset another host's TPM. */
static void
init_behind_token(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	if (m->token_in)
		ask_for(m, todo, LY_SWTPM_RESUME);
	else
		fail(m, todo, LY_SWTPM_FAIL);
}

/* A reset, but behind a token: then QEMU has loaded a snapshot of this very
 * moment, and the TPM is where the guest left it. */
static void
init_any(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	ask_for(m, todo, m->token_in ? LY_SWTPM_RESUME : LY_SWTPM_OP);
}

static void
stop(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	m->inited = false;
	reply(m, todo, LY_SWTPM_OK);
}

static void
established(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	reply(m, todo, LY_SWTPM_OK);
	put(todo, m->established, 1);
	put(todo, 0, 3);
}

static void
locality(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	struct ly_rd r = body_of(m);
	uint8_t to = ly_rd_u8(&r);

	m->pad = true;
	if (to > LOCALITY_MAX) {
		fail(m, todo, LY_SWTPM_BAD_PARAMETER);
		return;
	}
	m->locality = to;
	reply(m, todo, LY_SWTPM_OK);
}

static void
cancel(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	if (m->busy)
		todo->act = LY_SWTPM_CANCEL;
	reply(m, todo, LY_SWTPM_OK);
}

static void
take_back(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	todo->act = LY_SWTPM_TAKE_BACK;
	reply(m, todo, LY_SWTPM_OK);
}

static void
config(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	reply(m, todo, LY_SWTPM_OK);
	put(todo, 0, 4);
}

/* An empty JSON object; parts of it are asked for by offset. */
static void
info(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	static const char text[] = "{}";
	struct ly_rd r = body_of(m);
	uint32_t at;

	(void)ly_rd_u64(&r);
	at = (uint32_t)ly_min(ly_rd_u32(&r), sizeof(text) - 1);
	reply(m, todo, LY_SWTPM_OK);
	put(todo, sizeof(text) - 1, 4);
	put(todo, sizeof(text) - 1 - at, 4);
	for (; at < sizeof(text) - 1; at++)
		put(todo, (uint8_t)text[at], 1);
}

static void
datafd(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	if (m->session)
		fail(m, todo, LY_SWTPM_FAIL);
	else
		todo->act = LY_SWTPM_DATAFD;
}

/* QEMU gives up when this fails, and newer ones when the size is not the one
 * they asked for. 0 asks what it is. */
static void
buffer_size(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	struct ly_rd r = body_of(m);
	uint32_t to = ly_rd_u32(&r);

	if (to > LY_TPM_MAX)
		to = LY_TPM_MAX;
	if (to > 0)
		m->buffer = to < LY_SWTPM_BUFFER_MIN ? LY_SWTPM_BUFFER_MIN : to;
	reply(m, todo, LY_SWTPM_OK);
	put(todo, m->buffer, 4);
	put(todo, LY_SWTPM_BUFFER_MIN, 4);
	put(todo, LY_TPM_MAX, 4);
}

/* From `at` on; all of it when `at` is 0. */
static void
give(struct ly_swtpm *m, struct ly_swtpm_todo *todo, uint32_t at, bool empty)
{
	uint32_t total = empty ? 0 : m->token_len;
	uint32_t len = total > at ? total - at : 0;

	reply(m, todo, LY_SWTPM_OK);
	put(todo, 0, 4); /* flags */
	put(todo, total, 4);
	put(todo, len, 4);
	m->blobs += len;
	for (; len > 0; len--, at++)
		put(todo, m->token[at], 1);
}

static void
blob(struct ly_swtpm *m, struct ly_swtpm_todo *todo, bool again)
{
	struct ly_rd r = body_of(m);
	uint32_t type, at;

	(void)ly_rd_u32(&r);
	type = ly_rd_u32(&r);
	at = ly_rd_u32(&r);
	if (type < BLOB_PERMANENT || type > BLOB_LAST)
		fail(m, todo, LY_SWTPM_BAD_PARAMETER);
	else if (type != BLOB_PERMANENT || again)
		give(m, todo, at, type != BLOB_PERMANENT);
	else
		ask_for(m, todo, LY_SWTPM_SAVE);
}

static void
blob_first(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	blob(m, todo, false);
}

static void
blob_again(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	blob(m, todo, true);
}

static void
skip(struct ly_swtpm *m, struct ly_swtpm_todo *todo, uint32_t result)
{
	m->phase = SKIP;
	m->result = result;
	if (m->left == 0)
		fail(m, todo, result);
}

static void
skip_blob(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	struct ly_rd r = body_of(m);

	(void)ly_rd_u64(&r);
	m->left = ly_rd_u32(&r);
	skip(m, todo, LY_SWTPM_FAIL);
}

/* The next piece of a body that goes on: as much of it as there is room for. */
static void
tail(struct ly_swtpm *m)
{
	m->phase = TAIL;
	m->have = 0;
	m->need = (uint32_t)ly_min(m->left, sizeof(m->buf));
}

/* Type 1 is our token; a TPM's state, of any type, is not taken in. */
static void
set_blob(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	struct ly_rd r = body_of(m);
	uint32_t type;

	(void)ly_rd_u32(&r);
	type = ly_rd_u32(&r);
	m->left = ly_rd_u32(&r);
	if (type < BLOB_PERMANENT || type > BLOB_LAST)
		skip(m, todo, LY_SWTPM_BAD_PARAMETER);
	else if (m->left == 0)
		reply(m, todo, LY_SWTPM_OK);
	else if (type != BLOB_PERMANENT || m->left > LY_TOKEN_MAX)
		skip(m, todo, LY_SWTPM_FAIL);
	else
		tail(m);
}

static void
hash_data(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	struct ly_rd r = body_of(m);

	m->left = ly_rd_u32(&r);
	if (m->left == 0)
		reply(m, todo, LY_SWTPM_OK);
	else if (m->left > LY_SWTPM_BODY_MAX)
		skip(m, todo, LY_SWTPM_BAD_PARAMETER);
	else
		tail(m);
}

static void
skip_data(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	struct ly_rd r = body_of(m);

	m->left = ly_rd_u32(&r);
	skip(m, todo, LY_SWTPM_FAIL);
}

#define ALL(h)                                                                 \
	{                                                                      \
		h, h, h, h, h                                                  \
	}
#define ATTACHED(h)                                                            \
	{                                                                      \
		deny, deny, h, deny, deny                                      \
	}

static const struct row rows[CODES] = {
	/*			  body, answer, op
	 *	  BEFORE	INCOMING       ATTACHED    SAVED       GONE */
	[GET_CAPABILITY] = { "GET_CAPABILITY", 0, 8, 0, ALL(capability) },
	[INIT] = { "INIT", 4, 4, LY_OP_INIT,
	    { init_any, init_behind_token, init_any, deny, deny } },
	[SHUTDOWN] = { "SHUTDOWN", 0, 4, 0, ALL(okay) },
	[GET_ESTABLISHED] = { "GET_TPMESTABLISHED", 0, 8, 0, ALL(established) },
	[SET_LOCALITY] = { "SET_LOCALITY", 1, 4, 0, ALL(locality) },
	[HASH_START] = { "HASH_START", 0, 4, LY_OP_HASH_START, ATTACHED(ask) },
	[HASH_DATA] = { "HASH_DATA", 4, 4, LY_OP_HASH_DATA,
	    { skip_data, skip_data, hash_data, skip_data, skip_data } },
	[HASH_END] = { "HASH_END", 0, 4, LY_OP_HASH_END, ATTACHED(ask) },
	[CANCEL] = { "CANCEL_TPM_CMD", 0, 4, 0,
	    { okay, okay, cancel, okay, okay } },
	[STORE_VOLATILE] = { "STORE_VOLATILE", 0, 4, 0, ATTACHED(okay) },
	[RESET_ESTABLISHED] = { "RESET_TPMESTABLISHED", 4, 4,
	    LY_OP_RESET_ESTABLISHED, ATTACHED(ask) },
	[GET_STATEBLOB] = { "GET_STATEBLOB", 12, 16, 0,
	    { deny, deny, blob_first, blob_again, deny } },
	[SET_STATEBLOB] = { "SET_STATEBLOB", 12, 4, 0,
	    { set_blob, set_blob, set_blob, skip_blob, skip_blob } },
	[STOP] = { "STOP", 0, 4, 0, ALL(stop) },
	[GET_CONFIG] = { "GET_CONFIG", 0, 8, 0, ALL(config) },
	[SET_DATAFD] = { "SET_DATAFD", 0, 4, 0, ALL(datafd) },
	[SET_BUFFERSIZE] = { "SET_BUFFERSIZE", 4, 16, 0, ALL(buffer_size) },
	[GET_INFO] = { "GET_INFO", 16, 12, 0, ALL(info) },
	[LOCK_STORAGE] = { "LOCK_STORAGE", 4, 4, 0,
	    { okay, okay, okay, take_back, deny } },
};

static const struct row *
row_of(uint32_t code)
{
	return code > 0 && code < CODES ? &rows[code] : NULL;
}

const char *
ly_swtpm_name(uint32_t code)
{
	const struct row *row = row_of(code);

	return row ? row->name : "?";
}

const char *
ly_guest_mode_name(unsigned mode)
{
	static const char *const names[LY_GUEST_MODES] = { "before", "incoming",
		"attached", "saved", "gone" };

	return mode < LY_GUEST_MODES ? names[mode] : "?";
}

/* ---- bytes ---- */

/* QEMU sends SET_LOCALITY as a struct of 8 bytes, tpm2-tss as 5, and both wait
 * for the answer then. No code is 0 and none is over 255, so four zeros are
 * three of the struct and the first of a code. */
static void
got_code(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	struct ly_rd r = body_of(m);
	const struct row *row;
	bool pad = m->pad;

	m->code = ly_rd_u32(&r);
	m->pad = false;
	if (pad && m->code == 0) {
		m->have = 1;
		return;
	}
	row = row_of(m->code);
	if (!row) {
		fail(m, todo, LY_SWTPM_BAD_ORDINAL);
		return;
	}
	m->phase = BODY;
	m->have = 0;
	m->need = row->body;
}

static void
got_tail(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	if (m->code == SET_STATEBLOB) {
		todo->act = LY_SWTPM_RESTORE;
	} else {
		ask(m, todo);
		if (todo->act == LY_SWTPM_NOTHING)
			return;
		m->left -= m->have;
	}
	todo->body = m->buf;
	todo->body_len = m->have;
}

static void
got(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	switch ((enum phase)m->phase) {
	case CODE:
		got_code(m, todo);
		if (m->phase == BODY && m->need == 0)
			rows[m->code].on[m->mode](m, todo);
		break;
	case BODY:
		rows[m->code].on[m->mode](m, todo);
		break;
	case TAIL:
		got_tail(m, todo);
		break;
	case SKIP:
	case HELD:
		break;
	}
}

/* A whole request that had to wait; the mode may have changed meanwhile. */
static void
go_on(struct ly_swtpm *m, struct ly_swtpm_todo *todo)
{
	if (m->code == HASH_DATA) {
		m->phase = TAIL;
		got_tail(m, todo);
	} else {
		m->phase = BODY;
		rows[m->code].on[m->mode](m, todo);
	}
}

size_t
ly_swtpm_want(const struct ly_swtpm *m)
{
	if (m->waiting || m->phase == HELD)
		return 0;
	return m->phase == SKIP ? m->left : m->need - m->have;
}

size_t
ly_swtpm_feed(struct ly_swtpm *m, const uint8_t *buf, size_t len,
    struct ly_swtpm_todo *todo)
{
	size_t used = 0;

	*todo = (struct ly_swtpm_todo){ .act = LY_SWTPM_NOTHING };
	if (m->phase == HELD && !m->busy && !m->waiting)
		go_on(m, todo);
	while (used < len && todo->act == LY_SWTPM_NOTHING &&
	    ly_swtpm_want(m) > 0) {
		size_t n = ly_min(len - used, ly_swtpm_want(m));

		if (m->phase == SKIP) {
			m->left -= (uint32_t)n;
			if (m->left == 0)
				fail(m, todo, m->result);
		} else {
			memcpy(m->buf + m->have, buf + used, n);
			m->have += (uint32_t)n;
			if (m->have == m->need)
				got(m, todo);
		}
		used += n;
	}
	return used;
}

/* ---- answers ---- */

void
ly_swtpm_datafd(struct ly_swtpm *m, bool good, struct ly_swtpm_todo *todo)
{
	*todo = (struct ly_swtpm_todo){ .act = LY_SWTPM_NOTHING };
	if (!good) {
		fail(m, todo, LY_SWTPM_FAIL);
		return;
	}
	m->session = true;
	m->inited = false;
	m->token_in = false;
	m->locality = 0;
	m->established = false;
	m->buffer = LY_TPM_MAX;
	reply(m, todo, LY_SWTPM_OK);
}

void
ly_swtpm_restored(struct ly_swtpm *m, bool good, struct ly_swtpm_todo *todo)
{
	*todo = (struct ly_swtpm_todo){ .act = LY_SWTPM_NOTHING };
	m->token_in = good;
	if (good)
		reply(m, todo, LY_SWTPM_OK);
	else
		fail(m, todo, LY_SWTPM_FAIL);
}

/* What a success means for us. */
static void
came_true(struct ly_swtpm *m, enum ly_swtpm_act what)
{
	if (what == LY_SWTPM_RESUME || m->op == LY_OP_INIT) {
		m->token_in = false;
		m->inited = true;
		if (m->mode == LY_GUEST_BEFORE || m->mode == LY_GUEST_INCOMING)
			m->mode = LY_GUEST_ATTACHED;
	} else if (m->op == LY_OP_HASH_END) {
		m->established = true;
	} else if (m->op == LY_OP_RESET_ESTABLISHED) {
		m->established = false;
	}
}

void
ly_swtpm_result(struct ly_swtpm *m, uint32_t result, struct ly_swtpm_todo *todo)
{
	enum ly_swtpm_act what = (enum ly_swtpm_act)m->waiting;

	assert(what == LY_SWTPM_OP || what == LY_SWTPM_RESUME);
	*todo = (struct ly_swtpm_todo){ .act = LY_SWTPM_NOTHING };
	m->waiting = LY_SWTPM_NOTHING;
	if (result == LY_SWTPM_OK)
		came_true(m, what);
	if (m->orphan)
		m->orphan = false;
	else if (result == LY_SWTPM_OK && m->left > 0)
		tail(m);
	else
		skip(m, todo, result);
}

void
ly_swtpm_saved(struct ly_swtpm *m, const uint8_t *token, size_t len,
    struct ly_swtpm_todo *todo)
{
	assert(m->waiting == LY_SWTPM_SAVE && len <= LY_TOKEN_MAX);
	*todo = (struct ly_swtpm_todo){ .act = LY_SWTPM_NOTHING };
	m->waiting = LY_SWTPM_NOTHING;
	if (len > 0) {
		memcpy(m->token, token, len);
		m->token_len = (uint32_t)len;
		m->mode = LY_GUEST_SAVED;
	}
	if (m->orphan)
		m->orphan = false;
	else if (len > 0)
		blob_again(m, todo);
	else
		fail(m, todo, LY_SWTPM_FAIL);
}

/* ---- connections and modes ---- */

void
ly_swtpm_init(struct ly_swtpm *m, enum ly_guest_mode mode)
{
	*m = (struct ly_swtpm){ .mode = (uint8_t)mode, .buffer = LY_TPM_MAX };
	done(m);
}

void
ly_swtpm_mode(struct ly_swtpm *m, enum ly_guest_mode mode)
{
	assert(mode < LY_GUEST_MODES);
	m->mode = (uint8_t)mode;
	if (mode != LY_GUEST_SAVED) {
		memset(m->token, 0, sizeof(m->token));
		m->token_len = 0;
	}
}

void
ly_swtpm_connected(struct ly_swtpm *m)
{
	assert(!m->waiting);
	m->pad = false;
	m->session = false;
	done(m);
}

/* A session's INIT ends with it: what QEMU comes next probes again. */
void
ly_swtpm_hung_up(struct ly_swtpm *m)
{
	m->orphan = m->waiting != LY_SWTPM_NOTHING;
	m->pad = false;
	if (m->session)
		m->inited = false;
	m->session = false;
	done(m);
}

bool
ly_swtpm_waiting(const struct ly_swtpm *m)
{
	return m->waiting != LY_SWTPM_NOTHING;
}

/* ---- data ---- */

/* May this command run now? */
static enum ly_swtpm_data
admit(struct ly_swtpm *m, bool raw, uint32_t *rc)
{
	if (!raw && !m->inited) {
		*rc = LY_TPM_RC_INITIALIZE;
		return LY_SWTPM_SAY;
	}
	if (m->mode == LY_GUEST_GONE) {
		*rc = LY_TPM_RC_FAILURE;
		return LY_SWTPM_SAY;
	}
	if (m->mode != LY_GUEST_ATTACHED || m->busy || m->waiting)
		return LY_SWTPM_HOLD;
	m->busy = true;
	return LY_SWTPM_RUN;
}

enum ly_swtpm_data
ly_swtpm_command(struct ly_swtpm *m, bool raw, const uint8_t *buf, size_t len,
    size_t *used, uint8_t say[LY_TPM_HEAD])
{
	enum ly_swtpm_data what = LY_SWTPM_SAY;
	struct ly_tpm_cmd cmd;
	enum ly_rc known;
	size_t size = 0;
	uint32_t rc;

	*used = 0;
	known = ly_tpm_size(buf, len, raw ? LY_TPM_MAX : m->buffer, &size);
	if (known == LY_MALFORMED) {
		ly_tpm_answer(ly_tpm_fault(buf, len), say);
		*used = len;
		return LY_SWTPM_LOST;
	}
	if (known != LY_OK || size > len)
		return LY_SWTPM_MORE;
	rc = ly_tpm_fault(buf, size);
	if (ly_tpm_cmd_parse(buf, size, &cmd) == LY_OK)
		what = admit(m, raw, &rc);
	if (what == LY_SWTPM_SAY)
		ly_tpm_answer(rc, say);
	if (what != LY_SWTPM_HOLD)
		*used = size;
	return what;
}

bool
ly_swtpm_answered(struct ly_swtpm *m, bool raw, size_t len,
    uint8_t say[LY_TPM_HEAD])
{
	assert(m->busy);
	m->busy = false;
	if (len <= (raw ? LY_TPM_MAX : m->buffer))
		return true;
	ly_tpm_answer(LY_TPM_RC_MEMORY, say);
	return false;
}
