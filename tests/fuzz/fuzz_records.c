/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of a home's records. The input is taken as such a file; and as one
 * without its SHA-256, which is then put behind it, so that what is behind the
 * right sum is reached too. What is good is packed and comes back the same.
 */
#include "agent/io/records.h"
#include "lib/io/identity.h"

#include <stdlib.h>

#define SUM 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
again(const struct ly_record *recs, size_t n, const uint8_t *data, size_t len)
{
	const struct ly_record **each = calloc(n + 1, sizeof(*each));
	uint8_t *buf;
	size_t buf_len;

	if (!each)
		abort();
	for (size_t i = 0; i < n; i++)
		each[i] = &recs[i];
	buf = ly_records_pack(each, n, &buf_len);
	if (!buf || buf_len != len || memcmp(buf, data, len) != 0)
		abort();
	free(buf);
	free(each);
}

static void
unpack(const uint8_t *data, size_t len)
{
	struct ly_record *recs;
	struct ly_why why;
	size_t n;

	if (ly_records_unpack(data, len, &recs, &n, &why) != LY_OK)
		return;
	again(recs, n, data, len);
	free(recs);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *whole = malloc(len + SUM);

	if (!whole)
		abort();
	unpack(data, len);
	if (len)
		memcpy(whole, data, len);
	ly_sha256(data, len, whole + len);
	unpack(whole, len + SUM);
	free(whole);
	return 0;
}
