/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading, replaying and comparing. A log is read from its start each time: it
 * is short, and so nothing has to be kept of it. All its numbers are
 * little-endian.
 */
#include "lib/attest/eventlog.h"

#include "lib/crypt/crypt.h"

#define ALG_SHA256 0x000b
#define EV_NO_ACTION 3u
#define SHA1_SIZE 20
#define DIGEST_MAX 64
#define DRTM_FIRST 17 /* PCRs 17 to 22 are all ones until a dynamic launch */
#define DRTM_LAST 22

static const char spec_id[16] = "Spec ID Event03";
static const char locality_id[16] = "StartupLocality";

/* ---- form ---- */

static uint32_t
le(struct ly_rd *r, size_t size)
{
	const uint8_t *at = ly_rd_bytes(r, size);
	uint32_t v = 0;

	for (size_t i = size; at && i > 0; i--)
		v = v << 8 | at[i - 1];
	return v;
}

static struct ly_bytes
le_sized(struct ly_rd *r)
{
	struct ly_bytes b;

	b.len = le(r, 4);
	b.at = ly_rd_bytes(r, b.len);
	return b;
}

static bool
begins(struct ly_bytes data, const char id[16])
{
	return data.len >= 16 && memcmp(data.at, id, 16) == 0;
}

/* Which banks there are, and how long their digests. */
static bool
read_banks(struct ly_bytes spec, struct ly_eventlog *log)
{
	struct ly_rd r = ly_rd_over(spec.at, spec.len);
	uint32_t n;

	ly_rd_bytes(&r, sizeof(spec_id) + 8); /* class, version, uintn */
	n = le(&r, 4);
	if (r.bad || n == 0 || n > LY_COUNT(log->alg))
		return false;
	for (log->algs_n = 0; log->algs_n < n; log->algs_n++) {
		log->alg[log->algs_n] = (uint16_t)le(&r, 2);
		log->size[log->algs_n] = (uint16_t)le(&r, 2);
		if (log->size[log->algs_n] > DIGEST_MAX)
			return false;
	}
	return !r.bad;
}

static enum ly_rc
find_bank(const struct ly_eventlog *log, struct ly_why *why)
{
	for (unsigned i = 0; i < log->algs_n; i++)
		if (log->alg[i] == ALG_SHA256)
			return log->size[i] == LY_SHA256_SIZE ?
			    LY_OK :
			    ly_fail(why, LY_MALFORMED,
				"event log: its SHA-256 digests have %u bytes",
				log->size[i]);
	return ly_fail(why, LY_REFUSED,
	    "the event log has no SHA-256 digests; switch the firmware's"
	    " SHA-256 bank on");
}

/* The first event is in the older form, whatever the log is. */
static enum ly_rc
read_head(struct ly_eventlog *log, struct ly_why *why)
{
	uint32_t pcr = le(&log->rest, 4), type = le(&log->rest, 4);
	struct ly_bytes data;

	ly_rd_bytes(&log->rest, SHA1_SIZE);
	data = le_sized(&log->rest);
	if (log->rest.bad || pcr >= LY_PCRS_N)
		return ly_fail(why, LY_MALFORMED, "not an event log");
	if (type != EV_NO_ACTION || !begins(data, spec_id))
		return ly_fail(why, LY_REFUSED,
		    "the event log is of the old form, which has SHA-1 digests"
		    " alone; boot by UEFI with a TPM 2.0 event log");
	if (!read_banks(data, log))
		return ly_fail(why, LY_MALFORMED,
		    "event log: its first event does not say which digests it"
		    " has");
	return find_bank(log, why);
}

enum ly_rc
ly_eventlog_open(struct ly_bytes bytes, struct ly_eventlog *out,
    struct ly_why *why)
{
	struct ly_eventlog log = { .rest = ly_rd_over(bytes.at, bytes.len) };
	enum ly_rc rc;

	if (bytes.len > LY_LOG_MAX)
		return ly_fail(why, LY_MALFORMED,
		    "event log: %zu bytes, more than %u", bytes.len,
		    LY_LOG_MAX);
	rc = bytes.len ? read_head(&log, why) : LY_OK;
	if (rc != LY_OK)
		return rc;
	log.n = bytes.len > 0;
	*out = log;
	return LY_OK;
}

static unsigned
size_of(const struct ly_eventlog *log, uint32_t alg)
{
	for (unsigned i = 0; i < log->algs_n; i++)
		if (log->alg[i] == alg)
			return log->size[i];
	return 0;
}

/* Each event has each bank's digest, once. */
static void
read_digests(struct ly_eventlog *log, struct ly_logged *ev)
{
	struct ly_rd *r = &log->rest;
	uint32_t n = le(r, 4);

	if (n != log->algs_n)
		r->bad = true;
	for (uint32_t i = 0; i < n && !r->bad; i++) {
		uint32_t alg = le(r, 2);
		unsigned size = size_of(log, alg);
		const uint8_t *at = ly_rd_bytes(r, size);

		if (size == 0 || (alg == ALG_SHA256 && ev->sha256))
			r->bad = true;
		if (alg == ALG_SHA256)
			ev->sha256 = at;
	}
}

enum ly_rc
ly_eventlog_next(struct ly_eventlog *log, struct ly_logged *out,
    struct ly_why *why)
{
	struct ly_logged ev = { .number = log->n };

	if (!log->rest.bad && ly_rd_left(&log->rest) == 0)
		return ly_fail(why, LY_SHORT, "the event log ends here");
	ev.pcr = le(&log->rest, 4);
	ev.type = le(&log->rest, 4);
	read_digests(log, &ev);
	ev.data = le_sized(&log->rest);
	if (log->rest.bad || !ev.sha256 ||
	    (ev.pcr >= LY_PCRS_N && ev.type != EV_NO_ACTION)) {
		log->rest.bad = true;
		return ly_fail(why, LY_MALFORMED,
		    "event log: event %u is not whole", ev.number);
	}
	log->n++;
	*out = ev;
	return LY_OK;
}

/* ---- replay ---- */

struct replay {
	uint8_t (*pcr)[32];
	uint32_t extended;
};

static void
start(struct replay *rp)
{
	for (unsigned i = 0; i < LY_PCRS_N; i++)
		memset(rp->pcr[i], i >= DRTM_FIRST && i <= DRTM_LAST ? 0xff : 0,
		    32);
}

/* What is not extended may still say from which locality the TPM was started:
 * PCR 0 begins as that number. */
static bool
note(struct replay *rp, const struct ly_logged *ev)
{
	if (ev->pcr != 0 || !begins(ev->data, locality_id))
		return true;
	if (ev->data.len != 17 || rp->extended & 1)
		return false;
	rp->pcr[0][31] = ev->data.at[16];
	return true;
}

static bool
apply(struct replay *rp, const struct ly_logged *ev)
{
	uint8_t *pcr = ev->pcr < LY_PCRS_N ? rp->pcr[ev->pcr] : NULL;

	if (ev->type == EV_NO_ACTION)
		return note(rp, ev);
	ly_sha256_of((struct ly_bytes[]){ { pcr, 32 }, { ev->sha256, 32 } }, 2,
	    pcr);
	rp->extended |= 1u << ev->pcr;
	return true;
}

enum ly_rc
ly_eventlog_replay(struct ly_bytes bytes, uint8_t pcr[LY_PCRS_N][32],
    struct ly_why *why)
{
	struct replay rp = { .pcr = pcr };
	struct ly_eventlog log;
	struct ly_logged ev;
	enum ly_rc rc = ly_eventlog_open(bytes, &log, why);

	if (rc != LY_OK)
		return rc;
	start(&rp);
	while ((rc = ly_eventlog_next(&log, &ev, why)) == LY_OK)
		if (!apply(&rp, &ev))
			return ly_fail(why, LY_MALFORMED,
			    "event log: event %u tells the start of PCR 0 too"
			    " late",
			    ev.number);
	return rc == LY_SHORT ? LY_OK : rc;
}

enum ly_rc
ly_eventlog_explains(struct ly_bytes log, uint32_t mask,
    const uint8_t pcr[LY_PCRS_N][32], struct ly_why *why)
{
	uint8_t is[LY_PCRS_N][32];
	enum ly_rc rc = ly_eventlog_replay(log, is, why);

	for (unsigned i = 0; rc == LY_OK && i < LY_PCRS_N; i++) {
		if (!(mask & LY_EVENTLOG_BOOT & 1u << i) ||
		    memcmp(is[i], pcr[i], 32) == 0)
			continue;
		if (log.len == 0)
			return ly_fail(why, LY_REFUSED,
			    "there is no event log, and the quoted PCR %u is"
			    " not as at start",
			    i);
		return ly_fail(why, LY_REFUSED,
		    "the event log does not replay to the quoted PCR %u", i);
	}
	return rc;
}

/* ---- comparing ---- */

/* The next event that extended `pcr`. */
static enum ly_rc
next_of(struct ly_eventlog *log, uint32_t pcr, struct ly_logged *out,
    struct ly_why *why)
{
	enum ly_rc rc;

	do
		rc = ly_eventlog_next(log, out, why);
	while (rc == LY_OK && (out->pcr != pcr || out->type == EV_NO_ACTION));
	return rc;
}

/* In what is left of `log`, which goes on from where it was. */
static bool
comes_later(const struct ly_eventlog *log, const struct ly_logged *what)
{
	struct ly_eventlog copy = *log;
	struct ly_logged ev;

	while (next_of(&copy, what->pcr, &ev, NULL) == LY_OK)
		if (memcmp(ev.sha256, what->sha256, 32) == 0)
			return true;
	return false;
}

static enum ly_rc
tell(const struct ly_logged *ev, bool missing, struct ly_why *why)
{
	char text[200];

	ly_eventlog_print(ev, text, sizeof(text));
	return ly_fail(why, LY_REFUSED,
	    missing ? "PCR %u: %s of the approved log is missing" :
		      "PCR %u: %s is not in the approved log",
	    ev->pcr, text);
}

/* Side by side, to the first pair that is none. */
static enum ly_rc
compare_one(struct ly_eventlog log, struct ly_eventlog ref, uint32_t pcr,
    struct ly_why *why)
{
	struct ly_logged ours, theirs;
	enum ly_rc a, b;

	for (;;) {
		a = next_of(&log, pcr, &ours, why);
		if (a != LY_OK && a != LY_SHORT)
			return a;
		b = next_of(&ref, pcr, &theirs, why);
		if (b != LY_OK && b != LY_SHORT)
			return ly_fail_in(why, b, "approved log");
		if (a == LY_SHORT && b == LY_SHORT)
			return LY_OK;
		if (a == LY_SHORT)
			return tell(&theirs, true, why);
		if (b == LY_SHORT)
			return tell(&ours, false, why);
		if (memcmp(ours.sha256, theirs.sha256, 32) == 0)
			continue;
		if (comes_later(&ref, &ours))
			return tell(&theirs, true, why);
		return tell(&ours, false, why);
	}
}

enum ly_rc
ly_eventlog_compare(struct ly_bytes log, struct ly_bytes reference,
    uint32_t mask, struct ly_why *why)
{
	struct ly_eventlog ours, theirs;
	enum ly_rc rc = ly_eventlog_open(log, &ours, why);

	if (rc != LY_OK)
		return rc;
	rc = ly_eventlog_open(reference, &theirs, why);
	if (rc != LY_OK)
		return ly_fail_in(why, rc, "approved log");
	for (uint32_t i = 0; rc == LY_OK && i < LY_PCRS_N; i++)
		if (mask & 1u << i)
			rc = compare_one(ours, theirs, i, why);
	return rc;
}
