/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One QEMU process: started from a definition in a session of its own (it
 * outlives the agent), driven by its monitor, and its end noticed. Its
 * sockets, log and pid file are in the VM's run directory:
 *
 *   qmp.sock serial.sock serial.log qemu.log qemu.pid
 *
 * The owner gets ops; one other, a migration, may listen too (the tap).
 * on_exit() is the last call in any case, and frees the struct afterwards.
 */
#ifndef LY_AGENT_IO_QEMU_H
#define LY_AGENT_IO_QEMU_H

#include "agent/io/definition.h"
#include "agent/io/qmp.h"

struct ly_qemu;

struct ly_qemu_params {
	const char *binary; /* NULL: "qemu-system-x86_64" */
	const char *dir;    /* made if it is not there */
	const char *name;
	struct ly_id id;
	const struct ly_definition *definition; /* not for ly_qemu_adopt() */
	const char *tpm_socket;			/* NULL: no TPM */
	bool incoming; /* -incoming defer -S: the destination of a migration */
	bool no_sandbox;
};

struct ly_qemu_ops {
	void (*on_ready)(void *arg); /* its monitor answers */
	void (*on_event)(void *arg, const char *name, const json_t *data);
	/* `status`: of its exit, 128 + signal, or -1: not known (adopted).
	 * `why`: its own last words, or what ended it. Also when it never
	 * became ready. */
	void (*on_exit)(void *arg, int status, const char *why);
};

/* Starts it. What QEMU says against it comes with on_exit(). */
LY_MUST enum ly_rc ly_qemu_start(uv_loop_t *loop,
    const struct ly_qemu_params *params, const struct ly_qemu_ops *ops,
    void *arg, struct ly_qemu **out, struct ly_why *why);
/* Takes over the one that an agent before us started in this directory;
 * LY_UNKNOWN when none runs, LY_OUTSIDE when that cannot be told. on_ready()
 * follows as after a start. */
LY_MUST enum ly_rc ly_qemu_adopt(uv_loop_t *loop,
    const struct ly_qemu_params *params, const struct ly_qemu_ops *ops,
    void *arg, struct ly_qemu **out, struct ly_why *why);
/* Stops listening to it, and leaves it running: no callback after this. */
void ly_qemu_leave(struct ly_qemu *q);

/* A second listener. NULL takes it off. */
struct ly_qemu_tap {
	void (*on_event)(void *arg, const char *name, const json_t *data);
	void (*on_exit)(void *arg, const char *why); /* before the owner's */
};
void ly_qemu_tap(struct ly_qemu *q, const struct ly_qemu_tap *tap, void *arg);

/* As ly_qmp_ask() and ly_qmp_forget(). After on_exit() nobody is told. */
void ly_qemu_ask(struct ly_qemu *q, const char *command, json_t *args,
    unsigned wait_ms, ly_qmp_done *done, void *arg);
void ly_qemu_forget(struct ly_qemu *q, const void *arg);

/* stop and cont; `done` when QEMU has answered. */
void ly_qemu_stop(struct ly_qemu *q, ly_qmp_done *done, void *arg);
void ly_qemu_cont(struct ly_qemu *q, ly_qmp_done *done, void *arg);
/* query-status; ly_qemu_status() reads the answer: "running", "paused",
 * "inmigrate", ...; "" if it is none. */
void ly_qemu_ask_status(struct ly_qemu *q, ly_qmp_done *done, void *arg);
const char *ly_qemu_status(const json_t *value);
/* Asks the guest to shut down. */
void ly_qemu_powerdown(struct ly_qemu *q, ly_qmp_done *done, void *arg);
/* Ends it: quit, after 3 s SIGTERM, after 3 s more SIGKILL. on_exit()
 * follows. Idempotent. */
void ly_qemu_quit(struct ly_qemu *q);

bool ly_qemu_ready(const struct ly_qemu *q);
int ly_qemu_pid(const struct ly_qemu *q);
const char *ly_qemu_dir(const struct ly_qemu *q);

#endif
