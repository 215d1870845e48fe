/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a measured boot, as firmware and boot loaders write it (TCG PC
 * Client Platform Firmware Profile): each event names a PCR and the digest it
 * was extended with. The log itself is believed by nobody: it explains PCR
 * values that a quote proves, and only while it replays to them. What says
 * whether a state is approved is the values (approved.h); what says in words
 * why it is not, is here.
 *
 * Only the crypto-agile form ("Spec ID Event03") with SHA-256 digests is
 * replayed. The older form knows SHA-1 alone and is refused with a text that
 * says so.
 *
 * An empty log is one of no events: it replays to PCRs as they are at start.
 *
 * Limit: LY_LOG_MAX bytes (and so fewer than 4096 events); a log over it is
 * LY_MALFORMED. Nothing is copied: all borrows from the bytes of the log.
 */
#ifndef LY_ATTEST_EVENTLOG_H
#define LY_ATTEST_EVENTLOG_H

#include "lib/attest/evidence.h"

/* PCRs that nobody extends but firmware and boot loaders, and so those that a
 * log has to explain in full. The others go on being extended by the running
 * system, which has logs of its own. */
#define LY_EVENTLOG_BOOT 0x0043ffu

struct ly_logged {
	unsigned number; /* in the log, from 0: the Spec ID event */
	uint32_t pcr, type;
	const uint8_t *sha256; /* 32 bytes */
	struct ly_bytes data;
};

/* A log being read, event by event. */
struct ly_eventlog {
	struct ly_rd rest;
	unsigned n;	 /* events read so far */
	unsigned algs_n; /* banks it has digests for */
	uint16_t alg[8], size[8];
};

/* LY_REFUSED: a log of SHA-1 alone. */
LY_MUST enum ly_rc ly_eventlog_open(struct ly_bytes log,
    struct ly_eventlog *out, struct ly_why *why);
/* The next event; LY_SHORT when there is none any more. */
LY_MUST enum ly_rc ly_eventlog_next(struct ly_eventlog *log,
    struct ly_logged *out, struct ly_why *why);

/* The values of all PCRs after all events. */
LY_MUST enum ly_rc ly_eventlog_replay(struct ly_bytes log,
    uint8_t pcr[LY_PCRS_N][32], struct ly_why *why);

/* LY_OK: the log replays to each PCR of `mask` that is one of LY_EVENTLOG_BOOT.
 * LY_REFUSED names the first that it does not: "the event log does not replay
 * to the quoted PCR 7". */
LY_MUST enum ly_rc ly_eventlog_explains(struct ly_bytes log, uint32_t mask,
    const uint8_t pcr[LY_PCRS_N][32], struct ly_why *why);

/* Where `log` first leaves `reference`, for the lowest PCR of `mask` in which
 * it does: LY_REFUSED and "PCR 4: event 17 (EV_EFI_BOOT_SERVICES_APPLICATION,
 * \EFI\debian\grubx64.efi) is not in the approved log". LY_OK: nowhere. */
LY_MUST enum ly_rc ly_eventlog_compare(struct ly_bytes log,
    struct ly_bytes reference, uint32_t mask, struct ly_why *why);

/* "EV_SEPARATOR"; NULL for a type without a name. */
const char *ly_eventlog_type(uint32_t type);
/* "event 17 (EV_EFI_VARIABLE_DRIVER_CONFIG, SecureBoot)": printable whatever
 * the log holds; cut at `size`. */
void ly_eventlog_print(const struct ly_logged *ev, char *out, size_t size);

#endif
