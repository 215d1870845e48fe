/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/away/kept.h"

static const struct ly_field away_fields[] = {
	LY_BELOW(struct ly_away, state, LY_AWAY_STATES),
	LY_BOOL(struct ly_away, linked),
	LY_BOOL(struct ly_away, up),
	LY_UINT(struct ly_away, epoch),
	LY_UINT(struct ly_away, seq),
	LY_SECRET(struct ly_away, secret),
	LY_BELOW(struct ly_away, sent, LY_SENT_INIT + 1),
	LY_BELOW(struct ly_away, sent_op, LY_OPS),
	LY_BOOL(struct ly_away, command),
	LY_BELOW(struct ly_away, op, LY_OPS),
	LY_BOOL(struct ly_away, reset),
	LY_BOOL(struct ly_away, broken),
	LY_BELOW(struct ly_away, said, LY_RCS),
	LY_FIXED(struct ly_away, mig),
	LY_BOOL(struct ly_away, asking),
	LY_BOOL(struct ly_away, asking_abort),
	LY_FIXED(struct ly_away, asked),
	LY_UINT(struct ly_away, waiting_since),
	LY_UINT(struct ly_away, retry_at),
	LY_BOOL(struct ly_away, attach_said),
	LY_BOOL(struct ly_away, unwanted),
};

const struct ly_message ly_away_kept = LY_MESSAGE(0, "away", struct ly_away,
    away_fields, "the away machine");

static const struct ly_field vm_fields[] = {
	LY_FIXED(struct ly_vm_kept, id),
	LY_FIXED(struct ly_vm_kept, mig),
	LY_BYTES(struct ly_vm_kept, name, LY_NAME_MAX - 1),
	LY_BYTES(struct ly_vm_kept, why, LY_KEPT_WHY),
	LY_BELOW(struct ly_vm_kept, state, LY_VMSTATES),
	LY_BELOW(struct ly_vm_kept, moving, LY_MOVINGS),
	LY_BOOL(struct ly_vm_kept, leaving),
	LY_BOOL(struct ly_vm_kept, served),
	LY_BOOL(struct ly_vm_kept, stopped),
	LY_BOOL(struct ly_vm_kept, fin),
	LY_BOOL(struct ly_vm_kept, let_go),
	LY_UINT(struct ly_vm_kept, commands_before),
	LY_UINT(struct ly_vm_kept, blobs_before),
	LY_UINT(struct ly_vm_kept, fate_epoch),
	LY_BOOL(struct ly_vm_kept, guest_owed),
	LY_UINT(struct ly_vm_kept, cmd_locality),
	LY_UINT(struct ly_vm_kept, sent_locality),
	LY_BELOW(struct ly_vm_kept, cmd_len, LY_TPM_MAX + 1),
	LY_BELOW(struct ly_vm_kept, sent_len, LY_TPM_MAX + 1),
	LY_UINT(struct ly_vm_kept, sent_seq),
	LY_BELOW(struct ly_vm_kept, token_len, LY_TOKEN_MAX + 1),
	LY_BELOW(struct ly_vm_kept, asked_by, LY_ASKERS),
	LY_BOOL(struct ly_vm_kept, asked_raw),
	LY_BELOW(struct ly_vm_kept, have, LY_TPM_MAX + 1),
};

const struct ly_message ly_vm_kept = LY_MESSAGE(0, "vm", struct ly_vm_kept,
    vm_fields, "a VM's shell");

size_t
ly_kept_pack(const struct ly_vm_kept *vm, const struct ly_away *away,
    const struct ly_swtpm *guest, uint8_t out[LY_KEPT_MAX])
{
	struct ly_wr w = ly_wr_over(out, LY_KEPT_MAX);

	ly_wr_u16(&w, LY_KEPT_VERSION);
	ly_message_put(&ly_away_kept, away, &w);
	ly_message_put(&ly_swtpm_kept, guest, &w);
	ly_message_put(&ly_vm_kept, vm, &w);
	assert(!w.bad);
	return ly_wr_len(&w);
}

/* Two of the machines keep no bytes of varying length, so their tables are as
 * long as they can be. */
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
nonsense(const struct ly_vm_kept *vm, const struct ly_away *away,
    const struct ly_swtpm *guest)
{
	bool waits = away->command || away->sent == LY_SENT_COMMAND;

	if (away->up && !away->linked)
		return "a door without a link";
	if (away->state >= LY_AWAY_HELD && away->state < LY_AWAY_DEAD &&
	    !away->epoch)
		return "a lease without an epoch";
	if (vm->guest_owed != waits)
		return "the guest waits for what nobody is asked";
	if (vm->guest_owed != (guest->busy || guest->waiting == LY_SWTPM_OP))
		return "the endpoint waits for another thing than the guest";
	if (away->sent != LY_SENT_NONE && away->sent != LY_SENT_INIT &&
	    vm->sent_seq != away->seq)
		return "the command kept is not the one with the last number";
	if (guest->busy != (vm->asked_by != LY_ASKER_NONE))
		return "a command that nobody asked";
	if (vm->moving != LY_MOVING_NOT && ly_id_none(&vm->mig))
		return "it moves, but in no migration";
	return NULL;
}

enum ly_rc
ly_kept_unpack(const uint8_t *buf, size_t len, struct ly_vm_kept *vm,
    struct ly_away *away, struct ly_swtpm *guest, struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(buf, len);
	unsigned version = ly_rd_u16(&r);
	const char *no;
	enum ly_rc rc;

	if (version != LY_KEPT_VERSION)
		return ly_fail(why, LY_MALFORMED,
		    "kept by an agent of another version (%u, not %u)", version,
		    LY_KEPT_VERSION);
	rc = get(&ly_away_kept, &r, away, why);
	if (rc == LY_OK)
		rc = get(&ly_swtpm_kept, &r, guest, why);
	if (rc == LY_OK)
		rc = ly_swtpm_kept_good(guest, why);
	if (rc == LY_OK)
		rc = ly_message_get(&ly_vm_kept, r.at, ly_rd_left(&r), vm, why);
	if (rc != LY_OK)
		return rc;
	no = nonsense(vm, away, guest);
	return no ? ly_fail(why, LY_MALFORMED, "%s", no) : LY_OK;
}

void
ly_away_wake(struct ly_away *a, uint64_t now_ms)
{
	a->linked = a->up = false;
	a->retry_at = 0;
	if (a->waiting_since > now_ms)
		a->waiting_since = now_ms;
}
