/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of all homes, in the vault or, where the operator says so, in a
 * plain file.
 *
 * Writes are grouped: one job at a time packs all records as they are to be
 * (ly_home.next where one is proposed), writes them, and every machine whose
 * proposal was in it is told. What was proposed meanwhile goes with the next
 * job. When there is no next job, the vault makes the key of its next version:
 * a job too, since its TPM does one thing at a time.
 */
#include "agent/io/homes_in.h"
#include "agent/io/records.h"
#include "agent/io/vault_tpm.h"
#include "lib/io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Who else counts, or a TPM that went away, is noticed in that time. */
#define LOOK_S 60

struct job {
	uv_work_t work;
	struct ly_homes *homes;
	bool ahead; /* no write: the next version's key */
	bool lazy;
	char path[300]; /* of the plain file */
	uint8_t *buf;
	size_t len;
	enum ly_rc rc;
	struct ly_why why;
};

static void
plain_path(const struct ly_homes *hs, char out[300])
{
	ly_print(out, 300, "%s/home.records", hs->agent->conf.state);
}

static uint8_t *
pack_all(struct ly_homes *hs, size_t *len)
{
	const struct ly_record **recs = calloc(hs->homes_n + 1, sizeof(*recs));
	uint8_t *buf;
	size_t n = 0;

	if (!recs)
		abort(); /* no memory for a few hundred bytes: nothing is safe */
	for (struct home *h = hs->first; h; h = h->next)
		if (!h->leaving)
			recs[n++] = h->core.writing ? &h->core.next :
						      &h->core.rec;
	buf = ly_records_pack(recs, n, len);
	if (!buf)
		abort();
	free(recs);
	return buf;
}

/* ---- jobs ---- */

static void
work(uv_work_t *of)
{
	struct job *j = LY_HOLDER(of, struct job, work);
	struct ly_vault *vault = j->homes->vault;

	if (j->ahead)
		j->rc = ly_vault_ahead(vault, &j->why);
	else if (vault)
		j->rc = ly_vault_write(vault, j->buf, j->len, j->lazy, &j->why);
	else
		j->rc = ly_file_write(j->path, j->buf, j->len, 0600, &j->why);
}

/* Every home whose proposal was in the file hears of it; one that was bound
 * or unbound has its asker answered. */
static void
write_told(struct ly_homes *hs, const struct job *j)
{
	struct home *next;

	for (struct home *h = hs->first; h; h = next) {
		bool was = h->in_job;

		next = h->next;
		h->in_job = false;
		if (!was)
			continue;
		if (h->core.writing)
			ly_home_feed(h,
			    &(struct ly_home_event){ .kind = LY_HOME_WRITTEN,
				.ok = j->rc == LY_OK },
			    NULL, 0);
		else
			ly_home_bound(h, j->rc, j->why.text);
	}
}

static void
write_over(struct ly_homes *hs, const struct job *j)
{
	if (j->rc != LY_OK)
		ly_log_alarm("home", "records not written: %s", j->why.text);
	hs->disk_ok = j->rc == LY_OK;
	if (!hs->closing)
		write_told(hs, j); /* what it leads to goes with the next job */
}

/* Said once, and once more when it is well again. */
static void
ahead_over(struct ly_homes *hs, const struct job *j)
{
	bool good = j->rc == LY_OK;

	if (j->rc == LY_FENCED) {
		ly_log_alarm("vault", "%s", j->why.text);
		hs->again = true;
	} else if (!good && hs->vault_ok) {
		ly_log_alarm("vault", "no lease can be written: %s",
		    j->why.text);
	} else if (good && !hs->vault_ok) {
		ly_log(LY_NOTICE, "vault", "its TPM is well again");
	}
	hs->vault_ok = good || j->rc == LY_FENCED;
}

static void start_job(struct ly_homes *hs, bool ahead);

static void
over(uv_work_t *of, int status)
{
	struct job *j = LY_HOLDER(of, struct job, work);
	struct ly_homes *hs = j->homes;
	bool ahead = j->ahead;

	if (status != 0)
		j->rc = ly_fail(&j->why, LY_OUTSIDE, "%s", uv_strerror(status));
	if (hs->vault) {
		hs->vault_version = ly_vault_version(hs->vault);
		hs->owed = ly_vault_owes(hs->vault);
	}
	if (ahead)
		ahead_over(hs, j);
	else
		write_over(hs, j);
	hs->job = false;
	ly_wipe(j->buf, j->len);
	free(j->buf);
	free(j);
	if (hs->again && !hs->closing)
		start_job(hs, false);
	else if (hs->vault && !ahead && !hs->closing)
		start_job(hs, true);
	ly_homes_unref(hs);
}

static void
start_job(struct ly_homes *hs, bool ahead)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		abort();
	j->homes = hs;
	j->ahead = ahead;
	if (!ahead) {
		for (struct home *h = hs->first; h; h = h->next)
			h->in_job = h->core.writing || h->binding != NULL;
		j->lazy = hs->agent->conf.vault_lazy && !hs->due;
		hs->due = false;
		plain_path(hs, j->path);
		j->buf = pack_all(hs, &j->len);
		hs->again = false;
	}
	hs->job = true;
	hs->look_in = LOOK_S;
	hs->refs++;
	if (uv_queue_work(hs->agent->loop, &j->work, work, over))
		abort();
}

void
ly_homes_write(struct ly_homes *hs)
{
	if (hs->job)
		hs->again = true;
	else
		start_job(hs, false);
}

/* What was told lazily is counted; the counter is looked at now and then. */
void
ly_homes_disk_tick(struct ly_homes *hs)
{
	if (!hs->vault)
		return;
	hs->due = hs->owed;
	if (hs->due)
		ly_homes_write(hs);
	else if (!hs->job && --hs->look_in == 0)
		start_job(hs, true);
}

/* ---- opening and closing ---- */

/* Blocks; without homes, or to take a plain file's into the vault. */
static enum ly_rc
write_first(struct ly_homes *hs, const struct ly_record *recs, size_t n,
    struct ly_why *why)
{
	const struct ly_record **each = calloc(n + 1, sizeof(*each));
	uint8_t *buf;
	size_t len;
	enum ly_rc rc;

	if (!each)
		abort();
	for (size_t i = 0; i < n; i++)
		each[i] = &recs[i];
	buf = ly_records_pack(each, n, &len);
	if (!buf)
		abort();
	rc = ly_vault_write(hs->vault, buf, len, false, why);
	ly_wipe(buf, len);
	free(buf);
	free(each);
	return rc;
}

/* The vault is new: what there is goes into it. Its plain file is only kept to
 * look at. */
static enum ly_rc
take_in(struct ly_homes *hs, struct ly_record **recs, size_t *n,
    struct ly_why *why)
{
	char path[300], aside[310];
	enum ly_rc rc;

	plain_path(hs, path);
	ly_print(aside, sizeof(aside), "%s.old", path);
	rc = ly_records_read(path, recs, n, why);
	if (rc == LY_OK)
		rc = write_first(hs, *recs, *n, why);
	if (rc == LY_OK && rename(path, aside) == 0)
		ly_log(LY_WARNING, "vault",
		    "%zu records are taken from %s, which is %s now", *n, path,
		    aside);
	return rc;
}

static enum ly_rc
open_tpm(struct ly_homes *hs, struct ly_why *why)
{
	const struct ly_agent_conf *c = &hs->agent->conf;
	struct ly_tss *tss = hs->agent->tss;
	enum ly_rc rc = LY_OK;

	if (tss)
		ly_tss_ref(tss);
	else
		rc = ly_tss_open(c->vault, c->vault_auth, &tss, why);
	if (rc != LY_OK)
		return rc;
	ly_vault_tpm_open(tss, c->vault_nv, &hs->vault_tpm);
	ly_tss_close(tss); /* it has a hold of its own */
	return LY_OK;
}

static enum ly_rc
open_vault(struct ly_homes *hs, struct ly_record **recs, size_t *n,
    struct ly_why *why)
{
	const struct ly_agent_conf *c = &hs->agent->conf;
	uint8_t *body = NULL;
	size_t len;
	enum ly_rc rc;

	ly_log(LY_INFO, "vault", "asking its TPM (%s)", c->vault);
	rc = open_tpm(hs, why);
	if (rc == LY_OK)
		rc = ly_vault_open(c->state, &ly_vault_tpm_chip, hs->vault_tpm,
		    hs->agent->new_vault, &hs->vault, &body, &len, why);
	if (rc == LY_OK && body)
		rc = ly_records_unpack(body, len, recs, n, why);
	else if (rc == LY_OK)
		rc = take_in(hs, recs, n, why);
	if (body)
		ly_wipe(body, len);
	free(body);
	if (rc != LY_OK)
		return rc;
	hs->vault_version = ly_vault_version(hs->vault);
	hs->look_in = 1;
	ly_log(LY_NOTICE, "vault", "version %llu, %zu records, %s",
	    (unsigned long long)hs->vault_version, *n, c->vault);
	return LY_OK;
}

static enum ly_rc
open_plain(struct ly_homes *hs, struct ly_record **recs, size_t *n,
    struct ly_why *why)
{
	char path[300];

	plain_path(hs, path);
	if (ly_vault_there(hs->agent->conf.state))
		return ly_fail(why, LY_REFUSED,
		    "%s: there is a vault, which `vault = none` would forget",
		    hs->agent->conf.state);
	if (hs->agent->conf.tpms_n)
		ly_log(LY_WARNING, "home",
		    "`vault = none`: nobody will notice if an old %s is put"
		    " back, and a TPM given to two hosts",
		    path);
	return ly_records_read(path, recs, n, why);
}

/* A host without a TPM for VMs is nobody's home, and needs no vault. */
static bool
is_home(const struct ly_homes *hs, bool plain)
{
	return hs->agent->conf.tpms_n || plain ||
	    ly_vault_there(hs->agent->conf.state);
}

enum ly_rc
ly_homes_disk_open(struct ly_homes *hs, struct ly_record **recs, size_t *n,
    struct ly_why *why)
{
	const struct ly_agent_conf *c = &hs->agent->conf;
	char path[300];
	bool plain;
	enum ly_rc rc;

	*recs = NULL;
	*n = 0;
	hs->disk_ok = hs->vault_ok = true;
	plain_path(hs, path);
	plain = access(path, F_OK) == 0;
	if (strcmp(c->vault, "none") == 0 || !is_home(hs, plain))
		return open_plain(hs, recs, n, why);
	if (plain && !hs->agent->new_vault && !ly_vault_there(c->state))
		return ly_fail(why, LY_REFUSED,
		    "%s: these records are in no vault, so they may be old;"
		    " `lanyard-agent --new-vault` takes them into one",
		    path);
	rc = open_vault(hs, recs, n, why);
	if (rc != LY_OK)
		ly_homes_disk_close(hs);
	return rc;
}

/* Nothing is at work any more. */
void
ly_homes_disk_close(struct ly_homes *hs)
{
	struct ly_why why;
	uint8_t *buf;
	size_t len;

	if (hs->vault && ly_vault_owes(hs->vault)) {
		buf = pack_all(hs, &len);
		if (ly_vault_write(hs->vault, buf, len, false, &why) != LY_OK)
			ly_log_alarm("home", "records not counted: %s",
			    why.text);
		ly_wipe(buf, len);
		free(buf);
	}
	ly_vault_free(ly_take(hs->vault));
	ly_vault_tpm_close(ly_take(hs->vault_tpm));
}
