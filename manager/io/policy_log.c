/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event logs that states were approved with, by their SHA-256, which
 * stands in the signed entry: so who brings one does not matter. They are for
 * the text of a refusal alone. A manager asks the one of another site for those
 * that the list of that site names and it has not.
 */
#include "manager/io/policy_in.h"

#include "lib/io/file.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- files ---- */

static const char *
log_file(const struct ly_manager *m, const uint8_t sha256[32], char out[320])
{
	char hex[HEX_LEN], name[HEX_LEN + 32];

	ly_hex(sha256, 32, hex);
	ly_print(name, sizeof(name), "approved/logs/%s.log", hex);
	return ly_manager_file(m, name, out);
}

/* A file that is not what its name says is none. */
struct ly_bytes
ly_policy_log(void *arg, const uint8_t sha256[32])
{
	struct ly_manager *m = arg;
	struct ly_policy_shell *p = m->policy;
	uint8_t is[32];
	char path[320];
	size_t len;

	free(p->log);
	p->log = NULL;
	if (ly_file_read(log_file(m, sha256, path), LY_LOG_MAX, &p->log, &len,
		NULL) != LY_OK)
		return (struct ly_bytes){ NULL, 0 };
	ly_sha256(p->log, len, is);
	if (memcmp(is, sha256, sizeof(is)) != 0)
		return (struct ly_bytes){ NULL, 0 };
	return (struct ly_bytes){ p->log, len };
}

enum ly_rc
ly_policy_keep_log(struct ly_manager *m, struct ly_bytes log,
    uint8_t sha256[32], struct ly_why *why)
{
	char path[320];

	memset(sha256, 0, 32);
	if (log.len == 0)
		return LY_OK;
	ly_sha256(log.at, log.len, sha256);
	return ly_file_write(log_file(m, sha256, path), log.at, log.len, 0600,
	    why);
}

/* ---- which are needed ---- */

static bool
in_list(const struct ly_approved *list, const uint8_t sha256[32])
{
	for (unsigned i = 0; list && i < list->n; i++)
		if (memcmp(list->of[i].log, sha256, 32) == 0)
			return true;
	return false;
}

/* Some site has approved a state with it. */
static bool
needed(struct ly_manager *m, const uint8_t sha256[32])
{
	const char *site;

	for (unsigned i = 0; (site = ly_approvals_site(m->policy->lists, i));
	     i++)
		if (in_list(ly_policy_list(m, site), sha256))
			return true;
	return false;
}

void
ly_policy_drop_logs(struct ly_manager *m)
{
	char dir[320], path[640], hex[HEX_LEN];
	DIR *d = opendir(ly_manager_file(m, "approved/logs", dir));
	uint8_t sha256[32];
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		ly_copy(hex, sizeof(hex), e->d_name);
		if (ly_unhex(hex, sha256, 32) == LY_OK && needed(m, sha256))
			continue;
		ly_print(path, sizeof(path), "%s/%s", dir, e->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
}

/* ---- between managers ---- */

void
ly_policy_want_logs(struct ly_manager *m, struct ly_conn *c, const char *site)
{
	static const uint8_t none[32];
	const struct ly_approved *list = ly_policy_list(m, site);
	char path[320];

	for (unsigned i = 0; list && i < list->n; i++) {
		struct ly_bootlog want = { .log = { NULL, 0 } };

		memcpy(want.sha256, list->of[i].log, 32);
		if (memcmp(want.sha256, none, 32) == 0 ||
		    access(log_file(m, want.sha256, path), F_OK) == 0)
			continue;
		ly_conn_send(c, LY_BOOTLOG, &want);
	}
}

/* Only those of our own list are for others to have. */
static void
send_log(struct ly_manager *m, struct ly_conn *c, const uint8_t sha256[32])
{
	struct ly_bootlog b = { .log = { NULL, 0 } };

	if (!in_list(ly_policy_list(m, m->conf.site), sha256))
		return;
	b.log = ly_policy_log(m, sha256);
	memcpy(b.sha256, sha256, 32);
	if (b.log.len)
		ly_conn_send(c, LY_BOOTLOG, &b);
}

void
ly_policy_hear_log(struct ly_manager *m, struct ly_conn *c,
    const struct ly_bootlog *b)
{
	uint8_t sha256[32];
	struct ly_why why;

	if (b->log.len == 0) {
		send_log(m, c, b->sha256);
		return;
	}
	ly_sha256(b->log.at, b->log.len, sha256);
	if (b->log.len > LY_LOG_MAX || !needed(m, sha256))
		return;
	if (ly_policy_keep_log(m, b->log, sha256, &why) != LY_OK)
		ly_log(LY_WARNING, "policy", "an event log is not kept: %s",
		    why.text);
}
