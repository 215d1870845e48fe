/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of a home's records: all VMs bound to this host, written whole or
 * not at all. Layout: "LNYH", u32 version 1, u32 count, then for each u32
 * length and the packed RECORD, then SHA-256 of all before it.
 */
#ifndef LY_AGENT_IO_RECORDS_H
#define LY_AGENT_IO_RECORDS_H

#include "lib/wire/signed.h"

#define LY_RECORDS_MAX 65536

/* *out is malloc'd, *n records; none when there is no file. */
LY_MUST enum ly_rc ly_records_read(const char *path, struct ly_record **out,
    size_t *n, struct ly_why *why);
/* The file's bytes, malloc'd; NULL without memory. */
uint8_t *ly_records_pack(const struct ly_record *const *recs, size_t n,
    size_t *len);
LY_MUST enum ly_rc ly_records_unpack(const uint8_t *buf, size_t len,
    struct ly_record **out, size_t *n, struct ly_why *why);

#endif
