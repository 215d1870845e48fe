/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vms.c (a VM's life and the manager's requests), vm_tpm.c (guest and
 * home) and vm_move.c (migrations) share. Nobody else includes this.
 */
#ifndef LY_AGENT_IO_VM_IN_H
#define LY_AGENT_IO_VM_IN_H

#include "agent/away/kept.h"
#include "agent/away/guard.h"
#include "agent/io/control.h"
#include "agent/io/definition.h"
#include "agent/io/dest.h"
#include "agent/io/guest.h"
#include "agent/io/hook.h"
#include "agent/io/links.h"
#include "agent/io/qemu.h"
#include "agent/io/source.h"
#include "agent/io/vms.h"
#include "lib/wire/signed.h"

/* What the away machine wants done when it is committed. */
struct deed {
	struct deed *next;
	struct ly_away_todo todo;
};

struct vm {
	struct vm *next;
	struct ly_vms *vms;
	struct ly_id id;
	char name[LY_NAME_MAX];
	char home[LY_SPIFFE_MAX], home_site[LY_NAME_MAX];
	char home_address[LY_ADDR_MAX];
	char source_id[LY_SPIFFE_MAX]; /* who may send us the stream */
	char dir[200];
	struct ly_definition *def; /* until it is started */
	bool external;		   /* its hypervisor is not ours */
	enum ly_vmstate_kind state;
	char why[LY_WHY_MAX]; /* of FAILED, or of what should be known */
	bool leaving;	      /* DETACH is under way or done */
	bool orphan;	/* of the agent before us: its TPM is gone for good */
	bool forgotten; /* to be freed when nothing is under way */

	struct ly_away core;
	struct ly_turn turn;  /* every change of what is kept is in one */
	struct ly_slot *slot; /* NULL: an orphan */
	struct deed *deeds;
	struct ly_link_user user;
	uint8_t *ticket;
	size_t ticket_len;

	struct ly_guest *guest;
	bool guest_owed; /* the guest waits for an answer */
	struct vm_cmd {
		uint32_t len;
		uint8_t locality;
	} cmd, sent; /* the one that waits; the one that has a seq: in the
		      * slot's areas */
	uint64_t sent_seq;
	uint32_t token_len; /* given (source), or taken (destination) and in an
			     * area */
	uint8_t token_hash[32]; /* given: its SHA-256 */

	struct ly_qemu *qemu;
	struct ly_guard guard;
	bool guard_feeding, guard_more; /* `guard_next` waits */
	struct ly_guard_event guard_next;
	struct ly_hook *hook; /* the one that runs; NULL: none */
	void (*hooked)(struct vm *vm, bool ok, const char *why);
	struct ly_source *source;
	struct ly_dest *dest;
	struct ly_id mig;
	bool keyed; /* `mig` goes by keys (vm_keys.c) */
	enum ly_moving moving;
	bool stopped;	    /* by us, for `mig` */
	bool fin;	    /* may have been sent */
	bool let_go;	    /* on-release may have been run */
	bool woken;	    /* an agent before us has started it */
	bool want_release;  /* RELEASE goes as soon as the TPM is idle */
	bool asked_release; /* from then on only the home knows the outcome */
	uint64_t commands_before; /* seq when the migration began */
	uint64_t fate_epoch;	  /* as the home told it with the fate */
	uint64_t blobs_before;	  /* ly_guest_blobs() then */

	/* Who waits for DONE; 0: nobody. */
	uint32_t start_req, prepare_req, copy_req, stop_req;
};

/* What became of a migration that is over here. */
struct past {
	struct ly_id mig;
	enum ly_rc rc;
	enum ly_fate fate;
	uint64_t epoch;
	char why[LY_WHY_MAX];
	char value[512];
	bool proved; /* we were its source, with keys: there is a proof */
};

#define LY_PAST_MAX 64

struct ly_vms {
	struct ly_agent *agent;
	struct vm *first;
	struct past past[LY_PAST_MAX]; /* a ring; the newest before `past_at` */
	unsigned past_at;
	uv_timer_t tick;
	bool closing;  /* the agent ends; its VMs do not */
	unsigned open; /* endpoints not yet closed */
	void (*closed)(void *arg);
	void *closed_arg;
};

/* vms.c */
struct vm *ly_vm_of(struct ly_vms *vms, const struct ly_id *id);
struct vm *ly_vm_of_mig(struct ly_vms *vms, const struct ly_id *mig);
void ly_vm_state(struct vm *vm, enum ly_vmstate_kind state, const char *why);
/* RUNNING, or the guard holds it. */
bool ly_vm_runs(const struct vm *vm);
void ly_vm_alarm(struct vm *vm, const char *text);
LY_MUST enum ly_rc ly_vm_run(struct vm *vm, bool incoming, struct ly_why *why);
/* Gives the lease back (if there is one), then forgets the VM. */
void ly_vm_leave(struct vm *vm, const char *why);
void ly_vm_forget(struct vm *vm);

struct vm *ly_vm_blank(struct ly_vms *vms, const struct ly_id *id,
    const char *name);
/* Of a blank one: as if it had never been. */
void ly_vm_unlist(struct vm *vm);

/* vm_note.c: what an agent after us has to know, and what does not change, in
 * DIR/vm. */
LY_MUST enum ly_rc ly_vm_note(const struct vm *vm, struct ly_why *why);
void ly_vm_note_gone(const struct vm *vm);
/* Into a blank VM. LY_MALFORMED: of another VM, or damaged. */
LY_MUST enum ly_rc ly_vm_note_read(struct vm *vm, struct ly_why *why);

/* vm_orphan.c */
void ly_vm_orphan_ready(struct vm *vm);
void ly_vms_adopt(struct ly_vms *vms, const struct ly_qemu_ops *ops);

/* vm_wake.c */
void ly_vms_wake(struct ly_vms *vms, const struct ly_qemu_ops *ops);
/* Its QEMU's monitor answers, or its QEMU is gone. */
void ly_vm_woken(struct vm *vm);
void ly_vm_gone_meanwhile(struct vm *vm); /* vms.c */
void ly_vm_source_woken(struct vm *vm);	  /* vm_move.c */
void ly_vm_dest_woken(struct vm *vm);
void ly_vm_fenced(struct vm *vm);

/* vm_keep.c: a VM's turns, and its slot. */
void ly_vm_turns(struct vm *vm);
LY_MUST enum ly_rc ly_vm_keep(struct vm *vm, struct ly_why *why);
LY_MUST enum ly_rc ly_vm_unkeep(struct vm *vm, struct ly_slot *slot,
    struct ly_guest_kept *guest, bool *served, struct ly_why *why);
/* Something that is kept has changed, by none of the machines. */
void ly_vm_touch(struct vm *vm);
/* Bytes of an area; NULL for none. */
uint8_t *ly_vm_area(struct vm *vm, enum ly_area area, size_t len);

/* vm_tpm.c */
void ly_vm_feed(struct vm *vm, const struct ly_away_event *ev, const void *body,
    size_t len);
LY_MUST enum ly_rc ly_vm_endpoint(struct vm *vm, enum ly_guest_mode mode,
    struct ly_why *why);
LY_MUST enum ly_rc ly_vm_join(struct vm *vm, const char *address,
    struct ly_why *why);
uint64_t ly_vm_now_ms(const struct vm *vm);
/* Of the turn: what was decided is done. */
void ly_vm_do_deeds(struct vm *vm);
void ly_vm_drop_deeds(struct vm *vm);
LY_MUST enum ly_rc ly_vm_endpoint_woken(struct vm *vm,
    const struct ly_guest_kept *kept, struct ly_why *why);
/* What the away machine tells its owner. */
void ly_vm_told(struct vm *vm, const struct ly_away_todo *t);

/* vm_guard.c: all of these do nothing for a VM whose QEMU is not ours. */
#define LY_GUARD_WHY "paused by the guard: its TPM's home does not answer"
/* A QEMU is started here; `barred` until LY_GUARD_FREE. */
void ly_vm_guard_begin(struct vm *vm, bool barred);
/* It was left running by an agent before us, and its monitor answers. Whoever
 * knows that a command waits tells that before. */
void ly_vm_guard_wake(struct vm *vm);
void ly_vm_guard_end(struct vm *vm);
void ly_vm_guard_command(struct vm *vm, const uint8_t *cmd, size_t len);
/* ANSWERED, BAR, FREE, SAW_RUN. */
void ly_vm_guard_tell(struct vm *vm, enum ly_guard_kind kind);
void ly_vm_guard_tick(struct vm *vm);

/* vm_keys.c: the operations of source and destination, `arg` being the VM. */
bool ly_vm_keys_has(const struct ly_vms *vms, const struct ly_id *mig);
/* Why this host does not take part in that migration without keys; NULL: it
 * does, or it has keys. */
const char *ly_vm_keys_missing(const struct ly_vms *vms,
    const struct ly_id *mig);
/* With m->lanes: they are told. */
LY_MUST enum ly_rc ly_vm_keys_copy(struct ly_vms *vms, const struct ly_copy *m,
    struct ly_lanes_params *lanes, struct ly_why *why);
/* It is over, and not well. */
void ly_vm_keys_end(struct ly_vms *vms, const struct ly_id *mig,
    const char *why);
void ly_vm_seal(void *arg, const struct ly_lanes_sum *sum);
void ly_vm_arrived_there(void *arg, struct ly_bytes statement);
/* Answers COPY, when the proof is there. */
void ly_vm_prove(struct ly_vms *vms, uint32_t req, const struct past *p);
LY_MUST enum ly_rc ly_vm_fin_check(void *arg, const struct ly_fin *fin,
    const struct ly_lanes_sum *sum, struct ly_why *why);
/* The token that QEMU gave us is the one that was sent; else an alarm. */
bool ly_vm_token_good(struct vm *vm);
struct ly_bytes ly_vm_arrived_here(void *arg, const struct ly_lanes_sum *sum,
    uint64_t epoch);

/* vm_hook.c */
void ly_vm_hook_source(struct vm *vm, bool regain);
void ly_vm_hook_dest(struct vm *vm);
void ly_vm_hook_start(struct vm *vm); /* then ly_vm_run() */
void ly_vm_hook_end(struct vm *vm);   /* then DETACH */
void ly_vm_hook_forget(struct vm *vm);

/* vm_move.c */
void ly_vm_told_move(struct vm *vm, const struct ly_away_todo *t);
void ly_vm_qemu_ready(struct vm *vm);
void ly_vm_release_if_idle(struct vm *vm);
/* The agent ends: what is under way is let go. */
void ly_vm_end_moves(struct vm *vm);

/* vm_past.c: the newest LY_PAST_MAX; borrowed. */
struct past *ly_vm_remember(struct ly_vms *vms, const struct ly_id *mig,
    enum ly_rc rc, enum ly_fate fate, uint64_t epoch, const char *why,
    const char *value);
const struct past *ly_vms_past(const struct ly_vms *vms,
    const struct ly_id *mig);
/* Answers COPY. */
void ly_vm_answer_past(struct ly_vms *vms, uint32_t req, const struct past *p);

#endif
