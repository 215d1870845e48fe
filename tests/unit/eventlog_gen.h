/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event logs for tests, written as firmware would; and the PCRs a TPM would
 * have after them.
 */
#ifndef LY_TESTS_EVENTLOG_GEN_H
#define LY_TESTS_EVENTLOG_GEN_H

#include "lib/attest/eventlog.h"
#include "lib/crypt/crypt.h"

#include <stdio.h>

#define GEN_MOST (LY_LOG_MAX + 4096)

struct gen {
	uint8_t log[GEN_MOST];
	size_t len;
	uint8_t pcr[LY_PCRS_N][32];
	unsigned banks; /* 1: SHA-256 alone; 2: SHA-1 before it */
};

static inline void
gen_le(struct gen *g, uint64_t v, size_t size)
{
	for (size_t i = 0; i < size; i++)
		g->log[g->len++] = (uint8_t)(v >> (8 * i));
}

static inline void
gen_bytes(struct gen *g, const void *at, size_t len)
{
	memcpy(&g->log[g->len], at, len);
	g->len += len;
}

static inline struct ly_bytes
gen_log(const struct gen *g)
{
	return (struct ly_bytes){ g->log, g->len };
}

/* With the event that says which banks there are. */
static inline void
gen_start(struct gen *g, unsigned banks)
{
	static const uint8_t zeros[20];

	memset(g, 0, sizeof(*g));
	g->banks = banks;
	for (unsigned i = 17; i <= 22; i++)
		memset(g->pcr[i], 0xff, 32);
	gen_le(g, 0, 4);
	gen_le(g, 3, 4);
	gen_bytes(g, zeros, sizeof(zeros));
	gen_le(g, 16 + 8 + 4 + 4 * banks + 1, 4);
	gen_bytes(g, "Spec ID Event03", 16);
	gen_le(g, 0, 4);
	gen_bytes(g, "\0\2\0\2", 4);
	gen_le(g, banks, 4);
	if (banks == 2) {
		gen_le(g, 4, 2);
		gen_le(g, 20, 2);
	}
	gen_le(g, 11, 2);
	gen_le(g, 32, 2);
	gen_le(g, 0, 1);
}

/* An event with a digest of one's own, which may be that of nothing. */
static inline void
gen_digest(struct gen *g, uint32_t pcr, uint32_t type, const uint8_t digest[32],
    const void *data, size_t len)
{
	gen_le(g, pcr, 4);
	gen_le(g, type, 4);
	gen_le(g, g->banks, 4);
	if (g->banks == 2) {
		gen_le(g, 4, 2);
		gen_bytes(g, digest, 20);
	}
	gen_le(g, 11, 2);
	gen_bytes(g, digest, 32);
	gen_le(g, len, 4);
	gen_bytes(g, data, len);
	if (type == 3 || pcr >= LY_PCRS_N)
		return;
	ly_sha256_of((struct ly_bytes[]){ { g->pcr[pcr], 32 }, { digest, 32 } },
	    2, g->pcr[pcr]);
}

/* An event whose digest is that of its data. */
static inline void
gen_event(struct gen *g, uint32_t pcr, uint32_t type, const void *data,
    size_t len)
{
	uint8_t digest[32];

	ly_sha256(data, len, digest);
	gen_digest(g, pcr, type, digest, data, len);
}

/* EV_EFI_BOOT_SERVICES_APPLICATION of a file. */
static inline void
gen_image(struct gen *g, uint32_t pcr, const char *path)
{
	uint8_t data[512] = { 0 };
	size_t chars = strlen(path) + 1, n = 32;

	data[n++] = 4; /* media, file path */
	data[n++] = 4;
	data[n++] = (uint8_t)(4 + 2 * chars);
	data[n++] = 0;
	for (size_t i = 0; i < chars; i++, n += 2)
		data[n] = (uint8_t)path[i];
	memcpy(&data[n], "\x7f\xff\x04\x00", 4);
	gen_event(g, pcr, 0x80000003, data, n + 4);
}

/* EV_EFI_VARIABLE_DRIVER_CONFIG. */
static inline void
gen_variable(struct gen *g, uint32_t pcr, const char *name, const char *value)
{
	uint8_t data[512] = { 0 };
	size_t chars = strlen(name), n = 32;

	data[16] = (uint8_t)chars;
	data[24] = (uint8_t)strlen(value);
	for (size_t i = 0; i < chars; i++, n += 2)
		data[n] = (uint8_t)name[i];
	memcpy(&data[n], value, strlen(value));
	gen_event(g, pcr, 0x80000001, data, n + strlen(value));
}

/* A short boot by UEFI: events 1 to 7, in PCRs 0, 2, 4 and 7. */
static inline void
gen_boot(struct gen *g, const char *loader, const char *secure)
{
	gen_event(g, 0, 8,
	    "1\0.\0"
	    "0\0\0",
	    8);
	gen_variable(g, 7, "SecureBoot", secure);
	gen_event(g, 7, 4, "\0\0\0", 4);
	gen_event(g, 2, 4, "\0\0\0", 4);
	gen_event(g, 4, 0x80000007, "Calling EFI Application", 23);
	gen_image(g, 4, "\\EFI\\debian\\shimx64.efi");
	gen_image(g, 4, loader);
}

#endif
