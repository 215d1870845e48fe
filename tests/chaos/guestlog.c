/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/guestlog.h"

#include "lib/base/text.h"
#include "tests/guest/sha256.h"

#define LINE_MAX_ 4096

struct guestlog guestlog;

/* A `did` record. */
struct did {
	char boot[9];
	uint64_t round, x11, x12, nv, failed, uses, gap_ms;
};

static int logs[HOSTS_N] = { -1, -1, -1 };
static char line[LINE_MAX_];
static size_t line_len;
static uint64_t lost; /* damaged lines since the last good record */
static bool cold = true, pardoned;

void
guestlog_cold(void)
{
	cold = true;
}

void
guestlog_pardon(void)
{
	pardoned = true;
}

/* ---- records ---- */

/* "KEY":VALUE or "KEY":"VALUE"; false if there is none or it is too long. */
static bool
text_of(const char *rec, const char *key, char *out, size_t size)
{
	char name[40];
	const char *at;
	size_t len;

	snprintf(name, sizeof(name), "\"%s\":", key);
	at = strstr(rec, name);
	if (!at)
		return false;
	at += strlen(name);
	at += *at == '"';
	len = strcspn(at, "\",}");
	if (len >= size)
		return false;
	memcpy(out, at, len);
	out[len] = '\0';
	return true;
}

static bool
number_of(const char *rec, const char *key, uint64_t *out)
{
	char text[24], *end;

	if (!text_of(rec, key, text, sizeof(text)))
		return false;
	*out = strtoull(text, &end, 10);
	return end != text && !*end;
}

static bool
digest_of(const char *rec, const char *key, uint8_t out[LY_SHA256_LEN])
{
	char text[2 * LY_SHA256_LEN + 1];

	return text_of(rec, key, text, sizeof(text)) &&
	    ly_unhex(text, out, LY_SHA256_LEN) == LY_OK;
}

static bool
sum_is_right(const char *rec)
{
	const char *at = strstr(rec, "\"boot\""),
		   *end = strstr(rec, ",\"crc\"");
	unsigned crc = 0;
	char text[16];

	if (!at || !end || at > end || !text_of(rec, "crc", text, sizeof(text)))
		return false;
	for (; at < end; at++)
		crc = crc * 31 + (unsigned char)*at;
	return crc == strtoul(text, NULL, 16);
}

/* PCR := H(PCR | H("lanyard-guest" | round)). */
static void
extend(uint8_t pcr[LY_SHA256_LEN], uint64_t round)
{
	static const char label[] = "lanyard-guest";
	uint8_t n[8], digest[LY_SHA256_LEN], next[LY_SHA256_LEN];

	put(n, round, 8);
	ly_sha256((struct ly_bytes){ (const uint8_t *)label, strlen(label) },
	    (struct ly_bytes){ n, 8 }, digest);
	ly_sha256((struct ly_bytes){ pcr, LY_SHA256_LEN },
	    (struct ly_bytes){ digest, sizeof(digest) }, next);
	memcpy(pcr, next, sizeof(next));
}

/* ---- what must be true ---- */

/* A round of which nothing failed did all of it. */
static void
check_whole(const struct did *d)
{
	if (d->x11 != d->round || d->x12 != (d->round % 16 ? 0 : d->round))
		violation(LOG, "round %lu extended PCRs as of rounds %lu, %lu",
		    d->round, d->x11, d->x12);
	if (d->nv != guestlog.nv + 1)
		violation(LOG, "round %lu: the counter went from %lu to %lu",
		    d->round, guestlog.nv, d->nv);
	if (d->uses != guestlog.uses + (d->round % 4 == 0))
		violation(LOG, "round %lu: %lu sessions after %lu", d->round,
		    d->uses, guestlog.uses);
}

/* Rounds whose records the console has damaged did what rounds do. */
static void
fill_in(const struct did *d)
{
	while (guestlog.round + 1 < d->round) {
		uint64_t r = ++guestlog.round;

		extend(guestlog.pcr11, r);
		if (r % 16 == 0)
			extend(guestlog.pcr12, r);
		guestlog.nv++;
		guestlog.uses += r % 4 == 0;
	}
}

static void
check_order(const struct did *d)
{
	if (d->round <= guestlog.round)
		violation(LOG, "round %lu after round %lu: twice", d->round,
		    guestlog.round);
	else if (d->round > guestlog.round + 1 + lost)
		violation(LOG, "round %lu after round %lu: a gap", d->round,
		    guestlog.round);
}

static void
check_failed(const struct did *d)
{
	if (d->failed > guestlog.failed && !pardoned)
		violation(ANSWERS, "round %lu: %lu commands failed: %s",
		    d->round, d->failed - guestlog.failed, guestlog.trouble);
}

static void
on_did(const struct did *d, on_round *round)
{
	uint64_t now = now_ns();

	if (strcmp(d->boot, guestlog.boot) != 0) {
		if (guestlog.boot[0])
			violation(LOG, "a guest that nobody started: boot %s",
			    d->boot);
		memcpy(guestlog.boot, d->boot, sizeof(guestlog.boot));
	}
	check_order(d);
	fill_in(d);
	check_failed(d);
	if (d->failed == guestlog.failed && !lost)
		check_whole(d);
	if (d->x11)
		extend(guestlog.pcr11, d->x11);
	if (d->x12)
		extend(guestlog.pcr12, d->x12);
	if (guestlog.did_ns)
		round(d->gap_ms, (now - guestlog.did_ns) / NS_PER_MS);
	guestlog.rounds_all++;
	guestlog.round = d->round;
	guestlog.nv = d->nv;
	guestlog.failed = d->failed;
	guestlog.uses_all += d->uses - guestlog.uses;
	guestlog.uses = d->uses;
	guestlog.did_ns = now;
	lost = 0;
}

/* The first record of a boot: where our replay begins. */
static void
on_ready(const char *rec)
{
	uint64_t nv;
	uint8_t zeros[LY_SHA256_LEN] = { 0 };

	if (!digest_of(rec, "pcr11", guestlog.pcr11) ||
	    !digest_of(rec, "pcr12", guestlog.pcr12) ||
	    !number_of(rec, "nv", &nv)) {
		guestlog.garbled++;
		return;
	}
	if (!cold)
		violation(LOG, "the guest booted though nobody asked it to");
	if (memcmp(guestlog.pcr11, zeros, sizeof(zeros)) != 0 ||
	    memcmp(guestlog.pcr12, zeros, sizeof(zeros)) != 0)
		violation(LOG, "a guest that begins finds PCRs of another");
	if (nv < guestlog.nv || (guestlog.boots && nv > guestlog.nv + 1))
		violation(LOG,
		    "a guest that begins finds the counter at %lu,"
		    " not %lu",
		    nv, guestlog.nv);
	guestlog.boots++;
	guestlog.boot[0] = '\0';
	guestlog.nv = nv;
	guestlog.round = guestlog.failed = guestlog.uses = 0;
	guestlog.commands_before += guestlog.commands;
	guestlog.commands = guestlog.paused = 0;
	guestlog.did_ns = 0;
	cold = pardoned = false;
}

/* What the guest believes is what its log gives. */
static void
on_tick(const char *rec)
{
	uint8_t pcr11[LY_SHA256_LEN], pcr12[LY_SHA256_LEN];
	uint64_t nv, round, commands, failed;

	if (!number_of(rec, "nv", &nv) || !number_of(rec, "round", &round) ||
	    !number_of(rec, "commands", &commands) ||
	    !number_of(rec, "failed", &failed) ||
	    !digest_of(rec, "pcr11", pcr11) ||
	    !digest_of(rec, "pcr12", pcr12)) {
		guestlog.garbled++;
		return;
	}
	guestlog.commands = commands;
	guestlog.paused += strstr(rec, "\"state\":\"paused\"") != NULL;
	if (lost || !guestlog.round)
		return;
	if (round != guestlog.round || nv != guestlog.nv)
		violation(LOG,
		    "the guest is at round %lu and %lu, its log at"
		    " %lu and %lu",
		    round, nv, guestlog.round, guestlog.nv);
	else if (memcmp(pcr11, guestlog.pcr11, sizeof(pcr11)) != 0 ||
	    memcmp(pcr12, guestlog.pcr12, sizeof(pcr12)) != 0)
		violation(LOG, "round %lu: the PCRs are not those of the log",
		    round);
}

static void
on_error(const char *rec)
{
	char what[64] = "?", why[100] = "?";

	text_of(rec, "what", what, sizeof(what));
	text_of(rec, "why", why, sizeof(why));
	snprintf(guestlog.trouble, sizeof(guestlog.trouble), "%s: %s", what,
	    why);
	tell("  the guest says: %s", guestlog.trouble);
}

static bool
parse_did(const char *rec, struct did *d)
{
	return sum_is_right(rec) &&
	    text_of(rec, "boot", d->boot, sizeof(d->boot)) &&
	    number_of(rec, "round", &d->round) &&
	    number_of(rec, "x11", &d->x11) && number_of(rec, "x12", &d->x12) &&
	    number_of(rec, "nv", &d->nv) &&
	    number_of(rec, "failed", &d->failed) &&
	    number_of(rec, "uses", &d->uses) &&
	    number_of(rec, "gap_ms", &d->gap_ms);
}

static void
on_line(const char *rec, on_round *round)
{
	char kind[16];
	struct did d;

	rec = strstr(rec, "LANYARD {");
	if (!rec)
		return; /* the firmware's, or the kernel's */
	if (!text_of(rec, "event", kind, sizeof(kind))) {
		lost++;
		guestlog.garbled++;
	} else if (strcmp(kind, "did") == 0) {
		if (parse_did(rec, &d)) {
			on_did(&d, round);
		} else {
			tell("  damaged: %s", rec);
			lost++;
			guestlog.garbled++;
		}
	} else if (strcmp(kind, "tick") == 0) {
		on_tick(rec);
	} else if (strcmp(kind, "ready") == 0) {
		on_ready(rec);
	} else if (strcmp(kind, "error") == 0) {
		on_error(rec);
	} else if (strcmp(kind, "kernel") == 0 || strcmp(kind, "dead") == 0) {
		tell("  the guest says: %s", rec);
	}
}

/* ---- the consoles ---- */

static void
take(const char *from, size_t n, on_round *round)
{
	for (size_t i = 0; i < n; i++) {
		if (from[i] == '\n' || line_len == sizeof(line) - 1) {
			line[line_len] = '\0';
			line_len = 0;
			on_line(line, round);
		} else if (from[i] && from[i] != '\r') {
			line[line_len++] = from[i];
		}
	}
}

static void
read_one(unsigned host, on_round *round)
{
	char buf[16384], path[200];
	ssize_t n;

	if (logs[host] < 0) {
		snprintf(path, sizeof(path), "%s/serial.log",
		    world.host[host].run);
		logs[host] = open(path, O_RDONLY | O_CLOEXEC);
	}
	while (
	    logs[host] >= 0 && (n = read(logs[host], buf, sizeof(buf))) > 0) {
		guestlog.host = host;
		take(buf, (size_t)n, round);
	}
}

/* The one that wrote last is read first: what it still wrote came before. */
void
guestlog_turn(on_round *round)
{
	unsigned last = guestlog.host;

	read_one(last, round);
	for (unsigned i = 0; i < HOSTS_N; i++)
		if (i != last)
			read_one(i, round);
}
