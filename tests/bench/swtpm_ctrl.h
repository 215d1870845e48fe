/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of swtpm's control protocol that QEMU speaks: numbers and sizes.
 * All integers are big-endian; a request is a u32 command and its body, an
 * answer a u32 result and its body. nulltpm serves it, tpmload speaks it.
 */
#ifndef LY_BENCH_SWTPM_CTRL_H
#define LY_BENCH_SWTPM_CTRL_H

#include "tests/bench/common.h"

enum ctrl {
	CTRL_GET_CAPABILITY = 0x01,
	CTRL_INIT = 0x02,
	CTRL_SHUTDOWN = 0x03,
	CTRL_GET_ESTABLISHED = 0x04,
	CTRL_SET_LOCALITY = 0x05,
	CTRL_HASH_START = 0x06,
	CTRL_HASH_END = 0x08,
	CTRL_CANCEL = 0x09,
	CTRL_STORE_VOLATILE = 0x0a,
	CTRL_RESET_ESTABLISHED = 0x0b,
	CTRL_STOP = 0x0e,
	CTRL_GET_CONFIG = 0x0f,
	CTRL_SET_DATAFD = 0x10,
	CTRL_SET_BUFFERSIZE = 0x11,
	CTRL_LOCK_STORAGE = 0x13,
	CTRL_LAST = CTRL_LOCK_STORAGE
};

#define CTRL_CAPS 0x348f /* what QEMU asks of a TPM 2 */
#define CTRL_BUFFER 3968 /* what QEMU sets for tpm-crb */
#define CTRL_REPLY_MAX 16

/* Bytes after the command, and of the whole answer; answer 0: not served. */
static const struct ctrl_size {
	uint8_t body, reply;
} ctrl_sizes[CTRL_LAST + 1] = {
	[CTRL_GET_CAPABILITY] = { 0, 8 },
	[CTRL_INIT] = { 4, 4 },
	[CTRL_SHUTDOWN] = { 0, 4 },
	[CTRL_GET_ESTABLISHED] = { 0, 8 },
	[CTRL_SET_LOCALITY] = { 4, 4 },
	[CTRL_HASH_START] = { 0, 4 },
	[CTRL_HASH_END] = { 0, 4 },
	[CTRL_CANCEL] = { 0, 4 },
	[CTRL_STORE_VOLATILE] = { 0, 4 },
	[CTRL_RESET_ESTABLISHED] = { 4, 4 },
	[CTRL_STOP] = { 0, 4 },
	[CTRL_GET_CONFIG] = { 0, 8 },
	[CTRL_SET_DATAFD] = { 0, 4 },
	[CTRL_SET_BUFFERSIZE] = { 4, 16 },
	[CTRL_LOCK_STORAGE] = { 4, 4 },
};

#endif
