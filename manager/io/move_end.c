/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of an attested migration: whether the VM is what was sent, and what
 * stays of it in the permanent record besides what every migration leaves.
 *
 * One that has committed is proved by its source: what it sent, what
 * the destination says has come, and that nothing is left. Without that the
 * migration is as committed as any, for the home has decided; but the VM is
 * quarantined: shown as such until it is started anew.
 */
#include "manager/io/move_in.h"

#include <stdlib.h>

LY_AUTO_FOR(free, uint8_t)

/* ---- events ---- */

static struct ly_record_event
event(const struct ly_move *mv, enum ly_record_kind kind, const char *text)
{
	return (struct ly_record_event){ .kind = kind,
		.vm = mv->row.vm,
		.mig = mv->row.id,
		.text = text };
}

/* Its Name is never accepted again. */
static void
note_key_gone(struct ly_move *mv)
{
	struct ly_record_event ev = event(mv, LY_RECORD_KEY_DESTROYED,
	    mv->row.proved == LY_PROVED_GOOD ?
		"the source has proved that nothing is left" :
		"it opens nothing any more");
	struct ly_paper key = { NULL, 0 };
	LY_AUTO(free) uint8_t *at = NULL;
	char subject[LY_ID_TEXT + 16], name[2 * LY_TPM_NAME + 1];

	if (!mv->row.attest || ly_move_kept(mv, "key", &key, NULL) != LY_OK)
		return; /* there was none */
	at = key.at;
	if (ly_move_key_name(ly_paper_bytes(&key), name, NULL) != LY_OK)
		return;
	ev.subject = ly_move_subject(mv, subject);
	ev.name = name;
	ly_record_note(mv->m, &ev);
}

/* ---- quarantine ---- */

bool
ly_move_unproved(const struct ly_move *mv)
{
	return mv->row.attest && mv->row.fate == LY_FATE_CLAIMED &&
	    mv->row.proved != LY_PROVED_GOOD;
}

void
ly_move_doubt(struct ly_move *mv)
{
	struct ly_record_event ev = event(mv, LY_RECORD_MIG_UNPROVED,
	    mv->doubt);
	struct ly_place to = ly_move_place(mv, LY_PARTY_DEST);
	char text[LY_WHY_MAX];

	if (mv->alarmed || !ly_move_unproved(mv))
		return;
	mv->alarmed = true;
	if (!mv->doubt[0])
		ly_copy(mv->doubt, sizeof(mv->doubt),
		    "the source has proved nothing");
	ly_print(text, sizeof(text),
	    "quarantined: its migration is not proved: %s", mv->doubt);
	ly_manager_alarm(mv->m, &to, mv->row.vm_name, text);
	ly_move_note(mv, "not proved: %s", mv->doubt);
	ly_record_note(mv->m, &ev);
}

void
ly_move_end(struct ly_move *mv)
{
	bool over = ly_saga_over(mv->saga.rec.state);
	bool committed = mv->saga.rec.state == LY_SAGA_COMMITTED;

	if (!mv->row.attest || !mv->saga.there)
		return;
	if (over ||
	    (committed && !(mv->saga.rec.tell & (1u << LY_PARTY_SOURCE))))
		ly_move_doubt(mv);
	if (over)
		note_key_gone(mv);
}

/* ---- what is heard at the end ---- */

static void
believe_proof(struct ly_move *mv, struct ly_bytes data, uint64_t epoch)
{
	struct ly_record_event ev = event(mv, LY_RECORD_MIG_PROVED,
	    "what was sent has arrived; nothing is left at the source");
	struct ly_why why = { "" };
	uint8_t sum[32];
	char hex[65];

	if (ly_move_keep(mv, "proof", data, &why) != LY_OK)
		ly_log(LY_ERROR, "migration", "%s: its proof is not kept: %s",
		    mv->row.vm_name, why.text);
	if (ly_move_prove(mv, data, epoch, &why) != LY_OK) {
		mv->row.proved = LY_PROVED_WRONG;
		ly_copy(mv->doubt, sizeof(mv->doubt), why.text);
		return;
	}
	mv->row.proved = LY_PROVED_GOOD;
	ly_sha256(data.at, data.len, sum);
	ly_hex(sum, sizeof(sum), hex);
	ev.details = json_pack("{s:s}", "proof", hex);
	ly_record_note(mv->m, &ev);
}

void
ly_move_heard_proof(struct ly_move *mv, enum ly_step step,
    const struct ly_done *d)
{
	uint8_t fate = step == LY_STEP_COPY ? d->fate : mv->row.fate;
	uint64_t epoch = step == LY_STEP_COPY ? d->epoch : mv->row.epoch;

	if (fate != LY_FATE_CLAIMED || mv->row.proved == LY_PROVED_GOOD)
		return;
	if (d->data.len)
		believe_proof(mv, d->data, epoch);
	else if (!mv->doubt[0])
		ly_print(mv->doubt, sizeof(mv->doubt),
		    "the source %s/%s gave no proof%s%s", mv->row.from_site,
		    mv->row.from_host, d->why[0] ? ": " : "", d->why);
}

void
ly_move_heard_decided(struct ly_move *mv, const struct ly_done *d)
{
	struct ly_record_event ev = event(mv, LY_RECORD_MIG_DECIDED,
	    "the home has signed what it decided");
	struct ly_place home = ly_move_place(mv, LY_PARTY_HOME);
	struct ly_why why = { "it gave no signed word" };
	char id[LY_SPIFFE_MAX];
	enum ly_rc rc = LY_REFUSED;

	if (d->data.len)
		rc = ly_move_decided(mv, d->data, &why);
	if (rc == LY_OK)
		rc = ly_move_keep(mv, "decided", d->data, &why);
	if (rc != LY_OK) {
		(void)ly_fail_in(&why, rc, "its home's decision");
		ly_manager_alarm(mv->m, &home, mv->row.vm_name, why.text);
		return;
	}
	ly_spiffe_host(home.site, home.name, id);
	ev.subject = id;
	ly_record_note(mv->m, &ev);
}
