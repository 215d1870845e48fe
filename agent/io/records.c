/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/records.h"

#include "lib/io/file.h"
#include "lib/io/identity.h"

#include <stdlib.h>

#define MAGIC 0x4c4e5948u /* "LNYH" */
#define VERSION 1
#define HEAD 12
#define SUM 32

uint8_t *
ly_records_pack(const struct ly_record *const *recs, size_t n, size_t *len)
{
	size_t one = 4 + ly_message_max(&ly_record_message);
	size_t room = HEAD + n * one + SUM;
	uint8_t *buf = malloc(room);
	struct ly_wr w = ly_wr_over(buf, room);

	if (!buf)
		return NULL;
	ly_wr_u32(&w, MAGIC);
	ly_wr_u32(&w, VERSION);
	ly_wr_u32(&w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		uint8_t *head = w.at;
		struct ly_wr size;

		ly_wr_u32(&w, 0);
		ly_message_put(&ly_record_message, recs[i], &w);
		size = ly_wr_over(head, 4);
		ly_wr_u32(&size, (uint32_t)(w.at - head - 4));
	}
	assert(!w.bad);
	ly_sha256(buf, ly_wr_len(&w), w.at);
	*len = ly_wr_len(&w) + SUM;
	return buf;
}

static enum ly_rc
unpack_all(struct ly_rd *r, struct ly_record *recs, size_t n,
    struct ly_why *why)
{
	for (size_t i = 0; i < n; i++) {
		size_t size = ly_rd_u32(r);
		const uint8_t *at = ly_rd_bytes(r, size);
		enum ly_rc rc;

		if (!at)
			return ly_fail(why, LY_MALFORMED, "cut short");
		rc = ly_message_get(&ly_record_message, at, size, &recs[i],
		    why);
		if (rc != LY_OK)
			return rc;
		if (recs[i].state >= LY_REC_STATES)
			return ly_fail(why, LY_MALFORMED, "state %u",
			    recs[i].state);
	}
	return ly_rd_left(r) ? ly_fail(why, LY_MALFORMED, "bytes too many") :
			       LY_OK;
}

enum ly_rc
ly_records_unpack(const uint8_t *buf, size_t len, struct ly_record **out,
    size_t *n, struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(buf, len < SUM ? 0 : len - SUM);
	uint32_t magic = ly_rd_u32(&r), version = ly_rd_u32(&r);
	size_t count = ly_rd_u32(&r);
	struct ly_record *recs;
	uint8_t sum[SUM];
	enum ly_rc rc;

	if (r.bad || magic != MAGIC)
		return ly_fail(why, LY_MALFORMED, "not a file of records");
	if (version != VERSION)
		return ly_fail(why, LY_MALFORMED, "version %u, not %u", version,
		    VERSION);
	ly_sha256(buf, len - SUM, sum);
	if (!ly_same(sum, buf + len - SUM, SUM))
		return ly_fail(why, LY_MALFORMED, "damaged (SHA-256 differs)");
	if (count > LY_RECORDS_MAX)
		return ly_fail(why, LY_FULL, "%zu records, limit %u", count,
		    LY_RECORDS_MAX);
	recs = calloc(count ? count : 1, sizeof(*recs));
	if (!recs)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	rc = unpack_all(&r, recs, count, why);
	if (rc != LY_OK) {
		free(recs);
		return rc;
	}
	*out = recs;
	*n = count;
	return LY_OK;
}

enum ly_rc
ly_records_read(const char *path, struct ly_record **out, size_t *n,
    struct ly_why *why)
{
	size_t most = HEAD + SUM +
	    (size_t)LY_RECORDS_MAX * (4 + ly_message_max(&ly_record_message));
	uint8_t *buf;
	size_t len;
	enum ly_rc rc = ly_file_read(path, most, &buf, &len, why);

	*out = NULL;
	*n = 0;
	if (rc == LY_UNKNOWN)
		return LY_OK; /* a new home */
	if (rc != LY_OK)
		return rc;
	rc = ly_records_unpack(buf, len, out, n, why);
	ly_wipe(buf, len);
	free(buf);
	return rc == LY_OK ? rc : ly_fail_in(why, rc, "%s", path);
}
