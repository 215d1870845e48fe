/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guest/chip.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TAG_PLAIN 0x8001
#define TAG_SESSIONS 0x8002
#define RS_PW 0x40000009u
#define RH_NULL 0x40000007u
#define RH_OWNER 0x40000001u
#define RH_ENDORSEMENT 0x4000000bu
#define ALG_SHA256 0x000b
#define ALG_NULL 0x0010
#define ALG_ECDSA 0x0018
#define ATTEST_MAGIC 0xff544347u
#define ATTEST_QUOTE 0x8018
#define RC_RETRY 0x922
#define RC_NV_DEFINED 0x14c
#define RETRIES_MAX 50 /* 20 ms apart; then it counts as an error */

enum verb {
	CREATE_PRIMARY,
	FLUSH,
	NV_DEFINE,
	NV_INCREMENT,
	NV_READ,
	EXTEND,
	PCR_READ,
	QUOTE,
	RANDOM,
	CLOCK,
	NV_WRITE,
	SESSION,
	POLICY_PCR,
	POLICY_CODE,
	POLICY_DIGEST,
	POLICY_RESTART,
	VERBS
};

/* `auths` passwords follow the handles; all of ours are empty. A command that
 * returns a handle has it before its parameters. */
static const struct {
	const char *name;
	uint32_t code;
	unsigned auths;
	bool makes_handle;
} verbs[VERBS] = {
	[CREATE_PRIMARY] = { "CreatePrimary", 0x131, 1, true },
	[FLUSH] = { "FlushContext", 0x165, 0, false },
	[NV_DEFINE] = { "NV_DefineSpace", 0x12a, 1, false },
	[NV_INCREMENT] = { "NV_Increment", 0x134, 1, false },
	[NV_READ] = { "NV_Read", 0x14e, 1, false },
	[EXTEND] = { "PCR_Extend", 0x182, 1, false },
	[PCR_READ] = { "PCR_Read", 0x17e, 0, false },
	[QUOTE] = { "Quote", 0x158, 1, false },
	[RANDOM] = { "GetRandom", 0x17b, 0, false },
	[CLOCK] = { "ReadClock", 0x181, 0, false },
	[NV_WRITE] = { "NV_Write", 0x137, 1, false },
	[SESSION] = { "StartAuthSession", 0x176, 0, true },
	[POLICY_PCR] = { "PolicyPCR", 0x17f, 0, false },
	[POLICY_CODE] = { "PolicyCommandCode", 0x16c, 0, false },
	[POLICY_DIGEST] = { "PolicyGetDigest", 0x189, 0, false },
	[POLICY_RESTART] = { "PolicyRestart", 0x180, 0, false },
};

/* One command on its way: filled by begin() and the caller, sent by run(). */
struct call {
	enum verb verb;
	struct ly_wr wr;
	struct ly_rd rd; /* the answer's parameters */
	uint32_t rc, handle;
	uint8_t cmd[512], ans[LY_CHIP_MAX];
};

// clang-format off
/* TCG EK Credential Profile 2.x, template L-2: TPMT_PUBLIC up to `unique`. */
static const uint8_t ek_template[] = {
	0x00, 0x23, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2, 0x00, 0x20,
	0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8,
	0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
	0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64,
	0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
	0x00, 0x06, 0x00, 0x80, 0x00, 0x43,	/* AES-128-CFB */
	0x00, 0x10, 0x00, 0x03, 0x00, 0x10,	/* no scheme, P-256, no KDF */
};

/* fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted,
 * sign; no policy; ECDSA with SHA-256 on P-256. */
static const uint8_t ak_template[] = {
	0x00, 0x23, 0x00, 0x0b, 0x00, 0x05, 0x04, 0x72, 0x00, 0x00,
	0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10,
};
// clang-format on

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Authorised by `session`, which ends with the command. */
static void
begin_as(struct call *k, enum verb verb, const uint32_t *handles, size_t n,
    uint32_t session)
{
	k->verb = verb;
	k->rc = 0;
	k->wr = ly_wr_over(k->cmd, sizeof(k->cmd));
	ly_wr_u16(&k->wr, verbs[verb].auths ? TAG_SESSIONS : TAG_PLAIN);
	ly_wr_u32(&k->wr, 0); /* the size, known to run() */
	ly_wr_u32(&k->wr, verbs[verb].code);
	for (size_t i = 0; i < n; i++)
		ly_wr_u32(&k->wr, handles[i]);
	if (verbs[verb].auths == 0)
		return;
	ly_wr_u32(&k->wr, verbs[verb].auths * 9);
	for (unsigned i = 0; i < verbs[verb].auths; i++) {
		ly_wr_u32(&k->wr, session);
		ly_wr_u16(&k->wr, 0); /* nonce */
		ly_wr_u8(&k->wr, 0);  /* attributes */
		ly_wr_u16(&k->wr, 0); /* password */
	}
}

static void
begin(struct call *k, enum verb verb, const uint32_t *handles, size_t n)
{
	begin_as(k, verb, handles, n, RS_PW);
}

static bool
wrong(struct ly_chip *c, const struct call *k, const char *why)
{
	c->what = verbs[k->verb].name;
	snprintf(c->why, sizeof(c->why), "%s", why);
	return false;
}

/* The kernel keeps the device to itself between our write and our read. */
static ssize_t
exchange(struct ly_chip *c, struct call *k)
{
	size_t len = ly_wr_len(&k->wr);
	uint64_t start_us = now_us(), gap_us;
	ssize_t n = write(c->fd, k->cmd, len);

	if (n == (ssize_t)len)
		n = read(c->fd, k->ans, sizeof(k->ans));
	gap_us = now_us() - start_us;
	c->max_gap_us = ly_max(c->max_gap_us, gap_us);
	c->round_gap_us = ly_max(c->round_gap_us, gap_us);
	return n;
}

/* Header, and if the command had sessions: handle and parameter size. */
static bool
open_answer(struct ly_chip *c, struct call *k, size_t len)
{
	struct ly_rd r = ly_rd_over(k->ans, len);
	uint16_t tag = ly_rd_u16(&r);
	uint32_t size = ly_rd_u32(&r);

	k->rc = ly_rd_u32(&r);
	if (r.bad || size != len)
		return wrong(c, k, "answer cut short");
	if (k->rc != 0) {
		char why[32];

		snprintf(why, sizeof(why), "rc 0x%03x", k->rc);
		return wrong(c, k, why);
	}
	k->handle = verbs[k->verb].makes_handle ? ly_rd_u32(&r) : 0;
	if (tag == TAG_SESSIONS)
		ly_rd_u32(&r);
	k->rd = r;
	return !r.bad || wrong(c, k, "answer cut short");
}

static bool
send_once(struct ly_chip *c, struct call *k)
{
	ssize_t n = exchange(c, k);

	c->lost = n <= 0;
	if (c->lost)
		return wrong(c, k,
		    n < 0 ? strerrorname_np(errno) : "no answer");
	c->commands++;
	return open_answer(c, k, (size_t)n);
}

static bool
run(struct ly_chip *c, struct call *k)
{
	struct ly_wr head = ly_wr_over(k->cmd + 2, 4);
	bool good;

	assert(!k->wr.bad);
	ly_wr_u32(&head, (uint32_t)ly_wr_len(&k->wr));
	good = send_once(c, k);
	for (int i = 0; k->rc == RC_RETRY && i < RETRIES_MAX; i++) {
		c->retries++;
		usleep(20000);
		good = send_once(c, k);
	}
	return good;
}

static bool
done(struct ly_chip *c, const struct call *k)
{
	return !k->rd.bad || wrong(c, k, "answer cut short");
}

static struct ly_bytes
sized(struct ly_rd *r)
{
	size_t len = ly_rd_u16(r);
	const uint8_t *at = ly_rd_bytes(r, len);

	return (struct ly_bytes){ at, at ? len : 0 };
}

/* Exactly `len` bytes behind their size, or the answer is bad. */
static void
sized_as(struct ly_rd *r, uint8_t *out, size_t len)
{
	struct ly_bytes b = sized(r);

	if (b.len == len)
		memcpy(out, b.at, len);
	else
		r->bad = true;
}

/* A curve coordinate; a leading zero may have been left out. */
static void
coordinate(struct ly_rd *r, uint8_t out[32])
{
	struct ly_bytes b = sized(r);

	if (b.len == 0 || b.len > 32) {
		r->bad = true;
		return;
	}
	memset(out, 0, 32);
	memcpy(out + 32 - b.len, b.at, b.len);
}

static void
pcr_select(struct ly_wr *w, uint32_t mask)
{
	ly_wr_u32(w, 1);
	ly_wr_u16(w, ALG_SHA256);
	ly_wr_u8(w, 3);
	for (unsigned i = 0; i < 3; i++)
		ly_wr_u8(w, (uint8_t)(mask >> 8 * i));
}

bool
ly_chip_open(struct ly_chip *c, const char *path)
{
	*c = (struct ly_chip){ .fd = open(path, O_RDWR | O_CLOEXEC) };
	if (c->fd >= 0)
		return true;
	c->what = "open";
	snprintf(c->why, sizeof(c->why), "%s", strerrorname_np(errno));
	return false;
}

/* `unique_len` zeros as each of x and y, as the template wants. */
static bool
create_primary(struct ly_chip *c, struct call *k, uint32_t hierarchy,
    struct ly_bytes template, uint16_t unique_len)
{
	static const uint8_t zeros[32];
	size_t coord_len = 2 + (size_t)unique_len;

	begin(k, CREATE_PRIMARY, &hierarchy, 1);
	ly_wr_u16(&k->wr, 4); /* no password, no data */
	ly_wr_u32(&k->wr, 0);
	ly_wr_u16(&k->wr, (uint16_t)(template.len + 2 * coord_len));
	ly_wr_bytes(&k->wr, template.at, template.len);
	for (int i = 0; i < 2; i++) {
		ly_wr_u16(&k->wr, unique_len);
		ly_wr_bytes(&k->wr, zeros, unique_len);
	}
	ly_wr_u16(&k->wr, 0); /* outsideInfo */
	ly_wr_u32(&k->wr, 0); /* creationPCR */
	return run(c, k);
}

bool
ly_chip_flush(struct ly_chip *c, uint32_t handle)
{
	struct call k;

	begin(&k, FLUSH, &handle, 1);
	return run(c, &k);
}

bool
ly_chip_ek(struct ly_chip *c, uint8_t digest[LY_SHA256_LEN])
{
	struct call k;
	struct ly_bytes pub;

	if (!create_primary(c, &k, RH_ENDORSEMENT,
		(struct ly_bytes){ ek_template, sizeof(ek_template) }, 32))
		return false;
	pub = sized(&k.rd);
	ly_sha256(pub, (struct ly_bytes){ 0 }, digest);
	return done(c, &k) && ly_chip_flush(c, k.handle);
}

bool
ly_chip_ak(struct ly_chip *c)
{
	struct call k;
	struct ly_bytes pub;

	if (!create_primary(c, &k, RH_ENDORSEMENT,
		(struct ly_bytes){ ak_template, sizeof(ak_template) }, 0))
		return false;
	pub = sized(&k.rd);
	if (k.rd.bad || pub.len > sizeof(c->ak_public))
		return wrong(c, &k, "public area of an odd size");
	c->ak = k.handle;
	c->ak_public_len = pub.len;
	memcpy(c->ak_public, pub.at, pub.len);
	return true;
}

/* TPMS_ATTEST, part 2 of the specification, 10.12.12. */
static bool
read_attest(struct ly_chip *c, const struct call *k, struct ly_chip_quote *q)
{
	struct ly_rd r = ly_rd_over(q->attest, q->attest_len);
	uint32_t magic = ly_rd_u32(&r);
	uint16_t type = ly_rd_u16(&r);

	sized(&r); /* qualifiedSigner */
	sized_as(&r, q->extra, sizeof(q->extra));
	q->clock = (struct ly_chip_clock){ .clock_ms = ly_rd_u64(&r) };
	q->clock.resets = ly_rd_u32(&r);
	q->clock.restarts = ly_rd_u32(&r);
	ly_rd_u8(&r);	     /* safe */
	ly_rd_u64(&r);	     /* firmware version */
	ly_rd_bytes(&r, 10); /* one selection of 3 bytes */
	sized_as(&r, q->pcrs, sizeof(q->pcrs));
	if (r.bad || ly_rd_left(&r) > 0 || magic != ATTEST_MAGIC ||
	    type != ATTEST_QUOTE)
		return wrong(c, k, "not an attest of a quote");
	return true;
}

bool
ly_chip_quote(struct ly_chip *c, uint32_t mask,
    const uint8_t nonce[LY_CHIP_NONCE], struct ly_chip_quote *out)
{
	struct call k;
	struct ly_bytes attest;

	begin(&k, QUOTE, &c->ak, 1);
	ly_wr_u16(&k.wr, LY_CHIP_NONCE);
	ly_wr_bytes(&k.wr, nonce, LY_CHIP_NONCE);
	ly_wr_u16(&k.wr, 0x0010); /* the key's own scheme */
	pcr_select(&k.wr, mask);
	if (!run(c, &k))
		return false;
	attest = sized(&k.rd);
	if (k.rd.bad || attest.len > sizeof(out->attest))
		return wrong(c, &k, "attest of an odd size");
	out->attest_len = attest.len;
	memcpy(out->attest, attest.at, attest.len);
	if (ly_rd_u16(&k.rd) != ALG_ECDSA || ly_rd_u16(&k.rd) != ALG_SHA256)
		return wrong(c, &k, "signature of another kind");
	coordinate(&k.rd, out->r);
	coordinate(&k.rd, out->s);
	return done(c, &k) && read_attest(c, &k, out);
}

bool
ly_chip_extend(struct ly_chip *c, unsigned pcr,
    const uint8_t digest[LY_SHA256_LEN])
{
	uint32_t handle = pcr;
	struct call k;

	begin(&k, EXTEND, &handle, 1);
	ly_wr_u32(&k.wr, 1);
	ly_wr_u16(&k.wr, ALG_SHA256);
	ly_wr_bytes(&k.wr, digest, LY_SHA256_LEN);
	return run(c, &k);
}

bool
ly_chip_pcr(struct ly_chip *c, unsigned pcr, uint8_t out[LY_SHA256_LEN])
{
	struct call k;

	begin(&k, PCR_READ, NULL, 0);
	pcr_select(&k.wr, 1u << pcr);
	if (!run(c, &k))
		return false;
	ly_rd_u32(&k.rd);	/* update counter */
	ly_rd_bytes(&k.rd, 10); /* the selection */
	if (ly_rd_u32(&k.rd) != 1)
		return wrong(c, &k, "not one digest");
	sized_as(&k.rd, out, LY_SHA256_LEN);
	return done(c, &k);
}

/* Without a password, of 8 bytes; true as well if it is there already. */
static bool
nv_define(struct ly_chip *c, uint32_t index, uint32_t attributes,
    struct ly_bytes policy)
{
	uint32_t owner = RH_OWNER;
	struct call k;

	begin(&k, NV_DEFINE, &owner, 1);
	ly_wr_u16(&k.wr, 0); /* no password */
	ly_wr_u16(&k.wr, (uint16_t)(14 + policy.len));
	ly_wr_u32(&k.wr, index);
	ly_wr_u16(&k.wr, ALG_SHA256);
	ly_wr_u32(&k.wr, attributes);
	ly_wr_u16(&k.wr, (uint16_t)policy.len);
	ly_wr_bytes(&k.wr, policy.at, policy.len);
	ly_wr_u16(&k.wr, 8);
	return run(c, &k) || k.rc == RC_NV_DEFINED;
}

bool
ly_chip_nv_open(struct ly_chip *c)
{
	uint64_t value;

	/* counter, owner and password, no DA */
	if (!nv_define(c, LY_CHIP_NV, 0x02060016, (struct ly_bytes){ 0 }))
		return false;
	/* A start may have ended between define and increment. */
	return ly_chip_nv_read(c, &value) || ly_chip_nv_increment(c);
}

bool
ly_chip_nv_increment(struct ly_chip *c)
{
	struct call k;

	begin(&k, NV_INCREMENT, (uint32_t[]){ LY_CHIP_NV, LY_CHIP_NV }, 2);
	return run(c, &k);
}

static bool
nv_read(struct ly_chip *c, uint32_t index, uint32_t session, uint64_t *out)
{
	uint8_t value[8];
	struct ly_rd r = ly_rd_over(value, sizeof(value));
	struct call k;

	begin_as(&k, NV_READ, (uint32_t[]){ index, index }, 2, session);
	ly_wr_u16(&k.wr, 8);
	ly_wr_u16(&k.wr, 0);
	if (!run(c, &k))
		return false;
	sized_as(&k.rd, value, sizeof(value));
	*out = ly_rd_u64(&r);
	return done(c, &k);
}

bool
ly_chip_nv_read(struct ly_chip *c, uint64_t *out)
{
	return nv_read(c, LY_CHIP_NV, RS_PW, out);
}

bool
ly_chip_random(struct ly_chip *c, uint8_t *out, size_t len)
{
	struct call k;

	begin(&k, RANDOM, NULL, 0);
	ly_wr_u16(&k.wr, (uint16_t)len);
	if (!run(c, &k))
		return false;
	sized_as(&k.rd, out, len);
	return done(c, &k);
}

bool
ly_chip_clock(struct ly_chip *c, struct ly_chip_clock *out)
{
	struct call k;

	begin(&k, CLOCK, NULL, 0);
	if (!run(c, &k))
		return false;
	out->time_ms = ly_rd_u64(&k.rd);
	out->clock_ms = ly_rd_u64(&k.rd);
	out->resets = ly_rd_u32(&k.rd);
	out->restarts = ly_rd_u32(&k.rd);
	return done(c, &k);
}

/* ---- policy sessions ---- */

bool
ly_chip_box_open(struct ly_chip *c, const uint8_t policy[LY_SHA256_LEN],
    uint64_t value)
{
	struct ly_bytes p = { policy, LY_SHA256_LEN };
	struct call k;

	/* read by policy, written by owner and password, no DA */
	if (!nv_define(c, LY_CHIP_BOX, 0x02080006, p))
		return false;
	begin(&k, NV_WRITE, (uint32_t[]){ LY_CHIP_BOX, LY_CHIP_BOX }, 2);
	ly_wr_u16(&k.wr, 8);
	ly_wr_u64(&k.wr, value);
	ly_wr_u16(&k.wr, 0);
	return run(c, &k);
}

bool
ly_chip_box_read(struct ly_chip *c, uint32_t session, uint64_t *out)
{
	return nv_read(c, LY_CHIP_BOX, session, out);
}

bool
ly_chip_session(struct ly_chip *c, const uint8_t nonce[LY_CHIP_NONCE],
    uint32_t *out)
{
	struct call k;

	begin(&k, SESSION, (uint32_t[]){ RH_NULL, RH_NULL }, 2);
	ly_wr_u16(&k.wr, LY_CHIP_NONCE);
	ly_wr_bytes(&k.wr, nonce, LY_CHIP_NONCE);
	ly_wr_u16(&k.wr, 0); /* no salt */
	ly_wr_u8(&k.wr, 1);  /* a policy session */
	ly_wr_u16(&k.wr, ALG_NULL);
	ly_wr_u16(&k.wr, ALG_SHA256);
	if (!run(c, &k))
		return false;
	*out = k.handle;
	return true;
}

bool
ly_chip_policy_pcr(struct ly_chip *c, uint32_t session, uint32_t mask)
{
	struct call k;

	begin(&k, POLICY_PCR, &session, 1);
	ly_wr_u16(&k.wr, 0); /* whatever they are now */
	pcr_select(&k.wr, mask);
	return run(c, &k);
}

bool
ly_chip_policy_code(struct ly_chip *c, uint32_t session, uint32_t code)
{
	struct call k;

	begin(&k, POLICY_CODE, &session, 1);
	ly_wr_u32(&k.wr, code);
	return run(c, &k);
}

bool
ly_chip_policy_restart(struct ly_chip *c, uint32_t session)
{
	struct call k;

	begin(&k, POLICY_RESTART, &session, 1);
	return run(c, &k);
}

bool
ly_chip_policy_digest(struct ly_chip *c, uint32_t session,
    uint8_t out[LY_SHA256_LEN])
{
	struct call k;

	begin(&k, POLICY_DIGEST, &session, 1);
	if (!run(c, &k))
		return false;
	sized_as(&k.rd, out, LY_SHA256_LEN);
	return done(c, &k);
}
