/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server side of swtpm's control protocol and of the data channel beside
 * it, as QEMU's tpm-emulator and tpm2-tss' swtpm TCTI speak them: bytes in any
 * split become things to do. Pure; the shell is agent/io/guest.c.
 *
 * Control: a request is a u32 command and its body, an answer a u32 result
 * and its body, big-endian. QEMU asks from its main loop, so all is answered
 * here, at once, but what only the VM's home can answer: that becomes a thing
 * to do for the owner, and no byte is taken until he has answered it.
 *
 * Data: whole TPM commands, one at a time. What no TPM would take is answered
 * as a TPM would and goes no further; so is all that QEMU sends before its
 * first INIT (it probes whether this is a TPM 2.0 while, in a migration,
 * another host still owns the TPM).
 *
 * What is answered how depends on where the VM's TPM is:
 *
 *	BEFORE	  nobody holds the TPM for this endpoint yet. INIT is passed
 *		  on (its success makes it ATTACHED), a token is taken.
 *	INCOMING  the same at a migration's destination: INIT only behind the
 *		  token, and then it is no reset.
 *	ATTACHED  commands run. A token is a snapshot's that QEMU loads: if it
 *		  is taken, the INIT behind it is no reset.
 *	SAVED	  the token has been given out: commands are kept back, and
 *		  LOCK_STORAGE says that QEMU goes on here after all.
 *	GONE	  another host has the TPM: every command fails.
 *
 * `mode` is written by ly_swtpm_mode(), ly_swtpm_result() and
 * ly_swtpm_saved() alone. The struct holds no pointers: it may be copied out
 * and in over a restart of the agent.
 */
#ifndef LY_GUEST_SWTPM_H
#define LY_GUEST_SWTPM_H

#include "agent/tpm/header.h"
#include "lib/wire/field.h"

/* Results (tpm_error.h of TPM 1.2, which the protocol uses). */
#define LY_SWTPM_OK 0u
#define LY_SWTPM_BAD_PARAMETER 3u
#define LY_SWTPM_FAIL 9u
#define LY_SWTPM_BAD_ORDINAL 10u

/* The longest body that is waited for; the answer to a longer one is an error,
 * and its bytes are dropped as they come. */
#define LY_SWTPM_BODY_MAX 65536u
#define LY_SWTPM_REPLY_MAX (16 + LY_TOKEN_MAX)
#define LY_SWTPM_BUFFER_MIN 1024u /* of SET_BUFFERSIZE; the most: LY_TPM_MAX */

enum ly_guest_mode {
	LY_GUEST_BEFORE,
	LY_GUEST_INCOMING,
	LY_GUEST_ATTACHED,
	LY_GUEST_SAVED,
	LY_GUEST_GONE,
	LY_GUEST_MODES
};
const char *ly_guest_mode_name(unsigned mode);

#define LY_SWTPM_PHASES 5 /* of a request; swtpm.c has their names */

enum ly_swtpm_act {
	LY_SWTPM_NOTHING,
	LY_SWTPM_REPLY,	    /* only the reply */
	LY_SWTPM_CANCEL,    /* cancel the command that runs, if any */
	LY_SWTPM_TAKE_BACK, /* QEMU goes on at a source that gave its token */
	/* The reply comes from the function named: */
	LY_SWTPM_DATAFD,  /* a data channel was handed over: _datafd() */
	LY_SWTPM_RESTORE, /* is `body` a token of ours?: _restored() */
	LY_SWTPM_OP,	  /* `op` for the home: _result(), later */
	LY_SWTPM_RESUME,  /* INIT behind a token; no reset: _result(), later */
	LY_SWTPM_SAVE,	  /* the token, please: _saved(), later */
};

struct ly_swtpm_todo {
	enum ly_swtpm_act act;
	uint8_t op;	  /* enum ly_op */
	uint8_t locality; /* the guest's, for `op` */
	const uint8_t *body;
	size_t body_len;
	/* To send on the control channel, when not empty. */
	uint8_t reply[LY_SWTPM_REPLY_MAX];
	size_t reply_len;
};

struct ly_swtpm {
	uint8_t mode;	 /* enum ly_guest_mode */
	uint8_t phase;	 /* of the request being read */
	uint8_t waiting; /* enum ly_swtpm_act the owner has to answer */
	uint8_t op;	 /* of it */
	bool orphan;	 /* who asked it has hung up */
	bool pad;	 /* three zeros may follow the last SET_LOCALITY */
	bool session;	 /* QEMU: this connection handed a data channel over */
	bool inited;	 /* INIT was answered: the guest may talk */
	bool token_in;	 /* a token came and was ours */
	bool busy;	 /* a TPM command runs */
	uint8_t locality;
	bool established;
	uint32_t code;
	uint32_t result;     /* of the request, when its body is dropped */
	uint32_t left;	     /* bytes of the body not yet looked at */
	uint32_t buffer;     /* of QEMU's TPM device */
	uint32_t have, need; /* of `buf` */
	uint32_t token_len;
	uint32_t blobs; /* bytes QEMU was given as TPM state, token and all */
	uint8_t buf[LY_TOKEN_MAX];
	uint8_t token[LY_TOKEN_MAX]; /* given out; while SAVED */
};

void ly_swtpm_init(struct ly_swtpm *m, enum ly_guest_mode mode);
void ly_swtpm_mode(struct ly_swtpm *m, enum ly_guest_mode mode);

/* A control connection begins, ends. One at a time, and the next not before
 * ly_swtpm_waiting() is false. */
void ly_swtpm_connected(struct ly_swtpm *m);
void ly_swtpm_hung_up(struct ly_swtpm *m);
/* The owner owes an answer. */
bool ly_swtpm_waiting(const struct ly_swtpm *m);

/*
 * Takes bytes of the control channel up to the next thing to do, and says how
 * many it took. Call again until all are taken; it takes none while the owner
 * owes an answer or a TPM command runs that has to end first, so call again
 * then, with no bytes if there are none.
 */
size_t ly_swtpm_feed(struct ly_swtpm *m, const uint8_t *buf, size_t len,
    struct ly_swtpm_todo *todo);
/* The most bytes worth reading now: a shell that reads no more than this has
 * never any left over. */
size_t ly_swtpm_want(const struct ly_swtpm *m);

void ly_swtpm_datafd(struct ly_swtpm *m, bool good, struct ly_swtpm_todo *todo);
void ly_swtpm_restored(struct ly_swtpm *m, bool good,
    struct ly_swtpm_todo *todo);
void ly_swtpm_result(struct ly_swtpm *m, uint32_t result,
    struct ly_swtpm_todo *todo);
/* `len` 0: it cannot be saved. */
void ly_swtpm_saved(struct ly_swtpm *m, const uint8_t *token, size_t len,
    struct ly_swtpm_todo *todo);

enum ly_swtpm_data {
	LY_SWTPM_MORE, /* not a whole command yet */
	LY_SWTPM_RUN,  /* the first `used` bytes are one; it is under way now */
	LY_SWTPM_SAY,  /* drop `used` bytes, answer `say` (LY_TPM_HEAD) */
	LY_SWTPM_LOST, /* the same, and where a command begins is not known */
	LY_SWTPM_HOLD, /* not now: ask again after the next answer or mode */
};

/* `buf` begins where a command does. `raw`: not from QEMU but from a plain
 * TPM client, which knows of no INIT. */
enum ly_swtpm_data ly_swtpm_command(struct ly_swtpm *m, bool raw,
    const uint8_t *buf, size_t len, size_t *used, uint8_t say[LY_TPM_HEAD]);
/* The command under way was answered with `len` bytes. False when that is more
 * than its device takes: then `say` is the answer. */
bool ly_swtpm_answered(struct ly_swtpm *m, bool raw, size_t len,
    uint8_t say[LY_TPM_HEAD]);

/* All of the struct, for an agent after this one; and whether what was read
 * back can be a machine at all, its values being in their ranges. */
extern const struct ly_message ly_swtpm_kept;
LY_MUST enum ly_rc ly_swtpm_kept_good(const struct ly_swtpm *m,
    struct ly_why *why);

/* "SET_DATAFD"; "?" if there is none. */
const char *ly_swtpm_name(uint32_t code);

#endif
