/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/home/kept.h"

static const struct ly_field core[] = {
	LY_FIXED(struct ly_home, rec.vm),
	LY_UINT(struct ly_home, rec.epoch),
	LY_BELOW(struct ly_home, tpm, LY_TPM_STATES),
	LY_BOOL(struct ly_home, blind),
	LY_BOOL(struct ly_home, dirty),
	LY_UINT(struct ly_home, seq),
	LY_FIXED(struct ly_home, hash),
	LY_BELOW(struct ly_home, op, LY_OPS),
	LY_BOOL(struct ly_home, kept),
	LY_UINT(struct ly_home, said),
	LY_UINT(struct ly_home, door),
	LY_BOOL(struct ly_home, forgot),
	LY_UINT(struct ly_home, left_ms),
	LY_UINT(struct ly_home, taken_ms),
	LY_BOOL(struct ly_home, peeking),
};

const struct ly_message ly_home_kept_table = LY_MESSAGE(0, "home",
    struct ly_home, core, "the home machine");

static const struct ly_field shell[] = {
	LY_UINT(struct ly_home_shell, code),
	LY_BELOW(struct ly_home_shell, locality, 5),
	LY_BELOW(struct ly_home_shell, answer_len, LY_TPM_MAX + 1),
};

const struct ly_message ly_home_shell_table = LY_MESSAGE(0, "shell",
    struct ly_home_shell, shell, "a home's shell");

size_t
ly_home_kept_pack(const struct ly_home *h, const struct ly_home_shell *sh,
    const struct ly_tpm_kept *tpm, uint8_t out[LY_HOME_KEPT_MAX])
{
	struct ly_wr w = ly_wr_over(out, LY_HOME_KEPT_MAX);

	ly_wr_u16(&w, LY_HOME_KEPT_VERSION);
	ly_message_put(&ly_home_kept_table, h, &w);
	ly_message_put(&ly_home_shell_table, sh, &w);
	ly_message_put(&ly_tpm_kept_table, tpm, &w);
	assert(!w.bad);
	return ly_wr_len(&w);
}

/* None of the tables has a member of varying length. */
static enum ly_rc
get(const struct ly_message *m, struct ly_rd *r, void *out, struct ly_why *why)
{
	size_t len = ly_message_max(m);
	const uint8_t *at = ly_rd_bytes(r, len);

	if (!at)
		return ly_fail(why, LY_MALFORMED, "%s: cut short", m->name);
	return ly_message_get(m, at, len, out, why);
}

/* What two of them say must not contradict. */
static const char *
nonsense(const struct ly_home_kept *k)
{
	bool running = k->core.tpm == LY_TPM_RUNNING;

	if (running && k->core.peeking)
		return "a command of a guest's and one of the home's own";
	if ((running || k->core.peeking) != k->tpm.busy)
		return "a command runs on no TPM, or none on one that works";
	if (running && k->core.kept)
		return "an answer to a command that runs";
	if (running && k->core.blind)
		return "a command of a holder that was not heard of";
	if (k->core.kept && !k->shell.answer_len)
		return "an answer of no bytes";
	return NULL;
}

enum ly_rc
ly_home_kept_unpack(const uint8_t *buf, size_t len, struct ly_home_kept *out,
    struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(buf, len);
	unsigned version = ly_rd_u16(&r);
	struct ly_home_kept k;
	const char *no;
	enum ly_rc rc;

	memset(&k, 0, sizeof(k));
	if (version != LY_HOME_KEPT_VERSION)
		return ly_fail(why, LY_MALFORMED,
		    "kept by an agent of another version (%u, not %u)", version,
		    LY_HOME_KEPT_VERSION);
	rc = get(&ly_home_kept_table, &r, &k.core, why);
	if (rc == LY_OK)
		rc = get(&ly_home_shell_table, &r, &k.shell, why);
	if (rc == LY_OK)
		rc = get(&ly_tpm_kept_table, &r, &k.tpm, why);
	if (rc == LY_OK && ly_rd_left(&r))
		rc = ly_fail(why, LY_MALFORMED, "bytes too many");
	if (rc == LY_OK)
		rc = ly_tpm_kept_good(&k.tpm, why);
	if (rc != LY_OK)
		return rc;
	no = nonsense(&k);
	if (no)
		return ly_fail(why, LY_MALFORMED, "%s", no);
	*out = k;
	return LY_OK;
}

/* The epoch of the record began with a CLAIM. */
static bool
was_claimed(const struct ly_record *rec)
{
	for (size_t i = 0; i < LY_FATES_KEPT; i++) {
		struct ly_rd r = ly_rd_over(rec->settled[i], LY_SETTLED_LEN);

		(void)ly_rd_bytes(&r, sizeof(rec->mig.b));
		if (ly_rd_u8(&r) == LY_FATE_CLAIMED &&
		    ly_rd_u64(&r) == rec->epoch)
			return true;
	}
	return false;
}

/* What the record says must follow from what was kept by at most one write. A
 * command runs only while the lease is held; a write that ends an epoch has
 * the last seq in it. In an epoch, the record may count the last command that
 * was in doubt after a loss of power, and is still to be sent again. */
static const char *
strangers(const struct ly_record *rec, const struct ly_home *kept)
{
	bool running = kept->tpm == LY_TPM_RUNNING;
	bool same = kept->rec.epoch == rec->epoch;

	if (!ly_id_same(&kept->rec.vm, &rec->vm))
		return "of another VM";
	if (kept->seq + 1 < rec->seq)
		return "the record knows of more commands";
	if (!same && kept->seq != rec->seq)
		return "the record's epoch began before the last command";
	if (running &&
	    (!same || rec->state == LY_REC_DETACHED ||
		rec->state == LY_REC_QUIESCED))
		return "a command runs, but nobody holds the lease";
	return NULL;
}

enum ly_rc
ly_home_wake(struct ly_home *h, const struct ly_record *rec,
    const struct ly_home *kept, uint64_t boot_ms, uint32_t lease_ms,
    struct ly_why *why)
{
	bool same = kept->rec.epoch == rec->epoch;
	uint64_t end = kept->door ? boot_ms + lease_ms : kept->left_ms;
	const char *no;

	if (kept->rec.epoch > rec->epoch)
		return ly_fail(why, LY_FENCED,
		    "the record on disk is of epoch %llu, but this host has"
		    " seen epoch %llu: an old file has been put back",
		    (unsigned long long)rec->epoch,
		    (unsigned long long)kept->rec.epoch);
	no = strangers(rec, kept);
	if (no)
		return ly_fail(why, LY_MALFORMED, "%s", no);
	*h = (struct ly_home){ .rec = *rec,
		.tpm = kept->tpm,
		.dirty = kept->dirty,
		.peeking = kept->peeking,
		.seq = kept->seq,
		.op = kept->op,
		.lease_ms = lease_ms,
		.began_ms = boot_ms,
		.forgot = kept->forgot,
		.left_ms = end,
		.taken_ms = kept->taken_ms };
	memcpy(h->hash, kept->hash, sizeof(h->hash));
	if (same) {
		h->blind = kept->blind;
		h->kept = kept->kept;
		h->said = kept->said;
	} else if (!was_claimed(rec)) {
		h->tpm = LY_TPM_BROKEN; /* it ran nothing */
		h->taken_ms = ly_max(kept->taken_ms, end);
	}
	return LY_OK;
}
