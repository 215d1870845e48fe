/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lanyard`: what its verbs share. A verb is a row of a table: its options,
 * its help, and a function that is called once they are parsed and checked.
 */
#ifndef LY_CLI_CLI_H
#define LY_CLI_CLI_H

#include "cli/answer.h"
#include "cli/option.h"

#define LY_MANAGER_SOCKET "/run/lanyard/manager.sock"

enum ly_exit {
	LY_EXIT_DONE = 0,
	LY_EXIT_FAILED = 1, /* refused or failed; the reason is on stderr */
	LY_EXIT_USAGE = 2,
	LY_EXIT_OPEN = 3, /* the outcome is still open */
};

/* The options every verb has. */
struct ly_common {
	const char *manager;
	uint64_t timeout_s; /* 0: as the verb thinks right */
	bool json, quiet, help, version;
	const char *verb; /* for messages; not an option */
};

struct ly_cli_verb {
	const char *name; /* "vm add" */
	const struct ly_opt *rows;
	size_t rows_n;
	size_t size; /* of the struct the rows fill, which begins zeroed */
	int (*run)(const struct ly_common *common, const void *args);
	const char *what; /* one line */
	const char *more; /* more of it, or NULL */
};

extern const struct ly_cli_verb ly_cli_site_verbs[], ly_cli_host_verbs[],
    ly_cli_enrol_verbs[], ly_cli_vm_verbs[], ly_cli_migrate_verbs[],
    ly_cli_attest_verbs[], ly_cli_status_verbs[], ly_cli_audit_verbs[],
    ly_cli_evacuate_verbs[],
    ly_cli_policy_verbs[]; /* each ends with a NULL name */

/* help.c */
struct ly_cli_verbs {
	const struct ly_cli_verb *const *groups; /* NULL ends them */
	const struct ly_opt *common;
	size_t common_n;
};
void ly_cli_help_program(FILE *to, const struct ly_cli_verbs *all);
/* False if there is no such verb, or beginning of verbs. */
bool ly_cli_help_verb(FILE *to, const struct ly_cli_verbs *all,
    const char *name);
/* One tab-separated line an option, for the shell and the tests. */
void ly_cli_help_table(FILE *to, const struct ly_cli_verbs *all);

/* "lanyard: VERB: text" on stderr; returns LY_EXIT_FAILED. In JSON also as
 * the object the manager would have sent. */
int ly_cli_fail(const struct ly_common *c, enum ly_rc rc, const char *fmt, ...)
    LY_PRINTF(3, 4);
/* The same for a wrong usage that only the verb can see. */
int ly_cli_usage(const struct ly_common *c, const char *fmt, ...)
    LY_PRINTF(2, 3);

/*
 * One question to the manager. `changes`: something may have been done when
 * the answer is lost, so the outcome is open, and Ctrl-C is taken as "I will
 * not wait" instead of ending us without a word.
 */
struct ly_cli_ask {
	json_t *request; /* taken */
	bool changes;
	bool patient;  /* no time limit of its own */
	bool explains; /* the verb says itself what an open outcome means */
	void (*on_event)(void *arg, const json_t *event);
	void (*on_end)(void *arg); /* before anything is said of the end */
	void *arg;
};

/* LY_EXIT_DONE: *answer is the object with "ok":true, to be json_decref'd.
 * Otherwise the reason has been told, and *answer is NULL. */
int ly_cli_ask(const struct ly_common *c, struct ly_cli_ask *ask,
    json_t **answer);
/* The same with nothing but a request. */
int ly_cli_ask_plain(const struct ly_common *c, json_t *request, bool changes,
    json_t **answer);
/* True if the last question ended by Ctrl-C. */
bool ly_cli_interrupted(void);
uint64_t ly_cli_now_ms(void);

/* The whole of a verb that asks, and shows a list, an object, or a sentence.
 * `key`: where in the answer it is. */
int ly_cli_list(const struct ly_common *c, json_t *request, const char *key,
    const struct ly_cell *cells, size_t cells_n);
int ly_cli_show(const struct ly_common *c, json_t *request, const char *key,
    const struct ly_cell *cells, size_t cells_n);
int ly_cli_do(const struct ly_common *c, json_t *request, const char *fmt, ...)
    LY_PRINTF(3, 4);

/* A JSON object of what is not NULL: key, const char * ..., NULL. */
json_t *ly_cli_request(const char *verb, ...) __attribute__((sentinel));

#endif
