/* SPDX-License-Identifier: Apache-2.0 */
#include "manager/record/chain.h"

#include "lib/crypt/crypt.h"

const struct ly_record_kind_row ly_record_kinds[LY_RECORD_KINDS] = {
	[LY_RECORD_BEGUN] = { "record begun", LY_RECORD_MENTIONS },
	[LY_RECORD_LOSS] = { "record loss accepted", LY_RECORD_MENTIONS },
	[LY_RECORD_HOST_ADDED] = { "host added", LY_RECORD_BINDS },
	[LY_RECORD_HOST_REMOVED] = { "host removed", LY_RECORD_MENTIONS },
	[LY_RECORD_HOST_ENROLLED] = { "host enrolled", LY_RECORD_BINDS },
	[LY_RECORD_HOST_RENEWED] = { "host renewed", LY_RECORD_BINDS },
	[LY_RECORD_HOST_REFUSED] = { "host refused", LY_RECORD_MENTIONS },
	[LY_RECORD_HOST_FROZEN] = { "host frozen", LY_RECORD_MENTIONS },
	[LY_RECORD_HOST_UNFROZEN] = { "host unfrozen", LY_RECORD_MENTIONS },
	[LY_RECORD_HOST_REVOKED] = { "host revoked", LY_RECORD_MENTIONS },
	[LY_RECORD_KEY_BORN] = { "key born", LY_RECORD_BINDS },
	[LY_RECORD_KEY_CERTIFIED] = { "key certified", LY_RECORD_BINDS },
	[LY_RECORD_KEY_RELEASED] = { "key released", LY_RECORD_BINDS },
	[LY_RECORD_KEY_DESTROYED] = { "key destroyed", LY_RECORD_ENDS },
	[LY_RECORD_VM_CREATED] = { "vm created", LY_RECORD_MENTIONS },
	[LY_RECORD_VM_REMOVED] = { "vm removed", LY_RECORD_MENTIONS },
	[LY_RECORD_VM_STARTED] = { "vm started", LY_RECORD_MENTIONS },
	[LY_RECORD_VM_STOPPED] = { "vm stopped", LY_RECORD_MENTIONS },
	[LY_RECORD_EPOCH_CHANGED] = { "epoch changed", LY_RECORD_MENTIONS },
	[LY_RECORD_TICKET_ISSUED] = { "ticket issued", LY_RECORD_MENTIONS },
	[LY_RECORD_MIG_ASKED] = { "migration asked", LY_RECORD_MENTIONS },
	[LY_RECORD_MIG_APPROVED] = { "migration approved", LY_RECORD_MENTIONS },
	[LY_RECORD_MIG_REFUSED] = { "migration refused", LY_RECORD_MENTIONS },
	[LY_RECORD_MIG_DECIDED] = { "migration decided", LY_RECORD_MENTIONS },
	[LY_RECORD_MIG_COMMITTED] = { "migration committed",
	    LY_RECORD_MENTIONS },
	[LY_RECORD_MIG_ABORTED] = { "migration aborted", LY_RECORD_MENTIONS },
	[LY_RECORD_MIG_PROVED] = { "migration proved", LY_RECORD_MENTIONS },
	[LY_RECORD_MIG_UNPROVED] = { "migration not proved",
	    LY_RECORD_MENTIONS },
	[LY_RECORD_POLICY_LIST] = { "policy list", LY_RECORD_MENTIONS },
	[LY_RECORD_ATTESTED] = { "attested", LY_RECORD_MENTIONS },
	[LY_RECORD_EVACUATION] = { "evacuation", LY_RECORD_MENTIONS },
	[LY_RECORD_SITE_TRUSTED] = { "site trusted", LY_RECORD_MENTIONS },
};

enum ly_record_kind
ly_record_kind_of(const char *word, size_t len)
{
	unsigned i = 0;

	while (i < LY_RECORD_KINDS &&
	    (strlen(ly_record_kinds[i].word) != len ||
		memcmp(ly_record_kinds[i].word, word, len) != 0))
		i++;
	return (enum ly_record_kind)i;
}

/* ---- writing ---- */

static void
put(struct ly_wr *w, const char *text)
{
	ly_wr_bytes(w, text, strlen(text));
}

static void
put_number(struct ly_wr *w, uint64_t v)
{
	char digits[21];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + v % 10);
	while ((v /= 10) != 0);
	ly_wr_bytes(w, digits + at, sizeof(digits) - at);
}

/* Plain enough to need no escape; anything else would have two spellings. */
static bool
plain(char c)
{
	return c >= 0x20 && c <= 0x7e && c != '"' && c != '\\';
}

static void
put_escaped(struct ly_wr *w, const char *text)
{
	for (; *text; text++) {
		char hex[3];

		if (plain(*text)) {
			ly_wr_bytes(w, text, 1);
		} else {
			ly_hex(text, 1, hex);
			put(w, "\\u00");
			put(w, hex);
		}
	}
}

static void
put_id(struct ly_wr *w, const char *key, const struct ly_id *id)
{
	char text[LY_ID_TEXT];

	put(w, key);
	if (!ly_id_none(id))
		put(w, ly_id_text(id, text));
}

static enum ly_rc
check_plain(const char *what, const char *text, size_t room, struct ly_why *why)
{
	if (strlen(text) >= room)
		return ly_fail(why, LY_FULL, "record: %s over %zu bytes", what,
		    room - 1);
	for (const char *c = text; *c; c++)
		if (!plain(*c))
			return ly_fail(why, LY_MALFORMED,
			    "record: the %s has a byte %02x", what,
			    (uint8_t)*c);
	return LY_OK;
}

enum ly_rc
ly_line_put(const struct ly_line_in *in, char *out, size_t size, size_t *len,
    struct ly_why *why)
{
	struct ly_wr w = ly_wr_over(out, size);
	char prev[65];
	enum ly_rc rc = check_plain("subject", in->subject, LY_SPIFFE_MAX, why);

	if (rc == LY_OK)
		rc = check_plain("name", in->name, LY_SEEN_NAME_MAX, why);
	if (rc != LY_OK)
		return rc;
	if (strlen(in->details) > LY_DETAILS_MAX)
		return ly_fail(why, LY_FULL, "record: details over %u bytes",
		    LY_DETAILS_MAX);
	ly_hex(in->prev, sizeof(in->prev), prev);
	put(&w, "{\"n\":");
	put_number(&w, in->n);
	put(&w, ",\"when\":");
	put_number(&w, in->when);
	put(&w, ",\"kind\":\"");
	put(&w, ly_record_kinds[in->kind].word);
	put(&w, "\",\"subject\":\"");
	put(&w, in->subject);
	put(&w, "\",\"name\":\"");
	put(&w, in->name);
	put_id(&w, "\",\"vm\":\"", &in->vm);
	put_id(&w, "\",\"mig\":\"", &in->mig);
	put(&w, "\",\"text\":\"");
	put_escaped(&w, in->text);
	put(&w, "\",\"details\":");
	put(&w, in->details);
	put(&w, ",\"prev\":\"");
	put(&w, prev);
	put(&w, "\"}");
	if (w.bad)
		return ly_fail(why, LY_FULL, "record: a line over %zu bytes",
		    size);
	*len = ly_wr_len(&w);
	return LY_OK;
}

/* ---- reading ---- */

/* Exactly this; else the reader is bad. */
static void
expect(struct ly_rd *r, const char *text)
{
	const uint8_t *at = ly_rd_bytes(r, strlen(text));

	if (at && memcmp(at, text, strlen(text)) != 0)
		r->bad = true;
}

static int
peek(const struct ly_rd *r)
{
	return r->bad || r->at == r->end ? -1 : *r->at;
}

static uint64_t
get_number(struct ly_rd *r)
{
	bool zero = peek(r) == '0';
	unsigned digits = 0;
	uint64_t v = 0;

	for (; peek(r) >= '0' && peek(r) <= '9'; r->at++, digits++)
		v = v * 10 + (uint64_t)(*r->at - '0');
	/* 19 digits always fit; no line of ours has more. */
	if (!digits || digits > 19 || (zero && digits > 1))
		r->bad = true;
	return v;
}

/* Up to the quote, which is taken as well. */
static struct ly_bytes
get_string(struct ly_rd *r, bool escapes)
{
	struct ly_bytes out = { .at = r->at };
	char hex[5];
	uint8_t c[2];

	while (peek(r) >= 0 && peek(r) != '"') {
		if (plain((char)peek(r))) {
			r->at++;
			continue;
		}
		expect(r, "\\u00");
		memcpy(hex, ly_rd_left(r) >= 2 ? (const char *)r->at : "zz", 2);
		hex[2] = '\0';
		if (!escapes || ly_unhex(hex, c, 1) != LY_OK ||
		    plain((char)c[0]) || c[0] == 0)
			r->bad = true;
		ly_hex(c, 1, hex + 2);
		if (memcmp(hex, hex + 2, 2) != 0)
			r->bad = true; /* capitals */
		(void)ly_rd_bytes(r, 2);
	}
	out.len = r->bad ? 0 : (size_t)(r->at - out.at);
	expect(r, "\"");
	return out;
}

/* One JSON object, by its brackets: what is in it is its writer's business,
 * but its end is not. */
static struct ly_bytes
get_object(struct ly_rd *r)
{
	struct ly_bytes out = { .at = r->at };
	unsigned depth = 0;
	bool text = false;

	if (peek(r) != '{')
		r->bad = true;
	while (!r->bad) {
		int c = peek(r);

		if (c < 0x20 || c > 0x7f) {
			r->bad = true;
			break;
		}
		r->at++;
		if (text && c == '\\')
			(void)ly_rd_bytes(r, 1);
		else if (c == '"')
			text = !text;
		else if (!text && (c == '{' || c == '['))
			depth++;
		else if (!text && (c == '}' || c == ']') && --depth == 0)
			break;
	}
	out.len = r->bad ? 0 : (size_t)(r->at - out.at);
	return out;
}

enum ly_rc
ly_line_get(const char *line, size_t len, struct ly_line *out,
    struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(line, len);
	struct ly_line l = { .n = 0 };
	struct ly_bytes prev;
	char hex[65] = "", same[65];

	expect(&r, "{\"n\":");
	l.n = get_number(&r);
	expect(&r, ",\"when\":");
	l.when = get_number(&r);
	expect(&r, ",\"kind\":\"");
	l.word = get_string(&r, false);
	expect(&r, ",\"subject\":\"");
	l.subject = get_string(&r, false);
	expect(&r, ",\"name\":\"");
	l.name = get_string(&r, false);
	expect(&r, ",\"vm\":\"");
	l.vm = get_string(&r, false);
	expect(&r, ",\"mig\":\"");
	l.mig = get_string(&r, false);
	expect(&r, ",\"text\":\"");
	l.text = get_string(&r, true);
	expect(&r, ",\"details\":");
	l.details = get_object(&r);
	expect(&r, ",\"prev\":\"");
	prev = get_string(&r, false);
	expect(&r, "}");
	if (!r.bad && prev.len == 64)
		memcpy(hex, prev.at, 64);
	hex[64] = '\0';
	if (r.bad || ly_rd_left(&r) || ly_unhex(hex, l.prev, 32) != LY_OK)
		return ly_fail(why, LY_MALFORMED, "not a line of a record");
	ly_hex(l.prev, 32, same);
	if (strcmp(hex, same) != 0)
		return ly_fail(why, LY_MALFORMED, "\"prev\" has capitals");
	l.kind = ly_record_kind_of((const char *)l.word.at, l.word.len);
	*out = l;
	return LY_OK;
}

/* ---- the chain ---- */

enum ly_rc
ly_chain_add(struct ly_chain *c, const char *line, size_t len,
    struct ly_line *out, struct ly_why *why)
{
	struct ly_line l;
	enum ly_rc rc = ly_line_get(line, len, &l, why);

	if (rc != LY_OK)
		return ly_fail_in(why, rc, "event %llu",
		    (unsigned long long)c->n + 1);
	if (l.n != c->n + 1)
		return ly_fail(why, LY_MALFORMED,
		    "event %llu stands where %llu should",
		    (unsigned long long)l.n, (unsigned long long)c->n + 1);
	if (memcmp(l.prev, c->hash, sizeof(l.prev)) != 0)
		return ly_fail(why, LY_MALFORMED,
		    "event %llu does not follow from the one before it, which"
		    " was changed, or this was",
		    (unsigned long long)l.n);
	c->n = l.n;
	ly_sha256(line, len, c->hash);
	if (out)
		*out = l;
	return LY_OK;
}

void
ly_head_put(const struct ly_head_text *in, char out[LY_HEAD_TEXT])
{
	char hash[65];

	ly_hex(in->head.hash, sizeof(in->head.hash), hash);
	ly_print(out, LY_HEAD_TEXT,
	    "lanyard-head-v1\nsite %s\nsigner %s\nwhen %llu\nevents %llu\n"
	    "hash %s\n",
	    in->site, in->signer, (unsigned long long)in->when,
	    (unsigned long long)in->head.n, hash);
}

/* The rest of the line, which has to begin with `key`. */
static void
get_line(struct ly_rd *r, const char *key, char *out, size_t size)
{
	const uint8_t *at;
	size_t len;

	expect(r, key);
	at = r->at;
	while (peek(r) >= 0 && peek(r) != '\n')
		r->at++;
	len = r->bad ? 0 : (size_t)(r->at - at);
	expect(r, "\n");
	if (r->bad || len >= size) {
		r->bad = true;
		len = 0;
	}
	memcpy(out, at, len);
	out[len] = '\0';
}

enum ly_rc
ly_head_get(const char *text, size_t len, struct ly_head_text *out,
    size_t *used, struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(text, len);
	struct ly_head_text h = { .when = 0 };
	char hash[65], again[LY_HEAD_TEXT];

	expect(&r, "lanyard-head-v1\n");
	get_line(&r, "site ", h.site, sizeof(h.site));
	get_line(&r, "signer ", h.signer, sizeof(h.signer));
	expect(&r, "when ");
	h.when = get_number(&r);
	expect(&r, "\nevents ");
	h.head.n = get_number(&r);
	expect(&r, "\n");
	get_line(&r, "hash ", hash, sizeof(hash));
	if (r.bad || ly_unhex(hash, h.head.hash, 32) != LY_OK)
		return ly_fail(why, LY_MALFORMED, "not a record's head");
	ly_head_put(&h, again);
	*used = strlen(again);
	if (*used > len || memcmp(text, again, *used) != 0)
		return ly_fail(why, LY_MALFORMED, "not a record's head");
	*out = h;
	return LY_OK;
}

/* ---- the rule ---- */

void
ly_name_tell(struct ly_name_seen *s, const struct ly_line *line)
{
	enum ly_record_claim claim = line->kind < LY_RECORD_KINDS ?
	    ly_record_kinds[line->kind].claim :
	    LY_RECORD_MENTIONS;
	size_t n = ly_min(line->subject.len, sizeof(s->subject) - 1);

	if (claim == LY_RECORD_MENTIONS || line->name.len == 0)
		return;
	if (!s->first) {
		s->first = line->n;
		memcpy(s->subject, line->subject.at, n);
		s->subject[n] = '\0';
	}
	if (claim == LY_RECORD_ENDS && !s->ended)
		s->ended = line->n;
}

enum ly_rc
ly_name_may(const struct ly_name_seen *s, enum ly_record_kind kind,
    const char *subject, const char *name, struct ly_why *why)
{
	if (!name[0] || ly_record_kinds[kind].claim == LY_RECORD_MENTIONS)
		return LY_OK;
	if (s->ended)
		return ly_fail(why, LY_REFUSED,
		    "%s was destroyed (event %llu of the record), and is never"
		    " accepted again",
		    name, (unsigned long long)s->ended);
	if (s->first && strcmp(s->subject, subject) != 0)
		return ly_fail(why, LY_REFUSED,
		    "%s is %s's since event %llu of the record, and is not"
		    " accepted for %s",
		    name, s->subject, (unsigned long long)s->first, subject);
	return LY_OK;
}
