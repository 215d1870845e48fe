/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's end: the sockets QEMU or any swtpm client finds its TPM at.
 *
 *	PATH.ctrl  the control channel: QEMU's chardev connects here
 *		   (-chardev socket,path=PATH.ctrl), and hands its data channel
 *		   over by descriptor (SET_DATAFD)
 *	PATH	   raw TPM commands, for tpm2-tss: TPM2TOOLS_TCTI=swtpm:path=PATH
 *
 * From SET_DATAFD until QEMU hangs up is a session. During one all other
 * clients are refused (their connections closed); without one up to
 * LY_GUEST_CLIENTS raw connections are served, one command at a time in all,
 * and one control connection; the next ones wait in the backlog. A control
 * connection that is no session has LY_GUEST_PATIENCE_MS to ask something; a
 * raw connection that stops in the middle of a command is closed after
 * LY_GUEST_HALF_MS, and QEMU's is answered TPM_RC_COMMAND_SIZE.
 *
 * What is answered how is decided by agent/guest/swtpm.h; read its head. Here
 * are sockets and the loop. One struct a VM, under 2 KiB with its connections
 * when nothing is under way.
 *
 * QEMU's session outlives us: its descriptors are in the owner's slot, every
 * event is a turn of the owner's (agent/io/turn.h), whose commit keeps
 * ly_guest_keep() among other things, and whose settle and go_on call
 * ly_guest_settle() and ly_guest_go_on(). ly_guest_wake() goes on with it: no
 * request of QEMU's is lost, heard twice or answered twice.
 */
#ifndef LY_IO_GUEST_H
#define LY_IO_GUEST_H

#include "agent/guest/swtpm.h"
#include "agent/io/keep.h"
#include "agent/io/turn.h"

#include <uv.h>

#define LY_GUEST_CLIENTS 16
#define LY_GUEST_PATIENCE_MS 5000
#define LY_GUEST_HALF_MS 2000

struct ly_guest;

/*
 * Bodies are lent for the call. All of these may be answered from within the
 * call or later; after on_command(), on_op(), on_save() or on_resume() none of
 * the four comes before the answer. They may call ly_guest_close().
 */
struct ly_guest_ops {
	/* One well-formed TPM command: ly_guest_answer(). */
	void (*on_command)(void *arg, uint8_t locality, const uint8_t *cmd,
	    size_t len);
	/* INIT, HASH_*, RESET_ESTABLISHED: ly_guest_result(). A success of
	 * INIT makes the endpoint ATTACHED. */
	void (*on_op)(void *arg, enum ly_op op, uint8_t locality,
	    const uint8_t *body, size_t len);
	/* The guest wants the command under way to end; its answer is still
	 * owed. */
	void (*on_cancel)(void *arg);
	/* QEMU saves its state to migrate: ly_guest_saved(). */
	void (*on_save)(void *arg);
	/* QEMU loads it: is this the token of the migration we expect? */
	bool (*on_restore)(void *arg, const uint8_t *token, size_t len);
	/* It has loaded it, and is about to say so to the source: the last
	 * place to hold it: ly_guest_result(). Refused, QEMU ends. NULL: go. */
	void (*on_resume)(void *arg);
	/* QEMU goes on at a source that gave its token away. */
	void (*on_take_back)(void *arg);
	/* QEMU is there; is gone (a command under way still wants its answer,
	 * which then goes nowhere). */
	void (*on_session)(void *arg, bool up);
};

struct ly_guest_params {
	uv_loop_t *loop;
	const char *path;
	struct ly_turn *turn; /* the owner's, as his slot is */
	struct ly_slot *slot;
	const struct ly_guest_ops *ops;
	void *arg;
};

/* What of an endpoint must outlive the agent, beside what is in the slot. */
struct ly_guest_kept {
	struct ly_swtpm m;
	uint8_t asked_by; /* enum ly_asker */
	bool asked_raw;
	uint32_t have;
};

/* Starts to listen; both sockets have mode 0600 and replace what a dead
 * process left behind, but never a live one's (LY_BUSY). BEFORE at first. */
LY_MUST enum ly_rc ly_guest_open(const struct ly_guest_params *params,
    struct ly_guest **out, struct ly_why *why);
/* The same for one that an agent before us served. *out is there before the
 * first op is called. */
LY_MUST enum ly_rc ly_guest_wake(const struct ly_guest_params *params,
    const struct ly_guest_kept *kept, struct ly_guest **out,
    struct ly_why *why);
/* Hangs up on everybody, removes the sockets, and calls `closed` (or not, if
 * NULL) when nothing of it is left. No ops are called any more, no answers
 * may come. */
void ly_guest_close(struct ly_guest *g, void (*closed)(void *arg));
/* The same, but QEMU and the sockets stay for the next agent. */
void ly_guest_leave(struct ly_guest *g, void (*closed)(void *arg));

/* For the owner's turn. */
void ly_guest_keep(const struct ly_guest *g, struct ly_guest_kept *out);
void ly_guest_settle(struct ly_guest *g);
bool ly_guest_go_on(struct ly_guest *g);

/* One whole TPM answer; it is copied. */
void ly_guest_answer(struct ly_guest *g, const uint8_t *rsp, size_t len);
void ly_guest_result(struct ly_guest *g, uint32_t result);
/* `len` 0: it cannot be saved, and QEMU's migration fails. */
void ly_guest_saved(struct ly_guest *g, const uint8_t *token, size_t len);

void ly_guest_attach_mode(struct ly_guest *g, enum ly_guest_mode mode);
enum ly_guest_mode ly_guest_mode_of(const struct ly_guest *g);
/* A command, op or save is with the owner. */
bool ly_guest_busy(const struct ly_guest *g);
/* Bytes QEMU was given as state to carry, the token among them. */
size_t ly_guest_blobs(const struct ly_guest *g);
/* What was answered has left the socket: QEMU's thread has read it. */
bool ly_guest_taken(const struct ly_guest *g);
bool ly_guest_in_session(const struct ly_guest *g);

#endif
