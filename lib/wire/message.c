/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/message.h"

// clang-format off

static const struct ly_field hello[] = {
	LY_UINT(struct ly_hello, proto),
	LY_UINT(struct ly_hello, purpose),
	LY_FIXED(struct ly_hello, mig),
	LY_TEXT(struct ly_hello, software),
};
static const struct ly_field welcome[] = {
	LY_UINT(struct ly_welcome, proto),
	LY_TEXT(struct ly_welcome, software),
};
static const struct ly_field ping[] = {
	LY_UINT(struct ly_ping, stamp),
};
static const struct ly_field bye[] = {
	LY_UINT(struct ly_bye, rc),
};
static const struct ly_field attach[] = {
	LY_UINT(struct ly_attach, chan),
	LY_FIXED(struct ly_attach, vm),
	LY_BYTES(struct ly_attach, ticket, LY_TICKET_MAX),
};
static const struct ly_field resume[] = {
	LY_UINT(struct ly_resume, chan),
	LY_FIXED(struct ly_resume, vm),
	LY_UINT(struct ly_resume, epoch),
	LY_UINT(struct ly_resume, seq),
	LY_UINT(struct ly_resume, waiting),
	LY_SECRET(struct ly_resume, secret),
};
static const struct ly_field granted[] = {
	LY_UINT(struct ly_granted, chan),
	LY_UINT(struct ly_granted, rc),
	LY_UINT(struct ly_granted, epoch),
	LY_UINT(struct ly_granted, seq),
	LY_SECRET(struct ly_granted, secret),
};
static const struct ly_field command[] = {
	LY_UINT(struct ly_command, chan),
	LY_UINT(struct ly_command, op),
	LY_UINT(struct ly_command, locality),
	LY_UINT(struct ly_command, epoch),
	LY_UINT(struct ly_command, seq),
	LY_BYTES(struct ly_command, body, LY_TPM_MAX),
};
static const struct ly_field answer[] = {
	LY_UINT(struct ly_answer, chan),
	LY_UINT(struct ly_answer, epoch),
	LY_UINT(struct ly_answer, seq),
	LY_BYTES(struct ly_answer, body, LY_TPM_MAX),
};
static const struct ly_field refuse[] = {
	LY_UINT(struct ly_refuse, chan),
	LY_UINT(struct ly_refuse, epoch),
	LY_UINT(struct ly_refuse, seq),
	LY_UINT(struct ly_refuse, rc),
};
static const struct ly_field cancel[] = {
	LY_UINT(struct ly_cancel, chan),
	LY_UINT(struct ly_cancel, epoch),
	LY_UINT(struct ly_cancel, seq),
};
static const struct ly_field detach[] = {
	LY_UINT(struct ly_detach, chan),
	LY_UINT(struct ly_detach, epoch),
};
static const struct ly_field detached[] = {
	LY_UINT(struct ly_detached, chan),
	LY_UINT(struct ly_detached, rc),
};
static const struct ly_field prestage[] = {
	LY_UINT(struct ly_prestage, chan),
	LY_FIXED(struct ly_prestage, vm),
	LY_FIXED(struct ly_prestage, mig),
	LY_BYTES(struct ly_prestage, ticket, LY_TICKET_MAX),
};
static const struct ly_field staged[] = {
	LY_UINT(struct ly_staged, chan),
	LY_UINT(struct ly_staged, rc),
	LY_UINT(struct ly_staged, epoch),
};
static const struct ly_field release[] = {
	LY_UINT(struct ly_release, chan),
	LY_FIXED(struct ly_release, mig),
	LY_UINT(struct ly_release, epoch),
	LY_UINT(struct ly_release, seq),
};
static const struct ly_field released[] = {
	LY_UINT(struct ly_released, chan),
	LY_FIXED(struct ly_released, mig),
	LY_UINT(struct ly_released, rc),
};
static const struct ly_field claim[] = {
	LY_UINT(struct ly_claim, chan),
	LY_FIXED(struct ly_claim, mig),
	LY_BYTES(struct ly_claim, token, LY_TOKEN_MAX),
};
static const struct ly_field query[] = {
	LY_FIXED(struct ly_query, vm),
	LY_FIXED(struct ly_query, mig),
};
static const struct ly_field outcome[] = {
	LY_FIXED(struct ly_outcome, vm),
	LY_FIXED(struct ly_outcome, mig),
	LY_UINT(struct ly_outcome, rc),
	LY_UINT(struct ly_outcome, fate),
	LY_UINT(struct ly_outcome, epoch),
};
static const struct ly_field fence[] = {
	LY_UINT(struct ly_fence, chan),
	LY_UINT(struct ly_fence, epoch),
};
static const struct ly_field renew[] = {
	LY_UINT(struct ly_renew, stamp),
};
static const struct ly_field lease[] = {
	LY_UINT(struct ly_lease_given, stamp),
	LY_UINT(struct ly_lease_given, length_ms),
};
static const struct ly_field data[] = {
	LY_BYTES(struct ly_data, body, LY_CHUNK_MAX),
};
static const struct ly_field leaf[] = {
	LY_UINT(struct ly_leaf, index),
	LY_FIXED(struct ly_leaf, digest),
};
static const struct ly_field taken[] = {
	LY_UINT(struct ly_taken, bytes),
};
static const struct ly_field fin[] = {
	LY_FIXED(struct ly_fin, mig),
	LY_UINT(struct ly_fin, bytes),
	LY_UINT(struct ly_fin, seq),
	LY_BYTES(struct ly_fin, statement, LY_STATEMENT_MAX),
	LY_FIXED(struct ly_fin, mac),
	LY_BYTES(struct ly_fin, evidence, LY_EVIDENCE_MAX),
};
static const struct ly_field ready[] = {
	LY_FIXED(struct ly_ready, mig),
	LY_UINT(struct ly_ready, rc),
	LY_UINT(struct ly_ready, epoch),
	LY_BYTES(struct ly_ready, statement, LY_STATEMENT_MAX),
};
static const struct ly_field announce[] = {
	LY_TEXT(struct ly_announce, address),
	LY_TEXT(struct ly_announce, tpms),
};
static const struct ly_field request[] = {
	LY_UINT(struct ly_request, req),
	LY_TEXT(struct ly_request, host),
	LY_TEXT(struct ly_request, origin),
	LY_FIXED(struct ly_request, vm),
	LY_FIXED(struct ly_request, mig),
	LY_UINT(struct ly_request, flag),
	LY_UINT(struct ly_request, epoch),
};
static const struct ly_field bind_[] = {
	LY_UINT(struct ly_bind, req),
	LY_TEXT(struct ly_bind, host),
	LY_TEXT(struct ly_bind, origin),
	LY_FIXED(struct ly_bind, vm),
	LY_TEXT(struct ly_bind, name),
	LY_TEXT(struct ly_bind, tpm),
};
static const struct ly_field start[] = {
	LY_UINT(struct ly_start, req),
	LY_TEXT(struct ly_start, host),
	LY_TEXT(struct ly_start, origin),
	LY_FIXED(struct ly_start, vm),
	LY_FIXED(struct ly_start, mig),
	LY_TEXT(struct ly_start, name),
	LY_TEXT(struct ly_start, home),
	LY_TEXT(struct ly_start, home_address),
	LY_TEXT(struct ly_start, source),
	LY_BYTES(struct ly_start, definition, LY_DEFINITION_MAX),
	LY_BYTES(struct ly_start, ticket, LY_TICKET_MAX),
};
static const struct ly_field copy[] = {
	LY_UINT(struct ly_copy, req),
	LY_TEXT(struct ly_copy, host),
	LY_TEXT(struct ly_copy, origin),
	LY_FIXED(struct ly_copy, vm),
	LY_FIXED(struct ly_copy, mig),
	LY_TEXT(struct ly_copy, dest),
	LY_TEXT(struct ly_copy, dest_address),
	LY_UINT(struct ly_copy, bandwidth),
	LY_UINT(struct ly_copy, downtime_ms),
	LY_BELOW(struct ly_copy, lanes, LY_LANES_MAX + 1),
	LY_FIXED(struct ly_copy, confirm),
};
static const struct ly_field enrol[] = {
	LY_UINT(struct ly_enrol, req),
	LY_TEXT(struct ly_enrol, host),
	LY_TEXT(struct ly_enrol, origin),
	LY_BELOW(struct ly_enrol, step, LY_ENROL_STEPS),
	LY_FIXED(struct ly_enrol, nonce),
	LY_BYTES(struct ly_enrol, data, LY_EVIDENCE_MAX),
};
static const struct ly_field quote[] = {
	LY_UINT(struct ly_quote, req),
	LY_TEXT(struct ly_quote, host),
	LY_TEXT(struct ly_quote, origin),
	LY_FIXED(struct ly_quote, vm),
	LY_FIXED(struct ly_quote, mig),
	LY_BELOW(struct ly_quote, role, LY_QUOTE_ROLES),
	LY_BYTES(struct ly_quote, call, LY_STATEMENT_MAX),
	LY_BYTES(struct ly_quote, definition, LY_DEFINITION_MAX),
};
static const struct ly_field keying[] = {
	LY_UINT(struct ly_keying, req),
	LY_TEXT(struct ly_keying, host),
	LY_TEXT(struct ly_keying, origin),
	LY_FIXED(struct ly_keying, vm),
	LY_FIXED(struct ly_keying, mig),
	LY_BYTES(struct ly_keying, blob, LY_SEALED_MAX),
	LY_BYTES(struct ly_keying, evidence, LY_EVIDENCE_MAX),
};
static const struct ly_field approved_told[] = {
	LY_TEXT(struct ly_approved_told, site),
	LY_BYTES(struct ly_approved_told, list, LY_APPROVED_MAX),
};
static const struct ly_field bootlog[] = {
	LY_FIXED(struct ly_bootlog, sha256),
	LY_BYTES(struct ly_bootlog, log, LY_EVIDENCE_MAX),
};
static const struct ly_field done[] = {
	LY_UINT(struct ly_done, req),
	LY_UINT(struct ly_done, rc),
	LY_UINT(struct ly_done, fate),
	LY_UINT(struct ly_done, epoch),
	LY_TEXT(struct ly_done, why),
	LY_TEXT(struct ly_done, value),
	LY_BYTES(struct ly_done, data, LY_EVIDENCE_MAX),
};
static const struct ly_field progress[] = {
	LY_FIXED(struct ly_progress, vm),
	LY_FIXED(struct ly_progress, mig),
	LY_TEXT(struct ly_progress, home_site),
	LY_UINT(struct ly_progress, phase),
	LY_UINT(struct ly_progress, bytes),
	LY_UINT(struct ly_progress, total),
	LY_UINT(struct ly_progress, remaining),
	LY_UINT(struct ly_progress, rate),
	LY_UINT(struct ly_progress, dirty_rate),
	LY_UINT(struct ly_progress, elapsed_ms),
	LY_UINT(struct ly_progress, downtime_ms),
	LY_UINT(struct ly_progress, commands),
};
static const struct ly_field vmstate[] = {
	LY_FIXED(struct ly_vmstate, vm),
	LY_FIXED(struct ly_vmstate, mig),
	LY_TEXT(struct ly_vmstate, home_site),
	LY_TEXT(struct ly_vmstate, host),
	LY_UINT(struct ly_vmstate, state),
	LY_UINT(struct ly_vmstate, epoch),
	LY_UINT(struct ly_vmstate, seq),
	LY_TEXT(struct ly_vmstate, why),
};
static const struct ly_field alarm_[] = {
	LY_FIXED(struct ly_alarm, vm),
	LY_TEXT(struct ly_alarm, home_site),
	LY_TEXT(struct ly_alarm, host),
	LY_TEXT(struct ly_alarm, text),
};
static const struct ly_field crl_told[] = {
	LY_TEXT(struct ly_crl_told, site),
	LY_BYTES(struct ly_crl_told, der, LY_CRL_MAX),
};
static const struct ly_field sitehost[] = {
	LY_TEXT(struct ly_sitehost, host),
	LY_TEXT(struct ly_sitehost, address),
	LY_UINT(struct ly_sitehost, up),
	LY_BELOW(struct ly_sitehost, standing, LY_STANDINGS),
	LY_TEXT(struct ly_sitehost, class_),
	LY_TEXT(struct ly_sitehost, differs),
	LY_UINT(struct ly_sitehost, vms_most),
	LY_UINT(struct ly_sitehost, memory_most),
};
static const struct ly_field head_told[] = {
	LY_TEXT(struct ly_head_told, site),
	LY_BYTES(struct ly_head_told, head, LY_STATEMENT_MAX),
};

#define ROW_(type, shape, table, sentence)                                     \
	[LY_##type] =                                                          \
	    LY_MESSAGE(LY_##type, #type, struct ly_##shape, table, sentence)
#define ROW(type, shape, sentence) ROW_(type, shape, shape, sentence)

/* Indexed by type; the holes have no name. */
static const struct ly_message messages[] = {
	ROW(HELLO, hello, "The dialler's first words, once TLS is up."),
	ROW(WELCOME, welcome, "The listener's consent."),
	ROW(PING, ping, "Are you there?"),
	ROW(PONG, ping, "Yes: the stamp of the PING."),
	ROW(BYE, bye, "The sender closes, and the code says why."),
	ROW(ATTACH, attach, "Grant me this VM's lease; the ticket says I may."),
	ROW(RESUME, resume, "I hold this epoch; the link was lost."),
	ROW(GRANTED, granted, "The lease is yours in this epoch, or not (rc)."),
	ROW(COMMAND, command, "Run this on the VM's TPM, once."),
	ROW(ANSWER, answer, "What the TPM said to this seq."),
	ROW(REFUSE, refuse, "This seq was not run, or must not be."),
	ROW(CANCEL, cancel, "Advice: the guest would rather not wait."),
	ROW(DETACH, detach, "I give the lease back; the VM is off."),
	ROW(DETACHED, detached, "Recorded."),
	ROW(PRESTAGE, prestage, "I may become the holder in this migration."),
	ROW(STAGED, staged, "Recorded, or not (rc); no right to run yet."),
	ROW(RELEASE, release, "The VM is stopped here; seq was its last."),
	ROW(RELEASED, released, "Recorded, or not (rc)."),
	ROW(CLAIM, claim, "The VM is whole here: make me the holder."),
	ROW(ABORT, query, "Let this migration be aborted, unless claimed."),
	ROW(QUERY, query, "What became of this migration?"),
	ROW(OUTCOME, outcome, "What the home's record says of it."),
	ROW(FENCE, fence, "You hold this VM no more."),
	ROW(RENEW, renew, "I am here; may I go on using what I hold?"),
	ROW_(LEASE, lease_given, lease, "Yes, for so long from when you asked."),
	ROW(DATA, data, "Bytes of the hypervisor's own stream."),
	ROW(LEAF, leaf, "The chunk before is whole, and this is its digest."),
	ROW(TAKEN, taken, "The destination's QEMU has been given so much."),
	ROW(FIN, fin, "The stream is whole: so many bytes."),
	ROW(READY, ready, "It runs here in this epoch, or never will (rc)."),
	ROW(ANNOUNCE, announce, "An agent's address and its TPMs."),
	ROW_(BIND, bind, bind_, "Be this VM's home. DONE.value: the TPM's name."),
	ROW(UNBIND, request, "Forget this VM's TPM; it must be detached."),
	ROW(START, start, "Attach with the ticket and start the VM."),
	ROW(STOP, request, "Stop the VM; flag 1: at once, 0: ask the guest."),
	ROW(PREPARE, start, "Expect this VM. DONE.value: address for COPY."),
	ROW(COPY, copy, "Move it now. DONE.fate: what the home says."),
	ROW(CALLOFF, request, "Source: abort this migration if you still can."),
	ROW(DROP, request, "Destination: it was aborted, forget it."),
	ROW(ASK, request, "Home: fate of mig (DECIDED)? flag 1: abort if open."),
	ROW(SETTLE, request, "Source: flag is the fate, as the home has it."),
	ROW(SHOW, request, "Home: record as JSON in DONE.value; mig: DONE.data."),
	ROW(ENROL, enrol, "Prove that your TPM is the one we know."),
	ROW(QUOTE, quote, "Prove your state, in this role, to this nonce."),
	ROW(KEY, keying, "Source: make the migration's key for that TPM."),
	ROW(IMPORT, keying, "Destination: load the key and open a session."),
	ROW(UNLOCK, keying, "Destination: the manager's leave to unseal it."),
	ROW(DONE, done, "The answer to a request."),
	ROW(PROGRESS, progress, "How far a migration is."),
	ROW(VMSTATE, vmstate, "A VM's state on the reporting host."),
	ROW_(ALARM, alarm, alarm_, "Something an operator should see."),
	ROW(CRL, crl_told, "Certificates this site's CA has revoked: X.509, DER."),
	ROW_(APPROVED, approved_told, approved_told,
	    "The states of hosts that a site's policy authority approves."),
	ROW(SITEHOST, sitehost, "One host of the sender's site."),
	ROW(HEAD, head_told, "The newest of a site's permanent record."),
	ROW(BOOTLOG, bootlog, "A boot's event log that was approved, or asked for."),
};

// clang-format on

static const char *const fates[] = { "unknown", "open", "claimed", "aborted" };
static const char *const phases[] = { "?", "prepare", "copy", "gate", "commit",
	"over" };
static const char *const vmstates[] = { "none", "starting", "running", "paused",
	"incoming", "failed" };

static const char *const standings[LY_STANDINGS] = { "is not enrolled",
	"is enrolled, in an approved state",
	"has not proved its state for too long", "is in a state not approved",
	"is frozen: it failed to prove itself too often" };

const char *
ly_standing_text(unsigned standing)
{
	return standing < LY_COUNT(standings) ? standings[standing] : "?";
}

const char *
ly_fate_name(unsigned fate)
{
	return fate < LY_COUNT(fates) ? fates[fate] : "?";
}

const char *
ly_phase_name(unsigned phase)
{
	return phase < LY_COUNT(phases) ? phases[phase] : "?";
}

const char *
ly_vmstate_name(unsigned state)
{
	return state < LY_COUNT(vmstates) ? vmstates[state] : "?";
}

const struct ly_message *
ly_message_of(unsigned type)
{
	if (type >= LY_COUNT(messages) || !messages[type].name)
		return NULL;
	return &messages[type];
}

const struct ly_message *
ly_message_at(size_t i)
{
	for (size_t type = 0; type < LY_COUNT(messages); type++)
		if (messages[type].name && i-- == 0)
			return &messages[type];
	return NULL;
}

size_t
ly_frame_max(unsigned type)
{
	const struct ly_message *m = ly_message_of(type);

	return m ? ly_message_max(m) : 0;
}

enum ly_rc
ly_frame_get(const uint8_t *buf, size_t len, struct ly_frame *out, size_t *used,
    struct ly_why *why)
{
	struct ly_rd r = ly_rd_over(buf, len);
	unsigned magic = ly_rd_u16(&r), version = ly_rd_u8(&r);
	unsigned type = ly_rd_u8(&r);
	size_t body = ly_rd_u32(&r), most;

	*used = 0;
	if (r.bad)
		return LY_SHORT;
	if (magic != LY_FRAME_MAGIC || version != LY_FRAME_VERSION)
		return ly_fail(why, LY_MALFORMED,
		    "not a lanyard frame (magic %04x, version %u)", magic,
		    version);
	most = ly_frame_max(type);
	if (!most)
		return ly_fail(why, LY_MALFORMED, "frame of unknown type %02x",
		    type);
	if (body > most)
		return ly_fail(why, LY_MALFORMED, "%s of %zu bytes, limit %zu",
		    ly_message_of(type)->name, body, most);
	*used = LY_FRAME_HEAD + body;
	if (*used > len)
		return LY_SHORT;
	*out = (struct ly_frame){ .type = (uint8_t)type,
		.body = r.at,
		.len = body };
	return LY_OK;
}

void
ly_frame_put(unsigned type, const void *in, struct ly_wr *w)
{
	const struct ly_message *m = ly_message_of(type);
	uint8_t *head = w->at;
	struct ly_wr len;

	assert(m);
	ly_wr_u16(w, LY_FRAME_MAGIC);
	ly_wr_u8(w, LY_FRAME_VERSION);
	ly_wr_u8(w, (uint8_t)type);
	ly_wr_u32(w, 0);
	ly_message_put(m, in, w);
	if (w->bad)
		return;
	len = ly_wr_over(head + 4, 4);
	ly_wr_u32(&len, (uint32_t)(w->at - head - LY_FRAME_HEAD));
}

enum ly_rc
ly_frame_decode(const struct ly_frame *f, void *out, size_t size,
    struct ly_why *why)
{
	const struct ly_message *m = ly_message_of(f->type);

	assert(m && m->size <= size);
	return ly_message_get(m, f->body, f->len, out, why);
}
