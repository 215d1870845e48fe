/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a caller may ask of a manager, one JSON object on one line:
 *
 *   {"do":"VERB", ...}
 *
 * and what it hears: any number of {"event":...} lines, then exactly one
 * {"ok":true, ...} or {"ok":false,"rc":"WORD","why":"..."}. WORD is refused,
 * unknown, outside, busy, full, open (the outcome is not known yet) or usage.
 *
 * The verbs and their keys are a table; parse.c checks a line against it and
 * knows nothing of the manager, so that it can be tested and fuzzed alone.
 */
#ifndef LY_MANAGER_API_API_H
#define LY_MANAGER_API_API_H

#include "lib/base/text.h"

#include <jansson.h>

#define LY_API_LINE_MAX (136u * 1024) /* a list of approved states, in hex */

enum ly_verb {
	LY_DO_HOST_ADD,
	LY_DO_HOST_LIST,
	LY_DO_HOST_SHOW,
	LY_DO_HOST_REMOVE,
	LY_DO_HOST_REVOKE,
	LY_DO_HOST_SET,
	LY_DO_HOST_ENROLL,
	LY_DO_HOST_UNFREEZE,
	LY_DO_SITE_TRUST,
	LY_DO_SITE_SHOW,
	LY_DO_VM_ADD,
	LY_DO_VM_LIST,
	LY_DO_VM_SHOW,
	LY_DO_VM_START,
	LY_DO_VM_STOP,
	LY_DO_VM_REMOVE,
	LY_DO_VM_PCRS,
	LY_DO_MIGRATE,
	LY_DO_MIGRATE_SHOW,
	LY_DO_MIGRATE_CANCEL,
	LY_DO_POLICY_SHOW,
	LY_DO_POLICY_HOST,
	LY_DO_POLICY_PUSH,
	LY_DO_ATTEST,
	LY_DO_STATUS,
	LY_DO_AUDIT,
	LY_DO_AUDIT_ACCEPT,
	LY_DO_AUDIT_RECEIPT,
	LY_DO_VM_SET,
	LY_DO_EVACUATE,
	LY_DO_EVACUATE_CANCEL,
	LY_VERBS
};

enum ly_key_kind {
	LY_KEY_TEXT,
	LY_KEY_BOOL,
	LY_KEY_UINT,
	LY_KEY_OBJECT,
};

struct ly_key {
	const char *name;
	enum ly_key_kind kind;
	bool must;
	uint32_t most; /* bytes of a TEXT, the value of a UINT */
};

#define LY_KEYS_MAX 6

struct ly_verb_row {
	const char *name;
	const char *what;
	struct ly_key keys[LY_KEYS_MAX];
};
extern const struct ly_verb_row ly_verbs[LY_VERBS];

struct ly_api_request {
	enum ly_verb verb;
	json_t *args; /* the whole object; json_decref() it */
};

/* LY_OK, or LY_MALFORMED ("usage") with what was expected. */
LY_MUST enum ly_rc ly_api_parse(const char *line, size_t len,
    struct ly_api_request *out, struct ly_why *why);

/* NULL, false, 0 when the key is not there. */
const char *ly_api_text(const struct ly_api_request *r, const char *key);
bool ly_api_bool(const struct ly_api_request *r, const char *key);
uint64_t ly_api_uint(const struct ly_api_request *r, const char *key);

/* The word for `rc` in an answer. */
const char *ly_api_word(enum ly_rc rc);

/* ---- verbs.c and view.c, which do know the manager ---- */

struct ly_manager;
struct ly_vm;
struct ly_host;
struct ly_move;
struct ly_mig_row;

void ly_api_do(struct ly_manager *m, uint64_t client,
    const struct ly_api_request *r);
json_t *ly_view_host(struct ly_manager *m, const struct ly_host *h);
json_t *ly_view_vm(struct ly_manager *m, const struct ly_vm *vm);
json_t *ly_view_row(const struct ly_mig_row *row);
json_t *ly_view_peers(struct ly_manager *m);
json_t *ly_view_status(struct ly_manager *m);

#endif
