/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a VM must outlive the agent that serves it, as bytes: its away
 * machine, its endpoint's, and what their shell has to know. They are written
 * whole before anything they decided is done, so whoever reads them knows what
 * may have been done already. Pure.
 *
 * u16 LY_KEPT_VERSION, then the three tables, packed. Whoever changes one of
 * them counts the version up (a test knows the layout): an agent of another
 * version refuses the bytes, and that VM's TPM has failed. There is no guess.
 */
#ifndef LY_AGENT_AWAY_KEPT_H
#define LY_AGENT_AWAY_KEPT_H

#include "agent/away/away.h"
#include "agent/guest/swtpm.h"

#define LY_KEPT_VERSION 2
#define LY_KEPT_MAX 704 /* bytes at the most: a slot has no more */
#define LY_KEPT_WHY 48	/* of a VM's `why`; the rest is cut off */

extern const struct ly_message ly_away_kept, ly_vm_kept;

enum ly_moving {
	LY_MOVING_NOT,
	LY_MOVING_OUT, /* the source of `mig` */
	LY_MOVING_IN,  /* its destination */
	LY_MOVINGS
};

/* Who asked the command that is under way. */
enum ly_asker {
	LY_ASKER_NONE,
	LY_ASKER_QEMU,
	LY_ASKER_RAW,  /* a client of the raw socket: gone with the agent */
	LY_ASKER_GONE, /* ... or before it; its limits still hold */
	LY_ASKERS
};

struct ly_vm_kept {
	struct ly_id id, mig;
	struct ly_bytes name, why; /* borrowed */
	uint8_t state;		   /* enum ly_vmstate_kind */
	uint8_t moving;		   /* enum ly_moving */
	bool leaving;
	bool served;  /* its endpoint is open, its QEMU was started */
	bool stopped; /* by us, for `mig` */
	bool fin;     /* may have been sent: the destination may claim */
	bool let_go;  /* on-release may have been run for `mig` */
	uint64_t commands_before, blobs_before, fate_epoch;
	/* the guest's command that waits, and the one that has a seq */
	bool guest_owed;
	uint8_t cmd_locality, sent_locality;
	uint32_t cmd_len, sent_len;
	uint64_t sent_seq;
	uint32_t token_len; /* given, or taken: then it is in an area */
	/* the endpoint */
	uint8_t asked_by; /* enum ly_asker */
	bool asked_raw;
	uint32_t have; /* bytes of a command that is not whole */
};

/* The bytes' count; at most LY_KEPT_MAX. */
size_t ly_kept_pack(const struct ly_vm_kept *vm, const struct ly_away *away,
    const struct ly_swtpm *guest, uint8_t out[LY_KEPT_MAX]);

/* LY_MALFORMED, with the reason: another version, damaged, or nothing that a
 * machine of ours can have been. `vm` borrows from `buf`. */
LY_MUST enum ly_rc ly_kept_unpack(const uint8_t *buf, size_t len,
    struct ly_vm_kept *vm, struct ly_away *away, struct ly_swtpm *guest,
    struct ly_why *why);

/*
 * The agent that knew this has died. Its link is gone, and with it the door at
 * the home and all waits; the machine is the same in everything else, and asks
 * again when it hears LY_AWAY_UP. `now_ms`: of the clock it was told before,
 * which does not stop between the two.
 */
void ly_away_wake(struct ly_away *a, uint64_t now_ms);

#endif
