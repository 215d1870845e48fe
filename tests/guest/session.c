/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guest/session.h"

#include <stdio.h>

#define CC_NV_READ 0x14eu
#define CC_POLICY_PCR 0x17fu
#define CC_POLICY_CODE 0x16cu
#define MASK (1u << 11 | 1u << 12)

static struct ly_bytes
bytes(const void *at, size_t len)
{
	return (struct ly_bytes){ at, len };
}

static bool
differs(struct ly_chip *c, const char *what)
{
	c->what = what;
	snprintf(c->why, sizeof(c->why), "not what it should be");
	return false;
}

/* Part 3 of the specification: H(digest so far, 32 zeros at first | rest). */
static void
policy_step(struct ly_wr *rest, uint8_t digest[LY_SHA256_LEN])
{
	static const uint8_t zeros[LY_SHA256_LEN];

	ly_sha256(bytes(zeros, sizeof(zeros)),
	    bytes(rest->start, ly_wr_len(rest)), digest);
}

static void
policy_of_code(uint32_t code, uint8_t digest[LY_SHA256_LEN])
{
	uint8_t room[16];
	struct ly_wr w = ly_wr_over(room, sizeof(room));

	ly_wr_u32(&w, CC_POLICY_CODE);
	ly_wr_u32(&w, code);
	policy_step(&w, digest);
}

static void
policy_of_pcrs(const uint8_t *pcr11, const uint8_t *pcr12,
    uint8_t digest[LY_SHA256_LEN])
{
	/* one selection: SHA-256, three bytes of bits */
	static const uint8_t selection[] = { 0, 0, 0, 1, 0, 0x0b, 3,
		MASK & 0xff, MASK >> 8 & 0xff, MASK >> 16 & 0xff };
	uint8_t room[64], values[LY_SHA256_LEN];
	struct ly_wr w = ly_wr_over(room, sizeof(room));

	ly_sha256(bytes(pcr11, LY_SHA256_LEN), bytes(pcr12, LY_SHA256_LEN),
	    values);
	ly_wr_u32(&w, CC_POLICY_PCR);
	ly_wr_bytes(&w, selection, sizeof(selection));
	ly_wr_bytes(&w, values, sizeof(values));
	policy_step(&w, digest);
}

bool
ly_session_open(struct ly_session *s, struct ly_chip *c)
{
	*s = (struct ly_session){ .value = 0x6c616e7961726421 };
	policy_of_code(CC_NV_READ, s->policy);
	return ly_chip_box_open(c, s->policy, s->value);
}

/* One that was not used to its end may still be loaded, or not. */
static bool
begin(struct ly_session *s, struct ly_chip *c)
{
	uint8_t nonce[LY_CHIP_NONCE];

	if (s->handle && !ly_chip_flush(c, s->handle) && c->lost)
		return false;
	s->handle = 0;
	return ly_chip_random(c, nonce, sizeof(nonce)) &&
	    ly_chip_session(c, nonce, &s->handle);
}

bool
ly_session_use(struct ly_session *s, struct ly_chip *c,
    const uint8_t pcr11[LY_SHA256_LEN], const uint8_t pcr12[LY_SHA256_LEN])
{
	uint8_t want[LY_SHA256_LEN], got[LY_SHA256_LEN];
	uint64_t value;

	if (!begin(s, c) || !ly_chip_policy_pcr(c, s->handle, MASK) ||
	    !ly_chip_policy_digest(c, s->handle, got))
		return false;
	policy_of_pcrs(pcr11, pcr12, want);
	if (memcmp(got, want, sizeof(want)) != 0)
		return differs(c, "PolicyGetDigest");
	if (!ly_chip_policy_restart(c, s->handle) ||
	    !ly_chip_policy_code(c, s->handle, CC_NV_READ) ||
	    !ly_chip_box_read(c, s->handle, &value))
		return false;
	s->handle = 0;
	s->uses++;
	return value == s->value || differs(c, "NV_Read by policy");
}
